//! The one thread that maintains the pools.
//!
//! It holds a partition's lock for one bounded step, then gives it to a waiting thread, and goes on with the next partition.
//! The lock is handed over fairly both ways. The worker yields it to a waiting reader after each step. A lock that readers keep
//! busy is handed to the waiting worker within about half a millisecond, so it always makes progress.

use core::cell::Cell;
use core::convert::Infallible;
use core::time::Duration;
use std::thread;
use std::time::Instant;

use coldpress_core::cleanup::{CleanupError, CleanupKind, Reclaimed};
use coldpress_core::pool::Step;
use crossbeam_channel::{Receiver, Sender, TryRecvError, never, select_biased};

use super::coordinator::Message;
use super::defragmenting::{Defragmenting, Progressing};
use super::error::PoolError;
use super::opened::{Locked, Opened};
use super::partition::Partition;
use crate::budget::WorkKind;
use crate::clock::Clock;
use crate::observe::{CleanupCause, Explained, ExplainedCleanup, POOLS_EVERY, PoolMeter, PoolStats};

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

/// Requests less than this apart come from a client that asks again at once.
const BACK_TO_BACK: Duration = Duration::from_micros(500);

/// Waits some microseconds for a request without going to sleep, as a plain receive does and a selection does not. A client that
/// asks again at once is so answered without a wake of this thread. Only then: on a busy machine, a thread that yields runs later
/// than one that is woken.
fn linger(requests: &Receiver<Message>) {
    for round in 0..10 {
        if !requests.is_empty() {
            return;
        }
        if round <= 6 {
            for _ in 0..1 << round {
                core::hint::spin_loop();
            }
        } else {
            thread::yield_now();
        }
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
    /// Defragmentations that take slices of a budget.
    pub(super) defragmenting: Defragmenting,
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

impl Ended {
    /// Why a cleanup is not whole, beside a lack of time.
    const fn cleanup_error(&self) -> Option<CleanupError> {
        match self {
            Self::Done | Self::Late => None,
            Self::Failed => Some(CleanupError::Failed),
            Self::Stopped => Some(CleanupError::Disconnected),
        }
    }
}

impl Worker {
    pub(super) fn run(mut self) {
        let mut has_clients = true;
        let mut served: Option<Instant> = None;
        let mut is_asked_again = false;
        loop {
            let due = [self.defragment(), self.defragmenting.free_due()].into_iter().flatten().min();
            // While many defragmentations wait, those behind wait in the channel.
            let takes = has_clients && !self.defragmenting.is_full();
            let none = never();
            let requests = if takes { &self.requests.requests } else { &none };
            if due.is_none() && core::mem::take(&mut is_asked_again) {
                linger(requests);
            }
            select_biased! {
                recv(self.stop) -> _ => return,
                recv(requests) -> message => match message {
                    Ok(message) => {
                        is_asked_again = served.is_some_and(|served| served.elapsed() < BACK_TO_BACK);
                        self.take(message);
                        served = Some(Instant::now());
                    }
                    // The last coordinator is gone; the pools still need tending.
                    Err(_) => has_clients = false,
                },
                recv(self.wake) -> _ => self.free_for_inserts(),
                // To measure the pools between two slices would take more time than these.
                default(due.unwrap_or(POOLS_EVERY)) => if due.is_some() {
                    if self.defragmenting.free_due().is_some_and(|wait| wait.is_zero()) {
                        self.free_for_inserts();
                    }
                    continue;
                },
            }
            self.measure();
        }
    }

    /// Measures the pools without their pages, where anybody asks for it.
    fn measure(&mut self) {
        if cfg!(not(feature = "metrics")) {
            return;
        }
        let mut stats = PoolStats::default();
        for number in 0..self.opened.partitions() {
            // Pools that are being closed have nothing to tell.
            let Ok(partition) = self.opened.lock(number) else { return };
            stats.totals += partition.pool.totals();
            stats.hits = stats.hits.saturating_add(partition.hits);
            stats.misses = stats.misses.saturating_add(partition.misses);
        }
        stats.complete();
        self.meter.stats(&stats);
    }

    /// Serves a request at once, or lets it wait for its slices.
    fn take(&mut self, message: Message) {
        let is_sliced = message.owed.request().kind == CleanupKind::TriggerDefragmentation;
        if !is_sliced || !self.defragmenting.has_budget() || Instant::now() >= message.deadline {
            return self.serve(message);
        }
        let until = self.until(&message);
        self.defragmenting.push(message, until, self.opened.partitions());
    }

    /// Goes on with the defragmentation in hand as far as the budget allows; returns how long it waits for the next slice.
    fn defragment(&mut self) -> Option<Duration> {
        loop {
            match self.defragmenting.advance(&self.opened, self.step_bytes_max) {
                Progressing::Nothing => return None,
                Progressing::Wait(wait) => return Some(wait),
                Progressing::Ended(cleaned) => {
                    let ended = match (cleaned.failed, cleaned.is_late) {
                        (true, _) => Ended::Failed,
                        (false, true) => Ended::Late,
                        (false, false) => Ended::Done,
                    };
                    self.finish(cleaned.message, cleaned.reclaimed, &ended, cleaned.took);
                }
            }
        }
    }

    /// When work on a request ends: a tenth of the timeout before its deadline, so that the reply arrives in time.
    fn until(&self, message: &Message) -> Instant {
        message.deadline.checked_sub(self.timeout / 10).unwrap_or(message.deadline)
    }

    pub(super) fn serve(&self, message: Message) {
        if Instant::now() >= message.deadline {
            // Nobody waits for it any more; work that nobody asked for is not done.
            message.owed.fail(CleanupError::TimedOut);
            return;
        }
        let kind = message.owed.request().kind;
        let started = Instant::now();
        let until = self.until(&message);
        let (reclaimed, ended) = match kind {
            CleanupKind::TriggerDefragmentation => {
                self.rounds(until, |_| true, |partition| partition.defragment_step(self.step_bytes_max))
            }
            CleanupKind::EmergencyCleanup => {
                let now_s = self.clock.wall_s();
                self.rounds(until, |_| true, |partition| self.emergency_step(partition, now_s))
            }
            _ => (Reclaimed::default(), Ended::Failed),
        };
        self.book(started, &reclaimed);
        self.finish(message, reclaimed, &ended, started.elapsed());
    }

    /// Counts work that took no slice.
    fn book(&self, started: Instant, reclaimed: &Reclaimed) {
        if let Some(budget) = self.defragmenting.budget() {
            budget.book(WorkKind::Defragmentation, started.elapsed(), reclaimed.relocated_bytes);
        }
    }

    /// Answers a request.
    fn finish(&self, message: Message, reclaimed: Reclaimed, ended: &Ended, took: Duration) {
        let since_sent =
            self.timeout.saturating_sub(message.deadline.saturating_duration_since(Instant::now()));
        let (waited, cause) = (since_sent.saturating_sub(took), message.cause());
        let owed = message.owed;
        let kind = owed.request().kind;
        let reclaimed =
            Reclaimed { is_partial: reclaimed.is_partial || matches!(ended, Ended::Late), ..reclaimed };
        let one = ExplainedCleanup { kind, cause, reclaimed, error: ended.cleanup_error(), waited };
        // Before the reply, so that a client finds it there.
        self.opened.explain(took, Explained::PoolCleanup(one));
        tracing::debug!(
            ?kind,
            bytes = reclaimed.bytes,
            relocated_bytes = reclaimed.relocated_bytes,
            dropped_objects = reclaimed.dropped_objects,
            micros = took.as_micros(),
            "pool cleanup"
        );
        let name = match kind {
            CleanupKind::EmergencyCleanup => "emergency",
            _ => "defragmentation",
        };
        self.meter.cleanup(name, &reclaimed, ended.error());
        match ended {
            Ended::Done | Ended::Late => owed.done(reclaimed),
            Ended::Failed => owed.fail(CleanupError::Failed),
            // Dropped unanswered, it answers `Disconnected`.
            Ended::Stopped => drop(owed),
        }
    }

    /// Frees space for inserts. With a budget, a pass behind one that freed nothing waits.
    fn free_for_inserts(&mut self) {
        if !self.defragmenting.has_budget() {
            self.free_space();
        } else if self.defragmenting.may_free(self.changes()) {
            let reclaimed = self.free_space();
            self.defragmenting.freed(reclaimed.bytes > 0 || reclaimed.dropped_objects > 0);
        }
    }

    /// A number that differs once a client took or gave back memory.
    fn changes(&self) -> u64 {
        let totals = |number| {
            self.opened.lock(number).map_or((0, 0), |partition| {
                let totals = partition.pool.totals();
                (totals.allocations, u64::from(totals.live_objects))
            })
        };
        let (allocations, live) = (0..self.opened.partitions())
            .map(totals)
            .fold((0u64, 0u64), |sum, one| (sum.0.wrapping_add(one.0), sum.1.wrapping_add(one.1)));
        // A value that a client removed shows in the difference.
        allocations.wrapping_mul(2).wrapping_sub(live)
    }

    /// Brings the partitions that asked for space below their low watermark, for a while: requests go first.
    fn free_space(&self) -> Reclaimed {
        let started = Instant::now();
        let now_s = self.clock.wall_s();
        let until = Instant::now() + self.timeout / 4;
        let has_refused = Cell::new(false);
        let (reclaimed, ended) = self.rounds(
            until,
            |partition| {
                has_refused.set(has_refused.get() || partition.asked && partition.has_refused);
                partition.asked
            },
            |partition| {
                let step = self.emergency_step(partition, now_s);
                partition.asked = !step.done;
                partition.has_refused &= !step.done;
                step
            },
        );
        let is_late = matches!(ended, Ended::Late);
        let one = ExplainedCleanup {
            kind: CleanupKind::EmergencyCleanup,
            cause: if has_refused.get() {
                CleanupCause::InsertWithoutSpace
            } else {
                CleanupCause::HighWatermark
            },
            reclaimed: Reclaimed { is_partial: is_late, ..reclaimed },
            error: ended.cleanup_error(),
            waited: Duration::ZERO,
        };
        self.opened.explain(started.elapsed(), Explained::PoolCleanup(one));
        self.book(started, &reclaimed);
        self.meter.cleanup("room", &reclaimed, ended.error());
        if is_late {
            // A full channel is enough: the worker will wake.
            let _ = self.later.try_send(());
        }
        tracing::debug!(
            bytes = reclaimed.bytes,
            dropped_objects = reclaimed.dropped_objects,
            "pools freed space for inserts"
        );
        reclaimed
    }

    fn emergency_step(&self, partition: &mut Partition, now_s: u32) -> Step {
        let (step, explained) = partition.emergency_step(now_s, self.step_bytes_max);
        self.opened.explain_evicted(explained);
        step
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
        let mut open: Vec<u16> = (0..self.opened.partitions()).collect();
        let mut is_first = true;
        while !open.is_empty() {
            if self.stop.try_recv() == Err(TryRecvError::Disconnected) {
                return (reclaimed, Ended::Stopped);
            }
            if Instant::now() >= until {
                return (reclaimed, Ended::Late);
            }
            open.retain(|number| {
                let Ok(mut partition) = self.opened.lock(*number) else { return false };
                if is_first && !wanted(&partition) {
                    return false;
                }
                let done = step(&mut partition);
                Locked::unlock_fair(partition);
                done.add_to(&mut reclaimed, self.opened.page_bytes);
                failed |= done.failed;
                !done.done
            });
            is_first = false;
        }
        (reclaimed, if failed { Ended::Failed } else { Ended::Done })
    }
}
