//! The wall clock of a log, as its worker posts it and its clients read it.

use core::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

use crate::clock::monotonic_ms;

/// It does not go back over a reopen, and takes no jump ahead beyond the bound that was not confirmed (rule 11).
#[derive(Debug, Default)]
pub(crate) struct LogClock {
    now_s: AtomicU32,
    /// When that was posted, on the clock that never goes back.
    posted_ms: AtomicU64,
    /// How far the wall clock is ahead where it is refused, and one more; 0 where it is not.
    refused: AtomicU64,
}

impl LogClock {
    pub(crate) fn post(&self, now_s: u32, refused_s: Option<u32>) {
        self.now_s.store(now_s, Relaxed);
        self.posted_ms.store(monotonic_ms(), Relaxed);
        self.refused.store(refused_s.map_or(0, |jump_s| u64::from(jump_s) + 1), Relaxed);
    }

    /// The log's time as it was posted.
    pub(crate) fn posted_s(&self) -> u32 {
        self.now_s.load(Relaxed)
    }

    /// The jump that is being refused, in seconds.
    pub(crate) fn refused_s(&self) -> Option<u32> {
        let jump_s = self.refused.load(Relaxed).checked_sub(1)?;
        Some(u32::try_from(jump_s).unwrap_or(u32::MAX))
    }

    /// The time for a client: the wall clock, unless it is behind the log, or so far ahead that the log refuses it.
    pub(crate) fn now_s(&self, wall_s: u32, jump_s_max: u32) -> u32 {
        let posted_s = self.posted_s();
        let is_near = wall_s <= posted_s.saturating_add(jump_s_max);
        if is_near && self.refused.load(Relaxed) == 0 {
            return wall_s.max(posted_s);
        }
        let passed_s = monotonic_ms().saturating_sub(self.posted_ms.load(Relaxed)) / 1000;
        let expected_s = posted_s.saturating_add(u32::try_from(passed_s).unwrap_or(u32::MAX));
        // A second for what both sides round.
        if wall_s <= expected_s.saturating_add(jump_s_max).saturating_add(1) {
            wall_s.max(expected_s)
        } else {
            expected_s
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn client_follows_the_wall_clock_within_the_bound_and_the_log_beyond() {
        let clock = LogClock::default();
        clock.post(1_000, None);
        assert_eq!(clock.now_s(900, 60), 1_000);
        assert_eq!(clock.now_s(1_060, 60), 1_060);
        // Some seconds may pass while this runs.
        assert!((1_000..1_030).contains(&clock.now_s(u32::MAX, 60)));
        clock.post(1_000, Some(500));
        assert_eq!(clock.refused_s(), Some(500));
        assert!((1_000..1_030).contains(&clock.now_s(1_500, 60)));
    }
}
