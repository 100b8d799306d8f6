//! Long values that wait for capacity.

use core::sync::atomic::{AtomicBool, Ordering::SeqCst};
use core::time::Duration;

use super::*;
use crate::admission::Turn;
use crate::api::ColdTier;
use crate::config::ColdTierConfig;
use crate::pool::{AllocationManager, PoolConfig};
use crate::storage::{FileMedium, Medium, MediumFailure};

/// A file whose writes wait for as long as the flag is set.
struct Held(FileMedium, &'static AtomicBool);

impl Medium for Held {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), MediumFailure> {
        self.0.read_at(offset, buffer)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<(), MediumFailure> {
        while self.1.load(SeqCst) {
            std::thread::sleep(Duration::from_millis(1));
        }
        self.0.write_at(offset, bytes)
    }

    fn sync(&self) -> Result<(), MediumFailure> {
        self.0.sync()
    }

    fn erase(&self, offset: u64, bytes: u64) -> Result<(), MediumFailure> {
        self.0.erase(offset, bytes)
    }

    fn len(&self) -> Result<u64, MediumFailure> {
        self.0.len()
    }

    fn try_clone(&self) -> Result<Box<dyn Medium>, MediumFailure> {
        let view = self.0.another_view().map_err(|_| MediumError::Io)?;
        Ok(Box::new(Self(view, self.1)))
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
    let medium: Box<dyn Medium> = Box::new(Held(FileMedium::new(file), held));
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
