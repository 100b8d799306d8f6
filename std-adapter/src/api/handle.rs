//! The handles by which threads reach a tier.

use core::fmt;
use std::time::Instant;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};

use super::compaction::CompactionSystem;
use super::iterate::{Entries, Keys};
use super::opened::Open;
use super::reserve::{Announced, Space, WaitingClient};
use crate::admission::{Tries, try_until};
use crate::config::Durability;
use crate::errors::TierError;
use crate::observe::{Explanation, SegmentView, TierStats, in_order};
use crate::recycled::Lease;
use crate::worker::{Message, Waiter};

/// Reaches an open tier from any thread. It is `Copy`; after the tier was closed, every operation is
/// [`TierError::Closed`].
///
/// Operations wait at most the configured `op_timeout`.
#[derive(Clone, Copy)]
pub struct ColdTierHandle {
    pub(super) open: Lease<Open>,
}

impl fmt::Debug for ColdTierHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ColdTierHandle").field("generation", &self.open.generation()).finish_non_exhaustive()
    }
}

impl ColdTierHandle {
    /// Looks at the tier while it is open. `look` may read the medium; it must not wait for a worker, nor enter a tier.
    pub(crate) fn enter<R>(&self, look: impl FnOnce(&Open) -> R) -> Result<R, TierError> {
        Ok(self.open.enter(look)?)
    }

    /// Tells whether the tier is open, its workers are alive, and no file of it was seen to be lost.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.enter(Open::is_alive).unwrap_or(false)
    }

    /// Looks whether all files of the tier are in their places; `true` of one that is closed.
    pub(super) fn has_its_files(&self) -> bool {
        self.enter(Open::has_its_files).unwrap_or(true)
    }

    /// Returns how many keys have a value. Keys that expired count until they are dropped.
    ///
    /// # Errors
    /// [`TierError::Closed`].
    pub fn len(&self) -> Result<u64, TierError> {
        self.enter(|open| open.parts.iter().map(|part| part.shared.admission.charges.keys()).sum())
    }

    /// Tells whether no key has a value.
    ///
    /// # Errors
    /// [`TierError::Closed`].
    pub fn is_empty(&self) -> Result<bool, TierError> {
        Ok(self.len()? == 0)
    }

    /// Makes everything put or removed so far durable: it survives a power cut.
    ///
    /// # Errors
    /// [`TierError`].
    pub fn flush(&self) -> Result<(), TierError> {
        self.flush_to(Durability::Synced)
    }

    /// Makes everything put or removed so far as durable as asked.
    ///
    /// # Errors
    /// [`TierError`].
    pub fn flush_to(&self, durability: Durability) -> Result<(), TierError> {
        let op_timeout = self.enter(|open| open.limits.op_timeout)?;
        self.flush_until(durability, Instant::now() + op_timeout)
    }

    pub(super) fn flush_until(&self, durability: Durability, deadline: Instant) -> Result<(), TierError> {
        if durability == Durability::Buffered || self.enter(|open| open.limits.is_read_only)? {
            return Ok(());
        }
        let span = tracing::info_span!("flush", ?durability);
        let _entered = span.enter();
        let flush = |_, reply: Sender<_>| {
            Message::Flush(Waiter { durability, reply: reply.into(), deadline, span: span.clone() })
        };
        let answers = self.ask_until(deadline, flush)?;
        answers.iter().try_for_each(|answer| answer.wait()?)
    }

    /// Confirms the wall clock, as it is or as it will be within the next minute.
    ///
    /// A jump ahead beyond the configured `clock_jump_max` is refused, since it would make everything expire at once;
    /// [`TierStats::clock_refused_s`] shows it. This call accepts it: the jump counts as time that has passed. Where the wall clock
    /// is behind ([`TierStats::clock_behind_s`]), the tier's time keeps its distance to it from then on, across opens too, so no
    /// expired value comes back. Without the call the tier's time goes on by the monotonic clock.
    ///
    /// # Errors
    /// [`TierError`]; then it is not confirmed in any partition.
    pub fn confirm_clock(&self) -> Result<(), TierError> {
        self.tell(|_| true, || Message::ConfirmClock)?;
        Ok(())
    }

    /// Gives up records that can't be read: in each partition the next `RebuildIndex` also frees segments that it still can't read
    /// whole. Records in the unreadable parts are lost: their keys have an older value from then on, or none.
    ///
    /// Without this call such segments are kept, since a device that fails now may be read later, and they take up capacity.
    ///
    /// # Errors
    /// [`TierError`]; then nothing is given up.
    pub fn give_up_unread(&self) -> Result<(), TierError> {
        self.enter(Open::check_writes)??;
        self.tell(|_| true, || Message::GiveUpUnread)?;
        Ok(())
    }

    /// Iterates over the keys, in no order. See [`Keys`] for what it sees of writes meanwhile.
    #[must_use]
    pub fn keys(&self) -> Keys {
        Keys::new(*self)
    }

    /// Iterates over the keys and their values, in no order. See [`Entries`] for what it sees of writes meanwhile.
    #[must_use]
    pub fn entries(&self) -> Entries {
        Entries::new(*self)
    }

    /// Returns what the tier counted; all zero once it is closed.
    #[must_use]
    pub fn stats(&self) -> TierStats {
        self.enter(|open| {
            let mut stats = TierStats { capacity_bytes: open.limits.capacity_bytes, ..TierStats::default() };
            for part in &open.parts {
                let shared = &part.shared;
                let waste = shared.lengths.waste_with(0);
                let charge_bytes_max =
                    open.terms.charge_bytes_max(waste, shared.admission.supply.quarantined());
                stats.add(&shared.counts, &shared.worker_stats.lock(), &shared.state(charge_bytes_max));
                stats.index_bytes += shared.index_bytes();
            }
            stats.requests = stats.puts + stats.touches + stats.gets + stats.removes;
            stats
        })
        .unwrap_or_default()
    }

    /// Explains the last compactions, evictions and refusals of all partitions, the newest last. The pools explain their cleanups:
    /// [`PoolCoordinator::explanations`](crate::pool::PoolCoordinator::explanations).
    ///
    /// # Errors
    /// [`TierError::Closed`].
    ///
    /// # Bounds
    /// Each partition keeps the last 256 of each kind.
    pub fn explanations(&self) -> Result<Vec<Explanation>, TierError> {
        let mut all = Vec::new();
        self.enter(|open| open.parts.iter().for_each(|part| part.shared.explanations.add_to(&mut all)))?;
        Ok(in_order(all))
    }

    /// Shows the segments of all partitions.
    ///
    /// # Errors
    /// [`TierError`].
    pub fn segments(&self) -> Result<Vec<SegmentView>, TierError> {
        let mut views = Vec::new();
        for answer in self.ask(Message::Segments)? {
            views.extend(answer.wait()?);
        }
        Ok(views)
    }

    /// Checks the sums that capacity is kept by against a recount of the whole index: keys, charged bytes, pending bytes.
    /// Exact only while nothing else uses the tier.
    ///
    /// # Errors
    /// [`TierError::Closed`].
    ///
    /// # Bounds
    /// Looks at every key.
    pub fn is_recount_exact(&self) -> Result<bool, TierError> {
        self.enter(|open| open.parts.iter().all(|part| part.shared.is_exact(&open.terms)))
    }

    /// Returns the compaction of this tier.
    #[must_use]
    pub fn compaction(&self) -> CompactionSystem {
        CompactionSystem::over(*self)
    }

    /// Sends a question to every partition.
    pub(crate) fn ask<R>(
        &self,
        question: impl Fn(Sender<R>) -> Message,
    ) -> Result<Vec<Answer<R>>, TierError> {
        self.ask_each(|_, reply| question(reply))
    }

    /// Sends a question to every partition, each its own.
    pub(crate) fn ask_each<R>(
        &self,
        question: impl Fn(usize, Sender<R>) -> Message,
    ) -> Result<Vec<Answer<R>>, TierError> {
        let op_timeout = self.enter(|open| open.limits.op_timeout)?;
        self.ask_until(Instant::now() + op_timeout, question)
    }

    fn ask_until<R>(
        &self,
        deadline: Instant,
        question: impl Fn(usize, Sender<R>) -> Message,
    ) -> Result<Vec<Answer<R>>, TierError> {
        let parts = self.enter(|open| open.parts.len())?;
        let ask = |index| {
            let (reply, receiver) = bounded(1);
            self.send_message(index, question(index, reply), deadline)?;
            Ok(Answer { handle: *self, part: index, receiver, deadline })
        };
        (0..parts).map(ask).collect()
    }

    /// Sends a message to every partition, or to none: once there is a place in all queues, `claim` decides whether to.
    pub(crate) fn tell(
        &self,
        claim: impl Fn(&Open) -> bool,
        message: impl Fn() -> Message,
    ) -> Result<Announced, TierError> {
        let deadline = Instant::now() + self.enter(|open| open.limits.op_timeout)?;
        let announced = try_until(deadline, |waiting: &mut Option<WaitingClient>, tries| {
            self.enter(|open| match open.tell_all(&claim, &message)? {
                Space::For(announced) => Ok::<_, TierError>(Some(announced)),
                Space::Lacks(_) if tries.is_last() => Ok(None),
                Space::Lacks(part) => {
                    // Another partition may lack a place now.
                    *waiting = waiting.take().filter(|waiting| waiting.is_for(part.shared.lease()));
                    part.stand_for_message(open, waiting, tries)?;
                    Ok(None)
                }
            })?
        })?;
        announced.ok_or(TierError::TimedOut)
    }

    /// Sends a message that is no write, waiting for a place in the queue where so many are on their way.
    pub(super) fn send_message(
        &self,
        part: usize,
        message: Message,
        deadline: Instant,
    ) -> Result<(), TierError> {
        let mut message = Some(message);
        let attempt = |waiting: &mut Option<WaitingClient>, tries: &Tries<'_>| {
            self.try_message(part, &mut message, waiting, tries)
        };
        try_until(deadline, attempt)?.ok_or(TierError::TimedOut)
    }

    /// Tries to send a message that is no write, or stands in line for its place.
    pub(super) fn try_message(
        &self,
        part: usize,
        message: &mut Option<Message>,
        waiting: &mut Option<WaitingClient>,
        tries: &Tries<'_>,
    ) -> Result<Option<()>, TierError> {
        self.enter(|open| {
            let part = open.part(part)?;
            open.check_alive(part)?;
            let may_try = match waiting {
                None => part.shared.admission.may_send_message(),
                Some(waiting) => waiting.is_called(),
            };
            if may_try || tries.is_last() {
                part.pass_message(message)?;
            }
            if message.is_some() && !tries.is_last() {
                part.stand_for_message(open, waiting, tries)?;
            }
            Ok(message.is_none().then_some(()))
        })?
    }
}

/// An answer that a worker owes.
pub(crate) struct Answer<R> {
    handle: ColdTierHandle,
    part: usize,
    receiver: Receiver<R>,
    deadline: Instant,
}

impl<R> Answer<R> {
    pub(crate) fn wait(&self) -> Result<R, TierError> {
        self.handle.wait_for(self.part, &self.receiver, self.deadline)
    }
}

impl ColdTierHandle {
    /// Waits for the answer of a partition's worker until the deadline. If none comes, it looks at the state of the tier: that
    /// may have been closed, and opened again by others.
    pub(crate) fn wait_for<R>(
        &self,
        part: usize,
        receiver: &Receiver<R>,
        deadline: Instant,
    ) -> Result<R, TierError> {
        wait_for(receiver, deadline, || self.check_alive(part))
    }

    /// Why no answer of a partition's worker comes, if there is a reason.
    pub(super) fn check_alive(&self, part: usize) -> Result<(), TierError> {
        self.enter(|open| open.check_alive(open.part(part)?))?
    }
}

/// Waits for the answer of a worker until the deadline. A worker that has ended dropped all senders of answers, and posted the
/// reason before; `check` returns it. One that ends in a close answers first.
pub(super) fn wait_for<R>(
    receiver: &Receiver<R>,
    deadline: Instant,
    check: impl Fn() -> Result<(), TierError>,
) -> Result<R, TierError> {
    receiver.recv_deadline(deadline).map_err(|error| match error {
        RecvTimeoutError::Disconnected => unanswered(check()),
        RecvTimeoutError::Timeout => late(&check()),
    })
}

/// Why a worker that has ended gave no answer.
pub(super) fn unanswered(alive: Result<(), TierError>) -> TierError {
    alive.err().unwrap_or(TierError::Poisoned)
}

/// Why an answer did not come until the deadline.
pub(super) fn late(alive: &Result<(), TierError>) -> TierError {
    match alive {
        Err(TierError::Poisoned) => TierError::Poisoned,
        _ => TierError::TimedOut,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::open::ColdTier;
    use crate::config::ColdTierConfig;
    use crate::pool::{AllocationManager, PoolConfig};
    use core::time::Duration;

    #[test]
    fn answer_taken_away_by_a_close_is_closed_after_another_open() {
        let dir = tempfile::tempdir().unwrap();
        let (_manager, pools) = AllocationManager::new(&PoolConfig::builder().build().unwrap()).unwrap();
        let config = ColdTierConfig::builder().capacity_bytes(4 << 20).build().unwrap();
        let open = || ColdTier::open(dir.path(), "t", config.clone(), pools.clone()).unwrap();
        let tier = open();
        let handle = tier.handle();
        let (reply, receiver) = bounded::<()>(1);
        drop(reply);
        let deadline = Instant::now() + Duration::from_secs(60);
        assert_eq!(handle.wait_for(0, &receiver, deadline), Err(TierError::Poisoned), "nobody closed it");
        tier.close().unwrap();
        assert_eq!(handle.wait_for(0, &receiver, deadline), Err(TierError::Closed));
        let _next = open();
        assert_eq!(handle.wait_for(0, &receiver, deadline), Err(TierError::Closed));
    }
}
