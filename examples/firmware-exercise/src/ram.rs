//! A NOR flash in RAM for a board whose emulator has none: its operations end later, and it refuses those that flash could not
//! do.

use coldpress_core::drive::MediumError;
use coldpress_embedded::flash::{DeviceMedium, Medium, Started};

/// Bytes that are written at once.
const WRITE_UNIT: u32 = 4;
/// A NOR flash over lent bytes, programmed in words and erased in sectors of `SECTOR` bytes to 0xFF. A program of a word
/// that is not blank is refused and counted.
#[derive(Debug)]
pub struct RamNor<'b, const SECTOR: u32> {
    bytes: &'b mut [u8],
    asks: u8,
    asks_left: u8,
    refused: u32,
}

impl<'b, const SECTOR: u32> RamNor<'b, SECTOR> {
    /// Takes bytes as they are: the earlier content of a flash. With `asks`, an operation ends once the tier has asked so
    /// often, as on a controller that reports by an interrupt. With 0 it ends when its call returns.
    pub fn new(bytes: &'b mut [u8], asks: u8) -> Self {
        Self { bytes, asks, asks_left: 0, refused: 0 }
    }

    /// The bytes of the flash.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        self.bytes
    }

    /// How many operations were refused, since a flash could not have done them.
    #[must_use]
    pub fn refused(&self) -> u32 {
        self.refused
    }

    fn range(&mut self, at: u64, len: usize) -> Result<&mut [u8], MediumError> {
        let at = usize::try_from(at).map_err(|_| MediumError::Io)?;
        self.bytes.get_mut(at..at.saturating_add(len)).ok_or(MediumError::Io)
    }

    fn refuse(&mut self) -> MediumError {
        self.refused += 1;
        MediumError::Io
    }

    fn start(&mut self) -> Started {
        self.asks_left = self.asks;
        if self.asks == 0 { Started::Done } else { Started::UnderWay }
    }
}

impl<const SECTOR: u32> DeviceMedium for RamNor<'_, SECTOR> {
    fn write_unit_bytes(&self) -> u32 {
        WRITE_UNIT
    }

    fn erase_unit_bytes(&self) -> u32 {
        SECTOR
    }

    fn medium_bytes(&self) -> u64 {
        self.bytes.len() as u64
    }
}

impl<const SECTOR: u32> Medium for RamNor<'_, SECTOR> {
    type Error = MediumError;

    fn read(&mut self, at: u64, bytes: &mut [u8]) -> Result<(), MediumError> {
        bytes.copy_from_slice(self.range(at, bytes.len())?);
        Ok(())
    }

    fn write(&mut self, at: u64, bytes: &[u8]) -> Result<Started, MediumError> {
        let aligned = at.is_multiple_of(WRITE_UNIT.into()) && bytes.len().is_multiple_of(WRITE_UNIT as usize);
        let place = self.range(at, bytes.len())?;
        // I-LOG-1
        if !aligned || place.iter().any(|byte| *byte != 0xFF) {
            return Err(self.refuse());
        }
        place.copy_from_slice(bytes);
        Ok(self.start())
    }

    fn erase(&mut self, at: u64, bytes: u64) -> Result<Started, MediumError> {
        if !at.is_multiple_of(SECTOR.into()) || !bytes.is_multiple_of(SECTOR.into()) {
            return Err(self.refuse());
        }
        let len = usize::try_from(bytes).map_err(|_| MediumError::Io)?;
        self.range(at, len)?.fill(0xFF);
        Ok(self.start())
    }

    /// Programmed bytes are durable.
    fn sync(&mut self) -> Result<Started, MediumError> {
        Ok(Started::Done)
    }

    fn is_done(&mut self) -> Option<Result<(), MediumError>> {
        self.asks_left = self.asks_left.saturating_sub(1);
        (self.asks_left == 0).then_some(Ok(()))
    }
}
