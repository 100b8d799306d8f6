//! Calls of the operating system on a file, and the meaning of its errors.

use core::ops::Range;
use std::fs::File;
use std::io;

use coldpress_core::drive::MediumError;

/// Tells whether an error code says that the device or the filesystem lost the bytes.
pub(super) fn is_damage(code: i32) -> bool {
    use rustix::io::Errno;
    [Errno::IO, Errno::ILSEQ].into_iter().any(|damage| damage.raw_os_error() == code)
        || is_damage_on_linux(code)
}

#[cfg(target_os = "linux")]
fn is_damage_on_linux(code: i32) -> bool {
    use rustix::io::Errno;
    [Errno::UCLEAN, Errno::BADMSG].into_iter().any(|damage| damage.raw_os_error() == code)
}

#[cfg(not(target_os = "linux"))]
fn is_damage_on_linux(_: i32) -> bool {
    false
}

/// This is advice: a system that ignores it reads ahead. Reads also need not note their time in the file; only the owner of the file
/// may ask for that.
#[cfg(target_os = "linux")]
pub(super) fn read_no_further(file: &File) {
    let _ = rustix::fs::fadvise(file, 0, None, rustix::fs::Advice::Random);
    let flags = rustix::fs::fcntl_getfl(file);
    let _ = flags.and_then(|flags| rustix::fs::fcntl_setfl(file, flags | rustix::fs::OFlags::NOATIME));
}

#[cfg(not(target_os = "linux"))]
pub(super) fn read_no_further(_: &File) {}

/// Fills a buffer where the system has all of the bytes in memory; tells whether it did. It never waits for the device.
#[cfg(target_os = "linux")]
pub(super) fn read_cached(file: &File, offset: u64, buffer: &mut [u8]) -> bool {
    use rustix::io::{ReadWriteFlags, preadv2};
    let bytes = buffer.len();
    let read = preadv2(file, &mut [io::IoSliceMut::new(buffer)], offset, ReadWriteFlags::NOWAIT);
    // A part of the bytes may be in memory. A filesystem may lack the call, too.
    read == Ok(bytes)
}

#[cfg(not(target_os = "linux"))]
pub(super) fn read_cached(_: &File, _: u64, _: &mut [u8]) -> bool {
    false
}

/// Whether a failed write of a page that no process was notified of fails the next sync of the file, also that of a process which
/// opened it later. Linux does so since 4.17.
#[cfg(target_os = "linux")]
pub(crate) fn reports_unseen_failures() -> bool {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let mut numbers = release.split(['.', '-', '+', '\n']).map_while(|number| number.parse::<u32>().ok());
    (numbers.next(), numbers.next()) >= (Some(4), Some(17))
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn reports_unseen_failures() -> bool {
    false
}

#[cfg(target_os = "linux")]
pub(super) fn forget_cached(file: &File) -> io::Result<()> {
    rustix::fs::fadvise(file, 0, None, rustix::fs::Advice::DontNeed).map_err(io::Error::from)
}

#[cfg(not(target_os = "linux"))]
pub(super) fn forget_cached(_: &File) -> io::Result<()> {
    Ok(())
}

#[cfg(target_os = "linux")]
pub(super) fn punch(file: &File, offset: u64, bytes: u64) -> io::Result<()> {
    use rustix::fs::FallocateFlags;
    let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    let punched = rustix::io::retry_on_intr(|| rustix::fs::fallocate(file, flags, offset, bytes));
    punched.map_err(io::Error::from)
}

#[cfg(target_os = "linux")]
pub(super) fn zero(file: &File, offset: u64, bytes: u64) -> io::Result<()> {
    use rustix::fs::FallocateFlags;
    let flags = FallocateFlags::ZERO_RANGE | FallocateFlags::KEEP_SIZE;
    let zeroed = rustix::io::retry_on_intr(|| rustix::fs::fallocate(file, flags, offset, bytes));
    zeroed.map_err(io::Error::from)
}

#[cfg(not(target_os = "linux"))]
pub(super) fn zero(_file: &File, _offset: u64, _bytes: u64) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

#[cfg(target_os = "linux")]
pub(super) fn reserve(file: &File, offset: u64, bytes: u64) -> io::Result<()> {
    let flags = rustix::fs::FallocateFlags::KEEP_SIZE;
    let reserved = rustix::io::retry_on_intr(|| rustix::fs::fallocate(file, flags, offset, bytes));
    reserved.map_err(io::Error::from)
}

#[cfg(not(target_os = "linux"))]
pub(super) fn reserve(_file: &File, _offset: u64, _bytes: u64) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

#[cfg(not(target_os = "linux"))]
pub(super) fn punch(_file: &File, _offset: u64, _bytes: u64) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// The ranges between the holes of a file. A filesystem that has none says that all of it is data.
#[cfg(target_os = "linux")]
pub(crate) fn data_ranges(file: &File, max: usize) -> Option<Vec<Range<u64>>> {
    use rustix::fs::{SeekFrom, seek};
    let mut ranges = Vec::new();
    let mut at = 0;
    while ranges.len() < max {
        let start = match seek(file, SeekFrom::Data(at)) {
            Ok(start) => start,
            // No data from there on.
            Err(rustix::io::Errno::NXIO) => return Some(ranges),
            Err(_) => return None,
        };
        at = seek(file, SeekFrom::Hole(start)).ok().filter(|end| *end > start)?;
        ranges.push(start..at);
    }
    None
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn data_ranges(_: &File, _: usize) -> Option<Vec<Range<u64>>> {
    None
}

/// Tells whether an error says that the system or the filesystem has no holes; any other one is a failure of the medium.
pub(super) fn is_without_holes(error: &io::Error) -> bool {
    // EOPNOTSUPP and ENOSYS.
    error.kind() == io::ErrorKind::Unsupported
}

/// Tells whether an error says that nothing has this name.
pub(super) fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

/// Sorts an error of the operating system.
pub(crate) fn medium_error(error: &io::Error) -> MediumError {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
            MediumError::NoSpace
        }
        io::ErrorKind::UnexpectedEof => MediumError::Unreadable,
        _ => MediumError::Io,
    }
}
