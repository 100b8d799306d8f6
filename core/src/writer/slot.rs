//! Slots: the open segments and their buffers, in which a record lies from its append to its publication.
//!
//! ```text
//!  Empty ─1─► Filling ─2─► Full ─3─► Syncing ─4─► Footing ─5─► Empty
//!     ▲──────────┴───────────┴───────────┴────────────┘ 6
//! ```
//! 1 `take_opening` a segment was opened for a stream; 2 `seal_slot` the next record does not fit, or a version must lie
//! higher; 3 `poll_slots` all records are written; 4 `poll_slots` they are durable (rule 2); 5 `finish_slot_write` the footer
//! is written, the segment is sealed; 6 `abandon_slot` a write or sync failed: sealed without a footer.

use core::ops::{Deref, DerefMut};

use super::memory::Pending;
use super::notes::{SlotNotes, SlotState};
use crate::cleanup::Ticket;
use crate::format::{ENTRY_BYTES_MAX, Geometry, Location, TRAILER_BYTES};

/// One open segment, for reading.
#[derive(Clone, Copy)]
pub(crate) struct Slot<'a> {
    pub(super) notes: &'a SlotNotes,
    /// Records on their way to the medium.
    pub(super) record_buffer: &'a [u8],
    /// The footer, as it grows; empty for a segment without one.
    pub(super) footer_buffer: &'a [u8],
    /// Records that are not published yet.
    pub(super) pending: &'a [Pending],
}

impl Deref for Slot<'_> {
    type Target = SlotNotes;

    fn deref(&self) -> &SlotNotes {
        self.notes
    }
}

/// One open segment, to be changed.
pub(crate) struct SlotMut<'a> {
    pub(super) notes: &'a mut SlotNotes,
    pub(super) record_buffer: &'a mut [u8],
    pub(super) footer_buffer: &'a mut [u8],
    pub(super) pending: &'a mut [Pending],
}

impl Deref for SlotMut<'_> {
    type Target = SlotNotes;

    fn deref(&self) -> &SlotNotes {
        self.notes
    }
}

impl DerefMut for SlotMut<'_> {
    fn deref_mut(&mut self) -> &mut SlotNotes {
        self.notes
    }
}

impl SlotMut<'_> {
    /// Wants its records to be written; tells whether that is news.
    pub(super) fn want_write(&mut self) -> bool {
        let is_news = self.has_unwritten() && !self.wants_write;
        self.notes.wants_write |= is_news;
        is_news
    }

    /// As [`Slot::records_end_max`].
    pub(super) fn records_end_max(&self, geometry: &Geometry) -> u32 {
        records_end_max(self.notes, self.footer_buffer.len(), geometry)
    }
}

impl<'a> Slot<'a> {
    pub(super) fn first_unwritten(&self) -> Option<u64> {
        self.first_unwritten
    }

    pub(crate) fn is_written(&self) -> bool {
        self.placed == 0
    }

    /// Where the records were relocated from that wait for publication; `None` where the slot keeps no note of each.
    pub(super) fn relocated_from(&self) -> Option<impl Iterator<Item = Location> + use<'a>> {
        let waiting = self.pending.get(..self.placed)?;
        Some(waiting.iter().filter_map(Pending::relocated_from))
    }

    pub(crate) fn is_waiting(&self, ticket: Ticket) -> bool {
        self.writing.is_some_and(|w| w.ticket == ticket)
    }

    /// The bytes of the write in flight; empty where there is none, or not all of them are there.
    pub(crate) fn lent(&self) -> &'a [u8] {
        let Some(writing) = self.writing else { return &[] };
        match self.state {
            SlotState::Footing { bytes } => self.footer_buffer.get(..bytes as usize),
            _ => self.record_buffer.get(..(writing.to - self.base) as usize),
        }
        .unwrap_or_default()
    }

    /// The offset at which the records of the segment must end, so that the footer with one more entry fits behind them.
    pub(super) fn records_end_max(&self, geometry: &Geometry) -> u32 {
        records_end_max(self.notes, self.footer_buffer.len(), geometry)
    }

    /// The share of the segment that is used, in permille.
    pub(super) fn fill_permille(&self, segment_bytes: u32) -> u32 {
        let permille = u64::from(self.head) * 1000 / u64::from(segment_bytes.max(1));
        u32::try_from(permille).unwrap_or(u32::MAX)
    }
}

fn records_end_max(notes: &SlotNotes, footer_bytes: usize, geometry: &Geometry) -> u32 {
    if footer_bytes == 0 {
        return geometry.trailer_at();
    }
    let footer = geometry.padded(notes.footer.entry_bytes() + ENTRY_BYTES_MAX);
    if footer_bytes < (footer + geometry.padded(TRAILER_BYTES)) as usize {
        return 0;
    }
    geometry.trailer_at().saturating_sub(footer)
}
