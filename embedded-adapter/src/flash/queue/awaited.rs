//! The calls of a queue over an async flash.

use coldpress_core::drive::Now;
use embedded_storage_async::nor_flash::NorFlash;

use super::{FlashQueue, QUEUE_ID_BYTES, QueueError};
use crate::flash::nor_async::AsyncNorMedium;
use crate::flash::tier::FlashTier;
use crate::flash::{GetError, PutError};

/// The calls over an [`AsyncNorMedium`]: each does what the call without `_async` does, and awaits the flash.
///
/// A dropped push or pop was done or was not. If a dropped push was done, the next push overwrites that record; open the queue again
/// first to keep it. If a dropped pop was done, the next pop returns its answer and drops no other record.
impl FlashQueue {
    /// As [`open`](Self::open), for a future.
    ///
    /// # Errors
    /// As for [`open`](Self::open), with its bounds.
    pub async fn open_async<F: NorFlash>(
        tier: &mut FlashTier<'_, AsyncNorMedium<F>>,
        now: Now,
        id: [u8; QUEUE_ID_BYTES],
        len_max: u16,
    ) -> Result<Self, QueueError> {
        Self::open_on(tier, now, id, len_max).await
    }

    /// As [`push`](Self::push), for a future.
    ///
    /// # Errors
    /// As for [`push`](Self::push), with its bounds.
    pub async fn push_async<F: NorFlash>(
        &mut self,
        tier: &mut FlashTier<'_, AsyncNorMedium<F>>,
        now: Now,
        record: &[u8],
    ) -> Result<(), QueueError> {
        self.push_on(tier, now, record).await
    }

    /// As [`push_over`](Self::push_over), for a future.
    ///
    /// # Errors
    /// As for [`push_over`](Self::push_over), with its bounds.
    pub async fn push_over_async<F: NorFlash>(
        &mut self,
        tier: &mut FlashTier<'_, AsyncNorMedium<F>>,
        now: Now,
        record: &[u8],
    ) -> Result<(), QueueError> {
        self.push_over_on(tier, now, record).await
    }

    /// As [`peek`](Self::peek), for a future.
    ///
    /// # Errors
    /// As for [`peek`](Self::peek), with its bounds.
    pub async fn peek_async<'b, F: NorFlash>(
        &mut self,
        tier: &mut FlashTier<'_, AsyncNorMedium<F>>,
        now: Now,
        out: &'b mut [u8],
    ) -> Result<Option<&'b [u8]>, GetError> {
        self.peek_on(tier, now, out).await
    }

    /// As [`pop`](Self::pop), for a future.
    ///
    /// # Errors
    /// As for [`pop`](Self::pop), with its bounds.
    pub async fn pop_async<F: NorFlash>(
        &mut self,
        tier: &mut FlashTier<'_, AsyncNorMedium<F>>,
        now: Now,
    ) -> Result<bool, PutError> {
        self.pop_on(tier, now).await
    }
}
