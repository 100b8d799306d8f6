//! The compaction machine: which victim is cleaned when, and the four tasks.
//!
//! ```text
//!            ┌─1─► Compacting ─5─┐
//!            ├─2─► Rebuilding ─5─┼─► Reclaiming ─6─► Asking ─7─► report
//!  (queue) ──┼─3─► Expiring ───5─┘       └──────────8───────────►│
//!            └─4─► Sampling ──────────6──► Asking ─7────────────►│
//!                     └───────────────────8─────────────────────►┘
//! ```
//! 1–4 `start`; 5 the engine of the task has nothing left to do, or the task was cancelled; 6 every victim is free, or enough
//! was sampled: the pools are asked; 7 `end_asking` they answered, did not answer in time, or can't be reached, or the task was
//! cancelled; 8 they are not asked.
//!
//! Work that the tier needs comes before any task: segments under suspicion are cleaned first, then free segments are made in a
//! shortage. Both use the cleaner that tasks use. Where neither these nor a task has work, the tidying goes on.

use super::cleaner::{Cleaned, Cleaner, Cleaning};
use super::compact;
use super::debt::debt_permille;
use super::deeds::Deeds;
use super::effort::{Effort, Pausing};
use super::kinds::{CompactionTask, TasksFull};
use super::memory::{TaskMemory, TaskState};
use super::pace::Pace;
use super::places::Places;
use super::report::{Report, RunningTask};
use super::task::{Goal, State, Step, Task};
use super::undo::Undo;
use crate::cleanup::CleanupKind;
use crate::drive::{Now, Poll, TaskId};
use crate::index::Host;
use crate::recovery::Restore;
use crate::segments::{Policy, Segment, SegmentState, choose, choose_by_wear};
use crate::writer::{Engine, Log};

/// After this many failures, while it waits for its victims to be free, a task ends. The victims are freed without it.
const FAILURES_MAX: u64 = 3;

/// While free segments are short, erases from one victim for the spread of wear to the next: clients wait for the space of the
/// other victims.
const WEAR_EVERY: u64 = 8;

/// The engine that runs tasks and meets shortages.
#[derive(Debug)]
pub(crate) struct Tasks<'m> {
    /// The tasks, eviction and the tidying; `None` where the adapter lends no memory for them.
    pub(super) state: Option<&'m mut TaskState>,
    pace: Pace,
    /// Erases when the spread of wear was looked at last.
    wear_seen: u64,
    /// Whether a shortage is being met.
    is_short: bool,
    /// Whether the victim in hand belongs to the task.
    is_for_task: bool,
    /// Whether the victim in hand gives space, or copies, that somebody waits for.
    is_needed: bool,
    pausing: Pausing,
    undo: Undo,
    /// Whether a second look is under way that a shortage began, not a task.
    pub(super) is_restoring: bool,
    /// With one free segment in reserve: the work of the log when a shortage found nothing to do.
    gave_up: Option<Deeds>,
    /// The same, when a second look ended in vain.
    pub(super) looked_in_vain: Option<Deeds>,
    /// Erases when a second look ended because the index had no place. Only an erase makes a place, so no look begins before
    /// the next one.
    pub(super) lacked_places: Option<u64>,
    places: Places,
    pub(super) is_closing: bool,
    cleaner: Cleaner,
}

impl<'m> Tasks<'m> {
    pub(crate) fn new(log: &Log<'_>, memory: Option<&'m mut TaskMemory>) -> Self {
        Self::of(log, memory.and_then(TaskMemory::begin))
    }

    fn of(log: &Log<'_>, state: Option<&'m mut TaskState>) -> Self {
        Self {
            state,
            pace: Pace::new(log.layout.config().pace),
            wear_seen: 0,
            is_short: false,
            is_for_task: false,
            is_needed: false,
            pausing: Pausing::default(),
            undo: Undo::default(),
            is_restoring: false,
            gave_up: None,
            looked_in_vain: None,
            lacked_places: None,
            places: Places::default(),
            is_closing: false,
            cleaner: Cleaner::default(),
        }
    }

    /// Forgets all tasks, but not the last id issued: an adapter may still know some.
    pub(crate) fn restart(&mut self, log: &Log<'_>) {
        let mut state = self.state.take();
        if let Some(state) = &mut state {
            state.restart();
        }
        *self = Self::of(log, state);
    }

    pub(crate) fn schedule(&mut self, task: CompactionTask) -> Result<TaskId, TasksFull> {
        match &mut self.state {
            Some(state) if !self.is_closing => state.schedule(task),
            _ => Err(TasksFull(task)),
        }
    }

    /// Whether background work is paused, and the effort of the last poll.
    pub(crate) const fn pausing(&mut self) -> &mut Pausing {
        &mut self.pausing
    }

    /// The effort of the last poll.
    pub(crate) const fn effort(&self) -> Effort {
        self.pausing.last()
    }

    /// The victim in hand, else the last one.
    pub(crate) fn cleaning(&self) -> Cleaning {
        self.cleaner.cleaning()
    }

    /// Takes no more tasks.
    pub(crate) const fn refuse(&mut self) {
        self.is_closing = true;
    }

    pub(crate) fn has_task(&self, id: TaskId) -> bool {
        self.state.as_ref().is_some_and(|state| state.has_task(id))
    }

    pub(crate) fn has_report(&self, id: TaskId) -> bool {
        self.state.as_ref().is_some_and(|state| state.has_report(id))
    }

    /// The running task.
    fn task(&self) -> Option<&Task> {
        self.state.as_ref()?.task.as_ref()
    }

    fn task_mut(&mut self) -> Option<&mut Task> {
        self.state.as_mut()?.task.as_mut()
    }

    pub(crate) fn cancel(&mut self) {
        if let Some(task) = self.task_mut() {
            task.is_cancelled = true;
            if self.is_for_task {
                self.cleaner.cancel();
            }
        }
    }

    pub(crate) fn close(&mut self) {
        self.is_closing = true;
        if let Some(state) = &mut self.state {
            state.queue.clear();
            state.evict.stop();
        }
        self.cancel();
        self.cleaner.cancel();
    }

    /// Tells whether no task waits or runs, and no victim is being cleaned.
    pub(crate) fn is_idle(&self) -> bool {
        self.state.as_ref().is_none_or(|state| state.is_idle())
            && !self.is_restoring
            && self.cleaner.is_idle()
    }

    /// Tells whether no segment can be freed any more, and no eviction is under way that may change that.
    pub(crate) fn is_stuck(&self, log: &Log<'_>) -> bool {
        let has_tried = !log.keeps_one_free() || self.gave_up == Some(Deeds::of(log));
        !self.is_evicting() && !self.undo.is_hoping(log) && has_tried && self.cleaner.is_stuck(log)
    }

    /// Wants about this many bytes of records to be evicted.
    pub(crate) fn evict(&mut self, bytes: u64) {
        if let Some(state) = &mut self.state {
            state.evict.want(bytes);
        }
    }

    /// Wants all due records to be dropped.
    pub(crate) fn expire(&mut self) {
        if let Some(state) = &mut self.state {
            state.evict.want_expired();
        }
    }

    /// Tells whether an eviction is under way.
    pub(crate) fn is_evicting(&self) -> bool {
        self.state.as_ref().is_some_and(|state| state.evict.is_active())
    }

    /// The next `RebuildIndex` gives up segments that can't be read.
    pub(crate) const fn give_up_unread(&mut self) {
        if let Some(state) = &mut self.state {
            state.gives_up = true;
        }
    }

    pub(crate) fn take_report(&mut self) -> Option<Report> {
        self.state.as_mut()?.take_report()
    }

    pub(crate) fn progress(&self) -> Option<RunningTask> {
        self.state.as_ref()?.progress()
    }

    pub(crate) fn next_deadline_ms(&self) -> Option<u64> {
        self.state.as_ref()?.outstanding.next_deadline_ms()
    }

    /// When a paced step may be taken, in milliseconds from now.
    pub(crate) fn pace_wait_ms(&self, log: &Log<'_>) -> Option<u64> {
        if self.cleaner.is_idle() || self.pausing.is_holding() {
            return None;
        }
        Some(self.pace.wait_ms(debt_permille(log))).filter(|ms| *ms > 0)
    }

    /// When there may be something to tidy, in milliseconds of the monotonic clock; `None` while there is other work.
    pub(crate) fn tidy_due_ms(&self, log: &Log<'_>) -> Option<u64> {
        let due = self.state.as_ref()?.tidy.due_ms(log);
        due.filter(|_| self.is_idle() && !self.pausing.is_holding())
    }

    /// Segments that are free, or on their way to be.
    fn coming(log: &Log<'_>) -> u32 {
        log.free()
            + log.blocks.to_come()
            + log.segments.count(SegmentState::Emptied)
            + log.segments.count(SegmentState::Freeing)
            + log.segments.count(SegmentState::Erased)
    }

    /// Tells whether this number of free and coming segments is too low.
    fn lacks_segments(&self, log: &Log<'_>, coming: u32) -> bool {
        let config = log.layout.config();
        let watermark =
            if self.is_short { config.high_watermark_segments } else { config.low_watermark_segments };
        !self.is_closing && (coming < log.free_reserve() + watermark || log.lacks_space(coming))
    }

    /// Tells whether background work is held back now. Even while paused it goes on where clients may have to wait for the space
    /// that it gives, and at a close.
    fn is_held(&self, log: &Log<'_>) -> bool {
        self.pausing.is_paused
            && !self.is_closing
            && !log.segments.has_suspects()
            && !self.lacks_segments(log, Self::coming(log))
    }

    /// Tells whether the running task has a step of work to take. While it waits for others, its steps cost nothing.
    fn is_task_at_work(&self) -> bool {
        self.task().is_some_and(|task| {
            !task.is_cancelled && !matches!(task.state, State::Reclaiming | State::Asking { .. })
        })
    }

    /// Tells whether the victim in hand belongs to a task that was cancelled.
    fn is_cancelled(&self) -> bool {
        self.is_for_task && self.task().is_some_and(|task| task.is_cancelled)
    }

    /// Cleans segments under suspicion, then, in a shortage, the best victim.
    fn begin_needed(&mut self, log: &mut Log<'_>, restore: &mut Restore) {
        // No segment can be opened to relocate to, and a freed one would be of no use.
        if log.is_at_end() {
            self.is_short = false;
            log.part_no_more();
            return;
        }
        log.settle_streams();
        let was_short = self.is_short;
        let coming = Self::coming(log);
        self.is_short = self.lacks_segments(log, coming);
        log.counters.shortages += u64::from(self.is_short && !was_short);
        let suspects = log.segments.has_suspects();
        if !suspects && (self.begin_by_wear(log) || !self.is_short) {
            log.part_no_more();
            return;
        }
        // With one segment left for an output, only the quickest gain counts.
        let policy = if coming <= 1 { Policy::Greedy } else { log.policy() };
        let is_short = self.is_short;
        let choice = choose(&log.terms(policy), log.segments.as_slice(), |_, s| {
            (is_short || s.is_suspect()) && log.is_worth_cleaning(s)
        });
        // Where it parts records no more, the shortage may be over: the next poll judges it anew.
        if !log.part(choice.map(|choice| choice.reason)) {
            return;
        }
        match choice {
            Some(choice) => {
                (self.is_for_task, self.is_needed) = (false, true);
                self.cleaner.begin(log, choice);
            }
            None if is_short && log.seal_for_space() => {}
            // A segment with unread records, or in quarantine, is read again, and counts as torn by a cut if it still can't be
            // read. The log could not go on otherwise (rule 12).
            None if !suspects && self.begin_restore(log, restore, |s| s.state() == SegmentState::Sealed) => {}
            None if self.begin_restore(log, restore, |s| s.state() == SegmentState::Quarantined) => {}
            // The next poll merges the streams.
            None if log.merge_for_space() => log.stir(true),
            None => {
                self.is_short = false;
                self.gave_up = Some(Deeds::of(log));
            }
        }
    }

    /// Cleans for a host that waits for copies to go.
    fn poll_places<H: Host>(&mut self, log: &mut Log<'_>, host: &mut H) -> Poll {
        let Some(wait) = host.awaits_copies().filter(|_| !self.is_closing && !log.is_at_end()) else {
            return Poll::Idle;
        };
        (self.is_for_task, self.is_needed) = (false, true);
        self.places.step(log, &mut self.cleaner, host, wait)
    }

    /// Begins to clean the least worn segment if the spread of wear is beyond its bound; in a shortage at most once in
    /// [`WEAR_EVERY`] erases. Tells whether it does.
    ///
    /// Such a victim yields nothing, and takes at most two outputs of the segments that fresh records leave free. With several
    /// streams the third is left for an erase intent, so the log can go on wherever a cut ends the cleaning.
    fn begin_by_wear(&mut self, log: &mut Log<'_>) -> bool {
        let passed = log.counters.erases - self.wear_seen;
        let is_off = log.layout.config().wear_spread_max == u32::MAX || self.is_closing;
        if is_off || passed < if self.is_short { WEAR_EVERY } else { 1 } || log.free() < log.free_reserve() {
            return false;
        }
        self.wear_seen = log.counters.erases;
        let choice = choose_by_wear(log.segments.as_slice(), log.layout.config().wear_spread_max);
        let Some(choice) = choice.filter(|c| log.fits_output(log.segments.get(c.segment))) else {
            return false;
        };
        (self.is_for_task, self.is_needed) = (false, true);
        log.counters.wear_victims += 1;
        self.cleaner.begin(log, choice);
        true
    }

    fn note_cleaned(&mut self, cleaned: &Cleaned) {
        if self.is_for_task
            && let Some(task) = self.task_mut()
        {
            task.note_cleaned(cleaned);
            self.is_for_task = false;
        }
    }

    fn poll_task<H: Host>(
        &mut self,
        now: Now,
        log: &mut Log<'_>,
        host: &mut H,
        restore: &mut Restore,
    ) -> Poll {
        let Some(state) = self.state.as_deref_mut() else { return Poll::Idle };
        let Some(mut task) = state.task.take() else { return state.start(now, log) };
        let step = match task.state {
            State::Compacting { below } => compact::step(log, &mut self.cleaner, &mut task, below),
            State::Rebuilding => state.rebuild.step(log, &self.cleaner, restore, host, &mut task),
            State::Expiring => state.expire.step(log, host, &mut task),
            State::Sampling => state.sampling.step(log, host, &mut task),
            State::Reclaiming => self.step_reclaiming(log, &mut task),
            State::Asking { ticket } => self.await_pools(&mut task, ticket),
        };
        let poll = match step {
            Step::Stay(poll) => poll,
            Step::Clean(choice) => {
                (self.is_for_task, self.is_needed) = (true, false);
                self.cleaner.begin(log, choice);
                Poll::Again
            }
            Step::Reclaim => {
                task.state = State::Reclaiming;
                Poll::Again
            }
            Step::Ask(kind) => return self.ask(now, task, log, kind),
            Step::End => {
                self.finish(now, log, &task);
                return Poll::Again;
            }
        };
        self.keep(task);
        poll
    }

    fn step_reclaiming(&mut self, log: &Log<'_>, task: &mut Task) -> Step {
        if !self.cleaner.is_idle() && self.is_for_task {
            return Step::Stay(Poll::Idle);
        }
        if task.is_cancelled {
            return Step::End;
        }
        // Waits for the segments that are being reclaimed now, not for those that a shortage adds meanwhile.
        let (freed, failures) = (log.counters.freed_segments, log.counters.failures);
        let goal = *task.goal.get_or_insert(Goal {
            freed_segments: freed.wrapping_add(log.segments.leaving()),
            failures: failures + FAILURES_MAX,
        });
        let is_on_the_way =
            goal.freed_segments.wrapping_sub(freed).cast_signed() > 0 && log.segments.leaving() > 0;
        // No segment is freed any more where only a new mount helps, or where all sequences were issued.
        let is_hopeless = failures >= goal.failures || log.segments.has_lost_records() || log.is_at_end();
        task.has_failed |= is_on_the_way && is_hopeless;
        let is_waiting = is_on_the_way && !is_hopeless;
        let freed_any = task.report.victims.first.is_some();
        if is_waiting && freed_any && !self.is_closing {
            return Step::Stay(Poll::Idle);
        }
        let may_go_on = task.report.task == CompactionTask::CompactData && !is_on_the_way && !self.is_closing;
        if may_go_on && let Some(below) = compact::more(log, task) {
            task.state = State::Compacting { below };
            return Step::Stay(Poll::Again);
        }
        match task.report.task {
            CompactionTask::CompactData => Step::Ask(CleanupKind::TriggerDefragmentation),
            CompactionTask::CleanupExpired => Step::Ask(CleanupKind::EmergencyCleanup),
            CompactionTask::RebuildIndex | CompactionTask::OptimizeCompression => Step::End,
        }
    }

    pub(crate) fn finish(&mut self, now: Now, log: &Log<'_>, task: &Task) {
        if let Some(state) = &mut self.state {
            state.finish(now, log, task);
        }
    }

    /// The task goes on.
    pub(super) fn keep(&mut self, task: Task) {
        if let Some(state) = &mut self.state {
            state.task = Some(task);
        }
    }
}

impl Tasks<'_> {
    /// Takes a step of the work that the tier needs, else of the task. Bounds: one step of one engine, and a few passes over
    /// the table.
    pub(crate) fn poll<H: Host>(
        &mut self,
        now: Now,
        log: &mut Log<'_>,
        host: &mut H,
        restore: &mut Restore,
    ) -> Poll {
        self.take_timeouts(now, log);
        if let Some(cleaned) = self.cleaner.take_finished() {
            self.note_cleaned(&cleaned);
        }
        if log.is_backing_off(now) || self.is_restoring {
            log.part_no_more();
        }
        match self.poll_needed(now, log, host, restore) {
            Poll::Idle => {}
            step => {
                self.pausing.note(Effort::Needed);
                return step;
            }
        }
        if self.undo.is_active() {
            return Poll::Idle;
        }
        let is_held = self.is_held(log);
        if !self.cleaner.is_idle() {
            if is_held && !self.is_needed && !self.is_cancelled() {
                self.pausing.note(Effort::Held);
            } else {
                match self.poll_cleaner(now, log, host) {
                    Poll::Idle => {}
                    step => return step,
                }
            }
        }
        if log.must_give_up() && !log.is_backing_off(now) && self.begin_restore(log, restore, |_| true) {
            self.pausing.note(Effort::Needed);
            return Poll::Again;
        }
        let step = self.state.as_mut().map_or(Poll::Idle, |state| state.evict.poll(now, log, host));
        if step != Poll::Idle {
            self.pausing.note(Effort::Needed);
            return step;
        }
        if is_held && self.is_task_at_work() {
            self.pausing.note(Effort::Held);
            return Poll::Idle;
        }
        let step = self.poll_task(now, log, host, restore);
        if step != Poll::Idle {
            self.pausing.note_background();
        }
        if step != Poll::Idle || self.is_closing || !self.is_idle() || log.is_backing_off(now) {
            return step;
        }
        let Some(state) = &mut self.state else { return step };
        if is_held {
            if state.tidy.due_ms(log).is_some_and(|at| at <= now.monotonic_ms) {
                self.pausing.note(Effort::Held);
            }
            return Poll::Idle;
        }
        let step = state.tidy.poll(now, log, host);
        if step != Poll::Idle {
            self.pausing.note_background();
        }
        if let Some(choice) = state.tidy.take_choice() {
            self.is_needed = false;
            self.cleaner.begin(log, choice);
        }
        step
    }

    /// Takes a step of the work that the tier needs; where it begins a victim, the cleaner goes on.
    fn poll_needed<H: Host>(
        &mut self,
        now: Now,
        log: &mut Log<'_>,
        host: &mut H,
        restore: &mut Restore,
    ) -> Poll {
        if self.is_restoring {
            match self.poll_restore(now, log, host, restore) {
                Poll::Idle => {}
                step => return step,
            }
        }
        if self.undo.is_active() {
            return self.undo.poll(now, log, host, restore);
        }
        if !log.is_backing_off(now) {
            if self.undo.is_hoping(log) && self.cleaner.abandon(log) && self.undo.begin(log, restore) {
                return Poll::Again;
            }
            let is_sealed = |s: &Segment| s.state() == SegmentState::Sealed;
            if log.is_kept_for_intents()
                && !log.segments.has_dead()
                && self.begin_restore(log, restore, is_sealed)
            {
                return Poll::Again;
            }
        }
        if self.cleaner.is_idle() && !log.is_backing_off(now) {
            let was_restoring = self.is_restoring;
            self.begin_needed(log, restore);
            if self.is_restoring && !was_restoring {
                return Poll::Again;
            }
            if self.cleaner.is_idle() {
                return self.poll_places(log, host);
            }
        }
        Poll::Idle
    }

    /// Takes a step of the victim in hand, as the pace allows.
    fn poll_cleaner<H: Host>(&mut self, now: Now, log: &mut Log<'_>, host: &mut H) -> Poll {
        let debt = if self.is_closing { 1000 } else { debt_permille(log) };
        if !self.pace.admits(now.monotonic_ms, debt) {
            return Poll::Idle;
        }
        let before = log.counters.relocated_bytes;
        let step = self.cleaner.poll(now, log, host);
        self.pace.spend(log.counters.relocated_bytes - before);
        if step != Poll::Idle {
            let is_needed = self.is_needed || self.is_short || self.is_closing;
            if is_needed {
                self.pausing.note(Effort::Needed);
            } else {
                self.pausing.note_background();
            }
        }
        step
    }
}
