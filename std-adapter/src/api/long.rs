//! Long values: put and read in pieces.
//!
//! ```text
//!  put   encode all ─► claim the key ─► capacity for all ─► pieces ─► sync ─► head ─► [wait for durability]
//!  read  head ─► its pieces ─► the head again, where one is missing
//! ```
//! The head comes after a sync of its pieces, so that a cut leaves no head without them: the key has its old value or the new one.
//! Until the head is in the index, readers find the old value. The pieces of values that were replaced or dropped are swept by the
//! worker.

use core::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

use coldpress_core::codec::CodecId;
use coldpress_core::format::{
    HASH_KEY_BYTES, Head, KeyHash, Kind, PIECE_EXPIRES_S, PIECE_PREFIX_BYTES, RECORD_HEADER_BYTES_MAX, Seed,
    Sequence, Version, piece_hash, piece_prefix,
};
use crossbeam_channel::bounded;
use tracing::Span;

use super::get::{Chase, Found, Miss, ReadError, decode};
use super::handle::ColdTierHandle;
use super::opened::{LogReads, Open, Part};
use super::reserve::WaitingClient;
use super::scratch;
use super::write::{Refused, Write};
use crate::admission::{KeyClaim, Line, Relief, Shortfall, Tries, try_until};
use crate::config::{Durability, FullPolicy, Terms, piece_bytes};
use crate::errors::{GetError, TierError};
use crate::index::{Entry, FamilyWriter, Generation, Pending, Stored};
use crate::recycled::Gone;
use crate::storage::MediumError;
use crate::worker::{Message, Waiter};

/// A value of up to this many records is first encoded whole, since it may fit into one.
const WHOLE_RECORDS_MAX: usize = 4;

/// Encodes a value for one record; `None` where it takes more.
pub(super) fn encode_whole(
    codec: CodecId,
    key: &[u8],
    value: &[u8],
    record_bytes_max: u32,
) -> Option<(CodecId, Box<[u8]>)> {
    let whole_bytes = record_bytes_max.saturating_sub(RECORD_HEADER_BYTES_MAX) as usize;
    if value.len() > whole_bytes.saturating_mul(WHOLE_RECORDS_MAX) {
        return None;
    }
    let (used, payload) = scratch::encode(codec, key, value);
    (payload.len() <= whole_bytes).then_some((used, payload))
}

/// A long value, encoded.
pub(super) struct LongPut {
    key: Box<[u8]>,
    /// The pieces, each with its codec. Their keys have no generation yet.
    pieces: Vec<(CodecId, Box<[u8]>)>,
    bytes: u32,
}

impl LongPut {
    /// Encodes a value in pieces of about the same length. Its length was checked: there are no more than can be counted.
    pub(super) fn new(codec: CodecId, key: &[u8], value: &[u8], record_bytes_max: u32) -> Self {
        let key_bytes = u32::try_from(key.len()).unwrap_or(u32::MAX);
        let value_bytes = u32::try_from(value.len()).unwrap_or(u32::MAX);
        let each = piece_bytes(record_bytes_max, key_bytes, value_bytes) as usize;
        let encode = |(index, piece)| {
            let name = [&piece_prefix(0, index), key].concat();
            scratch::encode(codec, &name, piece)
        };
        let pieces = (0..=u16::MAX).zip(value.chunks(each)).map(encode).collect();
        Self { key: key.into(), pieces, bytes: u32::try_from(value.len()).unwrap_or(u32::MAX) }
    }

    pub(super) const fn key(&self) -> &[u8] {
        &self.key
    }

    /// The pieces, each with its index, its codec and its part of the value as encoded.
    pub(super) fn pieces(&self) -> impl Iterator<Item = (u16, CodecId, &[u8])> {
        let key_bytes = self.key_bytes() as usize;
        let parts = (0..=u16::MAX).zip(&self.pieces);
        parts.map(move |(index, (codec, payload))| {
            (index, *codec, payload.get(key_bytes..).unwrap_or_default())
        })
    }

    /// Tells whether a codec made any piece shorter.
    pub(super) fn has_shrunk(&self) -> bool {
        self.pieces.iter().any(|(codec, _)| *codec != CodecId::Raw)
    }

    /// Tells whether a head names so many pieces, of so many bytes.
    pub(super) fn is_named_by(&self, head: &Head) -> bool {
        (usize::from(head.pieces), head.bytes) == (self.pieces.len(), self.bytes)
    }

    fn key_bytes(&self) -> u32 {
        u32::try_from(self.key.len() + PIECE_PREFIX_BYTES).unwrap_or(u32::MAX)
    }

    /// The charge of all pieces.
    fn charge(&self, terms: &Terms) -> u64 {
        let charge = |payload: &[u8]| {
            let value_bytes =
                u32::try_from(payload.len()).unwrap_or(u32::MAX).saturating_sub(self.key_bytes());
            u64::from(terms.value_charge(self.key_bytes(), value_bytes, true))
        };
        self.pieces.iter().map(|(_, payload)| charge(payload)).sum()
    }
}

/// The parameters that the pieces of one put are made with.
pub(super) struct PieceShape {
    generation: u8,
    terms: Terms,
    seed: Seed,
    hash_key: [u8; HASH_KEY_BYTES],
}

/// The payload of a head, and how much of it is the key.
pub(super) struct HeadPayload {
    payload: Box<[u8]>,
    key_bytes: u32,
}

impl LongPut {
    /// The head that names the pieces, and the pieces with their hashes, in their order.
    pub(super) fn into_pieces(
        self,
        hash: &KeyHash,
        shape: &PieceShape,
    ) -> (HeadPayload, impl Iterator<Item = (KeyHash, Pending)>) {
        let PieceShape { generation, terms, seed, hash_key } = *shape;
        let (hash, key_bytes) = (*hash, self.key_bytes());
        let pieces = u16::try_from(self.pieces.len()).unwrap_or(u16::MAX);
        let head = Head { generation, pieces, bytes: self.bytes };
        let head = HeadPayload {
            payload: [&self.key, &head.to_bytes()[..]].concat().into_boxed_slice(),
            key_bytes: u32::try_from(self.key.len()).unwrap_or(u32::MAX),
        };
        let pieces = (0..=u16::MAX).zip(self.pieces).map(move |(index, (codec, mut payload))| {
            if let Some(prefix) = payload.first_chunk_mut() {
                *prefix = piece_prefix(generation, index);
            }
            let of_piece = piece_hash(&hash_key, &hash, generation, index);
            (of_piece, pending(payload, key_bytes, codec, Some(PIECE_EXPIRES_S), (&terms, seed)))
        });
        (head, pieces)
    }
}

impl Write {
    /// The pieces are durable: what is left to write is their head.
    pub(super) fn take_head(&mut self, head: HeadPayload, shape: &PieceShape) {
        let HeadPayload { payload, key_bytes } = head;
        let expires_s = self.may_expire().then_some(0);
        let with = (&shape.terms, shape.seed);
        self.pending = Some(pending(payload, key_bytes, CodecId::Chunked, expires_s, with));
    }
}

impl Refused {
    /// The refusal of a piece, as one of the whole value: others took the space meanwhile.
    pub(super) fn of_all_pieces(self, charge: u64) -> Self {
        match self {
            Self::Full { available, .. } => Self::Full { needed: charge, available },
            refused => refused,
        }
    }
}

/// The pending form of a value; its payload is the key and the encoded value.
pub(super) fn pending(
    payload: Box<[u8]>,
    key_bytes: u32,
    codec: CodecId,
    expires_s: Option<u32>,
    (terms, seed): (&Terms, Seed),
) -> Pending {
    let value_bytes = u32::try_from(payload.len()).unwrap_or(u32::MAX).saturating_sub(key_bytes);
    Pending {
        checksum: seed.payload(&payload),
        charge: terms.value_charge(key_bytes, value_bytes, expires_s.is_some()),
        payload,
        codec,
        key_bytes,
        expires_s,
        kind: Kind::Value,
        inflight: None,
        before: None,
        older_charge: 0,
        serial: 0,
    }
}

impl From<Gone> for Refused {
    fn from(gone: Gone) -> Self {
        TierError::from(gone).into()
    }
}

/// The pieces of a long value.
pub(super) enum PutPieces {
    /// They are durable. They are swept once this is dropped, unless the head was put by then.
    Put(#[expect(dead_code, reason = "only its drop counts")] FamilyWriter),
    /// None was written, since the condition of the write does not hold.
    Unmet,
}

impl ColdTierHandle {
    /// Puts the pieces of a long value, and makes them durable; the write that is left is that of the head.
    pub(super) fn put_pieces(&self, write: &mut Write, long: LongPut) -> Result<PutPieces, Refused> {
        let (part, deadline) = (write.part, write.deadline);
        let lease = self.enter(|open| open.part(part).map(|part| part.shared.lease()))??;
        let check = || self.enter(|open| Ok::<_, Refused>(open.check_takes(open.part(part)?)?))?;
        let key = KeyClaim::wait_for(lease, write.hash, deadline, check)?.ok_or(Refused::Busy)?;
        let writer = FamilyWriter::new(lease, write.hash, key);
        // The put that had the key before may have changed it: no space is taken from others in vain.
        if self.is_unmet(write)? {
            return Ok(PutPieces::Unmet);
        }
        let replaces = lease.enter(|shared| shared.families.bytes(&write.hash))?;
        let mut replacement = None;
        let charge = match self.await_capacity(write, &long) {
            // As for a short value, it may use the space that is kept for replacements, if it replaces enough.
            Err(Refused::Full { needed, available }) if needed <= available.saturating_add(replaces) => {
                let claim = KeyClaim::wait_for_replacement(lease, deadline, check)?.ok_or(Refused::Busy)?;
                replacement = Some(claim);
                write.replaces = replaces;
                needed
            }
            Err(Refused::Full { .. }) if self.is_unmet(write)? => return Ok(PutPieces::Unmet),
            outcome => outcome?,
        };
        let taken =
            self.enter(|open| open.part(write.part)?.taken_generations(&open.reads(), &write.hash))??;
        let shape = self.piece_shape(&writer, &taken, &long, charge)?;
        let (head, pieces) = long.into_pieces(&write.hash, &shape);
        for (hash, piece) in pieces {
            self.run(&mut write.piece(hash, piece)).map_err(|refused| refused.of_all_pieces(charge))?;
        }
        self.sync_part(write.part, write.deadline)?;
        drop(replacement);
        write.take_head(head, &shape);
        Ok(PutPieces::Put(writer))
    }

    /// Begins the generation of a long value, and finds what its pieces are made with.
    pub(super) fn piece_shape(
        &self,
        writer: &FamilyWriter,
        taken: &[u8],
        long: &LongPut,
        charge: u64,
    ) -> Result<PieceShape, Refused> {
        let pieces = u16::try_from(long.pieces.len()).unwrap_or(u16::MAX);
        let generation = writer.begin(taken, Generation { end: u32::from(pieces), bytes: charge });
        let generation = generation?.ok_or(Refused::Busy)?;
        Ok(self.enter(|open| {
            let (terms, seed, hash_key) = (open.terms, open.seed, open.hash_key);
            PieceShape { generation, terms, seed, hash_key }
        })?)
    }

    pub(super) fn is_unmet(&self, write: &Write) -> Result<bool, TierError> {
        self.enter(|open| {
            let part = open.part(write.part)?;
            Ok(part.is_unmet(open, write, open.now_s(part)))
        })?
    }

    /// Waits in the line for capacity until there is enough for the whole value, and returns its charge. So no piece is written
    /// of a value without space.
    fn await_capacity(&self, write: &Write, long: &LongPut) -> Result<u64, Refused> {
        let mut asked_in = 0;
        let attempt = |waiting: &mut Option<WaitingClient>, tries: &Tries<'_>| {
            self.try_for_capacity(write, long, &mut asked_in, waiting, tries)
        };
        // The last attempt has the capacity, or returns what is lacking.
        try_until(write.deadline, attempt)?.ok_or(Refused::Busy)
    }

    /// Tries for the capacity for all of a long value, or stands in line for it. The result is its charge.
    pub(super) fn try_for_capacity(
        &self,
        write: &Write,
        long: &LongPut,
        asked_in: &mut u64,
        waiting: &mut Option<WaitingClient>,
        tries: &Tries<'_>,
    ) -> Result<Option<u64>, Refused> {
        self.enter(|open| {
            let part = open.part(write.part)?;
            open.check_takes(part)?;
            let may_try = match waiting {
                None => part.shared.admission.may_try_for_capacity(),
                Some(waiting) => waiting.is_called(),
            };
            let needs = if may_try || tries.is_last() {
                match part.look_for_capacity(open, long, asked_in)? {
                    Capacity::There(charge) => return Ok(Some(charge)),
                    Capacity::Later { needed, available, .. } if tries.is_last() => {
                        return Err(Refused::Full { needed, available });
                    }
                    Capacity::Later { unasked, .. } => unasked,
                }
            } else if waiting.is_some() {
                // It was woken to look at the tier, and keeps its place.
                return Ok(None);
            } else {
                // It has not asked for space: the client before it in the line does.
                let is_evicting = open.limits.full == FullPolicy::Evict;
                if is_evicting { long.charge(&open.terms) } else { 0 }
            };
            part.stand_for(open, waiting, Line::Capacity { needs }, tries)?;
            Ok(None)
        })?
    }

    /// Waits until everything that was sent to one partition is durable.
    fn sync_part(&self, part: usize, deadline: Instant) -> Result<(), TierError> {
        let (reply, receiver) = bounded(1);
        let waiter =
            Waiter { durability: Durability::Synced, reply: reply.into(), deadline, span: Span::none() };
        self.send_message(part, Message::Flush(waiter), deadline)?;
        self.wait_for(part, &receiver, deadline)?
    }
}

/// Whether a long value has space.
enum Capacity {
    There(u64),
    Later {
        needed: u64,
        available: u64,
        /// The part of it for which no eviction was asked for yet.
        unasked: u64,
    },
}

impl Part {
    /// Looks for capacity for all of a value. As for a short one, it may wait for sweeps, expired values, blocks and evictions.
    fn look_for_capacity(
        &self,
        open: &Open,
        long: &LongPut,
        asked_in: &mut u64,
    ) -> Result<Capacity, Refused> {
        let needed = long.charge(&open.terms);
        let claim = self.claim_for(open, open.limits.record_bytes_max);
        let available = claim.ceiling.settled.saturating_sub(self.shared.admission.charges.settled());
        if needed <= available {
            return Ok(Capacity::There(needed));
        }
        // Blocks also for the bytes that its longer records may leave unused at the ends of segments, which are not counted
        // yet.
        let ends = self.shared.lengths.waste_with(open.limits.record_bytes_max);
        let shortfall = Shortfall { needed, available, ends };
        let unasked = match self.relieve(open, &claim, shortfall, asked_in, open.now_s(self))? {
            Relief::Eviction { unasked } => unasked,
            Relief::Sweep | Relief::Expiry | Relief::Blocks => 0,
        };
        Ok(Capacity::Later { needed, available, unasked })
    }

    /// Generations that a head may name after a cut: that of the value in the log, and each one whose first piece is stored.
    /// The family of the key may not be known yet.
    pub(super) fn taken_generations(
        &self,
        open: &LogReads<'_>,
        hash: &KeyHash,
    ) -> Result<Vec<u8>, TierError> {
        let current = self.stored_generation(open, hash)?;
        let is_there = |generation: &u8| {
            let first = piece_hash(&open.hash_key, hash, *generation, 0);
            Some(*generation) == current || self.shared.view(&first, Entry::is_value) == Some(true)
        };
        Ok((0..=u8::MAX).filter(is_there).collect())
    }

    /// The generation of the value that the log has under a key: its pieces stay until a newer value is durable. Where a newer head
    /// may lie among what can't be read, nothing tells its generation.
    fn stored_generation(&self, open: &LogReads<'_>, hash: &KeyHash) -> Result<Option<u8>, TierError> {
        let withheld_above = self.shared.withheld_above.load(Relaxed);
        let is_value = |stored: &&Stored| stored.is_live() && stored.kind() == Kind::Value;
        let mut chase = Chase::default();
        loop {
            let stored = |entry: &Entry| entry.stored().filter(is_value).copied();
            let stored = self.shared.view(hash, stored).flatten();
            let outranks =
                stored.is_some_and(|stored| stored.version().sequence >= Sequence::new(withheld_above));
            if withheld_above > 0 && !outranks {
                return Err(TierError::Medium(MediumError::Unreadable.into()));
            }
            let Some(stored) = stored else { return Ok(None) };
            let read =
                scratch::with_buffer(|buffer| self.read_stored(open, &stored, None, buffer, &mut Vec::new()));
            let miss = match read {
                Err(ReadError::Head(head)) => return Ok(Some(head.generation)),
                Ok(()) | Err(ReadError::Codec(_)) => return Ok(None),
                Err(ReadError::Miss(miss)) => miss,
            };
            match chase.miss(open, stored.location(), &miss) {
                Ok(()) => {}
                // A damaged head names no generation.
                Err(GetError::Damaged) => return Ok(None),
                Err(GetError::Tier(error)) => return Err(error),
                Err(_) => return Ok(None),
            }
        }
    }

    /// Reads the value that a head names, unless it is replaced or dropped meanwhile.
    pub(super) fn read_long(
        &self,
        open: &LogReads<'_>,
        (hash, key): (&KeyHash, &[u8]),
        seen: &Seen,
        heads: &mut HeadChase,
        buffers: (&mut Vec<u8>, &mut Vec<u8>),
    ) -> Result<Long, GetError> {
        match self.read_pieces(open, (hash, key), seen, buffers)? {
            Pieces::Whole => Ok(Long::Whole),
            Pieces::Doubtful => heads.again(open).map(|()| Long::Again),
            // A piece that is missing twice under the same head is gone for good. If the value has a lifetime, that had ended,
            // by a time that a cut took from the log.
            Pieces::Missing if heads.is_same(seen) && seen.expires => Ok(Long::Absent),
            Pieces::Missing if heads.is_same(seen) => Err(GetError::Damaged),
            Pieces::Missing => {
                heads.last = Some(seen.identity());
                heads.again(open).map(|()| Long::Again)
            }
        }
    }

    /// Reads the pieces that a head names.
    fn read_pieces(
        &self,
        open: &LogReads<'_>,
        (hash, key): (&KeyHash, &[u8]),
        seen: &Seen,
        (buffer, value): (&mut Vec<u8>, &mut Vec<u8>),
    ) -> Result<Pieces, GetError> {
        let Head { generation, pieces, bytes } = seen.head;
        value.clear();
        value.reserve(bytes as usize);
        for index in 0..pieces {
            let name = [&piece_prefix(generation, index), key].concat();
            let of_piece = piece_hash(&open.hash_key, hash, generation, index);
            if !self.read_piece(open, &of_piece, &name, (buffer, value))? {
                return Ok(Pieces::Missing);
            }
        }
        // No other value has pieces of this generation while this head is in the log, or if no generation was begun meanwhile.
        // After a head was dropped, another value may have them.
        let is_there = |entry: &Entry| {
            entry.stored().filter(|stored| stored.is_value()).map(Stored::version) == seen.version
        };
        let is_same = self.shared.families.begun() == seen.begun
            || seen.version.is_some() && self.shared.view(hash, is_there) == Some(true);
        if !is_same {
            return Ok(Pieces::Doubtful);
        }
        if value.len() == bytes as usize { Ok(Pieces::Whole) } else { Err(GetError::Damaged) }
    }

    /// Reads a piece behind those before it.
    fn read_piece(
        &self,
        open: &LogReads<'_>,
        hash: &KeyHash,
        name: &[u8],
        (buffer, value): (&mut Vec<u8>, &mut Vec<u8>),
    ) -> Result<bool, GetError> {
        let mut chase = Chase::default();
        loop {
            match self.look_up(open, (hash, Some(name)), open.now_s(self), buffer) {
                Found::Absent => return Ok(false),
                Found::Damaged => return Err(GetError::Damaged),
                Found::Pending { codec, .. } => return decode(open, codec, buffer, value).map(|()| true),
                Found::Stored(stored) => match self.read_stored(open, &stored, Some(name), buffer, value) {
                    Ok(()) => return Ok(true),
                    Err(ReadError::Codec(error)) => return Err(GetError::Codec(error)),
                    Err(ReadError::Head(_)) => return Err(GetError::Damaged),
                    Err(ReadError::Miss(Miss::OtherKey)) => return Ok(false),
                    Err(ReadError::Miss(miss)) => chase.miss(open, stored.location(), &miss)?,
                },
            }
        }
    }
}

/// The outcome of reading a long value.
pub(super) enum Long {
    Whole,
    Absent,
    /// It is to be looked up again.
    Again,
}

/// The outcome of reading the pieces of a value.
enum Pieces {
    Whole,
    /// One is not there: the value was replaced or dropped meanwhile.
    Missing,
    /// One may be of another value.
    Doubtful,
}

/// A head as a reader found it.
#[derive(Clone, Copy)]
pub(super) struct Seen {
    pub(super) head: Head,
    /// Its version, where it is in the log.
    pub(super) version: Option<Version>,
    /// Whether the value has a lifetime.
    pub(super) expires: bool,
    /// How many generations had begun.
    pub(super) begun: u64,
}

impl Seen {
    /// A mark that no other head has. A pending head has no version yet, but a later equal one has a later begun generation.
    fn identity(&self) -> (Head, Result<Version, u64>) {
        (self.head, self.version.ok_or(self.begun))
    }
}

/// The lookups of a value whose pieces go while it is read: it is looked up again, until the deadline.
#[derive(Default)]
pub(super) struct HeadChase {
    last: Option<(Head, Result<Version, u64>)>,
    deadline: Option<Instant>,
}

impl HeadChase {
    /// Whether a piece of the same head was missing before.
    fn is_same(&self, seen: &Seen) -> bool {
        self.last == Some(seen.identity())
    }

    fn again(&mut self, open: &Open) -> Result<(), GetError> {
        let now = Instant::now();
        let deadline = *self.deadline.get_or_insert(now + open.limits.op_timeout);
        if now > deadline { Err(TierError::TimedOut.into()) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests;
