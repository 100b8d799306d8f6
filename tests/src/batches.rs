//! Histories of batches on a flash tier, beside single puts and removes, and the values that its keys have by them.

use core::cell::Cell;
use std::collections::BTreeMap;

use coldpress_core::compaction::CompactionTask;
use coldpress_core::drive::Now;
use coldpress_core::recovery::MountReport;
use coldpress_embedded::flash::{Batch, FlashConfig, FlashMemory, GetError, PutError, buckets_for};

use crate::driver::{AnyNorTier, Driver};
use crate::flash::Flash;

/// Segments of the flash.
pub const SEGMENTS: usize = 13;
/// Keys of the histories.
pub const KEYS: u8 = 10;
/// The most items of a batch.
pub const ITEMS_MAX: usize = 4;
const POLLS_MAX: usize = 2_000;

thread_local! {
    /// The monotonic clock, in milliseconds: polls take time, so that a batch that was left under way is given up.
    static CLOCK_MS: Cell<u64> = const { Cell::new(1) };
}

fn now() -> Now {
    Now { monotonic_ms: CLOCK_MS.get(), wall_s: 50 }
}

/// The memory of a tier.
pub type Memory = FlashMemory<SEGMENTS, { buckets_for(30) }, 96, 1, ITEMS_MAX>;
/// A tier over either driver.
pub type Tier<'d, const UNIT: usize, const SECTOR: usize> = AnyNorTier<'d, &'d mut Flash<UNIT, SECTOR>>;
/// The values of the keys that have one.
pub type Values = BTreeMap<u8, Vec<u8>>;

/// One put or remove.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// Its key, of one byte.
    pub key: u8,
    /// The value to put; `None` for a remove.
    pub value: Option<Vec<u8>>,
    /// The lifetime of the value.
    pub ttl_s: Option<u32>,
}

/// One step of a history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Act {
    /// A put or remove by itself.
    Single(Item),
    /// Several together.
    Together(Vec<Item>),
    /// A task, to its end.
    Task(CompactionTask),
}

impl Act {
    /// The values after it.
    #[must_use]
    pub fn after(&self, values: &Values) -> Values {
        let mut next = values.clone();
        let items = match self {
            Self::Single(item) => core::slice::from_ref(item),
            Self::Together(items) => items,
            Self::Task(_) => &[],
        };
        for Item { key, value, .. } in items {
            match value {
                Some(value) => drop(next.insert(*key, value.clone())),
                None => drop(next.remove(key)),
            }
        }
        next
    }
}

/// An item whose value tells the step that wrote it.
#[must_use]
pub fn item(key: u8, step: u32) -> Item {
    let is_removed = (step + u32::from(key)).is_multiple_of(5);
    let len = 8 + (step as usize * 7 + usize::from(key) * 3) % 40;
    let value = (!is_removed).then(|| [vec![step as u8; len], step.to_le_bytes().to_vec()].concat());
    Item { key, value, ttl_s: (key == 3).then_some(9_000) }
}

/// Batches of one to four keys, single writes between, and tasks, until segments were cleaned.
#[must_use]
pub fn busy(steps: u32) -> Vec<Act> {
    let step = |step: u32| {
        let first = step * 3 % u32::from(KEYS);
        let keys = (0..1 + step % ITEMS_MAX as u32).map(|nth| ((first + nth) % u32::from(KEYS)) as u8);
        match step % 4 {
            0 => Act::Single(item(first as u8, step)),
            _ if step % 29 == 27 => Act::Task(CompactionTask::CompactData),
            _ => Act::Together(keys.map(|key| item(key, step)).collect()),
        }
    };
    (0..steps).map(step).collect()
}

/// Builds a tier.
///
/// # Panics
/// Where it can't be built.
pub fn built<'d, const UNIT: usize, const SECTOR: usize>(
    memory: &'d mut Memory,
    flash: &'d mut Flash<UNIT, SECTOR>,
    driver: Driver,
) -> Tier<'d, UNIT, SECTOR> {
    let config = FlashConfig { time_every_s: 2, ..FlashConfig::new(SECTOR as u32, 0xBA7C) };
    let blank = flash.erase_value();
    let tier = AnyNorTier::new(driver, config, memory, flash, blank);
    tier.unwrap_or_else(|error| panic!("the tier can't be built: {error}"))
}

/// Mounts to the end, also where a future of the mount was dropped.
///
/// # Panics
/// Where the mount fails.
pub fn mounted<const UNIT: usize, const SECTOR: usize>(tier: &mut Tier<'_, UNIT, SECTOR>) -> MountReport {
    tier.mount(now()).unwrap_or_else(|error| panic!("the mount failed: {error}"))
}

/// Changes of the flash so far.
#[must_use]
pub fn changes<const UNIT: usize, const SECTOR: usize>(tier: &Tier<'_, UNIT, SECTOR>) -> usize {
    tier.flash().tape_len()
}

/// Carries out a step, with the polls that it needs.
///
/// # Panics
/// Where it is refused, or not done within a bound.
pub fn act<const UNIT: usize, const SECTOR: usize>(tier: &mut Tier<'_, UNIT, SECTOR>, act: &Act) {
    assert_eq!(act_or_drop(tier, act), None, "no future is dropped here");
}

/// The same where a future may be dropped. Then it returns how many ways there were to tear its change.
///
/// # Panics
/// Where it is refused, or not done within a bound.
pub fn act_or_drop<const UNIT: usize, const SECTOR: usize>(
    tier: &mut Tier<'_, UNIT, SECTOR>,
    act: &Act,
) -> Option<usize> {
    if let Act::Task(task) = act {
        tier.schedule(*task).unwrap_or_else(|error| panic!("{task}: {error:?}"));
    }
    for _ in 0..POLLS_MAX {
        let done = match act {
            Act::Single(item) => single(tier, item),
            Act::Together(items) => together(tier, items),
            Act::Task(_) if tier.take_report().is_some() => Ok(()),
            Act::Task(_) => Err(PutError::NeedsCompaction),
        };
        let dropped = tier.take_drop();
        match done {
            _ if dropped.is_some() => return dropped,
            Ok(()) => return None,
            Err(PutError::NeedsCompaction | PutError::Busy(_)) => poll(tier),
            Err(error) => panic!("I-GC-2: {act:?} is refused: {error}: {:?}", tier.stats()),
        }
        let dropped = tier.take_drop();
        if dropped.is_some() {
            return dropped;
        }
    }
    panic!("I-GC-2: {act:?} is put off for ever: {:?}", tier.stats())
}

fn single<const UNIT: usize, const SECTOR: usize>(
    tier: &mut Tier<'_, UNIT, SECTOR>,
    Item { key, value, ttl_s }: &Item,
) -> Result<(), PutError> {
    match (value, ttl_s) {
        (None, _) => tier.remove(now(), &[*key]).map(|_| ()),
        (Some(value), None) => tier.put(now(), &[*key], value),
        (Some(value), Some(ttl_s)) => tier.put_with_ttl(now(), &[*key], value, *ttl_s),
    }
}

fn together<const UNIT: usize, const SECTOR: usize>(
    tier: &mut Tier<'_, UNIT, SECTOR>,
    items: &[Item],
) -> Result<(), PutError> {
    let mut batch = Batch::<ITEMS_MAX>::new();
    for Item { key, value, ttl_s } in items {
        let key = core::slice::from_ref(key);
        let added = match (value, ttl_s) {
            (None, _) => batch.remove(key),
            (Some(value), None) => batch.put(key, value),
            (Some(value), Some(ttl_s)) => batch.put_with_ttl(key, value, *ttl_s),
        };
        added.unwrap_or_else(|error| panic!("{items:?}: {error}"));
    }
    tier.commit_batch(now(), &batch)
}

/// Polls once.
pub fn poll<const UNIT: usize, const SECTOR: usize>(tier: &mut Tier<'_, UNIT, SECTOR>) {
    CLOCK_MS.set(CLOCK_MS.get() + 10);
    let _ = tier.poll(now(), 8);
}

/// Reads one key.
///
/// # Errors
/// As those of the tier.
pub fn read<const UNIT: usize, const SECTOR: usize>(
    tier: &mut Tier<'_, UNIT, SECTOR>,
    key: u8,
) -> Result<Option<Vec<u8>>, GetError> {
    Ok(tier.get(now(), &[key], &mut [0; 96])?.map(<[u8]>::to_vec))
}

/// Reads all keys.
///
/// # Panics
/// Where one can't be read.
pub fn values<const UNIT: usize, const SECTOR: usize>(tier: &mut Tier<'_, UNIT, SECTOR>) -> Values {
    let read = |key| Some((key, read(tier, key).unwrap_or_else(|error| panic!("key {key}: {error}"))?));
    (0..KEYS).filter_map(read).collect()
}
