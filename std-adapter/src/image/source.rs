//! Where the bytes of an image are.

use core::fmt;
use core::ops::Range;
use std::fs::File;
use std::os::unix::fs::FileExt as _;

use coldpress_core::drive::{Medium, MediumError, Started};

use crate::storage::data_ranges;

/// The most ranges of data that are looked for. A file with more of them is read as one that has no holes.
const RANGES_MAX: usize = 1 << 16;

/// A file that is read, or bytes in memory.
pub(super) enum Source {
    File { file: File, bytes: u64 },
    Memory(Vec<u8>),
}

// The bytes hold the secret of the store, and values.
impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Source").field("bytes", &self.len()).finish_non_exhaustive()
    }
}

impl Source {
    pub(super) fn len(&self) -> u64 {
        match self {
            Self::File { bytes, .. } => *bytes,
            Self::Memory(bytes) => bytes.len() as u64,
        }
    }

    /// The ranges that may hold anything but zeroes, in their order.
    pub(super) fn data(&self) -> Vec<Range<u64>> {
        let known = match self {
            Self::File { file, .. } => data_ranges(file, RANGES_MAX),
            Self::Memory(_) => None,
        };
        known.unwrap_or_else(|| core::iter::once(0..self.len()).collect())
    }

    /// Fills `buffer`; what lies beyond the end is unreadable.
    pub(super) fn read(&self, offset: u64, buffer: &mut [u8]) -> Result<(), MediumError> {
        match self {
            Self::File { file, .. } => {
                file.read_exact_at(buffer, offset).map_err(|_| MediumError::Unreadable)
            }
            Self::Memory(bytes) => {
                let at = usize::try_from(offset).map_err(|_| MediumError::Unreadable)?;
                let range = at..at.saturating_add(buffer.len());
                buffer.copy_from_slice(bytes.get(range).ok_or(MediumError::Unreadable)?);
                Ok(())
            }
        }
    }
}

/// It is read and nothing else: a mount asks for nothing else.
impl Medium for Source {
    type Error = MediumError;

    fn read(&mut self, at: u64, bytes: &mut [u8]) -> Result<(), MediumError> {
        Self::read(self, at, bytes)
    }

    fn write(&mut self, _: u64, _: &[u8]) -> Result<Started, MediumError> {
        Err(MediumError::Io)
    }

    fn erase(&mut self, _: u64, _: u64) -> Result<Started, MediumError> {
        Err(MediumError::Io)
    }

    fn sync(&mut self) -> Result<Started, MediumError> {
        Ok(Started::Done)
    }
}
