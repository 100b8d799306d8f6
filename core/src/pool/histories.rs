//! Every short history of a small pool.
//!
//! Two classes of which one has two or four slots to a page, two or three pages, a handle table of eight. They are small enough
//! that all sequences of operations up to a depth can be walked. They are large enough to empty a page into another, for a
//! reservation to meet an allocation, and for a pin to meet a page being emptied. After each operation everything is counted
//! again, and each object ever made is looked at through its handle.

extern crate std;

use std::vec::Vec;

use super::{
    AllocateError, ArrayTables, DropReason, Dropped, Handle, Limits, PageState, Pool, PoolError, RegionPages,
    SizeClasses, Step, Terms,
};

type Small<const PAGES: usize> = Pool<RegionPages<[u8; 96], PAGES>, ArrayTables<u8, 8, PAGES, 12, 2>>;

/// Two slots of the small class to a page, and all of them may move in one step.
const TWO_SLOTS: Shape = Shape { page_bytes: 16, budget: 16 };
/// Four slots to a page, and one object moves per step: a page being emptied waits for the next one.
const FOUR_SLOTS: Shape = Shape { page_bytes: 32, budget: 8 };

#[derive(Clone, Copy)]
struct Shape {
    page_bytes: u32,
    budget: u32,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Op {
    Keep,
    Cache,
    Expiring,
    Large,
    FreeOldest,
    FreeNewest,
    Pin,
    Unpin,
    Touch,
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
    shape: Shape,
    pool: Small<PAGES>,
    live: Vec<Object>,
    gone: Vec<Handle>,
    made: u8,
}

impl<const PAGES: usize> World<PAGES> {
    fn new(shape: Shape, limits: Limits) -> Self {
        let classes = SizeClasses::new(&[8, 16]).unwrap();
        let pool =
            Pool::new(RegionPages::new([0; 96], shape.page_bytes), ArrayTables::new(), classes, limits)
                .unwrap();
        Self { shape, pool, live: Vec::new(), gone: Vec::new(), made: 0 }
    }

    /// Whether the operation could do anything; one that can't is left out of the walk.
    fn apply(&mut self, op: Op) -> bool {
        match op {
            Op::Keep => self.allocate(7, Terms::default()),
            Op::Cache => self.allocate(8, Terms { evictable: true, expires_s: None }),
            Op::Expiring => self.allocate(5, Terms { evictable: false, expires_s: Some(10) }),
            Op::Large => self.allocate(16, Terms { evictable: true, expires_s: None }),
            Op::FreeOldest if !self.live.is_empty() => self.free(0),
            Op::FreeNewest if self.live.len() > 1 => self.free(self.live.len() - 1),
            Op::Pin if !self.live.is_empty() => self.pin(),
            Op::Unpin if !self.live.is_empty() => self.unpin(),
            Op::Touch if self.live.len() > 1 => self.pool.touch(self.live[0].handle).unwrap(),
            Op::Defragment => self.defragment(),
            Op::Emergency => self.emergency(),
            _ => return false,
        }
        true
    }

    fn allocate(&mut self, len: u32, terms: Terms) {
        let before = self.pool.totals();
        let tag = self.made;
        self.made += 1;
        match self.pool.allocate(len, terms, tag) {
            Ok(handle) => {
                self.pool.bytes_mut(handle).unwrap().fill(tag);
                self.live.push(Object { handle, tag, len, terms, pins: 0 });
            }
            Err(AllocateError::NoPages(_)) => {
                let class_bytes = if len > 8 { 16 } else { 8 };
                let has_space = self.pool.occupancy().any(|page| {
                    page.slot_bytes == 0 || (page.slot_bytes == class_bytes && page.used_slots < page.slots)
                });
                assert!(!has_space && self.pool.pages().free_pages() == 0, "refused with space left");
                assert_eq!(self.pool.totals().failures, before.failures + 1);
            }
            Err(error) => assert_eq!((error, self.live.len()), (AllocateError::NoHandles, 8)),
        }
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

    fn pin(&mut self) {
        if self.pool.pin(self.live[0].handle).is_ok() {
            self.live[0].pins += 1;
        }
    }

    fn unpin(&mut self) {
        let expected = if self.live[0].pins == 0 { Err(PoolError::NotPinned) } else { Ok(()) };
        assert_eq!(self.pool.unpin(self.live[0].handle), expected);
        self.live[0].pins = self.live[0].pins.saturating_sub(1);
    }

    fn defragment(&mut self) {
        let pinned: Vec<_> = self
            .places()
            .into_iter()
            .zip(&self.live)
            .filter(|(_, object)| object.pins > 0)
            .map(|(place, _)| place)
            .collect();
        let (before, free_before) = (self.pool.totals(), self.pool.pages().free_pages());
        let sparsest = self.sparsest();
        let begins = self.pool.drain.is_none();
        let step = self.pool.defragment_step(self.shape.budget);
        let after = self.pool.totals();
        assert!(step.relocated_bytes <= u64::from(self.shape.budget) && !step.failed);
        // Nothing is lost, and reported pages are pages that went back (I-POOL-2).
        assert_eq!(after.live_objects, before.live_objects);
        self.check_released(&step, free_before);
        if begins && !step.done {
            assert_eq!(step.pages_released > 0, self.pool.drain.is_none());
            let victim = sparsest.expect("a page was chosen");
            let emptied = victim.1 <= step.relocated_objects;
            assert_eq!(emptied, step.pages_released > 0, "the sparsest page was chosen");
        }
        assert!(step.done || step.relocated_objects > 0, "a step that is not the last makes progress");
        let now: Vec<_> = self
            .places()
            .into_iter()
            .zip(&self.live)
            .filter(|(_, object)| object.pins > 0)
            .map(|(place, _)| place)
            .collect();
        assert_eq!(pinned, now, "a pinned object moved");
        if step.done {
            self.check_no_page_can_be_freed();
        }
    }

    fn emergency(&mut self) {
        let (before, free_before) = (self.pool.totals(), self.pool.pages().free_pages());
        let mut dropped: Vec<Dropped<u8>> = Vec::new();
        let step = self.pool.emergency_step(10, self.shape.budget, |object| dropped.push(object));
        self.check_released(&step, free_before);
        assert_eq!(step.evicted_objects + step.expired_objects, u32::try_from(dropped.len()).unwrap());
        for gone in dropped {
            let at = self.live.iter().position(|object| object.handle == gone.handle).unwrap();
            let object = self.live.remove(at);
            assert_eq!((object.tag, object.pins), (gone.tag, 0));
            match gone.reason {
                DropReason::Expired => {
                    assert!(object.terms.expires_s.is_some_and(|expires_s| expires_s <= 10))
                }
                DropReason::Evicted => {
                    assert!(object.terms.evictable);
                    assert!(before.committed_bytes > self.pool.limits().low_watermark_bytes);
                    assert_eq!(self.pool.totals().spare_pages, 0, "spare pages go first");
                }
            }
            self.gone.push(gone.handle);
        }
        if step.done {
            let evictable = self.live.iter().any(|object| object.terms.evictable && object.pins == 0);
            assert!(self.pool.is_within_low_watermark() || !evictable);
        }
    }

    fn check_released(&self, step: &Step, free_before: usize) {
        let released = self.pool.pages().free_pages() - free_before;
        assert_eq!(usize::try_from(step.pages_released).unwrap(), released, "I-POOL-2");
    }

    fn places(&self) -> Vec<(u16, u16)> {
        let place = |object: &Object| self.pool.resolve(object.handle).unwrap().place;
        self.live.iter().map(|object| (place(object).page, place(object).slot)).collect()
    }

    /// The slot bytes and objects of the sparsest page without a pin whose class has a page's worth of free slots.
    fn sparsest(&self) -> Option<(u32, u32)> {
        let pages: Vec<_> = self.pool.occupancy().filter(|page| page.slot_bytes > 0).collect();
        let can_move = |victim: &&super::PageOccupancy| {
            let of_class = pages.iter().filter(|page| page.slot_bytes == victim.slot_bytes);
            let free: u16 = of_class.map(|page| page.slots - page.used_slots).sum();
            victim.pinned_objects == 0 && victim.slot_bytes <= self.shape.budget && free >= victim.slots
        };
        let used = pages
            .iter()
            .filter(can_move)
            .map(|page| (u32::from(page.used_slots) * page.slot_bytes, u32::from(page.used_slots)));
        used.min()
    }

    /// Judged from the pages alone: no unpinned page's objects fit into the free slots of the rest of its class.
    fn check_no_page_can_be_freed(&self) {
        let movable = |page: &super::PageOccupancy| (1..=self.shape.budget).contains(&page.slot_bytes);
        let pages: Vec<_> = self.pool.occupancy().filter(movable).collect();
        for victim in pages.iter().filter(|page| page.pinned_objects == 0) {
            let others =
                pages.iter().filter(|page| page.slot_bytes == victim.slot_bytes && page.page != victim.page);
            let free: u16 = others.map(|page| page.slots - page.used_slots).sum();
            assert!(free < victim.used_slots, "a move could still free page {}", victim.page);
        }
    }

    fn check(&self) {
        assert_eq!(self.pool.audit(), Ok(()));
        let totals = self.pool.totals();
        assert_eq!(usize::try_from(totals.live_objects).unwrap(), self.live.len());
        assert_eq!(totals.requested_bytes, self.live.iter().map(|object| u64::from(object.len)).sum::<u64>());
        let committed =
            self.pool.tables_pages().iter().filter(|page| page.state != PageState::Absent).count();
        assert_eq!(totals.committed_bytes, committed as u64 * u64::from(self.shape.page_bytes));
        assert_eq!(PAGES - committed, self.pool.pages().free_pages());
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

impl<const PAGES: usize> Small<PAGES> {
    fn tables_pages(&self) -> &[super::PageEntry] {
        super::Tables::pages(&self.tables)
    }
}

struct Walk {
    histories: usize,
    moves: usize,
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
        seen.moves += usize::from(next.pool.totals().relocated_bytes > world.pool.totals().relocated_bytes);
        seen.evictions += usize::from(*op == Op::Emergency && next.live.len() < world.live.len());
        walk(&next, ops, depth - 1, seen);
    }
}

fn after<const PAGES: usize>(shape: Shape, limits: Limits, ops: &[Op]) -> World<PAGES> {
    let mut world = World::new(shape, limits);
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
fn two_pages_every_history_of_six_keeps_the_invariants() {
    let ops = [
        Op::Keep,
        Op::Cache,
        Op::Expiring,
        Op::FreeOldest,
        Op::FreeNewest,
        Op::Pin,
        Op::Unpin,
        Op::Defragment,
        Op::Emergency,
    ];
    let mut seen = Walk { histories: 0, moves: 0, evictions: 0 };
    walk(&World::<2>::new(TWO_SLOTS, limits(1, 0)), &ops, 6, &mut seen);
    assert!(seen.histories > 100_000 && seen.evictions > 1_000, "{} histories", seen.histories);
}

#[test]
fn two_scattered_pages_any_five_steps_keep_the_invariants() {
    // Two pages of two slots, one object in each: the smallest pool in which a move frees a page.
    let start = [Op::Keep, Op::Cache, Op::Cache, Op::Cache, Op::FreeOldest, Op::FreeNewest];
    let ops = [
        Op::Keep,
        Op::Cache,
        Op::FreeOldest,
        Op::FreeNewest,
        Op::Pin,
        Op::Unpin,
        Op::Touch,
        Op::Defragment,
        Op::Emergency,
    ];
    let mut seen = Walk { histories: 0, moves: 0, evictions: 0 };
    walk(&after::<2>(TWO_SLOTS, limits(0, 16), &start), &ops, 5, &mut seen);
    assert!(seen.histories > 10_000 && seen.moves > 1_000 && seen.evictions > 100, "{} moves", seen.moves);
}

#[test]
fn three_pages_two_classes_any_five_steps_keep_the_invariants() {
    let start = [Op::Keep, Op::Keep, Op::Cache, Op::Cache, Op::FreeOldest, Op::FreeNewest];
    let ops = [
        Op::Keep,
        Op::Cache,
        Op::Expiring,
        Op::Large,
        Op::FreeOldest,
        Op::FreeNewest,
        Op::Pin,
        Op::Unpin,
        Op::Defragment,
        Op::Emergency,
    ];
    for (spare_pages_max, low) in [(0, 0), (1, 16), (2, 48)] {
        let mut seen = Walk { histories: 0, moves: 0, evictions: 0 };
        walk(&after::<3>(TWO_SLOTS, limits(spare_pages_max, low), &start), &ops, 5, &mut seen);
        assert!(seen.histories > 10_000 && seen.moves > 1_000, "{} moves", seen.moves);
    }
}

#[test]
fn four_slots_moved_singly_any_six_steps_keep_the_invariants() {
    // Two objects in each of two pages: between two steps a page is half emptied, and meets what comes.
    let start =
        [Op::Keep, Op::Cache, Op::Keep, Op::Cache, Op::Cache, Op::Keep, Op::FreeOldest, Op::FreeOldest];
    let ops = [
        Op::Keep,
        Op::Cache,
        Op::FreeOldest,
        Op::FreeNewest,
        Op::Pin,
        Op::Unpin,
        Op::Defragment,
        Op::Emergency,
    ];
    let mut seen = Walk { histories: 0, moves: 0, evictions: 0 };
    walk(&after::<2>(FOUR_SLOTS, limits(0, 32), &start), &ops, 6, &mut seen);
    walk(&after::<3>(FOUR_SLOTS, limits(1, 64), &start), &ops, 5, &mut seen);
    assert!(seen.histories > 100_000 && seen.moves > 10_000, "{} moves", seen.moves);
}

#[test]
fn unequal_pages_defragmentation_moves_the_fewest_bytes() {
    // Three objects in the first page, one in the second.
    let start = [Op::Keep, Op::Keep, Op::Keep, Op::Keep, Op::Keep, Op::FreeOldest];
    let mut world = after::<3>(FOUR_SLOTS, limits(0, 0), &start);
    assert!(world.apply(Op::Defragment));
    let totals = world.pool.totals();
    assert_eq!((totals.released_pages, totals.relocated_bytes), (1, 7));
}
