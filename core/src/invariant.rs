//! Invariants of a machine's own state, which no medium, client or clock can break, and the stop where one is broken.
//!
//! A broken invariant is a fault of this program, or of the memory that it runs in. No later write can be trusted, so a machine
//! that finds one stops: it asks for nothing more, takes no more records, and its [`Status`](crate::machine::Status) names the
//! invariant. Durable records stay as they are for the next mount, and can be read. In a build with debug assertions it panics
//! at the fault instead.

use core::cell::Cell;
use core::fmt;

/// A statement that a machine holds itself to. `DESIGN.md` has them all, by id, with the tests that prove them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Invariant {
    /// I-SEG-1: a segment that a machine names to itself, or its host to it, is one of its table.
    SegmentInTable,
    /// I-SEG-2: the counts of segments by state equal a recount.
    StateCounts,
    /// I-SEG-3: the number of segments that headers state is one that a medium of this shape can have.
    StatedSegments,
    /// I-GC-4: the counts of live bytes and records equal a recount.
    LiveCounts,
    /// I-SLOT-1: the index of a slot is one that the row of slots issued.
    SlotInRow,
    /// I-SLOT-2: a slot keeps a note of each record in its buffer, and space for a record is looked for before the record is placed.
    PlacedRecords,
    /// I-ACT-1: a completion is of an operation that its engine waits for.
    Completion,
    /// I-ACT-2: the bytes of a write are there in full.
    WrittenBytes,
    /// I-BUF-1: one engine at a time uses a read buffer, and looks at no more of it than was read.
    ReadBuffer,
}

impl Invariant {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::SegmentInTable,
        Self::StateCounts,
        Self::StatedSegments,
        Self::LiveCounts,
        Self::SlotInRow,
        Self::PlacedRecords,
        Self::Completion,
        Self::WrittenBytes,
        Self::ReadBuffer,
    ];

    /// Its id.
    #[must_use]
    pub const fn id(self) -> &'static str {
        match self {
            Self::SegmentInTable => "I-SEG-1",
            Self::StateCounts => "I-SEG-2",
            Self::StatedSegments => "I-SEG-3",
            Self::LiveCounts => "I-GC-4",
            Self::SlotInRow => "I-SLOT-1",
            Self::PlacedRecords => "I-SLOT-2",
            Self::Completion => "I-ACT-1",
            Self::WrittenBytes => "I-ACT-2",
            Self::ReadBuffer => "I-BUF-1",
        }
    }
}

impl fmt::Display for Invariant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "invariant {} is broken", self.id())
    }
}

impl core::error::Error for Invariant {}

/// The first invariant that was found broken in a part of a machine, if any was: its place among all, counted from one.
///
/// Each poll looks at the watches of all parts. As plain numbers they are joined by one operation each.
#[derive(Debug, Default)]
pub(crate) struct Watch(Cell<u8>);

impl Watch {
    pub(crate) const fn new() -> Self {
        Self(Cell::new(0))
    }

    pub(crate) fn broken(&self) -> Option<Invariant> {
        Invariant::ALL.get(usize::from(self.0.get()).checked_sub(1)?).copied()
    }

    /// A number that is not zero where an invariant was found broken.
    pub(crate) fn code(&self) -> u8 {
        self.0.get()
    }

    /// Notes that an invariant is broken. The value with which the caller goes on must be harmless: nothing of it reaches the
    /// medium.
    #[cold]
    #[inline(never)]
    pub(crate) fn note(&self, invariant: Invariant) {
        debug_assert!(false, "{invariant}");
        if self.0.get() == 0 {
            let place = Invariant::ALL.iter().zip(1u8..).find(|(other, _)| **other == invariant);
            self.0.set(place.map_or(1, |(_, place)| place));
        }
    }

    /// Holds the machine to an invariant.
    pub(crate) fn hold(&self, invariant: Invariant, holds: bool) {
        if !holds {
            self.note(invariant);
        }
    }

    /// Gives the value that an invariant promises, or else the default of its type.
    pub(crate) fn must_have<T: Default>(&self, invariant: Invariant, thing: Option<T>) -> T {
        thing.unwrap_or_else(|| {
            self.note(invariant);
            T::default()
        })
    }
}

#[cfg(test)]
pub(crate) mod testing {
    extern crate std;

    use core::panic::AssertUnwindSafe;
    use std::panic::catch_unwind;
    use std::string::String;

    use super::Invariant;

    /// Runs code that breaks an invariant, and tells whether it returned. In a build with debug assertions it must not: it must
    /// panic, and name the invariant.
    pub(crate) fn breaks(invariant: Invariant, run: impl FnOnce()) -> bool {
        let run = catch_unwind(AssertUnwindSafe(run));
        assert_eq!(run.is_err(), cfg!(debug_assertions), "{invariant}");
        let Err(panic) = run else { return true };
        let said = panic.downcast_ref::<String>().map_or("", String::as_str);
        assert!(said.contains(invariant.id()), "{invariant}: {said}");
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_broken_invariant_is_kept_and_named() {
        let watch = Watch::new();
        watch.hold(Invariant::Completion, true);
        assert_eq!((watch.broken(), watch.must_have(Invariant::Completion, Some(3))), (None, 3));
        let is_noted = testing::breaks(Invariant::SlotInRow, || {
            assert_eq!(watch.must_have::<u32>(Invariant::SlotInRow, None), 0);
            watch.note(Invariant::Completion);
        });
        assert_eq!(watch.broken(), is_noted.then_some(Invariant::SlotInRow));
    }

    #[test]
    fn ids_of_all_invariants_differ() {
        for (at, one) in Invariant::ALL.iter().enumerate() {
            assert!(Invariant::ALL[..at].iter().all(|other| other.id() != one.id()), "{one}");
        }
    }
}
