//! Writes that depend on the value that is there.

use core::time::Duration;
use std::collections::BTreeMap;

use coldpress_std::clock::ManualClock;
use coldpress_std::{
    CodecId, CompactionTask, Durability, Expected, GetError, PersistentColdTier, PutOptions, TierError, Ttl,
    Update, UpdateError, ValueVersion,
};

use crate::common::{FLUSHED, PATIENCE, SYNCED, eventually, open, open_on, pools, recount, small, value};
use crate::double::Double;

/// The longest lies in pieces.
const LENGTHS: [usize; 4] = [0, 100, 3_000, 40_000];

#[test]
fn put_if_absent_of_a_key_with_a_value_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (_manager, pools) = pools();
    let tier = open(dir.path(), &small().build().unwrap(), &pools);
    for (n, len) in LENGTHS.into_iter().enumerate() {
        let key = [n as u8];
        for options in [PutOptions::default(), FLUSHED, SYNCED] {
            let (first, second) = (value(1, 0, len), value(2, 0, len));
            assert!(tier.put_if_absent(&key, &first, options).unwrap(), "{len} bytes");
            let before = tier.stats();
            assert!(!tier.put_if_absent(&key, &second, options).unwrap());
            // The same value is no reason either.
            assert!(!tier.put_if_absent(&key, &first, options).unwrap());
            let after = tier.stats();
            assert_eq!((after.puts, after.unmet_conditions), (before.puts, before.unmet_conditions + 2));
            assert_eq!(tier.get(&key).unwrap(), Some(first));
            assert!(tier.remove(&key).unwrap());
        }
    }
    recount(&tier);
}

#[test]
fn put_if_absent_over_an_expired_value_puts() {
    static CLOCK: ManualClock = ManualClock::new(1_800_000_000);
    let dir = tempfile::tempdir().unwrap();
    let (_manager, pools) = pools();
    let tier = open(dir.path(), &small().clock(&CLOCK).build().unwrap(), &pools);
    for options in [PutOptions::default(), SYNCED] {
        let short = PutOptions { ttl: Duration::from_secs(10).into(), ..options };
        assert!(tier.put_if_absent(b"k", b"old", short).unwrap());
        assert!(!tier.put_if_absent(b"k", b"new", short).unwrap());
        CLOCK.advance_s(20);
        assert!(tier.put_if_absent(b"k", b"new", options).unwrap());
        assert_eq!(tier.get(b"k").unwrap().as_deref(), Some(&b"new"[..]));
        tier.remove(b"k").unwrap();
    }
}

#[test]
fn swap_goes_by_value_and_by_version() {
    let dir = tempfile::tempdir().unwrap();
    let (_manager, pools) = pools();
    let tier = open(dir.path(), &small().build().unwrap(), &pools);
    let options = PutOptions::default();
    for (n, len) in LENGTHS.into_iter().enumerate() {
        let key = [n as u8];
        let values: Vec<_> = (0..4).map(|round| value(7, 2 * round, len + 1)).collect();
        assert!(!tier.compare_and_swap(&key, Expected::Present, &values[0], options).unwrap());
        assert!(!tier.compare_and_swap(&key, Expected::Value(b""), &values[0], options).unwrap());
        assert!(tier.compare_and_swap(&key, Expected::Absent, &values[0], options).unwrap());
        assert!(!tier.compare_and_swap(&key, Expected::Absent, &values[1], options).unwrap());
        let pending = tier.get_versioned(&key).unwrap().unwrap();
        assert_eq!(pending.value, values[0]);
        // A version names the value, wherever it is: in memory, in the log, relocated, after another open.
        tier.flush().unwrap();
        assert_eq!(tier.get_versioned(&key).unwrap().unwrap().version, pending.version);
        assert!(
            tier.compare_and_swap(&key, Expected::Version(pending.version), &values[1], options).unwrap()
        );
        assert!(
            !tier.compare_and_swap(&key, Expected::Version(pending.version), &values[2], SYNCED).unwrap()
        );
        assert!(!tier.compare_and_swap(&key, Expected::Value(&values[0]), &values[2], options).unwrap());
        assert!(tier.compare_and_swap(&key, Expected::Value(&values[1]), &values[2], SYNCED).unwrap());
        assert!(tier.compare_and_swap(&key, Expected::Present, &values[3], options).unwrap());
        assert_eq!(tier.get(&key).unwrap().as_ref(), Some(&values[3]));
        let version = tier.get_versioned(&key).unwrap().unwrap().version;
        assert_eq!(ValueVersion::from_bytes(version.to_bytes()), version);
        assert!(
            !tier.compare_and_remove(&key, Expected::Version(pending.version), Durability::Synced).unwrap()
        );
        assert!(!tier.compare_and_remove(&key, Expected::Absent, Durability::Synced).unwrap());
        assert_eq!(tier.len().unwrap(), 1);
        assert!(tier.compare_and_remove(&key, Expected::Version(version), Durability::Synced).unwrap());
        assert_eq!(tier.get_versioned(&key).unwrap(), None);
        assert!(!tier.compare_and_remove(&key, Expected::Present, Durability::Buffered).unwrap());
    }
    recount(&tier);
}

#[test]
fn version_is_the_same_after_another_open() {
    let dir = tempfile::tempdir().unwrap();
    let (_manager, pools) = pools();
    let config = small().build().unwrap();
    let tier = open(dir.path(), &config, &pools);
    tier.put(b"k", b"v").unwrap();
    let version = tier.get_versioned(b"k").unwrap().unwrap().version;
    tier.close().unwrap();
    let tier = open(dir.path(), &config, &pools);
    assert_eq!(tier.get_versioned(b"k").unwrap().unwrap().version, version);
    let other = tempfile::tempdir().unwrap();
    let other = open(other.path(), &config, &pools);
    other.put(b"k", b"v").unwrap();
    assert_ne!(other.get_versioned(b"k").unwrap().unwrap().version, version, "it is keyed by the store");
}

fn count_one(bytes: Option<&[u8]>) -> Update {
    let count = bytes.and_then(|bytes| bytes.first_chunk()).map_or(0, |bytes| u64::from_le_bytes(*bytes));
    Update::Put((count + 1).to_le_bytes().to_vec())
}

/// Clients that add one to a few counters, while these are written, relocated and made durable.
fn lose_nothing(partitions: u16, clients: u64, each: u64) {
    let dir = tempfile::tempdir().unwrap();
    let (_manager, pools) = pools();
    let config = small().capacity_bytes(8 << 20).partitions(partitions).build().unwrap();
    let tier = open(dir.path(), &config, &pools);
    let keys = 3;
    std::thread::scope(|scope| {
        for client in 0..clients {
            let handle = tier.handle();
            scope.spawn(move || {
                for n in 0..each {
                    let key = ((client + n) % keys).to_le_bytes();
                    let options = match n % 64 {
                        0 => FLUSHED,
                        1 => SYNCED,
                        _ => PutOptions::default(),
                    };
                    handle.update(&key, options, count_one).unwrap();
                }
            });
        }
        for _ in 0..20 {
            tier.flush_to(Durability::Flushed).unwrap();
            tier.compaction().run_compaction(CompactionTask::CompactData, PATIENCE).unwrap();
        }
    });
    let count = |key: u64| {
        let bytes = tier.get(&key.to_le_bytes()).unwrap().unwrap();
        u64::from_le_bytes(*bytes.first_chunk().unwrap())
    };
    assert_eq!((0..keys).map(count).sum::<u64>(), clients * each);
    recount(&tier);
}

#[test]
fn updates_of_many_clients_are_never_lost() {
    lose_nothing(1, 8, 1_000);
    lose_nothing(2, 8, 1_000);
}

#[test]
fn updates_of_long_values_are_never_lost() {
    let dir = tempfile::tempdir().unwrap();
    let (_manager, pools) = pools();
    let config = small().codec(CodecId::Raw).build().unwrap();
    let tier = open(dir.path(), &config, &pools);
    let append = |bytes: Option<&[u8]>| {
        let bytes = bytes.map_or_else(|| vec![0; 30_000], <[u8]>::to_vec);
        Update::Put([&bytes[..], &[1]].concat())
    };
    std::thread::scope(|scope| {
        for _ in 0..4 {
            let handle = tier.handle();
            scope.spawn(move || {
                for _ in 0..10 {
                    handle.update(b"k", PutOptions::default(), append).unwrap();
                }
            });
        }
    });
    assert_eq!(tier.get(b"k").unwrap().unwrap().len(), 30_040);
    recount(&tier);
}

#[test]
fn update_removes_keeps_and_tells_what_it_did() {
    let dir = tempfile::tempdir().unwrap();
    let (_manager, pools) = pools();
    let tier = open(dir.path(), &small().build().unwrap(), &pools);
    let options = SYNCED;
    assert_eq!(tier.update(b"k", options, |_| Update::Remove), Ok(Update::Remove));
    assert_eq!(tier.update(b"k", options, |_| Update::Keep), Ok(Update::Keep));
    assert_eq!(tier.stats().puts + tier.stats().removes, 0);
    let put = Update::Put(b"v".to_vec());
    assert_eq!(tier.update(b"k", options, |_| put.clone()), Ok(put));
    let mut seen = None;
    let kept = tier.update(b"k", options, |bytes| {
        seen = bytes.map(<[u8]>::to_vec);
        Update::Keep
    });
    assert_eq!((kept, seen), (Ok(Update::Keep), Some(b"v".to_vec())));
    assert_eq!(tier.update(b"k", options, |_| Update::Remove), Ok(Update::Remove));
    assert_eq!(tier.get(b"k").unwrap(), None);
}

#[test]
fn update_that_others_overtake_each_time_ends_at_the_deadline() {
    let dir = tempfile::tempdir().unwrap();
    let (_manager, pools) = pools();
    let config = small().op_timeout(Duration::from_millis(50)).build().unwrap();
    let tier = open(dir.path(), &config, &pools);
    let handle = tier.handle();
    let mut rounds = 0u32;
    let outcome = tier.update(b"k", PutOptions::default(), |_| {
        rounds += 1;
        // On a busy machine the same deadline may pass while the put waits.
        eventually("the other put", || handle.put(b"k", &rounds.to_le_bytes()).is_ok());
        Update::Put(b"mine".to_vec())
    });
    assert_eq!(outcome, Err(UpdateError::Contended));
    assert!(rounds > 1);
    assert_eq!(tier.get(b"k").unwrap(), Some(rounds.to_le_bytes().to_vec()));
}

#[test]
fn conditional_writes_on_a_closed_or_read_only_tier_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (_manager, pools) = pools();
    let config = small().build().unwrap();
    let tier = open(dir.path(), &config, &pools);
    tier.put(b"k", b"v").unwrap();
    let handle = tier.handle();
    tier.close().unwrap();
    let options = PutOptions::default();
    let closed = Err(UpdateError::Tier(TierError::Closed));
    assert_eq!(handle.compare_and_swap(b"k", Expected::Present, b"w", options), closed);
    assert_eq!(handle.compare_and_remove(b"k", Expected::Present, Durability::Synced), closed);
    assert_eq!(handle.touch(b"k", Duration::from_secs(9).into()), closed);
    assert_eq!(handle.update(b"k", options, |_| Update::Keep), Err(UpdateError::Tier(TierError::Closed)));
    assert!(handle.put_if_absent(b"n", b"w", options).is_err() && handle.clear().is_err());
    let tier = open(dir.path(), &small().read_only(true).build().unwrap(), &pools);
    let read_only = Err(UpdateError::Tier(TierError::ReadOnly));
    assert_eq!(tier.compare_and_swap(b"k", Expected::Present, b"w", options), read_only);
    assert_eq!(tier.compare_and_remove(b"k", Expected::Present, Durability::Synced), read_only);
    assert_eq!(tier.touch(b"k", Duration::from_secs(9).into()), read_only);
    assert!(tier.put_if_absent(b"n", b"w", options).is_err() && tier.clear().is_err());
    assert_eq!(tier.get(b"k").unwrap(), Some(b"v".to_vec()));
}

#[test]
fn clear_removes_all_and_a_cut_brings_nothing_back() {
    let (_manager, pools) = pools();
    let config = small().codec(CodecId::Raw).build().unwrap();
    let double = Double::new(config.capacity_bytes());
    let tier = open_on(&double, &config, &pools);
    for n in 0..200u32 {
        tier.put(&n.to_le_bytes(), &value(n, 0, if n % 50 == 0 { 20_000 } else { 200 })).unwrap();
    }
    tier.flush().unwrap();
    assert_eq!(tier.clear(), Ok(200));
    tier.flush().unwrap();
    assert_eq!((tier.len(), tier.keys().count(), tier.clear()), (Ok(0), 0, Ok(0)));
    let cut = open_on(&double.cut(), &config, &pools);
    assert_eq!((cut.len(), cut.entries().count()), (Ok(0), 0));
    tier.put(b"k", b"v").unwrap();
    assert_eq!(tier.get(b"k").unwrap(), Some(b"v".to_vec()));
    recount(&tier);
}

#[test]
fn entries_come_once_each_with_their_values() {
    let dir = tempfile::tempdir().unwrap();
    let (_manager, pools) = pools();
    let config = small().capacity_bytes(8 << 20).partitions(2).build().unwrap();
    let tier = open(dir.path(), &config, &pools);
    let mut expected = BTreeMap::new();
    for n in 0..300u32 {
        let bytes = value(n, 1, [0, 10, 500, 20_000][n as usize % 4]);
        tier.put(&n.to_le_bytes(), &bytes).unwrap();
        expected.insert(n.to_le_bytes().to_vec(), bytes);
        if n == 150 {
            tier.flush().unwrap();
        }
    }
    for n in 0..20u32 {
        tier.remove(&n.to_le_bytes()).unwrap();
        expected.remove(&n.to_le_bytes()[..]);
    }
    let all = |tier: &coldpress_std::ColdTier| {
        let entries: Vec<_> = tier.entries().map(Result::unwrap).collect();
        let count = entries.len();
        let map: BTreeMap<_, _> = entries.into_iter().collect();
        assert_eq!(map.len(), count, "each key came once");
        map
    };
    assert!(all(&tier) == expected);
    tier.close().unwrap();
    let tier = open(dir.path(), &config, &pools);
    assert!(all(&tier) == expected);
    let mut entries = tier.entries();
    assert!(entries.next().is_some());
    tier.close().unwrap();
    // The rest of the part in hand is read from a tier that is closed.
    assert!(matches!(entries.last(), Some(Err(GetError::Tier(TierError::Closed)))));
}

#[test]
fn typed_tier_has_the_same_operations() {
    let dir = tempfile::tempdir().unwrap();
    let (_manager, pools) = pools();
    let config = small().build().unwrap();
    let tier: PersistentColdTier<u32, String> =
        PersistentColdTier::open(dir.path(), "typed", config, pools).unwrap();
    let (options, key) = (PutOptions::default(), 7);
    let [one, two] = ["one", "two"].map(String::from);
    assert!(tier.put_if_absent(&key, &one, options).unwrap());
    assert!(!tier.put_if_absent(&key, &two, options).unwrap());
    assert!(!tier.compare_and_swap(&key, Expected::Absent, &two, options).unwrap());
    let seen = tier.get_versioned(&key).unwrap().unwrap();
    assert_eq!(seen.value, one);
    assert!(!tier.compare_and_swap(&key, Expected::Value(&two), &two, options).unwrap());
    assert!(tier.compare_and_swap(&key, Expected::Version(seen.version), &two, options).unwrap());
    let longer = |word: Option<String>| word.map_or(Update::Remove, |word| Update::Put(word + "!"));
    assert_eq!(tier.update(&key, options, longer), Ok(Update::Put("two!".into())));
    assert_eq!(tier.update(&8, options, longer), Ok(Update::Remove));
    assert_eq!(tier.update(&key, options, |_| Update::Keep), Ok(Update::Keep));
    assert!(tier.touch(&key, Duration::from_secs(60).into()).unwrap() && tier.ttl(&key).unwrap().is_some());
    assert_eq!(tier.entries().collect::<Result<Vec<_>, _>>(), Ok(vec![(key, "two!".into())]));
    // Bytes of another type are an error, and stay.
    tier.bytes().put(&[9], &[0xFF; 3]).unwrap();
    assert_eq!(tier.update(&9, options, longer), Err(UpdateError::Get(GetError::Decode)));
    assert_eq!(tier.bytes().get(&[9]).unwrap(), Some(vec![0xFF; 3]));
    let keep = PutOptions { ttl: Ttl::Keep, ..options };
    assert!(tier.touch_with(&key, keep).unwrap());
    let expected = Expected::Value(&one);
    assert!(!tier.compare_and_remove(&key, expected, Durability::Buffered).unwrap());
    assert_eq!(tier.clear(), Ok(2));
}

#[test]
fn update_that_removes_is_durable_though_the_key_was_removed() {
    let (_manager, pools) = pools();
    let config = small().flush_after(PATIENCE).build().unwrap();
    let double = Double::new(config.capacity_bytes());
    let tier = open_on(&double, &config, &pools);
    tier.put_with(b"k", b"v", SYNCED).unwrap();
    assert!(tier.remove_with(b"k", Durability::Buffered).unwrap());
    assert_eq!(tier.update(b"k", SYNCED, |_| Update::Remove), Ok(Update::Remove));
    assert_eq!(open_on(&double.cut(), &config, &pools).get(b"k"), Ok(None));
}

#[test]
fn update_over_a_value_that_lost_a_piece_finds_none() {
    let (_manager, pools) = pools();
    let config = small().codec(CodecId::Raw).build().unwrap();
    let double = Double::new(config.capacity_bytes());
    let tier = open_on(&double, &config, &pools);
    let options = PutOptions { ttl: Duration::from_secs(600).into(), ..SYNCED };
    for n in 0..40u8 {
        tier.put_with(&[n], &value(n.into(), 0, 60_000), options).unwrap();
    }
    tier.close().unwrap();
    let (segment_bytes, mut lost) = (u64::from(config.segment_bytes()), 0);
    for segment in [5, 9, 13] {
        let double = double.cut();
        *double.unread.lock().unwrap() = (segment * segment_bytes..(segment + 1) * segment_bytes, 0);
        let tier = open_on(&double, &config, &pools);
        tier.give_up_unread().unwrap();
        tier.compaction().run_compaction(CompactionTask::RebuildIndex, PATIENCE).unwrap();
        for key in (0..40).map(|n| [n]).filter(|key| tier.get(key) == Ok(None)) {
            let update = [Update::Remove, Update::Put(b"new".to_vec())][lost % 2].clone();
            let change = |bytes: Option<&[u8]>| {
                assert_eq!(bytes, None);
                update.clone()
            };
            assert_eq!(tier.update(&key, options, change), Ok(update.clone()));
            assert_eq!(tier.contains(&key), Ok(update != Update::Remove));
            lost += 1;
        }
        recount(&tier);
    }
    assert!(lost >= 4, "{lost}");
}

#[test]
fn write_whose_condition_fails_takes_no_space() {
    let dir = tempfile::tempdir().unwrap();
    let (_manager, pools) = pools();
    let tier = open(dir.path(), &small().codec(CodecId::Raw).build().unwrap(), &pools);
    let handle = tier.handle();
    // Short and long; with space, and in a full tier.
    for is_full in [false, true] {
        if is_full {
            (0..).find(|n: &u32| tier.put(&n.to_le_bytes(), &value(*n, 0, 3_000)).is_err()).unwrap();
        }
        for len in [3_000, 100_000] {
            let mut calls = 0u8;
            let done = tier.update(b"k", SYNCED, |_| {
                calls += 1;
                handle.put(b"k", &[calls]).unwrap();
                if calls == 1 { Update::Put(value(1, 0, len)) } else { Update::Keep }
            });
            assert_eq!((done, calls), (Ok(Update::Keep), 2), "{len} bytes, full: {is_full}");
        }
    }
    let stats = tier.stats();
    assert_eq!((stats.unmet_conditions, stats.swept_pieces), (4, 0));
    recount(&tier);
}
