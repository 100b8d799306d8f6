//! Planned failures of a medium, by the number of the operation.

use core::ops::Range;
use std::collections::BTreeMap;

use coldpress_core::drive::MediumError;

/// A failure of one operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Effect {
    /// The error that is reported.
    pub error: MediumError,
    /// Bytes of a write that are written all the same; an erase is done where this is not 0.
    pub bytes: usize,
}

impl Effect {
    /// A failure that left nothing behind.
    #[must_use]
    pub const fn clean(error: MediumError) -> Self {
        Self { error, bytes: 0 }
    }

    /// A write cut short, or an erase that was done although it failed.
    #[must_use]
    pub const fn short(error: MediumError, bytes: usize) -> Self {
        Self { error, bytes }
    }

    /// All was done, and a failure reported nevertheless.
    #[must_use]
    pub const fn done(error: MediumError) -> Self {
        Self { error, bytes: usize::MAX }
    }
}

/// A part of the medium that can't be read for a while. Nothing is wrong with its bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outage {
    /// The segments.
    pub segments: Range<u32>,
    /// The bytes of each.
    pub bytes: Range<u32>,
    /// The reads, by their number, between which it lasts.
    pub reads: Range<u64>,
    /// The error that is reported.
    pub error: MediumError,
}

impl Outage {
    /// All of some segments, until further notice.
    #[must_use]
    pub const fn of(segments: Range<u32>) -> Self {
        Self { segments, bytes: 0..u32::MAX, reads: 0..u64::MAX, error: MediumError::Unreadable }
    }

    fn covers(&self, read: u64, segment: u32, bytes: &Range<u32>) -> bool {
        self.reads.contains(&read)
            && self.segments.contains(&segment)
            && bytes.start < self.bytes.end
            && self.bytes.start < bytes.end
    }
}

/// The operations that fail.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Faults {
    single: BTreeMap<u64, Effect>,
    lasting: Option<(u64, u64, Effect)>,
    /// The part that can't be read for a while.
    pub outage: Option<Outage>,
    /// Whether every erase fails.
    pub refuses_erases: bool,
    /// The next so many syncs fail.
    pub sync_fails: u32,
}

impl Faults {
    /// Lets the operation with this number fail.
    pub fn at(&mut self, number: u64, effect: Effect) {
        self.single.insert(number, effect);
    }

    /// Lets all operations from `first` up to, not including, `end` fail: a disk that is full for a while.
    pub const fn during(&mut self, first: u64, end: u64, effect: Effect) {
        self.lasting = Some((first, end, effect));
    }

    /// Plans nothing more.
    pub fn clear(&mut self) {
        *self = Self::default();
    }

    pub(super) fn away(&self, read: u64, segment: u32, bytes: &Range<u32>) -> Option<MediumError> {
        self.outage.as_ref().filter(|outage| outage.covers(read, segment, bytes)).map(|outage| outage.error)
    }

    pub(super) fn strike(&mut self, number: u64) -> Option<Effect> {
        if let Some(effect) = self.single.remove(&number) {
            return Some(effect);
        }
        self.lasting.filter(|(first, end, _)| (*first..*end).contains(&number)).map(|(_, _, effect)| effect)
    }
}
