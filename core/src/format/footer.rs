//! Footers: the list of a sealed segment's records, so that a mount reads no record.
//!
//! ```text
//! entry    key hash 12 │ word 4: bit 31 expiry, bit 30 origin, bits 28–29 kind, bits 0–27 offset │ [expiry 4] │ [origin 4, 6 or 8]
//! trailer  "cpF1" │ entries u32 │ entry bytes u32 │ records end u32 │ unkeyed entries u32 │ sequence u32 │ crc32c
//! ```
//! Entries lie in the order of their records and end where the trailer begins (padding between); a record's length is the
//! distance to the next one. The checksum begins with the store's seed and runs over the entries, then the trailer before it. A footer is written only when
//! all records of its segment are durable (rule 2). Freed and time records are entries too, with their value as the hash.

use core::fmt;

use super::checksum::{Checksum, Seed};
use super::fields::FieldWriter;
use super::geometry::Geometry;
use super::header::number;
use super::ids::Sequence;
use super::place::{KeyHash, Version};
use super::record::Kind;

/// Bytes of an entry without expiry and origin.
pub const ENTRY_BYTES: u32 = 16;

/// The longest entry, in bytes.
pub const ENTRY_BYTES_MAX: u32 = ENTRY_BYTES + 4 + 8;

/// Bytes of a trailer before padding.
pub const TRAILER_BYTES: u32 = 28;

const MAGIC: [u8; 4] = *b"cpF1";

const EXPIRY: u32 = 1 << 31;

const ORIGIN: u32 = 1 << 30;

const OFFSET_MASK: u32 = (1 << 28) - 1;

/// One record, as its segment's footer lists it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct FooterEntry {
    /// The identity of its key, or the value of an unkeyed record.
    pub hash: KeyHash,
    /// Where it lies in the segment.
    pub offset: u32,
    /// Its content.
    pub kind: Kind,
    /// When it expires, in seconds of the wall clock.
    pub expires_s: Option<u32>,
    /// Its version, if it was relocated.
    pub origin: Option<Version>,
}

/// Why a trailer can't be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum TrailerError {
    /// There is none: the segment was never sealed.
    Absent,
    /// There is one of this segment, and it or its entries are damaged.
    Damaged,
}

impl fmt::Display for TrailerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Absent => "no footer",
            Self::Damaged => "the footer is damaged",
        })
    }
}

impl core::error::Error for TrailerError {}

/// Why an entry can't be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct EntryError;

impl fmt::Display for EntryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a footer entry ends early")
    }
}

impl core::error::Error for EntryError {}

/// The end of a footer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Trailer {
    /// How many entries there are.
    pub entries: u32,
    /// Their bytes together.
    pub entry_bytes: u32,
    /// Where the last record ends.
    pub records_end: u32,
    /// How many entries are freed or time records.
    pub unkeyed: u32,
    /// The sequence of the segment.
    pub sequence: Sequence,
    /// The checksum over the entries and this trailer.
    pub checksum: Checksum,
}

impl Trailer {
    /// Reads a trailer; the entries are still to be checked with [`Trailer::matches`].
    ///
    /// # Errors
    /// [`TrailerError::Absent`] when no trailer of the life `sequence` begins here, [`TrailerError::Damaged`] when its
    /// numbers are impossible.
    pub fn decode(geometry: &Geometry, sequence: Sequence, bytes: &[u8]) -> Result<Self, TrailerError> {
        let read = || {
            Some(Self {
                entries: number(bytes, 4)?,
                entry_bytes: number(bytes, 8)?,
                records_end: number(bytes, 12)?,
                unkeyed: number(bytes, 16)?,
                sequence: Sequence::new(number(bytes, 20)?),
                checksum: Checksum::resume(number(bytes, 24)?),
            })
        };
        let trailer = read().ok_or(TrailerError::Absent)?;
        if !bytes.starts_with(&MAGIC) || trailer.sequence != sequence {
            return Err(TrailerError::Absent);
        }
        let usable_bytes = geometry.usable_bytes();
        let entries_at =
            geometry.trailer_at().checked_sub(geometry.padded(trailer.entry_bytes.min(usable_bytes)));
        let possible = trailer.entry_bytes <= usable_bytes
            && trailer.entries <= trailer.entry_bytes / ENTRY_BYTES
            && trailer.unkeyed <= trailer.entries
            && entries_at.is_some_and(|at| trailer.records_end <= at)
            && trailer.records_end >= geometry.records_at();
        if possible { Ok(trailer) } else { Err(TrailerError::Damaged) }
    }

    /// The sequence that a trailer states, if there is one: it is still to be checked.
    pub(crate) fn stated_sequence(bytes: &[u8]) -> Option<Sequence> {
        bytes.starts_with(&MAGIC).then(|| number(bytes, 20)).flatten().map(Sequence::new)
    }

    /// Where the entries begin in the segment.
    #[must_use]
    pub fn entries_at(&self, geometry: &Geometry) -> u32 {
        geometry.trailer_at() - geometry.padded(self.entry_bytes)
    }

    fn fields(&self) -> [u8; TRAILER_BYTES as usize - 4] {
        let mut out = [0; TRAILER_BYTES as usize - 4];
        let mut fields = FieldWriter::new(&mut out);
        fields.put(&MAGIC);
        for n in [self.entries, self.entry_bytes, self.records_end, self.unkeyed, self.sequence.get()] {
            fields.put(&n.to_le_bytes());
        }
        out
    }

    /// Tells whether `entries`, the checksum over all entry bytes from the store's [`Seed`] on, matches the sealed entries.
    #[must_use]
    pub fn matches(&self, entries: Checksum) -> bool {
        entries.then(&self.fields()) == self.checksum
    }
}

/// Collects the footer of an open segment in a lent buffer.
#[derive(Debug, Clone, Copy, Default)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct FooterWriter {
    entries: u32,
    entry_bytes: u32,
    unkeyed: u32,
}

impl FooterWriter {
    /// An empty footer.
    #[must_use]
    pub const fn new() -> Self {
        Self { entries: 0, entry_bytes: 0, unkeyed: 0 }
    }

    /// Bytes of the entries so far.
    #[must_use]
    pub const fn entry_bytes(&self) -> u32 {
        self.entry_bytes
    }

    /// Bytes that an entry takes.
    #[must_use]
    pub fn bytes_of(geometry: &Geometry, expires: bool, origin: bool) -> u32 {
        ENTRY_BYTES + if expires { 4 } else { 0 } + if origin { geometry.origin_bytes() } else { 0 }
    }

    /// Adds an entry. Returns `false`, and adds nothing, when `buffer` has no space for it and a trailer.
    pub fn push(&mut self, geometry: &Geometry, buffer: &mut [u8], entry: &FooterEntry) -> bool {
        let len = Self::bytes_of(geometry, entry.expires_s.is_some(), entry.origin.is_some());
        let at = self.entry_bytes as usize;
        let needed_bytes = geometry.padded(self.entry_bytes + len) + geometry.padded(TRAILER_BYTES);
        if needed_bytes as usize > buffer.len() {
            return false;
        }
        let Some(out) = buffer.get_mut(at..at + len as usize) else { return false };
        let word = entry.offset & OFFSET_MASK
            | u32::from(entry.kind.to_bits()) << 28
            | if entry.expires_s.is_some() { EXPIRY } else { 0 }
            | if entry.origin.is_some() { ORIGIN } else { 0 };
        let mut out = FieldWriter::new(out);
        out.put(&entry.hash.0);
        out.put(&word.to_le_bytes());
        if let Some(expiry) = entry.expires_s {
            out.put(&expiry.to_le_bytes());
        }
        if let Some(origin) = entry.origin {
            origin.store(geometry, &mut out);
        }
        self.entries += 1;
        self.entry_bytes += len;
        self.unkeyed += u32::from(!entry.kind.is_keyed());
        true
    }

    /// Adds padding and trailer; returns the bytes of the whole footer, which ends at the second header copy.
    pub fn finish(
        &self,
        geometry: &Geometry,
        buffer: &mut [u8],
        seed: Seed,
        sequence: Sequence,
        records_end: u32,
    ) -> Option<u32> {
        let padded = geometry.padded(self.entry_bytes) as usize;
        let entries = buffer.get(..self.entry_bytes as usize)?;
        let mut trailer = Trailer {
            entries: self.entries,
            entry_bytes: self.entry_bytes,
            records_end,
            unkeyed: self.unkeyed,
            sequence,
            checksum: Checksum::default(),
        };
        let fields = trailer.fields();
        trailer.checksum = seed.payload(entries).then(&fields);
        let total = padded + geometry.padded(TRAILER_BYTES) as usize;
        buffer.get_mut(self.entry_bytes as usize..total)?.fill(geometry.erase_value());
        buffer.get_mut(padded..padded + fields.len())?.copy_from_slice(&fields);
        buffer
            .get_mut(padded + fields.len()..)?
            .get_mut(..4)?
            .copy_from_slice(&trailer.checksum.value().to_le_bytes());
        u32::try_from(total).ok()
    }
}

/// Walks entries in a chunk of a footer.
#[derive(Debug, Clone)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct FooterEntries<'a> {
    geometry: Geometry,
    bytes: &'a [u8],
    at: usize,
}

impl<'a> FooterEntries<'a> {
    /// Begins at the start of `bytes`, which must be the start of an entry.
    #[must_use]
    pub const fn new(geometry: Geometry, bytes: &'a [u8]) -> Self {
        Self { geometry, bytes, at: 0 }
    }

    /// Bytes walked so far.
    #[must_use]
    pub const fn position(&self) -> usize {
        self.at
    }

    /// The offset of the record of the next entry, if so many bytes are there.
    pub(crate) fn next_offset(&self) -> Option<u32> {
        let word = self.bytes.get(self.at..)?.get(12..)?.first_chunk::<4>()?;
        Some(u32::from_le_bytes(*word) & OFFSET_MASK)
    }

    /// Reads the next entry.
    ///
    /// # Errors
    /// [`EntryError`] when the bytes end within it: more must be read.
    pub fn next_entry(&mut self) -> Result<FooterEntry, EntryError> {
        let rest = self.bytes.get(self.at..).ok_or(EntryError)?;
        let (hash, rest) = rest.split_first_chunk::<12>().ok_or(EntryError)?;
        let (word, mut rest) = rest.split_first_chunk::<4>().ok_or(EntryError)?;
        let word = u32::from_le_bytes(*word);
        let mut expires_s = None;
        if word & EXPIRY != 0 {
            let (field, after) = rest.split_first_chunk::<4>().ok_or(EntryError)?;
            (expires_s, rest) = (Some(u32::from_le_bytes(*field)), after);
        }
        let mut origin = None;
        if word & ORIGIN != 0 {
            origin = Some(Version::load(&self.geometry, rest).ok_or(EntryError)?);
        }
        self.at += FooterWriter::bytes_of(&self.geometry, expires_s.is_some(), origin.is_some()) as usize;
        let kind = Kind::from_bits((word >> 28 & 3) as u8);
        Ok(FooterEntry { hash: KeyHash(*hash), offset: word & OFFSET_MASK, kind, expires_s, origin })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::Identity;

    const SEED: Seed = Seed::of(Checksum::resume(0x1234_5678));

    #[test]
    fn footer_round_trips_for_units_of_1_and_32() {
        for unit in [1, 32] {
            let g = Geometry::new(1 << 16, 16, unit, 0xFF, Identity::KeyedHash).unwrap();
            let mut buffer = [0u8; 512];
            let mut writer = FooterWriter::default();
            let origin = Some(Version { sequence: Sequence::new(5), offset: 96 });
            let forms = [(None, None), (Some(4), None), (None, origin), (Some(u32::MAX), origin)];
            let entries = forms.map(|(expires_s, origin)| FooterEntry {
                hash: KeyHash([9; 12]),
                offset: 4096,
                kind: Kind::Tombstone,
                expires_s,
                origin,
            });
            for entry in &entries {
                assert!(writer.push(&g, &mut buffer, entry));
            }
            let total = writer.finish(&g, &mut buffer, SEED, Sequence::new(77), 8192).unwrap() as usize;
            let trailer_at = total - g.padded(TRAILER_BYTES) as usize;
            let trailer = Trailer::decode(&g, Sequence::new(77), &buffer[trailer_at..total]).unwrap();
            assert_eq!((trailer.entries, trailer.records_end, trailer.unkeyed), (4, 8192, 0));
            let entry_bytes = &buffer[..trailer.entry_bytes as usize];
            assert!(trailer.matches(SEED.payload(entry_bytes)));
            assert!(!trailer.matches(Checksum::of(entry_bytes)), "of another store");
            let mut walk = FooterEntries::new(g, &buffer[..trailer.entry_bytes as usize]);
            for entry in &entries {
                assert_eq!(walk.next_entry(), Ok(*entry));
            }
            assert_eq!(walk.next_entry(), Err(EntryError));
            assert_eq!(
                Trailer::decode(&g, Sequence::new(78), &buffer[trailer_at..total]),
                Err(TrailerError::Absent)
            );
        }
    }

    #[test]
    fn full_buffer_takes_no_entry_and_keeps_space_for_the_trailer() {
        let g = Geometry::new(1 << 16, 16, 1, 0xFF, Identity::KeyedHash).unwrap();
        let mut buffer = [0u8; 100];
        let mut writer = FooterWriter::default();
        let entry = FooterEntry {
            hash: KeyHash([1; 12]),
            offset: 64,
            kind: Kind::Value,
            expires_s: None,
            origin: None,
        };
        let mut pushed = 0;
        while writer.push(&g, &mut buffer, &entry) {
            pushed += 1;
        }
        assert_eq!(pushed, (100 - TRAILER_BYTES) / ENTRY_BYTES);
        assert!(writer.finish(&g, &mut buffer, SEED, Sequence::new(1), 64).is_some());
    }
}
