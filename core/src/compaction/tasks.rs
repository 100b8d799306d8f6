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

use heapless::Deque;

use super::cleaner::{Cleaned, Cleaner, Cleaning};
use super::compact;
use super::effort::{Effort, Pausing};
use super::evict::Evict;
use super::expire::Expire;
use super::kinds::{CompactionTask, REPORTS_KEPT, TASK_QUEUE_CAPACITY, TasksFull};
use super::pace::Pace;
use super::places::Places;
use super::rebuild::Rebuild;
use super::report::{Report, RunningTask};
use super::sample::Sampling;
use super::task::{Goal, State, Step, Task};
use super::tidy::Tidy;
use crate::cleanup::{CleanupKind, Outstanding};
use crate::drive::{Now, Poll, TaskId};
use crate::index::Host;
use crate::recovery::{Outcome, Restore, RestoreStep};
use crate::segments::{Policy, Segment, SegmentState, choose, choose_by_wear};
use crate::writer::{Engine, Log};

/// After this many failures, while it waits for its victims to be free, a task ends. The victims are freed without it.
const FAILURES_MAX: u64 = 3;

/// While free segments are short, erases from one victim for the spread of wear to the next: clients wait for the space of the
/// other victims.
const WEAR_EVERY: u64 = 8;

/// The engine that runs tasks and meets shortages.
#[derive(Debug)]
pub(crate) struct Tasks {
    queue: Deque<(TaskId, CompactionTask), TASK_QUEUE_CAPACITY>,
    /// The id of the task that is queued next.
    next_id: TaskId,
    pub(super) task: Option<Task>,
    reports: Deque<Report, REPORTS_KEPT>,
    pub(super) outstanding: Outstanding<2>,
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
    rebuild: Rebuild,
    restore: Restore,
    /// Whether a second look is under way that a shortage began, not a task.
    is_restoring: bool,
    /// Erases when a second look ended because the index had no place. Only an erase makes a place, so no look begins before
    /// the next one.
    lacked_places: Option<u64>,
    /// Whether the next `RebuildIndex` gives up segments that can't be read.
    gives_up: bool,
    sampling: Sampling,
    expire: Expire,
    places: Places,
    evict: Evict,
    is_closing: bool,
    cleaner: Cleaner,
    tidy: Tidy,
}

impl Tasks {
    pub(crate) fn new(log: &Log<'_>) -> Self {
        Self {
            queue: Deque::new(),
            next_id: TaskId::FIRST,
            task: None,
            reports: Deque::new(),
            outstanding: Outstanding::new(),
            pace: Pace::new(log.layout.config().pace),
            wear_seen: 0,
            is_short: false,
            is_for_task: false,
            is_needed: false,
            pausing: Pausing::default(),
            rebuild: Rebuild::default(),
            restore: Restore::default(),
            is_restoring: false,
            lacked_places: None,
            gives_up: false,
            sampling: Sampling::default(),
            expire: Expire::default(),
            places: Places::default(),
            evict: Evict::default(),
            is_closing: false,
            cleaner: Cleaner::default(),
            tidy: Tidy::default(),
        }
    }

    /// Forgets all tasks, but not the last id issued: an adapter may still know some.
    pub(crate) fn restart(&mut self, log: &Log<'_>) {
        *self = Self { next_id: self.next_id, ..Self::new(log) };
    }

    pub(crate) fn schedule(&mut self, task: CompactionTask) -> Result<TaskId, TasksFull> {
        if self.is_closing {
            return Err(TasksFull(task));
        }
        let id = self.next_id;
        self.queue.push_back((id, task)).map_err(|(_, task)| TasksFull(task))?;
        self.next_id = id.next();
        Ok(id)
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
        self.queue.iter().any(|(queued, _)| *queued == id)
            || self.task.as_ref().is_some_and(|task| task.report.id == id)
    }

    pub(crate) fn has_report(&self, id: TaskId) -> bool {
        self.reports.iter().any(|report| report.id == id)
    }

    pub(crate) fn cancel(&mut self) {
        if let Some(task) = &mut self.task {
            task.is_cancelled = true;
            if self.is_for_task {
                self.cleaner.cancel();
            }
        }
    }

    pub(crate) fn close(&mut self) {
        self.is_closing = true;
        self.queue.clear();
        self.cancel();
        self.cleaner.cancel();
        self.evict.stop();
    }

    /// Tells whether no task waits or runs, and no victim is being cleaned.
    pub(crate) fn is_idle(&self) -> bool {
        self.task.is_none() && self.queue.is_empty() && !self.is_restoring && self.cleaner.is_idle()
    }

    /// Tells whether no segment can be freed any more, and no eviction is under way that may change that.
    pub(crate) fn is_stuck(&self, log: &Log<'_>) -> bool {
        !self.evict.is_active() && self.cleaner.is_stuck(log)
    }

    /// Wants about this many bytes of records to be evicted.
    pub(crate) fn evict(&mut self, bytes: u64) {
        self.evict.want(bytes);
    }

    /// Wants all due records to be dropped.
    pub(crate) fn expire(&mut self) {
        self.evict.want_expired();
    }

    /// Tells whether an eviction is under way.
    pub(crate) fn is_evicting(&self) -> bool {
        self.evict.is_active()
    }

    /// The next `RebuildIndex` gives up segments that can't be read.
    pub(crate) const fn give_up_unread(&mut self) {
        self.gives_up = true;
    }

    pub(crate) fn take_report(&mut self) -> Option<Report> {
        self.reports.pop_front()
    }

    pub(crate) fn progress(&self) -> Option<RunningTask> {
        self.task.as_ref().map(|t| RunningTask { id: t.report.id, task: t.report.task, progress: t.progress })
    }

    pub(crate) fn next_deadline_ms(&self) -> Option<u64> {
        self.outstanding.next_deadline_ms()
    }

    /// How far free segments are below the high watermark, in permille; 1,000 when fresh records have to wait.
    pub(crate) fn debt_permille(log: &Log<'_>) -> u16 {
        let free = log.free() + log.blocks.to_come();
        let high = log.layout.config().high_watermark_segments.max(1);
        match free.checked_sub(log.free_reserve() + 1) {
            None => 1000,
            Some(above) => {
                let permille = high.saturating_sub(above).saturating_mul(999) / high;
                u16::try_from(permille).unwrap_or(999)
            }
        }
    }

    /// When a paced step may be taken, in milliseconds from now.
    pub(crate) fn pace_wait_ms(&self, log: &Log<'_>) -> Option<u64> {
        if self.cleaner.is_idle() || self.pausing.is_holding() {
            return None;
        }
        Some(self.pace.wait_ms(Self::debt_permille(log))).filter(|ms| *ms > 0)
    }

    /// When there may be something to tidy, in milliseconds of the monotonic clock; `None` while there is other work.
    pub(crate) fn tidy_due_ms(&self, log: &Log<'_>) -> Option<u64> {
        self.tidy.due_ms(log).filter(|_| self.is_idle() && !self.pausing.is_holding())
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
        self.task.as_ref().is_some_and(|task| {
            !task.is_cancelled && !matches!(task.state, State::Reclaiming | State::Asking { .. })
        })
    }

    /// Tells whether the victim in hand belongs to a task that was cancelled.
    fn is_cancelled(&self) -> bool {
        self.is_for_task && self.task.as_ref().is_some_and(|task| task.is_cancelled)
    }

    /// Cleans segments under suspicion, then, in a shortage, the best victim.
    fn begin_needed(&mut self, log: &mut Log<'_>) {
        // No segment can be opened to relocate to, and a freed one would be of no use.
        if log.is_at_end() {
            self.is_short = false;
            return;
        }
        log.settle_streams();
        let was_short = self.is_short;
        let coming = Self::coming(log);
        self.is_short = self.lacks_segments(log, coming);
        log.counters.shortages += u64::from(self.is_short && !was_short);
        let suspects = log.segments.has_suspects();
        if !suspects && (self.begin_by_wear(log) || !self.is_short) {
            return;
        }
        // With one segment left for an output, only the quickest gain counts.
        let policy = if coming <= 1 { Policy::Greedy } else { log.policy() };
        let is_short = self.is_short;
        let choice = choose(&log.terms(policy), log.segments.as_slice(), |_, s| is_short || s.is_suspect());
        match choice {
            Some(choice) => {
                (self.is_for_task, self.is_needed) = (false, true);
                self.cleaner.begin(log, choice);
            }
            // A segment with unread records, or in quarantine, is read again, and counts as torn by a cut if it still can't be
            // read. The log could not go on otherwise (rule 12).
            None if !suspects && self.begin_restore(log, |s| s.state() == SegmentState::Sealed) => {}
            None if self.begin_restore(log, |s| s.state() == SegmentState::Quarantined) => {}
            // The next poll merges the streams.
            None if log.merge_for_space() => log.stir(true),
            None => self.is_short = false,
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
        let Some(choice) = choice else { return false };
        (self.is_for_task, self.is_needed) = (false, true);
        log.counters.wear_victims += 1;
        self.cleaner.begin(log, choice);
        true
    }

    /// For want of space, begins a second look at a segment that could not be read, or is in quarantine. It does so only on
    /// flash, where a cut leaves units that are never read back: bytes that still can't be read are taken for such units.
    fn begin_restore(&mut self, log: &mut Log<'_>, is_meant: impl Fn(&Segment) -> bool) -> bool {
        if !log.may_restore() || self.is_closing || log.scan.is_leased() || !self.restore.is_idle() {
            return false;
        }
        if self.lacked_places == Some(log.counters.erases) {
            return false;
        }
        // A cut can also leave a half-erased segment that can be read and states nothing of its contents.
        let is_kept = |s: &Segment| match s.state() {
            SegmentState::Quarantined => true,
            SegmentState::Sealed => s.is_unread(),
            _ => false,
        };
        let segment =
            log.segments.numbered().find(|(_, s)| is_kept(s) && is_meant(s)).map(|(index, _)| index);
        let Some(segment) = segment else { return false };
        self.restore.begin(log, segment, true);
        self.is_restoring = true;
        true
    }

    fn poll_restore<H: Host>(&mut self, now: Now, log: &mut Log<'_>, host: &mut H) -> Poll {
        match self.restore.poll(log, host) {
            RestoreStep::Stay(poll) => return poll,
            RestoreStep::Done(Outcome::Kept) => log.back_off(now),
            RestoreStep::Done(Outcome::NoPlace) => self.lacked_places = Some(log.counters.erases),
            RestoreStep::Done(Outcome::Known | Outcome::Freeing) => {}
        }
        self.is_restoring = false;
        Poll::Again
    }

    fn note_cleaned(&mut self, cleaned: &Cleaned) {
        if let Some(task) = self.task.as_mut().filter(|_| self.is_for_task) {
            self.is_for_task = false;
            task.note_cleaned(cleaned);
        }
    }

    fn poll_task<H: Host>(&mut self, now: Now, log: &mut Log<'_>, host: &mut H) -> Poll {
        let Some(mut task) = self.task.take() else { return self.start(now, log) };
        let step = match task.state {
            State::Compacting { below } => compact::step(log, &mut self.cleaner, &mut task, below),
            State::Rebuilding => self.rebuild.step(log, &self.cleaner, &mut self.restore, host, &mut task),
            State::Expiring => self.expire.step(log, host, &mut task),
            State::Sampling => self.sampling.step(log, host, &mut task),
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
                self.finish(now, log, task);
                return Poll::Again;
            }
        };
        self.task = Some(task);
        poll
    }

    fn start(&mut self, now: Now, log: &Log<'_>) -> Poll {
        let Some((id, kind)) = self.queue.pop_front() else { return Poll::Idle };
        let (state, total) = match kind {
            CompactionTask::CompactData => {
                let below = log.sequence_next();
                // The last unit of the progress is done when the victims are free.
                (State::Compacting { below }, compact::left_bytes(log, below) + 1)
            }
            CompactionTask::RebuildIndex => {
                self.rebuild = Rebuild::new(core::mem::take(&mut self.gives_up));
                (State::Rebuilding, log.segments.tally().used_bytes + 1)
            }
            CompactionTask::CleanupExpired => {
                self.expire = Expire::default();
                (State::Expiring, 1)
            }
            CompactionTask::OptimizeCompression => {
                self.sampling = Sampling::default();
                (State::Sampling, u64::from(log.layout.config().samples) + 1)
            }
        };
        self.task = Some(Task::new(Report::new(id, kind), state, total, now.monotonic_ms, log));
        Poll::Again
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

    pub(crate) fn finish(&mut self, now: Now, log: &Log<'_>, task: Task) {
        if self.reports.is_full() {
            self.reports.pop_front();
        }
        let _ = self.reports.push_back(task.finish(now.monotonic_ms, log));
    }
}

impl Engine for Tasks {
    /// Takes a step of the work that the tier needs, else of the task. Bounds: one step of one engine, and a few passes over
    /// the table.
    fn poll<H: Host>(&mut self, now: Now, log: &mut Log<'_>, host: &mut H) -> Poll {
        self.take_timeouts(now, log);
        if let Some(cleaned) = self.cleaner.take_finished() {
            self.note_cleaned(&cleaned);
        }
        match self.poll_needed(now, log, host) {
            Poll::Idle => {}
            step => {
                self.pausing.note(Effort::Needed);
                return step;
            }
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
        if log.must_give_up() && !log.is_backing_off(now) && self.begin_restore(log, |_| true) {
            self.pausing.note(Effort::Needed);
            return Poll::Again;
        }
        let step = self.evict.poll(now, log, host);
        if step != Poll::Idle {
            self.pausing.note(Effort::Needed);
            return step;
        }
        if is_held && self.is_task_at_work() {
            self.pausing.note(Effort::Held);
            return Poll::Idle;
        }
        let step = self.poll_task(now, log, host);
        if step != Poll::Idle {
            self.pausing.note_background();
        }
        if step != Poll::Idle || self.is_closing || !self.is_idle() || log.is_backing_off(now) {
            return step;
        }
        if is_held {
            if self.tidy.due_ms(log).is_some_and(|at| at <= now.monotonic_ms) {
                self.pausing.note(Effort::Held);
            }
            return Poll::Idle;
        }
        let step = self.tidy.poll(now, log, host);
        if step != Poll::Idle {
            self.pausing.note_background();
        }
        if let Some(choice) = self.tidy.take_choice() {
            self.is_needed = false;
            self.cleaner.begin(log, choice);
        }
        step
    }
}

impl Tasks {
    /// Takes a step of the work that the tier needs; where it begins a victim, the cleaner goes on.
    fn poll_needed<H: Host>(&mut self, now: Now, log: &mut Log<'_>, host: &mut H) -> Poll {
        if self.is_restoring {
            match self.poll_restore(now, log, host) {
                Poll::Idle => {}
                step => return step,
            }
        }
        if !log.is_backing_off(now) {
            let is_sealed = |s: &Segment| s.state() == SegmentState::Sealed;
            if log.free() <= 1 && !log.segments.has_dead() && self.begin_restore(log, is_sealed) {
                return Poll::Again;
            }
        }
        if self.cleaner.is_idle() && !log.is_backing_off(now) {
            let was_restoring = self.is_restoring;
            self.begin_needed(log);
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
        let debt = if self.is_closing { 1000 } else { Self::debt_permille(log) };
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
