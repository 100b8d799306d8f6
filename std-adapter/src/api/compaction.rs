//! The compaction of a tier, as its user sees it.
//!
//! The work itself is done by the log worker of each partition, in bounded steps between its other work. When free segments run
//! short it compacts by itself. This module is for the rest: tasks on demand, at intervals, and when much of the log is stale.

use core::fmt;
use core::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed};
use core::time::Duration;
use std::time::Instant;

pub use coldpress_core::cleanup::{CleanupError, Reclaimed};
use coldpress_core::compaction::TasksFull;
pub use coldpress_core::compaction::{
    CompactionTask, Outcome, PoolOutcome, Progress, Report, TaskId, Victims,
};
pub use coldpress_core::efficiency::{CleanupAdvice, EfficiencyReport, Measured};
pub use coldpress_core::segments::{Policy, VictimChoice, VictimReason};
use crossbeam_channel::{Sender, bounded};

use super::handle::ColdTierHandle;
use super::opened::Open;
use super::reserve::Announced;
use crate::config::Durability;
use crate::errors::TierError;
use crate::index::SharedPartition;
pub use crate::observe::Analysis;
use crate::pool::PoolCoordinator;
use crate::worker::{Background, Message, Reply, Scheduled};

/// How a background worker that is started by hand goes about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct CompactionConfig {
    /// How often it runs its tasks; the interval of the tier's configuration where it is `None`.
    pub interval: Option<Duration>,
}

impl CompactionConfig {
    /// Sets the interval.
    #[must_use]
    pub const fn with_interval(mut self, interval: Duration) -> Self {
        self.interval = Some(interval);
        self
    }
}

/// Why the compaction system did not carry out a request.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum CompactionError {
    /// The tier could not do it.
    Tier(TierError),
    /// The queue of tasks is full; this one is given back.
    Full(CompactionTask),
    /// The background worker runs already.
    AlreadyRunning,
    /// The interval is zero.
    Interval,
    /// The system is not attached to a tier.
    Detached,
    /// The pools that the system was made with are closed, since their
    /// [`AllocationManager`](crate::pool::AllocationManager) was dropped: keep it as long as the system works.
    PoolsClosed,
}

impl From<TierError> for CompactionError {
    fn from(error: TierError) -> Self {
        Self::Tier(error)
    }
}

impl fmt::Display for CompactionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tier(error) => write!(f, "{error}"),
            Self::Full(task) => write!(f, "so many tasks wait already that '{task}' can't be queued"),
            Self::AlreadyRunning => f.write_str("the background worker runs already"),
            Self::Interval => f.write_str("an interval takes more than zero"),
            Self::Detached => f.write_str("the compaction system is not attached to a tier"),
            Self::PoolsClosed => f.write_str(
                "the pools are closed, since their AllocationManager was dropped: keep it in a variable as long as the system works",
            ),
        }
    }
}

impl core::error::Error for CompactionError {}

/// Schedules compaction and reports its progress. It does not own the tier: after a close every call returns an error.
///
/// ```
/// use coldpress_std::compaction::{CompactionConfig, CompactionSystem, CompactionTask, Outcome};
/// use coldpress_std::pool::{AllocationManager, PoolConfig};
/// use coldpress_std::{ColdTier, ColdTierConfig};
/// use core::time::Duration;
///
/// let base_dir = tempfile::tempdir()?;
/// let (_manager, pools) = AllocationManager::new(&PoolConfig::builder().build()?)?;
/// let config = ColdTierConfig::builder().capacity_bytes(16 << 20).build()?;
/// let tier = ColdTier::open(base_dir.path(), "docs", config, pools.clone())?;
///
/// let mut system = CompactionSystem::new(CompactionConfig::default(), pools);
/// system.attach(tier.handle());
/// let report = system.run_compaction(CompactionTask::RebuildIndex, Duration::from_secs(60))?;
/// assert_eq!(report.task, CompactionTask::RebuildIndex);
/// system.start_background_worker()?;
/// assert!(system.start_background_worker().is_err());
/// # Ok::<(), Box<dyn core::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct CompactionSystem {
    config: CompactionConfig,
    tier: Option<ColdTierHandle>,
    pools: Option<PoolCoordinator>,
}

/// A longer timeout than this counts as this one.
const TIMEOUT_MAX: Duration = Duration::from_secs(10 * 366 * 24 * 3600);

/// When a timeout ends that begins now.
pub(super) fn deadline_after(timeout: Duration) -> Instant {
    let now = Instant::now();
    now.checked_add(timeout).unwrap_or_else(|| now + TIMEOUT_MAX)
}

impl CompactionSystem {
    /// Makes a system that is not attached to a tier yet.
    ///
    /// Its tasks run in the tier, and ask these pools. So do the tasks of a background worker that it starts. Mostly they are
    /// the pools that the tier was opened with; a system from [`ColdTierHandle::compaction`] asks those. The tier waits for the
    /// answer as long as its own pools may take.
    #[must_use]
    pub const fn new(config: CompactionConfig, pool_coordinator: PoolCoordinator) -> Self {
        Self { config, tier: None, pools: Some(pool_coordinator) }
    }

    pub(crate) const fn over(tier: ColdTierHandle) -> Self {
        Self { config: CompactionConfig { interval: None }, tier: Some(tier), pools: None }
    }

    /// Attaches it to a tier.
    pub const fn attach(&mut self, tier: ColdTierHandle) {
        self.tier = Some(tier);
    }

    /// Returns the pools that its tasks ask; `None` where it came from a tier, whose pools they are then.
    #[must_use]
    pub const fn pool_coordinator(&self) -> Option<&PoolCoordinator> {
        self.pools.as_ref()
    }

    pub(super) fn tier(&self) -> Result<ColdTierHandle, CompactionError> {
        self.tier.ok_or(CompactionError::Detached)
    }

    /// Queues a task in every partition and returns.
    ///
    /// # Errors
    /// [`CompactionError::Full`] gives the task back; partitions whose queue had a place run it all the same.
    pub fn schedule_compaction(&self, task: CompactionTask) -> Result<(), CompactionError> {
        self.schedule(task, &[])
    }

    /// Queues a task in all partitions and waits for their reports, which are merged into one. Counts are added up, those of
    /// the pools too. Outcomes that differ become [`Outcome::Partial`]. A failure of the pools for one partition shows beside
    /// their work for others. The id is that of the first partition: each issues its own.
    ///
    /// Values that were put before are written first, within the `op_timeout` of the configuration; `timeout` begins after that.
    ///
    /// # Errors
    /// As [`schedule_compaction`](Self::schedule_compaction), and [`TierError::TimedOut`]; the task goes on then.
    pub fn run_compaction(&self, task: CompactionTask, timeout: Duration) -> Result<Report, CompactionError> {
        // Pending and buffered records are no part of any segment yet.
        self.tier()?.flush_to(Durability::Flushed)?;
        let deadline = deadline_after(timeout);
        let parts = self.tier()?.enter(|open| open.parts.len())?;
        // One channel for each partition, so that the end of one worker is seen although others go on.
        let (senders, reports): (Vec<_>, Vec<_>) = (0..parts).map(|_| bounded(1)).unzip();
        let tier = self.tier()?;
        self.schedule(task, &senders)?;
        drop(senders);
        let mut whole: Option<Report> = None;
        for (part, report) in reports.iter().enumerate() {
            let report = tier.wait_for(part, report, deadline)?;
            whole = Some(whole.map_or(report, |whole| merged(whole, report)));
        }
        whole.ok_or(CompactionError::Tier(TierError::Closed))
    }

    fn schedule(&self, task: CompactionTask, reports: &[Sender<Report>]) -> Result<(), CompactionError> {
        let message = |partition: usize, accepted: Sender<_>| {
            let report = reports.get(partition).cloned().map(Reply::from);
            self.message(task, partition, accepted.into(), report)
        };
        self.tier()?.enter(Open::check_writes)??;
        let mut outcome = Ok(());
        for answer in self.tier()?.ask_each(message)? {
            if answer.wait()?.is_err() {
                outcome = Err(CompactionError::Full(task));
            }
        }
        outcome
    }

    /// The message that schedules a task in one partition.
    pub(super) fn message(
        &self,
        task: CompactionTask,
        partition: usize,
        accepted: Reply<Result<(), TasksFull>>,
        report: Option<Reply<Report>>,
    ) -> Message {
        let span = tracing::info_span!("compaction", %task, partition);
        Message::Schedule { task, accepted, scheduled: Scheduled { report, pools: self.pools.clone(), span } }
    }

    /// Starts the background worker: at every interval it drops expired values and compacts. In between it compacts when more
    /// than half of the log is stale. It ends with [`stop`](Self::stop) or with the tier.
    ///
    /// There is one background worker a tier. A tier that was configured with an interval, a lifetime (`ttl`) or an idle time
    /// starts it when it is opened, so there the first call finds it running. Without it a tier compacts when free segments
    /// run short, frees dead segments, and cleans half-stale ones once no client has written for a second. It drops expired values
    /// as it compacts, or where a put needs their space.
    ///
    /// # Errors
    /// [`CompactionError::AlreadyRunning`] when it runs, whoever started it. Its interval and pools stay as they are; call
    /// [`stop`](Self::stop) first to change them. [`CompactionError::PoolsClosed`] when its pools are. After any error nothing
    /// has changed.
    pub fn start_background_worker(&self) -> Result<(), CompactionError> {
        let tier = self.tier()?;
        tier.enter(Open::check_writes)??;
        if self.pools.as_ref().is_some_and(PoolCoordinator::is_closed) {
            return Err(CompactionError::PoolsClosed);
        }
        let interval = match self.config.interval {
            Some(interval) => interval,
            None => tier.enter(|open| open.limits.interval)?,
        };
        if interval.is_zero() {
            return Err(CompactionError::Interval);
        }
        // Set only once every partition has a place for the message: it runs in all of them or in none.
        let claim =
            |open: &Open| open.parts.first().is_some_and(|p| !p.shared.has_background.swap(true, AcqRel));
        let background = || Background { interval, pools: self.pools.clone() };
        match tier.tell(claim, || Message::Background(Some(background())))? {
            Announced::All => Ok(()),
            Announced::None => Err(CompactionError::AlreadyRunning),
        }
    }

    /// Ends the background worker, whoever started it; a task that runs goes on to its end.
    ///
    /// # Errors
    /// [`TierError`]; then it goes on.
    pub fn stop(&self) -> Result<(), CompactionError> {
        let claim =
            |open: &Open| open.parts.first().is_some_and(|p| p.shared.has_background.swap(false, AcqRel));
        self.tier()?.tell(claim, || Message::Background(None))?;
        Ok(())
    }

    /// Tells whether the background worker runs.
    #[must_use]
    pub fn has_background_worker(&self) -> bool {
        let runs = |open: &Open| open.parts.first().is_some_and(|p| p.shared.has_background.load(Acquire));
        self.tier().is_ok_and(|tier| tier.enter(runs).unwrap_or(false))
    }

    /// Ends the running task at its next step: what it did stays done, and its report says `Partial`.
    ///
    /// # Errors
    /// [`TierError`].
    pub fn cancel(&self) -> Result<(), CompactionError> {
        self.tier()?.tell(|_| true, || Message::Cancel)?;
        Ok(())
    }

    /// Tells whether anything is being compacted, by a task or because free segments ran short.
    #[must_use]
    pub fn is_compacting(&self) -> bool {
        self.any(|shared| shared.is_compacting.load(Relaxed).then_some(())).is_some()
    }

    /// Returns a running task and how far it is; of the partition that is least far.
    #[must_use]
    #[doc(alias = "CompactionState")]
    pub fn progress(&self) -> Option<(CompactionTask, Progress)> {
        self.all(|shared| shared.worker_stats.lock().progress).min_by_key(|(_, progress)| progress.permille())
    }

    /// Returns the report of the task that ended last, of the partition where it took longest.
    #[must_use]
    pub fn last_report(&self) -> Option<Report> {
        self.all(|shared| shared.worker_stats.lock().last_report).max_by_key(|report| report.duration_ms)
    }

    /// Returns the last efficiency analysis, made by `OptimizeCompression`: of the partition that it found worst.
    #[must_use]
    pub fn last_analysis(&self) -> Option<Analysis> {
        self.all(|shared| shared.worker_stats.lock().analysis).min_by_key(|analysis| analysis.report.score)
    }

    /// Returns how long the task that ended last took.
    #[must_use]
    pub fn last_duration(&self) -> Option<Duration> {
        self.last_report().map(|report| Duration::from_millis(report.duration_ms))
    }

    /// Returns the bytes of the log that compaction freed since the tier was opened, less what it wrote for that.
    #[must_use]
    pub fn log_bytes_reclaimed(&self) -> u64 {
        self.all(|shared| Some(shared.worker_stats.lock().log_bytes_reclaimed)).sum()
    }

    /// Returns the bytes that the pools gave back to the operating system since then because compaction asked.
    #[must_use]
    pub fn pool_bytes_reclaimed(&self) -> u64 {
        self.all(|shared| Some(shared.worker_stats.lock().pool_bytes_reclaimed)).sum()
    }

    fn all<R>(&self, look: impl Fn(&SharedPartition) -> Option<R>) -> impl Iterator<Item = R> {
        let look = |open: &Open| open.parts.iter().filter_map(|p| look(&p.shared)).collect::<Vec<R>>();
        let found = self.tier.and_then(|tier| tier.enter(look).ok());
        found.unwrap_or_default().into_iter()
    }

    fn any<R>(&self, look: impl Fn(&SharedPartition) -> Option<R>) -> Option<R> {
        self.all(look).next()
    }
}

/// Merges the reports of two partitions.
pub(super) fn merged(a: Report, b: Report) -> Report {
    Report {
        id: a.id,
        task: a.task,
        outcome: match (a.outcome, b.outcome) {
            (Outcome::Refused, one) | (one, Outcome::Refused) => one,
            (one, other) if one == other => one,
            _ => Outcome::Partial,
        },
        victims: Victims {
            freed: a.victims.freed + b.victims.freed,
            skipped: a.victims.skipped + b.victims.skipped,
            first: a.victims.first.or(b.victims.first),
            last: b.victims.last.or(a.victims.last),
        },
        relocated_records: a.relocated_records + b.relocated_records,
        relocated_bytes: a.relocated_bytes + b.relocated_bytes,
        bytes_written: a.bytes_written + b.bytes_written,
        fresh_bytes: a.fresh_bytes + b.fresh_bytes,
        log_bytes_reclaimed: a.log_bytes_reclaimed + b.log_bytes_reclaimed,
        pool: pools_merged(a.pool, b.pool),
        checked_records: a.checked_records + b.checked_records,
        expired_records: a.expired_records + b.expired_records,
        repaired_records: a.repaired_records + b.repaired_records,
        damaged_records: a.damaged_records + b.damaged_records,
        reread_segments: a.reread_segments + b.reread_segments,
        rescued_records: a.rescued_records + b.rescued_records,
        returned_segments: a.returned_segments + b.returned_segments,
        codec: a.codec.or(b.codec),
        duration_ms: a.duration_ms.max(b.duration_ms),
    }
}

/// Merges the outcomes of the pools for two partitions: neither a failure nor their work is hidden behind the other.
fn pools_merged(a: PoolOutcome, b: PoolOutcome) -> PoolOutcome {
    const fn parts(outcome: PoolOutcome) -> (Option<Reclaimed>, Option<CleanupError>) {
        match outcome {
            PoolOutcome::NotAsked => (None, None),
            PoolOutcome::Done(done) => (Some(done), None),
            PoolOutcome::Failed(error) => (None, Some(error)),
            PoolOutcome::Mixed { done, error } => (Some(done), Some(error)),
        }
    }
    let ((a, first), (b, second)) = (parts(a), parts(b));
    let done = match (a, b) {
        (Some(a), Some(b)) => Some(sum(&a, &b)),
        (one, None) | (None, one) => one,
    };
    match (done, first.or(second)) {
        (None, None) => PoolOutcome::NotAsked,
        (Some(done), None) => PoolOutcome::Done(done),
        (None, Some(error)) => PoolOutcome::Failed(error),
        (Some(done), Some(error)) => PoolOutcome::Mixed { done, error },
    }
}

const fn sum(a: &Reclaimed, b: &Reclaimed) -> Reclaimed {
    Reclaimed {
        bytes: a.bytes.saturating_add(b.bytes),
        pages: a.pages.saturating_add(b.pages),
        relocated_bytes: a.relocated_bytes.saturating_add(b.relocated_bytes),
        relocated_objects: a.relocated_objects.saturating_add(b.relocated_objects),
        dropped_objects: a.dropped_objects.saturating_add(b.dropped_objects),
        is_partial: a.is_partial || b.is_partial,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admission::ASKED_MAX;
    use crate::api::open::ColdTier;
    use crate::config::ColdTierConfig;
    use crate::pool::{AllocationManager, PoolConfig};

    #[test]
    fn pool_outcomes_of_partitions_are_summed_and_a_failure_shows() {
        let done = |bytes, is_partial| {
            let (pages, dropped_objects) = (1, 2);
            let (relocated_bytes, relocated_objects) = (10 * bytes, 3);
            let parts =
                Reclaimed { bytes, pages, relocated_bytes, relocated_objects, dropped_objects, is_partial };
            PoolOutcome::Done(parts)
        };
        let both = pools_merged(done(100, false), done(7, true));
        let PoolOutcome::Done(sum) = both else { panic!("{both:?}") };
        assert_eq!((sum.bytes, sum.pages, sum.relocated_bytes, sum.is_partial), (107, 2, 1070, true));
        assert_eq!((sum.relocated_objects, sum.dropped_objects), (6, 4));
        let failed = PoolOutcome::Failed(CleanupError::TimedOut);
        assert_eq!(pools_merged(PoolOutcome::NotAsked, failed), failed);
        assert_eq!(pools_merged(failed, PoolOutcome::Failed(CleanupError::Failed)), failed);
        for mixed in [pools_merged(done(100, false), failed), pools_merged(failed, done(100, false))] {
            assert!(mixed.reclaimed_bytes() == 100 && !mixed.is_whole(), "{mixed:?}");
            let more = pools_merged(mixed, done(7, false));
            assert_eq!(more.reclaimed_bytes(), 107);
            assert!(matches!(more, PoolOutcome::Mixed { error: CleanupError::TimedOut, .. }), "{more:?}");
        }
        assert_eq!(pools_merged(PoolOutcome::NotAsked, done(5, false)), done(5, false));
        assert_eq!(pools_merged(PoolOutcome::NotAsked, PoolOutcome::NotAsked), PoolOutcome::NotAsked);
    }

    #[test]
    fn background_worker_refused_by_one_partition_runs_in_none() {
        let base_dir = tempfile::tempdir().unwrap();
        let pools = PoolConfig::builder().capacity_bytes(4 << 20).partitions(1).build().unwrap();
        let (_manager, pools) = AllocationManager::new(&pools).unwrap();
        let config = ColdTierConfig::builder().capacity_bytes(8 << 20).partitions(2);
        let config = config.op_timeout(Duration::from_millis(100)).build().unwrap();
        let tier = ColdTier::open(base_dir.path(), "t", config, pools).unwrap();
        let system = tier.compaction();
        let asked = || {
            tier.enter(|open| {
                open.parts.iter().map(|p| p.shared.admission.budget.asked()).collect::<Vec<_>>()
            })
        };
        let take = |count| {
            // The message that was sent before gives its place back first.
            while asked() == Ok(vec![0, 1]) || asked() == Ok(vec![1, 0]) || asked() == Ok(vec![1, 1]) {
                std::thread::sleep(Duration::from_millis(1));
            }
            tier.enter(|open| open.parts[1].shared.admission.budget.set_taken(0, count)).unwrap();
        };
        take(ASKED_MAX);
        let refused = Err(CompactionError::Tier(TierError::TimedOut));
        assert_eq!(system.start_background_worker(), refused);
        assert!(!system.has_background_worker());
        assert_eq!(asked(), Ok(vec![0, ASKED_MAX]));
        take(0);
        assert_eq!(system.start_background_worker(), Ok(()));
        assert_eq!(system.start_background_worker(), Err(CompactionError::AlreadyRunning));
        take(ASKED_MAX);
        assert_eq!(system.stop(), refused);
        assert!(system.has_background_worker(), "a stop that failed stopped nothing");
        take(0);
        assert_eq!(system.stop(), Ok(()));
        assert!(!system.has_background_worker());
    }

    #[test]
    fn stop_that_meets_a_start_half_way_stops_it_everywhere() {
        let base_dir = tempfile::tempdir().unwrap();
        let pools = PoolConfig::builder().capacity_bytes(4 << 20).partitions(1).build().unwrap();
        let (_manager, pools) = AllocationManager::new(&pools).unwrap();
        let config = ColdTierConfig::builder().capacity_bytes(8 << 20).partitions(2);
        let config = config.op_timeout(Duration::from_secs(120)).build().unwrap();
        let tier = ColdTier::open(base_dir.path(), "t", config, pools).unwrap();
        let background = || Background { interval: Duration::from_millis(1), pools: None };
        let stopped = bounded(1);
        let stop = || {
            tier.compaction().stop().unwrap();
            let _ = stopped.0.send(());
        };
        std::thread::scope(|scope| {
            let claim = |open: &Open| {
                let is_first = !open.parts[0].shared.has_background.swap(true, AcqRel);
                scope.spawn(stop);
                // Long enough for a stop that does not wait for the start.
                let _ = stopped.1.recv_timeout(Duration::from_millis(100));
                is_first
            };
            assert_eq!(tier.tell(claim, || Message::Background(Some(background()))), Ok(Announced::All));
        });
        assert!(!tier.compaction().has_background_worker());
        // Behind all that they began by themselves.
        let run = || tier.compaction().run_compaction(CompactionTask::CompactData, Duration::from_secs(120));
        while let Err(error) = run() {
            assert_eq!(error, CompactionError::Full(CompactionTask::CompactData));
        }
        let before = tier.stats().compactions;
        std::thread::sleep(Duration::from_millis(100));
        assert_eq!(tier.stats().compactions, before, "no worker goes on by itself");
    }
}
