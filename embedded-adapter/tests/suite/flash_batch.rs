//! Several keys that are committed together: what is refused, media that end their operations later, failures, and a full flash.

use core::cell::Cell;
use std::collections::BTreeMap;

use crate::ram::Ram;
use coldpress_core::drive::{MediumError, Now};
use coldpress_core::writer::BATCH_WAIT_MS;
use coldpress_embedded::flash::{
    Batch, FlashConfig, FlashMemory, FlashTier, Medium, NorMedium, PutError, Started, Wait, buckets_for,
};

const SEGMENTS: usize = 14;
const SEGMENT: u32 = 512;
const KEYS: usize = 36;
/// The most items of a batch.
const ITEMS: usize = 4;
/// The most bytes of a batch: a segment without its marker, headers, footer's place and time record.
const BATCH_BYTES_MAX: u32 = SEGMENT - 16 - 2 * 52 - 28 - 16 - 20;

type Memory = FlashMemory<SEGMENTS, { buckets_for(KEYS) }, 96, 1, ITEMS>;
type Flash = NorMedium<Ram<4, { SEGMENT as usize }>>;
type Tier<'m, 'f> = FlashTier<'m, Faulty<'f>>;
type Values = BTreeMap<u8, Vec<u8>>;

/// An operation of the flash, as counted by [`Faults`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    None,
    /// The operation of this number fails; it is made all the same or not.
    Change(u64, bool),
    /// The sync of this number fails.
    Sync(u64),
    /// The read of this number fails.
    Read(u64, MediumError),
}

/// The faults to come, and the counts of operations.
#[derive(Debug)]
struct Faults {
    fault: Cell<Fault>,
    changes: Cell<u64>,
    syncs: Cell<u64>,
    reads: Cell<u64>,
    /// Whether operations end later: each look but the first finds the end.
    is_late: Cell<bool>,
}

impl Faults {
    const fn new() -> Self {
        Self {
            fault: Cell::new(Fault::None),
            changes: Cell::new(0),
            syncs: Cell::new(0),
            reads: Cell::new(0),
            is_late: Cell::new(false),
        }
    }

    /// Lets an operation fail, counted from now on.
    fn set(&self, fault: Fault) {
        self.fault.set(fault);
        for count in [&self.changes, &self.syncs, &self.reads] {
            count.set(0);
        }
    }
}

fn next(count: &Cell<u64>) -> u64 {
    count.replace(count.get() + 1)
}

struct Faulty<'f> {
    flash: Flash,
    faults: &'f Faults,
    /// The result of the operation under way, and looks before it is seen.
    under_way: Option<(u32, Result<(), MediumError>)>,
}

impl Faulty<'_> {
    fn end(&mut self, result: Result<(), MediumError>) -> Result<Started, MediumError> {
        assert_eq!(self.under_way, None, "one operation after the other");
        if self.faults.is_late.get() {
            self.under_way = Some((1, result));
            return Ok(Started::UnderWay);
        }
        result.map(|()| Started::Done)
    }

    fn change(
        &mut self,
        make: impl FnOnce(&mut Flash) -> Result<Started, MediumError>,
    ) -> Result<Started, MediumError> {
        let number = next(&self.faults.changes);
        let result = match self.faults.fault.get() {
            Fault::Change(first, false) if number == first => Err(MediumError::Io),
            Fault::Change(first, true) if number == first => make(&mut self.flash).and(Err(MediumError::Io)),
            _ => make(&mut self.flash).map(|_| ()),
        };
        self.end(result)
    }
}

impl Medium for Faulty<'_> {
    type Error = MediumError;
    fn read(&mut self, at: u64, bytes: &mut [u8]) -> Result<(), MediumError> {
        match (self.faults.fault.get(), next(&self.faults.reads)) {
            (Fault::Read(first, error), number) if number == first => Err(error),
            _ => self.flash.read(at, bytes),
        }
    }
    fn write(&mut self, at: u64, bytes: &[u8]) -> Result<Started, MediumError> {
        self.change(|flash| flash.write(at, bytes))
    }
    fn erase(&mut self, at: u64, bytes: u64) -> Result<Started, MediumError> {
        self.change(|flash| flash.erase(at, bytes))
    }
    fn sync(&mut self) -> Result<Started, MediumError> {
        let number = next(&self.faults.syncs);
        let fails = self.faults.fault.get() == Fault::Sync(number);
        self.end(if fails { Err(MediumError::Io) } else { Ok(()) })
    }
    fn is_done(&mut self) -> Option<Result<(), MediumError>> {
        let (looks, result) = self.under_way?;
        self.under_way = (looks > 0).then_some((looks.saturating_sub(1), result));
        (looks == 0).then_some(result)
    }
}

shape_of_flash!(Faulty<'_>);

fn now(ms: u64) -> Now {
    Now { monotonic_ms: ms, wall_s: 1_000 + (ms / 1_000) as u32 }
}

fn mounted<'m, 'f>(memory: &'m mut Memory, flash: Flash, faults: &'f Faults) -> Tier<'m, 'f> {
    let medium = Faulty { flash, faults, under_way: None };
    let mut tier = FlashTier::new(FlashConfig::new(SEGMENT, 5), memory, medium).unwrap();
    tier.mount(now(0)).unwrap();
    while !tier.poll(now(1), 64).is_idle {}
    tier
}

fn blank() -> Flash {
    NorMedium::new(Ram::new(SEGMENTS))
}

/// Values of four keys, all of one generation, but for one that is removed in every third.
fn values(generation: u8) -> Values {
    let value = |key: u8| vec![generation ^ key << 4; 20 + usize::from(key + generation) % 11];
    (0..4).filter(|key| *key != 2 || generation % 3 != 2).map(|key| (key, value(key))).collect()
}

/// Commits the values of a generation together, once.
fn commit(tier: &mut Tier<'_, '_>, ms: u64, generation: u8) -> Result<(), PutError> {
    const NAMES: [u8; 4] = [0, 1, 2, 3];
    let (values, mut batch) = (values(generation), Batch::<ITEMS>::new());
    for key in NAMES.chunks(1) {
        match values.get(&key[0]) {
            Some(value) => batch.put(key, value).unwrap(),
            None => batch.remove(key).unwrap(),
        }
    }
    tier.commit_batch(now(ms), &batch)
}

/// Makes a call until it is neither put off nor waits.
fn answered<T>(
    tier: &mut Tier<'_, '_>,
    ms: &mut u64,
    mut call: impl FnMut(&mut Tier<'_, '_>, u64) -> Result<T, PutError>,
) -> Result<T, PutError> {
    for _ in 0..4_000 {
        match call(tier, *ms) {
            Err(PutError::NeedsCompaction | PutError::Busy(Wait::Retry)) => drop(tier.poll(now(*ms), 8)),
            Err(PutError::Busy(Wait::Operation)) => {}
            answer => return answer,
        }
        *ms += 5;
    }
    panic!("I-GC-2: a call that is put off for ever: {:?}", tier.stats());
}

fn found(tier: &mut Tier<'_, '_>, ms: u64) -> Values {
    let mut read = |key: u8| Some((key, tier.get(now(ms), &[key], &mut [0; 96]).unwrap()?.to_vec()));
    (0..4).filter_map(&mut read).collect()
}

#[test]
fn batch_that_can_not_be_written_is_refused_unchanged() {
    let (mut memory, faults) = (Memory::new(), Faults::new());
    let mut tier = mounted(&mut memory, blank(), &faults);
    commit(&mut tier, 2, 1).unwrap();
    let programmed = tier.stats().counters.bytes_written;
    let many: Vec<[u8; 1]> = (10..15).map(|key| [key]).collect();
    let mut batch = Batch::<5>::new();
    many.iter().for_each(|key| batch.put(key, b"value").unwrap());
    assert_eq!(tier.commit_batch(now(3), &batch), Err(PutError::BatchKeys(4)));

    let mut batch = Batch::<4>::new();
    many[..4].iter().for_each(|key| batch.put(key, &[7; 80]).unwrap());
    let bytes = 4 * (8 + 4 + 1 + 80u32).next_multiple_of(4);
    let too_long = PutError::BatchTooLong { bytes, max: BATCH_BYTES_MAX };
    assert_eq!(tier.commit_batch(now(3), &batch), Err(too_long));
    assert_eq!(too_long.to_string(), "the batch takes 384 bytes, and a segment gives it 328");

    let mut batch = Batch::<4>::new();
    batch.put(b"new", b"value").unwrap();
    batch.put(b"long", &[0; 97]).unwrap();
    assert_eq!(tier.commit_batch(now(3), &batch), Err(PutError::TooLong(96)));
    batch.put(b"long", b"short").unwrap();
    batch.remove(&[0xFF, 0x63, 0x70, 1]).unwrap();
    assert_eq!(tier.commit_batch(now(3), &batch), Err(PutError::Reserved));

    assert_eq!(tier.commit_batch(now(3), &Batch::<1>::new()), Ok(()), "nothing to do");
    assert_eq!(tier.stats().counters.bytes_written, programmed, "nothing was written");
    assert_eq!((found(&mut tier, 4), tier.len()), (values(1), 4));
}

#[test]
fn batch_of_unchanged_items_writes_nothing() {
    let (mut memory, faults) = (Memory::new(), Faults::new());
    let mut tier = mounted(&mut memory, blank(), &faults);
    commit(&mut tier, 2, 2).unwrap();
    let before = tier.stats().counters;
    commit(&mut tier, 3, 2).unwrap();
    let after = tier.stats().counters;
    assert_eq!(after.bytes_written, before.bytes_written);
    assert_eq!(after.unchanged_puts, before.unchanged_puts + 3);
    // One of three is another.
    let mut batch = Batch::<3>::new();
    let held = values(2);
    for (key, value) in [(&[0], held[&0].as_slice()), (&[1], b"other"), (&[3], &held[&3])] {
        batch.put(key, value).unwrap();
    }
    tier.commit_batch(now(4), &batch).unwrap();
    assert_eq!(tier.stats().counters.fresh_records, after.fresh_records + 1);
}

#[test]
fn batch_on_a_late_medium_goes_on_and_is_written_once() {
    let (mut memory, faults) = (Memory::new(), Faults::new());
    let mut tier = mounted(&mut memory, blank(), &faults);
    commit(&mut tier, 2, 1).unwrap();
    faults.is_late.set(true);
    let (mut ms, mut put_off, before) = (10, 0, tier.stats().counters);
    while let Err(error) = commit(&mut tier, ms, 3) {
        assert_eq!(error, PutError::Busy(Wait::Operation));
        // An interrupt polls between; the end of the last write is seen by any call.
        let _ = tier.poll(now(ms), 4);
        if let Ok(found) = tier.get(now(ms), &[1], &mut [0; 96]) {
            let held = [values(1), values(3)].map(|values| values[&1].clone());
            assert!(found.is_some_and(|found| held.contains(&found.to_vec())));
        }
        (ms, put_off) = (ms + 1, put_off + 1);
    }
    assert!(put_off > 4, "members, syncs, and the record behind them");
    assert_eq!(tier.stats().counters.fresh_records, before.fresh_records + 4);
    faults.is_late.set(false);
    assert_eq!(found(&mut tier, ms), values(3));
}

#[test]
fn batch_left_under_way_is_given_up_by_other_writes() {
    // After so many calls of the commit, another write comes.
    for calls in 1..14 {
        let (mut memory, faults) = (Memory::new(), Faults::new());
        let mut tier = mounted(&mut memory, blank(), &faults);
        commit(&mut tier, 2, 1).unwrap();
        faults.is_late.set(true);
        let is_done = (0..calls).any(|call| commit(&mut tier, 10 + call, 3).is_ok());
        let mut ms = 100;
        answered(&mut tier, &mut ms, |tier, ms| tier.put(now(ms), b"other", b"value")).unwrap();
        faults.is_late.set(false);
        let held = found(&mut tier, ms);
        assert!(held == values(3) || !is_done && held == values(1), "{calls} calls: {held:?}");
        answered(&mut tier, &mut ms, |tier, ms| commit(tier, ms, 4)).unwrap();
        assert_eq!(found(&mut tier, ms), values(4));
        let flash = tier.into_medium().flash;
        let mut tier = mounted(&mut memory, flash, &faults);
        assert_eq!(found(&mut tier, ms), values(4));
        assert_eq!(tier.get(now(ms), b"other", &mut [0; 96]), Ok(Some(b"value".as_slice())));
    }
}

#[test]
fn batch_left_under_way_is_given_up_after_a_while() {
    let (mut memory, faults) = (Memory::new(), Faults::new());
    let mut tier = mounted(&mut memory, blank(), &faults);
    commit(&mut tier, 2, 1).unwrap();
    faults.is_late.set(true);
    // Its first members are under way.
    while commit(&mut tier, 10, 3) != Err(PutError::Busy(Wait::Operation)) {}
    let _ = (tier.poll(now(11), 8), tier.poll(now(12), 8));
    faults.is_late.set(false);
    let abandoned = tier.stats().counters.segments_abandoned;
    assert_eq!(tier.poll_timeout(now(12)), Some(BATCH_WAIT_MS - 2));
    let _ = tier.poll(now(10 + BATCH_WAIT_MS), 8);
    assert_eq!(tier.stats().counters.segments_abandoned, abandoned + 1);
    assert_eq!(found(&mut tier, 20_000), values(1));
    let mut ms = 20_000;
    answered(&mut tier, &mut ms, |tier, ms| commit(tier, ms, 3)).unwrap();
    assert_eq!(found(&mut tier, ms), values(3));
}

/// Commits with one fault, then mounts: the batch is whole or absent. Returns how the commit was answered, and how many operations of
/// each kind there were.
fn commit_with(
    fault: Fault,
    generations: u8,
    is_late: bool,
    commits_again: bool,
) -> (Result<(), PutError>, [u64; 3]) {
    let (mut memory, faults) = (Memory::new(), Faults::new());
    let mut tier = mounted(&mut memory, blank(), &faults);
    let mut ms = 2;
    for generation in 1..=generations {
        answered(&mut tier, &mut ms, |tier, ms| commit(tier, ms, generation)).unwrap();
    }
    faults.is_late.set(is_late);
    faults.set(fault);
    let next = generations + 1;
    let answer = answered(&mut tier, &mut ms, |tier, ms| commit(tier, ms, next));
    let counts = [&faults.changes, &faults.syncs, &faults.reads].map(Cell::get);
    faults.is_late.set(false);
    faults.set(Fault::None);
    let (old, new) = (values(generations), values(next));
    assert_eq!(found(&mut tier, ms), if answer.is_ok() { new.clone() } else { old.clone() }, "{fault:?}");
    let mut may_be = if answer.is_ok() { vec![new] } else { vec![old, new] };
    if commits_again {
        ms += 10_000;
        answered(&mut tier, &mut ms, |tier, ms| commit(tier, ms, next + 1)).unwrap();
        assert_eq!(found(&mut tier, ms), values(next + 1), "{fault:?}");
        may_be = vec![values(next + 1)];
    }
    let flash = tier.into_medium().flash;
    let mut tier = mounted(&mut memory, flash, &faults);
    let held = found(&mut tier, ms);
    assert!(may_be.contains(&held), "{fault:?}: {held:02x?}, none of {may_be:02x?}");
    (answer, counts)
}

#[test]
fn batch_with_a_failed_operation_is_whole_or_absent() {
    let (mut failed, mut tried) = (0, 0);
    // Few records, and a flash in which segments are cleaned.
    for generations in [1, 27, 28, 29, 30] {
        for is_late in [false, true] {
            let (answer, [changes, syncs, reads]) = commit_with(Fault::None, generations, is_late, false);
            assert_eq!(answer, Ok(()));
            let changes = (0..changes).flat_map(|nth| [Fault::Change(nth, false), Fault::Change(nth, true)]);
            let reads = (0..reads).flat_map(|nth| {
                [MediumError::Io, MediumError::Unreadable].map(|error| Fault::Read(nth, error))
            });
            for fault in changes.chain((0..syncs).map(Fault::Sync)).chain(reads) {
                for commits_again in [false, true] {
                    let (answer, _) = commit_with(fault, generations, is_late, commits_again);
                    (failed, tried) = (failed + u32::from(answer.is_err()), tried + 1);
                }
            }
        }
    }
    println!("{tried} faults, {failed} commits failed");
    assert!(failed > 50 && tried > 300, "{failed} of {tried}");
}

#[test]
fn batches_on_a_full_flash_replace_what_is_there() {
    let (mut memory, faults) = (Memory::new(), Faults::new());
    let mut tier = mounted(&mut memory, blank(), &faults);
    let (mut ms, mut keys) = (2, Vec::new());
    // Records of 76 bytes, until no more fit.
    for key in 0..=u8::MAX {
        match answered(&mut tier, &mut ms, |tier, ms| tier.put(now(ms), &[key], &[key; 67])) {
            Ok(()) => keys.push([key]),
            Err(error) => {
                assert!(matches!(error, PutError::Full | PutError::KeysFull), "{error}");
                break;
            }
        }
    }
    assert!(keys.len() > 20, "{}", keys.len());
    for round in 0..60usize {
        let chosen: Vec<_> = (0..ITEMS).map(|nth| keys[(round * 5 + nth * 3) % keys.len()]).collect();
        let value = [round as u8; 67];
        let mut batch = Batch::<ITEMS>::new();
        chosen.iter().for_each(|key| batch.put(key, &value).unwrap());
        answered(&mut tier, &mut ms, |tier, ms| tier.commit_batch(now(ms), &batch)).unwrap();
        for key in &chosen {
            assert_eq!(tier.get(now(ms), key, &mut [0; 96]), Ok(Some(value.as_slice())));
        }
    }
    // A key more does not fit, nor beside one that goes where that gives too little.
    let mut batch = Batch::<ITEMS>::new();
    batch.put(&[250], &[1; 67]).unwrap();
    batch.put(&keys[0], &[2; 67]).unwrap();
    let answer = answered(&mut tier, &mut ms, |tier, ms| tier.commit_batch(now(ms), &batch));
    assert!(matches!(answer, Err(PutError::Full | PutError::KeysFull)), "{answer:?}");
    assert_eq!(tier.get(now(ms), &[250], &mut [0; 96]), Ok(None));
}

#[test]
fn batches_that_swap_keys_at_the_limit_find_places() {
    type Small = FlashMemory<SEGMENTS, { buckets_for(16) }, 96, 1, ITEMS>;
    let (mut memory, faults) = (Small::new(), Faults::new());
    let medium = Faulty { flash: blank(), faults: &faults, under_way: None };
    let mut tier = FlashTier::new(FlashConfig::new(SEGMENT, 5), &mut memory, medium).unwrap();
    tier.mount(now(0)).unwrap();
    let mut ms = 2;
    let most = Small::KEYS_MAX as u32;
    for key in 0..most {
        answered(&mut tier, &mut ms, |tier, ms| tier.put(now(ms), &key.to_le_bytes(), b"value")).unwrap();
    }
    let mut batch = Batch::<ITEMS>::new();
    batch.put(b"one more", b"value").unwrap();
    let answer = answered(&mut tier, &mut ms, |tier, ms| tier.commit_batch(now(ms), &batch));
    assert_eq!(answer, Err(PutError::KeysFull));
    for round in 0..200u32 {
        let (old, new) = ([2 * round, 2 * round + 1], [most + 2 * round, most + 2 * round + 1]);
        let (old, new) = (old.map(u32::to_le_bytes), new.map(u32::to_le_bytes));
        let mut batch = Batch::<ITEMS>::new();
        old.iter().for_each(|key| batch.remove(key).unwrap());
        new.iter().for_each(|key| batch.put(key, b"value").unwrap());
        answered(&mut tier, &mut ms, |tier, ms| tier.commit_batch(now(ms), &batch)).unwrap();
        assert_eq!(tier.len(), most, "round {round}");
        assert!(old.iter().all(|key| tier.contains(now(ms), key) == Ok(false)));
        assert!(new.iter().all(|key| tier.contains(now(ms), key) == Ok(true)));
    }
}
