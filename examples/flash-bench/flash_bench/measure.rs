//! One store through one run.

use core::error::Error;
use core::pin::pin;
use core::task::{Context, Poll, Waker};

use coldpress_examples::rng::mix;
use coldpress_tests::flash::{Counts, Flash};
use serde::Serialize;

use crate::overwrites::{Draws, Law};

/// The medium of every store.
pub(crate) type Nor = Flash<4, SECTOR_BYTES>;
/// Bytes of a sector.
pub(crate) const SECTOR_BYTES: usize = 4096;
/// How many there are.
pub(crate) const SECTORS: usize = 64;
/// Bytes of a value.
pub(crate) const VALUE_BYTES: usize = 64;
/// Gets that are measured.
const GETS: u64 = 5_000;
/// Bytes of a key and a value, which one put stores.
const PAYLOAD_BYTES: u64 = 4 + VALUE_BYTES as u64;
/// Bytes of its record, in our log as in that of sequential-storage.
pub(crate) const RECORD_BYTES: u64 = 8 + PAYLOAD_BYTES;

/// A key.
pub(crate) type Key = [u8; 4];
/// A value.
pub(crate) type Value = [u8; VALUE_BYTES];

/// The parameters of a run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Run {
    /// Keys in the store.
    pub(crate) keys: u32,
    /// Overwrites of them.
    pub(crate) overwrites: u64,
    /// Which keys these are of.
    pub(crate) law: Law,
}

/// A store on flash.
pub(crate) trait Store {
    /// Its name and version.
    const NAME: &'static str;

    /// How it is configured, in a word or two.
    fn configuration(&self) -> &'static str;

    /// The counts of its flash so far.
    fn counts(&mut self) -> Counts;

    /// Puts a value. Of the calls that this takes, the worst is kept in `worst`.
    fn put(&mut self, key: Key, value: &Value, worst: &mut Counts) -> Result<(), Box<dyn Error>>;

    /// Makes puts durable, where they wait for each other.
    fn commit(&mut self, worst: &mut Counts) -> Result<(), Box<dyn Error>>;

    /// Gets a value.
    fn get(&mut self, key: Key) -> Result<Option<Value>, Box<dyn Error>>;

    /// RAM of the index, which finds a key, in bytes.
    fn index_bytes(&self) -> usize;

    /// All RAM, in bytes.
    fn ram_bytes(&self) -> usize;

    /// Where the bytes went that it programmed so far, if it tells.
    fn spent(&self) -> Option<Spent> {
        None
    }
}

/// Bytes that a store programmed.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Spent {
    /// Records that were put: headers, keys, values.
    pub(crate) fresh_bytes: f64,
    /// Records that compaction wrote again.
    pub(crate) relocated_bytes: f64,
    /// Markers and headers of segments, and erase intents.
    pub(crate) own_bytes: f64,
}

impl Spent {
    /// The bytes spent since then, for each of so many puts.
    fn since(self, then: Self, puts: u64) -> Self {
        let each = |now: f64, then: f64| (now - then) / puts as f64;
        Self {
            fresh_bytes: each(self.fresh_bytes, then.fresh_bytes),
            relocated_bytes: each(self.relocated_bytes, then.relocated_bytes),
            own_bytes: each(self.own_bytes, then.own_bytes),
        }
    }
}

/// The worst call, each figure for itself.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Worst {
    /// Sectors erased.
    pub(crate) erases: u64,
    /// Bytes programmed.
    pub(crate) programmed_bytes: u64,
    /// Bytes read.
    pub(crate) read_bytes: u64,
}

/// The figures of a run.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Figures {
    /// The store.
    pub(crate) store: &'static str,
    /// How it was configured.
    pub(crate) configuration: &'static str,
    /// Keys in it.
    pub(crate) keys: u32,
    /// Overwrites of them.
    pub(crate) overwrites: u64,
    /// Which keys these are of.
    pub(crate) law: Law,
    /// Bytes programmed ÷ bytes of the keys and values that were put.
    pub(crate) write_amplification: f64,
    /// Sectors erased for each 1,000 puts.
    pub(crate) erases_per_1000_puts: f64,
    /// Bytes programmed for a put, where the store tells what for.
    pub(crate) spent_per_put: Option<Spent>,
    /// The most that one call did.
    pub(crate) worst_call: Worst,
    /// The most that one put did, in all the calls it took.
    pub(crate) worst_put: Worst,
    /// Bytes read for a get.
    pub(crate) read_bytes_per_get: f64,
    /// Bytes of RAM that find a key, for each.
    pub(crate) index_bytes_per_key: f64,
    /// All bytes of RAM, for each key.
    pub(crate) ram_bytes_per_key: f64,
}

impl From<Counts> for Worst {
    fn from(counts: Counts) -> Self {
        Self {
            erases: counts.erases,
            programmed_bytes: counts.programmed_bytes,
            read_bytes: counts.read_bytes,
        }
    }
}

/// Runs a store that is empty.
pub(crate) fn measure<S: Store>(run: Run, store: &mut S) -> Result<Figures, Box<dyn Error>> {
    let mut versions = vec![0; run.keys as usize];
    let mut fill_worst = Counts::default();
    for key in 0..run.keys {
        store.put(key_of(key), &value_of(key, 0), &mut fill_worst)?;
    }
    store.commit(&mut fill_worst)?;
    let filled = store.counts();
    let spent = store.spent();

    let (mut worst_call, mut worst_put) = (Counts::default(), Counts::default());
    let mut draws = Draws::new(run.law, run.keys);
    for number in 1..=run.overwrites {
        let key = draws.overwritten();
        let before = store.counts();
        store.put(key_of(key), &value_of(key, number), &mut worst_call)?;
        worst_put = worst_put.max(store.counts() - before);
        versions[key as usize] = number;
    }
    store.commit(&mut worst_call)?;
    let put = store.counts();
    let spent = store.spent().zip(spent).map(|(now, then)| now.since(then, run.overwrites));

    let check = |store: &mut S, key: u32| -> Result<(), Box<dyn Error>> {
        match store.get(key_of(key))? {
            Some(value) if value == value_of(key, versions[key as usize]) => Ok(()),
            other => Err(format!("{}: key {key} reads as {other:?}", S::NAME).into()),
        }
    };
    for _ in 0..GETS {
        let key = draws.any();
        check(store, key)?;
    }
    let read = store.counts() - put;
    for key in 0..run.keys {
        check(store, key)?;
    }
    let written = put - filled;
    let each = |bytes: usize| bytes as f64 / f64::from(run.keys);
    Ok(Figures {
        store: S::NAME,
        configuration: store.configuration(),
        keys: run.keys,
        overwrites: run.overwrites,
        law: run.law,
        write_amplification: amplification(written.programmed_bytes, run.overwrites),
        erases_per_1000_puts: written.erases as f64 * 1000.0 / run.overwrites as f64,
        spent_per_put: spent,
        worst_call: worst_call.into(),
        worst_put: worst_put.into(),
        read_bytes_per_get: read.read_bytes as f64 / GETS as f64,
        index_bytes_per_key: each(store.index_bytes()),
        ram_bytes_per_key: each(store.ram_bytes()),
    })
}

/// Bytes programmed ÷ bytes of the keys and values of so many puts.
pub(crate) fn amplification(programmed_bytes: u64, puts: u64) -> f64 {
    programmed_bytes as f64 / (puts * PAYLOAD_BYTES) as f64
}

pub(crate) const fn key_of(key: u32) -> Key {
    key.to_le_bytes()
}

/// Every put has a value of its own.
pub(crate) fn value_of(key: u32, number: u64) -> Value {
    let mut value = [0; VALUE_BYTES];
    for (at, word) in value.chunks_mut(8).enumerate() {
        word.copy_from_slice(&mix(mix(u64::from(key) << 32 ^ number) ^ at as u64).to_le_bytes());
    }
    value
}

/// Runs a future that is ready at once, as those over the double are.
///
/// # Errors
/// Where it waits for something.
pub(crate) fn at_once<T>(future: impl Future<Output = T>) -> Result<T, Box<dyn Error>> {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => Ok(value),
        Poll::Pending => Err("a call waits for something".into()),
    }
}
