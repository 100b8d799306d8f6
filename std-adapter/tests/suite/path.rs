//! The thin path from end to end: put, overwrite, compact, reopen, with every byte checked.

use crate::common::{PATIENCE, SYNCED, open, open_on, pools, recount, small, value};
use crate::double::Double;
use coldpress_std::CompactionTask;
use coldpress_std::compaction::Outcome;

#[test]
fn values_overwritten_and_compacted_reopen_as_the_newest() {
    let dir = tempfile::tempdir().unwrap();
    let (_manager, pools) = pools();
    let config = small().build().unwrap();
    let tier = open(dir.path(), &config, &pools);
    let keys = 1500u32;
    for round in 0..6 {
        for key in 0..keys {
            tier.put(&key.to_le_bytes(), &value(key, round, 1000)).unwrap();
        }
        for key in 0..keys {
            assert_eq!(
                tier.get(&key.to_le_bytes()).unwrap(),
                Some(value(key, round, 1000)),
                "{key} in {round}"
            );
        }
    }
    tier.flush().unwrap();
    let report = tier.compaction().run_compaction(CompactionTask::CompactData, PATIENCE).unwrap();
    assert!(matches!(report.outcome, Outcome::Completed | Outcome::Partial | Outcome::Refused), "{report:?}");
    let stats = tier.stats();
    assert!(stats.peak_bytes <= stats.capacity_bytes, "{stats:?}");
    assert_eq!((stats.keys, stats.puts), (u64::from(keys), u64::from(6 * keys)));
    recount(&tier);
    for key in (0..keys).step_by(3) {
        assert!(tier.remove(&key.to_le_bytes()).unwrap());
    }
    tier.close().unwrap();

    let tier = open(dir.path(), &config, &pools);
    recount(&tier);
    for key in 0..keys {
        let expected = (key % 3 != 0).then(|| value(key, 5, 1000));
        assert_eq!(tier.get(&key.to_le_bytes()).unwrap(), expected, "{key}");
    }
    assert_eq!(tier.len().unwrap(), 1000);
    tier.close().unwrap();
}

#[test]
fn synced_put_after_a_cut_is_there_and_a_buffered_one_whole() {
    let (_manager, pools) = pools();
    let config = small().build().unwrap();
    let mut double = Double::new(config.capacity_bytes());
    for round in 0..5u32 {
        let tier = open_on(&double, &config, &pools);
        if round > 0 {
            assert_eq!(tier.get(b"key").unwrap(), Some(value(1, round - 1, 77)));
            let buffered = tier.get(b"buffered").unwrap();
            let earlier = (0..round).map(|round| value(2, round, 77));
            assert!(buffered.is_none_or(|found| earlier.into_iter().any(|put| put == found)));
        }
        tier.put_with(b"key", &value(1, round, 77), SYNCED).unwrap();
        tier.put(b"buffered", &value(2, round, 77)).unwrap();
        // The next tier sees nothing that this one does from here on, its close included.
        double = double.cut();
    }
}
