//! A flash that a tier and its test share.

use core::cell::RefCell;

use embedded_storage::nor_flash::{ErrorType, NorFlash, ReadNorFlash};

use crate::ram::{Ram, Refused};

/// A flash that the test can reach while a tier is on it.
pub(crate) struct Shared<'f>(pub(crate) &'f RefCell<Ram<4, 1024>>);

impl ErrorType for Shared<'_> {
    type Error = Refused;
}

impl ReadNorFlash for Shared<'_> {
    const READ_SIZE: usize = 1;

    fn read(&mut self, at: u32, bytes: &mut [u8]) -> Result<(), Refused> {
        self.0.borrow_mut().read(at, bytes)
    }

    fn capacity(&self) -> usize {
        self.0.borrow().capacity()
    }
}

impl NorFlash for Shared<'_> {
    const WRITE_SIZE: usize = 4;
    const ERASE_SIZE: usize = 1024;

    fn erase(&mut self, from: u32, to: u32) -> Result<(), Refused> {
        self.0.borrow_mut().erase(from, to)
    }

    fn write(&mut self, at: u32, bytes: &[u8]) -> Result<(), Refused> {
        self.0.borrow_mut().write(at, bytes)
    }
}
