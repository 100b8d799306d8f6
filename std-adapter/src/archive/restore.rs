//! Makes the directory of a tier from a backup.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path as FilePath, PathBuf};

use object_store::ObjectStore;
use object_store::path::Path;

use super::check::{Listed, fetch};
use super::error::ArchiveError;
use super::manifest::{ArchivedSegment, Manifest, SegmentContent};
use super::slots::{BackupSlots, manifest_path, object_path, read};
use crate::directory::{Meta, part_name, part_new_name};
use crate::file_error::{AtPath as _, FileError};
use crate::storage::{Mode, PackedSegment, make_dirs, sync_above, sync_dir};

/// The access to restored files: that of new ones by default.
const MODE: u32 = 0o600;

/// Which backup is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RestorePoint {
    /// The newest one.
    #[default]
    Newest,
    /// The one with this number.
    Number(u64),
    /// The newest one that was taken at this time or before, in seconds since 1970, by the clock of the machine that made it.
    ///
    /// The time of a damaged manifest is unknown. It is passed over where a readable one with a lower number is of a later time than
    /// this. Else it may be the one that is meant, and is an error. The one before it is restored by its number.
    Time(u64),
}

/// A directory that was restored.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RestoredTier {
    /// The backup.
    pub backup: Listed,
    /// Bytes that were read from the store and written.
    pub bytes: u64,
}

/// Makes the directory of a tier from a backup. It opens as any other, with the configuration of the tier.
///
/// Every object is checked before its bytes are written. The directory is built under another name, `DIR.restoring-` and a random
/// number, made durable, and renamed last. So there is a whole directory, or none. A process that is killed leaves the other name,
/// which [`unfinished_restores`] lists. It opens as no tier, since the files of its partitions get their names last.
///
/// Writes through the restored tier continue its store: back it up under another prefix where the first tier is still in use.
///
/// # Errors
/// [`ArchiveError`]: [`NotEmpty`](ArchiveError::NotEmpty) where `dir` is not an empty directory;
/// [`Damaged`](ArchiveError::Damaged) or [`Missing`](ArchiveError::Missing) names the first object that is not as it was.
///
/// # Bounds
/// Memory for the manifest and one segment. Files are sparse. It blocks while it writes files.
pub async fn restore(
    store: &dyn ObjectStore,
    prefix: &Path,
    dir: &FilePath,
    at: RestorePoint,
) -> Result<RestoredTier, ArchiveError> {
    let manifest = find(store, prefix, at).await?;
    check_empty(dir)?;
    let partitions = u16::try_from(manifest.parts.len())
        .map_err(|_| ArchiveError::Damaged { object: manifest_path(prefix, manifest.number).to_string() })?;
    let mode = Mode::new(MODE);
    let made = Unfinished::make(dir, mode)?;
    // Before any other file: the metadata make an open look for all partitions, and refuse the directory until they are there.
    let schema = manifest.schema.as_deref().map(Box::from);
    Meta { partitions, schema, store_id: manifest.store_id }.write(&made.path, mode)?;
    let mut bytes = 0;
    for (part, segments) in (0..).zip(&manifest.parts) {
        bytes += restore_part(store, prefix, &manifest, part, segments, &made.path, mode).await?;
    }
    made.name_parts(partitions)?;
    made.finish(dir)?;
    Ok(RestoredTier { backup: Listed::of(&manifest), bytes })
}

async fn find(store: &dyn ObjectStore, prefix: &Path, at: RestorePoint) -> Result<Manifest, ArchiveError> {
    let slots = BackupSlots::list(store, prefix).await?;
    let RestorePoint::Time(latest_s) = at else {
        let is_wanted = |number: &u64| !matches!(at, RestorePoint::Number(wanted) if wanted != *number);
        let number = slots.backups().rev().find(is_wanted).ok_or(ArchiveError::NoBackup)?;
        return read(store, prefix, number).await;
    };
    // The newest one that can't be read, and may be of the time that is asked for.
    let mut doubtful = None;
    for number in slots.backups().rev() {
        match read(store, prefix, number).await {
            // A backup looks at the numbers before it notes its time. So all with a higher number are later than this one.
            Ok(manifest) if manifest.taken_s > latest_s => doubtful = None,
            Ok(manifest) => return doubtful.map_or(Ok(manifest), Err),
            // It was pruned meanwhile.
            Err(ArchiveError::NoBackup) => {}
            Err(error @ ArchiveError::Store(_)) => return Err(error),
            Err(error) => {
                doubtful.get_or_insert(error);
            }
        }
    }
    Err(doubtful.unwrap_or(ArchiveError::NoBackup))
}

fn check_empty(dir: &FilePath) -> Result<(), ArchiveError> {
    match dir.read_dir() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => {
            Err(ArchiveError::NotEmpty(dir.to_path_buf()))
        }
        entries => match entries.at("list", dir)?.next() {
            None => Ok(()),
            Some(_) => Err(ArchiveError::NotEmpty(dir.to_path_buf())),
        },
    }
}

async fn restore_part(
    store: &dyn ObjectStore,
    prefix: &Path,
    manifest: &Manifest,
    part: u16,
    segments: &[ArchivedSegment],
    dir: &FilePath,
    mode: Mode,
) -> Result<u64, ArchiveError> {
    let path = dir.join(part_new_name(part));
    let file = mode.make_anew(&path)?;
    let segment_bytes = u64::from(manifest.segment_bytes);
    file.set_len(segment_bytes * u64::from(manifest.segments)).at("set the length of", &path)?;
    let mut written = 0;
    for segment in segments {
        let bytes = match &segment.content {
            SegmentContent::Inline(bytes) => bytes.clone(),
            SegmentContent::Object(object) => {
                let path = object_path(prefix, manifest.store_id, part, segment, object);
                fetch(store, &path, object).await?
            }
        };
        written += bytes.len() as u64;
        let packed = PackedSegment { ranges: segment.ranges.clone(), bytes };
        let pieces = packed
            .pieces(manifest.segment_bytes)
            .filter(|_| segment.segment < manifest.segments)
            .ok_or_else(|| ArchiveError::Damaged {
                object: manifest_path(prefix, manifest.number).to_string(),
            })?;
        for (at, piece) in pieces {
            let at = u64::from(segment.segment) * segment_bytes + u64::from(at);
            file.write_all_at(piece, at).at("write", &path)?;
        }
    }
    finish_file(&file, &path)?;
    Ok(written)
}

fn finish_file(file: &File, path: &FilePath) -> Result<(), FileError> {
    file.sync_all().at("sync", path)
}

/// Lists the directories that restores to `dir` left when their process was killed, or that they fill at present. Nothing deletes
/// the first, since they look as the second do.
///
/// # Errors
/// [`ArchiveError::File`] where the directory above `dir` can't be listed. One that is not there has none.
///
/// # Bounds
/// Lists the directory above. It blocks meanwhile.
pub fn unfinished_restores(dir: &FilePath) -> Result<Vec<PathBuf>, ArchiveError> {
    let above = dir.parent().filter(|above| !above.as_os_str().is_empty()).unwrap_or(FilePath::new("."));
    let start = unfinished_start(dir);
    let mut found = Vec::new();
    let entries = match above.read_dir() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(found),
        entries => entries.at("list", above)?,
    };
    for entry in entries {
        let name = entry.at("list", above)?.file_name();
        let number = name.as_encoded_bytes().strip_prefix(start.as_encoded_bytes());
        if number.is_some_and(|number| number.len() == 8 && number.iter().all(u8::is_ascii_hexdigit)) {
            found.push(dir.with_file_name(name));
        }
    }
    found.sort();
    Ok(found)
}

/// The first name of a directory, without its number.
fn unfinished_start(dir: &FilePath) -> OsString {
    let mut name = dir.file_name().unwrap_or_default().to_os_string();
    name.push(".restoring-");
    name
}

/// The directory under its first name; removed where it is not finished.
struct Unfinished {
    path: PathBuf,
    is_finished: bool,
}

impl Unfinished {
    fn make(dir: &FilePath, mode: Mode) -> Result<Self, ArchiveError> {
        let number = getrandom::u32().unwrap_or_else(|_| std::process::id());
        let mut name = unfinished_start(dir);
        name.push(format!("{number:08x}"));
        let path = make_dirs(&dir.with_file_name(name), mode)?;
        Ok(Self { path, is_finished: false })
    }

    /// Gives the durable files of the partitions their names, the first one last.
    fn name_parts(&self, partitions: u16) -> Result<(), FileError> {
        for part in (0..partitions).rev() {
            let new = self.path.join(part_new_name(part));
            std::fs::rename(&new, self.path.join(part_name(part))).at("rename", &new)?;
        }
        Ok(())
    }

    fn finish(mut self, dir: &FilePath) -> Result<(), ArchiveError> {
        sync_dir(&self.path)?;
        match std::fs::rename(&self.path, dir) {
            Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => {
                return Err(ArchiveError::NotEmpty(dir.to_path_buf()));
            }
            renamed => renamed.at("rename to", dir)?,
        }
        self.is_finished = true;
        let path = dir.canonicalize().at("resolve", dir)?;
        Ok(sync_above(&path)?)
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        if !self.is_finished
            && let Err(error) = std::fs::remove_dir_all(&self.path)
        {
            tracing::warn!(path = %self.path.display(), %error, "a directory of an unfinished restore stays");
        }
    }
}
