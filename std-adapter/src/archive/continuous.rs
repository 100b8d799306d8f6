//! Backups at an interval, until they are to stop.

use core::future::poll_fn;
use core::num::NonZeroUsize;
use core::sync::atomic::AtomicBool;
use core::sync::atomic::Ordering::SeqCst;
use core::task::Poll;
use core::time::Duration;

use futures_util::task::AtomicWaker;
use object_store::ObjectStore;
use object_store::path::Path;
use parking_lot::Mutex;

use super::backup::{BackupJob, BackupOptions, BackupWatch};
use super::continuous_stats::{ContinuousState, ContinuousStats, SavedState};
use super::error::ArchiveError;
use super::known::KnownSegments;
use super::progress::BackupProgress;
use super::prune::prune_from;
use super::slots::{BackupSlots, read};
use super::timer::ArchiveTimer;
use crate::api::ColdTierHandle;
use crate::clock::SystemClock;
use crate::errors::TierError;

/// The shortest wait after a failure, and between two looks at a tier.
const WAIT_MIN: Duration = Duration::from_millis(100);

/// How often a [`ContinuousArchive`] backs up, and how many backups it keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct ContinuousOptions {
    /// The time from the begin of a backup to that of the next, 60 s by default, and 100 ms at least. A backup that takes longer is followed at once.
    pub every: Duration,
    /// Prunes keep so many of the newest backups; they run once there are a quarter more, rounded up. `None` never prunes. 24 by default.
    pub keep: Option<NonZeroUsize>,
    /// The wait after a failure, 1 s by default. It doubles with each failure that follows, up to `every`.
    pub retry: Duration,
    /// The limits of each backup.
    pub backup: BackupOptions,
}

impl Default for ContinuousOptions {
    fn default() -> Self {
        Self {
            every: Duration::from_secs(60),
            keep: NonZeroUsize::new(24),
            retry: Duration::from_secs(1),
            backup: BackupOptions::default(),
        }
    }
}

/// Backs a tier up again and again. It is lent to [`run`](Self::run), and others read its stats or stop it meanwhile.
///
/// **Loss.** After the loss of the machine a restore gives the newest complete backup. Each backup has all writes that were
/// acknowledged before it began. So with `D` the time of the longest backup, and `D` below the interval, all writes of more than
/// interval + `D` ago are there. A failed backup adds its own time and the wait behind it. [`ContinuousStats::behind`]
/// bounds the age of the oldest write to the log that would be lost now. A cache that writes back holds newer values in memory: flush it as often as
/// they may be lost.
///
/// ```
/// use coldpress_std::archive::{ArchiveLocation, ContinuousArchive, ContinuousOptions};
/// use coldpress_std::{ColdTier, ColdTierConfig};
///
/// static ARCHIVE: ContinuousArchive = ContinuousArchive::new();
///
/// # let base_dir = tempfile::tempdir()?;
/// # let config = ColdTierConfig::builder().base_dir(base_dir.path()).capacity_bytes(16 << 20).build()?;
/// let tier = ColdTier::with_own_pools(config, "sessions")?;
/// let location = ArchiveLocation::from_url("memory:///backups")?;
/// let handle = tier.handle();
/// let running = std::thread::spawn(move || {
///     let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
///     let options = ContinuousOptions::default();
///     runtime.block_on(ARCHIVE.run(&handle, &location.store, &location.prefix, options))
/// });
/// tier.put(b"key", b"value")?;
/// // It makes a last backup, if anything changed.
/// ARCHIVE.stop();
/// running.join().unwrap()?;
/// assert!(ARCHIVE.stats().newest.is_some());
/// # Ok::<(), Box<dyn core::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct ContinuousArchive {
    timer: &'static dyn ArchiveTimer,
    state: Mutex<ContinuousState>,
    progress: BackupProgress,
    is_running: AtomicBool,
    is_stopping: AtomicBool,
    stopped: AtomicWaker,
}

/// The tier and its archive.
struct ContinuousJob<'a> {
    handle: &'a ColdTierHandle,
    store: &'a dyn ObjectStore,
    prefix: &'a Path,
    options: ContinuousOptions,
}

/// Ends a run, also where its future is dropped.
struct Running<'a>(&'a ContinuousArchive);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.end_backup();
        self.0.is_running.store(false, SeqCst);
    }
}

impl Default for ContinuousArchive {
    fn default() -> Self {
        Self::new()
    }
}

impl ContinuousArchive {
    /// Makes one that does not run yet; usable in a `static`.
    #[must_use]
    pub const fn new() -> Self {
        Self::with_timer(&SystemClock)
    }

    /// As [`new`](Self::new), with another timer.
    #[must_use]
    pub const fn with_timer(timer: &'static dyn ArchiveTimer) -> Self {
        Self {
            timer,
            state: Mutex::new(ContinuousState::new()),
            progress: BackupProgress::new(),
            is_running: AtomicBool::new(false),
            is_stopping: AtomicBool::new(false),
            stopped: AtomicWaker::new(),
        }
    }

    /// Backs the tier up at the interval, prunes, and goes on after failures, until [`stop`](Self::stop) is called. Then it makes a
    /// last backup.
    ///
    /// It makes no backup where nothing was written to the log since the newest one, and no other process backed up or pruned under the prefix. The first one is
    /// made in any case.
    ///
    /// # Errors
    /// The error of the last backup. It ends earlier only where no further try can succeed: with
    /// [`TierError::Closed`], [`ArchiveError::OtherStore`], or [`ArchiveError::Busy`] where it runs already. Other failures are in the
    /// stats.
    ///
    /// # Bounds
    /// The first backup has the bounds of [`backup_with`](super::backup_with). The others read the segments that changed since the backup
    /// before, and all again where an object of that one is gone. Memory of about 100 bytes a segment stays taken between backups.
    pub async fn run(
        &self,
        handle: &ColdTierHandle,
        store: &dyn ObjectStore,
        prefix: &Path,
        options: ContinuousOptions,
    ) -> Result<(), ArchiveError> {
        if self.is_running.swap(true, SeqCst) {
            return Err(ArchiveError::Busy);
        }
        let _running = Running(self);
        self.state.lock().begin(*handle);
        let job = ContinuousJob { handle, store, prefix, options };
        let mut known = KnownSegments::default();
        let mut due = self.timer.now();
        loop {
            let is_last = self.wait_until(due).await;
            let begun = self.timer.now();
            let done = self.back_up(&job, &mut known).await;
            self.end_backup();
            match done {
                Ok(()) if is_last => return Ok(()),
                Ok(()) => due = begun.saturating_add(options.every.max(WAIT_MIN)),
                Err(error) => {
                    let failures = self.state.lock().fail(&error);
                    tracing::warn!(%error, failures, "a backup failed");
                    if is_last || is_final(&error) {
                        return Err(error);
                    }
                    due = self.timer.now().saturating_add(options.wait_after(failures));
                }
            }
        }
    }

    /// Has [`run`](Self::run) make a last backup, if anything changed, and end. It ends a backup that is under way first. A later
    /// run ends after its first backup.
    pub fn stop(&self) {
        self.is_stopping.store(true, SeqCst);
        self.stopped.wake();
    }

    /// Returns the counts so far.
    #[must_use]
    pub fn stats(&self) -> ContinuousStats {
        self.state.lock().stats(self.timer.now(), &self.progress)
    }

    /// Waits until a moment, or until it is to stop; tells whether it is.
    async fn wait_until(&self, due: Duration) -> bool {
        let mut sleep = self.timer.sleep_until(due);
        poll_fn(|cx| {
            self.stopped.register(cx.waker());
            if self.is_stopping.load(SeqCst) {
                return Poll::Ready(true);
            }
            sleep.as_mut().poll(cx).map(|()| false)
        })
        .await
    }

    async fn back_up(&self, job: &ContinuousJob<'_>, known: &mut KnownSegments) -> Result<(), ArchiveError> {
        if !self.state.lock().has_looked {
            self.look(job).await?;
        }
        let begun = self.timer.now();
        // Another process may have deleted the newest backup, or damaged objects of it. It takes a number then.
        let from = self.state.lock().oldest;
        let slots = BackupSlots::list_from(job.store, job.prefix, from).await?;
        let looked = self.timer.now();
        // Flushed, the stats count all that was acknowledged before.
        job.handle.flush_async().await?;
        let written_bytes = job.handle.stats().bytes_written;
        let seen = SavedState { written_bytes, newest: slots.backups().next_back(), next: slots.next() };
        if self.state.lock().is_unchanged(seen, looked) {
            return Ok(());
        }
        self.state.lock().is_under_way = true;
        self.progress.begin();
        let watch = BackupWatch { progress: &self.progress, timer: self.timer };
        let ContinuousJob { handle, store, prefix, options } = *job;
        let backup = BackupJob { handle, store, prefix, options: options.backup, watch, from };
        let made = backup.run(known).await?;
        let now = self.timer.now();
        self.state.lock().succeed(&made, written_bytes, self.progress.begun(), begun, now);
        self.end_backup();
        if let Err(error) = self.prune(job).await {
            tracing::warn!(%error, "a prune failed");
            self.state.lock().fail_prune(&error);
        }
        Ok(())
    }

    /// Looks for the newest backup of an earlier process.
    async fn look(&self, job: &ContinuousJob<'_>) -> Result<(), ArchiveError> {
        let slots = BackupSlots::list(job.store, job.prefix).await?;
        let newest = match slots.backups().next_back() {
            Some(number) => read(job.store, job.prefix, number).await.map(Some),
            None => Ok(None),
        };
        let mut state = self.state.lock();
        match newest {
            Ok(Some(manifest)) if manifest.store_id == job.handle.identity()?.store_id => {
                let age_s = u64::from(self.timer.wall_s()).saturating_sub(manifest.taken_s);
                state.find(manifest.number, manifest.taken_s, Duration::from_secs(age_s), self.timer.now());
            }
            Err(error @ ArchiveError::Store(_)) => return Err(error),
            // The backup to be made says more.
            _ => {}
        }
        state.oldest = slots.oldest();
        state.has_looked = true;
        Ok(())
    }

    async fn prune(&self, job: &ContinuousJob<'_>) -> Result<(), ArchiveError> {
        let Some(keep) = job.options.keep else { return Ok(()) };
        let from = self.state.lock().oldest;
        let slots = BackupSlots::list_from(job.store, job.prefix, from).await?;
        self.state.lock().oldest = slots.oldest();
        let kept = slots.backups().count();
        // Each prune takes a number, and its name stays. So one prune deletes several backups.
        if kept < keep.get().saturating_add(keep.get().div_ceil(4)) {
            return Ok(());
        }
        let (pruned, number) = prune_from(job.store, job.prefix, keep.get(), slots.oldest()).await?;
        self.state.lock().prune(&pruned, number);
        Ok(())
    }

    /// No backup is under way any more.
    fn end_backup(&self) {
        self.state.lock().end_backup(&self.progress);
    }
}

impl ContinuousOptions {
    /// The wait after so many failures in a row.
    fn wait_after(&self, failures: u32) -> Duration {
        let doubled = 2u32.saturating_pow(failures.saturating_sub(1));
        self.retry.saturating_mul(doubled).min(self.every).max(WAIT_MIN)
    }
}

/// Whether each further try would fail as this one.
const fn is_final(error: &ArchiveError) -> bool {
    matches!(error, ArchiveError::Tier(TierError::Closed) | ArchiveError::OtherStore { .. })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wait_after_failures_doubles_up_to_the_interval() {
        let options = ContinuousOptions::default();
        let waits: Vec<_> = (1..10).map(|failures| options.wait_after(failures).as_secs()).collect();
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 60, 60, 60]);
        assert_eq!(options.wait_after(u32::MAX), options.every);
    }
}
