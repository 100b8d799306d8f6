//! Coldpress: the defaults of its crate. The pools take the cache that every store gets.

use core::sync::atomic::{AtomicU64, Ordering::Relaxed};
use core::time::Duration;
use std::path::Path;

use coldpress_std::budget::{BudgetConfig, BudgetOwner, WorkBudget};
use coldpress_std::compaction::CompactionTask;
use coldpress_std::pool::{AllocationManager, PoolConfig};
use coldpress_std::{ColdTier, ColdTierConfig, ColdTierHandle, Durability, PutOptions};

pub(super) use coldpress_std::CodecId;

use super::{Fault, Opened, Promise, Setup, Store};

/// The directory below the one of the measurement.
const CACHE_ID: &str = "peers";

/// A compaction that takes longer fails.
const COMPACTION_MAX: Duration = Duration::from_secs(60);

struct Coldpress {
    handle: ColdTierHandle,
    tier: ColdTier,
    manager: AllocationManager,
    promise: Durability,
    /// Bytes that compaction had relocated when it was last asked.
    relocated_bytes: AtomicU64,
    /// Dropping it ends the limit.
    _budget: Option<BudgetOwner>,
}

pub(super) fn open(dir: &Path, setup: &Setup, codec: CodecId, partitions: u16) -> Result<Opened, Fault> {
    let promise = match setup.promise {
        Promise::Buffered => Durability::Buffered,
        Promise::Flushed => Durability::Flushed,
        Promise::Synced => Durability::Synced,
    };
    let pools = PoolConfig::builder().capacity_bytes(setup.cache_bytes).build()?;
    let (manager, coordinator) = AllocationManager::new(&pools)?;
    let limits = setup.compaction_bytes_per_s.map(|rate| BudgetConfig::default().with_bytes_per_s(rate));
    let budget = limits.map(WorkBudget::new).transpose()?;
    let mut config = ColdTierConfig::builder();
    if let Some((_, budget)) = &budget {
        config = config.budget(*budget);
    }
    let config = config
        .capacity_bytes(setup.capacity_bytes)
        .codec(codec)
        .partitions(partitions)
        .durability(promise)
        .build()?;
    let settings = format!(
        "coldpress-std of this checkout: codec {codec:?}, partitions {partitions}, durability {promise:?}, capacity {} MiB \
         in segments of {} KiB, pools {} MiB; all else as by default",
        config.capacity_bytes() >> 20,
        config.segment_bytes() >> 10,
        pools.capacity_bytes() >> 20,
    ) + &setup
        .compaction_bytes_per_s
        .map_or_else(String::new, |rate| format!(", compaction at most {} MiB/s", rate >> 20));
    let tier = ColdTier::open(dir, CACHE_ID, config, coordinator)?;
    let store = Box::new(Coldpress {
        handle: tier.handle(),
        tier,
        manager,
        promise,
        relocated_bytes: AtomicU64::new(0),
        _budget: budget.map(|(owner, _)| owner),
    });
    Ok(Opened { store, settings })
}

impl Store for Coldpress {
    fn put(&self, key: &[u8], value: &[u8]) -> Result<(), Fault> {
        Ok(self.handle.put(key, value)?)
    }

    fn put_for(&self, key: &[u8], value: &[u8], seconds: u32) -> Result<bool, Fault> {
        let ttl = Duration::from_secs(seconds.into()).into();
        self.handle.put_with(key, value, PutOptions { ttl, ..PutOptions::default() })?;
        Ok(true)
    }

    fn get(&self, key: &[u8], scratch: &mut Vec<u8>, see: &mut dyn FnMut(&[u8])) -> Result<bool, Fault> {
        let is_found = self.handle.get_into(key, scratch)?;
        if is_found {
            see(scratch);
        }
        Ok(is_found)
    }

    fn remove(&self, key: &[u8]) -> Result<(), Fault> {
        self.handle.remove_with(key, self.promise)?;
        Ok(())
    }

    fn flush(&self) -> Result<(), Fault> {
        Ok(self.handle.flush()?)
    }

    fn has_compacted(&self) -> Option<bool> {
        let relocated = self.handle.stats().relocated_bytes;
        Some(self.relocated_bytes.swap(relocated, Relaxed) != relocated)
    }

    fn compact(&self) -> Result<Option<u64>, Fault> {
        let report = self.handle.compaction().run_compaction(CompactionTask::CompactData, COMPACTION_MAX)?;
        Ok(Some(report.relocated_bytes))
    }

    fn close(self: Box<Self>) -> Result<(), Fault> {
        self.tier.close()?;
        drop(self.manager);
        Ok(())
    }
}
