//! The pool cleanup protocol: how a tier asks the owner of the pools for memory.
//!
//! Two sides that never share state:
//!
//! ```text
//!  requester                                             owner of the pools
//!  Outstanding::issue ──CleanupRequest──► RequestQueue ──► Owed ─┐
//!        ▲                                                       │ steps of the pool
//!        └── accept / keep ◄───────────CleanupReply──────────────┘
//! ```
//!
//! The requester never waits. It issues a [`Ticket`] with a deadline, goes on, and takes the first of three as the outcome: the
//! reply, the deadline ([`Outstanding::expire`]) or its own cancellation. A later reply carries a generation that is no longer
//! current, and is dropped: it can't answer a later request (I-REQ-2).
//!
//! The owner holds each accepted request as an [`Owed`], a value that can be spent once. Answering consumes it;
//! losing it answers too, so a request that was accepted gets exactly one reply (I-REQ-1).
//!
//! ```
//! use coldpress_core::cleanup::{CleanupKind, Outstanding, Owed, Reclaimed, RequestQueue};
//!
//! let mut table: Outstanding<4> = Outstanding::new();
//! let mut queue: RequestQueue<8> = RequestQueue::new();
//!
//! // The requester, at 1,000 ms, gives the owner 500 ms.
//! let request = table.issue(CleanupKind::EmergencyCleanup, 1_000, 500)?;
//! queue.push(request)?;
//!
//! // The owner.
//! if let Some(request) = queue.pop() {
//!     Owed::new(request, &mut table).done(Reclaimed { bytes: 4_096, pages: 1, ..Reclaimed::default() });
//! }
//!
//! // The requester again.
//! let reply = table.poll(request.ticket, 1_010)?;
//! assert_eq!(reply.and_then(|reply| reply.result.ok()).map(|reclaimed| reclaimed.bytes), Some(4_096));
//! # Ok::<(), Box<dyn core::error::Error>>(())
//! ```

mod outstanding;
mod owed;
mod queue;

#[cfg(test)]
mod interleavings;

use core::fmt;

pub use outstanding::{Outstanding, Stale};
pub use owed::{Owed, ReplySink};
pub use queue::{Full, RequestQueue};

/// The number of requests a queue holds by default.
pub const QUEUE_CAPACITY_DEFAULT: usize = 256;

/// The time a requester gives the owner by default, in milliseconds.
pub const REPLY_TIMEOUT_MS_DEFAULT: u64 = 500;

/// Names the cleanup that the owner of the pools is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum CleanupKind {
    /// Gives memory back until the pools are below the low watermark: free pages, expired objects, then the
    /// coldest evictable ones. Objects may be dropped.
    EmergencyCleanup,
    /// Moves objects together and gives back the pages emptied by it. Nothing is dropped.
    TriggerDefragmentation,
}

/// Names one request of one requester.
///
/// The index is a place in the requester's [`Outstanding`] table and is used again; the generation distinguishes its uses. A
/// ticket means something only to the table that issued it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Ticket {
    /// The place in the requester's table.
    pub index: u16,
    /// Which use of that place.
    pub generation: u32,
}

/// Asks the owner of the pools for one cleanup.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct CleanupRequest {
    /// The ticket that the reply will carry.
    pub ticket: Ticket,
    /// The kind of cleanup.
    pub kind: CleanupKind,
}

/// Tells what one cleanup gave back, counted, not estimated.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Reclaimed {
    /// Bytes returned to the backing memory: pages released times the page size (I-POOL-2).
    pub bytes: u64,
    /// Pages returned to the backing memory.
    pub pages: u32,
    /// Bytes of objects copied to another page.
    pub relocated_bytes: u64,
    /// Objects copied to another page.
    pub relocated_objects: u32,
    /// Objects dropped, expired and evicted together.
    pub dropped_objects: u32,
    /// Whether the time was up before all was done: a later request goes on with the rest.
    pub is_partial: bool,
}

/// Tells why a request ended without an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum CleanupError {
    /// The deadline passed first. The owner may still do the work; its reply will be dropped.
    TimedOut,
    /// The requester gave up first.
    Cancelled,
    /// The owner tried and its pages failed; what it had done stays done.
    Failed,
    /// The owner went away with the request in hand.
    Disconnected,
}

impl fmt::Display for CleanupError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TimedOut => "the pool owner did not reply before the deadline",
            Self::Cancelled => "the request was cancelled",
            Self::Failed => "the pages failed during the cleanup",
            Self::Disconnected => "the pool owner is gone",
        })
    }
}

impl core::error::Error for CleanupError {}

/// Answers one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct CleanupReply {
    /// The ticket of the request.
    pub ticket: Ticket,
    /// The outcome.
    pub result: Result<Reclaimed, CleanupError>,
}
