//! Reads, writes and erases that fail now and then, over several lives and both drivers: every answer is right, or an error.

use core::cell::Cell;
use std::collections::BTreeMap;

use crate::driver::{AnyNorTier, AnyTier, Driver};
use crate::ram::{Ram, Refused};
use coldpress_core::compaction::CompactionTask;
use coldpress_core::drive::Now;
use coldpress_embedded::flash::{FlashConfig, FlashMemory, GetError, PutError, buckets_for};
use embedded_storage::nor_flash::{ErrorType, NorFlash, NorFlashErrorKind, ReadNorFlash};

const KEYS: u32 = 40;
const SEGMENT: usize = 512;
const LIVES: u32 = 4;
const ACTS: u32 = 300;
const SEEDS: u64 = if cfg!(debug_assertions) { 100 } else { 1_500 };
/// Histories that once ended in a wrong answer.
const FOUND: [u64; 13] =
    [2_361, 4_197, 9_909, 12_081, 16_005, 29_961, 33_913, 34_085, 38_729, 38_933, 53_173, 54_117, 56_349];

type Memory<const SEGMENTS: usize> = FlashMemory<SEGMENTS, { buckets_for(90) }, 96>;
type Flash = Ram<4, SEGMENT>;
type Tier<'m, 'f> = AnyNorTier<'m, Failing<'f>>;

#[derive(Debug, Clone)]
struct Rng(u64);

impl Rng {
    fn below(&mut self, bound: u32) -> u32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as u32 % bound
    }
}

/// One read, and one change, in so many fails; 0 for none.
#[derive(Debug, Clone, Copy, Default)]
struct Rates {
    reads: u32,
    changes: u32,
}

struct Failing<'f> {
    flash: Flash,
    rng: Rng,
    rates: &'f Cell<Rates>,
}

impl Failing<'_> {
    fn fails(&mut self, one_in: u32) -> bool {
        one_in > 0 && self.rng.below(one_in) == 0
    }

    fn change(&mut self, make: impl FnOnce(&mut Flash) -> Result<(), Refused>) -> Result<(), Refused> {
        if !self.fails(self.rates.get().changes) {
            return make(&mut self.flash);
        }
        if self.rng.below(2) == 0 {
            make(&mut self.flash)?;
        }
        Err(Refused(NorFlashErrorKind::Other))
    }
}

impl ErrorType for Failing<'_> {
    type Error = Refused;
}

impl ReadNorFlash for Failing<'_> {
    const READ_SIZE: usize = 1;

    fn read(&mut self, at: u32, bytes: &mut [u8]) -> Result<(), Refused> {
        self.flash.read(at, bytes)?;
        if !self.fails(self.rates.get().reads) {
            return Ok(());
        }
        match self.rng.below(3) {
            // The tier takes this one for a failure of the medium.
            0 => Err(Refused(NorFlashErrorKind::OutOfBounds)),
            // And this one for a unit that can't be read.
            1 => Err(Refused(NorFlashErrorKind::Other)),
            _ => {
                let at = self.rng.below(8 * bytes.len() as u32);
                bytes[at as usize / 8] ^= 1 << (at % 8);
                Ok(())
            }
        }
    }

    fn capacity(&self) -> usize {
        self.flash.capacity()
    }
}

impl NorFlash for Failing<'_> {
    const WRITE_SIZE: usize = 4;
    const ERASE_SIZE: usize = SEGMENT;

    fn erase(&mut self, from: u32, to: u32) -> Result<(), Refused> {
        self.change(|flash| flash.erase(from, to))
    }

    fn write(&mut self, at: u32, bytes: &[u8]) -> Result<(), Refused> {
        self.change(|flash| flash.write(at, bytes))
    }
}

/// The content of a key: its value, and the values that a mount may find instead, left by calls that failed.
#[derive(Debug, Clone, Default)]
struct Held {
    value: Option<Vec<u8>>,
    or: Vec<Option<Vec<u8>>>,
}

type Model = BTreeMap<u32, Held>;

/// Keys of all lengths: some longer than those that are their own identity.
fn key(number: u32) -> Vec<u8> {
    let prefix = if number.is_multiple_of(3) { &b"a longer key, number "[..] } else { &b"k"[..] };
    [prefix, number.to_string().as_bytes()].concat()
}

fn at(ms: u64) -> Now {
    Now { monotonic_ms: ms, wall_s: 0 }
}

fn act(tier: &mut Tier<'_, '_>, rng: &mut Rng, ms: u64, model: &mut Model, act: u32) {
    let number = rng.below(KEYS);
    let (key, held) = (key(number), model.entry(number).or_default());
    let is_put = rng.below(3) > 0;
    let mut value = vec![act.to_le_bytes()[0]; 4 + rng.below(40) as usize];
    value[..4].copy_from_slice(&act.to_le_bytes());
    let result = if is_put { tier.put(at(ms), &key, &value) } else { tier.remove(at(ms), &key).map(drop) };
    let value = is_put.then_some(value);
    match result {
        Ok(()) => *held = Held { value, or: Vec::new() },
        Err(PutError::Medium(_)) => held.or.push(value),
        Err(PutError::Busy(_) | PutError::NeedsCompaction | PutError::Full) => {}
        // The key was read with a wrong bit.
        Err(PutError::Collision) if key.len() > 7 => {}
        Err(PutError::KeysFull) => drop(tier.schedule(CompactionTask::CompactData)),
        Err(error) => panic!("{error}"),
    }
    match tier.get(at(ms), &key, &mut [0; 96]) {
        Ok(found) => assert_eq!(found, held.value.as_deref(), "key {number} at {act}"),
        Err(GetError::Medium(_) | GetError::Damaged | GetError::Short(_)) => {}
        Err(error) => panic!("{error}"),
    }
    if rng.below(40) == 0 {
        let _ = tier.schedule(CompactionTask::ALL[rng.below(4) as usize]);
    }
    let _ = tier.poll(at(ms), rng.below(6));
    while tier.take_report().is_some() {}
}

fn history<const SEGMENTS: usize>(driver: Driver, seed: u64) {
    let (mut rng, mut ms, mut model) = (Rng(seed), 0, Model::new());
    let of = |rates: [u32; 4], seed: u64| rates[(seed % 4) as usize];
    let rates = Rates { reads: of([0, 30, 100, 300], seed), changes: of([0, 20, 60, 200], seed / 4) };
    let now_fails = Cell::new(Rates::default());
    let flash = Ram::new(SEGMENTS);
    let mut medium = driver.medium(Failing { flash, rng: Rng(!seed), rates: &now_fails });
    for life in 0..LIVES {
        let mut memory = Memory::<SEGMENTS>::new();
        now_fails.set(Rates::default());
        let mut tier = AnyTier::new(FlashConfig::new(SEGMENT as u32, 5), &mut memory, medium);
        tier.mount(at(ms)).unwrap();
        for (number, held) in &mut model {
            let mut out = [0; 96];
            let found = tier.get(at(ms), &key(*number), &mut out).unwrap().map(<[u8]>::to_vec);
            assert!(
                found == held.value || held.or.contains(&found),
                "{driver:?}, seed {seed}, life {life}, key {number}: {found:?} is none of {held:?}"
            );
            *held = Held { value: found, or: Vec::new() };
        }
        let values = model.values().filter(|held| held.value.is_some()).count();
        assert_eq!(tier.len() as usize, values, "one live entry a key");
        now_fails.set(rates);
        for number in 0..ACTS {
            ms += u64::from(rng.below(30));
            act(&mut tier, &mut rng, ms, &mut model, life * ACTS + number);
        }
        medium = tier.into_medium();
    }
}

/// The drivers of a seed. Every fifth one is over both, since futures take longer.
fn drivers(seed: u64) -> impl Iterator<Item = Driver> {
    Driver::BOTH.into_iter().filter(move |driver| *driver == Driver::Blocking || seed.is_multiple_of(5))
}

#[test]
fn medium_that_fails_now_and_then_gives_right_answers_or_errors() {
    for seed in 0..SEEDS {
        drivers(seed).for_each(|driver| history::<16>(driver, seed));
    }
    for seed in FOUND {
        Driver::BOTH.into_iter().for_each(|driver| history::<16>(driver, seed));
    }
}

#[test]
fn flash_of_few_or_many_segments_gives_right_answers_or_errors() {
    for (seed, driver) in (0..SEEDS / 3).flat_map(|seed| drivers(seed).map(move |driver| (seed, driver))) {
        history::<2>(driver, seed);
        history::<3>(driver, seed);
        history::<4>(driver, seed);
        // Several are kept free.
        history::<34>(driver, seed);
    }
}
