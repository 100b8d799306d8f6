//! Puts and removes, awaited.

use core::time::Duration;
use std::time::Instant;

use crate::admission::Tries;
use crate::api::handle::ColdTierHandle;
use crate::api::long::PutPieces;
use crate::api::put::PutOptions;
use crate::api::reserve::WaitingClient;
use crate::api::ttl::Ttl;
use crate::api::unchanged::Kept;
use crate::api::write::{Condition, Effect, Refused, Write};
use crate::config::Durability;
use crate::errors::{BatchError, PutError, RemoveError, TierError};
use crate::worker::Reply;

impl ColdTierHandle {
    /// As [`put`](Self::put), for a future.
    ///
    /// A put for which there is space, and that waits for no durability, is over in its first poll. Dropped before it is over, the put
    /// was done or was not.
    ///
    /// # Errors
    /// As [`put`](Self::put).
    ///
    /// # Bounds
    /// Encodes the value once on the thread that polls. Waits at most the configured `op_timeout`, and blocks no thread meanwhile.
    pub async fn put_async(&self, key: &[u8], value: &[u8]) -> Result<(), PutError> {
        self.put_with_async(key, value, PutOptions::default()).await
    }

    /// As [`put_with_ttl`](Self::put_with_ttl), for a future; see [`put_async`](Self::put_async).
    ///
    /// # Errors
    /// As [`put_with_ttl`](Self::put_with_ttl).
    pub async fn put_with_ttl_async(&self, key: &[u8], value: &[u8], ttl: Duration) -> Result<(), PutError> {
        self.put_with_async(key, value, PutOptions { ttl: ttl.into(), ..PutOptions::default() }).await
    }

    /// As [`put_with`](Self::put_with), for a future; see [`put_async`](Self::put_async).
    ///
    /// # Errors
    /// As [`put_with`](Self::put_with).
    pub async fn put_with_async(
        &self,
        key: &[u8],
        value: &[u8],
        options: PutOptions,
    ) -> Result<(), PutError> {
        self.put_until_async(key, value, options, None).await
    }

    /// Puts many values and waits once for the durability of all. As [`put_batch`](Self::put_batch), for a future.
    ///
    /// Dropped before it is over, some of the values may have been put: those from the front up to one of them.
    ///
    /// # Errors
    /// As [`put_batch`](Self::put_batch).
    ///
    /// # Bounds
    /// As [`put_batch`](Self::put_batch). It lets other tasks run after each value.
    pub async fn put_batch_async<K: AsRef<[u8]>, V: AsRef<[u8]>>(
        &self,
        pairs: &[(K, V)],
        options: PutOptions,
    ) -> Result<(), BatchError> {
        let at = |index| move |error: TierError| BatchError { index, error: error.into() };
        let (each, durability, deadline) = self.batch_terms(options).map_err(at(0))?;
        for (index, (key, value)) in pairs.iter().enumerate() {
            self.put_until_async(key.as_ref(), value.as_ref(), each, Some(deadline))
                .await
                .map_err(|error| BatchError { index, error })?;
            self.yield_now().await;
        }
        self.flush_until_async(durability, deadline).await.map_err(at(pairs.len()))
    }

    async fn put_until_async(
        &self,
        key: &[u8],
        value: &[u8],
        options: PutOptions,
        mut deadline: Option<Instant>,
    ) -> Result<(), PutError> {
        loop {
            let replaced = if options.ttl == Ttl::Keep { self.look(key)? } else { None };
            let write = self.prepare_put(key, value, options, replaced)?;
            let deadline = *deadline.get_or_insert(write.deadline);
            let write = write.until(deadline);
            let write = match options.ttl {
                Ttl::Keep => write.only_if(Condition::unchanged(replaced)),
                _ => write,
            };
            if self.run_put_async(write).await? {
                return Ok(());
            }
            if Instant::now() >= deadline {
                return Err(PutError::Busy);
            }
            self.yield_now().await;
        }
    }

    /// Removes a key, with the durability of the configuration. As [`remove`](Self::remove), for a future.
    ///
    /// Dropped before it is over, the remove was done or was not.
    ///
    /// # Errors
    /// As [`remove`](Self::remove).
    pub async fn remove_async(&self, key: &[u8]) -> Result<bool, RemoveError> {
        let durability = self.enter(|open| open.limits.durability)?;
        self.remove_with_async(key, durability).await
    }

    /// As [`remove_with`](Self::remove_with), for a future; see [`remove_async`](Self::remove_async).
    ///
    /// # Errors
    /// As [`remove_with`](Self::remove_with).
    pub async fn remove_with_async(&self, key: &[u8], durability: Durability) -> Result<bool, RemoveError> {
        let mut write = self.prepare_remove(key, durability)?;
        Ok(self.run_async(&mut write).await? == Effect::Changed)
    }

    /// Removes every key that is there now. As [`clear`](Self::clear), for a future.
    ///
    /// Dropped before it is over, some of the keys are removed.
    ///
    /// # Errors
    /// As [`clear`](Self::clear).
    ///
    /// # Bounds
    /// As [`clear`](Self::clear). It lets other tasks run after each key.
    pub async fn clear_async(&self) -> Result<u64, RemoveError> {
        let (stripes, durability) = self.stripes_to_clear()?;
        let mut removed = 0;
        for (part, stripe) in stripes {
            for removal in self.removals(part, stripe)? {
                removed += u64::from(self.run_async(&mut removal?).await? == Effect::Changed);
                self.yield_now().await;
            }
        }
        self.flush_to_async(durability).await?;
        Ok(removed)
    }

    /// Runs a put; tells whether its condition held.
    pub(super) async fn run_put_async(&self, mut write: Write) -> Result<bool, PutError> {
        if write.condition == Condition::None && !self.try_skip_unchanged(&mut write) {
            // The comparison reads the log, and the record is not in memory.
            let part = write.part;
            let compare = move |handle: &Self| {
                handle.skip_unchanged(&mut write);
                write
            };
            write = self.on_reader(part, compare).await?;
        }
        let pieces = match write.long.take() {
            // While it is held, the pieces are not swept.
            Some(long) => Some(Box::pin(self.put_pieces_async(&mut write, *long)).await),
            None => None,
        };
        let outcome = match &pieces {
            Some(Ok(PutPieces::Unmet)) => Ok(Effect::Unmet),
            Some(Ok(PutPieces::Put(_))) | None => self.run_async(&mut write).await,
            Some(Err(refused)) => Err(refused.clone()),
        };
        drop(pieces);
        self.count_put(&write, &outcome);
        outcome.map(|effect| effect != Effect::Unmet).map_err(PutError::from)
    }

    /// Brings a write into the index and waits for what it promised. As [`run`](Self::run), for a future.
    pub(super) async fn run_async(&self, write: &mut Write) -> Result<Effect, Refused> {
        if write.kept == Some(Kept::Stored) && write.durability == Durability::Buffered {
            return Ok(Effect::None);
        }
        let receiver = (write.durability > Durability::Buffered).then(|| {
            let (reply, receiver) = oneshot::async_channel();
            write.waiter = Some(Reply::from(reply));
            receiver
        });
        let deadline = write.deadline;
        let attempt =
            |waiting: &mut Option<WaitingClient>, tries: &Tries<'_>| self.try_send(write, waiting, tries);
        let effect = self.try_awaiting(deadline, attempt).await?.ok_or(Refused::Busy)?;
        let Some(effect) = effect else { return Ok(Effect::None) };
        if effect == Effect::Unmet {
            return Ok(Effect::Unmet);
        }
        // From here on only the worker holds a sender, so the client sees its end.
        write.waiter = None;
        if let Some(receiver) = receiver {
            self.answer(write.part, receiver, deadline).await??;
        }
        Ok(effect)
    }
}
