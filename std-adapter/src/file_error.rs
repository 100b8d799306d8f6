//! An error of the operating system, with the file that it is about.

use core::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// The operating system refused an operation on a file or a directory: which operation, on which path, and with which code.
///
/// ```
/// use coldpress_std::image::{Image, ImageError};
/// use std::path::Path;
///
/// let Err(ImageError::Io(error)) = Image::open(Path::new("/nowhere/flash.bin")) else { unreachable!() };
/// assert_eq!(error.to_string(), "can't open /nowhere/flash.bin: No such file or directory (os error 2)");
/// assert_eq!((error.operation(), error.path(), error.os_code()), ("open", Path::new("/nowhere/flash.bin"), Some(2)));
/// assert_eq!(error.kind(), std::io::ErrorKind::NotFound);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileError {
    operation: &'static str,
    path: PathBuf,
    kind: io::ErrorKind,
    code: Option<i32>,
}

impl FileError {
    pub(crate) fn new(operation: &'static str, path: &Path, error: &io::Error) -> Self {
        Self { operation, path: path.to_path_buf(), kind: error.kind(), code: error.raw_os_error() }
    }

    /// Returns the operation, as in "can't `operation` `path`": `"open"`, `"lock"`, `"make the directory"`.
    #[must_use]
    pub const fn operation(&self) -> &'static str {
        self.operation
    }

    /// Returns the path of the file or directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the kind of the system's error.
    #[must_use]
    pub const fn kind(&self) -> io::ErrorKind {
        self.kind
    }

    /// Returns the system's own code (`errno`), where it gave one.
    #[must_use]
    pub const fn os_code(&self) -> Option<i32> {
        self.code
    }
}

impl From<&FileError> for io::Error {
    fn from(error: &FileError) -> Self {
        error.code.map_or_else(|| error.kind.into(), Self::from_raw_os_error)
    }
}

/// The path is lost: keep the [`FileError`] where it may be needed.
impl From<FileError> for io::Error {
    fn from(error: FileError) -> Self {
        (&error).into()
    }
}

impl fmt::Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "can't {} {}: {}", self.operation, self.path.display(), io::Error::from(self))
    }
}

impl core::error::Error for FileError {}

/// Names the operation and the path of what the system refused.
pub(crate) trait AtPath<T> {
    /// Turns a refusal into a [`FileError`].
    fn at(self, operation: &'static str, path: &Path) -> Result<T, FileError>;
}

impl<T> AtPath<T> for io::Result<T> {
    fn at(self, operation: &'static str, path: &Path) -> Result<T, FileError> {
        self.map_err(|error| FileError::new(operation, path, &error))
    }
}
