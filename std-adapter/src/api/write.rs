//! A write on its way into the index: its parts, its condition, and the reasons for which it is refused.

use std::time::Instant;

use coldpress_core::durability::expiry_s;
use coldpress_core::format::{KeyHash, beside_pieces, partition_of};

use super::get::{Current, Reading};
use super::long::LongPut;
use super::opened::{Open, Part};
use super::unchanged::Kept;
use crate::admission::Lack;
use crate::config::Durability;
use crate::errors::{PutError, RemoveError, TierError};
use crate::index::{Entry, PENDING_OVERHEAD_BYTES, Pending, WriteId};
use crate::observe::{Explained, RefusalCause, RefusedOperation, RefusedWrite};
use crate::storage::MediumError;
use crate::worker::Reply;

/// A condition of a write, checked under the same guard under which the write goes into the index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Condition {
    None,
    /// The key has no value, or one whose time is over.
    Absent,
    /// Its value is the one of this write, and its time is not over.
    Is(WriteId),
}

impl Condition {
    /// The condition that nothing has changed since a look.
    pub(super) fn unchanged(current: Option<Current>) -> Self {
        current.map_or(Self::Absent, |current| Self::Is(current.identity))
    }

    /// The condition that nothing has changed since a read. A value that reads as absent is there all the same.
    pub(super) fn as_read(reading: Reading) -> Self {
        match reading {
            Reading::Absent => Self::Absent,
            Reading::Lost(current) | Reading::Value(current) => Self::Is(current.identity),
        }
    }

    pub(super) fn holds(self, entry: &Entry, is_current: bool) -> bool {
        match self {
            Self::None => true,
            Self::Absent => !is_current,
            Self::Is(identity) => is_current && entry.identity() == Some(identity),
        }
    }
}

/// A write on its way into the index.
pub(super) struct Write {
    pub(super) part: usize,
    pub(super) hash: KeyHash,
    pub(super) pending: Option<Pending>,
    /// The pieces that go before it, where it is the head of a long value.
    pub(super) long: Option<Box<LongPut>>,
    /// How long the value lives, counted from when it can be read.
    pub(super) lives_s: Option<u32>,
    /// Its expiry, where it keeps that of the value that it replaces.
    pub(super) kept_expires_s: Option<u32>,
    pub(super) waiter: Option<Reply<Result<(), TierError>>>,
    pub(super) durability: Durability,
    pub(super) is_put: bool,
    /// The record that stands for it, where its value is stored already.
    pub(super) kept: Option<Kept>,
    /// The condition under which the write goes into the index.
    pub(super) condition: Condition,
    /// Whether only the lifetime changes.
    pub(super) is_touch: bool,
    /// Bytes of key and value, for the count; none in a piece, which is not counted.
    pub(super) bytes_put: Option<u64>,
    /// Charged bytes of an older value that go once this one is there.
    pub(super) replaces: u64,
    pub(super) begun: Instant,
    pub(super) deadline: Instant,
    /// The round of evictions in which it asked for space; 0 before.
    pub(super) asked_in: u64,
}

impl Write {
    /// Bytes of memory that it takes while it is pending.
    pub(super) fn pending_bytes(&self) -> u64 {
        self.pending.as_ref().map_or(0, |pending| pending.payload.len() as u64 + PENDING_OVERHEAD_BYTES)
    }

    /// When the value expires if it can be read from now on.
    pub(super) fn expires_s(&self, now_s: u32) -> Option<u32> {
        let counted_s = self.lives_s.map(|lives_s| beside_pieces(expiry_s(now_s, lives_s)));
        self.kept_expires_s.or(counted_s)
    }

    /// Whether the value expires.
    pub(super) const fn may_expire(&self) -> bool {
        self.lives_s.is_some() || self.kept_expires_s.is_some()
    }

    /// The same write with a condition.
    pub(super) fn only_if(self, condition: Condition) -> Self {
        Self { condition, ..self }
    }

    /// The same write with another deadline.
    pub(super) fn until(self, deadline: Instant) -> Self {
        Self { deadline, ..self }
    }

    /// Lets a record that is there stand for it.
    pub(super) fn keep(&mut self, kept: Kept) {
        (self.pending, self.long, self.kept) = (None, None, Some(kept));
    }

    /// A write of one piece of the long value that this is the head of.
    pub(super) const fn piece(&self, hash: KeyHash, pending: Pending) -> Self {
        Self {
            part: self.part,
            hash,
            pending: Some(pending),
            long: None,
            lives_s: None,
            kept_expires_s: None,
            waiter: None,
            durability: Durability::Buffered,
            is_put: true,
            kept: None,
            condition: Condition::None,
            is_touch: false,
            bytes_put: None,
            replaces: self.replaces,
            begun: self.begun,
            deadline: self.deadline,
            asked_in: 0,
        }
    }
}

/// Whether a write did anything.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Effect {
    Changed,
    /// There was nothing to remove.
    None,
    /// Its condition did not hold: nothing was done.
    Unmet,
}

/// Why an attempt ended the write.
#[derive(Clone)]
pub(super) enum Refused {
    Tier(TierError),
    Full { needed: u64, available: u64 },
    Busy,
}

impl Refused {
    /// The cause, and the bytes needed and available where capacity was lacking.
    const fn explain(&self) -> (RefusalCause, Option<(u64, u64)>) {
        let cause = match self {
            Self::Full { needed, available } => return (RefusalCause::Full, Some((*needed, *available))),
            Self::Busy => RefusalCause::Busy,
            Self::Tier(TierError::TimedOut) => RefusalCause::TimedOut,
            Self::Tier(TierError::Medium(failure)) => match failure.kind() {
                MediumError::NoSpace => RefusalCause::NoSpace,
                _ => RefusalCause::Medium,
            },
            Self::Tier(_) => RefusalCause::Unavailable,
        };
        (cause, None)
    }
}

impl Part {
    /// Explains why a put came to nothing.
    pub(super) fn explain_refused(&self, write: &Write, refused: &Refused) {
        let (cause, bytes) = refused.explain();
        let waited = write.begun.elapsed();
        let one = RefusedWrite {
            partition: u16::try_from(write.part).ok(),
            operation: if write.is_touch { RefusedOperation::Touch } else { RefusedOperation::Put },
            cause,
            needed: bytes.map(|(needed, _)| needed),
            available: bytes.map(|(_, available)| available),
            waited,
        };
        self.shared.explanations.record(waited, Explained::Refused(one));
    }
}

impl From<TierError> for Refused {
    fn from(error: TierError) -> Self {
        Self::Tier(error)
    }
}

impl From<Lack> for Refused {
    fn from(lack: Lack) -> Self {
        match lack {
            Lack::Queue | Lack::Blocks | Lack::Replacement => Self::Busy,
            Lack::Capacity { needed, available, .. } => Self::Full { needed, available },
        }
    }
}

impl From<Refused> for PutError {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Tier(error) => Self::Tier(error),
            Refused::Full { needed, available } => Self::Full { needed, available },
            Refused::Busy => Self::Busy,
        }
    }
}

impl From<Refused> for RemoveError {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Tier(error) => Self::Tier(error),
            // A remove charges nothing, so it never lacks capacity.
            Refused::Full { .. } | Refused::Busy => Self::Busy,
        }
    }
}

impl Open {
    /// A remove of the key of this hash.
    pub(super) fn removal(&self, hash: KeyHash, durability: Durability) -> Write {
        let begun = Instant::now();
        Write {
            part: partition_of(&hash, self.parts.len()),
            hash,
            pending: Some(Pending::tombstone(&hash, self.seed, &self.terms)),
            long: None,
            lives_s: None,
            kept_expires_s: None,
            waiter: None,
            durability,
            is_put: false,
            kept: None,
            condition: Condition::None,
            is_touch: false,
            bytes_put: Some(0),
            replaces: 0,
            begun,
            deadline: begun + self.limits.op_timeout,
            asked_in: 0,
        }
    }

    /// A put of a record as it is encoded, with another lifetime.
    pub(super) fn touching(
        &self,
        hash: KeyHash,
        pending: Pending,
        lives_s: Option<u32>,
        durability: Durability,
    ) -> Write {
        let pending = Some(pending);
        let removal = self.removal(hash, durability);
        Write { pending, lives_s, is_put: true, is_touch: true, ..removal }
    }
}
