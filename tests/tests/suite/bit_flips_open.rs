//! A bit of a service's file turns over, in a segment that was open at a crash and has no footer yet. Only the record that it
//! hit is lost, and reported, at the mount and after all tasks of compaction.

use std::collections::BTreeMap;

use coldpress_core::compaction::CompactionTask::{CompactData, RebuildIndex};
use coldpress_std::clock::ManualClock;
use coldpress_std::image::Image;
use coldpress_std::medium::ServiceMedium;
use coldpress_std::pool::{AllocationManager, PoolConfig, PoolCoordinator};
use coldpress_std::{CodecId, ColdTier, ColdTierConfig, Durability, PutOptions};
use coldpress_tests::outage::Double;
use coldpress_tests::sim::{Rng, STRIDE, mixed};
use core::time::Duration;

static CLOCK: ManualClock = ManualClock::new(1_000_000);
const PATIENCE: Duration = Duration::from_secs(300);
const KEYS: u64 = 60;
const SEGMENT_BYTES: u64 = 16 << 10;
/// Of the flips, one in so many is followed through a tier's compaction and its next open.
const FOLLOWED: usize = 251;

fn config() -> ColdTierConfig {
    let builder = ColdTierConfig::builder().capacity_bytes(16 * SEGMENT_BYTES).segment_bytes(16 << 10);
    let builder = builder.codec(CodecId::Raw).keep_hot_values(false).clock(&CLOCK);
    builder.op_timeout(PATIENCE).close_timeout(PATIENCE).build().unwrap()
}

fn key_of(key: u64) -> Vec<u8> {
    // Some are so long that their records have long lengths.
    let len = if key % 16 == 5 { 300 } else { 3 + key as usize % 9 };
    key.to_le_bytes().into_iter().cycle().take(len.max(8)).collect()
}

/// All contents that a key ever had, the newest last.
type Model = BTreeMap<Vec<u8>, Vec<Option<Vec<u8>>>>;

fn open(double: &'static Double, pools: &PoolCoordinator) -> ColdTier {
    ColdTier::open_with(vec![double.another_view().unwrap()], config(), pools.clone()).unwrap()
}

fn write(tier: &ColdTier, model: &mut Model, rng: &mut Rng, writes: u32) {
    for _ in 0..writes {
        let key = key_of(rng.below(KEYS));
        let states = model.entry(key.clone()).or_insert_with(|| vec![None]);
        if rng.permille(200) {
            tier.remove_with(&key, Durability::Synced).unwrap();
            states.push(None);
        } else {
            // Equal lengths too: a length that is wrong may then lead to a record that is not the next one.
            let len = [0, 24, 24, 24, 60, 300][rng.index(6)];
            let value: Vec<u8> = (0..len).map(|at| (mixed(rng.next_u64() ^ at) & 0xFF) as u8).collect();
            let ttl = rng.permille(300).then_some(Duration::from_secs(3600));
            let options = PutOptions { ttl: ttl.into(), durability: Some(Durability::Synced) };
            tier.put_with(&key, &value, options).unwrap();
            states.push(Some(value));
        }
    }
}

/// The bytes of a medium whose tier was killed, with all acknowledged writes durable; and the places of the records in segments
/// without a footer.
fn killed(pools: &PoolCoordinator) -> (Vec<u8>, Model, Vec<core::ops::Range<usize>>) {
    let double = Double::leak();
    let bytes = usize::try_from(config().capacity_bytes()).unwrap();
    double.load(&vec![0; bytes], false);
    let (mut model, mut rng) = (Model::new(), Rng::new(3));
    let tier = open(double, pools);
    write(&tier, &mut model, &mut rng, 260);
    let mut left = vec![0; bytes];
    double.read_shared(0, &mut left).unwrap();
    drop(tier);
    let image = Image::read_from(left.clone()).unwrap();
    let mut places = Vec::new();
    for (index, segment) in (0..).zip(image.segments()) {
        if segment.has_footer() {
            continue;
        }
        for record in image.examine(index).unwrap().records {
            let at = index as usize * SEGMENT_BYTES as usize + record.location.offset as usize;
            places.push(at..at + record.record_bytes as usize);
        }
    }
    (left, model, places)
}

/// The keys that don't read as they should: at most one, which reads as an older content.
fn lost(
    model: &Model,
    why: &str,
    read: impl Fn(&[u8]) -> Option<Vec<u8>>,
) -> BTreeMap<Vec<u8>, Option<Vec<u8>>> {
    let differs = |(key, states): (&Vec<u8>, &Vec<Option<Vec<u8>>>)| {
        let found = read(key);
        assert!(states.contains(&found), "I-LOG-2, {why}: key {} reads {found:?}", key.escape_ascii());
        (states.last() != Some(&found)).then(|| (key.clone(), found))
    };
    let lost: BTreeMap<_, _> = model.iter().filter_map(differs).collect();
    assert!(lost.len() <= 1, "rule 8, {why}: more than the damaged record is lost: {lost:?}");
    lost
}

/// Follows a damaged file through compaction and the next open.
fn follow(bytes: &[u8], model: &Model, pools: &PoolCoordinator, why: &str) {
    let double = Double::leak();
    double.load(bytes, false);
    let tier = open(double, pools);
    let before = lost(model, why, |key| tier.get(key).unwrap());
    for task in [CompactData, RebuildIndex, CompactData] {
        tier.compaction().run_compaction(task, PATIENCE).unwrap();
        assert_eq!(lost(model, why, |key| tier.get(key).unwrap()), before, "{why}: after {task}");
    }
    // Enough writes that every segment is cleaned that can be.
    for round in 0..200u32 {
        tier.put(b"other", &round.to_le_bytes().repeat(100)).unwrap();
        if round % 8 == 0 {
            tier.flush().unwrap();
        }
    }
    tier.compaction().run_compaction(CompactData, PATIENCE).unwrap();
    assert_eq!(lost(model, why, |key| tier.get(key).unwrap()), before, "{why}: after churn");
    tier.close().unwrap();
    let tier = open(double, pools);
    assert_eq!(lost(model, why, |key| tier.get(key).unwrap()), before, "I-LOG-5, {why}: at the next open");
}

#[test]
fn open_segment_with_any_flipped_bit_loses_only_its_record() {
    let (_manager, pools) = AllocationManager::new(&PoolConfig::builder().build().unwrap()).unwrap();
    let (left, model, places) = killed(&pools);
    let (mut flips, mut harmless, mut followed) = (0, 0, 0);
    for place in &places {
        for bit in (place.start * 8..place.end * 8).step_by(STRIDE) {
            let mut bytes = left.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            let why =
                format!("bit {} of byte {} of the record at {}", bit % 8, bit / 8 - place.start, place.start);
            let image = Image::read_from(bytes.clone()).unwrap();
            let lost = lost(&model, &why, |key| image.get(key, image.clock_s()).unwrap());
            let report = image.mount_report();
            let is_reported = report.damaged_records + report.torn_records > 0;
            assert!(is_reported || lost.is_empty(), "rule 8, {why}: lost without a report");
            flips += 1;
            harmless += usize::from(!is_reported);
            if flips % FOLLOWED == 0 {
                let segment = u32::try_from(place.start / SEGMENT_BYTES as usize).unwrap();
                let contents = image.examine(segment).unwrap();
                assert_eq!(
                    contents.damage.len() + usize::from(contents.torn_bytes > 0),
                    1,
                    "{why}: {contents:?}"
                );
                follow(&bytes, &model, &pools, &why);
                followed += 1;
            }
        }
    }
    println!("{} records, {flips} flips, {harmless} in padding, {followed} followed", places.len());
    assert!(places.len() > 40 && followed > 10 && harmless == 0);
}
