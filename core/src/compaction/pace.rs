//! How fast compaction may go: a token bucket whose rate rises with debt.

use crate::config::PaceConfig;

/// The state of the pace.
///
/// Tokens are bytes relocated. A step may run while there are any. The bytes that it relocated are taken afterwards, so the
/// bucket can be overdrawn by one step. Without debt the rate is the configured one. It rises in proportion to the debt, to
/// sixteen times just below a debt of 1,000. At 1,000 there is no limit at all, because then clients wait for compaction.
#[derive(Debug, Clone, Copy)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Pace {
    config: PaceConfig,
    tokens: i64,
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

    /// Tells whether a step may run now. `debt_permille` of 1,000 lifts the limit.
    pub fn admits(&mut self, now_ms: u64, debt_permille: u16) -> bool {
        let Some(rate) = self.rate(debt_permille).filter(|_| debt_permille < 1000) else { return true };
        let elapsed_ms = now_ms.saturating_sub(self.refilled_ms);
        let earned = i64::try_from(rate.saturating_mul(elapsed_ms) / 1000).unwrap_or(i64::MAX);
        // Time that earned no whole token yet is kept for the next call. At most the tokens of a tenth of a second are saved
        // up.
        if earned > 0 {
            self.refilled_ms = now_ms;
            let most = i64::try_from(rate / 10).unwrap_or(i64::MAX).max(1);
            self.tokens = self.tokens.saturating_add(earned).min(most);
        }
        self.tokens > 0
    }

    /// Takes the tokens of what a step relocated.
    pub fn spend(&mut self, bytes: u64) {
        if self.config.bytes_per_s.is_some() {
            self.tokens = self.tokens.saturating_sub_unsigned(bytes);
        }
    }

    /// Returns the milliseconds after which a step will be admitted.
    #[must_use]
    pub fn wait_ms(&self, debt_permille: u16) -> u64 {
        match self.rate(debt_permille) {
            Some(rate) if debt_permille < 1000 && self.tokens <= 0 => {
                ((self.tokens.unsigned_abs() + 1) * 1000).div_ceil(rate)
            }
            _ => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Polls every millisecond for ten seconds; a step relocates 40,000 bytes, every other poll relocates none.
    fn moved_per_second(debt: u16) -> u64 {
        let mut pace = Pace::new(PaceConfig { bytes_per_s: Some(1_000_000) });
        let mut moved = 0;
        for ms in 1..=10_000u64 {
            if pace.admits(ms, debt) && ms % 2 == 0 {
                pace.spend(40_000);
                moved += 40_000;
            }
        }
        moved / 10
    }

    #[test]
    fn rate_is_kept_without_debt_and_rises_with_it() {
        assert!((950_000..=1_050_000).contains(&moved_per_second(0)), "{}", moved_per_second(0));
        assert!((8_000_000..=9_000_000).contains(&moved_per_second(500)), "{}", moved_per_second(500));
    }

    #[test]
    fn no_limit_or_full_debt_admits_all() {
        let mut pace = Pace::new(PaceConfig::default());
        pace.spend(u64::MAX);
        assert!(pace.admits(0, 0));
        assert_eq!(moved_per_second(1000), 20_000_000);
    }

    #[test]
    fn overdrawn_bucket_admits_again_after_the_wait() {
        let mut pace = Pace::new(PaceConfig { bytes_per_s: Some(1000) });
        assert!(pace.admits(1000, 0));
        pace.spend(600);
        assert!(!pace.admits(1000, 0));
        let wait_ms = pace.wait_ms(0);
        assert_eq!(wait_ms, 501);
        assert!(!pace.admits(1000 + wait_ms - 1, 0));
        assert!(pace.admits(1000 + wait_ms, 0));
    }
}
