//! The tier on files behind the seam of the programs.

use core::fmt::Display;
use core::time::Duration;
use std::path::{Path, PathBuf};
use std::time::Instant;

use coldpress_std::compaction::{CompactionTask, Outcome, Report};
use coldpress_std::pool::{AllocationManager, PageView as PoolPage, PoolConfig, PoolCoordinator, PoolStats};
use coldpress_std::{ColdTier, ColdTierConfig, ColdTierHandle, FullPolicy, GetError, PutError};

use crate::figures::bytes;
use crate::plan::Plan;
use crate::store::{
    Handle, Opener, PageView, SegmentView, Store, StoreError, StoreFigures, Task, TaskReport,
};

/// The name of the tier below its directory.
const CACHE_ID: &str = "replay";

/// How long a task may take: one that rewrites a whole log of some gigabytes takes some tens of seconds.
const TASK_TIME_MAX: Duration = Duration::from_secs(600);
/// A slow and busy machine makes a replay slow, and fails none of its requests.
const PATIENCE: Duration = Duration::from_secs(120);

/// The place and the configuration of a tier, with which it can be opened again.
#[derive(Debug)]
pub struct TierFiles {
    dir: PathBuf,
    tier: ColdTierConfig,
    pools: PoolConfig,
}

impl TierFiles {
    /// Prepares a tier for a plan in a directory, which is made if need be.
    ///
    /// # Errors
    ///
    /// [`StoreError::Failed`] where the directory holds anything, or where the plan cannot be configured.
    pub fn new(plan: &Plan, dir: &Path) -> Result<Self, StoreError> {
        let named = |error| failed(format_args!("{}: {error}", dir.display()));
        std::fs::create_dir_all(dir).map_err(named)?;
        if std::fs::read_dir(dir).map_err(named)?.next().is_some() {
            return Err(StoreError::Failed(format!("{} is not empty", dir.display())));
        }
        let full = if plan.job.can_evict { FullPolicy::Evict } else { FullPolicy::Reject };
        let tier = ColdTierConfig::builder()
            .capacity_bytes(plan.capacity_bytes)
            .segment_bytes(plan.segment_bytes)
            .value_bytes_max(plan.value_peak)
            .codec(plan.codec)
            .full(full)
            .op_timeout(PATIENCE)
            .build()
            .map_err(failed)?;
        // A part of the values is hot, so that they compete for the pools. Pages are small against a partition, since one of
        // each is partly empty.
        let hot_value_max = plan.value_peak.clamp(1 << 12, 1 << 18);
        let pools = PoolConfig::builder()
            .capacity_bytes((plan.capacity_bytes / 4).clamp(16 << 20, 128 << 20))
            .page_bytes((hot_value_max * 2).next_power_of_two().max(1 << 16))
            .partitions(4)
            .value_bytes_max(hot_value_max)
            .request_timeout(PATIENCE / 10);
        Ok(Self { dir: dir.to_owned(), tier, pools: pools.build().map_err(failed)? })
    }
}

fn failed(error: impl Display) -> StoreError {
    StoreError::Failed(error.to_string())
}

impl Opener for TierFiles {
    type Store<'a> = TierStore;

    fn open(&self) -> Result<TierStore, StoreError> {
        let (manager, pools) = AllocationManager::new(&self.pools).map_err(failed)?;
        let tier = ColdTier::open(&self.dir, CACHE_ID, self.tier.clone(), pools.clone()).map_err(failed)?;
        tier.compaction().start_background_worker().map_err(failed)?;
        Ok(TierStore { tier, pools, _manager: manager })
    }

    #[cfg(unix)]
    fn disk_bytes(&self) -> Option<u64> {
        allocated(&self.dir).ok()
    }
}

/// The bytes of all blocks that the files below a directory have.
#[cfg(unix)]
fn allocated(dir: &Path) -> std::io::Result<u64> {
    use std::os::unix::fs::MetadataExt;
    let mut bytes = 0;
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        let meta = entry.metadata()?;
        // The system counts blocks of 512 bytes, whatever the filesystem has.
        bytes += if meta.is_dir() { allocated(&entry.path())? } else { meta.blocks() * 512 };
    }
    Ok(bytes)
}

/// A tier that is open, and the pools that it works with.
#[derive(Debug)]
pub struct TierStore {
    tier: ColdTier,
    pools: PoolCoordinator,
    /// Dropped after the tier, which closes the pools.
    _manager: AllocationManager,
}

impl TierStore {
    fn pool_figures(&self) -> PoolStats {
        self.pools.hot().stats().unwrap_or_default()
    }
}

/// The handle of a tier behind the seam.
#[derive(Debug, Clone, Copy)]
pub struct TierHandle(ColdTierHandle);

impl Handle for TierHandle {
    fn put(self, key: &[u8], value: &[u8], ttl_s: Option<u32>) -> Result<(), StoreError> {
        let outcome = match ttl_s {
            None => self.0.put(key, value),
            Some(ttl_s) => self.0.put_with_ttl(key, value, Duration::from_secs(ttl_s.into())),
        };
        outcome.map_err(|error| match error {
            PutError::Full { .. } => StoreError::Full,
            other => failed(other),
        })
    }

    fn get(self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.0.get(key).map_err(|error| match error {
            GetError::Damaged | GetError::Codec(_) => StoreError::Damaged(error.to_string()),
            other => failed(other),
        })
    }

    fn remove(self, key: &[u8]) -> Result<(), StoreError> {
        self.0.remove(key).map(|_| ()).map_err(failed)
    }

    fn is_compacting(self) -> bool {
        self.0.compaction().is_compacting()
    }

    fn run(self, task: Task) -> Result<TaskReport, StoreError> {
        let asked = match task {
            Task::CompactData => CompactionTask::CompactData,
            Task::RebuildIndex => CompactionTask::RebuildIndex,
            Task::CleanupExpired => CompactionTask::CleanupExpired,
            Task::OptimizeCompression => CompactionTask::OptimizeCompression,
        };
        let started = Instant::now();
        let report = self.0.compaction().run_compaction(asked, TASK_TIME_MAX).map_err(failed)?;
        let is_failed = report.outcome == Outcome::Failed;
        Ok(TaskReport { is_failed, ..TaskReport::done(task.name(), started.elapsed(), summary(&report)) })
    }

    fn figures(self) -> StoreFigures {
        let figures = self.0.stats();
        StoreFigures {
            bytes_put: figures.bytes_put,
            bytes_encoded: figures.fresh_bytes,
            bytes_written: figures.bytes_written,
            capacity_bytes: figures.capacity_bytes,
            peak_bytes: figures.peak_bytes,
            live_bytes: figures.live_bytes,
            compactions: figures.compactions,
            log_bytes_reclaimed: figures.log_bytes_reclaimed,
            pool_bytes_reclaimed: figures.pool_bytes_reclaimed,
            recovered_records: figures.recovered_records,
            index_bytes: figures.index_bytes,
            keys: figures.keys,
        }
    }
}

/// Describes the work of a task in a line; counts of zero are left out.
fn summary(report: &Report) -> String {
    let outcome = match report.outcome {
        Outcome::Completed => "completed",
        Outcome::Partial => "done in part",
        Outcome::Refused => "nothing to do",
        Outcome::Deferred => "put off, free segments are short",
        _ => "failed",
    };
    let mut parts = vec![outcome.to_owned()];
    for (number, what) in [
        (u64::from(report.victims.freed), "segments freed"),
        (u64::from(report.relocated_records), "records relocated"),
        (report.checked_records, "records looked at"),
        (report.expired_records.into(), "expired"),
        (report.repaired_records.into(), "repaired"),
        (report.damaged_records.into(), "damaged"),
    ] {
        if number > 0 {
            parts.push(format!("{} {what}", crate::figures::count(number)));
        }
    }
    for (number, what) in [
        (report.log_bytes_reclaimed, "reclaimed from the log"),
        (report.pool.reclaimed_bytes(), "from the pools"),
    ] {
        if number > 0 {
            parts.push(format!("{} {what}", bytes(number)));
        }
    }
    parts.extend(report.codec.map(|codec| format!("codec {codec}")));
    parts.join(", ")
}

impl Store for TierStore {
    type Handle<'a> = TierHandle;

    fn handle(&self) -> TierHandle {
        TierHandle(self.tier.handle())
    }

    fn segments(&self) -> Vec<SegmentView> {
        let segments = self.tier.segments().unwrap_or_default();
        let view = |segment: coldpress_std::SegmentView| SegmentView {
            live_bytes: segment.live_bytes,
            stale_bytes: segment.stale_bytes,
            capacity_bytes: segment.capacity_bytes,
        };
        segments.into_iter().map(view).collect()
    }

    fn pages(&self) -> Vec<PageView> {
        let view = |page: PoolPage| PageView {
            slot_bytes: page.class_bytes,
            used: page.used_slots.into(),
            slots: page.slots.into(),
        };
        self.pool_figures().page_views.into_iter().map(view).collect()
    }

    fn fragmentation_permille(&self) -> u32 {
        self.pool_figures().external_permille.into()
    }

    fn defragment(&self) -> Result<u64, StoreError> {
        self.pools.trigger_defragmentation().map_err(failed)
    }

    fn clean_up(&self) -> Result<u64, StoreError> {
        self.pools.emergency_cleanup().map_err(failed)
    }

    fn flush(&self) -> Result<(), StoreError> {
        self.tier.flush().map_err(failed)
    }

    fn close(self) -> Result<(), StoreError> {
        self.tier.close().map_err(failed)
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::options::Options;
    use crate::plan::plan;
    use crate::replay::{Unwatched, replay};

    fn planned(line: &str) -> Plan {
        plan(&Options::try_parse_from(format!("replay {line}").split(' ')).unwrap()).unwrap()
    }

    #[test]
    fn trace_replayed_on_the_tier_reopens_with_all_values() {
        let dir = tempfile::tempdir().unwrap();
        let trace = dir.path().join("trace.csv");
        let mut lines = String::from("version,time,op,size,lbn\n");
        for at in 0..400u32 {
            let op = if at % 3 == 0 { "28" } else { "2a" };
            lines.push_str(&format!("1,{at},{op},{},{}\n", 512 + at % 7 * 1024, at * 31 % 97));
        }
        std::fs::write(&trace, lines).unwrap();
        let plan = planned(&format!("--trace {} --rounds 3 --capacity 4MiB", trace.display()));
        let files = TierFiles::new(&plan, &dir.path().join("tier")).unwrap();
        let replayed = replay(&plan, &files, &mut Unwatched).unwrap();
        let figures = &replayed.figures;
        assert_eq!((figures.mismatches, figures.reopen_mismatches), (0, 0));
        assert!(!replayed.has_failed_tasks(), "{:?}", replayed.tasks);
        // Every key, and copies in segments that were not freed yet.
        assert!(figures.recovered_records >= 97, "{}", figures.recovered_records);
        assert!(figures.peak_bytes <= figures.capacity_bytes);
        assert!(figures.disk_peak_bytes > 0 && figures.disk_looks_above == 0, "{figures:?}");
        assert!(!replayed.before.segments.is_empty());
    }

    #[test]
    fn directory_that_holds_anything_is_refused_untouched() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("letter.txt"), "dear").unwrap();
        let refused = TierFiles::new(&planned("--workload uniform"), dir.path()).unwrap_err();
        assert!(matches!(refused, StoreError::Failed(what) if what.ends_with("is not empty")));
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
