//! Compaction as its user sees it: tasks, their progress and what they report.
//!
//! The tasks run inside the [tier machine](crate::tier), which owns the log they act on. A task is queued, runs in bounded
//! steps between the tier's other work, can be cancelled at any step, and ends with one [`Report`].

mod pace;
mod report;

use core::fmt;

pub use pace::{Pace, PaceConfig};
pub use report::{Outcome, PoolOutcome, Progress, Report, Victims};

/// How many tasks can wait; one more is given back.
pub const TASK_QUEUE_CAPACITY: usize = 8;

/// How many reports of tasks that ended a tier keeps until they are taken; the oldest goes first.
pub const REPORTS_KEPT: usize = 2;

/// What a tier can be asked to do in the background.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum CompactionTask {
    /// Relocates what is live out of the segments with the most stale bytes and frees them, then asks the pools to
    /// defragment.
    CompactData,
    /// Reads the whole log, verifies every checksum, reconciles the index with it, gives segments that lack one a footer by
    /// relocation, and reports damaged records.
    RebuildIndex,
    /// Drops expired records, and idle ones where the host counts them as due, then asks the pools for emergency cleanup.
    CleanupExpired,
    /// Measures the candidate codecs on live records and picks one for new and relocated records, then asks the pools for
    /// emergency cleanup if the efficiency analysis advises it.
    OptimizeCompression,
}

impl CompactionTask {
    /// All tasks.
    pub const ALL: [Self; 4] =
        [Self::CompactData, Self::RebuildIndex, Self::CleanupExpired, Self::OptimizeCompression];
}

impl fmt::Display for CompactionTask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::CompactData => "compact data",
            Self::RebuildIndex => "rebuild index",
            Self::CleanupExpired => "cleanup expired",
            Self::OptimizeCompression => "optimize compression",
        })
    }
}
