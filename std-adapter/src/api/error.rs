//! One type for all errors of the crate.

use core::fmt;
use std::io;

use super::compaction::CompactionError;
use super::coordinator::InitError;
use crate::codec::CodecError;
use crate::config::ConfigError;
use crate::errors::{
    BatchError, CloseError, GetError, OpenError, PutError, RemoveError, TierError, UpdateError,
};
use crate::file_error::FileError;
use crate::image::{BuildError, ConvertError, ImageError};
use crate::pool::{HotError, PoolConfigError, PoolError};
use crate::storage::MediumFailure;

macro_rules! errors {
    ($($(#[$doc:meta])+ $name:ident($error:ty),)+) => {
        /// Any error of this crate: `?` turns each of them into it, so a caller that treats all alike needs no type of its own.
        ///
        /// Its text is that of the error that it holds. Each operation returns its own small type, with the failures that can
        /// happen there.
        ///
        /// ```
        /// use coldpress_std::{ColdTier, ColdTierConfig, Error};
        ///
        /// fn visit(base_dir: &std::path::Path) -> Result<bool, Error> {
        ///     let config = ColdTierConfig::builder().base_dir(base_dir).capacity_bytes(16 << 20).build()?;
        ///     let tier = ColdTier::with_own_pools(config, "visits")?;
        ///     tier.put(b"ada", b"1")?;
        ///     let is_there = tier.get(b"ada")?.is_some();
        ///     tier.close()?;
        ///     Ok(is_there)
        /// }
        ///
        /// let base_dir = tempfile::tempdir()?;
        /// assert!(visit(base_dir.path())?);
        /// assert!(matches!(visit("/dev/null".as_ref()), Err(Error::Open(_))));
        /// # Ok::<(), Box<dyn core::error::Error>>(())
        /// ```
        #[derive(Debug)]
        #[non_exhaustive]
        pub enum Error {
            $($(#[$doc])+ $name($error),)+
        }

        $(impl From<$error> for Error {
            fn from(error: $error) -> Self {
                Self::$name(error)
            }
        })+

        impl fmt::Display for Error {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match self {
                    $(Self::$name(error) => error.fmt(f),)+
                }
            }
        }

        impl core::error::Error for Error {
            // Its text is that of the error that it holds, so its source is that error's source.
            fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
                match self {
                    $(Self::$name(error) => error.source(),)+
                }
            }
        }
    };
}

errors!(
    /// A configuration of a tier was refused.
    Config(ConfigError),
    /// A tier was not opened.
    Open(OpenError),
    /// A registry did not do what it was asked.
    Init(InitError),
    /// A tier could not do anything at all.
    Tier(TierError),
    /// A value was not put.
    Put(PutError),
    /// Some of a batch was not put.
    PutBatch(BatchError<PutError>),
    /// A value was not read.
    Get(GetError),
    /// Some of a batch was not read.
    GetBatch(BatchError<GetError>),
    /// A key was not removed.
    Remove(RemoveError),
    /// A write that depends on the value of its key was not done.
    Update(UpdateError),
    /// A close was not orderly.
    Close(CloseError),
    /// A compaction task was not run.
    Compaction(CompactionError),
    /// A configuration of the pools was refused.
    PoolConfig(PoolConfigError),
    /// The pools did not clean up.
    Pool(PoolError),
    /// The pools did not take a value.
    Hot(HotError),
    /// A codec is missing or failed.
    Codec(CodecError),
    /// A medium failed.
    Medium(MediumFailure),
    /// An image can't be read.
    Image(ImageError),
    /// An image can't be built.
    Build(BuildError),
    /// An image can't be converted.
    Convert(ConvertError),
    /// The system refused an operation on a file.
    File(FileError),
    /// The system refused something else, as the thread of a registry.
    System(io::Error),
);
