//! The index of an image: a map, as the machine's host.

use std::collections::HashMap;

use coldpress_core::format::{
    Identity, KeyHash, Kind, Location, PIECE_EXPIRES_S, PIECE_PREFIX, Record, Store, Version, piece_prefix,
};
use coldpress_core::index::{
    Dropped, Host, Look, Placed, Published, Reconciled, Released, Settled, Standing,
};

use crate::tier::{key_hash, piece_hash, record_hash, stored_hash};

/// Identifies a key of a store. Where keys are stored as they are, the hash key is all zeros, and the first byte tells a piece
/// of a long value from a value.
pub(super) fn hash(identity: Identity, store: &Store, key: &[u8]) -> KeyHash {
    let mut hash = key_hash(&store.hash_key, key);
    if identity == Identity::KeyBytes {
        let [first, ..] = &mut hash.0;
        *first = u8::from(key.starts_with(&PIECE_PREFIX));
    }
    hash
}

/// Identifies the key of a record that holds a value, or a piece of one.
pub(super) fn hash_stored(identity: Identity, store: &Store, key: &[u8], expires_s: Option<u32>) -> KeyHash {
    match identity {
        Identity::KeyedHash => stored_hash(&store.hash_key, key, expires_s),
        _ => hash(identity, store, key),
    }
}

/// Identifies a piece of the value of a key.
pub(super) fn hash_piece(
    identity: Identity,
    store: &Store,
    key: &[u8],
    generation: u8,
    index: u16,
) -> KeyHash {
    match identity {
        Identity::KeyedHash => {
            piece_hash(&store.hash_key, &key_hash(&store.hash_key, key), generation, index)
        }
        _ => hash(identity, store, &[&piece_prefix(generation, index), key].concat()),
    }
}

/// What is known of a key.
#[derive(Debug, Clone, Copy)]
struct Entry {
    newest: Placed,
    is_live: bool,
    is_sealed: bool,
    copies: u32,
}

/// The index.
#[derive(Debug)]
pub(super) struct Index {
    identity: Identity,
    entries: HashMap<KeyHash, Entry>,
    store: Option<Store>,
    /// Keys whose newest record was a tombstone when the mount found it.
    tombstones: Vec<KeyHash>,
}

impl Index {
    pub(super) fn new(identity: Identity) -> Self {
        Self { identity, entries: HashMap::new(), store: None, tombstones: Vec::new() }
    }

    /// The newest record of a key, if it is a value or a tombstone that is still needed.
    pub(super) fn live(&self, hash: &KeyHash) -> Option<&Placed> {
        self.entries.get(hash).filter(|entry| entry.is_live).map(|entry| &entry.newest)
    }

    /// The newest version of a key.
    pub(super) fn version(&self, hash: &KeyHash) -> Option<Version> {
        self.entries.get(hash).map(|entry| entry.newest.version)
    }

    /// Records that hold the newest value of their key, or a piece of one.
    pub(super) fn records(&self) -> usize {
        self.entries.values().filter(|entry| entry.is_live && entry.newest.kind == Kind::Value).count()
    }

    /// Keys that have a value; pieces are parts of one.
    pub(super) fn values(&self) -> usize {
        let is_piece = |hash: &KeyHash, entry: &Entry| match self.identity {
            Identity::KeyedHash => entry.newest.expires_s == Some(PIECE_EXPIRES_S),
            _ => hash.0.starts_with(&[1]),
        };
        let is_value = |(hash, entry): &(&KeyHash, &Entry)| {
            entry.is_live && entry.newest.kind == Kind::Value && !is_piece(hash, entry)
        };
        self.entries.iter().filter(is_value).count()
    }

    fn place(&mut self, hash: &KeyHash, placed: &Placed, is_sealed: bool) -> Published {
        let fresh = Entry { newest: *placed, is_live: true, is_sealed, copies: 1 };
        let Some(entry) = self.entries.get_mut(hash) else {
            self.entries.insert(*hash, fresh);
            return Published::Live(None);
        };
        let old = *entry;
        let rank =
            |entry: &Entry| (entry.newest.version, entry.newest.kind == Kind::Tombstone, entry.is_sealed);
        entry.copies += 1;
        // Rules 7 and 10.
        if rank(&fresh) <= rank(&old) {
            return Published::Stale;
        }
        *entry = Entry { copies: entry.copies, ..fresh };
        Published::Live(old.is_live.then(|| old.released()))
    }
}

impl Entry {
    const fn released(&self) -> Released {
        Released { location: self.newest.location, record_bytes: self.newest.record_bytes }
    }

    /// Lets a tombstone go that keeps nothing away.
    fn let_go(&mut self) -> Option<Released> {
        let is_needless = self.is_live && self.newest.kind == Kind::Tombstone && self.copies == 1;
        self.is_live &= !is_needless;
        is_needless.then(|| self.released())
    }
}

impl Host for Index {
    fn identify(&mut self, store: &Store) {
        self.store = Some(*store);
    }

    fn hash(&self, key: &[u8]) -> KeyHash {
        self.store.as_ref().map_or_else(KeyHash::default, |store| hash(self.identity, store, key))
    }

    fn hash_record(&self, record: &Record<'_>) -> KeyHash {
        match (&self.store, self.identity) {
            (Some(store), Identity::KeyedHash) => record_hash(&store.hash_key, record),
            _ => self.hash(record.key),
        }
    }

    fn standing(&self, hash: &KeyHash, at: Location) -> Standing {
        match self.live(hash) {
            Some(placed) if placed.location == at => Standing::Live,
            _ => Standing::Stale,
        }
    }

    fn publish(&mut self, hash: &KeyHash, placed: &Placed) -> Published {
        let Some(from) = placed.moved_from else {
            let published = self.place(hash, placed, false);
            let is_needless = self.entries.get_mut(hash).and_then(Entry::let_go).is_some();
            return if is_needless { Published::Stale } else { published };
        };
        let Some(entry) = self.entries.get_mut(hash) else { return Published::Stale };
        entry.copies += 1;
        if !entry.is_live || entry.newest.location != from {
            return Published::Stale;
        }
        let released = entry.released();
        entry.newest = *placed;
        entry.is_sealed = false;
        Published::Live(Some(released))
    }

    /// Memory does not fail.
    fn unwritten(&mut self, _: &KeyHash, _: &Placed) {}

    fn drop_current(&mut self, hash: &KeyHash, at: Location) -> Dropped {
        match self.entries.get_mut(hash) {
            Some(entry) if entry.is_live && entry.newest.location == at => {
                if entry.copies > 1 {
                    return Dropped::NeedsTombstone;
                }
                entry.is_live = false;
                Dropped::Now
            }
            _ => Dropped::NotCurrent,
        }
    }

    fn gone(&mut self, hash: &KeyHash) -> Option<Released> {
        let entry = self.entries.get_mut(hash)?;
        entry.copies = entry.copies.saturating_sub(1);
        if entry.copies == 0 {
            self.entries.remove(hash);
            return None;
        }
        entry.let_go()
    }

    fn recovered(&mut self, hash: &KeyHash, placed: &Placed, is_sealed: bool) -> Published {
        let published = self.place(hash, placed, is_sealed);
        if placed.kind == Kind::Tombstone && published != Published::Stale {
            self.tombstones.push(*hash);
        }
        published
    }

    fn settle(&mut self) -> Settled {
        while let Some(hash) = self.tombstones.pop() {
            if let Some(released) = self.entries.get_mut(&hash).and_then(Entry::let_go) {
                return Settled::Released(released);
            }
        }
        Settled::End
    }

    fn due(&mut self, _: u32) -> Look {
        Look::End
    }

    fn reconcile(&mut self, _: &KeyHash, _: &Placed) -> Reconciled {
        Reconciled::Known
    }

    fn damaged(&mut self, _: &KeyHash, _: Location) {}
}
