//! Iteration over keys in bounded memory.

use std::vec::IntoIter;

use std::time::Instant;

use coldpress_core::codec::CodecId;
use coldpress_core::format::{KeyHash, partition_of};

use super::get::decode_stored;
use super::handle::ColdTierHandle;
use super::opened::{Open, Part};
use super::scratch;
use crate::errors::{GetError, TierError};
use crate::index::STRIPES;

/// The finding of a step under a hash; `None` where its key has no value any more.
type Lookup<R> = Result<Option<R>, GetError>;

/// Iterates over the keys of a tier that have a value, in no order.
///
/// A key that is there from the first step to the last comes exactly once. One that is put or removed meanwhile may come or
/// not. A record whose key can't be read comes as an error, and the iteration goes on; once the tier is closed, it ends with
/// [`TierError::Closed`].
///
/// Values are not read, so their checksums are not checked: each key that comes was put, as its keyed hash tells, and where its value
/// is damaged a get says so.
///
/// # Bounds
/// Holds the hashes of one 64th of a partition at a time, 12 bytes each. Each step reads a key from its record: 256 bytes at most, and
/// for a key beyond 233 bytes once more the rest of it.
#[derive(Debug)]
#[doc(alias = "MetadataIndex")]
pub struct Keys {
    handle: ColdTierHandle,
    part: usize,
    stripe: usize,
    batch: IntoIter<KeyHash>,
    is_over: bool,
}

impl Keys {
    pub(super) fn new(handle: ColdTierHandle) -> Self {
        Self { handle, part: 0, stripe: 0, batch: Vec::new().into_iter(), is_over: false }
    }

    /// Takes the hashes of the next stripe; `false` when there is none.
    fn refill(&mut self) -> Result<bool, GetError> {
        let (part, stripe) = (self.part, self.stripe);
        let batch = self.handle.enter(|open| open.parts.get(part).map(|part| part.shared.hashes(stripe)))?;
        let Some(batch) = batch else { return Ok(false) };
        self.batch = batch.into_iter();
        self.stripe += 1;
        if self.stripe == STRIPES {
            (self.part, self.stripe) = (self.part + 1, 0);
        }
        Ok(true)
    }

    /// Takes the hash of the next key; `None` at the end.
    fn next_hash(&mut self) -> Result<Option<KeyHash>, GetError> {
        loop {
            if let Some(hash) = self.batch.next() {
                return Ok(Some(hash));
            }
            if !self.refill()? {
                return Ok(None);
            }
        }
    }

    /// Goes on to the next key of which `read` finds something.
    fn step<R>(&mut self, read: impl Fn(&Open, &Part, &KeyHash) -> Lookup<R>) -> Lookup<R> {
        while let Some(hash) = self.next_hash()? {
            let found = self.handle.enter(|open| {
                let part = open.part(partition_of(&hash, open.parts.len()))?;
                read(open, part, &hash)
            })??;
            if found.is_some() {
                return Ok(found);
            }
        }
        Ok(None)
    }

    /// The next item of an iterator over what `read` finds. The end, or a tier that was closed, ends it.
    fn advance<R>(
        &mut self,
        read: impl Fn(&Open, &Part, &KeyHash) -> Lookup<R>,
    ) -> Option<Result<R, GetError>> {
        if self.is_over {
            return None;
        }
        let step = self.step(read);
        self.is_over = matches!(step, Ok(None) | Err(GetError::Tier(TierError::Closed)));
        step.transpose()
    }
}

impl Iterator for Keys {
    type Item = Result<Vec<u8>, GetError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.advance(|open, part, hash| part.read_key(open, hash))
    }
}

/// Iterates over the keys of a tier and their values, in no order.
///
/// It sees writes meanwhile as [`Keys`] does. Each value is read whole and its checksum checked. One that is damaged comes as an error,
/// and the iteration goes on.
///
/// # Bounds
/// Holds the hashes of one 64th of a partition at a time, 12 bytes each. Each step reads one record, and the pieces of a long value.
#[derive(Debug)]
pub struct Entries {
    keys: Keys,
}

impl Entries {
    pub(super) fn new(handle: ColdTierHandle) -> Self {
        Self { keys: Keys::new(handle) }
    }
}

impl Iterator for Entries {
    type Item = Result<(Vec<u8>, Vec<u8>), GetError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.keys.advance(|open, part, hash| part.read_entry(open, hash))
    }
}

impl Part {
    /// The key of a hash, and its value.
    fn read_entry(&self, open: &Open, hash: &KeyHash) -> Lookup<(Vec<u8>, Vec<u8>)> {
        let Some(encoded) = self.read_encoded(&open.reads(), hash, None)? else { return Ok(None) };
        let (key, stored) = encoded.payload.split_at(encoded.key_bytes as usize);
        let mut value = Vec::new();
        let is_there = if encoded.codec == CodecId::Chunked {
            let read = |buffer: &mut Vec<u8>| {
                self.read(&open.reads(), (hash, key), Instant::now(), buffer, &mut value)
            };
            scratch::with_buffer(read)?.value().is_some()
        } else {
            decode_stored(open, encoded.codec, stored, &mut value)?;
            true
        };
        Ok(is_there.then(|| (key.to_vec(), value)))
    }
}
