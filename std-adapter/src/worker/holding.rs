//! Holds the bytes of all segments as they are at one moment, for a backup.
//!
//! The worker makes all writes and erases. Before the first one to a segment that the backup has not taken, it copies the segment
//! into memory. So the erase itself never waits, and neither does a client. The copies are bounded: beyond that the hold is lost,
//! and the backup begins again.
//!
//! A hold lasts while its backup lives, however long that waits for its store: the backup has the other end of a channel, and
//! drops it with itself.

use core::convert::Infallible;
use core::num::NonZeroU64;

use coldpress_core::drive::Action;
use coldpress_core::segments::SegmentState;

use crossbeam_channel::{Receiver, TryRecvError};

use super::Worker;
use super::reply::Reply;
use crate::storage::{MARKER_BLOCK_BYTES, MediumFailure, PackedSegment, ServiceMedium};

/// A request of a backup.
pub(crate) enum HoldRequest {
    /// Holds all segments, until the other end of `backup` is dropped. One backup holds them at a time. Segments that did not change
    /// since an earlier hold are known to it, and are not held.
    Begin {
        number: NonZeroU64,
        since: Option<NonZeroU64>,
        bytes_max: u64,
        backup: Receiver<Infallible>,
        reply: Reply<Option<Vec<HeldSegment>>>,
    },
    /// Takes one, which the backup has read before.
    Take { number: NonZeroU64, segment: u32, reply: Reply<TakenSegment> },
    /// Ends the hold.
    End { number: NonZeroU64 },
}

/// A segment at the moment of the hold.
#[derive(Debug, Clone, Copy)]
pub(crate) struct HeldSegment {
    pub(crate) sequence: u32,
    /// Its first bytes; the others are blank.
    pub(crate) bytes: u32,
    /// Whether it may have changed since the earlier hold that the backup knows, or the backup knows none.
    pub(crate) is_changed: bool,
}

impl HeldSegment {
    /// The bytes that a backup reads of it.
    pub(crate) fn bytes_to_read(&self) -> u64 {
        if self.is_changed { u64::from(self.bytes) } else { 0 }
    }
}

/// The changes of segments between holds. A worker that never held any keeps nothing.
#[derive(Debug, Default)]
pub(super) struct SegmentChanges {
    /// For each segment the newest hold that began before its last change; `None` where none did.
    after: Vec<Option<NonZeroU64>>,
    /// The first and the newest hold of this worker.
    holds: Option<(NonZeroU64, NonZeroU64)>,
}

impl SegmentChanges {
    /// A hold begins.
    fn begin(&mut self, number: NonZeroU64, segments: usize) {
        self.after.resize(segments, None);
        let (first, newest) = self.holds.unwrap_or((number, number));
        self.holds = Some((first.min(number), newest.max(number)));
    }

    /// A segment is about to change.
    fn note(&mut self, segment: u32) {
        if let (Some((_, newest)), Some(after)) = (self.holds, self.after.get_mut(segment as usize)) {
            *after = Some(newest);
        }
    }

    /// Whether a segment may have changed since a hold.
    fn is_changed(&self, segment: usize, since: NonZeroU64) -> bool {
        let is_known = self.holds.is_some_and(|(first, _)| first <= since);
        !is_known || self.after.get(segment).is_none_or(|after| after.is_some_and(|after| after >= since))
    }
}

/// The bytes of a segment at the moment of the hold.
#[derive(Debug)]
pub(crate) enum TakenSegment {
    /// Nothing was written to it, so the bytes that were read before are these.
    AsRead,
    /// It was copied before it was changed.
    Copied(PackedSegment),
    Lost(HoldLost),
}

/// Why a hold is no more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum HoldLost {
    /// The copies would have taken more memory than allowed.
    Overrun,
    /// A segment could not be read before it was changed.
    Unreadable(MediumFailure),
    /// It ended.
    Ended,
}

#[derive(Debug)]
enum Place {
    /// As it was: so many first bytes are to be copied before a change.
    Untouched(u32),
    Copied(Box<PackedSegment>),
    Taken,
}

/// The segments that a backup holds.
#[derive(Debug)]
pub(super) struct SegmentHold {
    number: NonZeroU64,
    places: Vec<Place>,
    copied_bytes: u64,
    bytes_max: u64,
    lost: Option<HoldLost>,
    /// Nothing comes by it: it shows when the backup was dropped.
    backup: Receiver<Infallible>,
}

impl SegmentHold {
    fn is_over(&self) -> bool {
        matches!(self.backup.try_recv(), Err(TryRecvError::Disconnected))
    }

    fn lose(&mut self, lost: HoldLost) {
        self.lost = Some(lost);
        self.places = Vec::new();
        self.copied_bytes = 0;
    }

    /// Copies a segment that is about to change.
    fn copy(&mut self, segment: u32, segment_bytes: u32, medium: &dyn ServiceMedium) {
        let Some(place) = self.places.get_mut(segment as usize) else { return };
        let Place::Untouched(bytes) = *place else { return };
        let mut whole = vec![0; bytes as usize];
        let at = u64::from(segment) * u64::from(segment_bytes);
        if let Err(failure) = medium.read_shared(at, &mut whole) {
            return self.lose(HoldLost::Unreadable(failure));
        }
        let packed = PackedSegment::pack(&whole);
        self.copied_bytes += packed.bytes.len() as u64;
        if self.copied_bytes > self.bytes_max {
            return self.lose(HoldLost::Overrun);
        }
        *place = Place::Copied(Box::new(packed));
    }

    fn take(&mut self, segment: u32) -> TakenSegment {
        if let Some(lost) = self.lost.clone() {
            return TakenSegment::Lost(lost);
        }
        let Some(place) = self.places.get_mut(segment as usize) else {
            return TakenSegment::Lost(HoldLost::Ended);
        };
        match core::mem::replace(place, Place::Taken) {
            Place::Untouched(_) => TakenSegment::AsRead,
            Place::Copied(packed) => {
                self.copied_bytes -= packed.bytes.len() as u64;
                TakenSegment::Copied(*packed)
            }
            // A backup takes each once.
            Place::Taken => TakenSegment::Lost(HoldLost::Ended),
        }
    }
}

impl Worker<'_> {
    pub(super) fn take_hold_request(&mut self, request: HoldRequest) {
        match request {
            HoldRequest::Begin { number, since, bytes_max, backup, reply } => {
                let is_free = self.hold.as_ref().is_none_or(SegmentHold::is_over);
                reply.send(is_free.then(|| self.begin_hold(number, since, bytes_max, backup)));
            }
            HoldRequest::Take { number, segment, reply } => {
                let hold = self.hold.as_mut().filter(|hold| hold.number == number);
                reply.send(hold.map_or(TakenSegment::Lost(HoldLost::Ended), |hold| hold.take(segment)));
            }
            HoldRequest::End { number } => {
                self.hold.take_if(|hold| hold.number == number);
            }
        }
    }

    fn begin_hold(
        &mut self,
        number: NonZeroU64,
        since: Option<NonZeroU64>,
        bytes_max: u64,
        backup: Receiver<Infallible>,
    ) -> Vec<HeldSegment> {
        let segment_bytes = self.terms.geometry.segment_bytes();
        // A free segment is blank behind its marker.
        let marker_bytes = u32::try_from(MARKER_BLOCK_BYTES).unwrap_or(u32::MAX).min(segment_bytes);
        let held: Vec<_> = self
            .tier
            .segments()
            .iter()
            .enumerate()
            .map(|(nth, segment)| HeldSegment {
                sequence: segment.sequence.get(),
                bytes: if segment.state() == SegmentState::Free { marker_bytes } else { segment_bytes },
                is_changed: since.is_none_or(|since| self.changes.is_changed(nth, since)),
            })
            .collect();
        self.changes.begin(number, held.len());
        let place = |held: &HeldSegment| {
            if held.is_changed { Place::Untouched(held.bytes) } else { Place::Taken }
        };
        self.hold = Some(SegmentHold {
            number,
            places: held.iter().map(place).collect(),
            copied_bytes: 0,
            bytes_max,
            lost: None,
            backup,
        });
        held
    }

    /// Keeps the bytes that an action is about to change, where a backup needs them.
    pub(super) fn copy_held(&mut self, action: &Action) {
        let (Action::Write { segment, .. } | Action::Erase { segment, .. }) = action else { return };
        self.changes.note(segment.get());
        self.hold.take_if(|hold| hold.is_over());
        if let Some(hold) = &mut self.hold {
            hold.copy(segment.get(), self.terms.geometry.segment_bytes(), self.medium.as_ref());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All histories of five events of two segments and three holds, of which any may begin out of order: a segment that changed after
    /// a hold is never found unchanged.
    #[test]
    fn change_after_a_hold_is_never_missed() {
        let hold = |number: u64| NonZeroU64::new(number).unwrap();
        let mut unchanged = 0;
        for history in 0..5_u32.pow(5) {
            let mut changes = SegmentChanges::default();
            // By hold, the segments that changed after it.
            let mut since = [None::<[bool; 2]>; 4];
            for turn in 0..5 {
                match history / 5_u32.pow(turn) % 5 {
                    segment @ (0 | 1) => {
                        changes.note(segment);
                        since.iter_mut().flatten().for_each(|changed| changed[segment as usize] = true);
                    }
                    // Each hold has a number of its own.
                    begun if since[begun as usize - 1].is_none() => {
                        changes.begin(hold(begun.into()), 2);
                        since[begun as usize - 1] = Some([false; 2]);
                    }
                    _ => {}
                }
            }
            for (number, changed) in (1..).zip(since) {
                for (segment, changed) in changed.into_iter().flatten().enumerate() {
                    let is_found = changes.is_changed(segment, hold(number));
                    assert!(is_found || !changed, "history {history}, hold {number}, segment {segment}");
                    unchanged += u32::from(!is_found);
                }
            }
            assert!(changes.is_changed(2, hold(4)), "a segment that is not there");
        }
        assert!(unchanged > 1_000, "{unchanged}");
        let mut later = SegmentChanges::default();
        later.begin(hold(9), 1);
        assert!(later.is_changed(0, hold(8)), "another worker held it then");
        assert!(!later.is_changed(0, hold(9)));
    }

    #[test]
    fn hold_lasts_exactly_as_long_as_its_backup() {
        let (alive, backup) = crossbeam_channel::bounded(0);
        let places = vec![Place::Untouched(16)];
        let mut hold = SegmentHold {
            number: NonZeroU64::MIN,
            places,
            copied_bytes: 0,
            bytes_max: 64,
            lost: None,
            backup,
        };
        assert!(!hold.is_over());
        assert!(matches!(hold.take(0), TakenSegment::AsRead));
        hold.lose(HoldLost::Overrun);
        assert!(!hold.is_over(), "the backup finds out why it was lost");
        assert!(matches!(hold.take(0), TakenSegment::Lost(HoldLost::Overrun)));
        // The message that ends it may find no place in the queue.
        drop::<crossbeam_channel::Sender<Infallible>>(alive);
        assert!(hold.is_over());
    }
}
