//! The manifest of a backup: which bytes each segment has, and in which object they lie.
//!
//! ```text
//! "cpA" │ version u8 │ body, as postcard encodes it │ digest 12
//! ```
//! A digest is SipHash-2-4 with 96 bits and a key of zeroes. It shows damage, and not who wrote the bytes.

use core::ops::Range;

use coldpress_core::format::{HASH_KEY_BYTES, key_hash};
use serde::{Deserialize, Serialize};

use super::error::ArchiveError;
use crate::api::TierIdentity;
use crate::storage::PackedSegment;

const MAGIC: &[u8; 3] = b"cpA";
const VERSION: u8 = 1;
const DIGEST_BYTES: usize = 12;

/// Segments with up to so many bytes lie in the manifest: markers of free ones take 16.
const INLINE_BYTES_MAX: usize = 256;

pub(super) type Digest = [u8; DIGEST_BYTES];

pub(super) fn digest(bytes: &[u8]) -> Digest {
    key_hash(&[0; HASH_KEY_BYTES], bytes).0
}

/// One backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Manifest {
    pub(super) number: u64,
    /// Distinguishes manifests that were to get one number.
    pub(super) nonce: u64,
    /// When the segments were held, in seconds since 1970.
    pub(super) taken_s: u64,
    pub(super) store_id: u64,
    pub(super) schema: Option<String>,
    pub(super) segment_bytes: u32,
    pub(super) segments: u32,
    /// The segments of each partition that are not blank.
    pub(super) parts: Vec<Vec<ArchivedSegment>>,
}

/// The content of one segment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ArchivedSegment {
    pub(super) segment: u32,
    pub(super) sequence: u32,
    pub(super) ranges: Vec<Range<u32>>,
    pub(super) content: SegmentContent,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum SegmentContent {
    Inline(Vec<u8>),
    Object(SegmentObject),
}

/// An object with the bytes of a segment. All fields together are its name, except the number of the backup that uploaded it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct SegmentObject {
    /// The number for which it was uploaded.
    pub(super) slot: u64,
    pub(super) digest: Digest,
    pub(super) bytes: u64,
}

impl ArchivedSegment {
    /// Describes a segment; `None` where it is blank.
    pub(super) fn of(segment: u32, sequence: u32, slot: u64, packed: &PackedSegment) -> Option<Self> {
        let content = match packed.bytes.len() {
            0 => return None,
            1..=INLINE_BYTES_MAX => SegmentContent::Inline(packed.bytes.clone()),
            bytes => SegmentContent::Object(SegmentObject {
                slot,
                digest: digest(&packed.bytes),
                bytes: bytes as u64,
            }),
        };
        Some(Self { segment, sequence, ranges: packed.ranges.clone(), content })
    }

    pub(super) const fn object(&self) -> Option<&SegmentObject> {
        match &self.content {
            SegmentContent::Inline(_) => None,
            SegmentContent::Object(object) => Some(object),
        }
    }

    /// Whether the bytes are those of another segment's description: same place, life, length and digest.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        let known = |segment: &Self| segment.object().map(|object| (object.digest, object.bytes));
        (self.segment, self.sequence, known(self)) == (other.segment, other.sequence, known(other))
            && self.ranges == other.ranges
    }
}

impl Manifest {
    pub(super) fn new(number: u64, nonce: u64, taken_s: u64, tier: TierIdentity) -> Self {
        Self {
            number,
            nonce,
            taken_s,
            store_id: tier.store_id,
            schema: tier.schema.map(String::from),
            segment_bytes: tier.segment_bytes,
            segments: tier.segments,
            parts: Vec::new(),
        }
    }

    pub(super) fn encode(&self) -> Result<Vec<u8>, ArchiveError> {
        let mut bytes = [MAGIC, [VERSION].as_slice()].concat();
        bytes.extend_from_slice(&postcard::to_stdvec(self).map_err(|_| ArchiveError::Unencodable)?);
        let digest = digest(&bytes);
        bytes.extend_from_slice(&digest);
        Ok(bytes)
    }

    pub(super) fn decode(number: u64, object: &str, bytes: &[u8]) -> Result<Self, ArchiveError> {
        let damaged = || ArchiveError::Damaged { object: object.to_owned() };
        let (covered, stored) = bytes.split_last_chunk::<DIGEST_BYTES>().ok_or_else(damaged)?;
        if digest(covered) != *stored {
            return Err(damaged());
        }
        let body = covered.strip_prefix(MAGIC).ok_or_else(damaged)?;
        let (version, body) = body.split_first().ok_or_else(damaged)?;
        if *version != VERSION {
            return Err(ArchiveError::Version { object: object.to_owned(), version: *version });
        }
        let manifest: Self = postcard::from_bytes(body).map_err(|_| damaged())?;
        if manifest.number == number { Ok(manifest) } else { Err(damaged()) }
    }

    /// Whether a header of the store was written. Before that each open of the tier chooses another one.
    pub(super) fn has_store(&self) -> bool {
        self.parts.iter().flatten().any(|segment| segment.sequence > 0)
    }

    /// All segments with an object, and their partitions.
    pub(super) fn objects(&self) -> impl Iterator<Item = (u16, &ArchivedSegment, &SegmentObject)> {
        (0..).zip(&self.parts).flat_map(|(part, segments)| {
            segments.iter().filter_map(move |segment| Some((part, segment, segment.object()?)))
        })
    }
}

#[cfg(test)]
#[expect(clippy::single_range_in_vec_init, reason = "these are lists of ranges")]
mod tests {
    use super::*;

    #[test]
    fn manifest_with_any_flipped_bit_or_cut_is_refused() {
        let packed = PackedSegment { ranges: vec![0..300, 4096..4100], bytes: vec![1; 304] };
        let marker = PackedSegment { ranges: vec![0..16], bytes: vec![2; 16] };
        let parts = vec![
            ArchivedSegment::of(3, 9, 7, &packed).into_iter().collect(),
            ArchivedSegment::of(0, 0, 7, &marker).into_iter().collect(),
        ];
        let tier = TierIdentity { store_id: 5, schema: Some("s".into()), segment_bytes: 8192, segments: 4 };
        let manifest = Manifest { parts, ..Manifest::new(7, 1, 2, tier) };
        assert_eq!(manifest.objects().count(), 1);
        let bytes = manifest.encode().unwrap();
        assert_eq!(Manifest::decode(7, "m", &bytes).unwrap(), manifest);
        assert!(matches!(Manifest::decode(8, "m", &bytes), Err(ArchiveError::Damaged { .. })));
        for bit in 0..bytes.len() * 8 {
            let mut damaged = bytes.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(Manifest::decode(7, "m", &damaged).is_err(), "bit {bit}");
        }
        for len in 0..bytes.len() {
            assert!(Manifest::decode(7, "m", &bytes[..len]).is_err(), "{len} bytes");
        }
    }

    #[test]
    fn blank_segment_has_no_content() {
        assert_eq!(ArchivedSegment::of(0, 0, 1, &PackedSegment::default()), None);
    }
}
