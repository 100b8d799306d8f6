//! The findings of a mount.

/// The findings of a mount.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct MountReport {
    /// Whether the medium was blank.
    pub is_new: bool,
    /// Keyed records found, live and stale.
    pub records: u64,
    /// Bytes of records that are live.
    pub live_bytes: u64,
    /// Records that did not validate, with valid ones behind them.
    pub damaged_records: u32,
    /// Segments whose last record does not validate: a cut tore it while it was written, or it is damaged.
    pub torn_records: u32,
    /// Segments without a footer: they were open when the tier ended without a close.
    pub unsealed_segments: u32,
    /// Segments that are neither blank nor readable, kept as they are.
    pub quarantined_segments: u32,
    /// Segments torn while they were opened, which are erased.
    pub torn_segments: u32,
    /// Erases that an erase intent announced, and that are finished now.
    pub finished_erases: u32,
    /// The longest record that any header allows, in bytes, header and padding included; 0 where there is no header.
    pub record_bytes_max: u32,
    /// Bytes that went through a checksum, or were read again, to find records behind damage: at most
    /// [`SEARCH_TIMES_MAX`](crate::recovery::SEARCH_TIMES_MAX) times the medium in each of two passes, and one record a segment.
    pub searched_bytes: u64,
    /// Segments whose search was given up at that bound: they may hold records that were not found, and are kept as they are.
    pub unsearched_segments: u32,
    /// Bytes read.
    pub scanned_bytes: u64,
}
