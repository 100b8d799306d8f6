//! Dirty values: how many bytes of them there are, and in which order they go to the log.

use core::sync::atomic::AtomicU64;
use core::sync::atomic::AtomicUsize;
use core::sync::atomic::Ordering::Relaxed;
use std::collections::VecDeque;

use parking_lot::Mutex;

/// The account of dirty values. The sum counts each from before it can be read until the log has it.
#[derive(Debug)]
pub(super) struct Dirty<K> {
    bytes: AtomicU64,
    pub(super) max: u64,
    /// Keys in the order in which they left the hot tier. A key stands here once.
    queue: Mutex<VecDeque<K>>,
    /// The stripe to look into next where the queue is empty.
    cursor: AtomicUsize,
}

impl<K> Dirty<K> {
    pub(super) const fn new(max: u64) -> Self {
        Self {
            bytes: AtomicU64::new(0),
            max,
            queue: Mutex::new(VecDeque::new()),
            cursor: AtomicUsize::new(0),
        }
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes.load(Relaxed)
    }

    /// Reserves bytes for a value, if there is space within the limit.
    pub(super) fn reserve(&self, bytes: u64) -> bool {
        let with = |sum: u64| sum.checked_add(bytes).filter(|sum| *sum <= self.max);
        self.bytes.fetch_update(Relaxed, Relaxed, with).is_ok()
    }

    pub(super) fn give_back(&self, bytes: u64) {
        self.bytes.fetch_sub(bytes, Relaxed);
    }

    pub(super) fn queue(&self, key: K) {
        self.queue.lock().push_back(key);
    }

    pub(super) fn next(&self) -> Option<K> {
        self.queue.lock().pop_front()
    }

    /// Issues the number of a stripe, each in its turn.
    pub(super) fn next_stripe(&self) -> usize {
        self.cursor.fetch_add(1, Relaxed)
    }
}
