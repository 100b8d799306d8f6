//! A flash that several tasks share, as under a radio stack: each operation takes the controller for itself, and takes its time.
//!
//! The emulator of the board has no writable flash, so its bytes are in RAM.

use embassy_sync::blocking_mutex::raw::CriticalSectionRawMutex;
use embassy_sync::mutex::Mutex;
use embassy_time::Timer;
use embedded_storage_async::nor_flash::{ErrorType, NorFlash, NorFlashErrorKind, ReadNorFlash};

/// Bytes that are written at once.
const WRITE_UNIT: usize = 4;
/// Bytes that are erased at once.
pub(crate) const SECTOR_BYTES: usize = 4_096;
/// How long a program takes, and an erase, in ticks.
const PROGRAM_TICKS: u64 = 2;
const ERASE_TICKS: u64 = 4;

/// The controller, behind an async mutex: who waits for it lets other tasks run.
pub(crate) type SharedController = Mutex<CriticalSectionRawMutex, Controller>;

/// The controller of the flash: it does one operation at a time.
pub(crate) struct Controller {
    bytes: &'static mut [u8],
    refused: u32,
}

impl Controller {
    /// Takes bytes as they are: the earlier content of a flash.
    pub(crate) const fn new(bytes: &'static mut [u8]) -> Self {
        Self { bytes, refused: 0 }
    }

    /// The bytes of the flash.
    pub(crate) const fn bytes(&self) -> &[u8] {
        self.bytes
    }

    /// How many operations were refused, since a flash could not have done them.
    pub(crate) const fn refused(&self) -> u32 {
        self.refused
    }

    fn part(&mut self, at: u32, len: usize) -> Result<&mut [u8], NorFlashErrorKind> {
        self.bytes.get_mut(at as usize..at as usize + len).ok_or(NorFlashErrorKind::OutOfBounds)
    }

    /// Programs words that are blank.
    fn program(&mut self, at: u32, bytes: &[u8]) -> Result<(), NorFlashErrorKind> {
        let is_aligned = (at as usize).is_multiple_of(WRITE_UNIT) && bytes.len().is_multiple_of(WRITE_UNIT);
        let part = self.part(at, bytes.len())?;
        // I-LOG-1
        if !is_aligned || part.iter().any(|byte| *byte != 0xFF) {
            self.refused += 1;
            return Err(NorFlashErrorKind::NotAligned);
        }
        part.copy_from_slice(bytes);
        Ok(())
    }
}

/// The flash as one of the tasks has it.
pub(crate) struct SharedFlash(pub(crate) &'static SharedController);

impl ErrorType for SharedFlash {
    type Error = NorFlashErrorKind;
}

impl ReadNorFlash for SharedFlash {
    const READ_SIZE: usize = 1;

    async fn read(&mut self, at: u32, bytes: &mut [u8]) -> Result<(), NorFlashErrorKind> {
        let mut controller = self.0.lock().await;
        bytes.copy_from_slice(controller.part(at, bytes.len())?);
        Ok(())
    }

    fn capacity(&self) -> usize {
        crate::FLASH_BYTES
    }
}

impl NorFlash for SharedFlash {
    const WRITE_SIZE: usize = WRITE_UNIT;
    const ERASE_SIZE: usize = SECTOR_BYTES;

    /// Half of the words are programmed when the operation begins, the others at its end.
    async fn write(&mut self, at: u32, bytes: &[u8]) -> Result<(), NorFlashErrorKind> {
        let mut controller = self.0.lock().await;
        let (first, last) = bytes.split_at(bytes.len() / (2 * WRITE_UNIT) * WRITE_UNIT);
        controller.program(at, first)?;
        Timer::after_ticks(PROGRAM_TICKS).await;
        controller.program(at + first.len() as u32, last)
    }

    async fn erase(&mut self, from: u32, to: u32) -> Result<(), NorFlashErrorKind> {
        let mut controller = self.0.lock().await;
        Timer::after_ticks(ERASE_TICKS).await;
        controller.part(from, (to - from) as usize)?.fill(0xFF);
        Ok(())
    }
}
