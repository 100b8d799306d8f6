//! A tier from which everything was removed is small again, by itself: on the disk, in the index and at the next open.

use core::time::Duration;
use std::os::unix::fs::MetadataExt;
use std::time::Instant;

use coldpress_std::compaction::Outcome;
use coldpress_std::{CodecId, ColdTier, ColdTierConfig, CompactionTask, Durability};

use crate::common::{PATIENCE, eventually, open, pools, recount, small, value};

/// Memory of this process, in bytes.
fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).map_or(0, |kib: u64| kib * 1024)
}

fn fill_and_empty(tier: &ColdTier, keys: u32) {
    for key in 0..keys {
        tier.put(&key.to_le_bytes(), &value(key, 0, 100)).unwrap();
    }
    for key in 0..keys {
        assert!(tier.remove(&key.to_le_bytes()).unwrap());
    }
    assert_eq!(tier.len(), Ok(0));
}

fn mib(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}

// For the figures: cargo test --release -p coldpress-std --test suite emptied:: -- --nocapture --test-threads 1
#[test]
fn emptied_tier_of_many_keys_is_small_by_itself() {
    let dir = tempfile::tempdir().unwrap();
    let (_manager, pools) = pools();
    let keys = 300_000;
    let config = ColdTierConfig::builder().op_timeout(PATIENCE).close_timeout(PATIENCE).build().unwrap();
    let path = dir.path().join("test/part-000.cold");
    let disk_bytes = || std::fs::metadata(&path).unwrap().blocks() * 512;
    let tier = open(dir.path(), &config, &pools);
    let say = |what: &str, tier: &ColdTier, begun: Instant| {
        let (index, disk, took) = (tier.stats().index_bytes, disk_bytes(), begun.elapsed());
        println!(
            "{what} after {took:.1?}: index {}, disk {}, resident {}",
            mib(index),
            mib(disk),
            mib(resident_bytes())
        );
    };
    say("new", &tier, Instant::now());
    fill_and_empty(&tier, keys);
    let begun = Instant::now();
    say("removed", &tier, begun);
    let is_small = |tier: &ColdTier| tier.stats().index_bytes < 2 << 20 && disk_bytes() < 16 << 20;
    // Records take 36 bytes and more, so few enough are left for a quick open, too.
    let used_bytes = || tier.stats().live_bytes + tier.stats().stale_bytes;
    eventually("it is small", || is_small(&tier) && used_bytes() < 4 << 20);
    say("small", &tier, begun);
    recount(&tier);
    tier.close().unwrap();
    let begun = Instant::now();
    let tier = open(dir.path(), &config, &pools);
    say("opened", &tier, begun);
    assert!(tier.stats().recovered_records < u64::from(keys) / 2, "{:?}", tier.stats());
    eventually("it is small", || is_small(&tier));
    // Closed before it came to rest.
    fill_and_empty(&tier, keys);
    tier.close().unwrap();
    let begun = Instant::now();
    let tier = open(dir.path(), &config, &pools);
    say("opened", &tier, begun);
    eventually("it is small", || is_small(&tier));
    say("small", &tier, begun);
    recount(&tier);
}

// Each segment holds values and their own tombstones, so none is dead by itself.
#[test]
fn keys_put_and_removed_in_turn_leave_nothing_behind() {
    let dir = tempfile::tempdir().unwrap();
    let (_manager, pools) = pools();
    let config = small().capacity_bytes(16 << 20).codec(CodecId::Raw).build().unwrap();
    let tier = open(dir.path(), &config, &pools);
    for key in 0..30_000u32 {
        tier.put(&key.to_le_bytes(), &value(key, 0, 60)).unwrap();
        if key >= 8 {
            tier.remove(&(key - 8).to_le_bytes()).unwrap();
        }
        // A value that is removed before it is written would never be written.
        if key % 4 == 0 {
            tier.flush_to(Durability::Flushed).unwrap();
        }
    }
    let begun = Instant::now();
    eventually("it is small", || {
        let stats = tier.stats();
        assert!(begun.elapsed() < PATIENCE / 2, "{stats:?}");
        stats.index_bytes < 1 << 20 && stats.live_bytes < 100_000 && stats.occupied_bytes < 6 << 20
    });
    assert_eq!(tier.len(), Ok(8));
    recount(&tier);
}

#[test]
fn compaction_completed_leaves_nothing_for_a_second() {
    let dir = tempfile::tempdir().unwrap();
    let (_manager, pools) = pools();
    let config = small().capacity_bytes(32 << 20).codec(CodecId::Raw).build().unwrap();
    let tier = open(dir.path(), &config, &pools);
    for key in 0..40_000u32 {
        tier.put(&key.to_le_bytes(), &value(key, 0, 200)).unwrap();
    }
    // One in eight stays, so that no segment of values is dead and the tombstones are relocated.
    for key in (0..40_000u32).filter(|key| key % 8 != 0) {
        tier.remove(&key.to_le_bytes()).unwrap();
    }
    tier.flush().unwrap();
    let system = tier.compaction();
    let first = system.run_compaction(CompactionTask::CompactData, PATIENCE).unwrap();
    assert_eq!(first.outcome, Outcome::Completed, "{first:?}");
    // Once no client has written for a second, tidying may seal an open segment. On a slow machine that may be between the two
    // runs, and the second one cleans that segment alone.
    let again = || system.run_compaction(CompactionTask::CompactData, PATIENCE).unwrap();
    let second = Some(again()).filter(|report| report.victims.freed == 0).unwrap_or_else(again);
    assert_eq!((second.victims.first, second.victims.freed), (None, 0), "{first:?}\n{second:?}");
    let stats = tier.stats();
    assert!(stats.stale_bytes < stats.live_bytes, "{stats:?}");
    assert_eq!(tier.len(), Ok(5_000));
}

#[test]
fn tidying_is_slow_while_clients_write() {
    let dir = tempfile::tempdir().unwrap();
    let (_manager, pools) = pools();
    let config = small().capacity_bytes(32 << 20).codec(CodecId::Raw).build().unwrap();
    let tier = open(dir.path(), &config, &pools);
    let begun = Instant::now();
    let mut puts = 0;
    while begun.elapsed() < Duration::from_millis(500) {
        tier.put(&(puts % 100u32).to_le_bytes(), &value(puts, 0, 500)).unwrap();
        puts += 1;
    }
    let (erases, passed_ms) = (tier.stats().erases, begun.elapsed().as_millis() as u64);
    // Segments that puts need are cleaned for them; tidying cleans one segment each 50 milliseconds beyond those.
    let filled = tier.stats().bytes_written / u64::from(config.segment_bytes());
    assert!(erases <= filled + passed_ms / 50 + 2, "{erases} erases for {filled} segments");
}
