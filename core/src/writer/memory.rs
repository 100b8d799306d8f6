//! The memory lent to a machine, and whether it fits a configuration.

use core::fmt;

use super::notes::SlotNotes;
use crate::config::{ConfigError, SLOTS_MAX, TierConfig, reserve_segments};
use crate::format::{ENTRY_BYTES, ENTRY_BYTES_MAX, KeyHash, RECORD_HEADER_BYTES_MAX, TRAILER_BYTES};
use crate::index::Placed;
use crate::segments::Segment;

/// Memory for one open segment.
pub struct SlotMemory<'m> {
    /// Records on their way to the medium; at least the longest record.
    pub records: &'m mut [u8],
    /// The footer, as it grows; empty for segments without one.
    pub footer: &'m mut [u8],
    /// Records that are not published yet.
    pub placed: &'m mut [Pending],
    /// Its other notes.
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
    /// One per stream. Where segments have footers at least one more, so that appends go on while a full segment waits for the sync
    /// before its footer.
    pub slots: heapless::Vec<SlotMemory<'m>, SLOTS_MAX>,
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
        if self.slots.len() < slots as usize {
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
        if !config.has_footers && self.slots.iter().any(|slot| !slot.footer.is_empty()) {
            return Err(ConfigError::Footers);
        }
        for slot in &self.slots {
            if slot.records.len() < record || slot.placed.is_empty() {
                return Err(ConfigError::Buffer(config.record_bytes_max));
            }
        }
        // Beyond the reserve: one segment to fill and clean, and those of the low watermark.
        let least = reserve_segments(config.streams) + config.low_watermark_segments.max(1);
        if g.segment_count() <= least {
            return Err(ConfigError::Segments(least + 1));
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

/// A record that is in a slot's buffer and not published.
#[derive(Debug, Clone, Copy, Default)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Pending(PendingSlot);

/// An option whose empty value is all zeros, so that a `static` of them takes no space in an image.
#[derive(Debug, Clone, Copy, Default)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[repr(u8)]
enum PendingSlot {
    #[default]
    Empty = 0,
    Taken(KeyHash, Placed) = 1,
}

impl Pending {
    /// An empty place for a record; usable in a `static`, where it takes no space in the image.
    #[must_use]
    pub const fn new() -> Self {
        Self(PendingSlot::Empty)
    }

    pub(crate) const fn of(hash: KeyHash, placed: Placed) -> Self {
        Self(PendingSlot::Taken(hash, placed))
    }

    pub(crate) const fn record(&self) -> Option<(KeyHash, Placed)> {
        match self.0 {
            PendingSlot::Empty => None,
            PendingSlot::Taken(hash, placed) => Some((hash, placed)),
        }
    }
}
