//! Backups in a server that works.

use coldpress_std::archive::object_store::{Error, ObjectStore as _, PutMode, PutOptions};
use coldpress_std::archive::{self, ArchiveError, RestorePoint};

use crate::tiers::{assert_restores, open, put_all, sound};
use crate::{Server, prefix, wait};

#[test]
fn backups_in_s3_are_listed_restored_and_pruned() {
    let Some(server) = Server::start() else { return };
    let (store, dir) = (server.store(), tempfile::tempdir().unwrap());
    let tier = open(dir.path(), "t");
    let none = wait(archive::restore(&store, &prefix(), &dir.path().join("r"), RestorePoint::Newest));
    assert!(matches!(none, Err(ArchiveError::NoBackup)), "{none:?}");
    for version in 1..4 {
        put_all(&tier, version);
        let made = wait(archive::backup(&tier.handle(), &store, &prefix())).unwrap();
        assert_eq!((made.number, made.attempts), (version, 1));
        assert!(made.uploaded_objects > 0);
    }
    let again = wait(archive::backup(&tier.handle(), &store, &prefix())).unwrap();
    assert_eq!((again.number, again.uploaded_objects), (4, 0), "nothing was written");
    assert_eq!(sound(&store), [1, 2, 3, 4]);
    for number in 1..=4 {
        assert_restores(&store, RestorePoint::Number(number), number.min(3));
    }
    let pruned = wait(archive::prune(&store, &prefix(), 2)).unwrap();
    assert!(pruned.backups == 2 && pruned.objects > 0, "{pruned:?}");
    assert_eq!(sound(&store), [3, 4]);
    assert_restores(&store, RestorePoint::Newest, 3);
    // The prune has taken number 5.
    assert_eq!(wait(archive::backup(&tier.handle(), &store, &prefix())).unwrap().number, 6);
    assert_eq!(sound(&store), [3, 4, 6]);
}

#[test]
fn second_conditional_put_in_s3_is_refused() {
    let Some(server) = Server::start() else { return };
    let store = server.store();
    let put = |bytes: &'static [u8]| {
        wait(store.put_opts(&"claim".into(), bytes.into(), PutOptions::from(PutMode::Create)))
    };
    put(b"first").unwrap();
    for bytes in [&b"second"[..], b"first"] {
        let refused = put(bytes);
        assert!(
            matches!(refused, Err(Error::AlreadyExists { .. } | Error::Precondition { .. })),
            "{refused:?}"
        );
    }
    let there = wait(async { store.get_opts(&"claim".into(), Default::default()).await?.bytes().await });
    assert_eq!(&there.unwrap()[..], b"first");
}

#[test]
fn second_writer_of_an_s3_prefix_is_refused() {
    let Some(server) = Server::start() else { return };
    let (store, dir) = (server.store(), tempfile::tempdir().unwrap());
    let (tier, other) = (open(dir.path(), "t"), open(dir.path(), "u"));
    put_all(&tier, 1);
    wait(archive::backup(&tier.handle(), &store, &prefix())).unwrap();
    let refused = wait(archive::backup(&other.handle(), &store, &prefix()));
    assert!(matches!(refused, Err(ArchiveError::OtherStore { .. })), "{refused:?}");
    assert_eq!(sound(&store), [1]);
}
