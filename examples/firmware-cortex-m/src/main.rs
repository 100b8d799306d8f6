//! Coldpress on a Cortex-M3: a timer interrupt does the work in bounded steps, the main loop asks for it and checks it.
//!
//! It logs through defmt over semihosting and ends the emulator with its own exit code: 0 when everything was as it
//! must be.
#![no_std]
#![no_main]
#![forbid(unsafe_code)]

mod clock;

use coldpress_firmware_exercise::pool;
use cortex_m_rt::{entry, exception};
use defmt_semihosting as _;

#[entry]
fn main() -> ! {
    clock::start();
    let code = match pool::run(clock::now_ms, clock::wait) {
        Ok(report) => {
            defmt::info!("{}", report);
            0
        }
        Err(fault) => {
            defmt::error!("pool: {}", fault);
            1
        }
    };
    semihosting::process::exit(code)
}

#[exception]
fn SysTick() {
    clock::tick();
    let _ = pool::step(clock::now_ms() / 1_000);
}

#[panic_handler]
fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
    defmt::error!("{}", defmt::Display2Format(info));
    semihosting::process::exit(101)
}
