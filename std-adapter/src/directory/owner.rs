//! The process that has a tier open: its number lies in the file `LOCK`, and the lock tells whether it still holds.
//!
//! A process that dies leaves its number behind. This does no harm, since only the lock decides. The file also tells
//! the next open how its [last use](Note) went.

use core::time::Duration;
use std::fs::{File, TryLockError};
use std::io::{self, Read as _};
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use super::last_use::Note;
use crate::errors::InUse;
use crate::file_error::{AtPath as _, FileError};

pub(crate) const LOCK_NAME: &str = "LOCK";

/// Bytes of the longest number and its end of line.
pub(crate) const PID_BYTES_MAX: u64 = 11;

/// How often an open tries a lock that is held: [`in_use`] holds it for an instant.
const TRIES: u32 = 5;
const BETWEEN_TRIES: Duration = Duration::from_millis(2);

/// Locks a file for this process alone.
pub(crate) fn try_lock(file: &File) -> Result<(), TryLockError> {
    for _ in 1..TRIES {
        match file.try_lock() {
            Err(TryLockError::WouldBlock) => std::thread::sleep(BETWEEN_TRIES),
            done => return done,
        }
    }
    file.try_lock()
}

/// Writes the number of this process into `LOCK`, which is locked, and the note behind it. A failure is harmless: others are refused
/// without a number.
pub(crate) fn sign(lock: &File, note: &Note) {
    write(lock, &note.text_in_use(std::process::id()));
}

/// Takes the number of this process out of `LOCK`, before the lock is released, and leaves a note in its place.
pub(crate) fn unsign(lock: &File, note: &Note) {
    write(lock, &note.text_closed());
}

/// The text comes first, and then its length: a program that copies the file meanwhile finds the line about it, in a note that is not
/// whole.
fn write(lock: &File, text: &str) {
    let written = lock.write_all_at(text.as_bytes(), 0).and_then(|()| lock.set_len(text.len() as u64));
    if let Err(error) = written {
        tracing::debug!(%error, "LOCK does not tell how its files are used");
    }
}

/// The process in `LOCK` of a tier that is locked.
pub(crate) fn holder(dir: &Path) -> InUse {
    let mut text = String::new();
    let read =
        File::open(dir.join(LOCK_NAME)).and_then(|file| file.take(PID_BYTES_MAX).read_to_string(&mut text));
    let pid = read.ok().and_then(|_| text.lines().next()?.parse().ok());
    InUse::new(dir, pid)
}

/// Tells whether a process has the tier of a directory open for writing, and which.
///
/// The lock is taken together with other readers for an instant, and nothing is changed.
pub(crate) fn in_use(dir: &Path) -> Result<Option<InUse>, FileError> {
    let file = match File::open(dir.join(LOCK_NAME)) {
        // A copy of a tier has no `LOCK`, and that of another user may be unreadable: the directory is locked too.
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied) => {
            File::open(dir).at("open", dir)?
        }
        file => file.at("open", &dir.join(LOCK_NAME))?,
    };
    let locked = file.try_lock_shared();
    let _ = file.unlock();
    match locked {
        Ok(()) => Ok(None),
        Err(TryLockError::WouldBlock) => Ok(Some(holder(dir))),
        Err(TryLockError::Error(error)) => {
            tracing::debug!(%error, path = %dir.display(), "not locked");
            Ok(None)
        }
    }
}
