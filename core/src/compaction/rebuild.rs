//! `RebuildIndex`: reads the whole log, checks every record, corrects the index, and finds the keys of damaged records.
//!
//! ```text
//!  Next ─1─► Verifying ─2─► Blaming        Verifying ─6─► Wanting ─7─► Relocating ─8─► Next
//!    ▲           │ ▲────3──────┘ │
//!    └─────4─────┴───────5───────┘
//! ```
//! 1 the next segment with records; 2 `end_verify` damage was found, and the footer names the keys; 3 the footer tells where
//! the records behind a damaged length go on; 4 `leave` the segment is sound, or is kept for an examination; 5 the footer was
//! read to its end; 6 the segment is sound and lacks a footer, which its records get by relocation, or it is damaged and is to
//! be freed; 7 the cleaner is idle; 8 the cleaner is done. Where `Next` finds no segment, the engine has nothing left. A
//! segment that a mount could not read, or only in part, is not verified but read again (`restore`), and then freed as well.

use heapless::Vec;

use super::cleaner::Cleaner;
use super::task::{Step, Task};
use crate::drive::{MediumError, Poll};
use crate::format::SegmentIndex;
use crate::index::{Host, KeyCall, Liveness, Reconciled};
use crate::recovery::{Outcome, Restore, RestoreStep, Scan, Scanner, is_early};
use crate::segments::{Flag, Segment, SegmentState, VictimChoice, VictimReason};
use crate::writer::{Lessee, Log};

/// Offsets of damaged records in one segment, as many as are kept for telling which keys they belong to.
type Offsets = Vec<u32, 32>;

#[derive(Debug, Clone, Copy, Default)]
enum State {
    #[default]
    Next,
    /// Takes a second look at one that could not be read.
    Restoring,
    /// Reads and checks every record.
    Verifying(Scanner),
    /// Finds the keys of damaged records in the footer, and the offset of the next record behind a damaged length.
    Blaming { blame: Scanner, verify: Scanner },
    /// Waits for the cleaner, to relocate a segment without a footer.
    Wanting(VictimChoice),
    /// Waits until that is done.
    Relocating,
}

/// The state of the task.
#[derive(Debug, Default)]
pub(crate) struct Rebuild {
    state: State,
    segment: SegmentIndex,
    damaged: Offsets,
    /// Whether bytes that still can't be read are given up.
    gives_up: bool,
}

/// Records checked in one poll; each may be as long as a buffer, so the bytes of a step are bounded by the buffer.
const RECORDS_PER_POLL: u32 = 64;

impl Rebuild {
    pub(crate) fn new(gives_up: bool) -> Self {
        Self { gives_up, ..Self::default() }
    }

    /// Takes a step. Bounds: one keyed record that the host looks at and [`RECORDS_PER_POLL`] others of one buffer, or one action.
    pub(crate) fn step<H: Host>(
        &mut self,
        log: &mut Log<'_>,
        cleaner: &Cleaner,
        restore: &mut Restore,
        host: &mut H,
        task: &mut Task,
    ) -> Step {
        match self.state {
            State::Next | State::Wanting(_) if task.is_cancelled => Step::Reclaim,
            State::Next => self.next(log, restore),
            State::Restoring => self.restore(log, restore, host, task),
            State::Verifying(scanner) => self.verify(log, host, task, scanner),
            State::Blaming { blame, verify } => self.blame(log, host, task, blame, verify),
            State::Wanting(choice) if cleaner.is_idle() => {
                self.state = State::Relocating;
                Step::Clean(choice)
            }
            State::Relocating if cleaner.is_idle() => {
                self.state = State::Next;
                Step::Stay(Poll::Again)
            }
            State::Wanting(_) | State::Relocating => Step::Stay(Poll::Idle),
        }
    }

    fn next(&mut self, log: &mut Log<'_>, restore: &mut Restore) -> Step {
        if log.scan.is_leased() || !restore.is_idle() {
            return Step::Stay(Poll::Idle);
        }
        let is_written = |i: &SegmentIndex| holds_records(log.segments.get(*i));
        let Some(segment) = self.segment.up_to(log.layout.geometry().segment_count()).find(is_written) else {
            return Step::Reclaim;
        };
        self.segment = segment;
        self.damaged.clear();
        if was_unread(log.segments.get(segment)) {
            restore.begin(log, segment, self.gives_up);
            self.state = State::Restoring;
            return Step::Stay(Poll::Again);
        }
        log.scan.lease(Lessee::Verifying);
        self.state = State::Verifying(Scanner::records(log, segment));
        Step::Stay(Poll::Again)
    }

    /// Reads a segment again that could not be read; then its live records are relocated, and it is freed.
    fn restore<H: Host>(
        &mut self,
        log: &mut Log<'_>,
        restore: &mut Restore,
        host: &mut H,
        task: &mut Task,
    ) -> Step {
        let outcome = match restore.poll(log, host) {
            RestoreStep::Stay(poll) => return Step::Stay(poll),
            RestoreStep::Done(outcome) => outcome,
        };
        let restored = restore.restored;
        task.report.checked_records += u64::from(restored.records);
        task.report.rescued_records += restored.rescued_records;
        task.report.damaged_records += restored.damaged_records;
        task.report.reread_segments += 1;
        let segment = self.segment;
        self.segment = self.segment.next();
        self.state = State::Next;
        match outcome {
            Outcome::Known => {
                self.give_back(log, task, segment);
            }
            Outcome::Freeing => {
                // The task ends when it is free.
                let choice = VictimChoice { segment, reason: VictimReason::Damaged };
                task.report.victims.first.get_or_insert(choice);
                task.report.victims.last = Some(choice);
                task.report.returned_segments += 1;
            }
            Outcome::Kept | Outcome::NoPlace => {
                task.report.victims.skipped += 1;
                task.has_failed = true;
            }
        }
        Step::Stay(Poll::Again)
    }

    /// Has a damaged segment cleaned: its whole records are relocated, and it is freed, unless a live record in it is damaged.
    fn give_back(&mut self, log: &Log<'_>, task: &mut Task, segment: SegmentIndex) {
        let fits = log.fits_output(log.segments.get(segment));
        let has_space = fits && !log.is_kept_for_intents() && !log.is_at_end();
        task.is_deferred |= !has_space;
        if has_space {
            self.state = State::Wanting(VictimChoice { segment, reason: VictimReason::Damaged });
        }
    }

    fn verify<H: Host>(
        &mut self,
        log: &mut Log<'_>,
        host: &mut H,
        task: &mut Task,
        mut scanner: Scanner,
    ) -> Step {
        if log.scan.is_reading() {
            return Step::Stay(Poll::Idle);
        }
        if let Some(action) = log.read_again() {
            return Step::Stay(Poll::Do(action));
        }
        for _ in 0..RECORDS_PER_POLL {
            let before = if H::ANSWERS_AT_ONCE { None } else { Some(scanner) };
            let step = match log.scan.take_result() {
                Some(Err(MediumError::Unreadable)) => scanner.unreadable(log),
                // The failure may pass, so it says nothing of the records: the rest of this segment is skipped.
                Some(Err(_)) => {
                    task.report.victims.skipped += 1;
                    task.has_failed = true;
                    return self.end_verify(log, task, scanner);
                }
                _ => scanner.next(log, host),
            };
            match step {
                Scan::Read { offset, bytes } => {
                    self.state = State::Verifying(scanner);
                    return Step::Stay(Poll::Do(log.read_for(&scanner, offset, bytes)));
                }
                Scan::Item(found) if is_early(host, KeyCall::Found, &found) => {
                    self.state = State::Verifying(before.unwrap_or(scanner));
                    return Step::Stay(Poll::Again);
                }
                Scan::Item(found) => {
                    task.report.checked_records += 1;
                    task.advance_to(task.progress.done + u64::from(found.record_bytes));
                    // In an open segment the index may know a record before the scan reaches it.
                    if found.kind.is_keyed()
                        && log.segments.state_of(found.location.segment) == SegmentState::Sealed
                    {
                        let placed = found.placed();
                        match host.reconcile(&found.hash, &placed) {
                            Reconciled::Known => {}
                            Reconciled::Placed(published) => {
                                task.report.repaired_records += 1;
                                log.account(&placed, found.has_origin, published);
                            }
                            // The segment stays, and the next `RebuildIndex` looks at it again.
                            Reconciled::NoPlace => {
                                task.has_failed = true;
                                log.segment(found.location.segment).set_unread(true);
                            }
                        }
                        // One record that the host looks at is enough for a step: on a device it reads the medium for it.
                        break;
                    }
                }
                Scan::Damage { offset } => {
                    task.report.damaged_records += 1;
                    // Damage beyond the kept offsets is counted. Its keys are not looked for; a read of them finds it.
                    let _ = self.damaged.push(offset);
                }
                Scan::Again => {}
                Scan::End { .. } => return self.end_verify(log, task, scanner),
            }
        }
        self.state = State::Verifying(scanner);
        Step::Stay(Poll::Again)
    }

    fn end_verify(&mut self, log: &mut Log<'_>, task: &mut Task, scanner: Scanner) -> Step {
        let segment = *log.segments.get(self.segment);
        if !self.damaged.is_empty() {
            if segment.has_footer() {
                let blame = Scanner::footer(log, self.segment);
                self.state = State::Blaming { blame, verify: scanner };
                return Step::Stay(Poll::Again);
            }
            // Without a footer the keys of the damaged bytes are not known, so the segment stays for an examination. Records
            // under suspicion are relocated in any case: no sync counts before that.
            let is_kept = segment.live_records() > 0 && !segment.is_suspect();
            log.segment(self.segment).set(Flag::Damaged, is_kept);
        }
        self.leave(log, task, segment.has_footer() || segment.state() != SegmentState::Sealed)
    }

    fn leave(&mut self, log: &mut Log<'_>, task: &mut Task, has_footer: bool) -> Step {
        log.scan.give_back(Lessee::Verifying);
        let segment = self.segment;
        self.segment = self.segment.next();
        // Relocation would not copy a record for which the index has no place.
        let is_kept = log.segments.get(segment).is_unread();
        let is_sound = self.damaged.is_empty() && !is_kept;
        let is_sealed = |s: &Segment| s.state() == SegmentState::Sealed && s.is_damaged() && !s.is_suspect();
        if is_sealed(log.segments.get(segment)) {
            self.state = State::Next;
            self.give_back(log, task, segment);
            return Step::Stay(Poll::Again);
        }
        // A new segment gets the footer that this one lacks: bytes behind a point of doubt are never written (rule 3).
        let wants_footer = !has_footer && is_sound;
        let has_space = !log.is_kept_for_intents() && !log.is_at_end();
        task.is_deferred |= wants_footer && !has_space;
        self.state = if wants_footer && has_space {
            State::Wanting(VictimChoice { segment, reason: VictimReason::NoFooter })
        } else {
            State::Next
        };
        Step::Stay(Poll::Again)
    }

    fn blame<H: Host>(
        &mut self,
        log: &mut Log<'_>,
        host: &mut H,
        task: &mut Task,
        mut blame: Scanner,
        verify: Scanner,
    ) -> Step {
        if log.scan.is_reading() {
            return Step::Stay(Poll::Idle);
        }
        for _ in 0..RECORDS_PER_POLL {
            let step = match log.scan.take_result() {
                Some(Err(_)) => blame.unreadable(log),
                _ => blame.next(log, host),
            };
            match step {
                Scan::Read { offset, bytes } => {
                    self.state = State::Blaming { blame, verify };
                    return Step::Stay(Poll::Do(log.read_for(&blame, offset, bytes)));
                }
                Scan::Item(found) => {
                    let at = found.location;
                    if self.damaged.contains(&at.offset) {
                        if found.kind.is_keyed() && host.liveness(&found.hash, at) == Liveness::Live {
                            host.damaged(&found.hash, at);
                            log.segment(at.segment).set(Flag::Damaged, true);
                        }
                    } else if verify.is_stopped && self.damaged.last().is_some_and(|last| at.offset > *last) {
                        // The first record behind a damaged length: the check goes on from here.
                        let mut verify = verify;
                        verify.resume_at(at.offset);
                        self.state = State::Verifying(verify);
                        return Step::Stay(Poll::Again);
                    }
                }
                Scan::Again | Scan::Damage { .. } => {}
                Scan::End { .. } => return self.leave(log, task, true),
            }
        }
        self.state = State::Blaming { blame, verify };
        Step::Stay(Poll::Again)
    }
}

/// Whether there are written records to verify: in a sealed segment, or in one that is being filled.
fn holds_records(segment: &Segment) -> bool {
    use SegmentState::{Open, Sealed, Sealing};
    was_unread(segment) || matches!(segment.state(), Open | Sealing | Sealed) && segment.used_bytes() > 0
}

/// Whether a mount could not read it, or not all of it.
fn was_unread(segment: &Segment) -> bool {
    match segment.state() {
        SegmentState::Quarantined => true,
        SegmentState::Sealed => segment.is_unread() && !segment.is_suspect(),
        _ => false,
    }
}
