//! Rules 6, 7 and 10: the tombstone that a drop leaves, its rank, and the winner of two copies.

use coldpress_core::compaction::CompactionTask::{CleanupExpired, CompactData, RebuildIndex};
use coldpress_core::format::{Header, Kind, Location, SegmentIndex, Sequence, Version, read_record};
use coldpress_core::segments::SegmentState;
use coldpress_tests::sim::{Arena, Do, Fate, Key, Seen, Setup, World, key_bytes};

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

/// Setups in which a task leaves segments alone that are more than a third live, so that the script decides which are cleaned.
fn setups() -> [Setup; 2] {
    [Setup::file(), Setup::flash()].map(|mut setup| {
        setup.config.stale_permille_min = 700;
        setup
    })
}

/// A copy of a key on the medium.
#[derive(Debug, Clone, Copy)]
struct Copy {
    segment: u32,
    sequence: u32,
    version: Version,
    kind: Kind,
}

/// Every copy of a key in the segments that a mount would read.
fn copies(world: &World<'_>, key: Key) -> Vec<Copy> {
    let geometry = world.config().geometry;
    let (hash, bytes) = (world.hash(key), key_bytes(key));
    let mut found = Vec::new();
    for (index, segment) in (0..).zip(world.tier.segments()) {
        let image = world.lasting.medium.segment(index);
        let Ok(header) = Header::decode(&geometry, &image[geometry.header_at() as usize..]) else { continue };
        let is_read = segment.is_counted() && segment.sequence == header.sequence;
        let mut at = geometry.records_at();
        while is_read && at < geometry.trailer_at() {
            let rest = &image[at as usize..geometry.trailer_at() as usize];
            let here = Location { segment: SegmentIndex::new(index), offset: at, sequence: header.sequence };
            let seed = header.store.seed(&geometry);
            let Ok(record) = read_record(&geometry, seed, here, rest) else { break };
            let kind = record.header.kind;
            if record.key == bytes && kind == Kind::Value || record.key == hash.0 && kind == Kind::Tombstone {
                let here = Version { sequence: header.sequence, offset: at };
                let version = record.header.origin.unwrap_or(here);
                found.push(Copy { segment: index, sequence: header.sequence.get(), version, kind });
            }
            at += record.record_bytes;
        }
    }
    found
}

/// Cuts the power, with all operations lost that are not durable, and mounts.
fn cut<'m>(setup: &Setup, arena: &'m mut Arena, world: World<'_>) -> World<'m> {
    let left = world.end().cut(&[]);
    setup.mount(arena, left)
}

/// Cleans the segment of the tombstone of key 1 again and again, each time with a cut after it. The stale copy of key 1 lies
/// in segment 0, which is not cleaned; while it does, the tombstone moves from segment to segment.
fn clean_and_cut_while_a_stale_copy_stays(setup: &Setup, world: World<'_>, name: &str) {
    let mut left = world.end().cut(&[]);
    let mut moves = 0;
    for round in 0..4 {
        let mut arena = setup.arena();
        let mut world = setup.mount(&mut arena, left);
        assert_eq!(world.read(1), Seen::Absent, "rule 6: {name}, back at mount {round}\n{}", world.sketch());
        let tombstone = |world: &World<'_>| {
            let found = copies(world, 1).into_iter().filter(|copy| copy.kind == Kind::Tombstone);
            found.map(|copy| copy.sequence).max()
        };
        let before = tombstone(&world);
        fill(&mut world, 9);
        // A segment without a footer is relocated by the first task, one that is mostly stale by the second.
        world.follow(&[Do::Run(RebuildIndex), Do::Run(CompactData), Do::Settle]);
        let kept = copies(&world, 1).iter().any(|copy| copy.segment == 0 && copy.kind == Kind::Value);
        assert!(kept, "rule 6: {name}: the stale copy was to stay\n{}", world.sketch());
        let entry = world.host.entry(&world.hash(1)).unwrap();
        assert!(entry.newest.is_live && entry.copies >= 2, "rule 6: {name}: still needed: {entry:?}");
        moves += usize::from(tombstone(&world) > before);
        assert_eq!(world.read(1), Seen::Absent, "rule 6: {name}");
        left = world.end().cut(&[]);
    }
    assert!(moves >= 2, "rule 6: {name}: the tombstone's segment was cleaned {moves} times");
    // With the stale copy gone nothing needs the tombstone any more, and it goes too.
    let mut arena = setup.arena();
    let mut world = setup.mount(&mut arena, left);
    for key in [2, 3, 4, 8] {
        world.follow(&[Do::Put(key, 20)]);
    }
    world.follow(&[Do::Sync, Do::Run(CompactData), Do::Settle, Do::Run(CompactData), Do::Settle]);
    let entry = world.host.entry(&world.hash(1)).copied();
    assert!(entry.is_none_or(|entry| !entry.newest.is_live), "rule 6: {name}: kept for nothing: {entry:?}");
    let mut arena = setup.arena();
    let mut world = cut(setup, &mut arena, world);
    assert_eq!(world.read(1), Seen::Absent, "rule 6: {name}: back at the end");
    world.settle();
    world.check_counts();
}

// Without the rule: 1 is put into segment A, among records that stay live, and removed in segment B, among ones that don't. B is
// cleaned, the tombstone with it; a cut, and the mount finds the put in A.
#[test]
fn removed_key_with_a_stale_copy_cut_after_cleaning_stays_gone() {
    for setup in setups() {
        let mut arena = setup.arena();
        let mut world = setup.mount(&mut arena, setup.blank());
        world.follow(&[Do::Put(1, 20), Do::Put(2, 60), Do::Put(3, 60), Do::Put(4, 60)]);
        fill(&mut world, 9);
        world.follow(&[Do::Remove(1), Do::Sync]);
        fill(&mut world, 9);
        clean_and_cut_while_a_stale_copy_stays(&setup, world, "removed");
    }
}

// Without the rule: 1 is put into A without an expiry, and again into B with one. It expires, B is cleaned and the record is
// dropped; a cut, and the mount finds the put in A, which never expires.
#[test]
fn expired_key_with_a_stale_copy_cut_after_cleaning_stays_gone() {
    for setup in setups() {
        let mut arena = setup.arena();
        let mut world = setup.mount(&mut arena, setup.blank());
        world.follow(&[Do::Put(1, 20), Do::Put(2, 60), Do::Put(3, 60), Do::Put(4, 60)]);
        fill(&mut world, 9);
        world.follow(&[Do::PutFor(1, 30, 2), Do::Sync]);
        fill(&mut world, 9);
        world.follow(&[Do::Tick(3_000), Do::Run(CleanupExpired), Do::Run(CompactData), Do::Settle]);
        let tombstones = copies(&world, 1).iter().filter(|copy| copy.kind == Kind::Tombstone).count();
        assert_eq!(tombstones, 1, "rule 6: the expired record became a tombstone\n{}", world.sketch());
        clean_and_cut_while_a_stale_copy_stays(&setup, world, "expired");
    }
}

/// Key 1 in segment 0, then again as the first live record of the segment after it, and that evicted.
fn evicted<'m>(setup: &Setup, arena: &'m mut Arena) -> World<'m> {
    let mut world = setup.mount(arena, setup.blank());
    world.follow(&[Do::Put(8, 20), Do::Put(1, 20), Do::Put(2, 60), Do::Put(3, 60)]);
    fill(&mut world, 9);
    world.follow(&[Do::Put(1, 30), Do::Sync]);
    fill(&mut world, 9);
    // The hand of the clock takes 8, the first live record of all; then it goes on at the next segment. The only sync is for a
    // client's write, and it covers the tombstones too.
    world.follow(&[Do::Evict(1), Do::Settle, Do::Evict(1), Do::Settle, Do::Put(9, 10), Do::Sync, Do::Settle]);
    world.host.evicts = false;
    assert_eq!((world.read(8), world.read(1)), (Seen::Absent, Seen::Absent), "both were evicted");
    world
}

// Without the rule: as above, but the copy in B is evicted to free space.
#[test]
fn evicted_key_with_a_stale_copy_cut_after_cleaning_stays_gone() {
    for setup in setups() {
        let mut arena = setup.arena();
        let world = evicted(&setup, &mut arena);
        clean_and_cut_while_a_stale_copy_stays(&setup, world, "evicted");
    }
}

// Without a sync of the machine's own writes: every put is durable, and then a key is evicted. A client asks for a sync, which
// finds no append to wait for; a cut, and the evicted key is there again.
#[test]
fn evicted_key_cut_after_a_sync_without_append_stays_gone() {
    for setup in setups() {
        let mut arena = setup.arena();
        let mut world = setup.mount(&mut arena, setup.blank());
        fill(&mut world, 9);
        world.follow(&[Do::Put(1, 30), Do::Put(2, 60)]);
        fill(&mut world, 9);
        world.follow(&[Do::Put(9, 10), Do::Sync, Do::Settle]);
        world.host.evicts = true;
        world.follow(&[Do::Evict(400), Do::Settle]);
        world.host.evicts = false;
        let gone: Vec<Key> = [1, 2].into_iter().filter(|key| world.read(*key) == Seen::Absent).collect();
        assert!(!gone.is_empty(), "something was evicted");
        assert_eq!(world.tier.durable(), world.tier.appended(), "no append is left to wait for");
        world.tier.sync();
        world.settle();
        let left = world.end().cut(&[]);
        let mut arena = setup.arena();
        let world = setup.mount(&mut arena, left);
        for key in gone {
            assert_eq!(world.read(key), Seen::Absent, "rule 6: {key} was evicted, and that was synced");
        }
    }
}

// Without the rule: the record of 1 in B has expired. A fresh segment F is open; 1 is put again and lies in F's buffer when
// compaction replaces the record in B by a tombstone in its output O, opened after F. A tombstone with a version of its own
// would rank as O, above F: the mount would find 1 dropped though it was put and synced.
#[test]
fn put_below_the_tombstone_of_an_expired_key_survives_a_mount() {
    for setup in setups() {
        let mut arena = setup.arena();
        let mut world = setup.mount(&mut arena, setup.blank());
        world.follow(&[Do::Put(7, 20)]);
        fill(&mut world, 9);
        world.follow(&[Do::Put(1, 20), Do::Put(2, 60), Do::Put(3, 60)]);
        fill(&mut world, 9);
        world.follow(&[Do::PutFor(1, 30, 2), Do::PutFor(5, 60, 2), Do::PutFor(6, 60, 2), Do::Sync]);
        fill(&mut world, 9);
        // F is open; 7 is relocated, which opens O. The put of 1 stays in F's buffer while B is cleaned.
        world.follow(&[
            Do::Run(CompactData),
            Do::Settle,
            Do::Tick(3_000),
            Do::Run(CleanupExpired),
            Do::Settle,
        ]);
        world.follow(&[Do::Put(1, 25), Do::Run(CompactData), Do::Settle, Do::Sync]);
        put_outranks_tombstone(&setup, world);
    }
}

// Without the rule: as above, with a record that was evicted, and put again after that.
#[test]
fn put_below_the_tombstone_of_an_evicted_key_survives_a_mount() {
    for setup in setups() {
        let mut arena = setup.arena();
        let mut world = evicted(&setup, &mut arena);
        world.follow(&[Do::Put(1, 25), Do::Sync]);
        put_outranks_tombstone(&setup, world);
    }
}

/// The newest put of key 1 lies in a segment with a lower sequence than a tombstone of it, and wins.
fn put_outranks_tombstone(setup: &Setup, world: World<'_>) {
    let newest = world.lasting.oracle.current(1).content().unwrap();
    assert_eq!(world.read(1), Seen::Value(newest.clone()), "rule 7: in the running tier");
    let found = copies(&world, 1);
    let tombstone = found.iter().find(|copy| copy.kind == Kind::Tombstone).expect("a tombstone was made");
    let put = world.host.entry(&world.hash(1)).unwrap().newest.placed;
    assert!(
        put.location.sequence < Sequence::new(tombstone.sequence) && put.version > tombstone.version,
        "rule 7: the put is above what the tombstone kills, in a segment below it: {put:?}, {found:?}"
    );
    let mut arena = setup.arena();
    let mut world = cut(setup, &mut arena, world);
    assert_eq!(world.read(1), Seen::Value(newest), "rule 7: the tombstone outranks a later put: {found:?}");
    world.check_recovered();
    world.settle();
    world.check();
}

// Without the rule: 1 lies in a sealed segment and, relocated, in an output that was not sealed when the power went. Were the
// output's copy taken, the next mount could find it torn, with the original stale and its segment free to be erased.
#[test]
fn copy_in_an_output_cut_short_loses_to_the_sealed_one() {
    let mut lower_outputs = 0;
    let mut ties = 0;
    for setup in [Setup::file(), Setup::flash()] {
        let mut arena = setup.arena();
        let mut world = setup.mount(&mut arena, setup.blank());
        world.moments = Some(Vec::new());
        for round in 0..24u32 {
            world.follow(&[
                Do::Put((round % 5) as Key, 30 + round),
                Do::Put(7, 60),
                Do::Put(8, 60),
                Do::Sync,
            ]);
            if round % 4 == 3 {
                world.follow(&[Do::Run(CompactData), Do::Settle]);
            }
        }
        let moments = world.moments.take().unwrap();
        for moment in &moments {
            let plan = vec![Fate::Kept; moment.medium.unsynced().count()];
            let mut arena = setup.arena();
            let mut world = setup.mount(&mut arena, moment.cut(&plan));
            for key in [0, 1, 2, 3, 4, 7, 8] {
                let found = copies(&world, key);
                let Some(newest) = found.iter().map(|copy| copy.version).max() else { continue };
                let sealed = |copy: &&Copy| world.tier.segments()[copy.segment as usize].has_footer();
                let same = || found.iter().filter(|copy| copy.version == newest);
                let (Some(winner), Some(loser)) = (same().find(sealed), same().find(|copy| !sealed(copy)))
                else {
                    continue;
                };
                ties += 1;
                lower_outputs += usize::from(loser.segment < winner.segment);
                let placed = world.host.entry(&world.hash(key)).unwrap().newest.placed;
                assert!(
                    world.tier.segments()[placed.location.segment.get() as usize].has_footer(),
                    "rule 10: key {key} is taken from an output that was never sealed: {placed:?}\n{}",
                    world.sketch()
                );
            }
            world.check_recovered();
            world.settle();
            world.check();
        }
    }
    assert!(
        ties > 20 && lower_outputs > 2,
        "rule 10: {ties} ties, {lower_outputs} with the output read first"
    );
}

// Without the rule's other half (of equal versions a tombstone wins): an eviction leaves a tombstone with the version that it
// kills in an open segment, and the value in a sealed one. The value would win the tie, and come back.
#[test]
fn tombstone_in_an_open_segment_wins_over_a_sealed_value() {
    for setup in setups() {
        let mut arena = setup.arena();
        let world = evicted(&setup, &mut arena);
        let found = copies(&world, 1);
        let newest = found.iter().map(|copy| copy.version).max();
        let tied = found.iter().filter(|copy| Some(copy.version) == newest).count();
        assert_eq!(tied, 2, "rule 10: value and tombstone have the same version: {found:?}");
        let mut arena = setup.arena();
        let world = cut(&setup, &mut arena, world);
        assert_eq!(world.read(1), Seen::Absent, "rule 10: the value wins over its tombstone: {found:?}");
    }
}
