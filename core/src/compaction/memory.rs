//! The memory of tasks: their queue, the running one, the engines that serve tasks alone, eviction, tidying, and reports.
//!
//! An adapter lends it to the machine, or does not: a device that schedules no task keeps this RAM for itself.

use core::fmt;

use heapless::Deque;

use super::compact;
use super::evict::Evict;
use super::expire::Expire;
use super::kinds::{CompactionTask, REPORTS_KEPT, TASK_QUEUE_CAPACITY, TasksFull};
use super::rebuild::Rebuild;
use super::report::{Report, RunningTask};
use super::sample::Sampling;
use super::task::{State, Task};
use super::tidy::Tidy;
use crate::cleanup::Outstanding;
use crate::drive::{Now, Poll, TaskId};
use crate::writer::Log;

/// Memory for the tasks of a machine, for eviction and for the tidying at rest.
///
/// An adapter that schedules no task, evicts nothing and tidies nothing needs none. One value serves one machine at a time.
/// An unused one is all zeros, so a `static` of it takes no space in an image.
#[derive(Default)]
pub struct TaskMemory(TaskPlace);

impl TaskMemory {
    /// Bytes of RAM that it takes.
    pub const RAM_BYTES: usize = size_of::<Self>();

    /// Memory that no machine uses yet; usable in a `static`.
    #[must_use]
    pub const fn new() -> Self {
        Self(TaskPlace::Unused)
    }

    /// The state of no task, in place of all that it held.
    pub(super) fn begin(&mut self) -> Option<&mut TaskState> {
        self.0 = TaskPlace::Used(TaskState::new(TaskId::FIRST));
        match &mut self.0 {
            TaskPlace::Unused => None,
            TaskPlace::Used(state) => Some(state),
        }
    }
}

impl fmt::Debug for TaskMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TaskMemory").finish_non_exhaustive()
    }
}

/// An option whose empty value is all zeros.
#[derive(Default)]
#[repr(u8)]
#[expect(clippy::large_enum_variant, reason = "an adapter lends the memory of the larger one")]
enum TaskPlace {
    #[default]
    Unused = 0,
    Used(TaskState) = 1,
}

/// The tasks that wait, run or have ended, and the engines beside.
#[derive(Debug)]
pub(crate) struct TaskState {
    pub(super) queue: Deque<(TaskId, CompactionTask), TASK_QUEUE_CAPACITY>,
    /// The id of the task that is queued next.
    next_id: TaskId,
    pub(super) task: Option<Task>,
    reports: Deque<Report, REPORTS_KEPT>,
    pub(super) outstanding: Outstanding<2>,
    pub(super) rebuild: Rebuild,
    /// Whether the next `RebuildIndex` gives up segments that can't be read.
    pub(super) gives_up: bool,
    pub(super) sampling: Sampling,
    pub(super) expire: Expire,
    pub(super) evict: Evict,
    pub(super) tidy: Tidy,
}

impl TaskState {
    fn new(next_id: TaskId) -> Self {
        Self {
            queue: Deque::new(),
            next_id,
            task: None,
            reports: Deque::new(),
            outstanding: Outstanding::new(),
            rebuild: Rebuild::default(),
            gives_up: false,
            sampling: Sampling::default(),
            expire: Expire::default(),
            evict: Evict::default(),
            tidy: Tidy::default(),
        }
    }

    /// Forgets all tasks, but not the last id issued: an adapter may still know some.
    pub(super) fn restart(&mut self) {
        *self = Self::new(self.next_id);
    }

    pub(super) fn schedule(&mut self, task: CompactionTask) -> Result<TaskId, TasksFull> {
        let id = self.next_id;
        self.queue.push_back((id, task)).map_err(|(_, task)| TasksFull(task))?;
        self.next_id = id.next();
        Ok(id)
    }

    pub(super) fn has_task(&self, id: TaskId) -> bool {
        self.queue.iter().any(|(queued, _)| *queued == id)
            || self.task.as_ref().is_some_and(|task| task.report.id == id)
    }

    pub(super) fn has_report(&self, id: TaskId) -> bool {
        self.reports.iter().any(|report| report.id == id)
    }

    pub(super) fn take_report(&mut self) -> Option<Report> {
        self.reports.pop_front()
    }

    pub(super) fn progress(&self) -> Option<RunningTask> {
        self.task.as_ref().map(|t| RunningTask { id: t.report.id, task: t.report.task, progress: t.progress })
    }

    /// Whether no task waits or runs.
    pub(super) fn is_idle(&self) -> bool {
        self.task.is_none() && self.queue.is_empty()
    }

    /// Begins the task that was queued first.
    pub(super) fn start(&mut self, now: Now, log: &Log<'_>) -> Poll {
        let Some((id, kind)) = self.queue.pop_front() else { return Poll::Idle };
        let (state, total) = match kind {
            CompactionTask::CompactData => {
                let below = log.sequence_next();
                // The last unit of the progress is done when the victims are free.
                (State::Compacting { below }, compact::left_bytes(log, below) + 1)
            }
            CompactionTask::RebuildIndex => {
                self.rebuild = Rebuild::new(core::mem::take(&mut self.gives_up));
                (State::Rebuilding, log.segments.tally().used_bytes + 1)
            }
            CompactionTask::CleanupExpired => {
                self.expire = Expire::default();
                (State::Expiring, 1)
            }
            CompactionTask::OptimizeCompression => {
                self.sampling = Sampling::default();
                (State::Sampling, u64::from(log.layout.config().samples) + 1)
            }
        };
        self.task = Some(Task::new(Report::new(id, kind), state, total, now.monotonic_ms, log));
        Poll::Again
    }

    /// Keeps the report of a task that ended.
    pub(super) fn finish(&mut self, now: Now, log: &Log<'_>, task: &Task) {
        if self.reports.is_full() {
            self.reports.pop_front();
        }
        let _ = self.reports.push_back(task.finish(now.monotonic_ms, log));
    }
}
