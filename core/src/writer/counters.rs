//! The work of a machine since it was made.

/// The work of a machine since it was made. All counts are exact.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Counters {
    /// Records that clients appended.
    pub fresh_records: u64,
    /// Bytes of fresh records as written: headers included, values as encoded.
    pub fresh_bytes: u64,
    /// Puts that wrote nothing, since their value was there already; they are among the puts.
    pub unchanged_puts: u64,
    /// Bytes written to the medium in all.
    ///
    /// These are records, footers, headers and markers.
    pub bytes_written: u64,
    /// Bytes read for mounting, cleaning and checking.
    pub bytes_read: u64,
    /// Records relocated, or replaced by a tombstone.
    pub relocated_records: u64,
    /// Bytes of records relocated.
    pub relocated_bytes: u64,
    /// Victims cleaned for the spread of wear.
    pub wear_victims: u64,
    /// Victims emptied.
    pub victims: u64,
    /// Segments made free.
    pub freed_segments: u32,
    /// Bytes of segments made free, less what was written to relocate what was live in them.
    pub bytes_reclaimed: u64,
    /// Segments erased.
    pub erases: u64,
    /// Syncs.
    pub syncs: u64,
    /// Syncs that failed.
    pub sync_failures: u64,
    /// Operations of the medium that failed, syncs included.
    pub failures: u64,
    /// Segments sealed early because a write or sync failed.
    pub segments_abandoned: u64,
    /// Times that streams were merged because the log was nearly full.
    pub merges: u64,
    /// Times that free segments ran short.
    pub shortages: u64,
    /// Records found again in segments that an earlier mount could not read whole.
    pub rescued_records: u64,
    /// Records evicted to free space.
    pub evicted_records: u64,
    /// Jumps of the wall clock that were refused; one that lasts counts once.
    pub clock_refusals: u64,
}
