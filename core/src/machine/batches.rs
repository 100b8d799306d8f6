//! Batches: records of several keys that count together.

use super::tier::{Status, Tier};
use crate::drive::Now;
use crate::format::Location;
use crate::writer::{AppendError, BatchNeed, BatchState, Fresh};

impl Tier<'_> {
    /// Begins a batch: records of several keys that count together. It takes [members](Self::append_member), and meanwhile the machine
    /// takes nothing else and frees nothing.
    ///
    /// # Errors
    /// [`AppendError`]; it can be tried again. `TooLong` and `TooMany` tell how much a batch takes at most. The medium must write
    /// records where segments have no footers, as on a device.
    ///
    /// # Bounds
    /// Looks at each slot once.
    pub fn begin_batch(&mut self, now: Now, need: &BatchNeed) -> Result<(), AppendError> {
        if self.status != Status::Running {
            return Err(self.refusal());
        }
        self.log.observe(now);
        let result = self.log.begin_batch(now, need);
        self.or_full(now, result)
    }

    /// Appends a member to the batch that is open. Its payload lies in two pieces, as that of [`append_split`](Self::append_split).
    ///
    /// A cut before the last one is durable leaves none of them, a later one all. They are published together then: poll until
    /// [`batch`](Self::batch) says `Done` or `Failed`.
    ///
    /// # Errors
    /// [`AppendError`]; the record was not taken. `Busy` where the buffer is full, and for the last one until all others are durable:
    /// poll, and offer it again. `TooLong` where the batch becomes longer than it was said to be.
    ///
    /// # Bounds
    /// Copies the record once.
    pub fn append_member(
        &mut self,
        now: Now,
        fresh: &Fresh<'_>,
        rest: &[u8],
        is_last: bool,
    ) -> Result<Location, AppendError> {
        if self.status != Status::Running {
            return Err(self.refusal());
        }
        self.log.observe(now);
        let result = self.log.append_member(now, fresh, rest, is_last);
        if self.stop_if_broken() { Err(self.refusal()) } else { result }
    }

    /// The state of the last batch.
    #[must_use]
    pub const fn batch(&self) -> BatchState {
        self.log.batch()
    }

    /// The most bytes that the records of a batch take together, headers and padding included.
    #[must_use]
    pub fn batch_bytes_max(&self) -> u32 {
        self.log.batch_bytes_max()
    }

    /// Gives up a batch that is open: no mount finds any of it. It does nothing while a write of the batch is under way, nor once the
    /// batch has its last member. A batch that gets no member for [`BATCH_WAIT_MS`](crate::writer::BATCH_WAIT_MS) is given up by a
    /// poll.
    pub fn give_up_batch(&mut self) {
        self.log.give_up_batch();
    }
}
