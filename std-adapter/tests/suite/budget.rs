//! One budget for the background work of pools and tiers.

use core::time::Duration;
use std::time::Instant;

use coldpress_std::budget::{BudgetConfig, BudgetOwner, WorkBudget, WorkKind};
use coldpress_std::compaction::Outcome;
use coldpress_std::crossbeam_channel::bounded;
use coldpress_std::pool::{AllocationManager, CleanupKind, HotKey, PoolConfig, PoolConfigBuilder};
use coldpress_std::{CodecId, ColdTier, CompactionTask};

use crate::common::{PATIENCE, eventually, open, pools, recount, small, value};

fn limited(bytes_per_s: u64) -> (BudgetOwner, WorkBudget) {
    WorkBudget::new(BudgetConfig::default().with_bytes_per_s(bytes_per_s)).unwrap()
}

/// Puts keys so that half of the records in each segment are stale: compaction must relocate the others.
fn churn(tier: &ColdTier) {
    for (round, step) in [(0, 1), (1, 2)] {
        for key in (0..600u32).step_by(step) {
            tier.put(&key.to_le_bytes(), &value(key, round, 1500)).unwrap();
        }
        tier.flush().unwrap();
    }
}

fn check(tier: &ColdTier) {
    for key in 0..600u32 {
        let round = u32::from(key % 2 == 0);
        assert_eq!(tier.get(&key.to_le_bytes()).unwrap(), Some(value(key, round, 1500)), "{key}");
    }
    recount(tier);
}

fn tight() -> PoolConfigBuilder {
    PoolConfig::builder().page_bytes(64 << 10).capacity_bytes(4 << 20).partitions(2).value_bytes_max(4_096)
}

/// Fills the pools, and drops three of four values, so that pages can be emptied.
fn fragment(pools: &coldpress_std::pool::PoolCoordinator) {
    let hot = pools.hot();
    let tier = hot.register_tier();
    let key = |number: u32| {
        let mut hash = [0; 12];
        hash[..4].copy_from_slice(&number.wrapping_mul(0x9E37_79B9).to_le_bytes());
        hash[8..].copy_from_slice(&number.to_le_bytes());
        HotKey { tier, hash }
    };
    for number in 0..700 {
        assert!(hot.insert(key(number), 1, &[7; 4_000], None));
    }
    for number in (0..700).filter(|number| number % 4 > 0 || *number >= 680) {
        hot.remove(key(number));
    }
}

#[test]
fn compaction_with_a_byte_rate_stays_within_it() {
    const RATE: u64 = 250_000;
    let dir = tempfile::tempdir().unwrap();
    let (_manager, pools) = pools();
    let (_owner, budget) = limited(RATE);
    let tier = open(dir.path(), &small().codec(CodecId::Raw).budget(budget).build().unwrap(), &pools);
    churn(&tier);
    // The tier may have been at rest for long enough to tidy, if the machine is slow.
    let (before, begun) = (budget.stats(), Instant::now());
    std::thread::scope(|scope| {
        let task = scope.spawn(|| tier.compaction().run_compaction(CompactionTask::CompactData, PATIENCE));
        while !task.is_finished() {
            let stats = budget.stats();
            let moved = stats.bytes(WorkKind::Compaction) - before.bytes(WorkKind::Compaction);
            let earned = RATE as u128 * (begun.elapsed() + Duration::from_millis(1)).as_micros() / 1_000_000;
            assert!(u128::from(moved) <= earned + u128::from(stats.largest_slice_bytes), "{stats:?}");
            std::thread::sleep(Duration::from_millis(5));
        }
        let report = task.join().unwrap().unwrap();
        assert!(report.relocated_bytes > 200_000 && report.outcome == Outcome::Completed, "{report:?}");
    });
    let (stats, counted) = (budget.stats(), tier.stats());
    assert_eq!(stats.bytes(WorkKind::Compaction), counted.relocated_bytes, "each byte is counted once");
    assert_eq!(counted.shortages, 0);
    assert!(stats.granted(WorkKind::Compaction) > 5 && stats.refused(WorkKind::Compaction) > 0, "{stats:?}");
    assert_eq!(stats.granted(WorkKind::Recompression) + stats.granted(WorkKind::Demotion), 0);
    // A step copies 32 KiB and one record more; a slice of this rate has one step.
    assert!(stats.largest_slice_bytes <= (32 << 10) + 2 * 1_600, "{stats:?}");
    check(&tier);
}

#[test]
fn kinds_at_work_together_rest_half_of_the_time() {
    let dir = tempfile::tempdir().unwrap();
    let (_owner, budget) = WorkBudget::new(BudgetConfig::default()).unwrap();
    let begun = Instant::now();
    let config = tight().budget(budget).request_timeout(PATIENCE).build().unwrap();
    let (_manager, pools) = AllocationManager::new(&config).unwrap();
    let config = small().codec(CodecId::Raw).keep_hot_values(false).budget(budget).build().unwrap();
    let tier = open(dir.path(), &config, &pools);
    churn(&tier);
    fragment(&pools);
    let run = |task| tier.compaction().run_compaction(task, PATIENCE).unwrap();
    std::thread::scope(|scope| {
        let compaction = scope.spawn(|| run(CompactionTask::CompactData));
        let reclaimed = pools.cleanup(CleanupKind::TriggerDefragmentation).unwrap();
        assert!(reclaimed.bytes > 0 && !reclaimed.is_partial, "{reclaimed:?}");
        let report = compaction.join().unwrap();
        assert!(report.victims.freed > 0 && report.pool.is_whole(), "{report:?}");
        let report = run(CompactionTask::OptimizeCompression);
        assert!(report.checked_records > 0, "{report:?}");
    });
    let stats = budget.stats();
    let taken = begun.elapsed();
    let granted: u64 = WorkKind::ALL.into_iter().map(|kind| stats.granted(kind)).sum();
    for kind in [WorkKind::Defragmentation, WorkKind::Compaction, WorkKind::Recompression] {
        assert!(stats.granted(kind) > 0, "{kind:?}: {stats:?}");
    }
    // One may be out at this moment, for the tidying.
    assert!(granted - stats.slices <= 1, "{stats:?}");
    let longest = Duration::from_micros(stats.longest_slice_us + 1);
    assert!(stats.slice_time * 2 <= taken + longest, "slices overlap: {stats:?} in {taken:?}");
    let relocated_bytes = pools.hot().stats().unwrap().totals.relocated_bytes;
    assert_eq!(stats.bytes(WorkKind::Defragmentation), relocated_bytes);
    check(&tier);
}

#[test]
fn shortage_is_met_without_a_slice() {
    let dir = tempfile::tempdir().unwrap();
    let (_manager, pools) = pools();
    // At this rate one relocated segment takes a day.
    let (_owner, budget) = limited(1);
    let tier = open(dir.path(), &small().codec(CodecId::Raw).budget(budget).build().unwrap(), &pools);
    for round in 0..8 {
        for key in 0..2_000u32 {
            if round == 0 || key % 3 != round % 3 {
                tier.put(&key.to_le_bytes(), &value(key, round, 1500)).unwrap();
            }
        }
        tier.flush().unwrap();
    }
    let (stats, counted) = (budget.stats(), tier.stats());
    assert!(counted.shortages > 0 && counted.relocated_bytes > 100_000, "{counted:?}");
    assert!(stats.booked(WorkKind::Compaction) > 0, "{stats:?}");
    assert!(stats.bytes(WorkKind::Compaction) > 100_000, "{stats:?}");
    recount(&tier);
}

#[test]
fn defragmentation_without_slices_is_partial_and_blocks_nobody() {
    let (_owner, budget) = limited(1);
    let timeout = Duration::from_secs(2);
    let config = tight().budget(budget).request_timeout(timeout).build().unwrap();
    let (_manager, pools) = AllocationManager::new(&config).unwrap();
    fragment(&pools);
    // One more slice than this rate earns in a lifetime.
    budget.book(WorkKind::Demotion, Duration::ZERO, 1 << 20);
    let (reply, replies) = bounded(2);
    let begun = Instant::now();
    let slow = pools.request(CleanupKind::TriggerDefragmentation, reply.clone()).unwrap();
    let emergency = pools.request(CleanupKind::EmergencyCleanup, reply).unwrap();
    let first = replies.recv().unwrap();
    assert_eq!(first.ticket, emergency, "an emergency waits for no slice");
    assert!(!first.result.unwrap().is_partial);
    let second = replies.recv().unwrap();
    assert_eq!(second.ticket, slow);
    let reclaimed = second.result.unwrap();
    assert!(reclaimed.is_partial && reclaimed.relocated_bytes == 0, "{reclaimed:?}");
    assert!(begun.elapsed() >= timeout * 8 / 10);
    assert_eq!(budget.stats().granted(WorkKind::Defragmentation), 0);
}

#[test]
fn budget_that_ends_lets_waiting_work_go_on() {
    let dir = tempfile::tempdir().unwrap();
    let (_manager, pools) = pools();
    let (owner, budget) = limited(1);
    let tier = open(dir.path(), &small().codec(CodecId::Raw).budget(budget).build().unwrap(), &pools);
    churn(&tier);
    budget.book(WorkKind::Demotion, Duration::ZERO, 1 << 20);
    tier.compaction().schedule_compaction(CompactionTask::CompactData).unwrap();
    eventually("it waits for a slice", || budget.stats().refused(WorkKind::Compaction) > 0);
    assert_eq!(tier.stats().compactions, 0);
    // Cancelled, it ends without a slice.
    tier.compaction().cancel().unwrap();
    eventually("it was cancelled", || tier.stats().compactions == 1);
    drop(owner);
    let report = tier.compaction().run_compaction(CompactionTask::CompactData, PATIENCE).unwrap();
    assert_eq!(report.outcome, Outcome::Completed, "{report:?}");
    check(&tier);
}
