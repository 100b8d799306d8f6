//! The lifetime of a value that is there: how much of it is left, and another one without another value.

use core::time::Duration;

use super::error::CacheError;
use super::hot::{HotEntry, Leaving};
use super::options::CachePutOptions;
use super::stripes::Unlogged;
use super::tiers::{CacheKey, CacheTier, CacheValue, Located, Newest, Tiers};
use super::warm::Keeping;
use crate::api::{PutOptions, TimeLeft, Ttl};
use crate::config::Durability;

impl<K: CacheKey, V: CacheValue> Tiers<K, V> {
    pub(super) fn ttl(&self, key: &K) -> Result<Option<TimeLeft>, CacheError> {
        let at = self.locate(key)?;
        let mut stripe = self.lock(&at, self.deadline())?;
        if !self.has_value(&mut stripe, key, &at)? {
            return Ok(None);
        }
        let in_memory = match self.hot()?.peek(key) {
            Some(entry) => Some(entry.expires_s),
            None => self.warm.get(&at.hash, &at.key_bytes).map(|found| found.expires_s),
        };
        let Some(expires_s) = in_memory else { return Ok(self.cold.ttl(&at.key_bytes)?) };
        let Some(end_s) = expires_s else { return Ok(Some(TimeLeft::Forever)) };
        // An expiry is one second more than was asked for.
        let left_s = end_s.saturating_sub(self.cold.now_s(at.partition)?).saturating_sub(1);
        Ok(Some(TimeLeft::For(Duration::from_secs(left_s.into()))))
    }

    pub(super) fn touch(&self, key: &K, options: CachePutOptions) -> Result<bool, CacheError> {
        let at = self.locate(key)?;
        let durability = options.durability.map_or_else(|| self.cold.durability(), Ok)?;
        let mut stripe = self.lock(&at, self.deadline())?;
        if !self.has_value(&mut stripe, key, &at)? {
            return Ok(false);
        }
        if options.durability > Some(Durability::Buffered)
            && matches!(stripe.unlogged.get(key), Some(Unlogged::Dirty { .. }))
        {
            self.write_back_held(&mut stripe, key, &at)?;
        }
        let mut leaving = Vec::new();
        let is_logged = !stripe.unlogged.contains_key(key);
        let is_there = if is_logged {
            let beneath = PutOptions { ttl: options.ttl, durability: Some(Durability::Buffered) };
            let is_there = self.cold.touch_with(&at.key_bytes, beneath)?;
            match self.cold.find_expiry(&at.key_bytes)? {
                Some(expires_s) => leaving = self.change_expiry(key, &at, expires_s, Keeping::Evictable)?,
                // The cold tier evicted it, and memory had a copy.
                None => self.drop_from_memory(&mut stripe, key, &at),
            }
            is_there
        } else {
            if options.ttl != Ttl::Keep {
                let expires_s = self.cold.expiry_of(at.partition, options.ttl, None)?;
                let is_dirty = matches!(stripe.unlogged.get(key), Some(Unlogged::Dirty { .. }));
                let keeping = if is_dirty { Keeping::Kept } else { Keeping::Evictable };
                leaving = self.change_expiry(key, &at, expires_s, keeping)?;
            }
            true
        };
        drop(stripe);
        self.settle(leaving);
        if is_logged && is_there {
            self.wait_durable(&at, durability)?;
        }
        Ok(is_there)
    }

    /// Gives the value of a key in memory another expiry, where one is there.
    fn change_expiry(
        &self,
        key: &K,
        at: &Located,
        expires_s: Option<u32>,
        keeping: Keeping,
    ) -> Result<Vec<Leaving<K>>, CacheError> {
        let hot = self.hot()?;
        if let Some(entry) = hot.peek(key) {
            let changed = HotEntry { expires_s, stamp: hot.issue_stamp(), ..entry };
            return Ok(hot.insert(key.clone(), changed));
        }
        if let Some(found) = self.warm.get(&at.hash, &at.key_bytes)
            && self.warm.insert(&at.hash, &at.key_bytes, &found.value, expires_s, keeping).is_err()
        {
            // There is no space for it now, and its old copy is gone.
            self.warm.remove(&at.hash);
            let value = crate::api::decoded(&found.value)?;
            let newest =
                Newest { value, bytes: Some(found.value), expires_s, tier: CacheTier::Warm, stamp: None };
            return Ok(self.promote(key, at, &newest));
        }
        Ok(Vec::new())
    }
}
