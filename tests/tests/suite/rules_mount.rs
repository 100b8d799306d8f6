//! Media that a mount accepts, and media that it refuses untouched.

use coldpress_core::recovery::MountError;
use coldpress_tests::sim::{Do, Setup, World};

#[test]
fn foreign_bytes_in_a_segment_frame_are_refused_untouched() {
    for setup in [Setup::file(), Setup::flash()] {
        let g = setup.config.geometry;
        let unit = g.write_unit();
        let places = [0, g.header_at(), g.records_at(), g.trailer_at(), g.second_header_at()];
        for at in places {
            let mut lasting = setup.blank();
            lasting.medium.write(3, at, &vec![0x5A; unit as usize]).unwrap();
            let before = lasting.medium.bytes().to_vec();
            let mut arena = setup.arena();
            let mut world = World::new(setup.config, arena.lend(), lasting);
            assert_eq!(world.mount(), Err(MountError::Foreign), "bytes at {at}");
            assert_eq!(world.lasting.medium.bytes(), before);
        }
    }
}

#[test]
fn never_written_medium_is_mounted_without_a_write() {
    let setup = Setup::file();
    let mut arena = setup.arena();
    let world = setup.mount(&mut arena, setup.blank());
    let counts = world.lasting.medium.counts();
    assert_eq!((counts.writes, counts.erases), (0, 0));
    assert!(world.tier.mount_report().is_new);
}

#[test]
fn medium_of_another_store_is_refused_untouched() {
    let setup = Setup::file();
    let mut arena = setup.arena();
    let mut world = setup.mount(&mut arena, setup.blank());
    world.follow(&[Do::Put(1, 20), Do::Sync]);
    let lasting = world.end();
    let mut other = setup;
    other.config.store.partition = 1;
    other.config.store.partitions = 2;
    let before = lasting.medium.bytes().to_vec();
    let mut arena = other.arena();
    let mut world = World::new(other.config, arena.lend(), lasting);
    assert_eq!(world.mount(), Err(MountError::OtherStore));
    assert_eq!(world.lasting.medium.bytes(), before);
}

#[test]
fn mount_says_how_many_records_its_footers_list() {
    let setup = Setup::file();
    let mut arena = setup.arena();
    let mut world = setup.mount(&mut arena, setup.blank());
    assert_eq!(world.host.by_footers, (0, 0), "a blank medium");
    let puts = (0..40).map(|n| if n % 5 == 4 { Do::Remove(n % 8) } else { Do::Put(n % 8, 60) });
    world.follow(&puts.chain([Do::Sync]).collect::<Vec<_>>());
    let mut arena = setup.arena();
    let world = setup.mount(&mut arena, world.end());
    let (said, found) = world.host.by_footers;
    assert!(said > 10, "{said} records");
    assert_eq!(said, found);
}
