//! Moving objects together until a page is empty.
//!
//! A page can be emptied when its class has a page's worth of free slots: the objects of any page then fit into the free slots
//! of the others. So feasibility is one comparison per class, and the victim is the page with the fewest bytes to move. The
//! process ends by itself: each page emptied is returned, and moving commits none. Without a page's worth of free slots in any
//! class no move could free a page.
//!
//! The slots a victim needs are set aside when it is chosen (`reserved_slots`). Each move takes its destination
//! first, then copies, then lets the handle point at the copy, then gives the old slot back; the pool is whole between
//! any two moves, and objects may be read, written, freed, pinned and allocated between steps.

use super::tables::{NO_OBJECT, ObjectEntry, PageEntry, PageState, Place, SlotEntry};
use super::{PageId, Pages, Pool, Step, Tables};

/// The page being emptied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub(super) struct Drain {
    pub(super) page: u16,
    /// Slots before this one are empty.
    pub(super) cursor: u16,
    /// The page filled last, looked at first.
    pub(super) destination: Option<u16>,
    /// In a packed pool, the object of that page up to which there is no gap.
    pub(super) behind: u32,
}

impl Drain {
    pub(super) const fn new(page: u16) -> Self {
        Self { page, cursor: 0, destination: None, behind: NO_OBJECT }
    }
}

/// Slots looked at per step, empty ones included.
pub(super) const LOOKS_MAX: u16 = 1_024;
/// Searches for a destination per step; each looks at every page once.
pub(super) const SEARCHES_MAX: u8 = 4;

enum Moved {
    Object(u32),
    /// The budget, the looks or the searches of this step are used up.
    Paused,
    /// The pages or the tables failed.
    Failed,
}

impl<P: Pages, S: Tables> Pool<P, S> {
    /// Moves objects out of the sparsest page into the densest ones of its class, and releases it when it is empty.
    ///
    /// Repeat it until the step says `done`: then no move can free a page. Pages with a pinned object are left alone,
    /// and so are classes whose slots are larger than `bytes_max`. Nothing is dropped.
    ///
    /// # Bounds
    /// Moves at most `bytes_max` bytes, empties at most one page, looks at most at 1,024 slots and five times at the page table.
    pub fn defragment_step(&mut self, bytes_max: u32) -> Step {
        let released_before = self.totals.released_pages;
        let mut step = Step::default();
        self.drain_page(bytes_max, &mut step);
        if Self::IS_PACKED && step.done && !step.failed && self.release_spare().is_some() {
            step.done = false;
        }
        self.count_released(released_before, &mut step);
        step
    }

    pub(super) fn count_released(&self, before: u64, step: &mut Step) {
        let released = self.totals.released_pages.saturating_sub(before);
        step.pages_released = u32::try_from(released).unwrap_or(u32::MAX);
    }

    /// Works on the page being emptied, or chooses one.
    pub(super) fn drain_page(&mut self, bytes_max: u32, step: &mut Step) {
        if Self::IS_PACKED {
            return self.pack_page(bytes_max, step);
        }
        if self.drain.is_some_and(|drain| !self.fits_budget(drain.page, bytes_max)) {
            // A step with a larger budget chose the page; this one could not move a single object of it.
            step.failed |= self.stop_drain().is_none();
        }
        if self.drain.is_none() {
            let Some(page) = self.choose_victim(bytes_max) else {
                step.done = true;
                return;
            };
            if self.begin_drain(page).is_none() {
                (step.failed, step.done) = (true, true);
                return;
            }
        }
        let (mut left, mut looks, mut searches) = (bytes_max, LOOKS_MAX, SEARCHES_MAX);
        while let Some(drain) = self.drain {
            match self.move_next(drain, left, &mut looks, &mut searches) {
                Moved::Object(len) => {
                    left = left.saturating_sub(len);
                    step.relocated_bytes = step.relocated_bytes.saturating_add(u64::from(len));
                    step.relocated_objects = step.relocated_objects.saturating_add(1);
                }
                Moved::Paused => break,
                Moved::Failed => {
                    let _ = self.stop_drain();
                    (step.failed, step.done) = (true, true);
                }
            }
        }
        self.totals.relocated_bytes = self.totals.relocated_bytes.saturating_add(step.relocated_bytes);
    }

    fn fits_budget(&self, page: u16, bytes_max: u32) -> bool {
        let class = self.page(page).and_then(|page| self.class(page.class));
        class.is_some_and(|class| class.slot_bytes <= bytes_max)
    }

    /// Tells whether some page of a class could be emptied into the others.
    pub(super) fn can_free_page(&self, class: u8, bytes_max: u32) -> bool {
        if Self::IS_PACKED {
            return self.has_page_of_gaps();
        }
        self.class(class).is_some_and(|class| {
            class.slot_bytes <= bytes_max && class.free >= u32::from(class.slots_per_page)
        })
    }

    /// The page with the fewest slot bytes in use among those that can be emptied.
    pub(super) fn choose_victim(&self, bytes_max: u32) -> Option<u16> {
        let eligible = |page: &PageEntry| {
            page.state == PageState::Active && page.pinned == 0 && self.can_free_page(page.class, bytes_max)
        };
        let used_bytes = |page: &PageEntry| {
            let slot_bytes = self.class(page.class).map_or(0, |class| class.slot_bytes);
            u64::from(page.used) * u64::from(slot_bytes)
        };
        let candidates = (0u16..).zip(self.tables.pages()).filter(|(_, page)| eligible(page));
        candidates.min_by_key(|(_, page)| used_bytes(page)).map(|(number, _)| number)
    }

    fn begin_drain(&mut self, page: u16) -> Option<()> {
        let entry = *self.page(page)?;
        let slots = self.class(entry.class)?.slots_per_page;
        if entry.used < slots {
            self.unlink_open(page)?;
        }
        let class = self.class_mut(entry.class)?;
        class.free = class.free.checked_sub(u32::from(slots.checked_sub(entry.used)?))?;
        self.page_mut(page)?.state = PageState::Draining;
        self.drain = Some(Drain::new(page));
        Some(())
    }

    /// Gives up on the page being emptied; it takes objects again. Does nothing when there is none.
    pub(super) fn stop_drain(&mut self) -> Option<()> {
        let Some(drain) = self.drain.take() else { return Some(()) };
        if Self::IS_PACKED {
            return self.keep_page(drain.page);
        }
        let entry = *self.page(drain.page)?;
        let slots = self.class(entry.class)?.slots_per_page;
        self.page_mut(drain.page)?.state = PageState::Active;
        let class = self.class_mut(entry.class)?;
        class.free = class.free.saturating_add(u32::from(slots.checked_sub(entry.used)?));
        if entry.used < slots { self.link_open(drain.page) } else { Some(()) }
    }

    /// Releases the page that was emptied.
    pub(super) fn finish_drain(&mut self) -> Option<()> {
        let drain = self.drain.take()?;
        self.release_page(drain.page)
    }

    fn move_next(&mut self, drain: Drain, left: u32, looks: &mut u16, searches: &mut u8) -> Moved {
        let mut cursor = drain.cursor;
        let fresh = self.page(drain.page).map_or(0, |page| page.fresh);
        while cursor < fresh {
            let Some(rest) = looks.checked_sub(1) else { break };
            *looks = rest;
            let place = Place { page: drain.page, slot: cursor };
            if let Some(index) = self.slot(place).and_then(SlotEntry::as_object) {
                self.drain = Some(Drain { cursor, ..drain });
                return self.move_object(index, place, left, searches).unwrap_or(Moved::Failed);
            }
            cursor = cursor.saturating_add(1);
        }
        self.drain = Some(Drain { cursor, ..drain });
        // Objects only leave a page being emptied, so one that has none before its end has none at all.
        if cursor < fresh { Moved::Paused } else { Moved::Failed }
    }

    fn move_object(&mut self, index: u32, from: Place, left: u32, searches: &mut u8) -> Option<Moved> {
        let object = *self.object(index)?;
        if object.len > left {
            return Some(Moved::Paused);
        }
        let Some(page) = self.destination(object.class, searches)? else { return Some(Moved::Paused) };
        let to = self.take_slot_in(page)?;
        if self.copy(&object, to).is_none() {
            self.give_slot(to, true)?;
            return Some(Moved::Failed);
        }
        self.set_slot(to, SlotEntry::object(index))?;
        self.object_mut(index)?.place = to;
        self.give_slot(from, true)?;
        Some(Moved::Object(object.len))
    }

    /// The densest page of a class with a free slot: the one filled last, or else found by a search. `Some(None)` when
    /// the searches of this step are used up.
    fn destination(&mut self, class: u8, searches: &mut u8) -> Option<Option<u16>> {
        let open = |page: &PageEntry, slots: u16| {
            page.state == PageState::Active && page.class == class && page.used < slots
        };
        let slots = self.class(class)?.slots_per_page;
        let last = self.drain?.destination;
        if let Some(page) = last.filter(|page| self.page(*page).is_some_and(|page| open(page, slots))) {
            return Some(Some(page));
        }
        let Some(rest) = searches.checked_sub(1) else { return Some(None) };
        *searches = rest;
        let candidates = (0u16..).zip(self.tables.pages()).filter(|(_, page)| open(page, slots));
        let (densest, _) = candidates.max_by_key(|(_, page)| page.used)?;
        self.drain.as_mut()?.destination = Some(densest);
        Some(Some(densest))
    }

    /// Copies the bytes of an object to another page.
    pub(super) fn copy(&mut self, object: &ObjectEntry<S::Tag>, to: Place) -> Option<()> {
        let (from_start, from_end) = self.range_of(object)?;
        let (to_start, to_end) = self.range_of(&ObjectEntry { place: to, ..*object })?;
        let (source, target) = self.pages.pair(PageId(object.place.page), PageId(to.page))?;
        target.get_mut(to_start..to_end)?.copy_from_slice(source.get(from_start..from_end)?);
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pool::packed_histories::PackedArrays;
    use crate::pool::{ArrayTables, Handle, Limits, PagesError, RegionPages, SizeClasses, Terms};

    /// Pages that lend single pages but, while broken, no pair.
    #[derive(Clone)]
    struct Breakable {
        pages: RegionPages<[u8; 128], 4>,
        broken: bool,
    }

    impl Pages for Breakable {
        fn page_bytes(&self) -> u32 {
            self.pages.page_bytes()
        }
        fn commit(&mut self) -> Result<PageId, PagesError> {
            self.pages.commit()
        }
        fn release(&mut self, page: PageId) {
            self.pages.release(page);
        }
        fn bytes(&self, page: PageId) -> Option<&[u8]> {
            self.pages.bytes(page)
        }
        fn bytes_mut(&mut self, page: PageId) -> Option<&mut [u8]> {
            self.pages.bytes_mut(page)
        }
        fn pair(&mut self, from: PageId, to: PageId) -> Option<(&[u8], &mut [u8])> {
            if self.broken { None } else { self.pages.pair(from, to) }
        }
    }

    type Scattered = Pool<Breakable, ArrayTables<u8, 8, 4, 16, 1>>;

    /// Two pages of four slots, each with two objects of five bytes.
    fn scattered() -> (Scattered, [Handle; 4]) {
        let pages = Breakable { pages: RegionPages::new([0; 128], 32), broken: false };
        let classes = SizeClasses::new(&[8]).unwrap();
        let limits = Limits { pins_max: 2, ..Limits::default() };
        let mut pool = Pool::new(pages, ArrayTables::new(), classes, limits).unwrap();
        let handles: [Handle; 8] = core::array::from_fn(|tag| {
            pool.allocate(5, Terms::default(), u8::try_from(tag).unwrap()).unwrap()
        });
        for gone in [0, 2, 5, 7] {
            pool.free(handles[gone]).unwrap();
        }
        let kept = [handles[1], handles[3], handles[4], handles[6]];
        for handle in kept {
            pool.write(handle, 0, b"bytes").unwrap();
        }
        (pool, kept)
    }

    fn assert_whole(pool: &Scattered, kept: [Handle; 4]) {
        assert_eq!(pool.audit(), Ok(()));
        assert!(kept.iter().all(|handle| pool.bytes(*handle) == Ok(b"bytes")), "I-POOL-1");
    }

    #[test]
    fn second_object_over_the_budget_waits_for_the_next_step() {
        let (mut pool, kept) = scattered();
        let step = pool.defragment_step(9);
        assert_eq!((step.relocated_bytes, step.pages_released, step.done), (5, 0, false));
        let step = pool.defragment_step(9);
        assert_eq!((step.relocated_bytes, step.pages_released, step.done), (5, 1, false));
        assert!(pool.defragment_step(9).done);
        assert_whole(&pool, kept);
    }

    #[test]
    fn budget_below_a_slot_moves_nothing() {
        let (mut pool, kept) = scattered();
        assert_eq!(pool.defragment_step(7), Step { done: true, ..Step::default() });
        // A page being emptied under a larger budget is given up, not stuck.
        assert_eq!(pool.defragment_step(8).relocated_objects, 1);
        assert_eq!(pool.defragment_step(7), Step { done: true, ..Step::default() });
        assert_whole(&pool, kept);
    }

    #[test]
    fn failing_pages_move_loses_nothing() {
        let (mut pool, kept) = scattered();
        pool.pages.broken = true;
        let step = pool.defragment_step(64);
        assert_eq!((step.relocated_objects, step.failed, step.done), (0, true, true));
        assert_whole(&pool, kept);
        pool.pages.broken = false;
        assert_eq!(pool.defragment_step(64).pages_released, 1);
        assert_whole(&pool, kept);
    }

    #[test]
    fn half_emptied_page_pin_gives_it_up() {
        let (mut pool, kept) = scattered();
        assert_eq!(pool.defragment_step(8).relocated_objects, 1);
        let left = kept.into_iter().find(|handle| {
            let place = pool.resolve(*handle).map(|object| object.place.page);
            place.ok() == pool.drain.map(|drain| drain.page)
        });
        pool.pin(left.unwrap()).unwrap();
        assert!(pool.drain.is_none());
        assert_whole(&pool, kept);
        // The other page can still be emptied into it.
        assert_eq!(pool.defragment_step(64).pages_released, 1);
        assert_whole(&pool, kept);
    }

    #[test]
    fn packed_pool_failing_pages_lose_nothing() {
        let pages = Breakable { pages: RegionPages::new([0; 128], 32), broken: false };
        let classes = SizeClasses::new(&[32]).unwrap();
        let limits = Limits { spare_pages_max: 0, low_watermark_bytes: 0, ..Limits::default() };
        let mut pool = Pool::new(pages, PackedArrays::<u8, 8, 4, 12>::new(), classes, limits).unwrap();
        let handles: [Handle; 6] = core::array::from_fn(|tag| {
            pool.allocate(10, Terms::default(), u8::try_from(tag).unwrap()).unwrap()
        });
        for gone in [0, 2, 3, 4] {
            pool.free(handles[gone]).unwrap();
        }
        let kept = [handles[1], handles[5]];
        for handle in kept {
            pool.write(handle, 0, b"ten  bytes").unwrap();
        }
        let is_whole = |pool: &Pool<Breakable, PackedArrays<u8, 8, 4, 12>>| {
            pool.audit() == Ok(()) && kept.iter().all(|handle| pool.bytes(*handle) == Ok(b"ten  bytes"))
        };
        // Within a page an object can be moved; to another one it can not.
        pool.pages.broken = true;
        let step = pool.defragment_step(64);
        assert_eq!((step.relocated_objects, step.pages_released), (1, 0));
        assert!(step.failed && step.done && is_whole(&pool), "I-POOL-1");
        // The same where a cleanup would move before it drops anything.
        while !pool.emergency_step(0, 64, |_| unreachable!("nothing may be dropped")).done {}
        assert!(is_whole(&pool), "I-POOL-1");
        pool.pages.broken = false;
        assert_eq!(pool.defragment_step(64).pages_released, 1);
        assert!(is_whole(&pool), "I-POOL-1");
    }
}
