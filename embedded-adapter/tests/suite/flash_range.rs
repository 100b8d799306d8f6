//! A tier in a part of a flash, beside other data.

use crate::ram::Ram;
use coldpress_embedded::flash::{
    BuildError, FlashConfig, FlashMemory, FlashTier, Medium, MediumError, NorMedium, Now, PutError,
    RangeError, buckets_for,
};

const SECTOR: usize = 512;
const SECTORS: usize = 40;
const SEGMENTS: usize = 14;
const START: usize = 9 * SECTOR;
const END: usize = START + SEGMENTS * SECTOR;
const NOW: Now = Now { monotonic_ms: 0, wall_s: 0 };

type Flash = Ram<4, SECTOR>;
type Memory = FlashMemory<SEGMENTS, { buckets_for(90) }, 96>;

/// A flash full of other data.
fn used() -> Flash {
    let mut flash = Flash::new(SECTORS);
    for (at, byte) in flash.bytes.iter_mut().enumerate() {
        *byte = (at % 251) as u8;
    }
    flash.bytes[START..END].fill(0xFF);
    flash
}

#[test]
fn tier_in_a_range_leaves_the_rest_of_the_flash_alone() {
    let (before, mut flash) = (used(), used());
    for life in 0..3u32 {
        let medium = NorMedium::new(flash).within(START as u32..END as u32).unwrap();
        let mut memory = Memory::new();
        let mut tier = FlashTier::new(FlashConfig::new(SECTOR as u32, 1), &mut memory, medium).unwrap();
        tier.mount(NOW).unwrap();
        for number in 0..300u32 {
            let key = (number % 40).to_le_bytes();
            while tier.put(NOW, &key, &[life as u8; 40]) == Err(PutError::NeedsCompaction) {}
        }
        let mut out = [0; 40];
        assert_eq!(tier.get(NOW, &7u32.to_le_bytes(), &mut out), Ok(Some([life as u8; 40].as_slice())));
        flash = tier.into_medium().into_flash();
        assert!(flash.bytes[..START] == before.bytes[..START] && flash.bytes[END..] == before.bytes[END..]);
    }
    assert!(flash.bytes[START..END].iter().any(|byte| *byte != 0xFF));
}

#[test]
fn range_that_does_not_fit_the_flash_is_refused() {
    let within = |range| NorMedium::new(Flash::new(SECTORS)).within(range).map(drop);
    let sector = SECTOR as u32;
    assert_eq!(within(sector..sector), Err(RangeError::Empty));
    assert_eq!(within(2 * sector..sector), Err(RangeError::Empty));
    assert_eq!(within(4..2 * sector), Err(RangeError::EraseUnit(sector)));
    assert_eq!(within(0..sector + 4), Err(RangeError::EraseUnit(sector)));
    let bytes = SECTORS as u64 * SECTOR as u64;
    assert_eq!(within(0..(SECTORS as u32 + 1) * sector), Err(RangeError::Capacity(bytes)));
    assert_eq!(within(0..SECTORS as u32 * sector), Ok(()));
    // A range too short for the segments is refused with the bytes that these take.
    let short = NorMedium::new(Flash::new(SECTORS)).within(0..13 * sector).unwrap();
    let mut memory = Memory::new();
    let built = FlashTier::new(FlashConfig::new(sector, 1), &mut memory, short).map(drop);
    assert_eq!(built, Err(BuildError::MediumBytes(14 * 512)));
}

#[test]
fn operation_beyond_the_range_fails_and_touches_nothing() {
    let before = used();
    let mut medium = NorMedium::new(used()).within(START as u32..END as u32).unwrap();
    let end = (END - START) as u64;
    assert_eq!(medium.erase(end, SECTOR as u64), Err(MediumError::Io));
    assert_eq!(medium.write(end - 4, &[0; 8]), Err(MediumError::Io));
    for at in [u64::from(u32::MAX) - 3, 1 << 32, u64::MAX - 3] {
        assert_eq!(medium.write(at, &[0; 4]), Err(MediumError::Io));
        assert_eq!(medium.erase(at, SECTOR as u64), Err(MediumError::Io));
    }
    assert_eq!(medium.erase(0, (1 << 32) + SECTOR as u64), Err(MediumError::Io));
    assert_eq!(medium.read(end - 1, &mut [0; 2]), Err(MediumError::Io));
    assert_eq!(medium.flash().bytes, before.bytes);
}
