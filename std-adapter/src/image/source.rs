//! Where the bytes of an image are.

use core::fmt;
use std::fs::File;
use std::os::unix::fs::FileExt as _;

use coldpress_core::tier::MediumError;

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
