//! Firmware with a shorter longest record meets a flash that may hold longer ones: it is refused, and nothing is touched.

use crate::ram::Ram;
use coldpress_core::drive::Now;
use coldpress_core::recovery::MountError;
use coldpress_embedded::flash::{
    FlashConfig, FlashMemory, FlashMountError, FlashTier, NorMedium, PutError, buckets_for,
};

type Flash = Ram<4, 4096>;
type Long = FlashMemory<16, { buckets_for(100) }, 256>;
type Short = FlashMemory<16, { buckets_for(100) }, 128>;

const NOW: Now = Now { monotonic_ms: 1_000, wall_s: 1_000_000 };

macro_rules! tier {
    ($memory:expr, $flash:expr) => {
        FlashTier::new(FlashConfig::new(4096, 7), $memory, NorMedium::new($flash)).unwrap()
    };
}

/// A flash on which every key has an older short value, and a long one that begins a segment for some of them.
fn written() -> Flash {
    let mut memory = Long::new();
    let mut tier = tier!(&mut memory, Flash::new(16));
    tier.mount(NOW).unwrap();
    for len in [20, 200] {
        for key in 0u32..60 {
            while let Err(error) = tier.put(NOW, &key.to_le_bytes(), &vec![key.to_le_bytes()[0]; len]) {
                assert_eq!(error, PutError::NeedsCompaction);
                let _ = tier.poll(NOW, 64);
            }
        }
    }
    tier.into_medium().into_flash()
}

fn check(tier: &mut FlashTier<'_, NorMedium<Flash>>) {
    for key in 0u32..60 {
        let mut out = [0; 256];
        let found = tier.get(NOW, &key.to_le_bytes(), &mut out);
        assert_eq!(found, Ok(Some([key.to_le_bytes()[0]; 200].as_slice())), "key {key}");
    }
}

#[test]
fn lowered_longest_record_is_refused_and_changes_nothing() {
    let flash = written();
    let before = flash.bytes.clone();
    let mut memory = Short::new();
    let mut tier = tier!(&mut memory, flash);
    let refused = MountError::LongerRecords { stored: 256, configured: 128 };
    assert_eq!(tier.mount(NOW), Err(FlashMountError::Mount(refused)));
    for _ in 0..1_000 {
        assert!(tier.poll(NOW, 64).is_idle);
    }
    assert_eq!(tier.put(NOW, b"key", b"value"), Err(PutError::NotMounted));
    let flash = tier.into_medium().into_flash();
    assert!(flash.bytes == before, "the flash was changed");

    let mut memory = Long::new();
    let mut tier = tier!(&mut memory, flash);
    tier.mount(NOW).unwrap();
    check(&mut tier);
}

#[test]
fn raised_longest_record_keeps_stored_values() {
    type Longer = FlashMemory<16, { buckets_for(100) }, 400>;
    let mut memory = Longer::new();
    let mut tier = tier!(&mut memory, written());
    tier.mount(NOW).unwrap();
    check(&mut tier);
    while !tier.poll(NOW, 64).is_idle {}
    tier.put(NOW, b"longer", &[1; 380]).unwrap();
    check(&mut tier);
    let flash = tier.into_medium().into_flash();
    // From here on there may be longer ones.
    let mut memory = Long::new();
    let refused = MountError::LongerRecords { stored: 400, configured: 256 };
    assert_eq!(tier!(&mut memory, flash).mount(NOW), Err(FlashMountError::Mount(refused)));
}
