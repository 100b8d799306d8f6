//! Milliseconds, counted by a timer interrupt or by the turns of a loop, and the wall clock that goes with them.

use core::sync::atomic::{AtomicU32, Ordering};

use coldpress_core::drive::Now;

/// The wall clock at the start; a board with a clock of its own reads that instead.
const STARTED_S: u32 = 1_000_000;

static MILLISECONDS: AtomicU32 = AtomicU32::new(0);
static SLEPT_S: AtomicU32 = AtomicU32::new(0);

/// Counts a millisecond. Only one context calls it, so a load and a store do: there is no compare-and-swap everywhere.
pub fn tick() {
    MILLISECONDS.store(now_ms().wrapping_add(1), Ordering::Relaxed);
}

/// Has the wall clock go on by so many seconds, as in a long sleep. Only the main loop calls it.
pub fn sleep(seconds: u32) {
    SLEPT_S.store(SLEPT_S.load(Ordering::Relaxed).saturating_add(seconds), Ordering::Relaxed);
}

/// Returns the milliseconds since the start; wraps after 49 days.
#[must_use]
pub fn now_ms() -> u32 {
    MILLISECONDS.load(Ordering::Relaxed)
}

/// Returns both clocks.
#[must_use]
pub fn now() -> Now {
    let ms = now_ms();
    let wall_s = STARTED_S + ms / 1_000 + SLEPT_S.load(Ordering::Relaxed);
    Now { monotonic_ms: ms.into(), wall_s }
}
