//! Measures how tightly defragmented pools are packed: `cargo run --release -p coldpress-std --example pool_packing -- 64`, with
//! the MiB of values that stay.
//!
//! For each distribution of lengths the pools are filled, 70 % of the values are removed at random, and the rest is moved
//! together while a thread reads. It prints bytes committed for each byte of values, the bytes that went back by our count and by
//! that of the system, and how long reads took. The last line compares a request to the worker with two bare channels.

use core::error::Error;
use core::sync::atomic::{AtomicBool, Ordering};
use core::time::Duration;
use std::thread;
use std::time::Instant;

use coldpress_std::pool::{
    AllocationManager, HotKey, HotPools, PoolConfig, PoolCoordinator, trigger_defragmentation,
};
use crossbeam_channel::bounded;

/// A distribution of lengths, from a random number.
struct Lengths {
    name: &'static str,
    draw: fn(u64) -> u32,
}

const LENGTHS: [Lengths; 7] = [
    Lengths { name: "100 B", draw: |_| 100 },
    Lengths { name: "1,000 B", draw: |_| 1_000 },
    Lengths { name: "64 B to 4 KiB, uniform", draw: |random| between(random, 64, 4_096) },
    Lengths { name: "16 B to 64 KiB, log-uniform", draw: log_uniform },
    Lengths { name: "1 to 64 KiB, uniform", draw: |random| between(random, 1_024, 65_536) },
    Lengths { name: "40 KiB", draw: |_| 40 << 10 },
    Lengths { name: "64 KiB", draw: |_| 64 << 10 },
];

fn between(random: u64, least: u32, most: u32) -> u32 {
    least + u32::try_from(random % u64::from(most - least + 1)).unwrap_or(0)
}

fn log_uniform(random: u64) -> u32 {
    let doubling = u32::try_from(random % 12).unwrap_or(0);
    between(random >> 8, 16 << doubling, 32 << doubling)
}

/// The finaliser of splitmix64.
const fn mix(number: u64) -> u64 {
    let number = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

fn key(number: u64) -> HotKey {
    let mut hash = [0; 12];
    let (low, high) = hash.split_at_mut(8);
    low.copy_from_slice(&mix(number).to_le_bytes());
    high.copy_from_slice(&mix(!number).to_le_bytes()[..4]);
    HotKey { tier: 0, hash }
}

/// Memory of the process in bytes, as the system counts it.
fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    kib.unwrap_or(0) << 10
}

fn is_kept(number: u64) -> bool {
    mix(number ^ 0x5eed) % 10 < 3
}

fn ratio(hot: HotPools) -> Result<f64, Box<dyn Error>> {
    let stats = hot.stats()?;
    Ok(stats.committed_bytes as f64 / stats.requested_bytes as f64)
}

/// Reads at random until it is to stop; returns the times in nanoseconds, sorted.
fn read(hot: HotPools, numbers: u64, stop: &AtomicBool) -> Vec<u64> {
    let mut times = Vec::new();
    for round in 0.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let number = mix(round) % numbers;
        let begun = Instant::now();
        let _ = hot.read(key(number), 0, |bytes| bytes.first().copied());
        times.push(u64::try_from(begun.elapsed().as_nanos()).unwrap_or(u64::MAX));
    }
    times.sort_unstable();
    times
}

fn measure(live_bytes: u64, lengths: &Lengths) -> Result<(), Box<dyn Error>> {
    let filled_bytes = live_bytes * 10 / 3;
    let mut numbers = 0;
    let mut bytes = 0;
    while bytes < filled_bytes {
        bytes += u64::from((lengths.draw)(mix(numbers)));
        numbers += 1;
    }
    let config = PoolConfig::builder()
        .capacity_bytes(filled_bytes * 3)
        .objects_max(u32::try_from(numbers * 5 / 4)?)
        .request_timeout(Duration::from_secs(60));
    let (_manager, coordinator) = AllocationManager::new(&config.build()?)?;
    let hot = coordinator.hot();
    let value = vec![7; 64 << 10];
    for number in 0..numbers {
        hot.try_insert(key(number), 0, &value[..(lengths.draw)(mix(number)) as usize], None)?;
    }
    let filled = ratio(hot)?;
    for number in (0..numbers).filter(|number| !is_kept(*number)) {
        hot.remove(key(number));
    }
    let scattered = ratio(hot)?;
    let stop = AtomicBool::new(false);
    let (times, took, reclaimed, given_back) = thread::scope(|scope| {
        let reader = scope.spawn(|| read(hot, numbers, &stop));
        thread::sleep(Duration::from_millis(50));
        let resident = resident_bytes();
        let begun = Instant::now();
        let reclaimed = trigger_defragmentation(&coordinator);
        let took = begun.elapsed();
        let given_back = resident.saturating_sub(resident_bytes());
        stop.store(true, Ordering::Relaxed);
        (reader.join().unwrap_or_default(), took, reclaimed, given_back)
    });
    let stats = hot.stats()?;
    let at = |permyriad: usize| times.get(times.len() * permyriad / 10_000).copied().unwrap_or(0) / 1_000;
    println!(
        "{}: {filled:.3} filled, {scattered:.3} scattered, {:.3} defragmented; {} pages; {:.1} MiB back, {:.1} by the system, \
         {:.1} MiB moved in {took:?}; reads: 99.9 % {} us, 99.99 % {} us, longest {} us",
        lengths.name,
        ratio(hot)?,
        stats.pages,
        reclaimed? as f64 / 1_048_576.0,
        given_back as f64 / 1_048_576.0,
        stats.totals.relocated_bytes as f64 / 1_048_576.0,
        at(9_990),
        at(9_999),
        times.last().copied().unwrap_or(0) / 1_000,
    );
    Ok(())
}

/// The least of many rounds: requests with nothing to do, and a thread that echoes.
fn round_trips(coordinator: &PoolCoordinator) -> Result<(), Box<dyn Error>> {
    const ROUNDS: u32 = 2_000;
    let (ask, asked) = bounded::<crossbeam_channel::Sender<u64>>(256);
    thread::spawn(move || {
        while let Ok(reply) = asked.recv() {
            let _ = reply.send(0);
        }
    });
    let (mut ours, mut bare) = (Vec::new(), Vec::new());
    for _ in 0..20 {
        let begun = Instant::now();
        for _ in 0..ROUNDS {
            trigger_defragmentation(coordinator)?;
        }
        ours.push(begun.elapsed() / ROUNDS);
        let begun = Instant::now();
        for _ in 0..ROUNDS {
            let (reply, replies) = bounded(1);
            ask.send(reply)?;
            replies.recv()?;
        }
        bare.push(begun.elapsed() / ROUNDS);
    }
    ours.sort_unstable();
    bare.sort_unstable();
    let (mid_ours, mid_bare) = (ours[10], bare[10]);
    let explained = coordinator.explanations()?;
    let mut took: Vec<_> = explained.iter().map(|explanation| explanation.took).collect();
    took.sort_unstable();
    println!(
        "round trip to the worker: {mid_ours:?}, of which it works {:?}; of bare channels {mid_bare:?}: {:.2} times (medians of 20)",
        took.get(took.len() / 2).copied().unwrap_or_default(),
        mid_ours.as_secs_f64() / mid_bare.as_secs_f64()
    );
    Ok(())
}

/// Reads a second by one thread, of values of 100 B at random: the most of some rounds.
fn reads(coordinator: &PoolCoordinator) -> Result<(), Box<dyn Error>> {
    const ROUND: u64 = 1_000_000;
    let hot = coordinator.hot();
    for values in [1_000, 50_000] {
        let keys: Vec<HotKey> = (0..values).map(key).collect();
        for key in &keys {
            hot.try_insert(*key, 0, &[7; 100], None)?;
        }
        let mut best = Duration::MAX;
        let (mut copy, mut found) = ([0u8; 100], 0);
        for _ in 0..7 {
            let begun = Instant::now();
            for read in 0..ROUND {
                let key = keys[usize::try_from(mix(read) % values)?];
                found += u64::from(hot.read(key, 0, |bytes| copy.copy_from_slice(bytes)).is_some());
            }
            best = best.min(begun.elapsed());
        }
        assert_eq!(found, 7 * ROUND, "every value is there");
        let million = ROUND as f64 / best.as_secs_f64() / 1e6;
        println!("reads of {values} values of 100 B: {million:.2} million a second");
    }
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    let live_mib: u64 = std::env::args().nth(1).map_or(Ok(64), |given| given.parse())?;
    for lengths in &LENGTHS {
        measure(live_mib << 20, lengths)?;
    }
    let (_manager, coordinator) = AllocationManager::new(&PoolConfig::builder().build()?)?;
    reads(&coordinator)?;
    round_trips(&coordinator)
}
