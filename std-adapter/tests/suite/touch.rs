//! Another lifetime for a value that is there, and how much of it is left.

use core::sync::atomic::Ordering::SeqCst;
use core::time::Duration;

use coldpress_std::clock::ManualClock;
use coldpress_std::{
    CodecId, CompactionTask, Durability, Expected, PutError, PutOptions, TimeLeft, Ttl, Update, UpdateError,
};

use crate::common::{PATIENCE, SYNCED, open, open_on, pools, recount, small, value};
use crate::double::Double;

fn seconds(left: Option<TimeLeft>) -> u64 {
    match left {
        Some(TimeLeft::For(left)) => left.as_secs(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn touched_value_lives_for_its_new_time_and_no_longer() {
    static CLOCK: ManualClock = ManualClock::new(1_800_000_000);
    let dir = tempfile::tempdir().unwrap();
    let (_manager, pools) = pools();
    let config = small().clock(&CLOCK).build().unwrap();
    for len in [0, 100, 3_000, 40_000] {
        for is_flushed in [false, true] {
            let tier = open(dir.path(), &config, &pools);
            let bytes = value(1, 0, len);
            tier.put_with_ttl(b"k", &bytes, Duration::from_secs(10)).unwrap();
            tier.put(b"for ever", &bytes).unwrap();
            if is_flushed {
                tier.flush().unwrap();
            }
            assert_eq!((seconds(tier.ttl(b"k").unwrap()), tier.ttl(b"none").unwrap()), (10, None));
            assert_eq!(tier.ttl(b"for ever").unwrap(), Some(TimeLeft::Forever));
            CLOCK.advance_s(6);
            assert!(tier.touch(b"k", Duration::from_secs(100).into()).unwrap());
            assert!(!tier.touch(b"none", Duration::from_secs(100).into()).unwrap());
            assert!(
                tier.touch_with(b"for ever", PutOptions { ttl: Duration::from_secs(50).into(), ..SYNCED })
                    .unwrap()
            );
            assert_eq!(seconds(tier.ttl(b"k").unwrap()), 100);
            CLOCK.advance_s(40);
            assert_eq!((seconds(tier.ttl(b"k").unwrap()), seconds(tier.ttl(b"for ever").unwrap())), (60, 10));
            tier.close().unwrap();
            let tier = open(dir.path(), &config, &pools);
            assert!(tier.get(b"k").unwrap().as_ref() == Some(&bytes), "{len} bytes");
            assert!(tier.get(b"for ever").unwrap().as_ref() == Some(&bytes), "{len} bytes");
            CLOCK.advance_s(12);
            assert_eq!(tier.get(b"for ever").unwrap(), None);
            assert!(!tier.touch(b"for ever", Ttl::Never).unwrap(), "what has expired is not brought back");
            assert!(tier.touch(b"k", Ttl::Never).unwrap() && tier.touch(b"k", Ttl::Configured).unwrap());
            CLOCK.advance_s(10_000);
            assert!(tier.get(b"k").unwrap().as_ref() == Some(&bytes));
            tier.compaction().run_compaction(CompactionTask::CleanupExpired, PATIENCE).unwrap();
            recount(&tier);
            tier.close().unwrap();
        }
    }
}

#[test]
fn touch_of_a_long_value_writes_its_head_only() {
    let (_manager, pools) = pools();
    let config = small().codec(CodecId::Raw).build().unwrap();
    let double = Double::new(config.capacity_bytes());
    let tier = open_on(&double, &config, &pools);
    let bytes = value(1, 0, 200_000);
    tier.put_with(b"k", &bytes, SYNCED).unwrap();
    let before = tier.stats();
    for _ in 0..10 {
        assert!(
            tier.touch_with(b"k", PutOptions { ttl: Duration::from_secs(600).into(), ..SYNCED }).unwrap()
        );
    }
    let after = tier.stats();
    assert_eq!((after.touches - before.touches, after.puts), (10, before.puts));
    let written = after.bytes_written - before.bytes_written;
    assert!(written < 10 * 200, "{written} bytes written");
    assert!(tier.get(b"k").unwrap() == Some(bytes));
    recount(&tier);
}

#[test]
fn cut_after_a_touch_leaves_the_value_and_one_of_its_lifetimes() {
    let (_manager, pools) = pools();
    let config = small().codec(CodecId::Raw).build().unwrap();
    for len in [100, 20_000] {
        let double = Double::new(config.capacity_bytes());
        let tier = open_on(&double, &config, &pools);
        let bytes = value(1, 0, len);
        tier.put_with(b"k", &bytes, SYNCED).unwrap();
        assert!(tier.touch(b"k", Duration::from_secs(600).into()).unwrap());
        let cut = open_on(&double.cut(), &config, &pools);
        assert!(cut.get(b"k").unwrap().as_ref() == Some(&bytes));
        drop(cut);
        tier.flush().unwrap();
        let cut = open_on(&double.cut(), &config, &pools);
        assert!(cut.get(b"k").unwrap().as_ref() == Some(&bytes));
        assert!(seconds(cut.ttl(b"k").unwrap()) > 590);
        // The pieces stay, however often what no head names is swept.
        for _ in 0..3 {
            cut.compaction().run_compaction(CompactionTask::CompactData, PATIENCE).unwrap();
            assert!(cut.get(b"k").unwrap().as_ref() == Some(&bytes));
        }
        recount(&cut);
    }
}

#[test]
fn touch_that_changes_nothing_writes_nothing() {
    let (_manager, pools) = pools();
    let config = small().build().unwrap();
    let double = Double::new(config.capacity_bytes());
    let tier = open_on(&double, &config, &pools);
    tier.put_with(b"k", b"v", SYNCED).unwrap();
    let writes = double.writes.load(SeqCst);
    assert!(tier.touch_with(b"k", PutOptions { ttl: Ttl::Never, ..SYNCED }).unwrap());
    assert_eq!((double.writes.load(SeqCst), tier.stats().touches), (writes, 0));
    let zero = tier.touch(b"k", Duration::ZERO.into());
    assert!(matches!(zero, Err(UpdateError::Put(PutError::Lifetime { .. }))), "{zero:?}");
    assert_eq!(tier.ttl(b"k").unwrap(), Some(TimeLeft::Forever));
}

#[test]
fn repeated_touch_is_as_durable_as_asked() {
    let (_manager, pools) = pools();
    let config = small().flush_after(PATIENCE).build().unwrap();
    for len in [100, 20_000] {
        let double = Double::new(config.capacity_bytes());
        let tier = open_on(&double, &config, &pools);
        let options = PutOptions { ttl: Duration::from_secs(600).into(), ..SYNCED };
        tier.put_with(b"k", &value(1, 0, len), options).unwrap();
        let never = |durability| PutOptions { ttl: Ttl::Never, durability: Some(durability) };
        assert!(tier.touch_with(b"k", never(Durability::Buffered)).unwrap());
        assert!(tier.touch_with(b"k", never(Durability::Synced)).unwrap());
        let cut = open_on(&double.cut(), &config, &pools);
        assert_eq!(cut.ttl(b"k").unwrap(), Some(TimeLeft::Forever), "{len} bytes");
        recount(&tier);
    }
}

#[test]
fn idle_time_counts_where_it_is_the_shorter_one() {
    static CLOCK: ManualClock = ManualClock::new(1_800_000_000);
    let dir = tempfile::tempdir().unwrap();
    let (_manager, pools) = pools();
    let config = small().clock(&CLOCK).idle(Duration::from_secs(100)).build().unwrap();
    let tier = open(dir.path(), &config, &pools);
    tier.put(b"k", b"v").unwrap();
    CLOCK.advance_s(60);
    assert_eq!(seconds(tier.ttl(b"k").unwrap()), 40);
    assert_eq!(seconds(tier.ttl(b"k").unwrap()), 40, "to ask is no read");
    assert!(tier.touch(b"k", Duration::from_secs(30).into()).unwrap());
    assert_eq!(seconds(tier.ttl(b"k").unwrap()), 30);
    assert!(tier.touch(b"k", Ttl::Never).unwrap());
    assert_eq!(seconds(tier.ttl(b"k").unwrap()), 100);
}

#[test]
fn put_that_keeps_the_lifetime_expires_when_the_old_value_would() {
    static CLOCK: ManualClock = ManualClock::new(1_800_000_000);
    let dir = tempfile::tempdir().unwrap();
    let (_manager, pools) = pools();
    let config = small().clock(&CLOCK).ttl(Duration::from_secs(1_000)).build().unwrap();
    let tier = open(dir.path(), &config, &pools);
    let keep = PutOptions { ttl: Ttl::Keep, ..PutOptions::default() };
    for len in [10, 3_000, 40_000] {
        tier.put_with(b"new", &value(0, 0, len), keep).unwrap();
        assert_eq!(seconds(tier.ttl(b"new").unwrap()), 1_000, "as configured, where there is no value");
        tier.put_with_ttl(b"k", b"v", Duration::from_secs(100)).unwrap();
        for n in 1..5u32 {
            CLOCK.advance_s(20);
            let bytes = value(n, 0, len);
            match n {
                1 => tier.put_with(b"k", &bytes, keep).unwrap(),
                2 => tier.put_batch(&[(b"k", &bytes)], PutOptions { ttl: Ttl::Keep, ..SYNCED }).unwrap(),
                3 => assert!(tier.compare_and_swap(b"k", Expected::Present, &bytes, keep).unwrap()),
                _ => drop(tier.update(b"k", keep, |_| Update::Put(bytes.clone())).unwrap()),
            }
            assert!(tier.touch(b"k", Ttl::Keep).unwrap());
            assert_eq!(seconds(tier.ttl(b"k").unwrap()), u64::from(100 - 20 * n), "{len} bytes");
            assert!(tier.get(b"k").unwrap() == Some(bytes));
        }
        CLOCK.advance_s(21);
        assert_eq!(tier.get(b"k").unwrap(), None);
        tier.put_with(b"k", b"v", PutOptions { ttl: Ttl::Never, ..SYNCED }).unwrap();
        tier.put_with(b"k", b"w", keep).unwrap();
        assert_eq!(tier.ttl(b"k").unwrap(), Some(TimeLeft::Forever));
        tier.clear().unwrap();
    }
    recount(&tier);
}
