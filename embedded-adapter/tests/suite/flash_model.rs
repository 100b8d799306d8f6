//! Random histories of a flash tier against a map, with remounts between, over media of every kind and both drivers.

use core::cell::RefCell;
use core::convert::Infallible;
use std::collections::BTreeMap;

use crate::driver::{AnyMedium, AnyNorTier, AnyTier, Driver};
use crate::ram::Ram;
use crate::shared::Shared;
use coldpress_core::compaction::{CompactionTask, Outcome};
use coldpress_core::drive::{MediumError, Now};
use coldpress_core::durability::expiry_s;
use coldpress_embedded::IoMedium;
use coldpress_embedded::flash::{
    Cursor, DeviceMedium, FlashConfig, FlashMemory, GetError, Medium, PutError, TaskMailbox, TaskWorker,
    Wait, buckets_for,
};
use embedded_storage::nor_flash::NorFlash;

const KEYS: usize = 60;
const CONFIG: FlashConfig = FlashConfig::new(1024, 9);
type Memory = FlashMemory<10, { buckets_for(KEYS) }, 160>;

/// The content of a key: its value and its expiry.
type Model = BTreeMap<Vec<u8>, (Vec<u8>, Option<u32>)>;

struct Rng(u64);

impl Rng {
    fn below(&mut self, bound: u32) -> u32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as u32 % bound
    }
}

/// Keys of all lengths: some longer than those that are their own identity.
fn key(number: u32) -> Vec<u8> {
    let long = b"a key that is hashed, number ";
    let prefix = if number.is_multiple_of(3) { &long[..] } else { &b"k"[..] };
    [prefix, number.to_string().as_bytes()].concat()
}

fn at(ms: u64) -> Now {
    Now { monotonic_ms: ms, wall_s: 1_000 + (ms / 1_000) as u32 }
}

/// Repeats a call until it is not put off, and polls between.
fn until_taken<M: Medium + DeviceMedium, F: NorFlash, T>(
    tier: &mut AnyTier<'_, M, F>,
    now: Now,
    mut call: impl FnMut(&mut AnyTier<'_, M, F>) -> Result<T, PutError>,
) -> Result<T, PutError> {
    for _ in 0..1_000 {
        match call(tier) {
            Err(PutError::NeedsCompaction | PutError::Busy(_)) => {
                let work = tier.poll(now, 16);
                assert!(work.erases <= 1 && work.operations <= 16);
            }
            result => return result,
        }
    }
    panic!("I-GC-2: put off a thousand times\n{:?}", tier.stats());
}

fn check<M: Medium + DeviceMedium, F: NorFlash>(tier: &mut AnyTier<'_, M, F>, now: Now, model: &Model) {
    let mut out = [0; 160];
    let mut live = BTreeMap::new();
    for number in 0..KEYS as u32 {
        let key = key(number);
        let known = model.get(&key).filter(|(_, expires_s)| expires_s.is_none_or(|at| at > now.wall_s));
        let found = tier.get(now, &key, &mut out).unwrap().map(<[u8]>::to_vec);
        assert_eq!(found.as_ref(), known.map(|(value, _)| value), "{}", String::from_utf8_lossy(&key));
        assert_eq!(tier.contains(now, &key), Ok(known.is_some()));
        if let Some((value, expires_s)) = known {
            live.insert(key, (value.len() as u32, *expires_s));
        }
    }
    let mut walked = BTreeMap::new();
    let mut cursor = Cursor::default();
    while let Some(found) = tier.next_key(now, &mut cursor, &mut out).unwrap() {
        let before = walked.insert(found.key.to_vec(), (found.value_bytes, found.expires_s));
        assert_eq!(before, None, "a walk comes to a key once");
    }
    assert_eq!(walked, live);
    assert!(tier.len() as usize >= live.len());
}

/// One life: acts until the next mount.
fn live<M: Medium + DeviceMedium, F: NorFlash>(
    tier: &mut AnyTier<'_, M, F>,
    rng: &mut Rng,
    ms: &mut u64,
    model: &mut Model,
    acts: u32,
) {
    for _ in 0..acts {
        let now = at(*ms);
        let key = key(rng.below(KEYS as u32));
        match rng.below(20) {
            0..12 => {
                let value = vec![rng.below(256) as u8; rng.below(90) as usize];
                let ttl_s = (rng.below(4) == 0).then(|| 1 + rng.below(30));
                let put = until_taken(tier, now, |tier| match ttl_s {
                    Some(ttl_s) => tier.put_with_ttl(now, &key, &value, ttl_s),
                    None => tier.put(now, &key, &value),
                });
                match put {
                    Ok(()) => {
                        drop(model.insert(key, (value, ttl_s.map(|ttl_s| expiry_s(now.wall_s, ttl_s)))))
                    }
                    Err(PutError::Full | PutError::KeysFull) => {}
                    Err(error) => panic!("{error}"),
                }
            }
            12..16 => {
                let had = until_taken(tier, now, |tier| tier.remove(now, &key)).unwrap();
                let known = model.remove(&key).is_some_and(|(_, at)| at.is_none_or(|at| at > now.wall_s));
                assert_eq!(had, known, "whether there was a value");
            }
            16 => drop(tier.schedule(CompactionTask::ALL[rng.below(4) as usize])),
            17 => *ms += u64::from(rng.below(5_000)),
            _ => drop(tier.poll(now, 1 + rng.below(20))),
        }
        while tier.take_report().is_some() {}
    }
    check(tier, at(*ms), model);
}

/// Several lives on one medium.
fn history<M: Medium + DeviceMedium, F: NorFlash, const SEGMENTS: usize>(
    mut medium: AnyMedium<M, F>,
    segment_bytes: u32,
    seed: u64,
) {
    let mut memory = FlashMemory::<SEGMENTS, { buckets_for(KEYS) }, 160>::new();
    let (mut model, mut rng, mut ms) = (Model::new(), Rng(seed), 0);
    for _ in 0..6 {
        let mut tier = AnyTier::new(FlashConfig::new(segment_bytes, 9), &mut memory, medium);
        tier.mount(at(ms)).unwrap();
        check(&mut tier, at(ms), &model);
        live(&mut tier, &mut rng, &mut ms, &mut model, 400);
        until_taken(&mut tier, at(ms), |tier| tier.sync(at(ms))).unwrap();
        medium = tier.into_medium();
    }
}

/// The same history over both drivers, in sectors of which so many are a segment.
fn history_on_flash<const UNIT: usize, const SECTOR: usize, const SEGMENTS: usize>(
    sectors: usize,
    seed: u64,
) {
    for driver in Driver::BOTH {
        let flash = Ram::<UNIT, SECTOR>::new(SEGMENTS * sectors);
        history::<_, _, SEGMENTS>(driver.medium(flash), (SECTOR * sectors) as u32, seed);
    }
}

#[test]
fn histories_in_write_units_of_every_size_follow_the_model() {
    for seed in 0..8 {
        history_on_flash::<1, 1024, 10>(1, seed);
        history_on_flash::<2, 1024, 10>(1, seed);
        history_on_flash::<4, 512, 10>(2, seed);
        history_on_flash::<8, 2048, 10>(1, seed);
        history_on_flash::<16, 2048, 10>(1, seed);
        history_on_flash::<32, 4096, 10>(1, seed);
    }
}

#[test]
fn histories_on_flash_of_any_length_follow_the_model() {
    for seed in 0..8 {
        history_on_flash::<4, 2048, 3>(1, seed);
        history_on_flash::<4, 2048, 4>(1, seed);
        history_on_flash::<8, 4096, 2>(1, seed);
        history_on_flash::<4, 512, 32>(1, seed);
        history_on_flash::<4, 512, 34>(1, seed);
        history_on_flash::<8, 512, 34>(1, seed);
    }
}

/// A device of bytes with read, write and seek.
struct Disk {
    bytes: Vec<u8>,
    at: usize,
}

impl embedded_io::ErrorType for Disk {
    type Error = Infallible;
}

impl embedded_io::Read for Disk {
    fn read(&mut self, out: &mut [u8]) -> Result<usize, Infallible> {
        out.copy_from_slice(&self.bytes[self.at..][..out.len()]);
        self.at += out.len();
        Ok(out.len())
    }
}

impl embedded_io::Write for Disk {
    fn write(&mut self, data: &[u8]) -> Result<usize, Infallible> {
        self.bytes[self.at..][..data.len()].copy_from_slice(data);
        self.at += data.len();
        Ok(data.len())
    }

    fn flush(&mut self) -> Result<(), Infallible> {
        Ok(())
    }
}

impl embedded_io::Seek for Disk {
    fn seek(&mut self, to: embedded_io::SeekFrom) -> Result<u64, Infallible> {
        if let embedded_io::SeekFrom::Start(at) = to {
            self.at = at as usize;
        }
        Ok(self.at as u64)
    }
}

#[test]
fn histories_on_a_device_that_seeks_follow_the_model() {
    for seed in 0..8 {
        let disk = Disk { bytes: vec![0xFF; 10 * 1000], at: 0 };
        let medium = AnyMedium::<_, Ram<1, 1>>::Blocking(IoMedium::new(disk, 10 * 1000));
        history::<_, _, 10>(medium, 1000, seed);
    }
}

fn mounted<F: NorFlash>(memory: &mut Memory, driver: Driver, flash: F) -> AnyNorTier<'_, F> {
    let mut tier = AnyTier::new(CONFIG, memory, driver.medium(flash));
    tier.mount(at(0)).unwrap();
    tier
}

/// A tier on a flash of which each segment was erased.
fn blank(memory: &mut Memory, driver: Driver) -> AnyNorTier<'_, Ram<4, 1024>> {
    let mut tier = mounted(memory, driver, Ram::new(10));
    while !tier.poll(at(0), 64).is_idle {}
    tier
}

fn full_medium(driver: Driver) {
    let mut memory = Memory::new();
    let mut tier = blank(&mut memory, driver);
    let mut taken = Vec::new();
    for number in 0..KEYS as u32 {
        match until_taken(&mut tier, at(0), |tier| tier.put(at(0), &key(number), &[1; 110])) {
            Ok(()) => taken.push(number),
            Err(error) => {
                assert_eq!(error, PutError::Full);
                break;
            }
        }
    }
    assert!((20..KEYS).contains(&taken.len()), "{} values", taken.len());
    // Overwrites on a full medium go on without end.
    for round in 0..200 {
        let number = taken[round % taken.len()];
        until_taken(&mut tier, at(0), |tier| tier.put(at(0), &key(number), &[2; 110])).unwrap();
    }
    for number in &taken {
        assert_eq!(until_taken(&mut tier, at(0), |tier| tier.remove(at(0), &key(*number))), Ok(true));
    }
    assert!(tier.is_empty());
    assert_eq!(until_taken(&mut tier, at(0), |tier| tier.put(at(0), b"again", &[3; 110])), Ok(()));
}

#[test]
fn full_medium_refuses_values_and_takes_every_remove() {
    Driver::BOTH.into_iter().for_each(full_medium);
}

fn full_index(driver: Driver) {
    let mut memory = Memory::new();
    let mut tier = blank(&mut memory, driver);
    let mut put_off = 0;
    for number in 0..2_000u32 {
        let name = number.to_le_bytes();
        loop {
            match until_taken(&mut tier, at(0), |tier| tier.put(at(0), &name, b"short-lived")) {
                Ok(()) => break,
                Err(PutError::KeysFull) => {
                    put_off += 1;
                    tier.schedule(CompactionTask::CompactData).unwrap();
                    while tier.take_report().is_none() {
                        let _ = tier.poll(at(0), 64);
                    }
                }
                Err(error) => panic!("key {number}: {error}\n{:?}", tier.stats()),
            }
            assert!(put_off < 2_000, "I-GC-2: {:?}", tier.stats());
        }
        until_taken(&mut tier, at(0), |tier| tier.remove(at(0), &name)).unwrap();
    }
    assert!(tier.is_empty());
    println!("{driver:?}: cleared {put_off} times");
}

#[test]
fn index_full_of_removed_keys_is_cleared_by_compaction() {
    Driver::BOTH.into_iter().for_each(full_index);
}

fn flipped_bits(driver: Driver) {
    let mut memory = Memory::new();
    let mut tier = blank(&mut memory, driver);
    until_taken(&mut tier, at(0), |tier| tier.put(at(0), b"key", b"a value of some length")).unwrap();
    let mut flash = tier.into_medium().into_flash();
    let start = flash.bytes.windows(3).position(|bytes| bytes == b"key").unwrap() - 12;
    for bit in 0..37 * 8 {
        flash.bytes[start + bit / 8] ^= 1 << (bit % 8);
        // The bit turned before the mount: nothing is left of the value.
        let mut tier = mounted(&mut memory, driver, &mut flash);
        assert_eq!(tier.get(at(0), b"key", &mut [0; 64]), Ok(None), "bit {bit}");
        let flash = tier.into_medium().into_flash();
        flash.bytes[start + bit / 8] ^= 1 << (bit % 8);
    }
    for bit in 0..37 * 8 {
        let shared = RefCell::new(flash.clone());
        let mut tier = mounted(&mut memory, driver, Shared(&shared));
        // It turns while the tier is mounted.
        shared.borrow_mut().bytes[start + bit / 8] ^= 1 << (bit % 8);
        assert_eq!(tier.get(at(0), b"key", &mut [0; 64]), Err(GetError::Damaged), "bit {bit}");
        until_taken(&mut tier, at(0), |tier| tier.put(at(0), b"key", b"new")).unwrap();
        assert_eq!(tier.get(at(0), b"key", &mut [0; 64]), Ok(Some(b"new".as_slice())));
        until_taken(&mut tier, at(0), |tier| tier.remove(at(0), b"key")).unwrap();
        let mut out = [0; 64];
        let found = tier.get(at(0), b"key", &mut out);
        assert!(matches!(found, Ok(None)), "bit {bit}: {found:?}");
        drop(tier);
        let mut tier = mounted(&mut memory, driver, Shared(&shared));
        assert_eq!(tier.get(at(0), b"key", &mut [0; 64]), Ok(None), "I-LOG-5: bit {bit}");
    }
}

#[test]
fn record_with_any_flipped_bit_reads_as_damaged() {
    Driver::BOTH.into_iter().for_each(flipped_bits);
}

#[test]
fn tasks_from_the_mailbox_are_reported_to_their_tickets() {
    let mut memory = Memory::new();
    let mut tier = blank(&mut memory, Driver::Blocking);
    for round in 0..300u32 {
        let name = (round % 20).to_le_bytes();
        until_taken(&mut tier, at(0), |tier| tier.put_with_ttl(at(0), &name, &[7; 60], 10 + round % 2 * 90))
            .unwrap();
    }
    let (mailbox, mut worker) = (TaskMailbox::<3>::new(), TaskWorker::new());
    let tasks = [CompactionTask::CleanupExpired, CompactionTask::CompactData, CompactionTask::RebuildIndex];
    let tickets = tasks.map(|task| mailbox.schedule(task).unwrap());
    assert!(mailbox.schedule(CompactionTask::CompactData).is_err(), "it holds three");
    let mut reports = Vec::new();
    // Over an async flash there is no such worker.
    let AnyTier::Blocking(mut tier) = tier else { panic!("a tier that does not wait") };
    for _ in 0..20_000 {
        let work = worker.poll(&mailbox, &mut tier, at(50_000), 1);
        assert!(work.operations <= 1);
        reports.extend(tickets.iter().filter_map(|ticket| mailbox.poll(*ticket).ok().flatten()));
        if reports.len() == 3 {
            break;
        }
    }
    assert_eq!(reports.iter().map(|report| report.task).collect::<Vec<_>>(), tasks);
    assert!(reports.iter().all(|report| report.outcome != Outcome::Failed), "{reports:?}");
    assert_eq!(reports[0].expired_records, 10);
    assert_eq!(tier.len(), 10);
}

fn failing_flash(driver: Driver) {
    let mut memory = Memory::new();
    let shared = RefCell::new(blank(&mut memory, driver).into_medium().into_flash());
    let mut tier = mounted(&mut memory, driver, Shared(&shared));
    let mut value = [0; 8];
    for round in 0..60u8 {
        let ms = u64::from(round) * 5_000;
        until_taken(&mut tier, at(ms), |tier| tier.put(at(ms), b"key", &[round; 8])).unwrap();
        shared.borrow_mut().is_broken = true;
        assert_eq!(tier.put(at(ms), b"other", &[round; 8]), Err(PutError::Medium(MediumError::Io)));
        assert!(matches!(tier.get(at(ms), b"key", &mut value), Err(GetError::Medium(_))));
        assert_eq!(
            tier.put(at(ms), b"third", &[1]),
            Err(PutError::Busy(Wait::Retry)),
            "not tried again at once"
        );
        shared.borrow_mut().is_broken = false;
        assert_eq!(tier.get(at(ms), b"key", &mut value), Ok(Some([round; 8].as_slice())));
        assert_eq!(tier.get(at(ms), b"other", &mut [0; 8]).map(|found| found.is_some()), Ok(false));
    }
    // The refused value was not there, and is not now.
    drop(tier);
    let mut tier = AnyTier::new(CONFIG, &mut memory, driver.medium(Shared(&shared)));
    tier.mount(at(300_000)).unwrap();
    assert_eq!(tier.get(at(300_000), b"key", &mut value), Ok(Some([59; 8].as_slice())));
    assert_eq!(tier.len(), 1);
}

#[test]
fn failing_flash_is_reported_and_used_again_once_it_works() {
    Driver::BOTH.into_iter().for_each(failing_flash);
}
