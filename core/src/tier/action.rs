//! What goes in and out of the machine: actions, completions, errors.

use core::fmt;

use crate::cleanup::{CleanupReply, CleanupRequest, Ticket};
use crate::compaction::CompactionTask;

/// The time, passed in by the adapter: the core reads no clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Now {
    /// A clock that never goes back, in milliseconds.
    pub monotonic_ms: u64,
    /// The wall clock, in whole seconds; 0 where there is none. It may jump, be behind, or stand still.
    pub wall_s: u32,
}

/// What the adapter is asked to do. Each is answered by one [`Input::Done`] with its ticket, except `Cleanup`, which is
/// answered by [`Input::Cleanup`] or by nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Action {
    /// Read into [`Tier::read_buffer`](super::Tier::read_buffer).
    Read {
        /// Comes back with the completion.
        ticket: Ticket,
        /// Segment to read.
        segment: u32,
        /// Offset in it.
        offset: u32,
        /// Bytes to read.
        bytes: u32,
    },
    /// Write what [`Tier::write_bytes`](super::Tier::write_bytes) lends.
    Write {
        /// Comes back with the completion.
        ticket: Ticket,
        /// Segment to write.
        segment: u32,
        /// Offset in it.
        offset: u32,
        /// Bytes to write.
        bytes: u32,
    },
    /// Make everything durable whose write or erase was completed before this action was returned.
    Sync {
        /// Comes back with the completion.
        ticket: Ticket,
    },
    /// Erase a segment: afterwards it reads blank.
    Erase {
        /// Comes back with the completion.
        ticket: Ticket,
        /// Segment to erase.
        segment: u32,
    },
    /// Allocate the blocks of a segment that is blank, so that no write to it lacks space; it stays blank. Only where
    /// [`TierConfig::allocates`](super::TierConfig::allocates).
    Allocate {
        /// Comes back with the completion.
        ticket: Ticket,
        /// Segment whose blocks are allocated.
        segment: u32,
    },
    /// Ask the owner of the pools.
    Cleanup(CleanupRequest),
}

impl Action {
    /// The ticket that its completion must bear.
    #[must_use]
    pub const fn ticket(&self) -> Ticket {
        match self {
            Self::Read { ticket, .. }
            | Self::Write { ticket, .. }
            | Self::Sync { ticket }
            | Self::Allocate { ticket, .. }
            | Self::Erase { ticket, .. } => *ticket,
            Self::Cleanup(request) => request.ticket,
        }
    }
}

/// What [`Tier::poll`](super::Tier::poll) found to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Poll {
    /// Carry this out and report its completion.
    Do(Action),
    /// A step was made inside; poll again, after anything more urgent.
    Again,
    /// Nothing to do before the next input, or before [`Tier::poll_timeout`](super::Tier::poll_timeout).
    Idle,
}

/// Why a medium refused an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum MediumError {
    /// There is no space behind the medium (a full disk).
    NoSpace,
    /// The bytes can't be read back: an uncorrectable error of that unit.
    Unreadable,
    /// Any other failure.
    Io,
}

impl fmt::Display for MediumError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoSpace => "No space left on device",
            Self::Unreadable => "the medium can't read these bytes back",
            Self::Io => "the medium failed",
        })
    }
}

impl core::error::Error for MediumError {}

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Input {
    /// An action was carried out, or failed.
    Done {
        /// The ticket of the action.
        ticket: Ticket,
        /// Its result.
        result: Result<(), MediumError>,
    },
    /// The pools answered.
    Cleanup(CleanupReply),
    /// A request to the pools could not even be sent, or their owner is gone.
    CleanupUnavailable(Ticket),
}

/// A completion whose ticket is not outstanding: it is dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct StaleTicket(
    /// The ticket.
    pub Ticket,
);

impl fmt::Display for StaleTicket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no operation {} of generation {} is outstanding", self.0.index, self.0.generation)
    }
}

impl core::error::Error for StaleTicket {}

/// Why a record was not appended. It was not changed and can be offered again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum AppendError {
    /// The machine takes no records: its mount is not over or failed, or it is closing or closed.
    NotMounted,
    /// Not now: poll, and offer it again. A write, a sync or compaction must come first.
    Busy,
    /// No segment can be freed: everything that is there is live.
    Full,
    /// The record is longer than [`TierConfig::record_bytes_max`](super::TierConfig::record_bytes_max).
    TooLong(u32),
    /// All sequences were issued: the medium is worn out.
    Exhausted,
}

impl fmt::Display for AppendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotMounted => f.write_str("the log is not mounted"),
            Self::Busy => f.write_str("the log is busy: offer the record again"),
            Self::Full => f.write_str("the log is full of live records"),
            Self::TooLong(max) => write!(f, "a record takes at most {max} bytes"),
            Self::Exhausted => f.write_str("all segment sequences were issued"),
        }
    }
}

impl core::error::Error for AppendError {}

/// Why a mount ended. Nothing was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum MountError {
    /// The medium is neither blank nor ours: nothing on it is a segment.
    Foreign,
    /// It was written in another format or geometry.
    Header(crate::log::HeaderError),
    /// The medium may hold longer records than this machine is configured for, which it could not relocate.
    LongerRecords {
        /// The longest record that the headers on the medium allow, in bytes, header and padding included.
        stored: u32,
        /// The configured [`record_bytes_max`](super::TierConfig::record_bytes_max).
        configured: u32,
    },
    /// It has more segments than are configured: the header that was written last says so. Nothing shrinks a medium.
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
    /// The medium failed, at each of [`READ_TRIES`](super::READ_TRIES) tries where it was a read.
    Medium(MediumError),
    /// Headers could not be read, at each of [`READ_TRIES`](super::READ_TRIES) tries: those of more than half of the segments, or,
    /// where keys are hashed, every one that could tell which store it is. Nothing is known to be damaged: mount again when the
    /// medium can be read.
    Unread {
        /// Segments of which no copy of the header was found, and the place of at least one could not be read.
        unread: u32,
        /// All segments.
        segments: u32,
    },
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
        }
    }
}

impl core::error::Error for MountError {}

/// A queue of tasks was full; the task comes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct TasksFull(
    /// The task.
    pub CompactionTask,
);

impl fmt::Display for TasksFull {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} tasks wait already", crate::compaction::TASK_QUEUE_CAPACITY)
    }
}

impl core::error::Error for TasksFull {}
