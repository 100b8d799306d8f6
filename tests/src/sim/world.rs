//! A tier, its medium, its index and its clients, in one thread and in virtual time.
//!
//! [`step`](World::step) polls the machine once and carries out its action, or delivers a completion that was held back; which
//! of them is the [chooser's](Chooser) decision. A cut takes the world apart and leaves the lasting state: the medium, the
//! clients' knowledge, the time.

use core::hash::{Hash as _, Hasher};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

use coldpress_core::cleanup::{CleanupError, CleanupReply, Reclaimed, Ticket};
use coldpress_core::compaction::Report;
use coldpress_core::config::TierConfig;
use coldpress_core::drive::{Action, Input, MediumError, Now, Poll, StaleTicket, Started};
use coldpress_core::format::{KeyHash, Location, Sequence};
use coldpress_core::machine::{Status, Tier, carry_out};
use coldpress_core::recovery::MountError;

use super::arena::LentMemory;
use super::audit::Audit;
use super::budget::Budget;
use super::choice::Chooser;
use super::host::{IndexEvent, ModelHost, hash_of};
use super::medium::{Medium, SyncPoint};
use super::oracle::{Key, Oracle, key_bytes};
use super::rescue::Versions;
use super::rot::Rot;
use super::time::Watch;

/// Polls after which a goal counts as out of reach (I-GC-2).
pub(super) const POLLS_MAX: u64 = 200_000;

/// The state that lasts beyond a cut.
#[derive(Debug, Clone)]
pub struct Lasting {
    /// The medium.
    pub medium: Medium,
    /// The clients' knowledge.
    pub oracle: Oracle,
    /// The time.
    pub now: Now,
    /// The newest time that any tier on it knew, in seconds.
    pub newest_s: u32,
    /// The next mount starts no earlier than this, in seconds (rule 11).
    pub promised_s: u32,
    /// The most that the tier's time was ever ahead of a wall clock that was confirmed, in seconds.
    pub ahead_s: u32,
    /// The damage so far.
    pub rot: Rot,
    /// The write that the record of each version holds.
    pub versions: Versions,
    /// Whether a mount reported damage after which keys were not looked at.
    pub is_reported: bool,
}

impl Lasting {
    /// The wall clock at the beginning.
    pub(super) const BEGINNING_S: u32 = 1_000_000;

    /// A medium that was never written, at some time.
    #[must_use]
    pub fn blank(config: &TierConfig) -> Self {
        Self {
            medium: Medium::new(config.geometry),
            oracle: Oracle::default(),
            now: Now { monotonic_ms: 1_000, wall_s: Self::BEGINNING_S },
            newest_s: 0,
            promised_s: 0,
            ahead_s: 0,
            rot: Rot::default(),
            versions: Versions::default(),
            is_reported: false,
        }
    }

    /// The state that the next mount finds after the process ended: everything written, durable or not.
    #[must_use]
    pub fn kill(mut self) -> Self {
        self.medium.kill();
        self
    }

    /// The state that the next mount finds after a cut with these fates.
    #[must_use]
    pub fn cut(&self, fates: &[super::Fate]) -> Self {
        Self {
            medium: self.medium.cut(fates),
            oracle: self.oracle.clone(),
            rot: self.rot.clone(),
            versions: self.versions.clone(),
            ..*self
        }
    }

    /// Hashes all that the next mount and later steps depend on, except the bytes and the clients' knowledge.
    pub(super) fn hash_rest(&self, state: &mut impl Hasher) {
        let Self { medium, oracle: _, now, newest_s, promised_s, ahead_s, rot, versions, is_reported } = self;
        assert_eq!(rot.count, 0, "a search that damages something has to hash more");
        medium.hash_rest(state);
        (now.monotonic_ms, now.wall_s, newest_s, promised_s, ahead_s).hash(state);
        (versions, is_reported).hash(state);
    }
}

/// The reaction of the owner of the pools to a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Pools {
    /// Answers.
    #[default]
    Answer,
    /// Answers that it failed.
    Fail,
    /// Never answers.
    Silent,
    /// Can't be reached.
    Unavailable,
}

/// The completions that may be held back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Delays {
    /// Of syncs.
    pub syncs: bool,
    /// Of requests to the pools.
    pub cleanups: bool,
    /// Of reads, writes and erases.
    pub io: bool,
}

impl Delays {
    /// All of them.
    pub const ALL: Self = Self { syncs: true, cleanups: true, io: true };
}

#[derive(Debug, Clone)]
pub(super) enum Held {
    Io { number: u64, result: Result<(), MediumError>, is_erase: bool },
    Sync(SyncPoint),
    Cleanup,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Queued {
    pub(super) key: Key,
    pub(super) write: u64,
}

/// The world.
#[derive(Debug)]
pub struct World<'m> {
    /// The machine.
    pub tier: Tier<'m>,
    /// The state that lasts beyond a cut.
    pub lasting: Lasting,
    /// The index.
    pub host: ModelHost,
    /// The chooser of the next event.
    pub chooser: Chooser,
    /// The completions that may be held back.
    pub delays: Delays,
    /// The reaction of the pools.
    pub pools: Pools,
    /// Every state of the medium that a cut may find, where it is to be noted.
    pub moments: Option<Vec<Lasting>>,
    /// Reports of tasks, in order.
    pub reports: Vec<Report>,
    /// Whether the index may count more copies than there are: after a failure, unreadable copies are not counted down.
    pub may_overcount: bool,
    /// Actions carried out.
    pub actions: u64,
    /// The bound of one step, and the most that any did (I-GC-3).
    pub budget: Budget,
    pub(super) audit: Audit,
    /// The time of each append, in the order of positions, and how often the medium had failed by then.
    pub(super) stamps: VecDeque<(u64, u32, u64)>,
    pub(super) config: TierConfig,
    pub(super) queue: VecDeque<Queued>,
    pub(super) in_flight: BTreeMap<(KeyHash, u32, u32), Queued>,
    pub(super) held: Vec<(Ticket, Held)>,
    pub(super) polls: u64,
    pub(super) wants_sync: bool,
    /// The write that a client offers and that may still be refused.
    pub(super) offering: Option<u64>,
    pub(super) watch: Watch,
    /// Segments that could not be read at the mount and can't be yet.
    pub(super) blind: BTreeSet<u32>,
}

impl<'m> World<'m> {
    /// Builds a machine over a lasting state. It is not mounted yet.
    #[must_use]
    pub fn new(config: TierConfig, (memory, tasks): LentMemory<'m>, mut lasting: Lasting) -> Self {
        lasting.oracle.void_positions();
        let budget = Budget::new(&config, &memory);
        let tier = match Tier::new(config, memory, tasks) {
            Ok(mut tier) => {
                tier.set_backing(config.geometry.segment_count() - lasting.medium.missing);
                tier
            }
            Err(error) => panic!("the configuration is refused: {error}"),
        };
        Self {
            tier,
            lasting,
            host: ModelHost::default(),
            chooser: Chooser::Prompt,
            delays: Delays::default(),
            pools: Pools::Answer,
            moments: None,
            reports: Vec::new(),
            may_overcount: false,
            actions: 0,
            budget,
            audit: Audit::new(config.geometry.segment_bytes()),
            stamps: VecDeque::new(),
            config,
            queue: VecDeque::new(),
            in_flight: BTreeMap::new(),
            held: Vec::new(),
            polls: 0,
            wants_sync: false,
            offering: None,
            watch: Watch::default(),
            blind: BTreeSet::new(),
        }
    }

    /// Builds a machine and drives its mount to the end.
    ///
    /// # Errors
    /// The error of the mount.
    pub fn mounted(config: TierConfig, memory: LentMemory<'m>, lasting: Lasting) -> Result<Self, MountError> {
        let mut world = Self::new(config, memory, lasting);
        world.mount()?;
        Ok(world)
    }

    /// Drives the mount to its end.
    ///
    /// # Errors
    /// The error of the mount.
    pub fn mount(&mut self) -> Result<(), MountError> {
        self.until("mount", |world| world.tier.status() != Status::Mounting);
        match self.tier.status() {
            Status::Failed(error) => Err(error),
            _ => Ok(()),
        }
    }

    /// The configuration.
    #[must_use]
    pub const fn config(&self) -> &TierConfig {
        &self.config
    }

    /// Ends the world without any warning; the state that it leaves is still to be [cut](Lasting::cut).
    #[must_use]
    pub fn end(mut self) -> Lasting {
        self.note();
        self.lasting
    }

    /// The identity of a key in this store.
    #[must_use]
    pub fn hash(&self, key: Key) -> KeyHash {
        hash_of(&self.config.store.hash_key, &key_bytes(key))
    }

    fn note(&mut self) {
        if let Some(moments) = &mut self.moments {
            moments.push(self.lasting.clone());
        }
    }

    /// Lets time pass.
    pub fn tick(&mut self, ms: u64) {
        let now = &mut self.lasting.now;
        let seconds = (now.monotonic_ms % 1000 + ms) / 1000;
        now.monotonic_ms += ms;
        if now.wall_s > 0 {
            now.wall_s += u32::try_from(seconds).unwrap_or(u32::MAX);
        }
        self.observe();
    }

    /// Shows the machine the clock, as an adapter does for each call of a client.
    pub(super) fn observe(&mut self) -> u32 {
        let before_s = self.tier.clock_s();
        let clock_s = self.tier.observe(self.lasting.now);
        assert!(clock_s >= before_s, "rule 11: the clock went back from {before_s} s to {clock_s} s");
        if self.tier.status() == Status::Running {
            self.watch_time();
        }
        self.lasting.newest_s = self.lasting.newest_s.max(clock_s);
        self.host.set_now_s(clock_s);
        clock_s
    }

    /// Makes one step. Returns `false` where nothing can happen before time passes or a client comes.
    pub fn step(&mut self) -> bool {
        self.polls += 1;
        if !self.held.is_empty() {
            let choice = self.chooser.choose(1 + self.held.len());
            if choice > 0 {
                self.deliver(choice - 1);
                return true;
            }
        }
        self.observe();
        self.budget.begin(&self.tier);
        let poll = self.tier.poll(self.lasting.now, &mut self.host);
        self.budget.check_poll(&self.tier, &self.host.take_asked(), &poll);
        match poll {
            Poll::Do(action) => self.carry_out(action),
            Poll::Again => {}
            Poll::Idle if self.held.is_empty() => {
                self.look();
                return false;
            }
            Poll::Idle => {
                let choice = self.chooser.choose(self.held.len());
                self.deliver(choice);
            }
        }
        self.look();
        true
    }

    /// Hands an input to the machine, which is one step too.
    fn hand_over(&mut self, input: Input) -> Result<(), StaleTicket> {
        self.budget.begin(&self.tier);
        let taken = self.tier.handle(self.lasting.now, input, &mut self.host);
        self.budget.check_completion(&self.tier, &self.host.take_asked());
        taken
    }

    fn carry_out(&mut self, action: Action) {
        self.actions += 1;
        match action {
            Action::Read { ticket, bytes, .. } => {
                let lent = self.tier.read_buffer(ticket).len();
                assert_eq!(lent, bytes as usize, "the buffer lent is what is to be read");
            }
            Action::Write { ticket, segment, offset, bytes } => {
                self.note();
                self.audit.wrote(bytes);
                self.check_footer(segment.get(), offset, bytes);
                let lent = self.tier.write_bytes(ticket).len();
                assert_eq!(lent, bytes as usize, "the bytes lent are what is to be written");
            }
            Action::Erase { segment, .. } => {
                self.note();
                if self.moments.is_some() {
                    self.check_freed(segment.get());
                }
                let erases = |held: &Held| matches!(held, Held::Io { is_erase: true, .. });
                let is_erasing = self.held.iter().any(|(_, held)| erases(held));
                assert!(!is_erasing, "I-GC-3: a second erase while one is in flight");
            }
            Action::Allocate { .. } => {}
            Action::Sync { ticket } => return self.hold(ticket, Held::Sync(self.sync_begin())),
            Action::Cleanup { task, request } => {
                let asking = self.tier.progress().map(|running| running.id);
                assert_eq!(asking, Some(task), "I-TASK-1: another asks");
                return self.hold(request.ticket, Held::Cleanup);
            }
            other => panic!("an action that the model does not know: {other:?}"),
        }
        let (number, is_erase) =
            (self.lasting.medium.counts().operations, matches!(action, Action::Erase { .. }));
        let carried = carry_out(&mut self.tier, &mut self.lasting.medium, &action);
        let Some(result) = carried.map(|result| result.map(|started| assert_eq!(started, Started::Done)))
        else {
            panic!("an action that asks nothing of the medium: {action:?}");
        };
        self.hold(action.ticket(), Held::Io { number, result, is_erase });
    }

    /// Begins a sync of what was completed before.
    fn sync_begin(&self) -> SyncPoint {
        let io = self.held.iter().filter_map(|(_, held)| match held {
            Held::Io { number, .. } => Some(*number),
            _ => None,
        });
        self.lasting.medium.sync_begin(io.collect())
    }

    /// Holds a completion back, where it may wait; else delivers it.
    fn hold(&mut self, ticket: Ticket, held: Held) {
        let may_wait = match &held {
            Held::Io { .. } => self.delays.io,
            Held::Sync(_) => self.delays.syncs,
            Held::Cleanup => self.delays.cleanups || self.pools == Pools::Silent,
        };
        self.held.push((ticket, held));
        if !may_wait {
            self.deliver(self.held.len() - 1);
        }
    }

    fn deliver(&mut self, at: usize) {
        let (ticket, held) = self.held.remove(at);
        let input = match held {
            Held::Io { result, .. } => Input::Done { ticket, result },
            Held::Sync(point) => {
                self.note();
                Input::Done { ticket, result: self.lasting.medium.sync_end(&point) }
            }
            Held::Cleanup => {
                let result = match self.pools {
                    Pools::Answer => Ok(Reclaimed { bytes: 4096, pages: 1, ..Reclaimed::default() }),
                    Pools::Fail => Err(CleanupError::Failed),
                    // The reply comes too late, or not at all.
                    Pools::Silent => return,
                    Pools::Unavailable => {
                        let _ = self.hand_over(Input::CleanupUnavailable(ticket));
                        return self.look();
                    }
                };
                let reply = Input::Cleanup(CleanupReply { ticket, result });
                let _ = self.hand_over(reply);
                return self.look();
            }
        };
        let taken = self.hand_over(input);
        assert_eq!(taken, Ok(()), "I-REQ-1: the completion of an action is stale");
        let again = self.hand_over(input);
        assert!(again.is_err(), "I-REQ-2: a completion was taken twice");
        self.look();
    }

    /// Takes the calls of the machine to its index, and notes the writes that became durable.
    fn look(&mut self) {
        for event in self.host.take_events() {
            match event {
                IndexEvent::Written(hash, at) => {
                    let known = self.in_flight.remove(&(hash, at.sequence.get(), at.offset));
                    assert!(known.is_some(), "I-LOG-4: published {at:?}, which no client wrote");
                }
                IndexEvent::Unwritten(hash, at) => self.requeue(&hash, at),
                IndexEvent::MayEvict(hash) => {
                    if let Some(key) = self.key_of(&hash) {
                        self.lasting.oracle.may_evict(key);
                    }
                }
                IndexEvent::Evicted(hash) => match self.key_of(&hash) {
                    // A newer write is pending: the machine dropped the value that it replaces.
                    Some(key) if self.is_pending(key) => self.lasting.oracle.may_evict(key),
                    Some(key) => self.lasting.oracle.evicted(key, self.offering),
                    None => {}
                },
                IndexEvent::Renewed(hash, from, to) => self.lasting.versions.renewed(hash, from, to),
                IndexEvent::Late(hash, version) => self.rescued(hash, version),
                IndexEvent::Damaged(_) => {}
            }
        }
        if self.lasting.oracle.durable(self.tier.durable()) {
            self.note();
        }
        self.promise();
        self.look_for_given_up();
        self.audit.look(&self.tier, &self.host, self.lasting.now.monotonic_ms);
        while let Some(report) = self.tier.take_report() {
            self.audit.end(&report, &self.host);
            self.reports.push(report);
        }
        self.audit.begin(&self.tier);
    }

    /// Rule 11: the next mount starts no earlier than `time_every_s` before the last write that was acknowledged.
    fn promise(&mut self) {
        let (durable, failures) = (self.tier.durable(), self.tier.counters().failures);
        while let Some(&(_, clock_s, before)) = self.stamps.front().filter(|stamp| stamp.0 <= durable) {
            self.stamps.pop_front();
            if before == failures {
                let from_s = clock_s.saturating_sub(self.config.time_every_s);
                self.lasting.promised_s = self.lasting.promised_s.max(from_s);
            }
        }
    }

    fn requeue(&mut self, hash: &KeyHash, at: Location) {
        let Some(queued) = self.in_flight.remove(&(*hash, at.sequence.get(), at.offset)) else {
            panic!("I-LOG-4: handed back {at:?}, which no client wrote");
        };
        self.lasting.oracle.unwritten(queued.key, queued.write);
        // A write that was overtaken is acknowledged with its successor.
        if self.lasting.oracle.is_newest(queued.key, queued.write, self.offering) {
            self.queue.push_back(queued);
        }
    }

    /// The key of a hash, among those ever written.
    #[must_use]
    pub fn key_of(&self, hash: &KeyHash) -> Option<Key> {
        self.lasting.oracle.keys().find(|&key| self.hash(key) == *hash)
    }

    /// Steps until `goal` holds; where nothing can happen, time passes to the machine's next timeout.
    ///
    /// # Panics
    /// Where the goal is out of reach (I-GC-2).
    pub fn until(&mut self, what: &str, goal: impl Fn(&Self) -> bool) {
        let polls = self.polls;
        while !goal(self) {
            assert!(self.polls - polls < POLLS_MAX, "I-GC-2: {what}: no end in sight");
            if !self.go_on() && !goal(self) {
                self.pass_time(what);
            }
        }
    }

    /// Offers the records that were handed back, or steps. The last step before idleness may have freed space, so they are
    /// offered once more. This offer may have given the machine a request, so one more step is made.
    fn go_on(&mut self) -> bool {
        self.pump() || self.step() || self.pump() || self.step()
    }

    /// Lets time pass to the machine's next timeout.
    pub(super) fn pass_time(&mut self, what: &str) {
        match self.tier.poll_timeout(self.lasting.now) {
            Some(wait_ms) => self.tick(wait_ms.max(1)),
            None => panic!("I-GC-2: {what}: the machine is idle and waits for nothing\n{}", self.sketch()),
        }
    }

    /// Steps until the machine has nothing to do before its next timeout.
    pub fn settle(&mut self) {
        let polls = self.polls;
        while self.go_on() {
            assert!(self.polls - polls < POLLS_MAX, "I-GC-2: settle: no end in sight");
        }
    }

    /// Whether the newest write of a key is one that the index does not show yet.
    #[must_use]
    pub fn is_pending(&self, key: Key) -> bool {
        let mut pending = self.in_flight.values().chain(&self.queue).filter(|queued| queued.key == key);
        pending.any(|queued| self.lasting.oracle.is_newest(key, queued.write, self.offering))
    }

    /// Whether anything is held back, queued or in flight.
    #[must_use]
    pub fn is_at_rest(&self) -> bool {
        self.held.is_empty() && self.queue.is_empty() && self.in_flight.is_empty()
    }

    /// The segment table in words, for a failure.
    #[must_use]
    pub fn sketch(&self) -> String {
        use core::fmt::Write as _;
        let mut out = format!(
            "{:?}\nappended {} written {} durable {} held {:?}\n",
            self.lasting.now,
            self.tier.appended(),
            self.tier.written(),
            self.tier.durable(),
            self.held
        );
        for (index, segment) in self.tier.segments().iter().enumerate() {
            if segment.sequence > Sequence::NONE
                && segment.state() != coldpress_core::segments::SegmentState::Free
            {
                let _ = writeln!(
                    out,
                    "{index:3} {:?} #{} unread {} stream {} used {} live {} in {} footer {} suspect {} damaged {} counted {}",
                    segment.state(),
                    segment.sequence,
                    segment.is_unread(),
                    segment.stream(),
                    segment.used_bytes(),
                    segment.live_bytes(),
                    segment.live_records(),
                    segment.has_footer(),
                    segment.is_suspect(),
                    segment.is_damaged(),
                    segment.is_counted()
                );
            }
        }
        out
    }
}
