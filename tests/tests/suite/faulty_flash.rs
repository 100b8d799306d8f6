//! A flash whose reads fail, and whose changes fail or are cut, as a plan says.

use core::cell::{Cell, RefCell};

use coldpress_embedded::flash::{DeviceMedium, Medium, MediumError, NorMedium, Started};
use coldpress_tests::flash::{Flash, Tearing};
use coldpress_tests::sim::Rng;
use embedded_storage::nor_flash::{ErrorType, NorFlash, NorFlashError, NorFlashErrorKind, ReadNorFlash};

/// The faults of a life. Of ten thousand reads and changes so many fail.
pub(crate) struct Plan {
    pub(crate) rng: RefCell<Rng>,
    pub(crate) reads: Cell<u64>,
    pub(crate) changes: Cell<u64>,
    /// Changes before the power is cut.
    pub(crate) cut_in: Cell<Option<u64>>,
    /// Changes before some fail in a row, and how many do.
    pub(crate) fails_in: Cell<Option<(u64, u64)>>,
    pub(crate) failed: Cell<u64>,
}

impl Plan {
    fn strikes(&self, share: u64) -> bool {
        let strikes = share > 0 && self.rng.borrow_mut().below(10_000) < share;
        self.failed.set(self.failed.get() + u64::from(strikes));
        strikes
    }

    /// Whether this change is one of those in a row that fail.
    fn fails_now(&self) -> bool {
        let (fails, next) = match self.fails_in.get() {
            None | Some((_, 0)) => (false, None),
            Some((0, many)) => (true, Some((0, many - 1))),
            Some((left, many)) => (false, Some((left - 1, many))),
        };
        self.fails_in.set(next);
        self.failed.set(self.failed.get() + u64::from(fails));
        fails
    }
}

/// A flash of which operations fail as planned.
pub(crate) struct Faulty<'f, const UNIT: usize, const SECTOR: usize> {
    pub(crate) flash: &'f mut Flash<UNIT, SECTOR>,
    pub(crate) plan: &'f Plan,
}

type Nor<'f, const UNIT: usize, const SECTOR: usize> = NorMedium<&'f mut Flash<UNIT, SECTOR>>;

impl<const UNIT: usize, const SECTOR: usize> Faulty<'_, UNIT, SECTOR> {
    fn nor(&mut self) -> Nor<'_, UNIT, SECTOR> {
        let erase_value = self.flash.erase_value();
        NorMedium::erased_to(&mut *self.flash, erase_value)
    }

    /// A change that fails is torn as by a cut, and the power stays.
    fn change(
        &mut self,
        make: impl FnOnce(Nor<'_, UNIT, SECTOR>) -> Result<Started, MediumError>,
    ) -> Result<Started, MediumError> {
        if !self.flash.has_power() {
            return Err(MediumError::Io);
        }
        let left = self.plan.cut_in.get();
        self.plan.cut_in.set(left.map(|left| left.saturating_sub(1)));
        let (is_cut, strikes) = (left == Some(0), self.plan.strikes(self.plan.changes.get()));
        let fails = self.plan.fails_now() || strikes;
        if is_cut || fails {
            self.flash.cut_after(0, self.plan.rng.borrow_mut().next_u64());
        }
        let made = make(self.nor());
        if !is_cut {
            self.flash.power_on();
        }
        made.map_err(|_| MediumError::Io)
    }
}

impl<const UNIT: usize, const SECTOR: usize> Medium for Faulty<'_, UNIT, SECTOR> {
    type Error = MediumError;
    fn read(&mut self, at: u64, bytes: &mut [u8]) -> Result<(), MediumError> {
        if !self.flash.has_power() || self.plan.strikes(self.plan.reads.get()) {
            return Err(MediumError::Io);
        }
        self.nor().read(at, bytes)
    }
    fn write(&mut self, at: u64, bytes: &[u8]) -> Result<Started, MediumError> {
        self.change(|mut nor| nor.write(at, bytes))
    }
    fn erase(&mut self, at: u64, bytes: u64) -> Result<Started, MediumError> {
        self.change(|mut nor| nor.erase(at, bytes))
    }
    fn sync(&mut self) -> Result<Started, MediumError> {
        Ok(Started::Done)
    }
}

impl<const UNIT: usize, const SECTOR: usize> DeviceMedium for Faulty<'_, UNIT, SECTOR> {
    fn write_unit_bytes(&self) -> u32 {
        UNIT as u32
    }
    fn erase_unit_bytes(&self) -> u32 {
        SECTOR as u32
    }
    fn erase_value(&self) -> u8 {
        self.flash.erase_value()
    }
    fn medium_bytes(&self) -> u64 {
        self.flash.bytes().len() as u64
    }
}

/// The error of a flash of which operations fail.
#[derive(Debug)]
pub(crate) struct Failed(MediumError);

impl NorFlashError for Failed {
    fn kind(&self) -> NorFlashErrorKind {
        match self.0 {
            MediumError::Unreadable => NorFlashErrorKind::Other,
            _ => NorFlashErrorKind::OutOfBounds,
        }
    }
}

impl<const UNIT: usize, const SECTOR: usize> ErrorType for Faulty<'_, UNIT, SECTOR> {
    type Error = Failed;
}

impl<const UNIT: usize, const SECTOR: usize> ReadNorFlash for Faulty<'_, UNIT, SECTOR> {
    const READ_SIZE: usize = 1;

    fn read(&mut self, at: u32, bytes: &mut [u8]) -> Result<(), Failed> {
        Medium::read(self, at.into(), bytes).map_err(Failed)
    }

    fn capacity(&self) -> usize {
        self.flash.bytes().len()
    }
}

impl<const UNIT: usize, const SECTOR: usize> NorFlash for Faulty<'_, UNIT, SECTOR> {
    const WRITE_SIZE: usize = UNIT;
    const ERASE_SIZE: usize = SECTOR;

    fn erase(&mut self, from: u32, to: u32) -> Result<(), Failed> {
        Medium::erase(self, from.into(), (to - from).into()).map(drop).map_err(Failed)
    }

    fn write(&mut self, at: u32, bytes: &[u8]) -> Result<(), Failed> {
        Medium::write(self, at.into(), bytes).map(drop).map_err(Failed)
    }
}

impl<const UNIT: usize, const SECTOR: usize> Tearing for Faulty<'_, UNIT, SECTOR> {
    fn tear_program(&mut self, at: u32, bytes: &[u8], seed: u64) -> usize {
        self.flash.tear_program(at, bytes, seed)
    }

    fn tear_erase(&mut self, from: u32, to: u32, seed: u64) -> usize {
        self.flash.tear_erase(from, to, seed)
    }
}
