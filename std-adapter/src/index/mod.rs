//! The index of a partition: an entry for each key, the sums over all keys, and the index as the machine sees it.

mod entry;
mod expiry;
mod families;
mod found;
mod health;
mod lengths;
mod log_clock;
mod packed;
mod partition;
mod publish;
mod recoder;
mod shard;
mod shared;
mod table;

pub(crate) use self::entry::{Entry, PENDING_OVERHEAD_BYTES, Pending, Stored, WriteId};
pub(crate) use self::families::{Family, FamilyWriter, Generation};
pub(crate) use self::health::{Health, PostedHealth};
pub(crate) use self::lengths::Lengths;
pub(crate) use self::log_clock::LogTime;
pub(crate) use self::partition::{EvictedRecords, IndexClock, PartitionIndex};
pub(crate) use self::publish::{Publish, is_surely_removed, publish};
pub(crate) use self::shared::{NotWritten, STRIPES, SharedPartition};
