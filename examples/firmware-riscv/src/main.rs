//! Coldpress on a RISC-V without atomics, in a plain loop: each turn does one bounded step and looks for the outcome.
//!
//! It logs through defmt over semihosting and ends the emulator with its own exit code: 0 when every check passed.
#![no_std]
#![no_main]
#![forbid(unsafe_code)]

use core::sync::atomic::{AtomicU32, Ordering};

use coldpress_firmware_exercise::pool;
use defmt_semihosting as _;
use riscv as _;

static TURNS: AtomicU32 = AtomicU32::new(0);

#[riscv_rt::entry]
fn main() -> ! {
    let code = match pool::run(turns, turn) {
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

fn turn() {
    TURNS.store(turns() + 1, Ordering::Relaxed);
    let _ = pool::step(0);
}

/// There is no clock here: a turn of the loop counts as a millisecond.
fn turns() -> u32 {
    TURNS.load(Ordering::Relaxed)
}

#[panic_handler]
fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
    defmt::error!("{}", defmt::Display2Format(info));
    semihosting::process::exit(101)
}
