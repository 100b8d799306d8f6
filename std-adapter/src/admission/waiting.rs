//! A client that waits: one wait for all lines, which ends with a deadline, a call or an alert.

use core::cell::Cell;
use core::task::Waker;
use std::time::Instant;

use coldpress_core::format::KeyHash;

use super::lines::{Go, Line, Lines};
use super::woken::Woken;
use super::{Admission, Turn};
use crate::recycled::Gone;

/// Leads to the admission of a partition for as long as that is open.
pub(crate) trait AdmissionLease: Copy + PartialEq {
    /// Looks at it; `None` once it is closed.
    fn reach<R>(self, look: impl FnOnce(&Admission) -> R) -> Option<R>;
}

/// A client that waits. A drop removes it from all lines, and passes on what was reserved for it.
#[derive(Debug)]
pub(crate) struct Waiting<L: AdmissionLease> {
    lease: L,
    number: u64,
    is_done: bool,
}

impl<L: AdmissionLease> Waiting<L> {
    /// Makes a waiter of the calling thread; `None` where the partition is closed.
    #[cfg(test)]
    pub(crate) fn new(lease: L) -> Option<Self> {
        Self::woken_by(lease, None)
    }

    /// Makes a waiter of the client that tries; `None` where the partition is closed.
    pub(crate) fn of(lease: L, tries: &Tries<'_>) -> Option<Self> {
        Self::woken_by(lease, tries.waker)
    }

    fn woken_by(lease: L, waker: Option<&Waker>) -> Option<Self> {
        let enter = |admission: &Admission| admission.change(|lines, _| lines.enter(Woken::of(waker)));
        Some(Self { lease, number: lease.reach(enter)?, is_done: false })
    }

    /// Enters a line, at the place of its age, and stays in other lines.
    pub(crate) fn stand(&self, line: Line) {
        self.lease.reach(|admission| admission.change(|lines, _| lines.stand(self.number, line)));
    }

    /// Tells whether it may try. Its permit, if it has one, is the caller's from then on. A value behind others that wait for
    /// capacity does not use it, unless it was called.
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

    /// Tells whether it is called to try for a place for its message, or for capacity; or has the key that it stands for.
    pub(crate) fn is_called(&self) -> bool {
        let take = |admission: &Admission| admission.change(|lines, _| lines.take(self.number).is_some());
        self.lease.reach(take).unwrap_or(false)
    }

    /// Sleeps until it may go on, is to look how its tier is, or the time has come.
    pub(crate) fn sleep_until(&self, deadline: Instant) {
        let is_awake = |admission: &Admission| admission.lines.lock().is_awake(self.number);
        // In a partition that is closed there is nothing to wait for.
        while self.lease.reach(is_awake) == Some(false) {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            // Whether it was woken for this, for something else or by the time is seen above.
            std::thread::park_timeout(left);
        }
    }

    /// The client, for the one that watches its deadline.
    pub(crate) const fn client(&self) -> LineClient<L> {
        LineClient { lease: self.lease, number: self.number }
    }

    /// Tells whether a future has a reason to try again: as for a thread, it may go on, or is to look how its tier is. Where it has
    /// none, `waker` is woken once it has one.
    pub(crate) fn is_awake(&self, waker: &Waker) -> bool {
        let waker = waker.clone();
        let look = |admission: &Admission| {
            let mut lines = admission.lines.lock();
            let before = lines.renew(self.number, |woken| woken.renew(waker));
            (lines.is_awake(self.number), before)
        };
        // In a partition that is closed there is nothing to wait for.
        self.lease.reach(look).is_none_or(|(is_awake, _)| is_awake)
    }

    /// It has what it waited for. There may be more, so the next ones are called.
    pub(crate) fn done(mut self) {
        self.is_done = true;
    }
}

impl<L: AdmissionLease> Drop for Waiting<L> {
    fn drop(&mut self) {
        remove(self.lease, self.number, |lines, woken| lines.leave(self.number, self.is_done, woken));
    }
}

/// Removes a client from all lines, and passes on what was reserved for it.
fn remove<L: AdmissionLease>(
    lease: L,
    number: u64,
    leave: impl FnOnce(&mut Lines<Woken>, &mut Vec<Woken>) -> Option<u64>,
) {
    // The reservations of a closed partition are gone with it.
    lease.reach(|admission| {
        let (bytes, _waker) = admission.change(|lines, woken| {
            let waker = lines.renew(number, |woken| woken.renew(Waker::noop().clone()));
            (leave(lines, woken), waker)
        });
        if let Some(bytes) = bytes {
            admission.budget.give_back_write(bytes);
            admission.pass_permit_on();
        }
    });
}

/// A client in the lines, for the one that watches its deadline.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LineClient<L: AdmissionLease> {
    lease: L,
    number: u64,
}

impl<L: AdmissionLease> LineClient<L> {
    /// The deadline has passed. A future that nobody polls leaves all lines, so that it holds up no other client. Its last try comes
    /// with its next poll. One that has a key keeps it.
    pub(crate) fn expire(self) {
        remove(self.lease, self.number, |lines, woken| lines.expire(self.number, woken));
    }
}

/// The tries of a client until its deadline. An attempt that would wait asks whether it is the last one; most have no need to,
/// and read no clock.
#[derive(Debug)]
pub(crate) struct Tries<'a> {
    deadline: Instant,
    is_last: Cell<Option<bool>>,
    /// The waker of a future that tries; a thread has none.
    waker: Option<&'a Waker>,
}

impl<'a> Tries<'a> {
    const fn until(deadline: Instant) -> Self {
        Self { deadline, is_last: Cell::new(None), waker: None }
    }

    /// A try of a future, in one of its polls.
    pub(crate) const fn of_poll(deadline: Instant, waker: &'a Waker) -> Self {
        Self { deadline, is_last: Cell::new(None), waker: Some(waker) }
    }

    /// Whether the deadline has passed, so that no wait follows this attempt. The answer stays the same during an attempt.
    pub(crate) fn is_last(&self) -> bool {
        let is_last = self.is_last.get().unwrap_or_else(|| Instant::now() >= self.deadline);
        self.is_last.set(Some(is_last));
        is_last
    }
}

/// Tries until an attempt has a result or fails, or the deadline has passed: `None` then.
///
/// An attempt with neither leaves a client in `waiting`, which stands in a line, unless it was the last one.
pub(crate) fn try_until<L: AdmissionLease, R, E>(
    deadline: Instant,
    mut attempt: impl FnMut(&mut Option<Waiting<L>>, &Tries<'_>) -> Result<Option<R>, E>,
) -> Result<Option<R>, E> {
    let mut waiting = None;
    loop {
        let tries = Tries::until(deadline);
        let result = attempt(&mut waiting, &tries)?;
        if result.is_some() {
            waiting.into_iter().for_each(Waiting::done);
        } else if !tries.is_last() {
            debug_assert!(waiting.is_some(), "a client that stands nowhere would try without a pause");
            waiting.iter().for_each(|waiting| waiting.sleep_until(deadline));
            continue;
        }
        return Ok(result);
    }
}

/// The right to the space that a partition keeps for values that are being replaced: one long value at a time.
pub(crate) const REPLACEMENT: KeyHash = KeyHash([0xFF; 12]);

/// A key that one client has for itself. Dropped, in a panic too, it goes to the client that has stood for it longest.
#[derive(Debug)]
pub(crate) struct KeyClaim<L: AdmissionLease> {
    _waiting: Waiting<L>,
}

impl<L: AdmissionLease> KeyClaim<L> {
    /// Waits for a key until the deadline; `None` then. `check` refuses where there is nothing to wait for: the tier is closed, or takes
    /// no writes.
    pub(crate) fn wait_for<E: From<Gone>>(
        lease: L,
        key: KeyHash,
        deadline: Instant,
        check: impl Fn() -> Result<(), E>,
    ) -> Result<Option<Self>, E> {
        try_until(deadline, |waiting, tries| Self::try_for(lease, key, waiting, tries, &check))
    }

    /// Tries for a key, or stands for it.
    pub(crate) fn try_for<E: From<Gone>>(
        lease: L,
        key: KeyHash,
        waiting: &mut Option<Waiting<L>>,
        tries: &Tries<'_>,
        check: impl Fn() -> Result<(), E>,
    ) -> Result<Option<Self>, E> {
        if waiting.is_none() {
            waiting.insert(Waiting::of(lease, tries).ok_or(Gone)?).stand(Line::Key(key));
        }
        // Checked after it entered the line: where the worker ended before, no alert comes, and the client gets the error here.
        check()?;
        let has_key = waiting.as_ref().is_some_and(Waiting::is_called);
        Ok(waiting.take_if(|_| has_key).map(|waiting| Self { _waiting: waiting }))
    }

    /// Waits for the space that is kept for values that are being replaced, as for a key.
    pub(crate) fn wait_for_replacement<E: From<Gone>>(
        lease: L,
        deadline: Instant,
        check: impl Fn() -> Result<(), E>,
    ) -> Result<Option<Self>, E> {
        Self::wait_for(lease, REPLACEMENT, deadline, check)
    }
}
