//! Power cuts at every moment of small histories, in every way that a medium allows.

use coldpress_core::compaction::CompactionTask::{
    CleanupExpired, CompactData, OptimizeCompression, RebuildIndex,
};
use coldpress_core::config::Streams;
use coldpress_core::segments::Policy;
use coldpress_tests::sim::{Do, Key, Lasting, Setup, Tried, cut_everywhere, cut_twice};

const AFTER: [Do; 5] = [Do::Put(1, 20), Do::Remove(2), Do::Sync, Do::Run(CompactData), Do::Settle];

/// Overwrites, removes and expiries until segments must be cleaned, and tasks between.
fn busy() -> Vec<Do> {
    let mut script = Vec::new();
    for round in 0..6u32 {
        for key in 1..=6 {
            script.push(match (round + u32::from(key)) % 5 {
                0 => Do::Remove(key),
                1 => Do::PutFor(key, 30, 2),
                _ => Do::Put(key, 24 + round * 3),
            });
        }
        script.push(if round % 2 == 0 { Do::Sync } else { Do::Flush });
        script.push(Do::Tick(900));
    }
    script.extend([
        Do::Run(CompactData),
        Do::Put(9, 40),
        Do::Tick(3_000),
        Do::Run(CleanupExpired),
        Do::Remove(9),
    ]);
    script.extend([Do::Run(OptimizeCompression), Do::Put(3, 60), Do::Sync, Do::Run(CompactData), Do::Settle]);
    script
}

fn cut(name: &str, setup: &Setup, script: &[Do], after: &[Do]) -> (Tried, Vec<Lasting>) {
    let moments = setup.moments(script);
    let tried = cut_everywhere(setup, &moments, after);
    println!("{name}: {tried:?}");
    (tried, moments)
}

#[test]
fn first_writes_cut_anywhere_leave_old_or_new() {
    let script = [Do::Put(1, 20), Do::Put(2, 30), Do::Sync, Do::Put(1, 25), Do::Flush, Do::Settle];
    for setup in [Setup::file(), Setup::flash()] {
        cut("first writes", &setup, &script, &AFTER);
    }
}

#[test]
fn busy_file_cut_anywhere_leaves_old_or_new() {
    cut("busy file", &Setup::file(), &busy(), &AFTER);
}

#[test]
fn busy_flash_cut_anywhere_leaves_old_or_new() {
    cut("busy flash", &Setup::flash(), &busy(), &AFTER);
}

#[test]
fn busy_file_without_footers_cut_anywhere_leaves_old_or_new() {
    let mut setup = Setup::file();
    setup.sizes.footer = 0;
    cut("no footers", &setup, &busy(), &AFTER);
}

#[test]
fn busy_device_cut_anywhere_leaves_old_or_new() {
    cut("device", &Setup::device(), &busy(), &AFTER);
}

#[test]
fn busy_file_of_shared_streams_cut_anywhere_is_old_or_new() {
    let mut setup = Setup::new(512, 16, 1, 0x00).unwrap();
    setup.config.streams = Streams::Four;
    setup.config.policy = Policy::CostBenefit;
    cut("shared streams", &setup, &busy(), &AFTER);
}

#[test]
fn segments_of_two_sectors_cut_anywhere_leave_old_or_new() {
    let setup = Setup::new(1024, 14, 1, 0x00).unwrap();
    let mut script = busy();
    script.extend((1..=20).map(|n| Do::Put((n % 7) as Key, 70)));
    script.extend([Do::Run(RebuildIndex), Do::Sync]);
    cut("two sectors", &setup, &script, &AFTER);
}

#[test]
fn small_history_cut_twice_leaves_old_or_new() {
    for setup in [Setup::file(), Setup::device()] {
        cut_small_history_twice(&setup);
    }
}

fn cut_small_history_twice(setup: &Setup) {
    let mut script: Vec<Do> = (0..30).map(|n| Do::Put(1 + n % 4, 50)).collect();
    script.extend([Do::Remove(1), Do::Sync, Do::Remove(2), Do::Run(CompactData), Do::Put(1, 30), Do::Settle]);
    let moments = setup.moments(&script);
    let tried = cut_twice(setup, &moments, &[Do::Remove(3), Do::Sync, Do::Run(CompactData)]);
    println!("twice: {tried:?}");
}
