//! The counts of a budget.

use core::time::Duration;

use super::policy::WorkKind;

/// The counts of one kind of work.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct KindCounts {
    granted: u64,
    refused: u64,
    booked: u64,
    bytes: u64,
    time: Duration,
}

/// The counts of a budget since it was made. All are exact.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct BudgetStats {
    /// Slices that ended, of all kinds.
    pub slices: u64,
    /// The time of all slices that ended.
    pub slice_time: Duration,
    /// The longest slice, in microseconds.
    pub longest_slice_us: u64,
    /// The most bytes that one slice relocated.
    pub largest_slice_bytes: u64,
    kinds: [KindCounts; WorkKind::ALL.len()],
}

impl BudgetStats {
    const fn of(&self, kind: WorkKind) -> &KindCounts {
        &self.kinds[kind.index()]
    }

    /// Slices granted to a kind.
    #[must_use]
    pub const fn granted(&self, kind: WorkKind) -> u64 {
        self.of(kind).granted
    }

    /// Requests of a kind that had to wait; one that asks again counts again.
    #[must_use]
    pub const fn refused(&self, kind: WorkKind) -> u64 {
        self.of(kind).refused
    }

    /// Pieces of work of a kind that could not wait for a slice.
    #[must_use]
    pub const fn booked(&self, kind: WorkKind) -> u64 {
        self.of(kind).booked
    }

    /// Bytes that a kind relocated, in slices and without.
    #[must_use]
    pub const fn bytes(&self, kind: WorkKind) -> u64 {
        self.of(kind).bytes
    }

    /// The time that a kind took, in slices and without.
    #[must_use]
    pub const fn time(&self, kind: WorkKind) -> Duration {
        self.of(kind).time
    }

    pub(super) const fn count_granted(&mut self, kind: WorkKind) {
        self.kinds[kind.index()].granted += 1;
    }

    pub(super) const fn count_refused(&mut self, kind: WorkKind) {
        self.kinds[kind.index()].refused += 1;
    }

    pub(super) fn count_slice(&mut self, kind: WorkKind, took: Duration, bytes: u64) {
        self.slices += 1;
        self.slice_time = self.slice_time.saturating_add(took);
        self.longest_slice_us =
            self.longest_slice_us.max(u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
        self.largest_slice_bytes = self.largest_slice_bytes.max(bytes);
        self.add(kind, took, bytes);
    }

    pub(super) fn count_booked(&mut self, kind: WorkKind, took: Duration, bytes: u64) {
        self.kinds[kind.index()].booked += 1;
        self.add(kind, took, bytes);
    }

    fn add(&mut self, kind: WorkKind, took: Duration, bytes: u64) {
        let counts = &mut self.kinds[kind.index()];
        counts.bytes = counts.bytes.saturating_add(bytes);
        counts.time = counts.time.saturating_add(took);
    }
}
