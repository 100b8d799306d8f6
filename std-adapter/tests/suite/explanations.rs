//! Explanations: each kind is provoked, and its figures are compared with the stats.

use core::time::Duration;

use coldpress_std::budget::{BudgetConfig, WorkBudget};
use coldpress_std::compaction::VictimReason;
use coldpress_std::pool::{AllocationManager, CleanupKind, HotKey, PoolConfig};
use coldpress_std::{
    CleanedSegment, CleanupCause, CodecId, ColdTier, CompactionTask, Eviction, EvictionCause, Explained,
    Explanation, FullPolicy, PutError, RefusalCause, RefusedOperation,
};

use crate::common::{PATIENCE, eventually, open, pools, small, value};

/// Puts keys so that half of the records in each segment are stale.
fn churn(tier: &ColdTier) {
    for (round, step) in [(0, 1), (1, 2)] {
        for key in (0..600u32).step_by(step) {
            tier.put(&key.to_le_bytes(), &value(key, round, 1500)).unwrap();
        }
        tier.flush().unwrap();
    }
}

fn cleaned(all: &[Explanation]) -> Vec<CleanedSegment> {
    all.iter()
        .filter_map(|one| match one.kind {
            Explained::Cleaned(cleaned) => Some(cleaned),
            _ => None,
        })
        .collect()
}

fn evictions(all: &[Explanation]) -> Vec<Eviction> {
    all.iter()
        .filter_map(|one| match one.kind {
            Explained::Evicted(eviction) => Some(eviction),
            _ => None,
        })
        .collect()
}

fn tasks(tier: &ColdTier, task: CompactionTask) -> usize {
    count(&tier.explanations().unwrap(), task)
}

fn count(all: &[Explanation], task: CompactionTask) -> usize {
    let is_meant =
        |one: &&Explanation| matches!(&one.kind, Explained::Task { report, .. } if report.task == task);
    all.iter().filter(is_meant).count()
}

#[test]
fn cleaned_segments_add_up_to_the_stats() {
    let dir = tempfile::tempdir().unwrap();
    let (_manager, pools) = pools();
    let (_owner, budget) = WorkBudget::new(BudgetConfig::default().with_bytes_per_s(2_000_000)).unwrap();
    let config = small().codec(CodecId::Raw).partitions(2).budget(budget).build().unwrap();
    let tier = open(dir.path(), &config, &pools);
    churn(&tier);
    let report = tier.compaction().run_compaction(CompactionTask::CompactData, PATIENCE).unwrap();
    assert!(report.relocated_bytes > 200_000, "{report:?}");
    eventually("all victims are free", || {
        let (stats, found) = (tier.stats(), cleaned(&tier.explanations().unwrap()));
        let relocated_bytes: u64 = found.iter().map(|one| one.relocated_bytes).sum();
        let freed_bytes: u64 = found.iter().map(|one| one.freed_bytes).sum();
        relocated_bytes == stats.relocated_bytes
            && freed_bytes == stats.log_bytes_reclaimed + stats.relocated_bytes
    });
    let all = tier.explanations().unwrap();
    let found = cleaned(&all);
    assert!(found.len() > 5 && found.len() < 256, "{}", found.len());
    let live: Vec<_> = found.iter().filter(|one| one.reason != VictimReason::Dead).collect();
    for one in &live {
        assert!(one.live_bytes > 0 && one.live_bytes <= one.used_bytes, "{one:?}");
        assert!(one.used_bytes <= u64::from(config.segment_bytes()) && one.live_permille() > 0, "{one:?}");
        assert!(one.relocated_bytes > 0 && one.relocated_records > 0, "{one:?}");
        let VictimReason::LeastLive(_) = one.reason else { continue };
        assert!(one.age_bytes.is_some_and(|age| age > 0), "{one:?}");
    }
    assert!(live.iter().any(|one| one.waited_for_slices > Duration::ZERO), "{live:?}");
    assert!(live.iter().any(|one| one.waited_for_syncs > Duration::ZERO), "{live:?}");
    assert_eq!(tasks(&tier, CompactionTask::CompactData), 2, "one for each partition");
    assert!(all.is_sorted_by_key(|one| one.at_s), "newest last");
    let text = all.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
    assert!(text.contains("was cleaned because it had the least live bytes ("), "{text}");
    assert!(text.contains("the task '") && text.contains(" (completed): "), "{text}");
}

#[test]
fn dead_segment_taken_at_rest_is_explained() {
    let dir = tempfile::tempdir().unwrap();
    let (_manager, pools) = pools();
    let tier = open(dir.path(), &small().codec(CodecId::Raw).build().unwrap(), &pools);
    churn(&tier);
    for key in 0..600u32 {
        tier.remove(&key.to_le_bytes()).unwrap();
    }
    tier.flush().unwrap();
    eventually("dead segments are freed", || {
        let found = cleaned(&tier.explanations().unwrap());
        let dead = found.iter().filter(|one| one.reason == VictimReason::Dead);
        dead.filter(|one| one.freed_bytes > 0 && one.live_bytes == 0 && one.relocated_bytes == 0).count() > 3
    });
    let report = tier.compaction().run_compaction(CompactionTask::CleanupExpired, PATIENCE).unwrap();
    let all = tier.explanations().unwrap();
    let last = all.iter().rev().find_map(|one| match &one.kind {
        Explained::Task { partition: 0, report } => Some(**report),
        _ => None,
    });
    assert_eq!(last, Some(report));
}

#[test]
fn evictions_of_a_full_tier_add_up_to_the_stats() {
    let dir = tempfile::tempdir().unwrap();
    let (_manager, pools) = pools();
    let config = small().codec(CodecId::Raw).full(FullPolicy::Evict).build().unwrap();
    let tier = open(dir.path(), &config, &pools);
    for key in 0..4_000u32 {
        tier.put(&key.to_le_bytes(), &value(key, 0, 1500)).unwrap();
    }
    tier.flush().unwrap();
    let sum = || {
        let all = tier.explanations().unwrap();
        let found = evictions(&all);
        let has_each = |one: &Explanation| match one.kind {
            Explained::Evicted(eviction) => one.events == eviction.records,
            _ => true,
        };
        assert!(all.iter().all(has_each), "each value is an event: {all:?}");
        assert!(found.iter().all(|one| one.cause == EvictionCause::CapacityTaken), "{found:?}");
        assert!(found.iter().all(|one| one.bytes >= 1500 * one.records && one.idle_s_max.is_some()));
        found.iter().map(|one| one.records).sum::<u64>()
    };
    eventually("each eviction is explained", || sum() > 0 && sum() == tier.stats().evicted_records);
}

#[test]
fn refused_puts_are_explained_with_their_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let (_manager, pools) = pools();
    let tier = open(dir.path(), &small().codec(CodecId::Raw).build().unwrap(), &pools);
    let mut refused = Vec::new();
    for key in 0..4_000u32 {
        if let Err(error) = tier.put(&key.to_le_bytes(), &value(key, 0, 1500)) {
            refused.push(error);
        }
    }
    let all = tier.explanations().unwrap();
    let found: Vec<_> = all
        .iter()
        .filter_map(|one| match one.kind {
            Explained::Refused(refused) => Some((one.events, refused)),
            _ => None,
        })
        .collect();
    let events: u64 = found.iter().map(|(events, _)| events).sum();
    assert!(found.len() < 256 && events == tier.stats().refused_puts && events == refused.len() as u64);
    let Some(PutError::Full { needed, available }) = refused.last().cloned() else { panic!("{refused:?}") };
    let (_, last) = found.last().unwrap();
    assert_eq!((last.needed, last.available), (Some(needed), Some(available)));
    assert_eq!((last.operation, last.cause), (RefusedOperation::Put, RefusalCause::Full));
    assert_eq!(last.partition, Some(0));
}

#[test]
fn pool_cleanups_and_evictions_say_why() {
    let dir = tempfile::tempdir().unwrap();
    let builder = PoolConfig::builder().page_bytes(64 << 10).capacity_bytes(1 << 20).partitions(1);
    let config = builder.value_bytes_max(4_096).request_timeout(PATIENCE).build().unwrap();
    let (_manager, pools) = AllocationManager::new(&config).unwrap();
    let hot = pools.hot();
    let tier_number = hot.register_tier();
    let mut taken = 0u64;
    for number in 0..2_000u32 {
        let mut hash = [0; 12];
        hash[..4].copy_from_slice(&number.to_le_bytes());
        taken += u64::from(hot.insert(HotKey { tier: tier_number, hash }, 1, &[7; 4_000], None));
    }
    let causes = |cause| {
        let all = pools.explanations().unwrap();
        let is_meant =
            |one: &&Explanation| matches!(one.kind, Explained::PoolCleanup(it) if it.cause == cause);
        all.iter().filter(is_meant).count()
    };
    eventually("the worker frees space", || causes(CleanupCause::HighWatermark) > 0);
    let reclaimed = pools.cleanup(CleanupKind::EmergencyCleanup).unwrap();
    let all = pools.explanations().unwrap();
    let asked = all.iter().find_map(|one| match one.kind {
        Explained::PoolCleanup(it) if it.cause == CleanupCause::Requested => Some(it),
        _ => None,
    });
    let asked = asked.unwrap();
    assert_eq!((asked.kind, asked.reclaimed, asked.error), (CleanupKind::EmergencyCleanup, reclaimed, None));
    let found = evictions(&all);
    let records: u64 = found.iter().map(|one| one.records).sum();
    let left = u64::from(hot.stats().unwrap().totals.live_objects);
    assert_eq!(records, taken - left, "{found:?}");
    assert!(found.iter().all(|one| one.bytes == 4_000 * one.records), "{found:?}");
    let tier = open(dir.path(), &small().build().unwrap(), &pools);
    tier.compaction().run_compaction(CompactionTask::CompactData, PATIENCE).unwrap();
    assert_eq!(causes(CleanupCause::CompactionAsked), 1);
    let text = pools.explanations().unwrap().iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
    assert!(text.contains("compaction asked") && text.contains("were evicted from the pools"), "{text}");
}

#[test]
fn background_compaction_that_frees_nothing_comes_less_often() {
    let dir = tempfile::tempdir().unwrap();
    let (_manager, pools) = pools();
    let (_owner, budget) = WorkBudget::new(BudgetConfig::default()).unwrap();
    let config = small().interval(Duration::from_millis(10)).budget(budget).build().unwrap();
    let tier = open(dir.path(), &config, &pools);
    tier.put(b"key", b"value").unwrap();
    tier.flush().unwrap();
    eventually("a hundred intervals", || tasks(&tier, CompactionTask::CleanupExpired) >= 100);
    let passes = tasks(&tier, CompactionTask::CompactData);
    assert!(passes > 0 && passes * 4 < tasks(&tier, CompactionTask::CleanupExpired), "{passes}");
    // By hand it runs at once, and a client's write makes a pass worth a try again.
    tier.compaction().run_compaction(CompactionTask::CompactData, PATIENCE).unwrap();
    assert!(tasks(&tier, CompactionTask::CompactData) > passes);
    let passes = tasks(&tier, CompactionTask::CompactData);
    tier.put(b"key", b"other").unwrap();
    tier.flush().unwrap();
    eventually("a pass after a write", || tasks(&tier, CompactionTask::CompactData) > passes);
}

#[test]
fn background_compaction_without_a_budget_keeps_its_interval() {
    let dir = tempfile::tempdir().unwrap();
    let (_manager, pools) = pools();
    let tier = open(dir.path(), &small().interval(Duration::from_millis(10)).build().unwrap(), &pools);
    eventually("fifty intervals", || tasks(&tier, CompactionTask::CleanupExpired) >= 50);
    let all = tier.explanations().unwrap();
    let (passes, intervals) =
        (count(&all, CompactionTask::CompactData), count(&all, CompactionTask::CleanupExpired));
    // On a busy machine a pass may last longer than an interval; one that came less often would be below a quarter.
    assert!(passes * 2 >= intervals, "{passes} passes in {intervals} intervals");
}
