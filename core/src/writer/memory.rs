//! The memory lent to a machine, and whether it fits a configuration.

use core::fmt;

use super::notes::SlotNotes;
use crate::config::{ConfigError, Reserve, SLOTS_MAX, Streams, TierConfig, several_segments_min};
use crate::format::{
    ENTRY_BYTES, ENTRY_BYTES_MAX, KeyHash, Kind, Location, RECORD_HEADER_BYTES_MAX, SEGMENTS_MIN,
    SegmentIndex, Sequence, TRAILER_BYTES, Version,
};
use crate::index::Placed;
use crate::segments::Segment;

/// The memory lent to a machine.
pub struct Memory<'m> {
    /// One per segment of the medium.
    pub segments: &'m mut [Segment],
    /// One per stream. Where segments have footers at least one more, so that appends go on while a full segment waits for the sync
    /// before its footer.
    pub slots: &'m mut [SlotNotes],
    /// Records of the slots on their way to the medium. Each slot has an equal share, of at least the longest record.
    pub records: &'m mut [u8],
    /// Footers as they grow, in equal shares; empty for segments without one.
    pub footers: &'m mut [u8],
    /// Records of the slots that are not published yet, in equal shares.
    pub placed: &'m mut [Pending],
    /// For reading victims; at least the longest record.
    pub copy: &'m mut [u8],
    /// For reading footers and for verifying; at least the longest record.
    pub scan: &'m mut [u8],
    /// For encoding a value again; at least the longest record, or empty where that is never done.
    pub recode: &'m mut [u8],
}

impl Memory<'_> {
    pub(crate) fn check(&self, config: &TierConfig) -> Result<(), ConfigError> {
        let g = &config.geometry;
        let count = g.segment_count() as usize;
        if self.segments.len() != count {
            return Err(ConfigError::SegmentMemory(g.segment_count()));
        }
        // Without a footer a full segment is sealed as soon as its records are written, which frees its slot.
        let slots = config.streams.count() + u32::from(config.has_footers);
        if self.slots.len() < slots as usize || self.slots.len() > SLOTS_MAX {
            return Err(ConfigError::Slots(slots));
        }
        // One record must fit a segment with its entry, else it could never be placed.
        let entry = ENTRY_BYTES_MAX + TRAILER_BYTES;
        if config.record_bytes_max <= RECORD_HEADER_BYTES_MAX
            || config.record_bytes_max.saturating_add(entry) > g.usable_bytes()
        {
            return Err(ConfigError::RecordBytes(g.usable_bytes().saturating_sub(entry)));
        }
        let record = config.record_bytes_max as usize;
        // The ends of a segment are read into it part by part; the header is the longest part. An entry of a footer is read with
        // the beginning of the next one.
        let entries = if config.has_footers { g.padded(ENTRY_BYTES_MAX + ENTRY_BYTES) } else { 0 };
        let header = g.padded(g.header_bytes()).max(entries);
        if self.scan.len() < header as usize {
            return Err(ConfigError::Buffer(header));
        }
        let lacks_recode = !self.recode.is_empty() && self.recode.len() < record;
        if self.copy.len() < record || self.scan.len() < record || lacks_recode {
            return Err(ConfigError::Buffer(config.record_bytes_max));
        }
        if !config.has_footers && !self.footers.is_empty() {
            return Err(ConfigError::Footers);
        }
        let slots = self.slots.len();
        if self.records.len() / slots < record || self.placed.len() < slots {
            return Err(ConfigError::Buffer(config.record_bytes_max));
        }
        if config.reserve == Reserve::One && (config.streams != Streams::One || config.has_footers) {
            return Err(ConfigError::Reserve);
        }
        let least = match config.reserve {
            Reserve::Several => several_segments_min(config.streams, config.low_watermark_segments),
            Reserve::One => SEGMENTS_MIN,
        };
        if g.segment_count() < least {
            return Err(ConfigError::Segments(least));
        }
        if config.step_bytes == 0
            || config.step_records == 0
            || config.time_every_s == 0
            || config.stale_permille_min > 1000
        {
            return Err(ConfigError::Steps);
        }
        if config.high_watermark_segments < config.low_watermark_segments {
            return Err(ConfigError::Watermarks);
        }
        Ok(())
    }
}

impl fmt::Debug for Memory<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Memory")
            .field("segments", &self.segments)
            .field("slots", &self.slots)
            .finish_non_exhaustive()
    }
}

/// A record that is in a slot's buffer and not published. Its segment is the slot's.
///
/// All zeros where there is none, so that a `static` of them takes no space in an image.
#[derive(Debug, Clone, Copy)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Pending {
    hash: KeyHash,
    kind: Kind,
    is_taken: bool,
    expires: bool,
    is_relocated: bool,
    offset: u32,
    version: Version,
    record_bytes: u32,
    /// 0 unless it `expires`.
    expires_s: u32,
    /// Where it lay before, and its bytes there, if it `is_relocated`.
    from: Location,
    from_bytes: u32,
}

const _: () = assert!(size_of::<Pending>() == 52);

/// The place that a record which was not relocated states.
const NOWHERE: Location = Location { segment: SegmentIndex::FIRST, offset: 0, sequence: Sequence::NONE };

impl Pending {
    /// An empty place for a record; usable in a `static`, where it takes no space in the image.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            hash: KeyHash([0; 12]),
            kind: Kind::Value,
            is_taken: false,
            expires: false,
            is_relocated: false,
            offset: 0,
            version: Version { sequence: Sequence::NONE, offset: 0 },
            record_bytes: 0,
            expires_s: 0,
            from: NOWHERE,
            from_bytes: 0,
        }
    }

    pub(crate) fn of(hash: KeyHash, placed: &Placed) -> Self {
        Self {
            hash,
            kind: placed.kind,
            is_taken: true,
            expires: placed.expires_s.is_some(),
            is_relocated: placed.relocated_from.is_some(),
            offset: placed.location.offset,
            version: placed.version,
            record_bytes: placed.record_bytes,
            expires_s: placed.expires_s.unwrap_or(0),
            from: placed.relocated_from.unwrap_or(NOWHERE),
            from_bytes: placed.relocated_bytes,
        }
    }

    /// The record, in a segment of this sequence; `None` where there is none.
    pub(crate) fn record(&self, segment: SegmentIndex, sequence: Sequence) -> Option<(KeyHash, Placed)> {
        let placed = Placed {
            location: Location { segment, offset: self.offset, sequence },
            version: self.version,
            record_bytes: self.record_bytes,
            kind: self.kind,
            expires_s: self.expires.then_some(self.expires_s),
            relocated_from: self.relocated_from(),
            relocated_bytes: self.from_bytes,
        };
        self.is_taken.then_some((self.hash, placed))
    }

    /// Where it lay before, if it was relocated.
    pub(crate) fn relocated_from(&self) -> Option<Location> {
        (self.is_taken && self.is_relocated).then_some(self.from)
    }
}

impl Default for Pending {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn record_that_waits_comes_back_as_it_was() {
        let at =
            |n| Location { segment: SegmentIndex::new(n), offset: n * 64, sequence: Sequence::new(n + 1) };
        let plain = Placed {
            location: at(3),
            version: at(3).version(),
            record_bytes: 76,
            kind: Kind::Tombstone,
            expires_s: None,
            relocated_from: None,
            relocated_bytes: 0,
        };
        let relocated = Placed {
            version: at(1).version(),
            kind: Kind::Value,
            expires_s: Some(0),
            relocated_from: Some(at(2)),
            relocated_bytes: 72,
            ..plain
        };
        for placed in [plain, relocated] {
            let (hash, Location { segment, sequence, .. }) = (KeyHash([7; 12]), placed.location);
            let pending = Pending::of(hash, &placed);
            assert_eq!(pending.record(segment, sequence), Some((hash, placed)));
            assert_eq!(pending.relocated_from(), placed.relocated_from);
        }
        assert_eq!(Pending::new().record(SegmentIndex::FIRST, Sequence::FIRST), None);
    }
}
