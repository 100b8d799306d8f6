//! Why a write that depends on the value of its key was not done.

use core::fmt;

use super::{GetError, PutError, RemoveError, TierError};

/// Why a write that depends on the value of its key was not done. The key is as it was, unless the error says otherwise.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum UpdateError {
    /// The tier could not do it. After [`TierError::TimedOut`] and [`TierError::Medium`] the key has its old value or the new one, as a
    /// read tells.
    Tier(TierError),
    /// The value that is there could not be read.
    Get(GetError),
    /// The new value was not put.
    Put(PutError),
    /// The key was not removed.
    Remove(RemoveError),
    /// Others changed the key each time, until the deadline (`op_timeout`). Nothing was written.
    Contended,
}

impl From<TierError> for UpdateError {
    fn from(error: TierError) -> Self {
        Self::Tier(error)
    }
}

impl From<GetError> for UpdateError {
    fn from(error: GetError) -> Self {
        match error {
            GetError::Tier(error) => Self::Tier(error),
            error => Self::Get(error),
        }
    }
}

impl From<PutError> for UpdateError {
    fn from(error: PutError) -> Self {
        match error {
            PutError::Tier(error) => Self::Tier(error),
            error => Self::Put(error),
        }
    }
}

impl From<RemoveError> for UpdateError {
    fn from(error: RemoveError) -> Self {
        match error {
            RemoveError::Tier(error) => Self::Tier(error),
            error => Self::Remove(error),
        }
    }
}

impl fmt::Display for UpdateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tier(error) => write!(f, "{error}"),
            Self::Get(error) => write!(f, "{error}"),
            Self::Put(error) => write!(f, "{error}"),
            Self::Remove(error) => write!(f, "{error}"),
            Self::Contended => f.write_str(
                "others changed the key each time, until the deadline (`op_timeout`); nothing was written",
            ),
        }
    }
}

impl core::error::Error for UpdateError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Tier(error) => Some(error),
            Self::Get(error) => Some(error),
            Self::Put(error) => Some(error),
            Self::Remove(error) => Some(error),
            Self::Contended => None,
        }
    }
}
