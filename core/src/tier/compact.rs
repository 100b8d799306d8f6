//! `CompactData`: cleans the segments that were sealed when the task began and hold enough stale bytes.

use super::Poll;
use super::log::Log;
use super::mover::Mover;
use super::task::{Step, Task};
use crate::log::{Growth, Reason, Segment, SegmentState, choose};

/// After so many victims that could not be emptied the task gives up.
const SKIPPED_MAX: u32 = 16;

/// Which segments are worth cleaning: sealed when the task began, and with enough to gain.
#[derive(Clone, Copy)]
struct Worth {
    below: u32,
    usable_bytes: u32,
    growth: Growth,
    gain_min: u32,
}

impl Worth {
    fn new(log: &Log<'_>, below: u32) -> Self {
        let usable_bytes = log.geometry.usable_bytes();
        let gain_min = u64::from(usable_bytes) * u64::from(log.config.stale_permille_min);
        Self {
            below,
            usable_bytes,
            growth: log.growth(),
            gain_min: u32::try_from(gain_min.div_ceil(1000)).unwrap_or(u32::MAX),
        }
    }

    fn holds(&self, segment: &Segment) -> bool {
        segment.sequence < self.below && segment.yield_bytes(self.usable_bytes, &self.growth) >= self.gain_min
    }
}

/// The bytes of the segments that are worth cleaning, among those of a sequence lower than `below`. Bounds: one pass over
/// the table.
pub(super) fn left_bytes(log: &Log<'_>, below: u32) -> u64 {
    let worth = Worth::new(log, below);
    let is_left = |s: &&Segment| s.state() == SegmentState::Sealed && !s.is_kept() && worth.holds(s);
    log.segments.iter().filter(is_left).map(|s| u64::from(s.used_bytes())).sum()
}

/// Takes a step. Bounds: one pass over the table.
pub(super) fn step(log: &mut Log<'_>, mover: &mut Mover, task: &mut Task, below: u32) -> Step {
    if !mover.is_idle() {
        return Step::Stay(Poll::Idle);
    }
    // A victim that could not be emptied is not tried again by the same task.
    let skipped = task.report.victims.last.filter(|_| task.report.victims.skipped > 0).map(|c| c.segment);
    let worth = Worth::new(log, below);
    let mut left_bytes = 0;
    let choice = choose(&log.terms(log.policy()), log.segments, |i, s| {
        let is_left = worth.holds(s);
        left_bytes += if is_left { u64::from(s.used_bytes()) } else { 0 };
        is_left && Some(i) != skipped
    });
    // What clients make stale meanwhile joins in, and does not move the goal.
    task.advance_to(task.progress.total.saturating_sub(left_bytes));
    if task.is_cancelled {
        return Step::Retire;
    }
    match choice {
        None => Step::Retire,
        Some(_) if task.report.victims.skipped >= SKIPPED_MAX => Step::Retire,
        // The last free segment is for freed records; what a shortage frees comes first.
        Some(choice) if log.is_at_end() || log.free() <= 1 && choice.reason != Reason::Dead => {
            task.is_deferred = true;
            Step::Retire
        }
        Some(choice) => Step::Clean(choice),
    }
}
