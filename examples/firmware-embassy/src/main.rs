//! Coldpress under an embassy executor on a Cortex-M3: one task serves the store, others blink and use the flash
//! meanwhile.
//!
//! The flash is behind an async mutex, since two tasks use it, and its operations end at a later tick. Puts get a time limit that
//! drops many of their futures. The firmware lives twice, with a reset in between: it fills the store, overwrites, removes; then
//! finds everything again, lets keys expire, compacts, and checks every key. The flash lies in the file `flash.img` between.
//!
//! It logs through defmt over semihosting and ends the emulator with its own exit code: 0 when every check passed.
#![no_std]
#![no_main]
#![forbid(unsafe_code)]

mod flash;
#[path = "../../firmware-cortex-m/src/flash_file.rs"]
mod flash_file;
mod life;
mod timer;

use core::sync::atomic::{AtomicU32, Ordering};

use coldpress_embedded::TryCell;
use coldpress_firmware_exercise::model::Model;
use cortex_m::peripheral::SCB;
use cortex_m_rt::exception;
use defmt_semihosting as _;
use embassy_executor::Spawner;
use embassy_time::{Duration, Ticker, Timer};

use flash::{Controller, SECTOR_BYTES, SharedController};
use life::{Fault, LifeReport, Memory};

/// Bytes of RAM of the store, without the tier itself, which lies in its task.
const STORE_RAM_BYTES: usize = size_of::<TryCell<Memory>>();
const SECTORS: usize = 32;
const FLASH_BYTES: usize = SECTORS * SECTOR_BYTES;
/// Ticks from one blink to the next.
const BLINK_TICKS: u64 = 3;

static FLASH: TryCell<[u8; FLASH_BYTES]> = TryCell::new([0; FLASH_BYTES]);
static CONTROLLER: TryCell<Option<SharedController>> = TryCell::new(None);
static MEMORY: TryCell<Memory> = TryCell::new(Memory::new());
static MODEL: TryCell<Model<{ life::KEYS }>> = TryCell::new(Model::new());
static BLINKS: AtomicU32 = AtomicU32::new(0);
static LOOKS: AtomicU32 = AtomicU32::new(0);

#[embassy_executor::main]
async fn main(spawner: Spawner) {
    timer::start();
    match controller() {
        Ok(controller) => {
            let (Ok(blink), Ok(look), Ok(serve)) = (blink(), look(controller), serve(controller)) else {
                return end(Err(Fault::Held));
            };
            spawner.spawn(blink);
            spawner.spawn(look);
            spawner.spawn(serve);
        }
        Err(fault) => end(Err(fault)),
    }
}

/// The flash, with the content of the file.
fn controller() -> Result<&'static SharedController, Fault> {
    let bytes = FLASH.take().map_err(|_| Fault::Held)?;
    flash_file::load(bytes);
    let place = CONTROLLER.take().map_err(|_| Fault::Held)?;
    Ok(place.insert(SharedController::new(Controller::new(bytes))))
}

/// Blinks.
#[embassy_executor::task]
async fn blink() {
    let mut ticker = Ticker::every(Duration::from_ticks(BLINK_TICKS));
    loop {
        ticker.next().await;
        BLINKS.fetch_add(1, Ordering::Relaxed);
    }
}

/// Looks at the flash again and again, as a task does that has data of its own there.
#[embassy_executor::task]
async fn look(controller: &'static SharedController) {
    loop {
        let is_there = !controller.lock().await.bytes().is_empty();
        LOOKS.fetch_add(u32::from(is_there), Ordering::Relaxed);
        Timer::after_ticks(1).await;
    }
}

/// Serves the store.
#[embassy_executor::task]
async fn serve(controller: &'static SharedController) {
    let (Ok(memory), Ok(model)) = (MEMORY.take(), MODEL.take()) else { return end(Err(Fault::Held)) };
    let report = life::live(memory, model, controller).await;
    let controller = controller.lock().await;
    defmt::info!(
        "blinks={=u32} looks={=u32} flash_refused={=u32} store_ram_bytes={=usize}",
        BLINKS.load(Ordering::Relaxed),
        LOOKS.load(Ordering::Relaxed),
        controller.refused(),
        STORE_RAM_BYTES
    );
    let saved = flash_file::save(controller.bytes()).ok_or(Fault::Save);
    end(report.and_then(|report| saved.map(|()| report)));
}

/// Ends the life, and with the last one the emulator.
fn end(report: Result<LifeReport, Fault>) {
    let code = match report {
        Ok(report) => {
            defmt::info!("{}", report);
            if report.life == 1 {
                SCB::sys_reset();
            }
            0
        }
        Err(fault) => {
            defmt::error!("{}", fault);
            1
        }
    };
    semihosting::process::exit(code)
}

#[exception]
fn SysTick() {
    timer::tick();
}

#[panic_handler]
fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
    defmt::error!("{}", defmt::Display2Format(info));
    semihosting::process::exit(101)
}
