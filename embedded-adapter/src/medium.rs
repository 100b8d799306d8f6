//! Positional access to a device that has only a current position.

use core::fmt;

use embedded_io::{Read, Seek, SeekFrom, Write};

/// Tells why an access to an [`IoMedium`] did not happen or stopped short.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum AccessError<E> {
    /// The range does not lie wholly within the medium; the device was not touched.
    OutOfBounds,
    /// The device ended first. The buffer holds this many bytes of it; the rest is as it was.
    ShortRead {
        /// Bytes read.
        read: usize,
    },
    /// The device took no more. This many bytes went out; whether they are durable is not known.
    ShortWrite {
        /// Bytes written.
        written: usize,
    },
    /// The device failed. How far it came is not known.
    Device(E),
}

impl<E: fmt::Display> fmt::Display for AccessError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OutOfBounds => f.write_str("the range lies outside the medium"),
            Self::ShortRead { read } => write!(f, "the device ended after {read} bytes"),
            Self::ShortWrite { written } => write!(f, "the device took no more after {written} bytes"),
            Self::Device(error) => write!(f, "the device failed: {error}"),
        }
    }
}

impl<E: core::error::Error> core::error::Error for AccessError<E> {}

/// Reads and writes at stated positions of any device that reads, writes and seeks: a file on an SD card, a serial
/// flash behind a driver, a file of the host.
///
/// Every access seeks first, since after a failure nobody knows where a device stands. Ranges are checked against a
/// fixed size, so a wrong address is an error of its own and never grows a file. A transfer that the device cuts into
/// pieces is carried on; one that stops says how far it came.
///
/// ```
/// use coldpress_embedded::{IoMedium, AccessError};
///
/// # struct Ram { bytes: [u8; 64], at: usize }
/// # impl embedded_io::ErrorType for Ram { type Error = core::convert::Infallible; }
/// # impl embedded_io::Read for Ram {
/// #     fn read(&mut self, out: &mut [u8]) -> Result<usize, Self::Error> {
/// #         let count = out.len().min(64 - self.at);
/// #         out[..count].copy_from_slice(&self.bytes[self.at..self.at + count]);
/// #         self.at += count;
/// #         Ok(count)
/// #     }
/// # }
/// # impl embedded_io::Write for Ram {
/// #     fn write(&mut self, data: &[u8]) -> Result<usize, Self::Error> {
/// #         let count = data.len().min(64 - self.at);
/// #         self.bytes[self.at..self.at + count].copy_from_slice(&data[..count]);
/// #         self.at += count;
/// #         Ok(count)
/// #     }
/// #     fn flush(&mut self) -> Result<(), Self::Error> { Ok(()) }
/// # }
/// # impl embedded_io::Seek for Ram {
/// #     fn seek(&mut self, to: embedded_io::SeekFrom) -> Result<u64, Self::Error> {
/// #         if let embedded_io::SeekFrom::Start(at) = to { self.at = at as usize; }
/// #         Ok(self.at as u64)
/// #     }
/// # }
/// # let device = Ram { bytes: [0; 64], at: 0 };
/// let mut medium = IoMedium::new(device, 64);
/// medium.write_at(60, b"cold")?;
/// medium.flush()?;
///
/// let mut bytes = [0; 4];
/// medium.read_at(60, &mut bytes)?;
/// assert_eq!(&bytes, b"cold");
/// assert_eq!(medium.read_at(61, &mut bytes), Err(AccessError::OutOfBounds));
/// # Ok::<(), AccessError<core::convert::Infallible>>(())
/// ```
#[derive(Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct IoMedium<T> {
    device: T,
    size_bytes: u64,
}

impl<T: Read + Write + Seek> IoMedium<T> {
    /// Takes the first `size_bytes` of a device as the medium. The device is not touched.
    pub const fn new(device: T, size_bytes: u64) -> Self {
        Self { device, size_bytes }
    }

    /// Takes a whole device as the medium, as long as it is now.
    ///
    /// # Errors
    /// [`AccessError::Device`] when it can not tell its end.
    pub fn whole(mut device: T) -> Result<Self, AccessError<T::Error>> {
        let size_bytes = device.seek(SeekFrom::End(0)).map_err(AccessError::Device)?;
        Ok(Self { device, size_bytes })
    }

    /// Returns the size of the medium in bytes.
    #[must_use]
    pub fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    /// Fills `bytes` from `position` on.
    ///
    /// # Errors
    /// [`AccessError`]; of a short read it says how much of `bytes` is filled.
    ///
    /// # Bounds
    /// One seek and at most one read of the device for each byte; one in all where it delivers whole.
    pub fn read_at(&mut self, position: u64, bytes: &mut [u8]) -> Result<(), AccessError<T::Error>> {
        self.seek(position, bytes.len())?;
        let mut read = 0;
        while let Some(rest) = bytes.get_mut(read..).filter(|rest| !rest.is_empty()) {
            match self.device.read(rest).map_err(AccessError::Device)? {
                0 => return Err(AccessError::ShortRead { read }),
                count => read += count,
            }
        }
        Ok(())
    }

    /// Writes all of `bytes` from `position` on. They are durable after the next [`flush`](Self::flush).
    ///
    /// # Errors
    /// [`AccessError`]; of a short write it says how much went out.
    ///
    /// # Bounds
    /// One seek and at most one write of the device for each byte; one in all where it takes them whole.
    pub fn write_at(&mut self, position: u64, bytes: &[u8]) -> Result<(), AccessError<T::Error>> {
        self.seek(position, bytes.len())?;
        let mut written = 0;
        while let Some(rest) = bytes.get(written..).filter(|rest| !rest.is_empty()) {
            match self.device.write(rest).map_err(AccessError::Device)? {
                0 => return Err(AccessError::ShortWrite { written }),
                count => written += count,
            }
        }
        Ok(())
    }

    /// Has the device make durable what was written.
    ///
    /// # Errors
    /// [`AccessError::Device`]; then nothing is known about any write since the last success, and trying again proves
    /// nothing.
    pub fn flush(&mut self) -> Result<(), AccessError<T::Error>> {
        self.device.flush().map_err(AccessError::Device)
    }

    /// Gives the device back. Bytes that were not flushed may not be on it.
    pub fn into_device(self) -> T {
        self.device
    }

    /// Goes to `position` if `length` bytes fit from there.
    fn seek(&mut self, position: u64, length: usize) -> Result<(), AccessError<T::Error>> {
        let end = u64::try_from(length).ok().and_then(|length| position.checked_add(length));
        if end.is_none_or(|end| end > self.size_bytes) {
            return Err(AccessError::OutOfBounds);
        }
        self.device.seek(SeekFrom::Start(position)).map_err(AccessError::Device)?;
        Ok(())
    }
}
