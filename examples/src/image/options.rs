//! The command line of the `image` program.

use core::fmt;
use core::str::FromStr;
use std::path::{Path, PathBuf};

use clap::{Args, Parser, Subcommand};
use coldpress_core::codec::CodecId;
use coldpress_core::format::{Geometry, GeometryError, Identity, Store};

/// Builds, verifies, dumps and sums up images: files of segments, such as a service's partition or the flash of a device.
#[derive(Debug, Clone, Parser)]
#[command(name = "image", version)]
pub struct Job {
    /// The job.
    #[command(subcommand)]
    pub command: Command,
}

/// A job of the program.
#[derive(Debug, Clone, Subcommand)]
pub enum Command {
    /// Makes an image from lines of KEY=VALUE, or from generated keys
    Build(Build),
    /// Checks every record; ends with 1 where anything is damaged
    Verify {
        /// The image: of a flash, or a `part-NNN.cold` in the directory of a tier that is closed
        file: PathBuf,
    },
    /// Prints the records: segment and offset, live or stale, kind, version, expiry, codec, bytes as stored, key
    Dump {
        /// The image: of a flash, or a `part-NNN.cold` in the directory of a tier that is closed
        file: PathBuf,
        /// Only the newest record of each key that has one
        #[arg(long)]
        live: bool,
        /// One JSON object a line
        #[arg(long)]
        json: bool,
    },
    /// Makes a new image, or a new directory of a tier, from one of an older version of the format; ends with 1 where something
    /// was damaged and is not in the new one
    Convert {
        /// The old image, or the directory of a tier that is closed; it is not changed
        file: PathBuf,
        /// The new one; it must not be there yet
        to: PathBuf,
    },
    /// Prints the table of segments, wear and damage
    Stats {
        /// The image: of a flash, or a `part-NNN.cold` in the directory of a tier that is closed
        file: PathBuf,
        /// One JSON object
        #[arg(long)]
        json: bool,
    },
}

/// How an image is made.
#[derive(Debug, Clone, Args)]
pub struct Build {
    /// The image; it must not be there yet
    pub file: PathBuf,

    /// Lines of KEY=VALUE, - for the standard input; empty ones and those that begin with # are skipped
    #[arg(long, value_name = "FILE", conflicts_with_all = ["keys", "value_bytes", "rounds"])]
    pub input: Option<PathBuf>,

    /// Without an input: so many generated keys
    #[arg(long, value_name = "N", default_value_t = 100)]
    pub keys: u32,

    /// Bytes of a generated value
    #[arg(long, value_name = "BYTES", default_value_t = 64)]
    pub value_bytes: u32,

    /// How often each generated key is written
    #[arg(long, value_name = "N", default_value_t = 3)]
    pub rounds: u32,

    /// How keys are identified: bytes (devices) or hash (services)
    #[arg(long, value_name = "NAME", default_value = "bytes")]
    pub identity: IdentityName,

    /// Codec of the values: raw, lz4, heatshrink, zstd
    #[arg(long, value_name = "NAME", default_value = "raw", value_parser = codec)]
    pub codec: CodecId,

    /// Seconds to live of every value
    #[arg(long, value_name = "SECONDS")]
    pub ttl: Option<u32>,

    /// The shape of the image, and its store
    #[command(flatten)]
    pub shape: Shape,
}

/// The shape of an image that is made, and its store.
#[derive(Debug, Clone, Args)]
pub struct Shape {
    /// Bytes of a segment: what one erase gives back
    #[arg(long, value_name = "BYTES", default_value_t = 4096)]
    pub segment_bytes: u32,

    /// Segments of the image
    #[arg(long, value_name = "N", default_value_t = 64)]
    pub segments: u32,

    /// Bytes of the longest record, header and padding included: no more than the `RECORD` of the device that mounts it
    #[arg(long, value_name = "BYTES")]
    pub record_bytes: Option<u32>,

    /// Bytes that are programmed as one: 1 to 32
    #[arg(long, value_name = "BYTES", default_value_t = 4)]
    pub write_unit: u32,

    /// The value that erased bytes read as: ff or 00
    #[arg(long, value_name = "HEX", default_value = "ff", value_parser = erase_value)]
    pub erase_value: u8,

    /// Secret of the store, 32 hexadecimal digits; a random one where it is left out
    #[arg(long, value_name = "HEX", value_parser = secret)]
    pub secret: Option<Secret>,

    /// Number of the store; generated values follow from it
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub store: u64,

    /// The wall clock that the image carries, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    pub time: u32,
}

impl Command {
    /// The image.
    #[must_use]
    pub fn file(&self) -> &Path {
        match self {
            Self::Build(build) => &build.file,
            Self::Verify { file }
            | Self::Dump { file, .. }
            | Self::Convert { file, .. }
            | Self::Stats { file, .. } => file,
        }
    }
}

impl Build {
    /// The shape.
    ///
    /// # Errors
    /// [`GeometryError`] names what is out of bounds.
    pub fn geometry(&self) -> Result<Geometry, GeometryError> {
        self.shape.geometry(match self.identity {
            IdentityName::Bytes => Identity::KeyBytes,
            IdentityName::Hash => Identity::KeyedHash,
        })
    }
}

impl Shape {
    /// The shape, where keys are identified so.
    ///
    /// # Errors
    /// [`GeometryError`] names what is out of bounds.
    pub fn geometry(&self, identity: Identity) -> Result<Geometry, GeometryError> {
        Geometry::new(self.segment_bytes, self.segments, self.write_unit, self.erase_value, identity)
    }

    /// The store. Without a given secret each call draws another one.
    ///
    /// # Errors
    /// The system has no random bytes for a secret.
    pub fn store(&self) -> Result<Store, getrandom::Error> {
        let mut store = Store { id: self.store, hash_key: [0; 16], partition: 0, partitions: 1 };
        match self.secret {
            Some(Secret(secret)) => store.hash_key = secret,
            None => getrandom::fill(&mut store.hash_key)?,
        }
        Ok(store)
    }
}

/// How keys are identified.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IdentityName {
    /// By their bytes.
    Bytes,
    /// By a keyed hash.
    Hash,
}

impl FromStr for IdentityName {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "bytes" => Ok(Self::Bytes),
            "hash" => Ok(Self::Hash),
            _ => Err("it is bytes or hash"),
        }
    }
}

/// The secret of a store.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Secret(pub [u8; 16]);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

fn secret(text: &str) -> Result<Secret, &'static str> {
    let is_hex = text.len() == 32 && text.bytes().all(|digit| digit.is_ascii_hexdigit());
    let number = u128::from_str_radix(text, 16).ok().filter(|_| is_hex);
    number.map(|number| Secret(number.to_be_bytes())).ok_or("it is 32 hexadecimal digits")
}

fn erase_value(text: &str) -> Result<u8, &'static str> {
    match text.trim_start_matches("0x") {
        "ff" | "FF" => Ok(0xFF),
        "00" | "0" => Ok(0x00),
        _ => Err("it is ff or 00"),
    }
}

fn codec(text: &str) -> Result<CodecId, &'static str> {
    let found = CodecId::ALL.into_iter().find(|id| id.name() == text);
    found.ok_or("it is raw, lz4, heatshrink or zstd")
}
