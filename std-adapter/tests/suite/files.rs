//! The files of a tier: their access, their locks, and their loss.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use coldpress_std::{
    CloseError, ColdTier, ColdTierConfig, ColdTierCoordinator, CompactionError, CompactionTask, Durability,
    InitError, OpenError, PutError, RemoveError, TierError, init_cold_tier,
};

use crate::common::{FLUSHED, PATIENCE, SYNCED, eventually, open, pools, small, value};

const LOST: TierError = TierError::FileLost;
const DOOMED: &[u8] = b"doomed";
const DIR: &str = "COLDPRESS_FILES_DIR";
const MODE: &str = "COLDPRESS_FILES_MODE";

fn access(path: &Path) -> u32 {
    path.metadata().unwrap().mode() & 0o777
}

#[test]
fn child_makes_a_tier_under_its_umask() {
    let (Some(dir), Ok(mode)) = (std::env::var_os(DIR), std::env::var(MODE)) else { return };
    let (_manager, pools) = pools();
    let config = small().capacity_bytes(8 << 20).partitions(2);
    let config =
        if mode.is_empty() { config } else { config.file_mode(u32::from_str_radix(&mode, 8).unwrap()) };
    let tier = open(&Path::new(&dir).join("a/b"), &config.schema("s").build().unwrap(), &pools);
    tier.put_with(b"key", b"value", SYNCED).unwrap();
    tier.close().unwrap();
}

#[test]
fn files_made_under_any_umask_have_the_mode_configured() {
    for (umask, mode, file, in_dir) in [
        ("000", "", 0o600, 0o700),
        ("022", "", 0o600, 0o700),
        ("077", "660", 0o660, 0o770),
        ("777", "644", 0o644, 0o755),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let status = Command::new("sh")
            .args(["-c", "umask $0; exec \"$@\"", umask])
            .arg(std::env::current_exe().unwrap())
            .args(["--exact", "files::child_makes_a_tier_under_its_umask", "--test-threads", "1"])
            .env(DIR, dir.path())
            .env(MODE, mode)
            .output()
            .unwrap();
        assert!(status.status.success(), "{}", String::from_utf8_lossy(&status.stdout));
        let tier = dir.path().join("a/b/test");
        for made in [&dir.path().join("a"), &dir.path().join("a/b"), &tier] {
            assert_eq!(access(made), in_dir, "umask {umask}: {}", made.display());
        }
        let mut names: Vec<_> = tier.read_dir().unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, ["LOCK", "part-000.cold", "part-001.cold", "tier.meta"]);
        for name in names {
            assert_eq!(access(&tier.join(&name)), file, "umask {umask}: {}", name.display());
        }
    }
}

#[test]
fn files_of_an_existing_tier_keep_their_access() {
    let dir = tempfile::tempdir().unwrap();
    let (_manager, pools) = pools();
    let config = small().build().unwrap();
    drop(open(dir.path(), &config, &pools));
    let tier = dir.path().join("test");
    let names = ["", "LOCK", "part-000.cold"];
    for name in names {
        fs::set_permissions(tier.join(name), fs::Permissions::from_mode(0o755)).unwrap();
    }
    drop(open(dir.path(), &config, &pools));
    assert!(names.iter().all(|name| access(&tier.join(name)) == 0o755));
}

#[test]
fn lock_file_deleted_keeps_a_second_opener_out() {
    let dir = tempfile::tempdir().unwrap();
    let (_manager, pools) = pools();
    let config = small().capacity_bytes(8 << 20).partitions(2).build().unwrap();
    let tier = open(dir.path(), &config, &pools);
    let path = dir.path().join("test");
    for name in ["LOCK", "tier.meta"] {
        fs::remove_file(path.join(name)).unwrap();
        let second = ColdTier::open(dir.path(), "test", config.clone(), pools.clone());
        assert!(
            matches!(&second, Err(OpenError::AlreadyOpen(held)) if held.path() == path),
            "{name}: {second:?}"
        );
    }
    tier.put_with(b"key", b"value", SYNCED).unwrap();
    tier.close().unwrap();
    assert!(open(dir.path(), &config, &pools).contains(b"key").unwrap());
}

#[test]
fn partition_moved_elsewhere_while_open_stays_locked() {
    let dir = tempfile::tempdir().unwrap();
    let (_manager, pools) = pools();
    let config = small().build().unwrap();
    let tier = open(dir.path(), &config, &pools);
    tier.put_with(b"key", b"value", SYNCED).unwrap();
    let other = dir.path().join("other");
    fs::create_dir(&other).unwrap();
    fs::hard_link(dir.path().join("test/part-000.cold"), other.join("part-000.cold")).unwrap();
    let second = || ColdTier::open(dir.path(), "other", config.clone(), pools.clone());
    assert!(matches!(&second(), Err(OpenError::AlreadyOpen(held)) if held.path() == other), "{:?}", second());
    tier.put_with(b"more", b"value", SYNCED).unwrap();
    tier.close().unwrap();
    assert!(second().unwrap().contains(b"more").unwrap());
}

/// A way to take a file from an open tier.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Loss {
    Deleted,
    Moved,
    Replaced,
    CutShort,
    DirectoryMoved,
    DirectoryDeleted,
    DirectoryReplaced,
}

impl Loss {
    const ALL: [Self; 7] = [
        Self::Deleted,
        Self::Moved,
        Self::Replaced,
        Self::CutShort,
        Self::DirectoryMoved,
        Self::DirectoryDeleted,
        Self::DirectoryReplaced,
    ];

    fn happen(self, base: &Path, file: &str) {
        let (dir, moved) = (base.join("test"), base.join("moved"));
        let path = dir.join(file);
        match self {
            Self::Deleted => fs::remove_file(path).unwrap(),
            Self::Moved => fs::rename(path, moved).unwrap(),
            Self::Replaced => {
                fs::copy(&path, &moved).unwrap();
                fs::rename(moved, path).unwrap();
            }
            Self::CutShort => fs::File::options().write(true).open(path).unwrap().set_len(1 << 20).unwrap(),
            Self::DirectoryMoved => fs::rename(dir, moved).unwrap(),
            Self::DirectoryDeleted => fs::remove_dir_all(dir).unwrap(),
            Self::DirectoryReplaced => {
                fs::rename(&dir, &moved).unwrap();
                fs::create_dir(&dir).unwrap();
                fs::copy(moved.join(file), path).unwrap();
            }
        }
    }
}

/// Two partitions, so that some keys lie in the one whose file stays.
fn two() -> ColdTierConfig {
    small().capacity_bytes(8 << 20).partitions(2).keep_hot_values(false).build().unwrap()
}

fn filled(base: &Path, config: &ColdTierConfig, pools: &coldpress_std::pool::PoolCoordinator) -> ColdTier {
    let tier = open(base, config, pools);
    for key in 0..40u32 {
        tier.put(&key.to_le_bytes(), &value(key, 0, 900)).unwrap();
    }
    tier.flush().unwrap();
    tier
}

#[test]
fn file_taken_away_is_reported_by_the_next_durable_operation() {
    type Promise = (&'static str, fn(&ColdTier) -> Result<(), TierError>);
    let promises: [Promise; 6] = [
        ("flush", |tier| tier.flush()),
        ("flush to the system", |tier| tier.flush_to(Durability::Flushed)),
        ("put, synced", |tier| put_everywhere(tier, SYNCED)),
        ("put, flushed", |tier| put_everywhere(tier, FLUSHED)),
        ("remove", |tier| match tier.remove_with(DOOMED, Durability::Synced) {
            Err(RemoveError::Tier(error)) => Err(error),
            other => panic!("{other:?}"),
        }),
        ("task", |tier| match tier.compaction().run_compaction(CompactionTask::CompactData, PATIENCE) {
            Err(CompactionError::Tier(error)) => Err(error),
            other => panic!("{other:?}"),
        }),
    ];
    let (_manager, pools) = pools();
    for loss in Loss::ALL {
        for (name, promise) in promises {
            let base = tempfile::tempdir().unwrap();
            let one = small().keep_hot_values(false).build().unwrap();
            // Of two partitions the key may lie in the other one.
            let (config, file) =
                if name == "remove" { (one, "part-000.cold") } else { (two(), "part-001.cold") };
            let tier = filled(base.path(), &config, &pools);
            tier.put_with(DOOMED, b"v", SYNCED).unwrap();
            loss.happen(base.path(), file);
            assert_eq!(promise(&tier), Err(LOST), "{loss:?}, {name}");
            check_refused(&tier, loss);
            assert_eq!(tier.close(), Err(CloseError::FileLost), "{loss:?}, {name}");
        }
    }
}

/// Puts until every partition has got one.
fn put_everywhere(tier: &ColdTier, options: coldpress_std::PutOptions) -> Result<(), TierError> {
    (100..140u32).try_for_each(|key| match tier.put_with(&key.to_le_bytes(), b"new", options) {
        Err(PutError::Tier(error)) => Err(error),
        other => {
            other.unwrap();
            Ok(())
        }
    })
}

/// After the first report of the loss nothing is written to any partition, and reads go on.
fn check_refused(tier: &ColdTier, loss: Loss) {
    assert!(!tier.is_open(), "{loss:?}");
    for key in 200..220u32 {
        assert_eq!(tier.put(&key.to_le_bytes(), b"v"), Err(PutError::Tier(LOST)), "{loss:?}");
        assert_eq!(tier.remove(&key.to_le_bytes()), Err(RemoveError::Tier(LOST)), "{loss:?}");
    }
    assert_eq!(
        (tier.flush(), tier.segments().unwrap_err(), tier.confirm_clock()),
        (Err(LOST), LOST, Err(LOST))
    );
    let scheduled = tier.compaction().schedule_compaction(CompactionTask::CompactData);
    assert_eq!(scheduled, Err(CompactionError::Tier(LOST)));
    for key in 0..40u32 {
        match tier.get(&key.to_le_bytes()) {
            Ok(found) => assert_eq!(found, Some(value(key, 0, 900)), "{loss:?}: key {key}"),
            Err(error) => assert_eq!(loss, Loss::CutShort, "key {key}: {error}"),
        }
    }
}

#[test]
fn file_taken_away_is_reported_by_the_close() {
    let (_manager, pools) = pools();
    for loss in Loss::ALL {
        let base = tempfile::tempdir().unwrap();
        let tier = filled(base.path(), &two(), &pools);
        loss.happen(base.path(), "part-000.cold");
        assert_eq!(tier.close(), Err(CloseError::FileLost), "{loss:?}");
    }
}

#[test]
fn file_taken_from_an_idle_tier_is_noticed() {
    let (_manager, pools) = pools();
    let base = tempfile::tempdir().unwrap();
    let tier = filled(base.path(), &two(), &pools);
    Loss::Moved.happen(base.path(), "part-001.cold");
    eventually("it is noticed though nobody writes", || !tier.is_open());
    // A file that is put back may have changed.
    fs::rename(base.path().join("moved"), base.path().join("test/part-001.cold")).unwrap();
    assert_eq!((tier.flush(), tier.close()), (Err(LOST), Err(CloseError::FileLost)));
    let tier = open(base.path(), &two(), &pools);
    assert_eq!(tier.len().unwrap(), 40);
    tier.close().unwrap();
}

#[test]
fn client_that_waits_for_space_gets_the_error_of_a_lost_file() {
    let (_manager, pools) = pools();
    let base = tempfile::tempdir().unwrap();
    let config = small().pending_bytes_max(1 << 16).value_bytes_max(20_000).build().unwrap();
    let tier = open(base.path(), &config, &pools);
    Loss::DirectoryDeleted.happen(base.path(), "part-000.cold");
    std::thread::scope(|scope| {
        for thread in 0..3u32 {
            let handle = tier.handle();
            scope.spawn(move || {
                let refused = (0..).find_map(|n| handle.put(&value(n, thread, 8), &value(n, 0, 9_000)).err());
                assert_eq!(refused, Some(PutError::Tier(LOST)));
            });
        }
    });
    assert_eq!(tier.close(), Err(CloseError::FileLost));
}

#[test]
fn partition_deleted_while_closed_is_reported_even_if_alone() {
    let (_manager, pools) = pools();
    for partitions in [1, 2] {
        let base = tempfile::tempdir().unwrap();
        let config = small().capacity_bytes(8 << 20).partitions(partitions).build().unwrap();
        filled(base.path(), &config, &pools).close().unwrap();
        // All of them, or the last one alone.
        for lost in [&["part-000.cold", "part-001.cold"][2 - usize::from(partitions)..], &["part-001.cold"]] {
            let paths: Vec<PathBuf> = lost.iter().map(|name| base.path().join("test").join(name)).collect();
            let paths: Vec<_> = paths.into_iter().filter(|path| path.exists()).collect();
            let Some(first) = paths.first() else { continue };
            for path in &paths {
                fs::rename(path, base.path().join(path.file_name().unwrap())).unwrap();
            }
            let refused = ColdTier::open(base.path(), "test", config.clone(), pools.clone()).unwrap_err();
            assert!(matches!(&refused, OpenError::MissingPartition(path) if path == first), "{refused}");
            for path in &paths {
                fs::rename(base.path().join(path.file_name().unwrap()), path).unwrap();
            }
        }
        assert_eq!(open(base.path(), &config, &pools).len().unwrap(), 40);
    }
}

#[test]
fn registry_forgets_a_tier_whose_directory_was_removed() {
    let base = tempfile::tempdir().unwrap();
    let (_manager, pools) = pools();
    let (_registry, coordinator) = ColdTierCoordinator::new(small().build().unwrap()).unwrap();
    let old = init_cold_tier(&coordinator, base.path(), "docs", pools.clone()).unwrap();
    old.put_with(b"key", b"value", SYNCED).unwrap();
    for is_alerted in [false, true] {
        let before = init_cold_tier(&coordinator, base.path(), "docs", pools.clone()).unwrap();
        fs::remove_dir_all(base.path().join("docs")).unwrap();
        if is_alerted {
            assert_eq!(before.flush(), Err(LOST));
        }
        let new = init_cold_tier(&coordinator, base.path(), "docs", pools.clone()).unwrap();
        assert!(new.is_open() && !before.is_open() && new.is_empty().unwrap());
        assert_eq!(before.put(b"key", b"value"), Err(PutError::Tier(TierError::Closed)));
        new.put_with(b"new", b"value", SYNCED).unwrap();
    }
    fs::remove_dir_all(base.path().join("docs")).unwrap();
    let closed = coordinator.close(base.path(), "docs");
    assert!(matches!(closed, Err(InitError::Close(CloseError::FileLost))), "{closed:?}");
}

#[test]
fn empty_base_directory_is_refused_before_anything_is_made() {
    let (_manager, pools) = pools();
    let id = "coldpress-test-of-an-empty-base";
    let refused = ColdTier::open(Path::new(""), id, small().build().unwrap(), pools.clone());
    assert!(matches!(refused, Err(OpenError::NoBaseDir)), "{refused:?}");
    let config = small().base_dir("").build().unwrap();
    let typed = coldpress_std::PersistentColdTier::<u8, u8>::new(config, id, pools);
    assert!(matches!(typed, Err(OpenError::NoBaseDir)), "{typed:?}");
    assert!(!Path::new(id).exists());
}
