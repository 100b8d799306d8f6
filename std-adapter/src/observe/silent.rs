//! Meters of a build without the feature `metrics`: they do nothing.

use core::fmt::Debug;
use core::time::Duration;

use coldpress_core::cleanup::Reclaimed;
use coldpress_core::compaction::Report;

use super::latency::Timed;
use super::pool_stats::PoolStats;
use super::table::{Counts, PartitionState, WorkerStats};

#[derive(Debug)]
pub(crate) struct TierMeter;

impl TierMeter {
    pub(crate) const fn new(_tier: &str, _partition: u16) -> Self {
        Self
    }

    pub(crate) const fn latency(&self, _timed: Timed, _took: Duration) {}

    pub(crate) const fn compaction(&self, _report: &Report) {}

    pub(crate) const fn stats(&mut self, _: &Counts, _: &WorkerStats, _: &PartitionState) {}
}

#[derive(Debug)]
pub(crate) struct PoolMeter;

impl PoolMeter {
    pub(crate) const fn new(_pools: &str) -> Self {
        Self
    }

    pub(crate) fn cleanup(&self, _kind: &str, _reclaimed: &Reclaimed, _error: Option<impl Debug>) {}

    pub(crate) const fn stats(&mut self, _stats: &PoolStats) {}
}
