//! The budget of a partition for writes and messages on their way: places in the worker's queue, and pending bytes.

use core::sync::atomic::Ordering::{AcqRel, Relaxed, Release};
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64};

/// Writes that can be on their way to the worker of a partition.
pub(crate) const QUEUED_MAX: u32 = 8192;
/// Other messages that can be on their way to it: questions and notifications.
pub(crate) const ASKED_MAX: u32 = 1022;

/// The parts of both that are taken. A part is reserved before the message that needs it is sent, so each sent message has its
/// place.
#[derive(Debug, Default)]
pub(crate) struct Budget {
    /// Messages about writes that the worker has not appended yet.
    queued: AtomicU32,
    /// Messages that are no writes and that it has not dealt with yet.
    asked: AtomicU32,
    /// Whether a nudge is on its way to it.
    is_nudged: AtomicBool,
    /// Bytes of writes that are not on the medium yet, and of those that have a permit.
    pending_bytes: AtomicU64,
}

/// Reserves one of `max` places.
fn reserve_place(taken: &AtomicU32, max: u32) -> bool {
    taken.fetch_update(AcqRel, Relaxed, |now| (now < max).then(|| now + 1)).is_ok()
}

impl Budget {
    /// Reserves a place in the queue and so many pending bytes, or neither.
    pub(crate) fn reserve_write(&self, bytes: u64, bytes_max: u64) -> bool {
        if !reserve_place(&self.queued, QUEUED_MAX) {
            return false;
        }
        let added = |now: u64| now.checked_add(bytes).filter(|sum| *sum <= bytes_max);
        let has_both = self.pending_bytes.fetch_update(Relaxed, Relaxed, added).is_ok();
        if !has_both {
            self.give_back_place();
        }
        has_both
    }

    /// Gives both back.
    pub(crate) fn give_back_write(&self, bytes: u64) {
        self.give_back_place();
        self.give_back_bytes(bytes);
    }

    /// Gives the place of a write back.
    pub(crate) fn give_back_place(&self) {
        self.queued.fetch_sub(1, Relaxed);
    }

    /// Gives the pending bytes of a write back.
    pub(crate) fn give_back_bytes(&self, bytes: u64) {
        self.pending_bytes.fetch_sub(bytes, Relaxed);
    }

    /// Changes the pending bytes of a key, whatever the limit.
    pub(crate) fn change_bytes(&self, before: u64, after: u64) {
        if after > before {
            self.pending_bytes.fetch_add(after - before, AcqRel);
        } else if after < before {
            self.pending_bytes.fetch_sub(before - after, AcqRel);
        }
    }

    /// Reserves a place for a message that is no write.
    pub(crate) fn reserve_message(&self) -> bool {
        reserve_place(&self.asked, ASKED_MAX)
    }

    /// Gives it back.
    pub(crate) fn give_back_message(&self) {
        self.asked.fetch_sub(1, Relaxed);
    }

    /// Tells whether a nudge is to be sent: none is on its way.
    pub(crate) fn begin_nudge(&self) -> bool {
        !self.is_nudged.swap(true, AcqRel)
    }

    /// The nudge has arrived.
    pub(crate) fn end_nudge(&self) {
        self.is_nudged.store(false, Release);
    }

    /// Places of writes that are taken.
    pub(crate) fn queued(&self) -> u32 {
        self.queued.load(Relaxed)
    }

    /// Places of other messages that are taken.
    pub(crate) fn asked(&self) -> u32 {
        self.asked.load(Relaxed)
    }

    /// Bytes of writes that are not on the medium yet, and of those that have a permit.
    pub(crate) fn pending_bytes(&self) -> u64 {
        self.pending_bytes.load(Relaxed)
    }

    /// Takes so many places, for tests.
    #[cfg(test)]
    pub(crate) fn set_taken(&self, queued: u32, asked: u32) {
        self.queued.store(queued, Relaxed);
        self.asked.store(asked, Relaxed);
    }
}
