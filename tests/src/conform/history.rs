//! Histories, and the map that they are compared with.

use std::collections::BTreeMap;

use coldpress_core::compaction::CompactionTask;
use coldpress_core::durability::expiry_s;
use coldpress_std::clock::ManualClock;
use coldpress_std::image::Image;

use super::{Adapter, time};
use crate::sim::{Rng, mixed};

/// How far the clock goes in one step, in seconds. Where it stands still the tier's time goes on, by as long as the test takes, so
/// lifetimes end between two steps.
const STEP_S: u32 = 1_000;

/// A value in the map.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its bytes.
    pub value: Vec<u8>,
    /// When it expires, in seconds of the wall clock.
    pub until_s: Option<u32>,
}

/// The map with which every answer is compared.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Model {
    entries: BTreeMap<Vec<u8>, Entry>,
}

impl Model {
    /// The value of a key at a time.
    #[must_use]
    pub fn get(&self, key: &[u8], now_s: u32) -> Option<&[u8]> {
        let entry = self.entries.get(key).filter(|entry| entry.until_s.is_none_or(|at| now_s < at));
        entry.map(|entry| entry.value.as_slice())
    }

    /// Stores a value.
    pub fn put(&mut self, key: &[u8], value: &[u8], until_s: Option<u32>) {
        self.entries.insert(key.to_vec(), Entry { value: value.to_vec(), until_s });
    }

    /// Removes a key; tells whether it had a value at that time.
    pub fn remove(&mut self, key: &[u8], now_s: u32) -> bool {
        let had = self.get(key, now_s).is_some();
        self.entries.remove(key);
        had
    }

    /// The keys that have a value at a time.
    #[must_use]
    pub fn keys(&self, now_s: u32) -> Vec<Vec<u8>> {
        let keys = self.entries.keys().filter(|key| self.get(key, now_s).is_some());
        keys.cloned().collect()
    }

    /// Asserts that every answer of an image is that of the map, and every record of it is sound.
    ///
    /// # Panics
    /// Naming the key.
    pub fn check_image(&self, image: &Image, keys: impl Iterator<Item = Vec<u8>>, now_s: u32, why: &str) {
        for key in keys {
            let found = image.get(&key, now_s).unwrap_or_else(|error| panic!("{why}: {error}"));
            let expected = self.get(&key, now_s);
            assert_eq!(found.as_deref(), expected, "{why}: image, key {}", key.escape_ascii());
        }
        for segment in 0..image.geometry().segment_count() {
            let contents = image.examine(segment).unwrap_or_else(|error| panic!("{why}: {error}"));
            assert_eq!(contents.damage, [], "{why}: image, segment {segment}");
        }
    }
}

/// The parameters of a history.
#[derive(Debug, Clone, Copy)]
pub struct History {
    /// The seed from which everything follows.
    pub seed: u64,
    /// Keys that are written.
    pub keys: u64,
    /// The longest value.
    pub value_bytes_max: u64,
    /// Steps.
    pub steps: u32,
}

impl History {
    /// A key: from 1 to about 40 bytes, so that some are longer than a device keeps as they are.
    #[must_use]
    pub fn key(&self, number: u64) -> Vec<u8> {
        let tail = usize::try_from(mixed(number) % 35).unwrap_or(0);
        let mut key = number.to_le_bytes()[..2].to_vec();
        key.extend(core::iter::repeat_n(b'k', tail));
        if number.is_multiple_of(17) {
            key.truncate(1);
            key[0] = number.to_le_bytes()[0] ^ 0xA5;
        }
        key
    }

    /// All keys.
    pub fn all_keys(self) -> impl Iterator<Item = Vec<u8>> {
        (0..self.keys).map(move |number| self.key(number))
    }

    /// Does the history on every adapter and compares each answer.
    ///
    /// # Panics
    /// Naming adapter, step and key.
    pub fn run(&self, adapters: &mut [&mut dyn Adapter], clock: &'static ManualClock, model: &mut Model) {
        let mut rng = Rng::new(mixed(self.seed));
        for step in 0..self.steps {
            let key = self.key(rng.below(self.keys));
            let why = |adapter: &dyn Adapter| {
                format!("seed {}, step {step}, key {}, {}", self.seed, key.escape_ascii(), adapter.name())
            };
            match rng.below(100) {
                0..50 => self.put(adapters, clock, model, &key, &mut rng),
                50..65 => {
                    let had = model.remove(&key, time(clock));
                    for adapter in adapters.iter_mut() {
                        assert_eq!(adapter.remove(&key), had, "remove: {}", why(*adapter));
                    }
                }
                65..85 => {
                    let expected = model.get(&key, time(clock)).map(<[u8]>::to_vec);
                    for adapter in adapters.iter_mut() {
                        assert_eq!(adapter.get(&key), expected, "get: {}", why(*adapter));
                        assert_eq!(adapter.contains(&key), expected.is_some(), "contains: {}", why(*adapter));
                    }
                }
                85..93 => clock.advance_s(STEP_S),
                93..96 => adapters.iter_mut().for_each(|adapter| adapter.sync()),
                96..98 => {
                    let task = CompactionTask::ALL[rng.index(4)];
                    adapters.iter_mut().for_each(|adapter| adapter.run(task));
                }
                98 => adapters.iter_mut().for_each(|adapter| adapter.reopen()),
                _ => self.compare(adapters, clock, model),
            }
        }
        self.compare(adapters, clock, model);
    }

    fn put(
        &self,
        adapters: &mut [&mut dyn Adapter],
        clock: &ManualClock,
        model: &mut Model,
        key: &[u8],
        rng: &mut Rng,
    ) {
        let len = rng.below(self.value_bytes_max + 1);
        let value: Vec<u8> = (0..len).map(|_| rng.next_u64().to_le_bytes()[0]).collect();
        let steps = [None, None, Some(1 + rng.index(5)), Some(3_600)][rng.index(4)];
        let ttl_s =
            steps.and_then(|steps| u32::try_from(steps).ok()).map(|steps| steps * STEP_S - STEP_S / 2);
        model.put(key, &value, ttl_s.map(|ttl_s| expiry_s(time(clock), ttl_s)));
        adapters.iter_mut().for_each(|adapter| adapter.put(key, &value, ttl_s));
    }

    /// Compares everything: each key, the keys listed, and after a clean-up how many they are.
    ///
    /// # Panics
    /// Naming adapter and key.
    pub fn compare(&self, adapters: &mut [&mut dyn Adapter], clock: &ManualClock, model: &Model) {
        let expected = model.keys(time(clock));
        for adapter in adapters {
            let why = format!("seed {}, {}", self.seed, adapter.name());
            for key in self.all_keys() {
                let value = model.get(&key, time(clock)).map(<[u8]>::to_vec);
                assert_eq!(adapter.get(&key), value, "{why}: key {}", key.escape_ascii());
            }
            assert_eq!(adapter.keys(), expected, "{why}: keys");
            adapter.run(CompactionTask::CleanupExpired);
            assert_eq!(adapter.len(), expected.len(), "{why}: len after a clean-up");
            assert_eq!(adapter.is_empty(), expected.is_empty(), "{why}");
        }
    }
}
