//! The protocol and the hot pools with access to their parts: the worker is held up, gone, or closed under its callers.

use core::time::Duration;
use std::thread;
use std::time::Instant;

use coldpress_core::cleanup::{CleanupError, CleanupKind, CleanupReply, Outstanding};
use crossbeam_channel::bounded;

use super::*;

/// Longer than anything takes on a machine that is slow and busy.
const TIMEOUT: Duration = Duration::from_secs(120);

fn small() -> PoolConfigBuilder {
    PoolConfig::builder().capacity_bytes(4 << 20).partitions(1).request_timeout(TIMEOUT)
}

fn key(tier: u32, number: u64) -> HotKey {
    let mut hash = [0; 12];
    let mixed = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    hash[..8].copy_from_slice(&mixed.to_le_bytes());
    hash[8..].copy_from_slice(&(mixed >> 40).to_le_bytes()[..4]);
    HotKey { tier, hash }
}

/// Keeps the worker from any step, by a read that lasts until the returned sender is dropped.
fn hold_worker(hot: HotPools) -> (crossbeam_channel::Sender<()>, thread::JoinHandle<()>) {
    let held = key(u32::MAX, 0);
    assert!(hot.insert(held, 0, b"held", None));
    let (release, released) = bounded::<()>(0);
    let (started, begun) = bounded(1);
    let reader = thread::spawn(move || {
        hot.read(held, 0, |_| {
            started.send(()).unwrap();
            let _ = released.recv();
        });
    });
    begun.recv().unwrap();
    (release, reader)
}

#[test]
fn pools_below_100_kb_keep_something_or_are_refused() {
    let (mut built, mut refused) = (0, 0);
    for partitions in [1, 2, 4] {
        for capacity_bytes in (10_000..100_000).step_by(7_919) {
            let config = PoolConfig::builder().page_bytes(4096).value_bytes_max(4096).partitions(partitions);
            let least = match config.clone().capacity_bytes(capacity_bytes).build() {
                Ok(_) => capacity_bytes,
                Err(PoolConfigError::CapacityBytes { min, .. }) => min,
                Err(error) => panic!("{error}"),
            };
            let config = config.capacity_bytes(least).request_timeout(TIMEOUT).build().unwrap();
            *if least == capacity_bytes { &mut built } else { &mut refused } += 1;
            let (_manager, coordinator) = AllocationManager::new(&config).unwrap();
            let hot = coordinator.hot();
            for number in 0..200 {
                let _ = hot.insert(key(1, number), 0, &[7; 1_000], None);
            }
            // As the worker does by itself when the pools are full.
            emergency_cleanup(&coordinator).unwrap();
            let kept = (0..200).filter(|number| hot.read(key(1, *number), 0, |_| ()).is_some()).count();
            assert!(kept >= usize::from(partitions), "{kept} in {least} bytes, {partitions} partitions");
        }
    }
    assert!(built > 0 && refused > 0);
}

fn audit(hot: HotPools) {
    for number in 0..hot.opened.partitions() {
        assert!(hot.opened.lock(number).unwrap().audit(), "partition {number}");
    }
}

fn orphan(capacity: usize) -> (AllocationManager, PoolCoordinator, worker::Inbox) {
    let (manager, coordinator) = AllocationManager::new(&small().build().unwrap()).unwrap();
    let (requests, inbox) = bounded(capacity);
    let hot = coordinator.hot();
    let coordinator = PoolCoordinator::new((requests, inbox.clone()), hot, Duration::from_millis(50));
    (manager, coordinator, worker::Inbox { requests: inbox, opened: hot.opened })
}

#[test]
fn full_queue_request_is_refused_and_owed_nothing() {
    let (manager, coordinator) = AllocationManager::new(&small().queue_capacity(2).build().unwrap()).unwrap();
    let (release, reader) = hold_worker(coordinator.hot());
    let (reply, replies) = bounded(8);
    let mut accepted = Vec::new();
    let refused = loop {
        match coordinator.request(CleanupKind::EmergencyCleanup, reply.clone()) {
            Ok(ticket) => accepted.push(ticket),
            Err(error) => break error,
        }
        if accepted.len() == 1 {
            // The worker takes one, and waits for the lock with it in hand.
            wait_until(|| coordinator.waiting() == 0);
        }
    };
    assert_eq!((refused, accepted.len()), (PoolError::QueueFull, 3));
    assert_eq!(emergency_cleanup(&coordinator), Err(PoolError::QueueFull));
    drop(release);
    reader.join().unwrap();
    for ticket in accepted {
        // I-REQ-1: one reply for each that was accepted, in order, and none for the refused.
        assert_eq!(replies.recv_timeout(TIMEOUT).unwrap().ticket, ticket);
    }
    drop(manager);
    assert!(replies.try_recv().is_err(), "I-REQ-1");
}

#[test]
fn late_reply_answers_no_later_request() {
    let config = small().request_timeout(Duration::from_millis(40)).build().unwrap();
    let (_manager, coordinator) = AllocationManager::new(&config).unwrap();
    let (reply, replies) = bounded(8);
    let mut table: Outstanding<1> = Outstanding::new();
    let first = table.issue(CleanupKind::EmergencyCleanup, 0, 40).unwrap();
    let (release, reader) = hold_worker(coordinator.hot());
    coordinator.submit(first, reply.clone()).unwrap();
    assert_eq!(trigger_defragmentation(&coordinator), Err(PoolError::TimedOut));
    assert_eq!(table.expire(40).unwrap().result, Err(CleanupError::TimedOut));
    let second = table.issue(CleanupKind::TriggerDefragmentation, 40, 1_000).unwrap();
    drop(release);
    reader.join().unwrap();
    let late = replies.recv_timeout(TIMEOUT).unwrap();
    assert_eq!(late.ticket, first.ticket);
    // I-REQ-2: the same place of the table, another generation.
    assert!(table.accept(late).is_err());
    coordinator.submit(second, reply).unwrap();
    let answer = replies.recv_timeout(TIMEOUT).unwrap();
    assert_eq!(table.accept(answer).unwrap().ticket, second.ticket, "I-REQ-2");
    assert_eq!(table.stale_replies(), 1);
}

#[test]
fn request_past_its_deadline_is_answered_without_work() {
    let config = small().request_timeout(Duration::from_millis(20)).build().unwrap();
    let (_manager, coordinator) = AllocationManager::new(&config).unwrap();
    let (release, reader) = hold_worker(coordinator.hot());
    let (reply, replies) = bounded(8);
    for _ in 0..3 {
        coordinator.request(CleanupKind::EmergencyCleanup, reply.clone()).unwrap();
    }
    thread::sleep(Duration::from_millis(40));
    drop(release);
    reader.join().unwrap();
    let results: Vec<_> = (0..3).map(|_| replies.recv_timeout(TIMEOUT).unwrap().result).collect();
    assert_eq!(results[1..], [Err(CleanupError::TimedOut); 2]);
}

#[test]
fn dead_worker_request_is_disconnected_at_once() {
    let (_manager, coordinator, inbox) = orphan(4);
    drop(inbox);
    assert_eq!(emergency_cleanup(&coordinator), Err(PoolError::Disconnected));
    let (reply, replies) = bounded(1);
    assert_eq!(coordinator.request(CleanupKind::EmergencyCleanup, reply), Err(PoolError::Disconnected));
    assert!(replies.recv().is_err(), "I-REQ-1: not accepted, no reply");
}

#[test]
fn dying_worker_answers_the_requests_left_behind() {
    let (_manager, coordinator, inbox) = orphan(4);
    let (reply, replies) = bounded(4);
    let tickets: Vec<_> = (0..3)
        .map(|_| coordinator.request(CleanupKind::TriggerDefragmentation, reply.clone()).unwrap())
        .collect();
    drop(inbox);
    // I-REQ-1: the channel alone would keep the messages for as long as a coordinator lives.
    let lost = |ticket| CleanupReply { ticket, result: Err(CleanupError::Disconnected) };
    let expected: Vec<_> = tickets.into_iter().map(lost).collect();
    assert_eq!(replies.try_iter().collect::<Vec<_>>(), expected);
}

#[test]
fn request_sent_as_the_worker_ends_is_answered_disconnected() {
    for _ in 0..300 {
        let (_manager, coordinator, inbox) = orphan(4);
        let (reply, replies) = bounded(1);
        thread::scope(|scope| {
            scope.spawn(|| drop(inbox));
            let accepted = coordinator.request(CleanupKind::EmergencyCleanup, reply);
            match accepted {
                // I-REQ-1: no time is needed, and no other request.
                Ok(ticket) => {
                    let reply = replies.recv_timeout(TIMEOUT).unwrap();
                    assert_eq!(reply, CleanupReply { ticket, result: Err(CleanupError::Disconnected) });
                }
                Err(error) => assert_eq!(error, PoolError::Disconnected),
            }
        });
    }
}

#[test]
fn cleanup_that_ran_out_of_time_says_that_it_is_partial() {
    let (_manager, coordinator, inbox) = orphan(4);
    let (reply, replies) = bounded(1);
    let (stop, stopped) = bounded(0);
    let (later, woken) = bounded(1);
    let opened = coordinator.hot().opened;
    coordinator.request(CleanupKind::TriggerDefragmentation, reply.clone()).unwrap();
    let mut message = inbox.requests.try_recv().unwrap();
    // A tenth of the timeout is kept for the reply, so from here on there is no time for the work.
    message.deadline = Instant::now() + Duration::from_secs(60);
    let worker = worker::Worker {
        opened,
        requests: inbox,
        wake: woken,
        later,
        stop: stopped,
        step_bytes_max: 1 << 16,
        timeout: Duration::from_secs(3_600),
        meter: crate::observe::PoolMeter::new(""),
        clock: &crate::clock::SystemClock,
        defragmenting: defragmenting::Defragmenting::new(None),
    };
    worker.serve(message);
    assert!(replies.try_recv().unwrap().result.unwrap().is_partial);
    coordinator.request(CleanupKind::TriggerDefragmentation, reply).unwrap();
    let mut message = worker.requests.requests.try_recv().unwrap();
    message.deadline = Instant::now() + Duration::from_secs(3_600);
    worker.serve(message);
    assert!(!replies.try_recv().unwrap().result.unwrap().is_partial);
    drop(stop);
}

#[test]
fn values_expire_by_the_configured_clock() {
    use crate::clock::ManualClock;
    // Later than the system's clock.
    static CLOCK: ManualClock = ManualClock::new(u32::MAX);
    let config = small().clock(&CLOCK).watermarks_permille(100, 999).spare_pages_max(0).build().unwrap();
    let (_manager, pools) = AllocationManager::new(&config).unwrap();
    let hot = pools.hot();
    // Two pages, of which the cleanup has to free one; the colder values are not those that expired.
    for number in 0..8 {
        let expires_s = (number >= 4).then_some(u32::MAX - 1);
        assert!(hot.insert(key(1, number), 1, &[7; 60_000], expires_s));
    }
    let done = pools.cleanup(CleanupKind::EmergencyCleanup).unwrap();
    assert_eq!((done.dropped_objects, done.pages), (4, 1));
    assert!((0..4).all(|number| hot.read(key(1, number), 1, |_| ()).is_some()));
}

#[test]
fn silent_worker_caller_waits_no_longer_than_the_deadline() {
    let (_manager, coordinator, _inbox) = orphan(4);
    let started = Instant::now();
    assert_eq!(emergency_cleanup(&coordinator), Err(PoolError::TimedOut));
    assert!(started.elapsed() < TIMEOUT);
}

#[test]
fn two_coordinators_each_get_their_own_answers() {
    let (_manager, one) = AllocationManager::new(&small().build().unwrap()).unwrap();
    let other = one.clone();
    thread::scope(|scope| {
        for coordinator in [&one, &other] {
            scope.spawn(move || {
                for _ in 0..200 {
                    assert_eq!(trigger_defragmentation(coordinator), Ok(0));
                    assert_eq!(emergency_cleanup(coordinator), Ok(0));
                }
            });
        }
        for _ in 0..2 {
            scope.spawn(|| {
                let (reply, replies) = bounded(4);
                for _ in 0..100 {
                    let ticket = other.request(CleanupKind::TriggerDefragmentation, reply.clone()).unwrap();
                    assert_eq!(replies.recv_timeout(TIMEOUT).unwrap().ticket, ticket, "I-REQ-2");
                }
            });
        }
    });
}

#[test]
fn dropped_manager_ends_every_handle() {
    let (manager, coordinator) = AllocationManager::new(&small().build().unwrap()).unwrap();
    let hot = coordinator.hot();
    assert!(hot.insert(key(0, 1), 1, b"one", None) && hot.is_open());
    drop(manager);
    // The next pools may get the same slot; the old handle must not see their values.
    let (_next, next) = AllocationManager::new(&small().build().unwrap()).unwrap();
    assert!(next.hot().insert(key(0, 1), 1, b"other", None));
    assert_eq!(hot.read(key(0, 1), 1, <[u8]>::len), None);
    assert_eq!(hot.try_insert(key(0, 2), 1, b"two", None), Err(HotError::Closed));
    assert_eq!(hot.stats(), Err(PoolError::Closed));
    assert!(!hot.remove(key(0, 1)) && !hot.is_open() && hot.remove_tier(0) == 0);
    assert_eq!(emergency_cleanup(&coordinator), Err(PoolError::Disconnected));
    assert_eq!(next.hot().read(key(0, 1), 1, <[u8]>::len), Some(5));
}

#[test]
fn pools_opened_while_others_close_are_served() {
    let config = small().build().unwrap();
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                // Each may get the slot that another has just given back.
                for _ in 0..500 {
                    let (_manager, coordinator) = AllocationManager::new(&config).unwrap();
                    assert_eq!(trigger_defragmentation(&coordinator), Ok(0));
                }
            });
        }
    });
}

#[test]
fn closing_pools_answer_the_requests_they_leave_undone() {
    let (mut manager, coordinator) = AllocationManager::new(&small().build().unwrap()).unwrap();
    let (release, reader) = hold_worker(coordinator.hot());
    let (reply, replies) = bounded(8);
    for _ in 0..3 {
        coordinator.request(CleanupKind::EmergencyCleanup, reply.clone()).unwrap();
    }
    // As its drop begins; from there on that waits for the worker, and the worker for the reader.
    drop(manager.stop.take());
    let closing = thread::spawn(move || drop(manager));
    drop(release);
    reader.join().unwrap();
    closing.join().unwrap();
    drop(reply);
    let results: Vec<_> = replies.try_iter().map(|reply| reply.result).collect();
    assert_eq!(results, [Err(CleanupError::Disconnected); 3], "I-REQ-1");
}

#[test]
fn dropped_coordinators_leave_the_worker_tending_the_pools() {
    let config = small().build().unwrap();
    let (manager, coordinator) = AllocationManager::new(&config).unwrap();
    let hot = coordinator.hot();
    drop(coordinator);
    let value = [7; 60_000];
    for number in 0..200 {
        let _ = hot.insert(key(0, number), 1, &value, None);
    }
    wait_until(|| hot.stats().unwrap().committed_bytes < config.limits.high_watermark_bytes);
    audit(hot);
    drop(manager);
}

#[test]
fn values_that_grow_find_space_freed_by_the_worker() {
    let (_manager, coordinator) =
        AllocationManager::new(&small().objects_max(6_000).build().unwrap()).unwrap();
    let hot = coordinator.hot();
    // Small values take all handles, then middling ones nearly all pages; a large class starts with nothing.
    for (round, len) in [200, 2_000, 60_000].into_iter().enumerate() {
        for number in 0..8_000 {
            let _ = hot.insert(key(round as u32, number), 1, &vec![1; len], None);
        }
        let mut number = 8_000;
        wait_until(|| {
            number += 1;
            hot.insert(key(round as u32, number), 1, &vec![1; len], None)
        });
    }
    audit(hot);
}

fn wait_until(mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + TIMEOUT;
    while !holds() {
        assert!(Instant::now() < deadline, "not in time");
        thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn differing_stamp_read_misses_and_drops_the_entry() {
    let (_manager, coordinator) = AllocationManager::new(&small().build().unwrap()).unwrap();
    let hot = coordinator.hot();
    let tier = hot.register_tier();
    assert!(hot.insert(key(tier, 1), 1, b"old", None));
    assert_eq!(hot.read(key(tier, 1), 1, <[u8]>::to_vec), Some(b"old".to_vec()));
    assert_eq!(hot.read(key(tier, 1), 2, <[u8]>::to_vec), None);
    assert_eq!(hot.read(key(tier, 1), 1, <[u8]>::to_vec), None);
    let stats = hot.stats().unwrap();
    assert_eq!((stats.hits, stats.misses, stats.totals.live_objects), (1, 2, 0));
    audit(hot);
}

#[test]
fn overwritten_or_oversized_values_keep_keys_equal_to_objects() {
    let (_manager, coordinator) = AllocationManager::new(&small().build().unwrap()).unwrap();
    let hot = coordinator.hot();
    assert!(hot.insert(key(0, 1), 1, &[1; 100], None));
    assert!(hot.insert(key(0, 1), 2, &[2; 5_000], None));
    let largest = vec![3; hot.value_bytes_max() as usize];
    assert!(hot.insert(key(0, 2), 1, &largest, None));
    let too_large = vec![3; largest.len() + 1];
    assert_eq!(
        hot.try_insert(key(0, 2), 2, &too_large, None),
        Err(HotError::TooLarge { max_bytes: hot.value_bytes_max() })
    );
    assert!(hot.insert(key(0, 3), 1, &[], None));
    assert_eq!(hot.read(key(0, 1), 2, <[u8]>::to_vec), Some(vec![2; 5_000]));
    assert_eq!(hot.read(key(0, 3), 1, <[u8]>::to_vec), Some(Vec::new()));
    assert_eq!(hot.stats().unwrap().totals.live_objects, 3);
    audit(hot);
}

#[test]
fn removed_tier_leaves_the_other_tiers_values() {
    let (_manager, coordinator) = AllocationManager::new(&small().partitions(4).build().unwrap()).unwrap();
    let hot = coordinator.hot();
    let (one, other) = (hot.register_tier(), hot.register_tier());
    assert_ne!(one, other);
    for number in 0..1_500 {
        assert!(hot.insert(key([one, other][usize::from(number % 3 == 0)], number), 1, b"value", None));
    }
    assert_eq!(hot.remove_tier(one), 1_000);
    assert_eq!(hot.stats().unwrap().totals.live_objects, 500);
    assert!(hot.read(key(other, 3), 1, <[u8]>::len).is_some());
    audit(hot);
}

#[test]
fn emergency_cleanup_drops_expired_first_to_the_low_watermark() {
    let (_manager, coordinator) = AllocationManager::new(&small().build().unwrap()).unwrap();
    let hot = coordinator.hot();
    for number in 0..100 {
        let expires_s = (number % 2 == 0).then_some(1);
        assert!(hot.insert(key(0, number), 1, &[1; 16_000], expires_s));
    }
    let before = hot.stats().unwrap();
    let reclaimed_bytes = emergency_cleanup(&coordinator).unwrap();
    let after = hot.stats().unwrap();
    // Below the low watermark nothing that is still good is evicted.
    assert_eq!(after.totals.live_objects, 50);
    assert!((0..100).all(|number| hot.read(key(0, number), 1, |_| ()).is_some() == (number % 2 == 1)));
    // I-POOL-2
    assert_eq!(reclaimed_bytes, before.committed_bytes - after.committed_bytes);
    audit(hot);
}

#[test]
fn defragmented_pools_keep_every_byte_and_give_pages_back() {
    let (_manager, coordinator) =
        AllocationManager::new(&small().capacity_bytes(32 << 20).partitions(2).build().unwrap()).unwrap();
    let hot = coordinator.hot();
    let value = |number: u64| -> Vec<u8> {
        let len = [300, 3_000, 30_000, 65_536][(number % 4) as usize];
        (0..len).map(|at: u64| (at.wrapping_mul(number + 1) >> 3) as u8).collect()
    };
    let numbers = 0..800;
    for number in numbers.clone() {
        assert!(hot.insert(key(0, number), number, &value(number), None));
    }
    for number in numbers.clone().filter(|number| (number / 4) % 4 != 0) {
        assert!(hot.remove(key(0, number)));
    }
    let before = hot.stats().unwrap();
    let reclaimed_bytes = trigger_defragmentation(&coordinator).unwrap();
    let after = hot.stats().unwrap();
    assert!(reclaimed_bytes > before.committed_bytes / 3, "{reclaimed_bytes} of {}", before.committed_bytes);
    // I-POOL-2
    assert_eq!(reclaimed_bytes, before.committed_bytes - after.committed_bytes);
    assert!(after.totals.relocated_bytes > 0 && after.external_permille < before.external_permille);
    assert_eq!(after.live_bytes, before.live_bytes);
    for number in numbers.filter(|number| (number / 4) % 4 == 0) {
        // I-POOL-1
        assert_eq!(hot.read(key(0, number), number, <[u8]>::to_vec), Some(value(number)));
    }
    assert_eq!(trigger_defragmentation(&coordinator), Ok(0), "no move could free another page");
    audit(hot);
}

#[test]
fn scattered_pools_report_says_defragment_and_afterwards_keep() {
    use coldpress_core::efficiency::{CleanupAdvice, EfficiencyConfig};
    let (_manager, coordinator) = AllocationManager::new(&small().build().unwrap()).unwrap();
    let hot = coordinator.hot();
    let start = hot.stats().unwrap();
    // A slot is exactly a quarter of a page: no internal fragmentation.
    for number in 0..48 {
        assert!(hot.insert(key(0, number), 1, &[1; 65_536], None));
    }
    for number in (0..48).filter(|number| number % 4 != 0) {
        hot.remove(key(0, number));
    }
    let config = EfficiencyConfig::default();
    let scattered = hot.efficiency(&config, &start, Some(10)).unwrap();
    assert_eq!((scattered.fragmentation_impact, scattered.advice), (525, CleanupAdvice::Defragment));
    trigger_defragmentation(&coordinator).unwrap();
    let tidy = hot.efficiency(&config, &start, Some(10)).unwrap();
    assert_eq!((tidy.fragmentation_impact, tidy.utilisation, tidy.advice), (0, 1_000, CleanupAdvice::Keep));
    assert!(hot.stats().unwrap().page_views.iter().all(|page| page.used_slots == page.slots));
}

#[test]
fn read_that_asks_closed_pools_in_between_ends() {
    // The handle of closed pools is refused at once, even if other pools have their slot now.
    let config = PoolConfig::builder().partitions(1).build().unwrap();
    let (manager, _requests) = AllocationManager::new(&config).unwrap();
    let closed = manager.hot();
    drop(manager);
    let (manager, _requests) = AllocationManager::new(&config).unwrap();
    let open = manager.hot();
    let key = HotKey { tier: open.register_tier(), hash: [1; 12] };
    assert!(open.insert(key, 1, b"value", None));
    let (result, answered) = crossbeam_channel::bounded(1);
    // Not joined: it never ends.
    std::thread::spawn(move || result.send(open.read(key, 1, |_| closed.is_open())));
    let answer = answered.recv_timeout(core::time::Duration::from_secs(5));
    core::mem::forget(manager);
    assert_eq!(answer, Ok(Some(false)));
}
