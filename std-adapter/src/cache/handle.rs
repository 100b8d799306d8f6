//! The handle by which threads reach a cache.

use core::any::Any;
use core::fmt;
use core::marker::PhantomData;
use core::time::Duration;

use super::demote::Urgency;
use super::error::CacheError;
use super::iterate::{CacheEntries, CacheKeys};
use super::options::CachePutOptions;
use super::stats::CacheStats;
use super::tiers::{CacheKey, CacheValue, Tiers};
use crate::api::{ColdTierHandle, Expected, TimeLeft, Ttl, Update, Versioned};
use crate::budget::BudgetStats;
use crate::config::Durability;
use crate::errors::BatchError;
use crate::observe::Explanation;
use crate::recycled::{Gone, Lease, Recycler};

/// The tiers of a cache of any types.
pub(super) type ErasedCache = Box<dyn Any + Send + Sync>;

pub(super) static CACHES: Recycler<ErasedCache> = Recycler::new();

impl From<Gone> for CacheError {
    fn from(_: Gone) -> Self {
        Self::Closed
    }
}

/// Reaches a cache from any thread. It is `Copy`; after the cache was closed, every operation is [`CacheError::Closed`].
///
/// Operations on one key follow each other, and a read sees every write that returned before it began. An operation waits at most the
/// `op_timeout` of the cold tier's configuration for others with its key, and as long again for the cold tier.
pub struct UnifiedCacheHandle<K, V> {
    lease: Lease<ErasedCache>,
    types: PhantomData<fn(K) -> V>,
}

impl<K, V> Clone for UnifiedCacheHandle<K, V> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<K, V> Copy for UnifiedCacheHandle<K, V> {}

impl<K, V> fmt::Debug for UnifiedCacheHandle<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("UnifiedCacheHandle").field(&self.lease).finish()
    }
}

impl<K: CacheKey, V: CacheValue> UnifiedCacheHandle<K, V> {
    pub(super) const fn new(lease: Lease<ErasedCache>) -> Self {
        Self { lease, types: PhantomData }
    }

    /// Looks at the tiers while the cache is open.
    pub(super) fn enter<R>(
        &self,
        look: impl FnOnce(&Tiers<K, V>) -> Result<R, CacheError>,
    ) -> Result<R, CacheError> {
        self.lease.enter(|cache| match cache.downcast_ref::<Tiers<K, V>>() {
            Some(tiers) => look(tiers),
            // Every lease was made with its own types.
            None => Err(CacheError::Closed),
        })?
    }

    /// Tells whether the cache is open.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.enter(|tiers| Ok(tiers.cold.is_open())).unwrap_or(false)
    }

    /// Returns the value of a key, if it has one that has not expired, from the highest tier that has it. One from a lower tier is promoted
    /// to the hot tier.
    ///
    /// # Errors
    /// [`CacheError`].
    ///
    /// # Bounds
    /// A hit in the hot tier waits for no other operation on the key. Else a copy from the pools, or a read of the log.
    pub fn get(&self, key: &K) -> Result<Option<V>, CacheError> {
        self.enter(|tiers| tiers.get(key))
    }

    /// Returns the value of a key if the hot tier has it. `None` says nothing about the other tiers. It never waits for the disk.
    #[must_use]
    pub fn get_hot(&self, key: &K) -> Option<V> {
        let found = self.enter(|tiers| {
            let value = tiers.get_hot(key)?;
            tiers.counts.hot_hits.add(u64::from(value.is_some()));
            Ok(value)
        });
        found.ok().flatten()
    }

    /// Returns the value of a key with its version; see [`ColdTierHandle::get_versioned`].
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub fn get_versioned(&self, key: &K) -> Result<Option<Versioned<V>>, CacheError> {
        self.enter(|tiers| tiers.get_versioned(key))
    }

    /// Returns the values of many keys, in their order.
    ///
    /// # Errors
    /// [`BatchError`]: the first error, with the index of its key.
    pub fn get_batch(&self, keys: &[K]) -> Result<Vec<Option<V>>, BatchError<CacheError>> {
        let get = |(index, key)| self.get(key).map_err(|error| BatchError { index, error });
        keys.iter().enumerate().map(get).collect()
    }

    /// Tells whether a key has a value that has not expired, without reading the log or promoting the value.
    ///
    /// # Errors
    /// [`CacheError`].
    pub fn contains(&self, key: &K) -> Result<bool, CacheError> {
        self.enter(|tiers| tiers.contains(key))
    }

    /// Puts a value with the policy, lifetime and durability that are configured. It takes the place of an earlier one.
    ///
    /// # Errors
    /// As [`put_with`](Self::put_with).
    pub fn put(&self, key: &K, value: &V) -> Result<(), CacheError> {
        self.put_with(key, value, CachePutOptions::default())
    }

    /// Puts a value with options of its own.
    ///
    /// # Errors
    /// [`CacheError`]: [`Put`](CacheError::Put) where the cold tier refuses the value, [`Backlog`](CacheError::Backlog) where too many dirty
    /// bytes wait for it, [`Encode`](CacheError::Encode), [`TimedOut`](CacheError::TimedOut), [`Closed`](CacheError::Closed).
    pub fn put_with(&self, key: &K, value: &V, options: CachePutOptions) -> Result<(), CacheError> {
        self.enter(|tiers| tiers.put(key, value, options))
    }

    /// Puts many values and waits once for the durability of all.
    ///
    /// # Errors
    /// [`BatchError`] tells how far it came; the index is the number of pairs where all were put and the wait for their durability failed.
    pub fn put_batch(
        &self,
        pairs: &[(K, V)],
        options: CachePutOptions,
    ) -> Result<(), BatchError<CacheError>> {
        let at = |index| move |error| BatchError { index, error };
        let durability = self.enter(|tiers| tiers.batch_durability(options)).map_err(at(0))?;
        let each = CachePutOptions { durability: durability.map(|_| Durability::Buffered), ..options };
        // A batch that is to be durable is written through, whatever the policy says.
        let each = if durability.is_some() {
            CachePutOptions { policy: Some(super::WritePolicy::Through), ..each }
        } else {
            each
        };
        for (index, (key, value)) in pairs.iter().enumerate() {
            self.put_with(key, value, each).map_err(at(index))?;
        }
        match durability {
            Some(durability) => {
                self.enter(|tiers| Ok(tiers.cold.flush_to(durability)?)).map_err(at(pairs.len()))
            }
            None => Ok(()),
        }
    }

    /// Puts a value if the key has none, or one whose time is over. Tells whether it did.
    ///
    /// # Errors
    /// As [`put_with`](Self::put_with).
    pub fn put_if_absent(&self, key: &K, value: &V, options: CachePutOptions) -> Result<bool, CacheError> {
        self.enter(|tiers| tiers.put_if_absent(key, value, options))
    }

    /// Puts a value if the key has the expected one. Tells whether it did.
    ///
    /// # Errors
    /// As [`put_with`](Self::put_with) and [`get`](Self::get).
    pub fn compare_and_swap(
        &self,
        key: &K,
        expected: Expected<'_, V>,
        value: &V,
        options: CachePutOptions,
    ) -> Result<bool, CacheError> {
        self.enter(|tiers| tiers.compare_and_swap(key, expected, value, options))
    }

    /// Removes a key if it has the expected value. Tells whether it did. Without a durability it is that of the configuration.
    ///
    /// # Errors
    /// As [`remove`](Self::remove) and [`get`](Self::get).
    pub fn compare_and_remove(
        &self,
        key: &K,
        expected: Expected<'_, V>,
        durability: Option<Durability>,
    ) -> Result<bool, CacheError> {
        self.enter(|tiers| tiers.compare_and_remove(key, expected, durability))
    }

    /// Changes the value of a key by what it is, without a lost update. Returns what was done.
    ///
    /// `change` runs without a lock. Where another client changes the key meanwhile, it is called again with the new value, so it must not
    /// have other effects.
    ///
    /// # Errors
    /// As [`put_with`](Self::put_with) and [`remove`](Self::remove). [`CacheError::TimedOut`] where others changed the key each time, until
    /// the deadline.
    pub fn update(
        &self,
        key: &K,
        options: CachePutOptions,
        change: impl FnMut(Option<&V>) -> Update<V>,
    ) -> Result<Update<V>, CacheError> {
        self.enter(|tiers| tiers.update(key, options, change))
    }

    /// Gives the value of a key another lifetime, counted from now, without writing the value anew. Tells whether it has one.
    ///
    /// # Errors
    /// [`CacheError`].
    pub fn touch(&self, key: &K, ttl: Ttl) -> Result<bool, CacheError> {
        self.touch_with(key, CachePutOptions { ttl, ..CachePutOptions::default() })
    }

    /// As [`touch`](Self::touch), with a durability of its own. Policy and placement have no effect.
    ///
    /// # Errors
    /// [`CacheError`].
    pub fn touch_with(&self, key: &K, options: CachePutOptions) -> Result<bool, CacheError> {
        self.enter(|tiers| tiers.touch(key, options))
    }

    /// Tells how long the value of a key still lives; `None` where it has none.
    ///
    /// # Errors
    /// [`CacheError`].
    pub fn ttl(&self, key: &K) -> Result<Option<TimeLeft>, CacheError> {
        self.enter(|tiers| tiers.ttl(key))
    }

    /// Removes a key from all tiers, with the durability of the configuration. Tells whether it had a value.
    ///
    /// # Errors
    /// [`CacheError`]; the key is there then, unless the error says otherwise.
    pub fn remove(&self, key: &K) -> Result<bool, CacheError> {
        self.enter(|tiers| tiers.remove(key, None))
    }

    /// Removes a key with a durability of its own.
    ///
    /// # Errors
    /// As [`remove`](Self::remove).
    pub fn remove_with(&self, key: &K, durability: Durability) -> Result<bool, CacheError> {
        self.enter(|tiers| tiers.remove(key, Some(durability)))
    }

    /// Removes many keys and waits once for the durability of all. Returns how many had a value.
    ///
    /// # Errors
    /// [`BatchError`] tells how far it came.
    pub fn remove_batch(&self, keys: &[K]) -> Result<u64, BatchError<CacheError>> {
        let at = |index| move |error| BatchError { index, error };
        let mut removed = 0;
        for (index, key) in keys.iter().enumerate() {
            removed += u64::from(self.remove_with(key, Durability::Buffered).map_err(at(index))?);
        }
        let flush = |tiers: &Tiers<K, V>| Ok(tiers.cold.flush_to(tiers.cold.durability()?)?);
        self.enter(flush).map_err(at(keys.len()))?;
        Ok(removed)
    }

    /// Removes every key that is there now, from all tiers. Returns how many had a value. A key that is put meanwhile may stay.
    ///
    /// # Errors
    /// [`CacheError`]; some keys are removed then.
    ///
    /// # Bounds
    /// A remove for each key.
    pub fn clear(&self) -> Result<u64, CacheError> {
        let mut removed = 0;
        for key in self.keys() {
            removed += u64::from(self.remove_with(&key?, Durability::Buffered)?);
        }
        self.enter(|tiers| Ok(tiers.cold.flush_to(tiers.cold.durability()?)?))?;
        Ok(removed)
    }

    /// Returns how many keys have a value. Keys that expired count until they are dropped.
    ///
    /// # Errors
    /// [`CacheError::Closed`].
    ///
    /// # Bounds
    /// Looks at each key whose value the log does not have.
    pub fn len(&self) -> Result<u64, CacheError> {
        self.enter(Tiers::len)
    }

    /// Tells whether no key has a value.
    ///
    /// # Errors
    /// As [`len`](Self::len), with its bounds.
    pub fn is_empty(&self) -> Result<bool, CacheError> {
        Ok(self.len()? == 0)
    }

    /// Iterates over the keys of all tiers, in no order; see [`CacheKeys`].
    #[must_use]
    pub fn keys(&self) -> CacheKeys<K, V> {
        CacheKeys::new(*self)
    }

    /// Iterates over the keys of all tiers and their values, in no order; see [`CacheEntries`].
    #[must_use]
    pub fn entries(&self) -> CacheEntries<K, V> {
        CacheEntries::new(*self)
    }

    /// Writes all dirty values and makes everything put or removed so far durable: it survives a power cut.
    ///
    /// # Errors
    /// [`CacheError`].
    pub fn flush(&self) -> Result<(), CacheError> {
        self.flush_to(Durability::Synced)
    }

    /// Writes all dirty values and makes everything put or removed so far as durable as asked.
    ///
    /// # Errors
    /// [`CacheError`].
    pub fn flush_to(&self, durability: Durability) -> Result<(), CacheError> {
        self.enter(|tiers| tiers.flush_to(durability))
    }

    /// Writes the values to the cold tier that have been dirty for at least this time. Returns how many; it does not sync.
    ///
    /// # Errors
    /// [`CacheError`]: the last failure. Those values stay dirty.
    pub fn write_back(&self, age: Duration) -> Result<u64, CacheError> {
        self.write_back_as(age, Urgency::Awaited)
    }

    pub(super) fn write_back_as(&self, age: Duration, urgency: Urgency) -> Result<u64, CacheError> {
        self.enter(|tiers| match tiers.write_back_all(age, urgency) {
            (_, _, Some(error)) => Err(error),
            (written, _, None) => Ok(written),
        })
    }

    /// Returns what the cache counted; all zero once it is closed.
    #[must_use]
    pub fn stats(&self) -> CacheStats {
        self.enter(Tiers::stats).unwrap_or_default()
    }

    /// Explains the last compactions, cleanups, evictions and refusals of all tiers, the newest last.
    ///
    /// # Errors
    /// [`CacheError`]; [`CacheError::Closed`].
    ///
    /// # Bounds
    /// The last 256 of each kind of each source: a partition of the log, the pools, the cache.
    pub fn explanations(&self) -> Result<Vec<Explanation>, CacheError> {
        self.enter(Tiers::all_explanations)
    }

    /// Returns the counts of the budget that background work shares; all zero once the cache is closed.
    #[must_use]
    pub fn budget_stats(&self) -> BudgetStats {
        self.enter(|tiers| Ok(tiers.budget.stats())).unwrap_or_default()
    }

    /// Returns the cold tier, to look at it. Write by the handle of the cache: the tiers above do not see a write that goes past it.
    ///
    /// # Errors
    /// [`CacheError::Closed`].
    pub fn cold(&self) -> Result<ColdTierHandle, CacheError> {
        self.enter(|tiers| Ok(tiers.cold))
    }
}
