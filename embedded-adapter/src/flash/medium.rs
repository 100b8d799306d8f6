//! The flash that a tier writes to.

use coldpress_core::drive::MediumError;

/// The state of an operation that was asked of a [`Medium`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Started {
    /// It is done.
    Done,
    /// It is under way: [`Medium::is_done`] tells its end.
    UnderWay,
}

/// A medium that is written in units and erased in segments.
///
/// [`NorMedium`](super::NorMedium) is one over any `embedded_storage` NOR flash, [`IoMedium`](crate::IoMedium) one over
/// anything that reads, writes and seeks. A medium that can start a write, an erase or a sync and report its end later, by an
/// interrupt or a status register, returns [`Started::UnderWay`]: then nothing else is asked of it before
/// [`is_done`](Self::is_done) says so. A read is over when it returns. The bytes of a write are lent for the call only: such a medium
/// takes them over before it returns.
///
/// No call of the tier waits for an operation: it asks `is_done` once at most, and ends with
/// [`Busy`](super::PutError::Busy) where the operation has not ended. The same call, made again, goes on (see the
/// [module](super#calls-that-are-put-off)).
///
/// Offsets are in bytes from the start of the medium, multiples of the write unit for writes and of the erase unit for
/// erases. Reads start and end anywhere.
pub trait Medium {
    /// Bytes that are written at once: a power of two up to 32.
    fn write_unit_bytes(&self) -> u32;

    /// Bytes that are erased at once; a segment is a multiple of it.
    fn erase_unit_bytes(&self) -> u32;

    /// The value that an erased byte reads as: 0xFF or 0x00.
    fn erase_value(&self) -> u8 {
        0xFF
    }

    /// Bytes of the whole medium.
    fn medium_bytes(&self) -> u64;

    /// Fills `bytes` from `at` on.
    ///
    /// # Errors
    /// [`MediumError::Unreadable`] where the bytes can't be read back, else [`MediumError::Io`].
    fn read(&mut self, at: u32, bytes: &mut [u8]) -> Result<(), MediumError>;

    /// Writes whole units that were erased and not written since.
    ///
    /// # Errors
    /// [`MediumError`]; what is on the medium then may be all, part or nothing of it.
    fn write(&mut self, at: u32, bytes: &[u8]) -> Result<Started, MediumError>;

    /// Erases `bytes` from `at` on.
    ///
    /// # Errors
    /// [`MediumError`]; the erase is tried again later.
    fn erase(&mut self, at: u32, bytes: u32) -> Result<Started, MediumError>;

    /// Makes durable what was written and erased. Nothing to do where a completed write is durable, as on NOR flash.
    ///
    /// # Errors
    /// [`MediumError`]; then nothing is known of any write since the last success.
    fn sync(&mut self) -> Result<Started, MediumError> {
        Ok(Started::Done)
    }

    /// Tells whether the operation under way has ended, and how. It must not wait for that.
    fn is_done(&mut self) -> Option<Result<(), MediumError>> {
        Some(Ok(()))
    }
}

impl<M: Medium> Medium for &mut M {
    fn write_unit_bytes(&self) -> u32 {
        (**self).write_unit_bytes()
    }

    fn erase_unit_bytes(&self) -> u32 {
        (**self).erase_unit_bytes()
    }

    fn erase_value(&self) -> u8 {
        (**self).erase_value()
    }

    fn medium_bytes(&self) -> u64 {
        (**self).medium_bytes()
    }

    fn read(&mut self, at: u32, bytes: &mut [u8]) -> Result<(), MediumError> {
        (**self).read(at, bytes)
    }

    fn write(&mut self, at: u32, bytes: &[u8]) -> Result<Started, MediumError> {
        (**self).write(at, bytes)
    }

    fn erase(&mut self, at: u32, bytes: u32) -> Result<Started, MediumError> {
        (**self).erase(at, bytes)
    }

    fn sync(&mut self) -> Result<Started, MediumError> {
        (**self).sync()
    }

    fn is_done(&mut self) -> Option<Result<(), MediumError>> {
        (**self).is_done()
    }
}
