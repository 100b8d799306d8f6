//! Asking for a cleanup from any context, and doing it from one.
//!
//! ```text
//!  interrupt ─┐ emergency_cleanup, trigger_defragmentation        main loop
//!             ├──────────────► Mailbox ──── next request ────► CleanupWorker::poll ── one step ──► pool
//!  main loop ─┘ ◄── Ticket        │  ◄──────── reply ───────────────┘
//!               ── poll(ticket) ─►│
//! ```
//! No call waits: one that finds the mailbox held does nothing, says so and is counted. The mailbox is held only to move a
//! request or a reply, never while the pool works. So an interrupt can ask in the middle of a cleanup.

mod worker;

use core::fmt;

use coldpress_core::cleanup::{
    CleanupError, CleanupKind, CleanupReply, CleanupRequest, Outstanding, REPLY_TIMEOUT_MS_DEFAULT,
    Reclaimed, RequestQueue, Stale, Ticket,
};

use crate::{Contended, TryCell};
pub use worker::{CleanupWorker, Progress};

/// Tells why a request was not accepted; no ticket was issued, so nothing is owed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum RequestError {
    /// As many requests are out as the mailbox holds.
    Full,
    /// The mailbox was held elsewhere.
    Contended,
}

impl fmt::Display for RequestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full => "the mailbox holds as many requests as it can",
            Self::Contended => "the mailbox was held elsewhere; nothing was asked",
        })
    }
}

impl core::error::Error for RequestError {}

impl From<Contended> for RequestError {
    fn from(_: Contended) -> Self {
        Self::Contended
    }
}

/// Tells why a ticket could not be looked up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum TicketError {
    /// The ticket's outcome was taken before, or it was never issued here.
    Stale,
    /// The mailbox was held elsewhere; the outcome is still there.
    Contended,
}

impl fmt::Display for TicketError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Stale => "the ticket is not outstanding",
            Self::Contended => "the mailbox was held elsewhere; ask again",
        })
    }
}

impl core::error::Error for TicketError {}

impl From<Contended> for TicketError {
    fn from(_: Contended) -> Self {
        Self::Contended
    }
}

impl From<Stale> for TicketError {
    fn from(_: Stale) -> Self {
        Self::Stale
    }
}

/// The outcome of a request.
pub type Outcome = Result<Reclaimed, CleanupError>;

/// Takes cleanup requests from the main loop and from interrupts, and keeps each outcome until it is polled.
///
/// To ask: [`emergency_cleanup`](Self::emergency_cleanup), [`trigger_defragmentation`](Self::trigger_defragmentation),
/// [`poll`](Self::poll), [`cancel`](Self::cancel). To serve: [`CleanupWorker::poll`]. To look on:
/// [`waiting`](Self::waiting), [`contended`](Self::contended), [`stale_replies`](Self::stale_replies).
///
/// Time is passed in, as milliseconds of any clock that does not run backwards.
///
/// # Bounds
/// At most `N` requests without an outcome taken. Each call is one attempt to take the mailbox, and holds it for at
/// most a look at each of the `N` places.
///
/// ```
/// use coldpress_embedded::cleanup::CleanupKind;
/// use coldpress_embedded::pool::Step;
/// use coldpress_embedded::{CleanupWorker, Mailbox, Progress};
///
/// static MAILBOX: Mailbox<8> = Mailbox::new();
///
/// // In an interrupt that saw an allocation fail, at 1,000 ms:
/// let ticket = MAILBOX.emergency_cleanup(1_000)?;
///
/// // In the main loop, which owns the pool; here the pool gives back two pages in one step.
/// let mut worker = CleanupWorker::new();
/// let progress = worker.poll(&MAILBOX, 256, |kind| {
///     assert_eq!(kind, CleanupKind::EmergencyCleanup);
///     Step { pages_released: 2, done: true, ..Step::default() }
/// })?;
/// assert_eq!(progress, Progress::Replied(ticket));
///
/// // Wherever the outcome is wanted:
/// let outcome = MAILBOX.poll(ticket, 1_010)?;
/// assert_eq!(outcome.and_then(Result::ok).map(|reclaimed| reclaimed.bytes), Some(512));
/// # Ok::<(), Box<dyn core::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Mailbox<const N: usize = 8> {
    state: TryCell<MailboxState<N>>,
}

#[derive(Debug)]
struct MailboxState<const N: usize> {
    table: Outstanding<N>,
    queue: RequestQueue<N>,
}

impl<const N: usize> Mailbox<N> {
    /// Makes an empty mailbox; usable in a `static`.
    #[must_use]
    pub const fn new() -> Self {
        Self { state: TryCell::new(MailboxState { table: Outstanding::new(), queue: RequestQueue::new() }) }
    }

    /// Asks the pool's owner for memory, objects included, within the default time
    /// ([`REPLY_TIMEOUT_MS_DEFAULT`]).
    ///
    /// # Errors
    /// As for [`request`](Self::request).
    pub fn emergency_cleanup(&self, now_ms: u64) -> Result<Ticket, RequestError> {
        self.request(CleanupKind::EmergencyCleanup, now_ms, REPLY_TIMEOUT_MS_DEFAULT)
    }

    /// Asks the pool's owner to move objects together, within the default time ([`REPLY_TIMEOUT_MS_DEFAULT`]).
    ///
    /// # Errors
    /// As for [`request`](Self::request).
    pub fn trigger_defragmentation(&self, now_ms: u64) -> Result<Ticket, RequestError> {
        self.request(CleanupKind::TriggerDefragmentation, now_ms, REPLY_TIMEOUT_MS_DEFAULT)
    }

    /// Asks for a cleanup that ends at `now_ms + timeout_ms` at the latest. An outcome that nobody polls is kept no
    /// longer than that once another request needs its place.
    ///
    /// # Errors
    /// [`RequestError`]; nothing was accepted.
    pub fn request(&self, kind: CleanupKind, now_ms: u64, timeout_ms: u64) -> Result<Ticket, RequestError> {
        self.state.try_with(|state| {
            let request = state.table.issue(kind, now_ms, timeout_ms).map_err(|_| RequestError::Full)?;
            if state.queue.push(request).is_err() {
                // A queue with a place for each ticket is never full first. If it were, the request must not stay outstanding.
                let _ = state.table.cancel(request.ticket);
                return Err(RequestError::Full);
            }
            Ok(request.ticket)
        })?
    }

    /// Asks for the outcome of a request: `None` while it is waiting, then once the outcome, or the time-out.
    ///
    /// A request that timed out before it was begun is not begun any more.
    ///
    /// # Errors
    /// [`TicketError`]; after `Contended` the outcome is still there.
    pub fn poll(&self, ticket: Ticket, now_ms: u64) -> Result<Option<Outcome>, TicketError> {
        self.state.try_with(|state| {
            let reply = state.table.poll(ticket, now_ms)?;
            if reply.is_some() {
                state.queue.withdraw(ticket);
            }
            Ok(reply.map(|reply| reply.result))
        })?
    }

    /// Gives a request up. If it was begun, its reply will be dropped when it comes.
    ///
    /// # Errors
    /// [`TicketError`]; `Stale` also when the outcome is there already and waits to be polled.
    pub fn cancel(&self, ticket: Ticket) -> Result<(), TicketError> {
        self.state.try_with(|state| {
            state.table.cancel(ticket)?;
            state.queue.withdraw(ticket);
            Ok(())
        })?
    }

    /// Returns how many requests have no outcome yet.
    ///
    /// # Errors
    /// [`Contended`] when the mailbox is held elsewhere.
    pub fn waiting(&self) -> Result<usize, Contended> {
        self.state.try_with(|state| state.table.waiting())
    }

    /// Returns how many replies came after their request had ended, and were dropped.
    ///
    /// # Errors
    /// [`Contended`] when the mailbox is held elsewhere.
    pub fn stale_replies(&self) -> Result<u32, Contended> {
        self.state.try_with(|state| state.table.stale_replies())
    }

    /// Returns how many calls found the mailbox held elsewhere; it wraps at 32 bits.
    #[must_use]
    pub fn contended(&self) -> u32 {
        self.state.contended()
    }

    /// Takes the request that has waited longest.
    fn next(&self) -> Result<Option<CleanupRequest>, Contended> {
        self.state.try_with(|state| state.queue.pop())
    }

    /// Keeps a reply for its requester; a late one is dropped and counted (I-REQ-2).
    fn reply(&self, reply: CleanupReply) -> Result<(), Contended> {
        self.state.try_with(|state| {
            // Stale means that the requester had its outcome already, which is no error of the owner.
            let _ = state.table.keep(reply);
        })
    }

    /// Runs `step` while the mailbox is held, as an interrupt at a bad moment finds it.
    #[cfg(test)]
    pub(crate) fn held<R>(&self, step: impl FnOnce() -> R) -> Result<R, Contended> {
        self.state.try_with(|_| step())
    }
}

impl<const N: usize> Default for Mailbox<N> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(feature = "defmt")]
impl<const N: usize> defmt::Format for Mailbox<N> {
    fn format(&self, f: defmt::Formatter<'_>) {
        defmt::write!(f, "Mailbox(of {=usize}, {=u32} contended)", N, self.contended());
    }
}

#[cfg(test)]
mod tests;
