//! Filling an image.

use core::fmt;

use coldpress_core::format::GeometryError;
use coldpress_std::image::{BuildError, ImageWriter, build, build_for};

use super::options::Build;
use crate::content::Content;

/// Why an image was not made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum InputError {
    /// The shape is none.
    Geometry(GeometryError),
    /// This line, counted from 1, has no `=`, or no key before it.
    Line(usize),
    /// The record of this line, or of this generated key, was not taken.
    Record(usize, BuildError),
    /// The image was not taken.
    Build(BuildError),
    /// The system has no random bytes for a secret.
    Random,
}

impl fmt::Display for InputError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Geometry(error) => write!(f, "{error}"),
            Self::Line(line) => write!(f, "line {line} is not KEY=VALUE"),
            Self::Record(number, error) => write!(f, "record {number}: {error}"),
            Self::Build(error) => write!(f, "{error}"),
            Self::Random => f.write_str("the system has no random bytes for a secret"),
        }
    }
}

impl core::error::Error for InputError {}

impl From<BuildError> for InputError {
    fn from(error: BuildError) -> Self {
        Self::Build(error)
    }
}

/// Makes the image: from the lines of `input`, else from generated keys.
///
/// # Errors
/// [`InputError`] names the line or record.
pub fn filled(job: &Build, input: Option<&str>) -> Result<Vec<u8>, InputError> {
    let geometry = job.geometry().map_err(InputError::Geometry)?;
    let store = job.shape.store().map_err(|_| InputError::Random)?;
    let fill = |image: &mut ImageWriter<'_>| match input {
        Some(text) => from_lines(job, image, text),
        None => generated(job, image),
    };
    match job.shape.record_bytes {
        Some(bytes) => build_for(geometry, store, bytes, job.shape.time, fill),
        None => build(geometry, store, job.shape.time, fill),
    }
}

fn put(
    job: &Build,
    image: &mut ImageWriter<'_>,
    number: usize,
    key: &[u8],
    value: &[u8],
) -> Result<(), InputError> {
    let expires_s = job.ttl.map(|ttl| job.shape.time.saturating_add(ttl));
    image.put(key, value, job.codec, expires_s).map_err(|error| InputError::Record(number, error))
}

fn from_lines(job: &Build, image: &mut ImageWriter<'_>, text: &str) -> Result<(), InputError> {
    for (number, line) in (1..).zip(text.lines()) {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (key, value) = line.split_once('=').ok_or(InputError::Line(number))?;
        if key.is_empty() {
            return Err(InputError::Line(number));
        }
        put(job, image, number, key.as_bytes(), value.as_bytes())?;
    }
    Ok(())
}

/// Writes each key so many times, and removes one in ten at the end.
fn generated(job: &Build, image: &mut ImageWriter<'_>) -> Result<(), InputError> {
    let content = Content::new(job.shape.store);
    let mut value = vec![0; job.value_bytes as usize];
    let name = |key: u32| format!("key {key}");
    for round in 0..job.rounds {
        for key in 0..job.keys {
            content.fill(u64::from(key), round, &mut value);
            put(job, image, key as usize, name(key).as_bytes(), &value)?;
        }
    }
    for key in (0..job.keys).filter(|key| key % 10 == 9) {
        image.remove(name(key).as_bytes())?;
    }
    Ok(())
}
