//! Measures parts of Coldpress by themselves: `cargo bench --manifest-path tests/peers/Cargo.toml`.
//!
//! One part can't be reached through the public interface: the index of a service has the tier in front of it. `contains` makes
//! one lookup, without a read of the file. No caller can make a `Segment` that is not free. So the choice of a victim is measured on
//! a copy of the table that a machine in memory shows, once it has filled and overwritten its segments.
#![forbid(unsafe_code)]

use core::hint::black_box;

use coldpress_core::codec::{Codec as _, CodecId, Lz4, Lz4Table};
use coldpress_core::config::TierConfig;
use coldpress_core::drive::Now;
use coldpress_core::format::{
    Geometry, Identity, Kind, Location, RecordHeader, Seed, SegmentIndex, Sequence, Store, key_hash,
    read_record,
};
use coldpress_core::pool::{
    ClassEntry, Handle, LentTables, Limits, ObjectEntry, PageEntry, Pool, RegionPages, SizeClasses,
    SlotEntry, Terms,
};
use coldpress_core::segments::{Growth, Policy, Segment, SegmentState, VictimTerms, choose};
use coldpress_examples::bytes::{Buffers, Bytes};
use coldpress_examples::content::Content;
use coldpress_examples::in_memory::InMemoryTier;
use coldpress_examples::rng::mix;
use coldpress_std::{ColdTier, ColdTierConfig};
use divan::Bencher;
use divan::counter::{BytesCount, ItemsCount};

const LENGTHS: [usize; 4] = [100, 1 << 10, 16 << 10, 64 << 10];

const KEY: [u8; 16] = *b"a key of sixteen";

fn main() {
    divan::main();
}

fn value(len: usize) -> Vec<u8> {
    let mut value = vec![0; len];
    Content::new(1).fill(7, 1, &mut value);
    value
}

/// A log as a service has it.
fn geometry() -> Geometry {
    Geometry::new(512 << 10, 64, 1, 0, Identity::KeyedHash).expect("a usual shape")
}

const PLACE: Location = Location { segment: SegmentIndex::new(3), offset: 4096, sequence: Sequence::new(9) };

/// Writes a record as the machine does: header in front, key and value behind it.
fn encode(geometry: &Geometry, seed: Seed, value: &[u8], out: &mut [u8]) -> usize {
    let header = RecordHeader {
        kind: Kind::Value,
        codec: CodecId::Raw,
        key_bytes: KEY.len() as u32,
        value_bytes: value.len() as u32,
        expires_s: None,
        origin: None,
    };
    let payload = seed.payload(&KEY).then(value);
    let (bytes, len) = header.encode(geometry, payload, PLACE);
    out[..len].copy_from_slice(&bytes[..len]);
    out[len..len + KEY.len()].copy_from_slice(&KEY);
    out[len + KEY.len()..len + KEY.len() + value.len()].copy_from_slice(value);
    len + KEY.len() + value.len()
}

fn seed(geometry: &Geometry) -> Seed {
    Store { id: 5, hash_key: [3; 16], partition: 0, partitions: 1 }.seed(geometry)
}

#[divan::bench(args = LENGTHS)]
fn record_encode(bencher: Bencher<'_, '_>, len: usize) {
    let (geometry, value) = (geometry(), value(len));
    let (seed, mut out) = (seed(&geometry), vec![0; len + 64]);
    bencher
        .counter(BytesCount::new(len))
        .bench_local(|| encode(&geometry, seed, black_box(&value), &mut out));
}

#[divan::bench(args = LENGTHS)]
fn record_decode(bencher: Bencher<'_, '_>, len: usize) {
    let (geometry, value) = (geometry(), value(len));
    let (seed, mut out) = (seed(&geometry), vec![0; len + 64]);
    let end = encode(&geometry, seed, &value, &mut out);
    let record = read_record(&geometry, seed, PLACE, &out[..end]).expect("a whole record");
    assert_eq!(record.value, value);
    bencher
        .counter(BytesCount::new(len))
        .bench_local(|| read_record(&geometry, seed, PLACE, black_box(&out[..end])).is_ok());
}

#[divan::bench(args = LENGTHS)]
fn lz4_compress(bencher: Bencher<'_, '_>, len: usize) {
    let (value, mut table) = (value(len), Lz4Table::short());
    let mut lz4 = Lz4::new(&mut table);
    let mut out = vec![0; CodecId::Lz4.dst_len(len)];
    bencher.counter(BytesCount::new(len)).bench_local(|| lz4.compress(black_box(&value), &mut out).is_ok());
}

/// A value of 100 bytes is too short to shrink.
#[divan::bench(args = LENGTHS[1..].iter().copied())]
fn lz4_decompress(bencher: Bencher<'_, '_>, len: usize) {
    let (value, mut table) = (value(len), Lz4Table::short());
    let mut lz4 = Lz4::new(&mut table);
    let (mut payload, mut back) = (vec![0; CodecId::Lz4.dst_len(len)], vec![0; len]);
    let end = lz4.compress(&value, &mut payload).expect("a value that shrinks");
    bencher
        .counter(BytesCount::new(len))
        .bench_local(|| lz4.decompress(black_box(&payload[..end]), &mut back).is_ok());
    assert_eq!(back, value);
}

#[divan::bench]
fn key_hash_16_bytes(bencher: Bencher<'_, '_>) {
    bencher.counter(ItemsCount::new(1_u32)).bench_local(|| key_hash(&[3; 16], black_box(&KEY)));
}

/// A lookup by way of the tier: hash, index, no read of the file.
#[divan::bench(args = [10_000_u64, 1_000_000])]
fn index_lookup_by_contains(bencher: Bencher<'_, '_>, keys: u64) {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let config = ColdTierConfig::builder().base_dir(dir.path()).capacity_bytes(512 << 20).build();
    let tier = ColdTier::with_own_pools(config.expect("a valid configuration"), "parts").expect("a new tier");
    for number in 0..keys {
        tier.put(&mix(number).to_le_bytes(), &[1; 16]).expect("space for all");
    }
    tier.flush().expect("a disk that works");
    let handle = tier.handle();
    let mut number = 0;
    bencher.counter(ItemsCount::new(1_u32)).bench_local(|| {
        number = (number + 7_919) % keys;
        handle.contains(&mix(number).to_le_bytes()).expect("an open tier")
    });
}

/// Segments of the table from which a victim is chosen: 64 GiB in segments of 4 MiB.
const SEGMENTS: u32 = 16_384;

/// Segments as short as a machine takes them, since the choice looks at the table alone.
const SEGMENT_BYTES: u32 = 4 << 10;

/// Fills a machine in memory to 71 %, overwrites as many keys at random, and returns its table and the bytes that were appended.
fn worked_table() -> (Vec<Segment>, Geometry, u64) {
    let geometry = Geometry::new(SEGMENT_BYTES, SEGMENTS, 1, 0, Identity::KeyedHash).expect("a usual shape");
    let store = Store { id: 1, hash_key: [0; 16], partition: 0, partitions: 1 };
    let config = TierConfig { record_bytes_max: 1024, ..TierConfig::new(geometry, store) };
    let mut buffers = Buffers::new(&config);
    let mut tier = InMemoryTier::open(config, &mut buffers, Bytes::blank(&geometry), Now::default())
        .expect("a blank medium mounts");
    let keys = u64::from(SEGMENTS) * u64::from(SEGMENT_BYTES) * 71 / 100 / 512;
    for number in 0..2 * keys {
        let id = if number < keys { number } else { mix(number) % keys };
        tier.set(&id.to_le_bytes(), Some(&[1; 472]), None).expect("space for all");
    }
    tier.sync();
    let appended = tier.machine.counters().fresh_bytes;
    (tier.machine.segments().to_vec(), geometry, appended)
}

/// The choice of one victim: a pass over the table.
#[divan::bench(args = [Policy::Greedy, Policy::CostBenefit])]
fn victim_choice_of_16384_segments(bencher: Bencher<'_, '_>, policy: Policy) {
    let (table, geometry, appended) = worked_table();
    let sealed = table.iter().filter(|segment| segment.state() == SegmentState::Sealed).count();
    assert!(sealed > table.len() / 2, "the table is in use: {sealed}");
    let growth = Growth { plain: 24, relocated: 16 };
    let terms =
        VictimTerms { usable_bytes: geometry.usable_bytes(), growth, policy, appended, takes_turns: true };
    assert!(choose(&terms, &table, |_, _| true).is_some(), "a segment has stale bytes");
    bencher.counter(ItemsCount::new(SEGMENTS)).bench_local(|| choose(&terms, black_box(&table), |_, _| true));
}

const PAGE_BYTES: u32 = 64 << 10;
const OBJECT_BYTES: u32 = 512;
const PAGES: usize = 64;
const OBJECTS: usize = PAGES * (PAGE_BYTES / OBJECT_BYTES) as usize;

/// The tables of a pool of objects of one length.
struct OwnTables {
    objects: Vec<ObjectEntry<u32>>,
    pages: Vec<PageEntry>,
    slots: Vec<SlotEntry>,
    classes: Vec<ClassEntry>,
}

type TestPool<'a> = Pool<RegionPages<Vec<u8>, PAGES>, LentTables<'a, u32>>;

impl OwnTables {
    fn new() -> Self {
        Self {
            objects: vec![ObjectEntry::EMPTY; OBJECTS],
            pages: vec![PageEntry::EMPTY; PAGES],
            slots: vec![SlotEntry::EMPTY; OBJECTS],
            classes: vec![ClassEntry::EMPTY; 1],
        }
    }

    fn pool(&mut self) -> TestPool<'_> {
        let tables = LentTables {
            objects: &mut self.objects,
            pages: &mut self.pages,
            slots: &mut self.slots,
            classes: &mut self.classes,
        };
        let region = RegionPages::new(vec![0; PAGES * PAGE_BYTES as usize], PAGE_BYTES);
        let classes = SizeClasses::new(&[OBJECT_BYTES]).expect("one class");
        Pool::new(region, tables, classes, Limits::default()).expect("tables that are long enough")
    }
}

#[divan::bench]
fn pool_allocate_and_free(bencher: Bencher<'_, '_>) {
    let mut tables = OwnTables::new();
    let mut pool = tables.pool();
    bencher.counter(ItemsCount::new(1_u32)).bench_local(|| {
        let handle = pool.allocate(OBJECT_BYTES, Terms::default(), 0).expect("space for one");
        pool.free(handle).expect("it is there");
    });
}

/// Fills a pool, frees three of four objects and moves the rest together; the counter has the objects that move.
#[divan::bench]
fn pool_move_together(bencher: Bencher<'_, '_>) {
    let mut tables = OwnTables::new();
    let mut pool = tables.pool();
    let mut handles: Vec<Handle> = Vec::new();
    let mut moved = 0_u64;
    let fill = |pool: &mut TestPool<'_>, handles: &mut Vec<Handle>| {
        while let Ok(handle) = pool.allocate(OBJECT_BYTES, Terms::default(), 0) {
            handles.push(handle);
        }
        let mut number = 0;
        handles.retain(|handle| {
            number += 1;
            number % 4 == 0 || pool.free(*handle).is_err()
        });
    };
    // `divan` prepares its inputs ahead of all calls, and there is one pool. So a call has both halves, and the one without a move
    // is the measure to subtract.
    bencher.counter(ItemsCount::new(OBJECTS / 4)).bench_local(|| {
        fill(&mut pool, &mut handles);
        loop {
            let step = pool.defragment_step(PAGE_BYTES);
            moved += u64::from(step.relocated_objects);
            if step.done {
                break;
            }
        }
    });
    assert!(moved > 0, "objects moved");
}

/// As `pool_move_together` without the moves.
#[divan::bench]
fn pool_fill_and_free_without_moves(bencher: Bencher<'_, '_>) {
    let mut tables = OwnTables::new();
    let mut pool = tables.pool();
    let mut handles: Vec<Handle> = Vec::new();
    bencher.counter(ItemsCount::new(OBJECTS / 4)).bench_local(|| {
        while let Ok(handle) = pool.allocate(OBJECT_BYTES, Terms::default(), 0) {
            handles.push(handle);
        }
        let mut number = 0;
        handles.retain(|handle| {
            number += 1;
            number % 4 == 0 || pool.free(*handle).is_err()
        });
    });
}
