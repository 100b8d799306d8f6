//! Another capacity for a tier that is there.

use core::time::Duration;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use coldpress_std::clock::ManualClock;
use coldpress_std::image::convert_tier;
use coldpress_std::{ColdTier, ColdTierConfig, CompactionTask, GetError, OpenError, PutError};

use crate::common::{PATIENCE, SYNCED, eventually, open, pools, recount, small, value};

type Model = BTreeMap<Vec<u8>, Vec<u8>>;

fn with_mib(mib: u64) -> ColdTierConfig {
    small().capacity_bytes(mib << 20).build().unwrap()
}

fn part_bytes(dir: &Path, partition: u16) -> u64 {
    dir.join(format!("test/part-{partition:03}.cold")).metadata().unwrap().len()
}

fn copy_dir(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in from.read_dir().unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, to.join(path.file_name().unwrap())).unwrap();
    }
    // Its note is of the files that were copied. In a cut it would be that of the copy.
    fs::remove_file(to.join("LOCK")).unwrap_or_default();
}

/// Puts, overwrites and removes keys of many lengths, long values among them; returns the content.
fn fill(tier: &ColdTier, keys: u32) -> Model {
    let mut model = Model::new();
    for round in 0..3 {
        for key in 0..keys {
            let name = format!("key {key}").into_bytes();
            let len = if key % 40 == 7 { 40_000 + 100 * key as usize } else { (key as usize * 37) % 900 };
            let value = value(key, round, len);
            if (key + round) % 5 == 0 {
                tier.remove(&name).unwrap();
                model.remove(&name);
            } else {
                tier.put(&name, &value).unwrap();
                model.insert(name, value);
            }
        }
    }
    tier.put_with(b"last", b"synced", SYNCED).unwrap();
    model.insert(b"last".to_vec(), b"synced".to_vec());
    model
}

fn check(tier: &ColdTier, model: &Model) {
    assert_eq!(tier.len().unwrap(), model.len() as u64);
    for (key, value) in model {
        assert!(tier.get(key).unwrap().as_ref() == Some(value), "{}", String::from_utf8_lossy(key));
    }
    let mut keys: Vec<_> = tier.keys().map(Result::unwrap).collect();
    keys.sort_unstable();
    assert!(keys.iter().eq(model.keys()));
    recount(tier);
}

/// Puts values of 3,000 bytes until one is refused; returns how many were taken.
fn puts_until_full(tier: &ColdTier, from: u32) -> u32 {
    let put = |key: &u32| match tier.put(&key.to_le_bytes(), &value(*key, 0, 3_000)) {
        Ok(()) => true,
        Err(PutError::Full { .. }) => false,
        Err(error) => panic!("{error}"),
    };
    u32::try_from((from..).take_while(put).count()).unwrap()
}

#[test]
fn grown_tier_keeps_its_values_and_takes_more() {
    let dir = tempfile::tempdir().unwrap();
    let (_manager, pools) = pools();
    let tier = open(dir.path(), &with_mib(4), &pools);
    let before = puts_until_full(&tier, 0);
    tier.close().unwrap();
    let mut all = before;
    for mib in [5, 16, 64] {
        let tier = open(dir.path(), &with_mib(mib), &pools);
        assert_eq!(part_bytes(dir.path(), 0), mib << 20);
        assert_eq!(tier.len().unwrap(), u64::from(all));
        all += puts_until_full(&tier, all);
        assert!(u64::from(all) * 3_000 > (mib << 20) * 7 / 10, "{mib} MiB hold {all}");
        recount(&tier);
        tier.close().unwrap();
        let tier = open(dir.path(), &with_mib(mib), &pools);
        (0..all).for_each(|key| assert!(tier.get(&key.to_le_bytes()).unwrap() == Some(value(key, 0, 3_000))));
    }
}

#[test]
fn shrunk_tier_holds_the_same_values_in_less_space() {
    let dir = tempfile::tempdir().unwrap();
    let (_manager, pools) = pools();
    let tier = open(dir.path(), &with_mib(64), &pools);
    let mut model = fill(&tier, 1_500);
    tier.close().unwrap();
    for mib in [32, 8, 7] {
        let tier = open(dir.path(), &with_mib(mib), &pools);
        assert_eq!(part_bytes(dir.path(), 0), mib << 20);
        check(&tier, &model);
        let key = format!("at {mib}").into_bytes();
        tier.put_with(&key, b"new", SYNCED).unwrap();
        model.insert(key, b"new".to_vec());
        tier.compaction().run_compaction(CompactionTask::CompactData, PATIENCE).unwrap();
        tier.close().unwrap();
        check(&open(dir.path(), &with_mib(mib), &pools), &model);
    }
}

#[test]
fn capacity_below_the_live_data_is_refused_with_the_least() {
    let dir = tempfile::tempdir().unwrap();
    let (_manager, pools) = pools();
    for (keys, long) in [(100_000u32, 60), (6_000, 1_000), (20, 300_000)] {
        let _ = fs::remove_dir_all(dir.path().join("test"));
        let tier = open(dir.path(), &with_mib(64), &pools);
        let of = |key: u32| value(key, 0, long);
        (0..keys).for_each(|key| tier.put(&key.to_le_bytes(), &of(key)).unwrap());
        tier.close().unwrap();
        let try_open = |bytes: u64| {
            let config = small().capacity_bytes(bytes).build().unwrap();
            ColdTier::open(dir.path(), "test", config, pools.clone())
        };
        let refused = try_open(4 << 20).unwrap_err();
        assert!(refused.to_string().contains("set at least"), "{refused}");
        let OpenError::DoesNotFit { capacity_bytes: 4_194_304, least_bytes } = refused else {
            panic!("{refused}")
        };
        assert_eq!(part_bytes(dir.path(), 0), 64 << 20, "nothing was changed");
        let segment_bytes = u64::from(with_mib(64).segment_bytes());
        let refused = try_open(least_bytes - segment_bytes);
        assert!(
            matches!(refused, Err(OpenError::DoesNotFit { least_bytes: least, .. }) if least == least_bytes)
        );
        let tier = try_open(least_bytes).unwrap();
        assert_eq!((tier.len().unwrap(), part_bytes(dir.path(), 0)), (u64::from(keys), least_bytes));
        (0..keys).step_by(7).for_each(|key| assert!(tier.get(&key.to_le_bytes()).unwrap() == Some(of(key))));
        // The tier is full, and all of it is live: a remove frees space.
        tier.remove(&0u32.to_le_bytes()).unwrap();
        tier.put(&0u32.to_le_bytes(), &of(1)).unwrap();
        recount(&tier);
    }
}

#[test]
fn change_cut_anywhere_goes_on_with_any_capacity() {
    let base = tempfile::tempdir().unwrap();
    let (_manager, pools) = pools();
    let three = |mib: u64| small().capacity_bytes(mib << 20).partitions(3).build().unwrap();
    let (old, new) = (base.path().join("old"), base.path().join("new"));
    let tier = open(&old, &three(24), &pools);
    let model = fill(&tier, 900);
    tier.close().unwrap();
    for to in [12, 48] {
        let _ = fs::remove_dir_all(&new);
        copy_dir(&old.join("test"), &new.join("test"));
        open(&new, &three(to), &pools).close().unwrap();
        // The first partitions have changed. Of the next one, a part of the new file is there, or all of it.
        for changed in 0..=3u16 {
            for share in [None, Some(0), Some(1), Some(50), Some(100)] {
                for capacity in [to, 24, 16, 96] {
                    let cut = base.path().join("cut");
                    copy_dir(&old.join("test"), &cut.join("test"));
                    let name = |partition: u16| format!("test/part-{partition:03}.cold");
                    for partition in 0..changed {
                        fs::copy(new.join(name(partition)), cut.join(name(partition))).unwrap();
                    }
                    if let (Some(share), true) = (share, changed < 3) {
                        let whole = fs::read(new.join(name(changed))).unwrap();
                        let begun = &whole[..whole.len() * share / 100];
                        fs::write(cut.join(format!("{}.new", name(changed))), begun).unwrap();
                    }
                    let tier = open(&cut, &three(capacity), &pools);
                    check(&tier, &model);
                    tier.close().unwrap();
                    let files = cut.join("test").read_dir().unwrap().map(|entry| entry.unwrap().file_name());
                    assert!(!files.into_iter().any(|name| name.to_string_lossy().ends_with(".cold.new")));
                    for partition in 0..3 {
                        assert_eq!(part_bytes(&cut, partition), three(capacity).capacity_bytes() / 3);
                    }
                    fs::remove_dir_all(&cut).unwrap();
                }
            }
        }
    }
}

#[test]
fn growth_taken_back_before_it_is_used_only_sets_the_length() {
    let dir = tempfile::tempdir().unwrap();
    let (_manager, pools) = pools();
    let tier = open(dir.path(), &with_mib(4), &pools);
    let model = fill(&tier, 300);
    tier.close().unwrap();
    let file = File::options().write(true).open(dir.path().join("test/part-000.cold")).unwrap();
    for mib in [64, 8, 4] {
        // The state that a cut leaves right after the length was set.
        file.set_len(mib << 20).unwrap();
        let ino = |path: &Path| std::os::unix::fs::MetadataExt::ino(&path.metadata().unwrap());
        let before = ino(&dir.path().join("test/part-000.cold"));
        let tier = open(dir.path(), &with_mib(4), &pools);
        assert_eq!(ino(&dir.path().join("test/part-000.cold")), before, "it is the same file");
        check(&tier, &model);
    }
    // Once it is used, the same capacity means a rewrite.
    let tier = open(dir.path(), &with_mib(16), &pools);
    let more = puts_until_full(&tier, 1_000_000);
    for key in 1_000_000..1_000_000 + more {
        tier.remove(&key.to_le_bytes()).unwrap();
    }
    tier.close().unwrap();
    check(&open(dir.path(), &with_mib(4), &pools), &model);
}

#[test]
fn file_shorter_than_its_headers_state_is_refused_untouched() {
    let dir = tempfile::tempdir().unwrap();
    let (_manager, pools) = pools();
    let tier = open(dir.path(), &with_mib(8), &pools);
    let model = fill(&tier, 300);
    tier.close().unwrap();
    let path = dir.path().join("test/part-000.cold");
    let whole = fs::read(&path).unwrap();
    for bytes in [0, 15, 16, 17, 100, 65_536, 100_000, 4 << 20, (8 << 20) - 1] {
        fs::write(&path, &whole[..bytes]).unwrap();
        for mib in [4, 8, 16] {
            let refused = ColdTier::open(dir.path(), "test", with_mib(mib), pools.clone()).unwrap_err();
            let is_alerted = matches!(refused, OpenError::Geometry { .. } | OpenError::Mount(_));
            assert!(is_alerted, "{bytes} bytes, {mib} MiB: {refused}");
            assert!(fs::read(&path).unwrap() == whole[..bytes]);
        }
    }
    fs::write(&path, &whole).unwrap();
    check(&open(dir.path(), &with_mib(8), &pools), &model);
}

#[test]
fn tier_that_holds_nothing_takes_any_capacity() {
    let dir = tempfile::tempdir().unwrap();
    let (_manager, pools) = pools();
    for mib in [8, 64, 4, 300, 5] {
        let tier = open(dir.path(), &with_mib(mib), &pools);
        assert_eq!(part_bytes(dir.path(), 0), with_mib(mib).capacity_bytes());
        assert!(tier.is_empty().unwrap());
        tier.close().unwrap();
    }
    // A tier emptied by removes: its log may have headers, or only markers.
    for mib in [6, 32, 4] {
        let tier = open(dir.path(), &with_mib(mib), &pools);
        let model = fill(&tier, 200);
        check(&tier, &model);
        for key in model.keys() {
            tier.remove(key).unwrap();
        }
        tier.compaction().run_compaction(CompactionTask::CompactData, PATIENCE).unwrap();
        tier.close().unwrap();
    }
}

#[test]
fn configured_segments_replace_those_of_the_tier() {
    let dir = tempfile::tempdir().unwrap();
    let (_manager, pools) = pools();
    let tier = open(dir.path(), &with_mib(8), &pools);
    let model = fill(&tier, 900);
    tier.close().unwrap();
    for kib in [128, 100, 256, 64] {
        let config = small().capacity_bytes(8 << 20).segment_bytes(kib << 10).build().unwrap();
        check(&open(dir.path(), &config, &pools), &model);
        assert_eq!(part_bytes(dir.path(), 0), config.capacity_bytes());
        // Segments of no configured length stay as they are.
        check(&open(dir.path(), &with_mib(8), &pools), &model);
        assert_eq!(part_bytes(dir.path(), 0), config.capacity_bytes());
    }
}

#[test]
fn reader_takes_the_capacity_that_is_there() {
    let dir = tempfile::tempdir().unwrap();
    let (_manager, pools) = pools();
    let tier = open(dir.path(), &with_mib(8), &pools);
    let model = fill(&tier, 900);
    tier.close().unwrap();
    for mib in [4, 8, 300] {
        let reader = small().capacity_bytes(mib << 20).read_only(true).build().unwrap();
        let tier = open(dir.path(), &reader, &pools);
        assert_eq!(tier.len().unwrap(), model.len() as u64);
        model.iter().for_each(|(key, value)| assert!(tier.get(key).unwrap().as_ref() == Some(value)));
        tier.close().unwrap();
        assert_eq!(part_bytes(dir.path(), 0), 8 << 20);
    }
}

#[test]
fn damaged_value_refuses_a_rewrite_and_stays_damaged() {
    let dir = tempfile::tempdir().unwrap();
    let (_manager, pools) = pools();
    let tier = open(dir.path(), &with_mib(8), &pools);
    for key in 0..900u32 {
        tier.put(&key.to_le_bytes(), &value(key, 0, 2_000)).unwrap();
    }
    tier.close().unwrap();
    let path = dir.path().join("test/part-000.cold");
    let bytes = fs::read(&path).unwrap();
    let needle = value(17, 0, 2_000);
    let at = bytes.windows(2_000).position(|window| window == needle).unwrap();
    let file = File::options().write(true).open(&path).unwrap();
    file.write_all_at(&[needle[1_000] ^ 1], at as u64 + 1_000).unwrap();
    let refused = ColdTier::open(dir.path(), "test", with_mib(4), pools.clone()).unwrap_err();
    assert!(matches!(refused, OpenError::Damaged { records: 1, .. }), "{refused}");
    // Growing leaves every record where it is.
    for mib in [8, 16] {
        let tier = open(dir.path(), &with_mib(mib), &pools);
        assert_eq!(tier.get(&17u32.to_le_bytes()), Err(GetError::Damaged));
        assert_eq!(tier.get(&18u32.to_le_bytes()).unwrap(), Some(value(18, 0, 2_000)));
    }
}

#[test]
fn tier_left_open_by_a_cut_is_rewritten_whole() {
    let base = tempfile::tempdir().unwrap();
    let (_manager, pools) = pools();
    let tier = open(base.path(), &with_mib(16), &pools);
    let mut model = Model::new();
    for round in 0..12u32 {
        for key in 0..200u32 {
            let name = (key + 40 * round).to_le_bytes().to_vec();
            let value = value(key, round, 20 + (key as usize * 53) % 1_500);
            tier.put(&name, &value).unwrap();
            model.insert(name, value);
        }
        tier.put_with(b"end", &round.to_le_bytes(), SYNCED).unwrap();
        model.insert(b"end".to_vec(), round.to_le_bytes().to_vec());
        // The state that a cut leaves: segments are open, and the log is not closed.
        let cut = base.path().join(format!("cut {round}"));
        copy_dir(&base.path().join("test"), &cut.join("test"));
        check(&open(&cut, &with_mib(5), &pools), &model);
    }
}

#[test]
fn lifetimes_outlive_a_rewrite_and_the_expired_are_left_behind() {
    static CLOCK: ManualClock = ManualClock::new(1_800_000_000);
    let dir = tempfile::tempdir().unwrap();
    let (_manager, pools) = pools();
    let config = |mib: u64| small().capacity_bytes(mib << 20).clock(&CLOCK).build().unwrap();
    let tier = open(dir.path(), &config(32), &pools);
    for key in 0..6_000u32 {
        tier.put_with_ttl(&key.to_le_bytes(), &value(key, 0, 2_000), Duration::from_secs(50)).unwrap();
    }
    tier.put_with_ttl(b"later", b"v", Duration::from_secs(1_000)).unwrap();
    CLOCK.advance_s(100);
    tier.put_with(b"for ever", b"v", SYNCED).unwrap();
    tier.close().unwrap();
    let tier = open(dir.path(), &config(4), &pools);
    assert_eq!((tier.get(&3u32.to_le_bytes()).unwrap(), tier.len().unwrap()), (None, 2));
    assert!(tier.contains(b"later").unwrap());
    // The clock of the log is carried over, so expired values stay expired.
    drop(tier);
    CLOCK.set_s(1_800_000_000);
    let tier = open(dir.path(), &config(5), &pools);
    assert_eq!(tier.len().unwrap(), 2);
    CLOCK.advance_s(2_000);
    eventually("its lifetime ends as it was put", || !tier.contains(b"later").unwrap());
    assert!(tier.contains(b"for ever").unwrap());
}

#[test]
fn random_capacities_hold_the_values_of_the_model() {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let mut below = |end: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 20) % end
    };
    let dir = tempfile::tempdir().unwrap();
    let (_manager, pools) = pools();
    let (mut model, mut refused) = (Model::new(), 0);
    for round in 0..60u32 {
        let capacity = (4 << 20) + below(28 << 20);
        let config = small().capacity_bytes(capacity).partitions(2).build().unwrap();
        let tier = match ColdTier::open(dir.path(), "test", config, pools.clone()) {
            Ok(tier) => tier,
            Err(OpenError::DoesNotFit { .. }) => {
                refused += 1;
                continue;
            }
            Err(error) => panic!("round {round}, {capacity} bytes: {error}"),
        };
        check(&tier, &model);
        for _ in 0..below(1_500) {
            let key = (below(1_200) as u32).to_le_bytes().to_vec();
            if below(3) == 0 {
                tier.remove(&key).unwrap();
                model.remove(&key);
                continue;
            }
            let long = if below(100) == 0 { below(200_000) } else { below(6_000) };
            let value = value(round, u32::from_le_bytes(key[..4].try_into().unwrap()), long as usize);
            match tier.put(&key, &value) {
                Ok(()) => drop(model.insert(key, value)),
                Err(PutError::Full { .. } | PutError::ValueTooLong { .. }) => {}
                Err(error) => panic!("{error}"),
            }
        }
        if below(2) == 0 { tier.close().unwrap() } else { drop(tier) }
    }
    assert!((1..40).contains(&refused), "{refused}");
}

#[test]
fn converted_tier_holds_its_long_values() {
    let dir = tempfile::tempdir().unwrap();
    let (_manager, pools) = pools();
    let tier = open(dir.path(), &with_mib(16), &pools);
    let model = fill(&tier, 300);
    tier.close().unwrap();
    convert_tier(&dir.path().join("test"), &dir.path().join("new")).unwrap();
    let tier = ColdTier::open(dir.path(), "new", with_mib(16), pools).unwrap();
    check(&tier, &model);
}
