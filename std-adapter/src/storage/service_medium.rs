//! The calls that a service makes on a medium, beside the machine's.

use core::ops::Range;
use core::time::Duration;

use coldpress_core::drive::{Medium, Started};

use super::medium_failure::MediumFailure;

/// The first wait for the end of an operation, and the longest: each is twice the one before.
const PAUSES: Range<Duration> = Duration::from_micros(50)..Duration::from_millis(5);

/// A [`Medium`] that several threads use, each through a view of its own.
///
/// A call that fails returns an error and promises nothing about its bytes. A call may block; the tier makes none while it
/// holds a lock that another operation needs. After [`Started::UnderWay`] the thread that owns the view waits: the log worker
/// or the syncer. Reads of clients go on meanwhile, through another view.
///
/// A segment that was erased reads as zero, and any byte can be written by itself.
#[expect(clippy::len_without_is_empty, reason = "a medium has a length in bytes, and none is empty")]
#[doc(alias = "StorageManager")]
pub trait ServiceMedium: Medium<Error = MediumFailure> + Send + Sync {
    /// Fills `bytes` from `at` on, as [`read`](Medium::read) does, for any number of threads at once.
    ///
    /// # Errors
    /// [`Unreadable`](coldpress_core::drive::MediumError::Unreadable) where the bytes can't be read back.
    fn read_shared(&self, at: u64, bytes: &mut [u8]) -> Result<(), MediumFailure>;

    /// As [`read_shared`](Self::read_shared), without a wait for the device. `Ok(false)` says that the read would wait: then nothing
    /// is known of `bytes`.
    ///
    /// Futures read so first, and let a thread of the tier read the rest. By default every read would wait; a medium in memory
    /// reads at once.
    ///
    /// # Errors
    /// As for [`read_shared`](Self::read_shared).
    fn read_cached(&self, at: u64, bytes: &mut [u8]) -> Result<bool, MediumFailure> {
        let _ = (at, bytes);
        Ok(false)
    }

    /// Makes another view of the same medium: a write, erase or sync may be under way in each of them.
    ///
    /// A sync through one view makes durable all that any view has written and erased by then. Once a write or an erase has ended,
    /// reads through every view show it.
    ///
    /// # Errors
    /// A [`MediumFailure`] when the system has no handle left.
    fn another_view(&self) -> Result<Box<dyn ServiceMedium>, MediumFailure>;

    /// Returns the length in bytes.
    ///
    /// # Errors
    /// A [`MediumFailure`].
    fn len(&self) -> Result<u64, MediumFailure>;

    /// Makes reads show what the medium holds, not what a cache in front of it does. Called once, before a mount. A medium may keep
    /// what its cache holds where it knows that all of that is on the medium.
    ///
    /// After a sync that failed in an earlier process, a system may keep pages that it could not write and call them clean.
    /// A mount that took them for durable would free the older versions they supersede (rule 9).
    ///
    /// # Errors
    /// A [`MediumFailure`]: then the medium can't be trusted, and is not mounted.
    fn refresh(&mut self) -> Result<(), MediumFailure> {
        Ok(())
    }

    /// Makes durable what no sync covers yet. Called once, behind the last write of an orderly close, and answers nobody: all records
    /// are durable by then, and footers may not be. A medium whose next [`refresh`](Self::refresh) can tell that all of its cache
    /// was written need not drop it.
    fn settle(&mut self) {}

    /// As [`erase`](Medium::erase), waits for its end, and keeps the space that the bytes occupied, so that they can be written
    /// on a full disk. Tells whether it kept it: where the medium can't do both at once, another process may take the space.
    ///
    /// # Errors
    /// A [`MediumFailure`]; any part may have been erased.
    fn erase_and_keep(&mut self, at: u64, bytes: u64) -> Result<bool, MediumFailure> {
        let erased = self.erase(at, bytes)?;
        self.wait_for(erased)?;
        let allocated = self.allocate(at, bytes).and_then(|started| self.wait_for(started));
        Ok(allocated.is_ok())
    }

    /// Gives back the space that blank bytes occupy, where the medium can. It never fails: space that is not given back is used
    /// later.
    fn give_back(&mut self, at: u64, bytes: u64) {
        let _ = (at, bytes);
    }

    /// Tells whether the medium still is the one under its name, and whole. A file may be deleted, moved, replaced or cut short
    /// while it is open. Then the next open does not find data that is synced to it. A tier asks before it acknowledges
    /// anything as durable, so the call must be cheap.
    ///
    /// # Errors
    /// A [`MediumFailure`] when that can't be found out now.
    fn is_in_place(&self) -> Result<bool, MediumFailure> {
        Ok(true)
    }

    /// Returns the bytes that are really occupied, where that is known.
    fn occupied_bytes(&self) -> Option<u64> {
        None
    }

    /// Returns the ranges of bytes that may hold anything but zeroes, in their order, where that is known and there are at most `max`.
    /// Asked before anything is written, so that a mount need not read the rest.
    fn data_ranges(&self, max: usize) -> Option<Vec<Range<u64>>> {
        let _ = max;
        None
    }

    /// Waits for the end of the operation under way.
    ///
    /// By default it asks [`is_done`](Medium::is_done), and sleeps in between, for 50 microseconds at first and up to 5 milliseconds.
    /// A medium that learns of the end by a channel or an interrupt waits for that instead.
    ///
    /// # Errors
    /// The [`MediumFailure`] of the operation.
    fn wait_done(&mut self) -> Result<(), MediumFailure> {
        let mut pause = PAUSES.start;
        loop {
            if let Some(result) = self.is_done() {
                return result;
            }
            std::thread::sleep(pause);
            pause = PAUSES.end.min(pause * 2);
        }
    }

    /// Waits for an operation that was just submitted, unless it is done.
    ///
    /// # Errors
    /// As for [`wait_done`](Self::wait_done).
    fn wait_for(&mut self, started: Started) -> Result<(), MediumFailure> {
        match started {
            Started::Done => Ok(()),
            Started::UnderWay => self.wait_done(),
        }
    }
}
