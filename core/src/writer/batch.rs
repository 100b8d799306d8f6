//! A batch: records of several keys that count together, or not at all.
//!
//! ```text
//!  None ─1─► Open ─2─► Ending ─3─► Done
//!              └────4────┴───────► Failed
//! ```
//! 1 `begin_batch` an open segment has space for all; 2 `append_member` the last member is placed, once all others are durable; 3
//! `poll_batch` it is durable: all are published in one step, and a time record goes behind them; 4 `give_up_batch`, or a write
//! or sync failed: the segment is sealed. A new batch begins from any state but Open and Ending.
//!
//! While a batch is open no other record is appended, and no engine is polled. So its members lie one after the other, and nothing
//! behind them before they are durable.

use super::slots::SlotIndex;
use crate::format::Sequence;
use crate::segments::SyncPoint;

/// The state of the last batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum BatchState {
    /// There was none since the mount.
    #[default]
    None,
    /// It takes members.
    Open,
    /// It has its last member, which is not durable yet.
    Ending,
    /// It is durable and published.
    Done,
    /// A write or a sync of it failed, or it was given up. No member counts before the next mount, which finds all of them or none;
    /// none where the last one was not appended.
    Failed,
}

/// The demands of a batch on the segment that is to hold it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct BatchNeed {
    /// Its records: one at least.
    pub records: u32,
    /// Their bytes, headers and padding included.
    pub bytes: u32,
    /// The newest sequence of the records that it replaces: its own gets no lower one.
    pub after: Sequence,
}

/// How long a batch may wait for its next member, in milliseconds, while the machine is polled. Then it is given up.
pub const BATCH_WAIT_MS: u64 = 10_000;

/// A batch that is under way.
#[derive(Debug, Clone, Copy)]
pub(super) struct OpenBatch {
    /// The slot that fills its segment.
    pub(super) slot: SlotIndex,
    pub(super) is_ending: bool,
    /// Offset in the segment at which its members end at the latest.
    pub(super) end: u32,
    /// The last complete write of it.
    pub(super) sync_point: SyncPoint,
    /// When it got its last member.
    pub(super) since_ms: u64,
}

/// The batch that is under way, and the outcome of the last one.
#[derive(Debug, Default)]
pub(super) struct Batches {
    pub(super) open: Option<OpenBatch>,
    pub(super) outcome: BatchState,
}

impl Batches {
    /// The state of the last batch.
    pub(super) const fn state(&self) -> BatchState {
        match &self.open {
            None => self.outcome,
            Some(open) if open.is_ending => BatchState::Ending,
            Some(_) => BatchState::Open,
        }
    }

    /// Whether the batch that is under way fills this slot.
    pub(super) fn fills(&self, slot: SlotIndex) -> bool {
        self.open.is_some_and(|open| open.slot == slot)
    }

    /// Ends the batch that is under way.
    pub(super) const fn end(&mut self, outcome: BatchState) {
        self.open = None;
        self.outcome = outcome;
    }
}
