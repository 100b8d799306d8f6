//! A disk that is full: nothing is lost, removes and overwrites go on, and the space that they free can be used, also after a
//! reopen.

use core::sync::atomic::{AtomicU64, Ordering::SeqCst};
use core::time::Duration;
use std::sync::Mutex;

use coldpress_std::CompactionTask;
use coldpress_std::compaction::Outcome;
use coldpress_std::medium::{Medium, MediumError, MediumFailure, ServiceMedium, Started};
use coldpress_std::{CodecId, ColdTier, ColdTierConfig, Durability, FullPolicy, PutError, TierError};

use crate::common::{PATIENCE, SYNCED, eventually, open_on, pools, recount, small, value};

const BLOCK: u64 = 4096;

/// A sparse medium on a disk of so many blocks, which other programs use as well.
#[derive(Debug)]
struct Disk {
    bytes: Mutex<(Vec<u8>, Vec<bool>)>,
    /// Blocks that are left.
    left: AtomicU64,
    /// Blocks that other programs take as soon as they are free.
    stolen: AtomicU64,
}

impl Disk {
    fn new(bytes: u64, blocks: u64) -> &'static Self {
        let len = usize::try_from(bytes).unwrap();
        let bytes = Mutex::new((vec![0; len], vec![false; len / 4096]));
        Box::leak(Box::new(Self { bytes, left: AtomicU64::new(blocks), stolen: AtomicU64::new(0) }))
    }

    /// Lets other programs take all blocks that are left.
    fn fill_up(&self) {
        self.stolen.fetch_add(self.left.swap(0, SeqCst), SeqCst);
    }

    fn used_blocks(&self) -> usize {
        self.bytes.lock().unwrap().1.iter().filter(|is_used| **is_used).count()
    }

    /// Takes blocks for a range; how many of its bytes have some.
    fn take(&self, used: &mut [bool], offset: u64, bytes: u64) -> u64 {
        let end = offset + bytes;
        for block in offset / BLOCK..end.div_ceil(BLOCK) {
            let used = &mut used[usize::try_from(block).unwrap()];
            if !*used && self.left.fetch_update(SeqCst, SeqCst, |n| n.checked_sub(1)).is_err() {
                return (block * BLOCK).saturating_sub(offset);
            }
            *used = true;
        }
        bytes
    }
}

impl Medium for &'static Disk {
    type Error = MediumFailure;

    fn read(&mut self, offset: u64, buffer: &mut [u8]) -> Result<(), MediumFailure> {
        self.read_shared(offset, buffer)
    }

    fn write(&mut self, offset: u64, from: &[u8]) -> Result<Started, MediumFailure> {
        let (bytes, used) = &mut *self.bytes.lock().unwrap();
        let taken = usize::try_from(self.take(used, offset, from.len() as u64)).unwrap();
        let at = usize::try_from(offset).unwrap();
        bytes[at..at + taken].copy_from_slice(&from[..taken]);
        if taken < from.len() { Err(MediumError::NoSpace.into()) } else { Ok(Started::Done) }
    }

    fn erase(&mut self, offset: u64, bytes: u64) -> Result<Started, MediumFailure> {
        self.give_back(offset, bytes);
        Ok(Started::Done)
    }

    fn sync(&mut self) -> Result<Started, MediumFailure> {
        Ok(Started::Done)
    }

    fn allocate(&mut self, offset: u64, bytes: u64) -> Result<Started, MediumFailure> {
        let (_, used) = &mut *self.bytes.lock().unwrap();
        let before = used.clone();
        if self.take(used, offset, bytes) == bytes {
            return Ok(Started::Done);
        }
        let taken = used.iter().zip(&before).filter(|(now, before)| now != before).count();
        *used = before;
        self.left.fetch_add(taken as u64, SeqCst);
        Err(MediumError::NoSpace.into())
    }
}

impl ServiceMedium for &'static Disk {
    fn read_shared(&self, offset: u64, buffer: &mut [u8]) -> Result<(), MediumFailure> {
        let at = usize::try_from(offset).unwrap();
        buffer.copy_from_slice(&self.bytes.lock().unwrap().0[at..at + buffer.len()]);
        Ok(())
    }

    fn another_view(&self) -> Result<Box<dyn ServiceMedium>, MediumFailure> {
        Ok(Box::new(*self))
    }

    fn len(&self) -> Result<u64, MediumFailure> {
        Ok(self.bytes.lock().unwrap().0.len() as u64)
    }

    fn erase_and_keep(&mut self, offset: u64, bytes: u64) -> Result<bool, MediumFailure> {
        let (all, used) = &mut *self.bytes.lock().unwrap();
        if self.take(used, offset, bytes) < bytes {
            return Err(MediumError::NoSpace.into());
        }
        all[usize::try_from(offset).unwrap()..][..usize::try_from(bytes).unwrap()].fill(0);
        Ok(true)
    }

    fn give_back(&mut self, offset: u64, bytes: u64) {
        let (all, used) = &mut *self.bytes.lock().unwrap();
        all[usize::try_from(offset).unwrap()..][..usize::try_from(bytes).unwrap()].fill(0);
        for block in offset.div_ceil(BLOCK)..(offset + bytes) / BLOCK {
            if core::mem::take(&mut used[usize::try_from(block).unwrap()]) {
                self.left.fetch_add(1, SeqCst);
            }
        }
    }
}

fn no_space() -> PutError {
    PutError::Tier(TierError::Medium(MediumError::NoSpace.into()))
}

/// A tier of 16 MiB.
fn config() -> ColdTierConfig {
    small().capacity_bytes(16 << 20).segment_bytes(128 << 10).durability(Durability::Flushed).build().unwrap()
}

/// Puts until the disk is full; how many keys that took.
fn fill(tier: &ColdTier, from: u32) -> u32 {
    for key in from.. {
        match tier.put(&key.to_le_bytes(), &value(key, 0, 2_000)) {
            Ok(()) => {}
            Err(error) => {
                assert_eq!(error, no_space(), "the capacity is not reached");
                return key;
            }
        }
    }
    unreachable!("the disk is full before the keys are")
}

fn check(tier: &ColdTier, keys: core::ops::Range<u32>, round: u32) {
    for key in keys {
        assert_eq!(tier.get(&key.to_le_bytes()).unwrap(), Some(value(key, round, 2_000)), "{key}");
    }
}

#[test]
fn full_disk_takes_removes_and_uses_the_freed_space_again() {
    let (_manager, pools) = pools();
    let config = config();
    let disk = Disk::new(config.capacity_bytes(), (8 << 20) / BLOCK);
    let tier = open_on(&disk, &config, &pools);
    let keys = fill(&tier, 0);
    assert!(keys > 1_500, "6 MiB beside the reserve hold more than {keys} keys of 2,000 bytes");
    for round in 0..5 {
        disk.fill_up();
        check(&tier, keys / 2..keys, 0);
        let before = tier.stats();
        for key in 0..keys / 2 {
            assert_eq!(tier.remove(&key.to_le_bytes()), Ok(true), "round {round}: {key}");
        }
        let again = fill(&tier, 0);
        assert!(again >= keys / 2 * 9 / 10, "round {round}: {again} of {keys} keys fit again");
        check(&tier, 0..again, 0);
        for key in again..keys / 2 {
            tier.remove(&key.to_le_bytes()).unwrap();
            eventually("a put goes on", || {
                tier.put(&key.to_le_bytes(), &value(key, 0, 2_000)) != Err(no_space())
            });
        }
        let after = tier.stats();
        assert_eq!((after.failures, before.failures), (0, 0), "no write met the end of the disk");
    }
    recount(&tier);
    tier.close().unwrap();
}

#[test]
fn overwrites_go_on_while_the_disk_stays_full() {
    let (_manager, pools) = pools();
    let config = config();
    let disk = Disk::new(config.capacity_bytes(), (8 << 20) / BLOCK);
    let tier = open_on(&disk, &config, &pools);
    // Fewer keys than fit, so that an overwrite finds space beside the value that it replaces.
    let keys = fill(&tier, 0) * 9 / 10;
    disk.fill_up();
    for key in keys..keys * 10 / 9 + 2 {
        tier.remove(&key.to_le_bytes()).unwrap();
    }
    for round in 1..12 {
        for key in 0..keys {
            let put = tier.put(&key.to_le_bytes(), &value(key, round, 2_000));
            assert_eq!(put, Ok(()), "round {round}, key {key}: {:?}", tier.stats());
        }
        disk.fill_up();
    }
    check(&tier, 0..keys, 11);
    assert_eq!(tier.stats().failures, 0);
    recount(&tier);
}

#[test]
fn full_disk_after_a_reopen_takes_removes_tasks_and_puts() {
    let (_manager, pools) = pools();
    let config = config();
    let disk = Disk::new(config.capacity_bytes(), (8 << 20) / BLOCK);
    let tier = open_on(&disk, &config, &pools);
    let mut keys = fill(&tier, 0);
    disk.fill_up();
    tier.close().unwrap();
    for round in 0..4 {
        let tier = open_on(&disk, &config, &pools);
        disk.fill_up();
        check(&tier, 0..keys, 0);
        for key in 0..keys {
            assert_eq!(tier.remove_with(&key.to_le_bytes(), Durability::Flushed), Ok(true), "round {round}");
        }
        let report = tier.compaction().run_compaction(CompactionTask::CompactData, PATIENCE).unwrap();
        assert_ne!(report.outcome, Outcome::Failed);
        // Erase markers have taken some blocks.
        keys = keys * 9 / 10;
        for key in 0..keys {
            eventually("puts go on", || tier.put(&key.to_le_bytes(), &value(key, 0, 2_000)).is_ok());
        }
        tier.close().unwrap();
    }
}

#[test]
fn cache_on_a_full_disk_evicts_and_goes_on() {
    let (_manager, pools) = pools();
    let config = small().capacity_bytes(16 << 20).segment_bytes(128 << 10).full(FullPolicy::Evict);
    let config = config.build().unwrap();
    let disk = Disk::new(config.capacity_bytes(), (6 << 20) / BLOCK);
    let tier = open_on(&disk, &config, &pools);
    for key in 0..8_000u32 {
        assert_eq!(tier.put(&key.to_le_bytes(), &value(key, 0, 2_000)), Ok(()), "{key}");
    }
    assert!(tier.stats().evicted_records > 0 && tier.stats().failures == 0);
}

#[test]
fn first_puts_on_a_tight_disk_wait_for_the_blocks_there_are() {
    let (_manager, pools) = pools();
    for full in [FullPolicy::Evict, FullPolicy::Reject] {
        let config = small().capacity_bytes(16 << 20).segment_bytes(128 << 10).full(full).build().unwrap();
        for round in 0..25u32 {
            let disk = Disk::new(config.capacity_bytes(), (6 << 20) / BLOCK);
            let tier = open_on(&disk, &config, &pools);
            std::thread::scope(|scope| {
                for key in 0..8u32 {
                    let tier = tier.handle();
                    let put = move || assert_eq!(tier.put(&key.to_le_bytes(), b"v"), Ok(()), "{round}");
                    scope.spawn(put);
                }
            });
        }
    }
}

#[test]
fn space_on_the_disk_is_used_as_soon_as_it_is_there() {
    let (_manager, pools) = pools();
    let config = config();
    let disk = Disk::new(config.capacity_bytes(), (6 << 20) / BLOCK);
    let tier = open_on(&disk, &config, &pools);
    let keys = fill(&tier, 0);
    disk.left.store((4 << 20) / BLOCK, SeqCst);
    eventually("puts go on", || tier.put_with(&keys.to_le_bytes(), &value(keys, 0, 2_000), SYNCED).is_ok());
    assert!(fill(&tier, keys) > keys + 1_000);
    assert_eq!(tier.stats().failures, 0);
}

#[test]
fn blocks_allocated_ahead_are_given_back_after_a_reopen() {
    let (_manager, pools) = pools();
    let config = config();
    let disk = Disk::new(config.capacity_bytes(), u64::MAX);
    let mut most = 0;
    for round in 0..6u32 {
        let tier = open_on(&disk, &config, &pools);
        for key in 0..1_000u32 {
            tier.put(&key.to_le_bytes(), &value(key, round, 2_000)).unwrap();
        }
        tier.close().unwrap();
        let tier = open_on(&disk, &config, &pools);
        check(&tier, 0..1_000, round);
        eventually("nothing is held that nobody knows of", || {
            disk.used_blocks() as u64 * BLOCK <= tier.stats().occupied_bytes
        });
        most = most.max(disk.used_blocks());
        tier.close().unwrap();
    }
    assert!(most as u64 * BLOCK < 7 << 20, "2 MiB of values, the reserve and some ahead: {most} blocks");
}

#[test]
fn emptied_tier_gives_the_disk_back() {
    let (_manager, pools) = pools();
    let config = config();
    let disk = Disk::new(config.capacity_bytes(), u64::MAX);
    let tier = open_on(&disk, &config, &pools);
    assert_eq!(disk.used_blocks(), 0, "nothing is taken for nothing");
    for key in 0..3_000u32 {
        tier.put(&key.to_le_bytes(), &value(key, 0, 2_000)).unwrap();
    }
    let before = disk.used_blocks();
    for key in 0..3_000u32 {
        tier.remove(&key.to_le_bytes()).unwrap();
    }
    eventually("the disk gets it back", || disk.used_blocks() * 6 < before);
    let stats = tier.stats();
    assert!(stats.occupied_bytes >= disk.used_blocks() as u64 * BLOCK, "{stats:?}");
}

#[test]
fn evicting_threads_of_long_values_on_full_disk_are_all_served() {
    const LEN: usize = 20_000;
    let (_manager, pools) = pools();
    let config = small().codec(CodecId::Raw).durability(Durability::Buffered).full(FullPolicy::Evict);
    let config = config.op_timeout(Duration::from_secs(5)).build().unwrap();
    // 18 segments of 64 KiB, and the headers.
    let disk = Disk::new(config.capacity_bytes(), 301);
    let tier = open_on(&disk, &config, &pools);
    let handle = tier.handle();
    let put = |thread: u32| {
        let keys = (0..400).map(|n| thread << 16 | n);
        keys.filter(|key| handle.put(&key.to_le_bytes(), &value(*key, 0, LEN)).is_err()).count()
    };
    let refused: usize = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4).map(|thread| scope.spawn(move || put(thread))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    assert_eq!(refused, 0, "{:?}", tier.stats());
    tier.close().unwrap();
    let tier = open_on(&disk, &config, &pools);
    let keys = (0..4).flat_map(|thread| (0..400).map(move |n| thread << 16 | n));
    let found = keys.filter_map(|key| Some((key, tier.get(&u32::to_le_bytes(key)).unwrap()?)));
    let found = found.inspect(|(key, found)| assert!(*found == value(*key, 0, LEN), "{key}")).count();
    assert!(found > 10, "{found}");
}
