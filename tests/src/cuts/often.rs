//! Long lives with many cuts, drawn from a seed.

use coldpress_core::compaction::CompactionTask;

use super::device::{Cut, Device, Setup, Store};
use crate::sim::{Do, Rng, in_case};

/// The parameters of random lives.
#[derive(Debug, Clone, Copy)]
pub struct Lives {
    /// Keys in use.
    pub keys: u64,
    /// The longest value.
    pub value_bytes_max: u64,
    /// Power-ups of a life.
    pub cuts: u32,
    /// The most changes of the flash between two cuts.
    pub changes_max: u64,
}

/// Lives one life for each seed: mounts, does random steps until the power is cut, checks the state that is left, and begins
/// again. One cut in three interrupts the mount after the cut before.
pub fn cut_often<const UNIT: usize, const SECTOR: usize, const SEGMENTS: usize>(
    setup: &Setup<UNIT, SECTOR, SEGMENTS>,
    lives: &Lives,
    seeds: core::ops::Range<u64>,
) {
    let mut store = Store::default();
    for seed in seeds {
        in_case(|| format!("seed {seed} of {lives:?}"), || live(setup, lives, seed, &mut store));
    }
}

fn live<const UNIT: usize, const SECTOR: usize, const SEGMENTS: usize>(
    setup: &Setup<UNIT, SECTOR, SEGMENTS>,
    lives: &Lives,
    seed: u64,
    store: &mut Store<SEGMENTS>,
) {
    let mut rng = Rng::new(seed);
    let mut lasting = setup.blank();
    for _ in 0..lives.cuts {
        let soon = if rng.permille(333) { 6 } else { lives.changes_max };
        lasting.flash.power_on();
        lasting.flash.cut_after(rng.below(soon), rng.next_u64());
        let ended = Device::power_up(store, &mut lasting).and_then(|mut device| {
            device.check_recovered();
            for _ in 0..2 * lives.changes_max {
                device.follow(drawn(&mut rng, lives))?;
            }
            device.check();
            Ok(())
        });
        assert!(matches!(ended, Ok(()) | Err(Cut)));
    }
    lasting.flash.power_on();
    let last = Device::power_up(store, &mut lasting).and_then(|mut device| {
        device.check_recovered();
        // After all cuts every key can be written, and every value read.
        for key in 1..=lives.keys {
            device.follow(Do::Put(u16::try_from(key).unwrap_or(1), 8))?;
        }
        device.check();
        Ok(())
    });
    last.unwrap_or_else(|Cut| panic!("no cut is to come"));
}

fn drawn(rng: &mut Rng, lives: &Lives) -> Do {
    let key = u16::try_from(1 + rng.below(lives.keys)).unwrap_or(1);
    // From four bytes on every write has a content of its own.
    let len = u32::try_from(4 + rng.below(lives.value_bytes_max - 3)).unwrap_or(4);
    let ttl_s = u32::try_from(1 + rng.below(5)).unwrap_or(1);
    match rng.below(100) {
        0..60 => Do::Put(key, len),
        60..70 => Do::PutFor(key, len, ttl_s),
        70..84 => Do::Remove(key),
        84..90 => Do::Tick(1 + rng.below(2_000)),
        90..94 => Do::Flush,
        94..97 => Do::Settle,
        97 => Do::Run(CompactionTask::CleanupExpired),
        _ => Do::Run(CompactionTask::CompactData),
    }
}
