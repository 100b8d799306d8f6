//! Cleaning one victim: its live records are relocated, then it is emptied.
//!
//! ```text
//!  Idle ─1─► Copying ─4─► Draining ─6─► Idle
//!            2 │ ▲ 3         ▲
//!              ▼ │           │
//!            Reading ────5───┘
//! ```
//! 1 `begin`; 2 `read` the next chunk is asked for; 3 `take_read` it is there; 4 `copy` the last record was seen, or the victim was
//! cancelled; 5 `take_read` the chunk can't be read; 6 `drain` every copy is written and published: the victim is emptied, or, if
//! anything live is left in it, sealed as it was.
//!
//! A copy goes to an output segment of its own stream, with its version as origin (with one stream mostly without). The index
//! is pointed at the copy only when it is written, and only if the index still points at the old place: a client's newer write
//! always wins. A record that could not be copied stays live where it is, and its segment stays too.

use crate::drive::{MediumError, Now, Poll};
use crate::format::{
    EraseIntent, Kind, Location, Mending, Record, RecordError, RecordHeader, SegmentIndex, Sequence,
    read_record,
};
use crate::index::{Dropped, Host, KeyCall, Liveness, Released};
use crate::invariant::Invariant;
use crate::recovery::identity;
use crate::segments::{Flag, Policy, Segment, SegmentState, VictimChoice, VictimReason, choose};
use crate::writer::{AppendError, Engine, Incoming, LANE_COPY, Log};

/// How many reads of segments under suspicion may return unreadable bytes before these count as lost.
const UNREADABLE_MAX: u32 = 8;

/// The outcome of a victim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cleaned {
    pub(crate) choice: VictimChoice,
    pub(crate) is_emptied: bool,
    pub(crate) relocated_records: u32,
    pub(crate) relocated_bytes: u64,
    pub(crate) expired_records: u32,
    pub(crate) damaged_records: u32,
    /// The medium failed on the way.
    pub(crate) has_failed: bool,
}

/// A victim as far as it is cleaned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Cleaning {
    /// The victim, and why it was chosen.
    pub choice: VictimChoice,
    /// Whether nothing more is done with it, or there never was one.
    pub is_over: bool,
    /// Whether nothing live is left in it, so that it will be freed.
    pub is_emptied: bool,
    /// Records relocated, or replaced by a tombstone.
    pub relocated_records: u32,
    /// Bytes of records relocated.
    pub relocated_bytes: u64,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum State {
    #[default]
    Idle,
    Reading,
    Copying,
    Draining,
}

/// The engine that cleans one victim at a time.
#[derive(Debug)]
pub(crate) struct Cleaner {
    state: State,
    victim: Cleaned,
    sequence: Sequence,
    /// Next offset to look at.
    cursor: u32,
    end: u32,
    /// Where the chunk in the lane begins.
    window: u32,
    /// The search for the bit that turned over in the record that does not validate.
    mending: Mending,
    is_cancelled: bool,
    /// Failures of the medium before this victim.
    failures: u64,
    /// Times that a segment under suspicion could not be read, since the last one that was emptied.
    unreadable: u32,
    /// Whether the victim is done with, and its outcome was not taken.
    is_finished: bool,
}

impl Default for Cleaner {
    fn default() -> Self {
        Self {
            state: State::Idle,
            victim: Cleaned::new(VictimChoice { segment: SegmentIndex::FIRST, reason: VictimReason::Dead }),
            sequence: Sequence::NONE,
            cursor: 0,
            end: 0,
            window: 0,
            mending: Mending::default(),
            is_cancelled: false,
            failures: 0,
            unreadable: 0,
            is_finished: false,
        }
    }
}

impl Cleaned {
    const fn new(choice: VictimChoice) -> Self {
        Self {
            choice,
            is_emptied: false,
            relocated_records: 0,
            relocated_bytes: 0,
            expired_records: 0,
            damaged_records: 0,
            has_failed: false,
        }
    }
}

/// The decision about a record of a victim.
enum Verdict {
    Skip,
    Copy,
    Tombstone,
}

impl Engine for Cleaner {
    /// Takes a step. Bounds: `step_bytes` of records and one record more, or one action.
    fn poll<H: Host>(&mut self, now: Now, log: &mut Log<'_>, host: &mut H) -> Poll {
        match self.state {
            State::Idle => Poll::Idle,
            State::Reading => self.take_read(now, log),
            State::Copying => self.copy(log, host),
            State::Draining => self.drain(log),
        }
    }
}

impl Cleaner {
    /// Tells whether no segment can be freed any more: nothing is on its way, and no victim yields anything.
    pub(crate) fn is_stuck(&self, log: &Log<'_>) -> bool {
        let is_hoping = log.may_restore() && log.segments.iter().any(Segment::is_unread);
        if log.free() > log.free_reserve()
            || !self.is_idle()
            || log.segments.leaving() > 0
            || log.segments.count(SegmentState::Sealing) > 0
            || is_hoping
            || log.blocks.may_come()
        {
            return false;
        }
        let victim: Option<VictimChoice> =
            choose(&log.terms(Policy::Greedy), log.segments.as_slice(), |_, s| log.is_worth_cleaning(s));
        victim.is_none() && log.is_one_stream()
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.state == State::Idle && !self.is_finished
    }

    /// The victim in hand, else the last one.
    pub(crate) fn cleaning(&self) -> Cleaning {
        let Cleaned { choice, is_emptied, relocated_records, relocated_bytes, .. } = self.victim;
        let is_over = self.state == State::Idle;
        Cleaning { choice, is_over, is_emptied, relocated_records, relocated_bytes }
    }

    /// The outcome of the last victim, once.
    pub(crate) fn take_finished(&mut self) -> Option<Cleaned> {
        core::mem::take(&mut self.is_finished).then_some(self.victim)
    }

    /// Stops after what was copied so far; the victim stays as it is.
    pub(crate) fn cancel(&mut self) {
        self.is_cancelled = self.state != State::Idle;
    }

    /// Leaves the victim in hand as it is, since nothing more can be relocated; `false` while it waits for a read.
    pub(crate) fn abandon(&mut self, log: &mut Log<'_>) -> bool {
        match self.state {
            State::Reading => return false,
            State::Idle => {}
            State::Copying | State::Draining => {
                log.set_state(self.victim.choice.segment, SegmentState::Sealed);
                self.victim.has_failed = true;
                self.is_finished = true;
                self.state = State::Idle;
            }
        }
        true
    }

    /// Begins to clean a sealed segment.
    pub(crate) fn begin(&mut self, log: &mut Log<'_>, choice: VictimChoice) {
        let records_at = log.layout.geometry().records_at();
        let segment = *log.segments.get(choice.segment);
        if segment.state() != SegmentState::Sealed {
            return;
        }
        let (used, is_dead) = (segment.used_bytes(), segment.live_records() == 0);
        self.sequence = segment.sequence;
        log.set_state(choice.segment, SegmentState::Victim);
        self.victim = Cleaned::new(choice);
        self.cursor = records_at;
        self.end = records_at + if is_dead { 0 } else { used };
        self.is_cancelled = false;
        self.failures = log.counters.failures;
        self.state = State::Copying;
        self.window = 0;
        self.mending = Mending::default();
        log.copy.clear();
        log.learn_lifetime(segment.stream(), segment.sequence);
    }

    fn take_read(&mut self, now: Now, log: &mut Log<'_>) -> Poll {
        match log.copy.take_result() {
            None => Poll::Idle,
            Some(Ok(())) => {
                self.state = State::Copying;
                Poll::Again
            }
            Some(Err(error)) => {
                // This range can't be read: its live records stay, and so does the segment. The read is tried again later where
                // the failure may pass. Of a segment under suspicion even unreadable bytes are tried a few times, since nothing
                // new counts as durable before it is cleaned. After that only a new mount helps.
                let is_suspect = log.segments.get(self.victim.choice.segment).is_suspect();
                let is_unreadable = error == MediumError::Unreadable;
                self.unreadable += u32::from(is_unreadable && is_suspect);
                self.victim.has_failed = true;
                if is_unreadable && (!is_suspect || self.unreadable >= UNREADABLE_MAX) {
                    self.victim.damaged_records += 1;
                } else {
                    log.back_off(now);
                }
                self.cursor = self.end;
                self.state = State::Draining;
                Poll::Again
            }
        }
    }

    fn read(&mut self, log: &mut Log<'_>) -> Poll {
        let bytes = (self.end - self.cursor).min(log.copy.capacity());
        self.window = self.cursor;
        self.state = State::Reading;
        Poll::Do(log.read(LANE_COPY, self.victim.choice.segment, self.cursor, bytes))
    }

    fn copy<H: Host>(&mut self, log: &mut Log<'_>, host: &mut H) -> Poll {
        let budget_end = self.cursor.saturating_add(log.layout.config().step_bytes);
        while self.cursor < self.end && !self.is_cancelled {
            if self.cursor >= budget_end {
                return Poll::Again;
            }
            let from = (self.cursor - self.window) as usize;
            let window = if self.window == 0 { 0 } else { log.copy.bytes() };
            if from >= window as usize {
                return self.read(log);
            }
            // The buffer leaves the log while its records are looked at, so that they can be appended to it.
            let buffer = log.copy.take_memory();
            let bytes = log.watch.must_have(Invariant::ReadBuffer, buffer.get(from..window as usize));
            let step = match read_record(log.layout.geometry(), log.layout.seed(), self.here(), bytes) {
                Ok(record) => self.record(log, host, &record),
                Err(error) => self.unread(log, error, bytes, from),
            };
            log.copy.put_memory(buffer);
            match step {
                Step::Next(bytes) => self.cursor += bytes,
                Step::Read => return self.read(log),
                Step::Again => return Poll::Again,
                Step::Stop => self.cursor = self.end,
                Step::Wait => {
                    log.flush();
                    return Poll::Idle;
                }
            }
        }
        self.state = State::Draining;
        log.flush();
        Poll::Again
    }

    /// Where the next record to look at lies.
    const fn here(&self) -> Location {
        Location { segment: self.victim.choice.segment, offset: self.cursor, sequence: self.sequence }
    }

    fn unread(&mut self, log: &Log<'_>, error: RecordError, bytes: &[u8], from: usize) -> Step {
        if matches!(error, RecordError::Short(_)) && from > 0 {
            return Step::Read;
        }
        if let Some(step) = self.mend(log, bytes, from) {
            return step;
        }
        match error {
            RecordError::Mismatch(bytes) if self.cursor.saturating_add(bytes) <= self.end => {
                self.victim.damaged_records += 1;
                Step::Next(bytes)
            }
            // The lengths can't be trusted, so this pass can't find the records behind.
            _ => {
                self.victim.damaged_records += 1;
                Step::Stop
            }
        }
    }

    /// Turns over one bit of tag and lengths after the other, one a poll, as a scan does where segments get footers. A length
    /// with which the checksum holds leads to the next record.
    fn mend(&mut self, log: &Log<'_>, bytes: &[u8], from: usize) -> Option<Step> {
        let most = crate::recovery::SEARCH_TIMES_MAX * u64::from(log.layout.geometry().segment_bytes());
        let may_mend = log.layout.config().has_footers && self.mending.checked_bytes <= most;
        if !may_mend || !self.mending.has_more(self.cursor) {
            return None;
        }
        // The whole record must be in the buffer.
        if from > 0 {
            return Some(Step::Read);
        }
        let mended = self.mending.step(
            log.layout.geometry(),
            log.layout.seed(),
            self.here(),
            bytes,
            log.layout.longest_bytes(),
        );
        let bytes = mended.filter(|bytes| self.cursor.saturating_add(*bytes) <= self.end);
        let Some(bytes) = bytes else { return Some(Step::Again) };
        self.victim.damaged_records += 1;
        Some(Step::Next(bytes))
    }

    fn record<H: Host>(&mut self, log: &mut Log<'_>, host: &mut H, record: &Record<'_>) -> Step {
        let at = self.here();
        let hash = identity(log.layout.geometry(), record, host);
        if !H::ANSWERS_AT_ONCE && record.header.kind.is_keyed() && !host.is_ready(KeyCall::Confirm, &hash) {
            return Step::Again;
        }
        let appended = match self.judge(log, host, &hash, record, at) {
            Verdict::Skip => return Step::Next(record.record_bytes),
            Verdict::Tombstone => Self::append_tombstone(log, record, hash, at),
            Verdict::Copy => Self::append_copy(log, host, record, hash, at),
        };
        match appended {
            Ok(bytes) => {
                self.victim.relocated_records += 1;
                self.victim.relocated_bytes += u64::from(bytes);
                log.note_relocated(bytes);
                Step::Next(record.record_bytes)
            }
            Err(AppendError::Busy) => Step::Wait,
            Err(_) => {
                self.victim.has_failed = true;
                Step::Stop
            }
        }
    }

    fn judge<H: Host>(
        &mut self,
        log: &mut Log<'_>,
        host: &mut H,
        hash: &crate::format::KeyHash,
        record: &Record<'_>,
        at: Location,
    ) -> Verdict {
        match record.header.kind {
            Kind::Time => Verdict::Skip,
            Kind::EraseIntent => {
                let intent = EraseIntent::from_bytes(record.value);
                let segment = intent.and_then(|f| Some((f, log.segments.find(f.segment)?)));
                match segment {
                    Some((intent, s))
                        if s.sequence == intent.sequence
                            && s.intent_at().is_some_and(|(holder, _)| holder == at.segment) =>
                    {
                        Verdict::Copy
                    }
                    _ => Verdict::Skip,
                }
            }
            Kind::Tombstone | Kind::Value => {
                match host.confirm(hash, at) {
                    Liveness::Live => {}
                    Liveness::Stale => return Verdict::Skip,
                    Liveness::Superseded => {
                        log.release(&Released { location: at, record_bytes: record.record_bytes });
                        return Verdict::Skip;
                    }
                    Liveness::Doubtful => {
                        self.victim.damaged_records += 1;
                        return Verdict::Skip;
                    }
                }
                if record.header.kind == Kind::Tombstone || !log.is_expired(record.header.expires_s) {
                    return Verdict::Copy;
                }
                match host.drop_current(hash, at) {
                    Dropped::Now => {
                        self.victim.expired_records += 1;
                        log.durability.owe_time();
                        log.release(&Released { location: at, record_bytes: record.record_bytes });
                        Verdict::Skip
                    }
                    // In a rescue a tombstone would be live in an output that a cut ends early.
                    Dropped::NeedsTombstone if log.is_rescuing() => Verdict::Copy,
                    Dropped::NeedsTombstone => {
                        self.victim.expired_records += 1;
                        log.durability.owe_time();
                        Verdict::Tombstone
                    }
                    Dropped::NotCurrent => Verdict::Skip,
                }
            }
        }
    }

    fn append_copy<H: Host>(
        log: &mut Log<'_>,
        host: &mut H,
        record: &Record<'_>,
        hash: crate::format::KeyHash,
        at: Location,
    ) -> Result<u32, AppendError> {
        let is_keyed = record.header.kind.is_keyed();
        let version = record.header.origin.unwrap_or(at.version());
        let origin = log.origin(version).filter(|_| is_keyed);
        let mut header = RecordHeader { origin, ..record.header };
        let from = log.segments.get(at.segment).stream();
        let stream =
            if is_keyed { log.relocated_stream(from, version.sequence) } else { crate::config::Stream::Old };
        let recode = log.take_recode();
        let again = if record.header.kind == Kind::Value && !recode.is_empty() {
            host.recode(record.header.codec, record.value, recode)
        } else {
            None
        };
        let shorter = again.and_then(|(codec, len)| Some((codec, recode.get(..len)?)));
        let (value, payload) = match shorter {
            Some((codec, value)) if value.len() < record.value.len() => {
                header.codec = codec;
                header.value_bytes = u32::try_from(value.len()).unwrap_or(u32::MAX);
                (value, log.layout.seed().payload(record.key).then(value))
            }
            _ => (record.value, record.payload),
        };
        let from = Released { location: at, record_bytes: record.record_bytes };
        let incoming =
            Incoming { hash, header, parts: [record.key, value], payload, relocated_from: Some(from) };
        let result = log.append_relocated(stream, &incoming);
        log.put_recode(recode);
        let location = result?;
        if header.kind == Kind::Value && header.origin.is_none() {
            log.note_renewed(location.sequence, version.sequence);
        }
        Ok(header.record_bytes(log.layout.geometry()))
    }

    /// Rule 7: the tombstone carries the version of the value that it drops, so that a later put in a lower segment outranks
    /// it. With one stream no later put lies in a lower segment.
    fn append_tombstone(
        log: &mut Log<'_>,
        record: &Record<'_>,
        hash: crate::format::KeyHash,
        at: Location,
    ) -> Result<u32, AppendError> {
        let version = record.header.origin.unwrap_or(at.version());
        let key: &[u8] = match log.layout.geometry().identity() {
            crate::format::Identity::KeyedHash => &hash.0,
            crate::format::Identity::KeyBytes => record.key,
        };
        let from = Released { location: at, record_bytes: record.record_bytes };
        let incoming =
            crate::writer::tombstone(log.layout.seed(), hash, key, log.origin(version), Some(from));
        let stream = log.relocated_stream(0, version.sequence);
        log.append_relocated(stream, &incoming).map(|_| incoming.header.record_bytes(log.layout.geometry()))
    }

    fn drain(&mut self, log: &mut Log<'_>) -> Poll {
        if log.has_relocated() {
            log.flush();
            return Poll::Idle;
        }
        let completed = log.durability.completed();
        let victim = log.segment(self.victim.choice.segment);
        let (is_emptied, was_suspect, died) =
            (victim.live_records() == 0, victim.is_suspect(), victim.sync_point());
        if !is_emptied {
            victim.set(Flag::Damaged, victim.is_damaged() || self.victim.damaged_records > 0);
        }
        let state = if is_emptied { SegmentState::Emptied } else { SegmentState::Sealed };
        log.set_state(self.victim.choice.segment, state);
        if is_emptied {
            log.durability.want_sync_point(if was_suspect { completed } else { died });
            if was_suspect {
                self.unreadable = 0;
                log.durability.clear_suspect();
            }
            log.counters.victims += 1;
        }
        self.victim.is_emptied = is_emptied;
        self.victim.has_failed |= log.counters.failures != self.failures;
        self.is_finished = true;
        self.state = State::Idle;
        Poll::Again
    }
}

enum Step {
    Next(u32),
    Read,
    /// Nothing yet: call again.
    Again,
    Stop,
    Wait,
}
