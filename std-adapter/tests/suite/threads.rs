//! Many threads at once, each with keys of its own and a model of them.

use core::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::collections::HashMap;

use coldpress_std::{CompactionTask, Durability, PutOptions};

use crate::common::{PATIENCE, eventually, open, pools, small, value};

#[test]
fn threads_that_put_get_and_remove_while_it_compacts_agree_with_their_models() {
    let dir = tempfile::tempdir().unwrap();
    let (_manager, pools) = pools();
    let config = small().capacity_bytes(8 << 20).partitions(2).build().unwrap();
    let tier = open(dir.path(), &config, &pools);
    let seed = 0x5EED_u64;
    let is_over = AtomicBool::new(false);
    let models: Vec<HashMap<u32, Vec<u8>>> = std::thread::scope(|scope| {
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
        let models = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
        is_over.store(true, SeqCst);
        models
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
    assert!(tier.figures().compactions > 0);
    drop(tier);
    check(&open(dir.path(), &config, &pools));
}
