//! Requests of a client to the [admission](crate::admission) of a partition, and its messages to the worker.
//!
//! The admission decides which write goes on. This file has the parts that need the index or the messages, which that layer
//! does not know. It sends a message once its place is reserved. From the index it takes the charge of a value, the cost of the
//! lengths of records, and whether space is owed by pieces to sweep.

use core::sync::atomic::Ordering::Relaxed;

use super::opened::{Open, Part};
use super::write::Refused;
use crate::admission::{Circumstances, Claim, Line, Refusal, Relief, Shortfall, Tries, Waiting, Weight};
use crate::errors::TierError;
use crate::index::{Pending, SharedPartition};
use crate::recycled::Lease;
use crate::storage::MediumError;
use crate::worker::Message;

/// A client that waits in the lines of a partition.
pub(super) type WaitingClient = Waiting<Lease<SharedPartition>>;

/// Whether all partitions got a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Announced {
    All,
    /// There was no reason to.
    None,
}

/// Whether there is a place in the queues of all partitions.
pub(super) enum Space<'a> {
    For(Announced),
    Lacks(&'a Part),
}

impl Open {
    /// Sends a message to all partitions or to none. Every place is reserved before the first is sent. The lock is held from
    /// `claim` to the last send, so all workers get the messages of the last claim last.
    pub(super) fn tell_all(
        &self,
        claim: impl Fn(&Self) -> bool,
        message: impl Fn() -> Message,
    ) -> Result<Space<'_>, TierError> {
        let _telling = self.telling.lock();
        self.parts.iter().try_for_each(|part| self.check_alive(part))?;
        let is_reserved = |part: &&Part| part.shared.admission.budget.reserve_message();
        let reserved = self.parts.iter().take_while(is_reserved).count();
        let give_back = || {
            for part in self.parts.iter().take(reserved) {
                part.shared.admission.budget.give_back_message();
            }
        };
        if let Some(lacking) = self.parts.get(reserved) {
            give_back();
            return Ok(Space::Lacks(lacking));
        }
        if !claim(self) {
            give_back();
            return Ok(Space::For(Announced::None));
        }
        // Its place is reserved, so a send fails only where the worker is gone.
        let is_unsent = |part: &&Part| part.sender.send(message()).is_err();
        match self.parts.iter().filter(is_unsent).last() {
            None => Ok(Space::For(Announced::All)),
            Some(part) => Err(part.gone()),
        }
    }
}

impl Part {
    /// Sends a message that is neither a write nor a close, if there is a place for it; else it stays in `message`.
    pub(super) fn pass_message(&self, message: &mut Option<Message>) -> Result<(), TierError> {
        self.check_alive()?;
        if !self.shared.admission.budget.reserve_message() {
            return Ok(());
        }
        if message.take().is_some_and(|message| self.sender.send(message).is_err()) {
            self.shared.admission.budget.give_back_message();
            return Err(self.gone());
        }
        Ok(())
    }

    /// Lets a client that writes enter a line, and then looks at the tier: where the worker ended before, no alert comes.
    pub(super) fn stand_for(
        &self,
        open: &Open,
        waiting: &mut Option<WaitingClient>,
        line: Line,
        tries: &Tries<'_>,
    ) -> Result<(), TierError> {
        // Called while the tier is entered, so no client enters a line once the tier is closed.
        self.stand(waiting, line, tries)?;
        // The worker may be asleep.
        self.nudge();
        open.check_takes(self)
    }

    /// Lets a client enter a line.
    fn stand(
        &self,
        waiting: &mut Option<WaitingClient>,
        line: Line,
        tries: &Tries<'_>,
    ) -> Result<(), TierError> {
        let enter = || Waiting::of(self.shared.lease(), tries);
        let here = waiting.take().or_else(enter).ok_or(TierError::Closed)?;
        waiting.insert(here).stand(line);
        Ok(())
    }

    /// Lets a client stand in the line for messages. One whose worker ended before gets that error here, and nowhere else.
    pub(super) fn stand_for_message(
        &self,
        open: &Open,
        waiting: &mut Option<WaitingClient>,
        tries: &Tries<'_>,
    ) -> Result<(), TierError> {
        self.stand(waiting, Line::Message, tries)?;
        self.nudge();
        open.check_alive(self)
    }

    /// Why a worker takes no more messages: it died, or it ended in a close that did not wait for this operation.
    pub(super) fn gone(&self) -> TierError {
        self.check_alive().err().unwrap_or(TierError::Closed)
    }

    /// Wakes the worker for a client that waits for space. One nudge on its way is enough for all clients.
    pub(super) fn nudge(&self) {
        if self.shared.admission.budget.begin_nudge() {
            // A worker that is gone is seen at the next attempt.
            let _ = self.sender.send(Message::Nudge);
        }
    }

    /// The demand of a value on the capacity.
    pub(super) fn claim(&self, open: &Open, pending: &Pending) -> Claim {
        self.claim_of(open, pending.weigh())
    }

    /// The demand of a value of which only the length of its longest record is known.
    pub(super) fn claim_for(&self, open: &Open, longest: u32) -> Claim {
        self.claim_of(open, Weight { longest, ..Weight::default() })
    }

    fn claim_of(&self, open: &Open, write: Weight) -> Claim {
        let waste = self.shared.lengths.waste_with(write.longest);
        self.shared.admission.supply.claim(&open.terms, waste, write)
    }

    /// Asks for space for a value, or refuses it.
    pub(super) fn relieve(
        &self,
        open: &Open,
        claim: &Claim,
        shortfall: Shortfall,
        asked_in: &mut u64,
        now_s: u32,
    ) -> Result<Relief, Refused> {
        let shared = &self.shared;
        // While some of the log can't be read, nothing is swept.
        let owes_space = shared.families.are_owing() && shared.withheld_above.load(Relaxed) == 0;
        let circumstances = Circumstances { full: open.limits.full, owes_space, now_s };
        let relief = shared.admission.supply.relieve(claim, shortfall, circumstances, asked_in);
        relief.map_err(|refusal| match refusal {
            Refusal::Full { needed, available } => Refused::Full { needed, available },
            Refusal::NoSpace => TierError::Medium(shared.health.failure(MediumError::NoSpace)).into(),
        })
    }
}
