//! The time of the log, as an adapter sees it.

use super::tier::{Status, Tier};
use crate::drive::Now;

impl Tier<'_> {
    /// The tier's time, in seconds, by which values expire. It follows the wall clock, except where that jumped or is behind.
    /// It never goes back, and starts no earlier than the newest time on the medium.
    #[must_use]
    pub const fn clock_s(&self) -> u32 {
        self.log.durability.clock().now_s()
    }

    /// The tier's time in milliseconds, for an adapter that keeps counting it between two looks.
    #[must_use]
    pub fn clock_ms(&self) -> u64 {
        self.log.durability.clock().now_ms()
    }

    /// Advances the tier's time, as each poll does, and returns it. Reads of clients must use it too, so that a refused jump
    /// expires nothing for them.
    pub fn observe(&mut self, now: Now) -> u32 {
        if matches!(self.status, Status::Running | Status::Closing) {
            self.log.observe(now);
        }
        self.log.durability.clock().now_s()
    }

    /// How far a refused wall clock is ahead of the tier's time, in seconds; `None` where none is refused.
    ///
    /// A wall clock is refused where it jumped ahead by more than [`clock_jump_s_max`](crate::config::TierConfig::clock_jump_s_max), since the last
    /// look or since the medium was last written. The tier's time then goes on by the monotonic clock, until the wall clock is back
    /// within the bound or [confirmed](Self::confirm_clock).
    #[must_use]
    pub const fn clock_refused_s(&self) -> Option<u32> {
        self.log.durability.clock().refused_s()
    }

    /// How far the wall clock is behind the tier's time, in seconds, beyond a distance that was confirmed. Either it was ahead
    /// before, or it is wrong now.
    ///
    /// The tier's time goes on by the monotonic clock. Time that passes while no tier runs does not count until the wall clock has
    /// caught up or was [confirmed](Self::confirm_clock).
    #[must_use]
    pub const fn clock_behind_s(&self) -> u32 {
        self.log.durability.clock().behind_s()
    }

    /// Confirms the wall clock, as it is or as it will be within the next minute; at any time, before the mount too.
    ///
    /// Where it is ahead of the tier's time by more than [`clock_jump_s_max`](crate::config::TierConfig::clock_jump_s_max), the jump counts as time
    /// that has passed. Where it is behind, the tier's time keeps its distance to it from then on, across mounts: no expired value
    /// comes back, and no lifetime changes. A jump to a time beyond January 2072 is refused all the same, since the rest of 32 bits
    /// of seconds is left to lifetimes.
    pub fn confirm_clock(&mut self) {
        self.log.durability.confirm_clock();
    }
}
