//! Frees places of the host's index, and space, that removed keys still take.
//!
//! A removed key is in the index until its last copy is gone from the medium (rule 6). Where the host waits for that, segments
//! are cleaned that no shortage of free ones would have cleaned:
//!
//! ```text
//!  Idle ─1─► Passing ─2─► Passing ─3─► Recounting ─4─► Passing ─2─► Passing ─5─► Idle
//! ```
//! 1 the host waits; 2 every segment that was there when the pass began, the open one too, was cleaned if anything in it was
//! stale; 3 the passes were not enough: some counts are higher than the copies, since a count that has reached its highest
//! value stays there. So a recount begins, and every segment that is there now is cleaned; 4 these all are free: each copy that
//! is left was counted; 5 `give_up` nothing more can be done. Where the host begins a new wait, every state goes to Idle.
//!
//! **It ends.** A pass cleans no segment that was opened since it began, so each is at most the table long. The first makes all stale
//! copies go; the second the tombstones that nothing needed any more.

use super::cleaner::Cleaner;
use crate::drive::Poll;
use crate::format::Sequence;
use crate::index::Host;
use crate::segments::{Policy, Segment, SegmentState, VictimChoice, VictimReason, choose};
use crate::writer::Log;

/// Passes before the copies are counted anew, and after that.
const PASSES: u8 = 2;

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum State {
    #[default]
    Idle,
    /// Cleaning segments below a sequence that hold something stale; `left` passes follow this one.
    Passing { below: Sequence, left: u8 },
    /// Cleaning all segments whose copies are not counted.
    Recounting,
}

/// The engine that makes copies of removed keys go.
#[derive(Debug, Default)]
pub(crate) struct Places {
    state: State,
    /// The number of the host's wait.
    wait: u32,
    /// Whether a recount was made since the host began to wait.
    is_recounted: bool,
}

impl Places {
    /// Takes a step while the host waits and the cleaner is idle. Bounds: three passes over the table.
    pub(crate) fn step<H: Host>(
        &mut self,
        log: &mut Log<'_>,
        cleaner: &mut Cleaner,
        host: &mut H,
        wait: u32,
    ) -> Poll {
        if self.wait != wait {
            *self = Self { wait, ..Self::default() };
        }
        // Segments on their way to be free may give the host a place.
        if log.segments.leaving() > 0 {
            return Poll::Idle;
        }
        // A victim that yields little takes up to two outputs.
        if log.free() < log.free_reserve() {
            return if cleaner.is_stuck(log) { self.give_up(host) } else { Poll::Idle };
        }
        match self.state {
            State::Idle if log.copies.is_recounting() => self.state = State::Recounting,
            State::Idle => self.pass(log, PASSES),
            State::Passing { below, left } => return self.go_on(log, cleaner, host, below, left),
            State::Recounting if log.copies.is_recounting() => {
                return self.clean_uncounted(log, cleaner, host);
            }
            State::Recounting => {
                self.is_recounted = true;
                self.pass(log, PASSES);
            }
        }
        Poll::Again
    }

    fn pass(&mut self, log: &Log<'_>, passes: u8) {
        self.state = State::Passing { below: log.sequence_next(), left: passes - 1 };
    }

    fn give_up<H: Host>(&mut self, host: &mut H) -> Poll {
        *self = Self::default();
        host.keeps_copies();
        Poll::Again
    }

    fn go_on<H: Host>(
        &mut self,
        log: &mut Log<'_>,
        cleaner: &mut Cleaner,
        host: &mut H,
        below: Sequence,
        left: u8,
    ) -> Poll {
        let is_meant = |s: &Segment| s.sequence < below && s.stale_bytes() > 0;
        if let Some(choice) = choose(&log.terms(Policy::Greedy), log.segments.as_slice(), |_, s| is_meant(s))
        {
            cleaner.begin(log, choice);
            return Poll::Again;
        }
        let is_open = |s: &&Segment| matches!(s.state(), SegmentState::Open | SegmentState::Sealing);
        if log.segments.iter().filter(is_open).any(is_meant) {
            return Self::seal(log);
        }
        if left > 0 {
            self.pass(log, left);
            return Poll::Again;
        }
        if self.is_recounted || !Self::may_recount(log) {
            return self.give_up(host);
        }
        if !log.is_written() {
            log.flush();
            return Poll::Idle;
        }
        log.begin_recount();
        self.state = State::Recounting;
        Poll::Again
    }

    /// Seals what is open: its copies go with it.
    fn seal(log: &mut Log<'_>) -> Poll {
        if log.is_written() {
            log.seal_all();
        } else {
            log.flush();
        }
        Poll::Idle
    }

    /// Tells whether every segment can be cleaned: one that is kept would keep its copies, too.
    fn may_recount(log: &Log<'_>) -> bool {
        let is_kept = |s: &Segment| s.state() == SegmentState::Quarantined || s.is_kept() || s.is_suspect();
        !log.copies.is_withholding() && !log.copies.is_recounting() && !log.segments.iter().any(is_kept)
    }

    fn clean_uncounted<H: Host>(&mut self, log: &mut Log<'_>, cleaner: &mut Cleaner, host: &mut H) -> Poll {
        let is_left = |s: &Segment| s.state() == SegmentState::Sealed && !s.is_counted() && !s.is_kept();
        let left = log.segments.numbered().filter(|(_, s)| is_left(s));
        if let Some((segment, left)) = left.min_by_key(|(_, s)| s.live_bytes()) {
            if !log.fits_output(left) {
                return self.give_up(host);
            }
            cleaner.begin(log, VictimChoice { segment, reason: VictimReason::Uncounted });
            return Poll::Again;
        }
        if log.segments.iter().any(|s| s.state() == SegmentState::Sealing) {
            return Self::seal(log);
        }
        log.end_recount(host);
        // A segment that was found damaged meanwhile is kept, so the recount can't end.
        if log.copies.is_recounting() { self.give_up(host) } else { Poll::Again }
    }
}
