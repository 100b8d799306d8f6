//! Every short history of a small packed pool.
//!
//! Pages of six granules, objects of one to four: small enough to walk all sequences of operations up to a depth, large enough for
//! gaps that are too small one by one and large enough together. After each operation everything is counted again, and each object
//! ever made is looked at through its handle.

extern crate std;

use std::vec::Vec;

use super::{
    AllocateError, ClassEntry, DropReason, Dropped, GapEntry, Handle, Limits, ObjectEntry, PageEntry,
    PageLayout, Pool, PoolError, RegionPages, SizeClasses, SlotEntry, Step, Tables, Terms,
};

/// The tables of a packed pool, of fixed size.
#[derive(Clone)]
pub(super) struct PackedArrays<T, const OBJECTS: usize, const PAGES: usize, const GAPS: usize> {
    pub(super) objects: [ObjectEntry<T>; OBJECTS],
    pages: [PageEntry; PAGES],
    classes: [ClassEntry; GapEntry::BINS],
    gaps: [GapEntry; GAPS],
    bins: u64,
}

impl<T: Copy, const OBJECTS: usize, const PAGES: usize, const GAPS: usize>
    PackedArrays<T, OBJECTS, PAGES, GAPS>
{
    pub(super) fn new() -> Self {
        Self {
            objects: [ObjectEntry::EMPTY; OBJECTS],
            pages: [PageEntry::EMPTY; PAGES],
            classes: [ClassEntry::EMPTY; GapEntry::BINS],
            gaps: [GapEntry::EMPTY; GAPS],
            bins: 0,
        }
    }
}

impl<T: Copy, const OBJECTS: usize, const PAGES: usize, const GAPS: usize> Tables
    for PackedArrays<T, OBJECTS, PAGES, GAPS>
{
    type Tag = T;

    const LAYOUT: PageLayout = PageLayout::Packed;

    fn objects(&self) -> &[ObjectEntry<T>] {
        &self.objects
    }
    fn objects_mut(&mut self) -> &mut [ObjectEntry<T>] {
        &mut self.objects
    }
    fn pages(&self) -> &[PageEntry] {
        &self.pages
    }
    fn pages_mut(&mut self) -> &mut [PageEntry] {
        &mut self.pages
    }
    fn slots(&self) -> &[SlotEntry] {
        &[]
    }
    fn slots_mut(&mut self) -> &mut [SlotEntry] {
        &mut []
    }
    fn classes(&self) -> &[ClassEntry] {
        &self.classes
    }
    fn classes_mut(&mut self) -> &mut [ClassEntry] {
        &mut self.classes
    }
    fn gaps(&self) -> &[GapEntry] {
        &self.gaps
    }
    fn gaps_mut(&mut self) -> &mut [GapEntry] {
        &mut self.gaps
    }
    fn bins(&self) -> u64 {
        self.bins
    }
    fn set_bins(&mut self, bins: u64) {
        self.bins = bins;
    }
}

const PAGE_BYTES: u32 = 24;
type Small<const PAGES: usize> = Pool<RegionPages<[u8; 72], PAGES>, PackedArrays<u8, 8, PAGES, 11>>;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Op {
    /// An object of one granule that stays.
    Tiny,
    /// Of two granules, evictable.
    Cache,
    /// Of two granules, with an end.
    Expiring,
    /// Of three granules, evictable.
    Middling,
    /// Of four granules, which evicts where there is no space.
    Large,
    FreeOldest,
    FreeSecond,
    FreeNewest,
    Pin,
    Unpin,
    Defragment,
    Emergency,
}

#[derive(Clone, Copy)]
struct Object {
    handle: Handle,
    tag: u8,
    len: u32,
    terms: Terms,
    pins: u8,
}

#[derive(Clone)]
struct World<const PAGES: usize> {
    pool: Small<PAGES>,
    budget: u32,
    live: Vec<Object>,
    gone: Vec<Handle>,
    made: u8,
}

impl<const PAGES: usize> World<PAGES> {
    fn new(budget: u32, limits: Limits) -> Self {
        let classes = SizeClasses::new(&[16]).unwrap();
        let region = RegionPages::new([0; 72], PAGE_BYTES);
        let pool = Pool::new(region, PackedArrays::new(), classes, limits).unwrap();
        Self { pool, budget, live: Vec::new(), gone: Vec::new(), made: 0 }
    }

    /// Whether the operation could do anything; one that can't is left out of the walk.
    fn apply(&mut self, op: Op) -> bool {
        let evictable = Terms { evictable: true, expires_s: None };
        match op {
            Op::Tiny => self.allocate(3, Terms::default()),
            Op::Cache => self.allocate(8, evictable),
            Op::Expiring => self.allocate(5, Terms { evictable: false, expires_s: Some(10) }),
            Op::Middling => self.allocate(12, evictable),
            Op::Large => self.allocate_evicting(),
            Op::FreeOldest if !self.live.is_empty() => self.free(0),
            Op::FreeSecond if self.live.len() > 2 => self.free(1),
            Op::FreeNewest if self.live.len() > 1 => self.free(self.live.len() - 1),
            Op::Pin if !self.live.is_empty() => {
                self.live[0].pins += u8::from(self.pool.pin(self.live[0].handle).is_ok());
            }
            Op::Unpin if !self.live.is_empty() => {
                let expected = if self.live[0].pins == 0 { Err(PoolError::NotPinned) } else { Ok(()) };
                assert_eq!(self.pool.unpin(self.live[0].handle), expected);
                self.live[0].pins = self.live[0].pins.saturating_sub(1);
            }
            Op::Defragment => self.defragment(),
            Op::Emergency => self.emergency(),
            _ => return false,
        }
        true
    }

    fn enter(&mut self, handle: Handle, tag: u8, len: u32, terms: Terms) {
        self.pool.bytes_mut(handle).unwrap().fill(tag);
        self.live.push(Object { handle, tag, len, terms, pins: 0 });
    }

    fn allocate(&mut self, len: u32, terms: Terms) {
        let before = self.pool.totals();
        let tag = self.made;
        self.made += 1;
        match self.pool.allocate(len, terms, tag) {
            Ok(handle) => self.enter(handle, tag, len, terms),
            Err(AllocateError::NoPages(_)) => {
                let gaps = self.gaps();
                assert!(!gaps.iter().any(|gap| *gap >= len), "refused with {gaps:?}");
                assert!(self.pool.pages().free_pages() == 0 && before.spare_pages == 0);
                assert_eq!(self.pool.totals().failures, before.failures + 1);
            }
            Err(error) => assert_eq!((error, self.live.len()), (AllocateError::NoHandles, 8)),
        }
    }

    fn allocate_evicting(&mut self) {
        let tag = self.made;
        self.made += 1;
        let (mut evicted, terms) = (Vec::new(), Terms { evictable: true, expires_s: None });
        let allocated = self.pool.allocate_evicting(16, terms, tag, |dropped| evicted.push(dropped));
        assert!(evicted.len() <= if allocated.is_ok() { 2 } else { 1 });
        for dropped in evicted {
            self.forget(dropped, |object| object.terms.evictable);
        }
        match allocated {
            Ok(handle) => self.enter(handle, tag, 16, terms),
            // Nothing that leaves enough space may go.
            Err(_) => {
                let may_go = |object: &Object| object.terms.evictable && object.pins == 0 && object.len == 16;
                assert!(!self.live.iter().any(may_go));
            }
        }
    }

    fn forget(&mut self, gone: Dropped<u8>, may_go: impl Fn(&Object) -> bool) {
        let at = self.live.iter().position(|object| object.handle == gone.handle).unwrap();
        let object = self.live.remove(at);
        assert!(object.tag == gone.tag && object.pins == 0 && may_go(&object));
        self.gone.push(gone.handle);
    }

    fn free(&mut self, at: usize) {
        let object = self.live[at];
        if object.pins > 0 {
            assert_eq!(self.pool.free(object.handle), Err(PoolError::Pinned));
        } else {
            assert_eq!(self.pool.free(object.handle), Ok(()));
            self.gone.push(self.live.remove(at).handle);
        }
    }

    fn defragment(&mut self) {
        let pinned = self.pinned_places();
        let (before, free_before) = (self.pool.totals(), self.pool.pages().free_pages());
        let step = self.pool.defragment_step(self.budget);
        let after = self.pool.totals();
        assert!(step.relocated_bytes <= u64::from(self.budget) && !step.failed);
        // Nothing is lost, and reported pages are pages that went back (I-POOL-2).
        assert_eq!((after.live_objects, after.slot_bytes), (before.live_objects, before.slot_bytes));
        self.check_released(&step, free_before);
        let progress = step.relocated_objects > 0 || step.pages_released > 0;
        assert!(step.done || progress, "a step that is not the last makes progress");
        assert_eq!(pinned, self.pinned_places(), "a pinned object moved");
        if step.done {
            self.check_no_page_can_be_freed();
        }
    }

    fn emergency(&mut self) {
        let (before, free_before) = (self.pool.totals(), self.pool.pages().free_pages());
        let mut dropped: Vec<Dropped<u8>> = Vec::new();
        let pinned = self.pinned_places();
        let step = self.pool.emergency_step(10, self.budget, |object| dropped.push(object));
        self.check_released(&step, free_before);
        assert_eq!(step.evicted_objects + step.expired_objects, u32::try_from(dropped.len()).unwrap());
        for gone in dropped {
            self.forget(gone, |object| match gone.reason {
                DropReason::Expired => object.terms.expires_s.is_some_and(|expires_s| expires_s <= 10),
                DropReason::Evicted => object.terms.evictable,
            });
            let is_evicted = gone.reason == DropReason::Evicted;
            assert!(!is_evicted || before.committed_bytes > self.pool.limits().low_watermark_bytes);
        }
        assert_eq!(pinned, self.pinned_places(), "a pinned object moved");
        if step.done {
            let evictable = self.live.iter().any(|object| object.terms.evictable && object.pins == 0);
            assert!(self.pool.is_within_low_watermark() || !evictable);
        }
    }

    fn check_released(&self, step: &Step, free_before: usize) {
        let released = self.pool.pages().free_pages() - free_before;
        assert_eq!(usize::try_from(step.pages_released).unwrap(), released, "I-POOL-2");
    }

    fn place(&self, object: &Object) -> (u16, u32) {
        let place = self.pool.resolve(object.handle).unwrap().place;
        (place.page, u32::from(place.slot) * 4)
    }

    fn pinned_places(&self) -> Vec<(u16, u32)> {
        self.live.iter().filter(|object| object.pins > 0).map(|object| self.place(object)).collect()
    }

    /// Begin and end of the objects of each page that has any, ascending.
    fn pages(&self) -> Vec<(u16, Vec<(u32, u32)>)> {
        let mut pages: Vec<(u16, Vec<(u32, u32)>)> = Vec::new();
        let mut places: Vec<_> =
            self.live.iter().map(|object| (self.place(object), object.len.next_multiple_of(4))).collect();
        places.sort_unstable();
        for ((page, begin), bytes) in places {
            match pages.last_mut().filter(|(last, _)| *last == page) {
                Some((_, objects)) => objects.push((begin, begin + bytes)),
                None => pages.push((page, std::vec![(begin, begin + bytes)])),
            }
        }
        pages
    }

    /// The bytes between the objects of each page, from the objects alone.
    fn gaps(&self) -> Vec<u32> {
        let mut gaps = Vec::new();
        for (_, objects) in self.pages() {
            let mut at = 0;
            for (begin, end) in objects {
                gaps.push(begin - at);
                at = end;
            }
            gaps.push(PAGE_BYTES - at);
        }
        gaps
    }

    /// Judged from the objects alone: the largest of the sparsest page without a pin fits no other such page, or they are too full
    /// for all of them.
    fn check_no_page_can_be_freed(&self) {
        assert_eq!(self.pool.totals().spare_pages, 0, "spare pages are gone");
        let pinned: Vec<u16> = self.pinned_places().into_iter().map(|(page, _)| page).collect();
        let pages = self.pages();
        let movable = pages.iter().filter(|(page, _)| !pinned.contains(page));
        let used: Vec<u32> =
            movable.map(|(_, objects)| objects.iter().map(|(begin, end)| end - begin).sum()).collect();
        let Some((at, least)) = used.iter().enumerate().min_by_key(|(_, used)| **used) else { return };
        let others = || used.iter().enumerate().filter(|(other, _)| *other != at).map(|(_, used)| *used);
        let free: u32 = others().map(|used| PAGE_BYTES - used).sum();
        // Objects of one granule fit every gap, so only larger ones can be in the way.
        let all_tiny = self.live.iter().all(|object| object.len <= 4 || object.pins > 0);
        assert!(free < *least || !all_tiny, "a move could still free a page");
        let fits_one = others().any(|used| PAGE_BYTES - used >= *least);
        assert!(!fits_one, "one page has space for all of the sparsest");
    }

    fn check(&self) {
        assert_eq!(self.pool.audit(), Ok(()));
        let totals = self.pool.totals();
        assert_eq!(usize::try_from(totals.live_objects).unwrap(), self.live.len());
        assert_eq!(totals.requested_bytes, self.live.iter().map(|object| u64::from(object.len)).sum::<u64>());
        let slot_bytes = |object: &Object| u64::from(object.len.next_multiple_of(4));
        assert_eq!(totals.slot_bytes, self.live.iter().map(slot_bytes).sum::<u64>());
        for (_, objects) in self.pages() {
            let mut ends =
                objects.iter().map(|(_, end)| *end).zip(objects.iter().skip(1).map(|(begin, _)| *begin));
            assert!(ends.all(|(end, begin)| end <= begin), "two objects overlap");
        }
        for object in &self.live {
            let bytes = self.pool.bytes(object.handle).expect("I-POOL-1: a live handle");
            assert!(
                bytes.len() == object.len as usize && bytes.iter().all(|byte| *byte == object.tag),
                "I-POOL-1"
            );
            assert_eq!(self.pool.tag(object.handle), Ok(object.tag), "I-POOL-1");
        }
        for handle in &self.gone {
            assert_eq!(self.pool.bytes(*handle), Err(PoolError::Stale), "I-POOL-1: a stale handle");
        }
    }
}

#[derive(Default)]
struct Walk {
    histories: usize,
    moves: usize,
    releases: usize,
    evictions: usize,
}

fn walk<const PAGES: usize>(world: &World<PAGES>, ops: &[Op], depth: usize, seen: &mut Walk) {
    if depth == 0 {
        seen.histories += 1;
        return;
    }
    for op in ops {
        let mut next = world.clone();
        if !next.apply(*op) {
            continue;
        }
        next.check();
        let (before, after) = (world.pool.totals(), next.pool.totals());
        seen.moves += usize::from(after.relocated_bytes > before.relocated_bytes);
        seen.releases += usize::from(*op == Op::Defragment && after.released_pages > before.released_pages);
        seen.evictions +=
            usize::from(matches!(op, Op::Emergency | Op::Large) && next.gone.len() > world.gone.len());
        walk(&next, ops, depth - 1, seen);
    }
}

fn after<const PAGES: usize>(budget: u32, limits: Limits, ops: &[Op]) -> World<PAGES> {
    let mut world = World::new(budget, limits);
    for op in ops {
        assert!(world.apply(*op));
        world.check();
    }
    world
}

fn limits(spare_pages_max: u16, low_watermark_bytes: u64) -> Limits {
    Limits { spare_pages_max, pins_max: 1, low_watermark_bytes, high_watermark_bytes: u64::MAX }
}

#[test]
fn packed_pages_every_history_of_five_keeps_the_invariants() {
    let ops = [
        Op::Tiny,
        Op::Cache,
        Op::Expiring,
        Op::Middling,
        Op::Large,
        Op::FreeOldest,
        Op::FreeSecond,
        Op::Pin,
        Op::Unpin,
        Op::Defragment,
        Op::Emergency,
    ];
    let mut seen = Walk::default();
    walk(&World::<2>::new(16, limits(1, 0)), &ops, 5, &mut seen);
    assert!(seen.histories > 50_000 && seen.evictions > 500, "{} histories", seen.histories);
}

#[test]
fn packed_scattered_pages_any_five_steps_keep_the_invariants() {
    // Two pages full of objects of one to three granules, of which some are gone: gaps before, between and behind the others.
    let start = [
        Op::Cache,
        Op::Tiny,
        Op::Middling,
        Op::Middling,
        Op::Cache,
        Op::Tiny,
        Op::FreeSecond,
        Op::FreeOldest,
    ];
    let ops = [
        Op::Tiny,
        Op::Cache,
        Op::Large,
        Op::FreeOldest,
        Op::FreeSecond,
        Op::FreeNewest,
        Op::Pin,
        Op::Unpin,
        Op::Defragment,
        Op::Emergency,
    ];
    for (budget, spare_pages_max, low) in [(16, 0, 24), (12, 1, 0), (72, 0, 48)] {
        let mut seen = Walk::default();
        walk(&after::<2>(budget, limits(spare_pages_max, low), &start), &ops, 5, &mut seen);
        assert!(seen.histories > 20_000 && seen.moves > 1_000, "{} moves", seen.moves);
    }
}

#[test]
fn packed_three_pages_any_five_steps_keep_the_invariants() {
    let start = [
        Op::Middling,
        Op::Middling,
        Op::Cache,
        Op::Large,
        Op::Cache,
        Op::Expiring,
        Op::Tiny,
        Op::FreeOldest,
        Op::FreeSecond,
    ];
    let ops = [
        Op::Tiny,
        Op::Middling,
        Op::Large,
        Op::FreeOldest,
        Op::FreeSecond,
        Op::FreeNewest,
        Op::Pin,
        Op::Unpin,
        Op::Defragment,
        Op::Emergency,
    ];
    for (budget, spare_pages_max, low) in [(16, 0, 24), (24, 2, 0)] {
        let mut seen = Walk::default();
        walk(&after::<3>(budget, limits(spare_pages_max, low), &start), &ops, 5, &mut seen);
        let Walk { moves, releases, evictions, .. } = seen;
        assert!(moves > 1_000 && releases > 100 && evictions > 500, "{moves} {releases} {evictions}");
    }
}

#[test]
fn gaps_too_small_one_by_one_are_joined_by_sliding() {
    // Two pages, each with objects of two granules at both ends of its gap of two: none has space for one of four.
    let start = [Op::Cache, Op::Cache, Op::Cache, Op::Cache, Op::Cache, Op::Cache, Op::FreeSecond];
    let mut world = after::<2>(72, limits(0, 0), &start);
    // The fourth of those left: the middle of the second page.
    world.free(3);
    assert_eq!(world.gaps(), [0, 8, 0, 0, 8, 0]);
    assert!(matches!(world.pool.allocate(16, Terms::default(), 9), Err(AllocateError::NoPages(_))));
    world.free(0);
    assert!(world.apply(Op::Defragment));
    world.check();
    assert_eq!(world.gaps(), [0, 0, 0, 0], "one page is full, and the other is gone");
    assert_eq!(world.pool.pages().free_pages(), 1);
}
