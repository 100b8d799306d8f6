//! The deadlines of futures that wait.
//!
//! No timer of a runtime is known here. So one thread of the process wakes the futures whose time has come. The first one that
//! waits starts it. It sleeps until the earliest deadline that it knows, and ends where no future waits then.

#[cfg(feature = "archive")]
use core::future::poll_fn;
use core::panic::AssertUnwindSafe;
#[cfg(feature = "archive")]
use core::task::Poll;
use core::task::Waker;
use core::time::Duration;
use std::collections::BTreeMap;
use std::panic::catch_unwind;
use std::thread::Builder;
use std::time::Instant;

use parking_lot::{Condvar, Mutex, MutexGuard};

use crate::admission::LineClient;
use crate::api::opened::Open;
#[cfg(feature = "archive")]
use crate::clock::monotonic_at;
use crate::index::SharedPartition;
use crate::recycled::Lease;

/// The thread looks at least so often whether any future waits.
const SLEEP_MAX: Duration = Duration::from_secs(60);

/// A future that waits, and the tier that it waits for, if it is for one.
struct WatchedFuture {
    waker: Waker,
    tier: Option<Lease<Open>>,
    /// Its place, where it stands in line.
    client: Option<LineClient<Lease<SharedPartition>>>,
}

/// All futures that wait, by their deadlines.
struct Deadlines {
    waiting: BTreeMap<(Instant, u64), WatchedFuture>,
    issued: u64,
    /// When the thread looks again; `None` where there is no thread.
    looks_at: Option<Instant>,
}

static DEADLINES: Mutex<Deadlines> =
    Mutex::new(Deadlines { waiting: BTreeMap::new(), issued: 0, looks_at: None });
/// Notified where the thread is to look earlier than it meant to.
static EARLIER: Condvar = Condvar::new();

/// The deadline of one future. It is watched from the first wait until it is dropped.
pub(super) struct DeadlineWatch {
    tier: Option<Lease<Open>>,
    at: Instant,
    number: Option<u64>,
}

impl DeadlineWatch {
    pub(super) const fn new(tier: Lease<Open>, at: Instant) -> Self {
        Self { tier: Some(tier), at, number: None }
    }

    /// As [`new`](Self::new), for a future that waits for a moment alone.
    #[cfg(feature = "archive")]
    const fn alone(at: Instant) -> Self {
        Self { tier: None, at, number: None }
    }

    /// Tells whether the deadline has passed. Else the waker is woken then, and when the tier is closed.
    pub(super) fn is_over(&mut self, waker: &Waker) -> bool {
        self.is_over_for(waker, None)
    }

    /// As [`is_over`](Self::is_over), for a future that stands in line: at the deadline it leaves all lines, polled or not.
    pub(super) fn is_over_for(
        &mut self,
        waker: &Waker,
        client: Option<LineClient<Lease<SharedPartition>>>,
    ) -> bool {
        let now = Instant::now();
        if now >= self.at {
            return true;
        }
        // Neither cloned nor dropped under the lock: it is the runtime's, and with the last waker of a task other futures may go.
        let waker = waker.clone();
        let _before;
        let mut deadlines = DEADLINES.lock();
        let number = *self.number.get_or_insert_with(|| {
            deadlines.issued += 1;
            deadlines.issued
        });
        match deadlines.waiting.get_mut(&(self.at, number)) {
            Some(watched) => {
                _before = core::mem::replace(&mut watched.waker, waker);
                watched.client = client;
            }
            None => {
                let watched = WatchedFuture { waker, tier: self.tier, client };
                deadlines.waiting.insert((self.at, number), watched);
            }
        }
        match deadlines.looks_at {
            Some(looks_at) if looks_at <= self.at => {}
            Some(_) => {
                EARLIER.notify_one();
            }
            None => start(&mut deadlines, now),
        }
        false
    }
}

impl Drop for DeadlineWatch {
    fn drop(&mut self) {
        if let Some(number) = self.number {
            let watched = DEADLINES.lock().waiting.remove(&(self.at, number));
            // Not under the lock: the waker is the runtime's.
            drop(watched);
        }
    }
}

/// Waits until [`monotonic_at`] has reached a moment.
#[cfg(feature = "archive")]
pub(crate) async fn sleep_until(at: Duration) {
    loop {
        let now = Instant::now();
        let left = at.saturating_sub(monotonic_at(now));
        if left.is_zero() {
            return;
        }
        let mut watch = DeadlineWatch::alone(now + left.min(SLEEP_MAX));
        poll_fn(|cx| if watch.is_over(cx.waker()) { Poll::Ready(()) } else { Poll::Pending }).await;
    }
}

/// Wakes the futures that wait for a tier, since it is being closed.
pub(in crate::api) fn alert_futures(tier: Lease<Open>) {
    let is_of_tier = |watched: &&WatchedFuture| watched.tier == Some(tier);
    let alerted: Vec<Waker> = {
        let deadlines = DEADLINES.lock();
        deadlines.waiting.values().filter(is_of_tier).map(|watched| watched.waker.clone()).collect()
    };
    alerted.into_iter().for_each(Waker::wake);
}

fn start(deadlines: &mut Deadlines, now: Instant) {
    match Builder::new().name("coldpress-deadlines".to_owned()).spawn(watch) {
        Ok(_) => deadlines.looks_at = Some(now),
        // The next future that waits tries again.
        Err(error) => tracing::warn!(%error, "no thread for the deadlines of futures"),
    }
}

/// The deadline of a future has passed.
fn end(watched: WatchedFuture) {
    let WatchedFuture { waker, client, .. } = watched;
    // A waker of a runtime that panics must not leave the others asleep.
    let _ = catch_unwind(AssertUnwindSafe(|| {
        client.into_iter().for_each(LineClient::expire);
        waker.wake();
    }));
}

fn watch() {
    let mut deadlines = DEADLINES.lock();
    loop {
        let now = Instant::now();
        let mut due = Vec::new();
        while let Some(first) = deadlines.waiting.first_entry()
            && first.key().0 <= now
        {
            due.push(first.remove());
        }
        if !due.is_empty() {
            MutexGuard::unlocked(&mut deadlines, || due.into_iter().for_each(end));
            continue;
        }
        let Some(first) = deadlines.waiting.keys().next().map(|(at, _)| *at) else {
            deadlines.looks_at = None;
            return;
        };
        let looks_at = first.min(now + SLEEP_MAX);
        deadlines.looks_at = Some(looks_at);
        EARLIER.wait_until(&mut deadlines, looks_at);
    }
}
