//! Takes a relocation back where the write of its output failed, and one free segment is all the reserve.
//!
//! The output was sealed by the failure, and no other can be opened. A part of the victim's records is live in it. So the index is
//! pointed back at their copies in the victim, which are whole. The output is dead then: it is erased, and the victim is cleaned
//! anew. Nothing is written for that. A mount would decide alike, since copies tie (rule 10).
//!
//! ```text
//!  Idle ─1─► Looking ─2─► Looking ─3─► Idle
//! ```
//! 1 `begin` an output was lost; 2 every record of a segment was looked at; 3 nothing in the output is live any more, or all segments
//! were looked at. In the second case some record may be unreadable where it lay before. Where a read failed, it is tried again after
//! a wait, [`VAIN_MAX`] times. Then the machine says that it is full, and a mount tells what can be read.

use super::deeds::Deeds;
use crate::drive::{MediumError, Now, Poll};
use crate::format::SegmentIndex;
use crate::index::{Host, KeyCall, Published};
use crate::invariant::Invariant;
use crate::recovery::{Found, Restore, Scan, Scanner, is_early};
use crate::segments::{Segment, SegmentState};
use crate::writer::{Lessee, Log};

/// Looks in a row in which reads failed, and something was left live in the output.
const VAIN_MAX: u8 = 8;

#[derive(Debug, Clone, Copy, Default)]
enum State {
    #[default]
    Idle,
    /// Going through the segments whose records may have a copy in the output. The second look keeps the scanner.
    Looking { output: SegmentIndex },
}

/// The engine that takes a relocation back.
#[derive(Debug, Default)]
pub(crate) struct Undo {
    state: State,
    /// Whether a read failed in the look under way.
    has_failed: bool,
    vain: u8,
    /// The work of the log when the last look left something.
    vain_at: Option<Deeds>,
}

impl Undo {
    /// Whether it is under way.
    pub(crate) const fn is_active(&self) -> bool {
        matches!(self.state, State::Looking { .. })
    }

    /// Tells whether it may free an output. Bounds: a few passes over the table.
    pub(crate) fn is_hoping(&self, log: &Log<'_>) -> bool {
        let may_gain = self.vain < VAIN_MAX || self.vain_at != Some(Deeds::of(log));
        let has_source = || output(log).is_some_and(|it| next_source(log, it, SegmentIndex::FIRST).is_some());
        self.is_active() || may_gain && log.has_lost_output() && has_source()
    }

    /// Begins, if an output was lost and the scan buffer is free; tells whether it did. Bounds: a few passes over the table.
    pub(crate) fn begin(&mut self, log: &mut Log<'_>, restore: &mut Restore) -> bool {
        let is_free = !log.scan.is_leased() && restore.is_idle();
        let Some(output) = output(log).filter(|_| is_free) else { return false };
        let Some(source) = next_source(log, output, SegmentIndex::FIRST) else { return false };
        log.scan.lease(Lessee::Undoing);
        log.scan.forget_result();
        restore.count(Scanner::records(log, source));
        self.state = State::Looking { output };
        self.has_failed = false;
        true
    }

    /// Takes a step. Bounds: one keyed record and `step_records` others, or one action.
    pub(crate) fn poll<H: Host>(
        &mut self,
        now: Now,
        log: &mut Log<'_>,
        host: &mut H,
        restore: &mut Restore,
    ) -> Poll {
        let State::Looking { output } = self.state else { return Poll::Idle };
        if log.scan.is_reading() {
            return Poll::Idle;
        }
        if let Some(action) = log.read_again() {
            return Poll::Do(action);
        }
        let Some(mut scanner) = restore.take_counting() else {
            log.watch.note(Invariant::ReadBuffer);
            return Poll::Idle;
        };
        for _ in 0..log.layout.config().step_records {
            let before = if H::ANSWERS_AT_ONCE { None } else { Some(scanner) };
            let result = log.scan.take_result();
            self.has_failed |= matches!(result, Some(Err(_)));
            let step = match result {
                Some(Err(MediumError::Unreadable)) => scanner.unreadable(log),
                // The failure may pass.
                Some(Err(_)) => return self.end(now, log, output),
                _ => scanner.next(log, host),
            };
            match step {
                Scan::Read { offset, bytes } => {
                    restore.count(scanner);
                    return Poll::Do(log.read_for(&scanner, offset, bytes));
                }
                Scan::Item(found) if is_early(host, KeyCall::Found, &found) => {
                    restore.count(before.unwrap_or(scanner));
                    return Poll::Again;
                }
                Scan::Item(found) if found.kind.is_keyed() => {
                    take_back(log, host, &found, output);
                    if log.segments.get(output).live_records() == 0 {
                        return self.end(now, log, output);
                    }
                    // The host looks at one record in a step, since it may read the medium for it.
                    restore.count(scanner);
                    return Poll::Again;
                }
                Scan::Item(_) | Scan::Again | Scan::Damage { .. } => {}
                Scan::End { .. } => {
                    let Some(source) = next_source(log, output, scanner.segment.next()) else {
                        return self.end(now, log, output);
                    };
                    restore.count(Scanner::records(log, source));
                    return Poll::Again;
                }
            }
        }
        restore.count(scanner);
        Poll::Again
    }

    fn end(&mut self, now: Now, log: &mut Log<'_>, output: SegmentIndex) -> Poll {
        log.scan.forget_result();
        log.scan.give_back(Lessee::Undoing);
        self.state = State::Idle;
        let is_left = log.segments.get(output).live_records() > 0;
        // Where all was read, another look finds the same.
        self.vain = match (is_left, self.has_failed) {
            (false, _) => 0,
            (true, false) => VAIN_MAX,
            (true, true) => self.vain.saturating_add(1),
        };
        self.vain_at = is_left.then(|| Deeds::of(log));
        if is_left && self.has_failed {
            log.back_off(now);
        }
        Poll::Again
    }
}

/// The output that was lost: the segment that was opened last, if anything in it is live.
fn output(log: &Log<'_>) -> Option<SegmentIndex> {
    let (index, newest) = log.segments.numbered().max_by_key(|(_, segment)| segment.sequence)?;
    (newest.state() == SegmentState::Sealed && newest.live_records() > 0).then_some(index)
}

/// The first segment from `from` on whose records may have copies in the output.
fn next_source(log: &Log<'_>, output: SegmentIndex, from: SegmentIndex) -> Option<SegmentIndex> {
    // The victim in hand is sealed again before it is looked at.
    let may_hold =
        |state| matches!(state, SegmentState::Sealed | SegmentState::Victim | SegmentState::Emptied);
    let is_source = |s: &Segment| may_hold(s.state()) && s.used_bytes() > 0;
    from.up_to(log.layout.geometry().segment_count())
        .find(|index| *index != output && is_source(log.segments.get(*index)))
}

/// Makes a record live again where it was found, if the live copy of its key is its relocated one.
fn take_back<H: Host>(log: &mut Log<'_>, host: &mut H, found: &Found, output: SegmentIndex) {
    let placed = found.placed();
    let Some(copy) = host.move_back(&found.hash, &placed, output) else { return };
    if log.segments.state_of(placed.location.segment) == SegmentState::Emptied {
        log.set_state(placed.location.segment, SegmentState::Sealed);
    }
    log.account(&placed, found.has_origin, Published::Live(Some(copy)));
}
