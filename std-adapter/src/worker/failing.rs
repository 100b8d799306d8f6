//! Pauses after failures of the medium.

use crate::clock::monotonic_ms;
use crate::index::PostedHealth;
use crate::storage::MediumFailure;

/// The first pause after a failure, in milliseconds.
const PAUSE_MS_MIN: u64 = 50;
/// The longest pause, in milliseconds: the medium is tried again at least so often.
const PAUSE_MS_MAX: u64 = 2_000;

/// The last failure, if no operation has succeeded since, and when the medium may be tried again.
#[derive(Debug, Default)]
pub(super) struct Failing {
    failure: Option<MediumFailure>,
    pause_ms: u64,
    until_ms: u64,
}

impl Failing {
    /// The medium failed: it is left alone for a while, longer each time.
    pub(super) fn fail(&mut self, failure: &MediumFailure, health: &PostedHealth) {
        self.pause_ms = self.pause_ms.saturating_mul(2).clamp(PAUSE_MS_MIN, PAUSE_MS_MAX);
        self.until_ms = monotonic_ms().saturating_add(self.pause_ms);
        self.failure = Some(failure.clone());
        health.fail(failure, self.until_ms);
    }

    /// An operation of the medium succeeded.
    pub(super) fn recover(&mut self, health: &PostedHealth) {
        if self.failure.take().is_some() {
            self.pause_ms = 0;
            health.recover();
        }
    }

    pub(super) fn failure(&self) -> Option<MediumFailure> {
        self.failure.clone()
    }

    /// Tells whether the medium may be tried.
    pub(super) fn may_try(&self) -> bool {
        self.failure.is_none() || monotonic_ms() >= self.until_ms
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::index::Health;
    use crate::storage::MediumError;

    #[test]
    fn pauses_double_up_to_the_longest_and_begin_anew() {
        let (mut failing, health) = (Failing::default(), PostedHealth::default());
        let mut pauses = Vec::new();
        for _ in 0..8 {
            failing.fail(&MediumError::Io.into(), &health);
            assert!(!failing.may_try());
            pauses.push(failing.pause_ms);
        }
        assert_eq!(pauses, [50, 100, 200, 400, 800, 1_600, 2_000, 2_000]);
        failing.recover(&health);
        assert!(failing.may_try() && failing.failure().is_none());
        assert_eq!(health.get(), Health::Sound);
        failing.fail(&MediumError::NoSpace.into(), &health);
        assert_eq!((failing.pause_ms, failing.failure()), (50, Some(MediumError::NoSpace.into())));
    }
}
