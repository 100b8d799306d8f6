//! Clients that wait for an answer of a worker that gives none: a deadline, a close, a death and a lost file each end the wait.

use core::sync::atomic::Ordering::SeqCst;
use core::time::Duration;
use std::time::Instant;

use coldpress_std::{
    ColdTier, ColdTierHandle, CompactionError, CompactionTask, PutError, RemoveError, TierError,
};

use crate::common::{FLUSHED, PATIENCE, SYNCED, block_on, eventually, open_on, pools, small};
use crate::double::Double;

/// So long that a test fails which waits for it.
const NEVER: Duration = Duration::from_secs(3600);

/// The kinds of waits for a worker.
type Wait = fn(ColdTierHandle) -> Result<(), TierError>;

fn put(result: Result<(), PutError>) -> Result<(), TierError> {
    result.map_err(|error| match error {
        PutError::Tier(error) => error,
        // The other put of the same key has it.
        PutError::Busy => TierError::TimedOut,
        error => panic!("{error}"),
    })
}

fn task(result: Result<(), CompactionError>) -> Result<(), TierError> {
    result.map_err(|error| if let CompactionError::Tier(error) = error { error } else { panic!("{error}") })
}

const WAITS: [Wait; 13] = [
    |tier| put(tier.put_with(b"flushed", b"v", FLUSHED)),
    |tier| put(tier.put_with(b"synced", b"v", SYNCED)),
    |tier| put(tier.put_with(b"long", &[7; 100_000], SYNCED)),
    |tier| put(tier.put_with(b"long", &[8; 100_000], SYNCED)),
    |tier| tier.flush(),
    |tier| tier.segments().map(|_| ()),
    |tier| task(tier.compaction().run_compaction(CompactionTask::RebuildIndex, NEVER).map(|_| ())),
    |tier| put(block_on(tier.put_with_async(b"flushed", b"w", FLUSHED))),
    |tier| put(block_on(tier.put_with_async(b"synced", b"w", SYNCED))),
    |tier| put(block_on(tier.put_with_async(b"long", &[9; 100_000], SYNCED))),
    |tier| put(block_on(tier.put_with_async(b"longer", &[9; 100_000], SYNCED))),
    |tier| block_on(tier.flush_async()),
    |tier| {
        let system = tier.compaction();
        task(block_on(system.run_compaction_async(CompactionTask::RebuildIndex, NEVER)).map(|_| ()))
    },
];

/// The one of these that takes no write.
const SEGMENTS: usize = 5;

/// Lets clients wait of which none gets an answer before `end`, and all this one soon after it.
fn all_end(tier: &ColdTier, waits: &[Wait], end: impl FnOnce(), expected: &TierError) {
    let handle = tier.handle();
    std::thread::scope(|scope| {
        let waiting: Vec<_> = waits.iter().map(|wait| scope.spawn(move || wait(handle))).collect();
        std::thread::sleep(Duration::from_millis(100));
        assert!(waiting.iter().all(|waiting| !waiting.is_finished()), "nobody is answered");
        let begun = Instant::now();
        end();
        for (at, waiting) in waiting.into_iter().enumerate() {
            assert_eq!(waiting.join().unwrap(), Err(expected.clone()), "wait {at}");
        }
        assert!(begun.elapsed() < PATIENCE);
    });
}

/// A worker that is stuck in a write, with a syncer that is stuck as well.
fn stick(double: &'static Double, tier: &ColdTier) {
    // A segment is open from then on, so that a write need not wait for a sync.
    tier.put_with(b"old", b"v", SYNCED).unwrap();
    double.holds_syncs.store(true, SeqCst);
    let (syncs, handle) = (double.syncs.load(SeqCst), tier.handle());
    std::thread::spawn(move || handle.put_with(b"a", b"v", SYNCED));
    eventually("a sync is stuck", || double.syncs.load(SeqCst) > syncs);
    double.holds_writes.store(true, SeqCst);
    std::thread::spawn(move || handle.put_with(b"b", b"v", FLUSHED));
    eventually("a write is stuck", || double.held_writes.load(SeqCst) == 1);
}

#[test]
fn unanswered_waits_end_at_their_deadline() {
    let (_manager, pools) = pools();
    let config = small().op_timeout(Duration::from_millis(300)).build().unwrap();
    let double = Double::new(config.capacity_bytes());
    let tier = open_on(&double, &config, &pools);
    stick(double, &tier);
    all_end(&tier, &WAITS, || (), &TierError::TimedOut);
    double.holds_writes.store(false, SeqCst);
    double.holds_syncs.store(false, SeqCst);
    tier.close().unwrap();
}

#[test]
fn worker_that_dies_ends_all_waits_in_its_queue() {
    let (_manager, pools) = pools();
    let config = small().op_timeout(NEVER).build().unwrap();
    let double = Double::new(config.capacity_bytes());
    let tier = open_on(&double, &config, &pools);
    stick(double, &tier);
    let die = || {
        double.panics_on_write.store(true, SeqCst);
        double.holds_writes.store(false, SeqCst);
    };
    // The syncer stays stuck, and the worker's thread with it.
    all_end(&tier, &WAITS, die, &TierError::Poisoned);
    double.holds_syncs.store(false, SeqCst);
}

#[test]
fn lost_file_ends_all_waits_in_its_queue() {
    let (_manager, pools) = pools();
    let config = small().op_timeout(NEVER).build().unwrap();
    let double = Double::new(config.capacity_bytes());
    let tier = open_on(&double, &config, &pools);
    stick(double, &tier);
    let lose = || {
        double.is_lost.store(true, SeqCst);
        double.writes_fail.store(1, SeqCst);
        double.holds_writes.store(false, SeqCst);
    };
    // Questions that need no write are answered all the same.
    let waits: Vec<_> = (0..WAITS.len()).filter(|at| *at != SEGMENTS).map(|at| WAITS[at]).collect();
    all_end(&tier, &waits, lose, &TierError::FileLost);
    double.holds_syncs.store(false, SeqCst);
}

#[test]
fn close_with_a_stuck_syncer_ends_all_waits() {
    let (_manager, pools) = pools();
    let config = small().op_timeout(NEVER).close_timeout(Duration::from_millis(300)).build().unwrap();
    let double = Double::new(config.capacity_bytes());
    let tier = open_on(&double, &config, &pools);
    tier.put_with(b"old", b"v", SYNCED).unwrap();
    double.holds_syncs.store(true, SeqCst);
    let (syncs, handle) = (double.syncs.load(SeqCst), tier.handle());
    std::thread::scope(|scope| {
        let stuck = scope.spawn(move || put(handle.put_with(b"a", b"v", SYNCED)));
        eventually("a sync is stuck", || double.syncs.load(SeqCst) > syncs);
        // A flush before that would find everything durable.
        let behind = scope.spawn(move || handle.flush());
        assert!(tier.close().is_err());
        for wait in [stuck, behind] {
            assert_eq!(wait.join().unwrap(), Err(TierError::Closed));
        }
    });
    double.holds_syncs.store(false, SeqCst);
}

#[test]
fn lost_file_ends_the_waits_in_another_partition() {
    let (_manager, pools) = pools();
    let config = small().partitions(2).pending_bytes_max(1 << 16).op_timeout(NEVER).build().unwrap();
    let doubles = [(); 2].map(|()| Double::new(config.capacity_bytes() / 2));
    let media = doubles.iter().map(|double| Box::new(*double) as _).collect();
    let tier = ColdTier::open_with(media, config, pools.clone()).unwrap();
    let handle = tier.handle();
    for key in 0..8u32 {
        tier.put_with(&key.to_le_bytes(), b"v", SYNCED).unwrap();
    }
    doubles[0].holds_writes.store(true, SeqCst);
    std::thread::scope(|scope| {
        let fill = |thread: u32| {
            let keys = (0..).map(move |key: u32| [thread.to_le_bytes(), key.to_le_bytes()].concat());
            keys.map(|key| handle.put(&key, b"v")).find_map(Result::err)
        };
        // Each of them comes to wait for the first partition, sooner or later.
        let fills: Vec<_> = (0..2).map(|thread| scope.spawn(move || fill(thread))).collect();
        eventually("a write is stuck", || doubles[0].held_writes.load(SeqCst) == 1);
        std::thread::sleep(Duration::from_millis(100));
        assert!(fills.iter().all(|fill| !fill.is_finished()));
        let begun = Instant::now();
        doubles[1].is_lost.store(true, SeqCst);
        let is_second =
            |key: &u32| tier.remove(&key.to_le_bytes()) == Err(RemoveError::Tier(TierError::FileLost));
        eventually("it is lost", || !tier.is_open());
        assert!((0..8).all(|key| is_second(&key)));
        for fill in fills {
            assert_eq!(fill.join().unwrap(), Some(PutError::Tier(TierError::FileLost)));
        }
        assert!(begun.elapsed() < PATIENCE);
    });
    doubles[0].holds_writes.store(false, SeqCst);
}
