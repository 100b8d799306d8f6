//! Gets: from the hot tier without the stripe of the key, else from the highest tier that has the key; and promotion.

use super::error::CacheError;
use super::hot::Leaving;
use super::tiers::{Arriving, CacheKey, CacheTier, CacheValue, Located, Newest, Tiers};
use crate::api::{ValueVersion, Versioned};

impl<K: CacheKey, V: CacheValue> Tiers<K, V> {
    pub(super) fn get(&self, key: &K) -> Result<Option<V>, CacheError> {
        if let Some(value) = self.get_hot(key)? {
            self.counts.hot_hits.add(1);
            return Ok(Some(value));
        }
        let at = self.locate(key)?;
        Ok(self.get_below(key, &at)?.map(|newest| newest.value))
    }

    /// The value of a key in the hot tier, if its time is not over.
    pub(super) fn get_hot(&self, key: &K) -> Result<Option<V>, CacheError> {
        let Some(entry) = self.hot()?.get(key) else { return Ok(None) };
        let is_over = self.is_over(entry.partition.into(), entry.expires_s)?;
        Ok((!is_over).then_some(entry.value))
    }

    /// Reads under the stripe, so that readers of a key that is in no tier in memory read the log once.
    fn get_below(&self, key: &K, at: &Located) -> Result<Option<Newest<V>>, CacheError> {
        let mut stripe = self.lock(at, self.deadline())?;
        let found = self.find_newest(&mut stripe, key, at)?;
        let leaving = match &found {
            None => Vec::new(),
            Some(newest) => self.promote(key, at, newest),
        };
        drop(stripe);
        self.count_read(found.as_ref().map(|newest| newest.tier));
        self.settle(leaving);
        Ok(found)
    }

    fn count_read(&self, tier: Option<CacheTier>) {
        let counts = &self.counts;
        match tier {
            Some(CacheTier::Hot) => counts.hot_hits.add(1),
            Some(CacheTier::Warm) => counts.warm_hits.add(1),
            Some(CacheTier::Cold) => counts.cold_hits.add(1),
            None => counts.misses.add(1),
        }
    }

    /// Brings a value that was read from a lower tier into the hot one.
    pub(super) fn promote(&self, key: &K, at: &Located, newest: &Newest<V>) -> Vec<Leaving<K>> {
        let Some(bytes) = newest.bytes.as_deref().filter(|_| newest.tier != CacheTier::Hot) else {
            return Vec::new();
        };
        // A value in the warm tier has shown before that it is worth its place there.
        let is_frequent = self.recent.note(&at.hash) || newest.tier == CacheTier::Warm;
        self.counts.promotions.add(1);
        let (value, expires_s) = (newest.value.clone(), newest.expires_s);
        self.bring_hot(key, at, Arriving { value, bytes, expires_s, is_frequent })
    }

    pub(super) fn get_versioned(&self, key: &K) -> Result<Option<Versioned<V>>, CacheError> {
        let at = self.locate(key)?;
        let Some(newest) = self.get_below(key, &at)? else { return Ok(None) };
        let (value, version) = self.versioned(newest)?;
        Ok(Some(Versioned { value, version }))
    }

    fn versioned(&self, newest: Newest<V>) -> Result<(V, ValueVersion), CacheError> {
        let value = newest.value.clone();
        let version = self.cold.version_of(&newest.into_bytes()?)?;
        Ok((value, version))
    }

    pub(super) fn contains(&self, key: &K) -> Result<bool, CacheError> {
        let at = self.locate(key)?;
        let mut stripe = self.lock(&at, self.deadline())?;
        self.has_value(&mut stripe, key, &at)
    }

    /// The value of a key, without promoting it.
    pub(super) fn look(&self, key: &K) -> Result<Option<V>, CacheError> {
        let at = self.locate(key)?;
        let mut stripe = self.lock(&at, self.deadline())?;
        Ok(self.find_newest(&mut stripe, key, &at)?.map(|newest| newest.value))
    }
}
