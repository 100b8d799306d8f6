//! Restores: which backup, and where to.

use coldpress_std::archive::object_store::local::LocalFileSystem;
use coldpress_std::archive::object_store::memory::InMemory;
use coldpress_std::archive::{self, ArchiveError, RestorePoint};
use coldpress_std::{ColdTier, ColdTierConfig, Ttl};
use core::future::{Future as _, poll_fn};
use core::task::Poll;
use core::time::Duration;

use crate::common::{assert_all, block_on, open, prefix, put_all};

#[test]
fn restore_into_something_that_is_there_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (tier, store) = (open(dir.path(), "t"), InMemory::new());
    let none = block_on(archive::restore(&store, &prefix(), &dir.path().join("r"), RestorePoint::Newest));
    assert!(matches!(none, Err(ArchiveError::NoBackup)), "{none:?}");
    put_all(&tier, 0..100, 0);
    block_on(archive::backup(&tier.handle(), &store, &prefix())).unwrap();
    for there in ["t", "file"] {
        std::fs::write(dir.path().join("file"), b"x").unwrap();
        let refused =
            block_on(archive::restore(&store, &prefix(), &dir.path().join(there), RestorePoint::Newest));
        assert!(matches!(refused, Err(ArchiveError::NotEmpty(_))), "{refused:?}");
    }
    std::fs::create_dir(dir.path().join("empty")).unwrap();
    block_on(archive::restore(&store, &prefix(), &dir.path().join("empty"), RestorePoint::Newest)).unwrap();
    assert_all(&open(dir.path(), "empty"), 0..100, 0);
    assert_all(&tier, 0..100, 0);
}

#[test]
fn backup_by_time_is_the_newest_until_then() {
    let dir = tempfile::tempdir().unwrap();
    let (tier, store) = (open(dir.path(), "t"), InMemory::new());
    let made = block_on(archive::backup(&tier.handle(), &store, &prefix())).unwrap();
    let at = |at_s, name: &str| {
        block_on(archive::restore(&store, &prefix(), &dir.path().join(name), RestorePoint::Time(at_s)))
    };
    assert_eq!(at(made.taken_s, "a").unwrap().backup.number, 1);
    assert!(matches!(at(made.taken_s - 1, "b"), Err(ArchiveError::NoBackup)));
    assert!(!dir.path().join("b").exists());
}

#[test]
fn restored_tier_has_schema_lifetimes_and_long_values() {
    let dir = tempfile::tempdir().unwrap();
    let config = || {
        let config =
            ColdTierConfig::builder().base_dir(dir.path()).capacity_bytes(32 << 20).schema("users v1");
        config.value_bytes_max(1 << 20).build().unwrap()
    };
    let tier = ColdTier::with_own_pools(config(), "t").unwrap();
    let long = crate::common::noise(1, 1 << 20);
    tier.put(b"long", &long).unwrap();
    tier.put_with_ttl(b"mortal", b"1", Duration::from_secs(3600)).unwrap();
    let store = InMemory::new();
    block_on(archive::backup(&tier.handle(), &store, &prefix())).unwrap();
    let listed = block_on(archive::list(&store, &prefix())).unwrap().backups;
    assert_eq!((listed[0].schema.as_deref(), listed[0].capacity_bytes), (Some("users v1"), 32 << 20));
    block_on(archive::restore(&store, &prefix(), &dir.path().join("r"), RestorePoint::Newest)).unwrap();
    let restored = ColdTier::with_own_pools(config(), "r").unwrap();
    assert!(restored.get(b"long").unwrap().as_deref() == Some(&long[..]));
    let left = restored.ttl(b"mortal").unwrap();
    assert!(matches!(left, Some(coldpress_std::TimeLeft::For(left)) if left > Duration::from_secs(3500)));
    assert!(Ttl::Never != Ttl::Configured && restored.ttl(b"long").unwrap().is_some());
    let other = ColdTierConfig::builder().base_dir(dir.path()).capacity_bytes(32 << 20).schema("users v2");
    restored.close().unwrap();
    assert!(ColdTier::with_own_pools(other.build().unwrap(), "r").is_err(), "the schema is checked");
}

#[test]
fn restore_that_does_not_end_leaves_a_name_that_is_listed() {
    let dir = tempfile::tempdir().unwrap();
    let archive_dir = tempfile::tempdir().unwrap();
    let store = LocalFileSystem::new_with_prefix(archive_dir.path()).unwrap();
    let tier = open(dir.path(), "t");
    put_all(&tier, 0..100, 0);
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(archive::backup(&tier.handle(), &store, &prefix())).unwrap();
    let (to, prefix) = (dir.path().join("r"), prefix());
    for other in ["q.restoring-0123abcd", "r.restoring-0123abc", "r.restoring-0123abcx"] {
        std::fs::create_dir(dir.path().join(other)).unwrap();
    }
    assert_eq!(archive::unfinished_restores(&to).unwrap(), [""; 0].map(std::path::PathBuf::from));
    let mut restoring = Box::pin(archive::restore(&store, &prefix, &to, RestorePoint::Newest));
    runtime.block_on(poll_fn(|cx| {
        assert!(restoring.as_mut().poll(cx).is_pending(), "it waits for objects first");
        if archive::unfinished_restores(&to).unwrap().is_empty() { Poll::Pending } else { Poll::Ready(()) }
    }));
    // As a kill: nothing of the restore runs any more.
    core::mem::forget(restoring);
    let left = archive::unfinished_restores(&to).unwrap();
    assert!(left.len() == 1 && left[0].is_dir() && !to.exists(), "{left:?}");
    runtime.block_on(archive::restore(&store, &prefix, &to, RestorePoint::Newest)).unwrap();
    assert_all(&open(dir.path(), "r"), 0..100, 0);
    assert_eq!(archive::unfinished_restores(&to).unwrap(), left);
    assert!(archive::unfinished_restores(&dir.path().join("none/r")).unwrap().is_empty());
}
