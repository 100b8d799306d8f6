//! The flash that a tier writes to.

pub use coldpress_core::drive::{Medium, Started};

/// The shape of a medium, so that a tier can check its configuration against it.
///
/// [`NorMedium`](super::NorMedium) is one over any `embedded_storage` NOR flash, [`AsyncNorMedium`](super::AsyncNorMedium) one over
/// any of `embedded_storage_async`, [`IoMedium`](crate::IoMedium) one over anything that reads, writes and seeks. For a driver of your own implement [`Medium`] and this. Each operation that takes
/// its time may return [`Started::UnderWay`], and report its end by an interrupt or a status register.
///
/// No call of the tier waits for an operation: it asks [`is_done`](Medium::is_done) once at most, and ends with
/// [`Busy`](super::PutError::Busy) where the operation has not ended. The same call, made again, goes on (see the
/// [module](super#calls-that-are-put-off)).
///
/// Offsets are multiples of the write unit for writes and of the erase unit for erases.
pub trait DeviceMedium {
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
}

impl<M: DeviceMedium + ?Sized> DeviceMedium for &mut M {
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
}
