//! The frame of a segment: the erase marker and the two header copies.

use core::fmt;

use super::checksum::{Checksum, Seed};
use super::fields::FieldWriter;
use super::geometry::{Format, Geometry, Identity};
use super::ids::Sequence;

/// The version of the format that this crate writes and reads.
pub const FORMAT_VERSION: u8 = 2;

/// Bytes of an erase marker before padding.
pub const MARKER_BYTES: u32 = 16;

/// Bytes of a header before padding, where keys are stored as they are.
pub const HEADER_BYTES: u32 = 52;

/// Bytes of a header before padding, where keys are hashed: with the partition.
pub const HEADER_BYTES_KEYED: u32 = HEADER_BYTES + 4;

/// Bytes of the secret of a store, the key of its hashes.
pub const HASH_KEY_BYTES: usize = 16;

const MARKER_MAGIC: [u8; 4] = *b"cpE1";

const HEADER_MAGIC: [u8; 2] = *b"cp";

/// The erase marker: written right after an erase, before the blank bytes are trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Marker {
    /// How often the segment was erased.
    pub erases: u32,
    /// The highest segment sequence that was issued when it was erased.
    pub sequence_issued: Sequence,
}

/// Tells whether a cut can leave these bytes of a write, or of the erase of such a torn write: the first byte is blank, or no
/// bit differs from blank where the magic does not.
fn could_begin(magic: &[u8], bytes: &[u8], blank: u8) -> bool {
    let begins = bytes.iter().zip(magic).all(|(byte, magic)| (byte ^ blank) & !(magic ^ blank) == 0);
    begins || bytes.first() == Some(&blank)
}

impl Marker {
    /// Tells whether bytes are blank or a marker that a cut could have torn.
    pub(crate) fn could_be(bytes: &[u8], blank: u8) -> bool {
        could_begin(&MARKER_MAGIC, bytes, blank)
    }

    /// Writes the marker.
    #[must_use]
    pub fn encode(&self) -> [u8; MARKER_BYTES as usize] {
        let mut out = [0; MARKER_BYTES as usize];
        let mut fields = FieldWriter::new(&mut out);
        fields.put(&MARKER_MAGIC);
        fields.put(&self.erases.to_le_bytes());
        fields.put(&self.sequence_issued.get().to_le_bytes());
        let crc = Checksum::of(fields.filled()).value();
        fields.put(&crc.to_le_bytes());
        out
    }

    /// Reads a marker; `None` when there is no valid one.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; MARKER_BYTES as usize] = bytes.first_chunk()?;
        let (body, crc) = bytes.split_last_chunk::<4>()?;
        let matches =
            body.starts_with(&MARKER_MAGIC) && Checksum::of(body).value() == u32::from_le_bytes(*crc);
        if !matches {
            return None;
        }
        Some(Self { erases: number(body, 4)?, sequence_issued: Sequence::new(number(body, 8)?) })
    }
}

/// The store that a segment belongs to, and its partition in it. `Debug` and defmt leave the secret out.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Store {
    /// Random number of the store.
    pub id: u64,
    /// The secret of the store: the key of its key hash, and the [seed](Self::seed) of its record checksums.
    pub hash_key: [u8; HASH_KEY_BYTES],
    /// The partition of the store that this medium is.
    pub partition: u16,
    /// How many there are.
    pub partitions: u16,
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { id, partition, partitions, .. } = self;
        let mut out = f.debug_struct("Store");
        out.field("id", id).field("partition", partition).field("partitions", partitions);
        out.finish_non_exhaustive()
    }
}

#[cfg(feature = "defmt")]
impl defmt::Format for Store {
    fn format(&self, f: defmt::Formatter<'_>) {
        let Self { id, partition, partitions, .. } = self;
        defmt::write!(f, "Store {{ id: {}, partition: {}, partitions: {}, .. }}", id, partition, partitions);
    }
}

impl Store {
    /// The seed that the record checksums of the store begin with.
    #[must_use]
    pub fn seed(&self, geometry: &Geometry) -> Seed {
        match geometry.format() {
            Format::One => Seed::NONE,
            Format::Two => Seed::of(Checksum::of(&self.hash_key).then(&self.id.to_le_bytes())),
        }
    }
}

/// A segment header, written at open, in two copies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Header {
    /// The store.
    pub store: Store,
    /// The sequence of this life of the segment; no other segment ever has it.
    pub sequence: Sequence,
    /// The wall clock at open, in seconds.
    pub time_s: u32,
    /// The stream of the segment: 0 to 7, in the order of `config::Stream`.
    pub stream: u8,
    /// The longest record that the segment may hold, in bytes; 0 in version 1 of the format, which does not state it.
    pub record_bytes_max: u32,
}

/// Why bytes are not a header of this medium.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum HeaderError {
    /// No header: wrong magic or checksum.
    Invalid,
    /// A header of another format version.
    Version(u8),
    /// A header of another geometry: segment length and count as written there.
    Geometry {
        /// Segment length that the header states, in bytes.
        segment_bytes: u32,
        /// Segment count that the header states.
        segment_count: u32,
    },
    /// A header with another write unit, erase value or way of identifying keys.
    Medium,
}

impl fmt::Display for HeaderError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Invalid => f.write_str("no segment header"),
            Self::Version(v) => {
                write!(f, "format version {v}; this build reads {FORMAT_VERSION}")?;
                if *v == 1 { f.write_str(": convert it with `image convert`") } else { Ok(()) }
            }
            Self::Geometry { segment_bytes, segment_count } => {
                write!(f, "written with {segment_count} segments of {segment_bytes} bytes")
            }
            Self::Medium => f.write_str("written with another write unit, erase value or key identity"),
        }
    }
}

impl core::error::Error for HeaderError {}

fn packed(geometry: &Geometry, stream: u8) -> u8 {
    let [unit, ..] = geometry.write_unit().trailing_zeros().to_le_bytes();
    let erase = u8::from(geometry.erase_value() == 0xFF) << 3;
    let keyed = u8::from(geometry.identity() == Identity::KeyedHash) << 4;
    unit | erase | keyed | (stream & 7) << 5
}

impl Header {
    /// Tells whether bytes are blank or a header that a cut could have torn.
    pub(crate) fn could_be(bytes: &[u8], blank: u8) -> bool {
        could_begin(&HEADER_MAGIC, bytes, blank)
    }

    /// Writes one copy; returns it and its length.
    #[must_use]
    pub fn encode(&self, geometry: &Geometry) -> ([u8; HEADER_BYTES_KEYED as usize], usize) {
        let mut out = [0; HEADER_BYTES_KEYED as usize];
        let mut fields = FieldWriter::new(&mut out);
        fields.put(&HEADER_MAGIC);
        fields.put(&[geometry.format().number(), packed(geometry, self.stream)]);
        fields.put(&geometry.segment_bytes().to_le_bytes());
        fields.put(&geometry.segment_count().to_le_bytes());
        fields.put(&self.store.id.to_le_bytes());
        fields.put(&self.sequence.get().to_le_bytes());
        fields.put(&self.time_s.to_le_bytes());
        let is_hashed = geometry.identity() == Identity::KeyedHash;
        if geometry.format() == Format::Two {
            fields.put(&self.record_bytes_max.to_le_bytes());
            fields.put(&self.store.hash_key);
        }
        if is_hashed {
            fields.put(&self.store.partition.to_le_bytes());
            fields.put(&self.store.partitions.to_le_bytes());
        }
        if is_hashed && geometry.format() == Format::One {
            fields.put(&self.store.hash_key);
        }
        let crc = Checksum::of(fields.filled()).value();
        fields.put(&crc.to_le_bytes());
        let len = fields.filled().len();
        (out, len)
    }

    /// Reads one copy and checks it against the geometry expected.
    ///
    /// # Errors
    /// [`HeaderError`]: a mismatch of version or geometry is distinct from bytes that are no header.
    pub fn decode(geometry: &Geometry, bytes: &[u8]) -> Result<Self, HeaderError> {
        Self::read(geometry, bytes).unwrap_or(Err(HeaderError::Invalid))
    }

    /// Reads one copy of a medium that may have had another number of segments when it was written, and with it that number.
    ///
    /// # Errors
    /// As for [`decode`](Self::decode). [`HeaderError::Geometry`] also where with that number the medium's origins are stored in another
    /// way.
    pub fn decode_any(geometry: &Geometry, bytes: &[u8]) -> Result<(Self, u32), HeaderError> {
        let stated = number(bytes, 8).and_then(|count| geometry.with_segments(count).ok());
        let same = stated.filter(|stated| stated.origin_form() == geometry.origin_form());
        let geometry = same.unwrap_or(*geometry);
        Ok((Self::decode(&geometry, bytes)?, geometry.segment_count()))
    }

    /// Reads a copy on a medium whose shape is not known, and with it the shape that it states.
    ///
    /// # Errors
    /// [`HeaderError`], but for those of a comparison; a shape that can't be is [`HeaderError::Invalid`].
    pub fn probe(bytes: &[u8]) -> Result<(Geometry, Self), HeaderError> {
        let stated = |bytes: &[u8]| {
            let packed = *bytes.get(3)?;
            let identity = if packed & 1 << 4 == 0 { Identity::KeyBytes } else { Identity::KeyedHash };
            let erase_value = if packed & 1 << 3 == 0 { 0x00 } else { 0xFF };
            let (segment_bytes, segment_count) = (number(bytes, 4)?, number(bytes, 8)?);
            let format = if *bytes.get(2)? == 1 { Format::One } else { Format::Two };
            let shape = Geometry::new(segment_bytes, segment_count, 1 << (packed & 7), erase_value, identity);
            Some(shape.ok()?.in_format(format))
        };
        let geometry = stated(bytes).ok_or(HeaderError::Invalid)?;
        Ok((geometry, Self::decode(&geometry, bytes)?))
    }

    fn read(geometry: &Geometry, bytes: &[u8]) -> Option<Result<Self, HeaderError>> {
        let fixed: &[u8; 28] = bytes.first_chunk()?;
        let (version, packed_here) = (fixed[2], fixed[3]);
        let is_hashed = packed_here & 1 << 4 != 0;
        let body_bytes = match (version, is_hashed) {
            (1, false) => 28,
            (1, true) => 48,
            (_, false) => HEADER_BYTES as usize - 4,
            (_, true) => HEADER_BYTES_KEYED as usize - 4,
        };
        let body = bytes.get(..body_bytes)?;
        let crc = number(bytes, body.len())?;
        if !fixed.starts_with(&HEADER_MAGIC) || Checksum::of(body).value() != crc {
            return None;
        }
        if version != geometry.format().number() {
            return Some(Err(HeaderError::Version(version)));
        }
        let (segment_bytes, segment_count) = (number(body, 4)?, number(body, 8)?);
        if (segment_bytes, segment_count) != (geometry.segment_bytes(), geometry.segment_count()) {
            return Some(Err(HeaderError::Geometry { segment_bytes, segment_count }));
        }
        let stream = packed_here >> 5;
        if packed_here != packed(geometry, stream) {
            return Some(Err(HeaderError::Medium));
        }
        let (limit_at, key_at, parts_at) = match (geometry.format(), is_hashed) {
            (Format::One, false) => (None, None, None),
            (Format::One, true) => (None, Some(32), Some(28)),
            (Format::Two, false) => (Some(28), Some(32), None),
            (Format::Two, true) => (Some(28), Some(32), Some(48)),
        };
        let hash_key = match key_at {
            Some(at) => *body.get(at..)?.first_chunk()?,
            None => [0; HASH_KEY_BYTES],
        };
        let parts = parts_at.map_or(Some(1 << 16), |at| number(body, at))?;
        let store = Store {
            id: u64::from(number(body, 12)?) | u64::from(number(body, 16)?) << 32,
            hash_key,
            partition: (parts & 0xFFFF) as u16,
            partitions: (parts >> 16) as u16,
        };
        let record_bytes_max = limit_at.map_or(Some(0), |at| number(body, at))?;
        Some(Ok(Self {
            store,
            sequence: Sequence::new(number(body, 20)?),
            time_s: number(body, 24)?,
            stream,
            record_bytes_max,
        }))
    }
}

pub(crate) fn number(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|b| u32::from_le_bytes(*b))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn geometry(identity: Identity) -> Geometry {
        Geometry::new(1 << 16, 16, 4, 0xFF, identity).unwrap()
    }

    fn header(g: &Geometry) -> Header {
        let is_hashed = g.identity() == Identity::KeyedHash;
        let is_first = g.format() == Format::One;
        let hash_key = if is_first && !is_hashed { [0; 16] } else { [7; 16] };
        let (partition, partitions) = if is_hashed { (2, 4) } else { (0, 1) };
        let store = Store { id: 0x0123_4567_89AB_CDEF, hash_key, partition, partitions };
        let record_bytes_max = if is_first { 0 } else { 4_321 };
        Header { store, sequence: Sequence::new(99), time_s: 1_700_000_000, stream: 5, record_bytes_max }
    }

    #[test]
    fn header_round_trips_and_any_flipped_bit_is_no_header() {
        let both = [Identity::KeyedHash, Identity::KeyBytes];
        for g in both.into_iter().flat_map(|identity| {
            [Format::One, Format::Two].map(|format| geometry(identity).in_format(format))
        }) {
            let (bytes, len) = header(&g).encode(&g);
            assert_eq!(len as u32, g.header_bytes());
            assert_eq!(Header::decode(&g, &bytes[..len]), Ok(header(&g)));
            for bit in 0..len * 8 {
                let mut bad = bytes;
                bad[bit / 8] ^= 1 << (bit % 8);
                assert_eq!(Header::decode(&g, &bad[..len]), Err(HeaderError::Invalid), "bit {bit}");
            }
        }
    }

    #[test]
    fn header_tells_its_own_geometry() {
        for identity in [Identity::KeyedHash, Identity::KeyBytes] {
            for (unit, erase_value) in [(1, 0x00), (4, 0xFF), (32, 0xFF)] {
                for format in [Format::One, Format::Two] {
                    let g = Geometry::new(1 << 13, 20, unit, erase_value, identity).unwrap();
                    let g = g.in_format(format);
                    let (bytes, len) = header(&g).encode(&g);
                    assert_eq!(Header::probe(&bytes[..len]), Ok((g, header(&g))));
                    assert_eq!(Header::probe(&bytes[..len - 1]), Err(HeaderError::Invalid));
                }
            }
        }
        assert_eq!(Header::probe(&[0xFF; 64]), Err(HeaderError::Invalid));
    }

    #[test]
    fn other_geometry_is_distinct_from_damage() {
        let g = geometry(Identity::KeyedHash);
        let (bytes, _) = header(&g).encode(&g);
        let other = Geometry::new(1 << 16, 17, 4, 0xFF, Identity::KeyedHash).unwrap();
        let found = HeaderError::Geometry { segment_bytes: 1 << 16, segment_count: 16 };
        assert_eq!(Header::decode(&other, &bytes), Err(found));
        let other = Geometry::new(1 << 16, 16, 8, 0xFF, Identity::KeyedHash).unwrap();
        assert_eq!(Header::decode(&other, &bytes), Err(HeaderError::Medium));
    }

    #[test]
    fn header_of_a_grown_medium_tells_its_number_of_segments() {
        for identity in [Identity::KeyedHash, Identity::KeyBytes] {
            let g = geometry(identity);
            let (bytes, len) = header(&g).encode(&g);
            for count in [12, 15, 17, 1 << 20] {
                let other = g.with_segments(count).unwrap();
                assert_eq!(Header::decode_any(&other, &bytes[..len]), Ok((header(&g), 16)));
            }
            let other = Geometry::new(1 << 15, 16, 4, 0xFF, identity).unwrap();
            let found = HeaderError::Geometry { segment_bytes: 1 << 16, segment_count: 16 };
            assert_eq!(Header::decode_any(&other, &bytes[..len]), Err(found));
            for bit in 0..len * 8 {
                let mut bad = bytes;
                bad[bit / 8] ^= 1 << (bit % 8);
                assert_eq!(Header::decode_any(&g, &bad[..len]), Err(HeaderError::Invalid), "bit {bit}");
            }
        }
        // Four bytes an origin up to 41 segments, and six beyond.
        let g = Geometry::new(4096, 32, 4, 0xFF, Identity::KeyBytes).unwrap();
        let (bytes, _) = header(&g).encode(&g);
        assert!(Header::decode_any(&g.with_segments(41).unwrap(), &bytes).is_ok());
        let found = HeaderError::Geometry { segment_bytes: 4096, segment_count: 32 };
        assert_eq!(Header::decode_any(&g.with_segments(42).unwrap(), &bytes), Err(found));
    }

    #[test]
    fn header_of_another_version_is_distinct_from_damage() {
        for identity in [Identity::KeyedHash, Identity::KeyBytes] {
            let (new, old) = (geometry(identity), geometry(identity).in_format(Format::One));
            let (bytes, len) = header(&old).encode(&old);
            assert_eq!(Header::decode(&new, &bytes[..len]), Err(HeaderError::Version(1)));
            let (bytes, len) = header(&new).encode(&new);
            assert_eq!(Header::decode(&old, &bytes[..len]), Err(HeaderError::Version(2)));
        }
    }

    #[test]
    fn marker_round_trips_and_any_flipped_bit_is_no_marker() {
        let marker = Marker { erases: 3, sequence_issued: Sequence::new(17) };
        let bytes = marker.encode();
        assert_eq!(Marker::decode(&bytes), Some(marker));
        for bit in 0..bytes.len() * 8 {
            let mut bad = bytes;
            bad[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Marker::decode(&bad), None, "bit {bit}");
        }
    }
}
