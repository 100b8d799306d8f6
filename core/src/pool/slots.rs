//! Slots and the pages they are cut from.
//!
//! Pages of a class that have a free slot form a list, so taking and giving a slot is constant work. A page that was full
//! and loses an object goes to the front: the next object of the class fills a dense page, not a sparse one.

use super::tables::{ClassEntry, NO_PAGE, NO_SLOT, PageEntry, PageState, Place, SlotEntry};
use super::{AllocateError, PageId, Pages, PagesError, Pool, Tables};

impl<P: Pages, S: Tables> Pool<P, S> {
    pub(super) fn class(&self, class: u8) -> Option<&ClassEntry> {
        self.tables.classes().get(usize::from(class))
    }

    pub(super) fn class_mut(&mut self, class: u8) -> Option<&mut ClassEntry> {
        self.tables.classes_mut().get_mut(usize::from(class))
    }

    pub(super) fn page(&self, page: u16) -> Option<&PageEntry> {
        self.tables.pages().get(usize::from(page))
    }

    pub(super) fn page_mut(&mut self, page: u16) -> Option<&mut PageEntry> {
        self.tables.pages_mut().get_mut(usize::from(page))
    }

    pub(super) fn slot(&self, place: Place) -> Option<SlotEntry> {
        self.tables.slots().get(self.slot_number(place)?).copied()
    }

    pub(super) fn set_slot(&mut self, place: Place, entry: SlotEntry) -> Option<()> {
        let number = self.slot_number(place)?;
        *self.tables.slots_mut().get_mut(number)? = entry;
        Some(())
    }

    fn slot_number(&self, place: Place) -> Option<usize> {
        if place.slot >= self.row {
            return None;
        }
        usize::from(place.page).checked_mul(usize::from(self.row))?.checked_add(usize::from(place.slot))
    }

    /// Slots the page being emptied will need, if it is of this class. They are set aside before anything moves, and
    /// derived from the page itself, so that they can not drift.
    pub(super) fn reserved_slots(&self, class: u8) -> u32 {
        let draining = self.drain.and_then(|drain| self.page(drain.page));
        draining.filter(|page| page.class == class).map_or(0, |page| u32::from(page.used))
    }

    /// Takes a slot for a new object.
    pub(super) fn take_slot(&mut self, class: u8) -> Result<Place, AllocateError> {
        let entry = self.class(class).ok_or(AllocateError::Inconsistent)?;
        let page = if entry.free > self.reserved_slots(class) {
            entry.open_page
        } else {
            match self.open_page(class) {
                Ok(page) => page,
                // A new object goes before a page that might be returned.
                Err(AllocateError::NoPages(error)) if self.reserved_slots(class) > 0 => {
                    self.stop_drain().ok_or(AllocateError::Inconsistent)?;
                    let open = self.class(class).map_or(NO_PAGE, |entry| entry.open_page);
                    if open == NO_PAGE {
                        return Err(AllocateError::NoPages(error));
                    }
                    open
                }
                Err(error) => return Err(error),
            }
        };
        self.take_slot_in(page).ok_or(AllocateError::Inconsistent)
    }

    /// Takes a slot of a certain page. `None` when it has none.
    pub(super) fn take_slot_in(&mut self, page: u16) -> Option<Place> {
        let entry = *self.page(page)?;
        let slots = self.class(entry.class)?.slots_per_page;
        let (slot, free_slot, fresh) = if entry.free_slot == NO_SLOT {
            (entry.fresh, NO_SLOT, entry.fresh.checked_add(1)?)
        } else {
            let next = self.slot(Place { page, slot: entry.free_slot })?.next_free();
            (entry.free_slot, next, entry.fresh)
        };
        if slot >= slots || entry.state != PageState::Active {
            return None;
        }
        let used = entry.used.checked_add(1)?;
        *self.page_mut(page)? = PageEntry { free_slot, fresh, used, ..entry };
        let class = self.class_mut(entry.class)?;
        class.free = class.free.checked_sub(1)?;
        let slot_bytes = class.slot_bytes;
        if used == slots {
            self.unlink_open(page)?;
        }
        self.totals.slot_bytes = self.totals.slot_bytes.saturating_add(u64::from(slot_bytes));
        Some(Place { page, slot })
    }

    /// Gives a slot back, and its page when that was the last one in use.
    pub(super) fn give_slot(&mut self, place: Place, spare_allowed: bool) -> Option<()> {
        let entry = *self.page(place.page)?;
        self.set_slot(place, SlotEntry::free(entry.free_slot))?;
        let used = entry.used.checked_sub(1)?;
        *self.page_mut(place.page)? = PageEntry { free_slot: place.slot, used, ..entry };
        let class = self.class(entry.class)?;
        let (slots, slot_bytes) = (class.slots_per_page, class.slot_bytes);
        self.totals.slot_bytes = self.totals.slot_bytes.saturating_sub(u64::from(slot_bytes));
        if entry.state == PageState::Draining {
            return if used == 0 { self.finish_drain() } else { Some(()) };
        }
        let class = self.class_mut(entry.class)?;
        class.free = class.free.saturating_add(1);
        if entry.used == slots {
            self.link_open(place.page)?;
        }
        if used == 0 { self.leave_class(place.page, spare_allowed) } else { Some(()) }
    }

    /// Gives a class one page more.
    fn open_page(&mut self, class: u8) -> Result<u16, AllocateError> {
        let page = self.take_page()?;
        self.enter_class(page, class).ok_or(AllocateError::Inconsistent)?;
        Ok(page)
    }

    /// Takes a spare page, or commits one.
    pub(super) fn take_page(&mut self) -> Result<u16, AllocateError> {
        if self.spare_page == NO_PAGE {
            return self.commit_page().map_err(AllocateError::NoPages);
        }
        let page = self.spare_page;
        self.spare_page = self.page(page).ok_or(AllocateError::Inconsistent)?.after;
        self.totals.spare_pages = self.totals.spare_pages.saturating_sub(1);
        Ok(page)
    }

    fn commit_page(&mut self) -> Result<u16, PagesError> {
        let PageId(page) = self.pages.commit()?;
        // A page the table has no row for, or that is in use, must not be touched.
        if self.page(page).is_none_or(|entry| entry.state != PageState::Absent) {
            if self.page(page).is_none() {
                self.pages.release(PageId(page));
            }
            return Err(PagesError::Exhausted);
        }
        self.totals.pages = self.totals.pages.saturating_add(1);
        self.totals.committed_bytes = self.totals.committed_bytes.saturating_add(u64::from(self.page_bytes));
        Ok(page)
    }

    fn enter_class(&mut self, page: u16, class: u8) -> Option<()> {
        *self.page_mut(page)? = PageEntry { state: PageState::Active, class, ..PageEntry::EMPTY };
        let entry = self.class_mut(class)?;
        entry.free = entry.free.saturating_add(u32::from(entry.slots_per_page));
        self.link_open(page)
    }

    fn leave_class(&mut self, page: u16, spare_allowed: bool) -> Option<()> {
        self.unlink_open(page)?;
        let class = self.page(page)?.class;
        let entry = self.class_mut(class)?;
        entry.free = entry.free.saturating_sub(u32::from(entry.slots_per_page));
        let free = entry.free;
        if free < self.reserved_slots(class) {
            // The released page had the slots set aside for the one being emptied, which now has nowhere to go.
            self.stop_drain()?;
        }
        self.give_page(page, spare_allowed)
    }

    /// Keeps an empty page as a spare one, or releases it.
    pub(super) fn give_page(&mut self, page: u16, spare_allowed: bool) -> Option<()> {
        if spare_allowed && self.totals.spare_pages < u32::from(self.limits.spare_pages_max) {
            let after = self.spare_page;
            *self.page_mut(page)? = PageEntry { state: PageState::Spare, after, ..PageEntry::EMPTY };
            self.spare_page = page;
            self.totals.spare_pages = self.totals.spare_pages.saturating_add(1);
            return Some(());
        }
        self.release_page(page)
    }

    /// Releases one spare page, if there is one.
    pub(super) fn release_spare(&mut self) -> Option<()> {
        if self.spare_page == NO_PAGE {
            return None;
        }
        let page = self.spare_page;
        self.spare_page = self.page(page)?.after;
        self.totals.spare_pages = self.totals.spare_pages.saturating_sub(1);
        self.release_page(page)
    }

    /// Returns a page to the backing memory; the one place where that is counted (I-POOL-2).
    pub(super) fn release_page(&mut self, page: u16) -> Option<()> {
        *self.page_mut(page)? = PageEntry::EMPTY;
        self.pages.release(PageId(page));
        self.totals.pages = self.totals.pages.saturating_sub(1);
        self.totals.committed_bytes = self.totals.committed_bytes.saturating_sub(u64::from(self.page_bytes));
        self.totals.released_pages = self.totals.released_pages.saturating_add(1);
        Some(())
    }

    /// Puts a page with a free slot in front of its class.
    pub(super) fn link_open(&mut self, page: u16) -> Option<()> {
        let class = self.page(page)?.class;
        let after = core::mem::replace(&mut self.class_mut(class)?.open_page, page);
        if after != NO_PAGE {
            self.page_mut(after)?.before = page;
        }
        let entry = self.page_mut(page)?;
        (entry.before, entry.after) = (NO_PAGE, after);
        Some(())
    }

    pub(super) fn unlink_open(&mut self, page: u16) -> Option<()> {
        let entry = *self.page(page)?;
        if entry.before == NO_PAGE {
            self.class_mut(entry.class)?.open_page = entry.after;
        } else {
            self.page_mut(entry.before)?.after = entry.after;
        }
        if entry.after != NO_PAGE {
            self.page_mut(entry.after)?.before = entry.before;
        }
        let entry = self.page_mut(page)?;
        (entry.before, entry.after) = (NO_PAGE, NO_PAGE);
        Some(())
    }
}
