//! Memory and files of an empty tier. A process of its own, since it counts all of its memory.

use coldpress_std::pool::{AllocationManager, PoolConfig};
use coldpress_std::{ColdTier, ColdTierConfig};

const TIERS: u64 = 32;

fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.split_whitespace().next().unwrap().parse().unwrap()
}

fn files() -> u64 {
    std::fs::read_dir("/proc/self/fd").unwrap().count() as u64
}

#[cfg(target_os = "linux")]
#[test]
fn empty_tiers_take_little_memory_and_few_files() {
    let dir = tempfile::tempdir().unwrap();
    let (_manager, pools) = AllocationManager::new(&PoolConfig::builder().build().unwrap()).unwrap();
    let config = ColdTierConfig::builder().build().unwrap();
    assert_eq!(config.capacity_bytes(), 1 << 30);
    let (kib, open) = (resident_kib(), files());
    let tiers: Vec<ColdTier> = (0..TIERS)
        .map(|tier| ColdTier::open(dir.path(), &format!("t{tier}"), config.clone(), pools.clone()).unwrap())
        .collect();
    let (kib, open) = ((resident_kib() - kib) / TIERS, (files() - open) / TIERS);
    assert!(kib < 2_048, "{kib} KiB a tier");
    assert!(open <= 3, "{open} files a tier");
    drop(tiers);
}
