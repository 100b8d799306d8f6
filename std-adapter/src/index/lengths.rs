//! How much the lengths of records cost: a segment ends early where the next record does not fit.
//!
//! Each end of a segment loses less than the record that did not fit there. Each record is the one that did not fit at one end
//! at most. So for any length t the loss is at most t for each segment, and all of each record that is longer than t. The least
//! of these bounds is subtracted from the capacity. So a single long record among short ones costs its length once more, not
//! once for each segment.

use core::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed};
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64};

use crate::config::{CLASSES, class, longest_of};

/// Counts of records by length, changed by clients and worker alike, and the loss that follows from them, counted by the worker.
#[derive(Debug)]
pub(crate) struct Lengths {
    counts: Box<[AtomicU32]>,
    is_changed: AtomicBool,
    waste: AtomicU64,
    /// Records up to this length do not change the loss.
    threshold: AtomicU32,
}

impl Default for Lengths {
    fn default() -> Self {
        Self {
            counts: (0..CLASSES).map(|_| AtomicU32::new(0)).collect(),
            is_changed: AtomicBool::new(false),
            waste: AtomicU64::new(0),
            threshold: AtomicU32::new(0),
        }
    }
}

impl Lengths {
    /// The record of a key becomes longer or shorter; 0 where there is none.
    pub(crate) fn change(&self, before: u32, after: u32) {
        let (before, after) = (class(before), class(after));
        if before == after {
            return;
        }
        if after > 0
            && let Some(count) = self.counts.get(after as usize)
        {
            count.fetch_add(1, Relaxed);
        }
        if before > 0
            && let Some(count) = self.counts.get(before as usize)
        {
            count.fetch_sub(1, Relaxed);
        }
        if !self.is_changed.load(Relaxed) {
            self.is_changed.store(true, Relaxed);
        }
    }

    /// Bytes that may be lost at the ends of segments, if a record of so many bytes is added.
    pub(crate) fn waste_with(&self, bytes: u32) -> u64 {
        let more = if bytes > self.threshold.load(Acquire) { bytes } else { 0 };
        self.waste.load(Acquire) + u64::from(more)
    }

    /// Counts the loss anew where records came or went, for so many segments. Bounds: two passes over the classes.
    pub(crate) fn count_waste(&self, segments: u32) {
        if !self.is_changed.swap(false, AcqRel) {
            return;
        }
        let (waste, threshold) = self.least_waste(segments);
        self.threshold.store(threshold, Relaxed);
        self.waste.store(waste, Relaxed);
    }

    /// Bytes that may be lost at the ends of so many segments. Bounds: two passes over the classes.
    pub(crate) fn waste_in(&self, segments: u32) -> u64 {
        self.least_waste(segments).0
    }

    /// The least bound of the loss, and the length for which it holds.
    fn least_waste(&self, segments: u32) -> (u64, u32) {
        let (mut above, mut least) = (0u64, (u64::MAX, 0));
        for (class, count) in self.counts.iter().enumerate().rev() {
            let longest = longest_of(u32::try_from(class).unwrap_or(u32::MAX));
            let bound = above.saturating_add(u64::from(longest) * u64::from(segments));
            if bound < least.0 {
                least = (bound, longest);
            }
            above = above.saturating_add(u64::from(count.load(Relaxed)) * u64::from(longest));
        }
        least
    }

    /// Records of each class that has any: the longest length of the class, and how many.
    pub(crate) fn counted(&self) -> Vec<(u32, u32)> {
        let counts =
            (0u32..).zip(&self.counts).map(|(class, count)| (longest_of(class), count.load(Relaxed)));
        counts.filter(|(_, count)| *count > 0).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waste(lengths: &Lengths, segments: u32) -> u64 {
        lengths.count_waste(segments);
        lengths.waste_with(0)
    }

    #[test]
    fn long_record_among_short_ones_costs_its_length_once() {
        let lengths = Lengths::default();
        assert_eq!(waste(&lengths, 249), 0);
        (0..100_000).for_each(|_| lengths.change(0, 100));
        let short = waste(&lengths, 249);
        assert!((249 * 100..=249 * 112).contains(&short), "{short}");
        assert_eq!(lengths.waste_with(100), short);
        assert_eq!(lengths.waste_with(57_000), short + 57_000);
        lengths.change(0, 57_000);
        let with_long = waste(&lengths, 249);
        assert!((short + 57_000..=short + 57_000 * 9 / 8).contains(&with_long), "{with_long}");
        lengths.change(57_000, 0);
        assert_eq!(waste(&lengths, 249), short, "it follows the records that are there");
    }

    #[test]
    fn records_alike_cost_one_a_segment_or_all_if_few() {
        let lengths = Lengths::default();
        (0..1000).for_each(|_| lengths.change(0, 16_384));
        assert!(waste(&lengths, 249) <= 249 * 16_384 * 9 / 8);
        (0..990).for_each(|_| lengths.change(16_384, 0));
        assert!(waste(&lengths, 249) <= 10 * 16_384 * 9 / 8);
    }
}
