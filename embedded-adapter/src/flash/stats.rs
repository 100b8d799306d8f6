//! Stats of a tier: its content, and the cost of its calls.

use coldpress_core::segments::SegmentState;
use coldpress_core::writer::Counters;

use super::driving::Work;
use super::medium::Medium;
use super::tier::FlashTier;

/// The content and the work of a tier. All counts are exact.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct FlashStats {
    /// Keys with a value.
    pub keys: u32,
    /// Entries of the index: these, and keys that were removed and are still on the medium.
    pub entries: u32,
    /// Keys with a value that it holds at any time, pieces of long values among them.
    pub keys_max: u32,
    /// Entries that it takes.
    pub entries_max: u32,
    /// Bytes of live records.
    pub charged_bytes: u64,
    /// Bytes of live records that the medium is sure to hold.
    pub charge_bytes_max: u64,
    /// Segments that are free.
    pub free_segments: u32,
    /// Segments kept as they are because of damage.
    pub quarantined_segments: u32,
    /// Erases of the least and of the most erased segment.
    pub erases: (u32, u32),
    /// Erases of all segments.
    pub erases_total: u64,
    /// Bytes read of the medium since the tier was built.
    pub bytes_read: u64,
    /// The work of the machine since then.
    pub counters: Counters,
}

/// The most that any one call has cost since the tier was built.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Worst {
    /// Operations.
    pub operations: u32,
    /// Erases.
    pub erases: u32,
    /// Bytes programmed.
    pub bytes_programmed: u32,
    /// Bytes read.
    pub bytes_read: u32,
}

impl<M: Medium> FlashTier<'_, M> {
    /// Returns the content and the work of the tier. Bounds: one pass over the segment table.
    #[must_use]
    pub fn stats(&self) -> FlashStats {
        let segments = self.tier.segments();
        let erases = segments.iter().map(|segment| segment.erases);
        let tally = self.tier.tally();
        FlashStats {
            keys: self.len(),
            entries: self.index.table.entries(),
            keys_max: self.keys_max,
            entries_max: self.index.places.max,
            charged_bytes: self.charged_bytes(),
            charge_bytes_max: self.charge_bytes_max,
            free_segments: tally.free,
            quarantined_segments: tally.quarantined,
            erases: (erases.clone().min().unwrap_or(0), erases.clone().max().unwrap_or(0)),
            erases_total: erases.map(u64::from).sum(),
            bytes_read: self.flash.bytes_read,
            counters: self.tier.counters(),
        }
    }

    /// How often a segment was erased; `None` beyond the last one.
    #[must_use]
    pub fn erases(&self, segment: u32) -> Option<u32> {
        self.tier.segments().get(segment as usize).map(|segment| segment.erases)
    }

    /// The most that any one call has cost.
    #[must_use]
    pub const fn worst(&self) -> Worst {
        self.worst
    }

    /// Bytes of all live records of keys. Bounds: one pass over the segment table.
    pub(super) fn charged_bytes(&self) -> u64 {
        let counts = |state| !matches!(state, SegmentState::Erased | SegmentState::Quarantined);
        let mut live = 0u64;
        // Erase intents of the machine are no records of keys: the reserve has space for them.
        let mut freed = 0u64;
        for segment in self.tier.segments() {
            freed += u64::from(segment.intent_bytes());
            if counts(segment.state()) {
                live += u64::from(segment.live_bytes());
            }
        }
        live.saturating_sub(freed)
    }

    /// Notes the cost of a call.
    pub(super) fn note(&mut self, work: &Work) {
        self.worst = Worst {
            operations: self.worst.operations.max(work.operations),
            erases: self.worst.erases.max(work.erases),
            bytes_programmed: self.worst.bytes_programmed.max(work.bytes_programmed),
            bytes_read: self.worst.bytes_read.max(work.bytes_read),
        };
    }
}
