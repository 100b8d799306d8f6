//! Futures of a flash tier that are dropped: at every await point of a history, and at every pair of them.

use coldpress_core::compaction::CompactionTask::{CleanupExpired, CompactData};
use coldpress_tests::cuts::{SEGMENTS, drop_everywhere, drop_twice};
use coldpress_tests::sim::Do;

/// Overwrites until segments are cleaned, a remove, an expiry, and every kind of call.
fn history() -> Vec<Do> {
    let mut script: Vec<Do> = (0..26).map(|n| Do::Put(1 + n % 3, 100)).collect();
    script.extend([Do::Remove(1), Do::PutFor(4, 20, 2), Do::Flush, Do::Run(CompactData), Do::Put(1, 4)]);
    script.extend([Do::Tick(3_000), Do::Run(CleanupExpired), Do::Remove(9), Do::Put(2, 60), Do::Settle]);
    script
}

fn dropped_anywhere<const UNIT: usize, const SECTOR: usize>(erase_value: u8) {
    let tried = drop_everywhere::<UNIT, SECTOR, SEGMENTS>(erase_value, &history());
    println!("units of {UNIT}, blank {erase_value:#04x}: {tried:?}");
    assert!(tried.points > 500 && tried.torn > 300, "{tried:?}");
}

#[test]
fn future_in_units_of_1_dropped_anywhere_leaves_old_or_new() {
    dropped_anywhere::<1, 512>(0xFF);
}

#[test]
fn future_in_units_of_4_dropped_anywhere_leaves_old_or_new() {
    dropped_anywhere::<4, 512>(0x00);
}

#[test]
fn future_in_units_of_32_dropped_anywhere_leaves_old_or_new() {
    dropped_anywhere::<32, 768>(0xFF);
}

#[test]
fn futures_dropped_one_after_the_other_leave_old_or_new() {
    let tried = drop_twice::<8, 512, SEGMENTS>(0xFF, &history());
    println!("twice: {tried:?}");
    assert!(tried.points > 500 && tried.twice > 1_000, "{tried:?}");
}
