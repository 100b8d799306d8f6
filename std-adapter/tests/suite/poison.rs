//! A worker that dies poisons the tier: every client gets an error, and none hangs.

use core::sync::atomic::Ordering::SeqCst;
use core::time::Duration;
use std::time::Instant;

use coldpress_std::{CloseError, ColdTier, CompactionTask, GetError, PutError, RemoveError, TierError};

use crate::common::{FLUSHED, PATIENCE, SYNCED, eventually, open_on, pools, small, value};
use crate::double::Double;

/// Far longer than an error takes to reach a client.
const TIMEOUT: Duration = Duration::from_secs(300);
const POISONED: TierError = TierError::Poisoned;

fn check_poisoned(tier: ColdTier) {
    let begun = Instant::now();
    eventually("the tier is poisoned", || !tier.is_open());
    assert_eq!(tier.put(b"new", b"v"), Err(PutError::Tier(POISONED)));
    assert_eq!(tier.get(b"old"), Err(GetError::Tier(POISONED)));
    assert_eq!(tier.contains(b"old"), Err(GetError::Tier(POISONED)));
    assert_eq!(tier.remove(b"old"), Err(RemoveError::Tier(POISONED)));
    assert_eq!((tier.flush(), tier.segments().unwrap_err()), (Err(POISONED), POISONED));
    assert!(tier.compaction().schedule_compaction(CompactionTask::CompactData).is_err());
    assert_eq!(tier.close(), Err(CloseError::Poisoned));
    assert!(begun.elapsed() < TIMEOUT, "nobody waits for a deadline");
}

#[test]
fn worker_that_dies_in_a_write_fails_all_waiters() {
    let (_manager, pools) = pools();
    let config = small().op_timeout(TIMEOUT).build().unwrap();
    let double = Double::new(config.capacity_bytes());
    let tier = open_on(&double, &config, &pools);
    tier.put_with(b"old", b"v", SYNCED).unwrap();
    double.panics_on_write.store(true, SeqCst);
    let begun = Instant::now();
    std::thread::scope(|scope| {
        for thread in 0..4u32 {
            let handle = tier.handle();
            scope.spawn(move || {
                let options = if thread % 2 == 0 { FLUSHED } else { SYNCED };
                assert_eq!(
                    handle.put_with(&thread.to_le_bytes(), b"v", options),
                    Err(PutError::Tier(POISONED))
                );
            });
        }
    });
    assert!(begun.elapsed() < TIMEOUT, "nobody waits for a deadline");
    check_poisoned(tier);
    double.panics_on_write.store(false, SeqCst);
    let tier = open_on(&double, &config, &pools);
    assert_eq!(tier.get(b"old").unwrap(), Some(b"v".to_vec()), "I-LOG-4");
}

#[test]
fn syncer_that_dies_fails_all_waiters() {
    let (_manager, pools) = pools();
    let config = small().op_timeout(TIMEOUT).build().unwrap();
    let double = Double::new(config.capacity_bytes());
    let tier = open_on(&double, &config, &pools);
    tier.put_with(b"old", b"v", SYNCED).unwrap();
    double.panics_on_sync.store(true, SeqCst);
    assert_eq!(tier.put_with(b"b", b"v", SYNCED), Err(PutError::Tier(POISONED)));
    check_poisoned(tier);
    double.panics_on_sync.store(false, SeqCst);
    assert!(open_on(&double, &config, &pools).contains(b"old").unwrap());
}

#[test]
fn worker_that_dies_fails_clients_that_wait_for_space() {
    let (_manager, pools) = pools();
    let config = small().pending_bytes_max(1 << 16).op_timeout(TIMEOUT).build().unwrap();
    let double = Double::new(config.capacity_bytes());
    let tier = open_on(&double, &config, &pools);
    std::thread::scope(|scope| {
        for thread in 0..3u32 {
            let handle = tier.handle();
            scope.spawn(move || {
                for round in 0.. {
                    if let Err(error) = handle.put(&thread.to_le_bytes(), &value(thread, round, 9000)) {
                        assert_eq!(error, PutError::Tier(POISONED));
                        break;
                    }
                }
            });
        }
        std::thread::sleep(Duration::from_millis(30));
        double.panics_on_write.store(true, SeqCst);
    });
    check_poisoned(tier);
}

#[test]
fn worker_that_dies_during_a_stuck_sync_answers_all_waiters() {
    let (_manager, pools) = pools();
    let config = small().op_timeout(PATIENCE).build().unwrap();
    let double = Double::new(config.capacity_bytes());
    let tier = open_on(&double, &config, &pools);
    tier.put_with(b"old", b"v", SYNCED).unwrap();
    double.holds_syncs.store(true, SeqCst);
    std::thread::scope(|scope| {
        let syncs = double.syncs.load(SeqCst);
        let waits = scope.spawn(|| tier.put_with(b"a", b"v", SYNCED));
        eventually("its sync is stuck", || double.syncs.load(SeqCst) > syncs);
        double.panics_on_write.store(true, SeqCst);
        assert_eq!(tier.put_with(b"b", b"v", FLUSHED), Err(PutError::Tier(POISONED)));
        assert_eq!(waits.join().unwrap(), Err(PutError::Tier(POISONED)));
        assert!(!tier.is_open());
    });
    double.holds_syncs.store(false, SeqCst);
    check_poisoned(tier);
}
