//! Iteration over keys in bounded memory.

use std::vec::IntoIter;

use coldpress_core::format::KeyHash;

use super::handle::ColdTierHandle;
use crate::errors::GetError;
use crate::index::STRIPES;

/// Iterates over the keys of a tier that have a value, in no order.
///
/// A key that is there from the first step to the last comes exactly once. One that is put or removed meanwhile may come or
/// not. A record whose key can't be read comes as an error, and the iteration goes on; once the tier is closed, it ends with
/// [`TierError::Closed`](crate::TierError::Closed).
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

    fn read(&self, hash: &KeyHash) -> Result<Option<Vec<u8>>, GetError> {
        let partition = |parts: usize| coldpress_core::format::partition_of(hash, parts);
        self.handle.enter(|open| open.part(partition(open.parts.len()))?.read_key(open, hash))?
    }

    fn step(&mut self) -> Result<Option<Vec<u8>>, GetError> {
        loop {
            if let Some(hash) = self.batch.next() {
                if let Some(key) = self.read(&hash)? {
                    return Ok(Some(key));
                }
            } else if !self.refill()? {
                return Ok(None);
            }
        }
    }
}

impl Iterator for Keys {
    type Item = Result<Vec<u8>, GetError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.is_over {
            return None;
        }
        let step = self.step();
        self.is_over = matches!(step, Ok(None) | Err(GetError::Tier(crate::errors::TierError::Closed)));
        step.transpose()
    }
}
