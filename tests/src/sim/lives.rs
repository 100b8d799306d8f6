//! Histories of several lives: what clients do, what fails, and how each life ends.

use std::collections::BTreeSet;

use coldpress_core::tier::{AppendError, MediumError, Status};

use super::choice::Chooser;
use super::cut::Fate;
use super::fault::Effect;
use super::medium::{Change, Op};
use super::rng::{Rng, mixed};
use super::script::{Do, Setup};
use super::world::{Delays, Lasting, POLLS_MAX, Pools, World};

/// One thing that happens.
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
    /// The power fails; the seed tells what lands.
    Cut(u64),
    /// The process ends; the system keeps what was written, and may lose it later.
    Kill,
    /// The same, and so many syncs of the mounts that follow fail.
    KillSyncs(u32),
}

/// A way in which an operation can fail.
const fn effect(way: u8) -> Effect {
    match way {
        0 => Effect::clean(MediumError::Io),
        1 => Effect::clean(MediumError::NoSpace),
        2 => Effect::short(MediumError::NoSpace, 1),
        3 => Effect::short(MediumError::Io, 30),
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
            // What came after a failed sync may be firm by now, so a doubtful erase is not torn.
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
    /// Closes the tier and drives it as the contract says: where it is idle and waits for no time and no completion, nobody
    /// polls it again.
    ///
    /// # Panics
    /// Where it is not closed then, or never (I-GC-2).
    pub fn close(&mut self) {
        self.tier.close();
        let polls = self.polls;
        while self.tier.status() != Status::Closed {
            assert!(self.polls - polls < POLLS_MAX, "I-GC-2: close: no end in sight\n{}", self.sketch());
            if !self.step() && self.tier.status() != Status::Closed {
                self.pass_time("close");
            }
        }
    }

    /// Lets things happen until one ends the life; returns how many did, and that one.
    ///
    /// # Panics
    /// Where an invariant does not hold.
    fn live(&mut self, events: &[Event]) -> (usize, Option<Event>) {
        for (at, event) in events.iter().enumerate() {
            let next = self.lasting.medium.counts().operations;
            let faults = &mut self.lasting.medium.faults;
            self.may_overcount |= matches!(event, Event::Fail(..) | Event::During(..) | Event::Syncs(_));
            match *event {
                Event::Act(what) => match self.act(what) {
                    // A tier may be full: then nothing happened, and removing still works.
                    Ok(()) | Err(AppendError::Full) => self.check_current(),
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
                Event::Cut(_) | Event::Kill | Event::KillSyncs(_) => {}
            }
            if matches!(event, Event::Close | Event::Cut(_) | Event::Kill | Event::KillSyncs(_)) {
                return (at + 1, Some(*event));
            }
        }
        (events.len(), None)
    }
}

impl Setup {
    /// Lets things happen to a medium that was never written, life after life. Each mount finds what the one before may have
    /// left; in the last life the medium works again, and everything is synced, settled and counted.
    ///
    /// # Panics
    /// Where an invariant does not hold.
    pub fn live(&self, events: &[Event]) {
        let mut lasting = self.blank();
        let mut rest = events;
        let mut arena = self.arena();
        loop {
            let mut world = World::new(self.config, arena.lend(), lasting);
            if world.mount().is_err() {
                // A mount may refuse what it can't make durable.
                lasting = world.end().kill();
                continue;
            }
            world.check_recovered();
            let (used, end) = world.live(rest);
            rest = &rest[used..];
            if end.is_none() {
                world.lasting.medium.faults.clear();
                world.chooser = Chooser::Prompt;
                world.sync();
                world.settle();
                world.check();
            }
            let left = world.end();
            lasting = match end {
                Some(Event::Cut(seed)) => left.cut(&fates(&left, seed)),
                Some(_) => left.kill(),
                None => return self.mount(&mut arena, left.cut(&[])).check_recovered(),
            };
            if let Some(Event::KillSyncs(many)) = end {
                lasting.medium.faults.sync_fails = many;
            }
        }
    }
}
