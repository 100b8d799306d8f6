//! Compaction: the tasks, their progress and reports, and the engines that do the work.
//!
//! The tasks run inside the [tier machine](crate::machine), which owns the log they act on. A task is queued, runs in bounded
//! steps between the tier's other work, and can be cancelled at any step. It ends with one [`Report`], which bears the
//! [`TaskId`] that the task got when it was queued.

mod ask;
mod cleaner;
mod compact;
mod debt;
mod deeds;
mod effort;
mod evict;
mod expire;
mod kinds;
mod memory;
mod pace;
mod places;
mod rebuild;
mod reclaim;
mod report;
mod reread;
mod sample;
mod task;
mod tasks;
mod tidy;
mod undo;

pub use cleaner::Cleaning;
pub(crate) use debt::debt_permille;
pub use effort::Effort;
pub use kinds::{CompactionTask, REPORTS_KEPT, TASK_QUEUE_CAPACITY, TasksFull};
pub use memory::TaskMemory;
pub use pace::Pace;
pub(crate) use reclaim::Reclaimer;
pub use report::{Outcome, PoolOutcome, Progress, Report, RunningTask, Victims};
pub(crate) use tasks::Tasks;

pub use crate::drive::TaskId;
