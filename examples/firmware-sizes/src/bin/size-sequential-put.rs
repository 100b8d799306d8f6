//! A map of which a value is read, and to which one is stored.
#![no_std]
#![no_main]

use coldpress_firmware_sizes::{Calls, sequential};
use cortex_m_rt::entry;

#[entry]
fn main() -> ! {
    sequential::<{ Calls::PUT }>()
}
