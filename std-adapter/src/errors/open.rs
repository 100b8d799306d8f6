//! Why a tier was not opened.

use core::fmt;
use std::path::PathBuf;

use coldpress_core::format::HeaderError;
use coldpress_core::recovery::MountError;

use super::{InUse, TierError};
use crate::config::ConfigError;
use crate::file_error::FileError;
use crate::image::ConvertError;
use crate::pool::PoolConfigError;
use crate::storage::{MediumError, MediumFailure};

/// The way to another shape.
const CHANGE_OVER: &str =
    "for another shape, open a new tier under another cache id, copy the values, and remove the old one";

/// Why a tier was not opened. Nothing of what it holds was changed.
#[derive(Debug)]
#[non_exhaustive]
pub enum OpenError {
    /// The configuration does not hold together.
    Config(ConfigError),
    /// The cache id is not a plain name; see [`CACHE_ID_BYTES_MAX`](crate::CACHE_ID_BYTES_MAX).
    CacheId,
    /// The base directory is empty, or the configuration names none.
    NoBaseDir,
    /// The configuration names another base directory than the call: say it once.
    BaseDirs {
        /// The directory that was passed.
        given: PathBuf,
        /// The directory in the configuration.
        configured: PathBuf,
    },
    /// The pools of the tier's own could not be made.
    Pools(PoolConfigError),
    /// The pools are closed: the [`AllocationManager`](crate::pool::AllocationManager) that came with the coordinator was dropped, as
    /// `let (_, pools) = …` does at once. Bind it to a name that lives as long as the tier.
    PoolsClosed,
    /// The directory has files in it and is not a tier's.
    Foreign(PathBuf),
    /// The tier is open already, here or in another process: it tells which. Its files are locked themselves, so deleting one does not
    /// unlock it.
    AlreadyOpen(InUse),
    /// The directory is a copy of a tier that was open, or was not closed in order. Its files may be of different moments, so that
    /// values are missing or removed ones are back. Copy the tier again once it is closed, or restore a backup. Where nothing wrote to
    /// the tier during the copy, or a snapshot was copied, delete the file `LOCK` of the copy.
    Copied(PathBuf),
    /// The file of a partition is shorter than its headers state; or its length is not the one configured, and no header in it tells
    /// its shape. It was cut short, or is no file of a tier.
    Geometry {
        /// Bytes of a partition's file, as its headers state them; where they do not, as configured.
        expected_bytes: u64,
        /// Bytes of the file that is there.
        found_bytes: u64,
    },
    /// The values that are there do not fit the capacity configured. Configure more, or remove some first.
    DoesNotFit {
        /// The capacity configured.
        capacity_bytes: u64,
        /// The least capacity that holds them with segments of the same length; `u64::MAX` where none does.
        least_bytes: u64,
    },
    /// Segments of the length configured, or that the capacity allows, do not take the longest record that is there. Configure longer
    /// ones, or more capacity.
    SegmentTooShort {
        /// Bytes of a segment, as configured or derived from the capacity.
        segment_bytes: u32,
        /// A length that takes the record.
        least_bytes: u32,
    },
    /// The tier is to be written to new files, for less capacity or other segments, and something in a file can't be read. Open it as it
    /// was: its other values are there.
    Damaged {
        /// The file of the partition.
        path: PathBuf,
        /// Values, and pieces of long ones, whose record can't be read.
        records: u64,
    },
    /// The tier could not be written to new files, for less capacity or other segments.
    Rewrite {
        /// The file of the partition.
        path: PathBuf,
        /// The error.
        error: Box<ConvertError>,
    },
    /// The tier was made with another number of partitions.
    Partitions {
        /// Partitions configured.
        expected: u16,
        /// Partitions found.
        found: u16,
    },
    /// The file of a partition is not there, and those of others are: put it back.
    MissingPartition(PathBuf),
    /// A file is named like a partition's and is none of them: move it away.
    StrayPartition(PathBuf),
    /// The file of a partition was deleted, moved, replaced or cut short while the tier was opened.
    FileLost,
    /// The file `tier.meta`, with partitions and schema, is damaged or of a later version. A damaged one can be moved away: the tier
    /// then opens as one without a schema, see [`adopt_schema`](crate::ColdTierConfigBuilder::adopt_schema).
    Metadata(PathBuf),
    /// The configuration names another schema than the tier has, or none; or it names one, and the tier holds values and has none.
    /// See [`schema`](crate::ColdTierConfigBuilder::schema).
    Schema {
        /// The schema that was stored with the tier.
        stored: Option<Box<str>>,
        /// The schema in the configuration.
        configured: Option<Box<str>>,
    },
    /// The log could not be mounted, though its medium could be read. Where the medium failed it is [`Medium`](Self::Medium) or
    /// [`Unread`](Self::Unread).
    Mount(MountError),
    /// So many segments can't be read that it is not known what is there: one that can't be read now may be read later.
    Unread {
        /// Segments that can't be read.
        unread: u32,
        /// Segments in all.
        segments: u32,
        /// The last read that failed.
        failure: MediumFailure,
    },
    /// The process may not write files as long as those of the tier (`ulimit -f`, `LimitFSIZE`): the first write beyond that would
    /// end it with the signal SIGXFSZ.
    FileSizeLimit {
        /// Bytes of the file of a partition.
        needed_bytes: u64,
        /// The limit on the length of a file.
        limit_bytes: u64,
    },
    /// The operating system refused something: the error names the operation, the path and the system's code.
    Io(FileError),
    /// The files of the tier can't be written, because the file system is mounted read-only or this process has no right to. With
    /// [`read_only(true)`](crate::ColdTierConfigBuilder::read_only) the tier opens for reading.
    NotWritable(FileError),
    /// The medium failed, in the mount or before.
    Medium(MediumFailure),
    /// The system gave no random bytes for the store's key.
    Random,
    /// The mount was not over before the deadline.
    TimedOut,
    /// The worker died during the mount.
    Poisoned,
}

impl OpenError {
    /// The error of a mount, with the last failure of the medium, which says where and why.
    pub(crate) fn of_mount(error: MountError, failure: Option<MediumFailure>) -> Self {
        match error {
            MountError::Medium(kind) => {
                let failure = failure.filter(|failure| failure.kind() == kind);
                Self::Medium(failure.unwrap_or_else(|| kind.into()))
            }
            MountError::Unread { unread, segments } => {
                let failure = failure.unwrap_or_else(|| MediumError::Unreadable.into());
                Self::Unread { unread, segments, failure }
            }
            error => Self::Mount(error),
        }
    }
}

impl From<ConfigError> for OpenError {
    fn from(error: ConfigError) -> Self {
        Self::Config(error)
    }
}

impl From<FileError> for OpenError {
    fn from(error: FileError) -> Self {
        Self::Io(error)
    }
}

impl From<MediumFailure> for OpenError {
    fn from(error: MediumFailure) -> Self {
        Self::Medium(error)
    }
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Config(error) => write!(f, "configuration: {error}"),
            Self::CacheId => write!(
                f,
                "a cache id takes 1 to {} letters, digits, '.', '_' or '-', and does not begin with '.'",
                crate::config::CACHE_ID_BYTES_MAX
            ),
            Self::NoBaseDir => f.write_str("the configuration names no base directory: set `base_dir`"),
            Self::BaseDirs { given, configured } => write!(
                f,
                "the tier is to be opened below {}, and `base_dir` says {}: leave one of them out",
                given.display(),
                configured.display()
            ),
            Self::Pools(error) => write!(f, "pools: {error}"),
            Self::PoolsClosed => f.write_str(
                "the pools are closed, since their AllocationManager was dropped: keep it in a variable as long as the tier is open \
                 (`let (_manager, pools) = …`, not `let (_, pools) = …`)",
            ),
            Self::Foreign(path) => {
                write!(f, "{} is not a tier's directory; nothing was changed", path.display())
            }
            Self::AlreadyOpen(held) => write!(f, "{held}"),
            Self::Copied(path) => write!(
                f,
                "{0} is a copy of a tier that was open, or was not closed in order, so its files may be of different moments: close the \
                 tier and copy it again, or restore a backup; where nothing wrote to the tier during the copy, delete {0}/LOCK; nothing \
                 was changed",
                path.display()
            ),
            Self::Geometry { expected_bytes, found_bytes } => {
                write!(
                    f,
                    "the file of a partition has {found_bytes} bytes and should have {expected_bytes}: it was cut short, or is not \
                     a tier's; nothing was changed"
                )
            }
            Self::DoesNotFit { capacity_bytes, least_bytes } => {
                write!(
                    f,
                    "the values of the tier do not fit `capacity_bytes({capacity_bytes})`: set at least {least_bytes} (more where \
                     other segments come with it), or remove values first; nothing was changed"
                )
            }
            Self::SegmentTooShort { segment_bytes, least_bytes } => {
                write!(
                    f,
                    "the tier has a record that segments of {segment_bytes} bytes do not take: set `segment_bytes({least_bytes})`, and \
                     a capacity with room for such segments; nothing was changed"
                )
            }
            Self::Damaged { path, records } => {
                write!(
                    f,
                    "{} can't be written anew for another capacity: {records} values of it can't be read; open it with the capacity \
                     that it had; nothing was changed",
                    path.display()
                )
            }
            Self::Rewrite { path, error } => {
                write!(f, "{} can't be written anew for another capacity: {error}", path.display())
            }
            Self::Partitions { expected, found } => {
                let partitions = if *found == 1 { "partition" } else { "partitions" };
                write!(
                    f,
                    "the tier has {found} {partitions}, the configuration says {expected}: set `partitions({found})`; {CHANGE_OVER}"
                )
            }
            Self::MissingPartition(path) => {
                write!(f, "{} is missing, others of the tier are there; nothing was changed", path.display())
            }
            Self::StrayPartition(path) => {
                write!(f, "{} is no partition of the tier; nothing was changed", path.display())
            }
            Self::FileLost => TierError::FileLost.fmt(f),
            Self::Metadata(path) => {
                write!(f, "{} is damaged, or of a later version; nothing was changed", path.display())
            }
            Self::Schema { stored, configured } => {
                let said = |schema: &Option<Box<str>>| match schema {
                    Some(schema) => format!("the schema {schema:?}"),
                    None => "no schema".to_owned(),
                };
                let (stored, configured) = (said(stored), said(configured));
                write!(f, "the tier has {stored}, the configuration says {configured}; nothing was changed")
            }
            Self::Mount(MountError::Header(error @ HeaderError::Geometry { segment_bytes, segment_count })) => {
                let part_bytes = u64::from(*segment_bytes) * u64::from(*segment_count);
                write!(
                    f,
                    "{error}: set `segment_bytes({segment_bytes})`, and `capacity_bytes` to {part_bytes} times the partitions; \
                     {CHANGE_OVER}"
                )
            }
            Self::Mount(MountError::Header(error @ HeaderError::Medium)) => {
                write!(f, "{error}, as a device's image is: read it with `coldpress_std::image`; {CHANGE_OVER}")
            }
            Self::FileSizeLimit { needed_bytes, limit_bytes } => write!(
                f,
                "File too large: the file of a partition takes {needed_bytes} bytes, this process may write files of \
                 {limit_bytes}; raise the limit (ulimit -f, LimitFSIZE), or set a lower capacity_bytes or more partitions; \
                 nothing was changed"
            ),
            Self::Mount(error) => write!(f, "{error}"),
            Self::Unread { unread, segments, failure } => {
                write!(f, "{}: {failure}", MountError::Unread { unread: *unread, segments: *segments })
            }
            Self::Io(error) => write!(f, "{error}"),
            Self::NotWritable(error) => {
                write!(f, "{error}; to open the tier for reading only, set `read_only(true)` in its configuration")
            }
            Self::Medium(error) => write!(f, "{error}"),
            Self::Random => f.write_str("the system gave no random bytes"),
            Self::TimedOut => f.write_str("the mount was not over before the deadline (`open_timeout`)"),
            Self::Poisoned => f.write_str("the worker died during the mount"),
        }
    }
}

impl core::error::Error for OpenError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Config(error) => Some(error),
            Self::Pools(error) => Some(error),
            Self::Mount(error) => Some(error),
            Self::Io(error) | Self::NotWritable(error) => Some(error),
            Self::Medium(error) | Self::Unread { failure: error, .. } => Some(error),
            Self::Rewrite { error, .. } => Some(error),
            _ => None,
        }
    }
}
