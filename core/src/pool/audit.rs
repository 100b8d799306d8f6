//! Counting everything again.

use core::fmt;

use super::gaps::bin_of;
use super::tables::{NO_OBJECT, NO_PAGE, ObjectState, PageState, Place, SlotEntry};
use super::{Pages, Pool, PoolTotals, Tables};

/// Names the first contradiction an audit met.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum AuditError {
    /// A counter differs from a recount.
    PoolTotals,
    /// An object and its slot do not name each other.
    Place,
    /// A page's count of used slots or pinned objects differs from a recount.
    Page,
    /// A class's count of free slots, or its list of pages with one, differs from a recount.
    Class,
    /// A list of objects by coldness is broken.
    Coldness,
    /// The list of spare pages or of free handles is broken.
    FreeLists,
}

impl fmt::Display for AuditError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::PoolTotals => "a counter differs from a recount",
            Self::Place => "an object and its slot do not name each other",
            Self::Page => "a page's counts differ from a recount",
            Self::Class => "a class's free slots differ from a recount",
            Self::Coldness => "a list of objects by coldness is broken",
            Self::FreeLists => "a free list is broken",
        })
    }
}

impl core::error::Error for AuditError {}

fn ensure(holds: bool, error: AuditError) -> Result<(), AuditError> {
    if holds { Ok(()) } else { Err(error) }
}

impl<P: Pages, S: Tables> Pool<P, S> {
    /// Counts everything again and compares it with the counters and lists.
    ///
    /// For tests, simulations and self-tests at start: no correct use of a pool makes it fail.
    ///
    /// # Errors
    /// [`AuditError`] names the first contradiction.
    ///
    /// # Bounds
    /// Walks all tables, pages × classes: not for the hot path.
    pub fn audit(&self) -> Result<(), AuditError> {
        self.audit_totals()?;
        if Self::IS_PACKED {
            self.audit_rings()?;
            self.audit_gaps()?;
            (0..self.classes).try_for_each(|class| self.audit_coldness(class))?;
        } else {
            self.audit_pages()?;
            (0..self.classes).try_for_each(|class| self.audit_class(class))?;
        }
        self.audit_free_lists()
    }

    fn audit_totals(&self) -> Result<(), AuditError> {
        let mut counted = PoolTotals {
            // History can not be recounted.
            allocations: self.totals.allocations,
            failures: self.totals.failures,
            released_pages: self.totals.released_pages,
            relocated_bytes: self.totals.relocated_bytes,
            ..PoolTotals::default()
        };
        for (index, object) in (0u32..).zip(self.tables.objects()) {
            match object.state {
                ObjectState::Free => continue,
                ObjectState::Retired => {
                    counted.retired_handles += 1;
                    continue;
                }
                ObjectState::Live => {}
            }
            let slot_bytes = if Self::IS_PACKED {
                ensure(object.class == self.bin_for(object.len), AuditError::Place)?;
                self.bytes_of(self.size_of(object))
            } else {
                let class = self.class(object.class).ok_or(AuditError::Place)?;
                let slot = self.slot(object.place).and_then(SlotEntry::as_object);
                ensure(slot == Some(index) && object.len <= class.slot_bytes, AuditError::Place)?;
                let page = self.page(object.place.page).ok_or(AuditError::Place)?;
                ensure(page.class == object.class, AuditError::Place)?;
                u64::from(class.slot_bytes)
            };
            counted.live_objects += 1;
            counted.pinned_objects += u32::from(object.pins > 0);
            counted.expiring_objects += u32::from(object.expires_s.is_some());
            counted.requested_bytes += u64::from(object.len);
            counted.slot_bytes += slot_bytes;
        }
        for page in self.tables.pages().iter().filter(|page| page.state != PageState::Absent) {
            counted.pages += 1;
            counted.committed_bytes += u64::from(self.page_bytes);
            counted.spare_pages += u32::from(page.state == PageState::Spare);
        }
        ensure(counted == self.totals, AuditError::PoolTotals)
    }

    fn audit_pages(&self) -> Result<(), AuditError> {
        for (number, page) in (0u16..).zip(self.tables.pages()) {
            let is_drained = self.drain.is_some_and(|drain| drain.page == number);
            ensure(is_drained == (page.state == PageState::Draining), AuditError::Page)?;
            let in_use = matches!(page.state, PageState::Active | PageState::Draining);
            let mut used = 0;
            let mut pinned = 0;
            for slot in 0..page.fresh {
                let entry = self.slot(Place { page: number, slot }).ok_or(AuditError::Page)?;
                if let Some(object) = entry.as_object().and_then(|index| self.object(index)) {
                    ensure(object.place == Place { page: number, slot }, AuditError::Place)?;
                    used += 1;
                    pinned += u16::from(object.pins > 0);
                }
            }
            ensure((used, pinned) == (page.used, page.pinned), AuditError::Page)?;
            ensure(in_use == (used > 0), AuditError::Page)?;
            ensure(!is_drained || pinned == 0, AuditError::Page)?;
        }
        Ok(())
    }

    /// Follows the ring of each page of a packed pool, and counts what lies in it.
    fn audit_rings(&self) -> Result<(), AuditError> {
        let mut objects = 0;
        for (number, page) in (0u16..).zip(self.tables.pages()) {
            let is_drained = self.drain.is_some_and(|drain| drain.page == number);
            ensure(is_drained == (page.state == PageState::Draining), AuditError::Page)?;
            if !matches!(page.state, PageState::Active | PageState::Draining) {
                ensure(page.used_granules() == 0 && page.pinned == 0, AuditError::Page)?;
                continue;
            }
            let entry = self.page_entry(number);
            let (mut at, mut used, mut pinned) = (entry, 0, 0);
            loop {
                let gap = *self.gap(at).ok_or(AuditError::Place)?;
                // Neighbours that overlap have no gap, not even an empty one.
                let granules = self.recounted_gap(at).ok_or(AuditError::Place)?;
                ensure(gap.granules == granules, AuditError::Class)?;
                ensure(gap.is_listed() == (granules > 0 && !(is_drained && at == entry)), AuditError::Class)?;
                ensure(self.gap(gap.after).map(|after| after.before) == Some(at), AuditError::Place)?;
                at = gap.after;
                if at == entry {
                    break;
                }
                let object = self.object(at).ok_or(AuditError::Place)?;
                ensure(object.state == ObjectState::Live && object.place.page == number, AuditError::Place)?;
                used += self.size_of(object);
                pinned += u16::from(object.pins > 0);
                objects += 1;
            }
            ensure(used > 0 && (used, pinned) == (page.used_granules(), page.pinned), AuditError::Page)?;
            ensure(!is_drained || pinned == 0, AuditError::Page)?;
        }
        let (destination, behind) =
            self.drain.map_or((None, NO_OBJECT), |drain| (drain.destination, drain.behind));
        if let Some(page) = destination {
            let at = self
                .place_behind(behind)
                .or_else(|| self.page_of_entry(behind).map(|page| Place { page, slot: 0 }));
            // Behind an object that ends with its page there is no place.
            ensure(at.is_none_or(|at| at.page == page), AuditError::Page)?;
        }
        ensure(objects == self.totals.live_objects, AuditError::Place)
    }

    /// Follows the lists of gaps of a packed pool; that each gap is in one was seen before.
    fn audit_gaps(&self) -> Result<(), AuditError> {
        let listed = self.tables.gaps().iter().filter(|gap| gap.is_listed()).count();
        let mut counted = 0;
        for bin in 0..self.classes {
            let (mut at, mut newer) = (self.class(bin).ok_or(AuditError::Class)?.free, NO_OBJECT);
            ensure((at != NO_OBJECT) == (self.tables.bins() >> bin & 1 == 1), AuditError::Class)?;
            while at != NO_OBJECT {
                let gap = self.gap(at).ok_or(AuditError::Class)?;
                let granules = self.gap_behind(at).ok_or(AuditError::Class)?;
                ensure(gap.is_listed() && gap.newer == newer && bin_of(granules) == bin, AuditError::Class)?;
                counted += 1;
                ensure(counted <= listed, AuditError::Class)?;
                (newer, at) = (at, gap.older);
            }
        }
        ensure(counted == listed, AuditError::Class)
    }

    fn audit_class(&self, class: u8) -> Result<(), AuditError> {
        let entry = *self.class(class).ok_or(AuditError::Class)?;
        let of_class = |page: &&super::PageEntry| page.state == PageState::Active && page.class == class;
        let pages = self.tables.pages().iter().filter(of_class);
        let (mut free, mut open) = (0u32, 0usize);
        for page in pages {
            let slots = entry.slots_per_page.checked_sub(page.used).ok_or(AuditError::Class)?;
            free += u32::from(slots);
            open += usize::from(slots > 0);
        }
        ensure(free == entry.free, AuditError::Class)?;
        // The slots that a page being emptied still needs are set aside: an allocation never takes them.
        ensure(entry.free >= self.reserved_slots(class), AuditError::Class)?;
        let (mut at, mut before) = (entry.open_page, NO_PAGE);
        for _ in 0..open {
            let page = self.page(at).ok_or(AuditError::Class)?;
            let listed = page.state == PageState::Active && page.class == class && page.before == before;
            ensure(listed && page.used < entry.slots_per_page, AuditError::Class)?;
            (before, at) = (at, page.after);
        }
        ensure(at == NO_PAGE, AuditError::Class)?;
        self.audit_coldness(class)
    }

    fn audit_coldness(&self, class: u8) -> Result<(), AuditError> {
        let listed = |object: &&super::ObjectEntry<S::Tag>| {
            object.state == ObjectState::Live && object.class == class && object.is_listed()
        };
        let count = self.tables.objects().iter().filter(listed).count();
        let entry = self.class(class).ok_or(AuditError::Coldness)?;
        let (mut at, mut colder) = (entry.coldest, NO_OBJECT);
        for _ in 0..count {
            let object = self.object(at).ok_or(AuditError::Coldness)?;
            ensure(listed(&object) && object.colder == colder, AuditError::Coldness)?;
            (colder, at) = (at, object.warmer);
        }
        ensure(at == NO_OBJECT && entry.warmest == colder, AuditError::Coldness)
    }

    fn audit_free_lists(&self) -> Result<(), AuditError> {
        let mut at = self.spare_page;
        for _ in 0..self.totals.spare_pages {
            let page = self.page(at).ok_or(AuditError::FreeLists)?;
            ensure(page.state == PageState::Spare, AuditError::FreeLists)?;
            at = page.after;
        }
        ensure(at == NO_PAGE, AuditError::FreeLists)?;
        let used = self.totals.live_objects.saturating_add(self.totals.retired_handles);
        let free = self.fresh_object.checked_sub(used).ok_or(AuditError::FreeLists)?;
        let mut at = self.free_object;
        for _ in 0..free {
            let object = self.object(at).ok_or(AuditError::FreeLists)?;
            ensure(object.state == ObjectState::Free, AuditError::FreeLists)?;
            at = object.warmer;
        }
        ensure(at == NO_OBJECT, AuditError::FreeLists)
    }
}
