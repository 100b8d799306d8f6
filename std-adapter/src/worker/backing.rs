//! Disk blocks for charged values: allocated before a value is accepted, and given back when they are not needed.

use core::sync::atomic::Ordering::Relaxed;

use super::Worker;
use crate::clock::monotonic_ms;
use crate::storage::{MARKER_BLOCK_BYTES, MediumFailure};

/// Segments with blocks at rest beyond those that the charge needs, so that puts need not wait for blocks.
const AHEAD: u32 = 2;
/// For this long after the last put, there are blocks for all bytes that may be pending, in milliseconds.
const BUSY_MS: u64 = 1_000;

/// Segments looked at in one turn for blocks that an earlier run left.
const TRIMMED_PER_TURN: usize = 1024;

/// When clients put something last, as far as the worker saw.
#[derive(Debug, Default)]
pub(super) struct Busy {
    puts: u64,
    until_ms: u64,
}
/// How often a part of the index is checked for memory to give back, in milliseconds.
const SHRINK_MS: u64 = 250;

impl Worker<'_> {
    /// Tells the machine how many segments need blocks: for the charge, and for puts that wait.
    pub(super) fn back_charge(&mut self) {
        let admission = &self.shared.admission;
        let lacking = admission.supply.take_unbacked();
        let charge = admission.charges.settled().saturating_add(lacking);
        let puts = self.shared.counts.puts.load(Relaxed);
        // A put shows in the count of pending bytes first.
        let is_pending = admission.budget.pending_bytes() > 0;
        if is_pending || puts != self.busy.puts || lacking > 0 {
            self.busy = Busy { puts, until_ms: monotonic_ms().saturating_add(BUSY_MS) };
        }
        // The keys do not count pieces of long values, and a long value may be about to be put.
        let has_pieces = !self.shared.families.are_none() || admission.has_keys_held();
        let has_none = admission.charges.keys() == 0 && !has_pieces;
        let is_empty = has_none && lacking == 0;
        self.tier.set_backing(if is_empty {
            // The freeing of sealed segments takes space for erase intents and tombstones.
            u32::from(self.tier.has_sealed())
        } else {
            self.segments_for(charge)
        });
        self.post_backing();
    }

    /// The segments that a charge needs, with the reserve and some ahead.
    fn segments_for(&self, charge: u64) -> u32 {
        let geometry = &self.terms.geometry;
        let waste = self.shared.lengths.waste_with(0);
        let quarantined = self.shared.admission.supply.quarantined();
        // The search for the most segments that may lack blocks.
        let (mut low, mut high) = (0, geometry.segment_count());
        while low < high {
            let bare = low + (high - low).div_ceil(2);
            if self.terms.charge_bytes_max(waste, quarantined.saturating_add(bare)) >= charge {
                low = bare;
            } else {
                high = bare - 1;
            }
        }
        let is_busy = monotonic_ms() < self.busy.until_ms;
        let pending = if is_busy { self.pending_bytes_max } else { 0 };
        let ahead = pending.div_ceil(u64::from(geometry.usable_bytes().max(1)));
        let needed = geometry.segment_count() - low;
        needed.saturating_add(AHEAD).saturating_add(u32::try_from(ahead).unwrap_or(u32::MAX))
    }

    /// Gives back the memory of a part of the index that is mostly empty; tells whether it found one.
    pub(super) fn shrink_index(&mut self) -> bool {
        let now_ms = monotonic_ms();
        if now_ms < self.shrinks.1 {
            return false;
        }
        let (next, has_shrunk) = self.shared.shrink(self.shrinks.0);
        self.shrinks = (next, if has_shrunk { now_ms } else { now_ms.saturating_add(SHRINK_MS) });
        has_shrunk
    }

    fn post_backing(&self) {
        let supply = &self.shared.admission.supply;
        supply.post_backed(self.tier.backed_segments(), self.tier.is_out_of_space());
    }

    /// Whether a backup holds segments: then no bytes change that it did not see change.
    const fn is_held(&self) -> bool {
        #[cfg(feature = "archive")]
        return self.hold.is_some();
        #[cfg(not(feature = "archive"))]
        return false;
    }

    /// Where there is no other work, gives back the blocks of one segment that is not needed any more; tells whether it did.
    pub(super) fn give_back_surplus(&mut self, is_idle: bool) -> bool {
        let is_idle = is_idle && !self.is_held();
        let surplus = if is_idle { self.tier.take_surplus() } else { None };
        if let Some(segment) = surplus {
            let segment_bytes = u64::from(self.terms.geometry.segment_bytes());
            let at = u64::from(segment.get()) * segment_bytes;
            self.medium.give_back(at + MARKER_BLOCK_BYTES, segment_bytes.saturating_sub(MARKER_BLOCK_BYTES));
            self.posting.gave_back(segment.get());
        }
        let has_trimmed = is_idle && surplus.is_none() && self.trim();
        self.post_backing();
        surplus.is_some() || has_trimmed
    }

    /// Gives back blocks that an earlier run allocated ahead. It is not recorded which segments have some, so each segment that
    /// counts as bare is tried once, a part of them a turn. Tells whether there are more.
    fn trim(&mut self) -> bool {
        let segments = self.tier.segments();
        let from = self.trimmed as usize;
        if from >= segments.len() || self.tier.lacks_blocks() {
            return false;
        }
        let segment_bytes = u64::from(self.terms.geometry.segment_bytes());
        let to = (from + TRIMMED_PER_TURN).min(segments.len());
        // Adjacent segments without a marker are given back together.
        let mut run = 0..0u64;
        let mut at = u64::from(self.trimmed) * segment_bytes;
        for segment in segments.get(from..to).unwrap_or_default() {
            if segment.is_bare() {
                if segment.has_marker() || run.end < at {
                    self.medium.give_back(run.start, run.end - run.start);
                    let marker = if segment.has_marker() { MARKER_BLOCK_BYTES.min(segment_bytes) } else { 0 };
                    run = at + marker..at;
                }
                run.end = at + segment_bytes;
            }
            at += segment_bytes;
        }
        self.medium.give_back(run.start, run.end - run.start);
        self.trimmed = u32::try_from(to).unwrap_or(u32::MAX);
        true
    }

    /// The medium has no space for a segment: this is logged once, not at each try.
    pub(super) fn note_refused(&self, error: &MediumFailure) {
        let backed = self.tier.backed_segments();
        self.shared.health.note(error);
        if self.shared.admission.supply.refuse_blocks(backed) {
            tracing::warn!(partition = self.partition, %error, backed, "no space left on the device for another segment");
        }
    }
}
