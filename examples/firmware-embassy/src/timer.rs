//! The timer interrupt, which is the clock of the executor: one tick a millisecond.

use core::cell::RefCell;
use core::task::Waker;

use coldpress_firmware_exercise::clock;
use cortex_m::Peripherals;
use cortex_m::peripheral::syst::SystClkSource;
use critical_section::Mutex;
use embassy_time_driver::Driver;
use embassy_time_queue_utils::Queue;

/// The emulated board's clock.
const CYCLES_PER_MS: u32 = 25_000;

/// The tasks that wait for a time.
struct Waiting(Mutex<RefCell<Queue>>);

embassy_time_driver::time_driver_impl!(static WAITING: Waiting = Waiting(Mutex::new(RefCell::new(Queue::new()))));

impl Driver for Waiting {
    fn now(&self) -> u64 {
        clock::now_ms().into()
    }

    /// The next tick looks at the queue in any case, so no alarm is set.
    fn schedule_wake(&self, at: u64, waker: &Waker) {
        critical_section::with(|section| self.0.borrow(section).borrow_mut().schedule_wake(at, waker));
    }
}

/// Starts the timer interrupt, once a millisecond. A second call does nothing.
pub(crate) fn start() {
    let Some(Peripherals { mut SYST, .. }) = Peripherals::take() else { return };
    SYST.set_clock_source(SystClkSource::Core);
    SYST.set_reload(CYCLES_PER_MS - 1);
    SYST.clear_current();
    SYST.enable_counter();
    SYST.enable_interrupt();
}

/// Counts a tick, and wakes the tasks whose time has come.
pub(crate) fn tick() {
    clock::tick();
    let now = WAITING.now();
    critical_section::with(|section| WAITING.0.borrow(section).borrow_mut().next_expiration(now));
}
