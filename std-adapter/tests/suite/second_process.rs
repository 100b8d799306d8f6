//! A second process: a tier that another one has open is refused, until that closes it or dies.
//!
//! The other process is this test binary again, with a directory in its environment.

use core::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use coldpress_std::{ColdTier, OpenError};

use crate::common::{SYNCED, open, pools, small};

const DIR: &str = "COLDPRESS_SECOND_DIR";

#[test]
fn child_holds_a_tier_open() {
    let Some(dir) = std::env::var_os(DIR) else { return };
    let (_manager, pools) = pools();
    let tier = open(Path::new(&dir), &small().build().unwrap(), &pools);
    tier.put_with(b"child", b"v", SYNCED).unwrap();
    println!("\nheld");
    // Waits until the parent closes the pipe or writes a line.
    std::io::stdin().read_line(&mut String::new()).unwrap();
    tier.close().unwrap();
}

/// Starts a child, and waits until it has the tier open.
fn child(dir: &Path) -> Child {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "second_process::child_holds_a_tier_open", "--nocapture", "--test-threads", "1"])
        .env(DIR, dir)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let out = BufReader::new(child.stdout.as_mut().unwrap());
    assert!(out.lines().any(|line| line.unwrap() == "held"), "the child did not open the tier");
    child
}

#[test]
fn tier_open_in_another_process_is_refused_until_it_ends() {
    let dir = tempfile::tempdir().unwrap();
    let (_manager, pools) = pools();
    let config = small().build().unwrap();
    for is_killed in [false, true] {
        let mut child = child(dir.path());
        let refused = ColdTier::open(dir.path(), "test", config.clone(), pools.clone());
        let path = dir.path().join("test");
        let Err(OpenError::AlreadyOpen(held)) = &refused else { panic!("{refused:?}") };
        assert_eq!((held.path(), held.pid()), (&*path, Some(child.id())));
        assert_eq!(
            held.to_string(),
            format!("{} is open already, in the process {}", path.display(), child.id())
        );
        // Deleted, as users do with a file that an error names.
        std::fs::remove_file(path.join("LOCK")).unwrap();
        let refused = ColdTier::open(dir.path(), "test", config.clone(), pools.clone());
        assert!(
            matches!(&refused, Err(OpenError::AlreadyOpen(held)) if held.path() == path && held.pid().is_none()),
            "{refused:?}"
        );
        if is_killed {
            child.kill().unwrap();
            child.wait().unwrap();
        } else {
            drop(child.stdin.take());
            // The last output of the test harness needs a reader.
            assert!(child.wait_with_output().unwrap().status.success());
        }
        let tier = open(dir.path(), &config, &pools);
        assert_eq!(tier.get(b"child"), Ok(Some(b"v".to_vec())));
        assert!(tier.remove(b"child").unwrap());
        let lock = std::fs::read_to_string(path.join("LOCK")).unwrap();
        assert_eq!(lock.lines().next(), Some(&*std::process::id().to_string()));
        tier.close().unwrap();
        let lock = std::fs::read_to_string(path.join("LOCK")).unwrap();
        assert!(lock.starts_with("settled 1\n"), "a close puts its note in the place of the number: {lock}");
    }
}

#[test]
fn tier_closed_while_processes_start_opens_again_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let (_manager, pools) = pools();
    let config = small().build().unwrap();
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !is_over.load(SeqCst) {
                    assert!(Command::new("true").status().unwrap().success());
                }
            });
        }
        let reopened = (0..50).try_for_each(|_| {
            let tier = ColdTier::open(dir.path(), "test", config.clone(), pools.clone())?;
            tier.close().unwrap();
            Ok::<_, OpenError>(())
        });
        is_over.store(true, SeqCst);
        reopened.unwrap();
    });
}
