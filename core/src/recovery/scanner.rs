//! Reads the records of a segment: from its footer where it has one, else one by one.
//!
//! Its owner drives a scanner: [`Scanner::next`] asks for a read into the scan buffer, or returns the next item of the bytes
//! read. Each call looks at one record or entry.
//!
//! **Batches.** The members of a batch but the last are marked. They count only where a record without the mark lies behind them:
//! the last member, or a later one. Each was written once all records before it were durable, and nothing is written behind a
//! write that failed. So such a record proves that the batch was whole, whatever is damaged since. A scan that meets a marked
//! record looks ahead for one without the mark. If there is one, it goes back and returns all; else the records end before the
//! batch.

use crate::format::{
    Checksum, FooterEntries, FooterEntry, Geometry, Identity, KeyHash, Kind, Location, Mending,
    RECORD_HEADER_BYTES_MAX, RECORD_HEADER_BYTES_MIN, Record, RecordError, RecordHeader, SegmentIndex,
    Sequence, Trailer, TrailerError, Version, read_record,
};
use crate::index::{Host, KeyCall};
use crate::segments::SegmentState;
use crate::writer::{LANE_SCAN, Log};

/// The result of a scan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) hash: KeyHash,
    pub(crate) kind: Kind,
    pub(crate) location: Location,
    pub(crate) version: Version,
    pub(crate) has_origin: bool,
    pub(crate) record_bytes: u32,
    pub(crate) expires_s: Option<u32>,
}

impl Found {
    pub(crate) fn placed(&self) -> crate::index::Placed {
        crate::index::Placed {
            location: self.location,
            version: self.version,
            record_bytes: self.record_bytes,
            kind: self.kind,
            expires_s: self.expires_s,
            relocated_from: None,
            relocated_bytes: 0,
        }
    }
}

/// The next step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scan {
    /// Read this range of the segment into the scan lane, then go on.
    Read { offset: u32, bytes: u32 },
    /// A record.
    Item(Found),
    /// Nothing yet: call again.
    Again,
    /// A record whose bytes are damaged; where it lies.
    Damage { offset: u32 },
    /// All was seen; where the records end.
    End { records_end: u32 },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Trailer,
    /// Checks the entries' checksum before the first is believed.
    Check {
        trailer: Trailer,
        at: u32,
        checksum: Checksum,
    },
    /// Entries from `at` up to `end`.
    Entries {
        at: u32,
        end: u32,
        records_end: u32,
    },
    Records,
}

/// The part of the record at the cursor that was read, while records are read one by one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Narrow {
    /// Nothing: its header is being read.
    Header,
    /// Its length.
    Record(u32),
}

/// A scan of one segment.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scanner {
    pub(crate) segment: SegmentIndex,
    sequence: Sequence,
    mode: Mode,
    /// Offset in the segment of the first byte in the lane, and how many were read.
    window: (u32, u32),
    /// Next offset to look at.
    cursor: u32,
    end: u32,
    /// Where the last good record ended.
    good_end: u32,
    /// A record that does not validate. It counts as damage only if a good one follows; else it is a torn tail.
    doubt: Option<u32>,
    /// Whether the last record does not validate: a cut tore it, or it is damaged.
    pub(crate) is_torn: bool,
    /// Where a record was last looked for behind `doubt`, unit by unit.
    search: Option<u32>,
    /// Up to where a record is looked for.
    pub(crate) search_end: u32,
    /// The search for the bit that turned over in the record that does not validate.
    mending: Mending,
    /// Whether it is known that every record lies before `end`.
    is_bounded: bool,
    pub(crate) has_footer: bool,
    /// After a read that failed: records are read one by one, until those that can't be read are passed.
    narrow: Option<Narrow>,
    /// Whether the scan had to stop before the end, at a record whose length is not known.
    pub(crate) is_stopped: bool,
    /// Bytes read and checked to find a record behind one that does not validate.
    searched_bytes: u64,
    /// Whether it gave up that search: there may be records that it did not find.
    pub(crate) is_given_up: bool,
    /// Whether a footer is passed over that lists only keyed records.
    passes_keyed: bool,
    /// Records of keys that the footer lists.
    pub(crate) listed: u32,
    /// Members of batches before this offset count.
    whole_until: u32,
    /// While it looks ahead for the end of a batch: where its first member lies.
    ahead_from: Option<u32>,
}

/// How many times the bytes of a segment may go through the checksum, or be read again, to find records behind damage.
///
/// A search checks a candidate at every write unit, and each candidate may state the length of the longest record. So crafted bytes
/// could keep a scan busy for hours. Behind a damaged record of the longest kind the search takes less than one time the bytes of a
/// segment, since random bytes hardly ever state a possible length.
pub const SEARCH_TIMES_MAX: u64 = 64;

impl Scanner {
    /// Scans by footer, or record by record where there is none or it is damaged.
    pub(crate) fn footer(log: &Log<'_>, segment: SegmentIndex) -> Self {
        Self { mode: Mode::Trailer, ..Self::records(log, segment) }
    }

    /// Scans record by record.
    pub(crate) fn records(log: &Log<'_>, segment: SegmentIndex) -> Self {
        let geometry = *log.layout.geometry();
        let known = log.segments.get(segment);
        let used = if known.used_bytes() > 0 {
            geometry.records_at() + known.used_bytes()
        } else {
            geometry.trailer_at()
        };
        Self {
            segment,
            sequence: known.sequence,
            mode: Mode::Records,
            window: (0, 0),
            cursor: geometry.records_at(),
            end: used,
            good_end: geometry.records_at(),
            doubt: None,
            is_torn: false,
            search: None,
            search_end: u32::MAX,
            mending: Mending::default(),
            is_bounded: known.used_bytes() > 0,
            has_footer: false,
            narrow: None,
            is_stopped: false,
            searched_bytes: 0,
            is_given_up: false,
            passes_keyed: false,
            listed: 0,
            whole_until: 0,
            ahead_from: None,
        }
    }

    /// As [`footer`](Self::footer), for freed and time records: a footer that lists none of them is checked, and passed over.
    pub(crate) fn unkeyed(log: &Log<'_>, segment: SegmentIndex) -> Self {
        Self { passes_keyed: true, ..Self::footer(log, segment) }
    }

    /// Goes on record by record from an offset at which a record is known to begin.
    pub(crate) fn resume_at(&mut self, offset: u32) {
        self.cursor = offset;
        self.window = (0, 0);
        self.narrow = None;
        self.search = None;
        self.ahead_from = None;
        self.is_stopped = false;
    }

    /// Another scan used the buffer: its bytes are read again.
    pub(crate) fn forget(&mut self) {
        self.window = (0, 0);
    }

    /// Whether its segment is sealed, and still in the life in which the scan began.
    pub(crate) fn is_of_sealed(&self, log: &Log<'_>) -> bool {
        let segment = log.segments.get(self.segment);
        segment.state() == SegmentState::Sealed && segment.sequence == self.sequence
    }

    fn location(&self, offset: u32) -> Location {
        Location { segment: self.segment, offset, sequence: self.sequence }
    }

    fn ask(&mut self, offset: u32, bytes: u32) -> Scan {
        self.window = (offset, bytes);
        Scan::Read { offset, bytes }
    }

    /// The last read failed, which says nothing of its bytes. Records are read one by one from there, so that only the one that
    /// can't be read is lost. Where its header can't be read, it is not known where the next one begins.
    pub(crate) fn unreadable(&mut self, log: &Log<'_>) -> Scan {
        if self.mode != Mode::Records {
            self.fall_back(log);
            return Scan::Damage { offset: log.layout.geometry().trailer_at() };
        }
        let offset = self.cursor;
        self.window = (0, 0);
        match self.narrow {
            None => {
                self.narrow = Some(Narrow::Header);
                return self.ask_records(log);
            }
            // A cut may have torn the unit that can't be read. It is damage only if a record follows.
            Some(_) if !log.layout.config().has_footers => {
                self.narrow = None;
                return self.doubtful(log, RecordError::Malformed);
            }
            Some(Narrow::Record(bytes)) => self.cursor += bytes,
            Some(Narrow::Header) => {
                self.is_stopped = true;
                self.cursor = self.end;
            }
        }
        self.narrow = None;
        self.doubt = None;
        self.search = None;
        Scan::Damage { offset }
    }

    fn fall_back(&mut self, log: &Log<'_>) {
        let search_end = self.search_end;
        *self = Self { search_end, ..Self::records(log, self.segment) };
    }

    /// Takes the next step. Bounds: one record or entry, or one buffer of checksum.
    pub(crate) fn next<H: Host>(&mut self, log: &Log<'_>, host: &H) -> Scan {
        match self.mode {
            Mode::Trailer => self.read_trailer(log),
            Mode::Check { trailer, at, checksum } => self.check(log, trailer, at, checksum),
            Mode::Entries { at, end, records_end } => self.entry(log, at, end, records_end),
            Mode::Records => self.record(log, host),
        }
    }

    fn lane_bytes(log: &Log<'_>) -> u32 {
        log.scan.capacity()
    }

    fn read_trailer(&mut self, log: &Log<'_>) -> Scan {
        let at = log.layout.geometry().trailer_at();
        if self.window.0 != at {
            return self.ask(at, log.layout.geometry().padded(crate::format::TRAILER_BYTES));
        }
        self.window = (0, 0);
        match Trailer::decode(log.layout.geometry(), self.sequence, log.scan.filled()) {
            Ok(trailer) => {
                let at = trailer.entries_at(log.layout.geometry());
                self.mode = Mode::Check { trailer, at, checksum: log.layout.seed().begin() };
                self.next_check(log, trailer, at, log.layout.seed().begin())
            }
            Err(TrailerError::Absent) => {
                self.fall_back(log);
                self.ask_records(log)
            }
            Err(_) => {
                self.fall_back(log);
                Scan::Damage { offset: log.layout.geometry().trailer_at() }
            }
        }
    }

    fn next_check(&mut self, log: &Log<'_>, trailer: Trailer, at: u32, checksum: Checksum) -> Scan {
        let end = trailer.entries_at(log.layout.geometry()) + trailer.entry_bytes;
        if at < end {
            return self.ask(at, (end - at).min(Self::lane_bytes(log)));
        }
        if !trailer.matches(checksum) {
            self.fall_back(log);
            return Scan::Damage { offset: log.layout.geometry().trailer_at() };
        }
        self.has_footer = true;
        self.listed = trailer.entries - trailer.unkeyed;
        let at = trailer.entries_at(log.layout.geometry());
        // Where the buffer holds the whole footer, its entries can be read at once.
        if self.window.0 != at {
            self.window = (0, 0);
        }
        let at = if self.passes_keyed && trailer.unkeyed == 0 { end } else { at };
        self.mode = Mode::Entries { at, end, records_end: trailer.records_end };
        self.entry(log, at, end, trailer.records_end)
    }

    fn check(&mut self, log: &Log<'_>, trailer: Trailer, at: u32, checksum: Checksum) -> Scan {
        let bytes = log.scan.filled();
        let (at, checksum) = (at + self.window.1, checksum.then(bytes));
        self.mode = Mode::Check { trailer, at, checksum };
        self.next_check(log, trailer, at, checksum)
    }

    /// The record of an entry ends where that of the next one begins, and the last one where the records end.
    fn entry(&mut self, log: &Log<'_>, at: u32, end: u32, records_end: u32) -> Scan {
        if at >= end {
            return Scan::End { records_end };
        }
        let skip = at.checked_sub(self.window.0).filter(|s| *s < self.window.1);
        let bytes = skip.and_then(|s| log.scan.filled().get(s as usize..)).unwrap_or_default();
        let mut entries = FooterEntries::new(*log.layout.geometry(), bytes);
        let entry = entries.next_entry();
        let next = at.saturating_add(u32::try_from(entries.position()).unwrap_or(u32::MAX));
        let record_end = if next < end { entries.next_offset() } else { Some(records_end) };
        let (Ok(entry), Some(record_end)) = (entry, record_end) else {
            let wanted = (at, (end - at).min(Self::lane_bytes(log)));
            if self.window != wanted {
                return self.ask(wanted.0, wanted.1);
            }
            // The entries end early: no footer that matches its checksum does.
            self.mode = Mode::Entries { at: end, end, records_end };
            return Scan::End { records_end };
        };
        self.mode = Mode::Entries { at: next, end, records_end };
        Scan::Item(self.found(&entry, record_end))
    }

    fn found(&self, entry: &FooterEntry, end: u32) -> Found {
        let location = self.location(entry.offset);
        Found {
            hash: entry.hash,
            kind: entry.kind,
            location,
            version: entry.origin.unwrap_or(location.version()),
            has_origin: entry.origin.is_some(),
            record_bytes: end.saturating_sub(entry.offset),
            expires_s: entry.expires_s,
        }
    }

    fn ask_records(&mut self, log: &Log<'_>) -> Scan {
        if self.cursor >= self.end {
            return Scan::End { records_end: self.good_end };
        }
        let rest = (self.end - self.cursor).min(Self::lane_bytes(log));
        let bytes = match self.narrow {
            None => rest,
            Some(_) => rest.min(log.layout.geometry().padded(RECORD_HEADER_BYTES_MIN)),
        };
        self.narrow = self.narrow.map(|_| Narrow::Header);
        if self.search.is_some() {
            self.searched_bytes += u64::from(bytes);
        }
        self.ask(self.cursor, bytes)
    }

    /// The bytes read so far end within the record: reads more of it.
    fn widen(&mut self, log: &Log<'_>) -> Scan {
        let rest = (self.end - self.cursor).min(Self::lane_bytes(log));
        let read = self.window.1;
        let bytes = match RecordHeader::decode(log.layout.geometry(), log.scan.filled()) {
            Ok((header, ..)) => {
                let bytes = header.record_bytes(log.layout.geometry());
                self.narrow = Some(Narrow::Record(bytes));
                bytes
            }
            Err(_) => read + log.layout.geometry().padded(1),
        };
        if bytes > rest || bytes <= read {
            return self.doubtful(log, RecordError::Malformed);
        }
        self.ask(self.cursor, bytes)
    }

    fn record<H: Host>(&mut self, log: &Log<'_>, host: &H) -> Scan {
        if self.cursor >= self.end {
            return self.finish();
        }
        let skip = self.cursor.checked_sub(self.window.0).filter(|s| *s < self.window.1);
        let Some(bytes) = skip.and_then(|s| log.scan.filled().get(s as usize..)) else {
            return self.ask_records(log);
        };
        let bytes = bytes.get(..log.layout.longest_bytes() as usize).unwrap_or(bytes);
        let is_read_to_the_end = self.window.0.saturating_add(self.window.1) >= self.end;
        match read_record(log.layout.geometry(), log.layout.seed(), self.location(self.cursor), bytes) {
            Ok(record) => self.good(log, &record, host),
            // A record can't be so long.
            Err(RecordError::Short(bytes))
                if bytes > log.layout.longest_bytes().max(RECORD_HEADER_BYTES_MAX) =>
            {
                self.doubtful(log, RecordError::Malformed)
            }
            // More bytes are needed. Where all up to the end were read, this is no record.
            Err(RecordError::Short(_)) if is_read_to_the_end && self.search.is_some() => {
                self.doubtful(log, RecordError::Malformed)
            }
            Err(RecordError::Short(_)) if self.window.0 != self.cursor => self.ask_records(log),
            Err(RecordError::Short(_)) if self.narrow.is_some() => self.widen(log),
            Err(error) => self.doubtful(log, error),
        }
    }

    fn good<H: Host>(&mut self, log: &Log<'_>, record: &Record<'_>, host: &H) -> Scan {
        self.is_torn = false;
        if let Some(from) = self.ahead_from {
            return self.look_ahead(record, from);
        }
        if let Some(offset) = self.doubt.take() {
            self.search = None;
            return Scan::Damage { offset };
        }
        if record.is_member && !self.counts_members() {
            return self.look_ahead(record, self.cursor);
        }
        let location = self.location(self.cursor);
        self.cursor += record.record_bytes;
        self.good_end = self.cursor;
        Scan::Item(Found {
            hash: identity(log.layout.geometry(), record, host),
            kind: record.header.kind,
            location,
            version: record.header.origin.unwrap_or(location.version()),
            has_origin: record.header.origin.is_some(),
            record_bytes: record.record_bytes,
            expires_s: record.header.expires_s,
        })
    }

    /// Whether a member of a batch at the cursor counts. Where the end of the records is known, only whole batches lie before it.
    /// A scan for records without a key passes over members.
    fn counts_members(&self) -> bool {
        self.is_bounded || self.passes_keyed || self.cursor < self.whole_until
    }

    /// Looks for the end of the batch whose first member lies at `from`, or goes back to that where the record here is the end.
    /// Damage on the way is met again then.
    fn look_ahead(&mut self, record: &Record<'_>, from: u32) -> Scan {
        (self.doubt, self.search) = (None, None);
        if record.is_member {
            self.ahead_from = Some(from);
            self.cursor += record.record_bytes;
        } else {
            self.ahead_from = None;
            self.whole_until = self.cursor;
            self.cursor = from;
        }
        Scan::Again
    }

    /// The record here does not validate. Where segments get footers, the scan goes on behind the record if its length is
    /// known, as stated or as corrected. Where they get none, the next record is looked for unit by unit: the length itself may
    /// be damaged, and lead past good records.
    fn doubtful(&mut self, log: &Log<'_>, error: RecordError) -> Scan {
        let is_first = self.doubt.is_none();
        let doubt = *self.doubt.get_or_insert(self.cursor);
        let unit = log.layout.geometry().write_unit();
        // Blank bytes are the end of the records if all records before are good. More than a tag must be blank for that.
        let is_end = error == RecordError::Blank && is_first && self.is_blank_as_a_header(log);
        self.is_torn |= !is_end;
        if let Some(step) = self.mend(log, error) {
            return step;
        }
        if let (RecordError::Mismatch(bytes), Some(_)) = (error, self.search) {
            self.searched_bytes += u64::from(bytes);
        }
        let next = match error {
            _ if is_end => None,
            _ if !log.layout.config().has_footers && !self.may_search(log) => {
                self.is_given_up = true;
                self.is_stopped = true;
                self.cursor = self.end;
                self.search = None;
                self.doubt = None;
                return Scan::Damage { offset: doubt };
            }
            RecordError::Mismatch(bytes) if log.layout.config().has_footers => self.cursor.checked_add(bytes),
            _ if log.layout.config().has_footers => None,
            _ => {
                let next = self.search.unwrap_or(doubt).saturating_add(unit);
                let next = next.saturating_add(self.blank_bytes(log, next) / unit * unit);
                self.search = Some(next);
                Some(next).filter(|next| *next < self.search_end)
            }
        };
        if let Some(next) = next.filter(|next| *next <= self.end) {
            self.cursor = next;
            return Scan::Again;
        }
        self.is_stopped = true;
        self.cursor = self.end;
        self.finish()
    }

    /// Turns over one bit of tag and lengths after the other, one a call. A length with which the checksum holds is believed
    /// before the stated one, which may lead past good records, or nowhere.
    fn mend(&mut self, log: &Log<'_>, error: RecordError) -> Option<Scan> {
        let is_blank = error == RecordError::Blank && self.is_blank_as_a_header(log);
        let may_mend =
            log.layout.config().has_footers && self.narrow.is_none() && !is_blank && self.may_search(log);
        if !may_mend || !self.mending.has_more(self.cursor) {
            return None;
        }
        if self.window.0 != self.cursor {
            return Some(self.ask_records(log));
        }
        let bytes = self.mending.step(
            log.layout.geometry(),
            log.layout.seed(),
            self.location(self.cursor),
            log.scan.filled(),
            log.layout.longest_bytes(),
        );
        let end = bytes.and_then(|bytes| self.cursor.checked_add(bytes)).filter(|end| *end <= self.end);
        let Some(end) = end else { return Some(Scan::Again) };
        let offset = self.doubt.take().unwrap_or(self.cursor);
        self.cursor = end;
        self.good_end = end;
        self.is_torn = false;
        Some(Scan::Damage { offset })
    }

    /// Bytes that went through a checksum, or were read again, to find records behind damage.
    pub(crate) const fn searched_bytes(&self) -> u64 {
        self.searched_bytes.saturating_add(self.mending.checked_bytes)
    }

    /// Whether the search behind damage has not taken more than [`SEARCH_TIMES_MAX`] allows.
    fn may_search(&self, log: &Log<'_>) -> bool {
        let most = SEARCH_TIMES_MAX * u64::from(log.layout.geometry().segment_bytes());
        self.searched_bytes() <= most
    }

    fn is_blank_as_a_header(&self, log: &Log<'_>) -> bool {
        self.blank_bytes(log, self.cursor) >= RECORD_HEADER_BYTES_MIN.min(self.end - self.cursor)
    }

    /// How many bytes in the lane are blank from an offset on.
    fn blank_bytes(&self, log: &Log<'_>, offset: u32) -> u32 {
        let skip = offset.checked_sub(self.window.0).filter(|skip| *skip < self.window.1);
        let rest = skip.and_then(|skip| log.scan.filled().get(skip as usize..)).unwrap_or_default();
        let blank = rest.iter().take_while(|byte| **byte == log.layout.geometry().erase_value()).count();
        u32::try_from(blank).unwrap_or(0)
    }

    fn finish(&mut self) -> Scan {
        // The batch has no end: a cut took it.
        if self.ahead_from.take().is_some() {
            self.is_torn = true;
            self.doubt = None;
        }
        // Where the end of the records is known, a record before it that does not validate is damage, not a torn tail.
        match self.doubt.take() {
            Some(offset) if self.is_bounded => Scan::Damage { offset },
            _ => Scan::End { records_end: self.good_end },
        }
    }
}

/// Whether the host must read before it answers a call about a record.
pub(crate) fn is_early<H: Host>(host: &mut H, call: KeyCall, found: &Found) -> bool {
    !H::ANSWERS_AT_ONCE && found.kind.is_keyed() && !host.is_ready(call, &found.hash)
}

/// The hash under which a record is known. Where keys are hashed, a tombstone carries the hash in place of its key; an
/// unkeyed record is known by its value.
pub(crate) fn identity<H: Host>(geometry: &Geometry, record: &Record<'_>, host: &H) -> KeyHash {
    let bytes = match (record.header.kind, geometry.identity()) {
        (Kind::Value, _) | (Kind::Tombstone, Identity::KeyBytes) => return host.hash_record(record),
        (Kind::Tombstone, Identity::KeyedHash) => record.key,
        (Kind::EraseIntent | Kind::Time, _) => record.value,
    };
    let mut hash = KeyHash::default();
    for (to, from) in hash.0.iter_mut().zip(bytes) {
        *to = *from;
    }
    hash
}

impl Log<'_> {
    /// Issues the read that a scanner asked for.
    pub(crate) fn read_for(&mut self, scanner: &Scanner, offset: u32, bytes: u32) -> crate::drive::Action {
        self.read(LANE_SCAN, scanner.segment, offset, bytes)
    }
}
