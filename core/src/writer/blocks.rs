//! Disk blocks of free segments: which segments have them, and for which the medium is asked.
//!
//! A file is sparse, so a free segment takes no space until it is written, and a full disk refuses the write. Cleaning and
//! removes must not depend on that (rule 12): a segment counts as free only once the medium has allocated blocks for all of it.
//! To the rest of the machine a *bare* segment, one without blocks, is not there. So a disk that fills up is a smaller medium.
//! All proofs of the reserve hold for the segments that have blocks, as long as the charge fits into these. The adapter states
//! how many segments the charge needs ([`Tier::set_backing`](crate::machine::Tier::set_backing)), and takes only as much charge
//! as [`Tier::backed_segments`](crate::machine::Tier::backed_segments) hold.
//!
//! ```text
//!  bare ─1─► allocating ─2─► free ─4─► opening
//!    ▲───────────3─┘           │
//!    └───────────5─────────────┘
//! ```
//! 1 `poll_blocks` fewer segments have blocks than must, or than will be opened soon; 2 `finish_blocks` there was space; 3
//! `finish_blocks` there was none: it is tried again later; 4 `begin_opening`; 5 `take_surplus` more have blocks than are of
//! use, or `doubt_blocks` a write found no space all the same. An erase keeps the blocks, so a segment that is freed on a full
//! disk can be written.

use crate::cleanup::Ticket;
use crate::format::SegmentIndex;

/// The state of allocation: which segments have blocks, as far as known.
#[derive(Debug, Default)]
pub(crate) struct Blocks {
    /// Free segments without blocks.
    pub(super) bare: u32,
    /// How many segments must have blocks.
    pub(super) wanted: u32,
    pub(super) in_flight: Option<(Ticket, SegmentIndex)>,
    /// The next segment to try.
    pub(super) cursor: SegmentIndex,
    /// Whether the medium has no space for more; it is asked again from `retry_at_ms` on.
    pub(super) is_refused: bool,
    /// Whether bare segments may have blocks all the same. Then a refusal for one says nothing of the others.
    pub(super) is_searching: bool,
    /// Whether an erase has lost the blocks of a segment.
    pub(super) has_lost: bool,
    pub(super) retry_at_ms: u64,
    pub(super) retry_wait_ms: u64,
}

impl Blocks {
    pub(crate) const fn is_waiting(&self, ticket: Ticket) -> bool {
        matches!(self.in_flight, Some((t, _)) if t.index == ticket.index && t.generation == ticket.generation)
    }

    pub(super) const fn bare(&self) -> u32 {
        self.bare
    }

    pub(crate) const fn is_refused(&self) -> bool {
        self.is_refused
    }

    /// Whether a free segment may get blocks before long.
    pub(crate) const fn may_come(&self) -> bool {
        self.bare > 0 && (!self.is_refused || self.is_searching)
    }

    /// Free segments without blocks that can be expected to get them as soon as they are needed.
    pub(crate) const fn to_come(&self) -> u32 {
        if self.may_come() { self.bare } else { 0 }
    }

    pub(crate) const fn want(&mut self, segments: u32) {
        self.wanted = segments;
    }
}
