//! Names for things on a medium: the hash of a key, the location of a record, and its version.

use super::fields::FieldWriter;
use super::geometry::{Geometry, OriginForm};
use super::ids::{SegmentIndex, Sequence};

/// The identity of a key: 96 bits of a hash under the store's random key.
///
/// Two different keys of one store meet with odds of about n² ÷ 2⁹⁷: for a thousand million keys, one in 10¹¹.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct KeyHash(pub [u8; 12]);

impl KeyHash {
    /// The first eight bytes as a number, for tables and routing.
    #[must_use]
    pub fn low_bits(&self) -> u64 {
        let [a, b, c, d, e, f, g, h, ..] = self.0;
        u64::from_le_bytes([a, b, c, d, e, f, g, h])
    }
}

/// Names the write of a key that a record holds: the segment sequence and offset of its first writing.
///
/// A fresh record's version is implied by where it lies; a relocated one carries it as its origin. The highest version of
/// a key wins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Version {
    /// Sequence of the segment of the first writing.
    pub sequence: Sequence,
    /// Offset in that segment, in bytes.
    pub offset: u32,
}

impl Version {
    /// Below that of any record.
    pub const NONE: Self = Self { sequence: Sequence::NONE, offset: 0 };

    /// Packs the version into one number that orders alike.
    #[must_use]
    pub const fn to_bits(self) -> u64 {
        ((self.sequence.get() as u64) << 32) | self.offset as u64
    }

    /// Takes a version out of its packed form.
    #[must_use]
    pub const fn from_bits(bits: u64) -> Self {
        Self { sequence: Sequence::new((bits >> 32) as u32), offset: (bits & 0xFFFF_FFFF) as u32 }
    }

    /// Writes the origin field of a record or footer entry.
    pub(crate) fn store(self, geometry: &Geometry, out: &mut FieldWriter<'_>) {
        let unit = self.offset / geometry.write_unit();
        match geometry.origin_form() {
            OriginForm::Shared(bits) => out.put(&((self.sequence.get() << bits) | unit).to_le_bytes()),
            OriginForm::Units => {
                let [low, high, ..] = unit.to_le_bytes();
                out.put(&self.sequence.get().to_le_bytes());
                out.put(&[low, high]);
            }
            OriginForm::Bytes => out.put(&self.to_bits().to_le_bytes()),
        }
    }

    /// Reads an origin field; `None` when `bytes` is too short.
    pub(crate) fn load(geometry: &Geometry, bytes: &[u8]) -> Option<Self> {
        match geometry.origin_form() {
            OriginForm::Shared(bits) => {
                let word = u32::from_le_bytes(*bytes.first_chunk()?);
                let mask = (1u32 << bits) - 1;
                Some(Self {
                    sequence: Sequence::new(word >> bits),
                    offset: (word & mask) * geometry.write_unit(),
                })
            }
            OriginForm::Units => {
                let (sequence, rest) = bytes.split_first_chunk()?;
                let unit = u32::from(u16::from_le_bytes(*rest.first_chunk()?));
                Some(Self {
                    sequence: Sequence::new(u32::from_le_bytes(*sequence)),
                    offset: unit * geometry.write_unit(),
                })
            }
            OriginForm::Bytes => Some(Self::from_bits(u64::from_le_bytes(*bytes.first_chunk()?))),
        }
    }
}

/// Where a record lies now.
///
/// The sequence names the life of the segment: after an erase the same place belongs to another life, and a reader that
/// still holds the old location finds bytes that do not validate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Location {
    /// The segment that it lies in.
    pub segment: SegmentIndex,
    /// Offset in the segment, in bytes.
    pub offset: u32,
    /// Sequence of the segment when the record was written.
    pub sequence: Sequence,
}

impl Location {
    /// The version of a fresh record at this place.
    #[must_use]
    pub const fn version(&self) -> Version {
        Version { sequence: self.sequence, offset: self.offset }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::{Format, Identity};

    #[test]
    fn origin_round_trips_in_each_form() {
        let one = |g: Geometry| g.in_format(Format::One);
        let shape =
            |segment, count, unit| Geometry::new(segment, count, unit, 0xFF, Identity::KeyBytes).unwrap();
        for (g, len) in [
            (shape(4096, 32, 4), 4),
            (shape(4096, 64, 4), 6),
            (shape(1 << 16, 64, 1), 6),
            (shape(1 << 20, 64, 1), 8),
            (one(shape(4096, 64, 1)), 4),
            (one(shape(1 << 16, 64, 1)), 8),
        ] {
            let version = Version { sequence: g.sequence_max(), offset: g.segment_bytes() - g.write_unit() };
            assert_eq!(g.origin_bytes() as usize, len);
            let mut out = [0; 8];
            let mut fields = FieldWriter::new(&mut out);
            version.store(&g, &mut fields);
            assert_eq!(fields.filled().len(), len);
            assert_eq!(Version::load(&g, &out[..len]), Some(version));
            assert_eq!(Version::load(&g, &out[..len - 1]), None);
        }
    }
}
