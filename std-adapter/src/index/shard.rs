//! One shard of the index: an entry for each key, in the form that it fits.

use core::hash::{BuildHasher, Hasher};
use std::collections::HashMap;

use coldpress_core::format::KeyHash;

use super::entry::Entry;
use super::packed::{Form, Lives, PLAIN, RareEntry, TIMED, pack, touch, unpack};
use super::table::{Body, EntryName, EntryTable, Progress, with_name};

/// The hash of a key is keyed and random already: its own bits serve.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct OwnBits;

/// The first bytes of a key's hash.
#[derive(Debug, Clone, Copy)]
pub(super) struct FirstBits(u64);

impl Hasher for FirstBits {
    fn write(&mut self, bytes: &[u8]) {
        if let Some(first) = bytes.first_chunk() {
            self.0 = u64::from_le_bytes(*first);
        }
    }

    fn write_usize(&mut self, _: usize) {}

    fn finish(&self) -> u64 {
        self.0
    }
}

impl BuildHasher for OwnBits {
    type Hasher = FirstBits;

    fn build_hasher(&self) -> FirstBits {
        FirstBits(0)
    }
}

type ByHash<V> = HashMap<KeyHash, V, OwnBits>;

/// Where the entry of a key is: in one of the maps, and in no other.
#[derive(Debug, Clone, Copy)]
enum Place {
    Plain(usize),
    Timed(usize),
    Rare,
    Nowhere,
}

/// A part of the index, which one lock covers. Each key has its entry in one of four maps.
#[derive(Debug)]
pub(super) struct Shard {
    /// Entries with a pending write: few, since the bytes of such writes are bounded. A put looks into the large tables once as it
    /// comes here, and once as it is published.
    pending: ByHash<Entry>,
    plain: EntryTable<PLAIN>,
    timed: EntryTable<TIMED>,
    /// Entries of another form: without a live record, or with numbers that are too great for a packed one.
    rare: ByHash<RareEntry>,
}

impl Shard {
    pub(super) const fn new() -> Self {
        Self {
            pending: HashMap::with_hasher(OwnBits),
            plain: EntryTable::new(),
            timed: EntryTable::new(),
            rare: HashMap::with_hasher(OwnBits),
        }
    }

    /// Looks at an entry.
    pub(super) fn view<R>(&self, lives: &Lives, hash: &KeyHash, look: impl FnOnce(&Entry) -> R) -> Option<R> {
        if let Some(entry) = self.pending.get(hash) {
            return Some(look(entry));
        }
        let name = EntryName::of(hash);
        if let Some(body) = self.plain.find(&name).and_then(|at| self.plain.body(at)) {
            return Some(look_into(body, lives, look));
        }
        if let Some(body) = self.timed.find(&name).and_then(|at| self.timed.body(at)) {
            return Some(look_into(body, lives, look));
        }
        self.rare.get(hash).map(|rare| {
            let entry = rare.entry();
            let before = entry.touched_bits();
            let result = look(&entry);
            rare.touch(&entry, before);
            result
        })
    }

    /// Changes an entry: an empty one where there is none. One with nothing in it is dropped.
    pub(super) fn change<R>(
        &mut self,
        (lives, phase): (&Lives, usize),
        hash: &KeyHash,
        change: impl FnOnce(&mut Entry) -> R,
    ) -> R {
        let name = EntryName::of(hash);
        if let Some(entry) = self.pending.get_mut(hash) {
            let result = change(entry);
            if entry.pending.is_none()
                && let Some(entry) = self.pending.remove(hash)
            {
                self.put((lives, phase), (hash, &name), Place::Nowhere, entry);
            }
            return result;
        }
        let place = self.find((hash, &name));
        let mut entry = self.entry_at(lives, hash, place);
        let result = change(&mut entry);
        self.put((lives, phase), (hash, &name), place, entry);
        result
    }

    /// Makes ready for the records that a mount finds: makes space, and brings the places of new keys into the processor's caches.
    pub(super) fn foresee<'a>(&mut self, progress: Progress, hashes: impl Iterator<Item = &'a KeyHash>) {
        self.plain.foresee(progress);
        self.timed.foresee(progress);
        self.plain.warm(hashes.map(EntryName::of));
    }

    /// Finds the place of an entry that has no pending write.
    fn find(&self, (hash, name): (&KeyHash, &EntryName)) -> Place {
        if let Some(at) = self.plain.find(name) {
            Place::Plain(at)
        } else if let Some(at) = self.timed.find(name) {
            Place::Timed(at)
        } else if self.rare.contains_key(hash) {
            Place::Rare
        } else {
            Place::Nowhere
        }
    }

    /// The entry at a place that was found.
    fn entry_at(&self, lives: &Lives, hash: &KeyHash, place: Place) -> Entry {
        match place {
            Place::Plain(at) => self.plain.body(at).map_or_else(Entry::default, |body| unpack(body, lives)),
            Place::Timed(at) => self.timed.body(at).map_or_else(Entry::default, |body| unpack(body, lives)),
            Place::Rare => self.rare.get(hash).map_or_else(Entry::default, RareEntry::entry),
            Place::Nowhere => Entry::default(),
        }
    }

    /// Puts an entry back, which was found at a place, and may have another form now.
    fn put(
        &mut self,
        (lives, phase): (&Lives, usize),
        (hash, name): (&KeyHash, &EntryName),
        place: Place,
        entry: Entry,
    ) {
        if entry.pending.is_some() {
            self.leave(lives, (hash, name), place);
            self.pending.insert(*hash, entry);
            return;
        }
        if entry.is_vacant() {
            self.leave(lives, (hash, name), place);
            return;
        }
        match (pack(&entry, lives), place) {
            (Form::Plain(words), Place::Plain(at)) => {
                lives.moved(self.plain.body(at), &words);
                self.plain.set(at, with_name(name, words));
            }
            (Form::Timed(words), Place::Timed(at)) => {
                lives.moved(self.timed.body(at), &words);
                self.timed.set(at, with_name(name, words));
            }
            (Form::Rare, Place::Rare) => drop(self.rare.insert(*hash, RareEntry::of(&entry))),
            (form, place) => {
                self.leave(lives, (hash, name), place);
                match form {
                    Form::Plain(words) => {
                        lives.moved(None, &words);
                        self.plain.insert(name, with_name(name, words), phase);
                    }
                    Form::Timed(words) => {
                        lives.moved(None, &words);
                        self.timed.insert(name, with_name(name, words), phase);
                    }
                    Form::Rare => drop(self.rare.insert(*hash, RareEntry::of(&entry))),
                }
            }
        }
    }

    /// Takes an entry out of its place.
    fn leave(&mut self, lives: &Lives, (hash, name): (&KeyHash, &EntryName), place: Place) {
        match place {
            Place::Plain(at) => {
                lives.left(self.plain.body(at));
                self.plain.remove(at, name);
            }
            Place::Timed(at) => {
                lives.left(self.timed.body(at));
                self.timed.remove(at, name);
            }
            Place::Rare => drop(self.rare.remove(hash)),
            Place::Nowhere => {}
        }
    }

    /// All entries. `shard` is the number of this one.
    pub(super) fn each(&self, lives: &Lives, shard: usize, mut look: impl FnMut(KeyHash, &Entry)) {
        self.pending.iter().for_each(|(hash, entry)| look(*hash, entry));
        self.plain.iter().for_each(|(name, body)| look(name.hash(shard), &unpack(body, lives)));
        self.timed.iter().for_each(|(name, body)| look(name.hash(shard), &unpack(body, lives)));
        self.rare.iter().for_each(|(hash, rare)| look(*hash, &rare.entry()));
    }

    /// Bytes of memory that its maps take, without what pending writes hold.
    pub(super) fn bytes(&self) -> usize {
        // A map is at most seven eighths full when its capacity is reached, and has a control byte for each place.
        let slots = |places: usize| places * 8 / 7;
        let pending = slots(self.pending.capacity()) * (size_of::<(KeyHash, Entry)>() + 1);
        let rare = slots(self.rare.capacity()) * (size_of::<(KeyHash, RareEntry)>() + 1);
        self.plain.bytes() + self.timed.bytes() + pending + rare
    }

    /// Whether there is memory to give back.
    pub(super) fn is_sparse(&self) -> bool {
        self.plain.is_sparse() || self.timed.is_sparse() || is_sparse(&self.pending) || is_sparse(&self.rare)
    }

    /// Gives memory back where most places are empty. Bounds: moves its entries at most once.
    pub(super) fn shrink(&mut self, phase: usize) {
        self.plain.shrink(phase);
        self.timed.shrink(phase);
        if is_sparse(&self.pending) {
            self.pending.shrink_to_fit();
        }
        if is_sparse(&self.rare) {
            self.rare.shrink_to_fit();
        }
    }

    /// Entries in all maps.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.pending.len() + self.plain.len() + self.timed.len() + self.rare.len()
    }

    /// Entries by form: pending, plain, timed, rare.
    #[cfg(test)]
    pub(super) fn forms(&self) -> [usize; 4] {
        [self.pending.len(), self.plain.len(), self.timed.len(), self.rare.len()]
    }
}

/// Places of a map that are not worth giving back while one is taken.
const PLACES_KEPT: usize = 7;

fn is_sparse<V>(map: &ByHash<V>) -> bool {
    let (places, taken) = (map.capacity(), map.len());
    if taken == 0 { places > 0 } else { places > PLACES_KEPT && taken < places / 4 }
}

fn look_into<const N: usize, R>(body: &Body<N>, lives: &Lives, look: impl FnOnce(&Entry) -> R) -> R {
    let entry = unpack(body, lives);
    let before = entry.touched_bits();
    let result = look(&entry);
    touch(body, &entry, before);
    result
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::index::entry::{Pending, Stored};
    use coldpress_core::codec::CodecId;
    use coldpress_core::format::{
        Checksum, Geometry, Identity, Kind, Location, SegmentIndex, Sequence, Version,
    };
    use coldpress_core::index::Placed;
    use std::collections::BTreeMap;

    const SHARD: usize = 0x2A5;

    fn hash(n: u32) -> KeyHash {
        let mut hash = KeyHash([0; 12]);
        hash.0[..4].copy_from_slice(&n.to_le_bytes());
        hash.0[4..8].copy_from_slice(&n.wrapping_mul(0x9E37_79B9).to_le_bytes());
        (hash.0[10], hash.0[11]) = (2, 0xA5);
        assert_eq!(EntryName::shard(&hash), SHARD);
        hash
    }

    fn pending() -> Pending {
        Pending {
            payload: Box::from(*b"keyvalue"),
            checksum: Checksum::default(),
            codec: CodecId::Raw,
            key_bytes: 3,
            expires_s: None,
            kind: Kind::Value,
            inflight: None,
            before: None,
            charge: 90,
            older_charge: 0,
            serial: 1,
        }
    }

    fn placed(number: u32, expires_s: Option<u32>) -> Placed {
        let sequence = Sequence::new(number / 40 + 1);
        let segment = SegmentIndex::new(number / 40 % 64);
        let location = Location { segment, offset: number % 40 * 1000, sequence };
        // Now and then a record that was relocated, and one that is too long for a packed entry.
        let version = if number.is_multiple_of(3) {
            Version { sequence: Sequence::new(number / 80 + 1), offset: number % 7 }
        } else {
            location.version()
        };
        let record_bytes = if number.is_multiple_of(11) { 1 << 20 } else { 900 };
        let (kind, relocated_from, relocated_bytes) = (Kind::Value, None, 0);
        Placed { location, version, record_bytes, kind, expires_s, relocated_from, relocated_bytes }
    }

    /// All of an entry that is not rounded.
    fn facts(entry: &Entry) -> impl PartialEq + core::fmt::Debug + use<> {
        let stored =
            entry.stored().map(|s| (s.location(), s.version(), s.flags(), s.record_bytes, s.expires_s()));
        (stored, entry.copies, entry.queued_s, entry.pending.as_ref().map(|pending| pending.serial))
    }

    #[test]
    fn shard_holds_what_a_map_of_whole_entries_holds() {
        let lives = Lives::new(&Geometry::new(1 << 16, 64, 1, 0, Identity::KeyedHash).unwrap());
        let mut shard = Shard::new();
        let mut model: BTreeMap<KeyHash, Entry> = BTreeMap::new();
        let (mut state, mut seen) = (1u64, [0; 4]);
        for number in 0..60_000u32 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let hash = hash((state >> 40) as u32 % 500);
            let change = |entry: &mut Entry| match (state >> 33) % 10 {
                0 => entry.overlay(pending()),
                1..4 => entry.pending = None,
                4 | 5 => {
                    entry.copies += 1;
                    let _ = entry.replace(Stored::live(&placed(number, None), true));
                }
                6 => {
                    entry.copies += 1;
                    let expires_s = Some(number);
                    entry.queued_s = number;
                    let _ = entry.replace(Stored::live(&placed(number, expires_s), false));
                }
                7 => {
                    if let Some(stored) = entry.stored_mut() {
                        let _ = stored.release();
                    }
                }
                8 => entry.written(number),
                _ => {
                    (entry.copies, entry.queued_s) = (0, 0);
                    entry.forget();
                }
            };
            shard.change((&lives, 5), &hash, change);
            let entry = model.entry(hash).or_default();
            change(entry);
            if entry.is_vacant() {
                model.remove(&hash);
            }
            assert_eq!(shard.view(&lives, &hash, facts), model.get(&hash).map(facts), "{number}");
            if number.is_multiple_of(997) {
                shard.shrink(number as usize);
                let mut all = BTreeMap::new();
                let add = |hash, entry: &Entry| assert!(all.insert(hash, facts(entry)).is_none());
                shard.each(&lives, SHARD, add);
                assert!(all.into_iter().eq(model.iter().map(|(hash, entry)| (*hash, facts(entry)))));
                seen.iter_mut().zip(shard.forms()).for_each(|(sum, count)| *sum += count);
            }
        }
        assert!(seen.iter().all(|count| *count > 500), "every form was there: {seen:?}");
        assert_eq!(shard.len(), model.len());
        for hash in model.keys() {
            shard.change((&lives, 5), hash, |entry| *entry = Entry::default());
        }
        // Each map that has places and no entry is sparse.
        shard.shrink(5);
        assert_eq!((shard.len(), shard.bytes(), shard.is_sparse()), (0, 0, false));
    }
}
