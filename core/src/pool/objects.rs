//! Objects and the handles that name them.

use super::tables::{NO_OBJECT, ObjectEntry, ObjectState, SlotEntry};
use super::{AllocateError, DropReason, Dropped, Handle, PageId, Pages, Pool, PoolError, Tables};

/// The terms under which a pool keeps an object. By default it stays until it is freed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Terms {
    /// The time in seconds from which an emergency cleanup drops it; on the clock the cleanup is given.
    pub expires_s: Option<u32>,
    /// Whether it may be dropped to free space, coldest first.
    pub evictable: bool,
}

impl<P: Pages, S: Tables> Pool<P, S> {
    /// Allocates an object of `len` bytes and names it. The tag comes back when the pool drops the object by itself.
    ///
    /// The bytes are those that the slot held last; write them before reading.
    ///
    /// # Errors
    /// [`AllocateError`]; each is counted as a failure, and nothing else has changed.
    ///
    /// # Bounds
    /// At most one page is committed; otherwise constant work, beside a binary search among the classes.
    pub fn allocate(&mut self, len: u32, terms: Terms, tag: S::Tag) -> Result<Handle, AllocateError> {
        let allocated = self.try_allocate(len, terms, tag);
        self.count_allocation(allocated)
    }

    fn count_allocation(
        &mut self,
        allocated: Result<Handle, AllocateError>,
    ) -> Result<Handle, AllocateError> {
        let counter =
            if allocated.is_ok() { &mut self.totals.allocations } else { &mut self.totals.failures };
        *counter = counter.saturating_add(1);
        allocated
    }

    fn try_allocate(&mut self, len: u32, terms: Terms, tag: S::Tag) -> Result<Handle, AllocateError> {
        let class = self.class_for(len).ok_or(AllocateError::TooLarge)?;
        let index = if self.free_object == NO_OBJECT { self.fresh_object } else { self.free_object };
        let next_free = self.object(index).ok_or(AllocateError::NoHandles)?.warmer;
        let (place, behind) = if Self::IS_PACKED {
            let behind = self.take_gap(len)?;
            (self.place_behind(behind).ok_or(AllocateError::Inconsistent)?, behind)
        } else {
            (self.take_slot(class)?, NO_OBJECT)
        };
        if index == self.fresh_object {
            self.fresh_object = self.fresh_object.saturating_add(1);
        } else {
            self.free_object = next_free;
        }
        self.fill_entry(
            index,
            ObjectEntry {
                tag: Some(tag),
                len,
                expires_s: terms.expires_s,
                place,
                class,
                state: ObjectState::Live,
                evictable: terms.evictable,
                ..ObjectEntry::EMPTY
            },
            behind,
        )
        .ok_or(AllocateError::Inconsistent)
    }

    fn fill_entry(&mut self, index: u32, filled: ObjectEntry<S::Tag>, behind: u32) -> Option<Handle> {
        if !Self::IS_PACKED {
            self.set_slot(filled.place, SlotEntry::object(index))?;
        }
        let object = self.object_mut(index)?;
        *object = ObjectEntry { generation: object.generation, ..filled };
        let handle = object.handle(index);
        if Self::IS_PACKED {
            self.insert_behind(index, behind)?;
        }
        if filled.is_listed() {
            self.link_warmest(index)?;
        }
        let totals = &mut self.totals;
        totals.live_objects = totals.live_objects.saturating_add(1);
        totals.requested_bytes = totals.requested_bytes.saturating_add(u64::from(filled.len));
        totals.expiring_objects =
            totals.expiring_objects.saturating_add(u32::from(filled.expires_s.is_some()));
        Some(handle)
    }

    pub(super) fn class_for(&self, len: u32) -> Option<u8> {
        if Self::IS_PACKED {
            return (len <= self.len_max()).then(|| self.bin_for(len));
        }
        let classes = self.tables.classes().get(..usize::from(self.classes))?;
        let class = classes.partition_point(|class| class.slot_bytes < len);
        u8::try_from(class).ok().filter(|class| *class < self.classes)
    }

    pub(super) fn resolve(&self, handle: Handle) -> Result<&ObjectEntry<S::Tag>, PoolError> {
        let live = |object: &&ObjectEntry<S::Tag>| {
            object.state == ObjectState::Live && object.generation == handle.generation
        };
        self.object(handle.index).filter(live).ok_or(PoolError::Stale)
    }

    /// Borrows the bytes of an object.
    ///
    /// # Errors
    /// `Stale` when it was freed.
    pub fn bytes(&self, handle: Handle) -> Result<&[u8], PoolError> {
        let object = self.resolve(handle)?;
        let (start, end) = self.range_of(object).ok_or(PoolError::Inconsistent)?;
        let page = self.pages.bytes(PageId(object.place.page));
        page.and_then(|bytes| bytes.get(start..end)).ok_or(PoolError::Inconsistent)
    }

    /// Borrows the bytes of an object and [touches](Self::touch) it, for less work than both calls.
    ///
    /// # Errors
    /// `Stale` when it was freed.
    pub fn touched_bytes(&mut self, handle: Handle) -> Result<&[u8], PoolError> {
        let object = self.resolve(handle)?;
        let (page, is_listed) = (object.place.page, object.is_listed());
        let (start, end) = self.range_of(object).ok_or(PoolError::Inconsistent)?;
        if is_listed {
            self.make_warmest(handle.index).ok_or(PoolError::Inconsistent)?;
        }
        let page = self.pages.bytes(PageId(page));
        page.and_then(|bytes| bytes.get(start..end)).ok_or(PoolError::Inconsistent)
    }

    /// Borrows the bytes of an object for writing.
    ///
    /// # Errors
    /// `Stale` when it was freed.
    pub fn bytes_mut(&mut self, handle: Handle) -> Result<&mut [u8], PoolError> {
        let object = *self.resolve(handle)?;
        let (start, end) = self.range_of(&object).ok_or(PoolError::Inconsistent)?;
        let page = self.pages.bytes_mut(PageId(object.place.page));
        page.and_then(|bytes| bytes.get_mut(start..end)).ok_or(PoolError::Inconsistent)
    }

    /// Copies `bytes` into an object from `offset` on.
    ///
    /// # Errors
    /// `OutOfBounds` when they reach beyond its end, and then nothing is written; `Stale` when it was freed.
    pub fn write(&mut self, handle: Handle, offset: u32, bytes: &[u8]) -> Result<(), PoolError> {
        let start = usize::try_from(offset).map_err(|_| PoolError::OutOfBounds)?;
        let object = self.bytes_mut(handle)?;
        let target = start.checked_add(bytes.len()).and_then(|end| object.get_mut(start..end));
        target.ok_or(PoolError::OutOfBounds)?.copy_from_slice(bytes);
        Ok(())
    }

    /// Where in its page an object lies, as offsets.
    pub(super) fn range_of(&self, object: &ObjectEntry<S::Tag>) -> Option<(usize, usize)> {
        if Self::IS_PACKED {
            return self.packed_range_of(object);
        }
        let slot_bytes = usize::try_from(self.class(object.class)?.slot_bytes).ok()?;
        let start = usize::from(object.place.slot).checked_mul(slot_bytes)?;
        Some((start, start.checked_add(usize::try_from(object.len).ok()?)?))
    }

    /// Returns the tag an object was allocated with.
    ///
    /// # Errors
    /// `Stale` when it was freed.
    pub fn tag(&self, handle: Handle) -> Result<S::Tag, PoolError> {
        self.resolve(handle)?.tag.ok_or(PoolError::Inconsistent)
    }

    /// Marks an object as the warmest of its class, the last to be evicted.
    ///
    /// # Errors
    /// `Stale` when it was freed.
    pub fn touch(&mut self, handle: Handle) -> Result<(), PoolError> {
        if self.resolve(handle)?.is_listed() {
            self.make_warmest(handle.index).ok_or(PoolError::Inconsistent)?;
        }
        Ok(())
    }

    /// Frees an object. Its handle is stale from now on.
    ///
    /// # Errors
    /// `Stale` when it was freed before, `Pinned` while it is in use; nothing changes then.
    ///
    /// # Bounds
    /// At most one page is released; otherwise constant work.
    pub fn free(&mut self, handle: Handle) -> Result<(), PoolError> {
        if self.resolve(handle)?.pins > 0 {
            return Err(PoolError::Pinned);
        }
        self.drop_object(handle.index, true).ok_or(PoolError::Inconsistent)?;
        Ok(())
    }

    /// Takes an unpinned object out of all tables; returns its handle and tag as they were.
    pub(super) fn drop_object(&mut self, index: u32, spare_allowed: bool) -> Option<(Handle, S::Tag)> {
        let object = *self.object(index)?;
        if object.is_listed() {
            self.unlink_cold(index)?;
        }
        if Self::IS_PACKED {
            self.remove_packed(index, spare_allowed)?;
        }
        let next_free = self.free_object;
        let entry = self.object_mut(index)?;
        *entry = ObjectEntry { generation: object.generation, ..ObjectEntry::EMPTY };
        match object.generation.checked_add(1) {
            Some(generation) => {
                (entry.generation, entry.warmer) = (generation, next_free);
                self.free_object = index;
            }
            None => {
                // The next use would bring old generations back (I-POOL-1): one entry in 2^32 frees is lost.
                entry.state = ObjectState::Retired;
                self.totals.retired_handles = self.totals.retired_handles.saturating_add(1);
            }
        }
        let totals = &mut self.totals;
        totals.live_objects = totals.live_objects.saturating_sub(1);
        totals.requested_bytes = totals.requested_bytes.saturating_sub(u64::from(object.len));
        totals.expiring_objects =
            totals.expiring_objects.saturating_sub(u32::from(object.expires_s.is_some()));
        if !Self::IS_PACKED {
            self.give_slot(object.place, spare_allowed)?;
        }
        Some((object.handle(index), object.tag?))
    }

    /// Allocates like [`allocate`](Self::allocate), and frees space where there is none: without a free slot the coldest
    /// object of the same class is evicted, without a free handle the coldest of all. An evicted object is reported to `dropped`.
    /// In a packed pool the object evicted for its space is the coldest of about the same length that leaves enough.
    ///
    /// A class without an evictable object gets no page from the others here: that takes an
    /// [`emergency_step`](Self::emergency_step).
    ///
    /// # Errors
    /// [`AllocateError`], counted as one failure. It is possible that one object was evicted for its handle and there was no
    /// slot all the same.
    ///
    /// # Bounds
    /// As [`allocate`](Self::allocate), and at most two objects are dropped, each with its page if it was the last in it.
    pub fn allocate_evicting(
        &mut self,
        len: u32,
        terms: Terms,
        tag: S::Tag,
        mut dropped: impl FnMut(Dropped<S::Tag>),
    ) -> Result<Handle, AllocateError> {
        let mut allocated = self.try_allocate(len, terms, tag);
        // One eviction gives a handle, another one a slot of the right size; a third could add nothing.
        for _ in 0..2 {
            let coldest = match allocated {
                Err(AllocateError::NoPages(_)) if Self::IS_PACKED => self.coldest_fitting(len),
                Err(AllocateError::NoPages(_)) => {
                    self.class_for(len).and_then(|class| self.coldest_of(class))
                }
                Err(AllocateError::NoHandles) => self.coldest(),
                _ => None,
            };
            let Some((handle, tag_of)) = coldest.and_then(|index| self.drop_object(index, true)) else {
                break;
            };
            dropped(Dropped { handle, tag: tag_of, reason: DropReason::Evicted });
            allocated = self.try_allocate(len, terms, tag);
        }
        self.count_allocation(allocated)
    }

    /// Shows the live objects among `looks_max` entries of the handle table from `index` on. Returns where to go on, or
    /// `None` at the end of the table; so a walk over all objects can be cut into bounded parts.
    pub fn scan(&self, index: u32, looks_max: u32, mut live: impl FnMut(Handle, S::Tag)) -> Option<u32> {
        let end = index.saturating_add(looks_max).min(self.fresh_object);
        for index in index..end {
            let object = self.object(index).filter(|object| object.state == ObjectState::Live);
            if let Some((object, tag)) = object.and_then(|object| Some((object, object.tag?))) {
                live(object.handle(index), tag);
            }
        }
        (end < self.fresh_object).then_some(end)
    }

    /// Holds an object in its place until as many unpins. A page with a pinned object is not emptied.
    ///
    /// # Errors
    /// `TooManyPins` at the limit of objects, or at 255 pins on one; `Stale` when it was freed.
    pub fn pin(&mut self, handle: Handle) -> Result<(), PoolError> {
        let object = *self.resolve(handle)?;
        let pins = object.pins.checked_add(1).ok_or(PoolError::TooManyPins)?;
        if object.pins == 0 {
            if self.totals.pinned_objects >= u32::from(self.limits.pins_max) {
                return Err(PoolError::TooManyPins);
            }
            self.pin_first(handle.index, object).ok_or(PoolError::Inconsistent)?;
        }
        self.object_mut(handle.index).ok_or(PoolError::Inconsistent)?.pins = pins;
        Ok(())
    }

    fn pin_first(&mut self, index: u32, object: ObjectEntry<S::Tag>) -> Option<()> {
        if self.drain.is_some_and(|drain| drain.page == object.place.page) {
            self.stop_drain()?;
        }
        if Self::IS_PACKED {
            self.forget_destination(object.place.page);
        }
        if object.is_listed() {
            self.unlink_cold(index)?;
        }
        let page = self.page_mut(object.place.page)?;
        page.pinned = page.pinned.saturating_add(1);
        self.totals.pinned_objects = self.totals.pinned_objects.saturating_add(1);
        Some(())
    }

    /// Takes one pin off. With the last one the object may move again, and counts as touched.
    ///
    /// # Errors
    /// `NotPinned`, or `Stale` when it was freed.
    pub fn unpin(&mut self, handle: Handle) -> Result<(), PoolError> {
        let object = *self.resolve(handle)?;
        let pins = object.pins.checked_sub(1).ok_or(PoolError::NotPinned)?;
        self.object_mut(handle.index).ok_or(PoolError::Inconsistent)?.pins = pins;
        if pins == 0 {
            self.unpin_last(handle.index, object).ok_or(PoolError::Inconsistent)?;
        }
        Ok(())
    }

    fn unpin_last(&mut self, index: u32, object: ObjectEntry<S::Tag>) -> Option<()> {
        let page = self.page_mut(object.place.page)?;
        page.pinned = page.pinned.saturating_sub(1);
        self.totals.pinned_objects = self.totals.pinned_objects.saturating_sub(1);
        if object.evictable { self.link_warmest(index) } else { Some(()) }
    }

    /// Changes when an object expires.
    ///
    /// # Errors
    /// `Stale` when it was freed.
    pub fn set_expiry(&mut self, handle: Handle, expires_s: Option<u32>) -> Result<(), PoolError> {
        let before = self.resolve(handle)?.expires_s;
        self.object_mut(handle.index).ok_or(PoolError::Inconsistent)?.expires_s = expires_s;
        let count = self.totals.expiring_objects.saturating_sub(u32::from(before.is_some()));
        self.totals.expiring_objects = count.saturating_add(u32::from(expires_s.is_some()));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pool::{ArrayTables, Limits, RegionPages, SizeClasses};

    type Small = Pool<RegionPages<[u8; 64], 4>, ArrayTables<u8, 2, 4, 8, 1>>;

    fn small() -> Small {
        let classes = SizeClasses::new(&[8]).unwrap();
        let limits = Limits { pins_max: 1, ..Limits::default() };
        Pool::new(RegionPages::new([0; 64], 16), ArrayTables::new(), classes, limits).unwrap()
    }

    #[test]
    fn freed_handle_is_stale_though_its_entry_is_used_again() {
        let mut pool = small();
        let first = pool.allocate(3, Terms::default(), 1).unwrap();
        pool.write(first, 0, b"abc").unwrap();
        assert_eq!(pool.write(first, 1, b"abc"), Err(PoolError::OutOfBounds));
        pool.free(first).unwrap();
        let second = pool.allocate(3, Terms::default(), 2).unwrap();
        assert_eq!(first.index, second.index);
        // I-POOL-1
        assert_eq!(pool.bytes(first), Err(PoolError::Stale));
        assert_eq!(pool.free(first), Err(PoolError::Stale));
        assert_eq!(pool.tag(second), Ok(2));
    }

    #[test]
    fn last_generation_freed_entry_is_retired() {
        let mut pool = small();
        let handle = pool.allocate(1, Terms::default(), 1).unwrap();
        pool.object_mut(handle.index).unwrap().generation = u32::MAX;
        pool.free(Handle { generation: u32::MAX, ..handle }).unwrap();
        assert_eq!(pool.totals().retired_handles, 1);
        // I-POOL-1: the other entry is all that is left.
        let other = pool.allocate(1, Terms::default(), 1).unwrap();
        assert_ne!(other.index, handle.index);
        assert_eq!(pool.allocate(1, Terms::default(), 1), Err(AllocateError::NoHandles));
        assert_eq!(pool.audit(), Ok(()));
    }

    #[test]
    fn pinned_free_is_refused_and_pins_are_bounded() {
        let mut pool = small();
        let handle = pool.allocate(1, Terms { evictable: true, expires_s: None }, 1).unwrap();
        let other = pool.allocate(1, Terms::default(), 1).unwrap();
        assert_eq!(pool.unpin(handle), Err(PoolError::NotPinned));
        assert_eq!((pool.pin(handle), pool.pin(handle)), (Ok(()), Ok(())));
        assert_eq!(pool.pin(other), Err(PoolError::TooManyPins));
        assert_eq!(pool.free(handle), Err(PoolError::Pinned));
        let refused =
            pool.allocate_evicting(1, Terms::default(), 2, |_| unreachable!("pinned, or to be kept"));
        assert_eq!(refused, Err(AllocateError::NoHandles));
        assert_eq!((pool.unpin(handle), pool.unpin(handle)), (Ok(()), Ok(())));
        let mut evicted = None;
        assert!(
            pool.allocate_evicting(1, Terms::default(), 2, |dropped| evicted = Some(dropped.handle)).is_ok()
        );
        assert_eq!(evicted, Some(handle));
        assert_eq!(pool.audit(), Ok(()));
    }

    #[test]
    fn full_pool_allocation_evicts_the_coldest_of_its_class() {
        let mut pool = small();
        let evictable = Terms { evictable: true, expires_s: None };
        let warm = pool.allocate(1, evictable, 1).unwrap();
        let cold = pool.allocate(1, evictable, 2).unwrap();
        pool.touch(warm).unwrap();
        let mut evicted = None;
        let third =
            pool.allocate_evicting(1, Terms::default(), 3, |dropped| evicted = Some(dropped)).unwrap();
        assert_eq!(evicted, Some(Dropped { handle: cold, tag: 2, reason: DropReason::Evicted }));
        assert_eq!((pool.tag(warm), pool.tag(third)), (Ok(1), Ok(3)));
        assert_eq!(pool.totals().failures, 0);
        let mut seen = [0; 2];
        assert_eq!(pool.scan(0, 1, |handle, tag| seen[handle.index as usize] = tag), Some(1));
        assert_eq!(pool.scan(1, 9, |handle, tag| seen[handle.index as usize] = tag), None);
        assert_eq!(seen, [1, 3]);
        assert!(pool.allocate_evicting(1, Terms::default(), 4, |_| ()).is_ok());
        let refused = pool.allocate_evicting(1, Terms::default(), 5, |_| unreachable!("nothing to evict"));
        assert_eq!((refused, pool.totals().failures), (Err(AllocateError::NoHandles), 1));
    }

    #[test]
    fn used_up_handles_other_class_evicts_the_coldest_of_all() {
        let classes = SizeClasses::new(&[8, 16]).unwrap();
        let tables: ArrayTables<u8, 2, 4, 8, 2> = ArrayTables::new();
        let pages: RegionPages<[u8; 64], 4> = RegionPages::new([0; 64], 16);
        let mut pool = Pool::new(pages, tables, classes, Limits::default()).unwrap();
        let evictable = Terms { evictable: true, expires_s: None };
        for tag in 0..2 {
            pool.allocate(8, evictable, tag).unwrap();
        }
        let mut evicted = None;
        assert!(pool.allocate_evicting(16, evictable, 2, |dropped| evicted = Some(dropped.tag)).is_ok());
        assert_eq!((evicted, pool.audit()), (Some(0), Ok(())));
    }

    #[test]
    fn too_large_allocation_is_a_counted_failure() {
        let mut pool = small();
        assert_eq!(pool.allocate(9, Terms::default(), 1), Err(AllocateError::TooLarge));
        assert_eq!((pool.totals().failures, pool.totals().pages), (1, 0));
        assert_eq!(pool.len_max(), 8);
        assert!(pool.allocate(0, Terms::default(), 1).is_ok());
    }
}
