//! Single bits of a flash that turn over.

use coldpress_core::compaction::CompactionTask::CompactData;
use coldpress_tests::cuts::{Driver, SEGMENTS, Setup, flip_everywhere};
use coldpress_tests::sim::Do;

/// Two dozen keys, half of them overwritten or removed, and some relocated.
fn history() -> Vec<Do> {
    let mut script: Vec<Do> = (1..=24).map(|key| Do::Put(key, 20 + u32::from(key))).collect();
    script.extend((1..=12).map(|key| Do::Put(key, 30)));
    script.extend((1..=24).step_by(5).map(Do::Remove));
    script.push(Do::Run(CompactData));
    script.extend((6..=18).map(|key| Do::Put(key, 24)));
    script
}

fn flip<const UNIT: usize, const SECTOR: usize>(erase_value: u8) {
    for driver in Driver::BOTH {
        let (lasting, past) =
            Setup::<UNIT, SECTOR, SEGMENTS> { erase_value, driver, has_tasks: true }.lived(&history());
        let [before, after] = flip_everywhere(&lasting, &past);
        println!(
            "units of {UNIT}, blank {erase_value:#04x}, {driver:?}: before the mount {before:?}, after it {after:?}"
        );
        // A mounted tier knows the values that it must find.
        assert_eq!((after.older_reported, after.older_silent), (0, 0));
        assert!(after.damaged > 0 && before.older_reported > 0);
    }
}

#[test]
fn flash_in_units_of_1_with_a_flipped_bit_never_misreads() {
    flip::<1, 512>(0xFF);
}

#[test]
fn flash_in_units_of_4_blank_at_zero_flipped_never_misreads() {
    flip::<4, 512>(0x00);
}

#[test]
fn flash_in_units_of_32_with_a_flipped_bit_never_misreads() {
    flip::<32, 768>(0xFF);
}
