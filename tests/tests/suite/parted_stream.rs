//! One stream that is parted, since some keys are overwritten much more often than others: power cuts at every moment.
//!
//! Relocation then fills a segment of its own beside that of fresh records, and old records that are overwritten go there too.

use std::collections::BTreeMap;

use coldpress_core::compaction::CompactionTask::CompactData;
use coldpress_core::drive::Now;
use coldpress_core::segments::SegmentState;
use coldpress_embedded::flash::{FlashConfig, FlashMemory, FlashTier, NorMedium, PutError, buckets_for};
use coldpress_tests::flash::Flash;
use coldpress_tests::sim::{Do, Key, Setup, World, cut_everywhere};

/// Overwrites before the moments that are tried: a quarter of the medium is superseded by then.
const BEFORE: u32 = 170;
/// Overwrites at whose moments the power is cut.
const CUT: u32 = 100;
const KEYS: u32 = 30;
const HOT: u32 = 3;
const NOW: Now = Now { monotonic_ms: 1, wall_s: 50 };

/// The key of an overwrite: mostly a hot one, now and then a cold one.
fn overwritten(number: u32) -> u32 {
    if number.is_multiple_of(5) { HOT + number / 5 * 7 % (KEYS - HOT) } else { number * 3 / 2 % HOT }
}

fn puts(numbers: core::ops::Range<u32>) -> impl Iterator<Item = Do> {
    let key = |key| Key::try_from(key + 1).unwrap();
    numbers.map(move |number| Do::Put(key(overwritten(number)), 24))
}

/// Whether there are two open segments.
fn is_parted(world: &World<'_>) -> bool {
    world.tier.segments().iter().filter(|s| s.state() == SegmentState::Open).count() == 2
}

#[test]
fn parted_stream_cut_anywhere_leaves_old_or_new() {
    let setup = Setup::device();
    let fill = (1..=KEYS).map(|key| Do::Put(Key::try_from(key).unwrap(), 24));
    let mut script: Vec<Do> = fill.chain(puts(0..BEFORE)).collect();
    script.extend([Do::Remove(1), Do::Remove(20), Do::Sync]);
    let before = setup.moments(&script).len();
    script.extend(puts(BEFORE..BEFORE + CUT / 2));
    script.extend([Do::Remove(2), Do::Run(CompactData), Do::Remove(25)]);
    script.extend(puts(BEFORE + CUT / 2..BEFORE + CUT));
    script.push(Do::Sync);

    let mut arena = setup.arena();
    let mut world = setup.mount(&mut arena, setup.blank());
    let mut parted = 0;
    for (at, step) in script.iter().enumerate() {
        world.follow(&[*step]);
        parted += usize::from(at > script.len() - CUT as usize && is_parted(&world));
    }
    assert!(parted * 4 > CUT as usize, "it is parted after {parted} of {CUT} steps");

    let mut moments = setup.moments(&script);
    let moments = moments.split_off(before);
    let after = [Do::Put(1, 20), Do::Remove(2), Do::Put(21, 30), Do::Sync, Do::Run(CompactData), Do::Settle];
    println!("{} moments: {:?}", moments.len(), cut_everywhere(&setup, &moments, &after));
}

type Device = Flash<4, 512>;
type Memory = FlashMemory<14, { buckets_for(60) }, 96>;
type Tier<'m> = FlashTier<'m, NorMedium<&'m mut Device>>;
/// The number of the overwrite that each key must have, or either of two.
type Model = BTreeMap<u32, Vec<u32>>;

fn value(key: u32, number: u32) -> [u8; 24] {
    core::array::from_fn(|at| (key * 7 + number * 13 + at as u32) as u8)
}

fn mounted<'m>(memory: &'m mut Memory, flash: &'m mut Device) -> Tier<'m> {
    let mut tier = FlashTier::new(FlashConfig::new(512, 1), memory, NorMedium::new(flash)).unwrap();
    tier.mount(NOW).unwrap();
    tier
}

/// Overwrites until the power is gone.
fn overwrite(tier: &mut Tier<'_>, model: &mut Model, numbers: core::ops::Range<u32>) {
    for number in numbers {
        let key = overwritten(number);
        put(tier, model, key, number + 1);
        if !tier.medium().flash().has_power() {
            return;
        }
    }
}

fn put(tier: &mut Tier<'_>, model: &mut Model, key: u32, number: u32) {
    let versions = model.entry(key).or_default();
    for _ in 0..2_000 {
        match tier.put(NOW, &key.to_le_bytes(), &value(key, number)) {
            Ok(()) => {
                *versions = vec![number];
                return;
            }
            Err(_) if !tier.medium().flash().has_power() => {
                versions.push(number);
                return;
            }
            Err(PutError::NeedsCompaction | PutError::Busy(_)) => drop(tier.poll(NOW, 8)),
            Err(error) => panic!("{error}"),
        }
    }
    panic!("I-GC-2: key {key} is put off for ever\n{:?}", tier.stats());
}

fn check(tier: &mut Tier<'_>, model: &mut Model, at: u64) {
    let mut out = [0; 96];
    for (key, versions) in model {
        let found = tier.get(NOW, &key.to_le_bytes(), &mut out).map(|found| found.map(<[u8]>::to_vec));
        let is = |number: &u32| found == Ok(Some(value(*key, *number).to_vec()));
        let Some(place) = versions.iter().position(is) else {
            panic!("I-LOG-4: cut {at}: key {key} reads as {found:?}, one of {versions:?} was expected");
        };
        *versions = vec![versions[place]];
    }
}

/// The changes of the flash before the moments that are tried.
fn changes_before() -> u64 {
    let (mut memory, mut flash, mut model) = (Memory::new(), Device::new(14, 0xFF), Model::new());
    fill_and_overwrite(&mut mounted(&mut memory, &mut flash), &mut model, BEFORE);
    flash.counts().changes()
}

fn fill_and_overwrite(tier: &mut Tier<'_>, model: &mut Model, overwrites: u32) {
    for key in 0..KEYS {
        put(tier, model, key, 0);
    }
    overwrite(tier, model, 0..overwrites);
}

/// Runs the history up to a cut after so many changes of the moments that are tried. Returns how many changes there were.
fn cut_after(before: u64, changes: u64, seed: u64) -> u64 {
    let (mut memory, mut flash, mut model) = (Memory::new(), Device::new(14, 0xFF), Model::new());
    flash.cut_after(before + changes, seed);
    fill_and_overwrite(&mut mounted(&mut memory, &mut flash), &mut model, BEFORE + CUT);
    let made = flash.counts().changes() - before;
    for part in [BEFORE + CUT..BEFORE + 2 * CUT, BEFORE + 2 * CUT..2 * BEFORE + 2 * CUT] {
        flash.power_on();
        let mut memory = Memory::new();
        let mut tier = mounted(&mut memory, &mut flash);
        check(&mut tier, &mut model, changes);
        overwrite(&mut tier, &mut model, part);
        check(&mut tier, &mut model, changes);
    }
    made
}

#[test]
fn parted_flash_cut_anywhere_keeps_all_values() {
    let before = changes_before();
    let all = cut_after(before, u64::MAX / 2, 0);
    let step = if cfg!(debug_assertions) { 7 } else { 1 };
    for changes in (0..all).step_by(step) {
        for seed in 0..3 {
            cut_after(before, changes, seed);
        }
    }
    println!("{all} changes");
}
