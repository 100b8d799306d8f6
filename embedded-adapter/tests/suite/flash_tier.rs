//! The flash tier from end to end, over a NOR flash in memory.

use std::collections::BTreeMap;

use crate::ram::Ram;
use coldpress_core::drive::Now;
use coldpress_embedded::flash::{FlashConfig, FlashMemory, FlashTier, NorMedium, PutError, buckets_for};

type Flash = Ram<4, 4096>;
type Memory = FlashMemory<64, { buckets_for(2_400) }, 128>;
type Tier<'m> = FlashTier<'m, NorMedium<Flash>>;

const NOW: Now = Now { monotonic_ms: 1_000, wall_s: 1_000_000 };

fn mounted(memory: &mut Memory, flash: Flash) -> Tier<'_> {
    let mut tier = FlashTier::new(FlashConfig::new(4096, 7), memory, NorMedium::new(flash)).unwrap();
    tier.mount(NOW).unwrap();
    tier
}

fn value(key: u32, version: u32) -> [u8; 64] {
    core::array::from_fn(|at| (key.wrapping_mul(31) ^ version.wrapping_mul(7) ^ at as u32) as u8)
}

/// Puts, and polls while compaction must come first.
fn put(tier: &mut Tier<'_>, key: u32, value: &[u8]) {
    for _ in 0..100 {
        match tier.put(NOW, &key.to_le_bytes(), value) {
            Ok(()) => return,
            Err(PutError::NeedsCompaction) => {
                let _ = tier.poll(NOW, 64);
            }
            Err(error) => panic!("put of {key}: {error}\n{:?}", tier.stats()),
        }
    }
    panic!("no space for {key} after 100 polls\n{:?}", tier.stats());
}

fn check(tier: &mut Tier<'_>, model: &BTreeMap<u32, u32>) {
    let mut out = [0; 64];
    for (key, version) in model {
        let found = tier.get(NOW, &key.to_le_bytes(), &mut out).unwrap();
        assert_eq!(found, Some(value(*key, *version).as_slice()), "key {key}");
    }
    assert_eq!(tier.len() as usize, model.len());
}

#[test]
fn values_put_are_read_back_and_found_by_the_next_mount() {
    let mut memory = Memory::new();
    let mut tier = mounted(&mut memory, Flash::new(64));
    put(&mut tier, 1, b"cold");
    put(&mut tier, 2, b"colder");
    put(&mut tier, 1, b"coldest");
    assert_eq!(tier.remove(NOW, &2u32.to_le_bytes()), Ok(true));
    assert_eq!(tier.remove(NOW, &2u32.to_le_bytes()), Ok(false));
    let flash = tier.into_medium().into_flash();
    let mut tier = mounted(&mut memory, flash);
    let mut out = [0; 16];
    assert_eq!(tier.get(NOW, &1u32.to_le_bytes(), &mut out), Ok(Some(b"coldest".as_slice())));
    assert_eq!(tier.get(NOW, &2u32.to_le_bytes(), &mut out), Ok(None));
    assert_eq!(tier.len(), 1);
}

#[test]
fn uniform_overwrites_stay_within_their_bounds() {
    for keys in [512, 2_400] {
        let mut memory = Memory::new();
        let mut tier = mounted(&mut memory, Flash::new(64));
        let mut model = BTreeMap::new();
        for key in 0..keys {
            put(&mut tier, key, &value(key, 0));
            model.insert(key, 0);
        }
        let (before, mut state) = (tier.medium().flash().clone(), 1u64);
        for version in 1..=5_000 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let key = (state >> 33) as u32 % keys;
            put(&mut tier, key, &value(key, version));
            model.insert(key, version);
        }
        let after = tier.medium().flash();
        let programmed = after.programmed_bytes - before.programmed_bytes;
        let erases = after.erases - before.erases;
        let amplification = programmed as f64 / (5_000.0 * 68.0);
        println!("{keys} keys: amplification {amplification:.3}, {erases} erases, {:?}", tier.worst());
        println!("{:?}", tier.stats());
        check(&mut tier, &model);
        assert_eq!(tier.worst().erases, 1);
        assert!(tier.worst().bytes_programmed <= 4096);
        let before = tier.medium().flash().read_bytes;
        check(&mut tier, &model);
        let read = tier.medium().flash().read_bytes - before;
        println!(
            "{:.1} bytes read a get; RAM {} + {}",
            read as f64 / f64::from(keys),
            Memory::RAM_BYTES,
            Tier::RAM_BYTES
        );
        let flash = tier.into_medium().into_flash();
        let mut tier = mounted(&mut memory, flash);
        check(&mut tier, &model);
    }
}

#[test]
fn cold_data_beyond_the_wear_bound_is_relocated() {
    let mut memory = Memory::new();
    let config = FlashConfig { wear_spread_max: 12, ..FlashConfig::new(4096, 7) };
    let mut tier = FlashTier::new(config, &mut memory, NorMedium::new(Flash::new(64))).unwrap();
    tier.mount(NOW).unwrap();
    let mut model = BTreeMap::new();
    for key in 0..2_000 {
        put(&mut tier, key, &value(key, 0));
        model.insert(key, 0);
    }
    // Nineteen of twenty keys are never written again.
    let mut widest = 0;
    for version in 1..=60_000 {
        let key = version % 100;
        put(&mut tier, key, &value(key, version));
        model.insert(key, version);
        let (least, most) = tier.stats().erases;
        widest = widest.max(most - least);
    }
    println!("wear {:?}, widest spread {widest}", tier.stats().erases);
    // Under writes without a pause the spread may exceed the bound by half.
    assert!(widest <= 18, "{widest}");
    check(&mut tier, &model);
}

#[test]
fn jump_of_the_clock_expires_nothing_until_it_is_confirmed() {
    let mut memory = Memory::new();
    let mut tier = mounted(&mut memory, Flash::new(64));
    for _ in 0..200 {
        let _ = tier.poll(NOW, 64);
    }
    tier.put_with_ttl(NOW, b"soon", b"1", 100).unwrap();
    let wrong = Now { wall_s: NOW.wall_s + 3_000_000_000, ..NOW };
    let mut out = [0; 8];
    assert_eq!(tier.get(wrong, b"soon", &mut out), Ok(Some(b"1".as_slice())));
    assert_eq!(tier.clock_refused_s(), Some(3_000_000_000));
    tier.put_with_ttl(wrong, b"later", b"2", 100).unwrap();
    let then = Now { monotonic_ms: NOW.monotonic_ms + 101_000, wall_s: NOW.wall_s + 101 };
    assert_eq!(tier.get(then, b"later", &mut out), Ok(None), "its time was counted by the tier's clock");
    assert_eq!(tier.clock_refused_s(), None);
    tier.put_with_ttl(then, b"soon", b"3", 100).unwrap();
    tier.confirm_clock();
    let jumped = Now { monotonic_ms: then.monotonic_ms, wall_s: wrong.wall_s };
    assert_eq!(tier.get(jumped, b"soon", &mut out), Ok(None));
}
