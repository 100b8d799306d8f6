//! Records whose time is over: the search for them, for the task that drops them and for a put that needs their space.

use coldpress_core::drive::Now;
use coldpress_core::index::{Dropped, Due, Look};

use super::access::{Access, at_once};
use super::index::IndexOnFlash;
use super::prepared::{Query, QueryAnswer};
use super::reader::OpenedRecord;
use super::table::State;
use super::tier::FlashTier;

/// Records looked at in one step.
const LOOKS_MAX: u32 = 8;
/// Steps that one put makes, of [`LOOKS_MAX`] records each.
const STEPS_MAX: u32 = 64;

/// Where the searches stand.
#[derive(Debug)]
pub(super) struct DueSearch {
    /// Where the search of the task goes on.
    next: usize,
    /// Where the search of puts goes on.
    put_next: usize,
    /// The moves of the table when the search of puts began.
    moves: u32,
    /// The earliest expiry among records that the search of puts has passed, and those that came meanwhile.
    passed_s: u32,
    /// No record expires before, in seconds.
    earliest_s: u32,
}

impl Default for DueSearch {
    fn default() -> Self {
        Self { next: 0, put_next: 0, moves: 0, passed_s: u32::MAX, earliest_s: u32::MAX }
    }
}

impl DueSearch {
    /// Begins the search of the task anew.
    pub(super) const fn restart(&mut self) {
        self.next = 0;
    }

    /// Notes that a record with this expiry is in the index.
    pub(super) fn note(&mut self, expires_s: Option<u32>) {
        if let Some(at) = expires_s {
            self.earliest_s = self.earliest_s.min(at);
            self.passed_s = self.passed_s.min(at);
        }
    }
}

/// How far a put has looked for records whose time is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Expired {
    /// One was dropped.
    Dropped,
    /// There may be more to be found by the next call.
    More,
    /// A record is read first.
    Wait,
    /// There is none.
    None,
}

impl<M: Access> IndexOnFlash<'_, '_, M> {
    /// The record at a place, if its time is over.
    pub(super) async fn due_at(&mut self, place: u32, now_s: u32) -> Option<Due> {
        let is_later = |opened: &OpenedRecord| opened.header.expires_s.is_none_or(|at| at > now_s);
        let opened = self.flash.open(place).await.ok().flatten();
        if let Some(opened) = opened.filter(is_later) {
            self.index.due.note_passed(opened.header.expires_s);
            return None;
        }
        // A wrong bit must not drop a value: only a whole record tells that its time is over.
        let opened = self.record(place).await.filter(|opened| !is_later(opened));
        let hash = match &opened {
            Some(opened) => self.flash.stored_hash(opened).await.ok(),
            None => None,
        };
        let Some((opened, hash)) = opened.zip(hash) else {
            // The record is looked at again later.
            self.index.due.note_passed(Some(now_s));
            return None;
        };
        let record_bytes = opened.record_bytes(&self.flash.geometry);
        Some(Due { hash, location: self.location_of(place), record_bytes, version: None, is_idle: false })
    }

    /// As [`due_at`](Self::due_at), for a caller that does not wait; the outer `None` where the record is read first.
    fn due_now(&mut self, place: u32, now_s: u32) -> Option<Option<Due>> {
        if M::READS_AT_ONCE {
            return at_once(self.due_at(place, now_s));
        }
        match self.prepared(Query::Due(place)) {
            Some(QueryAnswer::Due(due)) => Some(due),
            _ => None,
        }
    }

    /// The next one that is due, for the task.
    pub(super) fn next_due(&mut self, now_s: u32) -> Look {
        let (look, next) = self.due_from(self.index.due.next, now_s);
        self.index.due.next = next;
        look
    }

    fn due_from(&mut self, mut next: usize, now_s: u32) -> (Look, usize) {
        while self.index.looks < LOOKS_MAX {
            self.index.looks += 1;
            let Some((_, entry, behind)) = self.index.table.next_from(next) else { return (Look::End, 0) };
            if entry.state == State::Value {
                match self.due_now(entry.place, now_s) {
                    Some(Some(due)) => return (Look::Due(due), behind),
                    Some(None) => {}
                    // The search comes back to it.
                    None => return (Look::More, next),
                }
            }
            next = behind;
        }
        (Look::More, next)
    }

    /// The next one that is due, for a put. `End` once all records were looked at and none is.
    fn next_due_for_put(&mut self, now_s: u32) -> Look {
        if self.index.due.earliest_s > now_s {
            return Look::End;
        }
        let moves = self.index.table.moves();
        if self.index.due.put_next == 0 {
            (self.index.due.moves, self.index.due.passed_s) = (moves, u32::MAX);
        }
        self.index.looks = 0;
        let (look, next) = self.due_from(self.index.due.put_next, now_s);
        self.index.due.put_next = next;
        match look {
            // Entries moved past the search, or it has dropped some: all are looked at again.
            Look::End if self.index.due.moves != moves => Look::More,
            Look::End => {
                self.index.due.earliest_s = self.index.due.passed_s;
                Look::End
            }
            look => look,
        }
    }
}

impl DueSearch {
    fn note_passed(&mut self, expires_s: Option<u32>) {
        self.passed_s = self.passed_s.min(expires_s.unwrap_or(u32::MAX));
    }
}

impl<M: Access> FlashTier<'_, M> {
    /// Drops the next record whose time is over. Bounds: [`STEPS_MAX`] times [`LOOKS_MAX`] records are looked at.
    pub(super) fn drop_expired(&mut self, now: Now) -> Expired {
        let now_s = self.clock_s(now);
        for _ in 0..STEPS_MAX {
            match self.desk().next_due_for_put(now_s) {
                Look::More if self.is_waiting() => return Expired::Wait,
                Look::More => {}
                Look::End => return Expired::None,
                Look::Due(due) => {
                    let mut desk = IndexOnFlash { index: &mut self.index, flash: &mut self.flash };
                    if self.tier.drop_due(now, &due, &mut desk) != Dropped::NotCurrent {
                        return Expired::Dropped;
                    }
                    self.index.due.note_passed(Some(now_s));
                }
            }
        }
        Expired::More
    }
}
