//! A limit on the length of files, in a process of its own: this test binary again, with a directory in its environment.

use std::path::Path;
use std::process::Command;

use coldpress_std::{ColdTier, OpenError};
use rustix::process::{Resource, Rlimit, setrlimit};

use crate::common::{SYNCED, open, pools, small};

const DIR: &str = "COLDPRESS_FILE_SIZE_DIR";

#[test]
fn child_opens_tiers_under_a_limit_on_files() {
    let Some(dir) = std::env::var_os(DIR) else { return };
    let dir = Path::new(&dir);
    let limit_bytes = 2 << 20;
    setrlimit(Resource::Fsize, Rlimit { current: Some(limit_bytes), maximum: None }).unwrap();
    let (_manager, pools) = pools();
    let config = |partitions| small().partitions(partitions).build().unwrap();
    let needed_bytes = config(1).capacity_bytes();
    let refused = ColdTier::open(dir, "long", config(1), pools.clone());
    let Err(error @ OpenError::FileSizeLimit { .. }) = refused else { panic!("{refused:?}") };
    let said = error.to_string();
    for part in
        [needed_bytes.to_string(), limit_bytes.to_string(), "ulimit -f".into(), "capacity_bytes".into()]
    {
        assert!(said.contains(&part), "{said}");
    }
    assert!(!dir.join("long").exists(), "nothing was made");
    let tier = open(dir, &config(2), &pools);
    for key in 0..40u32 {
        tier.put_with(&key.to_le_bytes(), &[7; 10_000], SYNCED).unwrap();
    }
    tier.close().unwrap();
    println!("\nthrough");
}

#[test]
fn tier_longer_than_files_may_be_is_refused_at_open() {
    let dir = tempfile::tempdir().unwrap();
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "file_size::child_opens_tiers_under_a_limit_on_files", "--nocapture"])
        .args(["--test-threads", "1"])
        .env(DIR, dir.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&child.stdout);
    assert!(child.status.success() && said.contains("through"), "{:?}: {said}", child.status);
}
