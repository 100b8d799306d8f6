//! Nobody listens.

use core::time::Duration;

use coldpress_core::cleanup::Reclaimed;
use coldpress_core::compaction::Report;

use crate::pool::{HotPools, PoolError};
use crate::tier::{Board, Shell, Timed};

#[derive(Debug)]
pub(crate) struct TierMeter;

impl TierMeter {
    pub(crate) const fn new(_tier: &str, _partition: u16) -> Self {
        Self
    }

    pub(crate) const fn latency(&self, _timed: Timed, _took: Duration) {}

    pub(crate) const fn compaction(&self, _report: &Report) {}

    pub(crate) const fn figures(&mut self, _shell: &Shell, _board: &Board) {}
}

#[derive(Debug)]
pub(crate) struct PoolMeter;

impl PoolMeter {
    pub(crate) const fn new(_pools: &str) -> Self {
        Self
    }

    pub(crate) const fn cleanup(&self, _kind: &str, _reclaimed: &Reclaimed, _error: Option<PoolError>) {}

    pub(crate) const fn figures(&mut self, _hot: HotPools) {}
}
