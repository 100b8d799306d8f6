//! The names of the tasks of one machine.

use core::fmt;

/// Names a task that a machine was given, from [`schedule`](crate::machine::Tier::schedule) to its report.
///
/// Only the machine that issued it knows it. Two tasks of one kind have two ids, so a report names its task, in whatever order
/// tasks end.
///
/// # Bounds
/// Ids are 32 bits and wrap. They are issued one after the other and tasks end in the order in which they were scheduled. So an
/// id is unique among the tasks that wait, run or have a report kept:
/// [`TASK_QUEUE_CAPACITY`](crate::compaction::TASK_QUEUE_CAPACITY) + 1 + [`REPORTS_KEPT`](crate::compaction::REPORTS_KEPT) at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct TaskId(u32);

impl TaskId {
    /// The id of the first task of a machine.
    pub(crate) const FIRST: Self = Self(0);

    /// The id of the task that is scheduled after this one.
    pub(crate) const fn next(self) -> Self {
        Self(self.0.wrapping_add(1))
    }

    /// The number, for a log.
    #[must_use]
    pub const fn number(self) -> u32 {
        self.0
    }
}

impl fmt::Display for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn task_id_behind_the_last_number_is_the_first() {
        assert_eq!(TaskId(u32::MAX).next(), TaskId::FIRST);
        assert_ne!(TaskId::FIRST.next(), TaskId::FIRST);
        assert_eq!(TaskId::FIRST.next().number(), 1);
    }
}
