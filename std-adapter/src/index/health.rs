//! Whether a partition can take writes: poisoned for good, or refusing for a while because its medium failed.

use core::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering};

use coldpress_core::drive::MediumError;

use crate::clock::monotonic_ms;
use crate::errors::TierError;

/// The first pause after a failure, in milliseconds.
const PAUSE_MS_MIN: u64 = 50;
/// The longest pause, in milliseconds: the medium is tried again at least so often.
const PAUSE_MS_MAX: u64 = 2_000;

/// The state that the worker sets and the clients read.
#[derive(Debug, Default)]
pub(crate) struct Health {
    is_poisoned: AtomicBool,
    needs_reopen: AtomicBool,
    is_worn_out: AtomicBool,
    is_file_lost: AtomicBool,
    error: AtomicU8,
    pause_ms: AtomicU64,
    until_ms: AtomicU64,
    /// How often something began to keep writes away.
    failures: AtomicU32,
}

impl Health {
    pub(crate) fn poison(&self) {
        self.is_poisoned.store(true, Ordering::Release);
    }

    pub(crate) fn is_poisoned(&self) -> bool {
        self.is_poisoned.load(Ordering::Acquire)
    }

    /// What a failed sync should have made durable can't be read back: writes are refused until the tier is opened again.
    pub(crate) fn give_up(&self) {
        if !self.needs_reopen.swap(true, Ordering::AcqRel) {
            self.failures.fetch_add(1, Ordering::Release);
        }
    }

    pub(crate) fn needs_reopen(&self) -> bool {
        self.needs_reopen.load(Ordering::Acquire)
    }

    /// The log takes no more records, ever.
    pub(crate) fn wear_out(&self) {
        if !self.is_worn_out.swap(true, Ordering::AcqRel) {
            self.failures.fetch_add(1, Ordering::Release);
        }
    }

    pub(crate) fn is_worn_out(&self) -> bool {
        self.is_worn_out.load(Ordering::Acquire)
    }

    /// The file is no longer under its name, or not whole: its worker has ended, and nothing is written any more.
    pub(crate) fn lose_file(&self) {
        self.is_file_lost.store(true, Ordering::Release);
    }

    pub(crate) fn is_file_lost(&self) -> bool {
        self.is_file_lost.load(Ordering::Acquire)
    }

    /// The medium failed: writes are refused for a while, longer each time.
    pub(crate) fn fail(&self, error: MediumError) {
        let tag = match error {
            MediumError::NoSpace => 1,
            MediumError::Unreadable => 2,
            _ => 3,
        };
        let pause = self.pause_ms.load(Ordering::Relaxed).saturating_mul(2).clamp(PAUSE_MS_MIN, PAUSE_MS_MAX);
        self.pause_ms.store(pause, Ordering::Relaxed);
        self.until_ms.store(monotonic_ms().saturating_add(pause), Ordering::Relaxed);
        self.error.store(tag, Ordering::Release);
        self.failures.fetch_add(1, Ordering::Release);
    }

    /// The medium did what it was asked.
    pub(crate) fn recover(&self) {
        if self.error.load(Ordering::Relaxed) != 0 {
            self.error.store(0, Ordering::Release);
            self.pause_ms.store(0, Ordering::Relaxed);
        }
    }

    /// How often something began to keep writes away: clients that wait are to be told of each time.
    pub(crate) fn failures(&self) -> u32 {
        self.failures.load(Ordering::Acquire)
    }

    /// Why writes are refused now; after the pause for a failure one is let through, to see.
    pub(crate) fn refusal(&self) -> Option<TierError> {
        if self.needs_reopen() {
            return Some(TierError::NeedsReopen);
        }
        let error = self.failure()?;
        (monotonic_ms() < self.until_ms.load(Ordering::Relaxed)).then_some(TierError::Medium(error))
    }

    /// The last failure, if nothing has succeeded since.
    pub(crate) fn failure(&self) -> Option<MediumError> {
        match self.error.load(Ordering::Acquire) {
            0 => None,
            1 => Some(MediumError::NoSpace),
            2 => Some(MediumError::Unreadable),
            _ => Some(MediumError::Io),
        }
    }

    /// When a failed medium may be tried again.
    pub(crate) fn retry_ms(&self) -> u64 {
        self.until_ms.load(Ordering::Relaxed)
    }

    pub(crate) fn reset(&self) {
        self.is_poisoned.store(false, Ordering::Release);
        self.needs_reopen.store(false, Ordering::Release);
        self.is_worn_out.store(false, Ordering::Release);
        self.is_file_lost.store(false, Ordering::Release);
        self.error.store(0, Ordering::Release);
        self.pause_ms.store(0, Ordering::Relaxed);
        self.until_ms.store(0, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failed_medium_refuses_until_it_recovers() {
        let health = Health::default();
        assert_eq!(health.refusal(), None);
        health.fail(MediumError::NoSpace);
        assert_eq!(health.refusal(), Some(TierError::Medium(MediumError::NoSpace)));
        health.recover();
        assert_eq!((health.refusal(), health.failure()), (None, None));
    }

    #[test]
    fn medium_given_up_refuses_until_the_tier_is_opened_again() {
        let health = Health::default();
        health.give_up();
        health.recover();
        assert_eq!(health.refusal(), Some(TierError::NeedsReopen));
        health.reset();
        assert_eq!(health.refusal(), None);
    }

    #[test]
    fn pause_over_lets_one_try_and_still_knows_the_failure() {
        let health = Health::default();
        health.fail(MediumError::Io);
        health.until_ms.store(0, Ordering::Relaxed);
        assert_eq!(health.refusal(), None);
        assert_eq!(health.failure(), Some(MediumError::Io));
    }
}
