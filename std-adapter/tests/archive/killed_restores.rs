//! Restores whose process is killed: the directory that they leave opens as no tier.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::Path;

use coldpress_std::archive::{self, RestorePoint};
use coldpress_std::inspect::TierFacts;
use coldpress_std::{ColdTier, ColdTierConfig, ColdTierConfigBuilder, OpenError};

use crate::common::{Doubtful, assert_all, block_on, prefix, put_all};

/// The files of a directory with their bytes, but for the lock, which every open makes.
fn files(dir: &Path) -> BTreeMap<OsString, Vec<u8>> {
    let entries = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name());
    entries
        .filter(|name| name != "LOCK")
        .map(|name| (name.clone(), std::fs::read(dir.join(name)).unwrap()))
        .collect()
}

fn write_all(dir: &Path, files: &BTreeMap<OsString, Vec<u8>>) {
    std::fs::create_dir(dir).unwrap();
    files.iter().for_each(|(name, bytes)| std::fs::write(dir.join(name), bytes).unwrap());
}

/// Asserts that a directory opens in no way, and that the attempts change no file.
fn assert_refused(base: &Path, name: &str, partitions: u16) {
    let path = base.join(name);
    let before = files(&path);
    let config = || small(partitions).base_dir(base);
    let opened = ColdTier::with_own_pools(config().build().unwrap(), name).map(drop);
    assert!(matches!(opened, Err(OpenError::MissingPartition(_))), "{name}: {opened:?}");
    let read_only = ColdTier::with_own_pools(config().read_only(true).build().unwrap(), name).map(drop);
    assert!(read_only.is_err(), "{name}");
    assert!(TierFacts::read(&path).is_err(), "{name}");
    assert!(files(&path) == before, "{name}: an open changed a file");
}

fn small(partitions: u16) -> ColdTierConfigBuilder {
    let config =
        ColdTierConfig::builder().capacity_bytes(u64::from(partitions) << 20).segment_bytes(64 << 10);
    config.partitions(partitions).value_bytes_max(8 << 10)
}

#[test]
fn killed_restore_opens_as_no_tier_at_any_step() {
    for partitions in [1, 2] {
        let dir = tempfile::tempdir().unwrap();
        let base = dir.path().to_path_buf();
        let tier = ColdTier::with_own_pools(small(partitions).base_dir(&base).build().unwrap(), "t").unwrap();
        put_all(&tier, 0..300, 0);
        let store = Doubtful::new();
        block_on(archive::backup(&tier.handle(), &store, &prefix())).unwrap();
        let mut cuts = 0;
        // Before every object: the files as a kill leaves them there.
        for operation in 0.. {
            let (to, cut) = (base.join(format!("r{operation}")), format!("cut{operation}"));
            let (seen, copy) = (to.clone(), base.join(&cut));
            store.call_at(operation, move || {
                for left in archive::unfinished_restores(&seen).unwrap() {
                    write_all(&copy, &files(&left));
                }
            });
            block_on(archive::restore(&store, &prefix(), &to, RestorePoint::Newest)).unwrap();
            let has_run = operation < store.operations();
            if base.join(&cut).exists() {
                assert_refused(&base, &cut, partitions);
                cuts += 1;
            }
            if !has_run {
                break;
            }
        }
        assert!(cuts > 3, "{cuts} objects");
        // Between the last objects and the end: any of the files has its name already.
        let whole = files(&base.join("r0"));
        for named in 0..1 << partitions {
            let name = format!("named{named}");
            let mut left = whole.clone();
            for partition in (0..partitions).filter(|partition| named & 1 << partition == 0) {
                let part = format!("part-{partition:03}.cold");
                let bytes = left.remove(OsStr::new(&part)).unwrap();
                left.insert(format!("{part}.new").into(), bytes);
            }
            write_all(&base.join(&name), &left);
            if named + 1 < 1 << partitions {
                assert_refused(&base, &name, partitions);
            } else {
                let config = small(partitions).base_dir(&base).build().unwrap();
                assert_all(&ColdTier::with_own_pools(config, &name).unwrap(), 0..300, 0);
            }
        }
    }
}
