//! The charge of a key against the capacity, and how much can be charged.

use coldpress_core::config::{TierConfig, capacity_reserve_segments};
use coldpress_core::format::{Geometry, HEAD_BYTES, Kind, PIECE_PREFIX_BYTES, RECORD_HEADER_BYTES_MAX};
use coldpress_core::index::Placed;

use super::length_class::counted_bytes;
use super::pieces::piece_lengths;

/// Bytes of the name of a piece beyond the key of its value, and of what the head of a long value holds.
const PIECE_NAME_BYTES: u32 = 6;
const HEAD_VALUE_BYTES: u32 = 7;
const _: () = assert!(PIECE_PREFIX_BYTES == 6 && HEAD_BYTES == 7);

/// The part of the segments, as a divisor, that is left empty beyond the reserve.
const SLACK_PART: u32 = 50;

/// Computes the charge of a key by the rules of the core.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Terms {
    pub(crate) geometry: Geometry,
    config: TierConfig,
    /// A tombstone and its footer entry.
    tombstone: u32,
}

impl Terms {
    pub(crate) const fn new(config: TierConfig) -> Self {
        Self { geometry: config.geometry, config, tombstone: config.tombstone_charge_bytes(0) }
    }

    pub(crate) const fn tombstone_charge(&self) -> u32 {
        self.tombstone
    }

    /// The charge of a value that is not placed yet.
    pub(crate) fn value_charge(&self, key_bytes: u32, value_bytes: u32, expires: bool) -> u32 {
        self.least(self.config.charge_bytes(key_bytes, value_bytes, expires))
    }

    /// Bytes that can be charged in one partition. Subtracted are `waste` bytes, which are lost at the ends of segments, and
    /// `quarantined` segments, which are kept as they are because of damage.
    pub(crate) const fn charge_bytes_max(&self, waste: u64, quarantined: u32) -> u64 {
        let taken = quarantined.saturating_add(self.slack_segments());
        self.config.charge_bytes_with(0, taken).saturating_sub(waste)
    }

    /// Values that fit one partition if all keys and values have these lengths, and records take at most so many bytes.
    ///
    /// Each record is charged, and may be the one that did not fit at the end of a segment: of every segment, or of as many as there are
    /// records.
    pub(crate) fn values_max(
        &self,
        key_bytes: u32,
        value_bytes: u32,
        expires: bool,
        record_bytes_max: u32,
    ) -> u64 {
        let counted = |key_bytes: u32, value_bytes: u32| {
            let bytes = RECORD_HEADER_BYTES_MAX.saturating_add(key_bytes).saturating_add(value_bytes);
            u64::from(counted_bytes(bytes))
        };
        let charged =
            |key_bytes, value_bytes, expires| u64::from(self.value_charge(key_bytes, value_bytes, expires));
        let segments = u64::from(self.data_segments());
        let Some((pieces, each)) = piece_lengths(record_bytes_max, key_bytes, value_bytes) else {
            let (charge, longest) =
                (charged(key_bytes, value_bytes, expires), counted(key_bytes, value_bytes));
            let many = self.charge_bytes_max(longest * segments, 0) / charge;
            let few = self.charge_bytes_max(0, 0) / (charge + longest);
            return many.max(few);
        };
        let (pieces, name_bytes) = (u64::from(pieces), key_bytes + PIECE_NAME_BYTES);
        let charge = pieces * charged(name_bytes, each, true) + charged(key_bytes, HEAD_VALUE_BYTES, expires);
        let (longest, head) = (counted(name_bytes, each), counted(key_bytes, HEAD_VALUE_BYTES));
        // A long value is taken only where the longest piece fits beside it.
        let beside = u64::from(counted_bytes(record_bytes_max));
        let many = self.charge_bytes_max(longest * segments + beside, 0) / charge;
        let few = self.charge_bytes_max(beside, 0) / (charge + pieces * longest + head);
        many.max(few)
    }

    /// Segments that live records may fill.
    pub(crate) const fn data_segments(&self) -> u32 {
        let reserve = capacity_reserve_segments(self.config.streams) + self.slack_segments();
        self.geometry.segment_count().saturating_sub(reserve)
    }

    /// Segments left empty beyond the reserve, so that a full tier can be cleaned.
    const fn slack_segments(&self) -> u32 {
        self.geometry.segment_count() / SLACK_PART
    }

    /// The charge of a record as it lies on the medium: the same, whether it was relocated or not.
    pub(crate) fn placed_charge(&self, placed: &Placed) -> u32 {
        let has_origin = placed.version != placed.location.version();
        self.charge(placed.kind, placed.record_bytes, has_origin, placed.expires_s.is_some())
    }

    pub(crate) fn charge(&self, kind: Kind, record_bytes: u32, has_origin: bool, expires: bool) -> u32 {
        match kind {
            Kind::Tombstone => self.tombstone,
            _ => self.least(self.config.placed_charge_bytes(record_bytes, has_origin, expires)),
        }
    }

    /// A value is charged two tombstones at least: so a remove gives back half of the charge at once.
    fn least(&self, charge: u32) -> u32 {
        charge.max(2 * self.tombstone)
    }
}
