//! A tier whose state is broken by hand. A build with debug assertions panics instead.

extern crate std;

use std::vec;
use std::vec::Vec;

use coldpress_core::invariant::Invariant;
use coldpress_core::recovery::MountError;

use super::*;
use crate::flash::table::Entry;
use crate::flash::{FlashMemory, Medium, PutError, Started, buckets_for};

const SEGMENTS: usize = 14;
const SEGMENT_BYTES: u32 = 512;
const NOW: Now = Now { monotonic_ms: 1_000, wall_s: 1_000_000 };

type SmallMemory = FlashMemory<SEGMENTS, { buckets_for(40) }, 96>;

/// A flash that counts what changes it.
struct Counting {
    bytes: Vec<u8>,
    changes: u32,
}

impl Counting {
    fn part(&mut self, at: u64, bytes: usize) -> Result<&mut [u8], MediumError> {
        let at = usize::try_from(at).unwrap();
        self.bytes.get_mut(at..at + bytes).ok_or(MediumError::Io)
    }
}

impl Medium for Counting {
    type Error = MediumError;

    fn read(&mut self, at: u64, bytes: &mut [u8]) -> Result<(), MediumError> {
        bytes.copy_from_slice(self.part(at, bytes.len())?);
        Ok(())
    }

    fn write(&mut self, at: u64, bytes: &[u8]) -> Result<Started, MediumError> {
        self.changes += 1;
        self.part(at, bytes.len())?.copy_from_slice(bytes);
        Ok(Started::Done)
    }

    fn erase(&mut self, at: u64, bytes: u64) -> Result<Started, MediumError> {
        self.changes += 1;
        self.part(at, usize::try_from(bytes).unwrap())?.fill(0xFF);
        Ok(Started::Done)
    }

    fn sync(&mut self) -> Result<Started, MediumError> {
        Ok(Started::Done)
    }
}

impl DeviceMedium for Counting {
    fn write_unit_bytes(&self) -> u32 {
        4
    }

    fn erase_unit_bytes(&self) -> u32 {
        SEGMENT_BYTES
    }

    fn medium_bytes(&self) -> u64 {
        self.bytes.len() as u64
    }
}

fn tier(memory: &mut SmallMemory, flash: Counting) -> FlashTier<'_, Counting> {
    FlashTier::new(FlashConfig::new(SEGMENT_BYTES, 7), memory, flash).unwrap()
}

fn put(tier: &mut FlashTier<'_, Counting>, key: &[u8], value: &[u8]) -> Result<(), PutError> {
    for _ in 0..100 {
        match tier.put(NOW, key, value) {
            Err(PutError::NeedsCompaction) => tier.poll(NOW, 64),
            result => return result,
        };
    }
    Err(PutError::NeedsCompaction)
}

#[test]
fn mount_of_a_broken_tier_names_the_invariant_and_reads_go_on() {
    let (mut memory, mut next) = (SmallMemory::new(), SmallMemory::new());
    let flash = Counting { bytes: vec![0xFF; SEGMENTS * SEGMENT_BYTES as usize], changes: 0 };
    let mut tier = self::tier(&mut memory, flash);
    tier.mount(NOW).unwrap();
    let bytes: [u8; 64] = core::array::from_fn(|at| (at * 37) as u8);
    put(&mut tier, b"key", &bytes).unwrap();
    let (_, long, _) = tier.index.table.next_from(0).unwrap();
    put(&mut tier, b"key", b"short").unwrap();
    // The index names a record that is dead already, and longer than all that lives beside it: it will be released once more.
    let (at, entry, _) = tier.index.table.next_from(0).unwrap();
    tier.index.table.set(at, &Entry { place: long.place, ..entry });
    put(&mut tier, b"other", b"value").unwrap();
    // The record is written by then; what follows is refused.
    put(&mut tier, b"key", b"new").unwrap();
    assert_eq!(put(&mut tier, b"more", b"value"), Err(PutError::Broken));

    let changes = tier.medium().changes;
    let broken = FlashMountError::Mount(MountError::Broken(Invariant::LiveCounts));
    assert_eq!((tier.mount(NOW), tier.mounted()), (Err(broken), Err(broken)));
    assert_eq!(put(&mut tier, b"more", b"value"), Err(PutError::Broken), "a mount mends nothing");
    let _ = tier.poll(NOW, 64);
    let mut out = [0; 64];
    assert_eq!(tier.get(NOW, b"other", &mut out), Ok(Some(&b"value"[..])), "reads go on");
    assert_eq!(tier.medium().changes, changes, "nothing more is written");

    let mut tier = self::tier(&mut next, tier.into_medium());
    tier.mount(NOW).unwrap();
    assert_eq!(tier.get(NOW, b"other", &mut out), Ok(Some(&b"value"[..])));
    assert_eq!(tier.get(NOW, b"key", &mut out), Ok(Some(&b"new"[..])));
    put(&mut tier, b"key", b"again").unwrap();
    assert_eq!(tier.get(NOW, b"key", &mut out), Ok(Some(&b"again"[..])));
}
