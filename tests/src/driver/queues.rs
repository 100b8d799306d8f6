//! The calls of a queue, on a tier of either kind.

use coldpress_core::drive::Now;
use coldpress_embedded::flash::{FlashQueue, GetError, Medium, PutError, QUEUE_ID_BYTES, QueueError};
use embedded_storage::nor_flash::NorFlash;

use super::{AnyTier, DROPPED};
use crate::flash::{Tearing, run};

#[expect(clippy::missing_errors_doc, reason = "as those of the queue")]
impl<M: Medium, F: NorFlash + Tearing> AnyTier<'_, M, F> {
    /// Opens a queue.
    pub fn open_queue(
        &mut self,
        now: Now,
        id: [u8; QUEUE_ID_BYTES],
        len_max: u16,
    ) -> Result<FlashQueue, QueueError> {
        call!(self, Err(QueueError::Get(GetError::Busy)), tier =>
            FlashQueue::open(tier, now, id, len_max),
            FlashQueue::open_async(tier, now, id, len_max))
    }

    /// Pushes a record.
    pub fn push(&mut self, queue: &mut FlashQueue, now: Now, record: &[u8]) -> Result<(), QueueError> {
        call!(self, Err(QueueError::Put(DROPPED)), tier =>
            queue.push(tier, now, record),
            queue.push_async(tier, now, record))
    }

    /// Pushes a record, and drops the oldest of a full queue.
    pub fn push_over(&mut self, queue: &mut FlashQueue, now: Now, record: &[u8]) -> Result<(), QueueError> {
        call!(self, Err(QueueError::Put(DROPPED)), tier =>
            queue.push_over(tier, now, record),
            queue.push_over_async(tier, now, record))
    }

    /// Reads the oldest record.
    pub fn peek<'b>(
        &mut self,
        queue: &mut FlashQueue,
        now: Now,
        out: &'b mut [u8],
    ) -> Result<Option<&'b [u8]>, GetError> {
        call!(self, Err(GetError::Busy), tier =>
            queue.peek(tier, now, out),
            queue.peek_async(tier, now, out))
    }

    /// Drops the oldest record.
    pub fn pop(&mut self, queue: &mut FlashQueue, now: Now) -> Result<bool, PutError> {
        call!(self, Err(DROPPED), tier => queue.pop(tier, now), queue.pop_async(tier, now))
    }
}
