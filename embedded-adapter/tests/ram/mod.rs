// A NOR flash in memory. It refuses what real parts refuse: a second program of a unit, and wrong alignment.

use core::fmt;

use embedded_storage::nor_flash::{
    ErrorType, NorFlash, NorFlashError, NorFlashErrorKind, ReadNorFlash, check_erase, check_read, check_write,
};

/// The flash: `UNIT` bytes are programmed at once, `SECTOR` erased at once.
#[derive(Debug, Clone)]
pub(crate) struct Ram<const UNIT: usize, const SECTOR: usize> {
    pub(crate) bytes: Vec<u8>,
    programmed: Vec<bool>,
    pub(crate) erases: u64,
    pub(crate) programmed_bytes: u64,
    pub(crate) read_bytes: u64,
    /// Fails every operation from here on.
    pub(crate) is_broken: bool,
}

/// The error of a refused operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Refused(pub(crate) NorFlashErrorKind);

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

impl core::error::Error for Refused {}

impl NorFlashError for Refused {
    fn kind(&self) -> NorFlashErrorKind {
        self.0
    }
}

impl<const UNIT: usize, const SECTOR: usize> Ram<UNIT, SECTOR> {
    pub(crate) fn new(sectors: usize) -> Self {
        Self {
            bytes: vec![0xFF; sectors * SECTOR],
            programmed: vec![false; sectors * SECTOR / UNIT],
            erases: 0,
            programmed_bytes: 0,
            read_bytes: 0,
            is_broken: false,
        }
    }

    fn check(&self) -> Result<(), Refused> {
        if self.is_broken { Err(Refused(NorFlashErrorKind::Other)) } else { Ok(()) }
    }
}

impl<const UNIT: usize, const SECTOR: usize> ErrorType for Ram<UNIT, SECTOR> {
    type Error = Refused;
}

impl<const UNIT: usize, const SECTOR: usize> ReadNorFlash for Ram<UNIT, SECTOR> {
    const READ_SIZE: usize = 1;

    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), Refused> {
        self.check()?;
        check_read(self, offset, bytes.len()).map_err(Refused)?;
        self.read_bytes += bytes.len() as u64;
        bytes.copy_from_slice(&self.bytes[offset as usize..][..bytes.len()]);
        Ok(())
    }

    fn capacity(&self) -> usize {
        self.bytes.len()
    }
}

impl<const UNIT: usize, const SECTOR: usize> NorFlash for Ram<UNIT, SECTOR> {
    const WRITE_SIZE: usize = UNIT;
    const ERASE_SIZE: usize = SECTOR;

    fn erase(&mut self, from: u32, to: u32) -> Result<(), Refused> {
        self.check()?;
        check_erase(self, from, to).map_err(Refused)?;
        self.bytes[from as usize..to as usize].fill(0xFF);
        self.programmed[from as usize / UNIT..to as usize / UNIT].fill(false);
        self.erases += u64::from(to - from) / SECTOR as u64;
        Ok(())
    }

    fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), Refused> {
        self.check()?;
        check_write(self, offset, bytes.len()).map_err(Refused)?;
        let start = offset as usize;
        for unit in &mut self.programmed[start / UNIT..(start + bytes.len()) / UNIT] {
            assert!(!core::mem::replace(unit, true), "I-LOG-1: a unit is programmed twice, at {offset}");
        }
        self.bytes[start..start + bytes.len()].copy_from_slice(bytes);
        self.programmed_bytes += bytes.len() as u64;
        Ok(())
    }
}
