//! The cold tier on files: who owns it, how it is opened and closed.
//!
//! ```text
//!  client threads ─► gate ─► shell: index, sums ◄──────────────┐ index updates
//!        │                                                     │
//!        └── Message (bounded) ──► log worker ── owns the machine of coldpress-core ──► file
//!                                    ▲  └── sync ──► syncer ──► file
//!                                    └── CleanupReply ◄── pool worker ◄── CleanupRequest
//! ```
//! One worker and syncer a partition. What threads share is in the shell ([`shell`]), which is never freed but used again;
//! everything else is owned by one thread or behind the gate ([`gate`]), and goes when the tier is closed.

mod admission;
mod config;
mod coordinator;
mod dir;
mod entry;
mod error;
mod expiry;
mod families;
mod figures;
mod gate;
mod get;
mod handle;
mod health;
mod index;
mod iterate;
mod latency;
mod lengths;
mod log_clock;
mod long;
mod made;
mod meta;
mod open;
mod peek;
mod pieces;
mod publish;
mod put;
mod recoder;
mod relief;
mod reserve;
mod reshape;
mod scratch;
mod shell;
mod sparse;
mod syncer;
mod ttl;
mod typed;
mod unchanged;
mod worker;

pub use config::{
    ColdTierConfig, ColdTierConfigBuilder, ConfigError, Durability, FullPolicy, PARTITIONS_MAX,
    PENDING_BYTES_MIN, SCHEMA_BYTES_MAX,
};
pub use coordinator::{
    ColdTierCoordinator, ColdTierRegistry, InitError, REGISTRY_QUEUE_CAPACITY, REGISTRY_TIERS_MAX,
    init_cold_tier,
};
pub use dir::CACHE_ID_BYTES_MAX;
pub use error::{BatchError, CloseError, GetError, OpenError, PutError, RemoveError, TierError};
pub(crate) use figures::Board;
pub use figures::{SegmentView, TierFigures};
pub(crate) use gate::{Background, Message, Open, Scheduled};
pub use handle::ColdTierHandle;
pub use index::Analysis;
pub use iterate::Keys;
pub(crate) use latency::Timed;
pub(crate) use meta::META_NAME;
pub use open::ColdTier;
pub use put::PutOptions;
pub(crate) use reserve::Told;
#[cfg(test)]
pub(crate) use shell::ASKED_MAX;
pub(crate) use shell::Shell;
pub use ttl::Ttl;
pub use typed::{PersistentColdTier, PersistentColdTierHandle, TypedKeys};
