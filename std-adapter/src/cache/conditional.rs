//! Writes that depend on the value that is there. They are decided under the stripe of their key, so no change is lost.

use std::time::Instant;

use super::error::CacheError;
use super::options::CachePutOptions;
use super::stripes::{KeyStripe, LockedStripe};
use super::tiers::{CacheKey, CacheValue, Located, Newest, Sighting, Tiers};
use crate::api::{Expected, Update, encoded};
use crate::config::Durability;
use crate::observe::RefusedOperation;

impl<K: CacheKey, V: CacheValue> Tiers<K, V> {
    pub(super) fn put_if_absent(
        &self,
        key: &K,
        value: &V,
        options: CachePutOptions,
    ) -> Result<bool, CacheError> {
        self.put_if(key, value, options, |stripe, at| Ok(!self.has_value(stripe, key, at)?))
    }

    /// Puts a value where the condition holds, which is looked at under the stripe of the key.
    fn put_if(
        &self,
        key: &K,
        value: &V,
        options: CachePutOptions,
        holds: impl FnOnce(&mut KeyStripe<K>, &Located) -> Result<bool, CacheError>,
    ) -> Result<bool, CacheError> {
        let (at, deadline) = (self.locate(key)?, self.deadline());
        self.count_refused(RefusedOperation::Put, &at, || {
            let incoming = self.prepare(&at, value, options, deadline)?;
            let mut stripe = self.lock(&at, deadline)?;
            if !holds(&mut stripe, &at)? {
                return Ok(false);
            }
            self.put_held(stripe, key, &at, incoming).map(|()| true)
        })
    }

    /// Whether the newest value is the expected one.
    fn is_expected(&self, newest: Option<Newest<V>>, expected: Expected<'_, V>) -> Result<bool, CacheError> {
        let Some(newest) = newest else { return Ok(matches!(expected, Expected::Absent)) };
        Ok(match expected {
            Expected::Absent => false,
            Expected::Present => true,
            Expected::Value(value) => newest.into_bytes()? == encoded(value).ok_or(CacheError::Encode)?,
            Expected::Version(version) => self.cold.version_of(&newest.into_bytes()?)? == version,
        })
    }

    pub(super) fn compare_and_swap(
        &self,
        key: &K,
        expected: Expected<'_, V>,
        value: &V,
        options: CachePutOptions,
    ) -> Result<bool, CacheError> {
        self.put_if(key, value, options, |stripe, at| {
            self.is_expected(self.find_newest(stripe, key, at)?, expected)
        })
    }

    pub(super) fn compare_and_remove(
        &self,
        key: &K,
        expected: Expected<'_, V>,
        durability: Option<Durability>,
    ) -> Result<bool, CacheError> {
        let at = self.locate(key)?;
        let mut stripe = self.lock(&at, self.deadline())?;
        let newest = self.find_newest(&mut stripe, key, &at)?;
        if newest.is_none() || !self.is_expected(newest, expected)? {
            return Ok(false);
        }
        self.remove_held(stripe, key, &at, durability)
    }

    /// Changes a key by what it is. The closure runs without a hold, and again where the key changed meanwhile.
    pub(super) fn update(
        &self,
        key: &K,
        options: CachePutOptions,
        change: impl FnMut(Option<&V>) -> Update<V>,
    ) -> Result<Update<V>, CacheError> {
        let at = self.locate(key)?;
        self.count_refused(RefusedOperation::Put, &at, || self.update_at(key, &at, options, change))
    }

    fn update_at(
        &self,
        key: &K,
        at: &Located,
        options: CachePutOptions,
        mut change: impl FnMut(Option<&V>) -> Update<V>,
    ) -> Result<Update<V>, CacheError> {
        let deadline = self.deadline();
        loop {
            let newest = self.find_newest(&mut *self.lock(at, deadline)?, key, at)?;
            let seen = Newest::sighting(newest.as_ref());
            let update = change(newest.as_ref().map(|newest| &newest.value));
            let is_done = match &update {
                Update::Keep => true,
                Update::Remove => match self.lock_as_seen(key, at, &seen, deadline)? {
                    Some(stripe) => self.remove_held(stripe, key, at, options.durability).map(|_| true)?,
                    None => false,
                },
                Update::Put(value) => {
                    let incoming = self.prepare(at, value, options, deadline)?;
                    match self.lock_as_seen(key, at, &seen, deadline)? {
                        Some(stripe) => self.put_held(stripe, key, at, incoming).map(|()| true)?,
                        None => false,
                    }
                }
            };
            if is_done {
                return Ok(update);
            }
            if Instant::now() >= deadline {
                return Err(CacheError::TimedOut);
            }
        }
    }

    /// Locks the stripe of a key, if the key is as it was seen.
    fn lock_as_seen(
        &self,
        key: &K,
        at: &Located,
        seen: &Sighting,
        deadline: Instant,
    ) -> Result<Option<LockedStripe<'_, K>>, CacheError> {
        let mut stripe = self.lock(at, deadline)?;
        let newest = self.find_newest(&mut stripe, key, at)?;
        Ok((Newest::sighting(newest.as_ref()) == *seen).then_some(stripe))
    }
}
