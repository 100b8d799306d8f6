//! Whether pages of a file that the system keeps in memory may differ from the medium (rule 9).
//!
//! After a sync that failed, a system may keep pages that it could not write, and call them clean. A reader takes them for
//! durable. So a mount drops the pages of a file, unless it knows that no process saw such a failure and kept it for itself.

use core::str::FromStr;
use core::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::time::UNIX_EPOCH;

use super::sync_watch::{IN_DOUBT, SOUND, SyncWatch};

/// The state in which the last process that wrote to a file left it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Left {
    /// Nothing is known, or something failed.
    InDoubt,
    /// It was killed while nothing had failed and no sync was under way. Pages may be dirty; none is lost unless the next sync fails.
    Sound,
    /// It closed the file, with all of it on the medium.
    Settled,
}

/// The doubts about one file while it is open.
#[derive(Debug)]
pub(super) struct CacheDoubt {
    /// Whether a page may be lost that the system calls clean.
    is_doubtful: AtomicBool,
    /// Whether something was changed that no sync covers.
    has_unsynced: AtomicBool,
    /// Where the next process finds out.
    watch: Option<SyncWatch>,
}

impl CacheDoubt {
    pub(super) const fn new(left: Left, watch: Option<SyncWatch>) -> Self {
        Self {
            is_doubtful: AtomicBool::new(matches!(left, Left::InDoubt)),
            has_unsynced: AtomicBool::new(!matches!(left, Left::Settled)),
            watch,
        }
    }

    fn note(&self, state: u8) {
        if let Some(watch) = &self.watch {
            watch.note(state);
        }
    }

    /// Notes that nothing is in doubt, if so.
    fn note_sound(&self) {
        if !self.is_doubtful.load(SeqCst) {
            self.note(SOUND);
            // A change may have failed meanwhile, and its note been overwritten.
            if self.is_doubtful.load(SeqCst) {
                self.note(IN_DOUBT);
            }
        }
    }

    /// Notes the end of a change of the file.
    pub(super) fn changed(&self, is_done: bool) {
        self.has_unsynced.store(true, SeqCst);
        if !is_done {
            self.is_doubtful.store(true, SeqCst);
            self.note(IN_DOUBT);
        }
    }

    /// Runs a sync, one at a time. A change that ends meanwhile may not be covered, and stays noted.
    pub(super) fn while_syncing<E>(&self, sync: impl FnOnce() -> Result<(), E>) -> Result<(), E> {
        self.has_unsynced.store(false, SeqCst);
        self.note(IN_DOUBT);
        let synced = sync();
        match synced {
            Ok(()) => self.note_sound(),
            Err(_) => self.changed(false),
        }
        synced
    }

    /// Drops the pages by a call where there is a doubt.
    pub(super) fn resolve<E>(&self, drop_cache: impl FnOnce() -> Result<(), E>) -> Result<(), E> {
        if self.is_doubtful.load(SeqCst) {
            drop_cache()?;
            self.is_doubtful.store(false, SeqCst);
            self.note_sound();
        }
        Ok(())
    }

    pub(super) fn has_unsynced(&self) -> bool {
        self.has_unsynced.load(SeqCst)
    }

    /// Whether every page in memory is on the medium.
    pub(super) fn is_settled(&self) -> bool {
        !self.is_doubtful.load(SeqCst) && !self.has_unsynced()
    }
}

/// A file as it was at some moment: any change of its bytes, and any other file under its name, has another state.
///
/// The time of the last change has the resolution of the system, a few milliseconds at worst.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FileState {
    device: u64,
    inode: u64,
    /// When the file was made, in nanoseconds since 1970; 0 where the filesystem does not know.
    made_ns: u64,
    bytes: u64,
    changed_s: i64,
    changed_ns: i64,
}

impl FileState {
    pub(crate) fn of(file: &File) -> io::Result<Self> {
        let metadata = file.metadata()?;
        let made = metadata.created().ok().and_then(|made| made.duration_since(UNIX_EPOCH).ok());
        Ok(Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            made_ns: made.map_or(0, |made| u64::try_from(made.as_nanos()).unwrap_or(0)),
            bytes: metadata.len(),
            changed_s: metadata.ctime(),
            changed_ns: metadata.ctime_nsec(),
        })
    }

    /// Whether both are states of one file.
    pub(crate) fn is_same_file(&self, other: &Self) -> bool {
        (self.device, self.inode, self.made_ns) == (other.device, other.inode, other.made_ns)
    }
}

impl core::fmt::Display for FileState {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let Self { device, inode, made_ns, bytes, changed_s, changed_ns } = self;
        write!(f, "{device} {inode} {made_ns} {bytes} {changed_s} {changed_ns}")
    }
}

/// Text that is no state of a file.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct NoFileState;

impl FromStr for FileState {
    type Err = NoFileState;

    fn from_str(text: &str) -> Result<Self, NoFileState> {
        fn next<'a, T: FromStr>(fields: &mut impl Iterator<Item = &'a str>) -> Result<T, NoFileState> {
            fields.next().and_then(|field| field.parse().ok()).ok_or(NoFileState)
        }
        let mut fields = text.split(' ');
        let fields = &mut fields;
        let state = Self {
            device: next(fields)?,
            inode: next(fields)?,
            made_ns: next(fields)?,
            bytes: next(fields)?,
            changed_s: next(fields)?,
            changed_ns: next(fields)?,
        };
        if fields.next().is_none() { Ok(state) } else { Err(NoFileState) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::FileExt as _;

    #[test]
    fn failed_change_or_sync_leaves_a_doubt_that_syncs_keep() {
        let failures: [fn(&CacheDoubt); 2] =
            [|doubt| doubt.changed(false), |doubt| assert_eq!(doubt.while_syncing(|| Err(())), Err(()))];
        for fails in failures {
            let doubt = CacheDoubt::new(Left::Settled, None);
            assert!(doubt.is_settled());
            doubt.changed(true);
            assert!(!doubt.is_settled() && doubt.has_unsynced());
            assert_eq!(doubt.while_syncing(|| Ok::<_, ()>(())), Ok(()));
            assert!(doubt.is_settled());
            fails(&doubt);
            assert_eq!(doubt.while_syncing(|| Ok::<_, ()>(())), Ok(()));
            assert!(!doubt.is_settled() && !doubt.has_unsynced(), "a later sync proves nothing");
            assert_eq!(doubt.resolve(|| Err(())), Err(()));
            assert!(!doubt.is_settled());
            assert_eq!(doubt.resolve(|| Ok::<_, ()>(())), Ok(()));
            assert!(doubt.is_settled());
            assert_eq!(doubt.resolve(|| Err(())), Ok(()), "nothing is dropped without a doubt");
        }
    }

    #[test]
    fn change_that_ends_during_a_sync_is_not_covered() {
        let doubt = CacheDoubt::new(Left::Settled, None);
        let sync = || {
            doubt.changed(true);
            Ok::<_, ()>(())
        };
        assert_eq!(doubt.while_syncing(sync), Ok(()));
        assert!(doubt.has_unsynced() && !doubt.is_settled());
        for left in [Left::InDoubt, Left::Sound] {
            let doubt = CacheDoubt::new(left, None);
            assert!(doubt.has_unsynced() && !doubt.is_settled());
            assert_eq!(doubt.while_syncing(|| Ok::<_, ()>(())), Ok(()));
            assert_eq!(doubt.is_settled(), left == Left::Sound);
        }
    }

    #[test]
    fn file_state_survives_its_text_and_differs_after_a_change() {
        let file = tempfile::tempfile().unwrap();
        file.write_all_at(b"before", 0).unwrap();
        let state = FileState::of(&file).unwrap();
        assert_eq!(state.to_string().parse(), Ok(state));
        assert_eq!(FileState::of(&file).unwrap(), state);
        std::thread::sleep(core::time::Duration::from_millis(20));
        file.write_all_at(b"change", 0).unwrap();
        let changed = FileState::of(&file).unwrap();
        assert!(changed != state && changed.is_same_file(&state));
        assert!(!FileState::of(&tempfile::tempfile().unwrap()).unwrap().is_same_file(&state));
        for text in ["", "1", "1 2 3 4 5", "1 2 3 4 5 6 7", "1 2 3 4 5 x", "-1 2 3 4 5 6", "1  2 3 4 5 6"] {
            assert_eq!(text.parse::<FileState>(), Err(NoFileState), "{text:?}");
        }
    }

    #[test]
    fn note_is_in_doubt_during_a_sync_and_after_a_failure() {
        use crate::recycled::Recycler;
        static LOCKS: Recycler<Vec<File>> = Recycler::new();
        let lock = tempfile::tempfile().unwrap();
        lock.write_all_at(b"watch x", 0).unwrap();
        let locks = LOCKS.lend(vec![lock.try_clone().unwrap()]);
        let seen = || {
            let mut byte = [0];
            lock.read_exact_at(&mut byte, 6).unwrap();
            byte[0]
        };
        let doubt = CacheDoubt::new(Left::InDoubt, Some(SyncWatch::new(locks, 6)));
        let sync = |result: Result<(), ()>| {
            let synced = doubt.while_syncing(|| {
                assert_eq!(seen(), IN_DOUBT);
                result
            });
            assert_eq!(synced, result);
            seen()
        };
        assert_eq!(sync(Ok(())), IN_DOUBT, "the pages were not dropped yet");
        assert_eq!((doubt.resolve(|| Ok::<_, ()>(())), seen()), (Ok(()), SOUND));
        doubt.changed(true);
        assert_eq!((seen(), sync(Ok(())), sync(Err(())), sync(Ok(()))), (SOUND, SOUND, IN_DOUBT, IN_DOUBT));
        assert_eq!((doubt.resolve(|| Ok::<_, ()>(())), seen()), (Ok(()), SOUND));
        doubt.changed(false);
        assert_eq!((seen(), sync(Ok(()))), (IN_DOUBT, IN_DOUBT));
        locks.give_back();
        assert_eq!((doubt.resolve(|| Ok::<_, ()>(())), seen()), (Ok(()), IN_DOUBT), "it is closed");
    }
}
