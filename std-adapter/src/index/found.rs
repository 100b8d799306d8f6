//! Records that a mount finds, kept back until there are many, and brought into the index shard by shard.
//!
//! A mount finds the records of a segment in the order in which they were written, so each is of another shard. Brought in one by
//! one, each waits for the memory of its shard several times. So records are dealt out to bins of a few shards each. A full bin is
//! sorted by shard and group, and brought in: its tables are then walked from end to end.

use coldpress_core::format::{KeyHash, Kind, Location, Version};
use coldpress_core::index::{Placed, Released};

use super::table::{EntryName, Progress, SHARDS};

/// Bins of records.
const BINS: usize = 64;
/// Records that a bin keeps back at most: 256 a shard. All bins together take 12 MiB at most.
const BIN_MAX: usize = 4 << 10;

/// A record that a mount found.
#[derive(Debug, Clone, Copy)]
pub(super) struct FoundRecord {
    pub(super) hash: KeyHash,
    location: Location,
    version: Version,
    record_bytes: u32,
    expires_s: Option<u32>,
    kind: Kind,
    pub(super) is_sealed: bool,
}

impl FoundRecord {
    pub(super) fn new(hash: &KeyHash, placed: &Placed, is_sealed: bool) -> Self {
        let Placed { location, version, record_bytes, kind, expires_s, .. } = *placed;
        Self { hash: *hash, location, version, record_bytes, expires_s, kind, is_sealed }
    }

    pub(super) const fn placed(&self) -> Placed {
        Placed {
            location: self.location,
            version: self.version,
            record_bytes: self.record_bytes,
            kind: self.kind,
            expires_s: self.expires_s,
            relocated_from: None,
            relocated_bytes: 0,
        }
    }
}

/// The records that are kept back, and what those before them released.
#[derive(Debug, Default)]
pub(super) struct FoundRecords {
    /// Empty where nothing is kept back.
    bins: Vec<Vec<FoundRecord>>,
    /// Records that lost against others, or were replaced, and that the machine counts as live until it learns of them. Each of those that are
    /// brought in adds one at most, and each that is found takes one away.
    pub(super) released: Vec<Released>,
    /// Records that the mount says it will find in all.
    pub(super) expected: u64,
    /// Records of each shard that were brought in.
    counts: Vec<u32>,
}

impl FoundRecords {
    /// Counts records of a shard that are about to be brought in, and tells how many came before.
    pub(super) fn count(&mut self, shard: usize, records: usize) -> Progress {
        if self.counts.is_empty() {
            self.counts.resize(SHARDS, 0);
        }
        let expected = usize::try_from(self.expected).unwrap_or(usize::MAX) / SHARDS;
        let Some(count) = self.counts.get_mut(shard) else {
            return Progress { found: 0, next: records, expected };
        };
        let found = *count as usize;
        *count = count.saturating_add(u32::try_from(records).unwrap_or(u32::MAX));
        Progress { found, next: records, expected }
    }

    /// Keeps a record back; gives the number of its bin when that is full.
    pub(super) fn push(&mut self, record: FoundRecord) -> Option<usize> {
        if self.bins.is_empty() {
            self.bins.resize_with(BINS, Vec::new);
        }
        let number = EntryName::shard(&record.hash) / (SHARDS / BINS);
        let bin = self.bins.get_mut(number)?;
        bin.push(record);
        (bin.len() >= BIN_MAX).then_some(number)
    }

    /// The numbers of the bins.
    pub(super) fn bins(&self) -> core::ops::Range<usize> {
        0..self.bins.len()
    }

    /// Gives the memory of all bins back.
    pub(super) fn drop_bins(&mut self) {
        self.bins = Vec::new();
    }

    /// Takes the records of a bin, by shard and group. Those of a key stay in the order in which they were found.
    pub(super) fn take(&mut self, bin: usize) -> Vec<FoundRecord> {
        let mut records = self.bins.get_mut(bin).map(core::mem::take).unwrap_or_default();
        records.sort_by_cached_key(|record| EntryName::order(&record.hash));
        records
    }

    /// Gives the memory of the records back for the next ones.
    pub(super) fn reuse(&mut self, bin: usize, mut records: Vec<FoundRecord>) {
        records.clear();
        if let Some(bin) = self.bins.get_mut(bin) {
            *bin = records;
        }
    }
}

const _: () = assert!(SHARDS.is_multiple_of(BINS), "all bins are of as many shards");
const _: () =
    assert!(BINS * BIN_MAX * size_of::<FoundRecord>() <= 12 << 20, "the bins take as much as is said");

#[cfg(test)]
mod tests {
    use super::*;
    use coldpress_core::format::{SegmentIndex, Sequence};

    fn record(key: u32, offset: u32) -> FoundRecord {
        let mut hash = KeyHash::default();
        let mixed = u64::from(key).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        hash.0[..8].copy_from_slice(&mixed.to_le_bytes());
        hash.0[8..].copy_from_slice(&mixed.rotate_left(29).to_le_bytes()[..4]);
        let location = Location { segment: SegmentIndex::new(1), offset, sequence: Sequence::new(2) };
        let placed = Placed {
            location,
            version: location.version(),
            record_bytes: key,
            kind: Kind::Value,
            expires_s: key.is_multiple_of(3).then_some(key),
            relocated_from: None,
            relocated_bytes: 0,
        };
        let record = FoundRecord::new(&hash, &placed, key.is_multiple_of(2));
        assert_eq!(record.placed(), placed);
        record
    }

    #[test]
    fn bins_give_every_record_once_and_versions_in_order() {
        const KEYS: u32 = 3_000;
        let mut found = FoundRecords::default();
        let mut taken = Vec::new();
        for offset in 0..100 * KEYS {
            if let Some(bin) = found.push(record(offset % KEYS, offset)) {
                let records = found.take(bin);
                assert_eq!(records.len(), BIN_MAX);
                assert!(records.is_sorted_by_key(|record| EntryName::order(&record.hash)));
                taken.extend_from_slice(&records);
                found.reuse(bin, records);
            }
        }
        assert!(taken.len() > KEYS as usize);
        found.bins().for_each(|bin| taken.extend(found.take(bin)));
        let mut next: Vec<u32> = (0..KEYS).collect();
        for record in &taken {
            let next = &mut next[record.record_bytes as usize];
            assert_eq!(record.location.offset, *next);
            *next += KEYS;
        }
        assert_eq!(taken.len(), 100 * KEYS as usize);
        found.drop_bins();
        assert_eq!(found.bins(), 0..0);
    }
}
