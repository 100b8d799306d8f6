//! A segment as it is shown.

use coldpress_core::segments::{Segment, SegmentState};

/// One segment of the log, for drawing and for judging.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct SegmentView {
    /// The partition it belongs to.
    pub partition: u16,
    /// Its index in the file of that partition.
    pub segment: u32,
    /// Its state.
    pub state: SegmentState,
    /// The stream it was opened for.
    pub stream: u8,
    /// Bytes of records that are needed.
    pub live_bytes: u64,
    /// Bytes of records that nothing needs any more.
    pub stale_bytes: u64,
    /// Bytes of the segment.
    pub capacity_bytes: u64,
    /// How often it was erased.
    pub erases: u32,
    /// The number that it got when it was opened, in the order in which segments are; 0 where it was not.
    pub sequence: u32,
}

impl SegmentView {
    pub(crate) fn new(partition: u16, index: u32, segment: &Segment, segment_bytes: u32) -> Self {
        Self {
            partition,
            segment: index,
            state: segment.state(),
            stream: segment.stream(),
            live_bytes: u64::from(segment.live_bytes()),
            stale_bytes: u64::from(segment.stale_bytes()),
            capacity_bytes: u64::from(segment_bytes),
            erases: segment.erases,
            sequence: segment.sequence.get(),
        }
    }
}
