//! Flashes of few segments, full to the last record (rule 12, I-GC-2): cut at every write unit and in every erase, and again
//! during the recovery from that.

use coldpress_core::compaction::CompactionTask::{CleanupExpired, CompactData};
use coldpress_embedded::flash::{FlashMemory, buckets_for};
use coldpress_tests::cuts::{Driver, Lives, Setup, cut_everywhere, cut_often, cut_twice};
use coldpress_tests::sim::{Do, Key};

/// The longest record of the device that is cut.
const RECORD: usize = 160;
/// Bytes of most values.
const VALUE: u32 = 56;

/// How many keys with such values fit.
fn keys<const UNIT: usize, const SECTOR: usize, const SEGMENTS: usize>() -> Key {
    type Memory<const SEGMENTS: usize> = FlashMemory<SEGMENTS, { buckets_for(48) }, RECORD>;
    let bytes = Memory::<SEGMENTS>::usable_bytes(SECTOR as u32, UNIT as u32, 4, VALUE);
    Key::try_from(bytes / u64::from(4 + VALUE)).expect("a few keys").min(40)
}

/// Keys of a script that replaces some by others. Tombstones of the old ones take space until their copies are gone.
const SPARE: Key = 3;

/// Fills the flash but for a few keys, overwrites until all segments were cleaned, and replaces keys by others.
fn nearly_full(keys: Key, overwrites: Key) -> Vec<Do> {
    let mut script: Vec<Do> = (1..=keys).map(|key| Do::Put(key, VALUE)).collect();
    script.extend((0..overwrites).map(|n| Do::Put(1 + n % keys, VALUE)));
    script.extend([Do::Remove(1), Do::Put(keys + 1, VALUE), Do::Remove(keys + 1), Do::Put(1, VALUE)]);
    script.extend([
        Do::PutFor(2, VALUE - 4, 2),
        Do::Tick(4_000),
        Do::Put(keys + 2, VALUE),
        Do::Remove(keys + 2),
    ]);
    script.extend([Do::Run(CleanupExpired), Do::Put(2, VALUE), Do::Run(CompactData), Do::Settle]);
    script
}

/// The steps after each cut, which must all succeed.
fn after(keys: Key) -> Vec<Do> {
    let mut steps = vec![
        Do::Put(1, VALUE),
        Do::Remove(2),
        Do::Put(keys + 3, VALUE),
        Do::Remove(keys + 3),
        Do::Put(2, VALUE),
    ];
    // Every segment is cleaned once more.
    steps.extend((1..=keys).map(|key| Do::Put(key, VALUE)));
    steps
}

/// Every cut of a history on a full flash, over both drivers.
fn cut_anywhere<const UNIT: usize, const SECTOR: usize, const SEGMENTS: usize>(
    erase_value: u8,
    overwrites: Key,
    step: usize,
) {
    let keys = keys::<UNIT, SECTOR, SEGMENTS>() - SPARE;
    for (driver, from) in Driver::BOTH.into_iter().zip([0, step / 2]) {
        let setup = Setup::<UNIT, SECTOR, SEGMENTS> { erase_value, driver, has_tasks: true };
        let moments = setup.moments(&nearly_full(keys, overwrites));
        let moments: Vec<_> = moments.into_iter().skip(from).step_by(step).collect();
        let tried = cut_everywhere(&setup, &moments, &after(keys));
        println!("{SEGMENTS} × {SECTOR} in units of {UNIT}, {keys} keys, {driver:?}: {tried:?}");
        assert!(tried.distinct > 150, "{tried:?}");
    }
}

#[test]
fn two_full_segments_cut_anywhere_leave_old_or_new() {
    cut_anywhere::<4, 1024, 2>(0xFF, 6, 1);
    cut_anywhere::<8, 1024, 2>(0x00, 3, 2);
    cut_anywhere::<32, 1024, 2>(0xFF, 3, 1);
}

#[test]
fn three_full_segments_cut_anywhere_leave_old_or_new() {
    cut_anywhere::<4, 768, 3>(0xFF, 8, 2);
    cut_anywhere::<32, 1024, 3>(0x00, 8, 2);
}

#[test]
fn four_full_segments_cut_anywhere_leave_old_or_new() {
    cut_anywhere::<8, 768, 4>(0xFF, 10, 3);
    cut_anywhere::<4, 512, 4>(0x00, 10, 2);
}

#[test]
fn six_to_twelve_full_segments_cut_leave_old_or_new() {
    cut_anywhere::<4, 512, 6>(0xFF, 14, 5);
    cut_anywhere::<8, 512, 8>(0xFF, 18, 7);
    cut_anywhere::<32, 768, 12>(0xFF, 26, 11);
}

/// 33 segments keep several in reserve.
#[test]
fn first_number_with_several_in_reserve_cut_leaves_old_or_new() {
    cut_anywhere::<4, 512, 33>(0xFF, 200, 31);
}

#[test]
fn small_flash_cut_twice_leaves_old_or_new() {
    fn twice<const UNIT: usize, const SECTOR: usize, const SEGMENTS: usize>(step: usize) {
        let keys = keys::<UNIT, SECTOR, SEGMENTS>() - SPARE;
        for driver in Driver::BOTH {
            let setup = Setup::<UNIT, SECTOR, SEGMENTS> { erase_value: 0xFF, driver, has_tasks: true };
            let step = if driver == Driver::Async { 3 * step } else { step };
            let moments: Vec<_> = setup.moments(&nearly_full(keys, 2)).into_iter().step_by(step).collect();
            let tried = cut_twice(&setup, &moments, &[Do::Put(1, VALUE), Do::Remove(2)]);
            println!("twice, {SEGMENTS} × {SECTOR} in units of {UNIT}, {driver:?}: {tried:?}");
            assert!(tried.distinct > 500, "{tried:?}");
        }
    }
    twice::<32, 768, 2>(2);
    twice::<8, 512, 3>(2);
}

#[test]
fn many_cuts_of_few_segments_leave_a_way_forward() {
    fn lives<const UNIT: usize, const SECTOR: usize, const SEGMENTS: usize>(keys: u64, value_bytes_max: u64) {
        for (driver, seed) in Driver::BOTH.into_iter().zip([0, 1_000]) {
            let setup = Setup::<UNIT, SECTOR, SEGMENTS> { erase_value: 0xFF, driver, has_tasks: true };
            for changes_max in [12, 60] {
                let lives = Lives { keys, value_bytes_max, cuts: 24, changes_max };
                cut_often(&setup, &lives, seed..seed + 60);
            }
            let long = Lives { keys, value_bytes_max, cuts: 300, changes_max: 20 };
            cut_often(&setup, &long, seed..seed + 4);
        }
    }
    lives::<4, 1024, 2>(4, 100);
    lives::<32, 1024, 2>(3, 90);
    lives::<8, 768, 3>(6, 90);
    lives::<1, 512, 4>(5, 60);
    lives::<4, 512, 8>(8, 100);
}
