//! Driving the machine: steps, and the bound of their cost.

use super::PutError;
use coldpress_core::cleanup::{CleanupReply, CleanupRequest, Reclaimed, Ticket};
use coldpress_core::drive::{Action, Input, MediumError, Now, Poll};
use coldpress_core::machine::Status;

use super::access::Access;
use super::index::IndexOnFlash;
use super::medium::Started;
use super::tier::FlashTier;

/// The operations of a call on the medium.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Work {
    /// Operations that the machine asked for: reads, programs, erases, syncs.
    pub operations: u32,
    /// Of these, erases: at most one.
    pub erases: u32,
    /// Bytes programmed: at most a segment.
    pub bytes_programmed: u32,
    /// Bytes read, the index's looks at single records included.
    pub bytes_read: u32,
    /// Whether nothing is left to do until a call asks for something or time passes.
    pub is_idle: bool,
    /// Whether an operation is under way: [`poll`](FlashTier::poll) again when it has ended.
    pub is_waiting: bool,
    /// A request to the pools: give [`answer`](FlashTier::answer) the outcome.
    pub cleanup: Option<CleanupRequest>,
}

/// The work that a call may still do.
#[derive(Debug, Clone, Copy)]
pub struct Allowance {
    pub(super) steps: u32,
    pub(super) erases: u32,
    pub(super) bytes: u32,
}

/// Steps of one call that is not a poll; each is bounded, and the allowance of the medium ends it earlier.
pub(super) const STEPS_MAX: u32 = 4_096;

/// The outcome of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// Something was done.
    Done,
    /// There is nothing to do now.
    Idle,
    /// An operation is under way.
    Waiting,
    /// The allowance does not cover the next action, which is kept for the next call.
    Spent,
}

impl<M: Access> FlashTier<'_, M> {
    /// The bound of any call: one erase and one segment of programming, in so many steps.
    pub(super) fn allowance(&self, steps: u32) -> Allowance {
        Allowance { steps, erases: 1, bytes: self.flash.geometry.segment_bytes() }
    }

    /// The bound of a call that is no poll, or what it left of it.
    pub(super) fn whole_allowance(&self) -> Allowance {
        self.flash.medium.left_of(self.allowance(STEPS_MAX))
    }

    /// Takes one step. Bounds: one operation of the medium, or one step of the machine inside, with the index's looks at the
    /// records it concerns.
    pub(super) fn step(&mut self, now: Now, allowance: &mut Allowance, work: &mut Work) -> Step {
        if allowance.steps == 0 {
            return Step::Spent;
        }
        if self.under_way.is_some() {
            self.settle(now);
            if self.under_way.is_some() {
                return Step::Waiting;
            }
            allowance.steps -= 1;
            return Step::Done;
        }
        if let Some(segment) = self.formatting {
            return self.erase_next(segment, allowance, work);
        }
        let action = match self.held.take() {
            // No action of a broken machine is carried out, nor one that was put off before.
            Some(_) if matches!(self.status(), Status::Broken(_)) => return Step::Idle,
            Some(action) => action,
            None => {
                self.index.looks = 0;
                let mut desk = IndexOnFlash { index: &mut self.index, flash: &mut self.flash };
                let poll = self.tier.poll(now, &mut desk);
                // An answer that was read ahead held for this poll.
                self.flash.medium.forget();
                match poll {
                    Poll::Do(action) => action,
                    Poll::Again => {
                        allowance.steps -= 1;
                        return if self.flash.medium.is_wanting() { Step::Waiting } else { Step::Done };
                    }
                    Poll::Idle => return Step::Idle,
                }
            }
        };
        if !allowance.covers(&action) {
            self.held = Some(action);
            return Step::Spent;
        }
        allowance.steps -= 1;
        self.perform(now, action, allowance, work);
        if self.under_way.is_some() { Step::Waiting } else { Step::Done }
    }

    fn perform(&mut self, now: Now, action: Action, allowance: &mut Allowance, work: &mut Work) {
        let ticket = action.ticket();
        work.operations += 1;
        match action {
            Action::Read { bytes, .. } => self.flash.bytes_read += u64::from(bytes),
            Action::Write { bytes, .. } => {
                allowance.bytes = allowance.bytes.saturating_sub(bytes);
                work.bytes_programmed += bytes;
            }
            Action::Erase { .. } => {
                allowance.erases = allowance.erases.saturating_sub(1);
                work.erases += 1;
            }
            // The ticket tells which request an answer is of; the pools are the same for each task.
            Action::Cleanup { request, .. } => {
                work.operations -= 1;
                self.ask(now, request, work);
                return;
            }
            _ => {}
        }
        self.flash.medium.charge(&action);
        match self.flash.medium.begin(&self.flash.geometry, &mut self.tier, &action) {
            Some(Ok(Started::UnderWay)) => self.under_way = Some(ticket),
            Some(Ok(Started::Done)) => self.done(now, ticket, Ok(())),
            Some(Err(error)) => self.done(now, ticket, Err(error)),
            None => {}
        }
    }

    fn ask(&mut self, now: Now, request: CleanupRequest, work: &mut Work) {
        if self.has_pools {
            work.cleanup = Some(request);
            return;
        }
        // There are no pools, so nothing can be reclaimed.
        let reply = CleanupReply { ticket: request.ticket, result: Ok(Reclaimed::default()) };
        self.answer(now, reply);
    }

    /// Gives the outcome of a cleanup request that [`poll`](Self::poll) handed out; one that comes late is dropped.
    pub fn answer(&mut self, now: Now, reply: CleanupReply) {
        let mut desk = IndexOnFlash { index: &mut self.index, flash: &mut self.flash };
        // Stale where the machine's deadline was passed: the report says so already.
        let _ = self.tier.handle(now, Input::Cleanup(reply), &mut desk);
    }

    pub(super) fn done(&mut self, now: Now, ticket: Ticket, result: Result<(), MediumError>) {
        if let Err(error) = result {
            self.failure = Some(error);
            self.unformat();
        }
        let mut desk = IndexOnFlash { index: &mut self.index, flash: &mut self.flash };
        // Each ticket is reported once, so it is outstanding.
        let _ = self.tier.handle(now, Input::Done { ticket, result }, &mut desk);
        self.note_written();
    }

    /// Takes steps as far as the allowance goes, and adds them to `work`.
    pub(super) fn poll_within(&mut self, now: Now, allowance: &mut Allowance, work: &mut Work) {
        let read_before = self.flash.bytes_read;
        self.retry_format();
        loop {
            match self.step(now, allowance, work) {
                Step::Done => {
                    if self.index.refusal.is_some() || work.cleanup.is_some() {
                        break;
                    }
                }
                Step::Idle => {
                    work.is_idle = true;
                    break;
                }
                Step::Waiting => {
                    work.is_waiting = true;
                    break;
                }
                Step::Spent => break,
            }
        }
        let read = u32::try_from(self.flash.bytes_read - read_before).unwrap_or(u32::MAX);
        work.bytes_read = work.bytes_read.saturating_add(read);
        self.note(work);
    }

    /// Gives up records that can't be read: the next `RebuildIndex` also frees segments that it still can't read whole. Records in the
    /// unreadable parts are lost: their keys have an older value from then on, or none.
    ///
    /// Without this call such segments are kept until nothing else gives space, or more than a quarter of the segments can't be read.
    /// Then a unit that still can't be read is taken for one that a cut tore.
    pub const fn give_up_unread(&mut self) {
        self.tier.give_up_unread();
    }

    /// The error of a tier that is not running.
    pub(super) const fn refusal(&self) -> PutError {
        match self.status() {
            Status::Broken(_) => PutError::Broken,
            _ => PutError::NotMounted,
        }
    }

    /// Whether it takes records.
    pub(super) fn is_running(&self) -> bool {
        self.tier.status() == Status::Running && self.index.refusal.is_none()
    }
}

impl Allowance {
    /// The same with so many bytes less to be programmed.
    pub(super) const fn less(self, bytes: u32) -> Self {
        Self { bytes: self.bytes.saturating_sub(bytes), ..self }
    }

    /// Takes one erase and one step, if there are any.
    pub(super) const fn take_erase(&mut self) -> bool {
        let has_one = self.erases > 0 && self.steps > 0;
        if has_one {
            self.erases -= 1;
            self.steps -= 1;
        }
        has_one
    }

    fn covers(&self, action: &Action) -> bool {
        match action {
            Action::Write { bytes, .. } => self.bytes >= *bytes,
            Action::Erase { .. } => self.erases > 0,
            _ => true,
        }
    }
}
