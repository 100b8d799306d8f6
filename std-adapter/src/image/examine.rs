//! Reading one segment of an image, record by record.

use coldpress_core::codec::CodecId;
use coldpress_core::format::{
    FooterEntries, FooterEntry, Geometry, Header, Identity, KeyHash, Kind, Location, RECORD_HEADER_BYTES_MIN,
    Record, RecordError, Seed, SegmentIndex, Sequence, Trailer, TrailerError, Version, mended_length,
    read_record,
};
use coldpress_core::index::Index as _;
use coldpress_core::segments::SegmentState;

use coldpress_core::recovery::SEARCH_TIMES_MAX;

use super::error::ImageError;
use super::{Image, decode};

/// The content of a segment.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Contents {
    /// Its records, in their order.
    pub records: Vec<StoredRecord>,
    /// The damaged part.
    pub damage: Vec<Damage>,
    /// Bytes behind the last record of a segment that was never sealed. They belong to a record that a cut tore, and are no
    /// damage.
    pub torn_bytes: u32,
}

/// A record as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredRecord {
    /// Where it lies.
    pub location: Location,
    /// Which write it is.
    pub version: Version,
    /// Its content.
    pub kind: Kind,
    /// Number of the codec of its value.
    pub codec: CodecId,
    /// When it expires, in seconds of the wall clock.
    pub expires_s: Option<u32>,
    /// Its key; the hash of it in a tombstone where keys are hashed, nothing in a record of the machine's own.
    pub key: Vec<u8>,
    /// Its value as stored, still encoded.
    pub stored: Vec<u8>,
    /// Its bytes, padding included.
    pub record_bytes: u32,
    /// Whether it is the newest of its key.
    pub is_live: bool,
}

impl StoredRecord {
    /// Decodes the value.
    ///
    /// # Errors
    /// [`ImageError::Codec`].
    pub fn value(&self) -> Result<Vec<u8>, ImageError> {
        decode(self.codec, &self.stored)
    }
}

/// Damage in a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Damage {
    /// It can't be read.
    Unreadable,
    /// It is neither blank nor readable: none of its header copies is whole.
    Quarantined,
    /// One of the two copies of its header is not whole; the other one serves.
    Header,
    /// Its footer does not validate; its records serve.
    Footer,
    /// The search for records behind damage was given up at its bound: there may be records that were not found.
    Unsearched {
        /// Where the search for a record was given up.
        offset: u32,
    },
    /// A record does not validate.
    Record {
        /// Where it lies in the segment.
        offset: u32,
        /// The identity of its key, where the footer tells it.
        hash: Option<KeyHash>,
        /// Whether it was the newest of its key.
        is_live: bool,
    },
}

pub(super) fn examine(image: &Image, segment: u32) -> Result<Contents, ImageError> {
    let known = image.segments.get(segment as usize).ok_or(ImageError::Segment(segment))?;
    let mut walk = Walk { image, segment, sequence: known.sequence, contents: Contents::default() };
    match known.state() {
        SegmentState::Sealed => {}
        SegmentState::Quarantined => {
            walk.contents.damage.push(Damage::Quarantined);
            return Ok(walk.contents);
        }
        _ => return Ok(walk.contents),
    }
    let start = Location { segment: SegmentIndex::new(segment), offset: 0, sequence: known.sequence };
    match image.read_at(start, image.geometry.segment_bytes()) {
        Ok(bytes) => walk.segment(&bytes),
        Err(_) => walk.contents.damage.push(Damage::Unreadable),
    }
    Ok(walk.contents)
}

struct Walk<'a> {
    image: &'a Image,
    segment: u32,
    sequence: Sequence,
    contents: Contents,
}

/// The entries of a footer that validates, and where its records end.
fn footer(
    geometry: &Geometry,
    seed: Seed,
    sequence: Sequence,
    bytes: &[u8],
) -> Result<(Vec<FooterEntry>, u32), TrailerError> {
    let at = geometry.trailer_at();
    let tail = bytes.get(at as usize..).unwrap_or_default();
    let trailer = Trailer::decode(geometry, sequence, tail)?;
    let from = trailer.entries_at(geometry) as usize;
    let entries = bytes.get(from..from + trailer.entry_bytes as usize).ok_or(TrailerError::Damaged)?;
    if !trailer.matches(seed.payload(entries)) {
        return Err(TrailerError::Damaged);
    }
    let mut walk = FooterEntries::new(*geometry, entries);
    let mut found = Vec::new();
    while let Ok(entry) = walk.next_entry() {
        found.push(entry);
    }
    Ok((found, trailer.records_end))
}

/// Whether no record was ever begun here: more than a tag is blank.
fn is_blank_header(geometry: &Geometry, bytes: &[u8]) -> bool {
    bytes.iter().take(RECORD_HEADER_BYTES_MIN as usize).all(|byte| *byte == geometry.erase_value())
}

impl Walk<'_> {
    fn segment(&mut self, bytes: &[u8]) {
        let geometry = self.image.geometry;
        for at in [geometry.header_at(), geometry.second_header_at()] {
            let copy = bytes.get(at as usize..).unwrap_or_default();
            // The number of segments that the image had then may have been another.
            let header = Header::decode_any(&geometry, copy);
            if header.map(|(header, _)| header.sequence) != Ok(self.sequence) {
                self.contents.damage.push(Damage::Header);
            }
        }
        match footer(&geometry, self.image.seed(), self.sequence, bytes) {
            Ok((entries, end)) => self.listed(bytes, &entries, end),
            Err(error) => {
                if error == TrailerError::Damaged {
                    self.contents.damage.push(Damage::Footer);
                }
                self.unlisted(bytes);
            }
        }
    }

    /// Reads what a footer lists.
    fn listed(&mut self, bytes: &[u8], entries: &[FooterEntry], records_end: u32) {
        for (nth, entry) in entries.iter().enumerate() {
            let end = entries.get(nth + 1).map_or(records_end, |next| next.offset);
            let place = bytes.get(entry.offset as usize..end as usize).unwrap_or_default();
            let location = self.at(entry.offset);
            match read_record(&self.image.geometry, self.image.seed(), location, place) {
                Ok(record) if record.record_bytes == end - entry.offset => self.take(location, &record),
                _ => {
                    let is_live = self.is_live(&entry.hash, location);
                    let hash = entry.kind.is_keyed().then_some(entry.hash);
                    self.contents.damage.push(Damage::Record { offset: entry.offset, hash, is_live });
                }
            }
        }
    }

    /// Reads one record after the other. A record that does not validate is damaged if a valid one follows, else a cut took it.
    fn unlisted(&mut self, bytes: &[u8]) {
        let geometry = self.image.geometry;
        let end = geometry.trailer_at();
        let (seed, longest) = (self.image.seed(), self.image.record_bytes_max());
        let mut searched_bytes = 0;
        let searched_max = SEARCH_TIMES_MAX * u64::from(geometry.segment_bytes());
        // The damage may be in a length, which would lead past good records. The mount searches in the same way.
        let searches = geometry.identity() == Identity::KeyBytes;
        let mut doubt = None;
        let mut good_end = geometry.records_at();
        // Where members of a batch begin that no record without the mark proves to be whole, and the records before them.
        let mut batch: Option<(u32, usize)> = None;
        let mut offset = good_end;
        while offset < end {
            let place = bytes.get(offset as usize..end as usize).unwrap_or_default();
            let at = self.at(offset);
            let read = place.get(..longest as usize).unwrap_or(place);
            offset = match read_record(&geometry, seed, at, read) {
                Ok(record) => {
                    if let Some(offset) = doubt.take() {
                        self.unowned(offset);
                    }
                    if record.is_member {
                        batch = batch.or(Some((offset, self.contents.records.len())));
                    } else {
                        batch = None;
                    }
                    self.take(self.at(offset), &record);
                    good_end = offset + record.record_bytes;
                    good_end
                }
                Err(RecordError::Blank) if doubt.is_none() && is_blank_header(&geometry, place) => break,
                Err(error) if searches => {
                    let damaged = *doubt.get_or_insert(offset);
                    if let RecordError::Mismatch(bytes) = error {
                        searched_bytes += u64::from(bytes);
                    }
                    if searched_bytes > searched_max {
                        self.unowned(damaged);
                        self.contents.damage.push(Damage::Unsearched { offset });
                        break;
                    }
                    offset + geometry.write_unit()
                }
                Err(error) => {
                    let damaged = *doubt.get_or_insert(offset);
                    let mut mended = None;
                    if searched_bytes <= searched_max {
                        let (found, checked_bytes) = mended_length(&geometry, seed, at, place, longest);
                        searched_bytes += checked_bytes;
                        mended = found;
                    }
                    match (mended.filter(|bytes| *bytes <= end - offset), error) {
                        (Some(bytes), _) => {
                            doubt = None;
                            self.unowned(damaged);
                            good_end = offset + bytes;
                            good_end
                        }
                        (None, RecordError::Mismatch(bytes)) if bytes <= end - offset => offset + bytes,
                        _ => break,
                    }
                }
            };
        }
        // A batch without its end counts for nothing.
        if let Some((from, records)) = batch {
            self.contents.records.truncate(records);
            good_end = from;
        }
        let rest = bytes.get(good_end as usize..end as usize).unwrap_or_default();
        let written = rest.iter().rposition(|byte| *byte != geometry.erase_value()).map_or(0, |at| at + 1);
        self.contents.torn_bytes = u32::try_from(written).unwrap_or(u32::MAX);
    }

    /// Notes a damaged record whose key is unknown.
    fn unowned(&mut self, offset: u32) {
        self.contents.damage.push(Damage::Record { offset, hash: None, is_live: false });
    }

    const fn at(&self, offset: u32) -> Location {
        Location { segment: SegmentIndex::new(self.segment), offset, sequence: self.sequence }
    }

    fn is_live(&self, hash: &KeyHash, at: Location) -> bool {
        self.image.index.live(hash).is_some_and(|placed| placed.location == at)
    }

    fn take(&mut self, location: Location, record: &Record<'_>) {
        let header = record.header;
        let key = self.image.identity(record);
        self.contents.records.push(StoredRecord {
            location,
            version: header.origin.unwrap_or(location.version()),
            kind: header.kind,
            codec: header.codec,
            expires_s: header.expires_s,
            key: record.key.to_vec(),
            stored: record.value.to_vec(),
            record_bytes: record.record_bytes,
            is_live: key.is_some_and(|hash| self.is_live(&hash, location)),
        });
    }
}

impl Image {
    /// The hash under which a record is known; `None` for a record of the machine's own.
    fn identity(&self, record: &Record<'_>) -> Option<KeyHash> {
        match (record.header.kind, self.geometry.identity()) {
            (Kind::Tombstone, Identity::KeyedHash) => record.key.first_chunk().map(|hash| KeyHash(*hash)),
            (Kind::Value | Kind::Tombstone, _) => Some(self.index.hash_record(record)),
            (Kind::EraseIntent | Kind::Time, _) => None,
        }
    }
}
