//! The compaction machine: which victim is cleaned when, and the four tasks.
//!
//! ```text
//!            ┌─1─► Compacting ──5─┐
//!  (queue) ──┼─2─► Rebuilding ──5─┼─► Retiring ─6─► Asking ─7─► report
//!            ├─3─► Expiring ──────┘ (6)               ▲
//!            └─4─► Sampling ──────────────────────────┘ 6
//! ```
//! 1–4 `start`; 5 `step_*` nothing is left to clean, or the task was cancelled; 6 `step_retiring` every victim is free, the
//! pools are asked; 7 `finish` the pools answered, did not in time, or were not asked. Beside the task, and before it, goes
//! what the tier needs: segments under suspicion are cleaned first, then a shortage of free segments is met.

use heapless::{Deque, Vec};

use super::config::{FREE_RESERVE, Stream};
use super::evict::Evict;
use super::log::Log;
use super::mover::{Cleaned, Mover};
use super::rebuild::{self, Rebuild};
use super::sample::{self, Sampling};
use super::{Action, Dropped, Due, Host, Now, Poll, Standing, TasksFull};
use crate::cleanup::{CleanupError, CleanupKind, CleanupReply, Outstanding, Ticket};
use crate::compaction::{CompactionTask, Outcome, Pace, PoolOutcome, Progress, Report, TASK_QUEUE_CAPACITY};
use crate::log::{Choice, Identity, Policy, Segment, SegmentState, choose};

#[derive(Debug, Clone, Copy)]
enum State {
    /// Cleans the segments that were sealed when the task began.
    Compacting {
        below: u32,
    },
    Rebuilding,
    Expiring,
    Sampling,
    /// Waits until every victim is free.
    Retiring,
    /// Waits for the pools.
    Asking,
}

#[derive(Debug)]
struct Task {
    state: State,
    report: Report,
    started_ms: u64,
    progress: Progress,
    freed_before: u32,
    reclaimed_before: u64,
    /// The count of freed segments at which the task's victims are free.
    freed_goal: Option<u32>,
    is_cancelled: bool,
}

impl Task {
    fn count_checked(&mut self) {
        self.report.checked_records += 1;
        self.progress.done += 1;
        self.progress.total = self.progress.done + 1;
    }
}

/// The engine that runs tasks and meets shortages.
#[derive(Debug)]
pub(super) struct Tasks {
    queue: Deque<CompactionTask, TASK_QUEUE_CAPACITY>,
    task: Option<Task>,
    reports: Deque<Report, TASK_QUEUE_CAPACITY>,
    outstanding: Outstanding<2>,
    pace: Pace,
    /// Whether a shortage is being met.
    is_short: bool,
    /// Whether the victim in hand belongs to the task.
    is_for_task: bool,
    rebuild: Rebuild,
    sampling: Sampling,
    /// An idle record whose tombstone waits for room.
    due: Option<Due>,
    pub(super) evict: Evict,
    pub(super) is_closing: bool,
}

/// After so many victims that could not be emptied a task gives up.
const SKIPPED_MAX: u32 = 16;
/// Entries that one poll of an expiry task looks at.
const DUE_PER_POLL: u32 = 256;

impl Tasks {
    pub(super) fn new(log: &Log<'_>) -> Self {
        Self {
            queue: Deque::new(),
            task: None,
            reports: Deque::new(),
            outstanding: Outstanding::new(),
            pace: Pace::new(log.config.pace),
            is_short: false,
            is_for_task: false,
            rebuild: Rebuild::default(),
            sampling: Sampling::default(),
            due: None,
            evict: Evict::default(),
            is_closing: false,
        }
    }

    pub(super) fn schedule(&mut self, task: CompactionTask) -> Result<(), TasksFull> {
        if self.is_closing {
            return Err(TasksFull(task));
        }
        self.queue.push_back(task).map_err(TasksFull)
    }

    pub(super) fn cancel(&mut self, mover: &mut Mover) {
        if let Some(task) = &mut self.task {
            task.is_cancelled = true;
            if self.is_for_task {
                mover.cancel();
            }
        }
    }

    pub(super) fn close(&mut self, mover: &mut Mover) {
        self.is_closing = true;
        self.queue.clear();
        self.cancel(mover);
        self.evict = Evict::default();
    }

    pub(super) fn is_idle(&self) -> bool {
        self.task.is_none() && self.queue.is_empty()
    }

    pub(super) fn take_report(&mut self) -> Option<Report> {
        self.reports.pop_front()
    }

    pub(super) fn progress(&self) -> Option<(CompactionTask, Progress)> {
        self.task.as_ref().map(|t| (t.report.task, t.progress))
    }

    pub(super) fn next_deadline_ms(&self) -> Option<u64> {
        self.outstanding.next_deadline_ms()
    }

    /// How far free segments are below the high watermark, in permille; 1,000 when fresh records have to wait.
    pub(super) fn debt_permille(log: &Log<'_>) -> u16 {
        let free = log.free();
        let high = log.config.high_watermark_segments.max(1);
        match free.checked_sub(FREE_RESERVE + 1) {
            None => 1000,
            Some(above) => {
                let permille = high.saturating_sub(above).saturating_mul(999) / high;
                u16::try_from(permille).unwrap_or(999)
            }
        }
    }

    /// Takes a step of what the tier needs, else of the task. Bounds: one step of one engine.
    pub(super) fn poll<H: Host>(
        &mut self,
        now: Now,
        log: &mut Log<'_>,
        mover: &mut Mover,
        host: &mut H,
    ) -> Poll {
        self.take_timeouts(now);
        if let Some(cleaned) = mover.take_finished() {
            self.note_cleaned(&cleaned);
        }
        if mover.is_idle() && !log.is_backing_off(now) {
            self.begin_needed(log, mover);
        }
        if !mover.is_idle() {
            let debt = if self.is_closing { 1000 } else { Self::debt_permille(log) };
            if self.pace.admits(now.monotonic_ms, debt) {
                let before = log.counters.moved_bytes;
                let step = mover.poll(now, log, host);
                self.pace.spend(log.counters.moved_bytes - before);
                if step != Poll::Idle {
                    return step;
                }
            }
        }
        let step = self.evict.poll(log, host);
        if step != Poll::Idle {
            return step;
        }
        self.poll_task(now, log, mover, host)
    }

    /// When a paced step may be taken, in milliseconds from now.
    pub(super) fn pace_wait_ms(&self, log: &Log<'_>, mover: &Mover) -> Option<u64> {
        if mover.is_idle() {
            return None;
        }
        Some(self.pace.wait_ms(Self::debt_permille(log))).filter(|ms| *ms > 0)
    }

    /// Cleans what is under suspicion, then meets a shortage.
    fn begin_needed(&mut self, log: &mut Log<'_>, mover: &mut Mover) {
        let free = log.free();
        let coming = free
            + log.count(SegmentState::Emptied)
            + log.count(SegmentState::Freeing)
            + log.count(SegmentState::Erased);
        let (low, high) = (log.config.low_watermark_segments, log.config.high_watermark_segments);
        let was_short = self.is_short;
        self.is_short = !self.is_closing && coming < FREE_RESERVE + if was_short { high } else { low };
        log.counters.shortages += u64::from(self.is_short && !was_short);
        let suspects = log.has_suspects();
        if !self.is_short && !suspects {
            return;
        }
        // Down to the last segment that an output may need, only the quickest gain counts.
        let policy = if coming <= 1 { Policy::Greedy } else { log.policy() };
        let is_short = self.is_short;
        let choice =
            choose(&log.geometry, log.segments, policy, log.appended_bytes, |_, s| is_short || s.is_suspect);
        match choice {
            Some(choice) => {
                self.is_for_task = false;
                mover.begin(log, choice);
            }
            None => self.is_short = false,
        }
    }

    fn note_cleaned(&mut self, cleaned: &Cleaned) {
        let Some(task) = self.task.as_mut().filter(|_| self.is_for_task) else { return };
        self.is_for_task = false;
        let report = &mut task.report;
        if report.victims.first.is_none() {
            report.victims.first = Some(cleaned.choice);
        }
        report.victims.last = Some(cleaned.choice);
        report.victims.skipped += u32::from(!cleaned.is_emptied);
        report.moved_records += cleaned.moved_records;
        report.moved_bytes += cleaned.moved_bytes;
        report.expired_records += cleaned.expired_records;
        report.damaged_records += cleaned.damaged_records;
    }

    fn poll_task<H: Host>(&mut self, now: Now, log: &mut Log<'_>, mover: &mut Mover, host: &mut H) -> Poll {
        let Some(mut task) = self.task.take() else { return self.start(now, log) };
        let step = match task.state {
            State::Compacting { below } => self.step_compacting(log, mover, &mut task, below),
            State::Rebuilding => self.step_rebuilding(log, mover, host, &mut task),
            State::Expiring => self.step_expiring(log, host, &mut task),
            State::Sampling => self.step_sampling(log, host, &mut task),
            State::Retiring => self.step_retiring(log, mover, &mut task),
            State::Asking => Step::Stay(Poll::Idle),
        };
        match step {
            Step::Stay(poll) => {
                self.task = Some(task);
                poll
            }
            Step::To(state) => {
                task.state = state;
                self.task = Some(task);
                Poll::Again
            }
            Step::Ask(kind) => self.ask(now, task, log, kind),
            Step::End => {
                self.finish(now, log, task);
                Poll::Again
            }
        }
    }

    fn start(&mut self, now: Now, log: &Log<'_>) -> Poll {
        let Some(kind) = self.queue.pop_front() else { return Poll::Idle };
        let mut progress = Progress { done: 0, total: 1 };
        let state = match kind {
            CompactionTask::CompactData => {
                let below = log.sequence_next;
                progress.total = Self::left_bytes(log, below).max(1);
                State::Compacting { below }
            }
            CompactionTask::RebuildIndex => {
                progress.total = log.tally().used_bytes.max(1);
                self.rebuild = Rebuild::default();
                State::Rebuilding
            }
            CompactionTask::CleanupExpired => {
                self.due = None;
                State::Expiring
            }
            CompactionTask::OptimizeCompression => {
                progress.total = u64::from(log.config.samples.max(1));
                self.sampling = Sampling::default();
                State::Sampling
            }
        };
        self.task = Some(Task {
            state,
            report: Report::new(kind),
            started_ms: now.monotonic_ms,
            progress,
            freed_before: log.counters.freed_segments,
            reclaimed_before: log.counters.bytes_reclaimed,
            freed_goal: None,
            is_cancelled: false,
        });
        Poll::Again
    }

    fn is_worth_it(log: &Log<'_>, segment: &Segment, below: u32) -> bool {
        let usable = u64::from(log.geometry.usable_bytes());
        let gain = u64::from(segment.yield_bytes(&log.geometry));
        segment.sequence < below && gain * 1000 >= usable * u64::from(log.config.stale_permille_min)
    }

    fn left_bytes(log: &Log<'_>, below: u32) -> u64 {
        let left = |s: &&Segment| {
            s.state == SegmentState::Sealed && !s.is_damaged && Self::is_worth_it(log, s, below)
        };
        log.segments.iter().filter(left).map(|s| u64::from(s.used_bytes)).sum()
    }

    fn step_compacting(&mut self, log: &mut Log<'_>, mover: &mut Mover, task: &mut Task, below: u32) -> Step {
        if !mover.is_idle() {
            return Step::Stay(Poll::Idle);
        }
        let left = Self::left_bytes(log, below);
        task.progress.total = task.progress.total.max(left + 1);
        task.progress.done = task.progress.done.max(task.progress.total.saturating_sub(left + 1));
        if task.is_cancelled {
            return Step::To(State::Retiring);
        }
        // A victim that could not be emptied is not tried again by the same task.
        let skipped = task.report.victims.last.filter(|_| task.report.victims.skipped > 0).map(|c| c.segment);
        let choice = choose(&log.geometry, log.segments, log.policy(), log.appended_bytes, |i, s| {
            Some(i) != skipped && Self::is_worth_it(log, s, below)
        });
        match choice {
            Some(choice) if log.free() > 0 && task.report.victims.skipped < SKIPPED_MAX => {
                self.is_for_task = true;
                mover.begin(log, choice);
                Step::Stay(Poll::Again)
            }
            _ => Step::To(State::Retiring),
        }
    }

    fn step_rebuilding<H: Host>(
        &mut self,
        log: &mut Log<'_>,
        mover: &mut Mover,
        host: &mut H,
        task: &mut Task,
    ) -> Step {
        if task.is_cancelled && self.rebuild.is_between_segments() {
            return Step::To(State::Retiring);
        }
        match self.rebuild.poll(log, mover, host, &mut task.report, &mut task.progress) {
            rebuild::Step::Poll(poll) => Step::Stay(poll),
            rebuild::Step::Relocate(choice) => {
                self.is_for_task = true;
                mover.begin(log, choice);
                Step::Stay(Poll::Again)
            }
            rebuild::Step::Done => Step::To(State::Retiring),
        }
    }

    fn step_sampling<H: Host>(&mut self, log: &mut Log<'_>, host: &mut H, task: &mut Task) -> Step {
        if task.is_cancelled && self.sampling.is_between_segments() {
            return Step::End;
        }
        match self.sampling.poll(log, host, &mut task.report, &mut task.progress) {
            sample::Step::Poll(poll) => Step::Stay(poll),
            sample::Step::Done if host.advises_cleanup() => Step::Ask(CleanupKind::EmergencyCleanup),
            sample::Step::Done => Step::End,
        }
    }

    fn step_expiring<H: Host>(&mut self, log: &mut Log<'_>, host: &mut H, task: &mut Task) -> Step {
        for _ in 0..DUE_PER_POLL {
            if task.is_cancelled {
                return Step::To(State::Retiring);
            }
            let Some(due) = self.due.take().or_else(|| host.due(log.clock_s)) else {
                log.flush();
                return Step::To(State::Retiring);
            };
            if let Some(version) = due.idle_version
                && log.geometry.identity() == Identity::KeyedHash
            {
                if host.standing(&due.hash, due.location) == Standing::Live {
                    let stone = super::tombstone(due.hash, &due.hash.0, Some(version), Some(due.location));
                    if log.append_relocated(Stream::Old, &stone).is_err() {
                        self.due = Some(due);
                        log.flush();
                        return Step::Stay(Poll::Idle);
                    }
                    task.report.expired_records += 1;
                }
                task.count_checked();
                continue;
            }
            task.count_checked();
            match host.drop_current(&due.hash, due.location) {
                Dropped::Now => {
                    task.report.expired_records += 1;
                    log.release(&super::Released { location: due.location, record_bytes: due.record_bytes });
                }
                // With other copies on the medium it stands in for its own tombstone until they are gone.
                Dropped::NeedsTombstone => task.report.expired_records += 1,
                Dropped::NotCurrent => {}
            }
        }
        Step::Stay(Poll::Again)
    }

    fn step_retiring(&mut self, log: &Log<'_>, mover: &Mover, task: &mut Task) -> Step {
        if !mover.is_idle() && self.is_for_task {
            return Step::Stay(Poll::Idle);
        }
        if task.is_cancelled {
            return Step::End;
        }
        // What is on its way now is waited for; what a shortage adds meanwhile is not.
        let freed = log.counters.freed_segments;
        let goal = *task.freed_goal.get_or_insert(freed.wrapping_add(log.leaving()));
        let is_waiting = goal.wrapping_sub(freed).cast_signed() > 0 && log.leaving() > 0;
        let freed_any = task.report.moved_records > 0 || task.report.victims.first.is_some();
        if is_waiting && freed_any && !self.is_closing {
            return Step::Stay(Poll::Idle);
        }
        match task.report.task {
            CompactionTask::CompactData => Step::Ask(CleanupKind::TriggerDefragmentation),
            CompactionTask::CleanupExpired => Step::Ask(CleanupKind::EmergencyCleanup),
            CompactionTask::RebuildIndex | CompactionTask::OptimizeCompression => Step::End,
        }
    }

    fn ask(&mut self, now: Now, mut task: Task, log: &Log<'_>, kind: CleanupKind) -> Poll {
        let timeout = u64::from(log.config.cleanup_timeout_ms);
        let Ok(request) = self.outstanding.issue(kind, now.monotonic_ms, timeout) else {
            task.report.pool = PoolOutcome::Failed(CleanupError::TimedOut);
            self.finish(now, log, task);
            return Poll::Again;
        };
        task.state = State::Asking;
        self.task = Some(task);
        Poll::Do(Action::Cleanup(request))
    }

    /// The pools answered. A late reply bears a stale ticket and is dropped (I-REQ-2).
    pub(super) fn take_reply(
        &mut self,
        now: Now,
        log: &Log<'_>,
        reply: CleanupReply,
    ) -> Result<(), super::StaleTicket> {
        let reply = self.outstanding.accept(reply).map_err(|stale| super::StaleTicket(stale.0))?;
        let pool = match reply.result {
            Ok(reclaimed) => PoolOutcome::Done(reclaimed),
            Err(error) => PoolOutcome::Failed(error),
        };
        self.end_asking(now, log, pool);
        Ok(())
    }

    pub(super) fn take_unavailable(
        &mut self,
        now: Now,
        log: &Log<'_>,
        ticket: Ticket,
    ) -> Result<(), super::StaleTicket> {
        self.outstanding.cancel(ticket).map_err(|stale| super::StaleTicket(stale.0))?;
        self.end_asking(now, log, PoolOutcome::Failed(CleanupError::Disconnected));
        Ok(())
    }

    fn take_timeouts(&mut self, now: Now) {
        while let Some(reply) = self.outstanding.expire(now.monotonic_ms) {
            if let Err(error) = reply.result
                && let Some(task) = self.task.as_mut().filter(|t| matches!(t.state, State::Asking))
            {
                task.report.pool = PoolOutcome::Failed(error);
                // Nothing is left to wait for.
                task.state = State::Retiring;
                task.is_cancelled = true;
            }
        }
    }

    fn end_asking(&mut self, now: Now, log: &Log<'_>, pool: PoolOutcome) {
        match self.task.take() {
            Some(mut task) if matches!(task.state, State::Asking) => {
                task.report.pool = pool;
                self.finish(now, log, task);
            }
            other => self.task = other,
        }
    }

    fn finish(&mut self, now: Now, log: &Log<'_>, task: Task) {
        let mut report = task.report;
        report.victims.freed = log.counters.freed_segments.wrapping_sub(task.freed_before);
        report.log_bytes_reclaimed = log.counters.bytes_reclaimed.saturating_sub(task.reclaimed_before);
        report.duration_ms = now.monotonic_ms.saturating_sub(task.started_ms);
        let pool_failed = matches!(report.pool, PoolOutcome::Failed(_));
        let did_nothing =
            report.victims.first.is_none() && report.checked_records == 0 && report.codec.is_none();
        report.outcome = if task.is_cancelled || pool_failed || report.victims.skipped > 0 {
            Outcome::Partial
        } else if did_nothing && report.pool == PoolOutcome::NotAsked {
            Outcome::Refused
        } else {
            Outcome::Completed
        };
        if self.reports.is_full() {
            self.reports.pop_front();
        }
        let _ = self.reports.push_back(report);
    }
}

enum Step {
    Stay(Poll),
    To(State),
    Ask(CleanupKind),
    End,
}

/// Offsets of damaged records in one segment, as many as are kept for telling which keys they belong to.
pub(super) type Offsets = Vec<u32, 32>;

impl Tasks {
    /// Tells whether no segment can be freed any more: nothing is on its way, and no victim yields anything.
    pub(super) fn is_stuck(log: &Log<'_>, mover: &Mover) -> bool {
        if log.free() > FREE_RESERVE || !mover.is_idle() || log.leaving() > 0 {
            return false;
        }
        let victim: Option<Choice> =
            choose(&log.geometry, log.segments, Policy::Greedy, log.appended_bytes, |_, _| true);
        victim.is_none()
    }
}
