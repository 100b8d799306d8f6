//! Why a record is not taken.

use core::fmt;

/// Why a record was not appended. It was not changed and can be offered again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum AppendError {
    /// The machine takes no records: its mount is not over or failed, or it is closing or closed.
    NotMounted,
    /// A write, a sync or compaction must come first: poll the machine, and offer the record again.
    Busy,
    /// No segment can be freed: cleaning any of them yields nothing.
    Full,
    /// The record is longer than [`TierConfig::record_bytes_max`](crate::config::TierConfig::record_bytes_max).
    TooLong(u32),
    /// A batch takes at most so many records: of as many a slot's memory keeps notes. Where segments get footers it is none.
    TooMany(u32),
    /// No batch is open that takes members: it failed, was given up, or has its last one.
    NoBatch,
    /// All sequences were issued: the medium is worn out.
    Exhausted,
    /// The machine found its own state broken, and takes no records any more. Its [`Status`](crate::machine::Status) names the
    /// invariant.
    Broken,
}

impl fmt::Display for AppendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotMounted => f.write_str("the log is not mounted"),
            Self::Busy => f.write_str("the log is busy: offer the record again"),
            Self::Full => f.write_str("the log is full of live records"),
            Self::TooLong(max) => write!(f, "a record takes at most {max} bytes"),
            Self::TooMany(max) => write!(f, "a batch takes at most {max} records"),
            Self::NoBatch => f.write_str("no batch is open"),
            Self::Exhausted => f.write_str("all segment sequences were issued"),
            Self::Broken => f.write_str("an invariant of the log is broken: it takes no more records"),
        }
    }
}

impl core::error::Error for AppendError {}
