//! The explanations that are kept.

use core::time::Duration;
use std::collections::VecDeque;
use std::time::Instant;

use parking_lot::Mutex;

use super::explain::{Eviction, Explained, Explanation};
use crate::clock::{Clock, SystemClock};

/// The most explanations of each kind that a source keeps.
pub(crate) const EXPLANATIONS_KEPT: usize = 256;

/// Kinds, each with a list of its own, so that a flood of one pushes none of the others out.
const KINDS: usize = 5;

/// The last explanations of one source: a partition, pools, or a cache.
///
/// # Bounds
/// [`EXPLANATIONS_KEPT`] of each kind, at most 160 bytes each and the report of a task. A lock is held for one push, or to copy a
/// list.
#[derive(Debug, Default)]
pub(crate) struct Explanations {
    lists: [Mutex<VecDeque<Explanation>>; KINDS],
}

impl Explanations {
    /// Records an event that ended now. Evictions and refusals of one cause within one second are merged.
    pub(crate) fn record(&self, took: Duration, kind: Explained) {
        self.record_events(SystemClock.wall_s(), took, 1, kind);
    }

    /// Records events of one cause within one second.
    pub(crate) fn record_events(&self, at_s: u32, took: Duration, events: u64, kind: Explained) {
        let Some(list) = self.lists.get(index(&kind)) else { return };
        let ended = Instant::now();
        let mut list = list.lock();
        let mut same_second =
            list.iter_mut().rev().take_while(|last| last.at_s == at_s).take(SAME_SECOND_MAX);
        if is_merged(&kind)
            && let Some(same) = same_second.find_map(|last| last.kind.merge(&kind).then_some(last))
        {
            same.took = same.took.saturating_add(took);
            same.events = same.events.saturating_add(events);
            same.ended = ended;
            return;
        }
        if list.len() >= EXPLANATIONS_KEPT {
            list.pop_front();
        }
        list.push_back(Explanation { at_s, took, events, kind, ended });
    }

    /// Records evictions that were counted within one second.
    pub(crate) fn record_evicted(&self, at_s: u32, one: Eviction) {
        self.record_events(at_s, Duration::ZERO, one.records, Explained::Evicted(one));
    }

    /// Adds those of all kinds.
    pub(crate) fn add_to(&self, all: &mut Vec<Explanation>) {
        for list in &self.lists {
            all.extend(list.lock().iter().cloned());
        }
    }
}

/// The most entries of one second that are looked at: more than there are pairs of a partition's operations and causes.
const SAME_SECOND_MAX: usize = 32;

const fn is_merged(kind: &Explained) -> bool {
    matches!(kind, Explained::Evicted(_) | Explained::Refused(_))
}

const fn index(kind: &Explained) -> usize {
    match kind {
        Explained::Cleaned(_) => 0,
        Explained::Task { .. } => 1,
        Explained::PoolCleanup(_) => 2,
        Explained::Evicted(_) => 3,
        Explained::Refused(_) => 4,
    }
}

/// Puts explanations of several sources in order, the newest last.
pub(crate) fn in_order(mut all: Vec<Explanation>) -> Vec<Explanation> {
    all.sort_by_key(|explanation| explanation.ended);
    all
}

#[cfg(test)]
mod tests {
    use super::super::explain::{
        CleanupCause, EvictedFrom, Eviction, EvictionCause, ExplainedCleanup, RefusalCause, RefusedOperation,
        RefusedWrite,
    };
    use super::*;
    use coldpress_core::cleanup::{CleanupKind, Reclaimed};

    fn cleanup(bytes: u64) -> Explained {
        Explained::PoolCleanup(ExplainedCleanup {
            kind: CleanupKind::EmergencyCleanup,
            cause: CleanupCause::Requested,
            reclaimed: Reclaimed { bytes, ..Reclaimed::default() },
            error: None,
            waited: Duration::ZERO,
        })
    }

    fn eviction(cause: EvictionCause, bytes: u64) -> Explained {
        let from = EvictedFrom::Pools;
        Explained::Evicted(Eviction { from, cause, records: 1, bytes, idle_s_max: None })
    }

    fn refusal(cause: RefusalCause, needed: u64) -> Explained {
        Explained::Refused(RefusedWrite {
            partition: Some(0),
            operation: RefusedOperation::Put,
            cause,
            needed: Some(needed),
            available: Some(1),
            waited: Duration::from_millis(needed),
        })
    }

    fn all(explanations: &Explanations) -> Vec<Explanation> {
        let mut all = Vec::new();
        explanations.add_to(&mut all);
        in_order(all)
    }

    #[test]
    fn last_256_of_each_kind_are_kept() {
        assert!(size_of::<Explanation>() <= 160, "{}", size_of::<Explanation>());
        let explanations = Explanations::default();
        explanations.record(Duration::ZERO, cleanup(0));
        for second in 0..1_000 {
            explanations.record_events(second, Duration::ZERO, 1, refusal(RefusalCause::Full, 1));
        }
        let found = all(&explanations);
        assert_eq!(found.len(), 257, "no flood of another kind pushes it out");
        assert_eq!(found[0].kind, cleanup(0));
        assert_eq!((found[1].at_s, found[256].at_s), (1_000 - 256, 999));
        for bytes in 1..=300 {
            explanations.record(Duration::ZERO, cleanup(bytes));
        }
        let cleanups: Vec<_> =
            all(&explanations).into_iter().filter(|one| index(&one.kind) == 2).map(|one| one.kind).collect();
        assert_eq!(cleanups, (45..=300).map(cleanup).collect::<Vec<_>>());
    }

    #[test]
    fn events_of_one_cause_in_one_second_are_merged() {
        let explanations = Explanations::default();
        let took = Duration::from_millis(1);
        for bytes in 1..=10 {
            let events = [
                eviction(EvictionCause::Cleanup, bytes),
                eviction(EvictionCause::InsertWithoutSpace, bytes),
                refusal(RefusalCause::Full, bytes),
                refusal(RefusalCause::Busy, 11 - bytes),
            ];
            for kind in events {
                explanations.record_events(7, took, 1, kind);
            }
        }
        explanations.record_events(8, took, 1, refusal(RefusalCause::Full, 5));
        let found = all(&explanations);
        assert_eq!(found.len(), 5);
        assert!(found[..4].iter().all(|one| (one.at_s, one.events, one.took) == (7, 10, 10 * took)));
        let Explained::Evicted(evicted) = found[0].kind else { unreachable!() };
        assert_eq!((evicted.records, evicted.bytes, evicted.cause), (10, 55, EvictionCause::Cleanup));
        let Explained::Refused(refused) = found[3].kind else { unreachable!() };
        assert_eq!((refused.needed, refused.waited), (Some(1), Duration::from_millis(10)));
        assert_eq!((found[4].events, &found[4].kind), (1, &refusal(RefusalCause::Full, 5)));
    }

    #[test]
    fn text_says_what_happened_and_why() {
        let explanations = Explanations::default();
        explanations.record(Duration::from_millis(2), refusal(RefusalCause::Full, 5));
        explanations.record(Duration::from_millis(3), cleanup(4_096));
        let texts: Vec<_> = all(&explanations).iter().map(ToString::to_string).collect();
        let refused = "1 put was refused because the capacity was taken, after 5 ms; it needed 5 bytes, and 1 were available";
        let cleaned_up = "the pools were cleaned up because a client asked: 4.0 KiB given back, 0 bytes moved, \
                          0 values dropped; it took 3 ms";
        assert_eq!(texts, [refused, cleaned_up]);
        let many = Explanation {
            at_s: 0,
            took: Duration::ZERO,
            events: 2,
            kind: refusal(RefusalCause::Full, 5),
            ended: Instant::now(),
        };
        let text = many.to_string();
        assert!(text.starts_with("2 puts were refused") && text.contains("the longest after 5 ms"), "{text}");
        let one = Explanation { kind: eviction(EvictionCause::Cleanup, 1), ..many };
        assert!(one.to_string().starts_with("1 value of 1 byte was evicted from the pools because"), "{one}");
    }
}
