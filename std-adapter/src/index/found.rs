//! Records that a mount finds, kept back until there are many, and brought into the index shard by shard.
//!
//! A mount finds the records of a segment in the order in which they were written, so each is of another shard. Brought in one by
//! one, each waits for the memory of its shard several times. Thousands of records sorted by shard find it in the processor's
//! caches.

use coldpress_core::format::KeyHash;
use coldpress_core::index::{Placed, Released};

use super::table::{EntryName, SHARDS};

/// Records that are kept back at most: 32 a shard, and 3 MiB.
const FOUND_MAX: usize = 32 << 10;

/// A record that a mount found.
#[derive(Debug, Clone, Copy)]
pub(super) struct FoundRecord {
    pub(super) hash: KeyHash,
    pub(super) placed: Placed,
    pub(super) is_sealed: bool,
}

/// The records that are kept back, and what those before them released.
#[derive(Debug, Default)]
pub(super) struct FoundRecords {
    records: Vec<FoundRecord>,
    /// Records that lost against others, or were replaced, and that the machine counts as live until it learns of them. Each of those that are
    /// brought in adds one at most, and each that is found takes one away.
    pub(super) released: Vec<Released>,
}

impl FoundRecords {
    /// Keeps a record back; tells whether it is time to bring them in.
    pub(super) fn push(&mut self, record: FoundRecord) -> bool {
        self.records.push(record);
        self.records.len() >= FOUND_MAX
    }

    /// Takes all records, by shard, and in each shard in the order in which they were found.
    pub(super) fn take(&mut self) -> Vec<FoundRecord> {
        let mut records = core::mem::take(&mut self.records);
        records.sort_by_cached_key(|record| u16::try_from(EntryName::shard(&record.hash)).unwrap_or(0));
        records
    }

    /// Gives the memory of the records back for the next ones.
    pub(super) fn reuse(&mut self, mut records: Vec<FoundRecord>) {
        records.clear();
        self.records = records;
    }
}

const _: () = assert!(SHARDS <= 1 << 16, "the number of a shard is sorted by as 16 bits");
