//! Demotion: values that the hot tier evicts go to the warm tier, dirty ones from there to the cold tier.
//!
//! The warm tier takes an evicted value if its key came into the hot tier twice lately, or if the log does not have the value.
//! Any other is dropped. So a scan goes past the warm tier as it goes past the hot one.

use core::panic::AssertUnwindSafe;
use core::time::Duration;
use std::panic::catch_unwind;
use std::time::Instant;

use super::dirty::ReservedBytes;
use super::error::CacheError;
use super::hot::{HotEntry, Leaving};
use super::stripes::{KeyStripe, Unlogged};
use super::tiers::{CacheKey, CacheValue, Located, Tiers};
use super::warm::Keeping;
use crate::api::encoded;
use crate::budget::{Granted, WorkKind};
use crate::config::Durability;
use crate::errors::PutError;
use crate::observe::RefusedOperation;

/// The most time that is booked for a put into the log. A longer one waited for space, which is no work.
const BOOKED_MAX: Duration = Duration::from_millis(1);

/// The longest sleep before the budget is asked again.
const TURN_WAIT_MAX: Duration = Duration::from_millis(20);

/// How long one waits for a stripe that others have, where there are other values to write.
const HELD_WAIT: Duration = Duration::from_millis(10);

/// The pause after a value that could not be written for its own sake.
const FAILED_WAIT: Duration = Duration::from_millis(1);

/// Whether somebody waits for dirty values to be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Urgency {
    /// A client does, or a close.
    Awaited,
    /// Nobody does.
    Background,
}

/// The outcome of an attempt to write a dirty value.
enum WriteBack {
    /// The log has it now, or nothing was to be written.
    Done,
    Failed(CacheError),
}

/// Encodes a value that was encoded when it was put. Its panic is not one of the client that works now.
fn encoded_again<V: CacheValue>(value: &V) -> Result<Vec<u8>, CacheError> {
    // A value that is changed by its own encoding is its owner's affair.
    let bytes = catch_unwind(AssertUnwindSafe(|| encoded(value)));
    bytes.ok().flatten().ok_or(CacheError::Encode)
}

impl<K: CacheKey, V: CacheValue> Tiers<K, V> {
    /// Takes out what the hot tier evicted, each into the tier below where it is worth that. No stripe is held.
    ///
    /// A value that can't be demoted stays where it is, and is tried again by [`settle_left`](Self::settle_left).
    pub(super) fn settle(&self, leaving: Vec<Leaving<K>>) {
        if leaving.is_empty() {
            return;
        }
        let bytes = leaving.iter().map(|leaving| u64::from(leaving.weight)).sum();
        self.explain_evicted(leaving.len() as u64, bytes);
        self.settle_again(leaving);
    }

    /// As [`settle`](Self::settle), of values whose eviction was explained before.
    fn settle_again(&self, leaving: Vec<Leaving<K>>) {
        // One for all: who brings in a value waits for a stuck tier once, not for each that leaves.
        let deadline = self.deadline();
        for leaving in leaving {
            let begun = Instant::now();
            let Ok(at) = self.locate(&leaving.key) else { continue };
            if let Err(error) = self.settle_one(&leaving, &at, deadline) {
                self.counts.failed_demotions.add(1);
                self.explain_refused(RefusedOperation::Move, &at, &error, begun);
            }
        }
    }

    fn settle_one(&self, leaving: &Leaving<K>, at: &Located, deadline: Instant) -> Result<(), CacheError> {
        let mut stripe = self.lock(at, deadline)?;
        let hot = self.hot()?;
        let is_same = |entry: &HotEntry<V>| entry.stamp == leaving.stamp;
        // Another thread may have put the key meanwhile.
        let Some(entry) = hot.leaving(&leaving.key).filter(is_same) else { return Ok(()) };
        if self.is_over(at.partition, entry.expires_s)? {
            return self.expire(&mut stripe, &leaving.key, at);
        }
        self.demote_hot(&mut stripe, &leaving.key, at, &entry, deadline)?;
        hot.take_leaving(leaving);
        Ok(())
    }

    fn demote_hot(
        &self,
        stripe: &mut KeyStripe<K>,
        key: &K,
        at: &Located,
        entry: &HotEntry<V>,
        deadline: Instant,
    ) -> Result<(), CacheError> {
        let keeping = match stripe.unlogged.get(key) {
            Some(Unlogged::Dirty { .. }) => Keeping::Kept,
            Some(Unlogged::MemoryOnly) => Keeping::Evictable,
            None if entry.is_frequent => Keeping::Evictable,
            None => {
                self.counts.dropped.add(1);
                return Ok(());
            }
        };
        let bytes = encoded_again(&entry.value)?;
        let is_warm = self.warm.insert(&at.hash, &at.key_bytes, &bytes, entry.expires_s, keeping).is_ok();
        if is_warm {
            self.counts.demoted_warm.add(1);
            self.queue_dirty(stripe, key);
            return Ok(());
        }
        // An older copy there would be read once this one is gone.
        self.warm.remove(&at.hash);
        if keeping == Keeping::Kept {
            if Instant::now() >= deadline {
                return Err(CacheError::TimedOut);
            }
            return self.log_dirty(stripe, key, at, &bytes, entry.expires_s);
        }
        self.forget_unlogged(stripe, key);
        self.counts.dropped.add(1);
        Ok(())
    }

    /// Lets a dirty value stand in the queue of those that are to be written.
    pub(super) fn queue_dirty(&self, stripe: &mut KeyStripe<K>, key: &K) {
        if let Some(Unlogged::Dirty { place, .. }) = stripe.unlogged.get_mut(key)
            && place.is_none()
        {
            *place = Some(self.dirty.queue(key.clone()));
        }
    }

    /// Writes a dirty value to the log. It is clean then.
    fn log_dirty(
        &self,
        stripe: &mut KeyStripe<K>,
        key: &K,
        at: &Located,
        bytes: &[u8],
        expires_s: Option<u32>,
    ) -> Result<(), CacheError> {
        self.cold.put_expiring(&at.key_bytes, bytes, expires_s)?;
        self.forget_unlogged(stripe, key);
        self.counts.demoted_cold.add(1);
        Ok(())
    }

    /// Writes the value of a key to the log, if it is dirty. It stays in memory, from where it may be dropped then.
    fn write_back(&self, key: &K, deadline: Instant) -> WriteBack {
        let begun = Instant::now();
        let at = match self.locate(key) {
            Ok(at) => at,
            Err(error) => return WriteBack::Failed(error),
        };
        match self.try_write_back(key, &at, deadline) {
            Ok(bytes) => {
                // The turn was taken before, or could not be waited for.
                self.budget.book(WorkKind::Demotion, begun.elapsed().min(BOOKED_MAX), bytes);
                WriteBack::Done
            }
            Err(error) => {
                self.counts.failed_demotions.add(1);
                self.explain_refused(RefusedOperation::Move, &at, &error, begun);
                WriteBack::Failed(error)
            }
        }
    }

    /// Returns the bytes that the value counted while it was dirty.
    fn try_write_back(&self, key: &K, at: &Located, deadline: Instant) -> Result<u64, CacheError> {
        let mut stripe = self.lock(at, deadline)?;
        let Some(Unlogged::Dirty { place, bytes, .. }) = stripe.unlogged.get_mut(key) else {
            return Ok(0);
        };
        // Where it fails, it stands at the end.
        place.take().into_iter().for_each(|place| self.dirty.unqueue(place));
        let bytes = *bytes;
        self.write_back_held(&mut stripe, key, at).inspect_err(|_| self.queue_dirty(&mut stripe, key))?;
        Ok(bytes)
    }

    /// As [`write_back`](Self::write_back), under the hold on the stripe.
    pub(super) fn write_back_held(
        &self,
        stripe: &mut KeyStripe<K>,
        key: &K,
        at: &Located,
    ) -> Result<(), CacheError> {
        let in_hot = self.hot()?.peek(key);
        if let Some(entry) = in_hot {
            if self.is_over(at.partition, entry.expires_s)? {
                return self.expire(stripe, key, at);
            }
            let bytes = encoded_again(&entry.value)?;
            return self.log_dirty(stripe, key, at, &bytes, entry.expires_s);
        }
        let found = self.warm.get(&at.hash, &at.key_bytes).ok_or(CacheError::Lost)?;
        if self.is_over(at.partition, found.expires_s)? {
            return self.expire(stripe, key, at);
        }
        self.log_dirty(stripe, key, at, &found.value, found.expires_s)?;
        // The pools may drop it from now on.
        let again =
            self.warm.insert(&at.hash, &at.key_bytes, &found.value, found.expires_s, Keeping::Evictable);
        if again.is_err() {
            self.warm.remove(&at.hash);
        }
        Ok(())
    }

    /// Reserves dirty bytes, and writes others to the log for that where there are too many. No stripe is held.
    pub(super) fn reserve_dirty(
        &self,
        bytes: u64,
        deadline: Instant,
    ) -> Result<ReservedBytes<'_>, CacheError> {
        let mut last = None;
        loop {
            if let Some(reserved) = self.dirty.reserve(bytes) {
                return Ok(reserved);
            }
            let backlog =
                |error| CacheError::Backlog { bytes: self.dirty.bytes(), max: self.dirty.max, error };
            match self.demote_one() {
                Some(WriteBack::Done) => {}
                Some(WriteBack::Failed(CacheError::Put(error))) => last = Some(error),
                Some(WriteBack::Failed(CacheError::Closed)) => return Err(CacheError::Closed),
                // A value that can't be moved now does not stand in the way of others.
                Some(WriteBack::Failed(_)) => std::thread::sleep(FAILED_WAIT),
                // All that are left are being written by others, or this value alone is beyond the limit.
                None if bytes > self.dirty.max => return Err(backlog(None)),
                None => std::thread::yield_now(),
            }
            if Instant::now() >= deadline || matches!(last, Some(PutError::Tier(_))) {
                return Err(backlog(last));
            }
        }
    }

    /// Writes one dirty value to the log: the one that left the hot tier first, else any; `None` where none was found.
    fn demote_one(&self) -> Option<WriteBack> {
        // Others may have a stripe for long: there are more values.
        let deadline = Instant::now() + HELD_WAIT;
        if let Some(key) = self.dirty.next() {
            return Some(self.write_back(&key, deadline));
        }
        for _ in 0..self.stripes.count() {
            let number = self.dirty.next_stripe() % self.stripes.count();
            let is_dirty = |unlogged: &Unlogged| matches!(unlogged, Unlogged::Dirty { .. });
            let key = self.stripes.unlogged(number, Instant::now(), is_dirty).unwrap_or_default().pop();
            if let Some(key) = key {
                return Some(self.write_back(&key, deadline));
            }
        }
        None
    }

    /// Writes all values to the log that have been dirty for so long, and returns how many were and how many stayed dirty, with the last
    /// failure. In the background each waits for a slice of the budget. It gives the others up where none could be written for twice the
    /// patience of an operation. Those of a stripe that others have for too long are not counted, and [`CacheError::TimedOut`] says so.
    pub(super) fn write_back_all(&self, age: Duration, urgency: Urgency) -> (u64, u64, Option<CacheError>) {
        let now = Instant::now();
        let is_due = |unlogged: &Unlogged| match unlogged {
            Unlogged::Dirty { since, .. } => now.saturating_duration_since(*since) >= age,
            Unlogged::MemoryOnly => false,
        };
        let (mut written, mut left, mut last) = (0, 0, None);
        let (mut progress, mut stripe_wait, mut is_stuck) = (now, self.terms.op_timeout, false);
        for number in 0..self.stripes.count() {
            let Some(keys) = self.stripes.unlogged(number, Instant::now() + stripe_wait, is_due) else {
                last = Some(CacheError::TimedOut);
                stripe_wait = HELD_WAIT;
                continue;
            };
            for key in keys {
                if is_stuck {
                    left += 1;
                    continue;
                }
                if urgency == Urgency::Background {
                    self.wait_for_turn();
                }
                match self.write_back(&key, self.deadline()) {
                    WriteBack::Done => (written, progress) = (written + 1, Instant::now()),
                    WriteBack::Failed(error) => {
                        (left, last) = (left + 1, Some(error));
                        is_stuck = progress.elapsed() >= 2 * self.terms.op_timeout;
                    }
                }
            }
        }
        (written, left, last)
    }

    /// Waits until the budget grants a slice. It is not kept for the write, which may wait for space that other work has to free.
    fn wait_for_turn(&self) {
        let deadline = self.deadline();
        while let Granted::Later(wait) = self.budget.try_slice(WorkKind::Demotion) {
            if Instant::now() >= deadline {
                return;
            }
            std::thread::sleep(wait.min(TURN_WAIT_MAX));
        }
    }

    /// Makes all that was put or removed as durable as asked. Dirty values are written for that; memory-only ones are not.
    pub(super) fn flush_to(&self, durability: Durability) -> Result<(), CacheError> {
        if let (_, _, Some(error)) = self.write_back_all(Duration::ZERO, Urgency::Awaited) {
            return Err(error);
        }
        Ok(self.cold.flush_to(durability)?)
    }

    /// Takes out values that an earlier attempt could not demote, and those whose time is over.
    ///
    /// # Bounds
    /// Looks at each entry of the hot tier, one lock hold each.
    pub(super) fn settle_left(&self) -> Result<(), CacheError> {
        self.settle_again(self.hot()?.all_leaving());
        for (key, entry) in self.hot()?.iter() {
            if self.is_over(entry.partition.into(), entry.expires_s)? {
                let at = self.locate(&key)?;
                let mut stripe = self.lock(&at, self.deadline())?;
                // Looks again, under the stripe, and drops it.
                self.has_value(&mut stripe, &key, &at)?;
            }
        }
        Ok(())
    }
}
