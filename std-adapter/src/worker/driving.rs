//! Driving the machine: polls, and what it asks for.

use coldpress_core::format::Sequence;
use core::sync::atomic::Ordering::Relaxed;
use core::time::Duration;

use coldpress_core::cleanup::{CleanupRequest, Ticket};
use coldpress_core::compaction::{CompactionTask, Report, TaskId, TasksFull};
use coldpress_core::drive::{Action, Input, Now, Poll, Started};
use coldpress_core::machine::{Status, carry_out};
use tracing::Span;

use super::message::Scheduled;
use super::operations::Operations;
use super::{WAIT_MS_MAX, Worker, millis};
use crate::admission::{Weight, WorkerView};
use crate::clock::monotonic_ms;
use crate::errors::TierError;
use crate::index::{Health, LogTime};
use crate::observe::Timed;
use crate::pool::PoolCoordinator;
use crate::storage::{MediumFailure, Synced};

/// Polls in one turn.
const POLLS_PER_TURN: usize = 64;
/// Polls after which messages that wait come first.
const POLLS_BEFORE_MESSAGES: usize = 8;
/// How long the worker waits while something is to be tried again, in milliseconds.
const AGAIN_MS: u64 = 2;
/// Compaction for debt is asked for at most so often by the background worker, in milliseconds.
const DEBT_MS: u64 = 1_000;

/// Everything that decides whether a write which waits has space.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Given {
    weight: Weight,
    /// Places of the queue that are taken, those of other messages, and segments with blocks.
    places: [u32; 3],
    charge_bytes_max: u64,
    is_out_of_space: bool,
    is_evicting: bool,
    /// Whether pieces of values that are gone still take space.
    is_owing: bool,
    /// Whether a value has expired and was not dropped.
    is_due: bool,
}

impl Worker<'_> {
    /// Polls the machine, up to a bound and to the end of a close; tells whether it has nothing left to do.
    pub(super) fn drive(&mut self) -> bool {
        let is_idle = self.drive_machine();
        self.slicing.end_slice();
        is_idle
    }

    fn drive_machine(&mut self) -> bool {
        for polls in 0..POLLS_PER_TURN {
            if polls >= POLLS_BEFORE_MESSAGES && !self.messages.is_empty() {
                return false;
            }
            let now = self.now();
            if now.monotonic_ms >= self.shared.ends_ms.load(Relaxed) {
                return false;
            }
            // The findings of the index while a task runs belong to that task, and it judges the pools that the task asks.
            let running = self.tier.progress().and_then(|running| self.scheduled.get(running.id));
            if let Some(scheduled) = running {
                self.index.hot = self.pools_of(scheduled).hot();
            }
            let entered = running.map(|scheduled| scheduled.span.enter());
            let before = self.slicing.begin(&mut self.tier);
            let step = self.tier.poll(now, &mut self.index);
            drop(entered);
            self.has_progressed |= step != Poll::Idle;
            self.slicing.polled(self.tier.effort());
            self.explaining.polled(&self.tier, self.slicing.held(), &self.shared.explanations);
            match step {
                Poll::Do(action) => self.perform(now, action),
                Poll::Again => {}
                Poll::Idle if self.slicing.take(&self.tier) => continue,
                Poll::Idle => return true,
            }
            if let Some(before) = before {
                self.slicing.done(&self.tier, &before, &step);
            }
            // The machine keeps a few: none may be lost, else its client would wait in vain.
            self.take_reports();
        }
        false
    }

    fn perform(&mut self, now: Now, action: Action) {
        if self.is_read_only && !matches!(action, Action::Read { .. }) {
            return self.refuse_to_write(now, action);
        }
        #[cfg(feature = "archive")]
        self.copy_held(&action);
        let ticket = action.ticket();
        let mut operations = Operations {
            medium: self.medium.as_mut(),
            sparse: &self.index.sparse,
            syncer: &self.syncer,
            ticket,
            lost_blocks: false,
            is_syncer_dead: false,
        };
        let carried = carry_out(&mut self.tier, &mut operations, &action);
        let lost_blocks = operations.lost_blocks;
        self.is_syncer_dead |= operations.is_syncer_dead;
        let result = match carried {
            Some(Ok(Started::Done)) => Ok(()),
            // The syncer tells its end.
            Some(Ok(Started::UnderWay)) => return,
            Some(Err(error)) => Err(error),
            // All other actions ask something of the medium.
            None => {
                if let Action::Cleanup { task, request } = action {
                    self.ask(now, task, request);
                }
                return;
            }
        };
        match action {
            Action::Write { segment, bytes, .. } => {
                self.posting.wrote(segment.get(), bytes);
                if result.is_err() {
                    self.look_after_place(true);
                }
            }
            Action::Erase { segment, .. } if lost_blocks => {
                self.posting.erased(segment.get());
                self.tier.lose_blocks();
            }
            Action::Allocate { segment, .. } => match &result {
                Ok(()) => self.posting.allocated(segment.get()),
                Err(error) => self.note_refused(error),
            },
            _ => {}
        }
        self.done(now, ticket, result.as_ref().copied());
        if matches!(action, Action::Write { .. }) {
            self.after_write(result);
        }
    }

    /// Asks the pools for a task. One of which nothing is known asks nobody's pools: its report says that they were not there.
    fn ask(&mut self, now: Now, task: TaskId, request: CleanupRequest) {
        let scheduled = self.scheduled.get(task);
        debug_assert!(scheduled.is_some(), "I-TASK-1: a task that nobody scheduled asks the pools: {task}");
        let is_asked = scheduled.is_some_and(|scheduled| {
            self.pools_of(scheduled).submit(request, self.replies.0.clone()).is_ok()
        });
        if !is_asked {
            let _ = self.tier.handle(now, Input::CleanupUnavailable(request.ticket), &mut self.index);
        }
    }

    pub(super) fn done(&mut self, now: Now, ticket: Ticket, result: Result<(), &MediumFailure>) {
        if let Err(failure) = result
            && self.tier.status() == Status::Mounting
        {
            self.mount_failure = Some(failure.clone());
        }
        let result = result.map_err(MediumFailure::kind);
        self.has_progressed = true;
        if self.tier.handle(now, Input::Done { ticket, result }, &mut self.index).is_err() {
            tracing::warn!(?ticket, "a completion found nothing outstanding");
        }
    }

    /// Makes a failed write known: no waiter gets a good answer, and clients are refused for a while.
    fn after_write(&mut self, result: Result<(), MediumFailure>) {
        match result {
            Ok(()) => self.failing.recover(&self.shared.health),
            Err(error) => {
                tracing::warn!(partition = self.partition, %error, "a write failed");
                self.failing.fail(&error, &self.shared.health);
                self.waiters.fail_all(TierError::Medium(error));
            }
        }
    }

    pub(super) fn take_synced(&mut self, synced: Synced) {
        let now = self.now();
        self.shared.latencies.record(&self.meter, Timed::Sync, synced.took);
        let result = synced.result.and(self.check_place());
        if self.is_file_lost() {
            // The machine is not notified: it would take the records for durable, and might free their older copies.
            return;
        }
        self.done(now, synced.ticket, result.as_ref().copied());
        if let Err(error) = result {
            tracing::warn!(partition = self.partition, %error, "a sync failed");
            self.failing.fail(&error, &self.shared.health);
            if self.index.unwritten.is_empty() {
                self.waiters.fail_synced(TierError::Medium(error));
            } else {
                // Records handed back have lost their positions: no waiter can be notified of them any more.
                self.waiters.fail_all(TierError::Medium(error));
            }
        }
    }

    /// Tells those who wait what was reached, and posts the stats.
    pub(super) fn finish_turn(&mut self, is_idle: bool) {
        if self.tier.needs_remount() {
            // Nothing becomes durable any more; the synced versions are kept, and the next open finds them.
            self.shared.health.worsen(Health::NeedsReopen);
            self.waiters.fail_synced(TierError::NeedsReopen);
        }
        let (written, durable) = (self.tier.written(), self.tier.durable());
        let has_reached_waiters = self.waiters.are_reached(written, durable);
        self.look_after_place(has_reached_waiters);
        if has_reached_waiters {
            // A client that learns that its write is done finds it in the stats.
            self.post();
            self.has_answered = true;
        }
        self.waiters.settle(written, durable);
        let is_evicting = self.tier.is_evicting();
        self.explaining.evicted(self.index.take_evicted(), is_evicting, &self.shared.explanations);
        if written >= self.tier.appended() {
            self.unwritten_since_ms = None;
        }
        self.free_space();
        // Somebody waits for space that only a write can give.
        let is_late = self.unwritten_since_ms.is_some_and(|at| monotonic_ms() >= at + self.flush_after_ms);
        let is_idle = is_idle && self.messages.is_empty() && !self.has_more_to_append();
        if is_idle && (self.shared.admission.has_waiters() || is_late) {
            self.has_asked |= self.tier.flush();
        }
        self.take_reports();
        self.post_keeping();
        self.shared.is_compacting.store(self.tier.is_compacting(), Relaxed);
        self.post_clock();
        if self.posting.is_due() {
            self.post();
        }
        self.shared.lengths.count_waste(self.terms.data_segments());
        self.look_after_waiting(is_idle);
    }

    /// Lets those go on who wait for something that was given back. A call for nothing would keep them, and this thread, awake, so they
    /// are called when anything changed that decides whether a write has space.
    fn look_after_waiting(&mut self, is_idle: bool) {
        let shared = self.shared;
        let failures = shared.health.failures();
        if failures != self.failures_notified {
            self.failures_notified = failures;
            shared.admission.alert();
        }
        let (budget, supply) = (&shared.admission.budget, &shared.admission.supply);
        let given = Given {
            weight: shared.admission.weight(),
            places: [budget.queued(), budget.asked(), supply.backed()],
            charge_bytes_max: self.charge_bytes_max(),
            is_out_of_space: supply.is_out_of_space(),
            is_evicting: supply.is_evicting(),
            is_owing: shared.families.are_owing(),
            is_due: self.index.is_due(),
        };
        let is_changed = given != self.given_at;
        if shared.admission.has_waiters() {
            let (pending_bytes_max, enough_for) = (self.pending_bytes_max, self.enough_for(&given.weight));
            shared.admission.look_after(WorkerView { is_changed, is_idle, pending_bytes_max, enough_for });
        }
        self.given_at = given;
    }

    /// The most bytes that can be charged now.
    fn charge_bytes_max(&self) -> u64 {
        let quarantined = self.shared.admission.supply.quarantined();
        self.terms.charge_bytes_max(self.shared.lengths.waste_with(0), quarantined)
    }

    /// For how many records there is capacity, at a guess: a client finds out when it tries.
    fn enough_for(&self, weight: &Weight) -> usize {
        let most = self.charge_bytes_max();
        let mean = (weight.settled / weight.keys.max(1)).max(1);
        usize::try_from(most.saturating_sub(weight.settled) / mean).unwrap_or(usize::MAX)
    }

    /// Evicts what clients wait for, round by round, and drops what has expired where one waits for its space.
    fn free_space(&mut self) {
        let (admission, supply) = (&self.shared.admission, &self.shared.admission.supply);
        if supply.take_expiry() {
            self.tier.expire();
            self.has_asked = true;
        }
        supply.post_due(self.index.next_due_s());
        if supply.is_evicting() && !self.tier.is_evicting() {
            supply.end_round();
        }
        // While pending writes take the space, there is too little in the log to choose from.
        if !self.backlog.is_empty() || supply.is_evicting() {
            return;
        }
        if let Some(evict_bytes) = admission.begin_evictions() {
            tracing::debug!(partition = self.partition, evict_bytes, "evicting");
            self.tier.evict(evict_bytes);
            self.explaining.begin_eviction();
            self.has_asked = true;
        }
    }

    /// Posts the log's time, and says when the wall clock is refused.
    pub(super) fn post_clock(&mut self) {
        let now = self.now();
        self.tier.observe(now);
        let (before, refused_s) = (self.shared.clock.refused_s(), self.tier.clock_refused_s());
        let (now_ms, behind_s) = (self.tier.clock_ms(), self.tier.clock_behind_s());
        self.shared.clock.post(now.monotonic_ms, LogTime { now_ms, refused_s, behind_s });
        if let (None, Some(jump_s)) = (before, refused_s) {
            tracing::warn!(
                partition = self.partition,
                jump_s,
                "the wall clock jumped ahead; it is refused until confirmed"
            );
        }
    }

    /// Posts which records may stand for a put of the same value.
    pub(super) fn post_keeping(&mut self) {
        self.shared.keeps_above.store(self.tier.keeps_above().map_or(u32::MAX, Sequence::get), Relaxed);
    }

    /// Queues a task with its surroundings.
    pub(super) fn schedule(
        &mut self,
        task: CompactionTask,
        scheduled: Scheduled,
    ) -> Result<TaskId, TasksFull> {
        let id = self.tier.schedule(task)?;
        self.scheduled.insert(id, scheduled);
        Ok(id)
    }

    /// The pools that a task asks.
    fn pools_of<'a>(&'a self, scheduled: &'a Scheduled) -> &'a PoolCoordinator {
        scheduled.pools.as_ref().unwrap_or(&self.pools)
    }

    fn take_reports(&mut self) {
        while let Some(report) = self.tier.take_report() {
            let ended = self.take_ended(&report);
            let span = ended.as_ref().map(|task| task.span.clone());
            let _entered = span.as_ref().map(Span::enter);
            tracing::info!(
                partition = self.partition,
                task = %report.task,
                outcome = ?report.outcome,
                victims = report.victims.freed,
                relocated_bytes = report.relocated_bytes,
                log_bytes_reclaimed = report.log_bytes_reclaimed,
                pool_bytes_reclaimed = report.pool.reclaimed_bytes(),
                duration_ms = report.duration_ms,
                "compaction ended"
            );
            self.meter.compaction(&report);
            self.slicing.end_task(&report);
            self.explaining.report(&report, &self.shared.explanations);
            self.posting.report(report);
            self.post();
            // Sent after the stats are posted, so that its client finds it in them. A client that gave up waiting needs no
            // report.
            if let Some(reply) = ended.and_then(|task| task.report) {
                reply.send(report);
            }
        }
    }

    /// Takes the task that a report is of. One of which nothing is known goes to no client: a client whose task the machine has
    /// lost is notified that no report will come.
    fn take_ended(&mut self, report: &Report) -> Option<Scheduled> {
        let ended = self.scheduled.remove(report.id);
        if ended.is_none() {
            let lost = self.scheduled.drop_lost(|id| self.tier.has_task(id));
            tracing::error!(partition = self.partition, id = %report.id, lost, "a report of a task that nobody scheduled");
        }
        debug_assert!(ended.is_some(), "I-TASK-1: a report of a task that nobody scheduled: {report:?}");
        ended
    }

    /// Schedules what the background worker is there for: expiry at every interval, compaction when there is debt. With a budget,
    /// compaction that frees nothing comes at longer and longer intervals.
    pub(super) fn look_after_background(&mut self) {
        let now_ms = monotonic_ms();
        let is_debt_due = self.posting.is_debt_due(now_ms, DEBT_MS);
        let Some(schedule) = &mut self.background else { return };
        let interval_ms = millis(schedule.background.interval);
        if now_ms >= schedule.next_ms {
            schedule.next_ms = now_ms.saturating_add(interval_ms);
            self.schedule_background(CompactionTask::CleanupExpired);
            self.pass(now_ms, interval_ms);
        } else if is_debt_due && !self.tier.is_compacting() {
            let tally = self.tier.tally();
            let stale = tally.used_bytes.saturating_sub(tally.live_bytes);
            if stale > tally.used_bytes / 2 && tally.sealed > 0 {
                self.pass(now_ms, interval_ms);
            }
        }
    }

    /// Schedules a compaction that no client asked for.
    fn pass(&mut self, now_ms: u64, interval_ms: u64) {
        let dropped = self.shared.counts.expired_records.load(Relaxed);
        // Records of clients, removes among them, and values that went by themselves.
        let changes = self.tier.appended().wrapping_add(dropped);
        if self.slicing.is_pass_due(now_ms, interval_ms, changes)
            && let Some(id) = self.schedule_background(CompactionTask::CompactData)
        {
            self.slicing.begin_pass(id, now_ms, changes);
        }
    }

    fn schedule_background(&mut self, task: CompactionTask) -> Option<TaskId> {
        let pools = self.background.as_ref().and_then(|schedule| schedule.background.pools.clone());
        // Where so many tasks wait already, it is among them.
        let span = tracing::info_span!(parent: None, "compaction", %task, partition = self.partition);
        self.schedule(task, Scheduled { report: None, pools, span }).ok()
    }

    /// How long the worker may wait for its next input.
    pub(super) fn timeout(&mut self) -> Duration {
        let now_ms = monotonic_ms();
        let mut timeout = self.machine_timeout_ms().unwrap_or(WAIT_MS_MAX).min(WAIT_MS_MAX);
        let has_work =
            !self.backlog.is_empty() || !self.index.unwritten.is_empty() || !self.stalled.is_empty();
        if has_work || self.closing.is_some() {
            timeout = timeout.min(AGAIN_MS);
        }
        if self.shared.admission.has_waiters() {
            // The next value that expires may give the space that they wait for.
            timeout = timeout.min(self.index.due_in_ms().unwrap_or(u64::MAX));
        }
        if let Some(since_ms) = self.unwritten_since_ms {
            timeout = timeout.min((since_ms + self.flush_after_ms).saturating_sub(now_ms).max(1));
        }
        if let Some(background) = &self.background {
            timeout = timeout.min(background.next_ms.saturating_sub(now_ms).max(1)).min(DEBT_MS);
        }
        if self.posting.is_stale(&self.tier.counters()) {
            timeout = timeout.min(self.posting.due_in_ms());
        }
        let timeout = Duration::from_millis(timeout);
        self.slicing.due_in().map_or(timeout, |due| timeout.min(due))
    }
}
