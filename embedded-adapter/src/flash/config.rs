//! The configuration of a flash tier, and that of its machine.

use coldpress_core::config::{Reserve, Streams, TierConfig};
use coldpress_core::format::{Geometry, Identity, Secret, Store};

use super::error::BuildError;
use super::medium::DeviceMedium;
use super::table::PLACE_BITS_MAX;

/// The configuration of a flash tier.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct FlashConfig {
    /// Bytes of a segment: one erase gives back so many. A multiple of the medium's erase unit.
    pub segment_bytes: u32,
    /// Tells this store from others; written where the medium is blank.
    pub store_id: u64,
    /// The secret of a store that is made on a blank medium; see [`secret`](Self::secret).
    pub secret: Secret,
    /// `CompactData` cleans segments with at least this share of stale bytes, in permille.
    pub stale_permille_min: u16,
    /// The clock is written to the log at least every so many seconds: how exact an expiry is across a reboot.
    pub time_every_s: u32,
    /// How far the wall clock may have jumped ahead since the log was last written, or may jump while the tier runs, in seconds. A
    /// longer jump is refused until it is [confirmed](super::FlashTier::confirm_clock), and nothing expires by it.
    ///
    /// Firmware without a wall clock passes zeros. The tier's time then goes on by the monotonic clock, from the newest time in the
    /// log, and lifetimes count the time with power only. Firmware that learns the time later passes it from then on, and confirms
    /// it once.
    pub clock_jump_s_max: u32,
    /// How long the pools have to answer a cleanup request, in milliseconds.
    pub cleanup_timeout_ms: u32,
    /// How many more erases the most worn segment may have than the least worn one, before cold data is moved to level them;
    /// `u32::MAX` for no limit. Under writes without a pause the difference may be half as much again.
    pub wear_spread_max: u32,
    /// Whether a put of the value that is there already, with the same expiry, is skipped: it programs nothing, and is
    /// [counted](coldpress_core::writer::Counters::unchanged_puts). Such a put reads the record once more, other puts its
    /// header. Values in pieces are always written. A skipped put writes no time to the log: without a wall clock, powered time
    /// counts across a reboot as if nothing had been put.
    pub skips_unchanged: bool,
    /// Whether the firmware has pools, and carries out the requests that [`poll`](super::FlashTier::poll) hands out.
    pub has_pools: bool,
}

impl FlashConfig {
    /// The defaults for a segment size.
    #[must_use]
    pub const fn new(segment_bytes: u32, store_id: u64) -> Self {
        Self {
            segment_bytes,
            store_id,
            secret: Secret::new([0; 16]),
            stale_permille_min: 100,
            time_every_s: 60,
            clock_jump_s_max: 366 * 24 * 3600,
            cleanup_timeout_ms: 500,
            wear_spread_max: 64,
            skips_unchanged: true,
            has_pools: false,
        }
    }

    /// Sets the secret for a store that is about to be made: keys are hashed under it, and record checksums begin with it. A device
    /// whose keys or values a stranger can choose needs one. Anyone who knows the secret can choose keys that collide in the index,
    /// which is then full before it holds as many keys as it promises.
    ///
    /// The bytes come from the part's random number generator, or from a key that is provisioned and differs from device to
    /// device. The first mount of a blank medium writes them into the store. Later mounts ignore the bytes that they are given, so
    /// new random bytes at each boot do no harm.
    ///
    /// ```
    /// use coldpress_embedded::flash::FlashConfig;
    /// # fn random() -> [u8; 16] { [7; 16] }
    /// let config = FlashConfig::new(4096, 1).secret(random());
    /// ```
    #[must_use]
    pub const fn secret(self, bytes: [u8; 16]) -> Self {
        Self { secret: Secret::new(bytes), ..self }
    }

    /// The machine's configuration over a medium.
    pub(super) fn machine<M: DeviceMedium>(
        &self,
        medium: &M,
        segments: u32,
        record_bytes_max: u32,
    ) -> Result<TierConfig, BuildError> {
        let erase_unit = medium.erase_unit_bytes().max(1);
        if !self.segment_bytes.is_multiple_of(erase_unit) {
            return Err(BuildError::EraseUnit(erase_unit));
        }
        let unit = medium.write_unit_bytes();
        let geometry =
            Geometry::new(self.segment_bytes, segments, unit, medium.erase_value(), Identity::KeyBytes)
                .map_err(BuildError::Geometry)?;
        let bytes = geometry.medium_bytes();
        if bytes > medium.medium_bytes() || bytes > u64::from(u32::MAX) {
            return Err(BuildError::MediumBytes(bytes));
        }
        if bytes / u64::from(unit) > 1 << PLACE_BITS_MAX {
            return Err(BuildError::Units(1 << PLACE_BITS_MAX));
        }
        let store = Store { id: self.store_id, hash_key: self.secret.bytes(), partition: 0, partitions: 1 };
        Ok(TierConfig {
            trusts_blank: false,
            stale_permille_min: self.stale_permille_min,
            time_every_s: self.time_every_s,
            clock_jump_s_max: self.clock_jump_s_max,
            cleanup_timeout_ms: self.cleanup_timeout_ms,
            wear_spread_max: self.wear_spread_max,
            // One record a poll.
            step_bytes: 1,
            // The index reads the medium for most of them.
            step_records: 4,
            ..of_device(geometry, store, record_bytes_max)
        })
    }
}

/// The part of the machine's configuration that decides what fits.
pub(super) const fn of_device(geometry: Geometry, store: Store, record_bytes_max: u32) -> TierConfig {
    TierConfig {
        record_bytes_max,
        streams: Streams::One,
        reserve: Reserve::of_device(geometry.segment_count()),
        has_footers: false,
        // A segment is cleaned only when a record or a reservation needs the space: each segment kept free wears the flash.
        low_watermark_segments: 0,
        high_watermark_segments: 0,
        ..TierConfig::new(geometry, store)
    }
}
