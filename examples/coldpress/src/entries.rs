//! The commands `keys`, `get` and `dump`.

use std::io::Write as _;

use coldpress_examples::image::{damage_line, dump_json, dump_line};
use coldpress_std::inspect::{InspectError, PartitionLog, Snapshot, SnapshotEntry, SnapshotError, TierFacts};

use crate::caches::{facts, now_s};
use crate::failure::{Failure, Verdict};
use crate::line::{EntryLine, from_typed, key_of, shown, typed_string};
use crate::options::{Get, Place};
use crate::output::Output;

/// Hands out each entry. Damage is a warning; the last failure that hides a part of the entries comes at the end.
pub(crate) fn each(
    facts: &TierFacts,
    has_values: bool,
    out: &mut Output,
    mut take: impl FnMut(&mut Output, SnapshotEntry) -> Result<(), Failure>,
) -> Result<Verdict, Failure> {
    let mut snapshot = Snapshot::new(facts, now_s());
    if !has_values {
        snapshot = snapshot.without_values();
    }
    let (mut verdict, mut failure) = (Verdict::Fine, None);
    while let Some(entry) = snapshot.next() {
        out.show(snapshot.permille().into());
        match entry {
            Ok(entry) => take(out, entry)?,
            Err(error) => {
                out.warn(&error);
                match verdict_of(error) {
                    Ok(found) => verdict = found,
                    Err(error) => failure = Some(error),
                }
            }
        }
    }
    if failure.is_none() && !snapshot.is_settled() {
        let text = "the service frees segments all the time, so entries that it relocated may be missing";
        failure = Some(Failure::Work(text.to_owned()));
    }
    failure.map_or(Ok(verdict), Err)
}

/// Distinguishes damage, which is a finding, from a failure to read.
fn verdict_of(error: SnapshotError) -> Result<Verdict, Failure> {
    match error {
        SnapshotError::Damaged { .. } | SnapshotError::Segment { .. } => Ok(Verdict::Found),
        error => Err(error.into()),
    }
}

pub(crate) fn keys(place: &Place, out: &mut Output) -> Result<Verdict, Failure> {
    let facts = facts(place, out)?;
    out.begin("reading", true);
    let verdict = each(&facts, false, out, |out, entry| {
        if place.json {
            return out.json(&EntryLine::of_key(entry.key, entry.expires_s));
        }
        Ok(writeln!(out, "{}", shown(&entry.key))?)
    });
    out.end();
    verdict
}

pub(crate) fn get(get: &Get, out: &mut Output) -> Result<Verdict, Failure> {
    let key = if get.string {
        typed_string(&get.key)
    } else {
        key_of(&get.key, get.base64).map_err(|error| Failure::Use(error.to_string()))?
    };
    let facts = facts(&get.place(), out)?;
    match Snapshot::new(&facts, now_s()).get(&key) {
        Ok(Some(entry)) if get.json => out.json(&EntryLine::of(entry))?,
        Ok(Some(entry)) if get.string => {
            let Some(bytes) = from_typed(&entry.value) else {
                return Err(Failure::Use("the value is no string: leave --string out".to_owned()));
            };
            out.write_all(bytes)?;
        }
        Ok(Some(entry)) => out.write_all(&entry.value)?,
        Ok(None) => {
            let hint = if get.string || get.base64 { "" } else { "; keys of a typed cache take --string" };
            out.warn(&format!("no value of the key {}{hint}", shown(&key)));
            return Ok(Verdict::Found);
        }
        Err(error) => {
            out.warn(&error);
            return verdict_of(error);
        }
    }
    Ok(Verdict::Fine)
}

pub(crate) fn dump(place: &Place, live: bool, out: &mut Output) -> Result<Verdict, Failure> {
    let facts = facts(place, out)?;
    let mut verdict = Verdict::Fine;
    for number in (0..).take(facts.partitions.len()) {
        let Some(partition) = PartitionLog::open(&facts, number)? else { continue };
        for segment in 0..partition.image().geometry().segment_count() {
            let contents = partition.examine(segment).map_err(|error| {
                let path = partition.path().to_path_buf();
                Failure::from(InspectError::Log { path, error })
            })?;
            let Some(contents) = contents else {
                out.warn(&format!(
                    "partition {number}, segment {segment}: it changed meanwhile and is left out"
                ));
                continue;
            };
            for record in contents.records.iter().filter(|record| record.is_live || !live) {
                if place.json {
                    writeln!(out, "{}", dump_json(Some(number), record)?)?;
                } else {
                    writeln!(out, "{number:>3} {}", dump_line(record))?;
                }
            }
            for damage in &contents.damage {
                out.warn(&format!("partition {number}, {}", damage_line(segment, damage)));
                verdict = Verdict::Found;
            }
        }
    }
    Ok(verdict)
}
