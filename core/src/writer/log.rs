//! The log: its parts, and the changes that concern more than one of them.
//!
//! Each part keeps its fields to itself. A change that must keep two parts in step is a method of [`Log`] in this layer.

use super::blocks::Blocks;
use super::copies::Copies;
use super::counters::Counters;
use super::error::AppendError;
use super::lane::{LANE_COPY, LANE_SCAN, ReadBuffer};
use super::layout::Layout;
use super::memory::Memory;
use super::notes::SlotState;
use super::slots::SlotMemory;
use super::state::Writer;
use crate::cleanup::Ticket;
use crate::config::{Stream, TierConfig};
use crate::drive::{Action, Backoff, MediumError, Now};
use crate::durability::LogDurability;
use crate::format::{Hidden, SegmentIndex, Sequence};
use crate::invariant::{Invariant, Watch};
use crate::segments::{Segment, SegmentState, SegmentTable};

/// The log, to which the machine's engines write records, and of which they free segments.
#[derive(Debug)]
pub(crate) struct Log<'m> {
    pub(crate) layout: Layout,
    pub(crate) segments: SegmentTable<'m>,
    pub(crate) durability: LogDurability,
    pub(crate) copies: Copies,
    pub(crate) blocks: Blocks,
    pub(crate) copy: ReadBuffer<'m>,
    pub(crate) scan: ReadBuffer<'m>,
    pub(crate) counters: Counters,
    /// The first broken invariant that no other part notes.
    pub(crate) watch: Watch,
    pub(super) writer: Writer<'m>,
    /// For encoding a value again.
    recode: Hidden<&'m mut [u8]>,
    /// After a failure, nothing that writes is tried for a while.
    retry: Backoff,
    /// Records that became stale so far, plus segments that were sealed.
    pub(super) deaths: u64,
    /// Bytes written to relocate live records, as far as they were not subtracted from the bytes reclaimed yet.
    unpaid_bytes: u64,
    /// Whether an engine has made work for another one that was polled before it.
    is_stirred: bool,
    generation: u32,
}

impl<'m> Log<'m> {
    pub(crate) fn new(config: TierConfig, memory: Memory<'m>) -> Self {
        Self {
            layout: Layout::new(config),
            segments: SegmentTable::new(memory.segments),
            durability: LogDurability::default(),
            copies: Copies::default(),
            blocks: Blocks::default(),
            copy: ReadBuffer::new(memory.copy),
            scan: ReadBuffer::new(memory.scan),
            counters: Counters::default(),
            watch: Watch::new(),
            writer: Writer::new(
                &config,
                SlotMemory {
                    notes: memory.slots,
                    records: Hidden(memory.records),
                    footers: Hidden(memory.footers),
                    placed: memory.placed,
                },
            ),
            recode: Hidden(memory.recode),
            retry: Backoff::default(),
            deaths: 0,
            unpaid_bytes: 0,
            is_stirred: false,
            generation: 0,
        }
    }

    /// Forgets all that it knows, but goes on with the generation of tickets.
    pub(crate) fn restart(&mut self) {
        let slots = self.writer.slots.take_memory();
        let memory = Memory {
            segments: self.segments.take_memory(),
            slots: slots.notes,
            records: slots.records.0,
            footers: slots.footers.0,
            placed: slots.placed,
            copy: self.copy.take_memory(),
            scan: self.scan.take_memory(),
            recode: core::mem::take(&mut self.recode.0),
        };
        let generation = self.generation;
        *self = Self { generation, ..Self::new(self.layout.configured(), memory) };
    }

    /// The invariant that was found broken in any part, if one was.
    pub(crate) fn broken(&self) -> Option<Invariant> {
        let Self { watch, segments, writer, copy, scan, .. } = self;
        let parts = [watch, segments.watch(), writer.slots.watch(), copy.watch(), scan.watch()];
        parts.into_iter().find_map(Watch::broken)
    }

    /// Whether there is one.
    pub(crate) fn is_broken(&self) -> bool {
        let of_buffers = self.copy.watch().code() | self.scan.watch().code();
        let of_parts = self.segments.watch().code() | self.writer.slots.watch().code();
        self.watch.code() | of_parts | of_buffers != 0
    }

    pub(crate) fn ticket(&mut self, lane: u16) -> Ticket {
        self.generation = self.generation.wrapping_add(1);
        Ticket { index: lane, generation: self.generation }
    }

    pub(crate) fn segment(&mut self, index: SegmentIndex) -> &mut Segment {
        self.segments.get_mut(index)
    }

    /// Changes the state of a segment. The newest time on the medium goes with the segment that holds it.
    pub(crate) fn set_state(&mut self, index: SegmentIndex, state: SegmentState) -> &mut Segment {
        let (segment, is_emptied) = self.segments.set_state(index, state);
        if is_emptied {
            self.durability.lose_segment(index);
        }
        segment
    }

    /// Free segments with blocks, counting the one that is being opened and is not taken yet.
    pub(crate) fn free(&self) -> u32 {
        let bare = self.blocks.bare();
        self.segments.count(SegmentState::Free).saturating_sub(bare)
            + u32::from(self.writer.opening.holds_segment())
    }

    /// Tells whether a stream may take a new segment; `is_intent` for an erase intent.
    ///
    /// The last free segment is for erase intents: an output that a cut ends early is dead, and takes a segment until an erase
    /// intent lets it be erased (rule 12). A relocation takes the last one only in two cases: no dead segment is left to be
    /// freed, or none can be, since a segment under suspicion comes first.
    pub(super) fn may_open(&self, stream: Stream, is_intent: bool) -> bool {
        if self.is_at_end() {
            return false;
        }
        match (stream, self.free()) {
            (Stream::Hot | Stream::Warm, free) => free > self.free_reserve(),
            (Stream::Young | Stream::Old, 0) => false,
            (Stream::Young | Stream::Old, 1) => {
                is_intent || self.segments.has_suspects() || !self.segments.has_dead()
            }
            (Stream::Young | Stream::Old, _) => true,
        }
    }

    /// Tells whether an erase intent of this length has no place, and nothing under way gives it one.
    pub(crate) fn lacks_space_for_intent(&self, bytes: u32) -> bool {
        self.lacks_output()
            && !self.blocks.may_come()
            && ![Stream::Young, Stream::Old].into_iter().any(|stream| self.has_space(stream, bytes))
    }

    /// Tells whether no segment is free, and none is on its way to be.
    pub(crate) fn lacks_output(&self) -> bool {
        self.free() == 0
            && self.segments.count(SegmentState::Freeing) == 0
            && self.segments.count(SegmentState::Erased) == 0
    }

    /// Tells whether relocation needs a segment, and nothing under way gives it one: with one free segment, the write of an
    /// output has failed. Bounds: one pass over the table.
    pub(crate) fn has_lost_output(&self) -> bool {
        let may_be_freed = |s: &Segment| match s.state() {
            SegmentState::Victim => s.live_records() == 0,
            SegmentState::Emptied => !s.is_relocated(),
            _ => s.is_dead(),
        };
        self.keeps_one_free()
            && self.lacks_output()
            && self.writer.slots.iter().all(|slot| slot.state == SlotState::Empty)
            && !self.segments.iter().any(may_be_freed)
    }

    /// Advances the clock (rule 11).
    pub(crate) fn observe(&mut self, now: Now) {
        self.durability.observe(now, self.layout.config().clock_jump_s_max);
    }

    pub(crate) fn is_expired(&self, expires_s: Option<u32>) -> bool {
        expires_s.is_some_and(|at| at <= self.durability.clock().now_s())
    }

    /// Notes a failure: nothing that writes is tried again before a wait, which doubles with each failure in a row.
    pub(crate) fn back_off(&mut self, now: Now) {
        self.counters.failures += 1;
        self.retry.fail(now);
    }

    /// Notes a failed write or erase. After one that the adapter gave up nothing waits.
    pub(crate) fn fail_for(&mut self, now: Now, error: MediumError) {
        if error == MediumError::Interrupted {
            self.counters.failures += 1;
            return;
        }
        self.back_off(now);
        if error == MediumError::NoSpace {
            self.doubt_blocks();
        }
    }

    pub(crate) fn succeed(&mut self) {
        self.retry.succeed();
    }

    pub(crate) fn is_backing_off(&self, now: Now) -> bool {
        self.retry.is_waiting(now)
    }

    /// Issues a read of at most a buffer into a lane.
    pub(crate) fn read(&mut self, lane: u16, segment: SegmentIndex, offset: u32, bytes: u32) -> Action {
        let ticket = self.ticket(lane);
        let buffer = if lane == LANE_COPY { &mut self.copy } else { &mut self.scan };
        let bytes = buffer.begin(ticket, (segment, offset), bytes);
        self.counters.bytes_read += u64::from(bytes);
        Action::Read { ticket, segment, offset, bytes }
    }

    /// Issues the read of the scan lane anew, if it failed and was not tried [`READ_TRIES`](super::lane::READ_TRIES) times.
    pub(crate) fn read_again(&mut self) -> Option<Action> {
        let ((segment, offset), bytes, tries) = self.scan.to_try_again()?;
        let action = self.read(LANE_SCAN, segment, offset, bytes);
        self.scan.set_tries(tries + 1);
        Some(action)
    }

    /// Whether all sequences were issued.
    pub(crate) fn is_exhausted(&self) -> bool {
        self.writer.sequence_next > self.layout.geometry().sequence_max()
    }

    /// Whether no segment can be taken any more: all sequences were issued, and none is being opened.
    pub(crate) fn is_at_end(&self) -> bool {
        self.is_exhausted() && !self.writer.opening.holds_segment()
    }

    pub(super) fn issue_sequence(&mut self) -> Result<Sequence, AppendError> {
        if self.is_exhausted() {
            return Err(AppendError::Exhausted);
        }
        let issued = self.writer.sequence_next;
        self.writer.sequence_next = issued.next();
        Ok(issued)
    }

    /// Every append up to here is written.
    pub(crate) fn written(&self) -> u64 {
        self.writer
            .slots
            .iter()
            .filter_map(|slot| slot.first_unwritten())
            .min()
            .map_or(self.writer.appended, |first| first - 1)
    }

    /// Tells whether segments that could not be read are looked at again where space is short.
    pub(crate) const fn may_restore(&self) -> bool {
        !self.layout.config().trusts_blank
    }

    /// Tells whether unread segments are to be read again, and given up if they still can't be read. One reason is a victim
    /// that waits for space which nothing else gives. Another is their number: with too many of them no mount would succeed. With one
    /// free segment in reserve, a third is a segment that must not be erased before them.
    pub(crate) fn must_give_up(&self) -> bool {
        if self.segments.unread() == 0 || !self.may_restore() {
            return false;
        }
        let is_stuck = if self.keeps_one_free() {
            let is_emptied = self.segments.leaving() > self.segments.count(SegmentState::Victim);
            let is_wanted = self.writer.is_starved || self.writer.wanted_bytes > 0 || is_emptied;
            let is_short = self.free() == 0 && is_wanted || self.lacks_space(self.free());
            is_short && self.gets_no_space() || self.is_opening_barred()
        } else {
            self.free() == 0 && self.writer.is_starved && !self.segments.has_dead()
        };
        is_stuck || self.segments.unread() > (self.layout.geometry().segment_count() / 4).max(1)
    }

    /// Where a fresh record waits for space, and one free segment is all the reserve: seals the open segment, so that it can be cleaned.
    /// Tells whether it did.
    pub(crate) fn seal_for_space(&mut self) -> bool {
        if !self.keeps_one_free() || !self.lacks_space(self.free()) {
            return false;
        }
        let Some((index, slot)) = self.filling(Stream::Warm) else { return false };
        self.gives_wanted(self.segments.get(slot.segment)) && self.seal_slot(index)
    }

    /// Tells whether no victim gives space, and each segment on its way to be free waits for one that can't be read. Bounds: a pass over
    /// the table for each segment.
    fn gets_no_space(&self) -> bool {
        let gives = |(index, s): (SegmentIndex, &Segment)| match s.state() {
            SegmentState::Erased => true,
            SegmentState::Sealed => {
                s.is_dead() || !s.is_kept() && self.free() > 0 && self.is_worth_cleaning(s)
            }
            SegmentState::Emptied | SegmentState::Freeing => !self.is_erase_barred(index),
            // It is emptied next, unless its records have no place.
            SegmentState::Victim => !self.writer.is_starved,
            _ => false,
        };
        !self.segments.numbered().any(gives)
    }

    /// Tells whether a segment must not be erased yet: a cut in that might leave so many that can't be read that no mount would succeed.
    /// With one free segment in reserve those that can't be read are erased first. Bounds: one pass over the table.
    pub(crate) fn is_erase_barred(&self, index: SegmentIndex) -> bool {
        let is_other = |(other, s): &(SegmentIndex, &Segment)| {
            let is_head_unread = matches!(s.state(), SegmentState::Quarantined | SegmentState::Freeing);
            *other != index && is_head_unread && s.is_unread()
        };
        let others = self.segments.numbered().filter(is_other).count();
        self.keeps_one_free() && (others + 1) * 2 > self.segments.iter().count()
    }

    /// Tells whether no slot holds a record that is not written.
    pub(crate) fn is_written(&self) -> bool {
        self.writer.slots.iter().all(|slot| slot.is_written())
    }

    /// At close: seals all open segments so that the next mount finds their footers. Returns `false` when all slots are empty.
    pub(crate) fn seal_one(&mut self) -> bool {
        for index in self.writer.slots.indices() {
            let _ = self.seal_slot(index);
        }
        self.writer.slots.iter().any(|s| s.state != SlotState::Empty)
    }

    /// The first time at which what failed may be tried again; `None` where nothing waits for that.
    pub(crate) fn retry_ms(&self, now: Now) -> Option<u64> {
        self.is_backing_off(now).then(|| self.retry.until_ms())
    }

    /// Where `is_news`, an engine that was polled before has work again, so the machine is polled again.
    pub(crate) const fn stir(&mut self, is_news: bool) {
        self.is_stirred |= is_news;
    }

    /// Whether [`stir`](Self::stir) was called with news since this was last asked.
    pub(crate) const fn take_stirred(&mut self) -> bool {
        core::mem::replace(&mut self.is_stirred, false)
    }

    /// A number that changes when a record becomes stale or a segment is sealed.
    pub(crate) const fn deaths(&self) -> u64 {
        self.deaths
    }

    /// A record was relocated; its bytes as written.
    pub(crate) fn note_relocated(&mut self, record_bytes: u32) {
        self.counters.relocated_records += 1;
        self.counters.relocated_bytes += u64::from(record_bytes);
        self.unpaid_bytes += u64::from(record_bytes);
    }

    /// A segment became free. The bytes written to relocate its live records come off the bytes reclaimed.
    pub(crate) fn note_reclaimed(&mut self, segment_bytes: u32) {
        let gained = u64::from(segment_bytes);
        let paid = self.unpaid_bytes.min(gained);
        self.unpaid_bytes -= paid;
        self.counters.freed_segments += 1;
        self.counters.bytes_reclaimed += gained - paid;
    }

    /// The buffer for encoding a value again leaves while a record is relocated. It is put back in the same poll.
    pub(crate) fn take_recode(&mut self) -> &'m mut [u8] {
        core::mem::take(&mut self.recode.0)
    }

    pub(crate) fn put_recode(&mut self, memory: &'m mut [u8]) {
        self.recode.0 = memory;
    }
}
