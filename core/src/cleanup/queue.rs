//! The queue between requesters and the owner of the pools.

use core::fmt;

use heapless::Deque;

use super::{CleanupRequest, QUEUE_CAPACITY_DEFAULT, Ticket};

/// Says that there was no space, and gives the item back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Full<T>(
    /// The item that was not taken.
    pub T,
);

impl<T> fmt::Display for Full<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no space; the item is handed back")
    }
}

impl<T: fmt::Debug> core::error::Error for Full<T> {}

/// Holds requests in the order they came, up to a fixed number.
///
/// It is a plain double-ended queue on purpose. `heapless::mpmc` is deprecated: a producer interrupted halfway makes the others
/// see a full or empty queue that is neither, so it is not truly lock-free. `spsc` has one producer, while requests come from
/// the main loop and from interrupts. So the queue is guarded from outside, by the guard of the pools' other state: a critical
/// section, or a try-lock that is never waited for and whose failures are counted. A service with threads has no use for it and
/// sends over a channel of the same capacity.
#[derive(Debug, Clone)]
pub struct RequestQueue<const N: usize = QUEUE_CAPACITY_DEFAULT> {
    requests: Deque<CleanupRequest, N>,
}

impl<const N: usize> RequestQueue<N> {
    /// Makes an empty queue; usable in a `static`.
    #[must_use]
    pub const fn new() -> Self {
        Self { requests: Deque::new() }
    }

    /// Adds a request behind all others.
    ///
    /// # Errors
    /// `Full(request)` when `N` requests are waiting; nothing was accepted, so no reply will come. The requester
    /// then gives its ticket back with [`Outstanding::cancel`](super::Outstanding::cancel).
    ///
    /// # Bounds
    /// Constant work.
    pub fn push(&mut self, request: CleanupRequest) -> Result<(), Full<CleanupRequest>> {
        self.requests.push_back(request).map_err(Full)
    }

    /// Takes the request that has waited longest. The owner wraps it in an [`Owed`](super::Owed) at once.
    pub fn pop(&mut self) -> Option<CleanupRequest> {
        self.requests.pop_front()
    }

    /// Takes a request out again that was not started yet, so that no work is done for a requester that gave up.
    ///
    /// # Bounds
    /// Passes over at most `N` requests; their order stays.
    pub fn withdraw(&mut self, ticket: Ticket) -> Option<CleanupRequest> {
        let mut found = None;
        for _ in 0..self.requests.len() {
            let Some(request) = self.requests.pop_front() else { break };
            if found.is_none() && request.ticket == ticket {
                found = Some(request);
            } else if self.requests.push_back(request).is_err() {
                // The pop above freed a place for it.
                break;
            }
        }
        found
    }

    /// Returns the number of requests waiting.
    #[must_use]
    pub fn len(&self) -> usize {
        self.requests.len()
    }

    /// Tells whether none is waiting.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.requests.is_empty()
    }

    /// Returns the number of requests that fit.
    #[must_use]
    pub const fn capacity(&self) -> usize {
        N
    }
}

impl<const N: usize> Default for RequestQueue<N> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(feature = "defmt")]
impl<const N: usize> defmt::Format for RequestQueue<N> {
    fn format(&self, f: defmt::Formatter<'_>) {
        defmt::write!(f, "RequestQueue({=usize}/{=usize})", self.len(), N);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cleanup::CleanupKind;

    fn request(index: u16) -> CleanupRequest {
        CleanupRequest { ticket: Ticket { index, generation: 1 }, kind: CleanupKind::EmergencyCleanup }
    }

    #[test]
    fn full_push_gives_the_request_back() {
        let mut queue: RequestQueue<2> = RequestQueue::new();
        assert_eq!(queue.push(request(0)), Ok(()));
        assert_eq!(queue.push(request(1)), Ok(()));
        assert_eq!(queue.push(request(2)), Err(Full(request(2))));
        assert_eq!(queue.pop(), Some(request(0)));
        assert_eq!(queue.push(request(2)), Ok(()));
        assert_eq!(queue.len(), queue.capacity());
    }

    #[test]
    fn waiting_withdraw_keeps_the_order_of_the_rest() {
        let mut queue: RequestQueue<4> = RequestQueue::new();
        for index in 0..4 {
            assert_eq!(queue.push(request(index)), Ok(()));
        }
        assert_eq!(queue.withdraw(request(1).ticket), Some(request(1)));
        assert_eq!(queue.withdraw(request(1).ticket), None);
        assert_eq!(queue.pop(), Some(request(0)));
        assert_eq!(queue.pop(), Some(request(2)));
        assert_eq!(queue.pop(), Some(request(3)));
        assert_eq!(queue.pop(), None);
    }

    #[test]
    fn default_capacity_is_256() {
        assert_eq!(RequestQueue::<QUEUE_CAPACITY_DEFAULT>::new().capacity(), 256);
        let queue: RequestQueue = RequestQueue::default();
        assert!(queue.is_empty());
    }
}
