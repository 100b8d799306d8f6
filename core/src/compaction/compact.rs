//! `CompactData`: cleans the segments that were sealed when the task began and hold enough stale bytes.

use super::cleaner::Cleaner;
use super::task::{Step, Task};
use crate::drive::Poll;
use crate::format::Sequence;
use crate::segments::{Growth, Segment, SegmentState, VictimReason, choose};
use crate::writer::Log;

/// After so many victims that could not be emptied the task gives up.
const SKIPPED_MAX: u32 = 16;

/// A task looks again so often at most.
const ROUNDS_MAX: u32 = 8;

/// The test whether a segment is worth cleaning: it was sealed when the task began, and cleaning it gains enough.
#[derive(Clone, Copy)]
struct Worth {
    below: Sequence,
    usable_bytes: u32,
    growth: Growth,
    gain_min: u32,
    stale_permille_min: u16,
}

impl Worth {
    fn new(log: &Log<'_>, below: Sequence) -> Self {
        let usable_bytes = log.layout.geometry().usable_bytes();
        let gain_min = u64::from(usable_bytes) * u64::from(log.layout.config().stale_permille_min);
        Self {
            below,
            usable_bytes,
            growth: log.growth(),
            gain_min: u32::try_from(gain_min.div_ceil(1000)).unwrap_or(u32::MAX),
            stale_permille_min: log.layout.config().stale_permille_min,
        }
    }

    fn holds(&self, segment: &Segment) -> bool {
        segment.sequence < self.below
            && self.is_stale(segment)
            && segment.yield_bytes(self.usable_bytes, &self.growth) >= self.gain_min
    }

    /// Tells whether enough of a segment is stale. A segment that was sealed early and is all live would only be written again,
    /// by every task.
    fn is_stale(&self, segment: &Segment) -> bool {
        let (stale, used) = (u64::from(segment.stale_bytes()), u64::from(segment.used_bytes()));
        segment.live_records() == 0 || stale > 0 && stale * 1000 >= used * u64::from(self.stale_permille_min)
    }
}

/// The bytes of the segments that are worth cleaning, among those of a sequence lower than `below`. Bounds: one pass over
/// the table.
pub(crate) fn left_bytes(log: &Log<'_>, below: Sequence) -> u64 {
    let worth = Worth::new(log, below);
    let is_left = |s: &&Segment| s.state() == SegmentState::Sealed && !s.is_kept() && worth.holds(s);
    log.segments.iter().filter(is_left).map(|s| u64::from(s.used_bytes())).sum()
}

/// Tells whether the task goes on, and with segments below which sequence. The segments that it freed may have held the last
/// copies that relocated tombstones hid, so those tombstones are stale now. It goes on while less is left each time. Otherwise
/// the rest is what clients and the machine write meanwhile. Bounds: one pass over the table.
pub(crate) fn more(log: &Log<'_>, task: &mut Task) -> Option<Sequence> {
    let below = log.sequence_next();
    let left_bytes = left_bytes(log, below);
    let is_whole = !task.is_deferred && !task.has_failed && task.report.victims.skipped == 0;
    if !is_whole || left_bytes == 0 || left_bytes >= task.left_bytes || task.rounds >= ROUNDS_MAX {
        return None;
    }
    task.rounds += 1;
    task.left_bytes = left_bytes;
    task.goal = None;
    Some(below)
}

/// Takes a step. Bounds: one pass over the table.
pub(crate) fn step(log: &mut Log<'_>, cleaner: &mut Cleaner, task: &mut Task, below: Sequence) -> Step {
    if !cleaner.is_idle() {
        return Step::Stay(Poll::Idle);
    }
    // A victim that could not be emptied is not tried again by the same task.
    let skipped = task.report.victims.last.filter(|_| task.report.victims.skipped > 0).map(|c| c.segment);
    let worth = Worth::new(log, below);
    let mut left_bytes = 0;
    let choice = choose(&log.terms(log.policy()), log.segments.as_slice(), |i, s| {
        let is_left = worth.holds(s);
        left_bytes += if is_left { u64::from(s.used_bytes()) } else { 0 };
        is_left && Some(i) != skipped
    });
    // Records that become stale meanwhile may add victims, and do not change the total.
    task.advance_to(task.progress.total.saturating_sub(left_bytes));
    if task.is_cancelled {
        return Step::Reclaim;
    }
    match choice {
        None => Step::Reclaim,
        Some(_) if task.report.victims.skipped >= SKIPPED_MAX => Step::Reclaim,
        // The output of the victim before is full, and that victim will be free.
        Some(_) if log.keeps_one_free() && log.free() == 0 && log.segments.leaving() > 0 => {
            Step::Stay(Poll::Idle)
        }
        // The last free segment is for erase intents: the cleaning of a shortage comes first.
        Some(choice)
            if log.is_at_end() || log.is_kept_for_intents() && choice.reason != VictimReason::Dead =>
        {
            task.is_deferred = true;
            Step::Reclaim
        }
        Some(choice) => Step::Clean(choice),
    }
}
