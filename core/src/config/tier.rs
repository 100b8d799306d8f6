//! The configuration of a machine, and the charge of a record.

use super::pace::PaceConfig;
use super::reserve::{APART_MARGIN_SEGMENTS, Reserve, capacity_reserve_segments, reserve_segments};
use super::stream::Streams;
use crate::codec::CodecId;
use crate::format::{
    ENTRY_BYTES, ENTRY_BYTES_MAX, ERASE_INTENT_BYTES, Geometry, Identity, Kind, RECORD_HEADER_BYTES_MIN,
    RecordHeader, Store, TIME_BYTES, Version,
};
use crate::segments::{Growth, Policy};

/// The configuration of a machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct TierConfig {
    /// The shape of the medium.
    pub geometry: Geometry,
    /// The store to make where the medium is blank. Elsewhere only its partition numbers are compared.
    pub store: Store,
    /// The longest record, in bytes, header and padding included.
    pub record_bytes_max: u32,
    /// How many streams.
    pub streams: Streams,
    /// How many segments live records may not fill. [`Reserve::One`] takes one stream and no footers.
    pub reserve: Reserve,
    /// Whether segments get footers. Without them a mount reads every record, and slots need no memory for them.
    pub has_footers: bool,
    /// Whether bytes that a mount finds blank may be written. On a file they may; a unit of flash can read blank after a cut
    /// and be programmed, or erased, in part: there a segment found blank is erased again before it is opened.
    pub trusts_blank: bool,
    /// Whether blocks of the medium are allocated ahead, and an erase keeps them: on a file, which is sparse. Then a segment is
    /// opened only once it has blocks, so cleaning and removes need nothing of a disk that is full.
    pub allocates: bool,
    /// Whether dead segments are freed, and half-stale ones cleaned while no client writes, without a task or a shortage. So an
    /// emptied tier gives its space back by itself.
    pub cleans_at_rest: bool,
    /// How victims are chosen while there is no shortage.
    pub policy: Policy,
    /// Compaction begins by itself when fewer segments than this are free beyond the reserve.
    pub low_watermark_segments: u32,
    /// It ends when so many are free.
    pub high_watermark_segments: u32,
    /// A task compacts segments with at least this share of stale bytes, in permille.
    pub stale_permille_min: u16,
    /// The most by which the erases of two segments may differ before cold records are moved off the least worn one; `u32::MAX`
    /// for never.
    pub wear_spread_max: u32,
    /// The speed of compaction.
    pub pace: PaceConfig,
    /// The most bytes copied or checked in one poll.
    pub step_bytes: u32,
    /// The most records, or entries of a footer, that a mount or the end of a segment takes in one poll.
    pub step_records: u32,
    /// The clock is written to the log at least every so many seconds.
    pub time_every_s: u32,
    /// How far the wall clock may jump ahead, while the machine runs or from the newest time on the medium at a mount, in seconds.
    /// A longer jump is refused until it is [confirmed](crate::machine::Tier::confirm_clock); the tier's time goes on by the monotonic clock
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
            reserve: Reserve::Several,
            has_footers: true,
            trusts_blank: geometry.write_unit() == 1,
            allocates: false,
            cleans_at_rest: false,
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
    /// As [`charge_bytes_with`](Self::charge_bytes_with), with the longest record that there may be, and no segment out of use.
    #[must_use]
    pub const fn charge_bytes_max(&self) -> u64 {
        self.charge_bytes_with(self.record_bytes_max, 0)
    }

    /// Bytes of live records, each at its charge, that the medium is sure to hold. Segments end early by `longest_bytes`, on the
    /// average, and `lost_segments` are out of use for their damage.
    ///
    /// Counts the segments that are not in the reserve, each less the record that may not have fitted at its end, and less the
    /// machine's own records: see [`capacity_reserve_segments`].
    #[must_use]
    pub const fn charge_bytes_with(&self, longest_bytes: u32, lost_segments: u32) -> u64 {
        let reserve = match self.reserve {
            Reserve::Several => capacity_reserve_segments(self.streams),
            Reserve::One => 1,
        };
        self.data_bytes(longest_bytes, reserve.saturating_add(lost_segments))
    }

    /// Bytes of keys and values that the medium is sure to hold, if all keys and all values have these lengths, as encoded.
    /// Either each value `expires` or none does. 0 where such a record is longer than `record_bytes_max`.
    ///
    /// The whole records that [`charge_bytes_max`](Self::charge_bytes_max) has space for. A service keeps a fiftieth of the segments empty
    /// on top, and counts with the records that it has instead of the longest that there may be.
    ///
    /// ```
    /// use coldpress_core::format::{Geometry, Identity, Store};
    /// use coldpress_core::config::{Streams, TierConfig};
    ///
    /// // A device: 64 segments of 4 KiB, no footers, one stream, records of up to 128 bytes.
    /// let geometry = Geometry::new(4096, 64, 4, 0xFF, Identity::KeyBytes)?;
    /// let store = Store { id: 1, hash_key: [0; 16], partition: 0, partitions: 1 };
    /// let config = TierConfig {
    ///     record_bytes_max: 128,
    ///     streams: Streams::One,
    ///     has_footers: false,
    ///     ..TierConfig::new(geometry, store)
    /// };
    /// assert_eq!(config.usable_bytes(4, 64, false), 68 * 2_887);
    /// assert_eq!(config.usable_bytes(4, 128, false), 0, "longer than the longest record");
    /// # Ok::<(), coldpress_core::format::GeometryError>(())
    /// ```
    #[must_use]
    pub const fn usable_bytes(&self, key_bytes: u32, value_bytes: u32, expires: bool) -> u64 {
        let expires_s = if expires { Some(0) } else { None };
        let header = record(Kind::Value, key_bytes, value_bytes, expires_s);
        if self.longest_form_bytes(&header) > self.record_bytes_max {
            return 0;
        }
        let records = self.charge_bytes_max() / self.charge_bytes(key_bytes, value_bytes, expires) as u64;
        records * (key_bytes as u64 + value_bytes as u64)
    }

    /// Bytes that all segments but `taken` hold.
    const fn data_bytes(&self, longest_bytes: u32, taken: u32) -> u64 {
        let lost = longest_bytes.saturating_add(self.overhead_bytes());
        let usable = self.geometry.usable_bytes().saturating_sub(lost);
        usable as u64 * self.geometry.segment_count().saturating_sub(taken) as u64
    }

    /// Bytes of live records, as [relocated](Self::growth_apart), up to which streams are kept apart.
    pub(crate) const fn apart_bytes_max(&self, longest_bytes: u32, lost_segments: u32) -> u64 {
        let taken = reserve_segments(self.streams) + APART_MARGIN_SEGMENTS;
        // On the average a record that does not fit leaves half of its length.
        self.data_bytes(longest_bytes / 2, taken.saturating_add(lost_segments))
    }

    /// The machine's own records in a segment: its erase intent and a time record; and the entry for which a footer keeps
    /// space. With one free segment headers serve as time records.
    const fn overhead_bytes(&self) -> u32 {
        match self.reserve {
            Reserve::Several => self.erase_intent_bytes() + self.time_bytes() + self.entry_bytes(),
            Reserve::One => self.erase_intent_bytes(),
        }
    }

    /// Bytes of a client's record as it is first written. With [`Reserve::One`] it has an origin; else `header` states all of it.
    #[must_use]
    pub const fn fresh_record_bytes(&self, header: &RecordHeader) -> u32 {
        match self.reserve {
            Reserve::Several => header.record_bytes(&self.geometry),
            Reserve::One => self.longest_form_bytes(header),
        }
    }

    /// Bytes of a client's record with this header once it is relocated with an origin: at most
    /// [`record_bytes_max`](Self::record_bytes_max), else it is refused.
    #[must_use]
    pub const fn longest_form_bytes(&self, header: &RecordHeader) -> u32 {
        RecordHeader { origin: Some(Version::NONE), ..*header }.record_bytes(&self.geometry)
    }

    /// A time record.
    pub(crate) const fn time_bytes(&self) -> u32 {
        self.geometry.padded(RECORD_HEADER_BYTES_MIN + TIME_BYTES) + self.entry_bytes()
    }

    /// An erase intent.
    #[expect(clippy::cast_possible_truncation, reason = "twelve")]
    pub(crate) const fn erase_intent_bytes(&self) -> u32 {
        self.geometry.padded(RECORD_HEADER_BYTES_MIN + ERASE_INTENT_BYTES as u32) + self.entry_bytes()
    }

    /// The charge of a value: the bytes of its record as it is first written, and of a footer entry; or those of its tombstone, where
    /// that is longer.
    ///
    /// A record that is relocated while the log is nearly full takes no more: streams are [merged](Streams) then. And a remove
    /// always fits. Its tombstone becomes live when the value stops being live, so one charge serves for both. Until it is
    /// published it lies in an open segment, which is in the reserve.
    #[must_use]
    pub const fn charge_bytes(&self, key_bytes: u32, value_bytes: u32, expires: bool) -> u32 {
        let expires_s = if expires { Some(0) } else { None };
        let value = self.charge_of(&record(Kind::Value, key_bytes, value_bytes, expires_s));
        let tombstone = self.tombstone_charge_bytes(key_bytes);
        if value > tombstone { value } else { tombstone }
    }

    /// The charge of a tombstone of a key of so many bytes.
    #[must_use]
    pub const fn tombstone_charge_bytes(&self, key_bytes: u32) -> u32 {
        let key_bytes = match self.geometry.identity() {
            Identity::KeyBytes => key_bytes,
            Identity::KeyedHash => 12,
        };
        self.charge_of(&record(Kind::Tombstone, key_bytes, 0, None))
    }

    /// The charge of a value whose record takes so many bytes on the medium: the same, whether it was relocated or not.
    ///
    /// The write unit must divide the bytes of an origin, as a write unit of one byte does, or there must be one stream.
    #[must_use]
    pub const fn placed_charge_bytes(&self, record_bytes: u32, has_origin: bool, expires: bool) -> u32 {
        let origin = if has_origin { self.geometry.origin_bytes() } else { 0 };
        let value = record_bytes.saturating_sub(origin).saturating_add(self.plain_entry_bytes(expires));
        // Where keys are stored as they are, a tombstone is never longer than the value that it hides.
        let tombstone = match self.geometry.identity() {
            Identity::KeyBytes => 0,
            Identity::KeyedHash => self.tombstone_charge_bytes(0),
        };
        if value > tombstone { value } else { tombstone }
    }

    const fn charge_of(&self, header: &RecordHeader) -> u32 {
        let origin = if self.keeps_origins() { self.origin_padded_bytes() } else { 0 };
        let entry = self.plain_entry_bytes(header.expires_s.is_some());
        self.fresh_record_bytes(header).saturating_add(origin + entry)
    }

    /// Bytes that a live record takes beyond its own once it is relocated while streams are apart: a footer entry and, if it has none
    /// yet, an origin. The expiry in the entry is left out: the table does not tell which records have one.
    pub(crate) const fn growth_apart(&self) -> Growth {
        let entry =
            self.plain_entry_bytes(false) + if self.has_footers { self.geometry.origin_bytes() } else { 0 };
        Growth { plain: entry + self.origin_padded_bytes(), relocated: entry }
    }

    /// Bytes that a live record takes beyond its own once it is relocated as new: a footer entry, without an expiry, less the origin that
    /// it may have.
    #[must_use]
    pub const fn growth_merged(&self) -> Growth {
        let entry = self.plain_entry_bytes(false);
        if matches!(self.streams, Streams::One) {
            return Growth { plain: entry, relocated: entry };
        }
        let origin = self.origin_padded_bytes();
        if self.keeps_origins() {
            return Growth { plain: entry + origin, relocated: entry };
        }
        Growth { plain: entry, relocated: entry.saturating_sub(origin) }
    }

    /// Whether dropping its origin may leave a record as long as it was, for this write unit: then the origin is charged.
    const fn keeps_origins(&self) -> bool {
        let is_whole = self.geometry.origin_bytes().is_multiple_of(self.geometry.write_unit());
        !matches!(self.streams, Streams::One) && !is_whole
    }

    const fn origin_padded_bytes(&self) -> u32 {
        self.geometry.padded(self.geometry.origin_bytes())
    }

    /// Bytes that a record without an origin takes in a footer.
    const fn plain_entry_bytes(&self, expires: bool) -> u32 {
        if self.has_footers { ENTRY_BYTES + if expires { 4 } else { 0 } } else { 0 }
    }

    /// The most that a record takes in a footer.
    const fn entry_bytes(&self) -> u32 {
        if self.has_footers { ENTRY_BYTES_MAX } else { 0 }
    }
}

/// A record as a client writes it.
const fn record(kind: Kind, key_bytes: u32, value_bytes: u32, expires_s: Option<u32>) -> RecordHeader {
    RecordHeader { kind, codec: CodecId::Raw, key_bytes, value_bytes, expires_s, origin: None }
}
