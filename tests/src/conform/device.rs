//! The embedded adapter's flash tier, on flash in memory, over both drivers.

use coldpress_core::compaction::CompactionTask;
use coldpress_core::drive::{MediumError, Now};
use coldpress_core::recovery::MountReport;
use coldpress_embedded::flash::{
    Cursor, FlashConfig, FlashMemory, FlashMountError, GetError, PutError, buckets_for,
};
use coldpress_std::clock::ManualClock;

use super::{Adapter, time};
use crate::driver::{AnyNorTier, Driver};
use crate::flash::Flash;

/// The most keys for which the index of a device has places.
pub const DEVICE_KEYS_MAX: usize = 400;
/// The longest record, in bytes.
pub const DEVICE_RECORD_MAX: usize = 400;
/// Polls after which a wait counts as endless.
const POLLS_MAX: u32 = 10_000;
/// Operations of one poll.
const BUDGET: u32 = 16;

type Tier<const UNIT: usize, const SECTOR: usize> = AnyNorTier<'static, Flash<UNIT, SECTOR>>;

/// The tier of a device, on a flash of this shape. Each time that it is [opened again](Adapter::reopen) the other driver mounts it.
#[derive(Debug)]
pub struct DeviceTier<const UNIT: usize, const SECTOR: usize, const SEGMENTS: usize> {
    tier: Option<Tier<UNIT, SECTOR>>,
    driver: Driver,
    clock: &'static ManualClock,
    erase_value: u8,
}

impl<const UNIT: usize, const SECTOR: usize, const SEGMENTS: usize> DeviceTier<UNIT, SECTOR, SEGMENTS> {
    /// A tier on blank flash.
    ///
    /// # Panics
    /// Where it does not mount.
    #[must_use]
    pub fn new(erase_value: u8, driver: Driver, clock: &'static ManualClock) -> Self {
        let tier = Self::on(Flash::new(SEGMENTS, erase_value), driver, clock);
        tier.unwrap_or_else(|error| panic!("mount: {error}"))
    }

    /// A tier on flash that holds an image.
    ///
    /// # Errors
    /// The error of its mount.
    pub fn with_image(
        image: &[u8],
        erase_value: u8,
        driver: Driver,
        clock: &'static ManualClock,
    ) -> Result<Self, FlashMountError> {
        Self::on(Flash::with_bytes(image, erase_value), driver, clock)
    }

    /// A tier on flash as it is. Its memory is a static one, as on a device; a test has few of them.
    ///
    /// # Errors
    /// The error of its mount.
    pub fn on(
        flash: Flash<UNIT, SECTOR>,
        driver: Driver,
        clock: &'static ManualClock,
    ) -> Result<Self, FlashMountError> {
        const BUCKETS: usize = buckets_for(DEVICE_KEYS_MAX);
        let memory: &'static mut FlashMemory<SEGMENTS, BUCKETS, DEVICE_RECORD_MAX> =
            Box::leak(Box::new(FlashMemory::new()));
        let erase_value = flash.erase_value();
        let config = FlashConfig::new(u32::try_from(SECTOR).unwrap_or(u32::MAX), 7);
        let tier = AnyNorTier::new(driver, config, memory, flash, erase_value);
        let mut tier = tier.unwrap_or_else(|error| panic!("{error}"));
        tier.mount(now(clock))?;
        Ok(Self { tier: Some(tier), driver, clock, erase_value })
    }

    /// The flash.
    #[must_use]
    pub fn into_flash(mut self) -> Flash<UNIT, SECTOR> {
        match self.tier.take() {
            Some(tier) => tier.into_flash(),
            None => Flash::new(SEGMENTS, self.erase_value),
        }
    }

    fn tier(&mut self) -> &mut Tier<UNIT, SECTOR> {
        self.tier.as_mut().unwrap_or_else(|| panic!("it is mounted"))
    }

    /// Offers a write until compaction has freed space for it.
    fn write<T>(
        &mut self,
        mut offer: impl FnMut(&mut Tier<UNIT, SECTOR>, Now) -> Result<T, PutError>,
    ) -> Result<T, PutError> {
        let now = now(self.clock);
        for _ in 0..POLLS_MAX {
            match offer(self.tier(), now) {
                Err(PutError::Busy(_)) if !self.tier().flash().has_power() => {
                    return Err(PutError::Medium(MediumError::Io));
                }
                Err(PutError::NeedsCompaction | PutError::Busy(_)) => {
                    let _ = self.tier().poll(now, BUDGET);
                }
                result => return result,
            }
        }
        panic!("I-GC-2: a write that stays busy: {:?}", self.tier().stats())
    }

    /// The findings of the mount.
    #[must_use]
    pub fn mount_report(&self) -> MountReport {
        let report = self.tier.as_ref().map(AnyNorTier::mounted);
        report.and_then(Result::ok).unwrap_or_else(|| panic!("it is mounted"))
    }

    /// Reads a value.
    ///
    /// # Errors
    /// [`GetError`].
    pub fn try_get(&mut self, key: &[u8]) -> Result<Option<Vec<u8>>, GetError> {
        let mut out = [0; DEVICE_RECORD_MAX];
        let now = now(self.clock);
        self.tier().get(now, key, &mut out).map(|value| value.map(<[u8]>::to_vec))
    }

    /// Puts a value.
    ///
    /// # Errors
    /// [`PutError`], except those that only put the write off.
    pub fn try_put(&mut self, key: &[u8], value: &[u8], ttl_s: Option<u32>) -> Result<(), PutError> {
        self.write(|tier, now| match ttl_s {
            Some(ttl_s) => tier.put_with_ttl(now, key, value, ttl_s),
            None => tier.put(now, key, value),
        })
    }

    /// Puts a value in pieces of so many bytes; a cut may fall between any two.
    ///
    /// # Errors
    /// As [`try_put`](Self::try_put).
    pub fn put_in_pieces(&mut self, key: &[u8], value: &[u8], piece_bytes: usize) -> Result<(), PutError> {
        self.write(|tier, now| tier.begin(now, key, None))?;
        for piece in value.chunks(piece_bytes) {
            self.write(|tier, now| tier.put_piece(now, key, piece))?;
        }
        self.write(|tier, now| tier.commit(now, key))
    }

    /// Removes a key.
    ///
    /// # Errors
    /// As [`try_put`](Self::try_put).
    pub fn try_remove(&mut self, key: &[u8]) -> Result<bool, PutError> {
        self.write(|tier, now| tier.remove(now, key))
    }
}

fn now(clock: &ManualClock) -> Now {
    let wall_s = time(clock);
    Now { monotonic_ms: u64::from(wall_s) * 1000, wall_s }
}

impl<const UNIT: usize, const SECTOR: usize, const SEGMENTS: usize> Adapter
    for DeviceTier<UNIT, SECTOR, SEGMENTS>
{
    fn name(&self) -> String {
        let Self { driver, erase_value, .. } = self;
        format!("{SEGMENTS} sectors of {SECTOR}, unit {UNIT}, erased {erase_value:02x}, {driver:?}")
    }

    fn put(&mut self, key: &[u8], value: &[u8], ttl_s: Option<u32>) {
        self.try_put(key, value, ttl_s).unwrap_or_else(|error| panic!("put: {error}"));
    }

    fn remove(&mut self, key: &[u8]) -> bool {
        self.try_remove(key).unwrap_or_else(|error| panic!("remove: {error}"))
    }

    fn get(&mut self, key: &[u8]) -> Option<Vec<u8>> {
        self.try_get(key).unwrap_or_else(|error| panic!("get: {error}"))
    }

    fn contains(&mut self, key: &[u8]) -> bool {
        let now = now(self.clock);
        self.tier().contains(now, key).unwrap_or_else(|error| panic!("contains: {error}"))
    }

    fn keys(&mut self) -> Vec<Vec<u8>> {
        let (now, mut cursor, mut out) = (now(self.clock), Cursor::default(), [0; DEVICE_RECORD_MAX]);
        let mut keys = Vec::new();
        loop {
            match self.tier().next_key(now, &mut cursor, &mut out) {
                Ok(Some(found)) => keys.push(found.key.to_vec()),
                Ok(None) => break,
                Err(error) => panic!("keys: {error}"),
            }
        }
        keys.sort();
        keys
    }

    fn len(&mut self) -> usize {
        self.tier().len() as usize
    }

    fn run(&mut self, task: CompactionTask) {
        let now = now(self.clock);
        self.tier().schedule(task).unwrap_or_else(|error| panic!("{task}: {error}"));
        for _ in 0..POLLS_MAX {
            let _ = self.tier().poll(now, BUDGET);
            if self.tier().take_report().is_some() {
                return;
            }
        }
        panic!("I-GC-2: {task} has no end: {:?}", self.tier().stats())
    }

    fn sync(&mut self) {
        let now = now(self.clock);
        self.tier().sync(now).unwrap_or_else(|error| panic!("sync: {error}"));
    }

    fn reopen(&mut self) {
        let Self { driver, clock, erase_value, .. } = *self;
        let taken = core::mem::replace(self, Self { tier: None, driver, clock, erase_value });
        let tier = Self::on(taken.into_flash(), driver.other(), clock);
        *self = tier.unwrap_or_else(|error| panic!("mount: {error}"));
    }

    fn image(&mut self) -> Vec<u8> {
        self.sync();
        self.tier().flash().bytes().to_vec()
    }
}
