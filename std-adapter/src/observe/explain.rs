//! Explanations: why compaction, cleanups, evictions and refusals happened, as data.

use core::fmt;
use core::time::Duration;
use std::time::Instant;

use coldpress_core::cleanup::{CleanupError, CleanupKind, Reclaimed};
use coldpress_core::compaction::Report;
use coldpress_core::segments::VictimReason;

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
    /// How long it took; of several events, all together. Zero for evictions from the pools, which are not timed.
    pub took: Duration,
    /// The number of events: evictions and refusals of one cause within one second are merged.
    pub events: u64,
    /// The event.
    pub kind: Explained,
    /// By this, explanations of several sources are put in order.
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
    /// Values were dropped for space.
    Evicted(Eviction),
    /// A write was refused.
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
    /// Bytes that clients had appended since it was sealed. `None` where only a dead segment was taken.
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
    /// Why it is not whole, where it failed.
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
    /// A put found the capacity taken.
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
    /// Values.
    pub records: u64,
    /// Their bytes: of records with their pieces in a log, of values in the pools.
    pub bytes: u64,
    /// How long the coldest of them had been neither read nor written; `None` where nothing counts that.
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
    /// Too many writes wait for the log.
    Busy,
    /// The disk has no space.
    NoSpace,
    /// The medium failed.
    Medium,
    /// The deadline passed while it waited for its durability.
    TimedOut,
    /// The tier takes no writes: it is closed, poisoned, worn out, lost its file, or must be opened again.
    Unavailable,
}

/// Writes that were refused for one cause.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct RefusedWrite {
    /// The partition; `None` where it has none.
    pub partition: Option<u16>,
    /// The operation.
    pub operation: RefusedOperation,
    /// Why.
    pub cause: RefusalCause,
    /// Bytes of charge that the last one needed, where it lacked capacity.
    pub needed: Option<u64>,
    /// Bytes of charge that were available then.
    pub available: Option<u64>,
    /// The longest that one of them waited before it was refused.
    pub waited: Duration,
}

impl Explained {
    /// Adds an event of the same cause; tells whether it was one.
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
        match &self.kind {
            Explained::Cleaned(one) => write!(f, "{one}, and took {:?}", self.took),
            Explained::Task { partition, report } => write!(
                f,
                "the task '{}' of partition {partition} ended {:?}: {} segments freed, {} bytes relocated, {:?}",
                report.task, report.outcome, report.victims.freed, report.relocated_bytes, self.took
            ),
            Explained::PoolCleanup(one) => write!(f, "{one}, and took {:?}", self.took),
            Explained::Evicted(one) => write!(f, "{one}"),
            Explained::Refused(one) => write!(f, "{} × {one}", self.events),
        }
    }
}

impl fmt::Display for CleanedSegment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { partition, segment, reason, relocated_bytes, freed_bytes, .. } = self;
        write!(
            f,
            "segment {segment} of partition {partition} was cleaned ({reason:?}, {} of 1000 live): {relocated_bytes} bytes \
             were relocated, {freed_bytes} freed; it waited {:?} for slices and {:?} for syncs",
            self.live_permille(),
            self.waited_for_slices,
            self.waited_for_syncs
        )
    }
}

impl fmt::Display for ExplainedCleanup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, cause, reclaimed, error, waited } = self;
        let Reclaimed { bytes, relocated_bytes, dropped_objects, is_partial, .. } = reclaimed;
        let cause = match cause {
            CleanupCause::Requested => "a client asked",
            CleanupCause::CompactionAsked => "compaction asked",
            CleanupCause::HighWatermark => "the high watermark was reached",
            CleanupCause::InsertWithoutSpace => "an insert found no space",
        };
        write!(f, "the pools were cleaned up ({kind:?}) because {cause}: {bytes} bytes were given back, ")?;
        write!(f, "{relocated_bytes} moved, {dropped_objects} values dropped; it waited {waited:?}")?;
        match error {
            Some(error) => write!(f, ", failed ({error})"),
            None if *is_partial => f.write_str(", has work left"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Eviction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { from, cause, records, bytes, idle_s_max } = self;
        let cause = match cause {
            EvictionCause::CapacityTaken => "a put found the capacity taken",
            EvictionCause::InsertWithoutSpace => "an insert found no space",
            EvictionCause::Cleanup => "a cleanup went down to the low watermark",
        };
        write!(f, "{records} values of {bytes} bytes were evicted from ")?;
        match from {
            EvictedFrom::Log(partition) => write!(f, "partition {partition}")?,
            EvictedFrom::Pools => f.write_str("the pools")?,
            EvictedFrom::HotTier => f.write_str("the hot tier")?,
        }
        write!(f, " because {cause}")?;
        idle_s_max.map_or(Ok(()), |idle_s| write!(f, "; the coldest was not used for {idle_s} s"))
    }
}

impl fmt::Display for RefusedWrite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let operation = match self.operation {
            RefusedOperation::Put => "a put",
            RefusedOperation::Touch => "a touch",
            RefusedOperation::Move => "a move",
        };
        let cause = match self.cause {
            RefusalCause::Full => "the capacity is taken",
            RefusalCause::Busy => "too many writes wait for the log",
            RefusalCause::NoSpace => "the disk has no space",
            RefusalCause::Medium => "the medium failed",
            RefusalCause::TimedOut => "its deadline passed",
            RefusalCause::Unavailable => "the tier takes no writes",
        };
        write!(f, "{operation} was refused after {:?} because {cause}", self.waited)?;
        match (self.needed, self.available) {
            (Some(needed), Some(available)) => {
                write!(f, ": it needed {needed} bytes, {available} were available")
            }
            _ => Ok(()),
        }
    }
}
