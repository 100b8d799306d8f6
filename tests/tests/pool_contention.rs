//! The pool worker makes progress while readers hammer the pools, and the readers wait little for it.

use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use core::time::Duration;
use std::thread;
use std::time::Instant;

use coldpress_std::pool::{
    AllocationManager, HotPools, PoolConfig, PoolError, emergency_cleanup, trigger_defragmentation,
};
use coldpress_tests::pools::key;

/// Longer than any step takes on a slow and busy machine.
const PATIENCE: Duration = Duration::from_secs(300);
const READERS: u64 = 4;
const VALUES: u64 = 600;
const VALUE_BYTES: usize = 64 << 10;

fn value(number: u64) -> Vec<u8> {
    vec![u8::try_from(number % 251).unwrap(); VALUE_BYTES]
}

/// Fills one partition, so that all threads meet at one lock, and scatters it.
fn scattered(hot: HotPools) {
    for number in 0..VALUES {
        assert!(hot.insert(key(number), 1, &value(number), None));
    }
    for number in (0..VALUES).filter(|number| number % 4 != 0) {
        assert!(hot.remove(key(number)));
    }
}

#[test]
fn hammered_pools_defragmentation_completes() {
    let builder = PoolConfig::builder().capacity_bytes(64 << 20).partitions(1);
    let config = builder.request_timeout(PATIENCE).build().unwrap();
    let (_manager, coordinator) = AllocationManager::new(&config).unwrap();
    let hot = coordinator.hot();
    scattered(hot);
    let before = hot.stats().unwrap();
    let (stop, reads, slow_reads) = (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(0));
    let (took, reclaimed_bytes) = thread::scope(|scope| {
        for reader in 0..READERS {
            let (stop, reads, slow_reads) = (&stop, &reads, &slow_reads);
            scope.spawn(move || {
                let mut copy = vec![0; VALUE_BYTES];
                let mut number = reader * 4;
                while !stop.load(Ordering::Relaxed) {
                    let started = Instant::now();
                    hot.read(key(number), 1, |bytes| copy.copy_from_slice(bytes)).unwrap();
                    let waited = started.elapsed();
                    slow_reads.fetch_add(u64::from(waited > Duration::from_millis(2)), Ordering::Relaxed);
                    // Readers spend next to no time outside the lock: that would starve the worker, if anything does.
                    let ends = [copy[0], copy[VALUE_BYTES / 2], copy[VALUE_BYTES - 1]];
                    assert!(ends.iter().all(|byte| u64::from(*byte) == number % 251), "I-POOL-1");
                    reads.fetch_add(1, Ordering::Relaxed);
                    number = (number + 4 * READERS) % VALUES;
                }
            });
        }
        while reads.load(Ordering::Relaxed) < 1_000 {
            thread::yield_now();
        }
        let started = Instant::now();
        let reclaimed_bytes = trigger_defragmentation(&coordinator);
        let took = started.elapsed();
        stop.store(true, Ordering::Relaxed);
        (took, reclaimed_bytes.unwrap())
    });
    let after = hot.stats().unwrap();
    let (reads, slow_reads) = (reads.into_inner(), slow_reads.into_inner());
    println!("{reclaimed_bytes} bytes in {took:?} beside {reads} reads, {slow_reads} of them above 2 ms");
    // Every slot is in use, except on the last page: the work was completed, and not merely begun.
    assert!(reclaimed_bytes >= 26 << 20, "{reclaimed_bytes}");
    assert_eq!(reclaimed_bytes, before.committed_bytes - after.committed_bytes, "I-POOL-2");
    assert_eq!(trigger_defragmentation(&coordinator), Ok(0));
    for number in (0..VALUES).step_by(4) {
        assert_eq!(hot.read(key(number), 1, <[u8]>::to_vec), Some(value(number)), "I-POOL-1");
    }
}

#[test]
fn mixed_threads_any_order_no_value_is_ever_wrong() {
    let builder = PoolConfig::builder().capacity_bytes(8 << 20).partitions(2);
    let (_manager, coordinator) = AllocationManager::new(&builder.build().unwrap()).unwrap();
    let hot = coordinator.hot();
    let hits = AtomicU64::new(0);
    let is_over = || hits.load(Ordering::Relaxed) >= 20_000;
    thread::scope(|scope| {
        for seed in 0..3u64 {
            let (hits, is_over) = (&hits, &is_over);
            scope.spawn(move || {
                let mut random = seed + 1;
                while !is_over() {
                    // A step of xorshift.
                    random ^= random << 13;
                    random ^= random >> 7;
                    random ^= random << 17;
                    let number = random % 500;
                    let stamp = (random >> 16) % 3;
                    let len = 100 + usize::try_from(number * 97 % 40_000).unwrap();
                    let fill = u8::try_from((number + stamp) % 251).unwrap();
                    if (random >> 40).is_multiple_of(4) {
                        let _ = hot.insert(key(number), stamp, &vec![fill; len], None);
                    } else if (random >> 40).is_multiple_of(23) {
                        hot.remove(key(number));
                    } else if let Some(whole) = hot.read(key(number), stamp, |bytes| {
                        bytes.len() == len && bytes.iter().all(|byte| *byte == fill)
                    }) {
                        // I-POOL-1
                        assert!(whole, "value {number}, stamp {stamp}");
                        hits.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
        scope.spawn(|| {
            while !is_over() {
                for outcome in [trigger_defragmentation(&coordinator), emergency_cleanup(&coordinator)] {
                    assert!(matches!(outcome, Ok(_) | Err(PoolError::TimedOut)), "{outcome:?}");
                }
            }
        });
    });
}
