//! Making a new store of a flash that is in use.

use core::mem::take;

use coldpress_core::cleanup::Ticket;
use coldpress_core::format::Secret;

use super::access::Access;
use super::driving::{Allowance, Step, Work};
use super::index::TableIndex;
use super::large::FailedCommits;
use super::medium::Started;
use super::tier::FlashTier;

/// The ticket of an erase that the machine did not ask for: it drops the completion.
const NO_TICKET: Ticket = Ticket { index: u16::MAX, generation: 0 };

impl<M: Access> FlashTier<'_, M> {
    /// Makes a new store. **It destroys all data in the segments**, of any program: the next [`mount`](Self::mount) erases
    /// every segment before it mounts, and [`poll`](Self::poll) does so in steps, an erase a call. Only the segments are
    /// erased: data behind them on the medium stay.
    ///
    /// It is for a flash that a mount refuses, or whose contents are not wanted any more. It may be called at any time. The tier is
    /// empty and not mounted from then on, with the id and the secret that it is configured with.
    ///
    /// After a cut during the erases, call it again: segments that were not erased are as they were, and the rest of an older
    /// store may be mounted.
    ///
    /// ```
    /// # mod ram { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/ram/mod.rs")); }
    /// # use coldpress_embedded::flash::{FlashConfig, FlashMemory, FlashTier, NorMedium, Now, buckets_for};
    /// use coldpress_embedded::flash::{FlashMountError, MountError};
    /// # let (mut flash, now) = (ram::Ram::<4, 4096>::new(16), Now { monotonic_ms: 0, wall_s: 0 });
    /// # flash.bytes.fill(0x5A);
    /// # let mut memory = FlashMemory::<16, { buckets_for(100) }, 128>::new();
    /// # let mut tier = FlashTier::new(FlashConfig::new(4096, 1), &mut memory, NorMedium::new(flash))?;
    /// if tier.mount(now) == Err(FlashMountError::Mount(MountError::Foreign)) {
    ///     // Another program's data, which this firmware does not need.
    ///     tier.format();
    ///     tier.mount(now)?;
    /// }
    /// assert!(tier.is_empty());
    /// # Ok::<(), Box<dyn core::error::Error>>(())
    /// ```
    pub fn format(&mut self) {
        self.tier.restart();
        let (table, places_max) = (self.index.table.emptied(), self.index.places.max);
        let (sequences, known) = (take(&mut self.index.sequences), self.index.known.take_memory());
        self.index = TableIndex::new(table, sequences, known, places_max);
        let store = *self.tier.store();
        self.flash.seed = store.seed(&self.flash.geometry);
        self.flash.secret = Secret::new(store.hash_key);
        self.formatting = Some(0);
        if self.flash.medium.give_up() {
            self.under_way = None;
        }
        (self.held, self.pending, self.syncing, self.failure) = (None, None, None, None);
        (self.large, self.batch, self.failed_commits) = (None, None, FailedCommits::default());
        (self.has_orphans, self.swept) = (true, 0);
    }

    /// Erases the next segment. Where that fails it is tried again by the next call.
    pub(super) fn erase_next(&mut self, segment: u32, allowance: &mut Allowance, work: &mut Work) -> Step {
        if segment >= self.flash.geometry.segment_count() {
            self.formatting = None;
            return Step::Done;
        }
        if self.failure.is_some() {
            return Step::Idle;
        }
        if !allowance.take_erase() {
            return Step::Spent;
        }
        work.operations += 1;
        work.erases += 1;
        let bytes = u64::from(self.flash.geometry.segment_bytes());
        match self.flash.medium.begin_erase(u64::from(segment) * bytes, bytes) {
            Ok(started) => {
                self.formatting = Some(segment + 1);
                let is_done = started == Started::Done;
                self.under_way = (!is_done).then_some(NO_TICKET);
                if is_done { Step::Done } else { Step::Waiting }
            }
            Err(error) => {
                self.failure = Some(error);
                Step::Idle
            }
        }
    }

    /// Notes a failed operation while the flash is formatted: the last erase is repeated.
    pub(super) fn unformat(&mut self) {
        self.formatting = self.formatting.map(|next| next.saturating_sub(1));
    }

    /// Begins a call: an erase that failed before is tried again.
    pub(super) fn retry_format(&mut self) {
        if self.formatting.is_some() {
            self.failure = None;
        }
    }
}
