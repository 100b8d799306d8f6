//! The errors of an image.

use core::fmt;

use coldpress_core::codec::CodecError;
use coldpress_core::config::ConfigError;
use coldpress_core::format::{FORMAT_VERSION, Location};
use coldpress_core::recovery::MountError;
use coldpress_core::writer::AppendError;

use super::machine::MountFailure;
use crate::file_error::FileError;
use crate::storage::MediumFailure;

/// Why an image, or something in it, can't be read.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ImageError {
    /// The file can't be opened.
    Io(FileError),
    /// It can't be read: of a file the failure names the operation, the path and the system's code.
    Medium(MediumFailure),
    /// There is no segment header of ours in it.
    Foreign,
    /// Nothing was ever written to it, or no segment was ever opened, so it does not tell its shape.
    Blank,
    /// It has another format version.
    Version(u8),
    /// Its headers state another length: it was cut short, or is part of something larger.
    Length {
        /// Bytes that the headers state.
        expected: u64,
        /// Bytes that there are.
        found: u64,
    },
    /// Its shape can't be mounted.
    Config(ConfigError),
    /// It can't be mounted, though it could be read.
    Mount(MountError),
    /// There is no such segment.
    Segment(u32),
    /// The record does not validate.
    Damaged(Location),
    /// The long value, whose head lies there, may have been written while it was read: its pieces may be those of several values.
    Changing(Location),
    /// The value can't be decoded.
    Codec(CodecError),
}

impl fmt::Display for ImageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => write!(f, "{error}"),
            Self::Medium(error) => write!(f, "{error}"),
            Self::Foreign => f.write_str("not a coldpress image: no segment header in it"),
            Self::Blank => f.write_str("nothing was ever written to it, so it does not tell its shape"),
            Self::Version(found) => {
                write!(f, "format version {found}; this build reads up to {FORMAT_VERSION}")
            }
            Self::Length { expected, found } => {
                write!(f, "its headers state {expected} bytes, there are {found}")
            }
            Self::Config(error) => write!(f, "{error}"),
            Self::Mount(error) => write!(f, "{error}"),
            Self::Segment(segment) => write!(f, "there is no segment {segment}"),
            Self::Damaged(at) => {
                write!(f, "the record at {} of segment {} is damaged", at.offset, at.segment)
            }
            Self::Changing(at) => {
                write!(f, "the long value at {} of segment {} was written meanwhile", at.offset, at.segment)
            }
            Self::Codec(error) => write!(f, "{error}"),
        }
    }
}

impl core::error::Error for ImageError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Io(error) => Some(error),
            Self::Medium(error) => Some(error),
            Self::Config(error) => Some(error),
            Self::Mount(error) => Some(error),
            Self::Codec(error) => Some(error),
            _ => None,
        }
    }
}

impl From<FileError> for ImageError {
    fn from(error: FileError) -> Self {
        Self::Io(error)
    }
}

impl From<MediumFailure> for ImageError {
    fn from(failure: MediumFailure) -> Self {
        Self::Medium(failure)
    }
}

impl From<ConfigError> for ImageError {
    fn from(error: ConfigError) -> Self {
        Self::Config(error)
    }
}

impl ImageError {
    pub(super) fn of_mount(error: MountFailure) -> Self {
        match error {
            MountFailure::Medium(failure) => Self::Medium(failure),
            MountFailure::Log(error) => Self::Mount(error),
        }
    }
}

/// Why an image can't be built.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum BuildError {
    /// The shape can't hold a log.
    Config(ConfigError),
    /// A key is longer than this many bytes, or empty.
    Key(u32),
    /// The record was not taken: too long, or no space is left.
    Append(AppendError),
    /// The log can't go on: a defect of this crate, not of the input.
    Stuck,
}

impl fmt::Display for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Config(error) => write!(f, "{error}"),
            Self::Key(max) => write!(f, "a key takes 1 to {max} bytes"),
            Self::Append(AppendError::Full) => f.write_str("the image is full of live records"),
            Self::Append(error) => write!(f, "{error}"),
            Self::Stuck => f.write_str("the log can't go on"),
        }
    }
}

impl core::error::Error for BuildError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Config(error) => Some(error),
            Self::Append(error) => Some(error),
            Self::Key(_) | Self::Stuck => None,
        }
    }
}

impl From<ConfigError> for BuildError {
    fn from(error: ConfigError) -> Self {
        Self::Config(error)
    }
}

/// Why an image can't be converted.
#[derive(Debug)]
#[non_exhaustive]
pub enum ConvertError {
    /// The old image can't be read.
    Image(ImageError),
    /// The new one can't be made.
    Build(BuildError),
    /// The new one can't be mounted.
    Mount(MountError),
    /// The new one can't be written, or read back: of a file the failure names the operation, the path and the system's code.
    Medium(MediumFailure),
    /// The tier is open.
    Open,
    /// The system has no random bytes for a secret.
    Random,
    /// A file can't be read, made or written.
    Io(FileError),
}

impl fmt::Display for ConvertError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Image(error) => write!(f, "the old image: {error}"),
            Self::Build(error) => write!(f, "the new image: {error}"),
            Self::Mount(error) => write!(f, "the new image: {error}"),
            Self::Medium(error) => write!(f, "the new image: {error}"),
            Self::Open => f.write_str("the tier is open: close it first"),
            Self::Random => f.write_str("the system has no random bytes for a secret"),
            Self::Io(error) => write!(f, "{error}"),
        }
    }
}

impl core::error::Error for ConvertError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Image(error) => Some(error),
            Self::Build(error) => Some(error),
            Self::Mount(error) => Some(error),
            Self::Medium(error) => Some(error),
            Self::Io(error) => Some(error),
            Self::Open | Self::Random => None,
        }
    }
}

impl From<FileError> for ConvertError {
    fn from(error: FileError) -> Self {
        Self::Io(error)
    }
}

impl From<MediumFailure> for ConvertError {
    fn from(failure: MediumFailure) -> Self {
        Self::Medium(failure)
    }
}

impl ConvertError {
    pub(super) fn of_mount(error: MountFailure) -> Self {
        match error {
            MountFailure::Medium(failure) => Self::Medium(failure),
            MountFailure::Log(error) => Self::Mount(error),
        }
    }
}
