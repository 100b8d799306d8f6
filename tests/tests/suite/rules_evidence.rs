//! Absence of evidence is not evidence: a part that can't be read for a while is neither lost nor taken for anything else.

use coldpress_core::compaction::CompactionTask::{CompactData, RebuildIndex};
use coldpress_core::drive::MediumError;
use coldpress_core::recovery::MountError;
use coldpress_core::segments::SegmentState;
use coldpress_core::writer::READ_TRIES;
use coldpress_tests::sim::{Do, Key, Lasting, Outage, Seen, Setup, World};

const KEYS: core::ops::Range<Key> = 1..9;

/// Writes and cleans until segments have had several lives, whose erase intents are on the medium; removes key 20.
fn lived(setup: &Setup) -> Lasting {
    let mut arena = setup.arena();
    let mut world = setup.mount(&mut arena, setup.blank());
    world.follow(&[Do::Put(20, 40)]);
    for round in 0..12 {
        for key in KEYS {
            world.follow(&[Do::Put(key, 20 + round + u32::from(key))]);
        }
        world.follow(&[Do::Sync, Do::Run(CompactData)]);
    }
    world.follow(&[Do::Sync, Do::Settle]);
    world.end().cut(&[])
}

fn mounted<'a>(
    setup: &Setup,
    arena: &'a mut coldpress_tests::sim::Arena,
    left: Lasting,
) -> (World<'a>, Result<(), MountError>) {
    let mut world = World::new(setup.config, arena.lend(), left);
    let mounted = world.mount();
    (world, mounted)
}

fn all_read(world: &World<'_>, what: &str) {
    for key in KEYS.chain([20]) {
        let expected = world.lasting.oracle.current(key).content().map_or(Seen::Absent, Seen::Value);
        assert_eq!(world.read(key), expected, "I-LOG-4: key {key}, {what}\n{}", world.sketch());
    }
}

fn segments(setup: &Setup) -> u32 {
    setup.config.geometry.segment_count()
}

// Without the rule: no segment is found free, so each in quarantine is taken for a lone erase that was not finished.
#[test]
fn medium_unreadable_from_any_read_on_fails_the_mount() {
    for setup in [Setup::file(), Setup::flash()] {
        let left = lived(&setup);
        let bytes = left.medium.bytes().to_vec();
        let (mut failed, reads) = (0, left.medium.counts().reads);
        for first in 0..400 {
            for error in [MediumError::Unreadable, MediumError::Io] {
                let mut left = left.clone();
                left.medium.faults.outage =
                    Some(Outage { reads: reads + first..u64::MAX, error, ..Outage::of(0..u32::MAX) });
                let mut arena = setup.arena();
                let (mut world, mounted) = mounted(&setup, &mut arena, left);
                assert!(!world.tier.mount_report().is_new, "from read {first} on: {error}");
                match mounted {
                    Ok(()) => world.settle(),
                    Err(error) => {
                        failed += 1;
                        let is_reported = matches!(error, MountError::Unread { .. } | MountError::Medium(_));
                        assert!(is_reported, "from read {first} on: {error}");
                        assert_eq!(world.lasting.medium.bytes(), bytes, "from read {first} on: {error}");
                    }
                }
                let mut left = world.end().cut(&[]);
                left.medium.faults.clear();
                let mut arena = setup.arena();
                let world = setup.mount(&mut arena, left);
                all_read(&world, &format!("after none could be read from {first} on: {error}"));
            }
        }
        assert!(failed > 40, "{failed} mounts failed");
    }
}

// Without the rule: an old erase intent that names the segment is believed, and it is erased.
#[test]
fn segment_unreadable_during_a_mount_is_kept_and_read_later() {
    for setup in [Setup::file(), Setup::flash()] {
        let left = lived(&setup);
        for segment in 0..segments(&setup) {
            for bytes in
                [0..u32::MAX, 0..60, 0..120, 16..u32::MAX, setup.config.geometry.trailer_at()..u32::MAX]
            {
                let mut left = left.clone();
                left.medium.faults.outage =
                    Some(Outage { bytes: bytes.clone(), ..Outage::of(segment..segment + 1) });
                let mut arena = setup.arena();
                let mut world = setup.mount(&mut arena, left);
                // The tier is used, and cleans, all the while.
                for key in 30..34 {
                    world.follow(&[Do::Put(key, 60), Do::Remove(key)]);
                }
                world.follow(&[Do::Sync, Do::Run(CompactData), Do::Settle]);
                let mut left = world.end().cut(&[]);
                left.medium.faults.clear();
                let mut arena = setup.arena();
                let world = setup.mount(&mut arena, left);
                all_read(&world, &format!("bytes {bytes:?} of segment {segment} were unreadable"));
            }
        }
    }
}

// Without the rule: copies in the segment are not counted, so the tombstone of the removed key goes with the last other copy.
#[test]
fn key_removed_while_its_segment_is_unreadable_stays_away() {
    for setup in [Setup::file(), Setup::flash()] {
        let left = lived(&setup);
        for segment in 0..segments(&setup) {
            for gives_back in [false, true] {
                let mut left = left.clone();
                left.medium.faults.outage = Some(Outage::of(segment..segment + 1));
                let mut arena = setup.arena();
                let mut world = setup.mount(&mut arena, left);
                for key in KEYS {
                    world.follow(&[Do::Remove(key)]);
                }
                for _ in 0..12 {
                    for key in 30..36 {
                        world.follow(&[Do::Put(key, 60)]);
                    }
                    world.follow(&[Do::Sync, Do::Run(CompactData), Do::Settle]);
                }
                if gives_back {
                    world.lasting.medium.faults.clear();
                    world.follow(&[Do::Run(RebuildIndex), Do::Settle]);
                    all_read(&world, &format!("segment {segment} was given back"));
                    assert!(!world.tier.has_uncounted());
                }
                let mut left = world.end().cut(&[]);
                left.medium.faults.clear();
                let mut arena = setup.arena();
                let mut world = setup.mount(&mut arena, left);
                all_read(&world, &format!("segment {segment} was unreadable"));
                world.check_recovered();
            }
        }
    }
}

// Without the rule: a device that is short of space gives up unread segments, though there are dead ones.
#[test]
fn unread_records_are_kept_while_others_give_space() {
    let setup = Setup::flash();
    let left = lived(&setup);
    let mut kept = 0;
    for segment in 0..segments(&setup) {
        let mut left = left.clone();
        let bytes = setup.config.geometry.records_at()..u32::MAX;
        left.medium.faults.outage = Some(Outage { bytes, ..Outage::of(segment..segment + 1) });
        let mut arena = setup.arena();
        let mut world = setup.mount(&mut arena, left);
        let is_unread = world.tier.segments()[segment as usize].is_unread();
        kept += u32::from(is_unread);
        for _ in 0..30 {
            world.follow(&[Do::Put(30, 60), Do::Sync, Do::Settle]);
        }
        assert!(world.tier.counters().shortages > 0);
        assert_eq!(world.tier.segments()[segment as usize].is_unread(), is_unread, "{}", world.sketch());
        let mut left = world.end().cut(&[]);
        left.medium.faults.clear();
        let mut arena = setup.arena();
        let world = setup.mount(&mut arena, left);
        all_read(&world, &format!("records of segment {segment} were unreadable"));
    }
    assert!(kept > 1, "{kept} segments held records");
}

#[test]
fn quarantined_segment_read_again_is_rescued_and_freed() {
    for setup in [Setup::file(), Setup::flash()] {
        let left = lived(&setup);
        let mut rescued = 0;
        for segment in 0..segments(&setup) {
            let mut left = left.clone();
            left.medium.faults.outage = Some(Outage::of(segment..segment + 1));
            let mut arena = setup.arena();
            let mut world = setup.mount(&mut arena, left);
            assert_eq!(world.tier.segments()[segment as usize].state(), SegmentState::Quarantined);
            world.follow(&[Do::Put(30, 40), Do::Sync]);
            world.lasting.medium.faults.clear();
            let report = world.run(RebuildIndex);
            assert_eq!(report.reread_segments, 1, "{report:?}");
            rescued += report.rescued_records;
            all_read(&world, &format!("segment {segment} was given back"));
            world.may_overcount = true;
            world.settle();
            world.check();
            assert_eq!(world.tier.tally().quarantined, 0, "segment {segment}\n{}", world.sketch());
            assert!(!world.tier.has_uncounted());
            let left = world.end().cut(&[]);
            let mut arena = setup.arena();
            let mut world = setup.mount(&mut arena, left);
            all_read(&world, &format!("segment {segment} was given back, mounted"));
            world.check_recovered();
        }
        assert!(rescued > 3, "{rescued} records rescued");
    }
}

// A segment that is given up has no erase intent. It counts as unread until its erase is durable, so that the tombstones that
// hide its records stay.
#[test]
fn segment_given_up_and_cut_brings_no_removed_key_back() {
    let setup = Setup::file();
    let left = lived(&setup);
    let mut cuts = 0;
    for segment in 0..segments(&setup) {
        let mut left = left.clone();
        left.medium.faults.outage = Some(Outage::of(segment..segment + 1));
        let mut arena = setup.arena();
        let mut world = setup.mount(&mut arena, left);
        for key in KEYS {
            world.follow(&[Do::Remove(key)]);
        }
        world.follow(&[Do::Sync, Do::Run(CompactData), Do::Settle]);
        world.delays.syncs = true;
        world.moments = Some(Vec::new());
        world.follow(&[Do::Queue(CompactData)]);
        world.tier.give_up_unread();
        world.follow(&[Do::Run(RebuildIndex), Do::Put(30, 20), Do::Run(CompactData), Do::Sync]);
        world.follow(&[Do::Run(CompactData), Do::Settle]);
        for moment in world.moments.take().unwrap() {
            for plan in moment.medium.cut_plans() {
                let mut left = moment.cut(&plan);
                left.medium.faults.clear();
                let mut arena = setup.arena();
                let world = setup.mount(&mut arena, left);
                for key in KEYS {
                    assert_eq!(world.read(key), Seen::Absent, "key {key} came back\n{}", world.sketch());
                }
                cuts += 1;
            }
        }
    }
    assert!(cuts > 500, "{cuts} cuts");
}

// Without the rule: a record longer than the configured limit is taken for a torn one, and is lost with its segment.
#[test]
fn segment_of_longer_records_that_is_read_again_is_kept() {
    let setup = Setup::file();
    let mut longer = setup;
    longer.config.record_bytes_max = 200;
    let left = lived(&setup);
    let mut arena = longer.arena();
    let mut world = longer.mount(&mut arena, left);
    world.follow(&[Do::Put(40, 140), Do::Sync]);
    let value = world.read(40);
    assert!(matches!(value, Seen::Value(_)));
    let segment = world.host.entry(&world.hash(40)).unwrap().newest.placed.location.segment;
    let mut left = world.end().cut(&[]);
    left.medium.faults.outage = Some(Outage::of(segment.get()..segment.get() + 1));
    let mut arena = setup.arena();
    let (mut world, mounted) = mounted(&setup, &mut arena, left);
    assert_eq!(mounted, Ok(()), "no other header tells of longer ones");
    world.lasting.medium.faults.clear();
    let report = world.run(RebuildIndex);
    assert_eq!((report.reread_segments, report.returned_segments), (1, 0), "{report:?}");
    let left = world.end().cut(&[]);
    let mut arena = longer.arena();
    let world = longer.mount(&mut arena, left);
    assert_eq!(world.read(40), value);
}

#[test]
fn read_that_fails_less_often_than_it_is_tried_costs_nothing() {
    for setup in [Setup::file(), Setup::flash()] {
        let left = lived(&setup);
        let reads = left.medium.counts().reads;
        for first in 0..200 {
            for error in [MediumError::Unreadable, MediumError::Io] {
                let mut left = left.clone();
                let reads = reads + first..reads + first + u64::from(READ_TRIES) - 1;
                left.medium.faults.outage = Some(Outage { reads, error, ..Outage::of(0..u32::MAX) });
                let mut arena = setup.arena();
                let mut world = setup.mount(&mut arena, left);
                assert_eq!(world.tier.mount_report().quarantined_segments, 0);
                all_read(&world, &format!("reads from {first} on failed for a moment"));
                world.check_recovered();
            }
        }
    }
}
