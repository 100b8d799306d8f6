//! Why a tier was not closed in order.

use core::fmt;

use coldpress_core::invariant::Invariant;

use super::TierError;
use crate::storage::MediumFailure;

/// Why a close was not orderly. The tier is closed all the same.
#[derive(Debug, Clone, PartialEq, Eq)]
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
        error: Option<MediumFailure>,
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
            Self::Unwritten { writes: 1, error: Some(error) } => {
                write!(f, "1 write is not known to be durable: {error}")
            }
            Self::Unwritten { writes: 1, error: None } => {
                f.write_str("1 write is not known to be durable: close_timeout left no time for it")
            }
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
    use crate::storage::MediumError;

    #[test]
    fn close_that_ran_out_of_time_counts_unwritten_writes() {
        let said = |writes, error| CloseError::Unwritten { writes, error }.to_string();
        assert_eq!(
            said(0, None),
            "no write is lost, and close_timeout left no time to close the log in order"
        );
        assert_eq!(
            said(3, None),
            "3 writes are not known to be durable: close_timeout left no time for them"
        );
        assert!(
            said(3, Some(MediumError::NoSpace.into())).starts_with("3 writes are not known to be durable: ")
        );
    }
}
