//! A medium that fails for a moment, and what becomes of the key that was being written.

mod ram;

use core::cell::Cell;

use coldpress_core::compaction::CompactionTask;
use coldpress_core::tier::{MediumError, Now};
use coldpress_embedded::flash::{
    FlashConfig, FlashMemory, FlashTier, Medium, NorMedium, PutError, Started, buckets_for,
};
use ram::Ram;

/// What the test makes fail.
#[derive(Default)]
struct Faults {
    /// The next write fails; whether its bytes land.
    write: Cell<Option<bool>>,
    /// Every read fails.
    reads: Cell<bool>,
}

struct Failing<'f> {
    flash: NorMedium<Ram<4, 4096>>,
    faults: &'f Faults,
}

impl<'f> Failing<'f> {
    fn new(faults: &'f Faults) -> Self {
        Self { flash: NorMedium::new(Ram::new(16)), faults }
    }
}

impl Medium for Failing<'_> {
    fn write_unit_bytes(&self) -> u32 {
        4
    }
    fn erase_unit_bytes(&self) -> u32 {
        4096
    }
    fn medium_bytes(&self) -> u64 {
        self.flash.medium_bytes()
    }
    fn read(&mut self, at: u32, bytes: &mut [u8]) -> Result<(), MediumError> {
        if self.faults.reads.get() { Err(MediumError::Io) } else { self.flash.read(at, bytes) }
    }
    fn write(&mut self, at: u32, bytes: &[u8]) -> Result<Started, MediumError> {
        match self.faults.write.take() {
            None => self.flash.write(at, bytes),
            Some(lands) => {
                if lands {
                    self.flash.write(at, bytes)?;
                }
                Err(MediumError::Io)
            }
        }
    }
    fn erase(&mut self, at: u32, bytes: u32) -> Result<Started, MediumError> {
        self.flash.erase(at, bytes)
    }
}

type Memory = FlashMemory<16, { buckets_for(400) }, 128>;
type Tier<'m, 'f> = FlashTier<'m, Failing<'f>>;

fn mounted<'m, 'f>(memory: &'m mut Memory, medium: Failing<'f>, now: Now) -> Tier<'m, 'f> {
    let mut tier = FlashTier::new(FlashConfig::new(4096, 1), memory, medium).unwrap();
    tier.mount(now).unwrap();
    tier
}

fn idle(tier: &mut Tier<'_, '_>, now: &mut Now) {
    for _ in 0..5_000 {
        now.monotonic_ms += 1;
        if tier.poll(*now, 64).is_idle {
            return;
        }
    }
    panic!("never idle");
}

// A failed put may have landed. Whoever removes the key then must not find it at the next mount.
#[test]
fn key_removed_after_a_failed_put_that_landed_stays_away() {
    let (faults, mut memory, mut now) = (Faults::default(), Memory::new(), Now::default());
    let mut tier = mounted(&mut memory, Failing::new(&faults), now);
    idle(&mut tier, &mut now);
    tier.put(now, b"oth", &[9; 64]).unwrap();
    faults.write.set(Some(true));
    assert_eq!(tier.put(now, b"key", b"value"), Err(PutError::Medium(MediumError::Io)));
    now.monotonic_ms += 100_000;
    idle(&mut tier, &mut now);
    assert_eq!(tier.remove(now, b"key"), Ok(false));
    idle(&mut tier, &mut now);
    let medium = tier.into_medium();
    let mut memory = Memory::new();
    let mut tier = mounted(&mut memory, medium, now);
    assert_eq!(tier.get(now, b"key", &mut [0; 128]), Ok(None));
}

// The entry of a put that failed names a place. Once that is erased and written again, the record there is not its.
#[test]
fn key_written_to_the_place_of_its_own_failed_put_is_found() {
    let (faults, mut memory, mut now) = (Faults::default(), Memory::new(), Now::default());
    let mut tier = mounted(&mut memory, Failing::new(&faults), now);
    idle(&mut tier, &mut now);
    for _ in 0..17 {
        tier.put(now, b"oth", &[9; 64]).unwrap();
    }
    faults.write.set(Some(false));
    assert_eq!(tier.put(now, b"key", &[1; 64]), Err(PutError::Medium(MediumError::Io)));
    now.monotonic_ms += 100_000;
    idle(&mut tier, &mut now);
    for n in 0..100_000_u32 {
        let mut value = [0; 64];
        value[..4].copy_from_slice(&n.to_le_bytes());
        let value = &value[..4 + (n.wrapping_mul(2_654_435_761) >> 20) as usize % 60];
        tier.put(now, b"key", value).unwrap();
        idle(&mut tier, &mut now);
        assert_eq!(tier.get(now, b"key", &mut [0; 128]), Ok(Some(value)), "put {n}");
    }
}

// While the newest record can't be read nothing is written beside it: the old one would stay live, and come back.
#[test]
fn write_whose_key_can_not_be_read_for_a_moment_is_refused() {
    let (faults, mut memory, mut now) = (Faults::default(), Memory::new(), Now::default());
    let mut tier = mounted(&mut memory, Failing::new(&faults), now);
    idle(&mut tier, &mut now);
    tier.put(now, b"key", b"old").unwrap();
    faults.reads.set(true);
    assert_eq!(tier.put(now, b"key", b"new"), Err(PutError::Medium(MediumError::Io)));
    assert_eq!(tier.remove(now, b"key"), Err(PutError::Medium(MediumError::Io)));
    faults.reads.set(false);
    assert_eq!(tier.get(now, b"key", &mut [0; 128]), Ok(Some(b"old".as_slice())));
    tier.put(now, b"key", b"new").unwrap();
    assert_eq!(tier.get(now, b"key", &mut [0; 128]), Ok(Some(b"new".as_slice())));
}

/// Puts as the firmware does: where the index is full of what was removed it compacts, else it polls.
fn put(tier: &mut Tier<'_, '_>, now: &mut Now, key: &[u8], value: &[u8]) {
    for _ in 0..20 {
        match tier.put(*now, key, value) {
            Ok(()) => return,
            Err(PutError::KeysFull) => tier.schedule(CompactionTask::CompactData).unwrap(),
            Err(PutError::Busy | PutError::NeedsCompaction) => {}
            Err(error) => panic!("{error}"),
        }
        idle(tier, now);
    }
    panic!("never taken\n{:?}", tier.figures());
}

// The places of the index that failed puts take come back, with what they may have left on the medium.
#[test]
fn puts_that_failed_leave_nothing_behind_once_their_segments_are_erased() {
    for lands in [false, true] {
        let (faults, mut memory, mut now) = (Faults::default(), Memory::new(), Now::default());
        let mut tier = mounted(&mut memory, Failing::new(&faults), now);
        idle(&mut tier, &mut now);
        let mut failed = 0;
        for n in 0..2_000_u32 {
            let name = [b"fails ".as_slice(), &n.to_le_bytes()[..2 + n as usize % 2]].concat();
            // Some fail twice in a row; some are written after all. All are removed in the end.
            for _ in 0..1 + u32::from(n % 3 == 0) {
                faults.write.set(Some(lands));
                // Else it fell on a segment that was to be opened first.
                failed += u32::from(matches!(tier.put(now, &name, &[1; 40]), Err(PutError::Medium(_))));
                now.monotonic_ms += 100_000;
            }
            faults.write.set(None);
            idle(&mut tier, &mut now);
            if n % 5 == 0 {
                put(&mut tier, &mut now, &name, &[3; 40]);
            }
            tier.remove(now, &name).unwrap();
            assert_eq!(tier.get(now, &name, &mut [0; 128]), Ok(None));
            for m in 0..8_u8 {
                put(&mut tier, &mut now, &[m % 4], &[m; 64]);
            }
            // As many as are remembered have failed since.
            tier.schedule(CompactionTask::CompactData).unwrap();
            idle(&mut tier, &mut now);
        }
        assert!(failed > 900, "{failed} puts failed");
        for _ in 0..4 {
            tier.schedule(CompactionTask::CompactData).unwrap();
            idle(&mut tier, &mut now);
            put(&mut tier, &mut now, b"more", &[5; 64]);
        }
        let figures = tier.figures();
        assert!(figures.entries <= 40, "{figures:?}");
        let medium = tier.into_medium();
        let mut memory = Memory::new();
        let tier = mounted(&mut memory, medium, now);
        assert_eq!(tier.len(), 5);
    }
}
