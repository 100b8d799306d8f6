//! The registry of tiers, and the coordinators that ask it.

use coldpress_std::{ColdTierCoordinator, GetError, InitError, OpenError, TierError, init_cold_tier};

use crate::common::{pools, small};

#[test]
fn one_id_asked_for_by_many_threads_is_one_tier() {
    let dir = tempfile::tempdir().unwrap();
    let (_manager, pools) = pools();
    let (registry, coordinator) = ColdTierCoordinator::new(small().build().unwrap()).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..8u32 {
            let (coordinator, pools, base) = (coordinator.clone(), pools.clone(), dir.path());
            scope.spawn(move || {
                let tier = init_cold_tier(&coordinator, base, "shared", pools).unwrap();
                tier.put(&thread.to_le_bytes(), b"v").unwrap();
            });
        }
    });
    let tier = init_cold_tier(&coordinator, dir.path(), "shared", pools.clone()).unwrap();
    assert_eq!(tier.len().unwrap(), 8);
    assert!(coordinator.close(dir.path(), "shared").unwrap());
    assert!(!coordinator.close(dir.path(), "shared").unwrap());
    assert_eq!(tier.get(b"a"), Err(GetError::Tier(TierError::Closed)));
    let tier = init_cold_tier(&coordinator, dir.path(), "shared", pools.clone()).unwrap();
    assert_eq!(tier.len().unwrap(), 8);
    drop(registry);
    assert!(!tier.is_open());
    let gone = init_cold_tier(&coordinator, dir.path(), "shared", pools);
    assert!(matches!(gone, Err(InitError::Disconnected)), "{gone:?}");
}

#[test]
fn bad_id_asked_for_is_an_error_of_that_tier_alone() {
    let dir = tempfile::tempdir().unwrap();
    let (_manager, pools) = pools();
    let (_registry, coordinator) = ColdTierCoordinator::new(small().build().unwrap()).unwrap();
    let refused = init_cold_tier(&coordinator, dir.path(), "../up", pools.clone());
    assert!(matches!(refused, Err(InitError::Open(OpenError::CacheId))));
    assert!(init_cold_tier(&coordinator, dir.path(), "good", pools).is_ok());
}
