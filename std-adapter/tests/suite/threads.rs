//! Many threads at once, each with keys of its own and a model of them.

use core::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::collections::HashMap;

use coldpress_std::{CompactionTask, Durability, PutOptions};

use crate::common::{PATIENCE, eventually, open, pools, small, value};

/// Ends the work beside the clients.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, SeqCst);
    }
}

#[test]
fn writers_by_the_hundred_all_get_through_a_narrow_queue() {
    let dir = tempfile::tempdir().unwrap();
    let (_manager, pools) = pools();
    // Time and again so many writers at once find no space for their pending bytes.
    let config =
        small().capacity_bytes(8 << 20).value_bytes_max(2048).pending_bytes_max(1 << 16).build().unwrap();
    let tier = open(dir.path(), &config, &pools);
    let (threads, puts) = (200u32, 10u32);
    std::thread::scope(|scope| {
        for thread in 0..threads {
            let handle = tier.handle();
            scope.spawn(move || {
                for put in 0..puts {
                    let durability = (put == 5).then_some(Durability::Flushed);
                    let options = PutOptions { durability, ..PutOptions::default() };
                    let bytes = value(thread, put, 1024);
                    handle.put_with(&(thread << 16 | put).to_le_bytes(), &bytes, options).unwrap();
                }
                assert!(handle.remove(&(thread << 16).to_le_bytes()).unwrap());
            });
        }
    });
    assert_eq!(tier.len().unwrap(), u64::from(threads * (puts - 1)));
    tier.flush().unwrap();
    eventually("the sums equal a recount", || tier.is_recount_exact().unwrap());
}

#[test]
fn threads_during_compaction_agree_with_their_models() {
    let dir = tempfile::tempdir().unwrap();
    let (_manager, pools) = pools();
    let config = small().capacity_bytes(8 << 20).partitions(2).build().unwrap();
    let tier = open(dir.path(), &config, &pools);
    let seed = 0x5EED_u64;
    let is_over = AtomicBool::new(false);
    let models: Vec<HashMap<u32, Vec<u8>>> = std::thread::scope(|scope| {
        // Dropped also where a client panics: else the scope would wait for the compaction for ever.
        let _over = Over(&is_over);
        scope.spawn(|| {
            while !is_over.load(SeqCst) {
                tier.compaction().run_compaction(CompactionTask::CompactData, PATIENCE).unwrap();
            }
        });
        let run = |thread: u32| {
            let handle = tier.handle();
            scope.spawn(move || {
                let mut model = HashMap::new();
                let mut state = seed ^ u64::from(thread) << 40 | 1;
                for round in 0..6000u32 {
                    state =
                        state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                    let roll = (state >> 33) as u32;
                    let key = (thread << 16) | (roll % 200);
                    let bytes = value(key, round, (roll >> 8) as usize % 4000);
                    let id = key.to_le_bytes();
                    match roll % 16 {
                        0..=7 => {
                            let durability = roll.is_multiple_of(512).then_some(Durability::Synced);
                            handle
                                .put_with(&id, &bytes, PutOptions { durability, ..PutOptions::default() })
                                .unwrap();
                            model.insert(key, bytes);
                        }
                        8..=9 => {
                            let existed = handle.remove(&id).unwrap();
                            assert_eq!(
                                existed,
                                model.remove(&key).is_some(),
                                "seed {seed} key {key} round {round}"
                            );
                        }
                        _ => {
                            let found = handle.get(&id).unwrap();
                            assert!(found.as_ref() == model.get(&key), "seed {seed} key {key} round {round}");
                        }
                    }
                }
                model
            })
        };
        let threads: Vec<_> = (0..4).map(run).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let check = |tier: &coldpress_std::ColdTier| {
        for model in &models {
            for (key, bytes) in model {
                assert!(tier.get(&key.to_le_bytes()).unwrap().as_ref() == Some(bytes), "key {key}");
            }
        }
        assert_eq!(tier.len().unwrap(), models.iter().map(HashMap::len).sum::<usize>() as u64);
    };
    check(&tier);
    tier.flush().unwrap();
    eventually("the sums equal a recount", || tier.is_recount_exact().unwrap());
    assert!(tier.stats().compactions > 0);
    drop(tier);
    check(&open(dir.path(), &config, &pools));
}
