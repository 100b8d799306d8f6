//! The command `verify`.

use std::io::Write as _;

use coldpress_examples::image::damage_line;
use coldpress_std::image::Damage;
use coldpress_std::inspect::{InspectError, PartitionLog, TierFacts};
use serde::Serialize;

use crate::caches::{facts, name};
use crate::failure::{Failure, Verdict};
use crate::options::Place;
use crate::output::Output;
use crate::tasks::{REBUILD_INDEX, TaskReport, run_on};

/// The findings of a check of every record.
#[derive(Debug, Default, Serialize)]
struct Findings {
    sound: bool,
    records: u64,
    live_records: u64,
    segments: u64,
    /// Bytes that a cut left of torn records: no damage.
    torn_bytes: u64,
    /// Segments that a service freed or opened meanwhile, which were not checked.
    changed_segments: u64,
    settled: bool,
    damage: Vec<DamageRow>,
}

/// A damaged place.
#[derive(Debug, Serialize)]
struct DamageRow {
    partition: u16,
    segment: u32,
    damage: String,
    /// The effect of `--rewrite`.
    rewrite: &'static str,
}

/// A check, and a rewrite with the check behind it.
#[derive(Debug, Serialize)]
struct Verification {
    cache: String,
    #[serde(flatten)]
    found: Findings,
    /// The report of the rewrite.
    rewrite: Option<TaskReport>,
    /// The findings after the rewrite.
    after: Option<Findings>,
}

/// The effect of a rewrite on a damaged place.
const fn rewrite_of(damage: &Damage) -> &'static str {
    match damage {
        Damage::Unreadable | Damage::Quarantined => {
            "reads the segment again, relocates the records that it can read, and frees it; else it keeps it"
        }
        Damage::Header => "leaves it until compaction frees the segment",
        Damage::Footer => "relocates the live records and frees the segment",
        Damage::Record { is_live: true, .. } => {
            "relocates the intact records, and keeps the segment; put the key again, or remove it"
        }
        Damage::Record { hash: Some(_), .. } => {
            "leaves it: no key needs the record, and it goes with its segment once that is compacted"
        }
        Damage::Record { .. } => {
            "relocates the intact records, and frees the segment unless a live record is damaged"
        }
        Damage::Unsearched { .. } => "relocates the records that were found, and keeps the segment",
        _ => "reads it again",
    }
}

fn check(facts: &TierFacts, out: &mut Output) -> Result<Findings, Failure> {
    let mut findings = Findings { settled: true, ..Findings::default() };
    out.begin("checking", false);
    let all = facts.partitions.len() as u64;
    for number in (0..).take(facts.partitions.len()) {
        let Some(partition) = PartitionLog::open(facts, number)? else { continue };
        findings.settled &= partition.is_settled();
        let segments = partition.image().geometry().segment_count();
        for segment in 0..segments {
            let before = u64::from(number) * 1000 / all;
            out.show(before + u64::from(segment) * 1000 / u64::from(segments) / all);
            let contents = partition.examine(segment).map_err(|error| {
                let path = partition.path().to_path_buf();
                Failure::from(InspectError::Log { path, error })
            })?;
            let Some(contents) = contents else {
                findings.changed_segments += 1;
                continue;
            };
            findings.segments += u64::from(!contents.records.is_empty());
            findings.records += contents.records.len() as u64;
            findings.live_records += contents.records.iter().filter(|record| record.is_live).count() as u64;
            findings.torn_bytes += u64::from(contents.torn_bytes);
            findings.damage.extend(contents.damage.iter().map(|damage| DamageRow {
                partition: number,
                segment,
                damage: damage_line(segment, damage),
                rewrite: rewrite_of(damage),
            }));
        }
    }
    out.end();
    findings.sound = findings.damage.is_empty();
    Ok(findings)
}

impl Findings {
    fn write(&self, out: &mut Output) -> Result<(), Failure> {
        for row in &self.damage {
            writeln!(out, "partition {}, {}; a rewrite {}", row.partition, row.damage, row.rewrite)?;
        }
        let damage = match self.damage.len() {
            0 => "sound".to_owned(),
            1 => "1 place damaged".to_owned(),
            places => format!("{places} places damaged"),
        };
        let mut more = String::new();
        if self.torn_bytes > 0 {
            more += &format!(", {} bytes torn by a cut", self.torn_bytes);
        }
        if self.changed_segments > 0 {
            more += &format!(", {} segments changed meanwhile and were not checked", self.changed_segments);
        }
        writeln!(
            out,
            "{damage}: {} records in {} segments, {} live{more}",
            self.records, self.segments, self.live_records
        )?;
        Ok(())
    }

    const fn verdict(&self) -> Verdict {
        if self.sound { Verdict::Fine } else { Verdict::Found }
    }
}

pub(crate) fn verify(place: &Place, rewrites: bool, out: &mut Output) -> Result<Verdict, Failure> {
    let facts = facts(place, out)?;
    if let (true, Some(held)) = (rewrites, &facts.in_use) {
        return Err(Failure::InUse(held.to_string()));
    }
    let found = check(&facts, out)?;
    if !place.json {
        found.write(out)?;
    }
    let mut verdict = found.verdict();
    let (mut rewrite, mut after) = (None, None);
    if rewrites {
        let report = run_on(place, REBUILD_INDEX, out)?;
        let again = check(&facts, out)?;
        if !place.json {
            report.write(out)?;
            again.write(out)?;
        }
        verdict = again.verdict();
        (rewrite, after) = (Some(report), Some(again));
    }
    if place.json {
        out.json(&Verification { cache: name(&facts.path), found, rewrite, after })?;
    }
    Ok(verdict)
}
