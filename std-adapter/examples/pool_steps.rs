//! Measures single operations of a pool, of either layout: `cargo run --release -p coldpress-std --example pool_steps`.
//!
//! It prints nanoseconds for each allocation, free and move, and the longest step of a defragmentation. All runs are equal; each
//! figure is the least of them, and a step counts with the least time that any run took for it. So what else the machine does has
//! no part in it.
//!
//! For instructions: `valgrind --tool=callgrind --toggle-collect='pool_steps::free_all*' target/release/examples/pool_steps 1 packed`
//! runs one layout with values of 100 B. Take `allocate_all`, `free_all`, `read_all` or `defragment_all`, and divide by the number of
//! operations that is printed.

use core::error::Error;
use core::hint::black_box;
use core::time::Duration;
use std::time::Instant;

use coldpress_core::pool::{
    ClassEntry, GapEntry, Handle, LentTables, Limits, ObjectEntry, PackedTables, PageEntry, PageId, Pages,
    PagesError, Pool, SizeClasses, SlotEntry, Tables, Terms,
};
use memmap2::MmapMut;

const PAGE_BYTES: u32 = 256 << 10;
const PAGES: usize = 200;
const STEP_BYTES: u32 = 64 << 10;
/// All objects together.
const FILL_BYTES: u64 = 27 << 20;

/// Pages that are mappings of their own, as those of the service's pools.
struct Mappings(Vec<Option<MmapMut>>);

impl Pages for Mappings {
    fn page_bytes(&self) -> u32 {
        PAGE_BYTES
    }
    fn commit(&mut self) -> Result<PageId, PagesError> {
        let free = self.0.iter().position(Option::is_none).ok_or(PagesError::Exhausted)?;
        self.0[free] = Some(MmapMut::map_anon(PAGE_BYTES as usize).map_err(|_| PagesError::Refused)?);
        Ok(PageId(u16::try_from(free).map_err(|_| PagesError::Exhausted)?))
    }
    fn release(&mut self, page: PageId) {
        self.0[usize::from(page.0)] = None;
    }
    fn bytes(&self, page: PageId) -> Option<&[u8]> {
        self.0.get(usize::from(page.0))?.as_deref()
    }
    fn bytes_mut(&mut self, page: PageId) -> Option<&mut [u8]> {
        self.0.get_mut(usize::from(page.0))?.as_deref_mut()
    }
    fn pair(&mut self, from: PageId, to: PageId) -> Option<(&[u8], &mut [u8])> {
        match self.0.get_disjoint_mut([usize::from(from.0), usize::from(to.0)]) {
            Ok([Some(from), Some(to)]) => Some((from, to)),
            _ => None,
        }
    }
}

/// The finaliser of splitmix64.
const fn mix(number: u64) -> u64 {
    let number = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

/// The least times of all runs.
struct Measured {
    allocate: Duration,
    read: Duration,
    free: Duration,
    steps: Vec<Duration>,
    moved: u64,
    moved_bytes: u64,
    ratio: f64,
    /// How many objects were allocated, read and freed in all of one run.
    operations: [usize; 3],
}

#[inline(never)]
fn allocate_all<S: Tables<Tag = u64>>(pool: &mut Pool<Mappings, S>, lengths: &[u32]) -> Vec<Handle> {
    let terms = Terms { evictable: true, expires_s: None };
    (0..).zip(lengths).filter_map(|(tag, len)| pool.allocate(*len, terms, tag).ok()).collect()
}

#[inline(never)]
fn read_all<S: Tables<Tag = u64>>(pool: &Pool<Mappings, S>, handles: &[Handle]) {
    for handle in handles {
        let _ = black_box(pool.bytes(*handle).map(|bytes| bytes.first().copied()));
    }
}

#[inline(never)]
fn free_all<S: Tables<Tag = u64>>(pool: &mut Pool<Mappings, S>, handles: &[Handle]) {
    for handle in handles {
        let _ = black_box(pool.free(*handle));
    }
}

#[inline(never)]
fn defragment_all<S: Tables<Tag = u64>>(
    pool: &mut Pool<Mappings, S>,
    steps: &mut Vec<Duration>,
    moved: &mut u64,
) {
    loop {
        let begun = Instant::now();
        let step = pool.defragment_step(STEP_BYTES);
        steps.push(begun.elapsed());
        *moved += u64::from(step.relocated_objects);
        if step.done {
            return;
        }
    }
}

fn run<S: Tables<Tag = u64>>(
    tables: S,
    classes: SizeClasses<'_>,
    lengths: &[u32],
) -> Result<Measured, Box<dyn Error>> {
    let pages = Mappings((0..PAGES).map(|_| None).collect());
    let mut pool = Pool::new(pages, tables, classes, Limits::default())?;
    let handles = allocate_all(&mut pool, lengths);
    // The first time each page of the system is touched for the first time.
    free_all(&mut pool, &handles);
    let begun = Instant::now();
    let mut handles = allocate_all(&mut pool, lengths);
    let allocate = begun.elapsed();
    for handle in &handles {
        pool.bytes_mut(*handle)?.fill(7);
    }
    for at in (1..handles.len()).rev() {
        handles.swap(at, usize::try_from(mix(at as u64) % (at as u64 + 1))?);
    }
    let begun = Instant::now();
    read_all(&pool, &handles);
    let read = begun.elapsed();
    let begun = Instant::now();
    free_all(&mut pool, &handles[..handles.len() * 7 / 10]);
    let free = begun.elapsed();
    let (mut steps, mut moved) = (Vec::new(), 0);
    defragment_all(&mut pool, &mut steps, &mut moved);
    pool.audit()?;
    let totals = pool.totals();
    let ratio = totals.committed_bytes as f64 / totals.requested_bytes as f64;
    let operations = [handles.len() * 2, handles.len(), handles.len() + handles.len() * 7 / 10];
    let moved_bytes = totals.relocated_bytes;
    Ok(Measured { allocate, read, free, steps, moved, moved_bytes, ratio, operations })
}

fn run_slabs(lengths: &[u32]) -> Result<Measured, Box<dyn Error>> {
    let sizes: Vec<u32> = SizeClasses::cut_from(PAGE_BYTES, 64, 64 << 10, 4).collect();
    let tables = LentTables {
        objects: &mut vec![ObjectEntry::EMPTY; lengths.len()],
        pages: &mut vec![PageEntry::EMPTY; PAGES],
        slots: &mut vec![SlotEntry::EMPTY; PAGES * (PAGE_BYTES / 64) as usize],
        classes: &mut vec![ClassEntry::EMPTY; sizes.len()],
    };
    run(tables, SizeClasses::new(&sizes)?, lengths)
}

fn run_packed(lengths: &[u32]) -> Result<Measured, Box<dyn Error>> {
    let tables = PackedTables {
        objects: &mut vec![ObjectEntry::EMPTY; lengths.len()],
        pages: &mut vec![PageEntry::EMPTY; PAGES],
        classes: &mut vec![ClassEntry::EMPTY; GapEntry::BINS],
        gaps: &mut vec![GapEntry::EMPTY; lengths.len() + PAGES],
        bins: 0,
    };
    run(tables, SizeClasses::new(&[64 << 10])?, lengths)
}

fn least(runs: u32, run: impl Fn() -> Result<Measured, Box<dyn Error>>) -> Result<Measured, Box<dyn Error>> {
    let mut least = run()?;
    for _ in 1..runs {
        let next = run()?;
        least.allocate = least.allocate.min(next.allocate);
        least.read = least.read.min(next.read);
        least.free = least.free.min(next.free);
        for (step, other) in least.steps.iter_mut().zip(next.steps) {
            *step = (*step).min(other);
        }
    }
    Ok(least)
}

/// Measures one layout.
type Run = fn(&[u32]) -> Result<Measured, Box<dyn Error>>;
/// Draws a length.
type Draw = fn(u64) -> u32;

fn main() -> Result<(), Box<dyn Error>> {
    let runs: u32 = std::env::args().nth(1).map_or(Ok(7), |given| given.parse())?;
    let only = std::env::args().nth(2);
    let lengths: [(&str, Draw); 3] = [
        ("100 B", |_| 100),
        ("64 B to 4 KiB", |random| 64 + u32::try_from(random % 4_033).unwrap_or(0)),
        ("1 to 64 KiB", |random| 1_024 + u32::try_from(random % 64_513).unwrap_or(0)),
    ];
    for (name, draw) in lengths {
        let mut bytes = 0;
        let all: Vec<u32> = (0..)
            .map(|number| draw(mix(number)))
            .take_while(|len| {
                bytes += u64::from(*len);
                bytes <= FILL_BYTES
            })
            .collect();
        let layouts: [(&str, Run); 2] = [("slabs", run_slabs), ("packed", run_packed)];
        for (layout, run) in layouts {
            if only.as_ref().is_some_and(|only| only != layout || name != "100 B") {
                continue;
            }
            let measured = least(runs, || run(&all))?;
            let each = |time: Duration, count: u64| time.as_nanos() as f64 / core::cmp::max(count, 1) as f64;
            let total: Duration = measured.steps.iter().sum();
            println!(
                "{name}, {layout}: {} objects: allocate {:.0} ns, read {:.0} ns, free {:.0} ns; {} moves of {:.1} MiB, \
                 {:.0} ns each, in {} steps, the longest {:?}; committed / requested {:.3}",
                all.len(),
                each(measured.allocate, all.len() as u64),
                each(measured.read, all.len() as u64),
                each(measured.free, all.len() as u64 * 7 / 10),
                measured.moved,
                measured.moved_bytes as f64 / 1_048_576.0,
                each(total, measured.moved),
                measured.steps.len(),
                measured.steps.iter().max().copied().unwrap_or_default(),
                measured.ratio,
            );
            if only.is_some() {
                let [allocated, read, freed] = measured.operations;
                println!("{allocated} allocated, {read} read, {freed} freed, {} moved", measured.moved);
            }
        }
    }
    Ok(())
}
