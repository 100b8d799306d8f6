//! Blocks under free segments: which of them the medium has given space to, and which it is asked for.
//!
//! A file is sparse, so a free segment takes no space until it is written, and a full disk refuses the write. Cleaning and removes
//! must not depend on that (rule 12): a segment counts as free only once the medium has allocated blocks for all of it. To the
//! rest of the machine a *bare* segment, one without blocks, is not there. So a disk that fills up is a smaller medium, and all
//! that was proven of the reserve holds of the segments that have blocks, as long as clients keep to the charge that these hold:
//! the adapter says how many must have blocks for it, [`Tier::set_backing`](super::Tier::set_backing), and counts no more than
//! [`Tier::backed_segments`](super::Tier::backed_segments).
//!
//! ```text
//!  bare ─1─► allocating ─2─► free ─4─► opening
//!    ▲───────────3─┘           │
//!    └───────────5─────────────┘
//! ```
//! 1 `poll_blocks` fewer have blocks than must, or are to be opened soon; 2, 3 `finish_blocks` there was space, or none: then it is
//! tried again later; 4 `begin_opening`; 5 `take_surplus` more have blocks than are of use, or `doubt_blocks` a write found no
//! space all the same. An erase keeps the blocks, so what is freed on a full disk can be written.

use super::log::{LANE_BLOCKS, Log};
use super::{Action, MediumError, Now, Status, Tier};
use crate::cleanup::Ticket;
use crate::log::SegmentState;

const RETRY_WAIT_MS_MIN: u64 = 50;
const RETRY_WAIT_MS_MAX: u64 = 2_000;

/// The state of allocation: which segments have blocks, as far as known.
#[derive(Debug, Default)]
pub(super) struct Blocks {
    /// Free segments without blocks.
    bare: u32,
    /// How many segments must have blocks.
    wanted: u32,
    in_flight: Option<(Ticket, u32)>,
    /// The next segment to try.
    cursor: u32,
    /// Whether the medium has no space for more; it is asked again from `retry_at_ms` on.
    is_refused: bool,
    /// Whether bare segments may have blocks all the same, so that one that is refused says nothing of the others.
    is_searching: bool,
    /// Whether an erase has lost the blocks of a segment.
    has_lost: bool,
    retry_at_ms: u64,
    retry_wait_ms: u64,
}

impl Blocks {
    pub(super) const fn is_waiting(&self, ticket: Ticket) -> bool {
        matches!(self.in_flight, Some((t, _)) if t.index == ticket.index && t.generation == ticket.generation)
    }

    pub(super) const fn bare(&self) -> u32 {
        self.bare
    }

    pub(super) const fn is_refused(&self) -> bool {
        self.is_refused
    }

    /// Whether a free segment may get blocks before long.
    pub(super) const fn may_come(&self) -> bool {
        self.bare > 0 && (!self.is_refused || self.is_searching)
    }

    /// Free segments that will have blocks as soon as these are of use, as far as is known.
    pub(super) const fn to_come(&self) -> u32 {
        if self.may_come() { self.bare } else { 0 }
    }

    pub(super) const fn want(&mut self, segments: u32) {
        self.wanted = segments;
    }
}

impl Log<'_> {
    /// The mount is over: which of the free segments have blocks is not known.
    pub(super) fn begin_blocks(&mut self) {
        if self.config.allocates {
            self.doubt_blocks();
        }
    }

    /// A write found no space: none of the free segments is sure to have blocks.
    pub(super) fn doubt_blocks(&mut self) {
        if !self.config.allocates {
            return;
        }
        let free = self.segments.iter_mut().filter(|s| s.state() == SegmentState::Free);
        let mut bare = 0;
        for segment in free {
            segment.set_bare(true);
            bare += 1;
        }
        self.blocks.bare = bare;
        self.blocks.cursor = 0;
        self.blocks.is_searching = bare > 0;
    }

    /// An erase gave the blocks of a segment away and could not get them back.
    pub(super) const fn lose_blocks(&mut self) {
        self.blocks.has_lost = true;
    }

    /// A segment became free.
    pub(super) fn note_free(&mut self, index: u32) {
        if self.config.allocates && self.blocks.has_lost {
            self.set_bare(index, true);
        }
    }

    fn set_bare(&mut self, index: u32, is_bare: bool) {
        let Some(segment) = self.segments.get_mut(index as usize) else { return };
        if segment.state() == SegmentState::Free && segment.is_bare() != is_bare {
            segment.set_bare(is_bare);
            self.blocks.bare =
                if is_bare { self.blocks.bare + 1 } else { self.blocks.bare.saturating_sub(1) };
        }
    }

    /// Segments with blocks, those in quarantine among them.
    pub(super) const fn backed(&self) -> u32 {
        self.geometry.segment_count().saturating_sub(self.blocks.bare)
    }

    /// Whether fewer segments have blocks than must, or than are of use; `beside` so many of them.
    fn lacks_blocks(&self, beside: u32) -> bool {
        let is_used = self.blocks.wanted > 0 || self.wanted_bytes > 0;
        self.backed().saturating_sub(beside) < self.blocks.wanted
            || is_used && self.free().saturating_sub(beside) <= self.free_reserve() + 1
    }

    /// Asks for the blocks of a segment where some are lacking. Bounds: one pass over the table.
    pub(super) fn poll_blocks(&mut self, now: Now) -> Option<Action> {
        let blocks = &self.blocks;
        let must_wait = blocks.is_refused && !blocks.is_searching && now.monotonic_ms < blocks.retry_at_ms;
        if blocks.bare == 0 || blocks.in_flight.is_some() || must_wait || !self.lacks_blocks(0) {
            return None;
        }
        let from = self.blocks.cursor;
        let bare = |(_, s): &(u32, &crate::log::Segment)| s.state() == SegmentState::Free && s.is_bare();
        let next = (0u32..).zip(self.segments.iter()).skip(from as usize).find(bare);
        let Some((segment, _)) = next else {
            // All were tried.
            self.blocks.cursor = 0;
            self.blocks.is_searching &= from == 0;
            return None;
        };
        let ticket = self.ticket(LANE_BLOCKS);
        self.blocks.in_flight = Some((ticket, segment));
        Some(Action::Allocate { ticket, segment })
    }

    /// The medium allocated the blocks of a segment, or has none.
    pub(super) fn finish_blocks(&mut self, now: Now, result: Result<(), MediumError>) {
        let Some((_, segment)) = self.blocks.in_flight.take() else { return };
        if result.is_ok() {
            self.set_bare(segment, false);
            self.blocks.cursor = segment + 1;
            self.blocks.is_refused &= self.blocks.is_searching;
            self.blocks.retry_wait_ms = RETRY_WAIT_MS_MIN;
            return;
        }
        let blocks = &mut self.blocks;
        blocks.is_refused = true;
        // While it searches, the next one may have blocks that it was given before.
        blocks.cursor = if blocks.is_searching { segment + 1 } else { 0 };
        blocks.retry_wait_ms = (blocks.retry_wait_ms * 2).clamp(RETRY_WAIT_MS_MIN, RETRY_WAIT_MS_MAX);
        blocks.retry_at_ms = now.monotonic_ms.saturating_add(blocks.retry_wait_ms);
    }

    /// When blocks are asked for again.
    pub(super) fn blocks_retry_ms(&self) -> Option<u64> {
        (self.blocks.is_refused && self.blocks.bare > 0 && self.lacks_blocks(0))
            .then_some(self.blocks.retry_at_ms)
    }

    /// Takes the blocks of a free segment that is of no use any more; the most worn one. Bounds: one pass over the table.
    pub(super) fn take_surplus(&mut self) -> Option<u32> {
        if !self.config.allocates || self.blocks.in_flight.is_some() || self.lacks_blocks(1) {
            return None;
        }
        let free = (0u32..).zip(self.segments.iter());
        let backed = free.filter(|(_, s)| s.state() == SegmentState::Free && !s.is_bare());
        let (index, _) = backed.max_by_key(|(index, _)| *index)?;
        self.set_bare(index, true);
        self.blocks.cursor = 0;
        // The blocks that it gives back can be asked for.
        self.blocks.is_refused = false;
        Some(index)
    }
}

impl Tier<'_> {
    /// Wants so many segments to have blocks, where [`TierConfig::allocates`](super::TierConfig::allocates): [`reserve_segments`](super::reserve_segments) and those that the live records
    /// fill at most, each at its charge. An adapter takes no record beyond the charge that
    /// [`backed_segments`](Self::backed_segments) hold, less the reserve; so a full disk stops what is new and nothing else.
    pub fn set_backing(&mut self, segments: u32) {
        self.log.blocks.want(segments.min(self.log.geometry.segment_count()));
    }

    /// How many segments have blocks: all, unless [`TierConfig::allocates`](super::TierConfig::allocates).
    #[must_use]
    pub const fn backed_segments(&self) -> u32 {
        self.log.backed()
    }

    /// Tells whether fewer segments have blocks than are of use.
    #[must_use]
    pub fn lacks_blocks(&self) -> bool {
        self.log.lacks_blocks(0)
    }

    /// Tells whether the medium refused to allocate more blocks when it was asked last.
    #[must_use]
    pub const fn is_out_of_space(&self) -> bool {
        self.log.blocks.is_refused()
    }

    /// Tells whether any segment is sealed, or on its way to be free: compaction may need room for what is in it.
    #[must_use]
    pub fn has_sealed(&self) -> bool {
        self.log.count(SegmentState::Sealed) + self.log.leaving() > 0
    }

    /// Takes a blank segment that has blocks and is of no use now; the adapter may give these back to the medium, but for those of
    /// the erase marker. Bounds: one pass over the segment table.
    pub fn take_surplus(&mut self) -> Option<u32> {
        if self.status == Status::Running { self.log.take_surplus() } else { None }
    }

    /// The erase in flight gave blocks away and could not get them back.
    pub const fn lose_blocks(&mut self) {
        self.log.lose_blocks();
    }
}
