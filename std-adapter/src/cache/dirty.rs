//! Dirty values: how many bytes of them there are, and in which order they go to the log.
//!
//! A key leaves the queue with the value that it stood there for. So the queue is never longer than there are dirty values.

use core::sync::atomic::AtomicU64;
use core::sync::atomic::AtomicUsize;
use core::sync::atomic::Ordering::Relaxed;
use std::collections::BTreeMap;

use parking_lot::Mutex;

/// Keys in the order in which they left the hot tier, by their places. A key stands here once.
#[derive(Debug)]
struct DirtyQueue<K> {
    keys: BTreeMap<u64, K>,
    next_place: u64,
}

/// The account of dirty values. The sum counts each from before it can be read until the log has it.
#[derive(Debug)]
pub(super) struct Dirty<K> {
    bytes: AtomicU64,
    pub(super) max: u64,
    queue: Mutex<DirtyQueue<K>>,
    /// The stripe to look into next where the queue is empty.
    cursor: AtomicUsize,
}

impl<K> Dirty<K> {
    pub(super) const fn new(max: u64) -> Self {
        Self {
            bytes: AtomicU64::new(0),
            max,
            queue: Mutex::new(DirtyQueue { keys: BTreeMap::new(), next_place: 0 }),
            cursor: AtomicUsize::new(0),
        }
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes.load(Relaxed)
    }

    /// Reserves bytes for a value, if there is space within the limit.
    pub(super) fn reserve(&self, bytes: u64) -> Option<ReservedBytes<'_>> {
        let with = |sum: u64| sum.checked_add(bytes).filter(|sum| *sum <= self.max);
        let reserved = self.bytes.fetch_update(Relaxed, Relaxed, with);
        reserved.is_ok().then(|| ReservedBytes { sum: &self.bytes, bytes })
    }

    pub(super) fn give_back(&self, bytes: u64) {
        self.bytes.fetch_sub(bytes, Relaxed);
    }

    /// Lets a key stand at the end of the queue; returns its place.
    pub(super) fn queue(&self, key: K) -> u64 {
        let mut queue = self.queue.lock();
        let place = queue.next_place;
        queue.next_place += 1;
        queue.keys.insert(place, key);
        place
    }

    /// Takes a key out of its place, if it still stands there.
    pub(super) fn unqueue(&self, place: u64) {
        self.queue.lock().keys.remove(&place);
    }

    pub(super) fn next(&self) -> Option<K> {
        self.queue.lock().keys.pop_first().map(|(_, key)| key)
    }

    /// How many keys stand in the queue.
    #[cfg(test)]
    pub(super) fn queued(&self) -> usize {
        self.queue.lock().keys.len()
    }

    /// Issues the number of a stripe, each in its turn.
    pub(super) fn next_stripe(&self) -> usize {
        self.cursor.fetch_add(1, Relaxed)
    }
}

/// Dirty bytes that were reserved for a value that is not there yet. A drop gives them back.
#[derive(Debug)]
pub(super) struct ReservedBytes<'a> {
    sum: &'a AtomicU64,
    bytes: u64,
}

impl ReservedBytes<'_> {
    pub(super) const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Leaves them to the value, which is there from now on.
    pub(super) const fn leave(&mut self) {
        self.bytes = 0;
    }
}

impl Drop for ReservedBytes<'_> {
    fn drop(&mut self) {
        self.sum.fetch_sub(self.bytes, Relaxed);
    }
}
