//! How a thread asks the pool worker.

use core::time::Duration;
use std::time::Instant;

use coldpress_core::cleanup::{
    CleanupKind, CleanupReply, CleanupRequest, Owed, Reclaimed, ReplySink, Ticket,
};
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, TrySendError, bounded};

use super::error::PoolError;
use super::hot::HotPools;
use super::opened::next_ticket;
use super::worker::discard;
use crate::observe::{CleanupCause, Explanation};

/// Marks tickets issued here, in the index that the requesters' own tables do not reach.
const TICKET_INDEX: u16 = u16::MAX;

/// Sends a reply to the channel of the requester. It never waits: a full channel loses the reply, and the requester's deadline
/// ends the request.
#[derive(Debug)]
pub(super) struct ReplyLine(Sender<CleanupReply>);

impl ReplySink for ReplyLine {
    fn deliver(&mut self, reply: CleanupReply) {
        let _ = self.0.try_send(reply);
    }
}

/// A request on its way. Dropping it anywhere answers `Disconnected` (I-REQ-1).
#[derive(Debug)]
pub(super) struct Message {
    pub(super) owed: Owed<ReplyLine>,
    pub(super) deadline: Instant,
}

impl Message {
    /// Why the cleanup is done.
    pub(super) fn cause(&self) -> CleanupCause {
        if self.owed.request().ticket.index == TICKET_INDEX {
            CleanupCause::Requested
        } else {
            CleanupCause::CompactionAsked
        }
    }
}

/// Asks the pool worker for cleanups, and leads to the hot pools. Clone it for each thread that wants one.
#[derive(Debug, Clone)]
pub struct PoolCoordinator {
    requests: Sender<Message>,
    /// The receiving side of the same channel, for a request that was left in it when the worker ended.
    left: Receiver<Message>,
    hot: HotPools,
    timeout: Duration,
}

impl PoolCoordinator {
    pub(super) fn new(
        (requests, left): (Sender<Message>, Receiver<Message>),
        hot: HotPools,
        timeout: Duration,
    ) -> Self {
        Self { requests, left, hot, timeout }
    }

    /// Returns the handle to the values in the pools.
    #[must_use]
    pub fn hot(&self) -> HotPools {
        self.hot
    }

    /// Returns how long a cleanup is waited for.
    #[must_use]
    pub fn timeout(&self) -> Duration {
        self.timeout
    }

    /// Tells whether the pools were closed: their [`AllocationManager`](super::AllocationManager) was dropped, or its worker died.
    /// Then no request is taken and no value is kept.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.hot.opened.has_ended()
    }

    /// Explains the last cleanups and evictions, the newest last.
    ///
    /// # Errors
    /// [`PoolError::Closed`].
    ///
    /// # Bounds
    /// The last 256 of each kind are kept.
    pub fn explanations(&self) -> Result<Vec<Explanation>, PoolError> {
        self.hot.opened.explanations()
    }

    /// How many requests the worker has not taken yet.
    #[cfg(test)]
    pub(super) fn waiting(&self) -> usize {
        self.requests.len()
    }

    /// Asks for a cleanup without waiting. The reply comes to `reply` with the ticket returned here.
    ///
    /// The reply is never waited for on the other side either: `reply` needs space for as many replies as its owner has
    /// requests outstanding. An accepted request gets one reply (I-REQ-1); the worker gives up a tenth of the time before the
    /// deadline and answers with what it had done by then, marked as partial.
    ///
    /// # Errors
    /// `QueueFull`, or `Disconnected` when the worker is gone; then no reply will come.
    pub fn request(&self, kind: CleanupKind, reply: Sender<CleanupReply>) -> Result<Ticket, PoolError> {
        let ticket = Ticket { index: TICKET_INDEX, generation: next_ticket() };
        self.submit(CleanupRequest { ticket, kind }, reply)?;
        Ok(ticket)
    }

    /// Sends a request whose ticket was issued by the requester's own
    /// [`Outstanding`](coldpress_core::cleanup::Outstanding) table.
    ///
    /// # Errors
    /// As for [`request`](Self::request).
    pub fn submit(&self, request: CleanupRequest, reply: Sender<CleanupReply>) -> Result<(), PoolError> {
        let message =
            Message { owed: Owed::new(request, ReplyLine(reply)), deadline: Instant::now() + self.timeout };
        let refuse = |message: Message, error| {
            // Never accepted: the error is the outcome, and no reply is owed.
            message.owed.withdraw();
            Err(error)
        };
        if self.hot.opened.has_ended() {
            return refuse(message, PoolError::Disconnected);
        }
        match self.requests.try_send(message) {
            Ok(()) => {
                // Sent while the worker ended: perhaps no other thread takes the request from the channel any more.
                if self.hot.opened.has_ended() {
                    discard(&self.left);
                }
                Ok(())
            }
            Err(TrySendError::Full(message)) => refuse(message, PoolError::QueueFull),
            Err(TrySendError::Disconnected(message)) => refuse(message, PoolError::Disconnected),
        }
    }

    /// Gives memory back until the pools are below the low watermark: free pages, then expired values, then the coldest. Waits
    /// until the deadline. Returns the bytes given back to the operating system (I-POOL-2). Where time ran out these are from a
    /// part of the work: [`cleanup`](Self::cleanup) tells that.
    ///
    /// # Errors
    /// [`PoolError`]; after `TimedOut` the work may still be done.
    pub fn emergency_cleanup(&self) -> Result<u64, PoolError> {
        Ok(self.cleanup(CleanupKind::EmergencyCleanup)?.bytes)
    }

    /// Moves values together and gives emptied pages back; drops nothing. Waits until the deadline. Returns the bytes given
    /// back to the operating system (I-POOL-2). Where time ran out these are from a part of the work:
    /// [`cleanup`](Self::cleanup) tells that.
    ///
    /// # Errors
    /// [`PoolError`]; after `TimedOut` the work may still be done.
    pub fn trigger_defragmentation(&self) -> Result<u64, PoolError> {
        Ok(self.cleanup(CleanupKind::TriggerDefragmentation)?.bytes)
    }

    /// Asks for a cleanup and waits for it until the deadline. Returns all that it did, and whether work is left.
    ///
    /// # Errors
    /// [`PoolError`]; after `TimedOut` the work may still be done.
    pub fn cleanup(&self, kind: CleanupKind) -> Result<Reclaimed, PoolError> {
        // A channel per call: a reply that comes too late finds nobody, so it answers nobody else (I-REQ-2).
        let (reply, replies) = bounded(1);
        let ticket = self.request(kind, reply)?;
        match replies.recv_timeout(self.timeout) {
            Ok(reply) if reply.ticket == ticket => Ok(reply.result?),
            Ok(_) => Err(PoolError::Failed),
            Err(RecvTimeoutError::Timeout) => Err(PoolError::TimedOut),
            Err(RecvTimeoutError::Disconnected) => Err(PoolError::Disconnected),
        }
    }
}

/// Gives memory back until the pools are below the low watermark; see [`PoolCoordinator::emergency_cleanup`].
///
/// # Errors
/// [`PoolError`].
pub fn emergency_cleanup(coordinator: &PoolCoordinator) -> Result<u64, PoolError> {
    coordinator.emergency_cleanup()
}

/// Moves values together and gives emptied pages back; see [`PoolCoordinator::trigger_defragmentation`].
///
/// # Errors
/// [`PoolError`].
pub fn trigger_defragmentation(coordinator: &PoolCoordinator) -> Result<u64, PoolError> {
    coordinator.trigger_defragmentation()
}
