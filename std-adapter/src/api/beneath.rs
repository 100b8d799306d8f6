//! The calls of a cache that keeps this tier beneath tiers in memory.
//!
//! Such a cache orders the writes of a key by a lock of its own. It leaves that lock once a write can be read, and waits for durability
//! without it; so these writes call back in between.

use std::time::Instant;

use coldpress_core::durability::expiry_s;
use coldpress_core::format::{HASH_KEY_BYTES, KeyHash};

use super::get::Current;
use super::handle::ColdTierHandle;
use super::put::PutOptions;
use super::ttl::Ttl;
use crate::config::Durability;
use crate::errors::{GetError, PutError, RemoveError, TierError};
use crate::index::WriteId;

/// The identity of a key, and where it belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct KeyPlace {
    pub(crate) hash: KeyHash,
    pub(crate) partition: usize,
}

impl ColdTierHandle {
    /// Finds the identity of a key; refuses one that is too long, and any where the tier takes no writes.
    pub(crate) fn identify(&self, key: &[u8]) -> Result<KeyPlace, PutError> {
        self.enter(|open| {
            open.check_key(key).map_err(|(bytes, max)| PutError::KeyTooLong { bytes, max })?;
            let (hash, partition) = open.route(key);
            Ok(KeyPlace { hash, partition })
        })?
    }

    /// Refuses a value that the tier would refuse for its length.
    pub(crate) fn check_value(&self, value: &[u8]) -> Result<(), PutError> {
        let max = self.enter(|open| {
            open.check_writes()?;
            Ok::<_, TierError>(open.limits.value_bytes_max)
        })??;
        if value.len() > max as usize {
            return Err(PutError::ValueTooLong { bytes: value.len(), max });
        }
        Ok(())
    }

    /// The tier's time, by which values of this partition expire.
    pub(crate) fn now_s(&self, partition: usize) -> Result<u32, TierError> {
        self.enter(|open| Ok(open.now_s(open.part(partition)?)))?
    }

    /// Computes when a value expires that is put now, by the rules of this tier. `kept_s` is the expiry of the value that it replaces.
    pub(crate) fn expiry_of(
        &self,
        partition: usize,
        ttl: Ttl,
        kept_s: Option<Option<u32>>,
    ) -> Result<Option<u32>, PutError> {
        if let (Ttl::Keep, Some(kept_s)) = (ttl, kept_s) {
            return Ok(kept_s);
        }
        self.enter(|open| {
            let now_s = open.now_s(open.part(partition)?);
            let lives_s = ttl.lives_s(open.limits.ttl, now_s)?;
            Ok(lives_s.map(|lives_s| expiry_s(now_s, lives_s)))
        })?
    }

    /// Reads the value of a key into `value`. Returns its expiry; the outer `None` where the key has no value.
    pub(crate) fn get_expiring(
        &self,
        key: &[u8],
        value: &mut Vec<u8>,
    ) -> Result<Option<Option<u32>>, GetError> {
        Ok(self.read_current(key, value)?.value().map(|current| current.expires_s))
    }

    /// Finds the expiry of the value of a key; the outer `None` where it has no value.
    pub(crate) fn find_expiry(&self, key: &[u8]) -> Result<Option<Option<u32>>, TierError> {
        Ok(self.look(key)?.map(|current| current.expires_s))
    }

    /// Puts a value, and calls `published` once, when it can be read; not at all after an error that comes first.
    pub(crate) fn put_then(
        &self,
        key: &[u8],
        value: &[u8],
        options: PutOptions,
        published: impl FnMut(),
    ) -> Result<(), PutError> {
        let deadline = Instant::now() + self.enter(|open| open.limits.op_timeout)?;
        self.put_published(key, value, options, Some(deadline), published)
    }

    /// Puts a value with this expiry, whatever the configuration says, and does not wait for its durability.
    pub(crate) fn put_expiring(
        &self,
        key: &[u8],
        value: &[u8],
        expires_s: Option<u32>,
    ) -> Result<(), PutError> {
        let options = PutOptions { ttl: Ttl::Keep, durability: Some(Durability::Buffered) };
        // Only its expiry is looked at.
        let replaced = Current { identity: WriteId::Pending(0), expires_s };
        let write = self.prepare_put(key, value, options, Some(replaced))?;
        self.run_put(write)?;
        Ok(())
    }

    /// Removes a key, and calls `published` once, when no reader finds it; not at all after an error that comes first.
    pub(crate) fn remove_then(
        &self,
        key: &[u8],
        durability: Durability,
        published: impl FnMut(),
    ) -> Result<bool, RemoveError> {
        self.remove_published(key, durability, published)
    }

    /// The secret by which keys are hashed.
    pub(crate) fn hash_key(&self) -> Result<[u8; HASH_KEY_BYTES], TierError> {
        self.enter(|open| open.hash_key)
    }

    /// The durability that is configured.
    pub(crate) fn durability(&self) -> Result<Durability, TierError> {
        self.enter(|open| open.limits.durability)
    }
}
