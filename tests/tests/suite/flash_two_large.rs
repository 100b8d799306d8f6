//! A flash of two sectors of 128 KiB, nearly full (rule 12, I-GC-2): the power is cut at every program and every erase of a history
//! that cleans a segment several times, over both drivers. Values are long, so that a history of few programs fills a segment.

use std::collections::BTreeMap;

use coldpress_embedded::flash::{FlashConfig, FlashMemory, Now, PutError, buckets_for};
use coldpress_tests::driver::{AnyNorTier, Driver};
use coldpress_tests::flash::{Change, Flash, Moment, Tear};
use coldpress_tests::sim::{STRIDE, in_case, mixed, offset};

/// Large parts program 32 bytes as one.
const UNIT: usize = 32;
const SECTOR: usize = 128 << 10;
const SEGMENTS: usize = 2;
/// The longest record.
const RECORD: usize = 4_224;
/// Bytes of a long value.
const LONG: usize = 4_000;
/// Bytes of a short value.
const SHORT: usize = 40;
/// Keys with short values; the keys above have long ones.
const SHORT_KEYS: u32 = 4;
/// Polls within which a write is taken.
const POLLS_MAX: usize = 2_000;
/// After one cut in so many every key is written once more.
const REWRITTEN_ONE_IN: usize = 40;
const NOW: Now = Now { monotonic_ms: 1, wall_s: 50 };

type Chip = Flash<UNIT, SECTOR>;
type Memory = FlashMemory<SEGMENTS, { buckets_for(48) }, RECORD>;
type Tier<'m> = AnyNorTier<'m, &'m mut Chip>;
/// The values of the keys that have one.
type Values = BTreeMap<u32, Vec<u8>>;
/// A key, and the value that is put; `None` for a remove.
type Step = (u32, Option<Vec<u8>>);

/// The keys that fit: with one more the flash is full.
fn keys() -> u32 {
    let bytes = Memory::usable_bytes(SECTOR as u32, UNIT as u32, 4, LONG as u32);
    u32::try_from(bytes / (4 + LONG as u64)).unwrap() + SHORT_KEYS - 1
}

fn value(key: u32, version: u32) -> Vec<u8> {
    let bytes = if key < SHORT_KEYS { SHORT } else { LONG - 4 * (version as usize % 8) };
    let seed = u64::from(key) << 32 | u64::from(version);
    (0..bytes as u64).map(|at| mixed(seed ^ at << 16).to_le_bytes()[0]).collect()
}

/// Fills the flash but for a little, and overwrites keys all over it. A key is removed and put again, too.
fn history() -> Vec<Step> {
    let keys = keys();
    let put = |key, version| (key, Some(value(key, version)));
    let mut steps: Vec<_> = (0..keys).map(|key| put(key, 0)).collect();
    steps.extend((1..8).map(|version| put(SHORT_KEYS + version * 5 % (keys - SHORT_KEYS), version)));
    steps.extend([put(1, 8), (keys - 1, None), put(keys - 1, 9), (2, None), put(0, 10), put(keys - 2, 11)]);
    steps
}

fn mounted<'m>(memory: &'m mut Memory, flash: &'m mut Chip, driver: Driver) -> Tier<'m> {
    let config = FlashConfig::new(SECTOR as u32, 3);
    let mut tier = AnyNorTier::new(driver, config, memory, flash, 0xFF).unwrap();
    tier.mount(NOW).unwrap();
    tier
}

/// Makes a write, with the polls that it needs.
fn write(tier: &mut Tier<'_>, (key, value): &Step) {
    for _ in 0..POLLS_MAX {
        let done = match value {
            Some(value) => tier.put(NOW, &key.to_le_bytes(), value),
            None => tier.remove(NOW, &key.to_le_bytes()).map(drop),
        };
        match done {
            Err(PutError::NeedsCompaction) => {
                let work = tier.poll(NOW, 8);
                assert!(work.erases <= 1 && work.bytes_programmed <= SECTOR as u32, "I-GC-3: {work:?}");
            }
            done => return done.unwrap_or_else(|error| panic!("I-GC-2: key {key}: {error}")),
        }
    }
    panic!("I-GC-2: key {key} is put off for ever: {:?}", tier.stats());
}

fn values(tier: &mut Tier<'_>) -> Values {
    let mut out = [0; LONG];
    let mut values = Values::new();
    for key in 0..keys() {
        if let Some(value) = tier.get(NOW, &key.to_le_bytes(), &mut out).unwrap() {
            values.insert(key, value.to_vec());
        }
    }
    values
}

/// The ways to tear a change that are tried: all of an erase, and of a program those in the units at both ends and half way.
fn tears(moment: &Moment<UNIT, SECTOR>) -> Vec<Tear> {
    let (mut tears, len) = (moment.tears(), moment.change().len());
    if let Change::Program { .. } = moment.change() {
        let places = [0, UNIT, len / 2 / UNIT * UNIT, len - UNIT, len];
        tears.retain(|tear| match tear {
            Tear::First(at) | Tear::Last(at) | Tear::Faint(at) | Tear::Unreadable(at) => places.contains(at),
            Tear::Mixed(_) => true,
        });
    }
    tears
}

/// A history with the moment before each change of the flash.
struct Life {
    moments: Vec<Moment<UNIT, SECTOR>>,
    /// How many changes were made before the end of each step.
    ends: Vec<usize>,
    /// The values before each step, and after the last.
    states: Vec<Values>,
}

impl Life {
    fn new(driver: Driver) -> Self {
        let (mut memory, mut flash) = (Box::new(Memory::new()), Chip::new(SEGMENTS, 0xFF));
        flash.keep_tape();
        let (mut ends, mut states) = (Vec::new(), vec![Values::new()]);
        let mut tier = mounted(&mut memory, &mut flash, driver);
        for step in history() {
            write(&mut tier, &step);
            ends.push(tier.flash().tape_len());
            let mut values = states[states.len() - 1].clone();
            match step {
                (key, Some(value)) => drop(values.insert(key, value)),
                (key, None) => drop(values.remove(&key)),
            }
            states.push(values);
        }
        assert!(tier.stats().counters.victims > 3, "segments were cleaned: {:?}", tier.stats());
        drop(tier);
        Self { moments: flash.take_tape(), ends, states }
    }

    /// The values before the step that is under way at a moment, and after it.
    fn around(&self, moment: usize) -> &[Values] {
        let done = self.ends.iter().take_while(|end| **end <= moment).count();
        &self.states[done..(done + 2).min(self.states.len())]
    }
}

/// Mounts the flash that a cut left, checks every key, and writes one. With `is_rewritten` all are written, and the other driver mounts.
fn survive(memory: &mut Memory, flash: &mut Chip, driver: Driver, around: &[Values], is_rewritten: bool) {
    let mut tier = mounted(memory, flash, driver);
    let mut found = values(&mut tier);
    assert!(around.contains(&found), "I-LOG-4: the values of keys {:?}", wrong(&found, around));
    let written = if is_rewritten { 0..keys() } else { 0..1 };
    for key in written {
        let step = (key, Some(value(key, 99)));
        write(&mut tier, &step);
        found.insert(key, value(key, 99));
    }
    if is_rewritten {
        assert!(values(&mut tier) == found, "I-LOG-4: after all keys were written");
        drop(tier);
        let mut tier = mounted(memory, flash, driver.other());
        assert!(values(&mut tier) == found, "I-LOG-4: the other driver finds other values");
    }
}

/// The keys whose values are none of those that may be.
fn wrong(found: &Values, around: &[Values]) -> Vec<u32> {
    let is_wrong = |key: &u32| around.iter().all(|values| values.get(key) != found.get(key));
    (0..keys()).filter(is_wrong).collect()
}

fn cut_anywhere(driver: Driver) {
    let life = Life::new(driver);
    let programs =
        life.moments.iter().filter(|moment| matches!(moment.change(), Change::Program { .. })).count();
    let erases = life.moments.len() - programs;
    let (mut memory, mut tried) = (Box::new(Memory::new()), 0usize);
    for (at, moment) in life.moments.iter().enumerate() {
        for tear in tears(moment).into_iter().skip(offset(at)).step_by(STRIDE) {
            let (mut left, around) = (moment.torn(tear), life.around(at));
            let is_rewritten = tried.is_multiple_of(REWRITTEN_ONE_IN);
            in_case(
                || format!("{driver:?}, change {at}, {tear:?} of {} bytes", moment.change().len()),
                || survive(&mut memory, &mut left, driver, around, is_rewritten),
            );
            tried += 1;
        }
    }
    println!("{driver:?}, {} keys: {tried} cuts at {programs} programs and {erases} erases", keys());
    assert!(programs > 150 && erases > 5 && tried * STRIDE > 3_000, "{tried} cuts, {programs}, {erases}");
}

#[test]
fn two_sectors_of_128_kib_cut_anywhere_leave_old_or_new() {
    cut_anywhere(Driver::Blocking);
}

#[test]
fn async_sectors_of_128_kib_cut_anywhere_leave_old_or_new() {
    cut_anywhere(Driver::Async);
}
