//! Why the service did not start, or did not end in order.

use core::fmt;
use core::net::SocketAddr;
use std::io;
use std::path::PathBuf;

use crate::store::StoreError;

/// Why the service did not start, or did not end in order.
#[derive(Debug)]
#[non_exhaustive]
pub enum ServiceError {
    /// An option is out of its limits.
    Option(String),
    /// An address beyond loopback is to be bound, and no token protects it.
    Unprotected(SocketAddr),
    /// A file or folder could not be used.
    File {
        /// Its path.
        path: PathBuf,
        /// The error of the operating system.
        error: io::Error,
    },
    /// An address could not be bound.
    Bind {
        /// The address.
        address: SocketAddr,
        /// The error of the operating system.
        error: io::Error,
    },
    /// The runtime, its signals or the metrics could not be started.
    Start(String),
    /// The store could not be opened.
    Open(String),
    /// The store was closed, and not in order: writes since the last sync may be lost.
    Close(String),
    /// A second signal ended the service before it was in order.
    Interrupted,
}

impl ServiceError {
    /// The exit code of a program that ends with this error.
    ///
    /// 1 is a second signal, 2 an option, 3 the store or its files, 4 an address or the runtime, 5 a close that failed.
    #[must_use]
    pub const fn exit_code(&self) -> u8 {
        match self {
            Self::Interrupted => 1,
            Self::Option(_) | Self::Unprotected(_) => 2,
            Self::File { .. } | Self::Open(_) => 3,
            Self::Bind { .. } | Self::Start(_) => 4,
            Self::Close(_) => 5,
        }
    }

    pub(crate) fn open(error: impl fmt::Display) -> Self {
        Self::Open(error.to_string())
    }
}

impl From<StoreError> for ServiceError {
    fn from(error: StoreError) -> Self {
        Self::Close(error.to_string())
    }
}

impl fmt::Display for ServiceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Option(text) => f.write_str(text),
            Self::Unprotected(address) => write!(
                f,
                "{address} can be reached from other machines: set --token-file (or --token), or bind a loopback address"
            ),
            Self::File { path, error } => write!(f, "{}: {error}", path.display()),
            Self::Bind { address, error } => write!(f, "{address} can not be bound: {error}"),
            Self::Start(text) => write!(f, "the service can not start: {text}"),
            Self::Open(text) => write!(f, "the store can not be opened: {text}"),
            Self::Close(text) => {
                write!(
                    f,
                    "the store was not closed in order, so writes since the last sync may be lost: {text}"
                )
            }
            Self::Interrupted => f.write_str("a second signal ended the service before it was in order"),
        }
    }
}

impl core::error::Error for ServiceError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::File { error, .. } | Self::Bind { error, .. } => Some(error),
            _ => None,
        }
    }
}
