//! Power cuts on a flash tier, many in a row, drawn from seeds.

use coldpress_tests::cuts::{Driver, Lives, SEGMENTS, Setup, cut_often};

const SEEDS: u64 = if cfg!(debug_assertions) { 20 } else { 400 };

fn lives<const UNIT: usize, const SECTOR: usize>(erase_value: u8) {
    // Each driver has half of the seeds.
    for (driver, first) in Driver::BOTH.into_iter().zip([0, SEEDS / 2]) {
        let setup = Setup::<UNIT, SECTOR, SEGMENTS> { erase_value, driver, has_tasks: true };
        for (keys, value_bytes_max) in [(3, 100), (8, 60), (16, 24)] {
            for changes_max in [30, 200] {
                let lives = Lives { keys, value_bytes_max, cuts: 24, changes_max };
                cut_often(&setup, &lives, first..first + SEEDS / 2);
            }
            // The leftovers of the cuts must not add up.
            let long = Lives { keys, value_bytes_max, cuts: 500, changes_max: 20 };
            cut_often(&setup, &long, first..first + SEEDS / 40);
        }
    }
}

#[test]
fn many_cuts_in_units_of_1_leave_old_or_new_and_a_way_forward() {
    lives::<1, 512>(0xFF);
}

#[test]
fn many_cuts_in_units_of_4_blank_at_zero_leave_old_or_new() {
    lives::<4, 512>(0x00);
}

#[test]
fn many_cuts_in_units_of_8_leave_old_or_new_and_a_way_forward() {
    lives::<8, 512>(0xFF);
}

#[test]
fn many_cuts_in_units_of_32_leave_old_or_new_and_a_way_forward() {
    lives::<32, 768>(0xFF);
}
