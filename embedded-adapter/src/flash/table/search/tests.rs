//! Places in every order: whether a table takes entries depends on these alone.

extern crate std;

use std::vec;
use std::vec::Vec as List;

use super::super::{WAYS, mixed};
use super::*;

/// The two buckets of an entry, as a search for a place sees it.
type Pair = [usize; 2];

/// Identities by the pair of buckets that they have in a table of so many.
fn keys_by_pair(count: usize) -> List<(Pair, KeyHash)> {
    let mut buckets = vec![[0; WAYS]; count];
    let table = Table::new(&mut buckets, 1 << 16);
    let mut found: List<(Pair, KeyHash)> = List::new();
    for number in 0u32..40_000 {
        let mut hash = KeyHash::default();
        hash.0[8..].copy_from_slice(&mixed(number).to_le_bytes());
        let (fingerprint, home) = table.home(&hash);
        let other = table.other(fingerprint, home);
        let pair = [home.min(other), home.max(other)];
        if !found.iter().any(|(known, _)| *known == pair) {
            found.push((pair, hash));
        }
    }
    found
}

/// A largest matching of entries with places in buckets, by augmenting paths from each entry in turn.
struct Matching {
    held: List<List<Pair>>,
}

impl Matching {
    fn new(count: usize) -> Self {
        Self { held: vec![List::new(); count] }
    }

    /// Whether one more entry can lie in a bucket, where others move for it.
    fn place(&mut self, entry: Pair) -> bool {
        let mut seen = vec![false; self.held.len()];
        self.augment(entry, &mut seen)
    }

    fn augment(&mut self, entry: Pair, seen: &mut [bool]) -> bool {
        for bucket in entry {
            if core::mem::replace(&mut seen[bucket], true) {
                continue;
            }
            if self.held[bucket].len() < WAYS {
                self.held[bucket].push(entry);
                return true;
            }
            for way in 0..WAYS {
                if self.augment(self.held[bucket][way], seen) {
                    self.held[bucket][way] = entry;
                    return true;
                }
            }
        }
        false
    }
}

/// Whether a table of so many buckets and its stash can hold these entries in any arrangement.
fn fits(count: usize, entries: &[Pair]) -> bool {
    let mut matching = Matching::new(count);
    entries.iter().filter(|entry| !matching.place(**entry)).count() <= STASH
}

/// The places of all entries, sorted.
fn places(table: &Table<'_>) -> List<u32> {
    let mut places = List::new();
    let mut position = 0;
    while let Some((_, entry, next)) = table.next_from(position) {
        places.push(entry.place);
        position = next;
    }
    places.sort_unstable();
    places
}

fn entry(place: usize) -> Entry {
    Entry { place: u32::try_from(place).unwrap() + 1, state: State::Value, copies: 1 }
}

/// Inserts entries in this order and checks each answer, and what the table holds afterwards.
fn check(count: usize, keys: &[(Pair, KeyHash)], order: &[usize]) -> usize {
    let mut buckets = vec![[0; WAYS]; count];
    let mut table = Table::new(&mut buckets, 1 << 16);
    let (mut held, mut refused): (List<Pair>, usize) = (List::new(), 0);
    let mut expected = List::new();
    for (number, key) in order.iter().enumerate() {
        let (pair, hash) = &keys[*key];
        held.push(*pair);
        let has_place = fits(count, &held);
        assert_eq!(
            table.insert(hash, &entry(number)),
            has_place,
            "{count} buckets, {order:?}: entry {number}"
        );
        if has_place {
            expected.push(entry(number).place);
        } else {
            held.pop();
            refused += 1;
        }
    }
    assert_eq!(places(&table), expected, "{order:?}");
    for (number, key) in order.iter().enumerate().filter(|(n, _)| expected.contains(&entry(*n).place)) {
        let found = table.live_at(&keys[*key].1, entry(number).place);
        assert_eq!(found.map(|(_, entry)| entry), Some(entry(number)), "{order:?}");
    }
    refused
}

/// Every order of as many entries as two buckets hold, beside those in the stash by then, and of one more. Five lie in the
/// stash already, in every choice of their kinds, as after removes.
#[test]
fn every_order_of_entries_in_two_buckets_finds_the_same_places() {
    struct Walk<'k> {
        keys: &'k [(Pair, KeyHash)],
        counts: [usize; 3],
        orders: u64,
    }
    impl Walk<'_> {
        /// In two buckets the largest matching can be counted.
        fn fits(&self) -> bool {
            let [first, second, both] = self.counts;
            let single = first.min(WAYS) + second.min(WAYS);
            first + second + both - (single + both.min(2 * WAYS - single)) <= STASH
        }

        fn go_on(&mut self, buckets: &[[u32; WAYS]; 2], stash: &[(u32, usize); STASH], len: usize) {
            for kind in 0..self.keys.len() {
                // One in three of the orders where the build is slow.
                if cfg!(debug_assertions) && len % 3 == 2 && kind != len / 3 % 3 {
                    continue;
                }
                let (mut buckets, mut counts) = (*buckets, self.counts);
                counts[kind] += 1;
                let before = core::mem::replace(&mut self.counts, counts);
                let mut table = resumed(&mut buckets, stash);
                let has_place = table.insert(&self.keys[kind].1, &entry(len));
                assert_eq!(has_place, self.fits(), "{counts:?}");
                self.orders += 1;
                if has_place {
                    let stash = table.stash;
                    self.go_on(&buckets, &stash, len + 1);
                }
                self.counts = before;
            }
        }
    }
    /// A table as it was left.
    fn resumed<'m>(buckets: &'m mut [[u32; WAYS]], stash: &[(u32, usize); STASH]) -> Table<'m> {
        Table { buckets, stash: *stash, place_bits: 16, entries: 0, values: 0, stand_ins: 0, moves: 0 }
    }
    let mut keys = keys_by_pair(2);
    keys.sort_by_key(|(pair, _)| [[0, 0], [1, 1], [0, 1]].iter().position(|p| p == pair));
    assert_eq!(keys.len(), 3);
    let mut walk = Walk { keys: &keys, counts: [0; 3], orders: 0 };
    for (first, second) in (0..=5).flat_map(|a| (0..=5 - a).map(move |b| (a, b))) {
        let mut buckets = [[0; WAYS]; 2];
        let table = resumed(&mut buckets, &[(0, 0); STASH]);
        let mut stash = [(0, 0); STASH];
        for (way, place) in stash.iter_mut().enumerate().take(5) {
            let kind = usize::from(way >= first) + usize::from(way >= first + second);
            let (fingerprint, home) = table.home(&keys[kind].1);
            *place = (table.encode(fingerprint, &entry(100 + way)), home);
        }
        walk.counts = [first, second, 5 - first - second];
        walk.go_on(&[[0; WAYS]; 2], &stash, 0);
    }
    assert!(walk.orders > 1_000, "{}", walk.orders);
}

/// Random orders of random sets, few kinds of entries among them, so that many meet.
#[test]
fn random_orders_find_a_place_where_any_arrangement_has_one() {
    let mut state = 1u64;
    let mut below = |bound: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % bound
    };
    let mut refused = 0;
    let runs = if cfg!(debug_assertions) { 300 } else { 6_000 };
    for count in [2, 3, 4, 5, 7, 9] {
        let keys = keys_by_pair(count);
        for _ in 0..runs {
            let kinds: List<usize> = (0..=below(keys.len())).map(|_| below(keys.len())).collect();
            let order: List<usize> =
                (0..count * WAYS + STASH + 2).map(|_| kinds[below(kinds.len())]).collect();
            refused += check(count, &keys, &order);
        }
    }
    assert!(refused > 1_000, "{refused}");
}

/// Larger tables filled to the last place, where the way to the last places is long.
#[test]
fn full_table_takes_all_entries_that_any_arrangement_holds() {
    let runs = if cfg!(debug_assertions) { 1 } else { 20 };
    for count in [30usize, 100, 400] {
        let mut refused = 0;
        for seed in 0..runs {
            let mut buckets = vec![[0; WAYS]; count];
            let mut table = Table::new(&mut buckets, 1 << 16);
            let (mut oracle, mut stashed) = (Matching::new(count), 0);
            for number in 0..count * WAYS + STASH {
                let mut hash = KeyHash::default();
                hash.0[8..]
                    .copy_from_slice(&mixed(seed << 16 | u32::try_from(number).unwrap()).to_le_bytes());
                let (fingerprint, home) = table.home(&hash);
                let is_in_bucket = oracle.place([home, table.other(fingerprint, home)]);
                let has_place = is_in_bucket || stashed < STASH;
                stashed += usize::from(has_place && !is_in_bucket);
                assert_eq!(table.insert(&hash, &entry(number)), has_place, "{count}, seed {seed}: {number}");
                refused += usize::from(!has_place);
            }
            assert_eq!(places(&table).len(), table.entries() as usize);
        }
        assert!(refused > 0, "{count} buckets");
    }
}
