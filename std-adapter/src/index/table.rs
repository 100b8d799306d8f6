//! A table of entries of one length: open addressing by groups, at most nine tenths full.
//!
//! A place holds a tag, which has six bits of the identity, and a body of so many words. Fifteen places make a group. A search
//! begins at the group that the identity names, and goes on from group to group. Each group counts the entries that found it full
//! and passed by, so a search ends at the first group that none passed; a removal takes itself off those counts. (Bronson and Shi,
//! "Open-sourcing F14", 2019, count in this way.) A table grows by a fifth to a third, not to twice its length: on average 83 %
//! of the places are taken.
//!
//! Groups lie in *runs* of one length, the last run alone may be shorter. So the memory that one table gives back as it grows is
//! what the next one asks for, and the allocator keeps no holes between tables.

use core::mem;
use core::sync::atomic::{AtomicU32, Ordering::Relaxed};

use coldpress_core::format::KeyHash;

/// Places of a group.
const PLACES: usize = 15;
/// The byte of a group behind its tags: how many entries passed it by.
const PASSED: usize = PLACES;
/// Groups of a run.
const RUN_GROUPS: usize = 64;
/// Set in the tag of each place that is taken.
const TAKEN: u8 = 0x80;
const TAKEN_ALL: u64 = 0x8080_8080_8080_8080;
/// Words of a body that hold the identity; of the last of them its low half.
const NAME_WORDS: usize = 3;
/// The part of the places that may be taken.
const FULL_NUMERATOR: usize = 9;
const FULL_DENOMINATOR: usize = 10;

/// Records of a shard that a mount has found before the others are foreseen from them.
const FOUND_MIN: usize = 128;

/// Shards of an index. The growth of one stays below a millisecond with tens of millions of keys.
pub(super) const SHARDS: usize = 1024;

/// The identity of a key as the tables of one shard hold it: without the bits that name the shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct EntryName {
    tag: u8,
    pub(super) low: u32,
    pub(super) high: u32,
    pub(super) rest: u16,
}

impl EntryName {
    pub(super) const fn of(hash: &KeyHash) -> Self {
        let [a, b, c, d, e, f, g, h, i, j, k, _] = hash.0;
        // A tag has space for a seventh bit: that of another byte tells more entries apart.
        let tag = TAKEN | (j & 1) << 6 | k >> 2;
        Self {
            tag,
            low: u32::from_le_bytes([a, b, c, d]),
            high: u32::from_le_bytes([e, f, g, h]),
            rest: u16::from_le_bytes([i, j]),
        }
    }

    /// The shard of a key.
    pub(super) fn shard(hash: &KeyHash) -> usize {
        let [.., k, l] = hash.0;
        usize::from(l) | usize::from(k & 3) << 8
    }

    /// Sorted by this, keys of one shard stand together, and there in the order of their groups.
    pub(super) fn order(hash: &KeyHash) -> u64 {
        let [_, _, _, _, e, f, g, h, ..] = hash.0;
        (Self::shard(hash) as u64) << 32 | u64::from(u32::from_le_bytes([e, f, g, h]))
    }

    /// The identity again, in its shard.
    pub(super) fn hash(self, shard: usize) -> KeyHash {
        let ([a, b, c, d], [e, f, g, h]) = (self.low.to_le_bytes(), self.high.to_le_bytes());
        let ([i, j], [shard_low, shard_high, ..]) = (self.rest.to_le_bytes(), shard.to_le_bytes());
        KeyHash([a, b, c, d, e, f, g, h, i, j, self.tag << 2 | shard_high & 3, shard_low])
    }
}

/// How far a shard has come with the records that a mount finds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Progress {
    /// Records that were looked at.
    pub(super) found: usize,
    /// Records that are looked at next.
    pub(super) next: usize,
    /// Records in all, as far as is known.
    pub(super) expected: usize,
}

/// The words of an entry. A reader may change the word with the time of the last read; the others change under the lock for
/// writing.
pub(super) type Body<const N: usize> = [AtomicU32; N];

/// The tags of a group's places, and the count of the entries that passed it by; at 255 it stays.
type Tags = [u8; PLACES + 1];

/// Places of which each has a tag and a body.
#[derive(Debug)]
struct Group<const N: usize> {
    tags: Tags,
    bodies: [Body<N>; PLACES],
}

impl<const N: usize> Group<N> {
    const fn new() -> Self {
        Self { tags: [0; PLACES + 1], bodies: [const { [const { AtomicU32::new(0) }; N] }; PLACES] }
    }

    fn entries(&self) -> impl Iterator<Item = (EntryName, &Body<N>)> {
        let taken = self.tags.iter().zip(&self.bodies).filter(|(tag, _)| **tag & TAKEN != 0);
        taken.map(|(tag, body)| (name_of(*tag, body), body))
    }
}

/// Entries of `N` words each, three of which hold the identity.
#[derive(Debug)]
pub(super) struct EntryTable<const N: usize> {
    /// Each has [`RUN_GROUPS`] groups, but for the last.
    runs: Vec<Box<[Group<N>]>>,
    groups: usize,
    len: usize,
}

impl<const N: usize> EntryTable<N> {
    pub(super) const fn new() -> Self {
        const { assert!(N >= NAME_WORDS) }
        Self { runs: Vec::new(), groups: 0, len: 0 }
    }

    /// Entries in it.
    #[cfg(test)]
    pub(super) const fn len(&self) -> usize {
        self.len
    }

    /// Entries that it has places for.
    pub(super) const fn places(&self) -> usize {
        self.groups * PLACES
    }

    /// Bytes of memory that it takes.
    pub(super) const fn bytes(&self) -> usize {
        self.groups * size_of::<Group<N>>() + self.runs.capacity() * size_of::<Box<[Group<N>]>>()
    }

    fn group(&self, group: usize) -> Option<&Group<N>> {
        self.runs.get(group / RUN_GROUPS)?.get(group % RUN_GROUPS)
    }

    fn group_mut(&mut self, group: usize) -> Option<&mut Group<N>> {
        self.runs.get_mut(group / RUN_GROUPS)?.get_mut(group % RUN_GROUPS)
    }

    /// The group at which a search begins.
    fn home(&self, name: &EntryName) -> usize {
        let scaled = (u64::from(name.high) * self.groups as u64) >> 32;
        usize::try_from(scaled).unwrap_or(0)
    }

    const fn next(&self, group: usize) -> usize {
        if group + 1 < self.groups { group + 1 } else { 0 }
    }

    /// Finds the place of an entry.
    pub(super) fn find(&self, name: &EntryName) -> Option<usize> {
        let mut index = self.home(name);
        for _ in 0..self.groups {
            let group = self.group(index)?;
            for place in places_with(&group.tags, name.tag) {
                if group.bodies.get(place).is_some_and(|body| is_named(body, name)) {
                    return Some(index * PLACES + place);
                }
            }
            if group.tags[PASSED] == 0 {
                return None;
            }
            index = self.next(index);
        }
        None
    }

    /// The entry at a place that was found.
    pub(super) fn body(&self, index: usize) -> Option<&Body<N>> {
        self.group(index / PLACES)?.bodies.get(index % PLACES)
    }

    /// Writes the entry at a place that was found.
    pub(super) fn set(&mut self, index: usize, words: [u32; N]) {
        let body = self.group_mut(index / PLACES).and_then(|group| group.bodies.get_mut(index % PLACES));
        if let Some(body) = body {
            *body = words.map(AtomicU32::new);
        }
    }

    /// Where the records that come next may not fit, grows to the entries that the shard will have if it goes on like this: the same part
    /// of all records as of those that were found, but at most by half. It would grow more often else. The
    /// later records of keys that were overwritten bring no new entry, so the part gets less. A thirty-second more allows for chance.
    ///
    /// # Bounds
    /// Moves all entries where the table is full.
    pub(super) fn foresee(&mut self, progress: Progress) {
        let Progress { found, next, expected } = progress;
        if self.len == 0 || found < FOUND_MIN || self.has_space_for(self.len.saturating_add(next)) {
            return;
        }
        let all = self.len.saturating_mul(expected) / found;
        let entries = all.min(self.len.saturating_add(self.len / 2));
        let groups = groups_for(entries.saturating_add(entries / 32));
        if groups > self.groups && entries > self.len {
            self.rebuild(groups);
        }
    }

    /// Reads the tags of the groups at which searches for these keys begin, and the first free places there. None of these reads waits
    /// for another, so a search that follows finds what it needs in the processor's caches.
    pub(super) fn warm(&self, names: impl Iterator<Item = EntryName>) {
        let words = names.filter_map(|name| {
            let home = self.group(self.home(&name))?;
            let place = free_place(&home.tags).unwrap_or(0);
            let [first, .., last] = home.bodies.get(place)?.as_slice() else { return None };
            Some(first.load(Relaxed) & last.load(Relaxed) & 1)
        });
        core::hint::black_box(words.sum::<u32>());
    }

    const fn has_space_for(&self, entries: usize) -> bool {
        entries * FULL_DENOMINATOR <= self.places() * FULL_NUMERATOR
    }

    /// Adds an entry that is not in it. `phase` spreads the growth of many tables: each grows by a part of its own.
    ///
    /// # Bounds
    /// Moves all entries where the table is full.
    pub(super) fn insert(&mut self, name: &EntryName, words: [u32; N], phase: usize) {
        if !self.has_space_for(self.len + 1) {
            // A fifth to a third.
            self.rebuild(self.groups + self.groups * (13 + phase % 8) / 64 + 1);
        }
        self.add(name, words);
    }

    fn add(&mut self, name: &EntryName, words: [u32; N]) {
        let mut index = self.home(name);
        for _ in 0..self.groups {
            let Some(group) = self.group_mut(index) else { return };
            if let Some(place) = free_place(&group.tags) {
                group.tags[place] = name.tag;
                group.bodies[place] = words.map(AtomicU32::new);
                self.len += 1;
                return;
            }
            group.tags[PASSED] = group.tags[PASSED].saturating_add(1);
            index = self.next(index);
        }
        debug_assert!(false, "a table that is not full has a place");
    }

    /// Removes the entry at a place that was found.
    pub(super) fn remove(&mut self, index: usize, name: &EntryName) {
        let (found_in, place) = (index / PLACES, index % PLACES);
        let mut group = self.home(name);
        for _ in 0..self.groups {
            let Some(Group { tags, .. }) = self.group_mut(group) else { return };
            if group == found_in {
                tags[place] = 0;
                self.len -= 1;
                return;
            }
            if tags[PASSED] < u8::MAX {
                tags[PASSED] -= 1;
            }
            group = self.next(group);
        }
    }

    /// Gives memory back where most places are empty. Tells whether it did. Bounds: as [`insert`](Self::insert).
    pub(super) fn shrink(&mut self, phase: usize) -> bool {
        if !self.is_sparse() {
            return false;
        }
        if self.len == 0 {
            *self = Self::new();
            return true;
        }
        self.rebuild(self.groups_left(phase));
        true
    }

    /// The groups that it shrinks to, with a margin, so that it does not grow right after.
    const fn groups_left(&self, phase: usize) -> usize {
        let groups = groups_for(self.len);
        groups + groups * (phase % 8) / 64 + 1
    }

    /// Whether more than half of the places are empty, and some groups can be given back, whatever the phase. So one that shrank
    /// is not sparse.
    pub(super) const fn is_sparse(&self) -> bool {
        let groups = self.groups;
        if self.len == 0 { groups > 0 } else { self.len * 2 <= self.places() && self.groups_left(7) < groups }
    }

    /// Moves all entries into a table of so many groups.
    fn rebuild(&mut self, groups: usize) {
        let run = |first| (first..groups.min(first + RUN_GROUPS)).map(|_| Group::new()).collect();
        let mut new = Self { runs: (0..groups).step_by(RUN_GROUPS).map(run).collect(), groups, len: 0 };
        for group in mem::take(&mut self.runs).iter().flatten() {
            for (name, body) in group.entries() {
                new.add(&name, body.each_ref().map(|word| word.load(Relaxed)));
            }
        }
        *self = new;
    }

    /// All entries, with their names.
    pub(super) fn iter(&self) -> impl Iterator<Item = (EntryName, &Body<N>)> {
        self.runs.iter().flatten().flat_map(Group::entries)
    }
}

/// The groups that so many entries need.
const fn groups_for(entries: usize) -> usize {
    (entries * FULL_DENOMINATOR).div_ceil(PLACES * FULL_NUMERATOR)
}

/// The words of the identity: the first three of each body.
pub(super) fn with_name<const N: usize>(name: &EntryName, mut words: [u32; N]) -> [u32; N] {
    if let [low, high, rest, ..] = words.as_mut_slice() {
        (*low, *high) = (name.low, name.high);
        *rest = *rest & !0xFFFF | u32::from(name.rest);
    }
    words
}

fn name_of<const N: usize>(tag: u8, body: &Body<N>) -> EntryName {
    let [low, high, rest] = [0, 1, 2].map(|at| body.get(at).map_or(0, |word| word.load(Relaxed)));
    EntryName { tag, low, high, rest: (rest & 0xFFFF) as u16 }
}

fn is_named<const N: usize>(body: &Body<N>, name: &EntryName) -> bool {
    let [low, high, rest, ..] = body.as_slice() else { return false };
    low.load(Relaxed) == name.low
        && high.load(Relaxed) == name.high
        && (rest.load(Relaxed) & 0xFFFF) as u16 == name.rest
}

/// The two halves of the tags of a group.
fn halves(tags: &Tags) -> [u64; 2] {
    let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = *tags;
    [u64::from_le_bytes([a, b, c, d, e, f, g, h]), u64::from_le_bytes([i, j, k, l, m, n, o, p])]
}

/// Places of a group that have this tag, and no others: the words of a body do not hold all bits of it.
fn places_with(tags: &Tags, tag: u8) -> impl Iterator<Item = usize> {
    let wanted = u64::from_le_bytes([tag; 8]);
    let [low, high] = halves(tags).map(|half| {
        let differs = half ^ wanted;
        // The top bit of each byte that is zero. The sum carries from no byte to the next.
        let others = (differs & !TAKEN_ALL) + !TAKEN_ALL;
        !(others | differs) & TAKEN_ALL
    });
    places_of(low, high)
}

/// The first place of a group that is free.
fn free_place(tags: &Tags) -> Option<usize> {
    let [low, high] = halves(tags).map(|half| !half & TAKEN_ALL);
    places_of(low, high).next()
}

/// Places whose byte has its top bit set; the byte behind the tags is no place.
fn places_of(low: u64, high: u64) -> impl Iterator<Item = usize> {
    let mut bits = u128::from(low) | u128::from(high & (u64::MAX >> 8)) << 64;
    core::iter::from_fn(move || {
        let at = (bits != 0).then(|| bits.trailing_zeros() as usize / 8)?;
        bits &= bits - 1;
        Some(at)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn hash(n: u64) -> KeyHash {
        let mut hash = KeyHash::default();
        let mixed = n.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        hash.0[..8].copy_from_slice(&mixed.rotate_left(17).to_le_bytes());
        hash.0[8..].copy_from_slice(&(mixed >> 20).to_le_bytes()[..4]);
        hash
    }

    fn words(name: &EntryName, value: u32) -> [u32; 4] {
        with_name(name, [0, 0, 0xABCD_0000, value])
    }

    fn value(body: &Body<4>) -> u32 {
        body[3].load(Relaxed)
    }

    #[test]
    fn name_and_shard_are_the_whole_identity() {
        for n in 0..10_000 {
            let hash = hash(n);
            assert_eq!(EntryName::of(&hash).hash(EntryName::shard(&hash)), hash);
        }
        for byte in 0..12 {
            for bit in 0..8 {
                let mut other = KeyHash([0x5A; 12]);
                other.0[byte] ^= 1 << bit;
                let seen = |hash: &KeyHash| (EntryName::of(hash), EntryName::shard(hash));
                assert_ne!(seen(&other), seen(&KeyHash([0x5A; 12])), "byte {byte}, bit {bit}");
                assert_eq!(EntryName::of(&other).hash(EntryName::shard(&other)), other);
            }
        }
    }

    /// Puts, overwrites and removes keys whose groups are few, against a map.
    fn compare(groups_of: impl Fn(u64) -> u64, rounds: u64) {
        let (mut table, mut model) = (EntryTable::<4>::new(), BTreeMap::new());
        let mut state = 1u64;
        for round in 0..rounds {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let key = (state >> 33) % 700;
            let mut hash = hash(key);
            hash.0[4..8].copy_from_slice(&(groups_of(key) as u32).to_le_bytes());
            let name = EntryName::of(&hash);
            let found = table.find(&name);
            assert_eq!(found.map(|at| value(table.body(at).unwrap())), model.get(&key).copied());
            let grows = (round / 3_000).is_multiple_of(2);
            match found {
                None if grows || state & 7 == 0 => {
                    table.insert(&name, words(&name, round as u32), key as usize);
                    model.insert(key, round as u32);
                }
                None => {}
                Some(at) if grows && state & 3 > 0 => {
                    table.set(at, words(&name, round as u32));
                    model.insert(key, round as u32);
                }
                Some(at) => {
                    table.remove(at, &name);
                    model.remove(&key);
                }
            }
            if round % 1_000 == 999 {
                table.shrink(round as usize);
            }
            assert_eq!(table.len(), model.len());
        }
        let mut left: Vec<u32> = table.iter().map(|(_, body)| value(body)).collect();
        left.sort_unstable();
        let mut expected: Vec<u32> = model.into_values().collect();
        expected.sort_unstable();
        assert_eq!(left, expected);
    }

    /// Brings records in as a mount does, 250 at a time; gives the numbers of places that the table had.
    fn mounted(all: u64, key_of: impl Fn(u64) -> Option<u64>) -> (EntryTable<4>, Vec<usize>) {
        let (mut table, mut places) = (EntryTable::<4>::new(), Vec::new());
        for found in (0..all).step_by(250) {
            table.foresee(Progress { found: found as usize, next: 250, expected: all as usize });
            let names: Vec<_> =
                (found..found + 250).filter_map(&key_of).map(|key| EntryName::of(&hash(key))).collect();
            table.warm(names.iter().copied());
            for name in &names {
                if table.find(name).is_none() {
                    table.insert(name, words(name, 1), 3);
                }
            }
            places.push(table.places());
        }
        places.dedup();
        (table, places)
    }

    #[test]
    fn table_that_foresees_its_entries_grows_to_them_alone() {
        const ALL: u64 = 4_000;
        for (stale, left) in [(1, 4_000), (2, 2_000), (4, 1_000)] {
            let (table, places) = mounted(ALL, |n| n.is_multiple_of(stale).then_some(n));
            assert_eq!(table.len(), left);
            assert!(places.len() <= 12, "{places:?}");
            let full = left as f64 / table.places() as f64;
            assert!((0.84..=0.9).contains(&full), "{full} full");
        }
        let mut table = EntryTable::<4>::new();
        let foresee = |table: &mut EntryTable<4>, expected| {
            table.foresee(Progress { found: 1_000, next: 1_000, expected });
            table.places()
        };
        assert_eq!(foresee(&mut table, 1_000_000), 0, "no key of this form was found");
        let name = EntryName::of(&hash(1));
        table.insert(&name, words(&name, 1), 0);
        assert_eq!(foresee(&mut table, 500), PLACES, "fewer than were found");
        let huge = Progress { found: usize::MAX / 2, next: 1, expected: usize::MAX };
        table.foresee(huge);
        assert_eq!(table.places(), PLACES);
    }

    #[test]
    fn table_of_overwritten_keys_is_foreseen_with_few_places_more() {
        for keys in [2_000, 1_000, 500, 250] {
            // In turn, and in no order.
            let orders: [fn(u64) -> u64; 2] = [|n| n, |n| n.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 20];
            for order in orders {
                let (table, places) = mounted(4_000, |n| Some(order(n) % keys));
                assert!(!table.is_sparse(), "{keys} keys, {} entries in {places:?} places", table.len());
            }
        }
    }

    #[test]
    fn table_is_a_map_whatever_the_homes_of_its_keys() {
        let spread = |key: u64| key.wrapping_mul(0x9E37_79B9) & 0xFFFF_FFFF;
        compare(spread, 60_000);
        compare(|_| u64::from(u32::MAX), 30_000);
        compare(|key| key % 2 * u64::from(u32::MAX), 30_000);
        compare(|key| spread(key) >> 4, 60_000);
    }

    #[test]
    fn entries_that_left_are_passed_by_no_more() {
        let mut table = EntryTable::<4>::new();
        // Half of the groups are home to all of them.
        let low = |mut hash: KeyHash| (hash.0[7] >>= 1, hash).1;
        let names: Vec<EntryName> = (0..200).map(|n| EntryName::of(&low(hash(n)))).collect();
        names.iter().for_each(|name| table.insert(name, words(name, 1), 0));
        let groups =
            |table: &EntryTable<4>| table.runs.iter().flatten().map(|group| group.tags).collect::<Vec<_>>();
        assert!(groups(&table).iter().any(|tags| tags[PASSED] > 0), "some group overflowed");
        for name in &names {
            table.remove(table.find(name).unwrap(), name);
        }
        assert!(groups(&table).iter().flatten().all(|byte| *byte == 0));
        assert!(table.shrink(0) && table.bytes() == 0);
    }

    #[test]
    fn table_that_shrank_has_nothing_more_to_give_back() {
        for (left, phase) in (0..600u64).flat_map(|left| [(left, 0), (left, 7)]) {
            let mut table = EntryTable::<4>::new();
            let names: Vec<EntryName> = (0..2 * left + 60).map(|n| EntryName::of(&hash(n))).collect();
            names.iter().for_each(|name| table.insert(name, words(name, 1), phase));
            for name in names.iter().skip(left as usize) {
                table.remove(table.find(name).unwrap(), name);
            }
            let before = table.bytes();
            assert!(table.shrink(phase) && table.bytes() < before, "{left} entries");
            assert!(!table.is_sparse() && !table.shrink(phase), "{left} entries, phase {phase}");
            let names = names.iter().take(left as usize);
            assert!(names.clone().all(|name| table.find(name).is_some()) && table.len() == names.len());
        }
    }

    #[test]
    fn keys_that_differ_in_their_tags_alone_are_two() {
        let mut table = EntryTable::<4>::new();
        let named = |low: u32, tag: u8| EntryName { tag: TAKEN | tag, low, high: 7, rest: 9 };
        let (other, there, absent) = (named(1, 0x20), named(2, 0x21), named(2, 0x20));
        table.insert(&other, words(&other, 1), 0);
        table.insert(&there, words(&there, 2), 0);
        assert_eq!(table.find(&absent), None);
        table.insert(&absent, words(&absent, 3), 0);
        let values =
            [&other, &there, &absent].map(|name| table.find(name).map(|at| value(table.body(at).unwrap())));
        assert_eq!(values, [Some(1), Some(2), Some(3)]);
    }

    #[test]
    fn table_stays_four_fifths_full_as_it_grows() {
        let mut table = EntryTable::<7>::new();
        let (mut bytes, mut steps) = (0.0, 0.0);
        for n in 0..40_000u64 {
            let name = EntryName::of(&hash(n));
            table.insert(&name, with_name(&name, [0; 7]), 3);
            if n >= 20_000 {
                bytes += table.bytes() as f64 / (n + 1) as f64;
                steps += 1.0;
            }
        }
        let mean: f64 = bytes / steps;
        assert!(mean < 37.0, "{mean} bytes an entry over a doubling");
    }
}
