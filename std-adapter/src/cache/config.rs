//! How a cache is set up.

use core::fmt;
use core::ops::RangeInclusive;
use core::time::Duration;

use super::hot::HOT_BYTES_MIN;
use super::maintenance::MaintenanceConfig;
use super::options::WritePolicy;
use crate::budget::{BudgetConfig, BudgetError};
use crate::config::{CACHE_ID_BYTES_MAX, ColdTierConfig};
use crate::directory::is_plain;
use crate::pool::PoolConfig;

/// The least value of the limit on dirty bytes: 64 KiB.
pub const DIRTY_BYTES_MIN: u64 = 1 << 16;

/// The times that settings take. A longer one could go beyond what the clock can express.
const TIMES: RangeInclusive<Duration> = Duration::from_millis(1)..=Duration::from_secs(366 * 24 * 3600);

/// The configuration of a cache, checked.
///
/// ```
/// use coldpress_std::cache::{UnifiedCacheConfig, WritePolicy};
/// use coldpress_std::ColdTierConfig;
///
/// let base_dir = tempfile::tempdir()?;
/// let cold = ColdTierConfig::builder().base_dir(base_dir.path()).capacity_bytes(1 << 30).build()?;
/// let config = UnifiedCacheConfig::builder(cold)
///     .cache_id("sessions")
///     .hot_bytes(256 << 20)
///     .write_policy(WritePolicy::OnEvict)
///     .build()?;
/// assert_eq!(config.dirty_bytes_max(), 64 << 20);
/// # Ok::<(), Box<dyn core::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct UnifiedCacheConfig {
    pub(super) cold: ColdTierConfig,
    pub(super) pools: PoolConfig,
    pub(super) cache_id: Box<str>,
    pub(super) hot_bytes: u64,
    pub(super) policy: WritePolicy,
    pub(super) dirty_bytes_max: u64,
    pub(super) dirty_age_max: Duration,
    pub(super) compute_timeout: Duration,
    pub(super) maintenance: MaintenanceConfig,
    pub(super) budget: BudgetConfig,
}

impl UnifiedCacheConfig {
    /// Begins with the cold tier's configuration. It names the base directory too, unless the cache is opened on other media. This cache
    /// keeps values in its own tiers, so [`keep_hot_values`](crate::ColdTierConfigBuilder::keep_hot_values) counts as off.
    pub fn builder(cold: ColdTierConfig) -> UnifiedCacheConfigBuilder {
        UnifiedCacheConfigBuilder {
            cold,
            pools: None,
            cache_id: "cache".into(),
            hot_bytes: 64 << 20,
            policy: WritePolicy::Through,
            dirty_bytes_max: None,
            dirty_age_max: Duration::from_secs(30),
            compute_timeout: Duration::from_secs(60),
            maintenance: MaintenanceConfig::default(),
            budget: BudgetConfig::default(),
        }
    }

    /// Returns the limit on the weight of the hot tier, in bytes.
    #[must_use]
    pub const fn hot_bytes(&self) -> u64 {
        self.hot_bytes
    }

    /// Returns the limit on dirty bytes: keys and values as encoded, and 256 for each.
    #[must_use]
    pub const fn dirty_bytes_max(&self) -> u64 {
        self.dirty_bytes_max
    }
}

/// Collects the configuration of a cache.
#[derive(Debug, Clone)]
#[must_use]
pub struct UnifiedCacheConfigBuilder {
    cold: ColdTierConfig,
    pools: Option<PoolConfig>,
    cache_id: Box<str>,
    hot_bytes: u64,
    policy: WritePolicy,
    dirty_bytes_max: Option<u64>,
    dirty_age_max: Duration,
    compute_timeout: Duration,
    maintenance: MaintenanceConfig,
    budget: BudgetConfig,
}

impl UnifiedCacheConfigBuilder {
    /// Sets the name of the cache's directory below the base directory, 1 to 64 bytes; by default `cache`.
    pub fn cache_id(mut self, cache_id: impl Into<Box<str>>) -> Self {
        self.cache_id = cache_id.into();
        self
    }

    /// Sets the pools, which are the warm tier's memory; by default those of `PoolConfig::builder()`, 64 MiB.
    pub fn pools(mut self, pools: PoolConfig) -> Self {
        self.pools = Some(pools);
        self
    }

    /// Sets the most weight of the hot tier, from 64 KiB: keys and values as encoded, and 128 bytes for each; by default 64 MiB. Values in
    /// memory may take more than their encoding.
    pub const fn hot_bytes(mut self, bytes: u64) -> Self {
        self.hot_bytes = bytes;
        self
    }

    /// Sets when values go to the cold tier; by default at the put.
    pub const fn write_policy(mut self, policy: WritePolicy) -> Self {
        self.policy = policy;
        self
    }

    /// Sets the most bytes of dirty values, from 64 KiB to the sum of the hot tier and the pools; by default a quarter of that sum, and at
    /// most 64 MiB. A put beyond it writes others first.
    pub const fn dirty_bytes_max(mut self, bytes: u64) -> Self {
        self.dirty_bytes_max = Some(bytes);
        self
    }

    /// Sets how long a value may be dirty, from a millisecond to 366 days; by default 30 s. A thread of its own looks for older ones this
    /// often, so one is written within twice this time; later while the log takes nothing.
    pub const fn dirty_age_max(mut self, age: Duration) -> Self {
        self.dirty_age_max = age;
        self
    }

    /// Sets how long callers wait for another caller that computes the value, from a millisecond to 366 days; by default 60 s.
    pub const fn compute_timeout(mut self, timeout: Duration) -> Self {
        self.compute_timeout = timeout;
        self
    }

    /// Sets which maintenance runs by itself; by default [`MaintenanceConfig::default`].
    pub const fn maintenance(mut self, maintenance: MaintenanceConfig) -> Self {
        self.maintenance = maintenance;
        self
    }

    /// Sets the budget of background work, which compaction, defragmentation, demotion and recompression share; by default slices of
    /// 500 µs without a byte rate. One that was set for the pools or the cold tier before has no effect.
    pub const fn budget(mut self, budget: BudgetConfig) -> Self {
        self.budget = budget;
        self
    }

    /// Checks the settings.
    ///
    /// # Errors
    /// [`CacheConfigError`] names the first value out of its range, and the range.
    pub fn build(self) -> Result<UnifiedCacheConfig, CacheConfigError> {
        use CacheConfigError as E;
        if !is_plain(&self.cache_id) {
            return Err(E::CacheId { bytes: self.cache_id.len() });
        }
        if self.cold.settings.is_read_only {
            return Err(E::ReadOnly);
        }
        if self.cold.settings.idle.is_some() {
            return Err(E::Idle);
        }
        if self.hot_bytes < HOT_BYTES_MIN {
            return Err(E::HotBytes { given: self.hot_bytes, min: HOT_BYTES_MIN });
        }
        let pools = match self.pools {
            Some(pools) => pools,
            None => PoolConfig::builder().build().map_err(|_| E::Pools)?,
        };
        let memory = self.hot_bytes.saturating_add(pools.capacity_bytes());
        let dirty_bytes_max =
            self.dirty_bytes_max.unwrap_or_else(|| (memory / 4).clamp(DIRTY_BYTES_MIN, 64 << 20));
        if !(DIRTY_BYTES_MIN..=memory).contains(&dirty_bytes_max) {
            return Err(E::DirtyBytes { given: dirty_bytes_max, min: DIRTY_BYTES_MIN, max: memory });
        }
        let times = [("dirty_age_max", self.dirty_age_max), ("compute_timeout", self.compute_timeout)];
        if let Some((name, _)) =
            times.into_iter().chain(self.maintenance.times()).find(|(_, time)| !TIMES.contains(time))
        {
            return Err(E::Time { name, min: *TIMES.start(), max: *TIMES.end() });
        }
        self.budget.check().map_err(E::Budget)?;
        let mut cold = self.cold;
        cold.settings.keeps_hot_values = false;
        Ok(UnifiedCacheConfig {
            cold,
            pools,
            cache_id: self.cache_id,
            hot_bytes: self.hot_bytes,
            policy: self.policy,
            dirty_bytes_max,
            dirty_age_max: self.dirty_age_max,
            compute_timeout: self.compute_timeout,
            maintenance: self.maintenance,
            budget: self.budget,
        })
    }
}

/// Tells which setting of a cache is out of its range.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum CacheConfigError {
    /// The cache id is empty, too long, or has characters that a name of a directory should not have.
    CacheId {
        /// Its bytes.
        bytes: usize,
    },
    /// The cold tier is read-only: a cache writes to it.
    ReadOnly,
    /// The cold tier has an idle time. Reads that the tiers in memory answer would not count for it.
    Idle,
    /// The limit on the weight of the hot tier is too low.
    HotBytes {
        /// The bytes given.
        given: u64,
        /// The least.
        min: u64,
    },
    /// The limit on dirty bytes is out of its range.
    DirtyBytes {
        /// The bytes given.
        given: u64,
        /// The least.
        min: u64,
        /// The most: the hot tier and the pools together.
        max: u64,
    },
    /// A time or an interval.
    Time {
        /// Its setting.
        name: &'static str,
        /// The shortest.
        min: Duration,
        /// The longest.
        max: Duration,
    },
    /// The pools could not be configured.
    Pools,
    /// A limit of the budget is out of its range.
    Budget(BudgetError),
}

impl fmt::Display for CacheConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CacheId { bytes } => {
                write!(
                    f,
                    "a cache_id of {bytes} bytes: it takes 1 to {CACHE_ID_BYTES_MAX} letters, digits, '.', '_' or '-', and does \
                     not begin with '.'"
                )
            }
            Self::ReadOnly => f.write_str("the cold tier is read-only, but a cache writes to it: read it as a `PersistentColdTier`"),
            Self::Idle => f.write_str(
                "the cold tier has an idle time, which reads from memory would not extend: use a `ttl` and `touch`",
            ),
            Self::HotBytes { given, min } => write!(f, "hot_bytes is {given}; it must be at least {min}"),
            Self::DirtyBytes { given, min, max } => {
                write!(f, "dirty_bytes_max is {given}; it must be {min} to {max}")
            }
            Self::Time { name, min, max } => {
                write!(f, "{name} takes {min:?} to {} days", max.as_secs() / (24 * 3600))
            }
            Self::Pools => f.write_str("the pools could not be configured"),
            Self::Budget(error) => write!(f, "{error}"),
        }
    }
}

impl core::error::Error for CacheConfigError {}
