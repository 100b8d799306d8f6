//! What can go wrong, one small type per operation.

use core::fmt;
use std::path::PathBuf;

use coldpress_core::codec::CodecError;
use coldpress_core::drive::MediumError;
use coldpress_core::format::HeaderError;
use coldpress_core::invariant::Invariant;
use coldpress_core::recovery::MountError;

use crate::config::ConfigError;
use crate::file_error::FileError;
use crate::image::ConvertError;
use crate::pool::PoolConfigError;

/// Why a tier could not do anything at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum TierError {
    /// The tier was closed; this handle will never work again.
    Closed,
    /// A worker of the tier died. What was synced is safe; close the tier and open it again.
    Poisoned,
    /// The deadline passed first. The operation may still take effect.
    TimedOut,
    /// The log has no room for what was charged, because segments are kept for their damage. The value stays readable in
    /// memory, and is written when something was removed or the damage was dealt with.
    NoRoom,
    /// The medium failed. Values stay readable; what was taken and not written is tried again.
    Medium(MediumError),
    /// A sync failed, and what it should have made durable can't be read back: nothing more becomes durable until the tier is
    /// closed and opened again. What was synced before is safe, and reads go on.
    NeedsReopen,
    /// All segment sequences of the log were issued, some four thousand million: it takes no more writes. Read it, and move to a new tier.
    WornOut,
    /// A file of the tier was deleted, moved, replaced or cut short while it was open, as with `rm -r` of its directory. Writes are
    /// refused; reads go on in the file that is open. Close the tier and open it again: that opens the files that have the names now.
    FileLost,
    /// A log found its own state broken and writes nothing more; reads go on. Close the tier and open it again: what was synced is safe.
    Broken(Invariant),
    /// The tier was opened for [reading only](crate::ColdTierConfigBuilder::read_only).
    ReadOnly,
}

impl fmt::Display for TierError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed => f.write_str("the tier is closed"),
            Self::Poisoned => f.write_str("a worker of the tier died: close it and open it again"),
            Self::TimedOut => {
                f.write_str("the deadline (`op_timeout`) passed; the operation may still take effect")
            }
            Self::NoRoom => f.write_str("the log has no room: segments are kept for their damage"),
            Self::Medium(error) => write!(f, "{error}"),
            Self::NeedsReopen => f.write_str(
                "a sync failed and what it lost can't be read back: close the tier and open it again",
            ),
            Self::WornOut => {
                f.write_str("all segment sequences of the log were issued: it takes no more writes")
            }
            Self::FileLost => {
                f.write_str("a file of the tier was deleted, moved, replaced or cut short while it was open")
            }
            Self::Broken(invariant) => write!(f, "{invariant}: close the tier and open it again"),
            Self::ReadOnly => f.write_str("the tier was opened with `read_only(true)`: it takes no writes"),
        }
    }
}

impl core::error::Error for TierError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Medium(error) => Some(error),
            _ => None,
        }
    }
}

/// Why a value was not put. The value before it, if any, is still there, unless the error says otherwise; other keys are as they were.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum PutError {
    /// The tier could not do it. After [`TierError::TimedOut`] and [`TierError::Medium`] the key has its old value or the new one,
    /// as a read tells. A new one that was taken takes the place of the old, and reaches the log when that works again; if the
    /// tier is opened again before, the key has either.
    Tier(TierError),
    /// The key is longer than the limit.
    KeyTooLong {
        /// Bytes of the key.
        bytes: usize,
        /// The limit.
        max: u32,
    },
    /// The value is longer than the limit.
    ValueTooLong {
        /// Bytes of the value.
        bytes: usize,
        /// The limit.
        max: u32,
    },
    /// The lifetime is zero, or ends later than can be written.
    Lifetime {
        /// The longest lifetime, in seconds.
        max_s: u32,
    },
    /// The capacity is taken by live records, and nothing may be evicted or nothing could be in time.
    Full {
        /// Bytes that the value is charged: its record and a footer entry, 24 bytes on top of key and encoded value, 32 with a
        /// lifetime, and at least 72 in all.
        needed: u64,
        /// Bytes that can still be charged.
        available: u64,
    },
    /// So many writes wait for the log that this one could not be queued before the deadline.
    Busy,
    /// The typed value could not be encoded.
    Encode,
}

impl From<TierError> for PutError {
    fn from(error: TierError) -> Self {
        Self::Tier(error)
    }
}

impl fmt::Display for PutError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tier(error) => write!(f, "{error}"),
            Self::KeyTooLong { bytes, max } => write!(f, "a key of {bytes} bytes: the limit is {max}"),
            Self::ValueTooLong { bytes, max } => write!(f, "a value of {bytes} bytes: the limit (`value_bytes_max`) is {max}"),
            Self::Lifetime { max_s } => write!(f, "a lifetime takes 1 to {max_s} seconds"),
            Self::Full { needed, available } => {
                write!(f, "full: the record is charged {needed} bytes, {available} are available; remove keys, raise `capacity_bytes`, or set \
                     `full(FullPolicy::Evict)`")
            }
            Self::Busy => f.write_str("too many writes wait for the log (`pending_bytes_max`), and there was no place until the deadline (`op_timeout`)"),
            Self::Encode => f.write_str("the key or value could not be encoded"),
        }
    }
}

impl core::error::Error for PutError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Tier(error) => Some(error),
            _ => None,
        }
    }
}

/// Why a key was not removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum RemoveError {
    /// The tier could not do it. After [`TierError::TimedOut`] and [`TierError::Medium`] the key may be removed already, as a read
    /// tells; then that reaches the log when that works again, and if the tier is opened again before, the key may have its value.
    Tier(TierError),
    /// The key is longer than the limit, so it can't be there.
    KeyTooLong {
        /// Bytes of the key.
        bytes: usize,
        /// The limit.
        max: u32,
    },
    /// So many writes wait for the log that this one could not be queued before the deadline.
    Busy,
    /// The typed key could not be encoded.
    Encode,
}

impl From<TierError> for RemoveError {
    fn from(error: TierError) -> Self {
        Self::Tier(error)
    }
}

impl fmt::Display for RemoveError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tier(error) => write!(f, "{error}"),
            Self::KeyTooLong { bytes, max } => write!(f, "a key of {bytes} bytes: the limit is {max}"),
            Self::Busy => f.write_str("too many writes wait for the log (`pending_bytes_max`), and there was no place until the deadline (`op_timeout`)"),
            Self::Encode => f.write_str("the key could not be encoded"),
        }
    }
}

impl core::error::Error for RemoveError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Tier(error) => Some(error),
            _ => None,
        }
    }
}

/// Why a value could not be read although it may be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum GetError {
    /// The tier could not do it.
    Tier(TierError),
    /// The key is longer than the limit, so it can't be there.
    KeyTooLong {
        /// Bytes of the key.
        bytes: usize,
        /// The limit.
        max: u32,
    },
    /// The record is damaged. Other keys are not concerned; a put or a remove of this one works.
    Damaged,
    /// The record was made with a codec that this build lacks, or does not decode.
    Codec(CodecError),
    /// The typed key could not be encoded, or the bytes are not a value of the type.
    Decode,
}

impl From<TierError> for GetError {
    fn from(error: TierError) -> Self {
        Self::Tier(error)
    }
}

impl fmt::Display for GetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tier(error) => write!(f, "{error}"),
            Self::KeyTooLong { bytes, max } => write!(f, "a key of {bytes} bytes: the limit is {max}"),
            Self::Damaged => f.write_str("the record is damaged"),
            Self::Codec(error) => write!(f, "{error}"),
            Self::Decode => f.write_str("the bytes are not a value of the type"),
        }
    }
}

impl core::error::Error for GetError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Tier(error) => Some(error),
            Self::Codec(error) => Some(error),
            _ => None,
        }
    }
}

/// Why some of a batch was not put, or not read. What comes before `index` was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchError<E = PutError> {
    /// Index of what failed, from zero; of a put, the length of the batch where waiting for its durability did.
    pub index: usize,
    /// What failed.
    pub error: E,
}

impl<E: fmt::Display> fmt::Display for BatchError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "index {} of the batch: {}", self.index, self.error)
    }
}

impl<E: core::error::Error + 'static> core::error::Error for BatchError<E> {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        Some(&self.error)
    }
}

/// How to come to another shape.
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
    /// The tier is open already, here or in another process. Its files are locked themselves, so deleting one does not unlock it.
    AlreadyOpen(PathBuf),
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
        /// What failed.
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
    /// The log could not be mounted.
    Mount(MountError),
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
    /// The medium failed.
    Medium(MediumError),
    /// The system gave no random bytes for the store's key.
    Random,
    /// The mount was not over before the deadline.
    TimedOut,
    /// The worker died during the mount.
    Poisoned,
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

impl From<MediumError> for OpenError {
    fn from(error: MediumError) -> Self {
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
            Self::AlreadyOpen(path) => {
                write!(f, "{} is open already, here or in another process", path.display())
            }
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
                write!(
                    f,
                    "the tier has {found} partitions, the configuration says {expected}: set `partitions({found})`; {CHANGE_OVER}"
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
            Self::Medium(error) => Some(error),
            Self::Rewrite { error, .. } => Some(error),
            _ => None,
        }
    }
}

/// Why a close was not orderly. The tier is closed all the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum CloseError {
    /// A worker had died.
    Poisoned,
    /// Not everything could be written and synced. A write that is not known to be durable may be lost: its key has the old value or
    /// the new one when the tier is opened again.
    Unwritten {
        /// Writes that are not known to be durable, those that compaction had under way included; 0 where only the log was not closed
        /// in order, and nothing is lost.
        writes: u64,
        /// The failure, where it was the medium's.
        error: Option<MediumError>,
    },
    /// A worker did not end before the deadline. Until it does its memory stays in use, and its directory locked.
    TimedOut,
    /// A file of the tier was deleted, moved, replaced or cut short while it was open. Neither old content nor later writes are promised.
    FileLost,
    /// A log of the tier found its own state broken and wrote nothing more. Writes that were not known to be durable by then may be lost.
    Broken(Invariant),
}

impl fmt::Display for CloseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Poisoned => f.write_str("a worker of the tier had died"),
            Self::Unwritten { writes, error: Some(error) } => {
                write!(f, "{writes} writes are not known to be durable: {error}")
            }
            Self::Unwritten { writes: 0, error: None } => {
                f.write_str("no write is lost, and close_timeout left no time to close the log in order")
            }
            Self::Unwritten { writes, error: None } => {
                write!(f, "{writes} writes are not known to be durable: close_timeout left no time for them")
            }
            Self::TimedOut => f.write_str("a worker did not end before the deadline (`close_timeout`)"),
            Self::FileLost => TierError::FileLost.fmt(f),
            Self::Broken(invariant) => TierError::Broken(*invariant).fmt(f),
        }
    }
}

impl core::error::Error for CloseError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Unwritten { error: Some(error), .. } => Some(error),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn close_that_ran_out_of_time_says_what_is_known() {
        let said = |writes, error| CloseError::Unwritten { writes, error }.to_string();
        assert_eq!(
            said(0, None),
            "no write is lost, and close_timeout left no time to close the log in order"
        );
        assert_eq!(
            said(3, None),
            "3 writes are not known to be durable: close_timeout left no time for them"
        );
        assert!(said(3, Some(MediumError::NoSpace)).starts_with("3 writes are not known to be durable: "));
    }
}
