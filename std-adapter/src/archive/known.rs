//! The segments of a tier as the last backup of this process has them, so that the next one reads only those that changed.

use core::num::NonZeroU64;

use object_store::path::Path;

use super::manifest::{ArchivedSegment, SegmentContent};
use super::uploads::StoredObjects;

/// The segments of a tier at the moment of a hold: about 100 bytes each, and the contents of those in the manifest.
#[derive(Debug, Default)]
pub(super) struct KnownSegments {
    hold: Option<NonZeroU64>,
    /// The segments of each partition that are not blank, in their order.
    parts: Vec<Vec<ArchivedSegment>>,
}

impl KnownSegments {
    /// A backup is complete, and has all segments as they were at a hold.
    pub(super) fn learn(&mut self, hold: NonZeroU64, parts: Vec<Vec<ArchivedSegment>>) {
        (self.hold, self.parts) = (Some(hold), parts);
    }

    /// The same segments, each with its object of the newest backup; nothing where one of these is gone.
    pub(super) fn placed(&self, stored: &StoredObjects, prefix: &Path, store_id: u64) -> Self {
        let place = |part: u16, segment: &ArchivedSegment| {
            let mut placed = segment.clone();
            if let SegmentContent::Object(object) = &mut placed.content {
                *object = stored.find(prefix, store_id, part, segment)?.0;
            }
            Some(placed)
        };
        let parts: Option<Vec<Vec<_>>> = (0..)
            .zip(&self.parts)
            .map(|(part, segments)| segments.iter().map(|segment| place(part, segment)).collect())
            .collect();
        parts.map_or_else(Self::default, |parts| Self { hold: self.hold, parts })
    }

    /// The hold since which no segment need be read that did not change.
    pub(super) const fn hold(&self) -> Option<NonZeroU64> {
        self.hold
    }

    /// A segment that did not change since; `None` where it is blank.
    pub(super) fn segment(&self, part: u16, segment: u32) -> Option<&ArchivedSegment> {
        let segments = self.parts.get(usize::from(part))?;
        let at = segments.binary_search_by_key(&segment, |known| known.segment).ok()?;
        segments.get(at)
    }
}
