//! Gets: from a pending write, from the pools, or from the log.

use coldpress_core::codec::{CodecError, CodecId};
use coldpress_core::durability::expiry_s;
use coldpress_core::format::{Head, Kind, Location, RecordHeader, key_hash, read_record};

use super::handle::ColdTierHandle;
use super::long::{HeadChase, Long, Seen};
use super::opened::{LogReads, Open, Part, TierLimits};
use super::scratch;
use crate::errors::{BatchError, GetError, TierError};
use crate::index::{Entry, Pending, Stored, WriteId};
use crate::observe::Timed;
use crate::pool::{HotKey, Looked};
use crate::storage::MediumFailure;
use coldpress_core::format::KeyHash;
use core::ops::Range;
use core::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

/// Bytes of a record that are read for its key: the longest header, and keys of up to 233 bytes. A longer key takes a second read.
const KEY_READ_BYTES: usize = 256;

/// Where a value was found.
pub(super) enum Found {
    Absent,
    Damaged,
    /// In memory; the encoded value is in the buffer.
    Pending {
        codec: CodecId,
        current: Current,
    },
    Stored(Stored),
}

/// The value of a key at the moment of a look at it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Current {
    pub(super) identity: WriteId,
    pub(super) expires_s: Option<u32>,
}

/// The finding of a read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reading {
    Absent,
    /// A value that reads as absent, since a piece of it is gone.
    Lost(Current),
    Value(Current),
}

impl Reading {
    /// The value that a reader gets.
    pub(super) fn value(self) -> Option<Current> {
        match self {
            Self::Value(current) => Some(current),
            Self::Absent | Self::Lost(_) => None,
        }
    }
}

impl Current {
    pub(super) const fn pending(pending: &Pending) -> Self {
        Self { identity: WriteId::Pending(pending.serial), expires_s: pending.expires_s }
    }

    pub(super) fn stored(stored: &Stored) -> Self {
        Self { identity: WriteId::Stored(stored.version()), expires_s: stored.expires_s() }
    }
}

/// Why a read of the log gave no value.
pub(super) enum Miss {
    /// The bytes at this location are no record of that life of its segment.
    Invalid,
    Medium(MediumFailure),
    /// A record of another key with the same 96 bits.
    OtherKey,
    /// The read would wait for the device, and may not.
    WouldWait,
}

/// The lookups of a record that compaction relocates during the read: it is looked up again, each time in another place, until
/// the deadline.
#[derive(Default)]
pub(super) struct Chase {
    last: Option<Location>,
    deadline: Option<Instant>,
}

impl Chase {
    /// Notes that the record was not where the index said.
    pub(super) fn miss(&mut self, open: &Open, at: Location, miss: &Miss) -> Result<(), GetError> {
        if matches!(miss, Miss::WouldWait) {
            // The caller that forbade the wait asks its `LogReads`, and drops this error.
            return Err(TierError::TimedOut.into());
        }
        if self.last.replace(at) == Some(at) {
            // A record at the same place twice was not relocated.
            return Err(match miss {
                Miss::Medium(error) => TierError::Medium(error.clone()).into(),
                Miss::Invalid | Miss::OtherKey | Miss::WouldWait => GetError::Damaged,
            });
        }
        let now = Instant::now();
        let deadline = *self.deadline.get_or_insert(now + open.limits.op_timeout);
        if now > deadline { Err(TierError::TimedOut.into()) } else { Ok(()) }
    }
}

impl ColdTierHandle {
    /// Returns the value of a key, if it has one that has not expired.
    ///
    /// # Errors
    /// [`GetError`]; a damaged record is an error of its key alone.
    ///
    /// # Bounds
    /// At most one read of the medium, and one for each piece of a long value. More only while compaction relocates the record,
    /// or a long value is overwritten meanwhile, and then until the configured `op_timeout`.
    pub fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, GetError> {
        let mut value = Vec::new();
        Ok(self.get_into(key, &mut value)?.then_some(value))
    }

    /// Puts the value of a key into `value` in the place of what was there; tells whether there is one.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub fn get_into(&self, key: &[u8], value: &mut Vec<u8>) -> Result<bool, GetError> {
        Ok(self.read_current(key, value)?.value().is_some())
    }

    /// As [`get_into`](Self::get_into), with which write the value is of.
    pub(super) fn read_current(&self, key: &[u8], value: &mut Vec<u8>) -> Result<Reading, GetError> {
        self.enter(|open| open.reads().read_counted(key, value))?
    }

    /// As [`read_current`](Self::read_current), without a wait for the device; `None` where it would wait.
    pub(super) fn try_read(&self, key: &[u8], value: &mut Vec<u8>) -> Result<Option<Reading>, GetError> {
        self.enter(|open| {
            let reads = open.reads_without_waits();
            let found = reads.read_counted(key, value);
            if reads.would_wait() { Ok(None) } else { found.map(Some) }
        })?
    }

    /// Returns the values of many keys, in their order.
    ///
    /// # Errors
    /// [`BatchError`]: the first error, with the index of its key.
    ///
    /// # Bounds
    /// For each key those of [`get`](Self::get).
    pub fn get_batch<K: AsRef<[u8]>>(
        &self,
        keys: &[K],
    ) -> Result<Vec<Option<Vec<u8>>>, BatchError<GetError>> {
        let at = |index| move |error| BatchError { index, error };
        let get = |(index, key): (usize, &K)| self.get(key.as_ref()).map_err(at(index));
        keys.iter().enumerate().map(get).collect()
    }

    /// Tells whether a key has a value that has not expired, without reading the log.
    ///
    /// # Errors
    /// [`GetError`].
    pub fn contains(&self, key: &[u8]) -> Result<bool, GetError> {
        self.enter(|open| {
            let (hash, part) = open.find(key)?;
            let now_s = open.now_s(part);
            part.check_readable()?;
            Ok(part.shared.view(&hash, |entry| part.is_current(&open.limits, entry, now_s)).unwrap_or(false))
        })?
    }
}

impl LogReads<'_> {
    /// Reads the value of a key and counts the read, unless it would wait.
    fn read_counted(&self, key: &[u8], value: &mut Vec<u8>) -> Result<Reading, GetError> {
        value.clear();
        let begun = Instant::now();
        let (hash, part) = self.find(key)?;
        let found = scratch::with_buffer(|buffer| part.read(self, (&hash, key), begun, buffer, value));
        if self.would_wait() {
            return found;
        }
        let counts = &part.shared.counts;
        counts.gets.fetch_add(1, Relaxed);
        match &found {
            Ok(found) => counts.hits.fetch_add(u64::from(found.value().is_some()), Relaxed),
            Err(GetError::Damaged) => counts.damaged_reads.fetch_add(1, Relaxed),
            Err(_) => 0,
        };
        part.shared.latencies.record(&part.meter, Timed::Get, begun.elapsed());
        found
    }
}

impl Part {
    /// Whether an entry has a value whose time is not over.
    pub(super) fn is_current(&self, limits: &TierLimits, entry: &Entry, now_s: u32) -> bool {
        let ends_s = [entry.expires_s(), self.idle_end_s(limits, entry)];
        entry.is_value() && ends_s.into_iter().flatten().all(|end_s| now_s < end_s)
    }

    /// When the idle time of an entry ends, where it has one.
    pub(super) fn idle_end_s(&self, limits: &TierLimits, entry: &Entry) -> Option<u32> {
        let touched_s = || self.shared.opened_s.load(Relaxed).saturating_add(entry.touched_s());
        let idle_s = limits.idle_s.filter(|_| !entry.is_piece_expiry());
        idle_s.map(|idle_s| expiry_s(touched_s(), idle_s))
    }

    /// Refuses operations that need the worker where it has ended.
    pub(super) fn check_alive(&self) -> Result<(), TierError> {
        self.shared.health.check_alive()
    }

    /// Refuses reads where the worker died; those of a file that was lost go on, as long as it is open.
    pub(super) fn check_readable(&self) -> Result<(), TierError> {
        self.shared.health.check_readable()
    }

    /// Reads the value of a key, as of a moment that is now or just before; returns the write that it is of.
    pub(super) fn read(
        &self,
        open: &LogReads<'_>,
        (hash, key): (&KeyHash, &[u8]),
        begun: Instant,
        buffer: &mut Vec<u8>,
        value: &mut Vec<u8>,
    ) -> Result<Reading, GetError> {
        self.check_readable()?;
        let (mut chase, mut heads) = (Chase::default(), HeadChase::default());
        let mut now_s = open.now_s_at(self, begun);
        loop {
            // Bytes of an older value may be left from an earlier attempt.
            value.clear();
            let begun = self.shared.families.begun();
            match self.look_up(open, (hash, Some(key)), now_s, buffer) {
                Found::Absent => return Ok(Reading::Absent),
                Found::Damaged => return Err(GetError::Damaged),
                Found::Pending { codec: CodecId::Chunked, current } => {
                    let head = Head::from_bytes(buffer).ok_or(GetError::Damaged)?;
                    let seen = Seen { head, version: None, expires: false, begun };
                    match self.read_long(open, (hash, key), &seen, &mut heads, (buffer, value))? {
                        Long::Whole => {
                            self.shared.counts.pending_hits.fetch_add(1, Relaxed);
                            return Ok(Reading::Value(current));
                        }
                        Long::Absent => return Ok(Reading::Lost(current)),
                        Long::Again => {}
                    }
                }
                Found::Pending { codec, current } => {
                    decode(open, codec, buffer, value)?;
                    self.shared.counts.pending_hits.fetch_add(1, Relaxed);
                    return Ok(Reading::Value(current));
                }
                Found::Stored(stored) => {
                    let current = Current::stored(&stored);
                    let is_wanted = match self.read_hot(open, hash, &stored, value) {
                        Looked::Hit(()) => return Ok(Reading::Value(current)),
                        Looked::Miss { is_wanted } => is_wanted,
                    };
                    match self.read_stored(open, &stored, Some(key), buffer, value) {
                        Err(ReadError::Head(head)) => {
                            let (version, expires) = (Some(stored.version()), stored.expires_s().is_some());
                            let seen = Seen { head, version, expires, begun };
                            match self.read_long(open, (hash, key), &seen, &mut heads, (buffer, value))? {
                                Long::Whole => {
                                    if is_wanted {
                                        self.keep_hot(open, hash, &stored, value);
                                    }
                                    return Ok(Reading::Value(current));
                                }
                                Long::Absent => return Ok(Reading::Lost(current)),
                                Long::Again => {}
                            }
                        }
                        Ok(()) => {
                            if is_wanted {
                                self.keep_hot(open, hash, &stored, value);
                            }
                            return Ok(Reading::Value(current));
                        }
                        Err(ReadError::Codec(error)) => return Err(GetError::Codec(error)),
                        Err(ReadError::Miss(Miss::OtherKey)) => return Ok(Reading::Absent),
                        Err(ReadError::Miss(miss)) => chase.miss(open, stored.location(), &miss)?,
                    }
                }
            }
            // The record was relocated meanwhile, or a long value overwritten.
            now_s = open.now_s(self);
        }
    }

    pub(super) fn look_up(
        &self,
        open: &Open,
        (hash, key): (&KeyHash, Option<&[u8]>),
        now_s: u32,
        buffer: &mut Vec<u8>,
    ) -> Found {
        let look = |entry: &Entry| {
            if !self.is_current(&open.limits, entry, now_s) {
                return Found::Absent;
            }
            entry.touch(now_s.saturating_sub(self.shared.opened_s.load(Relaxed)));
            match (&entry.pending, entry.stored()) {
                (Some(pending), _) => {
                    let own = pending.payload.get(..pending.key_bytes as usize);
                    if key.is_some_and(|key| own != Some(key)) {
                        return Found::Absent;
                    }
                    buffer.clear();
                    buffer.extend_from_slice(pending.value());
                    Found::Pending { codec: pending.codec, current: Current::pending(pending) }
                }
                (None, Some(stored)) if stored.is_damaged() => Found::Damaged,
                (None, Some(stored)) => Found::Stored(*stored),
                (None, None) => Found::Absent,
            }
        };
        self.shared.view(hash, look).unwrap_or(Found::Absent)
    }

    /// Reads the value of a record behind what is in `value`.
    pub(super) fn read_stored(
        &self,
        open: &LogReads<'_>,
        stored: &Stored,
        key: Option<&[u8]>,
        buffer: &mut Vec<u8>,
        value: &mut Vec<u8>,
    ) -> Result<(), ReadError> {
        let geometry = &open.terms.geometry;
        self.fetch(open, stored, buffer).map_err(ReadError::Miss)?;
        let record = read_record(geometry, open.seed, stored.location(), buffer)
            .map_err(|_| ReadError::Miss(Miss::Invalid))?;
        if record.header.kind != Kind::Value {
            return Err(ReadError::Miss(Miss::Invalid));
        }
        if key.is_some_and(|key| key != record.key) {
            return Err(ReadError::Miss(Miss::OtherKey));
        }
        if record.header.codec == CodecId::Chunked {
            let head = Head::from_bytes(record.value).ok_or(ReadError::Miss(Miss::Invalid))?;
            return Err(ReadError::Head(head));
        }
        // The limit of when it was written may have been another one than today's; none is longer than a segment.
        let len_max = geometry.segment_bytes();
        scratch::decode_onto(record.header.codec, record.value, len_max, value).map_err(ReadError::Codec)
    }

    /// Reads the bytes of a record.
    pub(super) fn fetch(
        &self,
        open: &LogReads<'_>,
        stored: &Stored,
        buffer: &mut Vec<u8>,
    ) -> Result<(), Miss> {
        self.fetch_range(open, stored, 0..stored.record_bytes as usize, buffer)
    }

    /// Reads some of the bytes of a record into their places in the buffer, which ends with them.
    fn fetch_range(
        &self,
        open: &LogReads<'_>,
        stored: &Stored,
        range: Range<usize>,
        buffer: &mut Vec<u8>,
    ) -> Result<(), Miss> {
        let at = stored.location();
        let offset = u64::from(at.segment.get()) * u64::from(open.terms.geometry.segment_bytes())
            + u64::from(at.offset);
        // Bytes of an earlier read are overwritten, so only growth is filled.
        buffer.resize(range.end, 0);
        let (from, part) = (range.start as u64, buffer.get_mut(range).unwrap_or_default());
        if !open.read(self, offset + from, part).map_err(Miss::Medium)? {
            return Err(Miss::WouldWait);
        }
        self.shared.counts.bytes_read.fetch_add(part.len() as u64, Relaxed);
        Ok(())
    }

    /// Reads header and key of a record, and nothing of its value. The checksum covers the value too, so it is not checked. The
    /// keyed hash in the index proves the key, and better than a checksum of 32 bits would.
    fn fetch_key(
        &self,
        open: &Open,
        hash: &KeyHash,
        stored: &Stored,
        buffer: &mut Vec<u8>,
    ) -> Result<Vec<u8>, Miss> {
        let first = KEY_READ_BYTES.min(stored.record_bytes as usize);
        let reads = open.reads();
        self.fetch_range(&reads, stored, 0..first, buffer)?;
        let header = RecordHeader::decode(&open.terms.geometry, buffer);
        let (header, header_bytes, _) = header.map_err(|_| Miss::Invalid)?;
        let key_end = header_bytes + header.key_bytes as usize;
        if header.kind != Kind::Value || key_end > stored.record_bytes as usize {
            return Err(Miss::Invalid);
        }
        if key_end > first {
            self.fetch_range(&reads, stored, first..key_end, buffer)?;
        }
        let key = buffer.get(header_bytes..key_end).ok_or(Miss::Invalid)?;
        if key_hash(&open.hash_key, key) == *hash { Ok(key.to_vec()) } else { Err(Miss::Invalid) }
    }

    /// The key of a hash that has a value.
    pub(super) fn read_key(&self, open: &Open, hash: &KeyHash) -> Result<Option<Vec<u8>>, GetError> {
        self.check_readable()?;
        let now_s = open.now_s(self);
        let look = |entry: &Entry| {
            if !self.is_current(&open.limits, entry, now_s) {
                return (None, None);
            }
            let pending = entry.pending.as_ref().and_then(|p| p.payload.get(..p.key_bytes as usize));
            (pending.map(<[u8]>::to_vec), entry.stored().copied())
        };
        let mut chase = Chase::default();
        loop {
            let stored = match self.shared.view(hash, look) {
                Some((Some(key), _)) => return Ok(Some(key)),
                Some((None, Some(stored))) => stored,
                Some((None, None)) | None => return Ok(None),
            };
            let key = scratch::with_buffer(|buffer| self.fetch_key(open, hash, &stored, buffer));
            match key {
                Ok(key) => return Ok(Some(key)),
                Err(miss) => chase.miss(open, stored.location(), &miss)?,
            }
        }
    }

    fn read_hot(&self, open: &Open, hash: &KeyHash, stored: &Stored, value: &mut Vec<u8>) -> Looked<()> {
        let Some((hot, tier)) = open.hot else { return Looked::Miss { is_wanted: false } };
        let key = HotKey { tier, hash: hash.0 };
        let looked = hot.look(key, stored.version().to_bits(), |bytes| value.extend_from_slice(bytes));
        if let Looked::Hit(()) = looked {
            self.shared.counts.hot_hits.fetch_add(1, Relaxed);
        }
        looked
    }

    fn keep_hot(&self, open: &Open, hash: &KeyHash, stored: &Stored, value: &[u8]) {
        let Some((hot, tier)) = open.hot else { return };
        let key = HotKey { tier, hash: hash.0 };
        hot.keep(key, stored.version().to_bits(), value, stored.expires_s());
    }
}

pub(super) enum ReadError {
    Miss(Miss),
    /// The value lies in pieces.
    Head(Head),
    Codec(CodecError),
}

/// Decodes a value of the log. It may have been written under another limit, but is no longer than a segment.
pub(super) fn decode_stored(
    open: &Open,
    codec: CodecId,
    payload: &[u8],
    value: &mut Vec<u8>,
) -> Result<(), GetError> {
    let bytes_max = open.terms.geometry.segment_bytes().max(open.limits.value_bytes_max);
    scratch::decode(codec, payload, bytes_max, value).map_err(GetError::Codec)
}

/// Decodes a pending value behind what is in `value`.
pub(super) fn decode(
    open: &Open,
    codec: CodecId,
    payload: &[u8],
    value: &mut Vec<u8>,
) -> Result<(), GetError> {
    scratch::decode_onto(codec, payload, open.limits.value_bytes_max, value).map_err(GetError::Codec)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::open::ColdTier;
    use crate::config::ColdTierConfig;
    use crate::pool::{AllocationManager, PoolConfig};
    use coldpress_core::format::SegmentIndex;
    use coldpress_core::format::Sequence;

    #[test]
    fn moving_record_is_retried_and_one_that_stays_is_damaged() {
        let dir = tempfile::tempdir().unwrap();
        let (_manager, pools) = AllocationManager::new(&PoolConfig::builder().build().unwrap()).unwrap();
        let config = ColdTierConfig::builder().capacity_bytes(4 << 20).build().unwrap();
        let tier = ColdTier::open(dir.path(), "t", config, pools).unwrap();
        let at = |sequence| Location { segment: SegmentIndex::new(1), offset: 0, sequence };
        tier.enter(|open| {
            let mut chase = Chase::default();
            for sequence in 0..1_000 {
                assert_eq!(chase.miss(open, at(Sequence::new(sequence)), &Miss::Invalid), Ok(()));
            }
            assert_eq!(chase.miss(open, at(Sequence::new(999)), &Miss::Invalid), Err(GetError::Damaged));
            let unreadable = Miss::Medium(coldpress_core::drive::MediumError::Unreadable.into());
            let expected =
                GetError::Tier(TierError::Medium(coldpress_core::drive::MediumError::Unreadable.into()));
            assert_eq!(chase.miss(open, at(Sequence::new(999)), &unreadable), Err(expected));
            chase.deadline = Instant::now().checked_sub(core::time::Duration::from_secs(1));
            assert_eq!(
                chase.miss(open, at(Sequence::new(1_000)), &Miss::Invalid),
                Err(TierError::TimedOut.into())
            );
        })
        .unwrap();
    }
}
