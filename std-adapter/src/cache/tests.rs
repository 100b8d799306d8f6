//! The bookkeeping of a cache does not grow with the keys that were once there.

use core::time::Duration;

use super::hot::HotTierStats;
use super::options::{CachePutOptions, Placement, WritePolicy};
use super::unified::{MemoryTiers, UnifiedCacheManager};
use crate::cache::UnifiedCacheConfig;
use crate::config::ColdTierConfig;
use crate::pool::{AllocationManager, PoolConfig};

type Cache = UnifiedCacheManager<u32, Vec<u8>>;

fn open(dir: &std::path::Path) -> Cache {
    let cold = ColdTierConfig::builder().base_dir(dir).capacity_bytes(16 << 20).build().unwrap();
    let pools = PoolConfig::builder().capacity_bytes(1 << 20).partitions(1).page_bytes(64 << 10);
    let pools = pools.objects_max(4_000).value_bytes_max(16 << 10).build().unwrap();
    Cache::new(UnifiedCacheConfig::builder(cold).hot_bytes(64 << 10).pools(pools).build().unwrap()).unwrap()
}

fn options(policy: WritePolicy, placement: Placement) -> CachePutOptions {
    CachePutOptions { policy: Some(policy), placement, ..CachePutOptions::default() }
}

#[test]
fn queue_of_dirty_values_is_as_long_as_they_are() {
    let dir = tempfile::tempdir().unwrap();
    let cache = open(dir.path());
    let queued = || cache.handle().enter(|tiers| Ok(tiers.dirty.queued())).unwrap();
    for round in 0..50 {
        cache.put_with(&1, &vec![round], options(WritePolicy::OnEvict, Placement::Warm)).unwrap();
        assert_eq!(queued(), 1);
    }
    for key in 1..50 {
        cache.put_with(&key, &vec![0], options(WritePolicy::OnEvict, Placement::Warm)).unwrap();
    }
    assert_eq!(queued(), 49);
    cache.put_with(&1, &vec![0], options(WritePolicy::Through, Placement::Hot)).unwrap();
    cache.put_with(&2, &vec![0], options(WritePolicy::MemoryOnly, Placement::Hot)).unwrap();
    cache.remove(&3).unwrap();
    assert_eq!(queued(), 46);
    cache.write_back(Duration::ZERO).unwrap();
    assert_eq!((queued(), cache.stats().dirty_bytes), (0, 0));
    cache.close().unwrap();
}

#[test]
fn memory_only_keys_that_pools_dropped_are_forgotten() {
    let dir = tempfile::tempdir().unwrap();
    let cache = open(dir.path());
    for key in 0..120_000 {
        cache.put_with(&key, &vec![0; 400], options(WritePolicy::MemoryOnly, Placement::Warm)).unwrap();
    }
    let known = cache.handle().enter(|tiers| {
        let known =
            |number| tiers.stripes.unlogged(number, tiers.deadline(), |_| true).map_or(0, |k| k.len());
        Ok((0..tiers.stripes.count()).map(known).sum::<usize>())
    });
    // At most 16 of each of 1,024 stripes, or twice those that are there.
    let known = known.unwrap();
    assert!(known < 20_000, "{known}");
    let there = (0..120_000).filter(|key| cache.get(key).unwrap().is_some()).count();
    assert!(there > 1_000, "{there}");
    cache.close().unwrap();
}

#[test]
fn tier_that_stands_alone_counts_its_evictions() {
    let (_manager, pools) = AllocationManager::new(&PoolConfig::builder().build().unwrap()).unwrap();
    let MemoryTiers { registry: _registry, hot, .. } = MemoryTiers::start(pools).unwrap();
    let tier = hot.register::<u32, u32>("numbers", 64 << 10).unwrap();
    for key in 0..10_000 {
        tier.insert(key, key, 100, None);
        tier.insert(key, key + 1, 100, None);
    }
    let HotTierStats { entries, evictions, .. } = tier.stats();
    assert_eq!(entries + evictions, 10_000);
}

#[test]
fn entry_that_left_is_gone_once_a_newer_one_came() {
    let dir = tempfile::tempdir().unwrap();
    let cache = open(dir.path());
    let entry = |store: &super::hot::HotStore<u32, Vec<u8>>, key: u32, weight| super::hot::HotEntry {
        value: vec![0; 4],
        hash: coldpress_core::format::KeyHash([u8::try_from(key % 256).unwrap(); 12]),
        partition: 0,
        expires_s: None,
        stamp: store.issue_stamp(),
        weight,
        is_frequent: false,
    };
    let found = cache.handle().enter(|tiers| {
        let store = tiers.hot()?;
        // Heavier than the whole tier: it leaves as it comes.
        let leaving = store.insert(1, entry(store, 1, 1 << 30));
        assert_eq!((leaving.len(), store.get(&1).is_none()), (1, true));
        assert!(store.leaving(&1).is_some() && store.peek(&1).is_some(), "it stays visible");
        assert!(store.insert(1, entry(store, 1, 100)).is_empty());
        Ok((store.leaving(&1).is_some(), store.get(&1).is_some()))
    });
    assert_eq!(found, Ok((false, true)));
    cache.close().unwrap();
}
