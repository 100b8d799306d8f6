//! The one thread that maintains the pools.
//!
//! It holds a partition's lock for one bounded step, then gives it to a waiting thread, and goes on with the next partition.
//! The lock is handed over fairly both ways. The worker yields it to a waiting reader after each step. A lock that readers keep
//! busy is handed to the waiting worker within about half a millisecond, so it always makes progress.

use core::convert::Infallible;
use core::time::Duration;
use std::time::Instant;

use coldpress_core::cleanup::{CleanupError, CleanupKind, Reclaimed};
use coldpress_core::pool::Step;
use crossbeam_channel::{Receiver, Sender, TryRecvError, select_biased};

use super::coordinator::Message;
use super::error::PoolError;
use super::hot::HotPools;
use super::opened::{Locked, Opened};
use super::partition::Partition;
use crate::clock::Clock;
use crate::observe::{POOLS_EVERY, PoolMeter};

/// The requests, answered even if the worker panics: each one left in the channel is owed a reply.
///
/// A request that is sent at this moment is found on one of two sides: here if it was sent before the end was announced, else
/// by its sender, which looks again after that.
pub(super) struct Inbox {
    pub(super) requests: Receiver<Message>,
    pub(super) opened: Opened,
}

impl Drop for Inbox {
    fn drop(&mut self) {
        self.opened.end();
        discard(&self.requests);
    }
}

/// Drops what is left in the channel: each request answers `Disconnected` as it goes.
pub(super) fn discard(requests: &Receiver<Message>) {
    while let Ok(message) = requests.try_recv() {
        drop(message);
    }
}

pub(super) struct Worker {
    pub(super) opened: Opened,
    pub(super) requests: Inbox,
    pub(super) wake: Receiver<()>,
    /// Wakes it again, for work that it had no time for.
    pub(super) later: Sender<()>,
    /// Disconnects when the manager is dropped.
    pub(super) stop: Receiver<Infallible>,
    pub(super) step_bytes_max: u32,
    pub(super) timeout: Duration,
    pub(super) meter: PoolMeter,
    /// The clock by which values expire.
    pub(super) clock: &'static dyn Clock,
}

/// How a run over the partitions ended.
enum Ended {
    Done,
    /// The time was up; what was done stands.
    Late,
    Failed,
    /// The manager is being dropped.
    Stopped,
}

impl Ended {
    const fn error(&self) -> Option<PoolError> {
        match self {
            Self::Done => None,
            Self::Late => Some(PoolError::TimedOut),
            Self::Failed => Some(PoolError::Failed),
            Self::Stopped => Some(PoolError::Disconnected),
        }
    }
}

impl Worker {
    pub(super) fn run(mut self) {
        loop {
            select_biased! {
                recv(self.stop) -> _ => return,
                recv(self.requests.requests) -> message => match message {
                    Ok(message) => self.serve(message),
                    // The last coordinator is gone; the pools still need tending.
                    Err(_) => return self.run_alone(),
                },
                recv(self.wake) -> _ => self.free_space(),
                default(POOLS_EVERY) => {}
            }
            self.measure();
        }
    }

    fn measure(&mut self) {
        // Pools that are being closed have nothing to tell.
        if let Ok(stats) = (HotPools { opened: self.opened }).stats() {
            self.meter.stats(&stats);
        }
    }

    fn run_alone(&mut self) {
        loop {
            select_biased! {
                recv(self.stop) -> _ => return,
                recv(self.wake) -> _ => self.free_space(),
                default(POOLS_EVERY) => {}
            }
            self.measure();
        }
    }

    pub(super) fn serve(&self, message: Message) {
        let Message { owed, deadline } = message;
        if Instant::now() >= deadline {
            // Nobody waits for it any more; work that nobody asked for is not done.
            owed.fail(CleanupError::TimedOut);
            return;
        }
        let kind = owed.request().kind;
        let started = Instant::now();
        // The reply needs a moment to arrive before the deadline.
        let until = deadline.checked_sub(self.timeout / 10).unwrap_or(deadline);
        let (reclaimed, ended) = match kind {
            CleanupKind::TriggerDefragmentation => {
                self.rounds(until, |_| true, |partition| partition.defragment_step(self.step_bytes_max))
            }
            CleanupKind::EmergencyCleanup => {
                let now_s = self.clock.wall_s();
                self.rounds(until, |_| true, |partition| partition.emergency_step(now_s, self.step_bytes_max))
            }
            _ => (Reclaimed::default(), Ended::Failed),
        };
        tracing::debug!(
            ?kind,
            bytes = reclaimed.bytes,
            relocated_bytes = reclaimed.relocated_bytes,
            dropped_objects = reclaimed.dropped_objects,
            micros = started.elapsed().as_micros(),
            "pool cleanup"
        );
        let name = match kind {
            CleanupKind::EmergencyCleanup => "emergency",
            _ => "defragmentation",
        };
        self.meter.cleanup(name, &reclaimed, ended.error());
        match ended {
            Ended::Done => owed.done(reclaimed),
            Ended::Late => owed.done(Reclaimed { is_partial: true, ..reclaimed }),
            Ended::Failed => owed.fail(CleanupError::Failed),
            // Dropped unanswered, it answers `Disconnected`.
            Ended::Stopped => drop(owed),
        }
    }

    /// Brings the partitions that asked for space below their low watermark, for a while: requests go first.
    fn free_space(&self) {
        let now_s = self.clock.wall_s();
        let until = Instant::now() + self.timeout / 4;
        let (reclaimed, ended) = self.rounds(
            until,
            |partition| partition.asked,
            |partition| {
                let step = partition.emergency_step(now_s, self.step_bytes_max);
                partition.asked = !step.done;
                step
            },
        );
        self.meter.cleanup("room", &reclaimed, ended.error());
        if matches!(ended, Ended::Late) {
            // A full channel is enough: the worker will wake.
            let _ = self.later.try_send(());
        }
        tracing::debug!(
            bytes = reclaimed.bytes,
            dropped_objects = reclaimed.dropped_objects,
            "pool made room"
        );
    }

    /// Goes round the partitions, one step in each, until all are done. One lock hold is one step.
    fn rounds(
        &self,
        until: Instant,
        wanted: impl Fn(&Partition) -> bool,
        mut step: impl FnMut(&mut Partition) -> Step,
    ) -> (Reclaimed, Ended) {
        let mut reclaimed = Reclaimed::default();
        let mut failed = false;
        let mut open: Vec<u16> = (0..self.opened.partitions())
            .filter(|number| self.opened.lock(*number).is_ok_and(|partition| wanted(&partition)))
            .collect();
        while !open.is_empty() {
            if self.stop.try_recv() == Err(TryRecvError::Disconnected) {
                return (reclaimed, Ended::Stopped);
            }
            if Instant::now() >= until {
                return (reclaimed, Ended::Late);
            }
            open.retain(|number| {
                let Ok(mut partition) = self.opened.lock(*number) else { return false };
                let done = step(&mut partition);
                Locked::unlock_fair(partition);
                done.add_to(&mut reclaimed, self.opened.page_bytes);
                failed |= done.failed;
                !done.done
            });
        }
        (reclaimed, if failed { Ended::Failed } else { Ended::Done })
    }
}
