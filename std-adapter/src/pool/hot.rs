//! Values kept in memory in front of a cold tier.

use core::hash::{Hash, Hasher};

use coldpress_core::efficiency::{EfficiencyConfig, EfficiencyReport, Measured, analyse};
use coldpress_core::pool::Terms;

use super::error::{HotError, PoolError};
use super::opened::{Locked, Opened, next_tier};
use super::partition::{ExplainedEvictions, Partition};
use crate::observe::{PageView, PoolStats};

/// Handles looked at per lock hold when a tier is removed.
const SCAN_MAX: u32 = 256;

/// Names a value: which tier's, and the keyed hash the tier knows its key by.
///
/// The hash must come from a keyed hash function. It is used as it is to spread keys over partitions and buckets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HotKey {
    /// A number from [`HotPools::register_tier`].
    pub tier: u32,
    /// 96 bits of a keyed hash of the key.
    pub hash: [u8; 12],
}

impl HotKey {
    /// Eight bytes choose the bucket, the other four the partition: were they the same bits, a partition's map would use
    /// only a part of its buckets.
    fn split(&self) -> (u64, u32) {
        let [a, b, c, d, e, f, g, h, i, j, k, l] = self.hash;
        (u64::from_le_bytes([a, b, c, d, e, f, g, h]), u32::from_le_bytes([i, j, k, l]))
    }
}

impl HotKey {
    /// The bits that choose the bucket, with the tier spread over the high ones, where a map takes its control bits from.
    pub(super) fn bucket_bits(&self) -> u64 {
        self.split().0 ^ (u64::from(self.tier) << 32)
    }
}

impl Hash for HotKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.bucket_bits());
    }
}

/// The outcome of a [look](HotPools::look).
pub(crate) enum Looked<R> {
    Hit(R),
    Miss {
        /// Whether the value is looked up so often that it is to be put into the pools.
        is_wanted: bool,
    },
}

/// The pools as the place for values: a `Copy` handle for any thread.
///
/// Values are evicted coldest first when there is no space, and dropped when their time is over and memory is needed; so each
/// read may miss. After the manager was dropped, every read misses and every insert is refused.
#[derive(Debug, Clone, Copy)]
pub struct HotPools {
    pub(super) opened: Opened,
}

impl HotPools {
    /// Takes a value, in place of an earlier one of the same key. Returns whether it was taken;
    /// [`try_insert`](Self::try_insert) says why not.
    ///
    /// The stamp says which version of the key it is; a read with another stamp misses. `expires_s` is in seconds of the
    /// Unix epoch; from then on a cleanup drops the value first, while reads may still find it.
    ///
    /// # Bounds
    /// Holds one partition's lock for a copy of the value; evicts at most one other.
    #[must_use = "a value that was not taken is not there to be read"]
    pub fn insert(&self, key: HotKey, stamp: u64, bytes: &[u8], expires_s: Option<u32>) -> bool {
        self.try_insert(key, stamp, bytes, expires_s).is_ok()
    }

    /// Takes a value like [`insert`](Self::insert), or says why not.
    ///
    /// # Errors
    /// [`HotError`]. The earlier value of the key is gone, unless the new one is too large or the pools are closed.
    pub fn try_insert(
        &self,
        key: HotKey,
        stamp: u64,
        bytes: &[u8],
        expires_s: Option<u32>,
    ) -> Result<(), HotError> {
        self.insert_on(key, bytes, |partition| {
            partition.insert(key, stamp, bytes, Terms { expires_s, evictable: true })
        })
    }

    /// As [`try_insert`](Self::try_insert), for a value that a [`look`](Self::look) wanted. Pools that are full or closed keep nothing.
    pub(crate) fn keep(&self, key: HotKey, stamp: u64, bytes: &[u8], expires_s: Option<u32>) {
        // The reader has the value already.
        let _ = self.insert_on(key, bytes, |partition| {
            partition.insert_wanted(key, stamp, bytes, Terms { expires_s, evictable: true })
        });
    }

    /// Takes a value that stays until it is removed or replaced: no cleanup and no other insert drops it.
    pub(crate) fn insert_kept(&self, key: HotKey, stamp: u64, bytes: &[u8]) -> Result<(), HotError> {
        self.insert_on(key, bytes, |partition| {
            partition.insert(key, stamp, bytes, Terms { expires_s: None, evictable: false })
        })
    }

    fn insert_on(
        &self,
        key: HotKey,
        bytes: &[u8],
        insert: impl FnOnce(&mut Partition) -> Result<ExplainedEvictions, HotError>,
    ) -> Result<(), HotError> {
        let max_bytes = self.opened.value_bytes_max;
        if u32::try_from(bytes.len()).is_ok_and(|len| len > max_bytes) || bytes.len() > max_bytes as usize {
            return Err(HotError::TooLarge { max_bytes });
        }
        let mut partition = self.lock_for(key).map_err(|_| HotError::Closed)?;
        let taken = insert(&mut partition);
        // A class without pages gets none from the others until the worker frees some.
        let needs_space = taken.is_err() || partition.pool.is_above_high_watermark();
        partition.has_refused |= taken.is_err();
        let asks = needs_space && !core::mem::replace(&mut partition.asked, needs_space);
        let wake = asks.then(|| partition.wake.clone());
        // Not under the lock: the worker would wait for it at once.
        drop(partition);
        if let Some(wake) = wake {
            // A full channel is enough: the worker will wake.
            let _ = wake.try_send(());
        }
        taken.map(|explained| self.opened.explain_evicted(explained))
    }

    /// Reads a value in place. A differing stamp is a miss, and drops the entry.
    ///
    /// `read` runs under the partition's lock: it copies or decodes, and calls nothing of these pools.
    pub fn read<R>(&self, key: HotKey, stamp: u64, read: impl FnOnce(&[u8]) -> R) -> Option<R> {
        self.lock_for(key).ok()?.read(key, stamp, read)
    }

    /// As [`read`](Self::read), for a value that its caller finds elsewhere on a miss. The lookup is counted, and the miss tells whether
    /// the value is asked for often enough to be [kept](Self::keep).
    pub(crate) fn look<R>(&self, key: HotKey, stamp: u64, read: impl FnOnce(&[u8]) -> R) -> Looked<R> {
        match self.lock_for(key) {
            Ok(mut partition) => partition.look(key, stamp, read),
            Err(_) => Looked::Miss { is_wanted: false },
        }
    }

    /// Drops a value; tells whether it was there.
    pub fn remove(&self, key: HotKey) -> bool {
        self.lock_for(key).is_ok_and(|mut partition| partition.remove(key))
    }

    /// Drops all values of a tier; returns how many.
    ///
    /// # Bounds
    /// Looks at each handle once, 256 per lock hold. A value inserted meanwhile may stay.
    pub fn remove_tier(&self, tier: u32) -> u64 {
        let mut removed = 0;
        for number in 0..self.opened.partitions() {
            let mut next = Some(0);
            while let Some(index) = next {
                let Ok(mut partition) = self.opened.lock(number) else { return removed };
                let (onward, count) = partition.remove_tier(tier, index, SCAN_MAX);
                removed += u64::from(count);
                next = onward;
                Locked::unlock_fair(partition);
            }
        }
        removed
    }

    /// Returns a number no other tier on these pools has.
    #[must_use]
    pub fn register_tier(&self) -> u32 {
        next_tier()
    }

    /// Returns the length of the largest value that is taken.
    #[must_use]
    pub fn value_bytes_max(&self) -> u32 {
        self.opened.value_bytes_max
    }

    /// Tells whether the manager is still there.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.opened.lock(0).is_ok()
    }

    /// Tells whether both lead to the same opening of the same pools.
    #[must_use]
    pub fn is_same(&self, other: Self) -> bool {
        self.opened.generation() == other.opened.generation()
    }

    /// Measures the pools as they are, partition by partition.
    ///
    /// # Errors
    /// [`PoolError::Closed`].
    pub fn stats(&self) -> Result<PoolStats, PoolError> {
        let mut stats = PoolStats::default();
        for number in 0..self.opened.partitions() {
            let partition = self.opened.lock(number)?;
            stats.totals += partition.pool.totals();
            stats.hits = stats.hits.saturating_add(partition.hits);
            stats.misses = stats.misses.saturating_add(partition.misses);
            stats.page_views.extend(partition.occupancy().map(|page| PageView {
                partition: number,
                class_bytes: page.slot_bytes,
                used_slots: page.used_slots,
                slots: page.slots,
            }));
        }
        stats.complete();
        Ok(stats)
    }

    /// Judges how well memory is used, from stats measured now. Failed allocations are those since `before`.
    ///
    /// # Errors
    /// [`PoolError::Closed`].
    pub fn efficiency(
        &self,
        config: &EfficiencyConfig,
        before: &PoolStats,
        latency_us: Option<u32>,
    ) -> Result<EfficiencyReport, PoolError> {
        let now = self.stats()?;
        let measured = Measured { latency_us, ..Measured::from_pool(&now.totals, &before.totals) };
        Ok(analyse(&measured, config))
    }

    fn lock_for(&self, key: HotKey) -> Result<Locked, PoolError> {
        // The remainder of a number of 16 bits fits 16 bits.
        let number = key.split().1 % u32::from(self.opened.partitions().max(1));
        self.opened.lock(u16::try_from(number).unwrap_or(0))
    }
}
