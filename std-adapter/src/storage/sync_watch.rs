//! Notes outside of the process whether a sync of a file is under way, or something failed.
//!
//! A process that is killed can't tell any more. If it dies between a sync that failed and its own note of that, nobody knows of the
//! failure, and pages that were lost look clean. So the note is made before the sync, and taken back once the sync succeeded.

use std::fs::File;
use std::os::unix::fs::FileExt as _;

use crate::recycled::Lease;

/// The note while a sync is under way, and for good once something failed.
pub(crate) const IN_DOUBT: u8 = b'?';

/// The note while no sync is under way, and nothing failed.
pub(crate) const SOUND: u8 = b'.';

/// The place of one byte in the file `LOCK`, which is the last one of a row.
#[derive(Debug)]
pub(crate) struct SyncWatch {
    locks: Lease<Vec<File>>,
    at: u64,
}

impl SyncWatch {
    pub(crate) const fn new(locks: Lease<Vec<File>>, at: u64) -> Self {
        Self { locks, at }
    }

    pub(super) fn note(&self, state: u8) {
        let write = |files: &Vec<File>| files.last().map(|lock| lock.write_all_at(&[state], self.at));
        // Once the directory is closed nothing is noted: its last note counts.
        if let Ok(Some(Err(error))) = self.locks.enter(write) {
            tracing::debug!(%error, "the state of syncs is not in LOCK");
        }
    }
}
