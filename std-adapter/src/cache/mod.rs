//! One cache over three tiers: hot values as they are in memory, warm ones encoded in the pools, the rest in the cold tier.
//!
//! ```text
//!  client threads ─► UnifiedCacheHandle (Copy) ─► hot tier: quick_cache, values as they are
//!                                             ├─► warm tier: the pools, values as encoded   ◄── pool worker
//!                                             └─► cold tier: the log                        ◄── log workers
//!  any thread ─► MaintenanceSender (Clone) ─► maintenance worker ─► tasks of all three
//! ```
//! A get looks hot, warm, cold, and promotes. A put goes to the cold tier and the hot one. The warm tier takes an evicted value if its
//! key came into the hot tier twice lately, or if the log does not have the value. Else it is dropped. `tiers.rs` has the invariants.
//!
//! # What each policy can lose
//!
//! | | [`Through`](WritePolicy::Through) | [`OnEvict`](WritePolicy::OnEvict) | [`MemoryOnly`](WritePolicy::MemoryOnly) |
//! |---|---|---|---|
//! | eviction from memory | nothing | nothing: it is written first | the value |
//! | orderly close | nothing | nothing: dirty values are written | the value |
//! | a killed process | as the put's durability says: `Buffered` some tens of milliseconds of writes, else nothing | values that became dirty within about twice `dirty_age_max`, and since the last flush; the older logged value comes back | the value |
//! | a power cut | `Buffered` and `Flushed`: what was not synced; `Synced`: nothing | as above, and what was not synced | the value |
//! | a cold tier that takes no writes | nothing: the put is refused | nothing: values stay in memory, and puts are refused at `dirty_bytes_max` | nothing |
//! | a cold tier with [`FullPolicy::Evict`](crate::FullPolicy::Evict) | the oldest values that were not read lately | the same, once written | – |
//!
//! "Dirty" is a value that memory has and the log does not have yet. It is written later where another task of maintenance runs at that
//! time, or while the log takes nothing.
//!
//! A removed or expired key never comes back from a lower tier while the process lives. After a kill or a cut it does if its remove
//! was not durable, as with the cold tier alone.
//!
//! # Why these parts
//!
//! The hot tier is `quick_cache` (MIT). Of the three libraries that were compared it is the only one that hands an evicted entry over
//! before readers miss it, which a cache over other tiers needs. `moka` and `foyer-memory` tell of an eviction after the entry is gone,
//! share entries by counted references, and take 4 to 16 times as long as `quick_cache` for a hit. DESIGN.md has the figures.

mod compute;
mod conditional;
mod config;
mod counts;
mod demote;
mod dirty;
mod error;
mod explaining;
mod flights;
mod handle;
mod hot;
mod iterate;
mod lifetime;
mod maintenance;
mod options;
mod read;
mod recent;
mod registry;
mod schedule;
mod stats;
mod stripes;
#[cfg(test)]
mod tests;
mod tiers;
mod unified;
mod warm;
mod worker;
mod write;

pub use self::config::{CacheConfigError, DIRTY_BYTES_MIN, UnifiedCacheConfig, UnifiedCacheConfigBuilder};
pub use self::error::{CacheCloseError, CacheError, CacheOpenError, ComputeError};
pub use self::handle::UnifiedCacheHandle;
pub use self::hot::{HotTier, HotTierCoordinator, HotTierStats};
pub use self::iterate::{CacheEntries, CacheKeys};
pub use self::maintenance::{
    MAINTENANCE_QUEUE_CAPACITY, MaintenanceConfig, MaintenanceDone, MaintenanceError, MaintenanceReply,
    MaintenanceReport, MaintenanceSender, MaintenanceTask,
};
pub use self::options::{CachePutOptions, Placement, WritePolicy};
pub use self::registry::{MEMORY_TIERS_MAX, MemoryTierRegistry, RegisterError};
pub use self::stats::CacheStats;
pub use self::tiers::{CacheKey, CacheTier, CacheValue};
pub use self::unified::{MemoryTiers, UnifiedCacheManager};
pub use self::warm::{WarmTier, WarmTierCoordinator};
