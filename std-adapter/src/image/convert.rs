//! Carrying what an image holds over to a new one in today's format.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, FileExt as _, OpenOptionsExt as _};
use std::path::Path;

use coldpress_core::config::TierConfig;
use coldpress_core::drive::{Medium, Started};
use coldpress_core::format::{
    ENTRY_BYTES_MAX, Format, Geometry, HASH_KEY_BYTES, Identity, Kind, RECORD_HEADER_BYTES_MAX, Store,
    TRAILER_BYTES,
};
use coldpress_core::machine::Status;
use coldpress_core::segments::SegmentState;
use coldpress_core::writer::{AppendError, Fresh};

use super::error::{BuildError, ConvertError, ImageError};
use super::examine::StoredRecord;
use super::machine::{Buffers, Machine, config};
use super::{Image, index};
use crate::file_error::{AtPath as _, FileError};
use crate::storage::{META_NAME, MediumFailure, medium_error};

/// Steps of the machine that one record waits for at most.
const STEPS_MAX: u32 = 1 << 20;
/// Erased and written in pieces of so many bytes.
const CHUNK_BYTES: usize = 64 << 10;

/// The result of a conversion.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Converted {
    /// Keys carried over with their value, its codec and its expiry. A value in pieces counts each of them.
    pub records: u64,
    /// Bytes of these as they lie in the new image.
    pub bytes: u64,
    /// Places in the old image that are damaged: their records are not carried over.
    pub damaged: u64,
}

/// Converts the image `from`, written in any version of the format that this build reads, to a new one at `to` in today's.
///
/// The new one has the same shape, store, hash key and clock, so that a converted file takes the place of the old one. A device's
/// image of version 1 has no secret: it gets `secret`, or a random one. `from` is not changed. The file at `to` is made for its
/// owner alone, and is durable when this returns. [`convert_tier`] does it for all partitions of a service.
///
/// ```no_run
/// use coldpress_std::image::convert;
/// use std::path::Path;
///
/// let done = convert(Path::new("flash.bin"), Path::new("flash-2.bin"), None)?;
/// assert_eq!(done.damaged, 0);
/// # Ok::<(), Box<dyn core::error::Error>>(())
/// ```
///
/// # Errors
/// [`ConvertError`]; a file that was begun at `to` is removed again. One that was there before is never touched.
///
/// # Bounds
/// Reads the old image twice; memory for the index and a few segments.
pub fn convert(
    from: &Path,
    to: &Path,
    secret: Option<[u8; HASH_KEY_BYTES]>,
) -> Result<Converted, ConvertError> {
    let image = Image::open(from).map_err(ConvertError::Image)?;
    let file =
        OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(to).at("make", to)?;
    let done = fill(&image, (&file, to), secret).and_then(|done| {
        file.sync_all().at("sync", to)?;
        sync_parent(to)?;
        Ok(done)
    });
    if done.is_err() {
        // A failed removal is not reported: the error that stopped the conversion says more.
        let _ = std::fs::remove_file(to);
    }
    done
}

/// Converts the tier in the directory `from`, which is closed, to a new directory `to`: all its partitions, with [`convert`].
///
/// The new directory then takes the place of the old one, which is not changed.
///
/// ```no_run
/// use coldpress_std::image::convert_tier;
/// use std::path::Path;
///
/// let done = convert_tier(Path::new("cold/sessions"), Path::new("cold/sessions.new"))?;
/// assert_eq!(done.damaged, 0);
/// std::fs::rename("cold/sessions", "cold/sessions.old")?;
/// std::fs::rename("cold/sessions.new", "cold/sessions")?;
/// # Ok::<(), Box<dyn core::error::Error>>(())
/// ```
///
/// # Errors
/// [`ConvertError`]; files that were begun in `to` are removed again. A directory that is there is never touched, and a tier that is open
/// is refused.
///
/// # Bounds
/// As [`convert`], for one partition after the other.
pub fn convert_tier(from: &Path, to: &Path) -> Result<Converted, ConvertError> {
    let mut locks = Vec::new();
    let mut names = Vec::new();
    for entry in from.read_dir().at("list", from)? {
        let name = entry.at("list", from)?.file_name();
        let text = name.to_string_lossy();
        let is_part = text.starts_with("part-") && text.ends_with(".cold");
        if is_part || text == "LOCK" {
            let path = from.join(&name);
            let file = File::open(&path).at("open", &path)?;
            match file.try_lock() {
                Ok(()) => locks.push(file),
                Err(TryLockError::WouldBlock) => return Err(ConvertError::Open),
                Err(TryLockError::Error(error)) => return Err(error).at("lock", &path)?,
            }
        }
        if is_part {
            names.push(name);
        }
    }
    if names.is_empty() {
        return Err(ConvertError::Image(ImageError::Foreign));
    }
    DirBuilder::new().mode(0o700).create(to).at("make the directory", to)?;
    let mut all = Converted::default();
    for name in &names {
        match convert(&from.join(name), &to.join(name), None) {
            Ok(done) => {
                all.records += done.records;
                all.bytes += done.bytes;
                all.damaged += done.damaged;
            }
            Err(error) => {
                // A failed removal is not reported: the error that stopped the conversion says more.
                names.iter().for_each(|name| drop(std::fs::remove_file(to.join(name))));
                let _ = std::fs::remove_dir(to);
                return Err(error);
            }
        }
    }
    // Version 1 had none; a tier of today's format keeps its schema.
    if from.join(META_NAME).exists() {
        let (old, new) = (from.join(META_NAME), to.join(META_NAME));
        std::fs::copy(&old, &new).at("copy", &old)?;
        sync(&new)?;
    }
    sync(to)?;
    sync_parent(to)?;
    drop(locks);
    Ok(all)
}

fn sync_parent(path: &Path) -> Result<(), ConvertError> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    sync(parent.unwrap_or(Path::new(".")))
}

fn sync(path: &Path) -> Result<(), ConvertError> {
    Ok(File::open(path).at("open", path)?.sync_all().at("sync", path)?)
}

fn fill(
    image: &Image,
    (file, path): (&File, &Path),
    secret: Option<[u8; HASH_KEY_BYTES]>,
) -> Result<Converted, ConvertError> {
    let geometry = image.geometry.in_format(Format::Two);
    let mut store = image.store;
    let has_none = image.geometry.format() == Format::One && geometry.identity() == Identity::KeyBytes;
    match secret {
        Some(secret) => store.hash_key = secret,
        None if has_none => getrandom::fill(&mut store.hash_key).map_err(|_| ConvertError::Random)?,
        None => {}
    }
    let longest = live_records(image, |_| Ok(()))?.longest_bytes;
    file.set_len(geometry.medium_bytes()).at("set the length of", path)?;
    let mut medium = NewFile { file, path, blank: geometry.erase_value() };
    if medium.blank != 0 {
        let _ = medium.erase(0, geometry.medium_bytes())?;
    }
    let done = carry_over(image, &mut medium, (geometry, store), longest, |_| true)?;
    Ok(Converted { records: done.records, bytes: done.bytes, damaged: done.damaged })
}

/// Writes the live records of an image to a blank medium, in any shape that takes records of up to `longest_bytes` as they lie in the
/// image. Records that are not to be kept are left out.
pub(crate) fn carry_over(
    image: &Image,
    medium: &mut impl Medium<Error: Into<MediumFailure>>,
    (geometry, store): (Geometry, Store),
    longest_bytes: u32,
    is_kept: impl Fn(&StoredRecord) -> bool,
) -> Result<Carried, ConvertError> {
    let least = RECORD_HEADER_BYTES_MAX + geometry.write_unit();
    let record_bytes_max = geometry.padded(longest_bytes.saturating_add(geometry.origin_bytes()).max(least));
    let config = TierConfig { record_bytes_max, ..config(geometry, store, false) };
    let mut buffers = Buffers::new(&config, (geometry.segment_bytes() / 3) as usize);
    let mut machine = Machine::new(config, &mut buffers, image.clock_s)
        .map_err(|error| ConvertError::Build(error.into()))?;
    machine.mount(medium).map_err(ConvertError::of_mount)?;
    let mut kept = Carried::default();
    let read = live_records(image, |record| {
        if !is_kept(record) {
            return Ok(());
        }
        kept.add(record);
        let hash = index::hash_stored(geometry.identity(), &store, &record.key, record.expires_s);
        append(&mut machine, medium, record, hash)
    })?;
    machine.tier.close();
    for _ in 0..STEPS_MAX {
        if machine.tier.status() == Status::Closed {
            return Ok(Carried { damaged: read.damaged, ..kept });
        }
        step(&mut machine, medium)?;
    }
    Err(ConvertError::Build(BuildError::Stuck))
}

/// Takes one step; returns whether there was anything to do. A failed write ends the conversion: the machine would wait before
/// its next try, and the clock stands still.
fn step(
    machine: &mut Machine<'_>,
    medium: &mut impl Medium<Error: Into<MediumFailure>>,
) -> Result<bool, ConvertError> {
    let is_busy = machine.step(medium);
    machine.failed.take().map_or(Ok(is_busy), |failure| Err(failure.into()))
}

/// Whether segments of a shape take records of up to so many bytes as they lie in an image of a service.
pub(crate) fn takes(geometry: &Geometry, longest_bytes: u32) -> bool {
    let carried = geometry.padded(longest_bytes.saturating_add(geometry.origin_bytes()));
    carried.saturating_add(ENTRY_BYTES_MAX + TRAILER_BYTES) <= geometry.usable_bytes()
}

/// Records that were handed out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Carried {
    pub(crate) records: u64,
    pub(crate) bytes: u64,
    /// Bytes of the longest.
    pub(crate) longest_bytes: u32,
    /// Places that are damaged.
    pub(crate) damaged: u64,
}

impl Carried {
    fn add(&mut self, record: &StoredRecord) {
        self.records += 1;
        self.bytes += u64::from(record.record_bytes);
        self.longest_bytes = self.longest_bytes.max(record.record_bytes);
    }
}

/// Hands out the newest value of each key, and of each piece of one.
pub(crate) fn live_records(
    image: &Image,
    mut take: impl FnMut(&StoredRecord) -> Result<(), ConvertError>,
) -> Result<Carried, ConvertError> {
    let mut all = Carried::default();
    for (segment, known) in (0..).zip(image.segments()) {
        if !matches!(known.state(), SegmentState::Sealed | SegmentState::Quarantined) {
            continue;
        }
        let contents = image.examine(segment).map_err(ConvertError::Image)?;
        all.damaged += contents.damage.len() as u64;
        for record in contents.records.iter().filter(|record| record.is_live && record.kind == Kind::Value) {
            take(record)?;
            all.add(record);
        }
    }
    Ok(all)
}

fn append(
    machine: &mut Machine<'_>,
    medium: &mut impl Medium<Error: Into<MediumFailure>>,
    record: &StoredRecord,
    hash: coldpress_core::format::KeyHash,
) -> Result<(), ConvertError> {
    let payload = [&record.key[..], &record.stored].concat();
    let checksum = machine.tier.seed().payload(&payload);
    let key_bytes = u32::try_from(record.key.len()).unwrap_or(u32::MAX);
    let (kind, codec, expires_s) = (Kind::Value, record.codec, record.expires_s);
    let (payload, after, replaces) = (&payload, None, None);
    let fresh = Fresh { hash, kind, codec, key_bytes, payload, checksum, expires_s, after, replaces };
    for _ in 0..STEPS_MAX {
        let now = machine.now();
        match machine.tier.append(now, &fresh) {
            Ok(_) => return Ok(()),
            // The clock stands still, so a machine that is idle now stays idle.
            Err(AppendError::Busy) if step(machine, medium)? => {}
            Err(AppendError::Busy) => break,
            Err(error) => return Err(ConvertError::Build(BuildError::Append(error))),
        }
    }
    Err(ConvertError::Build(BuildError::Stuck))
}

/// A new file that takes the place of an image.
struct NewFile<'f> {
    file: &'f File,
    path: &'f Path,
    blank: u8,
}

impl NewFile<'_> {
    fn failed(&self, operation: &'static str, error: &io::Error) -> MediumFailure {
        MediumFailure::new(medium_error(error), FileError::new(operation, self.path, error))
    }
}

impl Medium for NewFile<'_> {
    type Error = MediumFailure;

    fn read(&mut self, at: u64, bytes: &mut [u8]) -> Result<(), MediumFailure> {
        self.file.read_exact_at(bytes, at).map_err(|error| self.failed("read", &error))
    }

    fn write(&mut self, at: u64, bytes: &[u8]) -> Result<Started, MediumFailure> {
        self.file.write_all_at(bytes, at).map_err(|error| self.failed("write", &error))?;
        Ok(Started::Done)
    }

    fn erase(&mut self, at: u64, bytes: u64) -> Result<Started, MediumFailure> {
        let piece = [self.blank; CHUNK_BYTES];
        let mut done = 0;
        while done < bytes {
            let rest = usize::try_from(bytes - done).unwrap_or(CHUNK_BYTES).min(CHUNK_BYTES);
            let _ = self.write(at + done, piece.get(..rest).unwrap_or(&piece))?;
            done += rest as u64;
        }
        Ok(Started::Done)
    }

    /// It is synced once it is whole.
    fn sync(&mut self) -> Result<Started, MediumFailure> {
        Ok(Started::Done)
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;
    use crate::image::{ImageWriter, build};
    use coldpress_core::codec::CodecId;

    #[test]
    fn new_image_that_fails_names_the_path_and_the_code() {
        let geometry = Geometry::new(1 << 14, 16, 1, 0, Identity::KeyBytes).unwrap();
        let store = Store { id: 1, hash_key: [1; HASH_KEY_BYTES], partition: 0, partitions: 1 };
        let put = |image: &mut ImageWriter<'_>| image.put(b"key", b"value", CodecId::Raw, None);
        let old = Image::read_from(build(geometry, store, 0, put).unwrap()).unwrap();
        let fill = |path: &Path, options: &OpenOptions| {
            let file = options.open(path).unwrap();
            let mut target = NewFile { file: &file, path, blank: 0 };
            carry_over(&old, &mut target, (geometry, store), 100, |_| true).unwrap_err().to_string()
        };
        let full = fill(Path::new("/dev/full"), File::options().read(true).write(true));
        assert_eq!(full, "the new image: can't write /dev/full: No space left on device (os error 28)");
        let unread = fill(Path::new("/dev/full"), File::options().write(true));
        assert_eq!(unread, "the new image: can't read /dev/full: Bad file descriptor (os error 9)");
    }

    #[test]
    fn image_that_is_a_directory_says_so() {
        let dir = tempfile::tempdir().unwrap();
        let error = Image::open(dir.path()).unwrap_err();
        let said = format!("can't read {}: Is a directory (os error 21)", dir.path().display());
        assert_eq!(error.to_string(), said);
    }
}
