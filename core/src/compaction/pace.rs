//! How fast compaction may go: a token bucket whose rate rises with debt.

/// The pace of background compaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct PaceConfig {
    /// Bytes moved per second while there is no shortage; `None` for no limit.
    pub bytes_per_s: Option<u32>,
}

/// The state of the pace.
///
/// Tokens are bytes. The rate is the configured one with no debt, and rises in proportion to it, to sixteen times at full
/// debt; where free segments are at the reserve there is no limit at all, because then clients wait for compaction.
#[derive(Debug, Clone, Copy)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Pace {
    config: PaceConfig,
    tokens: u64,
    refilled_ms: u64,
}

/// How many times faster than configured compaction goes at full debt.
const RATE_RISE_MAX: u64 = 16;

impl Pace {
    /// Begins with an empty bucket.
    #[must_use]
    pub const fn new(config: PaceConfig) -> Self {
        Self { config, tokens: 0, refilled_ms: 0 }
    }

    fn rate(&self, debt_permille: u16) -> Option<u64> {
        let base = u64::from(self.config.bytes_per_s?).max(1);
        Some(base + base * (RATE_RISE_MAX - 1) * u64::from(debt_permille.min(1000)) / 1000)
    }

    /// Tells whether a step of `bytes` may run now, and takes its tokens. `debt_permille` of 1,000 lifts the limit.
    pub fn admit(&mut self, now_ms: u64, debt_permille: u16, bytes: u32) -> bool {
        let Some(rate) = self.rate(debt_permille) else { return true };
        let elapsed = now_ms.saturating_sub(self.refilled_ms);
        self.refilled_ms = self.refilled_ms.max(now_ms);
        // At most a second's worth is saved up, but never less than the step asked for.
        let most = rate.max(u64::from(bytes));
        self.tokens = self.tokens.saturating_add(rate.saturating_mul(elapsed) / 1000).min(most);
        if debt_permille >= 1000 {
            self.tokens = self.tokens.saturating_sub(u64::from(bytes));
            return true;
        }
        match self.tokens.checked_sub(u64::from(bytes)) {
            Some(rest) => {
                self.tokens = rest;
                true
            }
            None => false,
        }
    }

    /// Returns the milliseconds after which a step of `bytes` will be admitted.
    #[must_use]
    pub fn wait_ms(&self, debt_permille: u16, bytes: u32) -> u64 {
        match self.rate(debt_permille) {
            Some(rate) if debt_permille < 1000 => {
                (u64::from(bytes).saturating_sub(self.tokens) * 1000).div_ceil(rate)
            }
            _ => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moved_in_a_second(debt: u16) -> u64 {
        let mut pace = Pace::new(PaceConfig { bytes_per_s: Some(1_000_000) });
        (1..=1000).map(|ms| u64::from(pace.admit(ms, debt, 4000)) * 4000).sum()
    }

    #[test]
    fn rate_is_kept_without_debt_and_rises_with_it() {
        assert!((990_000..=1_000_000).contains(&moved_in_a_second(0)));
        assert!((3_900_000..=4_000_000).contains(&moved_in_a_second(500)), "a step a millisecond at most");
    }

    #[test]
    fn no_limit_or_full_debt_admits_all() {
        assert!(Pace::new(PaceConfig::default()).admit(0, 0, u32::MAX));
        assert_eq!(moved_in_a_second(1000), 4_000_000);
    }

    #[test]
    fn refused_step_is_admitted_after_the_wait() {
        let mut pace = Pace::new(PaceConfig { bytes_per_s: Some(1000) });
        assert!(!pace.admit(0, 0, 500));
        let wait = pace.wait_ms(0, 500);
        assert_eq!(wait, 500);
        assert!(!pace.admit(wait - 1, 0, 500));
        assert!(pace.admit(wait, 0, 500));
    }
}
