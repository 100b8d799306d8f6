//! The index of an image: a map that serves as the machine's host.

use std::collections::HashMap;

use coldpress_core::format::{
    Identity, KeyHash, Kind, Location, PIECE_EXPIRES_S, PIECE_PREFIX, Record, Store, Version, key_hash,
    piece_hash, piece_prefix, record_hash, stored_hash,
};
use coldpress_core::index::{
    Advice, Codecs, Dropped, Index, KeyEntry, Liveness, Look, Placed, Published, Reconciled, Released,
    Settled,
};

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

/// The proof that the pieces of a long value belong to its head, though a service may have written during the mount.
#[derive(Debug)]
pub(super) enum PieceProof {
    /// Nobody wrote meanwhile, or there are no pieces.
    AtRest,
    /// The index of another mount, which ended before this one began.
    Earlier(ImageIndex),
    /// There is no proof.
    Lacking,
}

impl PieceProof {
    /// Whether the value that `found` has under a hash, head or piece, was there before the mount began.
    pub(super) fn covers(&self, found: &ImageIndex, hash: &KeyHash) -> bool {
        match self {
            Self::AtRest => true,
            Self::Earlier(earlier) => earlier.value_version(hash) == found.value_version(hash),
            Self::Lacking => false,
        }
    }
}

/// The index.
#[derive(Debug)]
pub(super) struct ImageIndex {
    identity: Identity,
    entries: HashMap<KeyHash, KeyEntry>,
    store: Option<Store>,
    /// Keys whose newest record was a tombstone when the mount found it.
    tombstones: Vec<KeyHash>,
}

impl ImageIndex {
    pub(super) fn new(identity: Identity) -> Self {
        Self { identity, entries: HashMap::new(), store: None, tombstones: Vec::new() }
    }

    /// The newest record of a key, if it is a value or a tombstone that is still needed.
    pub(super) fn live(&self, hash: &KeyHash) -> Option<&Placed> {
        self.entries.get(hash).and_then(KeyEntry::live)
    }

    /// The keys with a value in a segment; pieces are parts of one.
    pub(super) fn keys_in(&self, segment: u32) -> Vec<KeyHash> {
        let lies_there = |(_, entry): &(&KeyHash, &KeyEntry)| {
            let is_value =
                |newest: &&Placed| newest.kind == Kind::Value && newest.expires_s != Some(PIECE_EXPIRES_S);
            entry.live().filter(is_value).is_some_and(|newest| newest.location.segment.get() == segment)
        };
        self.entries.iter().filter(lies_there).map(|(hash, _)| *hash).collect()
    }

    /// The newest version of a key.
    pub(super) fn version(&self, hash: &KeyHash) -> Option<Version> {
        self.entries.get(hash).map(|entry| entry.newest().version)
    }

    /// The version of the value that a key has, or of a piece.
    fn value_version(&self, hash: &KeyHash) -> Option<Version> {
        self.live(hash).filter(|newest| newest.kind == Kind::Value).map(|newest| newest.version)
    }

    /// Records that hold the newest value of their key, or a piece of one.
    pub(super) fn records(&self) -> usize {
        self.entries.values().filter_map(KeyEntry::live).filter(|newest| newest.kind == Kind::Value).count()
    }

    /// Keys that have a value; pieces are parts of one.
    pub(super) fn values(&self) -> usize {
        let is_piece = |hash: &KeyHash, newest: &Placed| match self.identity {
            Identity::KeyedHash => newest.expires_s == Some(PIECE_EXPIRES_S),
            _ => hash.0.starts_with(&[1]),
        };
        let is_value = |(hash, entry): &(&KeyHash, &KeyEntry)| {
            entry.live().is_some_and(|newest| newest.kind == Kind::Value && !is_piece(hash, newest))
        };
        self.entries.iter().filter(is_value).count()
    }

    fn place(&mut self, hash: &KeyHash, placed: &Placed, is_sealed: bool) -> Published {
        match self.entries.get_mut(hash) {
            Some(entry) => entry.place(placed, is_sealed),
            None => {
                self.entries.insert(*hash, KeyEntry::new(*placed, is_sealed));
                Published::Live(None)
            }
        }
    }
}

impl Index for ImageIndex {
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

    fn liveness(&self, hash: &KeyHash, at: Location) -> Liveness {
        let is_live = self.entries.get(hash).is_some_and(|entry| entry.is_live_at(at));
        if is_live { Liveness::Live } else { Liveness::Stale }
    }

    fn publish(&mut self, hash: &KeyHash, placed: &Placed) -> Published {
        let Some(from) = placed.relocated_from else {
            let published = self.place(hash, placed, false);
            let is_needless = self.entries.get_mut(hash).and_then(|entry| entry.let_go(false)).is_some();
            return if is_needless { Published::Stale } else { published };
        };
        self.entries.get_mut(hash).map_or(Published::Stale, |entry| entry.relocate(placed, from))
    }

    /// Memory does not fail.
    fn unwritten(&mut self, _: &KeyHash, _: &Placed) {}

    fn drop_current(&mut self, hash: &KeyHash, at: Location) -> Dropped {
        self.entries.get_mut(hash).map_or(Dropped::NotCurrent, |entry| entry.drop_at(at, false))
    }

    fn copy_erased(&mut self, hash: &KeyHash) -> Option<Released> {
        let entry = self.entries.get_mut(hash)?;
        let released = entry.note_erased(false);
        if entry.copies() == 0 {
            self.entries.remove(hash);
        }
        released
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
            if let Some(released) = self.entries.get_mut(&hash).and_then(|entry| entry.let_go(false)) {
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

impl Codecs for ImageIndex {}

impl Advice for ImageIndex {}
