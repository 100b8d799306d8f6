//! Rule 11 where the medium fails: a time that did not become durable is pending for the log again.

use coldpress_core::compaction::CompactionTask::CleanupExpired;
use coldpress_core::drive::MediumError;
use coldpress_tests::sim::{Do, Effect, Seen, Setup, World};

/// Key 1 is due, and the next operation on the medium comes from the task that drops it.
fn due<'m>(setup: &Setup, arena: &'m mut coldpress_tests::sim::Arena) -> World<'m> {
    let mut world = setup.mount(arena, setup.blank());
    world.follow(&[Do::PutFor(1, 20, 100), Do::Put(2, 20), Do::Sync, Do::Settle, Do::Tick(500_000)]);
    world
}

/// The power fails, and the clock of the next mount is back at its start.
fn check_set_back(setup: &Setup, world: World<'_>, what: &str) {
    let last_s = world.tier.clock_s();
    let mut left = world.end().cut(&[]);
    left.now.wall_s = last_s - 495;
    let mut arena = setup.arena();
    let mut world = setup.mount(&mut arena, left);
    let (clock_s, every_s) = (world.tier.clock_s(), setup.config.time_every_s);
    assert!(
        clock_s + every_s >= last_s,
        "rule 11: {what}: the clock starts at {clock_s} s, it was {last_s} s"
    );
    world.run(CleanupExpired);
    assert_eq!(world.read(1), Seen::Absent, "rule 11: {what}: came back");
}

// Without the rule: a key expires on a tier that nobody writes to, and is dropped. The write of that time fails, and is not
// repeated for `time_every_s`. After a cut the clock is set back: the key is there again.
#[test]
fn time_whose_write_failed_is_written_again() {
    for setup in [Setup::file(), Setup::flash()] {
        for failures in 1..4 {
            let mut arena = setup.arena();
            let mut world = due(&setup, &mut arena);
            let from = world.lasting.medium.counts().operations;
            world.lasting.medium.faults.during(from, from + failures, Effect::clean(MediumError::Io));
            assert_eq!(world.run(CleanupExpired).expired_records, 1);
            for _ in 0..6 {
                world.follow(&[Do::Settle, Do::Tick(3_000)]);
            }
            world.settle();
            assert!(world.tier.counters().failures >= failures, "it failed");
            check_set_back(&setup, world, &format!("{failures} failed"));
        }
    }
}

// Without the rule: the same, and the sync behind the write fails. The writes before that sync may be lost at the cut.
#[test]
fn time_whose_sync_failed_is_written_again() {
    for setup in [Setup::file(), Setup::flash()] {
        for failures in 1..4 {
            let mut arena = setup.arena();
            let mut world = due(&setup, &mut arena);
            world.lasting.medium.faults.sync_fails = failures;
            assert_eq!(world.run(CleanupExpired).expired_records, 1);
            for _ in 0..6 {
                world.follow(&[Do::Settle, Do::Tick(3_000)]);
            }
            world.settle();
            assert_eq!(world.tier.counters().sync_failures, u64::from(failures));
            check_set_back(&setup, world, &format!("{failures} syncs failed"));
        }
    }
}

// A pending time is tried again at the pace of all retries, and no faster. The retries end once it is durable.
#[test]
fn time_that_can_not_be_written_is_tried_at_the_pace_of_retries() {
    for setup in [Setup::file(), Setup::flash()] {
        let mut arena = setup.arena();
        let mut world = due(&setup, &mut arena);
        let from = world.lasting.medium.counts().operations;
        world.lasting.medium.faults.during(from, from + 1_000_000, Effect::clean(MediumError::Io));
        assert!(world.schedule(CleanupExpired));
        let (end_ms, before) = (world.lasting.now.monotonic_ms + 200_000, world.actions);
        while world.lasting.now.monotonic_ms < end_ms {
            world.settle();
            let wait_ms = world.tier.poll_timeout(world.lasting.now).unwrap_or(1_000);
            world.tick(wait_ms.max(1));
        }
        let actions = world.actions - before;
        assert!((50..300).contains(&actions), "{actions} actions in 200 s");
        world.lasting.medium.faults.clear();
        for _ in 0..4 {
            world.follow(&[Do::Tick(3_000), Do::Settle]);
        }
        let before = world.lasting.medium.counts();
        world.follow(&[Do::Tick(3_000), Do::Settle]);
        assert_eq!(world.lasting.medium.counts(), before, "nothing is pending any more");
    }
}
