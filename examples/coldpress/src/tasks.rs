//! The commands that run a task of the compaction.

use core::sync::atomic::{AtomicBool, Ordering::Relaxed};
use core::time::Duration;
use std::io::Write as _;

use coldpress_std::compaction::{CompactionTask, Report};
use serde::Serialize;

use crate::caches::open;
use crate::failure::{Failure, Verdict};
use crate::options::Place;
use crate::output::{Output, bytes, time};

pub(crate) const COMPACT: (CompactionTask, &str) = (CompactionTask::CompactData, "compacting");
pub(crate) const REBUILD_INDEX: (CompactionTask, &str) = (CompactionTask::RebuildIndex, "rebuilding");
pub(crate) const OPTIMISE: (CompactionTask, &str) = (CompactionTask::OptimizeCompression, "optimising");
pub(crate) const EVICT_EXPIRED: (CompactionTask, &str) = (CompactionTask::CleanupExpired, "evicting");

const BETWEEN_LOOKS: Duration = Duration::from_millis(100);

/// The report of a task.
#[derive(Debug, Serialize)]
pub(crate) struct TaskReport {
    task: String,
    /// `completed`, `partial`, `nothing to do`, `deferred` or `failed`.
    outcome: &'static str,
    freed_segments: u32,
    skipped_segments: u32,
    relocated_records: u32,
    relocated_bytes: u64,
    bytes_written: u64,
    log_bytes_reclaimed: u64,
    checked_records: u64,
    expired_records: u32,
    repaired_records: u32,
    damaged_records: u32,
    reread_segments: u32,
    rescued_records: u32,
    returned_segments: u32,
    /// The codec that the task found to be the best. It is used for new records as long as the task's cache is open.
    codec: Option<&'static str>,
    duration_ms: u64,
}

impl TaskReport {
    fn of(report: &Report) -> Self {
        Self {
            task: report.task.to_string(),
            outcome: report.outcome.name(),
            freed_segments: report.victims.freed,
            skipped_segments: report.victims.skipped,
            relocated_records: report.relocated_records,
            relocated_bytes: report.relocated_bytes,
            bytes_written: report.bytes_written,
            log_bytes_reclaimed: report.log_bytes_reclaimed,
            checked_records: report.checked_records,
            expired_records: report.expired_records,
            repaired_records: report.repaired_records,
            damaged_records: report.damaged_records,
            reread_segments: report.reread_segments,
            rescued_records: report.rescued_records,
            returned_segments: report.returned_segments,
            codec: report.codec.map(|codec| codec.name()),
            duration_ms: report.duration_ms,
        }
    }

    pub(crate) fn write(&self, out: &mut Output) -> Result<(), Failure> {
        writeln!(
            out,
            "{}: {} after {}: {} segments freed, {} reclaimed, {} records relocated",
            self.task,
            self.outcome,
            time(Duration::from_millis(self.duration_ms)),
            self.freed_segments,
            bytes(self.log_bytes_reclaimed),
            self.relocated_records
        )?;
        let counts = [
            (self.checked_records, "records checked"),
            (self.expired_records.into(), "expired records dropped"),
            (self.repaired_records.into(), "index entries corrected"),
            (self.damaged_records.into(), "records damaged"),
            (self.skipped_segments.into(), "segments skipped"),
            (self.reread_segments.into(), "segments read again"),
            (self.rescued_records.into(), "records found in them"),
            (self.returned_segments.into(), "damaged segments freed"),
        ];
        for (count, name) in counts.iter().filter(|(count, _)| *count > 0) {
            writeln!(out, "  {count} {name}")?;
        }
        if let Some(codec) = self.codec {
            writeln!(out, "  the best codec is {codec}")?;
        }
        Ok(())
    }
}

/// Opens the cache of a place, runs a task in it, and closes it.
pub(crate) fn run_on(
    place: &Place,
    (task, title): (CompactionTask, &'static str),
    out: &mut Output,
) -> Result<TaskReport, Failure> {
    let tier = open(place)?;
    out.begin(title, false);
    let (handle, bar, is_over) = (tier.handle(), out.bar(), AtomicBool::new(false));
    let report = std::thread::scope(|scope| {
        if !bar.is_hidden() {
            scope.spawn(|| {
                while !is_over.load(Relaxed) {
                    if let Some((_, progress)) = handle.compaction().progress() {
                        bar.set_position(u64::from(progress.permille()));
                    }
                    std::thread::sleep(BETWEEN_LOOKS);
                }
            });
        }
        let report = tier.compaction().run_compaction(task, Duration::MAX);
        is_over.store(true, Relaxed);
        report
    });
    out.end();
    let report = TaskReport::of(&report?);
    tier.close()?;
    Ok(report)
}

/// A command that is a task.
pub(crate) fn run(
    place: &Place,
    task: (CompactionTask, &'static str),
    out: &mut Output,
) -> Result<Verdict, Failure> {
    let report = run_on(place, task, out)?;
    if place.json {
        out.json(&report)?;
    } else {
        report.write(out)?;
    }
    match report.outcome {
        "deferred" => Err(Failure::Work(format!("{}: no segment was free to begin with", report.task))),
        "failed" => Err(Failure::Work(format!("{}: the medium failed; nothing was lost", report.task))),
        _ if report.damaged_records > 0 || report.skipped_segments > 0 => Ok(Verdict::Found),
        _ => Ok(Verdict::Fine),
    }
}
