//! The running task: its state, its progress, and the counts for its report.

use super::cleaner::Cleaned;
use super::report::{Outcome, PoolOutcome, Progress, Report};
use crate::cleanup::{CleanupKind, Ticket};
use crate::drive::Poll;
use crate::format::Sequence;
use crate::segments::{VictimChoice, VictimReason};
use crate::writer::Log;

#[derive(Debug, Clone, Copy)]
pub(crate) enum State {
    /// Cleans the segments that were sealed when the task began.
    Compacting {
        below: Sequence,
    },
    Rebuilding,
    Expiring,
    Sampling,
    /// Waits until every victim is free.
    Reclaiming,
    /// Waits for the pools.
    Asking {
        ticket: Ticket,
    },
}

/// The outcome of a step of a task.
pub(crate) enum Step {
    Stay(Poll),
    /// The cleaner takes this victim for the task.
    Clean(VictimChoice),
    /// The engine has nothing left: the task waits until its victims are free.
    Reclaim,
    Ask(CleanupKind),
    End,
}

#[derive(Debug)]
pub(crate) struct Task {
    pub(crate) state: State,
    pub(crate) report: Report,
    pub(crate) progress: Progress,
    /// The event that it waits for at the end.
    pub(crate) goal: Option<Goal>,
    /// How often it looked again for segments that became worth cleaning because others were freed, and their bytes.
    pub(crate) rounds: u32,
    pub(crate) left_bytes: u64,
    pub(crate) is_cancelled: bool,
    /// There was work to do, and no free segment to do it with.
    pub(crate) is_deferred: bool,
    /// The medium failed where the task needed it.
    pub(crate) has_failed: bool,
    started_ms: u64,
    before: Before,
}

/// The condition for which a task waits at its end: its victims are free.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Goal {
    /// The count of freed segments at which they are free.
    pub(crate) freed_segments: u32,
    /// The count of failures at which the task waits no longer.
    pub(crate) failures: u64,
}

/// Counters of the machine when the task began.
#[derive(Debug)]
struct Before {
    freed_segments: u32,
    bytes_reclaimed: u64,
    bytes_written: u64,
    fresh_bytes: u64,
}

impl Task {
    pub(crate) fn new(report: Report, state: State, total: u64, now_ms: u64, log: &Log<'_>) -> Self {
        let counters = &log.counters;
        Self {
            state,
            report,
            progress: Progress { done: 0, total: total.max(1) },
            goal: None,
            rounds: 0,
            left_bytes: u64::MAX,
            is_cancelled: false,
            is_deferred: false,
            has_failed: false,
            started_ms: now_ms,
            before: Before {
                freed_segments: counters.freed_segments,
                bytes_reclaimed: counters.bytes_reclaimed,
                bytes_written: counters.bytes_written,
                fresh_bytes: counters.fresh_bytes,
            },
        }
    }

    /// Progress never goes back, and is whole only at the end.
    pub(crate) fn advance_to(&mut self, done: u64) {
        let most = self.progress.total.saturating_sub(1);
        self.progress.done = self.progress.done.max(done.min(most));
    }

    /// Counts records that a task looked at which can't know how many there are: its total is those found and one more.
    pub(crate) fn count_checked(&mut self, records: u32) {
        self.report.checked_records += u64::from(records);
        self.progress.done += u64::from(records);
        self.progress.total = self.progress.done + 1;
    }

    pub(crate) fn note_cleaned(&mut self, cleaned: &Cleaned) {
        let report = &mut self.report;
        report.victims.first.get_or_insert(cleaned.choice);
        report.victims.last = Some(cleaned.choice);
        report.victims.skipped += u32::from(!cleaned.is_emptied);
        let is_returned = cleaned.is_emptied && cleaned.choice.reason == VictimReason::Damaged;
        report.returned_segments += u32::from(is_returned);
        report.relocated_records += cleaned.relocated_records;
        report.relocated_bytes += cleaned.relocated_bytes;
        report.expired_records += cleaned.expired_records;
        report.damaged_records += cleaned.damaged_records;
        self.has_failed |= cleaned.has_failed;
    }

    /// Makes the report.
    pub(crate) fn finish(&self, now_ms: u64, log: &Log<'_>) -> Report {
        let (mut report, counters) = (self.report, &log.counters);
        report.victims.freed = counters.freed_segments.wrapping_sub(self.before.freed_segments);
        report.log_bytes_reclaimed = counters.bytes_reclaimed.saturating_sub(self.before.bytes_reclaimed);
        report.bytes_written = counters.bytes_written.saturating_sub(self.before.bytes_written);
        report.fresh_bytes = counters.fresh_bytes.saturating_sub(self.before.fresh_bytes);
        report.duration_ms = now_ms.saturating_sub(self.started_ms);
        report.outcome = self.outcome(&report);
        report
    }

    fn outcome(&self, report: &Report) -> Outcome {
        let did_any = report.victims.freed > 0 || report.relocated_records > 0 || report.checked_records > 0;
        let is_whole = !self.is_cancelled
            && !self.has_failed
            && !self.is_deferred
            && report.victims.skipped == 0
            && report.pool.is_whole();
        match (is_whole, did_any) {
            (true, false) if report.victims.first.is_none() && report.pool == PoolOutcome::NotAsked => {
                Outcome::Refused
            }
            (true, _) => Outcome::Completed,
            (false, false) if self.is_cancelled => Outcome::Partial,
            (false, false) if self.has_failed => Outcome::Failed,
            (false, false) if self.is_deferred => Outcome::Deferred,
            (false, _) => Outcome::Partial,
        }
    }
}
