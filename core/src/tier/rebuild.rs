//! `RebuildIndex`: reads the whole log, checks every record, puts the index right, tells damage by key.

use super::log::Log;
use super::mover::Mover;
use super::scanner::{Scan, Scanner};
use super::tasks::Offsets;
use super::{Host, MediumError, Poll, Standing};
use crate::compaction::{Progress, Report};
use crate::log::{Choice, Reason, SegmentState};

#[derive(Debug, Clone, Copy, Default)]
enum State {
    #[default]
    Next,
    /// Reads and checks every record.
    Verifying(Scanner),
    /// Finds the keys of damaged records in the footer, and where to go on behind bytes that tell no length.
    Blaming { blame: Scanner, verify: Scanner },
    /// Waits for the mover, to relocate a segment without a footer.
    Wanting(Choice),
    /// Waits until that is done.
    Relocating,
}

/// The state of the task.
#[derive(Debug, Default)]
pub(super) struct Rebuild {
    state: State,
    segment: u32,
    damaged: Offsets,
}

/// What comes next.
pub(super) enum Step {
    Poll(Poll),
    Relocate(Choice),
    Done,
}

/// Records checked in one poll; each may be as long as a buffer, so the bytes of a step are bounded by the buffer.
const RECORDS_PER_POLL: u32 = 64;

impl Rebuild {
    pub(super) fn is_between_segments(&self) -> bool {
        matches!(self.state, State::Next | State::Wanting(_))
    }

    pub(super) fn poll<H: Host>(
        &mut self,
        log: &mut Log<'_>,
        mover: &Mover,
        host: &mut H,
        report: &mut Report,
        progress: &mut Progress,
    ) -> Step {
        match self.state {
            State::Next => self.next(log),
            State::Verifying(scanner) => self.verify(log, host, report, progress, scanner),
            State::Blaming { blame, verify } => self.blame(log, host, blame, verify),
            State::Wanting(choice) if mover.is_idle() => {
                self.state = State::Relocating;
                Step::Relocate(choice)
            }
            State::Wanting(_) => Step::Poll(Poll::Idle),
            State::Relocating if mover.is_idle() => {
                self.state = State::Next;
                Step::Poll(Poll::Again)
            }
            State::Relocating => Step::Poll(Poll::Idle),
        }
    }

    fn next(&mut self, log: &mut Log<'_>) -> Step {
        if log.scan.taken {
            return Step::Poll(Poll::Idle);
        }
        let sealed = |i: &u32| log.state_of(*i) == SegmentState::Sealed;
        let Some(segment) = (self.segment..log.geometry.segment_count()).find(sealed) else {
            return Step::Done;
        };
        self.segment = segment;
        self.damaged.clear();
        log.scan.taken = true;
        self.state = State::Verifying(Scanner::records(log, segment));
        Step::Poll(Poll::Again)
    }

    fn verify<H: Host>(
        &mut self,
        log: &mut Log<'_>,
        host: &mut H,
        report: &mut Report,
        progress: &mut Progress,
        mut scanner: Scanner,
    ) -> Step {
        if log.scan.ticket.is_some() {
            return Step::Poll(Poll::Idle);
        }
        for _ in 0..RECORDS_PER_POLL {
            let step = match log.scan.result.take() {
                Some(Err(MediumError::Unreadable)) => scanner.unreadable(log),
                // It may pass, so it says nothing of the records: the rest of this segment is passed over.
                Some(Err(_)) => {
                    report.victims.skipped += 1;
                    return self.end_verify(log, scanner);
                }
                _ => scanner.next(log, host),
            };
            match step {
                Scan::Read { offset, bytes } => {
                    self.state = State::Verifying(scanner);
                    return Step::Poll(Poll::Do(log.read_for(&scanner, offset, bytes)));
                }
                Scan::Item(found) => {
                    report.checked_records += 1;
                    progress.done += u64::from(found.record_bytes);
                    progress.total = progress.total.max(progress.done + 1);
                    if found.kind.is_keyed() && log.state_of(found.location.segment) == SegmentState::Sealed {
                        let placed = found.placed();
                        if let Some(published) = host.reconcile(&found.hash, &placed) {
                            report.repaired_records += 1;
                            log.account(&placed, published);
                        }
                    }
                }
                Scan::Damage { offset } => {
                    report.damaged_records += 1;
                    // Beyond what is kept, damage is counted and its keys are found when they are read.
                    let _ = self.damaged.push(offset);
                }
                Scan::Again => {}
                Scan::End { .. } => return self.end_verify(log, scanner),
            }
        }
        self.state = State::Verifying(scanner);
        Step::Poll(Poll::Again)
    }

    fn end_verify(&mut self, log: &mut Log<'_>, scanner: Scanner) -> Step {
        let segment = log.segments.get(self.segment as usize).copied().unwrap_or_default();
        if !self.damaged.is_empty() {
            if segment.has_footer {
                let blame = Scanner::footer(log, self.segment);
                self.state = State::Blaming { blame, verify: scanner };
                return Step::Poll(Poll::Again);
            }
            // Without a footer no one can tell whose the bytes were; the segment stays for a look.
            if let Some(segment) = log.segment(self.segment) {
                // What is under suspicion is relocated whatever was read of it: no sync counts before that.
                segment.is_damaged = segment.live_records > 0 && !segment.is_suspect;
            }
        }
        self.leave(log, segment.has_footer || segment.state != SegmentState::Sealed)
    }

    fn leave(&mut self, log: &mut Log<'_>, has_footer: bool) -> Step {
        log.scan.taken = false;
        let segment = self.segment;
        self.segment += 1;
        let is_sound = self.damaged.is_empty();
        // A new segment gets the footer that this one lacks: bytes behind a point of doubt are never written (rule 3).
        if !has_footer && is_sound && log.free() > 1 {
            self.state = State::Wanting(Choice { segment, reason: Reason::NoFooter });
            return Step::Poll(Poll::Again);
        }
        self.state = State::Next;
        Step::Poll(Poll::Again)
    }

    fn blame<H: Host>(
        &mut self,
        log: &mut Log<'_>,
        host: &mut H,
        mut blame: Scanner,
        verify: Scanner,
    ) -> Step {
        if log.scan.ticket.is_some() {
            return Step::Poll(Poll::Idle);
        }
        for _ in 0..RECORDS_PER_POLL {
            let step = match log.scan.result.take() {
                Some(Err(_)) => blame.unreadable(log),
                _ => blame.next(log, host),
            };
            match step {
                Scan::Read { offset, bytes } => {
                    self.state = State::Blaming { blame, verify };
                    return Step::Poll(Poll::Do(log.read_for(&blame, offset, bytes)));
                }
                Scan::Item(found) => {
                    let at = found.location;
                    if self.damaged.contains(&at.offset) {
                        if found.kind.is_keyed() && host.standing(&found.hash, at) == Standing::Live {
                            host.damaged(&found.hash, at);
                            if let Some(segment) = log.segment(at.segment) {
                                segment.is_damaged = true;
                            }
                        }
                    } else if verify.is_stopped && self.damaged.last().is_some_and(|last| at.offset > *last) {
                        // The first record behind the bytes that told no length: go on from here.
                        let mut verify = verify;
                        verify.resume_at(at.offset);
                        self.state = State::Verifying(verify);
                        return Step::Poll(Poll::Again);
                    }
                }
                Scan::Again | Scan::Damage { .. } => {}
                Scan::End { .. } => return self.leave(log, true),
            }
        }
        self.state = State::Blaming { blame, verify };
        Step::Poll(Poll::Again)
    }
}
