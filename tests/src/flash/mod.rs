//! A NOR flash in memory: it enforces the demands of real parts, counts, and loses power at the worst moment.
//!
//! [`Flash`] speaks `embedded-storage` and `embedded-storage-async`. A write unit may be programmed once between erases, as
//! parts with ECC demand; the double panics where that, alignment or bounds are broken, since each of them is a defect of the
//! caller. [`Counts`] tell what a call cost. A [`Tear`] says how much of the operation under way a power cut left.
//! [`Flash::cut_after`] cuts a run. A [tape](Flash::keep_tape) keeps the moment before each change, so that all cuts of a
//! history can be tried without running it again.

mod counts;
mod tape;
mod tear;
mod traits;
mod waiting;

pub use counts::Counts;
pub use tape::Moment;
pub use tear::{Change, Tear};
pub use traits::FlashError;
pub use waiting::{Tearing, Waiting, run};

use core::hash::{Hash, Hasher};
use core::ops::Range;
use std::collections::BTreeSet;

use crate::image::Image;

/// The double. `UNIT` bytes are programmed as one, `SECTOR` bytes erased as one, `READ` bytes read as one.
#[derive(Debug, Clone)]
pub struct Flash<const UNIT: usize, const SECTOR: usize, const READ: usize = 1> {
    erase_value: u8,
    image: Image,
    /// Units that can't be read: their ECC does not fit their bits.
    unreadable: BTreeSet<usize>,
    erases: Vec<u32>,
    counts: Counts,
    has_power: bool,
    cut: Option<Cut>,
    flip: Option<Flip>,
    tape: Option<Vec<Moment<UNIT, SECTOR, READ>>>,
}

/// A bit that turns over once so many reads were made.
#[derive(Debug, Clone, Copy)]
struct Flip {
    reads_before: u64,
    at: usize,
    bit: u8,
}

/// A power cut to come.
#[derive(Debug, Clone, Copy)]
struct Cut {
    changes_before: u64,
    seed: u64,
}

impl<const UNIT: usize, const SECTOR: usize, const READ: usize> Flash<UNIT, SECTOR, READ> {
    /// Blank flash of so many sectors.
    ///
    /// # Panics
    /// Where a sector is not a whole number of units.
    #[must_use]
    pub fn new(sectors: usize, erase_value: u8) -> Self {
        assert!(SECTOR.is_multiple_of(UNIT) && SECTOR.is_multiple_of(READ), "a sector of {SECTOR} bytes");
        Self {
            erase_value,
            image: Image::blank(sectors * SECTOR, UNIT, erase_value),
            unreadable: BTreeSet::new(),
            erases: vec![0; sectors],
            counts: Counts::default(),
            has_power: true,
            cut: None,
            flip: None,
            tape: None,
        }
    }

    /// Flash with these bytes: a dump. A unit that reads blank counts as blank.
    ///
    /// # Panics
    /// Where they are not a whole number of sectors.
    #[must_use]
    pub fn with_bytes(bytes: &[u8], erase_value: u8) -> Self {
        assert!(bytes.len().is_multiple_of(SECTOR), "{} bytes are no whole sectors", bytes.len());
        let mut flash = Self::new(bytes.len() / SECTOR, erase_value);
        flash.image.bytes.copy_from_slice(bytes);
        let written = bytes.chunks(UNIT).map(|unit| unit.iter().any(|byte| *byte != erase_value));
        flash.image.programmed = written.collect();
        flash
    }

    /// All bytes, as they would read.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.image.bytes
    }

    /// The value that blank bytes read as.
    #[must_use]
    pub const fn erase_value(&self) -> u8 {
        self.erase_value
    }

    /// The operations so far.
    #[must_use]
    pub const fn counts(&self) -> Counts {
        self.counts
    }

    /// How often each sector was erased.
    #[must_use]
    pub fn erases(&self) -> &[u32] {
        &self.erases
    }

    /// Whether it has power: not after a cut.
    #[must_use]
    pub const fn has_power(&self) -> bool {
        self.has_power
    }

    /// Gives power back. A cut still to come is called off.
    pub const fn power_on(&mut self) {
        self.has_power = true;
        self.cut = None;
    }

    /// Cuts the power after so many more changes, during the next one; the seed chooses among its [tears](Change::tears).
    pub const fn cut_after(&mut self, changes: u64, seed: u64) {
        self.cut = Some(Cut { changes_before: self.counts.changes() + changes, seed });
    }

    /// Turns one bit over.
    pub fn flip(&mut self, at: usize, bit: u8) {
        self.image.bytes[at] ^= 1 << (bit & 7);
    }

    /// Turns one bit over after so many more reads.
    pub const fn flip_after(&mut self, reads: u64, at: usize, bit: u8) {
        self.flip = Some(Flip { reads_before: self.counts.reads + reads, at, bit });
    }

    /// Makes the unit that holds a byte impossible to read until its sector is erased.
    pub fn spoil(&mut self, at: usize) {
        self.unreadable.insert(at / UNIT);
    }

    /// Keeps the moment before each change from here on.
    pub fn keep_tape(&mut self) {
        self.tape = Some(Vec::new());
    }

    /// Moments kept so far.
    #[must_use]
    pub fn tape_len(&self) -> usize {
        self.tape.as_ref().map_or(0, Vec::len)
    }

    /// Takes the moments, and keeps no more.
    pub fn take_tape(&mut self) -> Vec<Moment<UNIT, SECTOR, READ>> {
        self.tape.take().unwrap_or_default()
    }

    /// The same flash without its tape and with power.
    fn bare(&self) -> Self {
        Self {
            erase_value: self.erase_value,
            image: self.image.clone(),
            unreadable: self.unreadable.clone(),
            erases: self.erases.clone(),
            counts: self.counts,
            has_power: true,
            cut: None,
            flip: None,
            tape: None,
        }
    }

    fn check_bounds(&self, at: usize, len: usize) {
        assert!(at + len <= self.image.bytes.len(), "{len} bytes at {at} leave the flash");
    }

    fn fetch(&mut self, at: usize, out: &mut [u8]) -> Result<(), FlashError> {
        self.check_bounds(at, out.len());
        let aligned = at.is_multiple_of(READ) && out.len().is_multiple_of(READ);
        assert!(aligned, "a read of {} bytes at {at}: the read unit is {READ}", out.len());
        if !self.has_power {
            return Err(FlashError::NoPower);
        }
        if let Some(flip) = self.flip.take_if(|flip| flip.reads_before <= self.counts.reads) {
            self.flip(flip.at, flip.bit);
        }
        self.counts.reads += 1;
        self.counts.read_bytes += out.len() as u64;
        let range = at..at + out.len();
        if !range.is_empty() && self.unreadable.range(Image::units(UNIT, &range)).next().is_some() {
            return Err(FlashError::Unreadable);
        }
        out.copy_from_slice(&self.image.bytes[range]);
        Ok(())
    }

    fn program(&mut self, at: usize, bytes: &[u8]) -> Result<(), FlashError> {
        self.check_bounds(at, bytes.len());
        let aligned = at.is_multiple_of(UNIT) && bytes.len().is_multiple_of(UNIT);
        assert!(aligned, "{} bytes programmed at {at}: the write unit is {UNIT}", bytes.len());
        if bytes.is_empty() {
            return Ok(());
        }
        let units = Image::units(UNIT, &(at..at + bytes.len()));
        if let Some(unit) = units.into_iter().find(|unit| self.image.programmed[*unit] && self.has_power) {
            panic!(
                "I-LOG-1: the unit at {} of sector {} is programmed twice",
                unit * UNIT % SECTOR,
                at / SECTOR
            );
        }
        self.change(Change::Program { at, bytes: bytes.to_vec() })
    }

    fn erase_range(&mut self, range: Range<usize>) -> Result<(), FlashError> {
        assert!(range.start <= range.end, "an erase from {} to {}", range.start, range.end);
        self.check_bounds(range.start, range.len());
        let aligned = range.start.is_multiple_of(SECTOR) && range.end.is_multiple_of(SECTOR);
        assert!(aligned, "an erase from {} to {}: sectors have {SECTOR} bytes", range.start, range.end);
        for at in range.step_by(SECTOR) {
            self.change(Change::Erase { at, len: SECTOR })?;
        }
        Ok(())
    }

    fn change(&mut self, change: Change) -> Result<(), FlashError> {
        if !self.has_power {
            return Err(FlashError::NoPower);
        }
        if self.tape.is_some() {
            let moment = Moment::new(self.bare(), change.clone());
            self.tape.as_mut().into_iter().for_each(|tape| tape.push(moment.clone()));
        }
        if let Some(cut) = self.cut.filter(|cut| cut.changes_before <= self.counts.changes()) {
            let tears = change.tears(UNIT);
            let tear = tears[usize::try_from(cut.seed % tears.len() as u64).unwrap_or(0)];
            self.tear(&change, tear);
            self.has_power = false;
            self.cut = None;
            return Err(FlashError::NoPower);
        }
        self.tear(&change, Tear::First(change.len()));
        self.count(&change);
        Ok(())
    }

    fn count(&mut self, change: &Change) {
        match change {
            Change::Program { bytes, .. } => {
                self.counts.programs += 1;
                self.counts.programmed_bytes += bytes.len() as u64;
            }
            Change::Erase { at, .. } => {
                self.counts.erases += 1;
                self.erases[at / SECTOR] += 1;
            }
        }
    }
}

/// Hashes the state, without the counts.
impl<const UNIT: usize, const SECTOR: usize, const READ: usize> Hash for Flash<UNIT, SECTOR, READ> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.image.hash(state);
        self.unreadable.hash(state);
    }
}

#[cfg(test)]
mod tests;
