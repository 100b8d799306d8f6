//! Admission of writes: where clients wait for a place in the queue, for pending bytes, for capacity.
//!
//! A write that finds no other waiting takes what it needs. Where it can't, or where others wait, it waits in line, asleep. Three
//! rules hold:
//!
//! 1. **Places and pending bytes are given, not competed for.** The worker reserves them for the clients in line, in the order of
//!    their age, and wakes those and no others: a *permit*. It does so once most places and half of the bytes are free again, or where
//!    it has nothing else to do. It admits so many clients that each has capacity for several writes. Until that is used up, clients that
//!    arrive may go on; from then on all wait in line. So a context switch is not paid for each write, and every client in line goes on
//!    after a number of such rounds that follows from its place.
//! 2. **Capacity is tried for in order.** Only the index knows how much a write needs. The worker calls the oldest clients in that
//!    line, as many as there may be enough for. One that got what it needs calls the next two. A client that found too little keeps its
//!    place, is called first the next time, and nobody passes it any more: none beside it is called, and none who comes along goes on.
//! 3. **A client leaves nothing behind.** It keeps its age in all lines until its call ends. With the value that stands for it go its
//!    places, what was reserved for it, and what it was called for: the next one gets that. So it is after a panic, too.
//!
//! Removes need no capacity and give some back: they never stand behind puts that wait for it.

mod budget;
mod lines;
#[cfg(test)]
mod tests;

use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread::Thread;
use std::time::Instant;

use parking_lot::{Mutex, MutexGuard};

#[cfg(test)]
pub(crate) use self::budget::ASKED_MAX;
use self::budget::{Budget, QUEUED_MAX};
pub(crate) use self::lines::Line;
use self::lines::{Go, Lines, Spare};

/// Permits are given once no more than this part of the queue is taken: the more places are free, the more writes a client makes
/// before it has to wait again, and what is left keeps the worker busy meanwhile.
const LOW_PART: u32 = 8;

/// The lines of one partition.
#[derive(Debug, Default)]
pub(crate) struct Admission {
    pub(crate) budget: Budget,
    lines: Mutex<Lines<Thread>>,
    /// How many there are, wait for a permit, and wait for capacity: written under the lock, read by all who come along.
    clients: AtomicU32,
    for_permits: AtomicU32,
    for_capacity: AtomicU32,
    for_messages: AtomicU32,
    /// Whether whoever comes along may take what those who were let go on leave, until that is used up.
    is_open: AtomicBool,
}

/// The state that the worker saw when it looks after those who wait.
#[derive(Debug, Clone, Copy)]
pub(crate) struct WorkerView {
    /// Something was given back since the last look, or it is long ago.
    pub(crate) is_changed: bool,
    /// It has nothing to do but for those who wait.
    pub(crate) is_idle: bool,
    pub(crate) pending_bytes_max: u64,
    /// How many records there is capacity for, at a guess.
    pub(crate) enough_for: usize,
}

/// How a write goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Turn {
    /// It may try; whether a place in the queue and its pending bytes are reserved already.
    Try { has_permit: bool },
    /// Others are before it, in this line.
    Behind(Line),
    /// It was woken for nothing.
    Wait,
}

impl Admission {
    /// Tells whether somebody waits.
    pub(crate) fn has_waiters(&self) -> bool {
        self.clients.load(Ordering::SeqCst) > 0
    }

    /// Tells whether a write that comes along may try: where others wait it stands behind them, unless there is more than those need
    /// who were let go on. Costs two loads.
    pub(crate) fn turn(&self, is_value: bool, bytes: u64) -> Turn {
        if self.for_permits.load(Ordering::SeqCst) > 0 && !self.is_open.load(Ordering::SeqCst) {
            Turn::Behind(Line::Permit(bytes))
        } else if is_value && self.for_capacity.load(Ordering::SeqCst) > 0 {
            Turn::Behind(Line::Capacity { needs: 0 })
        } else {
            Turn::Try { has_permit: false }
        }
    }

    /// Tells whether a value that takes capacity in parts may try for all of it: where others wait it stands behind them.
    pub(crate) fn may_try_for_capacity(&self) -> bool {
        self.for_capacity.load(Ordering::SeqCst) == 0
    }

    /// Tells whether a message that is no write may be tried to be sent: where others wait it stands behind them.
    pub(crate) fn may_send_message(&self) -> bool {
        self.for_messages.load(Ordering::SeqCst) == 0
    }

    /// Gives what there is to those who wait for it, and calls those who may find what they wait for. Costs one load where nobody waits.
    pub(crate) fn look_after(&self, look: WorkerView) {
        if !self.has_waiters() {
            return;
        }
        let (taken, taken_bytes) = (self.budget.queued(), self.budget.pending_bytes());
        let is_low = taken <= QUEUED_MAX / LOW_PART && taken_bytes <= look.pending_bytes_max / 2;
        self.change(|lines, woken| {
            if is_low || look.is_idle {
                let spare = Spare {
                    places: QUEUED_MAX.saturating_sub(taken),
                    bytes: look.pending_bytes_max.saturating_sub(taken_bytes),
                };
                self.is_open.store(true, Ordering::SeqCst);
                lines.grant(spare, |bytes| self.budget.reserve_write(bytes, look.pending_bytes_max), woken);
            }
            lines.ring(look.is_changed, look.enough_for, woken);
        });
    }

    /// Takes what those need together who wait for capacity and have not tried for it yet, for the worker to free space for.
    pub(crate) fn take_needs(&self) -> u64 {
        self.change(|lines, _| lines.take_needs())
    }

    /// A write found no place: from here on all stand in line, until the worker gives permits again.
    pub(crate) fn shut(&self) {
        self.is_open.store(false, Ordering::SeqCst);
    }

    /// Lets everybody who waits look how the tier is: it takes no more writes.
    pub(crate) fn alert(&self) {
        self.change(Lines::alert);
    }

    /// Changes the lines, and wakes whom the change lets go on.
    fn change<R>(&self, change: impl FnOnce(&mut Lines<Thread>, &mut Vec<Thread>) -> R) -> R {
        let mut woken = Vec::new();
        let mut lines = self.lines.lock();
        let result = change(&mut lines, &mut woken);
        self.post(&lines);
        drop(lines);
        woken.iter().for_each(Thread::unpark);
        result
    }

    fn post(&self, lines: &MutexGuard<'_, Lines<Thread>>) {
        let count = |clients: usize| u32::try_from(clients).unwrap_or(u32::MAX);
        self.clients.store(count(lines.clients()), Ordering::SeqCst);
        self.for_permits.store(count(lines.waiting_for_permits()), Ordering::SeqCst);
        self.for_capacity.store(count(lines.waiting_for_capacity()), Ordering::SeqCst);
        self.for_messages.store(count(lines.waiting_for_messages()), Ordering::SeqCst);
    }
}

/// Leads to the admission of a partition for as long as that is open.
pub(crate) trait AdmissionLease: Copy + PartialEq {
    /// Looks at it; `None` once it is closed.
    fn reach<R>(self, look: impl FnOnce(&Admission) -> R) -> Option<R>;
}

/// A client that waits; all that stands for it goes when this is dropped.
#[derive(Debug)]
pub(crate) struct Waiting<L: AdmissionLease> {
    lease: L,
    number: u64,
    is_done: bool,
}

impl<L: AdmissionLease> Waiting<L> {
    /// Lets the calling thread wait; `None` where the partition is closed.
    pub(crate) fn new(lease: L) -> Option<Self> {
        let enter = |admission: &Admission| admission.change(|lines, _| lines.enter(std::thread::current()));
        Some(Self { lease, number: lease.reach(enter)?, is_done: false })
    }

    /// Stands in a line, at the place of its age; keeps the place that it has in another one.
    pub(crate) fn stand(&self, line: Line) {
        self.lease.reach(|admission| admission.change(|lines, _| lines.stand(self.number, line)));
    }

    /// Tells whether it may try. Its permit, if it has one, is the caller's from then on. Behind others who wait for capacity it is not
    /// used, unless they let it go on.
    pub(crate) fn turn(&self, is_value: bool, bytes: u64) -> Turn {
        self.lease.reach(|admission| self.turn_in(admission, is_value, bytes)).unwrap_or(Turn::Wait)
    }

    fn turn_in(&self, admission: &Admission, is_value: bool, bytes: u64) -> Turn {
        let (turn, unused) = admission.change(|lines, _| {
            let turn = match lines.take(self.number) {
                None => return (Turn::Wait, None),
                Some(Go::Permit(bytes)) if is_value && lines.is_behind_for_capacity(self.number) => {
                    return (Turn::Behind(Line::Capacity { needs: 0 }), Some(bytes));
                }
                Some(Go::Permit(_)) => Turn::Try { has_permit: true },
                Some(Go::Called) if lines.waiting_for_permits() > 0 => Turn::Behind(Line::Permit(bytes)),
                Some(Go::Called) => Turn::Try { has_permit: false },
            };
            (turn, None)
        });
        if let Some(bytes) = unused {
            admission.budget.give_back_write(bytes);
        }
        turn
    }

    /// Tells whether it waits in the lines that a lease leads to.
    pub(crate) fn is_for(&self, lease: L) -> bool {
        self.lease == lease
    }

    /// Tells whether it is called to try for a place for its message, or for capacity.
    pub(crate) fn is_called(&self) -> bool {
        let take = |admission: &Admission| admission.change(|lines, _| lines.take(self.number).is_some());
        self.lease.reach(take).unwrap_or(false)
    }

    /// Sleeps until it may go on, is to look how its tier is, or the time has come.
    pub(crate) fn sleep_until(&self, deadline: Instant) {
        let is_awake = |admission: &Admission| admission.lines.lock().is_awake(self.number);
        // Of a partition that is closed there is nothing to wait for.
        while self.lease.reach(is_awake) == Some(false) {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            // Whether it was woken for this, for something else or by the time is seen above.
            std::thread::park_timeout(left);
        }
    }

    /// It has what it waited for: there may be more of it for those behind.
    pub(crate) fn done(mut self) {
        self.is_done = true;
    }
}

impl<L: AdmissionLease> Drop for Waiting<L> {
    fn drop(&mut self) {
        // A reservation in a partition that is closed went with the partition.
        self.lease.reach(|admission| {
            let leave = |lines: &mut Lines<Thread>, woken: &mut Vec<Thread>| {
                lines.leave(self.number, self.is_done, woken)
            };
            if let Some(bytes) = admission.change(leave) {
                admission.budget.give_back_write(bytes);
            }
        });
    }
}
