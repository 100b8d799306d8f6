//! Appends, publishes and gives up the members of a batch.

use super::batch::{BATCH_WAIT_MS, BatchNeed, BatchState, OpenBatch};
use super::error::AppendError;
use super::fresh::Fresh;
use super::log::Log;
use super::slots::SlotIndex;
use super::state::Parting;
use crate::config::Stream;
use crate::drive::Now;
use crate::format::{Location, Sequence};
use crate::index::Host;
use crate::segments::{Flag, SyncPoint};

impl Log<'_> {
    /// The state of the last batch.
    pub(crate) const fn batch(&self) -> BatchState {
        self.writer.batches.state()
    }

    /// Whether a batch is under way: then nothing else is appended.
    pub(crate) const fn has_batch(&self) -> bool {
        self.writer.batches.open.is_some()
    }

    /// The most bytes that the records of a batch take: those of a segment without the time record behind them. With one free segment
    /// it keeps space for an erase intent, too.
    pub(crate) fn batch_bytes_max(&self) -> u32 {
        let config = self.layout.config();
        let intent = if self.keeps_one_free() { config.erase_intent_bytes() } else { 0 };
        self.layout.geometry().usable_bytes().saturating_sub(config.time_bytes() + intent)
    }

    /// Begins a batch in an open segment with space for all of it. Where there is none, space is wanted from now on.
    pub(crate) fn begin_batch(&mut self, now: Now, need: &BatchNeed) -> Result<(), AppendError> {
        let most = self.batch_bytes_max();
        if need.bytes > most {
            return Err(AppendError::TooLong(most));
        }
        // A footer would have to keep space for all entries.
        let notes = self.writer.slots.iter().map(|slot| slot.pending.len()).min().unwrap_or(0);
        let records_max =
            if self.layout.config().has_footers { 0 } else { u32::try_from(notes).unwrap_or(u32::MAX) };
        if need.records > records_max {
            return Err(AppendError::TooMany(records_max));
        }
        if self.has_batch() || self.is_backing_off(now) || self.copies.is_resetting() {
            return Err(AppendError::Busy);
        }
        if !self.is_written() {
            self.flush();
            return Err(AppendError::Busy);
        }
        let bytes = need.bytes + self.layout.config().time_bytes();
        let index = self.batch_slot(bytes, need.after).inspect_err(|_| self.writer.wanted_bytes = bytes)?;
        self.writer.wanted_bytes = 0;
        self.writer.parting = Parting::None;
        let Some(slot) = self.writer.slots.get(index) else { return Err(AppendError::Busy) };
        let end = slot.head + need.bytes;
        let since_ms = now.monotonic_ms;
        self.writer.batches.open =
            Some(OpenBatch { slot: index, is_ending: false, end, sync_point: SyncPoint::NONE, since_ms });
        Ok(())
    }

    /// The slot of the open segment, if that has space; else the next segment. The rest of the open one is given up only once the
    /// next one can be opened: what relocation fills must not end early for a batch that has to wait.
    fn batch_slot(&mut self, bytes: u32, after: Sequence) -> Result<SlotIndex, AppendError> {
        let floor = after.max(self.writer.version_floor.next());
        if !self.may_share() {
            return Err(AppendError::Busy);
        }
        let open = self.filling(Stream::Warm).map(|(index, slot)| {
            let fits = slot.head.saturating_add(bytes) <= self.fresh_end(&slot);
            (index, fits && slot.sequence >= floor)
        });
        if let Some((index, true)) = open {
            return Ok(index);
        }
        if !self.is_at_end() && !self.may_open(Stream::Warm, false) {
            return Err(AppendError::Busy);
        }
        if let Some((index, _)) = open.filter(|_| !self.is_at_end()) {
            self.seal_slot(index);
        }
        self.take_opening(Stream::Warm, false)
    }

    /// Appends a member to the batch that is under way. The last one is appended once all others are durable.
    pub(crate) fn append_member(
        &mut self,
        now: Now,
        fresh: &Fresh<'_>,
        rest: &[u8],
        is_last: bool,
    ) -> Result<Location, AppendError> {
        let Some(batch) = self.writer.batches.open.filter(|batch| !batch.is_ending) else {
            return Err(AppendError::NoBatch);
        };
        let incoming = self.incoming(fresh, rest)?;
        let bytes = incoming.header.record_bytes(self.layout.geometry());
        let Some(slot) = self.writer.slots.get(batch.slot) else { return Err(AppendError::Busy) };
        if slot.head.saturating_add(bytes) > batch.end {
            return Err(AppendError::TooLong(batch.end.saturating_sub(slot.head)));
        }
        let is_written = slot.is_all_written();
        if self.is_backing_off(now) || is_last && !(is_written && self.covers(batch.sync_point)) {
            self.flush();
            if is_written {
                self.durability.want_sync_point(batch.sync_point);
            }
            return Err(AppendError::Busy);
        }
        let location = self.place_as(batch.slot, &incoming, !is_last)?;
        self.account_fresh(now, batch.slot, fresh, location, bytes);
        self.writer.batches.open =
            Some(OpenBatch { is_ending: is_last, since_ms: now.monotonic_ms, ..batch });
        Ok(location)
    }

    fn covers(&self, sync_point: SyncPoint) -> bool {
        sync_point.is_covered_by(self.durability.synced())
    }

    /// A write of the slot is complete. Returns whether it was of a batch: then nothing of it is published yet.
    pub(super) fn note_member_written(&mut self, index: SlotIndex, sync_point: SyncPoint) -> bool {
        let Some(batch) = self.writer.batches.open.as_mut().filter(|batch| batch.slot == index) else {
            return false;
        };
        batch.sync_point = sync_point;
        if batch.is_ending {
            self.durability.want_sync_point(sync_point);
        }
        true
    }

    /// Publishes a batch whose last member is durable, in one step. Returns whether it did. Bounds: the records that a slot's
    /// memory holds.
    ///
    /// A time record goes behind it: with two records that prove that the batch was whole, damage of one takes no other member.
    pub(crate) fn poll_batch<H: Host>(&mut self, host: &mut H) -> bool {
        let Some(batch) = self.writer.batches.open.filter(|batch| batch.is_ending) else { return false };
        let Some(slot) = self.writer.slots.get(batch.slot) else { return false };
        if !slot.is_all_written() || !self.covers(batch.sync_point) {
            return false;
        }
        self.publish_written(batch.slot, slot.placed, batch.sync_point, host);
        let records_at = self.layout.geometry().records_at();
        let Some(mut slot) = self.writer.slots.get_mut(batch.slot) else { return false };
        slot.placed = 0;
        slot.first_unwritten = None;
        let (segment, used) = (slot.segment, slot.base - records_at);
        self.segment(segment).set_used_bytes(used);
        self.writer.batches.end(BatchState::Done);
        // Space for it was kept, so it has its place.
        if self.place_stamp(batch.slot).is_ok() {
            self.flush();
        }
        true
    }

    /// Gives up a batch that has not got its last member: its segment is sealed, and no mount counts any of it. One without members
    /// leaves its segment as it was. It stays under way while a write of it is, or once it has its last member.
    pub(crate) fn give_up_batch(&mut self) {
        let Some(batch) = self.writer.batches.open.filter(|batch| !batch.is_ending) else { return };
        let Some(slot) = self.writer.slots.get(batch.slot) else { return };
        if slot.writing.is_some() {
            return;
        }
        let is_begun = slot.placed > 0;
        self.writer.batches.end(BatchState::Failed);
        if is_begun {
            self.close_abandoned(batch.slot);
        }
        self.stir(true);
    }

    /// Gives up a batch that got no member for [`BATCH_WAIT_MS`], so that the machine goes on though its adapter does not.
    pub(crate) fn expire_batch(&mut self, now: Now) {
        if self.batch_retry_ms().is_some_and(|at| at <= now.monotonic_ms) {
            self.give_up_batch();
        }
    }

    /// When the batch that is under way is given up.
    pub(crate) fn batch_retry_ms(&self) -> Option<u64> {
        let batch = self.writer.batches.open.filter(|batch| !batch.is_ending)?;
        Some(batch.since_ms.saturating_add(BATCH_WAIT_MS))
    }

    /// The slot is abandoned: the batch in it failed, if there is one. Returns whether no mount counts any record in the slot:
    /// the last member was not appended.
    pub(super) fn fail_batch(&mut self, index: SlotIndex) -> bool {
        let is_uncounted =
            self.writer.batches.open.is_some_and(|batch| batch.slot == index && !batch.is_ending);
        if self.writer.batches.fills(index) {
            self.writer.batches.end(BatchState::Failed);
        }
        is_uncounted
    }

    /// Seals a slot's segment, of which nothing more than before counts.
    fn close_abandoned(&mut self, index: SlotIndex) {
        let Some(slot) = self.writer.slots.get(index) else { return };
        let segment = slot.segment;
        self.close_slot(index, false);
        self.counters.segments_abandoned += 1;
        let segment = self.segment(segment);
        segment.set(Flag::Suspect, false);
        let is_counted = segment.is_counted() && segment.used_bytes() > 0;
        segment.set(Flag::Counted, is_counted);
    }
}
