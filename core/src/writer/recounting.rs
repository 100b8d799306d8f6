//! Tells the host when copies may be uncounted, and counts them anew (rule 6).

use super::log::Log;
use crate::index::{Host, Settled};
use crate::segments::{Flag, SegmentState};

impl Log<'_> {
    /// Tells whether there is a segment of which the index may not count all copies. Bounds: one pass over the table.
    fn has_uncounted(&self) -> bool {
        use SegmentState::{Emptied, Erased, Freeing, Quarantined, Sealed, Victim};
        let synced = self.durability.synced();
        self.segments.iter().any(|s| match s.state() {
            Quarantined => true,
            Sealed | Victim | Emptied => !s.is_counted(),
            // Until it is durable that it is to be erased, or, where it was given up without an erase intent, that it was.
            Freeing => s.is_unread() || !s.is_counted() && !s.sync_point().is_covered_by(synced),
            Erased => s.is_unread(),
            _ => false,
        })
    }

    /// A mount has found all records: nothing is let go that copies which could not be read may bring back (rule 6).
    pub(crate) fn begin_withholding<H: Host>(&mut self, host: &mut H) {
        self.copies.is_withholding = self.has_uncounted();
        if self.copies.is_withholding {
            host.withhold(Some(self.writer.sequence_next));
        }
    }

    /// A segment is free again: that may have been the last of which not all copies were counted.
    pub(crate) fn end_withholding<H: Host>(&mut self, host: &mut H) {
        if self.copies.is_withholding && !self.has_uncounted() {
            self.copies.is_withholding = false;
            self.copies.is_settling = true;
            host.withhold(None);
        }
    }

    /// Has copies counted anew: those on the medium now count no more, and go with the segments in which they lie.
    pub(crate) fn begin_recount(&mut self) {
        use SegmentState::{Open, Sealed, Sealing};
        for index in self.writer.slots.indices() {
            self.seal_slot(index);
        }
        for segment in self.segments.iter_mut().filter(|s| matches!(s.state(), Open | Sealing | Sealed)) {
            segment.set(Flag::Counted, false);
        }
        (self.copies.is_recounting, self.copies.is_resetting) = (true, true);
    }

    /// A segment is free again: that may have been the last of which the copies are not counted since a recount began.
    pub(crate) fn end_recount<H: Host>(&mut self, host: &mut H) {
        if self.copies.is_recounting && !self.copies.is_resetting && !self.has_uncounted() {
            self.copies.is_recounting = false;
            self.copies.is_settling = true;
            host.recounted();
        }
    }

    /// Has the host set its counts to zero, or let go of tombstones, where one of these is under way; tells whether it is. Bounds: one
    /// call of the host, or `step_records` looks of it.
    pub(super) fn poll_copies<H: Host>(&mut self, host: &mut H) -> bool {
        if self.copies.is_resetting {
            self.copies.is_resetting = host.recount();
            return true;
        }
        let is_settling = self.copies.is_settling;
        if is_settling {
            self.settle(host);
        }
        is_settling
    }

    /// Lets go of tombstones that nothing needs any more. Bounds: `step_records` looks of the host.
    fn settle<H: Host>(&mut self, host: &mut H) {
        for _ in 0..self.layout.config().step_records {
            match host.settle() {
                Settled::Released(released) => self.release(&released),
                Settled::More => return,
                Settled::End => {
                    self.copies.is_settling = false;
                    return;
                }
            }
        }
    }
}
