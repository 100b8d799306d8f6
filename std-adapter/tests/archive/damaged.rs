//! Damage of an archive, and the way out of it.

use coldpress_std::ColdTier;
use coldpress_std::archive::object_store::memory::InMemory;
use coldpress_std::archive::object_store::path::Path;
use coldpress_std::archive::object_store::{ObjectStore, ObjectStoreExt as _};
use coldpress_std::archive::{self, ArchiveError, RestorePoint, Verified};
use futures_util::TryStreamExt as _;

use crate::common::{Doubtful, Fault, assert_all, block_on, open, prefix, put_all};

/// The objects of a folder of the archive, in order.
fn objects(store: &dyn ObjectStore, folder: &str) -> Vec<Path> {
    let all: Vec<_> = block_on(store.list(None).try_collect()).unwrap();
    let mut paths: Vec<_> = all.into_iter().map(|object| object.location).collect();
    paths.retain(|path| path.as_ref().contains(folder));
    paths.sort();
    paths
}

/// Turns a bit of an object over, so that its length stays.
fn flip(store: &dyn ObjectStore, path: &Path) {
    let mut bytes = block_on(async { store.get(path).await.unwrap().bytes().await.unwrap() }).to_vec();
    let at = bytes.len() / 2;
    bytes[at] ^= 4;
    block_on(store.put(path, bytes.into())).unwrap();
}

fn verify(store: &dyn ObjectStore) -> Verified {
    block_on(archive::verify(store, &prefix())).unwrap()
}

fn sound(store: &dyn ObjectStore) -> Vec<u64> {
    verify(store).sound.iter().map(|listed| listed.number).collect()
}

/// A tier with one backup, of which an object is damaged.
fn with_damage() -> (tempfile::TempDir, ColdTier, &'static Doubtful) {
    let dir = tempfile::tempdir().unwrap();
    let tier = open(dir.path(), "t");
    let store: &'static Doubtful = Box::leak(Box::new(Doubtful::new()));
    put_all(&tier, 0..300, 0);
    block_on(archive::backup(&tier.handle(), store, &prefix())).unwrap();
    flip(&store.inner, &objects(&store.inner, "/segments/")[0]);
    (dir, tier, store)
}

#[test]
fn damaged_object_is_uploaded_again_once_it_is_deleted() {
    let dir = tempfile::tempdir().unwrap();
    let (tier, store) = (open(dir.path(), "t"), InMemory::new());
    put_all(&tier, 0..300, 0);
    block_on(archive::backup(&tier.handle(), &store, &prefix())).unwrap();
    let all = objects(&store, "/segments/");
    for path in &all[..2] {
        flip(&store, path);
    }
    // The next backup does not read it, and has the damage too.
    let second = block_on(archive::backup(&tier.handle(), &store, &prefix())).unwrap();
    assert_eq!((second.uploaded_objects, sound(&store)), (0, vec![]));
    let deleted = block_on(archive::delete_damaged(&store, &prefix(), &verify(&store))).unwrap();
    assert_eq!((deleted.objects, deleted.manifests, deleted.backups), (2, 0, vec![1, 2]));
    assert!(!objects(&store, "/segments/").contains(&all[0]));
    let third = block_on(archive::backup(&tier.handle(), &store, &prefix())).unwrap();
    assert_eq!((third.uploaded_objects, third.reused_objects), (2, all.len() as u64 - 2));
    assert_eq!(sound(&store), [third.number]);
    block_on(archive::restore(&store, &prefix(), &dir.path().join("r"), RestorePoint::Newest)).unwrap();
    assert_all(&open(dir.path(), "r"), 0..300, 0);
    // The damaged backups go with a prune, as others do.
    block_on(archive::prune(&store, &prefix(), 1)).unwrap();
    assert!(verify(&store).damages.is_empty());
}

#[test]
fn deletion_that_took_no_number_is_ended_by_the_next() {
    let dir = tempfile::tempdir().unwrap();
    let (tier, store) = (open(dir.path(), "t"), InMemory::new());
    put_all(&tier, 0..300, 0);
    block_on(archive::backup(&tier.handle(), &store, &prefix())).unwrap();
    // The first one was killed here.
    block_on(store.delete(&objects(&store, "/segments/")[0])).unwrap();
    let deleted = block_on(archive::delete_damaged(&store, &prefix(), &verify(&store))).unwrap();
    assert_eq!((deleted.objects, deleted.backups), (0, vec![1]));
    // A backup that listed the object before can't take number 2.
    assert_eq!(objects(&store, "/manifests/").len(), 2);
    let third = block_on(archive::backup(&tier.handle(), &store, &prefix())).unwrap();
    assert_eq!((third.number, sound(&store)), (3, vec![3]));
}

#[test]
fn damaged_manifest_that_is_deleted_lets_prunes_go_on() {
    let dir = tempfile::tempdir().unwrap();
    let (tier, store) = (open(dir.path(), "t"), InMemory::new());
    for version in 0..3 {
        put_all(&tier, 0..50, version);
        block_on(archive::backup(&tier.handle(), &store, &prefix())).unwrap();
    }
    flip(&store, &objects(&store, "/manifests/")[1]);
    let refused = block_on(archive::prune(&store, &prefix(), 2));
    assert!(matches!(refused, Err(ArchiveError::Damaged { .. })), "{refused:?}");
    let deleted = block_on(archive::delete_damaged(&store, &prefix(), &verify(&store))).unwrap();
    assert_eq!((deleted.objects, deleted.manifests), (0, 1));
    assert_eq!((verify(&store).damages.len(), sound(&store)), (0, vec![1, 3]));
    assert_eq!(block_on(archive::prune(&store, &prefix(), 1)).unwrap().backups, 1);
    assert_eq!(verify(&store).objects, objects(&store, "/segments/").len() as u64);
}

#[test]
fn object_that_is_sound_at_the_second_read_stays() {
    let dir = tempfile::tempdir().unwrap();
    let (tier, store) = (open(dir.path(), "t"), InMemory::new());
    put_all(&tier, 0..300, 0);
    block_on(archive::backup(&tier.handle(), &store, &prefix())).unwrap();
    let (segment, manifest) = (&objects(&store, "/segments/")[1], &objects(&store, "/manifests/")[0]);
    for path in [segment, manifest] {
        flip(&store, path);
        let verified = verify(&store);
        flip(&store, path);
        let deleted = block_on(archive::delete_damaged(&store, &prefix(), &verified)).unwrap();
        assert_eq!((deleted, sound(&store)), (archive::DeletedDamage::default(), vec![1]));
    }
}

#[test]
fn damage_deleted_at_any_operation_of_a_backup_is_not_in_it() {
    for n in 0.. {
        let (_dir, tier, store) = with_damage();
        put_all(&tier, 0..10, 1);
        store.call_at(n, move || {
            let deleted = block_on(archive::delete_damaged(&store.inner, &prefix(), &verify(&store.inner)));
            assert_eq!(deleted.unwrap().objects, 1);
        });
        let made = block_on(archive::backup(&tier.handle(), store, &prefix())).unwrap();
        let is_called = store.operations() > n;
        store.begin(Fault::None);
        assert_eq!(sound(store), if is_called { vec![made.number] } else { vec![] }, "{n}");
        if !is_called {
            assert!(n > 5);
            break;
        }
    }
}

#[test]
fn backup_at_any_operation_of_a_deletion_is_sound_or_named() {
    let mut seen = [0; 2];
    for n in 0.. {
        let (_dir, tier, store) = with_damage();
        let (verified, handle) = (verify(store), tier.handle());
        store.call_at(n, move || {
            block_on(archive::backup(&handle, &store.inner, &prefix())).unwrap();
        });
        let deleted = block_on(archive::delete_damaged(store, &prefix(), &verified)).unwrap();
        let is_called = store.operations() > n;
        store.begin(Fault::None);
        let newest = block_on(archive::list(store, &prefix())).unwrap().backups.pop().unwrap().number;
        let is_sound = sound(store) == [newest];
        // One that is listed after the last look has looked after the deletion.
        assert!(is_sound || deleted.backups.contains(&newest), "{n}: {deleted:?}");
        seen[usize::from(is_sound)] += 1;
        let next = block_on(archive::backup(&tier.handle(), store, &prefix())).unwrap();
        assert!(sound(store).contains(&next.number), "{n}");
        if !is_called {
            assert!(n > 5 && seen.iter().all(|count| *count > 0), "{n}: {seen:?}");
            break;
        }
    }
}

#[test]
fn deletion_that_fails_at_any_operation_is_ended_by_the_next() {
    for fault in [Fault::Once, Fault::Stop, Fault::Unanswered] {
        for n in 0.. {
            let dir = tempfile::tempdir().unwrap();
            let (tier, store) = (open(dir.path(), "t"), Doubtful::new());
            put_all(&tier, 0..300, 0);
            block_on(archive::backup(&tier.handle(), &store, &prefix())).unwrap();
            let all = objects(&store.inner, "/segments/");
            flip(&store.inner, &all[0]);
            flip(&store.inner, &all[1]);
            let verified = verify(&store);
            store.begin(fault(n));
            let failed = block_on(archive::delete_damaged(&store, &prefix(), &verified));
            let is_cut = store.operations() > n;
            store.begin(Fault::None);
            assert!(failed.is_ok() != is_cut, "{n}: {failed:?}");
            block_on(archive::delete_damaged(&store, &prefix(), &verify(&store))).unwrap();
            let left = objects(&store.inner, "/segments/");
            assert_eq!(left, all[2..], "only the damaged ones are gone");
            block_on(archive::backup(&tier.handle(), &store, &prefix())).unwrap();
            assert_eq!(sound(&store).len(), 1);
            if !is_cut {
                break;
            }
        }
    }
}
