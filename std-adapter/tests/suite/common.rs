//! What the suites share.

use coldpress_std::pool::{AllocationManager, PoolConfig, PoolCoordinator};
use coldpress_std::{ColdTier, ColdTierConfig, ColdTierConfigBuilder};
use std::path::Path;

pub(crate) fn pools() -> (AllocationManager, PoolCoordinator) {
    let config = PoolConfig::builder().capacity_bytes(8 << 20).partitions(2).build().unwrap();
    AllocationManager::new(&config).unwrap()
}

pub(crate) fn small() -> ColdTierConfigBuilder {
    ColdTierConfig::builder().capacity_bytes(4 << 20)
}

pub(crate) fn open(dir: &Path, config: &ColdTierConfig, pools: &PoolCoordinator) -> ColdTier {
    ColdTier::open(dir, "test", config.clone(), pools.clone()).unwrap()
}

/// Bytes that tell from which key and round they are.
pub(crate) fn value(key: u32, round: u32, len: usize) -> Vec<u8> {
    let mut state = u64::from(key) << 32 | u64::from(round) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3]
    };
    (0..len).map(|_| next()).collect()
}
