//! The segment table: what each segment is, and exactly how many live bytes it holds.

use core::num::NonZeroU32;

/// What a segment is.
///
/// ```text
///  Free ─1─► Opening ─2─► Open ─3─► Sealing ─4─► Sealed ─5─► Victim ─6─► Emptied ─7─► Freeing ─8─► Erased ─9─► Free
///                                                   ▲───────────┘ (a copy failed: nothing is lost)
/// ```
/// 1 its header is written; 2 the header is durable; 3 it is full, or a write or sync of it failed; 4 all its records are
/// durable and the footer is written; 5 chosen; 6 nothing live is left in it; 7 that is durable, and a freed record is
/// written; 8 the freed record is durable, the erase is done; 9 the erase is durable. At a mount, segments that were never
/// sealed are `Sealed` without a footer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum SegmentState {
    /// Erased, with a marker; or never written.
    #[default]
    Free,
    /// Its header is written, and not known to be durable.
    Opening,
    /// Records are appended to it.
    Open,
    /// Full; waits until its records are durable, for the footer.
    Sealing,
    /// Never changes until it is erased.
    Sealed,
    /// Its live records are being relocated.
    Victim,
    /// Nothing live is left in it; waits until that is durable.
    Emptied,
    /// Its freed record is written; waits until that is durable.
    Freeing,
    /// Erased; waits until that is durable.
    Erased,
    /// Neither blank nor readable: kept as it is, and reported.
    Quarantined,
}

impl SegmentState {
    /// Whether nothing live is left in it and it is on its way to be free.
    pub(crate) const fn is_emptied(self) -> bool {
        matches!(self, Self::Emptied | Self::Freeing | Self::Erased)
    }
}

/// One segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Segment {
    /// What it is.
    pub state: SegmentState,
    /// The stream it was opened for.
    pub stream: u8,
    /// Whether a footer lists its records.
    pub has_footer: bool,
    /// Whether a write or sync of it failed, so that no sync is evidence for its records.
    pub is_suspect: bool,
    /// Whether damage was found in it: it is not chosen as a victim, so that what is there stays for a look.
    pub is_damaged: bool,
    /// Whether an erase marker is in it.
    pub has_marker: bool,
    /// Whether a mount found it blank where that is no proof: it is erased before it is opened.
    pub is_doubtful: bool,
    /// Whether the index counts its records as copies.
    pub is_counted: bool,
    /// The sequence of this life.
    pub sequence: u32,
    /// How often it was erased.
    pub erases: u32,
    /// Bytes of records in it, live or stale.
    pub used_bytes: u32,
    /// Bytes of the records in it that must be kept: current values, needed tombstones and freed records.
    pub live_bytes: u32,
    /// How many those are.
    pub live_records: u32,
    /// When it was sealed, in bytes that clients had appended to the tier by then.
    pub sealed_at: u64,
    /// Bytes that were written elsewhere to relocate what was live in it.
    pub relocated_bytes: u32,
    /// Open or sealed: the mark of its newest record, durable once a sync covers it; once nothing in it is live, the mark by
    /// which all that superseded its records was written. On its way from victim to free: the mark that a sync must cover
    /// before the next step.
    pub(crate) mark: u64,
    /// On its way from victim to free: one more than the segment that holds its freed record, which has so many bytes.
    pub(crate) freed_in: Option<NonZeroU32>,
    pub(crate) freed_bytes: u8,
}

impl Segment {
    /// A segment that was never written; usable in a `static`.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            state: SegmentState::Free,
            stream: 0,
            has_footer: false,
            is_suspect: false,
            is_damaged: false,
            has_marker: false,
            is_doubtful: false,
            is_counted: false,
            sequence: 0,
            erases: 0,
            used_bytes: 0,
            live_bytes: 0,
            live_records: 0,
            sealed_at: 0,
            relocated_bytes: 0,
            mark: 0,
            freed_in: None,
            freed_bytes: 0,
        }
    }

    /// Bytes of records in it that nothing needs.
    #[must_use]
    pub const fn stale_bytes(&self) -> u32 {
        self.used_bytes.saturating_sub(self.live_bytes)
    }

    /// An upper bound of what relocating its live records takes: each may grow by so many bytes, by an origin and a footer
    /// entry.
    #[must_use]
    pub const fn relocation_bytes(&self, growth_bytes: u32) -> u32 {
        self.live_bytes.saturating_add(self.live_records.saturating_mul(growth_bytes))
    }

    /// Bytes of the freed record of this segment, which counts as live in another while this one is on its way to be free.
    #[must_use]
    pub const fn freed_record_bytes(&self) -> u32 {
        match self.freed_in {
            Some(_) => self.freed_bytes as u32,
            None => 0,
        }
    }

    /// The segment that holds its freed record, and the record's bytes.
    pub(crate) fn freed_in(&self) -> Option<(u32, u32)> {
        self.freed_in.map(|holder| (holder.get() - 1, self.freed_record_bytes()))
    }

    /// Notes where its freed record lies, if it has one; returns where the one before lies.
    pub(crate) fn set_freed_in(&mut self, at: Option<(u32, u32)>) -> Option<(u32, u32)> {
        let before = self.freed_in();
        self.freed_in = at.and_then(|(holder, _)| NonZeroU32::new(holder.saturating_add(1)));
        // A header, twelve bytes and the padding to a write unit.
        self.freed_bytes = at.map_or(0, |(_, bytes)| u8::try_from(bytes).unwrap_or(u8::MAX));
        before
    }

    /// What cleaning it gains, in bytes, of [`Geometry::usable_bytes`](super::Geometry::usable_bytes); zero where it would cost as
    /// much as it yields.
    #[must_use]
    pub const fn yield_bytes(&self, usable_bytes: u32, growth_bytes: u32) -> u32 {
        usable_bytes.saturating_sub(self.relocation_bytes(growth_bytes))
    }

    /// Adds a live record.
    pub(crate) fn gain(&mut self, record_bytes: u32) {
        self.live_bytes = self.live_bytes.saturating_add(record_bytes);
        self.live_records = self.live_records.saturating_add(1);
    }

    /// Takes away a live record.
    pub(crate) fn lose(&mut self, record_bytes: u32) {
        debug_assert!(
            self.live_bytes >= record_bytes && self.live_records > 0,
            "I-GC-4: more lost than was live"
        );
        self.live_bytes = self.live_bytes.saturating_sub(record_bytes);
        self.live_records = self.live_records.saturating_sub(1);
    }
}

/// A summary of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Tally {
    /// Segments that can be opened now.
    pub free: u32,
    /// Segments on their way from victim to free.
    pub leaving: u32,
    /// Segments that may be chosen as victims.
    pub sealed: u32,
    /// Segments kept as they are because of damage.
    pub quarantined: u32,
    /// Bytes of records, live or stale, in all segments that are not yet erased.
    pub used_bytes: u64,
    /// Bytes of live records.
    pub live_bytes: u64,
}

impl Tally {
    /// Counts a table. Bounds: one pass.
    #[must_use]
    pub fn of(segments: &[Segment]) -> Self {
        let mut tally = Self::default();
        for segment in segments {
            match segment.state {
                SegmentState::Free => tally.free += 1,
                SegmentState::Victim
                | SegmentState::Emptied
                | SegmentState::Freeing
                | SegmentState::Erased => {
                    tally.leaving += 1;
                }
                SegmentState::Sealed if segment.is_damaged => tally.quarantined += 1,
                SegmentState::Sealed => tally.sealed += 1,
                SegmentState::Quarantined => tally.quarantined += 1,
                SegmentState::Opening | SegmentState::Open | SegmentState::Sealing => {}
            }
            if !matches!(segment.state, SegmentState::Erased | SegmentState::Quarantined) {
                tally.used_bytes += u64::from(segment.used_bytes);
                tally.live_bytes += u64::from(segment.live_bytes);
            }
        }
        tally
    }
}
