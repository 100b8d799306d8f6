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
    is_confirmed: bool,
}

impl Clock {
    /// The next jump beyond the bound, or the one that is being refused, is taken.
    pub(super) fn confirm(&mut self) {
        self.is_confirmed = true;
    }

    /// Takes over the wall clock, unless it lies further ahead than `jump_s_max` of what the monotonic clock says; then that is
    /// followed.
    pub(super) fn observe(&mut self, now: Now, jump_s_max: u32) {
        let passed_s = now.monotonic_ms.saturating_sub(self.observed_ms) / 1000;
        let expected_s = u64::from(self.now_s) + passed_s;
        let is_jump = u64::from(now.wall_s) > expected_s + u64::from(jump_s_max) && self.now_s > 0;
        if is_jump && !self.is_confirmed {
            self.refusals += u64::from(self.refused_s.is_none());
            let jump_s = u64::from(now.wall_s) - expected_s;
            self.refused_s = Some(u32::try_from(jump_s).unwrap_or(u32::MAX));
            self.now_s = u32::try_from(expected_s).unwrap_or(u32::MAX);
            self.observed_ms = self.observed_ms.saturating_add(passed_s * 1000);
            return;
        }
        self.is_confirmed &= !is_jump;
        self.refused_s = None;
        self.now_s = self.now_s.max(now.wall_s);
        self.observed_ms = now.monotonic_ms;
    }

    /// At a mount: the clock starts no earlier than the newest time on the medium, and no further from it than the bound.
    pub(super) fn start(&mut self, now: Now, newest_s: u32, jump_s_max: u32) -> Result<(), MountError> {
        if newest_s > 0 && now.wall_s.abs_diff(newest_s) > jump_s_max && !self.is_confirmed {
            return Err(MountError::Clock(i64::from(now.wall_s) - i64::from(newest_s)));
        }
        self.is_confirmed = false;
        self.now_s = now.wall_s.max(newest_s);
        self.observed_ms = now.monotonic_ms;
        self.written_s = newest_s;
        Ok(())
    }
}
