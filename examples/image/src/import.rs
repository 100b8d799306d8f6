//! Carrying a map over to an image of the flash of a device.

use core::fmt;
use std::fs;
use std::io::Write;

use coldpress_core::codec::CodecId;
use coldpress_core::format::{GeometryError, Identity, PIECE_PREFIX};
use coldpress_examples::image::{Done, Soundness, create};
use coldpress_std::image::{BuildError, Image, ImageError, ImageWriter, build, build_for};

use crate::options::ImportSequential;
use crate::readers::{MapError, MapShape, StoredMap, read_map};
use crate::survey::Survey;

/// An image that holds all values of a map.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Imported {
    /// The image.
    pub bytes: Vec<u8>,
    /// The map.
    pub map: StoredMap,
}

/// Why a map was not carried over. Nothing was written.
#[derive(Debug)]
#[non_exhaustive]
pub enum ImportError {
    /// The range ends beyond the file, which has so many bytes.
    Range(usize),
    /// The map can't be read.
    Map(MapError),
    /// No key of the map has a value.
    Empty,
    /// The shape of the image is none.
    Geometry(GeometryError),
    /// The system has no random bytes for a secret.
    Random,
    /// This key is reserved on a device: it begins with FF 63 70.
    Reserved(Vec<u8>),
    /// The image does not take the value of this key.
    Record {
        /// The key.
        key: Vec<u8>,
        /// How many of the keys fit, and how many there are.
        fit: (usize, usize),
        /// The reason.
        error: BuildError,
    },
    /// The image was not made.
    Build(BuildError),
    /// The image can't be read back.
    Image(ImageError),
    /// This key has another value in the image: a defect of this program. Without a key, their numbers differ.
    Differs(Option<Vec<u8>>),
}

impl fmt::Display for ImportError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Range(bytes) => write!(f, "the range ends beyond the file, which has {bytes} bytes"),
            Self::Map(error) => write!(f, "{error}"),
            Self::Empty => f.write_str("no key of the map has a value"),
            Self::Geometry(error) => write!(f, "the new image: {error}"),
            Self::Random => f.write_str("the system has no random bytes for a secret"),
            Self::Reserved(key) => {
                write!(f, "the key {} is reserved on a device: it begins with FF 63 70", key.escape_ascii())
            }
            Self::Record { key, fit: (fit, keys), error } => {
                write!(f, "the new image: {fit} of {keys} keys fit, not {}: {error}", key.escape_ascii())
            }
            Self::Build(error) => write!(f, "the new image: {error}"),
            Self::Image(error) => write!(f, "the new image: {error}"),
            Self::Differs(Some(key)) => {
                write!(f, "the new image has another value of the key {}", key.escape_ascii())
            }
            Self::Differs(None) => f.write_str("the new image has another number of keys"),
        }
    }
}

impl core::error::Error for ImportError {}

impl From<BuildError> for ImportError {
    fn from(error: BuildError) -> Self {
        Self::Build(error)
    }
}

/// Makes the image from the content of the flash, reads it back and compares all values.
///
/// # Errors
/// [`ImportError`].
pub fn imported(job: &ImportSequential, flash: &[u8]) -> Result<Imported, ImportError> {
    let end = job.bytes.map_or(Some(flash.len()), |bytes| job.start.checked_add(bytes));
    let range = end.and_then(|end| flash.get(job.start..end)).ok_or(ImportError::Range(flash.len()))?;
    let shape = MapShape {
        page_bytes: job.page_bytes,
        write_bytes: job.map_write_bytes,
        read_bytes: job.map_read_bytes,
    };
    let map = read_map(range, &shape, job.key).map_err(ImportError::Map)?;
    if map.values.is_empty() {
        return Err(ImportError::Empty);
    }
    if let Some(key) = map.values.keys().find(|key| key.starts_with(&PIECE_PREFIX)) {
        return Err(ImportError::Reserved(key.clone()));
    }
    let geometry = job.shape.geometry(Identity::KeyBytes).map_err(ImportError::Geometry)?;
    let store = job.shape.store().map_err(|_| ImportError::Random)?;
    let fill = |image: &mut ImageWriter<'_>| {
        for (number, (key, value)) in map.values.iter().enumerate() {
            let fit = (number, map.values.len());
            let put = image.put(key, value, CodecId::Raw, None);
            put.map_err(|error| ImportError::Record { key: key.clone(), fit, error })?;
        }
        Ok::<(), ImportError>(())
    };
    let bytes = match job.shape.record_bytes {
        Some(record_bytes) => build_for(geometry, store, record_bytes, job.shape.time, fill)?,
        None => build(geometry, store, job.shape.time, fill)?,
    };
    let imported = Imported { bytes, map };
    imported.compare(&Image::read_from(imported.bytes.clone()).map_err(ImportError::Image)?)?;
    Ok(imported)
}

/// Carries out the job: the new image is read back from its file, and all values compared. Without success there is no file.
///
/// # Errors
/// [`ImportError`], or the reason of the system.
pub fn import(job: &ImportSequential, out: &mut impl Write) -> Done {
    let imported = imported(job, &fs::read(&job.file)?)?;
    let to = job.to.display();
    let mut file = create(&job.to).map_err(|error| format!("{to}: {error}"))?;
    let written = file.write_all(&imported.bytes).and_then(|()| file.sync_all());
    let compared = written
        .map_err(Into::into)
        .and_then(|()| Image::open(&job.to).map_err(Into::into))
        .and_then(|image| imported.compare(&image).map_err(Box::<dyn core::error::Error>::from));
    if let Err(error) = compared {
        // It is no image, or not of this map.
        let _ = fs::remove_file(&job.to);
        return Err(format!("{to}: {error}").into());
    }
    writeln!(out, "{to}: {}", imported.summary())?;
    out.flush()?;
    Ok(Soundness::Sound)
}

impl Imported {
    /// Reads every key of an image and compares it with the map.
    ///
    /// # Errors
    /// [`ImportError::Image`] and [`ImportError::Differs`].
    pub fn compare(&self, image: &Image) -> Result<(), ImportError> {
        for (key, value) in &self.map.values {
            let found = image.get(key, image.clock_s()).map_err(ImportError::Image)?;
            if found.as_ref() != Some(value) {
                return Err(ImportError::Differs(Some(key.clone())));
            }
        }
        if image.len() == self.map.values.len() { Ok(()) } else { Err(ImportError::Differs(None)) }
    }

    /// One line that tells what was carried over.
    #[must_use]
    pub fn summary(&self) -> String {
        let Survey { pages, used, items, removed, skipped } = self.map.survey;
        let lengths = |lengths: &mut dyn Iterator<Item = usize>| {
            lengths.fold((usize::MAX, 0), |(low, high), len| (low.min(len), high.max(len)))
        };
        let keys = lengths(&mut self.map.values.keys().map(Vec::len));
        let values = lengths(&mut self.map.values.values().map(Vec::len));
        format!(
            "{} keys of {} to {} bytes, values of {} to {} bytes; read from {items} items in {used} of {pages} pages, \
             {removed} removed, {skipped} words skipped, {} keys hidden from the store",
            self.map.values.len(),
            keys.0,
            keys.1,
            values.0,
            values.1,
            self.map.hidden,
        )
    }
}
