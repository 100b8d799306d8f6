//! The charge of the keys of a partition, and how far a write may bring it.

use core::sync::atomic::AtomicU64;
use core::sync::atomic::Ordering::{AcqRel, Relaxed};

/// The part of a partition's sums that one key adds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Weight {
    /// Charged bytes, those of earlier writes that the pending one replaces included.
    pub(crate) charge: u64,
    /// The part of them that stays charged once the pending write is published. Publication does not change it.
    pub(crate) settled: u64,
    /// Bytes of memory that the pending write takes.
    pub(crate) pending_bytes: u64,
    /// 1 where the key has a value.
    pub(crate) keys: u64,
    /// Bytes of the longer of its records, written or pending; at most a few more.
    pub(crate) longest: u32,
}

impl Weight {
    /// Adds the weight of another key to all sums; the length is left as it is.
    pub(crate) fn add(&mut self, other: &Self) {
        self.charge += other.charge;
        self.settled += other.settled;
        self.pending_bytes += other.pending_bytes;
        self.keys += other.keys;
    }

    /// A write on top of what it will replace.
    pub(crate) fn above(self, older_charge: u64, stored_bytes: u32) -> Self {
        Self { charge: self.charge + older_charge, longest: self.longest.max(stored_bytes), ..self }
    }
}

/// How far a write may bring the sums.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ceiling {
    pub(crate) settled: u64,
    pub(crate) charge: u64,
}

/// Which sum a write would bring beyond its ceiling.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Beyond {
    /// The bytes that the log is sure to hold; `available` are left for the write.
    Settled { available: u64 },
    /// The bytes that the log may hold until pending writes are published.
    Charge,
}

/// Sums over all keys of a partition; each equals a recount whenever no operation is under way.
#[derive(Debug, Default)]
pub(crate) struct Charges {
    charge: AtomicU64,
    settled: AtomicU64,
    keys: AtomicU64,
}

impl Charges {
    /// Charged bytes, those that pending writes replace included.
    pub(crate) fn charge(&self) -> u64 {
        self.charge.load(Relaxed)
    }

    /// Bytes that stay charged once all pending writes are published.
    pub(crate) fn settled(&self) -> u64 {
        self.settled.load(Relaxed)
    }

    /// Keys that have a value.
    pub(crate) fn keys(&self) -> u64 {
        self.keys.load(Relaxed)
    }

    /// The weight of a key changes, whatever the limit.
    pub(super) fn change(&self, before: &Weight, after: &Weight) {
        move_sum(&self.settled, before.settled, after.settled);
        move_sum(&self.charge, before.charge, after.charge);
        move_sum(&self.keys, before.keys, after.keys);
    }

    /// Moves all sums, or none where one would go beyond its ceiling. The charge changes first, and changes back where
    /// `settled` is refused. Others may wait for a lower charge, but are refused only by `settled`. So no write is refused as
    /// full that has space.
    pub(super) fn change_within(
        &self,
        before: &Weight,
        after: &Weight,
        ceiling: &Ceiling,
    ) -> Result<(), Beyond> {
        let settled = &self.settled;
        if move_sum_within(&self.charge, before.charge, after.charge, ceiling.charge).is_err() {
            let available = available(settled.load(Relaxed), before.settled, ceiling.settled);
            let is_full = after.settled > available.max(before.settled);
            return Err(if is_full { Beyond::Settled { available } } else { Beyond::Charge });
        }
        if let Err(available) = move_sum_within(settled, before.settled, after.settled, ceiling.settled) {
            move_sum(&self.charge, after.charge, before.charge);
            return Err(Beyond::Settled { available });
        }
        move_sum(&self.keys, before.keys, after.keys);
        Ok(())
    }
}

fn move_sum(sum: &AtomicU64, before: u64, after: u64) {
    if after > before {
        sum.fetch_add(after - before, AcqRel);
    } else if after < before {
        sum.fetch_sub(before - after, AcqRel);
    }
}

/// As [`move_sum`], unless the sum would then be beyond `max`: the error is the part that is available. A part that does not
/// grow is always moved, since the limit may have become lower.
fn move_sum_within(sum: &AtomicU64, before: u64, after: u64, max: u64) -> Result<(), u64> {
    let is_within = |sum: &u64| *sum <= max || after <= before;
    let moved = |now: u64| now.saturating_sub(before).checked_add(after).filter(is_within);
    sum.fetch_update(AcqRel, Relaxed, moved).map(|_| ()).map_err(|now| available(now, before, max))
}

/// How much a sum leaves for a part that replaces `before`.
fn available(now: u64, before: u64, max: u64) -> u64 {
    max.saturating_sub(now.saturating_sub(before))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refused_weight_moves_no_sum_and_says_what_is_left() {
        let weight = |settled, charge| Weight { settled, charge, keys: 1, ..Weight::default() };
        let charges = Charges::default();
        charges.change(&Weight::default(), &weight(60, 60));
        let sums = || (charges.settled(), charges.charge(), charges.keys());
        let within = |settled, charge, after: &Weight| {
            charges.change_within(&Weight::default(), after, &Ceiling { settled, charge })
        };
        assert_eq!(within(100, 200, &weight(41, 41)), Err(Beyond::Settled { available: 40 }));
        assert_eq!(within(100, 99, &weight(40, 40)), Err(Beyond::Charge));
        assert_eq!(sums(), (60, 60, 1));
        assert_eq!(within(100, 100, &weight(40, 40)), Ok(()));
        assert_eq!(sums(), (100, 100, 2));
        // A limit that came down keeps nobody from becoming less.
        let lower = Ceiling { settled: 10, charge: 10 };
        assert_eq!(charges.change_within(&weight(60, 60), &weight(50, 50), &lower), Ok(()));
        assert_eq!(sums(), (90, 90, 2));
    }
}
