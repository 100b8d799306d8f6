//! The numbers that distinguish the file `LOCK` from a copy of it.

use core::fmt;
use core::num::ParseIntError;
use core::str::FromStr;
use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::time::UNIX_EPOCH;

/// The numbers of the file `LOCK`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LockIdentity {
    inode: u64,
    /// In nanoseconds since 1970; 0 where the filesystem does not know.
    made_ns: u64,
}

impl LockIdentity {
    pub(crate) fn of(lock: &File) -> io::Result<Self> {
        let metadata = lock.metadata()?;
        let made = metadata.created().ok().and_then(|made| made.duration_since(UNIX_EPOCH).ok());
        let made_ns = made.map_or(0, |made| u64::try_from(made.as_nanos()).unwrap_or(0));
        Ok(Self { inode: metadata.ino(), made_ns })
    }

    /// Whether both are of one file. The device is left out: it has another number after a restart of the system, or in a snapshot.
    pub(crate) const fn is_same(&self, other: &Self) -> bool {
        let is_made_known = self.made_ns != 0 && other.made_ns != 0;
        self.inode == other.inode && (self.made_ns == other.made_ns || !is_made_known)
    }
}

impl fmt::Display for LockIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.inode, self.made_ns)
    }
}

impl FromStr for LockIdentity {
    type Err = ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (inode, made_ns) = text.split_once(' ').unwrap_or((text, ""));
        Ok(Self { inode: inode.parse()?, made_ns: made_ns.parse()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copy_of_a_file_has_another_identity() {
        let dir = tempfile::tempdir().unwrap();
        let (path, copy) = (dir.path().join("a"), dir.path().join("b"));
        std::fs::write(&path, b"1").unwrap();
        let of = |path| LockIdentity::of(&File::open(path).unwrap()).unwrap();
        let identity = of(&path);
        std::fs::copy(&path, &copy).unwrap();
        assert!(!of(&copy).is_same(&identity));
        std::fs::write(&path, b"22").unwrap();
        std::fs::rename(&path, dir.path().join("c")).unwrap();
        assert!(of(&dir.path().join("c")).is_same(&identity), "neither a write nor a new name changes it");
        assert_eq!(identity.to_string().parse(), Ok(identity));
    }

    #[test]
    fn identity_without_a_time_is_that_of_the_inode() {
        let [a, b, c, d] =
            ["7 1000", "7 0", "7 2000", "8 1000"].map(|text| text.parse::<LockIdentity>().unwrap());
        assert!(a.is_same(&a) && a.is_same(&b) && b.is_same(&c) && b.is_same(&b));
        assert!(!a.is_same(&c) && !a.is_same(&d) && !b.is_same(&d));
        for text in ["", "7", "7 ", " 7", "7 1 2", "7 x", "-7 1"] {
            assert!(text.parse::<LockIdentity>().is_err(), "{text:?}");
        }
    }
}
