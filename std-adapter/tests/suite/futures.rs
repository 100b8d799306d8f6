//! Futures on runtimes: they block no thread, whatever the medium does, and agree with a model.

use core::future::Future;
use core::sync::atomic::Ordering::SeqCst;
use core::sync::atomic::{AtomicBool, AtomicU32};
use core::time::Duration;
use std::collections::HashMap;

use async_executor::{Executor, LocalExecutor};
use coldpress_std::{
    ColdTier, ColdTierConfigBuilder, ColdTierHandle, CompactionTask, Durability, GetError, Outcome, PutError,
    PutOptions, TierError, Ttl,
};
use tokio::runtime::{Builder, Runtime};
use tokio::task::yield_now;

use crate::common::{
    FLUSHED, PATIENCE, SYNCED, block_on, eventually, open, open_on, pools, recount, small, value,
};
use crate::double::Double;

fn is_send<T: Send>(future: T) -> T {
    future
}

fn many_threads() -> Runtime {
    Builder::new_multi_thread().worker_threads(2).enable_time().build().unwrap()
}

/// A tier whose medium never has bytes in memory, with a value in its log. Nothing is kept in the pools.
fn cold(double: &'static Double, op_timeout: Duration) -> ColdTier {
    cold_with(double, small().op_timeout(op_timeout))
}

fn cold_with(double: &'static Double, config: ColdTierConfigBuilder) -> ColdTier {
    let (manager, pools) = pools();
    // The pools outlive the test.
    core::mem::forget(manager);
    let config = config.keep_hot_values(false).build().unwrap();
    let tier = open_on(&double, &config, &pools);
    tier.put_with(b"logged", b"v", SYNCED).unwrap();
    tier
}

/// Runs the operations of one task, and checks each against a model of its keys.
async fn run_client(tier: ColdTierHandle, client: u32, rounds: u32) {
    let mut model: HashMap<u32, Vec<u8>> = HashMap::new();
    let mut state = u64::from(client) << 20 | 1;
    for round in 0..rounds {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let roll = (state >> 33) as u32;
        let key = (client << 8) | (roll % 4);
        let id = key.to_le_bytes();
        match (roll >> 8) & 15 {
            0..=6 => {
                let len = if roll.is_multiple_of(1_000) { 20_000 } else { (roll >> 12) as usize % 600 };
                let bytes = value(key, round, len);
                let durability = roll.is_multiple_of(16).then_some(Durability::Synced);
                let options = PutOptions { ttl: Ttl::Configured, durability };
                tier.put_with_async(&id, &bytes, options).await.unwrap();
                model.insert(key, bytes);
            }
            7 => {
                let existed = tier.remove_async(&id).await.unwrap();
                assert_eq!(existed, model.remove(&key).is_some(), "client {client} round {round}");
            }
            8 => {
                // A future that was dropped did its write or did not.
                let bytes = value(key, round, 300);
                {
                    let mut put = core::pin::pin!(tier.put_with_async(&id, &bytes, FLUSHED));
                    let _ = core::future::poll_fn(|cx| core::task::Poll::Ready(put.as_mut().poll(cx))).await;
                }
                let found = tier.get_async(&id).await.unwrap();
                assert!(found.as_ref() == Some(&bytes) || found.as_ref() == model.get(&key));
                model.remove(&key);
                model.extend(found.map(|found| (key, found)));
            }
            _ => {
                let found = tier.get_async(&id).await.unwrap();
                assert!(found.as_ref() == model.get(&key), "client {client} round {round}");
            }
        }
    }
    for (key, bytes) in &model {
        assert!(tier.get_async(&key.to_le_bytes()).await.unwrap().as_ref() == Some(bytes));
    }
}

/// Asks for compactions until the clients are done.
async fn compact(tier: ColdTierHandle, is_over: &AtomicBool) -> u32 {
    let mut reports = 0;
    while !is_over.load(SeqCst) {
        let report = tier.compaction().run_compaction_async(CompactionTask::CompactData, PATIENCE).await;
        assert_ne!(report.unwrap().outcome, Outcome::Failed);
        reports += 1;
    }
    reports
}

static OVER: [AtomicBool; 3] = [const { AtomicBool::new(false) }; 3];

fn crowded(dir: &std::path::Path) -> (ColdTier, coldpress_std::pool::AllocationManager) {
    let (manager, pools) = pools();
    let config = small().capacity_bytes(8 << 20).value_bytes_max(1 << 16).pending_bytes_max(1 << 18);
    (open(dir, &config.build().unwrap(), &pools), manager)
}

fn settle(tier: ColdTier) {
    assert!(tier.stats().compactions > 0);
    tier.flush().unwrap();
    recount(&tier);
    tier.close().unwrap();
}

#[test]
fn thousand_tasks_of_one_thread_agree_with_their_models() {
    let dir = tempfile::tempdir().unwrap();
    let (tier, _manager) = crowded(dir.path());
    let handle = tier.handle();
    let ticks = block_on(async move {
        let ticker = tokio::spawn(async {
            let mut ticks = 0;
            while !OVER[0].load(SeqCst) {
                tokio::time::sleep(Duration::from_millis(1)).await;
                ticks += 1;
            }
            ticks
        });
        let compacts = tokio::spawn(compact(handle, &OVER[0]));
        let clients: Vec<_> =
            (0..1_000).map(|client| tokio::spawn(is_send(run_client(handle, client, 30)))).collect();
        for client in clients {
            client.await.unwrap();
        }
        OVER[0].store(true, SeqCst);
        assert!(compacts.await.unwrap() > 0);
        ticker.await.unwrap()
    });
    assert!(ticks > 0, "the ticker ran beside the tasks");
    settle(tier);
}

#[test]
fn tasks_of_many_threads_agree_with_their_models() {
    let dir = tempfile::tempdir().unwrap();
    let (tier, _manager) = crowded(dir.path());
    let handle = tier.handle();
    many_threads().block_on(async move {
        let compacts = tokio::spawn(compact(handle, &OVER[1]));
        let clients: Vec<_> = (0..200).map(|client| tokio::spawn(run_client(handle, client, 60))).collect();
        for client in clients {
            client.await.unwrap();
        }
        OVER[1].store(true, SeqCst);
        compacts.await.unwrap();
    });
    settle(tier);
}

#[test]
fn tasks_of_another_runtime_agree_with_their_models() {
    let dir = tempfile::tempdir().unwrap();
    let (tier, _manager) = crowded(dir.path());
    let (handle, executor) = (tier.handle(), Executor::new());
    block_on(executor.run(async {
        let compacts = executor.spawn(compact(handle, &OVER[2]));
        let clients: Vec<_> = (0..200).map(|client| executor.spawn(run_client(handle, client, 60))).collect();
        for client in clients {
            client.await;
        }
        OVER[2].store(true, SeqCst);
        compacts.await;
    }));
    settle(tier);
}

#[test]
fn stuck_medium_blocks_no_other_task() {
    let double = Double::new(4 << 20);
    let tier = cold(double, PATIENCE);
    let (handle, ended) = (tier.handle(), AtomicU32::new(0));
    let executor = LocalExecutor::new();
    block_on(executor.run(async {
        double.holds_reads.store(true, SeqCst);
        double.holds_syncs.store(true, SeqCst);
        double.holds_writes.store(true, SeqCst);
        let stuck = [
            executor.spawn(async { handle.get_async(b"logged").await == Ok(Some(b"v".to_vec())) }),
            executor.spawn(async { handle.put_with_async(b"synced", b"v", SYNCED).await.is_ok() }),
            executor.spawn(async { handle.put_async(b"long", &[7; 100_000]).await.is_ok() }),
            executor.spawn(async { handle.flush_async().await.is_ok() }),
            executor.spawn(async { handle.remove_with_async(b"gone", Durability::Flushed).await.is_ok() }),
        ];
        for round in 0..1_000u32 {
            // Operations that need no medium go on, in the same thread.
            if round < 50 {
                handle.put_async(&round.to_le_bytes(), b"x").await.unwrap();
                assert_eq!(handle.get_async(&round.to_le_bytes()).await, Ok(Some(b"x".to_vec())));
            }
            ended.fetch_add(1, SeqCst);
            yield_now().await;
        }
        let is_waiting = |task: &async_executor::Task<bool>| !task.is_finished();
        assert!(stuck[..4].iter().all(is_waiting), "the medium answered");
        assert_eq!(ended.load(SeqCst), 1_000);
        double.holds_reads.store(false, SeqCst);
        double.holds_syncs.store(false, SeqCst);
        double.holds_writes.store(false, SeqCst);
        for task in stuck {
            assert!(task.await);
        }
    }));
    assert_eq!(tier.get(b"long"), Ok(Some(vec![7; 100_000])));
    tier.flush().unwrap();
    recount(&tier);
}

#[test]
fn read_in_flight_at_a_close_is_closed() {
    let double = Double::new(4 << 20);
    let tier = cold(double, PATIENCE);
    let handle = tier.handle();
    many_threads().block_on(async {
        double.holds_reads.store(true, SeqCst);
        let reads: Vec<_> =
            (0..10).map(|_| tokio::spawn(async move { handle.get_async(b"logged").await })).collect();
        while double.held_reads.load(SeqCst) == 0 {
            yield_now().await;
        }
        let close = std::thread::spawn(move || tier.close());
        for read in reads {
            // They end while the read is stuck, and the close waits for it.
            assert_eq!(read.await.unwrap(), Err(GetError::Tier(TierError::Closed)));
        }
        assert_eq!(double.held_reads.load(SeqCst), 1);
        double.holds_reads.store(false, SeqCst);
        close.join().unwrap().unwrap();
        assert_eq!(handle.get_async(b"logged").await, Err(GetError::Tier(TierError::Closed)));
        assert_eq!(handle.put_async(b"logged", b"w").await, Err(PutError::Tier(TierError::Closed)));
        assert_eq!(handle.flush_async().await, Err(TierError::Closed));
    });
}

#[test]
fn stuck_read_ends_at_its_deadline() {
    let double = Double::new(4 << 20);
    let tier = cold(double, Duration::from_millis(300));
    double.holds_reads.store(true, SeqCst);
    let stuck = block_on(tier.get_async(b"logged"));
    assert_eq!(stuck, Err(GetError::Tier(TierError::TimedOut)));
    double.holds_reads.store(false, SeqCst);
    let mut found = Ok(None);
    eventually("the reader goes on", || {
        found = block_on(tier.get_async(b"logged"));
        found.is_ok()
    });
    assert_eq!(found, Ok(Some(b"v".to_vec())));
}

#[test]
fn reads_that_are_dropped_are_not_made() {
    let double = Double::new(4 << 20);
    let tier = cold(double, PATIENCE);
    let gets = tier.stats().gets;
    block_on(async {
        double.holds_reads.store(true, SeqCst);
        let tier = tier.handle();
        let reads: Vec<_> =
            (0..20).map(|_| tokio::spawn(async move { tier.get_async(b"logged").await })).collect();
        while double.held_reads.load(SeqCst) == 0 {
            yield_now().await;
        }
        for read in &reads[1..] {
            read.abort();
        }
        for read in reads.into_iter().skip(1) {
            assert!(read.await.unwrap_err().is_cancelled());
        }
        double.holds_reads.store(false, SeqCst);
        assert_eq!(tier.get_async(b"logged").await, Ok(Some(b"v".to_vec())));
    });
    assert_eq!(tier.stats().gets - gets, 2, "the first and the last");
}

#[test]
fn wakers_that_panic_end_no_thread_of_the_tier() {
    let double = Double::new(4 << 20);
    let tier = cold(double, PATIENCE);
    let (handle, wakes) = (tier.handle(), &WAKES);
    let waker = waker_fn::waker_fn(|| {
        WAKES.fetch_add(1, SeqCst);
        panic!("a runtime that is going down");
    });
    let poll = |future: core::pin::Pin<&mut dyn Future<Output = ()>>| {
        assert!(future.poll(&mut core::task::Context::from_waker(&waker)).is_pending());
    };
    double.holds_reads.store(true, SeqCst);
    double.holds_syncs.store(true, SeqCst);
    {
        // The reader, the worker and the thread of deadlines each wake one of them.
        let mut read = core::pin::pin!(async { drop(handle.get_async(b"logged").await) });
        let mut put = core::pin::pin!(async { drop(handle.put_with_async(b"k", b"v", SYNCED).await) });
        let mut flush = core::pin::pin!(async { drop(handle.flush_async().await) });
        poll(read.as_mut());
        poll(put.as_mut());
        poll(flush.as_mut());
        double.holds_reads.store(false, SeqCst);
        double.holds_syncs.store(false, SeqCst);
        eventually("all three are woken", || wakes.load(SeqCst) >= 3);
    }
    block_on(async {
        assert_eq!(handle.get_async(b"logged").await, Ok(Some(b"v".to_vec())));
        handle.put_with_async(b"k", b"w", SYNCED).await.unwrap();
        handle.flush_async().await.unwrap();
    });
    assert_eq!(tier.get(b"k"), Ok(Some(b"w".to_vec())));
    recount(&tier);
}

static WAKES: AtomicU32 = AtomicU32::new(0);

#[test]
fn long_value_beyond_the_page_cache_is_read_whole() {
    let double = Double::new(4 << 20);
    let tier = cold_with(double, small().skip_unchanged(true));
    let long = value(1, 1, 300_000);
    block_on(async {
        tier.put_with_async(b"long", &long, SYNCED).await.unwrap();
        assert_eq!(tier.get_async(b"long").await, Ok(Some(long.clone())));
        // It is compared with the pieces that are there, which are read by the thread.
        tier.put_async(b"long", &long).await.unwrap();
        tier.put_with_async(b"long", &value(1, 2, 200_000), SYNCED).await.unwrap();
        assert_eq!(tier.get_async(b"long").await, Ok(Some(value(1, 2, 200_000))));
    });
    assert_eq!(tier.stats().unchanged_puts, 1);
    tier.flush().unwrap();
    recount(&tier);
}

#[test]
fn batches_put_and_read_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let (tier, _manager) = crowded(dir.path());
    let pairs: Vec<_> = (0..500u32).map(|key| (key.to_le_bytes(), value(key, 0, 100))).collect();
    let keys: Vec<_> = (0..501u32).map(u32::to_le_bytes).collect();
    block_on(async {
        tier.put_batch_async(&pairs, SYNCED).await.unwrap();
        let found = tier.get_batch_async(&keys).await.unwrap();
        let expected = pairs.iter().map(|(_, value)| Some(value.clone())).chain([None]);
        assert_eq!(found, expected.collect::<Vec<_>>());
        let too_long = vec![(b"k".to_vec(), vec![0; 10]), (b"l".to_vec(), vec![0; 1 << 17])];
        let refused = tier.put_batch_async(&too_long, SYNCED).await.unwrap_err();
        assert!(refused.index == 1 && matches!(refused.error, PutError::ValueTooLong { .. }));
        let kept = PutOptions { ttl: Ttl::Keep, durability: None };
        tier.put_with_async(&keys[0], b"kept", kept).await.unwrap();
        tier.put_with_ttl_async(&keys[1], b"brief", Duration::from_secs(600)).await.unwrap();
        assert_eq!(tier.get_async(&keys[1]).await, Ok(Some(b"brief".to_vec())));
        tier.compaction().schedule_compaction_async(CompactionTask::CompactData).await.unwrap();
    });
    assert_eq!(tier.len(), Ok(501));
    assert!(tier.ttl(&keys[1]).unwrap().is_some());
}
