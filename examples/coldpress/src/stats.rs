//! The command `stats`.

use std::collections::BTreeMap;
use std::io::Write as _;

use coldpress_examples::image::state_name;
use coldpress_std::inspect::{PartitionLog, TierFacts};
use serde::Serialize;

use crate::caches::facts;
use crate::failure::{Failure, Verdict};
use crate::list::CacheRow;
use crate::options::Place;
use crate::output::{Output, bytes};

/// A cache, summed up.
#[derive(Debug, Serialize)]
struct CacheStats {
    #[serde(flatten)]
    cache: CacheRow,
    /// Keys that have a value, expired ones included.
    keys: u64,
    live_bytes: u64,
    stale_bytes: u64,
    /// Whether the cache was caught at rest; see the page.
    settled: bool,
    logs: Vec<LogStats>,
}

/// The log of a partition, summed up.
#[derive(Debug, Default, Serialize)]
struct LogStats {
    partition: u16,
    keys: u64,
    /// Keyed records, live and stale.
    records: u64,
    live_bytes: u64,
    stale_bytes: u64,
    /// Segments by their state.
    segments: BTreeMap<&'static str, u32>,
    /// All erases, and those of the segments with the fewest and the most.
    erases: u64,
    erases_min: u32,
    erases_max: u32,
    /// Records that did not validate when the log was mounted. `verify` checks them all.
    damaged_records: u32,
    quarantined_segments: u32,
    /// The newest time in the log, in seconds since 1970.
    clock_s: u32,
    settled: bool,
}

impl LogStats {
    fn of(number: u16, partition: &PartitionLog) -> Self {
        let (image, report) = (partition.image(), partition.image().mount_report());
        let segments = image.segments();
        let mut states = BTreeMap::new();
        for segment in segments {
            *states.entry(state_name(segment)).or_default() += 1;
        }
        let erases = || segments.iter().map(|segment| segment.erases);
        Self {
            partition: number,
            keys: image.len() as u64,
            records: report.records,
            live_bytes: segments.iter().map(|segment| u64::from(segment.live_bytes())).sum(),
            stale_bytes: segments.iter().map(|segment| u64::from(segment.stale_bytes())).sum(),
            segments: states,
            erases: erases().map(u64::from).sum(),
            erases_min: erases().min().unwrap_or(0),
            erases_max: erases().max().unwrap_or(0),
            damaged_records: report.damaged_records,
            quarantined_segments: report.quarantined_segments,
            clock_s: image.clock_s(),
            settled: partition.is_settled(),
        }
    }
}

fn logs(facts: &TierFacts, out: &mut Output) -> Result<Vec<LogStats>, Failure> {
    out.begin("reading", false);
    let mut logs = Vec::new();
    let all = facts.partitions.len() as u64;
    for number in (0..).take(facts.partitions.len()) {
        out.show(u64::from(number) * 1000 / all);
        logs.push(match PartitionLog::open(facts, number)? {
            Some(partition) => LogStats::of(number, &partition),
            None => LogStats { partition: number, settled: true, ..LogStats::default() },
        });
    }
    out.end();
    Ok(logs)
}

pub(crate) fn stats(place: &Place, out: &mut Output) -> Result<Verdict, Failure> {
    let facts = facts(place, out)?;
    let logs = logs(&facts, out)?;
    let path = facts.path.clone();
    let sum = |of: fn(&LogStats) -> u64| logs.iter().map(of).sum();
    let stats = CacheStats {
        keys: sum(|log| log.keys),
        live_bytes: sum(|log| log.live_bytes),
        stale_bytes: sum(|log| log.stale_bytes),
        settled: logs.iter().all(|log| log.settled),
        cache: CacheRow::of(&path, &Ok(facts)),
        logs,
    };
    if !stats.settled {
        out.warn(&"the service frees segments all the time, so keys that it relocates may not be counted");
    }
    if place.json {
        out.json(&stats)?;
        return Ok(Verdict::Fine);
    }
    stats.cache.write(out)?;
    let (live, stale) = (bytes(stats.live_bytes), bytes(stats.stale_bytes));
    writeln!(out, "  {} keys, {live} live, {stale} stale", stats.keys)?;
    for log in &stats.logs {
        let states: Vec<_> = log.segments.iter().map(|(state, count)| format!("{count} {state}")).collect();
        writeln!(
            out,
            "  partition {}: {} keys, {} records, {} live, {} stale; segments: {}; {} erases, {} to {} a segment; damage: {} records, {} segments",
            log.partition,
            log.keys,
            log.records,
            bytes(log.live_bytes),
            bytes(log.stale_bytes),
            if states.is_empty() { "never opened".to_owned() } else { states.join(", ") },
            log.erases,
            log.erases_min,
            log.erases_max,
            log.damaged_records,
            log.quarantined_segments
        )?;
    }
    Ok(Verdict::Fine)
}
