//! The views of an image.

use core::fmt::Write as _;

use coldpress_core::format::{Identity, Kind};
use coldpress_core::segments::SegmentState;
use coldpress_std::image::{Damage, Image, ImageError, Segment, StoredRecord};
use serde::Serialize;

/// The findings of a check of every record.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Verified {
    /// Segments with records.
    pub segments: u32,
    /// Records that validate.
    pub records: u64,
    /// Of these, the newest of their keys.
    pub live: u64,
    /// Bytes that a cut left of torn records: no damage.
    pub torn_bytes: u64,
    /// One line for everything that is damaged.
    pub damage: Vec<String>,
}

impl Verified {
    /// All of it in a line.
    #[must_use]
    pub fn summary(&self) -> String {
        let torn = match self.torn_bytes {
            0 => String::new(),
            bytes => format!(", {bytes} bytes torn by a cut"),
        };
        let damage = match self.damage.len() {
            0 => "sound".to_owned(),
            1 => "1 place damaged".to_owned(),
            places => format!("{places} places damaged"),
        };
        format!("{damage}: {} records in {} segments, {} live{torn}", self.records, self.segments, self.live)
    }
}

/// Checks every record of an image.
///
/// # Errors
/// [`ImageError`] where it can't be gone through.
pub fn verify(image: &Image) -> Result<Verified, ImageError> {
    let mut verified = Verified::default();
    for segment in 0..image.geometry().segment_count() {
        let contents = image.examine(segment)?;
        verified.segments += u32::from(!contents.records.is_empty());
        verified.records += contents.records.len() as u64;
        verified.live += contents.records.iter().filter(|record| record.is_live).count() as u64;
        verified.torn_bytes += u64::from(contents.torn_bytes);
        verified.damage.extend(contents.damage.iter().map(|damage| damage_line(segment, damage)));
    }
    Ok(verified)
}

/// A damaged place in a line.
#[must_use]
pub fn damage_line(segment: u32, damage: &Damage) -> String {
    let what = match damage {
        Damage::Unreadable => "it can't be read".to_owned(),
        Damage::Quarantined => "neither blank nor readable: no copy of its header is whole".to_owned(),
        Damage::Header => "a copy of its header is damaged; the other one serves".to_owned(),
        Damage::Unsearched { offset } => {
            format!("from {offset} on it was not read to the end: the search for a record was given up")
        }
        Damage::Footer => "its footer is damaged; its records serve".to_owned(),
        Damage::Record { offset, hash, is_live } => {
            let key = hash.map_or(String::new(), |hash| format!(" of the key with hash {}", hex(&hash.0)));
            let loss = if *is_live { ", the newest of its key" } else { "" };
            format!("the record at {offset}{key} is damaged{loss}")
        }
        other => format!("{other:?}"),
    };
    format!("segment {segment}: {what}")
}

/// All records, segment by segment.
pub fn records(image: &Image) -> impl Iterator<Item = Result<StoredRecord, ImageError>> + '_ {
    (0..image.geometry().segment_count()).flat_map(|segment| match image.examine(segment) {
        Ok(contents) => contents.records.into_iter().map(Ok).collect::<Vec<_>>(),
        Err(error) => vec![Err(error)],
    })
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut out, byte| {
        let _ = write!(out, "{byte:02x}");
        out
    })
}

const fn kind_name(kind: Kind) -> &'static str {
    match kind {
        Kind::Value => "value",
        Kind::Tombstone => "tombstone",
        Kind::EraseIntent => "freed",
        Kind::Time => "time",
    }
}

/// A record in a line: place, whether it is live, kind, version, expiry, codec, stored bytes, key.
#[must_use]
pub fn dump_line(record: &StoredRecord) -> String {
    let expires = record.expires_s.map_or_else(|| "-".to_owned(), |at| at.to_string());
    format!(
        "{:>5}:{:<8} {:<5} {:<9} {:>6}:{:<8} {:>10} {:<10} {:>8}  {}",
        record.location.segment,
        record.location.offset,
        if record.is_live { "live" } else { "stale" },
        kind_name(record.kind),
        record.version.sequence,
        record.version.offset,
        expires,
        record.codec.name().to_owned(),
        record.stored.len(),
        record.key.escape_ascii()
    )
}

#[derive(Serialize)]
struct DumpedRecord<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    partition: Option<u16>,
    segment: u32,
    offset: u32,
    live: bool,
    kind: &'a str,
    sequence: u32,
    version: [u32; 2],
    expires_s: Option<u32>,
    codec: String,
    record_bytes: u32,
    key: String,
    key_hex: String,
    value_hex: Option<String>,
}

/// A record as a JSON object, with the number of its partition where there are several; `value_hex` is the value decoded, null where this build can't.
///
/// # Errors
/// The error of the JSON writer.
pub fn dump_json(partition: Option<u16>, record: &StoredRecord) -> Result<String, serde_json::Error> {
    let value = if record.kind == Kind::Value { record.value().ok() } else { None };
    serde_json::to_string(&DumpedRecord {
        partition,
        segment: record.location.segment.get(),
        offset: record.location.offset,
        live: record.is_live,
        kind: kind_name(record.kind),
        sequence: record.location.sequence.get(),
        version: [record.version.sequence.get(), record.version.offset],
        expires_s: record.expires_s,
        codec: record.codec.name().to_owned(),
        record_bytes: record.record_bytes,
        key: record.key.escape_ascii().to_string(),
        key_hex: hex(&record.key),
        value_hex: value.map(|value| hex(&value)),
    })
}

/// One segment of the table.
#[derive(Debug, Clone, Serialize)]
pub struct SegmentRow {
    /// Its number.
    pub segment: u32,
    /// Its state.
    pub state: &'static str,
    /// The sequence of this life; 0 where it has none.
    pub sequence: u32,
    /// How often it was erased.
    pub erases: u32,
    /// Records in it.
    pub records: usize,
    /// Bytes of records that are needed.
    pub live_bytes: u32,
    /// Bytes of records that are not.
    pub stale_bytes: u32,
    /// Whether a footer lists its records.
    pub footer: bool,
    /// Places damaged.
    pub damage: usize,
}

/// The stats of an image.
#[derive(Debug, Clone, Serialize)]
pub struct Stats {
    /// Its shape in words.
    pub shape: String,
    /// Number of the store.
    pub store_id: u64,
    /// The newest time on it, in seconds.
    pub clock_s: u32,
    /// Keys that have a value, expired ones included.
    pub keys: usize,
    /// Records, live and stale.
    pub records: usize,
    /// Bytes of records that are needed.
    pub live_bytes: u64,
    /// Bytes of records that are not.
    pub stale_bytes: u64,
    /// The fewest erases of a segment.
    pub erases_min: u32,
    /// The most.
    pub erases_max: u32,
    /// All of them.
    pub erases: u64,
    /// Places damaged.
    pub damage: usize,
    /// The table.
    pub segments: Vec<SegmentRow>,
}

/// The state of a segment in a word.
#[must_use]
pub const fn state_name(segment: &Segment) -> &'static str {
    match segment.state() {
        SegmentState::Free => "free",
        // It is erased before its first use.
        SegmentState::Freeing if segment.sequence.get() == 0 => "unused",
        SegmentState::Sealed => "sealed",
        SegmentState::Freeing => "freeing",
        SegmentState::Quarantined => "quarantined",
        _ => "open",
    }
}

/// Sums an image up.
///
/// # Errors
/// [`ImageError`] where it can't be gone through.
pub fn stats(image: &Image) -> Result<Stats, ImageError> {
    let mut rows = Vec::new();
    for (index, known) in (0..).zip(image.segments()) {
        let contents = image.examine(index)?;
        rows.push(SegmentRow {
            segment: index,
            state: state_name(known),
            sequence: known.sequence.get(),
            erases: known.erases,
            records: contents.records.len(),
            live_bytes: known.live_bytes(),
            stale_bytes: known.stale_bytes(),
            footer: known.has_footer(),
            damage: contents.damage.len(),
        });
    }
    let g = image.geometry();
    let identity = if g.identity() == Identity::KeyBytes { "their bytes" } else { "a hash" };
    let shape = format!(
        "{} segments of {} bytes, write unit {}, erased {:02x}, keys by {identity}",
        g.segment_count(),
        g.segment_bytes(),
        g.write_unit(),
        g.erase_value()
    );
    let sum = |of: fn(&SegmentRow) -> u32| rows.iter().map(|row| u64::from(of(row))).sum();
    Ok(Stats {
        shape,
        store_id: image.store().id,
        clock_s: image.clock_s(),
        keys: image.len(),
        records: rows.iter().map(|row| row.records).sum(),
        live_bytes: sum(|row| row.live_bytes),
        stale_bytes: sum(|row| row.stale_bytes),
        erases_min: rows.iter().map(|row| row.erases).min().unwrap_or(0),
        erases_max: rows.iter().map(|row| row.erases).max().unwrap_or(0),
        erases: sum(|row| row.erases),
        damage: rows.iter().map(|row| row.damage).sum(),
        segments: rows,
    })
}

/// The table that a person reads. Free segments that were never erased are summed up in a line.
#[must_use]
pub fn stats_table(stats: &Stats) -> String {
    let mut text = format!("{}\n", stats.shape);
    let _ = writeln!(text, "store {:016x}, newest time {} s", stats.store_id, stats.clock_s);
    let _ = writeln!(
        text,
        "\n{:>7}  {:<12}{:>9}{:>8}{:>9}{:>11}{:>11}  {:<7}{:>7}",
        "segment", "state", "sequence", "erases", "records", "live B", "stale B", "footer", "damage"
    );
    let is_shown = |row: &&SegmentRow| row.state != "free" || row.erases > 0;
    for row in stats.segments.iter().filter(is_shown) {
        let footer = if row.footer { "yes" } else { "-" };
        let _ = writeln!(
            text,
            "{:>7}  {:<12}{:>9}{:>8}{:>9}{:>11}{:>11}  {:<7}{:>7}",
            row.segment,
            row.state,
            row.sequence,
            row.erases,
            row.records,
            row.live_bytes,
            row.stale_bytes,
            footer,
            row.damage
        );
    }
    let unused = stats.segments.len() - stats.segments.iter().filter(is_shown).count();
    if unused > 0 {
        let _ = writeln!(text, "{unused:>7}  never used");
    }
    let _ = writeln!(
        text,
        "\n{} keys, {} records, {} B live, {} B stale\nwear: {} erases, {} to {} a segment\ndamage: {} places",
        stats.keys,
        stats.records,
        stats.live_bytes,
        stats.stale_bytes,
        stats.erases,
        stats.erases_min,
        stats.erases_max,
        stats.damage
    );
    text
}
