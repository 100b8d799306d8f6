//! The candidates behind one interface, and the course that each runs.

use core::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::Instant;

use coldpress_core::pool::{
    ClassEntry, Handle, LentTables, Limits, ObjectEntry, PageEntry, Pool, RegionPages, SizeClasses,
    SlotEntry, Terms,
};
use coldpress_examples::rng::{Rng, mix};
use coldpress_std::pool::{AllocationManager, HotKey, PoolConfig, PoolCoordinator};
use heapless::pool::boxed::{Box as PoolBox, BoxBlock};
use slab::Slab;

use super::row::{Figures, Memory};
use super::{Candidate, FREED_PERMILLE, OBJECT_BYTES, OBJECTS};
use crate::process::anonymous_bytes;
use crate::stores::Fault;

type Object = [u8; OBJECT_BYTES];

/// Bytes of a page of our pools: the default of `coldpress_std`.
const PAGE_BYTES: u32 = 256 << 10;

/// Objects of a page.
const ROW: usize = PAGE_BYTES as usize / OBJECT_BYTES;

/// Pages for all objects, and some to spare.
const PAGES: usize = OBJECTS / ROW + 8;

/// Bytes that one step of defragmentation may move: as the worker of `coldpress_std` does it by default.
const STEP_BYTES: u32 = 256 << 10;

/// A pool that names objects by their place in the order of allocation.
trait Objects {
    fn allocate(&mut self, number: usize, object: &Object) -> Result<(), Fault>;
    fn free(&mut self, number: usize) -> Result<(), Fault>;
    fn is(&self, number: usize, object: &Object) -> bool;
    fn committed_bytes(&self) -> Result<u64, Fault>;
    /// Gives back what it can; returns the nanoseconds of the longest call.
    fn tidy(&mut self) -> Result<u64, Fault>;
}

pub(super) fn measure(candidate: Candidate, seed: u64) -> Result<Figures, Fault> {
    let before = anonymous_bytes()?;
    match candidate {
        Candidate::Core => {
            let mut objects = vec![ObjectEntry::EMPTY; OBJECTS];
            let mut pages = vec![PageEntry::EMPTY; PAGES];
            let mut slots = vec![SlotEntry::EMPTY; PAGES * ROW];
            let mut classes = [ClassEntry::EMPTY; 1];
            let tables = LentTables {
                objects: &mut objects,
                pages: &mut pages,
                slots: &mut slots,
                classes: &mut classes,
            };
            let region = RegionPages::new(vec![0; PAGES * PAGE_BYTES as usize], PAGE_BYTES);
            let sizes = [u32::try_from(OBJECT_BYTES)?];
            let pool = Pool::new(region, tables, SizeClasses::new(&sizes)?, Limits::default())?;
            course(&mut CorePool { pool, handles: vec![None; OBJECTS] }, seed, before)
        }
        Candidate::Hot => {
            let config = PoolConfig::builder()
                .capacity_bytes(2 * (OBJECTS * OBJECT_BYTES) as u64)
                .value_bytes_max(u32::try_from(OBJECT_BYTES)?.max(4096))
                .objects_max(2 * u32::try_from(OBJECTS)?)
                .build()?;
            let (_manager, coordinator) = AllocationManager::new(&config)?;
            let tier = coordinator.hot().register_tier();
            course(&mut HotPool { coordinator, tier }, seed, before)
        }
        Candidate::Slab => {
            course(&mut SlabPool { slab: Slab::new(), keys: vec![None; OBJECTS] }, seed, before)
        }
        Candidate::Heapless => {
            let blocks: Vec<BoxBlock<Object>> = (0..OBJECTS).map(|_| BoxBlock::new()).collect();
            blocks.leak().iter_mut().for_each(|block| Blocks.manage(block));
            course(&mut HeaplessPool((0..OBJECTS).map(|_| None).collect()), seed, before)
        }
        Candidate::System => course(&mut SystemPool((0..OBJECTS).map(|_| None).collect()), seed, before),
    }
}

/// The longest and the sum of many calls.
#[derive(Default)]
struct Calls {
    count: u64,
    sum_ns: u64,
    longest_ns: u64,
}

impl Calls {
    fn time<R>(&mut self, call: impl FnOnce() -> R) -> R {
        let begun = Instant::now();
        let result = call();
        let ns = u64::try_from(begun.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.count += 1;
        self.sum_ns += ns;
        self.longest_ns = self.longest_ns.max(ns);
        result
    }

    fn mean_ns(&self) -> f64 {
        self.sum_ns as f64 / self.count.max(1) as f64
    }
}

fn object(number: usize) -> Object {
    let mut object = [0; OBJECT_BYTES];
    let mut rng = Rng::new(number as u64, 0);
    object.chunks_exact_mut(8).for_each(|chunk| chunk.copy_from_slice(&rng.word().to_le_bytes()));
    object
}

/// Runs the course; the process had `before` bytes of memory when the pool was made.
fn course(pool: &mut dyn Objects, seed: u64, before: u64) -> Result<Figures, Fault> {
    let memory = |pool: &dyn Objects, live: usize| -> Result<Memory, Fault> {
        let used = (live * OBJECT_BYTES) as f64;
        Ok(Memory {
            committed: pool.committed_bytes()? as f64 / used,
            process: anonymous_bytes()?.saturating_sub(before) as f64 / used,
        })
    };
    let mut figures = Figures::default();
    let (mut allocating, mut freeing, mut again) = (Calls::default(), Calls::default(), Calls::default());
    for number in 0..OBJECTS {
        let object = object(number);
        allocating.time(|| pool.allocate(number, &object))?;
    }
    figures.full = memory(pool, OBJECTS)?;
    let mut rng = Rng::new(seed, 1);
    let (freed, kept): (Vec<usize>, Vec<usize>) =
        shuffled(&mut rng).into_iter().partition(|_| rng.below(1000) < FREED_PERMILLE);
    for number in &freed {
        freeing.time(|| pool.free(*number))?;
    }
    figures.scattered = memory(pool, kept.len())?;
    let begun = Instant::now();
    figures.tidy_longest_us = pool.tidy()? as f64 / 1e3;
    figures.tidy_ms = begun.elapsed().as_secs_f64() * 1e3;
    figures.tidy = memory(pool, kept.len())?;
    if !kept.iter().all(|number| pool.is(*number, &object(*number))) {
        return Err("an object has other bytes than were written".into());
    }
    for number in &freed {
        let object = object(*number);
        again.time(|| pool.allocate(*number, &object))?;
    }
    figures.allocate_ns = allocating.mean_ns();
    figures.allocate_again_ns = again.mean_ns();
    figures.free_ns = freeing.mean_ns();
    let longest_ns = allocating.longest_ns.max(freeing.longest_ns).max(again.longest_ns);
    figures.longest_us = longest_ns as f64 / 1e3;
    Ok(figures)
}

fn shuffled(rng: &mut Rng) -> Vec<usize> {
    let mut all: Vec<usize> = (0..OBJECTS).collect();
    for last in (1..all.len()).rev() {
        let other = rng.below(last as u64 + 1) as usize;
        all.swap(last, other);
    }
    all
}

type Region = RegionPages<Vec<u8>, PAGES>;

struct CorePool<'a> {
    pool: Pool<Region, LentTables<'a, u32>>,
    handles: Vec<Option<Handle>>,
}

impl Objects for CorePool<'_> {
    fn allocate(&mut self, number: usize, object: &Object) -> Result<(), Fault> {
        let handle = self.pool.allocate(OBJECT_BYTES as u32, Terms::default(), 0)?;
        self.pool.bytes_mut(handle)?.copy_from_slice(object);
        self.handles[number] = Some(handle);
        Ok(())
    }

    fn free(&mut self, number: usize) -> Result<(), Fault> {
        let handle = self.handles[number].take().ok_or("not there")?;
        Ok(self.pool.free(handle)?)
    }

    fn is(&self, number: usize, object: &Object) -> bool {
        self.handles[number].is_some_and(|handle| self.pool.bytes(handle) == Ok(object))
    }

    fn committed_bytes(&self) -> Result<u64, Fault> {
        Ok(self.pool.totals().committed_bytes)
    }

    fn tidy(&mut self) -> Result<u64, Fault> {
        let mut calls = Calls::default();
        while !calls.time(|| self.pool.defragment_step(STEP_BYTES)).done {}
        Ok(calls.longest_ns)
    }
}

struct HotPool {
    coordinator: PoolCoordinator,
    tier: u32,
}

impl HotPool {
    fn key(&self, number: usize) -> HotKey {
        let mut hash = [0; 12];
        hash[..8].copy_from_slice(&mix(number as u64).to_le_bytes());
        // The partition comes from these: other bits than the bucket's.
        hash[8..].copy_from_slice(&mix(!(number as u64)).to_le_bytes()[..4]);
        HotKey { tier: self.tier, hash }
    }
}

impl Objects for HotPool {
    fn allocate(&mut self, number: usize, object: &Object) -> Result<(), Fault> {
        Ok(self.coordinator.hot().try_insert(self.key(number), 0, object, None)?)
    }

    fn free(&mut self, number: usize) -> Result<(), Fault> {
        if self.coordinator.hot().remove(self.key(number)) { Ok(()) } else { Err("not there".into()) }
    }

    fn is(&self, number: usize, object: &Object) -> bool {
        self.coordinator.hot().read(self.key(number), 0, |bytes| bytes == object).unwrap_or(false)
    }

    fn committed_bytes(&self) -> Result<u64, Fault> {
        Ok(self.coordinator.hot().stats()?.committed_bytes)
    }

    fn tidy(&mut self) -> Result<u64, Fault> {
        // The worker does it in steps, and clients wait for one at most. Measured is a client's longest read meanwhile.
        let (hot, key) = (self.coordinator.hot(), self.key(0));
        let is_over = AtomicBool::new(false);
        thread::scope(|scope| {
            let reading = scope.spawn(|| {
                let mut calls = Calls::default();
                while !is_over.load(Relaxed) {
                    calls.time(|| hot.read(key, 0, |bytes| bytes.len()));
                }
                calls.longest_ns
            });
            let result = self.coordinator.trigger_defragmentation();
            is_over.store(true, Relaxed);
            let longest_ns = reading.join().map_err(|_| "the reader has panicked")?;
            result?;
            Ok(longest_ns)
        })
    }
}

struct SlabPool {
    slab: Slab<(usize, Object)>,
    keys: Vec<Option<usize>>,
}

impl Objects for SlabPool {
    fn allocate(&mut self, number: usize, object: &Object) -> Result<(), Fault> {
        self.keys[number] = Some(self.slab.insert((number, *object)));
        Ok(())
    }

    fn free(&mut self, number: usize) -> Result<(), Fault> {
        let key = self.keys[number].take().ok_or("not there")?;
        self.slab.remove(key);
        Ok(())
    }

    fn is(&self, number: usize, object: &Object) -> bool {
        self.keys[number].is_some_and(|key| self.slab.get(key).is_some_and(|(_, bytes)| bytes == object))
    }

    fn committed_bytes(&self) -> Result<u64, Fault> {
        // An entry holds an object or the number of the next free one, and which of the two.
        Ok((self.slab.capacity() * size_of::<(usize, usize, Object)>()) as u64)
    }

    fn tidy(&mut self) -> Result<u64, Fault> {
        let (mut calls, keys) = (Calls::default(), &mut self.keys);
        calls.time(|| {
            self.slab.compact(|(number, _), _, to| {
                keys[*number] = Some(to);
                true
            });
        });
        Ok(calls.longest_ns)
    }
}

heapless::box_pool!(Blocks: Object);

struct HeaplessPool(Vec<Option<PoolBox<Blocks>>>);

impl Objects for HeaplessPool {
    fn allocate(&mut self, number: usize, object: &Object) -> Result<(), Fault> {
        self.0[number] = Some(Blocks.alloc(*object).map_err(|_| "the pool is full")?);
        Ok(())
    }

    fn free(&mut self, number: usize) -> Result<(), Fault> {
        self.0[number].take().map(drop).ok_or_else(|| "not there".into())
    }

    fn is(&self, number: usize, object: &Object) -> bool {
        self.0[number].as_ref().is_some_and(|bytes| **bytes == *object)
    }

    fn committed_bytes(&self) -> Result<u64, Fault> {
        Ok((OBJECTS * size_of::<BoxBlock<Object>>()) as u64)
    }

    fn tidy(&mut self) -> Result<u64, Fault> {
        Ok(0)
    }
}

struct SystemPool(Vec<Option<Box<Object>>>);

impl Objects for SystemPool {
    fn allocate(&mut self, number: usize, object: &Object) -> Result<(), Fault> {
        self.0[number] = Some(Box::new(*object));
        Ok(())
    }

    fn free(&mut self, number: usize) -> Result<(), Fault> {
        self.0[number].take().map(drop).ok_or_else(|| "not there".into())
    }

    fn is(&self, number: usize, object: &Object) -> bool {
        self.0[number].as_ref().is_some_and(|bytes| **bytes == *object)
    }

    fn committed_bytes(&self) -> Result<u64, Fault> {
        // The allocator doesn't tell; the column of the process has it.
        Ok(0)
    }

    fn tidy(&mut self) -> Result<u64, Fault> {
        Ok(0)
    }
}
