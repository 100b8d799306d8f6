//! Why a medium refused an operation, with the cause that an operator needs.

use core::fmt;

use coldpress_core::drive::MediumError;

use crate::file_error::FileError;

/// A medium refused an operation.
///
/// The log acts on the kind alone. For a file the failure also has the error of the operating system: operation, path and code.
///
/// ```
/// use coldpress_std::medium::{MediumError, MediumFailure};
///
/// // As a medium of your own returns it.
/// let failure = MediumFailure::from(MediumError::NoSpace);
/// assert_eq!((failure.kind(), failure.file_error()), (MediumError::NoSpace, None));
/// assert_eq!(failure.to_string(), "No space left on device");
/// ```
#[derive(Debug, Clone)]
pub struct MediumFailure {
    kind: MediumError,
    cause: Option<Box<FileError>>,
}

impl MediumFailure {
    pub(crate) fn new(kind: MediumError, cause: FileError) -> Self {
        Self { kind, cause: Some(Box::new(cause)) }
    }

    /// Returns the kind of the failure.
    #[must_use]
    pub const fn kind(&self) -> MediumError {
        self.kind
    }

    /// Returns the error of the operating system, where the medium is a file and the system gave one.
    #[must_use]
    pub fn file_error(&self) -> Option<&FileError> {
        self.cause.as_deref()
    }
}

impl From<MediumError> for MediumFailure {
    fn from(kind: MediumError) -> Self {
        Self { kind, cause: None }
    }
}

impl From<MediumFailure> for MediumError {
    fn from(failure: MediumFailure) -> Self {
        failure.kind
    }
}

/// Two failures of one kind are equal: the cause is for people to read.
impl PartialEq for MediumFailure {
    fn eq(&self, other: &Self) -> bool {
        self.kind == other.kind
    }
}

impl Eq for MediumFailure {}

impl fmt::Display for MediumFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.cause {
            Some(cause) => cause.fmt(f),
            None => self.kind.fmt(f),
        }
    }
}

impl core::error::Error for MediumFailure {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        Some(self.cause.as_deref().map_or(&self.kind as _, |cause| cause as _))
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;
    use crate::errors::{PutError, TierError};
    use crate::storage::FileMedium;
    use coldpress_core::drive::Medium as _;
    use std::fs::File;
    use std::path::Path;

    #[test]
    fn failed_write_says_which_file_why_and_with_which_code() {
        let path = Path::new("/dev/full");
        let mut medium = FileMedium::named(File::options().write(true).open(path).unwrap(), path.into(), 0);
        let failure = medium.write(0, b"x").unwrap_err();
        assert_eq!(failure.kind(), MediumError::NoSpace);
        let cause = failure.file_error().unwrap();
        assert_eq!((cause.operation(), cause.path(), cause.os_code()), ("write", path, Some(28)));
        let error = PutError::Tier(TierError::Medium(failure));
        assert_eq!(error.to_string(), "can't write /dev/full: No space left on device (os error 28)");
        let mut cause: &dyn core::error::Error = &error;
        while let Some(next) = cause.source() {
            cause = next;
        }
        assert!(cause.is::<FileError>());
    }
}
