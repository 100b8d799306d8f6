//! Where a medium holds data: bytes in a hole are known to be blank without a read.

use core::ops::Range;

use super::service_medium::ServiceMedium;

/// The most ranges of data that are looked for. A file with more of them is read like one that has no holes.
const RANGES_MAX: usize = 1 << 16;

/// The holes of a medium, as they are before anything is written to it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Sparse {
    /// The parts that are no holes, in order; none where that is not known.
    data: Option<Vec<Range<u64>>>,
}

impl Sparse {
    /// Looks for the holes of a medium.
    ///
    /// # Bounds
    /// Two short calls of the system for each range of data, and 65,536 ranges.
    pub(crate) fn of(medium: &dyn ServiceMedium) -> Self {
        Self { data: medium.data_ranges(RANGES_MAX) }
    }

    /// Whether all of a range is known to read as zero.
    pub(crate) fn is_hole(&self, offset: u64, bytes: u64) -> bool {
        let Some(data) = &self.data else { return false };
        let next = data.partition_point(|range| range.end <= offset);
        data.get(next).is_none_or(|range| range.start >= offset.saturating_add(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn range_is_a_hole_only_where_nothing_of_it_is_data() {
        let sparse = Sparse { data: Some(vec![10..20, 30..31, 40..50]) };
        for (offset, bytes) in [(0, 10), (20, 10), (31, 9), (50, 1_000), (10, 0), (25, 5)] {
            assert!(sparse.is_hole(offset, bytes), "{offset} {bytes}");
        }
        for (offset, bytes) in
            [(0, 11), (9, 2), (19, 1), (19, 11), (25, 6), (30, 1), (0, 1_000), (35, u64::MAX)]
        {
            assert!(!sparse.is_hole(offset, bytes), "{offset} {bytes}");
        }
        assert!(!Sparse::default().is_hole(0, 1), "nothing is known");
        assert!(Sparse { data: Some(Vec::new()) }.is_hole(0, 1 << 40));
    }
}
