//! The table: the entries that it holds, in every order of insertion.

extern crate std;

use std::vec;
use std::vec::Vec as List;

use super::*;
use crate::flash::{Secret, buckets_for};

fn key(seed: u32, number: u32) -> KeyHash {
    let [a, b, c, d] = seed.to_le_bytes();
    Secret::new([a, b, c, d, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16]).identity(&number.to_le_bytes())
}

const ENTRY: Entry = Entry { place: 0, state: State::Value, copies: 1 };

fn table_of(buckets: &mut [[u32; WAYS]]) -> Table<'_> {
    Table::new(buckets, 1 << 16)
}

#[test]
fn tables_of_every_size_take_the_keys_they_promise() {
    for (keys, runs) in [(9usize, 3_000), (48, 3_000), (100, 1_000), (300, 500), (1_000, 100), (2_400, 40)] {
        let count = buckets_for(keys);
        let promised = u32::try_from(count * WAYS * 9 / 10).unwrap();
        assert!(promised as usize >= keys);
        for seed in 0..runs {
            let mut buckets = vec![[0; WAYS]; count];
            let mut table = table_of(&mut buckets);
            for number in 0..promised {
                let entry = Entry { place: number + 1, ..ENTRY };
                assert!(table.insert(&key(seed, number), &entry), "{keys} keys, seed {seed}: key {number}");
            }
            assert_eq!((table.entries(), table.values()), (promised, promised));
        }
    }
}

#[test]
fn every_entry_is_found_by_its_key_however_often_it_moved() {
    for count in [2usize, 3, 7, 100] {
        let mut buckets = vec![[0; WAYS]; count];
        let mut table = table_of(&mut buckets);
        let mut held = 0;
        while table.insert(&key(1, held), &Entry { place: held, ..ENTRY }) {
            held += 1;
            for number in 0..held {
                let hash = key(1, number);
                let (at, entry) = table.live_at(&hash, number).unwrap();
                assert!(table.may_be_of(at, &hash));
                assert_eq!(entry, Entry { place: number, ..ENTRY });
            }
        }
        let mut walked = List::new();
        let mut position = 0;
        while let Some((_, entry, next)) = table.next_from(position) {
            walked.push(entry.place);
            position = next;
        }
        walked.sort_unstable();
        assert_eq!(walked, (0..held).collect::<List<_>>(), "a walk passes each entry once");
        for number in 0..held {
            let (at, _) = table.live_at(&key(1, number), number).unwrap();
            table.clear(at);
        }
        assert_eq!((table.entries(), table.values(), table.next_from(0)), (0, 0, None));
    }
}

#[test]
fn keys_that_all_collide_are_held_up_to_the_probe_limit() {
    let mut buckets = vec![[0; WAYS]; 50];
    let mut table = table_of(&mut buckets);
    let hash = key(3, 3);
    let held = (0..100).take_while(|place| table.insert(&hash, &Entry { place: *place, ..ENTRY })).count();
    // One or two buckets, and the stash.
    assert!(held == WAYS + STASH || held == 2 * WAYS + STASH, "{held}");
    assert_eq!(table.candidates(&hash).len(), held);
    assert!(table.insert(&key(4, 4), &ENTRY), "another key has its place");
}

#[test]
fn entries_keep_their_fields_at_every_width_of_a_place() {
    for bits in 1..=PLACE_BITS_MAX {
        let mut buckets = vec![[0; WAYS]; 2];
        let mut table = Table::new(&mut buckets, 1 << bits);
        for state in [State::Dead, State::Value, State::Tombstone, State::StandIn] {
            let entry = Entry { place: (1 << bits) - 1, state, copies: COPIES_MAX };
            assert!(table.insert(&key(5, bits), &entry));
            let at = table.candidates(&key(5, bits)).pop().unwrap();
            assert_eq!(table.entry(at), Some(entry), "{bits} bits");
            table.clear(at);
        }
    }
}
