//! Compares the reports of tasks with the counts that the driver made itself while they ran.

use std::collections::VecDeque;

use coldpress_core::compaction::{CompactionTask, Outcome, Report, TaskId};
use coldpress_core::machine::Tier;
use coldpress_core::segments::SegmentState;

use super::host::{ModelHost, Tallied};

/// The driver's own counts so far, independent of the reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Counted {
    written_bytes: u64,
    fresh_bytes: u64,
    freed_segments: u32,
    reclaimed_bytes: u64,
    host: Tallied,
    relocated_bytes: u64,
    rescued: u64,
    ms: u64,
}

/// The auditor of one life.
#[derive(Debug)]
pub(super) struct Audit {
    segment_bytes: u64,
    now: Counted,
    /// When the running task began.
    before: Option<Counted>,
    states: Vec<SegmentState>,
    /// Relocated bytes that freed bytes do not make up for yet.
    unpaid_bytes: u64,
    /// Tasks that were taken.
    pub(super) scheduled: u64,
    /// Those that have no report yet.
    waiting: VecDeque<(TaskId, CompactionTask)>,
    /// Reports of them.
    pub(super) reported: u64,
    was_cancelled: bool,
}

impl Audit {
    pub(super) fn new(segment_bytes: u32) -> Self {
        let now = Counted {
            written_bytes: 0,
            fresh_bytes: 0,
            freed_segments: 0,
            reclaimed_bytes: 0,
            host: Tallied { sampled: 0, expired: 0, repaired: 0 },
            relocated_bytes: 0,
            rescued: 0,
            ms: 0,
        };
        Self {
            segment_bytes: segment_bytes.into(),
            now,
            before: None,
            states: Vec::new(),
            unpaid_bytes: 0,
            scheduled: 0,
            waiting: VecDeque::new(),
            reported: 0,
            was_cancelled: false,
        }
    }

    /// Notes that the machine asked for so many bytes to be written.
    pub(super) const fn wrote(&mut self, bytes: u32) {
        self.now.written_bytes += bytes as u64;
    }

    /// Notes that the machine took a client's record of so many bytes.
    pub(super) const fn took(&mut self, bytes: u32) {
        self.now.fresh_bytes += bytes as u64;
    }

    /// Notes that the machine took a task.
    ///
    /// # Panics
    /// Where its id is that of another one.
    pub(super) fn scheduled(&mut self, id: TaskId, task: CompactionTask) {
        assert!(self.waiting.iter().all(|(other, _)| *other != id), "I-TASK-1: {id} twice");
        self.waiting.push_back((id, task));
        self.scheduled += 1;
    }

    /// Notes that the running task was cancelled.
    pub(super) fn cancelled(&mut self, tier: &Tier<'_>) {
        self.was_cancelled = tier.progress().is_some();
    }

    /// Counts the changes of segments after a call of the machine.
    pub(super) fn look(&mut self, tier: &Tier<'_>, host: &ModelHost, ms: u64) {
        self.now.host = host.tallied;
        let relocated_bytes = tier.counters().relocated_bytes;
        self.unpaid_bytes += relocated_bytes - self.now.relocated_bytes;
        self.now.relocated_bytes = relocated_bytes;
        self.now.rescued = tier.counters().rescued_records;
        self.now.ms = ms;
        let segments = tier.segments();
        self.states.resize(segments.len(), SegmentState::Free);
        for (segment, state) in segments.iter().zip(&mut self.states) {
            if *state == SegmentState::Erased && segment.state() == SegmentState::Free {
                let paid = self.unpaid_bytes.min(self.segment_bytes);
                self.unpaid_bytes -= paid;
                self.now.freed_segments += 1;
                self.now.reclaimed_bytes += self.segment_bytes - paid;
            }
            *state = segment.state();
        }
    }

    /// Notes a task that may have begun.
    pub(super) fn begin(&mut self, tier: &Tier<'_>) {
        if self.before.is_none() && tier.progress().is_some() {
            self.before = Some(self.now);
            self.was_cancelled = false;
        }
    }

    /// Checks the report of a task that ended.
    ///
    /// # Panics
    /// Where its report is wrong.
    pub(super) fn end(&mut self, report: &Report, host: &ModelHost) {
        self.reported += 1;
        let ended = self.waiting.pop_front();
        assert_eq!(ended, Some((report.id, report.task)), "I-TASK-1: a report of another task: {report:?}");
        let Some(before) = self.before.take() else { panic!("a task that never began ended: {report:?}") };
        let now = self.now;
        let counted = (
            now.written_bytes - before.written_bytes,
            now.fresh_bytes - before.fresh_bytes,
            now.freed_segments - before.freed_segments,
            now.reclaimed_bytes - before.reclaimed_bytes,
            now.ms - before.ms,
        );
        let reported = (
            report.bytes_written,
            report.fresh_bytes,
            report.victims.freed,
            report.log_bytes_reclaimed,
            report.duration_ms,
        );
        assert_eq!(reported, counted, "written, fresh, freed, reclaimed, ms: {report:?}");
        assert!(report.relocated_bytes <= now.relocated_bytes - before.relocated_bytes, "{report:?}");
        assert!(report.expired_records <= now.host.expired - before.host.expired, "{report:?}");
        let is_sampling = report.task == CompactionTask::OptimizeCompression;
        let sampled = now.host.sampled - before.host.sampled;
        assert_eq!(sampled, if is_sampling { report.checked_records } else { 0 }, "{report:?}");
        // A shortage may have had segments read again meanwhile.
        let rescued = u32::try_from(now.rescued - before.rescued).unwrap_or(u32::MAX);
        assert!(report.rescued_records <= rescued, "{report:?}");
        let repaired = now.host.repaired - before.host.repaired;
        assert_eq!(report.repaired_records + rescued, repaired, "{report:?}");
        if self.was_cancelled {
            assert_eq!(report.outcome, Outcome::Partial, "it was cancelled: {report:?}");
        }
        match report.codec {
            Some(codec) => assert!(is_sampling && sampled > 0 && codec == host.codec(), "{report:?}"),
            None => assert!(!is_sampling || sampled == 0 || self.was_cancelled, "{report:?}"),
        }
    }
}
