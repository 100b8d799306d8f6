//! The hot tier: values as they are, in memory.
//!
//! The values lie in `quick_cache`, which evicts by a clock with a small probation queue and ghosts, after S3-FIFO and CLOCK-Pro: a value
//! that is used once leaves by the probation queue, so a scan does not flush the others.
//!
//! An eviction must not make a value invisible while it moves to a tier below. So the cache library hands an evicted value over to a
//! second table, under its own lock, where it stays until the cache that uses this tier takes it out.

use core::any::Any;
use core::fmt;
use core::hash::{BuildHasher as _, BuildHasherDefault, Hash};
use core::marker::PhantomData;
use core::sync::atomic::AtomicU64;
use core::sync::atomic::Ordering::Relaxed;
use core::time::Duration;
use std::hash::DefaultHasher;

use coldpress_core::format::KeyHash;
use dashmap::DashMap;
use quick_cache::sync::Cache as QuickCache;
use quick_cache::{DefaultHashBuilder, Lifecycle, OptionsBuilder, Weighter};

use super::registry::{ErasedTier, MemoryTier, MemoryTierKind, RegisterError, RegistryLine};
use crate::clock::Clock;
use crate::recycled::{Gone, Held, Lease, Recycler};

/// Bytes that an entry takes beside its key and value: hash table, queue, and the fields of [`HotEntry`].
pub(super) const ENTRY_OVERHEAD_BYTES: u32 = 128;

/// The smallest weight limit of a hot tier.
pub(super) const HOT_BYTES_MIN: u64 = 1 << 16;

/// The mean entry that tables are sized for; an estimate within a factor of a hundred is good enough.
const MEAN_ENTRY_BYTES: u64 = 512;

/// A value in the hot tier.
#[derive(Debug, Clone)]
pub(super) struct HotEntry<V> {
    pub(super) value: V,
    pub(super) hash: KeyHash,
    /// The partition of the key in the cold tier, whose time ends the value.
    pub(super) partition: u16,
    pub(super) expires_s: Option<u32>,
    /// Differs between any two entries.
    pub(super) stamp: u64,
    pub(super) weight: u32,
    /// Whether the key came into the hot tier more than once lately, so that the value is worth a place in the warm tier.
    pub(super) is_frequent: bool,
}

/// A key that was chosen for eviction.
#[derive(Debug)]
pub(super) struct Leaving<K> {
    pub(super) key: K,
    pub(super) stamp: u64,
    pub(super) weight: u32,
}

#[derive(Clone)]
struct EntryWeight;

impl<K, V> Weighter<K, HotEntry<V>> for EntryWeight {
    fn weight(&self, _: &K, entry: &HotEntry<V>) -> u64 {
        entry.weight.max(1).into()
    }
}

/// The values that were evicted and not taken out yet, of any types.
type ErasedDepartures = Box<dyn Any + Send + Sync>;

/// The values that were evicted and not taken out yet.
type Departures<K, V> = DashMap<K, HotEntry<V>>;

/// The cache library calls back without a reference to the tier, so the table is reached by a lease.
static DEPARTURES: Recycler<ErasedDepartures> = Recycler::new();

/// Receives what the cache library evicts: it keeps the value visible, or lets it go where the tier stands alone.
#[derive(Clone)]
struct Departure {
    kept: Option<Lease<ErasedDepartures>>,
}

/// The keys that one insert evicted.
pub(super) struct Evicted<K> {
    leaving: Vec<Leaving<K>>,
    count: u64,
    /// The key that is inserted and its stamp: an older entry of it is replaced, not evicted.
    inserted: (KeyHash, u64),
}

impl<K> Default for Evicted<K> {
    fn default() -> Self {
        Self { leaving: Vec::new(), count: 0, inserted: (KeyHash::default(), 0) }
    }
}

impl<K, V> Lifecycle<K, HotEntry<V>> for Departure
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    type RequestState = Evicted<K>;

    fn on_evict(&self, evicted: &mut Evicted<K>, key: K, entry: HotEntry<V>) {
        let (hash, stamp) = evicted.inserted;
        if entry.hash == hash && entry.stamp != stamp {
            return;
        }
        evicted.count += 1;
        let Some(kept) = self.kept else { return };
        evicted.leaving.push(Leaving { key: key.clone(), stamp: entry.stamp, weight: entry.weight });
        // The tier that owns the table is in this call.
        let _ = kept.enter(|departures| {
            departures.downcast_ref::<Departures<K, V>>().map(|departures| departures.insert(key, entry))
        });
    }
}

type HotEntries<K, V> = QuickCache<K, HotEntry<V>, EntryWeight, DefaultHashBuilder, Departure>;

/// The values of a hot tier.
pub(super) struct HotStore<K, V> {
    entries: HotEntries<K, V>,
    departures: Option<Held<ErasedDepartures>>,
    evictions: AtomicU64,
    stamps: AtomicU64,
    /// The clock of a tier that stands alone.
    clock: &'static dyn Clock,
}

impl<K, V> HotStore<K, V>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    fn new(bytes_max: u64, clock: &'static dyn Clock, stands_alone: bool) -> Self {
        let keys = usize::try_from(bytes_max / MEAN_ENTRY_BYTES).unwrap_or(usize::MAX).max(64);
        let mut options = OptionsBuilder::new();
        options.estimated_items_capacity(keys).weight_capacity(bytes_max);
        let kept = (!stands_alone).then(|| DEPARTURES.lend(Box::new(Departures::<K, V>::new())));
        let (departure, hasher) = (Departure { kept }, DefaultHashBuilder::default());
        let entries = match options.build() {
            Ok(options) => QuickCache::with_options(options, EntryWeight, hasher, departure),
            // Both limits were given.
            Err(_) => QuickCache::with(keys, bytes_max, EntryWeight, hasher, departure),
        };
        // A lease that was made just now is open.
        let departures = kept.and_then(|kept| kept.hold().ok());
        Self { entries, departures, evictions: AtomicU64::new(0), stamps: AtomicU64::new(1), clock }
    }

    fn departures(&self) -> Option<&Departures<K, V>> {
        self.departures.as_ref().and_then(|departures| departures.downcast_ref())
    }

    /// The entry of a key that is not leaving.
    pub(super) fn get(&self, key: &K) -> Option<HotEntry<V>> {
        self.entries.get(key)
    }

    /// The entry of a key, whether it is leaving or not. It does not count as a use.
    pub(super) fn peek(&self, key: &K) -> Option<HotEntry<V>> {
        self.entries.peek(key).or_else(|| self.leaving(key))
    }

    /// Tells whether a key has an entry, leaving or not.
    pub(super) fn contains(&self, key: &K) -> bool {
        self.entries.contains_key(key)
            || self.departures().is_some_and(|departures| departures.contains_key(key))
    }

    /// The entry of a key that is leaving.
    pub(super) fn leaving(&self, key: &K) -> Option<HotEntry<V>> {
        self.departures()?.get(key).map(|entry| entry.clone())
    }

    /// The weight of an entry that surely fits: a heavier one may leave as it comes. It is that of the library's protected part of a shard.
    pub(super) fn weight_max(&self) -> u64 {
        self.entries.shard_capacity() / 100 * 96
    }

    pub(super) fn issue_stamp(&self) -> u64 {
        self.stamps.fetch_add(1, Relaxed)
    }

    /// Takes an entry, in place of that of the same key. Returns the keys that leave for it; that of the entry itself where it is too
    /// heavy.
    pub(super) fn insert(&self, key: K, entry: HotEntry<V>) -> Vec<Leaving<K>> {
        let inserted = (entry.hash, entry.stamp);
        let mut evicted = Evicted { inserted, ..Evicted::default() };
        let older = self.departures().map(|departures| (departures, key.clone()));
        self.entries.insert_with_lifecycle(key, entry, &mut evicted);
        // One that left before this one came is out of date. None leaves afterwards: this one took its place.
        if let Some((departures, key)) = older.filter(|(departures, _)| !departures.is_empty()) {
            departures.remove_if(&key, |_, leaving| leaving.stamp < inserted.1);
        }
        self.evictions.fetch_add(evicted.count, Relaxed);
        evicted.leaving
    }

    pub(super) fn remove(&self, key: &K) {
        self.entries.remove(key);
        if let Some(departures) = self.departures() {
            departures.remove(key);
        }
    }

    /// Takes out an entry that leaves, unless another took its place.
    pub(super) fn take_leaving(&self, leaving: &Leaving<K>) {
        if let Some(departures) = self.departures() {
            departures.remove_if(&leaving.key, |_, entry| entry.stamp == leaving.stamp);
        }
    }

    /// Shows all entries that are not leaving, one lock hold for each.
    pub(super) fn iter(&self) -> impl Iterator<Item = (K, HotEntry<V>)> + '_ {
        self.entries.iter()
    }

    /// Shows all keys that are leaving.
    pub(super) fn all_leaving(&self) -> Vec<Leaving<K>> {
        let all = self.departures().into_iter().flat_map(|departures| departures.iter());
        all.map(|entry| Leaving { key: entry.key().clone(), stamp: entry.stamp, weight: entry.weight })
            .collect()
    }

    pub(super) fn stats(&self) -> HotTierStats {
        HotTierStats {
            entries: self.entries.len() as u64,
            bytes: self.entries.weight(),
            bytes_max: self.entries.capacity(),
            evictions: self.evictions.load(Relaxed),
        }
    }
}

impl<K, V> Drop for HotStore<K, V> {
    fn drop(&mut self) {
        if let Some(departures) = self.departures.take() {
            let lease = departures.lease();
            drop(departures);
            lease.give_back();
        }
    }
}

impl<K, V> MemoryTier for HotStore<K, V>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    fn sweep(&self) {
        if self.departures.is_some() {
            // The cache over it does that, in step with the tiers below.
            return;
        }
        let now_s = self.clock.wall_s();
        let is_over = |entry: &HotEntry<V>| entry.expires_s.is_some_and(|end_s| end_s <= now_s);
        for (key, entry) in self.entries.iter().filter(|(_, entry)| is_over(entry)) {
            self.entries.remove_if(&key, |there| there.stamp == entry.stamp);
        }
    }
}

/// The stats of a hot tier.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct HotTierStats {
    /// Values in it.
    pub entries: u64,
    /// Their weight: keys and values as encoded, and 128 bytes for each.
    pub bytes: u64,
    /// The limit on the weight.
    pub bytes_max: u64,
    /// Values that were evicted since the open, to a tier below or for good.
    pub evictions: u64,
}

/// Registers hot tiers by name and types of keys and values. Clone it for each thread that wants one.
///
/// ```
/// use coldpress_std::cache::{MemoryTiers, RegisterError};
/// use coldpress_std::pool::{AllocationManager, PoolConfig};
/// use core::time::Duration;
///
/// let (_pools, pools) = AllocationManager::new(&PoolConfig::builder().build()?)?;
/// let MemoryTiers { registry: _registry, hot, .. } = MemoryTiers::start(pools)?;
/// let pages = hot.register::<u64, String>("pages", 1 << 20)?;
/// pages.insert(7, "seven".into(), 5, Some(Duration::from_secs(60)));
/// assert_eq!(pages.get(&7).as_deref(), Some("seven"));
/// assert_eq!(hot.register::<u64, u64>("pages", 1 << 20).unwrap_err(), RegisterError::OtherTypes);
/// # Ok::<(), Box<dyn core::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct HotTierCoordinator {
    line: RegistryLine,
    clock: &'static dyn Clock,
}

impl HotTierCoordinator {
    pub(super) const fn new(line: RegistryLine, clock: &'static dyn Clock) -> Self {
        Self { line, clock }
    }

    /// Finds the hot tier of this name, or makes it with so many bytes of weight at most, 64 KiB at least. One that is there keeps its
    /// limit.
    ///
    /// # Errors
    /// [`RegisterError`].
    ///
    /// # Bounds
    /// Waits up to 10 s for the registry.
    pub fn register<K, V>(&self, name: &str, bytes_max: u64) -> Result<HotTier<K, V>, RegisterError>
    where
        K: Hash + Eq + Clone + Send + Sync + 'static,
        V: Clone + Send + Sync + 'static,
    {
        self.register_for(name, bytes_max, true)
    }

    /// As [`register`](Self::register); of one that a cache is to use, evicted values wait for it.
    pub(super) fn register_for<K, V>(
        &self,
        name: &str,
        bytes_max: u64,
        stands_alone: bool,
    ) -> Result<HotTier<K, V>, RegisterError>
    where
        K: Hash + Eq + Clone + Send + Sync + 'static,
        V: Clone + Send + Sync + 'static,
    {
        let (clock, bytes_max) = (self.clock, bytes_max.max(HOT_BYTES_MIN));
        let make = move || Box::new(HotStore::<K, V>::new(bytes_max, clock, stands_alone)) as ErasedTier;
        let kind = if stands_alone { MemoryTierKind::Hot } else { MemoryTierKind::HotOfCache };
        let lease = self.line.register::<K, V>(kind, name, make)?;
        Ok(HotTier { lease, clock, types: PhantomData })
    }

    /// Closes a hot tier and drops its values; tells whether it was there.
    ///
    /// # Errors
    /// [`RegisterError`].
    pub fn unregister(&self, name: &str) -> Result<bool, RegisterError> {
        self.line.unregister(MemoryTierKind::Hot, name)
    }
}

/// Reaches a hot tier from any thread; `Copy`. After the tier was closed every read misses, and nothing is kept.
pub struct HotTier<K, V> {
    lease: Lease<ErasedTier>,
    clock: &'static dyn Clock,
    types: PhantomData<fn(K) -> V>,
}

impl<K, V> Clone for HotTier<K, V> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<K, V> Copy for HotTier<K, V> {}

impl<K, V> fmt::Debug for HotTier<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("HotTier").field(&self.lease).finish()
    }
}

/// Finds the values of a tier that was registered with these types.
fn store_of<K: 'static, V: 'static>(tier: &ErasedTier) -> Option<&HotStore<K, V>> {
    let tier: &dyn Any = tier.as_ref();
    tier.downcast_ref()
}

impl<K, V> HotTier<K, V>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    fn enter<R>(&self, look: impl FnOnce(&HotStore<K, V>) -> R) -> Option<R> {
        self.lease.enter(|tier| store_of(tier).map(look)).ok().flatten()
    }

    /// Returns the value of a key, if it is there and its time is not over.
    #[must_use]
    pub fn get(&self, key: &K) -> Option<V> {
        let entry = self.enter(|store| store.get(key)).flatten()?;
        let is_over = entry.expires_s.is_some_and(|end_s| end_s <= self.clock.wall_s());
        (!is_over).then_some(entry.value)
    }

    /// Takes a value of this weight in bytes, to which 128 are added, in place of that of the same key. It may be evicted at any time, at
    /// once if it weighs more than its part of the tier. A lifetime is counted in whole seconds, and ends up to a second late.
    pub fn insert(&self, key: K, value: V, bytes: u32, ttl: Option<Duration>) {
        let seconds = |ttl: Duration| u32::try_from(ttl.as_secs()).unwrap_or(u32::MAX);
        let expires_s = ttl.map(|ttl| self.clock.wall_s().saturating_add(seconds(ttl)).saturating_add(1));
        // A tier that was closed keeps nothing.
        let _ = self.enter(|store| {
            let mut hash = KeyHash::default();
            let [first @ .., _, _, _, _] = &mut hash.0;
            *first = BuildHasherDefault::<DefaultHasher>::default().hash_one(&key).to_le_bytes();
            store.insert(
                key,
                HotEntry {
                    value,
                    hash,
                    partition: 0,
                    expires_s,
                    stamp: store.issue_stamp(),
                    weight: bytes.saturating_add(ENTRY_OVERHEAD_BYTES),
                    is_frequent: false,
                },
            )
        });
    }

    /// Drops a value; tells whether it was there.
    pub fn remove(&self, key: &K) -> bool {
        self.enter(|store| store.entries.remove(key).is_some()).unwrap_or(false)
    }

    /// Returns its stats; all zero once it is closed.
    #[must_use]
    pub fn stats(&self) -> HotTierStats {
        self.enter(|store| store.stats()).unwrap_or_default()
    }

    /// Keeps the tier open until this is dropped.
    pub(super) fn hold(&self) -> Result<HeldHotTier<K, V>, Gone> {
        Ok(HeldHotTier { held: self.lease.hold()?, types: PhantomData })
    }
}

/// A hot tier that stays open for as long as this lives.
pub(super) struct HeldHotTier<K, V> {
    held: Held<ErasedTier>,
    types: PhantomData<fn(K) -> V>,
}

impl<K: 'static, V: 'static> HeldHotTier<K, V> {
    pub(super) fn store(&self) -> Option<&HotStore<K, V>> {
        store_of(&self.held)
    }
}
