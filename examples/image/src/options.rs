//! The command line of the `image` program.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use coldpress_examples::image::{Command, Shape};

use crate::keys::KeyType;

/// Builds, verifies, dumps, sums up and imports images: files of segments, such as a service's partition or the flash of a device.
#[derive(Debug, Clone, Parser)]
#[command(name = "image", version)]
pub struct ImageJob {
    /// The job.
    #[command(subcommand)]
    pub command: ImageCommand,
}

/// A job of the program.
#[derive(Debug, Clone, Subcommand)]
pub enum ImageCommand {
    /// One that takes no other store.
    #[command(flatten)]
    Image(Command),
    /// Makes an image for a device from a map of sequential-storage 8, with the newest value of each key; a map that a power cut
    /// interrupted is repaired in memory
    ImportSequential(ImportSequential),
}

/// How a map is carried over.
///
/// Numbers become their bytes, the lowest first, as `to_le_bytes` of the firmware gives them. Arrays, strings and vectors become
/// their bytes. Values stay as they are.
#[derive(Debug, Clone, Args)]
#[command(after_help = "\
Firmware finds the value of a key under these bytes: of a number the bytes of its to_le_bytes(), of an array its bytes, \
of a string or vector its bytes without the length. Values stay as they are. With too short a key type the rest of \
each key lands in its value: compare the lengths of the values that are printed. \
Give --record-bytes as the RECORD of the device, and a --secret where the device needs a known one.")]
pub struct ImportSequential {
    /// The content of the flash that the map lies on, as it was read from a device; it is not changed
    pub file: PathBuf,
    /// The image; it must not be there yet
    pub to: PathBuf,

    /// Type of the keys: u8 to u128, i8 to i128, bytes:N for arrays and keys of one's own, string or vec for those of a length
    /// that differs
    #[arg(long, value_name = "TYPE")]
    pub key: KeyType,

    /// Where the range of the map begins in the file, in bytes
    #[arg(long, value_name = "BYTES", default_value_t = 0)]
    pub start: usize,

    /// Bytes of the range of the map; to the end of the file where it is left out
    #[arg(long, value_name = "BYTES")]
    pub bytes: Option<usize>,

    /// Bytes of a page of the map: the ERASE_SIZE of its flash driver
    #[arg(long, value_name = "BYTES", default_value_t = 4096)]
    pub page_bytes: usize,

    /// Bytes that the map programs as one: the WRITE_SIZE of its flash driver
    #[arg(long, value_name = "BYTES", default_value_t = 4)]
    pub map_write_bytes: usize,

    /// Bytes that the map reads as one: the READ_SIZE of its flash driver; 1, or 4 or 8 where it programs as many
    #[arg(long, value_name = "BYTES", default_value_t = 1)]
    pub map_read_bytes: usize,

    /// The shape of the image, and its store
    #[command(flatten)]
    pub shape: Shape,
}
