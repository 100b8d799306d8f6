//! The state of the store as the page and `/stats` show it.

use core::fmt::Write as _;

use coldpress_std::cache::{CacheStats, MaintenanceDone, MaintenanceReport, UnifiedCacheHandle};
use coldpress_std::compaction::Report;
use coldpress_std::pool::{PoolCoordinator, PoolStats};
use coldpress_std::{ColdTierHandle, Explained, Explanation, SegmentView, TierStats};
use serde_bytes::ByteBuf;
use serde_json::{Value, json};

/// The state of the store at one time.
#[derive(Debug)]
pub(crate) struct StoreView {
    cache: CacheStats,
    pub(crate) tier: TierStats,
    pub(crate) pools: PoolStats,
    segments: Vec<SegmentView>,
    running: Option<Value>,
    explanations: Vec<Explanation>,
}

impl StoreView {
    pub(super) fn of(
        cache: &UnifiedCacheHandle<ByteBuf, ByteBuf>,
        cold: ColdTierHandle,
        pools: &PoolCoordinator,
    ) -> Self {
        let compaction = cold.compaction();
        let running = compaction.progress().map(|(task, progress)| {
            json!({"task": task.to_string(), "done": progress.done, "total": progress.total,
                   "permille": progress.permille()})
        });
        let stats = cache.stats();
        Self {
            cache: stats,
            tier: stats.cold,
            pools: pools.hot().stats().unwrap_or_default(),
            // A tier that is closing has none to show.
            segments: cold.segments().unwrap_or_default(),
            running,
            explanations: explanations(cache),
        }
    }

    /// Hits by tier, and the reads that found nothing, which mostly ask the index alone.
    pub(crate) const fn hits(&self, missed: u64) -> [(&'static str, u64); 4] {
        let cache = &self.cache;
        [("hot", cache.hot_hits), ("warm", cache.warm_hits), ("cold", cache.cold_hits), ("missed", missed)]
    }

    pub(crate) fn json(&self, missed: u64) -> Value {
        let (cache, tier, pools) = (&self.cache, &self.tier, &self.pools);
        let hits: Value =
            self.hits(missed).iter().map(|(name, count)| ((*name).to_owned(), json!(count))).collect();
        let newest = self.segments.iter().map(|segment| segment.sequence).max().unwrap_or(0);
        let segments = self.segments.iter().map(|segment| {
            json!([
                segment.partition,
                segment.segment,
                format!("{:?}", segment.state).to_lowercase(),
                segment.live_bytes,
                segment.stale_bytes,
                segment.capacity_bytes,
                newest - segment.sequence,
                segment.erases,
            ])
        });
        let pages = pools.page_views.iter();
        json!({
            "hits": hits,
            "logged_keys": tier.keys,
            "dirty_bytes": cache.dirty_bytes, "dirty_bytes_max": cache.dirty_bytes_max,
            "hot": {
                "entries": cache.hot.entries, "bytes": cache.hot.bytes, "bytes_max": cache.hot.bytes_max,
                "evictions": cache.hot.evictions, "promotions": cache.promotions,
                "demoted_warm": cache.demoted_warm, "dropped": cache.dropped, "expired": cache.expired,
            },
            "log": {
                "capacity_bytes": tier.capacity_bytes, "occupied_bytes": tier.occupied_bytes,
                "live_bytes": tier.live_bytes, "stale_bytes": tier.stale_bytes,
                "pending_bytes": tier.pending_bytes, "charged_bytes": tier.charged_bytes,
                "charge_bytes_max": tier.charge_bytes_max, "free_segments": tier.free_segments,
                "debt_permille": tier.debt_permille, "bytes_put": tier.bytes_put,
                "bytes_written": tier.bytes_written, "relocated_bytes": tier.relocated_bytes,
                "write_amplification_permille": tier.write_amplification_permille(),
                "log_bytes_reclaimed": tier.log_bytes_reclaimed, "compactions": tier.compactions,
                "evicted_records": tier.evicted_records, "expired_records": tier.expired_records,
                "refused_puts": tier.refused_puts, "syncs": tier.syncs, "failures": tier.failures,
                "index_bytes": tier.index_bytes, "recovered_records": tier.recovered_records,
                "needs_reopen": tier.needs_reopen,
            },
            "pools": {
                "committed_bytes": pools.committed_bytes, "live_bytes": pools.live_bytes,
                "requested_bytes": pools.requested_bytes, "pages": pools.pages,
                "external_permille": pools.external_permille, "internal_permille": pools.internal_permille,
            },
            "segment_columns": ["partition", "segment", "state", "live", "stale", "capacity", "age", "erases"],
            "segments": segments.collect::<Value>(),
            "page_columns": ["partition", "slot_bytes", "used_slots", "slots"],
            "pages": pages
                .map(|page| json!([page.partition, page.class_bytes, page.used_slots, page.slots]))
                .collect::<Value>(),
            "running": self.running,
            "explanations": self.explanations
                .iter()
                .map(|one| json!({"at_s": one.at_s, "events": one.events, "text": one.to_string()}))
                .collect::<Value>(),
        })
    }
}

/// Explanations that are shown, and those of them that tell of a single segment: else these would be all.
const EXPLANATIONS_MAX: usize = 32;
const SEGMENTS_EXPLAINED_MAX: usize = 8;

/// The last explanations of all tiers, the newest first.
fn explanations(cache: &UnifiedCacheHandle<ByteBuf, ByteBuf>) -> Vec<Explanation> {
    // A cache that is closing explains nothing any more.
    let mut all = cache.explanations().unwrap_or_default();
    all.reverse();
    let mut segments = 0;
    all.retain(|one| {
        let is_segment = matches!(one.kind, Explained::Cleaned(_));
        segments += usize::from(is_segment);
        !is_segment || segments <= SEGMENTS_EXPLAINED_MAX
    });
    all.truncate(EXPLANATIONS_MAX);
    all
}

/// Says what a maintenance task did.
pub(super) fn report(report: &MaintenanceReport) -> String {
    let ms = report.took.as_millis();
    match &report.done {
        MaintenanceDone::Log { report, .. } => sentence(report),
        MaintenanceDone::Pools(done) => {
            format!("{}: {} given back by the pools, in {ms} ms.", report.task, size(done.bytes))
        }
        MaintenanceDone::Written { values } => {
            format!("{}: {values} values written, and everything is synced, in {ms} ms.", report.task)
        }
        MaintenanceDone::Verified { values, bytes, damaged, is_partial, .. } => {
            let all = if *is_partial { "not all keys were read in time" } else { "all keys were read" };
            let bytes = size(*bytes);
            format!("{}: {values} values of {bytes}, {damaged} damaged, {all}, in {ms} ms.", report.task)
        }
        other => format!("{}: {other:?}", report.task),
    }
}

/// Says what a task of the log did.
fn sentence(report: &Report) -> String {
    let counts = [
        (u64::from(report.victims.freed), "segments freed"),
        (u64::from(report.relocated_records), "records relocated"),
        (u64::from(report.expired_records), "expired records dropped"),
        (report.checked_records, "records checked"),
        (u64::from(report.repaired_records), "index entries put right"),
        (u64::from(report.damaged_records), "damaged records found"),
    ];
    let mut text = format!("{}: {}", report.task, report.outcome);
    for (count, name) in counts.iter().filter(|(count, _)| *count > 0) {
        let _ = write!(text, ", {count} {name}");
    }
    if report.log_bytes_reclaimed > 0 {
        let _ = write!(text, ", {} reclaimed in the log", size(report.log_bytes_reclaimed));
    }
    if report.pool.reclaimed_bytes() > 0 {
        let _ = write!(text, ", {} given back by the pools", size(report.pool.reclaimed_bytes()));
    }
    if let Some(codec) = report.codec {
        let _ = write!(text, ", new records are encoded with {codec}");
    }
    let _ = write!(text, ", in {} ms", report.duration_ms);
    if let Some(first) = report.victims.first {
        let _ = write!(text, ". The first segment was chosen because {}", first.reason);
    }
    text.push('.');
    text
}

/// A number of bytes in the unit that a person reads.
fn size(bytes: u64) -> String {
    match bytes {
        0..1024 => format!("{bytes} bytes"),
        1024..1_048_576 => format!("{} KiB", bytes >> 10),
        _ => format!("{} MiB", bytes >> 20),
    }
}
