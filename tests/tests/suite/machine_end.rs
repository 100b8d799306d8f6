//! The end of a medium: all sequences are issued. Writes are refused at once with that error, and all the rest goes on.

use coldpress_core::compaction::CompactionTask;
use coldpress_core::format::{Geometry, Identity, Marker, Sequence};
use coldpress_core::writer::AppendError;
use coldpress_tests::sim::{Do, Key, Lasting, Setup, World};

/// A medium that was erased so often that only so many sequences are left.
fn worn(setup: &Setup, left: u32) -> Lasting {
    let g = setup.config.geometry;
    let mut lasting = setup.blank();
    let marker = Marker {
        erases: g.erases_per_segment(),
        sequence_issued: Sequence::new(g.sequence_max().get() - left),
    };
    let mut bytes = marker.encode().to_vec();
    bytes.resize(g.padded(16) as usize, g.erase_value());
    for segment in 0..g.segment_count() {
        lasting.medium.write(segment, 0, &bytes).unwrap();
    }
    let all = lasting.medium.sync_begin(Vec::new());
    lasting.medium.sync_end(&all).unwrap();
    lasting
}

/// Writes until the tier is exhausted. The double of the client panics where a write stays busy for ever.
fn wear_out(world: &mut World<'_>, keys: Key, len: u32) {
    for number in 0..60_000 {
        let key = number % keys;
        let what = match number % 13 {
            5 => Do::Remove(key),
            7 => Do::PutFor(key, len, 60),
            _ => Do::Put(key, len),
        };
        match world.act(what) {
            Ok(()) | Err(AppendError::Full) => {}
            Err(error) => {
                assert_eq!(error, AppendError::Exhausted);
                return;
            }
        }
        if number % 29 == 0 {
            world.follow(&[Do::Sync, Do::Tick(1_000)]);
        }
    }
    panic!("never exhausted");
}

/// Everything but a write works, and comes to its end.
fn check_end(world: &mut World<'_>, keys: Key, len: u32) {
    let is_hashed = world.config().has_footers;
    world.check();
    world.settle();
    assert!(world.tier.is_exhausted());
    assert!(!world.tier.reserve(300), "nothing frees space any more");
    for task in CompactionTask::ALL {
        let report = world.run(task);
        assert_eq!(report.task, task);
        world.settle();
        world.check();
    }
    world.follow(&[Do::Tick(100_000)]);
    world.settle();
    if is_hashed {
        world.follow(&[Do::Evict(1_000)]);
        world.settle();
    }
    for key in 0..keys {
        for what in [Do::Put(key, len), Do::Remove(key)] {
            if let Err(error) = world.act(what) {
                assert_eq!(error, AppendError::Exhausted);
            }
        }
    }
    world.follow(&[Do::Sync]);
    world.settle();
    world.check();
}

#[test]
fn tier_without_sequences_refuses_writes_and_does_the_rest() {
    for (setup, len) in [(Setup::file(), 60), (Setup::flash(), 60), (Setup::device(), 40)] {
        for left in [1, 2, 5, 13, 14, 15, 30, 60, 200] {
            for keys in [3, 12, 20, 30] {
                let mut arena = setup.arena();
                let mut world = setup.mount(&mut arena, worn(&setup, left));
                wear_out(&mut world, keys, len);
                check_end(&mut world, keys, len);
                let mut left = world.end();
                for _ in 0..2 {
                    let mut arena = setup.arena();
                    let mut world = setup.mount(&mut arena, left.cut(&[]));
                    world.check_recovered();
                    world.settle();
                    assert_eq!(world.act(Do::Put(1, len)), Err(AppendError::Exhausted));
                    check_end(&mut world, keys, len);
                    left = world.end();
                }
            }
        }
    }
}

#[test]
fn readme_states_how_often_each_flash_can_be_erased() {
    let readme = include_str!("../../../embedded-adapter/README.md");
    for segments in [16, 32, 64, 256] {
        let flash = Geometry::new(4096, segments, 4, 0xFF, Identity::KeyBytes).unwrap();
        let start = format!("| {segments} × 4 KiB |");
        let row = readme.lines().find(|line| line.starts_with(&start)).unwrap();
        let stated = row.trim_end_matches(" |").rsplit(' ').next().unwrap().replace(',', "");
        assert_eq!(stated, flash.erases_per_segment().to_string(), "{row}");
    }
}
