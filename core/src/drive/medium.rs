//! The medium under a machine: operations that are submitted, and their ends.

use super::action::MediumError;

/// The state of an operation that was submitted to a [`Medium`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[must_use = "an operation under way has not ended, and may fail"]
pub enum Started {
    /// It is done.
    Done,
    /// It is under way: [`Medium::is_done`] tells its end.
    UnderWay,
}

/// A row of bytes that is read, written, erased and synced.
///
/// Writes, erases, syncs and allocations are *submitted*: each call returns once the medium has accepted the operation. Where
/// that is done by then, as on a file, the call returns [`Started::Done`]. Else it returns [`Started::UnderWay`], and the
/// *completion* comes from [`is_done`](Self::is_done). An interrupt or a status register tells a driver of that.
///
/// Until then nothing else is asked of this value. A read is over when it returns. The bytes of a write are lent for the call only: a
/// medium that goes on with them takes them over.
///
/// Offsets and lengths are in bytes, from the start of the medium. Writes are aligned to the write unit of the
/// [geometry](crate::format::Geometry), erases to segments. Reads start and end anywhere.
///
/// A medium in memory:
///
/// ```
/// use coldpress_core::drive::{Medium, MediumError, Started};
///
/// struct Bytes(Vec<u8>);
///
/// impl Bytes {
///     fn part(&mut self, at: u64, bytes: u64) -> Result<&mut [u8], MediumError> {
///         let range = usize::try_from(at).ok().zip(usize::try_from(at + bytes).ok());
///         range.and_then(|(from, to)| self.0.get_mut(from..to)).ok_or(MediumError::Io)
///     }
/// }
///
/// impl Medium for Bytes {
///     type Error = MediumError;
///     fn read(&mut self, at: u64, bytes: &mut [u8]) -> Result<(), MediumError> {
///         self.part(at, bytes.len() as u64).map(|part| bytes.copy_from_slice(part))
///     }
///     fn write(&mut self, at: u64, bytes: &[u8]) -> Result<Started, MediumError> {
///         self.part(at, bytes.len() as u64)?.copy_from_slice(bytes);
///         Ok(Started::Done)
///     }
///     fn erase(&mut self, at: u64, bytes: u64) -> Result<Started, MediumError> {
///         self.part(at, bytes)?.fill(0xFF);
///         Ok(Started::Done)
///     }
///     fn sync(&mut self) -> Result<Started, MediumError> {
///         Ok(Started::Done)
///     }
/// }
///
/// let mut medium = Bytes(vec![0xFF; 4096]);
/// assert_eq!(medium.write(8, b"cold"), Ok(Started::Done));
/// assert_eq!(medium.write(4094, b"cold"), Err(MediumError::Io));
/// ```
pub trait Medium {
    /// A failure, with all that the medium can tell of it. The machine goes by its kind.
    type Error: Into<MediumError>;

    /// Fills `bytes` from `at` on.
    ///
    /// # Errors
    /// [`MediumError::Unreadable`] where the bytes can't be read back; any other error may pass.
    fn read(&mut self, at: u64, bytes: &mut [u8]) -> Result<(), Self::Error>;

    /// Writes whole units that were erased and not written since.
    ///
    /// # Errors
    /// [`MediumError::NoSpace`] on a full disk, else [`MediumError::Io`]. Any part of the bytes may be on the medium then.
    fn write(&mut self, at: u64, bytes: &[u8]) -> Result<Started, Self::Error>;

    /// Makes `bytes` bytes from `at` on read as the erase value of the geometry.
    ///
    /// # Errors
    /// Any part may be erased then; the erase is tried again later.
    fn erase(&mut self, at: u64, bytes: u64) -> Result<Started, Self::Error>;

    /// Makes durable all that was written and erased before the call. Nothing to do where a completed write is durable, as on NOR flash.
    ///
    /// # Errors
    /// Then nothing is known to be durable that was written since the last success.
    fn sync(&mut self) -> Result<Started, Self::Error>;

    /// Allocates space for `bytes` bytes from `at` on, so that no write to them lacks any. Bytes that are there stay.
    ///
    /// It is asked for where the configuration [allocates](crate::config::TierConfig::allocates). A medium that can't do that
    /// returns `Done`. Then a full disk shows only at a write, and the tier can free nothing before others free space on the
    /// disk.
    ///
    /// # Errors
    /// [`MediumError::NoSpace`] on a full disk.
    fn allocate(&mut self, at: u64, bytes: u64) -> Result<Started, Self::Error> {
        let _ = (at, bytes);
        Ok(Started::Done)
    }

    /// Tells whether the operation under way has ended, and how; `None` where it has not. It must not wait for that.
    ///
    /// The end of each operation is reported once. With no operation under way, the answer means nothing.
    fn is_done(&mut self) -> Option<Result<(), Self::Error>> {
        Some(Ok(()))
    }
}

impl<M: Medium + ?Sized> Medium for &mut M {
    type Error = M::Error;

    fn read(&mut self, at: u64, bytes: &mut [u8]) -> Result<(), M::Error> {
        (**self).read(at, bytes)
    }

    fn write(&mut self, at: u64, bytes: &[u8]) -> Result<Started, M::Error> {
        (**self).write(at, bytes)
    }

    fn erase(&mut self, at: u64, bytes: u64) -> Result<Started, M::Error> {
        (**self).erase(at, bytes)
    }

    fn sync(&mut self) -> Result<Started, M::Error> {
        (**self).sync()
    }

    fn allocate(&mut self, at: u64, bytes: u64) -> Result<Started, M::Error> {
        (**self).allocate(at, bytes)
    }

    fn is_done(&mut self) -> Option<Result<(), M::Error>> {
        (**self).is_done()
    }
}
