//! Futures of a tier that are dropped at every await point of a history.

use super::device::{Cut, Device, Lasting, Setup, Store};
use crate::driver::Driver;
use crate::sim::{Do, STRIDE, in_case, offset};

/// Where a future is dropped.
#[derive(Debug, Clone, Copy)]
struct Point {
    /// Await points of the history before this one.
    at: u64,
    /// How the change under way is torn; `None` where nothing of it happens.
    tear: Option<u64>,
    /// The call that comes next.
    next: Next,
    /// Await points of that call before it is dropped, too.
    again: Option<u64>,
}

/// The first call after the one that was dropped.
#[derive(Debug, Clone, Copy)]
enum Next {
    Get,
    Put,
    Poll,
}

impl Next {
    const ALL: [Self; 3] = [Self::Get, Self::Put, Self::Poll];
}

/// Counts of the cases that were tried.
#[derive(Debug, Clone, Copy, Default)]
pub struct Dropped {
    /// Await points of the history.
    pub points: u64,
    /// Histories with a dropped future.
    pub cases: u64,
    /// Of these, with a change that was torn.
    pub torn: u64,
    /// Of these, with a second future that was dropped.
    pub twice: u64,
}

/// The end of a history.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// No future was dropped: the history has no such await point.
    Whole,
    /// One was dropped; the ways to tear its change.
    Dropped(usize),
    /// The call after it was over before its await point.
    Once,
}

/// Drops the future of each call at each of its await points: before the change has happened, with a part of it, and after it.
/// Then the next call is made, every key is checked, and the history goes on to its end. A power cut, with a mount by each driver,
/// finds the same values.
///
/// # Panics
/// Where an answer is wrong.
pub fn drop_everywhere<const UNIT: usize, const SECTOR: usize, const SEGMENTS: usize>(
    erase_value: u8,
    script: &[Do],
) -> Dropped {
    let (mut tried, mut store) = (Dropped::default(), Store::default());
    loop {
        let at = tried.points;
        // The first tear tells how many there are.
        let mut tear = Some(0);
        let mut tears = 1;
        while let Some(seed) = tear {
            for next in Next::ALL {
                let point = Point { at, tear, next, again: None };
                match live::<UNIT, SECTOR, SEGMENTS>(erase_value, script, point, &mut store) {
                    End::Whole => return tried,
                    End::Dropped(ways) => tears = ways,
                    End::Once => panic!("the history has no second drop"),
                }
                tried.cases += 1;
                tried.torn += u64::from(tears > 0);
            }
            let step = if seed == 0 { 1 + offset(usize::try_from(at).unwrap_or(0)) } else { STRIDE };
            tear = Some(seed + step as u64).filter(|seed| *seed < tears as u64);
        }
        for next in Next::ALL.into_iter().filter(|_| tears > 0) {
            live::<UNIT, SECTOR, SEGMENTS>(
                erase_value,
                script,
                Point { at, tear: None, next, again: None },
                &mut store,
            );
            tried.cases += 1;
        }
        tried.points += STRIDE as u64;
    }
}

/// As [`drop_everywhere`], with the next call dropped at each of its await points, too. No change happens in part.
///
/// # Panics
/// Where an answer is wrong.
pub fn drop_twice<const UNIT: usize, const SECTOR: usize, const SEGMENTS: usize>(
    erase_value: u8,
    script: &[Do],
) -> Dropped {
    let (mut tried, mut store) = (Dropped::default(), Store::default());
    loop {
        for next in Next::ALL {
            for again in 0.. {
                let point = Point { at: tried.points, tear: None, next, again: Some(again) };
                match live::<UNIT, SECTOR, SEGMENTS>(erase_value, script, point, &mut store) {
                    End::Whole => return tried,
                    End::Once => break,
                    End::Dropped(_) => (tried.cases, tried.twice) = (tried.cases + 1, tried.twice + 1),
                }
            }
        }
        tried.points += STRIDE as u64;
    }
}

/// Lives a history on blank flash, with a future dropped at a point.
fn live<const UNIT: usize, const SECTOR: usize, const SEGMENTS: usize>(
    erase_value: u8,
    script: &[Do],
    point: Point,
    store: &mut Store<SEGMENTS>,
) -> End {
    in_case(
        || format!("units of {UNIT}, {point:?}"),
        || {
            let mut lasting =
                Setup::<UNIT, SECTOR, SEGMENTS> { erase_value, driver: Driver::Async, has_tasks: true }
                    .blank();
            let end = live_on(&mut lasting, script, point, store);
            for driver in Driver::BOTH.into_iter().filter(|_| end != End::Whole) {
                lasting.driver = driver;
                let mut device =
                    Device::power_up(store, &mut lasting).unwrap_or_else(|Cut| panic!("no cut is to come"));
                device.check_recovered();
            }
            end
        },
    )
}

fn live_on<const UNIT: usize, const SECTOR: usize, const SEGMENTS: usize>(
    lasting: &mut Lasting<UNIT, SECTOR, SEGMENTS>,
    script: &[Do],
    point: Point,
    store: &mut Store<SEGMENTS>,
) -> End {
    let mut device = Device::unmounted(store, lasting);
    device.drop_after(point.at, point.tear);
    let mut end = End::Whole;
    if device.mount() == Err(Cut) {
        end = End::Dropped(device.tears.take().unwrap_or(0));
        // A mount goes on where it was.
        again(&mut device, point.again, &mut end, Device::mount);
    }
    for step in script {
        if device.follow(*step) == Err(Cut) {
            end = End::Dropped(device.tears.take().unwrap_or(0));
            again(&mut device, point.again, &mut end, |device| match point.next {
                Next::Get => device.look(),
                Next::Put => device.follow(Do::Put(step.key().unwrap_or(1), 24)),
                Next::Poll => device.follow(Do::Settle),
            });
            device.check_recovered();
        }
    }
    device.keep_all();
    device.check();
    end
}

/// Makes a call, and where it is dropped, once more.
fn again<'d, const UNIT: usize, const SECTOR: usize, const SEGMENTS: usize>(
    device: &mut Device<'d, UNIT, SECTOR, SEGMENTS>,
    drop_after: Option<u64>,
    end: &mut End,
    mut call: impl FnMut(&mut Device<'d, UNIT, SECTOR, SEGMENTS>) -> Result<(), Cut>,
) {
    if let Some(points) = drop_after {
        device.drop_after(points, None);
        if call(device) == Ok(()) {
            *end = End::Once;
            device.keep_all();
            return;
        }
    }
    call(device).unwrap_or_else(|Cut| panic!("no future is dropped any more"));
}
