//! Tools of an operator: a tier's directory read without its configuration, without a lock, and also while a service has it open.
//!
//! [`tiers_below`] finds the tiers of a base directory. [`TierFacts`] has the facts that the directory of one tells, and the
//! configuration with which it opens as it is. [`PartitionLog`] is the log of one file, and [`Snapshot`] goes through the values of all.
//! Nothing is written. A tier that is open for writing shows each key with a value that it had meanwhile. A value is
//! checked by its checksum, so it is never a mixture.
//!
//! ```
//! use coldpress_std::inspect::{Snapshot, TierFacts};
//! use coldpress_std::{ColdTier, ColdTierConfig, Durability};
//!
//! let base_dir = tempfile::tempdir()?;
//! let config = ColdTierConfig::builder().base_dir(base_dir.path()).capacity_bytes(16 << 20).build()?;
//! let tier = ColdTier::with_own_pools(config, "docs")?;
//! tier.put(b"key", b"value")?;
//! tier.flush_to(Durability::Synced)?;
//!
//! let facts = TierFacts::read(&base_dir.path().join("docs"))?;
//! assert_eq!(facts.capacity_bytes(), 16 << 20);
//! assert_eq!(facts.in_use.as_ref().and_then(|held| held.pid()), Some(std::process::id()));
//! let now_s = 0;
//! let found = Snapshot::new(&facts, now_s).get(b"key")?;
//! assert_eq!(found.map(|entry| entry.value), Some(b"value".to_vec()));
//! tier.close()?;
//! # Ok::<(), Box<dyn core::error::Error>>(())
//! ```

use core::fmt;
use std::path::{Path, PathBuf};

use coldpress_core::format::FORMAT_VERSION;

use super::dir::Content;
pub use super::facts::{PartitionFacts, PartitionShape, TierFacts};
pub use super::snapshot::{PartitionLog, Snapshot, SnapshotEntry, SnapshotError};
use crate::config::ConfigError;
use crate::errors::OpenError;
use crate::file_error::{AtPath as _, FileError};
use crate::image::ImageError;
use crate::storage::META_NAME;

/// Finds the tiers whose directories lie in a directory, in the order of their names.
///
/// # Errors
/// [`FileError`] where the directory can't be listed.
pub fn tiers_below(base_dir: &Path) -> Result<Vec<PathBuf>, FileError> {
    let mut found = Vec::new();
    for entry in base_dir.read_dir().at("list", base_dir)? {
        let path = entry.at("list", base_dir)?.path();
        if is_tier(&path) {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// Tells whether a directory has a file of a tier: a partition's, or the metadata. One that can't be listed has none.
#[must_use]
pub fn is_tier(dir: &Path) -> bool {
    let has_part = || Content::of(dir).is_ok_and(|content| content.parts().next().is_some());
    dir.is_dir() && (dir.join(META_NAME).exists() || has_part())
}

/// Why a tier's directory can't be inspected.
#[derive(Debug)]
#[non_exhaustive]
pub enum InspectError {
    /// The directory or its metadata can't be read, or something in it is missing.
    Directory(OpenError),
    /// The file of a partition has another version of the format.
    Format {
        /// The file.
        path: PathBuf,
        /// Its version.
        version: u8,
    },
    /// The log of a partition can't be read.
    Log {
        /// The file.
        path: PathBuf,
        /// The error.
        error: ImageError,
    },
    /// All segments of the tier were freed, so its files don't tell the length of segments. The path is the directory.
    NoShape(PathBuf),
    /// The shape that the files tell is none that a tier opens with.
    Config {
        /// The directory.
        path: PathBuf,
        /// The error.
        error: ConfigError,
    },
}

impl InspectError {
    pub(crate) fn of_log(path: &Path, error: ImageError) -> Self {
        let path = path.to_path_buf();
        match error {
            ImageError::Version(version) => Self::Format { path, version },
            error => Self::Log { path, error },
        }
    }
}

impl From<OpenError> for InspectError {
    fn from(error: OpenError) -> Self {
        Self::Directory(error)
    }
}

impl From<FileError> for InspectError {
    fn from(error: FileError) -> Self {
        Self::Directory(error.into())
    }
}

impl fmt::Display for InspectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Directory(error) => write!(f, "{error}"),
            Self::Format { path, version } if *version < FORMAT_VERSION => write!(
                f,
                "{} has version {version} of the format: convert its directory first, with `coldpress image convert OLD NEW` or \
                 `coldpress_std::image::convert_tier`",
                path.display()
            ),
            Self::Format { path, version } => write!(
                f,
                "{} has version {version} of the format, and this build reads up to {FORMAT_VERSION}: take a later build",
                path.display()
            ),
            Self::Log { error: ImageError::Io(error), .. } => write!(f, "{error}"),
            Self::Log { error: ImageError::Medium(error), .. } => write!(f, "{error}"),
            Self::Log { path, error } => write!(f, "{}: {error}", path.display()),
            Self::NoShape(path) => write!(
                f,
                "{} is empty, and its files don't tell the length of their segments: let its service open it",
                path.display()
            ),
            Self::Config { path, error } => write!(f, "{}: {error}", path.display()),
        }
    }
}

impl core::error::Error for InspectError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Directory(error) => Some(error),
            Self::Log { error, .. } => Some(error),
            Self::Config { error, .. } => Some(error),
            Self::Format { .. } | Self::NoShape(_) => None,
        }
    }
}
