//! A medium that fails: nothing is acknowledged falsely, nothing readable is lost, and it recovers by itself.

use core::sync::atomic::Ordering::SeqCst;
use core::time::Duration;

use coldpress_std::medium::MediumError;
use coldpress_std::{CloseError, Durability, PutError, TierError};

use crate::common::{FLUSHED, SYNCED, eventually, open_on, pools, recount, small, value};
use crate::double::Double;

#[test]
fn full_disk_refuses_puts_reads_go_on_and_space_revives_it() {
    let (_manager, pools) = pools();
    let config = small().build().unwrap();
    let double = Double::new(config.capacity_bytes());
    let tier = open_on(&double, &config, &pools);
    tier.put_with(b"old", b"v", SYNCED).unwrap();
    double.is_full.store(true, SeqCst);
    let failed = tier.put_with(b"lost?", b"v", FLUSHED);
    assert_eq!(failed, Err(PutError::Tier(TierError::Medium(MediumError::NoSpace.into()))));
    // Now and then a put is let through as a trial.
    eventually("puts are refused", || tier.put(b"next", b"v") == failed);
    assert_eq!(tier.get(b"old").unwrap(), Some(b"v".to_vec()));
    // A put that failed after it was taken stays readable, and is tried again.
    assert_eq!(tier.get(b"lost?").unwrap(), Some(b"v".to_vec()));
    double.is_full.store(false, SeqCst);
    eventually("puts are taken again", || tier.put_with(b"next", b"v", SYNCED).is_ok());
    recount(&tier);
    drop(tier);
    let tier = open_on(&double, &config, &pools);
    for key in [&b"old"[..], b"lost?", b"next"] {
        assert!(tier.contains(key).unwrap(), "{key:?}");
    }
}

// A put that is taken and whose write fails: the new value reads at once, and is written later. An open before that finds
// either value.
#[test]
fn failed_put_reads_as_old_or_new_and_an_open_finds_either() {
    let (_manager, pools) = pools();
    let config = small().build().unwrap();
    let options: [fn(&Double); 3] = [
        |double| double.is_full.store(true, SeqCst),
        |double| double.writes_fail.store(1, SeqCst),
        |double| double.syncs_fail.store(1, SeqCst),
    ];
    for (at, fails) in options.iter().enumerate() {
        for removes in [false, true] {
            let double = Double::new(config.capacity_bytes());
            let tier = open_on(&double, &config, &pools);
            let (old, new) = (value(1, 1, 900), Some(value(1, 2, 900)).filter(|_| !removes));
            tier.put_with(b"k", &old, SYNCED).unwrap();
            tier.put_with(b"other", b"v", SYNCED).unwrap();
            let mut failed = false;
            for _ in 0..50 {
                fails(double);
                failed = match &new {
                    Some(new) => tier.put_with(b"k", new, SYNCED).is_err(),
                    None => tier.remove_with(b"k", Durability::Synced).is_err(),
                };
                if failed {
                    break;
                }
                // Another operation failed.
                double.syncs_fail.store(0, SeqCst);
                eventually("it is put again", || tier.put_with(b"k", &old, SYNCED).is_ok());
            }
            assert!(failed, "failure {at} met no write");
            let cut = double.cut();
            let seen = tier.get(b"k").unwrap();
            assert!(seen == new || seen.as_ref() == Some(&old), "failure {at}: neither old nor new reads");
            assert_eq!(tier.get(b"other").unwrap(), Some(b"v".to_vec()));
            double.is_full.store(false, SeqCst);
            double.syncs_fail.store(0, SeqCst);
            eventually("all is durable", || tier.flush().is_ok());
            assert_eq!(tier.get(b"k").unwrap(), seen, "failure {at}: it changes no more");
            drop(tier);
            for (double, may_be) in [(cut, [Some(&old), new.as_ref()]), (double, [seen.as_ref(); 2])] {
                let tier = open_on(&double, &config, &pools);
                let found = tier.get(b"k").unwrap();
                assert!(may_be.contains(&found.as_ref()), "failure {at}: an open finds neither");
                assert_eq!(tier.get(b"other").unwrap(), Some(b"v".to_vec()));
                drop(tier);
                let tier = open_on(&double, &config, &pools);
                assert_eq!(tier.get(b"k").unwrap(), found, "failure {at}: the next open finds the same");
            }
        }
    }
}

#[test]
fn failed_sync_that_lost_pages_refuses_writes_until_reopen() {
    let (_manager, pools) = pools();
    let config = small().build().unwrap();
    let double = Double::new(config.capacity_bytes());
    let tier = open_on(&double, &config, &pools);
    tier.put_with(b"still", b"here", SYNCED).unwrap();
    tier.put_with(b"k", b"synced", SYNCED).unwrap();
    double.failed_sync_loses.store(true, SeqCst);
    let mut synced = b"synced".to_vec();
    for round in 0..100 {
        double.syncs_fail.store(1, SeqCst);
        let newer = value(1, round, 500);
        match tier.put_with(b"k", &newer, SYNCED) {
            // Another sync failed, before this write was appended.
            Ok(()) => synced = newer,
            Err(_) => break,
        }
    }
    double.syncs_fail.store(0, SeqCst);
    let refused = Err(PutError::Tier(TierError::NeedsReopen));
    eventually("writes are refused", || tier.put_with(b"other", b"v", SYNCED) == refused);
    assert_eq!(tier.put(b"other", b"v"), refused);
    assert_eq!(tier.flush(), Err(TierError::NeedsReopen));
    let stats = tier.stats();
    assert!(stats.needs_reopen);
    assert!(stats.sync_failures >= 1 && stats.failures >= stats.sync_failures, "{stats:?}");
    assert_eq!(tier.get(b"still").unwrap(), Some(b"here".to_vec()), "reads go on");
    drop(tier);
    // I-LOG-4: the write that was lost costs nothing of the synced one before it.
    let tier = open_on(&double, &config, &pools);
    assert_eq!(tier.get(b"k").unwrap(), Some(synced));
    assert!(!tier.stats().needs_reopen);
    tier.put_with(b"other", b"v", SYNCED).unwrap();
}

#[test]
fn failing_sync_fails_those_who_wait_and_the_next_one_holds() {
    let (_manager, pools) = pools();
    let config = small().build().unwrap();
    let double = Double::new(config.capacity_bytes());
    let tier = open_on(&double, &config, &pools);
    let (mut failures, mut round, mut there) = (0, 0, None);
    while failures <= 5 {
        round += 1;
        assert!(round < 1_000, "{failures} of {round} failures met a writer");
        double.syncs_fail.store(1, SeqCst);
        match tier.put_with(b"a", &value(1, round, 500), SYNCED) {
            // Another sync failed, before this write was appended.
            Ok(()) => there = Some(value(1, round, 500)),
            Err(error) => {
                assert_eq!(error, PutError::Tier(TierError::Medium(MediumError::Io.into())), "{round}");
                failures += 1;
            }
        }
        // A put that is refused so soon after a failure is not taken: a read tells.
        let found = tier.get(b"a").unwrap();
        assert!(found == Some(value(1, round, 500)) || found == there, "{round}");
        there = found;
        double.syncs_fail.store(0, SeqCst);
        eventually("a sync holds", || tier.put_with(b"b", &value(2, round, 500), SYNCED).is_ok());
    }
    eventually("all is durable", || tier.flush().is_ok());
    assert_eq!(tier.get(b"a").unwrap(), there);
    drop(tier);
    let tier = open_on(&double, &config, &pools);
    assert_eq!(tier.get(b"a").unwrap(), there);
    assert_eq!(tier.get(b"b").unwrap(), Some(value(2, round, 500)));
}

#[test]
fn failures_every_few_operations_lose_nothing_acknowledged() {
    let (_manager, pools) = pools();
    let config = small().capacity_bytes(2 << 20).build().unwrap();
    let double = Double::new(config.capacity_bytes());
    let tier = open_on(&double, &config, &pools);
    let mut acknowledged = [None; 40];
    for round in 0..2000u32 {
        match round % 37 {
            5 => double.writes_fail.store(1, SeqCst),
            17 => double.erases_fail.store(1, SeqCst),
            23 => double.syncs_fail.store(1, SeqCst),
            _ => {}
        }
        let key = round % 40;
        let bytes = value(key, round, 3000);
        let options = if round % 16 == 0 { SYNCED } else { FLUSHED };
        let outcome = tier.put_with(&key.to_le_bytes(), &bytes, options);
        match outcome {
            Ok(()) => acknowledged[key as usize] = Some(round),
            Err(PutError::Tier(TierError::Medium(_))) => {
                // It may be there or not; the next read tells.
                std::thread::sleep(Duration::from_millis(1));
                let found = tier.get(&key.to_le_bytes()).unwrap();
                if found == Some(bytes) {
                    acknowledged[key as usize] = Some(round);
                }
            }
            Err(error) => panic!("{round}: {error} {:?}", tier.stats()),
        }
    }
    eventually("all is durable", || tier.flush().is_ok());
    recount(&tier);
    tier.close().unwrap();
    let tier = open_on(&double, &config, &pools);
    for (key, round) in (0u32..).zip(acknowledged) {
        let expected = round.map(|round| value(key, round, 3000));
        assert!(tier.get(&key.to_le_bytes()).unwrap() == expected, "I-LOG-4: key {key}");
    }
}

#[test]
fn close_on_a_disk_that_stays_full_counts_the_lost_writes() {
    let (_manager, pools) = pools();
    let config = small().close_timeout(Duration::from_millis(300)).build().unwrap();
    let double = Double::new(config.capacity_bytes());
    let tier = open_on(&double, &config, &pools);
    tier.put_with(b"old", b"v", SYNCED).unwrap();
    double.is_full.store(true, SeqCst);
    assert!(tier.put_with(b"new", b"v", FLUSHED).is_err());
    let closed = tier.close();
    let error = Some(MediumError::NoSpace.into());
    assert!(
        matches!(&closed, Err(CloseError::Unwritten { writes: 1.., error: e }) if *e == error),
        "{closed:?}"
    );
    double.is_full.store(false, SeqCst);
    let tier = open_on(&double, &config, &pools);
    assert!(tier.contains(b"old").unwrap() && !tier.contains(b"new").unwrap());
}

#[test]
fn writers_that_wait_share_a_sync() {
    let (_manager, pools) = pools();
    let config = small().build().unwrap();
    let double = Double::new(config.capacity_bytes());
    let tier = open_on(&double, &config, &pools);
    tier.put_with(b"first", b"v", SYNCED).unwrap();
    let round = || {
        let (before, puts) = (double.syncs.load(SeqCst), tier.stats().puts);
        double.holds_syncs.store(true, SeqCst);
        std::thread::scope(|scope| {
            for thread in 0..32u32 {
                let handle = tier.handle();
                scope.spawn(move || handle.put_with(&thread.to_le_bytes(), b"v", SYNCED).unwrap());
            }
            eventually("all wait", || tier.stats().puts == puts + 32);
            // A writer that is counted may still have to send its message.
            std::thread::sleep(Duration::from_millis(50));
            double.holds_syncs.store(false, SeqCst);
        });
        double.syncs.load(SeqCst) - before
    };
    // Now and then, writers that a busy machine held up come too late.
    let syncs: Vec<_> = (0..10).map(|_| round()).take_while(|syncs| *syncs > 8).collect();
    assert!(syncs.len() < 10, "32 synced puts took so many syncs: {syncs:?}");
}

#[test]
fn deadline_passed_is_reported_and_the_write_holds_later() {
    let (_manager, pools) = pools();
    let config = small().op_timeout(Duration::from_millis(500)).build().unwrap();
    let double = Double::new(config.capacity_bytes());
    let tier = open_on(&double, &config, &pools);
    eventually("the first is put", || tier.put_with(b"first", b"v", SYNCED).is_ok());
    double.holds_syncs.store(true, SeqCst);
    assert_eq!(tier.put_with(b"slow", b"v", SYNCED), Err(PutError::Tier(TierError::TimedOut)));
    assert!(tier.contains(b"slow").unwrap());
    double.holds_syncs.store(false, SeqCst);
    eventually("the write is durable", || tier.flush().is_ok());
    assert!(open_on(&double.cut(), &config, &pools).contains(b"slow").unwrap());
}

#[test]
fn flush_after_a_failed_write_waits_until_that_is_on_the_medium() {
    let (_manager, pools) = pools();
    let config = small().build().unwrap();
    let double = Double::new(config.capacity_bytes());
    let tier = open_on(&double, &config, &pools);
    for round in 0..10u32 {
        eventually("puts are taken", || tier.put_with(b"other", b"v", SYNCED).is_ok());
        let key = round.to_le_bytes();
        // Else the write in the background might be over before the failure is set.
        double.holds_writes.store(true, SeqCst);
        tier.put(&key, b"accepted").unwrap();
        double.writes_fail.store(1, SeqCst);
        double.holds_writes.store(false, SeqCst);
        eventually("the write in the background failed", || double.writes_fail.load(SeqCst) == 0);
        tier.flush().unwrap();
        let after = open_on(&double.cut(), &config, &pools);
        assert_eq!(after.get(&key).unwrap(), Some(b"accepted".to_vec()), "I-LOG-4: round {round}");
    }
}

#[test]
fn flush_on_a_disk_that_stays_full_says_so() {
    let (_manager, pools) = pools();
    let config = small().build().unwrap();
    let double = Double::new(config.capacity_bytes());
    let tier = open_on(&double, &config, &pools);
    tier.put_with(b"old", b"v", SYNCED).unwrap();
    double.is_full.store(true, SeqCst);
    assert!(tier.put_with(b"new", b"v", FLUSHED).is_err());
    assert_eq!(tier.flush(), Err(TierError::Medium(MediumError::NoSpace.into())));
    assert_eq!(tier.flush_to(Durability::Flushed), Err(TierError::Medium(MediumError::NoSpace.into())));
    double.is_full.store(false, SeqCst);
    eventually("all is durable", || tier.flush().is_ok());
    assert!(open_on(&double.cut(), &config, &pools).contains(b"new").unwrap());
}

#[test]
fn flushed_put_undone_by_a_failed_sync_is_not_acknowledged() {
    let (_manager, pools) = pools();
    let config = small().build().unwrap();
    let double = Double::new(config.capacity_bytes());
    let tier = open_on(&double, &config, &pools);
    let handle = tier.handle();
    tier.put_with(b"first", b"v", SYNCED).unwrap();
    for round in 0..10u32 {
        let key = round.to_le_bytes();
        double.syncs_fail.store(1, SeqCst);
        std::thread::scope(|scope| {
            scope.spawn(move || handle.put_with(b"synced", b"v", SYNCED));
            std::thread::sleep(Duration::from_micros(u64::from(round) * 20));
            if handle.put_with(&key, b"v", FLUSHED).is_ok() {
                let after = open_on(&double.cut(), &config, &pools);
                assert!(after.contains(&key).unwrap(), "round {round}");
            }
        });
        double.syncs_fail.store(0, SeqCst);
        eventually("all is durable", || tier.flush().is_ok());
    }
}

#[test]
fn thousand_failed_writes_are_all_written_with_later_ones() {
    let (_manager, pools) = pools();
    let config = small().flush_after(Duration::from_secs(60)).build().unwrap();
    let double = Double::new(config.capacity_bytes());
    let tier = open_on(&double, &config, &pools);
    // A segment is open after this, so the write that fails is that of the records.
    tier.put(b"first", b"v").unwrap();
    tier.flush().unwrap();
    // The values are so short that all are in one write.
    for key in 0..1_000u32 {
        tier.put(&key.to_le_bytes(), b"old").unwrap();
    }
    double.writes_fail.store(1, SeqCst);
    assert!(tier.flush_to(Durability::Flushed).is_err());
    for key in 1_000..3_000u32 {
        eventually("the pause is over", || tier.put(&key.to_le_bytes(), b"new").is_ok());
    }
    tier.flush_to(Durability::Flushed).unwrap();
    recount(&tier);
    let after = open_on(&double.cut(), &config, &pools);
    for key in 0..3_000u32 {
        let expected = if key < 1_000 { b"old" } else { b"new" };
        assert_eq!(after.get(&key.to_le_bytes()), Ok(Some(expected.to_vec())), "{key}");
    }
}
