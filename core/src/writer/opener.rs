//! Takes a segment from free to open, one write at a time.

use super::error::AppendError;
use super::lane::LANE_OPENING;
use super::log::Log;
use super::notes::SlotState;
use super::opening::{Opening, State, Wanted};
use super::slots::SlotIndex;
use crate::config::Stream;
use crate::drive::{Action, MediumError, Now};
use crate::format::{Header, Marker, SegmentIndex};
use crate::invariant::Invariant;
use crate::segments::{Flag, Segment, SegmentState, SyncPoint};

/// How full a stream's segment is when the next one is opened ahead of need, in permille.
const OPEN_AHEAD_PERMILLE: u32 = 750;

impl Log<'_> {
    /// Gives a stream the segment that is ready, or asks for one.
    pub(super) fn take_opening(&mut self, stream: Stream, is_intent: bool) -> Result<SlotIndex, AppendError> {
        // This check comes first: the caller must not wait for anything else when no segment can be opened any more.
        if self.is_at_end() {
            return Err(AppendError::Exhausted);
        }
        let Some((index, _)) = self.writer.slots.find(|s| s.state == SlotState::Empty) else {
            return Err(AppendError::Busy);
        };
        if !self.may_open(stream, is_intent) {
            self.writer.is_starved |= !is_intent && matches!(stream, Stream::Young | Stream::Old);
            return Err(AppendError::Busy);
        }
        if self.writer.opening.state != State::Ready {
            // Relocation goes first: without it nothing becomes free.
            let wanted = Some(Wanted { stream, is_intent });
            let is_first = |w: Wanted| w.is_intent || matches!(w.stream, Stream::Young | Stream::Old);
            if is_intent || !self.writer.opening.wanted.is_some_and(is_first) {
                self.stir(self.writer.opening.wanted != wanted);
                self.writer.opening.wanted = wanted;
            }
            return Err(AppendError::Busy);
        }
        let (segment, sequence) = (self.writer.opening.segment, self.writer.opening.sequence);
        self.writer.opening.state = State::Idle;
        self.writer.opening.wanted = None;
        self.fill_slot(index, segment, sequence, stream);
        self.set_state(segment, SegmentState::Open).set_stream(stream as u8);
        Ok(index)
    }

    /// Opens a segment when one is wanted or will be soon. Bounds: one pass over the table.
    pub(crate) fn poll_opening(&mut self, now: Now) -> Option<Action> {
        if self.writer.opening.ticket.is_some() || self.is_backing_off(now) {
            return None;
        }
        match self.writer.opening.state {
            State::Ready => None,
            State::Syncing { sync_point } => {
                if sync_point.is_covered_by(self.durability.synced()) {
                    self.writer.opening.state = State::Ready;
                }
                None
            }
            State::Idle => self.begin_opening(),
            State::Erasing => Some(self.write_marker()),
            State::Marker => Some(self.write_header(State::First)),
            State::First => Some(self.write_header(State::Second)),
            State::Second => None,
        }
    }

    fn begin_opening(&mut self) -> Option<Action> {
        // The last free segment is not opened ahead: after each power loss it would be erased again.
        let is_ample = !self.keeps_one_free() || self.may_open(Stream::Warm, false);
        let soon = || {
            let stream = self.soon_full().filter(|_| is_ample)?;
            Some(Wanted { stream, is_intent: false })
        };
        let Wanted { stream, is_intent } = self.writer.opening.wanted.or_else(soon)?;
        if !self.may_open(stream, is_intent) {
            return None;
        }
        self.measure_fill();
        let free = self.segments.numbered().filter(|(index, s)| self.is_openable(*index, s));
        let least_worn = free.min_by_key(|(_, s)| s.erases).map(|(index, s)| (index, s.erases));
        let (index, erases) = least_worn?;
        // When all sequences are issued nothing can be opened any more; appends say so.
        let sequence = self.issue_sequence().ok()?;
        self.writer.opening.segment = index;
        self.writer.opening.sequence = sequence;
        self.writer.opening.stream = stream;
        let segment = self.set_state(index, SegmentState::Opening);
        let (has_marker, is_doubtful) = (segment.has_marker(), segment.is_doubtful());
        *segment = Segment::of(sequence, erases, SegmentState::Opening);
        segment.set_stream(stream as u8);
        segment.set(Flag::Counted, true);
        segment.set(Flag::Marker, true);
        Some(match (is_doubtful, has_marker) {
            (true, _) => self.erase_again(),
            (false, true) => self.write_header(State::First),
            (false, false) => self.write_marker(),
        })
    }

    /// Whether a segment is free, and a cut in an erase before it is opened would leave enough that can be read.
    fn is_openable(&self, index: SegmentIndex, segment: &Segment) -> bool {
        let is_free = segment.state() == SegmentState::Free && !segment.is_bare();
        is_free && !(segment.is_doubtful() && self.is_erase_barred(index))
    }

    /// Tells whether a segment is wanted, and segments that can't be read bar each free one from being erased. Bounds: a pass over the
    /// table for each segment.
    pub(super) fn is_opening_barred(&self) -> bool {
        self.keeps_one_free()
            && self.writer.opening.state == State::Idle
            && self.writer.opening.wanted.is_some_and(|wanted| self.may_open(wanted.stream, wanted.is_intent))
            && !self.segments.numbered().any(|(index, segment)| self.is_openable(index, segment))
    }

    /// A stream whose segment is nearly full, for opening the next one ahead of need.
    fn soon_full(&self) -> Option<Stream> {
        let bytes = self.layout.geometry().segment_bytes();
        let full = |s: &super::slot::Slot<'_>| {
            s.state == SlotState::Filling && s.fill_permille(bytes) >= OPEN_AHEAD_PERMILLE
        };
        self.writer.slots.find(full).map(|(_, s)| s.stream)
    }

    /// The segment holds no record, so its erase needs no erase intent. If a cut stops the erase, a mount finds it blank or
    /// torn again.
    fn erase_again(&mut self) -> Action {
        let ticket = self.ticket(LANE_OPENING);
        self.writer.opening.ticket = Some(ticket);
        self.writer.opening.state = State::Erasing;
        Action::Erase { ticket, segment: self.writer.opening.segment }
    }

    fn write_marker(&mut self) -> Action {
        let segment = self.writer.opening.segment;
        let erases = self.segments.get(segment).erases;
        let marker = Marker { erases, sequence_issued: self.writer.sequence_next.before() }.encode();
        let padded = self.layout.geometry().padded(crate::format::MARKER_BYTES);
        self.writer.opening.load(&marker, padded, self.layout.geometry().erase_value());
        self.writer.opening.state = State::Marker;
        self.write_small(segment, 0)
    }

    fn write_header(&mut self, state: State) -> Action {
        let header = Header {
            store: *self.layout.store(),
            sequence: self.writer.opening.sequence,
            time_s: self.durability.clock().now_s(),
            stream: self.writer.opening.stream as u8,
            record_bytes_max: self.layout.config().record_bytes_max,
        };
        let stated =
            self.layout.geometry().with_segments(self.layout.stated_segments()).unwrap_or_else(|_| {
                self.watch.note(Invariant::StatedSegments);
                *self.layout.geometry()
            });
        let (bytes, len) = header.encode(&stated);
        let padded = self.layout.geometry().padded(self.layout.geometry().header_bytes());
        let bytes = self.watch.must_have(Invariant::WrittenBytes, bytes.get(..len));
        self.writer.opening.load(bytes, padded, self.layout.geometry().erase_value());
        self.writer.opening.state = state;
        if state == State::First {
            self.writer.opening.time_s = header.time_s;
        }
        let offset = if state == State::First {
            self.layout.geometry().header_at()
        } else {
            self.layout.geometry().second_header_at()
        };
        self.write_small(self.writer.opening.segment, offset)
    }

    fn write_small(&mut self, segment: SegmentIndex, offset: u32) -> Action {
        let ticket = self.ticket(LANE_OPENING);
        self.writer.opening.ticket = Some(ticket);
        let bytes = self.writer.opening.small_bytes;
        self.counters.bytes_written += u64::from(bytes);
        Action::Write { ticket, segment, offset, bytes }
    }

    /// A small write, or the erase before it, is complete or failed.
    pub(super) fn finish_opening_write(&mut self, now: Now, result: Result<(), MediumError>) {
        self.writer.opening.ticket = None;
        if let Err(error) = result {
            self.fail_for(now, error);
            self.abandon_opening();
            return;
        }
        let sync_point = self.durability.raise_sync_point();
        if self.writer.opening.state == State::Erasing {
            self.counters.erases += 1;
            let segment = self.segments.get_mut(self.writer.opening.segment);
            segment.erases = segment.erases.saturating_add(1);
        }
        if self.writer.opening.state == State::Second {
            self.writer.opening.state = State::Syncing { sync_point };
            self.durability.want_sync_point(sync_point);
            if self.keeps_one_free() {
                let Opening { time_s, segment, .. } = self.writer.opening;
                self.durability.note_header_written(time_s, segment);
            }
        }
    }

    /// Gives up the segment that is being opened. It holds no record, so it is erased without an erase intent.
    pub(super) fn abandon_opening(&mut self) {
        let is_doubtful = match self.writer.opening.state {
            State::Idle | State::Ready => false,
            State::Erasing | State::Marker | State::First | State::Second | State::Syncing { .. } => true,
        };
        if !is_doubtful {
            return;
        }
        self.writer.opening.state = State::Idle;
        self.writer.opening.ticket = None;
        let index = self.writer.opening.segment;
        let segment = self.set_state(index, SegmentState::Freeing);
        segment.set(Flag::Counted, false);
        segment.set_sync_point(SyncPoint::NONE);
    }
}
