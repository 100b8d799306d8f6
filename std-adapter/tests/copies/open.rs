//! Copies that are taken while clients write.

use core::sync::atomic::{AtomicBool, AtomicU32, Ordering::SeqCst};
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;

use coldpress_std::inspect::TierFacts;
use coldpress_std::{ColdTier, Durability, OpenError};

use crate::{SYNCED, config, copy, open, value};

const KEYS: u32 = 200;
const COPIES: usize = 40;

/// Puts a version under every key, with a mark of the last round that is durable.
fn write_round(tier: &ColdTier, round: u32) {
    for key in 0..KEYS {
        tier.put(&key.to_le_bytes(), &value(key, round, 2_000)).unwrap();
    }
    tier.put_with(b"round", &round.to_le_bytes(), SYNCED).unwrap();
}

fn assert_refused(base: &Path, name: &str) {
    let lock = fs::read(base.join(name).join("LOCK")).unwrap();
    for is_read_only in [false, true] {
        let config = config(base).read_only(is_read_only).build().unwrap();
        let refused = ColdTier::with_own_pools(config, name);
        let Err(OpenError::Copied(path)) = &refused else { panic!("{refused:?}") };
        assert_eq!(*path, base.join(name));
        let said = refused.unwrap_err().to_string();
        assert!(said.contains("restore a backup") && said.contains("/LOCK"), "{said}");
    }
    assert!(fs::read(base.join(name).join("LOCK")).unwrap() == lock);
    assert!(TierFacts::read(&base.join(name)).unwrap().is_doubtful_copy);
}

#[test]
fn copy_of_an_open_tier_is_refused_at_any_moment() {
    let dir = tempfile::tempdir().unwrap();
    let tier = open(dir.path(), "test").unwrap();
    write_round(&tier, 0);
    let (rounds, is_over) = (AtomicU32::new(0), AtomicBool::new(false));
    let (mut behind, mut lost) = (0, 0);
    thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let handle = tier.handle();
            for round in 1.. {
                for key in 0..KEYS {
                    handle.put(&key.to_le_bytes(), &value(key, round, 2_000)).unwrap();
                }
                handle.put_with(b"round", &round.to_le_bytes(), SYNCED).unwrap();
                rounds.store(round, SeqCst);
                if is_over.load(SeqCst) {
                    break;
                }
            }
        });
        for _ in 0..COPIES {
            let synced = rounds.load(SeqCst);
            copy(&dir.path().join("test"), &dir.path().join("copy"));
            assert_refused(dir.path(), "copy");
            // The reason: without the note of LOCK, such copies open, and some lack what was synced before they were begun.
            fs::remove_file(dir.path().join("copy/LOCK")).unwrap();
            if let Ok(copied) = open(dir.path(), "copy") {
                let versions = (0..KEYS).map(|key| {
                    let found = copied.get(&key.to_le_bytes()).ok().flatten()?;
                    (0..=rounds.load(SeqCst) + 1).rev().find(|round| found == value(key, *round, 2_000))
                });
                let versions: Vec<_> = versions.collect();
                lost += usize::from(versions.iter().any(Option::is_none));
                behind += usize::from(versions.iter().flatten().any(|version| *version < synced));
                copied.close().unwrap();
            }
            fs::remove_dir_all(dir.path().join("copy")).unwrap();
        }
        is_over.store(true, SeqCst);
        writer.join().unwrap();
    });
    println!(
        "without LOCK, of {COPIES} copies {lost} lacked a key, and {behind} had an older value than one that was synced"
    );
    tier.close().unwrap();
    copy(&dir.path().join("test"), &dir.path().join("copy"));
    let copied = open(dir.path(), "copy").unwrap();
    let last = rounds.load(SeqCst);
    assert!((0..KEYS).all(|key| copied.get(&key.to_le_bytes()).unwrap() == Some(value(key, last, 2_000))));
}

/// The order of files in a copy differs from program to program.
#[test]
fn tier_that_opens_or_closes_during_the_copy_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (from, to) = (dir.path().join("test"), dir.path().join("copy"));
    let names = ["LOCK", "part-000.cold", "part-001.cold", "tier.meta"];
    let mut round = 0;
    let mut next = || {
        round += 1;
        round
    };
    for is_opened in [true, false] {
        for first in 0..names.len() {
            for files_before in 1..names.len() {
                let tier = open(dir.path(), "test").unwrap();
                write_round(&tier, next());
                let mut tier = Some(tier);
                if is_opened {
                    tier.take().unwrap().close().unwrap();
                }
                fs::create_dir(&to).unwrap();
                let order = names.iter().cycle().skip(first).take(names.len());
                for (at, name) in order.enumerate() {
                    if at == files_before && is_opened {
                        tier = Some(open(dir.path(), "test").unwrap());
                        write_round(tier.as_ref().unwrap(), next());
                    } else if at == files_before {
                        let tier = tier.take().unwrap();
                        write_round(&tier, next());
                        tier.close().unwrap();
                    }
                    fs::copy(from.join(name), to.join(name)).unwrap();
                }
                match open(dir.path(), "copy") {
                    Err(OpenError::Copied(_)) => {}
                    // All files that the tier writes to are of one close.
                    Ok(copied) => {
                        let found = copied.get(b"round").unwrap().unwrap();
                        let round = u32::from_le_bytes(found.try_into().unwrap());
                        for key in 0..KEYS {
                            assert_eq!(
                                copied.get(&key.to_le_bytes()).unwrap(),
                                Some(value(key, round, 2_000))
                            );
                        }
                        let logs: Vec<_> = names.iter().cycle().skip(first).take(files_before).collect();
                        let before = logs.iter().filter(|name| ***name != "tier.meta").count();
                        assert!(if is_opened { before == 3 } else { before == 0 }, "{first} {files_before}");
                    }
                    Err(error) => panic!("{error}"),
                }
                fs::remove_dir_all(&to).unwrap();
                drop(tier);
            }
        }
    }
}

const DIR: &str = "COLDPRESS_COPIED_DIR";

#[test]
fn child_writes_and_waits_to_be_killed() {
    let Some(dir) = std::env::var_os(DIR) else { return };
    let tier = open(Path::new(&dir), "test").unwrap();
    write_round(&tier, 1);
    tier.flush_to(Durability::Synced).unwrap();
    println!("\nwritten");
    // Waits until the parent kills it.
    std::io::stdin().read_line(&mut String::new()).unwrap();
}

#[test]
fn copy_of_a_killed_tier_opens_once_lock_is_deleted() {
    let dir = tempfile::tempdir().unwrap();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "open::child_writes_and_waits_to_be_killed", "--nocapture"])
        .env(DIR, dir.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let out = BufReader::new(child.stdout.as_mut().unwrap());
    assert!(out.lines().any(|line| line.unwrap() == "written"), "the child did not write");
    child.kill().unwrap();
    child.wait().unwrap();
    copy(&dir.path().join("test"), &dir.path().join("copy"));
    assert_refused(dir.path(), "copy");
    // The operator knows that nothing wrote during the copy.
    fs::remove_file(dir.path().join("copy/LOCK")).unwrap();
    for name in ["copy", "test"] {
        let tier = open(dir.path(), name).unwrap();
        for key in 0..KEYS {
            assert!(tier.get(&key.to_le_bytes()).unwrap() == Some(value(key, 1, 2_000)), "{name}: {key}");
        }
        tier.close().unwrap();
    }
}

/// Opens that fail for another reason leave a note, too.
#[test]
fn copy_after_an_open_that_failed_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    write_round(&open(dir.path(), "test").unwrap(), 1);
    let other = config(dir.path()).partitions(1).build().unwrap();
    let refused = ColdTier::with_own_pools(other, "test");
    assert!(matches!(refused, Err(OpenError::Partitions { .. })), "{refused:?}");
    copy(&dir.path().join("test"), &dir.path().join("copy"));
    assert_refused(dir.path(), "copy");
    open(dir.path(), "test").unwrap().close().unwrap();
    copy(&dir.path().join("test"), &dir.path().join("again"));
    open(dir.path(), "again").unwrap().close().unwrap();
}
