//! Measures the hit ratio and speed of the cache's hot tier beside other caches in memory: `cargo run --release
//! --manifest-path examples/hit-ratio/Cargo.toml --example hit_ratio [-- --trace TRACE]`.
//!
//! Each cache gets the same requests and the same limit on the same weights: the length of key and value, and 128 bytes. The hot tier
//! counts lengths as encoded, which differs by a few bytes. A read that misses puts the value. Each ratio is the median of three
//! runs, which differ by the hashers' seeds alone. A trace in the CloudPhysics format is measured where its path is given; its values
//! are cut to a sixteenth. `behind` is how many points the hot tier is behind the better one of quick_cache and moka.
#![forbid(unsafe_code)]

mod caches;
mod requests;
mod speed;

use core::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;

use self::caches::{Foyer, Hot, Moka, Quick};
use self::requests::{Requests, scanned, traced, zipf};

/// Hit ratio and speed of the hot tier beside quick_cache, moka and foyer-memory.
#[derive(Debug, Parser)]
struct Options {
    /// A trace in the CloudPhysics format (`version,time,op,size,lbn`).
    #[arg(long)]
    trace: Option<PathBuf>,
    /// Leaves the speeds out.
    #[arg(long)]
    ratios_only: bool,
}

/// The exit code where something failed.
const FAILED: u8 = 2;

/// The limits, in permille of the bytes that all keys take.
const LIMITS_PERMILLE: [u64; 4] = [10, 50, 100, 200];

/// Each ratio is the median of so many runs: the hashers draw new seeds.
const RUNS: usize = 3;

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("hit_ratio: {error}");
            ExitCode::from(FAILED)
        }
    }
}

fn run(options: &Options) -> Result<(), Box<dyn Error>> {
    let mut workloads = vec![zipf(0.99), scanned(0.99)];
    if let Some(trace) = &options.trace {
        workloads.push(traced(trace)?);
    }
    println!("hits among reads, in percent; each limit is in percent of the bytes that all keys take");
    println!(
        "{:<34}{:>8}{:>12}{:>12}{:>12}{:>14}{:>10}",
        "", "limit", "hot tier", "quick_cache", "moka", "foyer-memory", "behind"
    );
    for workload in &workloads {
        for limit_permille in LIMITS_PERMILLE {
            row(workload, limit_permille)?;
        }
    }
    if !options.ratios_only {
        speed::table()?;
    }
    Ok(())
}

fn row(workload: &Requests, limit_permille: u64) -> Result<(), Box<dyn Error>> {
    let limit = workload.bytes() * limit_permille / 1000;
    let hot = median(|| Ok(workload.hits(&Hot::open(limit)?)))?;
    let quick = median(|| Ok(workload.hits(&Quick::new(limit))))?;
    let moka = median(|| Ok(workload.hits(&Moka::new(limit))))?;
    let foyer = median(|| Ok(workload.hits(&Foyer::new(limit))))?;
    println!(
        "{:<34}{:>8.1}{:>12.2}{:>12.2}{:>12.2}{:>14.2}{:>10.2}",
        workload.name,
        limit_permille as f64 / 10.0,
        hot,
        quick,
        moka,
        foyer,
        quick.max(moka) - hot,
    );
    Ok(())
}

fn median(mut measure: impl FnMut() -> Result<f64, Box<dyn Error>>) -> Result<f64, Box<dyn Error>> {
    let mut all = (0..RUNS).map(|_| measure()).collect::<Result<Vec<_>, _>>()?;
    all.sort_by(f64::total_cmp);
    Ok(all[RUNS / 2])
}
