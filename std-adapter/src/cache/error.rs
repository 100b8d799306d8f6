//! The errors of a cache.

use core::fmt;

use super::registry::RegisterError;
use crate::api::InitError;
use crate::budget::BudgetError;
use crate::errors::{CloseError, GetError, OpenError, PutError, RemoveError, TierError, UpdateError};
use crate::pool::PoolConfigError;

/// Why an operation of a cache was not done. The key is as it was, unless the error within says otherwise: after a deadline that passed
/// in the cold tier a write may still take effect.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum CacheError {
    /// The cache was closed; this handle will never work again.
    Closed,
    /// Other operations on the key, or on one of its stripe, held it until the deadline (`op_timeout`). Nothing was done.
    TimedOut,
    /// The key or value could not be encoded. Nothing was done.
    Encode,
    /// The value could not be read from the cold tier.
    Get(GetError),
    /// The value was not put.
    Put(PutError),
    /// The key was not removed.
    Remove(RemoveError),
    /// The lifetime was not changed.
    Touch(UpdateError),
    /// The value was refused, since too many dirty bytes wait for the cold tier. To write them failed, or took until the deadline; or the
    /// value alone is beyond the limit. Nothing was lost.
    Backlog {
        /// Dirty bytes.
        bytes: u64,
        /// The limit on them.
        max: u64,
        /// Why they could not be written, where that was tried.
        error: Option<PutError>,
    },
    /// A dirty value is in no tier, against I-CACHE-2 of DESIGN.md: a fault of this library. Close the cache and open it again; the key
    /// then has its older logged value, or none.
    Lost,
}

impl From<TierError> for CacheError {
    fn from(error: TierError) -> Self {
        Self::Get(GetError::Tier(error))
    }
}

impl From<GetError> for CacheError {
    fn from(error: GetError) -> Self {
        Self::Get(error)
    }
}

impl From<PutError> for CacheError {
    fn from(error: PutError) -> Self {
        Self::Put(error)
    }
}

impl From<RemoveError> for CacheError {
    fn from(error: RemoveError) -> Self {
        Self::Remove(error)
    }
}

impl From<UpdateError> for CacheError {
    fn from(error: UpdateError) -> Self {
        Self::Touch(error)
    }
}

impl fmt::Display for CacheError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed => f.write_str("the cache is closed"),
            Self::TimedOut => f.write_str(
                "other operations held the key until the deadline (`op_timeout`); nothing was done",
            ),
            Self::Encode => f.write_str("the key or value could not be encoded"),
            Self::Get(error) => write!(f, "{error}"),
            Self::Put(error) => write!(f, "{error}"),
            Self::Remove(error) => write!(f, "{error}"),
            Self::Touch(error) => write!(f, "{error}"),
            Self::Backlog { bytes, max, error: None } => {
                write!(f, "{bytes} of {max} dirty bytes wait for the cold tier (`dirty_bytes_max`)")
            }
            Self::Backlog { bytes, max, error: Some(error) } => {
                write!(f, "{bytes} of {max} dirty bytes wait for the cold tier (`dirty_bytes_max`): {error}")
            }
            Self::Lost => f.write_str("a value is in no tier: close the cache and open it again"),
        }
    }
}

impl core::error::Error for CacheError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Get(error) => Some(error),
            Self::Put(error) | Self::Backlog { error: Some(error), .. } => Some(error),
            Self::Remove(error) => Some(error),
            Self::Touch(error) => Some(error),
            Self::Closed | Self::TimedOut | Self::Encode | Self::Backlog { .. } | Self::Lost => None,
        }
    }
}

/// Why no value was computed; `E` is the error of the closure.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ComputeError<E> {
    /// The cache could not look the key up, or not put the value.
    Cache(CacheError),
    /// The closure failed: the caller's own, or that of the caller for which this one waited.
    Failed(E),
    /// The closure of the caller for which this one waited panicked. Call again.
    Panicked,
    /// Another caller computes the value for longer than the configured `compute_timeout`.
    TimedOut,
    /// The closure that computes the key asked for the same key, on the same thread: it would wait for itself.
    Recursive,
}

impl<E> From<CacheError> for ComputeError<E> {
    fn from(error: CacheError) -> Self {
        Self::Cache(error)
    }
}

impl<E: fmt::Display> fmt::Display for ComputeError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cache(error) => write!(f, "{error}"),
            Self::Failed(error) => write!(f, "the value could not be computed: {error}"),
            Self::Panicked => f.write_str("the caller that computed the value panicked"),
            Self::TimedOut => {
                f.write_str("another caller still computes the value (`compute_timeout`); call again")
            }
            Self::Recursive => f.write_str("the closure that computes the key asks for the same key"),
        }
    }
}

impl<E: core::error::Error + 'static> core::error::Error for ComputeError<E> {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Cache(error) => Some(error),
            Self::Failed(error) => Some(error),
            Self::Panicked | Self::TimedOut | Self::Recursive => None,
        }
    }
}

/// Why a cache was not opened.
#[derive(Debug)]
#[non_exhaustive]
pub enum CacheOpenError {
    /// The cold tier has no base directory: set [`base_dir`](crate::ColdTierConfigBuilder::base_dir).
    NoBaseDir,
    /// The budget of background work is out of its range.
    Budget(BudgetError),
    /// The pools could not be opened.
    Pools(PoolConfigError),
    /// The cold tier could not be opened.
    Cold(InitError),
    /// The cold tier could not be opened on these media.
    Media(OpenError),
    /// The cold tier was closed by others while the cache was opened.
    Tier(TierError),
    /// A tier in memory could not be registered.
    Memory(RegisterError),
    /// A thread could not be started.
    Thread(std::io::Error),
}

impl From<std::io::Error> for CacheOpenError {
    fn from(error: std::io::Error) -> Self {
        Self::Thread(error)
    }
}

impl From<RegisterError> for CacheOpenError {
    fn from(error: RegisterError) -> Self {
        Self::Memory(error)
    }
}

impl fmt::Display for CacheOpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoBaseDir => f.write_str("the cold tier has no base directory: set `base_dir`"),
            Self::Budget(error) => write!(f, "{error}"),
            Self::Pools(error) => write!(f, "{error}"),
            Self::Cold(error) => write!(f, "{error}"),
            Self::Media(error) => write!(f, "{error}"),
            Self::Tier(error) => write!(f, "{error}"),
            Self::Memory(error) => write!(f, "{error}"),
            Self::Thread(error) => write!(f, "a thread could not be started: {error}"),
        }
    }
}

impl core::error::Error for CacheOpenError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::NoBaseDir => None,
            Self::Budget(error) => Some(error),
            Self::Pools(error) => Some(error),
            Self::Cold(error) => Some(error),
            Self::Media(error) => Some(error),
            Self::Tier(error) => Some(error),
            Self::Memory(error) => Some(error),
            Self::Thread(error) => Some(error),
        }
    }
}

/// Why a close of a cache was not orderly. The cache is closed all the same.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum CacheCloseError {
    /// Dirty values could not be written to the cold tier, and are lost; or all were written, and the sync behind that failed.
    Dirty {
        /// How many could not be written; 0 where the sync failed.
        values: u64,
        /// The last failure, where one is known.
        error: Option<CacheError>,
    },
    /// The cold tier was not closed in order.
    Cold(CloseError),
    /// Operations of clients did not end before the deadline, so dirty values were not written; or the cold tier did not close in time.
    TimedOut,
    /// A thread of the cache panicked.
    Panicked,
}

impl fmt::Display for CacheCloseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dirty { values: 0, error: Some(error) } => {
                write!(f, "the last values could not be synced: {error}")
            }
            Self::Dirty { values, error: None } => {
                write!(f, "{values} dirty values could not be written to the cold tier")
            }
            Self::Dirty { values, error: Some(error) } => {
                write!(f, "{values} dirty values could not be written to the cold tier: {error}")
            }
            Self::Cold(error) => write!(f, "{error}"),
            Self::TimedOut => f.write_str("operations did not end before the deadline (`close_timeout`)"),
            Self::Panicked => f.write_str("a thread of the cache panicked"),
        }
    }
}

impl core::error::Error for CacheCloseError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Dirty { error: Some(error), .. } => Some(error),
            Self::Cold(error) => Some(error),
            Self::Dirty { .. } | Self::TimedOut | Self::Panicked => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn close_without_its_last_sync_does_not_speak_of_no_values() {
        let error = CacheError::from(TierError::TimedOut);
        let synced = CacheCloseError::Dirty { values: 0, error: Some(error.clone()) }.to_string();
        assert!(synced.contains("could not be synced") && !synced.contains("0 dirty"), "{synced}");
        let written = CacheCloseError::Dirty { values: 3, error: Some(error) }.to_string();
        assert!(written.starts_with("3 dirty values could not be written"), "{written}");
    }
}
