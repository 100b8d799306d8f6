//! Durability: syncs and the log's clock, which depend on each other.
//!
//! A sync makes durable the newest time that was written when it was issued. Where the segment that holds that time is emptied,
//! or the time becomes void, the sync under way makes no time durable. This part keeps the two in step.

use super::clock::{Clock, NewestTime, Stamp};
use super::syncs::{Covered, Syncs};
use crate::cleanup::Ticket;
use crate::drive::Now;
use crate::format::{KeyHash, SegmentIndex};
use crate::segments::SyncPoint;

/// The state of durability, and the time.
#[derive(Debug, Default)]
pub(crate) struct LogDurability {
    syncs: Syncs,
    clock: Clock,
}

impl LogDurability {
    /// Writes and erases that are complete.
    pub(crate) const fn completed(&self) -> SyncPoint {
        self.syncs.completed()
    }

    /// The sync point that the last good sync covers.
    pub(crate) const fn synced(&self) -> SyncPoint {
        self.syncs.synced()
    }

    /// The sync point that the last good sync covers which was issued while nothing was under suspicion.
    pub(crate) const fn synced_clear(&self) -> SyncPoint {
        self.syncs.synced_clear()
    }

    /// Every append up to here is durable.
    pub(crate) const fn durable(&self) -> u64 {
        self.syncs.durable()
    }

    /// Tells whether the records that were written again, to clear segments of suspicion, are synced.
    pub(crate) const fn is_suspicion_synced(&self) -> bool {
        self.syncs.is_suspicion_synced()
    }

    /// A segment under suspicion was emptied: its live records are written elsewhere.
    pub(crate) const fn clear_suspect(&mut self) {
        self.syncs.clear_suspect();
    }

    /// A write or erase is complete; returns its sync point.
    pub(crate) const fn raise_sync_point(&mut self) -> SyncPoint {
        self.syncs.raise_sync_point()
    }

    /// Wants a sync that covers this sync point.
    pub(crate) fn want_sync_point(&mut self, sync_point: SyncPoint) {
        self.syncs.want_sync_point(sync_point);
    }

    /// Wants everything in the slots to be durable; appends up to this position are waited for.
    pub(crate) fn want_all(&mut self, position: u64) {
        self.syncs.want_all(position);
    }

    /// Tells whether a sync with this ticket is under way.
    pub(crate) fn is_waiting(&self, ticket: Ticket) -> bool {
        self.syncs.is_waiting(ticket)
    }

    /// Tells whether no sync is under way.
    pub(crate) fn is_idle(&self) -> bool {
        self.syncs.is_idle()
    }

    /// Tells whether a sync is wanted, and none is under way. See [`Syncs::is_due`].
    pub(crate) fn is_sync_due(&mut self, is_written: bool, position: u64, is_clear: bool) -> bool {
        self.syncs.is_due(is_written, position, is_clear)
    }

    /// A sync is issued. It covers the writes that are complete by now: appends up to `position`, and the newest time.
    pub(crate) const fn issue_sync(&mut self, ticket: Ticket, position: u64, is_clear: bool) {
        self.syncs.issue(ticket, Covered { position, written_s: self.clock.written_s(), is_clear });
    }

    /// The sync under way succeeded. Returns `false` where there was none.
    pub(crate) fn succeed(&mut self) -> bool {
        let Some(written_s) = self.syncs.succeed() else { return false };
        self.clock.note_durable(written_s);
        true
    }

    /// The sync under way failed: all that is complete needs another, the newest time too.
    pub(crate) fn fail(&mut self) {
        self.clock.lose_sync();
        self.syncs.fail();
    }

    /// Advances the clock (rule 11).
    pub(crate) fn observe(&mut self, now: Now, jump_s_max: u32) {
        self.clock.observe(now, jump_s_max);
        self.void_sync();
    }

    /// A segment is about to be freed. The newest time goes with the segment that holds it.
    pub(crate) fn lose_segment(&mut self, segment: SegmentIndex) {
        if self.clock.lose_segment(segment) {
            self.void_sync();
        }
    }

    /// Where the log's time became void, the sync under way makes no time durable.
    fn void_sync(&mut self) {
        if self.clock.take_void() {
            self.syncs.lose_time();
        }
    }

    /// The clock, for reading.
    pub(crate) const fn clock(&self) -> &Clock {
        &self.clock
    }

    /// The mount has read all times: the clock goes on from the newest.
    pub(crate) fn start_clock(&mut self, now: Now, newest: &NewestTime, is_blank: bool, jump_s_max: u32) {
        self.clock.start(now, newest, is_blank, jump_s_max);
    }

    /// The wall clock is right, ahead of the log's time or behind it.
    pub(crate) fn confirm_clock(&mut self) {
        self.clock.confirm();
    }

    /// A record was dropped as expired: the present time must be written to the log.
    pub(crate) const fn owe_time(&mut self) {
        self.clock.owe();
    }

    /// The time to write was placed in a slot's buffer.
    pub(crate) const fn note_time_placed(&mut self) {
        self.clock.note_placed();
    }

    /// The time that was owed is in the log. Wants it durable where it is not. Returns whether it has to be written.
    pub(crate) fn settle_time(&mut self, position: u64) -> bool {
        let is_news = self.clock.settle();
        if is_news {
            self.syncs.want_all(position);
        }
        is_news
    }

    /// The write of a time is complete.
    pub(crate) fn note_time_written(&mut self, hash: &KeyHash, segment: SegmentIndex) {
        self.clock.note_written(hash, segment);
    }

    /// The header of a segment is written, which states a time.
    pub(crate) fn note_header_written(&mut self, time_s: u32, segment: SegmentIndex) {
        self.clock.note_header_written(time_s, segment);
    }

    /// Gives up the lead over a wall clock that was confirmed.
    pub(crate) fn drop_lead(&mut self) {
        self.clock.drop_lead();
        self.void_sync();
    }

    /// The write of a time failed.
    pub(crate) fn lose_time_write(&mut self) {
        self.clock.lose_write();
    }

    /// The time to write into the log.
    pub(crate) const fn stamp(&self) -> Stamp {
        self.clock.stamp()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sync_begun_before_the_time_was_lost_covers_no_later_one() {
        let mut newest = NewestTime::default();
        newest.header(7, SegmentIndex::new(3));
        let mut durability = LogDurability::default();
        durability.start_clock(Now { monotonic_ms: 0, wall_s: 7 }, &newest, false, 60);
        durability.raise_sync_point();
        durability.issue_sync(Ticket { index: 0, generation: 1 }, 0, true);
        durability.lose_segment(SegmentIndex::new(4));
        assert!(durability.clock().is_durable() && !durability.clock().is_owed());
        durability.lose_segment(SegmentIndex::new(3));
        assert!(durability.clock().is_owed());
        let hash = durability.stamp().hash();
        durability.note_time_placed();
        durability.note_time_written(&hash, SegmentIndex::new(5));
        assert!(durability.succeed(), "a sync was under way");
        assert_eq!(durability.synced(), SyncPoint::new(1));
        assert!(!durability.clock().is_durable());
    }
}
