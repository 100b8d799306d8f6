//! Tells the host when copies may be uncounted, and has copies recounted (rule 6).

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
            // It may come back until its erase intent is durable, or, where it was given up without one, until its erase is.
            Freeing => s.is_unread() || !s.is_counted() && !s.sync_point().is_covered_by(synced),
            Erased => s.is_unread(),
            _ => false,
        })
    }

    /// A mount has found all records. While some copies could not be read, no tombstone that may hide them is dropped (rule 6).
    pub(crate) fn begin_withholding<H: Host>(&mut self, host: &mut H) {
        self.copies.is_withholding = self.has_uncounted();
        if self.copies.is_withholding {
            host.withhold(Some(self.writer.sequence_next));
        }
    }

    /// A segment is free again: it may have been the last one with uncounted copies.
    pub(crate) fn end_withholding<H: Host>(&mut self, host: &mut H) {
        if self.copies.is_withholding && !self.has_uncounted() {
            self.copies.is_withholding = false;
            self.copies.is_settling = true;
            host.withhold(None);
        }
    }

    /// Begins a recount: copies that are on the medium now no longer count, and go with their segments.
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

    /// A segment is free again: it may have been the last one from before the recount.
    pub(crate) fn end_recount<H: Host>(&mut self, host: &mut H) {
        if self.copies.is_recounting && !self.copies.is_resetting && !self.has_uncounted() {
            self.copies.is_recounting = false;
            self.copies.is_settling = true;
            host.recounted();
        }
    }

    /// Takes a step where the host is setting its counts to zero, or dropping needless tombstones; tells whether it did.
    /// Bounds: one call of the host, or `step_records` entries that it looks at.
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

    /// Drops tombstones that hide nothing any more. Bounds: `step_records` entries that the host looks at.
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
