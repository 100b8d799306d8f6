//! The secret of a store shows in no log: no `Debug` of the machine, a configuration or an image tells it.

use coldpress_core::compaction::CompactionTask::{CompactData, RebuildIndex};
use coldpress_core::format::{Geometry, Header, Sequence, Store};
use coldpress_std::image::Image;
use coldpress_tests::sim::{Do, Setup};

const SECRET: [u8; 16] = [241, 178, 195, 212, 229, 246, 167, 184, 201, 218, 235, 252, 173, 190, 207, 219];

fn keyed(mut setup: Setup) -> Setup {
    setup.config.store.hash_key = SECRET;
    setup
}

fn hides(shown: &str, store: &Store, geometry: &Geometry, what: &str) {
    let seed = store.seed(geometry).begin().value().to_string();
    for part in SECRET.windows(3) {
        let bytes = format!("{}, {}, {}", part[0], part[1], part[2]);
        let lines: String = shown.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(!lines.contains(&bytes), "{what} shows the secret");
    }
    assert!(!shown.contains(&seed), "{what} shows the seed of checksums");
}

#[test]
fn debug_of_types_with_the_secret_leaves_it_out() {
    for setup in [keyed(Setup::file()), keyed(Setup::flash())] {
        let (config, g) = (setup.config, setup.config.geometry);
        let store = config.store;
        let header = Header { store, sequence: Sequence::new(1), time_s: 2, stream: 0, record_bytes_max: 90 };
        let shown = [
            format!("{store:?} {store:#?} {header:?} {config:?} {config:#?}"),
            format!("{:?} {:?}", store.seed(&g), store.seed(&g).begin()),
        ];
        for shown in shown {
            hides(&shown, &store, &g, "a value");
        }
        let shown = format!("{store:?}");
        assert!(shown.contains(&store.id.to_string()) && shown.contains("partition: 0"), "{shown}");
    }
}

#[test]
fn debug_of_the_machine_never_shows_the_secret() {
    for setup in [keyed(Setup::file()), keyed(Setup::flash())] {
        let (store, g) = (setup.config.store, setup.config.geometry);
        let mut arena = setup.arena();
        let mut world = setup.mount(&mut arena, setup.blank());
        for round in 0..40 {
            world.follow(&[Do::Put(round % 7, 40), Do::Sync]);
            if round % 10 == 9 {
                world.follow(&[Do::Run(CompactData), Do::Run(RebuildIndex)]);
            }
            hides(&format!("{:?}", world.tier), &store, &g, "the machine");
        }
        let left = world.end();
        let mut arena = setup.arena();
        hides(&format!("{:?}", arena.lend()), &store, &g, "memory");
        let world = setup.mount(&mut arena, left);
        hides(&format!("{:?}", world.tier), &store, &g, "a mounted machine");
        drop(world);
        hides(&format!("{:?}", arena.lend()), &store, &g, "memory");
    }
}

#[test]
fn debug_of_an_image_never_shows_the_secret() {
    let setup = keyed(Setup::file());
    let mut arena = setup.arena();
    let mut world = setup.mount(&mut arena, setup.blank());
    world.follow(&[Do::Put(1, 40), Do::Sync]);
    let image = Image::read_from(world.lasting.medium.bytes().to_vec()).unwrap();
    hides(&format!("{image:?}"), &setup.config.store, &setup.config.geometry, "an image");
}
