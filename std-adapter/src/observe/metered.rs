//! Counters, gauges and histograms of tiers and pools.
//!
//! A meter takes its instruments when a tier or its pools are opened, so that recording one figure costs no look-up. Counts are
//! handed on as differences: a tier that is opened again begins at zero, and its counters go on.

use core::fmt::Debug;
use core::time::Duration;

use coldpress_core::cleanup::Reclaimed;
use coldpress_core::compaction::Report;
use metrics::{Counter, Gauge, Histogram, Label, Unit};

use super::latency::Timed;
use super::pool_stats::PoolStats;
use super::table::{Counts, MetricKind, PartitionState, TIER_METRICS, WorkerStats};

/// A counter, and the count that it has.
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

type Read = fn(&Counts, &WorkerStats, &PartitionState) -> u64;

/// The instruments of one partition.
pub(crate) struct TierMeter {
    labels: Vec<Label>,
    put: Histogram,
    get: Histogram,
    sync: Histogram,
    counts: Vec<(Count, Read)>,
    states: Vec<(Gauge, Read)>,
}

impl TierMeter {
    pub(crate) fn new(tier: &str, partition: u16) -> Self {
        let labels =
            vec![Label::new("tier", tier.to_owned()), Label::new("partition", partition.to_string())];
        let of_kind = |kind| TIER_METRICS.iter().filter(move |row| row.kind == kind);
        metrics::describe_counter!("coldpress_compactions_total", Unit::Count, "Tasks that ended.");
        Self {
            put: seconds(
                "coldpress_put_seconds",
                "Puts that were taken, with what they waited for.",
                &labels,
            ),
            get: seconds("coldpress_get_seconds", "Gets, hit or miss.", &labels),
            sync: seconds(
                "coldpress_sync_seconds",
                "Syncs of the medium; their number is that of the syncs.",
                &labels,
            ),
            counts: of_kind(MetricKind::counter)
                .map(|row| (Count::new(row.name, row.unit, row.text.trim(), &labels), row.read))
                .collect(),
            states: of_kind(MetricKind::gauge)
                .map(|row| (gauge(row.name, row.unit, row.text.trim(), &labels), row.read))
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
        seconds("coldpress_compaction_seconds", "Tasks from start to end.", &labels).record(took);
        labels.push(Label::new("outcome", format!("{:?}", report.outcome).to_lowercase()));
        metrics::counter!("coldpress_compactions_total", labels.iter()).increment(1);
    }

    /// Hands on the counts and the state.
    pub(crate) fn stats(&mut self, counts: &Counts, worker: &WorkerStats, state: &PartitionState) {
        for (count, read) in &mut self.counts {
            count.follow(read(counts, worker, state));
        }
        for (gauge, read) in &self.states {
            set(gauge, read(counts, worker, state));
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
        metrics::describe_counter!("coldpress_pool_cleanups_total", Unit::Count, "Cleanups that ended.");
        metrics::describe_counter!(
            "coldpress_pool_bytes_released_total",
            Unit::Bytes,
            "Pages that these gave back to the operating system."
        );
        Self {
            hits: count("coldpress_pool_hits_total", "Reads of the pools that found their value."),
            misses: count("coldpress_pool_misses_total", "Reads that did not."),
            committed: bytes("coldpress_pool_committed_bytes", "Pages taken from the operating system."),
            live: bytes("coldpress_pool_live_bytes", "Slots in use."),
            requested: bytes("coldpress_pool_requested_bytes", "Values in them."),
            pages: gauge("coldpress_pool_pages", Unit::Count, "Pages taken.", &labels),
            external: gauge(
                "coldpress_pool_external_fragmentation_permille",
                Unit::Count,
                "1 − live ÷ committed, in thousandths.",
                &labels,
            ),
            internal: gauge(
                "coldpress_pool_internal_fragmentation_permille",
                Unit::Count,
                "1 − requested ÷ live, in thousandths.",
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
