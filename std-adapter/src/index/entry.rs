//! The entry of one key in the index.

use core::sync::atomic::{AtomicU32, Ordering};

use coldpress_core::codec::CodecId;
use coldpress_core::format::{
    Checksum, KeyHash, Kind, Location, RECORD_HEADER_BYTES_MAX, Seed, SegmentIndex, Sequence, Version,
    is_piece_expiry,
};
use coldpress_core::index::{Placed, Rank, Released, is_needless};

use crate::admission::Weight;
use crate::config::Terms;

/// Bytes that a pending record counts for beyond its payload.
pub(crate) const PENDING_OVERHEAD_BYTES: u64 = 128;

/// The newest copy of a key on the medium, in 28 bytes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stored {
    /// Segment in the low 24 bits, flags above.
    packed: u32,
    offset: u32,
    sequence: u32,
    version: Version,
    pub(crate) record_bytes: u32,
    expires_s: u32,
}

const SEGMENT_MASK: u32 = (1 << 24) - 1;
const PRESENT: u32 = 1 << 24;
const TOMBSTONE: u32 = 1 << 25;
const EXPIRES: u32 = 1 << 26;
const LIVE: u32 = 1 << 27;
const DAMAGED: u32 = 1 << 28;
const SEALED: u32 = 1 << 29;
/// The value is dropped; its record stands in for its own tombstone while other copies of the key are on the medium.
const STAND_IN: u32 = 1 << 30;
/// The flags but the first, which each copy has, begin at this bit.
const FLAGS_SHIFT: u32 = 25;

impl Stored {
    const NONE: Self = Self {
        packed: 0,
        offset: 0,
        sequence: 0,
        version: Version { sequence: Sequence::NONE, offset: 0 },
        record_bytes: 0,
        expires_s: 0,
    };

    pub(crate) fn live(placed: &Placed, is_sealed: bool) -> Self {
        let mut packed = placed.location.segment.get() & SEGMENT_MASK | PRESENT | LIVE;
        if placed.kind == Kind::Tombstone {
            packed |= TOMBSTONE;
        }
        if placed.expires_s.is_some() {
            packed |= EXPIRES;
        }
        if is_sealed {
            packed |= SEALED;
        }
        Self {
            packed,
            offset: placed.location.offset,
            sequence: placed.location.sequence.get(),
            version: placed.version,
            record_bytes: placed.record_bytes,
            expires_s: placed.expires_s.unwrap_or(0),
        }
    }

    /// A copy again, from its packed form.
    pub(super) const fn from_parts(
        at: Location,
        version: Version,
        record_bytes: u32,
        expires_s: u32,
        flags: u32,
    ) -> Self {
        let packed = at.segment.get() & SEGMENT_MASK | PRESENT | flags << FLAGS_SHIFT;
        Self { packed, offset: at.offset, sequence: at.sequence.get(), version, record_bytes, expires_s }
    }

    /// All that is said of it by single bits, as `from_parts` takes them.
    pub(super) const fn flags(&self) -> u32 {
        self.packed >> FLAGS_SHIFT
    }

    const fn has(&self, flag: u32) -> bool {
        self.packed & flag != 0
    }

    fn put(&mut self, flag: u32, on: bool) {
        self.packed = if on { self.packed | flag } else { self.packed & !flag };
    }

    pub(crate) const fn location(&self) -> Location {
        Location {
            segment: SegmentIndex::new(self.packed & SEGMENT_MASK),
            offset: self.offset,
            sequence: Sequence::new(self.sequence),
        }
    }

    pub(crate) const fn version(&self) -> Version {
        self.version
    }

    pub(crate) const fn expires_s(&self) -> Option<u32> {
        if self.has(EXPIRES) { Some(self.expires_s) } else { None }
    }

    pub(crate) const fn kind(&self) -> Kind {
        if self.has(TOMBSTONE) { Kind::Tombstone } else { Kind::Value }
    }

    /// Whether the machine counts it as live.
    pub(crate) const fn is_live(&self) -> bool {
        self.has(LIVE)
    }

    pub(crate) const fn is_damaged(&self) -> bool {
        self.has(DAMAGED)
    }

    /// The rank that decides between it and another copy of the key.
    pub(crate) const fn rank(&self) -> Rank {
        Rank::new(self.version, self.kind(), self.has(SEALED), self.location().sequence)
    }

    pub(crate) fn set_damaged(&mut self) {
        self.put(DAMAGED, true);
    }

    /// Whether the value is dropped and only its record is still needed.
    pub(crate) const fn is_stand_in(&self) -> bool {
        self.has(STAND_IN)
    }

    /// Whether it is a value that was neither replaced nor dropped. The tombstone of a dropped value, or its stand-in, has the
    /// version of the value.
    pub(crate) fn is_value(&self) -> bool {
        self.is_live() && self.kind() == Kind::Value && !self.is_stand_in()
    }

    pub(crate) fn set_stand_in(&mut self) {
        self.put(STAND_IN, true);
    }

    /// Stops counting it as live; returns the record that this releases.
    pub(crate) fn release(&mut self) -> Option<Released> {
        let was_live = self.is_live();
        self.put(LIVE, false);
        was_live.then(|| Released { location: self.location(), record_bytes: self.record_bytes })
    }

    /// Bytes of its record if it is live, else none.
    const fn live_bytes(&self) -> u32 {
        if self.is_live() { self.record_bytes } else { 0 }
    }

    fn charge(&self, terms: &Terms) -> u32 {
        if !self.is_live() {
            return 0;
        }
        let has_origin = self.version != self.location().version();
        terms.charge(self.kind(), self.record_bytes, has_origin, self.has(EXPIRES))
    }
}

/// A write that is not on the medium yet, and readable all the same.
#[derive(Debug)]
pub(crate) struct Pending {
    /// Key, then encoded value; a tombstone's key is the hash.
    pub(crate) payload: Box<[u8]>,
    pub(crate) checksum: Checksum,
    pub(crate) codec: CodecId,
    pub(crate) key_bytes: u32,
    pub(crate) expires_s: Option<u32>,
    pub(crate) kind: Kind,
    /// Where it was appended, until that is written.
    pub(crate) inflight: Option<Location>,
    /// The newest version of an earlier write of the key that may reach the medium without having been published.
    pub(crate) before: Option<Version>,
    pub(crate) charge: u32,
    /// The charge of earlier writes of the key that were appended and not published.
    pub(crate) older_charge: u32,
    /// Tells it from every other pending write of the partition; 0 before it is in the index.
    pub(crate) serial: u64,
}

/// Which write a value is of. One that was published, or relocated as new, has another one than before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WriteId {
    /// It is pending, under this serial.
    Pending(u64),
    /// It is in the log, with this version.
    Stored(Version),
}

impl Pending {
    /// The tombstone of a key.
    pub(crate) fn tombstone(hash: &KeyHash, seed: Seed, terms: &Terms) -> Self {
        Self {
            payload: Box::from(hash.0),
            checksum: seed.payload(&hash.0),
            codec: CodecId::Raw,
            key_bytes: 12,
            expires_s: None,
            kind: Kind::Tombstone,
            inflight: None,
            before: None,
            charge: terms.tombstone_charge(),
            older_charge: 0,
            serial: 0,
        }
    }

    /// The value's bytes, as encoded.
    pub(crate) fn value(&self) -> &[u8] {
        self.payload.get(self.key_bytes as usize..).unwrap_or_default()
    }

    /// The charge of earlier writes as the next write of the key counts it: with this write, if it was appended.
    fn older_charge_behind(&self) -> u32 {
        let own = if self.inflight.is_some() { self.charge } else { 0 };
        self.older_charge.saturating_add(own)
    }

    /// Its own part of the sums.
    pub(crate) fn weigh(&self) -> Weight {
        let charge = u64::from(self.charge);
        Weight {
            charge,
            settled: charge,
            pending_bytes: self.payload.len() as u64 + PENDING_OVERHEAD_BYTES,
            keys: u64::from(self.kind == Kind::Value && !is_piece_expiry(self.expires_s)),
            longest: self.record_bytes(),
        }
    }

    /// Bytes of its record, or a few more.
    pub(crate) fn record_bytes(&self) -> u32 {
        u32::try_from(self.payload.len()).unwrap_or(u32::MAX).saturating_add(RECORD_HEADER_BYTES_MAX)
    }
}

/// One key: where its newest copy lies, the pending write over it, and how many copies the medium holds.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) pending: Option<Pending>,
    stored: Stored,
    /// Physical copies on the medium, live or stale, tombstones included.
    pub(crate) copies: u32,
    /// Seconds since the tier opened when it was last read; the top bit is set by every read.
    touched: AtomicU32,
    /// The second of its place in the queue of what expires, no later than it is due; 0 where it has none.
    pub(crate) queued_s: u32,
}

const REFERENCED: u32 = 1 << 31;

impl Default for Entry {
    fn default() -> Self {
        Self { pending: None, stored: Stored::NONE, copies: 0, touched: AtomicU32::new(0), queued_s: 0 }
    }
}

impl Entry {
    /// An entry without a pending write, from its packed form.
    pub(super) fn from_parts(stored: Option<Stored>, copies: u32, touched: u32, queued_s: u32) -> Self {
        let stored = stored.unwrap_or(Stored::NONE);
        Self { pending: None, stored, copies, touched: AtomicU32::new(touched), queued_s }
    }

    /// The time of the last read, and in the top bit its mark.
    pub(super) fn touched_bits(&self) -> u32 {
        self.touched.load(Ordering::Relaxed)
    }

    pub(crate) fn stored(&self) -> Option<&Stored> {
        self.stored.has(PRESENT).then_some(&self.stored)
    }

    pub(crate) fn stored_mut(&mut self) -> Option<&mut Stored> {
        self.stored.has(PRESENT).then_some(&mut self.stored)
    }

    /// Puts a copy in the place of the newest; returns the record that this releases.
    pub(crate) fn replace(&mut self, new: Stored) -> Option<Released> {
        let released = self.stored.release();
        self.stored = new;
        released
    }

    /// Forgets the newest copy: nothing of the key is left on the medium.
    pub(crate) fn forget(&mut self) {
        self.stored = Stored::NONE;
    }

    pub(crate) fn is_vacant(&self) -> bool {
        self.pending.is_none() && self.copies == 0
    }

    /// Which write its newest record is of; `None` where it has none.
    pub(crate) fn identity(&self) -> Option<WriteId> {
        match &self.pending {
            Some(pending) => Some(WriteId::Pending(pending.serial)),
            None => self.stored().map(|stored| WriteId::Stored(stored.version())),
        }
    }

    /// When its newest record expires.
    pub(crate) fn expires_s(&self) -> Option<u32> {
        match &self.pending {
            Some(pending) => pending.expires_s,
            None => self.stored().and_then(Stored::expires_s),
        }
    }

    /// Whether the key has a value, expired or not.
    pub(crate) fn is_value(&self) -> bool {
        match &self.pending {
            Some(pending) => pending.kind == Kind::Value,
            None => {
                self.stored.has(PRESENT) && self.stored.is_live() && !self.stored.has(TOMBSTONE | STAND_IN)
            }
        }
    }

    /// Whether it is a piece of a long value, not a key of a user.
    pub(crate) fn is_piece_expiry(&self) -> bool {
        match &self.pending {
            Some(pending) => is_piece_expiry(pending.expires_s),
            None => self.stored().is_some_and(|stored| is_piece_expiry(stored.expires_s())),
        }
    }

    /// Whether a user put it: a value, and no piece of one.
    pub(crate) fn is_users(&self) -> bool {
        self.is_value() && !self.is_piece_expiry()
    }

    /// Whether it is live on the medium only to keep other copies away, and there are none.
    pub(crate) fn is_needless(&self) -> bool {
        let keeps_away = |s: &Stored| s.is_live() && (s.kind() == Kind::Tombstone || s.is_stand_in());
        is_needless(self.copies, false) && self.stored().is_some_and(keeps_away)
    }

    /// The version that the next write of the key must lie above.
    pub(crate) fn newest_version(&self) -> Option<Version> {
        let pending = self.pending.as_ref();
        let inflight = pending.and_then(|p| p.inflight).map(|at| at.version());
        let before = pending.and_then(|p| p.before);
        self.stored().map(Stored::version).max(inflight).max(before)
    }

    /// Whether the pending write has overtaken one that may be on the medium, newer than the newest copy known there.
    pub(crate) fn has_overtaken(&self) -> bool {
        let before = self.pending.as_ref().and_then(|pending| pending.before);
        before > self.stored().map(Stored::version)
    }

    pub(crate) fn weigh(&self, terms: &Terms) -> Weight {
        let stored = u64::from(self.stored.charge(terms));
        let longest = self.stored.live_bytes();
        match &self.pending {
            None => {
                let keys = u64::from(self.is_users());
                Weight { charge: stored, settled: stored, pending_bytes: 0, keys, longest }
            }
            Some(pending) => pending.weigh().above(stored + u64::from(pending.older_charge), longest),
        }
    }

    /// The weight with a write in the place of the pending one.
    pub(crate) fn foresee(&self, terms: &Terms, write: Weight) -> Weight {
        let older_charge = self.pending.as_ref().map_or(0, |old| old.older_charge_behind());
        let older_charge = u64::from(self.stored.charge(terms)) + u64::from(older_charge);
        write.above(older_charge, self.stored.live_bytes())
    }

    /// Puts a write in the place of the pending one.
    pub(crate) fn overlay(&mut self, mut new: Pending) {
        if let Some(old) = self.pending.take() {
            new.older_charge = old.older_charge_behind();
            new.before = old.before.max(old.inflight.map(|at| at.version()));
        }
        self.pending = Some(new);
    }

    /// Notes a read, `now_s` seconds after the tier was opened.
    pub(crate) fn touch(&self, now_s: u32) {
        self.touched.store(now_s & !REFERENCED | REFERENCED, Ordering::Relaxed);
    }

    /// Notes a write: it ends idleness, and does not count as a read.
    pub(crate) fn written(&self, now_s: u32) {
        let referenced = self.touched.load(Ordering::Relaxed) & REFERENCED;
        self.touched.store(now_s & !REFERENCED | referenced, Ordering::Relaxed);
    }

    /// When it was last read or written, in seconds after the tier was opened.
    pub(crate) fn touched_s(&self) -> u32 {
        self.touched.load(Ordering::Relaxed) & !REFERENCED
    }

    /// Returns whether it was read since the last call.
    pub(crate) fn take_reference(&self) -> bool {
        self.touched.fetch_and(!REFERENCED, Ordering::Relaxed) & REFERENCED != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use coldpress_core::config::TierConfig;
    use coldpress_core::format::{Geometry, Identity, RecordHeader, Store};

    fn config() -> TierConfig {
        let geometry = Geometry::new(1 << 16, 32, 1, 0, Identity::KeyedHash).unwrap();
        TierConfig::new(geometry, Store { id: 1, hash_key: [0; 16], partition: 0, partitions: 1 })
    }

    #[test]
    fn charge_of_an_entry_placed_or_relocated_is_the_machines() {
        let config = config();
        let terms = Terms::new(config);
        for (key, value, expires_s) in
            [(1, 0, None), (255, 65_535, Some(9)), (256, 7, None), (30, 70_000, Some(1))]
        {
            let charge = terms.value_charge(key, value, expires_s.is_some());
            let least = 2 * config.tombstone_charge_bytes(key);
            assert_eq!(charge, config.charge_bytes(key, value, expires_s.is_some()).max(least));
            let location =
                Location { segment: SegmentIndex::new(3), offset: 500, sequence: Sequence::new(8) };
            for origin in [None, Some(Version { sequence: Sequence::new(2), offset: 90 })] {
                let header = RecordHeader {
                    kind: Kind::Value,
                    codec: CodecId::Raw,
                    key_bytes: key,
                    value_bytes: value,
                    expires_s,
                    origin,
                };
                let placed = Placed {
                    location,
                    version: origin.unwrap_or(location.version()),
                    record_bytes: header.record_bytes(&terms.geometry),
                    kind: Kind::Value,
                    expires_s,
                    relocated_from: None,
                    relocated_bytes: 0,
                };
                assert_eq!(terms.placed_charge(&placed), charge, "{header:?}");
                let mut entry = Entry { copies: 1, ..Entry::default() };
                assert_eq!(entry.replace(Stored::live(&placed, false)), None);
                assert_eq!(entry.weigh(&terms).charge, u64::from(charge));
                assert_eq!(entry.stored().map(Stored::location), Some(location));
            }
        }
    }

    #[test]
    fn entry_with_its_pending_write_stays_small() {
        assert!(size_of::<Entry>() <= 136, "{}", size_of::<Entry>());
    }

    #[test]
    fn read_entry_is_referenced_once() {
        let entry = Entry::default();
        entry.touch(77);
        assert!(entry.take_reference() && !entry.take_reference());
        assert_eq!(entry.touched_s(), 77);
    }
}
