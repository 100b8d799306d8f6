use std::collections::BTreeMap;

use coldpress_core::compaction::CompactionTask;
use coldpress_core::format::{Geometry, Identity};

use super::*;
use crate::rng::Rng;

fn config() -> TierConfig {
    let geometry = Geometry::new(4096, 32, 1, 0, Identity::KeyedHash).unwrap();
    let store = Store { id: 7, hash_key: [3; 16], partition: 0, partitions: 1 };
    TierConfig { record_bytes_max: 512, cleans_at_rest: true, ..TierConfig::new(geometry, store) }
}

fn blank(config: &TierConfig) -> Bytes {
    Bytes::blank(&config.geometry)
}

const fn at(wall_s: u32) -> Now {
    Now { monotonic_ms: wall_s as u64 * 1_000, wall_s }
}

fn assert_holds(tier: &mut InMemoryTier<'_>, model: &BTreeMap<u8, Vec<u8>>) {
    for key in 0..=u8::MAX {
        assert_eq!(tier.get(&[key]).unwrap().as_ref(), model.get(&key), "key {key}");
    }
}

// Twenty lives of a tier of 128 KiB, each ended by a cut behind a sync.
#[test]
fn synced_writes_of_many_lives_are_found_again() {
    let (config, mut rng) = (config(), Rng::new(11, 0));
    let (mut medium, mut model) = (blank(&config), BTreeMap::new());
    for life in 0..20_u32 {
        let mut buffers = Buffers::new(&config);
        let mut tier = InMemoryTier::open(config, &mut buffers, medium, at(1_000 + life)).unwrap();
        assert_holds(&mut tier, &model);
        for step in 0..2_000_u32 {
            let key = u8::try_from(rng.below(120)).unwrap();
            if rng.below(4) == 0 {
                tier.set(&[key], None, None).unwrap();
                model.remove(&key);
            } else {
                let value = vec![key ^ life as u8; 20 + rng.below(200) as usize];
                tier.set(&[key], Some(&value), None).unwrap();
                model.insert(key, value);
            }
            if step % 500 == 0 {
                tier.machine.schedule(CompactionTask::ALL[(step / 500) as usize]).unwrap();
                assert_holds(&mut tier, &model);
            }
        }
        tier.sync();
        medium = tier.medium;
    }
}

#[test]
fn emptied_tier_has_no_entries_left() {
    let config = config();
    let mut buffers = Buffers::new(&config);
    let mut tier = InMemoryTier::open(config, &mut buffers, blank(&config), at(1_000)).unwrap();
    for key in 0..=u8::MAX {
        tier.set(&[key], Some(&[key; 100]), None).unwrap();
    }
    for key in 0..=u8::MAX {
        tier.set(&[key], None, None).unwrap();
    }
    for seconds in 0..600 {
        tier.now = at(1_001 + seconds);
        tier.drive(1_000);
        tier.sync();
    }
    // The remaining entries are of records in open segments.
    assert!(tier.keys.entries.len() < 64, "{} entries", tier.keys.entries.len());
    assert_holds(&mut tier, &BTreeMap::new());
}

#[test]
fn value_whose_time_is_over_is_absent_and_dropped() {
    let config = config();
    let mut buffers = Buffers::new(&config);
    let mut tier = InMemoryTier::open(config, &mut buffers, blank(&config), at(1_000)).unwrap();
    tier.set(b"short", Some(b"1"), Some(1_060)).unwrap();
    tier.set(b"long", Some(b"2"), None).unwrap();
    tier.sync();
    tier.now = at(1_100);
    assert_eq!(tier.get(b"short").unwrap(), None);
    tier.machine.schedule(CompactionTask::CleanupExpired).unwrap();
    tier.drive(10_000);
    assert_eq!(tier.machine.take_report().unwrap().expired_records, 1);
    assert_eq!(tier.get(b"long").unwrap(), Some(b"2".to_vec()));
}

#[test]
fn adapter_in_memory_takes_at_most_250_lines() {
    let lines = include_str!("../in_memory.rs").lines().count();
    assert!(lines <= 250, "{lines} lines");
}
