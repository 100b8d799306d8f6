//! The smallest programs with a store, to be built and measured: each makes more calls than the one before it.
//!
//! Keys are numbers of 32 bits, values up to 40 bytes. Both stores lie on the same flash, a buffer in RAM, whose driver is a
//! copy. So the difference to the program without a store is the store.
#![no_std]
#![forbid(unsafe_code)]

mod flash;
mod stores;

pub use stores::{Calls, coldpress, sequential};

// Its section holds the interrupts' critical section, which the stores' locks need.
use cortex_m as _;

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    rest()
}

/// Does nothing more.
pub fn rest() -> ! {
    loop {
        cortex_m::asm::wfi();
    }
}
