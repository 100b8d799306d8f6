//! The interface for futures: the same operations as for threads, awaited.
//!
//! ```text
//!  poll ─► try ─► done
//!           └──► lacks ─► in line, as a thread is ──► woken by the worker ──► poll
//!           └──► sent ──► the worker owes an answer ─► woken by the answer ─► poll
//!           └──► a read that would wait ─► the reader's queue ─► woken by the answer ─► poll
//! ```
//! It needs no runtime: a future keeps the waker of its last poll where the worker, the reader or the [deadlines](deadline) find it.
//! No poll waits for a device, for space or for an answer. It takes short locks, as the operations of threads do. It encodes on
//! the thread that polls, and decodes there where the bytes are in memory.
//!
//! A future that is dropped leaves its lines and the reader's queue, and gives back what was reserved for it. A write is sent in
//! one poll or not at all, so it was done or was not. Dropped before that, nothing was written; dropped later, only the answer is lost.

mod compaction;
mod conditional;
mod deadline;
mod flush;
#[cfg(feature = "archive")]
mod holding;
mod long;
mod read;
mod reader;
#[cfg(test)]
mod tests;
mod typed;
mod wait;
mod write;

pub(super) use self::deadline::alert_futures;
#[cfg(feature = "archive")]
pub(crate) use self::deadline::sleep_until;
#[cfg(feature = "archive")]
pub(crate) use self::holding::{HeldTier, TierIdentity};
pub(crate) use self::reader::ReaderQueue;
