//! Why an archive could not be written or read.

use core::fmt;
use std::path::PathBuf;

use crate::errors::TierError;
use crate::file_error::FileError;
use crate::storage::MediumFailure;

/// Why an operation on an archive failed. The backups listed before are as they were.
#[derive(Debug)]
#[non_exhaustive]
pub enum ArchiveError {
    /// The tier can't be synced, or does not answer.
    Tier(TierError),
    /// A segment of the tier can't be read.
    Unreadable(MediumFailure),
    /// Another backup of the tier is under way in this process.
    Busy,
    /// Clients changed more bytes during each attempt than may be held: raise `held_bytes_max`, or upload faster.
    Overrun {
        /// The bytes that could be held, for all partitions.
        held_bytes_max: u64,
    },
    /// The tier was opened again meanwhile.
    HoldEnded,
    /// Another process wrote to the prefix at the same time. Nothing of this operation is listed.
    SecondWriter {
        /// The number that it took.
        number: u64,
    },
    /// The prefix has backups of another tier.
    OtherStore {
        /// The store id of the backups.
        stored: u64,
        /// The store id of the tier.
        found: u64,
    },
    /// An object is not what was uploaded.
    Damaged {
        /// Its path.
        object: String,
    },
    /// An object is not there.
    Missing {
        /// Its path.
        object: String,
    },
    /// The manifest is of a later version than this build reads.
    Version {
        /// Its path.
        object: String,
        /// The version.
        version: u8,
    },
    /// This is no URL.
    Url {
        /// The text.
        url: String,
    },
    /// The URL is of a kind of store that this program was built without.
    NotBuilt {
        /// The feature of this crate that adds it.
        feature: &'static str,
    },
    /// There is no such backup.
    NoBackup,
    /// At least one backup has to be kept.
    KeepNone,
    /// The directory to restore to has something in it.
    NotEmpty(PathBuf),
    /// A file can't be written.
    File(FileError),
    /// The manifest can't be encoded.
    Unencodable,
    /// The object store failed.
    Store(object_store::Error),
}

impl fmt::Display for ArchiveError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tier(error) => write!(f, "{error}"),
            Self::Unreadable(error) => write!(f, "a segment can't be read: {error}"),
            Self::Busy => f.write_str("another backup of the tier is under way"),
            Self::Overrun { held_bytes_max } => {
                write!(f, "clients changed more than the {held_bytes_max} bytes that may be held")
            }
            Self::HoldEnded => f.write_str("the segments are not held any more"),
            Self::SecondWriter { number } => {
                write!(f, "another process took number {number} of the prefix at the same time")
            }
            Self::OtherStore { stored, found } => {
                write!(f, "the prefix has backups of store {stored:016x}, and this is store {found:016x}")
            }
            Self::Damaged { object } => write!(f, "{object} is damaged"),
            Self::Missing { object } => write!(f, "{object} is missing"),
            Self::Version { object, version } => {
                write!(f, "{object} is of version {version}, which this build does not read")
            }
            Self::Url { url } => {
                write!(f, "{url:?} is no URL of an archive, such as s3://bucket/prefix or file:///dir")
            }
            Self::NotBuilt { feature } => {
                write!(
                    f,
                    "this program was built without the feature `{feature}`, which adds this kind of store"
                )
            }
            Self::NoBackup => f.write_str("there is no such backup"),
            Self::KeepNone => f.write_str("at least one backup has to be kept"),
            Self::NotEmpty(path) => write!(f, "{} is not an empty directory", path.display()),
            Self::File(error) => write!(f, "{error}"),
            Self::Unencodable => f.write_str("the manifest can't be encoded"),
            Self::Store(error) => write!(f, "{error}"),
        }
    }
}

impl core::error::Error for ArchiveError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Tier(error) => Some(error),
            Self::Unreadable(error) => Some(error),
            Self::File(error) => Some(error),
            Self::Store(error) => Some(error),
            _ => None,
        }
    }
}

impl From<TierError> for ArchiveError {
    fn from(error: TierError) -> Self {
        Self::Tier(error)
    }
}

impl From<FileError> for ArchiveError {
    fn from(error: FileError) -> Self {
        Self::File(error)
    }
}

impl From<object_store::Error> for ArchiveError {
    fn from(error: object_store::Error) -> Self {
        match error {
            object_store::Error::NotFound { path, .. } => Self::Missing { object: path },
            error => Self::Store(error),
        }
    }
}
