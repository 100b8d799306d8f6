//! Reading a tier without writing a byte to it.

use core::time::Duration;
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{FileExt as _, MetadataExt as _, PermissionsExt as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use coldpress_std::compaction::{CompactionError, CompactionTask};
use coldpress_std::{
    ColdTier, ColdTierConfigBuilder, GetError, OpenError, PersistentColdTier, PutError, RemoveError,
    TierError,
};

use crate::common::{PATIENCE, open, pools, small, value};

const DIR: &str = "COLDPRESS_READ_ONLY_DIR";

/// Everything of a directory that a write would change: names, bytes, lengths, blocks, times of change.
fn state(path: &Path) -> BTreeMap<PathBuf, (Vec<u8>, [i64; 4])> {
    let entries = path.read_dir().unwrap().map(|entry| entry.unwrap().path());
    let of = |path: PathBuf| {
        let metadata = path.metadata().unwrap();
        let blocks = i64::try_from(metadata.blocks()).unwrap();
        let times = [blocks, metadata.mtime(), metadata.mtime_nsec(), metadata.ctime_nsec()];
        (path.clone(), (fs::read(&path).unwrap_or_default(), times))
    };
    entries.map(of).chain([of(path.to_path_buf())]).collect()
}

/// Overwrites, removes, and lets some expire, so that a running machine would compact.
fn fill(dir: &Path, config: &ColdTierConfigBuilder) {
    let (_manager, pools) = pools();
    let tier = open(dir, &config.clone().build().unwrap(), &pools);
    for round in 0..3 {
        for key in 0..600u32 {
            tier.put(&key.to_le_bytes(), &value(key, round, 900)).unwrap();
        }
    }
    for key in 500..600u32 {
        tier.remove(&key.to_le_bytes()).unwrap();
    }
    tier.flush().unwrap();
    tier.close().unwrap();
}

fn check(tier: &ColdTier) {
    assert_eq!(tier.len().unwrap(), 500);
    for key in 0..600u32 {
        let expected = (key < 500).then(|| value(key, 2, 900));
        assert_eq!(tier.get(&key.to_le_bytes()).unwrap(), expected, "{key}");
    }
    assert_eq!(tier.keys().map(Result::unwrap).count(), 500);
}

#[test]
fn tier_opened_for_reading_is_read_and_nothing_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let config = small().partitions(2).capacity_bytes(8 << 20).ttl(Duration::from_secs(900));
    fill(dir.path(), &config);
    let path = dir.path().join("test");
    // The state of a copy after a cut: no lock file, and the header of a segment half written.
    fs::remove_file(path.join("LOCK")).unwrap();
    let config = config.build().unwrap();
    let part = fs::OpenOptions::new().read(true).write(true).open(path.join("part-001.cold")).unwrap();
    let segment = u64::from(config.segment_bytes());
    let mut marker = [0; 16];
    let is_free = |at: &u64| {
        let mut bytes = vec![0; config.segment_bytes() as usize];
        part.read_exact_at(&mut bytes, *at).unwrap();
        bytes[16..].iter().all(|byte| *byte == 0)
    };
    let free = (0..u64::from(config.segment_count())).rev().map(|n| n * segment).find(is_free).unwrap();
    part.read_exact_at(&mut marker, free).unwrap();
    part.write_all_at(b"cp", free + 16).unwrap();
    let before = state(&path);
    let (_manager, pools) = pools();
    let config = small().partitions(2).capacity_bytes(8 << 20).ttl(Duration::from_secs(900)).read_only(true);
    let config = config.build().unwrap();
    let tier = open(dir.path(), &config, &pools);
    check(&tier);
    assert_eq!(tier.put(b"new", b"v"), Err(PutError::Tier(TierError::ReadOnly)));
    assert_eq!(tier.remove(&1u32.to_le_bytes()), Err(RemoveError::Tier(TierError::ReadOnly)));
    assert_eq!(tier.put_batch(&[(b"a", b"b")], Default::default()).unwrap_err().index, 0);
    assert_eq!(tier.give_up_unread(), Err(TierError::ReadOnly));
    assert_eq!((tier.flush(), tier.confirm_clock()), (Ok(()), Ok(())));
    let refused = CompactionError::Tier(TierError::ReadOnly);
    let compaction = tier.compaction();
    assert_eq!(compaction.run_compaction(CompactionTask::CompactData, PATIENCE).unwrap_err(), refused);
    assert_eq!(compaction.start_background_worker(), Err(refused));
    assert!(!compaction.has_background_worker());
    assert_eq!(tier.segments().unwrap().len(), 2 * config.segment_count() as usize);
    // Others may read it too, and nobody may write it.
    let other = open(dir.path(), &config, &pools);
    check(&other);
    let writer = small().partitions(2).capacity_bytes(8 << 20).build().unwrap();
    let held = ColdTier::open(dir.path(), "test", writer.clone(), pools.clone());
    assert!(matches!(held, Err(OpenError::AlreadyOpen(_))), "{held:?}");
    std::thread::sleep(Duration::from_millis(1_200));
    other.close().unwrap();
    tier.close().unwrap();
    fs::remove_file(path.join("LOCK")).unwrap_or_default();
    let after = state(&path);
    assert!(before.keys().eq(after.keys()), "{:?}", after.keys());
    for (name, (bytes, times)) in &before {
        assert!(*bytes == after[name].0, "{name:?} has other bytes");
        if name.is_file() {
            assert_eq!(*times, after[name].1, "{name:?}");
        }
    }
    let tier = open(dir.path(), &writer, &pools);
    check(&tier);
    let reader = ColdTier::open(dir.path(), "test", config, pools.clone());
    assert!(matches!(reader, Err(OpenError::AlreadyOpen(_))), "it would change under its reader");
}

#[test]
fn read_only_tier_that_is_not_there_is_not_made() {
    let dir = tempfile::tempdir().unwrap();
    let (_manager, pools) = pools();
    let config = small().base_dir(dir.path()).read_only(true).build().unwrap();
    for made in [None, Some("test")] {
        if let Some(name) = made {
            fs::create_dir(dir.path().join(name)).unwrap();
        }
        let refused = PersistentColdTier::<u32, u32>::new(config.clone(), "test", pools.clone());
        assert!(
            matches!(&refused, Err(OpenError::Io(error)) if error.kind() == std::io::ErrorKind::NotFound),
            "{refused:?}"
        );
    }
    assert_eq!(dir.path().join("test").read_dir().unwrap().count(), 0);
    // An empty tier is read all the same.
    fs::remove_dir(dir.path().join("test")).unwrap();
    drop(open(dir.path(), &small().build().unwrap(), &pools));
    let tier: PersistentColdTier<u32, u32> = PersistentColdTier::new(config, "test", pools).unwrap();
    assert_eq!((tier.get(&1), tier.len()), (Ok(None), Ok(0)));
    assert_eq!(tier.put(&1, &1), Err(PutError::Tier(TierError::ReadOnly)));
    let handle = tier.handle();
    tier.close().unwrap();
    assert_eq!(handle.get(&1), Err(GetError::Tier(TierError::Closed)));
}

#[test]
fn child_reads_a_tier_that_it_may_not_write() {
    let Some(dir) = std::env::var_os(DIR) else { return };
    let (dir, (_manager, pools)) = (PathBuf::from(dir), pools());
    let refused = ColdTier::open(&dir, "test", small().build().unwrap(), pools.clone()).unwrap_err();
    let OpenError::NotWritable(error) = &refused else { panic!("{refused}") };
    assert_eq!((error.operation(), error.os_code()), ("open for writing", Some(13)));
    assert_eq!(
        refused.to_string(),
        format!(
            "can't open for writing {}: Permission denied (os error 13); to open the tier for reading only, set \
             `read_only(true)` in its configuration",
            dir.join("test/LOCK").display()
        )
    );
    check(&open(&dir, &small().read_only(true).build().unwrap(), &pools));
    println!("\nread");
}

/// The superuser may always write, so the child runs as another user then.
#[test]
fn directory_that_may_not_be_written_names_the_setting() {
    let dir = tempfile::tempdir().unwrap();
    fill(dir.path(), &small());
    let (path, program) = (dir.path().join("test"), dir.path().join("suite"));
    fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    for file in path.read_dir().unwrap().map(|entry| entry.unwrap().path()) {
        fs::set_permissions(file, fs::Permissions::from_mode(0o444)).unwrap();
    }
    for dir in [&path, dir.path()] {
        fs::set_permissions(dir, fs::Permissions::from_mode(0o555)).unwrap();
    }
    let mut child = Command::new(&program);
    child
        .args(["--exact", "read_only::child_reads_a_tier_that_it_may_not_write", "--nocapture"])
        .env(DIR, dir.path());
    if dir.path().metadata().unwrap().uid() == 0 {
        child.uid(65_534).gid(65_534);
    }
    let out = child.output().unwrap();
    for dir in [dir.path(), &path] {
        fs::set_permissions(dir, fs::Permissions::from_mode(0o755)).unwrap();
    }
    let said = String::from_utf8_lossy(&out.stdout);
    assert!(
        out.status.success() && said.contains("\nread\n"),
        "{said}{}",
        String::from_utf8_lossy(&out.stderr)
    );
}
