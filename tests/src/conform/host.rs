//! The std adapter, on a directory of its own.

use core::time::Duration;
use std::path::PathBuf;

use coldpress_core::compaction::CompactionTask;
use coldpress_std::clock::ManualClock;
use coldpress_std::pool::{AllocationManager, PoolConfig, PoolCoordinator};
use coldpress_std::{ColdTier, ColdTierConfig, Durability, PutOptions};

use super::Adapter;

const CACHE_ID: &str = "conform";
/// Longer than anything takes on a machine that is slow and busy.
const PATIENCE: Duration = Duration::from_secs(300);

/// The tier of a service.
#[derive(Debug)]
pub struct HostTier {
    tier: Option<ColdTier>,
    config: ColdTierConfig,
    pools: PoolCoordinator,
    _manager: AllocationManager,
    dir: tempfile::TempDir,
}

impl HostTier {
    /// A tier of so many segments on a fresh directory.
    ///
    /// # Panics
    /// Where it does not open.
    #[must_use]
    pub fn new(segment_bytes: u32, segments: u32, clock: &'static ManualClock) -> Self {
        let pool = PoolConfig::builder().capacity_bytes(4 << 20).build();
        let (manager, pools) = pool
            .map_err(|error| error.to_string())
            .and_then(|config| AllocationManager::new(&config).map_err(|error| error.to_string()))
            .unwrap_or_else(|error| panic!("{error}"));
        let config = ColdTierConfig::builder()
            .capacity_bytes(u64::from(segment_bytes) * u64::from(segments))
            .segment_bytes(segment_bytes)
            .clock(clock)
            .op_timeout(PATIENCE)
            .build()
            .unwrap_or_else(|error| panic!("{error}"));
        let dir = tempfile::tempdir().unwrap_or_else(|error| panic!("{error}"));
        let mut host = Self { tier: None, config, pools, _manager: manager, dir };
        host.reopen();
        host
    }

    /// The file of its only partition.
    #[must_use]
    pub fn file(&self) -> PathBuf {
        self.dir.path().join(CACHE_ID).join("part-000.cold")
    }

    fn tier(&self) -> &ColdTier {
        self.tier.as_ref().unwrap_or_else(|| panic!("it is open"))
    }
}

impl Adapter for HostTier {
    fn name(&self) -> String {
        "std".to_owned()
    }

    fn put(&mut self, key: &[u8], value: &[u8], ttl_s: Option<u32>) {
        let ttl = ttl_s.map(|ttl_s| Duration::from_secs(ttl_s.into()));
        let options = PutOptions { ttl: ttl.into(), durability: Some(Durability::Flushed) };
        self.tier().put_with(key, value, options).unwrap_or_else(|error| panic!("put: {error}"));
    }

    fn remove(&mut self, key: &[u8]) -> bool {
        self.tier().remove(key).unwrap_or_else(|error| panic!("remove: {error}"))
    }

    fn get(&mut self, key: &[u8]) -> Option<Vec<u8>> {
        self.tier().get(key).unwrap_or_else(|error| panic!("get: {error}"))
    }

    fn contains(&mut self, key: &[u8]) -> bool {
        self.tier().contains(key).unwrap_or_else(|error| panic!("contains: {error}"))
    }

    fn keys(&mut self) -> Vec<Vec<u8>> {
        let keys = self.tier().keys().map(|key| key.unwrap_or_else(|error| panic!("keys: {error}")));
        let mut keys: Vec<_> = keys.collect();
        keys.sort();
        keys
    }

    fn len(&mut self) -> usize {
        let len = self.tier().len().unwrap_or_else(|error| panic!("len: {error}"));
        usize::try_from(len).unwrap_or(usize::MAX)
    }

    fn run(&mut self, task: CompactionTask) {
        let report = self.tier().compaction().run_compaction(task, PATIENCE);
        report.unwrap_or_else(|error| panic!("{task}: {error}"));
    }

    fn sync(&mut self) {
        self.tier().flush().unwrap_or_else(|error| panic!("flush: {error}"));
    }

    fn reopen(&mut self) {
        if let Some(tier) = self.tier.take() {
            tier.close().unwrap_or_else(|error| panic!("close: {error}"));
        }
        let tier = ColdTier::open(self.dir.path(), CACHE_ID, self.config.clone(), self.pools.clone());
        self.tier = Some(tier.unwrap_or_else(|error| panic!("open: {error}")));
    }

    fn image(&mut self) -> Vec<u8> {
        self.sync();
        std::fs::read(self.file()).unwrap_or_else(|error| panic!("{error}"))
    }
}
