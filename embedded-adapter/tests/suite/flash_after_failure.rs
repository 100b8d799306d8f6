//! After a write that failed: the old value reads until the next mount, which finds the old or the new one, for good.

use core::cell::Cell;

use crate::ram::Ram;
use coldpress_core::compaction::CompactionTask;
use coldpress_core::drive::{MediumError, Now};
use coldpress_embedded::flash::{
    DeviceMedium, FlashConfig, FlashMemory, FlashTier, Medium, NorMedium, PutError, Started, buckets_for,
};

const KEYS: u8 = 5;

/// A medium of which one write fails.
struct Failing<'f> {
    flash: NorMedium<Ram<4, 512>>,
    /// Writes before the one that fails.
    before: &'f Cell<Option<u32>>,
    /// How many eighths of it are written.
    eighths: usize,
}

impl Medium for Failing<'_> {
    type Error = MediumError;
    fn read(&mut self, at: u64, bytes: &mut [u8]) -> Result<(), MediumError> {
        self.flash.read(at, bytes)
    }
    fn write(&mut self, at: u64, bytes: &[u8]) -> Result<Started, MediumError> {
        match self.before.get() {
            None => self.flash.write(at, bytes),
            Some(0) => {
                self.before.set(None);
                let eighths = bytes.len() * self.eighths / 8 / 4 * 4;
                if eighths > 0 {
                    let _ = self.flash.write(at, &bytes[..eighths])?;
                }
                Err(MediumError::Io)
            }
            Some(before) => {
                self.before.set(Some(before - 1));
                self.flash.write(at, bytes)
            }
        }
    }
    fn erase(&mut self, at: u64, bytes: u64) -> Result<Started, MediumError> {
        self.flash.erase(at, bytes)
    }
    fn sync(&mut self) -> Result<Started, MediumError> {
        Ok(Started::Done)
    }
}

impl DeviceMedium for Failing<'_> {
    fn write_unit_bytes(&self) -> u32 {
        4
    }
    fn erase_unit_bytes(&self) -> u32 {
        512
    }
    fn medium_bytes(&self) -> u64 {
        self.flash.medium_bytes()
    }
}

type Memory = FlashMemory<14, { buckets_for(60) }, 96>;
type Tier<'m, 'f> = FlashTier<'m, Failing<'f>>;
/// The values that a key may have: the first is its value until a mount.
type Held = Vec<Option<Vec<u8>>>;

fn idle(tier: &mut Tier<'_, '_>, now: &mut Now) {
    for _ in 0..5_000 {
        now.monotonic_ms += 100;
        if tier.poll(*now, 64).is_idle {
            return;
        }
    }
    panic!("never idle: {:?}", tier.stats());
}

fn seen(tier: &mut Tier<'_, '_>, now: Now, key: u8) -> Option<Vec<u8>> {
    let mut out = [0; 96];
    tier.get(now, &[key, b'k'], &mut out).unwrap().map(<[u8]>::to_vec)
}

/// Puts a value, or removes the key; after a failure the key keeps its value, and a mount may find either.
fn write(tier: &mut Tier<'_, '_>, now: &mut Now, key: u8, value: Option<&[u8]>, held: &mut Held) -> bool {
    for _ in 0..2_000 {
        let name = [key, b'k'];
        let result = match value {
            Some(value) => tier.put(*now, &name, value),
            None => tier.remove(*now, &name).map(drop),
        };
        match result {
            Ok(()) => *held = vec![value.map(<[u8]>::to_vec)],
            Err(PutError::Medium(MediumError::Io)) => held.push(value.map(<[u8]>::to_vec)),
            Err(PutError::NeedsCompaction | PutError::Busy(_)) => {
                idle(tier, now);
                continue;
            }
            Err(error) => panic!("{error}"),
        }
        return result.is_err();
    }
    panic!("put off for ever: {:?}", tier.stats());
}

fn check(tier: &mut Tier<'_, '_>, now: Now, held: &[Held], what: &str) {
    for (key, held) in (0..).zip(held) {
        assert_eq!(seen(tier, now, key), held[0], "key {key}, {what}");
    }
}

#[test]
fn failed_write_leaves_the_old_value_until_a_mount_finds_either() {
    let (mut failed, mut old, mut new) = (0, 0, 0);
    for (before, eighths, removes) in
        (0..24).flat_map(|n| [0, 1, 4, 7, 8].map(|eighths| (n, eighths, n % 3 == 2)))
    {
        let (strikes, mut memory, mut now) = (Cell::new(None), Memory::new(), Now::default());
        let medium = Failing { flash: NorMedium::new(Ram::new(14)), before: &strikes, eighths };
        let mut tier = FlashTier::new(FlashConfig::new(512, 1), &mut memory, medium).unwrap();
        tier.mount(now).unwrap();
        let mut held: Vec<Held> = vec![vec![None]; usize::from(KEYS)];
        for round in 0..3 {
            // The last key is new to the tier when its first put fails.
            for key in 0..KEYS - 1 {
                write(&mut tier, &mut now, key, Some(&[round + 1; 40]), &mut held[usize::from(key)]);
            }
        }
        strikes.set(Some(before));
        for round in 10..16 {
            for key in (0..KEYS).rev() {
                let value = [round; 44];
                let value = Some(&value[..]).filter(|_| !removes || !(round + key).is_multiple_of(2));
                let what = format!("write {before} failed, {eighths} eighths of it written");
                let has_failed = write(&mut tier, &mut now, key, value, &mut held[usize::from(key)]);
                check(&mut tier, now, &held, &what);
                if !has_failed {
                    continue;
                }
                failed += 1;
                // A cut comes at once, or after all was compacted.
                if before % 4 < 2 {
                    break;
                }
                for task in [CompactionTask::CompactData, CompactionTask::RebuildIndex] {
                    tier.schedule(task).unwrap();
                    idle(&mut tier, &mut now);
                    check(&mut tier, now, &held, &what);
                }
            }
            if held.iter().any(|held| held.len() > 1) {
                break;
            }
        }
        let mut flash = tier.into_medium();
        let mut found: Option<Vec<Option<Vec<u8>>>> = None;
        for mount in 0..3 {
            let mut memory = Memory::new();
            let mut tier = FlashTier::new(FlashConfig::new(512, 1), &mut memory, flash).unwrap();
            tier.mount(now).unwrap();
            idle(&mut tier, &mut now);
            let seen: Vec<_> = (0..KEYS).map(|key| seen(&mut tier, now, key)).collect();
            for (seen, held) in seen.iter().zip(&held) {
                assert!(held.contains(seen), "mount {mount} finds {seen:?}, not of {held:?}");
                old += u32::from(held.len() > 1 && *seen == held[0]);
                new += u32::from(held.len() > 1 && *seen != held[0]);
            }
            assert_eq!(*found.get_or_insert(seen.clone()), seen, "mount {mount} finds others than the first");
            tier.schedule(CompactionTask::CompactData).unwrap();
            idle(&mut tier, &mut now);
            flash = tier.into_medium();
        }
    }
    assert!(failed > 60 && old > 40 && new > 10, "{failed} failed, {old} old, {new} new");
}
