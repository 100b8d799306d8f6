//! The memory for the tables of a pool, lent by the owner of the pool.

use super::Handle;

/// Marks the end of a list of pages or slots.
pub(super) const NO_PAGE: u16 = u16::MAX;
/// Marks the end of a list of slots.
pub(super) const NO_SLOT: u16 = u16::MAX;
/// Marks the end of a list of objects, or of gaps.
pub(super) const NO_OBJECT: u32 = u32::MAX;

/// Where an object lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub(super) struct Place {
    pub(super) page: u16,
    pub(super) slot: u16,
}

/// How a pool lays out the objects in its pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum PageLayout {
    /// A page belongs to one size class at a time and is cut into slots of that size: the least work and code.
    Slabs,
    /// Objects of all lengths lie one behind the other in the same pages: the least memory once they are moved together.
    Packed,
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
    /// Slots from here on were never used since the page got its class, so a commit need not initialise them. In a packed pool,
    /// the upper half of `used`.
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

    /// Granules in use in a packed pool: a full page has one more than 16 bits can count.
    pub(super) const fn used_granules(&self) -> u32 {
        (self.fresh as u32) << 16 | self.used as u32
    }

    pub(super) fn set_used_granules(&mut self, granules: u32) {
        let [a, b, c, d] = granules.to_le_bytes();
        (self.used, self.fresh) = (u16::from_le_bytes([a, b]), u16::from_le_bytes([c, d]));
    }
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

/// The neighbours of an object of a packed pool, and of the gap behind it.
///
/// Objects of a page form a ring in the order of their addresses, which begins and ends at the entry of the page. So a gap needs
/// no entry of its own and no byte of the page: it reaches from the end of one neighbour to the begin of the other. Its size is
/// kept, so that to free an object looks at no other object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct GapEntry {
    /// Neighbours in the page.
    pub(super) before: u32,
    pub(super) after: u32,
    /// Neighbours in the list of gaps of about the same size. `UNLISTED`: the gap is in no list.
    pub(super) newer: u32,
    pub(super) older: u32,
    /// The size of the gap, also where it is in no list.
    pub(super) granules: u32,
}

impl GapEntry {
    /// An entry never used.
    pub const EMPTY: Self = Self {
        before: NO_OBJECT,
        after: NO_OBJECT,
        newer: Self::UNLISTED,
        older: Self::UNLISTED,
        granules: 0,
    };
    /// The classes of a packed pool, by which gaps and cold objects are found: four for each doubling of the length.
    pub const BINS: usize = 60;
    const UNLISTED: u32 = u32::MAX - 1;

    pub(super) const fn is_listed(&self) -> bool {
        self.newer != Self::UNLISTED
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
    /// Free slots in those pages. In a packed pool, the newest gap of about this size.
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
/// | table | length | length in a packed pool |
/// |---|---|---|
/// | objects | the most objects alive at once | the same |
/// | pages | the most pages committed at once; page numbers stay below it | the same |
/// | slots | pages × the slots of the smallest class in a page | 0 |
/// | classes | at least the number of size classes | [`GapEntry::BINS`] |
/// | gaps | 0 | objects + pages |
pub trait Tables {
    /// The owner's name for an object, by which it learns which objects were dropped.
    type Tag: Copy;

    /// How objects are laid out.
    const LAYOUT: PageLayout = PageLayout::Slabs;

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

    /// Borrows the gap table.
    fn gaps(&self) -> &[GapEntry] {
        &[]
    }
    /// Borrows the gap table for writing.
    fn gaps_mut(&mut self) -> &mut [GapEntry] {
        &mut []
    }
    /// Returns a bit for each class that has a gap.
    fn bins(&self) -> u64 {
        0
    }
    /// Keeps a bit for each class that has a gap.
    fn set_bins(&mut self, _bins: u64) {}
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

    const LAYOUT: PageLayout = S::LAYOUT;

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
    fn gaps(&self) -> &[GapEntry] {
        (**self).gaps()
    }
    fn gaps_mut(&mut self) -> &mut [GapEntry] {
        (**self).gaps_mut()
    }
    fn bins(&self) -> u64 {
        (**self).bins()
    }
    fn set_bins(&mut self, bins: u64) {
        (**self).set_bins(bins);
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

/// Tables of a packed pool, lent as slices.
///
/// ```
/// use coldpress_core::pool::{
///     ClassEntry, GapEntry, Limits, ObjectEntry, PackedTables, PageEntry, Pool, RegionPages, SizeClasses, Terms,
/// };
///
/// let tables = PackedTables {
///     objects: &mut [ObjectEntry::EMPTY; 30],
///     pages: &mut [PageEntry::EMPTY; 4],
///     classes: &mut [ClassEntry::EMPTY; GapEntry::BINS],
///     gaps: &mut [GapEntry::EMPTY; 34],
///     bins: 0,
/// };
/// // Of the sizes only the largest matters: the longest object.
/// let classes = SizeClasses::new(&[256])?;
/// let pages: RegionPages<[u8; 1024], 4> = RegionPages::new([0; 1024], 256);
/// let mut pool = Pool::new(pages, tables, classes, Limits::default())?;
/// pool.allocate(100, Terms::default(), 1u8)?;
/// pool.allocate(30, Terms::default(), 2)?;
/// // Both lie in one page, and lengths are rounded up to 4.
/// assert_eq!((pool.totals().pages, pool.totals().slot_bytes), (1, 100 + 32));
/// # Ok::<(), Box<dyn core::error::Error>>(())
/// ```
#[derive(Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct PackedTables<'a, T> {
    /// The handle table.
    pub objects: &'a mut [ObjectEntry<T>],
    /// The page table.
    pub pages: &'a mut [PageEntry],
    /// The class table.
    pub classes: &'a mut [ClassEntry],
    /// The gap table.
    pub gaps: &'a mut [GapEntry],
    /// A bit for each class that has a gap.
    pub bins: u64,
}

impl<T: Copy> Tables for PackedTables<'_, T> {
    type Tag = T;

    const LAYOUT: PageLayout = PageLayout::Packed;

    fn objects(&self) -> &[ObjectEntry<T>] {
        self.objects
    }
    fn objects_mut(&mut self) -> &mut [ObjectEntry<T>] {
        self.objects
    }
    fn pages(&self) -> &[PageEntry] {
        self.pages
    }
    fn pages_mut(&mut self) -> &mut [PageEntry] {
        self.pages
    }
    fn slots(&self) -> &[SlotEntry] {
        &[]
    }
    fn slots_mut(&mut self) -> &mut [SlotEntry] {
        &mut []
    }
    fn classes(&self) -> &[ClassEntry] {
        self.classes
    }
    fn classes_mut(&mut self) -> &mut [ClassEntry] {
        self.classes
    }
    fn gaps(&self) -> &[GapEntry] {
        self.gaps
    }
    fn gaps_mut(&mut self) -> &mut [GapEntry] {
        self.gaps
    }
    fn bins(&self) -> u64 {
        self.bins
    }
    fn set_bins(&mut self, bins: u64) {
        self.bins = bins;
    }
}
