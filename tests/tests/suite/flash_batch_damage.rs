//! Damage of a committed batch: each bit that turns over, and each unit that can't be read, costs the member that it hits and no other.

use coldpress_embedded::flash::GetError;
use coldpress_tests::batches::{
    Act, KEYS, Memory, SEGMENTS, Values, act, built, item, mounted, read, values,
};
use coldpress_tests::driver::Driver;
use coldpress_tests::flash::Flash;
use coldpress_tests::sim::{STRIDE, in_case};

const UNIT: usize = 8;
const SECTOR: usize = 512;

/// A flash with older values of four keys, one of which a batch removed, and where the records of that batch lie.
struct Committed {
    flash: Flash<UNIT, SECTOR>,
    older: Values,
    values: Values,
    places: Vec<usize>,
}

/// Commits a batch; with `more` another record follows it.
fn committed(more: bool) -> Committed {
    let (mut memory, mut flash) = (Memory::new(), Flash::new(SEGMENTS, 0xFF));
    let mut tier = built(&mut memory, &mut flash, Driver::Blocking);
    let _ = mounted(&mut tier);
    let olds = Act::Together((0..4).map(|key| item(key, 6)).collect());
    let news = Act::Together((0..4).map(|key| item(key, 17)).collect());
    act(&mut tier, &olds);
    let older = values(&mut tier);
    let bytes = |tier: &coldpress_tests::batches::Tier<'_, UNIT, SECTOR>| tier.flash().bytes().to_vec();
    let before = bytes(&tier);
    act(&mut tier, &news);
    let after = bytes(&tier);
    let values = values(&mut tier);
    assert!(older.len() == 4 && values.len() == 3, "one of them was removed");
    if more {
        act(&mut tier, &Act::Single(item(8, 1)));
    }
    drop(tier);
    let places: Vec<_> = (0..before.len()).filter(|at| before[*at] != after[*at]).collect();
    assert!(places.len() > 100, "the records of the batch");
    Committed { flash, older, values, places }
}

/// Mounts, and checks that at most one key has lost its new value. Returns whether one has.
fn lost_one(memory: &mut Memory, flash: &mut Flash<UNIT, SECTOR>, is: &Committed, driver: Driver) -> bool {
    let mut tier = built(memory, flash, driver);
    let report = mounted(&mut tier);
    let mut lost = Vec::new();
    for key in 0..KEYS - 2 {
        match read(&mut tier, key) {
            Ok(found) if found.as_ref() == is.values.get(&key) => {}
            Ok(found) => {
                assert_eq!(found.as_ref(), is.older.get(&key), "key {key} never had this value");
                lost.push(key);
            }
            Err(GetError::Damaged | GetError::Medium(_)) => lost.push(key),
            Err(error) => panic!("key {key}: {error}"),
        }
    }
    assert!(lost.len() <= 1, "keys {lost:?} lost their values");
    let is_reported = report.damaged_records + report.torn_records + report.quarantined_segments > 0;
    assert!(lost.is_empty() || is_reported, "rule 8: {lost:?}, {report:?}");
    // All keys are put together anew.
    let again = Act::Together((0..4).map(|key| item(key, 33)).collect());
    act(&mut tier, &again);
    let held: Values = (0..4).filter_map(|key| Some((key, item(key, 33).value?))).collect();
    assert_eq!((0..4).filter_map(|key| Some((key, read(&mut tier, key).ok()??))).collect::<Values>(), held);
    !lost.is_empty()
}

#[test]
fn batch_with_a_flipped_bit_loses_the_member_alone() {
    let (mut memory, mut lost, mut tried) = (Memory::new(), 0, 0);
    for more in [false, true] {
        let is = committed(more);
        for (nth, at) in is.places.iter().enumerate().step_by(STRIDE) {
            for bit in 0..8 {
                for driver in Driver::BOTH.into_iter().take(if nth % 8 == 0 { 2 } else { 1 }) {
                    let mut flash = is.flash.clone();
                    flash.flip(*at, bit);
                    let case = || format!("bit {bit} of byte {at}, {driver:?}, more: {more}");
                    lost += u32::from(in_case(case, || lost_one(&mut memory, &mut flash, &is, driver)));
                    tried += 1;
                }
            }
        }
    }
    println!("{tried} flipped bits, {lost} members lost");
    assert!(lost > 100, "{lost}");
}

#[test]
fn batch_with_an_unreadable_unit_loses_the_member_alone() {
    let (mut memory, mut lost) = (Memory::new(), 0);
    for more in [false, true] {
        let is = committed(more);
        for at in &is.places {
            for driver in Driver::BOTH {
                let mut flash = is.flash.clone();
                flash.spoil(*at);
                let case = || format!("the unit of byte {at}, {driver:?}, more: {more}");
                lost += u32::from(in_case(case, || lost_one(&mut memory, &mut flash, &is, driver)));
            }
        }
    }
    println!("{lost} members lost");
    assert!(lost > 100, "{lost}");
}
