//! The values of a tier, read without a lock.

use core::fmt;
use core::time::Duration;
use std::path::{Path, PathBuf};
use std::vec::IntoIter;

use coldpress_core::codec::CodecId;
use coldpress_core::format::{KeyHash, Kind, Location, PIECE_EXPIRES_S, key_hash, partition_of};

use super::facts::TierFacts;
use super::inspect::InspectError;
use crate::image::{Contents, Damage, Image, ImageError, PartImage, StoredRecord, store_of};

/// The most times that values that moved are looked for again.
const ROUNDS_MAX: u32 = 20;
/// The most times that the pieces of a long value are looked for again. A mount may see that they were removed, and not the value that replaced
/// them.
const PIECES_ROUNDS_MAX: u32 = 3;
const BETWEEN_ROUNDS: Duration = Duration::from_millis(10);

/// The log of a partition, as it was while it was mounted.
#[derive(Debug)]
pub struct PartitionLog {
    number: u16,
    path: PathBuf,
    part: PartImage,
}

impl PartitionLog {
    /// Mounts a partition of a tier; `None` where it holds nothing and tells no shape, and beyond the last one.
    ///
    /// # Errors
    /// [`InspectError`]; nothing is changed.
    ///
    /// # Bounds
    /// As an open, and once more where a service wrote to it and it holds long values. Up to ten mounts in all while a service frees
    /// segments. Memory for two indexes of the partition.
    pub fn open(facts: &TierFacts, number: u16) -> Result<Option<Self>, InspectError> {
        let Some(known) = facts.partitions.get(usize::from(number)) else { return Ok(None) };
        let path = known.path.clone();
        let part = PartImage::open(&path).map_err(|error| InspectError::of_log(&path, error))?;
        Ok(part.map(|part| Self { number, path, part }))
    }

    /// The log: its segments, counts and clock.
    #[must_use]
    pub const fn image(&self) -> &Image {
        self.part.image()
    }

    /// The file of the partition.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether a mount found the log at rest. If none did, a service freed segments during each, and values that it relocated may be
    /// missing.
    #[must_use]
    pub const fn is_settled(&self) -> bool {
        self.part.is_settled()
    }

    /// Reads a segment record by record; `None` where a service freed or opened it since the mount.
    ///
    /// # Errors
    /// As [`Image::examine`].
    ///
    /// # Bounds
    /// Reads the segment, and once more where something in it seems damaged.
    pub fn examine(&self, segment: u32) -> Result<Option<Contents>, ImageError> {
        self.part.examine(segment)
    }

    /// The time by which values expire: the later one of a clock and the log's.
    fn time_s(&self, now_s: u32) -> u32 {
        now_s.max(self.image().clock_s())
    }

    /// Reads the value of a record.
    fn entry(
        &self,
        record: StoredRecord,
        now_s: u32,
        has_value: bool,
    ) -> Result<Option<SnapshotEntry>, Missed> {
        let value = match record.codec {
            _ if !has_value => Vec::new(),
            CodecId::Chunked => match self.image().get(&record.key, self.time_s(now_s)) {
                Ok(Some(value)) => value,
                Ok(None) => return Ok(None),
                Err(error) => {
                    return Err(match self.missed(error) {
                        Missed::Broken(error) => Missed::Doubtful(error),
                        missed => missed,
                    });
                }
            },
            _ => record.value().map_err(|error| self.missed(error))?,
        };
        Ok(Some(SnapshotEntry { key: record.key, value, expires_s: record.expires_s }))
    }

    /// Reads the entry under a hash.
    fn find(&self, hash: &KeyHash, now_s: u32, has_value: bool) -> Result<Option<SnapshotEntry>, Missed> {
        match self.image().newest(hash).map_err(|error| self.missed(error))? {
            Some(record) if lives(&record, self.time_s(now_s)) => self.entry(record, now_s, has_value),
            _ => Ok(None),
        }
    }

    /// Distinguishes a record that moved from one that is damaged.
    fn missed(&self, error: ImageError) -> Missed {
        match error {
            ImageError::Damaged(at) if self.part.has_changed(at.segment.get()) => Missed::Moved,
            ImageError::Changing(_) => Missed::Moved,
            ImageError::Damaged(at) => Missed::Broken(self.damaged(at)),
            error => Missed::Broken(SnapshotError::Inspect(InspectError::of_log(&self.path, error))),
        }
    }

    const fn damaged(&self, at: Location) -> SnapshotError {
        SnapshotError::Damaged { partition: self.number, segment: at.segment.get(), offset: at.offset }
    }
}

/// Why an entry was not read.
enum Missed {
    /// Its segment was freed, or it is a long value that was written meanwhile.
    Moved,
    /// A long value, of which a piece is damaged, or was replaced meanwhile.
    Doubtful(SnapshotError),
    Broken(SnapshotError),
}

/// Whether a record is a value that a reader finds.
fn lives(record: &StoredRecord, now_s: u32) -> bool {
    record.is_live
        && record.kind == Kind::Value
        && record.expires_s != Some(PIECE_EXPIRES_S)
        && record.expires_s.is_none_or(|at| at > now_s)
}

/// A key and its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotEntry {
    /// The key.
    pub key: Vec<u8>,
    /// The value, decoded and in one piece.
    pub value: Vec<u8>,
    /// When it expires, in seconds since 1970; `None` where it never does.
    pub expires_s: Option<u32>,
}

/// Why an entry, or a part of them, can't be read. The others are read all the same.
#[derive(Debug)]
#[non_exhaustive]
pub enum SnapshotError {
    /// The newest record of a key, or a piece of its value, is damaged.
    Damaged {
        /// The partition.
        partition: u16,
        /// The segment in it.
        segment: u32,
        /// The place of the record in the segment, in bytes.
        offset: u32,
    },
    /// A segment can't be read, or no copy of its header is whole: the records in it are not known.
    Segment {
        /// The partition.
        partition: u16,
        /// The segment in it.
        segment: u32,
    },
    /// Entries of a partition moved each time they were looked for, up to 20 times, because its service compacts all the time. Or
    /// they are long values that it overwrites all the time.
    Moved {
        /// The partition.
        partition: u16,
        /// Entries that were not read.
        entries: usize,
    },
    /// The partition could not be mounted, or a value can't be decoded.
    Inspect(InspectError),
}

impl fmt::Display for SnapshotError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Damaged { partition, segment, offset } => {
                write!(f, "partition {partition}, segment {segment}: the record at {offset} is damaged")
            }
            Self::Segment { partition, segment } => {
                write!(f, "partition {partition}, segment {segment}: its records can't be read")
            }
            Self::Moved { partition, entries } => {
                write!(
                    f,
                    "partition {partition}: {entries} entries moved or changed too often to be read, since a service writes"
                )
            }
            Self::Inspect(error) => write!(f, "{error}"),
        }
    }
}

impl core::error::Error for SnapshotError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Inspect(error) => Some(error),
            Self::Damaged { .. } | Self::Segment { .. } | Self::Moved { .. } => None,
        }
    }
}

/// Iterates over the entries of a tier, partition by partition, in the order in which they lie there.
///
/// A key that has a value from the first step to the last comes exactly once. If a service changes the tier meanwhile, a key comes
/// with a value that it had meanwhile. A long value counts once two mounts find it alike, so one that is overwritten faster than that
/// is [`SnapshotError::Moved`].
///
/// # Bounds
/// Memory for two indexes of one partition and the records of one segment. Reads each segment once.
#[derive(Debug)]
pub struct Snapshot<'f> {
    facts: &'f TierFacts,
    now_s: u32,
    has_values: bool,
    is_settled: bool,
    next: u16,
    current: Option<PartitionWalk>,
}

/// The way through a partition.
#[derive(Debug)]
struct PartitionWalk {
    partition: PartitionLog,
    segment: u32,
    records: IntoIter<StoredRecord>,
    errors: Vec<SnapshotError>,
    /// Entries whose segments were freed before they were read.
    moved: Vec<KeyHash>,
    /// Entries that are read at their new places.
    again: IntoIter<KeyHash>,
    rounds: u32,
    has_values: bool,
    is_settled: bool,
}

impl<'f> Snapshot<'f> {
    /// Begins with the first partition. Values that expired at `now_s`, in seconds since 1970, or by the time of the log, are left out.
    #[must_use]
    pub const fn new(facts: &'f TierFacts, now_s: u32) -> Self {
        Self { facts, now_s, has_values: true, is_settled: true, next: 0, current: None }
    }

    /// Leaves the values empty, which saves decoding them.
    #[must_use]
    pub const fn without_values(mut self) -> Self {
        self.has_values = false;
        self
    }

    /// Whether all partitions so far were found at rest; see [`PartitionLog::is_settled`].
    #[must_use]
    pub const fn is_settled(&self) -> bool {
        self.is_settled
    }

    /// Reads the value of a key.
    ///
    /// # Errors
    /// [`SnapshotError`].
    ///
    /// # Bounds
    /// Mounts the partition of the key, as [`PartitionLog::open`] does; again, up to 20 times, while the value moves.
    pub fn get(&self, key: &[u8]) -> Result<Option<SnapshotEntry>, SnapshotError> {
        let mut store = None;
        for part in &self.facts.partitions {
            store = store_of(&part.path).map_err(|error| InspectError::of_log(&part.path, error))?;
            if store.is_some() {
                break;
            }
        }
        let Some(store) = store else { return Ok(None) };
        let hash = key_hash(&store.hash_key, key);
        let number = u16::try_from(partition_of(&hash, self.facts.partitions.len())).unwrap_or(u16::MAX);
        for round in 0..ROUNDS_MAX {
            let Some(partition) = PartitionLog::open(self.facts, number)? else { return Ok(None) };
            match partition.find(&hash, self.now_s, true) {
                Ok(found) => return Ok(found),
                Err(Missed::Broken(error)) => return Err(error),
                Err(Missed::Doubtful(error)) if round == PIECES_ROUNDS_MAX => return Err(error),
                Err(Missed::Moved | Missed::Doubtful(_)) => std::thread::sleep(BETWEEN_ROUNDS),
            }
        }
        Err(SnapshotError::Moved { partition: number, entries: 1 })
    }

    /// The share of the tier that was gone through, in thousandths.
    #[must_use]
    pub fn permille(&self) -> u16 {
        let parts = self.facts.partitions.len().max(1) as u64;
        let done = self.current.as_ref().map_or(0, |walk| {
            u64::from(walk.segment) * 1000
                / u64::from(walk.partition.image().geometry().segment_count()).max(1)
        });
        // The partition under way counts by its segments.
        let before = u64::from(self.next).saturating_sub(u64::from(self.current.is_some()));
        u16::try_from((before * 1000 + done.min(1000)) / parts).unwrap_or(1000)
    }
}

impl From<InspectError> for SnapshotError {
    fn from(error: InspectError) -> Self {
        Self::Inspect(error)
    }
}

impl Iterator for Snapshot<'_> {
    type Item = Result<SnapshotEntry, SnapshotError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let Some(walk) = &mut self.current else {
                let number = self.next;
                if usize::from(number) >= self.facts.partitions.len() {
                    return None;
                }
                self.next += 1;
                match PartitionLog::open(self.facts, number) {
                    Ok(partition) => {
                        self.is_settled &= partition.as_ref().is_none_or(PartitionLog::is_settled);
                        self.current =
                            partition.map(|partition| PartitionWalk::new(partition, self.has_values));
                    }
                    Err(error) => return Some(Err(error.into())),
                }
                continue;
            };
            match walk.step(self.facts, self.now_s) {
                Some(item) => return Some(item),
                None => {
                    self.is_settled &= walk.is_settled;
                    self.current = None;
                }
            }
        }
    }
}

impl PartitionWalk {
    fn new(partition: PartitionLog, has_values: bool) -> Self {
        Self {
            has_values,
            is_settled: true,
            partition,
            segment: 0,
            records: Vec::new().into_iter(),
            errors: Vec::new(),
            moved: Vec::new(),
            again: Vec::new().into_iter(),
            rounds: 0,
        }
    }

    /// The next entry of the partition.
    fn step(&mut self, facts: &TierFacts, now_s: u32) -> Option<Result<SnapshotEntry, SnapshotError>> {
        loop {
            if let Some(error) = self.errors.pop() {
                return Some(Err(error));
            }
            let time_s = self.partition.time_s(now_s);
            let found = if let Some(record) = self.records.next() {
                if !lives(&record, time_s) {
                    continue;
                }
                let hash = key_hash(&self.partition.image().store().hash_key, &record.key);
                let entry = self.partition.entry(record, now_s, self.has_values);
                (hash, entry)
            } else if let Some(hash) = self.again.next() {
                (hash, self.partition.find(&hash, now_s, self.has_values))
            } else if self.segment < self.partition.image().geometry().segment_count() {
                self.read_segment();
                continue;
            } else if self.moved.is_empty() {
                return None;
            } else if let Some(error) = self.mount_again(facts) {
                return Some(Err(error));
            } else {
                continue;
            };
            match found {
                (_, Ok(Some(entry))) => return Some(Ok(entry)),
                (_, Ok(None)) => {}
                (_, Err(Missed::Broken(error))) => return Some(Err(error)),
                (_, Err(Missed::Doubtful(error))) if self.rounds >= PIECES_ROUNDS_MAX => {
                    return Some(Err(error));
                }
                (hash, Err(Missed::Moved | Missed::Doubtful(_))) => self.moved.push(hash),
            }
        }
    }

    fn read_segment(&mut self) {
        let segment = self.segment;
        self.segment += 1;
        match self.partition.examine(segment) {
            Ok(Some(contents)) => {
                let number = self.partition.number;
                let error = |damage: &Damage| match *damage {
                    Damage::Record { offset, is_live: true, .. } => {
                        Some(SnapshotError::Damaged { partition: number, segment, offset })
                    }
                    Damage::Unreadable | Damage::Quarantined => {
                        Some(SnapshotError::Segment { partition: number, segment })
                    }
                    _ => None,
                };
                self.errors.extend(contents.damage.iter().filter_map(error));
                self.records = contents.records.into_iter();
            }
            Ok(None) => self.moved.extend(self.partition.part.keys_in(segment)),
            Err(error) => self.errors.push(InspectError::of_log(&self.partition.path, error).into()),
        }
    }

    /// Mounts the partition again, to find the new places of entries that moved.
    fn mount_again(&mut self, facts: &TierFacts) -> Option<SnapshotError> {
        let moved = core::mem::take(&mut self.moved);
        self.rounds += 1;
        if self.rounds > ROUNDS_MAX {
            return Some(SnapshotError::Moved { partition: self.partition.number, entries: moved.len() });
        }
        std::thread::sleep(BETWEEN_ROUNDS);
        match PartitionLog::open(facts, self.partition.number) {
            Ok(Some(partition)) => {
                self.is_settled &= partition.is_settled();
                self.partition = partition;
                self.segment = u32::MAX;
                self.again = moved.into_iter();
                None
            }
            // All of them were removed.
            Ok(None) => None,
            Err(error) => Some(error.into()),
        }
    }
}
