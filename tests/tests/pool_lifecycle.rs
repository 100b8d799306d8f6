//! Opening and closing grows nothing: no thread, no mapping, no memory.
//!
//! One test, so that nothing else in the process opens or closes meanwhile.
#![cfg(target_os = "linux")]

use coldpress_std::pool::{AllocationManager, HotKey, PoolConfig, PoolError, emergency_cleanup};

#[derive(Debug)]
struct Held {
    threads: usize,
    mappings: usize,
    resident_bytes: u64,
}

fn held() -> Held {
    let rollup = std::fs::read_to_string("/proc/self/smaps_rollup").unwrap();
    let line = rollup.lines().find(|line| line.starts_with("Anonymous:")).unwrap();
    Held {
        threads: std::fs::read_dir("/proc/self/task").unwrap().count(),
        mappings: std::fs::read_to_string("/proc/self/maps").unwrap().lines().count(),
        resident_bytes: line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1_024,
    }
}

/// The same once the counts have settled: a joined thread is counted a moment longer.
fn at_rest() -> Held {
    let looks = (0..50).map(|_| {
        std::thread::sleep(core::time::Duration::from_millis(10));
        held()
    });
    looks.min_by_key(|held| (held.threads, held.mappings)).unwrap()
}

#[test]
fn pools_opened_a_thousand_times_hold_no_more_memory() {
    let config = PoolConfig::builder().capacity_bytes(4 << 20).partitions(4).build().unwrap();
    let mut kept = Vec::new();
    let mut open_and_close = |number: u64| {
        let (manager, coordinator) = AllocationManager::new(&config).unwrap();
        let hot = coordinator.hot();
        for at in 0..8u8 {
            let key = HotKey { tier: hot.register_tier(), hash: [at; 12] };
            assert!(hot.insert(key, number, &[at; 10_000], None));
        }
        drop(manager);
        assert!(!hot.is_open());
        if number.is_multiple_of(100) {
            kept.push(coordinator);
        }
    };
    // The first rounds fill the memory that the allocator and the thread stacks keep for the next.
    (0..50).for_each(&mut open_and_close);
    let before = at_rest();
    (0..1_000).for_each(&mut open_and_close);
    let after = at_rest();
    println!("{before:?} to {after:?}");
    assert!(after.threads <= before.threads);
    assert!(after.mappings <= before.mappings + 8, "{before:?} to {after:?}");
    assert!(after.resident_bytes < before.resident_bytes + (2 << 20), "{before:?} to {after:?}");
    for coordinator in kept {
        assert_eq!(emergency_cleanup(&coordinator), Err(PoolError::Disconnected));
    }
}
