//! A header of which a part was lost: the other copy tells the same, and without either the segment is kept and read again.

use coldpress_core::compaction::CompactionTask::{CompactData, RebuildIndex};
use coldpress_core::format::{Header, Sequence};
use coldpress_core::segments::SegmentState;
use coldpress_tests::sim::{Do, Key, Lasting, Seen, Setup, World};

const KEYS: core::ops::Range<Key> = 1..9;

/// The bytes in place of the part that was lost.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Rest {
    Blank,
    /// The bytes that an earlier life of the segment had there.
    Old,
    Unreadable,
}

/// The part of a header that is lost.
#[derive(Debug, Clone, Copy)]
enum Lost {
    From(usize),
    To(usize),
}

impl Lost {
    fn bytes(self, len: usize) -> core::ops::Range<usize> {
        match self {
            Self::From(at) => at..len,
            Self::To(at) => 0..at,
        }
    }
}

fn lived(setup: &Setup) -> Lasting {
    let mut arena = setup.arena();
    let mut world = setup.mount(&mut arena, setup.blank());
    for round in 0..6 {
        for key in KEYS {
            world.follow(&[Do::Put(key, 20 + round + u32::from(key))]);
        }
        world.follow(&[Do::Sync, Do::Run(CompactData)]);
    }
    world.follow(&[Do::Sync, Do::Settle]);
    world.end().cut(&[])
}

fn read_header(setup: &Setup, left: &Lasting, segment: u32, at: u32) -> Option<Header> {
    let bytes = left.medium.segment(segment).get(at as usize..)?;
    Header::decode(&setup.config.geometry, bytes).ok()
}

/// Loses a part of a copy, where that changes anything.
fn lose(setup: &Setup, left: &mut Lasting, segment: u32, at: u32, lost: Lost, rest: Rest) -> bool {
    let g = setup.config.geometry;
    let header = read_header(setup, left, segment, at).unwrap();
    let older = Header {
        sequence: Sequence::new(header.sequence.get().saturating_sub(5).max(1)),
        time_s: 1,
        ..header
    };
    let (old, len) = older.encode(&g);
    let mut has_changed = false;
    for byte in lost.bytes(len) {
        let place = at + byte as u32;
        let is = left.medium.segment(segment)[place as usize];
        let becomes = match rest {
            Rest::Blank => g.erase_value(),
            Rest::Old => old[byte],
            Rest::Unreadable => {
                left.medium.spoil(segment, place);
                has_changed = true;
                continue;
            }
        };
        has_changed |= is != becomes;
        for bit in (0..8).filter(|bit| (is ^ becomes) >> bit & 1 == 1) {
            left.medium.flip(segment, place, bit);
        }
    }
    has_changed
}

fn all_read(world: &World<'_>, what: &str) {
    for key in KEYS {
        let expected = world.lasting.oracle.current(key).content().map_or(Seen::Absent, Seen::Value);
        assert_eq!(world.read(key), expected, "I-LOG-4: key {key}, {what}\n{}", world.sketch());
    }
}

/// Tries every part of the header of every segment.
fn for_each_part(setup: &Setup, mut each: impl FnMut(&mut Lasting, u32, Lost, Rest) -> bool) -> u32 {
    let left = lived(setup);
    let g = setup.config.geometry;
    let mut tried = 0;
    for segment in 0..g.segment_count() {
        let Some(header) = read_header(setup, &left, segment, g.header_at()) else { continue };
        let (_, len) = header.encode(&g);
        for at in 0..=len {
            for lost in [Lost::From(at), Lost::To(at)] {
                for rest in [Rest::Blank, Rest::Old, Rest::Unreadable] {
                    tried += u32::from(each(&mut left.clone(), segment, lost, rest));
                }
            }
        }
    }
    assert!(tried > 500, "{tried} tried");
    tried
}

#[test]
fn header_torn_in_one_copy_costs_nothing() {
    for setup in [Setup::file(), Setup::flash()] {
        let g = setup.config.geometry;
        for at in [g.header_at(), g.second_header_at()] {
            for_each_part(&setup, |left, segment, lost, rest| {
                if !lose(&setup, left, segment, at, lost, rest) {
                    return false;
                }
                let what = format!("{lost:?} of the header at {at} of segment {segment} reads {rest:?}");
                let mut arena = setup.arena();
                let mut world = setup.mount(&mut arena, left.clone());
                all_read(&world, &what);
                world.follow(&[Do::Put(30, 40), Do::Sync, Do::Run(CompactData), Do::Settle]);
                all_read(&world, &what);
                let left = world.end().cut(&[]);
                let mut arena = setup.arena();
                let world = setup.mount(&mut arena, left);
                all_read(&world, &format!("{what}, mounted again"));
                true
            });
        }
    }
}

// No single cut does this to a segment with records: both copies are durable before the first record.
#[test]
fn header_torn_in_both_copies_keeps_the_segment_and_comes_back() {
    for setup in [Setup::file(), Setup::flash()] {
        let g = setup.config.geometry;
        for_each_part(&setup, |left, segment, lost, rest| {
            let copies = [g.header_at(), g.second_header_at()];
            let has_changed = copies.map(|at| lose(&setup, left, segment, at, lost, rest));
            // Whole headers of an earlier life are not torn.
            if has_changed != [true; 2]
                || read_header(&setup, left, segment, copies[0]).is_some() && rest == Rest::Old
            {
                return false;
            }
            let what = format!("{lost:?} of both headers of segment {segment} reads {rest:?}");
            let before = left.medium.segment(segment).to_vec();
            let mut arena = setup.arena();
            let mut world = setup.mount(&mut arena, left.clone());
            world.settle();
            let is_kept = world.tier.segments()[segment as usize].state() == SegmentState::Quarantined;
            if is_kept {
                assert_eq!(world.lasting.medium.segment(segment), before, "{what}");
                // The part can never be read back: the segment is kept, and nothing else is lost.
                if rest == Rest::Unreadable {
                    return true;
                }
                world.run(RebuildIndex);
            }
            all_read(&world, &what);
            let left = world.end().cut(&[]);
            let mut arena = setup.arena();
            let world = setup.mount(&mut arena, left);
            all_read(&world, &format!("{what}, mounted again"));
            true
        });
    }
}
