//! The errors of a pool.

use core::fmt;

use super::PagesError;

/// Tells why an object was not allocated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum AllocateError {
    /// It fits no slot.
    TooLarge,
    /// As many objects are alive as the handle table has entries.
    NoHandles,
    /// Its class has no free slot, and there is no page to be had.
    NoPages(PagesError),
    /// The tables contradict each other; they were changed from outside.
    Inconsistent,
}

impl fmt::Display for AllocateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLarge => f.write_str("the object fits no size class"),
            Self::NoHandles => f.write_str("the handle table is full"),
            Self::NoPages(error) => write!(f, "no free slot: {error}"),
            Self::Inconsistent => f.write_str("the tables of the pool contradict each other"),
        }
    }
}

impl core::error::Error for AllocateError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::NoPages(error) => Some(error),
            Self::TooLarge | Self::NoHandles | Self::Inconsistent => None,
        }
    }
}

/// Tells why a handle could not be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum PoolError {
    /// The object was freed (I-POOL-1).
    Stale,
    /// It is pinned, and a pinned object is in use.
    Pinned,
    /// It is not pinned.
    NotPinned,
    /// No more objects may be pinned, or no more pins be put on this one.
    TooManyPins,
    /// The range reaches beyond the object.
    OutOfBounds,
    /// The tables or the pages contradict each other; they were changed from outside.
    Inconsistent,
}

impl fmt::Display for PoolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Stale => "the handle is stale: its object was freed",
            Self::Pinned => "the object is pinned",
            Self::NotPinned => "the object is not pinned",
            Self::TooManyPins => "no more pins are allowed",
            Self::OutOfBounds => "the range reaches beyond the object",
            Self::Inconsistent => "the tables of the pool contradict each other",
        })
    }
}

impl core::error::Error for PoolError {}

/// Tells why a pool could not be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum LimitsError {
    /// The largest class is larger than a page.
    ClassLargerThanPage,
    /// The smallest class gives a page more than 65,534 slots.
    TooManySlotsInPage,
    /// The low watermark is above the high one.
    Watermarks,
    /// The page table is empty or longer than 65,535.
    PageTable,
    /// The handle table is empty or longer than 2^31 − 1.
    ObjectTable,
    /// The slot table is shorter than pages × slots of the smallest class.
    SlotTable,
    /// The class table is shorter than the number of size classes, or than [`GapEntry::BINS`](super::GapEntry::BINS).
    ClassTable,
    /// The gap table of a packed pool is shorter than objects + pages.
    GapTable,
}

impl fmt::Display for LimitsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ClassLargerThanPage => "the largest size class is larger than a page",
            Self::TooManySlotsInPage => "the smallest size class gives a page more than 65,534 slots",
            Self::Watermarks => "the low watermark is above the high one",
            Self::PageTable => "the page table must have 1 to 65,535 entries",
            Self::ObjectTable => "the handle table must have 1 to 2^31 - 1 entries",
            Self::SlotTable => "the slot table is shorter than pages x slots of the smallest class",
            Self::ClassTable => "the class table is shorter than the number of size classes",
            Self::GapTable => "the gap table is shorter than objects + pages",
        })
    }
}

impl core::error::Error for LimitsError {}
