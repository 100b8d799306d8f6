//! Runs the adapter in memory: `cargo run --release --example in-memory`.
//!
//! It fills a tier of 1 MiB, overwrites it until the machine has compacted it several times over, cuts the power and mounts the
//! medium again. Each figure that it prints is counted.

use core::error::Error;
use std::process::ExitCode;

use clap::Parser as _;
use coldpress_core::config::TierConfig;
use coldpress_core::drive::Now;
use coldpress_core::format::{Geometry, Identity, Store};
use coldpress_examples::bytes::{Buffers, Bytes};
use coldpress_examples::in_memory::InMemoryTier;
use coldpress_examples::measuring::InMemory;

/// Could not be carried out.
const FAILED: u8 = 2;

fn main() -> ExitCode {
    match run(&InMemory::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("in-memory: {error}");
            ExitCode::from(FAILED)
        }
    }
}

fn run(&InMemory { keys, rounds }: &InMemory) -> Result<(), Box<dyn Error>> {
    let geometry = Geometry::new(16 << 10, 64, 1, 0, Identity::KeyedHash)?;
    let config = TierConfig::new(geometry, Store { id: 1, hash_key: [7; 16], partition: 0, partitions: 1 });
    let mut buffers = Buffers::new(&config);
    let mut now = Now { monotonic_ms: 0, wall_s: 1_000 };
    let mut tier = InMemoryTier::open(config, &mut buffers, Bytes::blank(&geometry), now)?;
    for round in 0..rounds {
        for key in 0..keys {
            now.monotonic_ms += 1;
            tier.now = now;
            tier.set(&key.to_le_bytes(), Some(&[round.to_le_bytes()[0]; 100]), None).map_err(|error| {
                format!("key {key}, round {round}: {error}; if 1 MiB is full, give fewer `--keys`")
            })?;
        }
    }
    tier.sync();
    let counters = tier.machine.counters();
    println!("put {} records of {} bytes in all", counters.fresh_records, counters.fresh_bytes);
    println!("wrote {} bytes, erased {} segments", counters.bytes_written, counters.erases);
    let left = tier.medium;
    let mut buffers = Buffers::new(&config);
    let mut tier = InMemoryTier::open(config, &mut buffers, left, now)?;
    let last = rounds.saturating_sub(1).to_le_bytes()[0];
    let mut found = 0;
    for key in 0..keys {
        found += u32::from(tier.get(&key.to_le_bytes())? == Some(vec![last; 100]));
    }
    println!("after a cut {found} of {keys} keys have their last value");
    Ok(())
}
