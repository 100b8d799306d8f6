//! Tidying, which needs no task: dead segments are freed, and while no client writes, segments that are half stale are cleaned.
//!
//! A removed key costs an entry in the index as long as any copy of it is on the medium. Without this an emptied tier would keep
//! disk, index and memory until clients fill it again. While clients write, one dead segment is taken at a time, each
//! [`BUSY_MS`]; at rest one after the other. A segment that is half stale gives back at least as much as it costs, so this ends.

use crate::drive::{Now, Poll};
use crate::format::SegmentIndex;
use crate::index::Host;
use crate::segments::{Policy, Segment, SegmentState, VictimChoice, choose};
use crate::writer::{Engine, Log};

/// How often a dead segment is taken while clients write, in milliseconds.
const BUSY_MS: u64 = 50;

/// Where no client has written for this long, the tier is at rest.
const REST_MS: u64 = 100;

/// After this long at rest, segments that are half stale are cleaned.
const LONG_REST_MS: u64 = 1_000;

/// Segments on their way to be free at a time.
const LEAVING_MAX: u32 = 8;

/// The most open segments that are sealed at rest before clients append again. The machine's own records become stale too, so
/// without this bound sealing would never end.
const SEALS_MAX: u32 = 8;

/// An open segment of which at least this part is used, as a divisor, is sealed at rest where half of the used part is stale.
const WORTH_SEALING: u32 = 8;

/// The findings of the last looks, and when the next one is due.
#[derive(Debug, Default)]
pub(crate) struct Tidy {
    /// The value of [`Log::deaths`] when no dead segment was found.
    seen_dead: Option<u64>,
    seen_stale: Option<u64>,
    /// The last victim, and the value of [`Log::deaths`] then: one that could not be emptied is not tried again before that
    /// changes.
    last: Option<(SegmentIndex, u64)>,
    /// The victim that is to be cleaned.
    choice: Option<VictimChoice>,
    next_ms: u64,
    /// When the next look for half-stale segments is due although no record became stale: at the last one space was short, or
    /// records were not written yet.
    stale_ms: u64,
    /// Segments sealed since clients last appended, and the number of records that they had appended by then.
    seals: (u32, u64),
}

impl Engine for Tidy {
    /// Frees a dead segment, or chooses one that is half stale. Bounds: two passes over the table, if anything died since the
    /// last.
    fn poll<H: Host>(&mut self, now: Now, log: &mut Log<'_>, _: &mut H) -> Poll {
        let is_late = now.monotonic_ms < self.next_ms || log.segments.leaving() >= LEAVING_MAX;
        if !log.layout.config().cleans_at_rest || is_late || log.is_at_end() || log.segments.has_suspects() {
            return Poll::Idle;
        }
        let rested_ms = now.monotonic_ms.saturating_sub(log.fresh_ms());
        if self.seen_dead != Some(log.deaths()) {
            if let Some(index) = Self::find_dead(log) {
                log.take_as_emptied(index);
                self.next_ms = now.monotonic_ms + if rested_ms < REST_MS { BUSY_MS } else { 0 };
                return Poll::Again;
            }
            self.seen_dead = Some(log.deaths());
        }
        let is_early = rested_ms < LONG_REST_MS || now.monotonic_ms < self.stale_ms;
        if is_early || self.seen_stale == Some(log.deaths()) || log.segments.leaving() > 0 {
            return Poll::Idle;
        }
        // Only segments with blocks count as free, and free segments may lack blocks while no segment is sealed.
        let has_space = log.free() >= log.free_reserve() && log.is_written();
        let choice = if has_space { Self::find_half_stale(log) } else { None };
        if let Some(choice) = choice.filter(|c| self.last != Some((c.segment, log.deaths()))) {
            self.last = Some((choice.segment, log.deaths()));
            self.choice = Some(choice);
            return Poll::Again;
        }
        if self.seal_stale(log) {
            return Poll::Again;
        }
        if has_space {
            self.seen_stale = Some(log.deaths());
        } else {
            self.stale_ms = now.monotonic_ms.saturating_add(LONG_REST_MS);
        }
        Poll::Idle
    }
}

impl Tidy {
    /// The victim that the last step chose, once.
    pub(crate) const fn take_choice(&mut self) -> Option<VictimChoice> {
        self.choice.take()
    }

    /// When there may be something to tidy, as far as is known; in milliseconds of the monotonic clock.
    pub(crate) fn due_ms(&self, log: &Log<'_>) -> Option<u64> {
        if !log.layout.config().cleans_at_rest
            || log.segments.leaving() > 0
            || log.is_at_end()
            || log.segments.has_suspects()
        {
            return None;
        }
        let dead = (self.seen_dead != Some(log.deaths())).then_some(self.next_ms);
        let long_rest_ms = log.fresh_ms().saturating_add(LONG_REST_MS).max(self.stale_ms);
        let stale = (self.seen_stale != Some(log.deaths())).then_some(long_rest_ms);
        [dead, stale].into_iter().flatten().min()
    }

    fn find_dead(log: &Log<'_>) -> Option<SegmentIndex> {
        log.segments.numbered().find(|(_, segment)| segment.is_dead()).map(|(index, _)| index)
    }

    /// A segment that yields at least half of itself.
    fn find_half_stale(log: &Log<'_>) -> Option<VictimChoice> {
        let terms = log.terms(Policy::Greedy);
        let is_worth = |s: &Segment| {
            let gain = s.yield_bytes(terms.usable_bytes, &terms.growth);
            gain >= terms.usable_bytes / 2 && s.stale_bytes() >= s.used_bytes() / 2
        };
        choose(&terms, log.segments.as_slice(), |_, s| is_worth(s))
    }

    /// Seals an open segment of which much is used and half of that is stale, so that it can be cleaned.
    fn seal_stale(&mut self, log: &mut Log<'_>) -> bool {
        if self.seals.1 != log.appended() {
            self.seals = (0, log.appended());
        }
        if self.seals.0 >= SEALS_MAX {
            return false;
        }
        let worth = log.layout.geometry().segment_bytes() / WORTH_SEALING;
        let is_stale = |s: &Segment| {
            s.state() == SegmentState::Open
                && s.used_bytes() >= worth
                && s.stale_bytes() >= s.used_bytes() / 2
        };
        let has_sealed = log.seal_where(is_stale);
        self.seals.0 += u32::from(has_sealed);
        has_sealed
    }
}
