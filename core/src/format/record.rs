//! Records: header, key, value, in that order, under one checksum.
//!
//! ```text
//! tag   bits 0–1 kind (value, tombstone, freed, time)
//!       bit  2   an expiry follows          bit 3  an origin follows
//!       bit  4   long lengths: key u16 and value u32 instead of u8 and u16
//!       bits 5–7 codec, 1 to 6: so neither 0x00 nor 0xFF, the two erase values, is a tag
//!                7: a member of a batch, with the codec `Raw`; of a key
//! ```
//! A member of a batch counts only where a record that is none lies behind it in its segment: see `recovery/scanner.rs`.
//!
//! The checksum begins with the store's [`Seed`]; it runs over key and value, then the header without its checksum field, then
//! the segment's sequence and the record's offset: bytes from an earlier life of the segment, from another store, from
//! elsewhere in the segment, or of a client's making do not validate. All numbers are little-endian.

use core::fmt;

use super::checksum::{Checksum, Seed};
use super::fields::FieldWriter;
use super::geometry::{Format, Geometry};
use super::ids::{SegmentIndex, Sequence};
use super::place::{KeyHash, Location, Version};
use crate::codec::CodecId;

/// The longest key, in bytes.
pub const KEY_BYTES_MAX: u32 = u16::MAX as u32;

/// The longest record header, in bytes: long lengths, expiry and an 8-byte origin.
pub const RECORD_HEADER_BYTES_MAX: u32 = 1 + 6 + 4 + 8 + 4;

/// The shortest record header, in bytes: tag, short lengths, checksum.
pub const RECORD_HEADER_BYTES_MIN: u32 = 1 + 3 + 4;

const EXPIRY: u8 = 1 << 2;

const ORIGIN: u8 = 1 << 3;

const LONG: u8 = 1 << 4;

/// The place of the codec's number.
const CODEC_SHIFT: u8 = 5;

/// The number in place of a codec's that marks a member of a batch.
const MEMBER: u8 = 7;

/// The kind of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Kind {
    /// A key has this value.
    Value,
    /// A key has none.
    Tombstone,
    /// A segment is about to be erased and holds no live record: see [`EraseIntent`].
    EraseIntent,
    /// The wall clock, in seconds, as the value.
    Time,
}

impl Kind {
    const fn bits(self) -> u8 {
        match self {
            Self::Value => 0,
            Self::Tombstone => 1,
            Self::EraseIntent => 2,
            Self::Time => 3,
        }
    }

    pub(crate) const fn from_bits(bits: u8) -> Self {
        match bits & 3 {
            0 => Self::Value,
            1 => Self::Tombstone,
            2 => Self::EraseIntent,
            _ => Self::Time,
        }
    }

    pub(crate) const fn to_bits(self) -> u8 {
        self.bits()
    }

    /// Tells whether the record belongs to a key.
    #[must_use]
    pub const fn is_keyed(self) -> bool {
        matches!(self, Self::Value | Self::Tombstone)
    }
}

/// The fixed part of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct RecordHeader {
    /// The kind of the record.
    pub kind: Kind,
    /// Number of the codec of the value, 1 to 6.
    pub codec: CodecId,
    /// Bytes of the key.
    pub key_bytes: u32,
    /// Bytes of the value as stored.
    pub value_bytes: u32,
    /// When the record expires, in seconds of the wall clock.
    pub expires_s: Option<u32>,
    /// The version, for a record that is not where it was first written.
    pub origin: Option<Version>,
}

/// Why bytes are not a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum RecordError {
    /// The bytes are erased: nothing was written here.
    Blank,
    /// The bytes end before the record does; so many are needed, as far as is known.
    Short(u32),
    /// No header: the tag or the lengths are impossible.
    Malformed,
    /// A header, and a checksum that does not match; the record would be this long.
    Mismatch(u32),
}

impl fmt::Display for RecordError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Blank => f.write_str("nothing is written here"),
            Self::Short(n) => write!(f, "the record needs {n} bytes"),
            Self::Malformed => f.write_str("not a record header"),
            Self::Mismatch(_) => f.write_str("the record's checksum does not match"),
        }
    }
}

impl core::error::Error for RecordError {}

impl RecordHeader {
    /// Bytes of this header as stored.
    #[must_use]
    pub const fn stored_bytes(&self, geometry: &Geometry) -> u32 {
        let lengths = if self.is_long() { 6 } else { 3 };
        let expiry = if self.expires_s.is_some() { 4 } else { 0 };
        let origin = if self.origin.is_some() { geometry.origin_bytes() } else { 0 };
        1 + lengths + expiry + origin + 4
    }

    /// Bytes of key and value.
    #[must_use]
    pub const fn payload_bytes(&self) -> u32 {
        self.key_bytes.saturating_add(self.value_bytes)
    }

    /// Bytes of the whole record on the medium, padding included.
    #[must_use]
    pub const fn record_bytes(&self, geometry: &Geometry) -> u32 {
        geometry.padded(self.stored_bytes(geometry).saturating_add(self.payload_bytes()))
    }

    const fn is_long(&self) -> bool {
        self.key_bytes > u8::MAX as u32 || self.value_bytes > u16::MAX as u32
    }

    /// Writes the header, checksum included; returns it and its length.
    ///
    /// `payload` is the [checksum over key and value](Seed::payload), `at` where the record goes.
    #[must_use]
    pub fn encode(
        &self,
        geometry: &Geometry,
        payload: Checksum,
        at: Location,
    ) -> ([u8; RECORD_HEADER_BYTES_MAX as usize], usize) {
        self.encode_with(geometry, payload, at, self.codec.tag())
    }

    /// As [`encode`](Self::encode), with the mark of a member of a batch in place of the codec, which is `Raw`.
    pub(crate) fn encode_member(
        &self,
        geometry: &Geometry,
        payload: Checksum,
        at: Location,
    ) -> ([u8; RECORD_HEADER_BYTES_MAX as usize], usize) {
        self.encode_with(geometry, payload, at, MEMBER)
    }

    fn encode_with(
        &self,
        geometry: &Geometry,
        payload: Checksum,
        at: Location,
        codec: u8,
    ) -> ([u8; RECORD_HEADER_BYTES_MAX as usize], usize) {
        let mut out = [0u8; RECORD_HEADER_BYTES_MAX as usize];
        let mut fields = FieldWriter::new(&mut out);
        self.encode_fields(geometry, codec, &mut fields);
        let crc = bound(geometry, payload, fields.filled(), at);
        fields.put(&crc.to_le_bytes());
        let len = fields.filled().len();
        (out, len)
    }

    fn encode_fields(&self, geometry: &Geometry, codec: u8, out: &mut FieldWriter<'_>) {
        let long = self.is_long();
        let tag = self.kind.bits()
            | if self.expires_s.is_some() { EXPIRY } else { 0 }
            | if self.origin.is_some() { ORIGIN } else { 0 }
            | if long { LONG } else { 0 }
            | codec << CODEC_SHIFT;
        out.put(&[tag]);
        let ([k0, k1, ..], value) = (self.key_bytes.to_le_bytes(), self.value_bytes.to_le_bytes());
        if long {
            out.put(&[k0, k1]);
            out.put(&value);
        } else {
            let [v0, v1, ..] = value;
            out.put(&[k0, v0, v1]);
        }
        if let Some(expiry) = self.expires_s {
            out.put(&expiry.to_le_bytes());
        }
        if let Some(origin) = self.origin {
            origin.store(geometry, out);
        }
    }

    /// Reads a header; returns it, its length and its checksum, which is not checked yet.
    ///
    /// # Errors
    /// [`RecordError::Blank`] on an erased tag, [`RecordError::Short`] when `bytes` ends within the header,
    /// [`RecordError::Malformed`] when it can't be one.
    pub fn decode(geometry: &Geometry, bytes: &[u8]) -> Result<(Self, usize, u32), RecordError> {
        let &tag = bytes.first().ok_or(RecordError::Short(1))?;
        if tag == geometry.erase_value() {
            return Err(RecordError::Blank);
        }
        let codec = match tag >> CODEC_SHIFT {
            // No key has a time record, so no tag is 0xFF.
            MEMBER if Kind::from_bits(tag).is_keyed() => CodecId::Raw,
            number => CodecId::try_from(number).map_err(|_| RecordError::Malformed)?,
        };
        let mut fields = Fields { bytes, at: 1 };
        let (key_bytes, value_bytes) = if tag & LONG != 0 {
            (u32::from(u16::from_le_bytes(fields.take()?)), u32::from_le_bytes(fields.take()?))
        } else {
            (u32::from(u8::from_le_bytes(fields.take()?)), u32::from(u16::from_le_bytes(fields.take()?)))
        };
        if value_bytes > crate::format::SEGMENT_BYTES_MAX {
            return Err(RecordError::Malformed);
        }
        let expires_s = if tag & EXPIRY != 0 { Some(u32::from_le_bytes(fields.take()?)) } else { None };
        let origin = if tag & ORIGIN != 0 { Some(fields.origin(geometry)?) } else { None };
        let crc = u32::from_le_bytes(fields.take()?);
        let header = Self { kind: Kind::from_bits(tag), codec, key_bytes, value_bytes, expires_s, origin };
        Ok((header, fields.at, crc))
    }
}

struct Fields<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Fields<'_> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], RecordError> {
        let short = RecordError::Short(RECORD_HEADER_BYTES_MAX);
        let field = self.bytes.get(self.at..).and_then(|rest| rest.first_chunk::<N>()).ok_or(short)?;
        self.at += N;
        Ok(*field)
    }

    fn origin(&mut self, geometry: &Geometry) -> Result<Version, RecordError> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let origin = Version::load(geometry, rest).ok_or(RecordError::Short(RECORD_HEADER_BYTES_MAX))?;
        self.at += geometry.origin_bytes() as usize;
        Ok(origin)
    }
}

/// A whole record that was read and whose checksum holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Record<'a> {
    /// Its header.
    pub header: RecordHeader,
    /// Its key.
    pub key: &'a [u8],
    /// Its value as stored, still encoded.
    pub value: &'a [u8],
    /// The checksum over key and value, to be continued for another place.
    pub payload: Checksum,
    /// Whether it is a member of a batch: it counts only where a record that is none lies behind it in its segment.
    pub is_member: bool,
    /// Bytes on the medium, padding included.
    pub record_bytes: u32,
}

/// Binds the checksum over key and value to the header's fields and to where the record lies.
fn bound(geometry: &Geometry, payload: Checksum, fields: &[u8], at: Location) -> u32 {
    let crc = payload.then(fields).then(&at.sequence.get().to_le_bytes());
    match geometry.format() {
        Format::One => crc.value(),
        Format::Two => crc.then(&at.offset.to_le_bytes()).value(),
    }
}

/// Tells whether a record is whole whose header was read apart from its key and value: `fields` are the header's bytes before
/// its checksum, which is `stored`.
#[must_use]
pub fn is_whole(geometry: &Geometry, payload: Checksum, fields: &[u8], stored: u32, at: Location) -> bool {
    bound(geometry, payload, fields, at) == stored
}

/// Reads the record at the start of `bytes`, which lies at `at`.
///
/// # Errors
/// See [`RecordError`]. `Short(n)` means that a longer slice is needed before anything can be said.
///
/// # Bounds
/// Looks at no more than one record: header, key and value.
pub fn read_record<'a>(
    geometry: &Geometry,
    seed: Seed,
    at: Location,
    bytes: &'a [u8],
) -> Result<Record<'a>, RecordError> {
    let (header, header_bytes, crc) = RecordHeader::decode(geometry, bytes)?;
    let record_bytes = header.record_bytes(geometry);
    let key_end = header_bytes + header.key_bytes as usize;
    let value_end = key_end + header.value_bytes as usize;
    let short = RecordError::Short(record_bytes);
    let key = bytes.get(header_bytes..key_end).ok_or(short)?;
    let value = bytes.get(key_end..value_end).ok_or(short)?;
    let fields = bytes.get(..header_bytes - 4).ok_or(short)?;
    let payload = seed.payload(bytes.get(header_bytes..value_end).ok_or(short)?);
    if bound(geometry, payload, fields, at) != crc {
        return Err(RecordError::Mismatch(record_bytes));
    }
    let is_member = bytes.first().is_some_and(|tag| tag >> CODEC_SHIFT == MEMBER);
    Ok(Record { header, key, value, payload, is_member, record_bytes })
}

/// Bits that tell how long a record is, where its lengths are long: tag and lengths.
const LENGTH_BITS: u8 = 8 * (1 + 6);

/// The length of the record at the start of `bytes`, padding included. It is found if a bit of the tag or lengths has turned
/// over and the checksum shows that. Also how many bytes went through the checksum.
///
/// One wrong length in some thousand million passes. A client has no better odds, since the checksum begins with a secret.
///
/// # Bounds
/// As [`read_record`]; a length beyond `record_bytes_max` is not tried.
fn mended_bytes(
    geometry: &Geometry,
    seed: Seed,
    at: Location,
    bytes: &[u8],
    bit: u8,
    record_bytes_max: u32,
) -> (Option<u32>, u32) {
    let mut mended = [0; RECORD_HEADER_BYTES_MAX as usize];
    for (to, from) in mended.iter_mut().zip(bytes) {
        *to = *from;
    }
    if let Some(byte) = mended.get_mut(usize::from(bit / 8)) {
        *byte ^= 1 << (bit % 8);
    }
    let known = mended.get(..bytes.len()).unwrap_or(&mended);
    let Ok((header, header_bytes, crc)) = RecordHeader::decode(geometry, known) else { return (None, 0) };
    let record_bytes = header.record_bytes(geometry);
    let end = header_bytes.saturating_add(header.payload_bytes() as usize);
    let (payload, fields) = (bytes.get(header_bytes..end), known.get(..header_bytes.saturating_sub(4)));
    let (Some(payload), Some(fields)) = (payload, fields) else { return (None, 0) };
    if record_bytes > record_bytes_max {
        return (None, 0);
    }
    let is_whole = bound(geometry, seed.payload(payload), fields, at) == crc;
    (is_whole.then_some(record_bytes), header.payload_bytes())
}

/// The bits of the tag and lengths of a damaged record that were turned back so far, one a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Mending {
    /// Where the record lies.
    at: u32,
    next: u8,
    /// Bytes that went through the checksum for it, in all records so far.
    pub(crate) checked_bytes: u64,
}

impl Mending {
    /// Whether there is a bit left to turn back in the record at `at`. In another record than before, all are left.
    pub(crate) fn has_more(&mut self, at: u32) -> bool {
        if self.at != at {
            *self = Self { at, next: 0, ..*self };
        }
        self.next < LENGTH_BITS
    }

    /// Turns the next bit back: [`mended_bytes`].
    pub(crate) fn step(
        &mut self,
        geometry: &Geometry,
        seed: Seed,
        at: Location,
        bytes: &[u8],
        record_bytes_max: u32,
    ) -> Option<u32> {
        self.next += 1;
        let (mended, checked) = mended_bytes(geometry, seed, at, bytes, self.next - 1, record_bytes_max);
        self.checked_bytes = self.checked_bytes.saturating_add(u64::from(checked));
        mended
    }
}

/// The length of the record at the start of `bytes`, padding included. It is found where one bit of the tag or lengths has
/// turned over and the checksum shows which. Also how many bytes went through the checksum.
///
/// # Bounds
/// As [`read_record`], 56 times; a length beyond `record_bytes_max` is not tried.
#[must_use]
pub fn mended_length(
    geometry: &Geometry,
    seed: Seed,
    at: Location,
    bytes: &[u8],
    record_bytes_max: u32,
) -> (Option<u32>, u64) {
    let mut checked_bytes = 0;
    for bit in 0..LENGTH_BITS {
        let (mended, checked) = mended_bytes(geometry, seed, at, bytes, bit, record_bytes_max);
        checked_bytes += u64::from(checked);
        if mended.is_some() {
            return (mended, checked_bytes);
        }
    }
    (None, checked_bytes)
}

/// Bytes of the value of a time record.
pub const TIME_BYTES: u32 = 8;

/// Bytes of the value of an erase intent.
pub const ERASE_INTENT_BYTES: usize = 12;

/// The content of an erase intent: this life of this segment is over.
///
/// It is durable before the erase begins; a mount finishes the erase and never reads the segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct EraseIntent {
    /// The segment.
    pub segment: SegmentIndex,
    /// Its sequence in the life that is over.
    pub sequence: Sequence,
    /// Its erase count in that life.
    pub erases: u32,
}

impl EraseIntent {
    /// The value of the record, which is its key hash in a footer too.
    #[must_use]
    pub fn to_bytes(self) -> [u8; ERASE_INTENT_BYTES] {
        let mut out = [0; ERASE_INTENT_BYTES];
        out[..4].copy_from_slice(&self.segment.get().to_le_bytes());
        out[4..8].copy_from_slice(&self.sequence.get().to_le_bytes());
        out[8..].copy_from_slice(&self.erases.to_le_bytes());
        out
    }

    /// Reads the value of an erase intent; `None` when `bytes` is too short. The segment may lie beyond the medium.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        bytes.first_chunk().map(|value| Self::from_hash(&KeyHash(*value)))
    }

    /// Reads the hash by which an erase intent is known: its value.
    #[must_use]
    pub const fn from_hash(hash: &KeyHash) -> Self {
        let [a, b, c, d, e, f, g, h, i, j, k, l] = hash.0;
        Self {
            segment: SegmentIndex::new(u32::from_le_bytes([a, b, c, d])),
            sequence: Sequence::new(u32::from_le_bytes([e, f, g, h])),
            erases: u32::from_le_bytes([i, j, k, l]),
        }
    }
}

#[cfg(test)]
mod tests;
