//! The flash tier of Coldpress.

use core::error::Error;

use coldpress_core::drive::Now;
use coldpress_embedded::flash::{FlashConfig, FlashMemory, FlashTier, NorMedium, PutError};
use coldpress_tests::flash::Counts;
use serde::Serialize;

use crate::measure::{Key, Nor, SECTOR_BYTES, SECTORS, Spent, Store, VALUE_BYTES, Value};

/// The longest record: header, key and value, in whole words.
const RECORD_BYTES: usize = 23 + size_of::<Key>() + VALUE_BYTES + 1;
/// Calls that a put may take.
const CALLS_MAX: u32 = 10_000;
/// Operations of one poll.
const BUDGET: u32 = 16;

/// The memory of a tier with an index of so many buckets.
pub(crate) type Memory<const BUCKETS: usize> = FlashMemory<SECTORS, BUCKETS, RECORD_BYTES>;

/// The longest record of a small flash: key and value of the runs, with an origin.
const SMALL_RECORD_BYTES: usize = 12 + size_of::<Key>() + VALUE_BYTES;

/// The memory of a tier on so many sectors.
pub(crate) type Small<const COUNT: usize, const BUCKETS: usize> =
    FlashMemory<COUNT, BUCKETS, SMALL_RECORD_BYTES>;

/// The tier.
pub(crate) struct Ours<'m> {
    tier: FlashTier<'m, NorMedium<Nor>>,
    index_bytes: usize,
    memory_bytes: usize,
}

/// The RAM of a tier for so many keys.
#[derive(Debug, Serialize)]
pub(crate) struct Ram {
    pub(crate) index_bytes: u64,
    pub(crate) segment_table_bytes: u64,
    pub(crate) task_bytes: u64,
    /// The open segment and read buffers.
    pub(crate) buffer_bytes: u64,
    pub(crate) tier_bytes: u64,
}

/// Measures it, on the machine that runs this.
pub(crate) fn ram<const BUCKETS: usize>() -> Ram {
    let memory = Memory::<BUCKETS>::RAM_BYTES as u64;
    let index_bytes = Memory::<BUCKETS>::INDEX_BYTES as u64;
    let segment_table_bytes = Memory::<BUCKETS>::TABLE_BYTES as u64;
    let task_bytes = Memory::<BUCKETS>::TASK_BYTES as u64;
    Ram {
        index_bytes,
        segment_table_bytes,
        task_bytes,
        buffer_bytes: memory - index_bytes - segment_table_bytes - task_bytes,
        tier_bytes: (FlashTier::<NorMedium<Nor>>::RAM_BYTES - size_of::<Nor>()) as u64,
    }
}

impl Ram {
    pub(crate) const fn bytes(&self) -> u64 {
        self.index_bytes + self.segment_table_bytes + self.task_bytes + self.buffer_bytes + self.tier_bytes
    }
}

/// A tier on blank flash.
pub(crate) fn mounted<const COUNT: usize, const BUCKETS: usize, const RECORD: usize>(
    memory: &mut FlashMemory<COUNT, BUCKETS, RECORD>,
) -> Result<Ours<'_>, Box<dyn Error>> {
    let medium = NorMedium::new(Nor::new(COUNT, 0xFF));
    let config = FlashConfig::new(u32::try_from(SECTOR_BYTES)?, 1);
    let mut tier = FlashTier::new(config, memory, medium)?;
    tier.mount(Now::default())?;
    let index_bytes = FlashMemory::<COUNT, BUCKETS, RECORD>::INDEX_BYTES;
    let memory_bytes = FlashMemory::<COUNT, BUCKETS, RECORD>::RAM_BYTES;
    Ok(Ours { tier, index_bytes, memory_bytes })
}

impl Store for Ours<'_> {
    const NAME: &'static str = "coldpress";

    fn configuration(&self) -> &'static str {
        "defaults"
    }

    fn counts(&mut self) -> Counts {
        self.tier.medium().flash().counts()
    }

    fn put(&mut self, key: Key, value: &Value, worst: &mut Counts) -> Result<(), Box<dyn Error>> {
        for _ in 0..CALLS_MAX {
            let before = self.counts();
            let result = self.tier.put(Now::default(), &key, value);
            *worst = worst.max(self.counts() - before);
            match result {
                Ok(()) => return Ok(()),
                Err(PutError::NeedsCompaction | PutError::Busy(_)) => {}
                Err(error) => return Err(error.into()),
            }
            let before = self.counts();
            self.tier.poll(Now::default(), BUDGET);
            *worst = worst.max(self.counts() - before);
        }
        Err(format!("a put is not taken after {CALLS_MAX} calls").into())
    }

    fn commit(&mut self, _: &mut Counts) -> Result<(), Box<dyn Error>> {
        Ok(())
    }

    fn get(&mut self, key: Key) -> Result<Option<Value>, Box<dyn Error>> {
        let mut value = [0; VALUE_BYTES];
        let found = self.tier.get(Now::default(), &key, &mut value)?;
        found.map(|value| Ok(value.try_into()?)).transpose()
    }

    fn index_bytes(&self) -> usize {
        self.index_bytes
    }

    fn ram_bytes(&self) -> usize {
        self.memory_bytes + size_of_val(&self.tier) - size_of::<Nor>()
    }

    fn spent(&self) -> Option<Spent> {
        let counters = self.tier.stats().counters;
        let records = counters.fresh_bytes + counters.relocated_bytes;
        Some(Spent {
            fresh_bytes: counters.fresh_bytes as f64,
            relocated_bytes: counters.relocated_bytes as f64,
            own_bytes: (counters.bytes_written - records) as f64,
        })
    }
}
