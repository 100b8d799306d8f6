//! The waiters for positions of the log.

use std::collections::VecDeque;
use std::time::Instant;

use super::message::Waiter;
use crate::config::Durability;
use crate::errors::TierError;

type WaitingLine = VecDeque<(u64, Waiter)>;

/// Two lines, each in the order of positions: a sync answers all waiters that it covers (group commit). Flushes without a
/// position are held apart.
///
/// A waiter that joins a line removes those at its head whose client has gone: a stalled medium makes no line longer
/// than there were clients within the time that one waits.
#[derive(Debug, Default)]
pub(super) struct Waiters {
    flushed: WaitingLine,
    synced: WaitingLine,
    /// Flushes that wait until writes accepted before them, which failed or did not fit, are in the log's buffer.
    held: Vec<Waiter>,
}

impl Waiters {
    /// Lets a client wait until everything up to `position` is as durable as it asked.
    pub(super) fn push(&mut self, position: u64, waiter: Waiter) {
        match waiter.durability {
            Durability::Buffered => answer(waiter, Ok(())),
            Durability::Flushed => join(&mut self.flushed, position, waiter),
            Durability::Synced => join(&mut self.synced, position, waiter),
        }
    }

    /// Lets a flush wait for its position: a write that was accepted before it has none.
    pub(super) fn hold(&mut self, waiter: Waiter) {
        let now = Instant::now();
        for gone in self.held.extract_if(.., |held| held.is_gone(now)) {
            answer(gone, Err(TierError::TimedOut));
        }
        self.held.push(waiter);
    }

    /// Every accepted write has a position now, so the held flushes get theirs.
    pub(super) fn release_held(&mut self, position: u64) {
        for waiter in core::mem::take(&mut self.held) {
            self.push(position, waiter);
        }
    }

    /// The sync that the held flushes wait for can't be done now.
    pub(super) fn fail_held(&mut self, error: TierError) {
        for waiter in self.held.drain(..) {
            answer(waiter, Err(error.clone()));
        }
    }

    pub(super) fn wants_flush(&self) -> bool {
        !self.flushed.is_empty()
    }

    pub(super) fn wants_sync(&self) -> bool {
        !self.synced.is_empty()
    }

    /// Tells whether the position of a waiter is reached.
    pub(super) fn are_reached(&self, written: u64, durable: u64) -> bool {
        let is_reached =
            |line: &WaitingLine, reached: u64| line.front().is_some_and(|(position, _)| *position <= reached);
        is_reached(&self.flushed, written) || is_reached(&self.synced, durable)
    }

    /// Answers all waiters whose position is reached.
    pub(super) fn settle(&mut self, written: u64, durable: u64) {
        settle(&mut self.flushed, written);
        settle(&mut self.synced, durable);
    }

    /// A write failed: no waiter can get a good answer.
    pub(super) fn fail_all(&mut self, error: TierError) {
        fail(&mut self.flushed, &error);
        fail(&mut self.synced, &error);
        self.fail_held(error);
    }

    /// A sync failed, and everything written can still be read.
    pub(super) fn fail_synced(&mut self, error: TierError) {
        fail(&mut self.synced, &error);
    }
}

/// Waiters that seem gone are answered too, since one may still be waiting.
fn join(line: &mut WaitingLine, position: u64, waiter: Waiter) {
    let now = Instant::now();
    while line.front().is_some_and(|(_, gone)| gone.is_gone(now)) {
        if let Some((_, gone)) = line.pop_front() {
            answer(gone, Err(TierError::TimedOut));
        }
    }
    // Futures can be dropped behind one that still waits. The line is searched only where it is about to
    // grow: one look for each waiter on the average.
    if line.len() == line.capacity() {
        line.retain(|(_, waiter)| !waiter.reply.is_dropped());
        line.reserve(line.len() + 1);
    }
    line.push_back((position, waiter));
}

fn settle(line: &mut WaitingLine, reached: u64) {
    while line.front().is_some_and(|(position, _)| *position <= reached) {
        if let Some((_, waiter)) = line.pop_front() {
            answer(waiter, Ok(()));
        }
    }
}

fn fail(line: &mut WaitingLine, error: &TierError) {
    for (_, waiter) in line.drain(..) {
        answer(waiter, Err(error.clone()));
    }
}

/// A client that no longer waits needs no answer.
pub(super) fn answer(waiter: Waiter, result: Result<(), TierError>) {
    if !waiter.span.is_none() {
        waiter.span.in_scope(|| tracing::debug!(?result, "flushed"));
    }
    waiter.reply.send(result);
}

#[cfg(test)]
mod tests {
    use super::*;
    use coldpress_core::drive::MediumError;
    use crossbeam_channel::{Receiver, bounded};

    fn waiter(durability: Durability) -> (Waiter, Receiver<Result<(), TierError>>) {
        let (reply, receiver) = bounded(1);
        let deadline = Instant::now() + core::time::Duration::from_secs(3600);
        (Waiter { durability, reply: reply.into(), deadline, span: tracing::Span::none() }, receiver)
    }

    #[test]
    fn lines_of_a_medium_that_stands_still_hold_nobody_who_has_gone() {
        let mut waiters = Waiters::default();
        for round in 0..1_000 {
            for durability in [Durability::Flushed, Durability::Synced] {
                let (mut gone, _) = waiter(durability);
                gone.deadline = Instant::now();
                waiters.push(round, gone);
                let (mut gone, _) = waiter(durability);
                gone.deadline = Instant::now();
                waiters.hold(gone);
            }
        }
        let (stays, reply) = waiter(Durability::Synced);
        waiters.push(1_000, stays);
        assert_eq!((waiters.flushed.len(), waiters.synced.len(), waiters.held.len()), (1, 1, 1));
        waiters.settle(1_000, 1_000);
        assert_eq!(reply.try_recv(), Ok(Ok(())));
    }

    #[test]
    fn positions_reached_answer_in_order_and_no_others() {
        let mut waiters = Waiters::default();
        let (first, flushed) = waiter(Durability::Flushed);
        let (second, synced) = waiter(Durability::Synced);
        let (third, later) = waiter(Durability::Synced);
        waiters.push(1, first);
        waiters.push(1, second);
        waiters.push(3, third);
        waiters.settle(3, 0);
        assert_eq!(flushed.try_recv(), Ok(Ok(())));
        assert!(synced.try_recv().is_err());
        waiters.settle(3, 2);
        assert_eq!(synced.try_recv(), Ok(Ok(())));
        assert!(later.try_recv().is_err() && waiters.wants_sync() && !waiters.wants_flush());
    }

    #[test]
    fn held_flush_gets_its_position_only_on_release() {
        let mut waiters = Waiters::default();
        let (flush, reply) = waiter(Durability::Flushed);
        waiters.hold(flush);
        waiters.settle(9, 9);
        assert!(reply.try_recv().is_err() && !waiters.wants_flush());
        waiters.release_held(10);
        waiters.settle(9, 9);
        assert!(reply.try_recv().is_err() && waiters.wants_flush());
        waiters.settle(10, 9);
        assert_eq!(reply.try_recv(), Ok(Ok(())));
        let (flush, reply) = waiter(Durability::Synced);
        waiters.hold(flush);
        waiters.fail_held(TierError::LogFull);
        assert_eq!(reply.try_recv(), Ok(Err(TierError::LogFull)));
    }

    #[test]
    fn failed_sync_fails_only_those_who_wait_for_one() {
        let mut waiters = Waiters::default();
        let (first, flushed) = waiter(Durability::Flushed);
        let (second, synced) = waiter(Durability::Synced);
        waiters.push(1, first);
        waiters.push(1, second);
        waiters.fail_synced(TierError::Medium(MediumError::Io.into()));
        assert_eq!(synced.try_recv(), Ok(Err(TierError::Medium(MediumError::Io.into()))));
        assert!(flushed.try_recv().is_err());
        waiters.fail_all(TierError::Medium(MediumError::NoSpace.into()));
        assert_eq!(flushed.try_recv(), Ok(Err(TierError::Medium(MediumError::NoSpace.into()))));
    }
}
