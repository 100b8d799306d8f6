//! Explanations: why compaction, cleanups, evictions and refusals happened, as data.

use core::fmt;
use core::time::Duration;
use std::time::Instant;

use coldpress_core::cleanup::{CleanupError, CleanupKind, Reclaimed};
use coldpress_core::compaction::Report;
use coldpress_core::segments::VictimReason;

use super::rounded::{Counted, RoundedBytes, RoundedTime};

/// An event and its reason.
///
/// Its text is one sentence for a log or a screen:
///
/// ```
/// use coldpress_std::{ColdTier, ColdTierConfig, CompactionTask, Explained};
/// use core::time::Duration;
///
/// let base_dir = tempfile::tempdir()?;
/// let config = ColdTierConfig::builder().base_dir(base_dir.path()).capacity_bytes(16 << 20).build()?;
/// let tier = ColdTier::with_own_pools(config, "sessions")?;
/// tier.compaction().run_compaction(CompactionTask::CompactData, Duration::from_secs(60))?;
/// let explanations = tier.explanations()?;
/// assert!(explanations.iter().any(|one| matches!(one.kind, Explained::Task { partition: 0, .. })));
/// for explanation in explanations {
///     println!("{explanation}");
/// }
/// # Ok::<(), Box<dyn core::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Explanation {
    /// The wall clock of the system at its end, in seconds since 1970; of the last event where several are merged.
    pub at_s: u32,
    /// How long it took; of several events, all together. Zero for evictions from memory, which are not timed.
    pub took: Duration,
    /// The number of events, 1 for most: evictions and refusals of one cause within one second are merged. Each evicted value and
    /// each refused write is an event.
    pub events: u64,
    /// The event.
    pub kind: Explained,
    /// The end, by which explanations of several sources are put in order.
    pub(crate) ended: Instant,
}

/// The kinds of events.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Explained {
    /// A segment was cleaned.
    Cleaned(CleanedSegment),
    /// A task ended.
    Task {
        /// Its partition.
        partition: u16,
        /// Its report.
        report: Box<Report>,
    },
    /// Memory of the pools was given back, or values were moved together.
    PoolCleanup(ExplainedCleanup),
    /// Values left a tier for space: they were dropped, or went to a tier below.
    Evicted(Eviction),
    /// Writes were refused.
    Refused(RefusedWrite),
}

/// Why and how a segment was cleaned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct CleanedSegment {
    /// Its partition.
    pub partition: u16,
    /// Its index in the file of that partition.
    pub segment: u32,
    /// Why it was chosen.
    pub reason: VictimReason,
    /// Bytes of its live records when it was chosen.
    pub live_bytes: u64,
    /// Bytes of its records then, live and stale. [`live_permille`](Self::live_permille) compares both.
    pub used_bytes: u64,
    /// Bytes that clients had appended to the log since it was sealed. `None` where a dead segment was taken without cleaning.
    pub age_bytes: Option<u64>,
    /// Records relocated, or replaced by a tombstone.
    pub relocated_records: u32,
    /// Bytes of records relocated.
    pub relocated_bytes: u64,
    /// Bytes of the segment that was freed; 0 where something live is left in it, so that it stays.
    pub freed_bytes: u64,
    /// How long it waited for slices of the budget.
    pub waited_for_slices: Duration,
    /// How long it then waited until its copies and its erase were durable.
    pub waited_for_syncs: Duration,
}

impl CleanedSegment {
    /// The share of its records that was live, in thousandths.
    #[must_use]
    pub fn live_permille(&self) -> u16 {
        let permille = (self.live_bytes * 1000).checked_div(self.used_bytes).unwrap_or(0);
        u16::try_from(permille.min(1000)).unwrap_or(1000)
    }
}

/// Why the pools were cleaned up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum CleanupCause {
    /// A client asked.
    Requested,
    /// A compaction task asked.
    CompactionAsked,
    /// They held more than the high watermark allows.
    HighWatermark,
    /// An insert found no space.
    InsertWithoutSpace,
}

/// Why and how pools were cleaned up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct ExplainedCleanup {
    /// The cleanup.
    pub kind: CleanupKind,
    /// Why.
    pub cause: CleanupCause,
    /// Bytes and pages given back, bytes moved, values dropped, and whether the time was up first.
    pub reclaimed: Reclaimed,
    /// Why it failed; `None` where it did not.
    pub error: Option<CleanupError>,
    /// How long it waited for its turn, and for slices of the budget.
    pub waited: Duration,
}

/// From where values were evicted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum EvictedFrom {
    /// The log of this partition.
    Log(u16),
    /// The pools.
    Pools,
    /// The hot tier of a cache: to a tier below, where the value is worth that or nothing else has it.
    HotTier,
}

/// Why values were evicted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum EvictionCause {
    /// A value came while the capacity was taken.
    CapacityTaken,
    /// An insert into the pools took the place of the coldest value of its size.
    InsertWithoutSpace,
    /// A cleanup brought the pools below their low watermark.
    Cleanup,
}

/// Values that were evicted for one cause.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Eviction {
    /// From where.
    pub from: EvictedFrom,
    /// Why.
    pub cause: EvictionCause,
    /// The number of values.
    pub records: u64,
    /// Their bytes: in a log those of records and pieces, in the pools those of values, in the hot tier their
    /// [weight](crate::cache::HotTierStats::bytes).
    pub bytes: u64,
    /// How long the coldest of them had been neither read nor written, in seconds, counted from the open at the earliest; in a log too
    /// long by at most a 64th of the time since the open. `None` where nothing counts that.
    pub idle_s_max: Option<u32>,
}

/// The write that was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum RefusedOperation {
    /// A put, of any kind.
    Put,
    /// A touch.
    Touch,
    /// A promotion or demotion within a cache.
    Move,
}

/// Why a write was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum RefusalCause {
    /// The capacity is taken.
    Full,
    /// Too many writes, or too many dirty bytes of a cache, wait for the log.
    Busy,
    /// The disk has no space.
    NoSpace,
    /// The medium failed.
    Medium,
    /// The deadline passed while it waited for its durability, or in a cache for its key.
    TimedOut,
    /// The tier takes no writes: it is closed, poisoned, worn out, lost its file, or must be opened again.
    Unavailable,
}

/// Writes that were refused for one cause.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct RefusedWrite {
    /// The partition of the key.
    pub partition: Option<u16>,
    /// The operation.
    pub operation: RefusedOperation,
    /// Why.
    pub cause: RefusalCause,
    /// Bytes of charge that the last one needed, where it lacked capacity.
    pub needed: Option<u64>,
    /// Bytes of charge that were available then; where a cache had too many dirty bytes, those below that limit.
    pub available: Option<u64>,
    /// The longest that one of them waited before it was refused.
    pub waited: Duration,
}

impl Explained {
    /// Adds an event if it is of the same cause; tells whether it is.
    pub(super) fn merge(&mut self, other: &Self) -> bool {
        match (self, other) {
            (Self::Evicted(sum), Self::Evicted(one)) if (sum.from, sum.cause) == (one.from, one.cause) => {
                sum.records += one.records;
                sum.bytes += one.bytes;
                sum.idle_s_max = sum.idle_s_max.max(one.idle_s_max);
                true
            }
            (Self::Refused(sum), Self::Refused(one))
                if (sum.partition, sum.operation, sum.cause) == (one.partition, one.operation, one.cause) =>
            {
                (sum.needed, sum.available) = (one.needed, one.available);
                sum.waited = sum.waited.max(one.waited);
                true
            }
            _ => false,
        }
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let took = RoundedTime(self.took);
        match &self.kind {
            Explained::Cleaned(one) => write!(f, "{one}; it took {took}"),
            Explained::Task { partition, report } => write!(
                f,
                "the task '{}' of partition {partition} ended after {took} ({}): {} freed, {} relocated",
                report.task,
                report.outcome,
                Counted(report.victims.freed.into(), "segment", "segments"),
                RoundedBytes(report.relocated_bytes)
            ),
            Explained::PoolCleanup(one) => write!(f, "{one}; it took {took}"),
            Explained::Evicted(one) => write!(f, "{one}"),
            Explained::Refused(one) => one.write(self.events, f),
        }
    }
}

impl fmt::Display for CleanedSegment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { partition, segment, reason, .. } = self;
        write!(
            f,
            "segment {segment} of partition {partition} was cleaned because {reason}: {} relocated, {} freed",
            RoundedBytes(self.relocated_bytes),
            RoundedBytes(self.freed_bytes)
        )?;
        let waits = [(self.waited_for_slices, "slices"), (self.waited_for_syncs, "syncs")];
        for (waited, what) in waits.into_iter().filter(|(waited, _)| !waited.is_zero()) {
            write!(f, ", {} waited for {what}", RoundedTime(waited))?;
        }
        Ok(())
    }
}

impl fmt::Display for ExplainedCleanup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, cause, reclaimed, error, waited } = self;
        let Reclaimed { bytes, relocated_bytes, dropped_objects, is_partial, .. } = reclaimed;
        let done = match kind {
            CleanupKind::TriggerDefragmentation => "defragmented",
            _ => "cleaned up",
        };
        let cause = match cause {
            CleanupCause::Requested => "a client asked",
            CleanupCause::CompactionAsked => "compaction asked",
            CleanupCause::HighWatermark => "the high watermark was reached",
            CleanupCause::InsertWithoutSpace => "an insert found no space",
        };
        write!(
            f,
            "the pools were {done} because {cause}: {} given back, {} moved, {} dropped",
            RoundedBytes(*bytes),
            RoundedBytes(*relocated_bytes),
            Counted(u64::from(*dropped_objects), "value", "values")
        )?;
        if !waited.is_zero() {
            write!(f, ", {} waited", RoundedTime(*waited))?;
        }
        match error {
            Some(error) => write!(f, ", failed ({error})"),
            None if *is_partial => f.write_str(", work is left"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Eviction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { from, cause, records, bytes, idle_s_max } = self;
        let cause = match cause {
            EvictionCause::CapacityTaken => "the capacity was taken",
            EvictionCause::InsertWithoutSpace => "an insert found no space",
            EvictionCause::Cleanup => "a cleanup went down to the low watermark",
        };
        let (values, were) =
            (Counted(*records, "value", "values"), if *records == 1 { "was" } else { "were" });
        write!(f, "{values} of {} {were} evicted from ", RoundedBytes(*bytes))?;
        match from {
            EvictedFrom::Log(partition) => write!(f, "partition {partition}")?,
            EvictedFrom::Pools => f.write_str("the pools")?,
            EvictedFrom::HotTier => f.write_str("the hot tier")?,
        }
        write!(f, " because {cause}")?;
        idle_s_max.map_or(Ok(()), |idle_s| write!(f, "; the coldest was not used for {idle_s} s"))
    }
}

impl RefusedWrite {
    /// Writes the sentence for so many of them.
    fn write(&self, events: u64, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (one, many) = match self.operation {
            RefusedOperation::Put => ("put was", "puts were"),
            RefusedOperation::Touch => ("touch was", "touches were"),
            RefusedOperation::Move => ("move was", "moves were"),
        };
        let cause = match self.cause {
            RefusalCause::Full => "the capacity was taken",
            RefusalCause::Busy => "too many writes waited for the log",
            RefusalCause::NoSpace => "the disk had no space",
            RefusalCause::Medium => "the medium failed",
            RefusalCause::TimedOut => "the deadline passed",
            RefusalCause::Unavailable => "the tier took no writes",
        };
        write!(f, "{} refused because {cause}, ", Counted(events, one, many))?;
        let (waited, last) = if events == 1 { ("", "it") } else { ("the longest ", "the last") };
        write!(f, "{waited}after {}", RoundedTime(self.waited))?;
        match (self.needed, self.available) {
            (Some(needed), Some(available)) => {
                // Exact: the difference may be a few bytes.
                write!(f, "; {last} needed {needed} bytes, and {available} were available")
            }
            _ => Ok(()),
        }
    }
}

impl fmt::Display for RefusedWrite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write(1, f)
    }
}
