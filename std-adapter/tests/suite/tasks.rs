//! Tasks of several clients: which client gets which report, and which pools are asked.

use core::time::Duration;

use coldpress_std::CodecId;
use coldpress_std::compaction::{CleanupError, CompactionConfig, Outcome, PoolOutcome, Report};
use coldpress_std::{ColdTier, CompactionSystem, CompactionTask};

use crate::common::{PATIENCE, eventually, open, pools, small, value};
use crate::pools::closed_pools;

/// Puts keys so that about half of the written bytes are stale, and compaction must relocate all others.
fn churn(tier: &ColdTier) {
    for (round, step) in [(0, 1), (1, 1), (1, 2)] {
        for key in (0..600u32).step_by(step) {
            tier.put(&key.to_le_bytes(), &value(key, round, 1500)).unwrap();
        }
        tier.flush().unwrap();
    }
}

/// A pace at which a compaction takes far longer than any test.
const SLOW: u32 = 5_000;

/// Tells whether this task runs.
fn runs(tier: &ColdTier, task: CompactionTask) -> bool {
    tier.compaction().progress().is_some_and(|(running, _)| running == task)
}

fn run(tier: &ColdTier, task: CompactionTask) -> Report {
    tier.compaction().run_compaction(task, PATIENCE).unwrap()
}

#[test]
fn tasks_of_one_kind_of_two_clients_have_a_report_each() {
    let dir = tempfile::tempdir().unwrap();
    let (_manager, pools) = pools();
    let config = small().codec(CodecId::Raw).pace_bytes_per_s(SLOW).build().unwrap();
    let tier = open(dir.path(), &config, &pools);
    churn(&tier);
    let (first, second) = std::thread::scope(|scope| {
        let first = scope.spawn(|| run(&tier, CompactionTask::CompactData));
        eventually("the first task runs", || runs(&tier, CompactionTask::CompactData));
        let second = scope.spawn(|| run(&tier, CompactionTask::CompactData));
        tier.compaction().cancel().unwrap();
        let first = first.join().unwrap();
        // Each runs until it is cancelled, so the second one runs now or soon.
        while !second.is_finished() {
            tier.compaction().cancel().unwrap();
            std::thread::sleep(Duration::from_millis(2));
        }
        (first, second.join().unwrap())
    });
    assert!(first.id.number() < second.id.number(), "{first:?} {second:?}");
    assert_eq!([first.outcome, second.outcome], [Outcome::Partial; 2]);
    assert_eq!((tier.stats().compactions, tier.compaction().last_report().unwrap().task), (2, second.task));
}

#[test]
fn task_cancelled_between_those_of_others_shifts_no_report() {
    let dir = tempfile::tempdir().unwrap();
    let (_manager, pools) = pools();
    let config = small().codec(CodecId::Raw).pace_bytes_per_s(SLOW).build().unwrap();
    let tier = open(dir.path(), &config, &pools);
    churn(&tier);
    let tasks = [CompactionTask::CompactData, CompactionTask::RebuildIndex, CompactionTask::CompactData];
    let reports = std::thread::scope(|scope| {
        let clients = tasks.map(|task| {
            let tier = &tier;
            scope.spawn(move || run(tier, task))
        });
        // A rebuild is left to end by itself, at any place in the queue.
        while clients.iter().any(|client| !client.is_finished()) {
            if runs(&tier, CompactionTask::CompactData) {
                tier.compaction().cancel().unwrap();
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        clients.map(|client| client.join().unwrap())
    });
    assert_eq!(reports.map(|report| report.task), tasks);
    let mut ids = reports.map(|report| report.id.number());
    ids.sort_unstable();
    assert!(ids.windows(2).all(|pair| pair[0] < pair[1]), "{ids:?}");
    assert_eq!(tier.stats().compactions, 3);
}

#[test]
fn request_to_the_pools_goes_to_those_of_its_own_task() {
    let dir = tempfile::tempdir().unwrap();
    let (_manager, pools) = pools();
    let tier = open(dir.path(), &small().codec(CodecId::Raw).build().unwrap(), &pools);
    churn(&tier);
    let mut over_closed = CompactionSystem::new(CompactionConfig::default(), closed_pools());
    over_closed.attach(tier.handle());
    // Some tasks wait behind one that asks other pools.
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                let report = run(&tier, CompactionTask::CleanupExpired);
                assert!(matches!(report.pool, PoolOutcome::Done(_)), "{report:?}");
            });
            scope.spawn(|| {
                let report = over_closed.run_compaction(CompactionTask::CleanupExpired, PATIENCE).unwrap();
                assert_eq!(report.pool, PoolOutcome::Failed(CleanupError::Disconnected), "{report:?}");
            });
        }
    });
}
