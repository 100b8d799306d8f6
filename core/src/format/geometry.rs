//! The shape of a medium: a row of equal segments, written in units.

use core::fmt;

use super::ids::Sequence;

/// The smallest segment, in bytes: one erase sector of common NOR flash.
pub const SEGMENT_BYTES_MIN: u32 = 512;

/// The largest segment, in bytes: footers keep an offset in 28 bits.
pub const SEGMENT_BYTES_MAX: u32 = 1 << 28;

/// The fewest segments a medium may have: one to fill, and one to relocate to. See [`Reserve`](crate::config::Reserve).
pub const SEGMENTS_MIN: u32 = 2;

/// The largest write unit, in bytes.
pub const WRITE_UNIT_MAX: u32 = 32;

/// The erases that NOR flash is rated for: an origin leaves enough sequences for so many of each segment.
const ERASES_PER_SEGMENT_MIN: u32 = 100_000;

/// How keys are identified on a medium.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Identity {
    /// By a 96-bit hash under a random key that every segment header carries; footers hold it.
    KeyedHash,
    /// By the key's own bytes, compared on read.
    KeyBytes,
}

/// A version of the format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Format {
    /// Version 1: record checksums have no seed, so a client that chooses a value can compute them. Only the image tool reads it, to
    /// convert it.
    One,
    /// Version 2: record checksums begin with a secret [`Seed`](crate::format::Seed), and headers state the longest record.
    #[default]
    Two,
}

impl Format {
    /// The number in a header.
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Self::One => 1,
            Self::Two => crate::format::FORMAT_VERSION,
        }
    }
}

/// The form in which an origin is stored: the bytes of a version that are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OriginForm {
    /// Four bytes: the sequence above, and so many bits of the offset in write units below.
    Shared(u32),
    /// Six bytes: the whole sequence, and the offset in write units.
    Units,
    /// Eight bytes: the whole sequence, and the offset in bytes.
    Bytes,
}

/// The shape of a medium, fixed when its first segment is written and checked at every open.
///
/// ```
/// use coldpress_core::format::{Geometry, Identity};
/// let file = Geometry::new(1 << 20, 64, 1, 0x00, Identity::KeyedHash).unwrap();
/// assert_eq!(file.medium_bytes(), 64 << 20);
/// assert!(Geometry::new(100, 64, 1, 0x00, Identity::KeyedHash).is_err());
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Geometry {
    segment_bytes: u32,
    segment_count: u32,
    write_unit: u8,
    erase_value: u8,
    identity: Identity,
    format: Format,
}

/// Why a geometry is refused; each says its limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum GeometryError {
    /// The segment length is outside [`SEGMENT_BYTES_MIN`]`..=`[`SEGMENT_BYTES_MAX`] or no multiple of the write unit.
    SegmentBytes(u32),
    /// There are fewer than [`SEGMENTS_MIN`] segments, or more than 2²⁴.
    SegmentCount(u32),
    /// The write unit is no power of two up to [`WRITE_UNIT_MAX`].
    WriteUnit(u32),
    /// The erase value is neither 0x00 nor 0xFF.
    EraseValue(u8),
}

impl fmt::Display for GeometryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SegmentBytes(n) => write!(
                f,
                "a segment of {n} bytes: it takes {SEGMENT_BYTES_MIN} to {SEGMENT_BYTES_MAX}, a multiple of the write unit"
            ),
            Self::SegmentCount(n) => {
                write!(f, "{n} segments: it takes {} to {}", SEGMENTS_MIN, 1u32 << 24)
            }
            Self::WriteUnit(n) => {
                write!(f, "a write unit of {n} bytes: it takes a power of two up to {WRITE_UNIT_MAX}")
            }
            Self::EraseValue(v) => write!(f, "an erase value of {v:#04x}: it is 0x00 or 0xff"),
        }
    }
}

impl core::error::Error for GeometryError {}

impl Geometry {
    /// Checks and builds a geometry.
    ///
    /// # Errors
    /// A [`GeometryError`] that names the field out of bounds.
    #[expect(clippy::cast_possible_truncation, reason = "32 at most")]
    pub const fn new(
        segment_bytes: u32,
        segment_count: u32,
        write_unit: u32,
        erase_value: u8,
        identity: Identity,
    ) -> Result<Self, GeometryError> {
        if !write_unit.is_power_of_two() || write_unit > WRITE_UNIT_MAX {
            return Err(GeometryError::WriteUnit(write_unit));
        }
        let is_of_length = SEGMENT_BYTES_MIN <= segment_bytes && segment_bytes <= SEGMENT_BYTES_MAX;
        if !is_of_length || !segment_bytes.is_multiple_of(write_unit) {
            return Err(GeometryError::SegmentBytes(segment_bytes));
        }
        if segment_count < SEGMENTS_MIN || segment_count > 1 << 24 {
            return Err(GeometryError::SegmentCount(segment_count));
        }
        if erase_value != 0x00 && erase_value != 0xFF {
            return Err(GeometryError::EraseValue(erase_value));
        }
        let write_unit = write_unit as u8;
        Ok(Self { segment_bytes, segment_count, write_unit, erase_value, identity, format: Format::Two })
    }

    /// The same shape in another version of the format, for reading the files of an older build.
    #[must_use]
    pub const fn in_format(self, format: Format) -> Self {
        Self { format, ..self }
    }

    /// The same shape with another number of segments, for one that was grown.
    ///
    /// # Errors
    /// [`GeometryError::SegmentCount`].
    pub fn with_segments(self, segment_count: u32) -> Result<Self, GeometryError> {
        let identity = self.identity;
        let shape =
            Self::new(self.segment_bytes, segment_count, self.write_unit.into(), self.erase_value, identity);
        Ok(shape?.in_format(self.format))
    }

    /// The most segments that a medium of this shape can be grown to: with more, the origins in its records would be stored in another
    /// way.
    ///
    /// ```
    /// use coldpress_core::format::{Geometry, Identity};
    /// let flash = |segments| Geometry::new(4096, segments, 4, 0xFF, Identity::KeyBytes).unwrap();
    /// assert_eq!(flash(16).segments_max(), 41);
    /// assert_eq!(flash(64).segments_max(), 1 << 24);
    /// ```
    #[must_use]
    pub const fn segments_max(&self) -> u32 {
        match (self.format, self.origin_form()) {
            (Format::Two, OriginForm::Shared(bits)) => (u32::MAX >> bits) / ERASES_PER_SEGMENT_MIN,
            _ => 1 << 24,
        }
    }

    /// The version of the format.
    #[must_use]
    pub const fn format(&self) -> Format {
        self.format
    }

    /// Bytes of one segment.
    #[must_use]
    pub const fn segment_bytes(&self) -> u32 {
        self.segment_bytes
    }

    /// Segments of the medium.
    #[must_use]
    pub const fn segment_count(&self) -> u32 {
        self.segment_count
    }

    /// Bytes of one write unit.
    #[must_use]
    pub const fn write_unit(&self) -> u32 {
        self.write_unit as u32
    }

    /// The value that an erased byte reads as.
    #[must_use]
    pub const fn erase_value(&self) -> u8 {
        self.erase_value
    }

    /// How keys are identified.
    #[must_use]
    pub const fn identity(&self) -> Identity {
        self.identity
    }

    /// Bytes of the whole medium.
    #[must_use]
    pub const fn medium_bytes(&self) -> u64 {
        self.segment_bytes as u64 * self.segment_count as u64
    }

    /// Rounds a length up to whole write units.
    #[must_use]
    pub const fn padded(&self, len: u32) -> u32 {
        len.next_multiple_of(self.write_unit as u32)
    }

    /// Where the first copy of the header lies.
    #[must_use]
    pub const fn header_at(&self) -> u32 {
        self.padded(crate::format::MARKER_BYTES)
    }

    /// Where records begin.
    #[must_use]
    pub const fn records_at(&self) -> u32 {
        self.header_at() + self.padded(self.header_bytes())
    }

    /// Where the second copy of the header lies: at the far end, so that one bad sector can't take both.
    #[must_use]
    pub const fn second_header_at(&self) -> u32 {
        self.segment_bytes - self.padded(self.header_bytes())
    }

    /// Where the trailer of a footer lies.
    #[must_use]
    pub const fn trailer_at(&self) -> u32 {
        self.second_header_at() - self.padded(crate::format::TRAILER_BYTES)
    }

    /// Bytes between the header and the trailer, which records and footer entries share.
    #[must_use]
    pub const fn usable_bytes(&self) -> u32 {
        self.trailer_at() - self.records_at()
    }

    /// Bytes of one header copy.
    #[must_use]
    pub const fn header_bytes(&self) -> u32 {
        match (self.format, self.identity) {
            (Format::One, Identity::KeyBytes) => 32,
            (Format::One, Identity::KeyedHash) => 52,
            (Format::Two, Identity::KeyBytes) => crate::format::HEADER_BYTES,
            (Format::Two, Identity::KeyedHash) => crate::format::HEADER_BYTES_KEYED,
        }
    }

    /// How an origin is stored.
    ///
    /// Four bytes where they leave enough sequences: every opening of a segment takes one, and once all are issued the medium takes
    /// no more records. Else six, where an offset in write units fits two of them, else eight.
    pub(crate) const fn origin_form(&self) -> OriginForm {
        let units = self.segment_bytes / self.write_unit as u32;
        let bits = u32::BITS - (units - 1).leading_zeros();
        let is_enough = match self.format {
            Format::One => true,
            Format::Two => (u32::MAX >> bits) / self.segment_count >= ERASES_PER_SEGMENT_MIN,
        };
        match self.format {
            _ if bits <= 12 && is_enough => OriginForm::Shared(bits),
            Format::Two if units <= 1 << 16 => OriginForm::Units,
            _ => OriginForm::Bytes,
        }
    }

    /// Bytes of an origin in a record or footer entry: 4, 6 or 8.
    #[must_use]
    pub const fn origin_bytes(&self) -> u32 {
        match self.origin_form() {
            OriginForm::Shared(_) => 4,
            OriginForm::Units => 6,
            OriginForm::Bytes => 8,
        }
    }

    /// How often each segment can be erased before all sequences are issued and the medium takes no more records: each life of a
    /// segment takes one sequence.
    ///
    /// ```
    /// use coldpress_core::format::{Geometry, Identity};
    /// let flash = Geometry::new(4096, 16, 4, 0xFF, Identity::KeyBytes).unwrap();
    /// assert!(flash.erases_per_segment() > 100_000); // what NOR flash is rated for
    /// ```
    #[must_use]
    pub const fn erases_per_segment(&self) -> u32 {
        self.sequence_max().get() / self.segment_count
    }

    /// The highest sequence that can be issued.
    #[must_use]
    pub const fn sequence_max(&self) -> Sequence {
        Sequence::new(match self.origin_form() {
            OriginForm::Shared(bits) => u32::MAX >> bits,
            OriginForm::Units | OriginForm::Bytes => u32::MAX - 1,
        })
    }
}
