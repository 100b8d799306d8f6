//! Holds the bytes of all segments as they are at one moment, for a backup.
//!
//! The worker makes all writes and erases. Before the first one to a segment that the backup has not taken, it copies the segment
//! into memory. So the erase itself never waits, and neither does a client. The copies are bounded: beyond that the hold is lost,
//! and the backup begins again.
//!
//! A hold lasts while its backup lives, however long that waits for its store: the backup has the other end of a channel, and
//! drops it with itself.

use core::convert::Infallible;

use coldpress_core::drive::Action;
use coldpress_core::segments::SegmentState;

use crossbeam_channel::{Receiver, TryRecvError};

use super::Worker;
use super::reply::Reply;
use crate::storage::{MARKER_BLOCK_BYTES, MediumFailure, PackedSegment, ServiceMedium};

/// A request of a backup.
pub(crate) enum HoldRequest {
    /// Holds all segments, until the other end of `backup` is dropped. One backup holds them at a time.
    Begin {
        number: u64,
        bytes_max: u64,
        backup: Receiver<Infallible>,
        reply: Reply<Option<Vec<HeldSegment>>>,
    },
    /// Takes one, which the backup has read before.
    Take { number: u64, segment: u32, reply: Reply<TakenSegment> },
    /// Ends the hold.
    End { number: u64 },
}

/// A segment at the moment of the hold.
#[derive(Debug, Clone, Copy)]
pub(crate) struct HeldSegment {
    pub(crate) sequence: u32,
    /// Its first bytes; the others are blank.
    pub(crate) bytes: u32,
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
    number: u64,
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
            HoldRequest::Begin { number, bytes_max, backup, reply } => {
                let is_free = self.hold.as_ref().is_none_or(SegmentHold::is_over);
                reply.send(is_free.then(|| self.begin_hold(number, bytes_max, backup)));
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

    fn begin_hold(&mut self, number: u64, bytes_max: u64, backup: Receiver<Infallible>) -> Vec<HeldSegment> {
        let segment_bytes = self.terms.geometry.segment_bytes();
        // A free segment is blank behind its marker.
        let marker_bytes = u32::try_from(MARKER_BLOCK_BYTES).unwrap_or(u32::MAX).min(segment_bytes);
        let held: Vec<_> = self
            .tier
            .segments()
            .iter()
            .map(|segment| HeldSegment {
                sequence: segment.sequence.get(),
                bytes: if segment.state() == SegmentState::Free { marker_bytes } else { segment_bytes },
            })
            .collect();
        self.hold = Some(SegmentHold {
            number,
            places: held.iter().map(|held| Place::Untouched(held.bytes)).collect(),
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
        self.hold.take_if(|hold| hold.is_over());
        if let Some(hold) = &mut self.hold {
            hold.copy(segment.get(), self.terms.geometry.segment_bytes(), self.medium.as_ref());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hold_lasts_exactly_as_long_as_its_backup() {
        let (alive, backup) = crossbeam_channel::bounded(0);
        let places = vec![Place::Untouched(16)];
        let mut hold = SegmentHold { number: 1, places, copied_bytes: 0, bytes_max: 64, lost: None, backup };
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
