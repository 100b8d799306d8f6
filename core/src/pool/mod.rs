//! Pools of objects that can be moved, so that their memory can be given back.
//!
//! Memory is taken and returned in pages, through [`Pages`]. A page belongs to one size class at a time and is cut
//! into slots of that size; an object lies in one slot and is named by a [`Handle`], never by its address. This layout is called
//! [slabs](PageLayout::Slabs). In a [packed](PageLayout::Packed) pool, pages have no class, and objects of all lengths lie one
//! behind the other. All else is the same.
//!
//! ```text
//!  Handle ──► objects[index] ──► place: page 3, slot 1 ──► Pages::bytes(3)[1 × slot_bytes ..]
//!                  ▲                       │
//!                  └──── slots[3][1] ◄─────┘      both ends change when the object moves, the handle does not
//! ```
//!
//! The methods, in the order an owner meets them:
//! - objects: [`allocate`](Pool::allocate), [`allocate_evicting`](Pool::allocate_evicting), [`bytes`](Pool::bytes),
//!   [`touched_bytes`](Pool::touched_bytes), [`bytes_mut`](Pool::bytes_mut),
//!   [`write`](Pool::write), [`touch`](Pool::touch), [`set_expiry`](Pool::set_expiry), [`tag`](Pool::tag), [`free`](Pool::free);
//! - objects that must stay where they are: [`pin`](Pool::pin), [`unpin`](Pool::unpin);
//! - giving memory back, one bounded step per call: [`defragment_step`](Pool::defragment_step),
//!   [`emergency_step`](Pool::emergency_step);
//! - totals: [`totals`](Pool::totals), [`fragmentation`](Pool::fragmentation),
//!   [`occupancy`](Pool::occupancy), [`scan`](Pool::scan), [`audit`](Pool::audit);
//! - the end: [`close`](Pool::close).
//!
//! A page goes through these states:
//!
//! ```text
//!            1 ┌────────────────────────────────────────┐
//!  Absent ─────┤                                        ▼       4
//!     ▲        │ 3      Spare ─────────2────────────► Active ──────► Draining
//!     │        │          ▲                             │  ▲    5       │ │
//!     │        │          └────────────3────────────────┘  └────────────┘ │
//!     └────────┴──────────────────6──────────────────◄────────────────────┘
//! ```
//!
//! 1. `take_page`: an object finds no space, a page is committed.
//! 2. `take_page`: or a spare one is taken.
//! 3. `give_page`: the last object is gone; up to a limit the page is kept as a spare, else released.
//! 4. `begin_drain`, `begin_packing`: chosen as the sparsest page that can be emptied.
//! 5. `stop_drain`: an object in it was pinned, or its space or the slots set aside are needed by an allocation, or gone with
//!    their page.
//! 6. `release_page`: it was emptied.
//!
//! Slab allocation by size class is Bonwick's ("The Slab Allocator", USENIX 1994). Objects move from the sparsest pages into
//! the densest. Powers et al. ("Mesh", PLDI 2019) start from the other side: without handles one can only merge pages whose
//! holes happen to match.

mod audit;
mod classes;
mod coldness;
mod defragment;
mod emergency;
mod error;
mod gaps;
mod objects;
mod packing;
mod pages;
mod slots;
mod tables;
mod totals;

#[cfg(test)]
mod histories;
#[cfg(test)]
mod model;
#[cfg(test)]
mod packed_histories;

use core::fmt;

pub use audit::AuditError;
pub use classes::{SizeClasses, SizeClassesError};
pub use emergency::{DropReason, Dropped};
pub use error::{AllocateError, LimitsError, PoolError};
pub use objects::Terms;
pub use pages::{PageId, Pages, PagesError, RegionPages};
pub use tables::{
    ArrayTables, ClassEntry, GapEntry, LentTables, ObjectEntry, PackedTables, PageEntry, PageLayout,
    SlotEntry, Tables,
};
pub(crate) use totals::permille_missing;
pub use totals::{Fragmentation, PageOccupancy, PoolTotals, Step};

use defragment::Drain;
use emergency::Emergency;
use tables::{NO_OBJECT, NO_PAGE, PageState};

/// Names an object until it is freed, wherever it moves (I-POOL-1).
///
/// The index is used again, the generation never is: an entry whose generations are used up is retired. So a handle
/// kept too long is an error, never another object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Handle {
    /// The entry of the handle table.
    pub index: u32,
    /// Which use of that entry.
    pub generation: u32,
}

/// The limits of a pool, beside the lengths of its tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Limits {
    /// Pages kept committed when they empty, so that a class whose need changes does not take and return a page each time.
    pub spare_pages_max: u16,
    /// Objects that may be pinned at once. Each can hold a page against defragmentation.
    pub pins_max: u16,
    /// Committed bytes at which an emergency cleanup stops evicting.
    pub low_watermark_bytes: u64,
    /// Committed bytes from which the pool says that it needs one.
    pub high_watermark_bytes: u64,
}

/// The default keeps one spare page, pins nothing, and has no watermarks.
impl Default for Limits {
    fn default() -> Self {
        Self {
            spare_pages_max: 1,
            pins_max: 0,
            low_watermark_bytes: u64::MAX,
            high_watermark_bytes: u64::MAX,
        }
    }
}

/// A pool of movable objects over borrowed pages and lent tables.
///
/// It is owned by one place and has no interior sharing; for several threads or an interrupt put it behind a suitable lock, and
/// hold that for one call.
///
/// ```
/// use coldpress_core::pool::{ArrayTables, Limits, Pool, RegionPages, SizeClasses, Terms};
///
/// let classes = SizeClasses::new(&[64, 128])?;
/// let pages: RegionPages<[u8; 1024], 4> = RegionPages::new([0; 1024], 256);
/// // 16 objects in 4 pages of at most 256 / 64 slots, each tagged with a number of the owner's.
/// let tables: ArrayTables<u16, 16, 4, 16, 2> = ArrayTables::new();
/// let mut pool = Pool::new(pages, tables, classes, Limits::default())?;
///
/// let kept = pool.allocate(5, Terms::default(), 1)?;
/// pool.write(kept, 0, b"hello")?;
/// while !pool.defragment_step(256).done {}
/// assert_eq!(pool.bytes(kept)?, b"hello");
///
/// pool.free(kept)?;
/// assert!(pool.bytes(kept).is_err());
/// # Ok::<(), Box<dyn core::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Pool<P, S> {
    pages: P,
    tables: S,
    limits: Limits,
    page_bytes: u32,
    /// Slots of the smallest class in a page: the length of a row of the slot table.
    row: u16,
    classes: u8,
    totals: PoolTotals,
    spare_page: u16,
    free_object: u32,
    /// Handle entries from here on were never used.
    fresh_object: u32,
    accesses: u32,
    drain: Option<Drain>,
    emergency: Emergency,
}

impl<P: Pages, S: Tables> Pool<P, S> {
    /// Makes an empty pool. The former content of the tables is forgotten, and so are handles into it.
    ///
    /// # Errors
    /// [`LimitsError`] names the table that is too short, the class that does not fit a page, or the limit that
    /// contradicts another. Nothing is committed then.
    ///
    /// # Bounds
    /// Writes each table once: the only call whose work grows with them, except [`audit`](Self::audit).
    pub fn new(
        pages: P,
        mut tables: S,
        classes: SizeClasses<'_>,
        limits: Limits,
    ) -> Result<Self, LimitsError> {
        let page_bytes = pages.page_bytes();
        let sizes = classes.slot_bytes();
        let (Some(smallest), Some(largest)) = (sizes.first(), sizes.last()) else {
            return Err(LimitsError::ClassTable);
        };
        if *largest > page_bytes {
            return Err(LimitsError::ClassLargerThanPage);
        }
        let row = if Self::IS_PACKED {
            0
        } else {
            let row = page_bytes.checked_div(*smallest).and_then(|slots| u16::try_from(slots).ok());
            row.filter(|row| *row < tables::NO_SLOT).ok_or(LimitsError::TooManySlotsInPage)?
        };
        if limits.low_watermark_bytes > limits.high_watermark_bytes {
            return Err(LimitsError::Watermarks);
        }
        let pages_len = tables.pages().len();
        if pages_len == 0 || pages_len > usize::from(NO_PAGE) {
            return Err(LimitsError::PageTable);
        }
        let objects_len = tables.objects().len();
        if objects_len == 0 || objects_len >= SlotEntry::OBJECTS_MAX {
            return Err(LimitsError::ObjectTable);
        }
        let classes_len = if Self::IS_PACKED { GapEntry::BINS } else { sizes.len() };
        let count = u8::try_from(classes_len).map_err(|_| LimitsError::ClassTable)?;
        if tables.classes().len() < classes_len {
            return Err(LimitsError::ClassTable);
        }
        if Self::IS_PACKED {
            if tables.gaps().len() < objects_len.saturating_add(pages_len) {
                return Err(LimitsError::GapTable);
            }
            tables.gaps_mut().fill(GapEntry::EMPTY);
            tables.set_bins(0);
            // Of the sizes only the largest matters: the longest object.
            tables.classes_mut().fill(ClassEntry {
                slot_bytes: *largest,
                free: NO_OBJECT,
                ..ClassEntry::EMPTY
            });
        } else {
            if tables.slots().len().checked_div(usize::from(row)).is_none_or(|rows| rows < pages_len) {
                return Err(LimitsError::SlotTable);
            }
            for (entry, slot_bytes) in tables.classes_mut().iter_mut().zip(sizes) {
                let slots_per_page =
                    page_bytes.checked_div(*slot_bytes).and_then(|slots| u16::try_from(slots).ok());
                let slots_per_page = slots_per_page.ok_or(LimitsError::TooManySlotsInPage)?;
                *entry = ClassEntry { slot_bytes: *slot_bytes, slots_per_page, ..ClassEntry::EMPTY };
            }
        }
        tables.objects_mut().fill(ObjectEntry::EMPTY);
        tables.pages_mut().fill(PageEntry::EMPTY);
        tables.slots_mut().fill(SlotEntry::EMPTY);
        Ok(Self {
            pages,
            tables,
            limits,
            page_bytes,
            row,
            classes: count,
            totals: PoolTotals::default(),
            spare_page: NO_PAGE,
            free_object: NO_OBJECT,
            fresh_object: 0,
            accesses: 0,
            drain: None,
            emergency: Emergency::Idle,
        })
    }

    /// Returns the totals as they are.
    #[must_use]
    pub fn totals(&self) -> PoolTotals {
        self.totals
    }

    /// Returns the shares of memory that hold nothing, measured on the pool as it is.
    #[must_use]
    pub fn fragmentation(&self) -> Fragmentation {
        self.totals.fragmentation()
    }

    /// Returns the limits.
    #[must_use]
    pub fn limits(&self) -> Limits {
        self.limits
    }

    /// Returns the size of a page in bytes, the unit in which memory is reclaimed.
    #[must_use]
    pub fn page_bytes(&self) -> u32 {
        self.page_bytes
    }

    /// Returns the length of the largest object that fits a slot.
    #[must_use]
    pub fn len_max(&self) -> u32 {
        let last = usize::from(self.classes.saturating_sub(1));
        self.tables.classes().get(last).map_or(0, |class| class.slot_bytes)
    }

    /// Tells whether the committed bytes have reached the high watermark, so that an emergency cleanup is due.
    #[must_use]
    pub fn is_above_high_watermark(&self) -> bool {
        self.totals.committed_bytes >= self.limits.high_watermark_bytes
    }

    /// Tells whether the committed bytes are within the low watermark.
    #[must_use]
    pub fn is_within_low_watermark(&self) -> bool {
        self.totals.committed_bytes <= self.limits.low_watermark_bytes
    }

    /// Borrows the pages, for stats of their own.
    #[must_use]
    pub fn pages(&self) -> &P {
        &self.pages
    }

    /// Returns how full each committed page is.
    pub fn occupancy(&self) -> impl Iterator<Item = PageOccupancy> + '_ {
        (0u16..).zip(self.tables.pages()).filter_map(|(page, entry)| {
            if Self::IS_PACKED && matches!(entry.state, PageState::Active | PageState::Draining) {
                return Some(self.packed_occupancy(page, entry));
            }
            let class = match entry.state {
                PageState::Absent => return None,
                PageState::Spare => None,
                PageState::Active | PageState::Draining => {
                    self.tables.classes().get(usize::from(entry.class))
                }
            };
            Some(PageOccupancy {
                page,
                slot_bytes: class.map_or(0, |class| class.slot_bytes),
                used_slots: entry.used,
                slots: class.map_or(0, |class| class.slots_per_page),
                pinned_objects: entry.pinned,
            })
        })
    }

    /// Releases every page and gives back what was lent. All objects are gone.
    ///
    /// # Bounds
    /// Looks at each page once.
    pub fn close(mut self) -> (P, S) {
        for (page, entry) in (0u16..).zip(self.tables.pages_mut().iter_mut()) {
            if entry.state != PageState::Absent {
                self.pages.release(PageId(page));
                *entry = PageEntry::EMPTY;
            }
        }
        (self.pages, self.tables)
    }
}

impl<P, S> fmt::Debug for Pool<P, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool")
            .field("page_bytes", &self.page_bytes)
            .field("limits", &self.limits)
            .field("totals", &self.totals)
            .field("drain", &self.drain)
            .field("emergency", &self.emergency)
            .finish_non_exhaustive()
    }
}

#[cfg(feature = "defmt")]
impl<P, S> defmt::Format for Pool<P, S> {
    fn format(&self, f: defmt::Formatter<'_>) {
        defmt::write!(f, "Pool {{ page_bytes: {=u32}, totals: {} }}", self.page_bytes, self.totals);
    }
}
