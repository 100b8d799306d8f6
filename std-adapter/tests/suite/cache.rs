//! The cache over three tiers: each operation, in each tier, under each policy.

use core::sync::atomic::AtomicU32;
use core::sync::atomic::Ordering::SeqCst;
use core::time::Duration;
use std::path::Path;

use coldpress_std::cache::{
    CacheConfigError, CacheError, CacheOpenError, CachePutOptions, ComputeError, MaintenanceConfig,
    MaintenanceDone, MaintenanceError, MaintenanceTask, Placement, UnifiedCacheConfig,
    UnifiedCacheConfigBuilder, UnifiedCacheManager, WritePolicy,
};
use coldpress_std::clock::ManualClock;
use coldpress_std::pool::PoolConfig;
use coldpress_std::{
    ColdTierConfigBuilder, Durability, Expected, InitError, OpenError, TimeLeft, Ttl, Update,
};

use crate::common::{PATIENCE, SYNCED, small};

pub(crate) type Cache = UnifiedCacheManager<u32, String>;

pub(crate) const POLICIES: [WritePolicy; 3] =
    [WritePolicy::Through, WritePolicy::OnEvict, WritePolicy::MemoryOnly];

/// A cache of the least memory.
pub(crate) fn config_over(cold: ColdTierConfigBuilder) -> UnifiedCacheConfigBuilder {
    let pools = PoolConfig::builder()
        .capacity_bytes(1 << 20)
        .partitions(1)
        .page_bytes(64 << 10)
        .value_bytes_max(16 << 10)
        .objects_max(8_000)
        .request_timeout(PATIENCE);
    UnifiedCacheConfig::builder(cold.build().unwrap()).hot_bytes(64 << 10).pools(pools.build().unwrap())
}

pub(crate) fn config(dir: &Path) -> UnifiedCacheConfigBuilder {
    config_over(small().base_dir(dir))
}

fn open(dir: &Path, policy: WritePolicy) -> Cache {
    Cache::new(config(dir).write_policy(policy).build().unwrap()).unwrap()
}

pub(crate) fn text(key: u32, round: u32) -> String {
    format!("value {key} of round {round} {}", "x".repeat(200))
}

pub(crate) const fn policy(policy: WritePolicy) -> CachePutOptions {
    CachePutOptions {
        ttl: Ttl::Configured,
        durability: None,
        policy: Some(policy),
        placement: Placement::Hot,
    }
}

const fn living(seconds: u64) -> CachePutOptions {
    CachePutOptions { ttl: Ttl::After(Duration::from_secs(seconds)), ..policy(WritePolicy::Through) }
}

#[test]
fn value_is_read_from_every_tier_it_comes_to() {
    for write_policy in POLICIES {
        let dir = tempfile::tempdir().unwrap();
        let cache = open(dir.path(), write_policy);
        for key in 0..1_500 {
            cache.put(&key, &text(key, 1)).unwrap();
        }
        let stats = cache.stats();
        assert!(stats.hot.entries < 1_500 && stats.hot.evictions > 0, "{stats:?}");
        for _ in 0..2 {
            for key in 0..1_500 {
                assert_eq!(cache.get(&key).unwrap(), Some(text(key, 1)), "{write_policy:?} {key}");
                assert!(cache.contains(&key).unwrap());
            }
        }
        let after = cache.stats();
        assert_eq!(after.reads(), 3_000);
        assert_eq!(after.misses, 0);
        assert_eq!(after.puts, 1_500);
        match write_policy {
            // Read twice, each is worth memory.
            WritePolicy::Through => assert!(after.cold_hits > 0 && after.demoted_warm > 0, "{after:?}"),
            WritePolicy::OnEvict => assert!(after.warm_hits > 0 && after.dirty_bytes > 0, "{after:?}"),
            _ => assert!(after.warm_hits > 0 && after.cold_hits == 0 && after.cold.puts == 0, "{after:?}"),
        }
        assert_eq!(cache.len().unwrap(), 1_500);
        let mut keys = cache.keys().collect::<Result<Vec<_>, _>>().unwrap();
        keys.sort_unstable();
        assert_eq!(keys, (0..1_500).collect::<Vec<_>>());
        let entries = cache.entries().collect::<Result<Vec<_>, _>>().unwrap();
        assert!(entries.len() == 1_500 && entries.iter().all(|(key, value)| *value == text(*key, 1)));
        cache.close().unwrap();
        let cache = open(dir.path(), write_policy);
        let is_kept = write_policy != WritePolicy::MemoryOnly;
        for key in 0..1_500 {
            assert_eq!(cache.get(&key).unwrap(), is_kept.then(|| text(key, 1)), "{write_policy:?} {key}");
        }
        cache.close().unwrap();
    }
}

#[test]
fn removed_key_stays_away_whichever_tiers_had_it() {
    let dir = tempfile::tempdir().unwrap();
    let cache = open(dir.path(), WritePolicy::Through);
    let places = [Placement::Hot, Placement::Warm, Placement::Cold];
    let mut key = 0;
    for old in POLICIES {
        for new in POLICIES {
            for (below, above) in places.into_iter().flat_map(|below| places.map(|above| (below, above))) {
                key += 1;
                let at = |write_policy, placement| CachePutOptions { placement, ..policy(write_policy) };
                cache.put_with(&key, &text(key, 1), at(old, below)).unwrap();
                cache.put_with(&key, &text(key, 2), at(new, above)).unwrap();
                assert_eq!(
                    cache.get(&key).unwrap(),
                    Some(text(key, 2)),
                    "{old:?} {new:?} {below:?} {above:?}"
                );
                assert!(cache.remove(&key).unwrap());
                assert_eq!(cache.get(&key).unwrap(), None, "{old:?} {new:?} {below:?} {above:?}");
                assert!(!cache.contains(&key).unwrap() && !cache.remove(&key).unwrap());
            }
        }
    }
    assert!(cache.is_empty().unwrap());
    assert_eq!(cache.stats().dirty_bytes, 0);
    cache.close().unwrap();
    let cache = open(dir.path(), WritePolicy::Through);
    assert_eq!(cache.keys().count(), 0);
}

#[test]
fn expired_value_does_not_uncover_an_older_one() {
    static CLOCK: ManualClock = ManualClock::new(1_000_000);
    let dir = tempfile::tempdir().unwrap();
    let cold = small().base_dir(dir.path()).clock(&CLOCK);
    let cache = Cache::new(config_over(cold).build().unwrap()).unwrap();
    let mut key = 0;
    for new in POLICIES {
        for placement in [Placement::Hot, Placement::Warm, Placement::Cold] {
            key += 1;
            cache.put(&key, &text(key, 1)).unwrap();
            let options = CachePutOptions { placement, policy: Some(new), ..living(10) };
            cache.put_with(&key, &text(key, 2), options).unwrap();
            assert_eq!(cache.get(&key).unwrap(), Some(text(key, 2)));
            assert_eq!(cache.ttl(&key).unwrap(), Some(TimeLeft::For(Duration::from_secs(10))));
        }
    }
    CLOCK.advance_s(11);
    for key in 1..=key {
        assert_eq!((cache.get(&key).unwrap(), cache.ttl(&key).unwrap()), (None, None), "{key}");
        assert_eq!(cache.get_hot(&key), None);
    }
    assert_eq!(cache.entries().count(), 0);
    assert_eq!(cache.stats().dirty_bytes, 0);
}

#[test]
fn expired_dirty_values_are_swept_with_what_they_cover() {
    static CLOCK: ManualClock = ManualClock::new(1_000_000);
    let dir = tempfile::tempdir().unwrap();
    let cold = small().base_dir(dir.path()).clock(&CLOCK);
    let cache = Cache::new(config_over(cold).build().unwrap()).unwrap();
    for key in 0..600 {
        cache.put(&key, &text(key, 1)).unwrap();
        cache
            .put_with(
                &key,
                &text(key, 2),
                CachePutOptions { policy: Some(WritePolicy::OnEvict), ..living(10) },
            )
            .unwrap();
    }
    CLOCK.advance_s(11);
    // Those in the warm tier are found as they are written back.
    cache.write_back(Duration::ZERO).unwrap();
    let report = cache.maintenance_sender().run(MaintenanceTask::EvictExpired, PATIENCE).unwrap();
    assert!(matches!(report.done, MaintenanceDone::Log { .. }));
    let stats = cache.stats();
    assert_eq!((stats.hot.entries, stats.dirty_bytes, stats.cold.keys), (0, 0, 0), "{stats:?}");
    assert!(stats.expired > 400, "{stats:?}");
}

#[test]
fn touch_changes_the_lifetime_in_every_tier() {
    static CLOCK: ManualClock = ManualClock::new(1_000_000);
    let dir = tempfile::tempdir().unwrap();
    let cold = small().base_dir(dir.path()).clock(&CLOCK);
    let cache = Cache::new(config_over(cold).build().unwrap()).unwrap();
    assert!(!cache.touch(&0, Ttl::Never).unwrap());
    let mut key = 0;
    for new in POLICIES {
        for placement in [Placement::Hot, Placement::Warm, Placement::Cold] {
            key += 1;
            let options = CachePutOptions { placement, policy: Some(new), ..living(10) };
            cache.put_with(&key, &text(key, 1), options).unwrap();
            assert!(cache.touch(&key, Duration::from_secs(100).into()).unwrap());
            assert_eq!(cache.ttl(&key).unwrap(), Some(TimeLeft::For(Duration::from_secs(100))), "{new:?}");
            cache.put_with(&key, &text(key, 2), CachePutOptions { ttl: Ttl::Keep, ..options }).unwrap();
        }
    }
    CLOCK.advance_s(50);
    for key in 1..=key {
        assert_eq!(cache.get(&key).unwrap(), Some(text(key, 2)), "{key}");
        assert_eq!(cache.ttl(&key).unwrap(), Some(TimeLeft::For(Duration::from_secs(50))), "{key}");
        assert!(cache.touch(&key, Ttl::Never).unwrap());
        assert_eq!(cache.ttl(&key).unwrap(), Some(TimeLeft::Forever));
    }
    CLOCK.advance_s(500);
    assert_eq!(cache.entries().count(), 9);
    cache.close().unwrap();
    let cold = small().base_dir(dir.path()).clock(&CLOCK);
    let cache = Cache::new(config_over(cold).build().unwrap()).unwrap();
    assert_eq!(cache.entries().count(), 6, "the memory-only ones are gone");
    assert!(cache.keys().all(|key| cache.ttl(&key.unwrap()) == Ok(Some(TimeLeft::Forever))));
}

#[test]
fn conditional_writes_go_by_the_newest_tier() {
    let dir = tempfile::tempdir().unwrap();
    let cache = open(dir.path(), WritePolicy::Through);
    for (key, write_policy) in (1..).zip(POLICIES) {
        let options = policy(write_policy);
        assert!(cache.put_if_absent(&key, &text(key, 1), options).unwrap());
        assert!(!cache.put_if_absent(&key, &text(key, 2), options).unwrap());
        let seen = cache.get_versioned(&key).unwrap().unwrap();
        assert_eq!(seen.value, text(key, 1));
        let (two, three) = (text(key, 2), text(key, 3));
        let swap =
            |expected, round| cache.compare_and_swap(&key, expected, &text(key, round), options).unwrap();
        assert!(!swap(Expected::Absent, 9) && !swap(Expected::Value(&two), 9));
        assert!(swap(Expected::Version(seen.version), 3) && !swap(Expected::Version(seen.version), 9));
        assert!(swap(Expected::Value(&three), 4) && swap(Expected::Present, 5));
        assert_eq!(cache.get(&key).unwrap(), Some(text(key, 5)));
        let done =
            cache.update(&key, options, |value| Update::Put(value.unwrap().replace("round 5", "round 6")));
        assert_eq!(done, Ok(Update::Put(text(key, 6))));
        assert_eq!(cache.update(&key, options, |_| Update::Keep), Ok(Update::Keep));
        assert!(!cache.compare_and_remove(&key, Expected::Value(&text(key, 1)), None).unwrap());
        assert!(cache.compare_and_remove(&key, Expected::Value(&text(key, 6)), None).unwrap());
        assert!(!cache.compare_and_remove(&key, Expected::Present, None).unwrap());
        assert_eq!(cache.update(&key, options, |_| Update::Remove), Ok(Update::Remove));
        assert!(swap(Expected::Absent, 7) && cache.get(&key).unwrap().is_some());
    }
    assert_eq!(cache.clear().unwrap(), 3);
    assert_eq!((cache.len().unwrap(), cache.stats().dirty_bytes), (0, 0));
}

#[test]
fn increments_of_many_threads_are_all_counted() {
    for write_policy in POLICIES {
        let dir = tempfile::tempdir().unwrap();
        let cache: UnifiedCacheManager<u32, u64> =
            UnifiedCacheManager::new(config(dir.path()).write_policy(write_policy).build().unwrap()).unwrap();
        let handle = cache.handle();
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(move || {
                    for round in 0..500_u32 {
                        let count = |count: Option<&u64>| Update::Put(count.map_or(1, |count| count + 1));
                        handle.update(&(round % 3), CachePutOptions::default(), count).unwrap();
                    }
                });
            }
        });
        let counts = [0, 1, 2].map(|key| cache.get(&key).unwrap().unwrap());
        assert_eq!(counts.iter().sum::<u64>(), 4_000, "{write_policy:?} {counts:?}");
    }
}

#[test]
fn one_caller_computes_and_the_others_get_its_value() {
    let dir = tempfile::tempdir().unwrap();
    let cache = open(dir.path(), WritePolicy::Through);
    let handle = cache.handle();
    let computed = AtomicU32::new(0);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for key in 0..50 {
                    let value = handle.get_or_insert_with(&key, || {
                        computed.fetch_add(1, SeqCst);
                        std::thread::sleep(Duration::from_millis(1));
                        text(key, 1)
                    });
                    assert_eq!(value, Ok(text(key, 1)));
                }
            });
        }
    });
    assert_eq!((computed.load(SeqCst), cache.stats().computed), (50, 50));
    assert_eq!(cache.stats().cold.keys, 50);
}

#[test]
fn computed_value_counts_as_one_read() {
    let dir = tempfile::tempdir().unwrap();
    let cache = open(dir.path(), WritePolicy::Through);
    assert_eq!(cache.get_or_insert_with(&1, || text(1, 1)).unwrap(), text(1, 1));
    let stats = cache.stats();
    assert_eq!((stats.misses, stats.computed, stats.reads()), (1, 1, 1), "{stats:?}");
    assert_eq!(cache.get_or_insert_with(&1, || text(1, 2)).unwrap(), text(1, 1));
    let stats = cache.stats();
    assert_eq!((stats.hot_hits, stats.computed, stats.reads()), (1, 1, 2), "{stats:?}");
}

#[test]
fn failure_or_panic_of_the_computing_caller_wakes_the_others() {
    let dir = tempfile::tempdir().unwrap();
    let cache = open(dir.path(), WritePolicy::Through);
    let handle = cache.handle();
    for panics in [false, true] {
        let (entered, is_in) = std::sync::mpsc::channel();
        let (release, held) = std::sync::mpsc::channel::<()>();
        std::thread::scope(|scope| {
            let first = scope.spawn(move || {
                handle.try_get_or_insert_with(&1, || {
                    entered.send(()).unwrap();
                    held.recv().unwrap();
                    assert!(!panics, "as planned");
                    Err::<String, _>("no")
                })
            });
            is_in.recv().unwrap();
            let second = scope.spawn(move || handle.try_get_or_insert_with(&1, || Ok::<_, &str>(text(1, 2))));
            // The second may come too late to wait; then it computes, which is right too.
            std::thread::sleep(Duration::from_millis(50));
            release.send(()).unwrap();
            assert_eq!(first.join().is_err(), panics);
            let second = second.join().unwrap();
            let expected = if panics { ComputeError::Panicked } else { ComputeError::Failed("no") };
            assert!(second == Err(expected) || second == Ok(text(1, 2)), "{second:?}");
        });
        cache.remove(&1).unwrap();
        assert_eq!(cache.get_or_insert_with(&1, || text(1, 3)), Ok(text(1, 3)));
        cache.remove(&1).unwrap();
    }
}

#[test]
fn value_put_during_a_computation_stays() {
    let dir = tempfile::tempdir().unwrap();
    let cache = open(dir.path(), WritePolicy::Through);
    let found = cache.get_or_insert_with(&1, || {
        cache.put(&1, &text(1, 1)).unwrap();
        text(1, 2)
    });
    assert_eq!(found, Ok(text(1, 1)));
    assert_eq!(cache.get(&1).unwrap(), Some(text(1, 1)));
}

#[test]
fn computation_that_waits_too_long_names_the_setting() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(dir.path()).compute_timeout(Duration::from_millis(20));
    let cache = Cache::new(config.build().unwrap()).unwrap();
    let handle = cache.handle();
    let found = cache.get_or_insert_with(&1, || {
        let waited = std::thread::spawn(move || handle.get_or_insert_with(&1, || text(1, 2))).join().unwrap();
        assert_eq!(waited, Err(ComputeError::TimedOut));
        assert!(waited.unwrap_err().to_string().contains("`compute_timeout`"));
        text(1, 1)
    });
    assert_eq!(found, Ok(text(1, 1)));
}

#[test]
fn closure_that_asks_for_its_own_key_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let cache = open(dir.path(), WritePolicy::Through);
    let found = cache.get_or_insert_with(&1, || {
        assert_eq!(cache.get_or_insert_with(&1, || text(1, 2)), Err(ComputeError::Recursive));
        cache.get_or_insert_with(&2, || text(2, 1)).unwrap()
    });
    assert_eq!(found, Ok(text(2, 1)));
    assert_eq!(cache.get_or_insert_with(&1, || text(1, 3)), Ok(text(2, 1)));
}

#[test]
fn batches_do_what_single_calls_do() {
    let dir = tempfile::tempdir().unwrap();
    for write_policy in POLICIES {
        let cache = open(dir.path(), write_policy);
        let pairs: Vec<_> = (0..20).map(|key| (key, text(key, 1))).collect();
        cache.put_batch(&pairs, CachePutOptions::default()).unwrap();
        cache.put_batch(&pairs[..2], SYNCED.into()).unwrap();
        let found = cache.get_batch(&[3, 100, 4]).unwrap();
        assert_eq!(found, [Some(text(3, 1)), None, Some(text(4, 1))]);
        assert_eq!(cache.remove_batch(&[3, 100, 4]).unwrap(), 2);
        let long = (7, "x".repeat(1 << 20));
        let error = cache.put_batch(&[(5, text(5, 2)), long], CachePutOptions::default()).unwrap_err();
        assert_eq!((error.index, cache.get(&5).unwrap()), (1, Some(text(5, 2))));
        cache.clear().unwrap();
        cache.close().unwrap();
    }
}

#[test]
fn value_asked_to_be_durable_is_written_through() {
    let dir = tempfile::tempdir().unwrap();
    for write_policy in POLICIES {
        let cache = open(dir.path(), write_policy);
        cache.put_with(&1, &text(1, 1), SYNCED.into()).unwrap();
        assert_eq!((cache.stats().dirty_bytes, cache.stats().cold.keys), (0, 1));
        let options = CachePutOptions { durability: Some(Durability::Synced), ..CachePutOptions::default() };
        cache.put(&2, &text(2, 1)).unwrap();
        assert!(cache.touch_with(&2, options).unwrap());
        let is_logged = write_policy != WritePolicy::MemoryOnly;
        assert_eq!(cache.stats().cold.keys, 1 + u64::from(is_logged), "{write_policy:?}");
        cache.clear().unwrap();
        cache.close().unwrap();
    }
}

#[test]
fn maintenance_tasks_do_their_work_and_report_it() {
    let dir = tempfile::tempdir().unwrap();
    let cache = open(dir.path(), WritePolicy::Through);
    for round in 0..6 {
        for key in 0..2_000 {
            cache.put(&key, &text(key, round)).unwrap();
            cache.get(&key).unwrap();
        }
    }
    let maintenance = cache.maintenance_sender();
    let run = |task| maintenance.run(task, PATIENCE).unwrap();
    let MaintenanceDone::Written { values: 0 } = run(MaintenanceTask::Flush).done else { panic!() };
    let report = run(MaintenanceTask::Compact { target_bytes: u64::MAX });
    let MaintenanceDone::Log { passes, log_bytes_reclaimed, .. } = report.done else { panic!("{report:?}") };
    assert!(passes >= 1 && report.freed_bytes() >= log_bytes_reclaimed);
    assert!(!cache.cold().unwrap().compaction().has_background_worker(), "it started none");
    let again = run(MaintenanceTask::Compact { target_bytes: 0 });
    assert!(matches!(again.done, MaintenanceDone::Log { passes: 1, .. }), "{again:?}");
    let report = run(MaintenanceTask::Verify);
    let MaintenanceDone::Verified { values: 2_000, damaged: 0, is_partial: false, .. } = report.done else {
        panic!("{report:?}")
    };
    for task in
        [MaintenanceTask::RebuildIndex, MaintenanceTask::OptimizeCompression, MaintenanceTask::EvictExpired]
    {
        assert!(matches!(run(task).done, MaintenanceDone::Log { passes: 1, .. }));
    }
    for task in [MaintenanceTask::Cleanup, MaintenanceTask::Defragment] {
        assert!(matches!(run(task).done, MaintenanceDone::Pools(_)));
    }
    assert!(matches!(run(MaintenanceTask::WriteBack).done, MaintenanceDone::Written { .. }));
    let MaintenanceDone::Stats { cache: stats, pools } = run(MaintenanceTask::Stats).done else { panic!() };
    assert!(stats.cold.compactions > 0 && pools.committed_bytes <= 1 << 20);
    assert_eq!(maintenance.run(MaintenanceTask::Flush, Duration::ZERO), Err(MaintenanceError::TimedOut));
    for key in 0..2_000 {
        assert_eq!(cache.get(&key).unwrap(), Some(text(key, 5)));
    }
    cache.close().unwrap();
    assert_eq!(maintenance.run(MaintenanceTask::Flush, PATIENCE), Err(MaintenanceError::Closed));
}

#[test]
fn closed_cache_refuses_every_call() {
    let dir = tempfile::tempdir().unwrap();
    let cache = open(dir.path(), WritePolicy::Through);
    let handle = cache.handle();
    cache.put(&1, &text(1, 1)).unwrap();
    cache.close().unwrap();
    assert!(!handle.is_open());
    assert_eq!(handle.get(&1), Err(CacheError::Closed));
    assert_eq!(handle.put(&1, &text(1, 1)), Err(CacheError::Closed));
    assert_eq!(handle.remove(&1), Err(CacheError::Closed));
    assert_eq!(handle.keys().collect::<Vec<_>>(), [Err(CacheError::Closed)]);
    assert_eq!(handle.get_or_insert_with(&1, || text(1, 1)), Err(ComputeError::Cache(CacheError::Closed)));
    assert_eq!(handle.stats().reads(), 0);
    // A new one of other types in the same place does not answer the old handle.
    let config = config(dir.path()).cache_id("other").build().unwrap();
    let other: UnifiedCacheManager<u64, u64> = UnifiedCacheManager::new(config).unwrap();
    assert_eq!(handle.get(&1), Err(CacheError::Closed));
    other.close().unwrap();
}

#[test]
fn cache_over_a_directory_in_use_is_refused_and_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let cache = open(dir.path(), WritePolicy::Through);
    let error = Cache::new(config(dir.path()).build().unwrap()).unwrap_err();
    assert!(matches!(error, CacheOpenError::Cold(InitError::Open(OpenError::AlreadyOpen(_)))), "{error:?}");
    cache.close().unwrap();
    open(dir.path(), WritePolicy::Through).close().unwrap();
}

#[test]
fn settings_out_of_range_are_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let refused = |builder: UnifiedCacheConfigBuilder| builder.build().unwrap_err();
    let cold = || small().base_dir(dir.path());
    let nowhere = Cache::new(config_over(small()).build().unwrap());
    assert!(matches!(nowhere, Err(CacheOpenError::NoBaseDir)));
    assert_eq!(refused(config_over(cold().read_only(true))), CacheConfigError::ReadOnly);
    assert_eq!(refused(config_over(cold().idle(Duration::from_secs(5)))), CacheConfigError::Idle);
    assert_eq!(refused(config(dir.path()).cache_id("")), CacheConfigError::CacheId { bytes: 0 });
    assert_eq!(
        refused(config(dir.path()).hot_bytes(1)),
        CacheConfigError::HotBytes { given: 1, min: 65_536 }
    );
    assert!(matches!(refused(config(dir.path()).dirty_bytes_max(1)), CacheConfigError::DirtyBytes { .. }));
    assert_eq!(refused(config(dir.path()).cache_id("a/b")), CacheConfigError::CacheId { bytes: 3 });
    for time in [Duration::ZERO, Duration::MAX] {
        let mut maintenance = MaintenanceConfig::default();
        maintenance.compact_every = Some(time);
        let all = [
            ("dirty_age_max", config(dir.path()).dirty_age_max(time)),
            ("compute_timeout", config(dir.path()).compute_timeout(time)),
            ("compact_every", config(dir.path()).maintenance(maintenance)),
        ];
        for (setting, config) in all {
            let error = refused(config);
            assert!(matches!(error, CacheConfigError::Time { name, .. } if name == setting), "{error:?}");
            assert_eq!(error.to_string(), format!("{setting} takes 1ms to 366 days"));
        }
    }
}

#[test]
fn value_above_the_warm_tier_leaves_no_older_one_there() {
    let dir = tempfile::tempdir().unwrap();
    let cache = open(dir.path(), WritePolicy::Through);
    // Once the hot tier is full, a value that is used once leaves by its probation queue.
    for key in 5_000..5_500 {
        cache.put(&key, &text(key, 1)).unwrap();
    }
    for key in 0..50 {
        let warm = CachePutOptions { placement: Placement::Warm, ..policy(WritePolicy::Through) };
        cache.put_with(&key, &text(key, 1), warm).unwrap();
        cache.put_with(&key, &text(key, 2), policy(WritePolicy::Through)).unwrap();
    }
    // Used once, those go past the warm tier when they leave the hot one.
    for key in 1_000..3_000 {
        cache.put(&key, &text(key, 1)).unwrap();
    }
    let left = (0..50).filter(|key| cache.get_hot(key).is_none()).count();
    assert!(left > 40 && cache.stats().dropped > 1_000, "{left} of 50");
    for key in 0..50 {
        assert_eq!(cache.get(&key).unwrap(), Some(text(key, 2)), "{key}");
    }
}

#[test]
fn kept_lifetime_of_a_dirty_value_goes_to_the_log() {
    static CLOCK: ManualClock = ManualClock::new(1_000_000);
    let dir = tempfile::tempdir().unwrap();
    let cold = small().base_dir(dir.path()).clock(&CLOCK);
    let cache = Cache::new(config_over(cold).build().unwrap()).unwrap();
    for placement in [Placement::Hot, Placement::Warm] {
        let dirty = CachePutOptions { policy: Some(WritePolicy::OnEvict), placement, ..living(50) };
        cache.put_with(&1, &text(1, 1), dirty).unwrap();
        let kept = CachePutOptions { ttl: Ttl::Keep, ..policy(WritePolicy::Through) };
        cache.put_with(&1, &text(1, 2), kept).unwrap();
        let left = cache.ttl(&1).unwrap();
        assert!(left <= Some(TimeLeft::For(Duration::from_secs(50))) && left.is_some(), "{left:?}");
        CLOCK.advance_s(52);
        assert_eq!(cache.get(&1).unwrap(), None);
        assert!(!cache.cold().unwrap().contains(&[1]).unwrap());
    }
}
