//! Opening and closing a cache.

use core::convert::Infallible;
use core::fmt;
use core::ops::Deref;
use core::time::Duration;
use std::io;
use std::path::PathBuf;
use std::thread::{Builder, JoinHandle};
use std::time::Instant;

use crossbeam_channel::{Sender, bounded};

use super::config::UnifiedCacheConfig;
use super::counts::CacheCounts;
use super::demote::Urgency;
use super::dirty::Dirty;
use super::error::{CacheCloseError, CacheError, CacheOpenError};
use super::flights::Flights;
use super::handle::{CACHES, ErasedCache, UnifiedCacheHandle};
use super::hot::HotTierCoordinator;
use super::maintenance::{MAINTENANCE_QUEUE_CAPACITY, MaintenanceSender};
use super::recent::RecentKeys;
use super::registry::{MemoryTierKind, MemoryTierRegistry, RegisterError};
use super::stripes::Stripes;
use super::tiers::{CacheKey, CacheTerms, CacheValue, Tiers};
use super::warm::WarmTierCoordinator;
use super::worker::{MaintenanceRole, MaintenanceWorker};
use crate::api::{ColdTier, ColdTierCoordinator, ColdTierHandle, ColdTierRegistry, InitError};
use crate::budget::{BudgetOwner, WorkBudget};
use crate::clock::{Clock, SystemClock};
use crate::config::Durability;
use crate::observe::Explanations;
use crate::pool::{AllocationManager, PoolCoordinator};
use crate::recycled::{Closed, Lease};
use crate::storage::ServiceMedium;

/// Fingerprints of recent keys for each KiB of the hot tier.
const RECENT_PER_KIB: u64 = 4;

/// The registry of tiers in memory, and its two coordinators.
#[derive(Debug)]
pub struct MemoryTiers {
    /// Owns the tiers: they are closed when it is dropped.
    pub registry: MemoryTierRegistry,
    /// Registers hot tiers.
    pub hot: HotTierCoordinator,
    /// Registers warm tiers.
    pub warm: WarmTierCoordinator,
}

impl MemoryTiers {
    /// Starts the registry of tiers in memory; warm ones lie in these pools.
    ///
    /// # Errors
    /// The error of the operating system when the thread can't be started.
    pub fn start(pools: PoolCoordinator) -> io::Result<Self> {
        Self::start_by(pools, &SystemClock)
    }

    fn start_by(pools: PoolCoordinator, clock: &'static dyn Clock) -> io::Result<Self> {
        let (registry, line) = MemoryTierRegistry::start()?;
        let hot = HotTierCoordinator::new(line.clone(), clock);
        Ok(Self { registry, hot, warm: WarmTierCoordinator::new(line, pools) })
    }
}

/// The maintenance threads.
#[derive(Debug)]
struct Maintenance {
    sender: MaintenanceSender,
    /// Dropping it tells the worker to stop.
    stop: Option<Sender<Infallible>>,
    threads: Vec<JoinHandle<bool>>,
}

impl Maintenance {
    /// Stops the threads once their tasks have ended; tells whether one panicked.
    fn end(&mut self) -> bool {
        drop(self.stop.take());
        // Each is joined, whatever another one said.
        let panicked = self.threads.drain(..).map(|thread| thread.join().unwrap_or(true));
        panicked.fold(false, |any, one| any | one)
    }
}

impl Drop for Maintenance {
    fn drop(&mut self) {
        self.end();
    }
}

/// A cache over three tiers: hot values as they are in memory, warm ones encoded in relocatable pools, the rest in the cold tier's log.
///
/// It is an owned value: it owns the pools, the registries of the tiers and the maintenance worker. A drop closes it in order, as
/// [`close`](Self::close) does, but returns no outcome. Every operation of a client is a method of [`UnifiedCacheHandle`], to which this
/// dereferences.
///
/// ```
/// use coldpress_std::cache::{UnifiedCacheConfig, UnifiedCacheManager};
/// use coldpress_std::ColdTierConfig;
///
/// let base_dir = tempfile::tempdir()?;
/// let cold = ColdTierConfig::builder().base_dir(base_dir.path()).capacity_bytes(64 << 20).build()?;
/// let config = UnifiedCacheConfig::builder(cold).cache_id("pages").hot_bytes(8 << 20).build()?;
///
/// let cache: UnifiedCacheManager<String, Vec<u32>> = UnifiedCacheManager::new(config.clone())?;
/// cache.put(&"squares".into(), &vec![1, 4, 9])?;
/// let handle = cache.handle();
/// let found = std::thread::spawn(move || handle.get(&"squares".into())).join().unwrap()?;
/// assert_eq!(found, Some(vec![1, 4, 9]));
/// cache.close()?;
///
/// let cache: UnifiedCacheManager<String, Vec<u32>> = UnifiedCacheManager::new(config)?;
/// assert_eq!(cache.get(&"squares".into())?, Some(vec![1, 4, 9]), "from the log");
/// # Ok::<(), Box<dyn core::error::Error>>(())
/// ```
#[must_use = "the cache is closed when its manager is dropped"]
pub struct UnifiedCacheManager<K: CacheKey, V: CacheValue> {
    handle: UnifiedCacheHandle<K, V>,
    lease: Lease<ErasedCache>,
    /// Taken by the close.
    parts: Option<CacheParts>,
}

/// The cold tier, and who owns it.
enum ColdPart {
    Registered {
        coordinator: ColdTierCoordinator,
        base_dir: PathBuf,
        cache_id: Box<str>,
        /// Dropped last of these: it ends the thread that the coordinator asks.
        registry: ColdTierRegistry,
    },
    Owned(ColdTier),
}

impl ColdPart {
    fn close(self) -> Result<(), CacheCloseError> {
        match self {
            Self::Owned(tier) => tier.close().map_err(CacheCloseError::Cold),
            Self::Registered { coordinator, base_dir, cache_id, registry } => {
                let closed = coordinator.close(&base_dir, &cache_id);
                drop(registry);
                match closed {
                    Ok(_) => Ok(()),
                    Err(InitError::Close(error)) => Err(CacheCloseError::Cold(error)),
                    Err(_) => Err(CacheCloseError::TimedOut),
                }
            }
        }
    }
}

/// The parts of a cache, in the order in which they are closed.
struct CacheParts {
    maintenance: Maintenance,
    cold: ColdPart,
    close_timeout: Duration,
    memory: MemoryTiers,
    pools: PoolCoordinator,
    allocation: AllocationManager,
    budget: BudgetOwner,
}

impl<K: CacheKey, V: CacheValue> fmt::Debug for UnifiedCacheManager<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("UnifiedCacheManager").field(&self.handle).finish()
    }
}

impl<K: CacheKey, V: CacheValue> Deref for UnifiedCacheManager<K, V> {
    type Target = UnifiedCacheHandle<K, V>;

    fn deref(&self) -> &Self::Target {
        &self.handle
    }
}

impl<K: CacheKey, V: CacheValue> UnifiedCacheManager<K, V> {
    /// Opens the cache: pools, cold tier, tiers in memory, and the maintenance worker.
    ///
    /// # Errors
    /// [`CacheOpenError`]; nothing is left open then.
    ///
    /// # Bounds
    /// As an open of the cold tier, within its `open_timeout`.
    pub fn new(config: UnifiedCacheConfig) -> Result<Self, CacheOpenError> {
        let base_dir = config.cold.settings.base_dir.clone().ok_or(CacheOpenError::NoBaseDir)?;
        Self::start(config, |config, pools| {
            let (registry, coordinator) = ColdTierCoordinator::new(config.cold.clone())?;
            let tier = coordinator
                .register::<K, V>(&base_dir, &config.cache_id, pools.clone())
                .map_err(CacheOpenError::Cold)?;
            let cache_id = config.cache_id.clone();
            Ok((tier.bytes(), ColdPart::Registered { coordinator, base_dir, cache_id, registry }))
        })
    }

    /// Opens the cache with its cold tier on these media, one for each partition; see [`ColdTier::open_with`].
    ///
    /// # Errors
    /// [`CacheOpenError`]; [`CacheOpenError::Media`].
    pub fn open_with(
        media: Vec<Box<dyn ServiceMedium>>,
        config: UnifiedCacheConfig,
    ) -> Result<Self, CacheOpenError> {
        Self::start(config, |config, pools| {
            let tier = ColdTier::open_with(media, config.cold.clone(), pools.clone());
            let tier = tier.map_err(CacheOpenError::Media)?;
            Ok((tier.handle(), ColdPart::Owned(tier)))
        })
    }

    fn start(
        mut config: UnifiedCacheConfig,
        open: impl FnOnce(
            &UnifiedCacheConfig,
            &PoolCoordinator,
        ) -> Result<(ColdTierHandle, ColdPart), CacheOpenError>,
    ) -> Result<Self, CacheOpenError> {
        // Dropped last: work that is under way when it ends is not limited any more.
        let (budget_owner, budget) = WorkBudget::new(config.budget).map_err(CacheOpenError::Budget)?;
        config.pools.set_budget(budget);
        config.cold.settings.budget = Some(budget);
        let settings = &config.cold.settings;
        let (op_timeout, close_timeout, clock) =
            (settings.op_timeout, settings.close_timeout, settings.clock);
        let (allocation, pools) = AllocationManager::new(&config.pools).map_err(CacheOpenError::Pools)?;
        let (tier, cold) = open(&config, &pools)?;
        let memory = MemoryTiers::start_by(pools.clone(), clock)?;
        let hot = memory.hot.register_for::<K, V>(&config.cache_id, config.hot_bytes, false)?;
        let hash_key = tier.hash_key().map_err(CacheOpenError::Tier)?;
        let (warm, _) =
            memory.warm.register_store::<K, V>(MemoryTierKind::WarmOfCache, &config.cache_id, hash_key)?;
        let tiers = Tiers::<K, V> {
            cold: tier,
            hot: hot.hold().map_err(|_| RegisterError::Disconnected)?,
            warm,
            stripes: Stripes::new(),
            recent: RecentKeys::new(config.hot_bytes / 1024 * RECENT_PER_KIB),
            dirty: Dirty::new(config.dirty_bytes_max),
            flights: Flights::new(),
            terms: CacheTerms { policy: config.policy, op_timeout, compute_timeout: config.compute_timeout },
            counts: CacheCounts::default(),
            explanations: Explanations::default(),
            pools: pools.clone(),
            budget,
        };
        let lease = CACHES.lend(Box::new(tiers));
        let handle = UnifiedCacheHandle::new(lease);
        let (requests, inbox) = bounded(MAINTENANCE_QUEUE_CAPACITY);
        let (stop, stopped) = bounded(0);
        let worker = MaintenanceWorker {
            handle,
            cold: tier,
            pools: pools.clone(),
            requests: inbox,
            stop: stopped,
            config: config.maintenance,
            dirty_age_max: config.dirty_age_max,
            pools_bytes: config.pools.capacity_bytes(),
            has_panicked: false,
        };
        let sender = MaintenanceSender { requests };
        let mut maintenance = Maintenance { sender, stop: Some(stop), threads: Vec::new() };
        for (name, role) in [
            ("coldpress-maintenance", MaintenanceRole::Tasks),
            ("coldpress-writeback", MaintenanceRole::WriteBack),
        ] {
            let worker = worker.clone();
            let thread = Builder::new().name(name.into()).spawn(move || worker.run(role));
            maintenance.threads.push(thread.inspect_err(|_| lease.give_back())?);
        }
        let parts =
            CacheParts { maintenance, cold, close_timeout, memory, pools, allocation, budget: budget_owner };
        Ok(Self { handle, lease, parts: Some(parts) })
    }

    /// Returns the handle for other threads.
    #[must_use]
    pub const fn handle(&self) -> UnifiedCacheHandle<K, V> {
        self.handle
    }

    /// Returns the sender of maintenance tasks.
    #[must_use]
    pub fn maintenance_sender(&self) -> MaintenanceSender {
        match &self.parts {
            Some(parts) => parts.maintenance.sender.clone(),
            // Only a close takes them, and that takes the cache.
            None => MaintenanceSender { requests: bounded(0).0 },
        }
    }

    /// Returns the coordinator of the pools, which are the warm tier's memory. It is there until the close.
    #[must_use]
    pub fn pool_coordinator(&self) -> Option<&PoolCoordinator> {
        self.parts.as_ref().map(|parts| &parts.pools)
    }

    /// Returns the coordinator of cold tiers, with which more of them can be opened; they are closed with this cache. There is none where
    /// the cache was opened on other media.
    #[must_use]
    pub fn cold_tiers(&self) -> Option<&ColdTierCoordinator> {
        match &self.parts.as_ref()?.cold {
            ColdPart::Registered { coordinator, .. } => Some(coordinator),
            ColdPart::Owned(_) => None,
        }
    }

    /// Returns the coordinator of hot tiers. It is there until the close.
    #[must_use]
    pub fn hot_tiers(&self) -> Option<&HotTierCoordinator> {
        self.parts.as_ref().map(|parts| &parts.memory.hot)
    }

    /// Returns the coordinator of warm tiers. It is there until the close.
    #[must_use]
    pub fn warm_tiers(&self) -> Option<&WarmTierCoordinator> {
        self.parts.as_ref().map(|parts| &parts.memory.warm)
    }

    /// Closes the cache: ends maintenance, waits for operations, writes dirty values, and closes the cold tier, which syncs.
    ///
    /// # Errors
    /// [`CacheCloseError`]: the first failure. The cache is closed all the same.
    ///
    /// # Bounds
    /// Waits for a task of maintenance that is under way, which may take minutes. Then waits at most the cold tier's `close_timeout` for
    /// operations, and again for the cold tier. Each dirty value takes a put. Where the cold tier takes none for twice its `op_timeout`,
    /// the others are given up.
    pub fn close(mut self) -> Result<(), CacheCloseError> {
        self.shut()
    }

    fn shut(&mut self) -> Result<(), CacheCloseError> {
        let Some(mut parts) = self.parts.take() else { return Ok(()) };
        let mut outcome = if parts.maintenance.end() { Err(CacheCloseError::Panicked) } else { Ok(()) };
        let drained = match self.lease.close(Instant::now() + parts.close_timeout) {
            Closed::Empty(cache) => write_what_is_dirty::<K, V>(&cache),
            Closed::Stuck => {
                // An operation that is stuck must not cost the values of others.
                let written = self.lease.look_behind(write_what_is_dirty::<K, V>).unwrap_or(Ok(()));
                // The last operation in it drops it.
                self.lease.give_back();
                match written {
                    Err(error @ CacheCloseError::Dirty { values: 1.., .. }) => Err(error),
                    _ => Err(CacheCloseError::TimedOut),
                }
            }
            Closed::Before => Ok(()),
        };
        outcome = outcome.and(drained);
        let CacheParts { cold, memory, allocation, budget, .. } = parts;
        outcome = outcome.and(cold.close());
        drop(memory);
        drop(allocation);
        drop(budget);
        outcome
    }
}

/// Writes the dirty values of a cache that no new operation enters.
fn write_what_is_dirty<K: CacheKey, V: CacheValue>(cache: &ErasedCache) -> Result<(), CacheCloseError> {
    let Some(tiers) = cache.downcast_ref::<Tiers<K, V>>() else { return Ok(()) };
    let (_, values, error) = tiers.write_back_all(Duration::ZERO, Urgency::Awaited);
    if values > 0 || error.is_some() {
        return Err(CacheCloseError::Dirty { values, error });
    }
    let lost = |error| CacheCloseError::Dirty { values: 0, error: Some(CacheError::from(error)) };
    tiers.cold.flush_to(Durability::Synced).map_err(lost)
}

impl<K: CacheKey, V: CacheValue> Drop for UnifiedCacheManager<K, V> {
    fn drop(&mut self) {
        if let Err(error) = self.shut() {
            tracing::error!(%error, "the cache was not closed in order");
        }
    }
}
