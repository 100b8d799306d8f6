//! What a tier counts.

use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

use coldpress_core::compaction::{CompactionTask, Progress, Report};
use coldpress_core::segments::{Segment, SegmentState};

macro_rules! counts {
    ($($name:ident),+ $(,)?) => {
        /// What clients and the worker of one partition count as they go.
        #[derive(Debug, Default)]
        pub(crate) struct Counts {
            $(pub(crate) $name: AtomicU64,)+
        }

        impl Counts {
            pub(crate) fn reset(&self) {
                $(self.$name.store(0, Relaxed);)+
            }

            pub(crate) fn add_to(&self, stats: &mut TierStats) {
                $(stats.$name = stats.$name.saturating_add(self.$name.load(Relaxed));)+
            }
        }
    };
}

counts!(
    puts,
    gets,
    hits,
    removes,
    bytes_put,
    bytes_read,
    hot_hits,
    pending_hits,
    refused_puts,
    damaged_reads,
    evicted_records,
    expired_records,
    swept_pieces,
    unchanged_puts,
);

/// What the worker of one partition posts for all to read.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct WorkerStats {
    pub(crate) bytes_encoded: u64,
    pub(crate) bytes_written: u64,
    pub(crate) bytes_moved: u64,
    pub(crate) erases: u64,
    pub(crate) syncs: u64,
    pub(crate) live_bytes: u64,
    pub(crate) used_bytes: u64,
    pub(crate) free_segments: u32,
    pub(crate) debt_permille: u16,
    pub(crate) quarantined_segments: u32,
    pub(crate) peak_bytes: u64,
    pub(crate) occupied_bytes: u64,
    pub(crate) compactions: u64,
    pub(crate) log_bytes_reclaimed: u64,
    pub(crate) pool_bytes_reclaimed: u64,
    pub(crate) progress: Option<(CompactionTask, Progress)>,
    pub(crate) last_report: Option<Report>,
    pub(crate) analysis: Option<super::analysis::Analysis>,
    pub(crate) recovered_records: u64,
    pub(crate) recovery_ms: u64,
    pub(crate) damaged_records: u64,
    pub(crate) torn_records: u32,
    pub(crate) torn_segments: u32,
    pub(crate) found_quarantined_segments: u32,
    pub(crate) charge_bytes_max: u64,
    pub(crate) failures: u64,
    pub(crate) sync_failures: u64,
    pub(crate) shortages: u64,
    pub(crate) clock_refusals: u64,
}

/// The counts and the state of one partition at one moment, for its meter.
#[derive(Debug, Clone, Copy)]
#[cfg_attr(not(feature = "metrics"), expect(dead_code, reason = "only metrics read it"))]
pub(crate) struct PartitionReading<'a> {
    pub(crate) counts: &'a Counts,
    pub(crate) worker: &'a WorkerStats,
    pub(crate) keys: u64,
    pub(crate) pending_bytes: u64,
    pub(crate) charged_bytes: u64,
    pub(crate) needs_reopen: bool,
}

/// What a tier counted since it was opened, over all its partitions.
///
/// Counts of operations are exact once the operations have returned. What the log worker counts is as of its last step,
/// at most some milliseconds ago.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct TierStats {
    /// Puts, gets and removes.
    pub requests: u64,
    /// Puts that were taken.
    pub puts: u64,
    /// Of these, puts that were skipped because their value was there already: see
    /// [`skip_unchanged`](crate::ColdTierConfigBuilder::skip_unchanged).
    pub unchanged_puts: u64,
    /// Gets.
    pub gets: u64,
    /// Gets that found a value.
    pub hits: u64,
    /// Removes.
    pub removes: u64,
    /// Hits that were served from the pools.
    pub hot_hits: u64,
    /// Hits that were served from a write on its way to the log.
    pub pending_hits: u64,
    /// Puts that were refused.
    pub refused_puts: u64,
    /// Gets that met a damaged record.
    pub damaged_reads: u64,
    /// Bytes of keys and values as they were put.
    pub bytes_put: u64,
    /// Bytes read from the medium for clients: records for gets and for puts that may be unchanged, headers and keys for
    /// [`keys`](crate::ColdTierHandle::keys).
    pub bytes_read: u64,
    /// Bytes of fresh records as written: headers included, values as encoded.
    pub bytes_encoded: u64,
    /// Bytes written to the medium in all.
    pub bytes_written: u64,
    /// Bytes of records relocated.
    pub bytes_moved: u64,
    /// Segments erased.
    pub erases: u64,
    /// Syncs.
    pub syncs: u64,
    /// Operations of the medium that failed, syncs included.
    pub failures: u64,
    /// Syncs that failed.
    pub sync_failures: u64,
    /// Times that free segments ran short.
    pub shortages: u64,
    /// The limit on the bytes that the log takes.
    pub capacity_bytes: u64,
    /// The most bytes that segments with anything in them ever took, counted at each write.
    pub peak_bytes: u64,
    /// Bytes that segments with anything in them take now.
    pub occupied_bytes: u64,
    /// Bytes of records that are needed.
    pub live_bytes: u64,
    /// Bytes of records that nothing needs any more.
    pub stale_bytes: u64,
    /// Bytes charged against the capacity for live records: see [`Full`](crate::PutError::Full).
    pub charged_bytes: u64,
    /// The most bytes that can be charged.
    pub charge_bytes_max: u64,
    /// Segments that are free.
    pub free_segments: u32,
    /// How far free segments are below the high watermark, in thousandths, of the partition that is farthest; 1,000 when puts
    /// wait for compaction.
    pub debt_permille: u16,
    /// Whether writes are refused in a partition until the tier is closed and opened again: see
    /// [`NeedsReopen`](crate::TierError::NeedsReopen).
    pub needs_reopen: bool,
    /// Segments kept as they are because of damage.
    pub quarantined_segments: u32,
    /// Compaction tasks that ended, of any kind, and whoever asked for them.
    pub compactions: u64,
    /// Bytes of the log that compaction freed, less what it wrote for that.
    pub log_bytes_reclaimed: u64,
    /// Bytes that the pools gave back because compaction asked.
    pub pool_bytes_reclaimed: u64,
    /// Records dropped because they were expired or idle.
    pub expired_records: u64,
    /// Records dropped to make room.
    pub evicted_records: u64,
    /// Pieces of long values dropped because no value is made of them any more.
    pub swept_pieces: u64,
    /// Records found when the tier was opened.
    pub recovered_records: u64,
    /// Milliseconds that finding them took.
    pub recovery_ms: u64,
    /// Damaged records found when the tier was opened.
    pub damaged_records: u64,
    /// Segments whose last record was torn by a cut, or is damaged, found when the tier was opened.
    pub torn_records: u32,
    /// Segments that were cut off while they were opened, found when the tier was opened.
    pub torn_segments: u32,
    /// Segments that were neither blank nor readable, found when the tier was opened and kept as they are.
    pub found_quarantined_segments: u32,
    /// Keys that have a value.
    pub keys: u64,
    /// Bytes of memory that the index takes, writes on their way included.
    pub index_bytes: u64,
    /// Bytes of writes on their way to the log.
    pub pending_bytes: u64,
    /// Jumps of the wall clock that were refused since the tier was opened, in each partition; one that lasts counts once.
    pub clock_refusals: u64,
    /// How far the wall clock is ahead, in seconds, where it is being refused: see
    /// [`confirm_clock`](crate::ColdTierHandle::confirm_clock).
    pub clock_refused_s: Option<u32>,
    /// How far the wall clock is behind the tier's time, in seconds, unless that was
    /// [confirmed](crate::ColdTierHandle::confirm_clock): it was ahead before, or is wrong now.
    pub clock_behind_s: u32,
}

impl TierStats {
    pub(crate) fn add_worker(&mut self, worker_stats: &WorkerStats) {
        self.bytes_encoded += worker_stats.bytes_encoded;
        self.bytes_written += worker_stats.bytes_written;
        self.bytes_moved += worker_stats.bytes_moved;
        self.erases += worker_stats.erases;
        self.syncs += worker_stats.syncs;
        self.peak_bytes += worker_stats.peak_bytes;
        self.occupied_bytes += worker_stats.occupied_bytes;
        self.live_bytes += worker_stats.live_bytes;
        self.stale_bytes += worker_stats.used_bytes.saturating_sub(worker_stats.live_bytes);
        self.free_segments += worker_stats.free_segments;
        self.debt_permille = self.debt_permille.max(worker_stats.debt_permille);
        self.quarantined_segments += worker_stats.quarantined_segments;
        self.compactions += worker_stats.compactions;
        self.log_bytes_reclaimed += worker_stats.log_bytes_reclaimed;
        self.pool_bytes_reclaimed += worker_stats.pool_bytes_reclaimed;
        self.recovered_records += worker_stats.recovered_records;
        self.recovery_ms = self.recovery_ms.max(worker_stats.recovery_ms);
        self.damaged_records += worker_stats.damaged_records;
        self.clock_refusals += worker_stats.clock_refusals;
        self.torn_records += worker_stats.torn_records;
        self.torn_segments += worker_stats.torn_segments;
        self.found_quarantined_segments += worker_stats.found_quarantined_segments;
        self.failures += worker_stats.failures;
        self.sync_failures += worker_stats.sync_failures;
        self.shortages += worker_stats.shortages;
    }

    /// Bytes written for each byte of fresh records, in thousandths; 1,000 where nothing was relocated.
    #[must_use]
    pub fn write_amplification_permille(&self) -> u64 {
        let scaled = u128::from(self.bytes_written) * 1000;
        let ratio = scaled.checked_div(u128::from(self.bytes_encoded)).unwrap_or(1000);
        u64::try_from(ratio).unwrap_or(u64::MAX)
    }
}

/// One segment of the log, for drawing and for judging.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct SegmentView {
    /// The partition it belongs to.
    pub partition: u16,
    /// Its index in the file of that partition.
    pub segment: u32,
    /// What it is.
    pub state: SegmentState,
    /// The stream it was opened for.
    pub stream: u8,
    /// Bytes of records that are needed.
    pub live_bytes: u64,
    /// Bytes of records that nothing needs any more.
    pub stale_bytes: u64,
    /// Bytes of the segment.
    pub capacity_bytes: u64,
    /// How often it was erased.
    pub erases: u32,
}

impl SegmentView {
    pub(crate) fn new(partition: u16, index: u32, segment: &Segment, segment_bytes: u32) -> Self {
        Self {
            partition,
            segment: index,
            state: segment.state(),
            stream: segment.stream(),
            live_bytes: u64::from(segment.live_bytes()),
            stale_bytes: u64::from(segment.stale_bytes()),
            capacity_bytes: u64::from(segment_bytes),
            erases: segment.erases,
        }
    }
}
