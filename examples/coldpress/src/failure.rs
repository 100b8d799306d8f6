//! The verdict of a command, the reasons for which one fails, and the exit codes of both.

use core::fmt;
use std::io;

use coldpress_std::archive::ArchiveError;
use coldpress_std::compaction::CompactionError;
use coldpress_std::inspect::{InspectError, SnapshotError};
use coldpress_std::{BatchError, CloseError, FileError, OpenError, TierError};

/// The verdict of a command that was carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// All is well.
    Fine,
    /// Something is damaged, or a key was not found.
    Found,
}

impl Verdict {
    pub(crate) const fn code(self) -> u8 {
        match self {
            Self::Fine => 0,
            Self::Found => 1,
        }
    }
}

/// The reason for which a command was not carried out, or not to its end.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The thing that was asked for is damaged, or not there.
    Damaged(String),
    /// The command line, or a line of the input, is wrong.
    Use(String),
    /// The directory can't be read, or is no cache.
    Unreadable(String),
    /// Another process has the cache open.
    InUse(String),
    /// Something failed while it worked.
    Work(String),
    /// The standard output can't be written.
    Output(io::Error),
}

impl Failure {
    pub(crate) fn code(&self) -> u8 {
        match self {
            Self::Damaged(_) => 1,
            Self::Use(_) => 2,
            Self::Unreadable(_) => 3,
            Self::InUse(_) => 4,
            Self::Work(_) => 5,
            Self::Output(_) if self.is_closed_pipe() => 0,
            Self::Output(_) => 5,
        }
    }

    /// Whether the reader of the output has all it wanted, as `head` does.
    pub(crate) fn is_closed_pipe(&self) -> bool {
        match self {
            Self::Output(error) => matches!(error.kind(), io::ErrorKind::BrokenPipe),
            _ => false,
        }
    }

    /// The failure of an operation on a file.
    pub(crate) fn at(operation: &str, path: &std::path::Path, error: &io::Error) -> Self {
        Self::Work(format!("can't {operation} {}: {error}", path.display()))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Damaged(text)
            | Self::Use(text)
            | Self::Unreadable(text)
            | Self::InUse(text)
            | Self::Work(text) => f.write_str(text),
            Self::Output(error) => write!(f, "can't write to the standard output: {error}"),
        }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Output(error)
    }
}

impl From<serde_json::Error> for Failure {
    fn from(error: serde_json::Error) -> Self {
        Self::Output(error.into())
    }
}

impl From<FileError> for Failure {
    fn from(error: FileError) -> Self {
        Self::Unreadable(error.to_string())
    }
}

impl From<OpenError> for Failure {
    fn from(error: OpenError) -> Self {
        match error {
            OpenError::AlreadyOpen(held) => Self::InUse(held.to_string()),
            error => Self::Unreadable(error.to_string()),
        }
    }
}

impl From<InspectError> for Failure {
    fn from(error: InspectError) -> Self {
        match error {
            InspectError::Directory(error) => error.into(),
            error => Self::Unreadable(error.to_string()),
        }
    }
}

impl From<SnapshotError> for Failure {
    fn from(error: SnapshotError) -> Self {
        match error {
            SnapshotError::Inspect(error) => error.into(),
            error => Self::Work(error.to_string()),
        }
    }
}

impl From<TierError> for Failure {
    fn from(error: TierError) -> Self {
        Self::Work(error.to_string())
    }
}

impl From<BatchError> for Failure {
    fn from(error: BatchError) -> Self {
        Self::Work(error.to_string())
    }
}

impl From<CloseError> for Failure {
    fn from(error: CloseError) -> Self {
        Self::Work(error.to_string())
    }
}

impl From<CompactionError> for Failure {
    fn from(error: CompactionError) -> Self {
        Self::Work(error.to_string())
    }
}

impl From<ArchiveError> for Failure {
    fn from(error: ArchiveError) -> Self {
        let text = error.to_string();
        match error {
            ArchiveError::Damaged { .. } | ArchiveError::Missing { .. } | ArchiveError::NoBackup => {
                Self::Damaged(text)
            }
            ArchiveError::Url { .. } | ArchiveError::NotBuilt { .. } => Self::Use(text),
            ArchiveError::Version { .. } | ArchiveError::OtherStore { .. } => Self::Unreadable(text),
            _ => Self::Work(text),
        }
    }
}
