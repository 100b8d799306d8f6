//! The store behind both ports: the one file that knows the interface of Coldpress.

mod view;

use core::fmt;
use core::time::Duration;
use std::path::Path;

use coldpress_std::cache::{
    CacheCloseError, CacheError, CacheKeys, CachePutOptions, MaintenanceError, MaintenanceSender,
    MaintenanceTask, UnifiedCacheConfig, UnifiedCacheHandle, UnifiedCacheManager, WritePolicy,
};
use coldpress_std::pool::{PoolConfig, PoolCoordinator};
use coldpress_std::{
    ColdTierConfig, ColdTierHandle, Durability, Expected, FullPolicy, GetError, PutError, RemoveError,
    TierError, TimeLeft, Ttl, Update, UpdateError, ValueVersion,
};
use serde_bytes::ByteBuf;

pub(crate) use self::view::StoreView;
use crate::config::ServiceConfig;
use crate::errors::ServiceError;

/// Bytes that a key or value takes beyond its own: its length.
const ENCODING_BYTES: u32 = 8;
/// Bytes of writes that may wait for the log.
const PENDING_BYTES_MAX: u64 = 16 << 20;
/// A value beyond this part of a segment is written in pieces, which waits for a sync.
const PIECES_PART: u32 = 16;
/// The longest value that the pools take.
const POOLED_BYTES_MAX: u32 = 1 << 16;

/// Why the store did not do what it was asked.
#[derive(Debug)]
pub(crate) enum StoreError {
    Cache(CacheError),
    Get(GetError),
    Tier(TierError),
    Task(MaintenanceError),
    Close(CacheCloseError),
}

/// The way in which a client can meet an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Remedy {
    /// Ask for something else: this is beyond a limit.
    TooLong,
    /// Ask for another lifetime.
    Lifetime,
    /// Make space.
    Space,
    /// Ask again later.
    Later,
    /// Have an operator look.
    Operator,
}

impl StoreError {
    pub(crate) const fn remedy(&self) -> Remedy {
        match self {
            Self::Cache(
                CacheError::Put(error)
                | CacheError::Touch(UpdateError::Put(error))
                | CacheError::Backlog { error: Some(error), .. },
            ) => of_put(error),
            Self::Get(GetError::KeyTooLong { .. })
            | Self::Cache(
                CacheError::Get(GetError::KeyTooLong { .. })
                | CacheError::Remove(RemoveError::KeyTooLong { .. }),
            ) => Remedy::TooLong,
            Self::Cache(
                CacheError::TimedOut
                | CacheError::Backlog { .. }
                | CacheError::Remove(RemoveError::Busy)
                | CacheError::Touch(UpdateError::Contended),
            )
            | Self::Task(MaintenanceError::Full(_) | MaintenanceError::TimedOut)
            | Self::Tier(TierError::TimedOut) => Remedy::Later,
            _ => Remedy::Operator,
        }
    }
}

const fn of_put(error: &PutError) -> Remedy {
    match error {
        PutError::KeyTooLong { .. } | PutError::ValueTooLong { .. } => Remedy::TooLong,
        PutError::Lifetime { .. } => Remedy::Lifetime,
        PutError::Full { .. } => Remedy::Space,
        PutError::Busy | PutError::Tier(TierError::TimedOut) => Remedy::Later,
        _ => Remedy::Operator,
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cache(error) => error.fmt(f),
            Self::Get(error) => error.fmt(f),
            Self::Tier(error) => error.fmt(f),
            Self::Task(error) => error.fmt(f),
            Self::Close(error) => error.fmt(f),
        }
    }
}

macro_rules! from {
    ($($variant:ident $error:ty;)+) => {
        $(impl From<$error> for StoreError {
            fn from(error: $error) -> Self {
                Self::$variant(error)
            }
        })+
    };
}

from! {
    Cache CacheError;
    Get GetError;
    Tier TierError;
    Task MaintenanceError;
    Close CacheCloseError;
}

/// How long a value is to live.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lifetime {
    Forever,
    Keep,
    For(Duration),
}

impl From<Lifetime> for Ttl {
    fn from(lifetime: Lifetime) -> Self {
        match lifetime {
            Lifetime::Forever => Self::Never,
            Lifetime::Keep => Self::Keep,
            Lifetime::For(time) => Self::After(time),
        }
    }
}

/// The value that a key must have for a write to go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Condition {
    None,
    Absent,
    Present,
    Version(ValueVersion),
}

/// The maintenance tasks that a client can ask for, by their names in paths and on the page.
pub(crate) const TASKS: [(&str, MaintenanceTask); 8] = [
    ("compact", MaintenanceTask::Compact { target_bytes: 0 }),
    ("evict-expired", MaintenanceTask::EvictExpired),
    ("rebuild-index", MaintenanceTask::RebuildIndex),
    ("optimize-compression", MaintenanceTask::OptimizeCompression),
    ("defragment", MaintenanceTask::Defragment),
    ("cleanup", MaintenanceTask::Cleanup),
    ("verify", MaintenanceTask::Verify),
    ("flush", MaintenanceTask::Flush),
];

type Bytes = ByteBuf;

/// Owns the store; `run` closes it at the end.
#[derive(Debug)]
pub(crate) struct Store {
    cache: UnifiedCacheManager<Bytes, Bytes>,
    handle: StoreHandle,
}

/// The senders by which the tasks of the process reach background work.
#[derive(Debug)]
struct Background {
    pools: PoolCoordinator,
    maintenance: MaintenanceSender,
}

impl Store {
    pub(crate) fn open(dir: &Path, config: &ServiceConfig) -> Result<Self, ServiceError> {
        let limit = |bytes: usize| u32::try_from(bytes).unwrap_or(u32::MAX).saturating_add(ENCODING_BYTES);
        let value_bytes_max = limit(config.limits.value_bytes);
        let cold = ColdTierConfig::builder()
            .base_dir(dir)
            .capacity_bytes(config.capacity_bytes)
            .value_bytes_max(value_bytes_max)
            .partitions(config.partitions)
            .pending_bytes_max(PENDING_BYTES_MAX.max(4 * u64::from(value_bytes_max)))
            .full(if config.evicts { FullPolicy::Evict } else { FullPolicy::Reject })
            .build()
            .map_err(|error| ServiceError::Option(error.to_string()))?;
        let key_bytes_max = cold.key_bytes_max().saturating_sub(ENCODING_BYTES) as usize;
        if config.limits.key_bytes > key_bytes_max {
            let text = format!("--key-bytes takes at most {key_bytes_max} with this capacity");
            return Err(ServiceError::Option(text));
        }
        let inline_bytes_max = (cold.segment_bytes() / PIECES_PART / 2) as usize;
        let pools = PoolConfig::builder()
            .capacity_bytes(config.memory_bytes / 2)
            .value_bytes_max(value_bytes_max.min(POOLED_BYTES_MAX))
            .build()
            .map_err(|error| ServiceError::Option(format!("half of --memory is for the pools: {error}")))?;
        // A buffered write promises nothing before the next sync by the clock, which writes what memory alone has.
        let writes_back = config.durability == Durability::Buffered && !config.sync_every.is_zero();
        let config = UnifiedCacheConfig::builder(cold)
            .cache_id("service")
            .pools(pools)
            .hot_bytes(config.memory_bytes / 2)
            .write_policy(if writes_back { WritePolicy::OnEvict } else { WritePolicy::Through })
            .build()
            .map_err(ServiceError::open)?;
        let cache = UnifiedCacheManager::new(config).map_err(ServiceError::open)?;
        let Some(pools) = cache.pool_coordinator().cloned() else {
            return Err(ServiceError::Open("its pools are closed".to_owned()));
        };
        // The process has one store, and its tasks share this: it is made once and never freed.
        let background = Box::leak(Box::new(Background { pools, maintenance: cache.maintenance_sender() }));
        let cold = cache.cold().map_err(ServiceError::open)?;
        let handle = StoreHandle { cache: cache.handle(), cold, background, writes_back, inline_bytes_max };
        Ok(Self { cache, handle })
    }

    pub(crate) const fn handle(&self) -> StoreHandle {
        self.handle
    }

    /// Syncs everything and closes the store.
    pub(crate) fn close(self) -> Result<(), StoreError> {
        Ok(self.cache.close()?)
    }
}

/// Reaches the store from any thread.
#[derive(Debug, Clone, Copy)]
pub(crate) struct StoreHandle {
    cache: UnifiedCacheHandle<Bytes, Bytes>,
    cold: ColdTierHandle,
    background: &'static Background,
    /// Whether writes reach the log at the next sync; else at once.
    writes_back: bool,
    inline_bytes_max: usize,
}

fn owned(bytes: &[u8]) -> Bytes {
    ByteBuf::from(bytes)
}

impl StoreHandle {
    /// Looks for a value in the hot tier, without waiting. `None` says nothing of the key.
    pub(crate) fn peek<R>(&self, key: &[u8], look: impl FnOnce(&[u8]) -> R) -> Option<R> {
        self.cache.get_hot(&owned(key)).map(|value| look(&value))
    }

    /// Tells whether a buffered write of so many bytes waits for no sync.
    pub(crate) const fn is_short(&self, value_bytes: usize) -> bool {
        value_bytes <= self.inline_bytes_max
    }

    /// Tells whether writes begin to wait for the log.
    pub(crate) fn is_pressed(&self) -> bool {
        let stats = self.cache.stats();
        let cold = &stats.cold;
        let is_log_slow = cold.pending_bytes > PENDING_BYTES_MAX / 2 || cold.debt_permille >= 900;
        is_log_slow || stats.dirty_bytes > stats.dirty_bytes_max / 2 || cold.needs_reopen
    }

    pub(crate) fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.cache.get(&owned(key))?.map(ByteBuf::into_vec))
    }

    pub(crate) fn get_versioned(&self, key: &[u8]) -> Result<Option<(Vec<u8>, ValueVersion)>, StoreError> {
        Ok(self.cache.get_versioned(&owned(key))?.map(|found| (found.value.into_vec(), found.version)))
    }

    /// Tells whether a key has a value, without reading the log: its index and the tiers in memory tell.
    pub(crate) fn contains(&self, key: &[u8]) -> Result<bool, StoreError> {
        Ok(self.cache.contains(&owned(key))?)
    }

    /// Sets a value if the condition holds; tells whether it does.
    pub(crate) fn set(
        &self,
        key: &[u8],
        value: &[u8],
        lifetime: Lifetime,
        condition: Condition,
        durability: Durability,
    ) -> Result<bool, StoreError> {
        let (key, value, options) = (owned(key), owned(value), options(lifetime, durability));
        let expected = match condition {
            Condition::None => {
                self.cache.put_with(&key, &value, options)?;
                return Ok(true);
            }
            Condition::Absent => Expected::Absent,
            Condition::Present => Expected::Present,
            Condition::Version(version) => Expected::Version(version),
        };
        Ok(self.cache.compare_and_swap(&key, expected, &value, options)?)
    }

    /// Sets a value if the condition holds, and returns whether it does, and the value before.
    pub(crate) fn replace(
        &self,
        key: &[u8],
        value: &[u8],
        lifetime: Lifetime,
        condition: Condition,
        durability: Durability,
    ) -> Result<(bool, Option<Vec<u8>>), StoreError> {
        let mut before = None;
        let done = self.cache.update(&owned(key), options(lifetime, durability), |current| {
            before = current.map(|value| value.to_vec());
            let holds = match condition {
                Condition::Absent => before.is_none(),
                Condition::Present => before.is_some(),
                _ => true,
            };
            if holds { Update::Put(owned(value)) } else { Update::Keep }
        })?;
        Ok((matches!(done, Update::Put(_)), before))
    }

    pub(crate) fn remove(&self, key: &[u8], durability: Durability) -> Result<bool, StoreError> {
        Ok(self.cache.remove_with(&owned(key), durability)?)
    }

    pub(crate) fn remove_version(
        &self,
        key: &[u8],
        version: ValueVersion,
        durability: Durability,
    ) -> Result<bool, StoreError> {
        Ok(self.cache.compare_and_remove(&owned(key), Expected::Version(version), Some(durability))?)
    }

    /// Returns how long a key still lives, by what is in memory: `Some(None)` where it does not expire.
    pub(crate) fn time_left(&self, key: &[u8]) -> Result<Option<Option<Duration>>, StoreError> {
        Ok(self.cache.ttl(&owned(key))?.map(|left| match left {
            TimeLeft::For(time) => Some(time),
            TimeLeft::Forever => None,
        }))
    }

    pub(crate) fn touch(
        &self,
        key: &[u8],
        lifetime: Lifetime,
        durability: Durability,
    ) -> Result<bool, StoreError> {
        Ok(self.cache.touch_with(&owned(key), options(lifetime, durability))?)
    }

    pub(crate) fn len(&self) -> Result<u64, StoreError> {
        Ok(self.cache.len()?)
    }

    pub(crate) fn clear(&self) -> Result<u64, StoreError> {
        Ok(self.cache.clear()?)
    }

    pub(crate) fn keys(&self) -> StoreKeys {
        StoreKeys(self.cache.keys())
    }

    /// Makes everything written so far as durable as asked.
    pub(crate) fn flush(&self, durability: Durability) -> Result<(), StoreError> {
        if self.writes_back {
            self.cache.flush_to(durability)?;
        } else {
            // The log has every value, so there is nothing to look for in memory.
            self.cold.flush_to(durability)?;
        }
        Ok(())
    }

    /// The log, for backups.
    pub(crate) const fn tier(&self) -> ColdTierHandle {
        self.cold
    }

    pub(crate) fn is_open(&self) -> bool {
        self.cache.is_open()
    }

    /// Tells whether writes are refused until the store is opened again.
    pub(crate) fn needs_reopen(&self) -> bool {
        self.cold.stats().needs_reopen
    }

    /// Runs a task and says what it did.
    pub(crate) fn maintain(&self, task: MaintenanceTask, timeout: Duration) -> Result<String, StoreError> {
        Ok(view::report(&self.background.maintenance.run(task, timeout)?))
    }

    pub(crate) fn view(&self) -> StoreView {
        StoreView::of(&self.cache, self.cold, &self.background.pools)
    }
}

fn options(lifetime: Lifetime, durability: Durability) -> CachePutOptions {
    CachePutOptions { ttl: lifetime.into(), durability: Some(durability), ..CachePutOptions::default() }
}

/// Iterates over the keys, in no order.
#[derive(Debug)]
pub(crate) struct StoreKeys(CacheKeys<Bytes, Bytes>);

impl Iterator for StoreKeys {
    type Item = Result<Vec<u8>, StoreError>;

    fn next(&mut self) -> Option<Self::Item> {
        Some(self.0.next()?.map(ByteBuf::into_vec).map_err(StoreError::Cache))
    }
}
