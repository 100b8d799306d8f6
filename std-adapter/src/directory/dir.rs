//! The directory of a tier: its name, its locks, its files.
//!
//! Locks lie on what they protect: on the directory and on the file of each partition. The file `LOCK` has one too, for
//! filesystems that lock no directories; deleting it, or any other name, frees nothing.

mod parts;

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs::{File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use coldpress_core::recovery::MountError;

use self::parts::as_stored;
use super::last_use::{LastUse, Note};
use super::lock_identity::LockIdentity;
use super::log_digest::LogDigest;
use super::meta::{META_NEW_NAME, Meta};
use super::owner;
use super::owner::{LOCK_NAME, holder};
use super::reshape;
use super::reshape::Stored;
use super::views::Views;
use crate::config::{CACHE_ID_BYTES_MAX, ColdTierConfig};
use crate::errors::OpenError;
use crate::file_error::{AtPath as _, FileError};
use crate::recycled::{Held, Lease, Recycler};
use crate::storage::{FileMedium, META_NAME, Mode, SharedFile, make_dirs, sync_above, sync_dir};

static LOCKS: Recycler<Vec<File>> = Recycler::new();

/// The directory of a tier, locked for as long as this value lives.
#[derive(Debug)]
pub(crate) struct Dir {
    /// Absolute, without links: the process may move to another working directory.
    path: PathBuf,
    mode: Mode,
    is_read_only: bool,
    /// The directory and the file `LOCK`, as far as they are locked; a tier that is only read may have no `LOCK`.
    locks: Lease<Vec<File>>,
    opening: Box<PartsOpening>,
    /// The files of the partitions.
    parts: Vec<SharedFile>,
    is_left: bool,
    noted: Box<Noted>,
}

/// The facts that a note in `LOCK` states beside those about files.
#[derive(Debug, Default)]
struct Noted {
    /// The file `LOCK` itself, where it is written to.
    lock: Option<LockIdentity>,
    /// The logs of the partitions, once all are closed.
    logs: Vec<Option<LogDigest>>,
}

/// The state of a directory whose partitions are being opened.
#[derive(Debug, Default)]
struct PartsOpening {
    /// Views of the files of the partitions.
    files: Vec<File>,
    /// How the last use of them went.
    last_use: LastUse,
}

/// The files that a worker keeps open and locked until it ends: nobody else opens the tier before.
pub(crate) struct Hold {
    _locks: Held<Vec<File>>,
    _part: Held<FileMedium>,
}

impl Drop for Dir {
    fn drop(&mut self) {
        // Unlocked explicitly, since closing the file is not enough: a process that another thread starts at this moment
        // inherits all open files, and holds the lock until it runs its own program.
        if !self.is_left {
            let unlock = |files: &Vec<File>| files.iter().for_each(|file| drop(file.unlock()));
            unlock(&self.opening.files);
            self.parts.iter().copied().for_each(SharedFile::unlock);
            if !self.is_read_only {
                let logs = self.noted.logs.iter().copied().chain(core::iter::repeat(None));
                let files = self.parts.iter().map(|part| part.settled_state()).zip(logs);
                let note = Note { last_use: LastUse::settled(files), lock: self.noted.lock };
                // The last one is `LOCK`.
                self.locks.look_behind(|files| files.last().map(|lock| unsign(lock, note)));
            }
            self.locks.look_behind(unlock);
        } else if !self.is_read_only {
            // Without states: later syncs of a worker that did not end are noted nowhere.
            let note = Note { last_use: LastUse::Unknown, lock: self.noted.lock };
            self.locks.look_behind(|files| files.last().map(|lock| sign(lock, note)));
        }
        // A worker that did not end keeps its file and the locks until it does.
        self.parts.iter().copied().for_each(SharedFile::close);
        self.locks.give_back();
    }
}

/// Tells whether a cache id is a plain name.
pub(crate) fn is_plain(cache_id: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    (1..=CACHE_ID_BYTES_MAX).contains(&cache_id.len())
        && !cache_id.starts_with('.')
        && cache_id.bytes().all(is_allowed)
}

/// The name of a partition's file.
pub(crate) fn part_name(partition: u16) -> String {
    format!("part-{partition:03}.cold")
}

/// The name of a partition's file until it is whole and durable.
pub(crate) fn part_new_name(partition: u16) -> String {
    format!("{}.new", part_name(partition))
}

/// The content of a directory.
#[derive(Debug, Default)]
pub(crate) struct Content {
    /// The numbers of the partitions whose files are there.
    parts: BTreeSet<u16>,
    /// The names of files that were to take the place of a partition's.
    unfinished: Vec<OsString>,
    /// The name of a file that is like a partition's and is none.
    stray: Option<OsString>,
    has_others: bool,
}

impl Content {
    pub(crate) fn of(path: &Path) -> Result<Self, OpenError> {
        let mut content = Self::default();
        for entry in path.read_dir().at("list", path)? {
            let entry_name = entry.at("list", path)?.file_name();
            let name = entry_name.to_string_lossy();
            match name.strip_prefix("part-") {
                Some(rest) if rest.ends_with(".cold.new") => content.unfinished.push(entry_name),
                Some(rest) if rest.ends_with(".cold") => {
                    let number = rest.strip_suffix(".cold").and_then(|number| number.parse().ok());
                    match number.filter(|number| *name == part_name(*number)) {
                        Some(number) => {
                            content.parts.insert(number);
                        }
                        None => content.stray = Some(entry_name),
                    }
                }
                _ if [LOCK_NAME, META_NAME, META_NEW_NAME].contains(&&*name) => {}
                _ => content.has_others = true,
            }
        }
        Ok(content)
    }

    /// The numbers of the partitions whose files are there, in their order.
    pub(crate) fn parts(&self) -> impl Iterator<Item = u16> {
        self.parts.iter().copied()
    }

    /// Refuses a directory without a tier, and one where a file of a known number of partitions is missing.
    pub(crate) fn check(&self, path: &Path, known: u16) -> Result<(), OpenError> {
        if let Some(stray) = &self.stray {
            return Err(OpenError::StrayPartition(path.join(stray)));
        }
        if let Some(missing) = self.missing(known) {
            return Err(OpenError::MissingPartition(path.join(part_name(missing))));
        }
        let there = u16::try_from(self.parts.len()).unwrap_or(u16::MAX);
        match (there, known) {
            (0, _) => Err(OpenError::Foreign(path.to_path_buf())),
            (found, expected) if ![0, found].contains(&expected) => {
                Err(OpenError::Partitions { expected, found })
            }
            _ => Ok(()),
        }
    }

    fn has_first(&self) -> bool {
        self.parts.contains(&0)
    }

    /// The lowest partition whose file is missing: a higher one has its file, or the tier is known to have so many partitions.
    fn missing(&self, known: u16) -> Option<u16> {
        let last = self.parts.last().map_or(known, |last| known.max(*last));
        (0..last).find(|partition| !self.parts.contains(partition))
    }
}

/// Locks a file of the tier, or its directory.
fn try_lock(file: &File, path: &Path) -> Result<(), OpenError> {
    owner::try_lock(file).map_err(|error| match error {
        TryLockError::WouldBlock => OpenError::AlreadyOpen(holder(path)),
        TryLockError::Error(error) => OpenError::Io(FileError::new("lock", path, &error)),
    })
}

/// As [`try_lock`], for a lock that readers share. A file system without locks, as a read-only one may be, keeps nobody out.
fn try_lock_shared(file: &File, path: &Path) -> Result<(), OpenError> {
    match file.try_lock_shared() {
        Ok(()) => Ok(()),
        Err(TryLockError::WouldBlock) => Err(OpenError::AlreadyOpen(holder(path))),
        Err(TryLockError::Error(error)) => {
            tracing::debug!(%error, path = %path.display(), "not locked");
            Ok(())
        }
    }
}

/// Maps the error of a file that can't be written to one that advises to open the tier for reading only.
fn not_writable(error: FileError) -> OpenError {
    match error.kind() {
        io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::PermissionDenied => OpenError::NotWritable(error),
        _ => OpenError::Io(error),
    }
}

impl Dir {
    /// Makes the directory where there is none, and locks it. A directory with other files than a tier's is refused
    /// untouched.
    pub(crate) fn lock(
        base_dir: &Path,
        cache_id: &str,
        mode: Mode,
        config: &ColdTierConfig,
    ) -> Result<Self, OpenError> {
        if !is_plain(cache_id) {
            return Err(OpenError::CacheId);
        }
        if base_dir.as_os_str().is_empty() {
            return Err(OpenError::NoBaseDir);
        }
        let path = base_dir.join(cache_id);
        if !path.exists() {
            // Before anything is made.
            check_file_size_limit(config.geometry.medium_bytes())?;
        }
        let path = make_dirs(&path, mode)?;
        let content = Content::of(&path)?;
        // A lock file proves nothing: other programs use the same name.
        if content.has_others && !content.has_first() {
            return Err(OpenError::Foreign(path));
        }
        let mut held = Vec::new();
        let itself = File::open(&path).at("open", &path)?;
        match try_lock(&itself, &path) {
            Ok(()) => held.push(itself),
            // Some network filesystems lock files only: LOCK does it there.
            Err(OpenError::Io(error)) => tracing::debug!(%error, "the directory can't be locked"),
            Err(error) => return Err(error),
        }
        mode.warn_if_more_open(&path);
        let lock = mode.open_or_make(&path.join(LOCK_NAME));
        let lock = lock.map_err(if content.has_first() { not_writable } else { OpenError::Io })?;
        try_lock(&lock, &path)?;
        let note = Note::read(&lock);
        // The note of a copy that is refused stays, so that it is refused again.
        note.check_copy(&lock, &path, part_name)?;
        let identity = LockIdentity::of(&lock).ok();
        sign(&lock, Note { last_use: LastUse::Unknown, lock: identity });
        held.push(lock);
        let mut dir = Self::of(path, mode, held, false);
        (dir.opening.last_use, dir.noted.lock) = (note.last_use, identity);
        // Until a first file is in place, no one knows whether the names above it were ever made durable.
        if !content.has_first() {
            sync_above(&dir.path)?;
        }
        Ok(dir)
    }

    /// Takes the directory of a tier that is only read: nothing in it is made or changed. Others may read it too. A writer
    /// keeps readers out, and readers keep a writer out.
    pub(crate) fn look_into(base_dir: &Path, cache_id: &str, mode: Mode) -> Result<Self, OpenError> {
        if !is_plain(cache_id) {
            return Err(OpenError::CacheId);
        }
        if base_dir.as_os_str().is_empty() {
            return Err(OpenError::NoBaseDir);
        }
        let path = base_dir.join(cache_id);
        let path = path.canonicalize().at("open the directory", &path)?;
        let content = Content::of(&path)?;
        if content.has_others && !content.has_first() {
            return Err(OpenError::Foreign(path));
        }
        let mut held = Vec::new();
        for name in [&path, &path.join(LOCK_NAME)] {
            match File::open(name) {
                Ok(file) => {
                    try_lock_shared(&file, &path)?;
                    if !file.metadata().is_ok_and(|metadata| metadata.is_dir()) {
                        Note::read(&file).check_copy(&file, &path, part_name)?;
                    }
                    held.push(file);
                }
                // A copy of a tier has no `LOCK`, and that of another user may be unreadable. The files of the partitions are
                // locked too.
                Err(error) => tracing::debug!(%error, path = %name.display(), "not locked"),
            }
        }
        Ok(Self::of(path, mode, held, true))
    }

    fn of(path: PathBuf, mode: Mode, locked: Vec<File>, is_read_only: bool) -> Self {
        let (locks, opening) = (LOCKS.lend(locked), Box::default());
        let (parts, noted) = (Vec::new(), Box::default());
        Self { path, mode, is_read_only, locks, opening, parts, is_left: false, noted }
    }

    /// Notes that the files are in use. From then on their syncs are noted there, too.
    fn note_use(&self) {
        if self.is_read_only {
            return;
        }
        let in_use = LastUse::in_use(self.parts.iter().map(|part| part.state()));
        let note = Note { last_use: in_use, lock: self.noted.lock };
        // The last one is `LOCK`.
        let _ = self.locks.enter(|files| files.last().map(|lock| sign(lock, note)));
    }

    /// Notes the logs of all partitions as they were closed, in their order.
    pub(crate) fn note_logs(&mut self, logs: Vec<Option<LogDigest>>) {
        self.noted.logs = logs;
    }

    /// The path of the directory, without links and relative parts.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// A hold on the locks and the file of a partition, for its worker. A worker that outlives its tier keeps others out of the
    /// directory by it: see [`leave`](Self::leave).
    pub(crate) fn hold(&self, partition: u16) -> Option<Hold> {
        let part = self.parts.get(usize::from(partition))?;
        Some(Hold { _locks: self.locks.hold().ok()?, _part: part.hold()? })
    }

    /// Leaves the locks to workers that did not end: the system releases them when the last worker closes its files.
    pub(crate) fn leave(&mut self) {
        self.is_left = true;
    }

    /// Opens and locks the file of each partition, or makes them all, and brings them to the shape configured. A file that is there is
    /// never made anew, unless it holds nothing. Returns the configuration with the segments that the tier has.
    pub(crate) fn open_parts(
        &mut self,
        config: &ColdTierConfig,
    ) -> Result<(Vec<Views>, ColdTierConfig), OpenError> {
        let content = Content::of(&self.path)?;
        if let Some(stray) = content.stray {
            return Err(OpenError::StrayPartition(self.path.join(stray)));
        }
        let meta = Meta::read(&self.path)?;
        let expected = config.settings.partitions;
        let known = meta.as_ref().map_or(0, |meta| meta.partitions);
        if self.is_read_only && content.parts.is_empty() {
            let path = self.path.join(part_name(0));
            let absent = io::ErrorKind::NotFound.into();
            return Err(FileError::new("find", &path, &absent).into());
        } else if !content.has_first() && known == 0 && !self.is_read_only {
            check_file_size_limit(config.geometry.medium_bytes())?;
            self.check_unused(&content, config)?;
            self.make_parts(config, &content.parts)?;
        } else if let Some(missing) = content.missing(known) {
            return Err(OpenError::MissingPartition(self.path.join(part_name(missing))));
        } else {
            let there = u16::try_from(content.parts.len()).unwrap_or(u16::MAX);
            if let Some(found) = [there, known].into_iter().find(|found| ![0, expected].contains(found)) {
                return Err(OpenError::Partitions { expected, found });
            }
        }
        if let Some(meta) = meta {
            // Before the mount: a tier of another schema is left untouched. Whether one without a schema is empty is not known yet.
            meta.settled(config, true)?;
        }
        if !self.is_read_only {
            self.remove_unfinished(&content.unfinished);
        }
        let parts: Result<Vec<_>, _> = (0..expected).map(|partition| self.hold_part(partition)).collect();
        let parts = parts?;
        let stored = parts.iter().find_map(|part| part.stored.shape());
        let config =
            if self.is_read_only { as_stored(config, &parts)? } else { reshape::settle(config, stored) };
        let parts = self.reshape_parts(parts, &config)?;
        let views = parts.into_iter().map(|part| self.views(part, &config)).collect::<Result<_, _>>()?;
        self.note_use();
        *self.opening = PartsOpening::default();
        Ok((views, config))
    }

    /// Removes files that an interrupted change of the capacity left. Where that fails they only take space.
    fn remove_unfinished(&self, names: &[OsString]) {
        for name in names {
            let path = self.path.join(name);
            match std::fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    tracing::warn!(%error, path = %path.display(), "a file that was not finished stays");
                }
                _ => {}
            }
        }
    }

    /// Checks that the files found belong to the store in the metadata. A blank or emptied tier draws a new store, whose number
    /// is durable before anything is written under it.
    pub(crate) fn settle_store(
        &self,
        config: &ColdTierConfig,
        store_id: u64,
        is_new: bool,
    ) -> Result<(), OpenError> {
        let meta = Meta::read(&self.path)?.unwrap_or_default();
        if is_new && self.is_read_only {
            return Ok(());
        }
        if is_new {
            let partitions = config.settings.partitions;
            return Meta { partitions, store_id, ..meta }.write(&self.path, self.mode).map_err(not_writable);
        }
        if ![0, store_id].contains(&meta.store_id) {
            return Err(OpenError::Mount(MountError::OtherStore));
        }
        Ok(())
    }

    /// Settles the schema of a mounted tier, and makes the metadata durable.
    pub(crate) fn settle(
        &self,
        config: &ColdTierConfig,
        store_id: u64,
        is_empty: bool,
    ) -> Result<(), OpenError> {
        let found = Meta::read(&self.path)?;
        let before = found.clone().unwrap_or_default();
        let schema = before.settled(config, is_empty)?;
        let meta = Meta { partitions: config.settings.partitions, schema, store_id };
        if found.as_ref() == Some(&meta) || self.is_read_only {
            return Ok(());
        }
        match meta.write(&self.path, self.mode) {
            // Without a schema the metadata only list the files: the next open writes them.
            Err(error) if meta.schema.is_none() && before.schema.is_none() => {
                tracing::warn!(%error, path = %self.path.display(), "the metadata of the tier was not written");
                Ok(())
            }
            written => written.map_err(not_writable),
        }
    }

    /// Checks that no file was ever used. The first file is put in place last. So where it is missing, the making was cut
    /// short, unless another file holds data: then the first one was taken away.
    fn check_unused(&self, content: &Content, config: &ColdTierConfig) -> Result<(), OpenError> {
        let missing = || OpenError::MissingPartition(self.path.join(part_name(0)));
        if content.parts.last().is_some_and(|last| *last >= config.settings.partitions) {
            return Err(missing());
        }
        for partition in &content.parts {
            let (path, file) = self.open_part(*partition)?;
            let bytes = file.metadata().at("look at", &path)?.len();
            // A file made for another capacity and never used is made anew.
            if Stored::of(&path) == Stored::Unused && bytes != config.geometry.medium_bytes() {
                continue;
            }
            let seen = self.peek(&path, &file, config)?;
            if seen.store.is_some() {
                return Err(missing());
            }
            // It may hold data all the same.
            seen.check_read(config.geometry.segment_count())?;
        }
        Ok(())
    }

    /// Makes the files that are not there under other names, durable, then puts them in place, the first one last.
    fn make_parts(&self, config: &ColdTierConfig, there: &BTreeSet<u16>) -> Result<(), OpenError> {
        let made = || (0..config.settings.partitions).filter(|partition| !there.contains(partition));
        let names = |partition| (self.path.join(part_new_name(partition)), part_name(partition));
        for partition in made() {
            reshape::make(&names(partition).0, &config.geometry, self.mode)?;
        }
        for partition in made().rev() {
            let (new, name) = names(partition);
            std::fs::rename(&new, self.path.join(name)).at("rename", &new)?;
        }
        sync_dir(&self.path)?;
        Ok(())
    }
}

/// Signs `LOCK`, as far as it may be written: a limit on the length of files would end the process.
fn sign(lock: &File, note: Note) {
    if let Some(note) = writable(note, |note| note.text_in_use(std::process::id())) {
        owner::sign(lock, &note);
    }
}

/// Leaves a note in `LOCK`, in the same way.
fn unsign(lock: &File, note: Note) {
    match writable(note, Note::text_closed) {
        Some(note) => owner::unsign(lock, &note),
        None => drop(lock.set_len(0)),
    }
}

/// The note, without states where it were too long, or none.
fn writable(note: Note, text: impl Fn(&Note) -> String) -> Option<Note> {
    let may_write = |note: &Note| check_file_size_limit(text(note).len() as u64).is_ok();
    let shorter = Note { last_use: LastUse::Unknown, lock: note.lock };
    [note, shorter].into_iter().find(may_write)
}

/// Refuses files that are longer than this process may write: a signal would end it at the first write beyond the limit.
fn check_file_size_limit(needed_bytes: u64) -> Result<(), OpenError> {
    match rustix::process::getrlimit(rustix::process::Resource::Fsize).current {
        Some(limit_bytes) if limit_bytes < needed_bytes => {
            Err(OpenError::FileSizeLimit { needed_bytes, limit_bytes })
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::MediumError;

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
    fn lock_released_by_name_is_free_and_one_dropped_is_not() {
        let base = tempfile::tempdir().unwrap();
        let config = ColdTierConfig::builder().capacity_bytes(4 << 20).build().unwrap();
        let lock = || Dir::lock(base.path(), "t", Mode::new(0o600), &config);
        let dir = lock().unwrap();
        // Inherited files, as a process has that was started meanwhile.
        let copy = |files: &Vec<File>| files.iter().map(|file| file.try_clone().unwrap()).collect::<Vec<_>>();
        let held = dir.locks.enter(copy).unwrap();
        assert!(matches!(lock(), Err(OpenError::AlreadyOpen(_))));
        drop(dir);
        let mut dir = lock().unwrap();
        drop(held);
        assert!(matches!(lock(), Err(OpenError::AlreadyOpen(_))));
        let held = dir.locks.hold().unwrap();
        dir.leave();
        drop(dir);
        assert!(matches!(lock(), Err(OpenError::AlreadyOpen(_))), "its worker is not over");
        drop(held);
        lock().unwrap();
    }

    #[test]
    fn released_partition_files_are_free_despite_copies() {
        let base = tempfile::tempdir().unwrap();
        let config = ColdTierConfig::builder().capacity_bytes(4 << 20).partitions(2).build().unwrap();
        let open = || {
            let mut dir = Dir::lock(base.path(), "t", Mode::new(0o600), &config)?;
            let (media, _) = dir.open_parts(&config)?;
            Ok::<_, OpenError>((dir, media))
        };
        let (dir, _media) = open().unwrap();
        // Inherited files, as a process has that was started meanwhile.
        let copies: Vec<_> = dir.parts.iter().map(|part| part.hold().unwrap().try_clone()).collect();
        drop(dir);
        let (mut dir, mut again) = open().unwrap();
        drop(copies);
        // A worker that is stuck keeps its file, and nothing else where LOCK was deleted.
        let held: Vec<_> = dir.parts.iter().map(|part| part.hold().unwrap()).collect();
        std::fs::remove_file(base.path().join("t").join(LOCK_NAME)).unwrap();
        dir.leave();
        drop(dir);
        assert!(matches!(open(), Err(OpenError::AlreadyOpen(_))), "its worker is not over");
        assert_eq!(
            again[0].worker.write(0, b"late"),
            Err(MediumError::Io.into()),
            "no call begins after the close"
        );
        drop(held);
        open().unwrap();
    }
}
