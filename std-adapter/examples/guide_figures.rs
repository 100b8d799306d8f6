//! Prints the figures of the guide: `cargo run --release -p coldpress-std --example guide_figures -- 1000000`, with a number of keys.

use core::error::Error;
use core::time::Duration;
use std::path::Path;
use std::time::Instant;

use coldpress_std::{CodecId, ColdTier, ColdTierConfig, ColdTierConfigBuilder, Durability, PutOptions};

const LENGTHS: [u32; 6] = [16, 64, 256, 512, 1024, 4096];
const CAPACITIES: [u64; 5] = [2 << 20, 16 << 20, 64 << 20, 1 << 30, 16 << 30];

fn builder(base_dir: &Path) -> ColdTierConfigBuilder {
    ColdTierConfig::builder().base_dir(base_dir).codec(CodecId::Raw)
}

/// Percent of the capacity that values fill, by capacity and length of the values.
fn shares(base_dir: &Path) -> Result<(), Box<dyn Error>> {
    for capacity in CAPACITIES {
        let config = builder(base_dir).capacity_bytes(capacity).build()?;
        let share = |bytes| config.usable_bytes(8, bytes) * 100 / config.capacity_bytes();
        let shares: Vec<_> = LENGTHS.iter().map(|bytes| share(*bytes).to_string()).collect();
        println!(
            "{} MiB, segments of {} KiB: {} %",
            capacity >> 20,
            config.segment_bytes() >> 10,
            shares.join(" ")
        );
    }
    Ok(())
}

/// Memory of the process, as the system counts it.
fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    kib.unwrap_or(0) << 10
}

/// Steps in which a tier is filled to measure its memory: the second half of them doubles its keys.
const STEPS: u64 = 64;

/// Bytes of the index and of the process for each key, at the end and averaged over the last doubling.
fn memory(base_dir: &Path, keys: u64) -> Result<(), Box<dyn Error>> {
    let capacity = (keys * 160).max(64 << 20);
    let builder = || builder(base_dir).capacity_bytes(capacity);
    let tier = ColdTier::with_own_pools(builder().build()?, "memory")?;
    // The first keys bring the buffers and threads, which do not grow with the keys.
    (0..1000u64).try_for_each(|key| tier.put(&key.to_le_bytes(), &[7; 64]))?;
    tier.flush()?;
    let before = resident_bytes();
    let (mut of_index, mut resident, mut longest) = (0.0, 0.0, Duration::ZERO);
    for step in 1..=STEPS {
        let to = keys * step / STEPS;
        for key in keys * (step - 1) / STEPS..to {
            let begun = Instant::now();
            tier.put(&key.to_le_bytes(), &[7; 64])?;
            longest = longest.max(begun.elapsed());
        }
        tier.flush()?;
        let per_key = |bytes: u64| bytes as f64 / to.max(1) as f64;
        let (index, process) =
            (per_key(tier.stats().index_bytes), per_key(resident_bytes().saturating_sub(before)));
        if step > STEPS / 2 {
            (of_index, resident) = (of_index + index, resident + process);
        }
        if step % (STEPS / 8) == 0 {
            println!("{to} keys: index {index:.1} bytes a key, resident {process:.1}");
        }
    }
    let half = STEPS as f64 / 2.0;
    println!("over the last doubling: index {:.1}, resident {:.1}", of_index / half, resident / half);
    println!("longest put {longest:?}");
    let begun = Instant::now();
    tier.close()?;
    println!("closed in {:?}", begun.elapsed());
    let begun = Instant::now();
    let tier = ColdTier::with_own_pools(builder().build()?, "memory")?;
    println!("opened with {} keys in {:?}", tier.len()?, begun.elapsed());
    Ok(tier.close()?)
}

/// Bytes written for each byte put, where keys of a tier of 64 MiB are overwritten at random, by the share of the capacity in
/// use.
fn overwrites(base_dir: &Path) -> Result<(), Box<dyn Error>> {
    let config = builder(base_dir).capacity_bytes(64 << 20).build()?;
    for bytes in [64u32, 512] {
        for percent in [100, 95, 90, 80] {
            let name = format!("overwrites-{bytes}-{percent}");
            let tier = ColdTier::with_own_pools(config.clone(), &name)?;
            let keys = config.usable_bytes(8, bytes) / u64::from(8 + bytes) * percent / 100;
            let put = |key: u64, fill: u8| tier.put(&key.to_le_bytes(), &vec![fill; bytes as usize]);
            (0..keys).try_for_each(|key| put(key, 1))?;
            // Counted once the log is in its lasting state: after as many overwrites as there are keys.
            let mut state = 1u64;
            let mut overwrite = |count: u64| {
                (0..count).try_for_each(|_| {
                    state =
                        state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                    put((state >> 33) % keys, 2)
                })
            };
            overwrite(keys)?;
            tier.flush()?;
            let before = tier.stats();
            let begun = Instant::now();
            overwrite(keys / 2)?;
            tier.flush()?;
            let after = tier.stats();
            let written = after.bytes_written - before.bytes_written;
            let tenths = written * 10 / (after.fresh_bytes - before.fresh_bytes).max(1);
            let (whole, tenth) = (tenths / 10, tenths % 10);
            let a_second = keys as f64 / 2.0 / begun.elapsed().as_secs_f64();
            println!(
                "{bytes} bytes, {percent} % full: {whole}.{tenth} written for each, {a_second:.0} puts a second"
            );
            tier.close()?;
        }
    }
    Ok(())
}

fn micros(mut times: Vec<Duration>) -> String {
    times.sort_unstable();
    let at = |permille: usize| times.get(times.len() * permille / 1000).map_or(0, Duration::as_micros);
    format!("p50 {} p99 {} p99.9 {} µs of {}", at(500), at(990), at(999), times.len())
}

/// How long puts of one thread, each waiting for its own durability, and gets take.
fn latencies(base_dir: &Path) -> Result<(), Box<dyn Error>> {
    let config = builder(base_dir).capacity_bytes(256 << 20).keep_hot_values(false).build()?;
    let tier = ColdTier::with_own_pools(config, "latencies")?;
    let value = [7; 1024];
    for (durability, calls) in
        [(Durability::Buffered, 100_000u32), (Durability::Flushed, 20_000), (Durability::Synced, 1_000)]
    {
        let options = PutOptions { durability: Some(durability), ..PutOptions::default() };
        let mut times = Vec::new();
        for key in 0..calls {
            let begun = Instant::now();
            tier.put_with(&key.to_le_bytes(), &value, options)?;
            times.push(begun.elapsed());
        }
        println!("put {durability:?}: {}", micros(times));
    }
    tier.flush()?;
    let mut times = Vec::new();
    for key in 0..100_000u32 {
        let key = key.wrapping_mul(0x9E37_79B1) % 100_000;
        let begun = Instant::now();
        tier.get(&key.to_le_bytes())?;
        times.push(begun.elapsed());
    }
    println!("get from the page cache: {}", micros(times));
    Ok(tier.close()?)
}

/// Puts of values of so many bytes by one thread, of which all or none are unchanged: how many a second, and the bytes that
/// they write and read.
fn unchanged(base_dir: &Path, bytes: usize, skips: bool, all: bool) -> Result<(), Box<dyn Error>> {
    const KEYS: u32 = 10_000;
    const ROUNDS: u32 = 20;
    let config = builder(base_dir).capacity_bytes(256 << 20).skip_unchanged(skips).build()?;
    let tier = ColdTier::with_own_pools(config, &format!("unchanged-{bytes}-{skips}-{all}"))?;
    let mut value = vec![7; bytes];
    let mut round = |number: u32| -> Result<Duration, Box<dyn Error>> {
        let begun = Instant::now();
        for key in 0..KEYS {
            if let Some(first) = value.first_chunk_mut() {
                *first = (if all { 0 } else { number }).to_le_bytes();
            }
            tier.put(&key.to_le_bytes(), &value)?;
        }
        tier.flush_to(Durability::Flushed)?;
        Ok(begun.elapsed())
    };
    round(0)?;
    let before = tier.stats();
    let mut took = Duration::ZERO;
    for number in 1..=ROUNDS {
        took += round(number)?;
    }
    let after = tier.stats();
    println!(
        "puts of {bytes} bytes, {} % unchanged, skip_unchanged({skips}): {:.0} a second, written {} bytes a put, read {}, skipped {} %",
        if all { 100 } else { 0 },
        f64::from(KEYS * ROUNDS) / took.as_secs_f64(),
        (after.bytes_written - before.bytes_written) / u64::from(KEYS * ROUNDS),
        (after.bytes_read - before.bytes_read) / u64::from(KEYS * ROUNDS),
        (after.unchanged_puts - before.unchanged_puts) * 100 / u64::from(KEYS * ROUNDS),
    );
    Ok(tier.close()?)
}

fn main() -> Result<(), Box<dyn Error>> {
    let keys = std::env::args().nth(1).and_then(|count| count.parse().ok()).unwrap_or(1_000_000);
    let dir = tempfile::tempdir()?;
    shares(dir.path())?;
    overwrites(dir.path())?;
    memory(dir.path(), keys)?;
    latencies(dir.path())?;
    for bytes in [100, 4096] {
        for (skips, all) in [(false, true), (true, true), (false, false), (true, false)] {
            unchanged(dir.path(), bytes, skips, all)?;
        }
    }
    Ok(())
}
