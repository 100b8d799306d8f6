//! Memory pools of a service: pages that really go back to the operating system, and a worker that tidies them.
//!
//! ```text
//!  any thread ── HotPools (Copy) ──────────► partitions, each behind its own lock ◄──┐ one bounded step
//!                                            (pages, handles, keys)                 │ per lock hold
//!  any thread ── PoolCoordinator (Clone) ── bounded channel of 256 ──► pool worker ──┘
//!       ▲                                                                   │
//!       └───────────────────────────── CleanupReply ────────────────────────┘
//! ```
//!
//! [`AllocationManager::new`] makes the partitions and starts the worker. Dropping the manager stops and joins the worker and
//! returns every page, so opening and closing grows nothing. A [`HotPools`] or [`PoolCoordinator`] kept longer is refused from
//! then on, even once new pools are open: handles are leases with a generation.
//!
//! ```
//! use coldpress_std::pool::{AllocationManager, HotKey, PoolConfig, trigger_defragmentation};
//!
//! let patience = core::time::Duration::from_secs(60);
//! let config = PoolConfig::builder().capacity_bytes(16 << 20).partitions(2).request_timeout(patience).build()?;
//! let (manager, coordinator) = AllocationManager::new(&config)?;
//!
//! let hot = coordinator.hot();
//! let key = HotKey { tier: hot.register_tier(), hash: *b"twelve bytes" };
//! assert!(hot.insert(key, 1, b"value", None));
//! assert_eq!(hot.read(key, 1, <[u8]>::to_vec), Some(b"value".to_vec()));
//!
//! let reclaimed_bytes = trigger_defragmentation(&coordinator)?;
//! assert_eq!(reclaimed_bytes, 0, "one object in one page: no move can free it");
//!
//! drop(manager);
//! assert_eq!(hot.read(key, 1, <[u8]>::to_vec), None);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod allocation;
mod config;
mod coordinator;
mod defragmenting;
mod error;
mod evictions;
mod frequency;
mod hot;
mod mapped;
mod opened;
mod partition;
mod worker;

#[cfg(test)]
mod tests;

pub use coldpress_core::cleanup::{
    CleanupError, CleanupKind, CleanupReply, CleanupRequest, Outstanding, Reclaimed, Ticket,
};
pub use coldpress_core::efficiency::{CleanupAdvice, EfficiencyConfig, EfficiencyReport};
pub use coldpress_core::pool::{Fragmentation, PoolTotals};

pub use crate::observe::{PageView, PoolStats};
pub use allocation::AllocationManager;
pub use config::{PoolConfig, PoolConfigBuilder, PoolConfigError};
pub use coordinator::{PoolCoordinator, emergency_cleanup, trigger_defragmentation};
pub use error::{HotError, PoolError};
pub(crate) use hot::Looked;
pub use hot::{HotKey, HotPools};
