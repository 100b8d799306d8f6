//! Conditional writes and touches, awaited.
//!
//! They read and decide as the operations of threads do. Between two attempts they let other tasks run.

use std::time::Instant;

use crate::api::conditional::{Expected, Update, Versioned};
use crate::api::handle::ColdTierHandle;
use crate::api::opened::Open;
use crate::api::put::PutOptions;
use crate::api::touch::{Touch, prepare};
use crate::api::ttl::Ttl;
use crate::api::write::{Condition, Effect};
use crate::config::Durability;
use crate::errors::{GetError, PutError, RemoveError, UpdateError};

impl ColdTierHandle {
    /// Returns the value of a key with its version. As [`get_versioned`](Self::get_versioned), for a future.
    ///
    /// # Errors
    /// As [`get_async`](Self::get_async), with its bounds.
    pub async fn get_versioned_async(&self, key: &[u8]) -> Result<Option<Versioned>, GetError> {
        let Some(value) = self.get_async(key).await? else { return Ok(None) };
        let version = self.version_of(&value)?;
        Ok(Some(Versioned { value, version }))
    }

    /// Puts a value if the key has none. As [`put_if_absent`](Self::put_if_absent), for a future.
    ///
    /// Dropped before it is over, the put was done or was not.
    ///
    /// # Errors
    /// As [`put_if_absent`](Self::put_if_absent), with its bounds.
    pub async fn put_if_absent_async(
        &self,
        key: &[u8],
        value: &[u8],
        options: PutOptions,
    ) -> Result<bool, PutError> {
        if self.contains(key).is_ok_and(|is_there| is_there) {
            self.count_unmet(key);
            return Ok(false);
        }
        let write = self.prepare_put(key, value, options, None)?;
        self.run_put_async(write.only_if(Condition::Absent)).await
    }

    /// Puts a value if the key has the expected one. As [`compare_and_swap`](Self::compare_and_swap), for a future.
    ///
    /// Dropped before it is over, the put was done or was not.
    ///
    /// # Errors
    /// As [`compare_and_swap`](Self::compare_and_swap).
    ///
    /// # Bounds
    /// As [`compare_and_swap`](Self::compare_and_swap). Between two attempts, other tasks run. A read by the reader thread may
    /// take an `op_timeout` of its own.
    pub async fn compare_and_swap_async(
        &self,
        key: &[u8],
        expected: Expected<'_>,
        value: &[u8],
        options: PutOptions,
    ) -> Result<bool, UpdateError> {
        if expected == Expected::Absent {
            return Ok(self.put_if_absent_async(key, value, options).await?);
        }
        let (deadline, mut found) = (self.deadline()?, Vec::new());
        loop {
            let reading = self.read_async(key, &mut found).await?;
            let Some(current) = self.take_expected(key, expected, (reading, &found))? else {
                return Ok(false);
            };
            let write = self.prepare_put(key, value, options, Some(current))?;
            let condition = Condition::Is(current.identity);
            if self.run_put_async(write.only_if(condition).until(deadline)).await? {
                return Ok(true);
            }
            self.try_again(deadline).await?;
        }
    }

    /// Removes a key if it has the expected value. As [`compare_and_remove`](Self::compare_and_remove), for a future.
    ///
    /// Dropped before it is over, the remove was done or was not.
    ///
    /// # Errors
    /// As [`compare_and_remove`](Self::compare_and_remove).
    ///
    /// # Bounds
    /// As [`compare_and_remove`](Self::compare_and_remove). Between two attempts, other tasks run. A read by the reader thread may
    /// take an `op_timeout` of its own.
    pub async fn compare_and_remove_async(
        &self,
        key: &[u8],
        expected: Expected<'_>,
        durability: Durability,
    ) -> Result<bool, UpdateError> {
        if expected == Expected::Absent {
            return Ok(false);
        }
        let (deadline, mut found) = (self.deadline()?, Vec::new());
        loop {
            let reading = self.read_async(key, &mut found).await?;
            let Some(current) = self.take_expected(key, expected, (reading, &found))? else {
                return Ok(false);
            };
            if self.remove_if_async(key, Condition::Is(current.identity), durability, deadline).await? {
                return Ok(true);
            }
            self.try_again(deadline).await?;
        }
    }

    /// Changes the value of a key by what it is, without a lost update. As [`update`](Self::update), for a future. Returns what was done.
    ///
    /// `change` runs inside a poll and may run again, so it must neither block nor have other effects. Dropped before it is over, the last
    /// change was made or was not.
    ///
    /// ```
    /// use coldpress_std::{ColdTier, ColdTierConfig, PutOptions, Update};
    ///
    /// # let base_dir = tempfile::tempdir()?;
    /// let config = ColdTierConfig::builder().base_dir(base_dir.path()).capacity_bytes(16 << 20).build()?;
    /// let tier = ColdTier::with_own_pools(config, "visits")?;
    /// let handle = tier.handle();
    /// let count_one = |count: Option<&[u8]>| {
    ///     let count = count.and_then(|bytes| bytes.first_chunk()).map_or(0, |bytes| u64::from_le_bytes(*bytes));
    ///     Update::Put((count + 1).to_le_bytes().to_vec())
    /// };
    /// let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    /// runtime.block_on(async {
    ///     handle.update_async(b"home", PutOptions::default(), count_one).await?;
    ///     let done = handle.update_async(b"home", PutOptions::default(), count_one).await?;
    ///     assert_eq!(done, Update::Put(2u64.to_le_bytes().to_vec()));
    ///     Ok::<_, coldpress_std::UpdateError>(())
    /// })?;
    /// # tier.close()?;
    /// # Ok::<(), Box<dyn core::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As [`update`](Self::update).
    ///
    /// # Bounds
    /// As [`update`](Self::update). Between two attempts, other tasks run. A read by the reader thread may
    /// take an `op_timeout` of its own.
    pub async fn update_async(
        &self,
        key: &[u8],
        options: PutOptions,
        mut change: impl FnMut(Option<&[u8]>) -> Update,
    ) -> Result<Update, UpdateError> {
        let (deadline, mut found) = (self.deadline()?, Vec::new());
        loop {
            let reading = self.read_async(key, &mut found).await?;
            let current = reading.value();
            let update = change(current.map(|_| found.as_slice()));
            let condition = Condition::as_read(reading);
            let is_done = match &update {
                Update::Keep => true,
                Update::Put(value) => {
                    let write = self.prepare_put(key, value, options, current)?;
                    self.run_put_async(write.only_if(condition).until(deadline)).await?
                }
                Update::Remove => {
                    let durability = options.durability.map_or_else(|| self.default_durability(), Ok)?;
                    self.remove_if_async(key, condition, durability, deadline).await?
                }
            };
            if is_done {
                return Ok(update);
            }
            self.try_again(deadline).await?;
        }
    }

    /// Gives the value of a key another lifetime. As [`touch`](Self::touch), for a future.
    ///
    /// Dropped before it is over, the touch was done or was not.
    ///
    /// # Errors
    /// As [`touch`](Self::touch).
    ///
    /// # Bounds
    /// As [`touch`](Self::touch). A record that is not in memory is read by a thread of its partition, which may
    /// take an `op_timeout` of its own.
    pub async fn touch_async(&self, key: &[u8], ttl: Ttl) -> Result<bool, UpdateError> {
        self.touch_with_async(key, PutOptions { ttl, durability: None }).await
    }

    /// As [`touch_with`](Self::touch_with), for a future; see [`touch_async`](Self::touch_async).
    ///
    /// # Errors
    /// As [`touch`](Self::touch).
    pub async fn touch_with_async(&self, key: &[u8], options: PutOptions) -> Result<bool, UpdateError> {
        let deadline = self.deadline()?;
        loop {
            match self.prepare_touch(key, options).await? {
                Touch::Absent => return Ok(false),
                Touch::Done(write) => {
                    self.run_async(&mut write.until(deadline)).await.map_err(PutError::from)?;
                    return Ok(true);
                }
                Touch::Write(write) => {
                    if self.run_put_async(write.until(deadline)).await? {
                        return Ok(true);
                    }
                }
            }
            self.try_again(deadline).await?;
        }
    }

    /// Reads what a touch changes: in this poll where it is in memory, else by the reader of the partition.
    async fn prepare_touch(&self, key: &[u8], options: PutOptions) -> Result<Touch, UpdateError> {
        let look = |open: &Open| {
            let reads = open.reads_without_waits();
            let touch = prepare(&reads, key, options);
            if reads.would_wait() { None } else { Some(touch) }
        };
        if let Some(touch) = self.enter(look)? {
            return touch;
        }
        let part = self.enter(|open| open.route(key).1)?;
        let key: Box<[u8]> = key.into();
        let read = move |handle: &Self| handle.enter(|open| prepare(&open.reads(), &key, options));
        self.on_reader(part, read).await??
    }

    async fn remove_if_async(
        &self,
        key: &[u8],
        condition: Condition,
        durability: Durability,
        deadline: Instant,
    ) -> Result<bool, UpdateError> {
        let mut write = self.prepare_remove_if(key, condition, durability, deadline)?;
        Ok(self.run_async(&mut write).await.map_err(RemoveError::from)? != Effect::Unmet)
    }

    /// Lets other tasks run before the next attempt, unless the deadline has passed.
    async fn try_again(&self, deadline: Instant) -> Result<(), UpdateError> {
        if Instant::now() >= deadline {
            return Err(UpdateError::Contended);
        }
        self.yield_now().await;
        Ok(())
    }
}
