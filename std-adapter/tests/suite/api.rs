//! The effect of each operation.

use core::sync::atomic::Ordering::SeqCst;
use std::collections::BTreeSet;

use coldpress_std::{
    CodecId, Durability, GetError, PersistentColdTier, PutError, PutOptions, RemoveError, TierError,
};

use crate::common::{FLUSHED, SYNCED, open, open_on, pools, recount, small, value};
use crate::double::Double;

#[test]
fn key_put_get_overwrite_remove_each_shows_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let (_manager, pools) = pools();
    let tier = open(dir.path(), &small().build().unwrap(), &pools);
    assert_eq!(tier.get(b"a").unwrap(), None);
    assert!(!tier.contains(b"a").unwrap() && !tier.remove(b"a").unwrap());
    for (options, round) in [(PutOptions::default(), 0), (FLUSHED, 1), (SYNCED, 2)] {
        tier.put_with(b"a", &value(1, round, 300), options).unwrap();
        assert_eq!(tier.get(b"a").unwrap(), Some(value(1, round, 300)));
        assert!(tier.contains(b"a").unwrap());
        assert_eq!(tier.len().unwrap(), 1);
    }
    for durability in [Durability::Buffered, Durability::Flushed, Durability::Synced] {
        tier.put(b"b", b"x").unwrap();
        assert!(tier.remove_with(b"b", durability).unwrap());
        assert!(!tier.remove_with(b"b", durability).unwrap());
        assert_eq!(tier.get(b"b").unwrap(), None);
    }
    recount(&tier);
}

#[test]
fn removed_key_stays_away_after_a_reopen() {
    let dir = tempfile::tempdir().unwrap();
    let (_manager, pools) = pools();
    let config = small().build().unwrap();
    let tier = open(dir.path(), &config, &pools);
    for key in 0..200u32 {
        tier.put(&key.to_le_bytes(), &value(key, 0, 500)).unwrap();
    }
    tier.flush().unwrap();
    for key in 0..100u32 {
        assert!(tier.remove(&key.to_le_bytes()).unwrap());
    }
    drop(tier);
    let tier = open(dir.path(), &config, &pools);
    for key in 0..200u32 {
        let expected = (key >= 100).then(|| value(key, 0, 500));
        assert_eq!(tier.get(&key.to_le_bytes()).unwrap(), expected, "I-LOG-5, key {key}");
    }
}

#[test]
fn shortest_and_longest_keys_and_values_come_back() {
    let dir = tempfile::tempdir().unwrap();
    let (_manager, pools) = pools();
    let config = small().build().unwrap();
    let (key_max, value_max) = (config.key_bytes_max() as usize, config.value_bytes_max() as usize);
    let pairs: Vec<(Vec<u8>, Vec<u8>)> = [(0, 9), (1, 0), (255, 100), (256, 100), (key_max, value_max)]
        .map(|(key, len)| (vec![b'k'; key], value(7, key as u32, len)))
        .to_vec();
    let tier = open(dir.path(), &config, &pools);
    let (last, rest) = pairs.split_last().unwrap();
    tier.put_batch(rest, SYNCED).unwrap();
    tier.put(&last.0, &last.1).unwrap();
    for (key, value) in &pairs {
        assert_eq!(tier.get(key).unwrap().as_ref(), Some(value), "{}", key.len());
    }
    drop(tier);
    let tier = open(dir.path(), &config, &pools);
    for (key, value) in &pairs {
        assert_eq!(tier.get(key).unwrap().as_ref(), Some(value), "{}", key.len());
    }
}

#[test]
fn values_that_compress_take_less_and_come_back() {
    use coldpress_std::CodecId;
    let (_manager, pools) = pools();
    let bundled = cfg!(feature = "zstd").then_some(CodecId::Zstd);
    for codec in [CodecId::Raw, CodecId::Lz4, CodecId::Heatshrink].into_iter().chain(bundled) {
        let dir = tempfile::tempdir().unwrap();
        let config = small().codec(codec).build().unwrap();
        let tier = open(dir.path(), &config, &pools);
        let text = b"cold data, kept small. ".repeat(100);
        tier.put_with(b"text", &text, SYNCED).unwrap();
        assert_eq!(tier.get(b"text").unwrap(), Some(text.clone()), "{codec}");
        let stats = tier.stats();
        assert_eq!(stats.bytes_put, text.len() as u64 + 4);
        assert_eq!(stats.fresh_bytes < text.len() as u64 / 2, codec != CodecId::Raw, "{codec}");
        drop(tier);
        // Each record names its codec, so the configured one does not matter now.
        let tier = open(dir.path(), &small().codec(CodecId::Raw).build().unwrap(), &pools);
        assert_eq!(tier.get(b"text").unwrap(), Some(text), "{codec}");
    }
}

#[test]
fn keys_iterate_each_once_over_all_partitions() {
    let dir = tempfile::tempdir().unwrap();
    let (_manager, pools) = pools();
    let config = small().capacity_bytes(8 << 20).partitions(3).build().unwrap();
    let tier = open(dir.path(), &config, &pools);
    for key in 0..500u32 {
        tier.put(&key.to_le_bytes(), b"v").unwrap();
        if key == 250 {
            tier.flush().unwrap();
        }
    }
    tier.remove(&3u32.to_le_bytes()).unwrap();
    let mut keys: Vec<Vec<u8>> = tier.keys().map(Result::unwrap).collect();
    keys.sort();
    let mut expected: Vec<Vec<u8>> =
        (0..500u32).filter(|key| *key != 3).map(|key| key.to_le_bytes().into()).collect();
    expected.sort();
    assert_eq!(keys, expected);
    let mut iteration = tier.keys();
    assert!(iteration.next().unwrap().is_ok());
    drop(tier);
    let rest: Vec<_> = iteration.collect();
    assert_eq!(rest.last(), Some(&Err(GetError::Tier(TierError::Closed))));
}

#[test]
fn closed_tier_refuses_every_handle() {
    let dir = tempfile::tempdir().unwrap();
    let (_manager, pools) = pools();
    let config = small().build().unwrap();
    let tier = open(dir.path(), &config, &pools);
    let handle = tier.handle();
    handle.put(b"a", b"1").unwrap();
    tier.close().unwrap();
    // The next tier uses the same slot.
    let tier = open(dir.path(), &config, &pools);
    let closed = TierError::Closed;
    assert_eq!(handle.put(b"a", b"2"), Err(PutError::Tier(closed.clone())));
    assert_eq!(handle.get(b"a"), Err(GetError::Tier(closed.clone())));
    assert_eq!(handle.contains(b"a"), Err(GetError::Tier(closed.clone())));
    assert_eq!(handle.remove(b"a"), Err(RemoveError::Tier(closed.clone())));
    assert_eq!(
        (handle.len(), handle.flush(), handle.segments()),
        (Err(closed.clone()), Err(closed.clone()), Err(closed.clone()))
    );
    assert!(!handle.is_open() && handle.compaction().start_background_worker().is_err());
    assert_eq!(tier.get(b"a").unwrap(), Some(b"1".to_vec()));
}

#[test]
fn typed_values_round_trip_and_other_types_are_errors() {
    #[derive(serde::Serialize, serde::Deserialize, PartialEq, Debug, Clone)]
    enum Shape {
        Dot,
        Line { from: (i32, i32), names: Vec<String> },
    }
    let dir = tempfile::tempdir().unwrap();
    let (_manager, pools) = pools();
    let config = small().base_dir(dir.path()).build().unwrap();
    let line = Shape::Line { from: (-1, 1 << 30), names: vec!["a".into(), "é".into()] };
    {
        let shapes: PersistentColdTier<(u8, String), Shape> =
            PersistentColdTier::new(config.clone(), "shapes", pools.clone()).unwrap();
        let pairs = [((1, "x".to_owned()), line.clone()), ((2, String::new()), Shape::Dot)];
        shapes.put_batch(&pairs, SYNCED).unwrap();
        assert_eq!(shapes.len().unwrap(), 2);
        let mut keys: Vec<_> = shapes.keys().map(Result::unwrap).collect();
        keys.sort();
        assert_eq!(keys, [(1, "x".to_owned()), (2, String::new())]);
        assert!(shapes.remove(&(2, String::new())).unwrap());
        shapes.close().unwrap();
    }
    let shapes: PersistentColdTier<(u8, String), Shape> =
        PersistentColdTier::new(config.clone(), "shapes", pools.clone()).unwrap();
    assert_eq!(shapes.get(&(1, "x".into())).unwrap(), Some(line));
    assert!(!shapes.contains(&(2, String::new())).unwrap());
    drop(shapes);
    let wrong: PersistentColdTier<(u8, String), [u64; 9]> =
        PersistentColdTier::new(config, "shapes", pools).unwrap();
    assert_eq!(wrong.get(&(1, "x".into())), Err(GetError::Decode));
}

#[test]
fn value_read_twice_enters_the_pools_and_never_an_older_one() {
    let dir = tempfile::tempdir().unwrap();
    let (_manager, pools) = pools();
    let tier = open(dir.path(), &small().build().unwrap(), &pools);
    for round in 0..4 {
        tier.put_with(b"hot", &value(1, round, 2000), FLUSHED).unwrap();
        let before = tier.stats().hot_hits;
        for _ in 0..3 {
            assert_eq!(tier.get(b"hot").unwrap(), Some(value(1, round, 2000)));
        }
        // The key is known by its second read, and its next value enters at once.
        assert_eq!(tier.stats().hot_hits - before, if round == 0 { 1 } else { 2 });
    }
    pools.emergency_cleanup().unwrap();
    assert_eq!(tier.get(b"hot").unwrap(), Some(value(1, 3, 2000)));
}

#[test]
fn key_removed_twice_last_synced_is_durably_gone() {
    let (_manager, pools) = pools();
    let config = small().build().unwrap();
    let double = Double::new(config.capacity_bytes());
    let tier = open_on(&double, &config, &pools);
    for durability in [Durability::Buffered, Durability::Flushed] {
        tier.put_with(b"k", b"v", SYNCED).unwrap();
        assert!(tier.remove_with(b"k", durability).unwrap());
        let syncs = double.syncs.load(SeqCst);
        assert!(!tier.remove_with(b"k", Durability::Synced).unwrap());
        assert!(double.syncs.load(SeqCst) > syncs, "nothing else made the first remove durable");
        let after = open_on(&double.cut(), &config, &pools);
        assert!(!after.contains(b"k").unwrap(), "I-LOG-4: {durability:?}");
    }
    assert!(!tier.remove_with(b"never there", Durability::Synced).unwrap());
    recount(&tier);
}

#[test]
fn keys_are_read_without_their_values() {
    let dir = tempfile::tempdir().unwrap();
    let (_manager, pools) = pools();
    let config = small().capacity_bytes(64 << 20).segment_bytes(1 << 20).value_bytes_max(256 << 10);
    let config = config.codec(CodecId::Raw).keep_hot_values(false).build().unwrap();
    let tier = open(dir.path(), &config, &pools);
    // Keys up to the longest, each beside a long value.
    let key = |n: u32| {
        value(n, 0, [1, 40, 233, 234, 255, 256, 5_000, config.key_bytes_max() as usize][n as usize % 8])
    };
    let keys: BTreeSet<Vec<u8>> = (0..120).map(key).collect();
    for key in &keys {
        tier.put(key, &value(7, 7, 256 << 10)).unwrap();
    }
    tier.flush().unwrap();
    let found = || tier.keys().map(Result::unwrap).collect::<Vec<_>>();
    let (before, found_keys) = (tier.stats().bytes_read, found());
    assert_eq!(found_keys.len(), keys.len());
    assert_eq!(found_keys.into_iter().collect::<BTreeSet<_>>(), keys);
    let longest_headers = 23 * keys.len() as u64;
    let needed = keys.iter().map(|key| key.len().max(233) as u64).sum::<u64>() + longest_headers;
    let read = tier.stats().bytes_read - before;
    assert!(read <= needed, "{read} bytes for {needed}, beside {} of values", keys.len() << 18);
    tier.get(keys.first().unwrap()).unwrap().unwrap();
    assert!(tier.stats().bytes_read - before - read > 256 << 10, "a get reads the value");
}

#[test]
fn key_iteration_gives_keys_of_damaged_values() {
    use std::os::unix::fs::FileExt as _;
    let dir = tempfile::tempdir().unwrap();
    let (_manager, pools) = pools();
    let tier = open(dir.path(), &small().codec(CodecId::Raw).keep_hot_values(false).build().unwrap(), &pools);
    for key in 0..20u32 {
        tier.put(format!("the key {key:02}").as_bytes(), &value(key, 0, 700)).unwrap();
    }
    tier.flush().unwrap();
    let path = dir.path().join("test").join("part-000.cold");
    let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
    let bytes = std::fs::read(&path).unwrap();
    let flip = |wanted: &[u8]| {
        let at = bytes.windows(wanted.len()).position(|window| window == wanted).unwrap();
        file.write_all_at(&[!bytes[at]], at as u64).unwrap();
    };
    flip(&value(7, 0, 700)[..64]);
    flip(b"the key 08");
    let found: Vec<_> = tier.keys().collect();
    assert_eq!(found.iter().filter(|key| **key == Err(GetError::Damaged)).count(), 1);
    assert!(found.contains(&Ok(b"the key 07".to_vec())) && !found.contains(&Ok(b"the key 08".to_vec())));
    assert_eq!(found.len(), 20);
    assert_eq!(tier.get(b"the key 07"), Err(GetError::Damaged));
}
