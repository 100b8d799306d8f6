//! A tier on flash and its clients, from power-up to power cut.

use core::hash::{Hash as _, Hasher as _};
use std::collections::BTreeSet;

use coldpress_core::compaction::CompactionTask;
use coldpress_core::drive::Now;
use coldpress_core::durability::expiry_s;
use coldpress_core::recovery::MountReport;
use coldpress_embedded::flash::{
    Cursor, FlashConfig, FlashMemory, GetError, PutError, Reserved, buckets_for,
};

use super::damage::Past;
use crate::digest::Digest;
use crate::driver::{AnyNorTier, Driver};
use crate::flash::{self, Flash};
use crate::sim::{Do, Key, Oracle, What, key_bytes};

/// Segments of the small flash of most histories.
pub const SEGMENTS: usize = 14;
/// Keys that the histories use at most.
const KEYS: usize = 48;
/// The longest record.
const RECORD_BYTES: usize = 160;
/// The longest value that is read back.
const VALUE_BYTES: usize = 128;
/// Calls of `poll` within which anything must be possible (I-GC-2).
const POLLS_MAX: usize = 2_000;
/// Steps of one poll.
const BUDGET: u32 = 8;
/// When the first life begins, in seconds of the wall clock.
const BEGINNING_S: u32 = 1_000;

type Memory<const SEGMENTS: usize, const TASKS: usize> =
    FlashMemory<SEGMENTS, { buckets_for(KEYS) }, RECORD_BYTES, TASKS>;

type Tier<'d, const UNIT: usize, const SECTOR: usize> = AnyNorTier<'d, &'d mut Flash<UNIT, SECTOR>>;

/// A small flash with a tier: `UNIT` bytes are programmed as one, `SECTOR` bytes are one of `SEGMENTS` segments.
#[derive(Debug, Clone, Copy)]
pub struct Setup<const UNIT: usize, const SECTOR: usize, const SEGMENTS: usize> {
    /// The value that blank bytes read as.
    pub erase_value: u8,
    /// The driver of the flash.
    pub driver: Driver,
    /// Whether the tier takes tasks.
    pub has_tasks: bool,
}

/// The memory of a tier, used for one power-up after the other.
#[derive(Debug)]
pub struct Store<const SEGMENTS: usize> {
    /// Of a tier that takes tasks.
    full: Box<Memory<SEGMENTS, 1>>,
    /// Of one that takes none.
    small: Box<Memory<SEGMENTS, 0>>,
}

impl<const SEGMENTS: usize> Default for Store<SEGMENTS> {
    fn default() -> Self {
        Self { full: Box::new(Memory::new()), small: Box::new(Memory::without_tasks()) }
    }
}

/// The lasting state: the flash, the clients' knowledge of it, and time.
#[derive(Debug, Clone)]
pub struct Lasting<const UNIT: usize, const SECTOR: usize, const SEGMENTS: usize> {
    /// The flash.
    pub flash: Flash<UNIT, SECTOR>,
    /// The clients' knowledge.
    pub oracle: Oracle,
    now_ms: u64,
    /// The driver of its next power-up.
    pub(super) driver: Driver,
    has_tasks: bool,
}

impl<const UNIT: usize, const SECTOR: usize, const SEGMENTS: usize> Lasting<UNIT, SECTOR, SEGMENTS> {
    /// A digest of it that ignores the counts of past operations.
    #[must_use]
    pub fn digest(&self) -> u64 {
        let mut hasher = Digest::default();
        self.flash.hash(&mut hasher);
        self.oracle.hash(&mut hasher);
        self.now_ms.hash(&mut hasher);
        hasher.finish()
    }
}

/// A moment just before a change of the flash.
#[derive(Debug, Clone)]
pub struct Moment<const UNIT: usize, const SECTOR: usize, const SEGMENTS: usize> {
    /// The flash, and the change.
    pub flash: flash::Moment<UNIT, SECTOR>,
    oracle: Oracle,
    now_ms: u64,
    driver: Driver,
    has_tasks: bool,
}

impl<const UNIT: usize, const SECTOR: usize, const SEGMENTS: usize> Moment<UNIT, SECTOR, SEGMENTS> {
    /// The state that a cut here leaves.
    #[must_use]
    pub fn torn(&self, tear: flash::Tear) -> Lasting<UNIT, SECTOR, SEGMENTS> {
        Lasting {
            flash: self.flash.torn(tear),
            oracle: self.oracle.clone(),
            now_ms: self.now_ms,
            driver: self.driver,
            has_tasks: self.has_tasks,
        }
    }
}

/// The power was cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cut;

impl<const UNIT: usize, const SECTOR: usize, const SEGMENTS: usize> Setup<UNIT, SECTOR, SEGMENTS> {
    /// Flash that was never written.
    #[must_use]
    pub fn blank(&self) -> Lasting<UNIT, SECTOR, SEGMENTS> {
        let flash = Flash::new(SEGMENTS, self.erase_value);
        let Self { driver, has_tasks, .. } = *self;
        Lasting { flash, oracle: Oracle::default(), now_ms: 0, driver, has_tasks }
    }

    /// The moments of a history on blank flash, its first mount included.
    ///
    /// # Panics
    /// Where an answer is wrong.
    #[must_use]
    pub fn moments(&self, script: &[Do]) -> Vec<Moment<UNIT, SECTOR, SEGMENTS>> {
        let (mut store, mut lasting) = (Store::default(), self.blank());
        recorded(&mut store, &mut lasting, |device| {
            device.check_recovered();
            for step in script {
                device.follow(*step)?;
            }
            Ok(())
        })
    }
}

impl<const UNIT: usize, const SECTOR: usize, const SEGMENTS: usize> Setup<UNIT, SECTOR, SEGMENTS> {
    /// Runs a history on blank flash; returns the state it leaves, and all that was put.
    ///
    /// # Panics
    /// Where an answer is wrong.
    #[must_use]
    pub fn lived(&self, script: &[Do]) -> (Lasting<UNIT, SECTOR, SEGMENTS>, Past) {
        let (mut store, mut lasting, mut past) = (Store::default(), self.blank(), Past::new());
        let lived = Device::power_up(&mut store, &mut lasting).and_then(|mut device| {
            for step in script {
                device.follow(*step)?;
                if let Do::Put(key, _) | Do::PutFor(key, ..) = *step {
                    past.entry(key).or_default().push(device.oracle.current(key));
                }
            }
            Ok(())
        });
        lived.unwrap_or_else(|Cut| panic!("no cut is to come"));
        (lasting, past)
    }
}

/// Runs a life with a tape and returns its moments.
pub(super) fn recorded<const UNIT: usize, const SECTOR: usize, const SEGMENTS: usize>(
    store: &mut Store<SEGMENTS>,
    lasting: &mut Lasting<UNIT, SECTOR, SEGMENTS>,
    life: impl FnOnce(&mut Device<'_, UNIT, SECTOR, SEGMENTS>) -> Result<(), Cut>,
) -> Vec<Moment<UNIT, SECTOR, SEGMENTS>> {
    lasting.flash.keep_tape();
    let (driver, has_tasks) = (lasting.driver, lasting.has_tasks);
    let mut device = Device::power_up(store, lasting).unwrap_or_else(|Cut| panic!("no cut is to come"));
    life(&mut device).unwrap_or_else(|Cut| panic!("no cut is to come"));
    let known = core::mem::take(&mut device.known);
    drop(device);
    let tape = lasting.flash.take_tape();
    assert_eq!(tape.len(), known.len());
    let moment = |(flash, (oracle, now_ms))| Moment { flash, oracle, now_ms, driver, has_tasks };
    tape.into_iter().zip(known).map(moment).collect()
}

/// The tier while it has power.
#[derive(Debug)]
pub struct Device<'d, const UNIT: usize, const SECTOR: usize, const SEGMENTS: usize> {
    tier: Tier<'d, UNIT, SECTOR>,
    pub(super) oracle: &'d mut Oracle,
    now_ms: &'d mut u64,
    /// The clients' knowledge at each moment of the tape.
    known: Vec<(Oracle, u64)>,
    /// How many ways there were to tear the change of the call that was dropped.
    pub(super) tears: Option<usize>,
    /// The findings of the mount.
    pub report: MountReport,
}

impl<'d, const UNIT: usize, const SECTOR: usize, const SEGMENTS: usize> Device<'d, UNIT, SECTOR, SEGMENTS> {
    /// Gives power, and mounts.
    ///
    /// # Errors
    /// [`Cut`] where the power goes meanwhile.
    ///
    /// # Panics
    /// Where the mount fails.
    pub fn power_up(
        store: &'d mut Store<SEGMENTS>,
        lasting: &'d mut Lasting<UNIT, SECTOR, SEGMENTS>,
    ) -> Result<Self, Cut> {
        let mut device = Self::unmounted(store, lasting);
        device.mount()?;
        Ok(device)
    }

    /// Gives power.
    pub(super) fn unmounted(
        store: &'d mut Store<SEGMENTS>,
        lasting: &'d mut Lasting<UNIT, SECTOR, SEGMENTS>,
    ) -> Self {
        let Lasting { flash, oracle, now_ms, driver, has_tasks } = lasting;
        let tier = match has_tasks {
            true => Self::built(&mut store.full, flash, *driver),
            false => Self::built(&mut store.small, flash, *driver),
        };
        let report = MountReport::default();
        Self { tier, oracle, now_ms, known: Vec::new(), tears: None, report }
    }

    fn built<const TASKS: usize>(
        memory: &'d mut Memory<SEGMENTS, TASKS>,
        flash: &'d mut Flash<UNIT, SECTOR>,
        driver: Driver,
    ) -> Tier<'d, UNIT, SECTOR> {
        let config = FlashConfig { time_every_s: 2, ..FlashConfig::new(SECTOR as u32, 0xC01D) };
        let erase_value = flash.erase_value();
        let tier = AnyNorTier::new(driver, config, memory, flash, erase_value);
        tier.unwrap_or_else(|error| panic!("the tier can't be built: {error}"))
    }

    /// Mounts.
    pub(super) fn mount(&mut self) -> Result<(), Cut> {
        match self.on_tape(|device, now| device.tier.mount(now))? {
            Ok(report) => self.report = report,
            Err(error) => panic!("the mount failed: {error}"),
        }
        Ok(())
    }

    /// Drops the call that comes to the await point after so many.
    pub(super) fn drop_after(&mut self, points: u64, tear: Option<u64>) {
        self.tier.drop_after(Some(points), tear);
    }

    /// Drops no call any more.
    pub(super) fn keep_all(&mut self) {
        self.tier.drop_after(None, None);
    }

    /// Asks for a key.
    pub(super) fn look(&mut self) -> Result<(), Cut> {
        self.on_tape(|device, now| device.tier.get(now, &key_bytes(1), &mut [0; VALUE_BYTES]).is_ok())
            .map(|_| ())
    }

    pub(super) fn now(&self) -> Now {
        let wall_s = BEGINNING_S + u32::try_from(*self.now_ms / 1000).unwrap_or(0);
        Now { monotonic_ms: *self.now_ms, wall_s }
    }

    fn flash(&self) -> &Flash<UNIT, SECTOR> {
        self.tier.flash()
    }

    /// Calls the tier: the present knowledge counts at each moment of the call.
    fn on_tape<T>(&mut self, call: impl FnOnce(&mut Self, Now) -> T) -> Result<T, Cut> {
        let now = self.now();
        let result = call(self, now);
        let (oracle, now_ms) = (&*self.oracle, *self.now_ms);
        let len = self.flash().tape_len();
        self.known.resize_with(len, || (oracle.clone(), now_ms));
        if let Some(tears) = self.tier.take_drop() {
            self.tears = Some(tears);
            return Err(Cut);
        }
        if self.flash().has_power() { Ok(result) } else { Err(Cut) }
    }

    /// Carries out one step of a script.
    ///
    /// # Errors
    /// [`Cut`] where the power goes meanwhile.
    ///
    /// # Panics
    /// Where it is not done within a bound.
    pub fn follow(&mut self, step: Do) -> Result<(), Cut> {
        match step {
            Do::Put(key, len) => self.put(key, len, None),
            Do::PutFor(key, len, ttl_s) => self.put(key, len, Some(ttl_s)),
            Do::Remove(key) => self.remove(key),
            Do::Run(task) => self.run(task),
            Do::Tick(ms) => {
                *self.now_ms += ms;
                Ok(())
            }
            Do::Settle => self.settle(),
            Do::Sync | Do::Flush => self.reserve(),
            other => panic!("a device is not asked for {other:?}"),
        }
    }

    fn put(&mut self, key: Key, len: u32, ttl_s: Option<u32>) -> Result<(), Cut> {
        self.offer(key, |write, now_s| {
            let expires_s = ttl_s.map(|ttl_s| expiry_s(now_s, ttl_s));
            What::Value { write, len, expires_s }
        })
    }

    fn remove(&mut self, key: Key) -> Result<(), Cut> {
        self.offer(key, |_, _| What::Absent)
    }

    /// Offers a write until it is taken.
    fn offer(&mut self, key: Key, make: impl Fn(u64, u32) -> What) -> Result<(), Cut> {
        for _ in 0..POLLS_MAX {
            let what = make(self.oracle.next_write(), self.now().wall_s);
            let had = !self.oracle.current(key).is_absent_at(self.now().wall_s);
            let write = self.oracle.accept(key, what);
            self.oracle.appended(key, write, write);
            match self.on_tape(|device, now| device.write_once(now, key, what))? {
                Ok(did_have) => {
                    assert!(did_have.is_none_or(|did| did == had), "key {key} had a value: {had}");
                    self.oracle.durable(write);
                    return Ok(());
                }
                Err(PutError::Busy(_) | PutError::NeedsCompaction) => {
                    self.oracle.reject(key, write);
                    self.poll()?;
                }
                Err(error) => panic!("I-GC-2: key {key} is refused: {error}: {:?}", self.tier.stats()),
            }
        }
        panic!("I-GC-2: key {key} is not taken after {POLLS_MAX} polls: {:?}", self.tier.stats())
    }

    /// Offers a write once. Of a remove, returns whether there was a value.
    fn write_once(&mut self, now: Now, key: Key, what: What) -> Result<Option<bool>, PutError> {
        let name = key_bytes(key);
        let value = what.content().unwrap_or_default();
        match what {
            What::Absent => self.tier.remove(now, &name).map(Some),
            What::Value { expires_s: None, .. } => self.tier.put(now, &name, &value).map(|()| None),
            What::Value { expires_s: Some(at), .. } => {
                let ttl_s = at.saturating_sub(expiry_s(now.wall_s, 0));
                self.tier.put_with_ttl(now, &name, &value, ttl_s).map(|()| None)
            }
        }
    }

    /// One poll; tells whether there is more to do.
    fn poll(&mut self) -> Result<bool, Cut> {
        let work = self.on_tape(|device, now| device.tier.poll(now, BUDGET))?;
        assert!(work.erases <= 1 && work.bytes_programmed <= SECTOR as u32, "I-GC-3: {work:?}");
        *self.now_ms += 1;
        Ok(!work.is_idle)
    }

    /// Polls until nothing is left to do.
    fn settle(&mut self) -> Result<(), Cut> {
        for _ in 0..POLLS_MAX {
            if !self.poll()? {
                return Ok(());
            }
        }
        panic!("I-GC-2: there is more to do after {POLLS_MAX} polls: {:?}", self.tier.stats())
    }

    /// Frees space for a put ahead of it.
    fn reserve(&mut self) -> Result<(), Cut> {
        for _ in 0..POLLS_MAX {
            match self.on_tape(|device, now| device.tier.reserve(now, 4, 64, BUDGET))? {
                Ok(Reserved::Ready(_)) => return Ok(()),
                Ok(Reserved::Compacting(work)) => {
                    assert!(work.erases <= 1 && work.bytes_programmed <= SECTOR as u32, "I-GC-3: {work:?}");
                }
                Err(error) => panic!("I-GC-2: no space can be freed: {error}: {:?}", self.tier.stats()),
            }
        }
        panic!("I-GC-2: no space is freed in {POLLS_MAX} polls: {:?}", self.tier.stats())
    }

    /// Runs a task to its end.
    fn run(&mut self, task: CompactionTask) -> Result<(), Cut> {
        while self.tier.take_report().is_some() {}
        self.tier.schedule(task).unwrap_or_else(|error| panic!("{task}: {error:?}"));
        for _ in 0..POLLS_MAX {
            self.poll()?;
            if self.tier.take_report().is_some_and(|report| report.task == task) {
                return Ok(());
            }
        }
        panic!("I-GC-2: {task} has no end after {POLLS_MAX} polls: {:?}", self.tier.stats())
    }

    /// The value that a key reads as.
    ///
    /// # Panics
    /// Where it can't be read.
    fn read(&mut self, key: Key) -> Option<Vec<u8>> {
        self.try_read(key).unwrap_or_else(|error| panic!("I-LOG-4: key {key} can't be read: {error}"))
    }

    pub(super) fn try_read(&mut self, key: Key) -> Result<Option<Vec<u8>>, GetError> {
        let now = self.now();
        let mut value = [0; VALUE_BYTES];
        Ok(self.tier.get(now, &key_bytes(key), &mut value)?.map(<[u8]>::to_vec))
    }

    /// Checks the values that a mount found against those that the cut may have left (I-LOG-4, I-LOG-5). The keys have these
    /// from now on.
    ///
    /// # Panics
    /// Where a key reads as anything else.
    pub fn check_recovered(&mut self) {
        let now_s = self.now().wall_s;
        for key in self.oracle.keys().collect::<Vec<_>>() {
            let allowed = self.oracle.allowed(key);
            let found = self.read(key);
            let fits = |what: &What| match &found {
                None => what.is_absent_at(now_s),
                Some(value) => !what.is_absent_at(now_s) && what.content().as_ref() == Some(value),
            };
            // The newest that fits: of two expired ones either will do.
            let Some(what) = allowed.iter().rev().copied().find(fits) else {
                panic!("I-LOG-4: key {key} reads as {found:02x?} at {now_s} s, allowed was {allowed:?}");
            };
            self.oracle.settled(key, what, 0);
        }
        self.check();
    }

    /// Checks every key, and that a walk over the keys comes to those that have a value and to no others.
    ///
    /// # Panics
    /// Where an answer is wrong.
    pub fn check(&mut self) {
        let now = self.now();
        let mut expected = BTreeSet::new();
        for key in self.oracle.keys().collect::<Vec<_>>() {
            let what = self.oracle.current(key);
            let content = if what.is_absent_at(now.wall_s) { None } else { what.content() };
            if content.is_some() {
                expected.insert(key_bytes(key).to_vec());
            }
            assert_eq!(self.read(key), content, "I-LOG-4: key {key} at {} s, written: {what:?}", now.wall_s);
        }
        let (mut cursor, mut name, mut walked) = (Cursor::default(), [0; 16], BTreeSet::new());
        while let Some(found) = self
            .tier
            .next_key(now, &mut cursor, &mut name)
            .unwrap_or_else(|error| panic!("the walk stops: {error}"))
        {
            assert!(walked.insert(found.key.to_vec()), "the walk came twice to {:02x?}", found.key);
        }
        assert_eq!(walked, expected, "the walk over the keys");
    }
}
