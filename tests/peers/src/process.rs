//! Figures of this process and of the files of a store, as Linux counts them.

use std::fs::{self, File};
use std::io;
use std::path::Path;

use rustix::fs::{Advice, fadvise};
use rustix::param::clock_ticks_per_second;

/// Bytes of a block in the count of `stat`.
const BLOCK_BYTES: u64 = 512;

/// Bytes that this process caused to be written to the disk so far, page by page as it dirtied them.
pub(crate) fn written_bytes() -> io::Result<u64> {
    field("/proc/self/io", "write_bytes:")
}

/// Bytes of memory of this process that no file backs.
pub(crate) fn anonymous_bytes() -> io::Result<u64> {
    Ok(field("/proc/self/status", "RssAnon:")? << 10)
}

/// Seconds that all threads of this process have run, those that have ended included.
pub(crate) fn cpu_seconds() -> io::Result<f64> {
    let stat = fs::read_to_string("/proc/self/stat")?;
    // The name of the program stands in parentheses, and may have spaces.
    let behind_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    // User and system time are the 14th and 15th field: the 12th and 13th of these.
    let ticks = behind_name.split_whitespace().skip(11).take(2).map(str::parse::<u64>);
    let ticks = ticks.sum::<Result<u64, _>>().map_err(io::Error::other)?;
    Ok(ticks as f64 / clock_ticks_per_second() as f64)
}

fn field(path: &str, name: &str) -> io::Result<u64> {
    let text = fs::read_to_string(path)?;
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let value = line.and_then(|rest| rest.split_whitespace().next()?.parse().ok());
    value.ok_or_else(|| io::Error::other(format!("{path} has no {name}")))
}

/// Bytes of disk that all files below a folder take, holes left out.
pub(crate) fn disk_bytes(dir: &Path) -> io::Result<u64> {
    use std::os::unix::fs::MetadataExt as _;
    let mut bytes = 0;
    each_file(dir, &mut |path| {
        // A file may go away meanwhile.
        bytes += fs::symlink_metadata(path).map_or(0, |meta| meta.blocks() * BLOCK_BYTES);
        Ok(())
    })?;
    Ok(bytes)
}

/// Takes the files below a folder out of the page cache.
pub(crate) fn drop_page_cache(dir: &Path) -> io::Result<()> {
    each_file(dir, &mut |path| {
        let file = File::open(path)?;
        // Pages that are not written yet can't be dropped.
        file.sync_all()?;
        Ok(fadvise(&file, 0, None, Advice::DontNeed)?)
    })
}

/// Writes all that the system still holds back for the disk of a folder, so that no store waits for the bytes of the one before it.
pub(crate) fn settle(dir: &Path) -> io::Result<()> {
    Ok(rustix::fs::syncfs(File::open(dir)?)?)
}

fn each_file(dir: &Path, see: &mut dyn FnMut(&Path) -> io::Result<()>) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => each_file(&entry.path(), see)?,
            Ok(kind) if kind.is_file() => see(&entry.path())?,
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_of_this_process_are_read() {
        let before = cpu_seconds().unwrap();
        assert!(before >= 0.0 && anonymous_bytes().unwrap() > 1 << 16);
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("below")).unwrap();
        let written = written_bytes().unwrap();
        fs::write(dir.path().join("below/file"), vec![1; 1 << 20]).unwrap();
        settle(dir.path()).unwrap();
        drop_page_cache(dir.path()).unwrap();
        assert!(disk_bytes(dir.path()).unwrap() >= 1 << 20);
        assert!(written_bytes().unwrap() >= written);
    }
}
