//! The file of a partition, opened once for all of its threads.

use core::ops::Range;

use coldpress_core::drive::{Medium, MediumError, Started};

use super::cache_doubt::FileState;
use super::file_medium::FileMedium;
use super::medium_failure::MediumFailure;
use super::service_medium::ServiceMedium;
use crate::recycled::{Held, Lease, Recycler};

static FILES: Recycler<FileMedium> = Recycler::new();

/// A view of a file; all views are copies of one [lease](crate::recycled), which each call enters.
///
/// The directory that opened the file closes it. A call that is stuck keeps it open, and locked, until it is over; one that begins
/// after the close fails.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SharedFile(Lease<FileMedium>);

impl SharedFile {
    pub(crate) fn open(file: FileMedium) -> Self {
        Self(FILES.lend(file))
    }

    /// Keeps the file open for as long as a worker may use it.
    pub(crate) fn hold(self) -> Option<Held<FileMedium>> {
        self.0.hold().ok()
    }

    /// Unlocks the file, whoever else has it open.
    pub(crate) fn unlock(self) {
        self.0.look_behind(FileMedium::unlock);
    }

    /// As [`FileMedium::state`].
    pub(crate) fn state(self) -> Option<FileState> {
        self.0.enter(FileMedium::state).ok().flatten()
    }

    /// As [`FileMedium::settled_state`].
    pub(crate) fn settled_state(self) -> Option<FileState> {
        self.0.look_behind(FileMedium::settled_state).flatten()
    }

    /// Closes the file, at once or when nobody is in it any more.
    pub(crate) fn close(self) {
        self.0.give_back();
    }

    fn enter<R>(
        self,
        call: impl FnOnce(&FileMedium) -> Result<R, MediumFailure>,
    ) -> Result<R, MediumFailure> {
        self.0.enter(call).unwrap_or_else(|_| Err(MediumError::Io.into()))
    }
}

impl Medium for SharedFile {
    type Error = MediumFailure;

    fn read(&mut self, at: u64, bytes: &mut [u8]) -> Result<(), MediumFailure> {
        self.read_shared(at, bytes)
    }

    fn write(&mut self, at: u64, bytes: &[u8]) -> Result<Started, MediumFailure> {
        self.enter(|file| file.write_at(at, bytes)).map(|()| Started::Done)
    }

    fn erase(&mut self, at: u64, bytes: u64) -> Result<Started, MediumFailure> {
        self.enter(|file| file.erase_at(at, bytes)).map(|()| Started::Done)
    }

    fn sync(&mut self) -> Result<Started, MediumFailure> {
        self.enter(FileMedium::sync_data).map(|()| Started::Done)
    }

    fn allocate(&mut self, at: u64, bytes: u64) -> Result<Started, MediumFailure> {
        self.enter(|file| file.allocate_at(at, bytes)).map(|()| Started::Done)
    }
}

impl ServiceMedium for SharedFile {
    fn read_shared(&self, at: u64, bytes: &mut [u8]) -> Result<(), MediumFailure> {
        self.enter(|file| file.read_at(at, bytes))
    }

    fn read_cached(&self, at: u64, bytes: &mut [u8]) -> Result<bool, MediumFailure> {
        self.enter(|file| file.read_cached_at(at, bytes))
    }

    fn another_view(&self) -> Result<Box<dyn ServiceMedium>, MediumFailure> {
        Ok(Box::new(*self))
    }

    fn len(&self) -> Result<u64, MediumFailure> {
        self.enter(FileMedium::len)
    }

    fn refresh(&mut self) -> Result<(), MediumFailure> {
        self.enter(FileMedium::drop_doubtful_cache)
    }

    fn settle(&mut self) {
        // A file that is closed has nothing to sync.
        let _ = self.0.enter(FileMedium::sync_the_rest);
    }

    fn erase_and_keep(&mut self, at: u64, bytes: u64) -> Result<bool, MediumFailure> {
        self.enter(|file| file.zero_at(at, bytes))
    }

    fn give_back(&mut self, at: u64, bytes: u64) {
        // In a file that is closed no space has to be given back.
        let _ = self.0.enter(|file| file.give_back_at(at, bytes));
    }

    fn is_in_place(&self) -> Result<bool, MediumFailure> {
        self.enter(FileMedium::is_in_place)
    }

    fn occupied_bytes(&self) -> Option<u64> {
        self.0.enter(FileMedium::occupied_bytes).ok().flatten()
    }

    fn data_ranges(&self, max: usize) -> Option<Vec<Range<u64>>> {
        self.0.enter(|file| file.data_ranges(max)).ok().flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn views_of_a_closed_file_fail_and_reach_no_other_file() {
        let open = |byte: u8| {
            let file = FileMedium::new(tempfile::tempfile().unwrap());
            file.write_at(0, &[byte; 8]).unwrap();
            SharedFile::open(file)
        };
        let read = |view: &dyn ServiceMedium| {
            let mut bytes = [0; 8];
            view.read_shared(0, &mut bytes).map(|()| bytes[0])
        };
        let first = open(1);
        let mut view = first.another_view().unwrap();
        assert_eq!((read(&first), read(&*view)), (Ok(1), Ok(1)));
        first.close();
        let second = open(2);
        assert_eq!(
            (read(&first), read(&*view), read(&second)),
            (Err(MediumError::Io.into()), Err(MediumError::Io.into()), Ok(2))
        );
        assert_eq!(view.write(0, &[3]), Err(MediumError::Io.into()));
        assert!(view.sync().is_err() && view.len().is_err() && view.is_in_place().is_err());
        assert_eq!((view.occupied_bytes(), view.data_ranges(8)), (None, None));
        assert_eq!(read(&second), Ok(2));
        second.close();
    }

    #[test]
    fn file_is_open_until_the_last_who_holds_it_is_over() {
        let shared = SharedFile::open(FileMedium::new(tempfile::tempfile().unwrap()));
        let held = [shared.hold().unwrap(), shared.hold().unwrap()];
        shared.close();
        assert!(shared.hold().is_none() && shared.len().is_err());
        for held in held {
            assert_eq!(held.len(), Ok(0));
        }
        assert_eq!(shared.0.look_behind(|_| ()), None);
    }
}
