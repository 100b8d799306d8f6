//! The table that a person reads at the end of a replay.

use core::fmt::Write;

use crate::figures::{bytes, count, micros};
use crate::latency::Percentiles;
use crate::plan::Plan;
use crate::replay::Replayed;

/// Writes the table.
#[must_use]
pub fn table(plan: &Plan, replayed: &Replayed) -> String {
    let threads = plan.job.threads;
    let mut text = format!("\n{}; codec {}, {threads} threads\n{}\n", plan.title, plan.codec, plan.details);
    for (name, rows) in [
        ("Requests", requests(plan, replayed)),
        ("Log", log(plan, replayed)),
        ("Pools", pools(replayed)),
        ("Reopened", reopened(replayed)),
    ] {
        heading(&mut text, name);
        for (label, value) in rows {
            row(&mut text, label, &value);
        }
    }
    heading(&mut text, "Tasks");
    for report in &replayed.tasks {
        row(&mut text, report.name, &format!("{} in {} ms", report.outcome, count(report.ms)));
    }
    latencies(&mut text, replayed);
    text
}

fn heading(text: &mut String, name: &str) {
    let _ = writeln!(text, "\n{name}");
}

fn row(text: &mut String, label: &str, value: &str) {
    let _ = writeln!(text, "  {label:<28}{value}");
}

type Rows = Vec<(&'static str, String)>;

fn requests(plan: &Plan, replayed: &Replayed) -> Rows {
    let (figures, counts) = (&replayed.figures, &replayed.counts);
    let seconds = replayed.driven_ms.max(1) as f64 / 1000.0;
    let rate = |number: u64| (number as f64 / seconds) as u64;
    let mut rows = vec![
        (
            "requests",
            format!("{} in {seconds:.1} s, {}/s", count(figures.requests), count(rate(figures.requests))),
        ),
        (
            "puts",
            format!(
                "{}, {}, {}/s",
                count(figures.puts),
                bytes(figures.bytes_put),
                bytes(rate(figures.bytes_put))
            ),
        ),
        ("gets", format!("{}, {} hits, every byte checked", count(figures.gets), count(figures.hits))),
        ("removals", count(counts.removes)),
    ];
    if let Some(survey) = plan.survey {
        rows.push(("skipped in the trace", format!("{} other operations a round", count(survey.skipped))));
    }
    if counts.refused > 0 {
        rows.push(("refused, tier full", count(counts.refused)));
    }
    if counts.evicted > 0 {
        rows.push(("found evicted", count(counts.evicted)));
    }
    if replayed.purged > 0 {
        rows.push(("purged afterwards", format!("{} keys", count(replayed.purged))));
    }
    rows.push(("keys checked at the end", count(replayed.checked.gets)));
    rows.push(("mismatches", count(figures.mismatches)));
    rows
}

fn log(plan: &Plan, replayed: &Replayed) -> Rows {
    let figures = &replayed.figures;
    let late = figures.write_amplification_late.map(|late| format!(", {late:.2} in the second half"));
    let ratio = plan.ratio_permille as f64 / 1000.0;
    let disk = format!(
        "at most {}, more than 64 KiB above the limit in {} of {} looks",
        bytes(figures.disk_peak_bytes),
        count(figures.disk_looks_above),
        count(figures.disk_looks)
    );
    let put_late = figures.written_per_byte_put_late.map(|late| format!(", {late:.2} in the second half"));
    let per_put = format!(
        "{:.2}{}",
        figures.bytes_written as f64 / figures.bytes_put.max(1) as f64,
        put_late.unwrap_or_default()
    );
    vec![
        (
            "capacity",
            format!("{} in segments of {}", bytes(figures.capacity_bytes), bytes(plan.segment_bytes.into())),
        ),
        ("peak", bytes(figures.peak_bytes)),
        ("disk", disk),
        ("live before the purge", format!("{:.1} % of the capacity", figures.live_share * 100.0)),
        (
            "fresh records",
            format!("{} (a sample of values shrank {ratio:.2} times)", bytes(figures.bytes_encoded)),
        ),
        ("written in all", bytes(figures.bytes_written)),
        ("write amplification", format!("{:.2}{}", figures.write_amplification, late.unwrap_or_default())),
        ("written for a byte put", per_put),
        (
            "compactions",
            format!("{}, {} reclaimed", count(figures.compactions), bytes(figures.log_bytes_reclaimed)),
        ),
        ("index", format!("{:.1} bytes a key", figures.index_bytes_per_key)),
    ]
}

fn pools(replayed: &Replayed) -> Rows {
    let figures = &replayed.figures;
    let (before, after) = (figures.fragmentation_before * 100.0, figures.fragmentation_after * 100.0);
    let (pages, left) = (replayed.before.pages.len() as u64, replayed.after.pages.len() as u64);
    vec![
        ("fragmentation", format!("{before:.1} % before, {after:.1} % after defragmentation")),
        (
            "pages",
            format!(
                "{} before, {} after, {} returned",
                count(pages),
                count(left),
                bytes(replayed.defragmented_bytes)
            ),
        ),
        ("emergency cleanup", format!("{} returned", bytes(figures.emergency_bytes))),
        ("returned by tasks", bytes(figures.pool_bytes_reclaimed)),
    ]
}

fn reopened(replayed: &Replayed) -> Rows {
    let figures = &replayed.figures;
    vec![
        (
            "recovered",
            format!("{} records in {} ms", count(figures.recovered_records), count(figures.recovery_ms)),
        ),
        ("keys checked", count(replayed.rechecked.gets)),
        ("mismatches", count(figures.reopen_mismatches)),
    ]
}

fn latencies(text: &mut String, replayed: &Replayed) {
    let _ = writeln!(text, "\n{:<30}{:>12}{:>12}{:>12}{:>14}", "Latency", "p50", "p99", "p99.9", "calls");
    let [puts, gets] = replayed.calls;
    let figures = &replayed.figures;
    let mut line = |name: &str, calls: u64, percentiles: Percentiles| {
        let Percentiles { p50, p99, p999 } = percentiles;
        let [p50, p99, p999] = [p50, p99, p999].map(micros);
        let _ = writeln!(text, "  {name:<28}{p50:>12}{p99:>12}{p999:>12}{:>14}", count(calls));
    };
    line("put, idle", puts.0, figures.put_us.idle);
    line("put, compacting", puts.1, figures.put_us.compacting);
    line("get, idle", gets.0, figures.get_us.idle);
    line("get, compacting", gets.1, figures.get_us.compacting);
}
