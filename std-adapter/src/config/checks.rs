//! The limits of a configuration.

use core::time::Duration;

use coldpress_core::config::reserve_segments;
use coldpress_core::format::{
    ENTRY_BYTES_MAX, Geometry, Identity, KEY_BYTES_MAX, RECORD_HEADER_BYTES_MAX, SEGMENTS_MIN, TRAILER_BYTES,
};

use super::pieces::{VALUE_BYTES_DEFAULT_MAX, value_bytes_max};

use super::{ColdTierConfig, ConfigError, PENDING_BYTES_MIN, SCHEMA_BYTES_MAX, Settings};

/// The smallest default segment, in bytes.
const SEGMENT_BYTES_DEFAULT_MIN: u64 = 64 << 10;
/// The largest default segment, in bytes.
const SEGMENT_BYTES_DEFAULT_MAX: u64 = 4 << 20;
/// A default segment is this part of the capacity, so that the reserve of ten takes about 2 % of it.
const SEGMENTS_DEFAULT: u64 = 512;
/// A default segment has at least this many bytes, as long as there are enough of them.
const SEGMENT_BYTES_DEFAULT_BRISK: u64 = 256 << 10;
/// The longest lifetime for all: the ends of shorter ones can be written, in seconds since 1970, until 2072.
const LIFETIME_MAX: Duration = Duration::from_secs(1 << 30);
/// The fewest segments with which a default segment has at least [`SEGMENT_BYTES_DEFAULT_BRISK`] bytes.
const SEGMENTS_DEFAULT_MIN: u64 = 128;

/// The segments of one partition.
pub(super) fn shape(settings: &Settings) -> Result<Geometry, ConfigError> {
    let bytes = settings.capacity_bytes / u64::from(settings.partitions);
    let derived = || {
        // A small segment fills in a moment, and each takes a few syncs in its life.
        let least = (bytes / SEGMENTS_DEFAULT_MIN).min(SEGMENT_BYTES_DEFAULT_BRISK);
        let part =
            (bytes / SEGMENTS_DEFAULT).max(least).clamp(SEGMENT_BYTES_DEFAULT_MIN, SEGMENT_BYTES_DEFAULT_MAX);
        // The power of two at or below.
        1 << part.ilog2()
    };
    let segment_bytes = settings.segment_bytes.unwrap_or_else(derived);
    let count = bytes.checked_div(u64::from(segment_bytes)).unwrap_or(0);
    let least = SEGMENTS_MIN.max(reserve_segments(settings.streams) + 4);
    let partitions = u64::from(settings.partitions);
    let too_small = ConfigError::CapacityTooSmall {
        bytes: settings.capacity_bytes,
        min: u64::from(segment_bytes) * u64::from(least) * partitions,
    };
    let max = (u64::from(segment_bytes) << 24).saturating_mul(partitions);
    let count = u32::try_from(count)
        .map_err(|_| ConfigError::CapacityTooLarge { bytes: settings.capacity_bytes, max })?;
    if count > 1 << 24 {
        return Err(ConfigError::CapacityTooLarge { bytes: settings.capacity_bytes, max });
    }
    // The shape of a segment is checked first: a capacity says nothing about an impossible one.
    Geometry::new(segment_bytes, SEGMENTS_MIN, 1, 0x00, Identity::KeyedHash)
        .map_err(ConfigError::Geometry)?;
    if count < least {
        return Err(too_small);
    }
    Geometry::new(segment_bytes, count, 1, 0x00, Identity::KeyedHash).map_err(ConfigError::Geometry)
}

/// The longest key and value: a value that takes a longer record than a sixteenth of a segment lies in pieces.
pub(super) fn lengths(settings: &Settings, geometry: &Geometry) -> Result<(u32, u32), ConfigError> {
    let footer = ENTRY_BYTES_MAX + TRAILER_BYTES;
    let key_bytes_max = KEY_BYTES_MAX.min(geometry.usable_bytes() / 32);
    let data_segments = geometry.segment_count().saturating_sub(reserve_segments(settings.streams));
    let share = value_bytes_max(geometry, data_segments, key_bytes_max);
    // Before values were written in pieces, limits of up to a segment were accepted. They still are.
    let segment = geometry.usable_bytes().saturating_sub(footer + RECORD_HEADER_BYTES_MAX + key_bytes_max);
    let most = u32::try_from(share).unwrap_or(u32::MAX).max(segment);
    let default = u32::try_from(share.clamp(1, VALUE_BYTES_DEFAULT_MAX)).unwrap_or(u32::MAX);
    let bytes = settings.value_bytes_max.unwrap_or(default);
    if bytes == 0 || bytes > most {
        return Err(ConfigError::ValueBytes { bytes, max: most });
    }
    Ok((key_bytes_max, bytes))
}

pub(super) fn check_bounds(config: &ColdTierConfig) -> Result<(), ConfigError> {
    if config.settings.pace.bytes_per_s == Some(0) {
        return Err(ConfigError::Pace);
    }
    if config.settings.stale_permille_min > 1000 {
        return Err(ConfigError::StalePermille(config.settings.stale_permille_min));
    }
    if config.settings.efficiency.validate().is_err() {
        return Err(ConfigError::CleanupThreshold(config.settings.efficiency.threshold_permille));
    }
    if config.settings.clock_jump_max.is_zero() {
        return Err(ConfigError::Time { name: "clock_jump_max", max: Duration::MAX });
    }
    let bytes = config.settings.pending_bytes_max;
    let min = PENDING_BYTES_MIN.max(2 * u64::from(config.record_bytes_max()));
    if bytes < min {
        return Err(ConfigError::PendingBytes { bytes, min });
    }
    let max = config.segment_count().saturating_sub(config.reserve_segments() + 1);
    let (low, high) = config.watermarks();
    if low == 0 || high < low || high > max {
        return Err(ConfigError::Watermarks { max });
    }
    Ok(())
}

/// The settings of the files: who may read them, and which schema is kept with them.
pub(super) fn check_files(settings: &Settings) -> Result<(), ConfigError> {
    let mode = settings.file_mode;
    if mode & 0o600 != 0o600 || mode & !0o666 != 0 {
        return Err(ConfigError::FileMode(mode));
    }
    match &settings.schema {
        Some(schema) if !(1..=SCHEMA_BYTES_MAX).contains(&schema.len()) => {
            Err(ConfigError::SchemaBytes(schema.len()))
        }
        _ => Ok(()),
    }
}

pub(super) fn check_times(settings: &Settings) -> Result<(), ConfigError> {
    const YEAR: Duration = Duration::from_secs(366 * 24 * 3600);
    let times = [
        ("interval", settings.background_interval()),
        ("op_timeout", settings.op_timeout),
        ("open_timeout", settings.open_timeout),
        ("close_timeout", settings.close_timeout),
        ("flush_after", settings.flush_after),
    ];
    for (name, time) in times {
        if time.is_zero() || time > YEAR {
            return Err(ConfigError::Time { name, max: YEAR });
        }
    }
    for (name, time) in [("ttl", settings.ttl), ("idle", settings.idle)] {
        if time.is_some_and(|time| time.is_zero() || time > LIFETIME_MAX) {
            return Err(ConfigError::Time { name, max: LIFETIME_MAX });
        }
    }
    Ok(())
}
