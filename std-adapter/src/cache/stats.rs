//! The stats of a cache.

use super::error::CacheError;
use super::hot::HotTierStats;
use super::tiers::{CacheKey, CacheValue, Tiers};
use crate::observe::TierStats;

/// The counts of a cache since it was opened, and its tiers as they are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CacheStats {
    /// Reads that the hot tier answered.
    pub hot_hits: u64,
    /// Reads that the warm tier answered.
    pub warm_hits: u64,
    /// Reads that the cold tier answered.
    pub cold_hits: u64,
    /// Reads of keys that have no value.
    pub misses: u64,
    /// Puts that were taken, also by conditional writes and updates.
    pub puts: u64,
    /// Removes that were done, also of keys without a value.
    pub removes: u64,
    /// Puts that were refused.
    pub refused: u64,
    /// Values that were computed because they were missing.
    pub computed: u64,
    /// Values that were promoted to the hot tier by a read.
    pub promotions: u64,
    /// Values that went from the hot tier to the warm one.
    pub demoted_warm: u64,
    /// Dirty values that were written to the cold tier.
    pub demoted_cold: u64,
    /// Values that the hot tier evicted and no tier in memory took: the log has them, or they were memory-only.
    pub dropped: u64,
    /// Attempts to demote or write a value that failed. It stayed where it was; each further attempt that fails counts too.
    pub failed_demotions: u64,
    /// Values found in memory whose time was over.
    pub expired: u64,
    /// Bytes of dirty values, 256 for each beside key and value.
    pub dirty_bytes: u64,
    /// The limit on dirty bytes.
    pub dirty_bytes_max: u64,
    /// The hot tier.
    pub hot: HotTierStats,
    /// The cold tier. Its gets are the reads that no tier in memory answered, also those of iterations and conditional writes, which
    /// [`reads`](Self::reads) leaves out.
    pub cold: TierStats,
}

impl CacheStats {
    /// Returns the number of reads, hits and misses.
    #[must_use]
    pub const fn reads(&self) -> u64 {
        self.hot_hits + self.warm_hits + self.cold_hits + self.misses
    }
}

impl<K: CacheKey, V: CacheValue> Tiers<K, V> {
    pub(super) fn stats(&self) -> Result<CacheStats, CacheError> {
        let counts = &self.counts;
        Ok(CacheStats {
            hot_hits: counts.hot_hits.get(),
            warm_hits: counts.warm_hits.get(),
            cold_hits: counts.cold_hits.get(),
            misses: counts.misses.get(),
            puts: counts.puts.get(),
            removes: counts.removes.get(),
            refused: counts.refused.get(),
            computed: counts.computed.get(),
            promotions: counts.promotions.get(),
            demoted_warm: counts.demoted_warm.get(),
            demoted_cold: counts.demoted_cold.get(),
            dropped: counts.dropped.get(),
            failed_demotions: counts.failed_demotions.get(),
            expired: counts.expired.get(),
            dirty_bytes: self.dirty.bytes(),
            dirty_bytes_max: self.dirty.max,
            hot: self.hot()?.stats(),
            cold: self.cold.stats(),
        })
    }

    pub(super) fn len(&self) -> Result<u64, CacheError> {
        let (mut unlogged, deadline) = (0, self.deadline());
        for number in 0..self.stripes.count() {
            let keys = self.stripes.unlogged(number, deadline, |_| true).ok_or(CacheError::TimedOut)?;
            for key in keys {
                let at = self.locate(&key)?;
                unlogged += u64::from(self.contains(&key)? && !self.cold.contains(&at.key_bytes)?);
            }
        }
        Ok(self.cold.len()? + unlogged)
    }
}
