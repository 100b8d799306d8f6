//! Why a mount fails.

use core::fmt;

use crate::drive::MediumError;
use crate::invariant::Invariant;

/// Why a mount ended. Nothing was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum MountError {
    /// The medium is neither blank nor a store of this program: no segment was found on it.
    Foreign,
    /// It was written in another format or geometry.
    Header(crate::format::HeaderError),
    /// The medium may hold longer records than this machine is configured for, which it could not relocate.
    LongerRecords {
        /// The longest record that the headers on the medium allow, in bytes, header and padding included.
        stored: u32,
        /// The configured [`record_bytes_max`](crate::config::TierConfig::record_bytes_max).
        configured: u32,
    },
    /// By the header that was written last, it has more segments than are configured. A machine does not shrink a medium.
    FewerSegments {
        /// The segments that it has.
        stored: u32,
        /// The segments that are configured.
        configured: u32,
    },
    /// It can't be grown to so many segments, since its records would be stored in another way.
    MoreSegments {
        /// The segments that it has.
        stored: u32,
        /// The segments that are configured.
        configured: u32,
        /// The most that it can be grown to.
        most: u32,
    },
    /// It belongs to another store, or is another partition than the one expected.
    OtherStore,
    /// The medium failed, at each of [`READ_TRIES`](crate::writer::READ_TRIES) tries where it was a read.
    Medium(MediumError),
    /// Headers could not be read, at each of [`READ_TRIES`](crate::writer::READ_TRIES) tries. These are the headers of more
    /// than half of the segments, or, where keys are hashed, all that could tell which store it is. Nothing is known to be
    /// damaged: mount again when the medium can be read.
    Unread {
        /// Segments of which no copy of the header was found, and the place of at least one copy could not be read.
        unread: u32,
        /// All segments.
        segments: u32,
    },
    /// The machine found its own state broken.
    Broken(Invariant),
}

impl fmt::Display for MountError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Foreign => f.write_str("not a coldpress medium; nothing was changed"),
            Self::Header(error) => write!(f, "{error}; nothing was changed"),
            Self::LongerRecords { stored, configured } => write!(
                f,
                "the medium may hold records of {stored} bytes, and {configured} are configured; nothing was changed"
            ),
            Self::FewerSegments { stored, configured } => write!(
                f,
                "the medium has {stored} segments, and {configured} are configured; nothing was changed"
            ),
            Self::MoreSegments { stored, configured, most } => write!(
                f,
                "the medium has {stored} segments and can be grown to {most}, and {configured} are configured; nothing was changed"
            ),
            Self::OtherStore => f.write_str("the medium belongs to another store; nothing was changed"),
            Self::Medium(error) => write!(f, "mount: {error}"),
            Self::Unread { unread, segments } => {
                write!(f, "{unread} of {segments} segments can't be read now; nothing was changed")
            }
            Self::Broken(invariant) => invariant.fmt(f),
        }
    }
}

impl core::error::Error for MountError {}
