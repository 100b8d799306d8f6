//! Why a configuration, or the memory lent with it, is refused.

use core::fmt;

/// Why a machine can't be built.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum ConfigError {
    /// The table lent must have this many entries.
    SegmentMemory(u32),
    /// At least so many slots must be lent, and at most [`SLOTS_MAX`](super::SLOTS_MAX).
    Slots(u32),
    /// The longest record must be longer than a header and at most this.
    RecordBytes(u32),
    /// Every buffer must have at least this length, and every slot space for one record.
    Buffer(u32),
    /// At least so many segments are needed.
    Segments(u32),
    /// Memory for footers was lent to a machine that writes none.
    Footers,
    /// A machine that tidies at rest needs memory for tasks.
    TaskMemory,
    /// One free segment is enough only for one stream without footers.
    Reserve,
    /// The high watermark is below the low one.
    Watermarks,
    /// `step_bytes`, `step_records` and `time_every_s` are at least 1, `stale_permille_min` at most 1,000.
    Steps,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SegmentMemory(n) => write!(f, "the segment table needs exactly {n} entries"),
            Self::Slots(n) => write!(f, "at least {n} slots are needed, and at most {}", super::SLOTS_MAX),
            Self::RecordBytes(max) => write!(f, "the longest record is limited to {max} bytes"),
            Self::Buffer(n) => write!(f, "every buffer needs at least {n} bytes"),
            Self::Segments(n) => write!(f, "at least {n} segments are needed"),
            Self::Footers => f.write_str("memory for footers, and no footers to write"),
            Self::TaskMemory => f.write_str("tidying at rest needs memory for tasks"),
            Self::Reserve => f.write_str("one free segment is enough only for one stream without footers"),
            Self::Watermarks => f.write_str("the high watermark is below the low one"),
            Self::Steps => f.write_str("steps and times of zero, or a share above 1,000 permille"),
        }
    }
}

impl core::error::Error for ConfigError {}
