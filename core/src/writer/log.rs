//! The state that the machine's engines share: the segment table, the slots, sync points and tickets.

use super::blocks::Blocks;
use super::copies::Copies;
use super::counters::Counters;
use super::error::AppendError;
use super::lane::{LANE_COPY, LANE_SCAN, ReadBuffer};
use super::memory::Memory;
use super::opening::Opening;
use super::slot::Slot;
use super::slots::Slots;
use crate::cleanup::Ticket;
use crate::config::{Stream, Streams, TierConfig};
use crate::drive::{Action, Backoff, Now};
use crate::durability::{Clock, Syncs};
use crate::format::{Geometry, Hidden, Seed, SegmentIndex, Sequence, Store};
use crate::invariant::{Invariant, Watch};
use crate::segments::{Ages, Segment, SegmentState, SegmentTable};

/// The state that engines share.
#[derive(Debug)]
pub(crate) struct Log<'m> {
    pub(crate) config: TierConfig,
    pub(crate) geometry: Geometry,
    pub(crate) store: Store,
    /// The start of record checksums: a secret of the store.
    pub(crate) seed: Seed,
    /// The longest record that there can be: in a mount what the headers say, then what is configured.
    pub(crate) longest_bytes: u32,
    /// The longest record that was ever found or appended.
    pub(crate) longest_stored_bytes: u32,
    /// Whether the streams are merged: see [`Streams`].
    pub(crate) is_merged: bool,
    /// Whether they should be, by the last measure of the fill.
    pub(crate) is_to_merge: bool,
    pub(crate) segments: SegmentTable<'m>,
    pub(crate) copies: Copies,
    /// The number of segments that headers state: less than there are while those that a grown medium has more are erased.
    pub(crate) stated_segments: u32,
    /// Segments in quarantine because they could not be read.
    pub(crate) unread_segments: u32,
    /// Whether a segment may be under suspicion.
    pub(crate) may_be_suspect: bool,
    pub(crate) slots: Slots<'m>,
    pub(crate) copy: ReadBuffer<'m>,
    pub(crate) scan: ReadBuffer<'m>,
    pub(crate) recode: Hidden<&'m mut [u8]>,
    pub(crate) opening: Opening,
    pub(crate) blocks: Blocks,
    /// When a client's record was appended last.
    pub(crate) fresh_ms: u64,
    /// Records that died so far, and segments that were sealed.
    pub(crate) deaths: u64,
    pub(crate) syncs: Syncs,
    /// The sequence to issue next.
    pub(crate) sequence_next: Sequence,
    /// Fresh records go only to segments above this sequence: below it a write failed, and a stray copy may lie there.
    pub(crate) version_floor: Sequence,
    /// Bytes of the fresh record that was refused last for want of space; 0 once one was taken.
    pub(crate) wanted_bytes: u32,
    /// Appends so far.
    pub(crate) appended: u64,
    /// Bytes that clients appended so far: the clock of segment ages.
    pub(crate) appended_bytes: u64,
    /// How old records are when a client supersedes them.
    pub(crate) ages: Ages,
    /// The mean lifetime of short-lived records, in sequences.
    pub(crate) lifetime: u32,
    pub(crate) clock: Clock,
    /// After a failure, nothing that writes is tried for a while.
    pub(crate) backoff: Backoff,
    pub(crate) counters: Counters,
    /// Bytes written to relocate what was live in victims, less what came off the bytes reclaimed of them.
    pub(crate) relocated_bytes: u64,
    /// Whether relocation has found no place since it last had one, and none may be opened for it.
    pub(crate) is_starved: bool,
    /// Whether an engine asked for something of another that was polled before it.
    pub(crate) is_stirred: bool,
    generation: u32,
    /// What of the rest was found broken.
    pub(crate) watch: Watch,
}

impl<'m> Log<'m> {
    pub(crate) fn new(config: TierConfig, memory: Memory<'m>) -> Self {
        Self {
            config,
            geometry: config.geometry,
            store: config.store,
            seed: config.store.seed(&config.geometry),
            longest_bytes: config.record_bytes_max,
            longest_stored_bytes: 0,
            is_merged: config.streams == Streams::One,
            is_to_merge: config.streams == Streams::One,
            segments: SegmentTable::new(memory.segments),
            copies: Copies::default(),
            stated_segments: config.geometry.segment_count(),
            unread_segments: 0,
            may_be_suspect: false,
            slots: Slots::new(memory.slots),
            copy: ReadBuffer::new(memory.copy),
            scan: ReadBuffer::new(memory.scan),
            recode: Hidden(memory.recode),
            opening: Opening::default(),
            blocks: Blocks::default(),
            fresh_ms: 0,
            deaths: 0,
            syncs: Syncs::default(),
            sequence_next: Sequence::FIRST,
            version_floor: Sequence::NONE,
            wanted_bytes: 0,
            appended: 0,
            appended_bytes: 0,
            ages: Ages::default(),
            lifetime: config.geometry.segment_count() / 4,
            clock: Clock::default(),
            backoff: Backoff::default(),
            counters: Counters::default(),
            relocated_bytes: 0,
            is_starved: false,
            is_stirred: false,
            generation: 0,
            watch: Watch::new(),
        }
    }

    /// Forgets all that it knows; only tickets go on.
    pub(crate) fn restart(&mut self) {
        let memory = Memory {
            segments: self.segments.take_memory(),
            slots: self.slots.take_memory(),
            copy: self.copy.take_memory(),
            scan: self.scan.take_memory(),
            recode: core::mem::take(&mut self.recode.0),
        };
        let generation = self.generation;
        *self = Self { generation, ..Self::new(self.config, memory) };
    }

    /// The invariant that some part of the machine's state was found to break.
    pub(crate) fn broken(&self) -> Option<Invariant> {
        let of_buffers = self.copy.broken().or(self.scan.broken());
        self.watch.broken().or(self.segments.broken()).or(self.slots.broken()).or(of_buffers)
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
        if is_emptied && self.clock.lose_segment(index) && self.clock.take_void() {
            self.syncs.lose_time();
        }
        segment
    }

    /// Free segments with blocks, counting the one that is being opened and is not taken yet.
    pub(crate) fn free(&self) -> u32 {
        let bare = self.blocks.bare();
        self.segments.count(SegmentState::Free).saturating_sub(bare) + u32::from(self.opening.holds_segment())
    }

    /// Tells whether a stream may take a new segment; `is_intent` for an erase intent.
    ///
    /// The last free one is for erase intents: an output that a cut ends early is one more segment taken, and dead, and only an
    /// erase intent brings it back (rule 12). A relocation takes it only where nothing dead is left to be freed instead, or
    /// can be, because a segment under suspicion comes first.
    pub(crate) fn may_open(&self, stream: Stream, is_intent: bool) -> bool {
        if self.is_at_end() {
            return false;
        }
        match (stream, self.free()) {
            (Stream::Hot | Stream::Warm, free) => free > self.free_reserve(),
            (Stream::Young | Stream::Old, 0) => false,
            (Stream::Young | Stream::Old, 1) => is_intent || self.has_suspects() || !self.segments.has_dead(),
            (Stream::Young | Stream::Old, _) => true,
        }
    }

    /// Tells whether an erase intent of so many bytes has no place to go and nothing is under way that gives one.
    pub(crate) fn lacks_room_for_intent(&self, bytes: u32) -> bool {
        self.free() == 0
            && !self.blocks.may_come()
            && self.segments.count(SegmentState::Freeing) == 0
            && self.segments.count(SegmentState::Erased) == 0
            && ![Stream::Young, Stream::Old].into_iter().any(|stream| self.has_room(stream, bytes))
    }

    /// Advances the clock (rule 11).
    pub(crate) fn observe(&mut self, now: Now) {
        self.clock.observe(now, self.config.clock_jump_s_max);
        if self.clock.take_void() {
            self.syncs.lose_time();
        }
    }

    pub(crate) fn is_expired(&self, expires_s: Option<u32>) -> bool {
        expires_s.is_some_and(|at| at <= self.clock.now_s)
    }

    /// Notes a failure: nothing that writes is tried again before a wait, which doubles with each failure in a row.
    pub(crate) fn back_off(&mut self, now: Now) {
        self.counters.failures += 1;
        self.backoff.fail(now);
    }

    /// Notes a failed write.
    pub(crate) fn fail_for(&mut self, now: Now, error: crate::drive::MediumError) {
        self.back_off(now);
        if error == crate::drive::MediumError::NoSpace {
            self.doubt_blocks();
        }
    }

    pub(crate) fn succeed(&mut self) {
        self.backoff.succeed();
    }

    pub(crate) fn is_backing_off(&self, now: Now) -> bool {
        self.backoff.is_waiting(now)
    }

    /// Issues a read of at most a buffer into a lane.
    pub(crate) fn read(&mut self, lane: u16, segment: SegmentIndex, offset: u32, bytes: u32) -> Action {
        let ticket = self.ticket(lane);
        let buffer = if lane == LANE_COPY { &mut self.copy } else { &mut self.scan };
        let bytes = buffer.begin(ticket, (segment, offset), bytes);
        self.counters.bytes_read += u64::from(bytes);
        Action::Read { ticket, segment, offset, bytes }
    }

    /// Issues the read of the scan lane anew, if it failed and was not tried [`READ_TRIES`] times.
    pub(crate) fn read_again(&mut self) -> Option<Action> {
        let ((segment, offset), bytes, tries) = self.scan.to_try_again()?;
        let action = self.read(LANE_SCAN, segment, offset, bytes);
        self.scan.set_tries(tries + 1);
        Some(action)
    }

    /// Whether all sequences were issued.
    pub(crate) fn is_exhausted(&self) -> bool {
        self.sequence_next > self.geometry.sequence_max()
    }

    /// Whether no segment can be taken any more: all sequences were issued, and none is being opened.
    pub(crate) fn is_at_end(&self) -> bool {
        self.is_exhausted() && !self.opening.holds_segment()
    }

    pub(crate) fn issue_sequence(&mut self) -> Result<Sequence, AppendError> {
        if self.is_exhausted() {
            return Err(AppendError::Exhausted);
        }
        let issued = self.sequence_next;
        self.sequence_next = issued.next();
        Ok(issued)
    }

    /// Every append up to here is written.
    pub(crate) fn written(&self) -> u64 {
        self.slots.iter().filter_map(Slot::first_unwritten).min().map_or(self.appended, |first| first - 1)
    }

    /// Tells whether segments that could not be read are looked at again where space is short.
    pub(crate) const fn may_restore(&self) -> bool {
        !self.config.trusts_blank
    }

    /// A segment leaves quarantine.
    pub(crate) fn note_read(&mut self, segment: SegmentIndex) {
        let segment = self.segments.get(segment);
        let was_unread = segment.state() == SegmentState::Quarantined && segment.is_unread();
        self.unread_segments = self.unread_segments.saturating_sub(u32::from(was_unread));
    }

    /// Tells whether segments in quarantine, which could not be read, are looked at again and given up if they still can't be: a victim
    /// waits for space that nothing else gives, or they pile up, and with more of them no mount would succeed.
    pub(crate) fn must_give_up(&self) -> bool {
        let is_stuck = self.free() == 0 && self.is_starved && !self.segments.has_dead();
        let is_piled_up = self.unread_segments > self.geometry.segment_count() / 4;
        self.unread_segments > 0 && self.may_restore() && (is_piled_up || is_stuck)
    }

    /// Tells whether a segment whose write or sync failed still holds live records.
    pub(crate) fn has_suspects(&self) -> bool {
        self.may_be_suspect
            && self
                .segments
                .iter()
                .any(|s| s.is_suspect() && matches!(s.state(), SegmentState::Sealed | SegmentState::Victim))
    }

    /// Tells whether a segment under suspicion can't be emptied because what is live in it can't be read back.
    pub(crate) fn has_lost_records(&self) -> bool {
        self.may_be_suspect
            && self
                .segments
                .iter()
                .any(|s| s.is_suspect() && s.is_damaged() && s.state() == SegmentState::Sealed)
    }

    /// Tells whether no slot holds a record that is not written.
    pub(crate) fn is_written(&self) -> bool {
        self.slots.iter().all(Slot::is_written)
    }

    /// At close: seals an open segment so that the next mount finds its footer. Returns `false` when all slots are empty.
    pub(crate) fn seal_one(&mut self) -> bool {
        for index in self.slots.indices() {
            let _ = self.seal_slot(index);
        }
        self.slots.iter().any(|s| s.state != crate::writer::SlotState::Empty)
    }
}
