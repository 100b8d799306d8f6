//! Puts and removes.

use std::time::Instant;

use super::dirty::ReservedBytes;
use super::error::CacheError;
use super::hot::{ENTRY_OVERHEAD_BYTES, Leaving};
use super::options::{CachePutOptions, Placement, WritePolicy};
use super::stripes::{KeyStripe, LockedStripe, Unlogged};
use super::tiers::{Arriving, CacheKey, CacheValue, Located, Tiers};
use super::warm::Keeping;
use crate::api::{PutOptions, Ttl, encoded};
use crate::config::Durability;
use crate::errors::PutError;
use crate::observe::RefusedOperation;

/// Bytes that a dirty value counts beside its key and value.
const DIRTY_OVERHEAD_BYTES: u64 = 256;

/// A value that is to be put, checked and encoded.
pub(super) struct CheckedPut<'a, V> {
    /// Cloned before anything is changed, since a clone may panic; `None` where no tier in memory takes it.
    copy: Option<V>,
    bytes: Vec<u8>,
    options: CachePutOptions,
    policy: WritePolicy,
    /// Dirty bytes that were reserved for it.
    reserved: Option<ReservedBytes<'a>>,
}

impl<K: CacheKey, V: CacheValue> Tiers<K, V> {
    pub(super) fn put(&self, key: &K, value: &V, options: CachePutOptions) -> Result<(), CacheError> {
        let at = self.locate(key)?;
        self.count_refused(RefusedOperation::Put, &at, || self.put_at(key, &at, value, options))
    }

    /// Runs a write, and counts and explains it where it is refused.
    pub(super) fn count_refused<R>(
        &self,
        operation: RefusedOperation,
        at: &Located,
        write: impl FnOnce() -> Result<R, CacheError>,
    ) -> Result<R, CacheError> {
        let begun = Instant::now();
        write().inspect_err(|error| {
            self.counts.refused.add(1);
            self.explain_refused(operation, at, error, begun);
        })
    }

    fn put_at(&self, key: &K, at: &Located, value: &V, options: CachePutOptions) -> Result<(), CacheError> {
        let deadline = self.deadline();
        let incoming = self.prepare(at, value, options, deadline)?;
        let stripe = self.lock(at, deadline)?;
        self.put_held(stripe, key, at, incoming)
    }

    /// Checks and encodes a value, and reserves what it needs.
    pub(super) fn prepare(
        &self,
        at: &Located,
        value: &V,
        options: CachePutOptions,
        deadline: Instant,
    ) -> Result<CheckedPut<'_, V>, CacheError> {
        let bytes = encoded(value).ok_or(CacheError::Encode)?;
        self.cold.check_value(&bytes)?;
        let policy = options.policy_over(self.terms.policy);
        if policy == WritePolicy::MemoryOnly {
            self.check_fits_memory(at, &bytes)?;
        }
        let stays_below = (options.placement, policy) == (Placement::Cold, WritePolicy::Through);
        let copy = (!stays_below).then(|| value.clone());
        let reserved = if policy == WritePolicy::OnEvict {
            let dirty_bytes = (at.key_bytes.len() + bytes.len()) as u64 + DIRTY_OVERHEAD_BYTES;
            Some(self.reserve_dirty(dirty_bytes, deadline)?)
        } else {
            None
        };
        Ok(CheckedPut { copy, bytes, options, policy, reserved })
    }

    /// Refuses a value that no tier in memory could hold, where no other has it.
    fn check_fits_memory(&self, at: &Located, bytes: &[u8]) -> Result<(), CacheError> {
        let beside = at.key_bytes.len() as u64 + u64::from(ENTRY_OVERHEAD_BYTES);
        let in_hot = self.hot()?.weight_max().saturating_sub(beside);
        let in_warm = self.warm.value_bytes_max(at.key_bytes.len());
        let max = in_hot.max(in_warm);
        if bytes.len() as u64 > max {
            let max = u32::try_from(max).unwrap_or(u32::MAX);
            return Err(PutError::ValueTooLong { bytes: bytes.len(), max }.into());
        }
        Ok(())
    }

    /// Puts a value under the hold on its stripe, which ends once the value can be read.
    pub(super) fn put_held(
        &self,
        stripe: LockedStripe<'_, K>,
        key: &K,
        at: &Located,
        incoming: CheckedPut<'_, V>,
    ) -> Result<(), CacheError> {
        let outcome = match incoming.policy {
            WritePolicy::Through => self.put_through(stripe, key, at, incoming),
            WritePolicy::OnEvict | WritePolicy::MemoryOnly => self.put_in_memory(stripe, key, at, incoming),
        };
        if outcome.is_ok() {
            self.counts.puts.add(1);
        }
        outcome
    }

    fn put_through(
        &self,
        stripe: LockedStripe<'_, K>,
        key: &K,
        at: &Located,
        mut incoming: CheckedPut<'_, V>,
    ) -> Result<(), CacheError> {
        let mut options = incoming.options.beneath();
        let bytes = core::mem::take(&mut incoming.bytes);
        let mut hold = Some(stripe);
        // A dirty value keeps its lifetime, which the cold tier does not know.
        if options.ttl == Ttl::Keep
            && let Some(stripe) = hold.as_deref_mut()
            && stripe.unlogged.contains_key(key)
        {
            options.ttl = self.kept_ttl(stripe, key, at)?;
        }
        let mut leaving = Vec::new();
        let outcome = self.cold.put_then(&at.key_bytes, &bytes, options, || {
            let Some(mut stripe) = hold.take() else { return };
            self.forget_unlogged(&mut stripe, key);
            leaving = match self.cold.find_expiry(&at.key_bytes) {
                Ok(Some(expires_s)) => {
                    self.place(key, at, &mut incoming, &bytes, expires_s, Keeping::Evictable)
                }
                // The tier was closed, or dropped the value again: reads go by what it says.
                Ok(None) | Err(_) => {
                    self.drop_from_memory(&mut stripe, key, at);
                    Vec::new()
                }
            };
        });
        drop(hold);
        self.settle(leaving);
        Ok(outcome?)
    }

    /// The lifetime that is left to the value of a key which the log lacks.
    fn kept_ttl(&self, stripe: &mut KeyStripe<K>, key: &K, at: &Located) -> Result<Ttl, CacheError> {
        let Some(newest) = self.find_newest(stripe, key, at)? else { return Ok(Ttl::Configured) };
        let Some(end_s) = newest.expires_s else { return Ok(Ttl::Never) };
        let now_s = self.cold.now_s(at.partition)?;
        let left_s = end_s.saturating_sub(now_s).saturating_sub(1).max(1);
        Ok(Ttl::After(core::time::Duration::from_secs(left_s.into())))
    }

    fn put_in_memory(
        &self,
        mut stripe: LockedStripe<'_, K>,
        key: &K,
        at: &Located,
        mut incoming: CheckedPut<'_, V>,
    ) -> Result<(), CacheError> {
        let own_key = key.clone();
        let bytes = core::mem::take(&mut incoming.bytes);
        let ttl = incoming.options.ttl;
        let kept_s = match ttl {
            Ttl::Keep => self.find_newest(&mut stripe, key, at)?.map(|newest| newest.expires_s),
            _ => None,
        };
        let expires_s = self.cold.expiry_of(at.partition, ttl, kept_s)?;
        let (unlogged, keeping) = if incoming.policy == WritePolicy::MemoryOnly {
            self.forget_dropped(&mut stripe)?;
            // An older value must not come back when this one is gone.
            if self.cold.contains(&at.key_bytes)? {
                self.cold.remove_with(&at.key_bytes, Durability::Buffered)?;
            }
            (Unlogged::MemoryOnly, Keeping::Evictable)
        } else {
            // The log has lacked the newest value since the first of those that it never got.
            let since = match stripe.unlogged.get(key) {
                Some(Unlogged::Dirty { since, .. }) => *since,
                _ => Instant::now(),
            };
            let bytes = incoming.reserved.as_ref().map_or(0, ReservedBytes::bytes);
            (Unlogged::Dirty { bytes, since, place: None }, Keeping::Kept)
        };
        self.forget_unlogged(&mut stripe, key);
        stripe.unlogged.insert(own_key, unlogged);
        incoming.reserved.iter_mut().for_each(ReservedBytes::leave);
        let leaving = self.place(key, at, &mut incoming, &bytes, expires_s, keeping);
        if incoming.options.placement != Placement::Hot {
            self.queue_dirty(&mut stripe, key);
        }
        drop(stripe);
        self.settle(leaving);
        Ok(())
    }

    /// Brings a value into the highest tier that its options ask for. The stripe is held.
    fn place(
        &self,
        key: &K,
        at: &Located,
        incoming: &mut CheckedPut<'_, V>,
        bytes: &[u8],
        expires_s: Option<u32>,
        keeping: Keeping,
    ) -> Vec<Leaving<K>> {
        let Some(value) = incoming.copy.take() else {
            if let Ok(hot) = self.hot() {
                hot.remove(key);
            }
            self.warm.remove(&at.hash);
            return Vec::new();
        };
        let is_warm = incoming.options.placement != Placement::Hot
            && self.warm.insert(&at.hash, &at.key_bytes, bytes, expires_s, keeping).is_ok();
        if is_warm {
            // Above the warm tier now, the older value would be read.
            if let Ok(hot) = self.hot() {
                hot.remove(key);
            }
            return Vec::new();
        }
        let is_frequent = self.recent.note(&at.hash);
        self.bring_hot(key, at, Arriving { value, bytes, expires_s, is_frequent })
    }

    pub(super) fn remove(&self, key: &K, durability: Option<Durability>) -> Result<bool, CacheError> {
        let at = self.locate(key)?;
        let stripe = self.lock(&at, self.deadline())?;
        self.remove_held(stripe, key, &at, durability)
    }

    /// Removes a key under the hold on its stripe, which ends once no reader finds the key.
    pub(super) fn remove_held(
        &self,
        mut stripe: LockedStripe<'_, K>,
        key: &K,
        at: &Located,
        durability: Option<Durability>,
    ) -> Result<bool, CacheError> {
        let durability = durability.map_or_else(|| self.cold.durability(), Ok)?;
        let was_there = self.has_value(&mut stripe, key, at)?;
        let mut hold = Some(stripe);
        self.cold.remove_then(&at.key_bytes, durability, || {
            if let Some(mut stripe) = hold.take() {
                self.drop_from_memory(&mut stripe, key, at);
            }
        })?;
        self.counts.removes.add(1);
        Ok(was_there)
    }

    /// The durability that a batch has to wait for; none where its policy asks for no write.
    pub(super) fn batch_durability(
        &self,
        options: CachePutOptions,
    ) -> Result<Option<Durability>, CacheError> {
        Ok(match options.policy_over(self.terms.policy) {
            WritePolicy::Through => Some(options.durability.map_or_else(|| self.cold.durability(), Ok)?),
            WritePolicy::OnEvict | WritePolicy::MemoryOnly => None,
        })
    }

    /// Waits until the value of a key that the log has, or its remove, is as durable as asked.
    pub(super) fn wait_durable(&self, at: &Located, durability: Durability) -> Result<(), CacheError> {
        if durability > Durability::Buffered {
            let options = PutOptions { ttl: Ttl::Keep, durability: Some(durability) };
            self.cold.touch_with(&at.key_bytes, options)?;
        }
        Ok(())
    }
}
