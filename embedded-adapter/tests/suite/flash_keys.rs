//! Keys without end: within the promised number of keys, puts and removes go on for ever without a task.

use std::collections::BTreeMap;

use crate::ram::Ram;
use coldpress_core::drive::Now;
use coldpress_embedded::flash::{
    FlashConfig, FlashMemory, FlashTier, NorMedium, PutError, Reserved, buckets_for,
};

const KEYS: u32 = 100;
const SEGMENTS: usize = 16;
/// The first row of the table in the crate's README.
type Memory = FlashMemory<SEGMENTS, { buckets_for(KEYS as usize) }, 128>;
type Tier<'m> = FlashTier<'m, NorMedium<Ram<4, 4096>>>;

/// Operations of the medium that a poll may take.
const BUDGET: u32 = 64;
/// The polls that the crate's README and the documentation of `FlashTier::put` state: as many as there are segments.
const POLLS_MAX: u32 = SEGMENTS as u32;

const fn now(wall_s: u32) -> Now {
    Now { monotonic_ms: wall_s as u64 * 1_000, wall_s }
}

fn built(memory: &mut Memory, flash: Ram<4, 4096>) -> Tier<'_> {
    let mut tier = FlashTier::new(FlashConfig::new(4096, 1), memory, NorMedium::new(flash)).unwrap();
    tier.mount(now(1)).unwrap();
    tier
}

/// The keys that a store should hold, and the most polls that a call took.
struct Run {
    polls_max: u32,
    budget: u32,
    model: BTreeMap<u32, Vec<u8>>,
    worst_polls: u32,
    writes: u32,
    wall_s: u32,
}

impl Run {
    fn new(polls_max: u32) -> Self {
        Self { polls_max, budget: BUDGET, model: BTreeMap::new(), worst_polls: 0, writes: 0, wall_s: 0 }
    }

    fn tried<T>(
        &mut self,
        tier: &mut Tier<'_>,
        mut call: impl FnMut(&mut Tier<'_>, Now) -> Result<T, PutError>,
    ) -> Result<T, PutError> {
        let now = now(self.wall_s);
        for polls in 0..=self.polls_max {
            self.worst_polls = self.worst_polls.max(polls);
            match call(tier, now) {
                Err(PutError::NeedsCompaction | PutError::Busy(_)) => {
                    let _ = tier.poll(now, self.budget);
                }
                result => return result,
            }
        }
        panic!("put off for too long, {} keys: {:?}", self.model.len(), tier.stats());
    }

    fn put(&mut self, tier: &mut Tier<'_>, key: u32, bytes: usize) -> Result<(), PutError> {
        self.writes += 1;
        let value: Vec<u8> = (0..bytes).map(|at| (self.writes as usize * 7 + at) as u8).collect();
        self.tried(tier, |tier, now| tier.put(now, &key.to_le_bytes(), &value))?;
        self.model.insert(key, value);
        Ok(())
    }

    fn put_for(&mut self, tier: &mut Tier<'_>, key: u32, ttl_s: u32) -> Result<(), PutError> {
        self.tried(tier, |tier, now| tier.put_with_ttl(now, &key.to_le_bytes(), &[7; 64], ttl_s))
    }

    fn remove(&mut self, tier: &mut Tier<'_>, key: u32) {
        let had = self.model.remove(&key).is_some();
        assert_eq!(self.tried(tier, |tier, now| tier.remove(now, &key.to_le_bytes())), Ok(had), "key {key}");
    }

    fn check(&self, tier: &mut Tier<'_>, keys: core::ops::Range<u32>) {
        let mut out = [0; 128];
        for key in keys {
            let found = tier.get(now(self.wall_s), &key.to_le_bytes(), &mut out).unwrap();
            assert_eq!(found, self.model.get(&key).map(Vec::as_slice), "key {key}");
        }
        assert_eq!(tier.len() as usize, self.model.len());
    }
}

#[test]
fn all_keys_put_and_removed_in_cycles_go_on() {
    for bytes in [1, 64, 100] {
        let mut memory = Memory::new();
        let (mut tier, mut run) = (built(&mut memory, Ram::new(SEGMENTS)), Run::new(POLLS_MAX));
        for cycle in 0..40 {
            let keys = cycle * KEYS..(cycle + 1) * KEYS;
            for key in keys.clone() {
                assert_eq!(run.put(&mut tier, key, bytes), Ok(()), "cycle {cycle}, key {key}");
            }
            run.check(&mut tier, keys.clone());
            assert_eq!(run.put(&mut tier, u32::MAX, bytes), Err(PutError::KeysFull), "one beyond the limit");
            for key in keys.clone() {
                run.remove(&mut tier, key);
            }
            run.check(&mut tier, keys);
        }
        println!("{bytes} bytes: {} polls at most, {:?}", run.worst_polls, tier.stats());
    }
}

#[test]
fn rolling_window_of_keys_goes_on() {
    for (window, overwrites) in [(50, 0), (99, 0), (50, 9), (90, 1), (99, 7)] {
        let mut memory = Memory::new();
        let (mut tier, mut run) = (built(&mut memory, Ram::new(SEGMENTS)), Run::new(POLLS_MAX));
        for key in 0..3_000u32 {
            for _ in 0..=overwrites {
                assert_eq!(run.put(&mut tier, key, 64), Ok(()), "key {key} of {window}");
            }
            if let Some(key) = key.checked_sub(window) {
                run.remove(&mut tier, key);
            }
            if key % 500 == 0 {
                run.check(&mut tier, 0..key + 1);
            }
        }
        let keys_written = 3_000 * (2 + overwrites);
        println!(
            "window {window}, {overwrites} overwrites: {} polls at most, {} erases for {keys_written} calls",
            run.worst_polls,
            tier.stats().erases_total
        );
    }
}

/// One hundred keys at any time, each replaced by another one at random, and overwritten as often as not.
#[test]
fn random_churn_at_the_limit_goes_on_through_reboots() {
    let mut random = 7u64;
    let mut below = |bound: u64| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) % bound
    };
    let (mut flash, mut run, mut next) = (Ram::new(SEGMENTS), Run::new(POLLS_MAX), 0);
    for _ in 0..6 {
        let mut memory = Memory::new();
        let mut tier = built(&mut memory, flash);
        run.check(&mut tier, 0..next);
        for _ in 0..1_200 {
            let held: Vec<u32> = run.model.keys().copied().collect();
            let bytes = 1 + below(100) as usize;
            if held.len() < KEYS as usize {
                assert_eq!(run.put(&mut tier, next, bytes), Ok(()), "key {next}");
                next += 1;
            } else if below(2) == 0 {
                run.remove(&mut tier, held[below(held.len() as u64) as usize]);
            } else {
                assert_eq!(run.put(&mut tier, held[below(held.len() as u64) as usize], bytes), Ok(()));
            }
        }
        flash = tier.into_medium().into_flash();
    }
    println!("{} polls at most", run.worst_polls);
}

#[test]
fn reserve_makes_a_place_ahead_of_a_put() {
    let mut memory = Memory::new();
    let (mut tier, mut run) = (built(&mut memory, Ram::new(SEGMENTS)), Run::new(POLLS_MAX));
    for key in 0..2_000u32 {
        let mut polls = 0;
        while let Reserved::Compacting(work) = tier.reserve(now(0), 4, 64, BUDGET).unwrap() {
            assert!(work.erases <= 1 && work.operations <= BUDGET, "{work:?}");
            polls += 1;
            assert!(polls <= POLLS_MAX);
        }
        assert_eq!(tier.put(now(0), &key.to_le_bytes(), &[key as u8; 64]), Ok(()), "key {key}");
        run.model.insert(key, vec![key as u8; 64]);
        if let Some(key) = key.checked_sub(60) {
            while let Reserved::Compacting(_) = tier.reserve(now(0), 4, 64, BUDGET).unwrap() {}
            run.remove(&mut tier, key);
        }
    }
    run.check(&mut tier, 0..2_000);
}

#[test]
fn expired_keys_give_their_places_to_new_ones_at_once() {
    for overwrites in [0, 1, 9] {
        let mut memory = Memory::new();
        let (mut tier, mut run) = (built(&mut memory, Ram::new(SEGMENTS)), Run::new(POLLS_MAX));
        for round in 0..30u32 {
            run.wall_s = 1 + round * 100;
            for key in 0..KEYS {
                for _ in 0..=overwrites {
                    assert_eq!(
                        run.put_for(&mut tier, round * KEYS + key, 50),
                        Ok(()),
                        "round {round}, key {key}"
                    );
                }
            }
            assert_eq!(run.put_for(&mut tier, u32::MAX, 50), Err(PutError::KeysFull));
        }
        println!("{overwrites} overwrites: {} polls at most", run.worst_polls);
    }
}

#[test]
fn expired_values_give_their_space_to_new_ones_at_once() {
    type Many = FlashMemory<SEGMENTS, { buckets_for(1_000) }, 128>;
    for overwrites in [0, 2] {
        let (mut memory, mut run) = (Many::new(), Run::new(POLLS_MAX));
        let medium = NorMedium::new(Ram::new(SEGMENTS));
        let mut tier: Tier<'_> = FlashTier::new(FlashConfig::new(4096, 1), &mut memory, medium).unwrap();
        tier.mount(now(1)).unwrap();
        let fill = |run: &mut Run, tier: &mut Tier<'_>, round: u32| {
            (0..).find(|key| match run.put_for(tier, round * 1_000 + key, 50) {
                Ok(()) => {
                    for _ in 0..overwrites {
                        run.put_for(tier, round * 1_000 + key, 50).unwrap();
                    }
                    false
                }
                Err(error) => {
                    assert_eq!(error, PutError::Full);
                    true
                }
            })
        };
        run.wall_s = 1;
        let fits = fill(&mut run, &mut tier, 0);
        for round in 1..8 {
            run.wall_s += 100;
            let now_fits = fill(&mut run, &mut tier, round);
            assert!(now_fits >= fits, "round {round}: {now_fits:?} of {fits:?}");
        }
        println!("{overwrites} overwrites: {fits:?} fit, {} polls at most", run.worst_polls);
    }
}

/// The third row of the table in the crate's README: as many keys as it promises, each replaced by another one at random.
#[test]
fn large_index_at_its_limit_goes_on() {
    type Large = FlashMemory<64, { buckets_for(2_400) }, 128>;
    let (mut memory, mut run) = (Large::new(), Run::new(64));
    let medium = NorMedium::new(Ram::new(64));
    let mut tier: Tier<'_> = FlashTier::new(FlashConfig::new(4096, 1), &mut memory, medium).unwrap();
    tier.mount(now(1)).unwrap();
    let mut random = 3u64;
    for key in 0..12_000u32 {
        assert_eq!(run.put(&mut tier, key, 64), Ok(()), "key {key}");
        if run.model.len() == 2_400 {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let oldest = *run.model.keys().next().unwrap();
            let at = oldest + ((random >> 33) as u32 % (key - oldest + 1));
            let removed = *run.model.range(at..).next().unwrap().0;
            run.remove(&mut tier, removed);
        }
    }
    run.check(&mut tier, 0..12_000);
    println!("{} polls at most, {} erases", run.worst_polls, tier.stats().erases_total);
}

/// Every key replaced by another one in turn, after overwrites that have filled the counts of many.
#[test]
fn keys_replaced_in_turn_after_overwrites_go_on() {
    type Large = FlashMemory<64, { buckets_for(2_000) }, 88>;
    // One operation a poll: a put may find its place between two of them.
    for (budget, polls_max) in [(BUDGET, 64), (1, 100_000)] {
        let (mut memory, mut run) = (Large::new(), Run { budget, ..Run::new(polls_max) });
        let medium = NorMedium::new(Ram::new(64));
        let mut tier: Tier<'_> = FlashTier::new(FlashConfig::new(4096, 7), &mut memory, medium).unwrap();
        tier.mount(now(1)).unwrap();
        for key in 0..2_000 {
            assert_eq!(run.put(&mut tier, key, 64), Ok(()));
        }
        let mut random = 1u64;
        for _ in 0..5_000 {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            assert_eq!(run.put(&mut tier, ((random >> 33) % 2_000) as u32, 64), Ok(()));
        }
        for key in 0..2_000 {
            run.remove(&mut tier, key);
            assert_eq!(run.put(&mut tier, 2_000 + key, 64), Ok(()), "key {key}: {:?}", tier.stats());
        }
        run.check(&mut tier, 0..4_000);
        println!("{} polls at most, {} erases", run.worst_polls, tier.stats().erases_total);
    }
}
