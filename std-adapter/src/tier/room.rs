//! Where clients wait for room: for a place in the queue, for pending bytes, for capacity.

use core::sync::atomic::{AtomicU32, Ordering};
use core::time::Duration;

use parking_lot::{Condvar, Mutex};

/// A bell that the worker rings when it has given something back.
#[derive(Debug, Default)]
pub(crate) struct Room {
    waiters: AtomicU32,
    rung: Mutex<u64>,
    bell: Condvar,
}

/// A client that will wait if its next attempt fails.
#[derive(Debug)]
pub(crate) struct RoomWaiter<'a> {
    room: &'a Room,
}

impl Room {
    /// Announces a waiter: what is given back from here on rings for it.
    pub(crate) fn waiter(&self) -> RoomWaiter<'_> {
        self.waiters.fetch_add(1, Ordering::SeqCst);
        RoomWaiter { room: self }
    }

    /// Tells whether somebody waits.
    pub(crate) fn has_waiters(&self) -> bool {
        self.waiters.load(Ordering::SeqCst) > 0
    }

    /// Wakes all who wait; costs one load where nobody does.
    pub(crate) fn ring(&self) {
        if self.waiters.load(Ordering::SeqCst) > 0 {
            *self.rung.lock() += 1;
            self.bell.notify_all();
        }
    }
}

impl RoomWaiter<'_> {
    /// Returns a mark to take before an attempt and to show to [`wait`](Self::wait) after it failed.
    pub(crate) fn mark(&self) -> u64 {
        *self.room.rung.lock()
    }

    /// Waits until the bell was rung since `mark`, or the time is over.
    pub(crate) fn wait(&self, mark: u64, longest: Duration) {
        let mut rung = self.room.rung.lock();
        if *rung == mark {
            // Whether it was the bell or the time makes no difference: the caller tries again.
            let _ = self.room.bell.wait_for(&mut rung, longest);
        }
    }
}

impl Drop for RoomWaiter<'_> {
    fn drop(&mut self) {
        self.room.waiters.fetch_sub(1, Ordering::SeqCst);
    }
}
