//! How a tier is set up: a builder, and what it refuses.

mod builder;
mod checks;
mod length_class;
mod pieces;
mod terms;

use core::fmt;
use core::time::Duration;
use std::path::PathBuf;

use coldpress_core::codec::{CodecError, CodecId};
use coldpress_core::config::PaceConfig;
use coldpress_core::config::{Streams, TierConfig, reserve_segments};
use coldpress_core::efficiency::EfficiencyConfig;
use coldpress_core::format::{Geometry, GeometryError, RECORD_HEADER_BYTES_MAX, Store};
use coldpress_core::segments::Policy;

use self::checks::{check_bounds, check_files, check_times, lengths, shape};
pub(crate) use self::length_class::{CLASSES, class, longest_of};
pub(crate) use self::pieces::{piece_bytes, record_bytes_max};
pub(crate) use self::terms::Terms;
use crate::budget::WorkBudget;
use crate::clock::{Clock, SystemClock};
use crate::codec::CodecSet;

/// The longest cache id.
///
/// A cache id is the name of the tier's directory: letters, digits, `.`, `_` and `-`, not beginning with `.`, so it leads
/// nowhere else and means the same on every filesystem that tells case apart.
pub const CACHE_ID_BYTES_MAX: usize = 64;

/// The treatment of a put that finds the capacity taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum FullPolicy {
    /// It is refused with [`PutError::Full`](crate::PutError::Full); what is there stays.
    #[default]
    Reject,
    /// The oldest records that were not read lately are dropped to free space.
    Evict,
}

/// The durability that an operation promises when it returns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
#[doc(alias = "SyncState")]
pub enum Durability {
    /// The write is visible to every reader of this process. It is written to the file within some tens of milliseconds: if the
    /// process is killed before, the write is lost. The default, since such a write waits for no other thread.
    #[default]
    Buffered,
    /// The write has been handed to the operating system: it survives a crash of this process. Writes of several clients at the same
    /// time are handed over together.
    Flushed,
    /// The write is on the medium: it survives a power cut.
    Synced,
}

/// The most partitions.
pub const PARTITIONS_MAX: u16 = 64;
/// The smallest bound on bytes that wait for the log.
pub const PENDING_BYTES_MIN: u64 = 1 << 16;
/// The longest schema.
pub const SCHEMA_BYTES_MAX: usize = 255;

/// The configuration of a tier, checked.
///
/// ```
/// use coldpress_std::{ColdTierConfig, FullPolicy};
/// use core::time::Duration;
///
/// let config = ColdTierConfig::builder()
///     .capacity_bytes(256 << 20)
///     .full(FullPolicy::Evict)
///     .ttl(Duration::from_secs(3600))
///     .build()?;
/// assert_eq!(config.segment_bytes(), 512 << 10);
/// assert_eq!(ColdTierConfig::builder().capacity_bytes(0).build().unwrap_err().to_string(),
///     "a capacity of 0 bytes: with these segments and partitions it takes at least 917504");
/// # Ok::<(), coldpress_std::ConfigError>(())
/// ```
#[derive(Debug, Clone)]
pub struct ColdTierConfig {
    pub(crate) settings: Settings,
    pub(crate) geometry: Geometry,
    pub(crate) key_bytes_max: u32,
    pub(crate) value_bytes_max: u32,
}

/// The settings that a builder collects.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) base_dir: Option<PathBuf>,
    pub(crate) file_mode: u32,
    pub(crate) is_read_only: bool,
    pub(crate) schema: Option<Box<str>>,
    pub(crate) adopts_schema: bool,
    pub(crate) capacity_bytes: u64,
    segment_bytes: Option<u32>,
    value_bytes_max: Option<u32>,
    pub(crate) codec: CodecId,
    pub(crate) full: FullPolicy,
    pub(crate) ttl: Option<Duration>,
    pub(crate) idle: Option<Duration>,
    streams: Streams,
    policy: Policy,
    pace: PaceConfig,
    pub(crate) budget: Option<WorkBudget>,
    watermarks: Option<(u32, u32)>,
    stale_permille_min: u16,
    interval: Option<Duration>,
    pub(crate) efficiency: EfficiencyConfig,
    pub(crate) durability: Durability,
    pub(crate) pending_bytes_max: u64,
    pub(crate) partitions: u16,
    pub(crate) keeps_hot_values: bool,
    pub(crate) skips_unchanged: bool,
    pub(crate) op_timeout: Duration,
    pub(crate) open_timeout: Duration,
    pub(crate) close_timeout: Duration,
    pub(crate) flush_after: Duration,
    pub(crate) clock_jump_max: Duration,
    pub(crate) is_clock_confirmed: bool,
    pub(crate) clock: &'static dyn Clock,
}

/// Bytes that the machine copies in a step where steps take slices of a budget: some tens of microseconds.
const SLICED_STEP_BYTES: u32 = 32 << 10;

/// How often the background worker looks for something to do where no interval is configured.
const INTERVAL_DEFAULT: Duration = Duration::from_secs(60);

impl Settings {
    /// How often the background worker looks for something to do.
    pub(crate) fn background_interval(&self) -> Duration {
        self.interval.unwrap_or(INTERVAL_DEFAULT)
    }

    /// Whether the background worker starts with the tier: an interval was asked for, or values end by themselves.
    pub(crate) const fn has_background(&self) -> bool {
        !self.is_read_only && (self.interval.is_some() || self.ttl.is_some() || self.idle.is_some())
    }
}

/// Builds a [`ColdTierConfig`]; every setting has a default.
#[derive(Debug, Clone)]
#[must_use = "a builder does nothing until it is built"]
pub struct ColdTierConfigBuilder {
    settings: Settings,
}

/// Why a configuration is refused; each says the limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConfigError {
    /// The capacity has no space for the fewest segments, in each partition.
    CapacityTooSmall {
        /// The capacity configured.
        bytes: u64,
        /// The least, all partitions together.
        min: u64,
    },
    /// The capacity takes more segments than there can be.
    CapacityTooLarge {
        /// The capacity configured.
        bytes: u64,
        /// The most with these segments, all partitions together.
        max: u64,
    },
    /// The segments have an impossible shape.
    Geometry(GeometryError),
    /// The longest value is zero, or more than the capacity allows.
    ValueBytes {
        /// The limit configured.
        bytes: u32,
        /// The highest limit with these segments.
        max: u32,
    },
    /// There are no partitions, or too many.
    Partitions(u16),
    /// The bound on pending bytes is too low for the longest record.
    PendingBytes {
        /// The bound configured.
        bytes: u64,
        /// The least.
        min: u64,
    },
    /// The high watermark is below the low one, or above the number of segments.
    Watermarks {
        /// The most.
        max: u32,
    },
    /// A time is zero, or longer than it may be.
    Time {
        /// The setting.
        name: &'static str,
        /// The longest.
        max: Duration,
    },
    /// The pace is zero bytes per second; leave it out for no limit.
    Pace,
    /// The share of stale bytes is above 1,000 thousandths.
    StalePermille(u16),
    /// The fragmentation impact from which pools are cleaned up is above 1,000 thousandths.
    CleanupThreshold(u16),
    /// This build lacks the codec.
    Codec(CodecError),
    /// The file mode keeps the owner from reading or writing, or has bits other than read and write.
    FileMode(u32),
    /// The schema is empty or too long: so many bytes.
    SchemaBytes(usize),
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CapacityTooSmall { bytes, min } => {
                write!(
                    f,
                    "a capacity of {bytes} bytes: with these segments and partitions it takes at least {min}"
                )
            }
            Self::CapacityTooLarge { bytes, max } => {
                write!(
                    f,
                    "a capacity of {bytes} bytes: with these segments and partitions it takes at most {max}"
                )
            }
            Self::Geometry(error) => write!(f, "{error}"),
            Self::ValueBytes { bytes, max } => {
                write!(
                    f,
                    "values of {bytes} bytes: with this capacity and these partitions the limit is 1 to {max}"
                )
            }
            Self::Partitions(n) => write!(f, "{n} partitions: it takes 1 to {PARTITIONS_MAX}"),
            Self::PendingBytes { bytes, min } => {
                write!(f, "`pending_bytes_max` of {bytes}: it takes at least {min}")
            }
            Self::Watermarks { max } => {
                write!(
                    f,
                    "watermarks: the low one is at least 1, the high one at least the low one and at most {max}"
                )
            }
            Self::Time { name, max: Duration::MAX } => write!(f, "{name} takes more than zero"),
            Self::Time { name, max } => {
                write!(f, "{name} takes more than zero and at most {} seconds", max.as_secs())
            }
            Self::Pace => f.write_str("a pace takes at least 1 byte per second"),
            Self::CleanupThreshold(share) => {
                write!(f, "a cleanup threshold of {share} permille: it takes 0 to 1000")
            }
            Self::StalePermille(share) => write!(f, "a share of {share} permille: it takes 0 to 1000"),
            Self::Codec(error) => write!(f, "{error}"),
            Self::FileMode(mode) => {
                write!(f, "a file mode of {mode:o}: it takes at least 600 and nothing beyond 666")
            }
            Self::SchemaBytes(bytes) => {
                write!(f, "a schema of {bytes} bytes: it takes 1 to {SCHEMA_BYTES_MAX}")
            }
        }
    }
}

impl core::error::Error for ConfigError {}

impl ColdTierConfig {
    /// Begins with the defaults: 1 GiB, LZ4, one partition, no lifetimes, full tiers refuse puts.
    pub fn builder() -> ColdTierConfigBuilder {
        ColdTierConfigBuilder {
            settings: Settings {
                base_dir: None,
                file_mode: 0o600,
                is_read_only: false,
                schema: None,
                adopts_schema: false,
                capacity_bytes: 1 << 30,
                segment_bytes: None,
                value_bytes_max: None,
                codec: CodecId::Lz4,
                full: FullPolicy::Reject,
                ttl: None,
                idle: None,
                streams: Streams::Four,
                policy: Policy::Adaptive,
                pace: PaceConfig::default(),
                budget: None,
                watermarks: None,
                stale_permille_min: 250,
                interval: None,
                efficiency: EfficiencyConfig::default(),
                durability: Durability::Buffered,
                pending_bytes_max: 8 << 20,
                partitions: 1,
                keeps_hot_values: true,
                skips_unchanged: false,
                op_timeout: Duration::from_secs(10),
                open_timeout: Duration::from_secs(600),
                close_timeout: Duration::from_secs(30),
                flush_after: Duration::from_millis(20),
                clock_jump_max: Duration::from_secs(366 * 24 * 3600),
                is_clock_confirmed: false,
                clock: &SystemClock,
            },
        }
    }

    /// The limit on the bytes that the log files take together: whole segments within the capacity configured.
    #[must_use]
    pub fn capacity_bytes(&self) -> u64 {
        self.geometry.medium_bytes() * u64::from(self.settings.partitions)
    }

    /// Bytes of a segment.
    #[must_use]
    pub const fn segment_bytes(&self) -> u32 {
        self.geometry.segment_bytes()
    }

    /// Segments of a partition.
    #[must_use]
    pub const fn segment_count(&self) -> u32 {
        self.geometry.segment_count()
    }

    /// The longest key.
    #[must_use]
    pub const fn key_bytes_max(&self) -> u32 {
        self.key_bytes_max
    }

    /// The longest value.
    #[must_use]
    pub const fn value_bytes_max(&self) -> u32 {
        self.value_bytes_max
    }

    /// Bytes of keys and values that fit before a put is [`Full`](crate::PutError::Full), if all keys and all values have these
    /// lengths; 0 where such a key or value is refused for its length.
    ///
    /// For values that do not compress: those that do are charged their encoded length, so more of them fit. Partitions fill by the
    /// hashes of keys, so where there are several the fullest refuses a put a little earlier.
    ///
    /// ```
    /// use coldpress_std::ColdTierConfig;
    ///
    /// let config = ColdTierConfig::builder().capacity_bytes(64 << 20).build()?;
    /// let share = |value_bytes| config.usable_bytes(8, value_bytes) * 100 / config.capacity_bytes();
    /// assert_eq!((share(16), share(64), share(512), share(4096)), (31, 71, 90, 92));
    /// # Ok::<(), coldpress_std::ConfigError>(())
    /// ```
    #[must_use]
    pub fn usable_bytes(&self, key_bytes: u32, value_bytes: u32) -> u64 {
        if key_bytes > self.key_bytes_max || value_bytes > self.value_bytes_max {
            return 0;
        }
        // No charge depends on which store it is.
        let store = Store { id: 1, hash_key: [0; 16], partition: 0, partitions: self.settings.partitions };
        let values = self.terms(store).values_max(
            key_bytes,
            value_bytes,
            self.settings.ttl.is_some(),
            record_bytes_max(&self.geometry),
        );
        values * (u64::from(key_bytes) + u64::from(value_bytes)) * u64::from(self.settings.partitions)
    }

    /// The configuration of the machine of one partition. The pools say how long they may take to answer.
    pub(crate) fn machine(&self, store: Store, cleanup_timeout: Duration) -> TierConfig {
        let (low, high) = self.watermarks();
        let whole = TierConfig::new(self.geometry, store);
        TierConfig {
            record_bytes_max: self.record_bytes_max(),
            streams: self.settings.streams,
            policy: self.settings.policy,
            low_watermark_segments: low,
            high_watermark_segments: high,
            stale_permille_min: self.settings.stale_permille_min,
            pace: self.settings.pace,
            allocates: true,
            cleans_at_rest: true,
            clock_jump_s_max: seconds(self.settings.clock_jump_max),
            cleanup_timeout_ms: u32::try_from(cleanup_timeout.as_millis()).unwrap_or(u32::MAX),
            // A slice ends between two steps.
            step_bytes: if self.settings.budget.is_some() { SLICED_STEP_BYTES } else { whole.step_bytes },
            ..whole
        }
    }

    /// The terms by which keys are charged. The capacity does not depend on the streams: those are merged where it takes that.
    pub(crate) fn terms(&self, store: Store) -> Terms {
        let streams = match self.settings.streams {
            Streams::One => Streams::Two,
            streams => streams,
        };
        Terms::new(TierConfig { streams, ..self.machine(store, Duration::ZERO) })
    }

    /// Whether the length of segments was configured, not derived from the capacity.
    pub(crate) const fn names_segments(&self) -> bool {
        self.settings.segment_bytes.is_some()
    }

    /// The same with segments of another length.
    pub(crate) fn with_segment_bytes(&self, segment_bytes: u32) -> Result<Self, ConfigError> {
        let settings = Settings { segment_bytes: Some(segment_bytes), ..self.settings.clone() };
        ColdTierConfigBuilder { settings }.build()
    }

    /// The same with so many segments in each partition, of such a length.
    pub(crate) fn with_shape(&self, segment_bytes: u32, segments: u32) -> Result<Self, ConfigError> {
        let part_bytes = u64::from(segments) * u64::from(segment_bytes);
        let capacity_bytes = part_bytes * u64::from(self.settings.partitions);
        let segment_bytes = Some(segment_bytes);
        let settings = Settings { capacity_bytes, segment_bytes, ..self.settings.clone() };
        ColdTierConfigBuilder { settings }.build()
    }

    /// The longest record that is written. Encoding never makes a value longer, and a longer one lies in pieces.
    pub(crate) fn record_bytes_max(&self) -> u32 {
        let whole = (RECORD_HEADER_BYTES_MAX + self.key_bytes_max).saturating_add(self.value_bytes_max);
        whole.min(record_bytes_max(&self.geometry))
    }

    /// Segments that live records may not fill.
    pub(crate) const fn reserve_segments(&self) -> u32 {
        reserve_segments(self.settings.streams)
    }

    pub(crate) const fn streams(&self) -> u32 {
        self.settings.streams.count()
    }

    fn watermarks(&self) -> (u32, u32) {
        let spare = self.geometry.segment_count().saturating_sub(self.reserve_segments() + 1);
        self.settings.watermarks.unwrap_or((2.min(spare).max(1), 4.min(spare).max(1)))
    }
}

/// Whole seconds, rounded up.
pub(crate) fn seconds(time: Duration) -> u32 {
    let whole = time.as_secs().saturating_add(u64::from(time.subsec_nanos() > 0));
    u32::try_from(whole).unwrap_or(u32::MAX)
}

impl ColdTierConfigBuilder {
    /// Checks the settings against each other.
    ///
    /// # Errors
    /// A [`ConfigError`] that says the limit.
    pub fn build(self) -> Result<ColdTierConfig, ConfigError> {
        let settings = self.settings;
        if settings.partitions == 0 || settings.partitions > PARTITIONS_MAX {
            return Err(ConfigError::Partitions(settings.partitions));
        }
        CodecSet::check(settings.codec).map_err(ConfigError::Codec)?;
        let geometry = shape(&settings)?;
        let (key_bytes_max, value_bytes_max) = lengths(&settings, &geometry)?;
        let config = ColdTierConfig { settings, geometry, key_bytes_max, value_bytes_max };
        check_bounds(&config)?;
        check_times(&config.settings)?;
        check_files(&config.settings)?;
        Ok(config)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capacity_out_of_bounds_is_refused_with_the_limit() {
        let build = |bytes| ColdTierConfig::builder().capacity_bytes(bytes).build();
        for bytes in [0, 1, 100_000] {
            assert!(matches!(build(bytes), Err(ConfigError::CapacityTooSmall { .. })), "{bytes}");
        }
        assert!(matches!(build(u64::MAX), Err(ConfigError::CapacityTooLarge { .. })));
        assert!(build(1 << 20).is_ok());
    }

    #[test]
    fn least_capacity_is_said_for_all_partitions_together() {
        for partitions in [1, 3, 64] {
            let build =
                |bytes| ColdTierConfig::builder().capacity_bytes(bytes).partitions(partitions).build();
            let Err(ConfigError::CapacityTooSmall { min, .. }) = build(1) else { unreachable!() };
            assert!(build(min).is_ok(), "{partitions} partitions in {min} bytes");
            assert!(matches!(build(min - 1), Err(ConfigError::CapacityTooSmall { .. })));
        }
    }

    #[test]
    fn pools_and_machine_wait_equally_long_for_a_cleanup() {
        let config = ColdTierConfig::builder().build().unwrap();
        let store = Store { id: 1, hash_key: [0; 16], partition: 0, partitions: 1 };
        assert_eq!(config.machine(store, Duration::from_millis(70)).cleanup_timeout_ms, 70);
    }

    #[test]
    fn policy_is_that_of_the_core_where_nothing_is_said() {
        let config = ColdTierConfig::builder().build().unwrap();
        let store = Store { id: 1, hash_key: [0; 16], partition: 0, partitions: 1 };
        assert_eq!(config.settings.policy, TierConfig::new(config.geometry, store).policy);
        assert_eq!(config.settings.policy, Policy::Adaptive);
    }

    #[test]
    fn settings_out_of_bounds_are_refused_one_by_one() {
        let builder = ColdTierConfig::builder;
        let error = |builder: ColdTierConfigBuilder| builder.build().unwrap_err();
        assert_eq!(error(builder().partitions(0)), ConfigError::Partitions(0));
        assert_eq!(error(builder().partitions(65)), ConfigError::Partitions(65));
        assert!(matches!(error(builder().segment_bytes(100)), ConfigError::Geometry(_)));
        assert!(matches!(error(builder().value_bytes_max(0)), ConfigError::ValueBytes { .. }));
        assert!(matches!(error(builder().value_bytes_max(u32::MAX)), ConfigError::ValueBytes { .. }));
        assert!(matches!(error(builder().pending_bytes_max(1)), ConfigError::PendingBytes { .. }));
        assert_eq!(error(builder().pace_bytes_per_s(0)), ConfigError::Pace);
        assert_eq!(error(builder().stale_permille_min(1001)), ConfigError::StalePermille(1001));
        let too_high = ConfigError::CleanupThreshold(1001);
        assert_eq!(error(builder().cleanup_threshold_permille(1001)), too_high);
        assert!(too_high.to_string().contains("0 to 1000"));
        assert!(builder().cleanup_threshold_permille(1000).build().is_ok());
        assert!(matches!(error(builder().watermark_segments(5, 4)), ConfigError::Watermarks { .. }));
        for mode in [0, 0o400, 0o200, 0o066, 0o700, 0o610, 0o1600, 0o100_600] {
            assert_eq!(error(builder().file_mode(mode)), ConfigError::FileMode(mode));
        }
        assert_eq!(error(builder().schema("")), ConfigError::SchemaBytes(0));
        assert_eq!(error(builder().schema("x".repeat(256))), ConfigError::SchemaBytes(256));
        assert!(builder().schema("x".repeat(255)).file_mode(0o660).build().is_ok());
    }

    #[test]
    fn times_out_of_bounds_are_refused_with_the_bound_of_each() {
        let builder = ColdTierConfig::builder;
        let said = |builder: ColdTierConfigBuilder| builder.build().unwrap_err().to_string();
        for time in [Duration::ZERO, Duration::MAX] {
            assert_eq!(
                said(builder().interval(time)),
                "interval takes more than zero and at most 31622400 seconds"
            );
            let bound = "op_timeout takes more than zero and at most 31622400 seconds";
            assert_eq!(said(builder().op_timeout(time)), bound);
            assert_eq!(said(builder().ttl(time)), "ttl takes more than zero and at most 1073741824 seconds");
            assert_eq!(
                said(builder().idle(time)),
                "idle takes more than zero and at most 1073741824 seconds"
            );
        }
        assert_eq!(said(builder().clock_jump_max(Duration::ZERO)), "clock_jump_max takes more than zero");
        assert!(builder().ttl(Duration::from_secs(1 << 30)).build().is_ok());
    }

    #[test]
    fn capacity_is_never_exceeded_by_the_files() {
        for bytes in [1 << 20, 5_000_001, 1 << 30, (1 << 33) + 7] {
            for partitions in [1, 2] {
                let config = ColdTierConfig::builder().capacity_bytes(bytes).partitions(partitions).build();
                if let Ok(config) = config {
                    assert!(config.capacity_bytes() <= bytes);
                    assert!(config.capacity_bytes() > bytes - bytes / 10);
                }
            }
        }
    }
}
