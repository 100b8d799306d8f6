//! The counts of continuous backups.

use core::time::Duration;

use super::backup::Backup;
use super::error::ArchiveError;
use super::progress::{BackupProgress, BackupState};
use super::prune::Pruned;
use crate::api::ColdTierHandle;

/// The counts of a [`ContinuousArchive`](super::ContinuousArchive) since it was made.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct ContinuousStats {
    /// The number of the newest complete backup; that of an earlier process counts too.
    pub newest: Option<u64>,
    /// When it was taken, in seconds since 1970.
    pub newest_taken_s: Option<u64>,
    /// How far the archive is behind: writes that were acknowledged longer ago are in its newest backup. `None` where it has none.
    ///
    /// It is counted from the sync in front of that backup, or from the last look at the tier that found nothing new.
    pub behind: Option<Duration>,
    /// Bytes that were written to the log since that moment, those of compaction included; `None` before the first backup of this process.
    pub unsaved_bytes: Option<u64>,
    /// Backups that were made.
    pub backups: u64,
    /// Looks at the tier that found nothing new, so that no backup was made.
    pub unchanged: u64,
    /// Backups that failed.
    pub failures: u64,
    /// Those since the last backup, or since the last look that found nothing new.
    pub failures_in_a_row: u32,
    /// Backups that prunes deleted.
    pub pruned_backups: u64,
    /// Prunes that failed.
    pub prune_failures: u64,
    /// Why the last backup or prune failed, if nothing succeeded since.
    pub last_error: Option<String>,
    /// Objects that were uploaded, for failed backups too, and for the one that is under way.
    pub uploaded_objects: u64,
    /// Bytes of these, and of manifests.
    pub uploaded_bytes: u64,
    /// Bytes of segments that complete backups read.
    pub read_bytes: u64,
    /// How long the newest backup of this process took; zero before the first.
    pub newest_took: Duration,
    /// How far the backup is that is under way.
    pub under_way: Option<BackupState>,
}

/// The log and the archive at a moment, where the archive has all of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SavedState {
    /// Bytes written to the log.
    pub(super) written_bytes: u64,
    pub(super) newest: Option<u64>,
    /// The number to claim next.
    pub(super) next: u64,
}

/// The stats, and the moments that they are made from.
#[derive(Debug)]
pub(super) struct ContinuousState {
    stats: ContinuousStats,
    handle: Option<ColdTierHandle>,
    /// Whether the backups of earlier processes are known.
    pub(super) has_looked: bool,
    pub(super) is_under_way: bool,
    /// No backup has a lower number than this.
    pub(super) oldest: u64,
    /// How far the archive was behind at a moment of the timer.
    behind: Option<(Duration, Duration)>,
    /// The state that the newest backup of this run has at least.
    saved: Option<SavedState>,
}

impl ContinuousState {
    pub(super) const fn new() -> Self {
        let stats = ContinuousStats {
            newest: None,
            newest_taken_s: None,
            behind: None,
            unsaved_bytes: None,
            backups: 0,
            unchanged: 0,
            failures: 0,
            failures_in_a_row: 0,
            pruned_backups: 0,
            prune_failures: 0,
            last_error: None,
            uploaded_objects: 0,
            uploaded_bytes: 0,
            read_bytes: 0,
            newest_took: Duration::ZERO,
            under_way: None,
        };
        Self {
            stats,
            handle: None,
            has_looked: false,
            is_under_way: false,
            oldest: 0,
            behind: None,
            saved: None,
        }
    }

    /// A run begins. Another tier may have written as many bytes.
    pub(super) const fn begin(&mut self, handle: ColdTierHandle) {
        (self.handle, self.saved, self.has_looked) = (Some(handle), None, false);
    }

    pub(super) fn stats(&self, now: Duration, progress: &BackupProgress) -> ContinuousStats {
        let mut stats = self.stats.clone();
        stats.behind = self.behind.map(|(at, behind)| behind.saturating_add(now.saturating_sub(at)));
        let written_bytes = self.handle.map(|handle| handle.stats().bytes_written);
        stats.unsaved_bytes =
            self.saved.and_then(|saved| Some(written_bytes?.saturating_sub(saved.written_bytes)));
        if self.is_under_way {
            let state = progress.snapshot();
            stats.uploaded_objects += state.uploaded_objects;
            stats.uploaded_bytes += state.uploaded_bytes;
            stats.under_way = Some(state);
        }
        stats
    }

    /// An earlier process has made a backup.
    pub(super) fn find(&mut self, number: u64, taken_s: u64, age: Duration, now: Duration) {
        self.stats.newest = Some(number);
        self.stats.newest_taken_s = Some(taken_s);
        self.behind = Some((now, age));
    }

    /// Whether the newest backup has all that was written to the log at a moment.
    pub(super) fn is_unchanged(&mut self, seen: SavedState, at: Duration) -> bool {
        let is_unchanged = self.saved == Some(seen);
        if is_unchanged {
            self.stats.unchanged += 1;
            self.behind = Some((at, Duration::ZERO));
            self.forget_failures();
        }
        is_unchanged
    }

    /// A backup was made: it began at `begun`, and has all that was written at `moment`.
    pub(super) fn succeed(
        &mut self,
        made: &Backup,
        written_bytes: u64,
        moment: Duration,
        begun: Duration,
        now: Duration,
    ) {
        self.stats.newest = Some(made.number);
        self.stats.newest_taken_s = Some(made.taken_s);
        self.stats.backups += 1;
        self.stats.uploaded_bytes += made.manifest_bytes;
        self.stats.read_bytes += made.read_bytes;
        self.stats.newest_took = now.saturating_sub(begun);
        self.behind = Some((moment, Duration::ZERO));
        let (newest, next) = (Some(made.number), made.number.saturating_add(1));
        self.saved = Some(SavedState { written_bytes, newest, next });
        self.forget_failures();
    }

    fn forget_failures(&mut self) {
        self.stats.failures_in_a_row = 0;
        self.stats.last_error = None;
    }

    /// Returns the failures in a row.
    pub(super) fn fail(&mut self, error: &ArchiveError) -> u32 {
        self.stats.failures += 1;
        self.stats.failures_in_a_row = self.stats.failures_in_a_row.saturating_add(1);
        self.stats.last_error = Some(error.to_string());
        self.stats.failures_in_a_row
    }

    pub(super) fn fail_prune(&mut self, error: &ArchiveError) {
        self.stats.prune_failures += 1;
        self.stats.last_error = Some(error.to_string());
    }

    /// A prune took a number. If others took some before it, the archive is not as the backup left it.
    pub(super) fn prune(&mut self, pruned: &Pruned, number: u64) {
        self.stats.pruned_backups += pruned.backups;
        if let Some(saved) = self.saved.as_mut().filter(|saved| saved.next == number) {
            saved.next = number.saturating_add(1);
        }
    }

    /// Adds up a backup that is under way no more.
    pub(super) fn end_backup(&mut self, progress: &BackupProgress) {
        if core::mem::take(&mut self.is_under_way) {
            let state = progress.snapshot();
            self.stats.uploaded_objects += state.uploaded_objects;
            self.stats.uploaded_bytes += state.uploaded_bytes;
        }
    }
}
