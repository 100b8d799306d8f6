//! Coldpress for services: a crash-safe cold tier on a file, with background compaction, and memory pools that really
//! defragment.
//!
//! ```
//! use coldpress_std::pool::{AllocationManager, PoolConfig};
//! use coldpress_std::{ColdTier, ColdTierConfig};
//!
//! let base_dir = tempfile::tempdir()?;
//! let (_manager, pools) = AllocationManager::new(&PoolConfig::builder().build()?)?;
//! let config = ColdTierConfig::builder().capacity_bytes(64 << 20).build()?;
//! let tier = ColdTier::open(base_dir.path(), "sessions", config, pools)?;
//! tier.put(b"key", b"value")?;
//! assert_eq!(tier.get(b"key")?.as_deref(), Some(&b"value"[..]));
//! tier.flush()?;
//! tier.close()?;
//! # Ok::<(), Box<dyn core::error::Error>>(())
//! ```
//!
//! Types of the core that are part of this interface are found here too, so this is the only dependency that a service needs:
//!
//! ```
//! use coldpress_std::compaction::{CompactionTask, PoolOutcome, VictimReason};
//! use coldpress_std::pool::{AllocationManager, CleanupKind, CleanupReply, PoolConfig};
//! use coldpress_std::{CodecId, ColdTier, ColdTierConfig, MountError, OpenError, Outcome, Policy, SegmentState, Streams};
//! use core::time::Duration;
//!
//! let base_dir = tempfile::tempdir()?;
//! let patience = Duration::from_secs(60);
//! let (_manager, pools) = AllocationManager::new(&PoolConfig::builder().request_timeout(patience).build()?)?;
//! let config = ColdTierConfig::builder()
//!     .capacity_bytes(16 << 20)
//!     .codec(CodecId::Raw)
//!     .streams(Streams::Two)
//!     .policy(Policy::Greedy)
//!     .build()?;
//! let tier = match ColdTier::open(base_dir.path(), "docs", config, pools.clone()) {
//!     Ok(tier) => tier,
//!     Err(OpenError::Mount(MountError::Foreign)) => panic!("something else lies there"),
//!     Err(error) => return Err(error.into()),
//! };
//! let report = tier.compaction().run_compaction(CompactionTask::CompactData, patience)?;
//! assert!(report.outcome == Outcome::Completed && matches!(report.pool, PoolOutcome::Done(_)));
//! assert!(report.victims.first.is_none_or(|choice| choice.reason != VictimReason::Dead));
//! assert!(tier.segments()?.iter().all(|segment| segment.state == SegmentState::Free));
//!
//! let (reply, replies) = coldpress_std::crossbeam_channel::bounded(1);
//! let ticket = pools.request(CleanupKind::EmergencyCleanup, reply)?;
//! let CleanupReply { ticket: answered, result } = replies.recv()?;
//! assert!(answered == ticket && result.is_ok());
//! # Ok::<(), Box<dyn core::error::Error>>(())
//! ```
//!
//! From the outside in: [`cache`], three tiers from memory to disk; its cold one is a [`PersistentColdTier`] (typed) over [`ColdTier`]
//! (bytes), reached from other threads through [`ColdTierHandle`]; [`compaction`] and [`pool`], which it works with; [`budget`], which
//! limits their work; [`medium`] and [`clock`], on which it stands; [`codec`]. [`image`] reads and makes the bytes of a log, a device's
//! too; [`inspect`] reads the directory of a tier without a lock.
//!
//! Calls whose names end in `_async` return futures. They need no runtime and block no thread: see
//! [the guide](guide#futures).
//!
//! [`guide`] tells how to choose capacity and memory, how long calls block, how to move, copy and upgrade a tier, and which metrics
//! to watch.
//!
//! It needs a Unix system. On Linux freed segments are also punched out of the file. A mount first drops the pages of the
//! file from the page cache, unless it knows that all of them were written.
#![doc = include_str!("metrics.md")]
#![forbid(unsafe_code)]
#![cfg_attr(not(test), warn(clippy::unwrap_used, clippy::cast_possible_truncation))]

pub mod clock;

mod recycled;

pub mod budget;

mod file_error;

pub mod codec;

mod storage;

mod observe;

pub mod pool;

pub mod image;

mod config;

mod errors;

mod admission;

mod index;

mod directory;

mod worker;

mod api;

pub mod cache;

#[cfg(feature = "archive")]
pub mod archive;

#[doc = include_str!("../GUIDE.md")]
pub mod guide {}

pub use codec::{CodecError, CodecId};
pub use coldpress_core::config::Streams;
pub use coldpress_core::drive::MediumError;
pub use coldpress_core::format::{GeometryError, HeaderError};
pub use coldpress_core::recovery::MountError;
pub use coldpress_core::segments::{Policy, SegmentState};
#[doc(no_inline)]
pub use crossbeam_channel;

pub use api::compaction;
pub use api::compaction::{
    CompactionConfig, CompactionError, CompactionSystem, CompactionTask, Outcome, Report,
};
pub use api::{
    ColdTier, ColdTierCoordinator, ColdTierHandle, ColdTierRegistry, Entries, Error, Expected, InitError,
    Keys, PersistentColdTier, PersistentColdTierHandle, PutOptions, REGISTRY_QUEUE_CAPACITY,
    REGISTRY_TIERS_MAX, TimeLeft, Ttl, TypedEntries, TypedKeys, Update, ValueVersion, VersionTextError,
    Versioned, init_cold_tier,
};
pub use config::{
    CACHE_ID_BYTES_MAX, ColdTierConfig, ColdTierConfigBuilder, ConfigError, Durability, FullPolicy,
    PARTITIONS_MAX, PENDING_BYTES_MIN, SCHEMA_BYTES_MAX,
};
pub use directory::inspect;
pub use errors::{
    BatchError, CloseError, GetError, InUse, OpenError, PutError, RemoveError, TierError, UpdateError,
};
pub use file_error::FileError;
pub use observe::{
    CleanedSegment, CleanupCause, EvictedFrom, Eviction, EvictionCause, Explained, ExplainedCleanup,
    Explanation, RefusalCause, RefusedOperation, RefusedWrite, SegmentView, TierStats,
};
pub use storage::medium;
pub use storage::medium::MediumFailure;

/// The examples in the project's page and in those of the adapters are compiled and run with the documentation tests.
#[cfg(doctest)]
mod pages {
    #[doc = include_str!("../../README.md")]
    struct Project;

    #[doc = include_str!("../README.md")]
    struct Services;

    #[doc = include_str!("../../embedded-adapter/README.md")]
    struct Firmware;
}
