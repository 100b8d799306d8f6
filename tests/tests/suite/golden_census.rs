//! Counts the content of a medium from its raw bytes: kinds and forms of records, and states of segments.

use std::collections::BTreeMap;

use coldpress_core::codec::CodecId;
use coldpress_core::format::{
    FooterEntries, FooterEntry, Geometry, Head, Header, KEY_BYTES_MAX, Kind, Location, Marker,
    PIECE_EXPIRES_S, Record, RecordError, Seed, SegmentIndex, Sequence, Trailer, piece_parts, read_record,
};
use coldpress_std::image::{Identity, Image};

/// Every kind of a record and all its forms but one, whichever adapter wrote it.
pub(crate) const RECORDS: [&str; 15] = [
    "value",
    "tombstone",
    "freed",
    "time",
    "codec 1",
    "codec 6",
    "head",
    "piece",
    "short lengths",
    "expiry",
    "no expiry",
    "origin",
    "no origin",
    "origin and expiry",
    "origin of a piece",
];
/// The form of a record whose key is longer than 255 bytes: in small segments of a service there is none.
pub(crate) const LONG: [&str; 1] = ["long lengths"];
/// The codecs that compress, on a service.
pub(crate) const CODECS: [&str; 3] = ["codec 2", "codec 3", "codec 4"];
/// Every state of a segment.
pub(crate) const SEGMENTS: [&str; 4] = ["both headers", "open segment", "erased segment", "erased again"];
/// The parts of footers, which sealed segments have where keys are hashed.
pub(crate) const FOOTERS: [&str; 6] = [
    "sealed segment",
    "entry with expiry",
    "entry with origin",
    "entry of a value",
    "entry of a tombstone",
    "unkeyed entry",
];

/// How often each kind was found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Census(BTreeMap<String, u32>);

impl Census {
    /// Adds the content of a medium.
    ///
    /// # Panics
    /// Where a segment breaks the format.
    pub(crate) fn add(&mut self, bytes: &[u8]) {
        let image = Image::read_from(bytes.to_vec()).unwrap();
        let geometry = *image.geometry();
        let seed = image.store().seed(&geometry);
        for (segment, bytes) in (0..).zip(bytes.chunks(geometry.segment_bytes() as usize)) {
            self.add_segment(&geometry, seed, segment, bytes);
        }
    }

    pub(crate) fn of(bytes: &[u8]) -> Self {
        let mut census = Self::default();
        census.add(bytes);
        census
    }

    /// The kinds among these that were not found.
    pub(crate) fn lacks<'k>(&self, kinds: &[&'k str]) -> Vec<&'k str> {
        kinds.iter().copied().filter(|kind| !self.0.contains_key(*kind)).collect()
    }

    fn count(&mut self, kind: impl Into<String>) {
        *self.0.entry(kind.into()).or_default() += 1;
    }

    fn add_segment(&mut self, geometry: &Geometry, seed: Seed, segment: u32, bytes: &[u8]) {
        let part = |at: u32| &bytes[at as usize..];
        let marker = Marker::decode(bytes);
        if marker.is_some_and(|marker| marker.erases > 1) {
            self.count("erased again");
        }
        let is_blank = |bytes: &[u8]| bytes.iter().all(|byte| *byte == geometry.erase_value());
        let Ok(header) = Header::decode(geometry, part(geometry.header_at())) else {
            assert!(is_blank(part(geometry.header_at())), "segment {segment} holds something and no header");
            self.count(if marker.is_some() { "erased segment" } else { "segment without marker" });
            return;
        };
        assert_eq!(Header::decode(geometry, part(geometry.second_header_at())), Ok(header));
        self.count("both headers");
        self.count(format!("stream {}", header.stream));
        let start = Location {
            segment: SegmentIndex::new(segment),
            offset: geometry.records_at(),
            sequence: header.sequence,
        };
        let footer = footer(geometry, seed, header.sequence.get(), bytes);
        let end = footer.as_ref().map_or(geometry.trailer_at(), |(_, end)| *end);
        let records = self.add_records(geometry, seed, start, &bytes[..end as usize]);
        let Some((entries, _)) = footer else {
            self.count("open segment");
            return;
        };
        self.count("sealed segment");
        assert_eq!(entries.len(), records.len(), "segment {segment}");
        for (entry, (at, record)) in entries.iter().zip(&records) {
            self.add_entry(entry, *at, record);
        }
    }

    /// Adds the records from a place on; returns them with their offsets.
    fn add_records<'b>(
        &mut self,
        geometry: &Geometry,
        seed: Seed,
        mut at: Location,
        bytes: &'b [u8],
    ) -> Vec<(u32, Record<'b>)> {
        let mut records = Vec::new();
        while (at.offset as usize) < bytes.len() {
            let record = match read_record(geometry, seed, at, &bytes[at.offset as usize..]) {
                Ok(record) => record,
                Err(RecordError::Blank) => break,
                Err(error) => panic!("{error} at {at:?}"),
            };
            self.add_record(geometry, &record);
            records.push((at.offset, record));
            at.offset += record.record_bytes;
        }
        let rest = &bytes[at.offset as usize..];
        assert!(rest.iter().all(|byte| *byte == geometry.erase_value()), "something lies behind {at:?}");
        records
    }

    fn add_record(&mut self, geometry: &Geometry, record: &Record<'_>) {
        let header = record.header;
        let is_long = header.key_bytes > u8::MAX.into() || header.value_bytes > u16::MAX.into();
        assert!(header.key_bytes <= KEY_BYTES_MAX);
        self.count(match header.kind {
            Kind::Value => "value",
            Kind::Tombstone => "tombstone",
            Kind::EraseIntent => "freed",
            Kind::Time => "time",
        });
        if header.kind == Kind::Value {
            self.count(format!("codec {}", header.codec.tag()));
        }
        self.count(if is_long { "long lengths" } else { "short lengths" });
        self.count(if header.expires_s.is_some() { "expiry" } else { "no expiry" });
        self.count(if header.origin.is_some() { "origin" } else { "no origin" });
        match header.kind {
            Kind::Value if header.origin.is_none() => self.count("value without origin"),
            Kind::Tombstone if header.origin.is_none() => self.count("tombstone without origin"),
            _ => {}
        }
        if record.is_member {
            self.count("member of a batch");
        }
        if header.origin.is_some() && header.expires_s.is_some() {
            self.count("origin and expiry");
        }
        if header.kind == Kind::Value && header.codec == CodecId::Chunked {
            assert!(Head::from_bytes(record.value).is_some_and(|head| head.pieces > 1));
            self.count("head");
        }
        let is_hashed = geometry.identity() == Identity::KeyedHash;
        let is_piece = !is_hashed || header.expires_s == Some(PIECE_EXPIRES_S);
        if header.kind == Kind::Value && is_piece && piece_parts(record.key).is_some() {
            self.count("piece");
            if header.origin.is_some() {
                self.count("origin of a piece");
            }
        }
    }

    fn add_entry(&mut self, entry: &FooterEntry, at: u32, record: &Record<'_>) {
        let header = record.header;
        let found = (entry.offset, entry.kind, entry.expires_s, entry.origin);
        assert_eq!(found, (at, header.kind, header.expires_s, header.origin));
        if header.kind == Kind::Tombstone {
            assert_eq!(entry.hash.0, record.key, "a tombstone has the hash for a key");
        }
        self.count(match entry.kind {
            Kind::Value => "entry of a value",
            Kind::Tombstone => "entry of a tombstone",
            Kind::EraseIntent | Kind::Time => "unkeyed entry",
        });
        if entry.expires_s.is_some() {
            self.count("entry with expiry");
        }
        if entry.origin.is_some() {
            self.count("entry with origin");
        }
    }
}

/// The entries of a footer, and where the records end; `None` of a segment that is open.
fn footer(geometry: &Geometry, seed: Seed, sequence: u32, bytes: &[u8]) -> Option<(Vec<FooterEntry>, u32)> {
    let trailer =
        Trailer::decode(geometry, Sequence::new(sequence), &bytes[geometry.trailer_at() as usize..]).ok()?;
    let from = trailer.entries_at(geometry) as usize;
    let stored = &bytes[from..from + trailer.entry_bytes as usize];
    assert!(trailer.matches(seed.payload(stored)), "the footer does not validate");
    let mut walk = FooterEntries::new(*geometry, stored);
    let mut entries = Vec::new();
    while let Ok(entry) = walk.next_entry() {
        entries.push(entry);
    }
    let unkeyed = entries.iter().filter(|entry| !entry.kind.is_keyed()).count();
    assert_eq!((entries.len(), unkeyed), (trailer.entries as usize, trailer.unkeyed as usize));
    Some((entries, trailer.records_end))
}
