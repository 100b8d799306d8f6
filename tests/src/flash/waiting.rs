//! Flash whose operations take their time, behind the async traits.

use core::cell::Cell;
use core::future::poll_fn;
use core::pin::pin;
use core::task::{Context, Poll, Waker};

use embedded_storage::nor_flash::{ErrorType, NorFlash, ReadNorFlash};
use embedded_storage_async::nor_flash as waiting;

use super::Flash;

/// A flash that can end a change half way.
pub trait Tearing {
    /// Tears the next change by a seed; returns how many ways there are.
    fn tear_program(&mut self, at: u32, bytes: &[u8], seed: u64) -> usize;

    /// Tears the erase of a range by a seed; returns how many ways there are.
    fn tear_erase(&mut self, from: u32, to: u32, seed: u64) -> usize;
}

/// A flash of which each operation is pending twice: before it takes effect, and after it.
///
/// A future that is dropped before the effect leaves the flash as it is, or with a part of the change (see
/// [`tear_with`](Self::tear_with)). Each pending poll is an await point; [`run`] counts them.
#[derive(Debug)]
pub struct Waiting<F> {
    flash: F,
    /// How a change is torn whose future is dropped before its effect; `None` where nothing of it happens.
    tear: Cell<Option<u64>>,
    /// The ways to tear the change that was dropped last.
    tears: usize,
}

impl<F> Waiting<F> {
    /// Makes the operations of a flash wait.
    pub const fn new(flash: F) -> Self {
        Self { flash, tear: Cell::new(None), tears: 0 }
    }

    /// Has a dropped change happen in part, by a seed.
    pub fn tear_with(&self, seed: Option<u64>) {
        self.tear.set(seed);
    }

    /// How many ways there were to tear the change that was dropped last; 0 if none was.
    pub const fn tears(&self) -> usize {
        self.tears
    }

    /// The flash.
    pub const fn flash(&self) -> &F {
        &self.flash
    }

    /// Gives the flash back.
    pub fn into_flash(self) -> F {
        self.flash
    }
}

/// Is pending once, and wakes its task.
async fn pend() {
    let mut is_over = false;
    poll_fn(|context: &mut Context<'_>| {
        if core::mem::replace(&mut is_over, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// A change that has not happened yet. If it is dropped it happens in part, where that is wanted.
struct Change<'w, 'b, F: Tearing> {
    waiting: &'w mut Waiting<F>,
    kind: Kind<'b>,
    is_over: bool,
}

enum Kind<'b> {
    Program(u32, &'b [u8]),
    Erase(u32, u32),
}

impl<F: Tearing> Drop for Change<'_, '_, F> {
    fn drop(&mut self) {
        let Some(seed) = self.waiting.tear.get().filter(|_| !self.is_over) else { return };
        self.waiting.tears = match self.kind {
            Kind::Program(at, bytes) => self.waiting.flash.tear_program(at, bytes, seed),
            Kind::Erase(from, to) => self.waiting.flash.tear_erase(from, to, seed),
        };
    }
}

impl<F: NorFlash + Tearing> Waiting<F> {
    async fn change(&mut self, kind: Kind<'_>) -> Result<(), F::Error> {
        let mut change = Change { waiting: self, kind, is_over: false };
        pend().await;
        change.is_over = true;
        let result = match change.kind {
            Kind::Program(at, bytes) => change.waiting.flash.write(at, bytes),
            Kind::Erase(from, to) => change.waiting.flash.erase(from, to),
        };
        pend().await;
        result
    }
}

impl<F: ErrorType> ErrorType for Waiting<F> {
    type Error = F::Error;
}

impl<F: ReadNorFlash> waiting::ReadNorFlash for Waiting<F> {
    const READ_SIZE: usize = F::READ_SIZE;

    async fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), F::Error> {
        pend().await;
        let result = self.flash.read(offset, bytes);
        pend().await;
        result
    }

    fn capacity(&self) -> usize {
        self.flash.capacity()
    }
}

impl<F: NorFlash + Tearing> waiting::NorFlash for Waiting<F> {
    const WRITE_SIZE: usize = F::WRITE_SIZE;
    const ERASE_SIZE: usize = F::ERASE_SIZE;

    async fn erase(&mut self, from: u32, to: u32) -> Result<(), F::Error> {
        self.change(Kind::Erase(from, to)).await
    }

    async fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), F::Error> {
        self.change(Kind::Program(offset, bytes)).await
    }
}

impl<F: Tearing> Tearing for &mut F {
    fn tear_program(&mut self, at: u32, bytes: &[u8], seed: u64) -> usize {
        F::tear_program(self, at, bytes, seed)
    }

    fn tear_erase(&mut self, from: u32, to: u32, seed: u64) -> usize {
        F::tear_erase(self, from, to, seed)
    }
}

impl<const UNIT: usize, const SECTOR: usize, const READ: usize> Tearing for Flash<UNIT, SECTOR, READ> {
    fn tear_program(&mut self, at: u32, bytes: &[u8], seed: u64) -> usize {
        let change = super::Change::Program { at: at as usize, bytes: bytes.to_vec() };
        self.tear_by(&change, seed)
    }

    /// Sectors are erased one after the other; this one is torn.
    fn tear_erase(&mut self, from: u32, to: u32, seed: u64) -> usize {
        let change = super::Change::Erase { at: from as usize, len: (to - from) as usize };
        self.tear_by(&change, seed)
    }
}

/// Runs a future to its end, or drops it at an await point: the one after so many. Returns its result, and how many there were.
pub fn run<T>(future: impl Future<Output = T>, drop_after: Option<u64>) -> (Option<T>, u64) {
    let mut future = pin!(future);
    let mut context = Context::from_waker(Waker::noop());
    let mut points = 0;
    loop {
        if let Poll::Ready(result) = future.as_mut().poll(&mut context) {
            return (Some(result), points);
        }
        if drop_after == Some(points) {
            return (None, points);
        }
        points += 1;
    }
}
