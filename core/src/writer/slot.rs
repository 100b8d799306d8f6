//! Slots: the open segments and their buffers, in which a record lies from its append to its publication.
//!
//! ```text
//!  Empty ─1─► Filling ─2─► Full ─3─► Syncing ─4─► Footing ─5─► Empty
//!     ▲──────────┴───────────┴───────────┴────────────┘ 6
//! ```
//! 1 `take_opening` a segment was opened for a stream; 2 `seal_slot` the next record does not fit, or a version must lie
//! higher; 3 `poll_slots` all records are written; 4 `poll_slots` they are durable (rule 2); 5 `finish_slot_write` the footer
//! is written, the segment is sealed; 6 `abandon_slot` a write or sync failed: sealed without a footer.

use super::memory::SlotMemory;
use super::notes::{SlotNotes, SlotState};
use crate::cleanup::Ticket;
use crate::format::{ENTRY_BYTES_MAX, Geometry, Location, TRAILER_BYTES};
use core::ops::Deref;
use core::ops::DerefMut;

/// One open segment.
#[derive(Debug)]
pub(crate) struct Slot<'m> {
    pub(super) memory: SlotMemory<'m>,
}

impl Deref for Slot<'_> {
    type Target = SlotNotes;

    fn deref(&self) -> &SlotNotes {
        self.memory.notes
    }
}

impl DerefMut for Slot<'_> {
    fn deref_mut(&mut self) -> &mut SlotNotes {
        self.memory.notes
    }
}

impl<'m> Slot<'m> {
    pub(crate) fn new(memory: SlotMemory<'m>) -> Self {
        *memory.notes = SlotNotes::new();
        Self { memory }
    }

    pub(super) fn first_unwritten(&self) -> Option<u64> {
        self.first_unwritten
    }

    pub(crate) fn is_written(&self) -> bool {
        self.placed == 0
    }

    /// Where the records were relocated from that wait for publication; `None` where the slot keeps no note of each.
    pub(super) fn relocated_from(&self) -> Option<impl Iterator<Item = Location>> {
        let waiting = self.memory.placed.get(..self.placed)?;
        Some(waiting.iter().filter_map(|pending| pending.record()?.1.relocated_from))
    }

    /// Wants its records to be written; tells whether that is news.
    pub(super) fn want_write(&mut self) -> bool {
        let is_news = self.placed > 0 && !self.wants_write;
        self.wants_write |= is_news;
        is_news
    }

    pub(crate) fn is_waiting(&self, ticket: Ticket) -> bool {
        self.writing.is_some_and(|w| w.ticket == ticket)
    }

    /// The bytes of the write in flight; empty where there is none, or not all of them are there.
    pub(crate) fn lent(&self) -> &[u8] {
        let Some(writing) = self.writing else { return &[] };
        match self.state {
            SlotState::Footing { bytes } => self.memory.footer.get(..bytes as usize),
            _ => self.memory.records.get(..(writing.to - self.base) as usize),
        }
        .unwrap_or_default()
    }

    /// The offset at which the records of the segment must end, so that the footer with one more entry fits behind them.
    pub(super) fn records_end_max(&self, geometry: &Geometry) -> u32 {
        if self.memory.footer.is_empty() {
            return geometry.trailer_at();
        }
        let footer = geometry.padded(self.footer.entry_bytes() + ENTRY_BYTES_MAX);
        if self.memory.footer.len() < (footer + geometry.padded(TRAILER_BYTES)) as usize {
            return 0;
        }
        geometry.trailer_at().saturating_sub(footer)
    }

    /// The share of the segment that is used, in permille.
    pub(super) fn fill_permille(&self, segment_bytes: u32) -> u32 {
        let permille = u64::from(self.head) * 1000 / u64::from(segment_bytes.max(1));
        u32::try_from(permille).unwrap_or(u32::MAX)
    }
}
