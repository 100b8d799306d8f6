//! Removes: as a put, of a tombstone.

use super::handle::ColdTierHandle;
use super::write::{Effect, Write};
use crate::config::Durability;
use crate::errors::RemoveError;

impl ColdTierHandle {
    /// Removes a key, with the durability of the configuration. Tells whether it had a value.
    ///
    /// It works on a full tier: each value is charged the tombstone of its key too.
    ///
    /// # Errors
    /// [`RemoveError`].
    pub fn remove(&self, key: &[u8]) -> Result<bool, RemoveError> {
        let durability = self.enter(|open| open.limits.durability)?;
        self.remove_with(key, durability)
    }

    /// Removes a key with a durability of its own.
    ///
    /// # Errors
    /// [`RemoveError`].
    pub fn remove_with(&self, key: &[u8], durability: Durability) -> Result<bool, RemoveError> {
        self.remove_published(key, durability, || ())
    }

    /// Removes a key, and calls `published` once no reader finds it, before the wait for durability.
    pub(super) fn remove_published(
        &self,
        key: &[u8],
        durability: Durability,
        mut published: impl FnMut(),
    ) -> Result<bool, RemoveError> {
        let mut write = self.prepare_remove(key, durability)?;
        Ok(self.run_published(&mut write, &mut published)? == Effect::Changed)
    }

    pub(super) fn prepare_remove(&self, key: &[u8], durability: Durability) -> Result<Write, RemoveError> {
        self.enter(|open| {
            open.check_writes()?;
            open.check_key(key).map_err(|(bytes, max)| RemoveError::KeyTooLong { bytes, max })?;
            Ok(open.removal(open.route(key).0, durability))
        })?
    }
}
