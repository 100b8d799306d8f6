//! The cache over three tiers where space is short: dirty values, a full cold tier, evictions, the budget.

use core::time::Duration;

use coldpress_std::budget::WorkKind;
use coldpress_std::cache::{CacheCloseError, CacheError, CachePutOptions, MaintenanceTask, WritePolicy};
use coldpress_std::{
    CodecId, ColdTierConfig, EvictedFrom, Explained, PutError, PutOptions, RefusedOperation, Update,
};

use crate::cache::{Cache, config, config_over, policy, text};
use crate::common::{PATIENCE, eventually};

#[test]
fn dirty_values_stay_within_their_limit_until_a_flush() {
    let dir = tempfile::tempdir().unwrap();
    let builder = config(dir.path()).write_policy(WritePolicy::OnEvict).dirty_bytes_max(64 << 10);
    let cache = Cache::new(builder.dirty_age_max(PATIENCE).build().unwrap()).unwrap();
    let mut most = 0;
    for key in 0..3_000 {
        cache.put(&key, &text(key, 1)).unwrap();
        most = most.max(cache.stats().dirty_bytes);
    }
    assert!(most > 60 << 10 && most <= 64 << 10, "{most}");
    assert!(cache.stats().demoted_cold > 2_500, "{:?}", cache.stats());
    cache.flush().unwrap();
    let stats = cache.stats();
    assert_eq!((stats.dirty_bytes, stats.cold.keys), (0, 3_000));
    let one_too_long = CachePutOptions { policy: Some(WritePolicy::OnEvict), ..CachePutOptions::default() };
    let refused = cache.put_with(&1, &"x".repeat(70_000), one_too_long);
    assert!(
        matches!(refused, Err(CacheError::Backlog { error: None, .. } | CacheError::Put(_))),
        "{refused:?}"
    );
    assert_eq!(cache.get(&1).unwrap(), Some(text(1, 1)));
}

#[test]
fn dirty_value_is_written_once_it_is_old_enough() {
    let dir = tempfile::tempdir().unwrap();
    let builder = config(dir.path()).write_policy(WritePolicy::OnEvict);
    let cache = Cache::new(builder.dirty_age_max(Duration::from_millis(20)).build().unwrap()).unwrap();
    cache.put(&1, &text(1, 1)).unwrap();
    eventually("it is clean", || cache.stats().dirty_bytes == 0);
    assert_eq!((cache.stats().cold.keys, cache.stats().demoted_cold), (1, 1));
}

#[test]
fn full_cold_tier_refuses_a_put_and_keeps_what_was_there() {
    let dir = tempfile::tempdir().unwrap();
    let cold = ColdTierConfig::builder()
        .codec(CodecId::Raw)
        .capacity_bytes(2 << 20)
        .op_timeout(Duration::from_millis(200));
    let cache = Cache::new(config_over(cold.base_dir(dir.path())).build().unwrap()).unwrap();
    let mut taken = 0;
    let error = loop {
        match cache.put(&taken, &text(taken, 1).repeat(20)) {
            Ok(()) => taken += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(error, CacheError::Put(_)) && cache.stats().refused == 1, "{error:?}");
    assert_eq!(cache.get(&taken).unwrap(), None);
    assert!(cache.put(&0, &text(0, 2).repeat(2_000)).is_err());
    assert_eq!(cache.get(&0).unwrap(), Some(text(0, 1).repeat(20)));
    let options = policy(WritePolicy::Through);
    assert!(cache.put_if_absent(&taken, &text(taken, 1).repeat(20), options).is_err());
    let update = cache.update(&taken, options, |_| Update::Put(text(taken, 1).repeat(20)));
    assert!(update.is_err() && cache.stats().refused == 4, "{:?}", cache.stats());
    // Dirty values stay, and more of them are refused, not lost.
    let mut dirty = Vec::new();
    let options = policy(WritePolicy::OnEvict);
    let error = loop {
        let key = 1_000_000 + dirty.len() as u32;
        match cache.put_with(&key, &text(key, 1).repeat(20), options) {
            Ok(()) => dirty.push(key),
            Err(error) => break error,
        }
    };
    assert!(matches!(error, CacheError::Backlog { error: Some(_), .. }), "{error:?}");
    assert!(
        dirty.len() > 10 && dirty.iter().all(|key| cache.get(key).unwrap() == Some(text(*key, 1).repeat(20)))
    );
    // Space lets them go.
    for key in 0..taken {
        cache.remove(&key).unwrap();
    }
    cache.flush().unwrap();
    assert_eq!(cache.stats().dirty_bytes, 0);
    assert!(dirty.iter().all(|key| cache.get(key).unwrap() == Some(text(*key, 1).repeat(20))));
    for key in dirty {
        cache.put_with(&key, &text(key, 2), PutOptions::default().into()).unwrap();
    }
    cache.close().unwrap();
}

#[test]
fn close_that_can_not_write_dirty_values_says_how_many() {
    let dir = tempfile::tempdir().unwrap();
    let cold = ColdTierConfig::builder()
        .codec(CodecId::Raw)
        .capacity_bytes(2 << 20)
        .op_timeout(Duration::from_millis(100));
    let builder = config_over(cold.base_dir(dir.path())).dirty_bytes_max(1 << 20);
    let cache = Cache::new(builder.build().unwrap()).unwrap();
    let mut key = 0;
    while cache.put(&key, &text(key, 1).repeat(20)).is_ok() {
        key += 1;
    }
    for key in 1_000_000..1_000_005 {
        cache.put_with(&key, &text(key, 1).repeat(20), policy(WritePolicy::OnEvict)).unwrap();
    }
    let closed = cache.close();
    let Err(CacheCloseError::Dirty { values, error: Some(_) }) = closed else { panic!("{closed:?}") };
    assert!((1..=5).contains(&values), "{values}");
}

#[test]
fn evictions_and_refusals_of_a_cache_are_explained() {
    let dir = tempfile::tempdir().unwrap();
    let cold = ColdTierConfig::builder().codec(CodecId::Raw).capacity_bytes(2 << 20);
    let cold = cold.op_timeout(Duration::from_millis(100)).base_dir(dir.path());
    let cache = Cache::new(config_over(cold).build().unwrap()).unwrap();
    let mut key = 0;
    while cache.put_with(&key, &text(key, 1).repeat(20), policy(WritePolicy::OnEvict)).is_ok() {
        key += 1;
    }
    let explanations = cache.explanations().unwrap();
    let evicted: u64 = explanations
        .iter()
        .filter_map(|one| match &one.kind {
            Explained::Evicted(one) if one.from == EvictedFrom::HotTier => Some(one.records),
            _ => None,
        })
        .sum();
    assert_eq!(evicted, cache.stats().hot.evictions);
    let refused = |operation| {
        explanations.iter().any(|one| match &one.kind {
            Explained::Refused(one) => one.operation == operation && !one.waited.is_zero(),
            _ => false,
        })
    };
    assert!(refused(RefusedOperation::Put) && refused(RefusedOperation::Move), "{explanations:?}");
    let report = cache.maintenance_sender().run(MaintenanceTask::Defragment, PATIENCE);
    assert!(report.is_ok());
    let explanations = cache.explanations().unwrap();
    assert!(explanations.iter().any(|one| matches!(one.kind, Explained::PoolCleanup(_))));
    assert!(explanations.iter().all(|one| !one.to_string().is_empty()));
}

#[test]
fn demotion_is_booked_in_the_budget_of_the_cache() {
    let dir = tempfile::tempdir().unwrap();
    let builder = config(dir.path()).write_policy(WritePolicy::OnEvict);
    let cache = Cache::new(builder.dirty_age_max(Duration::from_millis(20)).build().unwrap()).unwrap();
    for key in 0..100 {
        cache.put(&key, &text(key, 1)).unwrap();
    }
    eventually("all are clean", || cache.stats().dirty_bytes == 0);
    let stats = cache.budget_stats();
    let bytes: usize = (0..100).map(|key| text(key, 1).len()).sum();
    assert!(stats.bytes(WorkKind::Demotion) >= bytes as u64, "{stats:?}");
    assert!(stats.granted(WorkKind::Demotion) > 0 && stats.booked(WorkKind::Demotion) >= 100, "{stats:?}");
}

#[test]
fn memory_only_value_that_fits_no_memory_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let cache = Cache::new(config(dir.path()).build().unwrap()).unwrap();
    let mut taken = 0;
    for len in (1_000..120_000).step_by(500) {
        match cache.put_with(&1, &"x".repeat(len), policy(WritePolicy::MemoryOnly)) {
            Ok(()) => {
                taken = len;
                assert_eq!(cache.get(&1).unwrap().map(|value| value.len()), Some(len));
            }
            Err(CacheError::Put(PutError::ValueTooLong { bytes, max })) => {
                assert!(bytes >= len && bytes > max as usize);
                assert_eq!(cache.get(&1).unwrap().map(|value| value.len()), Some(taken), "the old one stays");
            }
            Err(error) => panic!("{error:?}"),
        }
    }
    assert!((16_000..110_000).contains(&taken), "{taken}");
}
