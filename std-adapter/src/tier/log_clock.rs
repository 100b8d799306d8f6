//! The wall clock of a log, as its worker posts it and its clients read it.

use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::clock::monotonic_ms;

/// The length of a tick: 32 bits of them are eight years.
const TICK_MS: u64 = 64;

fn ticks() -> u32 {
    u32::try_from(monotonic_ms() / TICK_MS).unwrap_or(u32::MAX)
}

/// It does not go back over a reopen, and takes no jump ahead beyond the bound that was not confirmed (rule 11).
#[derive(Debug, Default)]
pub(crate) struct LogClock {
    /// The log's time, and in the lower half when that was posted, in ticks of the clock that never goes back: one value, so that
    /// nobody counts from the one time to the other.
    posted: AtomicU64,
    /// How far the wall clock is ahead where it is refused, and one more; 0 where it is not.
    refused: AtomicU64,
}

impl LogClock {
    pub(crate) fn post(&self, now_s: u32, refused_s: Option<u32>) {
        self.post_at(ticks(), now_s, refused_s);
    }

    fn post_at(&self, ticks: u32, now_s: u32, refused_s: Option<u32>) {
        self.posted.store(u64::from(now_s) << 32 | u64::from(ticks), Relaxed);
        self.refused.store(refused_s.map_or(0, |jump_s| u64::from(jump_s) + 1), Relaxed);
    }

    /// The log's time as it was posted, and when.
    fn posted(&self) -> (u32, u32) {
        let posted = self.posted.load(Relaxed);
        let half = |bits: u64| u32::try_from(bits & u64::from(u32::MAX)).unwrap_or(u32::MAX);
        (half(posted >> 32), half(posted))
    }

    /// The jump that is being refused, in seconds.
    pub(crate) fn refused_s(&self) -> Option<u32> {
        let jump_s = self.refused.load(Relaxed).checked_sub(1)?;
        Some(u32::try_from(jump_s).unwrap_or(u32::MAX))
    }

    /// The time for a client: the wall clock, unless it is behind the log, or so far ahead that the log refuses it.
    pub(crate) fn now_s(&self, wall_s: u32, jump_s_max: u32) -> u32 {
        self.now_s_at(ticks, wall_s, jump_s_max)
    }

    fn now_s_at(&self, ticks: impl Fn() -> u32, wall_s: u32, jump_s_max: u32) -> u32 {
        let (posted_s, posted_at) = self.posted();
        let is_near = wall_s <= posted_s.saturating_add(jump_s_max);
        if is_near && self.refused.load(Relaxed) == 0 {
            return wall_s.max(posted_s);
        }
        let passed_s = u64::from(ticks().saturating_sub(posted_at)) * TICK_MS / 1000;
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

    #[test]
    fn client_that_reads_while_it_is_posted_never_counts_from_one_time_to_another() {
        const PER_S: u32 = 1_000 / TICK_MS as u32;
        let clock = LogClock::default();
        // Two posts of a worker that stood still for a long while between them.
        let posts = [(0, 1_000), (1_000_000 * PER_S, 1_000_000)];
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for (ticks, now_s) in posts.iter().cycle().take(400_000) {
                    clock.post_at(*ticks, *now_s, Some(1 << 30));
                }
            });
            for _ in 0..200_000 {
                let now_s = clock.now_s_at(|| 1_000_000 * PER_S, u32::MAX, 60);
                assert!(now_s <= 1_001_000, "{now_s}");
            }
        });
    }
}
