//! What goes to the `metrics` facade, where the feature of that name is on.

use coldpress_core::compaction::Report;

use crate::tier::{Board, Shell, Timed};

/// Counts a task that ended.
#[cfg(feature = "metrics")]
pub(crate) fn compaction(report: &Report) {
    let task = report.task.to_string();
    metrics::counter!("coldpress_compactions_total", "task" => task.clone()).increment(1);
    let seconds = core::time::Duration::from_millis(report.duration_ms).as_secs_f64();
    metrics::histogram!("coldpress_compaction_seconds", "task" => task).record(seconds);
    metrics::counter!("coldpress_pool_bytes_reclaimed_total").increment(report.pool.reclaimed_bytes());
}

#[cfg(not(feature = "metrics"))]
pub(crate) const fn compaction(_report: &Report) {}

/// Sets counters and gauges to what a partition counted.
#[cfg(feature = "metrics")]
pub(crate) fn figures(partition: u16, shell: &Shell, board: &Board) {
    use core::sync::atomic::Ordering::Relaxed;
    let partition = partition.to_string();
    let counters = [
        ("coldpress_puts_total", shell.counts.puts.load(Relaxed)),
        ("coldpress_gets_total", shell.counts.gets.load(Relaxed)),
        ("coldpress_hits_total", shell.counts.hits.load(Relaxed)),
        ("coldpress_removes_total", shell.counts.removes.load(Relaxed)),
        ("coldpress_refused_puts_total", shell.counts.refused_puts.load(Relaxed)),
        ("coldpress_evicted_records_total", shell.counts.evicted_records.load(Relaxed)),
        ("coldpress_expired_records_total", shell.counts.expired_records.load(Relaxed)),
        ("coldpress_damaged_reads_total", shell.counts.damaged_reads.load(Relaxed)),
        ("coldpress_bytes_encoded_total", board.bytes_encoded),
        ("coldpress_bytes_written_total", board.bytes_written),
        ("coldpress_bytes_moved_total", board.bytes_moved),
        ("coldpress_log_bytes_reclaimed_total", board.log_bytes_reclaimed),
        ("coldpress_syncs_total", board.syncs),
        ("coldpress_erases_total", board.erases),
    ];
    for (name, count) in counters {
        metrics::counter!(name, "partition" => partition.clone()).absolute(count);
    }
    let gauges = [
        ("coldpress_keys", shell.sums.keys.load(Relaxed)),
        ("coldpress_pending_bytes", shell.sums.pending_bytes.load(Relaxed)),
        ("coldpress_charged_bytes", shell.sums.charge.load(Relaxed)),
        ("coldpress_live_bytes", board.live_bytes),
        ("coldpress_stale_bytes", board.used_bytes.saturating_sub(board.live_bytes)),
        ("coldpress_occupied_bytes", board.occupied_bytes),
        ("coldpress_free_segments", u64::from(board.free_segments)),
    ];
    for (name, value) in gauges {
        #[expect(clippy::cast_precision_loss, reason = "a gauge is a float; the figures stay below 2^53")]
        metrics::gauge!(name, "partition" => partition.clone()).set(value as f64);
    }
}

#[cfg(not(feature = "metrics"))]
pub(crate) const fn figures(_partition: u16, _shell: &Shell, _board: &Board) {}

/// Adds a latency to its histogram.
#[cfg(feature = "metrics")]
pub(crate) fn latency(_partition: u16, _timed: Timed, _took: core::time::Duration) {}
#[cfg(not(feature = "metrics"))]
pub(crate) const fn latency(_partition: u16, _timed: Timed, _took: core::time::Duration) {}
