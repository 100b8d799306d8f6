//! A medium that takes its time.

use crate::ram::Ram;
use coldpress_core::drive::MediumError;
use coldpress_embedded::flash::{DeviceMedium, Medium, NorMedium, Started};

/// A medium whose writes and erases end some looks later.
pub(crate) struct Slow {
    flash: NorMedium<Ram<4, 1024>>,
    looks_left: u32,
}

impl Slow {
    pub(crate) const fn new(flash: NorMedium<Ram<4, 1024>>) -> Self {
        Self { flash, looks_left: 0 }
    }
}

impl Medium for Slow {
    type Error = MediumError;
    fn read(&mut self, at: u64, bytes: &mut [u8]) -> Result<(), MediumError> {
        self.flash.read(at, bytes)
    }
    fn write(&mut self, at: u64, bytes: &[u8]) -> Result<Started, MediumError> {
        self.looks_left = 2;
        self.flash.write(at, bytes).map(|_| Started::UnderWay)
    }
    fn erase(&mut self, at: u64, bytes: u64) -> Result<Started, MediumError> {
        self.looks_left = 2;
        self.flash.erase(at, bytes).map(|_| Started::UnderWay)
    }
    fn sync(&mut self) -> Result<Started, MediumError> {
        Ok(Started::Done)
    }
    fn is_done(&mut self) -> Option<Result<(), MediumError>> {
        self.looks_left -= 1;
        (self.looks_left == 0).then_some(Ok(()))
    }
}

impl DeviceMedium for Slow {
    fn write_unit_bytes(&self) -> u32 {
        self.flash.write_unit_bytes()
    }
    fn erase_unit_bytes(&self) -> u32 {
        self.flash.erase_unit_bytes()
    }
    fn medium_bytes(&self) -> u64 {
        self.flash.medium_bytes()
    }
}
