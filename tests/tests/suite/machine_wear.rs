//! The spread of wear: some keys are cold for ever, some are overwritten all the time.

use coldpress_core::config::Streams;
use coldpress_core::segments::wear;
use coldpress_tests::sim::{Do, Key, Setup, World};

const HOT: Key = 4;
const OVERWRITES: u32 = 24_000;

/// The number of cold keys: seven eighths of the charge that the configuration promises to hold. Beyond that a victim may yield
/// less space than moving its cold records takes.
fn cold(setup: &Setup) -> Key {
    let charge = u64::from(setup.config.charge_bytes(4, 60, false));
    Key::try_from(setup.config.charge_bytes_max() / charge * 7 / 8).unwrap() - HOT
}

/// Overwrites the hot keys beside the cold ones; returns the widest spread seen, and the world's bytes written.
fn worn(setup: &Setup, cuts: bool) -> (u32, u64) {
    let (mut left, cold) = (setup.blank(), cold(setup));
    let (mut widest, mut written) = (0, 0);
    for part in 0..4 {
        let mut arena = setup.arena();
        let mut world = setup.mount(&mut arena, left);
        if part == 0 {
            for key in 1..=cold {
                world.follow(&[Do::Put(key, 60)]);
            }
        }
        for n in 0..OVERWRITES / 4 {
            let hot = cold + 1 + Key::try_from(n % u32::from(HOT)).unwrap();
            world.follow(&[Do::Put(hot, 60), Do::Flush]);
            widest = widest.max(spread(&world));
        }
        world.follow(&[Do::Sync, Do::Settle]);
        world.check();
        written += world.tier.counters().bytes_written;
        left = if cuts { world.end().cut(&[]) } else { world.end().kill() };
    }
    (widest, written)
}

fn spread(world: &World<'_>) -> u32 {
    wear(world.tier.segments()).map_or(0, |(least, most)| most - least)
}

#[test]
fn spread_of_wear_stays_bounded_beside_cold_keys() {
    let mut flash = Setup::new(1024, 16, 8, 0xFF).unwrap();
    flash.config.streams = Streams::Two;
    let mut shared = flash;
    shared.config.streams = Streams::One;
    for (name, setup) in [("file", Setup::file()), ("two streams", flash), ("one stream", shared)] {
        let mut bounded = setup;
        bounded.config.wear_spread_max = 8;
        for cuts in [false, true] {
            let (without, written) = worn(&setup, cuts);
            let (with, more) = worn(&bounded, cuts);
            println!("{name}: spread {without} without, {with} with the bound; written {written}, {more}");
            assert!(without > 40, "{name}: {without}: nothing to show");
            // The wear while one cold segment after the other is moved comes on top.
            assert!(with <= 16, "{name}: a spread of {with}");
            assert!(more * 100 <= written * 115, "{name}: {more} bytes written against {written}");
        }
    }
}
