//! Files that an empty tier has open. A process of its own, since it counts all files of its process.

use coldpress_std::pool::{AllocationManager, PoolConfig};
use coldpress_std::{ColdTier, ColdTierConfig};

/// Open files of this process; the one that is opened to count them is among them each time.
#[cfg(target_os = "linux")]
fn open_files() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

/// The directory, `LOCK`, and the file of each partition.
#[cfg(target_os = "linux")]
#[test]
fn empty_tier_has_one_open_file_a_partition_and_two() {
    let dir = tempfile::tempdir().unwrap();
    let (_manager, pools) = AllocationManager::new(&PoolConfig::builder().build().unwrap()).unwrap();
    for partitions in [1, 4] {
        let id = format!("t{partitions}");
        let config = || ColdTierConfig::builder().capacity_bytes(16 << 20).partitions(partitions);
        let limit = 2 + usize::from(partitions);
        // Made, opened again, opened with another capacity, and only read.
        let larger = || config().capacity_bytes(32 << 20);
        for config in [config(), config(), larger(), larger().read_only(true)] {
            let before = open_files();
            let tier = ColdTier::open(dir.path(), &id, config.build().unwrap(), pools.clone()).unwrap();
            let open = open_files() - before;
            assert!(open <= limit, "{open} files with {partitions} partitions");
            assert!(tier.is_empty().unwrap());
            tier.close().unwrap();
            assert_eq!(open_files(), before, "all are closed");
        }
    }
}
