//! Typed values across power cuts: a firmware carries the values of an older schema over, and the power is cut at every change
//! of the flash, in every way. Each key then has its acknowledged value or the one under way, under the schema of that one.

use coldpress_embedded::flash::{
    FlashConfig, FlashMemory, FlashTier, NorMedium, Now, PutError, Schema, TypedGetError, TypedPutError,
    buckets_for,
};
use coldpress_tests::flash::Flash;
use serde::{Deserialize, Serialize};

type Device = Flash<4, 512>;
type Memory = FlashMemory<14, { buckets_for(40) }, 96>;
type Tier<'m> = FlashTier<'m, NorMedium<&'m mut Device>>;

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

fn built<'m>(memory: &'m mut Memory, flash: &'m mut Device) -> Tier<'m> {
    let mut tier = FlashTier::new(FlashConfig::new(512, 1), memory, NorMedium::new(flash)).unwrap();
    tier.mount(NOW).unwrap();
    tier
}

fn put(tier: &mut Tier<'_>, key: u8, value: &Stored) {
    let mut buffer = [0; 64];
    for _ in 0..1_000 {
        let put = match value {
            Stored::Old(value) => tier.put_typed(NOW, &[key], value, &mut buffer),
            Stored::New(value) => tier.put_typed(NOW, &[key], value, &mut buffer),
            Stored::Bytes(bytes) => tier.put(NOW, &[key], bytes).map_err(TypedPutError::Put),
        };
        match put {
            Err(TypedPutError::Put(PutError::NeedsCompaction)) => drop(tier.poll(NOW, 8)),
            done => return done.unwrap(),
        }
    }
    panic!("I-GC-2: key {key} is put off for ever");
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

/// Eight keys: two firmware versions and one that writes bytes, until segments are cleaned.
fn history() -> Vec<(u8, Stored)> {
    (0..220u32).map(|step| ((step * 5 % 8) as u8, Stored::number(step * 7 / 20 % 3, step))).collect()
}

#[test]
fn typed_history_cut_anywhere_leaves_old_or_new() {
    let (mut memory, mut flash, puts) = (Memory::new(), Device::new(14, 0xFF), history());
    flash.keep_tape();
    // How many changes were made before the end of each put.
    let mut ends = Vec::new();
    let mut tier = built(&mut memory, &mut flash);
    for (key, value) in &puts {
        put(&mut tier, *key, value);
        ends.push(tier.medium().flash().tape_len());
    }
    assert!(tier.stats().counters.victims > 0, "segments were cleaned");
    drop(tier);
    let mut tried = 0;
    for (moment, change) in flash.take_tape().iter().enumerate() {
        let put_under_way = ends.iter().take_while(|end| **end <= moment).count();
        let (done, rest) = puts.split_at(put_under_way);
        for tear in change.tears() {
            let mut flash = change.torn(tear);
            let mut tier = built(&mut memory, &mut flash);
            for key in 0..8 {
                let last = |puts: &[(u8, Stored)]| {
                    puts.iter().rev().find(|(its, _)| *its == key).map(|(_, value)| value.clone())
                };
                let (acknowledged, under_way) = (last(done), last(&rest[..rest.len().min(1)]));
                let found = get(&mut tier, key);
                assert!(
                    found == acknowledged || under_way.is_some() && found == under_way,
                    "change {moment}, {tear:?}, key {key}: {found:?}, not {acknowledged:?} or {under_way:?}"
                );
            }
            // The firmware goes on: it replaces any value by one of its own.
            let key = (moment % 8) as u8;
            put(&mut tier, key, &Stored::number(1, 1_000));
            assert_eq!(get(&mut tier, key), Some(Stored::number(1, 1_000)));
            tried += 1;
        }
    }
    println!("{tried} cuts");
    assert!(tried > 5_000, "{tried}");
}
