//! A flash tier of which a value is read.
#![no_std]
#![no_main]

use coldpress_firmware_sizes::{Calls, coldpress};
use cortex_m_rt::entry;

#[entry]
fn main() -> ! {
    coldpress::<{ Calls::GET }>()
}
