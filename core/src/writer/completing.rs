//! Hands the completion of an operation to the part of the log that waits for it.

use super::lane::{LANE_BLOCKS, LANE_COPY, LANE_OPENING, LANE_SCAN, LANE_SYNC};
use super::log::Log;
use crate::cleanup::Ticket;
use crate::drive::{MediumError, Now, StaleTicket};
use crate::index::Host;

impl Log<'_> {
    /// An operation is complete, or failed. The reclaimer's own are not for the log.
    ///
    /// # Errors
    /// [`StaleTicket`] where no part waits for it.
    ///
    /// # Bounds
    /// A completed write publishes its records, at most as many as a slot's memory holds.
    pub(crate) fn complete<H: Host>(
        &mut self,
        now: Now,
        ticket: Ticket,
        result: Result<(), MediumError>,
        host: &mut H,
    ) -> Result<(), StaleTicket> {
        match ticket.index {
            LANE_OPENING if self.writer.opening.is_waiting(ticket) => self.finish_opening_write(now, result),
            LANE_COPY if self.copy.is_waiting(ticket) => self.copy.done(result),
            LANE_SCAN if self.scan.is_waiting(ticket) => self.scan.done(result),
            LANE_SYNC if self.durability.is_waiting(ticket) => self.finish_sync(now, result, host),
            LANE_BLOCKS if self.blocks.is_waiting(ticket) => self.finish_blocks(now, result),
            _ => {
                let (slot, _) = self.writer.slots.waiting_for(ticket).ok_or(StaleTicket(ticket))?;
                self.finish_slot_write(now, slot, result, host);
            }
        }
        Ok(())
    }

    /// The bytes of a write of the log's own that is under way; `None` for any other ticket.
    pub(crate) fn lent(&self, ticket: Ticket) -> Option<&[u8]> {
        if self.writer.opening.is_waiting(ticket) {
            return Some(self.writer.opening.lent());
        }
        Some(self.writer.slots.waiting_for(ticket)?.1.lent())
    }

    /// The buffer of a read that is under way; `None` for any other ticket.
    pub(crate) fn lent_to_read(&mut self, ticket: Ticket) -> Option<&mut [u8]> {
        match ticket.index {
            LANE_COPY => self.copy.lent(ticket),
            LANE_SCAN => self.scan.lent(ticket),
            _ => None,
        }
    }
}
