//! Moments before a change, kept so that every cut of a history can be tried without running it again.

use super::{Change, Flash, Tear};

/// A flash just before a change, and the change.
#[derive(Debug, Clone)]
pub struct Moment<const UNIT: usize, const SECTOR: usize, const READ: usize = 1> {
    before: Box<Flash<UNIT, SECTOR, READ>>,
    change: Change,
}

impl<const UNIT: usize, const SECTOR: usize, const READ: usize> Moment<UNIT, SECTOR, READ> {
    pub(super) fn new(before: Flash<UNIT, SECTOR, READ>, change: Change) -> Self {
        Self { before: Box::new(before), change }
    }

    /// The change that was about to be made.
    #[must_use]
    pub const fn change(&self) -> &Change {
        &self.change
    }

    /// Every way to tear it.
    #[must_use]
    pub fn tears(&self) -> Vec<Tear> {
        self.change.tears(UNIT)
    }

    /// The flash as a power cut at this moment leaves it, with power again.
    #[must_use]
    pub fn torn(&self, tear: Tear) -> Flash<UNIT, SECTOR, READ> {
        let mut flash = Flash::clone(&self.before);
        flash.tear(&self.change, tear);
        flash
    }
}
