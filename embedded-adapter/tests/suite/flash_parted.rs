//! Hot and cold records with one open segment: relocated ones fill segments by themselves.

use crate::ram::Ram;
use coldpress_core::drive::Now;
use coldpress_embedded::flash::{
    FlashConfig, FlashMemory, FlashTier, NorMedium, PutError, Reserved, buckets_for,
};

const SEGMENTS: usize = 48;
const KEYS: u32 = 1_800;
const HOT_KEYS: u32 = 60;
const PUTS: u32 = 30_000;
const NOW: Now = Now { monotonic_ms: 1_000, wall_s: 1_000_000 };

type Memory = FlashMemory<SEGMENTS, { buckets_for(KEYS as usize) }, 128>;
type Tier<'m> = FlashTier<'m, NorMedium<Ram<4, 4096>>>;

/// Draws the keys to overwrite.
struct Draws(u64);

impl Draws {
    fn below(&mut self, end: u32) -> u32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        u32::try_from((self.0 >> 33) % u64::from(end)).unwrap()
    }
}

fn value(key: u32, version: u32) -> [u8; 64] {
    core::array::from_fn(|at| (key.wrapping_mul(31) ^ version.wrapping_mul(7)).to_le_bytes()[at % 4])
}

/// Overwrites keys that `draw` gives. Returns relocated bytes for 100 of fresh ones, and the most calls that a put took.
fn overwrite(mut draw: impl FnMut(&mut Draws) -> u32, may_reserve: bool) -> (u64, u32) {
    let mut memory = Box::new(Memory::new());
    let medium = NorMedium::new(Ram::new(SEGMENTS));
    let mut tier: Tier<'_> = FlashTier::new(FlashConfig::new(4096, 7), &mut memory, medium).unwrap();
    tier.mount(NOW).unwrap();
    let mut versions = vec![0; KEYS as usize];
    let mut most_calls = 0;
    let mut draws = Draws(1);
    let mut before = tier.stats().counters;
    for turn in 0..KEYS + PUTS {
        if turn == KEYS + PUTS / 2 {
            before = tier.stats().counters;
        }
        let key = if turn < KEYS { turn } else { draw(&mut draws) };
        versions[key as usize] = turn;
        let mut calls = 1;
        while may_reserve && !matches!(tier.reserve(NOW, 4, 64, 64).unwrap(), Reserved::Ready(_)) {
            calls += 1;
        }
        while let Err(error) = tier.put(NOW, &key.to_le_bytes(), &value(key, turn)) {
            assert_eq!(error, PutError::NeedsCompaction, "{:?}", tier.stats());
            calls += 1;
        }
        most_calls = most_calls.max(calls);
    }
    let counters = tier.stats().counters;
    let mut out = [0; 128];
    for (key, version) in (0..KEYS).zip(versions) {
        let found = tier.get(NOW, &key.to_le_bytes(), &mut out).unwrap();
        assert_eq!(found, Some(&value(key, version)[..]), "{key}");
    }
    let relocated = counters.relocated_bytes - before.relocated_bytes;
    let fresh = counters.fresh_bytes - before.fresh_bytes;
    (relocated * 100 / fresh, most_calls)
}

#[test]
fn hot_and_cold_records_are_parted_in_one_open_segment() {
    let skewed = |draws: &mut Draws| match draws.below(4) {
        0 => draws.below(KEYS),
        _ => draws.below(HOT_KEYS),
    };
    for may_reserve in [false, true] {
        let (relocated, calls) = overwrite(skewed, may_reserve);
        println!("skewed, reserved {may_reserve}: {relocated} relocated for 100 fresh, {calls} calls");
        // It was 228 where fresh records came between relocated ones.
        assert!(relocated <= 120, "{relocated}");
        // Eight victims at most, of which each takes a call; a reserve takes only so many steps.
        assert!(calls <= if may_reserve { 40 } else { 10 }, "{calls}");
    }
    let (relocated, calls) = overwrite(|draws| draws.below(KEYS), false);
    println!("uniform: {relocated} relocated for 100 fresh, {calls} calls");
    assert!(calls <= 4, "greedy waits for one victim: {calls}");
}
