//! The errors, one small type per operation.

mod close;
mod in_use;
mod open;
mod update;

use core::fmt;

use coldpress_core::codec::CodecError;
use coldpress_core::invariant::Invariant;

pub use self::close::CloseError;
pub use self::in_use::InUse;
pub use self::open::OpenError;
pub use self::update::UpdateError;
use crate::storage::MediumFailure;

/// Why a tier could not do anything at all.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum TierError {
    /// The tier was closed; this handle will never work again.
    Closed,
    /// A worker of the tier died. Synced writes are safe; close the tier and open it again.
    Poisoned,
    /// The deadline passed first. The operation may still take effect.
    TimedOut,
    /// The log has no space for values that it has charged, because segments are kept for their damage. The value stays
    /// readable in memory, and is written once keys are removed or the damage is resolved.
    LogFull,
    /// The medium failed. Values stay readable; accepted writes are tried again.
    Medium(MediumFailure),
    /// A sync failed, and what it should have made durable can't be read back: nothing more becomes durable until the tier is
    /// closed and opened again. Writes that were synced before are safe, and reads go on.
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
            Self::LogFull => f.write_str("the log has no space: segments are kept for their damage"),
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
#[derive(Debug, Clone, PartialEq, Eq)]
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
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum RemoveError {
    /// The tier could not do it. After [`TierError::TimedOut`] and [`TierError::Medium`] the key may be removed already, as a
    /// read tells. Then the remove reaches the log when that works again; if the tier is opened again before, the key may have
    /// its value.
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
#[derive(Debug, Clone, PartialEq, Eq)]
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

/// Why some of a batch was not put, or not read. The items before `index` were.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BatchError<E = PutError> {
    /// Index of the item that failed, from zero. It is the length of the batch if all items of a put were taken and the wait
    /// for their durability failed.
    pub index: usize,
    /// The error.
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
