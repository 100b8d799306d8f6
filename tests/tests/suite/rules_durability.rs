//! Rules 1, 2, 3 and 9: which records count as durable, and which steps may rely on that.

use coldpress_core::compaction::CompactionTask::CompactData;
use coldpress_core::drive::MediumError;
use coldpress_core::segments::SegmentState;
use coldpress_tests::sim::{Change, Delays, Do, Effect, Key, Lasting, Op, Seen, Setup, World};

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
fn moments_of(setup: &Setup, before: impl Fn(&mut World<'_>), act: impl Fn(&mut World<'_>)) -> Vec<Lasting> {
    let mut moments = Vec::new();
    for syncs in [false, true] {
        let mut arena = setup.arena();
        let mut world = setup.mount(&mut arena, setup.blank());
        before(&mut world);
        world.delays = Delays { syncs, ..Delays::default() };
        world.moments = Some(Vec::new());
        act(&mut world);
        world.settle();
        moments.extend(world.moments.take().unwrap());
        moments.push(world.end());
    }
    moments
}

/// Mounts after a cut at every moment, in every way.
fn every_cut(setup: &Setup, moments: &[Lasting], check: impl Fn(&mut World<'_>)) -> usize {
    let mut arena = setup.arena();
    let mut cuts = 0;
    for moment in moments {
        for plan in moment.medium.cut_plans() {
            check(&mut setup.mount(&mut arena, moment.cut(&plan)));
            cuts += 1;
        }
    }
    cuts
}

fn segment_of(world: &World<'_>, key: Key) -> u32 {
    world.host.entry(&world.hash(key)).unwrap().newest.placed.location.segment.get()
}

fn is_value(seen: &Seen) -> bool {
    matches!(seen, Seen::Value(_))
}

// Without the rule: 1 is put and synced; 1 is put again, unsynced, into another segment, so nothing in the first is live;
// compaction erases the first; a cut takes the second. Both are lost.
#[test]
fn stale_record_with_unsynced_successor_survives_a_cut() {
    for setup in [Setup::file(), Setup::flash()] {
        let before = |world: &mut World<'_>| {
            world.follow(&[Do::Put(1, 60), Do::Sync]);
            fill(world, 2);
            world.follow(&[Do::Put(1, 50), Do::Flush, Do::Settle]);
            assert_eq!(world.lasting.oracle.allowed(1).len(), 2, "the first is durable, the second is not");
        };
        let moments = moments_of(&setup, before, |world| world.follow(&[Do::Run(CompactData)]));
        let is_erase = |op: &Op| op.what == Change::Erase && op.segment == 0;
        assert!(
            moments.iter().any(|moment| moment.medium.unsynced().any(is_erase)),
            "rule 1: the segment of the stale record was to be erased"
        );
        let cuts = every_cut(&setup, &moments, |world| {
            assert!(is_value(&world.read(1)), "rule 1: both copies are lost\n{}", world.sketch());
            world.check_recovered();
        });
        assert!(cuts > 100, "{cuts} cuts");
    }
}

// Without the rule: 1 is put and synced; 1 is put again and its segment is sealed; the footer is written, the record is not.
// The footer vouches for bytes that were never there, and 1 reads as damaged though its older value was synced.
#[test]
fn sealed_segment_cut_before_its_sync_has_no_footer() {
    for setup in [Setup::file(), Setup::flash()] {
        let mut act = vec![Do::Put(1, 50)];
        act.extend((3..8).map(|key| Do::Put(key, 60)));
        let first = [Do::Put(1, 60), Do::Sync];
        let moments = moments_of(&setup, |world| world.follow(&first), |world| world.follow(&act));
        let footer_end = setup.config.geometry.second_header_at() as usize;
        let is_footer = |op: &Op| matches!(&op.what, Change::Write { offset, bytes } if *offset as usize + bytes.len() == footer_end);
        assert!(
            moments.iter().any(|moment| moment.medium.unsynced().any(is_footer)),
            "rule 2: a footer was to be written"
        );
        let cuts = every_cut(&setup, &moments, |world| {
            assert!(
                is_value(&world.read(1)),
                "rule 2: a footer vouches for a record that was lost: {:?}\n{}",
                world.read(1),
                world.sketch()
            );
            world.check_recovered();
        });
        assert!(cuts > 100, "{cuts} cuts");
    }
}

// Without the rule: the last write to a segment is torn, or lost and the bytes look blank; the mount goes on appending there.
// The next record lies on bytes that were programmed, or behind ones that tell no length, and is lost at the second cut.
#[test]
fn open_segment_torn_by_a_cut_is_never_appended_to() {
    for setup in [Setup::file(), Setup::flash()] {
        let moments = moments_of(
            &setup,
            |world| world.follow(&[Do::Put(1, 60), Do::Sync]),
            |world| world.follow(&[Do::Put(2, 60), Do::Flush]),
        );
        let cuts = every_cut(&setup, &moments, |world| {
            world.check_recovered();
            let at_cut = segment_of(world, 1);
            let bytes = world.lasting.medium.segment(at_cut).to_vec();
            world.follow(&[Do::Put(3, 60), Do::Sync]);
            assert_ne!(segment_of(world, 3), at_cut, "rule 3: appended behind a point of doubt");
            assert_eq!(world.lasting.medium.segment(at_cut), bytes, "rule 3: not even a footer is added");
            let left = world.lasting.cut(&[]);
            let mut arena = setup.arena();
            let mut again = setup.mount(&mut arena, left);
            assert!(is_value(&again.read(3)), "rule 3: lost behind a torn tail");
            again.check_recovered();
        });
        assert!(cuts > 60, "{cuts} cuts");
    }
}

/// Lets the next sync fail, then asks for durability until it is granted.
fn sync_failing_once(world: &mut World<'_>) {
    let next = world.lasting.medium.counts().operations;
    world.lasting.medium.faults.at(next, Effect::clean(MediumError::Io));
    world.may_overcount = true;
    world.follow(&[Do::Sync, Do::Settle]);
    assert_eq!(world.tier.counters().sync_failures, 1, "the sync was to fail");
}

// Without the rule: 1 is put and synced; 1 is put again, its sync fails, the next sync succeeds and the put is acknowledged as
// synced. The writes before the first sync never became durable (a page whose write-back failed counts as clean): a cut takes
// them.
#[test]
fn failed_sync_followed_by_a_good_one_is_no_evidence() {
    for setup in [Setup::file(), Setup::flash()] {
        let before = |world: &mut World<'_>| {
            world.follow(&[Do::Settle, Do::Put(1, 30), Do::Put(2, 20), Do::Sync, Do::Settle]);
            world.follow(&[Do::Put(1, 25), Do::Put(3, 20), Do::Flush, Do::Settle]);
        };
        let moments = moments_of(&setup, before, sync_failing_once);
        let mut arena = setup.arena();
        let mut acknowledged = 0;
        for moment in &moments {
            let is_doubtful = moment.medium.unsynced().any(Op::is_doubtful);
            if !is_doubtful || !moment.oracle.is_durable(1) {
                continue;
            }
            acknowledged += 1;
            let newest = moment.oracle.current(1).content().unwrap();
            let world = setup.mount(&mut arena, moment.cut(&[]));
            assert_eq!(
                world.read(1),
                Seen::Value(newest),
                "rule 9: acknowledged on the word of a retried sync\n{}",
                world.sketch()
            );
        }
        assert!(
            acknowledged > 0,
            "rule 9: a moment with the put acknowledged and the first sync's doubt still there"
        );
        every_cut(&setup, &moments, |world| world.check_recovered());
    }
}

// Without the rule: the sync that is to cover the successors of a stale record fails. The next one succeeds, and because of it
// the segment of the stale record is erased. A cut takes the successor too.
#[test]
fn failed_sync_during_compaction_frees_no_segment_later() {
    for setup in [Setup::file(), Setup::flash()] {
        let before = |world: &mut World<'_>| {
            world.follow(&[Do::Put(1, 60), Do::Sync]);
            fill(world, 2);
            world.follow(&[Do::Put(1, 50), Do::Flush, Do::Settle]);
            world.may_overcount = true;
        };
        let mut failed = 0;
        // Only the run shows which operations of the compaction are syncs, so each operation fails in turn.
        for at in 0..24 {
            let moments = moments_of(&setup, before, |world| {
                let number = world.lasting.medium.counts().operations + at;
                world.lasting.medium.faults.at(number, Effect::clean(MediumError::Io));
                world.follow(&[Do::Run(CompactData), Do::Settle]);
                if world.tier.counters().sync_failures == 0 {
                    world.moments = Some(Vec::new());
                }
            });
            failed += usize::from(moments.len() > 2);
            every_cut(&setup, &moments, |world| {
                assert!(
                    is_value(&world.read(1)),
                    "rule 9: freed on the word of a retried sync\n{}",
                    world.sketch()
                );
                world.check_recovered();
            });
        }
        assert!(failed >= 3, "{failed} syncs failed");
    }
}
