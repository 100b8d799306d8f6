//! Continuous backups read the segments that changed, and no others.

use core::time::Duration;

use coldpress_std::archive::object_store::path::Path;
use coldpress_std::archive::object_store::{ObjectStore as _, ObjectStoreExt as _};
use coldpress_std::archive::{self, ContinuousOptions};
use futures_util::TryStreamExt as _;

use crate::common::{Fault, assert_all, block_on, noise, prefix, put_all};
use crate::world::{EVERY, World};

const KEYS: u64 = 900;

/// Runs the archive of a world beside a script of calls: one after each backup, with the number of its round.
fn each_round(world: &World, rounds: u64, mut call: impl FnMut(u64)) {
    let (timer, archive) = (world.timer, world.archive);
    let script = async {
        for round in 0..rounds {
            timer.script_until(EVERY * (u32::try_from(round).unwrap() + 1) - Duration::from_secs(1)).await;
            call(round);
        }
        archive.stop();
    };
    let (handle, prefix) = (world.tier.handle(), prefix());
    timer.run_beside(archive.run(&handle, world.store, &prefix, world.options), script).unwrap();
}

/// Restores the newest backup, and compares it with the tier.
fn assert_restored(world: &World, keys: u64) {
    let restored = world.restore();
    for key in 0..keys {
        let key = key.to_le_bytes();
        assert_eq!(restored.get(&key).unwrap(), world.tier.get(&key).unwrap(), "{key:?}");
    }
    restored.close().unwrap();
}

#[test]
fn later_backups_read_segments_that_changed_alone() {
    let world = World::new();
    put_all(&world.tier, 0..KEYS, 0);
    let mut read = Vec::new();
    each_round(&world, 5, |round| {
        read.push(world.archive.stats().read_bytes);
        put_all(&world.tier, round..round + 1, 1);
    });
    read.push(world.archive.stats().read_bytes);
    assert!(read[0] > 900 << 10, "the first one reads all: {read:?}");
    // A key is in one segment, and the next one may be opened.
    for pair in read.windows(2) {
        assert!((1..=4).contains(&((pair[1] - pair[0]) >> 16)), "{read:?}");
    }
    assert_restored(&world, KEYS);
    assert!(block_on(archive::verify(&world.store.inner, &prefix())).unwrap().damages.is_empty());
}

#[test]
fn backups_of_a_busy_tier_are_what_it_held() {
    let world = World::new();
    put_all(&world.tier, 0..KEYS, 0);
    let mut state = 1_u64;
    let mut draw = |below: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % below
    };
    each_round(&world, 40, |round| {
        assert_eq!(world.archive.stats().backups, round + 1, "{:?}", world.archive.stats());
        assert_restored(&world, KEYS);
        for _ in 0..draw(60) + 1 {
            let key = draw(KEYS).to_le_bytes();
            match draw(4) {
                0 => drop(world.tier.remove(&key).unwrap()),
                _ => world.tier.put(&key, &noise(draw(1 << 20), 1 + draw(2_000) as usize)).unwrap(),
            }
        }
        // The whole log moves now and then.
        if round % 10 == 9 {
            (0..3).for_each(|version| put_all(&world.tier, 0..KEYS, round * 3 + version));
        }
    });
    assert_restored(&world, KEYS);
    let stats = world.archive.stats();
    assert!(stats.read_bytes < stats.backups * (2 << 20) / 2, "{stats:?}");
    assert!(block_on(archive::verify(&world.store.inner, &prefix())).unwrap().damages.is_empty());
}

#[test]
fn backup_after_a_failed_one_has_what_changed_before_both() {
    for fault in [Fault::Once, Fault::Unanswered, Fault::Torn] {
        for n in 0.. {
            let world = World::new();
            put_all(&world.tier, 0..300, 0);
            let mut operations = 0;
            each_round(&world, 3, |round| {
                put_all(&world.tier, round * 50..round * 50 + 20, round + 1);
                world.tier.flush().unwrap();
                operations = world.store.operations();
                // The second backup fails; the third one follows a second later, or has all the same.
                world.store.begin(if round == 0 { fault(n) } else { Fault::None });
            });
            assert_restored(&world, 300);
            assert!(block_on(archive::verify(&world.store.inner, &prefix())).unwrap().damages.is_empty());
            if world.archive.stats().failures == 0 && n > 20 {
                break;
            }
        }
    }
}

#[test]
fn object_that_is_gone_is_uploaded_from_an_unchanged_segment() {
    let world = World::new();
    put_all(&world.tier, 0..KEYS, 0);
    let store = &world.store.inner;
    each_round(&world, 3, |round| {
        if round == 1 {
            let folder = Path::from(format!("{}/segments", prefix()));
            let all: Vec<_> = block_on(store.list(Some(&folder)).try_collect()).unwrap();
            block_on(store.delete(&all[3].location)).unwrap();
        }
        put_all(&world.tier, round..round + 1, 1);
    });
    assert_eq!(world.archive.stats().failures, 0);
    assert_restored(&world, KEYS);
}

#[test]
fn next_run_knows_nothing_of_the_tier_before() {
    let world = World::new();
    put_all(&world.tier, 0..KEYS, 0);
    world.archive.stop();
    world.run().unwrap();
    let read = world.archive.stats().read_bytes;
    // Restored, its segments have the sequences of the first one, and then other bytes.
    let other = world.restore();
    put_all(&other, 0..20, 1);
    put_all(&world.tier, 0..20, 2);
    let options = ContinuousOptions::default();
    world.timer.run(world.archive.run(&other.handle(), world.store, &prefix(), options)).unwrap();
    assert!(world.archive.stats().read_bytes >= 2 * read, "{read}: {:?}", world.archive.stats());
    other.close().unwrap();
    let restored = world.restore();
    assert_all(&restored, 0..20, 1);
    assert_all(&restored, 20..KEYS, 0);
}
