//! The two waits of a future: in the lines of admission, and for an answer.

use core::future::{Future as _, poll_fn};
use core::pin::Pin;
use core::task::Poll;
use std::time::Instant;

use oneshot::AsyncReceiver;

use super::deadline::DeadlineWatch;
use crate::admission::{Tries, Waiting};
use crate::api::handle::{ColdTierHandle, late, unanswered};
use crate::api::reserve::WaitingClient;
use crate::errors::TierError;

/// Tries in one poll. A future that may go on after these lets others run first.
const TRIES_PER_POLL: u32 = 4;

impl ColdTierHandle {
    /// Tries until an attempt has a result or fails, or the deadline has passed: `None` then. As
    /// [`try_until`](crate::admission::try_until), for a future.
    pub(super) async fn try_awaiting<R, E>(
        &self,
        deadline: Instant,
        mut attempt: impl FnMut(&mut Option<WaitingClient>, &Tries<'_>) -> Result<Option<R>, E>,
    ) -> Result<Option<R>, E> {
        let mut waiting: Option<WaitingClient> = None;
        let mut watch = DeadlineWatch::new(self.open, deadline);
        let result = poll_fn(|cx| {
            for _ in 0..TRIES_PER_POLL {
                let tries = Tries::of_poll(deadline, cx.waker());
                if let Some(client) = waiting.as_ref()
                    && !client.is_awake(cx.waker())
                    && !watch.is_over_for(cx.waker(), Some(client.client()))
                {
                    return Poll::Pending;
                }
                match attempt(&mut waiting, &tries) {
                    Ok(None) if !tries.is_last() => {}
                    over => return Poll::Ready(over),
                }
            }
            cx.waker().wake_by_ref();
            Poll::Pending
        });
        let result = result.await?;
        if result.is_some() {
            waiting.into_iter().for_each(Waiting::done);
        }
        Ok(result)
    }

    /// Waits for the answer of a partition's worker until the deadline. As [`wait_for`](Self::wait_for), for a future.
    pub(super) async fn answer<R>(
        &self,
        part: usize,
        mut receiver: AsyncReceiver<R>,
        deadline: Instant,
    ) -> Result<R, TierError> {
        let mut watch = DeadlineWatch::new(self.open, deadline);
        let answer = poll_fn(|cx| match Pin::new(&mut receiver).poll(cx) {
            Poll::Ready(Ok(answer)) => Poll::Ready(Ok(answer)),
            Poll::Ready(Err(_)) => Poll::Ready(Err(unanswered(self.check_alive(part)))),
            Poll::Pending if watch.is_over(cx.waker()) => Poll::Ready(Err(late(&self.check_alive(part)))),
            Poll::Pending => Poll::Pending,
        });
        answer.await
    }

    /// Tells how long an operation may take, from now on.
    pub(super) fn deadline(&self) -> Result<Instant, TierError> {
        Ok(Instant::now() + self.enter(|open| open.limits.op_timeout)?)
    }
}
