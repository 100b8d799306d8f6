//! Reservations: a place in the worker's queue, pending bytes, capacity. Each is made before what it is for, so that nothing
//! behind it can lack it.

use core::sync::atomic::Ordering::Relaxed;

use super::opened::{Open, Part};
use crate::admission::{Line, Waiting};
use crate::errors::TierError;
use crate::index::{Ceiling, Pending, SharedPartition, Weight};
use crate::recycled::Lease;
use crate::worker::Message;

/// A client that waits in the lines of a partition.
pub(super) type WaitingClient = Waiting<Lease<SharedPartition>>;

/// The reason for which a write waits.
#[derive(Clone, Copy)]
pub(super) enum Lack {
    Queue,
    Capacity {
        needed: u64,
        available: u64,
        /// Of it, what nobody was asked to free space for.
        unasked: u64,
    },
    /// Blocks that the medium has not been asked for yet.
    Blocks,
    /// A pending write reuses the charge of the value that it replaces.
    Replacement,
}

/// The demand of a value on the capacity.
#[derive(Clone, Copy)]
pub(super) struct Claim {
    pub(super) write: Weight,
    pub(super) ceiling: Ceiling,
    /// The most that the settled sum may reach once the medium has allocated all blocks.
    pub(super) most: u64,
    /// Segments that had blocks when it was made.
    pub(super) backed: u32,
}

impl Claim {
    /// The claim of a piece of a value that replaces so many charged bytes, which go once all of it is there.
    pub(super) fn beyond(mut self, replaces: u64) -> Self {
        self.ceiling.settled = self.ceiling.settled.saturating_add(replaces).min(self.ceiling.charge);
        self
    }
}

impl Lack {
    /// Where to stand for it, with a write that takes so many pending bytes.
    pub(super) const fn line(self, bytes: u64) -> Line {
        match self {
            Self::Queue => Line::Permit(bytes),
            Self::Capacity { unasked, .. } => Line::Capacity { needs: unasked },
            Self::Blocks | Self::Replacement => Line::Capacity { needs: 0 },
        }
    }
}

/// Whether all partitions got a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Announced {
    All,
    /// There was no reason to.
    None,
}

/// Whether there is a place in the queues of all partitions.
pub(super) enum Room<'a> {
    For(Announced),
    Lacks(&'a Part),
}

impl Open {
    /// Sends a message to all partitions or to none. Every place is reserved before the first is sent, and nothing comes between
    /// the claim and the last: the last claim is the last message that the workers get.
    pub(super) fn tell_all(
        &self,
        claim: impl Fn(&Self) -> bool,
        message: impl Fn() -> Message,
    ) -> Result<Room<'_>, TierError> {
        let _told = self.telling.lock();
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
            return Ok(Room::Lacks(lacking));
        }
        if !claim(self) {
            give_back();
            return Ok(Room::For(Announced::None));
        }
        // There is room, so a worker that can't be told is gone.
        let is_unsent = |part: &&Part| part.sender.try_send(message()).is_err();
        match self.parts.iter().filter(is_unsent).last() {
            None => Ok(Room::For(Announced::All)),
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
        if message.take().is_some_and(|message| self.sender.try_send(message).is_err()) {
            self.shared.admission.budget.give_back_message();
            return Err(self.gone());
        }
        Ok(())
    }

    /// Lets a client stand in a line.
    pub(super) fn stand(&self, waiting: &mut Option<WaitingClient>, line: Line) -> Result<(), TierError> {
        let here = waiting.take().or_else(|| Waiting::new(self.shared.lease())).ok_or(TierError::Closed)?;
        waiting.insert(here).stand(line);
        Ok(())
    }

    /// Lets a client stand in the line for messages. One whose worker ended before gets that error here, and nowhere else.
    pub(super) fn stand_for_message(&self, waiting: &mut Option<WaitingClient>) -> Result<(), TierError> {
        self.stand(waiting, Line::Message)?;
        self.nudge();
        self.check_alive()
    }

    /// Why a worker takes no more: it died, or it ended in a close that did not wait for this operation any longer.
    pub(super) fn gone(&self) -> TierError {
        self.check_alive().err().unwrap_or(TierError::Closed)
    }

    /// Wakes the worker for a client that waits for space; one nudge on its way is enough for all.
    pub(super) fn nudge(&self) {
        if self.shared.admission.budget.begin_nudge() {
            // A worker that is gone is seen at the next attempt.
            let _ = self.sender.try_send(Message::Nudge);
        }
    }

    /// The demand of a value on the capacity.
    ///
    /// What the log is sure to hold must not be exceeded once everything pending is published. Until then the record that is
    /// replaced is there as well: one segment more is allowed for that, which the open segments of the reserve hold.
    pub(super) fn claim(&self, open: &Open, pending: &Pending) -> Claim {
        let write = pending.weigh();
        Claim { write, ..self.claim_for(open, write.longest) }
    }

    /// The capacity beside a record of so many bytes.
    pub(super) fn claim_for(&self, open: &Open, record_bytes: u32) -> Claim {
        let shared = &self.shared;
        let waste = shared.lengths.waste_with(record_bytes);
        let quarantined = shared.quarantined.load(Relaxed);
        let most = open.terms.charge_bytes_max(waste, quarantined);
        // A segment without blocks can't be written on a full disk, so it holds nothing.
        let backed = shared.backed.load(Relaxed);
        let bare = open.terms.geometry.segment_count().saturating_sub(backed);
        let settled = open.terms.charge_bytes_max(waste, quarantined.saturating_add(bare));
        let charge = settled.saturating_add(u64::from(open.terms.geometry.usable_bytes()));
        Claim { write: Weight::default(), ceiling: Ceiling { settled, charge }, most, backed }
    }
}
