//! Opening a segment: marker where there is none, header, its second copy, and a sync before the first record.
//!
//! The header is durable before any record follows it. So a segment without a valid header that holds records was damaged,
//! and one that holds none was torn at open: a mount can tell them apart (rule 4).
//!
//! ```text
//!  Idle ─1─► Erasing ─2─► Marker ─3─► First ─4─► Second ─5─► Syncing ─6─► Ready ─7─► Idle
//!    ▲──────────┴───────────┴───────────┴──────────┴───────────┘ 8
//! ```
//! 1 `begin_opening` (to First where a marker is there, to Marker where there is none, and to Erasing only where a mount found
//! the segment blank and that is no proof); 2–5 `poll_opening`, `finish_opening_write`; 6 `poll_opening` the sync is done;
//! 7 `take_opening` a stream takes it; 8 `abandon_opening` a write or sync failed: the segment is erased again.

use super::config::Stream;
use super::hidden::Hidden;
use super::log::{LANE_OPENING, Log};
use super::slot::SlotState;
use super::{Action, AppendError, MediumError, Now};
use crate::cleanup::Ticket;
use crate::log::{Flag, HEADER_BYTES_KEYED, Header, Marker, Segment, SegmentState, WRITE_UNIT_MAX};

/// The longest of the machine's small writes: a header, padded.
const SMALL_BYTES: usize = HEADER_BYTES_KEYED.next_multiple_of(WRITE_UNIT_MAX) as usize;

/// How full a stream's segment is when the next one is opened ahead of need, in permille.
const OPEN_AHEAD_PERMILLE: u32 = 750;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum State {
    #[default]
    Idle,
    Erasing,
    Marker,
    First,
    Second,
    Syncing {
        mark: u64,
    },
    Ready,
}

/// Who waits for a segment: a stream, for a freed record or others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Wanted {
    stream: Stream,
    is_freed: bool,
}

/// The segment that is being opened.
#[derive(Debug)]
pub(super) struct Opening {
    state: State,
    segment: u32,
    sequence: u32,
    stream: Stream,
    /// A stream that waits for a segment.
    wanted: Option<Wanted>,
    ticket: Option<Ticket>,
    small: Hidden<[u8; SMALL_BYTES]>,
    small_bytes: u32,
}

impl Default for Opening {
    fn default() -> Self {
        Self {
            state: State::Idle,
            segment: 0,
            sequence: 0,
            stream: Stream::Warm,
            wanted: None,
            ticket: None,
            small: Hidden([0; SMALL_BYTES]),
            small_bytes: 0,
        }
    }
}

impl Opening {
    pub(super) fn holds_segment(&self) -> bool {
        self.state != State::Idle
    }

    /// Whether a segment is ready, or nobody has asked for one.
    pub(super) fn is_free_to_ask(&self) -> bool {
        self.state == State::Ready || self.wanted.is_none()
    }

    pub(super) fn is_waiting(&self, ticket: Ticket) -> bool {
        self.ticket == Some(ticket)
    }

    pub(super) fn lent(&self) -> &[u8] {
        self.small.0.get(..self.small_bytes as usize).unwrap_or_default()
    }

    fn load(&mut self, bytes: &[u8], padded: u32, blank: u8) {
        self.small.0.fill(blank);
        for (to, from) in self.small.0.iter_mut().zip(bytes) {
            *to = *from;
        }
        self.small_bytes = padded;
    }
}

impl Log<'_> {
    /// Gives a stream the segment that is ready, or asks for one.
    pub(super) fn take_opening(&mut self, stream: Stream, is_freed: bool) -> Result<usize, AppendError> {
        // Whatever else it would wait for.
        if self.is_at_end() {
            return Err(AppendError::Exhausted);
        }
        let Some(index) = self.slots.iter().position(|s| s.state == SlotState::Empty) else {
            return Err(AppendError::Busy);
        };
        if !self.may_open(stream, is_freed) {
            self.is_starved |= !is_freed && matches!(stream, Stream::Young | Stream::Old);
            return Err(AppendError::Busy);
        }
        if self.opening.state != State::Ready {
            // Relocation goes first: without it nothing becomes free.
            let wanted = Some(Wanted { stream, is_freed });
            let is_first = |w: Wanted| w.is_freed || matches!(w.stream, Stream::Young | Stream::Old);
            if is_freed || !self.opening.wanted.is_some_and(is_first) {
                self.is_stirred |= self.opening.wanted != wanted;
                self.opening.wanted = wanted;
            }
            return Err(AppendError::Busy);
        }
        let (segment, sequence) = (self.opening.segment, self.opening.sequence);
        self.opening.state = State::Idle;
        self.opening.wanted = None;
        self.fill_slot(index, segment, sequence, stream);
        if let Some(segment) = self.set_state(segment, SegmentState::Open) {
            segment.set_stream(stream as u8);
        }
        Ok(index)
    }

    /// Opens a segment when one is wanted or will be soon. Bounds: one pass over the table.
    pub(super) fn poll_opening(&mut self, now: Now) -> Result<Option<Action>, AppendError> {
        if self.opening.ticket.is_some() || self.is_backing_off(now) {
            return Ok(None);
        }
        match self.opening.state {
            State::Ready => Ok(None),
            State::Syncing { mark } => {
                if self.syncs.synced >= mark {
                    self.opening.state = State::Ready;
                }
                Ok(None)
            }
            State::Idle => self.begin_opening(),
            State::Erasing => Ok(Some(self.write_marker())),
            State::Marker => Ok(Some(self.write_header(State::First))),
            State::First => Ok(Some(self.write_header(State::Second))),
            State::Second => Ok(None),
        }
    }

    fn begin_opening(&mut self) -> Result<Option<Action>, AppendError> {
        let soon = || self.soon_full().map(|stream| Wanted { stream, is_freed: false });
        let Some(Wanted { stream, is_freed }) = self.opening.wanted.or_else(soon) else { return Ok(None) };
        if !self.may_open(stream, is_freed) {
            return Ok(None);
        }
        self.measure_fill();
        let is_free = |s: &Segment| s.state() == SegmentState::Free && !s.is_bare();
        let free = (0u32..).zip(self.segments.iter()).filter(|(_, s)| is_free(s));
        let least_worn = free.min_by_key(|(_, s)| s.erases).map(|(index, s)| (index, s.erases));
        let Some((index, erases)) = least_worn else { return Ok(None) };
        let sequence = self.issue_sequence()?;
        self.opening.segment = index;
        self.opening.sequence = sequence;
        self.opening.stream = stream;
        let Some(segment) = self.set_state(index, SegmentState::Opening) else { return Ok(None) };
        let (has_marker, is_doubtful) = (segment.has_marker(), segment.is_doubtful());
        *segment = Segment::of(sequence, erases, SegmentState::Opening);
        segment.set_stream(stream as u8);
        segment.set(Flag::Counted, true);
        segment.set(Flag::Marker, true);
        Ok(Some(match (is_doubtful, has_marker) {
            (true, _) => self.erase_again(),
            (false, true) => self.write_header(State::First),
            (false, false) => self.write_marker(),
        }))
    }

    /// A stream whose segment is nearly full, for opening the next one ahead of need.
    fn soon_full(&self) -> Option<Stream> {
        let bytes = self.geometry.segment_bytes();
        let full = |s: &&super::slot::Slot<'_>| {
            s.state == SlotState::Filling && s.fill_permille(bytes) >= OPEN_AHEAD_PERMILLE
        };
        self.slots.iter().find(full).map(|s| s.stream)
    }

    /// It holds no record, so it takes no freed record to erase it; if a cut stops that, it is found blank or torn again.
    fn erase_again(&mut self) -> Action {
        let ticket = self.ticket(LANE_OPENING);
        self.opening.ticket = Some(ticket);
        self.opening.state = State::Erasing;
        Action::Erase { ticket, segment: self.opening.segment }
    }

    fn write_marker(&mut self) -> Action {
        let segment = self.opening.segment;
        let erases = self.segments.get(segment as usize).map_or(0, |segment| segment.erases);
        let marker = Marker { erases, sequence_issued: self.sequence_next - 1 }.encode();
        let padded = self.geometry.padded(crate::log::MARKER_BYTES);
        self.opening.load(&marker, padded, self.geometry.erase_value());
        self.opening.state = State::Marker;
        self.write_small(segment, 0)
    }

    fn write_header(&mut self, state: State) -> Action {
        let header = Header {
            store: self.store,
            sequence: self.opening.sequence,
            time_s: self.clock.now_s,
            stream: self.opening.stream as u8,
            record_bytes_max: self.config.record_bytes_max,
        };
        let stated = self.geometry.with_segments(self.stated_segments).unwrap_or(self.geometry);
        let (bytes, len) = header.encode(&stated);
        let padded = self.geometry.padded(self.geometry.header_bytes());
        self.opening.load(bytes.get(..len).unwrap_or_default(), padded, self.geometry.erase_value());
        self.opening.state = state;
        let offset =
            if state == State::First { self.geometry.header_at() } else { self.geometry.second_header_at() };
        self.write_small(self.opening.segment, offset)
    }

    fn write_small(&mut self, segment: u32, offset: u32) -> Action {
        let ticket = self.ticket(LANE_OPENING);
        self.opening.ticket = Some(ticket);
        let bytes = self.opening.small_bytes;
        self.counters.bytes_written += u64::from(bytes);
        Action::Write { ticket, segment, offset, bytes }
    }

    /// A small write, or the erase before it, is complete or failed.
    pub(super) fn finish_opening_write(&mut self, now: Now, result: Result<(), MediumError>) {
        self.opening.ticket = None;
        if let Err(error) = result {
            self.fail_for(now, error);
            self.abandon_opening();
            return;
        }
        let mark = self.raise_mark();
        if self.opening.state == State::Erasing {
            self.counters.erases += 1;
            if let Some(segment) = self.segments.get_mut(self.opening.segment as usize) {
                segment.erases = segment.erases.saturating_add(1);
            }
        }
        if self.opening.state == State::Second {
            self.opening.state = State::Syncing { mark };
            self.syncs.want_mark(mark);
        }
    }

    /// Gives up the segment that is being opened: it holds no record, so it is erased without ado.
    pub(super) fn abandon_opening(&mut self) {
        let is_doubtful = match self.opening.state {
            State::Idle | State::Ready => false,
            State::Erasing | State::Marker | State::First | State::Second | State::Syncing { .. } => true,
        };
        if !is_doubtful {
            return;
        }
        self.opening.state = State::Idle;
        self.opening.ticket = None;
        let index = self.opening.segment;
        if let Some(segment) = self.set_state(index, SegmentState::Freeing) {
            segment.set(Flag::Counted, false);
            segment.set_mark(0);
        }
    }
}
