//! Measures a tier under many threads: calls a second, context switches a call, and the longest call of any thread.
//!
//! ```sh
//! cargo run --release --example writers -- --threads 16,100,200,400,1000
//! ```

use core::error::Error;
use core::sync::atomic::{AtomicBool, Ordering::Relaxed};
use core::time::Duration;
use std::fs;
use std::process::ExitCode;
use std::sync::{PoisonError, RwLock};
use std::thread::Builder;
use std::time::Instant;

use clap::{Parser, ValueEnum};
use coldpress_core::codec::CodecId;
use coldpress_examples::rng::Rng;
use coldpress_std::pool::{AllocationManager, PoolConfig};
use coldpress_std::{ColdTier, ColdTierConfig, ColdTierHandle, Durability, FullPolicy, PutError, PutOptions};
use tempfile::TempDir;

/// Could not be carried out.
const FAILED: u8 = 2;

/// Bytes of a client thread's stack: a thousand of them take little.
const STACK_BYTES: usize = 256 << 10;

/// Measures a cold tier under many threads. For each number of threads and each durability it fills a fresh tier. Every thread
/// puts or gets random keys for some seconds; then calls a second and context switches a call are printed. Needs no input
#[derive(Debug, Clone, Parser)]
#[command(name = "writers", version)]
struct Options {
    /// Numbers of threads, separated by commas
    #[arg(
        long,
        value_name = "N,…",
        value_delimiter = ',',
        default_value = "16,100,200,400,1000",
        value_parser = clap::value_parser!(u32).range(1..)
    )]
    threads: Vec<u32>,

    /// Durabilities of the puts, separated by commas: measured in turn, so that they can be compared
    #[arg(long, value_name = "NAME,…", value_delimiter = ',', default_value = "buffered")]
    durability: Vec<Promise>,

    /// Lengths of the values, separated by commas
    #[arg(long, value_name = "BYTES,…", value_delimiter = ',', default_value = "100")]
    value_bytes: Vec<u32>,

    /// Keys that are put; later puts overwrite them
    #[arg(long, value_name = "N", default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(1..))]
    keys: u32,

    /// Capacity of the tier [default: space for three times the keys, at least 256 MiB]
    #[arg(long, value_name = "BYTES")]
    capacity: Option<u64>,

    /// Partitions of the tier, each with a thread of its own
    #[arg(long, value_name = "N", default_value_t = 1)]
    partitions: u16,

    /// Reads keys that were put before, instead of putting
    #[arg(long)]
    get: bool,

    /// Drops the coldest values when the tier is full
    #[arg(long)]
    evict: bool,

    /// Milliseconds of each measurement
    #[arg(long, value_name = "MS", default_value_t = 3_000)]
    milliseconds: u64,

    /// How often all of it is measured, in turn
    #[arg(long, value_name = "N", default_value_t = 1)]
    rounds: u32,

    /// A directory for the tiers [default: a temporary one]
    #[arg(long, value_name = "DIR")]
    dir: Option<std::path::PathBuf>,
}

/// A durability by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Promise {
    Buffered,
    Flushed,
    Synced,
}

impl From<Promise> for Durability {
    fn from(promise: Promise) -> Self {
        match promise {
            Promise::Buffered => Self::Buffered,
            Promise::Flushed => Self::Flushed,
            Promise::Synced => Self::Synced,
        }
    }
}

/// One row of the table.
#[derive(Debug, Clone, Copy)]
struct Row {
    threads: u32,
    promise: Promise,
    value_bytes: u32,
}

/// Counts of one thread, or of all.
#[derive(Debug, Clone, Copy, Default)]
struct Tally {
    calls: u64,
    refused: u64,
    switches: u64,
    longest: Duration,
}

impl Tally {
    fn add(self, other: Self) -> Self {
        Self {
            calls: self.calls + other.calls,
            refused: self.refused + other.refused,
            switches: self.switches + other.switches,
            longest: self.longest.max(other.longest),
        }
    }
}

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("writers: {error}");
            ExitCode::from(FAILED)
        }
    }
}

fn run(options: &Options) -> Result<(), Box<dyn Error>> {
    println!(
        "{:>8} {:>10} {:>8} {:>12} {:>16} {:>14} {:>9}",
        "threads", "durability", "bytes", "calls/s", "switches a call", "longest ms", "refused"
    );
    for _ in 0..options.rounds {
        for &value_bytes in &options.value_bytes {
            for &threads in &options.threads {
                for &promise in &options.durability {
                    print_row(options, Row { threads, promise, value_bytes })?;
                }
            }
        }
    }
    Ok(())
}

fn print_row(options: &Options, row: Row) -> Result<(), Box<dyn Error>> {
    let (tally, elapsed) = measure(options, row)?;
    let rate = tally.calls as f64 / elapsed.as_secs_f64();
    let switches = tally.switches as f64 / tally.calls.max(1) as f64;
    let name = row.promise.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default();
    println!(
        "{:>8} {name:>10} {:>8} {rate:>12.0} {switches:>16.3} {:>14.1} {:>9}",
        row.threads,
        row.value_bytes,
        tally.longest.as_secs_f64() * 1e3,
        tally.refused
    );
    Ok(())
}

/// Lets all threads begin at once on a tier that holds all keys, and adds up their counts until the time is over.
fn measure(options: &Options, row: Row) -> Result<(Tally, Duration), Box<dyn Error>> {
    let dir = match &options.dir {
        Some(dir) => TempDir::new_in(dir)?,
        None => TempDir::new()?,
    };
    let held = u64::from(options.keys) * u64::from(row.value_bytes + 64);
    let capacity = options.capacity.unwrap_or((3 * held).max(256 << 20));
    let full = if options.evict { FullPolicy::Evict } else { FullPolicy::Reject };
    let config = ColdTierConfig::builder().capacity_bytes(capacity).partitions(options.partitions);
    let config = config.codec(CodecId::Raw).full(full).keep_hot_values(false).build()?;
    let (_manager, pools) = AllocationManager::new(&PoolConfig::builder().build()?)?;
    let tier = ColdTier::open(dir.path(), "writers", config, pools)?;
    let mut value = vec![0; row.value_bytes as usize];
    for key in 0..options.keys {
        fill(&mut value, u64::from(key));
        let put = tier.put_with(&key.to_le_bytes(), &value, options_of(Promise::Buffered));
        match put {
            Err(PutError::Full { .. }) if options.evict => {}
            put => put?,
        }
    }
    tier.flush()?;
    let (is_over, start) = (AtomicBool::new(false), RwLock::new(()));
    let measured = std::thread::scope(|scope| {
        // Clients wait for this guard to go, also where one of them can't be started.
        let before = start.write().unwrap_or_else(PoisonError::into_inner);
        let spawn = |thread| {
            let (handle, is_over, start) = (tier.handle(), &is_over, &start);
            let run = move || {
                drop(start.read());
                client(options, row, handle, thread, is_over)
            };
            Builder::new().stack_size(STACK_BYTES).spawn_scoped(scope, run)
        };
        let clients = (0..row.threads).map(spawn).collect::<Result<Vec<_>, _>>();
        let clients = clients.inspect_err(|_| is_over.store(true, Relaxed))?;
        let begun = Instant::now();
        drop(before);
        std::thread::sleep(Duration::from_millis(options.milliseconds));
        is_over.store(true, Relaxed);
        let elapsed = begun.elapsed();
        let tallies = clients.into_iter().map(|client| client.join().unwrap_or_default());
        Ok::<_, Box<dyn Error>>((tallies.fold(Tally::default(), Tally::add), elapsed))
    })?;
    tier.close()?;
    Ok(measured)
}

fn options_of(promise: Promise) -> PutOptions {
    PutOptions { durability: Some(promise.into()), ..PutOptions::default() }
}

/// Makes a value that does not compress.
fn fill(value: &mut [u8], seed: u64) {
    let mut rng = Rng::new(seed, 0);
    for chunk in value.chunks_mut(8) {
        chunk.copy_from_slice(&rng.word().to_le_bytes()[..chunk.len()]);
    }
}

/// Puts or gets until it is over. A refused call is counted, and takes the time that it takes.
fn client(options: &Options, row: Row, handle: ColdTierHandle, thread: u32, is_over: &AtomicBool) -> Tally {
    let mut rng = Rng::new(1, u64::from(thread));
    let mut value = vec![0; row.value_bytes as usize];
    fill(&mut value, u64::from(thread) << 32);
    let (mut found, before) = (Vec::new(), switches());
    let mut tally = Tally::default();
    let put_options = options_of(row.promise);
    while !is_over.load(Relaxed) {
        let key = (rng.below(u64::from(options.keys)) as u32).to_le_bytes();
        let begun = Instant::now();
        let is_done = if options.get {
            handle.get_into(&key, &mut found).is_ok()
        } else {
            handle.put_with(&key, &value, put_options).is_ok()
        };
        tally.longest = tally.longest.max(begun.elapsed());
        *if is_done { &mut tally.calls } else { &mut tally.refused } += 1;
    }
    tally.switches = switches().saturating_sub(before);
    tally
}

/// How often the kernel has taken the processor from this thread, or this thread has given it up; 0 where it does not tell.
fn switches() -> u64 {
    let status = fs::read_to_string("/proc/thread-self/status").unwrap_or_default();
    let lines = status.lines().filter(|line| line.contains("ctxt_switches"));
    lines.filter_map(|line| line.split_whitespace().last()?.parse::<u64>().ok()).sum()
}
