//! `CompactData`: cleans the segments that were sealed when the task began and hold enough stale bytes.

use super::Poll;
use super::log::Log;
use super::mover::Mover;
use super::task::{Step, Task};
use crate::log::{Reason, Segment, SegmentState, choose};

/// After so many victims that could not be emptied the task gives up.
const SKIPPED_MAX: u32 = 16;

/// The bytes of the segments that are worth cleaning, among those of a sequence lower than `below`. Bounds: one pass over
/// the table.
pub(super) fn left_bytes(log: &Log<'_>, below: u32) -> u64 {
    let is_left =
        |s: &&Segment| s.state == SegmentState::Sealed && !s.is_damaged && is_worth_it(log, s, below);
    log.segments.iter().filter(is_left).map(|s| u64::from(s.used_bytes)).sum()
}

fn is_worth_it(log: &Log<'_>, segment: &Segment, below: u32) -> bool {
    let usable = u64::from(log.geometry.usable_bytes());
    let gain = u64::from(segment.yield_bytes(&log.geometry, log.config.growth_bytes()));
    segment.sequence < below && gain * 1000 >= usable * u64::from(log.config.stale_permille_min)
}

/// Takes a step. Bounds: two passes over the table.
pub(super) fn step(log: &mut Log<'_>, mover: &mut Mover, task: &mut Task, below: u32) -> Step {
    if !mover.is_idle() {
        return Step::Stay(Poll::Idle);
    }
    // What clients make stale meanwhile joins in, and does not move the goal.
    task.advance_to(task.progress.total.saturating_sub(left_bytes(log, below)));
    if task.is_cancelled {
        return Step::Retire;
    }
    // A victim that could not be emptied is not tried again by the same task.
    let skipped = task.report.victims.last.filter(|_| task.report.victims.skipped > 0).map(|c| c.segment);
    let choice = choose(&log.terms(log.policy()), log.segments, |i, s| {
        Some(i) != skipped && is_worth_it(log, s, below)
    });
    match choice {
        None => Step::Retire,
        Some(_) if task.report.victims.skipped >= SKIPPED_MAX => Step::Retire,
        // The last free segment is for freed records; what a shortage frees comes first.
        Some(choice) if log.free() <= 1 && choice.reason != Reason::Dead => {
            task.is_deferred = true;
            Step::Retire
        }
        Some(choice) => Step::Clean(choice),
    }
}
