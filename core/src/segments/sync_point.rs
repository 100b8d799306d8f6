//! Sync points: they let a step wait for a sync without a list of the writes that it covers.

/// A count of completed writes and erases. A sync that was issued at a sync point, and succeeds, makes all of them durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct SyncPoint(u64);

impl SyncPoint {
    /// Before every write: it is covered before the first sync.
    pub const NONE: Self = Self(0);

    /// Beyond every write: no sync covers it.
    pub(crate) const NEVER: Self = Self(u64::MAX);

    pub(crate) const fn new(count: u64) -> Self {
        Self(count)
    }

    /// How many writes and erases are complete by then.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The sync point of the next write or erase.
    pub(crate) const fn next(self) -> Self {
        Self(self.0 + 1)
    }

    /// Tells whether a sync at `synced` covers this.
    pub(crate) const fn is_covered_by(self, synced: Self) -> bool {
        self.0 <= synced.0
    }
}
