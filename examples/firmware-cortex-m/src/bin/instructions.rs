//! Counts the instructions of the calls of a flash tier as it grows, in an emulator that gives each the same time.
//!
//! For each number of keys: filled, overwritten until every segment was compacted several times, each key replaced by another
//! one, then all four tasks, then a mount. Each line has the most that any one call took. The flash is in RAM and answers at
//! once, so the counts are the tier's own work, the copying of bytes included.
#![no_std]
#![no_main]
#![forbid(unsafe_code)]

use coldpress_core::compaction::CompactionTask;
use coldpress_core::drive::Now;
use coldpress_core::machine::Status;
use coldpress_embedded::TryCell;
use coldpress_embedded::flash::{FlashConfig, FlashMemory, FlashTier, PutError, buckets_for};
use coldpress_firmware_exercise::model::{key_bytes, value_of};
use coldpress_firmware_exercise::ram::RamNor;
use cortex_m::Peripherals;
use cortex_m::peripheral::SYST;
use cortex_m::peripheral::syst::SystClkSource;
use cortex_m_rt::entry;
use defmt_semihosting as _;

const KEYS_MAX: u32 = 2_000;
const SIZES: [u32; 4] = [100, 500, 1_000, KEYS_MAX];
const VALUE_BYTES: usize = 64;
const OVERWRITES: u32 = 5_000;
const SECTOR_BYTES: u32 = 4_096;
const SECTORS: usize = 64;
const TASKS: [CompactionTask; 4] = [
    CompactionTask::CompactData,
    CompactionTask::RebuildIndex,
    CompactionTask::CleanupExpired,
    CompactionTask::OptimizeCompression,
];
/// A clock that stands still: no call does more or less because of the time.
const NOW: Now = Now { monotonic_ms: 1_000, wall_s: 1_000_000 };
const TRIES_MAX: u32 = 100_000;

type Memory = FlashMemory<SECTORS, { buckets_for(KEYS_MAX as usize) }, 88>;
type Flash<'b> = RamNor<'b, SECTOR_BYTES>;

/// The memory of a tier whose RAM is logged: as many keys, and as long a record, as where stores are compared.
type Measured = FlashMemory<SECTORS, { buckets_for(2_400) }, 92>;

static FLASH: TryCell<[u8; SECTORS * SECTOR_BYTES as usize]> =
    TryCell::new([0; SECTORS * SECTOR_BYTES as usize]);
static MEMORY: TryCell<Memory> = TryCell::new(Memory::new());

#[entry]
fn main() -> ! {
    defmt::info!(
        "ram_index={=usize} ram_table={=usize} ram_tasks={=usize} ram_buffers={=usize} ram_tier={=usize}",
        Measured::INDEX_BYTES,
        Measured::TABLE_BYTES,
        Measured::TASK_BYTES,
        Measured::RAM_BYTES - Measured::INDEX_BYTES - Measured::TABLE_BYTES - Measured::TASK_BYTES,
        FlashTier::<Flash<'static>>::RAM_BYTES - size_of::<Flash<'static>>(),
    );
    let code = match (Peripherals::take(), FLASH.take(), MEMORY.take()) {
        (Some(board), Ok(flash), Ok(memory)) => {
            let mut counter = Counter::start(board.SYST);
            let counted = SIZES.iter().all(|keys| count(*keys, flash, memory, &mut counter).is_some());
            i32::from(!counted || counter.has_wrapped)
        }
        _ => 2,
    };
    semihosting::process::exit(code)
}

/// The most instructions of any one call.
#[derive(Default)]
struct Most {
    poll: u32,
    tasks: [u32; TASKS.len()],
    put: u32,
    get: u32,
    mount_poll: u32,
}

/// Takes a tier of so many keys through its life and logs the counts; `None` when a call failed.
fn count(keys: u32, flash: &mut [u8], memory: &mut Memory, counter: &mut Counter) -> Option<()> {
    flash.fill(0xFF);
    let mut most = Most::default();
    let mut tier = mounted(Flash::new(flash, 0), &mut *memory, &mut 0, counter)?;
    for key in 0..keys {
        put(&mut tier, key, 0, &mut most, counter)?;
    }
    let mut state = 1u64;
    for version in 0..OVERWRITES {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let key = u32::try_from((state >> 33) % u64::from(keys)).ok()?;
        put(&mut tier, key, version as u16, &mut most, counter)?;
        let mut value = [0; VALUE_BYTES];
        let found = counter.of(&mut most.get, || {
            tier.get(NOW, &key_bytes(key), &mut value).ok().flatten()?.first().copied()
        });
        found?;
    }
    // Each key is replaced by another one: there are more than the index has places for removed keys.
    for key in 0..keys {
        let removed = loop {
            match counter.of(&mut most.put, || tier.remove(NOW, &key_bytes(key))) {
                Err(PutError::NeedsCompaction | PutError::Busy(_)) => {
                    let _ = counter.of(&mut most.poll, || tier.poll(NOW, 1));
                }
                removed => break removed,
            }
        };
        removed.ok().filter(|had| *had)?;
        put(&mut tier, keys + key, 0, &mut most, counter)?;
    }
    for (task, most) in TASKS.into_iter().zip(&mut most.tasks) {
        tier.schedule(task).ok()?;
        let mut tries = 0;
        while tier.take_report().is_none() {
            let _ = counter.of(most, || tier.poll(NOW, 1));
            tries += 1;
            (tries < TRIES_MAX).then_some(())?;
        }
    }
    let erases = tier.stats().erases_total;
    let flash = tier.into_medium();
    let tier = mounted(flash, memory, &mut most.mount_poll, counter)?;
    (tier.len() == keys).then_some(())?;
    defmt::info!(
        "keys={=u32} poll={=u32} compact={=u32} rebuild={=u32} expire={=u32} sample={=u32} mount={=u32} put={=u32} get={=u32} erases={=u64}",
        keys,
        most.poll,
        most.tasks[0],
        most.tasks[1],
        most.tasks[2],
        most.tasks[3],
        most.mount_poll,
        most.put,
        most.get,
        erases,
    );
    Some(())
}

/// Mounts by single steps.
fn mounted<'m, 'b>(
    flash: Flash<'b>,
    memory: &'m mut Memory,
    most: &mut u32,
    counter: &mut Counter,
) -> Option<FlashTier<'m, Flash<'b>>> {
    let mut tier = FlashTier::new(FlashConfig::new(SECTOR_BYTES, 7), memory, flash).ok()?;
    for _ in 0..TRIES_MAX {
        if tier.status() == Status::Running {
            return Some(tier);
        }
        let _ = counter.of(most, || tier.poll(NOW, 1));
    }
    None
}

/// Puts a value, with as many polls as must come first.
fn put(
    tier: &mut FlashTier<'_, Flash<'_>>,
    key: u32,
    version: u16,
    most: &mut Most,
    counter: &mut Counter,
) -> Option<()> {
    let value = value_of::<VALUE_BYTES>(key, version);
    for _ in 0..TRIES_MAX {
        match counter.of(&mut most.put, || tier.put(NOW, &key_bytes(key), &value)) {
            Ok(()) => return Some(()),
            Err(PutError::NeedsCompaction | PutError::Busy(_)) => {}
            Err(_) => return None,
        }
        let _ = counter.of(&mut most.poll, || tier.poll(NOW, 1));
    }
    None
}

/// Counts by the system timer. At 25 MHz, with 128 ns an instruction, one takes 3.2 of its ticks.
struct Counter {
    timer: SYST,
    /// The count of an empty call.
    empty: u32,
    has_wrapped: bool,
}

const TICKS_MAX: u32 = 0xFF_FFFF;

impl Counter {
    fn start(mut timer: SYST) -> Self {
        timer.set_clock_source(SystClkSource::Core);
        timer.set_reload(TICKS_MAX);
        timer.clear_current();
        timer.enable_counter();
        let mut counter = Self { timer, empty: 0, has_wrapped: false };
        let mut empty = 0;
        counter.of(&mut empty, || ());
        counter.empty = empty;
        counter
    }

    /// Counts the instructions of a call, and keeps the count if it is the most so far.
    #[inline(never)]
    fn of<R>(&mut self, most: &mut u32, call: impl FnOnce() -> R) -> R {
        // The timer counts down from its maximum, so that a long call still fits; the flag tells when one did not.
        self.timer.clear_current();
        while SYST::get_current() == 0 {}
        let _ = self.timer.has_wrapped();
        let before = SYST::get_current();
        let result = call();
        let after = SYST::get_current();
        self.has_wrapped |= self.timer.has_wrapped();
        let ticks = before.wrapping_sub(after) & TICKS_MAX;
        *most = (*most).max(((ticks * 5 + 8) / 16).saturating_sub(self.empty));
        result
    }
}

#[panic_handler]
fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
    defmt::error!("{}", defmt::Display2Format(info));
    semihosting::process::exit(101)
}
