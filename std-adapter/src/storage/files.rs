//! Makes files and directories, with the configured access, and makes their names durable.

use std::fs::{DirBuilder, File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Component, Path, PathBuf};

use crate::file_error::{AtPath as _, FileError};

/// The file in the directory of a tier that tells its shape and schema.
pub(crate) const META_NAME: &str = "tier.meta";

/// The bits of a mode that say who may read, write and execute.
const ACCESS: u32 = 0o777;

/// The access to the files of a tier. A directory lets in those who may read.
///
/// A new file has no more access than this from the start, so that no other process opens it in between. Access that the umask
/// took away is added after that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Mode {
    file: u32,
}

impl Mode {
    pub(crate) const fn new(file: u32) -> Self {
        Self { file }
    }

    const fn dir(self) -> u32 {
        self.file | self.file >> 2 & 0o111
    }

    fn options(self) -> OpenOptions {
        let mut options = File::options();
        options.read(true).write(true).mode(self.file);
        options
    }

    fn give(self, file: File, path: &Path) -> Result<File, FileError> {
        if file.metadata().at("look at", path)?.mode() & ACCESS != self.file {
            file.set_permissions(Permissions::from_mode(self.file)).at("set the mode of", path)?;
        }
        Ok(file)
    }

    /// Makes a file, and removes one that is there first, with the access that it had.
    pub(crate) fn make_anew(self, path: &Path) -> Result<File, FileError> {
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error).at("remove", path),
            _ => self.give(self.options().create_new(true).open(path).at("make", path)?, path),
        }
    }

    /// Opens a file as it is, or makes it.
    pub(crate) fn open_or_make(self, path: &Path) -> Result<File, FileError> {
        match self.options().create_new(true).open(path) {
            Ok(file) => self.give(file, path),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                self.warn_if_more_open(path);
                self.options().open(path).at("open for writing", path)
            }
            Err(error) => Err(error).at("make", path),
        }
    }

    /// Makes a directory; one that is there stays as it is.
    fn make_dir(self, path: &Path) -> Result<(), FileError> {
        match DirBuilder::new().mode(self.dir()).create(path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(()),
            made => made.at("make the directory", path)?,
        }
        if path.metadata().at("look at", path)?.mode() & ACCESS != self.dir() {
            std::fs::set_permissions(path, Permissions::from_mode(self.dir())).at("set the mode of", path)?;
        }
        Ok(())
    }

    /// Logs a warning for a file or directory with more access than a new one gets. The access stays as it is, since its owner
    /// may have chosen it.
    pub(crate) fn warn_if_more_open(self, path: &Path) {
        let Ok(metadata) = path.metadata() else { return };
        let expected = if metadata.is_dir() { self.dir() } else { self.file };
        let found = metadata.mode() & ACCESS;
        if found & !expected != 0 {
            let (found, expected) = (format!("{found:o}"), format!("{expected:o}"));
            tracing::warn!(path = %path.display(), found, expected, "others have access to the tier's data");
        }
    }
}

/// Makes the directories of a path that are not there. Returns the path without links and relative parts.
pub(crate) fn make_dirs(path: &Path, mode: Mode) -> Result<PathBuf, FileError> {
    let path = std::path::absolute(path).at("find the working directory for", path)?;
    let there = path.ancestors().find(|above| above.exists()).unwrap_or(&path);
    let mut made = there.canonicalize().at("resolve", there)?;
    for name in path.strip_prefix(there).unwrap_or(Path::new("")).components() {
        made.push(name);
        mode.make_dir(&made)?;
        // A directory that another process made meanwhile may be a link.
        made = made.canonicalize().at("resolve", &made)?;
    }
    Ok(made)
}

/// The path that [`make_dirs`] returns for a directory, found without making anything. Names that do not exist yet are taken as
/// they are written.
pub(crate) fn real_path(path: &Path) -> PathBuf {
    // A relative path of which nothing exists has no ancestor to resolve. An empty path stays empty.
    let path = &std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf());
    let there = path.ancestors().find_map(|above| above.canonicalize().ok().map(|real| (above, real)));
    let Some((above, mut real)) = there else { return path.clone() };
    for name in path.strip_prefix(above).unwrap_or(Path::new("")).components() {
        match name {
            Component::ParentDir => {
                real.pop();
            }
            name => real.push(name),
        }
    }
    real
}

/// Makes the name of a directory durable, and those of the directories above it.
pub(crate) fn sync_above(path: &Path) -> Result<(), FileError> {
    let mut above = path.ancestors().skip(1);
    above.next().map_or(Ok(()), sync_dir)?;
    // A directory that this process may not read was not made by it, so its name is durable.
    let _ = above.try_for_each(sync_dir);
    Ok(())
}

/// Makes the names in a directory durable.
pub(crate) fn sync_dir(path: &Path) -> Result<(), FileError> {
    File::open(path).at("open", path)?.sync_all().at("sync", path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn access(path: &Path) -> u32 {
        path.metadata().unwrap().mode() & ACCESS
    }

    #[test]
    fn relative_path_made_is_absolute_without_links() {
        let base = tempfile::tempdir().unwrap();
        let base = base.path().canonicalize().unwrap();
        std::os::unix::fs::symlink(&base, base.join("link")).unwrap();
        let up = std::env::current_dir().unwrap().ancestors().skip(1).map(|_| "..").collect::<PathBuf>();
        let relative = up.join(base.strip_prefix("/").unwrap()).join("link/a/../b/t");
        assert!(relative.is_relative());
        assert_eq!(real_path(&relative), base.join("b/t"), "nothing of it is there yet");
        assert!(!base.join("b").exists());
        assert_eq!(make_dirs(&relative, Mode::new(0o600)).unwrap(), base.join("b/t"));
        assert!(base.join("a").is_dir() && base.join("b/t").is_dir());
        assert_eq!(
            make_dirs(&relative, Mode::new(0o600)).unwrap(),
            base.join("b/t"),
            "nothing is made twice"
        );
        assert_eq!(real_path(&relative), base.join("b/t"));
    }

    #[test]
    fn relative_path_without_a_parent_is_resolved() {
        let here = std::env::current_dir().unwrap().canonicalize().unwrap();
        assert_eq!(real_path(Path::new("not-there")), here.join("not-there"));
        assert_eq!(real_path(Path::new("./not/there")), here.join("not/there"));
        assert_eq!(real_path(Path::new("")), Path::new(""));
    }

    #[test]
    fn access_is_that_of_the_mode_and_stays_where_it_was_given() {
        let base = tempfile::tempdir().unwrap();
        for (file, dir) in [(0o600, 0o700), (0o640, 0o750), (0o666, 0o777), (0o660, 0o770), (0o604, 0o705)] {
            let (mode, path) = (Mode::new(file), base.path().join(format!("{file:o}")));
            let made = make_dirs(&path.join("t"), mode).unwrap();
            assert_eq!((access(&path), access(&made)), (dir, dir));
            mode.open_or_make(&made.join("f")).unwrap();
            mode.make_anew(&made.join("g")).unwrap();
            assert_eq!((access(&made.join("f")), access(&made.join("g"))), (file, file));
        }
        let path = base.path().join("600/t/f");
        std::fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
        Mode::new(0o600).open_or_make(&path).unwrap();
        assert_eq!(access(&path), 0o644, "what is there is its owner's");
        Mode::new(0o600).make_anew(&path).unwrap();
        assert_eq!(access(&path), 0o600);
    }
}
