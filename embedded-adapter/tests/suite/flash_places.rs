//! An index without a place for a key that a second look finds: the tier goes on, and the segment waits for places.

use core::cell::Cell;

use crate::ram::Ram;
use coldpress_core::compaction::{CompactionTask, Report};
use coldpress_core::drive::{MediumError, Now};
use coldpress_core::machine::Status;
use coldpress_embedded::flash::{
    FlashConfig, FlashMemory, FlashTier, Medium, NorMedium, PutError, Started, buckets_for,
};

const SEGMENTS: usize = 24;
const SECTOR: u32 = 512;
const STORED: u32 = 36;
const NOW: Now = Now { monotonic_ms: 1, wall_s: 50 };
const SECRET: [u8; 16] = [241, 178, 195, 212, 229, 246, 167, 184, 201, 218, 235, 252, 173, 190, 207, 219];
type Memory = FlashMemory<SEGMENTS, { buckets_for(40) }, 64>;
type Larger = FlashMemory<SEGMENTS, { buckets_for(120) }, 64>;
type Tier<'m, 'f> = FlashTier<'m, Away<'f>>;

/// A medium of which a part can't be read; its `Debug` shows no bytes.
struct Away<'f> {
    flash: NorMedium<Ram<4, 512>>,
    /// From, to, in bytes.
    unread: &'f Cell<(u32, u32)>,
}

impl core::fmt::Debug for Away<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Away")
    }
}

impl Medium for Away<'_> {
    type Error = MediumError;
    fn read(&mut self, at: u64, bytes: &mut [u8]) -> Result<(), MediumError> {
        let (from, to) = self.unread.get();
        if at < u64::from(to) && at + bytes.len() as u64 > u64::from(from) {
            return Err(MediumError::Unreadable);
        }
        self.flash.read(at, bytes)
    }
    fn write(&mut self, at: u64, bytes: &[u8]) -> Result<Started, MediumError> {
        self.flash.write(at, bytes)
    }
    fn erase(&mut self, at: u64, bytes: u64) -> Result<Started, MediumError> {
        self.flash.erase(at, bytes)
    }
    fn sync(&mut self) -> Result<Started, MediumError> {
        Ok(Started::Done)
    }
}

shape_of_flash!(Away<'_>);

fn built<'m, 'f>(memory: &'m mut Memory, flash: Ram<4, 512>, unread: &'f Cell<(u32, u32)>) -> Tier<'m, 'f> {
    let medium = Away { flash: NorMedium::new(flash), unread };
    FlashTier::new(FlashConfig::new(SECTOR, 1).secret(SECRET), memory, medium).unwrap()
}

fn tried<T>(
    tier: &mut Tier<'_, '_>,
    mut call: impl FnMut(&mut Tier<'_, '_>) -> Result<T, PutError>,
) -> Result<T, PutError> {
    for _ in 0..2_000 {
        match call(tier) {
            Err(PutError::NeedsCompaction | PutError::Busy(_)) => drop(tier.poll(NOW, 8)),
            result => return result,
        }
    }
    panic!("put off for ever: {:?}", tier.stats());
}

fn put(tier: &mut Tier<'_, '_>, key: u32, round: u32) -> Result<(), PutError> {
    tried(tier, |tier| tier.put(NOW, &key.to_le_bytes(), &value(key, round)))
}

fn value(key: u32, round: u32) -> [u8; 8] {
    (u64::from(key) << 32 | u64::from(round)).to_le_bytes()
}

fn run(tier: &mut Tier<'_, '_>, task: CompactionTask) -> Report {
    while tier.take_report().is_some() {}
    tier.schedule(task).unwrap();
    for _ in 0..20_000 {
        let _ = tier.poll(NOW, 8);
        if let Some(report) = tier.take_report() {
            return report;
        }
    }
    panic!("no report: {:?}", tier.stats());
}

/// A device with [`STORED`] keys.
fn stored() -> Ram<4, 512> {
    let (mut memory, unread) = (Memory::new(), Cell::new((0, 0)));
    let mut tier = built(&mut memory, Ram::new(SEGMENTS), &unread);
    tier.mount(NOW).unwrap();
    for key in 0..STORED {
        put(&mut tier, key, 0).unwrap();
    }
    tier.into_medium().flash.into_flash()
}

fn seen(tier: &mut Tier<'_, '_>, key: u32) -> Option<Vec<u8>> {
    let mut out = [0; 64];
    tier.get(NOW, &key.to_le_bytes(), &mut out).unwrap().map(<[u8]>::to_vec)
}

#[test]
fn rescue_without_a_place_in_the_index_leaves_the_tier_running() {
    let flash = stored();
    let mut lacked = 0;
    for sector in 0..SEGMENTS as u32 {
        let unread = Cell::new((sector * SECTOR, (sector + 1) * SECTOR));
        let mut memory = Memory::new();
        let mut tier = built(&mut memory, flash.clone(), &unread);
        tier.mount(NOW).unwrap();
        let hidden: Vec<u32> = (0..STORED).filter(|key| seen(&mut tier, *key).is_none()).collect();
        // Other keys are put meanwhile, as many as there are places for.
        let mut others = 100..200;
        let taken: Vec<u32> = others.by_ref().take_while(|key| put(&mut tier, *key, 1).is_ok()).collect();
        assert_eq!(put(&mut tier, 300, 1), Err(PutError::KeysFull));
        unread.set((0, 0));
        for _ in 0..3 {
            let _ = run(&mut tier, CompactionTask::RebuildIndex);
            assert_eq!((tier.status(), tier.mounted().err()), (Status::Running, None), "sector {sector}");
        }
        let missing: Vec<u32> = (0..STORED).filter(|key| seen(&mut tier, *key).is_none()).collect();
        assert!(missing.iter().all(|key| hidden.contains(key)), "sector {sector}: {missing:?}");
        lacked += u32::from(!missing.is_empty());
        // The tier is used, and cleans, all the while.
        for round in 2..40 {
            for key in taken.iter().take(12) {
                put(&mut tier, *key, round).unwrap();
            }
        }
        for (at, key) in taken.iter().enumerate() {
            let round = if at < 12 { 39 } else { 1 };
            assert_eq!(
                seen(&mut tier, *key),
                Some(value(*key, round).to_vec()),
                "sector {sector}, key {key}"
            );
        }
        for key in (0..STORED).filter(|key| !hidden.contains(key)) {
            assert_eq!(seen(&mut tier, key), Some(value(key, 0).to_vec()), "sector {sector}, key {key}");
        }
        for key in &taken {
            assert_eq!(tried(&mut tier, |tier| tier.remove(NOW, &key.to_le_bytes())), Ok(true));
        }
        for task in [CompactionTask::CompactData, CompactionTask::RebuildIndex, CompactionTask::CompactData] {
            let _ = run(&mut tier, task);
        }
        // The unread segment is as it was: an index with more places finds all its keys.
        let flash = tier.into_medium().flash.into_flash();
        let mut memory = Larger::new();
        let medium = Away { flash: NorMedium::new(flash), unread: &unread };
        let mut tier = FlashTier::new(FlashConfig::new(SECTOR, 1), &mut memory, medium).unwrap();
        tier.mount(NOW).unwrap();
        for key in 0..STORED {
            assert_eq!(
                seen(&mut tier, key),
                Some(value(key, 0).to_vec()),
                "sector {sector}, key {key}, mounted"
            );
        }
        for key in &taken {
            assert_eq!(seen(&mut tier, *key), None, "sector {sector}: key {key} came back");
        }
    }
    assert!(lacked > 0, "there was always a place");
}

#[test]
fn debug_of_a_flash_tier_never_shows_the_secret() {
    let (mut memory, unread) = (Memory::new(), Cell::new((0, 0)));
    let mut tier = built(&mut memory, stored(), &unread);
    let mut shown = vec![format!("{:?}", FlashConfig::new(SECTOR, 1).secret(SECRET)), format!("{tier:?}")];
    tier.mount(NOW).unwrap();
    for key in 0..STORED {
        shown.push(format!("{tier:?}"));
        put(&mut tier, key, 1).unwrap();
    }
    drop(tier);
    shown.push(format!("{memory:?}"));
    for shown in shown {
        for part in SECRET.windows(3) {
            assert!(!shown.contains(&format!("{}, {}, {}", part[0], part[1], part[2])), "{shown}");
        }
    }
}
