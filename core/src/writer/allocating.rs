//! Asks the medium for the blocks of free segments, and gives back blocks that are of no use.

use super::lane::LANE_BLOCKS;
use super::log::Log;
use crate::drive::{Action, MediumError, Now};
use crate::format::SegmentIndex;
use crate::invariant::Invariant;
use crate::segments::SegmentState;

const RETRY_WAIT_MS_MIN: u64 = 50;

const RETRY_WAIT_MS_MAX: u64 = 2_000;

impl Log<'_> {
    /// The mount is over: which of the free segments have blocks is not known.
    pub(crate) fn begin_blocks(&mut self) {
        if self.layout.config().allocates {
            self.doubt_blocks();
        }
    }

    /// A write found no space: no free segment counts as having blocks any more.
    pub(super) fn doubt_blocks(&mut self) {
        if !self.layout.config().allocates {
            return;
        }
        let free = self.segments.iter_mut().filter(|s| s.state() == SegmentState::Free);
        let mut bare = 0;
        for segment in free {
            segment.set_bare(true);
            bare += 1;
        }
        self.blocks.bare = bare;
        self.blocks.cursor = SegmentIndex::FIRST;
        self.blocks.is_searching = bare > 0;
    }

    /// An erase gave the blocks of a segment away and could not get them back.
    pub(crate) const fn lose_blocks(&mut self) {
        self.blocks.has_lost = true;
    }

    /// A segment became free.
    pub(crate) fn note_free(&mut self, index: SegmentIndex) {
        if self.layout.config().allocates && self.blocks.has_lost {
            self.set_bare(index, true);
        }
    }

    fn set_bare(&mut self, index: SegmentIndex, is_bare: bool) {
        let segment = self.segments.get_mut(index);
        if segment.state() == SegmentState::Free && segment.is_bare() != is_bare {
            segment.set_bare(is_bare);
            self.blocks.bare =
                if is_bare { self.blocks.bare + 1 } else { self.blocks.bare.saturating_sub(1) };
        }
    }

    /// Segments with blocks, those in quarantine among them.
    pub(crate) const fn backed(&self) -> u32 {
        self.layout.geometry().segment_count().saturating_sub(self.blocks.bare)
    }

    /// Whether fewer segments have blocks than must, or than are of use, when `beside` segments with blocks are left out.
    pub(crate) fn lacks_blocks(&self, beside: u32) -> bool {
        let is_used = self.blocks.wanted > 0 || self.writer.wanted_bytes > 0;
        self.backed().saturating_sub(beside) < self.blocks.wanted
            || is_used && self.free().saturating_sub(beside) <= self.free_reserve() + 1
    }

    /// Asks for the blocks of a segment where some are lacking. Bounds: one pass over the table.
    pub(crate) fn poll_blocks(&mut self, now: Now) -> Option<Action> {
        let blocks = &self.blocks;
        let must_wait = blocks.is_refused && !blocks.is_searching && now.monotonic_ms < blocks.retry_at_ms;
        if blocks.bare == 0 || blocks.in_flight.is_some() || must_wait || !self.lacks_blocks(0) {
            return None;
        }
        let from = self.blocks.cursor;
        let bare = |(_, s): &(SegmentIndex, &crate::segments::Segment)| {
            s.state() == SegmentState::Free && s.is_bare()
        };
        let next = self.segments.numbered().skip(from.get() as usize).find(bare);
        let Some((segment, _)) = next else {
            // All were tried.
            self.blocks.cursor = SegmentIndex::FIRST;
            self.blocks.is_searching &= from == SegmentIndex::FIRST;
            return None;
        };
        let ticket = self.ticket(LANE_BLOCKS);
        self.blocks.in_flight = Some((ticket, segment));
        Some(Action::Allocate { ticket, segment })
    }

    /// The medium allocated the blocks of a segment, or refused them.
    pub(super) fn finish_blocks(&mut self, now: Now, result: Result<(), MediumError>) {
        let Some((_, segment)) = self.blocks.in_flight.take() else {
            self.watch.note(Invariant::Completion);
            return;
        };
        if result.is_ok() {
            self.set_bare(segment, false);
            self.blocks.cursor = segment.next();
            self.blocks.is_refused &= self.blocks.is_searching;
            self.blocks.retry_wait_ms = RETRY_WAIT_MS_MIN;
            return;
        }
        let blocks = &mut self.blocks;
        blocks.is_refused = true;
        // While it searches, the next segment may have blocks from earlier.
        blocks.cursor = if blocks.is_searching { segment.next() } else { SegmentIndex::FIRST };
        blocks.retry_wait_ms = (blocks.retry_wait_ms * 2).clamp(RETRY_WAIT_MS_MIN, RETRY_WAIT_MS_MAX);
        blocks.retry_at_ms = now.monotonic_ms.saturating_add(blocks.retry_wait_ms);
    }

    /// When blocks are asked for again.
    pub(crate) fn blocks_retry_ms(&self) -> Option<u64> {
        (self.blocks.is_refused && self.blocks.bare > 0 && self.lacks_blocks(0))
            .then_some(self.blocks.retry_at_ms)
    }

    /// Takes the blocks of a free segment that is of no use any more; the most worn one. Bounds: one pass over the table.
    pub(crate) fn take_surplus(&mut self) -> Option<SegmentIndex> {
        if !self.layout.config().allocates || self.blocks.in_flight.is_some() || self.lacks_blocks(1) {
            return None;
        }
        let free = self.segments.numbered();
        let backed = free.filter(|(_, s)| s.state() == SegmentState::Free && !s.is_bare());
        let (index, _) = backed.max_by_key(|(index, _)| *index)?;
        self.set_bare(index, true);
        self.blocks.cursor = SegmentIndex::FIRST;
        // Once these blocks are given back, the medium has some to give.
        self.blocks.is_refused = false;
        Some(index)
    }
}
