//! A medium that can't be read for a while: an unread part is never taken for lost, nor for anything else.

use core::time::Duration;

use coldpress_std::compaction::Report;
use coldpress_std::medium::MediumError;
use coldpress_std::{ColdTier, ColdTierConfig, CompactionTask, Durability, OpenError, PutOptions};

use crate::common::{PATIENCE, SYNCED, open_on, pools, recount, small, value};
use crate::double::Double;

const KEYS: u32 = 600;

/// A closed tier whose segments were erased and filled several times.
fn lived(config: &ColdTierConfig) -> &'static Double {
    let (_manager, pools) = pools();
    let double = Double::new(config.capacity_bytes());
    let tier = open_on(&double, config, &pools);
    for round in 0..4u32 {
        for key in 0..KEYS {
            tier.put(&key.to_le_bytes(), &value(key, round, 900)).unwrap();
        }
        tier.flush().unwrap();
        run(&tier, CompactionTask::CompactData);
    }
    tier.put_with(b"last", b"v", SYNCED).unwrap();
    tier.close().unwrap();
    double
}

fn run(tier: &ColdTier, task: CompactionTask) -> Report {
    tier.compaction().run_compaction(task, PATIENCE).unwrap()
}

fn all_read(tier: &ColdTier, what: &str) {
    for key in 0..KEYS {
        let found = tier.get(&key.to_le_bytes());
        assert!(found == Ok(Some(value(key, 3, 900))), "key {key} {what}");
    }
}

#[test]
fn medium_unreadable_after_any_read_fails_the_open() {
    let (_manager, pools) = pools();
    let config = small().build().unwrap();
    let double = lived(&config);
    let mut failed = 0;
    for reads in [0, 1, 2, 3, 4, 5, 8, 16, 40, 80, 120] {
        *double.unread.lock().unwrap() = (0..u64::MAX, reads);
        let media = vec![Box::new(double) as Box<dyn coldpress_std::medium::ServiceMedium>];
        match ColdTier::open_with(media, config.clone(), pools.clone()) {
            Ok(tier) => drop(tier),
            Err(error) => {
                failed += 1;
                let (OpenError::Unread { failure, .. } | OpenError::Medium(failure)) = &error else {
                    panic!("after {reads} reads: {error}");
                };
                assert_eq!(failure.kind(), MediumError::Unreadable, "after {reads} reads");
            }
        }
        *double.unread.lock().unwrap() = (0..0, 0);
        all_read(&open_on(&double, &config, &pools), &format!("after {reads} reads"));
    }
    assert!(failed > 4, "{failed}");
}

#[test]
fn segment_unreadable_during_one_open_loses_nothing() {
    let (_manager, pools) = pools();
    let config = small().build().unwrap();
    let first = lived(&config);
    let segment_bytes = u64::from(config.segment_bytes());
    for segment in 0..config.capacity_bytes() / segment_bytes {
        let double = first.cut();
        let at = segment * segment_bytes;
        *double.unread.lock().unwrap() = (at..at + segment_bytes, 0);
        let tier = open_on(&double, &config, &pools);
        tier.put_with(b"more", b"v", SYNCED).unwrap();
        // A key that may lie there, and one that never was: neither comes back.
        tier.remove_with(&0u32.to_le_bytes(), Durability::Synced).unwrap();
        assert!(!tier.remove(b"never").unwrap());
        run(&tier, CompactionTask::CompactData);
        *double.unread.lock().unwrap() = (0..0, 0);
        let is_kept = tier.stats().quarantined_segments == 1;
        let report = run(&tier, CompactionTask::RebuildIndex);
        assert_eq!(report.reread_segments, u32::from(is_kept), "{report:?}");
        let check = |tier: &ColdTier, when: &str| {
            for key in 1..KEYS {
                let found = tier.get(&key.to_le_bytes());
                assert!(found == Ok(Some(value(key, 3, 900))), "key {key}, segment {segment}, {when}");
            }
            assert_eq!(tier.get(&0u32.to_le_bytes()), Ok(None), "segment {segment}, {when}");
        };
        check(&tier, "given back");
        tier.close().unwrap();
        check(&open_on(&double, &config, &pools), "opened again");
    }
}

#[test]
fn repeated_removes_beside_an_unread_segment_charge_nothing() {
    let (_manager, pools) = pools();
    let config = small().build().unwrap();
    let double = lived(&config);
    let segment_bytes = u64::from(config.segment_bytes());
    *double.unread.lock().unwrap() = (segment_bytes..2 * segment_bytes, 0);
    let tier = open_on(&double, &config, &pools);
    assert_eq!(tier.stats().quarantined_segments, 1);
    let remove = |durability| {
        for key in [&b"never"[..], &7u32.to_le_bytes()] {
            tier.remove_with(key, durability).unwrap();
        }
    };
    remove(Durability::Synced);
    recount(&tier);
    let before = tier.stats();
    for durability in [Durability::Buffered, Durability::Flushed, Durability::Synced] {
        (0..100).for_each(|_| remove(durability));
    }
    tier.flush().unwrap();
    let after = tier.stats();
    assert_eq!((after.charged_bytes, after.pending_bytes), (before.charged_bytes, 0));
    recount(&tier);
}

#[test]
fn touch_never_puts_an_old_value_over_an_unread_one() {
    let (_manager, pools) = pools();
    let config = small().build().unwrap();
    for len in [100, 20_000] {
        let double = Double::new(config.capacity_bytes());
        let tier = open_on(&double, &config, &pools);
        for round in 0..4u32 {
            tier.put_with(b"k", &value(1, round, len), SYNCED).unwrap();
            // Segments between the copies.
            for key in 0..100 {
                tier.put(&[round as u8, key], &value(2, round, 2_000)).unwrap();
            }
        }
        tier.close().unwrap();
        let newest = value(1, 3, len);
        let mut old = 0;
        let segment_bytes = u64::from(config.segment_bytes());
        for segment in 0..config.capacity_bytes() / segment_bytes {
            let double = double.cut();
            *double.unread.lock().unwrap() = (segment * segment_bytes..(segment + 1) * segment_bytes, 0);
            let tier = open_on(&double, &config, &pools);
            let is_old = tier.get(b"k") != Ok(Some(newest.clone()));
            old += u32::from(is_old);
            let options = PutOptions { ttl: Duration::from_secs(600).into(), ..SYNCED };
            let touched = tier.touch_with(b"k", options);
            assert!(!is_old || touched != Ok(true), "{touched:?}");
            *double.unread.lock().unwrap() = (0..0, 0);
            run(&tier, CompactionTask::RebuildIndex);
            assert!(
                tier.get(b"k") == Ok(Some(newest.clone())),
                "{len} bytes, segment {segment}: {touched:?}"
            );
            recount(&tier);
            tier.close().unwrap();
            let tier = open_on(&double, &config, &pools);
            assert!(
                tier.get(b"k") == Ok(Some(newest.clone())),
                "{len} bytes, segment {segment}, opened again"
            );
        }
        assert!(old > 0, "{len} bytes");
    }
}
