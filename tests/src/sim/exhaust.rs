//! Tries everything that can happen to a history.

use core::hash::{Hash as _, Hasher as _};
use core::panic::AssertUnwindSafe;
use std::collections::HashSet;
use std::panic::{catch_unwind, resume_unwind};

use super::choice::{Chooser, Schedules};
use super::cut::Fate;
use super::script::{Do, Setup};
use super::world::{Delays, Lasting, World};
use crate::digest::Digest;

/// An optimised build tries every place where a history can be cut or can fail. A slow build tries one in so many, evenly
/// spread.
pub const STRIDE: usize = if cfg!(debug_assertions) { 7 } else { 1 };

/// The first place of the stride in turn `turn`, so that turns differ.
#[must_use]
pub const fn offset(turn: usize) -> usize {
    if STRIDE > 1 { turn.wrapping_rem(STRIDE) } else { 0 }
}

/// Counts of the cases that were tried.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tried {
    /// Moments of a history.
    pub moments: usize,
    /// Cuts, or failures, or schedules.
    pub cases: usize,
    /// Of these, how many led to a medium and knowledge not seen before, and so were mounted.
    pub distinct: usize,
}

impl Tried {
    pub(super) fn add(&mut self, other: Self) {
        self.moments += other.moments;
        self.cases += other.cases;
        self.distinct += other.distinct;
    }
}

/// The states that were mounted already.
///
/// Within a run, a medium with the same knowledge is not mounted twice. Between runs the state must also equal in all else on
/// which a mount and the steps after it depend: such a mount would repeat the other to the last step.
#[derive(Debug, Default)]
pub(super) struct Mounted {
    in_run: HashSet<u64>,
    in_any: HashSet<u64>,
}

impl Mounted {
    /// Begins another run.
    pub(super) fn begin_run(&mut self) {
        self.in_run.clear();
    }

    /// Whether the state that a cut left is to be mounted.
    pub(super) fn is_new(&mut self, left: &mut Lasting) -> bool {
        // The machine that counted positions is gone, as for every mount.
        left.oracle.void_positions();
        let mut hasher = Digest::default();
        left.medium.bytes().hash(&mut hasher);
        left.oracle.hash(&mut hasher);
        if !self.in_run.insert(hasher.finish()) {
            return false;
        }
        left.hash_rest(&mut hasher);
        self.in_any.insert(hasher.finish())
    }
}

/// Runs a case, and where it panics says which one it was.
pub fn in_case<T>(name: impl FnOnce() -> String, case: impl FnOnce() -> T) -> T {
    match catch_unwind(AssertUnwindSafe(case)) {
        Ok(done) => done,
        Err(panic) => {
            eprintln!("in this case: {}", name());
            resume_unwind(panic)
        }
    }
}

/// Cuts the power at every moment in every way that [`Medium::cut_plans`](super::Medium::cut_plans) lists, mounts, and checks;
/// then does `after` and checks again.
pub fn cut_everywhere(setup: &Setup, moments: &[Lasting], after: &[Do]) -> Tried {
    cut_anywhere_new(setup, moments, after, &mut Mounted::default())
}

fn cut_anywhere_new(setup: &Setup, moments: &[Lasting], after: &[Do], mounted: &mut Mounted) -> Tried {
    let mut tried = Tried { moments: moments.len(), ..Tried::default() };
    let mut arena = setup.arena();
    mounted.begin_run();
    for (at, moment) in moments.iter().enumerate() {
        for plan in moment.medium.cut_plans().into_iter().skip(offset(at)).step_by(STRIDE) {
            tried.cases += 1;
            let mut left = moment.cut(&plan);
            if !mounted.is_new(&mut left) {
                continue;
            }
            tried.distinct += 1;
            in_case(|| describe(at, moment, &plan), || survive(&mut setup.mount(&mut arena, left), after));
        }
    }
    tried
}

/// Checks a world that was just mounted, and that it still works.
pub(super) fn survive(world: &mut World<'_>, after: &[Do]) {
    world.check_recovered();
    let report = world.tier.mount_report();
    assert_eq!(report.quarantined_segments, 0, "rule 4: a cut alone quarantines nothing\n{}", world.sketch());
    world.settle();
    world.check();
    if !after.is_empty() {
        world.follow(after);
        world.settle();
        world.check();
    }
}

/// Cuts the power as [`cut_everywhere`] does, and then again at every moment of the recovery and of `after`.
///
/// The first cut has only the plans in which all or no operations completed, or the last one was torn in its middle.
pub fn cut_twice(setup: &Setup, moments: &[Lasting], after: &[Do]) -> Tried {
    let mut tried = Tried::default();
    let (mut first, mut second) = (Mounted::default(), Mounted::default());
    let mut arena = setup.arena();
    for (at, moment) in moments.iter().enumerate().step_by(STRIDE) {
        for plan in coarse_plans(moment) {
            let mut left = moment.cut(&plan);
            if !first.is_new(&mut left) {
                continue;
            }
            in_case(
                || format!("first cut: {}", describe(at, moment, &plan)),
                || {
                    let moments = {
                        let mut world = World::new(setup.config, arena.lend(), left);
                        world.moments = Some(Vec::new());
                        if let Err(error) = world.mount() {
                            panic!("I-LOG-2: the mount failed: {error}");
                        }
                        survive(&mut world, after);
                        let mut moments = world.moments.take().unwrap_or_default();
                        moments.push(world.end());
                        moments
                    };
                    tried.add(cut_anywhere_new(setup, &moments, &[], &mut second));
                },
            );
        }
    }
    tried
}

pub(super) fn coarse_plans(moment: &Lasting) -> Vec<Vec<Fate>> {
    let ops: Vec<usize> = moment.medium.unsynced().map(|op| op.len(moment.medium.geometry())).collect();
    let mut plans = vec![vec![Fate::Lost; ops.len()]];
    if let Some(last) = ops.last() {
        plans.push(vec![Fate::Kept; ops.len()]);
        let mut torn = vec![Fate::Kept; ops.len() - 1];
        torn.push(Fate::Torn(last / 2));
        plans.push(torn);
    }
    plans
}

fn describe(at: usize, moment: &Lasting, plan: &[Fate]) -> String {
    use core::fmt::Write as _;
    let mut out = format!("moment {at}, {} operations so far\n", moment.medium.counts().operations);
    for (op, fate) in moment.medium.unsynced().zip(plan) {
        let what = match &op.what {
            super::Change::Write { offset, bytes } => format!("write of {} at {offset}", bytes.len()),
            super::Change::Erase => "erase".to_owned(),
        };
        let _ = writeln!(out, "  operation {}: {what} in segment {}: {fate:?}", op.number, op.segment);
    }
    out
}

/// Runs a history under every schedule of completions that departs from the prompt one at most `deviations` times, up to
/// `runs_max` of them; at the end of each, cuts with everything unsynced lost and kept.
pub fn order_everywhere(setup: &Setup, script: &[Do], deviations: usize, runs_max: usize) -> Tried {
    let mut tried = Tried::default();
    let mut schedules = Schedules::new(deviations, runs_max);
    let mut mounted = Mounted::default();
    let mut arena = setup.arena();
    while let Some(plan) = schedules.next_plan() {
        tried.cases += 1;
        in_case(
            || format!("schedule {plan:?}"),
            || {
                let mut world = World::new(setup.config, arena.lend(), setup.blank());
                world.chooser = Chooser::schedule(plan.clone());
                world.delays = Delays::ALL;
                world.moments = Some(Vec::new());
                if let Err(error) = world.mount() {
                    panic!("a blank medium is refused: {error}");
                }
                world.follow(script);
                world.settle();
                world.check();
                schedules.met(&plan, world.chooser.widths());
                let moments = world.moments.take().unwrap_or_default();
                drop(world);
                tried.moments += moments.len();
                mounted.begin_run();
                for moment in moments.iter().skip(offset(tried.cases)).step_by(STRIDE) {
                    for fates in coarse_plans(moment) {
                        let mut left = moment.cut(&fates);
                        if mounted.is_new(&mut left) {
                            tried.distinct += 1;
                            survive(&mut setup.mount(&mut arena, left), &[]);
                        }
                    }
                }
            },
        );
    }
    assert!(schedules.is_complete(), "{} schedules were not enough for {deviations} deviations", tried.cases);
    tried
}
