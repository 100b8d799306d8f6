//! Every write and erase of a busy history fails in turn, at once or later: a call that was put off changed nothing, then or
//! after the next mount.

use core::cell::Cell;
use std::collections::BTreeMap;

use crate::ram::Ram;
use coldpress_core::drive::{MediumError, Now};
use coldpress_embedded::flash::{
    FlashConfig, FlashMemory, FlashTier, GetError, Medium, NorMedium, PutError, Started, Wait, buckets_for,
};

const KEYS: u32 = 64;
const ACTS: u32 = 700;
const SEGMENTS: usize = 8;
const SEGMENT: u32 = 512;
/// Debug builds try one change in so many.
const STEP: usize = if cfg!(debug_assertions) { 7 } else { 1 };

type Memory = FlashMemory<SEGMENTS, { buckets_for(90) }, 96>;
type Tier<'m, 'f> = FlashTier<'m, Failing<'f>>;

/// The changes that fail: `many` from the `first` on.
#[derive(Debug, Clone, Copy)]
struct Plan {
    first: u64,
    many: u64,
    /// Whether they are carried out all the same.
    is_made: bool,
    /// How often the medium says, when asked, that an operation has not ended.
    looks: u32,
}

const FAULTLESS: Plan = Plan { first: u64::MAX, many: 0, is_made: false, looks: 0 };

struct Failing<'f> {
    flash: NorMedium<Ram<4, { SEGMENT as usize }>>,
    plan: Plan,
    changes: &'f Cell<u64>,
    under_way: Option<(u32, Result<(), MediumError>)>,
}

impl Failing<'_> {
    fn change(
        &mut self,
        make: impl FnOnce(&mut NorMedium<Ram<4, { SEGMENT as usize }>>) -> Result<Started, MediumError>,
    ) -> Result<Started, MediumError> {
        assert_eq!(self.under_way, None, "one operation after the other");
        let number = self.changes.replace(self.changes.get() + 1);
        let fails = number >= self.plan.first && number - self.plan.first < self.plan.many;
        if !fails || self.plan.is_made {
            let _ = make(&mut self.flash)?;
        }
        let result = if fails { Err(MediumError::Io) } else { Ok(()) };
        if self.plan.looks == 0 {
            return result.map(|()| Started::Done);
        }
        self.under_way = Some((self.plan.looks, result));
        Ok(Started::UnderWay)
    }
}

impl Medium for Failing<'_> {
    type Error = MediumError;
    fn read(&mut self, at: u64, bytes: &mut [u8]) -> Result<(), MediumError> {
        self.flash.read(at, bytes)
    }
    fn write(&mut self, at: u64, bytes: &[u8]) -> Result<Started, MediumError> {
        self.change(|flash| flash.write(at, bytes))
    }
    fn erase(&mut self, at: u64, bytes: u64) -> Result<Started, MediumError> {
        self.change(|flash| flash.erase(at, bytes))
    }
    fn sync(&mut self) -> Result<Started, MediumError> {
        Ok(Started::Done)
    }
    fn is_done(&mut self) -> Option<Result<(), MediumError>> {
        let (looks, result) = self.under_way?;
        self.under_way = (looks > 1).then_some((looks - 1, result));
        (looks <= 1).then_some(result)
    }
}

shape_of_flash!(Failing<'_>);

struct Rng(u64);

impl Rng {
    fn below(&mut self, bound: u32) -> u32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as u32 % bound
    }
}

/// The content of a key: its value, and the values that a mount may find instead, left by calls that failed.
#[derive(Debug, Clone, Default)]
struct Held {
    value: Option<Vec<u8>>,
    or: Vec<Option<Vec<u8>>>,
}

struct Run<'m, 'f> {
    tier: Tier<'m, 'f>,
    rng: Rng,
    ms: u64,
    model: BTreeMap<u32, Held>,
    put_off: u32,
    /// Keys of the last calls that were put off.
    watched: [u32; 3],
}

fn key(number: u32) -> [u8; 2] {
    [b'k', number.to_le_bytes()[0]]
}

impl Run<'_, '_> {
    fn now(&self) -> Now {
        Now { monotonic_ms: self.ms, wall_s: 0 }
    }

    fn check(&mut self, number: u32, when: &str) {
        let (now, mut out) = (self.now(), [0; 96]);
        // An operation under way is over after a few looks.
        for _ in 0..8 {
            let held = self.model.entry(number).or_default();
            let found = self.tier.get(now, &key(number), &mut out);
            if found != Err(GetError::Busy) {
                return assert_eq!(found, Ok(held.value.as_deref()), "key {number} {when}");
            }
            let _ = self.tier.poll(now, 1);
        }
        panic!("an operation without an end");
    }

    /// Offers a change once. Where it is put off, a little of the work before it is done, and another change comes next.
    fn act(&mut self, act: u32) {
        self.ms += u64::from(self.rng.below(12));
        let (now, number) = (self.now(), self.rng.below(KEYS));
        let mut value = vec![act.to_le_bytes()[0]; 4 + self.rng.below(60) as usize];
        value[..4].copy_from_slice(&act.to_le_bytes());
        let is_put = self.rng.below(4) > 0;
        let before = self.tier.worst();
        let mut offer = || {
            if is_put {
                self.tier.put(now, &key(number), &value).map(|()| true)
            } else {
                self.tier.remove(now, &key(number))
            }
        };
        // A call whose operation is under way has not ended: it is made again until it is answered. One may relocate a segment.
        let result = (0..256)
            .map(|_| offer())
            .find(|result| *result != Err(PutError::Busy(Wait::Operation)))
            .expect("an operation without an end");
        let worst = self.tier.worst();
        assert!(worst.erases <= 1 && worst.bytes_programmed <= SEGMENT, "{before:?} {worst:?}");
        let held = self.model.entry(number).or_default();
        let value = is_put.then_some(value);
        match result {
            Ok(_) => *held = Held { value, or: Vec::new() },
            Err(PutError::Medium(_)) => held.or.push(value),
            Err(PutError::Busy(_) | PutError::NeedsCompaction | PutError::Full) => {
                self.put_off += 1;
                self.watched.rotate_left(1);
                self.watched[0] = number;
            }
            Err(error) => panic!("{error}"),
        }
        self.check(number, "after it was offered");
        let budget = self.rng.below(5);
        let _ = self.tier.poll(now, budget);
        for number in self.watched {
            self.check(number, "some time after it was put off");
        }
    }
}

/// Returns how many changes a life made after the first mount, and how often a call was put off.
fn history(seed: u64, plan: Plan) -> (u64, u32) {
    let (changes, mut memory) = (Cell::new(0), Memory::new());
    let flash = NorMedium::new(Ram::new(SEGMENTS));
    let medium = Failing { flash, plan, changes: &changes, under_way: None };
    let mut tier = FlashTier::new(FlashConfig::new(SEGMENT, 5), &mut memory, medium).unwrap();
    tier.mount(Now::default()).unwrap();
    let mut run = Run { tier, rng: Rng(seed), ms: 0, model: BTreeMap::new(), put_off: 0, watched: [0; 3] };
    for act in 0..ACTS {
        run.act(act);
    }
    for number in 0..KEYS {
        run.check(number, "at the end");
    }
    let Run { tier, model, ms, put_off, .. } = run;
    let mut medium = tier.into_medium();
    (medium.plan, medium.under_way) = (FAULTLESS, None);
    let mut memory = Memory::new();
    let mut tier = FlashTier::new(FlashConfig::new(SEGMENT, 5), &mut memory, medium).unwrap();
    let now = Now { monotonic_ms: ms, wall_s: 0 };
    tier.mount(now).unwrap();
    for (number, held) in model {
        let mut out = [0; 96];
        let found = tier.get(now, &key(number), &mut out).unwrap().map(<[u8]>::to_vec);
        assert!(
            found == held.value || held.or.contains(&found),
            "key {number}: {found:?} is none of {held:?}"
        );
    }
    (changes.get(), put_off)
}

fn every_change(seed: u64, looks: u32) {
    let (changes, put_off) = history(seed, Plan { looks, ..FAULTLESS });
    assert!(changes > 500 && put_off > 20, "{changes} changes, put off {put_off} times");
    for first in (0..changes).step_by(STEP) {
        for (many, is_made) in [(1, false), (1, true), (3, false), (2, true)] {
            history(seed, Plan { first, many, is_made, looks });
        }
    }
}

#[test]
fn call_that_is_put_off_changed_nothing_whatever_change_failed() {
    every_change(1, 0);
}

#[test]
fn call_put_off_by_a_slow_operation_changes_nothing() {
    every_change(2, 3);
}
