//! A tier over an async flash: its futures, and those of them that are dropped.

use crate::driver::{Late, done, run};
use crate::ram::Ram;
use coldpress_core::drive::Now;
use coldpress_embedded::flash::{
    AsyncNorMedium, DeviceMedium, FlashConfig, FlashMemory, FlashTier, NorMedium, PutError, RangeError,
    buckets_for,
};

const SEGMENTS: usize = 14;
const SEGMENT: usize = 512;
const CONFIG: FlashConfig = FlashConfig { skips_unchanged: false, ..FlashConfig::new(SEGMENT as u32, 5) };

type Memory = FlashMemory<SEGMENTS, { buckets_for(40) }, 96>;
type Flash = Ram<4, SEGMENT>;
type Tier<'m> = FlashTier<'m, AsyncNorMedium<Late<Flash>>>;

const fn at(ms: u64) -> Now {
    Now { monotonic_ms: ms, wall_s: 1_000 }
}

const NOW: Now = at(1);

fn mounted(memory: &mut Memory) -> Tier<'_> {
    let mut tier = FlashTier::new(CONFIG, memory, AsyncNorMedium::new(Late(Ram::new(SEGMENTS)))).unwrap();
    done(tier.mount(NOW)).unwrap();
    while !done(tier.poll(NOW, 64)).is_idle {}
    tier
}

fn get(tier: &mut Tier<'_>, key: &[u8]) -> Option<Vec<u8>> {
    done(tier.get(NOW, key, &mut [0; 96])).unwrap().map(<[u8]>::to_vec)
}

#[test]
fn put_dropped_anywhere_is_answered_once_when_made_again() {
    let mut ended = 0;
    for point in 0.. {
        let mut memory = Memory::new();
        let mut tier = mounted(&mut memory);
        done(tier.put(NOW, b"key", b"old")).unwrap();
        let before = tier.medium().flash().0.programmed_bytes;
        let dropped = run(tier.put(NOW, b"key", b"value"), Some(point)).is_none();
        let was_programmed = tier.medium().flash().0.programmed_bytes > before;
        done(tier.put(NOW, b"key", b"value")).unwrap();
        let programmed = tier.medium().flash().0.programmed_bytes - before;
        assert_eq!(get(&mut tier, b"key").as_deref(), Some(&b"value"[..]));
        if !dropped {
            break;
        }
        ended += u32::from(was_programmed);
        // A record that is there is not written again. One that is not is written to a new segment, behind its header.
        assert!(!was_programmed || programmed == 20, "{programmed} bytes, dropped after {point}");
    }
    assert!(ended > 0, "one was dropped after its write");
}

#[test]
fn put_dropped_anywhere_is_decided_by_the_next_call() {
    for point in 0.. {
        let (mut memory, mut next) = (Memory::new(), Memory::new());
        let mut tier = mounted(&mut memory);
        done(tier.put(NOW, b"key", b"old")).unwrap();
        let dropped = run(tier.put(NOW, b"key", b"new"), Some(point)).is_none();
        let found = get(&mut tier, b"key");
        assert!(
            [&b"old"[..], b"new"].contains(&found.as_deref().unwrap()),
            "{found:?}, dropped after {point}"
        );
        let flash = tier.into_medium().into_flash();
        let mut tier = FlashTier::new(CONFIG, &mut next, AsyncNorMedium::new(flash)).unwrap();
        done(tier.mount(NOW)).unwrap();
        assert_eq!(get(&mut tier, b"key"), found, "a mount finds the same, dropped after {point}");
        if !dropped {
            return;
        }
    }
}

#[test]
fn removed_key_stays_removed_after_a_put_dropped_before() {
    for point in 0.. {
        let (mut memory, mut next) = (Memory::new(), Memory::new());
        let mut tier = mounted(&mut memory);
        done(tier.put(NOW, b"key", b"old")).unwrap();
        let dropped = run(tier.put(NOW, b"key", b"new"), Some(point)).is_none();
        assert_eq!(done(tier.remove(NOW, b"key")), Ok(true));
        let flash = tier.into_medium().into_flash();
        let mut tier = FlashTier::new(CONFIG, &mut next, AsyncNorMedium::new(flash)).unwrap();
        done(tier.mount(NOW)).unwrap();
        assert_eq!(get(&mut tier, b"key"), None, "dropped after {point}");
        if !dropped {
            return;
        }
    }
}

#[test]
fn awaited_calls_keep_the_bounds_of_one_call() {
    let mut memory = Memory::new();
    let mut tier = mounted(&mut memory);
    let mut put_off = 0;
    for round in 0..2_000u32 {
        let key = (round % 23).to_le_bytes();
        loop {
            let (erases, bytes) = (tier.medium().flash().0.erases, tier.medium().flash().0.programmed_bytes);
            let put = done(tier.put(NOW, &key, &round.to_le_bytes().repeat(9)));
            assert!(tier.medium().flash().0.erases - erases <= 1, "one erase");
            assert!(tier.medium().flash().0.programmed_bytes - bytes <= SEGMENT as u64, "one segment");
            match put {
                Ok(()) => break,
                Err(PutError::NeedsCompaction) => put_off += 1,
                Err(error) => panic!("{error}"),
            }
            let (erases, bytes) = (tier.medium().flash().0.erases, tier.medium().flash().0.programmed_bytes);
            let work = done(tier.poll(NOW, 3));
            assert!(work.operations <= 3 && !work.is_waiting);
            assert_eq!(u64::from(work.erases), tier.medium().flash().0.erases - erases);
            assert_eq!(u64::from(work.bytes_programmed), tier.medium().flash().0.programmed_bytes - bytes);
        }
    }
    assert!(
        tier.worst().erases == 1 && tier.worst().bytes_programmed <= SEGMENT as u32,
        "{:?}",
        tier.worst()
    );
    assert!(tier.stats().erases_total > 100, "{put_off} puts were put off: {:?}", tier.stats());
}

#[test]
fn both_drivers_write_the_same_bytes() {
    let (mut memory, mut other) = (Memory::new(), Memory::new());
    let mut awaited = mounted(&mut memory);
    let mut blocking = FlashTier::new(CONFIG, &mut other, NorMedium::new(Flash::new(SEGMENTS))).unwrap();
    blocking.mount(NOW).unwrap();
    while !blocking.poll(NOW, 64).is_idle {}
    for round in 0..1_000u32 {
        let (key, value) =
            ((round * 7 % 23).to_le_bytes(), round.to_le_bytes().repeat(1 + round as usize % 12));
        if round % 9 == 8 {
            assert_eq!(done(awaited.remove(NOW, &key)), blocking.remove(NOW, &key), "{round}");
        } else {
            assert_eq!(done(awaited.put(NOW, &key, &value)), blocking.put(NOW, &key, &value), "{round}");
        }
        while !done(awaited.poll(NOW, 64)).is_idle {}
        while !blocking.poll(NOW, 64).is_idle {}
        assert_eq!(
            get(&mut awaited, &key),
            blocking.get(NOW, &key, &mut [0; 96]).unwrap().map(<[u8]>::to_vec)
        );
    }
    assert!(awaited.stats().erases_total > 30, "{:?}", awaited.stats());
    assert_eq!(awaited.medium().flash().0.bytes, blocking.medium().flash().bytes);
    assert_eq!(awaited.stats().counters.bytes_read, blocking.stats().counters.bytes_read);
}

#[test]
fn format_whose_futures_are_dropped_goes_on() {
    for point in 0.. {
        let mut memory = Memory::new();
        let mut tier = mounted(&mut memory);
        done(tier.put(NOW, b"key", b"value")).unwrap();
        // A write that was dropped is no operation of the new store.
        assert_eq!(run(tier.put(NOW, b"other", b"value"), Some(1)), None);
        tier.format();
        let dropped = run(tier.mount(NOW), Some(point)).is_none();
        done(tier.mount(NOW)).unwrap();
        assert_eq!((get(&mut tier, b"key"), get(&mut tier, b"other"), tier.len()), (None, None, 0));
        while !done(tier.poll(NOW, 64)).is_idle {}
        done(tier.put(NOW, b"key", b"new")).unwrap();
        assert_eq!(get(&mut tier, b"key").as_deref(), Some(&b"new"[..]));
        if !dropped {
            return;
        }
    }
}

#[test]
fn medium_whose_operation_was_dropped_serves_another_tier() {
    for point in 0..8 {
        let (mut memory, mut next) = (Memory::new(), Memory::new());
        let mut tier = mounted(&mut memory);
        done(tier.put(NOW, b"key", b"value")).unwrap();
        let _ = run(tier.put(NOW, b"other", b"value"), Some(point));
        let mut tier = FlashTier::new(CONFIG, &mut next, tier.into_medium()).unwrap();
        done(tier.mount(NOW)).unwrap();
        assert_eq!(get(&mut tier, b"key").as_deref(), Some(&b"value"[..]));
        done(tier.put(NOW, b"other", b"new")).unwrap();
        assert_eq!(get(&mut tier, b"other").as_deref(), Some(&b"new"[..]));
    }
}

#[test]
fn part_of_an_async_flash_leaves_the_rest_as_it_is() {
    let mut flash = Flash::new(SEGMENTS + 4);
    flash.bytes.fill(0x5A);
    for byte in &mut flash.bytes[2 * SEGMENT..(SEGMENTS + 2) * SEGMENT] {
        *byte = 0xFF;
    }
    let range = 2 * SEGMENT as u32..(SEGMENTS + 2) as u32 * SEGMENT as u32;
    let medium = AsyncNorMedium::new(Late(flash)).within(range).unwrap();
    assert_eq!(medium.medium_bytes(), (SEGMENTS * SEGMENT) as u64);
    let mut memory = Memory::new();
    let mut tier = FlashTier::new(CONFIG, &mut memory, medium).unwrap();
    done(tier.mount(NOW)).unwrap();
    for round in 0..200u32 {
        while done(tier.put(NOW, &(round % 5).to_le_bytes(), &[7; 40])) == Err(PutError::NeedsCompaction) {
            let _ = done(tier.poll(NOW, 8));
        }
    }
    let bytes = &tier.medium().flash().0.bytes;
    let outside = bytes[..2 * SEGMENT].iter().chain(&bytes[(SEGMENTS + 2) * SEGMENT..]);
    assert!(outside.copied().all(|byte| byte == 0x5A));
    let refused = AsyncNorMedium::new(Late(Flash::new(SEGMENTS))).within(100..SEGMENT as u32);
    assert_eq!(refused.map(drop), Err(RangeError::EraseUnit(SEGMENT as u32)));
}
