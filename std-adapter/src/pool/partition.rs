//! One partition: a pool and the keys of what lies in it.

use core::hash::{BuildHasherDefault, Hasher};
use std::collections::HashMap;

use coldpress_core::pool::{
    AllocateError, DropReason, Handle, LimitsError, PageOccupancy, Pool, SizeClasses, Step, Terms,
};
use crossbeam_channel::Sender;

use super::config::PoolConfig;
use super::error::HotError;
use super::evictions::Evictions;
use super::frequency::Frequency;
use super::hot::{HotKey, Looked};
use super::mapped::{HeapTables, MappedPages};
use crate::observe::{Eviction, EvictionCause};

/// Takes the key's own bits: they come out of a keyed hash already, so hashing them again would only cost time.
#[derive(Debug, Default)]
pub(super) struct KeyBits(u64);

impl Hasher for KeyBits {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, bits: u64) {
        self.0 ^= bits;
    }
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    handle: Handle,
    stamp: u64,
}

/// Evictions of an earlier second, to be explained once the lock is free.
pub(super) type ExplainedEvictions = [Option<(u32, Eviction)>; 2];

/// A pool and the keys of what lies in it. All of it is behind one lock, so a key and its object never disagree.
#[derive(Debug)]
pub(super) struct Partition {
    pub(super) pool: Pool<MappedPages, HeapTables>,
    keys: HashMap<HotKey, Entry, BuildHasherDefault<KeyBits>>,
    pub(super) hits: u64,
    pub(super) misses: u64,
    /// Whether the worker was asked to free space in this partition, and has not come yet.
    pub(super) asked: bool,
    /// Whether one of those that asked had found no space at all.
    pub(super) has_refused: bool,
    /// Evictions that are not explained yet.
    pub(super) evictions: Evictions,
    /// How often values are looked up.
    frequency: Frequency,
    /// Wakes the worker.
    pub(super) wake: Sender<()>,
}

impl Partition {
    pub(super) fn new(config: &PoolConfig, wake: Sender<()>) -> Result<Self, LimitsError> {
        let pages = MappedPages::new(config.page_bytes, config.pages_per_partition);
        let largest = [config.value_bytes_max];
        let classes = SizeClasses::new(&largest).map_err(|_| LimitsError::ClassTable)?;
        let pool = Pool::new(pages, HeapTables::new(config), classes, config.limits)?;
        // Presized, so that no insert pays for moving the whole map under the lock.
        let keys = HashMap::with_capacity_and_hasher(config.objects_per_partition as usize, <_>::default());
        Ok(Self {
            pool,
            keys,
            hits: 0,
            misses: 0,
            asked: false,
            has_refused: false,
            evictions: Evictions::default(),
            frequency: Frequency::new(config.objects_per_partition),
            wake,
        })
    }

    pub(super) fn insert(
        &mut self,
        key: HotKey,
        stamp: u64,
        bytes: &[u8],
        terms: Terms,
    ) -> Result<ExplainedEvictions, HotError> {
        let max_bytes = self.pool.len_max();
        let len = u32::try_from(bytes.len()).map_err(|_| HotError::TooLarge { max_bytes })?;
        // The old value goes even if the new one finds no space, since it is out of date.
        self.remove(key);
        let (pool, keys) = (&mut self.pool, &mut self.keys);
        let (before_bytes, mut evicted) = (pool.totals().requested_bytes, 0);
        let allocated = pool.allocate_evicting(len, terms, key, |dropped| {
            keys.remove(&dropped.tag);
            evicted += u64::from(dropped.reason == DropReason::Evicted);
        });
        let explained = if evicted > 0 {
            let allocated_bytes = if allocated.is_ok() { u64::from(len) } else { 0 };
            let bytes = (before_bytes + allocated_bytes).saturating_sub(pool.totals().requested_bytes);
            self.evictions.count(EvictionCause::InsertWithoutSpace, evicted, bytes)
        } else {
            ExplainedEvictions::default()
        };
        let handle = allocated.map_err(|error| match error {
            AllocateError::TooLarge => HotError::TooLarge { max_bytes },
            _ => HotError::Full,
        })?;
        if pool.write(handle, 0, bytes).is_err() {
            let _ = pool.free(handle);
            return Err(HotError::Full);
        }
        keys.insert(key, Entry { handle, stamp });
        Ok(explained)
    }

    pub(super) fn read<R>(&mut self, key: HotKey, stamp: u64, read: impl FnOnce(&[u8]) -> R) -> Option<R> {
        let entry = self.keys.get(&key).copied();
        if let Some(entry) = entry.filter(|entry| entry.stamp != stamp) {
            self.drop_entry(key, entry);
        }
        let current = entry.filter(|entry| entry.stamp == stamp);
        let Some(bytes) = current.and_then(|entry| self.pool.touched_bytes(entry.handle).ok()) else {
            self.misses = self.misses.saturating_add(1);
            return None;
        };
        self.hits = self.hits.saturating_add(1);
        Some(read(bytes))
    }

    /// As [`read`](Self::read), counted for the admission of the value.
    pub(super) fn look<R>(&mut self, key: HotKey, stamp: u64, read: impl FnOnce(&[u8]) -> R) -> Looked<R> {
        let count = self.frequency.count(key.bucket_bits());
        if let Some(result) = self.read(key, stamp, read) {
            return Looked::Hit(result);
        }
        Looked::Miss { is_wanted: self.frequency.wants(count, self.is_full()) }
    }

    /// As [`insert`](Self::insert), for a value that was wanted.
    pub(super) fn insert_wanted(
        &mut self,
        key: HotKey,
        stamp: u64,
        bytes: &[u8],
        terms: Terms,
    ) -> Result<ExplainedEvictions, HotError> {
        self.frequency.inserted(self.is_full());
        self.insert(key, stamp, bytes, terms)
    }

    /// Whether other values will have to go for a new one, now or soon.
    fn is_full(&self) -> bool {
        !self.pool.is_within_low_watermark()
    }

    pub(super) fn remove(&mut self, key: HotKey) -> bool {
        match self.keys.get(&key).copied() {
            Some(entry) => {
                self.drop_entry(key, entry);
                true
            }
            None => false,
        }
    }

    fn drop_entry(&mut self, key: HotKey, entry: Entry) {
        self.keys.remove(&key);
        // The key was the only one to know the handle, so it can not be stale.
        let _ = self.pool.free(entry.handle);
    }

    /// Drops the values of one tier among `looks_max` handles; returns where to go on, and how many went.
    pub(super) fn remove_tier(&mut self, tier: u32, index: u32, looks_max: u32) -> (Option<u32>, u32) {
        let mut found = Vec::new();
        let next = self.pool.scan(index, looks_max, |_, key| {
            if key.tier == tier {
                found.push(key);
            }
        });
        let removed = found.into_iter().filter(|key| self.remove(*key)).count();
        (next, u32::try_from(removed).unwrap_or(u32::MAX))
    }

    pub(super) fn defragment_step(&mut self, bytes_max: u32) -> Step {
        self.pool.defragment_step(bytes_max)
    }

    pub(super) fn emergency_step(&mut self, now_s: u32, bytes_max: u32) -> (Step, ExplainedEvictions) {
        let keys = &mut self.keys;
        let before_bytes = self.pool.totals().requested_bytes;
        let step = self.pool.emergency_step(now_s, bytes_max, |dropped| {
            keys.remove(&dropped.tag);
        });
        if step.evicted_objects == 0 {
            return (step, ExplainedEvictions::default());
        }
        // A step drops expired objects or evicts others, never both.
        let bytes = before_bytes.saturating_sub(self.pool.totals().requested_bytes);
        let records = u64::from(step.evicted_objects);
        (step, self.evictions.count(EvictionCause::Cleanup, records, bytes))
    }

    pub(super) fn occupancy(&self) -> impl Iterator<Item = PageOccupancy> + '_ {
        self.pool.occupancy()
    }

    /// Whether keys and objects are the same set, and the pool's counters equal a recount.
    #[cfg(test)]
    pub(super) fn audit(&self) -> bool {
        let named = self.keys.iter().all(|(key, entry)| self.pool.tag(entry.handle) == Ok(*key));
        named && self.keys.len() == self.pool.totals().live_objects as usize && self.pool.audit() == Ok(())
    }
}
