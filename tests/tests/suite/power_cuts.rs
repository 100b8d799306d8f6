//! Power cuts on a flash tier: every single one of a busy history, and every pair of a small one.

use coldpress_core::compaction::CompactionTask::{CleanupExpired, CompactData};
use coldpress_tests::cuts::{Driver, SEGMENTS, Setup, cut_everywhere, cut_twice};
use coldpress_tests::sim::Do;

/// Overwrites, removes and expiries until segments must be cleaned, and tasks between.
fn busy() -> Vec<Do> {
    let mut script = Vec::new();
    for round in 0..14u32 {
        for key in 1..=7 {
            script.push(match (round + u32::from(key)) % 6 {
                0 => Do::Remove(key),
                1 => Do::PutFor(key, 20, 2),
                _ => Do::Put(key, 16 + round * 4),
            });
        }
        script.push(if round % 2 == 0 { Do::Flush } else { Do::Tick(900) });
    }
    script.extend([
        Do::Run(CompactData),
        Do::Put(9, 40),
        Do::Put(10, 0),
        Do::Tick(3_000),
        Do::Run(CleanupExpired),
    ]);
    script.extend([Do::Remove(9), Do::Put(3, 60), Do::Run(CompactData), Do::Settle]);
    script
}

/// The steps after each cut, which must all succeed.
const AFTER: [Do; 5] = [Do::Put(1, 20), Do::Remove(2), Do::Put(11, 60), Do::Run(CompactData), Do::Settle];

/// Both drivers write the same bytes, so each cut leaves the same flash. Both mount it where blank bytes are FF, else one of them.
fn busy_cut_anywhere<const UNIT: usize, const SECTOR: usize>(erase_value: u8, drivers: &[Driver]) {
    for &driver in drivers {
        let setup = Setup::<UNIT, SECTOR, SEGMENTS> { erase_value, driver, has_tasks: true };
        let moments = setup.moments(&busy());
        let tried = cut_everywhere(&setup, &moments, &AFTER);
        println!("units of {UNIT}, blank {erase_value:#04x}, {driver:?}: {tried:?}");
        assert!(tried.distinct > 1_000, "{tried:?}");
    }
}

#[test]
fn busy_history_in_units_of_1_cut_anywhere_leaves_old_or_new() {
    busy_cut_anywhere::<1, 512>(0xFF, &Driver::BOTH);
}

#[test]
fn busy_units_of_1_blank_at_zero_cut_leave_old_or_new() {
    busy_cut_anywhere::<1, 512>(0x00, &[Driver::Async]);
}

#[test]
fn busy_history_in_units_of_4_cut_anywhere_leaves_old_or_new() {
    busy_cut_anywhere::<4, 512>(0xFF, &Driver::BOTH);
}

#[test]
fn busy_units_of_4_blank_at_zero_cut_leave_old_or_new() {
    busy_cut_anywhere::<4, 512>(0x00, &[Driver::Blocking]);
}

#[test]
fn busy_history_in_units_of_8_cut_anywhere_leaves_old_or_new() {
    busy_cut_anywhere::<8, 512>(0xFF, &Driver::BOTH);
}

#[test]
fn busy_units_of_8_blank_at_zero_cut_leave_old_or_new() {
    busy_cut_anywhere::<8, 512>(0x00, &[Driver::Async]);
}

#[test]
fn busy_history_in_units_of_32_cut_anywhere_leaves_old_or_new() {
    busy_cut_anywhere::<32, 768>(0xFF, &Driver::BOTH);
}

#[test]
fn busy_units_of_32_blank_at_zero_cut_leave_old_or_new() {
    busy_cut_anywhere::<32, 768>(0x00, &[Driver::Blocking]);
}

/// A tier without memory for tasks makes its space by itself, and cleans for a removed key.
#[test]
fn busy_history_without_tasks_cut_anywhere_leaves_old_or_new() {
    let without = |steps: &[Do]| -> Vec<Do> {
        steps.iter().copied().filter(|step| !matches!(step, Do::Run(_))).collect()
    };
    for driver in Driver::BOTH {
        let setup = Setup::<4, 512, SEGMENTS> { erase_value: 0xFF, driver, has_tasks: false };
        let moments = setup.moments(&without(&busy()));
        let tried = cut_everywhere(&setup, &moments, &without(&AFTER));
        println!("without tasks, {driver:?}: {tried:?}");
        assert!(tried.distinct > 1_000, "{tried:?}");
    }
}

/// Enough overwrites that a segment is cleaned, and a remove.
fn small() -> Vec<Do> {
    let mut script: Vec<Do> = (0..24).map(|n| Do::Put(1 + n % 3, 100)).collect();
    script.extend([Do::Remove(1), Do::Run(CompactData), Do::Put(1, 4)]);
    script
}

#[test]
fn small_history_cut_twice_leaves_old_or_new() {
    for driver in Driver::BOTH {
        let setup = Setup::<8, 512, SEGMENTS> { erase_value: 0xFF, driver, has_tasks: true };
        // Pairs over the async driver take three times as long: it has every fourth moment of the first cut.
        let step = if driver == Driver::Async { 4 } else { 1 };
        let moments: Vec<_> = setup.moments(&small()).into_iter().step_by(step).collect();
        let tried = cut_twice(&setup, &moments, &[Do::Remove(2), Do::Put(3, 4)]);
        println!("twice, {driver:?}: {tried:?}");
        assert!(tried.distinct > 1_000, "{tried:?}");
    }
}
