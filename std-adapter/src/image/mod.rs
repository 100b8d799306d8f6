//! Images: the bytes of a log as they lie on a file or came from a device, read without being changed, or built.
//!
//! [`Image::open`] takes any file of segments: a service's partition or the dump of a device's flash. The
//! shape is read from its headers. The machine of the core mounts it, so the same code as everywhere decides which records are
//! live. It takes no step beyond the mount, so it writes nothing. [`Image::examine`] reads one segment record by record and
//! says what is damaged. [`build`] makes an image of a shape, to be written to a device.
//!
//! ```
//! use coldpress_std::CodecId;
//! use coldpress_std::image::{Geometry, Identity, Image, Store, build};
//!
//! // A flash of 16 sectors of 4 KiB that is programmed in words.
//! let geometry = Geometry::new(4096, 16, 4, 0xFF, Identity::KeyBytes)?;
//! let store = Store { id: 7, hash_key: [0; 16], partition: 0, partitions: 1 };
//! let bytes = build(geometry, store, 1_700_000_000, |image| {
//!     image.put(b"unit", b"kelvin", CodecId::Raw, None)?;
//!     image.put(b"offset", b"-273", CodecId::Raw, None)?;
//!     image.remove(b"offset")
//! })?;
//!
//! let image = Image::read_from(bytes)?;
//! assert_eq!(image.geometry(), &geometry);
//! assert_eq!(image.get(b"unit", image.clock_s())?, Some(b"kelvin".to_vec()));
//! assert_eq!(image.get(b"offset", image.clock_s())?, None);
//! # Ok::<(), Box<dyn core::error::Error>>(())
//! ```

mod build;
mod convert;
mod error;
mod examine;
mod index;
mod machine;
mod part;
mod probe;
mod source;

use std::path::Path;

use coldpress_core::codec::CodecId;
use coldpress_core::config::TierConfig;
pub use coldpress_core::format::{Format, Geometry, Identity, Kind, Location, Store, Version};
use coldpress_core::format::{
    Head, Header, KeyHash, PIECE_EXPIRES_S, Seed, piece_parts, piece_prefix, read_record,
};
pub use coldpress_core::recovery::MountReport;
pub use coldpress_core::segments::Segment;

pub use self::build::{ImageWriter, build, build_for};
pub use self::convert::{Converted, convert, convert_tier};
pub(crate) use self::convert::{carry_over, live_records, takes};
pub use self::error::{BuildError, ConvertError, ImageError};
pub use self::examine::{Contents, Damage, StoredRecord};
pub(crate) use self::part::PartImage;

use self::index::{ImageIndex, PieceProof};
use self::machine::{Buffers, Machine};
use self::source::Source;
use crate::codec::CodecSet;

/// The longest value that is decoded, in bytes: a segment holds no longer one.
const VALUE_BYTES_MAX: usize = 1 << 28;

/// A log that is only read.
#[derive(Debug)]
pub struct Image {
    source: Source,
    geometry: Geometry,
    store: Store,
    segments: Vec<Segment>,
    report: MountReport,
    clock_s: u32,
    index: ImageIndex,
    proof: PieceProof,
}

impl Image {
    /// Opens a file of segments for reading.
    ///
    /// No service may write to the file until the image was read. If one does, values may be missing, and a long value may be made of
    /// pieces of several. [`Snapshot`](crate::inspect::Snapshot) reads a tier that a service writes to.
    ///
    /// # Errors
    /// [`ImageError`]; the file is never changed.
    ///
    /// # Bounds
    /// Reads the file until a header is found, then what a mount reads; memory for a few segments.
    pub fn open(path: &Path) -> Result<Self, ImageError> {
        Self::mount(Source::open(path)?)
    }

    /// Reads an image in memory.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn read_from(bytes: Vec<u8>) -> Result<Self, ImageError> {
        Self::mount(Source::Memory(bytes))
    }

    fn mount(source: Source) -> Result<Self, ImageError> {
        let (geometry, header) = probe::probe(&source)?;
        Self::mount_as(source, geometry, &header)
    }

    fn mount_as(mut source: Source, geometry: Geometry, header: &Header) -> Result<Self, ImageError> {
        let store = header.store;
        let config = TierConfig { clock_jump_s_max: u32::MAX, ..machine::config(geometry, store, true) };
        let mut buffers = Buffers::new(&config, 0);
        let mut machine = Machine::new(config, &mut buffers, header.time_s)?;
        machine.mount(&mut source).map_err(ImageError::of_mount)?;
        let (report, clock_s) = (machine.tier.mount_report(), machine.tier.clock_s());
        let segments = machine.tier.segments().to_vec();
        let index = machine.index;
        let proof = PieceProof::AtRest;
        Ok(Self { source, geometry, store, segments, report, clock_s, index, proof })
    }

    /// The shape, as the headers state it.
    #[must_use]
    pub const fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    /// The store that the image belongs to.
    #[must_use]
    pub const fn store(&self) -> &Store {
        &self.store
    }

    /// The segment table as the mount found it: state, sequence, live and stale bytes, erases.
    #[must_use]
    pub fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// The findings of the mount.
    #[must_use]
    pub const fn mount_report(&self) -> MountReport {
        self.report
    }

    /// The newest time on the image, in seconds of the clock of its writer.
    #[must_use]
    pub const fn clock_s(&self) -> u32 {
        self.clock_s
    }

    /// Keys that have a value, expired ones included. A value that was written in pieces is one.
    #[must_use]
    pub fn len(&self) -> usize {
        self.index.values()
    }

    /// Records that hold the newest value of their key, or a piece of one.
    pub(crate) fn records(&self) -> u64 {
        self.index.records() as u64
    }

    /// Whether a reader may need a record of a service: it has not expired by the clock of the log. Of a long value only the head
    /// expires, so a piece is needed for as long as its key has a value.
    pub(crate) fn needs(&self, record: &StoredRecord) -> bool {
        let lives = |expires_s: Option<u32>| expires_s.is_none_or(|at| at > self.clock_s);
        let piece = piece_parts(&record.key).filter(|_| record.expires_s == Some(PIECE_EXPIRES_S));
        let Some((_, _, key)) = piece else { return lives(record.expires_s) };
        let head = self.index.live(&index::hash(self.geometry.identity(), &self.store, key));
        head.is_some_and(|head| head.kind == Kind::Value && lives(head.expires_s))
    }

    /// Whether no key has a value.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.index.values() == 0
    }

    /// Reads the value of a key, decoded and in one piece, as a reader finds it at a time.
    ///
    /// # Errors
    /// [`ImageError::Damaged`] where a record of it does not validate or is not there; [`ImageError::Codec`] where this build
    /// can't decode it. [`ImageError::Changing`] where a service writes long values, and this one may be torn.
    pub fn get(&self, key: &[u8], now_s: u32) -> Result<Option<Vec<u8>>, ImageError> {
        let hash = index::hash(self.geometry.identity(), &self.store, key);
        let Some((at, codec, stored)) = self.stored(&hash, key, now_s)? else { return Ok(None) };
        if codec != CodecId::Chunked {
            return decode(codec, &stored).map(Some);
        }
        let damaged = || ImageError::Damaged(at);
        let head = Head::from_bytes(&stored).ok_or_else(damaged)?;
        let check = |hash: &KeyHash| {
            if self.proof.covers(&self.index, hash) { Ok(()) } else { Err(ImageError::Changing(at)) }
        };
        check(&hash)?;
        let mut value = Vec::new();
        for index in 0..head.pieces {
            let (identity, generation) = (self.geometry.identity(), head.generation);
            let hash = index::hash_piece(identity, &self.store, key, generation, index);
            check(&hash)?;
            let name = [&piece_prefix(generation, index), key].concat();
            let (_, codec, stored) = self.stored(&hash, &name, now_s)?.ok_or_else(damaged)?;
            value.extend(decode(codec, &stored)?);
        }
        if value.len() == head.bytes as usize { Ok(Some(value)) } else { Err(damaged()) }
    }

    /// Reads a record that holds the newest value under a hash.
    pub(crate) fn newest(&self, hash: &KeyHash) -> Result<Option<StoredRecord>, ImageError> {
        let Some(placed) = self.index.live(hash).filter(|placed| placed.kind == Kind::Value) else {
            return Ok(None);
        };
        let at = placed.location;
        let bytes = self.read_at(at, placed.record_bytes)?;
        let record =
            read_record(&self.geometry, self.seed(), at, &bytes).map_err(|_| ImageError::Damaged(at))?;
        if index::hash_stored(self.geometry.identity(), &self.store, record.key, record.header.expires_s)
            != *hash
        {
            return Err(ImageError::Damaged(at));
        }
        Ok(Some(StoredRecord {
            location: at,
            version: record.header.origin.unwrap_or(at.version()),
            kind: record.header.kind,
            codec: record.header.codec,
            expires_s: record.header.expires_s,
            key: record.key.to_vec(),
            stored: record.value.to_vec(),
            record_bytes: record.record_bytes,
            is_live: true,
        }))
    }

    /// Where the value of a key lies, its codec, and its bytes as stored.
    fn stored(
        &self,
        hash: &KeyHash,
        key: &[u8],
        now_s: u32,
    ) -> Result<Option<(Location, CodecId, Vec<u8>)>, ImageError> {
        let Some(placed) = self.index.live(hash) else { return Ok(None) };
        let is_expired = placed.expires_s.is_some_and(|at| at <= now_s);
        if placed.kind != Kind::Value || is_expired {
            return Ok(None);
        }
        let at = placed.location;
        let bytes = self.read_at(at, placed.record_bytes)?;
        match read_record(&self.geometry, self.seed(), at, &bytes) {
            Ok(record) if record.key == key => Ok(Some((at, record.header.codec, record.value.to_vec()))),
            _ => Err(ImageError::Damaged(at)),
        }
    }

    /// Reads a segment record by record: its records and its damage. A free segment has nothing to read, and one that was about
    /// to be erased nothing that counts.
    ///
    /// # Errors
    /// [`ImageError::Segment`] beyond the last one. A record that can't be read is [`Damage`], not an error.
    ///
    /// # Bounds
    /// Reads the segment once and keeps its records.
    pub fn examine(&self, segment: u32) -> Result<Contents, ImageError> {
        examine::examine(self, segment)
    }

    fn seed(&self) -> Seed {
        self.store.seed(&self.geometry)
    }

    /// The longest record that there can be.
    fn record_bytes_max(&self) -> u32 {
        match self.report.record_bytes_max {
            // Version 1 of the format does not tell.
            0 => self.geometry.usable_bytes(),
            bytes => bytes,
        }
    }

    fn read_at(&self, at: Location, bytes: u32) -> Result<Vec<u8>, ImageError> {
        let offset =
            u64::from(at.segment.get()) * u64::from(self.geometry.segment_bytes()) + u64::from(at.offset);
        let mut buffer = vec![0; bytes as usize];
        self.source.read(offset, &mut buffer).map_err(|_| ImageError::Damaged(at))?;
        Ok(buffer)
    }
}

/// Reads the shape of a service's file from its headers: the length of its segments, and the highest number of them that a header
/// states, however long the file is. `None` where nothing was ever written to it.
///
/// Bounds: reads until a header is found, and then the headers of all segments.
pub(crate) fn shape_of(path: &Path) -> Result<Option<Geometry>, ImageError> {
    probe::shape(&Source::open(path)?)
}

/// Reads the store of a service's file; `None` where no segment of it was ever opened, or all of them were freed.
pub(crate) fn store_of(path: &Path) -> Result<Option<Store>, ImageError> {
    Ok(probe::part(&Source::open(path)?)?.map(|(_, header)| header.store))
}

/// Tells whether a file begins with the marker of a segment.
pub(crate) fn has_marker(path: &Path) -> Result<bool, ImageError> {
    Ok(probe::has_marker(&Source::open(path)?))
}

/// Tells whether a file holds nothing from a place on but the markers of segments of a shape.
pub(crate) fn is_blank_from(path: &Path, from: u64, shape: &Geometry) -> Result<bool, ImageError> {
    probe::is_blank_from(&Source::open(path)?, from, shape)
}

/// Decodes a value as it is stored.
fn decode(codec: CodecId, value: &[u8]) -> Result<Vec<u8>, ImageError> {
    let mut out = Vec::new();
    CodecSet::new().decode(codec, value, VALUE_BYTES_MAX, &mut out).map_err(ImageError::Codec)?;
    Ok(out)
}

#[cfg(test)]
mod tests;
