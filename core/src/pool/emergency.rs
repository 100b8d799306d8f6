//! Giving memory back when it is needed elsewhere, cheapest first.
//!
//! ```text
//!  Idle ─1─► Expired ─3─► Coldest ─4─► Idle
//!    └────────────2────────────▲
//! ```
//!
//! 1. `begin_emergency`: the free pages are released.
//! 2. `begin_emergency`: the same, and no object has an expiry.
//! 3. `drop_expired`: the whole handle table was looked at once.
//! 4. `evict_down`: the pool is within its low watermark, or nothing evictable is left.
//!
//! The first two lose nothing that anyone could still read, so they are always done. The coldest objects of a pool lie
//! scattered, and dropping them alone would leave many pages half empty; so as soon as a class has a page's worth of free
//! slots, a page is emptied by moving. Only then is the next object dropped.

use super::tables::ObjectState;
use super::{Handle, Pages, Pool, Step, Tables};

/// Tells why a pool dropped an object by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum DropReason {
    /// Its time was over.
    Expired,
    /// Space was needed, and the object was the coldest.
    Evicted,
}

/// Tells the owner of an object that it is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Dropped<T> {
    /// The handle, stale by now.
    pub handle: Handle,
    /// The tag it was allocated with.
    pub tag: T,
    /// Why.
    pub reason: DropReason,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub(super) enum Emergency {
    Idle,
    Expired { cursor: u32 },
    Coldest,
}

/// Pages released, entries looked at, objects evicted per step.
const SPARES_MAX: u32 = 8;
const LOOKS_MAX: u32 = 256;
const EVICTIONS_MAX: u32 = 32;

impl<P: Pages, S: Tables> Pool<P, S> {
    /// Gives memory back: free pages, then expired objects, then evictable ones from the coldest until the pool is within its
    /// low watermark. Each object dropped is reported to `dropped`. Pinned objects are left alone.
    ///
    /// Repeat it until the step says `done`; [`is_within_low_watermark`](Self::is_within_low_watermark) then tells whether
    /// it was enough. `now_s` is on the clock of [`Terms::expires_s`](super::Terms::expires_s).
    ///
    /// # Bounds
    /// One of: 8 pages released; 256 handle entries looked at; 32 objects evicted; or as much as
    /// [`defragment_step`](Self::defragment_step) moves with `bytes_max`.
    pub fn emergency_step(
        &mut self,
        now_s: u32,
        bytes_max: u32,
        mut dropped: impl FnMut(Dropped<S::Tag>),
    ) -> Step {
        let released_before = self.totals.released_pages;
        let mut step = Step::default();
        match self.emergency {
            Emergency::Idle => self.begin_emergency(),
            Emergency::Expired { cursor } => self.drop_expired(cursor, now_s, &mut step, &mut dropped),
            Emergency::Coldest => self.evict_down(bytes_max, &mut step, &mut dropped),
        }
        self.count_released(released_before, &mut step);
        step
    }

    /// Tells whether none is left.
    fn release_spares(&mut self) -> bool {
        (0..SPARES_MAX).any(|_| self.release_spare().is_none())
    }

    fn begin_emergency(&mut self) {
        if self.release_spares() {
            let expiring = self.totals.expiring_objects > 0;
            self.emergency = if expiring { Emergency::Expired { cursor: 0 } } else { Emergency::Coldest };
        }
    }

    fn drop_expired(
        &mut self,
        cursor: u32,
        now_s: u32,
        step: &mut Step,
        dropped: &mut impl FnMut(Dropped<S::Tag>),
    ) {
        let end = cursor.saturating_add(LOOKS_MAX).min(self.fresh_object);
        for index in cursor..end {
            let expired = self.object(index).is_some_and(|object| {
                let over = object.expires_s.is_some_and(|expires_s| expires_s <= now_s);
                object.state == ObjectState::Live && object.pins == 0 && over
            });
            if expired && self.drop_reported(index, DropReason::Expired, dropped) {
                step.expired_objects = step.expired_objects.saturating_add(1);
            }
        }
        let more = end < self.fresh_object;
        self.emergency = if more { Emergency::Expired { cursor: end } } else { Emergency::Coldest };
    }

    fn evict_down(&mut self, bytes_max: u32, step: &mut Step, dropped: &mut impl FnMut(Dropped<S::Tag>)) {
        // Objects freed since the first step may have left spare pages, which are cheaper than anything below.
        if !self.release_spares() {
            return;
        }
        if self.is_within_low_watermark() {
            self.end_emergency(step);
            return;
        }
        self.drain_page(bytes_max, step);
        if !core::mem::take(&mut step.done) {
            return;
        }
        // After a failure of the pages no page is emptied by moving, only by dropping. Where gaps are too small to move anything
        // into them, more is dropped before the next attempt.
        let is_stuck = step.failed || Self::IS_PACKED && self.has_page_of_gaps();
        for _ in 0..EVICTIONS_MAX {
            let coldest = self.coldest();
            let Some((index, class)) = coldest.and_then(|index| Some((index, self.object(index)?.class)))
            else {
                self.end_emergency(step);
                return;
            };
            if self.drop_reported(index, DropReason::Evicted, dropped) {
                step.evicted_objects = step.evicted_objects.saturating_add(1);
            }
            let can_move = !is_stuck && self.can_free_page(class, bytes_max);
            if can_move || self.is_within_low_watermark() {
                return;
            }
        }
    }

    fn drop_reported(
        &mut self,
        index: u32,
        reason: DropReason,
        dropped: &mut impl FnMut(Dropped<S::Tag>),
    ) -> bool {
        match self.drop_object(index, false) {
            Some((handle, tag)) => {
                dropped(Dropped { handle, tag, reason });
                true
            }
            None => false,
        }
    }

    fn end_emergency(&mut self, step: &mut Step) {
        self.emergency = Emergency::Idle;
        step.done = true;
    }
}
