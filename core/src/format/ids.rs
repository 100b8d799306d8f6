//! Numbers that name things on a medium. Each has a type of its own, so none is taken for another, or for a count.

use core::fmt;

/// The index of a segment on a medium. Segments lie in a row, and the first has index 0.
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

/// Names one life of a segment: a number that a store issues once, to a segment that is opened. A later life has a higher one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Sequence(u32);

impl Sequence {
    /// Below all that are issued: the sequence of a segment that was never opened.
    pub const NONE: Self = Self(0);

    /// The first that a store issues.
    pub const FIRST: Self = Self(1);

    /// The sequence of this number.
    #[must_use]
    pub const fn new(number: u32) -> Self {
        Self(number)
    }

    /// Its number.
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0
    }

    /// The sequence that is issued after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        self.ahead(1)
    }

    /// The sequence that was issued before this one.
    #[must_use]
    pub const fn before(self) -> Self {
        Self(self.0.saturating_sub(1))
    }

    /// The sequence that is so many ahead of this one, or the highest that there is.
    #[must_use]
    pub const fn ahead(self, count: u32) -> Self {
        Self(self.0.saturating_add(count))
    }

    /// Yields this sequence and those behind it, below another.
    pub fn up_to(self, end: Self) -> impl Iterator<Item = Self> {
        (self.0..end.0).map(Self)
    }

    /// How many were issued since an earlier one: an age. A later one has none.
    #[must_use]
    pub const fn since(self, earlier: Self) -> u32 {
        self.0.saturating_sub(earlier.0)
    }
}

impl fmt::Display for Sequence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
