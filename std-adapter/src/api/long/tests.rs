//! Long values that wait for capacity.

use core::sync::atomic::{AtomicBool, Ordering::SeqCst};
use core::time::Duration;

use super::*;
use crate::admission::Turn;
use crate::api::ColdTier;
use crate::config::ColdTierConfig;
use crate::pool::{AllocationManager, PoolConfig};
use crate::storage::{FileMedium, MediumFailure, ServiceMedium};
use coldpress_core::drive::{Medium, Started};

/// A file whose writes wait for as long as the flag is set.
struct Held(FileMedium, &'static AtomicBool);

impl Medium for Held {
    type Error = MediumFailure;

    fn read(&mut self, offset: u64, buffer: &mut [u8]) -> Result<(), MediumFailure> {
        self.read_shared(offset, buffer)
    }

    fn write(&mut self, offset: u64, bytes: &[u8]) -> Result<Started, MediumFailure> {
        while self.1.load(SeqCst) {
            std::thread::sleep(Duration::from_millis(1));
        }
        self.0.write(offset, bytes)
    }

    fn erase(&mut self, offset: u64, bytes: u64) -> Result<Started, MediumFailure> {
        self.0.erase(offset, bytes)
    }

    fn sync(&mut self) -> Result<Started, MediumFailure> {
        self.0.sync()
    }
}

impl ServiceMedium for Held {
    fn read_shared(&self, offset: u64, buffer: &mut [u8]) -> Result<(), MediumFailure> {
        self.0.read_shared(offset, buffer)
    }

    fn another_view(&self) -> Result<Box<dyn ServiceMedium>, MediumFailure> {
        let view = self.0.try_clone().map_err(|_| MediumError::Io)?;
        Ok(Box::new(Self(view, self.1)))
    }

    fn len(&self) -> Result<u64, MediumFailure> {
        self.0.len()
    }
}

#[test]
fn long_put_that_waits_for_capacity_is_passed_by_no_newcomer() {
    let held: &'static AtomicBool = Box::leak(Box::default());
    let (_manager, pools) = AllocationManager::new(&PoolConfig::builder().build().unwrap()).unwrap();
    let config = ColdTierConfig::builder().capacity_bytes(4 << 20).codec(CodecId::Raw).keep_hot_values(false);
    let config = config.full(FullPolicy::Evict).op_timeout(Duration::from_secs(120)).build().unwrap();
    let file = tempfile::tempfile().unwrap();
    file.set_len(config.capacity_bytes()).unwrap();
    let medium: Box<dyn ServiceMedium> = Box::new(Held(FileMedium::new(file), held));
    let tier = ColdTier::open_with(vec![medium], config, pools).unwrap();
    let handle = tier.handle();
    let value = [7; 3_000];
    for key in 0..2_000u32 {
        tier.put(&key.to_le_bytes(), &value).unwrap();
    }
    held.store(true, SeqCst);
    let long = vec![3; 400_000];
    std::thread::scope(|scope| {
        let putting = scope.spawn(|| handle.put(b"long", &long));
        let turn = || handle.enter(|open| open.parts[0].shared.admission.turn(true, 1)).unwrap();
        while turn() == (Turn::Try { has_permit: false }) {
            std::thread::sleep(Duration::from_millis(1));
        }
        assert_eq!(turn(), Turn::Behind(Line::Capacity { needs: 0 }), "a newcomer stands behind it");
        assert!(!putting.is_finished());
        held.store(false, SeqCst);
        assert_eq!(putting.join().unwrap(), Ok(()));
    });
    assert_eq!(tier.get(b"long").unwrap().as_deref(), Some(&long[..]));
    assert_eq!(tier.put(b"short", &value), Ok(()));
}

// Capacity that was made for a long value is enough for many short ones: called beside it, they would take it.
#[test]
fn long_put_among_short_ones_is_not_passed_for_ever() {
    let (_manager, pools) = AllocationManager::new(&PoolConfig::builder().build().unwrap()).unwrap();
    let config = ColdTierConfig::builder().capacity_bytes(8 << 20).codec(CodecId::Raw).keep_hot_values(false);
    let config = config.full(FullPolicy::Evict).op_timeout(Duration::from_secs(30)).build().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let tier = ColdTier::open(dir.path(), "t", config, pools).unwrap();
    let handle = tier.handle();
    let value = [7; 3_000];
    for key in 0..4_000u32 {
        tier.put(&key.to_le_bytes(), &value).unwrap();
    }
    let (is_over, puts) = (AtomicBool::new(false), core::sync::atomic::AtomicU64::new(0));
    let outcomes: Vec<_> = std::thread::scope(|scope| {
        for thread in 0..8u32 {
            let (is_over, puts) = (&is_over, &puts);
            scope.spawn(move || {
                let keys = (0..4_000u32).cycle().take_while(|_| !is_over.load(SeqCst));
                for key in keys {
                    let _ = handle.put(&(1 << 30 | thread << 20 | key).to_le_bytes(), &value);
                    puts.fetch_add(1, SeqCst);
                }
            });
        }
        let long = vec![3; 1_500_000];
        // Alone it takes 50 ms.
        let put = || (handle.put(b"long", &long), puts.swap(0, SeqCst));
        let outcomes = (0..3).map(|_| put()).collect();
        is_over.store(true, SeqCst);
        outcomes
    });
    assert!(outcomes.iter().all(|(outcome, _)| outcome.is_ok()), "{outcomes:?}");
}
