//! Stores that fail at any operation, objects that are damaged, and other writers.

use std::path::Path as FilePath;

use coldpress_std::ColdTier;
use coldpress_std::archive::object_store::memory::InMemory;
use coldpress_std::archive::object_store::path::Path;
use coldpress_std::archive::object_store::{ObjectMeta, ObjectStore, ObjectStoreExt as _};
use coldpress_std::archive::{self, ArchiveError, RestorePoint};
use futures_util::TryStreamExt as _;

use crate::common::{Doubtful, Fault, assert_all, block_on, open, prefix, put_all};

fn objects(store: &dyn ObjectStore) -> Vec<ObjectMeta> {
    block_on(store.list(None).try_collect()).unwrap()
}

fn assert_restores(store: &dyn ObjectStore, base: &FilePath, at: RestorePoint, version: u64) {
    let dir = base.join("restored");
    block_on(archive::restore(store, &prefix(), &dir, at)).unwrap();
    let tier = open(base, "restored");
    assert_all(&tier, 0..300, version);
    tier.close().unwrap();
    std::fs::remove_dir_all(dir).unwrap();
}

#[test]
fn backup_that_fails_at_any_operation_leaves_the_last_whole_one() {
    let faults = [Fault::Once, Fault::Stop, Fault::Unanswered, Fault::Torn];
    for fault in faults {
        let mut cuts = 0;
        for n in 0.. {
            let dir = tempfile::tempdir().unwrap();
            let (tier, store) = (open(dir.path(), "t"), Doubtful::new());
            put_all(&tier, 0..300, 0);
            block_on(archive::backup(&tier.handle(), &store, &prefix())).unwrap();
            put_all(&tier, 0..300, 1);
            store.begin(fault(n));
            let second = block_on(archive::backup(&tier.handle(), &store, &prefix()));
            let is_cut = store.operations() > n;
            store.begin(Fault::None);
            let listed = block_on(archive::list(&store, &prefix())).unwrap().backups;
            assert!(block_on(archive::verify(&store, &prefix())).unwrap().damages.is_empty());
            assert_restores(&store, dir.path(), RestorePoint::Number(1), 0);
            assert_restores(&store, dir.path(), RestorePoint::Newest, u64::from(listed.len() == 2));
            // Only the answer to the last put tells more than the store knows.
            assert!(second.is_err() || listed.len() == 2);
            // The next one is whole, whatever the first left.
            put_all(&tier, 0..300, 2);
            block_on(archive::backup(&tier.handle(), &store, &prefix())).unwrap();
            assert_restores(&store, dir.path(), RestorePoint::Newest, 2);
            assert!(block_on(archive::verify(&store, &prefix())).unwrap().damages.is_empty());
            if !is_cut {
                assert!(second.is_ok());
                break;
            }
            cuts += 1;
        }
        assert!(cuts > 5, "{:?}: {cuts} operations", fault(0));
    }
}

#[test]
fn lost_answer_to_the_manifest_is_found_by_reading_it() {
    let dir = tempfile::tempdir().unwrap();
    let (tier, store) = (open(dir.path(), "t"), Doubtful::new());
    put_all(&tier, 0..300, 0);
    block_on(archive::backup(&tier.handle(), &store, &prefix())).unwrap();
    let last = store.operations() - 1;
    let fresh = Doubtful::new();
    fresh.begin(Fault::Unanswered(last));
    assert!(block_on(archive::backup(&tier.handle(), &fresh, &prefix())).is_err());
    fresh.begin(Fault::None);
    assert_eq!(block_on(archive::list(&fresh, &prefix())).unwrap().backups.len(), 1);
    assert_eq!(block_on(archive::backup(&tier.handle(), &fresh, &prefix())).unwrap().number, 2);
}

#[test]
fn flipped_or_missing_bytes_of_any_object_are_found() {
    let dir = tempfile::tempdir().unwrap();
    let (tier, store) = (open(dir.path(), "t"), InMemory::new());
    put_all(&tier, 0..300, 0);
    block_on(archive::backup(&tier.handle(), &store, &prefix())).unwrap();
    let all = objects(&store);
    assert!(all.len() > 5);
    for object in &all {
        let path = &object.location;
        let whole = block_on(async { store.get(path).await.unwrap().bytes().await.unwrap() }).to_vec();
        let is_manifest = path.as_ref().contains("manifests");
        let mut places: Vec<usize> = (0..whole.len()).step_by(1 + whole.len() / 40).collect();
        places.push(whole.len() - 1);
        let flipped = places.into_iter().map(|at| {
            let mut bytes = whole.clone();
            bytes[at] ^= 1 << (at % 8);
            bytes
        });
        let longer = [&whole[..], b"x"].concat();
        let others = [whole[..whole.len() - 1].to_vec(), longer];
        for bytes in flipped.chain(others) {
            block_on(store.put(path, bytes.into())).unwrap();
            assert_found(&store, dir.path(), path);
        }
        if !is_manifest {
            block_on(store.delete(path)).unwrap();
            let verified = block_on(archive::verify(&store, &prefix())).unwrap();
            assert!(matches!(verified.damages[0].error, ArchiveError::Missing { .. }));
        }
        block_on(store.put(path, whole.into())).unwrap();
    }
    assert!(block_on(archive::verify(&store, &prefix())).unwrap().damages.is_empty());
    assert_restores(&store, dir.path(), RestorePoint::Newest, 0);
}

fn assert_found(store: &dyn ObjectStore, base: &FilePath, path: &Path) {
    let verified = block_on(archive::verify(store, &prefix())).unwrap();
    assert!(verified.sound.is_empty() && verified.damages.len() == 1, "{path}: {verified:?}");
    let is_named = |error: &ArchiveError| matches!(error, ArchiveError::Damaged { object } if *object == path.to_string());
    assert!(is_named(&verified.damages[0].error), "{path}: {verified:?}");
    let dir = base.join("damaged");
    let refused = block_on(archive::restore(store, &prefix(), &dir, RestorePoint::Newest)).unwrap_err();
    assert!(is_named(&refused), "{path}: {refused}");
    let left = base.read_dir().unwrap().count();
    assert!(!dir.exists() && left == 1, "nothing is left but the tier: {left}");
}

/// A copy of a tier, open in its own directory: both have the same store.
fn copy_of(tier: &ColdTier, base: &FilePath) -> ColdTier {
    let store = InMemory::new();
    block_on(archive::backup(&tier.handle(), &store, &prefix())).unwrap();
    block_on(archive::restore(&store, &prefix(), &base.join("copy"), RestorePoint::Newest)).unwrap();
    open(base, "copy")
}

#[test]
fn second_writer_at_any_operation_is_detected() {
    for n in 0.. {
        let dir = tempfile::tempdir().unwrap();
        let (tier, store) = (open(dir.path(), "t"), Box::leak(Box::new(Doubtful::new())));
        let store: &'static Doubtful = store;
        put_all(&tier, 0..300, 0);
        let copy = copy_of(&tier, dir.path());
        put_all(&tier, 0..300, 1);
        put_all(&copy, 0..300, 2);
        let mut copy = Some(copy);
        store.call_at(n, move || {
            let copy = copy.take().unwrap();
            block_on(archive::backup(&copy.handle(), &store.inner, &prefix())).unwrap();
            copy.close().unwrap();
        });
        let first = block_on(archive::backup(&tier.handle(), store, &prefix()));
        let is_called = store.operations() > n;
        store.begin(Fault::None);
        let listed = block_on(archive::list(store, &prefix())).unwrap().backups;
        assert!(block_on(archive::verify(store, &prefix())).unwrap().damages.is_empty());
        match first {
            // The other was done before this one looked, or never began.
            Ok(made) => {
                assert!(n == 0 || !is_called, "{n}");
                assert_restores(store, dir.path(), RestorePoint::Number(made.number), 1);
                assert_eq!(listed.len(), 1 + usize::from(is_called));
            }
            Err(error) => {
                assert!(matches!(error, ArchiveError::SecondWriter { number: 1 }), "{n}: {error}");
                assert_eq!(listed.len(), 1);
                assert_restores(store, dir.path(), RestorePoint::Newest, 2);
            }
        }
        if !is_called {
            assert!(n > 5);
            break;
        }
    }
}

#[test]
fn prefix_of_another_tier_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (tier, other, store) = (open(dir.path(), "t"), open(dir.path(), "u"), InMemory::new());
    put_all(&tier, 0..1, 0);
    put_all(&other, 0..1, 0);
    block_on(archive::backup(&tier.handle(), &store, &prefix())).unwrap();
    let is_refused = |backups: usize| {
        let refused = block_on(archive::backup(&other.handle(), &store, &prefix()));
        assert!(matches!(refused, Err(ArchiveError::OtherStore { .. })), "{refused:?}");
        assert_eq!(block_on(archive::list(&store, &prefix())).unwrap().backups.len(), backups);
    };
    is_refused(1);
    // The newest backup does not tell whose it is.
    let second = block_on(archive::backup(&tier.handle(), &store, &prefix())).unwrap();
    let damaged = Path::from(format!("{}/manifests/{:020}", prefix(), second.number));
    block_on(store.put(&damaged, "damage".into())).unwrap();
    is_refused(1);
}

#[test]
fn tier_backed_up_before_its_first_write_is_backed_up_after_it() {
    let (dir, store) = (tempfile::tempdir().unwrap(), InMemory::new());
    for _ in 0..2 {
        let tier = open(dir.path(), "t");
        block_on(archive::backup(&tier.handle(), &store, &prefix())).unwrap();
    }
    let tier = open(dir.path(), "t");
    put_all(&tier, 0..10, 1);
    block_on(archive::backup(&tier.handle(), &store, &prefix())).unwrap();
    drop(tier);
    let tier = open(dir.path(), "t");
    put_all(&tier, 10..20, 1);
    block_on(archive::backup(&tier.handle(), &store, &prefix())).unwrap();
    let restored = dir.path().join("restored");
    block_on(archive::restore(&store, &prefix(), &restored, RestorePoint::Newest)).unwrap();
    assert_all(&open(dir.path(), "restored"), 0..20, 1);
}
