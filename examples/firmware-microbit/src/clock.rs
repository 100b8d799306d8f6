//! Milliseconds, counted by the timer interrupt.
//!
//! The emulator gives this part the system timer that a real nRF51 was made without; there one of its own timers
//! takes its place.

use core::sync::atomic::{AtomicU32, Ordering};

use cortex_m::peripheral::Peripherals;
use cortex_m::peripheral::syst::SystClkSource;

/// The emulated board's clock.
const CYCLES_PER_MS: u32 = 16_000;

static MILLISECONDS: AtomicU32 = AtomicU32::new(0);

/// Starts the timer interrupt, once a millisecond. A second call does nothing.
pub(crate) fn start() {
    let Some(Peripherals { mut SYST, .. }) = Peripherals::take() else { return };
    SYST.set_clock_source(SystClkSource::Core);
    SYST.set_reload(CYCLES_PER_MS - 1);
    SYST.clear_current();
    SYST.enable_counter();
    SYST.enable_interrupt();
}

/// Counts a millisecond; only the interrupt calls it, so a load and a store do.
pub(crate) fn tick() {
    MILLISECONDS.store(now_ms().wrapping_add(1), Ordering::Relaxed);
}

/// Returns the milliseconds since the start; wraps after 49 days.
pub(crate) fn now_ms() -> u32 {
    MILLISECONDS.load(Ordering::Relaxed)
}

/// Sleeps until the next millisecond has begun.
pub(crate) fn wait() {
    let before = now_ms();
    while now_ms() == before {
        cortex_m::asm::wfi();
    }
}
