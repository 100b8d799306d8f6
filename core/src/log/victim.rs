//! Which segment to clean: a pure function over the segment table.
//!
//! Greedy takes the least live; cost–benefit weighs the free space by age, (1 − u) ÷ u · age, after Rosenblum and
//! Ousterhout, "The Design and Implementation of a Log-Structured File System" (SOSP 1991), where u is the live share and
//! age the bytes appended since the segment was sealed. Which of the two is better depends on the workload: where keys are
//! overwritten in turn greedy wins, where some are hot and some cold cost–benefit does.

use super::{Geometry, Segment, SegmentState};

/// How victims are chosen when there is no shortage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Policy {
    /// The least live segment.
    Greedy,
    /// The highest (1 − u) ÷ u · age.
    #[default]
    CostBenefit,
}

/// Why a segment was chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Reason {
    /// A write or sync of it failed: what is live in it must be written again.
    Suspect,
    /// Nothing in it is live.
    Dead,
    /// It was never sealed, and a task asked for a footer.
    NoFooter,
    /// It has the least live bytes: so many permille of a segment.
    LeastLive(u16),
    /// It has the best (1 − u) ÷ u · age; its live share in permille.
    CostBenefit(u16),
}

/// A victim, and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Choice {
    /// Index of the segment.
    pub segment: u32,
    /// Why it was chosen.
    pub reason: Reason,
}

/// Chooses the segment to clean next, among those for which `eligible` holds; `appended` is the tier's count of bytes.
///
/// Suspect segments come first, then dead ones, then what the policy says. A segment that would cost as much as it yields
/// is never chosen.
///
/// # Bounds
/// One pass over the table.
#[must_use]
pub fn choose(
    geometry: &Geometry,
    segments: &[Segment],
    policy: Policy,
    appended: u64,
    eligible: impl Fn(u32, &Segment) -> bool,
) -> Option<Choice> {
    let mut best: Option<(u128, Choice)> = None;
    for (index, segment) in (0u32..).zip(segments) {
        if segment.state != SegmentState::Sealed || segment.is_damaged || !eligible(index, segment) {
            continue;
        }
        let gain = segment.yield_bytes(geometry);
        let (rank, reason) = if segment.is_suspect {
            (u128::MAX, Reason::Suspect)
        } else if segment.live_records == 0 {
            (u128::MAX - 1 - u128::from(segment.sequence), Reason::Dead)
        } else if gain == 0 {
            continue;
        } else {
            rank(geometry, segment, policy, gain, appended)
        };
        if best.as_ref().is_none_or(|(highest, _)| rank > *highest) {
            best = Some((rank, Choice { segment: index, reason }));
        }
    }
    best.map(|(_, choice)| choice)
}

fn rank(geometry: &Geometry, segment: &Segment, policy: Policy, gain: u32, appended: u64) -> (u128, Reason) {
    let usable = geometry.usable_bytes().max(1);
    let live = segment.relocation_bytes(geometry).max(1);
    let permille = u16::try_from(u64::from(live) * 1000 / u64::from(usable)).unwrap_or(u16::MAX);
    match policy {
        Policy::Greedy => (u128::from(gain), Reason::LeastLive(permille)),
        Policy::CostBenefit => {
            let age = appended.saturating_sub(segment.sealed_at).saturating_add(1);
            let score = u128::from(gain) * u128::from(age) * 1024 / u128::from(live);
            (score, Reason::CostBenefit(permille))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::Identity;

    fn geometry() -> Geometry {
        Geometry::new(1 << 16, 16, 1, 0, Identity::KeyedHash).unwrap()
    }

    fn sealed(sequence: u32, live_bytes: u32, sealed_at: u64) -> Segment {
        Segment {
            state: SegmentState::Sealed,
            sequence,
            used_bytes: 60_000,
            live_bytes,
            live_records: live_bytes.div_ceil(1000),
            sealed_at,
            ..Segment::default()
        }
    }

    fn pick(segments: &[Segment], policy: Policy) -> Option<Choice> {
        choose(&geometry(), segments, policy, 1_000_000, |_, _| true)
    }

    #[test]
    fn dead_segment_comes_before_any_policy() {
        let table = [sealed(1, 10, 0), sealed(2, 0, 999_999), sealed(3, 0, 5)];
        for policy in [Policy::Greedy, Policy::CostBenefit] {
            assert_eq!(pick(&table, policy), Some(Choice { segment: 1, reason: Reason::Dead }));
        }
    }

    #[test]
    fn suspect_segment_comes_first_even_when_full() {
        let full = Segment { is_suspect: true, ..sealed(9, 64_000, 0) };
        assert_eq!(pick(&[sealed(2, 0, 5), full], Policy::Greedy).unwrap().reason, Reason::Suspect);
    }

    #[test]
    fn policies_differ_on_an_old_cold_segment() {
        let table = [sealed(1, 40_000, 0), sealed(2, 30_000, 999_000)];
        assert_eq!(pick(&table, Policy::Greedy).unwrap().segment, 1);
        assert_eq!(pick(&table, Policy::CostBenefit).unwrap().segment, 0);
    }

    #[test]
    fn segment_that_costs_what_it_yields_is_left_alone() {
        let table =
            [sealed(1, 64_000, 0), Segment { is_damaged: true, ..sealed(2, 0, 0) }, Segment::default()];
        assert_eq!(pick(&table, Policy::Greedy), None);
    }
}
