//! The speed of background compaction.

/// The pace of background compaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct PaceConfig {
    /// Bytes relocated per second while there is no shortage, at least 1; `None` for no limit.
    pub bytes_per_s: Option<u32>,
}
