//! How a tier reaches its medium: by calls, or by awaiting.
//!
//! The search for records is written once, in async functions. Over a [`Medium`] no read waits, so [`at_once`] runs them. The
//! machine's operations take the way of an operation under way over both kinds: see [`pending`](super::pending).

use core::future::ready;
use core::pin::pin;
use core::task::{Context, Poll, Waker};

use coldpress_core::drive::{Action, MediumError};
use coldpress_core::format::{Geometry, KeyHash, Sequence};
use coldpress_core::machine::{Tier, carry_out};

use super::driving::Allowance;
use super::index::{IndexOnFlash, Match};
use super::medium::{Medium, Started};
use super::prepared::Prepared;
use super::reader::{AtOnce, Flash, OpenedRecord};

/// A medium of a tier: any [`Medium`], or an [`AsyncNorMedium`](super::AsyncNorMedium).
pub trait Access: Sized {
    /// Whether a read is over when it returns.
    const READS_AT_ONCE: bool;

    /// Fills `bytes` from `at` on.
    fn read_bytes(&mut self, at: u64, bytes: &mut [u8]) -> impl Future<Output = Result<(), MediumError>>;

    /// Reads of a record, as [`Flash`] describes them: each kind has its own.
    fn open(
        flash: &mut Flash<Self>,
        place: u32,
    ) -> impl Future<Output = Result<Option<OpenedRecord>, MediumError>>;

    /// As [`Flash`] describes it.
    fn stored_hash(
        flash: &mut Flash<Self>,
        opened: &OpenedRecord,
    ) -> impl Future<Output = Result<KeyHash, MediumError>>;

    /// As [`Flash`] describes it.
    fn key_is(
        flash: &mut Flash<Self>,
        opened: &OpenedRecord,
        key: &[u8],
    ) -> impl Future<Output = Result<bool, MediumError>>;

    /// As [`Flash`] describes it.
    fn holds(
        flash: &mut Flash<Self>,
        opened: &OpenedRecord,
        key: &[u8],
        sequence: Sequence,
        value: &[u8],
    ) -> impl Future<Output = Result<bool, MediumError>>;

    /// As [`Flash`] describes it.
    fn is_whole(
        flash: &mut Flash<Self>,
        opened: &OpenedRecord,
        sequence: Sequence,
    ) -> impl Future<Output = Result<bool, MediumError>>;

    /// As [`Flash`] describes it.
    fn value(
        flash: &mut Flash<Self>,
        opened: &OpenedRecord,
        key: &[u8],
        sequence: Sequence,
        out: &mut [u8],
    ) -> impl Future<Output = Result<bool, MediumError>>;

    /// As [`Flash`] describes it.
    fn key(
        flash: &mut Flash<Self>,
        opened: &OpenedRecord,
        out: &mut [u8],
    ) -> impl Future<Output = Result<(), MediumError>>;

    /// As [`IndexOnFlash`] describes it.
    fn record(
        desk: &mut IndexOnFlash<'_, '_, Self>,
        place: u32,
    ) -> impl Future<Output = Option<OpenedRecord>>;

    /// As [`IndexOnFlash`] describes it.
    fn find_twice(
        desk: &mut IndexOnFlash<'_, '_, Self>,
        hash: &KeyHash,
        copies_min: u8,
    ) -> impl Future<Output = Match>;

    /// Submits the operation of an action; `None` for a request to the pools.
    fn begin(
        &mut self,
        geometry: &Geometry,
        tier: &mut Tier<'_>,
        action: &Action,
    ) -> Option<Result<Started, MediumError>>;

    /// Submits an erase that the machine did not ask for.
    fn begin_erase(&mut self, at: u64, bytes: u64) -> Result<Started, MediumError>;

    /// Takes the end of the operation under way.
    fn take_end(&mut self) -> Option<Result<(), MediumError>>;

    /// The answers that were read ahead for the machine, where reads are awaited.
    fn prepared(&mut self) -> Option<&mut Prepared> {
        None
    }

    /// Whether the machine waits for a read.
    fn is_wanting(&self) -> bool {
        false
    }

    /// Forgets what was read ahead.
    fn forget(&mut self) {
        if let Some(prepared) = self.prepared() {
            prepared.forget();
        }
    }

    /// Counts an action against the bound of the call.
    fn charge(&mut self, action: &Action) {
        let _ = action;
    }

    /// The rest of the bound of the call, after what was charged.
    fn left_of(&self, whole: Allowance) -> Allowance {
        whole
    }

    /// Forgets the operation under way; tells whether it will report no end.
    fn give_up(&mut self) -> bool {
        false
    }
}

impl<M: Medium> Access for M {
    const READS_AT_ONCE: bool = true;

    fn open(
        flash: &mut Flash<Self>,
        place: u32,
    ) -> impl Future<Output = Result<Option<OpenedRecord>, MediumError>> {
        ready(AtOnce(flash).open(place))
    }

    fn stored_hash(
        flash: &mut Flash<Self>,
        opened: &OpenedRecord,
    ) -> impl Future<Output = Result<KeyHash, MediumError>> {
        ready(AtOnce(flash).stored_hash(opened))
    }

    fn key_is(
        flash: &mut Flash<Self>,
        opened: &OpenedRecord,
        key: &[u8],
    ) -> impl Future<Output = Result<bool, MediumError>> {
        ready(AtOnce(flash).key_is(opened, key))
    }

    fn holds(
        flash: &mut Flash<Self>,
        opened: &OpenedRecord,
        key: &[u8],
        sequence: Sequence,
        value: &[u8],
    ) -> impl Future<Output = Result<bool, MediumError>> {
        ready(AtOnce(flash).holds(opened, key, sequence, value))
    }

    fn is_whole(
        flash: &mut Flash<Self>,
        opened: &OpenedRecord,
        sequence: Sequence,
    ) -> impl Future<Output = Result<bool, MediumError>> {
        ready(AtOnce(flash).is_whole(opened, sequence))
    }

    fn value(
        flash: &mut Flash<Self>,
        opened: &OpenedRecord,
        key: &[u8],
        sequence: Sequence,
        out: &mut [u8],
    ) -> impl Future<Output = Result<bool, MediumError>> {
        ready(AtOnce(flash).value(opened, key, sequence, out))
    }

    fn key(
        flash: &mut Flash<Self>,
        opened: &OpenedRecord,
        out: &mut [u8],
    ) -> impl Future<Output = Result<(), MediumError>> {
        ready(AtOnce(flash).key(opened, out))
    }

    fn record(
        desk: &mut IndexOnFlash<'_, '_, Self>,
        place: u32,
    ) -> impl Future<Output = Option<OpenedRecord>> {
        ready(desk.record_now(place))
    }

    fn find_twice(
        desk: &mut IndexOnFlash<'_, '_, Self>,
        hash: &KeyHash,
        copies_min: u8,
    ) -> impl Future<Output = Match> {
        ready(desk.find_twice_now(hash, copies_min))
    }

    /// The read is over before the future is made, so that no state of it is kept.
    fn read_bytes(&mut self, at: u64, bytes: &mut [u8]) -> impl Future<Output = Result<(), MediumError>> {
        ready(self.read(at, bytes).map_err(Into::into))
    }

    fn begin(
        &mut self,
        _: &Geometry,
        tier: &mut Tier<'_>,
        action: &Action,
    ) -> Option<Result<Started, MediumError>> {
        Some(carry_out(tier, self, action)?.map_err(Into::into))
    }

    fn begin_erase(&mut self, at: u64, bytes: u64) -> Result<Started, MediumError> {
        self.erase(at, bytes).map_err(Into::into)
    }

    fn take_end(&mut self) -> Option<Result<(), MediumError>> {
        Some(self.is_done()?.map_err(Into::into))
    }
}

/// Runs a future that never waits. `None` where it does, as only a read that is awaited does.
#[inline(always)]
pub(super) fn at_once<T>(future: impl Future<Output = T>) -> Option<T> {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => Some(value),
        Poll::Pending => None,
    }
}
