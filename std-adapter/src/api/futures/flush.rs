//! Flushes, awaited.

use core::future::poll_fn;
use core::task::Poll;
use std::time::Instant;

use oneshot::AsyncReceiver;
use tracing::Span;

use crate::admission::Tries;
use crate::api::handle::ColdTierHandle;
use crate::api::reserve::WaitingClient;
use crate::config::Durability;
use crate::errors::TierError;
use crate::worker::{Message, Waiter};

impl ColdTierHandle {
    /// Makes everything put or removed so far durable. As [`flush`](Self::flush), for a future.
    ///
    /// Dropped before it is over, the flush may be made all the same.
    ///
    /// # Errors
    /// As [`flush`](Self::flush).
    pub async fn flush_async(&self) -> Result<(), TierError> {
        self.flush_to_async(Durability::Synced).await
    }

    /// As [`flush_to`](Self::flush_to), for a future.
    ///
    /// # Errors
    /// As [`flush_to`](Self::flush_to).
    pub async fn flush_to_async(&self, durability: Durability) -> Result<(), TierError> {
        let deadline = self.deadline()?;
        self.flush_until_async(durability, deadline).await
    }

    pub(super) async fn flush_until_async(
        &self,
        durability: Durability,
        deadline: Instant,
    ) -> Result<(), TierError> {
        if durability == Durability::Buffered || self.enter(|open| open.limits.is_read_only)? {
            return Ok(());
        }
        let span = tracing::info_span!("flush", ?durability);
        let mut answers = Vec::new();
        for part in 0..self.enter(|open| open.parts.len())? {
            answers.push(self.send_flush_async(part, durability, deadline, span.clone()).await?);
        }
        for (part, answer) in answers.into_iter().enumerate() {
            self.answer(part, answer, deadline).await??;
        }
        Ok(())
    }

    /// Waits until everything that was sent to one partition is as durable as asked.
    pub(super) async fn flush_part_async(
        &self,
        part: usize,
        durability: Durability,
        deadline: Instant,
    ) -> Result<(), TierError> {
        let answer = self.send_flush_async(part, durability, deadline, Span::none()).await?;
        self.answer(part, answer, deadline).await?
    }

    async fn send_flush_async(
        &self,
        part: usize,
        durability: Durability,
        deadline: Instant,
        span: Span,
    ) -> Result<AsyncReceiver<Result<(), TierError>>, TierError> {
        let (reply, receiver) = oneshot::async_channel();
        let waiter = Waiter { durability, reply: reply.into(), deadline, span };
        self.send_message_async(part, Message::Flush(waiter), deadline).await?;
        Ok(receiver)
    }

    /// Sends a message that is no write. As [`send_message`](Self::send_message), for a future.
    pub(super) async fn send_message_async(
        &self,
        part: usize,
        message: Message,
        deadline: Instant,
    ) -> Result<(), TierError> {
        let mut message = Some(message);
        let attempt = |waiting: &mut Option<WaitingClient>, tries: &Tries<'_>| {
            self.try_message(part, &mut message, waiting, tries)
        };
        self.try_awaiting(deadline, attempt).await?.ok_or(TierError::TimedOut)
    }

    /// Lets other tasks of the thread run.
    pub(super) async fn yield_now(&self) {
        let mut has_yielded = false;
        poll_fn(|cx| {
            if core::mem::replace(&mut has_yielded, true) {
                return Poll::Ready(());
            }
            cx.waker().wake_by_ref();
            Poll::Pending
        })
        .await;
    }
}
