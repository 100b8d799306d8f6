//! Gets, awaited.

use crate::api::get::Reading;
use crate::api::handle::ColdTierHandle;
use crate::errors::{BatchError, GetError};

impl ColdTierHandle {
    /// Returns the value of a key, if it has one that has not expired. As [`get`](Self::get), for a future.
    ///
    /// A value in the pools, in a pending write, or in the page cache of the system is read in the first poll. For any other, a thread
    /// of the tier reads.
    ///
    /// # Errors
    /// As [`get`](Self::get), and [`TierError::TimedOut`](crate::TierError::TimedOut) where the read takes longer than the configured
    /// `op_timeout`.
    ///
    /// # Bounds
    /// As [`get`](Self::get). Decodes the value on the thread that reads it. At most 1,024 reads of a partition wait for its thread;
    /// others wait for a place. The page cache can be asked on Linux alone: elsewhere, and on a filesystem that can't say, each value
    /// of the log takes the thread.
    pub async fn get_async(&self, key: &[u8]) -> Result<Option<Vec<u8>>, GetError> {
        let mut value = Vec::new();
        Ok(self.get_into_async(key, &mut value).await?.then_some(value))
    }

    /// Puts the value of a key into `value` in the place of what was there; tells whether there is one. As
    /// [`get_into`](Self::get_into), for a future; see [`get_async`](Self::get_async).
    ///
    /// # Errors
    /// As [`get_async`](Self::get_async).
    pub async fn get_into_async(&self, key: &[u8], value: &mut Vec<u8>) -> Result<bool, GetError> {
        Ok(self.read_async(key, value).await?.value().is_some())
    }

    /// Returns the values of many keys, in their order. As [`get_batch`](Self::get_batch), for a future.
    ///
    /// # Errors
    /// As [`get_batch`](Self::get_batch).
    ///
    /// # Bounds
    /// For each key those of [`get_async`](Self::get_async). It lets other tasks run after each value.
    pub async fn get_batch_async<K: AsRef<[u8]>>(
        &self,
        keys: &[K],
    ) -> Result<Vec<Option<Vec<u8>>>, BatchError<GetError>> {
        let mut values = Vec::with_capacity(keys.len());
        for (index, key) in keys.iter().enumerate() {
            values.push(self.get_async(key.as_ref()).await.map_err(|error| BatchError { index, error })?);
            self.yield_now().await;
        }
        Ok(values)
    }

    /// As [`read_current`](Self::read_current), for a future.
    pub(super) async fn read_async(&self, key: &[u8], value: &mut Vec<u8>) -> Result<Reading, GetError> {
        if let Some(reading) = self.try_read(key, value)? {
            return Ok(reading);
        }
        let part = self.enter(|open| open.route(key).1)?;
        let key: Box<[u8]> = key.into();
        let read = move |handle: &Self| {
            let mut value = Vec::new();
            handle.read_current(&key, &mut value).map(|reading| (reading, value))
        };
        let reading;
        (reading, *value) = self.on_reader(part, read).await??;
        Ok(reading)
    }
}
