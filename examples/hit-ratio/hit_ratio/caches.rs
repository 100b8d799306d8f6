//! The caches that are measured, behind one interface.

use core::error::Error;

use coldpress_std::cache::{UnifiedCacheConfig, UnifiedCacheManager};
use coldpress_std::{ColdTierConfig, FullPolicy};
use serde_bytes::ByteBuf;

/// Bytes that an entry weighs beside its key and value, in all caches.
pub(crate) const OVERHEAD_BYTES: u64 = 128;
/// Bytes counted for a key: about as many as its number takes as encoded.
const KEY_BYTES: u64 = 4;

/// The weight of a value of this length.
pub(crate) const fn weight(len: usize) -> u32 {
    (len as u64 + KEY_BYTES + OVERHEAD_BYTES) as u32
}

/// A cache in memory.
pub(crate) trait Cache: Sync {
    /// Reads a value from memory; tells whether it was there.
    fn hits(&self, key: u64) -> bool;

    /// Brings a value in whose read missed.
    fn load(&self, key: u64, len: u32);

    /// Writes a value.
    fn put(&self, key: u64, len: u32);
}

fn value(len: u32) -> ByteBuf {
    ByteBuf::from(vec![0; len as usize])
}

/// Our cache: reads that the hot tier does not answer go to the tiers below, and are promoted.
pub(crate) struct Hot {
    cache: UnifiedCacheManager<u64, ByteBuf>,
    _dir: tempfile::TempDir,
}

impl Hot {
    pub(crate) fn open(limit: u64) -> Result<Self, Box<dyn Error>> {
        let dir = tempfile::tempdir()?;
        let cold =
            ColdTierConfig::builder().base_dir(dir.path()).capacity_bytes(512 << 20).full(FullPolicy::Evict);
        let config = UnifiedCacheConfig::builder(cold.build()?).hot_bytes(limit).build()?;
        Ok(Self { cache: UnifiedCacheManager::new(config)?, _dir: dir })
    }
}

impl Cache for Hot {
    fn hits(&self, key: u64) -> bool {
        self.cache.get_hot(&key).is_some()
    }

    fn load(&self, key: u64, len: u32) {
        match self.cache.get(&key) {
            Ok(Some(_)) => {}
            Ok(None) => self.put(key, len),
            Err(error) => panic!("{error}"),
        }
    }

    fn put(&self, key: u64, len: u32) {
        if let Err(error) = self.cache.put(&key, &value(len)) {
            panic!("{error}");
        }
    }
}

#[derive(Clone)]
struct ByLength;

impl quick_cache::Weighter<u64, ByteBuf> for ByLength {
    fn weight(&self, _: &u64, value: &ByteBuf) -> u64 {
        weight(value.len()).into()
    }
}

pub(crate) struct Quick(quick_cache::sync::Cache<u64, ByteBuf, ByLength>);

impl Quick {
    pub(crate) fn new(limit: u64) -> Self {
        let keys = usize::try_from(limit / 512).unwrap_or(usize::MAX).max(64);
        Self(quick_cache::sync::Cache::with_weighter(keys, limit, ByLength))
    }
}

impl Cache for Quick {
    fn hits(&self, key: u64) -> bool {
        self.0.get(&key).is_some()
    }

    fn load(&self, key: u64, len: u32) {
        self.put(key, len);
    }

    fn put(&self, key: u64, len: u32) {
        self.0.insert(key, value(len));
    }
}

pub(crate) struct Moka(moka::sync::Cache<u64, ByteBuf>);

impl Moka {
    pub(crate) fn new(limit: u64) -> Self {
        let weigher = |_: &u64, value: &ByteBuf| weight(value.len());
        Self(moka::sync::Cache::builder().max_capacity(limit).weigher(weigher).build())
    }
}

impl Cache for Moka {
    fn hits(&self, key: u64) -> bool {
        self.0.get(&key).is_some()
    }

    fn load(&self, key: u64, len: u32) {
        self.put(key, len);
    }

    fn put(&self, key: u64, len: u32) {
        self.0.insert(key, value(len));
    }
}

pub(crate) struct Foyer(foyer_memory::Cache<u64, ByteBuf>);

impl Foyer {
    pub(crate) fn new(limit: u64) -> Self {
        let weighter = |_: &u64, value: &ByteBuf| weight(value.len()) as usize;
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        Self(foyer_memory::CacheBuilder::new(limit).with_weighter(weighter).build())
    }
}

impl Cache for Foyer {
    fn hits(&self, key: u64) -> bool {
        self.0.get(&key).is_some()
    }

    fn load(&self, key: u64, len: u32) {
        self.put(key, len);
    }

    fn put(&self, key: u64, len: u32) {
        self.0.insert(key, value(len));
    }
}
