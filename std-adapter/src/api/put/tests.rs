//! Clients that are not given the processor between the index and their message to the worker.

use std::fs::File;
use std::os::unix::fs::FileExt as _;

use super::*;
use crate::api::open::ColdTier;
use crate::config::ColdTierConfig;
use crate::pool::{AllocationManager, PoolConfig, PoolCoordinator};
use crate::storage::{FileMedium, ServiceMedium};

fn pools() -> (AllocationManager, PoolCoordinator) {
    let pools = PoolConfig::builder().capacity_bytes(4 << 20).partitions(1).build().unwrap();
    AllocationManager::new(&pools).unwrap()
}

fn config() -> ColdTierConfig {
    let config = ColdTierConfig::builder().capacity_bytes(4 << 20).keep_hot_values(false);
    let config = config.codec(CodecId::Raw).flush_after(Duration::from_secs(60));
    config.durability(Durability::Buffered).build().unwrap()
}

fn blank() -> File {
    let file = tempfile::tempfile().unwrap();
    file.set_len(config().capacity_bytes()).unwrap();
    file
}

fn open(file: &File, pools: &PoolCoordinator) -> ColdTier {
    let medium: Box<dyn ServiceMedium> = Box::new(FileMedium::new(file.try_clone().unwrap()));
    ColdTier::open_with(vec![medium], config(), pools.clone()).unwrap()
}

/// A file with what a cut leaves now that loses nothing which was written.
fn cut(file: &File) -> File {
    let left = blank();
    let mut bytes = vec![0; usize::try_from(config().capacity_bytes()).unwrap()];
    file.read_exact_at(&mut bytes, 0).unwrap();
    left.write_all_at(&bytes, 0).unwrap();
    left
}

/// Brings a write into the index, and sends nothing.
fn publish_only(tier: &ColdTier, write: &mut Write) {
    let publish = |open: &Open| {
        let part = open.part(write.part).unwrap();
        assert!(part.publish(open, write, open.now_s(part)).is_ok());
    };
    tier.handle().enter(publish).unwrap();
}

#[test]
fn flush_behind_unsent_remove_of_another_client_covers_it() {
    let (_manager, pools) = pools();
    let file = blank();
    let tier = open(&file, &pools);
    tier.put(b"key", b"value").unwrap();
    tier.flush().unwrap();
    let mut write = tier.handle().prepare_put(b"key", b"", PutOptions::default(), None).unwrap();
    let tombstone = tier.handle().enter(|open| Pending::tombstone(&write.hash, open.seed, &open.terms));
    write = Write { pending: Some(tombstone.unwrap()), is_put: false, ..write };
    publish_only(&tier, &mut write);
    assert_eq!(tier.remove(b"key"), Ok(false));
    tier.flush().unwrap();
    let again = open(&cut(&file), &pools);
    assert_eq!(again.get(b"key"), Ok(None), "it was removed and flushed");
}

#[test]
fn long_head_overtaken_by_unsent_put_stays_whole_after_cut() {
    let (_manager, pools) = pools();
    let file = blank();
    let tier = open(&file, &pools);
    let long = [7; 14_000];
    tier.put(b"key", &long).unwrap();
    // The head is in the buffer of the log by then.
    std::thread::sleep(Duration::from_millis(100));
    let mut write = tier.handle().prepare_put(b"key", b"short", PutOptions::default(), None).unwrap();
    publish_only(&tier, &mut write);
    tier.flush().unwrap();
    let first = open(&cut(&file), &pools).get(b"key");
    std::thread::sleep(Duration::from_millis(300));
    tier.put(b"other", b"value").unwrap();
    tier.flush().unwrap();
    let second = open(&cut(&file), &pools).get(b"key");
    for found in [first, second] {
        assert!(found.as_ref().is_ok_and(|found| found.as_deref() == Some(&long)), "{:?}", found.err());
    }
}
