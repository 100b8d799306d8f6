//! Expiry by lifetime and by idleness, on a clock that is set by hand.

use core::time::Duration;

use coldpress_std::clock::ManualClock;
use coldpress_std::{CodecId, ColdTier, CompactionTask, FullPolicy, PutError, PutOptions, Ttl};

use crate::common::{FLUSHED, PATIENCE, SYNCED, eventually, open, pools, recount, small, value};

const RUN: Duration = PATIENCE;

#[test]
fn value_past_its_lifetime_pending_or_written_is_gone() {
    static CLOCK: ManualClock = ManualClock::new(1_800_000_000);
    let dir = tempfile::tempdir().unwrap();
    let (_manager, pools) = pools();
    let config = small().clock(&CLOCK).flush_after(Duration::from_secs(60)).build().unwrap();
    let tier = open(dir.path(), &config, &pools);
    let ttl = Duration::from_secs(10);
    tier.put_with_ttl(b"pending", b"v", ttl).unwrap();
    assert!(tier.contains(b"pending").unwrap());
    // Never early: the clock may have been about to show the next second.
    CLOCK.advance_s(10);
    assert_eq!(tier.get(b"pending").unwrap(), Some(b"v".to_vec()));
    CLOCK.advance_s(10);
    assert_eq!((tier.get(b"pending").unwrap(), tier.contains(b"pending").unwrap()), (None, false));
    tier.put_with_ttl(b"written", b"v", ttl).unwrap();
    tier.put(b"stays", b"v").unwrap();
    tier.flush().unwrap();
    assert!(tier.contains(b"written").unwrap());
    drop(tier);
    let tier = open(dir.path(), &config, &pools);
    assert!(tier.contains(b"written").unwrap());
    CLOCK.advance_s(20);
    assert_eq!((tier.get(b"written").unwrap(), tier.get(b"stays").unwrap()), (None, Some(b"v".to_vec())));
    drop(tier);
    let tier = open(dir.path(), &config, &pools);
    assert_eq!((tier.get(b"written").unwrap(), tier.contains(b"stays").unwrap()), (None, true));
}

#[test]
fn clock_set_back_over_a_reopen_brings_nothing_back() {
    static CLOCK: ManualClock = ManualClock::new(1_800_000_000);
    let dir = tempfile::tempdir().unwrap();
    let (_manager, pools) = pools();
    let config = small().clock(&CLOCK).build().unwrap();
    let tier = open(dir.path(), &config, &pools);
    tier.put_with_ttl(b"a", b"v", Duration::from_secs(100)).unwrap();
    CLOCK.advance_s(3600);
    // A record of the time goes with the next write.
    tier.put_with(b"b", b"v", SYNCED).unwrap();
    drop(tier);
    CLOCK.set_s(1_800_000_000);
    let tier = open(dir.path(), &config, &pools);
    assert_eq!(tier.get(b"a").unwrap(), None);
    assert!(tier.contains(b"b").unwrap());
}

/// The bytes of the log.
fn log_bytes(dir: &std::path::Path) -> Vec<Vec<u8>> {
    let files = std::fs::read_dir(dir.join("test")).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = files.filter(|path| path.file_name().unwrap() != "LOCK").collect();
    files.sort();
    files.iter().map(|path| std::fs::read(path).unwrap()).collect()
}

#[test]
fn quiet_open_and_close_write_nothing_to_the_log() {
    static CLOCK: ManualClock = ManualClock::new(1_800_000_000);
    let dir = tempfile::tempdir().unwrap();
    let (_manager, pools) = pools();
    let config = small().clock(&CLOCK).build().unwrap();
    let tier = open(dir.path(), &config, &pools);
    tier.put_with_ttl(b"long", b"v", Duration::from_secs(50_000)).unwrap();
    tier.close().unwrap();
    let before = log_bytes(dir.path());
    CLOCK.advance_s(3_600);
    let tier = open(dir.path(), &config, &pools);
    assert!(tier.contains(b"long").unwrap());
    tier.close().unwrap();
    assert!(log_bytes(dir.path()) == before);
    CLOCK.advance_s(100_000);
    let config = small().clock(&CLOCK).read_only(true).build().unwrap();
    let reader = open(dir.path(), &config, &pools);
    assert_eq!(reader.get(b"long").unwrap(), None);
    reader.close().unwrap();
    assert!(log_bytes(dir.path()) == before, "a reader writes nothing");
}

#[test]
fn expired_records_cleaned_up_leave_the_index_and_the_charge() {
    static CLOCK: ManualClock = ManualClock::new(1_800_000_000);
    let dir = tempfile::tempdir().unwrap();
    let (_manager, pools) = pools();
    let config = small().clock(&CLOCK).ttl(Duration::from_secs(60)).build().unwrap();
    let tier = open(dir.path(), &config, &pools);
    for round in 0..2 {
        for key in 0..300u32 {
            tier.put(&key.to_le_bytes(), &value(key, round, 1000)).unwrap();
        }
        tier.flush().unwrap();
    }
    tier.put_with_ttl(b"long", b"v", Duration::from_secs(1000)).unwrap();
    tier.flush().unwrap();
    let before = tier.stats();
    CLOCK.advance_s(100);
    let report = tier.compaction().run_compaction(CompactionTask::CleanupExpired, RUN).unwrap();
    assert_eq!(report.expired_records, 300, "{report:?}");
    assert_eq!((tier.len().unwrap(), tier.stats().expired_records), (1, 300));
    assert!(tier.contains(b"long").unwrap());
    // Records with stale copies go with the segments of these.
    tier.compaction().run_compaction(CompactionTask::CompactData, RUN).unwrap();
    let after = tier.stats();
    assert!(after.charged_bytes < before.charged_bytes / 2, "{after:?}");
    assert_eq!(after.expired_records, 300);
    recount(&tier);
    drop(tier);
    let tier = open(dir.path(), &config, &pools);
    assert_eq!(tier.get(&5u32.to_le_bytes()).unwrap(), None);
    assert!(tier.contains(b"long").unwrap());
}

#[test]
fn value_put_without_end_outlives_the_configured_lifetime() {
    static CLOCK: ManualClock = ManualClock::new(1_800_000_000);
    let dir = tempfile::tempdir().unwrap();
    let (_manager, pools) = pools();
    let config = small().clock(&CLOCK).ttl(Duration::from_secs(60)).build().unwrap();
    let tier = open(dir.path(), &config, &pools);
    tier.put(b"configured", b"v").unwrap();
    for (key, ttl) in [(&b"never"[..], Ttl::Never), (b"longer", Ttl::After(Duration::from_secs(90)))] {
        tier.put_with(key, b"v", PutOptions { ttl, ..FLUSHED }).unwrap();
    }
    let there =
        |tier: &ColdTier| [&b"configured"[..], b"longer", b"never"].map(|key| tier.contains(key).unwrap());
    CLOCK.advance_s(75);
    assert_eq!(there(&tier), [false, true, true]);
    CLOCK.advance_s(30);
    assert_eq!(there(&tier), [false, false, true]);
    CLOCK.advance_s(100_000);
    tier.compaction().run_compaction(CompactionTask::CleanupExpired, RUN).unwrap();
    assert_eq!(tier.len(), Ok(1));
    drop(tier);
    assert_eq!(there(&open(dir.path(), &config, &pools)), [false, false, true]);
}

#[test]
fn idle_key_is_dropped_and_one_that_is_read_stays() {
    static CLOCK: ManualClock = ManualClock::new(1_800_000_000);
    let dir = tempfile::tempdir().unwrap();
    let (_manager, pools) = pools();
    let config = small().clock(&CLOCK).idle(Duration::from_secs(100)).build().unwrap();
    let tier = open(dir.path(), &config, &pools);
    tier.put_with(b"read", b"v", FLUSHED).unwrap();
    tier.put_with(b"idle", b"v", FLUSHED).unwrap();
    CLOCK.advance_s(60);
    assert!(tier.get(b"read").unwrap().is_some());
    CLOCK.advance_s(60);
    assert_eq!((tier.get(b"idle").unwrap(), tier.contains(b"read").unwrap()), (None, true));
    tier.compaction().run_compaction(CompactionTask::CleanupExpired, RUN).unwrap();
    eventually("the idle key is dropped", || tier.len().unwrap() == 1);
    assert!(tier.get(b"read").unwrap().is_some());
}

#[test]
fn clock_set_back_over_a_reopen_makes_no_key_idle() {
    static CLOCK: ManualClock = ManualClock::new(1_800_000_000);
    let dir = tempfile::tempdir().unwrap();
    let (_manager, pools) = pools();
    let config = small().clock(&CLOCK).idle(Duration::from_secs(3600)).build().unwrap();
    let tier = open(dir.path(), &config, &pools);
    tier.put_with(b"a", b"v", SYNCED).unwrap();
    drop(tier);
    CLOCK.set_s(1_800_000_000 - 7200);
    let tier = open(dir.path(), &config, &pools);
    assert!(tier.contains(b"a").unwrap(), "idleness restarts at open");
    tier.put_with(b"b", b"v", SYNCED).unwrap();
    tier.compaction().run_compaction(CompactionTask::CleanupExpired, RUN).unwrap();
    assert_eq!((tier.get(b"a").unwrap(), tier.contains(b"b").unwrap()), (Some(b"v".to_vec()), true));
    // The wall clock catches up with the tier's time, which went on from the last run, and passes it.
    CLOCK.set_s(1_800_000_000 + 3700);
    assert!(!tier.contains(b"a").unwrap());
}

#[test]
fn lifetime_out_of_bounds_is_refused_and_nothing_is_put() {
    let dir = tempfile::tempdir().unwrap();
    let (_manager, pools) = pools();
    let tier = open(dir.path(), &small().build().unwrap(), &pools);
    for ttl in [Duration::ZERO, Duration::from_secs(u64::from(u32::MAX)), Duration::MAX] {
        let refused = tier.put_with_ttl(b"a", b"v", ttl);
        assert!(matches!(refused, Err(PutError::Lifetime { max_s }) if max_s > 1 << 30), "{ttl:?}");
    }
    tier.put_with_ttl(b"b", b"v", Duration::from_millis(1)).unwrap();
    assert_eq!(tier.len().unwrap(), 1);
}

#[test]
fn clock_jump_while_running_is_refused_until_confirmed() {
    static CLOCK: ManualClock = ManualClock::new(1_800_000_000);
    const DAY_S: u32 = 24 * 3600;
    let (_manager, pools) = pools();
    let dir = tempfile::tempdir().unwrap();
    let day = Duration::from_secs(DAY_S.into());
    let builder = small().clock(&CLOCK).clock_jump_max(day).partitions(2).keep_hot_values(false);
    let config = builder.clone().build().unwrap();
    let tier = open(dir.path(), &config, &pools);
    for key in 0..20u32 {
        tier.put_with_ttl(&key.to_le_bytes(), b"v", day * 3).unwrap();
    }
    tier.flush().unwrap();
    CLOCK.set_s(1_800_000_000 + 10 * DAY_S);
    assert!(tier.get(&3u32.to_le_bytes()).unwrap().is_some(), "no client follows an absurd clock");
    tier.put_with_ttl(b"during", b"v", day).unwrap();
    eventually("the refusal is seen", || tier.stats().clock_refusals == 2);
    let refused_s = tier.stats().clock_refused_s.unwrap();
    assert!((9 * DAY_S..=10 * DAY_S).contains(&refused_s), "{refused_s}");
    assert!((0..20u32).all(|key| tier.contains(&key.to_le_bytes()).unwrap()));
    tier.confirm_clock().unwrap();
    eventually("the jump is taken over", || tier.stats().clock_refused_s.is_none());
    assert!((0..20u32).all(|key| !tier.contains(&key.to_le_bytes()).unwrap()));
    assert_eq!(tier.contains(b"during"), Ok(false), "it was put by the log's clock");
    tier.close().unwrap();

    // The same at an open: values stay, and one confirmation takes the jump, in the configuration of the next open or by a call
    // at any time.
    let config = builder.clone().confirm_clock(true).build().unwrap();
    let tier = open(dir.path(), &config, &pools);
    tier.put_with_ttl(b"kept", b"v", day).unwrap();
    tier.close().unwrap();
    CLOCK.advance_s(5 * DAY_S);
    let config = builder.build().unwrap();
    let tier = open(dir.path(), &config, &pools);
    assert!(tier.stats().clock_refused_s.is_some_and(|s| s >= 4 * DAY_S));
    assert!(tier.contains(b"kept").unwrap());
    tier.confirm_clock().unwrap();
    eventually("the jump is taken over", || tier.stats().clock_refused_s.is_none());
    assert!(!tier.contains(b"kept").unwrap());
}

/// The wall clock is ahead by [`AHEAD_S`] for a while, and is put right.
const AHEAD_S: u32 = 300 * 24 * 3600;

#[test]
fn clock_put_right_after_a_jump_lets_expiry_go_on() {
    static CLOCK: ManualClock = ManualClock::new(1_800_000_000);
    let dir = tempfile::tempdir().unwrap();
    let (_manager, pools) = pools();
    let config = small().clock(&CLOCK).build().unwrap();
    let tier = open(dir.path(), &config, &pools);
    CLOCK.advance_s(AHEAD_S);
    tier.put_with(b"ahead", b"v", SYNCED).unwrap();
    CLOCK.set_s(1_800_000_000);
    let ttl = |s| PutOptions { ttl: Ttl::After(Duration::from_secs(s)), ..SYNCED };
    tier.put_with(b"one", b"v", ttl(1)).unwrap();
    tier.put_with(b"later", b"v", ttl(600)).unwrap();
    eventually("it expires though the wall clock stands still", || !tier.contains(b"one").unwrap());
    assert!(tier.stats().clock_behind_s > AHEAD_S - 600);
    // The same after an open, and for values that a background task drops.
    drop(tier);
    let tier = open(dir.path(), &config, &pools);
    tier.put_with(b"two", b"v", ttl(1)).unwrap();
    eventually("it expires after an open, too", || !tier.contains(b"two").unwrap());
    tier.compaction().run_compaction(CompactionTask::CleanupExpired, RUN).unwrap();
    assert_eq!(tier.len(), Ok(2));
    // One call sets it right: from then on the time between two opens counts.
    tier.confirm_clock().unwrap();
    eventually("the clocks go together", || tier.stats().clock_behind_s == 0);
    tier.flush().unwrap();
    tier.close().unwrap();
    CLOCK.advance_s(700);
    let tier = open(dir.path(), &config, &pools);
    assert_eq!((tier.contains(b"later"), tier.contains(b"ahead")), (Ok(false), Ok(true)));
}

#[test]
fn service_whose_clock_is_lost_opens_and_goes_on() {
    static CLOCK: ManualClock = ManualClock::new(1_800_000_000);
    let dir = tempfile::tempdir().unwrap();
    let (_manager, pools) = pools();
    let config = small().clock(&CLOCK).build().unwrap();
    let tier = open(dir.path(), &config, &pools);
    tier.put_with(b"kept", b"v", SYNCED).unwrap();
    drop(tier);
    for wall_s in [0, 5] {
        CLOCK.set_s(wall_s);
        let tier = open(dir.path(), &config, &pools);
        assert_eq!((tier.contains(b"kept"), tier.stats().clock_refused_s), (Ok(true), None));
        tier.put_with_ttl(b"short", b"v", Duration::from_millis(1)).unwrap();
        assert!(tier.contains(b"short").unwrap(), "rounded up to a second");
        eventually("it expires", || !tier.contains(b"short").unwrap());
    }
}

// Without the rule: the wall clock shows whole seconds, and a lifetime of a second ends with the one that it began in.
#[test]
fn value_lives_as_long_as_it_was_put_for() {
    use std::time::Instant;
    let dir = tempfile::tempdir().unwrap();
    let (_manager, pools) = pools();
    let tier = open(dir.path(), &small().build().unwrap(), &pools);
    let handle = tier.handle();
    std::thread::scope(|scope| {
        for at in 0..20u32 {
            scope.spawn(move || {
                std::thread::sleep(Duration::from_millis(u64::from(at) * 97));
                let (key, ttl_ms) = (at.to_le_bytes(), [1_000, 1, 1_500, 999][at as usize % 4]);
                let put = Instant::now();
                handle.put_with_ttl(&key, b"v", Duration::from_millis(ttl_ms)).unwrap();
                // The lifetime begins within the put.
                let least = Duration::from_millis(ttl_ms.next_multiple_of(1_000));
                let mut last_seen = put;
                loop {
                    let asked = Instant::now();
                    if !handle.contains(&key).unwrap() {
                        assert!(put.elapsed() >= least, "{:?}", put.elapsed());
                        break;
                    }
                    last_seen = asked;
                    std::thread::sleep(Duration::from_millis(3));
                }
                let lived = last_seen - put;
                assert!(lived <= least + Duration::from_secs(2), "{lived:?}");
            });
        }
    });
}

/// Fills a tier with values that expire after a minute, all put twice; returns how many fit.
fn fill_for_a_minute(tier: &ColdTier) -> u32 {
    let ttl = Duration::from_secs(60);
    let put = |key: u32, round| tier.put_with_ttl(&key.to_le_bytes(), &value(key, round, 500), ttl);
    let taken = (0..).find(|key| put(*key, 0).is_err()).unwrap();
    for key in 0..taken {
        put(key, 1).unwrap();
    }
    tier.flush().unwrap();
    taken
}

// Without the rule: puts were refused for up to an interval of the background worker, and for ever without one.
#[test]
fn full_tier_takes_the_space_of_expired_values_at_once() {
    static CLOCK: ManualClock = ManualClock::new(1_800_000_000);
    let dir = tempfile::tempdir().unwrap();
    let (_manager, pools) = pools();
    let config = small().clock(&CLOCK).codec(CodecId::Raw).build().unwrap();
    let tier = open(dir.path(), &config, &pools);
    let taken = fill_for_a_minute(&tier);
    let refused = tier.put(b"one more", &value(0, 0, 500));
    assert!(matches!(refused, Err(PutError::Full { .. })), "{refused:?}");
    CLOCK.advance_s(70);
    for key in taken..taken * 19 / 10 {
        tier.put(&key.to_le_bytes(), &value(key, 0, 500))
            .unwrap_or_else(|e| panic!("{key} of {taken}: {e} {:?}", tier.stats()));
    }
    recount(&tier);
}

#[test]
fn eviction_takes_expired_values_before_any_other() {
    static CLOCK: ManualClock = ManualClock::new(1_800_000_000);
    let dir = tempfile::tempdir().unwrap();
    let (_manager, pools) = pools();
    let config = small().clock(&CLOCK).codec(CodecId::Raw).full(FullPolicy::Evict).build().unwrap();
    let tier = open(dir.path(), &config, &pools);
    let old = 1000u32;
    for key in 0..old {
        tier.put(&key.to_le_bytes(), &value(key, 0, 500)).unwrap();
    }
    let ttl = Duration::from_secs(60);
    for key in old..4 * old {
        tier.put_with_ttl(&key.to_le_bytes(), &value(key, 0, 500), ttl).unwrap();
    }
    tier.flush().unwrap();
    assert_eq!(tier.stats().evicted_records, 0);
    CLOCK.advance_s(70);
    for key in 4 * old..9 * old {
        tier.put(&key.to_le_bytes(), &value(key, 0, 500)).unwrap();
    }
    assert_eq!(tier.stats().evicted_records, 0, "{:?}", tier.stats());
    for key in (0..old).chain(4 * old..9 * old) {
        assert_eq!(tier.get(&key.to_le_bytes()).unwrap(), Some(value(key, 0, 500)), "{key}");
    }
    recount(&tier);
}
