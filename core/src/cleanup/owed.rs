//! The owner's side: an accepted request as a value that must be spent.

use super::{CleanupError, CleanupReply, CleanupRequest, Outstanding, Reclaimed};

/// Takes the reply to the requester.
///
/// `deliver` must not wait: the owner of the pools calls it between two steps. A sink that is full drops the
/// reply, and the requester's deadline ends the request; so a sink has space for as many replies as its requester
/// has requests outstanding.
pub trait ReplySink {
    /// Hands over the one reply of a request.
    fn deliver(&mut self, reply: CleanupReply);
}

/// Keeps each reply for the requester to poll; a stale one is dropped and counted.
impl<const N: usize> ReplySink for &mut Outstanding<N> {
    fn deliver(&mut self, reply: CleanupReply) {
        // A stale reply is no error of the owner's: the requester had its outcome already (I-REQ-2).
        let _ = self.keep(reply);
    }
}

/// An accepted request that has not been answered.
///
/// It can be neither copied nor answered twice, and when it is dropped unanswered it answers [`CleanupError::Disconnected`]. So
/// an owner that stops, fails early or loses its queue can't leave a requester without a reply (I-REQ-1). No code path has to
/// remember it.
#[derive(Debug)]
#[must_use = "an accepted request is owed exactly one reply"]
pub struct Owed<S: ReplySink> {
    request: CleanupRequest,
    /// Empty once the reply is out.
    sink: Option<S>,
}

impl<S: ReplySink> Owed<S> {
    /// Accepts a request; the reply will go to `sink`.
    pub fn new(request: CleanupRequest, sink: S) -> Self {
        Self { request, sink: Some(sink) }
    }

    /// Returns the request.
    #[must_use]
    pub fn request(&self) -> CleanupRequest {
        self.request
    }

    /// Answers that the work is done.
    pub fn done(self, reclaimed: Reclaimed) {
        self.answer(Ok(reclaimed));
    }

    /// Answers that it is not.
    pub fn fail(self, error: CleanupError) {
        self.answer(Err(error));
    }

    /// Answers with a result made elsewhere.
    pub fn answer(mut self, result: Result<Reclaimed, CleanupError>) {
        self.spend(result);
    }

    /// Takes the request back without a reply, for a request that was never accepted: a queue that was full hands it
    /// back, and the error at the call is its outcome.
    pub fn withdraw(mut self) -> CleanupRequest {
        self.sink = None;
        self.request
    }

    fn spend(&mut self, result: Result<Reclaimed, CleanupError>) {
        if let Some(mut sink) = self.sink.take() {
            sink.deliver(CleanupReply { ticket: self.request.ticket, result });
        }
    }
}

impl<S: ReplySink> Drop for Owed<S> {
    fn drop(&mut self) {
        self.spend(Err(CleanupError::Disconnected));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cleanup::{CleanupKind, Ticket};
    use heapless::Vec;

    impl ReplySink for &mut Vec<CleanupReply, 4> {
        fn deliver(&mut self, reply: CleanupReply) {
            self.push(reply).unwrap();
        }
    }

    const REQUEST: CleanupRequest = CleanupRequest {
        ticket: Ticket { index: 3, generation: 7 },
        kind: CleanupKind::TriggerDefragmentation,
    };

    #[test]
    fn accepted_answered_replies_once() {
        let mut replies = Vec::<CleanupReply, 4>::new();
        Owed::new(REQUEST, &mut replies).done(Reclaimed::default());
        // I-REQ-1: the drop after the answer adds nothing.
        assert_eq!(
            replies.as_slice(),
            [CleanupReply { ticket: REQUEST.ticket, result: Ok(Reclaimed::default()) }]
        );
    }

    #[test]
    fn accepted_dropped_replies_disconnected() {
        let mut replies = Vec::<CleanupReply, 4>::new();
        drop(Owed::new(REQUEST, &mut replies));
        // I-REQ-1
        let lost = CleanupReply { ticket: REQUEST.ticket, result: Err(CleanupError::Disconnected) };
        assert_eq!(replies.as_slice(), [lost]);
    }

    #[test]
    fn refused_withdrawn_replies_nothing() {
        let mut replies = Vec::<CleanupReply, 4>::new();
        assert_eq!(Owed::new(REQUEST, &mut replies).withdraw(), REQUEST);
        assert!(replies.is_empty());
    }
}
