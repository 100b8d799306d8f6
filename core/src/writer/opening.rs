//! Opening a segment: marker where there is none, header, its second copy, and a sync before the first record.
//!
//! The header is durable before any record follows it. So a segment without a valid header that holds records was damaged,
//! and one that holds none was torn at open: a mount can tell them apart (rule 4).
//!
//! ```text
//!  Idle ─1─► Erasing ─2─► Marker ─3─► First ─4─► Second ─5─► Syncing ─6─► Ready ─7─► Idle
//!    ▲──────────┴───────────┴───────────┴──────────┴───────────┘ 8
//! ```
//! 1 `begin_opening` (to First where the segment has a marker, to Marker where it has none; to Erasing only where a mount found
//! the segment blank and blank bytes are not trusted); 2–5 `poll_opening`, `finish_opening_write`; 6 `poll_opening` the sync is
//! done; 7 `take_opening` a stream takes it; 8 `abandon_opening` a write or sync failed: the segment is erased again.

use crate::cleanup::Ticket;
use crate::config::Stream;
use crate::format::{HEADER_BYTES_KEYED, Hidden, SegmentIndex, Sequence, WRITE_UNIT_MAX};
use crate::segments::SyncPoint;

/// The longest of the machine's small writes: a header, padded.
const SMALL_BYTES: usize = HEADER_BYTES_KEYED.next_multiple_of(WRITE_UNIT_MAX) as usize;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum State {
    #[default]
    Idle,
    Erasing,
    Marker,
    First,
    Second,
    Syncing {
        sync_point: SyncPoint,
    },
    Ready,
}

/// The waiter for a segment: a stream, for an erase intent or others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) stream: Stream,
    pub(super) is_intent: bool,
}

/// The segment that is being opened.
#[derive(Debug)]
pub(crate) struct Opening {
    pub(super) state: State,
    pub(super) segment: SegmentIndex,
    pub(super) sequence: Sequence,
    pub(super) stream: Stream,
    /// The time that its header states.
    pub(super) time_s: u32,
    /// A stream that waits for a segment.
    pub(super) wanted: Option<Wanted>,
    pub(super) ticket: Option<Ticket>,
    pub(super) small: Hidden<[u8; SMALL_BYTES]>,
    pub(super) small_bytes: u32,
}

impl Default for Opening {
    fn default() -> Self {
        Self {
            state: State::Idle,
            segment: SegmentIndex::FIRST,
            sequence: Sequence::NONE,
            stream: Stream::Warm,
            time_s: 0,
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

    /// Whether a segment is ready, or no stream waits for one.
    pub(super) fn is_free_to_ask(&self) -> bool {
        self.state == State::Ready || self.wanted.is_none()
    }

    pub(crate) fn is_waiting(&self, ticket: Ticket) -> bool {
        self.ticket == Some(ticket)
    }

    /// The bytes to write; empty where not all of them are there.
    pub(crate) fn lent(&self) -> &[u8] {
        self.small.0.get(..self.small_bytes as usize).unwrap_or_default()
    }

    pub(super) fn load(&mut self, bytes: &[u8], padded: u32, blank: u8) {
        self.small.0.fill(blank);
        for (to, from) in self.small.0.iter_mut().zip(bytes) {
            *to = *from;
        }
        self.small_bytes = padded;
    }
}
