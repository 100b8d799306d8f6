//! Damage at rest: bits that turn over and units that can't be read back, and the keys that may show it.
//!
//! The content allowed to a key is found from the medium alone, before the damage. A reader gets only the newest durable record
//! of a key, so only damage of that one may be seen.

use std::collections::{BTreeMap, BTreeSet};

use coldpress_core::config::TierConfig;
use coldpress_core::format::{
    EraseIntent, Geometry, Header, Identity, KeyHash, Kind, Location, MARKER_BYTES, Record, RecordError,
    SegmentIndex, TRAILER_BYTES, Version, mended_length, read_record,
};

use super::host::hash_of;
use super::oracle::{Key, key_bytes};
use super::rng::Rng;
use super::world::Lasting;

/// The damage so far.
#[derive(Debug, Clone, Default)]
pub struct Rot {
    /// Times that anything was damaged.
    pub count: u32,
    /// The parts that were hit, so that none is hit twice: a second flip may heal the first.
    hits: BTreeSet<(u32, u32, Part)>,
    /// By segment and sequence: the records to which only a footer leads.
    behind: BTreeMap<(u32, u32), Vec<Lies>>,
}

/// A part of a segment that is damaged once at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Part {
    Marker,
    Header,
    Footer,
    Record(u32),
}

/// A record as it lies in a segment.
#[derive(Debug, Clone, Copy)]
struct Lies {
    offset: u32,
    bytes: u32,
    kind: Kind,
    /// Of an erase intent: the segment and sequence that it is of.
    freed: Option<(u32, u32)>,
    hash: Option<KeyHash>,
    version: Version,
    /// Behind a gap: no mount has seen it.
    is_behind: bool,
}

/// The durable records of a segment. Those behind an earlier damaged one are seen as far as its length leads there.
///
/// Where no segment gets a footer, also records behind the end of the others: a cut may have taken a record and left those
/// behind it. A mount ends before that, until the last record in front of it is damaged and it looks for others.
fn lie(config: &TierConfig, segment: &[u8]) -> Option<(u32, Vec<Lies>)> {
    let (geometry, hash_key) = (&config.geometry, &config.store.hash_key);
    let copies = [geometry.header_at(), geometry.second_header_at()];
    let header = copies.iter().find_map(|at| Header::decode(geometry, &segment[*at as usize..]).ok())?;
    let mut found = Vec::new();
    let (mut at, end) = (geometry.records_at(), geometry.trailer_at());
    let mut is_behind = false;
    while at < end {
        let bytes = &segment[at as usize..end as usize];
        let here = Location { segment: SegmentIndex::new(0), offset: at, sequence: header.sequence };
        let seed = header.store.seed(geometry);
        match read_record(geometry, seed, here, bytes) {
            Ok(record) => {
                let here = Version { sequence: header.sequence, offset: at };
                found.push(Lies {
                    offset: at,
                    bytes: record.record_bytes,
                    kind: record.header.kind,
                    freed: freed(&record),
                    hash: keyed(geometry, hash_key, &record),
                    version: record.header.origin.unwrap_or(here),
                    is_behind,
                });
                at += record.record_bytes;
            }
            Err(error) if config.has_footers => {
                let longest = header.record_bytes_max;
                match (mended_length(geometry, seed, here, bytes, longest).0, error) {
                    (Some(bytes), _) | (None, RecordError::Mismatch(bytes)) => at = at.saturating_add(bytes),
                    _ => break,
                }
            }
            Err(error) => {
                is_behind |= error == RecordError::Blank;
                at += geometry.write_unit();
            }
        }
    }
    Some((header.sequence.get(), found))
}

fn keyed(geometry: &Geometry, hash_key: &[u8; 16], record: &Record<'_>) -> Option<KeyHash> {
    match (record.header.kind, geometry.identity()) {
        (Kind::EraseIntent | Kind::Time, _) => None,
        (Kind::Tombstone, Identity::KeyedHash) => record.key.first_chunk().copied().map(KeyHash),
        _ => Some(hash_of(hash_key, record.key)),
    }
}

fn freed(record: &Record<'_>) -> Option<(u32, u32)> {
    let freed = EraseIntent::from_bytes(record.value).filter(|_| record.header.kind == Kind::EraseIntent);
    freed.map(|freed| (freed.segment.get(), freed.sequence.get()))
}

impl Rot {
    fn has_hit_record(&self, segment: u32, sequence: u32) -> bool {
        self.hits.iter().any(|hit| matches!(hit, (s, q, Part::Record(_)) if (*s, *q) == (segment, sequence)))
    }

    /// The newest version of each key that a mount is sure to find: not records in a segment that was hit, or was freed.
    fn newest(&self, lying: &[Option<(u32, Vec<Lies>)>]) -> BTreeMap<KeyHash, Version> {
        let records = || lying.iter().flatten().flat_map(|(_, records)| records);
        let mut unsure: BTreeSet<(u32, u32)> = records().filter_map(|lies| lies.freed).collect();
        unsure.extend(self.hits.iter().map(|(segment, sequence, _)| (*segment, *sequence)));
        let mut newest: BTreeMap<KeyHash, Version> = BTreeMap::new();
        for (segment, found) in (0u32..).zip(lying) {
            let Some((sequence, records)) = found else { continue };
            if unsure.contains(&(segment, *sequence)) {
                continue;
            }
            for lies in records.iter().filter(|lies| !lies.is_behind) {
                let Some(hash) = lies.hash else { continue };
                let version = newest.entry(hash).or_insert(lies.version);
                *version = lies.version.max(*version);
            }
        }
        newest
    }
}

impl Lasting {
    /// Damages a random part at rest, by a seed; nothing where there is none, or where it was hit before.
    ///
    /// The segments in `open` may get further writes of a running tier. They get only damage that costs nothing behind it: of
    /// one copy of a header, or of one bit of a record.
    pub fn rot(&mut self, config: &TierConfig, seed: u64, open: &[u32]) {
        let mut rng = Rng::new(seed);
        let geometry = config.geometry;
        let lying: Vec<_> =
            (0..geometry.segment_count()).map(|at| lie(config, self.medium.durable_segment(at))).collect();
        let newest = self.rot.newest(&lying);
        let at_rest: Vec<u32> = (0u32..)
            .zip(&lying)
            .filter(|(at, found)| found.is_some() && self.medium.is_at_rest(*at))
            .map(|(at, _)| at)
            .collect();
        if at_rest.is_empty() {
            return;
        }
        let segment = at_rest[rng.index(at_rest.len())];
        let Some((sequence, records)) = &lying[segment as usize] else { return };
        let is_open = open.contains(&segment);
        // Records behind one without a length come and go with other damage before them, and with the footer.
        let coming: Vec<Lies> = self.rot.behind.get(&(segment, *sequence)).cloned().unwrap_or_default();
        let hit = |rot: &mut Rot, part| rot.hits.insert((segment, *sequence, part));
        let mut harmed: Vec<Lies> = Vec::new();
        match rng.below(16) {
            0 if hit(&mut self.rot, Part::Marker) => self.flip(&mut rng, segment, 0, MARKER_BYTES, 1),
            1..=2 if hit(&mut self.rot, Part::Header) => {
                let copies = [geometry.header_at(), geometry.second_header_at()];
                let first = rng.index(2);
                self.flip(&mut rng, segment, copies[first], geometry.header_bytes(), 1);
                if rng.below(3) == 0 && !is_open {
                    self.flip(&mut rng, segment, copies[1 - first], geometry.header_bytes(), 1);
                    harmed.extend(records);
                }
            }
            3..=4 if hit(&mut self.rot, Part::Footer) => {
                let end = records.last().map_or(geometry.records_at(), |last| last.offset + last.bytes);
                let trailer = TRAILER_BYTES + geometry.trailer_at() - end;
                let is_sound = !self.rot.has_hit_record(segment, *sequence);
                let from = if is_sound && rng.below(2) == 0 { end } else { geometry.trailer_at() };
                let bytes = if from == end { trailer } else { TRAILER_BYTES };
                self.flip(&mut rng, segment, from, bytes, 1);
            }
            how if !records.is_empty() => {
                let mut at = rng.index(records.len());
                let record = records[at];
                let was_hit = self.rot.has_hit_record(segment, *sequence);
                if !hit(&mut self.rot, Part::Record(record.offset)) {
                    return;
                }
                let how = if is_open { u64::MAX } else { how };
                match how {
                    // A unit that can't be read, or more than one bit: the beginning of the next record may be unknown.
                    5 => self.medium.spoil(segment, record.offset + rng_below(&mut rng, record.bytes)),
                    6 => self.flip(&mut rng, segment, record.offset, record.bytes, 3),
                    7 => self.flip(&mut rng, segment, record.offset, record.bytes.min(7), 2),
                    _ => self.flip(&mut rng, segment, record.offset, record.bytes, 1),
                }
                // Where a read of several records fails each is read alone, and then a damaged length leads nowhere.
                let is_wide = how <= 7 || !coming.is_empty();
                at = if is_wide && was_hit { 0 } else { at };
                let reach = if is_wide { records.len() } else { at + 1 };
                harmed.extend(&records[at..reach]);
                harmed.extend(records.iter().filter(|lies| lies.is_behind));
                if how <= 7 {
                    self.rot.behind.entry((segment, *sequence)).or_default().extend(&records[at..]);
                }
            }
            _ => return,
        }
        self.rot.count += 1;
        // A time may have been lost.
        self.promised_s = 0;
        self.harm(config, &newest, harmed, &coming);
    }

    /// Notes that a device takes a segment that it can't read for a torn one: its records are lost.
    pub(super) fn give_up(&mut self, config: &TierConfig, segment: u32) {
        let segments = 0..config.geometry.segment_count();
        let lying: Vec<_> = segments.map(|at| lie(config, self.medium.durable_segment(at))).collect();
        let newest = self.rot.newest(&lying);
        let harmed = lying.into_iter().nth(segment as usize).flatten();
        self.harm(config, &newest, harmed.map_or(Vec::new(), |(_, records)| records), &[]);
    }

    /// Notes the keys that may show that records were lost. It needs the newest versions that a mount is sure to find, and the
    /// records that come and go.
    fn harm(
        &mut self,
        config: &TierConfig,
        newest: &BTreeMap<KeyHash, Version>,
        harmed: Vec<Lies>,
        coming: &[Lies],
    ) {
        for (lies, hash) in harmed.iter().filter_map(|lies| Some((lies, lies.hash?))) {
            let write = self.versions.write(hash, lies.version);
            let of = self.oracle.keys().find(|key| hash_of(&config.store.hash_key, &key_bytes(*key)) == hash);
            if let Some(key) = of {
                self.oracle.harm(key, write, lies.kind == Kind::Value);
            }
        }
        let is_seen = |lies: &Lies| lies.hash.is_none_or(|hash| newest.get(&hash) <= Some(&lies.version));
        let seen: Vec<Lies> = harmed.into_iter().filter(is_seen).collect();
        let is_freed = seen.iter().any(|lies| lies.kind == Kind::EraseIntent);
        let keys: Vec<Key> = self.oracle.keys().collect();
        for key in keys {
            let hash = hash_of(&config.store.hash_key, &key_bytes(key));
            if seen.iter().any(|lies| lies.hash == Some(hash)) {
                self.oracle.spoil(key);
            }
            // Without its erase intent a half-erased segment comes back with all its records, and the records that hid them may
            // be gone.
            if is_freed || coming.iter().any(|lies| lies.hash == Some(hash)) {
                self.oracle.haunt(key);
            }
        }
    }

    /// Turns so many different bits of a range over, where anything is written.
    fn flip(&mut self, rng: &mut Rng, segment: u32, from: u32, bytes: u32, many: u32) {
        let mut turned = BTreeSet::new();
        for _ in 0..many {
            let (offset, bit) = (from + rng_below(rng, bytes), u8::try_from(rng.below(8)).unwrap_or(0));
            if turned.insert((offset, bit)) {
                self.medium.flip(segment, offset, bit);
            }
        }
    }
}

fn rng_below(rng: &mut Rng, bound: u32) -> u32 {
    u32::try_from(rng.below(bound.into())).unwrap_or(0)
}
