//! The directory of a tier: its name, its lock, its files.

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

/// The directory of a tier, locked for as long as this value or a [`share`](Self::share_lock) of its lock lives.
#[derive(Debug)]
pub(super) struct Dir {
    path: PathBuf,
    lock: File,
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
    parts: u16,
    has_first: bool,
    has_others: bool,
}

impl Content {
    fn of(path: &Path) -> Result<Self, OpenError> {
        let mut content = Self::default();
        for entry in path.read_dir()? {
            let name = entry?.file_name();
            let name = name.to_string_lossy();
            match name.strip_prefix("part-") {
                Some(rest) if rest.ends_with(".cold") => {
                    content.parts = content.parts.saturating_add(1);
                    content.has_first |= *name == part_name(0);
                }
                Some(rest) if rest.ends_with(".cold.new") => {}
                _ if name == LOCK_NAME => {}
                _ => content.has_others = true,
            }
        }
        Ok(content)
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
        if content.has_others && !content.has_first {
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
        // Until a first file is in place, no one knows whether the names above it were ever made durable.
        if is_new || !content.has_first {
            for parent in path.ancestors().skip(1).filter(|parent| !parent.as_os_str().is_empty()) {
                if sync_dir(parent).is_err() {
                    // What this process may not read it did not make.
                    break;
                }
            }
            sync_dir(base_dir)?;
        }
        Ok(Self { path, lock })
    }

    /// Another hold on the lock: the system lets go of it when the last one is dropped. A worker that outlives its tier keeps
    /// the directory to itself by it.
    pub(super) fn share_lock(&self) -> io::Result<File> {
        self.lock.try_clone()
    }

    /// Opens the file of each partition, or makes them all.
    pub(super) fn open_parts(&self, config: &ColdTierConfig) -> Result<Vec<Box<dyn Medium>>, OpenError> {
        let content = Content::of(&self.path)?;
        let expected = config.settings.partitions;
        if !content.has_first {
            // The first file is put in place last, so without it none was ever used. Where others hold data it was taken
            // away, and nothing is touched.
            if content.parts > 0 && self.holds_data(content.parts, config)? {
                return Err(OpenError::Partitions { expected, found: content.parts });
            }
            self.make_parts(config)?;
        } else if content.parts != expected {
            return Err(OpenError::Partitions { expected, found: content.parts });
        }
        (0..expected).map(|partition| self.open_part(partition, config)).collect()
    }

    fn holds_data(&self, parts: u16, config: &ColdTierConfig) -> Result<bool, OpenError> {
        for partition in 1..=parts {
            let path = self.path.join(part_name(partition));
            if path.exists() {
                let medium = FileMedium::new(File::open(path)?);
                if super::peek::peek(&medium, &config.geometry)?.store.is_some() {
                    return Ok(true);
                }
            }
        }
        Ok(false)
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
        if !super::peek::peek(&medium, &config.geometry)?.is_ours {
            return Err(OpenError::Mount(coldpress_core::tier::MountError::Foreign));
        }
        Ok(Box::new(medium))
    }

    /// Makes all files under other names, durable, then puts them in place, the first one last.
    fn make_parts(&self, config: &ColdTierConfig) -> Result<(), OpenError> {
        let partitions = config.settings.partitions;
        let names =
            |partition| (self.path.join(format!("{}.new", part_name(partition))), part_name(partition));
        for partition in 0..partitions {
            let (new, _) = names(partition);
            let file = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(new)?;
            // Sparse: blocks are taken when segments are written, and given back when they are erased.
            file.set_len(config.geometry.medium_bytes())?;
            let marker = Marker { erases: 0, sequence_issued: 0 };
            FileMedium::new(file.try_clone()?).write_at(0, &marker.encode())?;
            file.sync_all()?;
        }
        for partition in (0..partitions).rev() {
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
}
