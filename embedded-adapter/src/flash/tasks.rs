//! Asking for compaction from any context, and doing it from one.
//!
//! ```text
//!  interrupt ─┐ schedule, cancel                       owner of the tier
//!             ├──────────────────► TaskMailbox ─ task ─► TaskWorker::poll ── steps ──► FlashTier
//!  main loop ─┘ ◄── Ticket            │ ◄── report ───────────┘
//!               ── poll(ticket) ─────►│
//! ```
//! No call waits: one that finds the mailbox held does nothing, says so and is counted.

use coldpress_core::cleanup::Ticket;
use coldpress_core::compaction::{CompactionTask, REPORTS_KEPT, Report, TASK_QUEUE_CAPACITY, TaskId};
use coldpress_core::drive::Now;
use heapless::LinearMap;

use super::driving::Work;
use super::medium::Medium;
use super::tier::FlashTier;
use crate::{Contended, RequestError, TicketError, TryCell};

/// The state of a task that was asked for.
#[derive(Debug, Clone, Copy)]
enum State {
    /// It waits to be scheduled.
    Waiting(CompactionTask),
    /// It is scheduled, or runs.
    Scheduled,
    /// It is to be cancelled.
    Cancelled,
    /// It ended.
    Done(Report),
}

#[derive(Debug, Clone, Copy)]
struct Place {
    generation: u32,
    state: Option<State>,
}

#[derive(Debug)]
struct TaskTable<const N: usize> {
    places: [Place; N],
    generation: u32,
}

impl<const N: usize> TaskTable<N> {
    fn place(&mut self, ticket: Ticket) -> Result<&mut Place, TicketError> {
        let place = self.places.get_mut(usize::from(ticket.index));
        place.filter(|p| p.generation == ticket.generation && p.state.is_some()).ok_or(TicketError::Stale)
    }
}

/// Takes compaction tasks from the main loop and from interrupts, and keeps each report until it is polled.
///
/// To ask: [`schedule`](Self::schedule), [`poll`](Self::poll), [`cancel`](Self::cancel). To serve: [`TaskWorker::poll`].
///
/// # Bounds
/// At most `N` tasks without a report taken. Each call is one attempt to take the mailbox, and looks at each place once.
#[derive(Debug)]
pub struct TaskMailbox<const N: usize = 4> {
    table: TryCell<TaskTable<N>>,
}

impl<const N: usize> TaskMailbox<N> {
    /// Makes an empty mailbox; usable in a `static`.
    #[must_use]
    pub const fn new() -> Self {
        const { assert!(N > 0 && N <= TASK_QUEUE_CAPACITY, "the tier queues eight tasks") }
        let empty = Place { generation: 0, state: None };
        Self { table: TryCell::new(TaskTable { places: [empty; N], generation: 0 }) }
    }

    /// Asks for a task.
    ///
    /// # Errors
    /// [`RequestError`]; nothing was asked.
    pub fn schedule(&self, task: CompactionTask) -> Result<Ticket, RequestError> {
        self.table.try_with(|table| {
            table.generation = table.generation.wrapping_add(1);
            let generation = table.generation;
            let mut places = (0u16..).zip(table.places.iter_mut());
            let free = places.find(|(_, place)| place.state.is_none());
            let (index, place) = free.ok_or(RequestError::Full)?;
            *place = Place { generation, state: Some(State::Waiting(task)) };
            Ok(Ticket { index, generation })
        })?
    }

    /// Asks for the outcome of a task: `None` until it ends, then once its report.
    ///
    /// # Errors
    /// [`TicketError`]; after `Contended` the report is still there. `Stale` also where the task ended without a report, since the
    /// tier was [formatted](FlashTier::format), or takes no tasks.
    pub fn poll(&self, ticket: Ticket) -> Result<Option<Report>, TicketError> {
        self.table.try_with(|table| {
            let place = table.place(ticket)?;
            let Some(State::Done(report)) = place.state else { return Ok(None) };
            place.state = None;
            Ok(Some(report))
        })?
    }

    /// Ends a task at its next step. Its report, which tells how far it came, is still to be polled. A task that had not begun
    /// leaves no report, and its ticket is stale.
    ///
    /// # Errors
    /// [`TicketError`].
    pub fn cancel(&self, ticket: Ticket) -> Result<(), TicketError> {
        self.table.try_with(|table| {
            let place = table.place(ticket)?;
            place.state = match place.state {
                Some(State::Waiting(_)) => None,
                Some(State::Scheduled) => Some(State::Cancelled),
                other => other,
            };
            Ok(())
        })?
    }

    /// Returns how many calls found the mailbox held elsewhere; it wraps at 32 bits.
    #[must_use]
    pub fn contended(&self) -> u32 {
        self.table.contended()
    }

    /// Takes the task that was asked for first.
    fn next(&self) -> Result<Option<(Ticket, CompactionTask)>, Contended> {
        self.table.try_with(|table| {
            let newest = table.generation;
            let waiting = (0u16..).zip(table.places.iter_mut()).filter_map(|(index, place)| {
                let Some(State::Waiting(task)) = place.state else { return None };
                Some((newest.wrapping_sub(place.generation), index, task, place))
            });
            let (_, index, task, place) = waiting.max_by_key(|(age, ..)| *age)?;
            place.state = Some(State::Scheduled);
            Some((Ticket { index, generation: place.generation }, task))
        })
    }

    fn is_cancelled(&self, ticket: Ticket) -> Result<bool, Contended> {
        self.table.try_with(|table| {
            let Ok(place) = table.place(ticket) else { return false };
            let is_cancelled = matches!(place.state, Some(State::Cancelled));
            if is_cancelled {
                place.state = Some(State::Scheduled);
            }
            is_cancelled
        })
    }

    /// Keeps the report of a task that ended. The ticket of a task without a report is stale from then on.
    fn end(&self, ticket: Ticket, report: Option<Report>) -> Result<(), Contended> {
        self.table.try_with(|table| {
            if let Ok(place) = table.place(ticket) {
                place.state = report.map(State::Done);
            }
        })
    }
}

impl<const N: usize> Default for TaskMailbox<N> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(feature = "defmt")]
impl<const N: usize> defmt::Format for TaskMailbox<N> {
    fn format(&self, f: defmt::Formatter<'_>) {
        defmt::write!(f, "TaskMailbox(of {=usize}, {=u32} contended)", N, self.contended());
    }
}

/// Serves a [`TaskMailbox`] where the tier is owned, and drives the tier.
///
/// It takes every report of the tier. The report of a task that the firmware scheduled beside it is dropped.
#[derive(Debug, Default)]
pub struct TaskWorker {
    /// The tasks of the tier and their callers: no more tasks than it keeps reports, since no report may be lost.
    scheduled: LinearMap<TaskId, Ticket, REPORTS_KEPT>,
    /// A task that ended while the mailbox was held, with its report if it has one.
    held: Option<(Ticket, Option<Report>)>,
}

impl TaskWorker {
    /// Makes a worker with nothing in hand; usable in a `static`.
    #[must_use]
    pub const fn new() -> Self {
        Self { scheduled: LinearMap::new(), held: None }
    }

    /// Takes a task that was asked for, [polls](FlashTier::poll) the tier, and hands out a report.
    ///
    /// Where the mailbox is held elsewhere the tier is polled all the same, and the rest is done by the next call.
    ///
    /// # Bounds
    /// Those of the tier's poll, and four attempts to take the mailbox.
    pub fn poll<const N: usize, M: Medium>(
        &mut self,
        mailbox: &TaskMailbox<N>,
        tier: &mut FlashTier<'_, M>,
        now: Now,
        budget: u32,
    ) -> Work {
        if self.held.is_none()
            && !self.scheduled.is_full()
            && let Ok(Some((ticket, task))) = mailbox.next()
        {
            match tier.schedule(task) {
                // There is a free slot: that was checked above.
                Ok(id) => drop(self.scheduled.insert(id, ticket)),
                // The tier takes no task, so it ends here without a report.
                Err(_) => self.held = Some((ticket, None)),
            }
        }
        // A queued task is cancelled once it runs.
        let running = tier.progress().and_then(|running| self.scheduled.get(&running.id));
        if running.is_some_and(|ticket| mailbox.is_cancelled(*ticket) == Ok(true)) {
            tier.cancel();
        }
        let work = tier.poll(now, budget);
        if self.held.is_none() {
            self.held = self.take_ended(tier);
        }
        if let Some((ticket, report)) = self.held
            && mailbox.end(ticket, report).is_ok()
        {
            self.held = None;
        }
        work
    }

    /// Takes a task that ended, with its report.
    fn take_ended<M: Medium>(&mut self, tier: &mut FlashTier<'_, M>) -> Option<(Ticket, Option<Report>)> {
        if let Some(report) = tier.take_report() {
            let ticket = self.scheduled.remove(&report.id);
            return ticket.map(|ticket| (ticket, Some(report)));
        }
        // A tier that was formatted has no reports of tasks from before.
        let lost = self.scheduled.keys().copied().find(|id| !tier.tier.has_task(*id))?;
        self.scheduled.remove(&lost).map(|ticket| (ticket, None))
    }
}

#[cfg(feature = "defmt")]
impl defmt::Format for TaskWorker {
    fn format(&self, f: defmt::Formatter<'_>) {
        defmt::write!(f, "TaskWorker({=usize} tasks)", self.scheduled.len());
    }
}
