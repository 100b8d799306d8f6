//! The part of the nRF51's flash that the log has.

use embassy_nrf::nvmc::{Error, Nvmc};
use embassy_nrf::pac::NVMC;
use embassy_nrf::pac::nvmc::vals::Wen;
use embedded_storage::nor_flash::{ErrorType, NorFlash, ReadNorFlash};

/// Bytes of a page on this part.
pub(crate) const PAGE_BYTES: u32 = 1_024;
/// Pages of the log.
pub(crate) const PAGES: usize = 17;
/// Where they begin: behind the vectors and before the program, as `memory.x` says.
const START: u32 = PAGE_BYTES;
const END: u32 = START + PAGES as u32 * PAGE_BYTES;

/// The pages of the log, numbered from zero.
///
/// The driver takes the part for an nRF52, whose pages are four times as large, and would erase one page of four. So the erases
/// are programmed here.
pub(crate) struct LogFlash<'d> {
    driver: Nvmc<'d>,
}

impl LogFlash<'_> {
    /// Takes the controller. Flash that holds nothing but zeros, as the emulator's does at first, is erased.
    pub(crate) fn take() -> Result<Self, Error> {
        let board = embassy_nrf::init(embassy_nrf::config::Config::default());
        let mut flash = Self { driver: Nvmc::new(board.NVMC) };
        let mut word = [0; 4];
        for at in (0..END - START).step_by(word.len()) {
            flash.read(at, &mut word)?;
            if word != [0; 4] {
                return Ok(flash);
            }
        }
        flash.erase(0, END - START)?;
        Ok(flash)
    }
}

impl ErrorType for LogFlash<'_> {
    type Error = Error;
}

impl ReadNorFlash for LogFlash<'_> {
    const READ_SIZE: usize = Nvmc::READ_SIZE;

    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), Error> {
        self.driver.read(START.saturating_add(offset), bytes)
    }

    fn capacity(&self) -> usize {
        (END - START) as usize
    }
}

impl NorFlash for LogFlash<'_> {
    const WRITE_SIZE: usize = Nvmc::WRITE_SIZE;
    const ERASE_SIZE: usize = PAGE_BYTES as usize;

    fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), Error> {
        self.driver.write(START.saturating_add(offset), bytes)
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
            NVMC.erasepage().write_value(START + page);
            while !NVMC.ready().read().ready() {}
            NVMC.config().write(|config| config.set_wen(Wen::Ren));
        }
        Ok(())
    }
}
