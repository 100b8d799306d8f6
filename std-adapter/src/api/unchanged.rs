//! Puts of a value that is stored already: they are compared with the newest record of the key, and skipped where that may
//! stand for them.
//!
//! ```text
//!  encode ─► pending, the same bytes ────────────────► skipped; the worker looks at the key
//!         ├► in the log: read, compare ─► still newest ► skipped; where durability is waited for, the worker looks at the key
//!         └► anything else ────────────────────────────► written
//! ```
//! The record is read while no guard is held. Then a look at the entry checks that the record still is the newest of its key.
//! The moment of that look is the put's place among other writes. From then on the put waits like one that was written: for the
//! last append of its key, and for all earlier ones. A put that can't be compared is written.

use core::sync::atomic::Ordering::Relaxed;

use coldpress_core::codec::CodecId;
use coldpress_core::format::{
    Head, KeyHash, Kind, PIECE_EXPIRES_S, Record, RecordHeader, Sequence, piece_hash, piece_prefix,
    read_record,
};
use coldpress_core::machine::Present;

use super::handle::ColdTierHandle;
use super::long::LongPut;
use super::opened::{LogReads, Open, Part};
use super::scratch;
use super::write::Write;
use crate::index::{Entry, Pending, Stored};

/// The record that stands for a put of the same value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kept {
    /// A write that is not in the log yet.
    Pending,
    /// The newest record of the key in the log.
    Stored,
}

/// The newest record of a key, as a put first finds it.
enum Newest {
    /// It is pending, and has the same bytes.
    Same,
    /// It may be the same.
    Stored(Stored),
    Other,
}

impl ColdTierHandle {
    /// Finds whether the value of a put is stored already. Then the put has nothing left to write.
    pub(super) fn skip_unchanged(&self, write: &mut Write) {
        // A tier that is closed refuses the write later, too.
        let _ = self.enter(|open| find_and_keep(&open.reads(), write));
    }

    /// As [`skip_unchanged`](Self::skip_unchanged), without a wait for the device; tells whether that was enough.
    pub(super) fn try_skip_unchanged(&self, write: &mut Write) -> bool {
        let look = |open: &Open| {
            let reads = open.reads_without_waits();
            find_and_keep(&reads, write);
            !reads.would_wait()
        };
        self.enter(look).unwrap_or(true)
    }
}

/// Lets a record that is there stand for a write, where it may.
fn find_and_keep(reads: &LogReads<'_>, write: &mut Write) {
    let Ok(part) = reads.part(write.part) else { return };
    // A tier that takes no writes refuses this one too, when it is sent.
    if !reads.limits.skips_unchanged || reads.check_takes(part).is_err() {
        return;
    }
    if let Some(kept) = part.find_same(reads, write)
        && !reads.would_wait()
    {
        write.keep(kept);
    }
}

impl Part {
    /// Counts a put for which a record stood that was there.
    pub(super) fn count_kept(&self, write: &Write) {
        if write.kept.is_some() {
            let counts = &self.shared.counts;
            counts.puts.fetch_add(1, Relaxed);
            counts.unchanged_puts.fetch_add(1, Relaxed);
            counts.bytes_put.fetch_add(write.bytes_put.unwrap_or(0), Relaxed);
        }
    }

    fn find_same(&self, open: &LogReads<'_>, write: &Write) -> Option<Kept> {
        let now_s = open.now_s(self);
        let expires_s = write.expires_s(now_s);
        let newest = self.shared.view(&write.hash, |entry| {
            if !self.is_current(&open.limits, entry, now_s) {
                return Newest::Other;
            }
            match (&entry.pending, entry.stored()) {
                (Some(there), _)
                    if write.pending.as_ref().is_some_and(|new| is_same(there, new, expires_s)) =>
                {
                    self.touch(entry, now_s);
                    Newest::Same
                }
                (None, Some(stored)) if self.may_stand(stored, expires_s) => Newest::Stored(*stored),
                _ => Newest::Other,
            }
        });
        let stored = match newest? {
            Newest::Same => return Some(Kept::Pending),
            Newest::Stored(stored) => stored,
            Newest::Other => return None,
        };
        let is_held = scratch::with_buffer(|buffer| match (&write.pending, &write.long) {
            (Some(new), _) => {
                let key = new.payload.get(..new.key_bytes as usize).unwrap_or_default();
                self.holds(open, &stored, (new.codec, key, new.value()), buffer)
            }
            (None, Some(long)) => self.holds_pieces(open, &write.hash, &stored, long, buffer),
            (None, None) => false,
        });
        (is_held && self.is_newest(open, write, &stored)).then_some(Kept::Stored)
    }

    /// Tells whether a record that was compared still is the newest of its key, and may stand for a put of this moment.
    fn is_newest(&self, open: &Open, write: &Write, compared: &Stored) -> bool {
        let now_s = open.now_s(self);
        let expires_s = write.expires_s(now_s);
        let idle_end_s = self.shared.view(&write.hash, |entry| {
            let stored = entry.stored().filter(|_| entry.pending.is_none())?;
            let is_newest = stored.version() == compared.version()
                && self.may_stand(stored, expires_s)
                && self.is_current(&open.limits, entry, now_s);
            let idle_end_s = self.idle_end_s(&open.limits, entry);
            is_newest.then(|| {
                self.touch(entry, now_s);
                idle_end_s
            })
        });
        // Where the idle time ended before the entry was touched, the worker may be about to drop it.
        let is_in_time = |end_s: Option<u32>| end_s.is_none_or(|end_s| open.now_s(self) < end_s);
        idle_end_s.flatten().is_some_and(is_in_time)
    }

    /// Notes a use. A record that stays in its place is evicted earlier than a new one, so the put counts as a read.
    pub(super) fn touch(&self, entry: &Entry, now_s: u32) {
        entry.touch(now_s.saturating_sub(self.shared.opened_s.load(Relaxed)));
    }

    /// Tells whether a mount would find a record, and no other value of its key.
    fn may_stand(&self, stored: &Stored, expires_s: Option<u32>) -> bool {
        stored.is_live()
            && stored.kind() == Kind::Value
            && !stored.is_stand_in()
            && !stored.is_damaged()
            && stored.expires_s() == expires_s
            && stored.version().sequence > Sequence::new(self.shared.keeps_above.load(Relaxed))
    }

    /// Reads a record and tells whether it is whole and holds this value, encoded. One of another length is not read.
    fn holds(
        &self,
        open: &LogReads<'_>,
        stored: &Stored,
        (codec, key, value): (CodecId, &[u8], &[u8]),
        buffer: &mut Vec<u8>,
    ) -> bool {
        let value_bytes = u32::try_from(value.len()).unwrap_or(u32::MAX);
        let header = RecordHeader {
            kind: Kind::Value,
            codec,
            key_bytes: u32::try_from(key.len()).unwrap_or(u32::MAX),
            value_bytes,
            expires_s: stored.expires_s(),
            origin: (stored.version() != stored.location().version()).then_some(stored.version()),
        };
        if header.record_bytes(&open.terms.geometry) != stored.record_bytes {
            return false;
        }
        self.read_whole(open, stored, buffer).is_some_and(|record| {
            let present = Present {
                codec: record.header.codec,
                value_bytes: record.header.value_bytes,
                expires_s: record.header.expires_s,
                location: stored.location(),
                version: stored.version(),
            };
            present.may_equal(codec, value_bytes, stored.expires_s())
                && record.key == key
                && record.value == value
        })
    }

    /// Tells whether the pieces that a head names are those of a long value. While the head is in the log, no others have their names.
    fn holds_pieces(
        &self,
        open: &LogReads<'_>,
        hash: &KeyHash,
        head: &Stored,
        long: &LongPut,
        buffer: &mut Vec<u8>,
    ) -> bool {
        let head = self.read_whole(open, head, buffer).filter(|record| record.key == long.key());
        let head = head.filter(|record| record.header.codec == CodecId::Chunked);
        let Some(head) = head.and_then(|record| Head::from_bytes(record.value)) else { return false };
        if !long.is_named_by(&head) {
            return false;
        }
        long.pieces().all(|(index, codec, value)| {
            let of_piece = piece_hash(&open.hash_key, hash, head.generation, index);
            let stored = |entry: &Entry| entry.stored().filter(|_| entry.pending.is_none()).copied();
            let stored = self.shared.view(&of_piece, stored).flatten();
            let name = [&piece_prefix(head.generation, index), long.key()].concat();
            stored.is_some_and(|stored| {
                self.may_stand(&stored, Some(PIECE_EXPIRES_S))
                    && self.holds(open, &stored, (codec, &name, value), buffer)
            })
        })
    }

    /// Reads a value's record, if it is whole.
    fn read_whole<'b>(
        &self,
        open: &LogReads<'_>,
        stored: &Stored,
        buffer: &'b mut Vec<u8>,
    ) -> Option<Record<'b>> {
        self.fetch(open, stored, buffer).ok()?;
        let record = read_record(&open.terms.geometry, open.seed, stored.location(), buffer).ok()?;
        (record.header.kind == Kind::Value).then_some(record)
    }
}

/// Tells whether a pending write is the same as a new one that expires then.
fn is_same(there: &Pending, new: &Pending, expires_s: Option<u32>) -> bool {
    there.kind == Kind::Value
        && (there.codec, there.key_bytes, there.expires_s) == (new.codec, new.key_bytes, expires_s)
        && there.payload == new.payload
}
