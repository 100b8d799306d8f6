//! The warm tier: values as they are encoded, in the relocatable memory of the pools.
//!
//! ```text
//!  ┌──────────────┬───────────┬─────┬───────┐
//!  │ expiry: u32  │ key: u32  │ key │ value │     expiry 0 for none; the length of the key; little endian
//!  └──────────────┴───────────┴─────┴───────┘
//! ```
//! The pools know a value by the keyed hash of its key. The key lies beside the value, so that one with the same hash is not taken for
//! it, and a value can be written to the log from here.

use core::any::Any;
use core::fmt;
use core::marker::PhantomData;

use coldpress_core::format::{HASH_KEY_BYTES, KeyHash, key_hash};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::registry::{ErasedTier, MemoryTier, MemoryTierKind, RegisterError, RegistryLine};
use crate::api::{decoded, encoded};
use crate::pool::{HotError, HotKey, HotPools, PoolCoordinator};

const PREFIX_BYTES: usize = 8;

/// The stamp of all values here. A key has one value at a time: an insert takes the place of the value before.
const STAMP: u64 = 0;

/// A value in the warm tier, as encoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct WarmValue {
    pub(super) value: Vec<u8>,
    pub(super) expires_s: Option<u32>,
}

/// A part of the pools, named by a number.
#[derive(Debug, Clone, Copy)]
pub(super) struct WarmStore {
    pools: HotPools,
    tier: u32,
}

/// Whether a value may be dropped by the pools.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Keeping {
    /// It may: the log has it, or its loss is allowed.
    Evictable,
    /// It may not: nothing else has it.
    Kept,
}

impl WarmStore {
    /// The longest value that fits beside a key of this length.
    pub(super) fn value_bytes_max(&self, key_bytes: usize) -> u64 {
        u64::from(self.pools.value_bytes_max()).saturating_sub((PREFIX_BYTES + key_bytes) as u64)
    }

    fn key(&self, hash: &KeyHash) -> HotKey {
        HotKey { tier: self.tier, hash: hash.0 }
    }

    pub(super) fn insert(
        &self,
        hash: &KeyHash,
        key: &[u8],
        value: &[u8],
        expires_s: Option<u32>,
        keeping: Keeping,
    ) -> Result<(), HotError> {
        let key_bytes = u32::try_from(key.len()).unwrap_or(u32::MAX);
        let mut bytes = Vec::with_capacity(PREFIX_BYTES + key.len() + value.len());
        bytes.extend_from_slice(&expires_s.unwrap_or(0).to_le_bytes());
        bytes.extend_from_slice(&key_bytes.to_le_bytes());
        bytes.extend_from_slice(key);
        bytes.extend_from_slice(value);
        match keeping {
            Keeping::Evictable => self.pools.try_insert(self.key(hash), STAMP, &bytes, expires_s),
            Keeping::Kept => self.pools.insert_kept(self.key(hash), STAMP, &bytes),
        }
    }

    pub(super) fn get(&self, hash: &KeyHash, key: &[u8]) -> Option<WarmValue> {
        let parse = |bytes: &[u8]| {
            let (expiry, rest) = bytes.split_first_chunk()?;
            let (key_bytes, rest) = rest.split_first_chunk()?;
            let (own, value) = rest.split_at_checked(u32::from_le_bytes(*key_bytes) as usize)?;
            let expires_s = Some(u32::from_le_bytes(*expiry)).filter(|end_s| *end_s != 0);
            (own == key).then(|| WarmValue { value: value.to_vec(), expires_s })
        };
        self.pools.read(self.key(hash), STAMP, parse).flatten()
    }

    pub(super) fn contains(&self, hash: &KeyHash) -> bool {
        self.pools.read(self.key(hash), STAMP, |_| ()).is_some()
    }

    pub(super) fn remove(&self, hash: &KeyHash) -> bool {
        self.pools.remove(self.key(hash))
    }

    /// Drops all values.
    fn clear(&self) {
        self.pools.remove_tier(self.tier);
    }
}

/// Drops the values of a warm tier with its registration.
struct WarmRegistration {
    store: WarmStore,
    hash_key: [u8; HASH_KEY_BYTES],
}

impl MemoryTier for WarmRegistration {
    /// Does nothing: cleanups of the pools drop values whose time is over first.
    fn sweep(&self) {}
}

impl Drop for WarmRegistration {
    fn drop(&mut self) {
        self.store.clear();
    }
}

/// Registers warm tiers by name and types of keys and values. Clone it for each thread that wants one.
///
/// ```
/// use coldpress_std::cache::MemoryTiers;
/// use coldpress_std::pool::{AllocationManager, PoolConfig};
///
/// let (_pools, pools) = AllocationManager::new(&PoolConfig::builder().build()?)?;
/// let MemoryTiers { registry: _registry, warm, .. } = MemoryTiers::start(pools)?;
/// let pages = warm.register::<u64, String>("pages")?;
/// pages.insert(&7, &"seven".into())?;
/// assert_eq!(pages.get(&7).as_deref(), Some("seven"));
/// assert!(pages.remove(&7) && pages.get(&7).is_none());
/// # Ok::<(), Box<dyn core::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct WarmTierCoordinator {
    line: RegistryLine,
    pools: PoolCoordinator,
}

impl WarmTierCoordinator {
    pub(super) const fn new(line: RegistryLine, pools: PoolCoordinator) -> Self {
        Self { line, pools }
    }

    /// Returns the pools in which the values lie.
    #[must_use]
    pub const fn pool_coordinator(&self) -> &PoolCoordinator {
        &self.pools
    }

    /// Finds the warm tier of this name, or makes it.
    ///
    /// # Errors
    /// [`RegisterError`]; [`RegisterError::OtherTypes`] where there is one of this name already with other types.
    ///
    /// # Bounds
    /// Waits up to 10 s for the registry.
    pub fn register<K: 'static, V: 'static>(&self, name: &str) -> Result<WarmTier<K, V>, RegisterError> {
        let mut hash_key = [0; HASH_KEY_BYTES];
        // Without the system's random numbers, keys are still distinguished: they lie beside their values.
        let _ = getrandom::fill(&mut hash_key);
        let (store, hash_key) = self.register_store::<K, V>(MemoryTierKind::Warm, name, hash_key)?;
        Ok(WarmTier { store, hash_key, types: PhantomData })
    }

    /// As [`register`](Self::register), with the secret for hashes of keys. One that is there keeps its own.
    pub(super) fn register_store<K: 'static, V: 'static>(
        &self,
        kind: MemoryTierKind,
        name: &str,
        hash_key: [u8; HASH_KEY_BYTES],
    ) -> Result<(WarmStore, [u8; HASH_KEY_BYTES]), RegisterError> {
        let pools = self.pools.hot();
        let make = move || {
            let store = WarmStore { pools, tier: pools.register_tier() };
            Box::new(WarmRegistration { store, hash_key }) as ErasedTier
        };
        let lease = self.line.register::<K, V>(kind, name, make)?;
        let of = |tier: &ErasedTier| {
            let tier: &dyn Any = tier.as_ref();
            tier.downcast_ref::<WarmRegistration>().map(|tier| (tier.store, tier.hash_key))
        };
        // One that was closed meanwhile is as good as gone.
        lease.enter(of).ok().flatten().ok_or(RegisterError::Disconnected)
    }

    /// Closes a warm tier and drops its values; tells whether it was there.
    ///
    /// # Errors
    /// [`RegisterError`].
    pub fn unregister(&self, name: &str) -> Result<bool, RegisterError> {
        self.line.unregister(MemoryTierKind::Warm, name)
    }
}

/// Reaches a warm tier from any thread; `Copy`. Each read may miss, since the pools evict where memory is short.
pub struct WarmTier<K, V> {
    store: WarmStore,
    hash_key: [u8; HASH_KEY_BYTES],
    types: PhantomData<fn(K) -> V>,
}

impl<K, V> Clone for WarmTier<K, V> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<K, V> Copy for WarmTier<K, V> {}

impl<K, V> fmt::Debug for WarmTier<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("WarmTier").field(&self.store.tier).finish()
    }
}

impl<K: Serialize, V: Serialize + DeserializeOwned> WarmTier<K, V> {
    /// Returns the value of a key, if the pools still have it.
    #[must_use]
    pub fn get(&self, key: &K) -> Option<V> {
        let key = encoded(key)?;
        let found = self.store.get(&key_hash(&self.hash_key, &key), &key)?;
        decoded(&found.value).ok()
    }

    /// Takes a value, in place of that of the same key. It may be evicted at any time; it has no lifetime.
    ///
    /// # Errors
    /// [`HotError`]; [`HotError::TooLarge`] also where key or value can't be encoded. The earlier value is gone, unless the new one is too
    /// large or the pools are closed.
    pub fn insert(&self, key: &K, value: &V) -> Result<(), HotError> {
        let max_bytes = self.store.pools.value_bytes_max();
        let pair = encoded(key).zip(encoded(value));
        let (key, value) = pair.ok_or(HotError::TooLarge { max_bytes })?;
        let hash = key_hash(&self.hash_key, &key);
        self.store.insert(&hash, &key, &value, None, Keeping::Evictable)
    }

    /// Drops a value; tells whether it was there.
    pub fn remove(&self, key: &K) -> bool {
        encoded(key).is_some_and(|key| self.store.remove(&key_hash(&self.hash_key, &key)))
    }
}
