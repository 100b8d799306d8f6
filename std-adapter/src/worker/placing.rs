//! Checks that the file is still under its name: no write is acknowledged that lies in a file which the next open would not
//! find.

use super::Worker;
use crate::clock::monotonic_ms;
use crate::errors::TierError;
use crate::index::Health;
use crate::storage::MediumFailure;

/// How often the place is checked although no client waits, in milliseconds.
const LOOK_MS: u64 = 1_000;

impl Worker<'_> {
    /// Checks that the medium is in its place. A file that was not is given up for good, even if it is put back: another
    /// process may have written in its place meanwhile.
    pub(super) fn check_place(&mut self) -> Result<(), MediumFailure> {
        if self.medium.is_in_place()? {
            self.in_place_ms = monotonic_ms();
        } else if !self.is_file_lost() {
            tracing::error!(partition = self.partition, "the file was deleted, moved, replaced or cut short");
            self.shared.health.worsen(Health::FileLost);
            self.waiters.fail_all(TierError::FileLost);
            self.shared.admission.alert();
        }
        Ok(())
    }

    /// Checks the place before anything is reported as durable, and once in [`LOOK_MS`].
    pub(super) fn look_after_place(&mut self, has_reached_waiters: bool) {
        let is_due = monotonic_ms() >= self.in_place_ms.saturating_add(LOOK_MS);
        if !has_reached_waiters && !is_due {
            return;
        }
        if let Err(error) = self.check_place() {
            tracing::warn!(partition = self.partition, %error, "whether the file is in its place can't be told");
            self.waiters.fail_all(TierError::Medium(error));
        }
    }

    pub(super) fn is_file_lost(&self) -> bool {
        self.shared.health.get() == Health::FileLost
    }
}
