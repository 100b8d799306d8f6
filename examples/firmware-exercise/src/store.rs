//! A flash tier that lives through a reset. In its first life it is filled and overwritten; in its second its keys are found,
//! expired, compacted and checked one by one.
//!
//! ```text
//!  main loop: put, get … wait, wait …        whoever has the time: step, step, step …
//!               └────────► TryCell<Option<Store>> ◄────────────────┘
//! ```
//! The steps are made by a timer interrupt, or by the main loop while it waits; the store is the same.

use coldpress_core::cleanup::{CleanupReply, Reclaimed, Ticket};
use coldpress_core::compaction::{CompactionTask, Outcome, PoolOutcome, Report};
use coldpress_core::drive::Now;
use coldpress_core::recovery::MountReport;
use coldpress_embedded::TryCell;
use coldpress_embedded::flash::{FlashMountError, FlashStats, FlashTier, GetError, Medium, PutError, Worst};

use crate::model::{Model, TTL_S, Write, key_bytes, value_of};
use crate::pool;

/// Says how many lives the store has had.
const LIVES_KEY: &[u8] = b"lives";
/// How often a call is tried that must wait for compaction or an operation of the medium.
const TRIES_MAX: u32 = 100_000;

/// A store that the main loop shares with the context that makes its steps.
pub type StoreCell<'m, M> = TryCell<Option<Store<'m, M>>>;

/// The tier, and its request to the pool.
pub struct Store<'m, M> {
    tier: FlashTier<'m, M>,
    /// The tier's ticket and the mailbox's.
    asked: Option<(Ticket, Ticket)>,
    steps: u32,
}

impl<'m, M: Medium> Store<'m, M> {
    /// Takes a tier that was mounted.
    #[must_use]
    pub const fn new(tier: FlashTier<'m, M>) -> Self {
        Self { tier, asked: None, steps: 0 }
    }

    /// The medium.
    #[must_use]
    pub const fn medium(&self) -> &M {
        self.tier.medium()
    }

    /// Gives the medium back, with all that was acknowledged on it.
    #[must_use]
    pub fn into_medium(self) -> M {
        self.tier.into_medium()
    }

    /// Takes at most one operation of the medium, and passes requests and replies between the tier and the pool.
    fn step(&mut self, now: Now) {
        self.steps = self.steps.wrapping_add(1);
        let work = self.tier.poll(now, 1);
        if let Some(request) = work.cleanup {
            self.asked = pool::request(request.kind, now.monotonic_ms).map(|ours| (request.ticket, ours));
        }
        if let Some((theirs, ours)) = self.asked
            && let Some(result) = pool::outcome(ours, now.monotonic_ms)
        {
            self.tier.answer(now, CleanupReply { ticket: theirs, result });
            self.asked = None;
        }
    }
}

/// Makes one bounded step of a store, from any context. Where it is held, the step is skipped and counted.
pub fn step<M: Medium>(store: &StoreCell<'_, M>, now: Now) {
    let _ = store.try_with(|store| store.as_mut().map(|store| store.step(now)));
}

/// Tells what went wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum StoreFault {
    /// The store was not there, or held by a context that should not.
    Held,
    /// The store could not be built.
    Build,
    /// It could not be mounted.
    Mount(FlashMountError),
    /// A write was refused.
    Put(PutError),
    /// A read failed.
    Get(GetError),
    /// A key lacks its value, or has a wrong one.
    Wrong {
        /// Which key.
        key: u32,
    },
    /// So many keys are there, not as many as must be.
    Count(u32),
    /// So many expired records were dropped, not as many as must be.
    Expired(u32),
    /// A task ended like this.
    Task(Outcome),
    /// A task did not end.
    Endless,
    /// The pool did not give back enough when the task asked it.
    Pool,
}

impl From<PutError> for StoreFault {
    fn from(error: PutError) -> Self {
        Self::Put(error)
    }
}

impl From<GetError> for StoreFault {
    fn from(error: GetError) -> Self {
        Self::Get(error)
    }
}

/// The result of a life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LifeReport {
    /// Which life: the first, the second, or a later one, which only checks what is there.
    pub life: u8,
    /// The findings of the mount.
    pub mounted: MountReport,
    /// Keys expired by the task.
    pub expired: u32,
    /// Bytes of the log that compaction gave back.
    pub log_bytes: u64,
    /// The memory that the pool gave back when compaction asked it.
    pub pool: Reclaimed,
    /// The content and the work of the tier.
    pub stats: FlashStats,
    /// The most that one call has cost.
    pub worst: Worst,
    /// Steps made.
    pub steps: u32,
    /// Steps skipped because the main loop held the store.
    pub contended: u32,
}

#[cfg(feature = "defmt")]
impl defmt::Format for LifeReport {
    fn format(&self, f: defmt::Formatter<'_>) {
        defmt::write!(
            f,
            "life={=u8} keys={=u32} erases={=u64} expired={=u32} log_bytes={=u64} log_pool_bytes={=u64} \
             worst_erases={=u32} worst_programmed={=u32} steps={=u32} contended={=u32}",
            self.life,
            self.stats.keys,
            self.stats.erases_total,
            self.expired,
            self.log_bytes,
            self.pool.bytes,
            self.worst.erases,
            self.worst.bytes_programmed,
            self.steps,
            self.contended,
        );
    }
}

/// The parts that the firmware brings.
pub struct Board<'a, 'm, M> {
    /// The store, mounted.
    pub store: &'a StoreCell<'m, M>,
    /// Its clocks.
    pub now: fn() -> Now,
    /// Has the wall clock go on by so many seconds, as in a long sleep.
    pub sleep: fn(u32),
    /// Returns a little later, after at least one step of store and pool.
    pub wait: &'a dyn Fn(),
}

impl<'m, M: Medium> Board<'_, 'm, M> {
    /// Lives the life that the store is at, with a history of `overwrites`. `model` is blank.
    ///
    /// # Errors
    /// [`StoreFault`].
    pub fn live<const KEYS: usize, const VALUE: usize>(
        &self,
        model: &mut Model<KEYS>,
        overwrites: u32,
    ) -> Result<LifeReport, StoreFault> {
        let mounted = self.with(|store| store.tier.mounted())?.map_err(StoreFault::Mount)?;
        let (life, tasks) = match self.get::<1>(LIVES_KEY)? {
            None => {
                self.first::<KEYS, VALUE>(model, overwrites)?;
                (1, Tasks::default())
            }
            Some([1]) => {
                model.recall(overwrites);
                (2, self.second::<KEYS, VALUE>(model)?)
            }
            Some(_) => {
                model.recall(overwrites);
                model.expire();
                self.check::<KEYS, VALUE>(model)?;
                (3, Tasks::default())
            }
        };
        self.put(LIVES_KEY, &[life], None)?;
        self.with(|store| LifeReport {
            life,
            mounted,
            expired: tasks.expired,
            log_bytes: tasks.log_bytes,
            pool: tasks.pool,
            stats: store.tier.stats(),
            worst: store.tier.worst(),
            steps: store.steps,
            contended: self.store.contended(),
        })
    }

    fn first<const KEYS: usize, const VALUE: usize>(
        &self,
        model: &mut Model<KEYS>,
        overwrites: u32,
    ) -> Result<(), StoreFault> {
        model.play(overwrites, |write, key, version| {
            let (key_bytes, value) = (key_bytes(key), value_of::<VALUE>(key, version));
            match write {
                Write::Put => self.put(&key_bytes, &value, None),
                Write::PutWithTtl => self.put(&key_bytes, &value, Some(TTL_S)),
                Write::Remove => self.remove(&key_bytes),
            }
        })?;
        self.check::<KEYS, VALUE>(model)
    }

    fn second<const KEYS: usize, const VALUE: usize>(
        &self,
        model: &mut Model<KEYS>,
    ) -> Result<Tasks, StoreFault> {
        self.check::<KEYS, VALUE>(model)?;
        let kept = pool::fill().map_err(|_| StoreFault::Pool)?;
        (self.sleep)(2 * TTL_S);
        let expired = model.expire();
        self.check::<KEYS, VALUE>(model)?;
        let report = self.task(CompactionTask::CleanupExpired)?;
        if report.expired_records != expired {
            return Err(StoreFault::Expired(report.expired_records));
        }
        let report = self.task(CompactionTask::CompactData)?;
        let PoolOutcome::Done(pool) = report.pool else { return Err(StoreFault::Pool) };
        pool::check(&kept).map_err(|_| StoreFault::Pool)?;
        self.check::<KEYS, VALUE>(model)?;
        Ok(Tasks { expired, log_bytes: report.log_bytes_reclaimed, pool })
    }

    /// Compares every key with the model, and how many there are.
    fn check<const KEYS: usize, const VALUE: usize>(&self, model: &Model<KEYS>) -> Result<(), StoreFault> {
        for (key, version) in model.iter() {
            let wanted = version.map(|version| value_of::<VALUE>(key, version));
            if self.get::<VALUE>(&key_bytes(key))? != wanted {
                return Err(StoreFault::Wrong { key });
            }
        }
        Ok(())
    }

    /// Schedules a task and waits for its report.
    fn task(&self, task: CompactionTask) -> Result<Report, StoreFault> {
        self.with(|store| store.tier.schedule(task))?.map_err(|_| StoreFault::Endless)?;
        for _ in 0..TRIES_MAX {
            (self.wait)();
            match self.with(|store| store.tier.take_report())? {
                Some(report) if report.outcome == Outcome::Completed => return Ok(report),
                Some(report) => return Err(StoreFault::Task(report.outcome)),
                None => {}
            }
        }
        Err(StoreFault::Endless)
    }

    fn put(&self, key: &[u8], value: &[u8], ttl_s: Option<u32>) -> Result<(), StoreFault> {
        self.write(|tier, now| match ttl_s {
            Some(ttl_s) => tier.put_with_ttl(now, key, value, ttl_s),
            None => tier.put(now, key, value),
        })
    }

    fn remove(&self, key: &[u8]) -> Result<(), StoreFault> {
        self.write(|tier, now| tier.remove(now, key).map(|_| ()))
    }

    /// Tries a write until the work before it is done.
    fn write(
        &self,
        write: impl Fn(&mut FlashTier<'m, M>, Now) -> Result<(), PutError>,
    ) -> Result<(), StoreFault> {
        for _ in 0..TRIES_MAX {
            match self.with(|store| write(&mut store.tier, (self.now)()))? {
                Err(PutError::NeedsCompaction | PutError::Busy(_)) => (self.wait)(),
                other => return Ok(other?),
            }
        }
        Err(StoreFault::Endless)
    }

    fn get<const VALUE: usize>(&self, key: &[u8]) -> Result<Option<[u8; VALUE]>, StoreFault> {
        for _ in 0..TRIES_MAX {
            let mut value = [0; VALUE];
            let found = self.with(|store| {
                store.tier.get((self.now)(), key, &mut value).map(|found| found.map(<[u8]>::len))
            })?;
            match found {
                Err(GetError::Busy) => (self.wait)(),
                other => return Ok(other?.filter(|len| *len == VALUE).map(|_| value)),
            }
        }
        Err(StoreFault::Endless)
    }

    fn with<R>(&self, call: impl FnOnce(&mut Store<'m, M>) -> R) -> Result<R, StoreFault> {
        let result = self.store.try_with(|store| store.as_mut().map(call));
        result.ok().flatten().ok_or(StoreFault::Held)
    }
}

/// The results of the tasks of the second life.
#[derive(Default)]
struct Tasks {
    expired: u32,
    log_bytes: u64,
    pool: Reclaimed,
}
