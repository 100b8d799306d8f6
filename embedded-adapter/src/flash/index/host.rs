//! The machine's calls to the index of a device.

use coldpress_core::drive::MediumError;
use coldpress_core::format::{KeyHash, Location, Secret, SegmentIndex, Sequence, Store};
use coldpress_core::index::{
    Advice, Codecs, Dropped, Index, KeyCall, Liveness, Look, Placed, Published, Reconciled, Released,
    Settled, drop_of, is_as_new,
};
use coldpress_core::recovery::MountError;

use super::super::FlashMountError;
use super::super::access::Access;
use super::super::prepared::Query;
use super::super::table::{COPIES_MAX, Entry, State};
use super::{Found, IndexOnFlash, Match, SETTLED_MAX};

impl<M: Access> Index for IndexOnFlash<'_, '_, M> {
    const ANSWERS_AT_ONCE: bool = M::READS_AT_ONCE;

    fn withhold(&mut self, above: Option<Sequence>) {
        self.index.withheld_above = above;
        self.index.settled = 0;
        self.index.places.note_change();
    }

    fn is_ready(&mut self, call: KeyCall, hash: &KeyHash) -> bool {
        if M::READS_AT_ONCE {
            return true;
        }
        let candidates = self.index.table.candidates(hash);
        let query = match (call, candidates.as_slice()) {
            (_, []) => return true,
            (KeyCall::Confirm, many) if self.index.table.count_full(many) > 1 => Query::Full(*hash),
            (KeyCall::Confirm, _) => return true,
            // The only candidate is the one, and its record is of interest where it may go.
            (KeyCall::CopyErased, [at]) if !self.index.table.entry(*at).is_some_and(|e| e.keeps_away()) => {
                return true;
            }
            (KeyCall::CopyErased | KeyCall::Found, _) => Query::Key(*hash),
        };
        self.prepared(query).is_some()
    }

    fn identify(&mut self, store: &Store) {
        self.flash.seed = store.seed(&self.flash.geometry);
        self.flash.secret = Secret::new(store.hash_key);
    }

    fn hash(&self, key: &[u8]) -> KeyHash {
        self.flash.secret.identity(key)
    }

    fn liveness(&self, hash: &KeyHash, at: Location) -> Liveness {
        match self.index.table.live_at(hash, self.place_of(at)) {
            Some(_) => Liveness::Live,
            None => Liveness::Stale,
        }
    }

    fn confirm(&mut self, hash: &KeyHash, at: Location) -> Liveness {
        let Some((mine, entry)) = self.index.table.live_at(hash, self.place_of(at)) else {
            return Liveness::Stale;
        };
        // Where an entry was written beside a doubtful one, the counts of both are full, and stay so.
        let candidates = self.index.table.candidates(hash);
        if entry.copies < COPIES_MAX || self.index.table.count_full(&candidates) == 1 {
            return Liveness::Live;
        }
        let found = self.find_full(hash);
        self.flash.medium.forget();
        match found {
            // Where this entry's record could not be read again, only a later record decides.
            Match { newest: Some(newest), is_certain }
                if newest.at != mine && (is_certain || newest.version > at.version()) =>
            {
                self.set(hash, mine, &Entry { state: State::Dead, ..entry });
                self.index.table.clear(mine);
                Liveness::Superseded
            }
            Match { newest: Some(newest), is_certain: true } if newest.at == mine => Liveness::Live,
            _ => Liveness::Doubtful,
        }
    }

    fn publish(&mut self, hash: &KeyHash, placed: &Placed) -> Published {
        match placed.relocated_from {
            None => self.publish_fresh(hash, placed),
            Some(from) => self.publish_relocated(hash, placed, from),
        }
    }

    fn move_back(&mut self, hash: &KeyHash, placed: &Placed, from: SegmentIndex) -> Option<Released> {
        let found = self.look(hash).newest;
        self.flash.medium.forget();
        let is_copy = |found: &Found| {
            let at = self.location_of(found.entry.place);
            let is_same = found.version == placed.version && found.kind == placed.kind;
            is_same && at.segment == from && found.entry.state != State::Dead
        };
        let found = found.filter(is_copy)?;
        let (copy, place) = (self.released(&found), self.place_of(placed.location));
        self.set(hash, found.at, &Entry { place, ..found.entry });
        self.follow_known(hash, found.entry.place, placed);
        Some(copy)
    }

    fn unwritten(&mut self, hash: &KeyHash, placed: &Placed) {
        let place = self.place_of(placed.location);
        if let Some(from) = placed.relocated_from {
            match self.index.table.live_at(hash, self.place_of(from)) {
                Some((at, _)) => {
                    self.index.count_up(at);
                    self.index.ghosts.remember(*hash, place);
                }
                None => self.count_copy(hash),
            }
            return;
        }
        self.index.is_unwritten = true;
        let found = self.look(hash);
        if let Some(newest) = found.newest {
            self.index.ghosts.remember(*hash, place);
            self.index.count_up(newest.at);
            if newest.is_ghost {
                // The entry stands for the newest put that failed.
                let copies = self.index.table.entry(newest.at).map_or(1, |entry| entry.copies);
                self.index.table.set(newest.at, &Entry { place, state: State::Dead, copies });
            }
            return;
        }
        if !found.is_certain {
            // A doubtful entry may count the copy already.
            self.count_full(hash);
        }
        let copies = if found.is_certain { 1 } else { COPIES_MAX };
        // The client reserved a place for it.
        if self.index.table.insert(hash, &Entry { place, state: State::Dead, copies }) {
            self.index.ghosts.remember(*hash, place);
        }
    }

    fn drop_current(&mut self, hash: &KeyHash, at: Location) -> Dropped {
        let Some((at, entry)) = self.index.table.live_at(hash, self.place_of(at)) else {
            return Dropped::NotCurrent;
        };
        let dropped = drop_of(entry.copies.into(), self.index.keeps_tombstones());
        let state = match (dropped, entry.state) {
            (Dropped::Now, _) => State::Dead,
            (_, State::Value) => State::StandIn,
            (_, state) => state,
        };
        self.set(hash, at, &Entry { state, ..entry });
        dropped
    }

    fn copy_erased(&mut self, hash: &KeyHash) -> Option<Released> {
        let released = self.counted_in(hash).and_then(|at| self.count_down(at));
        self.flash.medium.forget();
        released
    }

    fn erased(&mut self, segment: SegmentIndex) -> Option<Released> {
        let places = self.flash.place(segment.get(), 0)..self.flash.place(segment.get() + 1, 0);
        loop {
            let ghost = self.index.ghosts.within(&places)?;
            let at = if ghost.is_counted { self.counted_in(&ghost.hash) } else { None };
            self.index.ghosts.forget(ghost.place);
            if let Some(released) = at.and_then(|at| self.count_down(at)) {
                return Some(released);
            }
        }
    }

    fn recovered(&mut self, hash: &KeyHash, placed: &Placed, _is_sealed: bool) -> Published {
        let found = self.meet(hash, placed);
        self.flash.medium.forget();
        // The failure may pass, and an older copy would then be live beside a newer one. So the mount fails, as where the
        // machine's own reads fail.
        if let Some(error) = self.flash.read_failure.filter(|error| *error != MediumError::Unreadable) {
            self.index.refusal = Some(FlashMountError::Mount(MountError::Medium(error)));
        }
        self.take(hash, placed, &found).unwrap_or_else(|| {
            self.index.refusal = Some(FlashMountError::Keys);
            Published::Stale
        })
    }

    fn settle(&mut self) -> Settled {
        if self.index.withheld_above.is_some() {
            return Settled::End;
        }
        let end = self.index.settled.saturating_add(SETTLED_MAX).min(self.index.table.capacity());
        while let Some((at, entry, next)) = self.index.table.next_within(self.index.settled, end) {
            if entry.copies > 0 && self.index.may_go(&entry) && !self.is_record_ready(entry.place) {
                return Settled::More;
            }
            self.index.settled = next;
            if entry.copies == 0 {
                self.settle_uncounted(at, &entry);
            } else if let Some(released) = self.let_go(at) {
                return Settled::Released(released);
            }
        }
        self.index.settled = end;
        if end == self.index.table.capacity() { Settled::End } else { Settled::More }
    }

    fn due(&mut self, now_s: u32) -> Look {
        self.next_due(now_s)
    }

    fn awaits_copies(&mut self) -> Option<u32> {
        self.lacks_a_wanted_place().then_some(self.index.places.waits())
    }

    fn keeps_copies(&mut self) {
        self.index.places.give_up();
    }

    fn recount(&mut self) -> bool {
        self.reset_counts()
    }

    fn recounted(&mut self) {
        self.index.places.is_recounting = false;
        self.index.settled = 0;
    }

    fn reconcile(&mut self, hash: &KeyHash, placed: &Placed) -> Reconciled {
        let found = self.look(hash);
        self.flash.medium.forget();
        let is_known = |newest: Found| is_as_new((newest.version, newest.kind), placed);
        if found.newest.map_or(!found.is_certain, is_known) {
            return Reconciled::Known;
        }
        if found.newest.is_none() && !self.has_place_beside_the_written(hash) {
            return Reconciled::NoPlace;
        }
        self.arrive(hash, placed);
        self.take(hash, placed, &found).map_or(Reconciled::NoPlace, Reconciled::Placed)
    }

    fn damaged(&mut self, _: &KeyHash, _: Location) {}
}

impl<M: Access> Codecs for IndexOnFlash<'_, '_, M> {}

impl<M: Access> Advice for IndexOnFlash<'_, '_, M> {}
