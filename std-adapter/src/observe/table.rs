//! The stats of a tier, each defined once: its meaning, who counts it, how partitions add up, and the metric that shows it.
//!
//! From the table come [`Counts`], [`WorkerStats`], [`PartitionState`] and [`TierStats`], the sums over partitions, the metrics and
//! their descriptions. The first line of a stat's comment is the description of its metric, and its row in `metrics.md`.

use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

use coldpress_core::compaction::{CompactionTask, Progress, Report};
use coldpress_core::writer::Counters;

use super::analysis::Analysis;

/// Adds the value of one partition to that of a tier.
macro_rules! combine {
    (sum, $tier:expr, $partition:expr) => {
        $tier = $tier.saturating_add($partition)
    };
    (max, $tier:expr, $partition:expr) => {
        $tier = $tier.max($partition)
    };
    (any, $tier:expr, $partition:expr) => {
        $tier |= $partition
    };
}

/// Makes the types of a table. Each row is `name: type, how partitions add up => kind of metric, its name, its unit`; the
/// metric may be missing. `clients` are counters of many threads. `machine` are those of the [`Counters`] of a partition's machine that
/// have the same name there; `worker` is what else its worker posts. `partition` is read from a partition's sums and state; `tier`
/// belongs to no partition.
macro_rules! tier_stats {
    (
        clients { $(
            #[doc = $c_text:literal] $(#[doc = $c_more:literal])*
            $c_name:ident => counter $c_metric:literal $c_unit:ident;
        )+ }
        machine { $(
            #[doc = $m_text:literal] $(#[doc = $m_more:literal])*
            $m_name:ident $(=> counter $m_metric:literal $m_unit:ident)?;
        )+ }
        worker { $(
            #[doc = $w_text:literal] $(#[doc = $w_more:literal])*
            $w_name:ident: $w_type:ty, $w_add:ident $(=> $w_kind:ident $w_metric:literal $w_unit:ident)?;
        )+ }
        partition { $(
            #[doc = $p_text:literal] $(#[doc = $p_more:literal])*
            $p_name:ident: $p_type:ty, $p_add:ident $(=> $p_kind:ident $p_metric:literal $p_unit:ident)?;
        )+ }
        tier { $(
            #[doc = $t_text:literal] $(#[doc = $t_more:literal])*
            $t_name:ident: $t_type:ty;
        )+ }
    ) => {
        /// Counts that clients and the worker of one partition keep as they go.
        #[derive(Debug, Default)]
        pub(crate) struct Counts {
            $(pub(crate) $c_name: AtomicU64,)+
        }

        /// Counts that the worker of one partition posts for all to read.
        #[derive(Debug, Clone, Copy, Default)]
        pub(crate) struct WorkerStats {
            $(pub(crate) $m_name: u64,)+
            $(pub(crate) $w_name: $w_type,)+
            pub(crate) progress: Option<(CompactionTask, Progress)>,
            pub(crate) last_report: Option<Report>,
            pub(crate) analysis: Option<Analysis>,
        }

        impl WorkerStats {
            /// Takes over what the machine counted.
            pub(crate) const fn count(&mut self, counters: &Counters) {
                $(self.$m_name = counters.$m_name;)+
            }
        }

        /// The sums and the state of one partition as they are when they are read.
        #[derive(Debug, Clone, Copy)]
        pub(crate) struct PartitionState {
            $(pub(crate) $p_name: $p_type,)+
        }

        /// The counts of a tier since it was opened, over all its partitions.
        ///
        /// Counts of operations are exact once the operations have returned. Counts of the log worker are as of its last step,
        /// at most some milliseconds ago.
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
        #[non_exhaustive]
        pub struct TierStats {
            $(#[doc = $t_text] $(#[doc = $t_more])* pub $t_name: $t_type,)+
            $(#[doc = $c_text] $(#[doc = $c_more])* pub $c_name: u64,)+
            $(#[doc = $m_text] $(#[doc = $m_more])* pub $m_name: u64,)+
            $(#[doc = $w_text] $(#[doc = $w_more])* pub $w_name: $w_type,)+
            $(#[doc = $p_text] $(#[doc = $p_more])* pub $p_name: $p_type,)+
        }

        impl TierStats {
            /// Adds what one partition counted.
            pub(crate) fn add(&mut self, counts: &Counts, worker: &WorkerStats, state: &PartitionState) {
                $(combine!(sum, self.$c_name, counts.$c_name.load(Relaxed));)+
                $(combine!(sum, self.$m_name, worker.$m_name);)+
                $(combine!($w_add, self.$w_name, worker.$w_name);)+
                $(combine!($p_add, self.$p_name, state.$p_name);)+
            }
        }

        /// The metrics of one partition.
        #[cfg(feature = "metrics")]
        pub(super) const TIER_METRICS: &[TierMetric] = &[
            $(TierMetric {
                kind: MetricKind::counter,
                name: $c_metric,
                unit: metrics::Unit::$c_unit,
                text: $c_text,
                read: |counts, _, _| counts.$c_name.load(Relaxed),
            },)+
            $($(TierMetric {
                kind: MetricKind::counter,
                name: $m_metric,
                unit: metrics::Unit::$m_unit,
                text: $m_text,
                read: |_, worker, _| worker.$m_name,
            },)?)+
            $($(TierMetric {
                kind: MetricKind::$w_kind,
                name: $w_metric,
                unit: metrics::Unit::$w_unit,
                text: $w_text,
                read: |_, worker, _| worker.$w_name.into(),
            },)?)+
            $($(TierMetric {
                kind: MetricKind::$p_kind,
                name: $p_metric,
                unit: metrics::Unit::$p_unit,
                text: $p_text,
                read: |_, _, state| state.$p_name.into(),
            },)?)+
        ];
    };
}

/// How a metric goes to the recorder, in the words of the table.
#[cfg(feature = "metrics")]
#[expect(non_camel_case_types, reason = "rows of the table name them")]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum MetricKind {
    counter,
    gauge,
}

/// One metric of a partition.
#[cfg(feature = "metrics")]
pub(super) struct TierMetric {
    pub(super) kind: MetricKind,
    pub(super) name: &'static str,
    pub(super) unit: metrics::Unit,
    pub(super) text: &'static str,
    pub(super) read: fn(&Counts, &WorkerStats, &PartitionState) -> u64,
}

tier_stats! {
    clients {
        /// Puts that were taken.
        puts => counter "coldpress_puts_total" Count;
        /// Puts that wrote nothing, since their value was there already; they are among the puts.
        ///
        /// See [`skip_unchanged`](crate::ColdTierConfigBuilder::skip_unchanged).
        unchanged_puts => counter "coldpress_unchanged_puts_total" Count;
        /// Values stored raw without a try to compress them, since many before them did not shrink.
        ///
        /// After 16 in a row, up to 256 are stored so before the next try.
        skipped_compressions => counter "coldpress_skipped_compressions_total" Count;
        /// Values that got another lifetime.
        touches => counter "coldpress_touches_total" Count;
        /// Writes that were not done, since the key did not have the value that they need.
        unmet_conditions => counter "coldpress_unmet_conditions_total" Count;
        /// Gets, hit or miss.
        gets => counter "coldpress_gets_total" Count;
        /// Gets that found a value.
        hits => counter "coldpress_hits_total" Count;
        /// Removes.
        removes => counter "coldpress_removes_total" Count;
        /// Hits served from the pools.
        hot_hits => counter "coldpress_hot_hits_total" Count;
        /// Hits served from a write on its way to the log.
        pending_hits => counter "coldpress_pending_hits_total" Count;
        /// Puts that were refused.
        refused_puts => counter "coldpress_refused_puts_total" Count;
        /// Gets that met a damaged record.
        damaged_reads => counter "coldpress_damaged_reads_total" Count;
        /// Records dropped because they were expired or idle.
        expired_records => counter "coldpress_expired_records_total" Count;
        /// Records evicted to free space.
        evicted_records => counter "coldpress_evicted_records_total" Count;
        /// Pieces of long values that were replaced, removed or left over, dropped from the log.
        swept_pieces => counter "coldpress_swept_pieces_total" Count;
        /// Bytes of keys and values as they were put.
        bytes_put => counter "coldpress_bytes_put_total" Bytes;
        /// Bytes read from the medium for clients.
        ///
        /// These are records for gets and for puts that may be unchanged, and headers and keys for
        /// [`keys`](crate::ColdTierHandle::keys).
        bytes_read => counter "coldpress_bytes_read_total" Bytes;
    }
    machine {
        /// Bytes of fresh records as written: headers included, values as encoded.
        fresh_bytes => counter "coldpress_bytes_encoded_total" Bytes;
        /// Bytes written to the medium in all.
        bytes_written => counter "coldpress_bytes_written_total" Bytes;
        /// Bytes of records relocated.
        relocated_bytes => counter "coldpress_bytes_relocated_total" Bytes;
        /// Segments erased.
        erases => counter "coldpress_erases_total" Count;
        /// Syncs.
        syncs;
        /// Operations of the medium that failed, syncs included.
        failures => counter "coldpress_failures_total" Count;
        /// Syncs that failed.
        sync_failures => counter "coldpress_sync_failures_total" Count;
        /// Times that free segments ran short.
        shortages => counter "coldpress_shortages_total" Count;
        /// Jumps of the wall clock that were refused; one that lasts counts once.
        ///
        /// Each partition counts them for itself.
        clock_refusals => counter "coldpress_clock_refusals_total" Count;
    }
    worker {
        /// Bytes of the log that compaction freed, less what it wrote for that.
        log_bytes_reclaimed: u64, sum => counter "coldpress_log_bytes_reclaimed_total" Bytes;
        /// Bytes that the pools gave back because compaction asked.
        pool_bytes_reclaimed: u64, sum => counter "coldpress_pool_bytes_reclaimed_total" Bytes;
        /// Compaction tasks that ended, of any kind.
        compactions: u64, sum;
        /// The most bytes of disk that the log's files ever took, counted at each write.
        peak_bytes: u64, sum;
        /// Bytes of disk that the log's files take now, blocks that were allocated ahead included.
        occupied_bytes: u64, sum => gauge "coldpress_occupied_bytes" Bytes;
        /// Bytes of records that are needed.
        live_bytes: u64, sum => gauge "coldpress_live_bytes" Bytes;
        /// Bytes of records that nothing needs any more.
        stale_bytes: u64, sum => gauge "coldpress_stale_bytes" Bytes;
        /// Segments that are free.
        free_segments: u32, sum => gauge "coldpress_free_segments" Count;
        /// How far free segments are below the high watermark, in thousandths; 1,000 when puts wait for compaction.
        ///
        /// It is that of the partition that is farthest.
        debt_permille: u16, max => gauge "coldpress_debt_permille" Count;
        /// Segments kept as they are because of damage.
        quarantined_segments: u32, sum => gauge "coldpress_quarantined_segments" Count;
        /// Records found when the tier was opened.
        recovered_records: u64, sum => gauge "coldpress_found_records" Count;
        /// Milliseconds that finding them took, of the slowest partition.
        recovery_ms: u64, max;
        /// Damaged records found when the tier was opened.
        damaged_records: u64, sum => gauge "coldpress_found_damaged_records" Count;
        /// Segments whose last record was torn by a cut, or is damaged, found when the tier was opened.
        torn_records: u32, sum => gauge "coldpress_found_torn_records" Count;
        /// Segments that were cut off while they were opened, found when the tier was opened.
        torn_segments: u32, sum => gauge "coldpress_found_torn_segments" Count;
        /// Segments that were neither blank nor readable, found when the tier was opened and kept as they are.
        found_quarantined_segments: u32, sum => gauge "coldpress_found_quarantined_segments" Count;
    }
    partition {
        /// Keys that have a value.
        keys: u64, sum => gauge "coldpress_keys" Count;
        /// Bytes of writes on their way to the log.
        pending_bytes: u64, sum => gauge "coldpress_pending_bytes" Bytes;
        /// Bytes charged against the capacity for live records.
        ///
        /// See [`Full`](crate::PutError::Full). While overwrites are under way it may be above the most that can be charged, by up to
        /// about a segment.
        charged_bytes: u64, sum => gauge "coldpress_charged_bytes" Bytes;
        /// The most bytes that can be charged.
        ///
        /// Less while the longest record is longer, or segments are quarantined.
        charge_bytes_max: u64, sum => gauge "coldpress_charge_bytes_max" Bytes;
        /// Whether writes are refused in a partition until the tier is closed and opened again: 1 as a metric.
        ///
        /// See [`NeedsReopen`](crate::TierError::NeedsReopen).
        needs_reopen: bool, any => gauge "coldpress_needs_reopen" Count;
        /// Seconds that the wall clock is behind the tier's time, unless that was confirmed.
        ///
        /// The wall clock was ahead before, or is wrong now: see [`confirm_clock`](crate::ColdTierHandle::confirm_clock).
        clock_behind_s: u32, max => gauge "coldpress_clock_behind_seconds" Seconds;
        /// Seconds that the wall clock is ahead, where it is being refused.
        ///
        /// See [`confirm_clock`](crate::ColdTierHandle::confirm_clock).
        clock_refused_s: Option<u32>, max;
    }
    tier {
        /// Puts, gets and removes.
        requests: u64;
        /// The limit on the bytes that the log takes.
        capacity_bytes: u64;
        /// Bytes of memory that the maps of the index take, free places and writes on their way included.
        index_bytes: u64;
    }
}

impl TierStats {
    /// Bytes written for each byte of fresh records, in thousandths; a little above 1,000 where nothing was relocated, for headers and footers.
    #[must_use]
    pub fn write_amplification_permille(&self) -> u64 {
        let scaled = u128::from(self.bytes_written) * 1000;
        let ratio = scaled.checked_div(u128::from(self.fresh_bytes)).unwrap_or(1000);
        u64::try_from(ratio).unwrap_or(u64::MAX)
    }
}
