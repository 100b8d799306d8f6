//! Carrying out what a machine asks of its medium, and one way to drive it.

use super::tier::Tier;
use crate::cleanup::{CleanupRequest, Ticket};
use crate::drive::{Action, Input, Medium, MediumError, Now, Poll, Started};
use crate::format::SegmentIndex;
use crate::index::Host;

/// Why a [`Driver`] came back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Driven {
    /// The machine has nothing to do before the next input, or before [`Tier::poll_timeout`] is over.
    Idle,
    /// The medium has started an operation that has not ended. Drive again when it has: nothing else goes on meanwhile.
    UnderWay,
    /// As many polls were made as the call allowed; there is more to do.
    Spent,
    /// A task asks the pools. Give the machine [`Input::Cleanup`], or [`Input::CleanupUnavailable`] where there are no pools;
    /// it goes on meanwhile.
    Cleanup(CleanupRequest),
}

/// Polls a machine, carries out what it asks of the medium, and hands it the completions.
///
/// It keeps the ticket of the operation under way, so that its completion is handed in once, and no other operation is
/// submitted before. Use one driver for a machine and its medium as long as they live.
#[derive(Debug, Clone, Default)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Driver {
    under_way: Option<Ticket>,
}

impl Driver {
    /// Makes a driver for a medium that has nothing under way.
    #[must_use]
    pub const fn new() -> Self {
        Self { under_way: None }
    }

    /// Tells whether the medium has started an operation whose end was not seen yet.
    #[must_use]
    pub const fn is_under_way(&self) -> bool {
        self.under_way.is_some()
    }

    /// Takes the end of the operation under way, then polls and carries out actions, at most `polls` times. It waits for
    /// nothing.
    ///
    /// # Bounds
    /// At most `polls` polls or completions, each with at most one operation of the medium.
    pub fn drive<H: Host, M: Medium + ?Sized>(
        &mut self,
        tier: &mut Tier<'_>,
        now: Now,
        host: &mut H,
        medium: &mut M,
        polls: u32,
    ) -> Driven {
        for _ in 0..polls {
            if let Some(ticket) = self.under_way {
                let Some(result) = medium.is_done() else { return Driven::UnderWay };
                self.under_way = None;
                // The ticket is stale where the machine was restarted meanwhile.
                let _ = tier.handle(now, Input::Done { ticket, result: result.map_err(Into::into) }, host);
                continue;
            }
            let action = match tier.poll(now, host) {
                Poll::Do(Action::Cleanup { request, .. }) => return Driven::Cleanup(request),
                Poll::Do(action) => action,
                Poll::Again => continue,
                Poll::Idle => return Driven::Idle,
            };
            let ticket = action.ticket();
            let result = match carry_out(tier, medium, &action) {
                Some(Ok(Started::UnderWay)) => {
                    self.under_way = Some(ticket);
                    return Driven::UnderWay;
                }
                Some(Ok(Started::Done)) => Ok(()),
                Some(Err(error)) => Err(error.into()),
                None => Err(MediumError::Io),
            };
            let done = tier.handle(now, Input::Done { ticket, result }, host);
            debug_assert!(done.is_ok(), "an action that was just asked for is outstanding");
        }
        Driven::Spent
    }
}

/// Submits the operation of an action to a medium. Returns `None` for a request to the pools, which has none.
///
/// The caller completes the action: at once where it is done or failed, else when [`Medium::is_done`] says so.
///
/// # Bounds
/// One operation of the medium.
#[must_use = "each action needs its completion"]
pub fn carry_out<M: Medium + ?Sized>(
    tier: &mut Tier<'_>,
    medium: &mut M,
    action: &Action,
) -> Option<Result<Started, M::Error>> {
    let segment_bytes = u64::from(tier.log.layout.geometry().segment_bytes());
    let at =
        |segment: SegmentIndex, offset: u32| u64::from(segment.get()) * segment_bytes + u64::from(offset);
    Some(match *action {
        Action::Read { ticket, segment, offset, .. } => {
            medium.read(at(segment, offset), tier.read_buffer(ticket)).map(|()| Started::Done)
        }
        Action::Write { ticket, segment, offset, .. } => {
            medium.write(at(segment, offset), tier.write_bytes(ticket))
        }
        Action::Erase { segment, .. } => medium.erase(at(segment, 0), segment_bytes),
        Action::Allocate { segment, .. } => medium.allocate(at(segment, 0), segment_bytes),
        Action::Sync { .. } => medium.sync(),
        Action::Cleanup { .. } => return None,
    })
}
