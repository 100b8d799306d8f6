//! The budget of a log worker: slices for the machine's background work, and the wait between passes.
//!
//! The machine's background work is paused unless the worker has a slice. The worker asks for one when the machine says that work
//! is held back, and there is nothing else to do. Meanwhile it goes on with messages, writes and syncs, and asks again after the time
//! that the budget named. The slice ends with the step in which its time or bytes are used up, and after a poll that did other work.

use core::time::Duration;
use std::time::Instant;

use coldpress_core::compaction::{CompactionTask, Effort, Report, TaskId};
use coldpress_core::config::Stream;
use coldpress_core::drive::{Action, Poll};
use coldpress_core::machine::Tier;

use crate::budget::{Granted, PassBackoff, Slice, WorkBudget, WorkKind};

/// The slices of one worker.
pub(super) struct Slicing {
    budget: Option<WorkBudget>,
    slice: Option<Slice>,
    /// When to ask for the next slice.
    due: Option<Instant>,
    /// Since when work waits for a slice. `held` is how long work waited before.
    held_since: Option<Instant>,
    held: Duration,
    passes: PassBackoff,
    /// The pass of the background worker that is queued or runs.
    pass: Option<TaskId>,
}

/// The moment before a poll.
pub(super) struct BeforePoll {
    begun: Instant,
    relocated_bytes: u64,
}

impl Slicing {
    pub(super) const fn new(budget: Option<WorkBudget>) -> Self {
        Self {
            budget,
            slice: None,
            due: None,
            held_since: None,
            held: Duration::ZERO,
            passes: PassBackoff::new(),
            pass: None,
        }
    }

    /// Prepares a poll: without a slice background work is paused. `None` without a budget.
    pub(super) fn begin(&self, tier: &mut Tier<'_>) -> Option<BeforePoll> {
        self.budget?;
        tier.pause_background(self.slice.is_none());
        Some(BeforePoll { begun: Instant::now(), relocated_bytes: tier.counters().relocated_bytes })
    }

    /// Takes note of a poll, before its action is carried out: a slice is for background work alone.
    pub(super) fn polled(&mut self, effort: Effort) {
        if effort != Effort::Background {
            self.slice = None;
        }
        if effort != Effort::Held {
            self.due = None;
            self.end_hold();
        }
    }

    /// Counts a step and its action, once both are done. Work that took no slice is booked: steps for space, erases, and writes to segments
    /// of relocated records. Where streams are merged, records of clients are among these.
    pub(super) fn done(&mut self, tier: &Tier<'_>, before: &BeforePoll, step: &Poll) {
        let Some(budget) = self.budget else { return };
        let relocated_bytes = tier.counters().relocated_bytes.saturating_sub(before.relocated_bytes);
        if let Some(slice) = &mut self.slice {
            slice.relocated(relocated_bytes);
            if slice.is_over() {
                self.slice = None;
            }
            return;
        }
        let is_for_compaction = match step {
            Poll::Do(Action::Erase { .. }) => true,
            Poll::Do(Action::Write { segment, .. }) => {
                let written = tier.segments().get(segment.get() as usize);
                written.is_some_and(|segment| segment.stream() >= Stream::Young as u8)
            }
            _ => tier.effort() == Effort::Needed,
        };
        if is_for_compaction || relocated_bytes > 0 {
            budget.book(kind(tier), before.begun.elapsed(), relocated_bytes);
        }
    }

    /// Asks for a slice, if the machine has nothing to do but work that is held back. Tells whether one was granted.
    pub(super) fn take(&mut self, tier: &Tier<'_>) -> bool {
        let Some(budget) = self.budget.filter(|_| tier.effort() == Effort::Held) else { return false };
        let now = Instant::now();
        self.held_since.get_or_insert(now);
        if self.due.is_some_and(|due| now < due) {
            return false;
        }
        match budget.try_slice(kind(tier)) {
            Granted::Slice(slice) => {
                (self.slice, self.due) = (Some(slice), None);
                self.end_hold();
                true
            }
            Granted::Later(wait) => {
                self.due = Some(now + wait);
                false
            }
        }
    }

    fn end_hold(&mut self) {
        if let Some(since) = self.held_since.take() {
            self.held += since.elapsed();
        }
    }

    /// How long work waited for slices in all.
    pub(super) const fn held(&self) -> Duration {
        self.held
    }

    /// Ends the slice, if there is one.
    pub(super) fn end_slice(&mut self) {
        self.slice = None;
    }

    /// How long the worker may wait until it asks for a slice again; `None` where it needs none.
    pub(super) fn due_in(&self) -> Option<Duration> {
        self.due.map(|due| due.saturating_duration_since(Instant::now()))
    }

    /// Tells whether a pass of the background worker is worth a try. Without a budget each is.
    pub(super) fn is_pass_due(&mut self, now_ms: u64, interval_ms: u64, changes: u64) -> bool {
        self.budget.is_none() || self.pass.is_none() && self.passes.is_due(now_ms, interval_ms, changes)
    }

    /// Notes that a pass was queued.
    pub(super) fn begin_pass(&mut self, id: TaskId, now_ms: u64, changes: u64) {
        self.pass = Some(id);
        self.passes.begin(now_ms, changes);
    }

    /// Takes note of a task that ended, in case it was the pass.
    pub(super) fn end_task(&mut self, report: &Report) {
        if self.pass == Some(report.id) {
            self.pass = None;
            let has_freed = report.victims.freed > 0 || report.pool.reclaimed_bytes() > 0;
            self.passes.end(has_freed);
        }
    }
}

/// The kind of the machine's background work.
fn kind(tier: &Tier<'_>) -> WorkKind {
    match tier.progress().map(|running| running.task) {
        Some(CompactionTask::OptimizeCompression) => WorkKind::Recompression,
        _ => WorkKind::Compaction,
    }
}
