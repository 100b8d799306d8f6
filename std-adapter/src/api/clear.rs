//! Removes every key.

use super::handle::ColdTierHandle;
use super::write::Effect;
use crate::config::Durability;
use crate::errors::RemoveError;
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
        let (parts, durability) = self.enter(|open| {
            open.check_writes()?;
            Ok::<_, RemoveError>((open.parts.len(), open.limits.durability))
        })??;
        let mut removed = 0;
        for part in 0..parts {
            for stripe in 0..STRIPES {
                let hashes = self.enter(|open| open.part(part).map(|part| part.shared.hashes(stripe)))??;
                for hash in hashes {
                    let mut write = self.enter(|open| open.removal(hash, Durability::Buffered))?;
                    removed += u64::from(self.run(&mut write)? == Effect::Changed);
                }
            }
        }
        self.flush_to(durability)?;
        Ok(removed)
    }
}
