//! The pools that a tier works with: their owner, and what a tier does without one.

use coldpress_std::compaction::{CompactionConfig, CompactionError, CompactionSystem};
use coldpress_std::pool::{AllocationManager, PoolConfig, PoolCoordinator};
use coldpress_std::{
    ColdTier, ColdTierCoordinator, InitError, OpenError, PersistentColdTier, init_cold_tier,
};

use crate::common::{open, pools, small};
use crate::double::Double;

/// As a service that binds the manager to `_`, which drops it at once.
pub(crate) fn closed_pools() -> PoolCoordinator {
    let (_, pools) = AllocationManager::new(&PoolConfig::builder().build().unwrap()).unwrap();
    pools
}

#[test]
fn pools_without_an_owner_are_refused_by_every_open() {
    let dir = tempfile::tempdir().unwrap();
    let (closed, config) = (closed_pools(), small().base_dir(dir.path()).build().unwrap());
    assert!(closed.is_closed());
    let error = ColdTier::open(dir.path(), "t", config.clone(), closed.clone()).unwrap_err();
    assert!(matches!(error, OpenError::PoolsClosed), "{error}");
    assert!(error.to_string().contains("AllocationManager was dropped: keep it"), "{error}");
    let typed = PersistentColdTier::<u64, u64>::new(config.clone(), "t", closed.clone());
    assert!(matches!(typed, Err(OpenError::PoolsClosed)));
    let medium = Double::new(config.capacity_bytes());
    let on_media = ColdTier::open_with(vec![Box::new(medium)], config.clone(), closed.clone());
    assert!(matches!(on_media, Err(OpenError::PoolsClosed)));
    let (_registry, coordinator) = ColdTierCoordinator::new(config.clone()).unwrap();
    let asked = || init_cold_tier(&coordinator, dir.path(), "t", closed.clone());
    assert!(matches!(asked(), Err(InitError::Open(OpenError::PoolsClosed))));
    assert_eq!(dir.path().read_dir().unwrap().count(), 0, "nothing was made");
    let (manager, pools) = pools();
    assert!(!pools.is_closed());
    init_cold_tier(&coordinator, dir.path(), "t", pools.clone()).unwrap();
    assert!(
        matches!(asked(), Err(InitError::Open(OpenError::PoolsClosed))),
        "open already, and refused all the same"
    );
    drop(manager);
    assert!(pools.is_closed());
}

#[test]
fn background_worker_over_pools_without_an_owner_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (_manager, pools) = pools();
    let tier = open(dir.path(), &small().build().unwrap(), &pools);
    let mut system = CompactionSystem::new(CompactionConfig::default(), closed_pools());
    system.attach(tier.handle());
    assert_eq!(system.start_background_worker(), Err(CompactionError::PoolsClosed));
    assert!(!system.has_background_worker());
}
