//! The index: four bytes an entry, in buckets of four.
//!
//! A cuckoo table with partial keys, after Fan et al., "Cuckoo Filter: Practically Better Than Bloom" (CoNEXT 2014). An entry
//! holds a fingerprint of its key and lies in one of two buckets, b and (h(fingerprint) − b) mod n. Each of the two follows from
//! the other without the key, for any number n of buckets. So entries can move to free a place, and relocation of a record
//! changes a few bits. The key of an entry is known from the medium alone.
//!
//! ```text
//! entry  │ place, in write units │ fingerprint │ state: 2 │ copies: 3 │     0: none
//! ```
//! An entry for which no place can be freed nearby goes to a stash of a few more (Kirsch, Mitzenmacher and Wieder, "More Robust
//! Hashing: Cuckoo Hashing with a Stash", SIAM J. Comput. 2009). Whether the table takes an entry depends on the entries alone,
//! not on their order; see `search`.
//!
//! *Copies* counts the physical copies of the key on the medium (rule 6). At seven it stays: more than it knows is safe.

use coldpress_core::format::KeyHash;
use heapless::Vec;

mod search;

/// Entries of a bucket.
pub(super) const WAYS: usize = 4;
const COPIES_BITS: u32 = 3;
const STATE_BITS: u32 = 2;
/// The count that stays.
pub(super) const COPIES_MAX: u8 = (1 << COPIES_BITS) - 1;
/// The fewest bits of a fingerprint.
const FINGERPRINT_BITS_MIN: u32 = 4;
/// The most bits of a place.
pub(super) const PLACE_BITS_MAX: u32 = u32::BITS - COPIES_BITS - STATE_BITS - FINGERPRINT_BITS_MIN;
/// Entries of the stash.
pub(super) const STASH: usize = 8;

/// The kind of the newest copy of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// Nothing that counts: a tombstone or dropped value that nothing needs, or a copy that may not be there.
    Dead,
    /// A value.
    Value,
    /// A tombstone that is still needed.
    Tombstone,
    /// A value whose time is over: it stands in for its own tombstone.
    StandIn,
}

/// One entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Entry {
    /// Where the newest copy lies, in write units from the start of the medium.
    pub(super) place: u32,
    pub(super) state: State,
    pub(super) copies: u8,
}

impl Entry {
    /// Whether it keeps older copies of its key away.
    pub(super) fn keeps_away(&self) -> bool {
        matches!(self.state, State::Tombstone | State::StandIn)
    }

    /// Whether it stands for copies alone, and none was counted since a recount began.
    pub(super) fn is_uncounted(&self) -> bool {
        self.state == State::Dead && self.copies == 0
    }
}

/// Where an entry is: valid until the next entry is inserted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct At {
    bucket: usize,
    way: usize,
}

/// The entries that may be a key's.
pub(super) type Candidates = Vec<At, { 2 * WAYS + STASH }>;

/// The table.
#[derive(Debug)]
pub(super) struct Table<'m> {
    buckets: &'m mut [[u32; WAYS]],
    /// Entries that found no space, each with one of its buckets. They are named as if they were a bucket behind the last.
    stash: [(u32, usize); STASH],
    place_bits: u32,
    entries: u32,
    values: u32,
    stand_ins: u32,
    /// How often entries may have moved, modulo 2³².
    moves: u32,
}

impl<'m> Table<'m> {
    /// An empty table for places below `places`; at most 2²³ of them.
    pub(super) fn new(buckets: &'m mut [[u32; WAYS]], places: u32) -> Self {
        buckets.fill([0; WAYS]);
        let place_bits = u32::BITS - places.saturating_sub(1).leading_zeros();
        Self {
            buckets,
            stash: [(0, 0); STASH],
            place_bits: place_bits.clamp(1, PLACE_BITS_MAX),
            entries: 0,
            values: 0,
            stand_ins: 0,
            moves: 0,
        }
    }

    /// The same table without entries; this one is left without places.
    pub(super) fn emptied(&mut self) -> Self {
        let buckets = core::mem::take(&mut self.buckets);
        Self { place_bits: self.place_bits, ..Self::new(buckets, 0) }
    }

    /// Entries in it.
    pub(super) const fn entries(&self) -> u32 {
        self.entries
    }

    /// Entries whose newest copy is a value.
    pub(super) const fn values(&self) -> u32 {
        self.values
    }

    /// Entries whose newest copy is a value that stands in for its own tombstone.
    pub(super) const fn stand_ins(&self) -> u32 {
        self.stand_ins
    }

    /// Changes where entries may have moved: a walk over positions may have missed some.
    pub(super) const fn moves(&self) -> u32 {
        self.moves
    }

    /// Places for entries, those of the stash included.
    pub(super) const fn capacity(&self) -> usize {
        self.buckets.len() * WAYS + STASH
    }

    const fn fingerprint_bits(&self) -> u32 {
        u32::BITS - COPIES_BITS - STATE_BITS - self.place_bits
    }

    fn decode(&self, word: u32) -> Option<Entry> {
        if word == 0 {
            return None;
        }
        let state = match word >> COPIES_BITS & 3 {
            0 => State::Dead,
            1 => State::Value,
            2 => State::Tombstone,
            _ => State::StandIn,
        };
        let [low, ..] = word.to_le_bytes();
        let place = word >> (u32::BITS - self.place_bits);
        Some(Entry { place, state, copies: low & COPIES_MAX })
    }

    fn encode(&self, fingerprint: u32, entry: &Entry) -> u32 {
        let place = entry.place << (u32::BITS - self.place_bits);
        let fingerprint = fingerprint << (COPIES_BITS + STATE_BITS);
        place | fingerprint | (entry.state as u32) << COPIES_BITS | u32::from(entry.copies)
    }

    fn fingerprint_of_word(&self, word: u32) -> u32 {
        word >> (COPIES_BITS + STATE_BITS) & ((1 << self.fingerprint_bits()) - 1)
    }

    /// The fingerprint of a key and its first bucket: of the last bytes of its identity, which are a hash with a secret.
    fn home(&self, hash: &KeyHash) -> (u32, usize) {
        let [.., a, b, c, d] = hash.0;
        let hash = u32::from_le_bytes([a, b, c, d]);
        let fingerprint = mixed(hash ^ 0x85EB_CA6B) & ((1 << self.fingerprint_bits()) - 1);
        (fingerprint, self.scaled(hash))
    }

    fn scaled(&self, hash: u32) -> usize {
        ((u64::from(hash) * self.buckets.len() as u64) >> 32) as usize
    }

    /// The other bucket of an entry: the other one of that is this one.
    fn other(&self, fingerprint: u32, bucket: usize) -> usize {
        let count = self.buckets.len();
        let sum = self.scaled(mixed(fingerprint ^ 0xC2B2_AE35));
        if sum >= bucket { sum - bucket } else { sum + count - bucket }
    }

    fn word(&self, at: At) -> u32 {
        match self.buckets.get(at.bucket) {
            Some(bucket) => bucket.get(at.way).copied().unwrap_or(0),
            None => self.stash.get(at.way).map_or(0, |(word, _)| *word),
        }
    }

    fn store(&mut self, at: At, word: u32) {
        let place = match self.buckets.get_mut(at.bucket) {
            Some(bucket) => bucket.get_mut(at.way),
            None => self.stash.get_mut(at.way).map(|(word, _)| word),
        };
        if let Some(place) = place {
            *place = word;
        }
    }

    /// The entry that is there.
    pub(super) fn entry(&self, at: At) -> Option<Entry> {
        self.decode(self.word(at))
    }

    /// Changes the entry that is there.
    pub(super) fn set(&mut self, at: At, entry: &Entry) {
        let word = self.word(at);
        self.count(word, -1);
        let word = self.encode(self.fingerprint_of_word(word), entry);
        self.count(word, 1);
        self.store(at, word);
    }

    /// Removes the entry that is there.
    pub(super) fn clear(&mut self, at: At) {
        self.count(self.word(at), -1);
        self.store(at, 0);
    }

    fn count(&mut self, word: u32, by: i32) {
        let Some(entry) = self.decode(word) else { return };
        self.entries = self.entries.saturating_add_signed(by);
        match entry.state {
            State::Value => self.values = self.values.saturating_add_signed(by),
            State::StandIn => self.stand_ins = self.stand_ins.saturating_add_signed(by),
            State::Dead | State::Tombstone => {}
        }
    }

    fn ways(bucket: usize) -> impl Iterator<Item = At> {
        (0..WAYS).map(move |way| At { bucket, way })
    }

    /// The entries that may be the key's. Bounds: two buckets.
    pub(super) fn candidates(&self, hash: &KeyHash) -> Candidates {
        let (fingerprint, home) = self.home(hash);
        self.near(fingerprint, home)
    }

    /// How many of these entries have the count that stays.
    pub(super) fn count_full(&self, candidates: &[At]) -> usize {
        candidates.iter().filter(|at| self.entry(**at).is_some_and(|e| e.copies == COPIES_MAX)).count()
    }

    /// The entries with a fingerprint in a bucket, or in the other one that goes with it.
    fn near(&self, fingerprint: u32, home: usize) -> Candidates {
        let other = self.other(fingerprint, home);
        let second = (other != home).then_some(other);
        let mut found = Candidates::new();
        for at in core::iter::once(home).chain(second).flat_map(Self::ways) {
            let word = self.word(at);
            if word != 0 && self.fingerprint_of_word(word) == fingerprint {
                // Never more than two buckets and the stash hold.
                let _ = found.push(at);
            }
        }
        for (way, (word, bucket)) in self.stash.iter().enumerate() {
            let is_near = *bucket == home || *bucket == other;
            if *word != 0 && is_near && self.fingerprint_of_word(*word) == fingerprint {
                let _ = found.push(At { bucket: self.buckets.len(), way });
            }
        }
        found
    }

    /// Tells whether the entry there could be of this key.
    pub(super) fn may_be_of(&self, at: At, hash: &KeyHash) -> bool {
        let (fingerprint, home) = self.home(hash);
        let word = self.word(at);
        let bucket = self.bucket_of(at);
        let is_home = bucket == home || bucket == self.other(fingerprint, home);
        word != 0 && is_home && self.fingerprint_of_word(word) == fingerprint
    }

    /// One of the two buckets of the entry there.
    fn bucket_of(&self, at: At) -> usize {
        match self.stash.get(at.way) {
            Some((_, bucket)) if at.bucket >= self.buckets.len() => *bucket,
            _ => at.bucket,
        }
    }

    /// Tells whether the count of the entry there is full, and that of another one that may be of the same key, too: they were written
    /// beside each other in doubt.
    pub(super) fn is_in_doubt(&self, at: At) -> bool {
        let is_full = |at: At| self.entry(at).is_some_and(|entry| entry.copies == COPIES_MAX);
        let near = self.near(self.fingerprint_of_word(self.word(at)), self.bucket_of(at));
        is_full(at) && near.into_iter().any(|other| other != at && is_full(other))
    }

    /// The entry of the key whose newest copy lies there and counts as live.
    pub(super) fn live_at(&self, hash: &KeyHash, place: u32) -> Option<(At, Entry)> {
        let entries = self.candidates(hash).into_iter().filter_map(|at| Some((at, self.entry(at)?)));
        entries.into_iter().find(|(_, entry)| entry.place == place && entry.state != State::Dead)
    }

    /// Inserts an entry; `false` where there is no space.
    pub(super) fn insert(&mut self, hash: &KeyHash, entry: &Entry) -> bool {
        let Some(at) = self.free_place(hash) else { return false };
        let (fingerprint, home) = self.home(hash);
        let word = self.encode(fingerprint, entry);
        self.count(word, 1);
        self.store(at, word);
        if at.bucket >= self.buckets.len()
            && let Some((_, bucket)) = self.stash.get_mut(at.way)
        {
            *bucket = home;
        }
        true
    }

    /// The entry at a position in the order of the table, and the position behind it. Bounds: passes over empty places.
    pub(super) fn next_from(&self, position: usize) -> Option<(At, Entry, usize)> {
        self.next_within(position, self.capacity())
    }

    /// The entry at a position below `end`, and the position behind it. Bounds: so many places.
    pub(super) fn next_within(&self, position: usize, end: usize) -> Option<(At, Entry, usize)> {
        (position..end).find_map(|position| {
            let bucket = (position / WAYS).min(self.buckets.len());
            let at = At { bucket, way: position - bucket * WAYS };
            Some((at, self.entry(at)?, position + 1))
        })
    }
}

/// The finaliser of MurmurHash3 (Appleby): every bit of the input moves every bit of the result.
fn mixed(mut x: u32) -> u32 {
    x = (x ^ x >> 16).wrapping_mul(0x85EB_CA6B);
    x = (x ^ x >> 13).wrapping_mul(0xC2B2_AE35);
    x ^ x >> 16
}

#[cfg(test)]
mod tests;
