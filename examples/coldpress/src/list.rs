//! The command `list`.

use std::io::Write as _;
use std::path::Path;

use coldpress_std::OpenError;
use coldpress_std::inspect::{PartitionFacts, PartitionShape, TierFacts};
use serde::Serialize;

use crate::caches::{find, name};
use crate::failure::{Failure, Verdict};
use crate::options::Place;
use crate::output::{Output, bytes};

/// The caches of a directory.
#[derive(Debug, Serialize)]
struct Listing {
    caches: Vec<CacheRow>,
}

/// A cache in a list.
#[derive(Debug, Serialize)]
pub(crate) struct CacheRow {
    cache: String,
    path: String,
    /// Whether a process has it open for writing.
    in_use: bool,
    /// The number of that process, where it is known.
    pid: Option<u32>,
    format_version: Option<u8>,
    schema: Option<String>,
    capacity_bytes: u64,
    disk_bytes: u64,
    partitions: Vec<PartitionRow>,
    /// Why it can't be read.
    error: Option<String>,
}

/// A partition in a list.
#[derive(Debug, Serialize)]
pub(crate) struct PartitionRow {
    file: String,
    bytes: u64,
    disk_bytes: u64,
    /// `log`, `unused`, `emptied` or `unreadable`.
    state: &'static str,
    segment_bytes: Option<u32>,
    segments: Option<u32>,
    format_version: Option<u8>,
    error: Option<String>,
}

impl CacheRow {
    pub(crate) fn of(path: &Path, facts: &Result<TierFacts, OpenError>) -> Self {
        let mut row = Self {
            cache: name(path),
            path: path.display().to_string(),
            in_use: false,
            pid: None,
            format_version: None,
            schema: None,
            capacity_bytes: 0,
            disk_bytes: 0,
            partitions: Vec::new(),
            error: None,
        };
        match facts {
            Ok(facts) => {
                // A relative path may end in dots.
                row.cache = name(&facts.path);
                row.path = facts.path.display().to_string();
                row.in_use = facts.in_use.is_some();
                row.pid = facts.in_use.as_ref().and_then(|held| held.pid());
                row.format_version = facts.format_version();
                row.schema = facts.schema.as_deref().map(str::to_owned);
                row.capacity_bytes = facts.capacity_bytes();
                row.disk_bytes = facts.disk_bytes();
                row.partitions = facts.partitions.iter().map(PartitionRow::of).collect();
                row.error = facts.check().err().map(|error| error.to_string());
            }
            Err(error) => row.error = Some(error.to_string()),
        }
        row
    }

    /// The process that has the cache open, in words.
    fn user(&self) -> String {
        match (self.in_use, self.pid) {
            (false, _) => "closed".to_owned(),
            (true, Some(pid)) => format!("open in the process {pid}"),
            (true, None) => "open in a process".to_owned(),
        }
    }

    pub(crate) fn write(&self, out: &mut Output) -> Result<(), Failure> {
        let schema =
            self.schema.as_ref().map_or_else(|| "no schema".to_owned(), |name| format!("schema {name:?}"));
        let format =
            self.format_version.map_or_else(|| "format unknown".to_owned(), |n| format!("format {n}"));
        writeln!(out, "{}  {}", self.cache, self.path)?;
        writeln!(
            out,
            "  {}, {format}, {schema}, capacity {}, on disk {}",
            self.user(),
            bytes(self.capacity_bytes),
            bytes(self.disk_bytes)
        )?;
        for part in &self.partitions {
            let shape = match (part.segments, part.segment_bytes) {
                (Some(segments), Some(length)) => format!("{segments} segments of {}", bytes(length.into())),
                _ => part.state.to_owned(),
            };
            writeln!(
                out,
                "  {}  {shape}, {}, on disk {}",
                part.file,
                bytes(part.bytes),
                bytes(part.disk_bytes)
            )?;
        }
        if let Some(error) = &self.error {
            writeln!(out, "  {error}")?;
        }
        Ok(())
    }
}

impl PartitionRow {
    fn of(part: &PartitionFacts) -> Self {
        let (mut segment_bytes, mut segments, mut format_version, mut error) = (None, None, None, None);
        let state = match &part.shape {
            PartitionShape::Known { segment_bytes: length, segments: count, version } => {
                (segment_bytes, segments, format_version) = (Some(*length), Some(*count), Some(*version));
                "log"
            }
            PartitionShape::Unused => "unused",
            PartitionShape::Emptied => "emptied",
            PartitionShape::Unreadable(reason) => {
                error = Some(reason.to_string());
                "unreadable"
            }
            _ => "unknown",
        };
        let file = name(&part.path);
        let (bytes, disk_bytes) = (part.bytes, part.disk_bytes);
        Self { file, bytes, disk_bytes, state, segment_bytes, segments, format_version, error }
    }
}

/// Lists all caches of a place. One that can't be read has its reason in the list, and the list fails at the end.
pub(crate) fn list(place: &Place, out: &mut Output) -> Result<Verdict, Failure> {
    let caches: Vec<_> = find(place)?.iter().map(|path| CacheRow::of(path, &TierFacts::read(path))).collect();
    let unreadable = caches.iter().filter(|row| row.error.is_some()).count();
    let all = caches.len();
    if place.json {
        out.json(&Listing { caches })?;
    } else {
        for row in &caches {
            row.write(out)?;
        }
    }
    match unreadable {
        0 => Ok(Verdict::Fine),
        _ => Err(Failure::Unreadable(format!("{unreadable} of {all} caches can't be read"))),
    }
}
