//! Batches across power cuts: the power is cut at every change of the flash, in every way. Then all keys of the batch under way have
//! their new values, or all have the old ones.

use core::hash::{Hash as _, Hasher as _};
use std::collections::BTreeSet;
use std::hash::DefaultHasher;

use coldpress_tests::batches::{Act, Memory, Values, act, built, busy, changes, item, mounted, values};
use coldpress_tests::driver::Driver;
use coldpress_tests::flash::{Flash, Moment};
use coldpress_tests::sim::{STRIDE, in_case, offset};

/// A history on a flash, with the moment before each change of the flash.
struct Life<const UNIT: usize, const SECTOR: usize> {
    moments: Vec<Moment<UNIT, SECTOR>>,
    /// How many changes were made before the end of each step.
    ends: Vec<usize>,
    /// The values before each step, and after the last.
    states: Vec<Values>,
}

impl<const UNIT: usize, const SECTOR: usize> Life<UNIT, SECTOR> {
    /// Lives a history on a flash that holds these values.
    fn new(flash: &mut Flash<UNIT, SECTOR>, driver: Driver, held: Values, history: &[Act]) -> Self {
        let mut memory = Memory::new();
        flash.keep_tape();
        let mut tier = built(&mut memory, flash, driver);
        let _ = mounted(&mut tier);
        assert_eq!(values(&mut tier), held);
        let (mut ends, mut states) = (Vec::new(), vec![held]);
        for step in history {
            act(&mut tier, step);
            ends.push(changes(&tier));
            states.push(step.after(&states[states.len() - 1]));
            assert_eq!(Some(&values(&mut tier)), states.last(), "{step:?}");
        }
        drop(tier);
        Self { moments: flash.take_tape(), ends, states }
    }

    /// The values before the step that is under way at a moment, and after it.
    fn around(&self, moment: usize) -> [&Values; 2] {
        let done = self.ends.iter().take_while(|end| **end <= moment).count();
        [&self.states[done], &self.states[(done + 1).min(self.states.len() - 1)]]
    }

    /// Hands on the flash that each cut leaves, but for those seen before, with the values around it.
    fn each_cut(&self, mut then: impl FnMut(Flash<UNIT, SECTOR>, [&Values; 2])) -> usize {
        let mut seen = BTreeSet::new();
        for (at, moment) in self.moments.iter().enumerate() {
            for tear in moment.tears().into_iter().skip(offset(at)).step_by(STRIDE) {
                let (left, around) = (moment.torn(tear), self.around(at));
                let mut hasher = DefaultHasher::new();
                left.hash(&mut hasher);
                around.hash(&mut hasher);
                if seen.insert(hasher.finish()) {
                    in_case(
                        || format!("change {at}, {tear:?} of {:?}", moment.change()),
                        || then(left, around),
                    );
                }
            }
        }
        seen.len()
    }
}

/// Mounts a flash that a cut left, and checks that the batch under way is whole or absent. Returns the values.
fn survived<const UNIT: usize, const SECTOR: usize>(
    memory: &mut Memory,
    flash: &mut Flash<UNIT, SECTOR>,
    driver: Driver,
    around: [&Values; 2],
    after: &[Act],
) -> Values {
    let mut tier = built(memory, flash, driver);
    let _ = mounted(&mut tier);
    let mut found = values(&mut tier);
    assert!(around.contains(&&found), "{driver:?} found {found:02x?}, none of {around:02x?}");
    for step in after {
        act(&mut tier, step);
        found = step.after(&found);
        assert_eq!(values(&mut tier), found, "{step:?}");
    }
    found
}

/// The steps after each cut, which must all succeed.
fn after() -> Vec<Act> {
    vec![Act::Together((0..4).map(|key| item(key, 201)).collect()), Act::Single(item(7, 202))]
}

fn cut_anywhere<const UNIT: usize, const SECTOR: usize>(blank: u8, driver: Driver, steps: u32) {
    let mut flash = Flash::new(coldpress_tests::batches::SEGMENTS, blank);
    let life = Life::<UNIT, SECTOR>::new(&mut flash, driver, Values::new(), &busy(steps));
    let (mut memory, after) = (Memory::new(), after());
    let tried = life.each_cut(|mut left, around| {
        let found = survived(&mut memory, &mut left, driver, around, &after);
        // The other driver mounts the same.
        let _ = survived(&mut memory, &mut left, driver.other(), [&found, &found], &[]);
    });
    println!("units of {UNIT}, blank {blank:#04x}, {driver:?}: {tried} cuts");
    assert!(tried * STRIDE > 4_000, "{tried} cuts");
}

#[test]
fn batches_in_units_of_4_cut_anywhere_are_whole_or_absent() {
    cut_anywhere::<4, 512>(0xFF, Driver::Blocking, 90);
}

#[test]
fn async_batches_in_units_of_8_cut_anywhere_are_whole_or_absent() {
    cut_anywhere::<8, 512>(0xFF, Driver::Async, 60);
}

#[test]
fn batches_in_units_of_32_cut_anywhere_are_whole_or_absent() {
    cut_anywhere::<32, 768>(0x00, Driver::Blocking, 60);
}

#[test]
fn batches_in_units_of_1_cut_anywhere_are_whole_or_absent() {
    cut_anywhere::<1, 512>(0x00, Driver::Blocking, 40);
}

#[test]
fn batches_cut_twice_are_whole_or_absent() {
    let mut tried = 0;
    for driver in Driver::BOTH {
        let mut flash = Flash::new(coldpress_tests::batches::SEGMENTS, 0xFF);
        // The flash is full by then, and segments are cleaned.
        let mut life = Life::<8, 512>::new(&mut flash, driver, Values::new(), &busy(46));
        let (cut_from, second) = (life.ends[39], [Act::Together((2..6).map(|key| item(key, 99)).collect())]);
        let step = if driver == Driver::Async { 5 } else { 2 };
        life.moments = life.moments.split_off(cut_from).into_iter().step_by(step).collect();
        // Each moment that is left lies between these states.
        let states: Vec<_> = life.states[40..].to_vec();
        let mut memory = Memory::new();
        let mut seen = BTreeSet::new();
        for moment in &life.moments {
            for tear in moment.tears().into_iter().step_by(3 * STRIDE) {
                let mut left = moment.torn(tear);
                let mut tier = built(&mut memory, &mut left, driver);
                let _ = mounted(&mut tier);
                let found = values(&mut tier);
                assert!(states.contains(&found), "{tear:?} of {:?}: {found:02x?}", moment.change());
                drop(tier);
                let mut hasher = DefaultHasher::new();
                left.hash(&mut hasher);
                if seen.insert(hasher.finish()) {
                    let again = Life::new(&mut left, driver, found, &second);
                    tried += again.each_cut(|mut left, around| {
                        let _ = survived(&mut memory, &mut left, driver, around, &[]);
                    });
                }
            }
        }
    }
    println!("{tried} pairs of cuts");
    assert!(tried * STRIDE > 4_000, "{tried} pairs of cuts");
}
