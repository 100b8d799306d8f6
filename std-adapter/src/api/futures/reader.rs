//! Reads of futures that would wait for the device: one thread of a partition makes them, one after the other.
//!
//! The thread is started by the first such read, and ends with the tier. The queue has a capacity. A future that finds no place waits
//! in the order of age, and takes one in its next poll. One that is not polled keeps its place until its deadline, and none of the
//! others: each free place is kept for one of the oldest.

use core::future::{Future as _, poll_fn};
use core::panic::AssertUnwindSafe;
use core::pin::Pin;
use core::task::{Poll, Waker};
use std::collections::BTreeMap;
use std::panic::{catch_unwind, resume_unwind};
use std::thread::Builder;
use std::time::Instant;

use coldpress_core::drive::MediumError;
use crossbeam_channel::{Receiver, Sender, unbounded};
use parking_lot::Mutex;

use super::deadline::DeadlineWatch;
use crate::api::handle::{ColdTierHandle, unanswered};
use crate::api::opened::Open;
use crate::errors::TierError;
use crate::file_error::FileError;
use crate::storage::MediumFailure;

/// Reads that can be on their way to the reader of a partition.
pub(super) const READS_MAX: usize = 1024;

/// A read on its way to the thread, which gets the tier by its handle.
type ReadJob = Box<dyn FnOnce(&ColdTierHandle) + Send>;

#[derive(Default)]
struct ReaderState {
    /// The way to the thread; `None` before the first read.
    jobs: Option<Sender<ReadJob>>,
    queued: usize,
    /// Futures that found no place, by their age, each with its deadline.
    waiting: BTreeMap<u64, (Instant, Waker)>,
    issued: u64,
}

/// The queue of a partition's reader.
#[derive(Default)]
pub(crate) struct ReaderQueue {
    state: Mutex<ReaderState>,
}

impl ReaderQueue {
    /// Queues a job, or leaves it in `job` where there is no place: then `waker` is woken once there is one.
    fn submit(
        &self,
        job: &mut Option<ReadJob>,
        number: &mut Option<u64>,
        (deadline, waker): (Instant, &Waker),
        start: impl FnOnce(Receiver<ReadJob>) -> Result<(), TierError>,
    ) -> Result<(), TierError> {
        // Wakers are neither cloned nor dropped under the lock: with the last waker of a task other futures may go.
        let (waker, mut _before, mut late) = (waker.clone(), None, Vec::new());
        let mut state = self.state.lock();
        // Those whose deadline has passed, and that are not polled, hold up no others.
        let now = Instant::now();
        while let Some(first) = state.waiting.first_entry()
            && first.get().0 <= now
        {
            late.push(first.remove());
        }
        let free = READS_MAX.saturating_sub(state.queued);
        let ahead = match *number {
            Some(number) => state.waiting.range(..number).take(free).count(),
            None => state.waiting.len(),
        };
        if ahead >= free {
            let number = *number.get_or_insert_with(|| {
                state.issued += 1;
                state.issued
            });
            _before = state.waiting.insert(number, (deadline, waker));
            return Ok(());
        }
        if let Some(number) = number.take() {
            _before = state.waiting.remove(&number);
        }
        if state.jobs.is_none() {
            let (jobs, receiver) = unbounded();
            start(receiver)?;
            state.jobs = Some(jobs);
        }
        let sent = state.jobs.as_ref().zip(job.take()).map(|(jobs, job)| jobs.send(job));
        if sent.is_some_and(|sent| sent.is_ok()) {
            state.queued += 1;
        }
        Ok(())
    }

    /// A job was taken out of the queue, so there is a place for one more future.
    fn taken(&self) -> Option<Waker> {
        let mut state = self.state.lock();
        state.queued = state.queued.saturating_sub(1);
        state.next_with_a_place()
    }

    /// A future stops waiting. Its place is the next one's.
    fn leave(&self, number: u64) -> Option<Waker> {
        let _gone;
        let mut state = self.state.lock();
        _gone = state.waiting.remove(&number)?;
        state.next_with_a_place()
    }

    /// Tells whether any read took the thread.
    #[cfg(test)]
    pub(super) fn has_begun(&self) -> bool {
        self.state.lock().jobs.is_some()
    }

    /// Reads in the queue, and futures that wait for a place in it.
    #[cfg(test)]
    pub(super) fn counts(&self) -> (usize, usize) {
        let state = self.state.lock();
        (state.queued, state.waiting.len())
    }
}

impl ReaderState {
    /// The youngest future that has a place by now.
    fn next_with_a_place(&self) -> Option<Waker> {
        let free = READS_MAX.saturating_sub(self.queued);
        self.waiting.values().nth(free.checked_sub(1)?).map(|(_, waker)| waker.clone())
    }
}

/// A future's place in the line for the queue.
struct InLine<'a> {
    handle: &'a ColdTierHandle,
    part: usize,
    number: Option<u64>,
}

impl Drop for InLine<'_> {
    fn drop(&mut self) {
        let Some(number) = self.number else { return };
        // The lines of a closed tier are gone.
        let next = self.handle.enter(|open| open.part(self.part).ok()?.reader.leave(number));
        next.ok().flatten().into_iter().for_each(Waker::wake);
    }
}

impl ColdTierHandle {
    /// Lets the reader of a partition call `read`, and waits for its result until the deadline. A tier that is closed meanwhile ends the
    /// wait, whatever the reader does.
    pub(super) async fn on_reader<R: Send + 'static>(
        &self,
        part: usize,
        read: impl FnOnce(&Self) -> R + Send + 'static,
    ) -> Result<R, TierError> {
        let deadline = self.deadline()?;
        let (reply, mut receiver) = oneshot::async_channel();
        let mut job: Option<ReadJob> = Some(Box::new(move |handle| {
            // The read of a future that was dropped is not made.
            if !reply.is_closed() {
                let _ = reply.send(catch_unwind(AssertUnwindSafe(|| read(handle))));
            }
        }));
        let mut line = InLine { handle: self, part, number: None };
        let mut watch = DeadlineWatch::new(self.open, deadline);
        let result = poll_fn(|cx| {
            if job.is_some() {
                let start = |jobs| self.start_reader(part, jobs);
                let submit = |open: &Open| {
                    open.part(part)?.reader.submit(&mut job, &mut line.number, (deadline, cx.waker()), start)
                };
                if let Err(error) = self.enter(submit).flatten() {
                    return Poll::Ready(Err(error));
                }
            }
            if job.is_none() {
                match Pin::new(&mut receiver).poll(cx) {
                    Poll::Ready(Ok(result)) => return Poll::Ready(Ok(result)),
                    Poll::Ready(Err(_)) => return Poll::Ready(Err(unanswered(self.check_alive(part)))),
                    Poll::Pending => {}
                }
            }
            if watch.is_over(cx.waker()) {
                return Poll::Ready(Err(TierError::TimedOut));
            }
            // Looked at last: from here on a close wakes this future.
            if self.open.has_ended() { Poll::Ready(Err(TierError::Closed)) } else { Poll::Pending }
        });
        match result.await? {
            Ok(result) => Ok(result),
            // As it would in a thread that reads by itself.
            Err(panic) => resume_unwind(panic),
        }
    }

    fn start_reader(&self, part: usize, jobs: Receiver<ReadJob>) -> Result<(), TierError> {
        let handle = *self;
        let started = Builder::new().name(format!("coldpress-reader-{part}")).spawn(move || {
            for job in jobs {
                // A waker of a runtime that panics must not end the thread.
                let _ = catch_unwind(AssertUnwindSafe(|| {
                    let next = handle.enter(|open| open.part(part).ok()?.reader.taken());
                    next.ok().flatten().into_iter().for_each(Waker::wake);
                }));
                let _ = catch_unwind(AssertUnwindSafe(|| job(&handle)));
            }
        });
        started.map(drop).map_err(|error| {
            let cause = FileError::new("start a thread for the reads of", "the partition".as_ref(), &error);
            TierError::Medium(MediumFailure::new(MediumError::Io, cause))
        })
    }
}

#[cfg(test)]
mod tests {
    use core::time::Duration;

    use super::*;

    /// Submits a job that does nothing; tells whether the queue took it.
    fn submit(queue: &ReaderQueue, number: &mut Option<u64>, patience: Duration) -> bool {
        let mut job: Option<ReadJob> = Some(Box::new(|_| ()));
        let deadline = Instant::now() + patience;
        // Nobody takes the jobs.
        let start = |jobs| {
            core::mem::forget(jobs);
            Ok(())
        };
        queue.submit(&mut job, number, (deadline, Waker::noop()), start).unwrap();
        job.is_none()
    }

    #[test]
    fn expired_future_that_is_not_polled_holds_up_no_other() {
        const LONG: Duration = Duration::from_secs(60);
        let queue = ReaderQueue::default();
        assert!((0..READS_MAX).all(|_| submit(&queue, &mut None, LONG)));
        let (mut late, mut next, mut last) = (None, None, None);
        assert!(!submit(&queue, &mut late, Duration::ZERO));
        // The one that came before has expired by now.
        assert!(!submit(&queue, &mut next, LONG) && !submit(&queue, &mut last, LONG));
        assert_eq!(queue.counts(), (READS_MAX, 2));
        assert!(queue.taken().is_some(), "the oldest that waits is woken");
        assert!(!submit(&queue, &mut last, LONG), "the place is that of the older one");
        assert!(submit(&queue, &mut next, LONG));
        assert_eq!((queue.counts(), next), ((READS_MAX, 1), None));
        // It leaves; a place that comes later is for nobody who waits.
        assert!(queue.leave(last.unwrap()).is_none() && queue.taken().is_none());
        assert!(submit(&queue, &mut late, LONG), "it stands at the end, which is the front now");
        assert_eq!(queue.counts(), (READS_MAX, 0));
    }
}
