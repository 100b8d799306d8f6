//! The process that has a tier open.

use core::fmt;
use std::path::{Path, PathBuf};

/// A directory that a process has open, and the number of that process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InUse {
    path: PathBuf,
    pid: Option<u32>,
}

impl InUse {
    pub(crate) fn new(path: &Path, pid: Option<u32>) -> Self {
        Self { path: path.to_path_buf(), pid }
    }

    /// Returns the directory of the tier.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the number of the process, as its own container counts it. `None` where the file `LOCK` doesn't tell it: it was
    /// deleted, or the process only reads the tier.
    #[must_use]
    pub const fn pid(&self) -> Option<u32> {
        self.pid
    }
}

impl fmt::Display for InUse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is open already, ", self.path.display())?;
        match self.pid {
            Some(pid) if pid == std::process::id() => write!(f, "in this process ({pid})"),
            Some(pid) => write!(f, "in the process {pid}"),
            None => f.write_str("here or in another process"),
        }
    }
}
