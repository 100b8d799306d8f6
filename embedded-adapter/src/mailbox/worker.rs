//! The side that serves: one bounded step of the pool at a time.

use coldpress_core::cleanup::{CleanupError, CleanupKind, CleanupReply, CleanupRequest, Reclaimed, Ticket};
use coldpress_core::pool::{Dropped, Pages, Pool, Step, Tables};

use super::Mailbox;
use crate::Contended;

/// Tells what one [`CleanupWorker::poll`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[must_use = "the progress tells whether to poll again soon"]
pub enum Progress {
    /// Nothing was asked; nothing was done.
    Idle,
    /// The pool did one step of this request; more are to come.
    Stepped(Ticket),
    /// The request was answered.
    Replied(Ticket),
}

#[derive(Debug, Clone, Copy)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
enum State {
    Idle,
    Working(CleanupRequest, Reclaimed),
    /// The work is done; the mailbox was held elsewhere when the reply was due.
    Replying(CleanupReply),
}

/// Serves a [`Mailbox`], wherever the pool is owned: in the main loop, or in an interrupt of its own.
///
/// Each request taken is answered once (I-REQ-1): it stays here until its reply is in the mailbox, however often that is held
/// elsewhere. So it is no [`coldpress_core::cleanup::Owed`], whose reply must go out at once.
#[derive(Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct CleanupWorker {
    state: State,
}

impl CleanupWorker {
    /// Makes a worker with nothing in hand; usable in a `static`.
    #[must_use]
    pub const fn new() -> Self {
        Self { state: State::Idle }
    }

    /// Tells whether a request is in hand.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        !matches!(self.state, State::Idle)
    }

    /// Takes a request if none is in hand, has the pool do one step of it, and answers it when that was the last.
    ///
    /// `step` does at most one bounded step of what it is asked; `page_bytes` is the size of the pool's pages, in which
    /// the reply counts.
    ///
    /// # Errors
    /// [`Contended`] when the mailbox was held elsewhere. Nothing is lost: no request was taken, or the reply is still in
    /// hand and goes out with the next call.
    ///
    /// # Bounds
    /// At most one `step`, and two attempts to take the mailbox.
    pub fn poll<const N: usize>(
        &mut self,
        mailbox: &Mailbox<N>,
        page_bytes: u32,
        step: impl FnOnce(CleanupKind) -> Step,
    ) -> Result<Progress, Contended> {
        let (request, mut reclaimed) = match self.state {
            State::Replying(reply) => return self.answer(mailbox, reply),
            State::Working(request, reclaimed) => (request, reclaimed),
            State::Idle => match mailbox.next()? {
                Some(request) => (request, Reclaimed::default()),
                None => return Ok(Progress::Idle),
            },
        };
        let ticket = request.ticket;
        let step = step(request.kind);
        step.add_to(&mut reclaimed, page_bytes);
        if step.failed {
            return self.answer(mailbox, CleanupReply { ticket, result: Err(CleanupError::Failed) });
        }
        if step.done {
            return self.answer(mailbox, CleanupReply { ticket, result: Ok(reclaimed) });
        }
        self.state = State::Working(request, reclaimed);
        Ok(Progress::Stepped(ticket))
    }

    /// Does as [`poll`](Self::poll) does, with the steps of a [`Pool`].
    ///
    /// A step copies at most `bytes_max` bytes; each object that an emergency cleanup drops is reported to `dropped`. `now_s`
    /// is on the clock by which the pool's objects expire.
    ///
    /// # Errors
    /// As for [`poll`](Self::poll).
    ///
    /// # Bounds
    /// Those of [`Pool::defragment_step`] and [`Pool::emergency_step`].
    pub fn poll_pool<const N: usize, P: Pages, S: Tables>(
        &mut self,
        mailbox: &Mailbox<N>,
        pool: &mut Pool<P, S>,
        now_s: u32,
        bytes_max: u32,
        dropped: impl FnMut(Dropped<S::Tag>),
    ) -> Result<Progress, Contended> {
        self.poll(mailbox, pool.page_bytes(), |kind| match kind {
            CleanupKind::EmergencyCleanup => pool.emergency_step(now_s, bytes_max, dropped),
            CleanupKind::TriggerDefragmentation => pool.defragment_step(bytes_max),
            // A kind from a newer core: the reply says that it failed.
            _ => Step { failed: true, done: true, ..Step::default() },
        })
    }

    fn answer<const N: usize>(
        &mut self,
        mailbox: &Mailbox<N>,
        reply: CleanupReply,
    ) -> Result<Progress, Contended> {
        self.state = State::Replying(reply);
        mailbox.reply(reply)?;
        self.state = State::Idle;
        Ok(Progress::Replied(reply.ticket))
    }
}

impl Default for CleanupWorker {
    fn default() -> Self {
        Self::new()
    }
}
