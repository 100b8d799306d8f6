//! The command `import`.
//!
//! Lines are put in batches of a bounded size, with the durability `Buffered`; all of them are synced at the end.

use core::time::Duration;
use std::collections::HashSet;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read as _, Write as _};

use coldpress_std::inspect::{SnapshotEntry, is_tier};
use coldpress_std::{ColdTier, ColdTierConfig, Durability, GetError, PutOptions, Ttl};
use serde::Serialize;

use crate::caches::{now_s, open, open_with};
use crate::failure::{Failure, Verdict};
use crate::line::EntryLine;
use crate::options::Import;
use crate::output::Output;

/// Bytes of keys and values that are put together.
const BATCH_BYTES_MAX: usize = 4 << 20;
/// Entries that are put together.
const BATCH_ENTRIES_MAX: usize = 4096;
/// The longest line, by far: a value of 4 GiB has no line.
const LINE_BYTES_MAX: u64 = 1 << 30;

/// The counts of an import.
#[derive(Debug, Default, Serialize)]
struct Imported {
    /// Entries that were put.
    imported: u64,
    /// Entries whose key was there.
    kept: u64,
    /// Entries that expired before they were read.
    expired: u64,
}

/// Entries with one expiry, each key once.
#[derive(Debug, Default)]
struct Batch {
    pairs: Vec<(Vec<u8>, Vec<u8>)>,
    keys: HashSet<Vec<u8>>,
    expires_s: Option<u32>,
    bytes: usize,
    /// The line of the first entry.
    line: u64,
}

impl Batch {
    fn takes(&self, entry: &SnapshotEntry) -> bool {
        self.pairs.is_empty()
            || self.expires_s == entry.expires_s
                && self.bytes < BATCH_BYTES_MAX
                && self.pairs.len() < BATCH_ENTRIES_MAX
                && !self.keys.contains(&entry.key)
    }

    fn push(&mut self, line: u64, entry: SnapshotEntry) {
        if self.pairs.is_empty() {
            (self.line, self.expires_s) = (line, entry.expires_s);
        }
        self.bytes += entry.key.len() + entry.value.len();
        self.keys.insert(entry.key.clone());
        self.pairs.push((entry.key, entry.value));
    }

    /// Puts the entries, and is empty then.
    fn put(&mut self, tier: &ColdTier, replaces: bool, counts: &mut Imported) -> Result<(), Failure> {
        let batch = core::mem::take(self);
        let mut pairs = batch.pairs;
        if !replaces {
            let before = pairs.len();
            let mut failed = None;
            pairs.retain(|(key, _)| match tier.contains(key) {
                Ok(is_there) => !is_there,
                // The put reports a key that is too long, with its limit.
                Err(GetError::KeyTooLong { .. }) => true,
                Err(error) => {
                    failed = Some(error);
                    true
                }
            });
            if let Some(error) = failed {
                return Err(Failure::Work(format!("from line {}: {error}", batch.line)));
            }
            counts.kept += (before - pairs.len()) as u64;
        }
        let ttl = match batch.expires_s {
            None => Ttl::Never,
            Some(at) => match at.saturating_sub(now_s()) {
                0 => {
                    counts.expired += pairs.len() as u64;
                    return Ok(());
                }
                left_s => Ttl::After(Duration::from_secs(left_s.into())),
            },
        };
        let options = PutOptions { ttl, durability: Some(Durability::Buffered) };
        match tier.put_batch(&pairs, options) {
            Ok(()) => {
                counts.imported += pairs.len() as u64;
                Ok(())
            }
            Err(error) => {
                counts.imported += error.index as u64;
                Err(Failure::Work(format!("in the entries from line {}: {error}", batch.line)))
            }
        }
    }
}

/// Puts the entries of all lines, up to the first that is wrong.
fn put_lines(
    tier: &ColdTier,
    mut input: impl BufRead,
    replaces: bool,
    (counts, out): (&mut Imported, &mut Output),
) -> Result<(), Failure> {
    let (mut batch, mut text) = (Batch::default(), Vec::new());
    for number in 1_u64.. {
        text.clear();
        let read = input.by_ref().take(LINE_BYTES_MAX).read_until(b'\n', &mut text);
        let wrong = match read {
            Ok(0) => None,
            Ok(_) if text.trim_ascii().is_empty() => continue,
            Ok(_) => match EntryLine::read(&text) {
                Ok(entry) => {
                    if !batch.takes(&entry) {
                        batch.put(tier, replaces, counts)?;
                        out.bar().set_message(format!("{} entries", counts.imported));
                    }
                    batch.push(number, entry);
                    continue;
                }
                Err(error) => Some(Failure::Use(format!("line {number}: {error}"))),
            },
            Err(error) => Some(Failure::Work(format!("can't read the input: {error}"))),
        };
        // Lines before a wrong one are put all the same.
        batch.put(tier, replaces, counts)?;
        return wrong.map_or(Ok(()), Err);
    }
    Ok(())
}

fn target(import: &Import) -> Result<ColdTier, Failure> {
    let place = &import.place;
    let path = place.cache.as_ref().map_or_else(|| place.dir.clone(), |id| place.dir.join(id));
    if !import.create || is_tier(&path) {
        return open(place);
    }
    let mut config = ColdTierConfig::builder().partitions(import.partitions);
    if let Some(bytes) = import.capacity_bytes {
        config = config.capacity_bytes(bytes);
    }
    if let Some(schema) = &import.schema {
        config = config.schema(schema.as_str());
    }
    open_with(&path, config)
}

pub(crate) fn import(import: &Import, out: &mut Output) -> Result<Verdict, Failure> {
    let input: Box<dyn BufRead> = match &import.from {
        Some(path) => {
            let file = File::open(path).map_err(|error| Failure::at("open", path, &error))?;
            Box::new(BufReader::new(file))
        }
        None => Box::new(io::stdin().lock()),
    };
    let tier = target(import)?;
    let mut counts = Imported::default();
    out.begin("importing", false);
    let put = put_lines(&tier, input, import.replace, (&mut counts, out));
    out.end();
    // Entries before a wrong line stay, so they are synced too.
    let synced = tier.flush_to(Durability::Synced);
    let closed = tier.close();
    if import.place.json {
        out.json(&counts)?;
    } else {
        let Imported { imported, kept, expired } = counts;
        writeln!(out, "{imported} entries imported, {kept} kept as they were, {expired} expired")?;
    }
    put?;
    synced?;
    closed?;
    Ok(Verdict::Fine)
}
