//! What threads use to reach a tier.

use core::fmt;
use core::sync::atomic::Ordering::Relaxed;
use core::time::Duration;
use std::time::Instant;

use crossbeam_channel::{Receiver, RecvTimeoutError, TrySendError, bounded};

use super::config::Durability;
use super::error::TierError;
use super::figures::{SegmentView, TierFigures};
use super::gate::{Gate, Message, Open, Waiter};
use super::iterate::Keys;
use super::shell::Shell;
use crate::compaction::CompactionSystem;

/// How long is waited at a time before the health of the tier is looked at.
const WAIT_SLICE: Duration = Duration::from_millis(50);

/// Reaches an open tier from any thread. It is `Copy`; after the tier was closed, every operation is
/// [`TierError::Closed`].
///
/// Operations wait at most the configured `op_timeout`.
#[derive(Clone, Copy)]
pub struct ColdTierHandle {
    pub(super) gate: &'static Gate,
    pub(super) generation: u64,
}

impl fmt::Debug for ColdTierHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ColdTierHandle").field("generation", &self.generation).finish_non_exhaustive()
    }
}

impl ColdTierHandle {
    pub(crate) fn enter<R>(&self, look: impl FnOnce(&Open) -> R) -> Result<R, TierError> {
        self.gate.enter(self.generation, look)
    }

    /// Tells whether the tier is open and its workers are alive.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.enter(|open| !open.parts.iter().any(|part| part.shell.health.is_poisoned())).unwrap_or(false)
    }

    /// Returns how many keys have a value. Keys that expired count until they are dropped.
    ///
    /// # Errors
    /// [`TierError::Closed`].
    pub fn len(&self) -> Result<u64, TierError> {
        self.enter(|open| open.parts.iter().map(|part| part.shell.sums.keys.load(Relaxed)).sum())
    }

    /// Tells whether no key has a value.
    ///
    /// # Errors
    /// [`TierError::Closed`].
    pub fn is_empty(&self) -> Result<bool, TierError> {
        Ok(self.len()? == 0)
    }

    /// Makes everything put or removed so far durable: it survives a power cut.
    ///
    /// # Errors
    /// [`TierError`].
    pub fn flush(&self) -> Result<(), TierError> {
        self.flush_to(Durability::Synced)
    }

    /// Makes everything put or removed so far as durable as asked.
    ///
    /// # Errors
    /// [`TierError`].
    pub fn flush_to(&self, durability: Durability) -> Result<(), TierError> {
        if durability == Durability::Buffered {
            return Ok(());
        }
        let answers = self.ask(|reply| Message::Flush(Waiter { durability, reply }))?;
        answers.iter().try_for_each(|answer| answer.wait()?)
    }

    /// Iterates over the keys, in no order. See [`Keys`] for what it sees of writes meanwhile.
    #[must_use]
    pub fn keys(&self) -> Keys {
        Keys::new(*self)
    }

    /// Returns what the tier counted; all zero once it is closed.
    #[must_use]
    pub fn figures(&self) -> TierFigures {
        self.enter(|open| {
            let mut figures =
                TierFigures { capacity_bytes: open.limits.capacity_bytes, ..TierFigures::default() };
            for part in &open.parts {
                let shell = part.shell;
                figures.add_board(&shell.board.lock());
                shell.counts.add_to(&mut figures);
                let weight = shell.weight();
                figures.keys += weight.keys;
                figures.charged_bytes += weight.charge;
                figures.pending_bytes += weight.pending_bytes;
                figures.index_bytes += shell.index_bytes();
                let longest = shell.longest_record.load(Relaxed);
                figures.charge_bytes_max +=
                    open.limits.charge_bytes_max(&open.terms, longest, shell.quarantined.load(Relaxed));
            }
            figures.requests = figures.puts + figures.gets + figures.removes;
            figures
        })
        .unwrap_or_default()
    }

    /// Shows the segments of all partitions.
    ///
    /// # Errors
    /// [`TierError`].
    pub fn segments(&self) -> Result<Vec<SegmentView>, TierError> {
        let mut views = Vec::new();
        for answer in self.ask(Message::Segments)? {
            views.extend(answer.wait()?);
        }
        Ok(views)
    }

    /// Checks the sums that capacity is kept by against a recount of the whole index: keys, charged bytes, pending bytes.
    /// Exact only while nothing else uses the tier.
    ///
    /// # Errors
    /// [`TierError::Closed`].
    ///
    /// # Bounds
    /// Looks at every key.
    pub fn is_recount_exact(&self) -> Result<bool, TierError> {
        self.enter(|open| {
            open.parts.iter().all(|part| part.shell.recount(&open.terms) == part.shell.weight())
        })
    }

    /// Returns the compaction of this tier.
    #[must_use]
    pub fn compaction(&self) -> CompactionSystem {
        CompactionSystem::over(*self)
    }

    /// Sends a question to every partition.
    pub(crate) fn ask<R>(
        &self,
        question: impl Fn(crossbeam_channel::Sender<R>) -> Message,
    ) -> Result<Vec<Answer<R>>, TierError> {
        self.enter(|open| {
            let deadline = Instant::now() + open.limits.op_timeout;
            let ask = |part: &super::gate::Part| {
                let (reply, receiver) = bounded(1);
                send(part, question(reply))?;
                Ok(Answer { receiver, deadline, shell: part.shell })
            };
            open.parts.iter().map(ask).collect()
        })?
    }

    /// Tells every partition.
    pub(crate) fn tell(&self, message: impl Fn() -> Message) -> Result<(), TierError> {
        self.enter(|open| open.parts.iter().try_for_each(|part| send(part, message())))?
    }
}

/// An answer that a worker owes.
pub(crate) struct Answer<R> {
    receiver: Receiver<R>,
    deadline: Instant,
    pub(crate) shell: &'static Shell,
}

impl<R> Answer<R> {
    pub(crate) fn wait(&self) -> Result<R, TierError> {
        wait_for(&self.receiver, self.deadline, self.shell)
    }
}

/// Sends a message that is no write: there is room for as many as there can be clients, so a full channel is as good as one
/// that nobody reads.
fn send(part: &super::gate::Part, message: Message) -> Result<(), TierError> {
    part.sender.try_send(message).map_err(|error| match error {
        TrySendError::Full(_) => TierError::TimedOut,
        TrySendError::Disconnected(_) => TierError::Poisoned,
    })
}

/// Waits for the answer of a worker until the deadline; a worker that died answers nobody.
pub(crate) fn wait_for<R>(receiver: &Receiver<R>, deadline: Instant, shell: &Shell) -> Result<R, TierError> {
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        match receiver.recv_timeout(left.min(WAIT_SLICE)) {
            Ok(answer) => return Ok(answer),
            Err(RecvTimeoutError::Disconnected) => return Err(TierError::Poisoned),
            Err(RecvTimeoutError::Timeout) if shell.health.is_poisoned() => return Err(TierError::Poisoned),
            Err(RecvTimeoutError::Timeout) if left.is_zero() => return Err(TierError::TimedOut),
            Err(RecvTimeoutError::Timeout) => {}
        }
    }
}
