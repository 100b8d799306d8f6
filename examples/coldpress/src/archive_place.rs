//! Where an archive lies: in a local directory, or below a URL.

use std::fs::{DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use coldpress_std::archive::object_store::ObjectStore;
use coldpress_std::archive::object_store::local::LocalFileSystem;
use coldpress_std::archive::object_store::path::Path as Prefix;
use coldpress_std::archive::{ArchiveError, ArchiveLocation};
use url::Url;

use crate::failure::Failure;

/// The directory of an archive that each backup leaves, by which an archive is known.
const MANIFESTS: &str = "manifests";
/// The one that is there already where the first backup was ended early.
const SEGMENTS: &str = "segments";
/// Objects hold values, so a new archive is for its owner alone.
const MODE: u32 = 0o700;

/// An archive that a command works on.
pub(crate) struct OpenArchive {
    pub(crate) store: Box<dyn ObjectStore>,
    /// Empty for a directory, which is the prefix itself.
    pub(crate) prefix: Prefix,
}

impl OpenArchive {
    /// Opens an archive that is there. Below a URL of a cloud it may have no backups.
    pub(crate) fn find(place: &Path) -> Result<Self, Failure> {
        match Named::of(place)? {
            Named::Dir(dir) => check_dir(&dir, |has| has(MANIFESTS)),
            Named::Url(url) => Self::at_url(&url),
        }
    }

    /// Opens the archive for a backup, or makes it. A directory with anything else in it is refused.
    pub(crate) fn make(place: &Path) -> Result<Self, Failure> {
        let dir = match Named::of(place)? {
            Named::Dir(dir) => dir,
            Named::Url(url) => return Self::at_url(&url),
        };
        match DirBuilder::new().mode(MODE).create(&dir) {
            Ok(()) => sync_parent(&dir)?,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(Failure::at("make", &dir, &error)),
        }
        let is_empty = || dir.read_dir().is_ok_and(|mut entries| entries.next().is_none());
        check_dir(&dir, |has| has(MANIFESTS) || has(SEGMENTS) || is_empty())
    }

    fn at_url(url: &str) -> Result<Self, Failure> {
        let ArchiveLocation { store, prefix, .. } = ArchiveLocation::from_url(url)?;
        Ok(Self { store, prefix })
    }
}

/// An archive as the command line names it.
enum Named {
    Dir(PathBuf),
    Url(String),
}

impl Named {
    fn of(place: &Path) -> Result<Self, Failure> {
        let Some(text) = place.to_str().filter(|text| text.contains("://")) else {
            return Ok(Self::Dir(place.to_path_buf()));
        };
        if text.starts_with("memory:") {
            return Err(Failure::Use(format!("{text} ends with this command: name a directory or a cloud")));
        }
        match Url::parse(text) {
            Ok(url) if url.scheme() == "file" => match url.to_file_path() {
                Ok(dir) => Ok(Self::Dir(dir)),
                Err(()) => Err(Failure::Use(format!("{text} names no local directory, as file:///dir does"))),
            },
            _ => Ok(Self::Url(text.to_owned())),
        }
    }
}

fn check_dir(
    path: &Path,
    is_archive: impl FnOnce(&dyn Fn(&str) -> bool) -> bool,
) -> Result<OpenArchive, Failure> {
    path.read_dir()
        .map_err(|error| Failure::Unreadable(format!("can't list {}: {error}", path.display())))?;
    if !is_archive(&|name| path.join(name).is_dir()) {
        return Err(Failure::Unreadable(format!("{} is no archive", path.display())));
    }
    // A backup is reported once it is on the disk, with all objects that it needs.
    let store = LocalFileSystem::new_with_prefix(path).map_err(ArchiveError::from)?.with_fsync(true);
    Ok(OpenArchive { store: Box::new(store), prefix: Prefix::default() })
}

fn sync_parent(path: &Path) -> Result<(), Failure> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let synced = File::open(parent).and_then(|parent| parent.sync_all());
    synced.map_err(|error| Failure::at("sync", parent, &error))
}
