//! What a machine is built from: its configuration, the memory lent to it, and the arithmetic of the reserve.

use core::fmt;

use super::Placed;
use super::slot::SlotNotes;
use crate::compaction::PaceConfig;
use crate::log::{
    ENTRY_BYTES_MAX, FREED_BYTES, Geometry, Identity, KeyHash, Policy, RECORD_HEADER_BYTES_MAX,
    RECORD_HEADER_BYTES_MIN, Segment, Store, TIME_BYTES, TRAILER_BYTES,
};

/// How many segments a machine can have open or sealing at a time.
pub const SLOTS_MAX: usize = 8;

/// Streams of records, each with an open segment of its own, so that records of like lifetime die together.
///
/// After SepBIT (Wang et al., FAST 2022): a fresh record is as short-lived as what it replaces was; a relocated one has as
/// much life ahead as it is old.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Stream {
    /// Fresh records that replace a short-lived one.
    Hot,
    /// Other fresh records.
    Warm,
    /// Relocated records that are young.
    Young,
    /// Relocated records that are old.
    Old,
}

/// How many streams a machine uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Streams {
    /// One for all: fresh and relocated records share a segment. The least RAM, and no rest of a segment is kept open.
    One,
    /// One for fresh records, one for relocated ones.
    Two,
    /// Fresh and relocated records by temperature.
    #[default]
    Four,
}

impl Streams {
    /// How many there are.
    #[must_use]
    pub const fn count(self) -> u32 {
        match self {
            Self::One => 1,
            Self::Two => 2,
            Self::Four => 4,
        }
    }
}

/// The configuration of a machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct TierConfig {
    /// The shape of the medium.
    pub geometry: Geometry,
    /// The store to make where the medium is blank; where it is not, only its partition numbers are compared.
    pub store: Store,
    /// The longest record, in bytes, header and padding included.
    pub record_bytes_max: u32,
    /// How many streams.
    pub streams: Streams,
    /// Whether segments get footers. Without them a mount reads every record, and slots need no memory for them.
    pub has_footers: bool,
    /// Whether bytes that a mount finds blank may be written. On a file they may; a unit of flash can read blank after a cut
    /// and be programmed, or erased, in part: there a segment found blank is erased again before it is opened.
    pub trusts_blank: bool,
    /// How victims are chosen while there is no shortage.
    pub policy: Policy,
    /// Compaction begins by itself when fewer segments than this are free beyond the reserve.
    pub low_watermark_segments: u32,
    /// It ends when so many are.
    pub high_watermark_segments: u32,
    /// A task compacts segments with at least this share of stale bytes, in permille.
    pub stale_permille_min: u16,
    /// The most by which the erases of two segments may differ before what is cold in the least worn one is moved off
    /// it; `u32::MAX` for never.
    pub wear_spread_max: u32,
    /// How fast it may go.
    pub pace: PaceConfig,
    /// The most bytes copied or checked in one poll.
    pub step_bytes: u32,
    /// The most records, or entries of a footer, that a mount or the end of a segment takes in one poll.
    pub step_records: u32,
    /// The clock is written to the log at least every so many seconds.
    pub time_every_s: u32,
    /// How far the wall clock may jump ahead, while the machine runs or from the newest time on the medium at a mount, in seconds.
    /// A longer jump is refused until it is [confirmed](super::Tier::confirm_clock); the tier's time goes on by the monotonic clock
    /// meanwhile.
    pub clock_jump_s_max: u32,
    /// How long the pools have to answer, in milliseconds.
    pub cleanup_timeout_ms: u32,
    /// Live records that `OptimizeCompression` measures codecs on.
    pub samples: u32,
}

impl TierConfig {
    /// A configuration with the defaults for a geometry.
    ///
    /// `record_bytes_max` is a quarter of a segment, or 1 MiB.
    #[must_use]
    pub const fn new(geometry: Geometry, store: Store) -> Self {
        let quarter = geometry.usable_bytes() / 4;
        Self {
            geometry,
            store,
            record_bytes_max: if quarter < 1 << 20 { quarter } else { 1 << 20 },
            streams: Streams::Four,
            has_footers: true,
            trusts_blank: geometry.write_unit() == 1,
            policy: Policy::Adaptive,
            low_watermark_segments: 1,
            high_watermark_segments: 1,
            stale_permille_min: 250,
            wear_spread_max: u32::MAX,
            pace: PaceConfig { bytes_per_s: None },
            step_bytes: 256 << 10,
            step_records: 256,
            time_every_s: 60,
            clock_jump_s_max: 366 * 24 * 3600,
            cleanup_timeout_ms: 500,
            samples: 256,
        }
    }

    /// Bytes of live records, each at its [charge](Self::charge_bytes), that the medium is sure to hold.
    ///
    /// The segments that are not in the reserve, each less the one record that may not have fitted at its end and, where
    /// records are few and segments small, less what cleaning it costs: see [`reserve_segments`].
    #[must_use]
    pub const fn charge_bytes_max(&self) -> u64 {
        let lost = self.record_bytes_max + if self.has_footers { 0 } else { self.overhead_bytes() };
        let usable = self.geometry.usable_bytes().saturating_sub(lost);
        let segments = self.geometry.segment_count().saturating_sub(reserve_segments(self.streams));
        usable as u64 * segments as u64
    }

    /// The machine's own records in a segment: its freed record, and a time record.
    const fn overhead_bytes(&self) -> u32 {
        self.freed_bytes() + self.time_bytes()
    }

    /// A time record.
    pub(super) const fn time_bytes(&self) -> u32 {
        self.geometry.padded(RECORD_HEADER_BYTES_MIN + TIME_BYTES) + self.entry_bytes()
    }

    /// A freed record.
    #[expect(clippy::cast_possible_truncation, reason = "twelve")]
    pub(super) const fn freed_bytes(&self) -> u32 {
        self.geometry.padded(RECORD_HEADER_BYTES_MIN + FREED_BYTES as u32) + self.entry_bytes()
    }

    /// What a record is charged: its bytes once relocated, its footer entry, and what a remove of it takes beyond that.
    ///
    /// A remove always fits. Its tombstone is live from the moment at which the value is not, so one charge serves for both
    /// where a tombstone is no longer than the value that it hides: where keys are stored as they are, since it has the same
    /// key, no value and no expiry. Where keys are hashed it carries 12 bytes for a key that may be shorter, and is charged too.
    /// Until it is published it lies in an open segment, which is in the reserve.
    #[must_use]
    pub fn charge_bytes(&self, key_bytes: u32, value_bytes: u32, expires: bool) -> u32 {
        use crate::log::{Kind, RecordHeader, Version};
        let header = RecordHeader {
            kind: Kind::Value,
            codec: 1,
            key_bytes,
            value_bytes,
            expires_s: expires.then_some(0),
            origin: (self.streams != Streams::One).then_some(Version { sequence: 0, offset: 0 }),
        };
        let value = header.record_bytes(&self.geometry) + self.entry_bytes();
        if self.geometry.identity() == Identity::KeyBytes {
            return value;
        }
        let tombstone =
            RecordHeader { kind: Kind::Tombstone, key_bytes: 12, value_bytes: 0, expires_s: None, ..header };
        value + tombstone.record_bytes(&self.geometry) + self.entry_bytes()
    }

    /// The most that a record grows by when it is relocated: by an origin, which it has none of with one stream, and an entry
    /// in a footer.
    #[must_use]
    pub const fn growth_bytes(&self) -> u32 {
        let origin = match self.streams {
            Streams::One => 0,
            _ => self.geometry.padded(self.geometry.origin_bytes()),
        };
        origin + self.entry_bytes()
    }

    /// The most that a record takes in a footer.
    pub(super) const fn entry_bytes(&self) -> u32 {
        if self.has_footers { ENTRY_BYTES_MAX } else { 0 }
    }

    pub(super) fn check(&self, memory: &Memory<'_>) -> Result<(), ConfigError> {
        let g = &self.geometry;
        let count = g.segment_count() as usize;
        if memory.segments.len() != count {
            return Err(ConfigError::SegmentMemory(g.segment_count()));
        }
        let slots = self.streams.count() as usize + 1;
        if memory.slots.len() < slots {
            return Err(ConfigError::Slots(self.streams.count() + 1));
        }
        // One record must fit a segment with its entry, else it could never be placed.
        let entry = ENTRY_BYTES_MAX + TRAILER_BYTES;
        if self.record_bytes_max <= RECORD_HEADER_BYTES_MAX
            || self.record_bytes_max.saturating_add(entry) > g.usable_bytes()
        {
            return Err(ConfigError::RecordBytes(g.usable_bytes().saturating_sub(entry)));
        }
        let record = self.record_bytes_max as usize;
        // The parts of a segment's ends are read one by one into it; the header is the longest.
        let header = g.padded(g.header_bytes());
        if memory.scan.len() < header as usize {
            return Err(ConfigError::Buffer(header));
        }
        let lacks_recode = !memory.recode.is_empty() && memory.recode.len() < record;
        if memory.copy.len() < record || memory.scan.len() < record || lacks_recode {
            return Err(ConfigError::Buffer(self.record_bytes_max));
        }
        if !self.has_footers && memory.slots.iter().any(|slot| !slot.footer.is_empty()) {
            return Err(ConfigError::Footers);
        }
        for slot in &memory.slots {
            if slot.records.len() < record || slot.placed.is_empty() {
                return Err(ConfigError::Buffer(self.record_bytes_max));
            }
        }
        // Beyond the reserve: one to fill and clean, and what the low watermark asks for.
        let least = reserve_segments(self.streams) + self.low_watermark_segments.max(1);
        if g.segment_count() <= least {
            return Err(ConfigError::Segments(least + 1));
        }
        if self.step_bytes == 0
            || self.step_records == 0
            || self.time_every_s == 0
            || self.stale_permille_min > 1000
        {
            return Err(ConfigError::Steps);
        }
        if self.high_watermark_segments < self.low_watermark_segments {
            return Err(ConfigError::Watermarks);
        }
        Ok(())
    }
}

/// Segments that live records may not fill.
///
/// Each stream keeps one open (`streams`), one more may be sealing and one opening, [`FREE_RESERVE`] stay free for
/// compaction and for removes, and one is on its way from victim to free.
///
/// **Why it is enough (I-GC-2).** Let U be the usable bytes of a segment, r the longest record and R the reserve, of N
/// segments. In a shortage at least N − R + 1 segments are sealed, and all that is live takes at most (N − R)(U − r), so
/// the least live of them holds less than U − r: relocated, it fits into one segment, whatever record did not fit at its
/// end. That segment is there, for fresh records leave [`FREE_RESERVE`] free. Where there are no footers, U is taken less
/// the freed record that each cleaning writes and a time record, too, so that a victim always yields more than it costs.
///
/// With [`Streams::One`] fresh records fill up the segment that relocation opened, but only while as many segments are free
/// beside it as ever: once the cleaning has given back the one it took. And relocation to the last free segment keeps the
/// versions of records, so that an output that a cut ends early there is dead, and gives its segment back: however many cuts
/// fall on compaction one after the other, one segment is left to go on with, and two free ones do.
#[must_use]
pub const fn reserve_segments(streams: Streams) -> u32 {
    streams.count() + 2 + free_reserve(streams) + 1
}

/// Free segments that fresh records may not take.
///
/// Cleaning a victim needs at most one new output segment, since what is live in it is less than a segment (a victim yields
/// more than it costs), and gives one back. The second is for an output that was sealed early, by a failed write or by a cut;
/// the third lets a tombstone be appended while the first two are in use.
pub const FREE_RESERVE: u32 = 3;

/// [`FREE_RESERVE`] of a machine with these streams: with one alone, none is kept for tombstones beside relocation.
#[must_use]
pub const fn free_reserve(streams: Streams) -> u32 {
    match streams {
        Streams::One => FREE_RESERVE - 1,
        _ => FREE_RESERVE,
    }
}

const _: () = assert!(
    crate::log::SEGMENTS_MIN >= reserve_segments(Streams::Two) + 2,
    "the smallest medium holds the reserve, one segment of data and one to clean"
);

/// Memory for one open segment.
pub struct SlotMemory<'m> {
    /// Records on their way to the medium; at least the longest record.
    pub records: &'m mut [u8],
    /// The footer, as it grows; empty for segments without one.
    pub footer: &'m mut [u8],
    /// Records that are not published yet.
    pub placed: &'m mut [Pending],
    /// What else is noted of it.
    pub notes: &'m mut SlotNotes,
}

// The buffers hold headers, in which the secret of the store is, and values of clients.
impl fmt::Debug for SlotMemory<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SlotMemory").field("notes", &self.notes).finish_non_exhaustive()
    }
}

/// The memory lent to a machine.
pub struct Memory<'m> {
    /// One per segment of the medium.
    pub segments: &'m mut [Segment],
    /// One per stream, and at least one more, so that appends go on while a full segment waits for its sync.
    pub slots: heapless::Vec<SlotMemory<'m>, SLOTS_MAX>,
    /// For reading victims; at least the longest record.
    pub copy: &'m mut [u8],
    /// For reading footers and for verifying; at least the longest record.
    pub scan: &'m mut [u8],
    /// For encoding a value again; at least the longest record, or empty where that is never done.
    pub recode: &'m mut [u8],
}

impl fmt::Debug for Memory<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Memory")
            .field("segments", &self.segments)
            .field("slots", &self.slots)
            .finish_non_exhaustive()
    }
}

/// A record that is in a slot's buffer and not published.
#[derive(Debug, Clone, Copy, Default)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Pending(Room);

/// An option whose empty value is all zeros, so that a `static` of them takes no room in an image.
#[derive(Debug, Clone, Copy, Default)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[repr(u8)]
enum Room {
    #[default]
    Empty = 0,
    Taken(KeyHash, Placed) = 1,
}

impl Pending {
    /// Room for a record; usable in a `static`, where it takes no room in the image.
    #[must_use]
    pub const fn new() -> Self {
        Self(Room::Empty)
    }

    pub(super) const fn of(hash: KeyHash, placed: Placed) -> Self {
        Self(Room::Taken(hash, placed))
    }

    pub(super) const fn record(&self) -> Option<(KeyHash, Placed)> {
        match self.0 {
            Room::Empty => None,
            Room::Taken(hash, placed) => Some((hash, placed)),
        }
    }
}

/// Why a machine can't be built.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum ConfigError {
    /// The table lent must have this many entries.
    SegmentMemory(u32),
    /// At least so many slots must be lent.
    Slots(u32),
    /// The longest record must be longer than a header and at most this.
    RecordBytes(u32),
    /// Every buffer must have at least this length, and every slot room for one record.
    Buffer(u32),
    /// At least so many segments are needed.
    Segments(u32),
    /// Memory for footers was lent to a machine that writes none.
    Footers,
    /// The high watermark is below the low one.
    Watermarks,
    /// `step_bytes`, `step_records` and `time_every_s` are at least 1, `stale_permille_min` at most 1,000.
    Steps,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SegmentMemory(n) => write!(f, "the segment table needs exactly {n} entries"),
            Self::Slots(n) => write!(f, "at least {n} slots are needed"),
            Self::RecordBytes(max) => write!(f, "the longest record is limited to {max} bytes"),
            Self::Buffer(n) => write!(f, "every buffer needs at least {n} bytes"),
            Self::Segments(n) => write!(f, "at least {n} segments are needed"),
            Self::Footers => f.write_str("memory for footers, and no footers to write"),
            Self::Watermarks => f.write_str("the high watermark is below the low one"),
            Self::Steps => f.write_str("steps and times of zero, or a share above 1,000 permille"),
        }
    }
}

impl core::error::Error for ConfigError {}
