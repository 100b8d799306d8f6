//! A flash tier over either kind of driver, with the same calls.

use coldpress_core::compaction::{CompactionTask, Report, TasksFull};
use coldpress_core::drive::Now;
use coldpress_core::recovery::MountReport;
use coldpress_embedded::flash::{
    AsyncNorMedium, Batch, BuildError, Cursor, FlashConfig, FlashMemory, FlashMountError, FlashStats,
    FlashTier, GetError, KeyFound, Medium, NorMedium, PutError, Reserved, Schema, TypedGetError,
    TypedPutError, Wait, Work,
};
use embedded_storage::nor_flash::NorFlash;
use serde::{Deserialize, Serialize};

use crate::flash::{Tearing, Waiting, run};

/// The driver of a flash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Driver {
    /// One whose operations are done when they return.
    Blocking,
    /// One whose operations are awaited, and pending twice each.
    Async,
}

impl Driver {
    /// Both drivers.
    pub const BOTH: [Self; 2] = [Self::Blocking, Self::Async];

    /// The driver of a seed: each has every second one.
    #[must_use]
    pub const fn of_seed(seed: u64) -> Self {
        if seed.is_multiple_of(2) { Self::Blocking } else { Self::Async }
    }

    /// The one that this is not.
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Self::Blocking => Self::Async,
            Self::Async => Self::Blocking,
        }
    }
}

/// A flash tier over a blocking medium, or over an async flash.
#[derive(Debug)]
pub enum AnyTier<'m, M, F> {
    /// Calls return when they are over.
    Blocking(FlashTier<'m, M>),
    /// Calls are futures.
    Async(AwaitedTier<'m, F>),
}

/// A tier whose calls are run to their end, or dropped at an await point.
#[derive(Debug)]
pub struct AwaitedTier<'m, F> {
    tier: FlashTier<'m, AsyncNorMedium<Waiting<F>>>,
    /// Await points before the one at which a call is dropped.
    left: Option<u64>,
    was_dropped: bool,
}

impl<'m, F> AwaitedTier<'m, F> {
    /// A tier of which no call is dropped.
    pub const fn new(tier: FlashTier<'m, AsyncNorMedium<Waiting<F>>>) -> Self {
        Self { tier, left: None, was_dropped: false }
    }
}

/// Calls a tier of either kind. A call that is dropped gives `$dropped`.
macro_rules! call {
    ($self:ident, $dropped:expr, $tier:ident => $call:expr) => {
        call!($self, $dropped, $tier => $call, $call)
    };
    ($self:ident, $dropped:expr, $tier:ident => $call:expr, $awaited:expr) => {
        match $self {
            Self::Blocking($tier) => $call,
            Self::Async(awaited) => {
                let $tier = &mut awaited.tier;
                let (answer, points) = run($awaited, awaited.left);
                awaited.left = awaited.left.map(|left| left.saturating_sub(points));
                if answer.is_none() {
                    (awaited.left, awaited.was_dropped) = (None, true);
                }
                answer.unwrap_or($dropped)
            }
        }
    };
}

/// Looks at a tier of either kind.
macro_rules! look {
    ($self:ident, $tier:ident => $look:expr) => {
        match $self {
            Self::Blocking($tier) => $look,
            Self::Async(AwaitedTier { tier: $tier, .. }) => $look,
        }
    };
}

// Behind the macro, which it uses.
mod queues;

/// A tier on a flash, over either driver.
pub type AnyNorTier<'m, F> = AnyTier<'m, NorMedium<F>, F>;

impl<'m, F: NorFlash + Tearing> AnyNorTier<'m, F> {
    /// Builds a tier on a flash; nothing is read or written yet.
    ///
    /// # Errors
    /// [`BuildError`] where flash, memory and configuration do not fit each other.
    pub fn new<
        const SEGMENTS: usize,
        const BUCKETS: usize,
        const RECORD: usize,
        const TASKS: usize,
        const BATCH: usize,
    >(
        driver: Driver,
        config: FlashConfig,
        memory: &'m mut FlashMemory<SEGMENTS, BUCKETS, RECORD, TASKS, BATCH>,
        flash: F,
        erase_value: u8,
    ) -> Result<Self, BuildError> {
        match driver {
            Driver::Blocking => {
                FlashTier::new(config, memory, NorMedium::erased_to(flash, erase_value)).map(Self::Blocking)
            }
            Driver::Async => {
                let medium = AsyncNorMedium::erased_to(Waiting::new(flash), erase_value);
                FlashTier::new(config, memory, medium).map(|tier| Self::Async(AwaitedTier::new(tier)))
            }
        }
    }

    /// The flash.
    pub const fn flash(&self) -> &F {
        match self {
            Self::Blocking(tier) => tier.medium().flash(),
            Self::Async(awaited) => awaited.tier.medium().flash().flash(),
        }
    }

    /// Gives the flash back.
    pub fn into_flash(self) -> F {
        match self {
            Self::Blocking(tier) => tier.into_medium().into_flash(),
            Self::Async(awaited) => awaited.tier.into_medium().into_flash().into_flash(),
        }
    }
}

/// Stands for the answer of a call that was dropped.
const DROPPED: PutError = PutError::Busy(Wait::Operation);

#[expect(clippy::missing_errors_doc, reason = "as those of the tier")]
impl<M: Medium, F: NorFlash + Tearing> AnyTier<'_, M, F> {
    /// The part of the medium that is the same for both.
    pub fn medium<T>(&self, of_medium: impl FnOnce(&M) -> &T, of_flash: impl FnOnce(&F) -> &T) -> &T {
        match self {
            Self::Blocking(tier) => of_medium(tier.medium()),
            Self::Async(awaited) => of_flash(awaited.tier.medium().flash().flash()),
        }
    }

    /// Drops the call that comes to the await point after so many, and tears the change that it makes by a seed. With `None` it drops
    /// none. A blocking tier has no await points.
    pub fn drop_after(&mut self, points: Option<u64>, seed: Option<u64>) {
        if let Self::Async(awaited) = self {
            awaited.left = points;
            awaited.tier.medium().flash().tear_with(seed);
        }
    }

    /// Whether a call was dropped since this was last asked; and how many ways there were to tear its change.
    pub fn take_drop(&mut self) -> Option<usize> {
        let Self::Async(awaited) = self else { return None };
        let tears = awaited.tier.medium().flash().tears();
        core::mem::take(&mut awaited.was_dropped).then_some(tears)
    }

    /// Mounts.
    pub fn mount(&mut self, now: Now) -> Result<MountReport, FlashMountError> {
        call!(self, Err(FlashMountError::Busy), tier => tier.mount(now))
    }

    /// The findings of the mount.
    pub fn mounted(&self) -> Result<MountReport, FlashMountError> {
        look!(self, tier => tier.mounted())
    }

    /// Polls.
    pub fn poll(&mut self, now: Now, budget: u32) -> Work {
        call!(self, Work::default(), tier => tier.poll(now, budget))
    }

    /// Puts.
    pub fn put(&mut self, now: Now, key: &[u8], value: &[u8]) -> Result<(), PutError> {
        call!(self, Err(DROPPED), tier => tier.put(now, key, value))
    }

    /// Puts a value with a lifetime.
    pub fn put_with_ttl(&mut self, now: Now, key: &[u8], value: &[u8], ttl_s: u32) -> Result<(), PutError> {
        call!(self, Err(DROPPED), tier => tier.put_with_ttl(now, key, value, ttl_s))
    }

    /// Puts a value of a type with a schema.
    pub fn put_typed<T: Schema + Serialize>(
        &mut self,
        now: Now,
        key: &[u8],
        value: &T,
        buffer: &mut [u8],
    ) -> Result<(), TypedPutError> {
        call!(self, Err(TypedPutError::Put(DROPPED)), tier => tier.put_typed(now, key, value, buffer))
    }

    /// Gets a value of a type with a schema.
    pub fn get_typed<'b, T: Schema + Deserialize<'b>>(
        &mut self,
        now: Now,
        key: &[u8],
        buffer: &'b mut [u8],
    ) -> Result<Option<T>, TypedGetError> {
        call!(self, Err(TypedGetError::Get(GetError::Busy)), tier => tier.get_typed(now, key, buffer))
    }

    /// Removes.
    pub fn remove(&mut self, now: Now, key: &[u8]) -> Result<bool, PutError> {
        call!(self, Err(DROPPED), tier => tier.remove(now, key))
    }

    /// Commits several keys together.
    pub fn commit_batch<const N: usize>(&mut self, now: Now, batch: &Batch<'_, N>) -> Result<(), PutError> {
        call!(self, Err(DROPPED), tier => tier.commit_batch(now, batch))
    }

    /// Makes all puts durable.
    pub fn sync(&mut self, now: Now) -> Result<(), PutError> {
        call!(self, Err(DROPPED), tier => tier.sync(now))
    }

    /// Frees space for a put.
    pub fn reserve(&mut self, now: Now, key: u32, value: u32, budget: u32) -> Result<Reserved, PutError> {
        call!(self, Err(DROPPED), tier => tier.reserve(now, key, value, budget))
    }

    /// Gets.
    pub fn get<'b>(&mut self, now: Now, key: &[u8], out: &'b mut [u8]) -> Result<Option<&'b [u8]>, GetError> {
        call!(self, Err(GetError::Busy), tier => tier.get(now, key, out))
    }

    /// Goes on to the next key.
    pub fn next_key<'b>(
        &mut self,
        now: Now,
        cursor: &mut Cursor,
        out: &'b mut [u8],
    ) -> Result<Option<KeyFound<'b>>, GetError> {
        call!(self, Err(GetError::Busy), tier => tier.next_key(now, cursor, out))
    }

    /// Tells whether a key has a value.
    pub fn contains(&mut self, now: Now, key: &[u8]) -> Result<bool, GetError> {
        call!(self, Err(GetError::Busy), tier => tier.contains(now, key))
    }

    /// Begins a long value.
    pub fn begin(&mut self, now: Now, key: &[u8], ttl_s: Option<u32>) -> Result<(), PutError> {
        call!(self, Err(DROPPED), tier => tier.begin(now, key, ttl_s))
    }

    /// Writes a piece of it.
    pub fn put_piece(&mut self, now: Now, key: &[u8], piece: &[u8]) -> Result<(), PutError> {
        call!(self, Err(DROPPED), tier => tier.put_piece(now, key, piece))
    }

    /// Commits it.
    pub fn commit(&mut self, now: Now, key: &[u8]) -> Result<(), PutError> {
        call!(self, Err(DROPPED), tier => tier.commit(now, key))
    }

    /// Removes a piece of no value.
    pub fn sweep(&mut self, now: Now) -> Result<bool, PutError> {
        call!(self, Err(DROPPED), tier => tier.sweep(now))
    }

    /// Gets a value in pieces.
    pub fn get_in_pieces(
        &mut self,
        now: Now,
        key: &[u8],
        buffer: &mut [u8],
        take: impl FnMut(u32, &[u8]),
    ) -> Result<Option<u32>, GetError> {
        call!(self, Err(GetError::Busy), tier => tier.get_in_pieces(now, key, buffer, take))
    }

    /// The tier's time.
    pub fn clock_s(&mut self, now: Now) -> u32 {
        look!(self, tier => tier.clock_s(now))
    }

    /// How far a refused wall clock is ahead.
    pub fn clock_refused_s(&self) -> Option<u32> {
        look!(self, tier => tier.clock_refused_s())
    }

    /// How far the wall clock is behind.
    pub fn clock_behind_s(&self) -> u32 {
        look!(self, tier => tier.clock_behind_s())
    }

    /// Confirms the wall clock.
    pub fn confirm_clock(&mut self) {
        look!(self, tier => tier.confirm_clock());
    }

    /// Schedules a task.
    pub fn schedule(&mut self, task: CompactionTask) -> Result<(), TasksFull> {
        look!(self, tier => tier.schedule(task).map(|_| ()))
    }

    /// Takes a report.
    pub fn take_report(&mut self) -> Option<Report> {
        look!(self, tier => tier.take_report())
    }

    /// How many keys have a value, expired ones included.
    pub fn len(&self) -> u32 {
        look!(self, tier => tier.len())
    }

    /// Whether no key has a value.
    pub fn is_empty(&self) -> bool {
        look!(self, tier => tier.is_empty())
    }

    /// Returns the stats.
    pub fn stats(&self) -> FlashStats {
        look!(self, tier => tier.stats())
    }
}
