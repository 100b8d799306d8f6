//! A configuration never changes what is stored: limits are for new writes.

use std::fs;
use std::path::Path;

use coldpress_std::{ColdTierConfig, CompactionTask, PutError};

use crate::common::{PATIENCE, SYNCED, open, pools, small, value};

const LONG: usize = 300_000;
const KEYS: u32 = 40;

fn config(value_bytes_max: u32) -> ColdTierConfig {
    let builder = small().capacity_bytes(32 << 20).segment_bytes(1 << 20);
    builder.value_bytes_max(value_bytes_max).build().unwrap()
}

/// Every third value compresses to next to nothing.
fn long_value(key: u32) -> Vec<u8> {
    if key.is_multiple_of(3) { vec![7; LONG] } else { value(key, 0, LONG) }
}

/// Leaves the directory as a process does that is killed: its copy is made while the tier is open.
fn leave(open_dir: &Path, left: &Path) {
    fs::create_dir_all(left.join("test")).unwrap();
    for entry in fs::read_dir(open_dir.join("test")).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), left.join("test").join(entry.file_name())).unwrap();
    }
}

#[test]
fn lowered_value_limit_keeps_every_stored_value() {
    let (_manager, pools) = pools();
    for is_killed in [true, false] {
        let (dir, left) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let tier = open(dir.path(), &config(LONG as u32), &pools);
        for key in 0..KEYS {
            tier.put_with(&key.to_le_bytes(), &long_value(key), SYNCED).unwrap();
        }
        leave(dir.path(), left.path());
        tier.close().unwrap();
        let dir = if is_killed { left.path() } else { dir.path() };
        for round in 0..2 {
            let tier = open(dir, &config(1_000), &pools);
            assert_eq!(tier.len(), Ok(u64::from(KEYS) + round));
            for task in [CompactionTask::CompactData, CompactionTask::RebuildIndex] {
                let report = tier.compaction().run_compaction(task, PATIENCE).unwrap();
                assert_eq!(report.damaged_records, 0, "{task:?}");
            }
            for key in 0..KEYS {
                let found = tier.get(&key.to_le_bytes()).unwrap();
                assert!(found == Some(long_value(key)), "key {key}, killed {is_killed}");
            }
            let refused = tier.put(b"new", &[1; 1_001]);
            assert!(matches!(refused, Err(PutError::ValueTooLong { bytes: 1_001, max: 1_000 })));
            tier.put(b"new", &[1; 1_000]).unwrap();
            tier.close().unwrap();
        }
    }
}

#[test]
fn overwritten_long_values_leave_with_the_lowered_limit() {
    let (_manager, pools) = pools();
    let dir = tempfile::tempdir().unwrap();
    let tier = open(dir.path(), &config(LONG as u32), &pools);
    for key in 0..KEYS {
        tier.put(&key.to_le_bytes(), &long_value(key)).unwrap();
    }
    tier.close().unwrap();
    let tier = open(dir.path(), &config(1_000), &pools);
    for key in 0..KEYS / 2 {
        tier.put(&key.to_le_bytes(), b"short").unwrap();
    }
    tier.compaction().run_compaction(CompactionTask::CompactData, PATIENCE).unwrap();
    tier.close().unwrap();
    let tier = open(dir.path(), &config(1_000), &pools);
    for key in 0..KEYS {
        let expected = if key < KEYS / 2 { b"short".to_vec() } else { long_value(key) };
        assert!(tier.get(&key.to_le_bytes()).unwrap() == Some(expected), "key {key}");
    }
}
