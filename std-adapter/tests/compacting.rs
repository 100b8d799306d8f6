//! The settings of compaction reach the tier and the pools.

use core::time::Duration;
use std::time::Instant;

use coldpress_std::compaction::{CompactionConfig, CompactionError, CompactionTask, PoolOutcome};
use coldpress_std::pool::{AllocationManager, HotKey, HotPools, PoolConfig, PoolCoordinator};
use coldpress_std::{ColdTier, ColdTierConfig, ColdTierConfigBuilder, CompactionSystem};
use tempfile::TempDir;

const PATIENCE: Duration = Duration::from_secs(120);

fn pools() -> (AllocationManager, PoolCoordinator) {
    let config = PoolConfig::builder().capacity_bytes(8 << 20).partitions(1).page_bytes(64 << 10);
    AllocationManager::new(&config.value_bytes_max(4 << 10).request_timeout(PATIENCE).build().unwrap())
        .unwrap()
}

/// Fills pools with values and leaves one in sixteen, so that pages are nearly empty and none is free.
fn fragment(hot: HotPools) {
    let tier = hot.register_tier();
    let key = |n: u64| {
        let mut hash = [0; 12];
        hash[..8].copy_from_slice(&n.wrapping_mul(0x9E37_79B9_7F4A_7C15).to_le_bytes());
        HotKey { tier, hash }
    };
    for n in 0..1600 {
        assert!(hot.insert(key(n), 1, &[n as u8; 1000], None));
    }
    for n in (0..1600).filter(|n| n % 16 != 0) {
        assert!(hot.remove(key(n)));
    }
}

fn committed(hot: HotPools) -> u64 {
    hot.stats().unwrap().committed_bytes
}

fn open(builder: ColdTierConfigBuilder, pools: &PoolCoordinator) -> (TempDir, ColdTier) {
    let dir = tempfile::tempdir().unwrap();
    let config = builder.capacity_bytes(16 << 20).op_timeout(PATIENCE).build().unwrap();
    let tier = ColdTier::open(dir.path(), "t", config, pools.clone()).unwrap();
    (dir, tier)
}

fn wait_until(what: &str, is_so: impl Fn() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < PATIENCE, "{what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn task_asks_the_pools_that_its_system_was_made_with() {
    let (_tiers_manager, tiers) = pools();
    let (_own_manager, own) = pools();
    let (_dir, tier) = open(ColdTierConfig::builder(), &tiers);
    fragment(tiers.hot());
    fragment(own.hot());
    let (before, own_before) = (committed(tiers.hot()), committed(own.hot()));
    let mut system = CompactionSystem::new(CompactionConfig::default(), own.clone());
    let detached = system.run_compaction(CompactionTask::CompactData, PATIENCE);
    assert_eq!(detached, Err(CompactionError::Detached));
    system.attach(tier.handle());
    let report = system.run_compaction(CompactionTask::CompactData, PATIENCE).unwrap();
    assert!(report.pool.reclaimed_bytes() > 0);
    assert_eq!(own_before - committed(own.hot()), report.pool.reclaimed_bytes());
    assert_eq!(committed(tiers.hot()), before);
    // The system that comes from the tier asks the pools of the tier.
    let report = tier.compaction().run_compaction(CompactionTask::CompactData, PATIENCE).unwrap();
    assert!(report.pool.reclaimed_bytes() > 0);
    assert_eq!(before - committed(tiers.hot()), report.pool.reclaimed_bytes());
}

#[test]
fn threshold_decides_whether_fragmented_pools_are_cleaned_up() {
    for (threshold, is_asked) in [(300, true), (1000, false)] {
        let (_manager, pools) = pools();
        let (_dir, tier) = open(ColdTierConfig::builder().cleanup_threshold_permille(threshold), &pools);
        for key in 0..400u32 {
            tier.put(&(key % 100).to_le_bytes(), &[7; 1000]).unwrap();
            assert!(tier.get(&(key % 100).to_le_bytes()).unwrap().is_some());
            if key % 100 == 99 {
                // Without it values that are overwritten in memory never reach the log.
                tier.flush().unwrap();
            }
        }
        fragment(pools.hot());
        let system = tier.compaction();
        let report = system.run_compaction(CompactionTask::OptimizeCompression, PATIENCE).unwrap();
        assert_eq!(report.pool != PoolOutcome::NotAsked, is_asked, "{report:?}");
        let analysis = system.last_analysis().unwrap();
        assert_eq!(analysis.report.advice.is_cleanup(), is_asked);
        assert!(analysis.report.fragmentation_impact > 300, "{analysis:?}");
        let (measured, stats) = (analysis.measured, tier.stats());
        assert_eq!(measured.log_live_bytes, stats.live_bytes);
        assert_eq!(measured.log_held_bytes, stats.live_bytes + stats.stale_bytes);
        assert!(measured.log_live_bytes > 0 && measured.log_held_bytes > measured.log_live_bytes);
        assert!(measured.latency_us.is_some() && measured.pool_held_bytes > 0);
        assert_eq!((report.fresh_bytes, report.write_amplification_permille()), (0, None), "nobody put");
    }
}

#[test]
fn tier_with_an_interval_compacts_by_itself() {
    let (_manager, pools) = pools();
    let (_dir, tier) = open(ColdTierConfig::builder().interval(Duration::from_millis(20)), &pools);
    wait_until("a task ran", || tier.stats().compactions > 0);
    let system = tier.compaction();
    assert_eq!(system.start_background_worker(), Err(CompactionError::AlreadyRunning));
    system.stop().unwrap();
    assert!(!system.has_background_worker());
    assert_eq!(system.start_background_worker(), Ok(()));
    assert_eq!(system.start_background_worker(), Err(CompactionError::AlreadyRunning));
}

#[test]
fn background_worker_starts_only_with_a_tier_that_expires() {
    let (_manager, pools) = pools();
    let hour = Duration::from_secs(3600);
    let table = [
        (ColdTierConfig::builder(), false),
        (ColdTierConfig::builder().ttl(hour), true),
        (ColdTierConfig::builder().idle(hour), true),
        (ColdTierConfig::builder().interval(hour), true),
    ];
    for (builder, runs) in table {
        let (_dir, tier) = open(builder, &pools);
        assert_eq!(tier.compaction().has_background_worker(), runs);
    }
}

#[test]
fn expired_values_with_an_interval_are_dropped_unasked() {
    use coldpress_std::clock::ManualClock;
    static CLOCK: ManualClock = ManualClock::new(1_000_000);
    let (_manager, pools) = pools();
    let builder = ColdTierConfig::builder().clock(&CLOCK).interval(Duration::from_millis(20));
    let (_dir, tier) = open(builder, &pools);
    tier.put_with_ttl(b"short", b"v", Duration::from_secs(5)).unwrap();
    tier.put(b"long", b"v").unwrap();
    tier.flush().unwrap();
    CLOCK.advance_s(60);
    wait_until("it was dropped", || tier.stats().expired_records == 1);
    assert_eq!(tier.len(), Ok(1));
}
