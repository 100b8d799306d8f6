//! Publication: the index is pointed at what is written, and the table's live bytes follow it.

use super::log::Log;
use crate::format::{Freed, KeyHash, Kind};
use crate::index::{Host, Placed, Published, Released};
use crate::segments::SegmentState;

impl Log<'_> {
    /// Points the index at records that are written. Bounds: the records of one write.
    pub(crate) fn publish_written<H: Host>(&mut self, index: usize, records: usize, mark: u64, host: &mut H) {
        for i in 0..records {
            let Some((hash, placed)) = self.slots.get(index).and_then(|s| s.memory.placed.get(i)?.record())
            else {
                continue;
            };
            match placed.kind {
                Kind::Value | Kind::Tombstone => {
                    let published = host.publish(&hash, &placed);
                    self.account(&placed, published);
                }
                Kind::Freed => self.publish_freed(&hash, &placed, mark),
                Kind::Time => self.clock.landed(&hash, placed.location.segment),
            }
        }
    }

    /// Keeps the live bytes of the table in step with the index (I-GC-4).
    pub(crate) fn account(&mut self, placed: &Placed, published: Published) {
        let Published::Live(superseded) = published else { return };
        if let Some(segment) = self.segment(placed.location.segment) {
            segment.gain(placed.record_bytes);
            if placed.version == placed.location.version() {
                segment.set_plain();
            }
        }
        if let Some(old) = superseded {
            self.release(&old);
        }
    }

    pub(crate) fn release(&mut self, old: &Released) {
        let sequence = self.segments.get(old.location.segment).map(|s| s.sequence);
        if sequence == Some(old.location.sequence) {
            self.lose(old.location.segment, old.record_bytes);
        }
    }

    /// A record is live no more. Where it was the last of its segment, that is dead for good once what is complete by now is
    /// durable: all that superseded its records is.
    pub(crate) fn lose(&mut self, segment: u32, record_bytes: u32) {
        let completed = self.syncs.completed();
        self.deaths += 1;
        let Some(segment) = self.segment(segment) else { return };
        segment.lose(record_bytes);
        if segment.live_records() == 0 {
            segment.set_mark(completed);
        }
    }

    fn publish_freed(&mut self, hash: &KeyHash, placed: &Placed, mark: u64) {
        let Some(freed) = Freed::from_bytes(&hash.0) else { return };
        let Some(segment) = self.segment(freed.segment) else { return };
        let is_current = segment.sequence == freed.sequence
            && matches!(segment.state(), SegmentState::Freeing | SegmentState::Erased);
        if !is_current {
            return;
        }
        let before = segment.set_freed_in(Some((placed.location.segment, placed.record_bytes)));
        if segment.state() == SegmentState::Freeing && before.is_none() {
            segment.set_mark(mark);
        }
        if let Some((at, bytes)) = before {
            self.lose(at, bytes);
        }
        if let Some(holder) = self.segment(placed.location.segment) {
            holder.gain(placed.record_bytes);
        }
        self.syncs.want_mark(mark);
    }
}
