//! Every interleaving of request, reply, time-out and cancellation in a small world.
//!
//! The world has two tickets and a queue of one. Its owner may take, answer or lose a request at any moment. Its channel
//! delivers replies in any order and as late as it likes. Each path is walked to its end; at every step the
//! outcomes seen so far are checked against I-REQ-1 and I-REQ-2.

extern crate std;

use std::collections::HashSet;
use std::vec::Vec;

use super::{
    CleanupError, CleanupKind, CleanupReply, CleanupRequest, Outstanding, Owed, Reclaimed, ReplySink,
    RequestQueue, Ticket,
};

const TIMEOUT_MS: u64 = 10;
const REQUESTS: usize = 2;

#[derive(Clone, PartialEq, Eq, Hash)]
struct World<const PLACES: usize> {
    now_ms: u64,
    table: Outstanding<PLACES>,
    /// The contents of the queue, oldest first; the queue itself is rebuilt at each step.
    queued: Vec<CleanupRequest>,
    /// Taken by the owner, not answered yet.
    owed: Vec<CleanupRequest>,
    in_flight: Vec<(Ticket, bool)>,
    issued: Vec<(Ticket, CleanupKind)>,
    /// The outcomes each issued ticket has had, as the requester saw them.
    outcomes: Vec<Vec<Outcome>>,
    /// The replies the owner made for each issued ticket.
    replies: Vec<usize>,
    accepted: Vec<bool>,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Outcome {
    Answered,
    Lost,
    TimedOut,
    Cancelled,
}

struct Line<'a>(&'a mut Vec<(Ticket, bool)>);

impl ReplySink for Line<'_> {
    fn deliver(&mut self, reply: CleanupReply) {
        self.0.push((reply.ticket, reply.result.is_ok()));
    }
}

/// The answer to a ticket carries the ticket in its counts, so two answers that were mixed up show.
fn mark(ticket: Ticket) -> Reclaimed {
    Reclaimed { bytes: u64::from(ticket.generation), pages: u32::from(ticket.index), ..Reclaimed::default() }
}

impl<const PLACES: usize> World<PLACES> {
    fn new() -> Self {
        Self {
            now_ms: 0,
            table: Outstanding::new(),
            queued: Vec::new(),
            owed: Vec::new(),
            in_flight: Vec::new(),
            issued: Vec::new(),
            outcomes: Vec::new(),
            replies: Vec::new(),
            accepted: Vec::new(),
        }
    }

    fn number(&self, ticket: Ticket) -> usize {
        self.issued.iter().position(|(issued, _)| *issued == ticket).unwrap()
    }

    fn end(&mut self, ticket: Ticket, outcome: Outcome) {
        let number = self.number(ticket);
        self.outcomes[number].push(outcome);
    }

    fn queue(&self) -> RequestQueue<1> {
        let mut queue = RequestQueue::new();
        for request in &self.queued {
            queue.push(*request).unwrap();
        }
        queue
    }

    /// All worlds that are one event later.
    fn successors(&self) -> Vec<Self> {
        let mut next = Vec::new();
        if self.issued.len() < REQUESTS {
            next.extend(self.request());
        }
        if !self.queued.is_empty() {
            next.push(self.take());
        }
        for index in 0..self.owed.len() {
            next.push(self.reply(index, true));
            next.push(self.reply(index, false));
        }
        for index in 0..self.in_flight.len() {
            next.push(self.deliver(index));
        }
        if self.now_ms < 3 * TIMEOUT_MS {
            next.push(self.pass_time());
        }
        for number in 0..self.issued.len() {
            next.push(self.cancel(number));
        }
        next
    }

    fn request(&self) -> Option<Self> {
        let mut world = self.clone();
        let request = world.table.issue(CleanupKind::EmergencyCleanup, self.now_ms, TIMEOUT_MS).ok()?;
        assert!(
            !self.issued.iter().any(|(ticket, _)| *ticket == request.ticket),
            "I-REQ-2: a ticket issued twice"
        );
        world.issued.push((request.ticket, request.kind));
        world.outcomes.push(Vec::new());
        world.replies.push(0);
        let accepted = self.queue().push(request).is_ok();
        world.accepted.push(accepted);
        if accepted {
            world.queued.push(request);
        } else {
            world.table.cancel(request.ticket).unwrap();
            world.end(request.ticket, Outcome::Cancelled);
        }
        Some(world)
    }

    fn take(&self) -> Self {
        let mut world = self.clone();
        let taken = self.queue().pop().unwrap();
        world.queued.remove(0);
        world.owed.push(taken);
        world
    }

    fn reply(&self, index: usize, done: bool) -> Self {
        let mut world = self.clone();
        let request = world.owed.remove(index);
        let owed = Owed::new(request, Line(&mut world.in_flight));
        if done {
            owed.done(mark(request.ticket));
        } else {
            drop(owed);
        }
        let number = world.number(request.ticket);
        world.replies[number] += 1;
        world
    }

    fn deliver(&self, index: usize) -> Self {
        let mut world = self.clone();
        let (ticket, done) = world.in_flight.remove(index);
        let result = if done { Ok(mark(ticket)) } else { Err(CleanupError::Disconnected) };
        let before = world.table.waiting();
        match world.table.accept(CleanupReply { ticket, result }) {
            Ok(reply) => {
                assert_eq!((reply.ticket, reply.result), (ticket, result), "I-REQ-2");
                world.end(ticket, if done { Outcome::Answered } else { Outcome::Lost });
            }
            // I-REQ-2: a late reply ends nothing.
            Err(_) => assert_eq!(world.table.waiting(), before, "I-REQ-2"),
        }
        world
    }

    fn pass_time(&self) -> Self {
        let mut world = self.clone();
        world.now_ms += TIMEOUT_MS / 2;
        while let Some(reply) = world.table.expire(world.now_ms) {
            assert_eq!(reply.result, Err(CleanupError::TimedOut));
            world.end(reply.ticket, Outcome::TimedOut);
        }
        world
    }

    fn cancel(&self, number: usize) -> Self {
        let mut world = self.clone();
        let (ticket, _) = world.issued[number];
        let had_outcome = !world.outcomes[number].is_empty();
        let cancelled = world.table.cancel(ticket);
        assert_eq!(
            cancelled.is_err(),
            had_outcome,
            "I-REQ-1: only a ticket without an outcome can be cancelled"
        );
        if cancelled.is_ok() {
            world.end(ticket, Outcome::Cancelled);
            if let Some(at) = world.queued.iter().position(|request| request.ticket == ticket) {
                // A request withdrawn before the owner took it needs no reply: the cancellation is its outcome.
                let mut queue = self.queue();
                assert_eq!(queue.withdraw(ticket), Some(world.queued.remove(at)));
                world.accepted[number] = false;
            }
        }
        world
    }

    fn check(&self) {
        for outcomes in &self.outcomes {
            assert!(outcomes.len() <= 1, "I-REQ-1: {outcomes:?}");
        }
        assert!(self.replies.iter().all(|count| *count <= 1), "I-REQ-1");
        let open = self.outcomes.iter().filter(|outcomes| outcomes.is_empty()).count();
        assert_eq!(self.table.waiting(), open);
    }

    /// Checks a world in which only time can pass: every ticket has ended, and every accepted request was answered.
    fn check_end(&self) {
        assert!(
            self.outcomes.iter().all(|outcomes| outcomes.len() == 1),
            "I-REQ-1: a ticket without an outcome"
        );
        for (accepted, replies) in self.accepted.iter().zip(&self.replies) {
            assert_eq!(
                *replies,
                usize::from(*accepted),
                "I-REQ-1: an accepted request without its one reply"
            );
        }
    }
}

fn walk_all<const PLACES: usize>() -> (usize, usize, HashSet<Vec<Vec<Outcome>>>) {
    let mut seen = HashSet::new();
    let mut open = Vec::from([World::<PLACES>::new()]);
    let (mut ends, mut results) = (0, HashSet::new());
    while let Some(world) = open.pop() {
        if !seen.insert(world.clone()) {
            continue;
        }
        world.check();
        let quiet = world.queued.is_empty() && world.owed.is_empty() && world.in_flight.is_empty();
        if world.issued.len() == REQUESTS && quiet && world.table.waiting() == 0 {
            world.check_end();
            ends += 1;
            results.insert(world.outcomes.clone());
        }
        open.extend(world.successors());
    }
    (seen.len(), ends, results)
}

#[test]
fn two_tickets_every_interleaving_one_outcome_each() {
    let (worlds, ends, results) = walk_all::<2>();
    assert!(worlds > 1_000 && ends > 100, "{worlds} worlds, {ends} ends");
    // All pairs of outcomes are reached, so the walk is not vacuous.
    assert_eq!(results.len(), 16);
}

#[test]
fn one_place_used_twice_ignores_late_replies_in_any_order() {
    let (worlds, ends, results) = walk_all::<1>();
    assert!(worlds > 1_000 && ends > 100, "{worlds} worlds, {ends} ends");
    assert_eq!(results.len(), 16);
}
