//! Prunes, alone and beside backups.

use coldpress_std::archive::object_store::ObjectStore;
use coldpress_std::archive::object_store::memory::InMemory;
use coldpress_std::archive::{self, ArchiveError, RestorePoint};
use futures_util::TryStreamExt as _;

use crate::common::{Doubtful, Fault, assert_all, block_on, open, prefix, put_all};

fn numbers(store: &dyn ObjectStore) -> Vec<u64> {
    let list = block_on(archive::list(store, &prefix())).unwrap();
    assert!(list.damages.is_empty(), "{list:?}");
    list.backups.iter().map(|listed| listed.number).collect()
}

fn segments(store: &dyn ObjectStore) -> usize {
    let all: Vec<_> = block_on(store.list(None).try_collect()).unwrap();
    all.iter().filter(|object| object.location.as_ref().contains("/segments/")).count()
}

fn assert_sound(store: &dyn ObjectStore) -> u64 {
    let verified = block_on(archive::verify(store, &prefix())).unwrap();
    assert!(verified.damages.is_empty(), "{:?}", verified.damages);
    verified.objects
}

#[test]
fn prune_deletes_only_objects_that_no_kept_backup_names() {
    let dir = tempfile::tempdir().unwrap();
    let (tier, store) = (open(dir.path(), "t"), InMemory::new());
    put_all(&tier, 0..300, 0);
    for version in 0..5 {
        put_all(&tier, 0..150, version);
        block_on(archive::backup(&tier.handle(), &store, &prefix())).unwrap();
    }
    assert!(matches!(block_on(archive::prune(&store, &prefix(), 0)), Err(ArchiveError::KeepNone)));
    let before = segments(&store);
    let pruned = block_on(archive::prune(&store, &prefix(), 2)).unwrap();
    assert_eq!((pruned.backups, numbers(&store)), (3, vec![4, 5]));
    assert_eq!(assert_sound(&store), segments(&store) as u64, "each object is named");
    assert_eq!(pruned.objects, (before - segments(&store)) as u64);
    assert!(pruned.objects > 0 && pruned.bytes > 0);
    for (number, version) in [(4, 3), (5, 4)] {
        let name = format!("r{number}");
        block_on(archive::restore(&store, &prefix(), &dir.path().join(&name), RestorePoint::Number(number)))
            .unwrap();
        let restored = open(dir.path(), &name);
        assert_all(&restored, 0..150, version);
        assert_all(&restored, 150..300, 0);
    }
    let again = block_on(archive::prune(&store, &prefix(), 2)).unwrap();
    assert_eq!((again.backups, again.objects), (0, 0));
    // The prunes have taken numbers 6 and 7.
    assert_eq!(block_on(archive::backup(&tier.handle(), &store, &prefix())).unwrap().number, 8);
    assert_sound(&store);
    let gone = block_on(archive::restore(&store, &prefix(), &dir.path().join("x"), RestorePoint::Number(1)));
    assert!(matches!(gone, Err(ArchiveError::NoBackup)), "{gone:?}");
}

#[test]
fn prune_at_any_operation_of_a_backup_leaves_all_listed_whole() {
    for n in 0.. {
        let dir = tempfile::tempdir().unwrap();
        let tier = open(dir.path(), "t");
        let store: &'static Doubtful = Box::leak(Box::new(Doubtful::new()));
        put_all(&tier, 0..300, 0);
        for version in 1..4 {
            put_all(&tier, 0..100, version);
            block_on(archive::backup(&tier.handle(), store, &prefix())).unwrap();
        }
        put_all(&tier, 0..100, 4);
        store.call_at(n, move || {
            block_on(archive::prune(&store.inner, &prefix(), 1)).unwrap();
        });
        let made = block_on(archive::backup(&tier.handle(), store, &prefix())).unwrap();
        let is_called = store.operations() > n;
        store.begin(Fault::None);
        assert_sound(store);
        assert_eq!(numbers(store).last(), Some(&made.number));
        let name = dir.path().join("r");
        block_on(archive::restore(store, &prefix(), &name, RestorePoint::Newest)).unwrap();
        let restored = open(dir.path(), "r");
        assert_all(&restored, 0..100, 4);
        assert_all(&restored, 100..300, 0);
        if !is_called {
            assert!(n > 5);
            break;
        }
    }
}

#[test]
fn backup_at_any_operation_of_a_prune_is_whole() {
    for n in 0.. {
        let dir = tempfile::tempdir().unwrap();
        let tier = open(dir.path(), "t");
        let store: &'static Doubtful = Box::leak(Box::new(Doubtful::new()));
        put_all(&tier, 0..300, 0);
        for version in 1..4 {
            put_all(&tier, 0..100, version);
            block_on(archive::backup(&tier.handle(), store, &prefix())).unwrap();
        }
        let handle = tier.handle();
        store.call_at(n, move || {
            handle.put(b"beside", b"the prune").unwrap();
            block_on(archive::backup(&handle, &store.inner, &prefix())).unwrap();
        });
        block_on(archive::prune(store, &prefix(), 1)).unwrap();
        let is_called = store.operations() > n;
        store.begin(Fault::None);
        assert_sound(store);
        block_on(archive::restore(store, &prefix(), &dir.path().join("r"), RestorePoint::Newest)).unwrap();
        let restored = open(dir.path(), "r");
        assert_all(&restored, 0..100, 3);
        assert_eq!(restored.get(b"beside").unwrap().is_some(), is_called);
        if !is_called {
            assert!(n > 5);
            break;
        }
    }
}

#[test]
fn prune_that_fails_at_any_operation_leaves_kept_backups_whole() {
    for fault in [Fault::Once, Fault::Stop, Fault::Unanswered] {
        for n in 0.. {
            let dir = tempfile::tempdir().unwrap();
            let (tier, store) = (open(dir.path(), "t"), Doubtful::new());
            put_all(&tier, 0..300, 0);
            for version in 1..4 {
                put_all(&tier, 0..100, version);
                block_on(archive::backup(&tier.handle(), &store, &prefix())).unwrap();
            }
            store.begin(fault(n));
            let _ = block_on(archive::prune(&store, &prefix(), 1));
            let is_cut = store.operations() > n;
            store.begin(Fault::None);
            assert_sound(&store);
            assert_eq!(numbers(&store).last(), Some(&3));
            block_on(archive::prune(&store, &prefix(), 1)).unwrap();
            assert_eq!(assert_sound(&store), segments(&store) as u64, "the next prune deletes the rest");
            if !is_cut {
                break;
            }
        }
    }
}
