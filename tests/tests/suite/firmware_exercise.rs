//! The work of the firmware examples, on the host: so it is tested where the emulators are missing, too.

use coldpress_embedded::TryCell;
use coldpress_embedded::flash::{FlashConfig, FlashMemory, FlashTier, buckets_for};
use coldpress_firmware_exercise::model::Model;
use coldpress_firmware_exercise::ram::RamNor;
use coldpress_firmware_exercise::store::{self, Board, LifeReport, Store, StoreCell};
use coldpress_firmware_exercise::{clock, pool};

const KEYS: usize = 200;
const VALUE: usize = 24;
const OVERWRITES: u32 = 3_000;
const SECTOR: u32 = 1_024;
const SEGMENTS: usize = 32;
type Memory = FlashMemory<SEGMENTS, { buckets_for(KEYS + 1) }, 64>;
type Flash = RamNor<'static, SECTOR>;

static STORE: StoreCell<'_, Flash> = TryCell::new(None);
fn turn() {
    clock::tick();
    let _ = pool::step(clock::now().wall_s);
    store::step(&STORE, clock::now());
}

/// One life from a mount with blank memory to its end; returns its report and the bytes of the flash.
fn live(flash: Vec<u8>) -> (LifeReport, Vec<u8>) {
    let memory = Box::leak(Box::new(Memory::new()));
    let mut config = FlashConfig::new(SECTOR, 7);
    config.has_pools = true;
    let mut tier = FlashTier::new(config, memory, Flash::new(flash.leak(), 2)).unwrap();
    tier.mount(clock::now()).unwrap();
    STORE.try_with(|place| *place = Some(Store::new(tier))).unwrap();
    let board = Board { store: &STORE, now: clock::now, sleep: clock::sleep, wait: &turn };
    let report = board.live::<KEYS, VALUE>(&mut Model::new(), OVERWRITES).unwrap();
    let flash = STORE.try_with(|store| {
        let store = store.as_ref().unwrap();
        assert_eq!(store.medium().refused(), 0);
        store.medium().bytes().to_vec()
    });
    (report, flash.unwrap())
}

#[test]
fn store_lives_twice_and_asks_its_pool_while_it_compacts() {
    let (first, flash) = live(vec![0xFF; SEGMENTS * SECTOR as usize]);
    assert_eq!((first.life, first.stats.keys), (1, 200 - 29 + 1));
    let (second, flash) = live(flash);
    assert_eq!((second.life, second.expired), (2, 29));
    assert_eq!(second.stats.keys, 200 - 29 - 29 + 1);
    assert_eq!(second.pool.bytes, 768);
    let (third, _) = live(flash);
    // A mount counts expired values whose segments were not cleaned since; every key was read, and none has such a value.
    let keys = second.stats.keys..=second.stats.keys + second.expired;
    assert!(third.life == 3 && keys.contains(&third.stats.keys), "{third:?}");
    for report in [first, second, third] {
        assert!(report.worst.erases <= 1 && report.worst.bytes_programmed <= SECTOR, "{report:?}");
    }
    assert!(first.stats.erases_total > 100, "{first:?}");
}
