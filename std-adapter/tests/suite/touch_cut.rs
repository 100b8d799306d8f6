//! Long values that are touched while others are written, on a medium that is cut again and again: their pieces stay.

use core::sync::atomic::{AtomicBool, Ordering::SeqCst};
use core::time::Duration;
use std::time::Instant;

use coldpress_std::{
    CodecId, ColdTier, ColdTierHandle, CompactionTask, Durability, FullPolicy, GetError, PutOptions, Ttl,
    Update, UpdateError,
};

use crate::common::{PATIENCE, SYNCED, open_on, pools, recount, small, value};
use crate::double::Double;

/// How long one test runs.
const RUN_FOR: Duration = Duration::from_secs(2);
const KEYS: u8 = 4;
const LENGTHS: [usize; 4] = [14_000, 60_000, 100, 150_000];

/// Random numbers; the same for the same seed.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % bound
    }
}

/// Ends the other threads of a test, in a panic too.
struct End<'a>(&'a AtomicBool);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.store(true, SeqCst);
    }
}

/// The surroundings of a test, and what they allow.
#[derive(Clone, Copy)]
struct Surroundings {
    is_failing: bool,
    full: FullPolicy,
}

impl Surroundings {
    fn allow<R>(self, outcome: &Result<R, UpdateError>) -> bool {
        outcome.is_ok() || self.is_failing
    }

    /// Checks a value that was put and from then on only touched.
    fn check_kept(self, found: Result<Option<Vec<u8>>, GetError>, expected: &[u8]) {
        match found {
            Ok(Some(found)) => assert!(found == expected),
            Ok(None) => assert_eq!(self.full, FullPolicy::Evict, "the value is gone"),
            Err(error) => panic!("{error}"),
        }
    }
}

fn kept_key(key: u8) -> [u8; 2] {
    [0, key]
}

fn written_key(key: u8) -> [u8; 2] {
    [1, key]
}

/// Touches a value of the one kind, and does any write to one of the other.
fn write(tier: ColdTierHandle, values: &[Vec<u8>], random: &mut Random, surroundings: Surroundings) {
    let ttl = [Ttl::Never, Ttl::After(Duration::from_secs(3_600)), Ttl::Keep][random.below(3)];
    let durability = [Durability::Buffered, Durability::Flushed, Durability::Synced][random.below(3)];
    let options = PutOptions { ttl, durability: Some(durability) };
    let key = random.below(KEYS.into()) as u8;
    let bytes = &values[random.below(values.len())];
    let touched = tier.touch_with(&kept_key(key), options);
    assert!(surroundings.allow(&touched), "{touched:?}");
    let key = written_key(key);
    let outcome = match random.below(8) {
        0..3 => tier.put_with(&key, bytes, options).map_err(UpdateError::from),
        3 => tier.remove_with(&key, durability).map(drop).map_err(UpdateError::from),
        4 => tier.put_if_absent(&key, bytes, options).map(drop).map_err(UpdateError::from),
        5 => tier.update(&key, options, |_| Update::Put(bytes.clone())).map(drop),
        _ => tier.touch_with(&key, options).map(drop),
    };
    assert!(surroundings.allow(&outcome), "{outcome:?}");
}

/// Checks a tier after a cut, before and after it has swept pieces that no head names.
fn check(tier: &ColdTier, values: &[Vec<u8>], surroundings: Surroundings) {
    for _ in 0..2 {
        for key in 0..KEYS {
            surroundings.check_kept(tier.get(&kept_key(key)), &values[usize::from(key)]);
            let found = tier.get(&written_key(key)).unwrap();
            assert!(found.is_none_or(|found| values.contains(&found)));
        }
        tier.flush().unwrap();
        tier.compaction().run_compaction(CompactionTask::CompactData, PATIENCE).unwrap();
    }
    recount(tier);
}

fn cut_while_touched(surroundings: Surroundings) {
    let (_manager, pools) = pools();
    let config = small().codec(CodecId::Raw).keep_hot_values(false).durability(Durability::Buffered);
    let config = config.full(surroundings.full).build().unwrap();
    let double = Double::new(config.capacity_bytes());
    let tier = open_on(&double, &config, &pools);
    // The values of a tier that evicts do not fit it together.
    let times = if surroundings.full == FullPolicy::Evict { 3 } else { 1 };
    let values: Vec<Vec<u8>> = (0..8).map(|n| value(n, 0, times * LENGTHS[n as usize % 4])).collect();
    for key in 0..KEYS {
        tier.put_with(&kept_key(key), &values[usize::from(key)], SYNCED).unwrap();
    }
    let is_over = AtomicBool::new(false);
    let (handle, is_over, values) = (tier.handle(), &is_over, &values);
    std::thread::scope(|scope| {
        let _end = End(is_over);
        for thread in 1..4 {
            scope.spawn(move || {
                let mut random = Random(0x9E37_79B9_7F4A_7C15 * thread);
                while !is_over.load(SeqCst) {
                    write(handle, values, &mut random, surroundings);
                }
            });
        }
        scope.spawn(move || {
            while !is_over.load(SeqCst) {
                let _ = handle.compaction().run_compaction(CompactionTask::CompactData, PATIENCE);
            }
        });
        let left = Double::new(config.capacity_bytes());
        let mut random = Random(0xC0FF_EE00_1234_5678);
        let begun = Instant::now();
        while begun.elapsed() < RUN_FOR {
            std::thread::sleep(Duration::from_millis(random.below(30) as u64));
            if surroundings.is_failing {
                let failing = [&double.writes_fail, &double.syncs_fail, &double.erases_fail];
                failing[random.below(3)].store(u32::from(random.below(3) == 0), SeqCst);
            }
            let odds = random.below(5);
            left.cut_from(double, || random.below(4) < odds);
            check(&open_on(&left, &config, &pools), values, surroundings);
        }
    });
    recount(&tier);
}

#[test]
fn touched_long_values_cut_anywhere_are_whole() {
    cut_while_touched(Surroundings { is_failing: false, full: FullPolicy::Reject });
}

#[test]
fn touched_long_values_on_a_failing_medium_are_whole() {
    cut_while_touched(Surroundings { is_failing: true, full: FullPolicy::Reject });
}

#[test]
fn touched_long_values_of_a_tier_that_evicts_are_whole() {
    cut_while_touched(Surroundings { is_failing: false, full: FullPolicy::Evict });
}
