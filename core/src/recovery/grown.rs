//! A medium that has more segments than when it was last mounted: how a mount recognizes that, and how the new segments come
//! into use.
//!
//! ```text
//!  found ─► Freeing ─► erased, marked, durable: Erased ─► all of them are ─► headers state the new number ─► Free
//! ```
//! *The number of segments that a medium has is the one that the header with the highest sequence states.* Headers written before it
//! may state another. A segment beyond that number is not part of the store, whatever it holds, unless it may be one of the store
//! after all: it has a header of the store that states a number above its place, or a marker and no header that could be read, or
//! ends that can't be read.
//!
//! A new segment is erased before any header states that it belongs to the medium, and it is used only once all new ones are
//! erased. Until then headers state the old number, so a mount after a cut finds the medium as it was, and begins again. From
//! then on headers state the new number, and a mount finds each segment blank, or as one of the store.

use super::error::MountError;
use super::head::Head;
use crate::format::{HeaderError, SegmentIndex, Sequence, Store};
use crate::segments::{Flag, Segment, SegmentState};
use crate::writer::Log;

/// The number of segments, by the headers read so far.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Grown {
    /// The highest sequence of a header that was found.
    sequence: Sequence,
    /// The number that this header states; `None` where no header was found.
    pub(crate) stated: Option<u32>,
    /// The first segment that was judged to lie beyond that number.
    first: Option<SegmentIndex>,
    /// Whether the heads from that segment on were read a second time.
    is_second: bool,
}

impl Grown {
    /// A header of the store was found. One in a segment beyond the number that it states is ignored.
    pub(crate) fn note(&mut self, index: SegmentIndex, sequence: Sequence, segments: u32) {
        if segments > index.get() && (self.stated.is_none() || sequence > self.sequence) {
            (self.sequence, self.stated) = (sequence, Some(segments));
        }
    }

    /// Tells whether a segment lies beyond the number that is known by now, and can't be one of the store.
    pub(crate) fn takes(&mut self, index: SegmentIndex, head: &Head, store: Option<&Store>) -> bool {
        let is_beyond = self.stated.is_some_and(|stated| index.get() >= stated);
        let is_ours = match &head.header {
            Some(header) => store == Some(&header.store) && head.segments > index.get(),
            None => head.error.is_none() && (head.is_unreadable || head.marker.is_some() && !head.is_blank()),
        };
        let takes = is_beyond && !is_ours;
        if takes && self.first.is_none() {
            self.first = Some(index);
        }
        takes
    }

    /// The first segment that is to be read again, since a later header states that it is part of the medium. Returned once.
    pub(crate) fn again(&mut self) -> Option<SegmentIndex> {
        let first =
            self.first.take().filter(|first| self.stated.is_some_and(|stated| first.get() < stated))?;
        (!core::mem::replace(&mut self.is_second, true)).then_some(first)
    }
}

/// The error of a mount for a header of another geometry.
pub(crate) fn refusal(log: &Log<'_>, error: HeaderError) -> MountError {
    let configured = log.layout.geometry().segment_count();
    match error {
        HeaderError::Geometry { segment_bytes, segment_count: stored }
            if segment_bytes == log.layout.geometry().segment_bytes() && stored != configured =>
        {
            if stored > configured {
                return MountError::FewerSegments { stored, configured };
            }
            let shape = log.layout.geometry().with_segments(stored);
            shape.map_or(MountError::Header(error), |shape| MountError::MoreSegments {
                stored,
                configured,
                most: shape.segments_max(),
            })
        }
        _ => MountError::Header(error),
    }
}

impl Log<'_> {
    /// A segment is not one of the store: it is erased before it is used, unless it is blank and blank bytes are trusted.
    pub(crate) fn set_beyond(&mut self, index: SegmentIndex, head: &Head) {
        let is_free = self.layout.config().trusts_blank && head.is_blank() && head.marker.is_none();
        let state = if is_free { SegmentState::Free } else { SegmentState::Freeing };
        let segment = self.set_state(index, state);
        *segment = Segment::of(Sequence::NONE, head.marker.map_or(0, |marker| marker.erases), state);
        segment.set(Flag::Counted, false);
        segment.set(Flag::Marker, false);
    }

    /// All heads were read: `stated` is the number of segments that the medium has.
    pub(crate) fn begin_growing(&mut self, stated: Option<u32>) -> Result<(), MountError> {
        let configured = self.layout.geometry().segment_count();
        let stored = stated.unwrap_or(configured);
        if stored > configured {
            return Err(MountError::FewerSegments { stored, configured });
        }
        let grown = SegmentIndex::new(stored).up_to(configured);
        if grown.clone().all(|index| self.segments.state_of(index) != SegmentState::Freeing) {
            return Ok(());
        }
        self.layout.state_segments(stored);
        for index in grown {
            if self.segments.state_of(index) == SegmentState::Free {
                self.set_state(index, SegmentState::Freeing);
            }
        }
        Ok(())
    }

    /// Segments that can be used once they are erased: all, or only the old ones while new ones are being erased.
    pub(crate) fn usable_segments(&self) -> u32 {
        let synced = self.durability.synced();
        let is_erased = |s: &Segment| match s.state() {
            SegmentState::Freeing => false,
            SegmentState::Erased => s.sync_point().is_covered_by(synced),
            _ => true,
        };
        let stated = self.layout.stated_segments();
        let is_grown = self.segments.iter().skip(stated as usize).all(is_erased);
        if is_grown { self.layout.geometry().segment_count() } else { stated }
    }

    /// An erased segment is about to be free. A new one gets that far only once all new ones are erased, so headers state the
    /// new number from now on.
    pub(crate) fn finish_growing(&mut self, index: SegmentIndex) {
        if index.get() >= self.layout.stated_segments() {
            let segments = self.layout.geometry().segment_count();
            self.layout.state_segments(segments);
        }
    }
}
