//! The progress of a backup, readable while it runs.

use core::sync::atomic::AtomicU64;
use core::sync::atomic::Ordering::Relaxed;
use core::time::Duration;

/// The counts of a backup that runs. It is lent to the backup, and others read it meanwhile.
///
/// ```
/// use coldpress_std::archive::BackupProgress;
/// static PROGRESS: BackupProgress = BackupProgress::new();
/// assert_eq!(PROGRESS.snapshot().segments_total, 0);
/// ```
#[derive(Debug, Default)]
pub struct BackupProgress {
    attempts: AtomicU64,
    segments_total: AtomicU64,
    segments_done: AtomicU64,
    bytes_total: AtomicU64,
    bytes_done: AtomicU64,
    uploaded_objects: AtomicU64,
    uploaded_bytes: AtomicU64,
    /// When the tier was synced last, in milliseconds of the timer.
    begun_ms: AtomicU64,
}

/// How far a backup is. The totals of an attempt are zero until it holds its segments.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct BackupState {
    /// How often it began.
    pub attempts: u64,
    /// Segments to look at, in this attempt.
    pub segments_total: u64,
    /// Those that the archive has.
    pub segments_done: u64,
    /// Bytes to read, in this attempt.
    pub bytes_total: u64,
    /// Bytes of segments that the archive has.
    pub bytes_done: u64,
    /// Objects that were uploaded, in all attempts.
    pub uploaded_objects: u64,
    /// Bytes of these.
    pub uploaded_bytes: u64,
}

impl BackupProgress {
    /// Makes one; usable in a `static`. A backup sets all counts to zero when it begins.
    #[must_use]
    pub const fn new() -> Self {
        let zero = AtomicU64::new;
        Self {
            attempts: zero(0),
            segments_total: zero(0),
            segments_done: zero(0),
            bytes_total: zero(0),
            bytes_done: zero(0),
            uploaded_objects: zero(0),
            uploaded_bytes: zero(0),
            begun_ms: zero(0),
        }
    }

    /// Reads the counts one after the other, so they may be of different moments.
    #[must_use]
    pub fn snapshot(&self) -> BackupState {
        BackupState {
            attempts: self.attempts.load(Relaxed),
            segments_total: self.segments_total.load(Relaxed),
            segments_done: self.segments_done.load(Relaxed),
            bytes_total: self.bytes_total.load(Relaxed),
            bytes_done: self.bytes_done.load(Relaxed),
            uploaded_objects: self.uploaded_objects.load(Relaxed),
            uploaded_bytes: self.uploaded_bytes.load(Relaxed),
        }
    }

    pub(super) fn begin(&self) {
        for count in [&self.attempts, &self.uploaded_objects, &self.uploaded_bytes] {
            count.store(0, Relaxed);
        }
    }

    /// Another attempt begins: all that is written before this moment will be in the backup.
    pub(super) fn begin_attempt(&self, now: Duration) {
        self.attempts.fetch_add(1, Relaxed);
        self.begun_ms.store(u64::try_from(now.as_millis()).unwrap_or(u64::MAX), Relaxed);
        for count in [&self.segments_total, &self.segments_done, &self.bytes_total, &self.bytes_done] {
            count.store(0, Relaxed);
        }
    }

    pub(super) fn hold(&self, segments: u64, bytes: u64) {
        self.segments_total.store(segments, Relaxed);
        self.bytes_total.store(bytes, Relaxed);
    }

    /// The archive has a segment, of which so many bytes were read.
    pub(super) fn finish_segment(&self, bytes: u64) {
        self.segments_done.fetch_add(1, Relaxed);
        self.bytes_done.fetch_add(bytes, Relaxed);
    }

    pub(super) fn upload(&self, bytes: u64) {
        self.uploaded_objects.fetch_add(1, Relaxed);
        self.uploaded_bytes.fetch_add(bytes, Relaxed);
    }

    /// The moment before which all that was written is in the backup.
    pub(super) fn begun(&self) -> Duration {
        Duration::from_millis(self.begun_ms.load(Relaxed))
    }
}
