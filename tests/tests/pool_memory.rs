//! Pages that are released go back to the operating system, as the stats of the process show.
//!
//! One test, so that nothing else in the process takes or frees memory meanwhile.
#![cfg(target_os = "linux")]

use coldpress_std::pool::{
    AllocationManager, HotPools, PoolConfig, emergency_cleanup, trigger_defragmentation,
};
use coldpress_tests::pools::key;

/// Longer than any step takes on a slow and busy machine.
const PATIENCE: core::time::Duration = core::time::Duration::from_secs(300);
const VALUES: u64 = 4_000;
const VALUE_BYTES: usize = 16 << 10;

/// Resident bytes of the process, without those that it shares with others.
fn resident_bytes() -> u64 {
    let rollup = std::fs::read_to_string("/proc/self/smaps_rollup").unwrap();
    let line = rollup.lines().find(|line| line.starts_with("Anonymous:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1_024
}

fn value(number: u64) -> Vec<u8> {
    (0..VALUE_BYTES as u64).map(|at| (at.wrapping_mul(number | 1) >> 5) as u8).collect()
}

fn assert_kept(hot: HotPools, kept: impl Iterator<Item = u64>) {
    for number in kept {
        assert!(hot.read(key(number), number, |bytes| bytes == value(number)).unwrap(), "I-POOL-1: {number}");
    }
}

#[test]
fn scattered_pools_cleaned_shrink_the_process_as_reported() {
    let builder = PoolConfig::builder().capacity_bytes(96 << 20).watermarks_permille(20, 950);
    let builder = builder.request_timeout(PATIENCE);
    let (manager, coordinator) = AllocationManager::new(&builder.build().unwrap()).unwrap();
    let hot = coordinator.hot();
    for number in 0..VALUES {
        assert!(hot.insert(key(number), number, &value(number), None));
    }
    let full_bytes = resident_bytes();
    assert!(full_bytes > hot.stats().unwrap().committed_bytes);

    // Three of four values go, scattered over all pages. Hardly a page is empty, so hardly anything is given back.
    for number in (0..VALUES).filter(|number| number % 4 != 0) {
        assert!(hot.remove(key(number)));
    }
    let scattered_bytes = resident_bytes();
    assert!(
        full_bytes - scattered_bytes.min(full_bytes) < full_bytes / 4,
        "{full_bytes} to {scattered_bytes}"
    );

    let reclaimed_bytes = trigger_defragmentation(&coordinator).unwrap();
    let tidy_bytes = resident_bytes();
    println!("full {full_bytes}, scattered {scattered_bytes}, tidy {tidy_bytes}; reported {reclaimed_bytes}");
    assert!(reclaimed_bytes > 30 << 20, "{reclaimed_bytes}");
    // I-POOL-2: the process has lost the bytes that were reported, give or take those that the test itself holds.
    let given_back = scattered_bytes - tidy_bytes;
    assert!(
        given_back.abs_diff(reclaimed_bytes) < 2 << 20,
        "reported {reclaimed_bytes}, given back {given_back}"
    );
    assert_kept(hot, (0..VALUES).step_by(4));

    let reclaimed_bytes = emergency_cleanup(&coordinator).unwrap();
    let low_bytes = resident_bytes();
    println!("low {low_bytes}; reported {reclaimed_bytes}");
    let given_back = tidy_bytes - low_bytes;
    assert!(
        given_back.abs_diff(reclaimed_bytes) < 2 << 20,
        "reported {reclaimed_bytes}, given back {given_back}"
    );
    assert!(reclaimed_bytes > 8 << 20);

    let committed_bytes = hot.stats().unwrap().committed_bytes;
    drop(manager);
    let closed_bytes = resident_bytes();
    assert!(low_bytes - closed_bytes >= committed_bytes, "closing returns the rest");
}
