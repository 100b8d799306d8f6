//! Bits that turn over, and the answers of a tier to them.

use core::ops::AddAssign;
use std::collections::BTreeMap;

use coldpress_core::recovery::MountReport;
use coldpress_embedded::flash::GetError;

use super::device::{Cut, Device, Lasting, Store};
use crate::sim::{Do, Key, STRIDE, What, in_case};

/// Counts of the answers for the keys of a damaged flash.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Answers {
    /// The value that was put last, or nothing where that was removed or expired.
    pub right: u64,
    /// An error that says that it is damaged.
    pub damaged: u64,
    /// A value that the key had before, or nothing where it had none, with damage in the report of the mount.
    pub older_reported: u64,
    /// The same, without damage in the report.
    pub older_silent: u64,
}

impl AddAssign for Answers {
    fn add_assign(&mut self, other: Self) {
        self.right += other.right;
        self.damaged += other.damaged;
        self.older_reported += other.older_reported;
        self.older_silent += other.older_silent;
    }
}

/// All that was ever put under each key.
pub type Past = BTreeMap<Key, Vec<What>>;

impl<const UNIT: usize, const SECTOR: usize, const SEGMENTS: usize> Device<'_, UNIT, SECTOR, SEGMENTS> {
    /// Reads every key of a flash that may be damaged.
    ///
    /// # Panics
    /// Where a key reads as a value that was never put under it.
    pub fn answers(&mut self, past: &Past) -> Answers {
        let is_reported = tells_of_damage(&self.report);
        let mut answers = Answers::default();
        for key in self.oracle.keys().collect::<Vec<_>>() {
            let current = self.oracle.current(key);
            let now_s = self.now().wall_s;
            match self.try_read(key) {
                Err(GetError::Damaged | GetError::Medium(_)) => answers.damaged += 1,
                Err(error) => panic!("key {key}: {error}"),
                Ok(found) if found == content_at(&current, now_s) => answers.right += 1,
                Ok(found) => {
                    let mut was = past.get(&key).into_iter().flatten();
                    let is_known = found.is_none() || was.any(|what| what.content() == found);
                    assert!(is_known, "I-LOG-2: key {key} reads as {found:02x?}, which was never put");
                    let older =
                        if is_reported { &mut answers.older_reported } else { &mut answers.older_silent };
                    *older += 1;
                }
            }
        }
        answers
    }

    /// Writes new keys and removes one: new keys hold no damage for sure.
    ///
    /// # Errors
    /// [`Cut`] where the power goes meanwhile.
    pub fn goes_on(&mut self) -> Result<(), Cut> {
        const NEW: Key = 1_000;
        for step in [Do::Put(NEW, 20), Do::Put(NEW, 30), Do::Flush] {
            self.follow(step)?;
        }
        assert_eq!(self.try_read(NEW), Ok(self.oracle.current(NEW).content()));
        self.follow(Do::Remove(NEW))?;
        assert_eq!(self.try_read(NEW), Ok(None));
        Ok(())
    }
}

fn content_at(what: &What, now_s: u32) -> Option<Vec<u8>> {
    if what.is_absent_at(now_s) { None } else { what.content() }
}

const fn tells_of_damage(report: &MountReport) -> bool {
    // The last record of a segment counts as torn by a cut, and is reported as such.
    report.damaged_records > 0 || report.quarantined_segments > 0 || report.torn_records > 0
}

/// Turns over each bit in turn, before a mount and then after it, and reads every key.
///
/// # Panics
/// Where a mount fails, a key reads as a value that was never put under it, or nothing can be written any more. Also where a
/// key reads as an older value and no damage is reported.
pub fn flip_everywhere<const UNIT: usize, const SECTOR: usize, const SEGMENTS: usize>(
    lasting: &Lasting<UNIT, SECTOR, SEGMENTS>,
    past: &Past,
) -> [Answers; 2] {
    let (mut store, mut sums) = (Store::default(), [Answers::default(); 2]);
    let reads = {
        let mut whole = lasting.clone();
        power_up_and(&mut store, &mut whole, |_| Ok(()));
        whole.flash.counts().reads - lasting.flash.counts().reads
    };
    let bits = (0..lasting.flash.bytes().len()).flat_map(|at| (0..8).map(move |bit| (at, bit)));
    for (at, bit) in bits.step_by(if STRIDE > 1 { 101 } else { 1 }) {
        for (when, sum) in [0, reads].into_iter().zip(&mut sums) {
            let mut damaged = lasting.clone();
            damaged.flash.flip_after(when, at, bit);
            let name = || format!("bit {bit} of byte {at} after {when} reads");
            *sum += in_case(name, || {
                let answers = power_up_and(&mut store, &mut damaged, |device| {
                    let answers = device.answers(past);
                    device.goes_on()?;
                    Ok(answers)
                });
                assert_eq!(answers.older_silent, 0, "rule 8: {answers:?}");
                answers
            });
        }
    }
    sums
}

fn power_up_and<T, const UNIT: usize, const SECTOR: usize, const SEGMENTS: usize>(
    store: &mut Store<SEGMENTS>,
    lasting: &mut Lasting<UNIT, SECTOR, SEGMENTS>,
    life: impl FnOnce(&mut Device<'_, UNIT, SECTOR, SEGMENTS>) -> Result<T, Cut>,
) -> T {
    let done = Device::power_up(store, lasting).and_then(|mut device| life(&mut device));
    done.unwrap_or_else(|Cut| panic!("no cut is to come"))
}
