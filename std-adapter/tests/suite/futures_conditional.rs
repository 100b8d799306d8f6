//! Conditional writes, touches and clears as futures: they do what the calls of threads do, and block no thread.

use core::sync::atomic::Ordering::SeqCst;
use core::task::Poll;
use core::time::Duration;

use async_executor::LocalExecutor;
use coldpress_std::{
    CodecId, ColdTier, ColdTierHandle, CompactionTask, Durability, Expected, PersistentColdTier, PutOptions,
    TierError, TimeLeft, Update, UpdateError,
};
use tokio::runtime::Builder;
use tokio::task::yield_now;

use crate::common::{PATIENCE, SYNCED, block_on, eventually, open, open_on, pools, recount, small, value};
use crate::double::Double;

/// The longest lies in pieces.
const LENGTHS: [usize; 3] = [0, 100, 40_000];

fn number(bytes: Option<&[u8]>) -> u64 {
    bytes.map_or(0, |bytes| u64::from_le_bytes(bytes.try_into().unwrap()))
}

fn count_one(bytes: Option<&[u8]>) -> Update {
    Update::Put((number(bytes) + 1).to_le_bytes().to_vec())
}

#[test]
fn updates_of_many_tasks_lose_none_beside_compactions() {
    const TASKS: u64 = 40;
    const UPDATES: u64 = 50;
    for is_many_threads in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let (_manager, pools) = pools();
        let tier = open(dir.path(), &small().codec(CodecId::Raw).build().unwrap(), &pools);
        let handle = tier.handle();
        let mut runtime =
            if is_many_threads { Builder::new_multi_thread() } else { Builder::new_current_thread() };
        runtime.enable_time().build().unwrap().block_on(async {
            let tasks: Vec<_> = (0..TASKS)
                .map(|task| {
                    tokio::spawn(async move {
                        for round in 0..UPDATES {
                            let options = if round % 16 == 0 { SYNCED } else { PutOptions::default() };
                            let done = handle.update_async(&[(task % 4) as u8], options, count_one).await;
                            assert!(matches!(done, Ok(Update::Put(_))), "{done:?}");
                        }
                    })
                })
                .collect();
            let compaction = handle.compaction();
            compaction.run_compaction_async(CompactionTask::CompactData, PATIENCE).await.unwrap();
            for task in tasks {
                task.await.unwrap();
            }
        });
        for key in 0..4u8 {
            assert_eq!(number(tier.get(&[key]).unwrap().as_deref()), TASKS / 4 * UPDATES, "key {key}");
        }
        recount(&tier);
    }
}

/// The answers of conditional operations on a key that has a value or none, as calls of a thread and as futures.
async fn answers(
    tier: ColdTierHandle,
    is_future: bool,
    now: Option<&[u8]>,
    durability: Durability,
) -> Vec<String> {
    let options = PutOptions { durability: Some(durability), ..PutOptions::default() };
    let version = tier.get_versioned(b"k").unwrap().map(|versioned| versioned.version);
    let other = value(9, 9, 64);
    let own = now.unwrap_or(b"none");
    let mut answers = Vec::new();
    let mut expectations =
        vec![Expected::Absent, Expected::Present, Expected::Value(own), Expected::Value(b"something else")];
    expectations.extend(version.map(Expected::Version));
    for expected in expectations {
        let (swapped, removed) = if is_future {
            let swapped = tier.compare_and_swap_async(b"k", expected, &other, options).await;
            (swapped, tier.compare_and_remove_async(b"k", Expected::Value(&other), durability).await)
        } else {
            let swapped = tier.compare_and_swap(b"k", expected, &other, options);
            (swapped, tier.compare_and_remove(b"k", Expected::Value(&other), durability))
        };
        let left = tier.get_async(b"k").await.unwrap().map(|left| left.len());
        answers.push(format!("{expected:?}: {swapped:?}, {removed:?}, {left:?}"));
        match now {
            Some(now) => tier.put_async(b"k", now).await.unwrap(),
            None => drop(tier.remove_async(b"k").await.unwrap()),
        }
    }
    let if_absent = if is_future {
        tier.put_if_absent_async(b"k", &other, options).await
    } else {
        tier.put_if_absent(b"k", &other, options)
    };
    answers.push(format!("if absent: {if_absent:?}, {:?}", tier.get_versioned_async(b"k").await.unwrap()));
    for update in [Update::Keep, Update::Remove, Update::Put(other.clone())] {
        let change = |_: Option<&[u8]>| update.clone();
        let done = if is_future {
            tier.update_async(b"k", options, change).await
        } else {
            tier.update(b"k", options, change)
        };
        answers.push(format!("{done:?}, {:?}", tier.get(b"k").unwrap()));
    }
    let ttl = Duration::from_secs(1_000).into();
    for key in [&b"k"[..], b"absent"] {
        let touched = if is_future { tier.touch_async(key, ttl).await } else { tier.touch(key, ttl) };
        let is_timed = matches!(tier.ttl(key).unwrap(), Some(TimeLeft::For(_)));
        answers.push(format!("touched {touched:?}, {is_timed}"));
    }
    answers
}

#[test]
fn conditional_futures_answer_as_the_calls_of_threads_do() {
    let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let (_manager, pools) = pools();
    // One store of keys, since the versions of values hold within a tier.
    let tier = open(dirs[0].path(), &small().build().unwrap(), &pools);
    for len in LENGTHS {
        for now in [None, Some(value(1, 0, len))] {
            for durability in [Durability::Buffered, Durability::Flushed, Durability::Synced] {
                let set = |tier: &ColdTier| match &now {
                    Some(now) => tier.put(b"k", now).unwrap(),
                    None => drop(tier.remove(b"k").unwrap()),
                };
                let unmet = || tier.stats().unmet_conditions;
                set(&tier);
                let before = unmet();
                let by_thread = block_on(answers(tier.handle(), false, now.as_deref(), durability));
                let unmet_by_thread = unmet() - before;
                set(&tier);
                let before = unmet();
                let by_future = block_on(answers(tier.handle(), true, now.as_deref(), durability));
                assert_eq!(by_thread, by_future, "{len} bytes, {durability:?}");
                assert_eq!(unmet_by_thread, unmet() - before);
                assert!(by_thread.iter().any(|answer| answer.contains("Ok(true)")));
            }
        }
    }
    recount(&tier);
}

#[test]
fn update_future_that_others_overtake_ends_at_the_deadline() {
    let dir = tempfile::tempdir().unwrap();
    let (_manager, pools) = pools();
    let config = small().op_timeout(Duration::from_millis(50)).build().unwrap();
    let tier = open(dir.path(), &config, &pools);
    let handle = tier.handle();
    let mut rounds = 0u32;
    let outcome = block_on(tier.update_async(b"k", PutOptions::default(), |_| {
        rounds += 1;
        eventually("the other put", || handle.put(b"k", &rounds.to_le_bytes()).is_ok());
        Update::Put(b"mine".to_vec())
    }));
    assert_eq!(outcome, Err(UpdateError::Contended));
    assert!(rounds > 1);
    assert_eq!(tier.get(b"k").unwrap(), Some(rounds.to_le_bytes().to_vec()));
}

#[test]
fn conditional_futures_on_a_stuck_medium_block_no_task() {
    let double = Double::new(4 << 20);
    let (_manager, pools) = pools();
    let tier = open_on(&double, &small().keep_hot_values(false).build().unwrap(), &pools);
    for key in [b"touched", b"swapped", b"removed", b"updated"] {
        tier.put_with(key, b"v", SYNCED).unwrap();
    }
    let handle = tier.handle();
    let executor = LocalExecutor::new();
    block_on(executor.run(async {
        double.holds_reads.store(true, SeqCst);
        let ttl = Duration::from_secs(1_000).into();
        let (options, present) = (PutOptions::default(), Expected::Value(&b"v"[..]));
        let stuck = [
            executor.spawn(async move { handle.touch_async(b"touched", ttl).await == Ok(true) }),
            executor.spawn(async move {
                handle.compare_and_swap_async(b"swapped", present, b"w", options).await == Ok(true)
            }),
            executor.spawn(async move {
                handle.compare_and_remove_async(b"removed", present, Durability::Synced).await == Ok(true)
            }),
            executor.spawn(async move {
                let append = |bytes: Option<&[u8]>| Update::Put([bytes.unwrap(), b"w"].concat());
                handle.update_async(b"updated", options, append).await == Ok(Update::Put(b"vw".to_vec()))
            }),
        ];
        for round in 0..200u32 {
            // Operations that need no read go on, in the same thread.
            let key = round.to_le_bytes();
            assert_eq!(handle.put_if_absent_async(&key, b"x", options).await, Ok(true));
            assert_eq!(handle.put_if_absent_async(&key, b"y", options).await, Ok(false));
            yield_now().await;
        }
        assert!(stuck.iter().all(|task| !task.is_finished()), "the medium answered");
        double.holds_reads.store(false, SeqCst);
        for task in stuck {
            assert!(task.await);
        }
    }));
    assert!(matches!(tier.ttl(b"touched").unwrap(), Some(TimeLeft::For(_))));
    assert_eq!(tier.get(b"swapped").unwrap().as_deref(), Some(&b"w"[..]));
    assert_eq!(tier.get(b"removed").unwrap(), None);
    assert_eq!(tier.get(b"updated").unwrap().as_deref(), Some(&b"vw"[..]));
    recount(&tier);
}

#[test]
fn conditional_future_dropped_at_any_poll_did_its_write_or_not() {
    let dir = tempfile::tempdir().unwrap();
    let (_manager, pools) = pools();
    let tier = open(dir.path(), &small().build().unwrap(), &pools);
    let long = value(3, 3, 60_000);
    for polls in 0..12u32 {
        for len in LENGTHS {
            let before = value(1, polls, len);
            tier.put(b"k", &before).unwrap();
            block_on(async {
                let expected = Expected::Value(before.as_slice());
                let swap = tier.compare_and_swap_async(b"k", expected, &long, SYNCED);
                let mut swap = core::pin::pin!(swap);
                for _ in 0..polls {
                    let is_over = core::future::poll_fn(|cx| Poll::Ready(swap.as_mut().poll(cx).is_ready()));
                    if is_over.await {
                        break;
                    }
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            });
            let found = tier.get(b"k").unwrap().unwrap();
            assert!(found == long || found == before, "{polls} polls, {len} bytes");
            // No turn in line and no key is left behind.
            tier.put_with(b"k", &long, SYNCED).unwrap();
        }
    }
    tier.flush().unwrap();
    recount(&tier);
}

#[test]
fn clear_future_removes_all_keys_and_lets_others_run() {
    let dir = tempfile::tempdir().unwrap();
    let (_manager, pools) = pools();
    let tier = open(dir.path(), &small().partitions(2).build().unwrap(), &pools);
    for key in 0..500u32 {
        tier.put(&key.to_le_bytes(), &value(key, 0, 100)).unwrap();
    }
    let handle = tier.handle();
    let (removed, rounds) = block_on(async {
        let clear = tokio::spawn(async move { handle.clear_async().await });
        let other = tokio::spawn(async move {
            let mut rounds = 0;
            while !clear.is_finished() {
                rounds += 1;
                yield_now().await;
            }
            (clear.await.unwrap(), rounds)
        });
        other.await.unwrap()
    });
    assert_eq!((removed, tier.len().unwrap()), (Ok(500), 0));
    // A task that yields runs again after 61 polls of others.
    assert!(rounds > 500 / 61, "{rounds} rounds of another task");
    recount(&tier);
}

#[test]
fn typed_conditional_futures_work_on_values() {
    let dir = tempfile::tempdir().unwrap();
    let (_manager, pools) = pools();
    let tier =
        PersistentColdTier::<String, Vec<u32>>::open(dir.path(), "test", small().build().unwrap(), pools);
    let tier = tier.unwrap();
    let (key, options) = ("a".to_owned(), PutOptions::default());
    block_on(async {
        assert_eq!(tier.put_if_absent_async(&key, &vec![1], options).await, Ok(true));
        assert_eq!(tier.put_if_absent_async(&key, &vec![2], options).await, Ok(false));
        let seen = tier.get_versioned_async(&key).await.unwrap().unwrap();
        assert_eq!(seen.value, [1]);
        let expected = Expected::Version(seen.version);
        assert_eq!(tier.compare_and_swap_async(&key, expected, &vec![3], options).await, Ok(true));
        assert_eq!(tier.compare_and_swap_async(&key, expected, &vec![4], options).await, Ok(false));
        let push = |value: Option<Vec<u32>>| Update::Put([value.unwrap(), vec![5]].concat());
        assert_eq!(tier.update_async(&key, options, push).await, Ok(Update::Put(vec![3, 5])));
        assert_eq!(tier.touch_async(&key, Duration::from_secs(60).into()).await, Ok(true));
        let expected = Expected::Value(&vec![3, 5]);
        assert_eq!(tier.compare_and_remove_async(&key, expected, Durability::Synced).await, Ok(true));
        assert_eq!(tier.get_async(&key).await, Ok(None));
        tier.put_async(&key, &vec![6]).await.unwrap();
        assert_eq!(tier.clear_async().await, Ok(1));
    });
    tier.close().unwrap();
}

#[test]
fn conditional_futures_on_a_closed_tier_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (_manager, pools) = pools();
    let tier = open(dir.path(), &small().build().unwrap(), &pools);
    tier.put(b"k", b"v").unwrap();
    let handle = tier.handle();
    tier.close().unwrap();
    let options = PutOptions::default();
    let closed = Err(UpdateError::Tier(TierError::Closed));
    block_on(async {
        assert_eq!(handle.compare_and_swap_async(b"k", Expected::Present, b"w", options).await, closed);
        let removed = handle.compare_and_remove_async(b"k", Expected::Present, Durability::Synced).await;
        assert_eq!(removed, closed);
        assert_eq!(handle.touch_async(b"k", Duration::from_secs(9).into()).await, closed);
        let updated = handle.update_async(b"k", options, |_| Update::Keep).await;
        assert_eq!(updated, Err(UpdateError::Tier(TierError::Closed)));
        assert!(handle.put_if_absent_async(b"n", b"w", options).await.is_err());
        assert!(handle.clear_async().await.is_err());
    });
}
