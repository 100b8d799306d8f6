//! Moving objects of a packed pool together until a page is empty.
//!
//! The sparsest page is emptied, and the densest one that has space is filled. First the objects of the densest page are slid to
//! its begin, one by one, so that all its gaps become one at its end. Then objects of the sparsest page are put there, one behind
//! the other. So each object is copied twice at most, no page is committed, and the pages filled have next to no gap.
//!
//! A page can be emptied when the gaps of all pages are a page's worth: its own are the rest of it. Pages with gaps below a 64th
//! do not count: to slide a page for less would copy 64 bytes for each that is won. Objects that find no page with that much space
//! are put into single gaps. Where there is none either, the page is kept, and the work is done.

use super::defragment::{Drain, LOOKS_MAX, SEARCHES_MAX};
use super::tables::{NO_OBJECT, ObjectEntry, PageEntry, PageState};
use super::{PageId, Pages, Pool, Step, Tables};

/// The part of a page that its gaps must have for it to be filled, as a power of two.
const WORTH_BITS: u32 = 6;

/// The budget of one step.
struct StepBudget {
    bytes_max: u32,
    left_bytes: u32,
    looks: u16,
    searches: u8,
}

enum Packed {
    Moved(u32),
    /// Nothing was copied, and there is more to do.
    Looked,
    /// The budget of this step is used up.
    Paused,
    /// The objects of the page find no other place.
    Stuck,
}

impl<P: Pages, S: Tables> Pool<P, S> {
    /// Works on the page being emptied, or chooses one.
    pub(super) fn pack_page(&mut self, bytes_max: u32, step: &mut Step) {
        if self.drain.is_none() {
            let Some(page) = self.sparsest_page() else {
                step.done = true;
                return;
            };
            if self.begin_packing(page).is_none() {
                (step.failed, step.done) = (true, true);
                return;
            }
        }
        let mut budget =
            StepBudget { bytes_max, left_bytes: bytes_max, looks: LOOKS_MAX, searches: SEARCHES_MAX };
        while let Some(drain) = self.drain {
            match self.pack_next(drain, &mut budget) {
                Some(Packed::Moved(len)) => {
                    budget.left_bytes = budget.left_bytes.saturating_sub(len);
                    step.relocated_bytes = step.relocated_bytes.saturating_add(u64::from(len));
                    step.relocated_objects = step.relocated_objects.saturating_add(1);
                }
                Some(Packed::Looked) => {}
                Some(Packed::Paused) => break,
                Some(Packed::Stuck) => {
                    step.failed |= self.stop_drain().is_none();
                    step.done = true;
                }
                None => {
                    let _ = self.stop_drain();
                    (step.failed, step.done) = (true, true);
                }
            }
        }
        self.totals.relocated_bytes = self.totals.relocated_bytes.saturating_add(step.relocated_bytes);
    }

    fn worth(&self) -> u32 {
        (self.page_granules() >> WORTH_BITS).max(1)
    }

    fn free_of(&self, page: &PageEntry) -> u32 {
        self.page_granules().saturating_sub(page.used_granules())
    }

    /// The page with the fewest bytes in use, if the gaps of all pages that can be filled are a page's worth.
    fn sparsest_page(&self) -> Option<u16> {
        if !self.has_page_of_gaps() {
            return None;
        }
        let movable = |page: &PageEntry| page.state == PageState::Active && page.pinned == 0;
        let pages = (0u16..).zip(self.tables.pages()).filter(|(_, page)| movable(page));
        let (mut sparsest, mut least, mut gaps) = (None, u32::MAX, 0u64);
        for (number, page) in pages {
            let free = self.free_of(page);
            if free >= self.worth() {
                gaps = gaps.saturating_add(u64::from(free));
            }
            if page.used_granules() < least {
                (sparsest, least) = (Some(number), page.used_granules());
            }
        }
        sparsest.filter(|_| gaps >= u64::from(self.page_granules()))
    }

    fn begin_packing(&mut self, page: u16) -> Option<()> {
        self.unlist_gap(self.page_entry(page))?;
        self.page_mut(page)?.state = PageState::Draining;
        self.drain = Some(Drain::new(page));
        Some(())
    }

    /// Lets a page that was being emptied take objects again.
    pub(super) fn keep_page(&mut self, page: u16) -> Option<()> {
        self.page_mut(page)?.state = PageState::Active;
        let first = self.page_entry(page);
        self.list_gap(first, self.gap_behind(first)?)
    }

    /// Fills another page from now on, if it was this one.
    pub(super) fn forget_destination(&mut self, page: u16) {
        if let Some(drain) = self.drain.as_mut().filter(|drain| drain.destination == Some(page)) {
            (drain.destination, drain.behind) = (None, NO_OBJECT);
        }
    }

    /// Takes one object further: one of the page being filled towards its begin, or one of the page being emptied to that page.
    fn pack_next(&mut self, drain: Drain, budget: &mut StepBudget) -> Option<Packed> {
        let Some(looks) = budget.looks.checked_sub(1) else { return Some(Packed::Paused) };
        budget.looks = looks;
        let index = self.gap(self.page_entry(drain.page))?.after;
        let granules = self.size_of(self.object(index)?);
        let has_space = |page: &PageEntry| self.free_of(page) >= granules;
        let Some(page) = drain.destination.filter(|page| self.page(*page).is_some_and(has_space)) else {
            return self.choose_destination(drain, index, budget);
        };
        let end = self.page_entry(page);
        let next = self.gap(drain.behind)?.after;
        if next != end {
            return self.slide(next, drain.behind, budget);
        }
        if self.gap_behind(drain.behind)? >= granules {
            return self.move_behind(index, drain.behind, budget);
        }
        // Objects were freed or allocated since: the page has new gaps before its end.
        self.drain.as_mut()?.behind = end;
        Some(Packed::Looked)
    }

    /// The densest page with space for the object and gaps that are worth it; if there is none, a single gap.
    fn choose_destination(&mut self, drain: Drain, index: u32, budget: &mut StepBudget) -> Option<Packed> {
        let Some(searches) = budget.searches.checked_sub(1) else { return Some(Packed::Paused) };
        budget.searches = searches;
        let granules = self.size_of(self.object(index)?);
        let free_min = granules.max(self.worth());
        let fits = |page: &PageEntry| {
            page.state == PageState::Active && page.pinned == 0 && self.free_of(page) >= free_min
        };
        let pages = (0u16..).zip(self.tables.pages()).filter(|(_, page)| fits(page));
        let Some((page, entry)) = pages.max_by_key(|(_, page)| page.used_granules()) else {
            self.drain = Some(Drain { destination: None, behind: NO_OBJECT, ..drain });
            return match self.find_gap(granules, Some(drain.page)) {
                Some(behind) => self.move_behind(index, behind, budget),
                None => Some(Packed::Stuck),
            };
        };
        let free = self.free_of(entry);
        let begin = self.page_entry(page);
        // All in one gap at its end: nothing is left to slide.
        let last = self.gap(begin)?.before;
        let behind = if self.gap_behind(last)? == free { last } else { begin };
        self.drain = Some(Drain { destination: Some(page), behind, ..drain });
        Some(Packed::Looked)
    }

    /// Moves an object to the begin of the gap before it.
    fn slide(&mut self, index: u32, before: u32, budget: &StepBudget) -> Option<Packed> {
        let gap = self.gap_behind(before)?;
        let moved = if gap == 0 {
            Packed::Looked
        } else {
            let object = *self.object(index)?;
            if object.len > budget.left_bytes {
                return Some(if object.len > budget.bytes_max { Packed::Stuck } else { Packed::Paused });
            }
            let to = self.place_behind(before)?;
            let (start, end) = self.packed_range_of(&object)?;
            let (target, _) = self.packed_range_of(&ObjectEntry { place: to, ..object })?;
            let bytes = self.pages.bytes_mut(PageId(to.page))?;
            let bytes = bytes.get_mut(target..end)?;
            bytes.copy_within(start.checked_sub(target)?.., 0);
            self.unlist_gap(before)?;
            self.gap_mut(before)?.granules = 0;
            let gaps = self.unlist_gap(index)?.checked_add(gap)?;
            self.object_mut(index)?.place = to;
            self.list_gap(index, gaps)?;
            Packed::Moved(object.len)
        };
        self.drain.as_mut()?.behind = index;
        Some(moved)
    }

    /// Moves an object of the page being emptied into the gap behind `entry`, in another page.
    fn move_behind(&mut self, index: u32, entry: u32, budget: &StepBudget) -> Option<Packed> {
        let object = *self.object(index)?;
        if object.len > budget.left_bytes {
            return Some(if object.len > budget.bytes_max { Packed::Stuck } else { Packed::Paused });
        }
        let to = self.place_behind(entry)?;
        self.copy(&object, to)?;
        // The page being emptied goes with its last object, and then there is no drain any more.
        self.remove_packed(index, false)?;
        self.object_mut(index)?.place = to;
        self.insert_behind(index, entry)?;
        if let Some(drain) = self.drain.as_mut().filter(|drain| drain.destination == Some(to.page)) {
            drain.behind = index;
        }
        Some(Packed::Moved(object.len))
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use super::*;
    use crate::pool::packed_histories::PackedArrays;
    use crate::pool::{Handle, Limits, RegionPages, SizeClasses, Terms};

    type Packed40 = Pool<RegionPages<[u8; 120], 3>, PackedArrays<u8, 12, 3, 15>>;

    /// Three pages of 40 bytes. Objects of 12, 12 and 16 fill one; of each page the given ones are left.
    fn pages_with(kept: [&[usize]; 3]) -> (Packed40, [Handle; 9]) {
        let classes = SizeClasses::new(&[40]).unwrap();
        let limits = Limits { pins_max: 1, spare_pages_max: 0, ..Limits::default() };
        let mut pool =
            Pool::new(RegionPages::new([0; 120], 40), PackedArrays::new(), classes, limits).unwrap();
        let handles: [Handle; 9] = core::array::from_fn(|number| {
            let tag = u8::try_from(number).unwrap();
            let handle = pool.allocate([12, 12, 16][number % 3], Terms::default(), tag).unwrap();
            pool.bytes_mut(handle).unwrap().fill(tag);
            handle
        });
        for (page, kept) in kept.into_iter().enumerate() {
            for number in (0..3).filter(|number| !kept.contains(number)) {
                pool.free(handles[page * 3 + number]).unwrap();
            }
        }
        (pool, handles)
    }

    fn assert_whole(pool: &Packed40) {
        assert_eq!(pool.audit(), Ok(()));
        let none = pool.scan(0, 12, |handle, tag| {
            assert!(pool.bytes(handle).unwrap().iter().all(|byte| *byte == tag), "I-POOL-1: {tag}");
        });
        assert_eq!(none, None);
    }

    #[test]
    fn object_longer_than_the_budget_ends_the_work() {
        let (mut pool, _) = pages_with([&[1, 2], &[0], &[0, 1, 2]]);
        let step = pool.defragment_step(11);
        assert_eq!(step, Step { done: true, ..Step::default() });
        assert_whole(&pool);
        // The first page is slid together before it takes the object of the second: 12, then 16 bytes.
        let step = pool.defragment_step(16);
        assert_eq!((step.relocated_objects, step.pages_released, step.done), (1, 0, false));
        assert_whole(&pool);
    }

    #[test]
    fn sparsest_page_is_emptied_into_the_densest_with_space() {
        let (mut pool, handles) = pages_with([&[1, 2], &[0], &[0, 1]]);
        let step = pool.defragment_step(100);
        // The page of 12 + 16 bytes is slid, which moves both, and takes the object of 12.
        assert_eq!((step.relocated_objects, step.relocated_bytes, step.pages_released), (3, 40, 1));
        let pages = [1, 2, 3].map(|number| pool.resolve(handles[number]).unwrap().place.page);
        assert_eq!(pages, [0, 0, 0]);
        assert_whole(&pool);
        assert!(pool.defragment_step(100).done);
    }

    #[test]
    fn full_pool_evicts_the_coldest_that_is_long_enough() {
        let classes = SizeClasses::new(&[40]).unwrap();
        let pages: RegionPages<[u8; 120], 1> = RegionPages::new([0; 120], 120);
        let mut pool =
            Pool::new(pages, PackedArrays::<u8, 12, 1, 13>::new(), classes, Limits::default()).unwrap();
        let terms = Terms { evictable: true, expires_s: None };
        // 8 and 9 granules have one bin, and 9 of them fill the rest of the page.
        for (tag, len) in [(0, 32), (1, 36), (2, 36), (3, 12)] {
            pool.allocate(len, terms, tag).unwrap();
        }
        let mut evicted = std::vec::Vec::new();
        pool.allocate_evicting(36, terms, 4, |dropped| evicted.push(dropped.tag)).unwrap();
        // The coldest of its bin is too short by one granule.
        assert_eq!(evicted, [1]);
        // None of four granules or a little more is there, so a longer one goes, and leaves space for two.
        evicted.clear();
        pool.allocate_evicting(16, terms, 5, |dropped| evicted.push(dropped.tag)).unwrap();
        assert_eq!(
            (evicted, pool.audit()),
            (std::vec![0], Ok(())),
            "the coldest of all that are long enough"
        );
        evicted = std::vec::Vec::new();
        pool.allocate_evicting(16, terms, 6, |dropped| evicted.push(dropped.tag)).unwrap();
        assert_eq!((evicted, pool.audit()), (std::vec::Vec::new(), Ok(())));
    }

    #[test]
    fn pinned_object_in_the_page_being_filled_stays() {
        let (mut pool, handles) = pages_with([&[1, 2], &[0], &[0, 1]]);
        assert_eq!(pool.defragment_step(16).relocated_objects, 1);
        assert_eq!(pool.drain.and_then(|drain| drain.destination), Some(0));
        let pinned = handles[2];
        let place = pool.resolve(pinned).unwrap().place;
        pool.pin(pinned).unwrap();
        assert_eq!(pool.drain.and_then(|drain| drain.destination), None);
        while !pool.defragment_step(100).done {
            assert_whole(&pool);
        }
        assert_eq!(pool.resolve(pinned).unwrap().place, place);
        // The other two pages went together.
        assert_eq!((pool.totals().pages, pool.audit()), (2, Ok(())));
    }

    #[test]
    fn page_being_emptied_gives_its_space_to_a_new_object() {
        let (mut pool, _) = pages_with([&[1, 2], &[0, 1], &[0, 1]]);
        // Two slides, and one object of the second page is moved; the other one waits for the next step.
        let step = pool.defragment_step(40);
        assert_eq!((step.relocated_objects, step.pages_released, step.done), (3, 0, false));
        assert_whole(&pool);
        let mut allocate = |len, tag| {
            let handle = pool.allocate(len, Terms::default(), tag).unwrap();
            pool.bytes_mut(handle).unwrap().fill(tag);
            assert_whole(&pool);
            pool.drain.is_some()
        };
        // The gaps behind the last objects of two pages go first; then the page's own first gap is needed.
        assert!(allocate(16, 9) && allocate(16, 10));
        assert!(!allocate(12, 11));
        assert!(pool.allocate(1, Terms::default(), 12).is_err(), "all three pages are full");
    }
}
