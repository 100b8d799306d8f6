//! Coldpress on a Cortex-M3: a timer interrupt does the work of pool and store in bounded steps, the main loop uses them.
//!
//! The emulator of the board has no writable flash. So the flash is in RAM here, and lies in the file `flash.img` between one
//! life and the next. The firmware lives twice, with a reset in between: it fills the store, overwrites, removes; then finds
//! everything again, lets keys expire, compacts, has its pool defragmented by that, and checks every key and object.
//!
//! It logs through defmt over semihosting and ends the emulator with its own exit code: 0 when every check passed.
#![no_std]
#![no_main]
#![forbid(unsafe_code)]

mod flash_file;
mod timer;

use coldpress_embedded::TryCell;
use coldpress_embedded::flash::{FlashConfig, FlashMemory, FlashTier, buckets_for};
use coldpress_firmware_exercise::model::Model;
use coldpress_firmware_exercise::ram::RamNor;
use coldpress_firmware_exercise::store::{self, Board, LifeReport, Store, StoreCell, StoreFault};
use coldpress_firmware_exercise::{clock, pool};
use cortex_m::peripheral::SCB;
use cortex_m_rt::{entry, exception};
use defmt_semihosting as _;

const KEYS: usize = 1_000;
const VALUE_BYTES: usize = 64;
const OVERWRITES: u32 = 5_000;
const SECTOR_BYTES: u32 = 4_096;
const SECTORS: usize = 64;
/// An operation of the flash has ended once the tier has asked so often.
const ASKS: u8 = 2;
const FLASH_BYTES: usize = SECTORS * SECTOR_BYTES as usize;

/// One key more says which life it is; the longest record takes a header of 20 bytes beside key and value.
type Memory = FlashMemory<SECTORS, { buckets_for(KEYS + 1) }, 88>;
type Flash = RamNor<'static, SECTOR_BYTES>;

static FLASH: TryCell<[u8; FLASH_BYTES]> = TryCell::new([0; FLASH_BYTES]);
static MEMORY: TryCell<Memory> = TryCell::new(Memory::new());
static STORE: StoreCell<'_, Flash> = TryCell::new(None);
static MODEL: TryCell<Model<KEYS>> = TryCell::new(Model::new());

/// Bytes of RAM of the store, without the flash.
const STORE_RAM_BYTES: usize = size_of::<TryCell<Memory>>() + size_of::<StoreCell<'static, Flash>>();

#[entry]
fn main() -> ! {
    timer::start();
    let code = match live() {
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

/// One life: mounts the flash, and stores its bytes at the end.
fn live() -> Result<LifeReport, StoreFault> {
    let bytes = FLASH.take().map_err(|_| StoreFault::Held)?;
    flash_file::load(bytes);
    let memory = MEMORY.take().map_err(|_| StoreFault::Held)?;
    let config = FlashConfig { has_pools: true, ..FlashConfig::new(SECTOR_BYTES, 7) };
    let mut tier = FlashTier::new(config, memory, Flash::new(bytes, ASKS)).map_err(|_| StoreFault::Build)?;
    tier.mount(clock::now()).map_err(StoreFault::Mount)?;
    STORE.try_with(|place| *place = Some(Store::new(tier))).map_err(|_| StoreFault::Held)?;

    let board = Board { store: &STORE, now: clock::now, sleep: clock::sleep, wait: &timer::wait };
    let report = MODEL.try_with(|model| board.live::<KEYS, VALUE_BYTES>(model, OVERWRITES));
    let report = report.map_err(|_| StoreFault::Held)??;
    let saved = STORE.try_with(|store| {
        let medium = store.as_ref()?.medium();
        defmt::info!("flash_refused={=u32} store_ram_bytes={=usize}", medium.refused(), STORE_RAM_BYTES);
        flash_file::save(medium.bytes())
    });
    saved.ok().flatten().ok_or(StoreFault::Held)?;
    Ok(report)
}

#[exception]
fn SysTick() {
    clock::tick();
    let _ = pool::step(clock::now().wall_s);
    store::step(&STORE, clock::now());
}

#[panic_handler]
fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
    defmt::error!("{}", defmt::Display2Format(info));
    semihosting::process::exit(101)
}
