//! Numbers that name things on a medium, each a type of its own: none is taken for another, or for a count.

use core::fmt;

/// Which segment of a medium. They lie in a row, and the first has index 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct SegmentIndex(u32);

impl SegmentIndex {
    /// The first segment of a medium.
    pub const FIRST: Self = Self(0);

    /// The segment with so many before it.
    #[must_use]
    pub const fn new(index: u32) -> Self {
        Self(index)
    }

    /// How many segments lie before it.
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0
    }

    /// The segment behind this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }

    /// Yields this segment and those behind it, on a medium of so many.
    pub fn up_to(self, count: u32) -> impl DoubleEndedIterator<Item = Self> + Clone {
        (self.0..count).map(Self)
    }
}

impl fmt::Display for SegmentIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
