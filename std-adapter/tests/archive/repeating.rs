//! Continuous backups, in virtual time.

use core::future::Future as _;
use core::num::NonZeroUsize;
use core::sync::atomic::Ordering::SeqCst;
use core::time::Duration;
use std::sync::Mutex;

use coldpress_std::archive::object_store::path::Path;
use coldpress_std::archive::object_store::{ObjectStore as _, ObjectStoreExt as _};
use coldpress_std::archive::{
    self, ArchiveError, ArchiveTimer as _, ContinuousArchive, ContinuousStats, RestorePoint,
};
use coldpress_std::{ColdTier, TierError};
use futures_util::TryStreamExt as _;

use crate::common::{Fault, assert_all, block_on, noise, open, prefix, put_all};
use crate::world::{EVERY, World};

/// The moment of the newest write, as a tier has it.
fn stamp(tier: &ColdTier) -> Duration {
    let found = tier.get(b"stamp").unwrap();
    found.map_or(Duration::ZERO, |bytes| Duration::from_nanos(u64::from_le_bytes(bytes.try_into().unwrap())))
}

/// A moment at which the machine might be lost.
struct Moment {
    now: Duration,
    /// How long ago the oldest write was made that would be lost.
    loss: Duration,
    stats: ContinuousStats,
}

#[test]
fn loss_at_any_moment_is_an_interval_and_a_backup_at_most() {
    let mut world = World::new();
    world.options.keep = NonZeroUsize::new(2);
    put_all(&world.tier, 0..300, 0);
    let (timer, store, archive, handle) = (world.timer, world.store, world.archive, world.tier.handle());
    let moments: &'static Mutex<Vec<Moment>> = Box::leak(Box::default());
    let writes: &'static Mutex<Vec<Duration>> = Box::leak(Box::default());
    let base = Box::leak(world.dir.path().to_path_buf().into_boxed_path());
    // At each operation of the store the machine may be lost, and a client writes.
    store.call_at_each(move || {
        let now = timer.now();
        let mut writes = writes.lock().unwrap();
        let stats = archive.stats();
        if stats.newest.is_some() {
            let dir = base.join("lost");
            block_on(archive::restore(&store.inner, &prefix(), &dir, RestorePoint::Newest)).unwrap();
            let restored = open(base, "lost");
            assert_all(&restored, 0..100, 0);
            let newest = stamp(&restored);
            restored.close().unwrap();
            std::fs::remove_dir_all(dir).unwrap();
            let loss =
                writes.iter().find(|write| **write > newest).map_or(Duration::ZERO, |write| now - *write);
            moments.lock().unwrap().push(Moment { now, loss, stats });
        }
        if writes.len() == 150 {
            archive.stop();
            return;
        }
        let at = writes.len() as u64;
        // Two writes are never at one time, so a stamp tells all of those before.
        let write = writes.last().map_or(now, |last| now.max(*last + Duration::from_nanos(1)));
        writes.push(write);
        handle.put(b"stamp", &u64::try_from(write.as_nanos()).unwrap().to_le_bytes()).unwrap();
        handle.put(&(100 + at % 50).to_le_bytes(), &noise(at, 1000)).unwrap();
    });
    world.run().unwrap();
    store.begin(Fault::None);
    let moments = moments.lock().unwrap();
    let stats = archive.stats();
    let took = moments.iter().map(|moment| moment.stats.newest_took).max().unwrap().max(stats.newest_took);
    assert!(took < EVERY && stats.backups > 4 && stats.pruned_backups > 0, "{stats:?}");
    for Moment { now, loss, stats } in moments.iter() {
        let behind = stats.behind.unwrap();
        // The stats know of each loss, and the loss has its bound.
        assert!(*loss <= behind, "at {now:?} {loss:?} are lost; the archive was {behind:?} behind");
        assert!(behind <= EVERY + took, "at {now:?} it was {behind:?} behind; a backup took {took:?}");
    }
    let most = moments.iter().map(|moment| moment.loss).max().unwrap();
    assert!(most > EVERY, "the bound is come near to: {most:?}");
    assert_eq!(stamp(&world.restore()), stamp(&world.tier), "the last backup has all");
}

#[test]
fn failures_are_tried_again_after_longer_and_longer_waits() {
    let world = World::new();
    put_all(&world.tier, 0..100, 0);
    let (timer, store, archive) = (world.timer, world.store, world.archive);
    let script = async {
        timer.script_until(Duration::from_secs(30)).await;
        assert_eq!((archive.stats().backups, archive.stats().failures_in_a_row), (1, 0));
        put_all(&world.tier, 0..100, 1);
        world.tier.flush().unwrap();
        store.begin(Fault::Stop(0));
        timer.script_until(Duration::from_secs(300)).await;
        let stats = archive.stats();
        assert_eq!((stats.failures, u64::from(stats.failures_in_a_row)), (stats.failures, stats.failures));
        assert!(stats.last_error.unwrap().contains("as the test wants"));
        // The first backup began at 0.
        let behind = stats.behind.unwrap();
        assert!(behind > Duration::from_secs(290) && behind <= Duration::from_secs(300), "{behind:?}");
        assert!(stats.unsaved_bytes.unwrap() > 100_000);
        let tries: Vec<_> = store.steps.lock().unwrap().iter().map(Duration::as_secs_f64).collect();
        let waits: Vec<_> = tries.windows(2).map(|pair| (pair[1] - pair[0]).round()).collect();
        assert_eq!(waits, [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0]);
        store.begin(Fault::None);
        timer.script_until(Duration::from_secs(400)).await;
        let stats = archive.stats();
        assert_eq!((stats.backups, stats.failures_in_a_row, stats.last_error), (2, 0, None));
        archive.stop();
    };
    let handle = world.tier.handle();
    let prefix = prefix();
    let ended = timer.run_beside(archive.run(&handle, store, &prefix, world.options), script);
    ended.unwrap();
    assert_all(&world.restore(), 0..100, 1);
}

#[test]
fn unchanged_tier_is_not_backed_up_again_and_not_behind() {
    let world = World::new();
    put_all(&world.tier, 0..100, 0);
    let (timer, store, archive) = (world.timer, world.store, world.archive);
    let script = async {
        timer.script_until(EVERY * 10 - Duration::from_secs(1)).await;
        let stats = archive.stats();
        assert_eq!((stats.backups, stats.unchanged, stats.unsaved_bytes), (1, 9, Some(0)));
        assert!(stats.behind.unwrap() < EVERY, "{stats:?}");
        world.tier.put(b"one", b"more").unwrap();
        timer.script_until(EVERY * 11).await;
        assert_eq!(archive.stats().backups, 2);
        archive.stop();
    };
    let handle = world.tier.handle();
    let prefix = prefix();
    let ended = timer.run_beside(archive.run(&handle, store, &prefix, world.options), script);
    ended.unwrap();
    let stats = archive.stats();
    assert_eq!((stats.backups, world.numbers().len()), (2, 2));
    assert_eq!(world.restore().get(b"one").unwrap().unwrap(), b"more");
    let stored: u64 = block_on(store.inner.list(None).try_collect::<Vec<_>>())
        .unwrap()
        .iter()
        .map(|object| object.size)
        .sum();
    assert_eq!(stats.uploaded_bytes, stored);
}

#[test]
fn deleted_damage_is_uploaded_though_nothing_changed() {
    let world = World::new();
    put_all(&world.tier, 0..100, 0);
    let (timer, store, archive) = (world.timer, &world.store.inner, world.archive);
    let (handle, prefix) = (world.tier.handle(), prefix());
    let script = async {
        timer.script_until(EVERY / 2).await;
        let folder = Path::from(format!("{prefix}/segments"));
        let all: Vec<_> = store.list(Some(&folder)).try_collect().await.unwrap();
        let damaged = vec![7; usize::try_from(all[0].size).unwrap()];
        store.put(&all[0].location, damaged.into()).await.unwrap();
        let verified = archive::verify(store, &prefix).await.unwrap();
        assert_eq!(archive::delete_damaged(store, &prefix, &verified).await.unwrap().objects, 1);
        timer.script_until(EVERY * 3 - Duration::from_secs(1)).await;
        assert_eq!((archive.stats().backups, archive.stats().unchanged), (2, 1));
        archive.stop();
    };
    timer.run_beside(archive.run(&handle, world.store, &prefix, world.options), script).unwrap();
    assert_all(&world.restore(), 0..100, 0);
}

#[test]
fn stop_at_any_operation_is_followed_by_a_last_backup() {
    for n in 0.. {
        let world = World::new();
        put_all(&world.tier, 0..100, 0);
        let (archive, handle) = (world.archive, world.tier.handle());
        world.store.call_at(n, move || {
            handle.put(b"last", b"value").unwrap();
            archive.stop();
        });
        if n == 0 {
            // To stop it before it runs is heeded too.
            archive.stop();
        }
        let is_over = core::cell::Cell::new(false);
        let (handle, prefix) = (world.tier.handle(), prefix());
        let script = async {
            world.timer.script_until(EVERY / 2).await;
            is_over.set(archive.stats().under_way.is_none() && world.store.operations() <= n);
            archive.stop();
        };
        let ended = world.timer.run_beside(archive.run(&handle, world.store, &prefix, world.options), script);
        ended.unwrap();
        world.store.begin(Fault::None);
        let restored = world.restore();
        assert_all(&restored, 0..100, 0);
        assert!(restored.get(b"last").unwrap().is_some() || is_over.get(), "{n}");
        assert!(archive.stats().unsaved_bytes == Some(0) && archive.stats().under_way.is_none());
        if is_over.get() {
            assert!(n > 5, "{n}");
            break;
        }
    }
}

#[test]
fn prunes_keep_the_backups_that_were_asked_for() {
    let mut world = World::new();
    world.options.keep = NonZeroUsize::new(4);
    let (timer, archive) = (world.timer, world.archive);
    let script = async {
        for round in 0..20 {
            put_all(&world.tier, 0..30, round);
            timer.script_until(EVERY * (1 + u32::try_from(round).unwrap()) - Duration::from_secs(1)).await;
            let kept = world.numbers().len();
            assert!((1..=5).contains(&kept) && (kept >= 4 || round < 4), "round {round}: {kept} are kept");
        }
        archive.stop();
    };
    let (handle, prefix) = (world.tier.handle(), prefix());
    let ended = timer.run_beside(archive.run(&handle, world.store, &prefix, world.options), script);
    ended.unwrap();
    let stats = archive.stats();
    assert_eq!(
        (stats.prune_failures, stats.backups - stats.pruned_backups),
        (0, world.numbers().len() as u64)
    );
    assert!(block_on(archive::verify(&world.store.inner, &prefix)).unwrap().damages.is_empty());
}

#[test]
fn prune_that_fails_is_counted_and_the_backup_stands() {
    let mut world = World::new();
    world.options.keep = NonZeroUsize::new(1);
    let (timer, archive, store) = (world.timer, world.archive, world.store);
    let script = async {
        timer.script_until(EVERY / 2).await;
        // They go to the segments of the others, whose objects are needed no more.
        put_all(&world.tier, 30..60, 0);
        store.fail_deletes.store(true, SeqCst);
        timer.script_until(EVERY * 2 - Duration::from_secs(1)).await;
        let stats = archive.stats();
        assert_eq!((stats.backups, stats.failures, stats.prune_failures), (2, 0, 1), "{stats:?}");
        assert!(stats.last_error.is_some() && stats.behind.unwrap() < EVERY);
        store.fail_deletes.store(false, SeqCst);
        archive.stop();
    };
    let (handle, prefix) = (world.tier.handle(), prefix());
    put_all(&world.tier, 0..30, 0);
    let ended = timer.run_beside(archive.run(&handle, store, &prefix, world.options), script);
    ended.unwrap();
    assert_all(&world.restore(), 0..60, 0);
}

#[test]
fn earlier_backups_tell_how_far_it_is_behind() {
    let world = World::new();
    put_all(&world.tier, 0..30, 0);
    world.archive.stop();
    world.run().unwrap();
    // Another process begins an hour later, and its store fails.
    world.timer.advance(Duration::from_secs(3600));
    let next: &'static ContinuousArchive = Box::leak(Box::new(ContinuousArchive::with_timer(world.timer)));
    let (handle, prefix, at) = (world.tier.handle(), prefix(), world.timer.now());
    world.store.begin(Fault::Stop(2));
    let script = async {
        world.timer.script_until(at + EVERY).await;
        next.stop();
    };
    let ended = world.timer.run_beside(next.run(&handle, world.store, &prefix, world.options), script);
    assert!(matches!(ended, Err(ArchiveError::Store(_))), "{ended:?}");
    let stats = next.stats();
    assert_eq!((stats.newest, stats.backups, stats.unsaved_bytes), (Some(1), 0, None));
    assert_eq!(stats.newest_taken_s, world.archive.stats().newest_taken_s);
    let behind = stats.behind.unwrap();
    assert!(behind >= EVERY + Duration::from_secs(3600) && behind < 3 * EVERY + Duration::from_secs(3600));
    assert!(stats.failures > 3 && u64::from(stats.failures_in_a_row) == stats.failures);
}

#[test]
fn run_ends_where_further_tries_are_in_vain() {
    let World { dir, tier, timer, store, archive, options } = World::new();
    put_all(&tier, 0..1, 0);
    let (handle, prefix) = (tier.handle(), prefix());
    let script = async {
        let busy = archive.run(&handle, store, &prefix, options).await;
        assert!(matches!(busy, Err(ArchiveError::Busy)), "{busy:?}");
        timer.script_until(EVERY / 2).await;
        tier.close().unwrap();
    };
    let ended = timer.run_beside(archive.run(&handle, store, &prefix, options), script);
    assert!(matches!(ended, Err(ArchiveError::Tier(TierError::Closed))), "{ended:?}");
    let other = open(dir.path(), "other");
    put_all(&other, 0..1, 0);
    let ended = timer.run(archive.run(&other.handle(), store, &prefix, options));
    assert!(matches!(ended, Err(ArchiveError::OtherStore { .. })), "{ended:?}");
}

#[test]
fn dropped_run_is_over_and_another_one_begins() {
    static ARCHIVE: ContinuousArchive = ContinuousArchive::new();
    let world = World::new();
    put_all(&world.tier, 0..30, 0);
    let (handle, prefix) = (world.tier.handle(), prefix());
    let mut cut = Box::pin(ARCHIVE.run(&handle, &world.store.inner, &prefix, world.options));
    block_on(core::future::poll_fn(|cx| {
        assert!(cut.as_mut().poll(cx).is_pending());
        if ARCHIVE.stats().backups == 0 { core::task::Poll::Pending } else { core::task::Poll::Ready(()) }
    }));
    drop(cut);
    assert!(ARCHIVE.stats().under_way.is_none());
    ARCHIVE.stop();
    let store = &world.store.inner;
    let options = world.options;
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    world.tier.put(b"more", b"value").unwrap();
    // It is a task as any other, where its surroundings live as long.
    let task = async move { ARCHIVE.run(&handle, store, &prefix, options).await };
    runtime.block_on(async move { tokio::spawn(task).await.unwrap() }).unwrap();
    assert_eq!(ARCHIVE.stats().newest, Some(2));
}
