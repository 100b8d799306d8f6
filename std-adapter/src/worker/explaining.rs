//! Explanations of the machine's work: victims from their choice until they are free, tasks, and evictions.
//!
//! The machine keeps the victim in hand. The worker looks at it after each poll, so it sees each begin and end: a poll never
//! makes both. A dead segment that is taken without cleaning shows in the count of victims.

use core::time::Duration;
use std::time::Instant;

use coldpress_core::compaction::Report;
use coldpress_core::format::SegmentIndex;
use coldpress_core::machine::Tier;
use coldpress_core::segments::{Segment, SegmentState, VictimReason};

use crate::clock::{Clock as _, SystemClock};
use crate::index::EvictedRecords;
use crate::observe::{CleanedSegment, EvictedFrom, Eviction, EvictionCause, Explained, Explanations};

/// A victim, from its choice until it is free.
struct ExplainedVictim {
    one: CleanedSegment,
    begun: Instant,
    /// When nothing live was left in it.
    emptied: Option<Instant>,
    /// The time that the worker had waited for slices before.
    held_before: Duration,
}

/// The victims of one worker that are not free yet, and its evictions.
pub(super) struct Explaining {
    partition: u16,
    segment_bytes: u64,
    victim: Option<ExplainedVictim>,
    /// Victims on their way to be free; no more than there are segments.
    leaving: Vec<ExplainedVictim>,
    /// Counts at the last look.
    victims: u64,
    freed_segments: u32,
    evicting_since: Option<Instant>,
}

impl Explaining {
    pub(super) const fn new(partition: u16, segment_bytes: u32) -> Self {
        Self {
            partition,
            segment_bytes: segment_bytes as u64,
            victim: None,
            leaving: Vec::new(),
            victims: 0,
            freed_segments: 0,
            evicting_since: None,
        }
    }

    /// Looks at the machine after a poll. `held` is the time that the worker has waited for slices in all.
    ///
    /// # Bounds
    /// Some comparisons; a pass over the table where a dead segment was taken, and over the leaving ones where one was freed.
    pub(super) fn polled(&mut self, tier: &Tier<'_>, held: Duration, to: &Explanations) {
        let (cleaning, counters) = (tier.cleaning(), tier.counters());
        if self.victim.is_none() && !cleaning.is_over {
            self.victim = self.begin(tier, cleaning.choice.segment, cleaning.choice.reason, held);
        }
        let mut emptied = 0;
        if let Some(mut victim) = self.victim.take_if(|_| cleaning.is_over) {
            victim.one.relocated_records = cleaning.relocated_records;
            victim.one.relocated_bytes = cleaning.relocated_bytes;
            victim.one.waited_for_slices = held.saturating_sub(victim.held_before);
            emptied = u64::from(cleaning.is_emptied);
            if cleaning.is_emptied {
                victim.emptied = Some(Instant::now());
                self.leaving.push(victim);
            } else {
                to.record(victim.begun.elapsed(), Explained::Cleaned(victim.one));
            }
        }
        if counters.victims > self.victims + emptied {
            self.find_dead(tier, held);
        }
        self.victims = counters.victims;
        if counters.freed_segments != self.freed_segments {
            self.freed_segments = counters.freed_segments;
            self.find_freed(tier, to);
        }
    }

    fn begin(
        &self,
        tier: &Tier<'_>,
        index: SegmentIndex,
        reason: VictimReason,
        held: Duration,
    ) -> Option<ExplainedVictim> {
        let segment = tier.segments().get(index.get() as usize)?;
        let mut one = self.explain(index, segment, reason);
        one.age_bytes = Some(tier.age_bytes(index));
        Some(ExplainedVictim { one, begun: Instant::now(), emptied: None, held_before: held })
    }

    fn explain(&self, index: SegmentIndex, segment: &Segment, reason: VictimReason) -> CleanedSegment {
        CleanedSegment {
            partition: self.partition,
            segment: index.get(),
            reason,
            live_bytes: u64::from(segment.live_bytes()),
            used_bytes: u64::from(segment.live_bytes()) + u64::from(segment.stale_bytes()),
            age_bytes: None,
            relocated_records: 0,
            relocated_bytes: 0,
            freed_bytes: 0,
            waited_for_slices: Duration::ZERO,
            waited_for_syncs: Duration::ZERO,
        }
    }

    /// Finds dead segments that were taken without cleaning.
    fn find_dead(&mut self, tier: &Tier<'_>, held: Duration) {
        let is_known =
            |index: u32, known: &[ExplainedVictim]| known.iter().any(|victim| victim.one.segment == index);
        for (index, segment) in (0u32..).zip(tier.segments()) {
            if segment.state() == SegmentState::Emptied && !is_known(index, &self.leaving) {
                let one = self.explain(SegmentIndex::new(index), segment, VictimReason::Dead);
                let now = Instant::now();
                self.leaving.push(ExplainedVictim { one, begun: now, emptied: Some(now), held_before: held });
            }
        }
    }

    fn find_freed(&mut self, tier: &Tier<'_>, to: &Explanations) {
        let is_free = |victim: &mut ExplainedVictim| {
            let segment = tier.segments().get(victim.one.segment as usize);
            segment.is_none_or(|segment| segment.state() == SegmentState::Free)
        };
        for mut victim in self.leaving.extract_if(.., is_free) {
            victim.one.freed_bytes = self.segment_bytes;
            victim.one.waited_for_syncs = victim.emptied.map_or(Duration::ZERO, |at| at.elapsed());
            to.record(victim.begun.elapsed(), Explained::Cleaned(victim.one));
        }
    }

    /// Explains a task that ended.
    pub(super) fn report(&self, report: &Report, to: &Explanations) {
        let (partition, report) = (self.partition, Box::new(*report));
        to.record(Duration::from_millis(report.duration_ms), Explained::Task { partition, report });
    }

    /// Notes that an eviction begins, where none is under way.
    pub(super) fn begin_eviction(&mut self) {
        self.evicting_since.get_or_insert_with(Instant::now);
    }

    /// Explains the records that were evicted since the last call, if any were.
    pub(super) fn evicted(&mut self, evicted: EvictedRecords, is_evicting: bool, to: &Explanations) {
        if evicted.records > 0 {
            let now = Instant::now();
            let took = self.evicting_since.map_or(Duration::ZERO, |since| now.duration_since(since));
            self.evicting_since = Some(now);
            let EvictedRecords { records, bytes, idle_s_max } = evicted;
            let (from, cause) = (EvictedFrom::Log(self.partition), EvictionCause::CapacityTaken);
            let idle_s_max = Some(idle_s_max);
            let one = Explained::Evicted(Eviction { from, cause, records, bytes, idle_s_max });
            to.record_events(SystemClock.wall_s(), took, records, one);
        }
        if !is_evicting {
            self.evicting_since = None;
        }
    }
}
