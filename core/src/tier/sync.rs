//! Marks and syncs: what is known to be durable.
//!
//! Each completed write or erase raises a mark. A sync that was issued at mark m and succeeds makes everything up to m
//! durable. A failed sync proves nothing about what came before it (rule 9), and neither does the next one: so the segments
//! with unsynced records become suspect, and nothing counts as durable until what is live in them was written again.
//!
//! ```text
//!  Idle ─1─► In flight ─2─► Idle
//!                └──────3─► Idle, with suspects ─4─► Idle
//! ```
//! 1 `poll_sync` a mark is wanted, or a position that is written; 2 `finish_sync` what was completed when it was issued is
//! durable; 3 `fail_sync`; 4 the mover emptied them, and a sync covers that: positions count as durable again.

use super::log::{LANE_SYNC, Log};
use super::{Action, Host, MediumError, Now};
use crate::cleanup::Ticket;
use crate::log::{Flag, SegmentState};

/// The state of syncing.
#[derive(Debug, Default)]
pub(super) struct Syncs {
    /// Completed writes and erases.
    pub(super) completed: u64,
    /// The mark that the last good sync covers.
    pub(super) synced: u64,
    /// The mark that the last good sync covers which was issued while nothing was under suspicion: what was completed by then
    /// is durable, and so is all that it supersedes.
    pub(super) synced_clear: u64,
    /// The mark that someone waits for.
    wanted: u64,
    /// The append position that a client waits for.
    wanted_position: u64,
    /// Whether all that is in the slots is to be made durable once it is written: what the machine appended itself, too.
    wants_written: bool,
    /// Every append up to here is durable.
    pub(super) durable: u64,
    /// What was clear of suspects was written up to this mark.
    pub(super) suspects_clear: u64,
    in_flight: Option<InFlight>,
}

#[derive(Debug, Clone, Copy)]
struct InFlight {
    ticket: Ticket,
    mark: u64,
    position: u64,
    /// The newest time whose write was complete.
    landed_s: u32,
    is_clear: bool,
}

impl Syncs {
    /// The newest time is gone with its segment: the sync in flight makes none durable that stays.
    pub(super) fn lose_time(&mut self) {
        if let Some(sync) = &mut self.in_flight {
            sync.landed_s = 0;
        }
    }

    pub(super) fn want_mark(&mut self, mark: u64) {
        self.wanted = self.wanted.max(mark);
    }

    /// Wants everything in the slots to be durable; appends up to this position are waited for.
    pub(super) fn want_all(&mut self, position: u64) {
        self.wanted_position = self.wanted_position.max(position);
        self.wants_written = true;
    }

    pub(super) fn is_waiting(&self, ticket: Ticket) -> bool {
        self.in_flight.is_some_and(|f| f.ticket == ticket)
    }

    pub(super) fn is_idle(&self) -> bool {
        self.in_flight.is_none()
    }
}

impl Log<'_> {
    /// A write or erase is complete; returns its mark.
    pub(super) fn raise_mark(&mut self) -> u64 {
        self.syncs.completed += 1;
        self.syncs.completed
    }

    /// Issues a sync if someone waits for one.
    pub(super) fn poll_sync(&mut self, now: Now) -> Option<Action> {
        if self.syncs.in_flight.is_some() || self.is_backing_off(now) {
            return None;
        }
        if self.syncs.wants_written && self.is_written() {
            self.syncs.wants_written = false;
            self.syncs.want_mark(self.syncs.completed);
        }
        let written = self.written();
        let wanted = self.syncs.wanted_position;
        let position_due = wanted > self.syncs.durable && written >= wanted;
        let mark_due = self.syncs.wanted > self.syncs.synced;
        let is_clear = !self.has_suspects();
        let is_due = mark_due || (position_due && is_clear);
        if !is_due {
            return None;
        }
        let ticket = self.ticket(LANE_SYNC);
        let mark = self.syncs.completed;
        let landed_s = self.clock.landed_s();
        self.syncs.in_flight = Some(InFlight { ticket, mark, position: written, landed_s, is_clear });
        self.counters.syncs += 1;
        Some(Action::Sync { ticket })
    }

    pub(super) fn finish_sync<H: Host>(&mut self, now: Now, result: Result<(), MediumError>, host: &mut H) {
        let Some(sync) = self.syncs.in_flight.take() else { return };
        match result {
            Ok(()) => {
                self.succeed();
                self.syncs.synced = self.syncs.synced.max(sync.mark);
                self.clock.secure(sync.landed_s);
                if sync.is_clear {
                    self.syncs.synced_clear = self.syncs.synced_clear.max(sync.mark);
                    self.syncs.durable = self.syncs.durable.max(sync.position);
                }
            }
            Err(_) => self.fail_sync(now, host),
        }
    }

    /// Rule 9. Everything unsynced is under suspicion: open segments are sealed, erases and headers are made again.
    fn fail_sync<H: Host>(&mut self, now: Now, host: &mut H) {
        self.back_off(now);
        self.counters.sync_failures += 1;
        for index in 0..self.slots.len() {
            self.abandon_slot(index, true, host);
        }
        self.abandon_opening();
        self.clock.lose_sync();
        let (synced, completed) = (self.syncs.synced, self.syncs.completed);
        let synced_clear = self.syncs.synced_clear;
        for index in 0..self.geometry.segment_count() {
            let Some(segment) = self.segment(index) else { continue };
            match segment.state() {
                // The freed record may be lost: it is written again once the copies are durable.
                SegmentState::Freeing if segment.mark() > synced => self.unfree(index),
                SegmentState::Erased if segment.mark() > synced => {
                    segment.set_mark(0);
                    self.set_state(index, SegmentState::Freeing);
                }
                SegmentState::Emptied if segment.mark() > synced_clear => segment.set_mark(completed),
                // A write of it failed before, or it has no footer to wait for: it was sealed with records unsynced.
                SegmentState::Sealed | SegmentState::Victim
                    if segment.mark() > synced && segment.live_records() > 0 =>
                {
                    segment.set(Flag::Suspect, true);
                    self.may_be_suspect = true;
                }
                _ => {}
            }
        }
        self.syncs.wanted = self.syncs.wanted.max(completed);
    }

    /// A freed record did not become durable: its segment is only emptied again.
    pub(super) fn unfree(&mut self, index: u32) {
        let completed = self.syncs.completed;
        let Some(segment) = self.segment(index).filter(|s| s.state() == SegmentState::Freeing) else {
            return;
        };
        segment.set_mark(completed);
        self.set_state(index, SegmentState::Emptied);
        self.syncs.want_mark(completed);
        self.release_freed(index);
    }

    /// The freed record of a segment is not needed any more.
    pub(super) fn release_freed(&mut self, index: u32) {
        if let Some((at, bytes)) = self.segment(index).and_then(|s| s.set_freed_in(None)) {
            self.lose(at, bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::KeyHash;
    use crate::tier::clock::{Clock, Newest};

    #[test]
    fn sync_begun_before_the_newest_time_was_lost_covers_no_later_one_of_the_same_second() {
        let mut clock = Clock::default();
        let mut newest = Newest::default();
        newest.header(7, 3);
        clock.start(Now { monotonic_ms: 0, wall_s: 7 }, &newest, false, 60);
        let ticket = Ticket { index: LANE_SYNC, generation: 1 };
        let sync = InFlight { ticket, mark: 1, position: 0, landed_s: clock.landed_s(), is_clear: true };
        let mut syncs = Syncs { in_flight: Some(sync), ..Syncs::default() };
        assert!(!clock.lose_segment(4) && clock.is_secured());
        assert!(clock.lose_segment(3) && clock.is_owed);
        syncs.lose_time();
        clock.written_s = 7;
        let mut hash = KeyHash::default();
        hash.0[0] = 7;
        clock.landed(&hash, 5);
        clock.secure(syncs.in_flight.unwrap().landed_s);
        assert!(!clock.is_secured());
    }
}
