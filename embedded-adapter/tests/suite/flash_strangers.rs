//! Keys that a stranger chose: the index takes as many of them as of any others, and no reboot is refused.

use core::hash::Hasher as _;
use std::collections::BTreeMap;

use crate::ram::Ram;
use coldpress_core::compaction::CompactionTask;
use coldpress_core::drive::Now;
use coldpress_embedded::flash::{FlashConfig, FlashMemory, FlashTier, NorMedium, PutError, buckets_for};
use siphasher::sip128::{Hasher128 as _, SipHasher13};

const BUCKETS: usize = buckets_for(1_000);
const REBOOTS: u32 = if cfg!(debug_assertions) { 60 } else { 500 };
const NOW: Now = Now { monotonic_ms: 1_000, wall_s: 1_000_000 };

type Flash = Ram<4, 4096>;
type Memory = FlashMemory<64, BUCKETS, 128>;
type Tier<'m> = FlashTier<'m, NorMedium<Flash>>;

fn mixed(mut x: u32) -> u32 {
    x = (x ^ x >> 16).wrapping_mul(0x85EB_CA6B);
    x = (x ^ x >> 13).wrapping_mul(0xC2B2_AE35);
    x ^ x >> 16
}

/// The hash of a key by which the index placed it when it had no secret.
fn without_secret(key: u32) -> u32 {
    let [a, b, c, d] = key.to_le_bytes();
    let low = mixed(u32::from_le_bytes([4, a, b, c]) ^ 0x9E37_79B9);
    mixed(mixed(u32::from(d) ^ low))
}

/// The hash by which it places the key now, for a stranger who knows the secret: zeros, where the firmware gives none.
fn with_known_secret(key: u32) -> u32 {
    let mut hasher = SipHasher13::new_with_key(&[0; 16]);
    hasher.write(&key.to_le_bytes());
    let [a, b, c, d, ..] = hasher.finish128().as_bytes();
    u32::from_le_bytes([a, b, c, d])
}

/// Keys of which both buckets are among so many in a thousand, by this hash.
fn chosen(hash: impl Fn(u32) -> u32, permille: usize) -> impl Iterator<Item = u32> {
    let scaled = |hash: u32| ((u64::from(hash) * BUCKETS as u64) >> 32) as usize;
    (0u32..).filter(move |key| {
        let home = scaled(hash(*key));
        let fingerprint = mixed(hash(*key) ^ 0x85EB_CA6B) & ((1 << 11) - 1);
        let other = (scaled(mixed(fingerprint ^ 0xC2B2_AE35)) + BUCKETS - home) % BUCKETS;
        home.max(other) * 1_000 < BUCKETS * permille
    })
}

fn mounted(memory: &mut Memory, flash: Flash) -> Tier<'_> {
    mounted_with(memory, flash, [0; 16])
}

fn mounted_with(memory: &mut Memory, flash: Flash, secret: [u8; 16]) -> Tier<'_> {
    let config = FlashConfig::new(4096, 7).secret(secret);
    let mut tier = FlashTier::new(config, memory, NorMedium::new(flash)).unwrap();
    tier.mount(NOW).unwrap();
    tier
}

fn put(tier: &mut Tier<'_>, key: u32, version: u32) -> Result<(), PutError> {
    loop {
        match tier.put(NOW, &key.to_le_bytes(), &version.to_le_bytes()) {
            Err(PutError::NeedsCompaction) => drop(tier.poll(NOW, 64)),
            result => return result,
        }
    }
}

/// Offers keys until the index is full or twenty were refused. Returns how many it has.
fn fill(tier: &mut Tier<'_>, keys: impl Iterator<Item = u32>, model: &mut BTreeMap<u32, u32>) -> u32 {
    let mut refused = 0;
    for key in keys {
        match put(tier, key, 0) {
            Ok(()) => drop(model.insert(key, 0)),
            Err(PutError::KeysFull) => refused += 1,
            Err(error) => panic!("{error}"),
        }
        if refused == 20 || tier.len() == tier.stats().keys_max {
            break;
        }
    }
    tier.stats().entries
}

/// Reboots, with overwrites and compaction between, so that each mount meets the keys in another order.
fn reboot(memory: &mut Memory, mut flash: Flash, model: &mut BTreeMap<u32, u32>) {
    let keys: Vec<u32> = model.keys().copied().collect();
    let mut state = 1u64;
    for life in 1..=REBOOTS {
        let mut tier = mounted(memory, flash);
        assert_eq!(tier.len() as usize, model.len(), "life {life}");
        for _ in 0..200 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let key = keys[(state >> 33) as usize % keys.len()];
            put(&mut tier, key, life).unwrap();
            model.insert(key, life);
        }
        if life % 16 == 0 {
            tier.schedule(CompactionTask::CompactData).unwrap();
            while !tier.poll(NOW, 64).is_idle {}
        }
        for key in keys.iter().skip(life as usize % 8).step_by(8) {
            let mut out = [0; 4];
            let found = tier.get(NOW, &key.to_le_bytes(), &mut out).unwrap();
            assert_eq!(found, Some(model[key].to_le_bytes().as_slice()), "life {life}, key {key}");
        }
        flash = tier.into_medium().into_flash();
    }
}

#[test]
fn keys_chosen_to_meet_without_the_secret_are_taken() {
    for permille in [300, 500, 700] {
        let (mut memory, mut model) = (Memory::new(), BTreeMap::new());
        let mut tier = mounted(&mut memory, Flash::new(64));
        let held = fill(&mut tier, chosen(without_secret, permille), &mut model);
        assert_eq!(held, tier.stats().keys_max, "{permille} of a thousand buckets");
    }
}

#[test]
fn reboots_with_keys_that_meet_are_never_refused() {
    for (hash, permille) in [(without_secret as fn(u32) -> u32, 700), (with_known_secret, 700)] {
        let (mut memory, mut model) = (Memory::new(), BTreeMap::new());
        let mut tier = mounted(&mut memory, Flash::new(64));
        let held = fill(&mut tier, chosen(hash, permille), &mut model);
        println!("{held} of {} keys", tier.stats().keys_max);
        let flash = tier.into_medium().into_flash();
        reboot(&mut memory, flash, &mut model);
    }
}

#[test]
fn secret_on_the_flash_is_used_whatever_the_firmware_gives() {
    let (mut memory, mut model) = (Memory::new(), BTreeMap::new());
    let mut flash = Flash::new(64);
    for life in 0..4u32 {
        let mut tier = mounted_with(&mut memory, flash, [life.to_le_bytes()[0] + 1; 16]);
        // Keys chosen for a secret of zeros collide no more than others.
        let held = fill(&mut tier, chosen(with_known_secret, 400), &mut model);
        assert_eq!(held, tier.stats().keys_max, "life {life}");
        for (key, version) in &model {
            let mut out = [0; 4];
            let found = tier.get(NOW, &key.to_le_bytes(), &mut out).unwrap();
            assert_eq!(found, Some(version.to_le_bytes().as_slice()), "life {life}, key {key}");
        }
        flash = tier.into_medium().into_flash();
    }
    assert!(flash.bytes.windows(16).any(|bytes| bytes == [1; 16]), "it lies in the headers");
    assert!(!flash.bytes.windows(16).any(|bytes| bytes == [2; 16]));
}
