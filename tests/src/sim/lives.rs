//! Histories of several lives: the clients' work, the failures, and the end of each life.

use std::collections::BTreeSet;

use coldpress_core::compaction::CompactionTask;
use coldpress_core::config::TierConfig;
use coldpress_core::drive::MediumError;
use coldpress_core::machine::Status;
use coldpress_core::segments::SegmentState;
use coldpress_core::writer::AppendError;

use super::arena::Arena;
use super::check::tells_damage;
use super::choice::Chooser;
use super::cut::Fate;
use super::fault::{Effect, Faults, Outage};
use super::medium::{Change, Op};
use super::rng::{Rng, mixed};
use super::script::{Do, Setup};
use super::world::{Delays, Lasting, POLLS_MAX, Pools, World};

/// One event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// A client or an operator does something.
    Act(Do),
    /// So many operations from now one fails, in the way numbered.
    Fail(u64, u8),
    /// So many operations from now so many in a row fail, in the way numbered.
    During(u64, u64, u8),
    /// The next so many syncs fail.
    Syncs(u32),
    /// Completions come in another order from now on.
    Reorder(u64),
    /// The tier is closed, and its process ends.
    Close,
    /// The power fails; the seed decides which operations complete.
    Cut(u64),
    /// The process ends; the system keeps its writes, and may lose them later.
    Kill,
    /// The same, and so many syncs of the mounts that follow fail.
    KillSyncs(u32),
    /// The wall clock jumps by so many seconds; behind the end of a life, while no tier runs.
    Clock(i32),
    /// The clock is confirmed; behind the end of a life, at the next mount.
    Confirm,
    /// Something is damaged, by a seed; behind the end of a life, while no tier runs.
    Rot(u64),
    /// Behind the end of a life: so many operations after the next mount began one fails.
    FailMount(u64),
    /// Behind the end of a life: another one comes in which a part of the medium can't be read, by a seed.
    Blind(u64),
}

/// Counts of the events in histories, which show that they test something.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Lived {
    /// Mounts that ended well.
    pub mounts: u64,
    /// Mounts that found the clock too far ahead, and went on by the log's.
    pub clocks_refused: u64,
    /// Mounts that found it behind.
    pub clocks_behind: u64,
    /// Times that anything was damaged.
    pub rotted: u64,
    /// Tasks whose report was compared with the driver's counts.
    pub reports: u64,
    /// Failures of the medium that the tier saw.
    pub failures: u64,
    /// Lives that ended because only a mount helped.
    pub remounts: u64,
    /// Mounts that succeeded although something could not be read.
    pub blind: u64,
}

impl core::ops::AddAssign for Lived {
    fn add_assign(&mut self, other: Self) {
        self.mounts += other.mounts;
        self.clocks_refused += other.clocks_refused;
        self.clocks_behind += other.clocks_behind;
        self.rotted += other.rotted;
        self.reports += other.reports;
        self.failures += other.failures;
        self.remounts += other.remounts;
        self.blind += other.blind;
    }
}

/// The jump that takes the clock away.
pub(super) const NO_CLOCK: i32 = i32::MIN;

/// The way in which a read fails that tells of damage.
pub(super) const UNREADABLE: u8 = 9;

/// A way in which an operation can fail.
const fn effect(way: u8) -> Effect {
    match way {
        0 => Effect::clean(MediumError::Io),
        1 => Effect::clean(MediumError::NoSpace),
        2 => Effect::short(MediumError::NoSpace, 1),
        3 => Effect::short(MediumError::Io, 30),
        UNREADABLE => Effect::clean(MediumError::Unreadable),
        _ => Effect::done(MediumError::Io),
    }
}

/// A fate for each unsynced operation, by a seed.
fn fates(lasting: &Lasting, seed: u64) -> Vec<Fate> {
    let mut rng = Rng::new(seed);
    let geometry = lasting.medium.geometry();
    // A flash begins nothing in a segment before its erase has ended.
    let mut half_erased = BTreeSet::new();
    let fate = |op: &Op| {
        let fate = match rng.below(4) {
            _ if half_erased.contains(&op.segment) => Fate::Lost,
            0 => Fate::Lost,
            // Operations after a failed sync may be firm by now, so a doubtful erase is not torn.
            1 if !op.is_doubtful() || op.what != Change::Erase => Fate::Torn(rng.index(op.len(geometry))),
            _ => Fate::Kept,
        };
        if op.what == Change::Erase && fate != Fate::Kept && geometry.write_unit() > 1 {
            half_erased.insert(op.segment);
        }
        fate
    };
    lasting.medium.unsynced().map(fate).collect()
}

impl World<'_> {
    /// Closes the tier and drives it by the contract: once it is idle and waits for no time and no completion, nobody polls it
    /// again.
    ///
    /// # Panics
    /// Where it is not closed then, or never (I-GC-2).
    pub fn close(&mut self) {
        self.cancel();
        let running = u64::from(self.tier.progress().is_some());
        let reported = self.audit.reported + running;
        self.tier.close();
        let polls = self.polls;
        while self.tier.status() != Status::Closed {
            if self.tier.needs_remount() {
                return;
            }
            assert!(self.polls - polls < POLLS_MAX, "I-GC-2: close: no end in sight\n{}", self.sketch());
            if !self.step() && self.tier.status() != Status::Closed {
                self.pass_time("close");
            }
        }
        assert_eq!(
            self.audit.reported, reported,
            "one report of the task that ran, none of those that waited"
        );
    }

    /// The wall clock jumps while the tier runs: it is followed, or refused as a whole.
    fn jump(&mut self, by_s: i32) {
        let before_s = self.observe();
        self.lasting.jump(by_s);
        let clock_s = self.observe();
        let bound_s = before_s.saturating_add(self.config.clock_jump_s_max);
        let is_refused = self.tier.clock_refused_s().is_some();
        assert!(!is_refused || clock_s == before_s, "rule 11: refused, and taken");
        let wall_s = self.lasting.now.wall_s;
        assert!(is_refused || clock_s >= wall_s.min(bound_s), "rule 11: neither refused nor taken");
    }

    /// Something is damaged while the tier runs.
    fn rot(&mut self, seed: u64) {
        use SegmentState::{Open, Opening, Sealing};
        let is_open = |state| matches!(state, Opening | Open | Sealing);
        let segments = (0u32..).zip(self.tier.segments());
        let open: Vec<u32> = segments.filter(|(_, s)| is_open(s.state())).map(|(at, _)| at).collect();
        self.lasting.rot(&self.config, seed, &open);
    }

    /// Carries out events until one ends the life; returns how many there were, and that one.
    ///
    /// # Panics
    /// Where an invariant does not hold.
    fn live(&mut self, events: &[Event]) -> (usize, Option<Event>) {
        for (at, event) in events.iter().enumerate() {
            let next = self.lasting.medium.counts().operations;
            let faults = &mut self.lasting.medium.faults;
            self.may_overcount |=
                matches!(event, Event::Fail(..) | Event::During(..) | Event::Syncs(_) | Event::Rot(_));
            match *event {
                Event::Act(what) => match self.act(what) {
                    // A full tier changes nothing, and removes still work.
                    Ok(()) | Err(AppendError::Full) => self.check_current(),
                    Err(AppendError::Busy) if self.tier.needs_remount() => {}
                    Err(error) => panic!("{what:?}: {error}"),
                },
                Event::Fail(after, way) => faults.at(next + after, effect(way)),
                Event::During(after, many, way) => {
                    faults.during(next + after, next + after + many, effect(way));
                }
                Event::Syncs(many) => faults.sync_fails = many,
                Event::Reorder(seed) => {
                    self.chooser = Chooser::Random(Rng::new(seed));
                    self.delays = Delays { io: false, ..Delays::ALL };
                    self.pools = [Pools::Answer, Pools::Fail, Pools::Silent, Pools::Unavailable]
                        [Rng::new(mixed(seed)).index(4)];
                }
                Event::Close => self.close(),
                Event::Clock(by_s) => self.jump(by_s),
                Event::Confirm => self.confirm(),
                Event::Rot(seed) => self.rot(seed),
                Event::Cut(_) | Event::Kill | Event::KillSyncs(_) | Event::FailMount(_) | Event::Blind(_) => {
                }
            }
            if self.tier.needs_remount() {
                return (at + 1, Some(Event::Kill));
            }
            if matches!(event, Event::Close | Event::Cut(_) | Event::Kill | Event::KillSyncs(_)) {
                return (at + 1, Some(*event));
            }
        }
        (events.len(), None)
    }
}

impl Setup {
    /// Carries out events on a medium that was never written, life after life. Each mount finds a state that the life before
    /// may have left. In the last life the medium works again, and everything is synced, settled and counted.
    ///
    /// # Panics
    /// Where an invariant does not hold.
    pub fn live(&self, events: &[Event]) -> Lived {
        let mut lasting = self.blank();
        let mut rest = events;
        let mut arena = self.arena();
        let mut lived = Lived::default();
        loop {
            while let Some((Event::Blind(seed), others)) = rest.split_first() {
                rest = others;
                lasting = self.live_blind(&mut arena, lasting, *seed, &mut lived);
            }
            let confirms = lasting.lie_still(&self.config, &mut rest);
            let mut world = World::new(self.config, arena.lend(), lasting);
            if confirms {
                world.confirm();
            }
            if world.mount().is_err() {
                lasting = world.end().kill();
                continue;
            }
            lived.mounts += 1;
            lived.clocks_refused += u64::from(world.tier.clock_refused_s().is_some());
            lived.clocks_behind += u64::from(world.tier.clock_behind_s() > 60);
            world.may_overcount =
                world.lasting.rot.count > 0 || world.lasting.medium.faults != Faults::default();
            world.check_recovered();
            let (used, end) = world.live(rest);
            rest = &rest[used..];
            if end.is_none() {
                world.come_to_rest();
            }
            let is_lost = world.tier.needs_remount();
            lived.remounts += u64::from(is_lost);
            lived.reports += world.audit.reported;
            lived.failures += world.tier.counters().failures;
            let left = world.end();
            lived.rotted = left.rot.count.into();
            lasting = match end {
                Some(Event::Cut(seed)) => left.cut(&fates(&left, seed)),
                None if !is_lost => {
                    let mut world = World::new(self.config, arena.lend(), left.cut(&[]));
                    assert_eq!(world.mount(), Ok(()), "I-LOG-2: the last mount");
                    world.check_recovered();
                    return lived;
                }
                _ => left.kill(),
            };
            if let Some(Event::KillSyncs(many)) = end {
                lasting.medium.faults.sync_fails = many;
            }
        }
    }
}

impl Setup {
    /// A life in which a part of the medium can't be read, from the mount on or a little later. The values of keys are not
    /// checked in it. It may lose nothing and bring nothing back: the next mount checks that.
    fn live_blind(&self, arena: &mut Arena, mut lasting: Lasting, seed: u64, lived: &mut Lived) -> Lasting {
        let mut rng = Rng::new(seed);
        let segments = self.config.geometry.segment_count();
        let number = |rng: &mut Rng, bound: u32| u32::try_from(rng.below(bound.into())).unwrap_or(0);
        let first = number(&mut rng, segments);
        let many = [1, 1, 1, 2, segments][rng.index(5)];
        let bytes = [0..u32::MAX, 0..u32::MAX, 0..64, 16..300][rng.index(4)].clone();
        let error = [MediumError::Unreadable, MediumError::Unreadable, MediumError::Io][rng.index(3)];
        let from = lasting.medium.counts().reads + [0, 0, rng.below(80)][rng.index(3)];
        let (segments, reads) = (first..first.saturating_add(many), from..u64::MAX);
        lasting.medium.faults.outage = Some(Outage { segments, bytes, reads, error });
        let mut world = World::new(self.config, arena.lend(), lasting);
        if world.mount().is_ok() {
            lived.blind += 1;
            world.may_overcount = true;
            world.lasting.is_reported |= tells_damage(&world.tier.mount_report());
            world.begin_blind();
            for _ in 0..rng.below(5) {
                let key = u16::try_from(1 + rng.below(6)).unwrap_or(1);
                // The tier may be full.
                let _ = world.act(if rng.permille(500) { Do::Remove(key) } else { Do::Put(key, 6) });
            }
            if rng.permille(500) && !world.tier.needs_remount() {
                world.lasting.medium.faults.outage = None;
                world.blind.clear();
                world.run(CompactionTask::RebuildIndex);
            }
        }
        let mut left = world.end().kill();
        left.medium.faults.outage = None;
        // The newest time may have been in a part that could not be read.
        left.promised_s = 0;
        left
    }
}

impl World<'_> {
    /// At the end of the last life the medium works again, and everything is synced, settled and counted.
    fn come_to_rest(&mut self) {
        self.lasting.medium.faults.clear();
        self.chooser = Chooser::Prompt;
        self.sync();
        if self.tier.needs_remount() {
            return;
        }
        self.until("the end of the tasks", |world| !world.tier.is_compacting());
        self.settle();
        self.check();
        assert_eq!(self.audit.reported, self.audit.scheduled, "each task ends with one report");
    }
}

impl Lasting {
    /// The wall clock jumps; [`NO_CLOCK`] takes it away, until it jumps again.
    fn jump(&mut self, by_s: i32) {
        let right_s = Self::BEGINNING_S + u32::try_from(self.now.monotonic_ms / 1_000).unwrap_or(0);
        self.now.wall_s = match (by_s, self.now.wall_s) {
            (NO_CLOCK, _) => 0,
            (_, ..Self::BEGINNING_S) if by_s > 0 => right_s.saturating_add_signed(by_s),
            (_, wall_s) => wall_s.saturating_add_signed(by_s),
        };
    }

    /// Carries out the next events that happen while no tier runs. Returns whether the next mount is to confirm the clock.
    fn lie_still(&mut self, config: &TierConfig, rest: &mut &[Event]) -> bool {
        let mut confirms = false;
        while let Some((event, others)) = rest.split_first() {
            match *event {
                Event::Clock(by_s) => self.jump(by_s),
                Event::Confirm => confirms = true,
                Event::Rot(seed) => self.rot(config, seed, &[]),
                Event::FailMount(after) => {
                    let at = self.medium.counts().operations + after;
                    self.medium.faults.at(at, effect(0));
                }
                _ => break,
            }
            *rest = others;
        }
        confirms
    }
}
