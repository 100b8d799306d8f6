//! How much user data fits: the promised bytes are taken, and a full tier can be worked with.

use coldpress_std::{CodecId, ColdTier, Durability, PutError, Streams};

use crate::common::{open, pools, recount, small};

const MIB: u64 = 1 << 20;

/// A value of bytes that do not compress, of its key and round.
fn noise(key: u64, round: u64, len: usize) -> Vec<u8> {
    let mut state = (key << 8 | round).wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend(state.to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}

fn put(tier: &ColdTier, key: u64, round: u64, len: usize) -> Result<(), PutError> {
    tier.put(&key.to_le_bytes(), &noise(key, round, len))
}

/// Fills a tier; returns how many keys fit, and what share of the capacity their keys and values take, in permille.
fn fill(tier: &ColdTier, len: usize, capacity: u64) -> (u64, u64) {
    let taken = (0..).find(|key| match put(tier, *key, 0, len) {
        Ok(()) => false,
        Err(PutError::Full { .. }) => true,
        Err(error) => panic!("{key}: {error} {:?}", tier.stats()),
    });
    let taken = taken.unwrap();
    (taken, taken * (8 + len as u64) * 1000 / capacity)
}

/// Fills a tier, overwrites one key in `part` out of order, empties half of it and fills it again; at least `least` permille fit.
fn work_full(capacity: u64, len: usize, least: u64, part: u64) {
    let dir = tempfile::tempdir().unwrap();
    let (_manager, pools) = pools();
    let builder = small().capacity_bytes(capacity).durability(Durability::Buffered);
    let config = builder.codec(CodecId::Raw).build().unwrap();
    let tier = open(dir.path(), &config, &pools);
    let (taken, permille) = fill(&tier, len, capacity);
    println!("{} MiB, values of {len} bytes: {permille} permille fit, {taken} keys", capacity / MIB);
    assert!(permille >= least, "{permille} of {least} permille");
    let stated = config.usable_bytes(8, u32::try_from(len).unwrap());
    let fitted = taken * (8 + len as u64);
    // The worker counts the loss at the ends of segments only from time to time. So a fast filler gets in up to one record more
    // for each segment.
    assert!(stated <= fitted && fitted - stated <= fitted / 10, "{stated} stated, {fitted} fit");
    let is_overwritten = |key: u64| (key.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32).is_multiple_of(part);
    let backwards = (0..taken).rev().filter(|key| is_overwritten(*key));
    for key in backwards {
        put(&tier, key, 1, len).unwrap_or_else(|e| panic!("{key}: {e} {:?}", tier.stats()));
    }
    for key in 0..taken / 2 {
        assert!(tier.remove(&key.to_le_bytes()).unwrap(), "{key}");
    }
    for key in 0..taken / 4 {
        put(&tier, key, 9, len).unwrap_or_else(|e| panic!("{key}: {e} {:?}", tier.stats()));
    }
    tier.flush().unwrap();
    recount(&tier);
    let stats = tier.stats();
    assert!(stats.peak_bytes <= stats.capacity_bytes, "{stats:?}");
    drop(tier);
    let tier = open(dir.path(), &config, &pools);
    for key in 0..taken {
        let expected = match key {
            _ if key < taken / 4 => Some(noise(key, 9, len)),
            _ if key < taken / 2 => None,
            _ => Some(noise(key, u64::from(is_overwritten(key)), len)),
        };
        let found = tier.get(&key.to_le_bytes()).unwrap();
        assert_eq!(found, expected, "{key}");
    }
}

#[test]
fn small_values_fill_seven_tenths_of_64_mib() {
    work_full(64 * MIB, 64, 700, 64);
}

#[test]
fn values_of_512_bytes_fill_nine_tenths_of_64_mib() {
    work_full(64 * MIB, 512, 900, 64);
}

#[test]
fn tier_of_2_mib_is_overwritten_and_refilled_when_full() {
    for (len, least) in [(16, 250), (64, 570), (512, 730), (4096, 650)] {
        work_full(2 * MIB, len, least, 1);
    }
}

#[test]
fn usable_bytes_of_values_in_pieces_fit_and_are_most_of_it() {
    let (_manager, pools) = pools();
    for (capacity, len) in [
        (16 * MIB, 9_000),
        (16 * MIB, 50_000),
        (16 * MIB, 400_000),
        (64 * MIB, 100_000),
        (64 * MIB, 3_000_000),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let builder = small().capacity_bytes(capacity).durability(Durability::Buffered);
        let config = builder.codec(CodecId::Raw).build().unwrap();
        let tier = open(dir.path(), &config, &pools);
        let stated = config.usable_bytes(8, u32::try_from(len).unwrap()) / (8 + len as u64);
        let (taken, permille) = fill(&tier, len, capacity);
        println!(
            "{} MiB, values of {len} bytes: {stated} stated, {taken} fit, {permille} permille",
            capacity / MIB
        );
        assert!(stated <= taken && taken - stated <= 1 + taken / 10, "{len}: {stated} stated, {taken} fit");
    }
}

#[test]
fn usable_bytes_of_a_length_over_the_limit_are_none() {
    let config = small().value_bytes_max(1000).build().unwrap();
    assert_eq!(config.usable_bytes(config.key_bytes_max() + 1, 10), 0);
    assert_eq!(config.usable_bytes(8, 1001), 0);
    assert!(config.usable_bytes(8, 1000) > 0);
}

#[test]
fn usable_bytes_with_a_lifetime_are_less_and_fit() {
    let dir = tempfile::tempdir().unwrap();
    let (_manager, pools) = pools();
    let builder = small().capacity_bytes(2 * MIB).partitions(1).codec(CodecId::Raw);
    let ever = builder.clone().build().unwrap().usable_bytes(8, 100);
    let config = builder.ttl(core::time::Duration::from_secs(3600)).build().unwrap();
    let stated = config.usable_bytes(8, 100);
    assert!(stated < ever, "{stated} of {ever}");
    let tier = open(dir.path(), &config, &pools);
    let (taken, _) = fill(&tier, 100, 2 * MIB);
    assert!((stated..=stated + stated / 10).contains(&(taken * 108)), "{stated} stated, {taken} fit");
}

// Without the rule: four streams needed four segments more than one, and each overwrite was refused.
#[test]
fn full_tier_goes_on_with_any_other_number_of_streams() {
    let dir = tempfile::tempdir().unwrap();
    let (_manager, pools) = pools();
    let with =
        |streams| small().capacity_bytes(2 * MIB).codec(CodecId::Raw).streams(streams).build().unwrap();
    let tier = open(dir.path(), &with(Streams::One), &pools);
    let (taken, _) = fill(&tier, 200, 2 * MIB);
    drop(tier);
    for (round, streams) in [(1, Streams::Four), (2, Streams::Two), (3, Streams::One)] {
        let tier = open(dir.path(), &with(streams), &pools);
        for key in 0..taken {
            put(&tier, key, round, 200)
                .unwrap_or_else(|e| panic!("{key}, {streams:?}: {e} {:?}", tier.stats()));
        }
        for key in 0..taken {
            assert_eq!(
                tier.get(&key.to_le_bytes()).unwrap(),
                Some(noise(key, round, 200)),
                "{key}, {streams:?}"
            );
        }
        recount(&tier);
    }
}
