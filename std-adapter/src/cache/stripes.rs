//! The locks by which the writes of a key follow each other, and the keys whose value the log does not have.
//!
//! Every change of a key in any tier is made under the lock of its stripe: a put, a remove, a promotion, a demotion. So at any time the
//! newest value of a key lies in the highest tier that has one. A read that the hot tier answers takes none of these locks.

use core::hash::Hash;
use std::collections::HashMap;
use std::time::Instant;

use coldpress_core::format::KeyHash;
use parking_lot::{Mutex, MutexGuard};

/// The number of stripes: two different keys share one with a probability of 1 in 1,024.
const STRIPES: usize = 1_024;

/// So many memory-only keys of a stripe may be gone from memory before one looks for them.
pub(super) const MEMORY_ONLY_MIN: usize = 16;

/// Why the log does not have the newest value of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unlogged {
    /// It is written to the log when it leaves memory.
    Dirty {
        /// Bytes that it counts against the limit on dirty bytes.
        bytes: u64,
        /// When the log last had the newest value of the key.
        since: Instant,
        /// Its place in the queue of values to be written, if it stands there.
        place: Option<u64>,
    },
    /// It is never written to the log, which has no older value either.
    MemoryOnly,
}

/// The keys of one stripe whose newest value the log does not have.
#[derive(Debug)]
pub(super) struct KeyStripe<K> {
    pub(super) unlogged: HashMap<K, Unlogged>,
    /// How many memory-only keys there may be before those are looked for that the pools dropped.
    pub(super) memory_only_max: usize,
}

/// On a cache line of its own: neighbours must not slow each other down.
#[repr(align(128))]
struct StripeLock<K>(Mutex<KeyStripe<K>>);

pub(super) struct Stripes<K> {
    locks: Box<[StripeLock<K>]>,
}

pub(super) type LockedStripe<'a, K> = MutexGuard<'a, KeyStripe<K>>;

impl<K: Hash + Eq + Clone> Stripes<K> {
    pub(super) fn new() -> Self {
        let stripe = |_| {
            StripeLock(Mutex::new(KeyStripe { unlogged: HashMap::new(), memory_only_max: MEMORY_ONLY_MIN }))
        };
        Self { locks: (0..STRIPES).map(stripe).collect() }
    }

    /// How many there are.
    pub(super) fn count(&self) -> usize {
        self.locks.len()
    }

    /// Locks the stripe of a key; `None` where others have it until the deadline.
    pub(super) fn lock(&self, KeyHash(hash): &KeyHash, deadline: Instant) -> Option<LockedStripe<'_, K>> {
        let [.., a, b] = *hash;
        let number = usize::from(u16::from_le_bytes([a, b])) % STRIPES;
        let StripeLock(lock) = self.locks.get(number)?;
        match lock.try_lock() {
            Some(stripe) => Some(stripe),
            None => lock.try_lock_until(deadline),
        }
    }

    /// Shows the unlogged keys of a stripe; `None` where others have it until the deadline, or there is no such stripe.
    pub(super) fn unlogged(
        &self,
        number: usize,
        deadline: Instant,
        is_wanted: impl Fn(&Unlogged) -> bool,
    ) -> Option<Vec<K>> {
        let StripeLock(lock) = self.locks.get(number)?;
        let stripe = lock.try_lock_until(deadline)?;
        let wanted = stripe.unlogged.iter().filter(|(_, unlogged)| is_wanted(unlogged));
        Some(wanted.map(|(key, _)| key.clone()).collect())
    }
}
