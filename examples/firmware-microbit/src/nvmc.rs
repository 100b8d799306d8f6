//! The flash controller of the nRF51.

use embassy_nrf::nvmc::{Error, Nvmc};
use embassy_nrf::pac::NVMC;
use embassy_nrf::pac::nvmc::vals::Wen;
use embedded_storage::nor_flash::{ErrorType, NorFlash, ReadNorFlash};

/// Bytes of a page on this part.
pub(crate) const PAGE_BYTES: u32 = 1_024;

/// The flash of an nRF51, in its pages of 1 KiB: the driver takes those of an nRF52, four times as large, and would
/// erase one of four.
pub(crate) struct Flash<'d> {
    driver: Nvmc<'d>,
}

impl<'d> Flash<'d> {
    pub(crate) fn new(driver: Nvmc<'d>) -> Self {
        Self { driver }
    }
}

impl ErrorType for Flash<'_> {
    type Error = Error;
}

impl ReadNorFlash for Flash<'_> {
    const READ_SIZE: usize = Nvmc::READ_SIZE;

    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), Error> {
        self.driver.read(offset, bytes)
    }

    fn capacity(&self) -> usize {
        self.driver.capacity()
    }
}

impl NorFlash for Flash<'_> {
    const WRITE_SIZE: usize = Nvmc::WRITE_SIZE;
    const ERASE_SIZE: usize = PAGE_BYTES as usize;

    fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), Error> {
        self.driver.write(offset, bytes)
    }

    fn erase(&mut self, from: u32, to: u32) -> Result<(), Error> {
        if to < from || to as usize > self.capacity() {
            return Err(Error::OutOfBounds);
        }
        if !from.is_multiple_of(PAGE_BYTES) || !to.is_multiple_of(PAGE_BYTES) {
            return Err(Error::Unaligned);
        }
        for page in (from..to).step_by(Self::ERASE_SIZE) {
            NVMC.config().write(|config| config.set_wen(Wen::Een));
            NVMC.erasepage().write_value(page);
            while !NVMC.ready().read().ready() {}
            NVMC.config().write(|config| config.set_wen(Wen::Ren));
        }
        Ok(())
    }
}
