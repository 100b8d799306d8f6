//! The part of the pools that several threads reach: a [lease](crate::recycled) of the partitions, each behind its own lock.

use core::sync::atomic::{AtomicU32, Ordering::Relaxed};
use core::time::Duration;

use coldpress_core::pool::LimitsError;
use crossbeam_channel::Sender;

use super::config::{PARTITIONS_MAX, PoolConfig};
use super::error::PoolError;
use super::partition::Partition;
use crate::observe::{Eviction, Explained, Explanation, Explanations, in_order};
use crate::recycled::{self, Gone, Lease, Recycler};

const PLACES: usize = PARTITIONS_MAX as usize;

static POOLS: Recycler<Partition, PLACES> = Recycler::new();
static EXPLANATIONS: Recycler<Explanations> = Recycler::new();
/// Tiers are numbered, and tickets issued, once per process: no count has to be reached through a lock.
static TIERS: AtomicU32 = AtomicU32::new(0);
static TICKETS: AtomicU32 = AtomicU32::new(0);

impl From<Gone> for PoolError {
    fn from(_: Gone) -> Self {
        Self::Closed
    }
}

/// Names one opening of pools.
#[derive(Debug, Clone, Copy)]
pub(super) struct Opened {
    lease: Lease<Partition, PLACES>,
    explanations: Lease<Explanations>,
    partitions: u16,
    pub(super) value_bytes_max: u32,
    pub(super) page_bytes: u32,
}

/// A locked partition, known to belong to the opening that asked for it.
pub(super) type Locked = recycled::LockedCell<Partition>;

impl Opened {
    pub(super) fn open(config: &PoolConfig, wake: &Sender<()>) -> Result<Self, LimitsError> {
        let partitions = (0..config.partitions).map(|_| Partition::new(config, wake.clone()));
        let partitions = partitions.collect::<Result<Vec<_>, _>>()?;
        Ok(Self {
            lease: POOLS.lend_row(partitions),
            explanations: EXPLANATIONS.lend(Explanations::default()),
            partitions: config.partitions,
            value_bytes_max: config.value_bytes_max,
            page_bytes: config.page_bytes,
        })
    }

    /// Drops the partitions, which returns all pages. Called once, by the manager.
    pub(super) fn close(self) {
        self.lease.empty();
        self.explanations.give_back();
    }

    /// Tells that the worker takes no more requests.
    pub(super) fn end(&self) {
        self.lease.end();
    }

    /// Whether the worker takes no more requests.
    pub(super) fn has_ended(&self) -> bool {
        self.lease.has_ended()
    }

    pub(super) const fn generation(&self) -> u64 {
        self.lease.generation()
    }

    pub(super) fn partitions(&self) -> u16 {
        self.partitions
    }

    /// Records an event.
    pub(super) fn explain(&self, took: Duration, kind: Explained) {
        // Pools that are being closed explain nothing.
        let _ = self.explanations.enter(|explanations| explanations.record(took, kind));
    }

    /// The last explanations, the newest last.
    pub(super) fn explanations(&self) -> Result<Vec<Explanation>, PoolError> {
        let mut evicted = Vec::new();
        for number in 0..self.partitions {
            evicted.extend(self.lock(number)?.evictions.take().into_iter().flatten());
        }
        Ok(self.explanations.enter(|explanations| {
            for (at_s, one) in evicted {
                explanations.record_evicted(at_s, one);
            }
            let mut all = Vec::new();
            explanations.add_to(&mut all);
            in_order(all)
        })?)
    }

    /// Records evictions of an earlier second.
    pub(super) fn explain_evicted(&self, evicted: [Option<(u32, Eviction)>; 2]) {
        for (at_s, one) in evicted.into_iter().flatten() {
            // Pools that are being closed explain nothing.
            let _ = self.explanations.enter(|explanations| explanations.record_evicted(at_s, one));
        }
    }

    /// Locks a partition.
    pub(super) fn lock(&self, partition: u16) -> Result<Locked, PoolError> {
        Ok(self.lease.lock(usize::from(partition))?)
    }
}

/// A number that no other tier of this process has.
pub(super) fn next_tier() -> u32 {
    TIERS.fetch_add(1, Relaxed)
}

/// A ticket's generation, in the order of requests.
pub(super) fn next_ticket() -> u32 {
    TICKETS.fetch_add(1, Relaxed)
}
