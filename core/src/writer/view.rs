//! The state of writing, as the layers above see it and change it.

use super::log::Log;
#[cfg(test)]
use super::slot::SlotMut;
#[cfg(test)]
use super::slots::SlotIndex;
use crate::format::Sequence;
use crate::segments::Segment;

impl Log<'_> {
    /// The sequence that is issued next.
    pub(crate) const fn sequence_next(&self) -> Sequence {
        self.writer.sequence_next
    }

    /// A mount found that this sequence was issued: higher ones follow.
    pub(crate) fn note_sequence(&mut self, issued: Sequence) {
        self.writer.sequence_next = self.writer.sequence_next.max(issued.next());
    }

    /// A mount could not read which sequences were issued in so many segments.
    pub(crate) fn skip_sequences(&mut self, segments: u32) {
        self.writer.sequence_next = self.writer.sequence_next.ahead(segments);
    }

    /// Writes that failed may have left records in segments up to this sequence.
    pub(crate) const fn version_floor(&self) -> Sequence {
        self.writer.version_floor
    }

    /// Appends so far.
    pub(crate) const fn appended(&self) -> u64 {
        self.writer.appended
    }

    /// When a client's record was appended last, in milliseconds.
    pub(crate) const fn fresh_ms(&self) -> u64 {
        self.writer.fresh_ms
    }

    /// Whether relocation found no place since it last placed a record.
    pub(crate) const fn is_starved(&self) -> bool {
        self.writer.is_starved
    }

    /// A mount found a record of this length.
    pub(crate) fn note_stored(&mut self, record_bytes: u32) {
        self.writer.longest_stored_bytes = self.writer.longest_stored_bytes.max(record_bytes);
    }

    /// A mount has found all segments: takes the ages of live records from theirs.
    pub(crate) fn learn_ages(&mut self) {
        self.writer.streams.ages.recovered(self.segments.as_slice());
    }

    /// Wants everything appended so far to be written and durable.
    pub(crate) fn sync(&mut self) {
        self.flush();
        self.durability.want_all(self.writer.appended);
    }

    /// Whether a relocated record waits for publication.
    pub(crate) fn has_relocated(&self) -> bool {
        self.writer.slots.has_relocated(|_| true)
    }

    /// Seals every open segment.
    pub(crate) fn seal_all(&mut self) {
        for index in self.writer.slots.indices() {
            self.seal_slot(index);
        }
    }

    /// Seals the open segments that hold, or will hold, something live.
    pub(crate) fn seal_live(&mut self) {
        for index in self.writer.slots.indices() {
            let Some(slot) = self.writer.slots.get(index) else { return };
            if !slot.is_written() || self.segments.get(slot.segment).live_records() > 0 {
                self.seal_slot(index);
            }
        }
    }

    /// Seals the first open segment that is written and for which `is_it` holds; tells whether there is one.
    pub(crate) fn seal_where(&mut self, is_it: impl Fn(&Segment) -> bool) -> bool {
        let segments = &self.segments;
        let slot = self.writer.slots.find(|slot| slot.is_written() && is_it(segments.get(slot.segment)));
        slot.map(|(index, _)| index).is_some_and(|index| self.seal_slot(index))
    }

    /// The slot with the most records that wait, for a test to break.
    #[cfg(test)]
    fn fullest_slot(&mut self) -> SlotMut<'_> {
        let slots = &mut self.writer.slots;
        let waiting = |index: &SlotIndex| slots.get(*index).map_or(0, |slot| slot.placed);
        let fullest = slots.indices().max_by_key(waiting).expect("there are slots");
        slots.get_mut(fullest).expect("it is in the row")
    }

    /// Forgets the notes of records that wait, for a test.
    #[cfg(test)]
    pub(crate) fn forget_pending(&mut self) {
        self.fullest_slot().pending.fill(super::Pending::new());
    }

    /// Loses the bytes of records that wait, for a test.
    #[cfg(test)]
    pub(crate) fn lose_record_bytes(&mut self) {
        let memory = self.writer.slots.take_memory();
        self.writer.slots = super::slots::Slots::lossy(memory);
    }

    /// Lets the same slot name another segment, for a test.
    #[cfg(test)]
    pub(crate) fn misplace_fullest_slot(&mut self, segment: crate::format::SegmentIndex) {
        self.fullest_slot().segment = segment;
    }
}
