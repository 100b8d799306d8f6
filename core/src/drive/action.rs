//! Inputs and outputs of the machine: actions, completions, errors.

use crate::format::SegmentIndex;
use core::fmt;

use super::task_id::TaskId;
use crate::cleanup::{CleanupReply, CleanupRequest, Ticket};

/// The time, passed in by the adapter: the core reads no clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Now {
    /// A clock that never goes back, in milliseconds.
    pub monotonic_ms: u64,
    /// The wall clock, in whole seconds; 0 where there is none. It may jump, be behind, or stand still.
    pub wall_s: u32,
}

/// An operation that the adapter carries out. Each is answered by one [`Input::Done`] with its ticket. Only `Cleanup` is
/// answered by [`Input::Cleanup`], by [`Input::CleanupUnavailable`], or not at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Action {
    /// Read into [`Tier::read_buffer`](crate::machine::Tier::read_buffer).
    Read {
        /// Comes back with the completion.
        ticket: Ticket,
        /// Segment to read.
        segment: SegmentIndex,
        /// Offset in it.
        offset: u32,
        /// Bytes to read.
        bytes: u32,
    },
    /// Write the bytes that [`Tier::write_bytes`](crate::machine::Tier::write_bytes) lends.
    Write {
        /// Comes back with the completion.
        ticket: Ticket,
        /// Segment to write.
        segment: SegmentIndex,
        /// Offset in it.
        offset: u32,
        /// Bytes to write.
        bytes: u32,
    },
    /// Make every write and erase durable that was completed before this action was returned.
    Sync {
        /// Comes back with the completion.
        ticket: Ticket,
    },
    /// Erase a segment: afterwards it reads blank.
    Erase {
        /// Comes back with the completion.
        ticket: Ticket,
        /// Segment to erase.
        segment: SegmentIndex,
    },
    /// Allocate the blocks of a segment that is blank, so that no write to it lacks space; it stays blank. Only where
    /// [`TierConfig::allocates`](crate::config::TierConfig::allocates).
    Allocate {
        /// Comes back with the completion.
        ticket: Ticket,
        /// Segment whose blocks are allocated.
        segment: SegmentIndex,
    },
    /// Ask the owner of the pools. Only a task asks.
    Cleanup {
        /// The task, by which an adapter finds the pools to ask.
        task: TaskId,
        /// Its request.
        request: CleanupRequest,
    },
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
            Self::Cleanup { request, .. } => request.ticket,
        }
    }
}

/// The result of [`Tier::poll`](crate::machine::Tier::poll).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Poll {
    /// Carry this out and report its completion.
    Do(Action),
    /// The machine took a step inside; poll again, after anything more urgent.
    Again,
    /// Nothing to do before the next input, or before [`Tier::poll_timeout`](crate::machine::Tier::poll_timeout).
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
    /// The adapter gave the operation up. A write or an erase may have been done, in part or not at all. The medium itself did not fail, so the
    /// machine goes on without a wait.
    Interrupted,
    /// Any other failure.
    Io,
}

impl fmt::Display for MediumError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoSpace => "No space left on device",
            Self::Unreadable => "the medium can't read these bytes back",
            Self::Interrupted => "the operation was given up",
            Self::Io => "the medium failed",
        })
    }
}

impl core::error::Error for MediumError {}

/// An event that the adapter hands in.
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
