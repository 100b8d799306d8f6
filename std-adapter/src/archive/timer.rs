//! The time by which uploads are paced and backups repeated.

use core::future::Future;
use core::pin::Pin;
use core::time::Duration;
use std::time::Instant;

use crate::api::sleep_until;
use crate::clock::{Clock, SystemClock, monotonic_at};

/// A future that is done at a moment.
pub type ArchiveSleep<'a> = Pin<Box<dyn Future<Output = ()> + Send + 'a>>;

/// Tells the time to an archive, and wakes it.
///
/// [`SystemClock`] needs no runtime: a thread of this crate wakes the futures. A program may take the timer of its runtime in its
/// place, and a test one that is moved by hand.
pub trait ArchiveTimer: Clock {
    /// The time since any fixed moment; never goes back.
    fn now(&self) -> Duration;

    /// Waits until [`now`](Self::now) has reached a moment.
    fn sleep_until(&self, at: Duration) -> ArchiveSleep<'_>;
}

impl ArchiveTimer for SystemClock {
    fn now(&self) -> Duration {
        monotonic_at(Instant::now())
    }

    fn sleep_until(&self, at: Duration) -> ArchiveSleep<'_> {
        Box::pin(sleep_until(at))
    }
}
