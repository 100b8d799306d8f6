//! Admission of writes: decides which write goes on, and which waits for a place in the queue, pending bytes, capacity or a
//! key.
//!
//! Each file decides one thing. [`budget`] grants places and pending bytes. [`charges`] keeps the charge below its ceiling.
//! [`relief`] says where space comes from, and when a value is refused. [`lines`] and [`keys`] decide which client is next. In
//! [`waiting`] is the wait, which is the same for all lines.
//!
//! Two parts of a write stay in `api`, above the index. Only the index knows what a value weighs, and whether it owes space.
//! The message to the worker is sent by the code that reserved its place.
//!
//! A write that finds no waiters takes the resources that it needs. Where there is too little, or others wait, it waits in
//! line, asleep. Three rules hold:
//!
//! 1. **Places and pending bytes are given, not competed for.** The worker reserves them for the clients in line, in the order
//!    of their age, and wakes only these. Such a reservation is a *permit*. It does so once most places and half of the bytes
//!    are free again, or where it has nothing else to do. It admits so many clients in one round that there are places for
//!    several writes of each. Until these are used up, clients that arrive may go on; from then on all wait in line. So a
//!    context switch is not paid for each write, and the place of a client in line determines after how many rounds it goes on.
//! 2. **Capacity is tried for in order.** Only the index knows how much a write needs. The worker calls the oldest clients in
//!    that line, as many as there may be enough for. One that got what it needs calls the next two. A client that found too
//!    little keeps its place, is called first the next time, and no client passes it any more. While it is called no other
//!    client is, and clients that arrive wait.
//! 3. **A client leaves nothing behind.** It keeps its age in all lines until its call ends. Its [`Waiting`] is dropped with
//!    it, after a panic too. The next client then gets its places in line, its reservation and its call.
//!
//! Removes need no capacity and give some back: they never wait behind puts that wait for capacity.
//!
//! A waiter does not look again from time to time. Its wait ends by its deadline, by a resource that another thread gives, or
//! by an alert. A thread that makes a partition refuse writes posts that first, and then [alerts](Admission::alert) all
//! waiters. A client enters its line first, and then looks whether writes are refused. So one of the two sees the other.
//!
//! A client is a thread or a future. Both have one age and one place in the same lines; only the way to wake them differs.

mod budget;
mod charges;
mod keys;
mod lines;
mod relief;
#[cfg(test)]
mod tests;
mod waiting;
mod woken;

use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use parking_lot::{Mutex, MutexGuard};

#[cfg(test)]
pub(crate) use self::budget::ASKED_MAX;
use self::budget::{Budget, QUEUED_MAX};
use self::charges::Charges;
pub(crate) use self::charges::{Beyond, Ceiling, Weight};
pub(crate) use self::lines::Line;
use self::lines::{Lines, Spare};
pub(crate) use self::relief::{Circumstances, Claim, Lack, Refusal, Relief, Shortfall, Supply};
pub(crate) use self::waiting::{
    AdmissionLease, KeyClaim, LineClient, REPLACEMENT, Tries, Waiting, try_until,
};
use self::woken::Woken;

/// Permits are given once one part in so many of the queue and of the pending bytes is free. A client that waits sleeps for as long as
/// the worker takes for that part, and the rest keeps the worker busy until the client is awake.
const FREE_PART: u32 = 8;

/// The resources that clients of one partition need for a write, and their waits for them.
#[derive(Debug, Default)]
pub(crate) struct Admission {
    pub(crate) budget: Budget,
    pub(crate) charges: Charges,
    pub(crate) supply: Supply,
    lines: Mutex<Lines<Woken>>,
    /// The number of clients in all lines, and of those that wait for a permit, for capacity and for a message. Written under
    /// the lock, and read by clients that arrive.
    clients: AtomicU32,
    for_permits: AtomicU32,
    for_capacity: AtomicU32,
    for_messages: AtomicU32,
    /// Keys that a client has for itself.
    keys_held: AtomicU32,
    /// Whether clients that arrive may take the places that the last round left, until these are used up.
    is_open: AtomicBool,
    /// The limit on pending bytes, as the worker last had it.
    pending_bytes_max: AtomicU64,
}

/// The state that the worker sees when it serves the waiters.
#[derive(Debug, Clone, Copy)]
pub(crate) struct WorkerView {
    /// A resource was given back since the last time, or that is long ago.
    pub(crate) is_changed: bool,
    /// The worker has no other work.
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
    /// It waits behind others in this line.
    Behind(Line),
    /// It was woken for nothing.
    Wait,
}

impl Admission {
    /// Tells whether a client waits that the worker has to serve.
    pub(crate) fn has_waiters(&self) -> bool {
        self.clients.load(Ordering::SeqCst) > 0
    }

    /// Tells whether a client has a key for itself.
    pub(crate) fn has_keys_held(&self) -> bool {
        self.keys_held.load(Ordering::SeqCst) > 0
    }

    /// The weight of a key changes, whatever the limit.
    pub(crate) fn reweigh(&self, before: &Weight, after: &Weight) {
        self.charges.change(before, after);
        self.budget.change_bytes(before.pending_bytes, after.pending_bytes);
    }

    /// As [`reweigh`](Self::reweigh); where a sum would go beyond its ceiling, nothing is changed.
    pub(crate) fn reweigh_within(
        &self,
        before: &Weight,
        after: &Weight,
        ceiling: &Ceiling,
    ) -> Result<(), Beyond> {
        self.charges.change_within(before, after, ceiling)?;
        self.budget.change_bytes(before.pending_bytes, after.pending_bytes);
        Ok(())
    }

    /// The sums as they stand.
    pub(crate) fn weight(&self) -> Weight {
        Weight {
            charge: self.charges.charge(),
            settled: self.charges.settled(),
            pending_bytes: self.budget.pending_bytes(),
            keys: self.charges.keys(),
            longest: 0,
        }
    }

    /// Begins a round of evictions if a client asked for one. Returns its bytes: those asked for, and those that clients behind
    /// in line need.
    pub(crate) fn begin_evictions(&self) -> Option<u64> {
        self.supply.begin_round(|| self.change(|lines, _| lines.take_needs()))
    }

    /// Tells whether a write that arrives may try. Where others wait it stands behind them, unless the last round left places.
    /// Costs two loads.
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

    /// Gives permits to waiters, and calls those for which there may be enough capacity or a message place. Costs one load
    /// where there are none.
    pub(crate) fn look_after(&self, look: WorkerView) {
        if !self.has_waiters() {
            return;
        }
        self.pending_bytes_max.store(look.pending_bytes_max, Ordering::SeqCst);
        let (taken, taken_bytes) = (self.budget.queued(), self.budget.pending_bytes());
        let spare = Spare {
            places: QUEUED_MAX.saturating_sub(taken),
            bytes: look.pending_bytes_max.saturating_sub(taken_bytes),
        };
        let is_enough = spare.places >= QUEUED_MAX / FREE_PART
            && spare.bytes >= look.pending_bytes_max / u64::from(FREE_PART);
        self.change(|lines, woken| {
            if is_enough || look.is_idle {
                let reserve = |bytes| self.budget.reserve_write(bytes, look.pending_bytes_max);
                let has_given = lines.grant(spare, reserve, woken);
                // Short writes that arrive would take the bytes for which a long one waits. Where the worker is idle it has none to
                // give, and a remove that arrives may free what a full log lacks.
                self.is_open.store(has_given || look.is_idle, Ordering::SeqCst);
            }
            lines.ring(look.is_changed, look.enough_for, woken);
        });
    }

    /// A permit was given back unused: it goes to the oldest client that waits for one, whose worker may be asleep.
    fn pass_permit_on(&self) {
        let pending_bytes_max = self.pending_bytes_max.load(Ordering::SeqCst);
        let spare = Spare { places: 0, bytes: 0 };
        self.change(|lines, woken| {
            lines.grant(spare, |bytes| self.budget.reserve_write(bytes, pending_bytes_max), woken);
        });
    }

    /// A write found no place: from here on all stand in line, until the worker gives permits again.
    pub(crate) fn shut(&self) {
        self.is_open.store(false, Ordering::SeqCst);
    }

    /// Wakes all waiters to look at the tier: it takes no more writes.
    pub(crate) fn alert(&self) {
        self.change(Lines::alert);
    }

    /// Changes the lines, and wakes whom the change lets go on.
    fn change<R>(&self, change: impl FnOnce(&mut Lines<Woken>, &mut Vec<Woken>) -> R) -> R {
        let mut woken = Vec::new();
        let mut lines = self.lines.lock();
        let result = change(&mut lines, &mut woken);
        self.post(&lines);
        drop(lines);
        woken.into_iter().for_each(Woken::wake);
        result
    }

    fn post(&self, lines: &MutexGuard<'_, Lines<Woken>>) {
        let count = |clients: usize| u32::try_from(clients).unwrap_or(u32::MAX);
        self.clients.store(count(lines.clients()), Ordering::SeqCst);
        self.for_permits.store(count(lines.waiting_for_permits()), Ordering::SeqCst);
        self.for_capacity.store(count(lines.waiting_for_capacity()), Ordering::SeqCst);
        self.for_messages.store(count(lines.waiting_for_messages()), Ordering::SeqCst);
        self.keys_held.store(count(lines.keys_held()), Ordering::SeqCst);
    }
}
