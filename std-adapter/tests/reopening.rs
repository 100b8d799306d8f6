//! Opening and closing a thousand times grows nothing: not memory, not threads, not files.
//!
//! A process of its own, since it reads the stats of its process.

use std::fs;

use coldpress_std::pool::{AllocationManager, PoolConfig};
use coldpress_std::{ColdTier, ColdTierConfig};

/// Resident kilobytes, threads and open files of this process.
fn stats() -> (u64, u64, usize) {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let field = |name: &str| {
        let line = status.lines().find(|line| line.starts_with(name)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    };
    (field("VmRSS:"), field("Threads:"), fs::read_dir("/proc/self/fd").unwrap().count())
}

/// The same once they have settled: a joined thread is counted a moment longer.
fn at_rest() -> (u64, u64, usize) {
    let looks = (0..50).map(|_| {
        std::thread::sleep(core::time::Duration::from_millis(10));
        stats()
    });
    looks.min_by_key(|(_, threads, files)| (*threads, *files)).unwrap()
}

#[test]
fn tier_opened_and_closed_a_thousand_times_grows_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (_manager, pools) =
        AllocationManager::new(&PoolConfig::builder().capacity_bytes(8 << 20).partitions(2).build().unwrap())
            .unwrap();
    let config = ColdTierConfig::builder().capacity_bytes(2 << 20);
    let config = config.close_timeout(core::time::Duration::from_secs(120)).build().unwrap();
    let round = |number: u32| {
        let tier = ColdTier::open(dir.path(), "again", config.clone(), pools.clone()).unwrap();
        assert_eq!(tier.get(b"number").unwrap(), number.checked_sub(1).map(|n| n.to_le_bytes().to_vec()));
        for key in 0..20u32 {
            tier.put(&key.to_le_bytes(), &[number as u8; 500]).unwrap();
        }
        tier.put(b"number", &number.to_le_bytes()).unwrap();
        // Every other tier is dropped: that closes it too.
        if number.is_multiple_of(2) {
            tier.close().unwrap();
        }
    };
    (0..200).for_each(round);
    let (kb_before, threads_before, files_before) = at_rest();
    (200..1200).for_each(round);
    let (kb, threads, files) = at_rest();
    assert!(threads <= threads_before && files <= files_before, "{threads} threads, {files} files");
    println!("{kb_before} kB before, {kb} kB after, {threads} {files}");
    assert!(kb < kb_before + 4096, "{kb_before} kB before, {kb} kB after");
}
