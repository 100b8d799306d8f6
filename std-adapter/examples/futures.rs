//! Measures futures beside threads: gets and puts that need not wait, and a ticker beside a full tier that compacts.
//!
//! ```text
//! cargo run --release -p coldpress-std --example futures
//! ```
//! Gets are of values in the page cache, not in the pools. Both kinds take turns, and each figure is the median of its rounds. The
//! ticker is one task of a runtime of one thread. A thousand tasks beside it overwrite a tier that is full.

use core::error::Error;
use core::hint::black_box;
use core::time::Duration;
use std::path::Path;
use std::time::Instant;

use coldpress_std::{ColdTier, ColdTierConfig, ColdTierHandle, PutError};
use tokio::runtime::Builder;

const ROUNDS: usize = 21;
const KEYS: u32 = 20_000;
const OPERATIONS: u32 = 20_000;
const TASKS: u32 = 1_000;
const TICK: Duration = Duration::from_millis(1);

/// The bytes of a value: random, so that they do not compress.
fn value(key: u32, len: usize) -> Vec<u8> {
    let mut state = u64::from(key) | 1 << 40;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        state.to_be_bytes()[0]
    };
    (0..len).map(|_| next()).collect()
}

fn open(dir: &Path, capacity: u64) -> Result<ColdTier, Box<dyn Error>> {
    let config = ColdTierConfig::builder().base_dir(dir).capacity_bytes(capacity).keep_hot_values(false);
    Ok(ColdTier::with_own_pools(config.build()?, "futures")?)
}

fn median(times: &mut [Duration]) -> Duration {
    times.sort_unstable();
    times.get(times.len() / 2).copied().unwrap_or_default()
}

fn at(key: u32) -> [u8; 4] {
    (key.wrapping_mul(2_654_435_761) % KEYS).to_le_bytes()
}

/// Prints the times of both kinds, and their ratio.
fn compare(what: &str, mut one: impl FnMut(), mut other: impl FnMut()) {
    let (mut threads, mut futures) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let begun = Instant::now();
        one();
        threads.push(begun.elapsed() / OPERATIONS);
        let begun = Instant::now();
        other();
        futures.push(begun.elapsed() / OPERATIONS);
    }
    let (thread, future) = (median(&mut threads), median(&mut futures));
    let ratio = future.as_secs_f64() / thread.as_secs_f64();
    println!("{what}: blocking {thread:?}, awaited {future:?}, ratio {ratio:.2}");
}

fn gets_and_puts(dir: &Path) -> Result<(), Box<dyn Error>> {
    let runtime = Builder::new_current_thread().build()?;
    for bytes in [100, 4_096] {
        let tier = open(&dir.join(bytes.to_string()), 512 << 20)?;
        for key in 0..KEYS {
            tier.put(&key.to_le_bytes(), &value(key, bytes))?;
        }
        tier.flush()?;
        let (handle, read) = (tier.handle(), tier.stats().bytes_read);
        let (mut found, mut awaited) = (Vec::new(), Vec::new());
        compare(
            &format!("get of {bytes} bytes from the page cache"),
            || {
                for key in 0..OPERATIONS {
                    black_box(handle.get_into(&at(key), &mut found)).ok();
                }
            },
            || {
                runtime.block_on(async {
                    for key in 0..OPERATIONS {
                        black_box(handle.get_into_async(&at(key), &mut awaited).await).ok();
                    }
                });
            },
        );
        let stats = tier.stats();
        let is_whole = stats.hits == stats.gets && stats.bytes_read - read > 0 && stats.pending_hits == 0;
        println!("  every get was of the log: {is_whole}");
        let one = value(1, bytes);
        compare(
            &format!("put of {bytes} bytes"),
            || {
                (0..OPERATIONS).for_each(|key| drop(black_box(handle.put(&at(key), &one))));
                let _ = handle.flush();
            },
            || {
                runtime.block_on(async {
                    for key in 0..OPERATIONS {
                        drop(black_box(handle.put_async(&at(key), &one).await));
                    }
                });
                let _ = handle.flush();
            },
        );
        tier.close()?;
    }
    Ok(())
}

/// Overwrites keys of its own until the time is over; returns how often.
async fn overwrite(tier: ColdTierHandle, task: u32, value: Vec<u8>, ends: Instant) -> Result<u64, PutError> {
    let mut puts = 0;
    while Instant::now() < ends {
        let key = (u64::from(task) << 3) | (puts % 8);
        tier.put_async(&key.to_le_bytes(), &value).await?;
        puts += 1;
        tokio::task::yield_now().await;
    }
    Ok(puts)
}

/// The processor time of this thread.
fn processor_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.try_into().unwrap_or_default(), time.tv_nsec.try_into().unwrap_or_default())
}

/// The ticks of a run.
#[derive(Default)]
struct Ticks {
    /// By how much each was late.
    late: Vec<Duration>,
    /// The processor time of the thread between each and the one before.
    took: Vec<Duration>,
}

/// Ticks each millisecond until the time is over.
async fn tick(ends: Instant) -> Ticks {
    let mut ticks = Ticks::default();
    let mut ticker = tokio::time::interval(TICK);
    ticker.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    let mut before = processor_time();
    while Instant::now() < ends {
        let due = ticker.tick().await;
        ticks.late.push(tokio::time::Instant::now().saturating_duration_since(due));
        let now = processor_time();
        ticks.took.push(now.saturating_sub(before));
        before = now;
    }
    ticks
}

fn print_ticks(what: &str, ticks: Ticks) {
    println!("{what}: {} ticks", ticks.late.len());
    for (what, mut times) in [("late by", ticks.late), ("processor time between", ticks.took)] {
        times.sort_unstable();
        let at = |permille: usize| times.get(times.len() * permille / 1_000).or(times.last()).copied();
        let [middle, most, longest] = [500, 999, 1_000].map(|permille| at(permille).unwrap_or_default());
        let beyond = times.iter().filter(|time| **time > 5 * TICK).count();
        println!(
            "  {what}: {middle:?} in the middle, {most:?} of 999 in 1,000, {longest:?} at most; {beyond} beyond 5 ms"
        );
    }
}

fn ticker(dir: &Path) -> Result<(), Box<dyn Error>> {
    // Space for the values of all tasks, and hardly more: each overwrite makes the tier compact.
    let tier = open(dir, 11 << 20)?;
    let handle = tier.handle();
    let runtime = Builder::new_current_thread().enable_time().build()?;
    let time = Duration::from_secs(10);
    print_ticks("alone", runtime.block_on(tick(Instant::now() + time / 2)));
    let values: Vec<_> = (0..TASKS).map(|task| value(task, 1_000)).collect();
    let (late, puts) = runtime.block_on(async {
        let ends = Instant::now() + time;
        let ticks = tokio::spawn(tick(ends));
        let tasks = (0..).zip(values).map(|(task, value)| tokio::spawn(overwrite(handle, task, value, ends)));
        let tasks: Vec<_> = tasks.collect();
        let mut puts = 0;
        for task in tasks {
            puts += task.await??;
        }
        Ok::<_, Box<dyn Error>>((ticks.await?, puts))
    })?;
    print_ticks("beside 1,000 tasks", late);
    let stats = tier.stats();
    let filled = 100 * stats.charged_bytes / stats.charge_bytes_max.max(1);
    println!(
        "  {puts} puts, {} bytes relocated to make space for them; {filled} % of the charge taken",
        stats.relocated_bytes
    );
    Ok(tier.close()?)
}

fn main() -> Result<(), Box<dyn Error>> {
    let dir = tempfile::tempdir()?;
    gets_and_puts(dir.path())?;
    ticker(&dir.path().join("ticker"))
}
