//! Space for a value that the capacity does not hold: where it comes from, and when it is refused.
//!
//! The worker posts the space that there is, and clients post here what they ask the worker for. The caller states whether the
//! index owes space, and how much the lengths of records cost: only the index knows.

use core::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64};

use super::charges::{Ceiling, Weight};
use super::lines::Line;
use crate::config::{FullPolicy, Terms};

/// The reason for which a write waits.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Lack {
    Queue,
    Capacity {
        needed: u64,
        available: u64,
        /// The part of it for which no eviction was asked for yet.
        unasked: u64,
    },
    /// Blocks that the medium has not been asked for yet.
    Blocks,
    /// Charge that goes by itself: of values that pending writes replace, or of pieces that are swept.
    Replacement,
}

impl Lack {
    /// The line to wait in for it, for a write that takes this many pending bytes.
    pub(crate) const fn line(self, bytes: u64) -> Line {
        match self {
            Self::Queue => Line::Permit(bytes),
            Self::Capacity { unasked, .. } => Line::Capacity { needs: unasked },
            Self::Blocks | Self::Replacement => Line::Capacity { needs: 0 },
        }
    }
}

/// The demand of a value on the capacity.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Claim {
    pub(crate) write: Weight,
    pub(crate) ceiling: Ceiling,
    /// The most that the settled sum may reach once the medium has allocated all blocks.
    most: u64,
    /// Segments that had blocks when it was made.
    backed: u32,
}

impl Claim {
    /// The claim of a piece of a value that replaces this many charged bytes, which go once all of the value is written.
    pub(crate) fn beyond(mut self, replaces: u64) -> Self {
        self.ceiling.settled = self.ceiling.settled.saturating_add(replaces).min(self.ceiling.charge);
        self
    }
}

/// The needs of a value, and the capacity that there is for it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shortfall {
    pub(crate) needed: u64,
    pub(crate) available: u64,
    /// Bytes that its records may leave unused at the ends of segments, as far as the known lengths of records do not include
    /// them.
    pub(crate) ends: u64,
}

/// The facts, beside the supply, that decide about a value.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Circumstances {
    pub(crate) full: FullPolicy,
    /// Whether space comes back soon from long values that were replaced or dropped.
    pub(crate) owes_space: bool,
    /// The time of the log.
    pub(crate) now_s: u32,
}

/// Where the space for a value will come from, so that it waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Relief {
    /// Pieces of long values that were replaced or dropped are swept.
    Sweep,
    /// Expired values are dropped.
    Expiry,
    /// The medium is asked for blocks.
    Blocks,
    /// Values are evicted; of its own need, these bytes were not asked for in this round.
    Eviction { unasked: u64 },
}

/// Why a value is refused that the capacity does not hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    Full {
        needed: u64,
        available: u64,
    },
    /// The medium has no blocks for it.
    NoSpace,
}

/// The space that a partition has for values, as its worker posts it, and the space that clients ask the worker for.
#[derive(Debug)]
pub(crate) struct Supply {
    /// Segments kept as they are because of damage.
    quarantined: AtomicU32,
    /// Segments for which the medium has allocated blocks.
    backed: AtomicU32,
    /// Whether the medium has no space for more.
    is_out_of_space: AtomicBool,
    /// Bytes of charge for which clients wait until blocks are allocated.
    unbacked_bytes: AtomicU64,
    /// Bytes that clients asked to have evicted, each client once in a round.
    evict_bytes: AtomicU64,
    /// The round of evictions: a client asks once in each.
    evict_round: AtomicU64,
    /// Whether a round is under way: its space is still to come.
    is_evicting: AtomicBool,
    /// The first second in which a key may expire; 0 where none does.
    due_s: AtomicU32,
    /// Whether a client waits for the space of what has expired.
    wants_expired: AtomicBool,
}

impl Default for Supply {
    fn default() -> Self {
        Self {
            quarantined: AtomicU32::new(0),
            backed: AtomicU32::new(0),
            is_out_of_space: AtomicBool::new(false),
            unbacked_bytes: AtomicU64::new(0),
            evict_bytes: AtomicU64::new(0),
            // Rounds begin at 1: 0 means that a client has not asked.
            evict_round: AtomicU64::new(1),
            is_evicting: AtomicBool::new(false),
            due_s: AtomicU32::new(0),
            wants_expired: AtomicBool::new(false),
        }
    }
}

/// For clients.
impl Supply {
    /// The demand of a write, beside records that cost so many bytes at the ends of segments.
    ///
    /// Once everything pending is published, the charges must not exceed the bytes that the log is sure to hold. Until then the
    /// replaced record is charged as well. One segment more is allowed for that, which the open segments of the reserve hold.
    pub(crate) fn claim(&self, terms: &Terms, waste: u64, write: Weight) -> Claim {
        let quarantined = self.quarantined();
        let most = terms.charge_bytes_max(waste, quarantined);
        // A segment without blocks can't be written on a full disk, so it holds nothing.
        let backed = self.backed();
        let bare = terms.geometry.segment_count().saturating_sub(backed);
        let settled = terms.charge_bytes_max(waste, quarantined.saturating_add(bare));
        let charge = settled.saturating_add(u64::from(terms.geometry.usable_bytes()));
        Claim { write, ceiling: Ceiling { settled, charge }, most, backed }
    }

    /// Asks for space for a value, in this order: pieces that are swept, expired values, blocks, evictions.
    ///
    /// A client asks for an eviction once in a round, so that no more is evicted than the waiters need. `asked_in` is the round
    /// in which this client asked.
    pub(crate) fn relieve(
        &self,
        claim: &Claim,
        shortfall: Shortfall,
        circumstances: Circumstances,
        asked_in: &mut u64,
    ) -> Result<Relief, Refusal> {
        let Shortfall { needed, available, ends } = shortfall;
        let most = claim.ceiling.settled;
        let full = Refusal::Full { needed, available };
        if needed > claim.most {
            return Err(full);
        }
        if circumstances.owes_space {
            return Ok(Relief::Sweep);
        }
        let rejects = circumstances.full == FullPolicy::Reject;
        if rejects && (1..=circumstances.now_s).contains(&self.due_s.load(Relaxed)) {
            self.wants_expired.store(true, Relaxed);
            return Ok(Relief::Expiry);
        }
        let evicts = !rejects && needed <= most;
        if most < claim.most {
            let lacking = needed.saturating_sub(available).saturating_add(ends);
            self.unbacked_bytes.fetch_max(lacking, Relaxed);
            // Blocks may have come since the claim was made.
            if !self.is_out_of_space.load(Acquire) || self.backed() != claim.backed {
                return Ok(Relief::Blocks);
            }
            // Removes and overwrites by shorter values go on: they take nothing that the disk has not given before.
            if !evicts {
                return Err(Refusal::NoSpace);
            }
        }
        if !evicts {
            return Err(full);
        }
        let lacking = needed.saturating_sub(available);
        let round = self.evict_round.load(Relaxed);
        if *asked_in == round {
            return Ok(Relief::Eviction { unasked: 0 });
        }
        // A round that is under way was begun for others.
        if self.is_evicting() {
            return Ok(Relief::Eviction { unasked: lacking });
        }
        *asked_in = round;
        self.evict_bytes.fetch_add(lacking, Relaxed);
        Ok(Relief::Eviction { unasked: 0 })
    }

    /// Segments kept as they are because of damage.
    pub(crate) fn quarantined(&self) -> u32 {
        self.quarantined.load(Relaxed)
    }
}

/// For the worker.
impl Supply {
    pub(crate) fn post_quarantined(&self, segments: u32) {
        self.quarantined.store(segments, Relaxed);
    }

    /// Segments for which the medium has allocated blocks.
    pub(crate) fn backed(&self) -> u32 {
        self.backed.load(Relaxed)
    }

    /// Whether the medium has no space for more.
    pub(crate) fn is_out_of_space(&self) -> bool {
        self.is_out_of_space.load(Relaxed)
    }

    pub(crate) fn post_backed(&self, segments: u32, is_out_of_space: bool) {
        // Stored first, so that a client that sees the refusal also sees these segments.
        self.backed.store(segments, Relaxed);
        self.is_out_of_space.store(is_out_of_space, Release);
    }

    /// The medium has no space for another segment; tells whether it had before, as far as posted.
    pub(crate) fn refuse_blocks(&self, segments: u32) -> bool {
        self.backed.store(segments, Relaxed);
        !self.is_out_of_space.swap(true, Release)
    }

    /// Takes the bytes for which clients wait until blocks are allocated. Clients that were refused ask again at their next
    /// try.
    pub(crate) fn take_unbacked(&self) -> u64 {
        if self.is_out_of_space() {
            self.unbacked_bytes.load(Relaxed)
        } else {
            self.unbacked_bytes.swap(0, Relaxed)
        }
    }

    /// Tells whether a client asked for the space of what has expired.
    pub(crate) fn take_expiry(&self) -> bool {
        self.wants_expired.swap(false, Relaxed)
    }

    /// Posts the first second in which a key may expire; 0 where none does.
    pub(crate) fn post_due(&self, due_s: u32) {
        self.due_s.store(due_s, Relaxed);
    }

    /// Whether a round of evictions is under way.
    pub(crate) fn is_evicting(&self) -> bool {
        self.is_evicting.load(Relaxed)
    }

    /// The round of evictions is over.
    pub(crate) fn end_round(&self) {
        self.is_evicting.store(false, Relaxed);
    }

    /// Begins another round if a client asked for one. Returns the bytes to evict: those asked for, and those that clients
    /// behind in line need.
    pub(super) fn begin_round(&self, take_needs: impl FnOnce() -> u64) -> Option<u64> {
        let asked = self.evict_bytes.swap(0, Relaxed);
        let bytes = (asked > 0).then(|| asked + take_needs())?;
        self.is_evicting.store(true, Relaxed);
        self.evict_round.fetch_add(1, Relaxed);
        Some(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLAIM: Claim = Claim {
        write: Weight { charge: 0, settled: 0, pending_bytes: 0, keys: 0, longest: 0 },
        ceiling: Ceiling { settled: 1_000, charge: 1_100 },
        most: 1_000,
        backed: 10,
    };
    /// As there is where the medium has not allocated all blocks.
    const BARE: Claim = Claim { ceiling: Ceiling { settled: 600, charge: 700 }, ..CLAIM };

    const fn circumstances(full: FullPolicy) -> Circumstances {
        Circumstances { full, owes_space: false, now_s: 100 }
    }

    fn relieve(supply: &Supply, claim: &Claim, needed: u64, given: Circumstances) -> Result<Relief, Refusal> {
        supply.relieve(claim, Shortfall { needed, available: 50, ends: 0 }, given, &mut 0)
    }

    #[test]
    fn space_is_asked_for_in_order_and_refused_at_its_end() {
        let supply = Supply::default();
        supply.post_backed(10, false);
        let (rejects, evicts) = (circumstances(FullPolicy::Reject), circumstances(FullPolicy::Evict));
        let full = |needed| Err(Refusal::Full { needed, available: 50 });
        let owes = Circumstances { owes_space: true, ..rejects };
        assert_eq!(relieve(&supply, &CLAIM, 1_001, owes), full(1_001), "no space is enough for it");
        assert_eq!(relieve(&supply, &CLAIM, 80, owes), Ok(Relief::Sweep));
        supply.post_due(100);
        assert_eq!(relieve(&supply, &CLAIM, 80, rejects), Ok(Relief::Expiry));
        assert!(supply.take_expiry() && !supply.take_expiry());
        supply.post_due(101);
        assert_eq!(relieve(&supply, &CLAIM, 80, rejects), full(80));
        assert_eq!(relieve(&supply, &BARE, 80, rejects), Ok(Relief::Blocks));
        assert_eq!(supply.take_unbacked(), 30);
        assert!(supply.refuse_blocks(10) && !supply.refuse_blocks(10));
        assert_eq!(relieve(&supply, &BARE, 80, rejects), Err(Refusal::NoSpace));
        assert_eq!((supply.take_unbacked(), supply.take_unbacked()), (30, 30), "asked for at the next try");
        assert_eq!(relieve(&supply, &BARE, 80, evicts), Ok(Relief::Eviction { unasked: 0 }));
        assert_eq!(relieve(&supply, &BARE, 601, evicts), Err(Refusal::NoSpace), "evictions give no blocks");
    }

    #[test]
    fn eviction_is_asked_for_once_in_a_round() {
        let (supply, evicts) = (Supply::default(), circumstances(FullPolicy::Evict));
        let mut first = 0;
        let ask = |asked_in: &mut u64| {
            let shortfall = Shortfall { needed: 80, available: 50, ends: 0 };
            supply.relieve(&CLAIM, shortfall, evicts, asked_in)
        };
        assert_eq!(ask(&mut first), Ok(Relief::Eviction { unasked: 0 }));
        assert_eq!(ask(&mut first), Ok(Relief::Eviction { unasked: 0 }));
        assert_eq!(supply.begin_round(|| 7), Some(37), "once, and what others need behind it");
        assert_eq!(supply.begin_round(|| 7), None);
        assert_eq!(ask(&mut first), Ok(Relief::Eviction { unasked: 30 }), "a round is under way");
        supply.end_round();
        assert_eq!(ask(&mut first), Ok(Relief::Eviction { unasked: 0 }));
        assert_eq!(supply.begin_round(|| 0), Some(30));
    }
}
