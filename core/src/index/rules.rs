//! The rules about copies and tombstones, as pure functions.
//!
//! A key may have several copies on a medium: older values, tombstones, leftovers of failed writes. A few facts about the key
//! decide which of them counts, and when that one may go. Every index asks these functions, whatever it stores of a key.

use core::cmp::Reverse;

use super::host::{Dropped, Placed, Published, Released};
use crate::format::{Kind, Location, Sequence, Version};

/// The rank that decides between two copies of a key; the greater one counts.
///
/// A higher version is a later write (rule 7). A tombstone that was made to drop a value carries the version of that value, and
/// wins (rule 10). Of two copies of one record, the one in a sealed segment outlives a cut more surely. After that the lower
/// sequence decides, so that each mount chooses alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rank {
    version: Version,
    is_tombstone: bool,
    is_sealed: bool,
    sequence: Reverse<Sequence>,
}

impl Rank {
    /// Ranks a copy by the facts that an index keeps of it.
    ///
    /// An index that does not know which segments are sealed says `false` for both copies that it compares.
    #[must_use]
    pub const fn new(version: Version, kind: Kind, is_sealed: bool, sequence: Sequence) -> Self {
        Self {
            version,
            is_tombstone: matches!(kind, Kind::Tombstone),
            is_sealed,
            sequence: Reverse(sequence),
        }
    }
}

/// Ranks a copy; `is_sealed` tells whether its segment was sealed when the copy was found.
#[must_use]
pub const fn rank(placed: &Placed, is_sealed: bool) -> Rank {
    Rank::new(placed.version, placed.kind, is_sealed, placed.location.sequence)
}

/// Tells whether the newest copy that an index knows of a key is as new as one that a second look found. Both may be the same
/// copy.
///
/// Of a value and the tombstone that drops it, which carry one version, the tombstone is newer (rule 10).
#[must_use]
pub fn is_as_new(newest: (Version, Kind), placed: &Placed) -> bool {
    let order = |version: Version, kind: Kind| (version, matches!(kind, Kind::Tombstone));
    order(newest.0, newest.1) >= order(placed.version, placed.kind)
}

/// Tells whether a tombstone that is the newest copy of its key hides no copy, so that it may go (rule 6).
///
/// `copies` counts every copy of the key on the medium, the tombstone included. While uncounted copies may exist
/// (`is_withheld`), no tombstone goes.
#[must_use]
pub const fn is_needless(copies: u32, is_withheld: bool) -> bool {
    copies <= 1 && !is_withheld
}

/// Whether the newest record of a key can be dropped at once, by the copies that the key has.
#[must_use]
pub const fn drop_of(copies: u32, is_withheld: bool) -> Dropped {
    if is_needless(copies, is_withheld) { Dropped::Now } else { Dropped::NeedsTombstone }
}

/// The least that an index must know of a key, with every rule applied to it.
///
/// An index that packs its entries keeps the same facts in fewer bits; this one serves where memory is ample.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyEntry {
    newest: Placed,
    is_live: bool,
    is_sealed: bool,
    copies: u32,
}

impl KeyEntry {
    /// The entry of a key of which one copy is known.
    #[must_use]
    pub const fn new(placed: Placed, is_sealed: bool) -> Self {
        Self { newest: placed, is_live: true, is_sealed, copies: 1 }
    }

    /// The entry of a key of which only a failed write is known, which may have left a copy.
    #[must_use]
    pub const fn stray(placed: Placed) -> Self {
        Self { is_live: false, ..Self::new(placed, false) }
    }

    /// The newest copy, live or not.
    #[must_use]
    pub const fn newest(&self) -> &Placed {
        &self.newest
    }

    /// The newest copy, if it is live: a value, or a tombstone that is still needed.
    #[must_use]
    pub fn live(&self) -> Option<&Placed> {
        self.is_live.then_some(&self.newest)
    }

    /// Tells whether the copy at a place is the one that counts.
    #[must_use]
    pub fn is_live_at(&self, at: Location) -> bool {
        self.is_live && self.newest.location == at
    }

    /// Tells whether it is as new as a copy that a second look found.
    #[must_use]
    pub fn is_as_new(&self, placed: &Placed) -> bool {
        is_as_new((self.newest.version, self.newest.kind), placed)
    }

    /// Copies on the medium.
    #[must_use]
    pub const fn copies(&self) -> u32 {
        self.copies
    }

    const fn released(&self) -> Released {
        Released { location: self.newest.location, record_bytes: self.newest.record_bytes }
    }

    /// Adds a copy that was written or found: it counts where it outranks the newest.
    pub fn place(&mut self, placed: &Placed, is_sealed: bool) -> Published {
        self.copies += 1;
        if rank(placed, is_sealed) <= rank(&self.newest, self.is_sealed) {
            return Published::Stale;
        }
        let released = self.is_live.then(|| self.released());
        *self = Self { copies: self.copies, ..Self::new(*placed, is_sealed) };
        Published::Live(released)
    }

    /// Adds a copy that was relocated from `from`: it counts where that one still did.
    pub fn relocate(&mut self, placed: &Placed, from: Location) -> Published {
        self.copies += 1;
        if !self.is_live_at(from) {
            return Published::Stale;
        }
        let released = self.released();
        (self.newest, self.is_sealed) = (*placed, false);
        Published::Live(Some(released))
    }

    /// Notes a failed write, which may have left one more copy that no index points at.
    pub const fn note_stray(&mut self) {
        self.copies += 1;
    }

    /// Drops the record at a place, if it counts and nothing else of the key is left.
    pub fn drop_at(&mut self, at: Location, is_withheld: bool) -> Dropped {
        if !self.is_live_at(at) {
            return Dropped::NotCurrent;
        }
        let dropped = drop_of(self.copies, is_withheld);
        self.is_live = dropped != Dropped::Now;
        dropped
    }

    /// Counts an erased copy. Returns the record that nothing needs any more; an entry without copies is to be removed.
    ///
    /// The last copy of a record that counts is never erased: it was relocated before. A debug build asserts that.
    pub fn note_erased(&mut self, is_withheld: bool) -> Option<Released> {
        debug_assert!(self.copies > 1 || !self.is_live, "I-GC-1: the last copy of a live record is gone");
        self.copies = self.copies.saturating_sub(1);
        self.let_go(is_withheld)
    }

    /// Releases the tombstone that counts, if nothing needs it.
    pub fn let_go(&mut self, is_withheld: bool) -> Option<Released> {
        let is_tombstone = matches!(self.newest.kind, Kind::Tombstone);
        if !self.is_live || !is_tombstone || !is_needless(self.copies, is_withheld) {
            return None;
        }
        self.is_live = false;
        Some(self.released())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::SegmentIndex;

    fn placed(sequence: u32, version: u32, kind: Kind) -> Placed {
        Placed {
            location: Location {
                segment: SegmentIndex::new(sequence),
                offset: 64,
                sequence: Sequence::new(sequence),
            },
            version: Version { sequence: Sequence::new(version), offset: 64 },
            record_bytes: 100,
            kind,
            expires_s: None,
            relocated_from: None,
            relocated_bytes: 0,
        }
    }

    #[test]
    fn copies_rank_by_version_then_tombstone_then_seal_then_age() {
        let value = |sequence, version| placed(sequence, version, Kind::Value);
        let in_order = [
            rank(&value(1, 1), true),
            rank(&value(9, 2), false),
            rank(&value(8, 2), false),
            rank(&value(9, 2), true),
            rank(&value(8, 2), true),
            rank(&placed(9, 2, Kind::Tombstone), false),
            rank(&value(1, 3), false),
        ];
        assert!(in_order.windows(2).all(|pair| pair[0] < pair[1]));
    }

    #[test]
    fn copy_of_a_second_look_is_known_unless_it_is_newer() {
        for (known, found, is_known) in [
            ((2, Kind::Value), (1, Kind::Tombstone), true),
            ((2, Kind::Value), (2, Kind::Value), true),
            ((2, Kind::Tombstone), (2, Kind::Value), true),
            ((2, Kind::Value), (2, Kind::Tombstone), false),
            ((2, Kind::Tombstone), (3, Kind::Value), false),
        ] {
            let (newest, found) = (placed(7, known.0, known.1), placed(1, found.0, found.1));
            assert_eq!(is_as_new((newest.version, newest.kind), &found), is_known, "{known:?}, {found:?}");
            assert_eq!(KeyEntry::new(newest, true).is_as_new(&found), is_known);
        }
    }

    #[test]
    fn tombstone_goes_only_as_the_last_copy_while_all_are_counted() {
        for (copies, is_withheld, is_needless_now) in
            [(1, false, true), (1, true, false), (2, false, false), (2, true, false), (9, false, false)]
        {
            assert_eq!(is_needless(copies, is_withheld), is_needless_now);
            let dropped = if is_needless_now { Dropped::Now } else { Dropped::NeedsTombstone };
            assert_eq!(drop_of(copies, is_withheld), dropped);
        }
    }

    #[test]
    fn key_put_overwritten_removed_and_erased_leaves_nothing() {
        let mut entry = KeyEntry::new(placed(1, 1, Kind::Value), false);
        let first = Released { location: entry.newest().location, record_bytes: 100 };
        assert_eq!(entry.place(&placed(2, 2, Kind::Value), false), Published::Live(Some(first)));
        assert_eq!(entry.place(&placed(1, 1, Kind::Value), true), Published::Stale, "found again");
        assert!(matches!(entry.place(&placed(3, 3, Kind::Tombstone), false), Published::Live(Some(_))));
        assert_eq!((entry.copies(), entry.let_go(false)), (4, None));
        assert_eq!((entry.note_erased(false), entry.note_erased(false)), (None, None));
        assert_eq!(entry.note_erased(true), None, "copies may be there that are not counted");
        assert!(entry.let_go(false).is_some() && entry.live().is_none());
        assert_eq!((entry.note_erased(false), entry.copies()), (None, 0));
    }

    #[test]
    fn relocated_record_counts_where_its_source_did() {
        let (old, new) = (placed(1, 1, Kind::Value), placed(5, 1, Kind::Value));
        let mut entry = KeyEntry::new(old, true);
        assert!(matches!(entry.relocate(&new, old.location), Published::Live(Some(_))));
        assert!(entry.is_live_at(new.location) && entry.copies() == 2);
        assert_eq!(entry.relocate(&placed(6, 1, Kind::Value), old.location), Published::Stale);
        assert_eq!((entry.copies(), entry.drop_at(old.location, false)), (3, Dropped::NotCurrent));
        assert_eq!(entry.drop_at(new.location, false), Dropped::NeedsTombstone);
        entry.note_erased(false);
        entry.note_erased(false);
        assert_eq!(entry.drop_at(new.location, true), Dropped::NeedsTombstone);
        assert_eq!((entry.drop_at(new.location, false), entry.live()), (Dropped::Now, None));
    }

    #[test]
    fn stray_counts_as_a_copy_and_never_as_the_newest() {
        let mut entry = KeyEntry::stray(placed(1, 1, Kind::Value));
        assert_eq!((entry.live(), entry.copies()), (None, 1));
        assert_eq!(entry.place(&placed(2, 2, Kind::Tombstone), false), Published::Live(None));
        entry.note_stray();
        assert_eq!((entry.copies(), entry.let_go(false)), (3, None));
    }
}
