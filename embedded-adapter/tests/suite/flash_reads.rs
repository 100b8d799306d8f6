//! Every read of a busy history fails in turn, in every way: no key gets an older value by that, then or after the next mount.

use core::cell::Cell;
use std::collections::BTreeMap;

use crate::ram::Ram;
use coldpress_core::compaction::CompactionTask;
use coldpress_core::drive::{MediumError, Now};
use coldpress_core::recovery::MountError;
use coldpress_core::writer::READ_TRIES;
use coldpress_embedded::flash::{
    DeviceMedium, FlashConfig, FlashMemory, FlashMountError, FlashTier, GetError, Medium, NorMedium,
    PutError, Started, buckets_for,
};

const KEYS: u32 = 24;
const ACTS: u32 = 500;
const SEGMENTS: usize = 14;
type Memory = FlashMemory<SEGMENTS, { buckets_for(40) }, 96>;
type Tier<'m, 'f> = FlashTier<'m, Failing<'f>>;

/// How a read fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    Error(MediumError),
    /// One bit of the bytes is wrong.
    Flip,
}

const FAULTS: [Fault; 3] =
    [Fault::Error(MediumError::Io), Fault::Error(MediumError::Unreadable), Fault::Flip];

/// The number of the first read that may fail: those of the first mount do not.
const BEGUN: u64 = 1 << 32;
/// No read from this number on fails.
const OVER: u64 = 1 << 60;
/// Debug builds try one read in so many.
const STEP: usize = if cfg!(debug_assertions) { 7 } else { 1 };

/// The reads that fail: `many` from the `first` on.
struct Plan {
    fault: Fault,
    first: u64,
    many: u64,
    reads: Cell<u64>,
}

impl Plan {
    fn new(fault: Fault, first: u64, many: u64) -> Self {
        Self { fault, first, many, reads: Cell::new(0) }
    }
}

struct Failing<'f> {
    flash: NorMedium<Ram<4, 512>>,
    plan: &'f Plan,
}

impl Medium for Failing<'_> {
    type Error = MediumError;
    fn read(&mut self, at: u64, bytes: &mut [u8]) -> Result<(), MediumError> {
        let number = self.plan.reads.get();
        self.plan.reads.set(number + 1);
        self.flash.read(at, bytes)?;
        if !(self.plan.first..self.plan.first + self.plan.many).contains(&number) {
            return Ok(());
        }
        match self.plan.fault {
            Fault::Error(error) => Err(error),
            Fault::Flip => {
                let middle = bytes.len() / 2;
                bytes[middle] ^= 0x10;
                Ok(())
            }
        }
    }
    fn write(&mut self, at: u64, bytes: &[u8]) -> Result<Started, MediumError> {
        self.flash.write(at, bytes)
    }
    fn erase(&mut self, at: u64, bytes: u64) -> Result<Started, MediumError> {
        self.flash.erase(at, bytes)
    }
    fn sync(&mut self) -> Result<Started, MediumError> {
        Ok(Started::Done)
    }
}

impl DeviceMedium for Failing<'_> {
    fn write_unit_bytes(&self) -> u32 {
        4
    }
    fn erase_unit_bytes(&self) -> u32 {
        512
    }
    fn medium_bytes(&self) -> u64 {
        self.flash.medium_bytes()
    }
}

struct Rng(u64);

impl Rng {
    fn below(&mut self, bound: u32) -> u32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as u32 % bound
    }
}

fn key(number: u32) -> [u8; 2] {
    [b'k', number.to_le_bytes()[0]]
}

fn at(ms: u64) -> Now {
    Now { monotonic_ms: ms, wall_s: 0 }
}

/// Repeats a call while it is put off or the medium fails, and polls between.
fn until_taken<T>(
    tier: &mut Tier<'_, '_>,
    ms: &mut u64,
    mut call: impl FnMut(&mut Tier<'_, '_>, Now) -> Result<T, PutError>,
) -> Result<T, PutError> {
    for _ in 0..2_000 {
        match call(tier, at(*ms)) {
            Err(PutError::NeedsCompaction | PutError::Busy(_) | PutError::Medium(_)) => {
                *ms += 20;
                let _ = tier.poll(at(*ms), 4);
            }
            result => return result,
        }
    }
    panic!("put off two thousand times\n{:?}", tier.stats());
}

type Model = BTreeMap<u32, Vec<u8>>;

fn act(tier: &mut Tier<'_, '_>, rng: &mut Rng, ms: &mut u64, model: &mut Model, number: u32) {
    let which = rng.below(KEYS);
    *ms += 1;
    match rng.below(16) {
        0..9 => {
            let mut value = vec![number.to_le_bytes()[0]; 4 + rng.below(60) as usize];
            value[..4].copy_from_slice(&number.to_le_bytes());
            match until_taken(tier, ms, |tier, now| tier.put(now, &key(which), &value)) {
                Ok(()) => drop(model.insert(which, value)),
                Err(PutError::Full) => {}
                Err(error) => panic!("{error}"),
            }
        }
        9..12 => {
            until_taken(tier, ms, |tier, now| tier.remove(now, &key(which))).unwrap();
            model.remove(&which);
        }
        12 => drop(tier.schedule(CompactionTask::ALL[rng.below(4) as usize])),
        13 => drop(tier.poll(at(*ms), 1 + rng.below(12))),
        _ => match tier.get(at(*ms), &key(which), &mut [0; 96]) {
            Ok(found) => assert_eq!(found, model.get(&which).map(Vec::as_slice), "key {which}"),
            Err(GetError::Medium(_) | GetError::Damaged | GetError::Short(_)) => {}
            Err(error) => panic!("{error}"),
        },
    }
    while tier.take_report().is_some() {}
}

fn check(tier: &mut Tier<'_, '_>, ms: u64, model: &Model, when: &str) {
    for number in 0..KEYS {
        let mut out = [0; 96];
        let found = tier.get(at(ms), &key(number), &mut out);
        assert_eq!(found, Ok(model.get(&number).map(Vec::as_slice)), "key {number} {when}");
    }
}

fn mounted<'m, 'f>(
    memory: &'m mut Memory,
    flash: Ram<4, 512>,
    plan: &'f Plan,
    ms: u64,
) -> Result<Tier<'m, 'f>, FlashMountError> {
    let medium = Failing { flash: NorMedium::new(flash), plan };
    let mut tier = FlashTier::new(FlashConfig::new(512, 5), memory, medium).unwrap();
    tier.mount(at(ms)).map(|_| tier)
}

/// A life in which some reads fail, and one after it in which none does; returns how many reads the first one made.
fn history(seed: u64, fault: Fault, first: u64, many: u64) -> u64 {
    let plan = Plan::new(fault, BEGUN + first, many);
    let (mut rng, mut ms, mut model, mut memory) = (Rng(seed), 0, Model::new(), Memory::new());
    let mut tier = mounted(&mut memory, Ram::new(SEGMENTS), &plan, ms).unwrap();
    plan.reads.set(BEGUN);
    for number in 0..ACTS {
        act(&mut tier, &mut rng, &mut ms, &mut model, number);
    }
    let reads = plan.reads.replace(OVER) - BEGUN;
    check(&mut tier, ms, &model, "after the failure");
    if many == 1 {
        assert_eq!(tier.len() as usize, model.len(), "one live entry a key");
    }
    for number in ACTS..2 * ACTS {
        act(&mut tier, &mut rng, &mut ms, &mut model, number);
    }
    check(&mut tier, ms, &model, "some compaction later");
    let flash = tier.into_medium().flash.into_flash();
    let mut tier = mounted(&mut memory, flash, &plan, ms).unwrap();
    check(&mut tier, ms, &model, "after a mount");
    assert_eq!(tier.len() as usize, model.len(), "one live entry a key");
    reads
}

#[test]
fn any_one_read_that_fails_leaves_one_live_entry_a_key() {
    for seed in 0..2 {
        let reads = history(seed, FAULTS[0], 1 << 40, 1);
        assert!(reads > 500, "{reads} reads");
        for first in (seed..reads).step_by(STEP) {
            for fault in FAULTS {
                history(seed, fault, first, 1);
            }
        }
    }
}

#[test]
fn two_reads_in_a_row_that_fail_bring_no_old_value_back() {
    let reads = history(7, FAULTS[0], 1 << 40, 2);
    for first in (0..reads).step_by(STEP) {
        for fault in FAULTS {
            history(7, fault, first, 2);
            history(7, fault, first, 3);
        }
    }
}

#[test]
fn mount_with_a_failed_read_reports_it_and_the_next_finds_all() {
    let plan = Plan::new(FAULTS[0], 1 << 40, 1);
    let (mut rng, mut ms, mut model, mut memory) = (Rng(9), 0, Model::new(), Memory::new());
    let mut tier = mounted(&mut memory, Ram::new(SEGMENTS), &plan, ms).unwrap();
    for number in 0..3 * ACTS {
        act(&mut tier, &mut rng, &mut ms, &mut model, number);
    }
    let flash = tier.into_medium().flash.into_flash();
    let mut failed = 0;
    for first in 0.. {
        let plan = Plan::new(FAULTS[0], first, u64::from(READ_TRIES));
        match mounted(&mut memory, flash.clone(), &plan, ms) {
            // A read of the index failed, and the mount did without it.
            Ok(mut tier) if plan.reads.get() > first => {
                plan.reads.set(OVER);
                check(&mut tier, ms, &model, "after a read again");
            }
            Ok(_) => break,
            Err(error) => {
                assert_eq!(error, FlashMountError::Mount(MountError::Medium(MediumError::Io)));
                failed += 1;
            }
        }
        // Fewer failures than a mount has tries for a read, and as many as the index has.
        let plan = Plan::new(FAULTS[0], first, 2);
        if let Ok(mut tier) = mounted(&mut memory, flash.clone(), &plan, ms) {
            plan.reads.set(OVER);
            check(&mut tier, ms, &model, "after two reads that failed");
            assert_eq!(tier.len() as usize, model.len());
        }
    }
    assert!(failed > 20, "{failed} mounts failed");
}
