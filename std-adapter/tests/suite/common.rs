//! Shared code of the suites.

use core::time::Duration;
use std::path::Path;

use coldpress_std::medium::ServiceMedium;
use coldpress_std::pool::{AllocationManager, PoolConfig, PoolCoordinator};
use coldpress_std::{ColdTier, ColdTierConfig, ColdTierConfigBuilder, Durability, PutOptions, Ttl};

pub(crate) const SYNCED: PutOptions =
    PutOptions { ttl: Ttl::Configured, durability: Some(Durability::Synced) };
pub(crate) const FLUSHED: PutOptions =
    PutOptions { ttl: Ttl::Configured, durability: Some(Durability::Flushed) };

/// Longer than any step takes on a slow and busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

pub(crate) fn pools() -> (AllocationManager, PoolCoordinator) {
    let builder = PoolConfig::builder().capacity_bytes(8 << 20).partitions(2).request_timeout(PATIENCE);
    AllocationManager::new(&builder.build().unwrap()).unwrap()
}

pub(crate) fn small() -> ColdTierConfigBuilder {
    ColdTierConfig::builder().capacity_bytes(4 << 20).op_timeout(PATIENCE).close_timeout(PATIENCE)
}

pub(crate) fn open(dir: &Path, config: &ColdTierConfig, pools: &PoolCoordinator) -> ColdTier {
    ColdTier::open(dir, "test", config.clone(), pools.clone()).unwrap()
}

pub(crate) fn open_on(
    medium: &dyn ServiceMedium,
    config: &ColdTierConfig,
    pools: &PoolCoordinator,
) -> ColdTier {
    ColdTier::open_with(vec![medium.another_view().unwrap()], config.clone(), pools.clone()).unwrap()
}

/// Bytes that show their key and round.
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

/// Runs a future on a runtime of this thread.
pub(crate) fn block_on<F: Future>(future: F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(future)
}

/// Waits for something to become true.
pub(crate) fn eventually(what: &str, mut is_true: impl FnMut() -> bool) {
    let begun = std::time::Instant::now();
    while !is_true() {
        assert!(begun.elapsed() < PATIENCE, "never came true: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Checks the sums by which capacity is kept. Compaction may be at work, so the check waits for it to come to rest.
pub(crate) fn recount(tier: &ColdTier) {
    eventually("the sums equal a recount", || tier.is_recount_exact().unwrap());
}
