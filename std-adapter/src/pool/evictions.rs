//! Evictions of one partition, counted under its lock and explained once a second.

use crate::clock::{Clock, SystemClock};
use crate::observe::{EvictedFrom, Eviction, EvictionCause};

/// Evictions of one second, by cause. So an insert that evicts locks nothing beyond its partition but once a second.
#[derive(Debug, Default)]
pub(super) struct Evictions {
    at_s: u32,
    for_inserts: EvictedSum,
    by_cleanups: EvictedSum,
}

/// Values and their bytes.
#[derive(Debug, Clone, Copy, Default)]
struct EvictedSum {
    records: u64,
    bytes: u64,
}

impl Evictions {
    /// Counts values that were evicted now. Those of an earlier second are returned, and are to be explained.
    pub(super) fn count(
        &mut self,
        cause: EvictionCause,
        records: u64,
        bytes: u64,
    ) -> [Option<(u32, Eviction)>; 2] {
        let now_s = SystemClock.wall_s();
        let earlier = if now_s == self.at_s { [None, None] } else { self.take() };
        self.at_s = now_s;
        let sum = match cause {
            EvictionCause::Cleanup => &mut self.by_cleanups,
            EvictionCause::InsertWithoutSpace | EvictionCause::CapacityTaken => &mut self.for_inserts,
        };
        sum.records += records;
        sum.bytes += bytes;
        earlier
    }

    /// Takes all that was counted.
    pub(super) fn take(&mut self) -> [Option<(u32, Eviction)>; 2] {
        let at_s = self.at_s;
        let explain = |sum: &mut EvictedSum, cause| {
            let EvictedSum { records, bytes } = core::mem::take(sum);
            let one = Eviction { from: EvictedFrom::Pools, cause, records, bytes, idle_s_max: None };
            (records > 0).then_some((at_s, one))
        };
        [
            explain(&mut self.for_inserts, EvictionCause::InsertWithoutSpace),
            explain(&mut self.by_cleanups, EvictionCause::Cleanup),
        ]
    }
}
