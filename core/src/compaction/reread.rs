//! For want of space, second looks at segments that could not be read.

use core::cmp::Reverse;

use super::deeds::Deeds;
use super::tasks::Tasks;
use crate::drive::{Now, Poll};
use crate::format::Sequence;
use crate::index::Host;
use crate::recovery::{Outcome, Restore, RestoreStep};
use crate::segments::{Segment, SegmentState};
use crate::writer::Log;

impl Tasks<'_> {
    /// For want of space, begins a second look at a segment that could not be read, or is in quarantine. It does so only on
    /// flash, where a cut leaves units that are never read back: bytes that still can't be read are taken for such units.
    pub(super) fn begin_restore(
        &mut self,
        log: &mut Log<'_>,
        restore: &mut Restore,
        is_meant: impl Fn(&Segment) -> bool,
    ) -> bool {
        if !log.may_restore() || self.is_closing || log.scan.is_leased() || !restore.is_idle() {
            return false;
        }
        if self.lacked_places == Some(log.counters.erases) || self.looked_in_vain == Some(Deeds::of(log)) {
            return false;
        }
        // A cut can also leave a half-erased segment that can be read and states nothing of its contents.
        let is_kept = |s: &Segment| match s.state() {
            SegmentState::Quarantined => true,
            SegmentState::Sealed => s.is_unread(),
            _ => false,
        };
        // The newest one first, where one free segment is all: it may be an output that a cut ended early.
        let kept = log.segments.numbered().filter(|(_, s)| is_kept(s) && is_meant(s));
        let age =
            |s: &Segment| if log.keeps_one_free() { Reverse(s.sequence) } else { Reverse(Sequence::NONE) };
        let segment = kept.min_by_key(|(_, s)| age(s)).map(|(index, _)| index);
        let Some(segment) = segment else { return false };
        restore.begin(log, segment, true);
        self.is_restoring = true;
        true
    }

    pub(super) fn poll_restore<H: Host>(
        &mut self,
        now: Now,
        log: &mut Log<'_>,
        host: &mut H,
        restore: &mut Restore,
    ) -> Poll {
        match restore.poll(log, host) {
            RestoreStep::Stay(poll) => return poll,
            RestoreStep::Done(Outcome::Kept) => {
                log.back_off(now);
                if log.keeps_one_free() && !log.must_give_up() {
                    self.looked_in_vain = Some(Deeds::of(log));
                }
            }
            RestoreStep::Done(Outcome::NoPlace) => self.lacked_places = Some(log.counters.erases),
            RestoreStep::Done(Outcome::Known | Outcome::Freeing) => {}
        }
        self.is_restoring = false;
        Poll::Again
    }
}
