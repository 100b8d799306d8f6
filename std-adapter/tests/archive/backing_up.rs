//! Backups beside clients.

use core::future::Future;
use core::sync::atomic::Ordering::SeqCst;
use core::sync::atomic::{AtomicBool, AtomicU64};
use core::task::{Context, Poll, Waker};

use coldpress_std::archive::object_store::local::LocalFileSystem;
use coldpress_std::archive::object_store::memory::InMemory;
use coldpress_std::archive::{self, ArchiveError, BackupOptions, RestorePoint};
use coldpress_std::{ColdTier, Durability};

use crate::common::{Doubtful, Fault, assert_all, block_on, noise, open, prefix, put_all};

const CLIENTS: u64 = 3;
const KEYS: u64 = 60;
const BACKUPS: u64 = 12;

/// Each fifth version of a key is a remove.
fn is_remove(version: u64) -> bool {
    version % 5 == 4
}

fn apply(tier: &coldpress_std::ColdTierHandle, key: u64, version: u64) {
    if is_remove(version) {
        tier.remove(&key.to_le_bytes()).unwrap();
    } else {
        let value = [&version.to_le_bytes()[..], &noise(version * 1000 + key, 2000)].concat();
        tier.put(&key.to_le_bytes(), &value).unwrap();
    }
}

/// The version that a value is of; it is checked whole.
fn version_of(key: u64, value: &[u8]) -> u64 {
    let (version, rest) = value.split_first_chunk().unwrap();
    let version = u64::from_le_bytes(*version);
    assert!(rest == noise(version * 1000 + key, 2000), "key {key}: the value is a mixture");
    version
}

/// Asserts that each key has a version between the acknowledged one before the backup and the last one begun before its end.
fn assert_between(tier: &ColdTier, before: &[u64], after: &[u64]) {
    for (key, (low, high)) in (0..).zip(before.iter().zip(after)) {
        match tier.get(&u64::to_le_bytes(key)).unwrap() {
            Some(value) => {
                let version = version_of(key, &value);
                assert!((*low..=*high).contains(&version), "key {key}: {version} is not in {low}..={high}");
            }
            None => {
                let may_lack = *low == 0 || (*low..=*high).any(is_remove);
                assert!(may_lack, "key {key} is missing; it was put in {low}..={high}");
            }
        }
    }
}

/// Ends the clients, also where an assertion fails.
struct EndClients<'a>(&'a AtomicBool);

impl Drop for EndClients<'_> {
    fn drop(&mut self) {
        self.0.store(true, SeqCst);
    }
}

#[test]
fn backup_beside_writers_restores_a_state_of_its_time() {
    let dir = tempfile::tempdir().unwrap();
    let (tier, store) = (open(dir.path(), "t"), Doubtful::new());
    // Slower than the clients, so that they free and reuse segments that are not uploaded yet.
    store.pause_us.store(1000, SeqCst);
    let versions = || (0..KEYS * CLIENTS).map(|_| AtomicU64::new(0)).collect::<Vec<_>>();
    let (begun, acknowledged, is_over) = (versions(), versions(), AtomicBool::new(false));
    let all = |of: &[AtomicU64]| of.iter().map(|version| version.load(SeqCst)).collect::<Vec<_>>();
    std::thread::scope(|scope| {
        let _end = EndClients(&is_over);
        for client in 0..CLIENTS {
            let (handle, begun, acknowledged, is_over) = (tier.handle(), &begun, &acknowledged, &is_over);
            scope.spawn(move || {
                for version in 1u64.. {
                    for key in client * KEYS..(client + 1) * KEYS {
                        begun[key as usize].store(version, SeqCst);
                        apply(&handle, key, version);
                        acknowledged[key as usize].store(version, SeqCst);
                        if is_over.load(SeqCst) {
                            return;
                        }
                    }
                }
            });
        }
        while all(&acknowledged).iter().any(|version| *version < 20) {
            std::thread::yield_now();
        }
        for number in 1..=BACKUPS {
            let before = all(&acknowledged);
            let made = block_on(archive::backup(&tier.handle(), &store, &prefix())).unwrap();
            let after = all(&begun);
            assert_eq!((made.number, made.attempts), (number, 1));
            let name = format!("r{number}");
            block_on(archive::restore(&store, &prefix(), &dir.path().join(&name), RestorePoint::Newest))
                .unwrap();
            let restored = open(dir.path(), &name);
            assert_between(&restored, &before, &after);
            put_all(&restored, 0..KEYS, 1);
            assert_all(&restored, 0..KEYS, 1);
            restored.close().unwrap();
        }
    });
    let freed = tier.stats().erases;
    assert!(freed > 20, "segments are freed beside the backups: {freed}");
    assert_eq!(block_on(archive::verify(&store, &prefix())).unwrap().damages.len(), 0);
}

#[test]
fn second_backup_uploads_only_new_segments() {
    let dir = tempfile::tempdir().unwrap();
    let (tier, store) = (open(dir.path(), "t"), Doubtful::new());
    put_all(&tier, 0..800, 0);
    let first = block_on(archive::backup(&tier.handle(), &store, &prefix())).unwrap();
    assert_eq!((first.reused_objects, first.uploaded_objects + 1), (0, store.puts.load(SeqCst)));
    assert_eq!(first.uploaded_bytes + first.manifest_bytes, store.put_bytes.load(SeqCst));
    assert!(first.uploaded_bytes > 800_000);
    store.begin(Fault::None);
    put_all(&tier, 0..8, 1);
    let second = block_on(archive::backup(&tier.handle(), &store, &prefix())).unwrap();
    // Each partition has appended to one segment, and may have sealed one and opened the next.
    assert!(second.uploaded_objects <= 4 && second.uploaded_bytes <= 4 << 16, "{second:?}");
    assert!(second.reused_objects >= first.uploaded_objects - 4, "{second:?}");
    assert_eq!(second.uploaded_objects + 1, store.puts.load(SeqCst));
    store.begin(Fault::None);
    let third = block_on(archive::backup(&tier.handle(), &store, &prefix())).unwrap();
    assert_eq!((third.uploaded_objects, store.puts.load(SeqCst)), (0, 1), "nothing was written");
    for (number, name) in [(1, "a"), (2, "b"), (3, "c")] {
        let at = RestorePoint::Number(number);
        block_on(archive::restore(&store, &prefix(), &dir.path().join(name), at)).unwrap();
        let restored = open(dir.path(), name);
        assert_all(&restored, 0..8, u64::from(number > 1));
        assert_all(&restored, 8..800, 0);
    }
}

#[test]
fn backup_in_a_local_directory_is_restored() {
    let dir = tempfile::tempdir().unwrap();
    let (tier, kept) = (open(dir.path(), "t"), tempfile::tempdir().unwrap());
    let store = LocalFileSystem::new_with_prefix(kept.path()).unwrap();
    put_all(&tier, 0..300, 0);
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(archive::backup(&tier.handle(), &store, &prefix())).unwrap();
    put_all(&tier, 0..300, 1);
    block_on(archive::backup(&tier.handle(), &store, &prefix())).unwrap();
    for (number, version) in [(1, 0), (2, 1)] {
        let name = format!("r{number}");
        block_on(archive::restore(&store, &prefix(), &dir.path().join(&name), RestorePoint::Number(number)))
            .unwrap();
        assert_all(&open(dir.path(), &name), 0..300, version);
    }
    let verified = block_on(archive::verify(&store, &prefix())).unwrap();
    assert!(verified.damages.is_empty() && verified.sound.len() == 2);
}

#[test]
fn clients_that_change_too_much_end_the_backup_and_not_wait() {
    let dir = tempfile::tempdir().unwrap();
    let (tier, store) = (open(dir.path(), "t"), Doubtful::new());
    put_all(&tier, 0..600, 0);
    tier.flush().unwrap();
    let mut options = BackupOptions::default();
    (options.held_bytes_max, options.attempts) = (128 << 10, 1);
    let handle = tier.handle();
    // The first put of a segment comes behind the listing of manifests and objects.
    store.call_at(2, move || {
        for key in 0..600u64 {
            handle.put(&key.to_le_bytes(), &noise(key * 1000 + 1, 1000)).unwrap();
        }
        handle.flush_to(Durability::Synced).unwrap();
    });
    let failed = block_on(archive::backup_with(&tier.handle(), &store, &prefix(), options));
    assert!(matches!(failed, Err(ArchiveError::Overrun { held_bytes_max: 131_072 })), "{failed:?}");
    assert_all(&tier, 0..600, 1);
    assert_eq!(block_on(archive::list(&store, &prefix())).unwrap().backups, []);
    // Another attempt finds quiet clients, once the worker has cleaned up behind them.
    options.attempts = 10_000;
    block_on(archive::backup_with(&tier.handle(), &store, &prefix(), options)).unwrap();
    block_on(archive::restore(&store, &prefix(), &dir.path().join("r"), RestorePoint::Newest)).unwrap();
    assert_all(&open(dir.path(), "r"), 0..600, 1);
}

#[test]
fn segments_changed_between_two_uploads_are_of_the_moment() {
    let dir = tempfile::tempdir().unwrap();
    let store = Doubtful::new();
    put_all(&open(dir.path(), "t"), 0..600, 0);
    let mut at = 0;
    // At each operation of the store clients overwrite everything, so that all segments are freed and used again.
    loop {
        let (tier, store) = (open(dir.path(), "t"), &store);
        let (handle, next) = (tier.handle(), at + 1);
        let prefix = coldpress_std::archive::object_store::path::Path::from(format!("p{at}"));
        store.call_at(at, move || {
            for round in 0..2 {
                for key in 0..600u64 {
                    let version = if round == 0 { 999 } else { next };
                    handle.put(&key.to_le_bytes(), &noise(key * 1000 + version, 1000)).unwrap();
                }
            }
            handle.flush().unwrap();
        });
        let made = block_on(archive::backup(&tier.handle(), store, &prefix)).unwrap();
        assert_eq!(made.attempts, 1);
        let operations = store.operations();
        store.begin(Fault::None);
        let restored = dir.path().join("r");
        block_on(archive::restore(store, &prefix, &restored, RestorePoint::Newest)).unwrap();
        // The first two list, in front of the sync point.
        let version = if at < 2 { at + 1 } else { at };
        assert_all(&open(dir.path(), "r"), 0..600, version);
        std::fs::remove_dir_all(restored).unwrap();
        at += 1;
        if at >= operations {
            break;
        }
    }
    assert!(at > 10, "{at} operations");
}

#[test]
fn dropped_backup_ends_its_hold_and_a_second_one_waits_not() {
    let dir = tempfile::tempdir().unwrap();
    let (tier, store) = (open(dir.path(), "t"), InMemory::new());
    put_all(&tier, 0..300, 0);
    let (handle, prefix) = (tier.handle(), prefix());
    for polls in 0..200 {
        let mut cut = Box::pin(archive::backup(&handle, &store, &prefix));
        let mut cx = Context::from_waker(Waker::noop());
        for _ in 0..polls {
            if let Poll::Ready(made) = cut.as_mut().poll(&mut cx) {
                made.unwrap();
                break;
            }
            std::thread::sleep(core::time::Duration::from_micros(50));
        }
        drop(cut);
        block_on(archive::backup(&handle, &store, &prefix)).unwrap();
    }
    assert!(block_on(archive::verify(&store, &prefix)).unwrap().damages.is_empty());
}

#[test]
fn two_backups_of_a_tier_at_once_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (tier, store) = (open(dir.path(), "t"), Doubtful::new());
    put_all(&tier, 0..300, 0);
    let handle = tier.handle();
    store.call_at(3, move || {
        let other = InMemory::new();
        let busy = block_on(archive::backup(&handle, &other, &prefix()));
        assert!(matches!(busy, Err(ArchiveError::Busy)), "{busy:?}");
    });
    block_on(archive::backup(&tier.handle(), &store, &prefix())).unwrap();
}

#[test]
fn backup_of_a_closed_tier_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (tier, store) = (open(dir.path(), "t"), Doubtful::new());
    let handle = tier.handle();
    tier.close().unwrap();
    let refused = block_on(archive::backup(&handle, &store, &prefix()));
    assert!(matches!(refused, Err(ArchiveError::Tier(coldpress_std::TierError::Closed))), "{refused:?}");
}
