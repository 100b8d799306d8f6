//! The two kinds of clients that wait, as far as waking them goes.

use core::panic::AssertUnwindSafe;
use core::task::Waker;
use std::panic::catch_unwind;
use std::thread::Thread;

/// The one to wake for a client: its thread, or the task that polls its future.
#[derive(Debug, Clone)]
pub(super) enum Woken {
    Thread(Thread),
    Future(Waker),
}

impl Woken {
    /// The calling thread, or the task of this waker.
    pub(super) fn of(waker: Option<&Waker>) -> Self {
        waker.map_or_else(|| Self::Thread(std::thread::current()), |waker| Self::Future(waker.clone()))
    }

    /// Wakes it. Called under no lock but the read lock of the partition's slot: a runtime may do anything then.
    pub(super) fn wake(self) {
        match self {
            Self::Thread(thread) => thread.unpark(),
            // A waker of a runtime that panics must not end the thread that wakes.
            Self::Future(waker) => drop(catch_unwind(AssertUnwindSafe(|| waker.wake()))),
        }
    }

    /// Takes the waker of the last poll, or none any more. Returns the one that it had, to be dropped under no lock: with the last
    /// waker of a task the task may go, and with it other futures.
    pub(super) const fn renew(&mut self, waker: Waker) -> Self {
        core::mem::replace(self, Self::Future(waker))
    }
}

#[cfg(test)]
mod tests {
    use core::sync::atomic::Ordering::SeqCst;
    use core::time::Duration;
    use std::time::Instant;

    use coldpress_core::format::KeyHash;

    use super::*;
    use crate::admission::budget::QUEUED_MAX;
    use crate::admission::tests::{admission as leased, look, waiting};
    use crate::admission::{Line, Tries, Turn, Waiting};

    const PATIENCE: Duration = Duration::from_secs(60);

    #[test]
    fn threads_and_futures_get_permits_by_age_alone() {
        let (lease, admission) = leased();
        admission.budget.set_taken(QUEUED_MAX, 0);
        let deadline = Instant::now() + PATIENCE;
        let tries = Tries::of_poll(deadline, Waker::noop());
        let clients: Vec<_> = (0..8)
            .map(|client| {
                let waiting =
                    if client % 2 == 0 { waiting(lease) } else { Waiting::of(lease, &tries).unwrap() };
                waiting.stand(Line::Permit(10));
                waiting
            })
            .collect();
        for (place, client) in clients.into_iter().enumerate() {
            admission.budget.set_taken(QUEUED_MAX - 1, 0);
            let is_one_waiting = admission.for_permits.load(SeqCst) > 0;
            look(&admission, true);
            assert_eq!(admission.budget.queued() == QUEUED_MAX, is_one_waiting, "one place was given");
            // A future asks as a thread that slept does.
            assert!(place % 2 == 0 || client.is_awake(Waker::noop()), "client {place}");
            if place % 3 == 0 {
                // It is dropped with its permit, which goes to the next one.
                let taken = admission.budget.queued();
                let is_one_waiting = admission.for_permits.load(SeqCst) > 0;
                drop(client);
                assert_eq!(admission.budget.queued() == taken, is_one_waiting);
            } else {
                assert_eq!(client.turn(true, 10), Turn::Try { has_permit: true }, "client {place}");
                client.done();
            }
        }
        assert!(!admission.has_waiters());
    }

    #[test]
    fn key_that_a_future_has_outlasts_its_deadline() {
        let (lease, _admission) = leased();
        let tries = Tries::of_poll(Instant::now() + PATIENCE, Waker::noop());
        let stand = || {
            let waiting = Waiting::of(lease, &tries).unwrap();
            waiting.stand(Line::Key(KeyHash([7; 12])));
            waiting
        };
        let (first, second, third) = (stand(), stand(), stand());
        // Its deadline passes after it learned that it has the key: it may be writing under it.
        assert!(first.is_called());
        first.client().expire();
        assert!(!second.is_called(), "two clients have one key");
        drop(first);
        // Its deadline passes before it learns that.
        second.client().expire();
        assert!(third.is_called() && !second.is_called());
        second.client().expire();
        drop(second);
        assert!(third.is_called());
    }
}
