//! The messages to a worker, and their senders.

use core::time::Duration;
use std::time::Instant;

use coldpress_core::compaction::{CompactionTask, Report, TasksFull};
use coldpress_core::format::KeyHash;
use crossbeam_channel::Sender;
use tracing::Span;

use crate::config::Durability;
use crate::errors::{CloseError, TierError};
use crate::observe::SegmentView;
use crate::pool::PoolCoordinator;

/// A message to a worker.
pub(crate) enum Message {
    /// The pending write of a key is to be appended, if it still is pending.
    Dirty { hash: KeyHash, waiter: Option<Waiter> },
    /// Everything sent before is to be written, or made durable.
    Flush(Waiter),
    /// A client waits for space.
    Nudge,
    /// Runs a task.
    Schedule { task: CompactionTask, accepted: Sender<Result<(), TasksFull>>, scheduled: Scheduled },
    /// Ends the running task.
    Cancel,
    /// The wall clock is right, however far it jumped.
    ConfirmClock,
    /// The next `RebuildIndex` gives up what can't be read.
    GiveUpUnread,
    /// Starts the background worker, or ends it.
    Background(Option<Background>),
    /// Shows the segments.
    Segments(Sender<Vec<SegmentView>>),
    /// Writes and syncs the rest, and ends; at `ends_ms` in any case.
    Close { ends_ms: u64, outcome: Sender<Result<(), CloseError>>, span: Span },
}

/// A task's surroundings.
#[derive(Debug)]
pub(crate) struct Scheduled {
    /// The receiver of its report, and of no other report of its kind.
    pub(crate) report: Option<Sender<Report>>,
    /// The pools that it asks; those of the tier where there are none.
    pub(crate) pools: Option<PoolCoordinator>,
    /// Lasts from the moment it is scheduled to its end.
    pub(crate) span: Span,
}

/// The settings of the background worker: the interval of its tasks, and the pools that they ask.
#[derive(Debug, Clone)]
pub(crate) struct Background {
    pub(crate) interval: Duration,
    pub(crate) pools: Option<PoolCoordinator>,
}

/// The waiter of a write, and the durability that it waits for.
#[derive(Debug)]
pub(crate) struct Waiter {
    pub(crate) durability: Durability,
    pub(crate) reply: Sender<Result<(), TierError>>,
    /// When the client stops waiting at the latest.
    pub(crate) deadline: Instant,
    /// The span of the client while it waits; disabled where it is not worth recording.
    pub(crate) span: Span,
}
