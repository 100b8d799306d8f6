//! Measurements of the pools.

use coldpress_core::pool::PoolTotals;

/// The stats of the pools, all partitions together.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PoolStats {
    /// Bytes of the pages taken from the operating system.
    pub committed_bytes: u64,
    /// Bytes of the values in them, each rounded up to a multiple of 4.
    pub live_bytes: u64,
    /// Bytes of the values in them.
    pub requested_bytes: u64,
    /// Pages taken from the operating system.
    pub pages: u32,
    /// 1 − live / committed, in permille.
    pub external_permille: u16,
    /// 1 − requested / live, in permille.
    pub internal_permille: u16,
    /// Reads that found their value.
    pub hits: u64,
    /// Reads that did not.
    pub misses: u64,
    /// All counters of the pools.
    pub totals: PoolTotals,
    /// How full each page is.
    pub page_views: Vec<PageView>,
}

/// How full one page is, for drawing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PageView {
    /// The partition it belongs to.
    pub partition: u16,
    /// The unit in which the page is counted here; 0 for a page kept as a spare.
    pub class_bytes: u32,
    /// Units in use.
    pub used_slots: u16,
    /// Units there are.
    pub slots: u16,
}

impl PoolStats {
    /// Derives the stats that are views of the totals.
    pub(crate) fn complete(&mut self) {
        let fragmentation = self.totals.fragmentation();
        self.committed_bytes = self.totals.committed_bytes;
        self.live_bytes = self.totals.slot_bytes;
        self.requested_bytes = self.totals.requested_bytes;
        self.pages = self.totals.pages;
        self.external_permille = fragmentation.external_permille;
        self.internal_permille = fragmentation.internal_permille;
    }
}
