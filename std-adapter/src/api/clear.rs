//! Removes every key.

use super::handle::ColdTierHandle;
use super::write::{Effect, Write};
use crate::config::Durability;
use crate::errors::{RemoveError, TierError};
use crate::index::STRIPES;

impl ColdTierHandle {
    /// Removes every key that is there now, and makes that as durable as configured. Returns how many had a value.
    ///
    /// A key that is put meanwhile may stay. A cut in the middle leaves some of the keys. Keys that lie in what can't be read stay, and
    /// come back when it can.
    ///
    /// # Errors
    /// [`RemoveError`]; some keys are removed then.
    ///
    /// # Bounds
    /// Appends a tombstone for each key, and reads nothing of the log. Each of them waits for a queue place at most the configured
    /// `op_timeout`. Holds the hashes of one 64th of a partition at a time, 12 bytes each.
    pub fn clear(&self) -> Result<u64, RemoveError> {
        let (stripes, durability) = self.stripes_to_clear()?;
        let mut removed = 0;
        for (part, stripe) in stripes {
            for removal in self.removals(part, stripe)? {
                removed += u64::from(self.run(&mut removal?)? == Effect::Changed);
            }
        }
        self.flush_to(durability)?;
        Ok(removed)
    }

    /// All stripes of all partitions, and the durability that a clear ends with.
    pub(super) fn stripes_to_clear(
        &self,
    ) -> Result<(impl Iterator<Item = (usize, usize)> + use<>, Durability), TierError> {
        self.enter(|open| {
            open.check_writes()?;
            let stripes =
                (0..open.parts.len()).flat_map(|part| (0..STRIPES).map(move |stripe| (part, stripe)));
            Ok((stripes, open.limits.durability))
        })?
    }

    /// The removals of all keys of a stripe. Each begins as it is asked for.
    pub(super) fn removals(
        &self,
        part: usize,
        stripe: usize,
    ) -> Result<impl Iterator<Item = Result<Write, TierError>>, TierError> {
        let hashes = self.enter(|open| open.part(part).map(|part| part.shared.hashes(stripe)))??;
        Ok(hashes.into_iter().map(|hash| self.enter(|open| open.removal(hash, Durability::Buffered))))
    }
}
