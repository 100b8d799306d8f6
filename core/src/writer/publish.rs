//! Publication: points the index at records that are written, and keeps the live bytes of the table in step.

use super::log::Log;
use super::slots::SlotIndex;
use crate::format::{EraseIntent, KeyHash, Kind, SegmentIndex};
use crate::index::{Host, Placed, Published, Released};
use crate::invariant::Invariant;
use crate::segments::{SegmentState, SyncPoint};

impl Log<'_> {
    /// Points the index at records that are written. Bounds: the records of one write.
    pub(super) fn publish_written<H: Host>(
        &mut self,
        index: SlotIndex,
        records: usize,
        sync_point: SyncPoint,
        host: &mut H,
    ) {
        for i in 0..records {
            let Some((hash, placed)) = self.writer.slots.pending(index, i) else { return };
            match placed.kind {
                Kind::Value | Kind::Tombstone => {
                    let published = host.publish(&hash, &placed);
                    let has_origin = self.keeps_one_free() || placed.version != placed.location.version();
                    self.account(&placed, has_origin, published);
                    if let Some(from) = placed.relocated_from.filter(|_| self.keeps_one_free()) {
                        self.segment(from.segment).set_relocated(true);
                    }
                }
                Kind::EraseIntent => self.publish_intent(&hash, &placed, sync_point),
                Kind::Time => self.durability.note_time_written(&hash, placed.location.segment),
            }
        }
    }

    /// Keeps the live bytes of the table in step with the index (I-GC-4).
    pub(crate) fn account(&mut self, placed: &Placed, has_origin: bool, published: Published) {
        let Published::Live(superseded) = published else { return };
        let segment = self.segment(placed.location.segment);
        segment.gain(placed.record_bytes);
        if !has_origin {
            segment.set_plain();
        }
        if let Some(old) = superseded {
            self.release(&old);
        }
    }

    pub(crate) fn release(&mut self, old: &Released) {
        if self.segments.get(old.location.segment).sequence == old.location.sequence {
            self.lose(old.location.segment, old.record_bytes);
        }
    }

    /// A record is no longer live. If it was the last live one of its segment, the segment notes the present sync point. Once a
    /// sync covers that, all records that superseded those in the segment are durable.
    pub(crate) fn lose(&mut self, segment: SegmentIndex, record_bytes: u32) {
        let completed = self.durability.completed();
        self.deaths += 1;
        let segment = self.segment(segment);
        let is_right = segment.lose(record_bytes);
        if segment.live_records() == 0 {
            segment.set_sync_point(completed);
        }
        self.watch.hold(Invariant::LiveCounts, is_right);
    }

    fn publish_intent(&mut self, hash: &KeyHash, placed: &Placed, sync_point: SyncPoint) {
        let intent = EraseIntent::from_hash(hash);
        let segment = self.segment(intent.segment);
        let is_current = segment.sequence == intent.sequence
            && matches!(segment.state(), SegmentState::Freeing | SegmentState::Erased);
        if !is_current {
            return;
        }
        let before = segment.set_intent_at(Some((placed.location.segment, placed.record_bytes)));
        if segment.state() == SegmentState::Freeing && before.is_none() {
            segment.set_sync_point(sync_point);
        }
        if let Some((at, bytes)) = before {
            self.lose(at, bytes);
        }
        self.segment(placed.location.segment).gain(placed.record_bytes);
        self.durability.want_sync_point(sync_point);
    }
}
