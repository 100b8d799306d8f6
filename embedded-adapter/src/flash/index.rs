//! The index as the machine sees it: the table in RAM, and the medium that tells which key an entry is of.
//!
//! An entry does not hold its key. Where the machine asks about a record at a place it is found by that place; else the
//! candidates, hardly ever more than one, are read: header, key, and the rest for the checksum. A candidate that does not
//! validate is *doubtful*: it may be anybody's, so it is neither superseded nor counted down. A key inserted beside it keeps a full
//! count of copies. So a tombstone may stay longer than needed, but nothing comes back, and nothing that is live is dropped.
//! The next mount counts anew.

mod host;

use coldpress_core::codec::CodecId;
use coldpress_core::format::{
    Geometry, KeyHash, Kind, Location, SegmentIndex, Sequence, Version, is_piece_identity,
};
use coldpress_core::index::{Placed, Published, Rank, Released, is_needless, rank};

use super::FlashMountError;
use super::access::Access;
use super::due::DueSearch;
use super::ghosts::Ghosts;
use super::known::{KnownKey, KnownKeys};
use super::places::IndexPlaces;
use super::prepared::{Query, QueryAnswer};
use super::reader::{AtOnce, Flash, Later, OpenedRecord, later, now};
use super::table::{At, COPIES_MAX, Entry, State, Table};

/// Stands for an entry that is to come. No record lies at place 0, so there is none like it.
pub(super) const BESIDE: Entry = Entry { place: 0, state: State::Tombstone, copies: 1 };
/// Places of the table passed over in one look for tombstones that nothing needs.
pub(super) const SETTLED_MAX: usize = 64;

/// The index, without the medium.
#[derive(Debug)]
pub(super) struct TableIndex<'m> {
    pub(super) table: Table<'m>,
    /// The sequence of each segment, for checksums.
    pub(super) sequences: &'m mut [Sequence],
    /// Why the index can't be used: a mount found more keys than there are places, or could not identify them.
    pub(super) refusal: Option<FlashMountError>,
    pub(super) known: KnownKeys<'m>,
    pub(super) ghosts: Ghosts,
    /// While uncounted copies may lie on the medium: the first sequence whose records outrank them.
    pub(super) withheld_above: Option<Sequence>,
    /// A client's record could not be written.
    pub(super) is_unwritten: bool,
    /// Where the search for needless tombstones goes on, or the setting of counts to zero.
    pub(super) settled: usize,
    pub(super) due: DueSearch,
    pub(super) places: IndexPlaces,
    /// Entries that are pieces of long values.
    pub(super) pieces: u32,
    /// Records looked at for that in this step.
    pub(super) looks: u32,
}

/// The result of a search for a key.
#[derive(Debug, Clone, Copy)]
pub struct Match {
    /// Its entry and its newest record.
    pub(super) newest: Option<Found>,
    /// Whether no doubtful entry may be its.
    pub(super) is_certain: bool,
}

impl Match {
    /// Nothing is known: any candidate may be the key's.
    const DOUBTFUL: Self = Self { newest: None, is_certain: false };
}

/// An entry and the record that it points at.
#[derive(Debug, Clone, Copy)]
pub(super) struct Found {
    pub(super) at: At,
    pub(super) entry: Entry,
    pub(super) version: Version,
    pub(super) record_bytes: u32,
    pub(super) expires_s: Option<u32>,
    pub(super) codec: CodecId,
    pub(super) kind: Kind,
    /// Whether it is a put that failed, by what is remembered of it: its record may not be there.
    pub(super) is_ghost: bool,
}

impl<'m> TableIndex<'m> {
    pub(super) fn new(
        table: Table<'m>,
        sequences: &'m mut [Sequence],
        known: &'m mut [KnownKey],
        places_max: u32,
    ) -> Self {
        sequences.fill(Sequence::NONE);
        Self {
            table,
            sequences,
            refusal: None,
            known: KnownKeys::new(known),
            ghosts: Ghosts::default(),
            withheld_above: None,
            is_unwritten: false,
            settled: 0,
            due: DueSearch::default(),
            places: IndexPlaces::new(places_max),
            pieces: 0,
            looks: 0,
        }
    }

    /// The sequence of the segment in which a place lies.
    pub(super) fn sequence_of(&self, geometry: &Geometry, place: u32) -> Sequence {
        let units = geometry.segment_bytes() / geometry.write_unit();
        self.sequences.get((place / units) as usize).copied().unwrap_or(Sequence::NONE)
    }

    fn note_sequence(&mut self, at: Location) {
        if let Some(sequence) = self.sequences.get_mut(at.segment.get() as usize) {
            *sequence = at.sequence;
        }
    }

    /// Whether an entry keeps older copies away of which there are none any more.
    fn may_go(&self, entry: &Entry) -> bool {
        entry.keeps_away() && is_needless(entry.copies.into(), self.keeps_tombstones())
    }

    /// The finding about a key, with its entry as it is now; `None` where that is gone, or is of another record.
    pub(super) fn renewed(&self, hash: &KeyHash, found: Found) -> Option<Found> {
        let candidates = self.table.candidates(hash);
        let mut entries = candidates.iter().filter_map(|at| Some((*at, self.table.entry(*at)?)));
        let (at, entry) = entries.find(|(_, entry)| entry.place == found.entry.place)?;
        Some(Found { at, entry, ..found })
    }

    /// Counts one copy more.
    fn count_up(&mut self, at: At) {
        if let Some(entry) = self.table.entry(at) {
            let copies = entry.copies.saturating_add(1).min(COPIES_MAX);
            self.table.set(at, &Entry { copies, ..entry });
        }
    }
}

/// The index together with the medium, as the machine needs it.
pub struct IndexOnFlash<'a, 'm, M> {
    pub(super) index: &'a mut TableIndex<'m>,
    pub(super) flash: &'a mut Flash<M>,
}

/// The search for the entry of a key, written once for reads that are over when they return and for those that are awaited.
macro_rules! searches {
    ($reads:ident, $wait:ident, [$($wait_kind:tt)?], $record:ident, $find_twice:ident, $find_among:ident, $identify_at:ident) => {
        impl<M: Access> IndexOnFlash<'_, '_, M> {
            /// Reads the record that an entry points at; `None` where it is not whole or can't be read.
            pub(super) $($wait_kind)? fn $record(&mut self, place: u32) -> Option<OpenedRecord> {
                let sequence = self.index.sequence_of(&self.flash.geometry, place);
                let opened = $wait!($reads(self.flash).open(place)).ok()??;
                $wait!($reads(self.flash).is_whole(&opened, sequence)).ok()?.then_some(opened)
            }

            /// Looks at the candidates that count so many copies at least.
            pub(super) $($wait_kind)? fn $find_twice(&mut self, hash: &KeyHash, copies_min: u8) -> Match {
                let found = $wait!(self.$find_among(hash, copies_min));
                if found.is_certain { found } else { $wait!(self.$find_among(hash, copies_min)) }
            }

            $($wait_kind)? fn $find_among(&mut self, hash: &KeyHash, copies_min: u8) -> Match {
                self.flash.read_failure = None;
                let mut is_certain = true;
                let mut newest: Option<Found> = None;
                for at in self.index.table.candidates(hash) {
                    let Some(entry) = self.index.table.entry(at).filter(|e| e.copies >= copies_min) else { continue };
                    match $wait!(self.$identify_at(at, entry)) {
                        Some((stored, found)) if stored == *hash => {
                            // A copy that a failed put may have left beside a doubtful entry counts for nothing.
                            let rank = |found: &Found| (found.entry.state != State::Dead, found.version);
                            if newest.is_none_or(|newest| rank(&newest) < rank(&found)) {
                                newest = Some(found);
                            }
                        }
                        // The record is of another key, whose entry may well be here.
                        Some((stored, _)) if self.index.table.may_be_of(at, &stored) => {}
                        // Its copies may be gone, so it stands for none that counts.
                        _ if entry.is_uncounted() => {}
                        _ => is_certain = false,
                    }
                }
                Match { newest, is_certain }
            }

            /// Finds the key of an entry, and its record.
            $($wait_kind)? fn $identify_at(&mut self, at: At, entry: Entry) -> Option<(KeyHash, Found)> {
                let ghost = Some(entry).filter(|entry| entry.state == State::Dead);
                if let Some(hash) = ghost.and_then(|entry| self.index.ghosts.at(entry.place)) {
                    let version = self.location_of(entry.place).version();
                    let (record_bytes, expires_s, codec, kind) = (0, None, CodecId::Raw, Kind::Value);
                    let found = Found { at, entry, version, record_bytes, expires_s, codec, kind, is_ghost: true };
                    return Some((hash, found));
                }
                let opened = $wait!(self.$record(entry.place))?;
                let stored = $wait!($reads(self.flash).stored_hash(&opened)).ok()?;
                let sequence = self.index.sequence_of(&self.flash.geometry, entry.place);
                let found = Found {
                    at,
                    entry,
                    version: opened.version(&self.flash.geometry, sequence),
                    record_bytes: opened.record_bytes(&self.flash.geometry),
                    expires_s: opened.header.expires_s,
                    codec: opened.header.codec,
                    kind: opened.header.kind,
                    is_ghost: false,
                };
                Some((stored, found))
            }
        }
    };
}

searches!(AtOnce, now, [], record_now, find_twice_now, find_among_now, identify_now);
searches!(Later, later, [async], record_later, find_twice_later, find_among_later, identify_later);

impl<M: Access> IndexOnFlash<'_, '_, M> {
    /// Changes an entry, and counts pieces.
    fn set(&mut self, hash: &KeyHash, at: At, entry: &Entry) {
        let was_value = self.index.table.entry(at).is_some_and(|e| e.state == State::Value);
        self.index.table.set(at, entry);
        if was_value && entry.state != State::Value {
            self.index.places.note_change();
        }
        self.count_pieces(hash, was_value, entry.state == State::Value);
    }

    fn count_pieces(&mut self, hash: &KeyHash, was_value: bool, is_value: bool) {
        if was_value != is_value && is_piece_identity(hash) {
            let by = if is_value { 1 } else { -1 };
            self.index.pieces = self.index.pieces.saturating_add_signed(by);
        }
    }

    fn place_of(&self, at: Location) -> u32 {
        self.flash.place(at.segment.get(), at.offset)
    }

    pub(super) fn location_of(&self, place: u32) -> Location {
        let address = self.flash.address(place);
        let bytes = self.flash.geometry.segment_bytes();
        let sequence = self.index.sequence_of(&self.flash.geometry, place);
        Location { segment: SegmentIndex::new(address / bytes), offset: address % bytes, sequence }
    }

    /// Reads the record that an entry points at; `None` where it is not whole or can't be read.
    pub(super) fn record(&mut self, place: u32) -> impl Future<Output = Option<OpenedRecord>> {
        M::record(self, place)
    }

    /// Finds the entry of a key by reading every candidate whole; of several that are the key's, the newest. A doubtful one is
    /// read a second time: a read that fails may pass.
    pub(super) fn find(&mut self, hash: &KeyHash) -> impl Future<Output = Match> {
        self.find_twice(hash, 0)
    }

    /// Looks at the candidates that count so many copies at least.
    pub(super) fn find_twice(&mut self, hash: &KeyHash, copies_min: u8) -> impl Future<Output = Match> {
        M::find_twice(self, hash, copies_min)
    }

    /// The result that is known for the key that is being written, else the one of a search.
    fn look(&mut self, hash: &KeyHash) -> Match {
        match self.index.known.get(hash) {
            Some(Match { newest: Some(found), is_certain }) => match self.index.renewed(hash, found) {
                Some(found) => Match { newest: Some(found), is_certain },
                // The entry went with its last copy, or was corrected meanwhile.
                None => self.find_now(hash),
            },
            Some(known) => known,
            None => self.find_now(hash),
        }
    }

    /// Finds the entry of a key for the machine, which does not wait. Where reads are awaited, the search was made before.
    fn find_now(&mut self, hash: &KeyHash) -> Match {
        if M::READS_AT_ONCE {
            return self.find_twice_now(hash, 0);
        }
        self.flash.read_failure = None;
        if self.index.table.candidates(hash).is_empty() {
            return Match { newest: None, is_certain: true };
        }
        let Some(QueryAnswer::Found(found, failure)) = self.prepared(Query::Key(*hash)) else {
            return Match::DOUBTFUL;
        };
        self.flash.read_failure = failure;
        found
    }

    /// The same among entries with a full count.
    fn find_full(&mut self, hash: &KeyHash) -> Match {
        if M::READS_AT_ONCE {
            return self.find_twice_now(hash, COPIES_MAX);
        }
        match self.prepared(Query::Full(*hash)) {
            Some(QueryAnswer::Found(found, _)) => found,
            _ => Match::DOUBTFUL,
        }
    }

    /// The bytes of the record that an entry points at; `None` where it is not whole or can't be read.
    fn record_bytes(&mut self, place: u32) -> Option<u32> {
        if M::READS_AT_ONCE {
            return self.record_now(place).map(|opened| opened.record_bytes(&self.flash.geometry));
        }
        match self.flash.medium.prepared()?.answer()? {
            (_, QueryAnswer::Found(Match { newest: Some(found), .. }, _)) if found.entry.place == place => {
                Some(found.record_bytes)
            }
            (Query::Record(read), QueryAnswer::Record(bytes)) if read == place => bytes,
            _ => None,
        }
    }

    /// Sets the counts of all candidates to the full one, since the keys of these copies are unknown: no copy counts as the
    /// only one of its key.
    fn count_full(&mut self, hash: &KeyHash) {
        for at in self.index.table.candidates(hash) {
            if let Some(entry) = self.index.table.entry(at) {
                self.index.table.set(at, &Entry { copies: COPIES_MAX, ..entry });
            }
        }
    }

    /// Notes a record that was placed. An entry for the same place is of an earlier record, which was erased and never counted
    /// down: it is removed.
    fn arrive(&mut self, hash: &KeyHash, placed: &Placed) -> bool {
        self.index.note_sequence(placed.location);
        let place = self.place_of(placed.location);
        let mut had = false;
        for at in self.index.table.candidates(hash) {
            let here = self.index.table.entry(at).filter(|e| e.place == place && e.state == State::Dead);
            if let Some(is_uncounted) = here.map(|entry| entry.is_uncounted()) {
                self.index.table.clear(at);
                had |= !is_uncounted;
            }
        }
        had
    }

    /// Returns whether there is space for an entry of the key, and then still for the entry being written, whose place was
    /// reserved before the append.
    fn has_place_beside_the_written(&mut self, hash: &KeyHash) -> bool {
        // None of a batch is being written here, since no record is read again meanwhile.
        let written = self.index.known.iter().next();
        let table = &mut self.index.table;
        let Some((written, _)) = written else { return table.free_place(hash).is_some() };
        if !table.insert(hash, &BESIDE) {
            return false;
        }
        let has_place = table.free_place(&written).is_some();
        if let Some((at, _)) = table.live_at(hash, BESIDE.place) {
            table.clear(at);
        }
        has_place
    }

    /// The record of an entry, for the machine's accounts.
    fn released(&self, found: &Found) -> Released {
        Released { location: self.location_of(found.entry.place), record_bytes: found.record_bytes }
    }

    /// Takes a copy that was found: it replaces the newest one if it wins. `None` where it needs an entry and there is no
    /// space.
    fn take(&mut self, hash: &KeyHash, placed: &Placed, found: &Match) -> Option<Published> {
        let place = self.place_of(placed.location);
        let state = if placed.kind == Kind::Tombstone { State::Tombstone } else { State::Value };
        let Some(found) = found.newest else {
            if !found.is_certain {
                self.count_full(hash);
            }
            let copies = if found.is_certain { 1 } else { COPIES_MAX };
            if !self.index.table.insert(hash, &Entry { place, state, copies }) {
                return None;
            }
            self.count_pieces(hash, false, state == State::Value);
            self.index.due.note(placed.expires_s);
            self.note_known(hash, placed);
            return Some(Published::Live(None));
        };
        self.index.count_up(found.at);
        let kind = if found.entry.state == State::Tombstone { Kind::Tombstone } else { Kind::Value };
        let sequence = self.index.sequence_of(&self.flash.geometry, found.entry.place);
        // An entry has no bit for whether its segment was sealed.
        if rank(placed, false) <= Rank::new(found.version, kind, false, sequence) {
            return Some(Published::Stale);
        }
        let was_live = found.entry.state != State::Dead;
        self.index.due.note(placed.expires_s);
        let copies = found.entry.copies.saturating_add(1).min(COPIES_MAX);
        self.set(hash, found.at, &Entry { place, state, copies });
        self.note_known(hash, placed);
        Some(Published::Live(was_live.then(|| self.released(&found))))
    }

    /// Finds the entry beside which a copy is to be taken.
    fn meet(&mut self, hash: &KeyHash, placed: &Placed) -> Match {
        let had_ghost = self.arrive(hash, placed);
        let found = self.look(hash);
        Match { is_certain: found.is_certain && !had_ghost, ..found }
    }

    fn publish_fresh(&mut self, hash: &KeyHash, placed: &Placed) -> Published {
        let found = self.meet(hash, placed);
        self.index.known.forget(hash);
        let Some(published) = self.take(hash, placed, &found) else {
            // The client reserved a place for it. If there is none all the same, the record counts as not written.
            self.index.is_unwritten = true;
            return Published::Stale;
        };
        let is_tombstone = placed.kind == Kind::Tombstone;
        let place = self.place_of(placed.location);
        let may_go = |entry: &Entry| is_needless(entry.copies.into(), self.index.keeps_tombstones());
        if is_tombstone
            && let Some((at, entry)) =
                self.index.table.live_at(hash, place).filter(|(_, entry)| may_go(entry))
        {
            // The tombstone is needless from the start: it hides no copy.
            self.set(hash, at, &Entry { state: State::Dead, ..entry });
            return Published::Stale;
        }
        published
    }

    fn publish_relocated(&mut self, hash: &KeyHash, placed: &Placed, from: Location) -> Published {
        self.arrive(hash, placed);
        let (old_place, place) = (self.place_of(from), self.place_of(placed.location));
        let Some((at, entry)) = self.index.table.live_at(hash, old_place) else {
            self.count_copy(hash);
            return Published::Stale;
        };
        let state = if placed.kind == Kind::Tombstone { State::Tombstone } else { entry.state };
        let copies = entry.copies.saturating_add(1).min(COPIES_MAX);
        self.set(hash, at, &Entry { place, state, copies });
        self.follow_known(hash, old_place, placed);
        Published::Live(Some(Released { location: from, record_bytes: placed.relocated_bytes }))
    }

    /// A second look found a record of the key that is being written. Publication must replace its entry, and not add another.
    fn note_known(&mut self, hash: &KeyHash, placed: &Placed) {
        let place = self.place_of(placed.location);
        let Some(known) = self.index.known.get_mut(hash) else { return };
        known.newest = self.index.table.live_at(hash, place).map(|(at, entry)| Found {
            at,
            entry,
            version: placed.version,
            record_bytes: placed.record_bytes,
            expires_s: placed.expires_s,
            // Publication does not ask for it.
            codec: CodecId::Raw,
            kind: placed.kind,
            is_ghost: false,
        });
    }

    /// The record of the key that is being written lies elsewhere now.
    fn follow_known(&mut self, hash: &KeyHash, old_place: u32, placed: &Placed) {
        let place = self.place_of(placed.location);
        if let Some(Match { newest: Some(found), .. }) = self.index.known.get_mut(hash)
            && found.entry.place == old_place
        {
            found.entry.place = place;
            (found.version, found.record_bytes) = (placed.version, placed.record_bytes);
        }
    }

    /// Counts a copy on the medium that the index does not point at. Where the entry of the key is uncertain, every candidate
    /// counts it.
    fn count_copy(&mut self, hash: &KeyHash) {
        for at in self.index.table.candidates(hash) {
            self.index.count_up(at);
        }
    }

    /// Releases a tombstone that is the only copy of its key, or a dropped value that stands in for one.
    fn let_go(&mut self, at: At) -> Option<Released> {
        let entry = self.index.table.entry(at).filter(|entry| self.index.may_go(entry))?;
        // A record that can't be read stays as it is, and so does its segment.
        let record_bytes = self.record_bytes(entry.place)?;
        self.index.table.set(at, &Entry { state: State::Dead, ..entry });
        self.index.places.note_change();
        Some(Released { location: self.location_of(entry.place), record_bytes })
    }

    /// Counts one copy less. A full count stays.
    fn count_down(&mut self, at: At) -> Option<Released> {
        let entry = self.index.table.entry(at)?;
        // The only copy of a live record can't be the one that is gone (I-GC-1).
        if matches!(entry.copies, 0 | COPIES_MAX) || (entry.copies == 1 && entry.state != State::Dead) {
            return None;
        }
        if entry.copies == 1 && !self.index.places.is_recounting {
            self.index.table.clear(at);
            self.index.places.note_change();
            return None;
        }
        self.index.table.set(at, &Entry { copies: entry.copies - 1, ..entry });
        self.let_go(at)
    }

    /// The entry that counted a copy which is gone, if that is certain.
    ///
    /// Each key that has a copy has an entry, so a single candidate is the one.
    fn counted_in(&mut self, hash: &KeyHash) -> Option<At> {
        match self.index.table.candidates(hash).as_slice() {
            [] => None,
            [at] => Some(*at),
            _ => self.look(hash).newest.map(|found| found.at),
        }
    }
}
