//! The counts that the worker posts.

use coldpress_core::compaction::Report;
use coldpress_core::recovery::MountReport;
use coldpress_core::segments::{Segment, SegmentState};
use coldpress_core::writer::Counters;

use super::Worker;
use crate::clock::monotonic_ms;
use crate::config::ColdTierConfig;
use crate::observe::WorkerStats;

/// How old the posted stats may be while the worker is busy, in milliseconds.
const POST_MS: u64 = 10;
/// The unit in which a filesystem gives out space.
const BLOCK_BYTES: u32 = 4096;

/// The stats of a worker that the machine does not count.
#[derive(Debug)]
pub(super) struct Posting {
    worker_stats: WorkerStats,
    posted_ms: u64,
    debt_ms: u64,
    posted: Counters,
    /// The bytes occupied at that time.
    posted_occupied: u64,
    segment_bytes: u32,
    /// Bytes written to each segment since its last erase.
    written: Vec<u32>,
}

impl Posting {
    pub(super) fn new(config: &ColdTierConfig) -> Self {
        Self {
            worker_stats: WorkerStats::default(),
            posted_ms: 0,
            debt_ms: 0,
            posted: Counters::default(),
            posted_occupied: 0,
            segment_bytes: config.segment_bytes(),
            written: vec![0; config.segment_count() as usize],
        }
    }

    pub(super) fn mounted(&mut self, report: &MountReport, recovery_ms: u64, segments: &[Segment]) {
        for (written, segment) in self.written.iter_mut().zip(segments) {
            // Of segments of an earlier run only the end of their records is known, so all bytes up to it count.
            let is_used = segment.state() != SegmentState::Free;
            *written = if is_used { self.segment_bytes } else { u32::from(segment.erases > 0) };
        }
        self.worker_stats.occupied_bytes = self.written.iter().map(|bytes| self.blocks(*bytes)).sum();
        self.worker_stats.peak_bytes = self.worker_stats.occupied_bytes;
        self.worker_stats.recovered_records = report.records;
        self.worker_stats.recovery_ms = recovery_ms;
        self.worker_stats.damaged_records = u64::from(report.damaged_records);
        self.worker_stats.torn_records = report.torn_records;
        self.worker_stats.torn_segments = report.torn_segments;
        self.worker_stats.found_quarantined_segments = report.quarantined_segments;
    }

    /// The space on the medium of bytes written to one segment.
    fn blocks(&self, bytes: u32) -> u64 {
        u64::from(bytes.next_multiple_of(BLOCK_BYTES).min(self.segment_bytes))
    }

    pub(super) fn wrote(&mut self, segment: u32, bytes: u32) {
        let Some(written) = self.written.get_mut(segment as usize) else { return };
        let before = *written;
        *written = before.saturating_add(bytes).min(self.segment_bytes);
        let after = *written;
        self.worker_stats.occupied_bytes += self.blocks(after) - self.blocks(before);
        self.worker_stats.peak_bytes = self.worker_stats.peak_bytes.max(self.worker_stats.occupied_bytes);
    }

    /// The medium allocated all blocks of a segment.
    pub(super) fn allocated(&mut self, segment: u32) {
        self.wrote(segment, self.segment_bytes);
    }

    /// A blank segment gave its blocks back, but for that of the marker.
    pub(super) fn gave_back(&mut self, segment: u32) {
        self.erased(segment);
        self.wrote(segment, BLOCK_BYTES);
    }

    /// A segment was erased, and its blocks are gone.
    pub(super) fn erased(&mut self, segment: u32) {
        if let Some(written) = self.written.get_mut(segment as usize) {
            let before = core::mem::take(written);
            self.worker_stats.occupied_bytes =
                self.worker_stats.occupied_bytes.saturating_sub(self.blocks(before));
        }
    }

    pub(super) fn report(&mut self, report: Report) {
        self.worker_stats.compactions += 1;
        self.worker_stats.pool_bytes_reclaimed += report.pool.reclaimed_bytes();
        self.worker_stats.last_report = Some(report);
    }

    pub(super) fn is_due(&self) -> bool {
        self.due_in_ms() == 0
    }

    pub(super) fn due_in_ms(&self) -> u64 {
        (self.posted_ms + POST_MS).saturating_sub(monotonic_ms())
    }

    /// Whether a count has changed since the last post.
    pub(super) fn is_stale(&self, counters: &Counters) -> bool {
        *counters != self.posted || self.posted_occupied != self.worker_stats.occupied_bytes
    }

    /// Whether it is time to look at the debt again.
    pub(super) fn is_debt_due(&mut self, now_ms: u64, every_ms: u64) -> bool {
        let is_due = now_ms >= self.debt_ms.saturating_add(every_ms);
        if is_due {
            self.debt_ms = now_ms;
        }
        is_due
    }
}

impl Worker<'_> {
    /// Posts the stats as they are. Bounds: one pass over the segment table.
    pub(super) fn post(&mut self) {
        let (counters, tally, progress) = (self.tier.counters(), self.tier.tally(), self.tier.progress());
        let posting = &mut self.posting;
        posting.posted = counters;
        posting.posted_occupied = posting.worker_stats.occupied_bytes;
        posting.posted_ms = monotonic_ms();
        let worker_stats = &mut posting.worker_stats;
        worker_stats.count(&counters);
        worker_stats.log_bytes_reclaimed = counters.bytes_reclaimed;
        worker_stats.live_bytes = tally.live_bytes;
        worker_stats.stale_bytes = tally.used_bytes.saturating_sub(tally.live_bytes);
        worker_stats.free_segments = tally.free;
        worker_stats.quarantined_segments = tally.quarantined;
        worker_stats.progress = progress.map(|running| (running.task, running.progress));
        self.shared.lengths.count_waste(self.terms.data_segments());
        let waste = self.shared.lengths.waste_with(0);
        let charge_bytes_max = self.terms.charge_bytes_max(waste, tally.quarantined);
        worker_stats.debt_permille = self.tier.debt_permille();
        worker_stats.analysis = self.index.analysis;
        let worker_stats = *worker_stats;
        self.shared.admission.supply.post_quarantined(tally.quarantined);
        *self.shared.worker_stats.lock() = worker_stats;
        self.meter.stats(&self.shared.counts, &worker_stats, &self.shared.state(charge_bytes_max));
    }
}
