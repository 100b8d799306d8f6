//! A medium over any device that reads, writes and seeks.

use coldpress_core::drive::MediumError;
use embedded_io::{Read, Seek, Write};

use super::medium::{DeviceMedium, Medium, Started};
use crate::{AccessError, IoMedium};

/// Bytes written at once where an erase is made of writes.
const BLANK_BYTES: usize = 128;

/// A device that is written byte by byte: an erase writes 0xFF over the segment. Written records are durable after a
/// [`sync`](super::FlashTier::sync), which flushes the device.
///
/// The unit of a write is one byte, and of an erase as well. A device that tears a write within a sector keeps the promise all
/// the same, if it loses no flushed bytes.
impl<T: Read + Write + Seek> Medium for IoMedium<T> {
    type Error = MediumError;

    fn read(&mut self, at: u64, bytes: &mut [u8]) -> Result<(), MediumError> {
        self.read_at(at, bytes).map_err(|error| failed(&error))
    }

    fn write(&mut self, at: u64, bytes: &[u8]) -> Result<Started, MediumError> {
        self.write_at(at, bytes).map_err(|error| failed(&error))?;
        Ok(Started::Done)
    }

    fn erase(&mut self, at: u64, bytes: u64) -> Result<Started, MediumError> {
        let blank = [self.erase_value(); BLANK_BYTES];
        let (mut at, end) = (at, at.saturating_add(bytes));
        while at < end {
            let piece = blank.len().min(usize::try_from(end - at).unwrap_or(BLANK_BYTES));
            self.write_at(at, blank.get(..piece).unwrap_or_default()).map_err(|error| failed(&error))?;
            at += piece as u64;
        }
        Ok(Started::Done)
    }

    fn sync(&mut self) -> Result<Started, MediumError> {
        self.flush().map_err(|error| failed(&error))?;
        Ok(Started::Done)
    }
}

impl<T: Read + Write + Seek> DeviceMedium for IoMedium<T> {
    fn write_unit_bytes(&self) -> u32 {
        1
    }

    fn erase_unit_bytes(&self) -> u32 {
        1
    }

    fn medium_bytes(&self) -> u64 {
        self.size_bytes()
    }
}

fn failed<E>(error: &AccessError<E>) -> MediumError {
    match error {
        AccessError::ShortWrite { .. } => MediumError::NoSpace,
        _ => MediumError::Io,
    }
}
