//! Archives that are named by a URL.

use std::os::unix::fs::PermissionsExt as _;

use coldpress_std::archive::{self, ArchiveError, ArchiveLocation};

use crate::common::{block_on, open, put_all};

#[test]
fn local_directory_by_url_is_made_for_its_owner() {
    let dir = tempfile::tempdir().unwrap();
    let tier = open(dir.path(), "t");
    put_all(&tier, 0..100, 0);
    let url = format!("file://{}/a%20b/archive", dir.path().display());
    for number in 1..=2 {
        let location = ArchiveLocation::from_url(&url).unwrap();
        let made =
            block_on(archive::backup(&tier.handle(), location.store.as_ref(), &location.prefix)).unwrap();
        assert_eq!(made.number, number);
    }
    let made = dir.path().join("a b/archive");
    assert_eq!(made.metadata().unwrap().permissions().mode() & 0o777, 0o700);
    assert!(made.join("manifests/00000000000000000002").exists());
}

#[test]
fn url_without_a_store_is_refused() {
    for url in ["", "backups", "/var/backups", "s3:"] {
        let refused = ArchiveLocation::from_url(url).unwrap_err();
        assert!(matches!(refused, ArchiveError::Url { .. } | ArchiveError::Store(_)), "{url}: {refused}");
    }
    for url in ["ftp://host/backups", "file://host/backups"] {
        let refused = ArchiveLocation::from_url(url).unwrap_err();
        assert!(matches!(refused, ArchiveError::Store(_)) && refused.to_string().contains(url), "{refused}");
    }
}

#[test]
fn memory_by_url_has_the_prefix_of_its_path() {
    let location = ArchiveLocation::from_url("memory:///backups/t").unwrap();
    assert_eq!(location.prefix.as_ref(), "backups/t");
}
