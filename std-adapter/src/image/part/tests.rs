//! Mounts of a log that its service changes between any two reads of a reader.

use std::collections::VecDeque;

use coldpress_core::codec::CodecId;
use coldpress_core::format::{Head, Identity, KeyHash, Kind, PIECE_EXPIRES_S, Store, piece_prefix};
use coldpress_core::writer::{AppendError, Fresh};
use parking_lot::Mutex;

use super::super::build::ImageBytes;
use super::super::index;
use super::super::machine::{Buffers, Machine, config};
use super::super::source::Changing;
use super::*;

const NOW_S: u32 = 1_700_000_000;
const STORE: Store = Store { id: 77, hash_key: [9; 16], partition: 0, partitions: 1 };
const SEGMENT_BYTES: u32 = 8192;
const SEGMENTS: u32 = 16;
const LONG: &[u8] = b"long";
const SHORT: &[u8] = b"short";
const SHORT_BYTES: usize = 200;
const PIECES: u16 = 3;
const PIECE_BYTES: usize = 150;
const VALUE_BYTES: usize = PIECES as usize * PIECE_BYTES;
/// Bytes before the long value: the first segment ends at every place of what follows.
const FILLED: core::ops::Range<usize> = 4600..7000;
const STEP_BYTES: usize = 60;
/// Steps of the machine that one record waits for at most.
const STEPS_MAX: u32 = 10_000;

/// A log as it lies on the medium, and the byte of which the long value consists.
#[derive(Clone)]
struct Stage {
    bytes: Vec<u8>,
    value: Option<u8>,
}

/// A service's log that notes how it lies on the medium after each record.
struct NotedLog<'m> {
    machine: Machine<'m>,
    medium: ImageBytes,
    value: Option<u8>,
    stages: Vec<Stage>,
}

impl NotedLog<'_> {
    fn run_until_idle(&mut self) {
        let ends = (0..STEPS_MAX).any(|_| !self.machine.step(&mut self.medium));
        assert!(ends, "the machine comes to rest");
    }

    fn append(
        &mut self,
        hash: KeyHash,
        kind: Kind,
        codec: CodecId,
        parts: [&[u8]; 2],
        expires_s: Option<u32>,
    ) {
        let payload = &parts.concat();
        let checksum = self.machine.tier.seed().payload(payload);
        let key_bytes = u32::try_from(parts[0].len()).unwrap();
        let after = self.machine.index.version(&hash);
        let fresh =
            Fresh { hash, kind, codec, key_bytes, payload, checksum, expires_s, after, replaces: None };
        let now = self.machine.now();
        while let Err(error) = self.machine.tier.append(now, &fresh) {
            assert_eq!(error, AppendError::Busy);
            assert!(self.machine.step(&mut self.medium), "there is space");
        }
        self.machine.tier.flush();
        self.run_until_idle();
        assert!(self.machine.tier.written() >= self.machine.tier.appended());
        self.stages.push(Stage { bytes: self.medium.bytes.clone(), value: self.value });
    }

    /// Puts a value of one record again and again, so many bytes in all.
    fn fill(&mut self, bytes: usize) {
        for value in vec![0; bytes].chunks(SHORT_BYTES) {
            self.append(hash(SHORT), Kind::Value, CodecId::Raw, [SHORT, value], None);
        }
    }

    /// Puts a long value as a service does: the head when the pieces are durable.
    fn put_long(&mut self, generation: u8, byte: u8) {
        for at in 0..PIECES {
            let key = [&piece_prefix(generation, at), LONG].concat();
            let parts = [&key[..], &[byte; PIECE_BYTES]];
            self.append(piece(generation, at), Kind::Value, CodecId::Raw, parts, Some(PIECE_EXPIRES_S));
        }
        self.value = Some(byte);
        let head = Head { generation, pieces: PIECES, bytes: VALUE_BYTES as u32 }.to_bytes();
        self.append(hash(LONG), Kind::Value, CodecId::Chunked, [LONG, &head], None);
    }

    fn remove_long(&mut self) {
        self.value = None;
        self.remove(hash(LONG));
    }

    /// Removes pieces that no durable head names.
    fn sweep(&mut self, generation: u8) {
        (0..PIECES).rev().for_each(|at| self.remove(piece(generation, at)));
    }

    fn remove(&mut self, hash: KeyHash) {
        self.append(hash, Kind::Tombstone, CodecId::Raw, [&hash.0, &[]], None);
    }
}

fn geometry() -> Geometry {
    Geometry::new(SEGMENT_BYTES, SEGMENTS, 1, 0x00, Identity::KeyedHash).unwrap()
}

fn hash(key: &[u8]) -> KeyHash {
    index::hash(Identity::KeyedHash, &STORE, key)
}

fn piece(generation: u8, at: u16) -> KeyHash {
    index::hash_piece(Identity::KeyedHash, &STORE, LONG, generation, at)
}

/// How a value makes place for a later one of the same generation.
#[derive(Debug, Clone, Copy)]
enum Replaced {
    Removed,
    Overwritten,
}

/// The stages from a value of `A` to one of `C` with the same generation, behind so many bytes of another key. So the end of a segment lies
/// at another place in each history. The next segment is opened before the first one is full.
fn history(filled: usize, replaced: Replaced) -> Vec<Stage> {
    let config = config(geometry(), STORE, false);
    let mut buffers = Buffers::new(&config, SEGMENT_BYTES as usize / 3);
    let machine = Machine::new(config, &mut buffers, NOW_S).unwrap();
    let medium = ImageBytes { bytes: vec![0; (SEGMENT_BYTES * SEGMENTS) as usize], blank: 0 };
    let mut log = NotedLog { machine, medium, value: None, stages: Vec::new() };
    log.machine.mount(&mut log.medium).unwrap();
    log.fill(filled);
    log.put_long(0, b'A');
    log.stages.drain(..log.stages.len() - 1);
    match replaced {
        Replaced::Removed => log.remove_long(),
        Replaced::Overwritten => log.put_long(1, b'B'),
    }
    log.sweep(0);
    log.put_long(0, b'C');
    log.stages
}

fn memory(bytes: &[u8]) -> Source {
    Source::Memory(bytes.to_vec())
}

fn changing(before: &[u8], after: &[u8], reads_before: usize) -> Source {
    let reads = Mutex::new(Vec::new());
    Source::Changing(Changing { before: before.to_vec(), after: after.to_vec(), reads_before, reads })
}

/// The reads of a mount.
fn reads(bytes: &[u8]) -> Vec<(usize, usize)> {
    let part = PartImage::mount(changing(bytes, bytes, usize::MAX)).unwrap().unwrap();
    let Source::Changing(source) = &part.image.source else { unreachable!("it was made so") };
    source.reads.lock().clone()
}

/// The numbers of reads after which a change makes a difference: others leave the mount with the same bytes.
fn cuts(before: &[u8], after: &[u8]) -> Vec<usize> {
    let differs =
        |(_, (at, bytes)): &(usize, (usize, usize))| before[*at..at + bytes] != after[*at..at + bytes];
    (1..).zip(reads(before)).filter(differs).map(|(nth, _)| nth).collect()
}

/// Mounts sources in their order, and the last one as often as it is asked for. Returns the image, and how many mounts it took.
fn open(sources: Vec<Source>, last: &[u8]) -> (PartImage, usize) {
    let (mut sources, mut mounts) = (VecDeque::from(sources), 0);
    let next = || {
        mounts += 1;
        Ok(sources.pop_front().unwrap_or_else(|| memory(last)))
    };
    let part = PartImage::open_from(next, Duration::ZERO).unwrap().unwrap();
    (part, mounts)
}

/// The result of reading the long value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum LongRead {
    Whole(Option<u8>),
    Torn,
    Refused,
}

fn read(part: &PartImage) -> LongRead {
    match part.image.get(LONG, NOW_S) {
        Ok(None) => LongRead::Whole(None),
        Ok(Some(value)) if value == [value[0]; VALUE_BYTES] => LongRead::Whole(Some(value[0])),
        Ok(Some(_)) => LongRead::Torn,
        Err(ImageError::Changing(_) | ImageError::Damaged(_)) => LongRead::Refused,
        Err(error) => panic!("{error}"),
    }
}

/// Asserts that a read gives a value that the key had during these stages, or none.
fn check(part: &PartImage, stages: &[Stage], facts: &str) -> LongRead {
    let found = read(part);
    let is_of_its_time = stages.iter().any(|stage| found == LongRead::Whole(stage.value));
    assert!(is_of_its_time || found == LongRead::Refused, "{found:?}: {facts}");
    found
}

#[test]
fn long_value_written_during_one_mount_is_never_torn() {
    let (mut torn_alone, mut whole, mut refused) = (0, 0, 0);
    for replaced in [Replaced::Removed, Replaced::Overwritten] {
        for filled in FILLED.step_by(STEP_BYTES) {
            let stages = history(filled, replaced);
            for from in 0..stages.len() {
                for to in from + 1..stages.len() {
                    let [before, after] = [from, to].map(|at| &stages[at].bytes[..]);
                    for cut in cuts(before, after) {
                        let alone = PartImage::mount(changing(before, after, cut)).unwrap().unwrap();
                        torn_alone += u32::from(read(&alone) == LongRead::Torn);
                        let facts = format!("{filled}, {replaced:?}, {from} to {to} at {cut}");
                        let first = open(vec![changing(before, after, cut)], after).0;
                        let second = open(vec![memory(before), changing(before, after, cut)], after).0;
                        for part in [first, second] {
                            let found = check(&part, &stages[from..=to], &facts);
                            whole += u32::from(found != LongRead::Refused);
                            refused += u32::from(found == LongRead::Refused);
                        }
                    }
                }
            }
        }
    }
    assert!(torn_alone > 100, "one mount alone tears values: {torn_alone}");
    assert!(whole > 1000 && refused > 1000, "{whole} whole, {refused} refused");
}

#[test]
fn long_value_written_during_both_mounts_is_never_torn() {
    let mut opened = 0;
    for replaced in [Replaced::Removed, Replaced::Overwritten] {
        for filled in FILLED.step_by(4 * STEP_BYTES) {
            let stages = history(filled, replaced);
            for (from, to) in (0..stages.len()).flat_map(|to| (0..to).map(move |from| (from, to))) {
                for then in to + 1..stages.len() {
                    let [before, between, after] = [from, to, then].map(|at| &stages[at].bytes[..]);
                    let second_cuts = cuts(between, after);
                    let firsts = cuts(before, between).into_iter();
                    for (first, second) in
                        firsts.flat_map(|first| second_cuts.iter().map(move |second| (first, *second)))
                    {
                        let sources =
                            vec![changing(before, between, first), changing(between, after, second)];
                        let facts =
                            format!("{filled}, {replaced:?}, {from} {to} {then} at {first}, {second}");
                        let _ = check(&open(sources, after).0, &stages[from..=then], &facts);
                        opened += 1;
                    }
                }
            }
        }
    }
    assert!(opened > 1000, "{opened}");
}

#[test]
fn log_is_mounted_twice_only_where_it_has_pieces() {
    let stages = history(FILLED.start, Replaced::Removed);
    for stage in &stages {
        let (part, mounts) = open(Vec::new(), &stage.bytes);
        assert_eq!(
            (read(&part), mounts),
            (LongRead::Whole(stage.value), if part.has_pieces() { 2 } else { 1 })
        );
    }
    assert!(
        stages.iter().any(|stage| !PartImage::mount(memory(&stage.bytes)).unwrap().unwrap().has_pieces())
    );
}

/// A source of which all segments are freed just after it was mounted.
fn freed_at_the_end(bytes: &[u8]) -> Source {
    changing(bytes, &vec![0; bytes.len()], reads(bytes).len())
}

#[test]
fn long_value_of_a_log_never_at_rest_is_refused() {
    let stage = &history(FILLED.start, Replaced::Removed)[0];
    let sources = (0..20).map(|_| freed_at_the_end(&stage.bytes)).collect();
    // The bytes are gone from the file, so the records are read from a copy.
    let (mut part, mounts) = open(sources, &stage.bytes);
    part.image.source = memory(&stage.bytes);
    assert_eq!((mounts, part.is_settled()), (MOUNTS_MAX as usize, false));
    assert!(matches!(part.image.get(LONG, NOW_S), Err(ImageError::Changing(_))));
    assert!(part.image.get(SHORT, NOW_S).unwrap().is_some(), "values of one record need no proof");
}

#[test]
fn log_that_can_no_longer_be_mounted_ends_in_an_error() {
    let stage = &history(FILLED.start, Replaced::Removed)[0];
    for mounted in 0..5 {
        let mut mounts = 0;
        let next = || {
            mounts += 1;
            if mounts <= mounted {
                Ok(freed_at_the_end(&stage.bytes))
            } else {
                Source::open(Path::new("/no such file"))
            }
        };
        let error = PartImage::open_from(next, Duration::ZERO).unwrap_err();
        assert!(matches!(error, ImageError::Io(_)), "{error}");
        assert_eq!(mounts, mounted + FAILED_MOUNTS_MAX);
    }
}

#[test]
fn mounts_end_though_the_last_one_failed() {
    let stage = &history(FILLED.start, Replaced::Removed)[0];
    let mut mounts = 0;
    let next = || {
        mounts += 1;
        if mounts == MOUNTS_MAX {
            Source::open(Path::new("/no such file"))
        } else {
            Ok(freed_at_the_end(&stage.bytes))
        }
    };
    let part = PartImage::open_from(next, Duration::ZERO).unwrap().unwrap();
    assert_eq!((mounts, part.is_settled()), (MOUNTS_MAX + 1, false));
}
