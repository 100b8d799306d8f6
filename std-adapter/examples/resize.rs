//! Seconds that a tier takes to open with another capacity.
//!
//! ```sh
//! cargo run --release -p coldpress-std --example resize
//! ```
//! A tier of 1 GiB is filled with 400 MiB of keys and values that do not compress. It is opened as it is, with 640 MiB, with 2
//! GiB, and with 1 TiB.

use core::error::Error;
use std::time::Instant;

use coldpress_std::{ColdTier, ColdTierConfig};

/// Bytes that do not compress.
fn fill(value: &mut [u8], seed: u64) {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    for byte in value {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        *byte = state.to_le_bytes()[3];
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let dir = tempfile::tempdir()?;
    for bytes in [100_u64, 4096] {
        let id = format!("values-of-{bytes}");
        let open = |mib: u64| {
            let config = ColdTierConfig::builder().base_dir(dir.path()).capacity_bytes(mib << 20).build()?;
            Ok::<_, Box<dyn Error>>(ColdTier::with_own_pools(config, &id)?)
        };
        let tier = open(1024)?;
        let keys = (400 << 20) / (8 + bytes);
        let mut value = vec![0; usize::try_from(bytes)?];
        for key in 0..keys {
            fill(&mut value, key);
            tier.put(&key.to_le_bytes(), &value)?;
        }
        tier.close()?;
        println!("{keys} values of {bytes} bytes");
        for mib in [1024, 640, 2048, 1 << 20] {
            let begun = Instant::now();
            let tier = open(mib)?;
            println!("  opened with {mib:>7} MiB in {:>6.2} s", begun.elapsed().as_secs_f64());
            assert_eq!(tier.len()?, keys);
            tier.close()?;
        }
    }
    Ok(())
}
