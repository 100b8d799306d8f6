//! The counts of a pool.

use core::ops::AddAssign;

use crate::cleanup::Reclaimed;

/// The totals of a pool, exact at every moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct PoolTotals {
    /// Objects alive.
    pub live_objects: u32,
    /// Objects pinned, a share of the live ones.
    pub pinned_objects: u32,
    /// Live objects that carry an expiry.
    pub expiring_objects: u32,
    /// Entries of the handle table that are used up for good.
    pub retired_handles: u32,
    /// Bytes the live objects asked for.
    pub requested_bytes: u64,
    /// Bytes of the slots they lie in.
    pub slot_bytes: u64,
    /// Bytes of all committed pages.
    pub committed_bytes: u64,
    /// Pages committed, spare ones included.
    pub pages: u32,
    /// Pages committed and empty.
    pub spare_pages: u32,
    /// Allocations that succeeded since the pool was made.
    pub allocations: u64,
    /// Allocations that failed since then, for whatever reason.
    pub failures: u64,
    /// Pages released since then.
    pub released_pages: u64,
    /// Bytes moved since then.
    pub relocated_bytes: u64,
}

impl PoolTotals {
    /// Returns the shares of memory that hold nothing.
    #[must_use]
    pub fn fragmentation(&self) -> Fragmentation {
        Fragmentation {
            external_permille: permille_missing(self.slot_bytes, self.committed_bytes),
            internal_permille: permille_missing(self.requested_bytes, self.slot_bytes),
        }
    }
}

/// Sums the totals of several pools, such as the partitions of one.
impl AddAssign for PoolTotals {
    fn add_assign(&mut self, other: Self) {
        self.live_objects = self.live_objects.saturating_add(other.live_objects);
        self.pinned_objects = self.pinned_objects.saturating_add(other.pinned_objects);
        self.expiring_objects = self.expiring_objects.saturating_add(other.expiring_objects);
        self.retired_handles = self.retired_handles.saturating_add(other.retired_handles);
        self.requested_bytes = self.requested_bytes.saturating_add(other.requested_bytes);
        self.slot_bytes = self.slot_bytes.saturating_add(other.slot_bytes);
        self.committed_bytes = self.committed_bytes.saturating_add(other.committed_bytes);
        self.pages = self.pages.saturating_add(other.pages);
        self.spare_pages = self.spare_pages.saturating_add(other.spare_pages);
        self.allocations = self.allocations.saturating_add(other.allocations);
        self.failures = self.failures.saturating_add(other.failures);
        self.released_pages = self.released_pages.saturating_add(other.released_pages);
        self.relocated_bytes = self.relocated_bytes.saturating_add(other.relocated_bytes);
    }
}

/// The shares of memory that hold nothing, in permille, measured on a pool as it is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Fragmentation {
    /// 1 − slot bytes in use / committed bytes: the share that moving objects could give back.
    pub external_permille: u16,
    /// 1 − requested bytes / slot bytes: the cost of the steps between the size classes.
    pub internal_permille: u16,
}

/// Returns 1 − `part` / `whole` in permille, rounded down; of nothing, nothing is missing.
pub(crate) fn permille_missing(part: u64, whole: u64) -> u16 {
    let missing = u128::from(whole.saturating_sub(part)) * 1_000;
    let share = missing.checked_div(u128::from(whole)).unwrap_or(0);
    u16::try_from(share).unwrap_or(1_000)
}

/// The result of one bounded step of a pool.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[must_use = "the step tells whether another one is needed"]
pub struct Step {
    /// Bytes of objects copied to another page; never above the step's budget.
    pub relocated_bytes: u64,
    /// Objects copied to another page.
    pub relocated_objects: u32,
    /// Pages returned to the backing memory.
    pub pages_released: u32,
    /// Objects dropped because their time was over.
    pub expired_objects: u32,
    /// Objects dropped to free space, coldest first.
    pub evicted_objects: u32,
    /// Whether the pages failed to lend their bytes. The objects concerned stay where they were.
    pub failed: bool,
    /// Whether there is nothing left to do; the next step starts anew.
    pub done: bool,
}

impl Step {
    /// Adds what the step did to a reply. Bytes are pages × page size, never an estimate (I-POOL-2).
    pub fn add_to(&self, reclaimed: &mut Reclaimed, page_bytes: u32) {
        let bytes = u64::from(self.pages_released).saturating_mul(u64::from(page_bytes));
        reclaimed.bytes = reclaimed.bytes.saturating_add(bytes);
        reclaimed.pages = reclaimed.pages.saturating_add(self.pages_released);
        reclaimed.relocated_bytes = reclaimed.relocated_bytes.saturating_add(self.relocated_bytes);
        reclaimed.relocated_objects = reclaimed.relocated_objects.saturating_add(self.relocated_objects);
        let dropped = self.expired_objects.saturating_add(self.evicted_objects);
        reclaimed.dropped_objects = reclaimed.dropped_objects.saturating_add(dropped);
    }
}

/// How full one page is, for drawing and for judging.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct PageOccupancy {
    /// The number of the page.
    pub page: u16,
    /// The size of its slots; 0 for a spare page, which has none. A packed page has no slots: its bytes are counted in parts of
    /// this size.
    pub slot_bytes: u32,
    /// Slots that hold an object.
    pub used_slots: u16,
    /// Slots there are.
    pub slots: u16,
    /// Objects in it that may not move.
    pub pinned_objects: u16,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_round_down_and_never_overflow() {
        assert_eq!(permille_missing(0, 0), 0);
        assert_eq!(permille_missing(0, 5), 1_000);
        assert_eq!(permille_missing(5, 5), 0);
        assert_eq!(permille_missing(9, 5), 0);
        assert_eq!(permille_missing(2, 3), 333);
        assert_eq!(permille_missing(1, u64::MAX), 999);
    }

    #[test]
    fn step_added_bytes_are_pages_times_page_size() {
        let mut reclaimed = Reclaimed::default();
        let step = Step {
            pages_released: 3,
            relocated_bytes: 7,
            relocated_objects: 1,
            evicted_objects: 2,
            ..Step::default()
        };
        step.add_to(&mut reclaimed, 4_096);
        step.add_to(&mut reclaimed, 4_096);
        // I-POOL-2
        assert_eq!((reclaimed.bytes, reclaimed.pages), (6 * 4_096, 6));
        assert_eq!(
            (reclaimed.relocated_bytes, reclaimed.relocated_objects, reclaimed.dropped_objects),
            (14, 2, 4)
        );
    }
}
