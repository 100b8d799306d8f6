//! Takes emptied segments to free, in an order in which a cut at any point does no harm.
//!
//! ```text
//!  Emptied ─ copies durable ─► erase intent appended ─► Freeing ─ erase intent durable ─► copies counted down, erased,
//!  marker written ─► Erased ─ durable ─► Free
//! ```
//! A segment's erase begins only when an erase intent of it is durable elsewhere. The intent is written only when everything
//! that superseded or relocated its records is durable (rules 1 and 5, I-GC-1). The index counts the copies in it as gone
//! between the two: a mount never reads a segment whose erase intent is there. The erase intent itself stays live until the
//! erase is durable.

use crate::cleanup::Ticket;
use crate::codec::CodecId;
use crate::config::Stream;
use crate::drive::{Action, MediumError, Now, Poll};
use crate::format::{EraseIntent, KeyHash, Kind, MARKER_BYTES, Marker, RecordHeader, SegmentIndex};
use crate::index::{Host, KeyCall};
use crate::invariant::Invariant;
use crate::recovery::{Restore, Scan, Scanner, is_early};
use crate::segments::{Flag, Segment, SegmentState, SyncPoint};
use crate::writer::{Incoming, LANE_ERASE, Lessee, Log};

#[derive(Debug, Clone, Copy, Default)]
enum State {
    #[default]
    Idle,
    /// Counting down the copies in a segment; the scanner is kept by [`Restore`].
    Counting,
    /// An erase is in flight.
    Erasing { segment: SegmentIndex, ticket: Ticket },
    /// The marker is next.
    Marking { segment: SegmentIndex },
    /// The marker is in flight.
    MarkerWriting { segment: SegmentIndex, ticket: Ticket },
}

/// The engine that frees segments, one erase at a time.
#[derive(Debug, Default)]
pub(crate) struct Reclaimer {
    state: State,
    /// Failed syncs when the erase in hand was asked for.
    sync_failures: u64,
    marker: [u8; 32],
}

impl Log<'_> {
    /// Marks a sealed segment without live records as emptied, without the cleaner.
    pub(crate) fn take_as_emptied(&mut self, index: SegmentIndex) {
        let died = self.set_state(index, SegmentState::Emptied).sync_point();
        self.durability.want_sync_point(died);
        self.counters.victims += 1;
    }
}

impl Reclaimer {
    /// Takes a step. Bounds: one pass over the table, or `step_records` entries, or one action.
    pub(crate) fn poll<H: Host>(
        &mut self,
        now: Now,
        log: &mut Log<'_>,
        host: &mut H,
        restore: &mut Restore,
    ) -> Poll {
        match self.state {
            State::Idle => self.pick(now, log, host, restore),
            State::Counting => self.count(log, host, restore),
            State::Erasing { .. } | State::MarkerWriting { .. } => Poll::Idle,
            State::Marking { segment } => self.write_marker(log, segment),
        }
    }

    pub(crate) fn is_waiting(&self, ticket: Ticket) -> bool {
        match self.state {
            State::Erasing { ticket: t, .. } | State::MarkerWriting { ticket: t, .. } => t == ticket,
            _ => false,
        }
    }

    /// The bytes to write; empty where not all of them are there.
    pub(crate) fn lent(&self, log: &Log<'_>) -> &[u8] {
        self.marker.get(..log.layout.geometry().padded(MARKER_BYTES) as usize).unwrap_or_default()
    }

    fn pick<H: Host>(&mut self, now: Now, log: &mut Log<'_>, host: &mut H, restore: &mut Restore) -> Poll {
        if log.is_backing_off(now) || log.segments.leaving() == 0 {
            return Poll::Idle;
        }
        let due = match log.segments.emptied() {
            Some(kept) => Self::due(log, kept.iter().copied()),
            None => Self::due(log, SegmentIndex::FIRST.up_to(log.layout.geometry().segment_count())),
        };
        match due {
            Some((index, SegmentState::Erased)) => {
                log.finish_growing(index);
                Self::finish(log, index);
                while let Some(released) = host.erased(index) {
                    log.release(&released);
                }
                log.end_withholding(host);
                log.end_recount(host);
                Poll::Again
            }
            Some((index, SegmentState::Freeing)) => self.begin_free(log, index, restore),
            Some((index, SegmentState::Emptied)) => Self::append_intent(log, index),
            _ => Self::take_dead(log),
        }
    }

    /// The next of these segments to take a step with. First come erased and freeing ones whose last step is durable, then
    /// emptied ones whose superseding records are durable.
    fn due(log: &Log<'_>, among: impl Iterator<Item = SegmentIndex>) -> Option<(SegmentIndex, SegmentState)> {
        let synced = log.durability.synced();
        let is_clear = !log.segments.has_suspects() && log.durability.is_suspicion_synced();
        let usable = log.usable_segments();
        let mut emptied = None;
        for index in among {
            let segment = log.segments.get(index);
            let is_due = segment.sync_point().is_covered_by(synced);
            match segment.state() {
                SegmentState::Erased if is_due && index.get() < usable => {
                    return Some((index, SegmentState::Erased));
                }
                SegmentState::Freeing if is_due && !log.scan.is_leased() && !log.is_erase_barred(index) => {
                    return Some((index, SegmentState::Freeing));
                }
                SegmentState::Emptied
                    if is_due && is_clear
                        || segment.sync_point().is_covered_by(log.durability.synced_clear()) =>
                {
                    // One that may be erased without an erase intent goes first.
                    let is_first = emptied.is_none_or(|(before, _)| {
                        log.segments.get(before).is_relocated() && !segment.is_relocated()
                    });
                    if is_first {
                        emptied = Some((index, SegmentState::Emptied));
                    }
                }
                _ => {}
            }
        }
        emptied
    }

    /// Empties a dead segment while the cleaner, which would do that, waits for space in the middle of a victim. While segments
    /// are under suspicion, only one that was dead by the last good sync before.
    fn take_dead(log: &mut Log<'_>) -> Poll {
        let is_under_way =
            log.segments.count(SegmentState::Freeing) + log.segments.count(SegmentState::Erased) > 0;
        let has_suspects = log.segments.has_suspects();
        let is_short = log.is_starved() || has_suspects && log.free() <= 1;
        if !is_short || is_under_way || log.segments.count(SegmentState::Victim) == 0 {
            return Poll::Idle;
        }
        let is_dead = |s: &Segment| {
            s.is_dead() && (s.sync_point().is_covered_by(log.durability.synced_clear()) || !has_suspects)
        };
        let dead = log.segments.numbered().find(|(_, segment)| is_dead(segment));
        let Some((index, _)) = dead else { return Poll::Idle };
        log.take_as_emptied(index);
        Poll::Again
    }

    /// The erase is durable: the segment is free, its erase intent not needed any more.
    fn finish(log: &mut Log<'_>, index: SegmentIndex) {
        log.release_intent(index);
        let segment = log.set_state(index, SegmentState::Free);
        segment.set_used_bytes(0);
        segment.set(Flag::Suspect, false);
        segment.set(Flag::Footer, false);
        segment.set_unread(false);
        segment.set_relocated(false);
        segment.set_sync_point(SyncPoint::NONE);
        log.note_free(index);
        log.note_reclaimed(log.layout.geometry().segment_bytes());
    }

    fn append_intent(log: &mut Log<'_>, index: SegmentIndex) -> Poll {
        let segment = log.segments.get(index);
        let value =
            EraseIntent { segment: index, sequence: segment.sequence, erases: segment.erases }.to_bytes();
        let header = RecordHeader {
            kind: Kind::EraseIntent,
            codec: CodecId::Raw,
            key_bytes: 0,
            value_bytes: u32::try_from(value.len()).unwrap_or(u32::MAX),
            expires_s: None,
            origin: None,
        };
        let payload = log.layout.seed().payload(&value);
        let incoming =
            Incoming { hash: KeyHash(value), header, parts: [&[], &value], payload, relocated_from: None };
        if log.append_relocated(Stream::Old, &incoming).is_err() {
            let is_relocated = log.segments.get(index).is_relocated();
            if !is_relocated && log.lacks_space_for_intent(header.record_bytes(log.layout.geometry())) {
                // Every segment is taken, and none open. This one holds only records that lose against durable ones elsewhere,
                // so it can be erased alone: no other is freed until that is durable.
                log.set_state(index, SegmentState::Freeing).set_sync_point(SyncPoint::NONE);
                return Poll::Again;
            }
            log.flush();
            return Poll::Idle;
        }
        log.set_state(index, SegmentState::Freeing).set_sync_point(SyncPoint::NEVER);
        log.flush();
        Poll::Again
    }

    fn begin_free(&mut self, log: &mut Log<'_>, index: SegmentIndex, restore: &mut Restore) -> Poll {
        let is_counted = log.segments.get(index).is_counted();
        if is_counted {
            log.scan.lease(Lessee::Reclaiming);
            restore.count(Scanner::footer(log, index));
            self.state = State::Counting;
            return Poll::Again;
        }
        self.erase(log, index)
    }

    fn erase(&mut self, log: &mut Log<'_>, segment: SegmentIndex) -> Poll {
        let ticket = log.ticket(LANE_ERASE);
        self.state = State::Erasing { segment, ticket };
        self.sync_failures = log.counters.sync_failures;
        Poll::Do(Action::Erase { ticket, segment })
    }

    /// Counts down the copies in the segment, which are gone for good now (rule 6). A tombstone may become needless by it.
    fn count<H: Host>(&mut self, log: &mut Log<'_>, host: &mut H, restore: &mut Restore) -> Poll {
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
        let failed = log.scan.take_result().is_some_and(|r| r.is_err());
        for _ in 0..log.layout.config().step_records {
            let before = if H::ANSWERS_AT_ONCE { None } else { Some(scanner) };
            // Unreadable copies are not counted down: a tombstone may stay longer than it is needed, and nothing comes back.
            let step = if failed { Scan::End { records_end: 0 } } else { scanner.next(log, host) };
            match step {
                Scan::Read { offset, bytes } => {
                    restore.count(scanner);
                    return Poll::Do(log.read_for(&scanner, offset, bytes));
                }
                Scan::Item(found) if is_early(host, KeyCall::CopyErased, &found) => {
                    restore.count(before.unwrap_or(scanner));
                    return Poll::Again;
                }
                Scan::Item(found) if found.kind.is_keyed() => {
                    if let Some(released) = host.copy_erased(&found.hash) {
                        log.release(&released);
                    }
                }
                Scan::Item(_) | Scan::Damage { .. } | Scan::Again => {}
                Scan::End { .. } => {
                    log.scan.give_back(Lessee::Reclaiming);
                    let segment = scanner.segment;
                    log.segment(segment).set(Flag::Counted, false);
                    return self.erase(log, segment);
                }
            }
        }
        restore.count(scanner);
        Poll::Again
    }

    /// An erase or a marker is complete, or failed.
    pub(crate) fn done(&mut self, now: Now, log: &mut Log<'_>, result: Result<(), MediumError>) {
        match self.state {
            State::Erasing { segment, .. } if result.is_ok() => {
                log.counters.erases += 1;
                log.durability.raise_sync_point();
                let erased = log.segment(segment);
                erased.erases = erased.erases.saturating_add(1);
                erased.set(Flag::Marker, false);
                erased.set(Flag::Doubtful, false);
                self.state = State::Marking { segment };
            }
            State::MarkerWriting { segment, .. } if result.is_ok() => {
                log.succeed();
                let sync_point = log.durability.raise_sync_point();
                self.state = State::Idle;
                // Rule 9: a sync failed since the erase began, so no later sync proves the erase. A cut could undo it under its
                // new marker, and the old records would be back. So the segment stays `Freeing` and is erased again.
                if log.counters.sync_failures != self.sync_failures {
                    return;
                }
                log.durability.want_sync_point(sync_point);
                let segment = log.set_state(segment, SegmentState::Erased);
                segment.set(Flag::Marker, true);
                segment.set_sync_point(sync_point);
            }
            _ => {
                // It stays `Freeing`: the erase is begun again later.
                if result != Err(MediumError::Interrupted) {
                    log.back_off(now);
                }
                self.state = State::Idle;
            }
        }
    }

    fn write_marker(&mut self, log: &mut Log<'_>, segment: SegmentIndex) -> Poll {
        let erases = log.segments.get(segment).erases;
        let marker = Marker { erases, sequence_issued: log.sequence_next().before() }.encode();
        self.marker.fill(log.layout.geometry().erase_value());
        for (to, from) in self.marker.iter_mut().zip(marker) {
            *to = from;
        }
        let ticket = log.ticket(LANE_ERASE);
        self.state = State::MarkerWriting { segment, ticket };
        let bytes = log.layout.geometry().padded(MARKER_BYTES);
        log.counters.bytes_written += u64::from(bytes);
        Poll::Do(Action::Write { ticket, segment, offset: 0, bytes })
    }
}
