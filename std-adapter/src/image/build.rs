//! Making an image.

use core::fmt;

use coldpress_core::codec::CodecId;
use coldpress_core::config::TierConfig;
use coldpress_core::drive::{Medium, Started};
use coldpress_core::format::{Geometry, Identity, KEY_BYTES_MAX, Kind, Store};
use coldpress_core::machine::Status;
use coldpress_core::segments::SegmentState;
use coldpress_core::writer::{AppendError, Fresh};

use super::error::BuildError;
use super::index;
use super::machine::{Buffers, Machine, config};
use crate::codec::CodecSet;
use crate::storage::{MediumError, MediumFailure};

/// Steps of the machine that one record waits for at most.
const STEPS_MAX: u32 = 1 << 20;
/// The longest footer, in bytes.
const FOOTER_BYTES_MAX: u32 = 1 << 20;

/// Builds an image: `fill` writes to it as a client writes to a tier, and the log is then closed in order.
///
/// Overwritten and removed keys leave stale records, and segments are compacted when they run short. `time_s` is the wall clock
/// that the image carries, in seconds. See the [module](super) for an example.
///
/// # Errors
/// The error of `fill`, or a [`BuildError`].
///
/// # Bounds
/// Memory for the image and a few segments. Records take up to a quarter of a segment, or 1 MiB.
pub fn build<E: From<BuildError>>(
    geometry: Geometry,
    store: Store,
    time_s: u32,
    fill: impl FnOnce(&mut ImageWriter<'_>) -> Result<(), E>,
) -> Result<Vec<u8>, E> {
    let record_bytes_max = config(geometry, store, false).record_bytes_max;
    build_for(geometry, store, record_bytes_max, time_s, fill)
}

/// Builds an image for a reader of records of up to `record_bytes_max` bytes, header and padding included. The headers state that
/// limit, and a device whose `RECORD` is less refuses to mount the image.
///
/// # Errors
/// As [`build`].
///
/// # Bounds
/// Memory for the image and a few segments.
pub fn build_for<E: From<BuildError>>(
    geometry: Geometry,
    store: Store,
    record_bytes_max: u32,
    time_s: u32,
    fill: impl FnOnce(&mut ImageWriter<'_>) -> Result<(), E>,
) -> Result<Vec<u8>, E> {
    let config = TierConfig { record_bytes_max, ..config(geometry, store, false) };
    let len = usize::try_from(geometry.medium_bytes()).map_err(|_| BuildError::Stuck)?;
    let footer = geometry.segment_bytes() / 3;
    let mut buffers = Buffers::new(&config, footer.min(FOOTER_BYTES_MAX) as usize);
    let machine = Machine::new(config, &mut buffers, time_s).map_err(BuildError::from)?;
    let blank = geometry.erase_value();
    let medium = ImageBytes { bytes: vec![blank; len], blank };
    let mut writer = ImageWriter { machine, medium, config, store, codecs: CodecSet::new() };
    writer.machine.mount(&mut writer.medium).map_err(|_| BuildError::Stuck)?;
    fill(&mut writer)?;
    writer.machine.tier.close();
    writer.until(|machine| machine.tier.status() == Status::Closed)?;
    Ok(writer.medium.bytes)
}

/// Writes to an image that is being [built](build).
pub struct ImageWriter<'m> {
    machine: Machine<'m>,
    medium: ImageBytes,
    config: TierConfig,
    store: Store,
    codecs: CodecSet,
}

// The bytes hold the secret of the store, and values.
impl fmt::Debug for ImageWriter<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ImageWriter").field("store", &self.store).finish_non_exhaustive()
    }
}

impl ImageWriter<'_> {
    /// Puts a value, encoded with a codec where that gains, which may expire at a time in seconds of the wall clock.
    ///
    /// # Errors
    /// [`BuildError`]; then nothing was written.
    pub fn put(
        &mut self,
        key: &[u8],
        value: &[u8],
        codec: CodecId,
        expires_s: Option<u32>,
    ) -> Result<(), BuildError> {
        let mut stored = Vec::new();
        let used = self.codecs.encode(codec, value, &mut stored);
        self.check_capacity(key, &stored, expires_s)?;
        self.append(Kind::Value, used, key, key, &stored, expires_s)
    }

    /// Refuses a record that might not fit once all live records were relocated.
    fn check_capacity(&self, key: &[u8], stored: &[u8], expires_s: Option<u32>) -> Result<(), BuildError> {
        let geometry = &self.config.geometry;
        let [key_bytes, value_bytes] =
            [key, stored].map(|bytes| u32::try_from(bytes.len()).unwrap_or(u32::MAX));
        let charge = self.config.charge_bytes(key_bytes, value_bytes, expires_s.is_some());
        let growth = self.config.growth_merged();
        let segments = self.machine.tier.segments().iter();
        let live = segments.filter(|segment| segment.state() != SegmentState::Erased);
        let live: u64 = live.map(|segment| u64::from(segment.relocation_bytes(&growth))).sum();
        let hash = index::hash(geometry.identity(), &self.store, key);
        let replaced = self.machine.index.live(&hash).map_or(0, |placed| u64::from(placed.record_bytes));
        let needed = live.saturating_sub(replaced).saturating_add(u64::from(charge));
        if needed > self.config.charge_bytes_max() {
            return Err(BuildError::Append(AppendError::Full));
        }
        Ok(())
    }

    /// Removes a key; one that is not there costs nothing.
    ///
    /// # Errors
    /// [`BuildError`]; then nothing was written.
    pub fn remove(&mut self, key: &[u8]) -> Result<(), BuildError> {
        let hash = index::hash(self.config.geometry.identity(), &self.store, key);
        match self.config.geometry.identity() {
            Identity::KeyedHash => self.append(Kind::Tombstone, CodecId::Raw, key, &hash.0, &[], None),
            _ => self.append(Kind::Tombstone, CodecId::Raw, key, key, &[], None),
        }
    }

    pub(super) fn append(
        &mut self,
        kind: Kind,
        codec: CodecId,
        key: &[u8],
        stored_key: &[u8],
        value: &[u8],
        expires_s: Option<u32>,
    ) -> Result<(), BuildError> {
        let key_bytes = u32::try_from(stored_key.len()).unwrap_or(u32::MAX);
        if key.is_empty() || key.len() > KEY_BYTES_MAX as usize {
            return Err(BuildError::Key(KEY_BYTES_MAX));
        }
        let hash = index::hash(self.config.geometry.identity(), &self.store, key);
        let payload = [stored_key, value].concat();
        let checksum = self.store.seed(&self.config.geometry).payload(&payload);
        // Each record is written before the next one comes, so the index knows the newest version.
        let after = self.machine.index.version(&hash);
        let payload = &payload;
        let fresh =
            Fresh { hash, kind, codec, key_bytes, payload, checksum, expires_s, after, replaces: None };
        for _ in 0..STEPS_MAX {
            let now = self.machine.now();
            match self.machine.tier.append(now, &fresh) {
                Ok(_) => {
                    self.machine.tier.flush();
                    return self.until(|machine| machine.tier.written() >= machine.tier.appended());
                }
                Err(AppendError::Busy) => {
                    self.machine.step(&mut self.medium);
                }
                Err(error) => return Err(BuildError::Append(error)),
            }
        }
        Err(BuildError::Stuck)
    }

    fn until(&mut self, is_reached: impl Fn(&Machine<'_>) -> bool) -> Result<(), BuildError> {
        for _ in 0..STEPS_MAX {
            if is_reached(&self.machine) {
                return Ok(());
            }
            self.machine.step(&mut self.medium);
        }
        Err(BuildError::Stuck)
    }
}

/// The bytes of an image, blank at first.
pub(super) struct ImageBytes {
    pub(super) bytes: Vec<u8>,
    pub(super) blank: u8,
}

impl ImageBytes {
    fn part(&mut self, at: u64, bytes: u64) -> Result<&mut [u8], MediumFailure> {
        let at = usize::try_from(at).map_err(|_| MediumError::Io)?;
        let len = usize::try_from(bytes).map_err(|_| MediumError::Io)?;
        self.bytes.get_mut(at..at.saturating_add(len)).ok_or_else(|| MediumError::Io.into())
    }
}

impl Medium for ImageBytes {
    type Error = MediumFailure;

    fn read(&mut self, at: u64, bytes: &mut [u8]) -> Result<(), MediumFailure> {
        bytes.copy_from_slice(self.part(at, bytes.len() as u64)?);
        Ok(())
    }

    fn write(&mut self, at: u64, bytes: &[u8]) -> Result<Started, MediumFailure> {
        self.part(at, bytes.len() as u64)?.copy_from_slice(bytes);
        Ok(Started::Done)
    }

    fn erase(&mut self, at: u64, bytes: u64) -> Result<Started, MediumFailure> {
        let blank = self.blank;
        self.part(at, bytes)?.fill(blank);
        Ok(Started::Done)
    }

    fn sync(&mut self) -> Result<Started, MediumFailure> {
        Ok(Started::Done)
    }
}
