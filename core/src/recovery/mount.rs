//! The mount: finds out what a medium holds, in bounded steps.
//!
//! ```text
//!  Head ─► Scan (EraseIntent) ─► Clock ─► Scan (Index) ─► Settle ─► Sync ─► Done
//! ```
//! *Head* reads both ends of every segment and decides its state. The first *Scan* looks for times and for erase intents, so
//! that the second never reads a segment that was about to be erased. *Clock* lets the tier's time go on from the newest time.
//! The second *Scan* feeds every keyed record to the index, from footers where there are any. *Settle* finds tombstones that
//! hide nothing. *Sync* makes durable all that was found: a killed process leaves bytes that can be read and could still be
//! lost. Nothing is written before all segments were read, and nothing is ever appended to a segment found here (rule 3).

use super::error::MountError;
use super::grown::{Grown, refusal};
use super::head::{Head, HeadReader, HeadStep};
use super::report::MountReport;
use super::scanner::{Found, Scan, Scanner, is_early};
use crate::drive::{MediumError, Now, Poll};
use crate::durability::NewestTime;
use crate::format::{EraseIntent, Identity, Kind, SegmentIndex, Sequence, Store};
use crate::index::{Host, KeyCall, Settled};
use crate::segments::{Flag, Segment, SegmentState, SyncPoint};
use crate::writer::{Engine, LANE_SCAN, Log};

#[derive(Debug, Clone, Copy)]
enum State {
    /// Reading both ends of a segment.
    Head(HeadReader),
    /// Going through the records of one segment after the other.
    Scan {
        pass: Pass,
        segment: SegmentIndex,
        scanner: Option<Scanner>,
    },
    /// All times are known.
    Clock,
    Settle,
    Sync {
        sync_point: SyncPoint,
    },
    Done,
    Failed(MountError),
}

/// The purpose of a pass over all records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pass {
    /// Looking for erase intents and times (rule 5: no segment is indexed that has a durable erase intent).
    EraseIntent,
    /// Feeding the index.
    Index,
}

/// The mount.
#[derive(Debug)]
pub(crate) struct Mount {
    state: State,
    report: MountReport,
    store: Option<Store>,
    has_marker: bool,
    has_other_bytes: bool,
    /// Segments without a header that was read, where some place of a header could not be read.
    unread_segments: u32,
    newest: NewestTime,
    grown: Grown,
    /// The longest record that a segment may hold, by what the headers say.
    longest_bytes: u32,
    /// Records of keys that footers list.
    listed_records: u64,
    /// Whether the scan for erase intents passed over damage in the segment that it is at.
    is_behind_damage: bool,
}

impl Engine for Mount {
    /// Takes a step. Bounds: `step_records` records, or one action.
    fn poll<H: Host>(&mut self, now: Now, log: &mut Log<'_>, host: &mut H) -> Poll {
        self.step(now, log, host).unwrap_or_else(|error| {
            self.state = State::Failed(error);
            Poll::Idle
        })
    }
}

impl Mount {
    pub(crate) fn new() -> Self {
        Self {
            state: State::Head(HeadReader::new(SegmentIndex::FIRST)),
            report: MountReport::default(),
            store: None,
            has_marker: false,
            has_other_bytes: false,
            unread_segments: 0,
            newest: NewestTime::default(),
            grown: Grown::default(),
            longest_bytes: 0,
            listed_records: 0,
            is_behind_damage: false,
        }
    }

    /// The outcome, once there is one.
    pub(crate) const fn outcome(&self) -> Option<Result<(), MountError>> {
        match self.state {
            State::Done => Some(Ok(())),
            State::Failed(error) => Some(Err(error)),
            _ => None,
        }
    }

    pub(crate) fn report(&self) -> MountReport {
        self.report
    }

    fn step<H: Host>(&mut self, now: Now, log: &mut Log<'_>, host: &mut H) -> Result<Poll, MountError> {
        if log.scan.is_reading() {
            return Ok(Poll::Idle);
        }
        if let Some(action) = log.read_again() {
            self.report.scanned_bytes += u64::from(log.scan.bytes());
            return Ok(Poll::Do(action));
        }
        // Units that can't be read back at any try are damage (rule 8). Any other failure may pass later, so the mount fails:
        // without these bytes it would take stale records for current ones.
        if let Some(Err(error)) = log.scan.result()
            && error != MediumError::Unreadable
        {
            return Err(MountError::Medium(error));
        }
        match self.state {
            State::Head(reader) => self.head(log, host, reader),
            State::Scan { pass, segment, scanner } => Ok(self.scan(log, host, pass, segment, scanner)),
            State::Clock => {
                // Every header and time record was read. Headers alone would not do: a segment may have been open for longer
                // than the bound on a jump.
                log.durability.start_clock(
                    now,
                    &self.newest,
                    self.store.is_none(),
                    log.layout.config().clock_jump_s_max,
                );
                host.announce(self.listed_records);
                self.state = State::Scan { pass: Pass::Index, segment: SegmentIndex::FIRST, scanner: None };
                Ok(Poll::Again)
            }
            State::Settle => Ok(self.settle(log, host)),
            State::Sync { sync_point } => {
                if sync_point.is_covered_by(log.durability.synced()) {
                    log.layout.end_mount();
                    self.state = State::Done;
                    return Ok(Poll::Again);
                }
                Ok(log.poll_sync(now).map_or(Poll::Idle, Poll::Do))
            }
            State::Done | State::Failed(_) => Ok(Poll::Idle),
        }
    }

    fn read(&mut self, log: &mut Log<'_>, segment: SegmentIndex, offset: u32, bytes: u32) -> Poll {
        let action = log.read(LANE_SCAN, segment, offset, bytes);
        self.report.scanned_bytes += u64::from(bytes);
        Poll::Do(action)
    }

    fn head<H: Host>(
        &mut self,
        log: &mut Log<'_>,
        host: &mut H,
        mut reader: HeadReader,
    ) -> Result<Poll, MountError> {
        for _ in 0..log.layout.config().step_records {
            let is_known = reader.is_new() && log.scan.result().is_none() && host.is_blank(reader.segment);
            let step = if is_known { HeadStep::Done(Head::blank()) } else { reader.poll(log) };
            let head = match step {
                HeadStep::Read(action) => {
                    self.report.scanned_bytes += u64::from(log.scan.bytes());
                    self.state = State::Head(reader);
                    return Ok(Poll::Do(action));
                }
                HeadStep::Done(head) => head,
            };
            if self.grown.takes(reader.segment, &head, self.store.as_ref()) {
                log.set_beyond(reader.segment, &head);
            } else {
                self.classify(log, reader.segment, &head)?;
            }
            let next =
                Some(reader.segment.next()).filter(|next| next.get() < log.layout.geometry().segment_count());
            let Some(next) = next.or_else(|| self.grown.again()) else {
                return self.end_heads(log, host);
            };
            reader = HeadReader::new(next);
        }
        self.state = State::Head(reader);
        Ok(Poll::Again)
    }

    fn end_heads<H: Host>(&mut self, log: &mut Log<'_>, host: &mut H) -> Result<Poll, MountError> {
        log.begin_growing(self.grown.stated)?;
        self.decide(log, host)?;
        self.state = State::Scan { pass: Pass::EraseIntent, segment: SegmentIndex::FIRST, scanner: None };
        Ok(Poll::Again)
    }

    /// Tells what a segment is from its two ends (rules 3 and 4).
    fn classify(&mut self, log: &mut Log<'_>, index: SegmentIndex, head: &Head) -> Result<(), MountError> {
        let mut segment = Segment::default();
        if let Some(marker) = head.marker {
            self.has_marker = true;
            segment.set(Flag::Marker, true);
            segment.erases = marker.erases;
            log.note_sequence(marker.sequence_issued);
        }
        if let Some(header) = head.header {
            self.check_store(&header.store, log)?;
            self.grown.note(index, header.sequence, head.segments);
            self.newest.header(header.time_s, index);
            self.longest_bytes = self.longest_bytes.max(header.record_bytes_max);
            log.note_sequence(header.sequence);
            segment = segment.with_state(SegmentState::Sealed);
            segment.sequence = header.sequence;
            segment.set_stream(header.stream);
            segment.set(Flag::Counted, true);
        } else if let Some(error) = head.error {
            return Err(refusal(log, error));
        } else if head.is_blank() {
            // Where an erase may stop half-way, blank ends without a marker prove nothing, so the segment is erased again. With
            // a marker the erase was whole, but an opening may have begun since.
            let is_trusted = head.marker.is_some() || log.layout.config().trusts_blank;
            segment = segment.with_state(if is_trusted { SegmentState::Free } else { SegmentState::Freeing });
            segment.set(Flag::Doubtful, !log.layout.config().trusts_blank);
        } else {
            // The header is durable before the first record. So a segment with no record, and no whole copy of the header, was
            // torn while it was opened. A medium whose very first marker was torn is ours too.
            let is_torn = head.is_torn(log.layout.config().trusts_blank);
            let is_unread = head.is_unreadable && !is_torn;
            self.has_other_bytes |= head.marker.is_none() && !is_torn && !is_unread;
            self.unread_segments += u32::from(is_unread);
            segment =
                segment.with_state(if is_torn { SegmentState::Freeing } else { SegmentState::Quarantined });
            segment.set_unread(is_unread);
            segment.sequence =
                head.marker.filter(|_| !is_torn).map_or(Sequence::NONE, |marker| marker.sequence_issued);
            self.report.torn_segments += u32::from(is_torn);
        }
        *log.set_state(index, segment.state()) = segment;
        Ok(())
    }

    fn check_store(&mut self, store: &Store, log: &Log<'_>) -> Result<(), MountError> {
        let expected = log.layout.config().store;
        let is_ours = self.store.is_none_or(|s| s == *store)
            && (store.partition, store.partitions) == (expected.partition, expected.partitions);
        self.store = Some(*store);
        if is_ours { Ok(()) } else { Err(MountError::OtherStore) }
    }

    fn decide<H: Host>(&mut self, log: &mut Log<'_>, host: &mut H) -> Result<(), MountError> {
        let (unread, segments) = (self.unread_segments, log.layout.geometry().segment_count());
        // Where keys are hashed, the key of the hash lies in the headers: with a new one no stored key would be found again.
        let is_anybodys = self.store.is_none() && log.layout.geometry().identity() == Identity::KeyedHash;
        if unread > segments / 2 || unread > 0 && is_anybodys {
            return Err(MountError::Unread { unread, segments });
        }
        if self.store.is_none() && !self.has_marker && self.has_other_bytes {
            return Err(MountError::Foreign);
        }
        let configured = log.layout.config().record_bytes_max;
        if self.longest_bytes > configured {
            return Err(MountError::LongerRecords { stored: self.longest_bytes, configured });
        }
        self.report.record_bytes_max = self.longest_bytes;
        self.report.is_new = self.store.is_none() && !self.has_marker && unread == 0;
        self.finish_lone_erase(log);
        log.layout.found(self.store, self.longest_bytes);
        // A segment without a whole header may have a sequence above all that were read, by less than the number of segments.
        if log.segments.count(SegmentState::Quarantined) > 0 {
            log.skip_sequences(segments);
        }
        log.segments.note_unread(unread);
        host.identify(log.layout.store());
        Ok(())
    }

    /// With no segment free, one that holds only records that lose is erased without an erase intent, alone (see the reclaiming
    /// of segments). A mount finds no segment free only in that case. A segment without marker and header is then that one,
    /// torn. It is erased again, since the log could not go on otherwise (rule 12). Both ends of every segment must have been
    /// read for that: one that can't be read now may hold anything.
    fn finish_lone_erase(&mut self, log: &mut Log<'_>) {
        let is_free = |s: &Segment| matches!(s.state(), SegmentState::Free | SegmentState::Freeing);
        let has_free_left = log.segments.iter().take(log.layout.stated_segments() as usize).any(is_free);
        if has_free_left || self.unread_segments > 0 {
            return;
        }
        for index in SegmentIndex::FIRST.up_to(log.layout.geometry().segment_count()) {
            let is_torn = |s: &Segment| s.state() == SegmentState::Quarantined && !s.has_marker();
            if is_torn(log.segments.get(index)) {
                log.set_state(index, SegmentState::Freeing);
                self.report.torn_segments += 1;
            }
        }
    }

    fn next_segment(log: &Log<'_>, from: SegmentIndex) -> Option<SegmentIndex> {
        from.up_to(log.layout.geometry().segment_count())
            .find(|i| log.segments.state_of(*i) == SegmentState::Sealed)
    }

    fn scan<H: Host>(
        &mut self,
        log: &mut Log<'_>,
        host: &mut H,
        pass: Pass,
        from: SegmentIndex,
        scanner: Option<Scanner>,
    ) -> Poll {
        let Some(segment) = Self::next_segment(log, from) else {
            if pass == Pass::Index {
                log.begin_withholding(host);
            }
            self.state = if pass == Pass::EraseIntent { State::Clock } else { State::Settle };
            return Poll::Again;
        };
        self.is_behind_damage &= scanner.is_some();
        let mut scanner = scanner.unwrap_or_else(|| match pass {
            Pass::EraseIntent => Scanner::unkeyed(log, segment),
            Pass::Index => Scanner::footer(log, segment),
        });
        for _ in 0..log.layout.config().step_records {
            let before = if H::ANSWERS_AT_ONCE { None } else { Some(scanner) };
            match self.scan_on(log, host, &mut scanner) {
                Scan::Read { offset, bytes } => {
                    self.state = State::Scan { pass, segment, scanner: Some(scanner) };
                    return self.read(log, segment, offset, bytes);
                }
                Scan::Item(found) if pass == Pass::EraseIntent => self.note(log, &found),
                Scan::Item(found) if is_early(host, KeyCall::Found, &found) => {
                    self.state = State::Scan { pass, segment, scanner: Some(before.unwrap_or(scanner)) };
                    return Poll::Again;
                }
                Scan::Item(found) => self.recover(log, host, &found, scanner.has_footer),
                Scan::Again => {}
                // A hole in a segment that was not sealed is a record that a cut took before it was durable.
                Scan::Damage { .. } => {
                    self.is_behind_damage = true;
                    self.report.damaged_records += u32::from(pass == Pass::Index);
                }
                Scan::End { records_end } => {
                    self.report.searched_bytes += scanner.searched_bytes();
                    if scanner.is_given_up {
                        let segment = log.segment(segment);
                        segment.set(Flag::Damaged, true);
                        segment.set(Flag::Counted, false);
                        segment.set_unread(true);
                        self.report.unsearched_segments += u32::from(pass == Pass::Index);
                    }
                    match pass {
                        Pass::EraseIntent => self.listed_records += u64::from(scanner.listed),
                        Pass::Index => self.end_segment(log, &scanner, records_end),
                    }
                    self.state = State::Scan { pass, segment: segment.next(), scanner: None };
                    return Poll::Again;
                }
            }
        }
        self.state = State::Scan { pass, segment, scanner: Some(scanner) };
        Poll::Again
    }

    fn scan_on<H: Host>(&mut self, log: &mut Log<'_>, host: &H, scanner: &mut Scanner) -> Scan {
        match log.scan.take_result() {
            Some(Err(_)) => {
                // Its records may be live: it is kept for an examination, not cleaned as if it were dead. Without footers every
                // segment may end in a record that a cut tore.
                let has_footers = log.layout.config().has_footers;
                let segment = log.segment(scanner.segment);
                segment.set(Flag::Damaged, segment.is_damaged() || has_footers);
                segment.set(Flag::Counted, false);
                segment.set_unread(true);
                scanner.unreadable(log)
            }
            _ => scanner.next(log, host),
        }
    }

    /// Notes the sequence that a version or an erase intent names; `false` where it can't have been issued. The header of that
    /// segment may be gone, but not those of as many later segments as there are. So a sequence beyond that number is not
    /// believed, and no record can use up the sequences.
    fn note_sequence(log: &mut Log<'_>, sequence: Sequence) -> bool {
        let is_believed = sequence <= log.sequence_next().ahead(log.layout.geometry().segment_count());
        if is_believed {
            log.note_sequence(sequence);
        }
        is_believed
    }

    fn note(&mut self, log: &mut Log<'_>, found: &Found) {
        match found.kind {
            Kind::Time => self.newest.record(&found.hash, found.version, found.location.segment),
            Kind::EraseIntent => {
                let intent = EraseIntent::from_hash(&found.hash);
                if !Self::note_sequence(log, intent.sequence) {
                    return;
                }
                // With one free segment in reserve, an output that was taken back may be erased with an intent in it, whose write failed
                // after all of it was programmed. Its victim is live again. Where a cut tears that erase, records before the intent are
                // gone. Without the intent the victim's copies count, which tie with those in the output.
                let holder = log.segments.get(found.location.segment);
                let may_be_stray = log.keeps_one_free() && (self.is_behind_damage || holder.is_unread());
                let Some(segment) = log.segments.find(intent.segment) else { return };
                // The erase intent must be of the present life of the segment. The header tells; where the erase took the
                // headers, the marker does, or its place was read and holds none. A marker that can't be read permits nothing:
                // the intent may be of an earlier life. The sequences issued when a marker was written distinguish lives better
                // than erase counts, which a lost marker sets back. Only in a segment's first life was its own sequence issued
                // before its marker.
                let is_first = segment.sequence == intent.sequence && segment.erases == intent.erases;
                let is_same = match segment.state() {
                    SegmentState::Sealed => segment.sequence == intent.sequence && !may_be_stray,
                    SegmentState::Quarantined => {
                        let is_gone = !segment.has_marker() && !segment.is_unread();
                        let is_before = segment.has_marker() && segment.sequence < intent.sequence;
                        is_gone || is_before || is_first && segment.has_marker()
                    }
                    // Only the ends are known to be blank: the erase stopped before the marker, perhaps half-way.
                    SegmentState::Free => !segment.has_marker(),
                    _ => false,
                };
                if is_same {
                    log.segments.note_read(intent.segment);
                    let segment = log.segment(intent.segment);
                    segment.set_unread(false);
                    segment.set(Flag::Counted, false);
                    segment.set_sync_point(SyncPoint::NONE);
                    segment.sequence = intent.sequence;
                    segment.erases = segment.erases.max(intent.erases);
                    log.set_state(intent.segment, SegmentState::Freeing);
                    self.report.finished_erases += 1;
                }
            }
            Kind::Value | Kind::Tombstone => {}
        }
    }

    /// All records of a segment are in the index.
    fn end_segment(&mut self, log: &mut Log<'_>, scanner: &Scanner, records_end: u32) {
        let used = records_end.saturating_sub(log.layout.geometry().records_at());
        let mut is_empty = used == 0 && !scanner.has_footer;
        let segment = log.segment(scanner.segment);
        segment.set_used_bytes(used);
        segment.set(Flag::Footer, scanner.has_footer);
        is_empty &= !segment.is_damaged() && !segment.is_unread();
        // It was opened and never used: no record in it can come back, so it is erased without an erase intent. An intent would
        // take space that a medium may lack after cuts in a row (rule 12).
        if is_empty {
            let segment = log.set_state(scanner.segment, SegmentState::Freeing);
            segment.set(Flag::Counted, false);
            segment.set_sync_point(SyncPoint::NONE);
        }
        self.report.unsealed_segments += u32::from(!scanner.has_footer);
        self.report.torn_records += u32::from(scanner.is_torn);
    }

    fn recover<H: Host>(&mut self, log: &mut Log<'_>, host: &mut H, found: &Found, has_footer: bool) {
        match found.kind {
            Kind::Value | Kind::Tombstone => {
                Self::note_sequence(log, found.version.sequence);
                let placed = found.placed();
                let published = host.recovered(&found.hash, &placed, has_footer);
                log.account(&placed, found.has_origin, published);
                log.note_stored(placed.record_bytes);
                if !found.has_origin {
                    log.layout.note_plain(placed.record_bytes);
                }
                self.report.records += 1;
            }
            // An erase intent is needed while its segment is on its way to be free.
            Kind::EraseIntent => {
                let intent = EraseIntent::from_hash(&found.hash);
                let Some(segment) = log.segments.find(intent.segment) else { return };
                let is_needed = segment.state() == SegmentState::Freeing && segment.intent_at().is_none();
                if is_needed && (segment.sequence == Sequence::NONE || segment.sequence == intent.sequence) {
                    let segment = log.segment(intent.segment);
                    segment.sequence = intent.sequence;
                    segment.set_intent_at(Some((found.location.segment, found.record_bytes)));
                    log.segment(found.location.segment).gain(found.record_bytes);
                }
            }
            Kind::Time => {}
        }
    }

    fn settle<H: Host>(&mut self, log: &mut Log<'_>, host: &mut H) -> Poll {
        for _ in 0..log.layout.config().step_records {
            match host.settle() {
                Settled::Released(released) => log.release(&released),
                Settled::More => break,
                Settled::End => {
                    let tally = log.segments.tally();
                    self.report.quarantined_segments = tally.quarantined;
                    self.report.live_bytes = tally.live_bytes;
                    log.learn_ages();
                    log.settle_reserve();
                    let sync_point = log.durability.raise_sync_point();
                    log.durability.want_sync_point(sync_point);
                    self.state = State::Sync { sync_point };
                    break;
                }
            }
        }
        Poll::Again
    }
}
