//! Writing: put, remove, reserve, sync.

use coldpress_core::codec::CodecId;
use coldpress_core::drive::{MediumError, Now};
use coldpress_core::durability::expiry_s;
use coldpress_core::format::{KeyHash, Kind, PIECE_PREFIX, RecordHeader, Sequence, Version};
use coldpress_core::machine::Present;
use coldpress_core::writer::{AppendError, Fresh};

use super::access::Access;
use super::driving::{Allowance, STEPS_MAX, Step, Work};
use super::index::{Found, Match};
use super::pending::{Change, Pending};
use super::table::State;
use super::tier::FlashTier;
use super::{FlashMountError, PutError, Wait};

/// Whether the next put has space.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[must_use = "it tells whether the next put needs compaction first"]
pub enum Reserved {
    /// The next put of such a length needs no compaction.
    Ready(Work),
    /// The next put needs compaction; a part of that was done: reserve again.
    Compacting(Work),
}

/// A record to be written.
struct NewRecord<'a> {
    hash: KeyHash,
    change: Change<'a>,
    /// Whether its key had a value before.
    had_value: bool,
}

impl<M: Access> FlashTier<'_, M> {
    /// Stores a value under a key, with a lifetime in seconds if it has one.
    pub(super) async fn store_named(
        &mut self,
        now: Now,
        key: &[u8],
        value: &[u8],
        ttl_s: Option<u32>,
    ) -> Result<(), PutError> {
        let expires_s = ttl_s.map(|ttl_s| expiry_s(self.clock_s(now), ttl_s));
        self.check_name(key)?;
        let change = Change::new(Kind::Value, key, value);
        self.store(now, &Change { expires_s, lifetime_s: ttl_s, ..change }).await
    }

    /// Refuses a key that is reserved for pieces of long values.
    pub(super) fn check_name(&self, key: &[u8]) -> Result<(), PutError> {
        if key.starts_with(&PIECE_PREFIX) { Err(PutError::Reserved) } else { Ok(()) }
    }

    /// Stores a value under any key.
    pub(super) async fn store(&mut self, now: Now, change: &Change<'_>) -> Result<(), PutError> {
        if self.resume_writing(now, change)?.is_some() {
            return Ok(());
        }
        let key = change.key;
        let charge = self.charge(key, change.value, change.expires_s)?;
        let hash = self.flash.secret.identity(key);
        loop {
            let found = self.find_readable(&hash).await?;
            if let Some(newest) = &found.newest {
                self.check_same(newest, key).await?;
                if self.is_unchanged(&found, newest, change).await {
                    self.tier.note_unchanged();
                    return Ok(());
                }
            }
            match self.lack(&hash, charge, found.newest.as_ref()) {
                None => {
                    let incoming = NewRecord { hash, change: *change, had_value: true };
                    return self.write(now, found, &incoming);
                }
                Some(lack) => self.provide(now, &hash, lack).await?,
            }
        }
    }

    /// Removes a key that is not reserved.
    pub(super) async fn drop_named(&mut self, now: Now, key: &[u8]) -> Result<bool, PutError> {
        self.check_name(key)?;
        self.drop_key(now, key).await
    }

    /// Removes any key.
    pub(super) async fn drop_key(&mut self, now: Now, key: &[u8]) -> Result<bool, PutError> {
        let stone = Change::new(Kind::Tombstone, key, &[]);
        if let Some(had_value) = self.resume_writing(now, &stone)? {
            return Ok(had_value);
        }
        let hash = self.flash.secret.identity(key);
        let found = self.find_readable(&hash).await?;
        let Match { newest, is_certain } = found;
        let stone = |had_value| NewRecord { hash, change: stone, had_value };
        if let Some(found) = &newest {
            self.check_same(found, key).await?;
        }
        if !self.needs_tombstone(&found) {
            return Ok(false);
        }
        if newest.is_none() {
            self.check_place(now, &hash).await?;
            if is_certain {
                self.check_capacity(self.charge(key, &[], None)?, None)?;
                self.write(now, found, &stone(false))?;
                return Ok(false);
            }
        }
        let now_s = self.clock_s(now);
        let was_due = newest.and_then(|found| found.expires_s).is_some_and(|at| at <= now_s);
        let had_value = !was_due && newest.is_none_or(|found| found.entry.state == State::Value);
        self.write(now, found, &stone(had_value))?;
        Ok(had_value)
    }

    /// Returns whether a remove of a key writes a tombstone, by what was found of the key.
    pub(super) fn needs_tombstone(&self, found: &Match) -> bool {
        let withheld_above = self.index.withheld_above.unwrap_or(Sequence::NONE);
        let Some(newest) = &found.newest else {
            // The key may have a value in a part that could not be read. Or its value may be there, damaged: a tombstone keeps older
            // ones away.
            return !found.is_certain || withheld_above != Sequence::NONE;
        };
        // A mount may find a value that could not be published, and it would outrank the record that hides the older ones.
        let is_newest = found.is_certain
            && newest.version.sequence > self.tier.version_floor()
            && newest.version.sequence >= withheld_above;
        // Nor does its expiry hide it before the log has the time by which it was dropped.
        let is_hidden = newest.entry.state == State::StandIn
            || newest.entry.state == State::Dead && newest.kind == Kind::Value;
        newest.entry.state == State::Value || is_hidden || !is_newest
    }

    /// Refuses while the tier takes no records, or an operation of the medium is under way.
    fn check_writable(&mut self, now: Now) -> Result<(), PutError> {
        if !self.is_running() {
            return Err(self.refusal());
        }
        self.settle(now);
        if self.is_waiting() { Err(PutError::Busy(Wait::Operation)) } else { self.end_batch(now) }
    }

    /// As [`check_writable`](Self::check_writable), for a change that may go on where it was left. Then it returns whether the
    /// key had a value before.
    fn resume_writing(&mut self, now: Now, change: &Change<'_>) -> Result<Option<bool>, PutError> {
        if !self.is_running() {
            return Err(self.refusal());
        }
        let had_value = self.resume(now, change)?;
        if had_value.is_none() {
            self.end_batch(now)?;
        }
        Ok(had_value)
    }

    /// The charge of a value, if it is short enough.
    pub(super) fn charge(&self, key: &[u8], value: &[u8], expires_s: Option<u32>) -> Result<u32, PutError> {
        let too_long = PutError::TooLong(self.record_bytes_max);
        let header = RecordHeader {
            kind: Kind::Value,
            codec: CodecId::Raw,
            key_bytes: u16::try_from(key.len()).map_err(|_| too_long)?.into(),
            value_bytes: u32::try_from(value.len()).map_err(|_| too_long)?,
            expires_s,
            origin: None,
        };
        if self.tier.longest_form_bytes(&header) > self.record_bytes_max {
            return Err(too_long);
        }
        Ok(self.tier.fresh_record_bytes(&header))
    }

    /// Finds a key if the reads for that succeed. After a failed read an old entry could stay live beside the new one. A record
    /// that stays unreadable is damaged: its entry is doubtful, and the key can be written.
    pub(super) async fn find_readable(&mut self, hash: &KeyHash) -> Result<Match, PutError> {
        let found = self.desk().find(hash).await;
        match self.flash.read_failure {
            None | Some(MediumError::Unreadable) => Ok(found),
            Some(error) => Err(PutError::Medium(error)),
        }
    }

    /// Two long keys may have the same identity, since that is a hash: neither is ever taken for the other.
    pub(super) async fn check_same(&mut self, found: &Found, key: &[u8]) -> Result<(), PutError> {
        if key.len() <= super::KEY_BYTES_EXACT || found.is_ghost {
            return Ok(());
        }
        let opened = self.flash.open(found.entry.place).await.map_err(PutError::Medium)?;
        match opened {
            Some(opened) if self.flash.key_is(&opened, key).await.map_err(PutError::Medium)? => Ok(()),
            _ => Err(PutError::Collision),
        }
    }

    /// Returns whether a change can be skipped, since its value is stored already. If the record can't be read, the change is
    /// written.
    pub(super) async fn is_unchanged(&mut self, found: &Match, newest: &Found, change: &Change<'_>) -> bool {
        let is_value = newest.kind == Kind::Value && newest.entry.state == State::Value && !newest.is_ghost;
        if !self.skips_unchanged || !found.is_certain || !is_value || change.codec != CodecId::Raw {
            return false;
        }
        let Ok(Some(opened)) = self.flash.open(newest.entry.place).await else { return false };
        let location = self.desk().location_of(newest.entry.place);
        let present = Present {
            codec: newest.codec,
            value_bytes: opened.header.value_bytes,
            expires_s: newest.expires_s,
            location,
            version: newest.version,
        };
        let value_bytes = u32::try_from(change.value.len()).unwrap_or(u32::MAX);
        present.may_equal(change.codec, value_bytes, change.expires_s)
            && self.tier.may_keep(&present)
            && self.flash.holds(&opened, change.key, location.sequence, change.value).await == Ok(true)
    }

    /// Appends a record, after the compaction that it needs, and programs it.
    fn write(&mut self, now: Now, found: Match, incoming: &NewRecord<'_>) -> Result<(), PutError> {
        // The pieces of a long value that is replaced or removed are left over.
        self.has_orphans |= found.newest.is_some_and(|found| found.codec == CodecId::Chunked);
        let read_before = self.flash.bytes_read;
        let mut work = Work::default();
        self.pending = None;
        self.index.known.set(incoming.hash, found);
        let result = self.append(now, incoming, found.newest.map(|found| found.version), &mut work);
        let result = result.and_then(|()| self.program(now, incoming, &mut work));
        if self.pending.is_none() {
            self.index.known.clear();
        }
        work.bytes_read = u32::try_from(self.flash.bytes_read - read_before).unwrap_or(u32::MAX);
        self.note(&work);
        result
    }

    /// Appends a record when no other waits to be written, so that the next program writes this one alone.
    fn append(
        &mut self,
        now: Now,
        incoming: &NewRecord<'_>,
        after: Option<Version>,
        work: &mut Work,
    ) -> Result<(), PutError> {
        let Change { kind, codec, key, value, expires_s, .. } = incoming.change;
        let fresh = Fresh {
            hash: incoming.hash,
            kind,
            codec,
            key_bytes: u32::try_from(key.len()).unwrap_or(u32::MAX),
            payload: key,
            checksum: self.flash.seed.payload(key).then(value),
            expires_s,
            after,
            replaces: None,
        };
        // The rest of the bound is for the record itself, in the buffer of a slot.
        let mut allowance = self.whole_allowance().less(self.record_bytes_max);
        loop {
            if self.under_way.is_none() && self.tier.is_written() {
                match self.tier.append_split(now, &fresh, value) {
                    Ok(_) => {
                        let position = self.tier.appended();
                        self.pending = Some(Pending::new(position, expires_s, incoming.had_value));
                        return Ok(());
                    }
                    Err(AppendError::Busy) => {}
                    Err(AppendError::Full) => return Err(PutError::Full),
                    Err(AppendError::TooLong(max)) => return Err(PutError::TooLong(max)),
                    Err(AppendError::Exhausted) => return Err(PutError::Exhausted),
                    Err(AppendError::Broken) => return Err(PutError::Broken),
                    Err(_) => return Err(PutError::NotMounted),
                }
            } else {
                self.tier.flush();
            }
            match self.step(now, &mut allowance, work) {
                Step::Done => {}
                Step::Waiting => return Err(PutError::Busy(Wait::Operation)),
                Step::Idle => return Err(PutError::Busy(Wait::Retry)),
                Step::Spent => return Err(PutError::NeedsCompaction),
            }
        }
    }

    /// Writes the appended record. This write comes before all other work of the machine, and nothing delays it: an operation
    /// that was held back keeps waiting, since its failure would delay the write. On a medium that reports the end later, the
    /// write is left under way.
    fn program(&mut self, now: Now, incoming: &NewRecord<'_>, work: &mut Work) -> Result<(), PutError> {
        self.index.is_unwritten = false;
        self.failure = None;
        self.tier.flush();
        let (held, mut allowance) = (self.held.take(), self.allowance(STEPS_MAX));
        let result = loop {
            if let Some(outcome) = self.take_outcome() {
                break outcome;
            }
            match self.step(now, &mut allowance, work) {
                Step::Done => {}
                Step::Waiting => break Err(self.leave(&incoming.change)),
                Step::Idle | Step::Spent => {
                    self.pending = None;
                    break Err(PutError::Medium(self.failure.unwrap_or(MediumError::Io)));
                }
            }
        };
        self.held = self.held.or(held);
        result
    }

    /// Goes on to free space for a put, as far as the allowance goes.
    pub(super) fn reserve_within(
        &mut self,
        now: Now,
        key_bytes: u32,
        value_bytes: u32,
        allowance: &mut Allowance,
        work: &mut Work,
    ) -> Result<Reserved, PutError> {
        self.check_writable(now)?;
        let header = RecordHeader {
            kind: Kind::Value,
            codec: CodecId::Raw,
            key_bytes,
            value_bytes,
            expires_s: Some(0),
            origin: None,
        };
        if self.tier.longest_form_bytes(&header) > self.record_bytes_max {
            return Err(PutError::TooLong(self.record_bytes_max));
        }
        let bytes = self.tier.fresh_record_bytes(&header);
        let has_place = self.reserve_place();
        if self.tier.reserve(bytes) && has_place {
            return Ok(Reserved::Ready(*work));
        }
        if self.tier.is_exhausted() {
            return Err(PutError::Exhausted);
        }
        self.poll_within(now, allowance, work);
        let has_space = self.tier.reserve(bytes);
        if has_space && self.reserve_place() {
            return Ok(Reserved::Ready(*work));
        }
        match *work {
            Work { is_waiting: true, .. } => Err(PutError::Busy(Wait::Operation)),
            Work { is_idle: true, .. } if !has_space => Err(PutError::Full),
            work => Ok(Reserved::Compacting(work)),
        }
    }

    /// Goes on to make all puts durable.
    pub(super) fn sync_within(&mut self, now: Now) -> Result<(), PutError> {
        self.failure = None;
        self.check_writable(now)?;
        let position = self.tier.appended();
        // A call that was put off goes on.
        if self.syncing != Some(position) {
            self.tier.sync();
        }
        let (mut allowance, mut work) = (self.whole_allowance(), Work::default());
        let mut result = Ok(());
        while self.tier.durable() < position && result.is_ok() {
            result = match self.step(now, &mut allowance, &mut work) {
                Step::Done => Ok(()),
                Step::Waiting => Err(PutError::Busy(Wait::Operation)),
                Step::Idle if self.tier.is_exhausted() => Err(PutError::Exhausted),
                Step::Idle => Err(PutError::Busy(Wait::Retry)),
                Step::Spent => Err(PutError::NeedsCompaction),
            };
            if let Some(error) = self.failure {
                result = Err(PutError::Medium(error));
            }
        }
        self.syncing = matches!(result, Err(PutError::Busy(Wait::Operation))).then_some(position);
        self.note(&work);
        result
    }
}

impl From<FlashMountError> for PutError {
    fn from(_: FlashMountError) -> Self {
        Self::NotMounted
    }
}
