//! A flash of few segments, of which one is kept free: batches beside nearly full segments, and times over a slow medium.

use crate::ram::Ram;
use crate::slow::Slow;
use coldpress_core::drive::Now;
use coldpress_embedded::flash::{
    Batch, FlashConfig, FlashMemory, FlashTier, Medium, NorMedium, PutError, Wait, buckets_for,
};

const RECORD: usize = 96;
const ITEMS: usize = 4;
/// A record of a key of one byte, with an origin.
const RECORD_BYTES: u64 = 80;
const VALUE: usize = 67;

type Memory<const SEGMENTS: usize> = FlashMemory<SEGMENTS, { buckets_for(100) }, RECORD, 1, ITEMS>;

fn now(s: u32) -> Now {
    Now { monotonic_ms: u64::from(s) * 1_000, wall_s: 1_000 + s }
}

/// Repeats a call while it needs compaction.
fn answered<M: Medium, T>(
    tier: &mut FlashTier<'_, M>,
    mut call: impl FnMut(&mut FlashTier<'_, M>) -> Result<T, PutError>,
) -> Result<T, PutError> {
    for _ in 0..2_000 {
        match call(tier) {
            Err(PutError::NeedsCompaction | PutError::Busy(Wait::Retry)) => drop(tier.poll(now(0), 8)),
            answer => return answer,
        }
    }
    panic!("I-GC-2: a call that is put off for ever: {:?}", tier.stats());
}

/// Fills a flash as far as a batch still fits, and commits batches of keys that are there. Returns how many keys it took.
fn commit_many<const SEGMENTS: usize, const SEGMENT: usize>() -> usize {
    let mut memory = Memory::<SEGMENTS>::new();
    let medium = NorMedium::new(Ram::<4, SEGMENT>::new(SEGMENTS));
    let mut tier = FlashTier::new(FlashConfig::new(SEGMENT as u32, 5), &mut memory, medium).unwrap();
    tier.mount(now(0)).unwrap();
    let batch_bytes = RECORD_BYTES * ITEMS as u64;
    let mut held: Vec<[u8; VALUE]> = Vec::new();
    while tier.stats().charged_bytes + RECORD_BYTES + batch_bytes <= tier.stats().charge_bytes_max {
        let value = [held.len() as u8; VALUE];
        answered(&mut tier, |tier| tier.put(now(0), &[held.len() as u8], &value)).unwrap();
        held.push(value);
    }
    for round in 0..300usize {
        let value = [round as u8 ^ 0x5A; VALUE];
        let keys: Vec<[u8; 1]> = (0..ITEMS).map(|nth| [((round * 7 + nth * 3) % held.len()) as u8]).collect();
        let mut batch = Batch::<ITEMS>::new();
        keys.iter().for_each(|key| batch.put(key, &value).unwrap());
        let answer = answered(&mut tier, |tier| tier.commit_batch(now(0), &batch));
        assert_eq!(answer, Ok(()), "{SEGMENTS} × {SEGMENT}, round {round}: {:?}", tier.stats());
        keys.iter().for_each(|key| held[usize::from(key[0])] = value);
        // Single puts leave segments that are stale in part.
        let key = round * 5 % held.len();
        held[key] = [round as u8; VALUE];
        answered(&mut tier, |tier| tier.put(now(0), &[key as u8], &held[key])).unwrap();
    }
    for (key, value) in held.iter().enumerate() {
        assert_eq!(tier.get(now(0), &[key as u8], &mut [0; RECORD]), Ok(Some(value.as_slice())));
    }
    held.len()
}

#[test]
fn batch_within_the_capacity_is_never_full() {
    assert!(commit_many::<2, 1_024>() >= 4);
    assert!(commit_many::<3, 768>() >= 6);
    assert!(commit_many::<4, 512>() >= 4);
    assert!(commit_many::<6, 512>() >= 8);
    assert!(commit_many::<12, 512>() >= 20);
    assert!(commit_many::<32, 512>() >= 80);
    // Several are kept in reserve.
    assert!(commit_many::<34, 512>() >= 70);
}

#[test]
fn put_made_again_each_second_needs_one_time_record() {
    let mut memory = Memory::<4>::new();
    let config = FlashConfig { time_every_s: 1, ..FlashConfig::new(1_024, 5) };
    let mut tier = FlashTier::new(config, &mut memory, Slow::new(NorMedium::new(Ram::new(4)))).unwrap();
    let mut s = 0;
    while tier.mount(now(s)).is_err() {
        s += 1;
    }
    for key in 0..30u8 {
        let mut calls = 0;
        while tier.put(now(s), &[key % 8], &[key; VALUE]).is_err() {
            (s, calls) = (s + 1, calls + 1);
            assert!(calls < 60, "key {key}: {:?}", tier.stats());
        }
        assert_eq!(tier.get(now(s), &[key % 8], &mut [0; RECORD]), Ok(Some([key; VALUE].as_slice())));
        s += 1;
    }
}

#[test]
fn put_after_one_that_was_given_up_brings_its_own_time() {
    let mut memory = Memory::<4>::new();
    let medium = Slow::new(NorMedium::new(Ram::new(4)));
    let mut tier = FlashTier::new(FlashConfig::new(1_024, 5), &mut memory, medium).unwrap();
    while tier.mount(now(0)).is_err() {}
    while tier.put_with_ttl(now(0), b"short", b"1", 65).is_err() {}
    // It waits for its time record, and nobody offers it again.
    assert!(tier.put(now(61), b"first", b"2").is_err());
    while !tier.poll(now(61), 8).is_idle {}
    while tier.put(now(130), b"second", b"3").is_err() {}
    assert_eq!(tier.get(now(130), b"short", &mut [0; RECORD]), Ok(None));
    // Without a clock the next mount goes on from the newest time in the log.
    let medium = tier.into_medium();
    let mut memory = Memory::<4>::new();
    let mut tier = FlashTier::new(FlashConfig::new(1_024, 5), &mut memory, medium).unwrap();
    let off = Now { monotonic_ms: 0, wall_s: 0 };
    while tier.mount(off).is_err() {}
    assert_eq!(tier.get(off, b"short", &mut [0; RECORD]), Ok(None), "it had expired");
}
