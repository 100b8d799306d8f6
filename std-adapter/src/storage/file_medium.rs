//! A file as the medium of a tier's log.

use core::ops::Range;
use core::sync::atomic::Ordering::Relaxed;
use core::sync::atomic::{AtomicBool, AtomicU64};
use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use coldpress_core::drive::{Medium, MediumError, Started};

use super::cache_doubt::{CacheDoubt, FileState, Left};
use super::medium_failure::MediumFailure;
use super::service_medium::ServiceMedium;
use super::sync_watch::SyncWatch;
use super::system::{
    data_ranges, forget_cached, is_absent, is_damage, is_without_holes, medium_error, punch, read_cached,
    read_no_further, reserve, zero,
};
use crate::clock::monotonic_ms;
use crate::file_error::FileError;

/// Bytes written at a time where a hole can't be punched.
static ZEROES: [u8; 64 << 10] = [0; 64 << 10];

/// Bytes at the front of a blank segment that stay allocated: its erase marker is there.
pub(crate) const MARKER_BLOCK_BYTES: u64 = 4096;

/// A file, sparse where segments are free.
///
/// ```
/// use coldpress_std::medium::{FileMedium, Medium, Started};
/// let file = tempfile::tempfile()?;
/// file.set_len(1 << 16)?;
/// let mut medium = FileMedium::new(file);
/// assert_eq!(medium.write(4096, b"cold")?, Started::Done);
/// let mut back = [0; 4];
/// medium.read(4096, &mut back)?;
/// assert_eq!(&back, b"cold");
/// assert_eq!(medium.erase(4096, 4096)?, Started::Done);
/// medium.read(4096, &mut back)?;
/// assert_eq!(back, [0; 4]);
/// # Ok::<(), Box<dyn core::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct FileMedium {
    file: File,
    name: Option<Name>,
    /// When a failure was last logged, in milliseconds, and one more; 0 where none was.
    logged_ms: AtomicU64,
    /// Whether a write lacked space. From then on, where the filesystem can't allocate ahead, zeroes are written to find out
    /// whether there is space.
    is_tight: AtomicBool,
    doubt: CacheDoubt,
}

/// Failures are logged at most so often, in milliseconds: a dead disk fails every read.
const TELL_MS: u64 = 1_000;

/// The name of a file, and how long it is when it is whole.
#[derive(Debug, Clone)]
struct Name {
    path: PathBuf,
    bytes: u64,
}

impl FileMedium {
    /// Takes a file as it is, and asks the system not to read ahead. The neighbours of a record are seldom wanted, and
    /// sequential reads use large pieces.
    #[must_use]
    pub fn new(file: File) -> Self {
        read_no_further(&file);
        let (logged_ms, is_tight) = (AtomicU64::new(0), AtomicBool::new(false));
        Self { file, name: None, logged_ms, is_tight, doubt: CacheDoubt::new(Left::InDoubt, None) }
    }

    /// As [`new`](Self::new), for a file that must stay under its name, and at least this long.
    pub(crate) fn named(file: File, path: PathBuf, bytes: u64) -> Self {
        Self { name: Some(Name { path, bytes }), ..Self::new(file) }
    }

    /// Says how the last process left the file, and where the next one finds that out.
    pub(crate) fn with_past(self, left: Left, watch: Option<SyncWatch>) -> Self {
        Self { doubt: CacheDoubt::new(left, watch), ..self }
    }

    /// The state of the file.
    pub(crate) fn state(&self) -> Option<FileState> {
        FileState::of(&self.file).ok()
    }

    /// The state of the file, where all that it holds is durable. `None` where it may not be.
    pub(crate) fn settled_state(&self) -> Option<FileState> {
        if self.doubt.is_settled() { self.state() } else { None }
    }

    /// Opens another view of the same file.
    pub(crate) fn try_clone(&self) -> io::Result<Self> {
        let (file, name) = (self.file.try_clone()?, self.name.clone());
        let is_tight = AtomicBool::new(self.is_tight.load(Relaxed));
        Ok(Self {
            file,
            name,
            logged_ms: AtomicU64::new(0),
            is_tight,
            doubt: CacheDoubt::new(Left::InDoubt, None),
        })
    }

    /// Unlocks the file, whoever else has it open.
    pub(crate) fn unlock(&self) {
        let _ = self.file.unlock();
    }

    /// As [`ServiceMedium::is_in_place`], with the system's own error.
    pub(crate) fn has_its_place(&self) -> io::Result<bool> {
        let Some(name) = &self.name else { return Ok(true) };
        let own = self.file.metadata()?;
        let is_named = match std::fs::metadata(&name.path) {
            Ok(found) => (own.dev(), own.ino()) == (found.dev(), found.ino()),
            Err(error) if is_absent(&error) => false,
            // A process that gave up its rights may not look at the name. Whether any name is left for the file is known all
            // the same.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => own.nlink() > 0,
            Err(error) => return Err(error),
        };
        Ok(is_named && own.len() >= name.bytes)
    }

    /// Classifies an error of the system, keeps it, and logs it.
    fn failed(&self, operation: &'static str, error: &io::Error) -> MediumFailure {
        self.failed_as(medium_error(error), operation, error)
    }

    /// As [`failed`](Self::failed), for a failure that is expected on a full disk: it is not logged.
    fn failed_quietly(&self, operation: &'static str, error: &io::Error) -> MediumFailure {
        MediumFailure::new(medium_error(error), FileError::new(operation, self.path(), error))
    }

    /// The name of the file, for messages.
    fn path(&self) -> &Path {
        self.name.as_ref().map_or(Path::new("(a file without a name)"), |name| &name.path)
    }

    fn failed_as(&self, kind: MediumError, operation: &'static str, error: &io::Error) -> MediumFailure {
        let path = self.path();
        let (now_ms, logged_ms) = (monotonic_ms().saturating_add(1), self.logged_ms.load(Relaxed));
        if logged_ms == 0 || now_ms >= logged_ms.saturating_add(TELL_MS) {
            self.logged_ms.store(now_ms, Relaxed);
            let path = path.display();
            tracing::warn!(%path, code = error.raw_os_error(), "can't {operation} {path}: {error}");
        }
        MediumFailure::new(kind, FileError::new(operation, path, error))
    }

    fn write_zeroes(&self, offset: u64, bytes: u64) -> Result<(), MediumFailure> {
        let end = offset.saturating_add(bytes);
        let mut at = offset;
        while at < end {
            let step = (end - at).min(ZEROES.len() as u64);
            let piece = usize::try_from(step).ok().and_then(|n| ZEROES.get(..n)).unwrap_or(&ZEROES);
            self.write_at(at, piece)?;
            at += step;
        }
        Ok(())
    }

    /// Refuses to write to a file that was cut short: the write would make it as long as before, with zeroes in place of the
    /// bytes cut off.
    fn check_length(&self) -> Result<(), MediumFailure> {
        match &self.name {
            Some(name) if self.len()? < name.bytes => Err(MediumError::Unreadable.into()),
            _ => Ok(()),
        }
    }
}

/// The operations, through a file that is shared: each is over when its call returns.
impl FileMedium {
    pub(super) fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), MediumFailure> {
        self.file.read_exact_at(buffer, offset).map_err(|error| match error.raw_os_error() {
            // The bytes are gone, or were never there; anything else may pass.
            None => MediumError::Unreadable.into(),
            Some(code) if is_damage(code) => self.failed_as(MediumError::Unreadable, "read", &error),
            Some(_) => self.failed("read", &error),
        })
    }

    /// As [`ServiceMedium::read_cached`]. An error is left to the read that may wait: it finds it too, and logs it.
    pub(super) fn read_cached_at(&self, offset: u64, buffer: &mut [u8]) -> Result<bool, MediumFailure> {
        Ok(read_cached(&self.file, offset, buffer))
    }

    pub(crate) fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<(), MediumFailure> {
        self.check_length()?;
        let written = self.file.write_all_at(bytes, offset).map_err(|error| self.failed("write", &error));
        self.doubt.changed(written.is_ok());
        if written.as_ref().is_err_and(|failure| failure.kind() == MediumError::NoSpace) {
            self.is_tight.store(true, Relaxed);
        }
        written
    }

    pub(super) fn sync_data(&self) -> Result<(), MediumFailure> {
        let sync = || self.file.sync_data().map_err(|error| self.failed("sync", &error));
        self.doubt.while_syncing(sync)
    }

    /// As [`ServiceMedium::refresh`].
    pub(super) fn drop_doubtful_cache(&self) -> Result<(), MediumFailure> {
        // Only clean pages are dropped, so pages that an earlier process left unwritten are written first.
        self.sync_data()?;
        let drop_cache =
            || forget_cached(&self.file).map_err(|error| self.failed("drop the cache of", &error));
        self.doubt.resolve(drop_cache)
    }

    /// As [`ServiceMedium::settle`].
    pub(super) fn sync_the_rest(&self) {
        if self.doubt.has_unsynced() {
            // A failure leaves a doubt, and the next open drops the pages.
            let _ = self.sync_data();
        }
    }

    pub(super) fn erase_at(&self, offset: u64, bytes: u64) -> Result<(), MediumFailure> {
        match punch(&self.file, offset, bytes) {
            Err(error) if is_without_holes(&error) => {}
            punched => {
                self.doubt.changed(punched.is_ok());
                return punched.map_err(|error| self.failed("punch a hole into", &error));
            }
        }
        // Written zeroes read like a hole; they only keep their space.
        self.write_zeroes(offset, bytes)
    }

    /// As [`ServiceMedium::erase_and_keep`].
    pub(super) fn zero_at(&self, offset: u64, bytes: u64) -> Result<bool, MediumFailure> {
        match zero(&self.file, offset, bytes) {
            Ok(()) => {
                self.doubt.changed(true);
                Ok(true)
            }
            // The filesystem has no such call, or no space for parts of the range that were never written.
            Err(error) if is_without_holes(&error) || medium_error(&error) == MediumError::NoSpace => {
                self.erase_at(offset, bytes)?;
                Ok(self.allocate_at(offset, bytes).is_ok())
            }
            Err(error) => {
                self.doubt.changed(false);
                Err(self.failed("write zeroes to", &error))
            }
        }
    }

    pub(super) fn allocate_at(&self, offset: u64, bytes: u64) -> Result<(), MediumFailure> {
        let allocated = match reserve(&self.file, offset, bytes) {
            Err(error) if is_without_holes(&error) && self.is_tight.load(Relaxed) => {
                // Behind the marker, which stays.
                let marker = MARKER_BLOCK_BYTES.min(bytes);
                self.write_zeroes(offset + marker, bytes - marker)
            }
            Err(error) if is_without_holes(&error) => Ok(()),
            allocated => allocated.map_err(|error| self.failed_quietly("allocate space of", &error)),
        };
        // Without space nothing was lost: the bytes are as blank as before.
        self.doubt.changed(true);
        if allocated.is_err() {
            // Some filesystems keep the part that they had space for.
            let marker = MARKER_BLOCK_BYTES.min(bytes);
            self.give_back_at(offset + marker, bytes - marker);
        }
        allocated
    }

    pub(super) fn give_back_at(&self, offset: u64, bytes: u64) {
        if bytes == 0 {
            return;
        }
        let punched = punch(&self.file, offset, bytes);
        self.doubt.changed(true);
        if let Err(error) = punched
            && !is_without_holes(&error)
        {
            tracing::debug!(%error, offset, bytes, "blank bytes keep their space");
        }
    }
}

impl Medium for FileMedium {
    type Error = MediumFailure;

    fn read(&mut self, at: u64, bytes: &mut [u8]) -> Result<(), MediumFailure> {
        self.read_at(at, bytes)
    }

    fn write(&mut self, at: u64, bytes: &[u8]) -> Result<Started, MediumFailure> {
        self.write_at(at, bytes).map(|()| Started::Done)
    }

    fn erase(&mut self, at: u64, bytes: u64) -> Result<Started, MediumFailure> {
        self.erase_at(at, bytes).map(|()| Started::Done)
    }

    fn sync(&mut self) -> Result<Started, MediumFailure> {
        self.sync_data().map(|()| Started::Done)
    }

    fn allocate(&mut self, at: u64, bytes: u64) -> Result<Started, MediumFailure> {
        self.allocate_at(at, bytes).map(|()| Started::Done)
    }
}

impl ServiceMedium for FileMedium {
    fn read_shared(&self, at: u64, bytes: &mut [u8]) -> Result<(), MediumFailure> {
        self.read_at(at, bytes)
    }

    fn read_cached(&self, at: u64, bytes: &mut [u8]) -> Result<bool, MediumFailure> {
        self.read_cached_at(at, bytes)
    }

    fn refresh(&mut self) -> Result<(), MediumFailure> {
        self.drop_doubtful_cache()
    }

    fn settle(&mut self) {
        self.sync_the_rest();
    }

    fn erase_and_keep(&mut self, at: u64, bytes: u64) -> Result<bool, MediumFailure> {
        self.zero_at(at, bytes)
    }

    fn give_back(&mut self, at: u64, bytes: u64) {
        self.give_back_at(at, bytes);
    }

    fn len(&self) -> Result<u64, MediumFailure> {
        self.file.metadata().map(|metadata| metadata.len()).map_err(|error| self.failed("look at", &error))
    }

    fn is_in_place(&self) -> Result<bool, MediumFailure> {
        self.has_its_place().map_err(|error| self.failed("look at", &error))
    }

    fn occupied_bytes(&self) -> Option<u64> {
        // st_blocks counts units of 512 bytes, whatever the block size is.
        self.file.metadata().ok().map(|metadata| metadata.blocks().saturating_mul(512))
    }

    fn data_ranges(&self, max: usize) -> Option<Vec<Range<u64>>> {
        data_ranges(&self.file, max)
    }

    fn another_view(&self) -> Result<Box<dyn ServiceMedium>, MediumFailure> {
        let view = self.try_clone().map_err(|error| self.failed("open another view of", &error))?;
        Ok(Box::new(view))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn written_range_erased_reads_zero_and_keeps_the_length() {
        let file = tempfile::tempfile().unwrap();
        file.set_len(1 << 20).unwrap();
        let medium = FileMedium::new(file);
        medium.write_at(0, &[9; 1 << 18]).unwrap();
        medium.erase_at(1 << 16, 1 << 16).unwrap();
        let mut back = vec![1; 1 << 16];
        medium.read_at(1 << 16, &mut back).unwrap();
        assert!(back.iter().all(|byte| *byte == 0));
        medium.read_at(0, &mut back).unwrap();
        assert!(back.iter().all(|byte| *byte == 9));
        assert_eq!(medium.len(), Ok(1 << 20));
    }

    #[test]
    fn data_of_a_sparse_file_is_found_and_all_else_reads_zero() {
        let file = tempfile::tempfile().unwrap();
        file.set_len(1 << 30).unwrap();
        let medium = FileMedium::new(file);
        assert_eq!(medium.data_ranges(8), Some(Vec::new()), "this filesystem has no holes");
        for at in [3 << 20, 900 << 20, (1 << 30) - 1] {
            medium.write_at(at, b"x").unwrap();
        }
        let is_within = |at: u64| medium.data_ranges(8).unwrap().iter().any(|range| range.contains(&at));
        // Not synced, and there all the same.
        assert!([3 << 20, 900 << 20, (1 << 30) - 1].into_iter().all(is_within));
        assert!(!is_within(500 << 20) && !is_within(0));
        assert_eq!(medium.data_ranges(2), None, "more of them than asked for");
        medium.erase_at(0, 1 << 30).unwrap();
        assert_eq!(medium.data_ranges(8), Some(Vec::new()));
    }

    #[test]
    fn erase_that_fails_is_an_error_and_writes_no_zeroes() {
        use rustix::io::Errno;
        // It has no holes to punch, and takes all zeroes of the world.
        let file = File::options().write(true).open("/dev/null").unwrap();
        assert_eq!(FileMedium::new(file).erase_at(0, 4096), Err(MediumError::Io.into()));
        let is_without_holes = |errno: Errno| is_without_holes(&errno.into());
        assert!([Errno::OPNOTSUPP, Errno::NOTSUP, Errno::NOSYS].into_iter().all(is_without_holes));
        let failures = [Errno::IO, Errno::NOSPC, Errno::PERM, Errno::BADF, Errno::INVAL, Errno::NODEV];
        assert!(!failures.into_iter().any(is_without_holes));
    }

    #[test]
    fn file_deleted_moved_replaced_or_cut_is_not_in_place() {
        let dir = tempfile::tempdir().unwrap();
        let (path, moved) = (dir.path().join("a"), dir.path().join("b"));
        let open = || {
            let file =
                File::options().read(true).write(true).create(true).truncate(false).open(&path).unwrap();
            file.set_len(4096).unwrap();
            FileMedium::named(file, path.clone(), 4096)
        };
        let medium = open();
        let clone = medium.another_view().unwrap();
        assert_eq!((medium.is_in_place(), clone.is_in_place()), (Ok(true), Ok(true)));
        std::fs::rename(&path, &moved).unwrap();
        assert_eq!((medium.is_in_place(), clone.is_in_place()), (Ok(false), Ok(false)));
        let other = open();
        assert_eq!((medium.is_in_place(), other.is_in_place()), (Ok(false), Ok(true)));
        std::fs::rename(&moved, &path).unwrap();
        assert_eq!((medium.is_in_place(), other.is_in_place()), (Ok(true), Ok(false)));
        File::options().write(true).open(&path).unwrap().set_len(4095).unwrap();
        assert_eq!(medium.is_in_place(), Ok(false));
        assert_eq!(
            medium.write_at(4000, &[1; 96]),
            Err(MediumError::Unreadable.into()),
            "it would be whole again"
        );
        drop(dir);
        assert_eq!(medium.is_in_place(), Ok(false));
    }

    #[test]
    fn bytes_beyond_the_end_are_unreadable() {
        let medium = FileMedium::new(tempfile::tempfile().unwrap());
        assert_eq!(medium.read_at(0, &mut [0; 1]), Err(MediumError::Unreadable.into()));
    }

    #[test]
    fn full_disk_is_distinct_from_other_failures() {
        assert_eq!(medium_error(&io::ErrorKind::StorageFull.into()), MediumError::NoSpace);
        assert_eq!(medium_error(&io::ErrorKind::BrokenPipe.into()), MediumError::Io);
    }

    /// The messages of events.
    static LOGGED: std::sync::Mutex<Vec<String>> = std::sync::Mutex::new(Vec::new());

    struct Message(String);

    impl tracing::field::Visit for Message {
        fn record_debug(&mut self, field: &tracing::field::Field, value: &dyn core::fmt::Debug) {
            if field.name() == "message" {
                self.0 = format!("{value:?}");
            }
        }
    }

    struct Telling;

    impl<S: tracing::Subscriber> tracing_subscriber::Layer<S> for Telling {
        fn on_event(&self, event: &tracing::Event<'_>, _: tracing_subscriber::layer::Context<'_, S>) {
            let mut message = Message(String::new());
            event.record(&mut message);
            LOGGED.lock().unwrap().push(message.0);
        }
    }

    #[test]
    fn failure_is_logged_with_path_and_code_once_a_second() {
        use tracing_subscriber::layer::SubscriberExt as _;
        // It has no space, whatever is written.
        let path = PathBuf::from("/dev/full");
        let file = File::options().write(true).open(&path).unwrap();
        tracing::subscriber::with_default(tracing_subscriber::registry().with(Telling), || {
            let medium = FileMedium::named(file, path, 0);
            for _ in 0..50 {
                assert_eq!(medium.write_at(0, b"x"), Err(MediumError::NoSpace.into()));
            }
        });
        let logged = LOGGED.lock().unwrap();
        assert_eq!(logged[0], "can't write /dev/full: No space left on device (os error 28)");
        assert!(logged.len() < 50, "{logged:?}");
    }
}
