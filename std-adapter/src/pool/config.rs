//! How large the pools are and how they behave.

use core::fmt;
use core::time::Duration;
use std::io;

use coldpress_core::cleanup::{QUEUE_CAPACITY_DEFAULT, REPLY_TIMEOUT_MS_DEFAULT};
use coldpress_core::pool::Limits;

use crate::budget::WorkBudget;
use crate::clock::{Clock, SystemClock};

/// The most pages the pools of one manager may have, and all managers of a process together.
///
/// Each page is a mapping, and Linux allows a process about 65,000 of them by default; the rest is left to the program.
pub(super) const MAPPINGS_MAX: u32 = 49_152;
/// The most partitions; each has a place in their row.
pub(super) const PARTITIONS_MAX: u16 = 64;
/// The fewest pages of a partition: a cleanup begins when the only one is taken, and would leave none.
const PAGES_MIN: u64 = 2;
const PAGE_BYTES_MIN: u32 = 4_096;
const PAGE_BYTES_MAX: u32 = 1 << 30;
const OBJECTS_MAX: u32 = 1 << 30;
/// Bytes moved in one hold of a lock, which takes some tens of microseconds.
const STEP_BYTES_DEFAULT: u32 = 64 << 10;
/// The shortest limit for values.
const VALUE_BYTES_MAX_MIN: u32 = 16;

/// The configuration of the pools, valid by construction: [`PoolConfig::builder`] checks it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PoolConfig {
    pub(super) page_bytes: u32,
    pub(super) partitions: u16,
    pub(super) pages_per_partition: u16,
    pub(super) objects_per_partition: u32,
    pub(super) value_bytes_max: u32,
    pub(super) limits: Limits,
    pub(super) step_bytes_max: u32,
    pub(super) request_timeout: Duration,
    pub(super) queue_capacity: usize,
    pub(super) name: String,
    pub(super) clock: PoolClock,
    pub(super) budget: Option<WorkBudget>,
}

/// A clock that equals only itself.
#[derive(Debug, Clone, Copy)]
pub(super) struct PoolClock(pub(super) &'static dyn Clock);

impl PartialEq for PoolClock {
    fn eq(&self, other: &Self) -> bool {
        core::ptr::addr_eq(self.0, other.0)
    }
}

impl Eq for PoolClock {}

impl PoolConfig {
    /// Sets the budget after all.
    pub(crate) const fn set_budget(&mut self, budget: WorkBudget) {
        self.budget = Some(budget);
    }

    /// Starts from the defaults: 64 MiB in pages of 256 KiB, 8 partitions, values up to 64 KiB.
    pub fn builder() -> PoolConfigBuilder {
        PoolConfigBuilder::default()
    }

    /// Returns the most bytes of pages the pools will hold.
    #[must_use]
    pub fn capacity_bytes(&self) -> u64 {
        u64::from(self.partitions) * u64::from(self.pages_per_partition) * u64::from(self.page_bytes)
    }
}

/// Collects the settings of a [`PoolConfig`].
///
/// ```
/// use coldpress_std::pool::{PoolConfig, PoolConfigError};
///
/// let config = PoolConfig::builder().capacity_bytes(32 << 20).partitions(4).build()?;
/// assert_eq!(config.capacity_bytes(), 32 << 20);
/// assert_eq!(
///     PoolConfig::builder().partitions(65).build(),
///     Err(PoolConfigError::Partitions { given: 65, max: 64 }),
/// );
/// # Ok::<(), PoolConfigError>(())
/// ```
#[derive(Debug, Clone)]
#[must_use = "a builder does nothing until it is built"]
pub struct PoolConfigBuilder {
    page_bytes: u32,
    capacity_bytes: u64,
    partitions: u16,
    value_bytes_max: u32,
    objects_max: Option<u32>,
    spare_pages_max: u16,
    low_watermark_permille: u16,
    high_watermark_permille: u16,
    step_bytes_max: Option<u32>,
    request_timeout: Duration,
    queue_capacity: usize,
    name: String,
    clock: &'static dyn Clock,
    budget: Option<WorkBudget>,
}

impl Default for PoolConfigBuilder {
    fn default() -> Self {
        Self {
            page_bytes: 256 << 10,
            capacity_bytes: 64 << 20,
            partitions: 8,
            value_bytes_max: 64 << 10,
            objects_max: None,
            spare_pages_max: 1,
            low_watermark_permille: 800,
            high_watermark_permille: 950,
            step_bytes_max: None,
            request_timeout: Duration::from_millis(REPLY_TIMEOUT_MS_DEFAULT),
            queue_capacity: QUEUE_CAPACITY_DEFAULT,
            name: "default".to_owned(),
            clock: &SystemClock,
            budget: None,
        }
    }
}

impl PoolConfigBuilder {
    /// Sets the size of a page, the unit in which memory is taken and returned: a multiple of 4,096, up to 1 GiB; by default
    /// 256 KiB. Values of all lengths share a page. Its rest is lost where all values are long and have one length, so that length
    /// times a whole number is a good choice.
    pub fn page_bytes(mut self, page_bytes: u32) -> Self {
        self.page_bytes = page_bytes;
        self
    }

    /// Sets the most bytes of pages, all partitions together: at least two pages a partition; rounded down to whole pages
    /// per partition; by default 64 MiB.
    pub fn capacity_bytes(mut self, capacity_bytes: u64) -> Self {
        self.capacity_bytes = capacity_bytes;
        self
    }

    /// Sets the number of partitions, 1 to 64: threads that meet at one key's partition wait for each other. By
    /// default 8.
    pub fn partitions(mut self, partitions: u16) -> Self {
        self.partitions = partitions;
        self
    }

    /// Sets the length of the largest value, up to the size of a page; by default 64 KiB.
    pub fn value_bytes_max(mut self, value_bytes_max: u32) -> Self {
        self.value_bytes_max = value_bytes_max;
        self
    }

    /// Sets the most values alive at once, all partitions together. The books take about 140 bytes per value. By default one
    /// per KiB of capacity. Set it for shorter values: 64 MiB hold 65,536 values of 100 bytes by default, which take 10 % of it.
    pub fn objects_max(mut self, objects_max: u32) -> Self {
        self.objects_max = Some(objects_max);
        self
    }

    /// Sets how many empty pages each partition keeps for its next need; by default 1.
    pub fn spare_pages_max(mut self, spare_pages_max: u16) -> Self {
        self.spare_pages_max = spare_pages_max;
        self
    }

    /// Sets, in permille of the capacity, where an emergency cleanup stops evicting and where the worker starts one by
    /// itself; by default 800 and 950.
    pub fn watermarks_permille(mut self, low: u16, high: u16) -> Self {
        (self.low_watermark_permille, self.high_watermark_permille) = (low, high);
        self
    }

    /// Sets the most bytes the worker moves in one hold of a partition's lock; at least one largest value. By
    /// default 64 KiB, or a largest value where that is more.
    pub fn step_bytes_max(mut self, step_bytes_max: u32) -> Self {
        self.step_bytes_max = Some(step_bytes_max);
        self
    }

    /// Sets how long a caller of a cleanup waits: 1 ms to 1 hour; by default half a second.
    pub fn request_timeout(mut self, request_timeout: Duration) -> Self {
        self.request_timeout = request_timeout;
        self
    }

    /// Sets how many requests may wait for the worker: 1 to 65,536; by default 256.
    pub fn queue_capacity(mut self, queue_capacity: usize) -> Self {
        self.queue_capacity = queue_capacity;
        self
    }

    /// Sets the name in the labels of their metrics, by default `default`. It distinguishes the pools of one process.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// Sets the wall clock by which values expire: that of the tiers whose values are kept; by default that of the system.
    pub fn clock(mut self, clock: &'static dyn Clock) -> Self {
        self.clock = clock;
        self
    }

    /// Sets the budget from which defragmentations take their slices; by default there is none, and they run without a rest.
    ///
    /// A request keeps its deadline: where the budget grants too little until then, the reply is partial. Emergency cleanups and
    /// space for inserts take no slice.
    pub fn budget(mut self, budget: WorkBudget) -> Self {
        self.budget = Some(budget);
        self
    }

    /// Checks the settings.
    ///
    /// # Errors
    /// [`PoolConfigError`] names the first value out of its range, and the range.
    pub fn build(self) -> Result<PoolConfig, PoolConfigError> {
        use PoolConfigError as E;
        let page_bytes = self.page_bytes;
        if !(PAGE_BYTES_MIN..=PAGE_BYTES_MAX).contains(&page_bytes)
            || !page_bytes.is_multiple_of(PAGE_BYTES_MIN)
        {
            return Err(E::PageBytes { given: page_bytes, min: PAGE_BYTES_MIN, max: PAGE_BYTES_MAX });
        }
        if !(1..=PARTITIONS_MAX).contains(&self.partitions) {
            return Err(E::Partitions { given: self.partitions, max: PARTITIONS_MAX });
        }
        if !(VALUE_BYTES_MAX_MIN..=page_bytes).contains(&self.value_bytes_max) {
            let (given, min) = (self.value_bytes_max, VALUE_BYTES_MAX_MIN);
            return Err(E::ValueBytes { given, min, max: page_bytes });
        }
        let pages_per_partition = self.pages_per_partition()?;
        let pages = u64::from(pages_per_partition);
        if self.low_watermark_permille >= self.high_watermark_permille || self.high_watermark_permille > 1_000
        {
            return Err(E::Watermarks {
                low: self.low_watermark_permille,
                high: self.high_watermark_permille,
            });
        }
        // Rounded so that even two pages leave a page between the watermarks, and a cleanup leaves one that may be filled.
        let high_pages = (pages * u64::from(self.high_watermark_permille)).div_ceil(1_000).max(PAGES_MIN);
        let low_pages = (pages * u64::from(self.low_watermark_permille) / 1_000)
            .clamp(u64::from(self.low_watermark_permille > 0), high_pages - 1);
        let step_bytes_min = self.value_bytes_max.next_multiple_of(8);
        let step_bytes_max = self.step_bytes_max.unwrap_or(step_bytes_min.max(STEP_BYTES_DEFAULT));
        if step_bytes_max < step_bytes_min {
            return Err(E::StepBytes { given: step_bytes_max, min: step_bytes_min });
        }
        if self.request_timeout < Duration::from_millis(1)
            || self.request_timeout > Duration::from_secs(3_600)
        {
            return Err(E::RequestTimeout { given: self.request_timeout });
        }
        if !(1..=65_536).contains(&self.queue_capacity) {
            return Err(E::QueueCapacity { given: self.queue_capacity, max: 65_536 });
        }
        Ok(PoolConfig {
            page_bytes,
            partitions: self.partitions,
            pages_per_partition,
            objects_per_partition: self.objects_per_partition(pages)?,
            value_bytes_max: self.value_bytes_max,
            limits: Limits {
                spare_pages_max: self.spare_pages_max,
                pins_max: 0,
                low_watermark_bytes: low_pages * u64::from(page_bytes),
                high_watermark_bytes: high_pages * u64::from(page_bytes),
            },
            step_bytes_max,
            request_timeout: self.request_timeout,
            queue_capacity: self.queue_capacity,
            name: self.name,
            clock: PoolClock(self.clock),
            budget: self.budget,
        })
    }

    fn pages_per_partition(&self) -> Result<u16, PoolConfigError> {
        let partition_bytes = u64::from(self.page_bytes) * u64::from(self.partitions);
        let pages = self.capacity_bytes / partition_bytes;
        let pages_max = (u64::from(MAPPINGS_MAX) / u64::from(self.partitions)).min(u64::from(u16::MAX) - 1);
        match u16::try_from(pages) {
            Ok(count) if pages >= PAGES_MIN && pages <= pages_max => Ok(count),
            _ => Err(PoolConfigError::CapacityBytes {
                given: self.capacity_bytes,
                min: partition_bytes * PAGES_MIN,
                max: partition_bytes * pages_max,
            }),
        }
    }

    fn objects_per_partition(&self, pages: u64) -> Result<u32, PoolConfigError> {
        let default =
            || u32::try_from(self.capacity_bytes / 1_024).unwrap_or(OBJECTS_MAX).clamp(1, OBJECTS_MAX);
        let objects_max = self.objects_max.unwrap_or_else(default);
        if !(1..=OBJECTS_MAX).contains(&objects_max) {
            return Err(PoolConfigError::ObjectsMax { given: objects_max, max: OBJECTS_MAX });
        }
        // No more than there can be values of no length, each of which takes 4 bytes.
        let values = pages * u64::from(self.page_bytes / 4);
        let share = objects_max.div_ceil(u32::from(self.partitions));
        Ok(share.min(u32::try_from(values).unwrap_or(u32::MAX)))
    }
}

/// Tells which value of a configuration is out of its range.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the fields say what was given and what is allowed")]
pub enum PoolConfigError {
    /// The page size.
    PageBytes { given: u32, min: u32, max: u32 },
    /// The number of partitions.
    Partitions { given: u16, max: u16 },
    /// The capacity; each partition holds at least two pages, so that a cleanup leaves something, and all of them a bounded number of mappings.
    CapacityBytes { given: u64, min: u64, max: u64 },
    /// The largest value.
    ValueBytes { given: u32, min: u32, max: u32 },
    /// The number of values.
    ObjectsMax { given: u32, max: u32 },
    /// The watermarks: low below high, high at most 1,000.
    Watermarks { low: u16, high: u16 },
    /// The bytes moved in a step.
    StepBytes { given: u32, min: u32 },
    /// The time a caller waits: 1 ms to 1 hour.
    RequestTimeout { given: Duration },
    /// The capacity of the request queue.
    QueueCapacity { given: usize, max: usize },
    /// The worker thread could not be started.
    Worker(io::ErrorKind),
}

impl fmt::Display for PoolConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PageBytes { given, min, max } => {
                write!(f, "page_bytes is {given}; it must be a multiple of {min} from {min} to {max}")
            }
            Self::Partitions { given, max } => write!(f, "partitions is {given}; it must be 1 to {max}"),
            Self::CapacityBytes { given, min, max } => {
                write!(
                    f,
                    "capacity_bytes is {given}; with these pages and partitions it must be {min} to {max}"
                )
            }
            Self::ValueBytes { given, min, max } => {
                write!(f, "value_bytes_max is {given}; it must be {min} to {max}")
            }
            Self::ObjectsMax { given, max } => write!(f, "objects_max is {given}; it must be 1 to {max}"),
            Self::Watermarks { low, high } => {
                write!(
                    f,
                    "the watermarks are {low} and {high} permille; low must be below high, high at most 1000"
                )
            }
            Self::StepBytes { given, min } => {
                write!(f, "step_bytes_max is {given}; it must be at least {min}")
            }
            Self::RequestTimeout { given } => {
                write!(f, "request_timeout is {given:?}; it must be 1 ms to 1 h")
            }
            Self::QueueCapacity { given, max } => {
                write!(f, "queue_capacity is {given}; it must be 1 to {max}")
            }
            Self::Worker(kind) => write!(f, "the pool worker could not be started: {kind}"),
        }
    }
}

impl core::error::Error for PoolConfigError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn default_builds_to_64_mib_in_eight_partitions() {
        let config = PoolConfig::builder().build().unwrap();
        assert_eq!((config.capacity_bytes(), config.partitions, config.page_bytes), (64 << 20, 8, 256 << 10));
        assert_eq!(config.value_bytes_max, 64 << 10);
        assert!(config.limits.low_watermark_bytes < config.limits.high_watermark_bytes);
    }

    #[test]
    fn values_out_of_range_are_named_with_the_range() {
        let build = PoolConfig::builder;
        let table = [
            (
                build().page_bytes(5_000),
                PoolConfigError::PageBytes { given: 5_000, min: 4_096, max: 1 << 30 },
            ),
            (build().partitions(0), PoolConfigError::Partitions { given: 0, max: 64 }),
            (
                build().capacity_bytes(1),
                PoolConfigError::CapacityBytes { given: 1, min: 4 << 20, max: (2 << 20) * 6_144 },
            ),
            (
                build().value_bytes_max(1 << 20),
                PoolConfigError::ValueBytes { given: 1 << 20, min: 16, max: 256 << 10 },
            ),
            (build().value_bytes_max(15), PoolConfigError::ValueBytes { given: 15, min: 16, max: 256 << 10 }),
            (build().objects_max(0), PoolConfigError::ObjectsMax { given: 0, max: 1 << 30 }),
            (build().watermarks_permille(950, 950), PoolConfigError::Watermarks { low: 950, high: 950 }),
            (build().step_bytes_max(1_000), PoolConfigError::StepBytes { given: 1_000, min: 64 << 10 }),
            (
                build().request_timeout(Duration::ZERO),
                PoolConfigError::RequestTimeout { given: Duration::ZERO },
            ),
            (build().queue_capacity(0), PoolConfigError::QueueCapacity { given: 0, max: 65_536 }),
        ];
        for (builder, error) in table {
            assert_eq!(builder.build(), Err(error), "{error}");
        }
    }
}
