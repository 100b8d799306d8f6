//! The facts about a tier that its directory tells: files, shape, schema, format, and the process that has it open.

use std::fs::File;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use coldpress_core::config::Streams;
use coldpress_core::format::FORMAT_VERSION;

use super::dir::{Content, part_name};
use super::inspect::InspectError;
use super::last_use::Note;
use super::meta::Meta;
use super::owner::{LOCK_NAME, in_use};
use crate::config::{ColdTierConfig, ColdTierConfigBuilder, ConfigError};
use crate::errors::{InUse, OpenError};
use crate::file_error::AtPath as _;
use crate::image::{ImageError, has_marker, shape_of};

/// The facts about a tier.
#[derive(Debug)]
#[non_exhaustive]
pub struct TierFacts {
    /// Its directory, absolute and without links.
    pub path: PathBuf,
    /// The files of its partitions, in their order.
    pub partitions: Vec<PartitionFacts>,
    /// The schema of its values; `None` where it has none.
    pub schema: Option<Box<str>>,
    /// The number of its store; `None` where nothing was ever written.
    pub store_id: Option<u64>,
    /// The process that has it open for writing; `None` where none has.
    pub in_use: Option<InUse>,
    /// Whether it is a copy whose files may be of different moments. An open refuses it, with [`OpenError::Copied`]. Its values can
    /// be read here, to save them. Keys may be missing from it, and removed ones be back.
    pub is_doubtful_copy: bool,
}

/// The facts about the file of a partition.
#[derive(Debug)]
#[non_exhaustive]
pub struct PartitionFacts {
    /// The file.
    pub path: PathBuf,
    /// Its length in bytes: its share of the capacity.
    pub bytes: u64,
    /// Bytes that it takes on disk.
    pub disk_bytes: u64,
    /// Its shape.
    pub shape: PartitionShape,
}

/// The shape of a partition's file, by its headers.
#[derive(Debug)]
#[non_exhaustive]
pub enum PartitionShape {
    /// The headers tell it.
    Known {
        /// Bytes of a segment.
        segment_bytes: u32,
        /// Segments of the file.
        segments: u32,
        /// The version of the format.
        version: u8,
    },
    /// Nothing was ever written to it.
    Unused,
    /// All segments were freed, so there is no header.
    Emptied,
    /// It is no log, or of a version that this build does not read, or can't be read.
    Unreadable(ImageError),
}

impl PartitionFacts {
    fn of(path: PathBuf) -> Result<Self, OpenError> {
        let metadata = path.metadata().at("look at", &path)?;
        let bytes = metadata.len();
        let shape = match shape_of(&path) {
            Ok(Some(shape)) => PartitionShape::Known {
                segment_bytes: shape.segment_bytes(),
                // A file is as long as its next open takes it, which its headers may not state yet.
                segments: u32::try_from(bytes / u64::from(shape.segment_bytes())).unwrap_or(u32::MAX),
                version: shape.format().number(),
            },
            Ok(None) => PartitionShape::Unused,
            Err(ImageError::Foreign | ImageError::Blank) if has_marker(&path).unwrap_or(false) => {
                PartitionShape::Emptied
            }
            Err(error) => PartitionShape::Unreadable(error),
        };
        Ok(Self { path, bytes, disk_bytes: metadata.blocks() * 512, shape })
    }

    /// Refuses a file of another version, and one that is no log.
    fn check(&self) -> Result<(), InspectError> {
        match &self.shape {
            PartitionShape::Known { version, .. } if *version != FORMAT_VERSION => {
                Err(InspectError::Format { path: self.path.clone(), version: *version })
            }
            PartitionShape::Unreadable(error) => Err(InspectError::of_log(&self.path, error.clone())),
            _ => Ok(()),
        }
    }
}

impl TierFacts {
    /// Reads the facts about the tier in a directory. Takes its lock together with other readers for an instant, to find out whether
    /// it is open; an open at that instant tries again for up to 8 ms.
    ///
    /// # Errors
    /// [`OpenError`]: [`Foreign`](OpenError::Foreign) where there is no tier, and as an open fails for files that are missing or
    /// don't belong there, and for damaged metadata.
    ///
    /// # Bounds
    /// Reads each file until a header is found; where a file is longer than that states, the headers of all segments.
    pub fn read(dir: &Path) -> Result<Self, OpenError> {
        let path = dir.canonicalize().at("open the directory", dir)?;
        let content = Content::of(&path)?;
        let meta = Meta::read(&path)?;
        let known = meta.as_ref().map_or(0, |meta| meta.partitions);
        content.check(&path, known)?;
        let parts = content.parts().map(|partition| PartitionFacts::of(path.join(part_name(partition))));
        let partitions = parts.collect::<Result<Vec<_>, _>>()?;
        let in_use = in_use(&path)?;
        let is_doubtful = |lock: File| Note::read(&lock).check_copy(&lock, &path, part_name).is_err();
        let is_doubtful_copy = File::open(path.join(LOCK_NAME)).is_ok_and(is_doubtful);
        let store_id = meta.as_ref().map(|meta| meta.store_id).filter(|id| *id != 0);
        let schema = meta.and_then(|meta| meta.schema);
        Ok(Self { partitions, schema, store_id, in_use, is_doubtful_copy, path })
    }

    /// The length of all files together, in bytes.
    #[must_use]
    pub fn capacity_bytes(&self) -> u64 {
        self.partitions.iter().map(|part| part.bytes).sum()
    }

    /// Bytes that all files take on disk.
    #[must_use]
    pub fn disk_bytes(&self) -> u64 {
        self.partitions.iter().map(|part| part.disk_bytes).sum()
    }

    /// The version of the format, where a file tells it: the lowest of all.
    #[must_use]
    pub fn format_version(&self) -> Option<u8> {
        let version = |part: &PartitionFacts| match part.shape {
            PartitionShape::Known { version, .. } => Some(version),
            PartitionShape::Unreadable(ImageError::Version(version)) => Some(version),
            _ => None,
        };
        self.partitions.iter().filter_map(version).min()
    }

    /// Refuses a tier of another version of the format, and files that are no logs.
    ///
    /// # Errors
    /// [`InspectError::Format`] names the remedy; [`InspectError::Log`].
    pub fn check(&self) -> Result<(), InspectError> {
        self.partitions.iter().try_for_each(PartitionFacts::check)
    }

    /// The configuration with which the tier opens as it is: partitions, capacity, segments, schema, and the longest values that there
    /// can be. All other settings have their defaults. An open with another configuration may change the files.
    ///
    /// # Errors
    /// As [`check`](Self::check); [`InspectError::NoShape`] where the tier is emptied and no file tells the length of segments.
    pub fn config(&self) -> Result<ColdTierConfigBuilder, InspectError> {
        self.check()?;
        let segment_bytes = self.partitions.iter().find_map(|part| match part.shape {
            PartitionShape::Known { segment_bytes, .. } => Some(segment_bytes),
            _ => None,
        });
        let is_emptied = self.partitions.iter().any(|part| matches!(part.shape, PartitionShape::Emptied));
        if segment_bytes.is_none() && is_emptied {
            return Err(InspectError::NoShape(self.path.clone()));
        }
        let partitions = u16::try_from(self.partitions.len()).unwrap_or(u16::MAX);
        // Files differ in length where a change of the capacity was cut short. The longest one loses nothing.
        let part_bytes = self.partitions.iter().map(|part| part.bytes).max().unwrap_or(0);
        let mut builder = ColdTierConfig::builder()
            .partitions(partitions)
            .capacity_bytes(part_bytes.saturating_mul(u64::from(partitions)));
        if let Some(bytes) = segment_bytes {
            builder = builder.segment_bytes(bytes);
        }
        if let Some(schema) = &self.schema {
            builder = builder.schema(schema.clone());
        }
        self.longest_values(builder)
    }

    /// Sets the most streams that the shape has segments for, and the longest values that it takes.
    fn longest_values(&self, builder: ColdTierConfigBuilder) -> Result<ColdTierConfigBuilder, InspectError> {
        let mut refused = None;
        for streams in [Streams::Four, Streams::Two, Streams::One] {
            let builder = builder.clone().streams(streams);
            match builder.clone().value_bytes_max(u32::MAX).build() {
                Ok(_) => return Ok(builder.value_bytes_max(u32::MAX)),
                Err(ConfigError::ValueBytes { max, .. }) => {
                    let builder = builder.value_bytes_max(max);
                    match builder.clone().build() {
                        Ok(_) => return Ok(builder),
                        Err(error) => refused = Some(error),
                    }
                }
                Err(error) => refused = Some(error),
            }
        }
        match refused {
            Some(error) => Err(InspectError::Config { path: self.path.clone(), error }),
            None => Ok(builder),
        }
    }
}
