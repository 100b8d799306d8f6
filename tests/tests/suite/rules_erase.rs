//! Rules 4 and 5: segments without a header, and erases that stop half-way.

use coldpress_core::compaction::CompactionTask::{CompactData, RebuildIndex};
use coldpress_core::format::SegmentIndex;
use coldpress_core::segments::SegmentState;
use coldpress_tests::sim::{Change, Delays, Do, Fate, Key, Lasting, Seen, Setup, World};

/// Writes a key until the segment that is open is sealed and another one is open.
fn fill(world: &mut World<'_>, key: Key) {
    let count = |world: &World<'_>, state: SegmentState| {
        world.tier.segments().iter().filter(|segment| segment.state() == state).count()
    };
    let before = count(world, SegmentState::Sealed);
    while count(world, SegmentState::Sealed) == before || count(world, SegmentState::Open) == 0 {
        world.follow(&[Do::Put(key, 60), Do::Flush, Do::Settle]);
    }
}

/// Every moment of `act` after `before`, with syncs that end at once, and with syncs that end only when the machine has nothing
/// else to do.
fn moments_of(setup: &Setup, before: impl Fn(&mut World<'_>), act: &[Do]) -> Vec<Lasting> {
    let mut moments = Vec::new();
    for syncs in [false, true] {
        let mut arena = setup.arena();
        let mut world = setup.mount(&mut arena, setup.blank());
        before(&mut world);
        world.delays = Delays { syncs, ..Delays::default() };
        world.moments = Some(Vec::new());
        world.follow(act);
        world.settle();
        moments.extend(world.moments.take().unwrap());
        moments.push(world.end());
    }
    moments
}

fn is_value(seen: &Seen) -> bool {
    matches!(seen, Seen::Value(_))
}

/// A medium with the durable records of keys 1 to 3, of which the segment of key 1 has lost both headers; and that segment.
fn headers_lost(setup: &Setup) -> (Lasting, SegmentIndex) {
    let g = setup.config.geometry;
    let mut arena = setup.arena();
    let mut world = setup.mount(&mut arena, setup.blank());
    world.follow(&[Do::Put(1, 60), Do::Put(2, 60)]);
    fill(&mut world, 2);
    world.follow(&[Do::Put(3, 60), Do::Sync]);
    let spoilt = world.host.entry(&world.hash(1)).unwrap().newest.placed.location.segment;
    let mut left = world.end().cut(&[]);
    left.medium.flip(spoilt.get(), g.header_at() + 9, 1);
    left.medium.flip(spoilt.get(), g.second_header_at() + 9, 1);
    (left, spoilt)
}

// Without the rule: both header copies of a segment wear out; a mount that takes an unknown segment for garbage erases it, and
// with it records that a repair could still read.
#[test]
fn segment_with_both_headers_lost_is_kept_until_given_back() {
    for setup in [Setup::file(), Setup::flash()] {
        let (mut left, spoilt) = headers_lost(&setup);
        let bytes = left.medium.segment(spoilt.get()).to_vec();
        for round in 0..2 {
            let mut arena = setup.arena();
            let mut world = setup.mount(&mut arena, left);
            let report = world.tier.mount_report();
            assert_eq!(report.quarantined_segments, 1, "rule 4: reported at mount {round}");
            assert!(is_value(&world.read(2)) && is_value(&world.read(3)), "rule 4: the rest reads");
            for key in 4..9 {
                world.follow(&[Do::Put(key, 60), Do::Remove(key)]);
            }
            world.follow(&[Do::Sync, Do::Run(CompactData), Do::Settle]);
            assert_eq!(world.lasting.medium.segment(spoilt.get()), bytes, "rule 4: it is kept as it is");
            left = world.end().cut(&[]);
        }
        // A task reads it again: its first record tells the sequence, which no header does.
        let mut arena = setup.arena();
        let mut world = setup.mount(&mut arena, left);
        let report = world.run(RebuildIndex);
        assert_eq!((report.reread_segments, report.returned_segments), (1, 1), "{report:?}");
        assert!(report.rescued_records >= 1, "{report:?}");
        assert!(is_value(&world.read(1)), "intact records are there again\n{}", world.sketch());
        assert_eq!(world.tier.tally().quarantined, 0, "it is given back");
        let left = world.end().cut(&[]);
        let mut arena = setup.arena();
        let world = setup.mount(&mut arena, left);
        assert!((1..4).all(|key| is_value(&world.read(key))), "and after a mount");
    }
}

// Without the rule: no header tells the newest sequence of all, and it is issued again. So the segment that is read again is
// taken for another one, and is erased with its records.
#[test]
fn newest_segment_with_both_headers_lost_is_rescued() {
    for setup in [Setup::file(), Setup::flash()] {
        let g = setup.config.geometry;
        let mut arena = setup.arena();
        let mut world = setup.mount(&mut arena, setup.blank());
        world.follow(&[Do::Put(1, 60), Do::Put(2, 60)]);
        fill(&mut world, 2);
        world.follow(&[Do::Put(3, 60), Do::Sync]);
        let spoilt = world.host.entry(&world.hash(3)).unwrap().newest.placed.location.segment;
        let mut left = world.end().cut(&[]);
        left.medium.flip(spoilt.get(), g.header_at() + 9, 1);
        left.medium.flip(spoilt.get(), g.second_header_at() + 9, 1);
        let mut arena = setup.arena();
        let mut world = setup.mount(&mut arena, left);
        assert_eq!(world.tier.mount_report().quarantined_segments, 1);
        world.follow(&[Do::Put(4, 60), Do::Sync, Do::Settle]);
        let report = world.run(RebuildIndex);
        assert_eq!((report.reread_segments, report.returned_segments), (1, 1), "{report:?}");
        for round in 0..2 {
            let what = format!("after {round} mounts\n{}", world.sketch());
            assert!((1..5).all(|key| is_value(&world.read(key))), "{what}");
            let left = world.end().cut(&[]);
            arena = setup.arena();
            world = setup.mount(&mut arena, left);
        }
    }
}

// Without the rule: only the first record tells the sequence, so with that one damaged too the others are lost.
#[test]
fn segment_with_headers_and_first_record_lost_is_rescued() {
    for setup in [Setup::file(), Setup::flash()] {
        let g = setup.config.geometry;
        let mut arena = setup.arena();
        let mut world = setup.mount(&mut arena, setup.blank());
        world.follow(&[Do::Put(1, 30), Do::Flush, Do::Settle, Do::Put(5, 30), Do::Flush, Do::Settle]);
        fill(&mut world, 2);
        world.sync();
        let spoilt = world.host.entry(&world.hash(5)).unwrap().newest.placed.location.segment;
        let mut left = world.end().cut(&[]);
        for at in [g.header_at() + 9, g.second_header_at() + 9, g.records_at() + 12] {
            left.medium.flip(spoilt.get(), at, 1);
        }
        let bytes = left.medium.segment(spoilt.get()).to_vec();
        let mut arena = setup.arena();
        let mut world = setup.mount(&mut arena, left);
        let report = world.run(RebuildIndex);
        assert_eq!(report.reread_segments, 1, "{report:?}");
        if setup.config.has_footers {
            assert!(is_value(&world.read(5)), "its footer tells of it: {report:?}\n{}", world.sketch());
            continue;
        }
        assert_eq!(world.lasting.medium.segment(spoilt.get()), bytes, "nothing tells what is in it");
        world.tier.give_up_unread();
        world.run(RebuildIndex);
        assert_eq!(world.tier.tally().quarantined, 0, "it is given up");
    }
}

// Without the rule's exception: every cut while a segment is opened would leave one more segment in quarantine for good, until
// none is left.
#[test]
fn segment_torn_while_opened_is_erased_and_free_again() {
    for setup in [Setup::file(), Setup::flash()] {
        let mut moments = moments_of(&setup, |_| {}, &[Do::Put(1, 60), Do::Sync]);
        let synced = |world: &mut World<'_>| world.follow(&[Do::Put(1, 60), Do::Sync]);
        let more: Vec<Do> = (2..8).map(|key| Do::Put(key, 60)).collect();
        moments.extend(moments_of(&setup, synced, &more));
        let mut torn = 0;
        let mut arena = setup.arena();
        for moment in &moments {
            for plan in moment.medium.cut_plans() {
                let mut world = setup.mount(&mut arena, moment.cut(&plan));
                let report = world.tier.mount_report();
                assert_eq!(report.quarantined_segments, 0, "rule 4: {plan:?}\n{}", world.sketch());
                world.check_recovered();
                world.settle();
                let leaving = setup.config.geometry.segment_count()
                    - world.tier.tally().free
                    - u32::try_from(world.tier.segments().iter().filter(|s| s.used_bytes() > 0).count())
                        .unwrap();
                assert_eq!(leaving, 0, "rule 4: a torn segment is free again\n{}", world.sketch());
                torn += report.torn_segments;
            }
        }
        assert!(torn > 50, "{torn} torn segments");
    }
}

// Without the rule: 1 was relocated and its old segment is being erased. The erase stops half-way: the records are gone, the
// second header and the footer are not. The mount reads that footer, and its entry for 1 wins the tie as that of a sealed
// segment. Then 1 reads as damaged or, after that erase is done once more, as absent.
#[test]
fn half_erased_victim_cut_anywhere_is_never_read() {
    let two_sectors = Setup::new(1024, 14, 1, 0x00).unwrap();
    for setup in [Setup::file(), Setup::flash(), two_sectors] {
        let before = |world: &mut World<'_>| {
            world.follow(&[Do::Put(1, 60), Do::Put(2, 60), Do::Put(3, 30), Do::Sync, Do::Remove(3)]);
            fill(world, 9);
            world.sync();
        };
        let moments = moments_of(&setup, before, &[Do::Run(CompactData)]);
        let mut cuts = 0;
        for moment in &moments {
            let ops: Vec<_> = moment.medium.unsynced().collect();
            let Some(at) = ops.iter().rposition(|op| op.what == Change::Erase) else { continue };
            let len = ops[at].len(moment.medium.geometry());
            let torn = (1..len).map(Fate::Torn).chain([Fate::Sectors(1), Fate::Sectors(2)]);
            for fate in torn {
                for others in [Fate::Kept, Fate::Lost] {
                    let mut plan = vec![others; at];
                    plan.push(fate);
                    let mut arena = setup.arena();
                    let mut world = setup.mount(&mut arena, moment.cut(&plan));
                    for key in [1, 2] {
                        let seen = world.read(key);
                        assert!(
                            is_value(&seen),
                            "rule 5: key {key} reads {seen:?}, {fate:?}\n{}",
                            world.sketch()
                        );
                    }
                    assert_eq!(world.read(3), Seen::Absent, "rule 5: read from a half-erased segment");
                    world.check_recovered();
                    world.settle();
                    world.check();
                    let left = world.end().cut(&[]);
                    let mut arena = setup.arena();
                    setup.mount(&mut arena, left).check_recovered();
                    cuts += 1;
                }
            }
        }
        assert!(cuts > 500, "{cuts} half erases");
    }
}

// Without the rule: two segments are freed, one after the other. The second erase begins while the first is not durable and no
// durable record says that it was under way. After a cut the first segment reads as one in use.
#[test]
fn several_victims_cut_anywhere_leave_every_key_readable() {
    for setup in [Setup::file(), Setup::flash()] {
        let before = |world: &mut World<'_>| {
            for key in [1, 2, 3] {
                world.follow(&[Do::Put(key, 60), Do::Sync]);
                fill(world, 9);
            }
        };
        let moments = moments_of(&setup, before, &[Do::Run(CompactData), Do::Put(4, 60), Do::Sync]);
        let mut arena = setup.arena();
        let mut erases = 0;
        for moment in &moments {
            let unsynced: Vec<_> = moment.medium.unsynced().map(|op| op.what == Change::Erase).collect();
            erases += unsynced.iter().filter(|is_erase| **is_erase).count();
            for plan in moment.medium.cut_plans() {
                let mut world = setup.mount(&mut arena, moment.cut(&plan));
                for key in [1, 2, 3] {
                    let seen = world.read(key);
                    assert!(is_value(&seen), "rule 5: key {key} reads {seen:?}\n{}", world.sketch());
                }
                world.check_recovered();
                world.settle();
                world.check();
            }
        }
        assert!(erases > 3, "{erases} erases that were not durable");
    }
}

// A second look marks a segment whose headers were lost as sealed before it has found live records in it. A shortage during the
// look must not take it for dead, and free it with its records.
#[test]
fn segment_read_again_in_a_shortage_is_not_taken_for_dead() {
    let (mut lost, mut rescued) = (Vec::new(), 0);
    for setup in [Setup::file(), Setup::flash(), Setup::device()] {
        let g = setup.config.geometry;
        let (left, _) = headers_lost(&setup);
        for puts in 0..40u16 {
            for steps in 1..8 {
                let mut arena = setup.arena();
                let mut world = setup.mount(&mut arena, left.clone());
                let put = |n: u16| Do::Put(30 + n % 12, 60);
                (0..puts).for_each(|n| world.follow(&[put(n)]));
                world.follow(&[Do::Sync, Do::Queue(RebuildIndex)]);
                // Clients go on meanwhile.
                for n in 0..600 {
                    if !world.reports.is_empty() {
                        break;
                    }
                    world.follow(&[put(n)]);
                    for _ in 0..steps {
                        world.step();
                    }
                    if n % 20 == 19 {
                        world.tick(10);
                    }
                }
                world.follow(&[Do::Sync, Do::Settle]);
                if world.tier.tally().quarantined == 0 {
                    let left = world.end().cut(&[]);
                    let mut arena = setup.arena();
                    let world = setup.mount(&mut arena, left);
                    match world.read(1) {
                        Seen::Value(_) => rescued += 1,
                        // There was no space to relocate it: it is read again by the next task.
                        _ if world.tier.tally().quarantined == 1 => {}
                        seen => lost.push((g.identity(), g.write_unit(), puts, steps, seen)),
                    }
                }
            }
        }
    }
    assert!(lost.is_empty() && rescued > 0, "rescued {rescued}, lost {}: {lost:?}", lost.len());
}
