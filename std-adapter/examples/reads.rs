//! Counts and times puts and gets of one thread, for `perf` and `callgrind` too.
//!
//! ```text
//! cargo run --release -p coldpress-std --example reads -- DIR fill BYTES KEYS CODEC   puts KEYS values, and closes
//! cargo run --release -p coldpress-std --example reads -- DIR puts BYTES KEYS COUNT   opens, and overwrites COUNT at random
//! cargo run --release -p coldpress-std --example reads -- DIR gets BYTES KEYS COUNT   opens, and gets COUNT at random
//! cargo run --release -p coldpress-std --example reads -- DIR hot BYTES KEYS COUNT    the same, of 1,000 keys that are in the pools
//! cargo run --release -p coldpress-std --example reads -- DIR held BYTES KEYS COUNT   gets all keys four times, then COUNT at random
//! cargo run --release -p coldpress-std --example reads -- DIR wide BYTES KEYS COUNT   the same, with pools for as many values as keys
//! ```
//! Half of each value compresses, or nothing where the codec is `lz4-random`; `puts` are raw. Instructions an operation are the
//! difference of two runs with different counts: `valgrind --tool=callgrind target/release/examples/reads DIR gets 100 100000 20000`.
//! With `--separate-threads=yes` each thread has a file of its own: of puts, the main thread is the client, and the thread whose
//! functions are those of `coldpress_std::worker` is the worker. New keys are those of `fill`, in a directory that isn't there yet.

use core::error::Error;
use core::time::Duration;
use std::path::Path;
use std::time::Instant;

use coldpress_std::pool::{AllocationManager, PoolConfig};
use coldpress_std::{CodecId, ColdTier, ColdTierConfig, Durability};

/// A generator of random numbers (SplitMix64).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ mixed >> 31
    }

    /// A number below `end`.
    fn below(&mut self, end: u64) -> u64 {
        self.next() % end.max(1)
    }
}

/// Writes the value of a key: random bytes, then zeroes where some of it is to compress.
fn fill(key: u64, is_random: bool, value: &mut [u8]) {
    let mut random = Random(key);
    let random_bytes = if is_random { value.len() } else { value.len().div_ceil(2) };
    value.iter_mut().take(random_bytes).for_each(|byte| *byte = random.next().to_le_bytes()[0]);
}

fn config(dir: &Path, bytes: u64, keys: u64, codec: CodecId) -> Result<ColdTierConfig, Box<dyn Error>> {
    let capacity = (keys * (bytes + 64) * 3 / 2).max(64 << 20);
    Ok(ColdTierConfig::builder().base_dir(dir).capacity_bytes(capacity).codec(codec).build()?)
}

fn open(dir: &Path, bytes: u64, keys: u64, codec: CodecId) -> Result<ColdTier, Box<dyn Error>> {
    Ok(ColdTier::with_own_pools(config(dir, bytes, keys, codec)?, "reads")?)
}

fn a_second(count: u64, took: Duration) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "counts stay below 2^53")]
    let count = count as f64;
    count / took.as_secs_f64()
}

fn puts(
    dir: &Path,
    bytes: u64,
    keys: u64,
    codec: &str,
    put: impl Iterator<Item = u64>,
) -> Result<(), Box<dyn Error>> {
    let is_random = codec == "lz4-random";
    let codec = if codec == "raw" { CodecId::Raw } else { CodecId::Lz4 };
    let tier = open(dir, bytes, keys, codec)?;
    let mut values = vec![vec![0; usize::try_from(bytes)?]; 1024];
    (0..).zip(&mut values).for_each(|(key, value)| fill(key, is_random, value));
    let (mut count, begun) = (0, Instant::now());
    for (key, value) in put.zip(values.iter().cycle()) {
        count += 1;
        tier.put(&key.to_le_bytes(), value)?;
    }
    tier.flush_to(Durability::Flushed)?;
    let took = begun.elapsed();
    let encoded = tier.stats().fresh_bytes / count.max(1);
    tier.close()?;
    println!("puts: {:.0} a second, {encoded} bytes a record", a_second(count, took));
    Ok(())
}

/// Opens with pools of the default capacity, for so many values and a quarter more, since partitions fill unevenly.
fn open_wide(
    dir: &Path,
    bytes: u64,
    keys: u64,
) -> Result<(ColdTier, Option<AllocationManager>), Box<dyn Error>> {
    let pools = PoolConfig::builder().objects_max(u32::try_from(keys + keys / 4)?).build()?;
    let (manager, pools) = AllocationManager::new(&pools)?;
    Ok((ColdTier::new(config(dir, bytes, keys, CodecId::Raw)?, "reads", pools)?, Some(manager)))
}

fn gets(
    (tier, manager): (ColdTier, Option<AllocationManager>),
    keys: u64,
    (before, count): (u64, u64),
    mut key: impl FnMut(u64) -> u64,
) -> Result<(), Box<dyn Error>> {
    let (handle, mut value) = (tier.handle(), Vec::new());
    let begun = Instant::now();
    handle.get_into(&0u64.to_le_bytes(), &mut value)?;
    let first = begun.elapsed();
    for number in 0..before {
        handle.get_into(&(number % keys).to_le_bytes(), &mut value)?;
    }
    let (begun, mut read) = (Instant::now(), 0);
    for number in 0..count {
        read += u64::from(handle.get_into(&key(number).to_le_bytes(), &mut value)?);
    }
    let took = begun.elapsed();
    let stats = tier.stats();
    println!(
        "first get in {first:?}, {:.0} gets a second, {read} values, {} from the pools, {} bytes read",
        a_second(count, took),
        stats.hot_hits,
        stats.bytes_read
    );
    tier.close()?;
    // The pools stay open as long as the tier.
    drop(manager);
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [dir, what, bytes, keys, last] = arguments.as_slice() else {
        return Err("DIR (fill|puts|gets|hot|held|wide) BYTES KEYS (CODEC|COUNT)".into());
    };
    let (dir, bytes, keys) = (Path::new(dir), bytes.parse()?, keys.parse()?);
    let mut random = Random(7);
    let open_raw = || {
        let begun = Instant::now();
        let tier = open(dir, bytes, keys, CodecId::Raw)?;
        println!("opened in {:?}", begun.elapsed());
        Ok::<_, Box<dyn Error>>((tier, None))
    };
    match what.as_str() {
        "fill" => puts(dir, bytes, keys, last, 0..keys),
        "puts" => puts(dir, bytes, keys, "raw", (0..last.parse()?).map(|_: u64| random.below(keys))),
        "gets" => gets(open_raw()?, keys, (0, last.parse()?), |_| random.below(keys)),
        "hot" => gets(open_raw()?, keys, (0, last.parse()?), |number| number % keys.min(1_000)),
        "held" => gets(open_raw()?, keys, (4 * keys, last.parse()?), |_| random.below(keys)),
        "wide" => gets(open_wide(dir, bytes, keys)?, keys, (4 * keys, last.parse()?), |_| random.below(keys)),
        other => Err(format!("{other} is none of fill, puts, gets, hot, held, wide").into()),
    }
}
