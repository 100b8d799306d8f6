//! The flash that a map is read from: a copy of it in memory.

use core::fmt;

use embedded_storage_async::nor_flash::{
    ErrorType, NorFlash, NorFlashError, NorFlashErrorKind, ReadNorFlash,
};

/// Flash in memory. `PAGE` bytes are erased as one, `WRITE` bytes programmed as one, `READ` bytes read as one.
pub(crate) struct Pages<'b, const PAGE: usize, const WRITE: usize, const READ: usize>(
    pub(crate) &'b mut [u8],
);

/// An access beyond the flash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BeyondFlash;

impl fmt::Display for BeyondFlash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an access beyond the flash")
    }
}

impl core::error::Error for BeyondFlash {}

impl NorFlashError for BeyondFlash {
    fn kind(&self) -> NorFlashErrorKind {
        NorFlashErrorKind::OutOfBounds
    }
}

impl<const PAGE: usize, const WRITE: usize, const READ: usize> Pages<'_, PAGE, WRITE, READ> {
    fn part(&mut self, from: u32, len: usize) -> Result<&mut [u8], BeyondFlash> {
        let from = usize::try_from(from).map_err(|_| BeyondFlash)?;
        self.0.get_mut(from..from.saturating_add(len)).ok_or(BeyondFlash)
    }
}

impl<const PAGE: usize, const WRITE: usize, const READ: usize> ErrorType for Pages<'_, PAGE, WRITE, READ> {
    type Error = BeyondFlash;
}

impl<const PAGE: usize, const WRITE: usize, const READ: usize> ReadNorFlash for Pages<'_, PAGE, WRITE, READ> {
    const READ_SIZE: usize = READ;

    async fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), BeyondFlash> {
        let part = self.part(offset, bytes.len())?;
        bytes.copy_from_slice(part);
        Ok(())
    }

    fn capacity(&self) -> usize {
        self.0.len()
    }
}

impl<const PAGE: usize, const WRITE: usize, const READ: usize> NorFlash for Pages<'_, PAGE, WRITE, READ> {
    const WRITE_SIZE: usize = WRITE;
    const ERASE_SIZE: usize = PAGE;

    async fn erase(&mut self, from: u32, to: u32) -> Result<(), BeyondFlash> {
        let len = to.checked_sub(from).and_then(|len| usize::try_from(len).ok()).ok_or(BeyondFlash)?;
        self.part(from, len)?.fill(0xFF);
        Ok(())
    }

    async fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), BeyondFlash> {
        // A program clears bits.
        for (at, byte) in self.part(offset, bytes.len())?.iter_mut().zip(bytes) {
            *at &= byte;
        }
        Ok(())
    }
}
