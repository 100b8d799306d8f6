//! One way to drive a machine, for adapters whose medium is done when its calls return.

use super::tier::Tier;
use crate::cleanup::CleanupRequest;
use crate::drive::{Action, Input, MediumError, Now, Poll};
use crate::format::SegmentIndex;
use crate::index::Host;

/// A medium each of whose calls is over when it returns. Offsets and lengths are in bytes, from the start of the medium.
pub trait BlockingMedium {
    /// Fills `bytes` from `at` on.
    ///
    /// # Errors
    /// [`MediumError::Unreadable`] where the bytes can't be read back; any other error may pass.
    fn read(&mut self, at: u64, bytes: &mut [u8]) -> Result<(), MediumError>;

    /// Writes whole units that were erased and not written since.
    ///
    /// # Errors
    /// A [`MediumError`]; any part of the bytes may be on the medium then.
    fn write(&mut self, at: u64, bytes: &[u8]) -> Result<(), MediumError>;

    /// Makes `bytes` bytes from `at` on read as the erase value of the geometry.
    ///
    /// # Errors
    /// A [`MediumError`]; any part may be erased then.
    fn erase(&mut self, at: u64, bytes: u64) -> Result<(), MediumError>;

    /// Makes durable what was written and erased before the call.
    ///
    /// # Errors
    /// A [`MediumError`]; then nothing is known of what is durable.
    fn sync(&mut self) -> Result<(), MediumError>;

    /// Allocates blocks, where the configuration [allocates](crate::config::TierConfig::allocates).
    ///
    /// # Errors
    /// [`MediumError::NoSpace`] on a full disk.
    fn allocate(&mut self, at: u64, bytes: u64) -> Result<(), MediumError> {
        let _ = (at, bytes);
        Ok(())
    }
}

/// Why [`drive`] came back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Driven {
    /// The machine has nothing to do before the next input, or before [`Tier::poll_timeout`] is over.
    Idle,
    /// So many polls were made as were allowed; there is more to do.
    Spent,
    /// A task asks the pools. Give the machine [`Input::Cleanup`], or [`Input::CleanupUnavailable`] where nobody can answer; it goes
    /// on meanwhile.
    Cleanup(CleanupRequest),
}

/// Polls a machine, carries out what it asks of the medium, and hands it the completions.
///
/// # Bounds
/// At most `polls` polls, each with at most one operation of the medium.
pub fn drive<H: Host, M: BlockingMedium>(
    tier: &mut Tier<'_>,
    now: Now,
    host: &mut H,
    medium: &mut M,
    polls: u32,
) -> Driven {
    for _ in 0..polls {
        let action = match tier.poll(now, host) {
            Poll::Do(Action::Cleanup { request, .. }) => return Driven::Cleanup(request),
            Poll::Do(action) => action,
            Poll::Again => continue,
            Poll::Idle => return Driven::Idle,
        };
        let result = carry_out(tier, medium, action);
        let done = tier.handle(now, Input::Done { ticket: action.ticket(), result }, host);
        debug_assert!(done.is_ok(), "an action that was just asked for is outstanding");
    }
    Driven::Spent
}

fn carry_out<M: BlockingMedium>(
    tier: &mut Tier<'_>,
    medium: &mut M,
    action: Action,
) -> Result<(), MediumError> {
    let segment_bytes = u64::from(tier.log.layout.geometry().segment_bytes());
    let at =
        |segment: SegmentIndex, offset: u32| u64::from(segment.get()) * segment_bytes + u64::from(offset);
    match action {
        Action::Read { ticket, segment, offset, .. } => {
            medium.read(at(segment, offset), tier.read_buffer(ticket))
        }
        Action::Write { ticket, segment, offset, .. } => {
            medium.write(at(segment, offset), tier.write_bytes(ticket))
        }
        Action::Erase { segment, .. } => medium.erase(at(segment, 0), segment_bytes),
        Action::Allocate { segment, .. } => medium.allocate(at(segment, 0), segment_bytes),
        Action::Sync { .. } => medium.sync(),
        // `drive` hands it to its caller.
        Action::Cleanup { .. } => Err(MediumError::Io),
    }
}
