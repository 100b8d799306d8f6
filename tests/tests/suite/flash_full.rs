//! A full flash tier whose power is cut again and again, mostly in the middle of compaction (rule 12, I-GC-2). Both drivers mount it in
//! turn.

use std::collections::BTreeMap;

use coldpress_core::drive::Now;
use coldpress_embedded::flash::{FlashConfig, FlashMemory, PutError, buckets_for};
use coldpress_tests::driver::{AnyNorTier, Driver};
use coldpress_tests::flash::Flash;
use coldpress_tests::sim::Rng;

type Memory<const SEGMENTS: usize> = FlashMemory<SEGMENTS, { buckets_for(1_700) }, 96>;
type Tier<'m, const UNIT: usize, const SECTOR: usize> = AnyNorTier<'m, &'m mut Flash<UNIT, SECTOR>>;

/// The contents that a key may have: the acknowledged value, or one whose put was cut.
type Model = BTreeMap<u32, Vec<u32>>;

const NOW: Now = Now { monotonic_ms: 1, wall_s: 50 };

fn built<'m, const U: usize, const S: usize, const N: usize>(
    memory: &'m mut Memory<N>,
    flash: &'m mut Flash<U, S>,
    driver: Driver,
) -> Tier<'m, U, S> {
    match AnyNorTier::new(driver, FlashConfig::new(S as u32, 1), memory, flash, 0xFF) {
        Ok(tier) => tier,
        Err(error) => panic!("{error}"),
    }
}

fn value(key: u32, version: u32, bytes: usize) -> Vec<u8> {
    (0..bytes).map(|at| (key * 7 + version * 13 + at as u32) as u8).collect()
}

/// Puts until the value is taken, the power is gone, or no progress is made.
fn put<const U: usize, const S: usize>(
    tier: &mut Tier<'_, U, S>,
    key: u32,
    value: &[u8],
) -> Result<(), PutError> {
    for _ in 0..2_000 {
        match tier.put(NOW, &key.to_le_bytes(), value) {
            Err(PutError::NeedsCompaction) if tier.flash().has_power() => drop(tier.poll(NOW, 8)),
            done => return done,
        }
    }
    panic!("I-GC-2: key {key} is put off for ever\n{:?}", tier.stats());
}

fn check<const U: usize, const S: usize>(tier: &mut Tier<'_, U, S>, model: &mut Model, bytes: usize) {
    let mut out = [0; 96];
    for (key, versions) in model {
        let found = tier.get(NOW, &key.to_le_bytes(), &mut out).map(|found| found.map(<[u8]>::to_vec));
        let is = |version: &u32| found == Ok(Some(value(*key, *version, bytes)));
        let Some(at) = versions.iter().position(is) else {
            panic!("I-LOG-4: key {key} reads as {found:?}, one of {versions:?} was expected");
        };
        *versions = vec![versions[at]];
    }
}

fn fill<const U: usize, const S: usize>(tier: &mut Tier<'_, U, S>, bytes: usize) -> Model {
    let mut model = Model::new();
    for key in 0..10_000 {
        match put(tier, key, &value(key, 0, bytes)) {
            Ok(()) => drop(model.insert(key, vec![0])),
            Err(PutError::Full) => return model,
            Err(error) => panic!("{error}"),
        }
    }
    panic!("a medium without end");
}

/// Lives of a few changes each on a full medium, and a longer one now and then.
fn cut_often<const U: usize, const S: usize, const N: usize>(
    bytes: usize,
    seed: u64,
    changes_max: u64,
    lives: u32,
) {
    let mut memory = Box::new(Memory::<N>::new());
    let (mut flash, mut rng) = (Flash::<U, S>::new(N, 0xFF), Rng::new(seed));
    let mut model = {
        let mut tier = built(&mut memory, &mut flash, Driver::of_seed(seed + 1));
        tier.mount(NOW).unwrap();
        fill(&mut tier, bytes)
    };
    let keys = model.len() as u32;
    let mut version = 0;
    for life in 0..lives {
        flash.power_on();
        let is_long = life % 20 == 19;
        if !is_long {
            flash.cut_after(rng.below(changes_max), rng.below(u64::MAX));
        }
        let mut tier = built(&mut memory, &mut flash, Driver::of_seed(seed + u64::from(life)));
        let is_mounted = tier.mount(NOW).is_ok();
        assert!(is_mounted || !tier.flash().has_power(), "the mount always succeeds");
        if !is_mounted {
            continue;
        }
        let has_power = |tier: &Tier<'_, U, S>| tier.flash().has_power();
        if has_power(&tier) {
            check(&mut tier, &mut model, bytes);
        }
        for _ in 0..if is_long { 2 * keys } else { keys } {
            if !has_power(&tier) {
                break;
            }
            version += 1;
            let key = rng.below(keys.into()) as u32;
            let put = put(&mut tier, key, &value(key, version, bytes));
            let Some(versions) = model.get_mut(&key) else { continue };
            match put {
                Ok(()) => *versions = vec![version],
                Err(error) => {
                    assert!(!has_power(&tier), "life {life}: {error}\n{:?}", tier.stats());
                    versions.push(version);
                }
            }
        }
    }
}

#[test]
fn full_tier_cut_in_the_middle_of_compaction_always_goes_on() {
    for (bytes, changes_max) in [(8, 12), (30, 12), (30, 40), (72, 6), (72, 12), (72, 80)] {
        for seed in 0..6 {
            cut_often::<4, 512, 14>(bytes, seed, changes_max, 400);
        }
    }
}

/// With 33 segments or more several are kept in reserve.
#[test]
fn full_tier_of_many_segments_always_goes_on() {
    for (bytes, changes_max) in [(8, 12), (30, 40), (72, 6), (72, 80)] {
        for seed in 0..3 {
            cut_often::<4, 512, 33>(bytes, seed, changes_max, 200);
        }
    }
}

#[test]
fn full_tier_of_longest_records_always_goes_on() {
    for (seed, changes_max) in [6, 12, 40].into_iter().enumerate() {
        // With an origin these records take 96 bytes.
        cut_often::<4, 512, 14>(80, seed as u64, changes_max, 200);
        cut_often::<4, 512, 33>(80, seed as u64, changes_max, 200);
    }
}

#[test]
fn full_tier_of_few_segments_always_goes_on() {
    for (bytes, changes_max) in [(8, 12), (64, 6), (72, 40)] {
        for seed in 0..3 {
            cut_often::<4, 512, 2>(bytes, seed, changes_max, 300);
            cut_often::<8, 512, 3>(bytes, seed, changes_max, 300);
            cut_often::<32, 768, 4>(bytes, seed, changes_max, 300);
            cut_often::<4, 512, 6>(bytes, seed, changes_max, 200);
            cut_often::<4, 512, 8>(bytes, seed, changes_max, 100);
            cut_often::<8, 512, 12>(bytes, seed, changes_max, 100);
        }
    }
}

/// Sectors as microcontrollers have them.
#[test]
fn full_tier_of_large_sectors_always_goes_on() {
    cut_often::<32, 16_384, 4>(72, 1, 60, 40);
    cut_often::<4, 4096, 2>(64, 2, 30, 100);
    // 1,486 records: a put that finds the flash full relocates all of them.
    cut_often::<8, 131_072, 2>(72, 3, 4_000, 12);
}
