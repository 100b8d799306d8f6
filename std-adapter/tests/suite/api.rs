//! What each operation does.

use core::sync::atomic::Ordering::SeqCst;

use coldpress_std::{Durability, GetError, PersistentColdTier, PutError, PutOptions, RemoveError, TierError};

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
        let figures = tier.figures();
        assert_eq!(figures.bytes_put, text.len() as u64 + 4);
        assert_eq!(figures.bytes_encoded < text.len() as u64 / 2, codec != CodecId::Raw, "{codec}");
        drop(tier);
        // Each record names its codec: what the configuration says now does not matter.
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
    // The next tier uses the same gate.
    let tier = open(dir.path(), &config, &pools);
    let closed = TierError::Closed;
    assert_eq!(handle.put(b"a", b"2"), Err(PutError::Tier(closed)));
    assert_eq!(handle.get(b"a"), Err(GetError::Tier(closed)));
    assert_eq!(handle.contains(b"a"), Err(GetError::Tier(closed)));
    assert_eq!(handle.remove(b"a"), Err(RemoveError::Tier(closed)));
    assert_eq!((handle.len(), handle.flush(), handle.segments()), (Err(closed), Err(closed), Err(closed)));
    assert!(!handle.is_open() && handle.compaction().start_background_worker().is_err());
    assert_eq!(tier.get(b"a").unwrap(), Some(b"1".to_vec()));
}

#[test]
fn typed_values_round_trip_and_other_types_are_told() {
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
fn value_read_twice_comes_from_the_pools_and_never_an_older_one() {
    let dir = tempfile::tempdir().unwrap();
    let (_manager, pools) = pools();
    let tier = open(dir.path(), &small().build().unwrap(), &pools);
    for round in 0..4 {
        tier.put_with(b"hot", &value(1, round, 2000), FLUSHED).unwrap();
        let before = tier.figures().hot_hits;
        for _ in 0..3 {
            assert_eq!(tier.get(b"hot").unwrap(), Some(value(1, round, 2000)));
        }
        assert_eq!(tier.figures().hot_hits - before, 2);
    }
    pools.emergency_cleanup().unwrap();
    assert_eq!(tier.get(b"hot").unwrap(), Some(value(1, 3, 2000)));
}

#[test]
fn key_removed_before_and_not_durably_is_durably_gone_after_a_synced_remove() {
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
