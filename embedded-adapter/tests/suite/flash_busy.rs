//! A medium whose operations end later: no call waits for them. Each call is put off, made again, and answered once.

use core::cell::Cell;
use std::collections::BTreeMap;

use crate::ram::Ram;
use coldpress_core::compaction::CompactionTask;
use coldpress_core::drive::{MediumError, Now};
use coldpress_embedded::flash::{
    Cursor, FlashConfig, FlashMemory, FlashMountError, FlashTier, GetError, Medium, NorMedium, PutError,
    Reserved, Started, Wait, buckets_for,
};

const SEGMENTS: usize = 14;
const SEGMENT: u32 = 512;
/// Looks at the medium that one call may take.
const LOOKS_MAX: u32 = 1;

type Memory = FlashMemory<SEGMENTS, { buckets_for(90) }, 96>;
type Flash = NorMedium<Ram<4, { SEGMENT as usize }>>;
type Tier<'m, 'f> = FlashTier<'m, Late<'f>>;

/// The part of the medium that the test sees.
#[derive(Debug, Default)]
struct Wires {
    /// The operation has ended: set by the interrupt, never while a call runs.
    has_ended: Cell<bool>,
    /// Looks since the last call began.
    looks: Cell<u32>,
    operations: Cell<u64>,
}

impl Wires {
    fn interrupt(&self) {
        self.has_ended.set(true);
    }

    /// Makes a call, which looks at the medium so often at most.
    fn call<R>(&self, call: impl FnOnce() -> R) -> R {
        self.looks.set(0);
        let result = call();
        assert!(self.looks.get() <= LOOKS_MAX, "{} looks in one call", self.looks.get());
        result
    }
}

/// Every write, erase and sync ends by an interrupt.
struct Late<'f> {
    flash: Flash,
    wires: &'f Wires,
    is_under_way: bool,
}

impl<'f> Late<'f> {
    fn new(flash: Flash, wires: &'f Wires) -> Self {
        Self { flash, wires, is_under_way: false }
    }

    fn start(&mut self) -> Started {
        assert!(!core::mem::replace(&mut self.is_under_way, true), "one operation after the other");
        self.wires.has_ended.set(false);
        self.wires.operations.set(self.wires.operations.get() + 1);
        Started::UnderWay
    }
}

impl Medium for Late<'_> {
    type Error = MediumError;
    fn read(&mut self, at: u64, bytes: &mut [u8]) -> Result<(), MediumError> {
        assert!(!self.is_under_way, "a read while an operation is under way");
        self.flash.read(at, bytes)
    }
    fn write(&mut self, at: u64, bytes: &[u8]) -> Result<Started, MediumError> {
        self.flash.write(at, bytes).map(|_| self.start())
    }
    fn erase(&mut self, at: u64, bytes: u64) -> Result<Started, MediumError> {
        self.flash.erase(at, bytes).map(|_| self.start())
    }
    fn sync(&mut self) -> Result<Started, MediumError> {
        Ok(self.start())
    }
    fn is_done(&mut self) -> Option<Result<(), MediumError>> {
        self.wires.looks.set(self.wires.looks.get() + 1);
        assert!(self.wires.looks.get() < 1_000, "a call waits for the medium");
        if !self.is_under_way || !self.wires.has_ended.get() {
            return None;
        }
        self.is_under_way = false;
        Some(Ok(()))
    }
}

shape_of_flash!(Late<'_>);

fn at(ms: u64) -> Now {
    Now { monotonic_ms: ms, wall_s: 1_000 + (ms / 1_000) as u32 }
}

fn tier<'m, 'f>(memory: &'m mut Memory, flash: Flash, wires: &'f Wires) -> Tier<'m, 'f> {
    FlashTier::new(FlashConfig::new(SEGMENT, 5), memory, Late::new(flash, wires)).unwrap()
}

fn blank() -> Flash {
    NorMedium::new(Ram::new(SEGMENTS))
}

/// Makes a call again, after an interrupt each time, until it is answered.
fn answered<T>(wires: &Wires, mut call: impl FnMut() -> Result<T, PutError>) -> Result<T, PutError> {
    for _ in 0..10_000 {
        match wires.call(&mut call) {
            Err(PutError::Busy(Wait::Operation)) => wires.interrupt(),
            Err(PutError::NeedsCompaction) => {}
            result => return result,
        }
    }
    panic!("a call that is never answered");
}

fn mounted<'m, 'f>(memory: &'m mut Memory, flash: Flash, wires: &'f Wires) -> Tier<'m, 'f> {
    let mut tier = tier(memory, flash, wires);
    let mut put_off = 0;
    loop {
        match wires.call(|| tier.mount(at(0))) {
            Err(FlashMountError::Busy) => put_off += 1,
            report => {
                report.unwrap();
                break;
            }
        }
        wires.interrupt();
    }
    assert!(put_off > 0, "a mount syncs");
    tier
}

/// A tier with an operation under way that never ends.
fn stuck<'m, 'f>(memory: &'m mut Memory, wires: &'f Wires) -> Tier<'m, 'f> {
    let mut tier = mounted(memory, blank(), wires);
    answered(wires, || tier.put(at(1), b"old", b"value")).unwrap();
    while !wires.call(|| tier.poll(at(1), 8)).is_idle {
        wires.interrupt();
    }
    assert_eq!(wires.call(|| tier.put(at(1), b"key", b"value")), Err(PutError::Busy(Wait::Operation)));
    tier
}

#[test]
fn mount_whose_sync_never_ends_returns_busy() {
    let (wires, mut memory) = (Wires::default(), Memory::new());
    let mut tier = tier(&mut memory, blank(), &wires);
    for _ in 0..3 {
        assert_eq!(wires.call(|| tier.mount(at(0))), Err(FlashMountError::Busy));
    }
    assert_eq!(tier.mounted(), Err(FlashMountError::Busy));
    assert_eq!(wires.call(|| tier.put(at(0), b"key", b"value")), Err(PutError::NotMounted));
    wires.interrupt();
    assert!(wires.call(|| tier.mount(at(0))).is_ok());
}

#[test]
fn every_call_while_an_operation_never_ends_returns_busy() {
    let (wires, mut memory) = (Wires::default(), Memory::new());
    let mut tier = stuck(&mut memory, &wires);
    let operations = wires.operations.get();
    let (now, busy, mut out) = (at(2), Err(PutError::Busy(Wait::Operation)), [0; 96]);
    assert_eq!(wires.call(|| tier.put(now, b"key", b"value")), busy);
    assert_eq!(wires.call(|| tier.put(now, b"other", b"value")), busy);
    assert_eq!(wires.call(|| tier.put_with_ttl(now, b"key", b"value", 60)), busy);
    assert_eq!(wires.call(|| tier.remove(now, b"old")).map(drop), busy);
    assert_eq!(wires.call(|| tier.sync(now)), busy);
    assert_eq!(wires.call(|| tier.reserve(now, 4, 64, 8)).map(|_| ()), busy);
    assert_eq!(wires.call(|| tier.begin(now, b"long", None)), busy);
    assert_eq!(wires.call(|| tier.sweep(now)).map(drop), Ok(()), "there is nothing to sweep");
    assert_eq!(wires.call(|| tier.get(now, b"old", &mut out).map(drop)), Err(GetError::Busy));
    assert_eq!(wires.call(|| tier.contains(now, b"old").map(drop)), Err(GetError::Busy));
    let mut cursor = Cursor::default();
    assert_eq!(wires.call(|| tier.next_key(now, &mut cursor, &mut out).map(drop)), Err(GetError::Busy));
    let pieces = wires.call(|| tier.get_in_pieces(now, b"old", &mut out, |_, _| {}));
    assert_eq!(pieces.map(drop), Err(GetError::Busy));
    let work = wires.call(|| tier.poll(now, 100));
    assert!(work.is_waiting && !work.is_idle && work.operations == 0);
    assert_eq!(wires.operations.get(), operations, "nothing else was asked of the medium");
    wires.interrupt();
    assert_eq!(wires.call(|| tier.put(now, b"key", b"value")), Ok(()));
    assert_eq!(wires.operations.get(), operations, "it was written once");
}

#[test]
fn pieces_while_an_operation_never_ends_return_busy() {
    let (wires, mut memory) = (Wires::default(), Memory::new());
    let mut tier = mounted(&mut memory, blank(), &wires);
    let mut out = [0; 96];
    answered(&wires, || tier.begin(at(1), b"long", Some(60))).unwrap();
    for piece in 0..3u8 {
        let busy = wires.call(|| tier.put_piece(at(1), b"long", &[piece; 40]));
        assert_eq!(busy, Err(PutError::Busy(Wait::Operation)));
        // The clock goes on meanwhile.
        let now = at(1_500 * u64::from(piece));
        answered(&wires, || tier.put_piece(now, b"long", &[piece; 40])).unwrap();
    }
    assert_eq!(wires.call(|| tier.commit(at(4_000), b"long")), Err(PutError::Busy(Wait::Operation)));
    answered(&wires, || tier.commit(at(5_000), b"long")).unwrap();
    let mut found = Vec::new();
    let len = tier.get_in_pieces(at(5_000), b"long", &mut out, |_, piece| found.extend_from_slice(piece));
    assert_eq!((len, found), (Ok(Some(120)), [[0; 40], [1; 40], [2; 40]].concat()));
    // Pieces left of a value that was given up go, one a call.
    answered(&wires, || tier.begin(at(5_000), b"long", None)).unwrap();
    answered(&wires, || tier.put_piece(at(5_000), b"long", &[9; 40])).unwrap();
    answered(&wires, || tier.begin(at(5_000), b"other", None)).unwrap();
    while answered(&wires, || tier.sweep(at(5_000))).unwrap() {}
    let len = tier.get_in_pieces(at(5_000), b"long", &mut out, |_, _| {});
    assert_eq!((len, tier.len()), (Ok(Some(120)), 1));
}

#[test]
fn put_that_an_interrupt_ends_is_answered_by_the_next_call() {
    let (wires, mut memory) = (Wires::default(), Memory::new());
    let mut tier = stuck(&mut memory, &wires);
    let records = tier.stats().counters.fresh_records;
    // The handler takes the end of the operation and begins another one.
    tier.schedule(CompactionTask::CompactData).unwrap();
    wires.interrupt();
    let _ = wires.call(|| tier.poll(at(3), 8));
    assert_eq!(wires.call(|| tier.put(at(3), b"key", b"value")), Ok(()));
    assert_eq!(tier.stats().counters.fresh_records, records, "its record was there before");
    // The put was answered, so the same call is a new one.
    answered(&wires, || tier.remove(at(3), b"key")).unwrap();
    answered(&wires, || tier.put(at(3), b"key", b"value")).unwrap();
    let mut out = [0; 8];
    while wires.call(|| tier.get(at(3), b"key", &mut out).map(drop)) == Err(GetError::Busy) {
        wires.interrupt();
    }
    assert_eq!(tier.get(at(3), b"key", &mut out), Ok(Some(b"value".as_slice())));
}

#[test]
fn put_with_ttl_made_again_later_is_answered_once() {
    let (wires, mut memory) = (Wires::default(), Memory::new());
    let mut tier = mounted(&mut memory, blank(), &wires);
    let mut out = [0; 8];
    answered(&wires, || tier.put(at(1), b"other", b"x")).unwrap();
    let records = tier.stats().counters.fresh_records;
    assert_eq!(
        wires.call(|| tier.put_with_ttl(at(1), b"key", b"value", 10)),
        Err(PutError::Busy(Wait::Operation))
    );
    wires.interrupt();
    assert_eq!(wires.call(|| tier.put_with_ttl(at(5_000), b"key", b"value", 10)), Ok(()));
    assert_eq!(tier.stats().counters.fresh_records, records + 1);
    // The lifetime counts from the append. A call with another lifetime, or after the answer, is a new one.
    let mut is_there = |tier: &mut Tier<'_, '_>, ms| tier.get(at(ms), b"key", &mut out).unwrap().is_some();
    assert!(is_there(&mut tier, 10_900) && !is_there(&mut tier, 13_100));
    for (ms, again_ms, ttl_s) in [(14_000, 15_000, 20), (50_000, 70_000, 10)] {
        answered(&wires, || tier.put(at(ms), b"key", b"")).unwrap();
        let busy = wires.call(|| tier.put_with_ttl(at(ms), b"key", b"value", 10));
        assert_eq!(busy, Err(PutError::Busy(Wait::Operation)));
        wires.interrupt();
        answered(&wires, || tier.put_with_ttl(at(again_ms), b"key", b"value", ttl_s)).unwrap();
        assert!(is_there(&mut tier, again_ms + u64::from(ttl_s) * 1_000 - 1), "{ttl_s} s from {again_ms} ms");
    }
}

#[test]
fn commit_whose_time_is_over_is_answered_once() {
    let (wires, mut memory) = (Wires::default(), Memory::new());
    let mut tier = mounted(&mut memory, blank(), &wires);
    answered(&wires, || tier.begin(at(1), b"long", Some(1))).unwrap();
    answered(&wires, || tier.put_piece(at(1), b"long", &[1; 40])).unwrap();
    answered(&wires, || tier.commit(at(9_000), b"long")).unwrap();
    assert_eq!(tier.get_in_pieces(at(9_000), b"long", &mut [0; 96], |_, _| ()), Ok(None), "its time is over");
}

struct Rng(u64);

impl Rng {
    fn below(&mut self, bound: u32) -> u32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as u32 % bound
    }
}

/// Random changes. One in five of those that are put off is given up: its key then has the old value or the new one, as it has
/// after a cut.
fn life(seed: u64, flash: Flash, model: &mut BTreeMap<u32, Vec<Option<Vec<u8>>>>) -> Flash {
    let (wires, mut memory, mut rng) = (Wires::default(), Memory::new(), Rng(seed));
    let mut tier = mounted(&mut memory, flash, &wires);
    let mut out = [0; 96];
    for act in 0..400u32 {
        let (now, number) = (at(u64::from(act)), rng.below(24));
        let key = [b'k', number as u8];
        let mut value = vec![act as u8; 4 + rng.below(60) as usize];
        value[..4].copy_from_slice(&act.to_le_bytes());
        let value = (rng.below(4) > 0).then_some(value);
        let mut is_answered = false;
        let mut is_begun = false;
        for _ in 0..1_000 {
            let result = wires.call(|| match &value {
                Some(value) => tier.put(now, &key, value),
                None => tier.remove(now, &key).map(drop),
            });
            match result {
                Ok(()) => is_answered = true,
                Err(PutError::Busy(Wait::Operation)) => {
                    is_begun = true;
                    if rng.below(3) > 0 {
                        wires.interrupt();
                    }
                    if rng.below(3) == 0 {
                        let budget = rng.below(4);
                        let _ = wires.call(|| tier.poll(now, budget));
                    }
                }
                Err(PutError::NeedsCompaction | PutError::Full) => {}
                Err(error) => panic!("{error}"),
            }
            if is_answered || is_begun && rng.below(20) == 0 {
                break;
            }
        }
        let held = model.entry(number).or_insert_with(|| vec![None]);
        if is_answered {
            *held = vec![value];
        } else {
            held.push(value);
        }
        let number = rng.below(24);
        if let Ok(found) = wires.call(|| tier.get(now, &[b'k', number as u8], &mut out)) {
            let found = found.map(<[u8]>::to_vec);
            let held = model.entry(number).or_insert_with(|| vec![None]);
            assert!(held.contains(&found), "key {number}: {found:?} is none of {held:?}");
        }
        if rng.below(10) == 0 {
            answered(&wires, || tier.sync(now)).unwrap();
        }
        if rng.below(10) == 0 {
            match wires.call(|| tier.reserve(now, 2, 64, 4)) {
                Ok(Reserved::Ready(_) | Reserved::Compacting(_))
                | Err(PutError::Busy(_) | PutError::Full) => {}
                Err(error) => panic!("{error}"),
            }
        }
    }
    // The power is cut; the operation under way was completed.
    tier.into_medium().flash
}

#[test]
fn calls_put_off_and_given_up_leave_the_old_value_or_the_new() {
    for seed in 0..if cfg!(debug_assertions) { 3 } else { 40 } {
        let (mut flash, mut model) = (blank(), BTreeMap::new());
        for number in 0..4 {
            flash = life(seed * 4 + number, flash, &mut model);
            let (wires, mut memory, mut out) = (Wires::default(), Memory::new(), [0; 96]);
            let mut tier = mounted(&mut memory, flash, &wires);
            for (number, held) in &mut model {
                let found = tier.get(at(400), &[b'k', *number as u8], &mut out).unwrap().map(<[u8]>::to_vec);
                assert!(held.contains(&found), "seed {seed}, key {number}: {found:?} is none of {held:?}");
                *held = vec![found];
            }
            flash = tier.into_medium().flash;
        }
    }
}
