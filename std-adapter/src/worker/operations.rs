//! The medium of a partition, as its machine uses it.

use coldpress_core::cleanup::Ticket;
use coldpress_core::drive::{Medium, Started};

use crate::storage::{MediumFailure, ServiceMedium, Sparse, Syncer};

/// Carries out one action: with the worker's view of the medium, its known holes, and the syncer.
///
/// A read of a hole is answered without the medium, and an erase keeps the blocks. A sync is under way until the syncer reports
/// its end. Every other operation is done when its call returns, since the worker waits for it.
pub(super) struct Operations<'a> {
    pub(super) medium: &'a mut dyn ServiceMedium,
    pub(super) sparse: &'a Sparse,
    pub(super) syncer: &'a Syncer,
    /// The ticket of the action.
    pub(super) ticket: Ticket,
    /// Whether an erase gave back blocks that the segment should have kept.
    pub(super) lost_blocks: bool,
    pub(super) is_syncer_dead: bool,
}

impl Operations<'_> {
    fn end(&mut self, started: Result<Started, MediumFailure>) -> Result<Started, MediumFailure> {
        self.medium.wait_for(started?).map(|()| Started::Done)
    }
}

impl Medium for Operations<'_> {
    type Error = MediumFailure;

    fn read(&mut self, at: u64, bytes: &mut [u8]) -> Result<(), MediumFailure> {
        if self.sparse.is_hole(at, bytes.len() as u64) {
            bytes.fill(0);
            return Ok(());
        }
        self.medium.read(at, bytes)
    }

    fn write(&mut self, at: u64, bytes: &[u8]) -> Result<Started, MediumFailure> {
        let started = self.medium.write(at, bytes);
        self.end(started)
    }

    fn erase(&mut self, at: u64, bytes: u64) -> Result<Started, MediumFailure> {
        self.lost_blocks = !self.medium.erase_and_keep(at, bytes)?;
        Ok(Started::Done)
    }

    fn sync(&mut self) -> Result<Started, MediumFailure> {
        self.is_syncer_dead = !self.syncer.request(self.ticket);
        Ok(Started::UnderWay)
    }

    fn allocate(&mut self, at: u64, bytes: u64) -> Result<Started, MediumFailure> {
        let started = self.medium.allocate(at, bytes);
        self.end(started)
    }
}
