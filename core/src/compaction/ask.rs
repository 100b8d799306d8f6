//! The pool's part of a task: the request, its deadline, the reply.

use super::memory::TaskState;
use super::report::PoolOutcome;
use super::task::{State, Step, Task};
use super::tasks::Tasks;
use crate::cleanup::{CleanupError, CleanupKind, CleanupReply, Ticket};
use crate::drive::{Action, Now, Poll, StaleTicket};
use crate::writer::Log;

impl Tasks<'_> {
    pub(crate) fn ask(&mut self, now: Now, mut task: Task, log: &Log<'_>, kind: CleanupKind) -> Poll {
        let timeout = u64::from(log.layout.config().cleanup_timeout_ms);
        let issue =
            |state: &mut &mut TaskState| state.outstanding.issue(kind, now.monotonic_ms, timeout).ok();
        let Some(request) = self.state.as_mut().and_then(issue) else {
            task.report.pool = PoolOutcome::Failed(CleanupError::TimedOut);
            self.finish(now, log, &task);
            return Poll::Again;
        };
        task.state = State::Asking { ticket: request.ticket };
        let id = task.report.id;
        self.keep(task);
        Poll::Do(Action::Cleanup { task: id, request })
    }

    /// A task that is cancelled does not wait for the pools. They may go on, and their reply counts as late (I-REQ-2).
    pub(crate) fn await_pools(&mut self, task: &mut Task, ticket: Ticket) -> Step {
        if !task.is_cancelled {
            return Step::Stay(Poll::Idle);
        }
        let state = self.state.as_mut();
        if state.is_some_and(|state| state.outstanding.cancel(ticket).is_ok()) {
            task.report.pool = PoolOutcome::Failed(CleanupError::Cancelled);
        }
        Step::End
    }

    /// The pools answered. A late reply bears a stale ticket and is dropped (I-REQ-2).
    pub(crate) fn take_reply(
        &mut self,
        now: Now,
        log: &Log<'_>,
        reply: CleanupReply,
    ) -> Result<(), StaleTicket> {
        let Some(state) = &mut self.state else { return Err(StaleTicket(reply.ticket)) };
        let reply = state.outstanding.accept(reply).map_err(|stale| StaleTicket(stale.0))?;
        let pool = match reply.result {
            Ok(reclaimed) => PoolOutcome::Done(reclaimed),
            Err(error) => PoolOutcome::Failed(error),
        };
        self.end_asking(now, log, pool);
        Ok(())
    }

    pub(crate) fn take_unavailable(
        &mut self,
        now: Now,
        log: &Log<'_>,
        ticket: Ticket,
    ) -> Result<(), StaleTicket> {
        let Some(state) = &mut self.state else { return Err(StaleTicket(ticket)) };
        state.outstanding.cancel(ticket).map_err(|stale| StaleTicket(stale.0))?;
        self.end_asking(now, log, PoolOutcome::Failed(CleanupError::Disconnected));
        Ok(())
    }

    pub(crate) fn take_timeouts(&mut self, now: Now, log: &Log<'_>) {
        while let Some(state) = &mut self.state
            && let Some(reply) = state.outstanding.expire(now.monotonic_ms)
        {
            if let Err(error) = reply.result {
                self.end_asking(now, log, PoolOutcome::Failed(error));
            }
        }
    }

    fn end_asking(&mut self, now: Now, log: &Log<'_>, pool: PoolOutcome) {
        let Some(state) = &mut self.state else { return };
        match state.task.take() {
            Some(mut task) if matches!(task.state, State::Asking { .. }) => {
                task.report.pool = pool;
                state.finish(now, log, &task);
            }
            other => state.task = other,
        }
    }
}
