//! Backups of a tier in an object store, made while clients write.
//!
//! [`backup`] copies a tier at one moment behind a sync: every write that was acknowledged before is in it. Segments that an
//! earlier backup has are not uploaded again. [`restore`] makes a directory of one, which opens as any other. [`list`], [`verify`],
//! [`delete_damaged`] and [`prune`] look after them.
//!
//! The store is one of the crate [`object_store`]: memory, a local directory, or a cloud. Its retries, encryption and credentials are set
//! there. [`ArchiveLocation`] makes one from a URL and the environment. The futures need the runtime that the store needs; memory and a local directory need none.
//! A local directory syncs what is put only after `with_fsync(true)`: without it a power cut may damage backups.
//!
//! ```
//! use coldpress_std::archive::{self, RestorePoint, object_store::{memory::InMemory, path::Path}};
//! use coldpress_std::{ColdTier, ColdTierConfig};
//!
//! # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
//! let base_dir = tempfile::tempdir()?;
//! let config = ColdTierConfig::builder().base_dir(base_dir.path()).capacity_bytes(16 << 20).build()?;
//! let tier = ColdTier::with_own_pools(config.clone(), "sessions")?;
//! tier.put(b"key", b"value")?;
//!
//! let (store, prefix) = (InMemory::new(), Path::from("backups/sessions"));
//! let made = archive::backup(&tier.handle(), &store, &prefix).await?;
//! assert_eq!((made.number, archive::list(&store, &prefix).await?.backups.len()), (1, 1));
//!
//! archive::restore(&store, &prefix, &base_dir.path().join("restored"), RestorePoint::Newest).await?;
//! let restored = ColdTier::with_own_pools(config, "restored")?;
//! assert_eq!(restored.get(b"key")?.as_deref(), Some(&b"value"[..]));
//! # Ok::<(), Box<dyn core::error::Error>>(()) }).unwrap();
//! # Ok::<(), Box<dyn core::error::Error>>(())
//! ```
//!
//! Objects hold values and the secret of the index, as the files of the tier do. They are neither compressed nor encrypted here.
//!
//! A prefix is for one tier. Its numbers are given out by conditional puts. So of two processes that write a backup or prune at the
//! same time one finds out, before anything is listed that is not whole.

mod backup;
mod check;
mod continuous;
mod continuous_stats;
mod damage;
mod error;
mod known;
mod location;
mod manifest;
mod progress;
mod prune;
mod restore;
mod slots;
mod timer;
mod uploads;

pub use object_store;

pub use self::backup::{Backup, BackupOptions, BackupWatch, backup, backup_watched, backup_with};
pub use self::check::{ArchiveDamage, BackupList, Listed, Verified, list, verify};
pub use self::continuous::{ContinuousArchive, ContinuousOptions};
pub use self::continuous_stats::ContinuousStats;
pub use self::damage::{DeletedDamage, delete_damaged};
pub use self::error::ArchiveError;
pub use self::location::ArchiveLocation;
pub use self::progress::{BackupProgress, BackupState};
pub use self::prune::{Pruned, prune};
pub use self::restore::{RestorePoint, RestoredTier, restore, unfinished_restores};
pub use self::timer::{ArchiveSleep, ArchiveTimer};
