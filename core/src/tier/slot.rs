//! Slots: the open segments, their buffers, and the way of a record from append to publication.
//!
//! ```text
//!  Empty ─1─► Filling ─2─► Full ─3─► Syncing ─4─► Footing ─5─► Empty
//!     ▲──────────┴───────────┴───────────┴────────────┘ 6
//! ```
//! 1 `take_opening` a segment was opened for a stream; 2 `seal_slot` the next record does not fit, or a version must lie
//! higher; 3 `poll_slots` all records are written; 4 `poll_slots` they are durable (rule 2); 5 `finish_slot_write` the footer
//! is written, the segment is sealed; 6 `abandon_slot` a write or sync failed: sealed without a footer.

use core::ops::{Deref, DerefMut};

use super::config::{SlotMemory, Stream};
use super::log::Log;
use super::{Action, Host, MediumError, Now};
use crate::cleanup::Ticket;
use crate::log::{
    ENTRY_BYTES_MAX, Flag, FooterWriter, Freed, Geometry, Kind, Location, SegmentState, TRAILER_BYTES,
};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SlotState {
    Empty,
    Filling,
    Full,
    Syncing { mark: u64 },
    Footing { bytes: u32 },
}

#[derive(Debug, Clone, Copy)]
struct Writing {
    ticket: Ticket,
    /// Offset in the segment up to which this write goes.
    to: u32,
    /// Records that it completes.
    records: usize,
    /// The position of the last append before it.
    position: u64,
}

/// What a machine notes of an open segment; usable in a `static`, where it takes no room in the image.
#[derive(Debug)]
pub struct SlotNotes {
    pub(super) state: SlotState,
    pub(super) segment: u32,
    pub(super) sequence: u32,
    pub(super) stream: Stream,
    /// Whether it was the last free segment: see [`Log::is_rescuing`].
    pub(super) is_rescue: bool,
    /// Offset in the segment of the first byte in the buffer.
    pub(super) base: u32,
    /// Where the next record goes.
    pub(super) head: u32,
    pub(super) footer: FooterWriter,
    /// How many records wait for publication.
    pub(super) placed: usize,
    writing: Option<Writing>,
    pub(super) first_unwritten: Option<u64>,
    pub(super) wants_write: bool,
}

impl SlotNotes {
    /// Notes of no segment.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            state: SlotState::Empty,
            segment: 0,
            sequence: 0,
            stream: Stream::Hot,
            is_rescue: false,
            base: 0,
            head: 0,
            footer: FooterWriter::new(),
            placed: 0,
            writing: None,
            first_unwritten: None,
            wants_write: false,
        }
    }
}

impl Default for SlotNotes {
    fn default() -> Self {
        Self::new()
    }
}

/// One open segment.
#[derive(Debug)]
pub(super) struct Slot<'m> {
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
    pub(super) fn new(memory: SlotMemory<'m>) -> Self {
        *memory.notes = SlotNotes::new();
        Self { memory }
    }

    pub(super) fn first_unwritten(&self) -> Option<u64> {
        self.first_unwritten
    }

    pub(super) fn is_written(&self) -> bool {
        self.placed == 0
    }

    /// Whether a relocated record waits for publication.
    pub(super) fn has_moved(&self) -> bool {
        let waiting = self.memory.placed.get(..self.placed).unwrap_or_default();
        waiting.iter().any(|p| p.record().is_some_and(|(_, placed)| placed.moved_from.is_some()))
    }

    /// Whether a record that takes the place of the one at `from` waits for publication.
    pub(super) fn replaces(&self, from: Location) -> bool {
        let waiting = self.memory.placed.get(..self.placed).unwrap_or_default();
        waiting.iter().any(|p| p.record().is_some_and(|(_, placed)| placed.moved_from == Some(from)))
    }

    /// Returns whether that is news.
    pub(super) fn want_write(&mut self) -> bool {
        let is_news = self.placed > 0 && !self.wants_write;
        self.wants_write |= is_news;
        is_news
    }

    pub(super) fn is_waiting(&self, ticket: Ticket) -> bool {
        self.writing.is_some_and(|w| w.ticket == ticket)
    }

    /// The bytes of the write in flight.
    pub(super) fn lent(&self) -> &[u8] {
        let Some(writing) = self.writing else { return &[] };
        match self.state {
            SlotState::Footing { bytes } => self.memory.footer.get(..bytes as usize),
            _ => self.memory.records.get(..(writing.to - self.base) as usize),
        }
        .unwrap_or_default()
    }

    /// Where the records of the segment must end, so that the footer with one entry more fits behind them.
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

impl Log<'_> {
    /// Begins to fill a segment that was opened.
    pub(super) fn fill_slot(&mut self, index: usize, segment: u32, sequence: u32, stream: Stream) {
        let is_rescue = self.free() == 0;
        let records_at = self.geometry.records_at();
        let Some(slot) = self.slots.get_mut(index) else { return };
        slot.state = SlotState::Filling;
        slot.segment = segment;
        slot.sequence = sequence;
        slot.stream = stream;
        slot.is_rescue = is_rescue;
        slot.base = records_at;
        slot.head = records_at;
        slot.footer = FooterWriter::default();
        slot.placed = 0;
        slot.first_unwritten = None;
        slot.wants_write = false;
    }

    /// Seals the segment of a slot, if it fills one; tells whether it does.
    pub(super) fn seal_slot(&mut self, index: usize) -> bool {
        let Some(slot) = self.slots.get_mut(index).filter(|s| s.state == SlotState::Filling) else {
            return false;
        };
        slot.state = SlotState::Full;
        slot.wants_write = slot.placed > 0;
        self.is_stirred = true;
        let segment = slot.segment;
        self.set_state(segment, SegmentState::Sealing);
        true
    }

    /// Wants everything appended to be written.
    pub(super) fn flush(&mut self) {
        for slot in &mut self.slots {
            self.is_stirred |= slot.want_write();
        }
    }

    /// Finds a write that a slot wants, or moves a slot on. Bounds: one pass over the slots.
    pub(super) fn poll_slots(&mut self, now: Now) -> Option<Action> {
        if self.is_backing_off(now) {
            return None;
        }
        for index in 0..self.slots.len() {
            let Some(slot) = self.slots.get(index).filter(|s| s.writing.is_none()) else { continue };
            if slot.wants_write && slot.placed > 0 {
                return Some(self.write_records(index));
            }
            match slot.state {
                SlotState::Full if slot.placed == 0 => self.await_sync(index),
                SlotState::Syncing { mark } if self.syncs.synced >= mark => {
                    if let Some(action) = self.write_footer(index) {
                        return Some(action);
                    }
                }
                _ => {}
            }
        }
        None
    }

    fn write_records(&mut self, index: usize) -> Action {
        let ticket = self.ticket(u16::try_from(index).unwrap_or(0));
        let position = self.appended;
        let Some(slot) = self.slots.get_mut(index) else {
            return Action::Write { ticket, segment: 0, offset: 0, bytes: 0 };
        };
        slot.writing = Some(Writing { ticket, to: slot.head, records: slot.placed, position });
        slot.wants_write = false;
        let (segment, offset, bytes) = (slot.segment, slot.base, slot.head - slot.base);
        self.counters.bytes_written += u64::from(bytes);
        Action::Write { ticket, segment, offset, bytes }
    }

    fn await_sync(&mut self, index: usize) {
        let mark = self.syncs.completed;
        let Some(slot) = self.slots.get_mut(index) else { return };
        if slot.memory.footer.is_empty() {
            self.close_slot(index, false);
            return;
        }
        slot.state = SlotState::Syncing { mark };
        self.syncs.want_mark(mark);
    }

    fn write_footer(&mut self, index: usize) -> Option<Action> {
        let (geometry, seed) = (self.geometry, self.seed);
        let ticket = self.ticket(u16::try_from(index).unwrap_or(0));
        let slot = self.slots.get_mut(index)?;
        let SlotMemory { footer, notes, .. } = &mut slot.memory;
        let finished = notes.footer.finish(&geometry, footer, seed, notes.sequence, notes.head);
        let Some(bytes) = finished else {
            self.close_slot(index, false);
            return None;
        };
        slot.state = SlotState::Footing { bytes };
        slot.writing = Some(Writing { ticket, to: slot.head, records: 0, position: 0 });
        let segment = slot.segment;
        let offset = geometry.second_header_at() - bytes;
        self.counters.bytes_written += u64::from(bytes);
        Some(Action::Write { ticket, segment, offset, bytes })
    }

    /// The segment of a slot is sealed, and the slot empty.
    fn close_slot(&mut self, index: usize, has_footer: bool) {
        let sealed_at = self.appended_bytes;
        let Some(slot) = self.slots.get_mut(index) else { return };
        slot.state = SlotState::Empty;
        slot.placed = 0;
        slot.writing = None;
        slot.first_unwritten = None;
        slot.wants_write = false;
        let segment = slot.segment;
        self.deaths += 1;
        if let Some(segment) = self.set_state(segment, SegmentState::Sealed) {
            segment.set(Flag::Footer, has_footer);
            segment.set_sealed_at(sealed_at);
        }
    }

    /// A write of a slot is complete, or failed.
    pub(super) fn finish_slot_write<H: Host>(
        &mut self,
        now: Now,
        index: usize,
        result: Result<(), MediumError>,
        host: &mut H,
    ) {
        let Some(slot) = self.slots.get_mut(index) else { return };
        let Some(writing) = slot.writing.take() else { return };
        if let Err(error) = result {
            self.fail_for(now, error);
            // A footer that failed costs only the footer: every record is durable.
            match self.slots.get(index).map(|s| s.state) {
                Some(SlotState::Footing { .. }) => self.close_slot(index, false),
                _ => self.abandon_slot(index, false, host),
            }
            return;
        }
        self.succeed();
        let mark = self.raise_mark();
        if let Some(SlotState::Footing { .. }) = self.slots.get(index).map(|s| s.state) {
            self.close_slot(index, true);
            return;
        }
        self.publish_written(index, writing.records, mark, host);
        let Some(slot) = self.slots.get_mut(index) else { return };
        let records_at = self.geometry.records_at();
        // What came in during the write moves to the front of the buffers.
        let shift = (writing.to - slot.base) as usize;
        let end = (slot.head - slot.base) as usize;
        slot.memory.records.copy_within(shift..end, 0);
        slot.memory.placed.copy_within(writing.records..slot.placed, 0);
        slot.placed -= writing.records;
        slot.base = writing.to;
        slot.first_unwritten =
            slot.first_unwritten.filter(|_| slot.placed > 0).map(|first| first.max(writing.position + 1));
        let (segment, used) = (slot.segment, slot.base - records_at);
        if let Some(segment) = self.segment(segment) {
            segment.set_used_bytes(used);
            segment.set_mark(mark);
        }
    }

    /// Seals a slot's segment after a failure; what was not published is handed back.
    pub(super) fn abandon_slot<H: Host>(&mut self, index: usize, is_suspect: bool, host: &mut H) {
        let Some(slot) = self.slots.get(index).filter(|s| s.state != SlotState::Empty) else { return };
        let (segment, sequence, placed) = (slot.segment, slot.sequence, slot.placed);
        if matches!(slot.state, SlotState::Footing { .. }) {
            self.close_slot(index, false);
            return;
        }
        for i in 0..placed {
            let Some((hash, placed)) = self.slots.get(index).and_then(|s| s.memory.placed.get(i)?.record())
            else {
                continue;
            };
            match placed.kind {
                Kind::Value | Kind::Tombstone => host.unwritten(&hash, &placed),
                Kind::Freed if placed.moved_from.is_none() => {
                    if let Some(freed) = Freed::from_bytes(&hash.0) {
                        self.unfree(freed.segment);
                    }
                }
                Kind::Freed => {}
                Kind::Time => self.clock.lose_write(),
            }
        }
        self.close_slot(index, false);
        self.version_floor = self.version_floor.max(sequence);
        self.counters.segments_abandoned += 1;
        self.may_be_suspect |= is_suspect;
        let has_footers = self.config.has_footers;
        if let Some(segment) = self.segment(segment) {
            segment.set(Flag::Suspect, is_suspect);
            // Where no footer could tell of them, what failed is the host's to count down, whether records lie before it or not.
            let is_counted = segment.is_counted() && (has_footers || segment.used_bytes() > 0);
            segment.set(Flag::Counted, is_counted);
        }
    }
}
