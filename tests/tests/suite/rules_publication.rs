//! Rule 6 of the log where two open segments are written in an order of their own.

use coldpress_core::compaction::CompactionTask::CompactData;
use coldpress_core::config::Streams;
use coldpress_core::format::Kind;
use coldpress_tests::sim::{Do, Seen, Setup};

// Rule 6. A put waits in one open segment and the remove after it in another. If the remove were published first, it would find
// no copy to hide and count as needless. Then the put is published, stale, and the tombstone goes with its segment: the next
// mount finds the put alone.
#[test]
fn remove_in_another_segment_than_its_put_is_published_after_it() {
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
    let mut arena = setup.arena();
    let world = setup.mount(&mut arena, left);
    assert_eq!(world.read(3), Seen::Absent, "I-LOG-5, rule 6");
}
