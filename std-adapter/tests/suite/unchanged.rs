//! A put of the value that is stored already is skipped where that promises the same, and written where it does not.

use core::sync::atomic::Ordering::SeqCst;
use core::time::Duration;

use coldpress_std::clock::ManualClock;
use coldpress_std::{
    CodecId, ColdTier, ColdTierConfigBuilder, CompactionTask, Durability, FullPolicy, PutError, PutOptions,
    Ttl,
};

use crate::common::{FLUSHED, PATIENCE, SYNCED, eventually, open, open_on, pools, recount, small, value};
use crate::double::{Double, HELD};

/// The longest value here lies in 30 pieces or more.
const LENGTHS: [usize; 6] = [0, 1, 100, 3_000, 20_000, 120_000];

fn skipping() -> ColdTierConfigBuilder {
    small().codec(CodecId::Raw).skip_unchanged(true)
}

/// Puts, and returns whether the put was skipped; the value is there in any case.
fn is_skipped(tier: &ColdTier, key: &[u8], value: &[u8], options: PutOptions) -> bool {
    let before = tier.stats();
    tier.put_with(key, value, options).unwrap();
    let after = tier.stats();
    assert_eq!(after.puts - before.puts, 1);
    assert_eq!(after.bytes_put - before.bytes_put, (key.len() + value.len()) as u64);
    assert_eq!(tier.get(key).unwrap().as_deref(), Some(value));
    after.unchanged_puts - before.unchanged_puts == 1
}

fn buffered() -> PutOptions {
    PutOptions::default()
}

#[test]
fn unchanged_put_by_default_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let (_manager, pools) = pools();
    let tier = open(dir.path(), &small().build().unwrap(), &pools);
    assert!(!is_skipped(&tier, b"key", b"value", SYNCED));
    let encoded = tier.stats().fresh_bytes;
    assert!(!is_skipped(&tier, b"key", b"value", SYNCED));
    assert!(tier.stats().fresh_bytes > encoded);
}

#[test]
fn unchanged_put_writes_nothing_and_is_counted() {
    let codecs = [CodecId::Raw, CodecId::Lz4, CodecId::Zstd];
    for codec in codecs.into_iter().filter(|codec| *codec != CodecId::Zstd || cfg!(feature = "zstd")) {
        let (_manager, pools) = pools();
        let config = skipping().codec(codec).build().unwrap();
        let double = Double::new(config.capacity_bytes());
        let tier = open_on(&double, &config, &pools);
        let values: Vec<_> =
            LENGTHS.iter().map(|len| [vec![7; len / 2], value(1, 1, len / 2)].concat()).collect();
        for (key, value) in values.iter().enumerate() {
            assert!(!is_skipped(&tier, &[key as u8], value, SYNCED), "{codec}, {} bytes", value.len());
        }
        tier.flush().unwrap();
        let (writes, syncs) = (double.writes.load(SeqCst), double.syncs.load(SeqCst));
        for _ in 0..3 {
            for (key, value) in values.iter().enumerate() {
                for options in [buffered(), FLUSHED, SYNCED] {
                    assert!(
                        is_skipped(&tier, &[key as u8], value, options),
                        "{codec}, {} bytes",
                        value.len()
                    );
                }
            }
        }
        assert_eq!((double.writes.load(SeqCst), double.syncs.load(SeqCst)), (writes, syncs));
        let pairs: Vec<_> = values.iter().enumerate().map(|(key, value)| ([key as u8], value)).collect();
        let unchanged = tier.stats().unchanged_puts;
        tier.put_batch(&pairs, SYNCED).unwrap();
        assert_eq!(tier.stats().unchanged_puts - unchanged, LENGTHS.len() as u64);
        recount(&tier);
        tier.close().unwrap();
        // A record that the mount finds may stand for a put too.
        let tier = open_on(&double, &config, &pools);
        for (key, value) in values.iter().enumerate() {
            assert!(is_skipped(&tier, &[key as u8], value, SYNCED), "{codec}, reopened");
        }
    }
}

#[test]
fn put_of_another_value_is_written() {
    static CLOCK: ManualClock = ManualClock::new(1_800_000_000);
    let dir = tempfile::tempdir().unwrap();
    let (_manager, pools) = pools();
    let config = skipping().clock(&CLOCK);
    let tier = open(dir.path(), &config.clone().build().unwrap(), &pools);
    let lives = |s| PutOptions { ttl: Duration::from_secs(s).into(), durability: Some(Durability::Flushed) };
    for len in LENGTHS {
        let old = value(1, 0, len);
        assert!(!is_skipped(&tier, b"key", &old, FLUSHED));
        // Each byte counts: the first, the last, and one in the middle.
        for at in [0, len / 2, len.saturating_sub(1)].into_iter().filter(|at| *at < len) {
            let mut other = old.clone();
            other[at] ^= 1;
            assert!(!is_skipped(&tier, b"key", &other, FLUSHED), "{len} bytes, {at}");
            assert!(!is_skipped(&tier, b"key", &old, FLUSHED), "{len} bytes, {at}");
        }
        assert!(!is_skipped(&tier, b"key", &[&old[..], b"+"].concat(), FLUSHED));
        assert!(!is_skipped(&tier, b"key", &old, lives(5_000)), "{len} bytes, now with an expiry");
        // The time of the log goes on by itself: a second may end between two puts.
        eventually("a put in the same second is skipped", || is_skipped(&tier, b"key", &old, lives(5_000)));
        CLOCK.advance_s(500);
        assert!(!is_skipped(&tier, b"key", &old, lives(5_000)), "{len} bytes, later");
        eventually("so is a later one", || is_skipped(&tier, b"key", &old, lives(5_000)));
        assert!(!is_skipped(&tier, b"key", &old, FLUSHED), "{len} bytes, without expiry");
        assert!(!is_skipped(&tier, b"other key", &old, FLUSHED));
        tier.remove(b"other key").unwrap();
    }
    let same = [7; 2_000];
    assert!(!is_skipped(&tier, b"key", &same, FLUSHED));
    drop(tier);
    let tier = open(dir.path(), &config.codec(CodecId::Lz4).build().unwrap(), &pools);
    assert!(!is_skipped(&tier, b"key", &same, FLUSHED), "another codec");
    assert!(is_skipped(&tier, b"key", &same, FLUSHED));
}

#[test]
fn value_gone_meanwhile_is_written() {
    static CLOCK: ManualClock = ManualClock::new(1_800_000_000);
    let (_manager, pools) = pools();
    let config = skipping().clock(&CLOCK).full(FullPolicy::Evict).build().unwrap();
    let double = Double::new(config.capacity_bytes());
    let tier = open_on(&double, &config, &pools);
    let lives = PutOptions { ttl: Duration::from_secs(10).into(), durability: Some(Durability::Synced) };
    for len in LENGTHS {
        let old = value(2, 0, len);
        assert!(!is_skipped(&tier, b"removed", &old, SYNCED));
        assert!(tier.remove(b"removed").unwrap());
        assert!(!is_skipped(&tier, b"removed", &old, SYNCED), "{len} bytes");
        assert!(!is_skipped(&tier, b"expired", &old, lives));
        // The time of the log goes on by itself, and may be ahead of this clock.
        while tier.contains(b"expired").unwrap() {
            CLOCK.advance_s(20);
        }
        assert!(!is_skipped(&tier, b"expired", &old, lives), "{len} bytes");
        assert!(!is_skipped(&tier, b"evicted", &old, SYNCED));
        let mut filler = 0u32;
        while tier.contains(b"evicted").unwrap() {
            tier.put(&[b"filler", &filler.to_le_bytes()[..]].concat(), &value(filler, 0, 3_000)).unwrap();
            filler += 1;
        }
        assert!(!is_skipped(&tier, b"evicted", &old, SYNCED), "{len} bytes");
        let cut = open_on(&double.cut(), &config, &pools);
        assert_eq!(cut.get(b"evicted").unwrap(), Some(old));
    }
}

#[test]
fn unchanged_put_waits_for_the_durability_it_promises() {
    let (_manager, pools) = pools();
    let config = skipping().flush_after(PATIENCE).build().unwrap();
    let double = Double::new(config.capacity_bytes());
    let tier = open_on(&double, &config, &pools);
    tier.put(b"first", b"value").unwrap();
    tier.flush().unwrap();
    // The write and the sync of the stored record are both held up: the put waits for each.
    double.holds_writes.store(true, SeqCst);
    double.holds_syncs.store(true, SeqCst);
    tier.put(b"key", b"value").unwrap();
    let handle = tier.handle();
    std::thread::scope(|scope| {
        let put = |options| move || handle.put_with(b"key", b"value", options);
        let (flushed, synced) = (scope.spawn(put(FLUSHED)), scope.spawn(put(SYNCED)));
        eventually("a write is held", || double.held_writes.load(SeqCst) > 0);
        std::thread::sleep(Duration::from_millis(50));
        assert!(!flushed.is_finished() && !synced.is_finished());
        double.holds_writes.store(false, SeqCst);
        flushed.join().unwrap().unwrap();
        assert!(is_skipped(&tier, b"key", b"value", buffered()), "the record is in the log now");
        let late = scope.spawn(put(SYNCED));
        std::thread::sleep(Duration::from_millis(50));
        assert!(!synced.is_finished() && !late.is_finished());
        double.holds_syncs.store(false, SeqCst);
        synced.join().unwrap().unwrap();
        late.join().unwrap().unwrap();
    });
    assert_eq!(tier.stats().unchanged_puts, 4);
    let cut = open_on(&double.cut(), &config, &pools);
    assert_eq!(cut.get(b"key").unwrap(), Some(b"value".to_vec()));
}

/// A change of a key while a put of its value is compared with its record.
type Change = fn(&ColdTier);

#[test]
fn put_overtaken_while_it_is_compared_is_written() {
    static CLOCK: ManualClock = ManualClock::new(1_800_000_000);
    let (_manager, pools) = pools();
    let config = skipping().clock(&CLOCK).idle(Duration::from_secs(10)).keep_hot_values(false);
    let config = config.build().unwrap();
    let changes: [Change; 4] = [
        |tier| assert!(tier.remove(b"key").unwrap()),
        |tier| assert!(tier.remove_with(b"key", Durability::Synced).unwrap()),
        |tier| tier.put(b"key", b"other").unwrap(),
        |_| CLOCK.advance_s(20),
    ];
    for len in [100, 20_000] {
        for (number, change) in changes.into_iter().enumerate() {
            let double = Double::new(config.capacity_bytes());
            let tier = open_on(&double, &config, &pools);
            let old = value(5, 0, len);
            tier.put_with(b"key", &old, SYNCED).unwrap();
            double.holds_reads.store(true, SeqCst);
            let handle = tier.handle();
            std::thread::scope(|scope| {
                let put = || handle.put_with(b"key", &old, SYNCED);
                let put = std::thread::Builder::new().name(HELD.to_owned()).spawn_scoped(scope, put).unwrap();
                eventually("the put reads", || double.held_reads.load(SeqCst) > 0);
                change(&tier);
                double.holds_reads.store(false, SeqCst);
                put.join().unwrap().unwrap();
            });
            assert_eq!(tier.get(b"key").unwrap().as_ref(), Some(&old), "change {number}");
            assert_eq!(tier.stats().unchanged_puts, 0, "change {number}");
            let cut = open_on(&double.cut(), &config, &pools);
            assert_eq!(cut.get(b"key").unwrap(), Some(old), "change {number}");
        }
    }
}

#[test]
fn flush_behind_an_unchanged_put_covers_its_record() {
    let (_manager, pools) = pools();
    let config = skipping().flush_after(PATIENCE).build().unwrap();
    for first in [buffered(), FLUSHED] {
        let double = Double::new(config.capacity_bytes());
        let tier = open_on(&double, &config, &pools);
        tier.put_with(b"key", b"value", first).unwrap();
        let syncs = double.syncs.load(SeqCst);
        assert!(is_skipped(&tier, b"key", b"value", buffered()));
        tier.flush().unwrap();
        assert!(double.syncs.load(SeqCst) > syncs);
        let cut = open_on(&double.cut(), &config, &pools);
        assert_eq!(cut.get(b"key").unwrap(), Some(b"value".to_vec()));
    }
}

#[test]
fn damaged_record_is_written_anew() {
    let (_manager, pools) = pools();
    let config = skipping().keep_hot_values(true).build().unwrap();
    let double = Double::new(config.capacity_bytes());
    let tier = open_on(&double, &config, &pools);
    for len in [40, 3_000, 20_000, 120_000] {
        let whole = value(3, 0, len);
        assert!(!is_skipped(&tier, b"key", &whole, SYNCED));
        assert!(is_skipped(&tier, b"key", &whole, SYNCED), "the pools have the value now");
        assert!(double.damage(&whole[len - 20..]));
        assert!(!is_skipped(&tier, b"key", &whole, SYNCED), "{len} bytes");
        assert!(is_skipped(&tier, b"key", &whole, SYNCED));
        let cut = open_on(&double.cut(), &config, &pools);
        assert_eq!(cut.get(b"key").unwrap(), Some(whole));
    }
}

#[test]
fn value_of_before_a_failure_is_written_once_more() {
    let (_manager, pools) = pools();
    let config = skipping().build().unwrap();
    for (writes_fail, syncs_fail) in [(1, 0), (3, 0), (0, 1), (0, 3)] {
        let double = Double::new(config.capacity_bytes());
        double.failed_sync_loses.store(false, SeqCst);
        let tier = open_on(&double, &config, &pools);
        for len in LENGTHS {
            assert!(!is_skipped(&tier, &len.to_le_bytes(), &value(4, 0, len), SYNCED));
        }
        double.writes_fail.store(writes_fail, SeqCst);
        double.syncs_fail.store(syncs_fail, SeqCst);
        let mut failed = 0;
        eventually("the medium recovers", || {
            let result = tier.put_with(b"key", b"value", SYNCED);
            failed += u32::from(matches!(result, Err(PutError::Tier(_))));
            result.is_ok()
        });
        assert!(failed > 0);
        for len in LENGTHS {
            assert!(!is_skipped(&tier, &len.to_le_bytes(), &value(4, 0, len), SYNCED), "{len} bytes");
        }
        for len in LENGTHS {
            assert!(is_skipped(&tier, &len.to_le_bytes(), &value(4, 0, len), SYNCED), "{len} bytes");
        }
        let cut = open_on(&double.cut(), &config, &pools);
        assert_eq!(cut.get(b"key").unwrap(), Some(b"value".to_vec()));
        for len in LENGTHS {
            assert_eq!(cut.get(&len.to_le_bytes()).unwrap(), Some(value(4, 0, len)));
        }
    }
}

#[test]
fn synced_put_over_a_lost_record_is_durable_or_fails() {
    let (_manager, pools) = pools();
    let config = skipping().build().unwrap();
    let double = Double::new(config.capacity_bytes());
    let tier = open_on(&double, &config, &pools);
    tier.put_with(b"before", b"value", SYNCED).unwrap();
    tier.put_with(b"key", b"value", FLUSHED).unwrap();
    double.failed_sync_loses.store(true, SeqCst);
    double.syncs_fail.store(1, SeqCst);
    for _ in 0..20 {
        let is_durable = tier.put_with(b"key", b"value", SYNCED).is_ok();
        let cut = open_on(&double.cut(), &config, &pools);
        assert_eq!(cut.get(b"before").unwrap(), Some(b"value".to_vec()));
        assert!(!is_durable || cut.get(b"key").unwrap().is_some());
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn put_beside_unread_segments_is_written_until_they_are_read() {
    let (_manager, pools) = pools();
    let config = skipping().build().unwrap();
    let segment_bytes = u64::from(config.segment_bytes());
    let double = Double::new(config.capacity_bytes());
    let tier = open_on(&double, &config, &pools);
    for key in 0..200u32 {
        tier.put(&key.to_le_bytes(), &value(key, 0, 1_000)).unwrap();
    }
    tier.close().unwrap();
    let mut written = 0;
    for segment in 0..4 {
        let double = double.cut();
        *double.unread.lock().unwrap() = (segment * segment_bytes..(segment + 1) * segment_bytes, 0);
        let tier = open_on(&double, &config, &pools);
        *double.unread.lock().unwrap() = (0..0, 0);
        if tier.stats().found_quarantined_segments == 0 {
            continue;
        }
        for key in 0..100u32 {
            assert!(!is_skipped(&tier, &key.to_le_bytes(), &value(key, 0, 1_000), FLUSHED), "key {key}");
            written += 1;
        }
        tier.compaction().run_compaction(CompactionTask::RebuildIndex, PATIENCE).unwrap();
        eventually("the segments are free", || {
            is_skipped(&tier, &0u32.to_le_bytes(), &value(0, 0, 1_000), FLUSHED)
        });
    }
    assert!(written > 0);
}

#[test]
fn unchanged_put_counts_as_a_use_of_an_idle_key() {
    static CLOCK: ManualClock = ManualClock::new(1_800_000_000);
    let (_manager, pools) = pools();
    let config = skipping().clock(&CLOCK).idle(Duration::from_secs(1_000)).build().unwrap();
    let double = Double::new(config.capacity_bytes());
    let tier = open_on(&double, &config, &pools);
    for key in [b"kept", b"left"] {
        tier.put_with(key, b"value", SYNCED).unwrap();
    }
    for _ in 0..5 {
        CLOCK.advance_s(600);
        let unchanged = tier.stats().unchanged_puts;
        tier.put(b"kept", b"value").unwrap();
        assert_eq!(tier.stats().unchanged_puts - unchanged, 1);
        tier.compaction().run_compaction(CompactionTask::CleanupExpired, PATIENCE).unwrap();
        assert!(tier.contains(b"kept").unwrap());
    }
    assert!(!tier.contains(b"left").unwrap());
    CLOCK.advance_s(1_200);
    assert!(!is_skipped(&tier, b"kept", b"value", buffered()));
}

#[test]
fn unchanged_put_on_a_full_tier_needs_no_space() {
    for full in [FullPolicy::Reject, FullPolicy::Evict] {
        let dir = tempfile::tempdir().unwrap();
        let (_manager, pools) = pools();
        let tier = open(dir.path(), &skipping().full(full).build().unwrap(), &pools);
        let mut keys = 0u32;
        loop {
            let put = tier.put(&keys.to_le_bytes(), &value(keys, 0, 3_000));
            match put {
                Ok(()) if tier.stats().evicted_records == 0 => keys += 1,
                Ok(()) | Err(PutError::Full { .. }) => break,
                Err(error) => panic!("{error}"),
            }
        }
        tier.flush().unwrap();
        let evicted = tier.stats().evicted_records;
        let there: Vec<_> = (0..keys).filter(|key| tier.contains(&key.to_le_bytes()).unwrap()).collect();
        for key in &there {
            assert!(is_skipped(&tier, &key.to_le_bytes(), &value(*key, 0, 3_000), FLUSHED), "{full:?}");
        }
        assert_eq!(tier.stats().evicted_records, evicted);
        recount(&tier);
    }
}

#[test]
fn unchanged_value_moved_by_compaction_is_skipped() {
    let dir = tempfile::tempdir().unwrap();
    let (_manager, pools) = pools();
    let tier = open(dir.path(), &skipping().build().unwrap(), &pools);
    for round in 0..4 {
        for key in 0..400u32 {
            let round = if key % 4 == 0 { 0 } else { 2 * round };
            tier.put(&key.to_le_bytes(), &value(key, round, 1_000)).unwrap();
        }
        tier.flush().unwrap();
    }
    assert_eq!(tier.stats().unchanged_puts, 300);
    tier.compaction().run_compaction(CompactionTask::CompactData, PATIENCE).unwrap();
    assert!(tier.stats().relocated_bytes > 0);
    let lives = PutOptions { ttl: Ttl::Never, ..PutOptions::default() };
    for key in (0..400u32).step_by(4) {
        assert!(is_skipped(&tier, &key.to_le_bytes(), &value(key, 0, 1_000), lives), "key {key}");
    }
}
