//! Costs of open tiers: milliseconds, resident memory, file descriptors.
//!
//! ```sh
//! cargo run --release -p coldpress-std --example open_cost            # 64 tiers in the registry
//! cargo run --release -p coldpress-std --example open_cost -- 1024
//! ```
//! A tier of 1 GiB that holds nothing, made and opened again; a registry of such tiers; a sparse one of 512 GiB with 1,000 keys.

use std::path::Path;
use std::time::Instant;

use coldpress_std::pool::{AllocationManager, PoolConfig, PoolCoordinator};
use coldpress_std::{ColdTier, ColdTierConfig, ColdTierCoordinator, Error};

/// Resident KiB of this process, and its open files.
fn held() -> (i64, usize) {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
    let kib = line.split_whitespace().next().and_then(|kib| kib.parse().ok()).unwrap_or(0);
    (kib, std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count))
}

fn say(what: &str, begun: Instant, before: (i64, usize), tiers: i64) {
    let ms = begun.elapsed().as_secs_f64() * 1e3;
    let (kib, files) = held();
    let (kib, files) = ((kib - before.0) / tiers, files.saturating_sub(before.1));
    println!("{what:<40} {ms:>10.1} ms {kib:>8} KiB a tier {files:>6} files");
}

fn open(
    base: &Path,
    config: &ColdTierConfig,
    pools: &PoolCoordinator,
    what: &str,
) -> Result<ColdTier, Error> {
    let (begun, before) = (Instant::now(), held());
    let tier = ColdTier::open(base, "t", config.clone(), pools.clone())?;
    say(what, begun, before, 1);
    Ok(tier)
}

fn main() -> Result<(), Error> {
    let tiers = std::env::args().nth(1).and_then(|count| count.parse().ok()).unwrap_or(64);
    let dir = tempfile::tempdir()?;
    let (_manager, pools) = AllocationManager::new(&PoolConfig::builder().build()?)?;
    let config = ColdTierConfig::builder().build()?;
    open(&dir.path().join("empty"), &config, &pools, "1 GiB, made")?.close()?;
    let tier = open(&dir.path().join("empty"), &config, &pools, "1 GiB, nothing in it, opened again")?;
    let before = held();
    tier.put(b"key", b"value")?;
    tier.flush()?;
    say("the first put", Instant::now(), before, 1);
    tier.close()?;

    let large = ColdTierConfig::builder().capacity_bytes(512 << 30).build()?;
    let base = dir.path().join("large");
    let tier = open(&base, &large, &pools, "512 GiB, made")?;
    for key in 0..1_000u32 {
        tier.put(&key.to_le_bytes(), &[7; 100])?;
    }
    tier.close()?;
    open(&base, &large, &pools, "512 GiB, 1,000 keys, opened again")?.close()?;

    let (_registry, coordinator) = ColdTierCoordinator::new(config)?;
    let (begun, before) = (Instant::now(), held());
    for tier in 0..tiers {
        coordinator.open(dir.path(), &format!("tier-{tier}"), pools.clone())?;
    }
    say(&format!("a registry of {tiers}"), begun, before, tiers);
    Ok(())
}
