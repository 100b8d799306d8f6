//! The table of all segments, with the counts over it.

use heapless::Vec;

use super::segment::{Flag, Segment, SegmentState, Tally};
use crate::format::SegmentIndex;
use crate::invariant::{Invariant, Watch};

/// How many states a segment has.
const STATES: usize = SegmentState::Quarantined as usize + 1;
/// How many emptied segments are found without a pass over the table. Only after a mount or in a burst are there more.
const EMPTIED_KEPT: usize = 8;

/// Segments with their indices.
pub(super) fn numbered(segments: &[Segment]) -> impl Iterator<Item = (SegmentIndex, &Segment)> {
    (0u32..).map(SegmentIndex::new).zip(segments)
}

/// The state of each segment. The counts equal a recount at all times: a state changes in [`set_state`](Self::set_state) only.
#[derive(Debug)]
pub(crate) struct SegmentTable<'m> {
    segments: &'m mut [Segment],
    /// How many segments are in each state.
    counts: [u32; STATES],
    /// The segments that were emptied first and are not free yet, in the order in which they were emptied.
    emptied: Vec<SegmentIndex, EMPTIED_KEPT>,
    /// Segments in quarantine because they could not be read.
    unread: u32,
    /// Whether a segment may be under suspicion.
    may_be_suspect: bool,
    /// Returned in place of a segment that is not in the table; its state lets no engine touch it.
    spare: Segment,
    watch: Watch,
}

impl<'m> SegmentTable<'m> {
    /// Begins with free segments that were never erased.
    pub(crate) fn new(memory: &'m mut [Segment]) -> Self {
        memory.fill(Segment::default());
        let mut counts = [0; STATES];
        if let Some(free) = counts.get_mut(SegmentState::Free as usize) {
            *free = u32::try_from(memory.len()).unwrap_or(u32::MAX);
        }
        Self {
            segments: memory,
            counts,
            emptied: Vec::new(),
            unread: 0,
            may_be_suspect: false,
            spare: Segment::default().with_state(SegmentState::Quarantined),
            watch: Watch::new(),
        }
    }

    /// Takes the memory out, for another table over it.
    pub(crate) fn take_memory(&mut self) -> &'m mut [Segment] {
        core::mem::take(&mut self.segments)
    }

    pub(crate) const fn as_slice(&self) -> &[Segment] {
        self.segments
    }

    pub(crate) fn iter(&self) -> core::slice::Iter<'_, Segment> {
        self.segments.iter()
    }

    /// All segments with their indices.
    pub(crate) fn numbered(&self) -> impl Iterator<Item = (SegmentIndex, &Segment)> {
        numbered(self.segments)
    }

    pub(crate) fn iter_mut(&mut self) -> core::slice::IterMut<'_, Segment> {
        self.segments.iter_mut()
    }

    /// A segment that the machine knows of (I-SEG-1).
    pub(crate) fn get(&self, index: SegmentIndex) -> &Segment {
        match self.segments.get(index.get() as usize) {
            Some(segment) => segment,
            None => {
                self.watch.note(Invariant::SegmentInTable);
                &self.spare
            }
        }
    }

    /// The same, to be changed.
    pub(crate) fn get_mut(&mut self, index: SegmentIndex) -> &mut Segment {
        match self.segments.get_mut(index.get() as usize) {
            Some(segment) => segment,
            None => {
                self.watch.note(Invariant::SegmentInTable);
                &mut self.spare
            }
        }
    }

    /// The segment of an index that was read from the medium, if there is such a segment.
    pub(crate) fn find(&self, index: SegmentIndex) -> Option<&Segment> {
        self.segments.get(index.get() as usize)
    }

    pub(crate) const fn watch(&self) -> &Watch {
        &self.watch
    }

    /// The state of a segment.
    pub(crate) fn state_of(&self, index: SegmentIndex) -> SegmentState {
        self.get(index).state()
    }

    /// How many segments are in a state.
    pub(crate) fn count(&self, state: SegmentState) -> u32 {
        self.watch.must_have(Invariant::StateCounts, self.counts.get(state as usize).copied())
    }

    /// How many are on their way from victim to free.
    pub(crate) fn leaving(&self) -> u32 {
        self.count(SegmentState::Victim) + self.emptied_count()
    }

    /// How many are emptied and not free yet.
    fn emptied_count(&self) -> u32 {
        use SegmentState::{Emptied, Erased, Freeing};
        [Emptied, Freeing, Erased].into_iter().map(|state| self.count(state)).sum()
    }

    /// The segments that are emptied and not free yet, in the order in which they were emptied; `None` where only a pass over
    /// the table finds them all.
    pub(crate) fn emptied(&self) -> Option<&[SegmentIndex]> {
        (self.emptied.len() == self.emptied_count() as usize).then_some(&self.emptied)
    }

    /// Tells whether a segment without live records is there or on its way to be free. Bounds: one pass over the table.
    pub(crate) fn has_dead(&self) -> bool {
        self.emptied_count() > 0 || self.iter().any(Segment::is_dead)
    }

    /// A write or sync of a segment failed: its records are under suspicion.
    pub(crate) fn suspect(&mut self, index: SegmentIndex) {
        self.may_be_suspect = true;
        self.get_mut(index).set(Flag::Suspect, true);
    }

    /// Tells whether a segment under suspicion is not emptied yet. Bounds: one pass over the table.
    pub(crate) fn has_suspects(&self) -> bool {
        let is_held = |s: &Segment| matches!(s.state(), SegmentState::Sealed | SegmentState::Victim);
        self.may_be_suspect && self.iter().any(|s| s.is_suspect() && is_held(s))
    }

    /// Tells whether a segment under suspicion can't be emptied because its live records can't be read back. Bounds: one pass
    /// over the table.
    pub(crate) fn has_lost_records(&self) -> bool {
        let is_kept = |s: &Segment| s.is_damaged() && s.state() == SegmentState::Sealed;
        self.may_be_suspect && self.iter().any(|s| s.is_suspect() && is_kept(s))
    }

    /// Segments in quarantine because they could not be read.
    pub(crate) const fn unread(&self) -> u32 {
        self.unread
    }

    /// A mount put this number of segments into quarantine because they could not be read.
    pub(crate) const fn note_unread(&mut self, segments: u32) {
        self.unread = segments;
    }

    /// A segment leaves quarantine.
    pub(crate) fn note_read(&mut self, index: SegmentIndex) {
        let segment = self.get(index);
        let was_unread = segment.state() == SegmentState::Quarantined && segment.is_unread();
        self.unread = self.unread.saturating_sub(u32::from(was_unread));
    }

    /// Changes the state of a segment; no other function does. Returns the segment, and whether the change emptied it.
    pub(crate) fn set_state(&mut self, index: SegmentIndex, state: SegmentState) -> (&mut Segment, bool) {
        let Some(segment) = self.segments.get_mut(index.get() as usize) else {
            self.watch.note(Invariant::SegmentInTable);
            return (&mut self.spare, false);
        };
        let (before, is_emptied) = (segment.state(), state.is_emptied());
        if let Some(count) = self.counts.get_mut(before as usize) {
            self.watch.hold(Invariant::StateCounts, *count > 0);
            *count = count.wrapping_sub(1);
        }
        if let Some(count) = self.counts.get_mut(state as usize) {
            *count = count.wrapping_add(1);
        }
        match (before.is_emptied(), is_emptied) {
            // Where the row is full, the segment is missing from it, and `emptied` returns `None`.
            (false, true) => drop(self.emptied.push(index)),
            (true, false) => self.emptied.retain(|kept| *kept != index),
            _ => {}
        }
        segment.set_state(state);
        (segment, !before.is_emptied() && is_emptied)
    }

    /// A summary. Bounds: one pass over the table.
    pub(crate) fn tally(&self) -> Tally {
        Tally::of(self.segments)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::invariant::testing::breaks;

    const STATES_ALL: [SegmentState; STATES] = [
        SegmentState::Free,
        SegmentState::Opening,
        SegmentState::Open,
        SegmentState::Sealing,
        SegmentState::Sealed,
        SegmentState::Victim,
        SegmentState::Emptied,
        SegmentState::Freeing,
        SegmentState::Erased,
        SegmentState::Quarantined,
    ];

    fn assert_counts(table: &SegmentTable<'_>) {
        for state in STATES_ALL {
            let recount = table.iter().filter(|segment| segment.state() == state).count();
            assert_eq!(table.count(state) as usize, recount, "{state:?}");
        }
    }

    // Every sequence of three changes of state, over every pair of segments.
    #[test]
    fn counts_after_any_changes_equal_a_recount() {
        for first in STATES_ALL {
            for second in STATES_ALL {
                for third in STATES_ALL {
                    let mut memory = [Segment::default(); 3];
                    let mut table = SegmentTable::new(&mut memory);
                    for (index, state) in [(0, first), (1, second), (0, third)] {
                        let before = table.state_of(SegmentIndex::new(index)).is_emptied();
                        let (_, became_emptied) = table.set_state(SegmentIndex::new(index), state);
                        assert_eq!(became_emptied, !before && state.is_emptied());
                        assert_counts(&table);
                    }
                    let known = table.emptied().unwrap().iter();
                    assert!(known.clone().all(|index| table.state_of(*index).is_emptied()));
                    assert_eq!(known.len(), table.iter().filter(|s| s.state().is_emptied()).count());
                }
            }
        }
    }

    #[test]
    fn emptied_segments_beyond_the_list_take_a_pass() {
        let mut memory = [Segment::default(); EMPTIED_KEPT + 1];
        let mut table = SegmentTable::new(&mut memory);
        for index in 0..=u32::try_from(EMPTIED_KEPT).unwrap() {
            assert!(table.emptied().is_some());
            table.set_state(SegmentIndex::new(index), SegmentState::Emptied);
        }
        assert_eq!(table.emptied(), None);
        table.set_state(SegmentIndex::new(3), SegmentState::Free);
        assert_eq!(table.emptied(), None, "one of them is not listed");
    }

    #[test]
    fn segment_that_is_not_there_is_noted_and_changes_no_count() {
        let uses: [fn(&mut SegmentTable<'_>); 3] = [
            |table| assert_eq!(table.state_of(SegmentIndex::new(3)), SegmentState::Quarantined),
            |table| table.get_mut(SegmentIndex::new(3)).gain(1),
            |table| assert!(!table.set_state(SegmentIndex::new(3), SegmentState::Emptied).1),
        ];
        for used in uses {
            let mut memory = [Segment::default(); 3];
            let mut table = SegmentTable::new(&mut memory);
            assert_eq!(table.find(SegmentIndex::new(3)), None);
            if breaks(Invariant::SegmentInTable, || used(&mut table)) {
                assert_eq!(table.watch().broken(), Some(Invariant::SegmentInTable));
            }
            assert_counts(&table);
        }
    }

    #[test]
    fn count_below_zero_is_noted() {
        let mut memory = [Segment::default(); 3];
        let mut table = SegmentTable::new(&mut memory);
        table.counts = [0; STATES];
        if breaks(Invariant::StateCounts, || {
            table.set_state(SegmentIndex::new(0), SegmentState::Open);
        }) {
            assert_eq!(table.watch().broken(), Some(Invariant::StateCounts));
        }
    }
}
