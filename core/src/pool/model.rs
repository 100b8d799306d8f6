//! Long random histories, compared with a map.

extern crate std;

use std::collections::HashMap;
use std::vec::Vec;

use proptest::prelude::*;
use proptest::strategy::Union;

use super::{
    AllocateError, DropReason, Handle, LentTables, Limits, ObjectEntry, PageEntry, Pages, PagesError, Pool,
    PoolError, RegionPages, SizeClasses, SlotEntry, Tables, Terms, packed_histories::PackedArrays,
    tables::ClassEntry,
};

const PAGE_BYTES: u32 = 256;
const CLASSES: [u32; 4] = [16, 24, 64, 200];

#[derive(Clone, Debug)]
enum Op {
    Allocate { len: u32, evictable: bool, expires_s: Option<u32> },
    Free(usize),
    Rewrite(usize),
    Touch(usize),
    Pin(usize),
    Unpin(usize),
    AllocateEvicting(u32),
    Defragment(u32),
    Emergency { now_s: u32, bytes_max: u32 },
}

fn op() -> impl Strategy<Value = Op> {
    let allocate = (0u32..210, any::<bool>(), proptest::option::of(0u32..100))
        .prop_map(|(len, evictable, expires_s)| Op::Allocate { len, evictable, expires_s });
    let emergency = (0u32..100, 0u32..400).prop_map(|(now_s, bytes_max)| Op::Emergency { now_s, bytes_max });
    Union::new_weighted(std::vec![
        (8, allocate.boxed()),
        (4, any::<usize>().prop_map(Op::Free).boxed()),
        (1, any::<usize>().prop_map(Op::Rewrite).boxed()),
        (2, any::<usize>().prop_map(Op::Touch).boxed()),
        (1, any::<usize>().prop_map(Op::Pin).boxed()),
        (1, any::<usize>().prop_map(Op::Unpin).boxed()),
        (1, (0u32..210).prop_map(Op::AllocateEvicting).boxed()),
        (4, (0u32..400).prop_map(Op::Defragment).boxed()),
        (1, emergency.boxed()),
    ])
}

struct Object {
    handle: Handle,
    bytes: Vec<u8>,
    terms: Terms,
    pins: u32,
    touched: u64,
}

/// The objects that the pool should hold, by tag.
#[derive(Default)]
struct Model {
    live: HashMap<u64, Object>,
    gone: Vec<Handle>,
    made: u64,
    clock: u64,
}

impl Model {
    fn pick(&self, at: usize) -> Option<u64> {
        let mut tags: Vec<u64> = self.live.keys().copied().collect();
        tags.sort_unstable();
        (!tags.is_empty()).then(|| tags[at % tags.len()])
    }

    fn tick(&mut self) -> u64 {
        self.clock += 1;
        self.clock
    }
}

fn contents(tag: u64, len: u32) -> Vec<u8> {
    (0..len).map(|at| u8::try_from((tag * 31 + u64::from(at)) % 251).unwrap()).collect()
}

type Any<S> = Pool<RegionPages<Vec<u8>, 12>, S>;

fn allocate(pool: &mut Any<impl Tables<Tag = u64>>, model: &mut Model, len: u32, terms: Terms) {
    let tag = model.made;
    model.made += 1;
    match pool.allocate(len, terms, tag) {
        Ok(handle) => {
            let bytes = contents(tag, len);
            pool.write(handle, 0, &bytes).unwrap();
            let touched = model.tick();
            model.live.insert(tag, Object { handle, bytes, terms, pins: 0, touched });
        }
        Err(AllocateError::TooLarge) => assert!(len > 200),
        Err(AllocateError::NoHandles) => assert_eq!(model.live.len(), 40),
        Err(error) => assert_eq!(error, AllocateError::NoPages(PagesError::Exhausted)),
    }
}

fn apply(pool: &mut Any<impl Tables<Tag = u64>>, model: &mut Model, op: &Op) {
    match *op {
        Op::Allocate { len, evictable, expires_s } => {
            allocate(pool, model, len, Terms { expires_s, evictable });
        }
        Op::Free(at) => {
            let Some(tag) = model.pick(at) else { return };
            let object = &model.live[&tag];
            if object.pins > 0 {
                assert_eq!(pool.free(object.handle), Err(PoolError::Pinned));
            } else {
                assert_eq!(pool.free(object.handle), Ok(()));
                model.gone.push(model.live.remove(&tag).unwrap().handle);
            }
        }
        Op::Rewrite(at) => {
            let Some(tag) = model.pick(at) else { return };
            let object = model.live.get_mut(&tag).unwrap();
            object.bytes.iter_mut().for_each(|byte| *byte ^= 0x55);
            pool.write(object.handle, 0, &object.bytes).unwrap();
        }
        Op::Touch(at) => {
            let Some(tag) = model.pick(at) else { return };
            let now = model.tick();
            let object = model.live.get_mut(&tag).unwrap();
            if now.is_multiple_of(2) {
                pool.touch(object.handle).unwrap();
            } else {
                assert_eq!(pool.touched_bytes(object.handle), Ok(object.bytes.as_slice()), "I-POOL-1");
            }
            object.touched = now;
        }
        Op::Pin(at) => {
            let Some(tag) = model.pick(at) else { return };
            let object = model.live.get_mut(&tag).unwrap();
            object.pins += u32::from(pool.pin(object.handle).is_ok());
        }
        Op::Unpin(at) => {
            let Some(tag) = model.pick(at) else { return };
            let now = model.tick();
            let object = model.live.get_mut(&tag).unwrap();
            assert_eq!(pool.unpin(object.handle).is_ok(), object.pins > 0);
            if object.pins == 1 {
                object.touched = now;
            }
            object.pins = object.pins.saturating_sub(1);
        }
        Op::AllocateEvicting(len) => allocate_evicting(pool, model, len),
        Op::Defragment(bytes_max) => {
            let before = pool.totals();
            let free = pool.pages().free_pages();
            let step = pool.defragment_step(bytes_max);
            assert!(step.relocated_bytes <= u64::from(bytes_max) && !step.failed);
            let released = u32::try_from(pool.pages().free_pages() - free).unwrap();
            assert_eq!(step.pages_released, released, "I-POOL-2");
            assert_eq!(pool.totals().slot_bytes, before.slot_bytes, "a move loses nothing");
        }
        Op::Emergency { now_s, bytes_max } => emergency(pool, model, now_s, bytes_max),
    }
}

fn allocate_evicting(pool: &mut Any<impl Tables<Tag = u64>>, model: &mut Model, len: u32) {
    let tag = model.made;
    model.made += 1;
    let mut evicted = Vec::new();
    let terms = Terms { evictable: true, expires_s: None };
    let allocated = pool.allocate_evicting(len, terms, tag, |dropped| evicted.push(dropped));
    assert!(evicted.len() <= if allocated.is_ok() { 2 } else { 1 });
    for dropped in evicted {
        let object = model.live.remove(&dropped.tag).unwrap();
        assert!(object.handle == dropped.handle && object.terms.evictable && object.pins == 0);
        model.gone.push(dropped.handle);
    }
    if let Ok(handle) = allocated {
        let bytes = contents(tag, len);
        pool.write(handle, 0, &bytes).unwrap();
        let touched = model.tick();
        model.live.insert(tag, Object { handle, bytes, terms, pins: 0, touched });
    }
}

fn emergency(pool: &mut Any<impl Tables<Tag = u64>>, model: &mut Model, now_s: u32, bytes_max: u32) {
    let free = pool.pages().free_pages();
    let (mut released, mut dropped) = (0, Vec::new());
    for round in 0.. {
        assert!(round < 1_000, "an emergency cleanup ends");
        let step = pool.emergency_step(now_s, bytes_max, |object| dropped.push(object));
        released += step.pages_released;
        if step.done {
            break;
        }
    }
    assert_eq!(usize::try_from(released).unwrap(), pool.pages().free_pages() - free, "I-POOL-2");
    let mut coldest_first = 0;
    for gone in dropped {
        let object = model.live.remove(&gone.tag).unwrap();
        assert_eq!((object.handle, object.pins), (gone.handle, 0));
        match gone.reason {
            DropReason::Expired => {
                assert!(object.terms.expires_s.is_some_and(|expires_s| expires_s <= now_s))
            }
            DropReason::Evicted => {
                assert!(object.terms.evictable && object.touched > coldest_first, "the coldest goes first");
                coldest_first = object.touched;
            }
        }
        model.gone.push(gone.handle);
    }
    let unpinned = || model.live.values().filter(|object| object.pins == 0);
    assert!(!unpinned().any(|object| object.terms.expires_s.is_some_and(|expires_s| expires_s <= now_s)));
    assert!(pool.is_within_low_watermark() || !unpinned().any(|object| object.terms.evictable));
}

fn check(pool: &Any<impl Tables<Tag = u64>>, model: &Model) {
    assert_eq!(pool.audit(), Ok(()));
    assert_eq!(usize::try_from(pool.totals().live_objects).unwrap(), model.live.len());
    for (tag, object) in &model.live {
        assert_eq!(pool.bytes(object.handle), Ok(object.bytes.as_slice()), "I-POOL-1");
        assert_eq!(pool.tag(object.handle), Ok(*tag), "I-POOL-1");
    }
    for handle in &model.gone {
        assert_eq!(pool.bytes(*handle), Err(PoolError::Stale), "I-POOL-1");
    }
}

fn pool_of<S: Tables<Tag = u64>>(tables: S, spare_pages_max: u16, low_pages: u64) -> Any<S> {
    let region = RegionPages::new(std::vec![0; 12 * 256], PAGE_BYTES);
    let limits = Limits {
        spare_pages_max,
        pins_max: 3,
        low_watermark_bytes: low_pages * u64::from(PAGE_BYTES),
        high_watermark_bytes: u64::MAX,
    };
    Pool::new(region, tables, SizeClasses::new(&CLASSES).unwrap(), limits).unwrap()
}

fn run(mut pool: Any<impl Tables<Tag = u64>>, ops: &[Op]) {
    let mut model = Model::default();
    for op in ops {
        apply(&mut pool, &mut model, op);
        check(&pool, &model);
    }
    // At the end everything can be given back.
    for object in model.live.values() {
        for _ in 0..object.pins {
            pool.unpin(object.handle).unwrap();
        }
        pool.free(object.handle).unwrap();
    }
    while !pool.emergency_step(0, 256, |_| ()).done {}
    assert_eq!(pool.pages().free_pages(), 12);
    assert_eq!(pool.audit(), Ok(()));
    assert_eq!(pool.pages().page_bytes(), PAGE_BYTES);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 192, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_history_keeps_every_object_and_every_count(
        ops in proptest::collection::vec(op(), 1..250),
        spare_pages_max in 0u16..3,
        low_pages in 0u64..12,
    ) {
        let mut objects = [ObjectEntry::EMPTY; 40];
        let mut pages = [PageEntry::EMPTY; 12];
        let mut slots = [SlotEntry::EMPTY; 12 * 16];
        let mut classes = [ClassEntry::EMPTY; 4];
        let tables = LentTables { objects: &mut objects, pages: &mut pages, slots: &mut slots, classes: &mut classes };
        run(pool_of(tables, spare_pages_max, low_pages), &ops);
    }

    #[test]
    fn packed_pool_any_history_keeps_every_object_and_count(
        ops in proptest::collection::vec(op(), 1..250),
        spare_pages_max in 0u16..3,
        low_pages in 0u64..12,
    ) {
        run(pool_of(PackedArrays::<u64, 40, 12, 52>::new(), spare_pages_max, low_pages), &ops);
    }
}
