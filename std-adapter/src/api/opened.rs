//! An open tier, as its clients see it: they reach it through a [lease](crate::recycled), which each of their operations enters.
//!
//! An operation is inside while it looks at the tier, never while it waits for a worker. A close waits for operations inside,
//! until its deadline.

use core::cell::Cell;
use core::ops::Deref;
use core::sync::atomic::AtomicBool;
use core::sync::atomic::Ordering::Relaxed;
use core::time::Duration;
use std::time::Instant;

use coldpress_core::format::{HASH_KEY_BYTES, KeyHash, Seed, key_hash, partition_of};
use parking_lot::Mutex;

use super::futures::ReaderQueue;
use super::shrinking::Shrinking;
use crate::clock::{Clock, monotonic_ms_at};
use crate::config::{Durability, FullPolicy, Terms};
use crate::errors::{GetError, TierError};
use crate::index::{Health, SharedPartition};
use crate::observe::TierMeter;
use crate::pool::HotPools;
use crate::recycled::{Gone, Held, Recycler};
use crate::storage::{MediumFailure, ServiceMedium};
use crate::worker::MessageSender;

/// One partition, as clients see it.
pub(crate) struct Part {
    pub(crate) shared: Held<SharedPartition>,
    pub(crate) medium: Box<dyn ServiceMedium>,
    pub(crate) sender: MessageSender,
    pub(crate) meter: TierMeter,
    /// Whether its values shrink.
    pub(crate) shrinking: Shrinking,
    /// Reads of futures that have to wait for the device.
    pub(crate) reader: ReaderQueue,
}

/// An open tier, as clients see it.
pub(crate) struct Open {
    pub(crate) parts: Vec<Part>,
    pub(crate) terms: Terms,
    pub(crate) limits: TierLimits,
    pub(crate) hash_key: [u8; HASH_KEY_BYTES],
    /// The start of record checksums.
    pub(crate) seed: Seed,
    /// The number of the store, and the schema of its values.
    #[cfg(feature = "archive")]
    pub(crate) store_id: u64,
    #[cfg(feature = "archive")]
    pub(crate) schema: Option<Box<str>>,
    pub(crate) clock: &'static dyn Clock,
    /// Held while all partitions get a message, so that each gets the same one last.
    pub(crate) telling: Mutex<()>,
    /// Set when a client gets the error that a file of the tier was lost: from then on nothing is written to the others either.
    pub(crate) is_file_lost: AtomicBool,
    /// The pools and this tier's number in them, where hot values are kept.
    pub(crate) hot: Option<(HotPools, u32)>,
}

/// The limits and defaults of a tier.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TierLimits {
    pub(crate) key_bytes_max: u32,
    pub(crate) value_bytes_max: u32,
    /// The longest record that is written; a value that takes a longer one lies in pieces.
    pub(crate) record_bytes_max: u32,
    pub(crate) full: FullPolicy,
    pub(crate) ttl: Option<Duration>,
    pub(crate) idle_s: Option<u32>,
    pub(crate) clock_jump_s: u32,
    pub(crate) durability: Durability,
    pub(crate) skips_unchanged: bool,
    pub(crate) pending_bytes_max: u64,
    pub(crate) op_timeout: Duration,
    pub(crate) capacity_bytes: u64,
    pub(crate) interval: Duration,
    pub(crate) is_read_only: bool,
}

impl Open {
    /// The identity of a key and its partition.
    pub(crate) fn route(&self, key: &[u8]) -> (KeyHash, usize) {
        let hash = key_hash(&self.hash_key, key);
        (hash, partition_of(&hash, self.parts.len()))
    }

    /// Refuses a key that is too long, with its length and the limit.
    pub(crate) fn check_key(&self, key: &[u8]) -> Result<(), (usize, u32)> {
        let max = self.limits.key_bytes_max;
        if key.len() > max as usize { Err((key.len(), max)) } else { Ok(()) }
    }

    /// The identity of a key that is read, and its partition.
    pub(super) fn find(&self, key: &[u8]) -> Result<(KeyHash, &Part), GetError> {
        self.check_key(key).map_err(|(bytes, max)| GetError::KeyTooLong { bytes, max })?;
        let (hash, index) = self.route(key);
        Ok((hash, self.part(index)?))
    }

    /// Refuses writes of a tier that is only read.
    pub(crate) fn check_writes(&self) -> Result<(), TierError> {
        if self.limits.is_read_only { Err(TierError::ReadOnly) } else { Ok(()) }
    }

    pub(crate) fn part(&self, index: usize) -> Result<&Part, TierError> {
        self.parts.get(index).ok_or(TierError::Closed)
    }

    /// Refuses operations that need a worker where the worker has ended, or a file of the tier was lost.
    pub(crate) fn check_alive(&self, part: &Part) -> Result<(), TierError> {
        if part.shared.health.get() == Health::FileLost {
            self.lose_file();
        }
        if self.is_file_lost.load(Relaxed) {
            return Err(TierError::FileLost);
        }
        part.check_alive()
    }

    /// Refuses writes that a partition does not take now.
    pub(crate) fn check_takes(&self, part: &Part) -> Result<(), TierError> {
        self.check_alive(part)?;
        part.shared.health.check_writable()
    }

    /// Whether all workers are there, and none has lost its file.
    pub(crate) fn is_alive(&self) -> bool {
        self.parts.iter().all(|part| self.check_alive(part).is_ok())
    }

    /// Looks whether all files are in their places. A file that can't be looked at counts as in its place.
    pub(crate) fn has_its_files(&self) -> bool {
        let is_lost = self.parts.iter().any(|part| part.medium.is_in_place() == Ok(false));
        if is_lost {
            self.lose_file();
        }
        !is_lost
    }

    /// Makes all partitions refuse writes, and alerts their waiters.
    fn lose_file(&self) {
        if !self.is_file_lost.swap(true, Relaxed) {
            self.parts.iter().for_each(|part| part.shared.admission.alert());
        }
    }

    /// The wall clock, but not earlier than the log's time, and not further ahead of it than the log would follow.
    pub(crate) fn now_s(&self, part: &Part) -> u32 {
        part.shared.clock.now_s(self.clock.wall_s(), self.limits.clock_jump_s)
    }

    /// As [`now_s`](Self::now_s), with a monotonic clock that was read already.
    pub(crate) fn now_s_at(&self, part: &Part, now: Instant) -> u32 {
        part.shared.clock.now_s_at(monotonic_ms_at(now), self.clock.wall_s(), self.limits.clock_jump_s)
    }
}

/// The reads of the log in one look at an open tier: whether they may wait for the device.
pub(crate) struct LogReads<'a> {
    open: &'a Open,
    may_wait: bool,
    would_wait: Cell<bool>,
}

impl Open {
    /// Reads that wait for the device where they have to.
    pub(crate) const fn reads(&self) -> LogReads<'_> {
        LogReads { open: self, may_wait: true, would_wait: Cell::new(false) }
    }

    /// Reads of bytes that the system has in memory. If a read would wait, the caller drops the result of its look.
    pub(crate) const fn reads_without_waits(&self) -> LogReads<'_> {
        LogReads { open: self, may_wait: false, would_wait: Cell::new(false) }
    }
}

impl LogReads<'_> {
    /// Fills `bytes`; tells whether it did, or would have waited.
    pub(super) fn read(&self, part: &Part, at: u64, bytes: &mut [u8]) -> Result<bool, MediumFailure> {
        if self.may_wait {
            return part.medium.read_shared(at, bytes).map(|()| true);
        }
        let is_read = part.medium.read_cached(at, bytes)?;
        self.would_wait.set(self.would_wait.get() || !is_read);
        Ok(is_read)
    }

    /// Tells whether any read would have waited.
    pub(super) const fn would_wait(&self) -> bool {
        self.would_wait.get()
    }
}

impl Deref for LogReads<'_> {
    type Target = Open;

    fn deref(&self) -> &Open {
        self.open
    }
}

/// The slots of open tiers. A closed tier is [`TierError::Closed`].
pub(super) static OPEN_TIERS: Recycler<Open> = Recycler::new();

impl From<Gone> for TierError {
    fn from(_: Gone) -> Self {
        Self::Closed
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::open::ColdTier;
    use crate::config::ColdTierConfig;
    use crate::errors::CloseError;
    use crate::pool::{AllocationManager, PoolConfig};
    use crate::worker::Message;

    #[test]
    fn operation_that_a_close_gave_up_waiting_for_finds_it_closed() {
        let dir = tempfile::tempdir().unwrap();
        let (_manager, pools) = AllocationManager::new(&PoolConfig::builder().build().unwrap()).unwrap();
        let config = ColdTierConfig::builder().capacity_bytes(4 << 20);
        let config = config.close_timeout(Duration::from_millis(20)).build().unwrap();
        let tier = ColdTier::open(dir.path(), "t", config, pools).unwrap();
        let handle = tier.handle();
        let refused = handle.enter(|open| {
            let closed = std::thread::spawn(move || tier.close()).join().unwrap();
            assert_eq!(closed, Err(CloseError::TimedOut));
            let calls = open.parts.iter().map(|part| {
                // It may take some more until its worker is over.
                core::iter::repeat_with(|| part.pass_message(&mut Some(Message::Cancel)))
                    .find_map(Result::err)
            });
            calls.collect::<Vec<_>>()
        });
        assert_eq!(refused, Ok(vec![Some(TierError::Closed)]));
    }
}
