//! Rule 9 outside a running tier: at a mount after a kill, and at a close while the medium fails.

use coldpress_core::compaction::CompactionTask::CompactData;
use coldpress_core::config::Streams;
use coldpress_core::drive::MediumError;
use coldpress_tests::sim::{Change, Do, Effect, Fate, Key, Lasting, Seen, Setup, World};

/// Key 1 is put and removed; everything else in its segment is overwritten, the segment is cleaned and erased, and the process
/// ends before the erase is durable.
fn erased_and_killed(setup: &Setup) -> Lasting {
    let mut arena = setup.arena();
    let mut world = setup.mount(&mut arena, setup.blank());
    world.follow(&[Do::Put(1, 30), Do::Sync]);
    let at = world.host.entry(&world.hash(1)).unwrap().newest.placed.location.segment;
    let fill = |world: &mut World<'_>| {
        for key in 2..=9 as Key {
            world.follow(&[Do::Put(key, 40), Do::Flush]);
        }
        world.follow(&[Do::Sync, Do::Settle]);
    };
    fill(&mut world);
    world.follow(&[Do::Remove(1), Do::Sync]);
    fill(&mut world);
    fill(&mut world);
    assert!(world.schedule(CompactData));
    let is_marked = |world: &World<'_>| {
        let ops = || world.lasting.medium.unsynced().filter(|op| op.segment == at.get());
        ops().any(|op| op.what == Change::Erase)
            && ops().any(|op| matches!(op.what, Change::Write { offset: 0, .. }))
    };
    world.until("erase", is_marked);
    assert_eq!(world.read(1), Seen::Absent);
    world.end().kill()
}

fn run(setup: &Setup, fails: u32) {
    let mut left = erased_and_killed(setup);
    left.medium.faults.sync_fails = fails;
    let (mut arena, mut again) = (setup.arena(), setup.arena());
    let mut world = World::new(setup.config, arena.lend(), left);
    if world.mount().is_err() {
        // A mount may refuse a medium that it can't make durable; the next process drops the cache.
        let left = world.end().kill();
        world = setup.mount(&mut again, left);
    }
    world.check_recovered();
    assert_eq!(world.read(1), Seen::Absent, "removed and synced");
    for _ in 0..6 {
        for key in 2..=9 as Key {
            world.follow(&[Do::Put(key, 40), Do::Flush]);
        }
        world.follow(&[Do::Sync, Do::Run(CompactData), Do::Settle]);
    }
    assert_eq!(world.read(1), Seen::Absent);
    let left = world.end();
    for fate in [Fate::Kept, Fate::Lost] {
        let plan = vec![fate; left.medium.unsynced().count()];
        let mut arena = setup.arena();
        let world = setup.mount(&mut arena, left.cut(&plan));
        assert_eq!(
            world.read(1),
            Seen::Absent,
            "fails {fails}, {fate:?}: removed and synced, and it is there again"
        );
    }
}

#[test]
fn erase_in_doubt_after_a_failed_mount_sync_revives_nothing() {
    let setup = Setup::new(512, 40, 1, 0x00).unwrap();
    run(&setup, 0);
    run(&setup, 1);
}

/// Writes two records, lets one sync fail and so many operations after it, and ends by `end`, which panics where it never ends.
fn end_in_failures(setup: &Setup, (after, fails): (u64, u64), end: impl Fn(&mut World<'_>)) {
    let mut arena = setup.arena();
    let mut world = setup.mount(&mut arena, setup.blank());
    world.follow(&[Do::Put(1, 20), Do::Put(2, 30), Do::Flush, Do::Settle]);
    world.lasting.medium.faults.sync_fails = 1;
    let from = world.lasting.medium.counts().operations + after;
    world.lasting.medium.faults.during(from, from + fails, Effect::clean(MediumError::NoSpace));
    end(&mut world);
}

fn check(end: impl Fn(&mut World<'_>) + Copy) {
    for setup in [Setup::file(), Setup::flash()] {
        for streams in [Streams::One, Streams::Two, Streams::Four] {
            let mut setup = setup;
            setup.config.streams = streams;
            for (after, fails) in (0..10).flat_map(|after| (0..30).map(move |fails| (after, fails))) {
                end_in_failures(&setup, (after, fails), end);
            }
        }
    }
}

// While writes fail, the segment that was being opened is given up each time, and a close erases none of them again. Without
// the rule the tier asked for a segment and reported itself idle, so nobody polled it again.
#[test]
fn close_ends_once_the_medium_works_again() {
    check(|world| world.close());
}

// The control: a tier that goes on running recovers.
#[test]
fn running_tier_goes_on_once_the_medium_works_again() {
    check(|world| world.sync());
}

// Without the rule: a sync fails, and a unit that it should have made durable can't be read back any more. It is read again for
// ever: no sync ever succeeds, and the tier reports nothing.
#[test]
fn suspect_with_an_unreadable_unit_remounts_and_finds_synced() {
    for setup in [Setup::file(), Setup::flash()] {
        let mut arena = setup.arena();
        let mut world = setup.mount(&mut arena, setup.blank());
        world.follow(&[Do::Put(1, 30), Do::Put(2, 30), Do::Sync, Do::Settle]);
        world.follow(&[Do::Put(1, 40), Do::Put(3, 30), Do::Flush, Do::Settle]);
        let at = world.host.entry(&world.hash(1)).unwrap().newest.placed.location;
        world.lasting.medium.spoil(at.segment.get(), at.offset);
        world.lasting.medium.faults.sync_fails = 1;
        let before = world.tier.counters().failures;
        world.sync();
        assert!(world.tier.needs_remount());
        assert!(world.tier.counters().failures - before < 20, "it is tried again, and not for ever");
        assert!(matches!(world.read(2), Seen::Value(_)), "what can be read is read");
        let left = world.end().kill();
        let mut arena = setup.arena();
        let mut world = setup.mount(&mut arena, left);
        world.check_recovered_but(&[1]);
        assert!(matches!(world.read(2), Seen::Value(_)), "it was synced");
        world.follow(&[Do::Put(1, 20), Do::Sync, Do::Settle]);
        assert!(matches!(world.read(1), Seen::Value(_)), "and it goes on");
    }
}
