//! A medium in memory that keeps written and durable bytes apart.
//!
//! Every write and erase goes to a journal. A sync that succeeds makes the operations before it *firm*: no cut can take them. A
//! cut builds the medium anew from firm operations and from those others that its plan lets through, whole or in part. A failed
//! sync makes the operations before it *doubtful*, as on Linux, where a page that could not be written back counts as clean
//! from then on. Reads still see them, a later sync does not cover them, and a cut may take them.
//!
//! The double panics where the log breaks a rule of the medium, and names the invariant.

use std::collections::BTreeSet;

use coldpress_core::drive::{self, MediumError, Started};
use coldpress_core::format::Geometry;

use super::cut::Fate;
use super::fault::{Effect, Faults};
use crate::image::Image;

/// Counts of the operations of a medium.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Operations of all kinds; the number of the next one.
    pub operations: u64,
    /// Reads.
    pub reads: u64,
    /// Writes: programs.
    pub writes: u64,
    /// Bytes written.
    pub written_bytes: u64,
    /// Erases.
    pub erases: u64,
    /// Syncs.
    pub syncs: u64,
}

/// One operation that changed the medium and is not firm yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Op {
    /// Its number among all operations.
    pub number: u64,
    /// The segment it changed.
    pub segment: u32,
    /// Its change.
    pub what: Change,
    is_firm: bool,
    is_doubtful: bool,
}

/// The change of an operation to its segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Wrote bytes at an offset.
    Write {
        /// The offset in the segment.
        offset: u32,
        /// The bytes.
        bytes: Vec<u8>,
    },
    /// Made all of it read blank.
    Erase,
}

/// The double.
#[derive(Debug, Clone)]
pub struct Medium {
    pub(super) geometry: Geometry,
    pub(super) now: Image,
    pub(super) base: Image,
    pub(super) journal: Vec<Op>,
    /// Segments that held anything at the last cut: nothing is written there before an erase.
    pub(super) closed: BTreeSet<u32>,
    /// Byte positions that can't be read back.
    pub(super) unreadable: BTreeSet<u64>,
    pub(super) counts: Counts,
    /// Segments that have blocks; they keep them.
    pub(super) backed: BTreeSet<u32>,
    /// The number of segments for which there are no blocks.
    pub missing: u32,
    /// The planned failures.
    pub faults: Faults,
}

/// The moment at which a sync began: it makes firm the operations that were complete then.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SyncPoint {
    before: u64,
    except: Vec<u64>,
}

impl SyncPoint {
    fn covers(&self, op: &Op) -> bool {
        op.number < self.before && !self.except.contains(&op.number)
    }
}

impl Medium {
    /// A medium that was never written.
    #[must_use]
    pub fn new(geometry: Geometry) -> Self {
        let len = to_len(geometry.medium_bytes());
        let blank = Image::blank(len, geometry.write_unit() as usize, geometry.erase_value());
        Self {
            geometry,
            now: blank.clone(),
            base: blank,
            journal: Vec::new(),
            closed: BTreeSet::new(),
            unreadable: BTreeSet::new(),
            counts: Counts::default(),
            backed: BTreeSet::new(),
            missing: 0,
            faults: Faults::default(),
        }
    }

    /// The shape.
    #[must_use]
    pub const fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    /// The operations so far.
    #[must_use]
    pub const fn counts(&self) -> Counts {
        self.counts
    }

    /// The operations that a cut may take, in order.
    pub fn unsynced(&self) -> impl Iterator<Item = &Op> {
        self.journal.iter().filter(|op| !op.is_firm)
    }

    /// All bytes as reads see them.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.now.bytes
    }

    /// One segment as reads see it.
    #[must_use]
    pub fn segment(&self, segment: u32) -> &[u8] {
        let at = self.place(segment, 0);
        &self.now.bytes[at..at + self.geometry.segment_bytes() as usize]
    }

    /// One segment as far as it is firm.
    #[must_use]
    pub fn durable_segment(&self, segment: u32) -> &[u8] {
        let at = self.place(segment, 0);
        &self.base.bytes[at..at + self.geometry.segment_bytes() as usize]
    }

    fn place(&self, segment: u32, offset: u32) -> usize {
        to_len(u64::from(segment) * u64::from(self.geometry.segment_bytes()) + u64::from(offset))
    }

    /// The segment of a byte, and its offset there.
    fn split(&self, at: u64) -> (u32, u32) {
        let bytes = u64::from(self.geometry.segment_bytes());
        let number = |number: u64| u32::try_from(number).unwrap_or(u32::MAX);
        (number(at / bytes), number(at % bytes))
    }

    /// The segment that a range is.
    fn whole(&self, at: u64, bytes: u64) -> u32 {
        let (segment, offset) = self.split(at);
        assert_eq!((offset, bytes), (0, u64::from(self.geometry.segment_bytes())), "not a segment: {at}");
        segment
    }

    fn check_bounds(&self, segment: u32, offset: u32, len: usize) {
        assert!(segment < self.geometry.segment_count(), "segment {segment} is beyond the medium");
        let end = offset as usize + len;
        assert!(
            end <= self.geometry.segment_bytes() as usize,
            "{len} bytes at {offset} leave segment {segment}"
        );
    }

    fn begin(&mut self) -> Option<Effect> {
        let number = self.counts.operations;
        self.counts.operations += 1;
        self.faults.strike(number)
    }

    /// Reads. Bounds: no further than the segment's end.
    ///
    /// # Errors
    /// The error of the fault plan, or `Unreadable` where a byte of the range was made so.
    pub fn read(&mut self, segment: u32, offset: u32, out: &mut [u8]) -> Result<(), MediumError> {
        self.check_bounds(segment, offset, out.len());
        self.counts.reads += 1;
        if let Some(effect) = self.begin() {
            return Err(effect.error);
        }
        let range = offset..offset + u32::try_from(out.len()).unwrap_or(u32::MAX);
        if let Some(error) = self.faults.away(self.counts.reads - 1, segment, &range) {
            return Err(error);
        }
        self.peek(segment, offset, out)
    }

    /// Reads without counting and without faults but unreadable bytes: for checks.
    ///
    /// # Errors
    /// `Unreadable` where a byte of the range was made so.
    pub fn peek(&self, segment: u32, offset: u32, out: &mut [u8]) -> Result<(), MediumError> {
        let at = self.place(segment, offset);
        if !self.is_readable(segment, offset, u32::try_from(out.len()).unwrap_or(u32::MAX)) {
            return Err(MediumError::Unreadable);
        }
        out.copy_from_slice(&self.now.bytes[at..at + out.len()]);
        Ok(())
    }

    /// Writes.
    ///
    /// # Errors
    /// The error of the fault plan; part of the bytes may have been written then.
    ///
    /// # Panics
    /// On a range that leaves its segment or is not aligned; where a unit was programmed before (I-LOG-1); in a segment
    /// that held anything at the last cut (I-LOG-3).
    pub fn write(&mut self, segment: u32, offset: u32, bytes: &[u8]) -> Result<(), MediumError> {
        self.check_bounds(segment, offset, bytes.len());
        let unit = self.geometry.write_unit();
        let aligned = offset.is_multiple_of(unit) && bytes.len().is_multiple_of(unit as usize);
        assert!(aligned, "{} bytes at {offset}: the write unit is {unit}", bytes.len());
        assert!(!bytes.is_empty(), "an empty write in segment {segment}");
        assert!(
            !self.closed.contains(&segment),
            "I-LOG-3: {} bytes at {offset} of segment {segment}, which was in doubt at the cut",
            bytes.len()
        );
        let first = self.place(segment, offset) / unit as usize;
        let units = first..first + bytes.len() / unit as usize;
        if let Some(again) = units.clone().find(|&at| self.now.programmed[at]) {
            let at = (again - self.place(segment, 0) / unit as usize) * unit as usize;
            panic!("I-LOG-1: the unit at {at} of segment {segment} is programmed twice");
        }
        self.counts.writes += 1;
        let number = self.counts.operations;
        let effect = self.begin();
        let done = effect.map_or(bytes.len(), |effect| effect.bytes.min(bytes.len()));
        self.counts.written_bytes += done as u64;
        if done > 0 {
            let what = Change::Write { offset, bytes: bytes[..done].to_vec() };
            self.record(Op { number, segment, what, is_firm: false, is_doubtful: false });
        }
        // A write that failed leaves the whole range in doubt: none of its units is programmed again.
        self.now.programmed[units].fill(true);
        effect.map_or(Ok(()), |effect| Err(effect.error))
    }

    /// Erases a segment.
    ///
    /// # Errors
    /// The error of the fault plan; the erase may have happened then.
    pub fn erase(&mut self, segment: u32) -> Result<(), MediumError> {
        self.check_bounds(segment, 0, 0);
        self.counts.erases += 1;
        let number = self.counts.operations;
        let refused = self.faults.refuses_erases.then_some(Effect::clean(MediumError::Io));
        let effect = self.begin().or(refused);
        if effect.is_none_or(|effect| effect.bytes > 0) {
            self.closed.remove(&segment);
            let at = self.place(segment, 0) as u64;
            let end = at + u64::from(self.geometry.segment_bytes());
            // Where a cut takes the erase back, the bytes may have changed.
            for byte in self.unreadable.range(at..end) {
                let byte = usize::try_from(*byte).unwrap_or(usize::MAX);
                self.base.bytes[byte] ^= 0xFF;
            }
            self.unreadable.retain(|byte| !(at..end).contains(byte));
            self.record(Op { number, segment, what: Change::Erase, is_firm: false, is_doubtful: false });
        }
        effect.map_or(Ok(()), |effect| Err(effect.error))
    }

    /// Allocates the blocks of a segment, as long as there are any.
    ///
    /// # Errors
    /// `NoSpace` where there are none, or the error of the fault plan.
    pub fn allocate(&mut self, segment: u32) -> Result<(), MediumError> {
        self.check_bounds(segment, 0, 0);
        if let Some(effect) = self.begin() {
            return Err(effect.error);
        }
        let most = self.geometry.segment_count().saturating_sub(self.missing) as usize;
        if !self.backed.contains(&segment) && self.backed.len() >= most {
            return Err(MediumError::NoSpace);
        }
        self.backed.insert(segment);
        Ok(())
    }

    fn record(&mut self, op: Op) {
        self.now.apply(&self.geometry, &op, Fate::Kept);
        self.journal.push(op);
    }

    /// Begins a sync, which makes durable all operations that were completed before, except those numbered in `except`: their
    /// completion was not reported yet.
    #[must_use]
    pub const fn sync_begin(&self, except: Vec<u64>) -> SyncPoint {
        SyncPoint { before: self.counts.operations, except }
    }

    /// Ends a sync.
    ///
    /// # Errors
    /// The error of the fault plan; operations before the point are doubtful then.
    pub fn sync_end(&mut self, point: &SyncPoint) -> Result<(), MediumError> {
        self.counts.syncs += 1;
        let mut effect = self.begin();
        if self.faults.sync_fails > 0 {
            self.faults.sync_fails -= 1;
            effect = Some(Effect::clean(MediumError::Io));
        }
        for op in self.journal.iter_mut().filter(|op| point.covers(op) && !op.is_doubtful) {
            match effect {
                None => op.is_firm = true,
                Some(_) => op.is_doubtful = !op.is_firm,
            }
        }
        self.fold();
        effect.map_or(Ok(()), |effect| Err(effect.error))
    }

    /// Moves firm operations out of the journal, and with them those that a firm erase made moot.
    fn fold(&mut self) {
        let mut at = 0;
        while at < self.journal.len() {
            let op = &self.journal[at];
            if op.is_firm && op.what == Change::Erase {
                let segment = op.segment;
                let before = self.journal[..at].iter().filter(|op| op.segment == segment).count();
                let mut index = 0;
                self.journal.retain(|op| {
                    index += 1;
                    index > at || op.segment != segment
                });
                at -= before;
            }
            at += 1;
        }
        // Writes between two erases are disjoint (I-LOG-1), so a firm one need only wait for an erase before it.
        let mut waits: BTreeSet<u32> = BTreeSet::new();
        let mut kept = Vec::new();
        for op in self.journal.drain(..) {
            if !op.is_firm && op.what == Change::Erase {
                waits.insert(op.segment);
            }
            if op.is_firm && !waits.contains(&op.segment) {
                self.base.apply(&self.geometry, &op, Fate::Kept);
            } else {
                kept.push(op);
            }
        }
        self.journal = kept;
    }

    /// Whether no byte of a range was made impossible to read back.
    pub(super) fn is_readable(&self, segment: u32, offset: u32, bytes: u32) -> bool {
        let at = self.place(segment, offset) as u64;
        self.unreadable.range(at..at + u64::from(bytes)).next().is_none()
    }

    /// Whether nothing that was written to a segment, or erased, waits to be durable.
    pub(super) fn is_at_rest(&self, segment: u32) -> bool {
        self.journal.iter().all(|op| op.segment != segment)
    }

    /// Turns one bit over, durably: wear, not a cut.
    pub fn flip(&mut self, segment: u32, offset: u32, bit: u8) {
        let at = self.place(segment, offset);
        self.now.bytes[at] ^= 1 << (bit & 7);
        self.base.bytes[at] ^= 1 << (bit & 7);
    }

    /// Makes one write unit impossible to read back.
    pub fn spoil(&mut self, segment: u32, offset: u32) {
        let unit = self.geometry.write_unit();
        let at = self.place(segment, offset - offset % unit) as u64;
        self.unreadable.extend(at..at + u64::from(unit));
    }
}

/// As a machine's actions are carried out. Each operation takes effect at once; the world holds its completion back.
impl drive::Medium for Medium {
    type Error = MediumError;

    fn read(&mut self, at: u64, bytes: &mut [u8]) -> Result<(), MediumError> {
        let (segment, offset) = self.split(at);
        Self::read(self, segment, offset, bytes)
    }

    fn write(&mut self, at: u64, bytes: &[u8]) -> Result<Started, MediumError> {
        let (segment, offset) = self.split(at);
        Self::write(self, segment, offset, bytes).map(|()| Started::Done)
    }

    fn erase(&mut self, at: u64, bytes: u64) -> Result<Started, MediumError> {
        let segment = self.whole(at, bytes);
        Self::erase(self, segment).map(|()| Started::Done)
    }

    /// Covers all that was done before. A world begins and ends its syncs itself, since some of that may not be completed yet.
    fn sync(&mut self) -> Result<Started, MediumError> {
        let point = self.sync_begin(Vec::new());
        self.sync_end(&point).map(|()| Started::Done)
    }

    fn allocate(&mut self, at: u64, bytes: u64) -> Result<Started, MediumError> {
        let segment = self.whole(at, bytes);
        Self::allocate(self, segment).map(|()| Started::Done)
    }
}

impl Op {
    /// Whether a failed sync lies behind it, so that no later sync makes it firm.
    #[must_use]
    pub const fn is_doubtful(&self) -> bool {
        self.is_doubtful
    }

    pub(super) const fn is_firm(&self) -> bool {
        self.is_firm
    }

    /// Bytes it changes at most.
    #[must_use]
    pub fn len(&self, geometry: &Geometry) -> usize {
        match &self.what {
            Change::Write { bytes, .. } => bytes.len(),
            Change::Erase => geometry.segment_bytes() as usize,
        }
    }
}

pub(super) fn to_len(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests;
