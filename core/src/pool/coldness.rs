//! Finds the evictable object that was not accessed for the longest time.
//!
//! Each class keeps its evictable, unpinned objects in a list from coldest to warmest. So a touch is constant work, and so is
//! finding the coldest of a class when that class needs a slot. Across classes the heads are compared by the pool's access
//! count at their last touch. The count is 32 bits and wraps: an object left alone for 2^32 accesses looks warm again, which
//! costs a wrong choice and nothing else.

use super::tables::{NO_OBJECT, ObjectEntry};
use super::{Pages, Pool, Tables};

impl<P: Pages, S: Tables> Pool<P, S> {
    pub(super) fn object(&self, index: u32) -> Option<&ObjectEntry<S::Tag>> {
        self.tables.objects().get(usize::try_from(index).ok()?)
    }

    pub(super) fn object_mut(&mut self, index: u32) -> Option<&mut ObjectEntry<S::Tag>> {
        self.tables.objects_mut().get_mut(usize::try_from(index).ok()?)
    }

    /// Puts an object at the warm end of its class.
    pub(super) fn link_warmest(&mut self, index: u32) -> Option<()> {
        self.accesses = self.accesses.wrapping_add(1);
        let touched = self.accesses;
        let class = self.object(index)?.class;
        let colder = core::mem::replace(&mut self.class_mut(class)?.warmest, index);
        if colder == NO_OBJECT {
            self.class_mut(class)?.coldest = index;
        } else {
            self.object_mut(colder)?.warmer = index;
        }
        let object = self.object_mut(index)?;
        (object.colder, object.warmer, object.touched) = (colder, NO_OBJECT, touched);
        Some(())
    }

    /// Puts a listed object at the warm end of its class. The warmest one changes no link.
    pub(super) fn make_warmest(&mut self, index: u32) -> Option<()> {
        let object = self.object(index)?;
        if object.warmer == NO_OBJECT {
            self.accesses = self.accesses.wrapping_add(1);
            let touched = self.accesses;
            self.object_mut(index)?.touched = touched;
            return Some(());
        }
        self.unlink_cold(index)?;
        self.link_warmest(index)
    }

    pub(super) fn unlink_cold(&mut self, index: u32) -> Option<()> {
        let (class, colder, warmer) = {
            let object = self.object_mut(index)?;
            let links = (object.class, object.colder, object.warmer);
            (object.colder, object.warmer) = (NO_OBJECT, NO_OBJECT);
            links
        };
        if colder == NO_OBJECT {
            self.class_mut(class)?.coldest = warmer;
        } else {
            self.object_mut(colder)?.warmer = warmer;
        }
        if warmer == NO_OBJECT {
            self.class_mut(class)?.warmest = colder;
        } else {
            self.object_mut(warmer)?.colder = colder;
        }
        Some(())
    }

    pub(super) fn coldest_of(&self, class: u8) -> Option<u32> {
        self.class(class).map(|class| class.coldest).filter(|index| *index != NO_OBJECT)
    }

    /// The coldest object of the pool. Looks at one object per class.
    pub(super) fn coldest(&self) -> Option<u32> {
        let candidates = (0..self.classes).filter_map(|class| self.coldest_of(class));
        candidates.max_by_key(|index| {
            self.object(*index).map_or(0, |object| self.accesses.wrapping_sub(object.touched))
        })
    }
}
