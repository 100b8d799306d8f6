//! Coldpress on a Cortex-M0 without compare-and-swap: a timer interrupt does the work in bounded steps, and what it
//! stores lies in the flash of the part itself and is there after a reset.
//!
//! It logs through defmt over semihosting and ends the emulator with its own exit code: 0 when everything was as it
//! must be.
#![no_std]
#![no_main]
#![forbid(unsafe_code)]

mod clock;
mod nvmc;

use coldpress_firmware_exercise::pool;
use cortex_m::peripheral::SCB;
use cortex_m_rt::{entry, exception};
use defmt_semihosting as _;
use embassy_nrf::nvmc::Nvmc;
use embedded_storage::nor_flash::{NorFlash as _, ReadNorFlash as _};
use nvmc::{Flash, PAGE_BYTES};

/// Where the flash begins that the firmware itself does not lie in.
const STORED: u32 = 0x1_0000;
const MARK: [u8; 4] = *b"cold";

#[entry]
fn main() -> ! {
    clock::start();
    let board = embassy_nrf::init(embassy_nrf::config::Config::default());
    let mut flash = Flash::new(Nvmc::new(board.NVMC));
    let mut word = [0; 4];
    if flash.read(STORED, &mut word).is_ok() && word != MARK {
        let erased = flash.erase(STORED, STORED + PAGE_BYTES);
        if erased.and_then(|()| flash.write(STORED, &MARK)).is_err() {
            semihosting::process::exit(2);
        }
        defmt::info!("resets after writing the flash");
        SCB::sys_reset();
    }
    defmt::info!("flash_survived={=bool}", word == MARK);
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
