//! Long values: stored in pieces, read as one, and old or new after any failure.

use core::sync::atomic::Ordering::SeqCst;
use core::time::Duration;

use coldpress_std::clock::ManualClock;
use coldpress_std::image::Image;
use coldpress_std::{
    CodecId, ColdTier, ColdTierConfig, ColdTierConfigBuilder, CompactionTask, Durability, FullPolicy,
    PutError, PutOptions, Streams,
};

use crate::common::{FLUSHED, PATIENCE, SYNCED, eventually, open, open_on, pools, recount, small, value};
use crate::double::{Double, HELD};

/// The bytes of a value in the longest record of a `small` tier, about.
const RECORD: usize = 4_096;

fn raw() -> ColdTierConfigBuilder {
    small().codec(CodecId::Raw)
}

fn until_swept(tier: &ColdTier, swept: u64) {
    eventually("the pieces are swept", || tier.stats().swept_pieces >= swept);
    recount(tier);
}

/// Bytes of the tombstones of the pieces of three generations, in segments that are still open: no long value leaves more.
const TOMBSTONES: u64 = 3 * 15 * 105;

/// Waits until no more than so much is charged beside tombstones of pieces.
fn until_charged(tier: &ColdTier, most: u64) {
    let begun = std::time::Instant::now();
    loop {
        tier.compaction().run_compaction(CompactionTask::CompactData, PATIENCE).unwrap();
        let charged = tier.stats().charged_bytes;
        if charged <= most + TOMBSTONES {
            return recount(tier);
        }
        assert!(begun.elapsed() < PATIENCE, "charged {charged} of {most}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn value_of_every_length_is_read_and_reopened() {
    let (_manager, pools) = pools();
    for codec in [CodecId::Raw, CodecId::Lz4] {
        let dir = tempfile::tempdir().unwrap();
        let config = small().codec(codec).build().unwrap();
        let max = config.value_bytes_max() as usize;
        let mut lens = vec![0, 1, 2 * RECORD, 3 * RECORD + 1, 10 * RECORD, 40_000, max / 3];
        lens.extend(RECORD - 60..=RECORD);
        let made = |n: usize, len: usize| {
            if n.is_multiple_of(2) { value(n as u32, 0, len) } else { vec![n as u8; len] }
        };
        let tier = open(dir.path(), &config, &pools);
        for (n, len) in lens.iter().enumerate() {
            tier.put(&n.to_le_bytes(), &made(n, *len)).unwrap();
        }
        let check = |tier: &ColdTier| {
            assert_eq!(tier.len(), Ok(lens.len() as u64));
            for (n, len) in lens.iter().enumerate() {
                let found = tier.get(&n.to_le_bytes()).unwrap();
                assert!(found == Some(made(n, *len)), "{codec:?}, {len} bytes");
                assert_eq!(tier.contains(&n.to_le_bytes()), Ok(true));
            }
            let mut keys: Vec<_> = tier.keys().map(Result::unwrap).collect();
            keys.sort_unstable();
            let mut expected: Vec<_> = (0..lens.len()).map(|n| n.to_le_bytes().to_vec()).collect();
            expected.sort_unstable();
            assert_eq!(keys, expected);
            recount(tier);
        };
        check(&tier);
        tier.flush().unwrap();
        check(&tier);
        tier.close().unwrap();
        let tier = open(dir.path(), &config, &pools);
        check(&tier);
        tier.compaction().run_compaction(CompactionTask::CompactData, PATIENCE).unwrap();
        check(&tier);
        assert_eq!(tier.stats().swept_pieces, 0);
    }
}

#[test]
fn image_of_a_service_shows_long_values_whole() {
    let (_manager, pools) = pools();
    for codec in [CodecId::Raw, CodecId::Lz4] {
        let dir = tempfile::tempdir().unwrap();
        let tier = open(dir.path(), &small().codec(codec).build().unwrap(), &pools);
        for key in 0..9_u32 {
            tier.put(&key.to_le_bytes(), &value(key, 0, 20_000 * key as usize)).unwrap();
        }
        tier.close().unwrap();
        let image = Image::open(&dir.path().join("test/part-000.cold")).unwrap();
        assert_eq!(image.len(), 9);
        for key in 0..9_u32 {
            let found = image.get(&key.to_le_bytes(), image.clock_s()).unwrap();
            assert!(found == Some(value(key, 0, 20_000 * key as usize)), "{codec:?}, {key}");
        }
        let segments = 0..image.geometry().segment_count();
        assert!(segments.into_iter().all(|segment| image.examine(segment).unwrap().damage.is_empty()));
    }
}

#[test]
fn value_at_the_limit_is_taken_and_one_byte_more_is_not() {
    let (_manager, pools) = pools();
    let dir = tempfile::tempdir().unwrap();
    let config = raw().build().unwrap();
    let max = config.value_bytes_max();
    let tier = open(dir.path(), &config, &pools);
    let longest = value(1, 1, max as usize);
    tier.put(b"key", &longest).unwrap();
    assert!(tier.get(b"key").unwrap() == Some(longest));
    let refused = tier.put(b"key", &vec![0; max as usize + 1]);
    assert_eq!(refused, Err(PutError::ValueTooLong { bytes: max as usize + 1, max }));
}

#[test]
fn document_of_200_kib_fits_a_tier_of_16_mib() {
    let (_manager, pools) = pools();
    let dir = tempfile::tempdir().unwrap();
    let config = ColdTierConfig::builder().capacity_bytes(16 << 20).build().unwrap();
    assert!(config.value_bytes_max() >= 3 << 20, "{}", config.value_bytes_max());
    let tier = open(dir.path(), &config, &pools);
    for key in 0..20_u32 {
        tier.put(&key.to_le_bytes(), &value(key, 0, 200 << 10)).unwrap();
    }
    tier.close().unwrap();
    let tier = open(dir.path(), &config, &pools);
    for key in 0..20_u32 {
        assert!(tier.get(&key.to_le_bytes()).unwrap() == Some(value(key, 0, 200 << 10)));
    }
}

#[test]
fn value_of_64_mib_fits_a_tier_of_1_gib() {
    let (_manager, pools) = pools();
    let dir = tempfile::tempdir().unwrap();
    let config = ColdTierConfig::builder().op_timeout(PATIENCE).build().unwrap();
    assert_eq!(config.value_bytes_max(), 64 << 20);
    let tier = open(dir.path(), &config, &pools);
    let longest = value(1, 2, 64 << 20);
    tier.put(b"key", &longest).unwrap();
    tier.close().unwrap();
    let tier = open(dir.path(), &config, &pools);
    assert!(tier.get(b"key").unwrap() == Some(longest));
}

#[test]
fn replaced_and_removed_long_values_give_their_space_back() {
    let (_manager, pools) = pools();
    let dir = tempfile::tempdir().unwrap();
    let tier = open(dir.path(), &raw().build().unwrap(), &pools);
    tier.put(b"other", b"short").unwrap();
    tier.flush().unwrap();
    let before = tier.stats().charged_bytes;
    let mut swept = 0;
    for round in 0..600 {
        let long = value(1, round, 50_000 + round as usize * 16);
        tier.put(b"key", &long).unwrap();
        assert!(tier.get(b"key").unwrap() == Some(long));
        match round % 3 {
            0 => assert_eq!(tier.remove(b"key"), Ok(true)),
            1 => tier.put(b"key", b"short").unwrap(),
            _ => {}
        }
        swept += 12;
    }
    tier.remove(b"key").unwrap();
    until_swept(&tier, swept);
    until_charged(&tier, before);
    assert_eq!(tier.len(), Ok(1));
    tier.close().unwrap();
    let tier = open(dir.path(), &raw().build().unwrap(), &pools);
    assert_eq!((tier.len(), tier.get(b"key")), (Ok(1), Ok(None)));
    assert_eq!(tier.get(b"other"), Ok(Some(b"short".to_vec())));
}

#[test]
fn full_tier_refuses_a_long_value_whole() {
    let (_manager, pools) = pools();
    let dir = tempfile::tempdir().unwrap();
    let config = raw().value_bytes_max(500_000).build().unwrap();
    let tier = open(dir.path(), &config, &pools);
    let mut keys = 0_u32;
    let error = loop {
        match tier.put(&keys.to_le_bytes(), &value(keys, 0, 200_000)) {
            Ok(()) => keys += 1,
            Err(error) => break error,
        }
    };
    let PutError::Full { needed, available } = error else { panic!("{error}") };
    assert!(needed > 200_000 && needed < 230_000 && available < needed, "{error}");
    assert!(keys >= 10, "{keys}");
    recount(&tier);
    let overwritten = tier.put(&0_u32.to_le_bytes(), &value(0, 1, 150_000));
    let after = if overwritten.is_ok() { value(0, 1, 150_000) } else { value(0, 0, 200_000) };
    for key in 1..keys {
        assert!(tier.get(&key.to_le_bytes()).unwrap() == Some(value(key, 0, 200_000)));
    }
    assert!(tier.get(&0_u32.to_le_bytes()).unwrap() == Some(after));
    // Removed values give their space back before the next put is refused.
    for round in 1..20 {
        assert_eq!(tier.remove(&0_u32.to_le_bytes()), Ok(true), "{round}");
        tier.put(&0_u32.to_le_bytes(), &value(0, round, 200_000)).unwrap();
    }
    recount(&tier);
}

#[test]
fn evicting_tier_takes_long_values_without_end() {
    let (_manager, pools) = pools();
    let dir = tempfile::tempdir().unwrap();
    let config = raw().full(FullPolicy::Evict).build().unwrap();
    let tier = open(dir.path(), &config, &pools);
    for key in 0..60_u32 {
        tier.put(&key.to_le_bytes(), &value(key, 0, 100_000)).unwrap();
        for earlier in 0..=key {
            let found = tier.get(&earlier.to_le_bytes()).unwrap();
            assert!(found.is_none() || found == Some(value(earlier, 0, 100_000)), "{earlier}");
        }
    }
    let stats = tier.stats();
    assert!(stats.evicted_records > 10 && stats.swept_pieces > 100, "{stats:?}");
    assert!(stats.keys >= 12, "no more are evicted than have to be: {stats:?}");
    recount(&tier);
}

#[test]
fn expired_long_value_is_gone_with_its_pieces() {
    let (_manager, pools) = pools();
    let clock: &'static ManualClock = Box::leak(Box::new(ManualClock::new(1_000_000)));
    let dir = tempfile::tempdir().unwrap();
    let config = raw().clock(clock).build().unwrap();
    let tier = open(dir.path(), &config, &pools);
    tier.put_with_ttl(b"key", &value(1, 1, 60_000), Duration::from_secs(100)).unwrap();
    assert_eq!(tier.len(), Ok(1));
    clock.advance_s(99);
    assert!(tier.get(b"key").unwrap().is_some());
    clock.advance_s(3);
    assert_eq!((tier.get(b"key"), tier.contains(b"key")), (Ok(None), Ok(false)));
    tier.compaction().run_compaction(CompactionTask::CleanupExpired, PATIENCE).unwrap();
    until_swept(&tier, 15);
    until_charged(&tier, 0);
    assert_eq!(tier.stats().expired_records, 1);
}

#[test]
fn idle_time_ends_a_long_value_and_not_its_pieces_alone() {
    let (_manager, pools) = pools();
    let clock: &'static ManualClock = Box::leak(Box::new(ManualClock::new(1_000_000)));
    let dir = tempfile::tempdir().unwrap();
    let config = raw().clock(clock).idle(Duration::from_secs(100)).build().unwrap();
    let tier = open(dir.path(), &config, &pools);
    tier.put(b"key", &value(1, 1, 60_000)).unwrap();
    for _ in 0..5 {
        clock.advance_s(60);
        assert_eq!(tier.contains(b"key"), Ok(true));
        assert!(tier.get(b"key").unwrap() == Some(value(1, 1, 60_000)));
        tier.compaction().run_compaction(CompactionTask::CleanupExpired, PATIENCE).unwrap();
    }
    clock.advance_s(110);
    assert_eq!(tier.get(b"key"), Ok(None));
    tier.compaction().run_compaction(CompactionTask::CleanupExpired, PATIENCE).unwrap();
    until_swept(&tier, 15);
}

#[test]
fn keys_that_look_like_pieces_are_keys() {
    let (_manager, pools) = pools();
    let dir = tempfile::tempdir().unwrap();
    let config = raw().build().unwrap();
    let long = value(1, 1, 60_000);
    let name = |generation: u8, index: u8| [&[0xFF, b'c', b'p', generation, index, 0][..], b"key"].concat();
    let tier = open(dir.path(), &config, &pools);
    tier.put(b"key", &long).unwrap();
    for generation in 0..4 {
        for index in 0..20 {
            tier.put(&name(generation, index), &[generation, index]).unwrap();
        }
    }
    tier.put(&[0xFF, b'c', b'p'], &long).unwrap();
    tier.close().unwrap();
    let tier = open(dir.path(), &config, &pools);
    assert_eq!(tier.len(), Ok(82));
    assert!(tier.get(b"key").unwrap() == Some(long.clone()));
    assert!(tier.get(&[0xFF, b'c', b'p']).unwrap() == Some(long));
    tier.remove(b"key").unwrap();
    until_swept(&tier, 15);
    for generation in 0..4 {
        for index in 0..20 {
            assert_eq!(tier.get(&name(generation, index)), Ok(Some(vec![generation, index])));
        }
    }
}

#[test]
fn concurrent_writers_and_readers_see_whole_values_only() {
    let (_manager, pools) = pools();
    let dir = tempfile::tempdir().unwrap();
    let config = small().capacity_bytes(16 << 20).codec(CodecId::Raw).build().unwrap();
    let tier = open(dir.path(), &config, &pools);
    let len = |round: u32| if round.is_multiple_of(5) { 100 } else { 30_000 + round as usize * 1_000 };
    tier.put(b"key", &value(9, 0, len(0))).unwrap();
    std::thread::scope(|scope| {
        for writer in 0..3_u32 {
            let handle = tier.handle();
            scope.spawn(move || {
                for round in 0..60 {
                    let round = round * 3 + writer;
                    if round % 7 == 6 {
                        handle.remove(b"key").unwrap();
                    } else {
                        handle.put(b"key", &value(9, round, len(round))).unwrap();
                    }
                }
            });
        }
        for _ in 0..2 {
            let handle = tier.handle();
            scope.spawn(move || {
                for _ in 0..400 {
                    let Some(found) = handle.get(b"key").unwrap() else { continue };
                    let whole = (0..180).any(|round| found == value(9, round, len(round)));
                    assert!(whole, "{} bytes", found.len());
                }
            });
        }
    });
    assert!(tier.len().unwrap() <= 1);
    tier.remove(b"key").unwrap();
    until_charged(&tier, 0);
}

#[test]
fn pending_bytes_below_the_value_hold_nothing_up() {
    let (_manager, pools) = pools();
    let dir = tempfile::tempdir().unwrap();
    let config = raw().pending_bytes_max(1 << 16).build().unwrap();
    let tier = open(dir.path(), &config, &pools);
    let long = value(1, 1, 400_000);
    tier.put(b"key", &long).unwrap();
    assert!(tier.get(b"key").unwrap() == Some(long));
}

#[test]
fn failed_sync_of_pieces_leaves_the_old_value() {
    let (_manager, pools) = pools();
    let config = raw().op_timeout(Duration::from_secs(5)).build().unwrap();
    let double = Double::new(config.capacity_bytes());
    let tier = open_on(&double, &config, &pools);
    tier.put_with(b"key", &value(1, 0, 50_000), SYNCED).unwrap();
    let charged = tier.stats().charged_bytes;
    double.syncs_fail.store(1_000, SeqCst);
    // How many pieces it wrote before it failed depends on timing.
    assert!(matches!(tier.put(b"key", &value(1, 1, 60_000)), Err(PutError::Tier(_))));
    double.syncs_fail.store(0, SeqCst);
    assert!(tier.get(b"key").unwrap() == Some(value(1, 0, 50_000)));
    until_charged(&tier, charged);
    tier.put(b"key", &value(1, 2, 60_000)).unwrap();
    assert!(tier.get(b"key").unwrap() == Some(value(1, 2, 60_000)));
}

#[test]
fn cut_before_the_head_leaves_the_old_value_and_no_pieces() {
    let (_manager, pools) = pools();
    let config = raw().op_timeout(Duration::from_secs(1)).build().unwrap();
    for is_overwrite in [false, true] {
        let double = Double::new(config.capacity_bytes());
        let tier = open_on(&double, &config, &pools);
        tier.put_with(b"other", b"short", SYNCED).unwrap();
        if is_overwrite {
            tier.put_with(b"key", &value(1, 0, 20_000), SYNCED).unwrap();
        }
        double.holds_syncs.store(true, SeqCst);
        let buffered = PutOptions { durability: Some(Durability::Buffered), ..PutOptions::default() };
        assert!(tier.put_with(b"key", &value(1, 1, 30_000), buffered).is_err(), "it waits for the sync");
        let left = double.cut();
        double.holds_syncs.store(false, SeqCst);
        let reopened = open_on(&left, &config, &pools);
        let expected = is_overwrite.then(|| value(1, 0, 20_000));
        assert!(reopened.get(b"key").unwrap() == expected);
        assert_eq!(reopened.len(), Ok(1 + u64::from(is_overwrite)));
        until_swept(&reopened, 1);
        until_charged(&reopened, 25_000);
        assert!(reopened.get(b"key").unwrap() == expected);
        reopened.put(b"key", &value(1, 2, 70_000)).unwrap();
        assert!(reopened.get(b"key").unwrap() == Some(value(1, 2, 70_000)));
    }
}

#[test]
fn reader_overtaken_by_a_hot_value_reads_that_alone() {
    let (_manager, pools) = pools();
    let config = raw().streams(Streams::One).build().unwrap();
    let double = Double::new(config.capacity_bytes());
    let tier = open_on(&double, &config, &pools);
    tier.put_with(b"key", &value(1, 0, 12_000), SYNCED).unwrap();
    let handle = tier.handle();
    std::thread::scope(|scope| {
        // The reader has found the head, and waits for its record.
        double.holds_reads.store(true, SeqCst);
        let held = std::thread::Builder::new().name(HELD.to_owned());
        let reader = held.spawn_scoped(scope, move || handle.get(b"key").unwrap()).unwrap();
        eventually("the reader waits", || double.held_reads.load(SeqCst) == 1);
        // Nothing becomes durable, so the pieces stay; and another long value is begun, so they are in doubt.
        double.holds_syncs.store(true, SeqCst);
        tier.put_with(b"key", b"new", FLUSHED).unwrap();
        eventually("the new value is hot", || {
            assert_eq!(tier.get(b"key").unwrap(), Some(b"new".to_vec()));
            tier.stats().hot_hits > 0
        });
        let charged_bytes = tier.stats().charged_bytes;
        scope.spawn(move || handle.put(b"other", &value(2, 0, 12_000)).unwrap());
        eventually("it is begun", || tier.stats().charged_bytes >= charged_bytes + 12_000);
        double.holds_reads.store(false, SeqCst);
        let found = reader.join().unwrap().unwrap();
        double.holds_syncs.store(false, SeqCst);
        assert!(found == b"new", "{} bytes", found.len());
    });
}
