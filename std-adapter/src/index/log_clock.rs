//! The time of a log, as its worker posts it and its clients read it.

use core::sync::atomic::Ordering::Relaxed;
use core::sync::atomic::{AtomicI64, AtomicU32, AtomicU64};

use crate::clock::monotonic_ms;

/// The time of a log. It never goes back, not even over a reopen, and follows no unconfirmed jump ahead beyond the bound (rule
/// 11).
#[derive(Debug, Default)]
pub(crate) struct LogClock {
    /// By how much the log's time is ahead of the monotonic clock, in milliseconds. It is one value, so that no client mixes
    /// two posts.
    offset_ms: AtomicI64,
    /// Seconds by which a refused wall clock is ahead, plus one; 0 where it is not refused.
    refused: AtomicU64,
    /// How far the wall clock is behind, in seconds.
    behind_s: AtomicU32,
}

/// The time that a worker posts.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct LogTime {
    pub(crate) now_ms: u64,
    pub(crate) refused_s: Option<u32>,
    pub(crate) behind_s: u32,
}

impl LogClock {
    /// Posts the time as it was at `monotonic_ms`.
    pub(crate) fn post(&self, monotonic_ms: u64, time: LogTime) {
        let millis = |ms: u64| i64::try_from(ms).unwrap_or(i64::MAX);
        self.offset_ms.store(millis(time.now_ms).saturating_sub(millis(monotonic_ms)), Relaxed);
        self.refused.store(time.refused_s.map_or(0, |jump_s| u64::from(jump_s) + 1), Relaxed);
        self.behind_s.store(time.behind_s, Relaxed);
    }

    /// The jump that is being refused, in seconds.
    pub(crate) fn refused_s(&self) -> Option<u32> {
        let jump_s = self.refused.load(Relaxed).checked_sub(1)?;
        Some(u32::try_from(jump_s).unwrap_or(u32::MAX))
    }

    /// How far the wall clock is behind, in seconds.
    pub(crate) fn behind_s(&self) -> u32 {
        self.behind_s.load(Relaxed)
    }

    /// The time for a client: the log's, which has gone on by the monotonic clock, or the wall clock, unless that is so far
    /// ahead that the log refuses it.
    pub(crate) fn now_s(&self, wall_s: u32, jump_s_max: u32) -> u32 {
        self.now_s_at(monotonic_ms(), wall_s, jump_s_max)
    }

    /// As [`now_s`](Self::now_s), at a moment that was read already.
    pub(crate) fn now_s_at(&self, monotonic_ms: u64, wall_s: u32, jump_s_max: u32) -> u32 {
        let offset_ms = self.offset_ms.load(Relaxed);
        let expected_ms = monotonic_ms.saturating_add_signed(offset_ms);
        let expected_s = u32::try_from(expected_ms / 1_000).unwrap_or(u32::MAX);
        // A refused wall clock may be followed again at any moment. The second allows for rounding on both sides.
        let slack_s = u32::from(self.refused.load(Relaxed) > 0);
        if wall_s <= expected_s.saturating_add(jump_s_max).saturating_add(slack_s) {
            wall_s.max(expected_s)
        } else {
            expected_s
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn time(now_s: u64, refused_s: Option<u32>) -> LogTime {
        LogTime { now_ms: now_s * 1_000, refused_s, behind_s: 0 }
    }

    #[test]
    fn client_time_within_the_bound_is_wall_clock_else_log() {
        let clock = LogClock::default();
        clock.post(7, time(1_000, None));
        assert_eq!(clock.now_s_at(7, 900, 60), 1_000);
        assert_eq!(clock.now_s_at(2_007, 900, 60), 1_002, "behind, it goes on");
        assert_eq!(clock.now_s_at(7, 1_060, 60), 1_060);
        assert_eq!(clock.now_s_at(3_006, u32::MAX, 60), 1_002);
        clock.post(7, time(1_000, Some(500)));
        assert_eq!(clock.refused_s(), Some(500));
        assert_eq!(clock.now_s_at(1_007, 1_500, 60), 1_001);
    }

    #[test]
    fn client_reading_during_a_post_sees_one_whole_time() {
        let clock = LogClock::default();
        // Two posts of a worker that stood still for a long while between them.
        let posts = [(0, 1_000), (1_000_000_000, 1_000_000)];
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for (at_ms, now_s) in posts.iter().cycle().take(400_000) {
                    clock.post(*at_ms, time(*now_s, Some(1 << 30)));
                }
            });
            for _ in 0..200_000 {
                let now_s = clock.now_s_at(1_000_000_000, u32::MAX, 60);
                assert!(now_s <= 1_001_000, "{now_s}");
            }
        });
    }
}
