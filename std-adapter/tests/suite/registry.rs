//! The registry of tiers, and the coordinators that ask it.

use std::path::PathBuf;

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

#[test]
fn tier_asked_for_by_another_path_is_the_same_tier() {
    let dir = tempfile::tempdir().unwrap();
    let base = dir.path().canonicalize().unwrap();
    std::os::unix::fs::symlink(&base, base.join("link")).unwrap();
    let up = std::env::current_dir().unwrap().ancestors().skip(1).map(|_| "..").collect::<PathBuf>();
    let relative = up.join(base.strip_prefix("/").unwrap());
    let paths = [
        base.clone(),
        base.join("link"),
        relative.clone(),
        base.join("link/..").join(base.file_name().unwrap()),
        relative.join("link"),
    ];
    let (_manager, pools) = pools();
    let (_registry, coordinator) = ColdTierCoordinator::new(small().build().unwrap()).unwrap();
    for opened in &paths {
        let tier = init_cold_tier(&coordinator, opened, "t", pools.clone()).unwrap();
        tier.put(b"by", opened.as_os_str().as_encoded_bytes()).unwrap();
        for other in &paths {
            let same = init_cold_tier(&coordinator, other, "t", pools.clone()).unwrap();
            assert_eq!(same.get(b"by").unwrap().unwrap(), opened.as_os_str().as_encoded_bytes());
        }
        let by = paths.iter().find(|path| *path != opened).unwrap();
        assert!(coordinator.close(by, "t").unwrap(), "{opened:?} closed as {by:?}");
        assert!(!coordinator.close(opened, "t").unwrap() && !tier.is_open());
    }
    // A directory of a tier may itself be a link to another tier's.
    std::os::unix::fs::symlink(base.join("t"), base.join("alias")).unwrap();
    init_cold_tier(&coordinator, &base, "t", pools.clone()).unwrap().put(b"by", b"name").unwrap();
    let alias = init_cold_tier(&coordinator, &base, "alias", pools).unwrap();
    assert_eq!(alias.get(b"by").unwrap().as_deref(), Some(&b"name"[..]));
}
