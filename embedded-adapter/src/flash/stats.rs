//! Stats of a tier: its content, each figure defined once in a table, and the cost of its calls.
//!
//! A stat that a service's tier has too has the same name and text there (`std-adapter/src/observe/table.rs`); the tidy suite compares
//! them. The counts of the machine are [`Counters`], for both.

use coldpress_core::segments::SegmentState;
use coldpress_core::writer::Counters;

use super::access::Access;
use super::driving::Work;
use super::tier::FlashTier;

/// Makes [`FlashStats`] of a table. Each row is `name: type = value`; the value is of the tier, its segments and their tally.
macro_rules! flash_stats {
    (
        |$tier:ident, $erases:ident, $tally:ident| {
            $($(#[doc = $text:literal])+ $name:ident: $type:ty = $value:expr;)+
        }
    ) => {
        /// The content and the work of a tier. All counts are exact.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[cfg_attr(feature = "defmt", derive(defmt::Format))]
        pub struct FlashStats {
            $($(#[doc = $text])+ pub $name: $type,)+
        }

        impl<M: Access> FlashTier<'_, M> {
            /// Returns the content and the work of the tier. Bounds: one pass over the segment table.
            #[must_use]
            pub fn stats(&self) -> FlashStats {
                let $tier = self;
                let $erases = self.tier.segments().iter().map(|segment| segment.erases);
                let $tally = self.tier.tally();
                FlashStats { $($name: $value,)+ }
            }
        }
    };
}

flash_stats! {
    |tier, erases, tally| {
        /// Keys that have a value.
        keys: u32 = tier.len();
        /// Entries of the index: these, and keys that were removed and are still on the medium.
        entries: u32 = tier.index.table.entries();
        /// Keys with a value that it holds at any time, pieces of long values among them.
        keys_max: u32 = tier.keys_max;
        /// Entries that it takes.
        entries_max: u32 = tier.index.places.max;
        /// Bytes charged against the capacity for live records.
        charged_bytes: u64 = tier.charged_bytes();
        /// The most bytes that can be charged.
        charge_bytes_max: u64 = tier.tier.charge_bytes_max();
        /// Segments that are free.
        free_segments: u32 = tally.free;
        /// Segments kept as they are because of damage.
        quarantined_segments: u32 = tally.quarantined;
        /// Erases of the least and of the most erased segment.
        erases: (u32, u32) = (erases.clone().min().unwrap_or(0), erases.clone().max().unwrap_or(0));
        /// Erases of all segments.
        erases_total: u64 = erases.map(u64::from).sum();
        /// Bytes read of the medium since the tier was built.
        bytes_read: u64 = tier.flash.bytes_read;
        /// The work of the machine since then.
        counters: Counters = tier.tier.counters();
    }
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

impl<M: Access> FlashTier<'_, M> {
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
        let growth = self.tier.charge_growth();
        for segment in self.tier.segments() {
            freed += u64::from(segment.intent_bytes());
            if counts(segment.state()) {
                live += u64::from(segment.relocation_bytes(&growth));
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
