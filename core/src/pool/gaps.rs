//! Objects of all lengths in the same pages: the packed layout.
//!
//! ```text
//!  page 3: │ gap │ object 7 │ object 2 │  gap  │ object 9 │ gap │
//!          ▲     before ◄──────► after         ▲
//!          └ behind the page's own entry       └ behind object 2
//! ```
//!
//! A page is a ring of neighbours, in the order of their addresses. A gap is whatever lies between two of them, so neither a gap
//! nor an object takes a byte of the page beside its own. Gaps are listed by size, in bins: four for each doubling, each with a
//! bit that tells whether it has any. All gaps of a higher bin fit, so the first one is taken; of the object's own bin some are
//! looked at first: the search of TLSF (Masmano et al., "TLSF: a new dynamic memory allocator for real-time systems",
//! ECRTS 2004), whose blocks have headers in place of the ring.
//!
//! Lengths are counted in granules: 4 bytes in pages of up to 256 KiB, and a 65,536th of larger pages.

use super::tables::{GapEntry, NO_OBJECT, ObjectEntry, PageEntry, PageLayout, PageState, Place};
use super::{AllocateError, PageOccupancy, Pages, Pool, Tables};

/// Gaps of one bin that are looked at.
const LOOKS_MAX: u8 = 4;
/// Bins whose coldest objects are compared when space is needed.
const BINS_COMPARED: u8 = 4;
/// Objects of one bin that are looked at for one that is long enough.
const COLDEST_LOOKS_MAX: usize = 16;

/// The bin of a size above zero: the highest whose sizes are not larger.
pub(super) fn bin_of(granules: u32) -> u8 {
    let Some(doubling) = granules.checked_ilog2() else { return 0 };
    let bin = match doubling.checked_sub(2) {
        // 4, 5, 6, 7 have a bin each, and so has each quarter of the doublings above.
        Some(shift) => shift.saturating_mul(4).saturating_add(granules >> shift & 3).saturating_add(3),
        None => granules.saturating_sub(1),
    };
    u8::try_from(bin).unwrap_or(u8::MAX)
}

impl<P: Pages, S: Tables> Pool<P, S> {
    pub(super) const IS_PACKED: bool = matches!(S::LAYOUT, PageLayout::Packed);

    /// The size of a granule, as a power of two.
    fn granule_bits(&self) -> u32 {
        let page_bits = u32::BITS.saturating_sub(self.page_bytes.saturating_sub(1).leading_zeros());
        page_bits.saturating_sub(16).max(2)
    }

    fn granules_of(&self, len: u32) -> u32 {
        let bits = self.granule_bits();
        (len.max(1).saturating_sub(1) >> bits).saturating_add(1)
    }

    pub(super) fn page_granules(&self) -> u32 {
        self.page_bytes >> self.granule_bits()
    }

    /// The bytes of so many granules.
    pub(super) fn bytes_of(&self, granules: u32) -> u64 {
        u64::from(granules) << self.granule_bits()
    }

    pub(super) fn bin_for(&self, len: u32) -> u8 {
        bin_of(self.granules_of(len))
    }

    pub(super) fn size_of(&self, object: &ObjectEntry<S::Tag>) -> u32 {
        self.granules_of(object.len)
    }

    /// Where in its page an object lies, as offsets.
    pub(super) fn packed_range_of(&self, object: &ObjectEntry<S::Tag>) -> Option<(usize, usize)> {
        let start = usize::from(object.place.slot) << self.granule_bits();
        Some((start, start.checked_add(usize::try_from(object.len).ok()?)?))
    }

    fn objects_len(&self) -> u32 {
        u32::try_from(self.tables.objects().len()).unwrap_or(u32::MAX)
    }

    /// The entry at which the ring of a page begins and ends.
    pub(super) fn page_entry(&self, page: u16) -> u32 {
        self.objects_len().saturating_add(u32::from(page))
    }

    /// The page whose entry it is, if it is not that of an object.
    pub(super) fn page_of_entry(&self, entry: u32) -> Option<u16> {
        entry.checked_sub(self.objects_len()).and_then(|page| u16::try_from(page).ok())
    }

    pub(super) fn gap(&self, entry: u32) -> Option<&GapEntry> {
        self.tables.gaps().get(usize::try_from(entry).ok()?)
    }

    pub(super) fn gap_mut(&mut self, entry: u32) -> Option<&mut GapEntry> {
        self.tables.gaps_mut().get_mut(usize::try_from(entry).ok()?)
    }

    /// The page in which a gap lies, and where it begins.
    fn gap_place(&self, entry: u32) -> Option<(u16, u32)> {
        if let Some(page) = self.page_of_entry(entry) {
            return Some((page, 0));
        }
        let object = self.object(entry)?;
        Some((object.place.page, u32::from(object.place.slot).saturating_add(self.size_of(object))))
    }

    /// The granules between an entry and the next one.
    pub(super) fn gap_behind(&self, entry: u32) -> Option<u32> {
        Some(self.gap(entry)?.granules)
    }

    /// The same, from the places of both.
    pub(super) fn recounted_gap(&self, entry: u32) -> Option<u32> {
        let (_, begin) = self.gap_place(entry)?;
        let after = self.gap(entry)?.after;
        let end = if self.page_of_entry(after).is_some() {
            self.page_granules()
        } else {
            u32::from(self.object(after)?.place.slot)
        };
        end.checked_sub(begin)
    }

    pub(super) fn place_behind(&self, entry: u32) -> Option<Place> {
        let (page, begin) = self.gap_place(entry)?;
        Some(Place { page, slot: u16::try_from(begin).ok()? })
    }

    /// Gives the gap behind an entry its size and puts it in the list of that size, if it has any. The first gap of a page being
    /// emptied stays off: it grows with each object that leaves, and is to go with the page.
    pub(super) fn list_gap(&mut self, entry: u32, granules: u32) -> Option<()> {
        self.gap_mut(entry)?.granules = granules;
        let of_page = self.page_of_entry(entry).and_then(|page| self.page(page));
        if granules == 0 || of_page.is_some_and(|page| page.state == PageState::Draining) {
            return Some(());
        }
        let bin = bin_of(granules);
        let older = core::mem::replace(&mut self.class_mut(bin)?.free, entry);
        if older != NO_OBJECT {
            self.gap_mut(older)?.newer = entry;
        }
        let gap = self.gap_mut(entry)?;
        (gap.newer, gap.older) = (NO_OBJECT, older);
        self.tables.set_bins(self.tables.bins() | 1 << bin);
        Some(())
    }

    /// Takes the gap behind an entry off its list; returns its size.
    pub(super) fn unlist_gap(&mut self, entry: u32) -> Option<u32> {
        let gap = *self.gap(entry)?;
        if !gap.is_listed() {
            return Some(gap.granules);
        }
        if gap.newer == NO_OBJECT {
            let bin = bin_of(gap.granules);
            self.class_mut(bin)?.free = gap.older;
            if gap.older == NO_OBJECT {
                self.tables.set_bins(self.tables.bins() & !(1 << bin));
            }
        } else {
            self.gap_mut(gap.newer)?.older = gap.older;
        }
        if gap.older != NO_OBJECT {
            self.gap_mut(gap.older)?.newer = gap.newer;
        }
        let unlisted = self.gap_mut(entry)?;
        (unlisted.newer, unlisted.older) = (GapEntry::EMPTY.newer, GapEntry::EMPTY.older);
        Some(gap.granules)
    }

    /// A gap for so many granules in a page other than `except`: among some of the object's own bin, else of the next bin that
    /// has any.
    pub(super) fn find_gap(&self, granules: u32, except: Option<u16>) -> Option<u32> {
        let own = bin_of(granules);
        let above = u64::MAX.checked_shl(u32::from(own)).unwrap_or(0);
        let mut bins = self.tables.bins() & above;
        while bins != 0 {
            let bin = u8::try_from(bins.trailing_zeros()).ok()?;
            let mut entry = self.class(bin)?.free;
            for _ in 0..LOOKS_MAX {
                if entry == NO_OBJECT {
                    break;
                }
                let is_elsewhere =
                    except.is_none_or(|page| self.gap_place(entry).is_some_and(|at| at.0 != page));
                if is_elsewhere && (bin > own || self.gap_behind(entry)? >= granules) {
                    return Some(entry);
                }
                entry = self.gap(entry)?.older;
            }
            bins &= bins.saturating_sub(1);
        }
        None
    }

    /// Finds a gap for a new object, if need be in a page more. Returns the entry behind which it lies.
    pub(super) fn take_gap(&mut self, len: u32) -> Result<u32, AllocateError> {
        let granules = self.granules_of(len);
        if let Some(entry) = self.find_gap(granules, None) {
            return Ok(entry);
        }
        match self.take_page() {
            Ok(page) => self.enter_packed(page).ok_or(AllocateError::Inconsistent),
            // A new object goes before a page that might be returned.
            Err(error) if self.drain.is_some() => {
                self.stop_drain().ok_or(AllocateError::Inconsistent)?;
                self.find_gap(granules, None).ok_or(error)
            }
            Err(error) => Err(error),
        }
    }

    fn enter_packed(&mut self, page: u16) -> Option<u32> {
        *self.page_mut(page)? = PageEntry { state: PageState::Active, ..PageEntry::EMPTY };
        let entry = self.page_entry(page);
        let granules = self.page_granules();
        *self.gap_mut(entry)? = GapEntry { before: entry, after: entry, granules, ..GapEntry::EMPTY };
        Some(entry)
    }

    /// Enters an object whose place is at the begin of the gap behind `entry`.
    pub(super) fn insert_behind(&mut self, index: u32, entry: u32) -> Option<()> {
        let object = self.object(index)?;
        let (page, granules) = (object.place.page, self.size_of(object));
        let gap = *self.gap(entry)?;
        let left = gap.granules.checked_sub(granules)?;
        let after = gap.after;
        self.gap_mut(after)?.before = index;
        if gap.is_listed() && left > 0 && bin_of(left) == bin_of(gap.granules) {
            // The rest takes the place of the gap in its list.
            if gap.newer == NO_OBJECT {
                self.class_mut(bin_of(left))?.free = index;
            } else {
                self.gap_mut(gap.newer)?.older = index;
            }
            if gap.older != NO_OBJECT {
                self.gap_mut(gap.older)?.newer = index;
            }
            *self.gap_mut(index)? = GapEntry { before: entry, granules: left, ..gap };
        } else {
            self.unlist_gap(entry)?;
            *self.gap_mut(index)? = GapEntry { before: entry, after, ..GapEntry::EMPTY };
            self.list_gap(index, left)?;
        }
        let before = self.gap(entry)?.before;
        *self.gap_mut(entry)? = GapEntry { before, after: index, ..GapEntry::EMPTY };
        let page = self.page_mut(page)?;
        page.set_used_granules(page.used_granules().checked_add(granules)?);
        self.totals.slot_bytes = self.totals.slot_bytes.saturating_add(self.bytes_of(granules));
        Some(())
    }

    /// Takes an object out of its page, and gives the page back when that was the last one in it.
    pub(super) fn remove_packed(&mut self, index: u32, spare_allowed: bool) -> Option<()> {
        let GapEntry { before, after, .. } = *self.gap(index)?;
        let gaps = self.unlist_gap(index)?.checked_add(self.unlist_gap(before)?)?;
        let object = self.object(index)?;
        let (number, granules) = (object.place.page, self.size_of(object));
        self.gap_mut(before)?.after = after;
        self.gap_mut(after)?.before = before;
        *self.gap_mut(index)? = GapEntry::EMPTY;
        if let Some(drain) = self.drain.as_mut().filter(|drain| drain.behind == index) {
            drain.behind = before;
        }
        let page = self.page_mut(number)?;
        let used = page.used_granules().checked_sub(granules)?;
        page.set_used_granules(used);
        let is_drained = page.state == PageState::Draining;
        self.totals.slot_bytes = self.totals.slot_bytes.saturating_sub(self.bytes_of(granules));
        if used > 0 {
            return self.list_gap(before, gaps.checked_add(granules)?);
        }
        if is_drained {
            return self.finish_drain();
        }
        self.forget_destination(number);
        self.give_page(number, spare_allowed)
    }

    /// The coldest object whose end leaves enough space for another one of `len` bytes, the gaps on its sides included: of the
    /// first bins that have any. Of the object's own bin, the coldest ones are looked at until one is long enough.
    pub(super) fn coldest_fitting(&self, len: u32) -> Option<u32> {
        let granules = self.granules_of(len);
        let fits = |index: &u32| self.granules_around(*index).is_some_and(|around| around >= granules);
        let own = bin_of(granules);
        let coldest = core::iter::successors(self.coldest_of(own), |index| {
            self.object(*index).map(|object| object.warmer).filter(|warmer| *warmer != NO_OBJECT)
        });
        let of_own = coldest.take(COLDEST_LOOKS_MAX).find(fits);
        let near = own.saturating_add(BINS_COMPARED).min(self.classes);
        let coldness =
            |index: &u32| self.object(*index).map_or(0, |object| self.accesses.wrapping_sub(object.touched));
        let above = own.saturating_add(1);
        let coldest = (above..near).filter_map(|bin| self.coldest_of(bin)).chain(of_own).max_by_key(coldness);
        coldest.or_else(|| (near..self.classes).find_map(|bin| self.coldest_of(bin)))
    }

    /// The size of an object with the gaps on both sides.
    fn granules_around(&self, index: u32) -> Option<u32> {
        let gap = self.gap(index)?;
        let gaps = gap.granules.checked_add(self.gap_behind(gap.before)?)?;
        self.size_of(self.object(index)?).checked_add(gaps)
    }

    /// How full a page is, in parts of which it has at most 32,768.
    pub(super) fn packed_occupancy(&self, page: u16, entry: &PageEntry) -> PageOccupancy {
        let granules_each: u32 = if self.page_granules() > 1 << 15 { 2 } else { 1 };
        let parts = |granules: u32| u16::try_from(granules.div_ceil(granules_each)).unwrap_or(u16::MAX);
        PageOccupancy {
            page,
            slot_bytes: u32::try_from(self.bytes_of(granules_each)).unwrap_or(u32::MAX),
            used_slots: parts(entry.used_granules()),
            slots: parts(self.page_granules()),
            pinned_objects: entry.pinned,
        }
    }

    /// Whether all gaps together have the size of a page.
    pub(super) fn has_page_of_gaps(&self) -> bool {
        let spare_bytes = u64::from(self.totals.spare_pages).saturating_mul(u64::from(self.page_bytes));
        let in_use = self.totals.committed_bytes.saturating_sub(spare_bytes);
        in_use.saturating_sub(self.totals.slot_bytes) >= u64::from(self.page_bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bins_ascend_and_hold_sizes_within_a_quarter() {
        assert_eq!(bin_of(0), 0);
        let mut least = 1;
        for granules in 1..=65_536u32 {
            let bin = bin_of(granules);
            assert!(usize::from(bin) < GapEntry::BINS, "{granules}");
            if granules > 1 && bin != bin_of(granules - 1) {
                assert_eq!(bin, bin_of(granules - 1) + 1, "{granules}");
                least = granules;
            }
            assert!((granules - least) * 4 < least.max(1) || granules == least, "{granules} with {least}");
        }
        assert_eq!(usize::from(bin_of(65_536)), GapEntry::BINS - 1);
    }
}
