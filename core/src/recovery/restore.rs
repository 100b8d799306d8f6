//! The second look at a segment that a mount could not read, or only in part: its whole records come back, and it can be freed.
//!
//! ```text
//!  Idle ─1─► Head ─2─► Records ─3─► Idle
//!              └─4─► Guessing ─5─┘▲
//!                        └─6─► Trailer
//! ```
//! 1 `begin`: to Head for a segment in quarantine, or to Records for one with unread records; 2 a copy of its header is there;
//! 3 all its records were read; 4 neither copy is whole, though both were read; 5 a sequence was found with which the first
//! record validates; 6 none was found: a footer may state it. From Trailer it goes on to Records, or ends.
//!
//! A copy that comes back loses against every newer one: all copies that outrank it were kept meanwhile (rule 6), and later
//! writes have a higher sequence. It is not counted as a copy, so the segment is not counted down when it is freed. A segment
//! with bytes that can't be read is not freed, unless the operator gives them up. A segment with a record for which the index
//! has no place stays in any case.

use super::head::{Head, HeadReader, HeadStep};
use super::scanner::{Scan, Scanner, is_early};
use crate::drive::{MediumError, Poll};
use crate::format::{Location, Marker, SegmentIndex, Sequence, TRAILER_BYTES, Trailer, read_record};
use crate::index::{Host, KeyCall, Reconciled};
use crate::invariant::Invariant;
use crate::segments::{Flag, SegmentState, SyncPoint};
use crate::writer::{LANE_SCAN, Lessee, Log};

/// Sequences tried in one poll; each takes a checksum over one record.
const GUESSES_PER_POLL: u32 = 16;

/// Sequences tried in all.
const GUESSES_MAX: u32 = 1 << 16;

#[derive(Debug, Clone, Copy, Default)]
enum State {
    #[default]
    Idle,
    Head(HeadReader),
    /// Trying one sequence after the other on the first record.
    Guessing {
        next: Sequence,
        end: Sequence,
    },
    /// Reading the trailer, for the sequence that it states.
    Trailer,
    Records(Scanner),
    /// No look: the reclaiming counts copies down, or a relocation is taken back. Only one of them has the scan buffer, so they share
    /// the scanner's memory.
    Counting(Scanner),
}

/// The outcome of a second look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Its records are in the index: it can be cleaned like any other.
    Known,
    /// It holds no record that can be read: it is on its way to be free.
    Freeing,
    /// Something of it still can't be read: it stays as it is.
    Kept,
    /// The index has no place for a record of it: it stays as it is.
    NoPlace,
}

/// The outcome of a look, counted.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Restored {
    pub(crate) records: u32,
    pub(crate) rescued_records: u32,
    pub(crate) damaged_records: u32,
}

pub(crate) enum RestoreStep {
    Stay(Poll),
    Done(Outcome),
}

/// The engine that takes the second look.
#[derive(Debug, Default)]
pub(crate) struct Restore {
    state: State,
    pub(crate) segment: SegmentIndex,
    pub(crate) restored: Restored,
    /// Whether bytes that still can't be read are given up.
    gives_up: bool,
    /// Whether some bytes could not be read again.
    is_unread: bool,
    /// Whether the index had no place for some record of it.
    lacks_places: bool,
    /// Bytes of records that it was known to hold.
    used_bytes: u32,
    /// Whether the sequence is known from the trailer alone, which proves nothing where the footer is damaged.
    is_by_trailer: bool,
}

impl Restore {
    pub(crate) fn is_idle(&self) -> bool {
        matches!(self.state, State::Idle)
    }

    /// Begins a look. The scan lane must be free; it is taken.
    pub(crate) fn begin(&mut self, log: &mut Log<'_>, segment: SegmentIndex, gives_up: bool) {
        let used_bytes = log.segments.get(segment).used_bytes();
        *self = Self { segment, gives_up, used_bytes, ..Self::default() };
        log.scan.lease(Lessee::Restoring);
        log.scan.forget_result();
        self.state = if log.segments.state_of(segment) == SegmentState::Quarantined {
            State::Head(HeadReader::new(segment))
        } else {
            self.scan(log)
        };
    }

    /// Keeps the scanner of the engine that has the scan buffer: reclaiming, or taking a relocation back.
    pub(crate) const fn count(&mut self, scanner: Scanner) {
        self.state = State::Counting(scanner);
    }

    /// Takes that scanner.
    pub(crate) const fn take_counting(&mut self) -> Option<Scanner> {
        let State::Counting(scanner) = self.state else { return None };
        self.state = State::Idle;
        Some(scanner)
    }

    /// Takes a step. Bounds: one keyed record and `step_records` others, or [`GUESSES_PER_POLL`] guesses, or one action.
    pub(crate) fn poll<H: Host>(&mut self, log: &mut Log<'_>, host: &mut H) -> RestoreStep {
        if log.scan.is_reading() {
            return RestoreStep::Stay(Poll::Idle);
        }
        if let Some(action) = log.read_again() {
            return RestoreStep::Stay(Poll::Do(action));
        }
        match self.state {
            State::Idle => RestoreStep::Done(Outcome::Kept),
            State::Counting(_) => {
                log.watch.note(Invariant::ReadBuffer);
                RestoreStep::Stay(Poll::Idle)
            }
            State::Head(reader) => self.head(log, reader),
            State::Guessing { next, end } => self.guess(log, next, end),
            State::Trailer => self.trailer(log),
            State::Records(scanner) => self.records(log, host, scanner),
        }
    }

    fn end(&mut self, log: &mut Log<'_>, outcome: Outcome) -> RestoreStep {
        log.scan.give_back(Lessee::Restoring);
        if outcome == Outcome::Freeing {
            log.segments.note_read(self.segment);
        }
        self.state = State::Idle;
        if outcome == Outcome::Freeing {
            let segment = log.set_state(self.segment, SegmentState::Freeing);
            segment.set(Flag::Counted, false);
            segment.set(Flag::Damaged, false);
            // Until the erase is durable its copies may come back, since no erase intent says that it is to be erased.
            segment.set_unread(true);
            segment.set_sync_point(SyncPoint::NONE);
        }
        RestoreStep::Done(outcome)
    }

    fn head(&mut self, log: &mut Log<'_>, mut reader: HeadReader) -> RestoreStep {
        let head = match reader.poll(log) {
            HeadStep::Read(action) => {
                self.state = State::Head(reader);
                return RestoreStep::Stay(Poll::Do(action));
            }
            HeadStep::Done(head) => head,
        };
        if let Some(header) = head.header {
            // The mount could not read this header, so it did not check that the longest record fits into the buffers.
            if header.store != *log.layout.store() || header.record_bytes_max > log.layout.longest_bytes() {
                return self.end(log, Outcome::Kept);
            }
            self.adopt(log, header.sequence, head.marker);
            log.segment(self.segment).set_stream(header.stream);
            return RestoreStep::Stay(Poll::Again);
        }
        if head.error.is_some() {
            return self.end(log, Outcome::Kept);
        }
        if head.is_torn(log.layout.config().trusts_blank) || head.is_unreadable && self.gives_up {
            return self.end(log, Outcome::Freeing);
        }
        if head.is_unreadable {
            return self.end(log, Outcome::Kept);
        }
        self.begin_guessing(log, &head)
    }

    /// Both ends were read, and no copy of the header is whole. The sequence is above all that had been issued when the marker
    /// was written.
    fn begin_guessing(&mut self, log: &mut Log<'_>, head: &Head) -> RestoreStep {
        let end = log.sequence_next();
        let next = match head.marker {
            // In its first life its own sequence was issued before the marker.
            Some(marker) => marker.sequence_issued.max(Sequence::FIRST),
            None => Sequence::new(end.get().saturating_sub(GUESSES_MAX)).max(Sequence::FIRST),
        };
        let at = log.layout.geometry().records_at();
        let bytes = log.layout.geometry().trailer_at() - at;
        self.state = State::Guessing { next, end: end.min(next.ahead(GUESSES_MAX)) };
        RestoreStep::Stay(Poll::Do(log.read(LANE_SCAN, self.segment, at, bytes)))
    }

    fn guess(&mut self, log: &mut Log<'_>, next: Sequence, end: Sequence) -> RestoreStep {
        if matches!(log.scan.result(), Some(Err(_))) {
            log.scan.forget_result();
            return self.end(log, Outcome::Kept);
        }
        let last = end.min(next.ahead(GUESSES_PER_POLL));
        let offset = log.layout.geometry().records_at();
        let is_it = |sequence: &Sequence| {
            let at = Location { segment: self.segment, offset, sequence: *sequence };
            read_record(log.layout.geometry(), log.layout.seed(), at, log.scan.filled()).is_ok()
        };
        let found = next.up_to(last).find(is_it);
        if let Some(sequence) = found.filter(|sequence| Self::is_free(log, *sequence)) {
            log.scan.forget_result();
            self.adopt(log, sequence, None);
            return RestoreStep::Stay(Poll::Again);
        }
        if last >= end {
            log.scan.forget_result();
            self.state = State::Trailer;
            let (at, bytes) =
                (log.layout.geometry().trailer_at(), log.layout.geometry().padded(TRAILER_BYTES));
            return RestoreStep::Stay(Poll::Do(log.read(LANE_SCAN, self.segment, at, bytes)));
        }
        self.state = State::Guessing { next: last, end };
        RestoreStep::Stay(Poll::Again)
    }

    /// Whether no other segment has that sequence.
    fn is_free(log: &Log<'_>, sequence: Sequence) -> bool {
        !log.segments.iter().any(|s| s.sequence == sequence && s.is_counted())
    }

    /// The first record is damaged, too. Those behind it may be whole, and a footer would list them.
    fn trailer(&mut self, log: &mut Log<'_>) -> RestoreStep {
        let stated = match log.scan.take_result() {
            Some(Ok(())) => Trailer::stated_sequence(log.scan.filled()),
            _ => None,
        };
        let stated =
            stated.filter(|sequence| *sequence < log.sequence_next() && Self::is_free(log, *sequence));
        if let Some(sequence) = stated {
            self.is_by_trailer = true;
            self.adopt(log, sequence, None);
            return RestoreStep::Stay(Poll::Again);
        }
        // No part of it states which life this is.
        self.end(log, if self.gives_up { Outcome::Freeing } else { Outcome::Kept })
    }

    /// The sequence of the segment is known: its records can be read.
    fn adopt(&mut self, log: &mut Log<'_>, sequence: Sequence, marker: Option<Marker>) {
        log.segments.note_read(self.segment);
        let segment = log.set_state(self.segment, SegmentState::Sealed);
        segment.sequence = sequence;
        segment.erases = marker.map_or(segment.erases, |marker| marker.erases);
        segment.set(Flag::Counted, false);
        // None of its records counts as live before it was read. Until then no engine may take the segment for dead.
        segment.set_unread(true);
        self.state = self.scan(log);
    }

    /// Goes through its records from the first on; where they end is found anew.
    fn scan(&self, log: &mut Log<'_>) -> State {
        log.segment(self.segment).set_used_bytes(0);
        let mut scanner = Scanner::footer(log, self.segment);
        // The mount found where its records end. A record that a cut left behind a gap there stays hidden.
        if self.used_bytes > 0 {
            scanner.search_end = log.layout.geometry().records_at() + self.used_bytes;
        }
        State::Records(scanner)
    }

    fn records<H: Host>(&mut self, log: &mut Log<'_>, host: &mut H, mut scanner: Scanner) -> RestoreStep {
        for _ in 0..log.layout.config().step_records {
            let before = if H::ANSWERS_AT_ONCE { None } else { Some(scanner) };
            let step = match log.scan.take_result() {
                Some(Err(error)) => {
                    self.is_unread |= error != MediumError::Unreadable || log.layout.config().trusts_blank;
                    scanner.unreadable(log)
                }
                _ => scanner.next(log, host),
            };
            match step {
                Scan::Read { offset, bytes } => {
                    self.state = State::Records(scanner);
                    return RestoreStep::Stay(Poll::Do(log.read_for(&scanner, offset, bytes)));
                }
                Scan::Item(found) if is_early(host, KeyCall::Found, &found) => {
                    self.state = State::Records(before.unwrap_or(scanner));
                    return RestoreStep::Stay(Poll::Again);
                }
                Scan::Item(found) if found.kind.is_keyed() => {
                    self.restored.records += 1;
                    let placed = found.placed();
                    match host.reconcile(&found.hash, &placed) {
                        Reconciled::Known => {}
                        Reconciled::Placed(published) => {
                            self.restored.rescued_records += 1;
                            log.counters.rescued_records += 1;
                            log.account(&placed, found.has_origin, published);
                        }
                        Reconciled::NoPlace => self.lacks_places = true,
                    }
                    // The host looks at one record in a step, since it may read the medium for it.
                    self.state = State::Records(scanner);
                    return RestoreStep::Stay(Poll::Again);
                }
                Scan::Item(_) | Scan::Again => {}
                Scan::Damage { .. } => self.restored.damaged_records += 1,
                Scan::End { records_end } => return self.end_records(log, &scanner, records_end),
            }
        }
        self.state = State::Records(scanner);
        RestoreStep::Stay(Poll::Again)
    }

    fn end_records(&mut self, log: &mut Log<'_>, scanner: &Scanner, records_end: u32) -> RestoreStep {
        let is_unknown = self.is_by_trailer && !scanner.has_footer;
        let is_unread = (self.is_unread || scanner.is_given_up || is_unknown) && !self.gives_up;
        let is_kept = is_unread || self.lacks_places;
        let used = records_end.saturating_sub(log.layout.geometry().records_at());
        let has_footers = log.layout.config().has_footers;
        let segment = log.segment(self.segment);
        segment.set_used_bytes(used.max(self.used_bytes));
        segment.set(Flag::Footer, scanner.has_footer);
        segment.set_unread(is_kept);
        segment.set(Flag::Damaged, is_kept && has_footers);
        let outcome = match is_kept {
            _ if self.lacks_places => Outcome::NoPlace,
            true => Outcome::Kept,
            false => Outcome::Known,
        };
        self.end(log, outcome)
    }
}
