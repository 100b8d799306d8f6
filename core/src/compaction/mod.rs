//! Compaction as its user sees it: tasks, their progress and what they report.
//!
//! The tasks run inside the [tier machine](crate::machine), which owns the log they act on. A task is queued, runs in bounded
//! steps between the tier's other work, can be cancelled at any step, and ends with one [`Report`], which bears the
//! [`TaskId`] that the task got when it was queued.

mod ask;
mod compact;
mod evict;
mod expire;
mod kinds;
mod mover;
mod pace;
mod places;
mod rebuild;
mod report;
mod retire;
mod sample;
mod task;
mod tasks;
mod tidy;

pub use kinds::{CompactionTask, REPORTS_KEPT, TASK_QUEUE_CAPACITY, TasksFull};
pub(crate) use mover::Mover;
pub use pace::Pace;
pub use report::{Outcome, PoolOutcome, Progress, Report, RunningTask, Victims};
pub(crate) use retire::Retire;
pub(crate) use tasks::Tasks;
pub(crate) use tidy::Tidy;

pub use crate::drive::TaskId;
