//! Streams: records that are likely to die together share a segment.

/// How many segments a machine can have open or sealing at a time.
pub const SLOTS_MAX: usize = 8;

/// Streams of records, each with an open segment of its own, so that records of like lifetime die together.
///
/// After SepBIT (Wang et al., FAST 2022): a fresh record is expected to live as long as the one that it replaces did; a
/// relocated one, as long again as it has lived. Where some keys are hot and some cold, a stream takes fresh and relocated
/// records alike. So all four serve to tell lifetimes apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Stream {
    /// Fresh records that replace a short-lived one.
    Hot,
    /// Other fresh records; relocated ones that are young, where streams are shared.
    Warm,
    /// Relocated records that are young; where streams are shared, those of middle age, and fresh ones that replace such.
    Young,
    /// Relocated records that are old; where streams are shared, fresh ones that replace such.
    Old,
}

/// How many streams a machine uses while there is space for them.
///
/// Where live records would take more than the segments that several streams leave, the streams are *merged*: fresh and
/// relocated records share one open segment, as with [`One`](Self::One), and a relocated record is written as new, without an
/// origin. So the capacity does not depend on the streams, at the cost of more bytes written while the log is nearly full.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Streams {
    /// One for all: fresh and relocated records share a segment. The least RAM, and no rest of a segment is kept open.
    One,
    /// One for fresh records, one for relocated ones.
    Two,
    /// Fresh and relocated records by temperature.
    #[default]
    Four,
}

impl Streams {
    /// How many there are.
    #[must_use]
    pub const fn count(self) -> u32 {
        match self {
            Self::One => 1,
            Self::Two => 2,
            Self::Four => 4,
        }
    }
}
