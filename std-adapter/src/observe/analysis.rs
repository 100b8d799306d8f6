//! An analysis of the pools, as a task makes it.

use coldpress_core::efficiency::{EfficiencyReport, Measured};

/// An efficiency analysis, and what it was made from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[doc(alias = "MemoryEfficiencyAnalyzer")]
#[non_exhaustive]
pub struct Analysis {
    /// The measurements: the pools now and their allocations since the analysis before; live and held bytes of the partition's
    /// log; the mean latency of its puts and gets since the analysis before.
    pub measured: Measured,
    /// The analysis of these measurements.
    pub report: EfficiencyReport,
}
