//! A medium that is slow, or stands still for a while: puts go on as fast as the medium allows, each in its turn.

use core::sync::atomic::Ordering::SeqCst;
use core::time::Duration;
use std::time::Instant;

use coldpress_std::{ColdTierHandle, PutError, PutOptions};

use super::common::{eventually, open_on, pools, small, value};
use super::double::Double;

const THREADS: u32 = 4;
const RUN: Duration = Duration::from_secs(3);
const ATTEMPTS: usize = 10;
/// No put that came so much later may go first: ten times the delay that the tier itself allows.
const LATER: Duration = Duration::from_millis(500);

/// Overwrites keys, few of them often, for a while; returns when each put began and ended.
fn overwrite(tier: ColdTierHandle, seed: u32, keys: u32, begun: Instant) -> Vec<(Instant, Instant)> {
    let mut state = u64::from(seed) + 1;
    let mut puts = Vec::new();
    while begun.elapsed() < RUN {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let unit = (state >> 11) as f64 / (1u64 << 53) as f64;
        let key = f64::from(keys).powf(unit) as u32 - 1;
        let value = value(key, state as u32, 1000);
        let begun = Instant::now();
        tier.put(&key.to_le_bytes(), &value).unwrap();
        puts.push((begun, Instant::now()));
    }
    puts
}

/// The most puts that came after one put and went first, and the time that this one took. Not counted are puts that were let
/// past in time and may still be on their way.
fn overtaken(tier: ColdTierHandle, keys: u32) -> Option<(usize, Duration)> {
    let begun = Instant::now();
    let mut puts = Vec::new();
    std::thread::scope(|scope| {
        let threads: Vec<_> =
            (0..THREADS).map(|seed| scope.spawn(move || overwrite(tier, seed, keys, begun))).collect();
        for thread in threads {
            puts.extend(thread.join().unwrap());
        }
    });
    let past = |begun: Instant, ended: Instant| {
        puts.iter().filter(|(other, done)| *other > begun + LATER && *done < ended).count()
    };
    let counts = puts.iter().map(|(begun, ended)| (past(*begun, *ended), *ended - *begun));
    counts.max().filter(|(past, _)| *past > THREADS as usize)
}

#[test]
fn put_on_a_slow_medium_is_not_overtaken_again_and_again() {
    let (_manager, pools) = pools();
    let config = small().capacity_bytes(8 << 20).pending_bytes_max(1 << 20).build().unwrap();
    let medium = Double::new(config.capacity_bytes());
    let tier = open_on(&medium, &config, &pools);
    let keys = 3500u32;
    for key in 0..keys {
        tier.put(&key.to_le_bytes(), &value(key, 0, 1000)).unwrap();
    }
    tier.flush().unwrap();
    medium.sync_ms.store(60, SeqCst);
    // A busy machine may make a thread wait as long, now and then; only an unfair tier does so every time.
    let found: Vec<_> = (0..ATTEMPTS).map_while(|_| overtaken(tier.handle(), keys)).collect();
    medium.sync_ms.store(0, SeqCst);
    assert!(found.len() < ATTEMPTS, "so many came later and went first: {found:?}");
    tier.close().unwrap();
}

#[test]
fn puts_on_a_stalled_medium_time_out_and_later_succeed() {
    let (_manager, pools) = pools();
    let config = small().pending_bytes_max(1 << 18).op_timeout(Duration::from_millis(300));
    let config = config.build().unwrap();
    let medium = Double::new(config.capacity_bytes());
    let tier = open_on(&medium, &config, &pools);
    medium.holds_writes.store(true, SeqCst);
    let refused = (0..10_000u32).find_map(|key| tier.put(&key.to_le_bytes(), &[7; 1000]).err());
    assert_eq!(refused, Some(PutError::Busy));
    std::thread::scope(|scope| {
        let waiting: Vec<_> = (0..THREADS)
            .map(|thread| {
                let handle = tier.handle();
                scope.spawn(move || {
                    loop {
                        match handle.put(&[0xFF, thread as u8], b"came through") {
                            Err(PutError::Busy) => {}
                            outcome => return outcome,
                        }
                    }
                })
            })
            .collect();
        std::thread::sleep(Duration::from_millis(400));
        medium.holds_writes.store(false, SeqCst);
        for thread in waiting {
            assert_eq!(thread.join().unwrap(), Ok(()));
        }
    });
    eventually("all is durable", || tier.flush().is_ok());
    tier.close().unwrap();
}

#[test]
fn batch_on_a_slow_medium_has_one_deadline_and_a_count() {
    let (_manager, pools) = pools();
    let config = small().pending_bytes_max(1 << 16).op_timeout(Duration::from_secs(2)).build().unwrap();
    let medium = Double::new(config.capacity_bytes());
    let tier = open_on(&medium, &config, &pools);
    // Some twenty of them wait at a time: each shorter than its deadline, all together far longer.
    medium.write_ms.store(100, SeqCst);
    let pairs: Vec<_> = (0..800u32).map(|key| (key.to_le_bytes(), value(key, 0, 3_000))).collect();
    let refused = tier.put_batch(&pairs, PutOptions::default()).unwrap_err();
    assert!(refused.error == PutError::Busy && (1..800).contains(&refused.index), "{refused}");
    medium.write_ms.store(0, SeqCst);
    // From there on it goes on.
    let mut from = refused.index;
    eventually("the rest is put", || {
        let put = tier.put_batch(&pairs[from..], PutOptions::default());
        from += put.map_or_else(|error| error.index, |()| 800 - from);
        from == 800
    });
    for (key, value) in &pairs {
        assert_eq!(tier.get(key).unwrap().as_ref(), Some(value));
    }
    eventually("all is durable", || tier.flush().is_ok());
}
