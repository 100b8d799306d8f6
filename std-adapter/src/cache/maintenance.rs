//! Maintenance tasks: each is a message with a deadline and a reply. One worker carries them out, and begins some by itself.
//!
//! ```text
//!  any thread ── MaintenanceSender (Clone) ── bounded channel ──► maintenance worker ── CompactionSystem ──► log workers
//!       ▲                                                            │  └── CleanupRequest ──► pool worker
//!       └────────────────────── MaintenanceReply ◄───────────────────┘
//! ```

use core::fmt;
use core::time::Duration;
use std::time::Instant;

use crossbeam_channel::{RecvTimeoutError, Sender, TrySendError, bounded};

use super::error::CacheError;
use super::stats::CacheStats;
use crate::api::compaction::{CompactionError, Report};
use crate::pool::{PoolError, PoolStats, Reclaimed};

/// The most requests that wait for the worker.
pub const MAINTENANCE_QUEUE_CAPACITY: usize = 64;

/// A task of maintenance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum MaintenanceTask {
    /// Compacts the log until so many bytes of it are freed or a pass frees none: one pass at least. Each pass is a task
    /// [`CompactData`](crate::CompactionTask::CompactData) in every partition, after which the pools are defragmented.
    Compact {
        /// Bytes to free; 0 for a single pass.
        target_bytes: u64,
    },
    /// Brings the pools below their low watermark: free pages, expired values, the coldest ones.
    Cleanup,
    /// Moves the values in the pools together, and gives emptied pages back.
    Defragment,
    /// Reads the whole log, verifies every checksum, and reconciles the index with it.
    RebuildIndex,
    /// Measures the candidate codecs on live records and picks one for new and relocated records.
    OptimizeCompression,
    /// Drops values whose time is over from the hot tier and the log, then cleans the pools up as [`Cleanup`](Self::Cleanup) does.
    EvictExpired,
    /// Writes dirty values, and syncs the log.
    Flush,
    /// Writes the values that have been dirty for the configured time; all dirty ones where their bytes reach the configured share of the
    /// limit.
    WriteBack,
    /// Reads the value of every key in the log and checks it. Values that memory alone has are not read. It changes nothing.
    Verify,
    /// Reports the stats of all tiers.
    Stats,
}

impl fmt::Display for MaintenanceTask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Compact { target_bytes: 0 } => f.write_str("compact"),
            Self::Compact { target_bytes } => write!(f, "compact {target_bytes} bytes"),
            Self::Cleanup => f.write_str("cleanup"),
            Self::Defragment => f.write_str("defragment"),
            Self::RebuildIndex => f.write_str("rebuild index"),
            Self::OptimizeCompression => f.write_str("optimize compression"),
            Self::EvictExpired => f.write_str("evict expired"),
            Self::Flush => f.write_str("flush"),
            Self::WriteBack => f.write_str("write back"),
            Self::Verify => f.write_str("verify"),
            Self::Stats => f.write_str("stats"),
        }
    }
}

/// The work of a task, counted.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum MaintenanceDone {
    /// Of a task of the log.
    Log {
        /// The passes that were made.
        passes: u32,
        /// Bytes of the log that they freed, less what they wrote for that.
        log_bytes_reclaimed: u64,
        /// Bytes that the pools gave back for them.
        pool_bytes_reclaimed: u64,
        /// The report of the last pass.
        report: Box<Report>,
    },
    /// Of a task of the pools.
    Pools(Reclaimed),
    /// Of a flush or write back.
    Written {
        /// Dirty values that were written.
        values: u64,
    },
    /// Of a verification.
    Verified {
        /// Values that were read.
        values: u64,
        /// Bytes of keys and values.
        bytes: u64,
        /// Keys whose value could not be read.
        damaged: u64,
        /// The first of these errors.
        first: Option<CacheError>,
        /// Whether the deadline came first, so that some keys were not read.
        is_partial: bool,
    },
    /// Of all tiers.
    Stats {
        /// The tiers.
        cache: Box<CacheStats>,
        /// The pools.
        pools: Box<PoolStats>,
    },
}

/// The report of a task.
#[derive(Debug, Clone, PartialEq)]
pub struct MaintenanceReport {
    /// The task.
    pub task: MaintenanceTask,
    /// How long it waited for the worker.
    pub waited: Duration,
    /// How long it took then.
    pub took: Duration,
    /// Its work.
    pub done: MaintenanceDone,
}

impl MaintenanceReport {
    /// Tells whether it freed anything: bytes, or expired records whose bytes a compaction will free.
    pub(super) fn has_freed(&self) -> bool {
        let dropped = match &self.done {
            MaintenanceDone::Log { report, .. } => report.expired_records > 0,
            MaintenanceDone::Pools(reclaimed) => reclaimed.dropped_objects > 0,
            _ => false,
        };
        dropped || self.freed_bytes() > 0
    }

    /// Returns the bytes that the task freed, of log and pools.
    #[must_use]
    pub const fn freed_bytes(&self) -> u64 {
        match &self.done {
            MaintenanceDone::Log { log_bytes_reclaimed, pool_bytes_reclaimed, .. } => {
                log_bytes_reclaimed.saturating_add(*pool_bytes_reclaimed)
            }
            MaintenanceDone::Pools(reclaimed) => reclaimed.bytes,
            MaintenanceDone::Written { .. }
            | MaintenanceDone::Verified { .. }
            | MaintenanceDone::Stats { .. } => 0,
        }
    }
}

/// Why a task was not carried out.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum MaintenanceError {
    /// [`MAINTENANCE_QUEUE_CAPACITY`] tasks wait already; this one is given back.
    Full(MaintenanceTask),
    /// The deadline passed before the task began or ended. One that began may go on.
    TimedOut,
    /// The cache is closed.
    Closed,
    /// The log could not do it.
    Compaction(CompactionError),
    /// The pools could not do it.
    Pools(PoolError),
    /// The cache could not do it.
    Cache(CacheError),
    /// The code of a key or value panicked. Maintenance goes on with other tasks.
    Panicked,
}

impl From<CompactionError> for MaintenanceError {
    fn from(error: CompactionError) -> Self {
        Self::Compaction(error)
    }
}

impl From<PoolError> for MaintenanceError {
    fn from(error: PoolError) -> Self {
        Self::Pools(error)
    }
}

impl From<CacheError> for MaintenanceError {
    fn from(error: CacheError) -> Self {
        match error {
            CacheError::Closed => Self::Closed,
            error => Self::Cache(error),
        }
    }
}

impl fmt::Display for MaintenanceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full(task) => write!(f, "so many tasks wait already that '{task}' can't be queued"),
            Self::TimedOut => f.write_str("the deadline of the task passed"),
            Self::Closed => f.write_str("the cache is closed"),
            Self::Compaction(error) => write!(f, "{error}"),
            Self::Pools(error) => write!(f, "{error}"),
            Self::Cache(error) => write!(f, "{error}"),
            Self::Panicked => f.write_str("the code of a key or value panicked"),
        }
    }
}

impl core::error::Error for MaintenanceError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Compaction(error) => Some(error),
            Self::Pools(error) => Some(error),
            Self::Cache(error) => Some(error),
            Self::Full(_) | Self::TimedOut | Self::Closed | Self::Panicked => None,
        }
    }
}

/// The reply to a request.
pub type MaintenanceReply = Result<MaintenanceReport, MaintenanceError>;

/// A task on its way to the worker.
#[derive(Debug)]
pub(super) struct MaintenanceRequest {
    pub(super) task: MaintenanceTask,
    pub(super) sent: Instant,
    pub(super) deadline: Instant,
    pub(super) reply: Sender<MaintenanceReply>,
}

/// Sends tasks to the maintenance worker of a cache. Clone it for each thread that wants one.
///
/// ```
/// use coldpress_std::cache::{MaintenanceTask, UnifiedCacheConfig, UnifiedCacheManager};
/// use coldpress_std::ColdTierConfig;
/// use core::time::Duration;
///
/// # let base_dir = tempfile::tempdir()?;
/// let cold = ColdTierConfig::builder().base_dir(base_dir.path()).capacity_bytes(16 << 20).build()?;
/// let cache = UnifiedCacheManager::<u32, String>::new(UnifiedCacheConfig::builder(cold).build()?)?;
/// let maintenance = cache.maintenance_sender();
/// let report = maintenance.run(MaintenanceTask::Compact { target_bytes: 1 << 20 }, Duration::from_secs(60))?;
/// assert_eq!(report.freed_bytes(), 0, "there was nothing to free");
/// # cache.close()?;
/// # Ok::<(), Box<dyn core::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct MaintenanceSender {
    pub(super) requests: Sender<MaintenanceRequest>,
}

impl MaintenanceSender {
    /// Sends a task without waiting. The reply comes to `reply`; where that channel is full, the reply is dropped.
    ///
    /// A task that has not begun when `timeout` is over is not done. Once begun, tasks of the log and [`Verify`](MaintenanceTask::Verify) end
    /// at it. Those of the pools go by the pools' own timeout, and those that write dirty values go on to their end.
    ///
    /// # Errors
    /// [`MaintenanceError::Full`] gives the task back; [`MaintenanceError::Closed`].
    pub fn request(
        &self,
        task: MaintenanceTask,
        timeout: Duration,
        reply: Sender<MaintenanceReply>,
    ) -> Result<(), MaintenanceError> {
        let sent = Instant::now();
        let deadline = sent.checked_add(timeout).unwrap_or_else(|| sent + TIMEOUT_MAX);
        let request = MaintenanceRequest { task, sent, deadline, reply };
        self.requests.try_send(request).map_err(|error| match error {
            TrySendError::Full(request) => MaintenanceError::Full(request.task),
            TrySendError::Disconnected(_) => MaintenanceError::Closed,
        })
    }

    /// Sends a task and waits for its report, at most a second longer than `timeout`; see [`request`](Self::request).
    ///
    /// # Errors
    /// [`MaintenanceError`].
    pub fn run(&self, task: MaintenanceTask, timeout: Duration) -> MaintenanceReply {
        let (reply, replies) = bounded(1);
        self.request(task, timeout, reply)?;
        match replies.recv_timeout(timeout.saturating_add(GRACE)) {
            Ok(reply) => reply,
            Err(RecvTimeoutError::Timeout) => Err(MaintenanceError::TimedOut),
            Err(RecvTimeoutError::Disconnected) => Err(MaintenanceError::Closed),
        }
    }
}

/// A longer timeout than this counts as this one.
const TIMEOUT_MAX: Duration = Duration::from_secs(10 * 366 * 24 * 3600);

/// How long a reply may come after the deadline: a task that ends with it says how far it came.
const GRACE: Duration = Duration::from_secs(1);

/// Which maintenance runs by itself. An interval of `None` is never; any other takes a millisecond to 366 days.
///
/// A compaction, cleanup, defragmentation or eviction of expired values that frees nothing doubles the time until the next one, up to
/// 64 intervals, until one frees something. Where pressure asks for a compaction or such an eviction, a write of a client makes it due
/// at once again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct MaintenanceConfig {
    /// How often pressure is measured, and the hot tier swept for values whose time is over; by default each second.
    pub check_every: Duration,
    /// How often the log is compacted; by default never, since it compacts by itself where free segments run short.
    pub compact_every: Option<Duration>,
    /// The share of the log's capacity that is stale, in permille, from which it is compacted; by default 500.
    pub stale_permille: u16,
    /// How often the pools are cleaned up; by default never, since their worker does that above their high watermark.
    pub cleanup_every: Option<Duration>,
    /// The share of pages in the capacity of the pools, in permille, from which they are cleaned up; by default 980.
    pub pool_permille: u16,
    /// How often the pools are defragmented; by default never.
    pub defragment_every: Option<Duration>,
    /// The share of bytes of the pools' pages that no value's slot takes, in permille, from which they are defragmented; by default 300.
    pub fragmented_permille: u16,
    /// How often the index is rebuilt; by default never. Maintenance also rebuilds it after a read met a damaged record.
    pub rebuild_index_every: Option<Duration>,
    /// How often the codec is chosen anew; by default never.
    pub optimize_every: Option<Duration>,
    /// Fresh bytes written, in permille of the log's capacity, after which the codec is chosen anew; by default 1,000.
    pub turnover_permille: u64,
    /// How often expired values are dropped from the hot tier and the log; by default each 5 minutes, and less often while that frees no
    /// bytes.
    pub evict_expired_every: Option<Duration>,
    /// The share of charged bytes in the most that can be charged, in permille, from which expired values are dropped; by default 900.
    pub charged_permille: u16,
    /// How often dirty values are written and everything is synced; by default never.
    pub flush_every: Option<Duration>,
    /// The share of the limit on dirty bytes, in permille, from which they are written; by default 500.
    pub dirty_permille: u16,
    /// How often all values of the log are read and checked; by default never. Maintenance also does so after an operation of the medium
    /// failed.
    pub verify_every: Option<Duration>,
    /// How often the stats of all tiers go to the log of the process, at the level `info`; by default never.
    pub stats_every: Option<Duration>,
}

impl Default for MaintenanceConfig {
    fn default() -> Self {
        Self {
            check_every: Duration::from_secs(1),
            compact_every: None,
            stale_permille: 500,
            cleanup_every: None,
            pool_permille: 980,
            defragment_every: None,
            fragmented_permille: 300,
            rebuild_index_every: None,
            optimize_every: None,
            turnover_permille: 1_000,
            evict_expired_every: Some(Duration::from_secs(300)),
            charged_permille: 900,
            flush_every: None,
            dirty_permille: 500,
            verify_every: None,
            stats_every: None,
        }
    }
}

impl MaintenanceConfig {
    /// The tasks that run by interval, in the order of their urgency.
    pub(super) fn intervals(&self) -> [(MaintenanceTask, Option<Duration>); 7] {
        [
            (MaintenanceTask::Flush, self.flush_every),
            (MaintenanceTask::Cleanup, self.cleanup_every),
            (MaintenanceTask::EvictExpired, self.evict_expired_every),
            (MaintenanceTask::Defragment, self.defragment_every),
            (MaintenanceTask::Compact { target_bytes: 0 }, self.compact_every),
            (MaintenanceTask::OptimizeCompression, self.optimize_every),
            (MaintenanceTask::RebuildIndex, self.rebuild_index_every),
        ]
    }

    /// The times that are set, each with its name.
    pub(super) fn times(&self) -> impl Iterator<Item = (&'static str, Duration)> {
        [
            ("check_every", Some(self.check_every)),
            ("compact_every", self.compact_every),
            ("cleanup_every", self.cleanup_every),
            ("defragment_every", self.defragment_every),
            ("rebuild_index_every", self.rebuild_index_every),
            ("optimize_every", self.optimize_every),
            ("evict_expired_every", self.evict_expired_every),
            ("flush_every", self.flush_every),
            ("verify_every", self.verify_every),
            ("stats_every", self.stats_every),
        ]
        .into_iter()
        .filter_map(|(name, time)| Some((name, time?)))
    }
}
