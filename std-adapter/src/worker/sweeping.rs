//! Pieces of long values that no head names: left of values that were replaced, removed, expired or evicted, or cut short.
//!
//! ```text
//!  touched family ─1─► what no head names ─2─► that is durable ─3─► a tombstone for each piece
//! ```
//! 1 the worker looks at two heads of the key: the one in the log and the pending one. It waits while a third exists, that of a
//! write which is appended and not published, with a newer write pending: a mount may find it; 2 a sync covers the state of the
//! log at the look: no cut brings back a head that names the pieces; 3 the tombstones are appended like any write. While some
//! of the log can't be read, a head may lie there, and nothing is swept.

use coldpress_core::segments::SyncPoint;
use core::sync::atomic::Ordering::Relaxed;
use std::collections::VecDeque;

use coldpress_core::codec::CodecId;
use coldpress_core::format::{
    HEAD_BYTES, Head, KEY_BYTES_MAX, KeyHash, Kind, PIECE_PREFIX_BYTES, RECORD_HEADER_BYTES_MAX,
    RecordHeader, key_hash, piece_hash, piece_parts, read_record,
};

use super::Worker;
use crate::index::{Entry, Family, Pending, Publish, Stored, publish};
use crate::storage::MediumError;

/// Pieces looked at in one turn to find which value they are of.
const LOOKS_PER_TURN: usize = 32;
/// Families looked at in one turn.
const FAMILIES_PER_TURN: usize = 64;
/// Pieces swept in one turn, and at most so many tombstones that wait to be appended.
const PIECES_PER_TURN: usize = 256;
/// Bytes of a record read at first: the header and most keys.
const KEY_READ_BYTES: usize = 256;

/// Pieces of one generation that no head names, from an index on.
#[derive(Debug, Clone, Copy)]
struct Leftover {
    hash: KeyHash,
    generation: u8,
    from: u32,
    end: u32,
}

/// The pieces left over, and how far they are swept.
#[derive(Debug, Default)]
pub(super) struct Sweeping {
    /// Left over by a look that no sync covers yet.
    seen: Vec<Leftover>,
    /// The sync point that must be durable before `seen` may be swept.
    mark: SyncPoint,
    /// To be swept.
    due: VecDeque<Leftover>,
}

/// The heads of a key.
#[derive(Default)]
struct Heads {
    is_pending: bool,
    /// Whether a mount may find a third head: that of a write that is appended and not published.
    has_overtaken: bool,
    pending: Option<Head>,
    stored: Option<Head>,
}

impl Heads {
    /// The index from which on no head names the pieces of a generation.
    fn named(&self, generation: u8) -> u32 {
        let named = |head: &Option<Head>| {
            head.filter(|head| head.generation == generation).map_or(0, |head| u32::from(head.pieces))
        };
        named(&self.pending).max(named(&self.stored))
    }

    /// Whether no head will name the stored pieces once the pending write is published.
    fn owes(&self) -> bool {
        self.is_pending && self.stored.is_some()
    }
}

impl Worker<'_> {
    /// Takes a step of sweeping, in bounded work.
    pub(super) fn sweep(&mut self) {
        if !self.may_sweep() {
            return;
        }
        self.look_at_pieces();
        self.look_at_families();
        self.sweep_due();
    }

    /// Whether there is sweeping to do now.
    pub(super) fn has_more_to_sweep(&self) -> bool {
        let sweeping = &self.sweeping;
        let has_touched = sweeping.seen.is_empty() && self.shared.families.has_touched();
        let has_more = !self.index.pieces.is_empty() || !sweeping.due.is_empty() || has_touched;
        has_more && self.may_sweep()
    }

    fn may_sweep(&self) -> bool {
        let is_withheld = self.shared.withheld_above.load(Relaxed) > 0;
        let is_busy = self.index.unwritten.len() >= PIECES_PER_TURN || !self.is_retry_due();
        !is_withheld && !is_busy && self.closing.is_none()
    }

    /// Finds the values to which pieces belong that a mount found.
    fn look_at_pieces(&mut self) {
        for _ in 0..LOOKS_PER_TURN {
            let Some(hash) = self.index.pieces.pop_front() else { break };
            let there = |entry: &Entry| {
                entry.stored().filter(|_| entry.is_value() && entry.is_piece_expiry()).copied()
            };
            let Some(stored) = self.shared.view(&hash, there).flatten() else { continue };
            match self.piece_of(&hash, &stored) {
                Ok(Some((value, generation, index))) => {
                    self.shared.families.found(&value, generation, index, stored.record_bytes);
                }
                // Its value can't be found, so the piece stays.
                Ok(None) | Err(_) => {
                    tracing::warn!(partition = self.partition, "a piece of a long value can't be read");
                }
            }
        }
    }

    /// The hash of the value's key to which a piece belongs, with generation and index. They are read from the piece's key, and
    /// its hash proves them.
    fn piece_of(&self, hash: &KeyHash, stored: &Stored) -> Result<Option<(KeyHash, u8, u16)>, MediumError> {
        let record_bytes = stored.record_bytes as usize;
        let mut bytes = vec![0; KEY_READ_BYTES.min(record_bytes)];
        self.read_start(stored, &mut bytes)?;
        let Ok((header, header_bytes, _)) = RecordHeader::decode(&self.terms.geometry, &bytes) else {
            return Ok(None);
        };
        let key = header_bytes..header_bytes + header.key_bytes as usize;
        if bytes.len() < key.end && key.end <= record_bytes {
            bytes.resize(key.end, 0);
            self.read_start(stored, &mut bytes)?;
        }
        let Some((generation, index, key)) = bytes.get(key).and_then(piece_parts) else { return Ok(None) };
        let Some(store) = self.index.store else { return Ok(None) };
        let value = key_hash(&store.hash_key, key);
        let is_its = piece_hash(&store.hash_key, &value, generation, index) == *hash;
        Ok(is_its.then_some((value, generation, index)))
    }

    fn read_start(&self, stored: &Stored, bytes: &mut [u8]) -> Result<(), MediumError> {
        let at = stored.location();
        let segment_bytes = u64::from(self.terms.geometry.segment_bytes());
        let offset = u64::from(at.segment.get()) * segment_bytes + u64::from(at.offset);
        Ok(self.medium.read_shared(offset, bytes)?)
    }

    /// Finds the pieces of touched families that no head names.
    fn look_at_families(&mut self) {
        if !self.sweeping.seen.is_empty() {
            if self.tier.completed_durable() >= self.sweeping.mark {
                self.sweeping.due.extend(self.sweeping.seen.drain(..));
            }
            return;
        }
        for _ in 0..FAMILIES_PER_TURN {
            let Some(hash) = self.shared.families.take_touched() else { break };
            self.look_at_family(hash);
        }
        if !self.sweeping.seen.is_empty() {
            self.sweeping.mark = self.tier.completed();
            if self.tier.completed_durable() < self.sweeping.mark {
                self.tier.sync();
            } else {
                self.sweeping.due.extend(self.sweeping.seen.drain(..));
            }
        }
    }

    fn look_at_family(&mut self, hash: KeyHash) {
        let Some(Family { generations, writing, .. }) = self.shared.families.look(&hash) else { return };
        let Some(heads) = self.heads_of(&hash) else {
            // The pieces that a damaged head names stay.
            self.shared.families.settle(&hash);
            return;
        };
        // The family is touched again once one of the two writes is published.
        if heads.has_overtaken {
            return;
        }
        let before = self.sweeping.seen.len();
        for (generation, pieces) in generations {
            let from = heads.named(generation);
            if Some(generation) != writing && from < pieces.end {
                self.sweeping.seen.push(Leftover { hash, generation, from, end: pieces.end });
            }
        }
        if self.sweeping.seen.len() == before && !heads.owes() {
            self.shared.families.settle(&hash);
        }
    }

    /// The heads of a key; `None` where the one in the log can't be read.
    fn heads_of(&self, hash: &KeyHash) -> Option<Heads> {
        let look = |entry: &Entry| {
            let pending = entry.pending.as_ref();
            let head = |pending: &Pending| {
                Head::from_bytes(pending.value()).filter(|_| pending.codec == CodecId::Chunked)
            };
            let is_value =
                |s: &&Stored| s.is_live() && s.kind() == Kind::Value && !s.is_stand_in() && !s.is_damaged();
            let is_damaged = entry.stored().is_some_and(|s| s.is_live() && s.is_damaged());
            let heads = Heads {
                is_pending: pending.is_some(),
                has_overtaken: entry.has_overtaken(),
                pending: pending.and_then(head),
                stored: None,
            };
            (!is_damaged).then_some((heads, entry.stored().filter(is_value).copied()))
        };
        let (heads, stored) = self.shared.view(hash, look).unwrap_or_else(|| Some(Default::default()))?;
        let Some(stored) = stored else { return Some(heads) };
        Some(Heads { stored: self.stored_head(&stored).ok()?, ..heads })
    }

    /// The head that a record is, if it is one.
    fn stored_head(&self, stored: &Stored) -> Result<Option<Head>, MediumError> {
        let longest = RECORD_HEADER_BYTES_MAX + KEY_BYTES_MAX + 7;
        if stored.record_bytes > self.terms.geometry.padded(longest) {
            return Ok(None);
        }
        let mut bytes = vec![0; stored.record_bytes as usize];
        self.read_start(stored, &mut bytes)?;
        let seed = self.tier.store().seed(&self.terms.geometry);
        let record = read_record(&self.terms.geometry, seed, stored.location(), &bytes);
        let record = record.map_err(|_| MediumError::Unreadable)?;
        if record.header.codec != CodecId::Chunked {
            return Ok(None);
        }
        Head::from_bytes(record.value).map(Some).ok_or(MediumError::Unreadable)
    }

    /// Puts tombstones for pieces whose head no cut brings back.
    fn sweep_due(&mut self) {
        let Some(store) = self.index.store else { return };
        let mut left = PIECES_PER_TURN;
        while let Some(mut leftover) = self.sweeping.due.pop_front() {
            while leftover.end > leftover.from {
                if left == 0 {
                    self.sweeping.due.push_front(leftover);
                    return;
                }
                left -= 1;
                leftover.end -= 1;
                let index = u16::try_from(leftover.end).unwrap_or(u16::MAX);
                let hash = piece_hash(&store.hash_key, &leftover.hash, leftover.generation, index);
                self.drop_piece(&hash);
            }
            let Leftover { hash, generation, from, .. } = leftover;
            self.shared.families.swept(&hash, generation, from);
            // Another look finds whether more pieces are left over.
            self.shared.families.touch(&hash);
        }
    }

    fn drop_piece(&mut self, hash: &KeyHash) {
        let seed = self.tier.store().seed(&self.terms.geometry);
        let mut tombstone = Some(Pending::tombstone(hash, seed, &self.terms));
        let drop = |entry: &mut Entry| {
            let is_there = entry.is_value() && entry.is_piece_expiry();
            is_there.then(|| publish(entry, &mut tombstone, 0))
        };
        let Some(Some(published)) = self.shared.mutate(&self.terms, hash, drop) else { return };
        self.shared.counts.swept_pieces.fetch_add(1, Relaxed);
        if matches!(published, Publish::Pending) {
            self.index.unwritten.push_back(*hash);
        }
    }
}

const _: () =
    assert!(HEAD_BYTES == 7 && KEY_READ_BYTES > RECORD_HEADER_BYTES_MAX as usize + PIECE_PREFIX_BYTES);
