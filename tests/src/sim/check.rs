//! Holds a world to the invariants.

use std::collections::BTreeMap;

use coldpress_core::format::{
    EraseIntent, Geometry, Header, Identity, KeyHash, Kind, Location, Record, RecordError, SegmentIndex,
    Sequence, read_record,
};
use coldpress_core::recovery::MountReport;
use coldpress_core::segments::SegmentState;

use super::host::hash_of;
use super::oracle::{Key, What, key_bytes};
use super::runs;
use super::world::World;

/// The result of a read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seen {
    /// Nothing.
    Absent,
    /// A value.
    Value(Vec<u8>),
    /// The key's record is damaged.
    Damaged,
}

impl World<'_> {
    /// Reads as an adapter does: by the index, from the medium, at the time of the tier.
    #[must_use]
    pub fn read(&self, key: Key) -> Seen {
        let expires_s = self.host.entry(&self.hash(key)).and_then(|entry| entry.newest.placed.expires_s);
        match self.look_up(key) {
            Seen::Value(_) if expires_s.is_some_and(|at| at <= self.tier.clock_s()) => Seen::Absent,
            seen => seen,
        }
    }

    /// The value that the index leads to, expired or not.
    fn look_up(&self, key: Key) -> Seen {
        let hash = self.hash(key);
        let Some(entry) = self.host.entry(&hash) else { return Seen::Absent };
        let placed = entry.newest.placed;
        if entry.newest.is_damaged {
            return Seen::Damaged;
        }
        if !entry.newest.is_live || placed.kind != Kind::Value {
            return Seen::Absent;
        }
        let geometry = self.config().geometry;
        let mut bytes = vec![0; placed.record_bytes as usize];
        let at = placed.location;
        if self.lasting.medium.peek(at.segment.get(), at.offset, &mut bytes).is_err() {
            return Seen::Damaged;
        }
        let Ok(record) = read_record(&geometry, self.config().store.seed(&geometry), at, &bytes) else {
            return Seen::Damaged;
        };
        assert_eq!(record.key, key_bytes(key), "the index points at another key's record");
        assert_eq!(record.header.kind, Kind::Value, "the index points at another kind of record");
        match runs::decode(record.header.codec, record.value) {
            Some(value) => Seen::Value(value),
            None => panic!("codec {} in a record of the model", record.header.codec),
        }
    }

    fn is(&self, seen: &Seen, what: What) -> bool {
        match seen {
            Seen::Absent => what.is_absent_at(self.tier.clock_s()),
            Seen::Value(bytes) => what.content().is_some_and(|content| content == *bytes),
            Seen::Damaged => false,
        }
    }

    /// The one of the allowed contents of a key that a mount found. A value that has expired by any clock that the tier ever
    /// had may be gone.
    fn found(&self, key: Key, seen: &Seen) -> Option<What> {
        let allowed = self.lasting.oracle.allowed(key);
        match seen {
            Seen::Value(_) => allowed.iter().rev().find(|what| self.is(seen, **what)).copied(),
            Seen::Absent => {
                let is_over = |what: &What| what.is_absent_at(self.lasting.newest_s);
                allowed.iter().any(is_over).then_some(What::Absent)
            }
            Seen::Damaged => None,
        }
    }

    /// Checks after a mount that the cut may leave the content of each key (I-LOG-2, I-LOG-4, I-LOG-5). The key has this
    /// content from then on.
    ///
    /// # Panics
    /// Naming the key and what was allowed.
    pub fn check_recovered(&mut self) {
        self.check_recovered_but(&[]);
    }

    /// The same, except for keys whose newest record was spoilt: they may read as damaged.
    pub fn check_recovered_but(&mut self, spoilt: &[Key]) {
        let clock_s = self.tier.clock_s();
        self.check_start();
        let keys: Vec<Key> = self.lasting.oracle.keys().collect();
        for key in keys {
            let seen = self.look_up(key);
            if seen == Seen::Damaged && (spoilt.contains(&key) || self.lasting.oracle.is_spoilt(key)) {
                // Later writes of the key are not there.
                self.lasting.oracle.found_damaged(key);
                continue;
            }
            let found = self.found(key, &seen).or_else(|| self.returned(key, &seen));
            let Some(found) = found.or_else(|| self.had_before(key, &seen)) else {
                let allowed = self.lasting.oracle.allowed(key);
                panic!(
                    "I-LOG-4/I-LOG-5: key {key} reads {seen:?}, allowed are {allowed:?} at {clock_s} s; index {:?}\n{}",
                    self.host.entry(&self.hash(key)),
                    self.sketch()
                );
            };
            // A footer may still tell of a tombstone that is damaged itself.
            let is_spoilt = self.lasting.oracle.is_spoilt(key) && !self.is_sound(key);
            let of = match found {
                What::Value { write, .. } => write,
                What::Absent => self.write_of(key),
            };
            // A mount can read all that a failed sync left in doubt, and vouch for none of it.
            if self.lasting.medium.unsynced().any(super::Op::is_doubtful) {
                self.lasting.oracle.found(key, found, of);
            } else {
                self.lasting.oracle.settled(key, found, of);
            }
            if is_spoilt {
                self.lasting.oracle.spoil(key);
            }
        }
        self.lasting.is_reported = false;
        for (hash, entry) in self.host.entries() {
            assert!(
                !entry.newest.is_live || self.key_of(hash).is_some(),
                "I-LOG-2: the index holds a key that nobody wrote: {entry:?}"
            );
        }
    }

    /// Whether the record that the index points to validates.
    fn is_sound(&self, key: Key) -> bool {
        let Some(entry) = self.host.entry(&self.hash(key)) else { return true };
        let (at, len) = (entry.newest.placed.location, entry.newest.placed.record_bytes);
        let mut bytes = vec![0; len as usize];
        self.lasting.medium.peek(at.segment.get(), at.offset, &mut bytes).is_ok()
            && read_record(
                &self.config().geometry,
                self.config().store.seed(&self.config().geometry),
                at,
                &bytes,
            )
            .is_ok()
    }

    /// Rule 8: where the newest record of a key was damaged, and its key is unknown, the key has its older content, and the
    /// mount reports damage.
    fn had_before(&self, key: Key, seen: &Seen) -> Option<What> {
        let found = match seen {
            Seen::Value(bytes) => self.lasting.oracle.own(key, bytes),
            Seen::Absent => Some(What::Absent),
            Seen::Damaged => None,
        };
        let report = self.tier.mount_report();
        let is_reported = self.lasting.is_reported || tells_damage(&report);
        let was_there = || self.lasting.oracle.before(key, self.write_of(key)).is_some();
        found.filter(|_| is_reported && (self.lasting.oracle.is_spoilt(key) || was_there()))
    }

    /// In a running world: every key whose writes are published reads as the newest of them.
    pub fn check_current(&self) {
        for key in self.lasting.oracle.keys().filter(|&key| !self.is_pending(key)) {
            let (seen, what) = (self.read(key), self.lasting.oracle.current(key));
            let is_spoilt = seen == Seen::Damaged && self.lasting.oracle.is_spoilt(key);
            assert!(
                is_spoilt || self.is(&seen, what),
                "I-LOG-4: key {key} reads {seen:?}, newest is {what:?}; index {:?}\n{}",
                self.host.entry(&self.hash(key)),
                self.sketch()
            );
        }
    }

    /// Asserts that the live bytes of the table equal a recount over the index and the erase intents (I-GC-4), and the copies
    /// of each key a recount over the medium. For worlds at rest.
    pub fn check_counts(&self) {
        let found = self.scan();
        let segments = self.tier.segments();
        let mut live: BTreeMap<u32, (u32, u32)> = BTreeMap::new();
        let mut add = |segment: u32, bytes: u32| {
            let count = live.entry(segment).or_default();
            *count = (count.0 + bytes, count.1 + 1);
        };
        for entry in self.host.entries().map(|(_, entry)| entry).filter(|entry| entry.newest.is_live) {
            let at = entry.newest.placed.location;
            assert_eq!(
                segments[at.segment.get() as usize].sequence,
                at.sequence,
                "I-GC-1: the index points into a life that is over: {entry:?}"
            );
            add(at.segment.get(), entry.newest.placed.record_bytes);
        }
        for (at, bytes) in found.freed.values() {
            add(*at, *bytes);
        }
        // An erase intent that was damaged since the mount read it can't be found again. It is live in a segment that is kept
        // for that.
        let is_lost = |index: u32| !found.freed.contains_key(&index);
        let lost = (0..).zip(segments).filter(|(index, s)| s.intent_bytes() > 0 && is_lost(*index));
        let (lost_bytes, lost_records) =
            lost.fold((0, 0), |(bytes, records), (_, s)| (bytes + s.intent_bytes(), records + 1));
        for (index, segment) in (0..).zip(segments) {
            let counted = live.get(&index).copied().unwrap_or_default();
            let table = (segment.live_bytes(), segment.live_records());
            let more = (table.0.wrapping_sub(counted.0), table.1.wrapping_sub(counted.1));
            let holds_lost = segment.is_kept() && more.0 <= lost_bytes && more.1 <= lost_records;
            assert!(
                table == counted || holds_lost,
                "I-GC-4: live bytes and records of segment {index}: the table has {table:?}, counted {counted:?}\n{}",
                self.sketch()
            );
        }
        for (hash, entry) in self.host.entries() {
            let physical = found.copies.get(hash).copied().unwrap_or(0);
            let strays = if self.may_overcount { entry.copies } else { entry.strays };
            assert!(
                physical <= entry.copies && entry.copies - physical <= strays,
                "rule 6: {physical} copies on the medium, the index counts {entry:?}\n{}",
                self.sketch()
            );
        }
        for (hash, copies) in &found.copies {
            assert!(self.host.entry(hash).is_some(), "rule 6: {copies} copies that the index does not know");
        }
    }

    /// Rule 2: a footer is written only when every record of its segment is durable.
    pub(super) fn check_footer(&self, segment: u32, offset: u32, bytes: u32) {
        if offset + bytes != self.config().geometry.second_header_at() {
            return;
        }
        let unsynced = self.lasting.medium.unsynced().find(|op| op.segment == segment);
        assert!(unsynced.is_none(), "rule 2: a footer in segment {segment} over {unsynced:?}");
    }

    /// Rule 5: before a segment with records is erased, an erase intent of its present sequence is durable elsewhere. A segment
    /// that was given up is left out, since its sequence is unknown.
    pub(super) fn check_freed(&self, segment: u32) {
        if self.tier.segments()[segment as usize].is_unread() {
            return;
        }
        let geometry = self.config().geometry;
        let medium = &self.lasting.medium;
        let Some((sequence, records)) = records_of(&geometry, medium.segment(segment)) else { return };
        if records.is_empty() {
            return;
        }
        let is_freed = (0..geometry.segment_count()).filter(|&at| at != segment).any(|at| {
            records_of(&geometry, medium.durable_segment(at)).is_some_and(|(_, records)| {
                let freed = records.iter().filter(|record| record.header.kind == Kind::EraseIntent);
                freed.filter_map(|record| EraseIntent::from_bytes(record.value)).any(|freed| {
                    (freed.segment, freed.sequence) == (SegmentIndex::new(segment), Sequence::new(sequence))
                })
            })
        });
        assert!(
            is_freed,
            "rule 5: segment {segment} is erased, and nothing durable says so\n{}",
            self.sketch()
        );
    }

    /// Checks everything, for a world at rest.
    pub fn check(&self) {
        self.check_current();
        if self.is_at_rest() {
            self.check_counts();
        }
    }

    /// Counts the copies of each key on the medium, by reading all of it.
    fn scan(&self) -> Found {
        let geometry = self.config().geometry;
        let mut found = Found::default();
        for (index, segment) in (0..).zip(self.tier.segments()) {
            if matches!(
                segment.state(),
                SegmentState::Free | SegmentState::Erased | SegmentState::Quarantined
            ) {
                continue;
            }
            let bytes = self.lasting.medium.segment(index);
            let first = &bytes[geometry.header_at() as usize..];
            let second = &bytes[geometry.second_header_at() as usize..];
            let header = Header::decode(&geometry, first).or_else(|_| Header::decode(&geometry, second));
            let Ok(header) = header else { continue };
            if header.sequence != segment.sequence || !segment.is_counted() {
                continue;
            }
            let mut at = geometry.records_at() as usize;
            let end = (geometry.records_at() + segment.used_bytes()) as usize;
            while at < end {
                let here = Location {
                    segment: SegmentIndex::new(index),
                    offset: to_u32(at),
                    sequence: header.sequence,
                };
                match read_record(&geometry, header.store.seed(&geometry), here, &bytes[at..end]) {
                    Ok(record) => {
                        if self.lasting.medium.is_readable(index, to_u32(at), record.record_bytes) {
                            found.count(&record, index, self);
                        }
                        at += record.record_bytes as usize;
                    }
                    // Where no footer tells of them, records are looked for behind one that does not validate.
                    Err(_) if !self.config().has_footers => at += geometry.write_unit() as usize,
                    Err(RecordError::Mismatch(len)) => at += len as usize,
                    Err(_) => break,
                }
            }
        }
        found
    }
}

/// Whether a mount reports that something may be missing.
pub(super) const fn tells_damage(report: &MountReport) -> bool {
    report.damaged_records + report.torn_records + report.quarantined_segments > 0
}

fn to_u32(len: usize) -> u32 {
    u32::try_from(len).unwrap_or(u32::MAX)
}

/// The sequence of a segment and its records up to the first that does not validate.
fn records_of<'a>(geometry: &Geometry, bytes: &'a [u8]) -> Option<(u32, Vec<Record<'a>>)> {
    let first = &bytes[geometry.header_at() as usize..];
    let second = &bytes[geometry.second_header_at() as usize..];
    let header = Header::decode(geometry, first).or_else(|_| Header::decode(geometry, second)).ok()?;
    let (mut at, end) = (geometry.records_at() as usize, geometry.trailer_at() as usize);
    let mut records = Vec::new();
    let here = |at| Location { segment: SegmentIndex::new(0), offset: to_u32(at), sequence: header.sequence };
    while let Ok(record) = read_record(geometry, header.store.seed(geometry), here(at), &bytes[at..end]) {
        records.push(record);
        at += record.record_bytes as usize;
    }
    Some((header.sequence.get(), records))
}

#[derive(Debug, Default)]
struct Found {
    copies: BTreeMap<KeyHash, u32>,
    /// By the segment that is being freed: the place of its newest erase intent, and its bytes.
    freed: BTreeMap<u32, (u32, u32)>,
}

impl Found {
    fn count(&mut self, record: &Record<'_>, at: u32, world: &World<'_>) {
        let hash = match record.header.kind {
            Kind::Value => hash_of(&world.config().store.hash_key, record.key),
            Kind::Tombstone if world.config().geometry.identity() == Identity::KeyBytes => {
                hash_of(&world.config().store.hash_key, record.key)
            }
            Kind::Tombstone => match record.key.first_chunk() {
                Some(hash) => KeyHash(*hash),
                None => return,
            },
            Kind::EraseIntent => return self.count_freed(record, at, world),
            Kind::Time => return,
        };
        *self.copies.entry(hash).or_default() += 1;
    }

    fn count_freed(&mut self, record: &Record<'_>, at: u32, world: &World<'_>) {
        let Some(freed) = EraseIntent::from_bytes(record.value) else { return };
        let segments = world.tier.segments();
        let target = segments[freed.segment.get() as usize];
        let is_needed = target.sequence == freed.sequence
            && matches!(target.state(), SegmentState::Freeing | SegmentState::Erased);
        if !is_needed {
            return;
        }
        let place = self.freed.entry(freed.segment.get()).or_insert((at, record.record_bytes));
        if segments[at as usize].sequence > segments[place.0 as usize].sequence {
            *place = (at, record.record_bytes);
        }
    }
}
