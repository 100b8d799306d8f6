//! Issues syncs, and handles the doubt that a failed one leaves (rule 9).

use super::lane::LANE_SYNC;
use super::log::Log;
use crate::drive::{Action, MediumError, Now};
use crate::format::SegmentIndex;
use crate::index::Host;
use crate::invariant::Invariant;
use crate::segments::{SegmentState, SyncPoint};

impl Log<'_> {
    /// Issues a sync if one is wanted.
    pub(crate) fn poll_sync(&mut self, now: Now) -> Option<Action> {
        if self.is_backing_off(now) {
            return None;
        }
        let (is_written, position, is_clear) =
            (self.is_written(), self.written(), !self.segments.has_suspects());
        if !self.durability.is_sync_due(is_written, position, is_clear) {
            return None;
        }
        let ticket = self.ticket(LANE_SYNC);
        self.durability.issue_sync(ticket, position, is_clear);
        self.counters.syncs += 1;
        Some(Action::Sync { ticket })
    }

    pub(super) fn finish_sync<H: Host>(&mut self, now: Now, result: Result<(), MediumError>, host: &mut H) {
        if result.is_err() {
            self.fail_sync(now, host);
        } else if self.durability.succeed() {
            self.succeed();
        } else {
            self.watch.note(Invariant::Completion);
        }
    }

    /// Rule 9. Everything unsynced is under suspicion: open segments are sealed, erases and headers are made again.
    fn fail_sync<H: Host>(&mut self, now: Now, host: &mut H) {
        self.back_off(now);
        self.counters.sync_failures += 1;
        for index in self.writer.slots.indices() {
            self.abandon_slot(index, true, host);
        }
        self.abandon_opening();
        self.durability.fail();
        let (synced, completed) = (self.durability.synced(), self.durability.completed());
        let synced_clear = self.durability.synced_clear();
        for index in SegmentIndex::FIRST.up_to(self.layout.geometry().segment_count()) {
            let segment = self.segment(index);
            match segment.state() {
                // The erase intent may be lost: it is written again once the copies are durable.
                SegmentState::Freeing if !segment.sync_point().is_covered_by(synced) => {
                    self.unmake_intent(index)
                }
                SegmentState::Erased if !segment.sync_point().is_covered_by(synced) => {
                    segment.set_sync_point(SyncPoint::NONE);
                    self.set_state(index, SegmentState::Freeing);
                }
                SegmentState::Emptied if !segment.sync_point().is_covered_by(synced_clear) => {
                    segment.set_sync_point(completed)
                }
                // It was sealed with unsynced records: a write of it failed before, or it gets no footer that would wait for a
                // sync.
                SegmentState::Sealed | SegmentState::Victim
                    if !segment.sync_point().is_covered_by(synced) && segment.live_records() > 0 =>
                {
                    self.segments.suspect(index);
                }
                _ => {}
            }
        }
    }

    /// An erase intent did not become durable: its segment goes back to `Emptied`.
    pub(super) fn unmake_intent(&mut self, index: SegmentIndex) {
        let completed = self.durability.completed();
        let segment = self.segment(index);
        if segment.state() != SegmentState::Freeing {
            return;
        }
        segment.set_sync_point(completed);
        self.set_state(index, SegmentState::Emptied);
        self.durability.want_sync_point(completed);
        self.release_intent(index);
    }

    /// The erase intent of a segment is not needed any more.
    pub(crate) fn release_intent(&mut self, index: SegmentIndex) {
        if let Some((at, bytes)) = self.segment(index).set_intent_at(None) {
            self.lose(at, bytes);
        }
    }
}
