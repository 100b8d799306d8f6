//! The tier's wall clock (rule 11): it never goes back, and takes a jump beyond the bound only when that was confirmed.

use super::{MountError, Now};

/// What the log knows of the time.
#[derive(Debug, Default)]
pub(super) struct Clock {
    /// The newest wall clock taken over, in seconds.
    pub(super) now_s: u32,
    /// The newest wall clock on the medium, in seconds.
    pub(super) written_s: u32,
    /// When a wall clock was taken over last, in milliseconds of the monotonic clock.
    observed_ms: u64,
    /// The jump that is being refused, in seconds.
    pub(super) refused_s: Option<u32>,
    /// Jumps refused so far; one that lasts counts once.
    pub(super) refusals: u64,
    /// Something was dropped by this clock, or a jump was taken: the log is to know the time, though nobody writes.
    pub(super) is_owed: bool,
    confirmed: Confirmed,
}

/// Whether a jump may be taken. A confirmation lapses, so that none that came too late lets a later jump in.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Confirmed {
    #[default]
    No,
    /// From the next look at the clock on.
    Now,
    /// Until this time of the monotonic clock, in milliseconds.
    Until(u64),
}

/// How long a confirmation holds, in milliseconds.
pub(super) const CONFIRMED_MS: u64 = 60_000;

impl Clock {
    /// The next jump beyond the bound, or the one that is being refused, is taken.
    pub(super) fn confirm(&mut self) {
        self.confirmed = Confirmed::Now;
    }

    /// Takes over the wall clock, unless it lies further ahead than `jump_s_max` of what the monotonic clock says; then that is
    /// followed.
    pub(super) fn observe(&mut self, now: Now, jump_s_max: u32) {
        let passed_s = now.monotonic_ms.saturating_sub(self.observed_ms) / 1000;
        let expected_s = u64::from(self.now_s) + passed_s;
        let is_jump = u64::from(now.wall_s) > expected_s + u64::from(jump_s_max) && self.now_s > 0;
        self.confirmed = match self.confirmed {
            Confirmed::Now => Confirmed::Until(now.monotonic_ms.saturating_add(CONFIRMED_MS)),
            Confirmed::Until(end_ms) if now.monotonic_ms > end_ms => Confirmed::No,
            same => same,
        };
        if is_jump && self.confirmed == Confirmed::No {
            self.refusals += u64::from(self.refused_s.is_none());
            let jump_s = u64::from(now.wall_s) - expected_s;
            self.refused_s = Some(u32::try_from(jump_s).unwrap_or(u32::MAX));
            self.now_s = u32::try_from(expected_s).unwrap_or(u32::MAX);
            self.observed_ms = self.observed_ms.saturating_add(passed_s * 1000);
            return;
        }
        if is_jump {
            self.confirmed = Confirmed::No;
            self.is_owed = true;
        }
        self.refused_s = None;
        self.now_s = self.now_s.max(now.wall_s);
        self.observed_ms = now.monotonic_ms;
    }

    /// At a mount: the clock starts no earlier than the newest time on the medium, and no further from it than the bound.
    pub(super) fn start(&mut self, now: Now, newest_s: u32, jump_s_max: u32) -> Result<(), MountError> {
        let is_jump = newest_s > 0 && now.wall_s.abs_diff(newest_s) > jump_s_max;
        if is_jump && self.confirmed == Confirmed::No {
            return Err(MountError::Clock(i64::from(now.wall_s) - i64::from(newest_s)));
        }
        self.is_owed = is_jump;
        self.confirmed = Confirmed::No;
        self.now_s = now.wall_s.max(newest_s);
        self.observed_ms = now.monotonic_ms;
        self.written_s = newest_s;
        Ok(())
    }
}
