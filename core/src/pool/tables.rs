//! The memory for the tables of a pool, lent by the owner of the pool.

use super::Handle;

/// Marks the end of a list of pages or slots.
pub(super) const NO_PAGE: u16 = u16::MAX;
/// Marks the end of a list of slots.
pub(super) const NO_SLOT: u16 = u16::MAX;
/// Marks the end of a list of objects.
pub(super) const NO_OBJECT: u32 = u32::MAX;

/// Where an object lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub(super) struct Place {
    pub(super) page: u16,
    pub(super) slot: u16,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub(super) enum ObjectState {
    Free,
    Live,
    /// Its generations are used up; using it again could revive a stale handle (I-POOL-1).
    Retired,
}

/// One entry of the handle table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct ObjectEntry<T> {
    pub(super) tag: Option<T>,
    pub(super) generation: u32,
    pub(super) len: u32,
    pub(super) expires_s: Option<u32>,
    /// The pool's access count at the last touch; orders objects of different classes by coldness.
    pub(super) touched: u32,
    /// Towards the warmest of the class. Of a free entry: the next free one.
    pub(super) warmer: u32,
    /// Towards the coldest of the class.
    pub(super) colder: u32,
    pub(super) place: Place,
    pub(super) class: u8,
    pub(super) pins: u8,
    pub(super) state: ObjectState,
    pub(super) evictable: bool,
}

impl<T> ObjectEntry<T> {
    /// An entry never used.
    pub const EMPTY: Self = Self {
        tag: None,
        generation: 0,
        len: 0,
        expires_s: None,
        touched: 0,
        warmer: NO_OBJECT,
        colder: NO_OBJECT,
        place: Place { page: NO_PAGE, slot: NO_SLOT },
        class: 0,
        pins: 0,
        state: ObjectState::Free,
        evictable: false,
    };

    /// Pinned objects are kept off the list, so that eviction never meets one.
    pub(super) fn is_listed(&self) -> bool {
        self.evictable && self.pins == 0
    }

    pub(super) fn handle(&self, index: u32) -> Handle {
        Handle { index, generation: self.generation }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub(super) enum PageState {
    /// Not committed.
    Absent,
    /// Committed, empty, of no class.
    Spare,
    /// Holds objects of its class and takes more.
    Active,
    /// Holds objects of its class, which are being moved out.
    Draining,
}

/// The state of one page.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct PageEntry {
    pub(super) state: PageState,
    pub(super) class: u8,
    pub(super) used: u16,
    pub(super) pinned: u16,
    /// Slots from here on were never used since the page got its class, so a commit need not initialise them.
    pub(super) fresh: u16,
    pub(super) free_slot: u16,
    /// Neighbours in the list of spare pages, or of pages of the class with a free slot.
    pub(super) before: u16,
    pub(super) after: u16,
}

impl PageEntry {
    /// An entry never used.
    pub const EMPTY: Self = Self {
        state: PageState::Absent,
        class: 0,
        used: 0,
        pinned: 0,
        fresh: 0,
        free_slot: NO_SLOT,
        before: NO_PAGE,
        after: NO_PAGE,
    };
}

/// The object that lies in one slot.
///
/// Packed: the top bit tells a free slot, whose low half then names the next free slot of the page; otherwise the
/// whole is the object's index.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct SlotEntry(u32);

impl SlotEntry {
    /// An entry never used.
    pub const EMPTY: Self = Self(Self::FREE | NO_SLOT as u32);
    const FREE: u32 = 1 << 31;
    /// The largest number of objects whose indices leave the top bit clear.
    pub(super) const OBJECTS_MAX: usize = Self::FREE as usize;

    pub(super) const fn object(index: u32) -> Self {
        Self(index & !Self::FREE)
    }

    pub(super) fn free(next: u16) -> Self {
        Self(Self::FREE | u32::from(next))
    }

    pub(super) const fn as_object(self) -> Option<u32> {
        if self.0 & Self::FREE == 0 { Some(self.0) } else { None }
    }

    pub(super) const fn next_free(self) -> u16 {
        let [low, high, ..] = self.0.to_le_bytes();
        u16::from_le_bytes([low, high])
    }
}

/// The state of one size class.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct ClassEntry {
    pub(super) slot_bytes: u32,
    pub(super) slots_per_page: u16,
    /// Pages with at least one free slot, but for the one being emptied.
    pub(super) open_page: u16,
    /// Free slots in those pages.
    pub(super) free: u32,
    pub(super) coldest: u32,
    pub(super) warmest: u32,
}

impl ClassEntry {
    /// An entry never used.
    pub const EMPTY: Self = Self {
        slot_bytes: 0,
        slots_per_page: 0,
        open_page: NO_PAGE,
        free: 0,
        coldest: NO_OBJECT,
        warmest: NO_OBJECT,
    };
}

/// The tables of a pool. Their lengths are its limits and must not change.
///
/// | table | length |
/// |---|---|
/// | objects | the most objects alive at once |
/// | pages | the most pages committed at once; page numbers stay below it |
/// | slots | pages × the slots of the smallest class in a page |
/// | classes | at least the number of size classes |
pub trait Tables {
    /// The owner's name for an object, by which it learns which objects were dropped.
    type Tag: Copy;

    /// Borrows the handle table.
    fn objects(&self) -> &[ObjectEntry<Self::Tag>];
    /// Borrows the handle table for writing.
    fn objects_mut(&mut self) -> &mut [ObjectEntry<Self::Tag>];
    /// Borrows the page table.
    fn pages(&self) -> &[PageEntry];
    /// Borrows the page table for writing.
    fn pages_mut(&mut self) -> &mut [PageEntry];
    /// Borrows the slot table, one row per page.
    fn slots(&self) -> &[SlotEntry];
    /// Borrows the slot table for writing.
    fn slots_mut(&mut self) -> &mut [SlotEntry];
    /// Borrows the class table.
    fn classes(&self) -> &[ClassEntry];
    /// Borrows the class table for writing.
    fn classes_mut(&mut self) -> &mut [ClassEntry];
}

macro_rules! tables_by_field {
    ($tag:ty) => {
        type Tag = $tag;

        fn objects(&self) -> &[ObjectEntry<Self::Tag>] {
            &self.objects[..]
        }
        fn objects_mut(&mut self) -> &mut [ObjectEntry<Self::Tag>] {
            &mut self.objects[..]
        }
        fn pages(&self) -> &[PageEntry] {
            &self.pages[..]
        }
        fn pages_mut(&mut self) -> &mut [PageEntry] {
            &mut self.pages[..]
        }
        fn slots(&self) -> &[SlotEntry] {
            &self.slots[..]
        }
        fn slots_mut(&mut self) -> &mut [SlotEntry] {
            &mut self.slots[..]
        }
        fn classes(&self) -> &[ClassEntry] {
            &self.classes[..]
        }
        fn classes_mut(&mut self) -> &mut [ClassEntry] {
            &mut self.classes[..]
        }
    };
}

/// Tables of fixed size, for a `static`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct ArrayTables<T, const OBJECTS: usize, const PAGES: usize, const SLOTS: usize, const CLASSES: usize>
{
    objects: [ObjectEntry<T>; OBJECTS],
    pages: [PageEntry; PAGES],
    slots: [SlotEntry; SLOTS],
    classes: [ClassEntry; CLASSES],
}

impl<T: Copy, const OBJECTS: usize, const PAGES: usize, const SLOTS: usize, const CLASSES: usize>
    ArrayTables<T, OBJECTS, PAGES, SLOTS, CLASSES>
{
    /// Makes empty tables.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            objects: [ObjectEntry::EMPTY; OBJECTS],
            pages: [PageEntry::EMPTY; PAGES],
            slots: [SlotEntry::EMPTY; SLOTS],
            classes: [ClassEntry::EMPTY; CLASSES],
        }
    }
}

impl<T: Copy, const OBJECTS: usize, const PAGES: usize, const SLOTS: usize, const CLASSES: usize> Default
    for ArrayTables<T, OBJECTS, PAGES, SLOTS, CLASSES>
{
    fn default() -> Self {
        Self::new()
    }
}

impl<T: Copy, const OBJECTS: usize, const PAGES: usize, const SLOTS: usize, const CLASSES: usize> Tables
    for ArrayTables<T, OBJECTS, PAGES, SLOTS, CLASSES>
{
    tables_by_field!(T);
}

/// A pool holds its tables by value; given these, it is a few words large, and the tables stay where they were linked
/// instead of being moved over the stack.
impl<S: Tables> Tables for &mut S {
    type Tag = S::Tag;

    fn objects(&self) -> &[ObjectEntry<Self::Tag>] {
        (**self).objects()
    }
    fn objects_mut(&mut self) -> &mut [ObjectEntry<Self::Tag>] {
        (**self).objects_mut()
    }
    fn pages(&self) -> &[PageEntry] {
        (**self).pages()
    }
    fn pages_mut(&mut self) -> &mut [PageEntry] {
        (**self).pages_mut()
    }
    fn slots(&self) -> &[SlotEntry] {
        (**self).slots()
    }
    fn slots_mut(&mut self) -> &mut [SlotEntry] {
        (**self).slots_mut()
    }
    fn classes(&self) -> &[ClassEntry] {
        (**self).classes()
    }
    fn classes_mut(&mut self) -> &mut [ClassEntry] {
        (**self).classes_mut()
    }
}

/// Tables lent as slices, whose sizes are known only when the program runs.
#[derive(Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct LentTables<'a, T> {
    /// The handle table.
    pub objects: &'a mut [ObjectEntry<T>],
    /// The page table.
    pub pages: &'a mut [PageEntry],
    /// The slot table.
    pub slots: &'a mut [SlotEntry],
    /// The class table.
    pub classes: &'a mut [ClassEntry],
}

impl<T: Copy> Tables for LentTables<'_, T> {
    tables_by_field!(T);
}
