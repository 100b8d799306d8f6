//! The wall clock, by which values expire, and the monotonic clock.

use core::fmt;
use core::sync::atomic::{AtomicU32, Ordering};
use core::time::Duration;
use std::sync::OnceLock;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// Tells the time of day in seconds since 1970.
///
/// A tier asks it at every put with a lifetime, every get and every step of its worker, so it must be cheap. Deadlines
/// and pace never depend on it: they are counted on the monotonic clock. So is the tier's time wherever this clock is behind it, or
/// stands still.
pub trait Clock: Send + Sync + fmt::Debug {
    /// Returns the whole seconds since 1970, UTC; 0 where nothing tells them.
    fn wall_s(&self) -> u32;
}

/// The clock of the operating system.
///
/// ```
/// use coldpress_std::clock::{Clock, SystemClock};
/// assert!(SystemClock.wall_s() > 1_700_000_000);
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn wall_s(&self) -> u32 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        u32::try_from(since.as_secs()).unwrap_or(u32::MAX)
    }
}

/// A clock that is set by hand, so that a test need not wait for an expiry. While it stands still the tier's time goes on by the
/// monotonic clock.
///
/// ```
/// use coldpress_std::clock::{Clock, ManualClock};
/// static CLOCK: ManualClock = ManualClock::new(1_000);
/// CLOCK.advance_s(60);
/// assert_eq!(CLOCK.wall_s(), 1_060);
/// ```
#[derive(Debug, Default)]
pub struct ManualClock {
    wall_s: AtomicU32,
}

impl ManualClock {
    /// Makes a clock that stands at `wall_s`; usable in a `static`.
    #[must_use]
    pub const fn new(wall_s: u32) -> Self {
        Self { wall_s: AtomicU32::new(wall_s) }
    }

    /// Sets the time.
    pub fn set_s(&self, wall_s: u32) {
        self.wall_s.store(wall_s, Ordering::Relaxed);
    }

    /// Moves the time on.
    pub fn advance_s(&self, seconds: u32) {
        self.wall_s.fetch_add(seconds, Ordering::Relaxed);
    }
}

impl Clock for ManualClock {
    fn wall_s(&self) -> u32 {
        self.wall_s.load(Ordering::Relaxed)
    }
}

/// Milliseconds since this process first asked; never goes back.
pub(crate) fn monotonic_ms() -> u64 {
    monotonic_ms_at(Instant::now())
}

/// As [`monotonic_ms`], at a moment that was read already.
pub(crate) fn monotonic_ms_at(now: Instant) -> u64 {
    let elapsed = monotonic_at(now);
    elapsed.as_secs().saturating_mul(1_000).saturating_add(u64::from(elapsed.subsec_millis()))
}

/// The time since this process first asked, at a moment; never goes back.
pub(crate) fn monotonic_at(now: Instant) -> Duration {
    static FIRST: OnceLock<Instant> = OnceLock::new();
    now.saturating_duration_since(*FIRST.get_or_init(|| now))
}
