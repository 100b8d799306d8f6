//! The requester's side: which requests are out, and until when.

use core::fmt;

use super::{CleanupError, CleanupKind, CleanupReply, CleanupRequest, Full, Reclaimed, Ticket};

/// Says that a ticket is not outstanding: it was answered, timed out, cancelled or never issued here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Stale(
    /// The ticket that was shown.
    pub Ticket,
);

impl fmt::Display for Stale {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ticket {}/{} is not outstanding", self.0.index, self.0.generation)
    }
}

impl core::error::Error for Stale {}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
enum State {
    Free,
    Waiting {
        kind: CleanupKind,
        deadline_ms: u64,
    },
    /// Kept for a requester that polls; may be used anew once the deadline has passed.
    Answered {
        result: Result<Reclaimed, CleanupError>,
        deadline_ms: u64,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
struct Place {
    generation: u32,
    state: State,
}

/// The requests of one requester that have no outcome yet, at most `N`.
///
/// Each ticket ends exactly once, by whichever comes first: [`accept`](Self::accept) of its reply,
/// [`expire`](Self::expire) or [`cancel`](Self::cancel). A requester without an inbox of its own lets replies be kept
/// ([`keep`](Self::keep), which [`Owed`](super::Owed) calls) and asks with [`poll`](Self::poll).
///
/// A place is used again under the next generation. Generations are 32 bits and wrap: to be mistaken, a reply would
/// have to be late by four billion requests of that one place.
///
/// Time is passed in as milliseconds of any clock that does not run backwards.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Outstanding<const N: usize = 16> {
    places: [Place; N],
    stale_replies: u32,
}

impl<const N: usize> Outstanding<N> {
    const FITS_A_TICKET: () = assert!(N <= u16::MAX as usize, "a ticket's index is 16 bits");

    /// Makes an empty table; usable in a `static`.
    #[must_use]
    pub const fn new() -> Self {
        let () = Self::FITS_A_TICKET;
        Self { places: [Place { generation: 0, state: State::Free }; N], stale_replies: 0 }
    }

    /// Issues a ticket that ends at `now_ms + timeout_ms` at the latest.
    ///
    /// # Errors
    /// `Full(kind)` when all `N` places are waiting, or hold answers nobody polled whose deadline is yet to come.
    ///
    /// # Bounds
    /// Looks at `N` places.
    pub fn issue(
        &mut self,
        kind: CleanupKind,
        now_ms: u64,
        timeout_ms: u64,
    ) -> Result<CleanupRequest, Full<CleanupKind>> {
        let usable = |place: &Place| match place.state {
            State::Free => true,
            State::Waiting { .. } => false,
            State::Answered { deadline_ms, .. } => deadline_ms <= now_ms,
        };
        for (index, place) in (0u16..).zip(self.places.iter_mut()) {
            if usable(place) {
                place.generation = place.generation.wrapping_add(1);
                place.state = State::Waiting { kind, deadline_ms: now_ms.saturating_add(timeout_ms) };
                return Ok(CleanupRequest { ticket: Ticket { index, generation: place.generation }, kind });
            }
        }
        Err(Full(kind))
    }

    /// Takes a reply as the outcome of its ticket.
    ///
    /// # Errors
    /// [`Stale`] when the ticket had its outcome already; the reply is dropped and counted (I-REQ-2).
    pub fn accept(&mut self, reply: CleanupReply) -> Result<CleanupReply, Stale> {
        match self.waiting_mut(reply.ticket) {
            Some((place, ..)) => {
                place.state = State::Free;
                Ok(reply)
            }
            None => Err(self.count_stale(reply.ticket)),
        }
    }

    /// Takes a reply and keeps it until it is polled, or until a new request needs its place after the deadline.
    ///
    /// # Errors
    /// [`Stale`] as for [`accept`](Self::accept).
    pub fn keep(&mut self, reply: CleanupReply) -> Result<(), Stale> {
        match self.waiting_mut(reply.ticket) {
            Some((place, _, deadline_ms)) => {
                place.state = State::Answered { result: reply.result, deadline_ms };
                Ok(())
            }
            None => Err(self.count_stale(reply.ticket)),
        }
    }

    /// Asks for the outcome of a ticket: `None` while it is waiting, then once the reply, or the time-out.
    ///
    /// # Errors
    /// [`Stale`] when the outcome was taken before, or its place was reused after the deadline.
    pub fn poll(&mut self, ticket: Ticket, now_ms: u64) -> Result<Option<CleanupReply>, Stale> {
        let place = self
            .places
            .get_mut(usize::from(ticket.index))
            .filter(|place| place.generation == ticket.generation)
            .ok_or(Stale(ticket))?;
        let result = match place.state {
            State::Free => return Err(Stale(ticket)),
            State::Waiting { deadline_ms, .. } if now_ms < deadline_ms => return Ok(None),
            State::Waiting { .. } => Err(CleanupError::TimedOut),
            State::Answered { result, .. } => result,
        };
        place.state = State::Free;
        Ok(Some(CleanupReply { ticket, result }))
    }

    /// Ends one ticket whose deadline has come; call it until it returns `None`.
    ///
    /// # Bounds
    /// Looks at `N` places.
    pub fn expire(&mut self, now_ms: u64) -> Option<CleanupReply> {
        self.end_first(CleanupError::TimedOut, |deadline_ms| deadline_ms <= now_ms)
    }

    /// Ends any one ticket, because the owner is gone; call it until it returns `None`.
    ///
    /// # Bounds
    /// Looks at `N` places.
    pub fn disconnect(&mut self) -> Option<CleanupReply> {
        self.end_first(CleanupError::Disconnected, |_| true)
    }

    /// Ends a ticket because the requester no longer wants it, or because its request found the queue full.
    ///
    /// # Errors
    /// [`Stale`] when it had its outcome already.
    pub fn cancel(&mut self, ticket: Ticket) -> Result<CleanupReply, Stale> {
        let (place, ..) = self.waiting_mut(ticket).ok_or(Stale(ticket))?;
        place.state = State::Free;
        Ok(CleanupReply { ticket, result: Err(CleanupError::Cancelled) })
    }

    /// Returns the kind of cleanup that a waiting ticket asked for.
    #[must_use]
    pub fn kind(&self, ticket: Ticket) -> Option<CleanupKind> {
        let place = self.places.get(usize::from(ticket.index))?;
        match place.state {
            State::Waiting { kind, .. } if place.generation == ticket.generation => Some(kind),
            _ => None,
        }
    }

    /// Returns the earliest deadline, the time by which [`expire`](Self::expire) has something to do.
    #[must_use]
    pub fn next_deadline_ms(&self) -> Option<u64> {
        let deadline = |place: &Place| match place.state {
            State::Waiting { deadline_ms, .. } => Some(deadline_ms),
            State::Free | State::Answered { .. } => None,
        };
        self.places.iter().filter_map(deadline).min()
    }

    /// Returns the number of tickets without an outcome.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.places.iter().filter(|place| matches!(place.state, State::Waiting { .. })).count()
    }

    /// Returns how many replies came too late and were dropped; it stops at the largest value.
    #[must_use]
    pub fn stale_replies(&self) -> u32 {
        self.stale_replies
    }

    fn waiting_mut(&mut self, ticket: Ticket) -> Option<(&mut Place, CleanupKind, u64)> {
        let place = self.places.get_mut(usize::from(ticket.index))?;
        match place.state {
            State::Waiting { kind, deadline_ms } if place.generation == ticket.generation => {
                Some((place, kind, deadline_ms))
            }
            _ => None,
        }
    }

    fn end_first(&mut self, error: CleanupError, due: impl Fn(u64) -> bool) -> Option<CleanupReply> {
        for (index, place) in (0u16..).zip(self.places.iter_mut()) {
            if matches!(place.state, State::Waiting { deadline_ms, .. } if due(deadline_ms)) {
                place.state = State::Free;
                let ticket = Ticket { index, generation: place.generation };
                return Some(CleanupReply { ticket, result: Err(error) });
            }
        }
        None
    }

    fn count_stale(&mut self, ticket: Ticket) -> Stale {
        self.stale_replies = self.stale_replies.saturating_add(1);
        Stale(ticket)
    }
}

impl<const N: usize> Default for Outstanding<N> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EMERGENCY: CleanupKind = CleanupKind::EmergencyCleanup;

    fn answer(ticket: Ticket) -> CleanupReply {
        CleanupReply {
            ticket,
            result: Ok(Reclaimed { bytes: u64::from(ticket.generation), ..Reclaimed::default() }),
        }
    }

    #[test]
    fn timed_out_reply_is_dropped_and_answers_nobody_else() {
        let mut table: Outstanding<1> = Outstanding::new();
        let first = table.issue(EMERGENCY, 0, 500).unwrap().ticket;
        assert_eq!(table.expire(499), None);
        assert_eq!(table.expire(500).map(|reply| reply.result), Some(Err(CleanupError::TimedOut)));
        let second = table.issue(EMERGENCY, 600, 500).unwrap().ticket;
        assert_eq!(first.index, second.index);
        // I-REQ-2
        assert_eq!(table.accept(answer(first)), Err(Stale(first)));
        assert_eq!(table.stale_replies(), 1);
        assert_eq!(table.accept(answer(second)), Ok(answer(second)));
    }

    #[test]
    fn full_issue_gives_the_kind_back() {
        let mut table: Outstanding<1> = Outstanding::new();
        let first = table.issue(EMERGENCY, 0, 500).unwrap();
        assert_eq!(table.issue(EMERGENCY, 0, 500), Err(Full(EMERGENCY)));
        assert_eq!(table.next_deadline_ms(), Some(500));
        assert_eq!(table.kind(first.ticket), Some(EMERGENCY));
        assert!(table.cancel(first.ticket).is_ok());
        assert_eq!(table.next_deadline_ms(), None);
        assert!(table.issue(EMERGENCY, 0, 500).is_ok());
    }

    #[test]
    fn answered_poll_takes_the_reply_once() {
        let mut table: Outstanding<2> = Outstanding::new();
        let ticket = table.issue(EMERGENCY, 0, 500).unwrap().ticket;
        assert_eq!(table.poll(ticket, 1), Ok(None));
        assert_eq!(table.keep(answer(ticket)), Ok(()));
        assert_eq!(table.keep(answer(ticket)), Err(Stale(ticket)));
        assert_eq!(table.poll(ticket, 900), Ok(Some(answer(ticket))));
        assert_eq!(table.poll(ticket, 901), Err(Stale(ticket)));
    }

    #[test]
    fn answered_never_polled_place_is_reused_after_its_deadline() {
        let mut table: Outstanding<1> = Outstanding::new();
        let ticket = table.issue(EMERGENCY, 0, 500).unwrap().ticket;
        assert_eq!(table.keep(answer(ticket)), Ok(()));
        assert_eq!(table.issue(EMERGENCY, 499, 500), Err(Full(EMERGENCY)));
        assert!(table.issue(EMERGENCY, 500, 500).is_ok());
        assert_eq!(table.poll(ticket, 501), Err(Stale(ticket)));
    }

    #[test]
    fn waiting_disconnect_ends_each_ticket_once() {
        let mut table: Outstanding<4> = Outstanding::new();
        for _ in 0..3 {
            assert!(table.issue(EMERGENCY, 0, 500).is_ok());
        }
        let ended = core::iter::from_fn(|| table.disconnect()).count();
        assert_eq!((ended, table.waiting()), (3, 0));
    }
}
