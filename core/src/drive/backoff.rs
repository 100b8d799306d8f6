//! The wait of a machine after a failure, before it tries again.

use super::action::Now;

const WAIT_MS_MIN: u64 = 10;
const WAIT_MS_MAX: u64 = 2_000;

/// A wait that doubles with each failure in a row, from 10 ms to 2 s.
#[derive(Debug)]
pub(crate) struct Backoff {
    until_ms: u64,
    wait_ms: u64,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { until_ms: 0, wait_ms: WAIT_MS_MIN }
    }
}

impl Backoff {
    pub(crate) fn fail(&mut self, now: Now) {
        self.until_ms = now.monotonic_ms.saturating_add(self.wait_ms);
        self.wait_ms = (self.wait_ms * 2).min(WAIT_MS_MAX);
    }

    /// Ends a row of failures: the next one is the first again.
    pub(crate) const fn succeed(&mut self) {
        self.wait_ms = WAIT_MS_MIN;
    }

    pub(crate) const fn is_waiting(&self, now: Now) -> bool {
        now.monotonic_ms < self.until_ms
    }

    /// The end of the wait, in milliseconds of the monotonic clock.
    pub(crate) const fn until_ms(&self) -> u64 {
        self.until_ms
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wait_doubles_with_each_failure_in_a_row() {
        let at = |monotonic_ms| Now { monotonic_ms, wall_s: 0 };
        let mut backoff = Backoff::default();
        assert!(!backoff.is_waiting(at(0)));
        let mut waits = [0; 10];
        for wait in &mut waits {
            backoff.fail(at(1_000));
            *wait = backoff.until_ms() - 1_000;
            assert!(
                backoff.is_waiting(at(backoff.until_ms() - 1)) && !backoff.is_waiting(at(backoff.until_ms()))
            );
        }
        assert_eq!(waits, [10, 20, 40, 80, 160, 320, 640, 1_280, 2_000, 2_000]);
        backoff.succeed();
        backoff.fail(at(5));
        assert_eq!(backoff.until_ms(), 15);
    }
}
