//! The errors of the pools of a service.

use core::fmt;

use coldpress_core::cleanup::CleanupError;

/// Tells why a cleanup was not done or not answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PoolError {
    /// The channel to the pool worker is full; nothing was accepted.
    QueueFull,
    /// The worker did not answer before the deadline.
    TimedOut,
    /// The worker stopped with the request in hand, or had stopped before it.
    Disconnected,
    /// The request was cancelled.
    Cancelled,
    /// The worker tried and failed; what it had done stays done.
    Failed,
    /// The pools were closed.
    Closed,
}

impl fmt::Display for PoolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::QueueFull => "the request queue of the pool worker is full",
            Self::TimedOut => "the pool worker did not answer before the deadline",
            Self::Disconnected => "the pool worker is gone",
            Self::Cancelled => "the request was cancelled",
            Self::Failed => "the pool worker failed during the cleanup",
            Self::Closed => "the pools are closed",
        })
    }
}

impl core::error::Error for PoolError {}

impl From<CleanupError> for PoolError {
    fn from(error: CleanupError) -> Self {
        match error {
            CleanupError::TimedOut => Self::TimedOut,
            CleanupError::Cancelled => Self::Cancelled,
            CleanupError::Disconnected => Self::Disconnected,
            // A reason added later is a failure until it has a name here.
            _ => Self::Failed,
        }
    }
}

/// Tells why a value was not taken into the hot pools.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum HotError {
    /// It is larger than the largest slot.
    TooLarge {
        /// The length of the largest value that fits.
        max_bytes: u32,
    },
    /// There is no space, and nothing of its size to evict. The worker was asked to free some.
    Full,
    /// The pools were closed.
    Closed,
}

impl fmt::Display for HotError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLarge { max_bytes } => write!(f, "the value is larger than {max_bytes} bytes"),
            Self::Full => f.write_str("the hot pools have no room for a value of this size"),
            Self::Closed => f.write_str("the pools are closed"),
        }
    }
}

impl core::error::Error for HotError {}
