//! A checksum by which a copy of a log is known to be that of a close.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use coldpress_core::format::{
    Checksum, Geometry, HEADER_BYTES_KEYED, Header, MARKER_BYTES, Sequence, TRAILER_BYTES, Trailer,
};
use coldpress_core::segments::{Segment, SegmentState};

use crate::image::{ImageError, shape_of};
use crate::storage::data_ranges;

/// The most ranges of data that are looked for in a file.
const RANGES_MAX: usize = 1 << 16;
/// Bytes from the beginning of a segment to behind the tag of its first record.
const HEAD_BYTES: usize = MARKER_BYTES as usize + HEADER_BYTES_KEYED as usize + 1;
/// Bytes from the trailer of a segment to its end.
const END_BYTES: usize = TRAILER_BYTES as usize + HEADER_BYTES_KEYED as usize;

/// A checksum over the segments of a log that have records: which ones, the life of each, and whether it has a footer.
///
/// Every write to a log that was closed in order opens a segment first, so it changes this.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct LogDigest(Checksum);

impl LogDigest {
    fn with(self, segment: u32, sequence: Sequence, has_footer: bool) -> Self {
        let with = self.0.then(&segment.to_le_bytes()).then(&sequence.get().to_le_bytes());
        Self(with.then(&[u8::from(has_footer)]))
    }

    /// The digest of a machine that was closed.
    pub(crate) fn of_segments(segments: &[Segment]) -> Self {
        let has_records = |segment: &Segment| {
            use SegmentState::{Emptied, Freeing, Sealed, Victim};
            matches!(segment.state(), Sealed | Victim | Emptied | Freeing) && segment.used_bytes() > 0
        };
        let used = (0..).zip(segments).filter(|(_, segment)| has_records(segment));
        used.fold(Self::default(), |digest, (at, segment)| {
            digest.with(at, segment.sequence, segment.has_footer())
        })
    }

    /// The digest of a file; `None` where it can't be read.
    ///
    /// Bounds: two short reads for each segment that is no hole.
    pub(crate) fn of_file(path: &Path) -> Option<Self> {
        let shape = match shape_of(path) {
            Ok(Some(shape)) => shape,
            // No segment is in use.
            Ok(None) | Err(ImageError::Blank | ImageError::Foreign) => return Some(Self::default()),
            Err(error) => {
                tracing::debug!(%error, path = %path.display(), "the segments of a copied file are not known");
                return None;
            }
        };
        let file = File::open(path).ok()?;
        let mut digest = Self::default();
        for segment in used_segments(&file, &shape) {
            if let Some((sequence, has_footer)) = life(&file, &shape, segment).ok()? {
                digest = digest.with(segment, sequence, has_footer);
            }
        }
        Some(digest)
    }

    pub(crate) const fn value(self) -> u32 {
        self.0.value()
    }

    pub(crate) const fn of_value(value: u32) -> Self {
        Self(Checksum::resume(value))
    }
}

/// The segments that are no holes.
fn used_segments(file: &File, shape: &Geometry) -> impl Iterator<Item = u32> {
    let (bytes, segments) = (u64::from(shape.segment_bytes()), shape.segment_count());
    let data = data_ranges(file, RANGES_MAX);
    (0..segments).filter(move |segment| {
        let base = u64::from(*segment) * bytes;
        data.as_ref().is_none_or(|data| {
            let next = data.partition_point(|range| range.end <= base);
            data.get(next).is_some_and(|range| range.start < base + bytes)
        })
    })
}

/// The sequence of a segment with records, and whether it has a footer.
fn life(file: &File, shape: &Geometry, segment: u32) -> io::Result<Option<(Sequence, bool)>> {
    let base = u64::from(segment) * u64::from(shape.segment_bytes());
    let (mut head, mut end) = ([0; HEAD_BYTES], [0; END_BYTES]);
    file.read_exact_at(&mut head, base)?;
    file.read_exact_at(&mut end, base + u64::from(shape.trailer_at()))?;
    let of = |bytes: &[u8], at: u32| {
        let header = bytes.get(at as usize..)?;
        Header::decode_any(shape, header).ok().map(|(header, _)| header.sequence)
    };
    let second_at = shape.second_header_at().saturating_sub(shape.trailer_at());
    let Some(sequence) = of(&head, shape.header_at()).max(of(&end, second_at)) else { return Ok(None) };
    // No tag of a record is 0. Of a copy that is of two moments, the first record may be missing.
    let has_first = head.get(shape.records_at() as usize).is_some_and(|tag| *tag != 0);
    let footer = Trailer::decode(shape, sequence, &end).ok();
    let has_records = has_first || footer.is_some_and(|footer| footer.entries > 0);
    Ok(has_records.then_some((sequence, footer.is_some())))
}
