//! Copies of a tier's directory: one of a closed tier opens with all that it held, and one of two moments is refused.

mod closed;
mod open;

use core::time::Duration;
use std::fs;
use std::path::Path;

use coldpress_std::{
    CodecId, ColdTier, ColdTierConfig, ColdTierConfigBuilder, Durability, OpenError, PutOptions, Ttl,
};

const SEGMENT_BYTES: u32 = 64 << 10;
const SYNCED: PutOptions = PutOptions { ttl: Ttl::Configured, durability: Some(Durability::Synced) };
/// Longer than any step takes on a slow and busy machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// Two partitions of 32 segments.
fn config(base: &Path) -> ColdTierConfigBuilder {
    let config =
        ColdTierConfig::builder().base_dir(base).capacity_bytes(4 << 20).segment_bytes(SEGMENT_BYTES);
    let config = config.partitions(2).op_timeout(PATIENCE).close_timeout(PATIENCE);
    config.codec(CodecId::Raw).value_bytes_max(100 << 10).keep_hot_values(false)
}

fn open(base: &Path, name: &str) -> Result<ColdTier, OpenError> {
    ColdTier::with_own_pools(config(base).build().unwrap(), name)
}

/// Bytes that show their key and round.
fn value(key: u32, round: u32, len: usize) -> Vec<u8> {
    let mut state = u64::from(key) << 32 | u64::from(round) | 1;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3]
    };
    core::iter::repeat_with(next).take(len).collect()
}

/// Copies the files of a directory.
fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    let mut names: Vec<_> = fs::read_dir(from).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    for name in names {
        fs::copy(from.join(&name), to.join(&name)).unwrap();
    }
}
