//! Blocks under free segments, as an adapter sees them.

use super::tier::{Status, Tier};
use crate::format::SegmentIndex;
use crate::segments::SegmentState;

impl Tier<'_> {
    /// Wants this number of segments to have blocks, where [`TierConfig::allocates`](crate::config::TierConfig::allocates). It
    /// is [`reserve_segments`](crate::config::reserve_segments) and the segments that the live records fill at most, each
    /// record at its charge. An adapter takes no record beyond the charge that [`backed_segments`](Self::backed_segments) hold,
    /// less the reserve. So a full disk stops new data and nothing else.
    pub fn set_backing(&mut self, segments: u32) {
        self.log.blocks.want(segments.min(self.log.layout.geometry().segment_count()));
    }

    /// How many segments have blocks: all, unless [`TierConfig::allocates`](crate::config::TierConfig::allocates).
    #[must_use]
    pub const fn backed_segments(&self) -> u32 {
        self.log.backed()
    }

    /// Tells whether too few segments have blocks: fewer than wanted, or too few free ones to open soon.
    #[must_use]
    pub fn lacks_blocks(&self) -> bool {
        self.log.lacks_blocks(0)
    }

    /// Tells whether the medium refused to allocate more blocks when it was asked last.
    #[must_use]
    pub const fn is_out_of_space(&self) -> bool {
        self.log.blocks.is_refused()
    }

    /// Tells whether any segment is sealed, or on its way to be free: compaction may need space for its records.
    #[must_use]
    pub fn has_sealed(&self) -> bool {
        self.log.segments.count(SegmentState::Sealed) + self.log.segments.leaving() > 0
    }

    /// Takes a blank segment that has blocks and is not needed now. The adapter may give these blocks back to the medium,
    /// except those of the erase marker. Bounds: one pass over the segment table.
    pub fn take_surplus(&mut self) -> Option<SegmentIndex> {
        if self.status == Status::Running { self.log.take_surplus() } else { None }
    }

    /// Notes that the erase in flight gave blocks back to the medium and could not get them again.
    pub const fn lose_blocks(&mut self) {
        self.log.lose_blocks();
    }
}
