//! Rules 6 to 12 of the log where versions, failures, time and space meet, each with the example that would break it.

use coldpress_core::compaction::CompactionTask::{CleanupExpired, CompactData, RebuildIndex};
use coldpress_core::log::{Kind, SegmentState};
use coldpress_core::tier::{MediumError, MountError, Streams};
use coldpress_tests::sim::{Do, Effect, Fate, Lasting, Seen, Setup, World};

/// Fills the open segment of fresh records, so that it is sealed.
fn fill(world: &mut World<'_>, key: u16) {
    let sealed = |world: &World<'_>| {
        world.tier.segments().iter().filter(|segment| segment.state == SegmentState::Sealed).count()
    };
    let before = sealed(world);
    while sealed(world) == before {
        world.follow(&[Do::Put(key, 60), Do::Flush, Do::Settle]);
    }
}

fn remounted(setup: &Setup, lasting: Lasting, check: impl FnOnce(&mut World<'_>)) -> Lasting {
    let mut arena = setup.arena();
    let mut world = setup.mount(&mut arena, lasting);
    check(&mut world);
    world.end()
}

// Rule 6. A put waits in one open segment and the remove after it in another. Were the remove published first, it would find
// no copy to hide and count as needless; then the put is published, stale, and the tombstone goes with its segment: the next
// mount finds the put alone.
#[test]
fn rule_6_remove_is_published_after_the_put_it_hides() {
    let mut setup = Setup::new(1024, 16, 8, 0xFF).unwrap();
    setup.config.streams = Streams::Four;
    let mut arena = setup.arena();
    let mut world = setup.mount(&mut arena, setup.blank());
    // Key 4 is short-lived, so its segment differs from that of a key seen for the first time.
    world.follow(&[Do::Put(4, 4), Do::Put(4, 29), Do::Put(4, 53), Do::Put(3, 4), Do::Remove(3), Do::Sync]);
    let hash = world.hash(3);
    if let Some(entry) = world.host.entry(&hash) {
        assert_eq!(entry.newest.placed.kind, Kind::Tombstone);
        assert!(entry.newest.is_live || entry.copies == 1, "the put is still there: {entry:?}");
    }
    world.follow(&[Do::PutFor(4, 41, 1), Do::Sync, Do::Run(CompactData), Do::Put(4, 4)]);
    world.settle();
    world.check();
    let left = world.end().cut(&[]);
    remounted(&setup, left, |world| assert_eq!(world.read(3), Seen::Absent, "I-LOG-5"));
}

// Rule 7. A expires and is replaced by a tombstone in a young segment, while the open segment of fresh records is an older
// one. A put after that lies in a segment with the lower sequence and must win all the same.
#[test]
fn rule_7_tombstone_of_a_drop_ranks_with_the_version_it_kills() {
    let setup = Setup::file();
    let mut arena = setup.arena();
    let mut world = setup.mount(&mut arena, setup.blank());
    // Two copies of A, in two segments, so that its drop needs a tombstone.
    world.follow(&[Do::Put(1, 60), Do::Put(5, 60), Do::Put(6, 60)]);
    fill(&mut world, 2);
    world.follow(&[Do::PutFor(1, 40, 1)]);
    fill(&mut world, 2);
    world.follow(&[Do::Put(2, 20), Do::Sync, Do::Tick(2_000)]);
    // The output of this is opened after the segment that key 2 went to.
    world.follow(&[Do::Run(CompactData), Do::Settle]);
    let before = world.host.entry(&world.hash(1)).copied();
    world.follow(&[Do::Put(1, 30), Do::Sync]);
    let after = *world.host.entry(&world.hash(1)).unwrap();
    if let Some(before) = before.filter(|before| before.newest.placed.kind == Kind::Tombstone) {
        let (stone, put) = (before.newest.placed, after.newest.placed);
        assert!(stone.version < put.version, "the put has the higher version");
        assert!(
            stone.location.sequence > put.location.sequence,
            "and lies in the older segment: {stone:?} {put:?}"
        );
    }
    let left = world.end().cut(&[]);
    remounted(&setup, left, |world| {
        assert!(matches!(world.read(1), Seen::Value(_)), "rule 7: the put wins");
        world.check_recovered();
    });
}

// Rule 8. The newest record of A is damaged, and an older one of it is whole. The footer proves that there was a newer one.
#[test]
fn rule_8_damaged_record_reads_as_damaged_never_as_the_older_one() {
    for spoil in [false, true] {
        let setup = Setup::file();
        let mut arena = setup.arena();
        let mut world = setup.mount(&mut arena, setup.blank());
        world.follow(&[Do::Put(1, 60), Do::Put(3, 60), Do::Put(4, 60)]);
        fill(&mut world, 2);
        world.follow(&[Do::Put(1, 50), Do::Put(5, 30)]);
        fill(&mut world, 2);
        world.sync();
        let at = world.host.entry(&world.hash(1)).unwrap().newest.placed.location;
        let mut left = world.end().cut(&[]);
        if spoil {
            left.medium.spoil(at.segment, at.offset + 30);
        } else {
            left.medium.flip(at.segment, at.offset + 30, 3);
        }
        let left = remounted(&setup, left, |world| {
            assert_eq!(world.read(1), Seen::Damaged, "spoilt {spoil}");
            world.check_recovered_but(&[1]);
            world.follow(&[Do::Run(RebuildIndex), Do::Settle]);
            assert_eq!(world.read(1), Seen::Damaged, "after a rebuild, spoilt {spoil}");
            let damaged = world.reports.last().unwrap().damaged_records;
            assert_eq!(damaged, 1, "and it was reported");
        });
        // A put mends the key.
        remounted(&setup, left.cut(&[]), |world| {
            world.follow(&[Do::Put(1, 20), Do::Sync]);
            assert!(matches!(world.read(1), Seen::Value(_)));
        });
    }
}

// Rule 9. A sync fails, and the next one succeeds. On Linux the pages of the first count as clean by then: nothing wrote them.
#[test]
fn rule_9_sync_after_a_failed_one_is_no_evidence() {
    let setup = Setup::file();
    let mut arena = setup.arena();
    let mut world = setup.mount(&mut arena, setup.blank());
    world.follow(&[Do::Put(1, 60), Do::Sync, Do::Put(1, 50), Do::Flush, Do::Settle]);
    let next = world.lasting.medium.counts().operations;
    world.lasting.medium.faults.at(next, Effect::clean(MediumError::Io));
    world.follow(&[Do::Sync]);
    assert!(world.tier.counters().sync_failures == 1 && world.lasting.oracle.is_durable(1));
    let left = world.end();
    assert!(left.medium.unsynced().next().is_some(), "what the failed sync covered is still in doubt");
    remounted(&setup, left.cut(&[]), |world| world.check_recovered());
}

// Rule 10. The output of a compaction is cut short: each record in it is there twice, with one version. The original is in a
// sealed segment and wins, so the output is dead and the next compaction frees it without a copy.
#[test]
fn rule_10_copy_in_a_segment_never_sealed_loses_the_tie() {
    let setup = Setup::file();
    let mut arena = setup.arena();
    let mut world = setup.mount(&mut arena, setup.blank());
    world.follow(&[Do::Put(1, 60), Do::Put(3, 20)]);
    fill(&mut world, 2);
    world.follow(&[Do::Put(2, 20), Do::Sync]);
    let original = world.host.entry(&world.hash(1)).unwrap().newest.placed.location;
    world.moments = Some(Vec::new());
    world.follow(&[Do::Run(CompactData), Do::Settle]);
    let moments = world.moments.take().unwrap();
    let erases = moments[0].medium.counts().erases;
    let moment = moments.iter().rev().find(|moment| moment.medium.counts().erases == erases).unwrap();
    let fates = vec![Fate::Kept; moment.medium.unsynced().count()];
    let mut arena = setup.arena();
    let world = setup.mount(&mut arena, moment.cut(&fates));
    let entry = world.host.entry(&world.hash(1)).unwrap();
    if entry.copies == 2 {
        assert_eq!(entry.newest.placed.location, original, "rule 10");
    }
    world.check();
}

// Rule 11. The clock of the machine is set back over a reboot. A value that had expired must stay so, and a clock that is off
// by more than the bound is refused.
#[test]
fn rule_11_clock_set_back_over_a_reboot_brings_nothing_back() {
    let setup = Setup::file();
    let mut arena = setup.arena();
    let mut world = setup.mount(&mut arena, setup.blank());
    world.follow(&[Do::PutFor(1, 60, 100), Do::Sync, Do::Tick(300_000), Do::Put(2, 20), Do::Sync]);
    let expired_s = world.lasting.now.wall_s;
    let mut left = world.end().cut(&[]);
    left.now.wall_s -= 3_600;
    let left = remounted(&setup, left, |world| {
        assert!(world.tier.clock_s() >= expired_s - setup.config.time_every_s, "accurate to T");
        world.follow(&[Do::Run(CleanupExpired), Do::Settle]);
        assert_eq!(world.reports.last().unwrap().expired_records, 1);
        assert_eq!(world.read(1), Seen::Absent);
    });
    let mut left = left.cut(&[]);
    left.now.wall_s -= setup.config.clock_jump_s_max.min(left.now.wall_s);
    left.now.wall_s = left.now.wall_s.min(1);
    let mut tight = setup;
    tight.config.clock_jump_s_max = 3_600;
    let mut arena = tight.arena();
    let mut world = World::new(tight.config, arena.lend(), left);
    assert!(matches!(world.mount(), Err(MountError::Clock(_))));
}

// Rule 12. The medium is filled with live records to its charge. A remove needs room for a tombstone, an overwrite room for a
// copy; and each cut leaves segments sealed early.
#[test]
fn rule_12_full_tier_removes_and_overwrites() {
    for setup in [Setup::file(), Setup::flash()] {
        let mut arena = setup.arena();
        let mut world = setup.mount(&mut arena, setup.blank());
        let charge = u64::from(setup.config.charge_bytes(4, 50, false));
        let keys = u16::try_from(setup.config.charge_bytes_max() / charge).unwrap();
        assert!(keys > 3, "{keys} keys fit");
        for round in 0..3 {
            for key in 1..=keys {
                assert!(
                    world.put(key, 50 - round, None).is_ok(),
                    "I-GC-2: key {key} of {keys}, round {round}"
                );
            }
        }
        world.follow(&[Do::Sync, Do::Settle]);
        world.check();
        for key in 1..=keys {
            assert!(world.remove(key).is_ok(), "I-GC-2: remove {key} of {keys}");
        }
        world.follow(&[Do::Sync, Do::Settle]);
        world.check();
        assert!(world.put(1, 50, None).is_ok());
    }
}
