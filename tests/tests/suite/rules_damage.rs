//! Rule 8: damage is reported, the rest is read, the mount goes on, and no older value takes the place of a damaged one.

use coldpress_core::compaction::CompactionTask::{CompactData, RebuildIndex};
use coldpress_core::format::SegmentIndex;
use coldpress_core::index::Placed;
use coldpress_core::segments::SegmentState;
use coldpress_tests::sim::{Do, Key, Lasting, Seen, Setup, World};

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

const OTHERS: [Key; 6] = [2, 3, 5, 6, 7, 9];

/// Key 1 is put into segment 0 and again into segment 1; both are sealed with footers, all is durable. Returns where the newer
/// copy lies.
fn old_and_new(setup: &Setup) -> (Lasting, Placed) {
    let mut arena = setup.arena();
    let mut world = setup.mount(&mut arena, setup.blank());
    world.follow(&[Do::Put(1, 20), Do::Put(2, 60), Do::Put(3, 60)]);
    fill(&mut world, 9);
    world.follow(&[Do::Put(5, 40), Do::Put(1, 30), Do::Put(6, 40)]);
    fill(&mut world, 9);
    world.follow(&[Do::Put(7, 20), Do::Sync, Do::Settle]);
    let placed = world.host.entry(&world.hash(1)).unwrap().newest.placed;
    let (old, new) =
        (world.tier.segments()[0], world.tier.segments()[placed.location.segment.get() as usize]);
    assert!(
        old.has_footer() && new.has_footer() && placed.location.segment != SegmentIndex::new(0),
        "both copies are sealed"
    );
    (world.end().cut(&[]), placed)
}

fn check_others(world: &World<'_>, what: &str) {
    for key in OTHERS {
        assert_eq!(
            world.read(key),
            Seen::Value(world.lasting.oracle.current(key).content().unwrap()),
            "rule 8: key {key}, with {what}\n{}",
            world.sketch()
        );
    }
}

/// Mounts with key 1 damaged, and follows it through all steps that could lose or revive it.
fn damaged_key_stays_so(setup: &Setup, left: Lasting, what: &str) {
    let mut arena = setup.arena();
    let mut world = setup.mount(&mut arena, left.clone());
    assert_eq!(world.read(1), Seen::Damaged, "rule 8: {what}: not the older value, and not nothing");
    check_others(&world, what);
    world.check_recovered_but(&[1]);
    // Cleaning can't drop a record that it can't read, with or without an earlier task that looked for damage.
    world.follow(&[Do::Put(10, 20), Do::Sync, Do::Run(CompactData), Do::Settle]);
    assert_eq!(world.read(1), Seen::Damaged, "rule 8: {what}: after cleaning");
    let report = world.run(RebuildIndex);
    assert!(report.damaged_records >= 1, "rule 8: {what}: not reported: {report:?}");
    world.follow(&[Do::Settle, Do::Run(CompactData), Do::Settle]);
    assert_eq!(world.read(1), Seen::Damaged, "rule 8: {what}: after a rebuild and cleaning");
    check_others(&world, what);
    let left = world.end().cut(&[]);
    let mut arena = setup.arena();
    let mut world = setup.mount(&mut arena, left);
    assert_eq!(world.read(1), Seen::Damaged, "rule 8: {what}: at the second mount");
    check_others(&world, what);
    // A new put heals the key.
    world.follow(&[Do::Put(1, 33), Do::Sync]);
    assert!(matches!(world.read(1), Seen::Value(_)), "rule 8: {what}: put again");
    let left = world.end().cut(&[]);
    let mut arena = setup.arena();
    let world = setup.mount(&mut arena, left);
    assert!(matches!(world.read(1), Seen::Value(_)), "rule 8: {what}: put again, mounted");
    check_others(&world, what);
}

// Without the rule: 1 is put into A and again into B; a bit of the record in B turns over. A mount that takes only valid
// records finds the put in A and returns an old value for the current one. A mount that stops at the first bad byte loses all
// records behind it.
#[test]
fn record_with_a_flipped_bit_is_damaged_and_the_rest_reads() {
    for setup in [Setup::file(), Setup::flash()] {
        let (left, placed) = old_and_new(&setup);
        let at = placed.location;
        for byte in 0..placed.record_bytes {
            // Padding is part of no record.
            if byte >= 8 + 4 + 30 {
                continue;
            }
            for bit in [0, 3, 7] {
                let mut left = left.clone();
                left.medium.flip(at.segment.get(), at.offset + byte, bit);
                damaged_key_stays_so(&setup, left, &format!("bit {bit} of byte {byte} flipped"));
            }
        }
    }
}

// Without the rule: a unit that can't be read back (ECC) fails the mount, and with it every other record of the store.
#[test]
fn record_with_an_unreadable_unit_is_damaged_others_read() {
    for setup in [Setup::file(), Setup::flash()] {
        let (left, placed) = old_and_new(&setup);
        let at = placed.location;
        for byte in (0..placed.record_bytes).step_by(setup.config.geometry.write_unit() as usize) {
            let mut left = left.clone();
            left.medium.spoil(at.segment.get(), at.offset + byte);
            damaged_key_stays_so(&setup, left, &format!("the unit at byte {byte} unreadable"));
        }
    }
}

/// Every key reads as it was, now, after a rebuild and cleaning, and after another mount.
fn all_reads(setup: &Setup, left: Lasting, what: &str) {
    let mut arena = setup.arena();
    let mut world = setup.mount(&mut arena, left);
    assert!(matches!(world.read(1), Seen::Value(bytes) if bytes.len() == 30), "rule 8: {what}");
    check_others(&world, what);
    world.check_recovered();
    // Copies in a segment that can't be read back are not counted down when it is erased.
    world.may_overcount = true;
    world.follow(&[Do::Put(10, 20), Do::Sync, Do::Run(RebuildIndex), Do::Run(CompactData), Do::Settle]);
    world.check();
    let left = world.end().cut(&[]);
    let mut arena = setup.arena();
    let mut world = setup.mount(&mut arena, left);
    assert!(matches!(world.read(1), Seen::Value(bytes) if bytes.len() == 30), "rule 8: {what}, again");
    check_others(&world, what);
    world.check_recovered();
}

// Without the rule: a flipped bit in a footer is believed, and keys are lost or point anywhere; or the segment counts as lost
// though every record in it validates by itself.
#[test]
fn footer_with_a_flipped_bit_costs_no_record() {
    for setup in [Setup::file(), Setup::flash()] {
        let g = setup.config.geometry;
        let (left, placed) = old_and_new(&setup);
        let used = {
            let mut arena = setup.arena();
            let world = setup.mount(&mut arena, left.clone());
            world.tier.segments()[placed.location.segment.get() as usize].used_bytes()
        };
        let from = g.records_at() + used;
        for offset in from..g.second_header_at() {
            let blank =
                left.medium.segment(placed.location.segment.get())[offset as usize] == g.erase_value();
            for bit in [1, 6] {
                let mut left = left.clone();
                left.medium.flip(placed.location.segment.get(), offset, bit);
                if blank && offset < g.trailer_at() {
                    // No reader uses the bytes between the records and the footer.
                    left.medium.flip(placed.location.segment.get(), offset, bit);
                }
                all_reads(&setup, left, &format!("bit {bit} at {offset} of the footer flipped"));
            }
            if offset % g.write_unit() == 0 {
                let mut left = left.clone();
                left.medium.spoil(placed.location.segment.get(), offset);
                all_reads(&setup, left, &format!("the unit at {offset} of the footer unreadable"));
            }
        }
    }
}

// Without the rule (and the second copy): one bad byte in a header makes a segment foreign, and all its records are lost.
#[test]
fn header_copy_with_a_flipped_bit_costs_no_record() {
    for setup in [Setup::file(), Setup::flash()] {
        let g = setup.config.geometry;
        let (left, placed) = old_and_new(&setup);
        for copy in [g.header_at(), g.second_header_at()] {
            for offset in copy..copy + g.header_bytes() {
                let mut flipped = left.clone();
                flipped.medium.flip(placed.location.segment.get(), offset, 4);
                all_reads(&setup, flipped, &format!("bit 4 at {offset} of a header flipped"));
                let mut spoilt = left.clone();
                spoilt.medium.spoil(placed.location.segment.get(), offset);
                all_reads(&setup, spoilt, &format!("the unit at {offset} of a header unreadable"));
            }
        }
        for offset in 0..16 {
            let mut left = left.clone();
            left.medium.flip(placed.location.segment.get(), offset, 2);
            all_reads(&setup, left, &format!("bit 2 at {offset} of a marker flipped"));
        }
    }
}

/// Three keys in one open segment, all durable; returns where the second lies.
fn open_segment(setup: &Setup) -> (Lasting, Placed) {
    let mut arena = setup.arena();
    let mut world = setup.mount(&mut arena, setup.blank());
    world.follow(&[Do::Put(1, 20), Do::Put(2, 30), Do::Put(3, 20), Do::Sync, Do::Settle]);
    let placed = world.host.entry(&world.hash(2)).unwrap().newest.placed;
    (world.end().cut(&[]), placed)
}

/// Keys 1 and 3 read, now and after all steps that could lose them.
fn rest_of_open_segment_reads(setup: &Setup, left: Lasting, what: &str) {
    let mut arena = setup.arena();
    let mut world = setup.mount(&mut arena, left);
    let check = |world: &World<'_>, when: &str| {
        for key in [1, 3] {
            let seen = world.read(key);
            assert!(
                matches!(seen, Seen::Value(_)),
                "rule 8: key {key} reads {seen:?}, {what}, {when}\n{}",
                world.sketch()
            );
        }
        assert!(!matches!(world.read(2), Seen::Value(_)), "rule 8: {what}: damage is returned as a value");
    };
    check(&world, "at the mount");
    assert_eq!(world.tier.mount_report().damaged_records, 1, "rule 8: {what}: reported");
    world.follow(&[Do::Put(4, 60), Do::Sync, Do::Run(RebuildIndex), Do::Run(CompactData), Do::Settle]);
    check(&world, "after cleaning");
    let left = world.end().cut(&[]);
    let mut arena = setup.arena();
    let world = setup.mount(&mut arena, left);
    check(&world, "at the second mount");
}

// Without the rule: in a segment without a footer a bit of a record turns over. The records behind it are taken for a torn
// tail, though they were synced.
#[test]
fn open_segment_with_a_flipped_value_bit_loses_one_record() {
    for setup in [Setup::file(), Setup::flash()] {
        let (left, placed) = open_segment(&setup);
        let at = placed.location;
        for byte in 8..8 + 4 + 30 {
            let mut left = left.clone();
            left.medium.flip(at.segment.get(), at.offset + byte, 5);
            rest_of_open_segment_reads(&setup, left, &format!("bit 5 of byte {byte} flipped"));
        }
    }
}

// Without the rule: the same, with a unit of the value that can't be read back.
#[test]
fn open_segment_with_an_unreadable_value_loses_one_record() {
    for setup in [Setup::file(), Setup::flash()] {
        let (left, placed) = open_segment(&setup);
        let at = placed.location;
        for byte in (8..8 + 4 + 30).step_by(setup.config.geometry.write_unit() as usize) {
            let mut left = left.clone();
            left.medium.spoil(at.segment.get(), at.offset + byte);
            rest_of_open_segment_reads(&setup, left, &format!("the unit at byte {byte} unreadable"));
        }
    }
}
