//! Long values: written and read in pieces, none longer than a record.
//!
//! A piece is a record of its own under a key that is made of the value's: `FF 63 70`, generation, index, then the key. The
//! value is there from the moment at which its *head* is written under the key itself, and not before: the head names the
//! generation, how many pieces there are and how long they are together. So a cut leaves the old value or the new one, and
//! perhaps pieces that no head names; those are found and removed by [`sweep`](FlashTier::sweep).
//!
//! ```text
//! head  codec 6 │ generation u8 │ pieces u16 │ bytes u32
//! ```

use coldpress_core::codec::CodecId;
use coldpress_core::drive::{MediumError, Now};
use coldpress_core::durability::expiry_s;
use coldpress_core::format::{
    HEAD_BYTES, Head, KeyHash, Kind, PIECE_PREFIX_BYTES, is_piece_identity, piece_parts, piece_prefix,
};

use super::access::Access;
use super::get::Newest;
use super::pending::Change;
use super::table::State;
use super::tier::FlashTier;
use super::{GetError, PutError, Wait};

/// The longest key of a long value, in bytes.
pub const LARGE_KEY_BYTES_MAX: usize = 64;
const PIECE_KEY_BYTES_MAX: usize = PIECE_PREFIX_BYTES + LARGE_KEY_BYTES_MAX;
/// Entries looked at in one call of `sweep`.
const LOOKS_MAX: u32 = 16;

/// A long value that is being written.
#[derive(Debug, Clone, Copy)]
pub(super) struct LargePut {
    hash: KeyHash,
    head: Head,
    expires_s: Option<u32>,
    /// A commit of it failed: a mount may find its head.
    is_in_doubt: bool,
}

/// Commits that failed since the mount: the pieces that they name stay as they are.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct FailedCommits {
    /// All failed commits. Generations of a key differ by this count, so a new one differs from all that failed.
    count: u8,
    /// Failed commits that were not repeated. A mount may find their heads, so no piece counts as left over.
    in_doubt: u32,
}

/// The key of a piece.
struct PieceKey {
    bytes: [u8; PIECE_KEY_BYTES_MAX],
    len: usize,
}

impl PieceKey {
    fn new(key: &[u8], generation: u8, index: u16) -> Option<Self> {
        let mut bytes = [0; PIECE_KEY_BYTES_MAX];
        let len = PIECE_PREFIX_BYTES + key.len();
        let (prefix, rest) = bytes.split_at_mut(PIECE_PREFIX_BYTES);
        prefix.copy_from_slice(&piece_prefix(generation, index));
        rest.get_mut(..key.len())?.copy_from_slice(key);
        Some(Self { bytes, len })
    }

    fn as_slice(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }

    /// Generation, index and the value's key.
    fn parts(&self) -> Option<(u8, u16, &[u8])> {
        piece_parts(self.as_slice())
    }
}

impl<M: Access> FlashTier<'_, M> {
    /// Begins to write a value in pieces.
    pub(super) async fn begin_value(
        &mut self,
        now: Now,
        key: &[u8],
        ttl_s: Option<u32>,
    ) -> Result<(), PutError> {
        self.check_name(key)?;
        if key.len() > LARGE_KEY_BYTES_MAX {
            return Err(PutError::TooLong(self.record_bytes_max));
        }
        // The record that replaced an older head is durable before pieces of the older value are overwritten.
        self.sync_within(now)?;
        let generation = self.next_generation(now, key).await?;
        // Pieces of a value that was begun and given up are left over.
        self.has_orphans |= self.large.is_some();
        let head = Head { generation, pieces: 0, bytes: 0 };
        let expires_s = ttl_s.map(|ttl_s| expiry_s(self.clock_s(now), ttl_s));
        self.large =
            Some(LargePut { hash: self.flash.secret.identity(key), head, expires_s, is_in_doubt: false });
        Ok(())
    }

    /// The value that was begun under a key.
    fn begun(&self, key: &[u8]) -> Result<LargePut, PutError> {
        let hash = self.flash.secret.identity(key);
        self.large.filter(|large| large.hash == hash).ok_or(PutError::NotBegun)
    }

    /// Chooses a generation that the stored value does not have, nor a failed commit, whose head a mount may find. An expired
    /// value counts, since it is there again if the clock is set back. A newer head may lie in a part that could not be read,
    /// and its generation is unknown: then the call is refused until that head is outranked.
    async fn next_generation(&mut self, now: Now, key: &[u8]) -> Result<u8, PutError> {
        let refused = |error| match error {
            GetError::NotMounted => PutError::NotMounted,
            GetError::Busy => PutError::Busy(Wait::Operation),
            GetError::Medium(error) => PutError::Medium(error),
            _ => PutError::Damaged,
        };
        self.check_readable(now).map_err(refused)?;
        let newest = self.newest_record(key).await.map_err(refused)?;
        if self.index.withheld_above.is_some_and(|above| !newest.as_ref().is_some_and(|n| n.outranks(above)))
        {
            return Err(PutError::Damaged);
        }
        let first = self.failed_commits.count;
        let Some(newest) = newest else { return Ok(first) };
        match self.certain_head(&newest, key).await {
            Ok(head) => Ok(head.map_or(first, |head| head.generation.wrapping_add(1).wrapping_add(first))),
            // The record does not count, and may be gone by now.
            Err(GetError::Damaged) if newest.entry.state == State::Dead => Ok(first),
            Err(error) => Err(refused(error)),
        }
    }

    /// Writes the next piece of the value that was begun.
    pub(super) async fn add_piece(&mut self, now: Now, key: &[u8], piece: &[u8]) -> Result<(), PutError> {
        let large = self.begun(key)?;
        let Head { generation, pieces, bytes } = large.head;
        let name = PieceKey::new(key, generation, pieces).ok_or(PutError::TooLong(self.record_bytes_max))?;
        let too_long = PutError::TooLong(self.record_bytes_max);
        let len = u32::try_from(piece.len()).map_err(|_| too_long)?;
        let next = (pieces.checked_add(1), bytes.checked_add(len));
        let (Some(pieces), Some(bytes)) = next else { return Err(PutError::Full) };
        // Pieces expire later than their head, so a head that comes back after the clock was set back finds them.
        let expires_s = large.expires_s.map(|at| at.saturating_add(self.time_every_s));
        self.store(now, &Change::new(Kind::Value, name.as_slice(), piece).expiring(expires_s)).await?;
        self.large = Some(LargePut { head: Head { generation, pieces, bytes }, ..large });
        Ok(())
    }

    /// Makes the value that was begun the value of its key.
    pub(super) async fn commit_value(&mut self, now: Now, key: &[u8]) -> Result<(), PutError> {
        let large = self.begun(key)?;
        let head = large.head.to_bytes();
        let head = Change::new(Kind::Value, key, &head).expiring(large.expires_s);
        let head = Change { codec: CodecId::Chunked, ..head };
        // A head that outlives a cut finds its pieces.
        if !self.is_pending(&head) {
            self.sync_within(now)?;
        }
        let stored = self.store(now, &head).await;
        let failed = &mut self.failed_commits;
        match stored {
            Err(PutError::Medium(_)) if !large.is_in_doubt => {
                failed.count = failed.count.wrapping_add(1);
                failed.in_doubt = failed.in_doubt.saturating_add(1);
                self.large = Some(LargePut { is_in_doubt: true, ..large });
            }
            Ok(()) if large.is_in_doubt => failed.in_doubt = failed.in_doubt.saturating_sub(1),
            _ => {}
        }
        stored?;
        // An earlier attempt may have had more pieces.
        (self.has_orphans, self.swept) = (true, 0);
        self.large = None;
        Ok(())
    }

    /// Reads a value piece by piece.
    pub(super) async fn fetch_in_pieces(
        &mut self,
        now: Now,
        key: &[u8],
        buffer: &mut [u8],
        mut take: impl FnMut(u32, &[u8]),
    ) -> Result<Option<u32>, GetError> {
        let Some(head) = self.head_of(now, key).await? else {
            let Some(value) = self.fetch_named(now, key, buffer).await? else { return Ok(None) };
            take(0, value);
            return Ok(u32::try_from(value.len()).ok());
        };
        let mut offset = 0u32;
        for index in 0..head.pieces {
            let name = PieceKey::new(key, head.generation, index).ok_or(GetError::Damaged)?;
            // The head names it, so it is there, whole or damaged; its own time is that of the head.
            let piece = self.fetch(now, name.as_slice(), buffer).await?.ok_or(GetError::Damaged)?;
            take(offset, piece);
            offset = offset.saturating_add(u32::try_from(piece.len()).unwrap_or(u32::MAX));
        }
        if offset == head.bytes { Ok(Some(offset)) } else { Err(GetError::Damaged) }
    }

    /// Removes one piece that belongs to no value.
    pub(super) async fn sweep_one(&mut self, now: Now) -> Result<bool, PutError> {
        if self.index.pieces == 0 {
            self.has_orphans = false;
        }
        // The head of a piece may be in a part that could not be read.
        let is_withheld = self.index.withheld_above.is_some();
        if !self.has_orphans || self.failed_commits.in_doubt > 0 || is_withheld {
            return Ok(false);
        }
        for _ in 0..LOOKS_MAX {
            let Some((_, entry, next)) = self.index.table.next_from(self.swept) else {
                self.swept = 0;
                self.has_orphans = false;
                return Ok(false);
            };
            let orphan =
                if entry.state == State::Value { self.orphan_at(now, entry.place).await } else { Ok(None) };
            match orphan {
                Ok(None) => {}
                Ok(Some(name)) => match self.drop_key(now, name.as_slice()).await {
                    // The key of that piece can't be found out.
                    Ok(_) | Err(PutError::Collision) => {
                        self.swept = next;
                        return Ok(true);
                    }
                    // A remove that is put off is tried again by the next call.
                    Err(error) => return Err(error),
                },
                Err(GetError::NotMounted) => return Err(PutError::NotMounted),
                Err(GetError::Busy) => return Err(PutError::Busy(Wait::Operation)),
                Err(GetError::Medium(error)) if error != MediumError::Unreadable => {
                    return Err(PutError::Medium(error));
                }
                // The piece stays as it is: a reader of the value reports the damage.
                Err(_) => {}
            }
            self.swept = next;
        }
        Ok(true)
    }

    /// The key of the piece at a place, if it belongs to no value.
    async fn orphan_at(&mut self, now: Now, place: u32) -> Result<Option<PieceKey>, GetError> {
        self.check_readable(now)?;
        let Some(opened) = self.flash.open(place).await? else { return Ok(None) };
        let len = opened.header.key_bytes as usize;
        if len > PIECE_KEY_BYTES_MAX || !is_piece_identity(&self.flash.stored_hash(&opened).await?) {
            return Ok(None);
        }
        let mut name = PieceKey { bytes: [0; PIECE_KEY_BYTES_MAX], len };
        self.flash.key(&opened, name.bytes.get_mut(..len).unwrap_or_default()).await?;
        let Some((generation, index, key)) = name.parts() else { return Ok(None) };
        let hash = self.flash.secret.identity(key);
        let is_begun =
            self.large.is_some_and(|large| large.hash == hash && large.head.generation == generation);
        // A value that was dropped as expired is there again after a mount whose log does not have that time.
        let may_be_back = |newest: &Newest| {
            newest.opened.header.kind == Kind::Value && newest.opened.header.expires_s.is_some()
        };
        let newest = self.newest_record(key).await?;
        let newest = newest.filter(|newest| newest.entry.state == State::Value || may_be_back(newest));
        let head = match &newest {
            Some(newest) => self.certain_head(newest, key).await,
            None => Ok(None),
        };
        let last_s = newest.and_then(|newest| newest.opened.header.expires_s);
        let is_over = last_s.is_some_and(|at| at.saturating_add(self.time_every_s) <= self.clock_s(now));
        let is_named = match head {
            Ok(head) => {
                !is_over && head.is_some_and(|head| head.generation == generation && index < head.pieces)
            }
            // A damaged head may name it.
            Err(GetError::Damaged) => true,
            Err(error) => return Err(error),
        };
        Ok((!is_begun && !is_named).then_some(name))
    }

    /// The head of a key's value, if that was written in pieces.
    async fn head_of(&mut self, now: Now, key: &[u8]) -> Result<Option<Head>, GetError> {
        self.check_readable(now)?;
        let newest =
            self.newest(now, key).await?.filter(|newest| newest.opened.header.codec == CodecId::Chunked);
        match newest {
            Some(newest) => self.head(&newest, key).await.map(Some),
            None => Ok(None),
        }
    }

    /// The head in a record, or `None` where that is not certain: a wrong bit would remove the pieces that it names.
    async fn certain_head(&mut self, newest: &Newest, key: &[u8]) -> Result<Option<Head>, GetError> {
        if newest.opened.header.codec == CodecId::Chunked {
            return self.head(newest, key).await.map(Some);
        }
        let is_whole = self.flash.is_whole(&newest.opened, newest.sequence).await?;
        if is_whole { Ok(None) } else { Err(GetError::Damaged) }
    }

    /// Reads a head.
    pub(super) async fn head(&mut self, newest: &Newest, key: &[u8]) -> Result<Head, GetError> {
        let mut bytes = [0; HEAD_BYTES];
        let is_whole = newest.opened.header.value_bytes as usize == HEAD_BYTES
            && self.flash.value(&newest.opened, key, newest.sequence, &mut bytes).await?;
        let head = Head::from_bytes(&bytes).filter(|_| is_whole);
        head.ok_or(GetError::Damaged)
    }
}
