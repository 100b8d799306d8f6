//! The typed form: keys and values of any `serde` type, over the tier of bytes.

use core::fmt;
use core::marker::PhantomData;
use core::ops::Deref;
use core::time::Duration;
use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::compaction::CompactionSystem;
use super::conditional::{Expected, Update, Versioned};
use super::handle::ColdTierHandle;
use super::iterate::{Entries, Keys};
use super::open::ColdTier;
use super::put::PutOptions;
use super::touch::TimeLeft;
use super::ttl::Ttl;
use crate::config::{ColdTierConfig, Durability};
use crate::errors::{
    BatchError, CloseError, GetError, OpenError, PutError, RemoveError, TierError, UpdateError,
};
use crate::observe::{Explanation, SegmentView, TierStats};
use crate::pool::PoolCoordinator;

/// A cold tier of typed keys and values, encoded with postcard.
///
/// A key is identified by its encoding, so it must encode alike each time: no hash maps in it. Reached from other threads
/// through [`PersistentColdTierHandle`], to which it dereferences.
///
/// An encoding does not name its type. Bytes that do not decode as a `V`, or are too many for one, are [`GetError::Decode`]. Another
/// type of the same shape decodes without an error, so give the tier a [schema](crate::ColdTierConfigBuilder::schema) to detect it.
///
/// ```
/// use coldpress_std::pool::{AllocationManager, PoolConfig};
/// use coldpress_std::{ColdTierConfig, PersistentColdTier};
/// use core::time::Duration;
///
/// #[derive(serde::Serialize, serde::Deserialize, PartialEq, Debug)]
/// struct Session {
///     user: String,
///     visits: u32,
/// }
///
/// let base_dir = tempfile::tempdir()?;
/// let (_manager, pools) = AllocationManager::new(&PoolConfig::builder().build()?)?;
/// let config = ColdTierConfig::builder().base_dir(base_dir.path()).capacity_bytes(16 << 20).schema("sessions v1").build()?;
///
/// let sessions: PersistentColdTier<u64, Session> = PersistentColdTier::new(config, "sessions", pools)?;
/// let session = Session { user: "ada".into(), visits: 3 };
/// sessions.put_with_ttl(&7, &session, Duration::from_secs(600))?;
/// assert_eq!(sessions.get(&7)?, Some(session));
/// assert_eq!(sessions.get(&8)?, None);
/// sessions.close()?;
///
/// # let (_manager, pools) = AllocationManager::new(&PoolConfig::builder().build()?)?;
/// let config = ColdTierConfig::builder().base_dir(base_dir.path()).capacity_bytes(16 << 20).schema("sessions v2").build()?;
/// let refused = PersistentColdTier::<u64, (u32, String)>::new(config, "sessions", pools).unwrap_err();
/// assert_eq!(
///     refused.to_string(),
///     "the tier has the schema \"sessions v1\", the configuration says the schema \"sessions v2\"; nothing was changed"
/// );
/// # Ok::<(), Box<dyn core::error::Error>>(())
/// ```
pub struct PersistentColdTier<K, V> {
    tier: ColdTier,
    handle: PersistentColdTierHandle<K, V>,
}

/// Reaches a [`PersistentColdTier`] from any thread; `Copy`.
pub struct PersistentColdTierHandle<K, V> {
    bytes: ColdTierHandle,
    types: PhantomData<fn(K) -> V>,
}

impl<K, V> Clone for PersistentColdTierHandle<K, V> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<K, V> Copy for PersistentColdTierHandle<K, V> {}

impl<K, V> fmt::Debug for PersistentColdTierHandle<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("PersistentColdTierHandle").field(&self.bytes).finish()
    }
}

impl<K, V> fmt::Debug for PersistentColdTier<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("PersistentColdTier").field(&self.tier).finish()
    }
}

impl<K, V> Deref for PersistentColdTier<K, V> {
    type Target = PersistentColdTierHandle<K, V>;

    fn deref(&self) -> &Self::Target {
        &self.handle
    }
}

impl<K, V> PersistentColdTier<K, V> {
    /// Opens the tier `cache_id` below the configured base directory, or makes it.
    ///
    /// # Errors
    /// As [`ColdTier::open`]; [`OpenError::NoBaseDir`] also where none is configured.
    pub fn new(
        config: ColdTierConfig,
        cache_id: &str,
        pool_coordinator: PoolCoordinator,
    ) -> Result<Self, OpenError> {
        ColdTier::new(config, cache_id, pool_coordinator).map(Self::from)
    }

    /// As [`new`](Self::new), with pools of its own; see [`ColdTier::with_own_pools`].
    ///
    /// # Errors
    /// As [`ColdTier::with_own_pools`].
    pub fn with_own_pools(config: ColdTierConfig, cache_id: &str) -> Result<Self, OpenError> {
        ColdTier::with_own_pools(config, cache_id).map(Self::from)
    }

    /// Opens the tier `cache_id` below `base_dir`, or makes it.
    ///
    /// # Errors
    /// As [`ColdTier::open`].
    pub fn open(
        base_dir: &Path,
        cache_id: &str,
        config: ColdTierConfig,
        pool_coordinator: PoolCoordinator,
    ) -> Result<Self, OpenError> {
        ColdTier::open(base_dir, cache_id, config, pool_coordinator).map(Self::from)
    }

    /// Returns the handle for other threads.
    #[must_use]
    pub const fn handle(&self) -> PersistentColdTierHandle<K, V> {
        self.handle
    }

    /// Returns the pools that this tier works with.
    #[must_use]
    pub const fn pool_coordinator(&self) -> &PoolCoordinator {
        self.tier.pool_coordinator()
    }

    /// Closes the tier; see [`ColdTier::close`].
    ///
    /// # Errors
    /// [`CloseError`].
    pub fn close(self) -> Result<(), CloseError> {
        self.tier.close()
    }
}

/// Takes a tier of bytes that was filled through this type before, or is empty.
impl<K, V> From<ColdTier> for PersistentColdTier<K, V> {
    fn from(tier: ColdTier) -> Self {
        let handle = PersistentColdTierHandle::from(tier.handle());
        Self { tier, handle }
    }
}

impl<K, V> From<ColdTierHandle> for PersistentColdTierHandle<K, V> {
    fn from(bytes: ColdTierHandle) -> Self {
        Self { bytes, types: PhantomData }
    }
}

/// Decodes all of `bytes`: what is left over tells of another type.
pub(crate) fn decoded<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, GetError> {
    match postcard::take_from_bytes(bytes) {
        Ok((item, [])) => Ok(item),
        Ok(_) | Err(_) => Err(GetError::Decode),
    }
}

pub(crate) fn encoded<T: Serialize>(item: &T) -> Option<Vec<u8>> {
    postcard::to_stdvec(item).ok()
}

impl<K, V> PersistentColdTierHandle<K, V> {
    /// Returns the tier of bytes below.
    #[must_use]
    pub const fn bytes(&self) -> ColdTierHandle {
        self.bytes
    }

    /// Tells whether the tier is open; see [`ColdTierHandle::is_open`].
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.bytes.is_open()
    }

    /// Returns how many keys have a value. Keys that expired count until they are dropped.
    ///
    /// # Errors
    /// [`TierError::Closed`].
    pub fn len(&self) -> Result<u64, TierError> {
        self.bytes.len()
    }

    /// Tells whether no key has a value.
    ///
    /// # Errors
    /// [`TierError::Closed`].
    pub fn is_empty(&self) -> Result<bool, TierError> {
        self.bytes.is_empty()
    }

    /// Makes everything put or removed so far durable.
    ///
    /// # Errors
    /// [`TierError`].
    pub fn flush(&self) -> Result<(), TierError> {
        self.bytes.flush()
    }

    /// Makes everything put or removed so far as durable as asked.
    ///
    /// # Errors
    /// [`TierError`].
    pub fn flush_to(&self, durability: Durability) -> Result<(), TierError> {
        self.bytes.flush_to(durability)
    }

    /// Confirms the wall clock; see [`ColdTierHandle::confirm_clock`].
    ///
    /// # Errors
    /// [`TierError`].
    pub fn confirm_clock(&self) -> Result<(), TierError> {
        self.bytes.confirm_clock()
    }

    /// Gives up records that can't be read; see [`ColdTierHandle::give_up_unread`].
    ///
    /// # Errors
    /// [`TierError`].
    pub fn give_up_unread(&self) -> Result<(), TierError> {
        self.bytes.give_up_unread()
    }

    /// Shows the segments of all partitions.
    ///
    /// # Errors
    /// [`TierError`].
    pub fn segments(&self) -> Result<Vec<SegmentView>, TierError> {
        self.bytes.segments()
    }

    /// Checks the sums that capacity is kept by; see [`ColdTierHandle::is_recount_exact`].
    ///
    /// # Errors
    /// [`TierError::Closed`].
    ///
    /// # Bounds
    /// Looks at every key.
    pub fn is_recount_exact(&self) -> Result<bool, TierError> {
        self.bytes.is_recount_exact()
    }

    /// Returns what the tier counted.
    #[must_use]
    pub fn stats(&self) -> TierStats {
        self.bytes.stats()
    }

    /// Explains the last compactions, evictions and refusals; see [`ColdTierHandle::explanations`].
    ///
    /// # Errors
    /// [`TierError::Closed`].
    pub fn explanations(&self) -> Result<Vec<Explanation>, TierError> {
        self.bytes.explanations()
    }

    /// Returns the compaction of this tier.
    #[must_use]
    pub fn compaction(&self) -> CompactionSystem {
        self.bytes.compaction()
    }
}

impl<K: Serialize, V: Serialize> PersistentColdTierHandle<K, V> {
    /// Puts a value; see [`ColdTierHandle::put`].
    ///
    /// # Errors
    /// [`PutError`]; the key and value stay with the caller.
    pub fn put(&self, key: &K, value: &V) -> Result<(), PutError> {
        self.put_with(key, value, PutOptions::default())
    }

    /// Puts a value that expires after `ttl`.
    ///
    /// # Errors
    /// As [`put`](Self::put), and [`PutError::Lifetime`].
    pub fn put_with_ttl(&self, key: &K, value: &V, ttl: Duration) -> Result<(), PutError> {
        self.put_with(key, value, PutOptions { ttl: ttl.into(), ..PutOptions::default() })
    }

    /// Puts a value with a lifetime and durability of its own.
    ///
    /// # Errors
    /// As [`put_with_ttl`](Self::put_with_ttl).
    pub fn put_with(&self, key: &K, value: &V, options: PutOptions) -> Result<(), PutError> {
        let key = encoded(key).ok_or(PutError::Encode)?;
        let value = encoded(value).ok_or(PutError::Encode)?;
        self.bytes.put_with(&key, &value, options)
    }

    /// Puts many values and waits once for the durability of all; see [`ColdTierHandle::put_batch`].
    ///
    /// # Errors
    /// [`BatchError`] tells how far it came. A pair that can't be encoded is found before anything is put.
    pub fn put_batch(&self, pairs: &[(K, V)], options: PutOptions) -> Result<(), BatchError> {
        let mut encoded_pairs = Vec::with_capacity(pairs.len());
        for (index, (key, value)) in pairs.iter().enumerate() {
            let pair = encoded(key).zip(encoded(value));
            encoded_pairs.push(pair.ok_or(BatchError { index, error: PutError::Encode })?);
        }
        self.bytes.put_batch(&encoded_pairs, options)
    }
}

impl<K: Serialize, V: DeserializeOwned> PersistentColdTierHandle<K, V> {
    /// Returns the value of a key, if it has one that has not expired.
    ///
    /// # Errors
    /// [`GetError`]; [`GetError::Decode`] where the bytes are not a `V`.
    pub fn get(&self, key: &K) -> Result<Option<V>, GetError> {
        let key = encoded(key).ok_or(GetError::Decode)?;
        let Some(value) = self.bytes.get(&key)? else { return Ok(None) };
        decoded(&value).map(Some)
    }

    /// Returns the value of a key with its version; see [`ColdTierHandle::get_versioned`].
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub fn get_versioned(&self, key: &K) -> Result<Option<Versioned<V>>, GetError> {
        let key = encoded(key).ok_or(GetError::Decode)?;
        let Some(Versioned { value, version }) = self.bytes.get_versioned(&key)? else { return Ok(None) };
        Ok(Some(Versioned { value: decoded(&value)?, version }))
    }

    /// Puts the value of a key into `value`, which stays as it is where the key has none; tells whether there is one.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub fn get_into(&self, key: &K, value: &mut V) -> Result<bool, GetError> {
        let found = self.get(key)?;
        let is_there = found.is_some();
        found.into_iter().for_each(|found| *value = found);
        Ok(is_there)
    }

    /// Returns the values of many keys, in their order; see [`ColdTierHandle::get_batch`].
    ///
    /// # Errors
    /// [`BatchError`]: the first error, with the index of its key.
    pub fn get_batch(&self, keys: &[K]) -> Result<Vec<Option<V>>, BatchError<GetError>> {
        let at = |index| move |error| BatchError { index, error };
        keys.iter().enumerate().map(|(index, key)| self.get(key).map_err(at(index))).collect()
    }
}

impl<K: Serialize, V> PersistentColdTierHandle<K, V> {
    /// Tells whether a key has a value that has not expired.
    ///
    /// # Errors
    /// [`GetError`].
    pub fn contains(&self, key: &K) -> Result<bool, GetError> {
        self.bytes.contains(&encoded(key).ok_or(GetError::Decode)?)
    }

    /// Removes a key; tells whether it had a value.
    ///
    /// # Errors
    /// [`RemoveError`].
    pub fn remove(&self, key: &K) -> Result<bool, RemoveError> {
        self.bytes.remove(&encoded(key).ok_or(RemoveError::Encode)?)
    }

    /// Removes a key with a durability of its own.
    ///
    /// # Errors
    /// [`RemoveError`].
    pub fn remove_with(&self, key: &K, durability: Durability) -> Result<bool, RemoveError> {
        self.bytes.remove_with(&encoded(key).ok_or(RemoveError::Encode)?, durability)
    }
}

impl<K: DeserializeOwned, V> PersistentColdTierHandle<K, V> {
    /// Iterates over the keys; see [`Keys`].
    #[must_use]
    pub fn keys(&self) -> TypedKeys<K> {
        TypedKeys { keys: self.bytes.keys(), key: PhantomData }
    }
}

impl<K: Serialize, V: Serialize> PersistentColdTierHandle<K, V> {
    /// Puts a value if the key has none; see [`ColdTierHandle::put_if_absent`].
    ///
    /// # Errors
    /// [`PutError`]; the key and value stay with the caller.
    pub fn put_if_absent(&self, key: &K, value: &V, options: PutOptions) -> Result<bool, PutError> {
        let key = encoded(key).ok_or(PutError::Encode)?;
        let value = encoded(value).ok_or(PutError::Encode)?;
        self.bytes.put_if_absent(&key, &value, options)
    }

    /// Puts a value if the key has the expected one; see [`ColdTierHandle::compare_and_swap`].
    ///
    /// # Errors
    /// [`UpdateError`].
    pub fn compare_and_swap(
        &self,
        key: &K,
        expected: Expected<'_, V>,
        value: &V,
        options: PutOptions,
    ) -> Result<bool, UpdateError> {
        let key = encoded(key).ok_or(PutError::Encode)?;
        let value = encoded(value).ok_or(PutError::Encode)?;
        let mut bytes = Vec::new();
        let expected = encoded_expected(expected, &mut bytes)?;
        self.bytes.compare_and_swap(&key, expected, &value, options)
    }

    /// Removes a key if it has the expected value; see [`ColdTierHandle::compare_and_remove`].
    ///
    /// # Errors
    /// [`UpdateError`].
    pub fn compare_and_remove(
        &self,
        key: &K,
        expected: Expected<'_, V>,
        durability: Durability,
    ) -> Result<bool, UpdateError> {
        let key = encoded(key).ok_or(RemoveError::Encode)?;
        let mut bytes = Vec::new();
        let expected = encoded_expected(expected, &mut bytes)?;
        self.bytes.compare_and_remove(&key, expected, durability)
    }
}

impl<K: Serialize, V: Serialize + DeserializeOwned> PersistentColdTierHandle<K, V> {
    /// Changes the value of a key by what it is, without a lost update; see [`ColdTierHandle::update`]. Returns what was done.
    ///
    /// # Errors
    /// [`UpdateError`]; [`GetError::Decode`] within it where the bytes are not a `V`.
    pub fn update(
        &self,
        key: &K,
        options: PutOptions,
        mut change: impl FnMut(Option<V>) -> Update<V>,
    ) -> Result<Update<V>, UpdateError> {
        let key = encoded(key).ok_or(PutError::Encode)?;
        let mut outcome = Ok(Update::Keep);
        self.bytes.update(&key, options, |bytes| {
            let (next, update) = changed(bytes, &mut change);
            outcome = next;
            update
        })?;
        outcome
    }
}

/// The same expectation of a tier of bytes. An expected value is encoded into the buffer.
pub(super) fn encoded_expected<'b, V: Serialize>(
    expected: Expected<'_, V>,
    bytes: &'b mut Vec<u8>,
) -> Result<Expected<'b>, PutError> {
    Ok(match expected {
        Expected::Absent => Expected::Absent,
        Expected::Present => Expected::Present,
        Expected::Version(version) => Expected::Version(version),
        Expected::Value(value) => {
            *bytes = encoded(value).ok_or(PutError::Encode)?;
            Expected::Value(bytes)
        }
    })
}

/// The value that a change gives, and what becomes of the key for it.
pub(super) fn changed<V: Serialize + DeserializeOwned>(
    bytes: Option<&[u8]>,
    change: impl FnOnce(Option<V>) -> Update<V>,
) -> (Result<Update<V>, UpdateError>, Update) {
    let value = match bytes.map(decoded).transpose() {
        Ok(value) => value,
        Err(error) => return (Err(error.into()), Update::Keep),
    };
    let value = match change(value) {
        Update::Put(value) => value,
        Update::Remove => return (Ok(Update::Remove), Update::Remove),
        Update::Keep => return (Ok(Update::Keep), Update::Keep),
    };
    match encoded(&value) {
        Some(bytes) => (Ok(Update::Put(value)), Update::Put(bytes)),
        None => (Err(PutError::Encode.into()), Update::Keep),
    }
}

impl<K: Serialize, V> PersistentColdTierHandle<K, V> {
    /// Tells how long the value of a key still lives; see [`ColdTierHandle::ttl`].
    ///
    /// # Errors
    /// [`GetError`].
    pub fn ttl(&self, key: &K) -> Result<Option<TimeLeft>, GetError> {
        self.bytes.ttl(&encoded(key).ok_or(GetError::Decode)?)
    }

    /// Gives the value of a key another lifetime; see [`ColdTierHandle::touch`].
    ///
    /// # Errors
    /// [`UpdateError`].
    pub fn touch(&self, key: &K, ttl: Ttl) -> Result<bool, UpdateError> {
        self.bytes.touch(&encoded(key).ok_or(PutError::Encode)?, ttl)
    }

    /// As [`touch`](Self::touch), with a durability of its own.
    ///
    /// # Errors
    /// [`UpdateError`].
    pub fn touch_with(&self, key: &K, options: PutOptions) -> Result<bool, UpdateError> {
        self.bytes.touch_with(&encoded(key).ok_or(PutError::Encode)?, options)
    }
}

impl<K, V> PersistentColdTierHandle<K, V> {
    /// Removes every key; see [`ColdTierHandle::clear`].
    ///
    /// # Errors
    /// [`RemoveError`].
    pub fn clear(&self) -> Result<u64, RemoveError> {
        self.bytes.clear()
    }
}

impl<K: DeserializeOwned, V: DeserializeOwned> PersistentColdTierHandle<K, V> {
    /// Iterates over the keys and their values; see [`Entries`].
    #[must_use]
    pub fn entries(&self) -> TypedEntries<K, V> {
        TypedEntries { entries: self.bytes.entries(), types: PhantomData }
    }
}

/// Iterates over the keys and values of a typed tier; see [`Entries`].
#[derive(Debug)]
pub struct TypedEntries<K, V> {
    entries: Entries,
    types: PhantomData<fn() -> (K, V)>,
}

impl<K: DeserializeOwned, V: DeserializeOwned> Iterator for TypedEntries<K, V> {
    type Item = Result<(K, V), GetError>;

    fn next(&mut self) -> Option<Self::Item> {
        let entry = self.entries.next()?;
        Some(entry.and_then(|(key, value)| Ok((decoded(&key)?, decoded(&value)?))))
    }
}

/// Iterates over the keys of a typed tier; see [`Keys`].
#[derive(Debug)]
pub struct TypedKeys<K> {
    keys: Keys,
    key: PhantomData<fn() -> K>,
}

impl<K: DeserializeOwned> Iterator for TypedKeys<K> {
    type Item = Result<K, GetError>;

    fn next(&mut self) -> Option<Self::Item> {
        let key = self.keys.next()?;
        Some(key.and_then(|key| decoded(&key)))
    }
}
