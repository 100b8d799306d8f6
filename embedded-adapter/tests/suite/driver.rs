//! A tier over either kind of driver, with the same calls.

use core::future::poll_fn;
use core::pin::pin;
use core::task::{Context, Poll, Waker};

use coldpress_core::compaction::{CompactionTask, Report, TasksFull};
use coldpress_core::drive::Now;
use coldpress_core::recovery::MountReport;
use coldpress_embedded::flash::{
    AsyncNorMedium, Cursor, DeviceMedium, FlashConfig, FlashMemory, FlashMountError, FlashStats, FlashTier,
    GetError, KeyFound, Medium, NorMedium, PutError, Work,
};
use embedded_storage::nor_flash::{ErrorType, NorFlash, ReadNorFlash};
use embedded_storage_async::nor_flash as awaited;

/// A flash of which each operation is pending before it happens and after it.
#[derive(Debug)]
pub(crate) struct Late<F>(pub(crate) F);

/// Is pending once.
async fn pend() {
    let mut is_over = false;
    poll_fn(|_| if core::mem::replace(&mut is_over, true) { Poll::Ready(()) } else { Poll::Pending }).await;
}

impl<F: ErrorType> ErrorType for Late<F> {
    type Error = F::Error;
}

impl<F: ReadNorFlash> awaited::ReadNorFlash for Late<F> {
    const READ_SIZE: usize = F::READ_SIZE;

    async fn read(&mut self, at: u32, bytes: &mut [u8]) -> Result<(), F::Error> {
        pend().await;
        let result = self.0.read(at, bytes);
        pend().await;
        result
    }

    fn capacity(&self) -> usize {
        self.0.capacity()
    }
}

impl<F: NorFlash> awaited::NorFlash for Late<F> {
    const WRITE_SIZE: usize = F::WRITE_SIZE;
    const ERASE_SIZE: usize = F::ERASE_SIZE;

    async fn erase(&mut self, from: u32, to: u32) -> Result<(), F::Error> {
        pend().await;
        let result = self.0.erase(from, to);
        pend().await;
        result
    }

    async fn write(&mut self, at: u32, bytes: &[u8]) -> Result<(), F::Error> {
        pend().await;
        let result = self.0.write(at, bytes);
        pend().await;
        result
    }
}

/// Runs a future to its end, or drops it at an await point: the one after so many.
pub(crate) fn run<T>(future: impl Future<Output = T>, drop_after: Option<u32>) -> Option<T> {
    let mut future = pin!(future);
    let mut points = 0;
    loop {
        if let Poll::Ready(result) = future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            return Some(result);
        }
        if drop_after == Some(points) {
            return None;
        }
        points += 1;
    }
}

/// Runs a future to its end.
pub(crate) fn done<T>(future: impl Future<Output = T>) -> T {
    run(future, None).unwrap()
}

/// The driver of a flash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Driver {
    /// One whose operations are done when they return.
    Blocking,
    /// One whose operations are awaited, and pending twice each.
    Async,
}

impl Driver {
    pub(crate) const BOTH: [Self; 2] = [Self::Blocking, Self::Async];

    /// Makes a medium of a flash.
    pub(crate) fn medium<F: NorFlash>(self, flash: F) -> AnyNor<F> {
        match self {
            Self::Blocking => AnyMedium::Blocking(NorMedium::new(flash)),
            Self::Async => AnyMedium::Async(AsyncNorMedium::new(Late(flash))),
        }
    }
}

/// A medium that does not wait, or an async flash.
#[derive(Debug)]
pub(crate) enum AnyMedium<M, F> {
    Blocking(M),
    Async(AsyncNorMedium<Late<F>>),
}

/// A flash by either driver.
pub(crate) type AnyNor<F> = AnyMedium<NorMedium<F>, F>;

impl<F: NorFlash> AnyNor<F> {
    pub(crate) fn into_flash(self) -> F {
        match self {
            Self::Blocking(medium) => medium.into_flash(),
            Self::Async(medium) => medium.into_flash().0,
        }
    }
}

/// A tier over a medium of either kind. Its futures are run to their end.
#[derive(Debug)]
pub(crate) enum AnyTier<'m, M, F> {
    Blocking(FlashTier<'m, M>),
    Async(FlashTier<'m, AsyncNorMedium<Late<F>>>),
}

/// A tier on a flash, by either driver.
pub(crate) type AnyNorTier<'m, F> = AnyTier<'m, NorMedium<F>, F>;

/// Calls a tier of either kind.
macro_rules! call {
    ($self:ident, $tier:ident => $call:expr) => {
        match $self {
            Self::Blocking($tier) => $call,
            Self::Async($tier) => done($call),
        }
    };
}

/// Looks at a tier of either kind.
macro_rules! look {
    ($self:ident, $tier:ident => $look:expr) => {
        match $self {
            Self::Blocking($tier) => $look,
            Self::Async($tier) => $look,
        }
    };
}

impl<'m, M: Medium + DeviceMedium, F: NorFlash> AnyTier<'m, M, F> {
    /// Builds a tier, which is not mounted.
    pub(crate) fn new<const SEGMENTS: usize, const BUCKETS: usize, const RECORD: usize>(
        config: FlashConfig,
        memory: &'m mut FlashMemory<SEGMENTS, BUCKETS, RECORD>,
        medium: AnyMedium<M, F>,
    ) -> Self {
        match medium {
            AnyMedium::Blocking(medium) => Self::Blocking(FlashTier::new(config, memory, medium).unwrap()),
            AnyMedium::Async(medium) => Self::Async(FlashTier::new(config, memory, medium).unwrap()),
        }
    }

    pub(crate) fn into_medium(self) -> AnyMedium<M, F> {
        match self {
            Self::Blocking(tier) => AnyMedium::Blocking(tier.into_medium()),
            Self::Async(tier) => AnyMedium::Async(tier.into_medium()),
        }
    }

    pub(crate) fn mount(&mut self, now: Now) -> Result<MountReport, FlashMountError> {
        call!(self, tier => tier.mount(now))
    }

    pub(crate) fn poll(&mut self, now: Now, budget: u32) -> Work {
        call!(self, tier => tier.poll(now, budget))
    }

    pub(crate) fn put(&mut self, now: Now, key: &[u8], value: &[u8]) -> Result<(), PutError> {
        call!(self, tier => tier.put(now, key, value))
    }

    pub(crate) fn put_with_ttl(
        &mut self,
        now: Now,
        key: &[u8],
        value: &[u8],
        ttl_s: u32,
    ) -> Result<(), PutError> {
        call!(self, tier => tier.put_with_ttl(now, key, value, ttl_s))
    }

    pub(crate) fn remove(&mut self, now: Now, key: &[u8]) -> Result<bool, PutError> {
        call!(self, tier => tier.remove(now, key))
    }

    pub(crate) fn sync(&mut self, now: Now) -> Result<(), PutError> {
        call!(self, tier => tier.sync(now))
    }

    pub(crate) fn get<'b>(
        &mut self,
        now: Now,
        key: &[u8],
        out: &'b mut [u8],
    ) -> Result<Option<&'b [u8]>, GetError> {
        call!(self, tier => tier.get(now, key, out))
    }

    pub(crate) fn contains(&mut self, now: Now, key: &[u8]) -> Result<bool, GetError> {
        call!(self, tier => tier.contains(now, key))
    }

    pub(crate) fn next_key<'b>(
        &mut self,
        now: Now,
        cursor: &mut Cursor,
        out: &'b mut [u8],
    ) -> Result<Option<KeyFound<'b>>, GetError> {
        call!(self, tier => tier.next_key(now, cursor, out))
    }

    pub(crate) fn schedule(&mut self, task: CompactionTask) -> Result<(), TasksFull> {
        look!(self, tier => tier.schedule(task).map(drop))
    }

    pub(crate) fn take_report(&mut self) -> Option<Report> {
        look!(self, tier => tier.take_report())
    }

    pub(crate) fn stats(&self) -> FlashStats {
        look!(self, tier => tier.stats())
    }

    pub(crate) fn len(&self) -> u32 {
        look!(self, tier => tier.len())
    }

    pub(crate) fn is_empty(&self) -> bool {
        look!(self, tier => tier.is_empty())
    }
}
