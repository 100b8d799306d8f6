//! Opening: the owner of the directory, its lock, and foreign files, which stay as they are.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::FileExt;
use std::path::Path;

use coldpress_std::{ColdTier, GetError, MountError, OpenError};

use crate::common::{SYNCED, open, pools, small, value};

#[test]
fn open_tier_opened_again_is_refused_until_it_is_closed() {
    let dir = tempfile::tempdir().unwrap();
    let (_manager, pools) = pools();
    let config = small().build().unwrap();
    let tier = open(dir.path(), &config, &pools);
    tier.put(b"a", b"1").unwrap();
    let second = ColdTier::open(dir.path(), "test", config.clone(), pools.clone());
    assert!(matches!(second, Err(OpenError::AlreadyOpen(_))));
    let other = ColdTier::open(dir.path(), "other", config.clone(), pools.clone()).unwrap();
    assert_eq!(other.get(b"a").unwrap(), None);
    assert_eq!(tier.get(b"a").unwrap(), Some(b"1".to_vec()));
    tier.close().unwrap();
    assert_eq!(open(dir.path(), &config, &pools).get(b"a").unwrap(), Some(b"1".to_vec()));
}

#[test]
fn foreign_directory_is_refused_untouched() {
    let dir = tempfile::tempdir().unwrap();
    let (_manager, pools) = pools();
    let theirs = dir.path().join("test");
    fs::create_dir(&theirs).unwrap();
    fs::write(theirs.join("notes.txt"), "mine").unwrap();
    // Other stores have a file of this name too.
    fs::write(theirs.join("LOCK"), "").unwrap();
    let refused = ColdTier::open(dir.path(), "test", small().build().unwrap(), pools);
    assert!(matches!(refused, Err(OpenError::Foreign(path)) if path == theirs));
    assert_eq!(theirs.read_dir().unwrap().count(), 2);
    assert_eq!(fs::read_to_string(theirs.join("notes.txt")).unwrap(), "mine");
}

#[test]
fn foreign_file_of_the_right_length_is_refused_untouched() {
    let (_manager, pools) = pools();
    let config = small().build().unwrap();
    let bytes = usize::try_from(config.capacity_bytes()).unwrap();
    for fill in [vec![0; bytes], value(1, 1, bytes)] {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("test").join("part-000.cold");
        fs::create_dir(path.parent().unwrap()).unwrap();
        fs::write(&path, &fill).unwrap();
        let refused = ColdTier::open(dir.path(), "test", config.clone(), pools.clone());
        assert!(matches!(refused, Err(OpenError::Mount(MountError::Foreign))));
        assert!(fs::read(&path).unwrap() == fill);
    }
}

#[test]
fn other_partitions_are_refused_and_the_right_ones_still_open() {
    let dir = tempfile::tempdir().unwrap();
    let (_manager, pools) = pools();
    let config = small().capacity_bytes(8 << 20).partitions(2).build().unwrap();
    let tier = open(dir.path(), &config, &pools);
    for key in 0..50u32 {
        tier.put(&key.to_le_bytes(), b"v").unwrap();
    }
    drop(tier);
    let refused = |config| ColdTier::open(dir.path(), "test", config, pools.clone()).unwrap_err();
    let error = refused(small().build().unwrap());
    assert!(matches!(error, OpenError::Partitions { expected: 1, found: 2 }), "{error}");
    let error = refused(small().partitions(3).build().unwrap());
    assert!(matches!(error, OpenError::Partitions { expected: 3, found: 2 }), "{error}");
    assert_eq!(open(dir.path(), &config, &pools).len().unwrap(), 50);
}

#[test]
fn partitions_of_two_stores_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (_manager, pools) = pools();
    let config = small().capacity_bytes(8 << 20).partitions(2).build().unwrap();
    for id in ["a", "b"] {
        let tier = ColdTier::open(dir.path(), id, config.clone(), pools.clone()).unwrap();
        for key in 0..50u32 {
            tier.put(&key.to_le_bytes(), b"v").unwrap();
        }
    }
    fs::copy(dir.path().join("b/part-001.cold"), dir.path().join("a/part-001.cold")).unwrap();
    let refused = ColdTier::open(dir.path(), "a", config, pools);
    assert!(matches!(refused, Err(OpenError::Mount(MountError::OtherStore))), "{refused:?}");
}

#[test]
fn only_partition_replaced_by_another_stores_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (_manager, pools) = pools();
    let config = small().build().unwrap();
    for id in ["a", "b"] {
        let tier = ColdTier::open(dir.path(), id, config.clone(), pools.clone()).unwrap();
        tier.put(id.as_bytes(), b"v").unwrap();
    }
    let (path, own) = (dir.path().join("a/part-000.cold"), dir.path().join("own"));
    fs::rename(&path, &own).unwrap();
    fs::copy(dir.path().join("b/part-000.cold"), &path).unwrap();
    let refused = ColdTier::open(dir.path(), "a", config.clone(), pools.clone());
    assert!(matches!(refused, Err(OpenError::Mount(MountError::OtherStore))), "{refused:?}");
    fs::rename(own, path).unwrap();
    assert!(ColdTier::open(dir.path(), "a", config, pools).unwrap().contains(b"a").unwrap());
}

#[test]
fn emptied_store_that_forgot_its_number_opens_under_a_new_one() {
    let dir = tempfile::tempdir().unwrap();
    let (_manager, pools) = pools();
    let config = small().schema("s").build().unwrap();
    for round in 0..4u32 {
        let tier = open(dir.path(), &config, &pools);
        tier.put_with(b"key", &round.to_le_bytes(), SYNCED).unwrap();
        if round == 1 {
            tier.close().unwrap();
            // An emptied log has markers, and no header that names a store.
            let path = dir.path().join("test/part-000.cold");
            let file = fs::OpenOptions::new().read(true).write(true).open(&path).unwrap();
            let mut marker = [0; 16];
            file.read_exact_at(&mut marker, 0).unwrap();
            let bytes = file.metadata().unwrap().len();
            file.set_len(0).unwrap();
            file.set_len(bytes).unwrap();
            file.write_all_at(&marker, 0).unwrap();
            assert!(open(dir.path(), &config, &pools).is_empty().unwrap());
        }
    }
}

#[test]
fn lost_partitions_are_reported_and_the_rest_kept() {
    let dir = tempfile::tempdir().unwrap();
    let (_manager, pools) = pools();
    let config = small().capacity_bytes(12 << 20).partitions(3).build().unwrap();
    let tier = open(dir.path(), &config, &pools);
    for key in 0..50u32 {
        tier.put(&key.to_le_bytes(), b"v").unwrap();
    }
    drop(tier);
    let path = dir.path().join("test");
    let name = |part: u16| format!("part-{part:03}.cold");
    let other = small().capacity_bytes(4 << 20).build().unwrap();
    for lost in [&[0, 1][..], &[0], &[1], &[0, 2]] {
        let kept: Vec<u16> = (0..3).filter(|part| !lost.contains(part)).collect();
        for part in lost {
            fs::rename(path.join(name(*part)), dir.path().join(name(*part))).unwrap();
        }
        let bytes = || kept.iter().map(|part| fs::read(path.join(name(*part))).unwrap()).collect::<Vec<_>>();
        let before = bytes();
        let names =
            || path.read_dir().unwrap().map(|entry| entry.unwrap().file_name()).collect::<BTreeSet<_>>();
        let there = names();
        for config in [&config, &other] {
            let refused = ColdTier::open(dir.path(), "test", config.clone(), pools.clone()).unwrap_err();
            let missing = path.join(name(lost[0]));
            assert!(matches!(&refused, OpenError::MissingPartition(path) if *path == missing), "{refused}");
            assert!(bytes() == before, "{lost:?}");
            assert_eq!(names(), there, "nothing was made");
        }
        for part in lost {
            fs::rename(dir.path().join(name(*part)), path.join(name(*part))).unwrap();
        }
    }
    assert_eq!(open(dir.path(), &config, &pools).len().unwrap(), 50);
}

#[test]
fn file_named_like_a_partition_is_reported_and_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let (_manager, pools) = pools();
    let config = small().build().unwrap();
    drop(open(dir.path(), &config, &pools));
    let stray = dir.path().join("test").join("part-1.cold");
    fs::write(&stray, "mine").unwrap();
    let refused = ColdTier::open(dir.path(), "test", config.clone(), pools.clone()).unwrap_err();
    assert!(matches!(&refused, OpenError::StrayPartition(path) if *path == stray), "{refused}");
    assert_eq!(fs::read_to_string(&stray).unwrap(), "mine");
    fs::remove_file(stray).unwrap();
    assert!(open(dir.path(), &config, &pools).is_empty().unwrap());
}

#[test]
fn making_cut_short_is_begun_anew() {
    let dir = tempfile::tempdir().unwrap();
    let (_manager, pools) = pools();
    let path = dir.path().join("test");
    fs::create_dir(&path).unwrap();
    fs::write(path.join("LOCK"), "").unwrap();
    fs::write(path.join("part-000.cold.new"), "half").unwrap();
    let config = small().build().unwrap();
    let tier = open(dir.path(), &config, &pools);
    tier.put_with(b"a", b"1", SYNCED).unwrap();
    drop(tier);
    assert!(!path.join("part-000.cold.new").exists());
    assert!(open(dir.path(), &config, &pools).contains(b"a").unwrap());
}

#[test]
fn making_cut_short_between_two_partitions_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let (_manager, pools) = pools();
    let config = small().capacity_bytes(12 << 20).partitions(3).build().unwrap();
    drop(open(dir.path(), &config, &pools));
    let path = dir.path().join("test");
    for name in ["part-000.cold", "part-001.cold"] {
        fs::rename(path.join(name), path.join(format!("{name}.new"))).unwrap();
    }
    // The metadata are written when all partitions are in their places.
    fs::remove_file(path.join("tier.meta")).unwrap();
    let tier = open(dir.path(), &config, &pools);
    tier.put_with(b"a", b"1", SYNCED).unwrap();
    drop(tier);
    assert!(open(dir.path(), &config, &pools).contains(b"a").unwrap());
}

#[test]
fn damaged_record_is_an_error_of_its_key_alone() {
    let dir = tempfile::tempdir().unwrap();
    let (_manager, pools) = pools();
    let config = small().keep_hot_values(false).build().unwrap();
    let tier = open(dir.path(), &config, &pools);
    for key in 0..400u32 {
        tier.put(&key.to_le_bytes(), &value(key, 0, 700)).unwrap();
    }
    tier.flush().unwrap();
    let path = dir.path().join("test").join("part-000.cold");
    let file = fs::OpenOptions::new().read(true).write(true).open(&path).unwrap();
    let bytes = fs::read(&path).unwrap();
    let wanted = value(7, 0, 700);
    let at = bytes.windows(64).position(|window| window == &wanted[..64]).unwrap();
    file.write_all_at(&[!bytes[at + 9]], at as u64 + 9).unwrap();
    let check = |tier: &ColdTier| {
        assert_eq!(tier.get(&7u32.to_le_bytes()), Err(GetError::Damaged));
        for key in (0..400u32).filter(|key| *key != 7) {
            assert_eq!(tier.get(&key.to_le_bytes()).unwrap(), Some(value(key, 0, 700)), "{key}");
        }
    };
    check(&tier);
    assert_eq!(tier.stats().damaged_reads, 1);
    drop(tier);
    let tier = open(dir.path(), &config, &pools);
    check(&tier);
    tier.put(&7u32.to_le_bytes(), b"mended").unwrap();
    assert_eq!(tier.get(&7u32.to_le_bytes()).unwrap(), Some(b"mended".to_vec()));
    drop(tier);
    let tier = open(dir.path(), &config, &pools);
    assert_eq!(tier.get(&7u32.to_le_bytes()).unwrap(), Some(b"mended".to_vec()));
}

#[test]
fn error_of_the_system_names_operation_path_and_code() {
    let dir = tempfile::tempdir().unwrap();
    let (_manager, pools) = pools();
    let config = small().build().unwrap();
    drop(open(dir.path(), &config, &pools));
    let (file, path) = (dir.path().join("file"), dir.path().join("test"));
    fs::write(&file, "x").unwrap();
    let refused = |base: &Path| match ColdTier::open(base, "test", config.clone(), pools.clone()) {
        Err(OpenError::Io(error)) => error,
        other => panic!("{other:?}"),
    };
    let error = refused(&file);
    assert_eq!((error.operation(), error.os_code()), ("make the directory", Some(20)));
    assert_eq!(
        error.to_string(),
        format!("can't make the directory {}: Not a directory (os error 20)", file.join("test").display())
    );
    assert_eq!(fs::read_to_string(&file).unwrap(), "x");
    // A directory in the place of each file of the tier.
    for (name, operation) in
        [("LOCK", "open for writing"), ("tier.meta", "read"), ("part-000.cold", "open for writing")]
    {
        fs::rename(path.join(name), dir.path().join(name)).unwrap();
        fs::create_dir(path.join(name)).unwrap();
        let error = refused(dir.path());
        assert_eq!(
            (error.operation(), error.path(), error.os_code()),
            (operation, &*path.join(name), Some(21))
        );
        assert!(error.to_string().ends_with("Is a directory (os error 21)"), "{error}");
        fs::remove_dir(path.join(name)).unwrap();
        fs::rename(dir.path().join(name), path.join(name)).unwrap();
    }
    drop(open(dir.path(), &config, &pools));
}
