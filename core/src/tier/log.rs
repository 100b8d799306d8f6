//! What the machine's engines share: the segment table, the slots, marks and tickets.

use heapless::Vec;

use super::blocks::Blocks;
use super::clock::Clock;
use super::config::{Memory, SLOTS_MAX, Stream, Streams, TierConfig};
use super::hidden::Hidden;
use super::opening::Opening;
use super::rest::Rest;
use super::slot::Slot;
use super::sync::Syncs;
use super::{Action, AppendError, Counters, Host, Now, Settled};
use crate::cleanup::Ticket;
use crate::log::{Ages, Flag, Geometry, Seed, Segment, SegmentState, Store, Tally};

/// Which engine a ticket belongs to: its index. Slots come first, in their order.
pub(super) const LANE_OPENING: u16 = 8;
pub(super) const LANE_COPY: u16 = LANE_OPENING + 1;
pub(super) const LANE_SCAN: u16 = LANE_OPENING + 2;
pub(super) const LANE_SYNC: u16 = LANE_OPENING + 3;
pub(super) const LANE_ERASE: u16 = LANE_OPENING + 4;
pub(super) const LANE_BLOCKS: u16 = LANE_OPENING + 5;

const _: () = assert!(LANE_OPENING as usize == SLOTS_MAX, "each slot has a ticket index of its own");

/// A buffer that reads go to, one at a time.
#[derive(Debug)]
pub(super) struct Lane<'m> {
    pub(super) buffer: Hidden<&'m mut [u8]>,
    pub(super) ticket: Option<Ticket>,
    /// The range asked for, for the adapter's slice.
    pub(super) bytes: u32,
    /// Where that is: segment and offset.
    at: (u32, u32),
    /// How often it was asked for.
    tries: u32,
    pub(super) result: Option<Result<(), super::MediumError>>,
    /// Whether a scan is using it.
    pub(super) taken: bool,
}

impl<'m> Lane<'m> {
    fn new(buffer: &'m mut [u8]) -> Self {
        Self {
            buffer: Hidden(buffer),
            ticket: None,
            bytes: 0,
            at: (0, 0),
            tries: 0,
            result: None,
            taken: false,
        }
    }

    pub(super) fn is_available(&self) -> bool {
        !self.taken
    }

    pub(super) fn lent(&mut self, ticket: Ticket) -> Option<&mut [u8]> {
        if self.ticket != Some(ticket) {
            return None;
        }
        self.buffer.0.get_mut(..self.bytes as usize)
    }

    /// The bytes of the last read.
    pub(super) fn filled(&self) -> &[u8] {
        self.buffer.0.get(..self.bytes as usize).unwrap_or_default()
    }

    pub(super) fn done(&mut self, result: Result<(), super::MediumError>) {
        self.ticket = None;
        self.result = Some(result);
    }
}

/// The state that engines share.
#[derive(Debug)]
pub(super) struct Log<'m> {
    pub(super) config: TierConfig,
    pub(super) geometry: Geometry,
    pub(super) store: Store,
    /// What record checksums begin with: a secret of the store.
    pub(super) seed: Seed,
    /// The longest record that there can be: in a mount what the headers say, then what is configured.
    pub(super) longest_bytes: u32,
    /// The longest record that was ever found or appended.
    pub(super) longest_stored_bytes: u32,
    /// Whether the streams are merged: see [`Streams`].
    pub(super) is_merged: bool,
    /// Whether they should be, by the last measure of the fill.
    pub(super) is_to_merge: bool,
    pub(super) segments: &'m mut [Segment],
    /// How many segments are in each state.
    counts: [u32; STATES],
    /// The first of those that are emptied and not free yet, in the order in which they were emptied.
    emptied: Vec<u32, EMPTIED_KEPT>,
    /// Whether copies may lie on the medium that the index does not count: the host was told.
    pub(super) is_withholding: bool,
    /// Whether the host is asked for the tombstones that nothing needs, since that ended.
    pub(super) is_settling: bool,
    /// Whether copies are counted anew, since segments without the flag for it are not free yet; the host was told.
    pub(super) is_recounting: bool,
    /// Whether the host still sets its counts to zero for that: nothing is published meanwhile.
    pub(super) is_resetting: bool,
    /// The number of segments that headers state: less than there are while those that a grown medium has more are erased.
    pub(super) stated_segments: u32,
    /// Segments in quarantine because they could not be read.
    pub(super) unread_segments: u32,
    /// Whether a segment may be under suspicion.
    pub(super) may_be_suspect: bool,
    pub(super) slots: Vec<Slot<'m>, SLOTS_MAX>,
    pub(super) copy: Lane<'m>,
    pub(super) scan: Lane<'m>,
    pub(super) recode: Hidden<&'m mut [u8]>,
    pub(super) opening: Opening,
    pub(super) blocks: Blocks,
    pub(super) rest: Rest,
    /// Records that died so far, and segments that were sealed.
    pub(super) deaths: u64,
    pub(super) syncs: Syncs,
    /// The sequence to issue next.
    pub(super) sequence_next: u32,
    /// Fresh records go only to segments above this sequence: below it a write failed, and a stray copy may lie there.
    pub(super) version_floor: u32,
    /// Bytes of the fresh record that was refused last for want of room; 0 once one was taken.
    pub(super) wanted_bytes: u32,
    /// Appends so far.
    pub(super) appended: u64,
    /// Bytes that clients appended so far: the clock of segment ages.
    pub(super) appended_bytes: u64,
    /// How old records are when a client supersedes them.
    pub(super) ages: Ages,
    /// The mean lifetime of short-lived records, in sequences.
    pub(super) lifetime: u32,
    pub(super) clock: Clock,
    /// After a failure, nothing is tried before this time.
    pub(super) retry_at_ms: u64,
    pub(super) retry_wait_ms: u64,
    pub(super) counters: Counters,
    /// Bytes written to relocate what was live in victims, less what came off the bytes reclaimed of them.
    pub(super) relocated_bytes: u64,
    /// Whether relocation has found no place since it last had one, and none may be opened for it.
    pub(super) is_starved: bool,
    /// Whether an engine asked for something of another that was polled before it.
    pub(super) is_stirred: bool,
    generation: u32,
}

/// How many states a segment has.
const STATES: usize = SegmentState::Quarantined as usize + 1;
/// How many emptied segments are found without a look at the table: more than there are but after a mount, or in a burst.
const EMPTIED_KEPT: usize = 8;
/// How many times a mount or a second look tries a read before it takes the bytes for unreadable: a failure may pass, and says nothing
/// of the bytes.
///
/// The tries follow each other at once. How long one try waits for the medium is up to the adapter.
pub const READ_TRIES: u32 = 4;
const RETRY_WAIT_MS_MIN: u64 = 10;
const RETRY_WAIT_MS_MAX: u64 = 2_000;

impl<'m> Log<'m> {
    pub(super) fn new(config: TierConfig, memory: Memory<'m>) -> Self {
        let mut counts = [0; STATES];
        if let Some(free) = counts.get_mut(SegmentState::Free as usize) {
            *free = config.geometry.segment_count();
        }
        memory.segments.fill(Segment::default());
        Self {
            config,
            geometry: config.geometry,
            store: config.store,
            seed: config.store.seed(&config.geometry),
            longest_bytes: config.record_bytes_max,
            longest_stored_bytes: 0,
            is_merged: config.streams == Streams::One,
            is_to_merge: config.streams == Streams::One,
            segments: memory.segments,
            counts,
            emptied: Vec::new(),
            is_withholding: false,
            is_settling: false,
            is_recounting: false,
            is_resetting: false,
            stated_segments: config.geometry.segment_count(),
            unread_segments: 0,
            may_be_suspect: false,
            slots: memory.slots.into_iter().map(Slot::new).collect(),
            copy: Lane::new(memory.copy),
            scan: Lane::new(memory.scan),
            recode: Hidden(memory.recode),
            opening: Opening::default(),
            blocks: Blocks::default(),
            rest: Rest::default(),
            deaths: 0,
            syncs: Syncs::default(),
            sequence_next: 1,
            version_floor: 0,
            wanted_bytes: 0,
            appended: 0,
            appended_bytes: 0,
            ages: Ages::default(),
            lifetime: config.geometry.segment_count() / 4,
            clock: Clock::default(),
            retry_at_ms: 0,
            retry_wait_ms: RETRY_WAIT_MS_MIN,
            counters: Counters::default(),
            relocated_bytes: 0,
            is_starved: false,
            is_stirred: false,
            generation: 0,
        }
    }

    /// Forgets all that it knows; only tickets go on.
    pub(super) fn restart(&mut self) {
        let memory = Memory {
            segments: core::mem::take(&mut self.segments),
            slots: core::mem::take(&mut self.slots).into_iter().map(|slot| slot.memory).collect(),
            copy: core::mem::take(&mut self.copy.buffer.0),
            scan: core::mem::take(&mut self.scan.buffer.0),
            recode: core::mem::take(&mut self.recode.0),
        };
        let generation = self.generation;
        *self = Self { generation, ..Self::new(self.config, memory) };
    }

    pub(super) fn ticket(&mut self, lane: u16) -> Ticket {
        self.generation = self.generation.wrapping_add(1);
        Ticket { index: lane, generation: self.generation }
    }

    pub(super) fn tally(&self) -> Tally {
        Tally::of(self.segments)
    }

    pub(super) fn segment(&mut self, index: u32) -> Option<&mut Segment> {
        self.segments.get_mut(index as usize)
    }

    pub(super) fn state_of(&self, index: u32) -> SegmentState {
        self.segments.get(index as usize).map_or(SegmentState::Quarantined, Segment::state)
    }

    /// How many segments are in a state; counted as they change.
    pub(super) fn count(&self, state: SegmentState) -> u32 {
        self.counts.get(state as usize).copied().unwrap_or(0)
    }

    /// How many are on their way from victim to free.
    pub(super) fn leaving(&self) -> u32 {
        use SegmentState::{Emptied, Erased, Freeing, Victim};
        [Victim, Emptied, Freeing, Erased].into_iter().map(|state| self.count(state)).sum()
    }

    /// Those of them that are emptied, in that order; `None` where only a pass over the table finds them all.
    pub(super) fn emptied(&self) -> Option<&[u32]> {
        use SegmentState::{Emptied, Erased, Freeing};
        let all: u32 = [Emptied, Freeing, Erased].into_iter().map(|state| self.count(state)).sum();
        (self.emptied.len() == all as usize).then_some(&self.emptied)
    }

    /// Changes the state of a segment; the only way to do so.
    pub(super) fn set_state(&mut self, index: u32, state: SegmentState) -> Option<&mut Segment> {
        let segment = self.segments.get_mut(index as usize)?;
        if let Some(count) = self.counts.get_mut(segment.state() as usize) {
            *count = count.saturating_sub(1);
        }
        if let Some(count) = self.counts.get_mut(state as usize) {
            *count += 1;
        }
        match (segment.state().is_emptied(), state.is_emptied()) {
            (false, true) => {
                if self.clock.lose_segment(index) && self.clock.take_void() {
                    self.syncs.lose_time();
                }
                // Where there is no place left for it, `emptied` says so.
                let _ = self.emptied.push(index);
            }
            (true, false) => self.emptied.retain(|kept| *kept != index),
            _ => {}
        }
        segment.set_state(state);
        Some(segment)
    }

    /// Free segments with blocks, counting the one that is being opened and is not taken yet.
    pub(super) fn free(&self) -> u32 {
        let bare = self.blocks.bare();
        self.count(SegmentState::Free).saturating_sub(bare) + u32::from(self.opening.holds_segment())
    }

    /// Tells whether a stream may take a new segment; `is_freed` for a freed record.
    ///
    /// The last free one is for freed records: an output that a cut ends early is one more segment taken, and dead, and only a
    /// freed record brings it back (rule 12). A relocation takes it only where nothing dead is left to be freed instead, or
    /// can be, because a segment under suspicion comes first.
    pub(super) fn may_open(&self, stream: Stream, is_freed: bool) -> bool {
        if self.is_at_end() {
            return false;
        }
        match (stream, self.free()) {
            (Stream::Hot | Stream::Warm, free) => free > self.free_reserve(),
            (Stream::Young | Stream::Old, 0) => false,
            (Stream::Young | Stream::Old, 1) => is_freed || self.has_suspects() || !self.has_dead(),
            (Stream::Young | Stream::Old, _) => true,
        }
    }

    /// Tells whether a freed record of so many bytes has no place to go and nothing is under way that gives one.
    pub(super) fn has_no_room_for_freed(&self, bytes: u32) -> bool {
        self.free() == 0
            && !self.blocks.may_come()
            && self.count(SegmentState::Freeing) == 0
            && self.count(SegmentState::Erased) == 0
            && ![Stream::Young, Stream::Old].into_iter().any(|stream| self.has_room(stream, bytes))
    }

    /// Tells whether a segment without live records is there or on its way to be free. Bounds: one pass over the table.
    pub(super) fn has_dead(&self) -> bool {
        use SegmentState::{Emptied, Erased, Freeing};
        [Emptied, Freeing, Erased].into_iter().any(|state| self.count(state) > 0)
            || self.segments.iter().any(Segment::is_dead)
    }

    /// Advances the clock (rule 11).
    pub(super) fn observe(&mut self, now: Now) {
        self.clock.observe(now, self.config.clock_jump_s_max);
        if self.clock.take_void() {
            self.syncs.lose_time();
        }
    }

    pub(super) fn is_expired(&self, expires_s: Option<u32>) -> bool {
        expires_s.is_some_and(|at| at <= self.clock.now_s)
    }

    /// Notes a failure: nothing that writes is tried again before a wait, which doubles with each failure in a row.
    pub(super) fn back_off(&mut self, now: Now) {
        self.counters.failures += 1;
        self.retry_at_ms = now.monotonic_ms.saturating_add(self.retry_wait_ms);
        self.retry_wait_ms = (self.retry_wait_ms * 2).min(RETRY_WAIT_MS_MAX);
    }

    /// Notes a failed write.
    pub(super) fn fail_for(&mut self, now: Now, error: super::MediumError) {
        self.back_off(now);
        if error == super::MediumError::NoSpace {
            self.doubt_blocks();
        }
    }

    pub(super) fn succeed(&mut self) {
        self.retry_wait_ms = RETRY_WAIT_MS_MIN;
    }

    pub(super) fn is_backing_off(&self, now: Now) -> bool {
        now.monotonic_ms < self.retry_at_ms
    }

    /// Issues a read of at most a buffer into a lane.
    pub(super) fn read(&mut self, lane: u16, segment: u32, offset: u32, bytes: u32) -> Action {
        let ticket = self.ticket(lane);
        let lane = if lane == LANE_COPY { &mut self.copy } else { &mut self.scan };
        lane.ticket = Some(ticket);
        lane.bytes = bytes.min(u32::try_from(lane.buffer.0.len()).unwrap_or(u32::MAX));
        lane.at = (segment, offset);
        lane.tries = 1;
        lane.result = None;
        self.counters.bytes_read += u64::from(lane.bytes);
        Action::Read { ticket, segment, offset, bytes: lane.bytes }
    }

    /// Issues the read of the scan lane anew, if it failed and was not tried [`READ_TRIES`] times.
    pub(super) fn read_again(&mut self) -> Option<Action> {
        let tries = self.scan.tries;
        if !matches!(self.scan.result, Some(Err(_))) || tries >= READ_TRIES {
            return None;
        }
        let ((segment, offset), bytes) = (self.scan.at, self.scan.bytes);
        let action = self.read(LANE_SCAN, segment, offset, bytes);
        self.scan.tries = tries + 1;
        Some(action)
    }

    /// Whether all sequences were issued.
    pub(super) const fn is_exhausted(&self) -> bool {
        self.sequence_next > self.geometry.sequence_max()
    }

    /// Whether no segment can be taken any more: all sequences were issued, and none is being opened.
    pub(super) fn is_at_end(&self) -> bool {
        self.is_exhausted() && !self.opening.holds_segment()
    }

    pub(super) fn issue_sequence(&mut self) -> Result<u32, AppendError> {
        if self.is_exhausted() {
            return Err(AppendError::Exhausted);
        }
        self.sequence_next += 1;
        Ok(self.sequence_next - 1)
    }

    /// Every append up to here is written.
    pub(super) fn written(&self) -> u64 {
        self.slots.iter().filter_map(Slot::first_unwritten).min().map_or(self.appended, |first| first - 1)
    }

    /// Tells whether there is a segment of which the index may not count all copies. Bounds: one pass over the table.
    fn has_uncounted(&self) -> bool {
        use SegmentState::{Emptied, Erased, Freeing, Quarantined, Sealed, Victim};
        let synced = self.syncs.synced;
        self.segments.iter().any(|s| match s.state() {
            Quarantined => true,
            Sealed | Victim | Emptied => !s.is_counted(),
            // Until it is durable that it is to be erased, or, where it was given up without a freed record, that it was.
            Freeing => s.is_unread() || !s.is_counted() && s.mark() > synced,
            Erased => s.is_unread(),
            _ => false,
        })
    }

    /// Tells whether segments that could not be read are looked at again where room is short.
    pub(super) const fn may_restore(&self) -> bool {
        !self.config.trusts_blank
    }

    /// A segment leaves quarantine.
    pub(super) fn note_read(&mut self, segment: u32) {
        let segment = self.segments.get(segment as usize);
        let was_unread = segment.is_some_and(|s| s.state() == SegmentState::Quarantined && s.is_unread());
        self.unread_segments = self.unread_segments.saturating_sub(u32::from(was_unread));
    }

    /// Tells whether segments in quarantine, which could not be read, are looked at again and given up if they still can't be: a victim
    /// waits for room that nothing else gives, or they pile up, and with more of them no mount would succeed.
    pub(super) fn must_give_up(&self) -> bool {
        let is_stuck = self.free() == 0 && self.is_starved && !self.has_dead();
        let is_piled_up = self.unread_segments > self.geometry.segment_count() / 4;
        self.unread_segments > 0 && self.may_restore() && (is_piled_up || is_stuck)
    }

    /// A mount has found all records: nothing is let go that copies which could not be read may bring back (rule 6).
    pub(super) fn begin_withholding<H: Host>(&mut self, host: &mut H) {
        self.is_withholding = self.has_uncounted();
        if self.is_withholding {
            host.withhold(Some(self.sequence_next));
        }
    }

    /// A segment is free again: that may have been the last of which not all copies were counted.
    pub(super) fn end_withholding<H: Host>(&mut self, host: &mut H) {
        if self.is_withholding && !self.has_uncounted() {
            self.is_withholding = false;
            self.is_settling = true;
            host.withhold(None);
        }
    }

    /// Has copies counted anew: those on the medium now count no more, and go with the segments in which they lie.
    pub(super) fn begin_recount(&mut self) {
        use SegmentState::{Open, Sealed, Sealing};
        for index in 0..self.slots.len() {
            self.seal_slot(index);
        }
        for segment in self.segments.iter_mut().filter(|s| matches!(s.state(), Open | Sealing | Sealed)) {
            segment.set(Flag::Counted, false);
        }
        (self.is_recounting, self.is_resetting) = (true, true);
    }

    /// A segment is free again: that may have been the last of which the copies are not counted since a recount began.
    pub(super) fn end_recount<H: Host>(&mut self, host: &mut H) {
        if self.is_recounting && !self.is_resetting && !self.has_uncounted() {
            self.is_recounting = false;
            self.is_settling = true;
            host.recounted();
        }
    }

    /// Lets go of tombstones that nothing needs any more. Bounds: `step_records` looks of the host.
    pub(super) fn settle<H: Host>(&mut self, host: &mut H) {
        for _ in 0..self.config.step_records {
            match host.settle() {
                Settled::Released(released) => self.release(&released),
                Settled::More => return,
                Settled::End => {
                    self.is_settling = false;
                    return;
                }
            }
        }
    }

    /// Tells whether a segment whose write or sync failed still holds live records.
    pub(super) fn has_suspects(&self) -> bool {
        self.may_be_suspect
            && self
                .segments
                .iter()
                .any(|s| s.is_suspect() && matches!(s.state(), SegmentState::Sealed | SegmentState::Victim))
    }

    /// Tells whether a segment under suspicion can't be emptied because what is live in it can't be read back.
    pub(super) fn has_lost_records(&self) -> bool {
        self.may_be_suspect
            && self
                .segments
                .iter()
                .any(|s| s.is_suspect() && s.is_damaged() && s.state() == SegmentState::Sealed)
    }

    /// Tells whether no slot holds a record that is not written.
    pub(super) fn is_written(&self) -> bool {
        self.slots.iter().all(Slot::is_written)
    }

    /// At close: seals an open segment so that the next mount finds its footer. Returns `false` when all slots are empty.
    pub(super) fn seal_one(&mut self) -> bool {
        for index in 0..self.slots.len() {
            let _ = self.seal_slot(index);
        }
        self.slots.iter().any(|s| s.state != super::slot::SlotState::Empty)
    }
}
