//! The index over a log whose segments are written, cleaned, erased and written again, and mounted now and then.
//!
//! The records of the log are kept beside it. So each place that the index names can be looked at, and what a segment holds live is
//! counted anew. Clients read and change entries meanwhile.

use core::sync::atomic::AtomicBool;
use std::collections::BTreeMap;

use coldpress_core::format::Version;

use super::*;
use crate::index::{Publish, publish};

const SEGMENTS: u32 = 30;
const RECORDS_OF_ONE: usize = 40;
const KEYS: u64 = 300;
/// The offsets of records in a segment.
const STEP_BYTES: u32 = 1_500;

struct ModelRecord {
    hash: KeyHash,
    placed: Placed,
}

#[derive(Default)]
struct ModelSegment {
    sequence: u32,
    records: Vec<ModelRecord>,
    live: i64,
}

/// A generator of numbers, the same in every run.
struct Draw(u64);

impl Draw {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % end
    }

    fn is_one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }
}

/// Keys of few shards, in few groups.
fn key(n: u64) -> KeyHash {
    let mut hash = KeyHash::default();
    hash.0[..8].copy_from_slice(&n.wrapping_mul(0x9E37_79B9_7F4A_7C15).to_le_bytes());
    (hash.0[8], hash.0[11]) = (n as u8, (n % 3) as u8);
    hash
}

struct LogModel {
    fixture: Fixture,
    segments: Vec<ModelSegment>,
    open: usize,
    sequence: u32,
    now_s: u32,
    draw: Draw,
    /// The version of each key's value, and when that expires.
    values: BTreeMap<KeyHash, (Version, Option<u32>)>,
    forms: [usize; 4],
}

impl LogModel {
    fn new() -> Self {
        let segments = (0..SEGMENTS).map(|_| ModelSegment::default()).collect();
        let (fixture, draw, values) = (fixture(), Draw(1), BTreeMap::new());
        let mut log =
            Self { fixture, segments, open: 0, sequence: 0, now_s: 1000, draw, values, forms: [0; 4] };
        log.begin_segment();
        log
    }

    fn begin_segment(&mut self) {
        let free: Vec<usize> = (0..self.segments.len()).filter(|n| self.segments[*n].sequence == 0).collect();
        self.open = free[self.draw.below(free.len() as u64) as usize];
        self.sequence += 1;
        self.segments[self.open].sequence = self.sequence;
    }

    /// Writes a record, and tells where it lies; `is_there` is false for a write that left nothing.
    fn append(&mut self, hash: &KeyHash, mut placed: Placed, is_there: bool) -> Placed {
        if self.segments[self.open].records.len() >= RECORDS_OF_ONE {
            self.begin_segment();
        }
        let segment = &mut self.segments[self.open];
        let own = placed.version.sequence == Sequence::NONE;
        placed.location = Location {
            segment: SegmentIndex::new(self.open as u32),
            offset: segment.records.len() as u32 * STEP_BYTES,
            sequence: Sequence::new(segment.sequence),
        };
        if own {
            placed.version = placed.location.version();
        }
        // A place is used once, whatever is there.
        let hash = if is_there { *hash } else { KeyHash([0xFF; 12]) };
        segment.records.push(ModelRecord { hash, placed });
        placed
    }

    fn account(&mut self, placed: &Placed, published: Published) {
        if let Published::Live(released) = published {
            self.segments[placed.location.segment.get() as usize].live += 1;
            released.iter().for_each(|released| self.release(released));
        }
    }

    fn release(&mut self, released: &Released) {
        let segment = &mut self.segments[released.location.segment.get() as usize];
        assert_eq!(segment.sequence, released.location.sequence.get(), "of the present life");
        segment.live -= 1;
        assert!(segment.live >= 0, "a release before its gain");
    }

    fn fresh(&mut self, kind: Kind, expires_s: Option<u32>) -> Placed {
        let record_bytes = if self.draw.is_one_in(20) { 1 << 20 } else { 900 };
        let version = Version { sequence: Sequence::NONE, offset: 0 };
        Placed { record_bytes, version, expires_s, ..placed(1, kind) }
    }

    fn overlay(&mut self, hash: &KeyHash, kind: Kind, expires_s: Option<u32>) -> bool {
        let shared = self.fixture.index.shared;
        let serial = shared.issue_serial();
        let mut write = Some(Pending { expires_s, serial, ..pending(kind, None) });
        let now_s = self.now_s - 1000;
        let put = |entry: &mut Entry| {
            entry.written(now_s);
            matches!(publish(entry, &mut write, 0), Publish::Pending)
        };
        shared.mutate(&self.fixture.index.terms, hash, put) == Some(true)
    }

    fn append_pending(&mut self, hash: &KeyHash, placed: Placed, is_there: bool) -> Placed {
        let placed = self.append(hash, placed, is_there);
        let index = &self.fixture.index;
        let append = |entry: &mut Entry| {
            assert!(entry.newest_version() < Some(placed.version), "versions go up");
            if let Some(pending) = &mut entry.pending {
                pending.inflight = Some(placed.location);
            }
        };
        index.shared.amend(&index.terms, hash, append);
        placed
    }

    fn publish(&mut self, hash: &KeyHash, placed: &Placed) {
        let published = self.fixture.index.publish(hash, placed);
        self.account(placed, published);
    }

    /// Puts or removes a key: at once, after a failed write, or while an earlier write of it is under way.
    fn write(&mut self, hash: &KeyHash, kind: Kind, expires_s: Option<u32>) {
        if !self.overlay(hash, kind, expires_s) {
            assert!(kind == Kind::Tombstone, "only a remove may have nothing to do");
            return;
        }
        let fresh = self.fresh(kind, expires_s);
        let mut last = match self.draw.below(8) {
            0 => {
                let is_there = self.draw.is_one_in(2);
                let failed = self.append_pending(hash, fresh, is_there);
                self.fixture.index.unwritten(hash, &failed);
                assert_eq!(self.fixture.index.unwritten.pop_front(), Some(*hash));
                self.append_pending(hash, fresh, true)
            }
            _ => self.append_pending(hash, fresh, true),
        };
        if self.draw.is_one_in(8) && self.overlay(hash, Kind::Value, None) {
            self.publish(hash, &last);
            let fresh = self.fresh(Kind::Value, None);
            last = self.append_pending(hash, fresh, true);
        }
        self.publish(hash, &last);
        match last.kind {
            Kind::Value => drop(self.values.insert(*hash, (last.version, last.expires_s))),
            _ => drop(self.values.remove(hash)),
        }
    }

    /// Relocates what is live in a segment, counts its copies down, and erases it.
    fn clean(&mut self) {
        let is_sealed = |n: &usize| self.segments[*n].sequence > 0 && *n != self.open;
        let sealed: Vec<usize> = (0..self.segments.len()).filter(is_sealed).collect();
        if sealed.is_empty() {
            return;
        }
        let victim = sealed[self.draw.below(sealed.len() as u64) as usize];
        let records = core::mem::take(&mut self.segments[victim].records);
        for ModelRecord { hash, placed } in &records {
            if self.fixture.index.liveness(hash, placed.location) == Liveness::Live {
                let from = Some(placed.location);
                let moved = Placed { relocated_from: from, relocated_bytes: placed.record_bytes, ..*placed };
                let moved = self.append(hash, moved, true);
                self.publish(hash, &moved);
            }
        }
        assert_eq!(self.segments[victim].live, 0, "I-GC-4");
        for record in &records {
            if let Some(released) = self.fixture.index.copy_erased(&record.hash) {
                self.release(&released);
            }
        }
        self.segments[victim].sequence = 0;
    }

    fn expire(&mut self) {
        self.now_s += 1 + self.draw.below(40) as u32;
        loop {
            match self.fixture.index.due(self.now_s) {
                Look::End => break,
                Look::More => {}
                Look::Due(due) => {
                    // A value that was dropped without a tombstone is found again by a mount, and due again.
                    if let Some((version, expires_s)) = self.values.remove(&due.hash) {
                        assert_eq!(due.version, Some(version));
                        assert!(expires_s.is_some_and(|at| at <= self.now_s), "it is due");
                    }
                    self.drop_due(&due);
                }
            }
        }
        assert!(self.values.values().all(|(_, expires_s)| expires_s.is_none_or(|at| at > self.now_s)));
    }

    fn drop_due(&mut self, due: &Due) {
        match self.fixture.index.drop_current(&due.hash, due.location) {
            Dropped::NotCurrent => unreachable!("it was current"),
            Dropped::Now => {
                self.release(&Released { location: due.location, record_bytes: due.record_bytes });
            }
            // A tombstone takes its place, now or when its segment is cleaned.
            Dropped::NeedsTombstone if self.draw.is_one_in(2) => {}
            Dropped::NeedsTombstone => {
                let version = due.version.unwrap();
                let (from, bytes) = (Some(due.location), due.record_bytes);
                let stone = Placed {
                    version,
                    relocated_from: from,
                    relocated_bytes: bytes,
                    ..self.fresh(Kind::Tombstone, None)
                };
                let stone = self.append(&due.hash, stone, true);
                self.publish(&due.hash, &stone);
            }
        }
    }

    fn settle(&mut self) {
        loop {
            match self.fixture.index.settle() {
                Settled::Released(released) => self.release(&released),
                Settled::More => {}
                Settled::End => break,
            }
        }
    }

    /// Finds all records again, in a new index.
    fn mount(&mut self) {
        self.count_forms();
        self.fixture = fixture();
        self.fixture.index.clock.now_s = self.now_s;
        for number in 0..self.segments.len() {
            self.segments[number].live = 0;
            let found: Vec<(KeyHash, Placed)> =
                self.segments[number].records.iter().map(|record| (record.hash, record.placed)).collect();
            for (hash, placed) in found.into_iter().filter(|(hash, _)| *hash != KeyHash([0xFF; 12])) {
                let placed = Placed { relocated_from: None, relocated_bytes: 0, ..placed };
                let published = self.fixture.index.recovered(&hash, &placed, number != self.open);
                self.account(&placed, published);
            }
        }
        let is_withheld = self.draw.is_one_in(3);
        self.fixture.index.withhold(is_withheld.then(|| Sequence::new(self.sequence + 1)));
        self.settle();
        if is_withheld {
            self.check();
            self.fixture.index.withhold(None);
            self.settle();
        }
        self.begin_segment();
        self.expire();
    }

    /// Whether every key has the value that it should have, at a place where that lies, and each segment what is live in it.
    fn check(&self) {
        let index = &self.fixture.index;
        let record_at = |at: Location| {
            let segment = &self.segments[at.segment.get() as usize];
            assert_eq!(segment.sequence, at.sequence.get(), "the life of the segment");
            let record = segment.records.get((at.offset / STEP_BYTES) as usize).unwrap();
            (record.hash, record.placed.version, record.placed.record_bytes, record.placed.expires_s)
        };
        for hash in (0..KEYS).map(key) {
            let seen = index.shared.view(&hash, |entry| entry.stored().copied()).flatten();
            let value = seen.filter(Stored::is_value);
            let expected = self.values.get(&hash);
            let is_over = |stored: &Stored| stored.expires_s().is_some_and(|at| at <= self.now_s);
            match expected {
                Some(expected) => {
                    let stored = value.unwrap();
                    assert_eq!((stored.version(), stored.expires_s()), *expected);
                }
                None => assert!(value.is_none_or(|stored| is_over(&stored)), "it came back"),
            }
            if let Some(stored) = seen.filter(Stored::is_live) {
                let there = (hash, stored.version(), stored.record_bytes, stored.expires_s());
                assert_eq!(record_at(stored.location()), there);
            }
        }
        for segment in &self.segments {
            let is_live = |r: &&ModelRecord| index.liveness(&r.hash, r.placed.location) == Liveness::Live;
            assert_eq!(segment.records.iter().filter(is_live).count() as i64, segment.live);
        }
    }

    fn count_forms(&mut self) {
        self.forms.iter_mut().zip(self.fixture.index.shared.forms()).for_each(|(sum, n)| *sum += n);
    }

    fn step(&mut self) {
        let free = self.segments.iter().filter(|segment| segment.sequence == 0).count();
        if free < 6 {
            return self.clean();
        }
        // Some keys are written more often than others, and get many copies.
        let most = if self.draw.is_one_in(3) { 10 } else { KEYS };
        let hash = key(self.draw.below(most));
        match self.draw.below(40) {
            0..20 => self.write(&hash, Kind::Value, None),
            20..26 => {
                let expires_s = Some(self.now_s + 1 + self.draw.below(200) as u32);
                self.write(&hash, Kind::Value, expires_s);
            }
            26..36 => self.write(&hash, Kind::Tombstone, None),
            36 => self.expire(),
            _ => self.clean(),
        }
    }
}

#[test]
fn no_value_is_lost_and_none_comes_back_over_many_lives() {
    let mut log = LogModel::new();
    for _ in 0..6 {
        let (shared, terms) = (log.fixture.index.shared, log.fixture.index.terms);
        let is_over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for seed in [3, 4] {
                let is_over = &is_over;
                scope.spawn(move || {
                    let mut draw = Draw(seed);
                    while !is_over.load(Relaxed) {
                        // An entry is packed anew whatever was changed.
                        shared.mutate(&terms, &key(draw.below(KEYS)), |_| ());
                        shared.view(&key(draw.below(KEYS)), |entry| entry.touch(5));
                        std::thread::yield_now();
                    }
                });
            }
            // The clients end where a check fails, too.
            let run = core::panic::AssertUnwindSafe(|| {
                for step in 0..2_000 {
                    log.step();
                    if step % 20 == 0 {
                        log.check();
                    }
                }
            });
            let outcome = std::panic::catch_unwind(run);
            is_over.store(true, Relaxed);
            outcome.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        });
        log.check();
        log.fixture.check_sums();
        log.mount();
        log.check();
    }
    assert!(log.forms[1..].iter().all(|count| *count > 50), "every form was there: {:?}", log.forms);
}
