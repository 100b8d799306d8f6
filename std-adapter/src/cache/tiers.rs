//! The three tiers of a cache, and where the newest value of a key is.
//!
//! ```text
//!  get ─► hot ──miss──► [stripe] ─► hot ─► warm ─► cold ─► promote to hot
//!  put ─► [stripe] ─► cold (written through) ─► hot ─► [stripe left] ─► wait for durability
//!  hot evicts ─► a second table, still read ─► [stripe] ─► warm, or the cold tier, or dropped ─► taken out of that table
//! ```
//! Four invariants, which hold whenever no one has the stripe of the key:
//! - **I-CACHE-1** A key in the hot tier has its newest value there. Else one in the warm tier has it there. Else the cold tier has it.
//! - **I-CACHE-2** A key that is dirty is in the hot or the warm tier, and the warm tier does not drop it.
//! - **I-CACHE-3** The cold tier has no value of a key that is memory-only.
//! - **I-CACHE-4** A key is in at most one of the hot and the warm tier, except while a demotion is under way.

use core::hash::Hash;
use core::time::Duration;
use std::time::Instant;

use coldpress_core::format::KeyHash;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::counts::CacheCounts;
use super::dirty::Dirty;
use super::error::CacheError;
use super::flights::Flights;
use super::hot::{ENTRY_OVERHEAD_BYTES, HeldHotTier, HotEntry, HotStore, Leaving};
use super::options::WritePolicy;
use super::recent::RecentKeys;
use super::stripes::{KeyStripe, LockedStripe, MEMORY_ONLY_MIN, Stripes, Unlogged};
use super::warm::WarmStore;
use crate::api::{ColdTierHandle, decoded, encoded};
use crate::budget::WorkBudget;
use crate::config::Durability;
use crate::observe::Explanations;
use crate::pool::PoolCoordinator;

/// The types that can be keys of a cache. A key is identified by its encoding, so it must encode alike each time: no hash maps in it.
pub trait CacheKey: Serialize + DeserializeOwned + Hash + Eq + Clone + Send + Sync + 'static {}

impl<K: Serialize + DeserializeOwned + Hash + Eq + Clone + Send + Sync + 'static> CacheKey for K {}

/// The types that can be values of a cache. A read clones the value, so a large one is best kept behind a cheap clone.
pub trait CacheValue: Serialize + DeserializeOwned + Clone + Send + Sync + 'static {}

impl<V: Serialize + DeserializeOwned + Clone + Send + Sync + 'static> CacheValue for V {}

/// The settings of a cache that its operations need.
#[derive(Debug, Clone, Copy)]
pub(super) struct CacheTerms {
    pub(super) policy: WritePolicy,
    pub(super) op_timeout: Duration,
    pub(super) compute_timeout: Duration,
}

/// A key with its identity.
#[derive(Debug, Clone)]
pub(super) struct Located {
    pub(super) key_bytes: Vec<u8>,
    pub(super) hash: KeyHash,
    pub(super) partition: usize,
}

/// A tier of a cache, from the top down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CacheTier {
    /// Values as they are.
    Hot,
    /// Values as encoded, in the pools.
    Warm,
    /// The persistent tier.
    Cold,
}

/// The newest value of a key.
pub(super) struct Newest<V> {
    pub(super) value: V,
    /// As encoded, where it was found so.
    pub(super) bytes: Option<Vec<u8>>,
    pub(super) expires_s: Option<u32>,
    pub(super) tier: CacheTier,
    /// Names the entry of the hot tier, where it was found there.
    pub(super) stamp: Option<u64>,
}

/// The finding of a look at a key, by which a later look tells whether it changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Sighting {
    Absent,
    Hot { stamp: u64 },
    Encoded(Vec<u8>),
}

/// A value on its way into a tier in memory.
pub(super) struct Arriving<'a, V> {
    pub(super) value: V,
    pub(super) bytes: &'a [u8],
    pub(super) expires_s: Option<u32>,
    /// Whether it is worth a place in the warm tier when it leaves the hot one.
    pub(super) is_frequent: bool,
}

/// The three tiers, and what is shared by all operations on them.
pub(super) struct Tiers<K: 'static, V: 'static> {
    pub(super) cold: ColdTierHandle,
    pub(super) hot: HeldHotTier<K, V>,
    pub(super) warm: WarmStore,
    pub(super) stripes: Stripes<K>,
    pub(super) recent: RecentKeys,
    pub(super) dirty: Dirty<K>,
    pub(super) flights: Flights<K, V>,
    pub(super) terms: CacheTerms,
    pub(super) counts: CacheCounts,
    pub(super) explanations: Explanations,
    pub(super) pools: PoolCoordinator,
    pub(super) budget: WorkBudget,
}

impl<V: Serialize> Newest<V> {
    pub(super) fn sighting(newest: Option<&Self>) -> Sighting {
        match newest {
            None => Sighting::Absent,
            Some(Self { stamp: Some(stamp), .. }) => Sighting::Hot { stamp: *stamp },
            Some(Self { bytes, .. }) => Sighting::Encoded(bytes.clone().unwrap_or_default()),
        }
    }

    pub(super) fn into_bytes(self) -> Result<Vec<u8>, CacheError> {
        self.bytes.or_else(|| encoded(&self.value)).ok_or(CacheError::Encode)
    }
}

impl<K: CacheKey, V: CacheValue> Tiers<K, V> {
    pub(super) fn hot(&self) -> Result<&HotStore<K, V>, CacheError> {
        // It was registered with these types.
        self.hot.store().ok_or(CacheError::Closed)
    }

    pub(super) fn deadline(&self) -> Instant {
        Instant::now() + self.terms.op_timeout
    }

    pub(super) fn locate(&self, key: &K) -> Result<Located, CacheError> {
        let key_bytes = encoded(key).ok_or(CacheError::Encode)?;
        let identity = self.cold.identify(&key_bytes)?;
        Ok(Located { key_bytes, hash: identity.hash, partition: identity.partition })
    }

    pub(super) fn lock(&self, at: &Located, deadline: Instant) -> Result<LockedStripe<'_, K>, CacheError> {
        self.stripes.lock(&at.hash, deadline).ok_or(CacheError::TimedOut)
    }

    /// Whether the time of a value is over, on the clock of the cold tier.
    pub(super) fn is_over(&self, partition: usize, expires_s: Option<u32>) -> Result<bool, CacheError> {
        match expires_s {
            None => Ok(false),
            Some(end_s) => Ok(self.cold.now_s(partition)? >= end_s),
        }
    }

    /// Finds the newest value of a key from the top down. One whose time is over is dropped from all tiers.
    pub(super) fn find_newest(
        &self,
        stripe: &mut KeyStripe<K>,
        key: &K,
        at: &Located,
    ) -> Result<Option<Newest<V>>, CacheError> {
        let hot = self.hot()?;
        if let Some(entry) = hot.get(key).or_else(|| hot.leaving(key)) {
            if self.is_over(at.partition, entry.expires_s)? {
                self.expire(stripe, key, at)?;
                return Ok(None);
            }
            let HotEntry { value, expires_s, stamp, .. } = entry;
            return Ok(Some(Newest {
                value,
                bytes: None,
                expires_s,
                tier: CacheTier::Hot,
                stamp: Some(stamp),
            }));
        }
        if let Some(found) = self.warm.get(&at.hash, &at.key_bytes) {
            if self.is_over(at.partition, found.expires_s)? {
                self.expire(stripe, key, at)?;
                return Ok(None);
            }
            let value = decoded(&found.value)?;
            let (bytes, expires_s) = (Some(found.value), found.expires_s);
            return Ok(Some(Newest { value, bytes, expires_s, tier: CacheTier::Warm, stamp: None }));
        }
        match stripe.unlogged.get(key) {
            // The pools dropped it, as they may.
            Some(Unlogged::MemoryOnly) => {
                self.forget_unlogged(stripe, key);
                return Ok(None);
            }
            Some(Unlogged::Dirty { .. }) => return Err(CacheError::Lost),
            None => {}
        }
        let mut bytes = Vec::new();
        let Some(expires_s) = self.cold.get_expiring(&at.key_bytes, &mut bytes)? else { return Ok(None) };
        let value = decoded(&bytes)?;
        Ok(Some(Newest { value, bytes: Some(bytes), expires_s, tier: CacheTier::Cold, stamp: None }))
    }

    /// Tells whether a key has a value, without reading it from the log.
    pub(super) fn has_value(
        &self,
        stripe: &mut KeyStripe<K>,
        key: &K,
        at: &Located,
    ) -> Result<bool, CacheError> {
        let in_memory = match self.hot()?.peek(key) {
            Some(entry) => Some(entry.expires_s),
            None => self.warm.get(&at.hash, &at.key_bytes).map(|found| found.expires_s),
        };
        if let Some(expires_s) = in_memory {
            if !self.is_over(at.partition, expires_s)? {
                return Ok(true);
            }
            self.expire(stripe, key, at)?;
            return Ok(false);
        }
        match stripe.unlogged.get(key) {
            Some(Unlogged::MemoryOnly) => {
                self.forget_unlogged(stripe, key);
                Ok(false)
            }
            Some(Unlogged::Dirty { .. }) => Err(CacheError::Lost),
            None => Ok(self.cold.contains(&at.key_bytes)?),
        }
    }

    /// Brings a value into the hot tier, as the newest one of its key. Returns the keys that leave for it.
    pub(super) fn bring_hot(&self, key: &K, at: &Located, arriving: Arriving<'_, V>) -> Vec<Leaving<K>> {
        let Ok(hot) = self.hot() else { return Vec::new() };
        let bytes = at.key_bytes.len() + arriving.bytes.len();
        let entry = HotEntry {
            value: arriving.value,
            hash: at.hash,
            partition: u16::try_from(at.partition).unwrap_or(u16::MAX),
            expires_s: arriving.expires_s,
            stamp: hot.issue_stamp(),
            weight: u32::try_from(bytes).unwrap_or(u32::MAX).saturating_add(ENTRY_OVERHEAD_BYTES),
            is_frequent: arriving.is_frequent,
        };
        let leaving = hot.insert(key.clone(), entry);
        self.warm.remove(&at.hash);
        leaving
    }

    /// Drops a key from the tiers in memory.
    pub(super) fn drop_from_memory(&self, stripe: &mut KeyStripe<K>, key: &K, at: &Located) {
        if let Ok(hot) = self.hot() {
            hot.remove(key);
        }
        self.warm.remove(&at.hash);
        self.forget_unlogged(stripe, key);
    }

    /// Notes that a key has no value that the log lacks.
    pub(super) fn forget_unlogged(&self, stripe: &mut KeyStripe<K>, key: &K) {
        if let Some(Unlogged::Dirty { bytes, place, .. }) = stripe.unlogged.remove(key) {
            self.dirty.give_back(bytes);
            place.into_iter().for_each(|place| self.dirty.unqueue(place));
        }
    }

    /// Forgets the memory-only keys of a stripe that the pools dropped, once there may be as many as others.
    pub(super) fn forget_dropped(&self, stripe: &mut KeyStripe<K>) -> Result<(), CacheError> {
        if stripe.unlogged.len() < stripe.memory_only_max {
            return Ok(());
        }
        let hot = self.hot()?;
        let is_there =
            |key: &K| hot.contains(key) || self.locate(key).is_ok_and(|at| self.warm.contains(&at.hash));
        stripe.unlogged.retain(|key, unlogged| *unlogged != Unlogged::MemoryOnly || is_there(key));
        stripe.memory_only_max = (2 * stripe.unlogged.len()).max(MEMORY_ONLY_MIN);
        Ok(())
    }

    /// Drops a value whose time is over from all tiers. The cold tier may have an older value of the key that lives longer; it must not
    /// come back.
    pub(super) fn expire(&self, stripe: &mut KeyStripe<K>, key: &K, at: &Located) -> Result<(), CacheError> {
        if matches!(stripe.unlogged.get(key), Some(Unlogged::Dirty { .. }))
            && self.cold.contains(&at.key_bytes)?
        {
            self.cold.remove_with(&at.key_bytes, Durability::Buffered)?;
        }
        self.drop_from_memory(stripe, key, at);
        self.counts.expired.add(1);
        Ok(())
    }
}
