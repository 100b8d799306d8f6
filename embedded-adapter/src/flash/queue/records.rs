//! The records of a queue in a tier, over either kind of flash.

use coldpress_core::drive::{MediumError, Now};
use embedded_storage_async::nor_flash::NorFlash;

use super::{KEY_BYTES, QUEUE_ID_BYTES, QueueError};
use crate::flash::access::Access;
use crate::flash::medium::Medium;
use crate::flash::nor_async::AsyncNorMedium;
use crate::flash::table::State;
use crate::flash::tier::FlashTier;
use crate::flash::{GetError, PutError};

/// A record of a queue that was found.
pub(super) struct FoundPlace {
    pub(super) bound: u16,
    pub(super) place: u32,
    /// Where the search goes on.
    pub(super) next: usize,
}

/// The calls of a tier that a queue is made of, over either kind of flash.
pub(super) trait RecordCalls {
    async fn check_queue(&mut self, now: Now, id: &[u8]) -> Result<(), QueueError>;
    async fn put_record(&mut self, now: Now, key: &[u8], record: &[u8]) -> Result<(), PutError>;
    async fn drop_record(&mut self, now: Now, key: &[u8]) -> Result<bool, PutError>;
    async fn has_record(&mut self, now: Now, key: &[u8]) -> Result<bool, GetError>;
    async fn read_record<'b>(
        &mut self,
        now: Now,
        key: &[u8],
        out: &'b mut [u8],
    ) -> Result<Option<&'b [u8]>, GetError>;
    /// The next whole record of a queue from a position of the index on.
    async fn find_place(
        &mut self,
        now: Now,
        position: usize,
        id: [u8; QUEUE_ID_BYTES],
    ) -> Result<Option<FoundPlace>, GetError>;
}

impl<M: Medium> RecordCalls for FlashTier<'_, M> {
    async fn check_queue(&mut self, now: Now, id: &[u8]) -> Result<(), QueueError> {
        self.check_name(id)?;
        Ok(self.check_readable(now)?)
    }

    async fn put_record(&mut self, now: Now, key: &[u8], record: &[u8]) -> Result<(), PutError> {
        self.put(now, key, record)
    }

    async fn drop_record(&mut self, now: Now, key: &[u8]) -> Result<bool, PutError> {
        self.remove(now, key)
    }

    async fn has_record(&mut self, now: Now, key: &[u8]) -> Result<bool, GetError> {
        self.contains(now, key)
    }

    async fn read_record<'b>(
        &mut self,
        now: Now,
        key: &[u8],
        out: &'b mut [u8],
    ) -> Result<Option<&'b [u8]>, GetError> {
        self.get(now, key, out)
    }

    async fn find_place(
        &mut self,
        _: Now,
        position: usize,
        id: [u8; QUEUE_ID_BYTES],
    ) -> Result<Option<FoundPlace>, GetError> {
        self.next_place(position, id).await
    }
}

impl<F: NorFlash> RecordCalls for FlashTier<'_, AsyncNorMedium<F>> {
    async fn check_queue(&mut self, now: Now, id: &[u8]) -> Result<(), QueueError> {
        self.check_name(id)?;
        self.finish(now).await;
        Ok(self.check_readable(now)?)
    }

    async fn put_record(&mut self, now: Now, key: &[u8], record: &[u8]) -> Result<(), PutError> {
        self.put(now, key, record).await
    }

    async fn drop_record(&mut self, now: Now, key: &[u8]) -> Result<bool, PutError> {
        self.remove(now, key).await
    }

    async fn has_record(&mut self, now: Now, key: &[u8]) -> Result<bool, GetError> {
        self.contains(now, key).await
    }

    async fn read_record<'b>(
        &mut self,
        now: Now,
        key: &[u8],
        out: &'b mut [u8],
    ) -> Result<Option<&'b [u8]>, GetError> {
        self.get(now, key, out).await
    }

    async fn find_place(
        &mut self,
        now: Now,
        position: usize,
        id: [u8; QUEUE_ID_BYTES],
    ) -> Result<Option<FoundPlace>, GetError> {
        self.finish(now).await;
        self.next_place(position, id).await
    }
}

impl<M: Access> FlashTier<'_, M> {
    /// As [`find_place`](RecordCalls::find_place), where no operation is under way.
    async fn next_place(
        &mut self,
        mut position: usize,
        id: [u8; QUEUE_ID_BYTES],
    ) -> Result<Option<FoundPlace>, GetError> {
        while let Some((_, entry, next)) = self.index.table.next_from(position) {
            position = next;
            if entry.state != State::Value {
                continue;
            }
            let opened = match self.flash.open(entry.place).await {
                Ok(Some(opened)) => opened,
                Ok(None) | Err(MediumError::Unreadable) => continue,
                Err(error) => return Err(error.into()),
            };
            if opened.header.key_bytes as usize != KEY_BYTES {
                continue;
            }
            let mut key = [0; KEY_BYTES];
            match self.flash.key(&opened, &mut key).await {
                Err(MediumError::Unreadable) => continue,
                read => read?,
            }
            let [a, b, c, d, e, f, g] = key;
            if [a, b, c] != id {
                continue;
            }
            // A wrong bit in a place would take an end of the queue away.
            let sequence = self.index.sequence_of(&self.flash.geometry, entry.place);
            let is_whole = match self.flash.is_whole(&opened, sequence).await {
                Err(MediumError::Unreadable) => false,
                read => read?,
            };
            if is_whole {
                let (bound, place) = (u16::from_be_bytes([d, e]), u16::from_be_bytes([f, g]).into());
                return Ok(Some(FoundPlace { bound, place, next }));
            }
        }
        Ok(None)
    }
}
