//! Where the bytes of an image are.

use core::fmt;
use core::ops::Range;
use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use coldpress_core::drive::{Medium, Started};

use crate::file_error::{AtPath as _, FileError};
use crate::storage::{MediumError, MediumFailure, data_ranges};

/// The most ranges of data that are looked for. A file with more of them is read as one that has no holes.
const RANGES_MAX: usize = 1 << 16;

/// A file that is read, or bytes in memory.
pub(super) enum Source {
    File {
        file: File,
        path: PathBuf,
        bytes: u64,
    },
    Memory(Vec<u8>),
    #[cfg(test)]
    Changing(Changing),
}

/// Bytes that a writer changes between two reads.
#[cfg(test)]
pub(super) struct Changing {
    pub(super) before: Vec<u8>,
    pub(super) after: Vec<u8>,
    /// Reads that find the bytes before the change.
    pub(super) reads_before: usize,
    /// The reads so far, as offset and length.
    pub(super) reads: parking_lot::Mutex<Vec<(usize, usize)>>,
}

#[cfg(test)]
impl Changing {
    fn next(&self, offset: u64, bytes: usize) -> &[u8] {
        let mut reads = self.reads.lock();
        reads.push((usize::try_from(offset).unwrap(), bytes));
        if reads.len() > self.reads_before { &self.after } else { &self.before }
    }
}

// The bytes hold the secret of the store, and values.
impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Source").field("bytes", &self.len()).finish_non_exhaustive()
    }
}

impl Source {
    /// Opens a file for reading.
    pub(super) fn open(path: &Path) -> Result<Self, FileError> {
        let file = File::open(path).at("open", path)?;
        let bytes = file.metadata().at("look at", path)?.len();
        Ok(Self::File { file, path: path.to_path_buf(), bytes })
    }

    pub(super) fn len(&self) -> u64 {
        match self {
            Self::File { bytes, .. } => *bytes,
            Self::Memory(bytes) => bytes.len() as u64,
            #[cfg(test)]
            Self::Changing(changing) => changing.before.len() as u64,
        }
    }

    /// When the file was last written to; `None` where nothing tells it.
    pub(super) fn modified(&self) -> Option<SystemTime> {
        match self {
            Self::File { file, .. } => file.metadata().and_then(|metadata| metadata.modified()).ok(),
            Self::Memory(_) => None,
            #[cfg(test)]
            Self::Changing(_) => None,
        }
    }

    /// The ranges that may hold anything but zeroes, in their order.
    pub(super) fn data(&self) -> Vec<Range<u64>> {
        let known = match self {
            Self::File { file, .. } => data_ranges(file, RANGES_MAX),
            Self::Memory(_) => None,
            #[cfg(test)]
            Self::Changing(_) => None,
        };
        known.unwrap_or_else(|| core::iter::once(0..self.len()).collect())
    }

    /// Fills `buffer`; what lies beyond the end is unreadable.
    pub(super) fn read(&self, offset: u64, buffer: &mut [u8]) -> Result<(), MediumFailure> {
        match self {
            Self::File { file, path, .. } => {
                let read = file.read_exact_at(buffer, offset).at("read", path);
                read.map_err(|error| MediumFailure::new(MediumError::Unreadable, error))
            }
            Self::Memory(bytes) => copy_from(bytes, offset, buffer),
            #[cfg(test)]
            Self::Changing(changing) => copy_from(changing.next(offset, buffer.len()), offset, buffer),
        }
    }
}

fn copy_from(bytes: &[u8], offset: u64, buffer: &mut [u8]) -> Result<(), MediumFailure> {
    let at = usize::try_from(offset).map_err(|_| MediumError::Unreadable)?;
    let range = at..at.saturating_add(buffer.len());
    buffer.copy_from_slice(bytes.get(range).ok_or(MediumError::Unreadable)?);
    Ok(())
}

/// It is read and nothing else: a mount asks for nothing else.
impl Medium for Source {
    type Error = MediumFailure;

    fn read(&mut self, at: u64, bytes: &mut [u8]) -> Result<(), MediumFailure> {
        Self::read(self, at, bytes)
    }

    fn write(&mut self, _: u64, _: &[u8]) -> Result<Started, MediumFailure> {
        Err(MediumError::Io.into())
    }

    fn erase(&mut self, _: u64, _: u64) -> Result<Started, MediumFailure> {
        Err(MediumError::Io.into())
    }

    fn sync(&mut self) -> Result<Started, MediumFailure> {
        Ok(Started::Done)
    }
}
