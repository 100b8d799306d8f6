//! A store that is a map in memory: the measure of a replay's own cost, and the double of its tests.

use core::sync::atomic::{AtomicU64, Ordering};
use core::time::Duration;
use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use crate::store::{
    Handle, Opener, PageView, SegmentView, Store, StoreError, StoreFigures, Task, TaskReport,
};

/// A value, and when it expires.
type Held = (Vec<u8>, Option<Instant>);

/// Holds what a [`MemoryStore`] stores, also while none is open.
#[derive(Debug)]
pub struct Memory {
    values: Mutex<HashMap<Vec<u8>, Held>>,
    capacity_bytes: u64,
    bytes_put: AtomicU64,
    live_bytes: AtomicU64,
    peak_bytes: AtomicU64,
}

impl Memory {
    /// Makes an empty one that holds so many bytes of keys and values.
    #[must_use]
    pub fn new(capacity_bytes: u64) -> Self {
        Self {
            values: Mutex::default(),
            capacity_bytes,
            bytes_put: AtomicU64::new(0),
            live_bytes: AtomicU64::new(0),
            peak_bytes: AtomicU64::new(0),
        }
    }

    fn values(&self) -> MutexGuard<'_, HashMap<Vec<u8>, Held>> {
        self.values.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes a stored value without a request, for tests of the checks.
    pub fn tamper(&self, key: &[u8], change: impl FnOnce(&mut Vec<u8>)) {
        if let Some((value, _)) = self.values().get_mut(key) {
            change(value);
        }
    }

    /// Drops a key without a request, for tests of the checks.
    pub fn lose(&self, key: &[u8]) {
        self.values().remove(key);
    }
}

impl Opener for Memory {
    type Store<'a> = MemoryStore<'a>;

    fn open(&self) -> Result<MemoryStore<'_>, StoreError> {
        let records = self.values().len() as u64;
        Ok(MemoryStore { memory: self, recovered_records: records })
    }
}

/// A [`Memory`] that is open.
#[derive(Debug, Clone, Copy)]
pub struct MemoryStore<'a> {
    memory: &'a Memory,
    recovered_records: u64,
}

impl Handle for MemoryStore<'_> {
    fn put(self, key: &[u8], value: &[u8], ttl_s: Option<u32>) -> Result<(), StoreError> {
        let memory = self.memory;
        let deadline = ttl_s.map(|ttl| Instant::now() + Duration::from_secs(ttl.into()));
        let mut values = memory.values();
        let before = values.get(key).map_or(0, |(value, _)| key.len() + value.len()) as u64;
        let bytes = (key.len() + value.len()) as u64;
        let live_bytes = memory.live_bytes.load(Ordering::Relaxed) - before + bytes;
        if live_bytes > memory.capacity_bytes {
            return Err(StoreError::Full);
        }
        values.insert(key.to_vec(), (value.to_vec(), deadline));
        memory.bytes_put.fetch_add(bytes, Ordering::Relaxed);
        memory.live_bytes.store(live_bytes, Ordering::Relaxed);
        memory.peak_bytes.fetch_max(live_bytes, Ordering::Relaxed);
        Ok(())
    }

    fn get(self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        let values = self.memory.values();
        let held = values.get(key).filter(|(_, deadline)| deadline.is_none_or(|at| Instant::now() < at));
        Ok(held.map(|(value, _)| value.clone()))
    }

    fn remove(self, key: &[u8]) -> Result<(), StoreError> {
        if let Some((value, _)) = self.memory.values().remove(key) {
            self.memory.live_bytes.fetch_sub((key.len() + value.len()) as u64, Ordering::Relaxed);
        }
        Ok(())
    }

    fn is_compacting(self) -> bool {
        false
    }

    fn run(self, task: Task) -> Result<TaskReport, StoreError> {
        Ok(TaskReport::done(task.name(), Duration::ZERO, "nothing to do in memory".to_owned()))
    }

    fn figures(self) -> StoreFigures {
        let memory = self.memory;
        let bytes_put = memory.bytes_put.load(Ordering::Relaxed);
        StoreFigures {
            bytes_put,
            bytes_encoded: bytes_put,
            bytes_written: bytes_put,
            capacity_bytes: memory.capacity_bytes,
            peak_bytes: memory.peak_bytes.load(Ordering::Relaxed),
            live_bytes: memory.live_bytes.load(Ordering::Relaxed),
            recovered_records: self.recovered_records,
            keys: memory.values().len() as u64,
            ..StoreFigures::default()
        }
    }
}

impl Store for MemoryStore<'_> {
    type Handle<'a>
        = Self
    where
        Self: 'a;

    fn handle(&self) -> Self {
        *self
    }

    fn segments(&self) -> Vec<SegmentView> {
        let figures = self.figures();
        vec![SegmentView {
            live_bytes: figures.live_bytes,
            stale_bytes: 0,
            capacity_bytes: figures.capacity_bytes,
        }]
    }

    fn pages(&self) -> Vec<PageView> {
        Vec::new()
    }

    fn fragmentation_permille(&self) -> u32 {
        0
    }

    fn defragment(&self) -> Result<u64, StoreError> {
        Ok(0)
    }

    fn clean_up(&self) -> Result<u64, StoreError> {
        Ok(0)
    }

    fn flush(&self) -> Result<(), StoreError> {
        Ok(())
    }

    fn close(self) -> Result<(), StoreError> {
        Ok(())
    }
}
