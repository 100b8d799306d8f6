//! The index of the model: a [`Host`] over a map that follows the documentation and asserts the invariants.

use std::collections::BTreeMap;

use coldpress_core::codec::CodecId;
use coldpress_core::format::{KeyHash, Kind, Location, Sequence, Store, Version};
use coldpress_core::index::{
    Advice, Codecs, Dropped, Due, Index, Liveness, Look, Placed, Published, Reconciled, Released, Settled,
};

use super::budget::Asked;
use super::rng::mixed;
use super::runs;

/// The newest copy of a key on the medium.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Newest {
    /// Its place and its kind.
    pub placed: Placed,
    /// Whether it counts as live: `false` once it was dropped, or once nothing needs the tombstone.
    pub is_live: bool,
    /// Whether its bytes were found to be damaged.
    pub is_damaged: bool,
    is_sealed: bool,
}

/// The entry of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// The newest copy.
    pub newest: Newest,
    /// Physical copies on the medium, live or stale, tombstones included.
    pub copies: u32,
    /// Of these, how many may not be there: their write failed.
    pub strays: u32,
    /// The highest version that any of them has.
    pub version: Version,
}

/// A call of the machine to the index since the driver last looked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IndexEvent {
    /// A fresh record is on the medium.
    Written(KeyHash, Location),
    /// A fresh record could not be written.
    Unwritten(KeyHash, Location),
    /// The machine may drop a current record.
    MayEvict(KeyHash),
    /// A current record was dropped although it had not expired.
    Evicted(KeyHash),
    /// A current record was found damaged.
    Damaged(KeyHash),
    /// A record got another version where it was relocated.
    Renewed(KeyHash, Version, Version),
    /// A record was found that the index did not know.
    Late(KeyHash, Version),
}

/// Counts of the machine's calls to the index.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Tallied {
    /// Values measured.
    pub(super) sampled: u64,
    /// Expired records that were dropped, or are about to be.
    pub(super) expired: u32,
    /// Records of which the index learned late.
    pub(super) repaired: u32,
}

/// The model.
#[derive(Debug, Clone)]
pub struct ModelHost {
    entries: BTreeMap<KeyHash, Entry>,
    store: Option<Store>,
    now_s: u32,
    due_after: Option<KeyHash>,
    codec: CodecId,
    sampled: (u64, u64),
    /// Whether records may be evicted.
    pub evicts: bool,
    /// The answer of the efficiency analysis.
    pub advises: bool,
    events: Vec<IndexEvent>,
    asked: Asked,
    /// Whether copies may be on the medium that are not counted.
    is_withheld: bool,
    /// Records that the mount said it would find by footers, and those that it did find by them.
    pub by_footers: (u64, u64),
    pub(super) tallied: Tallied,
}

impl Default for ModelHost {
    fn default() -> Self {
        Self {
            entries: BTreeMap::new(),
            store: None,
            now_s: 0,
            due_after: None,
            codec: runs::RAW,
            sampled: (0, 0),
            evicts: false,
            advises: false,
            events: Vec::new(),
            asked: Asked::default(),
            is_withheld: false,
            by_footers: (0, 0),
            tallied: Tallied::default(),
        }
    }
}

impl ModelHost {
    /// The entry of a key.
    #[must_use]
    pub fn entry(&self, hash: &KeyHash) -> Option<&Entry> {
        self.entries.get(hash)
    }

    /// All keys.
    pub fn entries(&self) -> impl Iterator<Item = (&KeyHash, &Entry)> {
        self.entries.iter()
    }

    /// The codec chosen last.
    #[must_use]
    pub const fn codec(&self) -> CodecId {
        self.codec
    }

    /// Sets the time that tells what has expired.
    pub fn set_now_s(&mut self, now_s: u32) {
        self.now_s = self.now_s.max(now_s);
    }

    /// Takes the calls of the machine since the last look.
    pub fn take_events(&mut self) -> Vec<IndexEvent> {
        core::mem::take(&mut self.events)
    }

    /// Takes the counts of the machine's requests since the last call.
    pub(super) fn take_asked(&mut self) -> Asked {
        core::mem::take(&mut self.asked)
    }

    /// Forgets a key, as a damaged index would; the copies on the medium stay.
    pub fn forget(&mut self, hash: &KeyHash) {
        self.entries.remove(hash);
    }

    fn place(&mut self, hash: &KeyHash, placed: &Placed, is_sealed: bool) -> Published {
        let fresh = Newest { placed: *placed, is_live: true, is_damaged: false, is_sealed };
        let Some(entry) = self.entries.get_mut(hash) else {
            self.entries
                .insert(*hash, Entry { newest: fresh, copies: 1, strays: 0, version: placed.version });
            return Published::Live(None);
        };
        entry.copies += 1;
        entry.version = entry.version.max(placed.version);
        let old = entry.newest;
        if !wins(&fresh, &old) {
            return Published::Stale;
        }
        entry.newest = fresh;
        Published::Live(old.is_live.then(|| released(&old.placed)))
    }

    /// Releases a tombstone that nothing needs: it is the only copy of its key.
    fn let_go(entry: &mut Entry, is_withheld: bool) -> Option<Released> {
        let newest = &mut entry.newest;
        let needless = newest.is_live && newest.placed.kind == Kind::Tombstone && entry.copies == 1;
        if !needless || is_withheld {
            return None;
        }
        newest.is_live = false;
        Some(released(&newest.placed))
    }
}

fn released(placed: &Placed) -> Released {
    Released { location: placed.location, record_bytes: placed.record_bytes }
}

/// Of two copies the higher version wins; with the same version a tombstone does, then the one in a sealed segment (rules 7 and 10).
fn wins(new: &Newest, old: &Newest) -> bool {
    let rank = |at: &Newest| {
        let lower = core::cmp::Reverse(at.placed.location.sequence);
        (at.placed.version, at.placed.kind == Kind::Tombstone, at.is_sealed, lower)
    };
    rank(new) > rank(old)
}

impl Index for ModelHost {
    fn withhold(&mut self, above: Option<Sequence>) {
        assert!(above.is_some() || self.is_withheld, "nothing was withheld");
        self.is_withheld = above.is_some();
    }

    fn identify(&mut self, store: &Store) {
        assert!(self.store.is_none(), "identify is called once");
        self.store = Some(*store);
    }

    fn hash(&self, key: &[u8]) -> KeyHash {
        let store = self.store.as_ref().map_or([0; 16], |store| store.hash_key);
        hash_of(&store, key)
    }

    fn liveness(&self, hash: &KeyHash, at: Location) -> Liveness {
        match self.entries.get(hash) {
            Some(entry) if entry.newest.is_live && entry.newest.placed.location == at => Liveness::Live,
            _ => Liveness::Stale,
        }
    }

    fn confirm(&mut self, hash: &KeyHash, at: Location) -> Liveness {
        self.asked.walk(at.segment.get(), at.offset);
        self.liveness(hash, at)
    }

    fn publish(&mut self, hash: &KeyHash, placed: &Placed) -> Published {
        self.asked.published += 1;
        let Some(from) = placed.relocated_from else {
            assert_eq!(placed.version, placed.location.version(), "a fresh record's version is its place");
            self.events.push(IndexEvent::Written(*hash, placed.location));
            let published = self.place(hash, placed, false);
            // The tombstone is needless from the start: it hides no copy.
            let is_withheld = self.is_withheld;
            let entry = self.entries.get_mut(hash);
            let needless = entry.and_then(|entry| Self::let_go(entry, is_withheld)).is_some();
            return if needless { Published::Stale } else { published };
        };
        let entry = self.entries.get_mut(hash).expect("copies: a relocated record has a source");
        entry.copies += 1;
        let old = entry.newest;
        if !old.is_live || old.placed.location != from {
            return Published::Stale;
        }
        let is_renewed = placed.version == placed.location.version() && placed.version > entry.version;
        assert!(
            placed.version == old.placed.version || is_renewed,
            "rule 7: a relocated record keeps its version, or becomes the newest"
        );
        entry.version = entry.version.max(placed.version);
        if is_renewed {
            self.events.push(IndexEvent::Renewed(*hash, old.placed.version, placed.version));
        }
        if old.placed.kind == Kind::Tombstone {
            assert_eq!(placed.kind, Kind::Tombstone, "I-LOG-5: a tombstone turned into a value");
        } else if placed.kind == Kind::Tombstone {
            let expired = old.placed.expires_s.is_some_and(|at| at <= self.now_s);
            if !expired {
                assert!(self.evicts, "I-LOG-4: a record that was not due was dropped");
                self.events.push(IndexEvent::Evicted(*hash));
            }
        } else {
            assert_eq!(placed.expires_s, old.placed.expires_s, "a relocated record keeps its expiry");
        }
        entry.newest = Newest { placed: *placed, is_sealed: false, ..old };
        Published::Live(Some(released(&old.placed)))
    }

    fn unwritten(&mut self, hash: &KeyHash, placed: &Placed) {
        self.asked.published += 1;
        let newest = Newest { placed: *placed, is_live: false, is_damaged: false, is_sealed: false };
        let stray = Entry { newest, copies: 0, strays: 0, version: placed.version };
        let entry = self.entries.entry(*hash).or_insert(stray);
        entry.copies += 1;
        entry.strays += 1;
        entry.version = entry.version.max(placed.version);
        if placed.relocated_from.is_none() {
            self.events.push(IndexEvent::Unwritten(*hash, placed.location));
        }
    }

    fn drop_current(&mut self, hash: &KeyHash, at: Location) -> Dropped {
        let Some(entry) = self.entries.get_mut(hash) else { return Dropped::NotCurrent };
        let newest = &mut entry.newest;
        if !newest.is_live || newest.placed.location != at {
            return Dropped::NotCurrent;
        }
        let expired = newest.placed.expires_s.is_some_and(|at| at <= self.now_s);
        self.tallied.expired += u32::from(expired);
        if entry.copies > 1 || self.is_withheld {
            return Dropped::NeedsTombstone;
        }
        if newest.placed.kind == Kind::Value && !expired {
            assert!(self.evicts, "I-LOG-4: a record that was not due was dropped");
            self.events.push(IndexEvent::Evicted(*hash));
        }
        newest.is_live = false;
        Dropped::Now
    }

    fn copy_erased(&mut self, hash: &KeyHash) -> Option<Released> {
        self.asked.gone += 1;
        let is_withheld = self.is_withheld;
        let entry = self.entries.get_mut(hash).expect("copies: gone below zero (rule 6)");
        entry.copies -= 1;
        if entry.copies == 0 {
            assert!(!entry.newest.is_live, "I-GC-1: the last copy of a live record is gone: {entry:?}");
            self.entries.remove(hash);
            return None;
        }
        Self::let_go(entry, is_withheld)
    }

    fn announce(&mut self, records: u64) {
        assert_eq!(self.by_footers, (0, 0), "said once, before the first record");
        self.by_footers.0 = records;
    }

    fn recovered(&mut self, hash: &KeyHash, placed: &Placed, is_sealed: bool) -> Published {
        self.asked.recovered += 1;
        self.by_footers.1 += u64::from(is_sealed);
        self.place(hash, placed, is_sealed)
    }

    fn settle(&mut self) -> Settled {
        self.asked.settled += 1;
        let is_withheld = self.is_withheld;
        let found = self.entries.values_mut().find_map(|entry| Self::let_go(entry, is_withheld));
        found.map_or(Settled::End, Settled::Released)
    }

    fn due(&mut self, now_s: u32) -> Look {
        self.asked.due += 1;
        self.set_now_s(now_s);
        let after = self.due_after;
        let found = self.entries.iter().find(|(hash, entry)| {
            let placed = &entry.newest.placed;
            after.is_none_or(|after| **hash > after)
                && entry.newest.is_live
                && placed.kind == Kind::Value
                && placed.expires_s.is_some_and(|at| at <= now_s)
        });
        self.due_after = found.map(|(hash, _)| *hash);
        found.map_or(Look::End, |(hash, entry)| {
            let placed = &entry.newest.placed;
            Look::Due(Due {
                hash: *hash,
                location: placed.location,
                record_bytes: placed.record_bytes,
                version: Some(placed.version),
                is_idle: false,
            })
        })
    }

    fn evictable(&mut self, hash: &KeyHash, at: Location) -> bool {
        self.asked.evictable += 1;
        let is_evictable = self.evicts && self.liveness(hash, at) == Liveness::Live;
        if is_evictable {
            self.events.push(IndexEvent::MayEvict(*hash));
        }
        is_evictable
    }

    fn reconcile(&mut self, hash: &KeyHash, placed: &Placed) -> Reconciled {
        let asked = &mut self.asked;
        asked.reconciled += 1;
        asked.reconciled_bytes += u64::from(placed.record_bytes);
        let newest = self.entries.get(hash).map(|entry| entry.newest);
        // Rule 10: of a value and the tombstone of its drop, which carry one version, the tombstone wins.
        let rank = |placed: &Placed| (placed.version, placed.kind == Kind::Tombstone);
        if newest.is_some_and(|newest| rank(&newest.placed) >= rank(placed)) {
            return Reconciled::Known;
        }
        // The tombstone of an eviction whose write failed, and which is there after all.
        let hides_a_value = newest.is_some_and(|n| n.is_live && n.placed.kind == Kind::Value);
        if self.evicts && hides_a_value && placed.kind == Kind::Tombstone {
            self.events.push(IndexEvent::Evicted(*hash));
        }
        self.tallied.repaired += 1;
        self.events.push(IndexEvent::Late(*hash, placed.version));
        Reconciled::Placed(self.place(hash, placed, true))
    }

    fn damaged(&mut self, hash: &KeyHash, at: Location) {
        if let Some(entry) = self.entries.get_mut(hash)
            && entry.newest.placed.location == at
        {
            entry.newest.is_damaged = true;
            self.events.push(IndexEvent::Damaged(*hash));
        }
    }
}

impl Codecs for ModelHost {
    fn recode(&mut self, codec: CodecId, value: &[u8], out: &mut [u8]) -> Option<(CodecId, usize)> {
        if codec == self.codec || self.codec != runs::RUNS {
            return None;
        }
        runs::encode(value, out).map(|len| (runs::RUNS, len))
    }

    fn sample(&mut self, codec: CodecId, value: &[u8]) {
        self.asked.sampled += 1;
        self.tallied.sampled += 1;
        if codec == runs::RAW {
            let mut out = vec![0; value.len()];
            let len = runs::encode(value, &mut out).unwrap_or(value.len());
            self.sampled.0 += value.len() as u64;
            self.sampled.1 += len as u64;
        }
    }

    fn choose_codec(&mut self) -> CodecId {
        let (raw, coded) = core::mem::take(&mut self.sampled);
        if coded < raw {
            self.codec = runs::RUNS;
        }
        self.codec
    }
}

impl Advice for ModelHost {
    fn advises_cleanup(&mut self) -> bool {
        self.advises
    }
}

/// The identity of a key under a store's key.
#[must_use]
pub fn hash_of(hash_key: &[u8; 16], key: &[u8]) -> KeyHash {
    let mut state = u64::from_le_bytes(*hash_key.first_chunk().unwrap_or(&[0; 8]));
    for &byte in key {
        state = mixed(state ^ u64::from(byte)).wrapping_add(key.len() as u64);
    }
    let mut out = [0; 12];
    out[..8].copy_from_slice(&state.to_le_bytes());
    out[8..].copy_from_slice(&mixed(state).to_le_bytes()[..4]);
    KeyHash(out)
}

/// The highest version of a key that the index knows of.
#[must_use]
pub(super) fn version_of(host: &ModelHost, hash: &KeyHash) -> Option<Version> {
    host.entry(hash).map(|entry| entry.version)
}

#[cfg(test)]
mod tests;
