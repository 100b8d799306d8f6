//! The four tasks and the background worker, seen through the compaction system.

use core::time::Duration;

use coldpress_std::CodecId;
use coldpress_std::clock::ManualClock;
use coldpress_std::compaction::{CompactionConfig, CompactionError, Outcome, PoolOutcome};
use coldpress_std::{ColdTier, CompactionSystem, CompactionTask};

use crate::common::{PATIENCE, SYNCED, eventually, open, pools, recount, small, value};

const RUN: Duration = PATIENCE;

/// Puts keys so that about half of the written bytes are stale.
fn churn(tier: &ColdTier) {
    for round in 0..2 {
        for key in 0..600u32 {
            tier.put(&key.to_le_bytes(), &value(key, round, 1500)).unwrap();
        }
        tier.flush().unwrap();
    }
}

fn check(tier: &ColdTier) {
    for key in 0..600u32 {
        assert_eq!(tier.get(&key.to_le_bytes()).unwrap(), Some(value(key, 1, 1500)), "{key}");
    }
    recount(tier);
}

#[test]
fn stale_log_compacted_frees_segments_and_keeps_every_value() {
    let dir = tempfile::tempdir().unwrap();
    let (_manager, pools) = pools();
    let tier = open(dir.path(), &small().codec(CodecId::Raw).build().unwrap(), &pools);
    churn(&tier);
    let before = tier.stats();
    let system = tier.compaction();
    let report = system.run_compaction(CompactionTask::CompactData, RUN).unwrap();
    assert!(report.victims.freed > 5 && report.log_bytes_reclaimed > 500_000, "{report:?}");
    assert!(report.victims.first.is_some() && !matches!(report.pool, PoolOutcome::NotAsked), "{report:?}");
    assert!(matches!(report.outcome, Outcome::Completed | Outcome::Partial), "{report:?}");
    let after = tier.stats();
    assert!(after.stale_bytes < before.stale_bytes / 2, "{after:?}");
    eventually("the disk gets it back", || tier.stats().occupied_bytes < before.occupied_bytes);
    assert_eq!(
        (system.last_report(), system.log_bytes_reclaimed()),
        (Some(report), after.log_bytes_reclaimed)
    );
    assert!(system.last_duration().is_some() && after.compactions == 1);
    check(&tier);
    let segments = tier.segments().unwrap();
    assert_eq!(segments.iter().map(|s| s.capacity_bytes).sum::<u64>(), after.capacity_bytes);
    assert_eq!(segments.iter().map(|s| s.live_bytes).sum::<u64>(), after.live_bytes, "I-GC-4");
}

#[test]
fn task_queued_behind_its_kind_reports_its_own_work() {
    let dir = tempfile::tempdir().unwrap();
    let (_manager, pools) = pools();
    let tier = open(dir.path(), &small().codec(CodecId::Raw).build().unwrap(), &pools);
    churn(&tier);
    let system = tier.compaction();
    system.schedule_compaction(CompactionTask::CompactData).unwrap();
    let report = system.run_compaction(CompactionTask::CompactData, RUN).unwrap();
    assert_eq!(tier.stats().compactions, 2, "{report:?}");
    assert_eq!(system.last_report(), Some(report));
    assert!(report.victims.freed < 5, "the one before it had freed them: {report:?}");
    check(&tier);
}

#[test]
fn freed_segments_are_punched_out_of_the_file() {
    use std::os::unix::fs::MetadataExt;
    let dir = tempfile::tempdir().unwrap();
    let (_manager, pools) = pools();
    let config = small().codec(CodecId::Raw).build().unwrap();
    let tier = open(dir.path(), &config, &pools);
    churn(&tier);
    let path = dir.path().join("test/part-000.cold");
    let blocks = || std::fs::metadata(&path).unwrap().blocks() * 512;
    let before = blocks();
    tier.compaction().run_compaction(CompactionTask::CompactData, RUN).unwrap();
    eventually("they are punched out", || blocks() + 500_000 < before);
    assert_eq!(std::fs::metadata(&path).unwrap().len(), config.capacity_bytes());
}

#[test]
fn rebuild_reads_every_record_and_finds_nothing_to_mend() {
    let dir = tempfile::tempdir().unwrap();
    let (_manager, pools) = pools();
    let tier = open(dir.path(), &small().codec(CodecId::Raw).build().unwrap(), &pools);
    churn(&tier);
    let report = tier.compaction().run_compaction(CompactionTask::RebuildIndex, RUN).unwrap();
    assert!(report.checked_records >= 600 && report.repaired_records == 0, "{report:?}");
    assert_eq!((report.damaged_records, report.outcome), (0, Outcome::Completed), "{report:?}");
    check(&tier);
}

#[test]
fn compressible_records_sampled_change_the_codec() {
    let dir = tempfile::tempdir().unwrap();
    let (_manager, pools) = pools();
    let config = small().codec(CodecId::Raw).build().unwrap();
    let tier = open(dir.path(), &config, &pools);
    let text = |key: u32| format!("record {key}: the same words again and again. ").repeat(40).into_bytes();
    for key in 0..300u32 {
        tier.put(&key.to_le_bytes(), &text(key)).unwrap();
    }
    tier.flush().unwrap();
    let report = tier.compaction().run_compaction(CompactionTask::OptimizeCompression, RUN).unwrap();
    assert!(report.codec.is_some_and(|codec| codec != CodecId::Raw), "{report:?}");
    let before = tier.stats().fresh_bytes;
    tier.put_with(b"new", &text(1), SYNCED).unwrap();
    assert!(tier.stats().fresh_bytes - before < 500);
    for key in 0..300u32 {
        tier.put(&key.to_le_bytes(), &text(key + 1)).unwrap();
    }
    tier.flush().unwrap();
    tier.compaction().run_compaction(CompactionTask::CompactData, RUN).unwrap();
    for key in 0..300u32 {
        assert_eq!(tier.get(&key.to_le_bytes()).unwrap(), Some(text(key + 1)));
    }
}

#[test]
fn background_worker_started_twice_is_refused_until_a_stop() {
    let dir = tempfile::tempdir().unwrap();
    let (_manager, pools) = pools();
    let tier = open(dir.path(), &small().build().unwrap(), &pools);
    let mut system = CompactionSystem::new(CompactionConfig::default(), pools.clone());
    assert_eq!(system.start_background_worker(), Err(CompactionError::Detached));
    system.attach(tier.handle());
    system.start_background_worker().unwrap();
    assert_eq!(system.start_background_worker(), Err(CompactionError::AlreadyRunning));
    assert_eq!(tier.compaction().start_background_worker(), Err(CompactionError::AlreadyRunning));
    assert!(system.has_background_worker());
    system.stop().unwrap();
    assert!(!system.has_background_worker());
    system.start_background_worker().unwrap();
}

#[test]
fn background_worker_drops_expired_values_and_compacts() {
    static CLOCK: ManualClock = ManualClock::new(1_800_000_000);
    let dir = tempfile::tempdir().unwrap();
    let (_manager, pools) = pools();
    let config = small().codec(CodecId::Raw).clock(&CLOCK).build().unwrap();
    let tier = open(dir.path(), &config, &pools);
    churn(&tier);
    for key in 1000..1200u32 {
        tier.put_with_ttl(&key.to_le_bytes(), &value(key, 0, 1500), Duration::from_secs(5)).unwrap();
    }
    tier.flush().unwrap();
    let mut system =
        CompactionSystem::new(CompactionConfig::default().with_interval(Duration::from_millis(20)), pools);
    system.attach(tier.handle());
    system.start_background_worker().unwrap();
    CLOCK.advance_s(60);
    eventually("the expired keys are dropped", || tier.len().unwrap() == 600);
    eventually("the log is compacted", || tier.stats().stale_bytes * 3 < tier.stats().live_bytes);
    check(&tier);
}

#[test]
fn tasks_beyond_the_queue_return_and_cancel_ends_the_running() {
    let dir = tempfile::tempdir().unwrap();
    let (_manager, pools) = pools();
    let config = small().codec(CodecId::Raw).pace_bytes_per_s(5_000).build().unwrap();
    let tier = open(dir.path(), &config, &pools);
    churn(&tier);
    // Every other key anew: the other records must be relocated, for which this pace takes far longer than the test.
    for key in (0..600u32).step_by(2) {
        tier.put(&key.to_le_bytes(), &value(key, 1, 1500)).unwrap();
    }
    tier.flush().unwrap();
    let system = tier.compaction();
    let report = std::thread::scope(|scope| {
        let first = scope.spawn(|| tier.compaction().run_compaction(CompactionTask::CompactData, RUN));
        eventually("the first task runs", || {
            let progress = system.progress();
            progress.is_some_and(|(task, _)| task == CompactionTask::CompactData)
        });
        let refused = (0..40).find_map(|_| system.schedule_compaction(CompactionTask::CompactData).err());
        assert_eq!(refused, Some(CompactionError::Full(CompactionTask::CompactData)));
        assert!(system.is_compacting());
        assert_eq!((tier.stats().compactions, system.last_report()), (0, None), "the first one still runs");
        system.cancel().unwrap();
        first.join().unwrap().unwrap()
    });
    assert_eq!((report.task, report.outcome), (CompactionTask::CompactData, Outcome::Partial), "{report:?}");
    check(&tier);
    drop(tier);
    assert!(system.schedule_compaction(CompactionTask::CompactData).is_err());
}
