//! The messages to a worker, and their senders.

use core::time::Duration;
use std::time::Instant;

use coldpress_core::compaction::{CompactionTask, Report, TasksFull};
use coldpress_core::format::KeyHash;
use crossbeam_channel::{Receiver, Sender, bounded, unbounded};
use tracing::Span;

use super::reply::Reply;
use crate::config::Durability;
use crate::directory::LogDigest;
use crate::errors::{CloseError, TierError};
use crate::observe::SegmentView;
use crate::pool::PoolCoordinator;
use crate::recycled::Gone;

/// Writes of so many bytes are appended at once: gathered, they would fall out of the processor's caches.
const BYTES_WITHOUT_TIME: u64 = 4 << 10;

/// A message to a worker.
pub(crate) enum Message {
    /// The pending write of a key is to be appended, if it still is pending. One that nobody waits for may have time until others come.
    Dirty { hash: KeyHash, waiter: Option<Waiter>, has_time: bool },
    /// Everything sent before is to be written, or made durable.
    Flush(Waiter),
    /// A client waits for space.
    Nudge,
    /// Runs a task.
    Schedule { task: CompactionTask, accepted: Reply<Result<(), TasksFull>>, scheduled: Scheduled },
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
    /// Holds segments for a backup.
    #[cfg(feature = "archive")]
    Hold(super::holding::HoldRequest),
    /// Writes and syncs the rest, and ends; at `ends_ms` in any case.
    Close { ends_ms: u64, outcome: Sender<Result<LogDigest, CloseError>>, span: Span },
}

impl Message {
    /// A write, of which so many bytes were put. Short ones have time: waking a worker takes longer than to append one.
    pub(crate) fn write(hash: KeyHash, waiter: Option<Waiter>, bytes_put: u64) -> Self {
        let has_time = waiter.is_none() && bytes_put < BYTES_WITHOUT_TIME;
        Self::Dirty { hash, waiter, has_time }
    }

    /// Whether a worker that naps is woken for it.
    const fn is_urgent(&self) -> bool {
        !matches!(self, Self::Dirty { has_time: true, .. })
    }
}

/// The sending end of a worker's queue.
#[derive(Debug)]
pub(crate) struct MessageSender {
    messages: Sender<Message>,
    urgent: Sender<()>,
}

impl MessageSender {
    /// Makes a queue: both ends, and the channel by which a worker that naps learns of an urgent message.
    ///
    /// Each write and each other message has a place reserved before it is sent, which is given back no earlier than the message is
    /// taken out. There is at most one nudge, and one close. So the queue is bounded, and takes memory for its messages only. A
    /// bounded channel would take the memory of all places from the start, 1.2 MiB.
    pub(crate) fn new() -> (Self, Receiver<Message>, Receiver<()>) {
        let (messages, receiver) = unbounded();
        let (urgent, urgent_receiver) = bounded(1);
        (Self { messages, urgent }, receiver, urgent_receiver)
    }

    /// Sends a message.
    ///
    /// # Errors
    /// [`Gone`] where the worker is.
    pub(crate) fn send(&self, message: Message) -> Result<(), Gone> {
        let is_urgent = message.is_urgent();
        self.messages.send(message).map_err(|_| Gone)?;
        if is_urgent {
            // Where one is on its way, it is enough: the worker looks into the queue after it took that.
            let _ = self.urgent.try_send(());
        }
        Ok(())
    }
}

/// A task's surroundings.
#[derive(Debug)]
pub(crate) struct Scheduled {
    /// The receiver of its report, and of no other report of its kind.
    pub(crate) report: Option<Reply<Report>>,
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
    pub(crate) reply: Reply<Result<(), TierError>>,
    /// When the client stops waiting at the latest.
    pub(crate) deadline: Instant,
    /// The span of the client while it waits; disabled where it is not worth recording.
    pub(crate) span: Span,
}

impl Waiter {
    /// Tells whether the client has stopped waiting: its deadline has passed, or it is a future that was dropped.
    pub(crate) fn is_gone(&self, now: Instant) -> bool {
        self.deadline <= now || self.reply.is_dropped()
    }
}
