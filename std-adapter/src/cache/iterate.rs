//! Iteration over all tiers.

use std::collections::HashSet;
use std::vec::IntoIter;

use coldpress_core::format::KeyHash;

use super::error::CacheError;
use super::handle::UnifiedCacheHandle;
use super::tiers::{CacheKey, CacheValue};
use crate::api::{Keys, decoded};

/// Iterates over the keys of a cache that have a value, in no order.
///
/// First come the keys whose value the log does not have, then those of the log. A key that is there from the first step to the last
/// comes exactly once, unless a memory-only value takes the place of a logged one meanwhile: then it may be missed. One that is put or
/// removed meanwhile may come or not. A key that can't be read comes as an error, as do keys that others hold until the deadline, and the iteration goes on; once the cache is closed, it
/// ends with [`CacheError::Closed`].
///
/// # Bounds
/// Holds a set with 12 bytes for each key that came from memory, the keys of one stripe, and what [`Keys`] holds.
#[derive(Debug)]
pub struct CacheKeys<K, V> {
    handle: UnifiedCacheHandle<K, V>,
    stripe: Option<usize>,
    batch: IntoIter<K>,
    seen: HashSet<KeyHash>,
    logged: Option<Keys>,
    is_over: bool,
}

impl<K: CacheKey, V: CacheValue> CacheKeys<K, V> {
    pub(super) fn new(handle: UnifiedCacheHandle<K, V>) -> Self {
        let batch = Vec::new().into_iter();
        Self { handle, stripe: Some(0), batch, seen: HashSet::new(), logged: None, is_over: false }
    }

    /// The next key, whether it still has a value or not.
    fn step(&mut self) -> Result<Option<K>, CacheError> {
        loop {
            if let Some(key) = self.batch.next() {
                let hash = self.handle.enter(|tiers| Ok(tiers.locate(&key)?.hash))?;
                self.seen.insert(hash);
                return Ok(Some(key));
            }
            if let Some(stripe) = self.stripe {
                let count = self.handle.enter(|tiers| Ok(tiers.stripes.count()))?;
                self.stripe = (stripe + 1 < count).then_some(stripe + 1);
                let batch = self.handle.enter(|tiers| {
                    let keys = tiers.stripes.unlogged(stripe, tiers.deadline(), |_| true);
                    keys.ok_or(CacheError::TimedOut)
                })?;
                self.batch = batch.into_iter();
                continue;
            }
            let logged = match &mut self.logged {
                Some(logged) => logged,
                None => {
                    let keys = self.handle.cold()?.keys();
                    self.logged.insert(keys)
                }
            };
            let Some(bytes) = logged.next() else { return Ok(None) };
            let key = decoded(&bytes?)?;
            let hash = self.handle.enter(|tiers| Ok(tiers.locate(&key)?.hash))?;
            if !self.seen.contains(&hash) {
                return Ok(Some(key));
            }
        }
    }

    /// The next key of which `read` finds something.
    fn advance<R>(
        &mut self,
        read: impl Fn(&UnifiedCacheHandle<K, V>, K) -> Result<Option<R>, CacheError>,
    ) -> Option<Result<R, CacheError>> {
        while !self.is_over {
            match self.step() {
                Ok(Some(key)) => match read(&self.handle, key).transpose() {
                    Some(found) => {
                        self.is_over = matches!(found, Err(CacheError::Closed));
                        return Some(found);
                    }
                    None => continue,
                },
                Ok(None) => self.is_over = true,
                Err(error) => {
                    self.is_over = !self.handle.is_open();
                    return Some(Err(error));
                }
            }
        }
        None
    }
}

impl<K: CacheKey, V: CacheValue> Iterator for CacheKeys<K, V> {
    type Item = Result<K, CacheError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.advance(|handle, key| Ok(handle.contains(&key)?.then_some(key)))
    }
}

/// Iterates over the keys of a cache and their values, in no order; see [`CacheKeys`]. Values are not promoted.
#[derive(Debug)]
pub struct CacheEntries<K, V> {
    keys: CacheKeys<K, V>,
}

impl<K: CacheKey, V: CacheValue> CacheEntries<K, V> {
    pub(super) fn new(handle: UnifiedCacheHandle<K, V>) -> Self {
        Self { keys: CacheKeys::new(handle) }
    }
}

impl<K: CacheKey, V: CacheValue> Iterator for CacheEntries<K, V> {
    type Item = Result<(K, V), CacheError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.keys.advance(|handle, key| {
            let value = handle.enter(|tiers| tiers.look(&key))?;
            Ok(value.map(|value| (key, value)))
        })
    }
}
