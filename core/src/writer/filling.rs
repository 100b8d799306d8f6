//! Fills, writes and seals the slots.

use super::log::Log;
use super::notes::{SlotState, Writing};
use super::slot::SlotMut;
use super::slots::SlotIndex;
use super::state::StampWait;
use crate::config::Stream;
use crate::drive::{Action, MediumError, Now};
use crate::format::{EraseIntent, FooterWriter, Kind, SegmentIndex, Sequence};
use crate::index::Host;
use crate::invariant::Invariant;
use crate::segments::{Flag, SegmentState};

impl Log<'_> {
    /// Begins to fill a segment that was opened.
    pub(super) fn fill_slot(
        &mut self,
        index: SlotIndex,
        segment: SegmentIndex,
        sequence: Sequence,
        stream: Stream,
    ) {
        let is_rescue = self.free() == 0;
        let records_at = self.layout.geometry().records_at();
        let Some(mut slot) = self.writer.slots.get_mut(index) else { return };
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

    /// Seals the segment of a slot, if the slot fills one; tells whether it did.
    pub(super) fn seal_slot(&mut self, index: SlotIndex) -> bool {
        let slot = self.writer.slots.get_mut(index);
        let Some(mut slot) = slot.filter(|s| s.state == SlotState::Filling) else {
            return false;
        };
        slot.state = SlotState::Full;
        slot.wants_write = slot.placed > 0;
        let segment = slot.segment;
        self.stir(true);
        self.set_state(segment, SegmentState::Sealing);
        true
    }

    /// Wants everything appended to be written; tells whether any of it was not wanted before.
    pub(crate) fn flush(&mut self) -> bool {
        let mut is_news = false;
        for index in self.writer.slots.indices() {
            is_news |= self.writer.slots.get_mut(index).is_some_and(|mut slot| slot.want_write());
        }
        self.stir(is_news);
        is_news
    }

    /// Finds a write that a slot wants, or moves a slot on. Bounds: one pass over the slots.
    pub(crate) fn poll_slots(&mut self, now: Now) -> Option<Action> {
        if self.is_backing_off(now) {
            return None;
        }
        for index in self.writer.slots.indices() {
            let Some(slot) = self.writer.slots.get(index).filter(|s| s.writing.is_none()) else { continue };
            if slot.wants_write && slot.has_unwritten() {
                return self.write_records(index);
            }
            match slot.state {
                SlotState::Full if slot.placed == 0 => self.await_sync(index),
                SlotState::Syncing { sync_point } if sync_point.is_covered_by(self.durability.synced()) => {
                    if let Some(action) = self.write_footer(index) {
                        return Some(action);
                    }
                }
                _ => {}
            }
        }
        None
    }

    fn write_records(&mut self, index: SlotIndex) -> Option<Action> {
        let ticket = self.ticket(index.lane());
        let position = self.writer.appended;
        let mut slot = self.writer.slots.get_mut(index)?;
        slot.writing = Some(Writing { ticket, to: slot.head, records: slot.placed, position });
        slot.wants_write = false;
        let (segment, offset, bytes) = (slot.segment, slot.base, slot.head - slot.base);
        // Checks that the segment is one of the table (I-SEG-1): a write to another would go beyond the medium.
        self.segments.get(segment);
        self.counters.bytes_written += u64::from(bytes);
        Some(Action::Write { ticket, segment, offset, bytes })
    }

    fn await_sync(&mut self, index: SlotIndex) {
        let sync_point = self.durability.completed();
        let Some(mut slot) = self.writer.slots.get_mut(index) else { return };
        if slot.footer_buffer.is_empty() {
            self.close_slot(index, false);
            return;
        }
        slot.state = SlotState::Syncing { sync_point };
        self.durability.want_sync_point(sync_point);
    }

    fn write_footer(&mut self, index: SlotIndex) -> Option<Action> {
        let (geometry, seed) = (*self.layout.geometry(), self.layout.seed());
        let ticket = self.ticket(index.lane());
        let mut slot = self.writer.slots.get_mut(index)?;
        let SlotMut { footer_buffer, notes, .. } = &mut slot;
        let finished = notes.footer.finish(&geometry, footer_buffer, seed, notes.sequence, notes.head);
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

    /// The segment of a slot is sealed, and the slot becomes empty.
    pub(super) fn close_slot(&mut self, index: SlotIndex, has_footer: bool) {
        let sealed_at = self.writer.appended_bytes;
        let Some(mut slot) = self.writer.slots.get_mut(index) else { return };
        slot.state = SlotState::Empty;
        slot.placed = 0;
        slot.writing = None;
        slot.first_unwritten = None;
        slot.wants_write = false;
        let segment = slot.segment;
        self.deaths += 1;
        let segment = self.set_state(segment, SegmentState::Sealed);
        segment.set(Flag::Footer, has_footer);
        segment.set_sealed_at(sealed_at);
    }

    /// A write of a slot is complete, or failed.
    pub(super) fn finish_slot_write<H: Host>(
        &mut self,
        now: Now,
        index: SlotIndex,
        result: Result<(), MediumError>,
        host: &mut H,
    ) {
        let Some(mut slot) = self.writer.slots.get_mut(index) else { return };
        let is_footing = matches!(slot.state, SlotState::Footing { .. });
        let Some(writing) = slot.writing.take() else {
            self.watch.note(Invariant::Completion);
            return;
        };
        if self.writer.stamp == StampWait::UnderWay {
            (self.writer.stamp, self.writer.fresh_ms) = (StampWait::Over, now.monotonic_ms);
        }
        if let Err(error) = result {
            self.fail_for(now, error);
            // Where the footer fails, only the footer is lost: every record is durable.
            if is_footing {
                self.close_slot(index, false);
            } else {
                self.abandon_slot(index, false, host);
            }
            return;
        }
        self.succeed();
        let sync_point = self.durability.raise_sync_point();
        if is_footing {
            self.close_slot(index, true);
            return;
        }
        // Members of a batch are published together, once the last one is durable.
        let records = if self.note_member_written(index, sync_point) { 0 } else { writing.records };
        let is_published = records > 0;
        self.publish_written(index, records, sync_point, host);
        let Some(mut slot) = self.writer.slots.get_mut(index) else { return };
        let records_at = self.layout.geometry().records_at();
        // Records that came in during the write move to the front of the buffers.
        let shift = (writing.to - slot.base) as usize;
        let end = (slot.head - slot.base) as usize;
        slot.record_buffer.copy_within(shift..end, 0);
        let placed = slot.placed;
        slot.pending.copy_within(records..placed, 0);
        slot.placed -= records;
        slot.base = writing.to;
        if is_published {
            slot.first_unwritten =
                slot.first_unwritten.filter(|_| slot.placed > 0).map(|first| first.max(writing.position + 1));
        }
        let (segment, used) = (slot.segment, slot.base - records_at);
        let segment = self.segment(segment);
        if is_published {
            segment.set_used_bytes(used);
        }
        segment.set_sync_point(sync_point);
    }

    /// Seals a slot's segment after a failure, and hands records that were not published back to the host.
    pub(super) fn abandon_slot<H: Host>(&mut self, index: SlotIndex, is_suspect: bool, host: &mut H) {
        let Some(slot) = self.writer.slots.get(index).filter(|s| s.state != SlotState::Empty) else { return };
        let (segment, sequence, placed) = (slot.segment, slot.sequence, slot.placed);
        if matches!(slot.state, SlotState::Footing { .. }) {
            self.close_slot(index, false);
            return;
        }
        let counted = if self.fail_batch(index) { 0 } else { placed };
        for i in 0..counted {
            let Some((hash, placed)) = self.writer.slots.pending(index, i) else { return };
            match placed.kind {
                Kind::Value | Kind::Tombstone => host.unwritten(&hash, &placed),
                Kind::EraseIntent if placed.relocated_from.is_none() => {
                    self.unmake_intent(EraseIntent::from_hash(&hash).segment);
                }
                Kind::EraseIntent => {}
                Kind::Time => self.durability.lose_time_write(),
            }
        }
        self.close_slot(index, false);
        self.writer.version_floor = self.writer.version_floor.max(sequence);
        self.counters.segments_abandoned += 1;
        let has_footers = self.layout.config().has_footers;
        self.segment(segment).set(Flag::Suspect, false);
        if is_suspect {
            self.segments.suspect(segment);
        }
        let segment = self.segment(segment);
        // Without footers the host counts the copies of failed writes down itself. So a segment that holds nothing else is not
        // counted down record by record.
        let is_counted = segment.is_counted() && (has_footers || segment.used_bytes() > 0);
        segment.set(Flag::Counted, is_counted);
    }
}
