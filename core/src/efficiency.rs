//! Judges how well memory and log are used, and advises a cleanup.
//!
//! A pure function over the counts of the pools and the log; nothing is estimated. All shares are permille.
//!
//! ```text
//! fragmentation_impact = (external × 700 + internal × 300) / 1000          weights are configuration
//! utilisation          = live bytes / held bytes, pools and log together
//! score                = 1000 − impact − failed allocations − (log garbage) / 4 − latency penalty, not below 0
//! ```
//!
//! External fragmentation weighs more because moving objects gives it back; internal fragmentation only goes with
//! other size classes.
//!
//! ```
//! use coldpress_core::efficiency::{CleanupAdvice, EfficiencyConfig, Measured, analyse};
//! use coldpress_core::pool::Fragmentation;
//!
//! let measured = Measured {
//!     fragmentation: Fragmentation { external_permille: 500, internal_permille: 100 },
//!     ..Measured::default()
//! };
//! let report = analyse(&measured, &EfficiencyConfig::default());
//! assert_eq!(report.fragmentation_impact, 380);
//! assert_eq!(report.advice, CleanupAdvice::Defragment);
//! ```

use core::fmt;

use crate::pool::{Fragmentation, PoolTotals, permille_missing};

/// Measurements of the pools, the log and the clock of an adapter.
///
/// A value that was not measured stays at its default and counts neither for nor against.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Measured {
    /// The pools' fragmentation.
    pub fragmentation: Fragmentation,
    /// Bytes the pools' live objects asked for.
    pub pool_live_bytes: u64,
    /// Bytes of the pools' committed pages.
    pub pool_held_bytes: u64,
    /// Bytes of live records in the log.
    pub log_live_bytes: u64,
    /// Bytes the log's segments hold, live and stale.
    pub log_held_bytes: u64,
    /// Allocations that were tried.
    pub allocations: u64,
    /// Those of them that failed.
    pub allocation_failures: u64,
    /// A typical latency in microseconds, if the adapter has a clock.
    pub latency_us: Option<u32>,
}

impl Measured {
    /// Takes the counts of a pool. Allocations are those since `before`, earlier totals of the same pool, so that an old
    /// failure does not weigh for ever.
    #[must_use]
    pub fn from_pool(now: &PoolTotals, before: &PoolTotals) -> Self {
        let failures = now.failures.saturating_sub(before.failures);
        Self {
            fragmentation: now.fragmentation(),
            pool_live_bytes: now.requested_bytes,
            pool_held_bytes: now.committed_bytes,
            allocations: now.allocations.saturating_sub(before.allocations).saturating_add(failures),
            allocation_failures: failures,
            ..Self::default()
        }
    }
}

/// The weight of each part, and the threshold to act.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct EfficiencyConfig {
    /// Above this fragmentation impact a cleanup is advised.
    pub threshold_permille: u16,
    /// The weight of external fragmentation.
    pub external_weight_permille: u16,
    /// The weight of internal fragmentation.
    pub internal_weight_permille: u16,
    /// The latency that costs nothing; twice as much costs 100 permille of the score, and so on up to 200.
    pub latency_target_us: u32,
}

/// External 0.7, internal 0.3, threshold 0.3, latency target 1 ms.
impl Default for EfficiencyConfig {
    fn default() -> Self {
        Self {
            threshold_permille: 300,
            external_weight_permille: 700,
            internal_weight_permille: 300,
            latency_target_us: 1_000,
        }
    }
}

impl EfficiencyConfig {
    /// Checks that the weights add up to one and the threshold is a share.
    ///
    /// # Errors
    /// [`EfficiencyConfigError`] names which does not.
    pub const fn validate(&self) -> Result<(), EfficiencyConfigError> {
        let weights = self.external_weight_permille as u32 + self.internal_weight_permille as u32;
        if weights != 1_000 {
            return Err(EfficiencyConfigError::Weights);
        }
        if self.threshold_permille > 1_000 {
            return Err(EfficiencyConfigError::Threshold);
        }
        Ok(())
    }
}

/// Tells why a configuration makes no sense.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum EfficiencyConfigError {
    /// The two weights do not add up to 1,000.
    Weights,
    /// The threshold is above 1,000.
    Threshold,
}

impl fmt::Display for EfficiencyConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Weights => {
                "the weights of external and internal fragmentation must add up to 1000 permille"
            }
            Self::Threshold => "the threshold must be at most 1000 permille",
        })
    }
}

impl core::error::Error for EfficiencyConfigError {}

/// The cheapest action that helps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum CleanupAdvice {
    /// Nothing.
    Keep,
    /// The impact is above the threshold: move objects together.
    Defragment,
    /// The impact is above the threshold and allocations fail, so memory is needed now.
    EmergencyCleanup,
}

impl CleanupAdvice {
    /// Tells whether the pools should be asked for a cleanup.
    #[must_use]
    pub const fn is_cleanup(self) -> bool {
        matches!(self, Self::Defragment | Self::EmergencyCleanup)
    }
}

/// How well memory and log are used. Shares in permille.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct EfficiencyReport {
    /// The weighed share of pool memory that holds nothing: 0 is best.
    pub fragmentation_impact: u16,
    /// Live bytes over held bytes: 1,000 is best. Where nothing is held, nothing is wasted.
    pub utilisation: u16,
    /// All in one: 1,000 is best.
    pub score: u16,
    /// The action to take.
    pub advice: CleanupAdvice,
}

/// Judges the measurements. An impact exactly at the threshold is still fine.
///
/// # Bounds
/// Constant work.
#[must_use]
pub fn analyse(measured: &Measured, config: &EfficiencyConfig) -> EfficiencyReport {
    let external = u32::from(measured.fragmentation.external_permille.min(1_000));
    let internal = u32::from(measured.fragmentation.internal_permille.min(1_000));
    let external_share = external.saturating_mul(u32::from(config.external_weight_permille));
    let internal_share = internal.saturating_mul(u32::from(config.internal_weight_permille));
    let impact = permille(external_share.saturating_add(internal_share) / 1_000);

    let live_bytes = measured.pool_live_bytes.saturating_add(measured.log_live_bytes);
    let held_bytes = measured.pool_held_bytes.saturating_add(measured.log_held_bytes);
    let utilisation = 1_000 - permille_missing(live_bytes, held_bytes);

    let succeeded = measured.allocations.saturating_sub(measured.allocation_failures);
    let failed = permille_missing(succeeded, measured.allocations);
    let garbage = permille_missing(measured.log_live_bytes, measured.log_held_bytes) / 4;
    let score = [impact, failed, garbage, latency_penalty(measured.latency_us, config.latency_target_us)]
        .into_iter()
        .fold(1_000u16, u16::saturating_sub);

    let advice = if impact <= config.threshold_permille {
        CleanupAdvice::Keep
    } else if measured.allocation_failures > 0 {
        CleanupAdvice::EmergencyCleanup
    } else {
        CleanupAdvice::Defragment
    };
    EfficiencyReport { fragmentation_impact: impact, utilisation, score, advice }
}

fn latency_penalty(latency_us: Option<u32>, target_us: u32) -> u16 {
    let above = u64::from(latency_us.unwrap_or(0).saturating_sub(target_us));
    let share = (above * 100).checked_div(u64::from(target_us)).unwrap_or(0);
    u16::try_from(share).unwrap_or(200).min(200)
}

fn permille(share: u32) -> u16 {
    u16::try_from(share).unwrap_or(1_000).min(1_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measured(external_permille: u16, internal_permille: u16) -> Measured {
        Measured {
            fragmentation: Fragmentation { external_permille, internal_permille },
            ..Measured::default()
        }
    }

    #[test]
    fn any_fragmentation_is_weighed_seven_to_three() {
        let config = EfficiencyConfig::default();
        let table = [
            (0, 0, 0),
            (1_000, 1_000, 1_000),
            (1_000, 0, 700),
            (0, 1_000, 300),
            (428, 0, 299),
            (500, 100, 380),
        ];
        for (external, internal, impact) in table {
            assert_eq!(analyse(&measured(external, internal), &config).fragmentation_impact, impact);
        }
    }

    #[test]
    fn impact_at_the_threshold_is_kept_and_above_it_advised() {
        let config = EfficiencyConfig::default();
        assert_eq!(analyse(&measured(300, 300), &config).advice, CleanupAdvice::Keep);
        assert_eq!(analyse(&measured(302, 300), &config).advice, CleanupAdvice::Defragment);
        let failing = Measured { allocations: 10, allocation_failures: 1, ..measured(600, 0) };
        assert_eq!(analyse(&failing, &config).advice, CleanupAdvice::EmergencyCleanup);
        let patient = EfficiencyConfig { threshold_permille: 900, ..config };
        assert_eq!(analyse(&failing, &patient).advice, CleanupAdvice::Keep);
    }

    #[test]
    fn nothing_measured_is_perfect() {
        let report = analyse(&Measured::default(), &EfficiencyConfig::default());
        let perfect = EfficiencyReport {
            fragmentation_impact: 0,
            utilisation: 1_000,
            score: 1_000,
            advice: CleanupAdvice::Keep,
        };
        assert_eq!(report, perfect);
    }

    #[test]
    fn any_loss_lowers_the_score_and_never_below_zero() {
        let config = EfficiencyConfig::default();
        let slow = Measured { latency_us: Some(2_000), ..Measured::default() };
        assert_eq!(analyse(&slow, &config).score, 900);
        let stale = Measured { log_live_bytes: 60, log_held_bytes: 100, ..Measured::default() };
        assert_eq!((analyse(&stale, &config).score, analyse(&stale, &config).utilisation), (900, 600));
        let failing = Measured { allocations: 4, allocation_failures: 1, ..Measured::default() };
        assert_eq!(analyse(&failing, &config).score, 750);
        let hopeless = Measured {
            allocations: u64::MAX,
            allocation_failures: u64::MAX,
            latency_us: Some(u32::MAX),
            log_held_bytes: u64::MAX,
            pool_held_bytes: u64::MAX,
            ..measured(u16::MAX, u16::MAX)
        };
        let report = analyse(&hopeless, &config);
        assert_eq!((report.score, report.utilisation, report.fragmentation_impact), (0, 0, 1_000));
    }

    #[test]
    fn weights_that_do_not_add_up_are_refused() {
        assert_eq!(EfficiencyConfig::default().validate(), Ok(()));
        let heavy = EfficiencyConfig { external_weight_permille: 701, ..EfficiencyConfig::default() };
        assert_eq!(heavy.validate(), Err(EfficiencyConfigError::Weights));
        let high = EfficiencyConfig { threshold_permille: 1_001, ..EfficiencyConfig::default() };
        assert_eq!(high.validate(), Err(EfficiencyConfigError::Threshold));
    }

    #[test]
    fn earlier_counts_are_taken_off() {
        let before = PoolTotals { allocations: 100, failures: 50, ..PoolTotals::default() };
        let now = PoolTotals {
            allocations: 110,
            failures: 51,
            requested_bytes: 10,
            slot_bytes: 20,
            committed_bytes: 40,
            ..PoolTotals::default()
        };
        let measured = Measured::from_pool(&now, &before);
        assert_eq!((measured.allocations, measured.allocation_failures), (11, 1));
        assert_eq!(measured.fragmentation, Fragmentation { external_permille: 500, internal_permille: 500 });
    }
}
