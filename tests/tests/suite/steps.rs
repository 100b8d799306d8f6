//! I-GC-3: one step stays within its budget.
//!
//! Every simulated run asserts the limits at each poll and completion (`sim::Budget`); here the steps are set small against
//! segments, records and footers, so that the limits end the steps.

use coldpress_core::compaction::CompactionTask;
use coldpress_tests::sim::{ENTRIES_MAX, Largest, Rng, Setup, World};

const KEYS: u64 = 900;
const STEP_BYTES: u32 = 512;

fn setup(write_unit: u32, erase_value: u8) -> Setup {
    let mut setup = Setup::new(32 << 10, 14, write_unit, erase_value).unwrap();
    setup.config.step_bytes = STEP_BYTES;
    setup.sizes.footer = 12 << 10;
    setup.sizes.placed = 64;
    setup
}

/// Overwrites, removals and expiry with every task, until segments were cleaned many times over.
fn churn(world: &mut World<'_>) {
    let mut rng = Rng::new(11);
    world.host.evicts = true;
    for round in 0..80usize {
        for _ in 0..120 {
            let key = 1 + u16::try_from(rng.below(KEYS)).unwrap();
            let len = if rng.permille(20) { 4_000 } else { 8 + u32::try_from(rng.below(60)).unwrap() };
            match rng.below(10) {
                0 => world.remove(key).unwrap(),
                1 => world.put(key, len, Some(1 + u32::try_from(rng.below(4)).unwrap())).unwrap(),
                _ => world.put(key, len, None).unwrap(),
            };
        }
        world.sync();
        world.tick(700);
        world.run(CompactionTask::ALL[round % 4]);
        if round % 8 == 7 {
            world.tier.evict(4 << 10);
            world.settle();
        }
        world.check_current();
    }
    world.settle();
    world.check();
}

fn most(setup: &Setup) -> (Largest, Largest) {
    let mut arena = setup.arena();
    let mut world = setup.mount(&mut arena, setup.blank());
    churn(&mut world);
    let (running, left) = (world.budget.largest, world.end());
    let mut world = setup.mount(&mut arena, left.cut(&[]));
    world.check_recovered();
    (running, world.budget.largest)
}

#[test]
fn small_steps_on_large_segments_use_and_keep_their_budget() {
    for (write_unit, erase_value) in [(1, 0x00), (8, 0xFF)] {
        let setup = setup(write_unit, erase_value);
        let (running, mounting) = most(&setup);
        println!("unit {write_unit}: running {running:?}, mounting {mounting:?}");
        let (record_max, origin) = (u64::from(setup.config.record_bytes_max), 8);
        // A record is never split: one that begins within the step is copied whole.
        assert!(running.walked_bytes < STEP_BYTES && running.walked_bytes >= STEP_BYTES - 128);
        assert!(running.relocated_bytes > u64::from(STEP_BYTES) && running.relocated_bytes > 1_000);
        let records = u64::from(STEP_BYTES) / 16;
        assert!(running.relocated_bytes <= u64::from(STEP_BYTES) + record_max + records * origin);
        assert!(mounting.entries > ENTRIES_MAX - 8, "a footer has more entries than one poll takes");
        assert!(running.entries > 100, "a freed segment's footer has many entries");
    }
}
