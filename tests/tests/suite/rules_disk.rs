//! Blocks that a disk lacks, and segments that are freed without a request.

use coldpress_core::compaction::CompactionTask::CompactData;
use coldpress_core::compaction::Outcome;
use coldpress_core::segments::SegmentState;
use coldpress_tests::sim::{Do, Key, Setup};

/// A file on a disk that has no blocks for so many of its segments.
fn tight(missing: u32) -> Setup {
    let mut setup = Setup::file();
    setup.config.allocates = true;
    setup.missing = missing;
    setup
}

// Without blocks for the reserve the first write behind the last block fails, and no erase intent can be written any more.
#[test]
fn full_disk_stops_new_writes_and_nothing_else() {
    let (full, setup) = (tight(0), tight(3));
    let keys = |config: &coldpress_core::config::TierConfig, segments: u32| {
        let per_segment = config.charge_bytes_max()
            / u64::from(
                config.geometry.segment_count() - coldpress_core::config::reserve_segments(config.streams),
            );
        let keys = per_segment * u64::from(segments) / u64::from(config.charge_bytes(4, 60, true));
        Key::try_from(keys).unwrap()
    };
    let reserve = coldpress_core::config::reserve_segments(setup.config.streams);
    let segments = setup.config.geometry.segment_count() - setup.missing;
    let keys = keys(&full.config, segments - reserve);
    let mut arena = setup.arena();
    let mut lasting = setup.blank();
    for life in 0..4 {
        let mut world = setup.mount(&mut arena, lasting);
        for round in 0..6 {
            for key in 1..=keys {
                world.follow(&[Do::Put(key, 40 + round)]);
            }
            world.follow(&[Do::Sync, Do::Settle]);
            assert!(world.tier.backed_segments() <= segments, "life {life}: {}", world.sketch());
            for key in (1..=keys).rev() {
                world.follow(&[Do::Remove(key)]);
            }
            world.follow(&[Do::Sync, Do::Settle]);
        }
        let counters = world.tier.counters();
        assert_eq!((counters.failures, counters.segments_abandoned), (0, 0), "life {life}");
        world.check();
        lasting = world.end().cut(&[]);
    }
}

#[test]
fn emptied_log_is_freed_at_rest_alone() {
    for cleans_at_rest in [false, true] {
        let mut setup = Setup::file();
        setup.config.cleans_at_rest = cleans_at_rest;
        let mut arena = setup.arena();
        let mut world = setup.mount(&mut arena, setup.blank());
        for key in 1..=20 {
            world.follow(&[Do::Put(key, 60)]);
        }
        for key in 1..=20 {
            world.follow(&[Do::Remove(key)]);
        }
        world.follow(&[Do::Sync]);
        for _ in 0..10 {
            world.follow(&[Do::Tick(2_000), Do::Settle]);
        }
        let sealed = world.tier.segments().iter().filter(|s| s.state() == SegmentState::Sealed).count();
        assert_eq!(sealed == 0, cleans_at_rest, "{}", world.sketch());
        world.check();
    }
}

#[test]
fn tidying_does_not_hold_up_clients_that_write() {
    let mut setup = Setup::file();
    setup.config.cleans_at_rest = true;
    let mut arena = setup.arena();
    let mut world = setup.mount(&mut arena, setup.blank());
    let begun_ms = world.lasting.now.monotonic_ms;
    // Each put supersedes the one before: nearly all segments are dead when they are full, so all puts fit.
    for round in 0..20 {
        world.follow(&[Do::Put(1, 60 + round % 2), Do::Sync, Do::Tick(2)]);
    }
    let (erases, passed_ms) = (world.tier.counters().erases, world.lasting.now.monotonic_ms - begun_ms);
    assert!(erases <= 1 + passed_ms / 50, "one segment each 50 ms: {erases} in {passed_ms} ms");
}

#[test]
fn compaction_completed_leaves_nothing_for_a_second() {
    for mut setup in [Setup::file(), Setup::flash(), Setup::device()] {
        setup.config.stale_permille_min = 250;
        let mut arena = setup.arena();
        let mut world = setup.mount(&mut arena, setup.blank());
        for round in 0..3 {
            for key in 1..=12 {
                world.follow(&[Do::Put(key, 30 + round)]);
            }
            for key in (1..=12).filter(|key| key % 4 != 0) {
                world.follow(&[Do::Remove(key)]);
            }
            world.follow(&[Do::Sync]);
        }
        let first = world.run(CompactData);
        assert_eq!(first.outcome, Outcome::Completed, "{first:?}");
        assert!(first.victims.freed > 0, "{first:?}");
        let second = world.run(CompactData);
        assert_eq!((second.victims.first, second.victims.freed), (None, 0), "{first:?}\n{second:?}");
        world.check();
    }
}
