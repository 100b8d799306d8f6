//! A device whose sequences are used up: it says so, keeps what it has, and rests.

use std::collections::BTreeMap;

use crate::ram::Ram;
use coldpress_core::compaction::CompactionTask;
use coldpress_core::drive::Now;
use coldpress_core::format::{Geometry, Identity, Marker, Sequence};
use coldpress_embedded::flash::{
    FlashConfig, FlashMemory, FlashTier, NorMedium, PutError, Reserved, buckets_for,
};
use embedded_storage::nor_flash::NorFlash as _;

const SEGMENTS: usize = 16;
const SEGMENT: u32 = 512;
/// Polls after which a device that is not at rest never will be.
const POLLS_MAX: u32 = 20_000;

type Flash = Ram<4, { SEGMENT as usize }>;
type Memory = FlashMemory<SEGMENTS, { buckets_for(90) }, 96>;
type Tier<'m> = FlashTier<'m, NorMedium<Flash>>;

fn at(ms: u64) -> Now {
    Now { monotonic_ms: ms, wall_s: 1_000_000 }
}

/// A flash that can be erased only so many times more.
fn worn(left: u32) -> Flash {
    let geometry = Geometry::new(SEGMENT, SEGMENTS as u32, 4, 0xFF, Identity::KeyBytes).unwrap();
    let marker = Marker {
        erases: geometry.erases_per_segment(),
        sequence_issued: Sequence::new(geometry.sequence_max().get() - left),
    };
    let mut flash = Flash::new(SEGMENTS);
    for segment in 0..SEGMENTS as u32 {
        flash.write(segment * SEGMENT, &marker.encode()).unwrap();
    }
    flash
}

fn mounted(memory: &mut Memory, flash: Flash) -> Tier<'_> {
    let mut tier = FlashTier::new(FlashConfig::new(SEGMENT, 7), memory, NorMedium::new(flash)).unwrap();
    tier.mount(at(0)).unwrap();
    tier
}

/// Polls until the tier rests; returns how often.
fn rest(tier: &mut Tier<'_>, ms: &mut u64) -> u32 {
    for polls in 0..POLLS_MAX {
        *ms += 1;
        if tier.poll(at(*ms), 64).is_idle {
            return polls;
        }
    }
    panic!("polls that never end\n{:?}", tier.stats());
}

/// Puts as a firmware does: a put that is put off is offered again after a poll.
fn put(tier: &mut Tier<'_>, ms: &mut u64, key: u32, value: &[u8]) -> Result<(), PutError> {
    for _ in 0..1_000 {
        *ms += 1;
        match tier.put(at(*ms), &key.to_le_bytes(), value) {
            Err(PutError::NeedsCompaction | PutError::Busy(_)) => drop(tier.poll(at(*ms), 64)),
            result => return result,
        }
    }
    panic!("a put of key {key} that stays busy\n{:?}", tier.stats());
}

/// Lives until the last sequence is issued. Returns the flash and what it holds.
fn worn_out<'m>(
    memory: &'m mut Memory,
    left: u32,
    keys: u32,
    bytes: usize,
) -> (Tier<'m>, BTreeMap<u32, Vec<u8>>) {
    let mut tier = mounted(memory, worn(left));
    let (mut model, mut ms) = (BTreeMap::new(), 1);
    for number in 0..100_000u32 {
        let key = number.wrapping_mul(7) % keys;
        let value = vec![number.to_le_bytes()[0]; bytes];
        match put(&mut tier, &mut ms, key, &value) {
            Ok(()) => drop(model.insert(key, value)),
            Err(PutError::Exhausted) => return (tier, model),
            Err(error) => panic!("{left} sequences, {keys} keys of {bytes} bytes: {error}"),
        }
    }
    panic!("never exhausted")
}

fn check(tier: &mut Tier<'_>, model: &BTreeMap<u32, Vec<u8>>) {
    assert_eq!(tier.len() as usize, model.len());
    for (key, value) in model {
        let mut out = [0; 96];
        assert_eq!(tier.get(at(9), &key.to_le_bytes(), &mut out), Ok(Some(value.as_slice())), "key {key}");
    }
}

#[test]
fn device_without_sequences_says_so_and_keeps_all_it_has() {
    for left in [1, 2, 3, 5, 15, 16, 17, 40, 100] {
        for (keys, bytes) in [(3, 70), (20, 40), (30, 60), (60, 10)] {
            let (mut memory, mut ms) = (Memory::new(), 100_000);
            let (mut tier, mut model) = worn_out(&mut memory, left, keys, bytes);
            for life in 0..3 {
                check(&mut tier, &model);
                rest(&mut tier, &mut ms);
                // The rest of the open segment is for shorter records; nothing is put off for ever.
                for key in 0..keys + 3 {
                    match put(&mut tier, &mut ms, key, b"short") {
                        Ok(()) => drop(model.insert(key, b"short".to_vec())),
                        Err(error) => assert_eq!(error, PutError::Exhausted),
                    }
                    match tier.remove(at(ms), &key.to_le_bytes()) {
                        Ok(was_there) => assert_eq!(was_there, model.remove(&key).is_some()),
                        Err(error) => assert_eq!(error, PutError::Exhausted),
                    }
                }
                assert_eq!(put(&mut tier, &mut ms, 0, &[1; 70]), Err(PutError::Exhausted));
                assert_eq!(tier.reserve(at(ms), 4, 70, 64), Err::<Reserved, _>(PutError::Exhausted));
                for task in CompactionTask::ALL {
                    tier.schedule(task).unwrap();
                    rest(&mut tier, &mut ms);
                    assert!(tier.take_report().is_some(), "{task:?} never ends");
                }
                check(&mut tier, &model);
                let flash = tier.into_medium().into_flash();
                tier = mounted(&mut memory, flash);
                assert_eq!(tier.len() as usize, model.len(), "life {life}");
            }
        }
    }
}
