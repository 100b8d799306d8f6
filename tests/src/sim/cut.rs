//! The state that a power cut leaves: a fate for each operation that was not firm.
//!
//! Operations on different places commute, and two on the same place keep their order. So the choice of completed operations
//! covers every order of completion.

use core::hash::{Hash as _, Hasher};
use std::collections::BTreeSet;

use coldpress_core::format::Geometry;

use super::medium::{Change, Medium, Op, to_len};
use crate::image::Image;

/// The bytes that a disk writes as one.
pub const SECTOR_BYTES: usize = 512;

/// The fate of one operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// All of it happened.
    Kept,
    /// It never began.
    Lost,
    /// Only its first bytes were changed.
    Torn(usize),
    /// Only the sectors whose bit is set were changed, counted from the start of the segment.
    Sectors(u64),
}

impl Fate {
    fn covers(self, in_op: usize, in_segment: usize) -> bool {
        match self {
            Self::Kept => true,
            Self::Lost => false,
            Self::Torn(bytes) => in_op < bytes,
            Self::Sectors(mask) => mask >> (in_segment / SECTOR_BYTES).min(63) & 1 == 1,
        }
    }
}

impl Image {
    /// Changes the bytes as far as the fate allows. A unit of which any byte was written counts as programmed; a segment of
    /// which any byte was not erased has no unit that counts as blank.
    pub(super) fn apply(&mut self, geometry: &Geometry, op: &Op, fate: Fate) {
        let unit = geometry.write_unit() as usize;
        let start = to_len(u64::from(op.segment) * u64::from(geometry.segment_bytes()));
        match &op.what {
            Change::Write { offset, bytes } => {
                let offset = *offset as usize;
                self.program(unit, start + offset, bytes, |at| fate.covers(at, offset + at));
            }
            Change::Erase => {
                let range = start..start + geometry.segment_bytes() as usize;
                self.erase(unit, range, geometry.erase_value(), |at| fate.covers(at, at));
            }
        }
    }
}

impl Medium {
    /// Cuts the power: returns the medium as the next mount finds it. `fates` are those of the
    /// [unsynced](Medium::unsynced) operations in order; those beyond its end are lost.
    #[must_use]
    pub fn cut(&self, fates: &[Fate]) -> Self {
        let mut left = self.base.clone();
        let mut fates = fates.iter().copied();
        for op in &self.journal {
            let fate = if op.is_firm() { Fate::Kept } else { fates.next().unwrap_or(Fate::Lost) };
            left.apply(&self.geometry, op, fate);
        }
        if self.geometry.write_unit() == 1 {
            // A byte of a file that reads blank equals one that was never written; a unit of flash does not.
            let blank = self.geometry.erase_value();
            left.programmed = left.bytes.iter().map(|byte| *byte != blank).collect();
        }
        let mut next = Self {
            geometry: self.geometry,
            base: left.clone(),
            now: left,
            journal: Vec::new(),
            closed: BTreeSet::new(),
            unreadable: self.unreadable.clone(),
            counts: self.counts,
            backed: self.backed.clone(),
            missing: self.missing,
            faults: super::fault::Faults::default(),
        };
        next.closed =
            (0..self.geometry.segment_count()).filter(|&at| next.holds_more_than_a_marker(at)).collect();
        next
    }

    /// Hashes all but the bytes that a mount after a cut depends on.
    pub(super) fn hash_rest(&self, state: &mut impl Hasher) {
        // The counts only tell how many operations led here.
        let Self { geometry, now, base: _, journal, closed, unreadable, counts: _, backed, missing, faults } =
            self;
        debug_assert!(
            journal.is_empty() && *faults == super::fault::Faults::default(),
            "this is after a cut"
        );
        // In units of a byte, the bytes tell which were programmed.
        if geometry.write_unit() > 1 {
            now.hash(state);
        }
        (closed, unreadable, backed, missing).hash(state);
    }

    /// Ends the process that used the medium. Its writes can be read and may not be durable yet. Writes that a failed sync left
    /// in doubt are lost: the next process drops the cache before it reads.
    pub fn kill(&mut self) {
        self.faults.clear();
        self.journal.retain(|op| op.is_firm() || !op.is_doubtful());
        self.now = self.base.clone();
        for op in &self.journal {
            self.now.apply(&self.geometry, op, Fate::Kept);
        }
        // Only the process knew of a failure that left no trace.
        let unit = self.geometry.write_unit() as usize;
        let blank = self.geometry.erase_value();
        let seen = self.now.bytes.chunks(unit).map(|unit| unit.iter().any(|byte| *byte != blank));
        self.now.programmed = seen.collect();
        self.closed =
            (0..self.geometry.segment_count()).filter(|&at| self.holds_more_than_a_marker(at)).collect();
    }

    fn holds_more_than_a_marker(&self, segment: u32) -> bool {
        let unit = self.geometry.write_unit();
        let units = to_len(u64::from(self.geometry.segment_bytes() / unit));
        let start = segment as usize * units;
        let header = (self.geometry.header_at() / unit) as usize;
        self.now.programmed[start + header..start + units].contains(&true)
    }

    /// The plans of a power cut here that are worth trying, each a fate for every unsynced operation: none completed, all
    /// completed, all but one, one alone; the last one torn at every byte (of an erase: at a few), with those before it
    /// completed or lost.
    #[must_use]
    pub fn cut_plans(&self) -> Vec<Vec<Fate>> {
        let ops: Vec<&Op> = self.unsynced().collect();
        let n = ops.len();
        let mut plans = vec![vec![Fate::Lost; n]];
        if n == 0 {
            return plans;
        }
        plans.push(vec![Fate::Kept; n]);
        if n > 1 {
            for one in 0..n {
                plans.push((0..n).map(|at| if at == one { Fate::Lost } else { Fate::Kept }).collect());
                plans.push((0..n).map(|at| if at == one { Fate::Kept } else { Fate::Lost }).collect());
            }
        }
        for tear in self.tears(ops[n - 1]) {
            for before in [Fate::Kept, Fate::Lost] {
                let mut plan = vec![before; n];
                plan[n - 1] = tear;
                plans.push(plan);
                if n == 1 {
                    break;
                }
            }
        }
        plans
    }

    /// Every way in which one operation can be half done, at the granularity of its kind.
    fn tears(&self, op: &Op) -> Vec<Fate> {
        let len = op.len(&self.geometry);
        let mut fates: Vec<Fate> = match &op.what {
            Change::Write { .. } => (1..len).map(Fate::Torn).collect(),
            Change::Erase => [1, 16, len / 4, len / 2, len - 1].into_iter().map(Fate::Torn).collect(),
        };
        let first = match &op.what {
            Change::Write { offset, .. } => *offset as usize / SECTOR_BYTES,
            Change::Erase => 0,
        };
        let last = match &op.what {
            Change::Write { offset, .. } => (*offset as usize + len - 1) / SECTOR_BYTES,
            Change::Erase => (len - 1) / SECTOR_BYTES,
        };
        if last > first && last < 63 {
            fates.extend((first..=last).map(|sector| Fate::Sectors(1 << sector)));
            fates.extend((first..=last).map(|sector| Fate::Sectors(!(1 << sector))));
        }
        fates
    }
}
