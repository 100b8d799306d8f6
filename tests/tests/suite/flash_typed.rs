//! Typed values across power cuts, over both drivers: a firmware carries the values of an older schema over, one by one or several
//! together. The power is cut at every change of the flash, in every way. Each key then has its acknowledged value or the one under way,
//! under the schema of that one. Of several that were put together all are there, or none.

use std::collections::BTreeMap;

use coldpress_embedded::flash::{
    Batch, FlashConfig, FlashMemory, Now, PutError, Schema, TypedGetError, TypedPutError, buckets_for,
};
use coldpress_tests::driver::{AnyNorTier, Driver};
use coldpress_tests::flash::Flash;
use serde::{Deserialize, Serialize};

type Device = Flash<4, 512>;
type Memory = FlashMemory<SEGMENTS, { buckets_for(40) }, 96, 1, TOGETHER>;
type Tier<'m> = AnyNorTier<'m, &'m mut Device>;
/// The values of the keys that have one.
type Values = BTreeMap<u8, Stored>;

const SEGMENTS: usize = 14;
const KEYS: u8 = 8;
/// The most values that are put together.
const TOGETHER: usize = 4;
const NOW: Now = Now { monotonic_ms: 1, wall_s: 50 };

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Old {
    level: u32,
    samples: [u8; 20],
}

impl Schema for Old {
    const SCHEMA: u16 = 1;
}

/// The same fields the other way round, so that bytes of one decode as the other.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct New {
    samples: [u8; 20],
    level: u32,
}

impl Schema for New {
    const SCHEMA: u16 = 2;
}

/// The value of a key, as one firmware or the other wrote it.
#[derive(Debug, Clone, PartialEq)]
enum Stored {
    Old(Old),
    New(New),
    Bytes(Vec<u8>),
}

impl Stored {
    fn number(kind: u32, number: u32) -> Self {
        let samples = [number as u8; 20];
        match kind {
            0 => Self::Old(Old { level: number, samples }),
            1 => Self::New(New { level: number, samples }),
            _ => Self::Bytes(vec![number as u8; 24]),
        }
    }
}

fn built<'m>(memory: &'m mut Memory, flash: &'m mut Device, driver: Driver) -> Tier<'m> {
    let mut tier = AnyNorTier::new(driver, FlashConfig::new(512, 1), memory, flash, 0xFF).unwrap();
    tier.mount(NOW).unwrap();
    tier
}

/// Makes a put until compaction has freed space for it.
fn until_taken(tier: &mut Tier<'_>, mut put: impl FnMut(&mut Tier<'_>) -> Result<(), TypedPutError>) {
    for _ in 0..1_000 {
        match put(tier) {
            Err(TypedPutError::Put(PutError::NeedsCompaction)) => drop(tier.poll(NOW, 8)),
            done => return done.unwrap(),
        }
    }
    panic!("I-GC-2: a put is put off for ever: {:?}", tier.stats());
}

fn put(tier: &mut Tier<'_>, key: u8, value: &Stored) {
    let mut buffer = [0; 64];
    until_taken(tier, |tier| match value {
        Stored::Old(value) => tier.put_typed(NOW, &[key], value, &mut buffer),
        Stored::New(value) => tier.put_typed(NOW, &[key], value, &mut buffer),
        Stored::Bytes(bytes) => tier.put(NOW, &[key], bytes).map_err(TypedPutError::Put),
    });
}

/// The bytes of a value as a tier stores it: a batch takes bytes.
fn encoded(value: &Stored) -> Vec<u8> {
    let (mut memory, mut flash) = (Memory::new(), Device::new(SEGMENTS, 0xFF));
    let mut tier = built(&mut memory, &mut flash, Driver::Blocking);
    put(&mut tier, 0, value);
    tier.get(NOW, &[0], &mut [0; 64]).unwrap().unwrap().to_vec()
}

fn put_together(tier: &mut Tier<'_>, values: &[(u8, Stored)]) {
    let encoded: Vec<_> = values.iter().map(|(key, value)| ([*key], encoded(value))).collect();
    let mut batch = Batch::<TOGETHER>::new();
    for (key, value) in &encoded {
        batch.put(key, value).unwrap();
    }
    until_taken(tier, |tier| Ok(tier.commit_batch(NOW, &batch)?));
}

/// Reads as the newer firmware does, which knows both types.
fn get(tier: &mut Tier<'_>, key: u8) -> Option<Stored> {
    let mut buffer = [0; 64];
    match tier.get_typed::<New>(NOW, &[key], &mut buffer) {
        Ok(found) => found.map(Stored::New),
        Err(TypedGetError::SchemaChanged { stored: 1, expected: 2 }) => {
            tier.get_typed::<Old>(NOW, &[key], &mut buffer).unwrap().map(Stored::Old)
        }
        Err(TypedGetError::Untyped) => {
            tier.get(NOW, &[key], &mut buffer).unwrap().map(|bytes| Stored::Bytes(bytes.to_vec()))
        }
        Err(error) => panic!("key {key}: {error}"),
    }
}

/// Eight keys: two firmware versions and one that writes bytes, until segments are cleaned. Each step puts as many values together as
/// the lengths say in turn.
fn history(lengths: &[usize]) -> Vec<Vec<(u8, Stored)>> {
    let value = |at: u32| ((at * 5 % u32::from(KEYS)) as u8, Stored::number(at * 7 / 20 % 3, at));
    let mut values = (0..220).map(value);
    let mut lengths = lengths.iter().cycle();
    let step = || lengths.next().map(|length| values.by_ref().take(*length).collect::<Vec<_>>());
    core::iter::from_fn(step).take_while(|step| !step.is_empty()).collect()
}

fn cut_anywhere(driver: Driver, steps: &[Vec<(u8, Stored)>]) {
    let (mut memory, mut flash) = (Memory::new(), Device::new(SEGMENTS, 0xFF));
    flash.keep_tape();
    // How many changes were made before the end of each step, and the values before each step and after the last.
    let (mut ends, mut states) = (Vec::new(), vec![Values::new()]);
    let mut tier = built(&mut memory, &mut flash, driver);
    for step in steps {
        match &step[..] {
            [(key, value)] => put(&mut tier, *key, value),
            values => put_together(&mut tier, values),
        }
        ends.push(tier.flash().tape_len());
        let mut values = states[states.len() - 1].clone();
        values.extend(step.iter().cloned());
        states.push(values);
    }
    assert!(tier.stats().counters.victims > 0, "segments were cleaned");
    drop(tier);
    let mut tried = 0;
    for (moment, change) in flash.take_tape().iter().enumerate() {
        let done = ends.iter().take_while(|end| **end <= moment).count();
        let around = &states[done..(done + 2).min(states.len())];
        for tear in change.tears() {
            let mut flash = change.torn(tear);
            let mut tier = built(&mut memory, &mut flash, driver);
            let found = |key| Some((key, get(&mut tier, key)?));
            let found: Values = (0..KEYS).filter_map(found).collect();
            assert!(
                around.contains(&found),
                "{driver:?}, change {moment}, {tear:?}: {found:?} is none of {around:?}"
            );
            // The firmware goes on: it replaces any value by one of its own.
            let key = (moment % usize::from(KEYS)) as u8;
            put(&mut tier, key, &Stored::number(1, 1_000));
            assert_eq!(get(&mut tier, key), Some(Stored::number(1, 1_000)));
            tried += 1;
        }
    }
    println!("{driver:?}: {tried} cuts");
    assert!(tried > 5_000, "{tried}");
}

#[test]
fn typed_history_cut_anywhere_leaves_old_or_new() {
    for driver in Driver::BOTH {
        cut_anywhere(driver, &history(&[1]));
    }
}

#[test]
fn typed_batches_cut_anywhere_are_whole_or_absent() {
    for driver in Driver::BOTH {
        cut_anywhere(driver, &history(&[2, 1, 3, 4]));
    }
}
