//! The tier's wall clock (rule 11): it never goes back, and takes a jump beyond the bound only when that was confirmed.

use super::{MountError, Now};
use crate::log::KeyHash;

/// What the log knows of the time.
#[derive(Debug, Default)]
pub(super) struct Clock {
    /// The newest wall clock taken over, in seconds.
    pub(super) now_s: u32,
    /// The newest wall clock in the log, in seconds: on the medium, or on its way there.
    pub(super) written_s: u32,
    /// The newest one whose write is complete.
    landed_s: u32,
    /// The segment that holds it.
    landed_in: u32,
    /// The newest one that a sync covers.
    secured_s: u32,
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

/// The time, in seconds, of a time record: it is known by its value.
pub(super) fn time_of(hash: &KeyHash) -> u32 {
    let [a, b, c, d, ..] = hash.0;
    u32::from_le_bytes([a, b, c, d])
}

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

    /// The write of a time into a segment is complete.
    pub(super) fn landed(&mut self, time_s: u32, segment: u32) {
        if time_s >= self.landed_s {
            (self.landed_s, self.landed_in) = (time_s, segment);
        }
    }

    /// A segment is about to be freed: if the newest time lies in it, that is owed again, and due whatever the others know. Tells
    /// whether it does.
    pub(super) fn lose_segment(&mut self, segment: u32) -> bool {
        let is_lost = self.landed_s > 0 && self.landed_in == segment;
        if is_lost {
            (self.written_s, self.landed_s, self.secured_s) = (0, 0, 0);
            self.is_owed = true;
        }
        is_lost
    }

    /// The newest time whose write is complete, for the sync that begins now.
    pub(super) const fn landed_s(&self) -> u32 {
        self.landed_s
    }

    /// Whether the newest time in the log is durable.
    pub(super) const fn is_secured(&self) -> bool {
        self.written_s <= self.secured_s
    }

    /// A sync covers this time.
    pub(super) fn secure(&mut self, landed_s: u32) {
        self.secured_s = self.secured_s.max(landed_s);
    }

    /// The write of a time failed: it is owed again, if it is still due by what was written before.
    pub(super) fn lose_write(&mut self) {
        self.written_s = self.landed_s;
        self.is_owed = true;
    }

    /// A sync failed: times that it should have made durable are owed again.
    pub(super) fn lose_sync(&mut self) {
        if !self.is_secured() {
            self.landed_s = self.secured_s;
            self.lose_write();
        }
    }

    /// At a mount: the clock starts no earlier than the newest time on the medium, of which one segment tells, and no further from
    /// it than the bound.
    pub(super) fn start(
        &mut self,
        now: Now,
        (newest_s, newest_in): (u32, u32),
        jump_s_max: u32,
    ) -> Result<(), MountError> {
        let is_jump = newest_s > 0 && now.wall_s.abs_diff(newest_s) > jump_s_max;
        if is_jump && self.confirmed == Confirmed::No {
            return Err(MountError::Clock(i64::from(now.wall_s) - i64::from(newest_s)));
        }
        self.is_owed = is_jump;
        self.confirmed = Confirmed::No;
        self.now_s = now.wall_s.max(newest_s);
        self.observed_ms = now.monotonic_ms;
        (self.written_s, self.landed_s, self.secured_s) = (newest_s, newest_s, newest_s);
        self.landed_in = newest_in;
        Ok(())
    }
}
