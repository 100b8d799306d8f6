//! The report of a task, counted.

use core::fmt;

use super::kinds::CompactionTask;
use crate::cleanup::{CleanupError, Reclaimed};
use crate::codec::CodecId;
use crate::drive::TaskId;
use crate::segments::VictimChoice;

/// How far the running task is, in its own unit (bytes or records).
///
/// The total is fixed when the task begins, except for [`CleanupExpired`](CompactionTask::CleanupExpired), which can't know how
/// many records are due: its total is those that it found so far and one more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Progress {
    /// Units done. Never decreases within a task.
    pub done: u64,
    /// Units in all; at least 1 while a task runs.
    pub total: u64,
}

impl Progress {
    /// The share done, 0 to 1,000. It is 1,000 only at the end.
    #[must_use]
    pub fn permille(&self) -> u16 {
        if self.total == 0 {
            return 0;
        }
        u16::try_from(u128::from(self.done.min(self.total)) * 1000 / u128::from(self.total)).unwrap_or(1000)
    }
}

/// The running task and how far it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct RunningTask {
    /// The id that it got when it was queued.
    pub id: TaskId,
    /// The task.
    pub task: CompactionTask,
    /// How far it is.
    pub progress: Progress,
}

/// How a task ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Outcome {
    /// It did all its work.
    Completed,
    /// It did part: it was cancelled, some victims or segments were passed over, or the pools did not answer.
    Partial,
    /// There was nothing to do.
    Refused,
    /// Nothing was done, because no segment was free to do it with: a shortage comes first. Schedule it again.
    Deferred,
    /// Nothing was done, because the medium failed; nothing was lost.
    Failed,
}

impl Outcome {
    /// Returns it in words: `completed`, `partial`, `nothing to do`, `deferred` or `failed`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Completed => "completed",
            Self::Partial => "partial",
            Self::Refused => "nothing to do",
            Self::Deferred => "deferred",
            Self::Failed => "failed",
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The outcome of the request to the pools.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum PoolOutcome {
    /// Nothing was asked.
    #[default]
    NotAsked,
    /// They answered, with what they did in the time that they had.
    Done(Reclaimed),
    /// They did not do it, or not in time.
    Failed(CleanupError),
    /// For a task of several partitions: they did it for some, and for others they did not, or not in time.
    Mixed {
        /// Their work, in all.
        done: Reclaimed,
        /// The first failure.
        error: CleanupError,
    },
}

impl PoolOutcome {
    /// Whether nothing that was asked is left undone.
    #[must_use]
    pub const fn is_whole(&self) -> bool {
        match self {
            Self::NotAsked => true,
            Self::Done(reclaimed) => !reclaimed.is_partial,
            Self::Failed(_) | Self::Mixed { .. } => false,
        }
    }

    /// Bytes that went back to the pools' backing memory.
    #[must_use]
    pub const fn reclaimed_bytes(&self) -> u64 {
        match self {
            Self::Done(done) | Self::Mixed { done, .. } => done.bytes,
            Self::NotAsked | Self::Failed(_) => 0,
        }
    }
}

/// The victims of a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Victims {
    /// Segments that became free while the task ran: its own victims, and those of a shortage meanwhile.
    pub freed: u32,
    /// Segments that were passed over because something in them could not be copied.
    pub skipped: u32,
    /// The first one, and why it was chosen.
    pub first: Option<VictimChoice>,
    /// The last one, and why it was chosen.
    pub last: Option<VictimChoice>,
}

/// The report of a task. Every figure is counted, none estimated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Report {
    /// The id that the task got when it was queued.
    pub id: TaskId,
    /// The task.
    pub task: CompactionTask,
    /// How it ended.
    pub outcome: Outcome,
    /// The victims.
    pub victims: Victims,
    /// Records relocated.
    pub relocated_records: u32,
    /// Bytes of records relocated, as written.
    pub relocated_bytes: u64,
    /// Bytes written to the log while the task ran, by it and by all others: records, footers, headers, markers.
    pub bytes_written: u64,
    /// Bytes of clients' records appended while the task ran.
    pub fresh_bytes: u64,
    /// Bytes of the log freed while the task ran: of the segments erased, less what was written to relocate what was live in them.
    pub log_bytes_reclaimed: u64,
    /// The work of the pools.
    pub pool: PoolOutcome,
    /// Records looked at: verified, sampled or found expired, by the task.
    pub checked_records: u64,
    /// Records dropped because they were expired.
    pub expired_records: u32,
    /// Index entries put right.
    pub repaired_records: u32,
    /// Damaged records found and quarantined.
    pub damaged_records: u32,
    /// Segments read again, because an earlier mount could not read them whole.
    pub reread_segments: u32,
    /// Records found in those segments and put into the index, which did not know them.
    pub rescued_records: u32,
    /// Segments freed that were damaged or could not be read; their live records were relocated first.
    pub returned_segments: u32,
    /// The codec in use at the end, where the task chose one.
    pub codec: Option<CodecId>,
    /// From start to end, in milliseconds.
    pub duration_ms: u64,
}

impl Report {
    pub(crate) const fn new(id: TaskId, task: CompactionTask) -> Self {
        Self {
            id,
            task,
            outcome: Outcome::Refused,
            victims: Victims { freed: 0, skipped: 0, first: None, last: None },
            relocated_records: 0,
            relocated_bytes: 0,
            bytes_written: 0,
            fresh_bytes: 0,
            log_bytes_reclaimed: 0,
            pool: PoolOutcome::NotAsked,
            checked_records: 0,
            expired_records: 0,
            repaired_records: 0,
            damaged_records: 0,
            reread_segments: 0,
            rescued_records: 0,
            returned_segments: 0,
            codec: None,
            duration_ms: 0,
        }
    }

    /// The write amplification of the log while the task ran, in thousandths: bytes written for each byte that clients
    /// appended. `None` where they appended nothing.
    #[must_use]
    pub fn write_amplification_permille(&self) -> Option<u64> {
        self.bytes_written.saturating_mul(1000).checked_div(self.fresh_bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_reaches_the_whole_only_at_the_end() {
        assert_eq!(Progress { done: 0, total: 0 }.permille(), 0);
        assert_eq!(Progress { done: 999_999, total: 1_000_000 }.permille(), 999);
        assert_eq!(Progress { done: 7, total: 7 }.permille(), 1000);
        assert_eq!(Progress { done: u64::MAX, total: u64::MAX }.permille(), 1000);
    }
}
