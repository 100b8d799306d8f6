//! The traits by which stores reach flash.

use core::fmt;

use embedded_storage::nor_flash::{ErrorType, NorFlash, NorFlashError, NorFlashErrorKind, ReadNorFlash};
use embedded_storage_async::nor_flash as waiting;

use super::Flash;

/// Why flash refused an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FlashError {
    /// The power is cut.
    NoPower,
    /// A unit in the range can't be read.
    Unreadable,
}

impl fmt::Display for FlashError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoPower => "the power is cut",
            Self::Unreadable => "a unit can't be read",
        })
    }
}

impl core::error::Error for FlashError {}

impl NorFlashError for FlashError {
    fn kind(&self) -> NorFlashErrorKind {
        NorFlashErrorKind::Other
    }
}

impl<const UNIT: usize, const SECTOR: usize, const READ: usize> ErrorType for Flash<UNIT, SECTOR, READ> {
    type Error = FlashError;
}

impl<const UNIT: usize, const SECTOR: usize, const READ: usize> ReadNorFlash for Flash<UNIT, SECTOR, READ> {
    const READ_SIZE: usize = READ;

    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), FlashError> {
        self.fetch(offset as usize, bytes)
    }

    fn capacity(&self) -> usize {
        self.bytes().len()
    }
}

impl<const UNIT: usize, const SECTOR: usize, const READ: usize> NorFlash for Flash<UNIT, SECTOR, READ> {
    const WRITE_SIZE: usize = UNIT;
    const ERASE_SIZE: usize = SECTOR;

    fn erase(&mut self, from: u32, to: u32) -> Result<(), FlashError> {
        self.erase_range(from as usize..to as usize)
    }

    fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), FlashError> {
        self.program(offset as usize, bytes)
    }
}

impl<const UNIT: usize, const SECTOR: usize, const READ: usize> waiting::ReadNorFlash
    for Flash<UNIT, SECTOR, READ>
{
    const READ_SIZE: usize = READ;

    async fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), FlashError> {
        self.fetch(offset as usize, bytes)
    }

    fn capacity(&self) -> usize {
        self.bytes().len()
    }
}

impl<const UNIT: usize, const SECTOR: usize, const READ: usize> waiting::NorFlash
    for Flash<UNIT, SECTOR, READ>
{
    const WRITE_SIZE: usize = UNIT;
    const ERASE_SIZE: usize = SECTOR;

    async fn erase(&mut self, from: u32, to: u32) -> Result<(), FlashError> {
        self.erase_range(from as usize..to as usize)
    }

    async fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), FlashError> {
        self.program(offset as usize, bytes)
    }
}
