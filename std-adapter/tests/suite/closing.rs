//! A close that can't wait for the end of its workers.

use core::sync::atomic::{AtomicBool, AtomicU32, Ordering::SeqCst};
use core::time::Duration;
use std::thread::Builder;
use std::time::Instant;

use coldpress_std::clock::Clock;
use coldpress_std::{CloseError, PutError, RemoveError, TierError};

use crate::common::{PATIENCE, SYNCED, eventually, open_on, pools, small, value};
use crate::double::{Double, HELD};

#[test]
fn worker_stuck_beyond_its_close_writes_nothing_more() {
    let (_manager, pools) = pools();
    let config =
        small().op_timeout(Duration::from_secs(1)).close_timeout(Duration::from_millis(50)).build().unwrap();
    let double = Double::new(config.capacity_bytes());
    let tier = open_on(&double, &config, &pools);
    double.holds_writes.store(true, SeqCst);
    // While the worker is stuck nobody allocates blocks, so the number of further puts that find some depends on timing.
    let put = |key: u32| tier.put(&key.to_le_bytes(), &value(key, 0, 3_000));
    let taken = (0..600).take_while(|key| put(*key).is_ok()).count();
    assert!(taken > 0);
    eventually("a write is stuck", || double.held_writes.load(SeqCst) == 1);
    let writes = double.writes.load(SeqCst);
    assert_eq!(tier.close(), Err(CloseError::TimedOut));
    double.holds_writes.store(false, SeqCst);
    eventually("it came loose", || double.held_writes.load(SeqCst) == 0);
    std::thread::sleep(Duration::from_millis(100));
    assert_eq!(double.writes.load(SeqCst), writes);
    // The stuck worker is not in the way of the next tier.
    let tier = open_on(&double, &small().build().unwrap(), &pools);
    tier.put_with(b"new", b"v", SYNCED).unwrap();
    tier.close().unwrap();
}

/// A clock of a service that holds threads with the name [`HELD`].
#[derive(Debug)]
struct Holds {
    is_held: AtomicBool,
    held: AtomicU32,
}

impl Clock for Holds {
    fn wall_s(&self) -> u32 {
        if std::thread::current().name() == Some(HELD) && self.is_held.load(SeqCst) {
            self.held.fetch_add(1, SeqCst);
            while self.is_held.load(SeqCst) {
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        1_760_000_000
    }
}

// The close tells all who wait, and then waits for its worker. A client that was in the tier before comes to stand in line meanwhile.
#[test]
fn client_that_begins_to_wait_behind_a_close_is_notified() {
    static CLOCK: Holds = Holds { is_held: AtomicBool::new(false), held: AtomicU32::new(0) };
    let (_manager, pools) = pools();
    let config = small().pending_bytes_max(1 << 16).op_timeout(Duration::from_secs(3600));
    let config = config.close_timeout(Duration::from_millis(500)).clock(&CLOCK).build().unwrap();
    let double = Double::new(config.capacity_bytes());
    let tier = open_on(&double, &config, &pools);
    tier.put_with(b"old", b"v", SYNCED).unwrap();
    double.holds_writes.store(true, SeqCst);
    let handle = tier.handle();
    std::thread::scope(|scope| {
        // Until all pending bytes are taken, but for less than any write needs.
        let put = move |key: u32| handle.put(&key.to_le_bytes(), b"v");
        let fills = scope.spawn(move || (0..1_000).try_for_each(put));
        eventually("a write is stuck", || double.held_writes.load(SeqCst) == 1);
        eventually("all bytes are pending", || tier.stats().pending_bytes > (1 << 16) - 133);
        CLOCK.is_held.store(true, SeqCst);
        // A remove asks for the time right before it would stand in line.
        let remove = move || handle.remove(b"old");
        let late = Builder::new().name(HELD.into()).spawn_scoped(scope, remove).unwrap();
        eventually("a client is in the tier", || CLOCK.held.load(SeqCst) > 0);
        let begun = Instant::now();
        let closes = scope.spawn(|| tier.close());
        assert_eq!(fills.join().unwrap(), Err(PutError::Tier(TierError::Closed)), "it was told");
        CLOCK.is_held.store(false, SeqCst);
        assert_eq!(late.join().unwrap(), Err(RemoveError::Tier(TierError::Closed)));
        assert!(begun.elapsed() < PATIENCE);
        assert_eq!(closes.join().unwrap(), Err(CloseError::TimedOut));
    });
    double.holds_writes.store(false, SeqCst);
}
