//! Places of the index: those that puts need, and how copies are counted anew.
//!
//! The index promises places for so many keys with a value. It has more, for keys that were removed: each keeps its entry until
//! its last copy is gone from the medium. Where these are taken, too, the machine cleans segments until there is one
//! ([`Index::awaits_copies`](coldpress_core::index::Index::awaits_copies)).
//!
//! A count that has reached [`COPIES_MAX`] stays there, so an entry with it would never go. Where nothing else gives a place, all
//! counts are set to zero and every segment that is there is cleaned: each copy that is left by then was counted.

use coldpress_core::format::KeyHash;

use super::access::Access;
use super::index::{BESIDE, IndexOnFlash, SETTLED_MAX, TableIndex};
use super::table::{At, COPIES_MAX, Entry, State};

/// Places of the index that the next put needs, and cleaning gives.
#[derive(Debug, Clone, Copy)]
pub(super) enum WantedPlace {
    /// A place for this key.
    Place(KeyHash),
    /// A place for some key.
    AnyPlace,
    /// Places for so many keys.
    Places(u32),
    /// The space of values whose time is over, and that stand in for their own tombstones.
    Space,
}

/// The state of the places, as far as known.
#[derive(Debug)]
pub(super) struct IndexPlaces {
    /// Entries that the index takes: a few places are left free, so that one more is found near the key.
    pub(super) max: u32,
    wanted: Option<WantedPlace>,
    /// How often a wanted place was found, modulo 2³²: the number of the wait.
    waits: u32,
    /// Changes by which a place may have come, modulo 2³².
    changes: u32,
    /// The value of `changes` when cleaning gave nothing that was wanted.
    in_vain: Option<u32>,
    /// Whether copies are counted anew: those from before the recount are not counted.
    pub(super) is_recounting: bool,
}

impl IndexPlaces {
    pub(super) const fn new(max: u32) -> Self {
        Self { max, wanted: None, waits: 1, changes: 0, in_vain: None, is_recounting: false }
    }

    pub(super) const fn want(&mut self, wanted: WantedPlace) {
        self.wanted = Some(wanted);
    }

    /// Tells whether cleaning was in vain, and nothing has changed since.
    pub(super) fn is_in_vain(&self) -> bool {
        self.in_vain == Some(self.changes)
    }

    pub(super) const fn waits(&self) -> u32 {
        self.waits
    }

    pub(super) const fn give_up(&mut self) {
        self.in_vain = Some(self.changes);
        self.wanted = None;
    }

    /// Notes that a key has no value any more, or that an entry is gone.
    pub(super) const fn note_change(&mut self) {
        self.changes = self.changes.wrapping_add(1);
    }
}

impl TableIndex<'_> {
    /// Returns whether there is a place for a key that has no entry yet.
    pub(super) fn has_place(&mut self, hash: &KeyHash) -> bool {
        self.has_any_place() && self.table.free_place(hash).is_some()
    }

    /// Whether the index takes one more entry.
    pub(super) const fn has_any_place(&self) -> bool {
        self.table.entries() < self.places.max
    }

    /// Whether the index takes so many more entries.
    pub(super) const fn has_places(&self, count: u32) -> bool {
        self.table.entries().saturating_add(count) <= self.places.max
    }

    /// Whether there are places for all keys that are being written and have no entry yet.
    pub(super) fn has_places_for_known(&mut self) -> bool {
        let Self { table, known, .. } = self;
        let new = || known.iter().filter(|(_, found)| found.newest.is_none());
        let is_for_all = new().all(|(hash, _)| table.insert(&hash, &BESIDE));
        for (hash, _) in new() {
            if let Some((at, _)) = table.live_at(&hash, BESIDE.place) {
                table.clear(at);
            }
        }
        is_for_all
    }

    /// Whether no tombstone may go: copies that are not counted may lie on the medium.
    pub(super) const fn keeps_tombstones(&self) -> bool {
        self.withheld_above.is_some() || self.places.is_recounting
    }
}

impl<M: Access> IndexOnFlash<'_, '_, M> {
    /// Returns whether a wanted place is still missing. A place that is found is no longer wanted.
    pub(super) fn lacks_a_wanted_place(&mut self) -> bool {
        let is_there = match self.index.places.wanted {
            None => return false,
            Some(WantedPlace::Place(hash)) => self.index.has_place(&hash),
            Some(WantedPlace::AnyPlace) => self.index.has_any_place(),
            Some(WantedPlace::Places(count)) => self.index.has_places(count),
            Some(WantedPlace::Space) => self.index.table.stand_ins() == 0,
        };
        if is_there {
            self.index.places.wanted = None;
            self.index.places.waits = self.index.places.waits.wrapping_add(1);
        }
        !is_there
    }

    /// Sets counts to zero; tells whether there are more. Bounds: [`SETTLED_MAX`] places.
    pub(super) fn reset_counts(&mut self) -> bool {
        let index = &mut *self.index;
        if !index.places.is_recounting {
            index.places.is_recounting = true;
            index.ghosts.uncount();
            index.settled = 0;
        }
        let end = index.settled.saturating_add(SETTLED_MAX).min(index.table.capacity());
        while let Some((at, entry, next)) = index.table.next_within(index.settled, end) {
            index.settled = next;
            // The key of these copies is unknown, so neither entry may go before the next mount.
            if !index.table.is_in_doubt(at) {
                index.table.set(at, &Entry { copies: 0, ..entry });
            }
        }
        index.settled = end;
        end < index.table.capacity()
    }

    /// Settles an entry of which the recount found no copy.
    pub(super) fn settle_uncounted(&mut self, at: At, entry: &Entry) {
        if entry.state == State::Dead {
            self.index.table.clear(at);
            self.index.places.note_change();
        } else {
            // A copy of it is there all the same, and their number is unknown.
            self.index.table.set(at, &Entry { copies: COPIES_MAX, ..*entry });
        }
    }
}
