//! A mount of a sparse file: holes are blank without being read.

use core::ops::Range;
use core::sync::atomic::{AtomicU64, Ordering::SeqCst};

use coldpress_std::medium::{FileMedium, Medium, MediumFailure, ServiceMedium, Started};
use coldpress_std::{ColdTier, ColdTierConfig, ColdTierConfigBuilder};

use crate::common::{PATIENCE, pools, value};

/// A file whose reads are counted, and which may hide its holes.
struct Counted {
    medium: Box<dyn ServiceMedium>,
    reads: &'static AtomicU64,
    tells_holes: bool,
}

impl Medium for Counted {
    type Error = MediumFailure;

    fn read(&mut self, offset: u64, buffer: &mut [u8]) -> Result<(), MediumFailure> {
        self.read_shared(offset, buffer)
    }

    fn write(&mut self, offset: u64, bytes: &[u8]) -> Result<Started, MediumFailure> {
        self.medium.write(offset, bytes)
    }

    fn erase(&mut self, offset: u64, bytes: u64) -> Result<Started, MediumFailure> {
        self.medium.erase(offset, bytes)
    }

    fn sync(&mut self) -> Result<Started, MediumFailure> {
        self.medium.sync()
    }
}

impl ServiceMedium for Counted {
    fn read_shared(&self, offset: u64, buffer: &mut [u8]) -> Result<(), MediumFailure> {
        self.reads.fetch_add(1, SeqCst);
        self.medium.read_shared(offset, buffer)
    }

    fn another_view(&self) -> Result<Box<dyn ServiceMedium>, MediumFailure> {
        Ok(Box::new(Self { medium: self.medium.another_view()?, ..*self }))
    }

    fn len(&self) -> Result<u64, MediumFailure> {
        self.medium.len()
    }

    fn refresh(&mut self) -> Result<(), MediumFailure> {
        self.medium.refresh()
    }

    fn data_ranges(&self, max: usize) -> Option<Vec<Range<u64>>> {
        self.tells_holes.then(|| self.medium.data_ranges(max)).flatten()
    }
}

fn config(capacity_bytes: u64) -> ColdTierConfigBuilder {
    ColdTierConfig::builder().capacity_bytes(capacity_bytes).op_timeout(PATIENCE).close_timeout(PATIENCE)
}

/// Opens a new file twice, with overwrites and removes in between; returns the reads that the second mount made.
fn reads_of_a_mount(capacity_bytes: u64, tells_holes: bool) -> u64 {
    let (file, (_manager, pools)) = (tempfile::tempfile().unwrap(), pools());
    let config = config(capacity_bytes).build().unwrap();
    file.set_len(config.capacity_bytes()).unwrap();
    let reads: &'static AtomicU64 = Box::leak(Box::new(AtomicU64::new(0)));
    let open = || {
        let medium = Box::new(FileMedium::new(file.try_clone().unwrap()));
        let media: Vec<Box<dyn ServiceMedium>> = vec![Box::new(Counted { medium, reads, tells_holes })];
        ColdTier::open_with(media, config.clone(), pools.clone()).unwrap()
    };
    let tier = open();
    for round in 0..2 {
        for key in 0..1_000u32 {
            tier.put(&key.to_le_bytes(), &value(key, round, 100)).unwrap();
        }
    }
    (900..1_000u32).for_each(|key| assert!(tier.remove(&key.to_le_bytes()).unwrap()));
    tier.close().unwrap();
    let before = reads.load(SeqCst);
    let tier = open();
    let mounted = reads.load(SeqCst) - before;
    assert_eq!(tier.len().unwrap(), 900);
    for key in 0..900u32 {
        assert_eq!(tier.get(&key.to_le_bytes()).unwrap(), Some(value(key, 1, 100)));
    }
    mounted
}

#[test]
fn sparse_tier_of_512_gib_mounts_without_reading_its_holes() {
    let segments = u64::from(config(512 << 30).build().unwrap().segment_count());
    let reads = reads_of_a_mount(512 << 30, true);
    assert!(segments > 100_000 && reads < 1_000, "{reads} reads for {segments} segments");
}

#[test]
fn medium_that_tells_no_holes_mounts_to_the_same_tier() {
    let (with_holes, without) = (reads_of_a_mount(64 << 20, true), reads_of_a_mount(64 << 20, false));
    assert!(with_holes < without, "{with_holes} reads, {without} without holes");
}
