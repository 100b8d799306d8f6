//! The seam between the programs and the tier: the operations that a replay needs of a store.
//!
//! Two stores implement it, the tier on a file and a map in memory. The map makes the programs' own logic testable, and run by
//! itself it shows how much of a figure is the program's own.

use core::fmt;
use core::time::Duration;

/// Why a store refused an operation.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum StoreError {
    /// No space: the value was not stored, and the old one still is.
    Full,
    /// The record was found damaged, or made by a codec that is lacking.
    Damaged(String),
    /// Anything else; the run ends.
    Failed(String),
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full => f.write_str("the store is full"),
            Self::Damaged(what) => write!(f, "a record cannot be read: {what}"),
            Self::Failed(what) => write!(f, "the store failed: {what}"),
        }
    }
}

impl core::error::Error for StoreError {}

/// The tasks of the compaction system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Task {
    /// Relocates the live records of victims and frees them.
    CompactData,
    /// Reads the log and reconciles the index with it.
    RebuildIndex,
    /// Drops expired records.
    CleanupExpired,
    /// Measures the codecs on live records and chooses.
    OptimizeCompression,
}

impl Task {
    /// Gives the name as the tier spells it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::CompactData => "CompactData",
            Self::RebuildIndex => "RebuildIndex",
            Self::CleanupExpired => "CleanupExpired",
            Self::OptimizeCompression => "OptimizeCompression",
        }
    }
}

/// The end of a task, or of another operation of a store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskReport {
    /// The name of the operation.
    pub name: &'static str,
    /// The outcome, in the store's own words.
    pub outcome: String,
    /// Whether it failed.
    pub is_failed: bool,
    /// Milliseconds from the call to the report.
    pub ms: u64,
}

impl TaskReport {
    /// Reports a failure.
    #[must_use]
    pub fn failed(name: &'static str, took: Duration, error: &StoreError) -> Self {
        Self { is_failed: true, ..Self::done(name, took, error.to_string()) }
    }

    /// Reports an end that is no failure.
    #[must_use]
    pub fn done(name: &'static str, took: Duration, outcome: String) -> Self {
        let ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        Self { name, outcome, is_failed: false, ms }
    }
}

/// A segment as the picture shows it. Bytes that are neither live nor stale are free.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SegmentView {
    /// Bytes that are still needed.
    pub live_bytes: u64,
    /// Bytes that a compaction would reclaim.
    pub stale_bytes: u64,
    /// Bytes of the segment.
    pub capacity_bytes: u64,
}

/// A page of the pools as the picture shows it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PageView {
    /// Bytes of a unit, in which the page is counted.
    pub slot_bytes: u32,
    /// Units in use.
    pub used: u32,
    /// Units of the page.
    pub slots: u32,
}

/// The counts of a store since it was opened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StoreFigures {
    /// Bytes of keys and values as they were put.
    pub bytes_put: u64,
    /// Bytes of fresh records as written, headers and codec included.
    pub bytes_encoded: u64,
    /// Bytes written in all: fresh records, relocated ones, headers, footers.
    pub bytes_written: u64,
    /// The limit.
    pub capacity_bytes: u64,
    /// The most bytes that were ever taken.
    pub peak_bytes: u64,
    /// Bytes of records that are still needed.
    pub live_bytes: u64,
    /// Compactions that ended.
    pub compactions: u64,
    /// Bytes of log segments that were freed.
    pub log_bytes_reclaimed: u64,
    /// Bytes of pool pages that went back to the operating system.
    pub pool_bytes_reclaimed: u64,
    /// Records that were found when the store was opened.
    pub recovered_records: u64,
    /// Bytes of the index.
    pub index_bytes: u64,
    /// Keys in the index.
    pub keys: u64,
}

/// A handle with which threads reach a store.
pub trait Handle: Copy + Send + Sync {
    /// Stores a value.
    ///
    /// # Errors
    ///
    /// [`StoreError::Full`] where there is no space; the old value stays.
    fn put(self, key: &[u8], value: &[u8], ttl_s: Option<u32>) -> Result<(), StoreError>;

    /// Reads a value.
    ///
    /// # Errors
    ///
    /// [`StoreError::Damaged`] where it is there and cannot be read.
    fn get(self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError>;

    /// Removes a key.
    ///
    /// # Errors
    ///
    /// [`StoreError::Failed`].
    fn remove(self, key: &[u8]) -> Result<(), StoreError>;

    /// Says whether a compaction is under way.
    fn is_compacting(self) -> bool;

    /// Runs a task and waits for its report.
    ///
    /// # Errors
    ///
    /// [`StoreError::Failed`] where the task cannot be started or gives no report in time.
    fn run(self, task: Task) -> Result<TaskReport, StoreError>;

    /// Gives the counts.
    fn figures(self) -> StoreFigures;
}

/// A store that is open.
pub trait Store: Sized {
    /// The handle for threads.
    type Handle<'a>: Handle
    where
        Self: 'a;

    /// Gives a handle.
    fn handle(&self) -> Self::Handle<'_>;

    /// Shows the segments.
    fn segments(&self) -> Vec<SegmentView>;

    /// Shows the pages of the pools.
    fn pages(&self) -> Vec<PageView>;

    /// Gives the external fragmentation of the pools, in thousandths.
    fn fragmentation_permille(&self) -> u32;

    /// Defragments the pools and gives the bytes that went back.
    ///
    /// # Errors
    ///
    /// [`StoreError::Failed`] where the pools do not answer in time.
    fn defragment(&self) -> Result<u64, StoreError>;

    /// Runs an emergency cleanup of the pools and gives the bytes that went back.
    ///
    /// # Errors
    ///
    /// [`StoreError::Failed`] where the pools do not answer in time.
    fn clean_up(&self) -> Result<u64, StoreError>;

    /// Makes everything durable.
    ///
    /// # Errors
    ///
    /// [`StoreError::Failed`].
    fn flush(&self) -> Result<(), StoreError>;

    /// Closes in order.
    ///
    /// # Errors
    ///
    /// [`StoreError::Failed`].
    fn close(self) -> Result<(), StoreError>;
}

/// Opens the same store again and again.
pub trait Opener {
    /// The store.
    type Store<'a>: Store
    where
        Self: 'a;

    /// Opens it.
    ///
    /// # Errors
    ///
    /// [`StoreError::Failed`].
    fn open(&self) -> Result<Self::Store<'_>, StoreError>;

    /// Bytes of the disk that its files have now, as the system counts them; `None` where it has no files.
    fn disk_bytes(&self) -> Option<u64> {
        None
    }
}

/// Looks at the bytes of a disk, taken again and again.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DiskLooks {
    /// How often it was looked.
    pub looks: u64,
    /// The most that was seen.
    pub peak_bytes: u64,
    /// How often more was seen than the limit.
    pub above: u64,
}

impl DiskLooks {
    /// Notes a look.
    pub fn note(&mut self, bytes: u64, limit_bytes: u64) {
        self.looks += 1;
        self.peak_bytes = self.peak_bytes.max(bytes);
        self.above += u64::from(bytes > limit_bytes);
    }
}
