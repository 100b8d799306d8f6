//! Space for a value that the capacity does not hold: what is asked for it, and when it is refused.

use core::sync::atomic::Ordering::{Acquire, Relaxed};

use super::opened::{Open, Part};
use super::put::Refused;
use super::reserve::Claim;
use crate::config::FullPolicy;
use crate::errors::TierError;
use crate::storage::MediumError;

/// A value, and the capacity that there is for it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shortfall {
    pub(super) needed: u64,
    pub(super) available: u64,
    /// Bytes that its records may leave at the ends of segments, where the lengths of records do not tell yet.
    pub(super) ends: u64,
}

/// Where the space for a value comes from that may wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Relief {
    /// Pieces of long values that were replaced or dropped are swept.
    Sweep,
    /// Expired values are dropped.
    Expiry,
    /// The medium is asked for blocks.
    Blocks,
    /// Others are evicted; of its own need so many bytes were not asked for in this round.
    Eviction { unasked: u64 },
}

impl Part {
    /// Asks for space for a value, in this order: what is swept, what has expired, blocks, evictions.
    ///
    /// An eviction is asked for once in a round, so that all who wait get space for what they put, and not for more.
    pub(super) fn relieve(
        &self,
        open: &Open,
        claim: &Claim,
        shortfall: Shortfall,
        asked_in: &mut u64,
        now_s: u32,
    ) -> Result<Relief, Refused> {
        let shared = &self.shared;
        let Shortfall { needed, available, ends } = shortfall;
        let most = claim.ceiling.settled;
        let full = Refused::Full { needed, available };
        if needed > claim.most {
            return Err(full);
        }
        if self.owes_room() {
            return Ok(Relief::Sweep);
        }
        let rejects = open.limits.full == FullPolicy::Reject;
        if rejects && (1..=now_s).contains(&shared.due_s.load(Relaxed)) {
            shared.wants_expired.store(true, Relaxed);
            return Ok(Relief::Expiry);
        }
        let evicts = !rejects && needed <= most;
        if most < claim.most {
            let lacking = needed.saturating_sub(available).saturating_add(ends);
            shared.unbacked_bytes.fetch_max(lacking, Relaxed);
            // Blocks may have come since the claim was made.
            if !shared.is_out_of_space.load(Acquire) || shared.backed.load(Relaxed) != claim.backed {
                return Ok(Relief::Blocks);
            }
            // Removes and overwrites by shorter values go on: they take nothing that the disk has not given before.
            if !evicts {
                return Err(TierError::Medium(shared.health.failure(MediumError::NoSpace)).into());
            }
        }
        if !evicts {
            return Err(full);
        }
        let lacking = needed.saturating_sub(available);
        let round = shared.evict_round.load(Relaxed);
        if *asked_in == round {
            return Ok(Relief::Eviction { unasked: 0 });
        }
        // A round that is under way was asked for by others.
        if shared.is_evicting.load(Relaxed) {
            return Ok(Relief::Eviction { unasked: lacking });
        }
        *asked_in = round;
        shared.evict_bytes.fetch_add(lacking, Relaxed);
        Ok(Relief::Eviction { unasked: 0 })
    }

    /// Whether space comes back soon from long values that were replaced or dropped. While some of the log can't be read, nothing of
    /// them is swept.
    fn owes_room(&self) -> bool {
        self.shared.families.are_owing() && self.shared.withheld_above.load(Relaxed) == 0
    }
}
