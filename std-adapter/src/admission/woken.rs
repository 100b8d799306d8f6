//! The two kinds of clients that wait, as far as waking them goes.

use core::task::Waker;
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

    /// Wakes it. Called under no lock: a runtime may do anything then.
    pub(super) fn wake(self) {
        match self {
            Self::Thread(thread) => thread.unpark(),
            Self::Future(waker) => waker.wake(),
        }
    }

    /// Takes the waker of the last poll.
    pub(super) fn renew(&mut self, waker: &Waker) {
        match self {
            Self::Future(known) => known.clone_from(waker),
            Self::Thread(_) => *self = Self::Future(waker.clone()),
        }
    }
}

#[cfg(test)]
mod tests {
    use core::time::Duration;
    use std::time::Instant;

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
            look(&admission, true);
            assert_eq!(admission.budget.queued(), QUEUED_MAX, "one place was given");
            // A future asks as a thread that slept does.
            assert!(place % 2 == 0 || client.is_awake(Waker::noop()), "client {place}");
            if place % 3 == 0 {
                // It is dropped with its permit.
                drop(client);
                assert_eq!(admission.budget.queued(), QUEUED_MAX - 1);
            } else {
                assert_eq!(client.turn(true, 10), Turn::Try { has_permit: true }, "client {place}");
                client.done();
            }
        }
        assert!(!admission.has_waiters());
    }
}
