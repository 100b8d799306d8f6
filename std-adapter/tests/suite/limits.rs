//! A configuration never changes stored values: limits are for new writes.

use std::fs;
use std::path::Path;

use coldpress_core::format::Header;
use coldpress_core::recovery::MountError;
use coldpress_std::{ColdTier, ColdTierConfig, CompactionTask, ConfigError, OpenError, PutError};

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
    // Nothing was written meanwhile, so the files are of one moment.
    fs::remove_file(left.join("test/LOCK")).unwrap();
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

// Without the rule the worker allocates for such a record, up to the end of the process, and dies of an impossible
// configuration.
#[test]
fn header_that_tells_an_impossible_record_is_refused_by_name() {
    let (_manager, pools) = pools();
    let dir = tempfile::tempdir().unwrap();
    let config = config(1_000);
    let tier = open(dir.path(), &config, &pools);
    tier.put_with(b"key", b"value", SYNCED).unwrap();
    tier.close().unwrap();
    let path = dir.path().join("test/part-000.cold");
    let mut bytes = fs::read(&path).unwrap();
    let mut changed = 0;
    for at in 0..bytes.len() {
        if !bytes[at..].starts_with(b"cp") {
            continue;
        }
        let Ok((geometry, header)) = Header::probe(&bytes[at..]) else { continue };
        let header = Header { record_bytes_max: u32::MAX, ..header };
        let (made, len) = header.encode(&geometry);
        bytes[at..at + len].copy_from_slice(&made[..len]);
        changed += 1;
    }
    assert!(changed > 0);
    fs::write(&path, &bytes).unwrap();
    let refused = ColdTier::open(dir.path(), "test", config, pools.clone()).map(drop);
    match refused {
        Err(OpenError::Mount(MountError::LongerRecords { stored: u32::MAX, .. })) => {}
        other => panic!("{other:?}"),
    }
    assert_eq!(fs::read(&path).unwrap(), bytes, "it is left as it is");
}

#[test]
fn tier_below_100_kb_takes_a_value_or_is_refused() {
    let (_manager, pools) = pools();
    let (mut built, mut refused) = (0, 0);
    for segment_bytes in [256, 512, 1024, 2048, 4096] {
        for capacity_bytes in (10_000..100_000).step_by(22_500) {
            let builder = || ColdTierConfig::builder().segment_bytes(segment_bytes).op_timeout(PATIENCE);
            let config = match builder().capacity_bytes(capacity_bytes).build() {
                Ok(config) => config,
                Err(ConfigError::CapacityTooSmall { min, .. }) => {
                    refused += 1;
                    builder().capacity_bytes(min).build().unwrap()
                }
                Err(error) => {
                    assert!(
                        matches!(error, ConfigError::Geometry(_) | ConfigError::ValueBytes { .. }),
                        "{error}"
                    );
                    continue;
                }
            };
            built += 1;
            let dir = tempfile::tempdir().unwrap();
            let tier = open(dir.path(), &config, &pools);
            let bytes = vec![7; config.value_bytes_max().min(32) as usize];
            for _ in 0..3 {
                let said = format!("{capacity_bytes} bytes in segments of {segment_bytes}");
                tier.put_with(b"k", &bytes, SYNCED).expect(&said);
                assert_eq!(tier.get(b"k").unwrap(), Some(bytes.clone()), "{said}");
            }
        }
    }
    assert!(built > 0 && refused > 0);
}
