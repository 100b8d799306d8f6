//! Rules 1 to 6 of the log, each with the example that would break it.

use coldpress_core::compaction::CompactionTask::CompactData;
use coldpress_core::log::SegmentState;
use coldpress_tests::sim::{Change, Do, Fate, Lasting, Seen, Setup, World, cut_everywhere};

/// Fills the open segment, so that it is sealed and another one is open.
fn fill(world: &mut World<'_>, key: u16) {
    let open = |world: &World<'_>| {
        world.tier.segments().iter().filter(|segment| segment.state == SegmentState::Open).count()
    };
    let sealed = |world: &World<'_>| {
        world.tier.segments().iter().filter(|segment| segment.state == SegmentState::Sealed).count()
    };
    let before = sealed(world);
    while sealed(world) == before || open(world) == 0 {
        world.follow(&[Do::Put(key, 60), Do::Flush, Do::Settle]);
    }
}

/// Every moment of what `act` does in a world that did `before`.
fn moments_of(setup: &Setup, before: impl Fn(&mut World<'_>), act: &[Do]) -> Vec<Lasting> {
    let mut arena = setup.arena();
    let mut world = setup.mount(&mut arena, setup.blank());
    before(&mut world);
    world.moments = Some(Vec::new());
    world.follow(act);
    world.settle();
    let mut moments = world.moments.take().unwrap();
    moments.push(world.end());
    moments
}

/// Segment of the copy that the index points at.
fn segment_of(world: &World<'_>, key: u16) -> u32 {
    world.host.entry(&world.hash(key)).unwrap().newest.placed.location.segment
}

// Rule 1. A = 1 is synced; A = 2 is written and not synced, so A = 1 is stale and its segment holds nothing live. Were it
// erased now, a cut would take A = 2 with what is unsynced, and A = 1 with the segment.
#[test]
fn rule_1_stale_record_with_an_unsynced_successor_is_not_erased() {
    let setup = Setup::file();
    let before = |world: &mut World<'_>| {
        world.follow(&[Do::Put(1, 60), Do::Sync]);
        fill(world, 2);
        world.follow(&[Do::Put(2, 60), Do::Sync, Do::Put(1, 50), Do::Flush, Do::Settle]);
    };
    let moments = moments_of(&setup, before, &[Do::Run(CompactData)]);
    let is_erased = |moment: &&Lasting| moment.medium.segment(0)[80..].iter().all(|byte| *byte == 0);
    let erased = moments.iter().find(is_erased).expect("the segment of the stale record was cleaned");
    assert!(
        erased.oracle.is_durable(1) || erased.oracle.allowed(1).len() == 2,
        "both are known to the oracle"
    );
    let tried = cut_everywhere(&setup, &moments, &[]);
    assert!(tried.distinct > 20, "{tried:?}");
}

// Rule 2. A footer that became durable before its records would vouch for bytes that a cut took.
#[test]
fn rule_2_footer_is_written_only_over_durable_records() {
    let setup = Setup::file();
    let moments = moments_of(
        &setup,
        |_| {},
        &[Do::Put(1, 60), Do::Put(2, 60), Do::Put(3, 60), Do::Put(4, 60), Do::Put(5, 60)],
    );
    let footer_end = setup.config.geometry.second_header_at();
    let is_footer = |change: &Change| matches!(change, Change::Write { offset, bytes } if offset + bytes.len() as u32 == footer_end);
    // The double checks each footer as it is asked for; here it is seen that one was.
    assert!(moments.iter().any(|moment| moment.medium.unsynced().any(|op| is_footer(&op.what))));
    cut_everywhere(&setup, &moments, &[]);
}

// Rule 3. A record is torn, or lost without a trace, at the end of an open segment. Were the next one appended there, or
// behind it, it would lie on, or behind, bytes of which nobody knows what they are.
#[test]
fn rule_3_segment_open_at_a_cut_is_never_written_again() {
    let setup = Setup::file();
    let moments =
        moments_of(&setup, |world| world.follow(&[Do::Put(1, 60), Do::Sync]), &[Do::Put(2, 60), Do::Flush]);
    let last = moments.last().unwrap();
    for fate in [Fate::Lost, Fate::Torn(1), Fate::Torn(30), Fate::Kept] {
        let mut arena = setup.arena();
        let mut world = setup.mount(&mut arena, last.cut(&[fate]));
        world.check_recovered();
        // The double panics on a write to a segment that was in use at the cut (I-LOG-3).
        world.follow(&[Do::Put(3, 60), Do::Sync]);
        assert_ne!(segment_of(&world, 3), segment_of(&world, 1), "{fate:?}");
        world.check();
    }
}

// Rule 4. Both header copies of a segment are lost. What it is can't be told, so it is neither read nor erased; a segment torn
// while it was opened holds nothing, and is.
#[test]
fn rule_4_segment_without_a_header_is_kept_and_a_torn_one_is_not() {
    let setup = Setup::file();
    let moments = moments_of(&setup, |_| {}, &[Do::Put(1, 60), Do::Sync]);
    let mut left = moments.last().unwrap().cut(&[]);
    left.medium.flip(0, setup.config.geometry.header_at() + 9, 1);
    left.medium.flip(0, setup.config.geometry.second_header_at() + 9, 1);
    let bytes = left.medium.segment(0).to_vec();
    let mut arena = setup.arena();
    let mut world = setup.mount(&mut arena, left);
    assert_eq!(world.tier.mount_report().quarantined_segments, 1);
    world.follow(&[Do::Put(2, 60), Do::Sync, Do::Run(CompactData), Do::Settle]);
    assert_eq!(world.lasting.medium.segment(0), bytes, "it is kept as it is");

    let torn = moments.iter().find(|moment| moment.medium.unsynced().count() == 2).unwrap();
    let mut arena = setup.arena();
    let mut world = setup.mount(&mut arena, torn.cut(&[Fate::Kept, Fate::Torn(20)]));
    let report = world.tier.mount_report();
    assert_eq!((report.torn_segments, report.quarantined_segments), (1, 0));
    world.settle();
    assert_eq!(world.tier.tally().free, setup.config.geometry.segment_count(), "it is erased and free again");
}

// Rule 5. The erase of a segment stops half-way. What is left of it reads as whole records, stale ones among them, whose
// successors may be gone by then.
#[test]
fn rule_5_half_erased_segment_is_never_read() {
    let setup = Setup::new(1024, 14, 1, 0).unwrap();
    let before = |world: &mut World<'_>| {
        world.follow(&[Do::Put(1, 60), Do::Put(2, 60), Do::Sync, Do::Remove(1)]);
        fill(world, 2);
        world.sync();
    };
    let moments = moments_of(&setup, before, &[Do::Run(CompactData)]);
    let mut seen = 0;
    for moment in &moments {
        let ops: Vec<_> = moment.medium.unsynced().collect();
        let Some(last) = ops.last().filter(|op| op.what == Change::Erase) else { continue };
        for bytes in (1..last.len(moment.medium.geometry())).step_by(3) {
            let mut fates = vec![Fate::Kept; ops.len() - 1];
            fates.push(Fate::Torn(bytes));
            let mut arena = setup.arena();
            let mut world = setup.mount(&mut arena, moment.cut(&fates));
            assert_eq!(world.read(1), Seen::Absent, "I-LOG-5: torn after {bytes} bytes");
            world.check_recovered();
            world.settle();
            world.check();
            seen += 1;
        }
    }
    assert!(seen > 100, "{seen} half erases");
}

// Rule 6. A is put, then removed. The segment of the tombstone is cleaned while that of the value is not: a tombstone that
// went with its segment would let A come back.
#[test]
fn rule_6_tombstone_stays_until_the_value_it_hides_is_gone() {
    let mut setup = Setup::file();
    setup.config.stale_permille_min = 500;
    let mut arena = setup.arena();
    let mut world = setup.mount(&mut arena, setup.blank());
    // The value lies among records that stay live, the tombstone among ones that do not.
    world.follow(&[Do::Put(1, 20), Do::Put(2, 60), Do::Put(3, 60), Do::Put(4, 60)]);
    fill(&mut world, 9);
    world.follow(&[Do::Remove(1), Do::Sync]);
    let value_at = 0;
    for _ in 0..3 {
        fill(&mut world, 9);
    }
    world.follow(&[Do::Sync, Do::Run(CompactData), Do::Settle]);
    let entry = *world.host.entry(&world.hash(1)).expect("a copy is left");
    assert_eq!(
        world.tier.segments()[value_at].state,
        SegmentState::Sealed,
        "the value's segment was not cleaned"
    );
    assert!(entry.newest.is_live && entry.copies == 2, "the tombstone is still needed: {entry:?}");
    assert!(entry.newest.placed.location.sequence > entry.newest.placed.version.sequence, "it was relocated");
    let left = world.end().cut(&[]);
    let mut arena = setup.arena();
    let mut world = setup.mount(&mut arena, left);
    world.check_recovered();
    assert_eq!(world.read(1), Seen::Absent, "I-LOG-5");
    // With the value's segment gone nothing needs the tombstone, and with its own segment it goes.
    for key in [2, 3, 4] {
        world.follow(&[Do::Put(key, 30)]);
    }
    world.follow(&[Do::Sync, Do::Run(CompactData), Do::Settle]);
    let entry = world.host.entry(&world.hash(1)).copied();
    assert!(entry.is_none_or(|entry| !entry.newest.is_live), "nothing needs it: {entry:?}");
    world.check();
}
