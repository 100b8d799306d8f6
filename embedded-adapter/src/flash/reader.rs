//! Reading single records: header and key to find the key, the rest to check the record.

use coldpress_core::drive::MediumError;
use coldpress_core::format::{
    Checksum, Geometry, IdentityHasher, KeyHash, Kind, Location, RecordHeader, Secret, Seed, SegmentIndex,
    Sequence, Version, is_whole,
};

use super::access::{Access, at_once};

/// Bytes of a record read at once: most headers with a short key fit.
const CHUNK_BYTES: u32 = 32;
const CHUNK: usize = CHUNK_BYTES as usize;

/// A medium with its shape, and the counts of its reads.
#[derive(Debug)]
pub struct Flash<M> {
    pub(super) medium: M,
    pub(super) geometry: Geometry,
    /// The start of record checksums; known once the store is.
    pub(super) seed: Seed,
    /// The key of the key hashes.
    pub(super) secret: Secret,
    /// Reads made, beside those that the machine asked for.
    pub(super) reads: u64,
    /// Bytes of all reads.
    pub(super) bytes_read: u64,
    /// The error of the last read that failed. The index takes unreadable records for doubtful; its callers look here for the
    /// reason.
    pub(super) read_failure: Option<MediumError>,
}

/// A record whose header was read; nothing of it is checked yet.
#[derive(Debug, Clone, Copy)]
pub struct OpenedRecord {
    pub(super) header: RecordHeader,
    header_bytes: u32,
    checksum: u32,
    /// Where it begins, in bytes from the start of the medium.
    at: u32,
    chunk: [u8; CHUNK],
}

impl OpenedRecord {
    /// Its version, in a segment of this sequence.
    pub(super) fn version(&self, geometry: &Geometry, sequence: Sequence) -> Version {
        let fresh = Version { sequence, offset: self.at % geometry.segment_bytes() };
        self.header.origin.unwrap_or(fresh)
    }

    /// Its bytes on the medium.
    pub(super) fn record_bytes(&self, geometry: &Geometry) -> u32 {
        self.header.record_bytes(geometry)
    }

    fn key_at(&self) -> u32 {
        self.header_bytes
    }

    fn value_at(&self) -> u32 {
        self.header_bytes + self.header.key_bytes
    }

    fn end(&self) -> u32 {
        self.value_at() + self.header.value_bytes
    }
}

/// Reads that are over when they return, and reads that are awaited.
pub(super) struct AtOnce<'f, M>(pub(super) &'f mut Flash<M>);
pub(super) struct Later<'f, M>(pub(super) &'f mut Flash<M>);

macro_rules! now {
    ($read:expr) => {
        $read
    };
}

macro_rules! later {
    ($read:expr) => {
        $read.await
    };
}

pub(super) use {later, now};

impl<M: Access> AtOnce<'_, M> {
    fn read(&mut self, at: u32, bytes: &mut [u8]) -> Result<(), MediumError> {
        let len = bytes.len();
        let result = at_once(self.0.medium.read_bytes(at.into(), bytes)).unwrap_or(Err(MediumError::Io));
        self.0.note_read(len, result)
    }
}

impl<M: Access> Later<'_, M> {
    async fn read(&mut self, at: u32, bytes: &mut [u8]) -> Result<(), MediumError> {
        let len = bytes.len();
        let result = self.0.medium.read_bytes(at.into(), bytes).await;
        self.0.note_read(len, result)
    }
}

/// The reads of a record, written once for both kinds. Where no read waits the code is plain calls: a future of each would take a
/// quarter more instructions for a get.
macro_rules! record_reads {
    ($reads:ident, $wait:ident $(, $wait_kind:tt)?) => {
        impl<M: Access> $reads<'_, M> {
            /// Reads the header of the record at a place; `None` where there is none of a key.
            pub(super) $($wait_kind)? fn open(&mut self, place: u32) -> Result<Option<OpenedRecord>, MediumError> {
                let at = self.0.address(place);
                let left = (self.0.geometry.segment_bytes() - at % self.0.geometry.segment_bytes()) as usize;
                let mut chunk = [self.0.geometry.erase_value(); CHUNK];
                $wait!(self.read_start(at, chunk.get_mut(..left.min(CHUNK)).unwrap_or_default()))?;
                let Ok((header, header_bytes, checksum)) = RecordHeader::decode(&self.0.geometry, &chunk) else {
                    return Ok(None);
                };
                // A header is at most 23 bytes.
                let header_bytes = u32::try_from(header_bytes).unwrap_or(u32::MAX);
                let offset = at % self.0.geometry.segment_bytes();
                let fits = header
                    .payload_bytes()
                    .checked_add(header_bytes)
                    .is_some_and(|bytes| bytes <= self.0.geometry.trailer_at().saturating_sub(offset));
                let is_keyed = matches!(header.kind, Kind::Value | Kind::Tombstone);
                Ok((fits && is_keyed).then_some(OpenedRecord { header, header_bytes, checksum, at, chunk }))
            }

            /// Fills a chunk as far as it can be read: behind a short record may lie a torn unit that can't be read.
            $($wait_kind)? fn read_start(&mut self, at: u32, chunk: &mut [u8]) -> Result<(), MediumError> {
                match $wait!(self.read(at, chunk)) {
                    Err(MediumError::Unreadable) => {}
                    other => return other,
                }
                let unit = self.0.geometry.write_unit();
                for (place, bytes) in (at..).step_by(unit as usize).zip(chunk.chunks_mut(unit as usize)) {
                    match $wait!(self.read(place, bytes)) {
                        Err(MediumError::Unreadable) if place > at => {
                            bytes.fill(self.0.geometry.erase_value());
                            break;
                        }
                        other => other?,
                    }
                }
                Ok(())
            }

            /// Hands out the bytes of a record between two offsets in it, in pieces of at most a chunk.
            $($wait_kind)? fn pieces(
                &mut self,
                opened: &OpenedRecord,
                from: u32,
                to: u32,
                mut take: impl FnMut(&[u8]),
            ) -> Result<(), MediumError> {
                let first = (from as usize).min(CHUNK)..(to as usize).min(CHUNK);
                take(opened.chunk.get(first).unwrap_or_default());
                let mut at = from.max(CHUNK_BYTES);
                let mut chunk = [0; CHUNK];
                while at < to {
                    let piece = chunk.get_mut(..((to - at) as usize).min(CHUNK)).unwrap_or_default();
                    $wait!(self.read(opened.at.saturating_add(at), piece))?;
                    take(piece);
                    at += CHUNK_BYTES;
                }
                Ok(())
            }

            /// The identity of the key that is stored. Bounds: reads the key.
            pub(super) $($wait_kind)? fn stored_hash(&mut self, opened: &OpenedRecord) -> Result<KeyHash, MediumError> {
                let mut hashing = IdentityHasher::new(&self.0.secret, opened.header.key_bytes as usize);
                $wait!(self.pieces(opened, opened.key_at(), opened.value_at(), |piece| hashing.take(piece)))?;
                Ok(hashing.finish())
            }

            /// Tells whether the key stored is this one. Bounds: reads the key.
            pub(super) $($wait_kind)? fn key_is(&mut self, opened: &OpenedRecord, key: &[u8]) -> Result<bool, MediumError> {
                if opened.header.key_bytes as usize != key.len() {
                    return Ok(false);
                }
                $wait!(self.is_between(opened, opened.key_at(), opened.value_at(), key))
            }

            /// Tells whether these bytes lie between two offsets of a record, as far as both reach.
            $($wait_kind)? fn is_between(
                &mut self,
                opened: &OpenedRecord,
                from: u32,
                to: u32,
                bytes: &[u8],
            ) -> Result<bool, MediumError> {
                let mut rest = bytes;
                let mut is_same = true;
                $wait!(self.pieces(opened, from, to, |piece| {
                    let (part, behind) = rest.split_at(piece.len().min(rest.len()));
                    is_same &= part == piece;
                    rest = behind;
                }))?;
                Ok(is_same)
            }

            /// Returns whether the record of a key holds this value. Bounds: reads the value only where its checksum is the one stored.
            pub(super) $($wait_kind)? fn holds(
                &mut self,
                opened: &OpenedRecord,
                key: &[u8],
                sequence: Sequence,
                value: &[u8],
            ) -> Result<bool, MediumError> {
                let is_its = self.0.is_finished(opened, self.0.seed.payload(key).then(value), sequence);
                Ok(is_its && $wait!(self.is_between(opened, opened.value_at(), opened.end(), value))?)
            }

            /// Tells whether the record is whole, in a segment of this sequence. Bounds: reads all of it.
            pub(super) $($wait_kind)? fn is_whole(
                &mut self,
                opened: &OpenedRecord,
                sequence: Sequence,
            ) -> Result<bool, MediumError> {
                let mut payload = self.0.seed.begin();
                $wait!(self.pieces(opened, opened.key_at(), opened.end(), |piece| payload = payload.then(piece)))?;
                Ok(self.0.is_finished(opened, payload, sequence))
            }

            /// Reads the value of a record whose key was compared; `false` where the record is damaged.
            ///
            /// Bounds: reads the value, but for what came with the header. `out` is as long as the value.
            pub(super) $($wait_kind)? fn value(
                &mut self,
                opened: &OpenedRecord,
                key: &[u8],
                sequence: Sequence,
                out: &mut [u8],
            ) -> Result<bool, MediumError> {
                let value_at = opened.value_at() as usize;
                let held = opened.chunk.get(value_at.min(CHUNK)..).unwrap_or_default();
                let (first, rest) = out.split_at_mut(held.len().min(out.len()));
                for (to, from) in first.iter_mut().zip(held) {
                    *to = *from;
                }
                if !rest.is_empty() {
                    let at = opened.at.saturating_add(opened.value_at().max(CHUNK_BYTES));
                    $wait!(self.read(at, rest))?;
                }
                Ok(self.0.is_finished(opened, self.0.seed.payload(key).then(out), sequence))
            }

            /// Reads the key; `out` is as long as it is.
            pub(super) $($wait_kind)? fn key(&mut self, opened: &OpenedRecord, out: &mut [u8]) -> Result<(), MediumError> {
                let mut at = 0;
                $wait!(self.pieces(opened, opened.key_at(), opened.value_at(), |piece| {
                    if let Some(place) = out.get_mut(at..at + piece.len()) {
                        place.copy_from_slice(piece);
                    }
                    at += piece.len();
                }))
            }
        }
    };
}

record_reads!(AtOnce, now);
record_reads!(Later, later, async);

impl<M: Access> Flash<M> {
    /// Where a place lies, in bytes from the start of the medium.
    pub(super) const fn address(&self, place: u32) -> u32 {
        place * self.geometry.write_unit()
    }

    /// The place of an offset in a segment.
    pub(super) const fn place(&self, segment: u32, offset: u32) -> u32 {
        segment * (self.geometry.segment_bytes() / self.geometry.write_unit())
            + offset / self.geometry.write_unit()
    }

    /// Reads the header of the record at a place; `None` where there is none of a key.
    pub(super) fn open(
        &mut self,
        place: u32,
    ) -> impl Future<Output = Result<Option<OpenedRecord>, MediumError>> {
        M::open(self, place)
    }

    /// The identity of the key that is stored. Bounds: reads the key.
    pub(super) fn stored_hash(
        &mut self,
        opened: &OpenedRecord,
    ) -> impl Future<Output = Result<KeyHash, MediumError>> {
        M::stored_hash(self, opened)
    }

    /// Tells whether the key stored is this one. Bounds: reads the key.
    pub(super) fn key_is(
        &mut self,
        opened: &OpenedRecord,
        key: &[u8],
    ) -> impl Future<Output = Result<bool, MediumError>> {
        M::key_is(self, opened, key)
    }

    /// Returns whether the record of a key holds this value. Bounds: reads the value only where its checksum is the one stored.
    pub(super) fn holds(
        &mut self,
        opened: &OpenedRecord,
        key: &[u8],
        sequence: Sequence,
        value: &[u8],
    ) -> impl Future<Output = Result<bool, MediumError>> {
        M::holds(self, opened, key, sequence, value)
    }

    /// Tells whether the record is whole, in a segment of this sequence. Bounds: reads all of it.
    pub(super) fn is_whole(
        &mut self,
        opened: &OpenedRecord,
        sequence: Sequence,
    ) -> impl Future<Output = Result<bool, MediumError>> {
        M::is_whole(self, opened, sequence)
    }

    /// Reads the value of a record whose key was compared; `false` where the record is damaged.
    ///
    /// Bounds: reads the value, but for what came with the header. `out` is as long as the value.
    pub(super) fn value(
        &mut self,
        opened: &OpenedRecord,
        key: &[u8],
        sequence: Sequence,
        out: &mut [u8],
    ) -> impl Future<Output = Result<bool, MediumError>> {
        M::value(self, opened, key, sequence, out)
    }

    /// Reads the key; `out` is as long as it is.
    pub(super) fn key(
        &mut self,
        opened: &OpenedRecord,
        out: &mut [u8],
    ) -> impl Future<Output = Result<(), MediumError>> {
        M::key(self, opened, out)
    }

    /// Counts a read, and keeps the reason why it failed.
    fn note_read(&mut self, len: usize, result: Result<(), MediumError>) -> Result<(), MediumError> {
        self.reads += 1;
        self.bytes_read += len as u64;
        result.inspect_err(|error| self.read_failure = Some(*error))
    }

    /// Continues the checksum over the header and the place, and compares it.
    fn is_finished(&self, opened: &OpenedRecord, payload: Checksum, sequence: Sequence) -> bool {
        let fields = opened.chunk.get(..(opened.header_bytes as usize).saturating_sub(4)).unwrap_or_default();
        let bytes = self.geometry.segment_bytes();
        let at =
            Location { segment: SegmentIndex::new(opened.at / bytes), offset: opened.at % bytes, sequence };
        is_whole(&self.geometry, payload, fields, opened.checksum, at)
    }
}
