//! Pages that the system keeps in memory: an orderly close keeps them for the next open, and a doubt drops them (rule 9).

use std::fs::File;
use std::io::{BufRead as _, BufReader, IoSliceMut};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use coldpress_std::{CodecId, ColdTier, ColdTierConfig, OpenError};
use rustix::io::ReadWriteFlags;

use crate::common::{self, SYNCED, eventually, open, small, value};

const PAGE_BYTES: u64 = 4096;

/// Whether a page of a file is in memory. It is not read from the disk for that.
fn is_in_memory(file: &File, at: u64) -> bool {
    let mut byte = [0];
    rustix::io::preadv2(file, &mut [IoSliceMut::new(&mut byte)], at, ReadWriteFlags::NOWAIT) == Ok(1)
}

/// The pages of a file that are not in a hole: those would be made in memory at once.
fn pages(file: &File) -> Vec<u64> {
    use rustix::fs::{SeekFrom, seek};
    let (mut pages, mut at) = (Vec::new(), 0);
    while let Ok(start) = seek(file, SeekFrom::Data(at)) {
        at = seek(file, SeekFrom::Hole(start)).unwrap();
        pages.extend((start..at).step_by(PAGE_BYTES as usize));
    }
    pages
}

/// Percent of the pages with data that are in memory.
fn percent_in_memory(path: &Path) -> u64 {
    let file = File::open(path).unwrap();
    let pages = pages(&file);
    pages.iter().filter(|at| is_in_memory(&file, **at)).count() as u64 * 100 / pages.len() as u64
}

/// Whether pages can be dropped here: a filesystem in memory keeps them all.
fn can_drop(dir: &Path) -> bool {
    let path = dir.join("probe");
    std::fs::write(&path, [1; PAGE_BYTES as usize]).unwrap();
    let file = File::open(&path).unwrap();
    file.sync_all().unwrap();
    rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed).unwrap();
    let is_dropped = !is_in_memory(&file, 0);
    std::fs::remove_file(path).unwrap();
    is_dropped
}

const KEYS: u32 = 400;

fn config() -> ColdTierConfig {
    small().capacity_bytes(8 << 20).codec(CodecId::Raw).keep_hot_values(false).build().unwrap()
}

/// Puts all values, of which most of the file consists then.
fn put_all(tier: &ColdTier) {
    for key in 0..KEYS {
        tier.put(&key.to_le_bytes(), &value(key, 0, 8_000)).unwrap();
    }
}

/// Makes a tier with all values, and closes it; returns the file.
fn closed_tier(dir: &Path) -> PathBuf {
    let (_manager, pools) = common::pools();
    let tier = open(dir, &config(), &pools);
    put_all(&tier);
    tier.close().unwrap();
    dir.join("test/part-000.cold")
}

/// Opens the tier, calls, checks all values, and closes it.
fn reopened<R>(dir: &Path, call: impl FnOnce() -> R) -> R {
    let (_manager, pools) = common::pools();
    let tier = open(dir, &config(), &pools);
    let result = call();
    for key in 0..KEYS {
        assert_eq!(tier.get(&key.to_le_bytes()).unwrap(), Some(value(key, 0, 8_000)));
    }
    tier.close().unwrap();
    result
}

#[test]
fn pages_in_memory_stay_after_an_orderly_close() {
    let dir = tempfile::tempdir().unwrap();
    let path = closed_tier(dir.path());
    for _ in 0..3 {
        let before = percent_in_memory(&path);
        assert!(before > 90, "{before} %");
        let after = reopened(dir.path(), || percent_in_memory(&path));
        assert!(after >= before, "{before} % before, {after} % after");
        let note = std::fs::read_to_string(dir.path().join("test/LOCK")).unwrap();
        assert!(note.starts_with("settled 1\n"), "{note}");
    }
}

#[test]
fn pages_in_memory_are_dropped_where_the_close_is_in_doubt() {
    let dir = tempfile::tempdir().unwrap();
    if !can_drop(dir.path()) {
        println!("this filesystem keeps all pages in memory");
        return;
    }
    let path = closed_tier(dir.path());
    let lock = dir.path().join("test/LOCK");
    let doubts: [&dyn Fn(); 4] = [
        // A process that was killed leaves its number.
        &|| std::fs::write(&lock, "4194304\n").unwrap(),
        &|| std::fs::remove_file(&lock).unwrap(),
        &|| {
            let note = std::fs::read_to_string(&lock).unwrap();
            std::fs::write(&lock, note.replacen("settled 1", "settled 2", 1)).unwrap();
        },
        // Another process wrote to the file, with the same bytes.
        &|| {
            let file = File::options().read(true).write(true).open(&path).unwrap();
            let mut bytes = [0; 16];
            std::os::unix::fs::FileExt::read_exact_at(&file, &mut bytes, 0).unwrap();
            std::os::unix::fs::FileExt::write_all_at(&file, &bytes, 0).unwrap();
        },
    ];
    for (at, doubt) in doubts.iter().enumerate() {
        // All of it is read back into memory.
        reopened(dir.path(), || ());
        let before = percent_in_memory(&path);
        doubt();
        let after = reopened(dir.path(), || percent_in_memory(&path));
        // The mount read headers and footers back.
        assert!(after * 4 < before * 3, "doubt {at}: {before} % before, {after} % after");
    }
}

#[test]
fn open_that_failed_uses_the_note_up() {
    let dir = tempfile::tempdir().unwrap();
    closed_tier(dir.path());
    let (_manager, pools) = common::pools();
    let lock = dir.path().join("test/LOCK");
    let other = small().capacity_bytes(8 << 20).partitions(2).build().unwrap();
    let refused = ColdTier::open(dir.path(), "test", other, pools);
    assert!(matches!(refused, Err(OpenError::Partitions { .. })), "{refused:?}");
    assert!(std::fs::read_to_string(&lock).unwrap().starts_with("not settled\n"));
    reopened(dir.path(), || ());
    assert!(std::fs::read_to_string(&lock).unwrap().starts_with("settled 1\n"));
}

#[test]
fn tier_dropped_without_writes_is_settled_again() {
    let dir = tempfile::tempdir().unwrap();
    let path = closed_tier(dir.path());
    let (_manager, pools) = common::pools();
    let tier = open(dir.path(), &config(), &pools);
    tier.put_with(b"one", b"more", SYNCED).unwrap();
    drop(tier);
    // A drop closes it, too.
    let before = percent_in_memory(&path);
    assert!(reopened(dir.path(), || percent_in_memory(&path)) >= before);
}

const CHILD_DIR: &str = "COLDPRESS_PAGES_DIR";

#[test]
fn child_puts_all_and_waits_to_be_killed() {
    let Some(dir) = std::env::var_os(CHILD_DIR) else { return };
    let (_manager, pools) = common::pools();
    let tier = open(Path::new(&dir), &config(), &pools);
    put_all(&tier);
    tier.flush().unwrap();
    println!("\nflushed");
    // Waits until the parent kills it.
    std::io::stdin().read_line(&mut String::new()).unwrap();
}

/// Runs a process that puts all values, and kills it while no sync is under way.
fn kill_a_writer(dir: &Path) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "page_cache::child_puts_all_and_waits_to_be_killed", "--nocapture"])
        .env(CHILD_DIR, dir)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let out = BufReader::new(child.stdout.as_mut().unwrap());
    assert!(out.lines().any(|line| line.unwrap() == "flushed"), "the child did not put the values");
    let is_sound = || std::fs::read_to_string(dir.join("test/LOCK")).unwrap().contains("\nin use 1 .\n");
    eventually("no sync is under way", is_sound);
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn pages_in_memory_stay_after_a_kill_between_syncs() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("test/part-000.cold");
    for _ in 0..2 {
        kill_a_writer(dir.path());
        let before = percent_in_memory(&path);
        let after = reopened(dir.path(), || percent_in_memory(&path));
        assert!(before > 90 && after + 5 >= before, "{before} % before, {after} % after");
    }
}

#[test]
fn pages_in_memory_are_dropped_after_a_kill_in_a_sync() {
    let dir = tempfile::tempdir().unwrap();
    if !can_drop(dir.path()) {
        println!("this filesystem keeps all pages in memory");
        return;
    }
    kill_a_writer(dir.path());
    let (path, lock) = (dir.path().join("test/part-000.cold"), dir.path().join("test/LOCK"));
    let note = std::fs::read_to_string(&lock).unwrap();
    std::fs::write(&lock, note.replacen("in use 1 .", "in use 1 ?", 1)).unwrap();
    let before = percent_in_memory(&path);
    let after = reopened(dir.path(), || percent_in_memory(&path));
    assert!(before > 90 && after * 4 < before * 3, "{before} % before, {after} % after");
}
