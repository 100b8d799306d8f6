//! Every cut of a history, and every pair of cuts.

use std::collections::BTreeSet;

use super::device::{Cut, Device, Lasting, Moment, Setup, Store, recorded};
use crate::flash::Tear;
use crate::sim::{Do, STRIDE, Tried, in_case, offset};

/// Tears every moment of a history in every way, mounts, and checks; then does `after`, checks, mounts once more, and checks
/// again.
pub fn cut_everywhere<const UNIT: usize, const SECTOR: usize, const SEGMENTS: usize>(
    _: &Setup<UNIT, SECTOR, SEGMENTS>,
    moments: &[Moment<UNIT, SECTOR, SEGMENTS>],
    after: &[Do],
) -> Tried {
    let mut tried = Tried { moments: moments.len(), ..Tried::default() };
    let (mut seen, mut store) = (BTreeSet::new(), Store::default());
    each_cut(moments, &mut tried, &mut seen, |mut left| {
        survive(&mut store, &mut left, after);
        again(&mut store, &mut left);
    });
    tried
}

/// Tears every moment of a history in every way, and then every moment of the recovery and of `after` in every way.
pub fn cut_twice<const UNIT: usize, const SECTOR: usize, const SEGMENTS: usize>(
    _: &Setup<UNIT, SECTOR, SEGMENTS>,
    moments: &[Moment<UNIT, SECTOR, SEGMENTS>],
    after: &[Do],
) -> Tried {
    let mut tried = Tried { moments: moments.len(), ..Tried::default() };
    let (mut first, mut second) = (Tried::default(), BTreeSet::new());
    let mut store = Store::default();
    let mut between = Store::default();
    each_cut(moments, &mut first, &mut BTreeSet::new(), |mut left| {
        let moments = recorded(&mut between, &mut left, |device| {
            device.check_recovered();
            after.iter().try_for_each(|step| device.follow(*step))
        });
        each_cut(&moments, &mut tried, &mut second, |mut left| again(&mut store, &mut left));
    });
    tried
}

/// Hands on the state that each cut leaves, except those seen before.
fn each_cut<const UNIT: usize, const SECTOR: usize, const SEGMENTS: usize>(
    moments: &[Moment<UNIT, SECTOR, SEGMENTS>],
    tried: &mut Tried,
    seen: &mut BTreeSet<u64>,
    mut then: impl FnMut(Lasting<UNIT, SECTOR, SEGMENTS>),
) {
    for (at, moment) in moments.iter().enumerate() {
        for tear in moment.flash.tears().into_iter().skip(offset(at)).step_by(STRIDE) {
            tried.cases += 1;
            let left = moment.torn(tear);
            if seen.insert(left.digest()) {
                tried.distinct += 1;
                in_case(|| describe(at, moment, tear), || then(left));
            }
        }
    }
}

fn describe<const UNIT: usize, const SECTOR: usize, const SEGMENTS: usize>(
    at: usize,
    moment: &Moment<UNIT, SECTOR, SEGMENTS>,
    tear: Tear,
) -> String {
    format!("change {at}, {tear:?} of {:?}", moment.flash.change())
}

/// Mounts, checks, goes on, checks.
fn survive<const UNIT: usize, const SECTOR: usize, const SEGMENTS: usize>(
    store: &mut Store<SEGMENTS>,
    left: &mut Lasting<UNIT, SECTOR, SEGMENTS>,
    after: &[Do],
) {
    let life = |device: &mut Device<'_, UNIT, SECTOR, SEGMENTS>| {
        device.check_recovered();
        after.iter().try_for_each(|step| device.follow(*step))?;
        device.check();
        Ok(())
    };
    let ended = Device::power_up(store, left).and_then(|mut device| life(&mut device));
    ended.unwrap_or_else(|Cut| panic!("no cut is to come"));
}

/// Mounts and checks: nothing more may be lost.
fn again<const UNIT: usize, const SECTOR: usize, const SEGMENTS: usize>(
    store: &mut Store<SEGMENTS>,
    left: &mut Lasting<UNIT, SECTOR, SEGMENTS>,
) {
    survive(store, left, &[]);
}
