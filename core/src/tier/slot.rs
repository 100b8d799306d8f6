//! Slots: the open segments, their buffers, and the way of a record from append to publication.
//!
//! ```text
//!  Empty ─1─► Filling ─2─► Full ─3─► Syncing ─4─► Footing ─5─► Empty
//!     ▲──────────┴───────────┴───────────┴────────────┘ 6
//! ```
//! 1 `take_opening` a segment was opened for a stream; 2 `seal_slot` the next record does not fit, or a version must lie
//! higher; 3 `poll_slots` all records are written; 4 `poll_slots` they are durable (rule 2); 5 `finish_slot_write` the footer
//! is written, the segment is sealed; 6 `abandon_slot` a write or sync failed: sealed without a footer.

use super::config::{Pending, SlotMemory, Stream, Streams};
use super::log::Log;
use super::{Action, AppendError, Fresh, Host, MediumError, Now, Placed, Published};
use crate::cleanup::Ticket;
use crate::log::{
    Checksum, ENTRY_BYTES_MAX, FooterEntry, FooterWriter, Freed, Geometry, KeyHash, Kind, Location,
    RecordHeader, SegmentState, TRAILER_BYTES,
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

/// One open segment.
#[derive(Debug)]
pub(super) struct Slot<'m> {
    memory: SlotMemory<'m>,
    pub(super) state: SlotState,
    pub(super) segment: u32,
    pub(super) sequence: u32,
    pub(super) stream: Stream,
    /// Offset in the segment of the first byte in the buffer.
    base: u32,
    /// Where the next record goes.
    head: u32,
    footer: FooterWriter,
    /// How many records wait for publication.
    placed: usize,
    writing: Option<Writing>,
    first_unwritten: Option<u64>,
    wants_write: bool,
}

/// A record on its way into a slot.
#[derive(Debug, Clone, Copy)]
pub(super) struct Incoming<'a> {
    pub(super) hash: KeyHash,
    pub(super) header: RecordHeader,
    /// Key, then value.
    pub(super) parts: [&'a [u8]; 2],
    pub(super) payload: Checksum,
    pub(super) moved_from: Option<Location>,
}

impl<'m> Slot<'m> {
    pub(super) fn new(memory: SlotMemory<'m>) -> Self {
        Self {
            memory,
            state: SlotState::Empty,
            segment: 0,
            sequence: 0,
            stream: Stream::Warm,
            base: 0,
            head: 0,
            footer: FooterWriter::default(),
            placed: 0,
            writing: None,
            first_unwritten: None,
            wants_write: false,
        }
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
        waiting.iter().any(|p| p.0.is_some_and(|(_, placed)| placed.moved_from.is_some()))
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
    fn records_end_max(&self, geometry: &Geometry) -> u32 {
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
        (u64::from(self.head) * 1000 / u64::from(segment_bytes.max(1))) as u32
    }
}

impl Log<'_> {
    /// The slot that fills a segment of this stream.
    pub(super) fn filling(&self, stream: Stream) -> Option<usize> {
        self.slots.iter().position(|s| s.state == SlotState::Filling && s.stream == stream)
    }

    /// The same, if a record of so many bytes fits that segment: one that does not goes to the other stream rather than leave
    /// the rest of a segment unused.
    fn filling_with_room(&self, stream: Stream, bytes: u32) -> Option<usize> {
        let index = self.filling(stream)?;
        let slot = self.slots.get(index)?;
        (slot.head.saturating_add(bytes) <= slot.records_end_max(&self.geometry)).then_some(index)
    }

    /// Appends a client's record.
    pub(super) fn append_fresh(&mut self, now: Now, fresh: &Fresh<'_>) -> Result<Location, AppendError> {
        let header = fresh.header();
        let bytes = header.record_bytes(&self.geometry);
        // It must fit once it is relocated, too.
        if header.relocated_bytes(&self.geometry) > self.config.record_bytes_max {
            return Err(AppendError::TooLong(self.config.record_bytes_max));
        }
        if self.is_backing_off(now) {
            return Err(AppendError::Busy);
        }
        let index = self.fresh_slot(fresh.after, bytes)?;
        self.note_time(index)?;
        let position = self.appended + 1;
        let incoming = Incoming {
            hash: fresh.hash,
            header,
            parts: [fresh.payload, &[]],
            payload: fresh.checksum,
            moved_from: None,
        };
        let location = self.place(index, &incoming)?;
        self.appended = position;
        self.appended_bytes += u64::from(bytes);
        self.counters.fresh_records += 1;
        let before = fresh.after.map(|v| v.sequence);
        match (fresh.kind, before) {
            (Kind::Tombstone, Some(before)) => self.ages.forget(before),
            (Kind::Tombstone, None) => {}
            _ => self.ages.note(location.sequence, before, bytes, &self.geometry),
        }
        self.counters.fresh_bytes += u64::from(bytes);
        if let Some(slot) = self.slots.get_mut(index) {
            slot.first_unwritten.get_or_insert(position);
        }
        Ok(location)
    }

    /// Finds a slot in which the record's version is above `after`: a later write of a key must have the higher version,
    /// whichever stream it goes to.
    fn fresh_slot(&mut self, after: Option<crate::log::Version>, bytes: u32) -> Result<usize, AppendError> {
        let stream = self.fresh_stream(after.map(|v| v.sequence));
        let floor = after.map_or(0, |v| v.sequence).max(self.version_floor + 1);
        let high_enough = |slot: &Slot<'_>| slot.sequence >= floor;
        let other = if stream == Stream::Hot { Stream::Warm } else { Stream::Hot };
        for stream in [stream, other] {
            if let Some(index) = self.filling_with_room(stream, bytes)
                && self.slots.get(index).is_some_and(high_enough)
            {
                return Ok(index);
            }
        }
        // Neither will do: the next segment to be opened does.
        if let Some(index) = self.filling(stream) {
            if self.config.streams == Streams::Four && self.filling(other).is_none() {
                return self.take_opening(other);
            }
            self.seal_slot(index);
        }
        self.take_opening(stream)
    }

    /// Appends a record of the machine's own making: relocated, tombstone, freed.
    pub(super) fn append_relocated(
        &mut self,
        stream: Stream,
        incoming: &Incoming<'_>,
    ) -> Result<Location, AppendError> {
        let bytes = incoming.header.record_bytes(&self.geometry);
        let other = if stream == Stream::Young { Stream::Old } else { Stream::Young };
        let with_room =
            self.filling_with_room(stream, bytes).or_else(|| self.filling_with_room(other, bytes));
        let index = match with_room.or_else(|| self.filling(stream)) {
            Some(index) => index,
            None => self.take_opening(stream)?,
        };
        self.place(index, incoming)
    }

    /// Writes the clock into the log when it is due (rule 11).
    fn note_time(&mut self, index: usize) -> Result<(), AppendError> {
        if self.clock_s.saturating_sub(self.clock_written_s) < self.config.time_every_s {
            return Ok(());
        }
        let value = self.clock_s.to_le_bytes();
        let mut hash = KeyHash::default();
        hash.0[..4].copy_from_slice(&value);
        let header = RecordHeader {
            kind: Kind::Time,
            codec: 1,
            key_bytes: 0,
            value_bytes: 4,
            expires_s: None,
            origin: None,
        };
        let incoming =
            Incoming { hash, header, parts: [&value, &[]], payload: Checksum::of(&value), moved_from: None };
        self.place(index, &incoming)?;
        self.clock_written_s = self.clock_s;
        Ok(())
    }

    /// Puts a record into a slot's buffer. `Busy` leaves everything as it was, but may seal the segment.
    fn place(&mut self, index: usize, incoming: &Incoming<'_>) -> Result<Location, AppendError> {
        let geometry = self.geometry;
        let bytes = incoming.header.record_bytes(&geometry);
        let Some(slot) = self.slots.get_mut(index) else { return Err(AppendError::Busy) };
        let has_footer = !slot.memory.footer.is_empty();
        let end = slot.head.saturating_add(bytes);
        if end > slot.records_end_max(&geometry) {
            self.seal_slot(index);
            return Err(AppendError::Busy);
        }
        let at = (slot.head - slot.base) as usize;
        if at + bytes as usize > slot.memory.records.len() || slot.placed >= slot.memory.placed.len() {
            let is_news = slot.want_write();
            self.is_stirred |= is_news;
            return Err(AppendError::Busy);
        }
        let location = Location { segment: slot.segment, offset: slot.head, sequence: slot.sequence };
        let (header, header_bytes) = incoming.header.encode(&geometry, incoming.payload, slot.sequence);
        let Some(out) = slot.memory.records.get_mut(at..at + bytes as usize) else {
            return Err(AppendError::Busy);
        };
        fill(out, &[&header[..header_bytes], incoming.parts[0], incoming.parts[1]], geometry.erase_value());
        let version = incoming.header.origin.unwrap_or(location.version());
        let entry = FooterEntry {
            hash: incoming.hash,
            offset: slot.head,
            kind: incoming.header.kind,
            expires_s: incoming.header.expires_s,
            origin: incoming.header.origin,
        };
        if has_footer {
            slot.footer.push(&geometry, slot.memory.footer, &entry);
        }
        let placed = Placed {
            location,
            version,
            record_bytes: bytes,
            kind: incoming.header.kind,
            expires_s: incoming.header.expires_s,
            moved_from: incoming.moved_from,
        };
        if let Some(place) = slot.memory.placed.get_mut(slot.placed) {
            *place = Pending(Some((incoming.hash, placed)));
            slot.placed += 1;
        }
        slot.head = end;
        Ok(location)
    }

    /// Begins to fill a segment that was opened.
    pub(super) fn fill_slot(&mut self, index: usize, segment: u32, sequence: u32, stream: Stream) {
        let records_at = self.geometry.records_at();
        let Some(slot) = self.slots.get_mut(index) else { return };
        slot.state = SlotState::Filling;
        slot.segment = segment;
        slot.sequence = sequence;
        slot.stream = stream;
        slot.base = records_at;
        slot.head = records_at;
        slot.footer = FooterWriter::default();
        slot.placed = 0;
        slot.first_unwritten = None;
        slot.wants_write = false;
    }

    pub(super) fn seal_slot(&mut self, index: usize) {
        let Some(slot) = self.slots.get_mut(index).filter(|s| s.state == SlotState::Filling) else { return };
        slot.state = SlotState::Full;
        slot.wants_write = slot.placed > 0;
        self.is_stirred = true;
        let segment = slot.segment;
        if let Some(segment) = self.segment(segment) {
            segment.state = SegmentState::Sealing;
        }
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
        let geometry = self.geometry;
        let ticket = self.ticket(u16::try_from(index).unwrap_or(0));
        let slot = self.slots.get_mut(index)?;
        let finished = slot.footer.finish(&geometry, slot.memory.footer, slot.sequence, slot.head);
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
        if let Some(segment) = self.segment(segment) {
            segment.state = SegmentState::Sealed;
            segment.has_footer = has_footer;
            segment.sealed_at = sealed_at;
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
        if result.is_err() {
            self.back_off(now);
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
            segment.used_bytes = used;
        }
    }

    /// Points the index at records that are written. Bounds: the records of one write.
    fn publish_written<H: Host>(&mut self, index: usize, records: usize, mark: u64, host: &mut H) {
        for i in 0..records {
            let Some((hash, placed)) = self.slots.get(index).and_then(|s| s.memory.placed.get(i)?.0) else {
                continue;
            };
            match placed.kind {
                Kind::Value | Kind::Tombstone => {
                    let published = host.publish(&hash, &placed);
                    self.account(&placed, published);
                }
                Kind::Freed => self.publish_freed(&hash, &placed, mark),
                Kind::Time => {}
            }
        }
    }

    /// Keeps the live bytes of the table in step with the index (I-GC-4).
    pub(super) fn account(&mut self, placed: &Placed, published: Published) {
        let Published::Live(superseded) = published else { return };
        if let Some(segment) = self.segment(placed.location.segment) {
            segment.gain(placed.record_bytes);
        }
        if let Some(old) = superseded {
            self.release(&old);
        }
    }

    pub(super) fn release(&mut self, old: &super::Released) {
        if let Some(segment) = self.segment(old.location.segment)
            && segment.sequence == old.location.sequence
        {
            segment.lose(old.record_bytes);
        }
    }

    fn publish_freed(&mut self, hash: &KeyHash, placed: &Placed, mark: u64) {
        let Some(freed) = Freed::from_bytes(&hash.0) else { return };
        let Some(segment) = self.segment(freed.segment) else { return };
        let is_current = segment.sequence == freed.sequence
            && matches!(segment.state, SegmentState::Freeing | SegmentState::Erased);
        if !is_current {
            return;
        }
        let before = segment.freed_in.replace((placed.location.segment, placed.record_bytes));
        if segment.state == SegmentState::Freeing && before.is_none() {
            segment.mark = mark;
        }
        if let Some((at, bytes)) = before
            && let Some(holder) = self.segment(at)
        {
            holder.lose(bytes);
        }
        if let Some(holder) = self.segment(placed.location.segment) {
            holder.gain(placed.record_bytes);
        }
        self.syncs.want_mark(mark);
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
            let Some((hash, placed)) = self.slots.get(index).and_then(|s| s.memory.placed.get(i)?.0) else {
                continue;
            };
            match placed.kind {
                Kind::Value | Kind::Tombstone => host.unwritten(&hash, &placed),
                Kind::Freed if placed.moved_from.is_none() => {
                    if let Some(freed) = Freed::from_bytes(&hash.0) {
                        self.unfree(freed.segment);
                    }
                }
                Kind::Freed | Kind::Time => {}
            }
        }
        self.close_slot(index, false);
        self.version_floor = self.version_floor.max(sequence);
        self.counters.segments_abandoned += 1;
        if let Some(segment) = self.segment(segment) {
            segment.is_suspect = is_suspect;
        }
    }
}

/// Lays parts one after the other and fills the rest.
fn fill(out: &mut [u8], parts: &[&[u8]], rest: u8) {
    let mut at = 0;
    for part in parts {
        if let Some(place) = out.get_mut(at..at + part.len()) {
            place.copy_from_slice(part);
            at += part.len();
        }
    }
    if let Some(place) = out.get_mut(at..) {
        place.fill(rest);
    }
}
