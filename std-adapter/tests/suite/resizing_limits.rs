//! Another capacity for a tier that is there, at the limits.

use core::time::Duration;
use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use coldpress_core::format::{Geometry, Header, Identity, Sequence, Store};
use coldpress_std::clock::ManualClock;
use coldpress_std::{ColdTier, ColdTierConfig, CompactionTask, OpenError, PutError};

use crate::common::{PATIENCE, SYNCED, open, pools, recount, small, value};

fn with(bytes: u64) -> ColdTierConfig {
    small().capacity_bytes(bytes).build().unwrap()
}

fn with_segments(bytes: u64, kib: u32) -> ColdTierConfig {
    small().capacity_bytes(bytes).segment_bytes(kib << 10).build().unwrap()
}

fn first_part(dir: &Path) -> PathBuf {
    dir.join("test/part-000.cold")
}

#[test]
fn records_too_long_for_new_segments_leave_a_tier_that_opens() {
    let base = tempfile::tempdir().unwrap();
    let (_manager, pools) = pools();
    for (nth, (len, named)) in
        [(100_000, false), (100_000, true), (20_000, false), (8_000, false), (8_000, true), (60_000, true)]
            .into_iter()
            .enumerate()
    {
        let dir = base.path().join(nth.to_string());
        let config = |bytes: u64| small().capacity_bytes(bytes).partitions(8);
        let old = config(16 << 30).build().unwrap();
        let tier = open(&dir, &old, &pools);
        for key in 0..20u32 {
            tier.put(&key.to_le_bytes(), &value(key, 0, if key == 7 { len } else { 100 })).unwrap();
        }
        tier.close().unwrap();
        let mut new = config(64 << 20);
        if named {
            new = new.segment_bytes(64 << 10);
        }
        let holds = |tier: &ColdTier| {
            for key in 0..20u32 {
                let of = value(key, 0, if key == 7 { len } else { 100 });
                assert!(tier.get(&key.to_le_bytes()).unwrap() == Some(of), "{key}");
            }
        };
        match ColdTier::open(&dir, "test", new.clone().build().unwrap(), pools.clone()) {
            Ok(tier) => holds(&tier),
            Err(OpenError::SegmentTooShort { segment_bytes: 65_536, least_bytes: 131_072 }) => {
                assert!(len > 65_000);
                let longer = new.segment_bytes(128 << 10).build().unwrap();
                holds(&open(&dir, &longer, &pools));
            }
            Err(error) => panic!("{len} {named}: {error}"),
        }
        holds(&open(&dir, &old, &pools));
    }
}

#[test]
fn emptied_partition_takes_any_capacity() {
    let base = tempfile::tempdir().unwrap();
    let (_manager, pools) = pools();
    let config = |mib: u64| small().capacity_bytes(mib << 20).partitions(2).build().unwrap();
    for rounds in 0..6 {
        let dir = base.path().join(rounds.to_string());
        let tier = open(&dir, &config(8), &pools);
        for key in 0..600u32 {
            tier.put(&key.to_le_bytes(), &value(key, 0, 1_000)).unwrap();
        }
        for key in 0..600u32 {
            tier.remove(&key.to_le_bytes()).unwrap();
        }
        tier.flush().unwrap();
        for _ in 0..rounds {
            tier.compaction().run_compaction(CompactionTask::CompactData, PATIENCE).unwrap();
        }
        tier.close().unwrap();
        for _ in 0..rounds {
            open(&dir, &config(8), &pools).close().unwrap();
        }
        for mib in [5, 16, 8] {
            open(&dir, &config(mib), &pools).close().unwrap();
        }
    }
}

#[test]
fn pieces_of_expired_values_do_not_count() {
    static CLOCK: ManualClock = ManualClock::new(1_800_000_000);
    let dir = tempfile::tempdir().unwrap();
    let (_manager, pools) = pools();
    let config = |mib: u64| small().capacity_bytes(mib << 20).clock(&CLOCK).build().unwrap();
    let tier = open(dir.path(), &config(64), &pools);
    for key in 0..60u32 {
        tier.put_with_ttl(&key.to_le_bytes(), &value(key, 0, 300_000), Duration::from_secs(50)).unwrap();
    }
    tier.flush().unwrap();
    CLOCK.advance_s(100);
    tier.put_with(b"for ever", b"v", SYNCED).unwrap();
    tier.close().unwrap();
    let tier = open(dir.path(), &config(5), &pools);
    assert_eq!(tier.len().unwrap(), 1);
    recount(&tier);
}

#[test]
fn pieces_of_values_that_expired_free_the_capacity() {
    static CLOCK: ManualClock = ManualClock::new(1_800_000_000);
    let dir = tempfile::tempdir().unwrap();
    let (_manager, pools) = pools();
    let config = |mib: u64| small().capacity_bytes(mib << 20).clock(&CLOCK).build().unwrap();
    let tier = open(dir.path(), &config(64), &pools);
    for key in 0..12u32 {
        tier.put_with_ttl(&key.to_le_bytes(), &value(key, 0, 300_000), Duration::from_secs(50)).unwrap();
    }
    tier.flush().unwrap();
    CLOCK.advance_s(100);
    tier.put_with(b"for ever", b"v", SYNCED).unwrap();
    tier.close().unwrap();
    let tier = open(dir.path(), &config(8), &pools);
    assert_eq!(tier.len().unwrap(), 1);
    recount(&tier);
    for key in 100..112u32 {
        tier.put(&key.to_le_bytes(), &value(key, 1, 300_000)).unwrap();
    }
}

/// Values that lie in one record: an overwrite of a longer one needs space for old and new pieces together.
#[test]
fn full_tier_at_its_least_capacity_takes_overwrites() {
    let base = tempfile::tempdir().unwrap();
    let (_manager, pools) = pools();
    for (nth, (len, ttl)) in [(0, false), (0, true), (60, true), (500, false), (3_000, true), (4_000, false)]
        .into_iter()
        .enumerate()
    {
        let dir = base.path().join(nth.to_string());
        let put = |tier: &ColdTier, key: u32, round: u32| {
            let value = value(key, round, len);
            if ttl {
                tier.put_with_ttl(&key.to_le_bytes(), &value, Duration::from_secs(1_000_000))
            } else {
                tier.put(&key.to_le_bytes(), &value)
            }
        };
        let tier = open(&dir, &with(4 << 20), &pools);
        let mut keys = 0;
        loop {
            match put(&tier, keys, 0) {
                Ok(()) => keys += 1,
                Err(PutError::Full { .. }) => break,
                Err(error) => panic!("{error}"),
            }
        }
        tier.close().unwrap();
        // The same capacity in other segments.
        open(&dir, &with_segments(4 << 20, 60), &pools).close().unwrap();
        let grown = open(&dir, &with_segments(16 << 20, 64), &pools);
        grown.put(b"more", b"").unwrap();
        grown.close().unwrap();
        let refused = ColdTier::open(&dir, "test", with_segments(1 << 20, 64), pools.clone());
        let Err(OpenError::DoesNotFit { least_bytes: least, .. }) = refused else { panic!("{refused:?}") };
        let tier = open(&dir, &with_segments(least, 64), &pools);
        assert_eq!(tier.len().unwrap(), u64::from(keys) + 1);
        for key in 0..keys {
            if let Err(error) = put(&tier, key, 1) {
                panic!("{len} {ttl}: overwrite of {key} of {keys}: {error}");
            }
        }
        tier.flush().unwrap();
        for key in 0..keys {
            assert!(tier.get(&key.to_le_bytes()).unwrap() == Some(value(key, 1, len)));
        }
        recount(&tier);
        for key in 0..keys {
            tier.remove(&key.to_le_bytes()).unwrap();
        }
        tier.close().unwrap();
    }
}

/// The segments of a file that have a header which states so many segments.
fn stating(path: &Path, segment_bytes: usize, segments: u32) -> Vec<usize> {
    let bytes = fs::read(path).unwrap();
    let shape = Geometry::new(segment_bytes as u32, 16, 1, 0, Identity::KeyedHash).unwrap();
    (0..bytes.len() / segment_bytes)
        .filter(|nth| {
            let at = nth * segment_bytes + shape.header_at() as usize;
            Header::probe(&bytes[at..]).is_ok_and(|(found, _)| found.segment_count() == segments)
        })
        .collect()
}

#[test]
fn segment_beyond_the_number_stated_is_not_cut_off() {
    let dir = tempfile::tempdir().unwrap();
    let (_manager, pools) = pools();
    let tier = open(dir.path(), &with(4 << 20), &pools);
    for key in 0..1_000u32 {
        tier.put(&key.to_le_bytes(), &value(key, 0, 3_000)).unwrap();
    }
    tier.close().unwrap();
    let tier = open(dir.path(), &with(8 << 20), &pools);
    for key in 1_000..1_700u32 {
        tier.put(&key.to_le_bytes(), &value(key, 0, 3_000)).unwrap();
    }
    tier.close().unwrap();
    let path = first_part(dir.path());
    let new = stating(&path, 64 << 10, 128);
    assert!(new.iter().any(|segment| *segment >= 64));
    let file = File::options().write(true).open(&path).unwrap();
    for segment in new {
        // Both copies of the segment's header are damaged; its records are whole.
        let shape = Geometry::new(64 << 10, 64, 1, 0, Identity::KeyedHash).unwrap();
        for at in [shape.header_at(), shape.second_header_at()] {
            file.write_all_at(&[0x55; 8], ((segment << 16) as u64) + u64::from(at) + 8).unwrap();
        }
    }
    let before = fs::read(&path).unwrap();
    for mib in [3, 4, 5] {
        let refused = ColdTier::open(dir.path(), "test", with(mib << 20), pools.clone());
        assert!(matches!(refused, Err(OpenError::Damaged { records: 0, .. })), "{refused:?}");
        assert!(fs::read(&path).unwrap() == before);
    }
}

#[test]
fn linked_file_stays_where_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    let (_manager, pools) = pools();
    let tier = open(dir.path(), &with(8 << 20), &pools);
    tier.put_with(b"k", b"v", SYNCED).unwrap();
    tier.close().unwrap();
    let (path, real) = (first_part(dir.path()), elsewhere.path().join("file"));
    fs::rename(&path, &real).unwrap();
    std::os::unix::fs::symlink(&real, &path).unwrap();
    let tier = open(dir.path(), &with(8 << 20), &pools);
    assert_eq!(tier.get(b"k").unwrap(), Some(b"v".to_vec()));
    tier.close().unwrap();
    let tier = open(dir.path(), &with(4 << 20), &pools);
    assert_eq!(tier.get(b"k").unwrap(), Some(b"v".to_vec()));
    let is_link = path.symlink_metadata().unwrap().is_symlink();
    assert!(is_link, "the link is gone, {} bytes stay", real.metadata().unwrap().len());
}

#[test]
fn tier_whose_values_all_expired_takes_any_capacity() {
    static CLOCK: ManualClock = ManualClock::new(1_800_000_000);
    let dir = tempfile::tempdir().unwrap();
    let (_manager, pools) = pools();
    let config = |mib: u64| small().capacity_bytes(mib << 20).partitions(3).clock(&CLOCK).build().unwrap();
    let tier = open(dir.path(), &config(24), &pools);
    for key in 0..100u32 {
        tier.put_with_ttl(&key.to_le_bytes(), b"x", Duration::from_secs(50)).unwrap();
    }
    tier.flush().unwrap();
    CLOCK.advance_s(100);
    for key in 100..103u32 {
        tier.put_with_ttl(&key.to_le_bytes(), b"x", Duration::from_secs(5)).unwrap();
    }
    tier.flush().unwrap();
    CLOCK.advance_s(100);
    tier.close().unwrap();
    for mib in [12, 30, 6] {
        let tier = open(dir.path(), &config(mib), &pools);
        (0..103u32).for_each(|key| assert!(!tier.contains(&key.to_le_bytes()).unwrap()));
        tier.close().unwrap();
        let reader =
            small().capacity_bytes(1 << 30).partitions(3).read_only(true).clock(&CLOCK).build().unwrap();
        open(dir.path(), &reader, &pools).close().unwrap();
    }
}

/// Fills a part of the segments, in the same places each time; the value of one key is given.
fn put_in_order(dir: &Path, special: Option<(u32, &[u8])>) -> Vec<u8> {
    let (_manager, pools) = pools();
    let tier = open(dir, &with(4 << 20), &pools);
    for key in 0..800u32 {
        let of = value(key, 0, 3_000);
        let of = special.filter(|(special, _)| *special == key).map_or(&of[..], |(_, value)| value);
        tier.put_with(&key.to_le_bytes(), of, SYNCED).unwrap();
    }
    tier.close().unwrap();
    fs::read(first_part(dir)).unwrap()
}

#[test]
fn header_in_a_value_does_not_tell_the_shape_of_a_file() {
    let base = tempfile::tempdir().unwrap();
    let (_manager, pools) = pools();
    let bytes = put_in_order(&base.path().join("0"), None);
    let fake = Geometry::new(32 << 10, 20, 1, 0, Identity::KeyedHash).unwrap();
    let at = (32 << 10) + fake.header_at() as usize;
    // The value that lies where the other shape has a header.
    let special = (0..800u32).find_map(|key| {
        let of = value(key, 0, 3_000);
        let start = at.saturating_sub(2_900);
        (start..at).find(|from| bytes[*from..].starts_with(&of)).map(|from| (key, at - from))
    });
    let (key, offset) = special.expect("a value lies there");
    let store = Store { id: 5, hash_key: [7; 16], partition: 0, partitions: 1 };
    let header = Header { store, sequence: Sequence::new(9), time_s: 1, stream: 0, record_bytes_max: 100 };
    let (header, len) = header.encode(&fake);
    let mut special = value(key, 0, 3_000);
    special[offset..offset + len].copy_from_slice(&header[..len]);
    let dir = base.path().join("1");
    let bytes = put_in_order(&dir, Some((key, &special)));
    assert!(bytes[at..].starts_with(&header[..len]));
    // The first copy of the first header is damaged; the second one serves.
    let damage = || {
        fs::write(first_part(&dir), &bytes).unwrap();
        let file = File::options().write(true).open(first_part(&dir)).unwrap();
        file.write_all_at(&[0x55; 4], 20).unwrap();
    };
    for mib in [4, 8, 3] {
        damage();
        let tier = open(&dir, &with(mib << 20), &pools);
        assert_eq!(tier.len().unwrap(), 800);
        assert_eq!(tier.get(&key.to_le_bytes()).unwrap(), Some(special.clone()));
        tier.close().unwrap();
    }
}

#[test]
fn bytes_behind_the_end_that_headers_state_are_not_cut_off() {
    let dir = tempfile::tempdir().unwrap();
    let (_manager, pools) = pools();
    let tier = open(dir.path(), &with(4 << 20), &pools);
    tier.put_with(b"k", b"v", SYNCED).unwrap();
    tier.close().unwrap();
    let file = File::options().write(true).open(first_part(dir.path())).unwrap();
    file.set_len(8 << 20).unwrap();
    file.write_all_at(b"somebody's", (6 << 20) + 3_000).unwrap();
    for mib in [2, 4, 5] {
        let refused = ColdTier::open(dir.path(), "test", with(mib << 20), pools.clone());
        assert!(matches!(refused, Err(OpenError::Damaged { records: 0, .. })), "{mib}: {refused:?}");
        assert_eq!(first_part(dir.path()).metadata().unwrap().len(), 8 << 20);
    }
    assert!(open(dir.path(), &with(16 << 20), &pools).contains(b"k").unwrap());
}
