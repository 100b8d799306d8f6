//! The capacity is a hard bound: puts are refused or free space, removes always work, and the sums are exact.

use core::sync::atomic::Ordering::SeqCst;
use core::time::Duration;
use std::collections::BTreeSet;

use coldpress_std::{CodecId, ColdTier, FullPolicy, PutError};

use crate::common::{SYNCED, eventually, open, open_on, pools, recount, small, value};
use crate::double::Double;

fn fill(tier: &ColdTier, from: u32, len: usize) -> (u32, PutError) {
    for key in from.. {
        if let Err(error) = tier.put(&key.to_le_bytes(), &value(key, 0, len)) {
            return (key, error);
        }
    }
    panic!("no tier is without end");
}

#[test]
fn full_tier_refuses_a_put_and_keeps_everything_it_took() {
    let dir = tempfile::tempdir().unwrap();
    let (_manager, pools) = pools();
    let config = small().codec(CodecId::Raw).build().unwrap();
    let tier = open(dir.path(), &config, &pools);
    let (taken, error) = fill(&tier, 0, 2000);
    let PutError::Full { needed, available } = error else { panic!("{error}") };
    assert!(needed > available && needed > 2000 && needed < 2200, "{error}");
    assert!(!tier.contains(&taken.to_le_bytes()).unwrap());
    for key in 0..taken {
        assert_eq!(tier.get(&key.to_le_bytes()).unwrap(), Some(value(key, 0, 2000)), "{key}");
    }
    tier.flush().unwrap();
    let stats = tier.stats();
    assert!(stats.live_bytes * 10 > stats.capacity_bytes * 7, "at least 7 tenths are usable: {stats:?}");
    assert!(stats.peak_bytes <= stats.capacity_bytes);
    assert_eq!(stats.refused_puts, 1);
    recount(&tier);
    drop(tier);
    // A reopened tier is as full as before.
    let tier = open(dir.path(), &config, &pools);
    assert_eq!(tier.len().unwrap(), u64::from(taken));
    assert!(matches!(tier.put(b"one more", &[0; 2000]), Err(PutError::Full { .. })));
}

#[test]
fn full_tier_takes_overwrites_and_removes_and_then_puts_again() {
    let dir = tempfile::tempdir().unwrap();
    let (_manager, pools) = pools();
    let config = small().codec(CodecId::Raw).build().unwrap();
    let tier = open(dir.path(), &config, &pools);
    let (taken, _) = fill(&tier, 0, 2000);
    for round in 1..3 {
        for key in 0..taken {
            tier.put(&key.to_le_bytes(), &value(key, round, 2000)).unwrap_or_else(|e| panic!("{key}: {e}"));
        }
    }
    for key in 0..taken {
        assert_eq!(tier.get(&key.to_le_bytes()).unwrap(), Some(value(key, 2, 2000)));
    }
    for key in 0..taken / 2 {
        assert!(tier.remove(&key.to_le_bytes()).unwrap());
    }
    tier.flush().unwrap();
    let (more, _) = fill(&tier, taken, 2000);
    assert!(more - taken > taken / 3, "{taken} {more}");
    for key in taken / 2..more {
        let round = if key < taken { 2 } else { 0 };
        assert_eq!(tier.get(&key.to_le_bytes()).unwrap(), Some(value(key, round, 2000)), "{key}");
    }
    tier.flush().unwrap();
    recount(&tier);
    assert!(tier.stats().peak_bytes <= tier.stats().capacity_bytes);
    let expected = tier.len().unwrap();
    drop(tier);
    let tier = open(dir.path(), &config, &pools);
    assert_eq!(tier.len().unwrap(), expected);
    for key in 0..taken / 2 {
        assert_eq!(tier.get(&key.to_le_bytes()).unwrap(), None, "I-LOG-5");
    }
}

#[test]
fn overwrites_of_a_full_tier_by_many_threads_are_never_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (_manager, pools) = pools();
    let config = small().codec(CodecId::Raw).build().unwrap();
    let tier = open(dir.path(), &config, &pools);
    let (taken, _) = fill(&tier, 0, 2000);
    // Smaller values fill the rest until none fits, so that not a byte is to spare.
    let mut keys = Vec::from_iter((0..taken).map(|key| (key, 2000)));
    let mut end = taken;
    for len in [1000, 500, 200, 100, 50, 20, 10, 5, 2, 1, 0] {
        let begin = end;
        end = fill(&tier, begin, len).0;
        keys.extend((begin..end).map(|key| (key, len)));
    }
    let (writers, rounds) = (4, 6);
    std::thread::scope(|scope| {
        for writer in 0..writers {
            let (tier, keys) = (&tier, &keys);
            scope.spawn(move || {
                for round in 1..=rounds {
                    for (key, len) in keys.iter().skip(writer).step_by(writers) {
                        let put = tier.put(&key.to_le_bytes(), &value(*key, round, *len));
                        put.unwrap_or_else(|error| panic!("{key} of {len} in {round}: {error}"));
                    }
                }
            });
        }
    });
    for (key, len) in keys {
        assert_eq!(tier.get(&key.to_le_bytes()).unwrap(), Some(value(key, rounds, len)), "{key}");
    }
    recount(&tier);
}

#[test]
fn everything_removed_gives_the_whole_capacity_back() {
    let dir = tempfile::tempdir().unwrap();
    let (_manager, pools) = pools();
    let tier = open(dir.path(), &small().codec(CodecId::Raw).build().unwrap(), &pools);
    for round in 0..3 {
        let (taken, _) = fill(&tier, 0, 3000);
        for key in 0..taken {
            assert!(tier.remove(&key.to_le_bytes()).unwrap(), "{key} in {round}");
        }
        assert!(tier.is_empty().unwrap());
        tier.flush().unwrap();
    }
    recount(&tier);
}

#[test]
fn evicting_tier_takes_every_put_and_keeps_read_values() {
    let dir = tempfile::tempdir().unwrap();
    let (_manager, pools) = pools();
    let config = small().codec(CodecId::Raw).full(FullPolicy::Evict).build().unwrap();
    let tier = open(dir.path(), &config, &pools);
    tier.put(b"favourite", b"read all the time").unwrap();
    let keys = 6000u32;
    for key in 0..keys {
        tier.put(&key.to_le_bytes(), &value(key, 0, 2000))
            .unwrap_or_else(|e| panic!("{key}: {e} {:?}", tier.stats()));
        if key % 16 == 0 {
            assert!(tier.get(b"favourite").unwrap().is_some(), "{key}");
        }
    }
    let stats = tier.stats();
    assert!(stats.evicted_records > 3000 && stats.peak_bytes <= stats.capacity_bytes, "{stats:?}");
    let held = |tier: &ColdTier| -> BTreeSet<u32> {
        let is_held = |key: &u32| {
            let found = tier.get(&key.to_le_bytes()).unwrap();
            assert!(found.as_ref().is_none_or(|found| *found == value(*key, 0, 2000)));
            found.is_some()
        };
        (0..keys).filter(is_held).collect()
    };
    tier.flush().unwrap();
    // The last eviction may still be under way, and go on until the close.
    let mut before = BTreeSet::new();
    eventually("no eviction comes between", || {
        before = held(&tier);
        before.len() as u64 + 1 == tier.len().unwrap()
    });
    assert!(before.contains(&(keys - 1)) && !before.contains(&0));
    recount(&tier);
    drop(tier);
    let after = held(&open(dir.path(), &config, &pools));
    assert!(after.is_subset(&before), "I-LOG-5");
    assert!(
        after.len() > before.len() / 2 && after.contains(&(keys - 1)),
        "{} {}",
        before.len(),
        after.len()
    );
}

#[test]
fn pending_writes_superseded_over_and_over_charge_one_record() {
    let dir = tempfile::tempdir().unwrap();
    let (_manager, pools) = pools();
    let tier = open(dir.path(), &small().build().unwrap(), &pools);
    std::thread::scope(|scope| {
        for thread in 0..4u32 {
            let handle = tier.handle();
            scope.spawn(move || {
                for round in 0..3000 {
                    handle.put(b"hot", &value(thread, round, 3000)).unwrap();
                    if round % 64 == 0 {
                        handle.remove(b"hot").unwrap();
                    }
                }
            });
        }
    });
    tier.put(b"hot", b"last").unwrap();
    tier.flush().unwrap();
    assert_eq!(tier.get(b"hot").unwrap(), Some(b"last".to_vec()));
    recount(&tier);
    eventually("only the last write is charged", || tier.stats().charged_bytes < 1000);
    assert_eq!(tier.len().unwrap(), 1);
}

#[test]
fn writers_waiting_on_a_stall_leave_capacity_for_put_and_flush() {
    let (_manager, pools) = pools();
    let config = small().op_timeout(Duration::from_secs(10)).pending_bytes_max(1 << 20).build().unwrap();
    let double = Double::new(config.capacity_bytes());
    let tier = open_on(&double, &config, &pools);
    let handle = tier.handle();
    tier.put_with(b"old", b"v", SYNCED).unwrap();
    double.holds_writes.store(true, SeqCst);
    std::thread::scope(|scope| {
        for thread in 0..256u32 {
            scope.spawn(move || {
                for round in 0..4 {
                    let key = (thread * 1000 + round).to_le_bytes();
                    if handle.put(&key, &value(thread, round, 10_000)).is_err() {
                        break;
                    }
                }
            });
        }
        // Each of them looks again fifty times a second. In this time they would fill any queue in which each look took a
        // place.
        std::thread::sleep(Duration::from_secs(2));
        handle.put(b"small", b"new").unwrap();
        let flush = scope.spawn(move || handle.flush());
        std::thread::sleep(Duration::from_millis(20));
        double.holds_writes.store(false, SeqCst);
        flush.join().unwrap().unwrap();
    });
    let after = open_on(&double.cut(), &config, &pools);
    assert_eq!(after.get(b"small").unwrap(), Some(b"new".to_vec()), "I-LOG-4");
    recount(&tier);
}

#[test]
fn more_messages_than_the_queue_takes_wait_for_their_turn() {
    let (_manager, pools) = pools();
    // The last message waits for so long.
    let config = small().op_timeout(Duration::from_secs(3)).build().unwrap();
    let double = Double::new(config.capacity_bytes());
    let tier = open_on(&double, &config, &pools);
    tier.put_with(b"old", b"v", SYNCED).unwrap();
    double.holds_writes.store(true, SeqCst);
    tier.put(b"held", b"v").unwrap();
    eventually("a write is held", || double.held_writes.load(SeqCst) == 1);
    let system = tier.compaction();
    let sent = (0..2000).take_while(|_| system.cancel().is_ok()).count();
    assert!((1000..1100).contains(&sent), "{sent}");
    // They take no places of writes.
    tier.put(b"new", b"v").unwrap();
    double.holds_writes.store(false, SeqCst);
    eventually("messages are taken again", || tier.flush().is_ok());
    system.cancel().unwrap();
    assert!(open_on(&double.cut(), &config, &pools).contains(b"new").unwrap());
}

// Without the rule: one value of 57 kB dropped a fifth of all keys, and a 128th of the capacity went with each put.
#[test]
fn eviction_drops_at_most_twice_the_size_of_the_new_value() {
    let dir = tempfile::tempdir().unwrap();
    let (_manager, pools) = pools();
    let config =
        small().capacity_bytes(16 << 20).codec(CodecId::Raw).full(FullPolicy::Evict).build().unwrap();
    let tier = open(dir.path(), &config, &pools);
    let put = |key: u32, len| tier.put(&key.to_le_bytes(), &value(key, 0, len)).unwrap();
    let full = (0..).find(|key| {
        put(*key, 64);
        tier.stats().evicted_records > 0
    });
    let first = full.unwrap();
    tier.flush().unwrap();
    for (key, len) in [(first + 1, 3_000), (first + 2, 3_900), (first + 3, 64)] {
        let before = tier.stats().evicted_records;
        put(key, len);
        tier.flush().unwrap();
        let mut after = 0;
        eventually("no eviction is under way", || {
            let last = core::mem::replace(&mut after, tier.stats().evicted_records);
            last == after
        });
        // A small value is charged 92 bytes, of which its tombstone keeps 36. A long one may end a segment early by its length,
        // which is counted in steps of an eighth: a later put may pay for the step.
        let freed = (after - before) * (92 - 36);
        let size = len as u64 + 4 + 24;
        let step = 4_000 / 8;
        assert!(freed <= 2 * size + step + 92, "{len}: {freed} bytes freed");
    }
    recount(&tier);
}
