//! Where a record goes: the choice of a stream and slot, and its bytes into the slot's buffer.

use super::error::AppendError;
use super::fresh::{Fresh, Incoming};
use super::log::Log;
use super::memory::Pending;
use super::notes::SlotState;
use super::slot::{Slot, SlotMut};
use super::slots::SlotIndex;
use super::state::{Parting, StampWait};
use crate::codec::CodecId;
use crate::config::Stream;
use crate::drive::Now;
use crate::durability::Stamp;
use crate::format::{FooterEntry, Kind, Location, RecordHeader, Sequence, Version};
use crate::index::{Placed, Released};
use crate::invariant::Invariant;

/// The demand of a record on a slot: its bytes, and the lowest sequence that the slot may have.
#[derive(Debug, Clone, Copy)]
struct SlotNeed {
    bytes: u32,
    floor: Sequence,
    is_intent: bool,
    /// Whether it is a client's.
    is_fresh: bool,
}

/// The part of a segment, as a divisor, that is worth keeping open for shorter records.
const REST_WORTH_KEEPING: u32 = 64;

impl Log<'_> {
    /// The slot that fills a segment of this stream.
    pub(super) fn filling(&self, stream: Stream) -> Option<(SlotIndex, Slot<'_>)> {
        let is_shared = self.is_one_stream();
        self.writer.slots.find(|s| s.state == SlotState::Filling && (is_shared || s.stream == stream))
    }

    fn slot_with(&self, stream: Stream, need: SlotNeed) -> Option<SlotIndex> {
        let (index, slot) = self.filling(stream)?;
        let end =
            if need.is_fresh { self.fresh_end(&slot) } else { slot.records_end_max(self.layout.geometry()) };
        let fits = slot.head.saturating_add(need.bytes) <= end;
        (fits && slot.sequence >= need.floor).then_some(index)
    }

    /// The offset at which clients' records must end in an open segment.
    ///
    /// With one free segment each segment must be possible to relocate to one output, with its erase intent. So a segment with
    /// fewer stale bytes keeps space for one.
    pub(super) fn fresh_end(&self, slot: &Slot<'_>) -> u32 {
        let end = slot.records_end_max(self.layout.geometry());
        let intent = self.layout.config().erase_intent_bytes();
        let has_less = self.keeps_one_free() && self.segments.get(slot.segment).stale_bytes() < intent;
        if has_less { end.saturating_sub(intent) } else { end }
    }

    /// Tells whether the open segment of a stream has space for a record of the machine's own, of this length.
    pub(crate) fn has_space(&self, stream: Stream, bytes: u32) -> bool {
        let need = SlotNeed { bytes, floor: Sequence::NONE, is_intent: false, is_fresh: false };
        self.slot_with(stream, need).is_some()
    }

    /// Finds a slot for a record; `None` when the stream has none and one is to be opened.
    ///
    /// A record may be longer than the rest of its stream's segment. It then goes to the other stream if that rest is worth keeping
    /// for shorter ones, or if no segment can be opened. Else the segment is sealed.
    fn choose_slot(&mut self, stream: Stream, other: Stream, need: SlotNeed) -> Option<SlotIndex> {
        if let Some(index) = self.slot_with(stream, need) {
            return Some(index);
        }
        // No segment follows: the rest of the open ones is for shorter records.
        if self.is_at_end() {
            return self.slot_with(other, need);
        }
        let rest = self.filling(stream).map(|(_, slot)| {
            let is_high = slot.sequence >= need.floor;
            let rest = slot.records_end_max(self.layout.geometry()).saturating_sub(slot.head);
            if is_high { rest } else { 0 }
        });
        let is_worth_keeping = rest.is_some_and(|rest| rest >= self.least_rest(u32::MAX));
        // It is better to wait for a segment that is about to be free than to mix streams, since their records become stale at
        // different times. Requests that others wait for never wait: erase intents, and records under suspicion.
        let may_wait = !need.is_intent && !self.segments.has_suspects() && self.segments.leaving() > 0;
        let is_out_of_space = !self.may_open(stream, need.is_intent) && !may_wait;
        if (is_worth_keeping || is_out_of_space)
            && let Some(index) = self.slot_with(other, need)
        {
            return Some(index);
        }
        if let Some((index, _)) = self.filling(stream) {
            let _ = self.seal_slot(index);
        }
        None
    }

    /// Appends a client's record.
    pub(crate) fn append_fresh(
        &mut self,
        now: Now,
        fresh: &Fresh<'_>,
        rest: &[u8],
    ) -> Result<Location, AppendError> {
        let incoming = self.incoming(fresh, rest)?;
        let bytes = incoming.header.record_bytes(self.layout.geometry());
        if self.is_backing_off(now) || self.copies.is_resetting() || self.has_batch() {
            return Err(AppendError::Busy);
        }
        let index = self.fresh_slot(fresh, bytes).inspect_err(|_| self.writer.wanted_bytes = bytes)?;
        if self.keeps_one_free() {
            // A write of its own: a cut may program the end of a write and not its beginning. A whole record behind a hole could not be
            // relocated, and no other segment could take its place. One time record is enough for each wait, however long a write
            // takes. A record that is not offered again within `time_every_s` waits no more.
            if !self.is_stamped(now) && self.is_time_due() && self.has_space_for_time(index, bytes) {
                self.place_stamp(index)?;
                self.writer.stamp = StampWait::UnderWay;
                self.flush();
                return Err(AppendError::Busy);
            }
        } else {
            self.note_time(index)?;
        }
        (self.writer.wanted_bytes, self.writer.stamp) = (0, StampWait::None);
        self.writer.parting = Parting::None;
        let location = self.place(index, &incoming)?;
        self.account_fresh(now, index, fresh, location, bytes);
        Ok(location)
    }

    /// The record of a client, if it is short enough.
    pub(super) fn incoming<'r>(
        &self,
        fresh: &Fresh<'r>,
        rest: &'r [u8],
    ) -> Result<Incoming<'r>, AppendError> {
        let header = fresh.header(rest);
        let config = self.layout.config();
        // It must also fit once it is relocated with an origin.
        if config.longest_form_bytes(&header) > config.record_bytes_max {
            return Err(AppendError::TooLong(config.record_bytes_max));
        }
        // The version of a fresh record is its place, which is not known yet.
        let origin = self.keeps_one_free().then_some(Version::NONE);
        let header = RecordHeader { origin, ..header };
        Ok(Incoming {
            hash: fresh.hash,
            header,
            parts: [fresh.payload, rest],
            payload: fresh.checksum,
            relocated_from: None,
        })
    }

    /// A client's record was placed.
    pub(super) fn account_fresh(
        &mut self,
        now: Now,
        index: SlotIndex,
        fresh: &Fresh<'_>,
        location: Location,
        bytes: u32,
    ) {
        self.writer.appended += 1;
        self.writer.fresh_ms = now.monotonic_ms;
        self.writer.appended_bytes += u64::from(bytes);
        self.counters.fresh_records += 1;
        let before = fresh.after.map(|v| v.sequence);
        match (fresh.kind, before) {
            (Kind::Tombstone, Some(before)) => self.writer.streams.ages.forget(before),
            (Kind::Tombstone, None) => {}
            _ => self.writer.streams.ages.note(location.sequence, before, bytes, self.layout.geometry()),
        }
        self.counters.fresh_bytes += u64::from(bytes);
        let position = self.writer.appended;
        if let Some(mut slot) = self.writer.slots.get_mut(index) {
            slot.first_unwritten.get_or_insert(position);
        }
    }

    /// Finds a slot in which the record's version is above `after`: a later write of a key must have the higher version,
    /// whichever stream it goes to.
    fn fresh_slot(&mut self, fresh: &Fresh<'_>, bytes: u32) -> Result<SlotIndex, AppendError> {
        let after = fresh.after;
        let floor = after.map_or(Sequence::NONE, |v| v.sequence).max(self.writer.version_floor.next());
        let need = SlotNeed { bytes, floor, is_intent: false, is_fresh: true };
        if let Some(index) = after.and_then(|after| self.unpublished_in(after)) {
            return self.follow(index, need);
        }
        if !self.may_share() {
            return Err(AppendError::Busy);
        }
        let mut stream = self.fresh_stream(after.map(|v| v.sequence), fresh.replaces);
        let is_open = self.slot_with(stream, need).is_some();
        if !self.may_join(stream, is_open) {
            stream = Stream::Warm;
        }
        // Where the segment of the stream is too old for the record, it is kept open for others if that record has another place.
        if self.filling(stream).is_some_and(|(_, slot)| slot.sequence < floor) {
            let open = |s: Stream| self.slot_with(s, need).filter(|_| self.may_join(s, true));
            let other = [Stream::Warm, Stream::Young, Stream::Old, Stream::Hot].into_iter().find_map(open);
            if let Some(index) = other {
                return Ok(index);
            }
        }
        let other = if stream == Stream::Warm { Stream::Hot } else { Stream::Warm };
        if let Some(index) = self.choose_slot(stream, other, need) {
            return Ok(index);
        }
        self.take_opening(stream, false)
    }

    /// Tells whether a fresh record has a place without any cleaning, with a time record before it. If not, space for it is
    /// wanted from now on.
    pub(crate) fn reserve(&mut self, record_bytes: u32) -> bool {
        // With one free segment a time record is written only where there is space for both.
        let time_bytes = if self.keeps_one_free() { 0 } else { self.layout.config().time_bytes() };
        let bytes = record_bytes.saturating_add(time_bytes);
        let has_space = (self.may_share() && self.rest() >= bytes) || self.may_open(Stream::Warm, false);
        if !has_space {
            self.writer.wanted_bytes = bytes;
        }
        has_space
    }

    /// Tells whether a slot has space for a time record and a client's record. Where it has none, the next header states the time.
    fn has_space_for_time(&self, index: SlotIndex, record_bytes: u32) -> bool {
        let bytes = record_bytes.saturating_add(self.layout.config().time_bytes());
        self.writer
            .slots
            .get(index)
            .is_some_and(|slot| slot.head.saturating_add(bytes) <= self.fresh_end(&slot))
    }

    /// The fewest bytes left in an open segment that are worth keeping for shorter records than one of this length.
    pub(super) fn least_rest(&self, bytes: u32) -> u32 {
        bytes.min(self.layout.geometry().segment_bytes() / REST_WORTH_KEEPING)
    }

    /// Bytes left in the open segment for fresh records.
    pub(crate) fn rest(&self) -> u32 {
        self.filling(Stream::Warm).map_or(0, |(_, slot)| self.fresh_end(&slot).saturating_sub(slot.head))
    }

    /// The slot in which the record of this version waits for publication.
    fn unpublished_in(&self, version: Version) -> Option<SlotIndex> {
        let holds = |slot: &Slot<'_>| {
            !slot.is_written() && slot.sequence == version.sequence && slot.base <= version.offset
        };
        self.writer.slots.find(holds).map(|(index, _)| index)
    }

    /// The index must learn of the writes of a key in their order: a tombstone that is published before its value would hide
    /// nothing yet, and be dropped (rule 6). So a record goes behind the one that it replaces, or waits until that one is
    /// written.
    fn follow(&mut self, index: SlotIndex, need: SlotNeed) -> Result<SlotIndex, AppendError> {
        let geometry = *self.layout.geometry();
        let Some(mut slot) = self.writer.slots.get_mut(index) else { return Err(AppendError::Busy) };
        let fits = slot.head.saturating_add(need.bytes) <= slot.records_end_max(&geometry);
        if slot.state == SlotState::Filling && fits && slot.sequence >= need.floor {
            return Ok(index);
        }
        let is_news = slot.want_write();
        self.stir(is_news);
        Err(AppendError::Busy)
    }

    /// Appends a record that the machine makes: a relocated record, a tombstone, or an erase intent.
    pub(crate) fn append_relocated(
        &mut self,
        stream: Stream,
        incoming: &Incoming<'_>,
    ) -> Result<Location, AppendError> {
        // A record without an origin ranks by its place. So every record of its key that was appended before must be published
        // first: one of a client, or the tombstone of an eviction, which a copy behind it would outrank.
        let slots = &self.writer.slots;
        let has_unwritten = || slots.iter().any(|slot| slot.first_unwritten().is_some());
        let replaces = |old: Released| slots.has_relocated(|from| from == old.location);
        if self.is_one_stream() && (has_unwritten() || incoming.relocated_from.is_some_and(replaces)) {
            self.flush();
            return Err(AppendError::Busy);
        }
        let bytes = incoming.header.record_bytes(self.layout.geometry());
        let is_intent = incoming.header.kind == Kind::EraseIntent;
        let need = SlotNeed { bytes, floor: Sequence::NONE, is_intent, is_fresh: false };
        // Relocation fills a segment that fresh records opened, but opens none for them.
        let (stream, open) = match stream {
            Stream::Warm => (Stream::Young, self.slot_with(stream, need)),
            _ => (stream, None),
        };
        let other = if stream == Stream::Young { Stream::Old } else { Stream::Young };
        let index = match open.or_else(|| self.choose_slot(stream, other, need)) {
            Some(index) => index,
            None => self.take_opening(stream, is_intent)?,
        };
        // Streams were merged or separated since the record was made, so it is made again.
        let is_keyed = incoming.header.kind.is_keyed();
        let has_origin = incoming.header.origin.is_some();
        if is_keyed && has_origin == (self.is_one_stream() && !self.keeps_versions()) {
            self.stir(true);
            return Err(AppendError::Busy);
        }
        self.writer.is_starved &= is_intent;
        self.place(index, incoming)
    }

    /// Writes the time that is owed to the log, and wants it durable. Else records that expired by it could come back, where
    /// the wall clock is set back before the next mount. A client's record would bring a time record with it, but none may
    /// come.
    ///
    /// A time whose write or sync failed is owed again (see `durability/clock.rs`). It is placed anew, and written after the
    /// same wait as other failed work.
    pub(crate) fn poll_time(&mut self) {
        // Records under suspicion come first: nothing counts as durable before they are written again, and space may be short.
        let may_place = !self.segments.has_suspects() && !self.has_batch();
        if self.durability.clock().is_owed() && self.is_time_due() && may_place {
            self.place_time();
        }
        let is_placed = self.durability.clock().is_owed() && !self.is_time_due();
        if is_placed && self.durability.settle_time(self.writer.appended) {
            self.flush();
        }
    }

    /// Puts a time record into an open segment, or asks for a segment.
    fn place_time(&mut self) {
        // The space of an output is for the records of its victim, which may take all of it. One that held the newest time leaves
        // space for it.
        if self.keeps_one_free() && self.free() == 0 && !self.durability.clock().is_lost() {
            return;
        }
        let filling = self.writer.slots.find(|s| s.state == SlotState::Filling);
        match filling {
            // Where there is no space, the segment is sealed or written, and a later poll does it.
            Some((index, _)) => drop(self.note_time(index)),
            None if self.writer.opening.is_free_to_ask() && self.may_open(Stream::Warm, false) => {
                let is_taken = self.take_opening(Stream::Old, false).is_ok();
                self.stir(is_taken);
            }
            None => {}
        }
    }

    /// Whether the client's record that is offered now has its time record.
    fn is_stamped(&self, now: Now) -> bool {
        match self.writer.stamp {
            StampWait::None => false,
            StampWait::UnderWay => true,
            StampWait::Over => {
                let wait_ms = u64::from(self.layout.config().time_every_s) * 1_000;
                now.monotonic_ms.saturating_sub(self.writer.fresh_ms) <= wait_ms
            }
        }
    }

    fn is_time_due(&self) -> bool {
        self.durability.clock().is_due(self.layout.config().time_every_s)
    }

    /// Writes a time record into the log when one is due (rule 11).
    fn note_time(&mut self, index: SlotIndex) -> Result<(), AppendError> {
        if self.is_time_due() { self.place_stamp(index) } else { Ok(()) }
    }

    /// Puts a time record into a slot's buffer.
    pub(super) fn place_stamp(&mut self, index: SlotIndex) -> Result<(), AppendError> {
        self.shorten_time(index);
        let stamp = self.durability.stamp();
        let hash = stamp.hash();
        let (value, _) = hash.0.split_at(stamp.len().min(hash.0.len()));
        let header = RecordHeader {
            kind: Kind::Time,
            codec: CodecId::Raw,
            key_bytes: 0,
            value_bytes: self.watch.must_have(Invariant::WrittenBytes, u32::try_from(value.len()).ok()),
            expires_s: None,
            origin: None,
        };
        let incoming = Incoming {
            hash,
            header,
            parts: [value, &[]],
            payload: self.layout.seed().payload(value),
            relocated_from: None,
        };
        self.place(index, &incoming)?;
        self.durability.note_time_placed();
        Ok(())
    }

    /// With one free segment, a full log may have no space for the lead of its time over the wall clock, beside the record that
    /// a client waits to write. The lead is given up then.
    fn shorten_time(&mut self, index: SlotIndex) {
        if !self.keeps_one_free() || self.durability.stamp().len() < Stamp::BYTES_MAX {
            return;
        }
        let config = self.layout.config();
        let needed = config.time_bytes() + config.erase_intent_bytes() + config.record_bytes_max;
        let end = |slot: &Slot<'_>| slot.records_end_max(self.layout.geometry()).saturating_sub(slot.head);
        if self.writer.slots.get(index).is_some_and(|slot| end(&slot) < needed) {
            self.durability.drop_lead();
        }
    }

    /// Puts a record into a slot's buffer. `Busy` leaves everything as it was, but may seal the segment.
    fn place(&mut self, index: SlotIndex, incoming: &Incoming<'_>) -> Result<Location, AppendError> {
        self.place_as(index, incoming, false)
    }

    /// As [`place`](Self::place); with `is_member` the record gets the mark of a member of a batch.
    pub(super) fn place_as(
        &mut self,
        index: SlotIndex,
        incoming: &Incoming<'_>,
        is_member: bool,
    ) -> Result<Location, AppendError> {
        let geometry = *self.layout.geometry();
        let bytes = incoming.header.record_bytes(&geometry);
        let Some(mut slot) = self.writer.slots.get_mut(index) else { return Err(AppendError::Busy) };
        let end = slot.head.saturating_add(bytes);
        if end > slot.records_end_max(&geometry) {
            let _ = self.seal_slot(index);
            return Err(AppendError::Busy);
        }
        let SlotMut { record_buffer: records, footer_buffer: footer, pending: placed, notes } = &mut slot;
        let at = (notes.head - notes.base) as usize;
        let places = (records.get_mut(at..at + bytes as usize), placed.get_mut(notes.placed));
        let (Some(out), Some(note)) = places else {
            let is_news = slot.want_write();
            self.stir(is_news);
            return Err(AppendError::Busy);
        };
        let location = Location { segment: notes.segment, offset: notes.head, sequence: notes.sequence };
        // A client's record that has an origin has that of its own place.
        let fresh_origin = incoming.header.origin.map(|_| location.version());
        let origin = if incoming.relocated_from.is_none() { fresh_origin } else { incoming.header.origin };
        let stored = RecordHeader { origin, ..incoming.header };
        let (header, header_bytes) = if is_member {
            stored.encode_member(&geometry, incoming.payload, location)
        } else {
            stored.encode(&geometry, incoming.payload, location)
        };
        let header = self.watch.must_have(Invariant::WrittenBytes, header.get(..header_bytes));
        let parts = [header, incoming.parts[0], incoming.parts[1]];
        let is_whole = fill(out, &parts, geometry.erase_value());
        self.watch.hold(Invariant::WrittenBytes, is_whole);
        self.writer.longest_stored_bytes = self.writer.longest_stored_bytes.max(bytes);
        let version = origin.unwrap_or(location.version());
        let entry = FooterEntry {
            hash: incoming.hash,
            offset: notes.head,
            kind: incoming.header.kind,
            expires_s: incoming.header.expires_s,
            origin,
        };
        if !footer.is_empty() {
            let has_space = notes.footer.push(&geometry, footer, &entry);
            self.watch.hold(Invariant::PlacedRecords, has_space);
        }
        let placed = Placed {
            location,
            version,
            record_bytes: bytes,
            kind: incoming.header.kind,
            expires_s: incoming.header.expires_s,
            relocated_from: incoming.relocated_from.map(|from| from.location),
            relocated_bytes: incoming.relocated_from.map_or(0, |from| from.record_bytes),
        };
        *note = Pending::of(incoming.hash, &placed);
        notes.placed += 1;
        notes.head = end;
        Ok(location)
    }
}

/// Lays parts one after the other and fills the rest. Tells whether there was space for all.
fn fill(out: &mut [u8], parts: &[&[u8]], rest: u8) -> bool {
    let mut at = 0;
    for part in parts {
        let Some(place) = out.get_mut(at..at + part.len()) else { return false };
        place.copy_from_slice(part);
        at += part.len();
    }
    if let Some(place) = out.get_mut(at..) {
        place.fill(rest);
    }
    true
}
