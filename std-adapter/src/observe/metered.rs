//! Counters, gauges and histograms of tiers and pools.
//!
//! A meter takes its instruments when a tier or its pools are opened, so that recording one figure costs no look-up. Counts are
//! handed on as differences: a tier that is opened again begins at zero, and its counters go on.

use core::fmt::Debug;
use core::sync::atomic::Ordering::Relaxed;
use core::time::Duration;

use coldpress_core::cleanup::Reclaimed;
use coldpress_core::compaction::Report;
use metrics::{Counter, Gauge, Histogram, Label, Unit};

use super::latency::Timed;
use super::pool_stats::PoolStats;
use super::stats::PartitionReading;

/// A counter, and what it was given.
struct Count {
    counter: Counter,
    given: u64,
}

impl Count {
    fn new(name: &'static str, unit: Unit, says: &'static str, labels: &[Label]) -> Self {
        metrics::describe_counter!(name, unit, says);
        Self { counter: metrics::counter!(name, labels.iter()), given: 0 }
    }

    fn follow(&mut self, count: u64) {
        let more = count.saturating_sub(self.given);
        self.given = count;
        if more > 0 {
            self.counter.increment(more);
        }
    }
}

fn gauge(name: &'static str, unit: Unit, says: &'static str, labels: &[Label]) -> Gauge {
    metrics::describe_gauge!(name, unit, says);
    metrics::gauge!(name, labels.iter())
}

fn seconds(name: &'static str, says: &'static str, labels: &[Label]) -> Histogram {
    metrics::describe_histogram!(name, Unit::Seconds, says);
    metrics::histogram!(name, labels.iter())
}

#[expect(clippy::cast_precision_loss, reason = "a gauge is a float; the stats stay below 2^53")]
fn set(gauge: &Gauge, value: u64) {
    gauge.set(value as f64);
}

/// The names and readings of what one partition counts.
const TIER_COUNTS: [(&str, Unit, &str, Reading); 22] = [
    ("coldpress_puts_total", Unit::Count, "Puts taken", |r| r.counts.puts.load(Relaxed)),
    ("coldpress_unchanged_puts_total", Unit::Count, "Puts of the value that was there", |r| {
        r.counts.unchanged_puts.load(Relaxed)
    }),
    ("coldpress_gets_total", Unit::Count, "Gets", |r| r.counts.gets.load(Relaxed)),
    ("coldpress_hits_total", Unit::Count, "Gets that found a value", |r| r.counts.hits.load(Relaxed)),
    ("coldpress_hot_hits_total", Unit::Count, "Hits from the pools", |r| r.counts.hot_hits.load(Relaxed)),
    ("coldpress_pending_hits_total", Unit::Count, "Hits from writes on their way", |r| {
        r.counts.pending_hits.load(Relaxed)
    }),
    ("coldpress_removes_total", Unit::Count, "Removes", |r| r.counts.removes.load(Relaxed)),
    ("coldpress_refused_puts_total", Unit::Count, "Puts refused", |r| r.counts.refused_puts.load(Relaxed)),
    ("coldpress_evicted_records_total", Unit::Count, "Records dropped for room", |r| {
        r.counts.evicted_records.load(Relaxed)
    }),
    ("coldpress_expired_records_total", Unit::Count, "Records dropped as expired or idle", |r| {
        r.counts.expired_records.load(Relaxed)
    }),
    ("coldpress_swept_pieces_total", Unit::Count, "Pieces of replaced long values removed", |r| {
        r.counts.swept_pieces.load(Relaxed)
    }),
    ("coldpress_damaged_reads_total", Unit::Count, "Gets of damaged records", |r| {
        r.counts.damaged_reads.load(Relaxed)
    }),
    ("coldpress_bytes_put_total", Unit::Bytes, "Keys and values as put", |r| {
        r.counts.bytes_put.load(Relaxed)
    }),
    ("coldpress_bytes_encoded_total", Unit::Bytes, "Fresh records as written", |r| r.worker.bytes_encoded),
    ("coldpress_bytes_written_total", Unit::Bytes, "All bytes written", |r| r.worker.bytes_written),
    ("coldpress_bytes_moved_total", Unit::Bytes, "Records relocated", |r| r.worker.bytes_moved),
    ("coldpress_log_bytes_reclaimed_total", Unit::Bytes, "Log freed, less what was written for it", |r| {
        r.worker.log_bytes_reclaimed
    }),
    ("coldpress_pool_bytes_reclaimed_total", Unit::Bytes, "Pool pages given back for compaction", |r| {
        r.worker.pool_bytes_reclaimed
    }),
    ("coldpress_erases_total", Unit::Count, "Segments erased", |r| r.worker.erases),
    ("coldpress_failures_total", Unit::Count, "Operations of the medium that failed", |r| r.worker.failures),
    ("coldpress_sync_failures_total", Unit::Count, "Syncs that failed", |r| r.worker.sync_failures),
    ("coldpress_shortages_total", Unit::Count, "Times that free segments ran short", |r| r.worker.shortages),
];

/// The names and readings of what one partition has.
const TIER_STATES: [(&str, Unit, &str, Reading); 15] = [
    ("coldpress_keys", Unit::Count, "Keys that have a value", |r| r.keys),
    ("coldpress_pending_bytes", Unit::Bytes, "Writes on their way", |r| r.pending_bytes),
    ("coldpress_charged_bytes", Unit::Bytes, "Charged against the capacity", |r| r.charged_bytes),
    ("coldpress_charge_bytes_max", Unit::Bytes, "The most that can be charged", |r| {
        r.worker.charge_bytes_max
    }),
    ("coldpress_needs_reopen", Unit::Count, "1 when the tier must be opened again", |r| {
        u64::from(r.needs_reopen)
    }),
    ("coldpress_found_damaged_records", Unit::Count, "Damaged records that the open found", |r| {
        r.worker.damaged_records
    }),
    ("coldpress_found_torn_records", Unit::Count, "Torn last records that the open found", |r| {
        u64::from(r.worker.torn_records)
    }),
    ("coldpress_found_torn_segments", Unit::Count, "Torn segments that the open found", |r| {
        u64::from(r.worker.torn_segments)
    }),
    ("coldpress_found_quarantined_segments", Unit::Count, "Unreadable segments that the open found", |r| {
        u64::from(r.worker.found_quarantined_segments)
    }),
    ("coldpress_live_bytes", Unit::Bytes, "Records that are needed", |r| r.worker.live_bytes),
    ("coldpress_stale_bytes", Unit::Bytes, "Records that are not", |r| {
        r.worker.used_bytes.saturating_sub(r.worker.live_bytes)
    }),
    ("coldpress_occupied_bytes", Unit::Bytes, "Segments with anything in them", |r| r.worker.occupied_bytes),
    ("coldpress_free_segments", Unit::Count, "Segments that are free", |r| u64::from(r.worker.free_segments)),
    ("coldpress_quarantined_segments", Unit::Count, "Segments kept for their damage", |r| {
        u64::from(r.worker.quarantined_segments)
    }),
    ("coldpress_debt_permille", Unit::Count, "How far free segments are below the high watermark", |r| {
        u64::from(r.worker.debt_permille)
    }),
];

type Reading = fn(&PartitionReading<'_>) -> u64;

/// The instruments of one partition.
pub(crate) struct TierMeter {
    labels: Vec<Label>,
    put: Histogram,
    get: Histogram,
    sync: Histogram,
    counts: Vec<(Count, Reading)>,
    states: Vec<(Gauge, Reading)>,
}

impl TierMeter {
    pub(crate) fn new(tier: &str, partition: u16) -> Self {
        let labels =
            vec![Label::new("tier", tier.to_owned()), Label::new("partition", partition.to_string())];
        metrics::describe_counter!("coldpress_compactions_total", Unit::Count, "Tasks that ended");
        Self {
            put: seconds("coldpress_put_seconds", "Puts that were taken", &labels),
            get: seconds("coldpress_get_seconds", "Gets", &labels),
            sync: seconds("coldpress_sync_seconds", "Syncs", &labels),
            counts: TIER_COUNTS
                .iter()
                .map(|(name, unit, says, reading)| (Count::new(name, *unit, says, &labels), *reading))
                .collect(),
            states: TIER_STATES
                .iter()
                .map(|(name, unit, says, reading)| (gauge(name, *unit, says, &labels), *reading))
                .collect(),
            labels,
        }
    }

    /// Adds how long an operation took.
    pub(crate) fn latency(&self, timed: Timed, took: Duration) {
        let histogram = match timed {
            Timed::Put => &self.put,
            Timed::Get => &self.get,
            Timed::Sync => &self.sync,
        };
        histogram.record(took.as_secs_f64());
    }

    /// Counts a task that ended.
    pub(crate) fn compaction(&self, report: &Report) {
        let mut labels = self.labels.clone();
        labels.push(Label::new("task", report.task.to_string()));
        let took = Duration::from_millis(report.duration_ms).as_secs_f64();
        seconds("coldpress_compaction_seconds", "Tasks from start to end", &labels).record(took);
        labels.push(Label::new("outcome", format!("{:?}", report.outcome).to_lowercase()));
        metrics::counter!("coldpress_compactions_total", labels.iter()).increment(1);
    }

    /// Hands on what was counted and what there is.
    pub(crate) fn stats(&mut self, partition: &PartitionReading<'_>) {
        for (count, reading) in &mut self.counts {
            count.follow(reading(partition));
        }
        for (gauge, reading) in &self.states {
            set(gauge, reading(partition));
        }
    }
}

/// The instruments of the pools of one manager.
pub(crate) struct PoolMeter {
    labels: Vec<Label>,
    hits: Count,
    misses: Count,
    committed: Gauge,
    live: Gauge,
    requested: Gauge,
    pages: Gauge,
    external: Gauge,
    internal: Gauge,
}

impl PoolMeter {
    pub(crate) fn new(pools: &str) -> Self {
        let labels = vec![Label::new("pools", pools.to_owned())];
        let bytes = |name, says| gauge(name, Unit::Bytes, says, &labels);
        let count = |name, says| Count::new(name, Unit::Count, says, &labels);
        metrics::describe_counter!("coldpress_pool_cleanups_total", Unit::Count, "Cleanups that ended");
        metrics::describe_counter!(
            "coldpress_pool_bytes_released_total",
            Unit::Bytes,
            "Pages given back to the operating system"
        );
        Self {
            hits: count("coldpress_pool_hits_total", "Reads that found their value"),
            misses: count("coldpress_pool_misses_total", "Reads that did not"),
            committed: bytes("coldpress_pool_committed_bytes", "Pages taken from the operating system"),
            live: bytes("coldpress_pool_live_bytes", "Slots in use"),
            requested: bytes("coldpress_pool_requested_bytes", "Values in them"),
            pages: gauge("coldpress_pool_pages", Unit::Count, "Pages taken", &labels),
            external: gauge(
                "coldpress_pool_external_fragmentation_permille",
                Unit::Count,
                "1 - live / committed",
                &labels,
            ),
            internal: gauge(
                "coldpress_pool_internal_fragmentation_permille",
                Unit::Count,
                "1 - requested / live",
                &labels,
            ),
            labels,
        }
    }

    /// Counts a cleanup that ended.
    pub(crate) fn cleanup(&self, kind: &'static str, reclaimed: &Reclaimed, error: Option<impl Debug>) {
        let mut labels = self.labels.clone();
        labels.push(Label::new("kind", kind));
        metrics::counter!("coldpress_pool_bytes_released_total", labels.iter()).increment(reclaimed.bytes);
        let outcome = error.map_or_else(|| "done".to_owned(), |error| format!("{error:?}").to_lowercase());
        labels.push(Label::new("outcome", outcome));
        metrics::counter!("coldpress_pool_cleanups_total", labels.iter()).increment(1);
    }

    /// Measures the pools.
    pub(crate) fn stats(&mut self, stats: &PoolStats) {
        self.hits.follow(stats.hits);
        self.misses.follow(stats.misses);
        set(&self.committed, stats.committed_bytes);
        set(&self.live, stats.live_bytes);
        set(&self.requested, stats.requested_bytes);
        set(&self.pages, u64::from(stats.pages));
        set(&self.external, u64::from(stats.external_permille));
        set(&self.internal, u64::from(stats.internal_permille));
    }
}
