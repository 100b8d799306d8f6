//! The timer interrupt.
//!
//! The emulator gives this part the system timer that a real nRF51 was made without; there one of its own timers
//! takes its place.

use coldpress_firmware_exercise::clock;
use cortex_m::Peripherals;
use cortex_m::peripheral::syst::SystClkSource;

/// The emulated board's clock.
const CYCLES_PER_MS: u32 = 16_000;

/// Starts the timer interrupt, once a millisecond. A second call does nothing.
pub(crate) fn start() {
    let Some(Peripherals { mut SYST, .. }) = Peripherals::take() else { return };
    SYST.set_clock_source(SystClkSource::Core);
    SYST.set_reload(CYCLES_PER_MS - 1);
    SYST.clear_current();
    SYST.enable_counter();
    SYST.enable_interrupt();
}

/// Sleeps until the interrupt came.
pub(crate) fn wait() {
    let before = clock::now_ms();
    while clock::now_ms() == before {
        cortex_m::asm::wfi();
    }
}
