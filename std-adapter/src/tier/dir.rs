//! The directory of a tier: its name, its lock, its files.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use coldpress_core::log::Marker;

use super::config::ColdTierConfig;
use super::error::OpenError;
use crate::medium::{FileMedium, Medium};

/// The longest cache id.
///
/// A cache id is the name of the tier's directory: letters, digits, `.`, `_` and `-`, not beginning with `.`, so it leads
/// nowhere else and means the same on every filesystem that tells case apart.
pub const CACHE_ID_BYTES_MAX: usize = 64;

const LOCK_NAME: &str = "LOCK";

/// The directory of a tier, locked for as long as this value lives.
#[derive(Debug)]
pub(super) struct Dir {
    path: PathBuf,
    lock: File,
    is_left: bool,
}

impl Drop for Dir {
    fn drop(&mut self) {
        // Said, not left to the closing of the file: a process that another thread starts just now holds everything that is open
        // here until it runs its own program, and the lock with it.
        if !self.is_left {
            let _ = self.lock.unlock();
        }
    }
}

fn is_plain(cache_id: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    (1..=CACHE_ID_BYTES_MAX).contains(&cache_id.len())
        && !cache_id.starts_with('.')
        && cache_id.bytes().all(is_allowed)
}

/// The name of a partition's file.
fn part_name(partition: u16) -> String {
    format!("part-{partition:03}.cold")
}

/// What lies in a directory.
#[derive(Debug, Default)]
struct Content {
    /// The numbers of the partitions whose files are there.
    parts: BTreeSet<u16>,
    /// The name of a file that is like a partition's and is none.
    stray: Option<OsString>,
    has_others: bool,
}

impl Content {
    fn of(path: &Path) -> Result<Self, OpenError> {
        let mut content = Self::default();
        for entry in path.read_dir()? {
            let entry_name = entry?.file_name();
            let name = entry_name.to_string_lossy();
            match name.strip_prefix("part-") {
                Some(rest) if rest.ends_with(".cold.new") => {}
                Some(rest) if rest.ends_with(".cold") => {
                    let number = rest.strip_suffix(".cold").and_then(|number| number.parse().ok());
                    match number.filter(|number| *name == part_name(*number)) {
                        Some(number) => {
                            content.parts.insert(number);
                        }
                        None => content.stray = Some(entry_name),
                    }
                }
                _ if name == LOCK_NAME => {}
                _ => content.has_others = true,
            }
        }
        Ok(content)
    }

    fn has_first(&self) -> bool {
        self.parts.contains(&0)
    }

    /// The lowest partition whose file is not there although that of a higher one is.
    fn missing(&self) -> Option<u16> {
        let last = *self.parts.last()?;
        (0..last).find(|partition| !self.parts.contains(partition))
    }
}

impl Dir {
    /// Makes the directory where there is none, and locks it. A directory with other files than a tier's is refused
    /// untouched.
    pub(super) fn lock(base_dir: &Path, cache_id: &str) -> Result<Self, OpenError> {
        if !is_plain(cache_id) {
            return Err(OpenError::CacheId);
        }
        let path = base_dir.join(cache_id);
        let is_new = !path.exists();
        std::fs::create_dir_all(&path)?;
        let content = Content::of(&path)?;
        // A lock file proves nothing: others call theirs the same.
        if content.has_others && !content.has_first() {
            return Err(OpenError::Foreign(path));
        }
        let lock = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path.join(LOCK_NAME))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(OpenError::AlreadyOpen(path)),
            Err(TryLockError::Error(error)) => return Err(OpenError::Io(error)),
        }
        let dir = Self { path, lock, is_left: false };
        // Until a first file is in place, no one knows whether the names above it were ever made durable.
        if is_new || !content.has_first() {
            for parent in dir.path.ancestors().skip(1).filter(|parent| !parent.as_os_str().is_empty()) {
                if sync_dir(parent).is_err() {
                    // What this process may not read it did not make.
                    break;
                }
            }
            sync_dir(base_dir)?;
        }
        Ok(dir)
    }

    /// Another hold on the lock. A worker that outlives its tier keeps the directory to itself by it: see [`leave`](Self::leave).
    pub(super) fn share_lock(&self) -> io::Result<File> {
        self.lock.try_clone()
    }

    /// Leaves the lock to workers that have a hold on it and did not end: the system lets go of it when the last one is dropped.
    pub(super) fn leave(&mut self) {
        self.is_left = true;
    }

    /// Opens the file of each partition, or makes them all. A file that is there is never made anew.
    pub(super) fn open_parts(&self, config: &ColdTierConfig) -> Result<Vec<Box<dyn Medium>>, OpenError> {
        let content = Content::of(&self.path)?;
        if let Some(stray) = content.stray {
            return Err(OpenError::StrayPartition(self.path.join(stray)));
        }
        let expected = config.settings.partitions;
        if !content.has_first() {
            self.check_unused(&content, config)?;
            self.make_parts(config, &content.parts)?;
        } else if let Some(missing) = content.missing() {
            return Err(OpenError::MissingPartition(self.path.join(part_name(missing))));
        } else if content.parts.len() != usize::from(expected) {
            let found = u16::try_from(content.parts.len()).unwrap_or(u16::MAX);
            return Err(OpenError::Partitions { expected, found });
        }
        (0..expected).map(|partition| self.open_part(partition, config)).collect()
    }

    /// Checks that no file was ever used. The first one is put in place last, so without it the others are what is left of a
    /// making that was cut short, unless one holds data: then the first one was taken away.
    fn check_unused(&self, content: &Content, config: &ColdTierConfig) -> Result<(), OpenError> {
        let missing = || OpenError::MissingPartition(self.path.join(part_name(0)));
        if content.parts.last().is_some_and(|last| *last >= config.settings.partitions) {
            return Err(missing());
        }
        for partition in &content.parts {
            let medium = self.open_part(*partition, config)?;
            let seen = super::peek::peek(&*medium, &config.geometry)?;
            if seen.store.is_some() {
                return Err(missing());
            }
            // It may hold data all the same.
            seen.check_read(config.geometry.segment_count())?;
        }
        Ok(())
    }

    fn open_part(&self, partition: u16, config: &ColdTierConfig) -> Result<Box<dyn Medium>, OpenError> {
        let path = self.path.join(part_name(partition));
        let file = OpenOptions::new().read(true).write(true).open(&path)?;
        let found_bytes = file.metadata()?.len();
        let expected_bytes = config.geometry.medium_bytes();
        let medium = FileMedium::new(file);
        if found_bytes != expected_bytes {
            // A file of another length may be ours with another capacity, or nobody's: either way it stays.
            return Err(OpenError::Geometry { expected_bytes, found_bytes });
        }
        let seen = super::peek::peek(&medium, &config.geometry)?;
        if !seen.is_ours {
            seen.check_read(config.geometry.segment_count())?;
            return Err(OpenError::Mount(coldpress_core::tier::MountError::Foreign));
        }
        Ok(Box::new(medium))
    }

    /// Makes the files that are not there under other names, durable, then puts them in place, the first one last.
    fn make_parts(&self, config: &ColdTierConfig, there: &BTreeSet<u16>) -> Result<(), OpenError> {
        let made = || (0..config.settings.partitions).filter(|partition| !there.contains(partition));
        let names =
            |partition| (self.path.join(format!("{}.new", part_name(partition))), part_name(partition));
        for partition in made() {
            let (new, _) = names(partition);
            let file = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(new)?;
            // Sparse: blocks are taken when segments are written, and given back when they are erased.
            file.set_len(config.geometry.medium_bytes())?;
            let marker = Marker { erases: 0, sequence_issued: 0 };
            FileMedium::new(file.try_clone()?).write_at(0, &marker.encode())?;
            file.sync_all()?;
        }
        for partition in made().rev() {
            let (new, name) = names(partition);
            std::fs::rename(new, self.path.join(name))?;
        }
        sync_dir(&self.path)?;
        Ok(())
    }
}

/// Makes the names in a directory durable.
fn sync_dir(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cache_ids_that_lead_elsewhere_are_refused() {
        for id in ["", ".", "..", ".hidden", "a/b", "../a", "a\\b", "a b", "é", "a\0b", &"x".repeat(65)] {
            assert!(!is_plain(id), "{id:?}");
        }
        for id in ["a", "sessions-2.v1_x", &"x".repeat(64)] {
            assert!(is_plain(id), "{id:?}");
        }
    }

    #[test]
    fn lock_let_go_is_free_whoever_holds_its_file_and_one_that_is_left_is_not() {
        let base = tempfile::tempdir().unwrap();
        let lock = || Dir::lock(base.path(), "t");
        let dir = lock().unwrap();
        // As a process does that was started meanwhile.
        let held = dir.share_lock().unwrap();
        assert!(matches!(lock(), Err(OpenError::AlreadyOpen(_))));
        drop(dir);
        let mut dir = lock().unwrap();
        drop(held);
        assert!(matches!(lock(), Err(OpenError::AlreadyOpen(_))));
        let held = dir.share_lock().unwrap();
        dir.leave();
        drop(dir);
        assert!(matches!(lock(), Err(OpenError::AlreadyOpen(_))), "its worker is not over");
        drop(held);
        lock().unwrap();
    }
}
