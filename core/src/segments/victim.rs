//! Which segment to clean: a pure function over the segment table.
//!
//! Greedy takes the least live. Cost–benefit weighs the free space by age, (1 − u) ÷ u · age: u is the live share, and age the
//! bytes appended since the segment was sealed. It is after Rosenblum and Ousterhout, "The Design and Implementation of a
//! Log-Structured File System" (SOSP 1991). The better of the two depends on the workload. Where keys are overwritten in turn
//! greedy wins; where some are hot and some cold, cost–benefit wins. [`Ages`] tells which workload it is: it compares how old
//! records are when they are superseded with how old live ones are.

use core::fmt;

use super::segment::{Growth, Segment, SegmentState};
use super::table::numbered;
use crate::format::{Geometry, SegmentIndex, Sequence};

/// How victims are chosen when there is no shortage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Policy {
    /// The least live segment.
    Greedy,
    /// The highest (1 − u) ÷ u · age.
    CostBenefit,
    /// Cost–benefit while superseded records were on the average much younger than live ones are; else greedy. Old records may
    /// be about to die then, and to relocate them would be work for nothing.
    #[default]
    Adaptive,
}

/// The age of records when they are superseded, and the age of live ones. An age is the number of segment sequences issued
/// since the version of the record. So relocation does not make a record young, unless it writes it as new.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Ages {
    /// Of superseded records: bytes, and age times bytes. Both are halved as they grow, so that old records lose their weight
    /// in the mean.
    dead_bytes: u64,
    dead_weighted: u64,
    /// Of live records: how many, and the sum of their sequences.
    live_records: u64,
    live_sequences: u64,
}

impl Ages {
    /// A record was written at sequence `now`; it supersedes one of sequence `before`, if any.
    pub fn note(&mut self, now: Sequence, before: Option<Sequence>, record_bytes: u32, geometry: &Geometry) {
        self.live_sequences += u64::from(now.get());
        let Some(before) = before else {
            self.live_records += 1;
            return;
        };
        self.live_sequences = self.live_sequences.saturating_sub(u64::from(before.get()));
        if self.dead_bytes > geometry.medium_bytes() / 2 {
            self.dead_bytes /= 2;
            self.dead_weighted /= 2;
        }
        self.dead_bytes += u64::from(record_bytes);
        self.dead_weighted += u64::from(now.since(before)) * u64::from(record_bytes);
    }

    /// A live record of sequence `before` was relocated as new, at sequence `now`: it counts as young from now on.
    pub fn renew(&mut self, now: Sequence, before: Sequence) {
        self.live_sequences = self.live_sequences.saturating_add(u64::from(now.since(before)));
    }

    /// A record of sequence `before` was dropped, and no other superseded it.
    pub fn forget(&mut self, before: Sequence) {
        self.live_records = self.live_records.saturating_sub(1);
        self.live_sequences = self.live_sequences.saturating_sub(u64::from(before.get()));
    }

    /// Takes the live records that a mount found, each at the age of its segment.
    pub fn recovered(&mut self, segments: &[Segment]) {
        for segment in segments {
            self.live_records += u64::from(segment.live_records());
            self.live_sequences += u64::from(segment.live_records()) * u64::from(segment.sequence.get());
        }
    }

    /// Resolves [`Policy::Adaptive`] at sequence `now`.
    ///
    /// Cost–benefit when superseded records are, on the average, less than half as old as live ones. Under uniform overwrites
    /// the two are equal; under Zipf 0.99 over n keys the first is n writes, the second about six times that; where all keys
    /// are written in turn the first is twice the second. Greedy until as many bytes were superseded as a quarter of the medium
    /// holds.
    #[must_use]
    pub fn resolve(&self, policy: Policy, now: Sequence, geometry: &Geometry) -> Policy {
        if policy != Policy::Adaptive {
            return policy;
        }
        let live_ages = (u128::from(self.live_records) * u128::from(now.get()))
            .saturating_sub(u128::from(self.live_sequences));
        // Compares the two means without dividing.
        let is_young = 2 * u128::from(self.dead_weighted) * u128::from(self.live_records)
            < live_ages * u128::from(self.dead_bytes);
        if is_young && self.dead_bytes >= geometry.medium_bytes() / 4 {
            Policy::CostBenefit
        } else {
            Policy::Greedy
        }
    }
}

/// Why a segment was chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum VictimReason {
    /// A write or sync of it failed: what is live in it must be written again.
    Suspect,
    /// Nothing in it is live.
    Dead,
    /// It was never sealed, and a task asked for a footer.
    NoFooter,
    /// It is damaged, or could not be read for a while, and a task frees it.
    Damaged,
    /// Its copies are not counted: copies are being recounted, and each segment from before the recount is freed.
    Uncounted,
    /// It was erased so many times less than the most worn segment: its cold records keep it from its share of wear.
    Wear(u32),
    /// It has the least live bytes; its live share in permille.
    LeastLive(u16),
    /// It has the best (1 − u) ÷ u · age; its live share in permille.
    CostBenefit(u16),
}

/// Completes the sentence "the segment was chosen because …".
impl fmt::Display for VictimReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Suspect => f.write_str("a write or sync of it failed"),
            Self::Dead => f.write_str("nothing in it was live"),
            Self::NoFooter => f.write_str("it had no footer"),
            Self::Damaged => f.write_str("it was damaged, or could not be read for a while"),
            Self::Uncounted => f.write_str("its copies were not counted"),
            Self::Wear(erases) => write!(f, "it was erased {erases} times less than the most worn one"),
            Self::LeastLive(permille) => {
                write!(f, "it had the least live bytes ({}.{} %)", permille / 10, permille % 10)
            }
            Self::CostBenefit(permille) => {
                write!(f, "it was old for its live bytes ({}.{} %)", permille / 10, permille % 10)
            }
        }
    }
}

/// A victim, and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct VictimChoice {
    /// The segment.
    pub segment: SegmentIndex,
    /// Why it was chosen.
    pub reason: VictimReason,
}

/// The inputs of a choice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VictimTerms {
    /// [`Geometry::usable_bytes`] of a segment.
    pub usable_bytes: u32,
    /// Bytes that a live record takes beyond its own once it is relocated.
    pub growth: Growth,
    /// How to choose.
    pub policy: Policy,
    /// Bytes that clients appended so far, by which the age of a segment is measured.
    pub appended: u64,
    /// Whether segments that yield less than an eighth are taken in turn, the oldest first.
    ///
    /// The yield is an estimate: a record may have an expiry in its footer entry, and a long record may end an output early.
    /// Near a full log the estimate may be wrong for the best segment of the table, and cleaning it again and again may gain
    /// nothing. Cleaning all in turn gains all the space that there is.
    pub takes_turns: bool,
}

/// Chooses the segment to clean next, among those for which `eligible` holds.
///
/// Suspect segments come first, then dead ones, then the best by the policy. A segment that would cost as much as it yields is
/// never chosen. [`Policy::Adaptive`] counts as greedy: [resolve](Ages::resolve) it first.
///
/// # Bounds
/// One pass over the table.
#[must_use]
pub fn choose(
    terms: &VictimTerms,
    segments: &[Segment],
    mut eligible: impl FnMut(SegmentIndex, &Segment) -> bool,
) -> Option<VictimChoice> {
    let mut best: Option<(u64, SegmentIndex, &Segment)> = None;
    for (index, segment) in numbered(segments) {
        if segment.state() != SegmentState::Sealed || segment.is_kept() || !eligible(index, segment) {
            continue;
        }
        let gain = segment.yield_bytes(terms.usable_bytes, &terms.growth);
        let rank = if segment.is_suspect() {
            u64::MAX
        } else if segment.live_records() == 0 {
            u64::MAX - 1 - u64::from(segment.sequence.get())
        } else if gain == 0 {
            continue;
        } else {
            rank(terms, segment, gain)
        };
        if best.is_none_or(|(highest, ..)| rank > highest) {
            best = Some((rank, index, segment));
        }
    }
    best.map(|(_, index, segment)| VictimChoice { segment: index, reason: reason(terms, segment) })
}

fn reason(terms: &VictimTerms, segment: &Segment) -> VictimReason {
    let usable = u64::from(terms.usable_bytes.max(1));
    let live = u64::from(segment.relocation_bytes(&terms.growth).max(1));
    let permille = u16::try_from(live * 1000 / usable).unwrap_or(u16::MAX);
    match terms.policy {
        _ if segment.is_suspect() => VictimReason::Suspect,
        _ if segment.live_records() == 0 => VictimReason::Dead,
        Policy::Greedy | Policy::Adaptive => VictimReason::LeastLive(permille),
        Policy::CostBenefit => VictimReason::CostBenefit(permille),
    }
}

/// The range of erase counts over a table: the least, among sealed segments, and the most. Quarantined segments do not count.
///
/// # Bounds
/// One pass over the table.
#[must_use]
pub fn wear(segments: &[Segment]) -> Option<(u32, u32)> {
    let known = || segments.iter().filter(|s| s.state() != SegmentState::Quarantined);
    let least = known().filter(|s| s.state() == SegmentState::Sealed).map(|s| s.erases).min()?;
    Some((least, known().map(|s| s.erases).max()?))
}

/// Chooses the least worn sealed segment if it was erased more than `spread_max` times less than the most worn one, so that its
/// cold records go elsewhere; of several the oldest. `None` also while no free segment was erased more often by half of
/// `spread_max`: cold records would only change places.
///
/// # Bounds
/// Three passes over the table.
#[must_use]
pub fn choose_by_wear(segments: &[Segment], spread_max: u32) -> Option<VictimChoice> {
    let (least, most) = wear(segments)?;
    let worn = segments.iter().filter(|s| s.state() == SegmentState::Free).map(|s| s.erases).max()?;
    if most - least <= spread_max || worn.saturating_sub(least) <= spread_max / 2 {
        return None;
    }
    let is_least = |s: &Segment| s.state() == SegmentState::Sealed && !s.is_kept() && s.erases == least;
    let candidates = numbered(segments).filter(|(_, s)| is_least(s));
    let (segment, _) = candidates.min_by_key(|(_, s)| s.sequence)?;
    Some(VictimChoice { segment, reason: VictimReason::Wear(most - least) })
}

/// Segments that yield at least this part of a segment, given as a divisor, are not taken in turn.
const YIELD_FOR_TURNS: u32 = 8;

/// The rank by policy. As the product of two numbers of 32 bits it is below the rank of any dead segment.
fn rank(terms: &VictimTerms, segment: &Segment, gain: u32) -> u64 {
    if terms.takes_turns && gain < terms.usable_bytes / YIELD_FOR_TURNS {
        return u64::from(u32::MAX - segment.sequence.get());
    }
    let above_turns = if terms.takes_turns { 1 << 62 } else { 0 };
    above_turns + rank_by_policy(terms, segment, gain) / 4
}

fn rank_by_policy(terms: &VictimTerms, segment: &Segment, gain: u32) -> u64 {
    match terms.policy {
        Policy::Greedy | Policy::Adaptive => u64::from(gain) << 32,
        Policy::CostBenefit => {
            // Numbers are kept to 32 bits for the division: a longer one is a call on a small processor, for each segment.
            let scaled = gain << terms.usable_bytes.leading_zeros();
            let live = segment.relocation_bytes(&terms.growth).max(1);
            let age = segment.age_bytes(terms.appended).saturating_add(1);
            let age_bits = u64::BITS - terms.appended.leading_zeros();
            let age = u32::try_from(age >> age_bits.saturating_sub(u32::BITS)).unwrap_or(u32::MAX);
            u64::from(scaled / live) * u64::from(age)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::Identity;
    use crate::segments::Flag;

    const GROWTH: Growth = Growth { plain: 32, relocated: 32 };

    fn geometry() -> Geometry {
        Geometry::new(1 << 16, 16, 1, 0, Identity::KeyedHash).unwrap()
    }

    fn sealed(sequence: u32, live_bytes: u32, sealed_at: u64) -> Segment {
        let mut segment = Segment::of(Sequence::new(sequence), 0, SegmentState::Sealed);
        segment.set_used_bytes(60_000);
        for record in 0..live_bytes.div_ceil(1000) {
            segment.gain((live_bytes - record * 1000).min(1000));
        }
        segment.set_sealed_at(sealed_at);
        segment
    }

    fn pick(segments: &[Segment], policy: Policy) -> Option<VictimChoice> {
        let usable_bytes = geometry().usable_bytes();
        let terms =
            VictimTerms { usable_bytes, growth: GROWTH, policy, appended: 1_000_000, takes_turns: false };
        choose(&terms, segments, |_, _| true)
    }

    #[test]
    fn dead_segment_comes_before_any_policy() {
        let table = [sealed(1, 10, 0), sealed(2, 0, 999_999), sealed(3, 0, 5)];
        for policy in [Policy::Greedy, Policy::CostBenefit] {
            assert_eq!(
                pick(&table, policy),
                Some(VictimChoice { segment: SegmentIndex::new(1), reason: VictimReason::Dead })
            );
        }
    }

    #[test]
    fn suspect_segment_comes_first_even_when_full() {
        let mut full = sealed(9, 64_000, 0);
        full.set(Flag::Suspect, true);
        assert_eq!(pick(&[sealed(2, 0, 5), full], Policy::Greedy).unwrap().reason, VictimReason::Suspect);
    }

    #[test]
    fn policies_differ_on_an_old_cold_segment() {
        let table = [sealed(1, 40_000, 0), sealed(2, 30_000, 999_000)];
        assert_eq!(pick(&table, Policy::Greedy).unwrap().segment, SegmentIndex::new(1));
        assert_eq!(pick(&table, Policy::CostBenefit).unwrap().segment, SegmentIndex::new(0));
    }

    #[test]
    fn benefit_grows_with_age_and_gain_however_much_was_appended() {
        for bits in [10, 31, 32, 33, 48, 63] {
            let appended = (1u64 << bits) - 1;
            let terms = VictimTerms {
                usable_bytes: geometry().usable_bytes(),
                growth: GROWTH,
                policy: Policy::CostBenefit,
                appended,
                takes_turns: false,
            };
            let choose = |table: &[Segment]| choose(&terms, table, |_, _| true).unwrap().segment;
            assert_eq!(
                choose(&[sealed(1, 30_000, appended / 2), sealed(2, 30_000, 0)]),
                SegmentIndex::new(1),
                "{bits}"
            );
            assert_eq!(choose(&[sealed(1, 30_000, 0), sealed(2, 29_000, 0)]), SegmentIndex::new(1), "{bits}");
            assert_eq!(
                choose(&[sealed(1, 1, 0), sealed(2, 0, appended)]),
                SegmentIndex::new(1),
                "a dead one goes before, {bits}"
            );
        }
    }

    #[test]
    fn segments_that_yield_little_are_taken_in_turn() {
        let usable_bytes = geometry().usable_bytes();
        let choose = |table: &[Segment], takes_turns| {
            let terms = VictimTerms {
                usable_bytes,
                growth: GROWTH,
                policy: Policy::Greedy,
                appended: 9,
                takes_turns,
            };
            choose(&terms, table, |_, _| true).unwrap().segment
        };
        let full = [sealed(9, 60_000, 0), sealed(7, 61_000, 0), sealed(8, 59_000, 0)];
        assert_eq!(choose(&full, false), SegmentIndex::new(2), "the least live");
        assert_eq!(choose(&full, true), SegmentIndex::new(1), "the oldest");
        let better = [full[0], full[1], sealed(10, 50_000, 0), sealed(11, 40_000, 0)];
        assert_eq!(choose(&better, true), SegmentIndex::new(3));
    }

    #[test]
    fn record_that_was_relocated_as_new_is_as_old_as_its_new_place() {
        let g = geometry();
        let (mut moved, mut put) = (Ages::default(), Ages::default());
        for sequence in 1..=100 {
            moved.note(Sequence::new(sequence), None, 1000, &g);
            put.note(Sequence::new(sequence + 100), None, 1000, &g);
        }
        (1..=100).for_each(|sequence| moved.renew(Sequence::new(sequence + 100), Sequence::new(sequence)));
        assert_eq!(moved, put);
        (101..=200).for_each(|sequence| moved.forget(Sequence::new(sequence)));
        assert_eq!(moved, Ages::default());
    }

    #[test]
    fn adaptive_policy_follows_the_ages_at_which_records_die() {
        let g = geometry();
        let mut ages = Ages::default();
        for sequence in 1..=100 {
            ages.note(Sequence::new(sequence), None, 1000, &g);
        }
        // Live records are 50 sequences old on the average.
        let quarter = (g.medium_bytes() / 4) as u32;
        let mut few = ages;
        few.note(Sequence::new(100), Some(Sequence::new(90)), quarter - 1, &g);
        assert_eq!(few.resolve(Policy::Adaptive, Sequence::new(100), &g), Policy::Greedy);
        for (before, policy) in [(90, Policy::CostBenefit), (70, Policy::Greedy), (10, Policy::Greedy)] {
            let mut ages = ages;
            ages.note(Sequence::new(100), Some(Sequence::new(before)), quarter, &g);
            assert_eq!(
                ages.resolve(Policy::Adaptive, Sequence::new(100), &g),
                policy,
                "superseded at {before}"
            );
            assert_eq!(ages.resolve(Policy::CostBenefit, Sequence::new(100), &g), Policy::CostBenefit);
        }
    }

    #[test]
    fn wear_spread_beyond_the_bound_chooses_the_least_worn() {
        let worn = |sequence, erases, state| {
            let mut segment = sealed(sequence, 60_000, 0);
            segment.erases = erases;
            segment.set_state(state);
            segment
        };
        let (sealed, free) = (SegmentState::Sealed, SegmentState::Free);
        let table = [worn(3, 5, sealed), worn(2, 5, sealed), worn(0, 14, free), worn(0, 1, free)];
        assert_eq!(
            wear(&table),
            Some((5, 14)),
            "a free segment is taken by itself when it is the least worn"
        );
        assert_eq!(choose_by_wear(&table, 9), None);
        assert_eq!(
            choose_by_wear(&table, 8),
            Some(VictimChoice { segment: SegmentIndex::new(1), reason: VictimReason::Wear(9) })
        );
        let lost = [worn(1, 5, sealed), worn(2, 50, SegmentState::Quarantined)];
        assert_eq!(choose_by_wear(&lost, 8), None);
    }

    #[test]
    fn segment_that_costs_what_it_yields_is_left_alone() {
        let mut damaged = sealed(2, 0, 0);
        damaged.set(Flag::Damaged, true);
        let table = [sealed(1, 64_000, 0), damaged, Segment::new()];
        assert_eq!(pick(&table, Policy::Greedy), None);
    }
}
