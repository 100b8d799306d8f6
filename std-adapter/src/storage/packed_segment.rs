//! The bytes of a segment without the blank ones, for backups.

use core::ops::Range;

/// Blank bytes are looked for in steps of so many.
const STEP_BYTES: usize = 4096;

static BLANK: [u8; STEP_BYTES] = [0; STEP_BYTES];

/// The ranges of a segment that hold anything but zeroes, and their bytes one after the other.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct PackedSegment {
    pub(crate) ranges: Vec<Range<u32>>,
    pub(crate) bytes: Vec<u8>,
}

impl PackedSegment {
    /// Packs the first bytes of a segment; behind them it is blank.
    pub(crate) fn pack(segment: &[u8]) -> Self {
        let mut packed = Self::default();
        let mut from = 0u32;
        for step in segment.chunks(STEP_BYTES) {
            let step_bytes = u32::try_from(step.len()).unwrap_or(u32::MAX);
            if BLANK.get(..step.len()) != Some(step) {
                match packed.ranges.last_mut() {
                    Some(last) if last.end == from => last.end = from + step_bytes,
                    _ => packed.ranges.push(from..from + step_bytes),
                }
            }
            from += step_bytes;
        }
        for range in &mut packed.ranges {
            let whole = segment.get(range.start as usize..range.end as usize).unwrap_or_default();
            let filled = whole.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
            range.end = range.start + u32::try_from(filled).unwrap_or(u32::MAX);
            packed.bytes.extend_from_slice(whole.get(..filled).unwrap_or_default());
        }
        packed
    }

    /// The ranges and their bytes; `None` where these are not as many as the ranges say, or end behind the segment.
    pub(crate) fn pieces(&self, segment_bytes: u32) -> Option<Vec<(u32, &[u8])>> {
        let mut rest = &self.bytes[..];
        let mut pieces = Vec::new();
        for range in &self.ranges {
            let bytes = range.end.checked_sub(range.start).filter(|_| range.end <= segment_bytes)?;
            let (piece, behind) = rest.split_at_checked(bytes as usize)?;
            pieces.push((range.start, piece));
            rest = behind;
        }
        rest.is_empty().then_some(pieces)
    }
}

#[cfg(test)]
#[expect(clippy::single_range_in_vec_init, reason = "these are lists of ranges")]
mod tests {
    use super::*;

    #[test]
    fn segment_packed_and_unpacked_is_the_same() {
        for filled in
            [vec![], vec![0..16], vec![0..1, 4095..4096], vec![5000..9000, 12_000..12_001, 20_470..20_480]]
        {
            let mut segment = vec![0u8; 20_480];
            for range in filled.iter().cloned() {
                segment[range].fill(7);
            }
            let packed = PackedSegment::pack(&segment);
            let mut unpacked = vec![0u8; segment.len()];
            for (at, piece) in packed.pieces(20_480).unwrap() {
                unpacked[at as usize..at as usize + piece.len()].copy_from_slice(piece);
            }
            assert_eq!(unpacked, segment);
            assert!(packed.bytes.len() <= filled.len() * 2 * STEP_BYTES);
        }
        assert_eq!(PackedSegment::pack(&[1; 16]).ranges, [0..16]);
    }

    #[test]
    fn ranges_that_contradict_the_bytes_are_refused() {
        let packed =
            |ranges: &[Range<u32>], bytes| PackedSegment { ranges: ranges.to_vec(), bytes: vec![1; bytes] };
        assert!(packed(&[0..4, 8..12], 8).pieces(12).is_some());
        for bad in [
            packed(&[0..4], 5),
            packed(&[0..4], 3),
            packed(&[8..12], 4),
            packed(&[Range { start: 4, end: 0 }], 0),
        ] {
            assert!(bad.pieces(11).is_none(), "{bad:?}");
        }
    }
}
