//! The work of a machine since it was made.

/// The work of a machine since it was made. All counts are exact.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Counters {
    /// Records that clients appended.
    pub fresh_records: u64,
    /// Bytes of these on the medium.
    pub fresh_bytes: u64,
    /// Puts of a value that was there already, which were skipped.
    pub unchanged_puts: u64,
    /// Bytes written in all: records, footers, headers, markers.
    pub bytes_written: u64,
    /// Bytes read for mounting, cleaning and checking.
    pub bytes_read: u64,
    /// Records relocated, or replaced by a tombstone.
    pub moved_records: u64,
    /// Bytes of these as written.
    pub moved_bytes: u64,
    /// Victims cleaned for the spread of wear.
    pub wear_victims: u64,
    /// Victims emptied.
    pub victims: u64,
    /// Segments made free.
    pub freed_segments: u32,
    /// Bytes of segments made free, less what was written to relocate what was live in them.
    pub bytes_reclaimed: u64,
    /// Erases.
    pub erases: u64,
    /// Syncs issued.
    pub syncs: u64,
    /// Syncs that failed.
    pub sync_failures: u64,
    /// Operations of the medium that failed.
    pub failures: u64,
    /// Segments sealed early because a write or sync failed.
    pub segments_abandoned: u64,
    /// Times that streams were merged because the log was nearly full.
    pub merges: u64,
    /// Times that free segments ran short.
    pub shortages: u64,
    /// Records found again in segments that an earlier mount could not read whole.
    pub rescued_records: u64,
    /// Records evicted.
    pub evicted_records: u64,
    /// Jumps of the wall clock that were refused; one that lasts counts once.
    pub clock_refusals: u64,
}
