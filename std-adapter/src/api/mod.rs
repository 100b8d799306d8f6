//! The interface of the cold tier: opening, handles, reads, writes, tasks, the registry.
//!
//! ```text
//!  client threads ─► open tier ─► shared partition: index, sums ◄┐ index updates
//!        │                                                       │
//!        └── Message (bounded) ──► log worker ── owns the machine of coldpress-core ──► file
//!                                    ▲  └── sync ──► syncer ──► file
//!                                    └── CleanupReply ◄── pool worker ◄── CleanupRequest
//! ```
//! Each partition has one worker and one syncer. Clients reach the open tier ([`opened`]) by a lease, and through it the index
//! and sums of a partition, which the worker shares. One thread owns everything else. A close drops all of it.

mod beneath;
mod clear;
pub mod compaction;
mod conditional;
mod coordinator;
mod error;
mod futures;
mod get;
mod handle;
mod iterate;
mod long;
mod open;
mod opened;
mod put;
mod remove;
mod reserve;
mod scratch;
mod shrinking;
mod touch;
mod ttl;
mod typed;
mod unchanged;
mod write;

pub use self::conditional::{Expected, Update, ValueVersion, VersionTextError, Versioned};
pub use self::coordinator::{
    ColdTierCoordinator, ColdTierRegistry, InitError, REGISTRY_QUEUE_CAPACITY, REGISTRY_TIERS_MAX,
    init_cold_tier,
};
pub use self::error::Error;
#[cfg(feature = "archive")]
pub(crate) use self::futures::{HeldTier, TierIdentity, sleep_until};
pub use self::handle::ColdTierHandle;
pub use self::iterate::{Entries, Keys};
pub use self::open::ColdTier;
pub use self::put::PutOptions;
pub use self::touch::TimeLeft;
pub use self::ttl::Ttl;
pub use self::typed::{PersistentColdTier, PersistentColdTierHandle, TypedEntries, TypedKeys};
pub(crate) use self::typed::{decoded, encoded};
