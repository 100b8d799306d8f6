//! Metrics, counts, and explanations of single events.
//!
//! The metrics go to the `metrics` facade where the feature of that name is on. Elsewhere the same calls do nothing. The names, units and labels are in `metrics.md`, which is part of the documentation of this crate; a test holds both together.

mod analysis;
mod explain;
mod explanations;
mod latency;
#[cfg(feature = "metrics")]
mod metered;
mod pool_stats;
mod rounded;
mod segment_view;
#[cfg(not(feature = "metrics"))]
mod silent;
mod table;

pub use self::analysis::Analysis;
pub use self::explain::{
    CleanedSegment, CleanupCause, EvictedFrom, Eviction, EvictionCause, Explained, ExplainedCleanup,
    Explanation, RefusalCause, RefusedOperation, RefusedWrite,
};
pub(crate) use self::explanations::{Explanations, in_order};
pub(crate) use self::latency::{Latencies, LatencySum, Timed};
#[cfg(feature = "metrics")]
pub(crate) use self::metered::{PoolMeter, TierMeter};
pub use self::pool_stats::{PageView, PoolStats};
pub use self::segment_view::SegmentView;
#[cfg(not(feature = "metrics"))]
pub(crate) use self::silent::{PoolMeter, TierMeter};
pub use self::table::TierStats;
pub(crate) use self::table::{Counts, PartitionState, WorkerStats};

/// How often the pools are measured, where that is asked for at all.
pub(crate) const POOLS_EVERY: core::time::Duration =
    core::time::Duration::from_secs(if cfg!(feature = "metrics") { 1 } else { 3600 });
