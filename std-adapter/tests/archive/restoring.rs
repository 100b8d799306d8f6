//! Restores: which backup, and where to.

use coldpress_std::archive::object_store::memory::InMemory;
use coldpress_std::archive::object_store::path::Path;
use coldpress_std::archive::object_store::{ObjectStore as _, ObjectStoreExt as _};
use coldpress_std::archive::{self, ArchiveError, RestorePoint};
use coldpress_std::{ColdTier, ColdTierConfig, Ttl};
use core::future::{Future as _, poll_fn};
use core::task::Poll;
use core::time::Duration;
use futures_util::TryStreamExt as _;

use crate::common::{Doubtful, assert_all, block_on, open, prefix, put_all};

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
    // Each of its operations is pending before it is done.
    let store = Doubtful::with_yields(2);
    let tier = open(dir.path(), "t");
    put_all(&tier, 0..100, 0);
    block_on(archive::backup(&tier.handle(), &store, &prefix())).unwrap();
    let (to, prefix) = (dir.path().join("r"), prefix());
    for other in ["q.restoring-0123abcd", "r.restoring-0123abc", "r.restoring-0123abcx"] {
        std::fs::create_dir(dir.path().join(other)).unwrap();
    }
    assert_eq!(archive::unfinished_restores(&to).unwrap(), [""; 0].map(std::path::PathBuf::from));
    let mut restoring = Box::pin(archive::restore(&store, &prefix, &to, RestorePoint::Newest));
    block_on(poll_fn(|cx| {
        assert!(restoring.as_mut().poll(cx).is_pending(), "it waits for objects first");
        if archive::unfinished_restores(&to).unwrap().is_empty() { Poll::Pending } else { Poll::Ready(()) }
    }));
    // As a kill: nothing of the restore runs any more.
    core::mem::forget(restoring);
    let left = archive::unfinished_restores(&to).unwrap();
    assert!(left.len() == 1 && left[0].is_dir() && !to.exists(), "{left:?}");
    block_on(archive::restore(&store, &prefix, &to, RestorePoint::Newest)).unwrap();
    assert_all(&open(dir.path(), "r"), 0..100, 0);
    assert_eq!(archive::unfinished_restores(&to).unwrap(), left);
    assert!(archive::unfinished_restores(&dir.path().join("none/r")).unwrap().is_empty());
}

/// The manifest of a backup with another time, as a backup at that time would have written it.
fn taken_at(store: &InMemory, number: u64, from_s: u64, to_s: u64) {
    let path = manifest(number);
    let mut bytes = block_on(async { store.get(&path).await.unwrap().bytes().await.unwrap() }).to_vec();
    let (from, to) = (varint(from_s), varint(to_s));
    assert_eq!(from.len(), to.len());
    let at = bytes.windows(from.len()).position(|window| *window == from).unwrap();
    bytes[at..at + to.len()].copy_from_slice(&to);
    let body = bytes.len() - 12;
    let digest = coldpress_core::format::key_hash(&[0; 16], &bytes[..body]).0;
    bytes[body..].copy_from_slice(&digest);
    block_on(store.put(&path, bytes.into())).unwrap();
}

/// A number as `postcard` writes it.
fn varint(mut number: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while number > 127 {
        bytes.push(number as u8 | 128);
        number >>= 7;
    }
    bytes.push(number as u8);
    bytes
}

fn manifest(number: u64) -> Path {
    Path::from(format!("{}/manifests/{number:020}", prefix()))
}

/// The backup that is restored for each time, by the rule itself: the readable ones and the times of all.
#[derive(Debug, PartialEq, Eq)]
enum Expected {
    Backup(u64),
    None,
    Doubt,
}

fn expected(damaged: u32, at: u64) -> Expected {
    // Backup N is of time 100 N. Those at the time or before, the newest first.
    let is_damaged = |number: u64| damaged >> number & 1 == 1;
    // Times that a damaged one may have: behind the readable one below it, and before the readable one above it.
    for number in (1..=BACKUPS).rev() {
        if !is_damaged(number) {
            if number * 100 <= at {
                return Expected::Backup(number);
            }
            continue;
        }
        let below = (1..number).rev().find(|below| !is_damaged(*below)).unwrap_or(0);
        if below * 100 <= at {
            return Expected::Doubt;
        }
    }
    Expected::None
}

const BACKUPS: u64 = 4;

#[test]
fn damaged_manifest_by_time_is_passed_over_only_with_proof() {
    let dir = tempfile::tempdir().unwrap();
    let (tier, store) = (open(dir.path(), "t"), InMemory::new());
    let now_s = 1_800_000_000;
    for number in 1..=BACKUPS {
        let made = block_on(archive::backup(&tier.handle(), &store, &prefix())).unwrap();
        taken_at(&store, number, made.taken_s, now_s + number * 100);
    }
    let listed = block_on(archive::list(&store, &prefix())).unwrap().backups;
    let times: Vec<u64> = listed.iter().map(|listed| listed.taken_s - now_s).collect();
    assert_eq!(times, [100, 200, 300, 400]);
    let mut seen = [0; 3];
    for damaged in (0..1u32 << (BACKUPS + 1)).step_by(2) {
        let copy = InMemory::new();
        for object in block_on(store.list(None).try_collect::<Vec<_>>()).unwrap() {
            let path = object.location;
            let bytes = block_on(async { store.get(&path).await.unwrap().bytes().await.unwrap() });
            block_on(copy.put(&path, bytes.into())).unwrap();
        }
        for number in (1..=BACKUPS).filter(|number| damaged >> number & 1 == 1) {
            block_on(copy.put(&manifest(number), vec![7; 99].into())).unwrap();
        }
        for at in (50..=450).step_by(50) {
            let to = dir.path().join("r");
            let point = RestorePoint::Time(now_s + at);
            let restored = block_on(archive::restore(&copy, &prefix(), &to, point));
            let context = format!("damaged {damaged:05b}, time {at}: {restored:?}");
            let wanted = expected(damaged, at);
            match wanted {
                Expected::Backup(number) => assert_eq!(restored.unwrap().backup.number, number, "{context}"),
                Expected::None => assert!(matches!(restored, Err(ArchiveError::NoBackup)), "{context}"),
                Expected::Doubt => {
                    let is_named = |number| matches!(&restored, Err(ArchiveError::Damaged { object }) if *object == manifest(number).to_string());
                    assert!(
                        (1..=BACKUPS).any(|number| damaged >> number & 1 == 1 && is_named(number)),
                        "{context}"
                    );
                }
            }
            seen[match wanted {
                Expected::Backup(_) => 0,
                Expected::None => 1,
                Expected::Doubt => 2,
            }] += 1;
            let _ = std::fs::remove_dir_all(&to);
        }
    }
    assert!(seen.iter().all(|count| *count > 5), "{seen:?}");
}
