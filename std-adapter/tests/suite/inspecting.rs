//! Reading the directory of a tier without its configuration and without a lock.

use core::sync::atomic::{AtomicBool, Ordering::SeqCst};
use core::time::Duration;
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use coldpress_std::clock::{Clock as _, SystemClock};
use coldpress_std::compaction::CompactionTask;
use coldpress_std::inspect::{
    InspectError, PartitionLog, PartitionShape, Snapshot, SnapshotError, TierFacts, is_tier, tiers_below,
};
use coldpress_std::{ColdTier, Durability, OpenError, PutOptions, Streams};

use crate::common::{PATIENCE, SYNCED, open, pools, small, value};

fn facts(base_dir: &Path) -> TierFacts {
    TierFacts::read(&base_dir.join("test")).unwrap()
}

fn entries(facts: &TierFacts) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in Snapshot::new(facts, SystemClock.wall_s()) {
        let entry = entry.unwrap();
        assert_eq!(found.insert(entry.key, entry.value), None, "a key comes once");
    }
    found
}

/// Ends a writer, also where the test fails.
struct EndOf<'a>(&'a AtomicBool);

impl Drop for EndOf<'_> {
    fn drop(&mut self) {
        self.0.store(true, SeqCst);
    }
}

#[test]
fn facts_tell_a_configuration_that_opens_the_tier_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let (_manager, pools) = pools();
    let shapes = [
        small().partitions(3).capacity_bytes(9_000_000).segment_bytes(96 << 10).schema("docs v1"),
        small().capacity_bytes(1_000_000).streams(Streams::Two).value_bytes_max(1000),
        small().capacity_bytes(64 << 20).value_bytes_max(1000),
    ];
    for (at, config) in shapes.into_iter().enumerate() {
        let name = format!("t{at}");
        let config = config.build().unwrap();
        let path = dir.path().join(&name);
        let tier = ColdTier::open(dir.path(), &name, config.clone(), pools.clone()).unwrap();
        tier.put_with(b"key", &[7; 900], SYNCED).unwrap();
        let read = TierFacts::read(&path).unwrap();
        assert_eq!(read.in_use.as_ref().and_then(|held| held.pid()), Some(std::process::id()));
        tier.close().unwrap();
        let read = TierFacts::read(&path).unwrap();
        assert_eq!((read.in_use.as_ref(), read.format_version()), (None, Some(2)));
        assert!(read.store_id.is_some() && read.disk_bytes() > 0);
        let found = read.config().unwrap().build().unwrap();
        assert_eq!(found.capacity_bytes(), config.capacity_bytes());
        assert_eq!(found.segment_bytes(), config.segment_bytes());
        assert!(found.value_bytes_max() >= config.value_bytes_max());
        let lengths = |facts: &TierFacts| facts.partitions.iter().map(|part| part.bytes).collect::<Vec<_>>();
        let tier = ColdTier::open(dir.path(), &name, found, pools.clone()).unwrap();
        assert_eq!(tier.get(b"key").unwrap(), Some(vec![7; 900]));
        tier.close().unwrap();
        assert_eq!(lengths(&TierFacts::read(&path).unwrap()), lengths(&read));
    }
    let names = ["t0", "t1", "t2"].map(|name| dir.path().join(name));
    assert_eq!(tiers_below(dir.path()).unwrap(), names);
    assert!(!is_tier(dir.path()) && is_tier(&names[0]) && !is_tier(&dir.path().join("none")));
}

#[test]
fn tier_never_written_has_no_entries_and_opens() {
    let dir = tempfile::tempdir().unwrap();
    let (_manager, pools) = pools();
    open(dir.path(), &small().build().unwrap(), &pools).close().unwrap();
    let facts = facts(dir.path());
    assert!(matches!(facts.partitions[0].shape, PartitionShape::Unused), "{facts:?}");
    assert!(
        PartitionLog::open(&facts, 0).unwrap().is_none() && PartitionLog::open(&facts, 1).unwrap().is_none()
    );
    assert_eq!(Snapshot::new(&facts, 0).count(), 0);
    assert_eq!(Snapshot::new(&facts, 0).get(b"key").unwrap(), None);
    open(dir.path(), &facts.config().unwrap().build().unwrap(), &pools)
        .put_with(b"key", b"v", SYNCED)
        .unwrap();
}

#[test]
fn snapshot_has_every_value_and_leaves_expired_ones_out() {
    let dir = tempfile::tempdir().unwrap();
    let (_manager, pools) = pools();
    let tier = open(dir.path(), &small().partitions(2).capacity_bytes(8 << 20).build().unwrap(), &pools);
    let mut model = BTreeMap::new();
    for key in 0..500u32 {
        // Some of them lie in pieces.
        let bytes = if key % 50 == 0 { 20_000 } else { 300 };
        for round in 0..2 {
            tier.put(&key.to_le_bytes(), &value(key, round, bytes)).unwrap();
        }
        model.insert(key.to_le_bytes().to_vec(), value(key, 1, bytes));
    }
    for key in 400..500u32 {
        tier.remove(&key.to_le_bytes()).unwrap();
        model.remove(&key.to_le_bytes()[..]);
    }
    let ttl = Duration::from_secs(100).into();
    tier.put_with(b"short", b"lived", PutOptions { ttl, durability: Some(Durability::Synced) }).unwrap();
    tier.flush_to(Durability::Synced).unwrap();
    let facts = facts(dir.path());
    let now_s = SystemClock.wall_s();
    let short = Snapshot::new(&facts, now_s).get(b"short").unwrap().unwrap();
    assert!(short.expires_s.is_some_and(|at| (now_s + 99..now_s + 110).contains(&at)), "{short:?}");
    assert_eq!(Snapshot::new(&facts, now_s + 200).get(b"short").unwrap(), None);
    assert_eq!(Snapshot::new(&facts, now_s + 200).count(), model.len());
    model.insert(b"short".to_vec(), b"lived".to_vec());
    let mut snapshot = Snapshot::new(&facts, now_s);
    assert_eq!(snapshot.permille(), 0);
    assert_eq!(snapshot.by_ref().map(Result::unwrap).count(), model.len());
    assert_eq!(snapshot.permille(), 1000);
    assert!(entries(&facts) == model);
    let long = Snapshot::new(&facts, now_s).get(&50u32.to_le_bytes()).unwrap().unwrap();
    assert_eq!(long.value, value(50, 1, 20_000));
    assert_eq!(Snapshot::new(&facts, now_s).get(&450u32.to_le_bytes()).unwrap(), None);
    tier.close().unwrap();
    assert!(entries(&facts) == model, "closed, it is the same");
}

#[test]
fn snapshot_beside_a_busy_writer_misses_no_key_that_stays() {
    let dir = tempfile::tempdir().unwrap();
    let (_manager, pools) = pools();
    let tier = open(dir.path(), &small().capacity_bytes(4 << 20).build().unwrap(), &pools);
    let keys = 1500u32;
    let bytes = |key: u32| if key % 100 == 7 { 9_000 } else { 500 };
    for key in 0..keys {
        tier.put(&key.to_le_bytes(), &value(key, 0, bytes(key))).unwrap();
    }
    tier.flush_to(Durability::Synced).unwrap();
    let is_over = AtomicBool::new(false);
    let handle = tier.handle();
    let rounds = std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let mut round = 0;
            while !is_over.load(SeqCst) {
                round += 1;
                for key in (0..keys).step_by(1 + round as usize % 5) {
                    handle.put(&key.to_le_bytes(), &value(key, round, bytes(key))).unwrap();
                }
                handle.compaction().run_compaction(CompactionTask::CompactData, PATIENCE).unwrap();
            }
            round
        });
        let _over = EndOf(&is_over);
        for _ in 0..8 {
            let facts = facts(dir.path());
            let found = entries(&facts);
            assert_eq!(found.len(), keys as usize);
            for (key, found) in found {
                let key = u32::from_le_bytes(key.try_into().unwrap());
                let is_a_round = (0..100_000).any(|round| {
                    value(key, round, 16) == found[..16] && value(key, round, bytes(key)) == found
                });
                assert!(is_a_round, "key {key} has a mixture of values");
            }
            let one = Snapshot::new(&facts, 0).get(&7u32.to_le_bytes()).unwrap();
            assert_eq!(one.map(|entry| entry.value.len()), Some(9_000));
        }
        is_over.store(true, SeqCst);
        writer.join().unwrap()
    });
    assert!(rounds > 1, "the writer wrote meanwhile");
    tier.close().unwrap();
}

#[test]
fn damaged_record_is_an_error_and_the_others_come() {
    let dir = tempfile::tempdir().unwrap();
    let (_manager, pools) = pools();
    let tier = open(dir.path(), &small().build().unwrap(), &pools);
    for key in 0..100u32 {
        tier.put(&key.to_le_bytes(), &value(key, 0, 500)).unwrap();
    }
    tier.close().unwrap();
    let path = dir.path().join("test/part-000.cold");
    let image = fs::read(&path).unwrap();
    let wanted = value(42, 0, 500);
    let at = image.windows(16).position(|bytes| bytes == &wanted[100..116]).unwrap();
    let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
    file.write_all_at(&[image[at] ^ 1], at as u64).unwrap();
    let facts = facts(dir.path());
    let found: Vec<_> = Snapshot::new(&facts, 0).collect();
    let errors: Vec<_> = found.iter().filter_map(|entry| entry.as_ref().err()).collect();
    assert!(matches!(errors[..], [SnapshotError::Damaged { partition: 0, .. }]), "{errors:?}");
    assert_eq!(found.len(), 100);
    let refused = Snapshot::new(&facts, 0).get(&42u32.to_le_bytes());
    assert!(matches!(refused, Err(SnapshotError::Damaged { .. })), "{refused:?}");
    assert!(Snapshot::new(&facts, 0).get(&41u32.to_le_bytes()).unwrap().is_some());
}

#[test]
fn directories_that_are_no_tier_are_refused_with_the_reason() {
    let dir = tempfile::tempdir().unwrap();
    let (_manager, pools) = pools();
    let refused = |path: &Path| TierFacts::read(path).unwrap_err();
    assert!(matches!(refused(&dir.path().join("none")), OpenError::Io(_)));
    assert!(matches!(refused(dir.path()), OpenError::Foreign(_)));
    open(dir.path(), &small().partitions(2).capacity_bytes(8 << 20).build().unwrap(), &pools)
        .close()
        .unwrap();
    let path = dir.path().join("test");
    fs::write(path.join("part-001.cold"), "no log").unwrap();
    let facts = facts(dir.path());
    let error = facts.check().unwrap_err();
    assert!(matches!(&error, InspectError::Log { path, .. } if path.ends_with("part-001.cold")), "{error}");
    fs::remove_file(path.join("part-001.cold")).unwrap();
    assert!(matches!(refused(&path), OpenError::MissingPartition(_)));
    fs::write(path.join("tier.meta"), "x").unwrap();
    assert!(matches!(refused(&path), OpenError::Metadata(_)));
}
