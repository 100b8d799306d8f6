//! Coldpress on a Cortex-M0 without compare-and-swap, on the flash of the part itself.
//!
//! The flash controller halts the processor while it works, so no interrupt uses it: the timer interrupt steps the pool and
//! counts the time; the main loop owns the store and makes its steps. The firmware lives twice, with a reset in between: it
//! fills the store, overwrites, removes; then finds everything again in its flash, lets keys expire, compacts, has its pool
//! defragmented by that, and checks every key and object.
//!
//! It logs through defmt over semihosting, leaves its flash in the file `flash.img` of the host, and ends the emulator with its
//! own exit code: 0 when every check passed.
#![no_std]
#![no_main]
#![forbid(unsafe_code)]

mod nvmc;
mod timer;

use coldpress_embedded::TryCell;
use coldpress_embedded::flash::{FlashConfig, FlashMemory, FlashTier, NorMedium, buckets_for};
use coldpress_firmware_exercise::model::Model;
use coldpress_firmware_exercise::store::{self, Board, LifeReport, Store, StoreCell, StoreFault};
use coldpress_firmware_exercise::{clock, pool};
use cortex_m::peripheral::SCB;
use cortex_m_rt::{entry, exception};
use defmt_semihosting as _;
use embedded_storage::nor_flash::ReadNorFlash as _;
use nvmc::{LogFlash, PAGE_BYTES, PAGES};
use semihosting::fs::File;
use semihosting::io::Write as _;

const KEYS: usize = 200;
const VALUE_BYTES: usize = 24;
const OVERWRITES: u32 = 2_000;

/// One key more says which life it is; the longest record takes a header of 20 bytes beside key and value.
type Memory = FlashMemory<PAGES, { buckets_for(KEYS + 1) }, 52>;

static MEMORY: TryCell<Memory> = TryCell::new(Memory::new());
static MODEL: TryCell<Model<KEYS>> = TryCell::new(Model::new());

#[entry]
fn main() -> ! {
    timer::start();
    let code = match live() {
        Ok(report) => {
            defmt::info!("{} store_ram_bytes={=usize}", report, size_of::<TryCell<Memory>>());
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

/// One life: mounts the flash, and saves its bytes at the end.
fn live() -> Result<LifeReport, StoreFault> {
    let flash = LogFlash::take().map_err(|_| StoreFault::Build)?;
    let memory = MEMORY.take().map_err(|_| StoreFault::Held)?;
    let config = FlashConfig { has_pools: true, ..FlashConfig::new(PAGE_BYTES, 7) };
    let mut tier = FlashTier::new(config, memory, NorMedium::new(flash)).map_err(|_| StoreFault::Build)?;
    tier.mount(clock::now()).map_err(StoreFault::Mount)?;
    let store: StoreCell<'_, _> = TryCell::new(Some(Store::new(tier)));

    let wait = || {
        timer::wait();
        store::step(&store, clock::now());
    };
    let board = Board { store: &store, now: clock::now, sleep: clock::sleep, wait: &wait };
    let report = MODEL.try_with(|model| board.live::<KEYS, VALUE_BYTES>(model, OVERWRITES));
    let report = report.map_err(|_| StoreFault::Held)??;
    let medium = store.try_with(|store| store.take().map(Store::into_medium));
    let mut flash = medium.ok().flatten().ok_or(StoreFault::Held)?.into_flash();
    save(&mut flash).ok_or(StoreFault::Held)?;
    Ok(report)
}

/// Writes the bytes of the flash to a file of the host; `None` when that failed.
fn save(flash: &mut LogFlash<'_>) -> Option<()> {
    let mut file = File::create(c"flash.img").ok()?;
    let mut part = [0; 256];
    for at in (0..flash.capacity()).step_by(part.len()) {
        flash.read(u32::try_from(at).ok()?, &mut part).ok()?;
        file.write_all(&part).ok()?;
    }
    Some(())
}

#[exception]
fn SysTick() {
    clock::tick();
    let _ = pool::step(clock::now().wall_s);
}

#[panic_handler]
fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
    defmt::error!("{}", defmt::Display2Format(info));
    semihosting::process::exit(101)
}
