//! The tasks that a tier can be asked to do.

use core::fmt;

/// No task is taken now: the queue is full, the machine is closing or broken, or it has no memory for tasks. The task comes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct TasksFull(
    /// The task.
    pub CompactionTask,
);

impl fmt::Display for TasksFull {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no task is taken now: eight wait already, or the tier takes none")
    }
}

impl core::error::Error for TasksFull {}

/// How many tasks can wait; one more is given back.
pub const TASK_QUEUE_CAPACITY: usize = 8;

const _: () = assert!(TASK_QUEUE_CAPACITY == 8, "the text of `TasksFull` states it");

/// How many reports of tasks that ended a tier keeps until they are taken; the oldest goes first.
pub const REPORTS_KEPT: usize = 2;

/// A task that a tier does in the background.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum CompactionTask {
    /// Relocates live records out of the segments with the most stale bytes and frees these, then asks the pools to defragment.
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
