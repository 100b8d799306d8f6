//! Every operation of small histories failing in every way.

use coldpress_core::compaction::CompactionTask::{CompactData, RebuildIndex};
use coldpress_tests::sim::{Do, Setup, fail_everywhere, fail_in_pairs, fail_mount_everywhere};

/// Enough overwrites that segments are cleaned by need and by a task.
fn history() -> Vec<Do> {
    let mut script: Vec<Do> = Vec::new();
    for round in 0..9u32 {
        script.extend((1..=4).map(|key| match (round + u32::from(key)) % 6 {
            0 => Do::Remove(key),
            1 => Do::PutFor(key, 40, 1),
            _ => Do::Put(key, 30 + round),
        }));
        script.extend([if round % 3 == 1 { Do::Sync } else { Do::AskSync }, Do::Tick(400)]);
    }
    script.extend([Do::Run(CompactData), Do::Put(5, 50), Do::Sync, Do::Run(RebuildIndex), Do::Settle]);
    script
}

#[test]
fn file_with_one_operation_failing_loses_nothing() {
    println!("file, one: {:?}", fail_everywhere(&Setup::file(), &history(), 1));
}

#[test]
fn flash_with_one_operation_failing_loses_nothing() {
    println!("flash, one: {:?}", fail_everywhere(&Setup::flash(), &history(), 1));
}

#[test]
fn device_with_operations_failing_loses_nothing() {
    println!("device, one: {:?}", fail_everywhere(&Setup::device(), &history(), 1));
    println!("device, two: {:?}", fail_everywhere(&Setup::device(), &history(), 2));
}

#[test]
fn file_with_two_operations_failing_in_a_row_loses_nothing() {
    println!("file, two: {:?}", fail_everywhere(&Setup::file(), &history(), 2));
}

#[test]
fn file_with_five_operations_failing_in_a_row_loses_nothing() {
    println!("file, five: {:?}", fail_everywhere(&Setup::file(), &history(), 5));
}

#[test]
fn file_without_footers_two_failures_lose_nothing() {
    let mut setup = Setup::file();
    setup.sizes.footer = 0;
    println!("no footers, two: {:?}", fail_everywhere(&setup, &history(), 2));
}

#[test]
fn file_with_two_operations_failing_apart_loses_nothing() {
    let mut script = history();
    script.truncate(36);
    script.push(Do::Sync);
    println!("file, pairs: {:?}", fail_in_pairs(&Setup::file(), &script, 8));
}

#[test]
fn mount_with_one_operation_failing_destroys_nothing() {
    for setup in [Setup::file(), Setup::flash(), Setup::device()] {
        let moments = setup.moments(&history());
        let mut total = 0;
        for moment in moments.iter().step_by(moments.len() / 12) {
            let left = moment.cut(&[]);
            total += fail_mount_everywhere(&setup, &left, &[Do::Put(77, 20), Do::Sync, Do::Run(CompactData)])
                .cases;
        }
        println!("mount: {total} cases");
    }
}
